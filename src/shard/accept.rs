//! Accepting connections, within every limit.

use std::{
    net::{Shutdown, SocketAddr},
    sync::Arc,
};

use super::{
    addresses::{AddressId, Entering},
    connection::{Flags, NO_QUEUE},
    room::Request,
    setup::{Listener, Role},
    shaking::ShakingTable,
    turn::Shard,
};
use crate::{
    limits::ACCEPTS_PER_LISTENER,
    mesh::{Queued, QueuedConnection, ShardMessage},
    model::{CloseReason, ShardId},
    ring::{AcceptId, Errno},
    session::{Http, Session},
    wire::http1::Response,
};

/// How long accepting pauses after the system ran out of descriptors or memory.
const SHORTAGE_PAUSE_MS: u64 = 100;
/// How often a shortage is logged.
const SHORTAGE_LOG_MS: u64 = 10_000;

/// The accepts of a shard: each waits for one connection of one listener.
pub(super) struct Acceptors {
    listeners: Vec<Listener>,
    /// The slot each accept in flight has reserved.
    slots: Vec<Option<u32>>,
    idle: Vec<AcceptId>,
    resume_ms: u64,
    logged_ms: Option<u64>,
    /// The server will end, but serves on.
    is_leaving: bool,
    /// The process takes nearly as much memory as it may.
    is_memory_scarce: bool,
    /// No client is accepted any more; operators are.
    is_ended: bool,
    /// Open connections of operators.
    pub(super) admin_connections: u32,
    /// Some accepts wait until fewer hellos do.
    are_held: bool,
}

/// A connection that has just come, from a listener or from another shard.
pub(super) struct Arrival {
    pub(super) peer: Option<SocketAddr>,
    pub(super) is_admin: bool,
    /// It speaks TLS, or is about to.
    pub(super) speaks_tls: bool,
    /// It is to be sent to a listener that does.
    pub(super) is_redirected: bool,
    pub(super) entering: Entering,
    /// Told in HTTP why it may not stay; one that has become a WebSocket is closed.
    pub(super) speaks_http: bool,
    /// A proxy has opened it, and has not said for whom.
    pub(super) is_unnamed: bool,
}

impl Listener {
    /// A connection that has come to it.
    fn arrival(&self, peer: Option<SocketAddr>) -> Arrival {
        let is_admin = self.role == Role::Admin;
        Arrival {
            peer,
            is_admin,
            speaks_tls: self.speaks_tls,
            is_redirected: self.role == Role::Redirect,
            entering: if is_admin { Entering::Uncounted } else { Entering::Client },
            speaks_http: true,
            is_unnamed: false,
        }
    }
}

impl Acceptors {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        let count = listeners.len() as u32 * ACCEPTS_PER_LISTENER;
        Self {
            listeners,
            slots: vec![None; count as usize],
            idle: (0..count).rev().map(AcceptId).collect(),
            resume_ms: 0,
            logged_ms: None,
            is_leaving: false,
            is_memory_scarce: false,
            is_ended: false,
            admin_connections: 0,
            are_held: false,
        }
    }

    /// The shard begins anew: no accept is in flight, and no connection open. What it has been told to do stays.
    pub(super) fn begin_anew(&mut self) {
        self.slots.fill(None);
        self.resume_ms = 0;
        self.admin_connections = 0;
        let wanted = (0..self.slots.len() as u32).rev().map(AcceptId);
        self.idle = wanted.filter(|accept| self.is_wanted(*accept)).collect();
    }

    /// Whether some accepts wait for better times.
    pub(super) fn are_paused(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Whether some accepts wait until fewer hellos do, which is so now.
    pub(super) fn may_go_on(&self, shaking: &ShakingTable) -> bool {
        self.are_held && !shaking.is_overrun()
    }

    /// From now on the shard says that it is not ready.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Whether newcomers are refused from now on, for want of memory.
    pub(super) fn note_memory(&mut self, is_scarce: bool) {
        self.is_memory_scarce = is_scarce;
    }

    /// Whether the shard says that it is not ready.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Whether an accept may be put in flight.
    fn is_wanted(&self, accept: AcceptId) -> bool {
        !self.is_ended || self.listener(accept).role == Role::Admin
    }

    fn listener(&self, accept: AcceptId) -> &Listener {
        &self.listeners[(accept.0 / ACCEPTS_PER_LISTENER) as usize]
    }
}

impl Shard {
    /// Puts idle accepts in flight, as far as there are slots.
    pub(super) fn arm_accepts(&mut self) {
        self.acceptors.are_held = false;
        if !self.acceptors.are_paused() || self.now.monotonic_ms < self.acceptors.resume_ms {
            return;
        }
        let is_overrun = self.lines.secrets.shaking.is_overrun();
        for place in (0..self.acceptors.idle.len()).rev() {
            let accept = self.acceptors.idle[place];
            if is_overrun && self.acceptors.listener(accept).speaks_tls {
                self.acceptors.are_held = true;
                continue;
            }
            self.acceptors.idle.swap_remove(place);
            let Some(index) = self.lines.slab.reserve() else {
                self.acceptors.idle.push(accept);
                self.acceptors.resume_ms = self.now.monotonic_ms + SHORTAGE_PAUSE_MS;
                return;
            };
            let socket = Arc::clone(&self.acceptors.listener(accept).socket);
            self.lines.ring.accept(accept, &socket, index);
            self.acceptors.slots[accept.0 as usize] = Some(index);
        }
    }

    /// Stops accepting clients for good. Those the kernel has queued already are reset, and new ones refused, so that
    /// they go elsewhere at once. Operators are accepted to the last.
    pub(super) fn end_accepts(&mut self) {
        self.acceptors.is_ended = true;
        for (accept, slot) in self.acceptors.slots.iter().enumerate() {
            let accept = AcceptId(accept as u32);
            if let Some(index) = slot
                && !self.acceptors.is_wanted(accept)
            {
                self.lines.ring.cancel_accept(accept, *index);
            }
        }
        let idle = std::mem::take(&mut self.acceptors.idle);
        self.acceptors.idle = idle.into_iter().filter(|accept| self.acceptors.is_wanted(*accept)).collect();
        // Those who come to a socket that was passed, or that another process goes on with, wait there for it.
        let goes_on = self.carrying.heir.is_some();
        let is_ours = |listener: &&Listener| listener.role != Role::Admin && !listener.is_passed && !goes_on;
        for listener in self.acceptors.listeners.iter().filter(is_ours) {
            let socket = socket2::SockRef::from(&listener.socket);
            if let Err(error) = socket.shutdown(Shutdown::Read) {
                tracing::warn!(address = listener.address, "clients are refused only at the end: {error}");
            }
        }
    }

    /// Whether no client is being accepted any more.
    pub(super) fn accepts_have_ended(&self) -> bool {
        let accepts = self.acceptors.slots.iter().zip(0..);
        accepts
            .filter(|(slot, _)| slot.is_some())
            .all(|(_, accept)| self.acceptors.is_wanted(AcceptId(accept)))
    }

    /// Open connections that are not operators'.
    pub(super) fn clients(&self) -> u32 {
        self.report.connections - self.acceptors.admin_connections
    }

    pub(super) fn handle_accepted(
        &mut self,
        accept: AcceptId,
        index: u32,
        result: Result<Option<SocketAddr>, Errno>,
    ) {
        self.acceptors.slots[accept.0 as usize] = None;
        if self.acceptors.is_wanted(accept) {
            self.acceptors.idle.push(accept);
        }
        match result {
            Ok(peer) => {
                let arrival = self.acceptors.listener(accept).arrival(peer);
                self.report.accepted_total += 1;
                self.open(index, arrival);
            }
            Err(errno) => {
                self.lines.slab.release(index);
                if errno.is_shortage() {
                    self.pause_accepts(errno);
                } else if errno.is_not_listening() {
                    // The supervisor has shut it down while this shard hung, and will let it listen again.
                    self.acceptors.resume_ms = self.now.monotonic_ms + SHORTAGE_PAUSE_MS;
                }
            }
        }
    }

    /// Puts every accept in flight anew, which finds who waits already.
    pub(super) fn accept_anew(&mut self) {
        for (slot, accept) in self.acceptors.slots.iter().zip((0..).map(AcceptId)) {
            if let Some(index) = slot {
                self.lines.ring.cancel_accept(accept, *index);
            }
        }
    }

    /// Serves connections that have come to a shard that does no turns, as if they had come here.
    pub(super) fn serve_queued(&mut self, queued: &Queued) {
        for QueuedConnection { listener, socket, address } in queued.take() {
            let Some(arrival) = self.acceptors.listeners.get(listener).map(|one| one.arrival(address)) else {
                continue;
            };
            // Where there is no slot for it, it is closed.
            if let Some(index) = self.adopt(&socket) {
                self.report.accepted_total += 1;
                self.open(index, arrival);
            }
        }
    }

    fn pause_accepts(&mut self, errno: Errno) {
        self.report.accept_failures_total += 1;
        let now = self.now.monotonic_ms;
        self.acceptors.resume_ms = now + SHORTAGE_PAUSE_MS;
        if self.acceptors.logged_ms.is_none_or(|logged| now - logged >= SHORTAGE_LOG_MS) {
            self.acceptors.logged_ms = Some(now);
            tracing::warn!(shard = self.id.0, %errno, "cannot accept; trying again every {SHORTAGE_PAUSE_MS} ms");
        }
    }

    /// Opens the connection in slot `index`; tells whether it may stay. Otherwise it has been answered.
    pub(super) fn open(&mut self, index: u32, arrival: Arrival) -> bool {
        let Arrival { peer, is_admin, speaks_tls, is_redirected, entering, speaks_http, is_unnamed } =
            arrival;
        let is_new = matches!(entering, Entering::Client);
        self.report.connections += 1;
        let address = self.addresses.enter(peer.map(|peer| peer.ip()), entering);
        let record = self.lines.slab.at(index);
        record.flags = Flags::default();
        record.flags.set(Flags::OPEN);
        record.flags.set(Flags::ARMED);
        if is_admin {
            record.flags.set(Flags::ADMIN);
            self.acceptors.admin_connections += 1;
        }
        let mut deadline_ms = self.limits.head_timeout_ms.into();
        if speaks_tls {
            record.flags.set(Flags::TLS);
            deadline_ms = self.lines.secrets.shaking.timeout_ms();
        }
        if is_unnamed {
            record.flags.set(Flags::UNNAMED);
        }
        if is_redirected {
            record.flags.set(Flags::REDIRECTED);
        }
        record.session = Session::Http(Http::default());
        record.address = address.unwrap_or(AddressId::NONE);
        record.port = peer.map_or(0, |peer| peer.port());
        record.queue = NO_QUEUE;
        record.send = None;
        self.report.sessions[0] += 1;
        if self.carrying.has_begun() && !is_admin {
            self.lines.pause(index, Flags::PAUSED_AWAITING);
        }
        let id = self.lines.slab.id(index);
        self.lines.ring.poll(id);
        self.wheel.set(index, self.now.monotonic_ms + deadline_ms);
        if is_new {
            self.await_proxy_header(index);
        }
        match self.let_in(index, is_admin, address.is_some()) {
            Ok(()) => true,
            Err((response, reason)) if speaks_http => {
                self.refuse(index, response, reason);
                false
            }
            Err((_, reason)) => {
                self.end_session(index, reason);
                self.lose(index);
                false
            }
        }
    }

    /// Takes room for a connection, or says why there is none.
    fn let_in(
        &mut self,
        index: u32,
        is_admin: bool,
        address_is_within: bool,
    ) -> Result<(), (Response, CloseReason)> {
        if !address_is_within {
            self.report.refused_address_total += 1;
            return Err((address_full(), CloseReason::PolicyViolation));
        }
        if is_admin {
            return Ok(());
        }
        // One that was being accepted when the accepts were ended.
        if self.drain.is_some() && !self.carries() {
            let response = Response::refused(503, "going_away", "the server is going away");
            return Err((response, CloseReason::GoingAway));
        }
        if self.acceptors.is_memory_scarce {
            self.report.refused_memory_total += 1;
            let text = "this server takes nearly as much memory as it may (server.memory_max)";
            let response = Response::refused(503, "memory_full", text).with_field("Retry-After", "5");
            return Err((response, CloseReason::Overloaded));
        }
        if !self.room.enter() {
            self.report.refused_full_total += 1;
            let text = "this server holds as many connections as it may (limits.connections_max)";
            let response = Response::refused(503, "connections_full", text).with_field("Retry-After", "5");
            return Err((response, CloseReason::Overloaded));
        }
        self.lines.slab.at(index).flags.set(Flags::LET_IN);
        Ok(())
    }

    /// Asks another shard for room when this one's runs out.
    pub(super) fn ask_for_room(&mut self) {
        let question = self.room.poll_question(self.id, self.peers.shards(), self.now.monotonic_ms);
        if let Some((to, Request { wanted, is_full })) = question {
            self.send_mesh(to, ShardMessage::AskRoom { wanted, is_full });
        }
    }

    pub(super) fn give_room(&mut self, to: ShardId, request: Request) {
        let given = self.room.give(request);
        self.send_mesh(to, ShardMessage::GiveRoom { given });
    }
}

/// What the client is told whose address has too many.
pub(super) fn address_full() -> Response {
    let text = "too many connections from this address (limits.connections_per_address_max)";
    Response::refused(429, "address_full", text)
}
