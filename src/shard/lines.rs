//! Connections as lines that carry bytes: the ring, the records and what is queued, without any protocol.
//!
//! Whatever the layers above want sent is queued here during a turn and leaves in one send per connection at its
//! end. There is one door to it, [`Outbox`]; who does not read is dealt with in [`super::slow`]. A line is closed in
//! named steps:
//!
//! ```text
//!   live ─finish─► FINISHING ─(queue sent)─► SHUT ─(peer ends, or deadline)─┐
//!     └────────────────────────────abort────────────────────────────────────┴─► CLOSING ─(kernel lets go)─► free
//! ```

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{
    compression::Compression,
    connection::{Connection, Flags, NO_QUEUE, Slab},
    outbox::{Class, Frame, Outbox, Room},
    secrets::Secrets,
    setup::Forms,
    slow::Slow,
    wheel::Wheel,
};
use crate::{
    hub::Hub,
    limits::{Limits, SEALED_BYTES_PER_TURN, TICK_MS},
    mesh::ShardReport,
    model::ConnectionId,
    ring::{Ring, SendBytes},
};

/// The connections of a shard and what moves their bytes.
pub(super) struct Lines {
    pub(super) ring: Ring,
    pub(super) slab: Slab,
    pub(super) outbox: Outbox,
    pub(super) slow: Slow,
    pub(super) secrets: Secrets,
    pub(super) compression: Compression,
    /// Bytes sealed in this turn; as many as may be while others wait for that, who come first.
    pub(super) sealed_bytes: usize,
    /// Connections with something to send at the end of the turn.
    pub(super) dirty: Vec<u32>,
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
            sealed_bytes: 0,
            dirty: Vec::new(),
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

    /// Watches a connection again later: the kernel could not.
    pub(super) fn arm_later(&mut self, id: ConnectionId, now_ms: u64) {
        self.unarmed.push_back((id, now_ms + TICK_MS));
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
        let in_flight = self.in_flight(index);
        let queue = &mut self.slab.at(index).queue;
        let room = self.outbox.say(queue, in_flight, class, write);
        self.after_saying(index, class, room)
    }

    /// As [`Self::say`], of bytes that are not to be copied.
    pub(super) fn push(&mut self, index: u32, class: Class, bytes: SendBytes) -> Room {
        if !self.may_be_told(index, class) {
            return Room::Slow;
        }
        let in_flight = self.in_flight(index);
        let queue = &mut self.slab.at(index).queue;
        let room = self.outbox.push(queue, in_flight, class, Frame { bytes, publications: 0 });
        self.after_saying(index, class, room)
    }

    /// Whether anything may be said to a connection: not once it is being closed, and last words only once it has been
    /// found slow.
    pub(super) fn may_be_told(&self, index: u32, class: Class) -> bool {
        let flags = self.slab.look(index).flags;
        !flags.has(Flags::CLOSING) && (class == Class::Last || !flags.has(Flags::SLOW))
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

    /// Ends the turn: one send for every connection that has something to send and nothing in flight.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        if !self.may_seal() {
            self.sealed_bytes = 0;
        }
        for index in dirty.drain(..) {
            let record = self.slab.at(index);
            record.flags.clear(Flags::DIRTY);
            if !record.flags.has(Flags::CLOSING) && !record.flags.has(Flags::SENDING) {
                self.send_next(index);
            }
        }
        // Those for whom nothing more could be sealed have put themselves on the list again.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        self.sealed_bytes = if self.dirty.is_empty() { 0 } else { SEALED_BYTES_PER_TURN };
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
    fn end_send(&mut self, index: u32, bytes: SendBytes) -> bool {
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
        self.outbox.discard(&mut self.slab.at(index).queue);
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
        self.outbox.discard(&mut record.queue);
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
        report.tls_handshakes_in_progress = self.secrets.shaking_count() as u32;
        let bytes = size_of::<Connection>() + Wheel::BYTES_PER_CONNECTION + Hub::BYTES_PER_SUBSCRIPTION;
        report.connection_bytes = bytes as u32;
    }

    fn send_next(&mut self, index: u32) {
        let record = self.slab.at(index);
        if record.flags.has(Flags::TLS) {
            return self.send_next_sealed(index);
        }
        match self.outbox.take(&mut record.queue) {
            Some(bytes) => {
                record.flags.set(Flags::SENDING);
                record.send = Some(self.ring.send(index, bytes));
            }
            None if record.flags.has(Flags::FINISHING) => self.shut(index),
            None => {}
        }
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
mod tests {
    use std::{
        io::Read,
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use super::*;
    use crate::{
        ring::{Completion, RingSettings},
        session::{Session, WebSocket},
    };

    const BYTES_MAX: usize = 100_000;
    const FRAME: usize = 40_000;

    /// Lines over a ring, and the other ends.
    struct Rig {
        lines: Lines,
        peers: Vec<UnixStream>,
        /// What [`Lines::handle_sent`] said of each send that ended.
        has_room: Vec<bool>,
    }

    impl Rig {
        fn new(connections: u32, receive_buffers: u16) -> Self {
            let ring = Ring::new(RingSettings {
                submission_entries: 64,
                completion_entries: 256,
                descriptors: connections,
                accepts: 1,
                receive_buffers,
                receive_buffer_bytes: 4096,
            });
            let limits = Limits { send_queue_bytes_max: BYTES_MAX as u32, ..Limits::default() };
            let forms = (Secrets::default(), Forms::default());
            let mut lines = Lines::new(ring.expect("io_uring"), connections, &limits, 1, forms);
            let mut peers = Vec::new();
            for _ in 0..connections {
                let (ours, peer) = UnixStream::pair().expect("a pair");
                socket2::SockRef::from(&ours).set_send_buffer_size(1).expect("the least there is");
                let index = lines.slab.reserve().expect("a slot");
                lines.ring.adopt(index, ours.as_fd()).expect("it is taken");
                let record = lines.slab.at(index);
                record.flags.set(Flags::OPEN);
                record.session = Session::WebSocket(WebSocket::new(0, false));
                peer.set_nonblocking(true).expect("it can be");
                peers.push(peer);
            }
            Self { lines, peers, has_room: Vec::new() }
        }

        /// Does what a turn does with what the kernel has finished.
        fn turn(&mut self) {
            self.lines.flush();
            self.lines.ring.enter(0).expect("it enters");
            let mut completions = Vec::new();
            self.lines.ring.reap(&mut completions, usize::MAX);
            for completion in completions {
                match completion {
                    Completion::Sent { index, result, bytes } => {
                        result.expect("the peer is there");
                        let has_room = self.lines.handle_sent(index, bytes);
                        self.has_room.push(has_room);
                    }
                    Completion::Received { connection, result, .. } => {
                        self.lines.slab.at(connection.index).flags.clear(Flags::RECEIVING);
                        let lease = result.expect("bytes").expect("no end");
                        self.lines.ring.give_back(lease);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }

        /// Reads so many bytes at the other end.
        fn read(&mut self, peer: usize, mut bytes: usize) {
            let mut buffer = [0; 1024];
            while bytes > 0 {
                let len = buffer.len().min(bytes);
                match self.peers[peer].read(&mut buffer[..len]) {
                    Ok(read) => bytes -= read,
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
                self.turn();
            }
        }

        fn flags(&self, index: u32) -> Flags {
            self.lines.slab.look(index).flags
        }
    }

    #[test]
    fn a_client_that_was_not_read_for_its_full_queue_is_read_on_when_half_of_it_is_free() {
        let mut rig = Rig::new(1, 2);
        for _ in 0..5 {
            rig.lines.push(0, Class::Answer, SendBytes::Static(&[b'x'; FRAME]));
        }
        assert!(rig.flags(0).has(Flags::PAUSED_FULL));
        rig.turn();
        rig.read(0, 5 * FRAME);
        // Behind the first four there are 160, 120, 80 and 40 thousand bytes; half of what may wait are 50.
        assert_eq!(rig.has_room, [false, false, false, true, true]);
        rig.lines.slab.at(0).flags.clear(Flags::PAUSED_FULL);
        assert_eq!(rig.lines.push(0, Class::Answer, SendBytes::Static(b"x")), Room::Enough);
        rig.turn();
        rig.turn();
        assert_eq!(rig.has_room.last(), Some(&false), "one that is read need not be read on");
    }

    #[test]
    fn who_finds_no_buffer_is_read_when_there_is_one_the_longest_wait_first_and_each_once() {
        let mut rig = Rig::new(4, 2);
        for peer in &mut rig.peers {
            std::io::Write::write_all(peer, b"hello").expect("it takes five bytes");
        }
        (0..4).for_each(|index| rig.lines.receive(index));
        rig.lines.receive(2);
        assert_eq!(
            [0, 1, 2, 3].map(|index| rig.flags(index).has(Flags::RECEIVING)),
            [true, true, false, false]
        );
        assert!(rig.lines.is_starved());
        rig.lines.feed_starved();
        assert!(rig.lines.is_starved(), "no buffer has come back");
        rig.turn();
        rig.lines.feed_starved();
        assert_eq!([2, 3].map(|index| rig.flags(index).has(Flags::RECEIVING)), [true; 2]);
        assert!(!rig.lines.is_starved() && rig.lines.starved_total() == 3);
    }

    #[test]
    fn a_client_takes_its_last_words_as_long_as_it_takes_some_of_them_and_a_slow_one_has_no_more_time() {
        let mut rig = Rig::new(2, 2);
        for index in 0..2 {
            rig.lines.push(index, Class::Answer, SendBytes::Static(&[b'x'; FRAME]));
        }
        rig.lines.slab.at(1).flags.set(Flags::SLOW);
        rig.turn();
        for index in 0..2 {
            rig.lines.watch_last_words(index);
        }
        assert!(!rig.lines.takes_last_words(0), "nothing has been read");
        rig.read(0, FRAME / 2);
        rig.read(1, FRAME / 2);
        assert!(rig.lines.takes_last_words(0) && !rig.lines.takes_last_words(0));
        assert!(!rig.lines.takes_last_words(1));
        rig.read(0, FRAME / 2);
        assert!(rig.lines.takes_last_words(0), "all has left: there is time for the end");
        assert!(!rig.lines.takes_last_words(0));
    }
}
