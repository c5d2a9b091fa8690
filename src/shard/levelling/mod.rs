//! Live connections that go to a shard with less to do: which go, and when. How one is taken is [`taking`]'s, and who decides
//! that some are to go is the supervisor.
//!
//! ```text
//!   live ─pick─► asked ─(expected there)─► awaited ─(told enough, silent)─► exporting ─► exported ─► given
//!     ▲             └────────────────────────┴─── too long, refused ───┴────────┴───────────┤
//!     └──────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A WebSocket or an event stream goes between two messages, when nothing is to be sent to it, and all that it has asked has taken
//! effect everywhere: then nothing that it asks over there overtakes that. It is read no more from when its socket is exported;
//! what its client says meanwhile waits in that. What is published is told here up to the last moment, and over there from
//! that position on ([`crate::hub::Following`]).
//!
//! Invariant: until its [`HandOver`](crate::mesh::HandOver) is sent, a connection is this shard's, and stays if anything fails.

mod taking;

use std::{os::fd::OwnedFd, time::Instant};

use super::{
    calls::peer,
    connection::Flags,
    hand_over::Cargo,
    on_the_way::{Giving, Levelling, Step},
    turn::Shard,
};
use crate::{
    app::guard::guarded,
    limits::{LEVELLED_AT_ONCE, LEVELLED_CHANNELS_MAX, LEVELLING_LOOKED_AT, LEVELLING_WAIT_MS},
    mesh::{LeftToken, Levelled, Levelling as Said, Moves, ShardMessage, Subscription},
    model::{KeepAlive, Position, ShardId},
    session::Session,
};

/// Connections that may be looked at for each that is to go.
const LOOKS_PER_MOVE: u32 = 32;

impl Shard {
    /// Goes on with connections that go to other shards and come from there. Who has been told something in the turn before has
    /// got it by now, and is told nothing new yet.
    pub(super) fn continue_levelling(&mut self) {
        self.look_at_order();
        if self.levelling.is_idle() {
            return;
        }
        self.level(|shard| {
            shard.answer_givers();
            shard.seat_newcomers();
            shard.give_on();
            shard.pick();
        });
        // Before more is handed out.
        self.settle();
    }

    /// Does some of it, and notes how long that takes.
    pub(super) fn level<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let begun = Instant::now();
        let done = act(self);
        self.levelling.spent += begun.elapsed();
        self.report.levelling_us_total = self.levelling.spent.as_micros() as u64;
        done
    }

    fn look_at_order(&mut self) {
        let (order, moves) = self.pulse.moves();
        if order != self.levelling.order {
            self.levelling.order = order;
            self.begin_moves(moves);
        }
    }

    /// So many connections are to go, and what was said of that before counts no more.
    pub(super) fn begin_moves(&mut self, moves: Option<Moves>) {
        let may = self.drain.is_none()
            && self.lines.ring.abilities().exports
            && self.handler.is_levelled()
            && !self.is_told_of_visitors();
        self.levelling.moves = moves.filter(|moves| may && self.peers.has(moves.to));
        self.levelling.looks = moves.map_or(0, |moves| moves.count.saturating_mul(LOOKS_PER_MOVE));
    }

    /// Picks connections that go, one after the other.
    fn pick(&mut self) {
        for _ in 0..LEVELLING_LOOKED_AT {
            let Levelling { moves, looks, giving, cursor, .. } = &mut self.levelling;
            let Some(Moves { to, .. }) = *moves else { return };
            if giving.len() >= LEVELLED_AT_ONCE {
                return;
            }
            if *looks == 0 || self.lines.slab.len() == 0 {
                *moves = None;
                return;
            }
            *looks -= 1;
            *cursor = (*cursor + 1) % self.lines.slab.len();
            let index = *cursor;
            if self.may_go(index) && !self.lines.slab.look(index).flags.is_paused() {
                self.begin_to_give(index, to);
            }
        }
    }

    fn begin_to_give(&mut self, index: u32, to: ShardId) {
        let connection = self.lines.slab.id(index);
        if self.levelling.is_giving(connection) || !self.application_lets_go(index) {
            return;
        }
        let Some(subscriptions) = self.left_subscriptions(index) else { return };
        let levelling = &mut self.levelling;
        levelling.numbers = levelling.numbers.wrapping_add(1);
        let (number, since_ms) = (levelling.numbers, self.now.monotonic_ms);
        levelling.giving.push(Giving { connection, to, number, since_ms, step: Step::Asked });
        levelling.moves = match levelling.moves {
            Some(Moves { to, count }) if count > 1 => Some(Moves { to, count: count - 1 }),
            _ => None,
        };
        let channels = subscriptions.into_iter().map(|one| one.channel).collect();
        self.send_mesh(to, ShardMessage::Levelling(Said::Expect { number, channels }));
    }

    /// Another shard says something of a connection that goes.
    pub(super) fn hear_levelling(&mut self, from: ShardId, said: Said) {
        match said {
            Said::Expect { number, channels } => self.expect(from, number, &channels),
            Said::Withdrawn { number } => self.expect_no_more(from, number),
            Said::Expected { number, begins } => {
                if let Some(at) = self.levelling.given(from, number) {
                    self.levelling.giving[at].step = Step::Awaited(begins);
                }
            }
            Said::Refused { number } => {
                if let Some(at) = self.levelling.given(from, number) {
                    let giving = self.levelling.giving.swap_remove(at);
                    self.keep_here(&giving);
                }
            }
        }
    }

    /// Takes the next step with each that is to go.
    fn give_on(&mut self) {
        for mut giving in std::mem::take(&mut self.levelling.giving) {
            let (connection, index) = (giving.connection, giving.connection.index);
            let is_there = self.lines.slab.get_in_session(connection).is_some() && self.may_go(index);
            if !is_there || self.now.monotonic_ms - giving.since_ms > LEVELLING_WAIT_MS {
                self.keep_here(&giving);
                continue;
            }
            giving.step = match giving.step {
                Step::Awaited(begins) if self.is_ready_to_go(index, &begins) => {
                    self.lines.pause(index, Flags::PAUSED_AWAITING);
                    self.lines.export(index);
                    Step::Exporting(begins)
                }
                Step::Exported(begins, descriptor) if self.is_ready_to_go(index, &begins) => {
                    match self.pack(index, giving.number) {
                        Some(levelled) => self.give(index, giving.to, levelled, descriptor),
                        None => {
                            self.keep_here(&Giving { step: Step::Exported(begins, descriptor), ..giving })
                        }
                    }
                    continue;
                }
                step => step,
            };
            self.levelling.giving.push(giving);
        }
    }

    /// A connection that was to go has a descriptor, or gets none. Gives back what is another's.
    pub(super) fn take_exported(&mut self, index: u32, descriptor: Option<OwnedFd>) -> Option<OwnedFd> {
        let connection = self.lines.slab.id(index);
        let all = &mut self.levelling.giving;
        let is_it = |one: &Giving| one.connection == connection && matches!(one.step, Step::Exporting(_));
        let Some(at) = all.iter().position(is_it) else { return descriptor };
        let giving = all.swap_remove(at);
        match (giving.step, descriptor) {
            (Step::Exporting(begins), Some(descriptor)) => {
                let step = Step::Exported(begins, descriptor);
                self.levelling.giving.push(Giving { step, ..giving });
            }
            (step, _) => self.keep_here(&Giving { step, ..giving }),
        }
        None
    }

    /// A connection stays after all.
    fn keep_here(&mut self, giving: &Giving) {
        let Giving { connection, to, number, .. } = *giving;
        self.report.levelling_given_up_total += 1;
        self.send_mesh(to, ShardMessage::Levelling(Said::Withdrawn { number }));
        if giving.step.is_paused() && self.lines.slab.get_in_session(connection).is_some() {
            self.lines.slab.at(connection.index).flags.clear(Flags::PAUSED_AWAITING);
            self.lines.resume(connection.index);
        }
    }

    /// No connection goes any more, of those that could still stay.
    pub(super) fn stop_levelling(&mut self) {
        self.levelling.moves = None;
        for giving in std::mem::take(&mut self.levelling.giving) {
            self.keep_here(&giving);
        }
    }

    /// A shard has lost everything, and what it was asked: nothing comes from it or goes there. What is kept of its channels is
    /// not whole any more.
    pub(super) fn lose_levelling(&mut self, lost: ShardId) {
        let (gone, left) =
            std::mem::take(&mut self.levelling.giving).into_iter().partition(|one| one.to == lost);
        self.levelling.giving = left;
        let gone: Vec<Giving> = gone;
        gone.iter().for_each(|giving| self.keep_here(giving));
        self.expect_nobody();
    }

    /// Whether a connection is of those that may go, and neither it nor its client is in the middle of something.
    fn may_go(&self, index: u32) -> bool {
        let record = self.lines.slab.look(index);
        let flags = record.flags;
        let is_other = [Flags::ADMIN, Flags::ENGINE, Flags::STATEFUL, Flags::CATCHING_UP, Flags::UNNAMED];
        let (subscriptions, id) = (self.hub.subscription_count(index), self.lines.slab.id(index));
        let is_kind = match &record.session {
            Session::WebSocket(websocket) => {
                flags.has(Flags::KNOWN)
                    && !websocket.is_diagnostic
                    && (websocket.arrived_bytes(), websocket.held_bytes()) == (0, 0)
            }
            // What the application writes is its own.
            Session::EventStream => !flags.has(Flags::KNOWN) && self.severals.look(index).is_none(),
            _ => false,
        };
        // Exporting it is this shard's own doing.
        let mut rest = flags;
        rest.clear(Flags::EXPORTING);
        is_kind
            && rest.is_at_rest()
            && flags.has(Flags::SUBSCRIBED)
            && !is_other.into_iter().any(|flag| flags.has(flag))
            && (1..=LEVELLED_CHANNELS_MAX).contains(&subscriptions)
            && (!flags.has(Flags::TLS) || self.lines.secrets.may_go_on(index))
            && !self.gate.holders.is_late(index)
            && self.hub.entered_for_good(id).is_some_and(|entered| entered.is_empty())
            && !self.levelling.awaits(id)
    }

    /// Whether the application lets a connection go.
    fn application_lets_go(&self, index: u32) -> bool {
        let peer = peer(&self.lines, &self.addresses, &self.hub, &self.gate, index);
        let lets_go = || match self.lines.slab.look(index).session {
            Session::WebSocket(_) => self.handler.travels(&peer),
            _ => {
                let shown = self.shown_to(index);
                self.all_channels(index, |channel| self.handler.stream_travels(&peer, channel, shown))
            }
        };
        guarded("travels", lets_go).unwrap_or(false)
    }

    /// Whether a connection has been told up to these positions, with nothing on its way in either direction.
    fn is_ready_to_go(&mut self, index: u32, begins: &[Position]) -> bool {
        let connection = self.lines.slab.id(index);
        if !self.lines.is_silent(index) || self.lines.secrets.look(index).is_some_and(|one| one.owes_update())
        {
            return false;
        }
        let is_told = |(one, begins): (&Subscription, &Position)| {
            one.position.epoch == begins.epoch && one.position.offset >= begins.offset
        };
        let subscriptions = self.left_subscriptions(index);
        subscriptions.is_some_and(|all| all.len() == begins.len() && all.iter().zip(begins).all(is_told))
            && self.has_nothing_under_way(connection)
    }

    /// What a connection takes along, if the application lets it go as it is.
    fn pack(&mut self, index: u32, number: u32) -> Option<Levelled> {
        let due_ms = self.wheel.left_ms(index).map_or(0, |left_ms| left_ms.min(u32::MAX.into()) as u32);
        let subscriptions = self.left_subscriptions(index)?;
        let token = self.gate.holders.token(index).map(|(token, id_hash)| LeftToken { token, id_hash });
        let peer = peer(&self.lines, &self.addresses, &self.hub, &self.gate, index);
        let (is_stream, keep_alive, saved) = match &self.lines.slab.look(index).session {
            Session::WebSocket(websocket) => {
                let saved = guarded("save", || self.handler.save(&peer)).flatten()?;
                (false, websocket.keep_alive(due_ms), saved)
            }
            _ => (true, KeepAlive { due_ms, ..KeepAlive::default() }, Vec::new()),
        };
        Some(Levelled { from: self.id, number, is_stream, keep_alive, subscriptions, token, saved })
    }

    /// A connection goes. For its client, and whoever hears of clients, nothing has happened.
    fn give(&mut self, index: u32, to: ShardId, levelled: Levelled, descriptor: OwnedFd) {
        let connection = self.lines.slab.id(index);
        if self.lines.slab.look(index).flags.has(Flags::KNOWN) {
            self.call_about(index, "moved", |handler, _, peer| handler.moved(peer));
        }
        self.report.levelled_total += 1;
        self.gate.consults.forget(index);
        self.fanout.astray.end(index);
        let flags = &mut self.lines.slab.at(index).flags;
        flags.clear(Flags::KNOWN);
        flags.clear(Flags::SUBSCRIBED);
        self.depart(index, to, Cargo::of_levelled(levelled), descriptor);
        // Behind the connection: its channels are not left by everybody meanwhile.
        self.hub.leave_all(connection);
        self.free_if_gone(index);
    }
}
