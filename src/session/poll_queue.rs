//! What waits for a client that polls: packets of its own, and payloads that it has in common with others, in order.
//!
//! ```text
//!   [ 2 ␞ 42["a"] ] [ ▒▒▒ shared ▒▒▒ ] [ 42["b"] ]        joined by ␞ when a poll takes them away
//! ```
//!
//! A large publication to many that poll is thereby in memory once, and what one poll takes of it alone is not copied.
//! Bytes count in a sum that its maker keeps for as long as they wait, those that are shared once.

use std::{cell::Cell, rc::Rc};

use crate::wire::{
    engineio::{self, PAYLOAD_SEPARATOR, Packet},
    http1::Body,
};

/// The queue. No heap block while nothing waits.
#[derive(Debug, Default)]
pub struct PollQueue(Option<Box<Waiting>>);

#[derive(Debug)]
struct Waiting {
    parts: Vec<Part>,
    len: usize,
    own_len: usize,
    sum: Rc<Cell<u64>>,
}

#[derive(Debug)]
enum Part {
    Own(Vec<u8>),
    Shared(Rc<SharedPayload>),
}

/// Packets that many get.
#[derive(Debug)]
pub struct SharedPayload {
    bytes: Rc<[u8]>,
    sum: Rc<Cell<u64>>,
}

impl SharedPayload {
    /// Keeps packets, and counts them in a sum until they go.
    pub fn new(bytes: Vec<u8>, sum: &Rc<Cell<u64>>) -> Rc<Self> {
        sum.set(sum.get() + bytes.len() as u64);
        Rc::new(Self { bytes: bytes.into(), sum: Rc::clone(sum) })
    }

    /// The packets.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for SharedPayload {
    fn drop(&mut self) {
        self.sum.set(self.sum.get() - self.bytes.len() as u64);
    }
}

/// A payload up to this size costs less to copy than its place in the queue.
const COPIED_BYTES_MAX: usize = 1024;

impl PollQueue {
    /// Appends a packet.
    pub fn add(&mut self, packet: Packet<'_>, sum: &Rc<Cell<u64>>) {
        self.add_own(sum, |own| engineio::encode_into_payload(own, packet));
    }

    /// Appends packets that are encoded already.
    pub fn add_payload(&mut self, payload: &[u8], sum: &Rc<Cell<u64>>) {
        self.add_own(sum, |own| {
            if !own.is_empty() {
                own.push(PAYLOAD_SEPARATOR);
            }
            own.extend_from_slice(payload);
        });
    }

    /// Appends packets that many get.
    pub fn share(&mut self, payload: &Rc<SharedPayload>) {
        let (bytes, sum) = (&payload.bytes, &payload.sum);
        if bytes.len() <= COPIED_BYTES_MAX {
            return self.add_payload(bytes, sum);
        }
        let waiting = self.waiting(sum);
        waiting.len += bytes.len() + usize::from(!waiting.parts.is_empty());
        waiting.parts.push(Part::Shared(Rc::clone(payload)));
    }

    /// Takes all there is, as the body of an answer.
    pub fn take(&mut self) -> Body {
        let Some(mut waiting) = self.0.take() else { return Body::Owned(Vec::new()) };
        match &mut waiting.parts[..] {
            [Part::Own(own)] => Body::Owned(std::mem::take(own)),
            [Part::Shared(shared)] => Body::Shared(Rc::clone(&shared.bytes)),
            parts => Body::Owned(joined(parts, waiting.len)),
        }
    }

    /// As [`Self::take`], as bytes.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        match self.take() {
            Body::Owned(bytes) => bytes,
            body => body.as_bytes().to_vec(),
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that wait, of whoever they are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.len)
    }

    /// The bytes of memory that it is to blame for: its own, and its part of what it shares.
    pub fn weight(&self) -> usize {
        let part = |part: &Part| match part {
            Part::Own(_) => 0,
            Part::Shared(shared) => shared.bytes.len() / Rc::strong_count(shared).max(1),
        };
        let of = |waiting: &Waiting| waiting.own_len + waiting.parts.iter().map(part).sum::<usize>();
        self.0.as_deref().map_or(0, of)
    }

    fn waiting(&mut self, sum: &Rc<Cell<u64>>) -> &mut Waiting {
        self.0.get_or_insert_with(|| {
            Box::new(Waiting { parts: Vec::new(), len: 0, own_len: 0, sum: Rc::clone(sum) })
        })
    }

    fn add_own(&mut self, sum: &Rc<Cell<u64>>, write: impl FnOnce(&mut Vec<u8>)) {
        let waiting = self.waiting(sum);
        if !matches!(waiting.parts.last(), Some(Part::Own(_))) {
            waiting.len += usize::from(!waiting.parts.is_empty());
            waiting.parts.push(Part::Own(Vec::new()));
        }
        let Some(Part::Own(own)) = waiting.parts.last_mut() else { return };
        let before = own.len();
        write(own);
        let added = own.len() - before;
        waiting.len += added;
        waiting.own_len += added;
        waiting.sum.set(waiting.sum.get() + added as u64);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.sum.set(self.sum.get() - self.own_len as u64);
    }
}

fn joined(parts: &[Part], len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    for part in parts {
        if !bytes.is_empty() {
            bytes.push(PAYLOAD_SEPARATOR);
        }
        bytes.extend_from_slice(match part {
            Part::Own(own) => own,
            Part::Shared(shared) => &shared.bytes,
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(len: usize, sum: &Rc<Cell<u64>>) -> Rc<SharedPayload> {
        SharedPayload::new(vec![b'4'; len], sum)
    }

    #[test]
    fn packets_and_what_is_shared_leave_in_the_order_they_came() {
        let sum = Rc::default();
        let (small, large) = (shared(2, &sum), shared(COPIED_BYTES_MAX + 1, &sum));
        let mut queue = PollQueue::default();
        assert!(queue.is_empty());
        queue.add(Packet::Ping(""), &sum);
        queue.share(&small);
        queue.share(&large);
        queue.share(&large);
        queue.add(Packet::Text("hello"), &sum);
        let text = "4".repeat(COPIED_BYTES_MAX + 1);
        let expected = format!("2\u{1e}44\u{1e}{text}\u{1e}{text}\u{1e}4hello");
        let own = "2\u{1e}44".len() + "4hello".len();
        assert_eq!((queue.len(), sum.get()), (expected.len(), (own + 2 + COPIED_BYTES_MAX + 1) as u64));
        assert_eq!(queue.weight(), own + 2 * ((COPIED_BYTES_MAX + 1) / 3));
        assert_eq!(queue.take_bytes(), expected.as_bytes());
        assert_eq!((queue.is_empty(), queue.len(), queue.weight()), (true, 0, 0));
        assert!(queue.take_bytes().is_empty());
        drop((small, large));
        assert_eq!(sum.get(), 0);
    }

    #[test]
    fn what_is_shared_alone_is_not_copied_and_nothing_counts_that_has_gone() {
        let sum = Rc::default();
        let large = shared(COPIED_BYTES_MAX + 1, &sum);
        let mut queue = PollQueue::default();
        queue.share(&large);
        assert!(matches!(queue.take(), Body::Shared(bytes) if Rc::ptr_eq(&bytes, &large.bytes)));
        queue.add(Packet::Text("hello"), &sum);
        assert!(matches!(queue.take(), Body::Owned(own) if own == b"4hello"));
        queue.share(&large);
        queue.add(Packet::Text("hello"), &sum);
        drop((queue, large));
        assert_eq!(sum.get(), 0);
    }
}
