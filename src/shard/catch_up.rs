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
//! What a WebSocket asks to be shown, a channel's state or history or who is there, takes its turn here as well: the next is
//! asked for when the answer to the one before has been read, or nearly.
//!
//! A client catches up with one channel after the other. Invariant: no more than one piece waits for it, whatever it has
//! subscribed to; [`Flags::CATCHING_UP`] is set while it stands here.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{connection::Flags, turn::Shard};
use crate::{
    app::{Reply, StateQuery},
    hub::Since,
    limits::RECOVERY_PIECE_BYTES,
    mesh::Welcome,
    model::{ChannelName, Position, StateKey, Ticket},
    session::Kind,
};

/// What the connections of a shard catch up with.
#[derive(Default)]
pub(super) struct CatchUps {
    lines: FxHashMap<u32, VecDeque<CatchUp>>,
}

/// What a connection is still to be told.
enum CatchUp {
    /// A channel that it has not caught up with.
    Channel {
        channel: ChannelName,
        /// Up to where it has been told; `None` while its owner is asked.
        told: Option<Position>,
    },
    /// Something it wants to be shown, and the channel; no question any more once the owner has been asked.
    Read { ticket: Ticket, channel: ChannelName, reading: Option<Reading> },
}

/// What somebody wants to be shown.
pub(super) enum Reading {
    State { channel: ChannelName, query: StateQuery },
    Presence { channel: ChannelName, after: Option<StateKey>, limit: u32 },
    History { channel: ChannelName, since: Option<Position>, limit: u32 },
}

impl Reading {
    fn channel(&self) -> &ChannelName {
        match self {
            Self::State { channel, .. } | Self::Presence { channel, .. } | Self::History { channel, .. } => {
                channel
            }
        }
    }
}

impl CatchUps {
    /// Forgets a channel.
    fn remove(&mut self, index: u32, channel: &ChannelName) {
        let is_it = |one: &CatchUp| matches!(one, CatchUp::Channel { channel: of, .. } if of == channel);
        if let Some(line) = self.lines.get_mut(&index) {
            line.retain(|one| !is_it(one));
        }
    }

    /// Forgets what has been asked of some owners, who may not answer; the connections that go on without.
    fn forget_asked(&mut self, is_theirs: &dyn Fn(&ChannelName) -> bool) -> Vec<u32> {
        let is_asked =
            |one: &CatchUp| matches!(one, CatchUp::Read { channel, reading: None, .. } if is_theirs(channel));
        let asked = self.lines.iter_mut().filter_map(|(index, line)| {
            let is_first = line.front().is_some_and(is_asked);
            is_first.then(|| line.pop_front()).map(|_| *index)
        });
        asked.collect()
    }
}

impl Shard {
    /// Whether a subscriber is told something of what it missed at once: not while it catches up with another channel, or
    /// has much to read.
    pub(super) fn has_room_for_first(&self, index: u32) -> bool {
        let is_catching_up = self.lines.slab.look(index).flags.has(Flags::CATCHING_UP);
        !is_catching_up && self.has_room_for_piece(self.lines.waiting(index))
    }

    /// Shows somebody something: a WebSocket in its turn, and others, who ask for one thing at a time, at once.
    pub(super) fn read(&mut self, ticket: Ticket, reading: Reading) {
        let index = ticket.connection.index;
        let Some(record) = self.lines.slab.get_in_session(ticket.connection) else { return };
        let is_websocket = record.session.kind() == Kind::WebSocket && !record.flags.has(Flags::ENGINE);
        if !is_websocket {
            return self.ask_for(ticket, reading);
        }
        record.flags.set(Flags::CATCHING_UP);
        let channel = reading.channel().clone();
        let read = CatchUp::Read { ticket, channel, reading: Some(reading) };
        self.catch_ups.lines.entry(index).or_default().push_back(read);
        self.catch_up(index);
    }

    fn ask_for(&mut self, ticket: Ticket, reading: Reading) {
        let now = self.now;
        match reading {
            Reading::State { channel, query } => self.hub.read_state(now, ticket, &channel, query),
            Reading::Presence { channel, after, limit } => {
                self.hub.read_presence(now, ticket, &channel, after, limit);
            }
            Reading::History { channel, since, limit } => {
                self.hub.read_history(now, ticket, &channel, since, limit);
            }
        }
    }

    /// Tells what somebody wanted to be shown, and goes on with what it wants next.
    pub(super) fn tell_read(&mut self, ticket: Ticket, reply: Reply) {
        self.tell(ticket, reply);
        let index = ticket.connection.index;
        let is_it =
            |one: &CatchUp| matches!(one, CatchUp::Read { ticket: of, reading: None, .. } if *of == ticket);
        if self.lines.slab.get_in_session(ticket.connection).is_some()
            && let Some(line) = self.catch_ups.lines.get_mut(&index)
            && line.front().is_some_and(is_it)
        {
            line.pop_front();
            self.catch_up(index);
        }
    }

    /// Waits for nothing any more that was asked of some owners.
    pub(super) fn give_up_reads(&mut self, is_theirs: &dyn Fn(&ChannelName) -> bool) {
        for index in self.catch_ups.forget_asked(is_theirs) {
            self.catch_up(index);
        }
    }

    /// A connection has subscribed to a channel of which it has missed some.
    pub(super) fn begin_to_catch_up(&mut self, index: u32, channel: ChannelName) {
        self.lines.slab.at(index).flags.set(Flags::CATCHING_UP);
        self.catch_ups.lines.entry(index).or_default().push_back(CatchUp::Channel { channel, told: None });
    }

    /// A piece has been queued.
    pub(super) fn note_piece(&mut self, index: u32, channel: &ChannelName, welcome: &Welcome) {
        if !self.lines.slab.look(index).flags.has(Flags::CATCHING_UP) {
            return;
        }
        if welcome.is_all() {
            self.catch_ups.remove(index, channel);
        } else if let Some(line) = self.catch_ups.lines.get_mut(&index)
            && let Some(told) = line.iter_mut().find_map(|one| match one {
                CatchUp::Channel { channel: of, told } if of == channel => Some(told),
                CatchUp::Channel { .. } | CatchUp::Read { .. } => None,
            })
        {
            *told = Some(welcome.position);
        }
        self.catch_up(index);
    }

    /// Asks for the next piece, if there is room for it.
    pub(super) fn catch_up(&mut self, index: u32) {
        if !self.has_room_for_piece(self.lines.waiting(index)) {
            return;
        }
        match self.catch_ups.lines.get_mut(&index).map(VecDeque::front_mut) {
            Some(Some(CatchUp::Channel { channel, told })) => {
                let Some(position) = told.take() else { return };
                let (channel, connection) = (channel.clone(), self.lines.slab.id(index));
                self.hub.catch_up(self.now, connection, &channel, Since::part(position));
            }
            Some(Some(CatchUp::Read { ticket, reading, .. })) => {
                let Some(reading) = reading.take() else { return };
                let ticket = *ticket;
                self.ask_for(ticket, reading);
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
