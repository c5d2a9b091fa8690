//! Clients that come back to another process: what a shard that ends leaves of its sockets, and how that of the same number in
//! the next process goes on with them.
//!
//! A socket keeps its name, its secret and its rooms, and the log goes on with the next number: so a client shows what it would
//! have shown here. It is away there from the start, for as long as any client that was lost.
//!
//! ```text
//!   old: log up to 41, sockets in a, b ─► new: log up to 41 ─► 42, 43: what was published to a and b behind the shard's back
//!                                              sockets in a, b, which their owners deliver from the start
//! ```
//!
//! Whoever the application keeps something for that no other process can read comes back as a new client.
//!
//! Invariant: a shard follows the channels of its sockets before anybody is let in, so that nothing is published unheard.

use std::collections::HashSet;

use super::{
    Engines, Shard, Socket, State,
    travelling::{Arrivals, InRooms, Seated, Seating},
};
use crate::{
    hub::Hub,
    limits::LAST_ROUNDS_MAX,
    mesh::{Followed, LeftApplication, LeftSocket, LeftSockets, LegacySockets},
    model::{ChannelName, Transport},
    session::NONE,
    shard::gate::Gate,
};

impl Engines {
    /// The channels of a socket's namespace and rooms.
    pub(super) fn channels_of<'a>(
        &self,
        hub: &'a Hub,
        index: u32,
    ) -> impl Iterator<Item = &'a ChannelName> + use<'a> {
        hub.channels_of(self.id_of(index).subscriber().index)
    }

    fn left_socket(&self, hub: &Hub, index: u32) -> Option<LeftSocket> {
        let kept = self.io.leave_socket(self.id_of(index))?;
        self.left_as(hub, index, kept)
    }

    /// What is left of a socket of which the application keeps this.
    pub(super) fn left_as(&self, hub: &Hub, index: u32, kept: LeftApplication) -> Option<LeftSocket> {
        let socket = self.sockets.get(index).filter(|socket| socket.state != State::Joining)?;
        Some(LeftSocket {
            id: self.id_of(index),
            namespace: self.io.namespace_name(socket.namespace).as_ref().into(),
            secret: socket.secret,
            heard: socket.heard,
            absences: socket.absences.wrapping_add(u16::from(socket.state != State::Away)),
            channels: self.channels_of(hub, index).cloned().collect(),
            kept,
        })
    }

    /// A client may come back to its socket, unless it has been shut out or there is no such namespace any more.
    fn await_again(&mut self, gate: &Gate, seating: &mut Seating, left: LeftSocket) {
        let LeftSocket { id, namespace, secret, heard, absences, channels, kept } = left;
        if kept.token.as_ref().is_some_and(|token| gate.is_shut_out(token, self.now)) {
            return;
        }
        let Some(entered) = self.io.await_again(id, &namespace, kept) else { return };
        let socket = Socket::new(entered, NONE, NONE, secret, NONE);
        let socket = Socket { heard, absences, state: State::Away, ..socket };
        seating.sockets.push((id.index, id.generation, socket));
        seating.rooms.push(InRooms { id, absence: Some(absences), namespace, channels });
    }

    /// Puts all where they were.
    fn seat(&mut self, hub: &mut Hub, gate: &Gate, seating: Seating) {
        let Seating { sockets, sessions, rooms } = seating;
        let places: Vec<_> = sessions.iter().map(|(session, ..)| *session).collect();
        self.sockets.succeed(sockets);
        self.sessions.succeed(sessions);
        for InRooms { id, absence, namespace, channels } in rooms {
            for channel in &channels {
                hub.seat_again(id.subscriber(), Transport::SocketIo, channel);
                if channel.as_str() != &*namespace {
                    self.enter_room(hub, id, channel);
                }
            }
            if let Some(absence) = absence {
                self.await_return(id, absence);
            }
        }
        places.into_iter().for_each(|session| self.note_seated(gate, session));
    }
}

impl Shard {
    /// What is kept for clients that stay or may come back, for the process that goes on.
    pub(in crate::shard) fn leave_sockets(&mut self) -> Option<LeftSockets> {
        let keeps = self.keeps_sockets();
        if !keeps && !self.leaves_sessions() {
            return None;
        }
        for _ in 0..LAST_ROUNDS_MAX {
            self.hear_mesh();
            self.settle();
            self.hand_out();
            if !self.hub.has_more() {
                break;
            }
        }
        let all = self.engines.sockets.iter();
        let channels: HashSet<_> =
            all.flat_map(|(index, _)| self.engines.channels_of(&self.hub, index)).collect();
        let followed = channels.into_iter().map(|channel| (channel.clone(), self.hub.heard(channel)));
        let followed = followed.collect();
        let places = if keeps { 0..self.engines.sockets.places() } else { 0..0 };
        let sockets = places.filter_map(|index| self.engines.left_socket(&self.hub, index)).collect();
        Some(LeftSockets { shard: self.id, log: self.engines.log.leave(self.now), sockets, followed })
    }

    /// Goes on with the sockets that the shard of this number has left in another process: of those who stay, and of those who
    /// may come back.
    pub(in crate::shard) fn succeed_sockets(
        &mut self,
        left: Option<LegacySockets>,
        came: Arrivals,
    ) -> Seated {
        let mut seated = Seated::default();
        let Some(LegacySockets { log, sockets, followed }) = left else {
            // Nobody has said what they follow.
            seated.refused.extend(came.on_websockets.into_iter().map(|(index, _)| index));
            return seated;
        };
        for Followed { channel, position, .. } in &followed {
            self.hub.follow_again(self.now, channel, *position);
        }
        let heard = followed.iter().map(|one| (one.channel.clone(), !one.is_lost)).collect();
        let mut seating = Seating::default();
        for (index, session) in came.on_websockets {
            match self.engines.seat_session(&self.gate, &mut seating, Some(index), *session, &heard) {
                Some(session) => {
                    self.carry_session(index, session);
                    seated.sessions.push(session);
                }
                None => seated.refused.push(index),
            }
        }
        for session in came.polling {
            seated.sessions.extend(self.engines.seat_session(
                &self.gate,
                &mut seating,
                None,
                session,
                &heard,
            ));
        }
        if self.keeps_sockets() {
            self.engines.log.succeed(self.now, log);
            let lost = followed.iter().filter(|one| one.is_lost);
            lost.for_each(|one| self.engines.log.keep_loss(self.now, &one.channel));
            let seats = came.astray.into_iter().flat_map(|session| session.sockets);
            let others = seats.filter(|seat| seat.may_come_back).map(|seat| seat.socket);
            let others = others.filter(|one| one.channels.iter().all(|channel| heard.contains_key(channel)));
            sockets
                .into_iter()
                .chain(others)
                .for_each(|socket| self.engines.await_again(&self.gate, &mut seating, socket));
        }
        self.engines.seat(&mut self.hub, &self.gate, seating);
        for Followed { channel, missed, .. } in followed {
            if !missed.is_empty() {
                let subscribers = self.hub.subscribers(&channel, Transport::SocketIo).collect();
                self.engines.excluding.push((missed, subscribers));
            }
            self.hub.leave_unfollowed(&channel);
        }
        seated
    }

    /// Whether clients that were lost may come back, and nothing of theirs is with other nodes.
    fn keeps_sockets(&self) -> bool {
        self.engines.is_served && self.engines.log.is_on() && self.foundation.broker.is_none()
    }
}
