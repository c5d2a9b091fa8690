//! Publishers that are not read while too much of what has been published waits to be handed out, and whoever asks for more
//! than has its turn.
//!
//! They alone wait, where they are the cause: everybody else is read, answered and handed what is small meanwhile.
//!
//! ```text
//!   publishes ─► more than the backlog waits ─► held back, not read ─► half of it has left ─► read on
//! ```
//!
//! What publishes without being read is refused in the end ([`FANOUT_GATHERED_BYTES_MAX`]).
//!
//! [`FANOUT_GATHERED_BYTES_MAX`]: crate::limits::FANOUT_GATHERED_BYTES_MAX

use super::turn::Shard;
use crate::{
    limits::{ASKS_READ_MAX, FANOUT_BACKLOG_BYTES_MAX},
    model::{ConnectionId, Issuer, SocketId},
};

impl Shard {
    /// Somebody has published what has to wait here: reads no more of it, if too much does.
    pub(super) fn hold_back_if_too_much_waits(&mut self, issuer: Issuer) {
        let Issuer::Client(client) = issuer else { return };
        if self.hub.gathered_bytes() > FANOUT_BACKLOG_BYTES_MAX
            && let Some(connection) = self.connection_of(client)
        {
            self.lines.held_back.insert(connection);
        }
    }

    /// Something that somebody asks has to wait for its turn: reads no more of it, if too much of it does.
    pub(super) fn hold_back_if_too_much_is_held(&mut self, issuer: Issuer) {
        let Issuer::Client(client) = issuer else { return };
        if self.asks.held_of(issuer) >= ASKS_READ_MAX
            && let Some(connection) = self.connection_of(client)
        {
            self.lines.held_back.insert(connection);
            self.asks.crowded.insert(connection, issuer);
        }
    }

    /// The connection over which a client publishes. A Socket.IO client that polls has one for each request.
    fn connection_of(&self, client: ConnectionId) -> Option<ConnectionId> {
        let Some(socket) = SocketId::index_of(client.index) else { return Some(client) };
        self.engines.connection_of(socket).map(|connection| self.lines.slab.id(connection))
    }

    /// Reads those on that were held back, once half of what may wait has left, and half of what they ask has had its turn.
    pub(super) fn read_publishers_on(&mut self) {
        if self.lines.held_back.is_empty() || self.hub.gathered_bytes() > FANOUT_BACKLOG_BYTES_MAX / 2 {
            return;
        }
        self.asks.forget_crowded();
        for connection in std::mem::take(&mut self.lines.held_back) {
            if self.asks.crowded.contains_key(&connection) {
                self.lines.held_back.insert(connection);
            } else if self.lines.slab.get(connection).is_some() {
                self.lines.resume(connection.index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{
        app::socketio::application,
        hub::Wanted,
        model::{ChannelName, Payload, Transport},
        shard::{
            connection::Flags,
            kinds::Ask,
            simulated::{Common, Shards},
        },
    };

    #[test]
    fn who_asks_for_more_than_has_its_turn_is_read_on_when_half_of_that_had_it() {
        let mut shards = Shards::new(&Common::of_one(4), application(|_| ()));
        let (_client, from) = shards.connect(0, 1).expect("there is room");
        let shard = &mut shards.all[0];
        let from = shard.lines.slab.id(from);
        let hold = |shard: &mut Shard| {
            let ask = Ask::Send { connection: from, is_text: true, data: Box::default() };
            shard.hold_ask(Issuer::Client(from), ask);
            shard.lines.held_back.contains(&from)
        };
        assert!((1..ASKS_READ_MAX).all(|_| !hold(shard)));
        assert!(hold(shard));
        shard.read_publishers_on();
        assert!(shard.lines.held_back.contains(&from), "nothing has had its turn");
        shards.turn(0);
        assert!(!shards.all[0].lines.held_back.contains(&from));
    }

    #[test]
    fn a_publisher_is_held_back_when_too_much_waits_and_read_on_when_half_of_that_has_left() {
        const EACH: usize = 60_000;
        let mut shards = Shards::new(&Common::of_one(4), application(|_| ()));
        let (_subscriber, to) = shards.connect(0, 1).expect("there is room");
        let (mut publisher, from) = shards.connect(0, 1).expect("there is room");
        let shard = &mut shards.all[0];
        let (now, channel) = (shard.now, ChannelName::new("news", 255).expect("a name"));
        let (to, from) = (shard.lines.slab.id(to), shard.lines.slab.id(from));
        let wanted = Wanted::default();
        shard.hub.subscribe(now, to, Transport::Json, channel.clone(), wanted, None).expect("it may");
        shard.settle();
        let publish = |shard: &mut Shard| {
            let payload = Payload::new(vec![b'x'; EACH], None);
            shard.hub.publish(now, channel.clone(), payload, None);
            shard.hold_back_if_too_much_waits(Issuer::Client(from));
            shard.hub.gathered_bytes()
        };
        while publish(shard) <= FANOUT_BACKLOG_BYTES_MAX {
            assert!(shard.lines.held_back.is_empty());
        }
        assert!(shard.lines.held_back.contains(&from));
        publisher.write_all(b"GET").expect("it takes three bytes");
        // A channel hands out a portion in each turn.
        let (mut turns, mut before) = (0, shard.hub.gathered_bytes());
        while before > 0 {
            shards.turn(0);
            let shard = &shards.all[0];
            before = shard.hub.gathered_bytes();
            let is_held = before > FANOUT_BACKLOG_BYTES_MAX / 2;
            assert_eq!(shard.lines.held_back.contains(&from), is_held, "{before}");
            // What it says has reached the shard by then.
            let is_unread = shard.lines.slab.look(from.index).flags.has(Flags::READABLE);
            assert!(turns < 3 || is_unread == is_held, "{before}");
            turns += 1;
        }
        assert!(turns > FANOUT_BACKLOG_BYTES_MAX / EACH / 2, "{turns}");
    }
}
