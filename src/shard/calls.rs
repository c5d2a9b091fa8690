//! Calling the handler. A call that panics ends the connection it was about: what it asked for is not done, and nobody
//! else notices.

use std::net::IpAddr;

use super::{addresses::Addresses, connection::Flags, gate::Gate, lines::Lines, turn::Shard};
use crate::{
    app::{Call, Context, Handler, Peer, guard::guarded},
    hub::Hub,
    limits::PUBLICATIONS_AT_ONCE,
    model::CloseReason,
    session::Session,
    wire::http1::Response,
};

impl Shard {
    /// Calls the handler about a connection; `None` when it panicked. `call` names the call.
    pub(super) fn call_about<T>(
        &mut self,
        index: u32,
        call: &str,
        function: impl FnOnce(&mut dyn Handler, &mut Context<'_>, &Peer<'_>) -> T,
    ) -> Option<T> {
        let (moment, mark) = (self.moment(), self.intents.mark());
        let peer = peer(&self.lines, &self.addresses, &self.hub, &self.gate, index);
        let before = self.intents.speak_for(peer.connection.into());
        let speaking = self.engines.io.orders().speak_for(peer.connection);
        let mut cx = Context::new(moment, &mut self.intents).under(&self.foundation.rules);
        let outcome = guarded(call, || function(&mut *self.handler, &mut cx, &peer));
        drop(speaking);
        self.intents.speak_for(before);
        if outcome.is_none() {
            self.intents.take_back(mark);
        }
        outcome
    }

    /// Calls the handler about nobody.
    pub(super) fn call(&mut self, call: &str, function: impl FnOnce(&mut dyn Handler, &mut Context<'_>)) {
        let (moment, mark) = (self.moment(), self.intents.mark());
        let mut cx = Context::new(moment, &mut self.intents).under(&self.foundation.rules);
        if guarded(call, || function(&mut *self.handler, &mut cx)).is_none() {
            self.intents.take_back(mark);
        }
    }

    /// Does what threads of the application want, so much in one turn.
    pub(super) fn take_calls(&mut self) {
        for _ in 0..PUBLICATIONS_AT_ONCE {
            // What one call has asked for is done before the next, or the next turn goes on with it.
            if !self.intents.is_empty() {
                return;
            }
            match self.outside.next() {
                Some(Call::Publish(channel, payload)) => {
                    self.call("publish", |_, cx| cx.publish(channel, payload, None));
                }
                Some(Call::Run(function)) => self.call("a function of another thread", |_, cx| function(cx)),
                Some(Call::RunSocketio(function)) => {
                    guarded("a function of another thread", || function(&self.engines.io));
                }
                None => return,
            }
            self.run_intents();
            self.run_orders();
        }
    }

    /// Ends a connection about which a call has panicked.
    pub(super) fn fail(&mut self, index: u32) {
        let connection = self.lines.slab.id(index);
        match &self.lines.slab.look(index).session {
            Session::Http(http) if http.awaiting.is_some() => self.respond(connection, failed()),
            _ => self.close(index, CloseReason::InternalError),
        }
    }
}

/// Who a connection's peer is, for the handler.
pub(super) fn peer<'a>(
    lines: &Lines,
    addresses: &'a Addresses,
    hub: &'a Hub,
    gate: &'a Gate,
    index: u32,
) -> Peer<'a> {
    let record = lines.slab.look(index);
    let (is_secure, host, hops) = passage(lines, addresses, index);
    Peer {
        connection: lines.slab.id(index),
        address: record.peer_address(addresses.get(record.address)),
        is_secure,
        host,
        hops,
        is_admin: record.flags.has(Flags::ADMIN),
        tag: record.session.tag(),
        channel: match record.flags.has(Flags::SUBSCRIBED) {
            true => hub.only_channel(index),
            false => None,
        },
        token: gate.holders.get(index),
        rulings: gate.consults.ruled(index),
    }
}

/// What is kept of how a connection's client has come: whether it speaks TLS, the host that it asked, and the proxies between.
pub(super) fn passage<'a>(
    lines: &Lines,
    addresses: &'a Addresses,
    index: u32,
) -> (bool, Option<&'a str>, &'a [IpAddr]) {
    let record = lines.slab.look(index);
    match addresses.passage(record.address) {
        Some(passage) => (passage.is_secure, passage.host.as_deref(), &passage.hops),
        None => (record.flags.has(Flags::TLS), None, &[]),
    }
}

/// The answer to a request at which the handler panicked.
pub(super) fn failed() -> Response {
    Response { close: true, ..Response::refused(500, "internal_error", "the server failed") }
}
