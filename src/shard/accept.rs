//! Accepting connections, within every limit.

use std::net::{Shutdown, SocketAddr};

use super::{
    acceptors::{Arrival, Failed, SHORTAGE_PAUSE_MS},
    addresses::{AddressId, Entering, address_full},
    connection::{Flags, NO_QUEUE},
    lines::Lines,
    room::Request,
    turn::Shard,
};
use crate::{
    mesh::{Queued, QueuedConnection, ShardMessage},
    model::{CloseReason, ShardId},
    ring::{AcceptId, Errno},
    session::{Http, Session},
    wire::http1::Response,
};

impl Shard {
    /// Puts idle accepts in flight, as far as there are slots.
    pub(super) fn arm_accepts(&mut self) {
        let Lines { slab, ring, secrets, .. } = &mut self.lines;
        let accept = |accept, socket: &_, index| ring.accept(accept, socket, index);
        let is_overrun = secrets.shaking.is_overrun();
        self.acceptors.arm(self.now.monotonic_ms, is_overrun, || slab.reserve(), accept);
    }

    /// Stops accepting clients for good. Those the kernel has queued already are reset, and new ones refused, so that
    /// they go elsewhere at once. Operators are accepted to the last.
    pub(super) fn end_accepts(&mut self) {
        let ring = &mut self.lines.ring;
        let ended = self.acceptors.end(|accept, index| ring.cancel_accept(accept, index));
        // Those who come to a socket that was passed, or that another process goes on with, wait there for it.
        let goes_on = self.carrying.heir.is_some();
        for listener in ended.filter(|listener| !listener.is_passed && !goes_on) {
            let socket = socket2::SockRef::from(&listener.socket);
            if let Err(error) = socket.shutdown(Shutdown::Read) {
                tracing::warn!(address = listener.address, "clients are refused only at the end: {error}");
            }
        }
    }

    /// Open connections that are not operators'.
    pub(super) fn clients(&self) -> u32 {
        self.report.connections - self.acceptors.operators()
    }

    pub(super) fn handle_accepted(
        &mut self,
        accept: AcceptId,
        index: u32,
        result: Result<Option<SocketAddr>, Errno>,
    ) {
        match self.acceptors.land(accept, result, self.now.monotonic_ms) {
            Ok(arrival) => {
                self.report.accepted_total += 1;
                self.open(index, arrival);
            }
            Err(failed) => {
                self.lines.slab.release(index);
                self.note_failed_accept(failed);
            }
        }
    }

    /// Puts every accept in flight anew, which finds who waits already.
    pub(super) fn accept_anew(&mut self) {
        for (accept, index) in self.acceptors.in_flight() {
            self.lines.ring.cancel_accept(accept, index);
        }
    }

    /// Serves connections that have come to a shard that does no turns, as if they had come here.
    pub(super) fn serve_queued(&mut self, queued: &Queued) {
        for QueuedConnection { listener, socket, address } in queued.take() {
            let Some(arrival) = self.acceptors.arrival_at(listener, address) else { continue };
            // Where there is no slot for it, it is closed.
            if let Some(index) = self.adopt(&socket) {
                self.report.accepted_total += 1;
                self.open(index, arrival);
            }
        }
    }

    fn note_failed_accept(&mut self, failed: Failed) {
        let Failed::Shortage { errno, is_logged } = failed else { return };
        self.report.accept_failures_total += 1;
        if is_logged {
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
            self.acceptors.let_operator_in();
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
        if self.acceptors.is_memory_scarce() {
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
