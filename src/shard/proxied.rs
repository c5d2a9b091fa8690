//! Connections of proxies: who asks through them.
//!
//! ```text
//!   accepted from a proxy ─(PROXY protocol)─► header awaited ─► the connection has its client's address, for good
//!   a proxy's request ─(header fields)─► the connection has its client's address ─┬─ answered ─► the proxy's again
//!                                                                                 └─ WebSocket, stream ─► for good
//! ```
//!
//! So an idle connection keeps one address, as every other does. Connections that have a proxy's own address are not
//! counted against `limits.connections_per_address_max`; that is [`super::addresses`]'s.
//!
//! Invariant: a connection with a place in `hops` is HTTP, and waits for the answer to a request.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::{
    addresses::{AddressId, Entering, address_full},
    answer::Outcome,
    connection::Flags,
    partial::Holder,
    turn::Shard,
};
use crate::{
    limits::PROXY_HEADER_BYTES_MAX,
    model::{CloseReason, Passage},
    session::Exchange,
    wire::{
        http1::{Request, Response, Via, fields_in},
        proxy::{self, ProxyProtocol, Step},
    },
};

/// What is kept of a shard's proxied connections for a while.
#[derive(Default)]
pub(super) struct Proxied {
    /// Those whose header is awaited, with what has arrived of it.
    awaiting: FxHashMap<u32, Vec<u8>>,
    /// The proxy's own address and port, meanwhile the connection has its client's.
    hops: FxHashMap<u32, (AddressId, u16)>,
}

/// Room for so many is kept when a storm of them is over.
const SPARE: usize = 64;

impl Proxied {
    /// Whether a connection has to begin with a header that has not arrived.
    #[inline]
    pub(super) fn awaits_header(&self, index: u32) -> bool {
        !self.awaiting.is_empty() && self.awaiting.contains_key(&index)
    }

    /// The address of the proxy that has a connection, meanwhile that has its client's.
    pub(super) fn own_address(&self, index: u32) -> Option<AddressId> {
        self.hops.get(&index).map(|(address, _)| *address)
    }

    fn take_awaiting(&mut self, index: u32) -> Option<Vec<u8>> {
        take(&mut self.awaiting, index)
    }

    fn take_hop(&mut self, index: u32) -> Option<(AddressId, u16)> {
        take(&mut self.hops, index)
    }
}

/// Takes a connection's place, and with the last one most of the room.
fn take<V>(places: &mut FxHashMap<u32, V>, index: u32) -> Option<V> {
    if places.is_empty() {
        return None;
    }
    let taken = places.remove(&index);
    if places.is_empty() {
        places.shrink_to(SPARE);
    }
    taken
}

impl Shard {
    /// Lets a connection that has just been accepted from a proxy begin with a header.
    pub(super) fn await_proxy_header(&mut self, index: u32) {
        let record = self.lines.slab.look(index);
        let is_awaited = self.addresses.proxies().protocol != ProxyProtocol::None
            && !record.flags.has(Flags::ADMIN)
            && self.addresses.is_proxy(record.address);
        if is_awaited {
            self.proxied.awaiting.insert(index, Vec::new());
        }
    }

    /// Takes bytes of a connection whose header is awaited.
    pub(super) fn receive_proxy_header(&mut self, index: u32, bytes: &mut [u8]) {
        let Some(mut begun) = self.proxied.take_awaiting(index) else { return };
        self.partial.end(Holder::Record(index));
        let kept = begun.len();
        begun.extend_from_slice(bytes);
        match proxy::decode(&begun, self.addresses.proxies().protocol, PROXY_HEADER_BYTES_MAX) {
            Ok(Step::NeedMore) => {
                self.partial.note(Holder::Record(index), begun.capacity(), self.now.monotonic_ms);
                self.proxied.awaiting.insert(index, begun);
            }
            Ok(Step::Header { client, consumed }) => {
                self.handle_proxy_header(index, client);
                // What was kept was no whole header.
                let rest = &mut bytes[consumed - kept..];
                match self.lines.slab.look(index).flags.has(Flags::TLS) {
                    _ if rest.is_empty() => {}
                    true => self.receive_sealed(index, rest),
                    false => {
                        self.feed(index, rest);
                        self.note_partial_input(index);
                    }
                }
            }
            Err(proxy::NoHeader) => self.refuse_without_header(index),
        }
    }

    fn handle_proxy_header(&mut self, index: u32, client: Option<SocketAddr>) {
        let record = self.lines.slab.at(index);
        let Some(client) = client else { return record.flags.set(Flags::UNNAMED) };
        let proxy = std::mem::replace(&mut record.address, AddressId::NONE);
        self.addresses.leave(proxy, true);
        match self.addresses.enter(Some(client.ip()), Entering::Client) {
            Some(address) => {
                let record = self.lines.slab.at(index);
                (record.address, record.port) = (address, client.port());
            }
            None => {
                self.lines.slab.at(index).flags.set(Flags::UNNAMED);
                self.report.refused_address_total += 1;
                self.refuse(index, address_full(), CloseReason::PolicyViolation);
            }
        }
    }

    /// A proxy that does not say whom it connects for is told so, where it can be.
    fn refuse_without_header(&mut self, index: u32) {
        self.report.proxy_headers_refused_total += 1;
        let record = self.lines.slab.look(index);
        if record.flags.has(Flags::TLS) || record.session.has_ended() {
            return self.lose(index);
        }
        let text = "connections from this address begin with a header of the PROXY protocol (proxy.protocol)";
        let response = Response::refused(400, "proxy_header_missing", text);
        self.refuse(index, response, CloseReason::ProtocolError);
    }

    /// Whether a connection's header has not come in time; it is ended then.
    pub(super) fn is_late_for_proxy_header(&mut self, index: u32) -> bool {
        let is_late = self.proxied.awaits_header(index);
        if is_late {
            self.report.proxy_headers_refused_total += 1;
            self.end_session(index, CloseReason::RequestTimeout);
            self.lose(index);
        }
        is_late
    }

    /// Answers a request for whoever has sent it, though it be through proxies.
    pub(super) fn answer_from_anywhere(&mut self, index: u32, request: &Request<'_>, hops: u8) -> Outcome {
        let speaks_tls = self.lines.slab.look(index).flags.has(Flags::TLS);
        match self.name_client(index, request) {
            Ok(via) => {
                let is_secure = via.as_ref().and_then(|via| via.is_secure).unwrap_or(speaks_tls);
                let request = Request { is_secure, via: via.as_ref(), ..*request };
                let outcome = self.answer(index, &request, hops);
                self.keep_client(index, &outcome, via.as_ref().map(|_| &request));
                outcome
            }
            Err(refusal) => {
                let exchange =
                    Exchange { keep_alive: self.keeps_alive(index, request), ..Exchange::of(request) };
                let outcome = self.put_response(index, refusal, exchange);
                self.keep_client(index, &outcome, None);
                outcome
            }
        }
    }

    /// The host that a proxy that is trusted says its client asked, of what has arrived of a request.
    pub(super) fn host_passed_on<'a>(&self, index: u32, arrived: &'a [u8]) -> Option<&'a [u8]> {
        let proxies = self.addresses.proxies();
        let record = self.lines.slab.look(index);
        let address = self.proxied.own_address(index).unwrap_or(record.address);
        let is_believed = !proxies.are_none()
            && !record.flags.has(Flags::ADMIN)
            && !record.flags.has(Flags::UNNAMED)
            && self.addresses.is_proxy(address);
        let read = || {
            Via::of_fields(|name| fields_in(arrived, name).collect(), proxies.fields, |ip| proxies.trusts(ip))
        };
        if is_believed { read().host } else { None }
    }

    /// Gives a connection the address of the client that a request comes from; what else its proxies say of it.
    fn name_client<'a>(&mut self, index: u32, request: &Request<'a>) -> Result<Option<Via<'a>>, Response> {
        let proxies = self.addresses.proxies();
        if proxies.are_none() {
            return Ok(None);
        }
        let record = self.lines.slab.look(index);
        let is_believed = !record.flags.has(Flags::ADMIN)
            && !record.flags.has(Flags::UNNAMED)
            && self.addresses.is_proxy(record.address);
        if !is_believed {
            return Ok(None);
        }
        let via = Via::of(request, proxies.fields, |ip| proxies.trusts(ip));
        if let Some(client) = via.client {
            let Some(address) = self.addresses.enter(Some(client.ip()), Entering::Client) else {
                self.report.refused_address_total += 1;
                return Err(address_full());
            };
            let record = self.lines.slab.at(index);
            self.proxied.hops.insert(index, (record.address, record.port));
            (record.address, record.port) = (address, client.port());
        }
        Ok(Some(via))
    }

    /// What becomes of a client's address when its request, which has come through proxies if it is given, has led to
    /// something.
    fn keep_client(&mut self, index: u32, outcome: &Outcome, request: Option<&Request<'_>>) {
        match outcome {
            Outcome::Await { .. }
            | Outcome::AwaitPost { .. }
            | Outcome::AwaitEngine { .. }
            | Outcome::Park { .. } => {
                // Where the connection still has its proxy's address, it will be for another client afterwards.
                let is_client_s = self.proxied.own_address(index).is_some();
                self.keep_passage(index, request.filter(|_| is_client_s));
            }
            Outcome::Upgrade { .. }
            | Outcome::UpgradeEngine { .. }
            | Outcome::Stream { .. }
            | Outcome::StreamWritten => {
                if let Some((proxy, _)) = self.proxied.take_hop(index) {
                    self.addresses.leave(proxy, true);
                }
                self.keep_passage(index, request);
            }
            Outcome::Answered { .. } | Outcome::Full | Outcome::Enough | Outcome::Leave(_) => {
                self.forget_client(index);
            }
            // What has to wait for its turn, or for a backend's ruling, comes again as a whole.
            Outcome::PutOff { .. } | Outcome::Consult { .. } => self.forget_client(index),
        }
    }

    /// Keeps how a client has come that proxies have passed on.
    fn keep_passage(&mut self, index: u32, request: Option<&Request<'_>>) {
        if let Some(request) = request {
            self.note_passage(index, request.passage());
        }
    }

    /// Notes how the client of a connection has come.
    pub(super) fn note_passage(&mut self, index: u32, passage: Passage) {
        let record = self.lines.slab.at(index);
        record.address = self.addresses.note_passage(record.address, passage);
    }

    /// A request has been answered: its connection is its proxy's again.
    pub(super) fn forget_client(&mut self, index: u32) {
        if let Some((proxy, port)) = self.proxied.take_hop(index) {
            let record = self.lines.slab.at(index);
            self.addresses.leave(record.address, true);
            (record.address, record.port) = (proxy, port);
        }
    }

    /// Forgets what was kept for a connection that has gone.
    pub(super) fn forget_proxied(&mut self, index: u32) {
        self.forget_client(index);
        if self.proxied.awaits_header(index) {
            self.proxied.take_awaiting(index);
            self.partial.end(Holder::Record(index));
        }
    }
}
