//! A place in a Socket.IO cluster: this process as one member among servers in JavaScript that npm's `@socket.io/redis-adapter`
//! joins, and among emitters ([`crate::wire::redis_adapter`] has what they say).
//!
//! ```text
//!   every shard ─ ClusterAsk ─► Cluster ─► the cluster's thread ─ Member ── publishes ───────► Redis
//!   shard 0 ◄──── ClusterNews, then the doorbell ◄───────────────── ▲ ◄──── what is published ──┘
//!   who asked ◄── answers, likewise ◄───────────────────────────────┘
//! ```
//!
//! Members count each other by their subscriptions; so the process has one, however many shards it has, and what is asked of it
//! is answered by shard 0, which asks the others. Everything is told at most once, as members in JavaScript tell it: what comes
//! while Redis is away is counted and gone.
//!
//! # The nodes that a broker joins
//!
//! They are members of a cluster of their own, at the first of their brokers, if the operator names no other: for what the broker
//! does not carry, which is all that is asked of others, and events to a socket's id. Nobody else is a member, so nothing that is
//! published is said there. In either cluster these nodes ask each other what they know of channels, on a channel that nobody
//! else hears.
//!
//! # No event comes twice
//!
//! * What a member hears of itself, by its `uid`, it ignores.
//! * What comes from the cluster is never said to it again.
//! * Nodes that the broker joins have the same beginning of their `uid` (the broker's prefix and a slash, which none in JavaScript
//!   has). What is published on one of them reaches the others by the broker; so of what such a *sibling* tells the cluster they
//!   take only events to a socket's id, which the broker does not carry.
//! * With a broker an event of the cluster is handed to this node's sockets and not published, for every node hears it.

mod member;
mod questions;
mod terms;
#[cfg(test)]
mod tests;
mod thread;

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_channel::{Receiver, Sender};

pub use thread::start;

use super::Address;
use crate::{
    limits::CLUSTER_WAITING_BYTES_MAX,
    model::{ShardId, SharedPublication},
    wire::redis_adapter::{Answer, Asked, Emitted, Request, Survey},
};

/// Who the other members are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Servers in JavaScript among others, that npm's `@socket.io/redis-adapter` joins.
    Anybody,
    /// The same, that npm's `createShardedAdapter` joins over sharded pub/sub.
    Sharded,
    /// The nodes that a broker joins with this one, and nobody else.
    Nodes,
}

/// What the operator has said of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Who the members are.
    pub members: Members,
    /// Where its Redis is.
    pub address: Address,
    /// What the names of its channels begin with.
    pub key: String,
    /// Whom to trust; empty is whom the system trusts.
    pub ca_file: String,
    /// What is shown where a certificate is asked for: the file of one, and that of its key.
    pub identity: Option<[String; 2]>,
    /// The prefix of the broker that joins this node with others, if one does.
    pub siblings: Option<String>,
    /// The most bytes that one event or request may have.
    pub bytes_max: usize,
}

/// What a shard tells the cluster, or asks of it.
#[derive(Debug)]
pub enum ClusterAsk {
    /// This has been published.
    Published(SharedPublication),
    /// An event to sockets that are in no room.
    Emitted(Box<Emitted>),
    /// Something to do for every other member.
    Request {
        /// The namespace it is about.
        namespace: Box<str>,
        /// What.
        request: Box<Request>,
    },
    /// Something to be answered by every other member: by [`ClusterNews::Answered`].
    Question {
        /// The namespace it is about.
        namespace: Box<str>,
        /// What.
        request: Box<Request>,
        /// Handed back with the answers.
        token: u64,
        /// How long they are waited for.
        wait_ms: u64,
    },
    /// A question to the nodes that the broker joins with this one; answered as any other is.
    Survey {
        /// What.
        survey: Survey,
        /// Handed back with the answers.
        token: u64,
        /// How long they are waited for.
        wait_ms: u64,
    },
    /// An answer.
    Answer {
        /// The namespace that was asked about, or what stands in its place.
        namespace: Box<str>,
        /// The number of the request.
        id: Box<str>,
        /// The answer.
        answer: Box<Answer>,
    },
    /// A namespace is in use on this shard.
    Enter {
        /// Its name.
        namespace: Box<str>,
    },
    /// It is no more.
    Leave {
        /// Its name.
        namespace: Box<str>,
    },
    /// Somebody has to do with a room, or nobody has any more; said by the shard that owns its channel.
    Room {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        room: Box<str>,
        /// Whether somebody has.
        is_there: bool,
    },
    /// The shard begins anew; no namespace is in use on it.
    Begin,
}

/// What the cluster tells a shard; what nobody of this process has asked for it tells shard 0.
#[derive(Debug)]
pub enum ClusterNews {
    /// An event for sockets of this process.
    Emitted(Box<Emitted>),
    /// A request.
    Asked {
        /// The namespace it is about.
        namespace: Box<str>,
        /// What, and by whom.
        asked: Box<Asked>,
    },
    /// Another node asks what is known of channels.
    Surveys {
        /// What stands in the place of a namespace.
        namespace: Box<str>,
        /// The number of the request.
        id: Box<str>,
        /// What.
        survey: Survey,
    },
    /// What other members have answered.
    Answered {
        /// The question's.
        token: u64,
        /// Their answers.
        answers: Vec<Answer>,
        /// How many have not; at least one, if that is not known.
        missing: u32,
    },
}

/// A shard's end.
#[derive(Debug)]
pub struct Cluster {
    shard: ShardId,
    members: Members,
    /// Whether a broker joins this node with others.
    has_nodes: bool,
    asks: Sender<(ShardId, Vec<ClusterAsk>)>,
    /// What the turn has brought.
    gathered: RefCell<Vec<ClusterAsk>>,
    counts: Arc<Counts>,
    news: Receiver<Vec<ClusterNews>>,
}

/// What has come of what was told, for all shards.
#[derive(Debug, Default)]
pub(super) struct Counts {
    is_up: AtomicUsize,
    waiting_bytes: AtomicUsize,
    told: AtomicU64,
    heard: AtomicU64,
    ignored: AtomicU64,
    dropped: AtomicU64,
}

/// What has come of what was told, as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterCounts {
    /// Whether Redis is there.
    pub is_up: bool,
    /// Events, requests and answers that were told the cluster.
    pub told: u64,
    /// Events and requests that were heard.
    pub heard: u64,
    /// What was heard and makes no sense.
    pub ignored: u64,
    /// What was to be told and was not: Redis was away, too much waited, or msgpack cannot say it.
    pub dropped: u64,
}

impl Cluster {
    /// Tells or asks something, at the end of the turn. What there is no room for is dropped and counted.
    pub fn ask(&self, ask: ClusterAsk) {
        let bytes = ask.bytes();
        let waiting = self.counts.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if bytes > 0 && waiting + bytes > CLUSTER_WAITING_BYTES_MAX {
            self.counts.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.gathered.borrow_mut().push(ask);
    }

    /// Lets what was told and asked leave.
    pub fn flush(&self) {
        if !self.gathered.borrow().is_empty() {
            // The thread is gone only if it has panicked.
            self.asks.try_send((self.shard, self.gathered.take())).ok();
        }
    }

    /// What the cluster says next, if it says anything.
    pub fn next_news(&self) -> Option<Vec<ClusterNews>> {
        self.news.try_recv().ok()
    }

    /// Whether it says anything.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Whether others than the nodes that a broker joins are members, to whom it does not carry what is published.
    pub fn wants_publications(&self) -> bool {
        self.members != Members::Nodes
    }

    /// Whether it has to be known with which rooms somebody here has to do, for each has a channel.
    pub fn wants_rooms(&self) -> bool {
        self.members == Members::Sharded
    }

    /// Whether there are other nodes that a broker joins with this one.
    pub fn has_nodes(&self) -> bool {
        self.has_nodes
    }

    /// What has come of all that; told by shard 0. Of how it stands among nodes their links to the broker tell.
    pub fn counts(&self) -> Option<ClusterCounts> {
        (self.shard == ShardId(0) && self.wants_publications()).then(|| self.counts.look())
    }
}

impl Counts {
    fn look(&self) -> ClusterCounts {
        ClusterCounts {
            is_up: self.is_up.load(Ordering::Relaxed) > 0,
            told: self.told.load(Ordering::Relaxed),
            heard: self.heard.load(Ordering::Relaxed),
            ignored: self.ignored.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

impl ClusterAsk {
    /// Bytes of memory it keeps while it waits; what changes a namespace is always taken.
    pub(crate) fn bytes(&self) -> usize {
        const RECORD_BYTES: usize = 128;
        RECORD_BYTES
            + match self {
                Self::Published(publication) => publication.payload.bytes(),
                Self::Emitted(emitted) => emitted.arguments.bytes(),
                Self::Request { request, .. } => match &**request {
                    Request::ServerEvent { arguments } => arguments.bytes(),
                    Request::Join { rooms, .. } | Request::Leave { rooms, .. } => names_bytes(rooms),
                    _ => 0,
                },
                Self::Answer { answer, .. } => match &**answer {
                    Answer::Sockets(names) | Answer::Rooms(names) => names_bytes(names),
                    Answer::Fetched(sockets) => {
                        let bytes = |one: &crate::wire::redis_adapter::Fetched| {
                            RECORD_BYTES + one.data.len() + names_bytes(&one.rooms)
                        };
                        sockets.iter().map(bytes).sum()
                    }
                    Answer::Said(json) => json.len(),
                    Answer::Acknowledged(arguments) => arguments.bytes(),
                    Answer::Surveyed(channels) => {
                        channels.iter().map(|one| RECORD_BYTES + one.channel.len()).sum()
                    }
                    Answer::Done | Answer::Asked(_) => 0,
                },
                // Somebody waits for its answer, and so there are few of them.
                Self::Question { .. } | Self::Survey { .. } => return 0,
                Self::Enter { .. } | Self::Leave { .. } | Self::Room { .. } | Self::Begin => return 0,
            }
    }
}

fn names_bytes(names: &[Box<str>]) -> usize {
    names.iter().map(|name| name.len() + size_of::<Box<str>>()).sum()
}
