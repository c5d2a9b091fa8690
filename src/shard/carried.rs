//! Connections that another process has begun: this shard goes on with them where that has stopped.
//!
//! ```text
//!   carriage: sockets ─► slots, records ─► the application, channels ─► all shards have theirs ─► go ─► watched, read, told
//! ```
//!
//! Until it is told to begin, nothing is read from them and nothing is sent: should it not come to that, whoever goes on in its
//! place finds them as they were. Those that cannot go on here are told to come back.

use std::{mem::take, ops::Range, os::fd::OwnedFd};

use super::{
    addresses::{AddressId, Entering},
    connection::{Flags, NO_QUEUE},
    sockets::{Arrivals, Seated},
    turn::Shard,
};
use crate::{
    app::Resumed,
    limits::{CARRIED_AT_ONCE, CARRIED_BEAT_MS_MIN},
    mesh::{Arrived, Carriage, Given, LeftConnection, LeftToken, LegacyConnections, Subscription},
    model::{ChannelName, CloseReason, ConnectionId, Positions, Shown, Transport},
    session::{Http, Kind, Session, WebSocket},
    tls::Record,
    wire::websocket::{self, Agreed},
};

/// What a shard has taken over and does not touch yet.
#[derive(Default)]
pub(super) struct Taken {
    /// The slots.
    places: Range<u32>,
    /// Those of them that are told to come back.
    refused: Vec<u32>,
    /// What some of them bring.
    brought: Vec<(u32, Brought)>,
    /// Sockets for which there is no slot, and what each is told.
    homeless: Vec<(OwnedFd, Vec<u8>)>,
    /// Those that were lost.
    lost: u32,
    /// How many are between two requests, of those that go on and of all others. Nobody counts these.
    requests: [u32; 2],
    /// How many had been told to come back before.
    told: u64,
    /// The channels that they follow.
    followed: Vec<ChannelName>,
    /// Sessions of Engine.IO that have not been looked at.
    arrivals: Arrivals,
    /// The places of those that go on.
    begun: Vec<u32>,
}

/// What a connection brings beside itself.
#[derive(Default)]
struct Brought {
    /// What it has been told and not been sent.
    unsent: Vec<u8>,
    /// What has arrived of a record of TLS.
    begun: Vec<u8>,
    /// What has arrived of messages.
    unread: Vec<u8>,
}

impl Brought {
    fn bytes(&self) -> usize {
        self.unsent.len() + self.begun.len() + self.unread.len()
    }
}

impl Taken {
    /// The sessions of Engine.IO that have come.
    pub(super) fn take_arrivals(&mut self) -> Arrivals {
        take(&mut self.arrivals)
    }

    /// What has become of them.
    pub(super) fn note_seated(&mut self, seated: Seated) {
        let Seated { sessions, refused } = seated;
        // Nobody hears what has arrived of those.
        let unheard = self.brought.iter_mut().filter(|(index, _)| refused.contains(index));
        unheard.for_each(|(_, one)| *one = Brought { unsent: take(&mut one.unsent), ..Brought::default() });
        self.refused.extend(refused);
        self.begun = sessions;
    }

    /// What there is to be told of it.
    pub(super) fn arrived(&self) -> Arrived {
        let refused = self.refused.len() as u32;
        let [going_on, others] = self.requests;
        let carried = self.places.len() as u32 - refused - going_on;
        let refused = refused + self.homeless.len() as u32 + self.lost - others;
        Arrived { carried, refused, told: self.told }
    }
}

impl Shard {
    /// Takes over the connections that a shard is left; their sockets come over the carriage.
    pub(super) fn succeed_connections(
        &mut self,
        left: LegacyConnections,
        carriage: Option<&Carriage>,
    ) -> Taken {
        let LegacyConnections { all: left, followed, told, polling } = left;
        for (channel, position) in &followed {
            self.hub.follow_again(self.now, channel, *position);
        }
        let (count, mut left) = (left.len() as u32, left.into_iter());
        let arrivals = Arrivals { polling, ..Arrivals::default() };
        let mut taken = Taken { told, arrivals, ..Taken::default() };
        taken.followed = followed.into_iter().map(|(channel, _)| channel).collect();
        let (mut at, mut at_once) = (0, CARRIED_AT_ONCE as u32);
        while let Some(carriage) = carriage.filter(|_| at < count) {
            match carriage.ask(at, at_once.min(count - at)) {
                Ok(sockets) if !sockets.is_empty() => {
                    at += sockets.len() as u32;
                    self.take_over_all(sockets, &mut left, &mut taken);
                }
                // Neither process has room for so many descriptors at once.
                Ok(_) if at_once > 1 => at_once /= 2,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(shard = self.id.0, "connections are lost on their way: {error}");
                    break;
                }
            }
        }
        taken.lost = count - at;
        for one in left {
            taken.requests[1] += u32::from(one.is_http);
            taken.arrivals.astray.extend(one.session.map(|one| *one));
        }
        taken
    }

    /// Follows no channel that nobody has come for, once sockets have been seated as well.
    pub(super) fn leave_unfollowed(&mut self, taken: &Taken) {
        taken.followed.iter().for_each(|channel| self.hub.leave_unfollowed(channel));
    }

    /// Takes over as many as there are sockets.
    fn take_over_all(
        &mut self,
        given: Vec<Given>,
        left: &mut impl Iterator<Item = LeftConnection>,
        taken: &mut Taken,
    ) {
        let (mut sockets, secrets): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        let mut secrets = secrets.into_iter();
        let (first, count) = self.lines.slab.reserve_all(sockets.len() as u32);
        let mut homeless = sockets.split_off(count as usize);
        let end = if self.lines.ring.adopt_all(first, &sockets).is_ok() { first + count } else { first };
        if end == first {
            (first..first + count).for_each(|index| self.lines.slab.release(index));
            // In their order, which is that of what is known of each.
            sockets.append(&mut homeless);
            homeless = sockets;
        }
        taken.places = if taken.places.is_empty() { first..end } else { taken.places.start..end };
        for ((index, mut one), secret) in (first..end).zip(left.by_ref()).zip(secrets.by_ref()) {
            let [unsent, begun, unread] = [&mut one.unsent, &mut one.begun, &mut one.unread].map(take);
            let is_http = one.is_http;
            let may_be_told = !one.is_sealed || self.lines.secrets.go_on(index, &secret);
            let goes_on = match one.session.take() {
                Some(session) => {
                    let may_go_on = self.open_again(index, &one) && may_be_told;
                    taken.arrivals.add(index, session, may_go_on);
                    may_go_on
                }
                // Nothing is known of it but its socket.
                None if is_http => self.open_again(index, &one) && may_be_told,
                None => self.take_over(index, one) && may_be_told,
            };
            if is_http {
                taken.requests[usize::from(!goes_on)] += 1;
            }
            let brought = match goes_on {
                true => Brought { unsent, begun, unread },
                false => Brought { unsent, ..Brought::default() },
            };
            if !goes_on {
                taken.refused.push(index);
            }
            if brought.bytes() > 0 {
                taken.brought.push((index, brought));
            }
        }
        // What is left of those has no place either.
        for ((socket, mut one), secret) in homeless.into_iter().zip(left.by_ref()).zip(secrets) {
            taken.requests[1] += u32::from(one.is_http);
            taken.arrivals.astray.extend(one.session.take().map(|one| *one));
            taken.homeless.push((socket, last_word(one, &secret)));
        }
    }

    /// Goes on with the connection in a slot; whether it can.
    fn take_over(&mut self, index: u32, left: LeftConnection) -> bool {
        let is_let_in = self.open_again(index, &left);
        let LeftConnection { is_stream, poll, keep_alive, subscriptions, place, entered, saved, .. } = left;
        let is_several = place.is_some() || poll.as_ref().is_some_and(|poll| poll.is_several);
        let is_websocket = !is_stream && poll.is_none();
        if let Some(poll) = poll {
            self.wait_on(index, poll, keep_alive.due_ms, &subscriptions);
        }
        let channels: Vec<_> = subscriptions.iter().map(|one| one.channel.clone()).collect();
        let present: Vec<_> = entered.iter().map(|one| one.channel.clone()).collect();
        let shown: Vec<_> = subscriptions.iter().map(|one| one.shown).collect();
        let resumed = Resumed { followed: &channels, shown: &shown, entered: &present, saved: &saved };
        let tag = self.call_about(index, "restore", |handler, cx, peer| match is_websocket {
            true => handler.restore(cx, peer, &resumed),
            false => {
                let mut each = channels.iter().zip(&shown);
                each.all(|(channel, shown)| handler.stream_travels(peer, channel, *shown)).then_some(0)
            }
        });
        let Some(tag) = tag.flatten().filter(|_| is_let_in) else { return false };
        let record = self.lines.slab.at(index);
        if let Session::WebSocket(websocket) = &mut record.session {
            websocket.tag = tag;
            record.flags.set(Flags::KNOWN);
        }
        if !subscriptions.is_empty() || !entered.is_empty() {
            record.flags.set(Flags::SUBSCRIBED);
        }
        if let Some(shown) = shown.into_iter().find(|shown| *shown != Shown::default()) {
            record.flags.set(Flags::STATEFUL);
            if is_stream {
                self.fanout.astray.begin(index, shown);
            }
        }
        if is_several {
            self.severals.go_on(index, &subscriptions);
        }
        if let Some(place) = place {
            self.lines.places.begin(index, Positions::read(&place).unwrap_or_default().into_iter());
        }
        let connection = self.lines.slab.id(index);
        subscriptions.iter().for_each(|one| self.follow_on(connection, one));
        entered.into_iter().for_each(|one| self.hub.enter_again(self.now, connection, one));
        true
    }

    /// Opens the connection in a slot, as what it was; whether there is room for it.
    fn open_again(&mut self, index: u32, left: &LeftConnection) -> bool {
        let LeftConnection { is_stream, is_http, poll, is_sealed, deflates, address, .. } = left;
        let LeftConnection { token, keep_alive, .. } = left;
        let kind = match poll {
            Some(_) => Kind::LongPoll,
            None if *is_stream => Kind::EventStream,
            None if *is_http => Kind::Http,
            None => Kind::WebSocket,
        };
        self.report.connections += 1;
        self.report.sessions[kind as usize] += 1;
        let id = self.addresses.enter(address.map(|address| address.ip()), Entering::Moved(None));
        let is_let_in = self.room.enter();
        let record = self.lines.slab.at(index);
        record.flags = Flags::default();
        record.flags.set(Flags::OPEN);
        if is_let_in {
            record.flags.set(Flags::LET_IN);
        }
        if *is_sealed {
            record.flags.set(Flags::TLS);
        }
        record.session = match kind {
            Kind::WebSocket => Session::WebSocket(WebSocket::resumed(*keep_alive)),
            Kind::Http => Session::Http(Http::default()),
            _ => Session::EventStream,
        };
        record.address = id.unwrap_or(AddressId::NONE);
        record.port = address.map_or(0, |address| address.port());
        (record.queue, record.send) = (NO_QUEUE, None);
        self.begin_compression(index, deflates.map(Agreed::from));
        if let Some(LeftToken { token, id_hash }) = token {
            self.gate.hold_again(index, token, *id_hash);
        }
        let due_ms = match kind {
            // It may have been used just now.
            Kind::Http => self.limits.keep_alive_timeout_ms.into(),
            _ => u64::from(keep_alive.due_ms).max(CARRIED_BEAT_MS_MIN),
        };
        self.wheel.set(index, self.now.monotonic_ms + due_ms);
        is_let_in
    }

    pub(super) fn follow_on(&mut self, connection: ConnectionId, one: &Subscription) {
        match (self.hub.follow_on(self.now, connection, one), one.transport) {
            (true, _) => {}
            (false, Transport::LongPoll) => self.severals.ask_again(connection.index, &one.channel),
            (false, _) => self.begin_to_catch_up(connection.index, one.channel.clone(), true),
        }
    }

    /// Begins to serve those that were taken over.
    pub(super) fn begin_with(&mut self, taken: Taken) {
        self.read_clock();
        let Arrived { carried, refused, told } = taken.arrived();
        self.report.carried_total += u64::from(carried);
        self.report.carried_refused_total += u64::from(refused);
        self.report.carried_told_total += told;
        for index in taken.places {
            self.lines.slab.at(index).flags.set(Flags::ARMED);
            self.lines.ring.poll(self.lines.slab.id(index));
            if self.lines.secrets.look(index).is_some_and(Record::owes_update) {
                self.lines.stir(index);
            }
        }
        let mut brought = taken.brought;
        for (index, one) in &mut brought {
            let unsent = take(&mut one.unsent);
            if !unsent.is_empty() {
                self.send_on(*index, unsent);
            }
        }
        // They are told what is next behind that, and heard behind what they have said before.
        self.begin_sessions(&taken.begun);
        for (index, Brought { begun, unread, .. }) in brought {
            self.keep_begun(index, begun);
            if !unread.is_empty() {
                self.read_again(index, unread);
            }
        }
        for index in taken.refused {
            self.end_poll(index);
            self.close(index, CloseReason::GoingAway);
        }
        taken.homeless.into_iter().for_each(|(socket, word)| tell_to_come_back(socket, &word));
    }
}

/// What a client is told for whom there is no slot, behind what it has been told: a stream or a poll that is cut comes back by
/// itself.
fn last_word(left: LeftConnection, secret: &[u8]) -> Vec<u8> {
    let (reason, mut word, mut unsent) = (CloseReason::GoingAway, Vec::new(), left.unsent);
    if !left.is_stream && !left.is_http && left.poll.is_none() {
        websocket::encode_close(&mut word, reason.websocket_code(), reason.sentence());
    }
    if !left.is_sealed {
        unsent.append(&mut word);
        return unsent;
    }
    let Some(mut record) = Record::import(secret) else { return Vec::new() };
    let mut sealed = unsent;
    let mut sealer = record.sealer(&mut sealed);
    sealer.add(&word);
    sealer.end();
    record.seal_farewell(&mut sealed);
    sealed
}

/// Tells a client for whom there is no slot. A socket that has nothing queued takes a word this short without waiting.
fn tell_to_come_back(socket: OwnedFd, word: &[u8]) {
    // One that takes nothing learns by the end.
    socket2::Socket::from(socket).send_with_flags(word, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL).ok();
}
