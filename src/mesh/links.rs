//! The links between shards: batches over glommio's shared channels, one per destination and turn.
//!
//! ```text
//!   send ─► overflow (≤ MESH_OVERFLOW_MESSAGES_MAX) ─flush─► channel (≤ MESH_BATCHES_MAX) ─► inbox ─► receive
//! ```
//!
//! A full overflow refuses publications and drops deliveries and announcements. Answers and subscriptions pass even
//! then: their number is bounded by the connections that wait for them; and so do connections, whose number is bounded
//! by the descriptors of the process. Nothing here waits for a peer, so no two shards can wait for each other.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use glommio::channels::shared_channel::{
    ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};

use super::{Bell, Message};
use crate::{
    limits::{MESH_BATCH_MESSAGES_MAX, MESH_BATCHES_MAX, MESH_OVERFLOW_MESSAGES_MAX},
    model::{ChannelName, ShardId},
};

type Batch = Vec<Message>;

/// One shard's ends of all links, not yet on its executor.
#[derive(Default)]
pub struct Links {
    senders: Vec<Option<SharedSender<Batch>>>,
    receivers: Vec<Option<SharedReceiver<Batch>>>,
}

/// One shard's ends of all links, connected.
pub struct Mesh {
    outbound: Vec<Option<Outbound>>,
    inbox: Rc<Inbox>,
    waiting: usize,
}

/// What became of a message that found its link full.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A publish, given back: its publisher is told to try later.
    Publish(Message),
    /// A delivery on this channel, dropped: its subscribers will see a gap.
    Deliver(ChannelName),
    /// Something for Socket.IO sockets, dropped.
    Socket,
    /// An announcement of this channel, dropped: it has to be made again.
    Announce(ChannelName),
}

struct Outbound {
    sender: ConnectedSender<Batch>,
    overflow: VecDeque<Message>,
}

/// Batches that have arrived; at most one per link, so that a busy shard pushes back on its peers.
struct Inbox {
    batches: RefCell<VecDeque<(ShardId, Batch)>>,
    /// Per peer: rung when its batch has been taken.
    taken: Vec<Bell>,
}

/// Makes the links of `shards` shards, each to each.
pub fn full(shards: u16) -> Vec<Links> {
    let none = || std::iter::repeat_with(|| None).take(usize::from(shards)).collect::<Vec<_>>();
    let mut all: Vec<Links> = (0..shards).map(|_| Links { senders: none(), receivers: Vec::new() }).collect();
    for links in &mut all {
        links.receivers = std::iter::repeat_with(|| None).take(usize::from(shards)).collect();
    }
    for from in 0..usize::from(shards) {
        for to in (0..usize::from(shards)).filter(|to| *to != from) {
            let (sender, receiver) = new_bounded(MESH_BATCHES_MAX);
            all[from].senders[to] = Some(sender);
            all[to].receivers[from] = Some(receiver);
        }
    }
    all
}

impl Links {
    /// Connects every link, on this shard's executor. Ends once all peers have connected theirs.
    pub(crate) async fn connect(self, bell: &Rc<Bell>) -> Mesh {
        let shards = self.senders.len();
        let inbox = Rc::new(Inbox {
            batches: RefCell::default(),
            taken: std::iter::repeat_with(Bell::default).take(shards).collect(),
        });
        for (from, receiver) in self.receivers.into_iter().enumerate() {
            if let Some(receiver) = receiver {
                let (inbox, bell) = (Rc::clone(&inbox), Rc::clone(bell));
                glommio::spawn_local(async move {
                    pump(receiver.connect().await, ShardId(from as u16), &inbox, &bell).await;
                })
                .detach();
            }
        }
        let connecting: Vec<_> = self
            .senders
            .into_iter()
            .map(|sender| sender.map(|sender| glommio::spawn_local(sender.connect())))
            .collect();
        let mut outbound = Vec::with_capacity(shards);
        for sender in connecting {
            outbound.push(match sender {
                Some(task) => Some(Outbound { sender: task.await, overflow: VecDeque::new() }),
                None => None,
            });
        }
        Mesh { outbound, inbox, waiting: 0 }
    }
}

/// Moves batches from one link into the inbox, one at a time.
async fn pump(receiver: ConnectedReceiver<Batch>, from: ShardId, inbox: &Inbox, bell: &Bell) {
    while let Some(batch) = receiver.recv().await {
        inbox.batches.borrow_mut().push_back((from, batch));
        bell.ring();
        inbox.taken[usize::from(from.0)].wait().await;
    }
}

impl Mesh {
    /// Queues a message for another shard; it leaves with the next [`Self::flush`].
    pub(crate) fn send(&mut self, to: ShardId, message: Message) -> Result<(), Refused> {
        let outbound = self.outbound[usize::from(to.0)].as_mut().expect("a shard does not send to itself");
        if outbound.overflow.len() >= MESH_OVERFLOW_MESSAGES_MAX {
            match message {
                Message::Publish { .. } => return Err(Refused::Publish(message)),
                Message::Deliver(publication) => return Err(Refused::Deliver(publication.channel.clone())),
                Message::Announce { channel, .. } => return Err(Refused::Announce(channel)),
                Message::Socket { .. } | Message::Sockets(_) => return Err(Refused::Socket),
                _ => {}
            }
        }
        outbound.overflow.push_back(message);
        self.waiting += 1;
        Ok(())
    }

    /// Sends what is queued, in batches, as far as the links take it.
    pub(crate) fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        for outbound in self.outbound.iter_mut().flatten() {
            while !outbound.overflow.is_empty() {
                let count = outbound.overflow.len().min(MESH_BATCH_MESSAGES_MAX);
                let batch: Batch = outbound.overflow.drain(..count).collect();
                match outbound.sender.try_send(batch) {
                    Ok(()) => self.waiting -= count,
                    Err(glommio::GlommioError::WouldBlock(glommio::ResourceType::Channel(batch))) => {
                        for message in batch.into_iter().rev() {
                            outbound.overflow.push_front(message);
                        }
                        break;
                    }
                    // The peer has ended: the process is ending, and nobody is left to read this.
                    Err(_) => self.waiting -= count,
                }
            }
        }
    }

    /// The next batch that has arrived.
    pub(crate) fn receive(&mut self) -> Option<(ShardId, Vec<Message>)> {
        let (from, batch) = self.inbox.batches.borrow_mut().pop_front()?;
        self.inbox.taken[usize::from(from.0)].ring();
        Some((from, batch))
    }

    /// Messages queued for other shards that no link has taken yet.
    pub(crate) fn depth(&self) -> usize {
        self.waiting
    }
}
