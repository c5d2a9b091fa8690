//! A shard that failed begins anew on its thread.
//!
//! A panic in a turn that is not the application's is a mistake in the server: whatever the shard had may be half changed.
//! So nothing of it is used again but what stands on its own: the links to the other shards, the listening sockets, the
//! shard's share of room, and what has been counted.
//!
//! ```text
//!   turn panics ─► clients are told to come back ─► ring ended, all dropped ─► new ring, hub, tables, handler
//!                                                                               │
//!   other shards ◄── Lost ── (its subscriptions go, its channels are joined again, what waited for it is refused)
//!                └── LossHeard ─► only now is heard what they say; before, connections and room alone
//! ```
//!
//! A shard whose thread came back from the application too late, when its clients had been taken off it, begins anew as well.
//! A panic in the ring tells nobody: what it would send may be anything. One that fails again and again is not begun anew
//! for ever ([`Restarts`]): then the process ends, as it does when the handler's own making fails.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::error;

use super::{
    acceptors::Acceptors,
    asks::Asks,
    connection::Flags,
    ending::Drain,
    foundation::Foundation,
    lines::Lines,
    outbox::Class,
    past::Past,
    peers::Peers,
    room::Room,
    setup::{ShardError, ShardSetup},
    sockets::Engines,
    turn::Shard,
};
use crate::{
    app::{
        Handler,
        guard::{Panicked, caught},
    },
    auth::Revoked,
    limits::{FAREWELLS_AT_ONCE, RING_END_MS, SHARD_RESTARTS_WITHIN_MS},
    mesh::{Heir, Legacy, Links, ShardMessage, ShardReport},
    model::{ChannelName, CloseReason, ShardId},
    ring::Completion,
    session::{Exchange, Kind, Session},
    wire::{
        http1::{self, Response},
        websocket,
    },
};

/// When a shard has begun anew lately.
pub(super) struct Restarts {
    max: u32,
    times: VecDeque<Instant>,
}

/// What a shard is told in place of the one before it.
struct Inheritance {
    setup: ShardSetup,
    foundation: Foundation,
    room: Room,
    acceptors: Acceptors,
    /// Who has been shut out stays out.
    revoked: Revoked,
    peers: Peers,
    /// What it has counted, now and over the last hour.
    told: (ShardReport, Past),
    drain: Option<Drain>,
    heir: Option<Heir>,
    /// Generations that no connection, socket or session has had.
    generations: [u32; 3],
    starved_total: u64,
    /// What the hub has counted.
    counted: [u64; 2],
}

impl Restarts {
    /// At most so many.
    pub(super) fn new(max: u32) -> Self {
        Self { max, times: VecDeque::new() }
    }

    /// Whether a shard that fails now may begin anew.
    pub(super) fn may_again(&mut self, now: Instant) -> bool {
        let within = Duration::from_millis(SHARD_RESTARTS_WITHIN_MS);
        self.times.retain(|time| now.duration_since(*time) < within);
        let may = self.times.len() < self.max as usize;
        self.times.extend(may.then_some(now));
        may
    }
}

impl Shard {
    /// Begins anew.
    pub(super) fn begin_anew(
        mut self,
        panicked: &Panicked,
        make: &dyn Fn() -> Box<dyn Handler>,
    ) -> Result<Self, ShardError> {
        let restarts = self.report.shard_restarts_total + 1;
        let Panicked { what, backtrace, .. } = panicked;
        let clients = self.clients();
        error!(shard = self.id.0, restarts, clients, "the shard failed and begins anew: {what}{backtrace}");
        let is_in_ring = panicked.place.contains("src/ring/") || panicked.place.contains("io-uring");
        // Nobody is left to be told when the clients have been taken off a shard whose thread did not come back.
        let is_alone = is_in_ring || self.pulse.attendance().is_dismissed();
        if !is_alone && let Err(again) = caught(|| self.say_farewell()) {
            error!(shard = self.id.0, "not every client could be told: {}", again.what);
        }
        let inheritance = self.leave(is_in_ring);
        Self::inherit(inheritance, make)
    }

    /// Tells every client to come back, as far as what is on its way to it lets through.
    fn say_farewell(&mut self) {
        self.send_farewells();
        for index in 0..self.lines.slab.len() {
            self.say_goodbye(index);
            if index % FAREWELLS_AT_ONCE == FAREWELLS_AT_ONCE - 1 {
                self.send_farewells();
            }
        }
        self.send_farewells();
    }

    fn say_goodbye(&mut self, index: u32) {
        let record = self.lines.slab.look(index);
        if !record.flags.is_live() || record.flags.has(Flags::FINISHING) || record.flags.has(Flags::SENDING) {
            return;
        }
        let reason = CloseReason::ShardFailed;
        let (exchange, fields) = match &record.session {
            Session::WebSocket(_) | Session::Lent(Kind::WebSocket, _) => {
                let (code, sentence) = (reason.websocket_code(), reason.sentence());
                self.lines.say(index, Class::Last, |out| websocket::encode_close(out, code, sentence));
                return;
            }
            Session::EventStream => return self.write_retry(index, Class::Last),
            Session::LongPoll(poll) => (poll.exchange, poll.fields.to_string()),
            Session::Http(http) if http.awaiting.is_some() && http.bit_by_bit.is_none() => {
                (http.awaiting.unwrap_or_else(Exchange::broken), String::new())
            }
            // The request that was being answered.
            Session::Lent(Kind::Http, _) => (Exchange::broken(), String::new()),
            Session::Leaving(leaving) if leaving.engine.is_none() => (Exchange::broken(), String::new()),
            Session::Http(_) | Session::Leaving(_) | Session::Lingering | Session::Lent(..) => return,
        };
        let text = format!("{}\n", reason.sentence());
        let response = Response { fields, close: true, ..Response::text(reason.http_status(), text) };
        let response = response.with_field("Retry-After", &fastrand::u32(1..=5).to_string());
        self.count_response(response.status);
        let date = self.clock.date();
        self.lines.say(index, Class::Last, |out| {
            http1::encode_response(out, &response, date, exchange.head_only, false, exchange.version);
        });
    }

    /// Sends what is queued, as far as sockets take it at once.
    pub(super) fn send_farewells(&mut self) {
        // What has been sent before ends with the first round, and what waited behind it leaves with the second.
        for _ in 0..2 {
            self.lines.send_all();
            self.lines.flush();
            if self.lines.ring.enter(0).is_err() {
                return;
            }
            let mut completions = Vec::new();
            self.lines.ring.reap(&mut completions, usize::MAX);
            for completion in completions {
                if let Completion::Sent { index, result, bytes } = completion {
                    match result {
                        Ok(_) => drop(self.lines.handle_sent(index, bytes)),
                        Err(_) => self.lines.handle_send_failed(index, bytes),
                    }
                }
            }
        }
    }

    /// Counts what ends with this shard.
    fn close_books(&mut self) {
        let slab = &self.lines.slab;
        let open = (0..slab.len()).map(|index| slab.look(index));
        let open = open.filter(|record| record.flags.has(Flags::OPEN) && !record.session.has_ended()).count();
        self.report.closed_total[CloseReason::ShardFailed.index()] += open as u64;
        self.report.shard_restarts_total += 1;
        self.report.messages_deflated_total += self.lines.compression.deflated_total();
        (self.report.connections, self.report.sessions) = (0, [0; 4]);
    }

    /// Generations that no connection, socket or session has had.
    fn next_generations(&self) -> [u32; 3] {
        let [sockets, sessions] = self.engines.next_generations();
        [self.lines.slab.next_generation(), sockets, sessions]
    }

    /// Lets go of all but what the next shard is given.
    fn leave(mut self, is_ring_broken: bool) -> Inheritance {
        self.close_books();
        let generations = self.next_generations();
        let (starved_total, counted) = (self.lines.starved_total(), self.hub.counted());
        self.room.begin_anew();
        self.acceptors.begin_anew();
        self.peers.begin_anew(self.report.shard_restarts_total);
        let (tokens, user_counts, revoked, desk) = self.gate.bequeath();
        let setup = ShardSetup {
            shard: self.id,
            shards: self.peers.shards(),
            core: self.report.core as usize,
            connections_max: self.room.total(),
            connections_limit: self.foundation.connections_limit,
            pulse: self.pulse,
            address_counts: self.addresses.counts(),
            handshake_counts: self.engines.handshakes(),
            limits: self.limits,
            tokens,
            user_counts,
            desk,
            notices: self.notices,
            retentions: Vec::new(),
            rules: Arc::clone(&self.foundation.rules),
            diagnostic_message_bytes_max: self.messages.diagnostic.message_bytes_max,
            forms: self.lines.compression.forms(),
            tls: self.lines.secrets.setup_again(self.redirect),
            errand: self.errand,
            listeners: Vec::new(),
            drain_ms: self.drain_ms,
            spin: self.rest.spin(),
            started: self.clock.started(),
            links: Links::default(),
            control: self.control,
            outside: self.outside,
            access: self.access_log.settings(),
            hosts: self.hosts,
            proxies: self.addresses.proxies().clone(),
            socketio: self.engines.io.settings().clone(),
            epoch_seed: self.foundation.epoch_seed,
            hash_seed: self.foundation.hash_seed,
            restarts_max: 0,
            storage: None,
            left: Legacy::default(),
            broker: None,
            cluster: None,
        };
        self.rest.end();
        end_lines(self.lines, is_ring_broken);
        let kept = (self.handler, self.hub, self.intents, self.bodies);
        end_application(setup.shard, self.engines, kept);
        Inheritance {
            setup,
            foundation: self.foundation,
            room: self.room,
            acceptors: self.acceptors,
            revoked,
            peers: self.peers,
            told: (self.report, self.past),
            drain: self.drain.map(Drain::begin_anew),
            heir: self.carrying.heir,
            generations,
            starved_total,
            counted,
        }
    }

    /// Makes a shard of what one that failed has left, and tells the others.
    fn inherit(left: Inheritance, make: &dyn Fn() -> Box<dyn Handler>) -> Result<Self, ShardError> {
        let Inheritance { setup, foundation, generations: [connections, sockets, sessions], .. } = left;
        let (id, restarts) = (setup.shard, left.told.0.shard_restarts_total);
        let ring = foundation.make_ring(&setup.control, &setup.pulse).map_err(ShardError::Ring)?;
        let mut hub = foundation.make_hub(&setup, restarts);
        hub.count_from(left.counted);
        let handler = caught(make).map_err(|panicked| ShardError::Failed(id, panicked.what))?;
        let mut shard = Self::new(setup, (ring, hub, left.peers), handler, foundation);
        shard.gate.inherit(left.revoked);
        shard.lines.slab.go_on_from(connections);
        shard.lines.count_starved_from(left.starved_total);
        shard.engines.go_on_from([sockets, sessions]);
        // Answers that were for what it was are not taken for answers to what it is.
        shard.asks = Asks::new(id, shard.peers.shards(), restarts << 40);
        (shard.room, shard.acceptors) = (left.room, left.acceptors);
        (shard.report, shard.past) = left.told;
        (shard.drain, shard.carrying.heir) = (left.drain, left.heir);
        shard.begin_storage_anew();
        shard.begin_broker_anew();
        shard.begin_cluster_anew();
        for to in shard.peers.all() {
            shard.hub.mute_receipts(&[to].into_iter().collect());
            shard.send_mesh(to, ShardMessage::Lost { restarts });
        }
        if let Some(live) = shard.foundation.live.clone() {
            shard.change_settings(&live);
        }
        shard.notify_of_restart(restarts);
        Ok(shard)
    }

    /// Another shard has failed and begun anew.
    pub(super) fn hear_of_loss(&mut self, from: ShardId, restarts: u64) {
        // What has been asked of it is asked of what it was.
        self.lose_levelling(from);
        self.settle();
        self.send_mesh(from, ShardMessage::LossHeard { restarts });
        self.room.forget_question(from);
        self.lose_engines(from);
        self.lose_marks(from);
        self.hub.lose(self.now, from);
        let owners = self.hub.owners();
        let owned = |channel: &ChannelName| owners.of(channel) == from;
        self.give_up_reads(&owned);
        self.call("shard_failed", |handler, cx| handler.shard_failed(cx, from, &owned));
    }
}

/// Drops the application, with what it was served by; what it keeps may panic when it is dropped.
fn end_application<T>(shard: ShardId, engines: Engines, kept: T) {
    let end = move || {
        engines.io.end();
        drop((kept, engines));
    };
    if let Err(again) = caught(end) {
        error!(shard = shard.0, "what the application kept panicked: {}", again.what);
    }
}

/// Lets the kernel have back what the lines of a shard were given; of a ring that is broken, as it happens.
fn end_lines(lines: Lines, is_ring_broken: bool) {
    match is_ring_broken {
        true => drop(lines),
        false => lines.ring.end(Duration::from_millis(RING_END_MS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_begins_anew_so_often_within_a_minute_and_again_when_that_is_over() {
        let mut restarts = Restarts::new(2);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(restarts.may_again(at(0)) && restarts.may_again(at(1)));
        assert!(!restarts.may_again(at(SHARD_RESTARTS_WITHIN_MS - 1)));
        assert!(restarts.may_again(at(SHARD_RESTARTS_WITHIN_MS)));
        assert!(!restarts.may_again(at(SHARD_RESTARTS_WITHIN_MS)));
        assert!(!Restarts::new(0).may_again(start));
    }
}
