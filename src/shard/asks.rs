//! One order for one issuer: what a client, a connection or a function of the application asks takes effect in the order
//! in which it was asked.
//!
//! A publication takes effect when it is handed out, at the end of the turn or some turns later. What changes who gets it,
//! or is told to one alone, takes effect at once. So whoever has published lets what it asks next wait until that has been
//! handed out: behind everything else of the turn, and without any cost to those who only publish.
//!
//! ```text
//!   asked        emit 1   leave   emit 2   ack              by one issuer, within one turn
//!                  │        └───────┴───────┴─► held
//!   end of turn  hand out 1 ─► leave, emit 2 ─► hand out 2 ─► ack
//! ```
//!
//! Invariant: of one issuer nothing that stands here is overtaken by anything it asks later. What others ask passes.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::{connection::Flags, turn::Shard};
use crate::{
    app::{Intent, socketio::Order},
    hub::Waiting,
    limits::ASKS_HELD_MAX,
    model::{ChannelName, ConnectionId, Issuer, Payload, StateKey, StateRequest, Ticket},
};

/// Issuers whose trails are kept from turn to turn before those that have been handed out are looked for.
const TRAILS_KEPT: usize = 4096;

/// What waits until something its issuer asked before has taken effect.
#[derive(Default)]
pub(super) struct Asks {
    /// What issuers have asked that may not have taken effect.
    trails: FxHashMap<Issuer, Trail>,
    /// In the order asked; at most [`ASKS_HELD_MAX`].
    held: VecDeque<(Issuer, Ask)>,
    /// How many of those each issuer has.
    holding: FxHashMap<Issuer, u32>,
}

/// What one issuer has asked.
type Trail = SmallVec<[Asked; 2]>;

/// Something asked that has not taken effect yet.
#[derive(Clone, Copy)]
enum Asked {
    /// A publication that waits to be handed out.
    Publication(Waiting),
    /// A command to many sockets, by its number.
    Selection(u64),
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

/// How something asked stands to what its issuer asked before.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// It has no order.
    Free,
    /// It comes behind what is held.
    Behind,
    /// A publication: on its own channel it is behind the others anyway.
    Publication(&'a ChannelName),
    /// It takes effect at once, so it waits for all before it.
    Act,
}

impl Asks {
    /// Whether nobody has asked anything that others of its wishes must wait for.
    fn is_idle(&self) -> bool {
        self.trails.is_empty() && self.held.is_empty()
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn note(&mut self, issuer: Issuer, asked: Asked) {
        let trail = self.trails.entry(issuer).or_default();
        match (trail.last_mut(), asked) {
            // A channel hands out in order: who waits for the later one has waited for the earlier.
            (Some(Asked::Publication(last)), Asked::Publication(next)) if next.is_behind(last) => {
                *last = next
            }
            _ => trail.push(asked),
        }
    }

    fn keep(&mut self, issuer: Issuer, ask: Ask) {
        *self.holding.entry(issuer).or_default() += 1;
        self.held.push_back((issuer, ask));
    }

    fn take(&mut self) -> VecDeque<(Issuer, Ask)> {
        self.holding.clear();
        std::mem::take(&mut self.held)
    }
}

impl Shard {
    /// Whether something asked has to wait for what its issuer asked before.
    pub(super) fn must_wait(&mut self, issuer: Issuer, kind: Kind<'_>) -> bool {
        if self.asks.is_idle() || matches!(kind, Kind::Free) {
            return false;
        }
        self.asks.holding.contains_key(&issuer) || self.is_ahead(issuer, kind)
    }

    /// Whether something has not taken effect that must before this.
    fn is_ahead(&mut self, issuer: Issuer, kind: Kind<'_>) -> bool {
        let Some(trail) = self.asks.trails.get_mut(&issuer) else { return false };
        let (hub, sockets) = (&self.hub, &self.sockets);
        trail.retain(|asked| match asked {
            Asked::Publication(waiting) => !hub.is_handed_out(waiting),
            Asked::Selection(number) => !sockets.has_selected(*number),
        });
        if trail.is_empty() {
            self.asks.trails.remove(&issuer);
            return false;
        }
        match kind {
            Kind::Free | Kind::Behind => false,
            Kind::Act => true,
            // A command to many sockets decides who is there to hear.
            Kind::Publication(channel) => {
                let is_elsewhere = |asked: &Asked| match asked {
                    Asked::Publication(waiting) => !hub.is_of(waiting, channel),
                    Asked::Selection(_) => false,
                };
                let is_selection = |asked: &Asked| matches!(asked, Asked::Selection(_));
                trail.iter().any(is_selection)
                    || (trail.iter().any(is_elsewhere) && hub.may_overtake(channel))
            }
        }
    }

    /// Holds something until what its issuer asked before has taken effect. With too much of it the oldest is done at
    /// once: order is lost then, and nothing else.
    pub(super) fn hold_ask(&mut self, issuer: Issuer, ask: Ask) {
        self.asks.keep(issuer, ask);
        if self.asks.held.len() > ASKS_HELD_MAX
            && let Some((oldest, ask)) = self.asks.held.pop_front()
        {
            if let Some(count) = self.asks.holding.get_mut(&oldest) {
                *count -= 1;
                if *count == 0 {
                    self.asks.holding.remove(&oldest);
                }
            }
            self.do_ask(oldest, ask);
        }
    }

    /// Does what has waited long enough; tells whether there was any.
    pub(super) fn release_asks(&mut self) -> bool {
        if self.hub.has_handed_out_all() && !self.sockets.is_commanding() {
            self.asks.trails.clear();
            self.asks.trails.shrink_to(TRAILS_KEPT);
        }
        if self.asks.is_empty() {
            return false;
        }
        let mut waiting = FxHashSet::default();
        let mut has_done = false;
        let was_running = std::mem::replace(&mut self.sockets.runs_orders, true);
        for (issuer, ask) in self.asks.take() {
            if waiting.contains(&issuer) || self.is_ahead(issuer, ask.kind()) {
                waiting.insert(issuer);
                self.asks.keep(issuer, ask);
            } else {
                self.do_ask(issuer, ask);
                has_done = true;
            }
        }
        self.sockets.runs_orders = was_running;
        self.run_orders();
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
        let waiting = self.hub.publish(self.now, channel, payload, ticket);
        if let Some(waiting) = waiting {
            self.asks.note(issuer, Asked::Publication(waiting));
        }
    }

    /// Changes a channel's state on somebody's behalf, which is a publication as well.
    pub(super) fn change_state(
        &mut self,
        issuer: Issuer,
        channel: ChannelName,
        request: Box<StateRequest>,
        ticket: Option<Ticket>,
    ) {
        let waiting = self.hub.change_state(self.now, channel, request, ticket);
        if let Some(waiting) = waiting {
            self.asks.note(issuer, Asked::Publication(waiting));
        }
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
        let waiting = self.hub.enter(self.now, ticket, channel, id, info);
        if let Some(waiting) = waiting {
            self.asks.note(issuer, Asked::Publication(waiting));
        }
    }

    /// Notes that somebody's command to many sockets goes on.
    pub(super) fn note_selection(&mut self, issuer: Issuer, number: u64) {
        self.asks.note(issuer, Asked::Selection(number));
    }

    fn do_ask(&mut self, issuer: Issuer, ask: Ask) {
        match ask {
            Ask::Order(order) => self.obey(issuer, order),
            Ask::Intent(intent) => self.carry_out(intent),
            Ask::Send { connection, is_text, data } => self.send_bytes(connection, is_text, &data),
        }
    }
}

impl Ask {
    fn kind(&self) -> Kind<'_> {
        match self {
            Self::Order(order) => order.kind(),
            Self::Intent(intent) => intent.kind().1,
            Self::Send { .. } => Kind::Behind,
        }
    }
}

impl Order {
    /// How it stands to what its issuer asked before.
    pub(super) fn kind(&self) -> Kind<'_> {
        match self {
            Self::Publish { channel, .. } | Self::ChangeState { channel, .. } => Kind::Publication(channel),
            Self::Emit { .. }
            | Self::Acknowledge { .. }
            | Self::Command { .. }
            | Self::Join { .. }
            | Self::Request(_) => Kind::Act,
            Self::Answer { .. }
            | Self::Send { .. }
            | Self::Close { .. }
            | Self::Respond { .. }
            | Self::CountRateLimited
            | Self::CountCommandRefused => Kind::Free,
        }
    }
}

impl Intent {
    /// Whose it is, and how it stands to what its issuer asked before.
    pub(super) fn kind(&self) -> (Issuer, Kind<'_>) {
        match self {
            Self::Publish { issuer, channel, .. } | Self::ChangeState { issuer, channel, .. } => {
                (*issuer, Kind::Publication(channel))
            }
            Self::Enter { issuer, channel, .. } => (*issuer, Kind::Publication(channel)),
            Self::Unsubscribe { issuer, .. } | Self::Close { issuer, .. } | Self::Depart { issuer, .. } => {
                (*issuer, Kind::Act)
            }
            Self::Send { connection, .. } => ((*connection).into(), Kind::Behind),
            Self::Subscribe { connection, .. } => ((*connection).into(), Kind::Behind),
            Self::Respond { .. }
            | Self::Authenticate { .. }
            | Self::Consult { .. }
            | Self::Revoke { .. }
            | Self::ReadHistory { .. }
            | Self::ReadState { .. }
            | Self::ReadPresence { .. }
            | Self::Ask { .. }
            | Self::Withdraw { .. }
            | Self::Timer { .. }
            | Self::Reload
            | Self::CountRateLimited
            | Self::CountCommandRefused => (Issuer::Shard, Kind::Free),
        }
    }
}
