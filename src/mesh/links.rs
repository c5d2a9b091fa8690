//! The links between shards: batches over wait-free queues, one per destination and turn, and a bell for whoever sleeps.
//!
//! ```text
//!   send ─► overflow (≤ MESH_OVERFLOW_MESSAGES_MAX) ─flush─► queue (≤ MESH_BATCHES_MAX) ─► receive
//!           └──────────────────── ≤ MESH_LINK_BYTES_MAX ─────────────────────┘
//! ```
//!
//! A full link refuses publications and questions, and drops deliveries, receipts and announcements. Answers and subscriptions
//! pass even then: their number is bounded by the connections that wait for them; and so do connections, whose number is
//! bounded by the descriptors of the process. Nothing here waits for a peer, so no two shards can wait for each other.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use rtrb::{Consumer, Producer, RingBuffer};

use super::{Message, Parcel, ShardMessage};
use crate::{
    limits::{MESH_BATCH_MESSAGES_MAX, MESH_BATCHES_MAX, MESH_LINK_BYTES_MAX, MESH_OVERFLOW_MESSAGES_MAX},
    model::{ChannelName, ShardId},
    ring::Doorbell,
};

/// What one shard sends another in one turn, or as much of it as a batch takes.
#[derive(Debug)]
struct Batch {
    messages: Vec<Parcel>,
    bytes: usize,
    sent: Instant,
}

/// One shard's ends of all links.
#[derive(Debug, Default)]
pub struct Links {
    outbound: Vec<Option<Outbound>>,
    inbound: Vec<Option<Inbound>>,
}

/// One shard's ends of all links, in use.
#[derive(Debug)]
pub struct Mesh {
    links: Links,
    /// Messages in all overflows.
    waiting: usize,
    /// The peer whose link is looked at first: each in turn, so that none starves.
    next: usize,
    /// The batch being handed out, and who sent it. It stands here so that a shard that fails at one message loses that
    /// one and not those behind it.
    current: (ShardId, std::vec::IntoIter<Parcel>),
    /// How long it was on its way, until somebody asks.
    hop_us: Option<u64>,
}

/// What became of a message that found its link full.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A publish, a change of state, an entry or a question about a channel, given back: who asked is told to try later.
    Publish(Message),
    /// A delivery on this channel, dropped: its subscribers will see a gap.
    Deliver(ChannelName),
    /// Something for Socket.IO sockets, dropped.
    Socket,
    /// An announcement of this channel, dropped: it has to be made again.
    Announce(ChannelName),
}

#[derive(Debug)]
struct Outbound {
    queue: Producer<Batch>,
    overflow: VecDeque<Parcel>,
    overflow_bytes: usize,
    /// Bytes in the queue: added to here, taken from by the peer.
    queue_bytes: Arc<AtomicUsize>,
    /// More messages in the overflow, or bytes on the link, make it full.
    bounds: Bounds,
    /// Wakes the peer.
    bell: Doorbell,
}

/// What makes a link full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// So many messages in its overflow.
    pub(crate) messages: usize,
    /// More bytes than this in its overflow and its queue.
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { messages: MESH_OVERFLOW_MESSAGES_MAX, bytes: MESH_LINK_BYTES_MAX }
    }
}

#[derive(Debug)]
struct Inbound {
    queue: Consumer<Batch>,
    queue_bytes: Arc<AtomicUsize>,
}

/// Makes the links between shards that hear these bells, each to each.
pub fn full(bells: &[Doorbell]) -> Vec<Links> {
    let shards = bells.len();
    let mut all: Vec<Links> = Vec::new();
    all.resize_with(shards, || {
        let (mut outbound, mut inbound) = (Vec::new(), Vec::new());
        outbound.resize_with(shards, || None);
        inbound.resize_with(shards, || None);
        Links { outbound, inbound }
    });
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (sender, receiver) = RingBuffer::new(MESH_BATCHES_MAX);
            let queue_bytes = Arc::new(AtomicUsize::new(0));
            all[from].outbound[to] = Some(Outbound {
                queue: sender,
                overflow: VecDeque::new(),
                overflow_bytes: 0,
                queue_bytes: Arc::clone(&queue_bytes),
                bounds: Bounds::default(),
                bell: bells[to].clone(),
            });
            all[to].inbound[from] = Some(Inbound { queue: receiver, queue_bytes });
        }
    }
    all
}

impl Links {
    /// Takes the links into use.
    pub(crate) fn connect(self) -> Mesh {
        let current = (ShardId(0), Vec::new().into_iter());
        Mesh { links: self, waiting: 0, next: 0, current, hop_us: None }
    }
}

impl Mesh {
    /// Queues a message for another shard; it leaves with the next [`Self::flush`].
    pub(crate) fn send(&mut self, to: ShardId, message: impl Into<Parcel>) -> Result<(), Refused> {
        self.queue(to, message.into())
    }

    fn queue(&mut self, to: ShardId, parcel: Parcel) -> Result<(), Refused> {
        let outbound = self.links.outbound[usize::from(to.0)].as_mut();
        let outbound = outbound.expect("a shard does not send to itself");
        if outbound.is_full() {
            match parcel {
                Parcel::Hub(message) if message.may_be_refused() => return Err(Refused::Publish(message)),
                Parcel::Hub(Message::Deliver(publication)) => {
                    return Err(Refused::Deliver(publication.channel.clone()));
                }
                Parcel::Hub(Message::Announce { channel, .. }) => return Err(Refused::Announce(channel)),
                Parcel::Hub(Message::Receipt { .. })
                | Parcel::Shard(ShardMessage::Socket { .. } | ShardMessage::Sockets(_)) => {
                    return Err(Refused::Socket);
                }
                Parcel::Hub(_) | Parcel::Shard(_) => {}
            }
        }
        outbound.overflow_bytes += parcel.bytes();
        outbound.overflow.push_back(parcel);
        self.waiting += 1;
        Ok(())
    }

    /// Sends what is queued, in batches, as far as the links take it, and wakes whom it is for.
    pub(crate) fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        for outbound in self.links.outbound.iter_mut().flatten() {
            if !outbound.overflow.is_empty() {
                self.waiting -= outbound.flush();
            }
        }
    }

    /// The next batch that has arrived, to be taken with [`Self::next_message`]: who sent it, and of how many messages it
    /// is. What is left of one that was not taken to its end comes first.
    pub(crate) fn receive(&mut self) -> Option<(ShardId, usize)> {
        if self.current.1.len() == 0 {
            self.current = self.pop().map(|(from, messages)| (from, messages.into_iter()))?;
        }
        Some((self.current.0, self.current.1.len()))
    }

    /// How long the batch that was just begun had been on its way.
    pub(crate) fn take_hop_us(&mut self) -> Option<u64> {
        self.hop_us.take()
    }

    /// The next message of that batch.
    pub(crate) fn next_message(&mut self) -> Option<Parcel> {
        self.current.1.next()
    }

    fn pop(&mut self) -> Option<(ShardId, Vec<Parcel>)> {
        let peers = self.links.inbound.len();
        for _ in 0..peers {
            let from = self.next;
            self.next = (from + 1) % peers;
            if let Some(inbound) = &mut self.links.inbound[from]
                && let Ok(batch) = inbound.queue.pop()
            {
                inbound.queue_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
                self.hop_us = Some(batch.sent.elapsed().as_micros() as u64);
                return Some((ShardId(from as u16), batch.messages));
            }
        }
        None
    }

    /// Whether a batch has arrived.
    pub(crate) fn has_arrived(&self) -> bool {
        self.current.1.len() > 0
            || self.links.inbound.iter().flatten().any(|inbound| !inbound.queue.is_empty())
    }

    /// From now on links are full sooner.
    #[cfg(test)]
    pub(crate) fn narrow(&mut self, bounds: Bounds) {
        self.links.outbound.iter_mut().flatten().for_each(|outbound| outbound.bounds = bounds);
    }

    /// Publications that wait for the link on which most do, and their bytes: a full one takes no more.
    #[cfg(test)]
    pub(crate) fn most_publications(&self) -> Bounds {
        let is_one =
            |parcel: &&Parcel| matches!(parcel, Parcel::Hub(Message::Publish { .. } | Message::Deliver(_)));
        let of_link = |outbound: &Outbound| {
            let all = outbound.overflow.iter().filter(is_one);
            all.fold((0, 0), |(messages, bytes), one| (messages + 1, bytes + one.bytes()))
        };
        let all: Vec<_> = self.links.outbound.iter().flatten().map(of_link).collect();
        let messages = all.iter().map(|(messages, _)| *messages).max().unwrap_or(0);
        Bounds { messages, bytes: all.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0) }
    }

    /// Messages queued for other shards that no link has taken yet.
    pub(crate) fn depth(&self) -> usize {
        self.waiting
    }
}

impl Outbound {
    fn is_full(&self) -> bool {
        self.overflow.len() >= self.bounds.messages
            || self.overflow_bytes + self.queue_bytes.load(Ordering::Relaxed) > self.bounds.bytes
    }

    /// Sends as much as the queue takes; tells how many messages that was.
    fn flush(&mut self) -> usize {
        let (mut sent, now) = (0, Instant::now());
        while !self.overflow.is_empty() && self.queue.slots() > 0 {
            let count = self.overflow.len().min(MESH_BATCH_MESSAGES_MAX);
            let messages: Vec<Parcel> = self.overflow.drain(..count).collect();
            let bytes = messages.iter().map(Parcel::bytes).sum();
            self.overflow_bytes -= bytes;
            self.queue_bytes.fetch_add(bytes, Ordering::Relaxed);
            sent += count;
            // Nobody else fills the queue, so it takes what it had room for.
            self.queue.push(Batch { messages, bytes, sent: now }).expect("there was room");
        }
        if self.queue.is_abandoned() {
            // The peer has ended, and nobody is left to read this.
            sent += self.overflow.len();
            self.overflow.clear();
            self.overflow_bytes = 0;
        }
        if sent > 0 {
            self.bell.ring();
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Payload;

    fn pair() -> (Mesh, Mesh) {
        let bells = [(); 2].map(|()| Doorbell::new().expect("eventfd"));
        let mut links = full(&bells).into_iter().map(Links::connect);
        (links.next().expect("two"), links.next().expect("two"))
    }

    /// A message that passes however full the link is, with a number.
    fn numbered(given: u32) -> ShardMessage {
        ShardMessage::GiveRoom { given }
    }

    fn publish(bytes: usize) -> Message {
        let channel = ChannelName::new("news", 255).expect("a name");
        Message::Publish { channel, payload: Payload::new(vec![b'x'; bytes], None), ticket: None }
    }

    fn read_all(mesh: &mut Mesh) -> Vec<u32> {
        let mut read = Vec::new();
        while mesh.receive().is_some() {
            while let Some(message) = mesh.next_message() {
                match message {
                    Parcel::Shard(ShardMessage::GiveRoom { given }) => read.push(given),
                    other => panic!("{other:?}"),
                }
            }
        }
        read
    }

    fn throw_away(mesh: &mut Mesh) {
        while mesh.receive().is_some() {
            while mesh.next_message().is_some() {}
        }
    }

    #[test]
    fn a_batch_that_was_not_taken_to_its_end_goes_on_before_the_next() {
        let (mut one, mut other) = pair();
        for number in 0..3 {
            one.send(ShardId(1), numbered(number)).expect("it passes");
        }
        one.flush();
        assert_eq!(other.receive(), Some((ShardId(0), 3)));
        assert!(matches!(other.next_message(), Some(Parcel::Shard(ShardMessage::GiveRoom { given: 0 }))));
        one.send(ShardId(1), numbered(3)).expect("it passes");
        one.flush();
        assert!(other.has_arrived());
        assert!(other.take_hop_us().is_some() && other.take_hop_us().is_none(), "it is told once");
        assert_eq!(other.receive(), Some((ShardId(0), 2)));
        assert!(other.take_hop_us().is_none(), "what is left of a batch has not come again");
        assert_eq!(read_all(&mut other), [1, 2, 3]);
        assert!(!other.has_arrived());
    }

    #[test]
    fn a_link_keeps_its_order_also_when_it_is_full() {
        let (mut one, mut other) = pair();
        let count = (MESH_BATCHES_MAX * 3) as u32;
        for number in 0..count {
            one.send(ShardId(1), numbered(number)).expect("it passes");
            one.flush();
        }
        assert_eq!(one.depth(), MESH_BATCHES_MAX * 2, "the queue takes a batch for each turn");
        // And so much that it takes several batches.
        let all = count + 3 * MESH_BATCH_MESSAGES_MAX as u32;
        (count..all).for_each(|number| one.send(ShardId(1), numbered(number)).expect("it passes"));
        let mut read = read_all(&mut other);
        one.flush();
        read.extend(read_all(&mut other));
        assert_eq!((read, one.depth()), ((0..all).collect(), 0));
    }

    #[test]
    fn publications_are_refused_for_their_number_and_for_their_bytes() {
        for bytes in [0, MESH_LINK_BYTES_MAX / 64] {
            let (mut one, mut other) = pair();
            let most = if bytes == 0 { MESH_OVERFLOW_MESSAGES_MAX } else { 64 };
            let taken = (0..2 * most).take_while(|_| one.send(ShardId(1), publish(bytes)).is_ok()).count();
            assert!(taken <= most + 1 && taken > most / 2, "{taken} of {bytes} B");
            assert!(matches!(one.send(ShardId(1), publish(bytes)), Err(Refused::Publish(_))));
            one.send(ShardId(1), ShardMessage::Drained).expect("what must pass passes");
            one.flush();
            if bytes > 0 {
                let refused = one.send(ShardId(1), publish(1));
                assert!(refused.is_err(), "what is in the queue counts");
            }
            throw_away(&mut other);
            one.flush();
            throw_away(&mut other);
            one.send(ShardId(1), publish(bytes)).expect("there is room again");
        }
    }

    #[test]
    fn a_link_to_a_shard_that_has_ended_keeps_nothing() {
        let (mut one, other) = pair();
        drop(other);
        one.send(ShardId(1), numbered(1)).expect("it is queued");
        one.flush();
        assert_eq!(one.depth(), 0);
    }
}
