//! Connections that go on in another process: which they are, and how a shard comes to rest and lets go of them.
//!
//! ```text
//!   others told to come back ─► nobody is read ─► AtRest, in rounds ─► all has been handed out ─► records, sockets: stash
//!                                                   └── too long ──────────────────────────────────┘
//! ```
//!
//! What goes on is a WebSocket whose application says that it may, of Engine.IO as well, with no answer to come; what has arrived
//! of a message goes with it, and what has not been sent ([`super::unsent`]). Or an event stream, or a long poll that waits, or a
//! connection between two requests ([`super::carried_requests`]). Of one that speaks TLS the keys go beside its socket, and what has
//! arrived of a record. Everybody else is told to come back. A client notices nothing but that it hears nothing for a while: what it
//! sends meanwhile waits in its socket, which is never closed.
//!
//! A shard hears from every other that it is at rest, and is so itself, [`UPGRADE_ROUNDS`] times: what a message has caused on
//! another shard, and that on a third, has been handed out by then. What comes later shows in the positions: a connection
//! follows on from where it has been told, and the new process tells it what it missed.
//!
//! Invariant: once a connection is in the stash, nothing more is read from it here or sent to it, so that no record of TLS is
//! sealed or opened with keys that another process has.

use std::sync::mpsc::Sender;

use rustc_hash::FxHashMap;

use super::{calls::peer, connection::Flags, ending::Drain, turn::Shard};
use crate::{
    app::guard::guarded,
    limits::{CARRIED_AT_ONCE, UPGRADE_REST_MS, UPGRADE_ROUNDS, UPGRADE_SHAKE_MS},
    mesh::{Heir, LeftConnection, LeftConnections, LeftMembers, LeftToken, ShardMessage, Subscription},
    model::{ChannelName, CloseReason, KeepAlive, ShardId, Shown},
    ring::Stash,
    session::Session,
    tls::EXPORT_BYTES,
};

/// Who goes on with what a shard has, and how far the shard has come to rest.
#[derive(Default)]
pub(super) struct Carrying {
    /// Who is left what is kept here, if another process goes on with it.
    pub(super) heir: Option<Heir>,
    /// When it began to.
    since_ms: Option<u64>,
    /// How often it has said that it is.
    round: u8,
    /// Who was present when it began to.
    present: Vec<LeftMembers>,
    /// Connections that were on their way to another shard then.
    exporting: Vec<u32>,
    /// One that is to end here, when it was looked at last.
    waited_for: u32,
}

/// Connections whose sockets have been put aside.
struct Stashed {
    stash: Stash,
    /// Their places here, in rising order, and what is left of them, in the order of their sockets.
    indices: Vec<u32>,
    all: Vec<LeftConnection>,
}

impl Carrying {
    /// Whether the shard reads nobody any more.
    pub(super) fn has_begun(&self) -> bool {
        self.since_ms.is_some()
    }

    /// Who was present when the shard began to come to rest.
    pub(super) fn take_present(&mut self) -> Vec<LeftMembers> {
        std::mem::take(&mut self.present)
    }
}

impl Shard {
    /// Whether connections of this shard go on in another process.
    pub(super) fn carries(&self) -> bool {
        self.carrying.heir.as_ref().is_some_and(|heir| heir.stashes.is_some())
            && self.lines.ring.abilities().exports
    }

    /// Whether the socket of a connection may go on, and its keys if it speaks TLS.
    pub(super) fn line_travels(&self, index: u32) -> bool {
        let flags = self.lines.slab.look(index).flags;
        self.carries()
            && flags.is_live()
            && !flags.has(Flags::ADMIN)
            && !flags.has(Flags::FINISHING)
            && (!flags.has(Flags::TLS) || self.lines.secrets.may_go_on(index))
    }

    /// Whether a connection is of those that go on, once it is at rest.
    pub(super) fn may_be_carried(&self, index: u32) -> bool {
        if !self.line_travels(index) {
            return false;
        }
        let record = self.lines.slab.look(index);
        if record.flags.has(Flags::ENGINE) {
            return self.session_travels(index);
        }
        let id = self.lines.slab.id(index);
        let peer = peer(&self.lines, &self.addresses, &self.hub, &self.gate, index);
        let travels = |channel: &ChannelName, shown| {
            let travels = || self.handler.stream_travels(&peer, channel, shown);
            guarded("stream_travels", travels).unwrap_or(false)
        };
        match &record.session {
            Session::WebSocket(websocket) if !websocket.is_diagnostic => {
                self.hub.is_nobody_as_guest(id)
                    && guarded("travels", || self.handler.travels(&peer)).unwrap_or(false)
            }
            // What the application writes is its own.
            Session::EventStream if record.flags.has(Flags::KNOWN) => false,
            Session::EventStream => {
                let shown = self.shown_to(index);
                self.all_channels(index, |channel| travels(channel, shown))
            }
            Session::LongPoll(poll) => self.may_wait_elsewhere(index, poll, travels),
            Session::Http(http) => self.requests_travel(index) && self.is_between_requests(index, http),
            _ => false,
        }
    }

    /// Whether this holds for every channel that an event stream or a poll is about.
    pub(super) fn all_channels(&self, index: u32, holds: impl Fn(&ChannelName) -> bool) -> bool {
        match self.severals.look(index) {
            Some(several) => several.parts.iter().all(|part| holds(&part.channel)),
            None => self.hub.only_channel(index).is_some_and(holds),
        }
    }

    /// What an event stream is shown beside what is published.
    pub(super) fn shown_to(&self, index: u32) -> Shown {
        match self.lines.slab.look(index).flags.has(Flags::STATEFUL) {
            true => self.fanout.astray.shown(index),
            false => Shown::default(),
        }
    }

    /// Whether there is nobody to be told to come back in a slot, where connections go on.
    pub(super) fn is_passed_over(&self, index: u32) -> bool {
        let record = self.lines.slab.look(index);
        let is_nobody = !record.flags.is_live() || record.flags.has(Flags::ADMIN);
        // One that goes to another shard is that one's.
        let is_leaving = matches!(record.session, Session::Leaving(_));
        self.carries() && (is_nobody || is_leaving || self.is_shaking_hands(index) || self.stays(index))
    }

    /// Whether a connection goes on elsewhere, or will once it has been answered when the shard comes to rest.
    fn stays(&self, index: u32) -> bool {
        self.may_be_carried(index) || self.waits_for_rest(index)
    }

    /// Whether nobody is left who has to be told to come back. `cursor`: connections below it have been looked at.
    pub(super) fn has_told_all(&mut self, cursor: u32) -> bool {
        let carries = self.carries();
        if self.clients() == 0 || (carries && self.drain.as_ref().is_some_and(Drain::has_told_others)) {
            return true;
        }
        if !carries || cursor < self.lines.slab.len() {
            return false;
        }
        // Mostly it is the one that was waited for before.
        let from = self.carrying.waited_for.min(cursor);
        let waited_for = (from..cursor).chain(0..from).find(|index| self.is_waited_for(*index));
        self.carrying.waited_for = waited_for.unwrap_or(0);
        waited_for.is_none()
    }

    /// Whether there is a connection in a slot that is to end here, and has not.
    fn is_waited_for(&self, index: u32) -> bool {
        let flags = self.lines.slab.look(index).flags;
        let is_given_up = || {
            let lasts_ms = self.drain.as_ref().map_or(0, |drain| drain.lasts_ms(self.now.monotonic_ms));
            lasts_ms > UPGRADE_SHAKE_MS && self.is_shaking_hands(index)
        };
        flags.has(Flags::OPEN) && !flags.has(Flags::ADMIN) && !self.stays(index) && !is_given_up()
    }

    /// Goes on with emptying the shard; whether it has been, and may end.
    pub(super) fn has_been_emptied(&mut self) -> bool {
        (self.carrying.has_begun() || self.continue_drain()) && self.has_come_to_rest()
    }

    /// Comes to rest, if connections go on elsewhere; whether it has, or has waited long enough.
    fn has_come_to_rest(&mut self) -> bool {
        if !self.carries() {
            return true;
        }
        let Some(since_ms) = self.carrying.since_ms else {
            self.begin_to_rest();
            return false;
        };
        if self.now.monotonic_ms - since_ms > UPGRADE_REST_MS {
            tracing::warn!(shard = self.id.0, "something is under way still: what it is about comes back");
            return true;
        }
        while self.is_quiet() && self.peers.are_at_rest(self.carrying.round) {
            if self.carrying.round == UPGRADE_ROUNDS {
                return true;
            }
            self.carrying.round += 1;
            let round = self.carrying.round;
            self.peers.all().for_each(|to| self.send_mesh(to, ShardMessage::AtRest { round }));
        }
        false
    }

    /// Reads no client any more, and tells last of members and counters: their followers go on.
    fn begin_to_rest(&mut self) {
        self.carrying.since_ms = Some(self.now.monotonic_ms);
        for index in 0..self.lines.slab.len() {
            let flags = self.lines.slab.look(index).flags;
            if flags.is_live() && !flags.has(Flags::ADMIN) {
                self.lines.pause(index, Flags::PAUSED_AWAITING);
                self.stay_to_rest(index);
            }
            if flags.has(Flags::EXPORTING) {
                self.carrying.exporting.push(index);
            }
        }
        self.release_polls();
        self.carrying.present = self.hub.leave_members(self.now);
        self.hub.end_streams(self.now);
    }

    /// Whether nothing is under way here, as far as this shard knows.
    fn is_quiet(&self) -> bool {
        let is_exporting = |index: &u32| self.lines.slab.look(*index).flags.has(Flags::EXPORTING);
        self.hub.is_quiet()
            && self.levelling.is_quiet()
            && !self.has_more()
            && self.peers.are_quiet()
            && !self.carrying.exporting.iter().any(is_exporting)
    }

    /// Lets go of the connections that go on, and tells all others to come back.
    pub(super) fn leave_connections(
        &mut self,
        stashes: &Sender<(ShardId, Stash)>,
    ) -> Option<LeftConnections> {
        if !self.carrying.has_begun() {
            return None;
        }
        // What was handed out last.
        self.send_farewells();
        let answers = self.engines.answers_under_way(&self.lines);
        let mut stopped = self.stop_sending();
        let wanted: Vec<_> = (0..self.lines.slab.len())
            .filter_map(|index| Some((index, self.left_connection(index, &mut stopped)?)))
            .collect();
        let cut = wanted.iter().filter(|(_, one)| !one.unsent.is_empty()).map(|(index, _)| *index);
        let cut: Vec<_> = stopped.into_keys().chain(cut).collect();
        let stashed = self.stash(wanted);
        let carried = stashed.as_ref().map_or(&[][..], |stashed| &stashed.indices);
        cut.into_iter()
            .filter(|index| carried.binary_search(index).is_err())
            .for_each(|index| self.lose(index));
        self.send_away_but(carried);
        let told = self.report.closed_total[CloseReason::GoingAway.index()];
        let polling = self.left_polling(|session| {
            answers.get(&session).is_none_or(|index| carried.binary_search(index).is_ok())
        });
        let all = stashed.map(|Stashed { stash, all, .. }| {
            // Nobody takes it over any more: then it ends.
            stashes.send((self.id, stash)).ok();
            all
        });
        Some(LeftConnections { shard: self.id, told, all: all.unwrap_or_default(), polling })
    }

    /// What is left of a connection that goes on, if it is one and at rest.
    fn left_connection(
        &mut self,
        index: u32,
        stopped: &mut FxHashMap<u32, Vec<u8>>,
    ) -> Option<LeftConnection> {
        let (record, id) = (self.lines.slab.look(index), self.lines.slab.id(index));
        let is_told = self.lines.is_silent(index) || stopped.contains_key(&index);
        let is_at_rest = record.flags.is_at_rest() && !self.gate.holders.is_late(index);
        if !is_at_rest || !is_told || !self.catch_ups.is_only_behind(index) || !self.may_be_carried(index) {
            return None;
        }
        let session = match record.flags.has(Flags::ENGINE) {
            true => Some(Box::new(self.left_session(index)?)),
            false => None,
        };
        let due_ms = self.wheel.left_ms(index).map_or(0, |left_ms| left_ms.min(u32::MAX.into()) as u32);
        let subscriptions = self.left_subscriptions(index)?;
        let entered = self.hub.entered_for_good(id)?;
        let peer = peer(&self.lines, &self.addresses, &self.hub, &self.gate, index);
        let (keep_alive, saved) = match &record.session {
            Session::WebSocket(websocket) => {
                let save = || guarded("save", || self.handler.save(&peer)).flatten();
                let saved = if session.is_some() { Vec::new() } else { save()? };
                (websocket.keep_alive(due_ms), saved)
            }
            _ => (KeepAlive { due_ms, ..KeepAlive::default() }, Vec::new()),
        };
        let is_stream = matches!(record.session, Session::EventStream);
        let is_http = matches!(record.session, Session::Http(_));
        if is_http {
            // Each request says anew who sends it.
            self.forget_client(index);
            self.gate.release(index);
        }
        let record = self.lines.slab.look(index);
        let poll = self.left_poll(index);
        let token = self.gate.holders.token(index).map(|(token, id_hash)| LeftToken { token, id_hash });
        let address = record.peer_address(self.addresses.get(record.address));
        let is_sealed = record.flags.has(Flags::TLS);
        let deflates = record.flags.has(Flags::DEFLATES).then(|| self.lines.compression.deflates(index));
        let begun = self.lines.secrets.take_begun(index).unwrap_or_default();
        let mut unread = session.as_ref().map(|one| self.engines.packet_begun(one.index)).unwrap_or_default();
        match &mut self.lines.slab.at(index).session {
            Session::WebSocket(websocket) => unread.append(&mut websocket.take_unread()),
            Session::Http(http) => unread.append(&mut http.decoder.take_rest()),
            _ => {}
        }
        unread.append(&mut self.take_held(index));
        let unsent = self.lines.take_unsent(index, stopped.remove(&index).unwrap_or_default());
        // Where it is once it has been sent that.
        let place = self.lines.places.of(index).map(|place| place.text().into());
        Some(LeftConnection {
            is_stream,
            is_http,
            poll,
            is_sealed,
            deflates,
            address,
            token,
            keep_alive,
            subscriptions,
            place,
            entered,
            saved,
            unread,
            begun,
            unsent,
            session,
        })
    }

    /// What a connection follows; `None` while it is about to follow something.
    pub(super) fn left_subscriptions(&self, index: u32) -> Option<Vec<Subscription>> {
        let id = self.lines.slab.id(index);
        if self.levelling.awaits(id) {
            return None;
        }
        let mut all = self.hub.followed_by(id, |channel| self.catch_ups.told(index, channel))?;
        let is_stream = matches!(self.lines.slab.look(index).session, Session::EventStream);
        if is_stream {
            let shown = self.shown_to(index);
            all.iter_mut().for_each(|one| one.shown = shown);
        }
        if let Some(several) = self.severals.look(index) {
            let place_of =
                |channel: &ChannelName| several.parts.iter().position(|part| part.channel == *channel);
            all.sort_by_key(|one| place_of(&one.channel));
            return (several.unanswered == 0 && all.len() == several.parts.len()).then_some(all);
        }
        Some(all)
    }

    /// Puts the sockets of connections aside, as far as there is room: those between two requests last.
    fn stash(&mut self, wanted: Vec<(u32, LeftConnection)>) -> Option<Stashed> {
        if wanted.is_empty() {
            return None;
        }
        let sealed = wanted.iter().filter(|(_, one)| one.is_sealed).count();
        let stash = Stash::new(wanted.len() as u32, sealed * EXPORT_BYTES);
        let stash = stash.inspect_err(|error| {
            tracing::warn!(shard = self.id.0, "connections cannot be kept for another process: {error}");
        });
        let (indices, all) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        let mut stashed = Stashed { stash: stash.ok()?, indices, all };
        let (requests, clients): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, one)| one.is_http);
        let has_room = self.stash_in_parts(&mut stashed, clients);
        if has_room {
            self.stash_in_parts(&mut stashed, requests);
        }
        stashed.indices.sort_unstable();
        Some(stashed)
    }

    /// Puts these aside, in rising order of their places; whether there may be room for more.
    fn stash_in_parts(&mut self, stashed: &mut Stashed, wanted: Vec<(u32, LeftConnection)>) -> bool {
        let mut wanted = wanted.into_iter();
        loop {
            let some: Vec<_> = wanted.by_ref().take(CARRIED_AT_ONCE).collect();
            if some.is_empty() {
                return true;
            }
            if !self.stash_some(stashed, some) {
                return false;
            }
        }
    }

    /// Puts some of them aside; whether there may be room for more.
    fn stash_some(&mut self, stashed: &mut Stashed, some: Vec<(u32, LeftConnection)>) -> bool {
        let (indices, mut others): (Vec<_>, _) = (some.iter().map(|(index, _)| *index).collect(), Vec::new());
        let exported = self.lines.ring.export_all(&indices, &mut others);
        others.into_iter().for_each(|other| self.handle_completion(other));
        let Ok(mut exported) = exported else { return false };
        exported.sort_unstable_by_key(|(index, _)| *index);
        let mut made =
            exported.into_iter().filter_map(|(index, result)| Some((index, result.ok()?))).peekable();
        let (mut places, mut left, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
        for (index, one) in some {
            // It may have ended meanwhile.
            let is_live = self.lines.slab.look(index).flags.is_at_rest();
            if let Some((_, socket)) = made.next_if(|(of, _)| *of == index)
                && is_live
            {
                places.push(index);
                left.push(one);
                sockets.push(socket);
            }
        }
        let first = stashed.stash.end();
        if sockets.is_empty() || stashed.stash.put(&sockets).is_err() {
            return false;
        }
        for (place, index) in (first..).zip(&places) {
            if let Some(record) = self.lines.secrets.look(*index) {
                stashed.stash.put_secret(place, |out| record.export(out));
            }
        }
        stashed.indices.extend(places);
        stashed.all.extend(left);
        true
    }

    /// Tells the WebSockets, event streams and polls that are left to come back, but for those in these places, in rising order.
    fn send_away_but(&mut self, carried: &[u32]) {
        for index in 0..self.lines.slab.len() {
            let record = self.lines.slab.look(index);
            let is_told = record.flags.is_live()
                && !record.flags.has(Flags::ADMIN)
                && carried.binary_search(&index).is_err();
            match record.session {
                Session::WebSocket(_) if is_told && record.flags.has(Flags::ENGINE) => {
                    self.end_engine(record.session.tag(), CloseReason::GoingAway);
                }
                Session::WebSocket(_) | Session::EventStream if is_told => {
                    self.close(index, CloseReason::GoingAway);
                }
                Session::LongPoll(_) if is_told => self.answer_poll_empty(index),
                _ => {}
            }
        }
        self.send_farewells();
    }
}
