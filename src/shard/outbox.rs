//! What waits to be sent, per connection, while something does.
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

use std::collections::VecDeque;

use super::connection::NO_QUEUE;
use crate::{limits::GATHER_BYTES_MAX, ring::SendBytes};

/// The queues of one shard.
#[derive(Default)]
pub(super) struct Outbox {
    queues: Vec<Queue>,
    free: Vec<u32>,
    spare: Vec<Vec<u8>>,
}

/// One connection's queue.
#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    tail: Vec<u8>,
    frame_bytes: usize,
}

/// Bytes that must not be divided, and how many publications would be lost with them; 0 if they may not be dropped.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: SendBytes,
    pub(super) publications: u32,
}

/// A buffer larger than this is not kept for the next connection.
const SPARE_BYTES_MAX: usize = 16 * 1024;
/// More buffers than this are not kept.
const SPARE_COUNT_MAX: usize = 1024;

impl Outbox {
    /// Where to append bytes for a connection; `queue` is its place, made when it has none.
    pub(super) fn tail(&mut self, queue: &mut u32) -> &mut Vec<u8> {
        let index = self.open(queue);
        let queue = &mut self.queues[index];
        if queue.tail.capacity() == 0 {
            queue.tail = self.spare.pop().unwrap_or_default();
        }
        &mut queue.tail
    }

    /// Appends a frame for a connection.
    pub(super) fn push(&mut self, queue: &mut u32, frame: Frame) {
        let index = self.open(queue);
        let queue = &mut self.queues[index];
        queue.close_tail();
        queue.frame_bytes += frame.bytes.len();
        queue.frames.push_back(frame);
    }

    /// Takes the next bytes to send: one frame, or several small ones and the tail joined. `None` frees the queue.
    pub(super) fn take(&mut self, queue: &mut u32) -> Option<SendBytes> {
        let index = match *queue {
            NO_QUEUE => return None,
            index => index as usize,
        };
        let entry = &mut self.queues[index];
        if entry.frames.is_empty() && entry.tail.is_empty() {
            self.release(queue);
            return None;
        }
        if entry.frames.is_empty() {
            return Some(SendBytes::Owned(std::mem::take(&mut entry.tail)));
        }
        entry.close_tail();
        let first = entry.frames.pop_front().expect("not empty");
        entry.frame_bytes -= first.bytes.len();
        match entry.frames.front() {
            Some(second) if first.bytes.len() + second.bytes.len() <= GATHER_BYTES_MAX => {
                let mut gathered = self.spare.pop().unwrap_or_default();
                gathered.extend_from_slice(first.bytes.as_slice());
                entry.gather(&mut gathered);
                Some(SendBytes::Owned(gathered))
            }
            _ => Some(first.bytes),
        }
    }

    /// Keeps a buffer that has been sent for the next connection.
    pub(super) fn recycle(&mut self, bytes: SendBytes) {
        if let SendBytes::Owned(mut buffer) = bytes
            && buffer.capacity() <= SPARE_BYTES_MAX
            && self.spare.len() < SPARE_COUNT_MAX
        {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Bytes waiting for a connection.
    pub(super) fn waiting(&self, queue: u32) -> usize {
        match queue {
            NO_QUEUE => 0,
            index => self.queues[index as usize].waiting(),
        }
    }

    /// Drops the oldest droppable frames until `wanted` bytes fit below `max`; tells how many publications went.
    pub(super) fn drop_oldest(&mut self, queue: u32, wanted: usize, max: usize) -> u32 {
        let queue = &mut self.queues[queue as usize];
        let (mut dropped, mut at) = (0, 0);
        while queue.waiting() + wanted > max && at < queue.frames.len() {
            if queue.frames[at].publications == 0 {
                at += 1;
                continue;
            }
            let frame = queue.frames.remove(at).expect("the index was just checked");
            queue.frame_bytes -= frame.bytes.len();
            dropped += frame.publications;
        }
        dropped
    }

    /// Forgets everything that waits for a connection.
    pub(super) fn discard(&mut self, queue: &mut u32) {
        if *queue != NO_QUEUE {
            let entry = &mut self.queues[*queue as usize];
            entry.frames.clear();
            entry.tail = Vec::new();
            entry.frame_bytes = 0;
            self.release(queue);
        }
    }

    /// Bytes waiting in all queues.
    pub(super) fn total_bytes(&self) -> u64 {
        self.queues.iter().map(|queue| queue.waiting() as u64).sum()
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
        let tail = std::mem::take(&mut entry.tail);
        self.recycle(SendBytes::Owned(tail));
        self.free.push(*queue);
        *queue = NO_QUEUE;
    }
}

impl Queue {
    fn waiting(&self) -> usize {
        self.frame_bytes + self.tail.len()
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let bytes = SendBytes::Owned(std::mem::take(&mut self.tail));
            self.frame_bytes += bytes.len();
            self.frames.push_back(Frame { bytes, publications: 0 });
        }
    }

    /// Appends as many whole frames as fit.
    fn gather(&mut self, into: &mut Vec<u8>) {
        while let Some(frame) = self.frames.front() {
            if into.len() + frame.bytes.len() > GATHER_BYTES_MAX {
                break;
            }
            into.extend_from_slice(frame.bytes.as_slice());
            self.frame_bytes -= frame.bytes.len();
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8, len: usize, publications: u32) -> Frame {
        Frame { bytes: SendBytes::Shared(vec![byte; len].into()), publications }
    }

    #[test]
    fn frames_and_tails_leave_in_the_order_they_came() {
        let (mut outbox, mut queue) = (Outbox::default(), NO_QUEUE);
        outbox.tail(&mut queue).extend_from_slice(b"ab");
        outbox.push(&mut queue, frame(b'c', 2, 1));
        outbox.tail(&mut queue).extend_from_slice(b"de");
        assert_eq!(outbox.waiting(queue), 6);
        let sent = outbox.take(&mut queue).expect("six bytes wait");
        assert_eq!(sent.as_slice(), b"abccde");
        outbox.recycle(sent);
        assert!(outbox.take(&mut queue).is_none());
        assert_eq!(queue, NO_QUEUE, "an empty queue is given back");
    }

    #[test]
    fn a_single_frame_is_not_copied_and_a_large_one_is_not_joined() {
        let (mut outbox, mut queue) = (Outbox::default(), NO_QUEUE);
        outbox.push(&mut queue, frame(b'a', 100, 1));
        assert!(matches!(outbox.take(&mut queue), Some(SendBytes::Shared(_))));
        outbox.push(&mut queue, frame(b'a', 1, 1));
        outbox.push(&mut queue, frame(b'b', GATHER_BYTES_MAX, 1));
        assert_eq!(outbox.take(&mut queue).map(|bytes| bytes.len()), Some(1));
        assert_eq!(outbox.take(&mut queue).map(|bytes| bytes.len()), Some(GATHER_BYTES_MAX));
        assert!(outbox.take(&mut queue).is_none());
    }

    #[test]
    fn only_publications_are_dropped_and_only_as_many_as_needed() {
        let (mut outbox, mut queue) = (Outbox::default(), NO_QUEUE);
        outbox.push(&mut queue, frame(b'h', 10, 0));
        for byte in b"123" {
            outbox.push(&mut queue, frame(*byte, 10, 2));
        }
        assert_eq!(outbox.drop_oldest(queue, 10, 40), 2);
        assert_eq!(outbox.waiting(queue), 30);
        let sent = outbox.take(&mut queue).expect("thirty bytes wait");
        assert_eq!(sent.as_slice(), b"hhhhhhhhhh22222222223333333333");
        assert_eq!(outbox.total_bytes(), 0);
    }
}
