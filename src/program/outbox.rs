//! What a shard has to tell the program: frames in one queue, which is written at once and waits while no program is there.
//!
//! ```text
//!   push ─► queue │ frames │ ─(once per turn)─► flight │ written ┊ not yet │ ─► program
//!             ▲                                                  └ the whole frames of it, when the program goes
//!             └──────────────────────────────────────────────────┘
//! ```
//!
//! A program that another one is to replace is told no more than what it has asked for: all else waits in `later`, behind the
//! queue.
//!
//! Invariant: queue and flight together are at most [`PROGRAM_QUEUE_BYTES_MAX`] but for frames that must be told.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Poll, Waker},
};

use rustc_hash::FxHashSet;

use super::frame::{self, BODY_BYTES_MAX, HEAD_BYTES, Head, Kind};
use crate::limits::PROGRAM_QUEUE_BYTES_MAX;

/// Bytes of memory that an empty queue keeps.
const KEPT_BYTES: usize = 1024 * 1024;

/// Frames for the program.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: RefCell<Vec<u8>>,
    /// What another program is to be told, while this one still is told answers.
    later: RefCell<Option<Vec<u8>>>,
    /// Bytes that are being written, without those that were exempt.
    flying: Cell<usize>,
    /// Bytes of what waits that are not counted: what a new program is told of everybody.
    exempt: Cell<usize>,
    /// Whether a program takes what is here.
    is_open: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Frames that are being written. What of them has not been goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    outbox: &'a Outbox,
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// Appends a frame if there is room for it; whether there is.
    pub(super) fn push(&self, head: &Head, json: &str, attachments: &[Box<[u8]>]) -> bool {
        let body = json.len() + attachments.iter().map(|one| 4 + one.len()).sum::<usize>();
        let later = self.later.borrow().as_ref().map_or(0, Vec::len);
        let held = (self.queue.borrow().len() + self.flying.get()).saturating_sub(self.exempt.get()) + later;
        let fits = held + HEAD_BYTES + body <= PROGRAM_QUEUE_BYTES_MAX;
        if !fits || body > BODY_BYTES_MAX || attachments.len() > usize::from(u16::MAX) {
            return false;
        }
        self.push_always(head, json, attachments);
        true
    }

    /// Appends a frame that must be told, of which there are no more than sockets or questions.
    pub(super) fn push_always(&self, head: &Head, json: &str, attachments: &[Box<[u8]>]) {
        if let (Some(later), false) = (&mut *self.later.borrow_mut(), is_answer(head)) {
            return head.encode(later, json, attachments);
        }
        head.encode(&mut self.queue.borrow_mut(), json, attachments);
        self.wake();
    }

    /// From now on the program is told answers alone; a frame that says so stands behind what it was to be told before.
    pub(super) fn pause(&self) {
        self.push_always(&Head::of(Kind::Paused), "", &[]);
        self.later.borrow_mut().get_or_insert_default();
    }

    /// Replaces what waits by something of which so many bytes are not counted.
    pub(super) fn replace(&self, change: impl FnOnce(&[u8]) -> (Vec<u8>, usize)) {
        let mut queue = self.queue.borrow_mut();
        let (bytes, exempt) = change(&queue);
        *queue = bytes;
        self.exempt.set(exempt);
    }

    /// The namespaces of what waits, by the numbers that the last program has given them.
    pub(super) fn namespaces(&self) -> FxHashSet<u16> {
        frame::frames(&self.queue.borrow()).map(|(head, _)| head.namespace).collect()
    }

    /// A program takes what is here from now on, or none does.
    pub(super) fn set_open(&self, is_open: bool) {
        if let Some(later) = self.later.take() {
            self.queue.borrow_mut().extend_from_slice(&later);
        }
        self.is_open.set(is_open);
        self.wake();
    }

    /// Whether a program takes what is here.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// What waits, once there is any and a program takes it.
    pub(super) async fn take(&self) -> Flight<'_> {
        poll_fn(|cx| {
            if self.is_open.get() && !self.queue.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let bytes = self.queue.take();
        self.flying.set(bytes.len().saturating_sub(self.exempt.take()));
        Flight { outbox: self, bytes, written: 0 }
    }

    fn wake(&self) {
        if self.is_open.get()
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

impl Flight<'_> {
    /// What has yet to be written.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// So much more has been written.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.written += bytes;
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.outbox.flying.set(0);
        let mut bytes = std::mem::take(&mut self.bytes);
        if self.written < bytes.len() {
            let begun = frames_begun(&bytes, self.written);
            bytes.drain(..begun);
            bytes.extend_from_slice(&self.outbox.queue.borrow());
            *self.outbox.queue.borrow_mut() = bytes;
        } else if self.outbox.queue.borrow().is_empty() && bytes.capacity() <= KEPT_BYTES {
            bytes.clear();
            *self.outbox.queue.borrow_mut() = bytes;
        }
    }
}

/// Whether a frame says what a program has asked for.
fn is_answer(head: &Head) -> bool {
    matches!(head.kind, Kind::Acked | Kind::Reply)
}

/// Where the first frame begins of which nothing has been written.
fn frames_begun(bytes: &[u8], written: usize) -> usize {
    let mut at = 0;
    for (_, one) in frame::frames(bytes) {
        if at >= written {
            break;
        }
        at += one.len();
    }
    at
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    fn numbered(number: u32) -> Head {
        Head { number, ..Head::of(Kind::Event) }
    }

    fn numbers(bytes: &[u8]) -> Vec<u32> {
        frame::frames(bytes).map(|(head, _)| head.number).collect()
    }

    #[test]
    fn what_waits_is_taken_whole_once_a_program_takes_it() {
        let outbox = Outbox::default();
        assert!(outbox.push(&numbered(1), "[]", &[]) && outbox.push(&numbered(2), "[]", &[]));
        assert!(block_on(poll_once(outbox.take())).is_none(), "no program takes it");
        outbox.set_open(true);
        let flight = block_on(outbox.take());
        assert_eq!(numbers(flight.rest()), [1, 2]);
        drop(flight);
        assert_eq!(numbers(block_on(outbox.take()).rest()), [1, 2], "nothing of it was written");
    }

    #[test]
    fn frames_of_which_nothing_was_written_go_back_in_front_of_what_came_since() {
        let size = HEAD_BYTES + 2;
        for (written, left) in [
            (0, vec![1, 2, 3]),
            (1, vec![2, 3]),
            (size, vec![2, 3]),
            (size + 1, vec![3]),
            (2 * size, vec![3]),
        ] {
            let outbox = Outbox::default();
            outbox.set_open(true);
            outbox.push_always(&numbered(1), "[]", &[]);
            outbox.push_always(&numbered(2), "[]", &[]);
            let mut flight = block_on(outbox.take());
            outbox.push_always(&numbered(3), "[]", &[]);
            flight.advance(written);
            drop(flight);
            assert_eq!(numbers(block_on(outbox.take()).rest()), left, "{written}");
        }
    }

    #[test]
    fn a_program_that_is_to_go_is_told_answers_alone_and_the_next_one_the_rest() {
        let outbox = Outbox::default();
        outbox.set_open(true);
        let kinds =
            |bytes: &[u8]| -> Vec<_> { frame::frames(bytes).map(|one| (one.0.kind, one.0.number)).collect() };
        assert!(outbox.push(&numbered(1), "[]", &[]));
        outbox.pause();
        let answer = Head { number: 9, ..Head::of(Kind::Acked) };
        assert!(outbox.push(&numbered(2), "[]", &[]) && outbox.push(&answer, "[]", &[]));
        let mut flight = block_on(outbox.take());
        assert_eq!(kinds(flight.rest()), [(Kind::Event, 1), (Kind::Paused, 0), (Kind::Acked, 9)]);
        flight.advance(flight.rest().len());
        drop(flight);
        assert!(block_on(poll_once(outbox.take())).is_none(), "nothing else is told");
        assert!(outbox.push(&numbered(3), "[]", &[]));
        outbox.set_open(false);
        assert!(outbox.push(&numbered(4), "[]", &[]));
        outbox.set_open(true);
        assert_eq!(numbers(block_on(outbox.take()).rest()), [2, 3, 4]);
    }

    #[test]
    fn what_waits_for_the_next_program_counts() {
        let outbox = Outbox::default();
        outbox.set_open(true);
        outbox.pause();
        let long = "x".repeat(1024 * 1024 - HEAD_BYTES);
        for _ in 1..PROGRAM_QUEUE_BYTES_MAX / (1024 * 1024) {
            assert!(outbox.push(&numbered(1), &long, &[]));
        }
        assert!(!outbox.push(&numbered(2), &long, &[]));
    }

    #[test]
    fn a_full_queue_takes_only_what_must_be_told() {
        let outbox = Outbox::default();
        let long = "x".repeat(1024 * 1024 - HEAD_BYTES);
        for _ in 0..PROGRAM_QUEUE_BYTES_MAX / (1024 * 1024) {
            assert!(outbox.push(&numbered(1), &long, &[]));
        }
        assert!(!outbox.push(&numbered(2), "", &[]));
        outbox.set_open(true);
        let flight = block_on(outbox.take());
        assert!(!outbox.push(&numbered(2), "", &[]), "what is being written counts");
        outbox.push_always(&numbered(3), "", &[]);
        drop(flight);
        let longest = "x".repeat(BODY_BYTES_MAX + 1);
        assert!(!Outbox::default().push(&numbered(1), &longest, &[]));
    }
}
