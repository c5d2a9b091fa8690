//! Requests of Engine.IO's clients whose sessions another node has: a load balancer has sent them here. They are passed on to it,
//! and wait as a poll does.
//!
//! ```text
//!   request ─► sid names another node ─► Broker::pass_on ─► answered as that node does
//!                                          └─ nobody knows it ─► 400, as any session that is not there: the client begins anew
//! ```
//!
//! A WebSocket that is to take over from polls goes to the other node as a connection that is passed on byte for byte, by the
//! broker's thread, which is given its descriptor: it costs a shard nothing. Where there is none to give, for it speaks TLS or the
//! kernel is too old, it is refused, and its client goes on polling.

use std::os::fd::OwnedFd;

use super::{EngineOutcome, Engines, Shard, requests::refusal};
use crate::{
    app::heads,
    broker::{NoAnswer, NodeAnswer, PassedBack, PassedOn, Tunnel},
    limits::{PASSED_ON_MS, POST_PASSED_ON_MS},
    model::{NodeId, SessionId},
    session::{NONE, upgrade},
    shard::connection::Flags,
    wire::{
        engineio::{HandshakeError, Transport},
        http1::{Method, Request, Response},
    },
};

/// Says in a request which node has passed it on, so that it is passed on once.
const PASSED_BY: &str = "roadstead-passed-by";

impl Engines {
    /// Whether a session's id was given by another node.
    pub(super) fn is_of_another_node(&self, sid: &SessionId) -> bool {
        self.node != NodeId::NONE && sid.node() != self.node
    }
}

impl Shard {
    /// Has the node that has the session answer a request.
    pub(super) fn answer_elsewhere(
        &mut self,
        index: u32,
        request: &Request<'_>,
        sid: &SessionId,
        transport: Transport,
    ) -> Result<EngineOutcome, HandshakeError> {
        if request.header(PASSED_BY).is_some() {
            return Err(HandshakeError::UnknownSid);
        }
        if transport == Transport::WebSocket {
            return self.tunnel_to(index, request, sid);
        }
        let client = self.lines.slab.id(index);
        let address = self.lines.slab.look(index).address;
        let address = self.addresses.get(address);
        let wait_ms = match request.method {
            Method::Get => u64::from(self.engines.io.settings().ping_interval_ms) + PASSED_ON_MS,
            _ => POST_PASSED_ON_MS,
        };
        let Some(joint) = &mut self.foundation.broker else { return Err(HandshakeError::UnknownSid) };
        let bytes = heads::encode(request, address, None, &passed_by(joint.node()));
        let (node, may_repeat) = (sid.node(), request.method == Method::Get);
        if !joint.pass_on(PassedOn { client, node, request: bytes, may_repeat, wait_ms }) {
            let text = "as many requests wait for other nodes as may; try again later";
            let response = Response::refused(503, "node_busy", text).with_field("Retry-After", "1");
            return Ok(EngineOutcome::Respond(response));
        }
        // It belongs to no session here.
        Ok(EngineOutcome::Park { session: NONE })
    }

    /// Lets a connection become a WebSocket of another node.
    fn tunnel_to(
        &mut self,
        index: u32,
        request: &Request<'_>,
        sid: &SessionId,
    ) -> Result<EngineOutcome, HandshakeError> {
        let record = self.lines.slab.look(index);
        let may_leave = self.lines.ring.abilities().exports
            && upgrade::is_upgrade(request)
            && !record.flags.has(Flags::TLS)
            && self.drain.is_none();
        if !may_leave {
            return Err(HandshakeError::UnknownSid);
        }
        let address = self.addresses.get(record.address);
        let added = passed_by(self.engines.node) + "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let request = heads::encode(request, address, None, &added);
        Ok(EngineOutcome::Tunnel { node: sid.node(), request })
    }

    /// A connection goes on outside the shard.
    pub(in crate::shard) fn tunnel(
        &mut self,
        index: u32,
        node: NodeId,
        request: Vec<u8>,
        descriptor: OwnedFd,
    ) {
        self.lines.abort(index);
        if let Some(joint) = &self.foundation.broker {
            joint.tunnel(Tunnel { node, request, descriptor });
        }
    }

    /// The client of a request that was passed on has gone.
    pub(super) fn give_up_passed_on(&mut self, index: u32) {
        let client = self.lines.slab.id(index);
        if let Some(joint) = &mut self.foundation.broker {
            joint.give_up(client);
        }
    }

    /// Answers what other nodes have answered.
    pub(in crate::shard) fn take_passed_back(&mut self) {
        while let Some(joint) = &mut self.foundation.broker
            && let Some(PassedBack { client, answer }) = joint.next_passed_back()
        {
            self.answer_parked(client.index, response_of(answer));
        }
    }
}

fn passed_by(node: NodeId) -> String {
    format!("{PASSED_BY}: {node}\r\n")
}

fn response_of(answer: Result<NodeAnswer, NoAnswer>) -> Response {
    let response = answer.and_then(|NodeAnswer { status, body, fields }| {
        heads::response_of(status, body, &fields).map_err(|_| NoAnswer::Away)
    });
    response.unwrap_or_else(|why| match why {
        NoAnswer::Unknown => refusal(HandshakeError::UnknownSid, None),
        NoAnswer::Away => {
            let text =
                "the node that has this session cannot be reached, or does not answer; begin a new one";
            Response::refused(503, "node_away", text)
        }
    })
}
