//! What waits to be sent, per connection, while something does; and how much of it there may be.
//!
//! ```text
//!   in flight            frames, oldest first                 tail
//!   ┌────────┐   ┌────────┐ ┌────────┐ ┌────────┐   ┌─────────────────────┐
//!   │ (ring) │ ◄─│ shared │ │ shared │ │ owned  │ ◄─│ small answers, open │
//!   └────────┘   └────────┘ └────────┘ └────────┘   └─────────────────────┘
//! ```
//!
//! Order is kept: whatever is pushed behind the tail closes it first. Queues and buffers are used again, so that a
//! connection that has nothing to send owns none.
//!
//! Everything that is to be sent passes [`Outbox::admit`], which knows the bound of one queue. What all of them hold is
//! a running sum, which whoever owns the outbox holds against the shard's budget. It counts memory: bytes made for one
//! connection until they have been sent, those in flight among them; an encoding that many are sent once; and each frame's
//! place in a queue.
//!
//! Beside that it counts what a turn writes, whoever it is for: when that is enough, what takes many bytes waits
//! ([`super::pages`]).

mod sealing;

use std::{cell::Cell, collections::VecDeque, rc::Rc};

use super::{
    connection::NO_QUEUE,
    frames::{FRAME_BYTES, Frame, weight},
    places::{Place, Step},
};
use crate::{
    limits::{GATHER_BYTES_MAX, MADE_BYTES_PER_TURN},
    model::Position,
    ring::{Encoded, SendBytes},
};

/// The queues of one shard.
pub(super) struct Outbox {
    queues: Vec<Queue>,
    free: Vec<u32>,
    spare: Vec<Vec<u8>>,
    /// What may wait for one connection.
    bytes_max: usize,
    /// Memory of bytes made for one connection, and of places in queues.
    own_bytes: u64,
    /// Memory of encodings that many are sent.
    encoded_bytes: Rc<Cell<u64>>,
    /// Bytes written for clients in this turn.
    made_bytes: Cell<usize>,
    /// What the frames were about that were dropped last.
    dropped: Vec<Step>,
    /// Bytes that may still come to be written in it.
    expected_bytes: Cell<usize>,
}

/// One connection's queue.
#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    tail: Vec<u8>,
    frame_bytes: usize,
    /// Bytes of the oldest frame that have been sealed, and sent; the rest is kept to the end, or the line is.
    begun_bytes: usize,
    /// Bytes taken since there was too much.
    excess: usize,
    /// The shard has not given it its turn to be sent. What waits meanwhile does not show how its client reads.
    is_put_off: bool,
}

/// What is said to a client, by what becomes of it when the client does not read.
///
/// | class | more than may wait | as much again |
/// |---|---|---|
/// | `Answer`, `Control` | it is not read until it has read half | it is slow |
/// | `Recovery` | no more of it until it has read | it is slow |
/// | `Publication` | it is slow, or loses the oldest | |
/// | `Last` | | |
///
/// But whoever has not had its turn to be sent anything (`lines/flush.rs`) is not slow, whatever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What the client asked for.
    Answer,
    /// What keeps its connection going: pings, pongs, errors of its protocol.
    Control,
    /// What it missed.
    Recovery,
    /// What others said.
    Publication,
    /// The last words to it. They are short, and always taken.
    Last,
}

/// Whether there is room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Enough,
    /// What was said will be sent, and fills the queue.
    Pause,
    /// Nothing was taken: the client reads too slowly, and is ended.
    Slow,
}

/// A buffer larger than this is not kept for the next connection.
const SPARE_BYTES_MAX: usize = 16 * 1024;
/// More buffers than this are not kept.
const SPARE_COUNT_MAX: usize = 1024;
impl Outbox {
    /// An empty outbox that lets so many bytes wait for one connection.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            queues: Vec::new(),
            free: Vec::new(),
            spare: Vec::new(),
            bytes_max,
            own_bytes: 0,
            encoded_bytes: Rc::default(),
            made_bytes: Cell::default(),
            dropped: Vec::new(),
            expected_bytes: Cell::default(),
        }
    }

    /// From now on so many bytes may wait for one connection.
    pub(super) fn change_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// One encoding that many are to be sent.
    pub(super) fn encoded(&self, bytes: &[u8]) -> Rc<Encoded> {
        self.note_made(bytes.len());
        Encoded::new(bytes, &self.encoded_bytes)
    }

    /// The same, of what brings those who are sent it to a position.
    pub(super) fn encoded_moving(&self, bytes: &[u8], position: Position) -> Rc<Encoded> {
        self.note_made(bytes.len());
        Encoded::moving(bytes, Some(position), &self.encoded_bytes)
    }

    /// Appends what `write` writes for a connection of which `in_flight` bytes are being sent; `queue` is its place, made
    /// when it has none.
    pub(super) fn say(
        &mut self,
        queue: &mut u32,
        in_flight: usize,
        class: Class,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Room {
        if self.admit(*queue, in_flight, class) == Room::Slow {
            return Room::Slow;
        }
        let index = self.open(queue);
        // What is sent piece by piece is given back piece by piece.
        if self.queues[index].tail.len() > GATHER_BYTES_MAX {
            self.close_tail(index);
        }
        let queue = &mut self.queues[index];
        if queue.tail.capacity() == 0 {
            queue.tail = self.spare.pop().unwrap_or_default();
        }
        let before = queue.tail.len();
        write(&mut queue.tail);
        let len = queue.tail.len() - before;
        self.own_bytes += len as u64;
        self.note_made(len);
        self.note(index, in_flight, len)
    }

    /// Appends a frame for a connection.
    pub(super) fn push(&mut self, queue: &mut u32, in_flight: usize, class: Class, frame: Frame) -> Room {
        if self.admit(*queue, in_flight, class) == Room::Slow {
            return Room::Slow;
        }
        let index = self.open(queue);
        self.close_tail(index);
        let len = frame.cost();
        self.note_made(frame.bytes.owned_len() + frame.step_bytes());
        self.own_bytes += (frame.bytes.owned_len() + FRAME_BYTES) as u64;
        let queue = &mut self.queues[index];
        queue.frame_bytes += len;
        queue.frames.push_back(frame);
        self.note(index, in_flight, len)
    }

    /// The door: whether more may be said to a connection. One message beyond the bound is let through, for it may be
    /// larger than the bound by itself.
    fn admit(&self, queue: u32, in_flight: usize, class: Class) -> Room {
        let (queued, excess) = match queue {
            NO_QUEUE => return Room::Enough,
            index if self.queues[index as usize].is_put_off => return Room::Enough,
            index => (self.queues[index as usize].waiting(), self.queues[index as usize].excess),
        };
        let is_full = queued + in_flight > self.bytes_max;
        let is_slow = match class {
            Class::Answer | Class::Control | Class::Recovery => is_full && excess > self.bytes_max,
            Class::Publication => is_full && queued > 0,
            Class::Last => false,
        };
        if is_slow { Room::Slow } else { Room::Enough }
    }

    /// Notes what was let through.
    fn note(&mut self, index: usize, in_flight: usize, len: usize) -> Room {
        let bytes_max = self.bytes_max;
        let queue = &mut self.queues[index];
        let waiting = queue.waiting() + in_flight;
        let was_full = waiting - len > bytes_max;
        queue.excess = if was_full { queue.excess + len } else { 0 };
        if waiting > bytes_max { Room::Pause } else { Room::Enough }
    }

    /// Takes the next bytes to send: one frame, or several small ones and the tail joined. `None` frees the queue.
    /// They count until they are given to [`Self::recycle`]. What has left of the client's place in the streams it follows is
    /// told `place`.
    pub(super) fn take(&mut self, queue: &mut u32, mut place: Option<&mut Place>) -> Option<SendBytes> {
        let index = match *queue {
            NO_QUEUE => return None,
            index => index as usize,
        };
        let entry = &mut self.queues[index];
        entry.is_put_off = false;
        if entry.frames.is_empty() && entry.tail.is_empty() {
            self.release(queue);
            return None;
        }
        if entry.frames.is_empty() {
            return Some(SendBytes::Owned(std::mem::take(&mut entry.tail)));
        }
        self.close_tail(index);
        let first = self.pop(index).expect("there is a frame");
        let gathers = first.gathers_behind(0) && self.queues[index].front_gathers_behind(first.bytes.len());
        if !gathers && first.step.is_none() {
            return Some(first.bytes);
        }
        let mut gathered = self.spare.pop().unwrap_or_default();
        self.gather(index, first, &mut gathered, place.as_deref_mut());
        while self.queues[index].front_gathers_behind(gathered.len()) {
            let frame = self.pop(index).expect("there is a frame");
            self.gather(index, frame, &mut gathered, place.as_deref_mut());
        }
        self.own_bytes += gathered.len() as u64;
        Some(SendBytes::Owned(gathered))
    }

    /// Joins a frame to others; of one that moves its client only what is written before it. The rest goes next, and cannot be
    /// dropped any more.
    fn gather(&mut self, index: usize, frame: Frame, gathered: &mut Vec<u8>, place: Option<&mut Place>) {
        if frame.step.is_some() {
            frame.push_step(gathered, place);
            let queue = &mut self.queues[index];
            let rest = Frame { publications: 0, step: None, ..frame };
            queue.frame_bytes += rest.cost();
            self.own_bytes += FRAME_BYTES as u64;
            queue.frames.push_front(rest);
            return;
        }
        gathered.extend_from_slice(frame.bytes.as_slice());
        self.own_bytes -= frame.bytes.owned_len() as u64;
    }

    /// Counts bytes that are sent without having waited.
    pub(super) fn own(&mut self, bytes: Vec<u8>) -> SendBytes {
        self.own_bytes += bytes.len() as u64;
        SendBytes::Owned(bytes)
    }

    /// Keeps a buffer that has been sent for the next connection.
    pub(super) fn recycle(&mut self, bytes: SendBytes) {
        self.own_bytes -= bytes.owned_len() as u64;
        if let SendBytes::Owned(buffer) = bytes {
            self.spare(buffer);
        }
    }

    /// A connection waits for its turn to be sent what waits for it.
    pub(super) fn put_off(&mut self, queue: u32) {
        if queue != NO_QUEUE {
            self.queues[queue as usize].is_put_off = true;
        }
    }

    /// Whether a connection waits for its turn.
    pub(super) fn is_put_off(&self, queue: u32) -> bool {
        queue != NO_QUEUE && self.queues[queue as usize].is_put_off
    }

    /// Bytes waiting for a connection.
    pub(super) fn waiting(&self, queue: u32) -> usize {
        match queue {
            NO_QUEUE => 0,
            index => self.queues[index as usize].waiting(),
        }
    }

    /// Whether a connection of which `in_flight` bytes are being sent has more waiting than it may.
    pub(super) fn is_full(&self, queue: u32, in_flight: usize) -> bool {
        self.waiting(queue) + in_flight > self.bytes_max
    }

    /// What may wait for one connection.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The memory that would be free without this queue: of what others are sent as well, its part.
    pub(super) fn weight(&self, queue: u32) -> usize {
        match queue {
            NO_QUEUE => 0,
            index => {
                let queue = &self.queues[index as usize];
                let frames = queue.frames.iter().map(|frame| weight(&frame.bytes) + FRAME_BYTES);
                queue.tail.len() + frames.sum::<usize>()
            }
        }
    }

    /// Drops the oldest droppable frames until `wanted` more bytes may wait for a connection of which `in_flight` bytes
    /// are being sent; tells how many publications went.
    pub(super) fn drop_oldest(&mut self, queue: u32, in_flight: usize, wanted: usize) -> u32 {
        let index = queue as usize;
        self.dropped.clear();
        let room = self.bytes_max.saturating_sub(in_flight + wanted + FRAME_BYTES);
        let (mut dropped, mut at) = (0, usize::from(self.queues[index].begun_bytes > 0));
        while self.queues[index].waiting() > room && at < self.queues[index].frames.len() {
            let queue = &mut self.queues[index];
            if queue.frames[at].publications == 0 {
                at += 1;
                continue;
            }
            let frame = queue.frames.remove(at).expect("the index was just checked");
            queue.frame_bytes -= frame.cost();
            dropped += frame.publications;
            self.own_bytes -= (frame.bytes.owned_len() + FRAME_BYTES) as u64;
            self.dropped.extend(frame.step);
        }
        dropped
    }

    /// A frame is dropped for which there is no room behind those that may not be.
    pub(super) fn drop_newest(&mut self, frame: &Frame) {
        self.dropped.extend(frame.step);
    }

    /// What the frames were about that were dropped last.
    pub(super) fn dropped(&self) -> &[Step] {
        &self.dropped
    }

    /// Forgets what waits for a connection, so that its last words can be said: all but the rest of what has been begun.
    pub(super) fn discard(&mut self, queue: &mut u32) {
        let is_begun = *queue != NO_QUEUE && self.queues[*queue as usize].begun_bytes > 0;
        if !is_begun {
            return self.abandon(queue);
        }
        let entry = &mut self.queues[*queue as usize];
        for frame in entry.frames.drain(1..) {
            entry.frame_bytes -= frame.cost();
            self.own_bytes -= (frame.bytes.owned_len() + FRAME_BYTES) as u64;
        }
        self.own_bytes -= entry.tail.len() as u64;
        entry.tail = Vec::new();
    }

    /// Forgets everything that waits for a connection, which is gone.
    pub(super) fn abandon(&mut self, queue: &mut u32) {
        if *queue == NO_QUEUE {
            return;
        }
        let entry = &mut self.queues[*queue as usize];
        for frame in entry.frames.drain(..) {
            self.own_bytes -= (frame.bytes.owned_len() + FRAME_BYTES) as u64;
        }
        self.own_bytes -= entry.tail.len() as u64;
        entry.tail = Vec::new();
        entry.frame_bytes = 0;
        self.release(queue);
    }

    /// Notes that bytes have been written for clients, or are going to be.
    pub(super) fn note_made(&self, bytes: usize) {
        self.made_bytes.set(self.made_bytes.get().saturating_add(bytes));
    }

    /// Notes that so many bytes at most are about to be written in this turn.
    pub(super) fn expect_made(&self, bytes: usize) {
        self.expected_bytes.set(self.expected_bytes.get().saturating_add(bytes));
    }

    /// What was expected so has been written, and noted as what it is.
    pub(super) fn expect_no_more(&self, bytes: usize) {
        self.expected_bytes.set(self.expected_bytes.get().saturating_sub(bytes));
    }

    /// Bytes written in this turn so far.
    pub(super) fn made_bytes(&self) -> usize {
        self.made_bytes.get()
    }

    /// Whether what takes many bytes waits for the next turn.
    pub(super) fn has_made_enough(&self) -> bool {
        self.made_bytes.get().saturating_add(self.expected_bytes.get()) >= MADE_BYTES_PER_TURN
    }

    /// A turn ends: how many bytes have been written in it.
    pub(super) fn take_made(&self) -> usize {
        self.expected_bytes.take();
        self.made_bytes.take()
    }

    /// Memory of all that waits or is being sent.
    pub(super) fn total_bytes(&self) -> u64 {
        self.own_bytes + self.encoded_bytes.get()
    }

    fn pop(&mut self, index: usize) -> Option<Frame> {
        let queue = &mut self.queues[index];
        let frame = queue.frames.pop_front()?;
        queue.frame_bytes -= frame.cost() - std::mem::take(&mut queue.begun_bytes);
        self.own_bytes -= FRAME_BYTES as u64;
        Some(frame)
    }

    fn close_tail(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        if !queue.tail.is_empty() {
            let frame = Frame::of(SendBytes::Owned(std::mem::take(&mut queue.tail)), 0);
            queue.frame_bytes += frame.cost();
            queue.frames.push_back(frame);
            self.own_bytes += FRAME_BYTES as u64;
        }
    }

    fn open(&mut self, queue: &mut u32) -> usize {
        if *queue == NO_QUEUE {
            *queue = self.free.pop().unwrap_or_else(|| {
                self.queues.push(Queue::default());
                self.queues.len() as u32 - 1
            });
        }
        *queue as usize
    }

    fn release(&mut self, queue: &mut u32) {
        let entry = &mut self.queues[*queue as usize];
        if entry.frames.capacity() > 64 {
            entry.frames = VecDeque::new();
        }
        (entry.excess, entry.begun_bytes, entry.is_put_off) = (0, 0, false);
        let tail = std::mem::take(&mut entry.tail);
        self.spare(tail);
        self.free.push(*queue);
        *queue = NO_QUEUE;
    }

    /// Keeps a buffer for the next connection, if it is one worth keeping.
    fn spare(&mut self, mut buffer: Vec<u8>) {
        if (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) && self.spare.len() < SPARE_COUNT_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

impl Queue {
    fn waiting(&self) -> usize {
        self.frame_bytes + self.tail.len()
    }

    /// Whether the oldest frame is to be sent together with so many bytes before it.
    fn front_gathers_behind(&self, len: usize) -> bool {
        self.frames.front().is_some_and(|frame| frame.gathers_behind(len))
    }
}

#[cfg(test)]
mod tests;
