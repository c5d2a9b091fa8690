//! What clients have been told and not been sent, whose connections go on in another process.
//!
//! ```text
//!   in flight ─stopped─► the rest of it ─┐
//!   queue ─────(over TLS, sealed)────────┴─► bytes, as they would have left ─► sent first by the other process
//! ```
//!
//! A send that is stopped has been taken to a byte, in the middle of a frame or of a record. So whoever had one stopped gets the
//! rest, or nothing more: no word can be said to it that would be read as something else.
//!
//! What waits is shared with others and, made into bytes, is not any more: a shard takes no more of it than it may have waiting,
//! and no more than [`CARRIED_UNSENT_BYTES_MAX`].

use rustc_hash::FxHashMap;

use super::{connection::Flags, lines::Lines, messages::Held, outbox::Class, turn::Shard};
use crate::{
    limits::CARRIED_UNSENT_BYTES_MAX,
    ring::{Completion, Errno, SendBytes},
    session::Session,
    tls::Way,
};

/// Who goes on with something that has not been sent: of what was in flight, the rest.
pub(super) type Stopped = FxHashMap<u32, Vec<u8>>;

impl Shard {
    /// Stops what is being sent to those who go on, as far as there is room for what waits for them.
    pub(super) fn stop_sending(&mut self) -> Stopped {
        let mut room = CARRIED_UNSENT_BYTES_MAX.min((self.lines.held_bytes_max() / 2) as usize);
        let (mut stopped, mut under_way) = (Stopped::default(), 0);
        for index in 0..self.lines.slab.len() {
            let flags = self.lines.slab.look(index).flags;
            let waiting = self.lines.waiting(index);
            if !flags.is_at_rest() || self.lines.is_silent(index) || waiting > room {
                continue;
            }
            if !self.may_be_carried(index) {
                continue;
            }
            room -= waiting;
            stopped.insert(index, Vec::new());
            if let Some(send) = self.lines.slab.look(index).send {
                self.lines.ring.cancel_send(send, index);
                under_way += 1;
            }
        }
        self.await_stopped(&mut stopped, under_way);
        stopped
    }

    /// Waits until so many sends have been stopped.
    fn await_stopped(&mut self, stopped: &mut Stopped, mut under_way: usize) {
        /// The kernel looks for them when it is entered, and is asked again should it put some off.
        const TRIES_MAX: usize = 100;
        let mut completions = Vec::new();
        for _ in 0..TRIES_MAX {
            if under_way == 0 || self.lines.ring.enter(under_way).is_err() {
                break;
            }
            self.lines.ring.reap(&mut completions, usize::MAX);
            for completion in completions.drain(..) {
                match completion {
                    Completion::Sent { index, result, bytes } if stopped.contains_key(&index) => {
                        under_way -= 1;
                        self.note_stopped(stopped, (index, result), bytes);
                    }
                    other => self.handle_completion(other),
                }
            }
            if under_way > 0 && self.lines.ring.nap(std::time::Duration::from_millis(1)).is_err() {
                break;
            }
        }
        // Nobody knows how much of it was taken.
        stopped.retain(|index, _| !self.lines.slab.look(*index).flags.has(Flags::SENDING));
    }

    /// A send has been stopped, or has ended before.
    fn note_stopped(
        &mut self,
        stopped: &mut Stopped,
        (index, result): (u32, Result<u32, Errno>),
        bytes: SendBytes,
    ) {
        let taken = match result {
            Ok(taken) => taken,
            Err(errno) if matches!(errno.0, libc::ECANCELED | libc::EAGAIN | libc::EINTR) => 0,
            Err(_) => {
                stopped.remove(&index);
                return self.handle_sent(index, result, bytes);
            }
        };
        self.report.sent_bytes_total += u64::from(taken);
        stopped.insert(index, bytes.as_slice()[taken as usize..].to_vec());
        self.lines.end_send(index, bytes);
    }

    /// Sends a connection what it had been told in another process, before anything else.
    pub(super) fn send_on(&mut self, index: u32, bytes: Vec<u8>) {
        match self.lines.slab.look(index).flags.has(Flags::TLS) {
            true => {
                self.lines.secrets.say(index, bytes);
                self.lines.stir(index);
            }
            false => _ = self.lines.push(index, Class::Last, SendBytes::Owned(bytes)),
        }
        self.lines.pause_if_full(index);
    }

    /// Reads what a connection had sent to another process and nobody has heard; not before its client has read, if it has to.
    pub(super) fn read_again(&mut self, index: u32, mut bytes: Vec<u8>) {
        let record = self.lines.slab.look(index);
        match record.flags.has(Flags::PAUSED_FULL) {
            _ if matches!(record.session, Session::Http(_)) => self.feed(index, &mut bytes),
            true => self.hold_back(index, Held { unfinished: None, bytes, at: 0 }),
            false => self.feed_again(index, &mut bytes),
        }
        self.note_partial_input(index);
    }
}

impl Lines {
    /// Takes out all that a connection has been told, behind the rest of what was in flight.
    pub(super) fn take_unsent(&mut self, index: u32, rest: Vec<u8>) -> Vec<u8> {
        let mut unsent = rest;
        loop {
            let (queue, place) = (&mut self.slab.at(index).queue, self.places.of(index));
            let next = match self.secrets.record_and_key(index, Way::Send) {
                Some(record) => self.outbox.take_sealed(queue, record, None, place),
                None => self.outbox.take(queue, place),
            };
            let Some(bytes) = next else { return unsent };
            unsent.extend_from_slice(bytes.as_slice());
            self.outbox.recycle(bytes);
        }
    }
}
