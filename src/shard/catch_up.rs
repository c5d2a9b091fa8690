//! Subscribers that catch up with what they missed, a piece whenever they have read the one before.
//!
//! What was missed is not copied: it stays in the history of the channel's owner, and the subscriber's shard asks for a
//! piece of it when so little waits for the client that there is room. The channel's audience takes it in with the last
//! piece, so that what is published meanwhile is a part of what it still has to catch up with. What history has let go
//! of by the time its turn comes is told as lost.
//!
//! ```text
//!   subscribe ─► owner ─► piece ─► queued ─(read)─► owner ─► … ─► last piece, in the audience
//! ```
//!
//! A client catches up with one channel after the other. Invariant: no more than one piece waits for it, whatever it has
//! subscribed to; [`Flags::CATCHING_UP`] is set while it stands here.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{connection::Flags, turn::Shard};
use crate::{
    hub::Since,
    limits::RECOVERY_PIECE_BYTES,
    mesh::Welcome,
    model::{ChannelName, Position},
};

/// What the connections of a shard catch up with.
#[derive(Default)]
pub(super) struct CatchUps {
    lines: FxHashMap<u32, VecDeque<CatchUp>>,
}

/// A channel that a connection has not caught up with.
struct CatchUp {
    channel: ChannelName,
    /// Up to where it has been told; `None` while its owner is asked.
    told: Option<Position>,
}

impl CatchUps {
    /// Forgets a channel.
    fn remove(&mut self, index: u32, channel: &ChannelName) {
        if let Some(line) = self.lines.get_mut(&index) {
            line.retain(|one| one.channel != *channel);
        }
    }
}

impl Shard {
    /// How much of what it missed a subscriber is told at first: nothing yet, while it catches up with another channel.
    pub(super) fn first_piece(&self, index: u32, position: Position) -> Since {
        match self.lines.slab.look(index).flags.has(Flags::CATCHING_UP) {
            true => Since { position, bytes_max: 0 },
            false => Since::part(position),
        }
    }

    /// A connection has subscribed to a channel of which it has missed some.
    pub(super) fn begin_to_catch_up(&mut self, index: u32, channel: ChannelName) {
        self.lines.slab.at(index).flags.set(Flags::CATCHING_UP);
        self.catch_ups.lines.entry(index).or_default().push_back(CatchUp { channel, told: None });
    }

    /// A piece has been queued.
    pub(super) fn note_piece(&mut self, index: u32, channel: &ChannelName, welcome: &Welcome) {
        if !self.lines.slab.look(index).flags.has(Flags::CATCHING_UP) {
            return;
        }
        if welcome.rest == 0 {
            self.catch_ups.remove(index, channel);
        } else if let Some(line) = self.catch_ups.lines.get_mut(&index)
            && let Some(one) = line.iter_mut().find(|one| one.channel == *channel)
        {
            one.told = Some(welcome.position);
        }
        self.catch_up(index);
    }

    /// Asks for the next piece, if there is room for it.
    pub(super) fn catch_up(&mut self, index: u32) {
        if !self.has_room_for_piece(self.lines.waiting(index)) {
            return;
        }
        match self.catch_ups.lines.get_mut(&index).map(VecDeque::front_mut) {
            Some(Some(front)) => {
                let Some(position) = front.told.take() else { return };
                let (channel, connection) = (front.channel.clone(), self.lines.slab.id(index));
                self.hub.catch_up(self.now, connection, &channel, Since::part(position));
            }
            Some(None) | None => self.end_catching_up(index),
        }
    }

    /// Whether so little waits for a client that it is told the next piece: however little may wait, no piece makes it slow.
    pub(super) fn has_room_for_piece(&self, waiting: usize) -> bool {
        waiting as u64 <= RECOVERY_PIECE_BYTES.min(u64::from(self.limits.send_queue_bytes_max) / 2)
    }

    /// A connection follows a channel no longer, or has been refused it.
    pub(super) fn forget_catching_up(&mut self, index: u32, channel: &ChannelName) {
        if self.lines.slab.look(index).flags.has(Flags::CATCHING_UP) {
            self.catch_ups.remove(index, channel);
            self.catch_up(index);
        }
    }

    /// A connection has caught up with everything, or its session has ended.
    pub(super) fn end_catching_up(&mut self, index: u32) {
        self.lines.slab.at(index).flags.clear(Flags::CATCHING_UP);
        self.catch_ups.lines.remove(&index);
    }
}
