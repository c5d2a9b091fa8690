//! WebSockets and event streams that go on with another process: what this server keeps of one, and whether it may go on there.
//!
//! A key goes by its digest, for another process may have other keys in other slots; whoever has presented one that is none any
//! more comes back and is told so. So does whoever follows a channel to which it has no right any more.

use serde::{Deserialize, Serialize};

use super::{ChannelServer, access::Who, commands::Session, keys::KeySlot};
use crate::{
    app::{Peer, Resumed},
    auth::Right,
    model::{ChannelName, Shown},
};

#[derive(Serialize, Deserialize)]
struct Saved<'a> {
    kind: Kind,
    key: Option<[u8; 32]>,
    /// Channels followed by the backend's word.
    #[serde(borrow)]
    allowed: Vec<&'a str>,
}

/// Each keeps its number.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Channel,
    Commands,
}

impl ChannelServer {
    /// What is kept of a WebSocket; `None` while something is to come for it.
    pub(super) fn save_session(&self, peer: &Peer<'_>) -> Option<Vec<u8>> {
        let connection = &peer.connection;
        if self.held.contains_key(connection) || self.in_flight.contains_key(connection) {
            return None;
        }
        let (kind, key) = match Session::of_tag(peer.tag) {
            Session::Channel { key } => (Kind::Channel, key),
            Session::Commands { key } => (Kind::Commands, key),
            Session::Echo => return None,
        };
        let key = match key {
            KeySlot::NONE => None,
            slot => Some(self.access.keys.digest_of(slot)?),
        };
        let allowed = self.allowed.all_of(*connection)?.into_iter().map(ChannelName::as_str).collect();
        postcard::to_stdvec(&Saved { kind, key, allowed }).ok()
    }

    /// Whether an event stream of a channel may go on. Who follows it by the backend's word may. What it is shown it must have a
    /// right to without a key, which nobody keeps.
    pub(super) fn may_follow_on(&self, peer: &Peer<'_>, channel: &ChannelName, shown: Shown) -> bool {
        let who = Who::reading(peer);
        self.access.check_again(&who, Right::Subscribe, channel.as_str(), true).is_ok()
            && self.check_seeing(&who, shown, [channel]).is_ok()
    }

    /// Goes on with a WebSocket of which that is kept, unless it may not any more; its tag.
    pub(super) fn restore_session(&mut self, peer: &Peer<'_>, resumed: &Resumed<'_>) -> Option<u32> {
        let Resumed { followed: channels, shown, entered, saved } = *resumed;
        let Saved { kind, key, allowed } = postcard::from_bytes(saved).ok()?;
        let key = match key {
            None => KeySlot::NONE,
            Some(digest) => self.access.keys.slot_of(&digest)?,
        };
        let who = Who::with_key(peer, key);
        for channel in channels {
            // Who follows one channel may do so by the backend's word, which stays.
            let was_allowed = kind == Kind::Channel || allowed.contains(&channel.as_str());
            self.access.check_again(&who, Right::Subscribe, channel.as_str(), was_allowed).ok()?;
        }
        for (channel, shown) in channels.iter().zip(shown) {
            self.check_seeing(&who, *shown, [channel]).ok()?;
        }
        for channel in entered {
            self.access.check(&who, Right::Enter, channel.as_str()).ok()?;
        }
        let by_word = channels.iter().filter(|channel| allowed.contains(&channel.as_str()));
        by_word.for_each(|channel| self.allowed.restore(peer.connection, channel));
        let session = match kind {
            Kind::Channel => Session::Channel { key },
            Kind::Commands => Session::Commands { key },
        };
        Some(session.tag())
    }
}
