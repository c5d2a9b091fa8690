//! Handing a connection over to another shard, and taking one over.
//!
//! A request whose session lives on another shard is not relayed: the connection itself goes there, with the request
//! and whatever was received behind it, and is answered as if it had been accepted there. It leaves in named steps:
//!
//! ```text
//!   live ─hand_over─► LEAVING ─(nothing to send, nothing being received)─► EXPORTING ─(sent)─► CLOSING ─► free
//!                        └──────(draining, for good)────┐   └──(no descriptor)──┐
//!                                                       └───────────────────────┴─► answered 503 and closed here
//! ```
//!
//! While it leaves it is not read: what the peer sends waits in the socket for the new owner, whose poll announces it.
//! Between the two tables the socket is an ordinary descriptor of the process, inside the message that carries it. So
//! the number on their way is bounded by `RLIMIT_NOFILE`: beyond it the export fails, and the connection is answered.
//! A full link never refuses one.
//!
//! Invariant: a connection is in one shard's table or in one message, and its place in the [`super::room`] of the
//! process is where it is. Which requests go where is not decided here.

use std::os::fd::{AsFd, OwnedFd};

use super::{
    acceptors::Arrival,
    addresses::{AddressId, Entering},
    answer::Outcome,
    connection::Flags,
    partial::Holder,
    turn::Shard,
};
use crate::{
    limits::HAND_OVERS_PER_REQUEST_MAX,
    mesh::{Carried, HandOver, Keys, Levelled, ShardMessage},
    model::{CloseReason, Destination, ShardId},
    ring::Errno,
    session::{Exchange, Http, Leaving, Session},
    wire::{
        http1::{self, Request, Response, Version},
        websocket::Agreed,
    },
};

/// What a connection brings to another shard, beside what is known of every one.
#[derive(Default)]
pub(super) struct Cargo {
    hops: u8,
    bytes: Vec<u8>,
    engine: Option<Carried>,
    levelled: Option<Box<Levelled>>,
}

impl Cargo {
    /// What one brings that goes while it is served.
    pub(super) fn of_levelled(levelled: Levelled) -> Self {
        Self { levelled: Some(Box::new(levelled)), ..Self::default() }
    }
}

impl Shard {
    /// Lets shard `to` answer a request that `hops` shards have handed over before; answers it here where that cannot
    /// be.
    pub(super) fn divert(
        &mut self,
        index: u32,
        to: ShardId,
        request: &Request<'_>,
        hops: u8,
        exchange: Exchange,
    ) -> Outcome {
        let refusal = if !self.peers.has(to) {
            Response::refused(500, "shard_unknown", "the application named no other shard of this server")
        } else if hops >= HAND_OVERS_PER_REQUEST_MAX {
            Response::refused(
                508,
                "shards_disagree",
                "each shard says that another one is to answer this request",
            )
        } else if self.drain.is_some() && !self.carries() {
            going_away()
        } else if !self.lines.ring.abilities().exports {
            self.report.hand_over_failures_total += 1;
            unavailable("this server's kernel cannot hand a connection over: Linux 6.8 or later can")
        } else {
            let mut bytes = Vec::new();
            http1::encode_request(&mut bytes, request);
            return Outcome::Leave(Leaving {
                to: Destination::Shard(to),
                hops: hops + 1,
                bytes,
                engine: None,
            });
        };
        let mut refusal = refusal;
        if !self.lines.slab.look(index).flags.has(Flags::ADMIN) {
            refusal.fields.push_str(&self.engines.origins().check(request).unwrap_or_default());
        }
        self.put_response(index, refusal, exchange)
    }

    /// Begins to hand a connection over, with all the bytes it has received and not answered. Answers to earlier
    /// requests are sent first.
    pub(super) fn hand_over(&mut self, index: u32, mut leaving: Leaving) {
        if leaving.engine.is_some() {
            leaving.bytes.append(&mut self.take_held(index));
        }
        self.set_session(index, Session::Leaving(Box::new(leaving)));
        self.lines.pause(index, Flags::LEAVING);
        self.wheel.set(index, self.now.monotonic_ms + u64::from(self.limits.keep_alive_timeout_ms));
        self.run_intents();
        self.continue_hand_over(index);
    }

    /// Takes the next step with a connection that leaves, once nothing is to be sent and nothing is being received.
    pub(super) fn continue_hand_over(&mut self, index: u32) {
        let flags = self.lines.slab.look(index).flags;
        let is_leaving = flags.has(Flags::LEAVING) && flags.is_live() && !flags.has(Flags::EXPORTING);
        // New keys that are owed are told from here, before the keys go elsewhere.
        let owes = is_leaving && self.lines.secrets.record(index).is_some_and(|record| record.owes_update());
        if is_leaving && !owes && !flags.has(Flags::RECEIVING) && self.lines.is_silent(index) {
            self.lines.export(index);
        }
    }

    /// The connection has a descriptor outside the ring's table, or gets none.
    pub(super) fn handle_exported(&mut self, index: u32, result: Result<OwnedFd, Errno>) {
        let record = self.lines.slab.at(index);
        record.flags.clear(Flags::EXPORTING);
        let result = match record.session {
            Session::Leaving(_) => result,
            _ => self.take_exported(index, result.ok()).ok_or(Errno(libc::ECANCELED)),
        };
        let record = self.lines.slab.at(index);
        match (record.session.lend(), result) {
            (Session::Leaving(leaving), Ok(descriptor)) => self.send_over(index, *leaving, descriptor),
            // A WebSocket's client connects again.
            (Session::Leaving(leaving), Err(_)) if leaving.engine.is_some() => {
                record.session = Session::Leaving(leaving);
                self.report.hand_over_failures_total += 1;
                self.lose(index);
            }
            (leaving @ Session::Leaving(_), Err(_)) => {
                record.session = leaving;
                self.report.hand_over_failures_total += 1;
                let response = unavailable("this server has no descriptor left to hand a connection over");
                self.refuse(index, response, CloseReason::Overloaded);
            }
            // Its session has ended meanwhile.
            (ended, _) => record.session = ended,
        }
        self.free_if_gone(index);
    }

    fn send_over(&mut self, index: u32, leaving: Leaving, descriptor: OwnedFd) {
        let Leaving { to, hops, bytes, engine } = leaving;
        match to {
            Destination::Shard(to) => {
                self.report.handed_over_total += 1;
                self.depart(index, to, Cargo { hops, bytes, engine, levelled: None }, descriptor);
            }
            Destination::Node(node) => {
                self.set_session(index, Session::Lingering);
                self.gate.release(index);
                self.tunnel(index, node, bytes, descriptor);
            }
        }
    }

    /// A connection goes to another shard, with what it brings there.
    pub(super) fn depart(&mut self, index: u32, to: ShardId, cargo: Cargo, descriptor: OwnedFd) {
        let Cargo { hops, bytes, engine, levelled } = cargo;
        self.set_session(index, Session::Lingering);
        // Where it goes it shows its token again, or brings it.
        self.gate.release(index);
        let record = self.lines.slab.at(index);
        let is_client = !record.flags.has(Flags::ADMIN);
        let hand_over = HandOver {
            descriptor,
            address: record.peer_address(self.addresses.get(record.address)),
            passage: self.addresses.passage(record.address).cloned(),
            counted: self
                .addresses
                .move_out(std::mem::replace(&mut record.address, AddressId::NONE), is_client),
            is_admin: record.flags.has(Flags::ADMIN),
            is_unnamed: record.flags.has(Flags::UNNAMED),
            hops,
            bytes,
            engine,
            levelled,
            deflates: match record.flags.has(Flags::DEFLATES) {
                true => Some(self.lines.compression.forget(index)),
                false => None,
            },
            keys: match record.flags.has(Flags::TLS) {
                true => {
                    self.lines.secrets.move_out(index).map(|(record, begun)| Box::new(Keys { record, begun }))
                }
                false => None,
            },
        };
        self.partial.end(Holder::Record(index));
        let is_let_in = record.flags.has(Flags::LET_IN);
        record.flags.clear(Flags::LET_IN);
        self.lines.abort(index);
        // Whatever fails, its place is here or in the message.
        if is_let_in {
            self.room.move_out();
        }
        self.send_mesh(to, ShardMessage::HandOver(Box::new(hand_over)));
    }

    /// Tells a connection that leaves that it cannot, because the server is going away. One that has nearly left is
    /// told by its new owner.
    pub(super) fn send_leaving_away(&mut self, index: u32) {
        let record = self.lines.slab.look(index);
        if record.flags.has(Flags::EXPORTING) {
            return;
        }
        if matches!(&record.session, Session::Leaving(leaving) if leaving.engine.is_some()) {
            self.lose(index);
        } else {
            self.refuse(index, going_away(), CloseReason::GoingAway);
        }
    }

    /// Takes a connection over from another shard and answers the request it comes with.
    pub(super) fn handle_hand_over(&mut self, hand_over: HandOver) {
        let adopted = self.adopt_newcomer(&hand_over);
        let HandOver {
            descriptor,
            address,
            passage,
            counted,
            is_admin,
            is_unnamed,
            hops,
            mut bytes,
            engine,
            levelled,
            deflates,
            keys,
        } = hand_over;
        if !is_admin {
            self.room.move_in();
        }
        let speaks_http = engine.is_none() && levelled.is_none();
        let Some(index) = adopted else {
            return self.turn_away(descriptor, speaks_http, keys);
        };
        drop(descriptor);
        let entering = if is_admin { Entering::Uncounted } else { Entering::Moved(counted) };
        let begun = keys.map(|keys| self.adopt_keys(index, *keys));
        let speaks_tls = begun.is_some();
        let arrival = Arrival {
            peer: address,
            is_admin,
            speaks_tls,
            is_redirected: false,
            entering,
            speaks_http,
            is_unnamed,
        };
        let may_stay = self.open(index, arrival);
        if let Some(passage) = passage.filter(|_| may_stay) {
            self.note_passage(index, passage);
        }
        if let Some(begun) = begun {
            self.keep_begun(index, begun);
        }
        self.begin_compression(index, deflates.map(Agreed::from));
        if may_stay {
            if let Some(levelled) = levelled {
                self.take_levelled(index, *levelled);
            } else if let Some(engine) = engine {
                self.adopt_engine(index, engine, &mut bytes);
            } else if self.carrying.has_begun() && !is_admin {
                self.take_to_rest(index, &bytes);
            } else {
                drop(self.lines.slab.at(index).session.lend());
                self.feed_http(index, Http::handed_over(hops), &bytes);
            }
            self.note_partial_input(index);
            // Its last word may have been read where it comes from.
            let has_ended = self.lines.secrets.record(index).is_some_and(|record| record.has_ended());
            if has_ended && self.lines.slab.look(index).flags.is_live() {
                self.handle_end(index);
            }
        }
    }

    /// Goes on with another shard's keys; the beginning of a record that came with them.
    fn adopt_keys(&mut self, index: u32, keys: Keys) -> Vec<u8> {
        self.lines.secrets.establish(index, &keys.record);
        keys.begun
    }

    /// Puts a descriptor into a free slot of the ring's table.
    pub(super) fn adopt(&mut self, descriptor: &OwnedFd) -> Option<u32> {
        let index = self.lines.slab.reserve()?;
        if self.lines.ring.adopt(index, descriptor.as_fd()).is_err() {
            self.lines.slab.release(index);
            return None;
        }
        Some(index)
    }

    /// Closes a connection for which there is no slot, and answers it outside the ring. Its socket has nothing queued,
    /// so it takes an answer this short without waiting.
    fn turn_away(&mut self, descriptor: OwnedFd, speaks_http: bool, keys: Option<Box<Keys>>) {
        self.report.hand_over_failures_total += 1;
        if !speaks_http {
            return;
        }
        let response = unavailable("the shard that is to answer this request has no room");
        let mut bytes = Vec::new();
        http1::encode_response(&mut bytes, &response, self.clock.date(), false, false, Version::Http11);
        if let Some(mut keys) = keys {
            let mut sealed = Vec::new();
            let mut sealer = keys.record.sealer(&mut sealed);
            sealer.add(&bytes);
            sealer.end();
            keys.record.seal_farewell(&mut sealed);
            bytes = sealed;
        }
        let socket = socket2::Socket::from(descriptor);
        if socket.send_with_flags(&bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL).is_ok() {
            self.count_response(response.status);
        }
    }
}

fn going_away() -> Response {
    Response { close: true, ..Response::refused(503, "going_away", "the server is going away") }
}

fn unavailable(text: &'static str) -> Response {
    Response {
        close: true,
        ..Response::refused(503, "hand_over_failed", text).with_field("Retry-After", "5")
    }
}
