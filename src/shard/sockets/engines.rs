//! The sessions and sockets of a shard: the tables, who is in them, and until when something is awaited of whom.

use std::{cell::Cell, collections::VecDeque, rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;
use subtle::ConstantTimeEq;

use super::{
    fan_out, joins, moving, posts, recovery, returning, selecting,
    session::Session,
    socket::{Held, Socket},
};
use crate::{
    app::{
        Origins,
        socketio::{EngineId, Io, Order},
    },
    limits::Limits,
    live::Live,
    mesh::{AddressCounts, ShardReport},
    model::{
        CloseReason, ConnectionId, Issuer, NodeId, Now, SessionId, ShardId, SharedPublication, SocketId,
    },
    session::{NONE, Outlet},
    shard::{deadlines::Deadlines, messages::frames_of, table::Table, wheel::Wheel},
    wire::websocket::Settings,
};

/// All Engine.IO sessions and Socket.IO sockets of a shard.
pub(in crate::shard) struct Engines {
    pub(super) shard: ShardId,
    /// When the turn under way began.
    pub(super) now: Now,
    /// So much may wait for one client.
    pub(super) queue_bytes_max: usize,
    /// What this node is called in ids.
    pub(super) node: NodeId,
    pub(in crate::shard) io: Io,
    /// Whether the application serves Socket.IO at all.
    pub(in crate::shard) is_served: bool,
    pub(in crate::shard) websocket_settings: Settings,
    pub(super) origins: Origins,
    pub(super) sessions: Table<Session>,
    pub(super) sessions_max: u32,
    /// How many sessions of each address poll, on all shards; counted while that is limited.
    pub(super) handshakes: Arc<AddressCounts>,
    pub(super) sockets: Table<Socket>,
    pub(super) wheel: Wheel,
    pub(super) due: Vec<u32>,
    /// Until when sessions have to enter a namespace.
    pub(super) unadmitted: Deadlines<EngineId>,
    /// Until when WebSockets that are tried have to take their sessions over.
    pub(super) probing: Deadlines<(EngineId, u32)>,
    /// Until when clients may come back to their sockets, and to which of its absences each belongs.
    pub(super) away: Deadlines<(SocketId, u16)>,
    /// Sessions whose parked poll is answered at the end of the turn.
    pub(super) to_answer: Vec<u32>,
    /// Sessions whose poll is answered with a noop, unless a WebSocket takes over first; and in which turn.
    pub(super) soon: VecDeque<(EngineId, u64)>,
    /// Publications that some sockets must not get because of rooms they are in.
    pub(super) excluding: Vec<(Vec<SharedPublication>, Vec<u32>)>,
    /// Sessions that a fan-out found to have to end, and why.
    pub(super) ended: Vec<(u32, CloseReason)>,
    pub(super) log: recovery::Log,
    pub(super) returning: returning::Returning,
    /// Requests about many sockets.
    pub(super) selecting: selecting::Selecting,
    /// What is left of posts.
    pub(super) posts: posts::Posts,
    /// A session about to go to another shard.
    pub(super) moving: Option<moving::Moving>,
    /// Sessions that have gone, and where to.
    pub(super) moved: FxHashMap<u32, ShardId>,
    /// Sessions that have come, by the shard and index in their ids.
    pub(super) foreign: FxHashMap<(ShardId, u32), u32>,
    pub(super) orders: Vec<(Issuer, Order)>,
    /// Sockets that are being put into rooms.
    pub(in crate::shard) joins: joins::Joins,
    /// What sockets that catch up are to be told then.
    pub(super) held: FxHashMap<u32, Held>,
    pub(in crate::shard) runs_orders: bool,
    pub(super) text: Vec<u8>,
    pub(super) frames: fan_out::Frames,
    /// Bytes that wait for clients that poll; those that are shared count once.
    pub(super) queued_bytes: Rc<Cell<u64>>,
}

impl Engines {
    pub(in crate::shard) fn new(
        shard: ShardId,
        io: Io,
        is_served: bool,
        sessions_max: u32,
        handshakes: Arc<AddressCounts>,
        now_ms: u64,
        limits: &Limits,
    ) -> Self {
        Self {
            shard,
            now: Now::default(),
            queue_bytes_max: limits.send_queue_bytes_max as usize,
            node: io.settings().node,
            is_served,
            websocket_settings: frames_of(
                io.settings().max_http_buffer_size.into(),
                limits.message_fragments_max,
            ),
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
            ended: Vec::new(),
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
            text: Vec::new(),
            frames: fan_out::Frames::default(),
            queued_bytes: Rc::default(),
            io,
        }
    }

    /// The counts of all shards.
    pub(in crate::shard) fn handshakes(&self) -> Arc<AddressCounts> {
        Arc::clone(&self.handshakes)
    }

    /// Names that no socket or session of the tables before had: a generation for each.
    pub(in crate::shard) fn next_generations(&self) -> [u32; 2] {
        [self.sockets.next_generation(), self.sessions.next_generation()]
    }

    /// Names no socket as one of another process was named, of another node or of the server before: ids are kept where they
    /// came from, and are not to lead to somebody else.
    pub(in crate::shard) fn name_as_nobody_before(&mut self) {
        self.sockets.go_on_from(fastrand::u32(..));
    }

    /// Gives no socket or session a name that one of the tables before had.
    pub(in crate::shard) fn go_on_from(&mut self, [sockets, sessions]: [u32; 2]) {
        self.sockets.go_on_from(sockets);
        self.sessions.go_on_from(sessions);
    }

    /// Takes over what the operator has changed while the server runs.
    pub(in crate::shard) fn change_settings(&mut self, live: &Live) {
        self.origins = Origins::new(&live.allowed_origins, live.origins_credentials);
        self.websocket_settings.fragments_max = live.limits.message_fragments_max;
        self.queue_bytes_max = live.limits.send_queue_bytes_max as usize;
    }

    /// Whether messages to and from its WebSockets may be compressed.
    pub(in crate::shard) fn compresses(&self) -> bool {
        self.io.settings().per_message_deflate
    }

    /// Which pages may talk to the server.
    pub(in crate::shard) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// It is that late.
    pub(in crate::shard) fn note_time(&mut self, now: Now) {
        self.now = now;
    }

    /// A turn begins.
    pub(in crate::shard) fn begin_turn(&mut self) {
        self.selecting.begin_turn();
    }

    /// The number of the last command to many sockets that is under way.
    pub(in crate::shard) fn commanding(&self) -> Option<u64> {
        self.selecting.commanding()
    }

    /// Whether a command to many sockets is under way.
    pub(in crate::shard) fn is_commanding(&self) -> bool {
        self.commanding().is_some()
    }

    /// Whether a command to many sockets has been carried out at each.
    pub(in crate::shard) fn has_selected(&self, number: u64) -> bool {
        self.selecting.has_finished(number)
    }

    /// Fills in what a report says of sessions and sockets.
    pub(in crate::shard) fn report(&self, report: &mut ShardReport) {
        report.engine_sessions = self.sessions.len() - self.moved.len() as u32;
        report.sockets = self.sockets.len();
    }

    /// Whether the application has asked for something, or a poll is to be answered.
    pub(in crate::shard) fn has_more(&self) -> bool {
        !self.io.orders().is_empty()
            || !self.to_answer.is_empty()
            || !self.soon.is_empty()
            || !self.posts.is_empty()
            || self.returning.has_more()
            || !self.selecting.is_empty()
    }

    /// When the next deadline of a session or socket is, where one passes before `end_ms`.
    pub(in crate::shard) fn next_ms(&self, end_ms: u64) -> Option<u64> {
        let queues = [self.unadmitted.next_ms(), self.probing.next_ms(), self.away.next_ms()];
        queues.into_iter().chain([self.wheel.next_ms(end_ms)]).flatten().min()
    }

    /// The full id of a session.
    pub(super) fn engine_id(&self, index: u32) -> EngineId {
        EngineId { index, generation: self.sessions.generation(index) }
    }

    /// The index of a session that still is the one this id was given to.
    pub(super) fn find(&self, id: EngineId) -> Option<u32> {
        self.sessions.find(id.index, id.generation).map(|_| id.index)
    }

    /// Whether this is a session's id, to the last byte of its secret.
    pub(super) fn is_named(&self, session: u32, sid: &SessionId) -> bool {
        let secret_of = |session: &Session| session.engine.secret.ct_eq(&sid.secret());
        self.sessions.get(session).is_some_and(|session| bool::from(secret_of(session)))
    }

    /// The id of the socket at an index of this shard.
    pub(super) fn id_of(&self, index: u32) -> SocketId {
        SocketId { node: self.node, shard: self.shard, index, generation: self.sockets.generation(index) }
    }

    /// The socket an id of this shard names, or none where it names another node's, or its place has been used again since.
    pub(super) fn socket(&self, id: SocketId) -> Option<&Socket> {
        self.sockets.find(id.index, id.generation).filter(|_| id.node == self.node)
    }

    /// The socket that subscribes under this id.
    pub(super) fn find_subscriber(&self, subscriber: ConnectionId) -> Option<u32> {
        let index = SocketId::index_of(subscriber.index)?;
        self.sockets.find(index, subscriber.generation).map(|_| index)
    }

    /// A session's socket in a namespace.
    pub(super) fn socket_in(&self, session: u32, namespace: &str) -> Option<u32> {
        self.sockets_of(session).find(|index| {
            let is_it = |socket: &Socket| self.io.is_named(socket.namespace, namespace);
            self.sockets.get(*index).is_some_and(is_it)
        })
    }

    /// Where packets to a session go.
    pub(super) fn outlet(&self, session: u32) -> Option<Outlet> {
        self.sessions.get(session).map(|session| session.engine.outlet())
    }

    /// The WebSocket that carries a socket.
    pub(in crate::shard) fn connection_of(&self, socket: u32) -> Option<u32> {
        self.sockets.get(socket).map(|socket| socket.connection).filter(|connection| *connection != NONE)
    }

    /// The sockets of a session.
    pub(super) fn sockets_of(&self, session: u32) -> impl Iterator<Item = u32> {
        let mut next = self.sessions.get(session).map_or(NONE, |session| session.socket);
        std::iter::from_fn(move || {
            let index = next;
            next = self.sockets.get(index)?.next;
            Some(index)
        })
    }

    /// Keeps a session that begins here, or came from where it began: it is pinged in so long, and one that speaks
    /// Socket.IO has to enter a namespace in time.
    pub(super) fn take_in(&mut self, session: Session, ping_in_ms: u32) -> u32 {
        let session = self.sessions.insert(|_, _| session);
        self.wheel.set(session, self.now.monotonic_ms + u64::from(ping_in_ms));
        if !self.io.is_raw() {
            self.await_entry(session);
        }
        session
    }

    /// Sets until when a session has to enter a namespace.
    pub(super) fn await_entry(&mut self, session: u32) {
        let (id, sessions) = (self.engine_id(session), &self.sessions);
        let at_ms = self.now.monotonic_ms + u64::from(self.io.settings().connect_timeout_ms);
        self.unadmitted.push(at_ms, id, sessions.len(), |id| sessions.is_unadmitted(*id));
    }

    /// Sets until when a WebSocket has to take a session over.
    pub(super) fn await_upgrade(&mut self, session: u32, connection: u32) {
        let (id, sessions) = (self.engine_id(session), &self.sessions);
        let at_ms = self.now.monotonic_ms + u64::from(self.io.settings().upgrade_timeout_ms);
        let is_live = |(id, connection): &_| sessions.is_tried(*id, *connection);
        self.probing.push(at_ms, (id, connection), sessions.len(), is_live);
    }

    /// Sets until when the client of a socket may come back from this absence.
    pub(super) fn await_return(&mut self, id: SocketId, absence: u16) {
        let sockets = &self.sockets;
        let at_ms = self.now.monotonic_ms + u64::from(self.io.settings().recovery_ms);
        let is_live = |(id, absence): &_| sockets.is_away(*id, *absence);
        self.away.push(at_ms, (id, absence), sockets.len(), is_live);
    }

    /// Takes a socket out of its session's list.
    pub(super) fn unlink(&mut self, index: u32) {
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
