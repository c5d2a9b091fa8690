//! Requests of clients whose sessions another node has: passed on to it, and its answers back.
//!
//! ```text
//!   shard ─ Pass ─► the broker's thread ─ HTTP/1.1, TLS ─► the node that the session's id names
//!     ▲                                                          │
//!     └── PassedBack, then the doorbell ◄────────────────────────┘
//! ```
//!
//! Where nodes are, the roll says ([`super::roll`]); one that it names no longer is not waited for. A client that goes takes its request with it: the connection to the other
//! node is closed, as the client's own would have been.
//!
//! A connection that becomes a WebSocket there is given away whole: from then on it is bytes, both ways, until either end has ended.
//! It is nothing but that once the node has agreed to it, so that nobody says by it what only another node may say.
//!
//! Invariant: of a shard at most [`PASSED_ON_MAX`](crate::limits::PASSED_ON_MAX) requests are under way; each is answered once,
//! or given up. At most [`TUNNELS_MAX`] connections of a shard are with other nodes.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::TcpStream,
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, Instant},
};

use async_channel::{Receiver, Sender};
use async_executor::{LocalExecutor, Task};
use async_io::{Async, Timer};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::or, io::split};
use tracing::debug;

use crate::{
    backend::{CallError, Client, Origin},
    limits::{PASSED_BACK_BYTES_MAX, POST_PASSED_ON_MS, ROLL_EACH_MS, TUNNEL_READ_BYTES, TUNNELS_MAX},
    model::{ConnectionId, NodeId},
    ring::Doorbell,
    wire::engineio::HandshakeError,
};

/// What a shard leaves.
#[derive(Debug)]
pub enum Pass {
    /// A client's request for another node.
    Request(Box<PassedOn>),
    /// The client has gone.
    GiveUp(ConnectionId),
    /// A client's connection.
    Tunnel(Box<Tunnel>),
}

/// A client's connection that is to become a WebSocket of another node.
#[derive(Debug)]
pub struct Tunnel {
    /// Which node.
    pub node: NodeId,
    /// What it has sent, as it is passed on.
    pub request: Vec<u8>,
    /// The connection.
    pub descriptor: OwnedFd,
}

/// A client's request for another node.
#[derive(Debug)]
pub struct PassedOn {
    /// Whose it is.
    pub client: ConnectionId,
    /// Who has the session.
    pub node: NodeId,
    /// The request, as it is sent.
    pub request: Vec<u8>,
    /// Whether it may be made again where nothing shows that it has arrived.
    pub may_repeat: bool,
    /// How long the answer may take.
    pub wait_ms: u64,
}

/// What becomes of one.
#[derive(Debug)]
pub struct PassedBack {
    /// Whose request it was.
    pub client: ConnectionId,
    /// What the node has answered.
    pub answer: Result<NodeAnswer, NoAnswer>,
}

/// What a node has answered.
#[derive(Debug)]
pub struct NodeAnswer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The header fields, each `name: value\r\n`.
    pub fields: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no such node, or it does not say where it is reached.
    Unknown,
    /// It cannot be reached, or has not answered in time.
    Away,
}

/// Where nodes are that say so, by their names.
pub(super) type Whereabouts = RefCell<HashMap<NodeId, Origin>>;

/// A shard's part of it.
pub(super) struct Desk {
    pub(super) passes: Receiver<Pass>,
    pub(super) answers: Sender<PassedBack>,
    pub(super) bell: Doorbell,
}

/// What every request needs.
struct Way {
    client: Rc<Client>,
    nodes: Rc<Whereabouts>,
    answers: Sender<PassedBack>,
    bell: Doorbell,
    under_way: RefCell<HashMap<ConnectionId, Task<()>>>,
    tunnels: Cell<usize>,
}

/// Passes on what a shard leaves, until that has gone.
pub(super) async fn pass_on(client: Rc<Client>, nodes: Rc<Whereabouts>, desk: Desk) {
    let Desk { passes, answers, bell } = desk;
    let way =
        Rc::new(Way { client, nodes, answers, bell, under_way: RefCell::default(), tunnels: Cell::new(0) });
    let executor = LocalExecutor::new();
    let heard = async {
        while let Ok(pass) = passes.recv().await {
            match pass {
                Pass::Request(passed) => {
                    let (own, client) = (Rc::clone(&way), passed.client);
                    let task = executor.spawn(async move { own.carry(*passed).await });
                    way.under_way.borrow_mut().insert(client, task);
                }
                // A task that is dropped is cancelled, and its connection closed.
                Pass::GiveUp(client) => drop(way.under_way.borrow_mut().remove(&client)),
                Pass::Tunnel(tunnel) => {
                    let own = Rc::clone(&way);
                    executor.spawn(async move { own.join(*tunnel).await }).detach();
                }
            }
        }
    };
    executor.run(heard).await;
}

impl Way {
    /// Joins a client's connection with one to a node.
    async fn join(&self, Tunnel { node, request, descriptor }: Tunnel) {
        self.tunnels.set(self.tunnels.get() + 1);
        if let Err(error) = self.carry_bytes(node, &request, descriptor).await {
            debug!(%node, "a connection to another node has ended: {error}");
        }
        self.tunnels.set(self.tunnels.get() - 1);
    }

    async fn carry_bytes(&self, node: NodeId, request: &[u8], descriptor: OwnedFd) -> io::Result<()> {
        let client = Async::new(TcpStream::from(descriptor))?;
        let origin = self.nodes.borrow().get(&node).cloned().filter(|_| self.tunnels.get() <= TUNNELS_MAX);
        let agreed = match origin {
            Some(origin) => {
                let deadline = Instant::now() + Duration::from_millis(POST_PASSED_ON_MS);
                self.client.switch(&origin, request, deadline).await.ok()
            }
            None => None,
        };
        let Some((answer, stream)) = agreed else {
            return (&client).write_all(&refusal()).await;
        };
        (&client).write_all(&answer).await?;
        let (from_node, to_node) = split(stream);
        or(pass_bytes(&client, to_node), pass_bytes(from_node, &client)).await
    }

    async fn carry(&self, passed: PassedOn) {
        let PassedOn { client, node, request, may_repeat, wait_ms } = passed;
        let origin = self.nodes.borrow().get(&node).cloned();
        let answer = match origin {
            None => Err(NoAnswer::Unknown),
            Some(origin) => {
                let deadline = Instant::now() + Duration::from_millis(wait_ms);
                let what = (&origin, &request[..]);
                let answered = async {
                    let answered = self.client.pass(what, may_repeat, PASSED_BACK_BYTES_MAX, deadline).await;
                    answered
                        .map_err(|error: CallError| debug!(%node, "a request is not answered: {error}"))
                        .map_or(Err(NoAnswer::Away), |(received, fields)| {
                            Ok(NodeAnswer { status: received.status, body: received.body, fields })
                        })
                };
                or(answered, self.struck_off(node)).await
            }
        };
        // It goes on to its end by itself.
        if let Some(task) = self.under_way.borrow_mut().remove(&client) {
            task.detach();
        }
        if self.answers.send(PassedBack { client, answer }).await.is_ok() {
            self.bell.ring();
        }
    }

    /// Waits until the roll has not named a node at two looks: one that a broker without memory has forgotten says so again between
    /// them.
    async fn struck_off(&self, node: NodeId) -> Result<NodeAnswer, NoAnswer> {
        let mut misses = 0;
        while misses < 2 {
            Timer::after(Duration::from_millis(ROLL_EACH_MS)).await;
            misses = if self.nodes.borrow().contains_key(&node) { 0 } else { misses + 1 };
        }
        Err(NoAnswer::Unknown)
    }
}

/// Passes on what comes until nothing does any more. What has come has been sent before more is waited for, TLS or not.
async fn pass_bytes(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut bytes = vec![0; TUNNEL_READ_BYTES];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
        to.flush().await?;
    }
}

/// What a client is answered whose node does not take its WebSocket: it goes on polling.
fn refusal() -> Vec<u8> {
    let mut body = Vec::new();
    HandshakeError::UnknownSid.encode(&mut body, None);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), &body].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use futures_lite::{future::block_on, io::BufWriter};

    use super::*;

    #[test]
    fn what_has_come_is_sent_before_more_is_waited_for() {
        let pair = || UnixStream::pair().map(|(one, other)| (Async::new(one), Async::new(other)));
        let [(mut client, from), (to, mut node)] = [(); 2].map(|()| {
            let (one, other) = pair().expect("a pair");
            (one.expect("a socket"), other.expect("a socket"))
        });
        block_on(async {
            let heard = async {
                client.write_all(b"hello").await?;
                let mut heard = [0; 5];
                node.read_exact(&mut heard).await?;
                assert_eq!(&heard, b"hello");
                drop(client);
                std::future::pending().await
            };
            let heard = or(heard, async {
                Timer::after(Duration::from_secs(30)).await;
                panic!("nothing is sent")
            });
            // It keeps what is written until it is told to send it, as a connection of TLS may.
            or(pass_bytes(from, BufWriter::new(to)), heard).await
        })
        .expect("it ends with the client");
    }
}
