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
//! what is published to the same channel: that is handed out in the order in which it was asked on this shard, so that a number
//! that functions of the application count up together does not seem to go back.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    connection::Flags,
    counts::Counts,
    kinds::Kind,
    marks::{Passed, Passing},
    trails::{Asked, Sent, Trail},
    turn::Shard,
    ways::Ways,
};
use crate::{
    app::{Intent, socketio::Order},
    hub::Waiting,
    limits::{ASKS_HELD_BYTES_MAX, ASKS_HELD_MAX, TRAILS_SWEPT_MS},
    model::{ChannelName, ConnectionId, Issuer, Payload, ShardId, StateKey, StateRequest, Ticket},
};

/// Issuers whose trails are kept before those that have taken effect are looked for.
const TRAILS_KEPT: usize = 4096;

/// What waits until something its issuer asked before has taken effect.
pub(super) struct Asks {
    /// What issuers have asked that may not have taken effect.
    trails: FxHashMap<Issuer, Trail>,
    /// Begins anew whenever nothing waits on this shard to be handed out.
    era: u64,
    swept_ms: u64,
    /// In the order asked; at most [`ASKS_HELD_MAX`].
    held: VecDeque<(Issuer, Ask)>,
    /// Bytes of those; at most [`ASKS_HELD_BYTES_MAX`], or one.
    held_bytes: usize,
    /// How many of those each issuer has.
    holding: Counts<Issuer>,
    /// How many of those are published to each channel, by its key.
    channels: Counts<u32>,
    /// How far what is sent to other shards has come.
    pub(super) ways: Ways,
    /// Marks of other shards, and those of this one that came back.
    pub(super) passed: Vec<Passed>,
    /// Marks that are passed on once what stands before them here is on disk.
    pub(super) passing: Vec<Passing>,
    /// Whether something may go on that did not when that was last looked at.
    pub(super) is_fresh: bool,
}

/// What can be held.
pub(super) enum Ask {
    Order(Order),
    Intent(Intent),
    /// [`Intent::Send`], with the bytes.
    Send {
        connection: ConnectionId,
        is_text: bool,
        data: Box<[u8]>,
    },
}

impl Asks {
    /// Of a shard among so many, that begins to count what it sends here.
    pub(super) fn new(me: ShardId, shards: u16, start: u64) -> Self {
        Self {
            trails: FxHashMap::default(),
            era: 0,
            swept_ms: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            holding: Counts::default(),
            channels: Counts::default(),
            ways: Ways::new(me, shards, start),
            passed: Vec::new(),
            passing: Vec::new(),
            is_fresh: false,
        }
    }

    /// Whether nobody has asked anything that others of its wishes must wait for.
    fn is_idle(&self) -> bool {
        self.trails.is_empty() && self.held.is_empty()
    }

    /// Whether something may go on that has not been looked at. What waits for the hub, for sockets or for another shard
    /// goes on when those do.
    pub(super) fn has_more(&self) -> bool {
        self.is_fresh && !self.held.is_empty()
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

    /// Holds something that is published to the channel of this key, if it is.
    fn keep(&mut self, issuer: Issuer, channel: Option<u32>, ask: Ask) {
        self.holding.add(issuer);
        self.held_bytes += ask.bytes();
        if let Some(channel) = channel {
            self.channels.add(channel);
        }
        self.held.push_back((issuer, ask));
    }

    /// Takes the oldest, of too many.
    fn take_surplus(&mut self) -> Option<(Issuer, Ask)> {
        let is_too_much =
            self.held.len() > ASKS_HELD_MAX || (self.held.len() > 1 && self.held_bytes > ASKS_HELD_BYTES_MAX);
        let (issuer, ask) = if is_too_much { self.held.pop_front()? } else { return None };
        self.holding.remove(issuer);
        self.held_bytes -= ask.bytes();
        Some((issuer, ask))
    }

    fn take(&mut self) -> VecDeque<(Issuer, Ask)> {
        self.held_bytes = 0;
        self.holding.clear();
        self.channels.clear();
        std::mem::take(&mut self.held)
    }
}

impl Shard {
    /// Whether something asked has to wait for what its issuer asked before.
    pub(super) fn must_wait(&mut self, issuer: Issuer, kind: Kind<'_>) -> bool {
        if self.asks.is_idle() || matches!(kind, Kind::Free) {
            return false;
        }
        self.asks.holding.get(&issuer) > 0
            || (!self.asks.channels.are_none()
                && self.key_of(kind).is_some_and(|channel| self.asks.channels.get(&channel) > 0))
            || self.is_ahead(issuer, kind)
    }

    /// The key of the channel that something is published to.
    fn key_of(&self, kind: Kind<'_>) -> Option<u32> {
        kind.channel().map(|channel| self.hub.channel_key(channel))
    }

    /// Whether something has not taken effect that must before this.
    fn is_ahead(&mut self, issuer: Issuer, kind: Kind<'_>) -> bool {
        let Asks { trails, ways, era, .. } = &mut self.asks;
        let Some(trail) = trails.get_mut(&issuer) else { return false };
        let (hub, sockets) = (&self.hub, &self.sockets);
        trail.pass(*era);
        trail.forget_here(hub, sockets);
        trail.forget(ways);
        if trail.is_over(self.id, ways) {
            trails.remove(&issuer);
            return false;
        }
        trail.is_ahead_here(kind, hub) | trail.is_ahead_elsewhere(kind, self.id, hub, ways)
    }

    /// Holds something until what its issuer asked before has taken effect. With too much of it the oldest is done at
    /// once: order is lost then, and nothing else.
    pub(super) fn hold_ask(&mut self, issuer: Issuer, ask: Ask) {
        let channel = self.key_of(ask.kind(self.id));
        self.asks.keep(issuer, channel, ask);
        self.asks.is_fresh = true;
        while let Some((oldest, ask)) = self.asks.take_surplus() {
            if let Some(channel) = self.key_of(ask.kind(self.id)) {
                self.asks.channels.remove(channel);
            }
            self.do_ask(oldest, ask);
        }
    }

    /// Does what has waited long enough; tells whether there was any.
    pub(super) fn release_asks(&mut self) -> bool {
        self.reach_marks();
        if self.hub.has_told_all() && !self.sockets.is_commanding() {
            self.asks.era += 1;
            if self.shards == 1 && self.sockets.joins.are_none() {
                self.asks.trails.clear();
                self.asks.trails.shrink_to(TRAILS_KEPT);
            }
        }
        self.asks.is_fresh = false;
        if self.asks.held.is_empty() {
            return false;
        }
        let mut waiting = FxHashSet::default();
        let mut has_done = false;
        let was_running = std::mem::replace(&mut self.sockets.runs_orders, true);
        for (issuer, ask) in self.asks.take() {
            let kind = ask.kind(self.id);
            let channel = self.key_of(kind);
            // What is kept is what stood before this one.
            let is_behind = waiting.contains(&issuer)
                || channel.is_some_and(|channel| self.asks.channels.get(&channel) > 0);
            if is_behind || self.is_ahead(issuer, kind) {
                waiting.insert(issuer);
                self.asks.keep(issuer, channel, ask);
            } else {
                self.do_ask(issuer, ask);
                has_done = true;
            }
        }
        self.sockets.runs_orders = was_running;
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
        self.note_sent(issuer, &channel);
        let waiting = self.hand_in(issuer, channel, payload, ticket);
        self.note_waiting(issuer, waiting);
    }

    /// Changes a channel's state on somebody's behalf, which is a publication as well.
    pub(super) fn change_state(
        &mut self,
        issuer: Issuer,
        channel: ChannelName,
        request: Box<StateRequest>,
        ticket: Option<Ticket>,
    ) {
        self.note_sent(issuer, &channel);
        let waiting = self.hub.change_state(self.now, channel, request, ticket);
        self.note_waiting(issuer, waiting);
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
        self.note_sent(issuer, channel);
        let waiting = self.hub.enter(self.now, ticket, channel, id, info);
        self.note_waiting(issuer, waiting);
    }

    /// Notes that somebody's command to many sockets goes on.
    pub(super) fn note_selection(&mut self, issuer: Issuer, number: u64) {
        self.asks.trail(issuer).note_here(Asked::Selection(number));
    }

    /// Notes that somebody puts a socket into rooms.
    pub(super) fn note_joining(&mut self, issuer: Issuer, index: u32) {
        if self.sockets.joins.has(index) {
            self.asks.trail(issuer).note_here(Asked::Joining(index));
        }
    }

    /// Notes that somebody has put sockets into rooms.
    pub(super) fn note_joins(&mut self, issuer: Issuer) {
        let number = self.sockets.joins.begun();
        self.asks.trail(issuer).note_here(Asked::Joins(number));
    }

    /// What waits may go on.
    pub(super) fn look_at_asks(&mut self) {
        self.asks.is_fresh = true;
    }

    /// Notes that somebody asks something of sockets of other shards.
    pub(super) fn note_act(&mut self, issuer: Issuer, is_to_many: bool) {
        if self.shards > 1 {
            let number = self.asks.ways.send(self.id);
            let trail = self.asks.trail(issuer);
            trail.acted = number;
            if is_to_many {
                trail.selected = number;
            }
        }
    }

    /// Notes that somebody publishes, for what it asks of other shards.
    fn note_sent(&mut self, issuer: Issuer, channel: &ChannelName) {
        if self.shards > 1 {
            let way = self.hub.owner_of(channel);
            let (number, channel) = (self.asks.ways.send(way), Some(self.hub.channel_key(channel)));
            self.asks.trail(issuer).note_sent(Sent { way, number, channel });
        }
    }

    fn note_waiting(&mut self, issuer: Issuer, waiting: Option<Waiting>) {
        if let Some(waiting) = waiting {
            self.hold_back_if_too_much_waits(issuer);
            self.asks.trail(issuer).note_here(Asked::Publication(waiting));
        }
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
            trail.forget_here(&self.hub, &self.sockets);
            trail.forget(ways);
            !trail.is_over(self.id, ways)
        });
        trails.shrink_to(TRAILS_KEPT);
        // By the next time this will have come back.
        ways.want_all();
    }

    fn do_ask(&mut self, issuer: Issuer, ask: Ask) {
        match ask {
            Ask::Order(order) => self.obey(issuer, order),
            Ask::Intent(intent) => self.carry_out(intent),
            Ask::Send { connection, is_text, data } => self.send_bytes(connection, is_text, &data),
        }
    }
}
