//! One order for one issuer: what a client, a connection or a function of the application asks takes effect in the order
//! in which it was asked.
//!
//! A publication takes effect when it is handed out, at the end of the turn or some turns later. What changes who gets it,
//! or is told to one alone, takes effect at once. So whoever has published lets what it asks next wait until that has been
//! handed out: behind everything else of the turn, and without any cost to those who only publish. What takes effect on other
//! shards is waited for by marks ([`super::ways`]).
//!
//! ```text
//!   asked        emit 1   leave   emit 2   ack              by one issuer, within one turn
//!                  │        └───────┴───────┴─► held
//!   end of turn  hand out 1 ─► leave, emit 2 ─► hand out 2 ─► ack
//! ```
//!
//! Invariant: of one issuer nothing that stands here is overtaken by anything it asks later. What others ask passes, but for
//! what functions of the application publish to the same channel: they share what the application remembers, so that is handed
//! out in the order in which it was asked on this shard, and a number that they count up together does not seem to go back. What
//! clients and backends publish themselves is passed on, and stands behind nobody else's: no client makes others wait by it.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{
    connection::Flags,
    held_asks::HeldAsks,
    kinds::{Ask, Kind},
    lease::Lease,
    marks::{Passed, Passing},
    trails::{Asked, Trail},
    turn::Shard,
    ways::Ways,
};
use crate::{
    hub::Waiting,
    limits::{ASKS_HELD_BYTES_MAX, ASKS_HELD_MAX, ASKS_READ_MAX, LEASE_WANTED_FROM, TRAILS_SWEPT_MS},
    model::{After, ChannelName, ConnectionId, Issuer, Payload, ShardId, StateKey, StateRequest, Ticket},
};

/// Issuers whose trails are kept before those that have taken effect are looked for.
const TRAILS_KEPT: usize = 4096;

/// What waits until something its issuer asked before has taken effect.
pub(super) struct Asks {
    /// What issuers have asked that may not have taken effect.
    trails: FxHashMap<Issuer, Trail>,
    /// Begins anew whenever nothing waits on this shard to be handed out.
    era: u64,
    /// How often it has been looked at what waits. Between two looks nothing is handed out.
    look: u64,
    swept_ms: u64,
    /// At most [`ASKS_HELD_MAX`], with at most [`ASKS_HELD_BYTES_MAX`] bytes, or one.
    held: HeldAsks<Ask>,
    /// How far what is sent to other shards has come.
    pub(super) ways: Ways,
    /// Whether events are sent at once and wait where they are to be handed out.
    pub(super) lease: Lease,
    /// Marks of other shards, and those of this one that came back.
    pub(super) passed: Vec<Passed>,
    /// Marks that are passed on once what stands before them here is on disk.
    pub(super) passing: Vec<Passing>,
    /// Whether something may go on that did not when that was last looked at.
    pub(super) is_fresh: bool,
    /// Connections that are not read because too much of what these issuers ask is held.
    pub(super) crowded: FxHashMap<ConnectionId, Issuer>,
}

impl Asks {
    /// How much of an issuer is held.
    pub(super) fn held_of(&self, issuer: Issuer) -> usize {
        self.held.count_of(issuer)
    }

    /// Forgets whoever half of what was held of it has had its turn.
    pub(super) fn forget_crowded(&mut self) {
        let held = &self.held;
        self.crowded.retain(|_, issuer| held.count_of(*issuer) > ASKS_READ_MAX / 2);
    }

    /// Of a shard among so many, that begins to count what it sends here.
    pub(super) fn new(me: ShardId, shards: u16, start: u64) -> Self {
        Self {
            trails: FxHashMap::default(),
            era: 0,
            look: 1,
            swept_ms: 0,
            held: HeldAsks::default(),
            ways: Ways::new(me, shards, start),
            lease: Lease::new(me, shards, start > 0),
            passed: Vec::new(),
            passing: Vec::new(),
            is_fresh: false,
            crowded: FxHashMap::default(),
        }
    }

    /// Whether nobody has asked anything that others of its wishes must wait for.
    fn is_idle(&self) -> bool {
        self.trails.is_empty() && self.held.is_empty()
    }

    /// Whether something may go on that has not been looked at. What waits for the hub, for sockets or for another shard
    /// goes on when those do.
    pub(super) fn has_more(&self) -> bool {
        (self.is_fresh && !self.held.is_empty()) || self.lease.has_more()
    }

    /// Whether something has been sent to stand behind others on its way.
    #[cfg(test)]
    pub(super) fn has_followed(&self) -> bool {
        self.ways.has_asked_receipts()
    }

    /// How much is noted of one issuer that has not been handed out on this shard, at most.
    #[cfg(test)]
    pub(super) fn noted_here(&self) -> usize {
        self.trails.values().map(|trail| trail.here.len()).max().unwrap_or(0)
    }

    /// When something is not waited for any longer.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.ways.next_ms()
    }

    fn trail(&mut self, issuer: Issuer) -> &mut Trail {
        let trail = self.trails.entry(issuer).or_default();
        trail.pass(self.era);
        trail
    }
}

impl Shard {
    /// Whether something asked has to wait for what its issuer asked before.
    pub(super) fn must_wait(&mut self, issuer: Issuer, kind: Kind<'_>) -> bool {
        if self.asks.is_idle() || matches!(kind, Kind::Free) {
            return false;
        }
        self.asks.held.count_of(issuer) > 0
            || (!self.asks.held.has_no_channel()
                && self.key_of(kind).is_some_and(|channel| self.asks.held.has_of(channel)))
            || self.is_ahead(issuer, kind)
    }

    /// The key of the channel that something is published to behind what other issuers publish there.
    fn key_of(&self, kind: Kind<'_>) -> Option<u32> {
        kind.common_channel().map(|channel| self.hub.channel_key(channel))
    }

    /// Whether something has not taken effect that must before this.
    fn is_ahead(&mut self, issuer: Issuer, kind: Kind<'_>) -> bool {
        let Asks { trails, ways, era, look, lease, .. } = &mut self.asks;
        let Some(trail) = trails.get_mut(&issuer) else { return false };
        let (hub, engines) = (&self.hub, &self.engines);
        trail.pass(*era);
        // In a burst of publications that is found out once for each look, and not for each of them.
        if trail.is_stale(*look) || !kind.is_publication() {
            trail.forget_here(hub, engines);
            trail.forget(self.id, ways);
        }
        trail.forget_sent(self.id, ways);
        if trail.is_over(self.id, ways) {
            trails.remove(&issuer);
            return false;
        }
        let is_ahead =
            trail.is_ahead_here(kind, self.id, hub) | trail.is_ahead_elsewhere(kind, self.id, hub, ways);
        let follows = |channel| hub.tells_at_once(channel) && trail.may_be_followed(self.id, ways);
        is_ahead
            && !matches!(kind, Kind::Event { channel, may_follow: true, .. } if lease.is_held() && follows(channel))
    }

    /// Holds something until what its issuer asked before has taken effect. With too much of it the oldest is done at
    /// once, of this issuer if it has much: order is lost then, and nothing else.
    pub(super) fn hold_ask(&mut self, issuer: Issuer, ask: Ask) {
        let (channel, bytes) = (self.key_of(ask.kind(self.id)), ask.bytes());
        self.asks.held.push(issuer, channel, bytes, ask);
        self.asks.is_fresh = true;
        self.hold_back_if_too_much_is_held(issuer);
        while let Some((whose, ask)) = self.asks.held.take_surplus(issuer, ASKS_HELD_MAX, ASKS_HELD_BYTES_MAX)
        {
            self.do_ask(whose, ask);
        }
    }

    /// Does what has waited long enough; tells whether there was any.
    pub(super) fn release_asks(&mut self) -> bool {
        self.asks.look += 1;
        self.reach_marks();
        if self.hub.has_told_all() && !self.engines.is_commanding() {
            self.asks.era += 1;
            if self.peers.are_none() && self.engines.joins.are_none() {
                self.asks.trails.clear();
                self.asks.trails.shrink_to(TRAILS_KEPT);
            }
        }
        self.asks.is_fresh = false;
        if self.asks.held.is_empty() {
            return false;
        }
        let mut has_done = false;
        let was_running = std::mem::replace(&mut self.engines.runs_orders, true);
        for issuer in self.asks.held.issuers() {
            while let Some(held) = self.asks.held.lend(issuer) {
                let kind = held.ask.kind(self.id);
                if self.asks.held.is_behind(&held) || self.is_ahead(issuer, kind) {
                    let is_event = matches!(kind, Kind::Event { may_follow: true, .. });
                    self.asks.held.give_back(issuer, held);
                    self.want_lease(issuer, is_event);
                    break;
                }
                let ask = self.asks.held.let_go(issuer, held);
                self.do_ask(issuer, ask);
                has_done = true;
            }
        }
        self.engines.runs_orders = was_running;
        self.run_orders();
        self.asks.is_fresh |= has_done;
        has_done
    }

    /// Publishes on somebody's behalf.
    pub(super) fn publish(
        &mut self,
        issuer: Issuer,
        channel: ChannelName,
        payload: Payload,
        ticket: Option<Ticket>,
    ) {
        let (left_out, receipt) =
            (self.left_out(&payload), payload.receipt().map_or(0, |(_, number)| number));
        self.note_sent(issuer, &channel, &left_out, Some(receipt));
        let waiting = self.hand_in(issuer, channel, payload, ticket);
        self.note_waiting(issuer, waiting, &left_out);
    }

    /// Changes a channel's state on somebody's behalf, which is a publication as well.
    pub(super) fn change_state(
        &mut self,
        issuer: Issuer,
        channel: ChannelName,
        request: Box<StateRequest>,
        ticket: Option<Ticket>,
    ) {
        self.note_sent(issuer, &channel, &[], None);
        let waiting = self.hub.change_state(self.now, channel, request, ticket);
        self.note_waiting(issuer, waiting, &[]);
    }

    /// Lets a connection be present in a channel, which is told of in it.
    pub(super) fn be_present(
        &mut self,
        issuer: Issuer,
        ticket: Ticket,
        channel: &ChannelName,
        user: Option<&str>,
        info: Box<str>,
    ) {
        // Nothing would end what a connection without a session has entered.
        let Some(record) = self.lines.slab.get_in_session(ticket.connection) else { return };
        record.flags.set(Flags::SUBSCRIBED);
        let guest = || StateKey::of_guest(self.id, ticket.connection);
        let id = user.map_or_else(guest, StateKey::of_user);
        self.note_sent(issuer, channel, &[], None);
        let waiting = self.hub.enter(self.now, ticket, channel, id, info);
        self.note_waiting(issuer, waiting, &[]);
    }

    /// Notes that somebody's command to many sockets goes on.
    pub(super) fn note_selection(&mut self, issuer: Issuer, number: u64) {
        self.asks.trail(issuer).note_here(Asked::Selection(number));
    }

    /// Notes that somebody puts a socket into rooms.
    pub(super) fn note_joining(&mut self, issuer: Issuer, index: u32) {
        if self.engines.joins.has(index) {
            self.asks.trail(issuer).note_here(Asked::Joining(index));
        }
    }

    /// Notes that somebody has put sockets into rooms.
    pub(super) fn note_joins(&mut self, issuer: Issuer) {
        let number = self.engines.joins.begun();
        self.asks.trail(issuer).note_here(Asked::Joins(number));
    }

    /// What waits may go on.
    pub(super) fn look_at_asks(&mut self) {
        self.asks.is_fresh = true;
    }

    /// Notes that somebody asks something of sockets of other shards.
    pub(super) fn note_act(&mut self, issuer: Issuer, is_to_many: bool) {
        if !self.peers.are_none() {
            let number = self.asks.ways.send(self.id);
            let trail = self.asks.trail(issuer);
            trail.acted = number;
            if is_to_many {
                trail.selected = number;
            }
        }
    }

    /// What stands before an event that somebody sends now, and has not taken effect everywhere.
    pub(super) fn followed(&mut self, issuer: Issuer, channel: &ChannelName) -> Option<Box<After>> {
        if !self.asks.lease.is_held() {
            return None;
        }
        let key = self.hub.channel_key(channel);
        let Asks { trails, ways, lease, .. } = &mut self.asks;
        let (trail, mut receipts) = (trails.get_mut(&issuer)?, SmallVec::new());
        let waits_at = trail.waits_at(self.id);
        for sent in trail.elsewhere(key) {
            if sent.is_over(waits_at, ways) {
                continue;
            }
            if sent.receipt == 0 {
                sent.receipt = ways.next_receipt(sent.way);
                self.hub.ask_receipt(sent.way, sent.receipt, sent.name.clone());
            }
            receipts.push((sent.way, sent.receipt));
        }
        if receipts.is_empty() {
            return None;
        }
        lease.note_used();
        // Whoever comes next in such a burst stands behind this one.
        let is_plain = self.hub.tells_at_once(channel);
        let receipt = if is_plain { ways.next_receipt(self.hub.owner_of(channel)) } else { 0 };
        Some(Box::new(After { origin: self.id, receipts, receipt }))
    }

    /// The keys of the rooms that something published is not for.
    fn left_out(&self, payload: &Payload) -> SmallVec<[u32; 2]> {
        let rooms = payload.emission.iter().flat_map(|emission| &emission.except_rooms);
        rooms.map(|room| self.hub.channel_key(room)).collect()
    }

    /// Notes that somebody publishes, for what it asks of other shards; with the number of its receipt, or 0, what comes with the
    /// publication itself.
    fn note_sent(&mut self, issuer: Issuer, channel: &ChannelName, left_out: &[u32], receipt: Option<u64>) {
        if !self.peers.are_none() {
            let way = self.hub.owner_of(channel);
            let (number, key) = (self.asks.ways.send(way), self.hub.channel_key(channel));
            let receipt = receipt.filter(|_| self.hub.tells_at_once(channel));
            let trail = self.asks.trail(issuer);
            trail.note_sent((way, number), channel, key, receipt);
            trail.touch((way, number), key, left_out);
        }
    }

    fn note_waiting(&mut self, issuer: Issuer, waiting: Option<Waiting>, left_out: &[u32]) {
        let Some(waiting) = waiting else { return };
        self.hold_back_if_too_much_waits(issuer);
        let key = (self.peers.are_none()).then(|| self.hub.waiting_key(&waiting));
        let trail = self.asks.trail(issuer);
        trail.note_here(Asked::Publication(waiting));
        if let Some(key) = key {
            trail.touch((self.id, 0), key, left_out);
        }
    }

    /// Whether all that a client has asked has taken effect everywhere. If it has not, it is found out by when.
    pub(super) fn has_nothing_under_way(&mut self, client: ConnectionId) -> bool {
        let (issuer, Asks { trails, ways, era, held, .. }) = (Issuer::Client(client), &mut self.asks);
        if held.count_of(issuer) > 0 {
            return false;
        }
        let Some(trail) = trails.get_mut(&issuer) else { return true };
        trail.pass(*era);
        trail.forget_here(&self.hub, &self.engines);
        trail.forget(self.id, ways);
        let is_over = trail.is_over(self.id, ways);
        match is_over {
            true => drop(trails.remove(&issuer)),
            false => ways.want_all(),
        }
        is_over
    }

    /// Forgets what has taken effect of issuers who ask nothing any more, when there are many.
    pub(super) fn sweep_trails(&mut self) {
        let Asks { trails, ways, era, swept_ms, .. } = &mut self.asks;
        let now_ms = self.now.monotonic_ms;
        if trails.len() <= TRAILS_KEPT || now_ms.saturating_sub(*swept_ms) < TRAILS_SWEPT_MS {
            return;
        }
        *swept_ms = now_ms;
        trails.retain(|_, trail| {
            trail.pass(*era);
            trail.forget_here(&self.hub, &self.engines);
            trail.forget(self.id, ways);
            !trail.is_over(self.id, ways)
        });
        trails.shrink_to(TRAILS_KEPT);
        // By the next time this will have come back.
        ways.want_all();
    }

    /// Asks for the lease if so much of an issuer waits that it would gain by it.
    fn want_lease(&mut self, issuer: Issuer, is_event: bool) {
        if is_event && self.asks.held.count_of(issuer) >= LEASE_WANTED_FROM {
            self.asks.lease.want();
        }
    }

    fn do_ask(&mut self, issuer: Issuer, ask: Ask) {
        match ask {
            Ask::Order(order) => self.obey(issuer, order),
            Ask::Intent(intent) => self.carry_out(intent),
            Ask::Send { connection, is_text, data } => self.send_bytes(connection, is_text, &data),
        }
    }
}
