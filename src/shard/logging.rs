//! The lines of the access log ([`super::access_log`]), written where requests are looked at and answered and sessions end.

use std::net::IpAddr;

use super::{access_log::Asked, calls::passage, connection::Flags, turn::Shard};
use crate::{
    auth::Name,
    limits::ACCESS_PATH_BYTES_MAX,
    model::{ACCESS_TARGET, CloseReason, Passage, scheme},
    session::{Kind, Session},
    wire::{
        http1::{Request, Response},
        json::code_of_error,
    },
};

impl Shard {
    /// A request is looked at. It may be looked at again when it had to wait for something.
    #[inline]
    pub(super) fn log_request(&mut self, index: u32, request: &Request<'_>) {
        if self.access_log.is_on() {
            let path = request.path();
            let path = path.get(..ACCESS_PATH_BYTES_MAX).unwrap_or(path);
            let (method, at_ms) = (request.method.name(), self.now.monotonic_ms);
            let asked = || Asked { method, path: path.into(), passage: request.passage(), at_ms };
            self.access_log.ask(index, asked);
        }
    }

    /// A request is answered, or what it began has begun.
    #[inline]
    pub(super) fn log_answer(&mut self, index: u32, response: &Response) {
        if self.access_log.is_on() {
            let code = code_of_error(response.body.as_bytes()).filter(|_| response.status >= 400);
            self.write_answer(index, response.status, code);
        }
    }

    /// What a request asked for has begun: a WebSocket (101), a stream of events (200).
    #[inline]
    pub(super) fn log_begun(&mut self, index: u32, status: u16) {
        if self.access_log.is_on() {
            self.write_answer(index, status, None);
        }
    }

    fn write_answer(&mut self, index: u32, status: u16, code: Option<&str>) {
        let asked = self.access_log.take_asked(index);
        let is_wanted = status >= 400 || self.access_log.tells_all();
        if !is_wanted || !self.access_log.may_write(self.id.0, self.now.unix_ms / 1000) {
            return;
        }
        let ms = asked.as_ref().map(|asked| self.now.monotonic_ms - asked.at_ms);
        let (client, user) = (self.client(index), self.user(index));
        let user = user.as_deref();
        let method = asked.as_ref().map(|asked| asked.method);
        let path = asked.as_ref().map(|asked| &*asked.path);
        let passage = asked.as_ref().map(|asked| &asked.passage);
        let (scheme, host) = (passage.map(Passage::scheme), passage.and_then(|one| one.host.as_deref()));
        let hops = passage.and_then(|passage| listed(&passage.hops));
        tracing::info!(target: ACCESS_TARGET, shard = self.id.0, client, hops, user, method, scheme, host, path, status, code, ms, "request");
    }

    /// A session ends.
    #[inline]
    pub(super) fn log_end(&mut self, index: u32, reason: CloseReason) {
        if self.access_log.is_on() {
            self.write_end(index, reason);
        }
    }

    fn write_end(&mut self, index: u32, reason: CloseReason) {
        let transport = match &self.lines.slab.look(index).session {
            Session::WebSocket(_) | Session::Lent(Kind::WebSocket, _) => "websocket",
            Session::EventStream | Session::Lent(Kind::EventStream, _) => "event_stream",
            // Each of the others is told with an answer, or had asked nothing.
            _ => return,
        };
        let is_wanted = self.access_log.tells_all() || is_refusal(reason);
        if !is_wanted || !self.access_log.may_write(self.id.0, self.now.unix_ms / 1000) {
            return;
        }
        let (client, user) = (self.client(index), self.user(index));
        let user = user.as_deref();
        let (reason, code) = (reason.label(), reason.websocket_code());
        let (is_secure, host, hops) = passage(&self.lines, &self.addresses, index);
        let (scheme, hops) = (scheme(is_secure), listed(hops));
        tracing::info!(target: ACCESS_TARGET, shard = self.id.0, client, hops, user, scheme, host, transport, reason, code, "closed");
    }

    /// The client's address, as far as proxies that are trusted tell it.
    fn client(&self, index: u32) -> Option<String> {
        let record = self.lines.slab.look(index);
        let is_known = record.flags.has(Flags::OPEN);
        let address = record.peer_address(self.addresses.get(record.address)).filter(|_| is_known);
        address.map(|address| address.to_string())
    }

    fn user(&self, index: u32) -> Option<Name<'_>> {
        Some(self.gate.holders.get(index)?.user())
    }
}

/// The proxies that have passed a client on, as they are logged; `None` if there are none.
fn listed(hops: &[IpAddr]) -> Option<String> {
    let hops: Vec<_> = hops.iter().map(ToString::to_string).collect();
    (!hops.is_empty()).then(|| hops.join(", "))
}

/// Whether a session ended because the client did, or was, something that is not allowed.
fn is_refusal(reason: CloseReason) -> bool {
    !matches!(
        reason,
        CloseReason::ClientGone
            | CloseReason::Normal
            | CloseReason::GoingAway
            | CloseReason::IdleTimeout
            | CloseReason::PingTimeout
            | CloseReason::ClientLeft
            | CloseReason::ServerLeft
            | CloseReason::ShardFailed
            | CloseReason::Application(_)
    )
}
