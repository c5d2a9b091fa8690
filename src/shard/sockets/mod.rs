//! Engine.IO sessions and Socket.IO sockets of a shard: the tables, and who does what.
//!
//! A *session* is one client, carried by connections that come and go; a *socket* is that client in one namespace.
//! A socket subscribes in the hub like any connection: to the channel of its namespace and to those of its rooms.
//!
//! ```text
//!   connection ─► requests.rs / heard.rs ─► session ─► packets.rs ─► Io (the application)
//!                                                                     │ orders
//!   connection ◄── sending.rs ◄── fan_out.rs ◄── hub ◄── orders.rs ◄──┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `requests` | HTTP: the handshake, polls, posts, upgrades |
//! | `heard` | what arrives on connections of sessions, deadlines, the end of a session |
//! | `passed_on` | requests of sessions that another node has |
//! | `posts` | posts of packets, heard bit by bit |
//! | `packets` | Socket.IO's packets: entering and leaving namespaces, events, acknowledgements |
//! | `credentials` | the tokens of clients, and how many clients a user has |
//! | `entering` | what the operator's backend is asked about those who enter |
//! | `session` | one client: what is kept of every one, and what few need |
//! | `sending` | packets to a session, whatever carries it |
//! | `fan_out` | publications to sockets |
//! | `orders` | what the application asks for, and what other shards ask for |
//! | `joins` | sockets that are being put into rooms |
//! | `selecting` | what is done to many sockets, or told of them |
//! | `moving` | sessions that go to the shard where their client was before |
//! | `claim` | what a client that comes back shows |
//! | `members` | sockets as members of the channels whose rooms they are in |
//! | `recovery` | what is kept for clients that come back |
//! | `returning` | telling them what they missed, bit by bit |
//! | `succession` | those who come back to another process |
//! | `travelling` | sessions that go on in another process |

mod claim;
mod credentials;
mod draining;
mod entering;
mod fan_out;
mod heard;
mod joins;
mod members;
mod moving;
mod orders;
mod packets;
mod passed_on;
mod posts;
mod recovery;
mod requests;
mod returning;
mod selecting;
mod sending;
mod session;
#[cfg(test)]
mod simulated;
mod succession;
mod travelling;

use std::{cell::Cell, collections::VecDeque, rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;
use subtle::ConstantTimeEq;

pub(super) use fan_out::Surroundings;
pub(super) use requests::{EngineOutcome, WebSocketRole};
use session::{Extra, Session, Shown};
pub(super) use travelling::{Arrivals, Seated};

use super::{deadlines::Deadlines, messages::frames_of, table::Table, turn::Shard, wheel::Wheel};
use crate::{
    app::{
        Origins,
        socketio::{EngineId, Io, NamespaceId, Order, Room},
    },
    hub::Hub,
    live::Live,
    mesh::{AddressCounts, ShardReport},
    model::{
        ChannelName, ConnectionId, Issuer, NodeId, SessionId, ShardId, SharedPublication, SocketId,
        lone_socket,
    },
    session::{NONE, Outlet},
    wire::websocket::Settings,
};

/// All Engine.IO sessions and Socket.IO sockets of a shard.
pub(super) struct Sockets {
    shard: ShardId,
    /// What this node is called in ids.
    node: NodeId,
    pub(super) io: Io,
    /// Whether the application serves Socket.IO at all.
    pub(super) is_served: bool,
    pub(super) websocket_settings: Settings,
    origins: Origins,
    sessions: Table<Session>,
    sessions_max: u32,
    /// How many sessions of each address poll, on all shards; counted while that is limited.
    handshakes: Arc<AddressCounts>,
    sockets: Table<Socket>,
    wheel: Wheel,
    due: Vec<u32>,
    /// Until when sessions have to enter a namespace.
    unadmitted: Deadlines<EngineId>,
    /// Until when WebSockets that are tried have to take their sessions over.
    probing: Deadlines<(EngineId, u32)>,
    /// Until when clients may come back to their sockets, and to which of its absences each belongs.
    away: Deadlines<(SocketId, u16)>,
    /// Sessions whose parked poll is answered at the end of the turn.
    to_answer: Vec<u32>,
    /// Sessions whose poll is answered with a noop, unless a WebSocket takes over first; and in which turn.
    soon: VecDeque<(EngineId, u64)>,
    /// Publications that some sockets must not get because of rooms they are in.
    excluding: Vec<(Vec<SharedPublication>, Vec<u32>)>,
    log: recovery::Log,
    returning: returning::Returning,
    /// Requests about many sockets.
    selecting: selecting::Selecting,
    /// What is left of posts.
    posts: posts::Posts,
    /// A session about to go to another shard.
    moving: Option<moving::Moving>,
    /// Sessions that have gone, and where to.
    moved: FxHashMap<u32, ShardId>,
    /// Sessions that have come, by the shard and index in their ids.
    foreign: FxHashMap<(ShardId, u32), u32>,
    orders: Vec<(Issuer, Order)>,
    /// Sockets that are being put into rooms.
    pub(super) joins: joins::Joins,
    /// What sockets that catch up are to be told then.
    held: FxHashMap<u32, Held>,
    pub(super) runs_orders: bool,
    /// Who waits for room for the next part of an answer that is written bit by bit, by its connection.
    pub(super) awaiting_room: FxHashMap<u32, Room>,
    /// Bodies that are passed on as they come, by their connections.
    pub(super) uploads: FxHashMap<u32, super::uploads::Uploading>,
    text: Vec<u8>,
    frames: fan_out::Frames,
    /// Bytes that wait for clients that poll; those that are shared count once.
    queued_bytes: Rc<Cell<u64>>,
}

/// One client in one namespace.
struct Socket {
    namespace: NamespaceId,
    /// [`NONE`] while its client is away and may come back.
    session: u32,
    /// The next socket of the session.
    next: u32,
    /// The WebSocket that carries it, or [`NONE`].
    connection: u32,
    /// Where the log was when the client last proved what it has heard: everything up to there.
    heard: u32,
    /// How often its client has been away.
    absences: u16,
    /// Proves that a client that comes back is the one that left.
    secret: [u8; 9],
    state: State,
}

/// What a socket that catches up is told only then: what is in no log, and what comes behind that.
#[derive(Default)]
struct Held {
    /// Events and acknowledgements, at most [`crate::limits::HELD_ORDERS_MAX`], and as many bytes as may wait for a client.
    orders: Vec<Order>,
    bytes: usize,
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits for the owner of its namespace's channel.
    Joining,
    /// It is in its namespace.
    Connected,
    /// It is, and is being told what it missed.
    Returning,
    /// Its client is away and may come back.
    Away,
}

const _: () = assert!(size_of::<Socket>() <= 32);

impl Sockets {
    pub(super) fn new(
        shard: ShardId,
        io: Io,
        is_served: bool,
        sessions_max: u32,
        handshakes: Arc<AddressCounts>,
        now_ms: u64,
        fragments_max: u32,
    ) -> Self {
        Self {
            shard,
            node: io.settings().node,
            is_served,
            websocket_settings: frames_of(io.settings().max_http_buffer_size.into(), fragments_max),
            origins: Origins::new(&io.settings().allowed_origins, io.settings().credentials),
            sessions: Table::default(),
            sessions_max,
            handshakes,
            sockets: Table::default(),
            wheel: Wheel::new(if is_served { sessions_max } else { 0 }, now_ms),
            due: Vec::new(),
            unadmitted: Deadlines::default(),
            probing: Deadlines::default(),
            away: Deadlines::default(),
            to_answer: Vec::new(),
            soon: VecDeque::new(),
            excluding: Vec::new(),
            log: recovery::Log::new(io.settings()),
            returning: returning::Returning::default(),
            selecting: selecting::Selecting::default(),
            posts: posts::Posts::default(),
            moving: None,
            moved: FxHashMap::default(),
            foreign: FxHashMap::default(),
            orders: Vec::new(),
            joins: joins::Joins::default(),
            held: FxHashMap::default(),
            runs_orders: false,
            awaiting_room: FxHashMap::default(),
            uploads: FxHashMap::default(),
            text: Vec::new(),
            frames: fan_out::Frames::default(),
            queued_bytes: Rc::default(),
            io,
        }
    }

    /// The counts of all shards.
    pub(super) fn handshakes(&self) -> Arc<AddressCounts> {
        Arc::clone(&self.handshakes)
    }

    /// Names that no socket or session of the tables before had: a generation for each.
    pub(super) fn next_generations(&self) -> [u32; 2] {
        [self.sockets.next_generation(), self.sessions.next_generation()]
    }

    /// Names no socket as one of another process was named, of another node or of the server before: ids are kept where they
    /// came from, and are not to lead to somebody else.
    pub(super) fn name_as_nobody_before(&mut self) {
        self.sockets.go_on_from(fastrand::u32(..));
    }

    /// Gives no socket or session a name that one of the tables before had.
    pub(super) fn go_on_from(&mut self, [sockets, sessions]: [u32; 2]) {
        self.sockets.go_on_from(sockets);
        self.sessions.go_on_from(sessions);
    }

    /// Takes over what the operator has changed while the server runs.
    pub(super) fn change_settings(&mut self, live: &Live) {
        self.origins = Origins::new(&live.allowed_origins, live.origins_credentials);
        self.websocket_settings.fragments_max = live.limits.message_fragments_max;
    }

    /// Whether messages to and from its WebSockets may be compressed.
    pub(super) fn compresses(&self) -> bool {
        self.io.settings().per_message_deflate
    }

    /// Which pages may talk to the server.
    pub(super) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.selecting.begin_turn();
    }

    /// The number of the last command to many sockets that is under way.
    pub(super) fn commanding(&self) -> Option<u64> {
        self.selecting.commanding()
    }

    /// Whether a command to many sockets is under way.
    pub(super) fn is_commanding(&self) -> bool {
        self.commanding().is_some()
    }

    /// Whether a command to many sockets has been carried out at each.
    pub(super) fn has_selected(&self, number: u64) -> bool {
        self.selecting.has_finished(number)
    }

    /// Fills in what a report says of sessions and sockets.
    pub(super) fn report(&self, report: &mut ShardReport) {
        report.engine_sessions = self.sessions.len() - self.moved.len() as u32;
        report.sockets = self.sockets.len();
    }

    /// Whether the application has asked for something, or a poll is to be answered.
    pub(super) fn has_more(&self) -> bool {
        !self.io.orders().is_empty()
            || !self.to_answer.is_empty()
            || !self.soon.is_empty()
            || !self.posts.is_empty()
            || self.returning.has_more()
            || !self.selecting.is_empty()
    }

    /// When the next deadline of a session or socket is, where one passes before `end_ms`.
    pub(super) fn next_ms(&self, end_ms: u64) -> Option<u64> {
        let queues = [self.unadmitted.next_ms(), self.probing.next_ms(), self.away.next_ms()];
        queues.into_iter().chain([self.wheel.next_ms(end_ms)]).flatten().min()
    }

    /// The full id of a session.
    fn engine_id(&self, index: u32) -> EngineId {
        EngineId { index, generation: self.sessions.generation(index) }
    }

    /// The index of a session that still is the one this id was given to.
    fn find(&self, id: EngineId) -> Option<u32> {
        self.sessions.find(id.index, id.generation).map(|_| id.index)
    }

    /// Whether this is a session's id, to the last byte of its secret.
    fn is_named(&self, session: u32, sid: &SessionId) -> bool {
        let secret_of = |session: &Session| session.engine.secret.ct_eq(&sid.secret());
        self.sessions.get(session).is_some_and(|session| bool::from(secret_of(session)))
    }

    /// The id of the socket at an index of this shard.
    fn id_of(&self, index: u32) -> SocketId {
        SocketId { node: self.node, shard: self.shard, index, generation: self.sockets.generation(index) }
    }

    /// The socket an id of this shard names, or none where it names another node's, or its place has been used again since.
    fn socket(&self, id: SocketId) -> Option<&Socket> {
        self.sockets.find(id.index, id.generation).filter(|_| id.node == self.node)
    }

    /// The socket that subscribes under this id.
    fn find_subscriber(&self, subscriber: ConnectionId) -> Option<u32> {
        let index = SocketId::index_of(subscriber.index)?;
        self.sockets.find(index, subscriber.generation).map(|_| index)
    }

    /// A session's socket in a namespace.
    fn socket_in(&self, session: u32, namespace: &str) -> Option<u32> {
        self.sockets_of(session).find(|index| {
            let is_it = |socket: &Socket| self.io.is_named(socket.namespace, namespace);
            self.sockets.get(*index).is_some_and(is_it)
        })
    }

    /// Where packets to a session go.
    fn outlet(&self, session: u32) -> Option<Outlet> {
        self.sessions.get(session).map(|session| session.engine.outlet())
    }

    /// The WebSocket that carries a socket.
    pub(in crate::shard) fn connection_of(&self, socket: u32) -> Option<u32> {
        self.sockets.get(socket).map(|socket| socket.connection).filter(|connection| *connection != NONE)
    }

    /// The sockets of a session.
    fn sockets_of(&self, session: u32) -> impl Iterator<Item = u32> {
        let mut next = self.sessions.get(session).map_or(NONE, |session| session.socket);
        std::iter::from_fn(move || {
            let index = next;
            next = self.sockets.get(index)?.next;
            Some(index)
        })
    }

    /// Keeps a session that begins here, or came from where it began: it is pinged in so long, and one that speaks
    /// Socket.IO has to enter a namespace in time.
    fn take_in(&mut self, session: Session, now_ms: u64, ping_in_ms: u32) -> u32 {
        let session = self.sessions.insert(|_, _| session);
        self.wheel.set(session, now_ms + u64::from(ping_in_ms));
        if !self.io.is_raw() {
            self.await_entry(now_ms, session);
        }
        session
    }

    /// Sets until when a session has to enter a namespace.
    fn await_entry(&mut self, now_ms: u64, session: u32) {
        let (id, sessions) = (self.engine_id(session), &self.sessions);
        let at_ms = now_ms + u64::from(self.io.settings().connect_timeout_ms);
        self.unadmitted.push(at_ms, id, sessions.len(), |id| sessions.is_unadmitted(*id));
    }

    /// Sets until when a WebSocket has to take a session over.
    fn await_upgrade(&mut self, now_ms: u64, session: u32, connection: u32) {
        let (id, sessions) = (self.engine_id(session), &self.sessions);
        let at_ms = now_ms + u64::from(self.io.settings().upgrade_timeout_ms);
        let is_live = |(id, connection): &_| sessions.is_tried(*id, *connection);
        self.probing.push(at_ms, (id, connection), sessions.len(), is_live);
    }

    /// Sets until when the client of a socket may come back from this absence.
    fn await_return(&mut self, now_ms: u64, id: SocketId, absence: u16) {
        let sockets = &self.sockets;
        let at_ms = now_ms + u64::from(self.io.settings().recovery_ms);
        let is_live = |(id, absence): &_| sockets.is_away(*id, *absence);
        self.away.push(at_ms, (id, absence), sockets.len(), is_live);
    }

    /// Takes a socket out of its session's list.
    fn unlink(&mut self, index: u32) {
        let Some(socket) = self.sockets.get_mut(index) else { return };
        let (session, after) = (socket.session, std::mem::replace(&mut socket.next, NONE));
        let Some(session) = self.sessions.get_mut(session) else { return };
        if session.socket == index {
            session.socket = after;
            return;
        }
        let mut at = session.socket;
        while let Some(socket) = self.sockets.get_mut(at) {
            if socket.next == index {
                socket.next = after;
                return;
            }
            at = socket.next;
        }
    }
}

impl Table<Session> {
    /// Whether a session is still to enter a namespace.
    fn is_unadmitted(&self, id: EngineId) -> bool {
        self.find(id.index, id.generation).is_some_and(|session| !session.engine.is_admitted())
    }

    /// Whether a session still tries this WebSocket.
    fn is_tried(&self, id: EngineId, connection: u32) -> bool {
        let session = self.find(id.index, id.generation);
        session.is_some_and(|session| session.engine.probe() == Some(connection))
    }
}

impl Table<Socket> {
    /// Whether this absence of a socket's client still lasts.
    fn is_away(&self, id: SocketId, absence: u16) -> bool {
        let is_it = |socket: &Socket| socket.state == State::Away && socket.absences == absence;
        self.find(id.index, id.generation).is_some_and(is_it)
    }
}

/// Whether a socket is in a room, which may be its own.
fn is_in(hub: &Hub, socket: SocketId, room: &ChannelName) -> bool {
    hub.is_subscribed(socket.subscriber().index, room) || lone_socket(room) == Some(socket)
}

impl State {
    /// Whether its client is in its namespace, and there.
    fn is_in(self) -> bool {
        matches!(self, Self::Connected | Self::Returning)
    }
}

impl Socket {
    fn new(namespace: NamespaceId, session: u32, connection: u32, secret: [u8; 9], next: u32) -> Self {
        Self { namespace, session, next, connection, heard: 0, absences: 0, secret, state: State::Joining }
    }
}
