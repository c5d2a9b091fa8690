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
//! A turn writes no more of this than it may, whoever has room: the others are put off to the next. A client catches up
//! with one channel after the other ([`super::behind`]). Invariant: [`Flags::CATCHING_UP`] is set while it stands there.

use super::{
    behind::{Next, Reading},
    connection::Flags,
    turn::Shard,
};
use crate::{
    app::Reply,
    hub::Since,
    limits::RECOVERY_PIECE_BYTES,
    mesh::Welcome,
    model::{ChannelName, Ticket},
    session::Kind,
};

impl Shard {
    /// Whether a subscriber is told something of what it missed at once: not while it catches up with another channel, or
    /// has much to read, or when this turn has written enough.
    pub(super) fn has_room_for_first(&self, index: u32) -> bool {
        let is_catching_up = self.lines.slab.look(index).flags.has(Flags::CATCHING_UP);
        let has_room = self.has_room_for_piece(self.lines.waiting(index));
        !is_catching_up && has_room && !self.lines.outbox.has_made_enough()
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
        self.catch_ups.want(ticket, reading);
        self.catch_up(index);
    }

    /// Asks a channel's owner.
    pub(super) fn ask_for(&mut self, ticket: Ticket, reading: Reading) {
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
        if self.lines.slab.get_in_session(ticket.connection).is_some() && self.catch_ups.note_read(ticket) {
            self.catch_up(ticket.connection.index);
        }
    }

    /// Waits for nothing any more that was asked of some owners.
    pub(super) fn give_up_reads(&mut self, is_theirs: &dyn Fn(&ChannelName) -> bool) {
        for index in self.catch_ups.forget_asked(is_theirs) {
            self.catch_up(index);
        }
    }

    /// A connection has subscribed to a channel of which it has missed some, and is told some of that at once, or later.
    pub(super) fn begin_to_catch_up(&mut self, index: u32, channel: ChannelName, is_at_once: bool) {
        self.lines.slab.at(index).flags.set(Flags::CATCHING_UP);
        self.catch_ups.begin(index, channel, is_at_once);
        if is_at_once {
            self.expect_piece();
        }
    }

    /// A piece has been queued, and what it has come to has been counted.
    pub(super) fn note_piece(&mut self, index: u32, channel: &ChannelName, welcome: &Welcome) {
        if !self.lines.slab.look(index).flags.has(Flags::CATCHING_UP) {
            return;
        }
        let told = (!welcome.is_all()).then_some(welcome.position);
        if self.catch_ups.note_piece(index, channel, told) {
            self.lines.outbox.expect_no_more(RECOVERY_PIECE_BYTES as usize);
        }
        self.catch_up(index);
    }

    /// Counts a piece when it is asked for, with all that it may have: this turn may ask for many before the first has come.
    fn expect_piece(&self) {
        self.lines.outbox.expect_made(RECOVERY_PIECE_BYTES as usize);
    }

    /// Asks for the next piece, if there is room for it, in a turn that has not written enough.
    pub(super) fn catch_up(&mut self, index: u32) {
        self.catch_up_unless(index, self.lines.outbox.has_made_enough());
    }

    /// As [`Self::catch_up`]; tells whether anything has been asked for.
    fn catch_up_unless(&mut self, index: u32, is_enough: bool) -> bool {
        if !self.has_room_for_piece(self.lines.waiting(index)) {
            return false;
        }
        match self.catch_ups.go_on(index, is_enough) {
            Next::Nothing => {
                self.end_catching_up(index);
                return false;
            }
            Next::Wait => return false,
            Next::Piece { channel, after } => {
                self.expect_piece();
                let connection = self.lines.slab.id(index);
                self.hub.catch_up(self.now, connection, &channel, Since::part(after));
            }
            Next::Read { ticket, reading } => self.ask_for(ticket, reading),
        }
        true
    }

    /// Goes on with those that were put off, until this turn has written enough, and with one at least.
    pub(super) fn continue_catching_up(&mut self) {
        let mut has_asked = false;
        while (!has_asked || !self.lines.outbox.has_made_enough())
            && let Some(index) = self.catch_ups.next_put_off()
        {
            has_asked |= self.catch_up_unless(index, false);
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
        self.catch_ups.forget(index);
    }
}
