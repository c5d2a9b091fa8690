//! The sends in flight, and the bytes they own.
//!
//! ```text
//!             ┌─ all taken ─────────────────► ended, known when the enter has returned
//!   at once ──┤
//!             └─ less taken ─► waiting ─────► ended, known by its completion
//! ```
//!
//! A send is tried at once first, and then has no completion: most sockets have room, and a completion would end the
//! sleep of a thread that has just answered and waits for the next request. Only what a full socket leaves over waits
//! in the kernel.

use std::{collections::VecDeque, num::NonZeroU32};

use super::{Completion, Errno, SendBytes};

/// A send in flight, for [`super::Ring::cancel_send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendId(NonZeroU32);

/// The sends of one ring.
#[derive(Default)]
pub(super) struct Sends {
    places: Vec<Place>,
    /// The first free place, plus one; 0 is none.
    free: u32,
    /// Those tried at once, in the order of their entries: each place with the number of its send.
    at_once: VecDeque<(u32, u32)>,
    /// The first so many of them the kernel has seen.
    submitted: usize,
    /// How many there have been, wrapping.
    begun: u32,
    /// How many wait in the kernel.
    waiting: u32,
    /// Counts the looks for those that stall, wrapping.
    round: u8,
}

/// A send in flight, or a free place in a list of such.
enum Place {
    InFlight(Send),
    Free { next: u32 },
}

struct Send {
    index: u32,
    /// Tells it from other sends that have had its place.
    number: u32,
    offset: u32,
    is_at_once: bool,
    is_given_up: bool,
    /// The round in which its peer last took some of it.
    moved: u8,
    bytes: SendBytes,
}

/// What a completion means for a send.
pub(super) enum Sent {
    /// It has to be sent on.
    Rest,
    /// It has ended.
    Ended(Completion),
}

impl SendId {
    pub(super) fn of_slot(slot: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(slot))
    }

    pub(super) fn slot(self) -> u32 {
        self.0.get() - 1
    }
}

impl Sends {
    /// Keeps bytes that are to be sent at once.
    pub(super) fn begin(&mut self, index: u32, bytes: SendBytes) -> SendId {
        let number = self.begun;
        self.begun = number.wrapping_add(1);
        let moved = self.round;
        let send = Send { index, number, offset: 0, is_at_once: true, is_given_up: false, moved, bytes };
        let slot = self.keep(send);
        self.at_once.push_back((slot, number));
        SendId::of_slot(slot)
    }

    /// What is still to be sent: the connection, the bytes, and whether at once.
    pub(super) fn rest(&self, send: SendId) -> (u32, &[u8], bool) {
        let Place::InFlight(send) = &self.places[send.slot() as usize] else {
            unreachable!("only sends in flight are pushed")
        };
        (send.index, &send.bytes.as_slice()[send.offset as usize..], send.is_at_once)
    }

    /// Sends no rest of a connection's send any more; tells whether it is in flight. It may have ended, and its place be
    /// another's, before its completion has been handled.
    pub(super) fn give_up(&mut self, send: SendId, index: u32) -> bool {
        match &mut self.places[send.slot() as usize] {
            Place::InFlight(send) if send.index == index => {
                send.is_given_up = true;
                true
            }
            Place::InFlight(_) | Place::Free { .. } => false,
        }
    }

    /// Sends no rest of any send any more.
    pub(super) fn give_up_all(&mut self) {
        for place in &mut self.places {
            if let Place::InFlight(send) = place {
                send.is_given_up = true;
            }
        }
    }

    /// Whether none is in flight.
    pub(super) fn are_none(&self) -> bool {
        !self.places.iter().any(|place| matches!(place, Place::InFlight(_)))
    }

    /// Bytes of a connection's send that the kernel has not taken yet; none of one that has ended.
    pub(super) fn unsent(&self, send: SendId, index: u32) -> usize {
        self.find(send, index).map_or(0, |send| send.bytes.len() - send.offset as usize)
    }

    /// Whether the kernel has not been shown a connection's send yet.
    pub(super) fn is_new(&self, send: SendId, index: u32) -> bool {
        let new = (self.at_once.len() - self.submitted) as u32;
        let is_new = |send: &Send| send.is_at_once && self.begun.wrapping_sub(send.number) <= new;
        self.find(send, index).is_some_and(is_new)
    }

    /// All bytes of a connection's send that has not ended.
    pub(super) fn bytes(&self, send: SendId, index: u32) -> Option<&SendBytes> {
        self.find(send, index).map(|send| &send.bytes)
    }

    fn find(&self, send: SendId, index: u32) -> Option<&Send> {
        match &self.places[send.slot() as usize] {
            Place::InFlight(send) => (send.index == index).then_some(send),
            Place::Free { .. } => None,
        }
    }

    /// Whether nothing waits in the kernel.
    pub(super) fn none_wait(&self) -> bool {
        self.waiting == 0
    }

    /// Begins another round.
    pub(super) fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Looks at `count` sends from the place `from` on, and adds the connections of those of which nothing has been
    /// taken for more than `rounds` rounds; tells where to look on, if there are more.
    pub(super) fn stalled(
        &self,
        from: usize,
        count: usize,
        rounds: u8,
        into: &mut Vec<u32>,
    ) -> Option<usize> {
        let to = from.saturating_add(count).min(self.places.len());
        for place in &self.places[from.min(to)..to] {
            if let Place::InFlight(send) = place
                && self.round.wrapping_sub(send.moved) > rounds
            {
                into.push(send.index);
            }
        }
        (to < self.places.len()).then_some(to)
    }

    /// A completion has come for a send: one that waited has ended or was interrupted, or a full socket has taken less
    /// than was to be sent at once.
    pub(super) fn end(&mut self, id: SendId, outcome: Result<u32, Errno>) -> Sent {
        let round = self.round;
        let Place::InFlight(send) = &mut self.places[id.slot() as usize] else {
            unreachable!("a send completes once")
        };
        let was_at_once = std::mem::replace(&mut send.is_at_once, false);
        let waits = was_at_once && outcome.is_err_and(|errno| matches!(errno.0, libc::EAGAIN | libc::EINTR));
        let taken = outcome.unwrap_or(0);
        if taken > 0 {
            send.offset += taken;
            send.moved = round;
        }
        if (taken > 0 || waits) && (send.offset as usize) < send.bytes.len() && !send.is_given_up {
            self.waiting += u32::from(was_at_once);
            return Sent::Rest;
        }
        self.waiting -= u32::from(!was_at_once);
        let Send { index, offset, bytes, is_given_up, .. } = self.release(id.slot());
        // Of one that was given up it is known how much was taken before, whatever the kernel had to say last.
        let is_stopped = |errno: &Errno| is_given_up && errno.0 == libc::ECANCELED;
        let result = match outcome {
            Err(errno) if is_stopped(&errno) && offset > 0 => Ok(offset),
            outcome => outcome.map(|_| offset),
        };
        Sent::Ended(Completion::Sent { index, result, bytes })
    }

    /// The kernel has seen all sends there are.
    pub(super) fn handle_submitted(&mut self) {
        self.submitted = self.at_once.len();
    }

    /// All that the kernel has tried at once, and that had no completion, have ended well.
    pub(super) fn end_at_once(&mut self, into: &mut Vec<Completion>) {
        for _ in 0..std::mem::take(&mut self.submitted) {
            let Some((slot, number)) = self.at_once.pop_front() else { break };
            let is_it = |send: &Send| send.is_at_once && send.number == number;
            if matches!(&self.places[slot as usize], Place::InFlight(send) if is_it(send)) {
                let Send { index, bytes, .. } = self.release(slot);
                into.push(Completion::Sent { index, result: Ok(bytes.len() as u32), bytes });
            }
        }
    }

    /// How many were tried at once and are not known to have ended.
    pub(super) fn at_once_count(&self) -> usize {
        self.at_once.len()
    }

    /// Their connections.
    pub(super) fn at_once(&self) -> impl Iterator<Item = u32> {
        self.at_once.iter().filter_map(|(slot, _)| match &self.places[*slot as usize] {
            Place::InFlight(send) => Some(send.index),
            Place::Free { .. } => None,
        })
    }

    /// Forgets the bytes in flight without freeing them.
    pub(super) fn leak(&mut self) {
        for place in self.places.drain(..) {
            if let Place::InFlight(send) = place {
                std::mem::forget(send.bytes);
            }
        }
    }

    fn keep(&mut self, send: Send) -> u32 {
        let Some(slot) = self.free.checked_sub(1) else {
            self.places.push(Place::InFlight(send));
            return self.places.len() as u32 - 1;
        };
        match std::mem::replace(&mut self.places[slot as usize], Place::InFlight(send)) {
            Place::Free { next } => self.free = next,
            Place::InFlight(_) => unreachable!("the free list holds free places only"),
        }
        slot
    }

    fn release(&mut self, slot: u32) -> Send {
        let freed = Place::Free { next: self.free };
        self.free = slot + 1;
        match std::mem::replace(&mut self.places[slot as usize], freed) {
            Place::InFlight(send) => send,
            Place::Free { .. } => unreachable!("a send ends once"),
        }
    }
}
