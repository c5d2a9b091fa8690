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

use super::{Shard, Socket, State};
use crate::{
    auth::Verified,
    limits::LAST_ROUNDS_MAX,
    mesh::{Followed, LeftSocket, LeftSockets, LegacySockets},
    model::Transport,
    session::NONE,
};

impl Shard {
    /// What is kept for clients that may come back, for the process that goes on.
    pub(in crate::shard) fn leave_sockets(&mut self) -> Option<LeftSockets> {
        if !self.keeps_sockets() {
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
        let places = 0..self.sockets.sockets.places();
        let sockets: Vec<_> = places.filter_map(|index| self.left_socket(index)).collect();
        let mut channels: Vec<_> = sockets.iter().flat_map(|socket| &socket.channels).collect();
        channels.sort_unstable();
        channels.dedup();
        let followed = channels.into_iter().map(|channel| (channel.clone(), self.hub.heard(channel)));
        let followed = followed.collect();
        Some(LeftSockets { shard: self.id, log: self.sockets.log.leave(self.now), sockets, followed })
    }

    /// Goes on with the sockets that the shard of this number has left in another process.
    pub(in crate::shard) fn succeed_sockets(&mut self, left: LegacySockets) {
        let LegacySockets { log, sockets, followed } = left;
        for Followed { channel, position, .. } in &followed {
            self.hub.follow_again(self.now, channel, *position);
        }
        if self.keeps_sockets() {
            self.sockets.log.succeed(self.now, log);
            for Followed { channel, missed, is_lost, .. } in &followed {
                if *is_lost {
                    self.sockets.log.keep_loss(self.now, channel);
                }
                for publication in missed.iter().filter(|one| !one.payload.is_volatile()) {
                    self.sockets.log.keep_publication(self.now, publication);
                }
            }
            self.sockets.log.end_fan_out();
            self.await_again(sockets);
        }
        for Followed { channel, .. } in &followed {
            self.hub.leave_unfollowed(channel);
        }
    }

    /// Whether clients that were lost may come back, and nothing of theirs is with other nodes.
    fn keeps_sockets(&self) -> bool {
        self.sockets.is_served && self.sockets.log.is_on() && self.foundation.broker.is_none()
    }

    fn left_socket(&self, index: u32) -> Option<LeftSocket> {
        let socket = self.sockets.sockets.get(index).filter(|socket| socket.state != State::Joining)?;
        let id = self.sockets.id_of(index);
        Some(LeftSocket {
            id,
            namespace: self.sockets.io.namespace_name(socket.namespace).as_ref().into(),
            secret: socket.secret,
            heard: socket.heard,
            absences: socket.absences.wrapping_add(u16::from(socket.state != State::Away)),
            channels: self.hub.channels_of(id.subscriber().index).cloned().collect(),
            kept: self.sockets.io.leave_socket(id)?,
        })
    }

    /// Clients may come back to their sockets, unless they have been shut out or there is no such namespace any more.
    fn await_again(&mut self, left: Vec<LeftSocket>) {
        let (mut sockets, mut rooms) = (Vec::new(), Vec::new());
        for LeftSocket { id, namespace, secret, heard, absences, channels, kept } in left {
            if kept.token.as_ref().is_some_and(|token| self.is_shut_out(token)) {
                continue;
            }
            let Some(entered) = self.sockets.io.await_again(id, &namespace, kept) else { continue };
            let socket = Socket::new(entered, NONE, NONE, secret, NONE);
            let socket = Socket { heard, absences, state: State::Away, ..socket };
            sockets.push((id.index, id.generation, socket));
            rooms.push((id, absences, namespace, channels));
        }
        self.sockets.sockets.succeed(sockets);
        for (id, absence, namespace, channels) in rooms {
            for channel in &channels {
                self.hub.seat_again(id.subscriber(), Transport::SocketIo, channel);
                if channel.as_str() != &*namespace {
                    self.enter_room(id, channel);
                }
            }
            self.sockets.await_return(self.now.monotonic_ms, id, absence);
        }
    }

    fn is_shut_out(&self, token: &Verified) -> bool {
        self.gate.check_revoked(token.clone(), self.now.unix_ms / 1000).is_err()
    }
}
