//! Clients that come back with a position to which this node's copy has not come.
//!
//! ```text
//!   published on another node ─► the broker has it ─► answered ─► its client comes here
//!                                       └─────────────► pushed to this node, a moment later
//! ```
//!
//! The copy is whole, and does not know yet what they know: the broker is asked. Positions may be invented, so it is asked so
//! often at most; beyond that they are told what the copy knows, that is that it cannot tell what they have missed.

use crate::{
    hub::{Hub, channel::ChannelIndex, reads::Read, stream::Mirror},
    limits::{BROKER_AHEAD_MAX, TICK_MS},
};

/// How often the broker has been asked for those who are ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    tick: u64,
    asked: usize,
}

impl Ahead {
    /// Whether it may be asked once more.
    fn may_ask(&mut self, now_ms: u64) -> bool {
        let tick = now_ms / TICK_MS;
        if self.tick != tick {
            *self = Self { tick, asked: 0 };
        }
        self.asked += 1;
        self.asked <= BROKER_AHEAD_MAX
    }
}

impl Hub {
    /// Whether the broker is to be asked how far a channel is before something of it is shown.
    pub(super) fn must_catch_up_with(&mut self, index: ChannelIndex, read: &Read) -> bool {
        let since = match read {
            Read::History { since, .. } => *since,
            Read::Join { asked, .. } => asked.since,
            Read::State { .. } | Read::Presence { .. } => None,
        };
        let Some(since) = since else { return false };
        let (now_ms, stream) = (self.now.monotonic_ms, self.stream_mut(index));
        let is_ahead = (since.epoch, since.offset) > (stream.position.epoch, stream.position.offset);
        is_ahead
            && stream.mirror == Mirror::Whole
            && self.brokered.as_deref_mut().is_some_and(|brokered| brokered.ahead.may_ask(now_ms))
    }
}
