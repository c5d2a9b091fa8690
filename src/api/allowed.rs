//! Which channels the WebSockets of `/ws` follow by the backend's word, and not by a right of their own. A right ends with the
//! token that gave it; what the backend has allowed stays.
//!
//! ```text
//!   subscribe ─► asked ─(its reply)─► follows ─unsubscribe─► forgotten
//!                  └─unsubscribe─► left ─(its reply)─► forgotten
//! ```
//!
//! Invariant: an entry goes when its channel is not followed and no command about it waits for its reply, so there are no more
//! than subscriptions and commands.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use crate::model::{ChannelName, ConnectionId};

/// The channels by connection; one that follows none so has no entry.
#[derive(Debug, Default)]
pub(super) struct Allowed(FxHashMap<ConnectionId, Vec<Followed>>);

#[derive(Debug)]
struct Followed {
    channel: ChannelName,
    /// Commands that wait for their replies.
    asked: u32,
    /// It has been unsubscribed since.
    is_left: bool,
}

impl Allowed {
    /// A command to follow a channel goes its way, by the backend's word.
    pub(super) fn ask(&mut self, connection: ConnectionId, channel: &ChannelName) {
        let list = self.0.entry(connection).or_default();
        match list.iter_mut().find(|one| one.channel == *channel) {
            Some(one) => (one.asked, one.is_left) = (one.asked + 1, false),
            None => list.push(Followed { channel: channel.clone(), asked: 1, is_left: false }),
        }
    }

    /// Such a command has its reply; what it was about is followed, unless that has ended since.
    pub(super) fn settle(&mut self, connection: ConnectionId, channel: &ChannelName, is_followed: bool) {
        self.change(connection, channel, |one| {
            one.asked = one.asked.saturating_sub(1);
            one.is_left |= !is_followed;
        });
    }

    /// A channel is not to be followed any more.
    pub(super) fn leave(&mut self, connection: ConnectionId, channel: &ChannelName) {
        self.change(connection, channel, |one| one.is_left = true);
    }

    /// A channel is not followed any more by the backend's word, whatever waits.
    pub(super) fn forget(&mut self, connection: ConnectionId, channel: &ChannelName) {
        self.change(connection, channel, |one| (one.asked, one.is_left) = (0, true));
    }

    /// A connection has ended.
    pub(super) fn end(&mut self, connection: ConnectionId) {
        self.0.remove(&connection);
    }

    /// The channels that a connection follows by the backend's word; `None` while commands about some wait for their replies.
    pub(super) fn all_of(&self, connection: ConnectionId) -> Option<Vec<&ChannelName>> {
        let all = self.0.get(&connection).into_iter().flatten();
        all.map(|one| (one.asked == 0).then_some(&one.channel)).collect()
    }

    /// A connection follows a channel by the backend's word, which has been given in another process.
    pub(super) fn restore(&mut self, connection: ConnectionId, channel: &ChannelName) {
        self.ask(connection, channel);
        self.settle(connection, channel, true);
    }

    /// Whether a channel is followed by the backend's word, or is about to be.
    pub(super) fn has(&self, connection: ConnectionId, channel: &ChannelName) -> bool {
        self.0.get(&connection).is_some_and(|list| list.iter().any(|one| one.channel == *channel))
    }

    fn change(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        change: impl FnOnce(&mut Followed),
    ) {
        let Entry::Occupied(mut list) = self.0.entry(connection) else { return };
        let Some(at) = list.get().iter().position(|one| one.channel == *channel) else { return };
        let one = &mut list.get_mut()[at];
        change(one);
        if one.is_left && one.asked == 0 {
            list.get_mut().swap_remove(at);
        }
        if list.get().is_empty() {
            list.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_stands_here_from_the_command_to_its_end_and_no_longer() {
        let connection = ConnectionId { index: 1, generation: 2 };
        let channel = ChannelName::new("a", 10).expect("a name");
        let mut allowed = Allowed::default();
        allowed.ask(connection, &channel);
        allowed.settle(connection, &channel, true);
        assert!(allowed.has(connection, &channel));
        allowed.leave(connection, &channel);
        assert!(allowed.0.is_empty());
        // It is left before the owner has answered.
        allowed.ask(connection, &channel);
        allowed.leave(connection, &channel);
        assert!(allowed.has(connection, &channel), "its reply is that of one who may");
        allowed.settle(connection, &channel, true);
        assert!(allowed.0.is_empty());
        // And asked for again before that.
        (0..2).for_each(|_| allowed.ask(connection, &channel));
        allowed.settle(connection, &channel, true);
        allowed.leave(connection, &channel);
        allowed.ask(connection, &channel);
        (0..2).for_each(|_| allowed.settle(connection, &channel, true));
        assert!(allowed.has(connection, &channel));
        allowed.ask(connection, &channel);
        allowed.settle(connection, &channel, false);
        assert!(allowed.0.is_empty(), "the owner had no place for it");
        allowed.ask(connection, &channel);
        allowed.forget(connection, &channel);
        assert!(allowed.0.is_empty());
    }
}
