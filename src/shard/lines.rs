//! Connections as lines that carry bytes: the ring, the records and what is queued, without any protocol.
//!
//! Whatever the layers above want sent is queued here during a turn and leaves in one send per connection at its
//! end. There is one door to it, [`Outbox`]; who does not read is dealt with in `lines/slow.rs`. A line is closed in
//! named steps:
//!
//! ```text
//!   live ─finish─► FINISHING ─(queue sent)─► SHUT ─(peer ends, or deadline)─┐
//!     └────────────────────────────abort────────────────────────────────────┴─► CLOSING ─(kernel lets go)─► free
//! ```

mod delivery;
mod flush;
mod slow;

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

pub(super) use self::{
    delivery::{Broadcast, Delivery},
    flush::Given,
};
use self::{flush::Sending, slow::Slow};

use super::{
    compression::Compression,
    connection::{Connection, Flags, NO_QUEUE, Slab},
    frames::Frame,
    outbox::{Class, Outbox, Room},
    places::Places,
    secrets::Secrets,
    setup::Forms,
    wheel::Wheel,
};
use crate::{
    hub::Hub,
    limits::{Limits, TICK_MS},
    mesh::ShardReport,
    model::ConnectionId,
    ring::{Errno, Ring, SendBytes},
};

/// The connections of a shard and what moves their bytes.
pub(super) struct Lines {
    pub(super) ring: Ring,
    pub(super) slab: Slab,
    pub(super) outbox: Outbox,
    slow: Slow,
    pub(super) secrets: Secrets,
    pub(super) compression: Compression,
    pub(super) places: Places,
    sending: Sending,
    /// Whether more may be sent now.
    pub(super) may_send: bool,
    /// Connections with something to send at the end of the turn.
    pub(super) dirty: Vec<u32>,
    /// Publishers that are not read for the time being.
    pub(super) held_back: FxHashSet<ConnectionId>,
    /// Readable connections for which no receive buffer was free.
    starved: VecDeque<ConnectionId>,
    starved_total: u64,
    /// Connections with something to be sent before they close, and how much that was when it was last looked at.
    last_words: FxHashMap<u32, usize>,
    /// Connections that the kernel could not watch for want of memory, and when to try again.
    unarmed: VecDeque<(ConnectionId, u64)>,
}

/// Sends looked at to find out whether one of them is waited for.
const SENDS_LOOKED_AT_MAX: usize = 32;

/// Whether the kernel watches a connection again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Armed {
    /// It does.
    Now,
    /// It will be asked again.
    Later,
    /// It cannot.
    Never,
}

impl Lines {
    pub(super) fn new(
        ring: Ring,
        capacity: u32,
        limits: &Limits,
        shards: u16,
        (secrets, forms): (Secrets, Forms),
    ) -> Self {
        Self {
            ring,
            slab: Slab::new(capacity),
            outbox: Outbox::new(limits.send_queue_bytes_max as usize),
            slow: Slow::new(limits, shards),
            secrets,
            compression: Compression::new(forms),
            places: Places::default(),
            sending: Sending::default(),
            may_send: true,
            dirty: Vec::new(),
            held_back: FxHashSet::default(),
            starved: VecDeque::new(),
            starved_total: 0,
            last_words: FxHashMap::default(),
            unarmed: VecDeque::new(),
        }
    }

    /// How many receives have found no buffer.
    pub(super) fn starved_total(&self) -> u64 {
        self.starved_total
    }

    /// Goes on counting from there.
    pub(super) fn count_starved_from(&mut self, total: u64) {
        self.starved_total = total;
    }

    /// Starts reading what has arrived, now or as soon as reading is possible.
    pub(super) fn receive(&mut self, index: u32) {
        let id = self.slab.id(index);
        let record = self.slab.at(index);
        if !record.flags.is_live() {
            return;
        }
        if record.flags.is_paused() || record.flags.has(Flags::RECEIVING) {
            record.flags.set(Flags::READABLE);
            return;
        }
        if !self.held_back.is_empty() && self.held_back.contains(&id) {
            record.flags.set(Flags::READABLE);
            return;
        }
        record.flags.clear(Flags::READABLE);
        if self.ring.receive(id) {
            record.flags.set(Flags::RECEIVING);
        } else {
            self.starve(index);
        }
    }

    /// Notes a readable connection for which there was no buffer or memory.
    pub(super) fn starve(&mut self, index: u32) {
        self.starved_total += 1;
        let id = self.slab.id(index);
        let flags = &mut self.slab.at(index).flags;
        flags.set(Flags::READABLE);
        if !flags.has(Flags::STARVED) {
            flags.set(Flags::STARVED);
            self.starved.push_back(id);
        }
    }

    /// Starts the receives that waited for buffers, the longest wait first.
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..self.starved.len() {
            if !self.ring.has_receive_buffers() {
                return;
            }
            let Some(id) = self.starved.pop_front() else { return };
            if let Some(record) = self.slab.get(id) {
                record.flags.clear(Flags::STARVED);
                self.receive(id.index);
            }
        }
    }

    /// Watches a connection again that is not watched any more: the kernel has ended the poll because its completion
    /// queue was full, or has failed. One that it has no memory for now is not tried again before a tick is over: trying
    /// costs it the memory it lacks.
    pub(super) fn arm_anew(&mut self, id: ConnectionId, failed: Option<Errno>, now_ms: u64) -> Armed {
        match failed {
            None => {
                self.slab.at(id.index).flags.set(Flags::ARMED);
                self.ring.poll(id);
                Armed::Now
            }
            Some(errno) if errno.is_shortage() => {
                self.unarmed.push_back((id, now_ms + TICK_MS));
                Armed::Later
            }
            Some(_) => Armed::Never,
        }
    }

    /// Watches the connections again that the kernel could not watch a tick ago.
    pub(super) fn arm_again(&mut self, now_ms: u64) {
        while self.unarmed.front().is_some_and(|(_, due_ms)| *due_ms <= now_ms) {
            let Some((id, _)) = self.unarmed.pop_front() else { return };
            if let Some(record) = self.slab.get(id)
                && record.flags.is_live()
            {
                record.flags.set(Flags::ARMED);
                self.ring.poll(id);
            }
        }
    }

    /// Whether connections wait to be watched again.
    pub(super) fn has_unarmed(&self) -> bool {
        !self.unarmed.is_empty()
    }

    /// Whether readable connections still wait for buffers.
    pub(super) fn is_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Whether something is to be sent that the kernel has not been given.
    pub(super) fn has_more(&self) -> bool {
        !self.dirty.is_empty() || self.slow.is_looking()
    }

    /// Whether the end of a send that ends with the next enter lets something go on.
    pub(super) fn awaits_sends(&self) -> bool {
        // Looking at very many costs more than the turn that it may spare.
        self.ring.sends_at_once_count() > SENDS_LOOKED_AT_MAX
            || self.ring.sends_at_once().any(|index| {
                let record = self.slab.look(index);
                record.flags.has(Flags::AWAITS_SEND) || self.outbox.waiting(record.queue) > 0
            })
    }

    /// Stops reading for a reason, a pausing flag.
    pub(super) fn pause(&mut self, index: u32, reason: Flags) {
        self.slab.at(index).flags.set(reason);
    }

    /// Reads on, unless there still is a reason not to.
    pub(super) fn resume(&mut self, index: u32) {
        let flags = self.slab.look(index).flags;
        if flags.has(Flags::READABLE) && !flags.is_paused() {
            self.receive(index);
        }
    }

    /// Says what `write` writes to a connection; it leaves at the end of the turn. The client of an answer is not read
    /// while too much waits for it.
    pub(super) fn say(&mut self, index: u32, class: Class, write: impl FnOnce(&mut Vec<u8>)) -> Room {
        if !self.may_be_told(index, class) {
            return Room::Slow;
        }
        let (in_flight, admitted) = (self.in_flight(index), self.admitted_as(index, class));
        let queue = &mut self.slab.at(index).queue;
        let room = self.outbox.say(queue, in_flight, admitted, write);
        self.after_saying(index, class, room)
    }

    /// As [`Self::say`], of bytes that are not to be copied.
    pub(super) fn push(&mut self, index: u32, class: Class, bytes: SendBytes) -> Room {
        self.push_frame(index, class, Frame::of(bytes, 0))
    }

    /// As [`Self::push`], of bytes that may move their client.
    pub(super) fn push_frame(&mut self, index: u32, class: Class, frame: Frame) -> Room {
        if !self.may_be_told(index, class) {
            return Room::Slow;
        }
        let (in_flight, admitted) = (self.in_flight(index), self.admitted_as(index, class));
        let queue = &mut self.slab.at(index).queue;
        let room = self.outbox.push(queue, in_flight, admitted, frame);
        self.after_saying(index, class, room)
    }

    /// Whether anything may be said to a connection: not once it is being closed, and last words only once it has been
    /// found slow.
    pub(super) fn may_be_told(&self, index: u32, class: Class) -> bool {
        let flags = self.slab.look(index).flags;
        !flags.has(Flags::CLOSING) && (class == Class::Last || !flags.has(Flags::SLOW))
    }

    /// Whether something is being sent to a connection that its client can take. Before that nothing which waits for it shows
    /// how it reads, and what others say may come in any number.
    pub(super) fn has_its_turn(&self, index: u32) -> bool {
        self.slab.look(index).send.is_some_and(|send| !self.ring.is_new(send, index))
    }

    /// As what something is let through.
    fn admitted_as(&self, index: u32, class: Class) -> Class {
        match class {
            Class::Publication if !self.has_its_turn(index) => Class::Last,
            class => class,
        }
    }

    pub(super) fn after_saying(&mut self, index: u32, class: Class, room: Room) -> Room {
        let record = self.slab.at(index);
        match (room, class) {
            (Room::Slow, _) => {
                self.find_slow(index);
                return room;
            }
            (Room::Pause, Class::Answer | Class::Control) => record.flags.set(Flags::PAUSED_FULL),
            (Room::Pause, Class::Recovery | Class::Publication | Class::Last) | (Room::Enough, _) => {}
        }
        mark_dirty(record, index, &mut self.dirty);
        self.keep_to_budget();
        room
    }

    /// Bytes waiting for a connection, with those in flight.
    pub(super) fn waiting(&self, index: u32) -> usize {
        self.outbox.waiting(self.slab.look(index).queue) + self.in_flight(index)
    }

    /// Bytes waiting for a connection behind what is in flight.
    pub(super) fn queued(&self, index: u32) -> usize {
        self.outbox.waiting(self.slab.look(index).queue)
    }

    /// Bytes of a connection's send that its peer has not taken.
    pub(super) fn in_flight(&self, index: u32) -> usize {
        self.slab.look(index).send.map_or(0, |send| self.ring.unsent(send, index))
    }

    /// Whether nothing waits for a connection and nothing is on its way.
    pub(super) fn is_silent(&self, index: u32) -> bool {
        let record = self.slab.look(index);
        record.queue == NO_QUEUE
            && !record.flags.has(Flags::SENDING)
            && !(record.flags.has(Flags::TLS) && self.secrets.has_unsent(index))
    }

    /// A send has ended well: sends what has gathered meanwhile, or goes on closing. Tells whether the queue, once
    /// full, has room again, so that the connection can be read on.
    pub(super) fn handle_sent(&mut self, index: u32, bytes: SendBytes) -> bool {
        if self.end_send(index, bytes) {
            return false;
        }
        self.send_next(index);
        let has_room = self.waiting(index) <= self.outbox.bytes_max() / 2;
        has_room && self.slab.look(index).flags.has(Flags::PAUSED_FULL)
    }

    /// A send has ended, one way or the other; tells whether the connection is being closed.
    pub(super) fn end_send(&mut self, index: u32, bytes: SendBytes) -> bool {
        let record = self.slab.at(index);
        record.flags.clear(Flags::SENDING);
        record.send = None;
        let is_closing = record.flags.has(Flags::CLOSING);
        if record.flags.has(Flags::COUNTED) {
            record.flags.clear(Flags::COUNTED);
            self.slow.forget_leaving(&bytes);
        }
        self.outbox.recycle(bytes);
        is_closing
    }

    /// Stops reading a connection whose queue is full, or that is to be ended; tells whether it is.
    pub(super) fn pause_if_full(&mut self, index: u32) -> bool {
        let (record, in_flight) = (self.slab.look(index), self.in_flight(index));
        let is_full = self.outbox.is_full(record.queue, in_flight) || record.flags.has(Flags::SLOW);
        if is_full {
            self.pause(index, Flags::PAUSED_FULL);
        }
        is_full
    }

    /// A send has failed: nothing more can be sent.
    pub(super) fn handle_send_failed(&mut self, index: u32, bytes: SendBytes) {
        self.end_send(index, bytes);
        self.outbox.abandon(&mut self.slab.at(index).queue);
    }

    /// Sends what is queued, then ends the sending direction.
    pub(super) fn finish(&mut self, index: u32) {
        let record = self.slab.at(index);
        if record.flags.has(Flags::FINISHING) {
            return;
        }
        record.flags.set(Flags::FINISHING);
        // No request waits for an answer any more, here or elsewhere; the peer's end is to be seen.
        record.flags.clear(Flags::PAUSED_AWAITING);
        record.flags.clear(Flags::LEAVING);
        record.flags.clear(Flags::KEPT);
        if self.is_silent(index) {
            self.shut(index);
        }
        self.resume(index);
    }

    /// A connection closes when everything has been sent: from now on its client has to take some of it now and then. One
    /// that was found slow gets no more time.
    pub(super) fn watch_last_words(&mut self, index: u32) {
        if !self.is_silent(index) && !self.slab.look(index).flags.has(Flags::SLOW) {
            self.last_words.insert(index, self.waiting(index));
        }
    }

    /// Whether the client of a connection that closes has taken some of what it is told since that was last asked.
    pub(super) fn takes_last_words(&mut self, index: u32) -> bool {
        let left = self.waiting(index);
        // It has not had its turn.
        if self.outbox.is_put_off(self.slab.look(index).queue) {
            return true;
        }
        match self.last_words.get_mut(&index) {
            Some(before) if left < *before => {
                *before = left;
                true
            }
            _ => false,
        }
    }

    /// Forgets what waits for a connection, so that a last word can be queued.
    pub(super) fn discard_waiting(&mut self, index: u32) {
        self.outbox.discard(&mut self.slab.at(index).queue);
    }

    /// Makes a descriptor outside the ring's table; the connection stays where it is.
    pub(super) fn export(&mut self, index: u32) {
        self.slab.at(index).flags.set(Flags::EXPORTING);
        self.ring.export(index);
    }

    /// Closes at once, whatever is queued or in flight.
    pub(super) fn abort(&mut self, index: u32) {
        let id = self.slab.id(index);
        let record = self.slab.at(index);
        if record.flags.has(Flags::CLOSING) {
            return;
        }
        record.flags.set(Flags::CLOSING);
        self.outbox.abandon(&mut record.queue);
        self.places.remove(index);
        if !self.last_words.is_empty() {
            self.last_words.remove(&index);
        }
        if record.flags.has(Flags::ARMED) {
            self.ring.poll_remove(id);
        }
        if let Some(send) = record.send {
            // Its send may have ended already, and not been handled yet.
            if let Some(bytes) = self.ring.bytes_of(send, index) {
                record.flags.set(Flags::COUNTED);
                self.slow.note_leaving(bytes);
            }
            self.ring.cancel_send(send, index);
        }
        self.ring.close(index);
    }

    /// Fills in what a report says of sending.
    pub(super) fn report(&self, report: &mut ShardReport) {
        report.receive_buffers_exhausted_total = self.starved_total;
        report.send_queue_bytes = self.outbox.total_bytes();
        report.messages_deflated_total += self.compression.deflated_total();
        report.tls_handshakes_in_progress = self.secrets.shaking.len() as u32;
        let bytes = size_of::<Connection>() + Wheel::BYTES_PER_CONNECTION + Hub::BYTES_PER_SUBSCRIPTION;
        report.connection_bytes = bytes as u32;
    }

    pub(super) fn shut(&mut self, index: u32) {
        if self.slab.look(index).flags.has(Flags::TLS) && self.say_farewell(index) {
            return;
        }
        let flags = &mut self.slab.at(index).flags;
        if !flags.has(Flags::SHUT) {
            flags.set(Flags::SHUT);
            flags.set(Flags::SHUTTING);
            self.ring.shutdown_write(index);
        }
    }
}

/// Puts a connection on the list of those with something to send, once.
pub(super) fn mark_dirty(record: &mut Connection, index: u32, dirty: &mut Vec<u32>) {
    if !record.flags.has(Flags::DIRTY) {
        record.flags.set(Flags::DIRTY);
        dirty.push(index);
    }
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
