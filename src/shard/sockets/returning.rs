//! Clients that came back and are told what they missed, a piece whenever they have read the one before.
//!
//! What was missed is not copied: it stays in the log, and so does everything else that is sent to the socket until it has
//! caught up. Then it hears at once what is said, like any other.
//!
//! ```text
//!   come_back ─► Returning, told up to 41 ─► piece ─► queued ─(read)─► piece ─► … ─► nothing beyond: Connected
//!                                                     └ the log has let go of what comes next: it reads too slowly
//! ```
//!
//! What is no event of the log, an acknowledgement or an event that asks for one, waits until then (`Held`).
//!
//! Invariant: no more than one piece waits for a session, and a pong to a ping that was sent before its sockets had caught
//! up proves nothing of what they had not been told.

use rustc_hash::FxHashMap;

use super::{
    Engines, Shard, State, Surroundings, is_in,
    recovery::{Most, Whereabouts},
};
use crate::{
    hub::Hub,
    limits::{RECOVERY_EVENTS_PER_PIECE, RECOVERY_PIECE_BYTES},
    mesh::SocketCommand,
    model::{ChannelName, CloseReason, SocketId, Work},
    session::{NONE, Outlet},
    shard::{connection::Flags, waiters::Waiters},
    wire::json::Raw,
};

/// The sockets of a shard whose clients have come back.
#[derive(Default)]
pub(super) struct Returning {
    /// By session. One that has caught up stands here until its client has proven that.
    sessions: FxHashMap<u32, Client>,
    /// Sessions that may have room for the next piece, in a turn that may write more.
    ready: Waiters,
}

/// The sockets of one session.
#[derive(Default)]
struct Client {
    returns: Vec<Return>,
    /// Its place among those that are ready.
    place: Option<u64>,
}

struct Return {
    socket: SocketId,
    progress: Progress,
}

#[derive(Clone, Copy)]
enum Progress {
    /// Told everything up to this offset. The application may have put it out meanwhile, alone or with its session.
    Telling { told: u64, put_out: Option<bool> },
    /// Told everything up to this mark, and from then on all there was.
    Told { mark: u32 },
}

const MOST: Most = Most { events: RECOVERY_EVENTS_PER_PIECE, bytes: RECOVERY_PIECE_BYTES as usize };

impl Returning {
    /// A socket is to be told what was sent after an offset.
    pub(super) fn begin(&mut self, session: u32, socket: SocketId, told: u64) {
        let progress = Progress::Telling { told, put_out: None };
        self.sessions.entry(session).or_default().returns.push(Return { socket, progress });
    }

    /// A socket that has caught up, where the log was at a mark.
    pub(super) fn await_proof(&mut self, session: u32, socket: SocketId, mark: u32) {
        let progress = Progress::Told { mark };
        self.sessions.entry(session).or_default().returns.push(Return { socket, progress });
    }

    /// Where the log was when a socket caught up whose client has not proven that.
    pub(super) fn caught_up(&self, session: u32, socket: SocketId) -> Option<u32> {
        let returns = &self.sessions.get(&session)?.returns;
        returns.iter().find(|one| one.socket == socket).and_then(|one| match one.progress {
            Progress::Told { mark } => Some(mark),
            Progress::Telling { .. } => None,
        })
    }

    /// A socket has left its session.
    pub(super) fn forget(&mut self, session: u32, socket: SocketId) {
        if let Some(client) = self.sessions.get_mut(&session) {
            client.returns.retain(|one| one.socket != socket);
            if client.returns.is_empty() {
                self.ready.leave(client.place);
                self.sessions.remove(&session);
            }
        }
    }

    /// There may be room for more in a session's queue.
    pub(super) fn note_room(&mut self, session: u32) {
        if !self.sessions.is_empty()
            && self.next(session).is_some()
            && let Some(client) = self.sessions.get_mut(&session)
        {
            self.ready.enter(&mut client.place, session);
        }
    }

    /// The session whose turn it is.
    fn next_ready(&mut self) -> Option<u32> {
        let session = self.ready.next()?;
        if let Some(client) = self.sessions.get_mut(&session) {
            client.place = None;
        }
        Some(session)
    }

    /// A socket that has not caught up is put out when it has.
    pub(super) fn put_out_after(&mut self, session: u32, socket: SocketId, ends_session: bool) {
        if let Some(Progress::Telling { put_out, .. }) = self.progress(session, socket) {
            *put_out = Some(ends_session);
        }
    }

    /// Whether nobody has come back who has not proven that it has heard everything.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether there may be room for more somewhere.
    pub(super) fn has_more(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a pong to a ping that was sent when the log was at `mark` proves that a socket has heard everything before.
    pub(super) fn is_proof(&mut self, session: u32, socket: SocketId, mark: u32) -> bool {
        match self.progress(session, socket) {
            None => true,
            Some(Progress::Told { mark: caught_up }) if mark.wrapping_sub(*caught_up) as i32 >= 0 => {
                self.forget(session, socket);
                true
            }
            Some(Progress::Telling { .. } | Progress::Told { .. }) => false,
        }
    }

    /// The socket of a session that is told next, and up to where it has been.
    fn next(&self, session: u32) -> Option<(SocketId, u64)> {
        self.sessions.get(&session)?.returns.iter().find_map(|one| match one.progress {
            Progress::Telling { told, .. } => Some((one.socket, told)),
            Progress::Told { .. } => None,
        })
    }

    fn progress(&mut self, session: u32, socket: SocketId) -> Option<&mut Progress> {
        let client = self.sessions.get_mut(&session)?;
        client.returns.iter_mut().find(|one| one.socket == socket).map(|one| &mut one.progress)
    }
}

impl Engines {
    /// A session's client has shown that it heard everything up to a place of the log.
    pub(super) fn note_heard(&mut self, session: u32, mark: u32) {
        let mut next = self.sessions.get(session).map_or(NONE, |session| session.socket);
        loop {
            let id = self.id_of(next);
            let Some(socket) = self.sockets.get_mut(next) else { return };
            next = socket.next;
            // One that entered after the ping has heard more.
            if mark.wrapping_sub(socket.heard) as i32 > 0 && self.returning.is_proof(session, id, mark) {
                socket.heard = mark;
            }
        }
    }

    /// A socket whose client has come back is to be told what was sent after an offset.
    /// Keeps what is known of a client that comes back, for an application that wants to be told.
    pub(super) fn introduce_again(&self, hub: &Hub, session: u32, id: SocketId, auth: Option<Raw<'_>>) {
        if self.io.wants_introductions_again() {
            let extra = self.sessions.get(session).and_then(|record| record.extra.as_ref());
            let handshake = extra.and_then(|extra| extra.handshake.as_deref()).cloned();
            self.io.introduce_again(id, auth.map(Raw::as_str), handshake, self.rooms_of(hub, id.index));
        }
    }

    pub(super) fn begin_returning(&mut self, session: u32, id: SocketId, told: u64) {
        if let Some(socket) = self.sockets.get_mut(id.index) {
            socket.state = State::Returning;
        }
        self.held.entry(id.index).or_default();
        self.returning.begin(session, id, told);
    }
}

impl Shard {
    /// Goes on telling those who may have room, each once, until this turn has written enough, and one at least.
    pub(in crate::shard) fn continue_returning(&mut self) {
        let mut has_told = false;
        for _ in 0..self.engines.returning.ready.len() {
            if has_told && self.lines.outbox.has_made_enough() {
                return;
            }
            let Some(session) = self.engines.returning.next_ready() else { return };
            has_told |= self.tell_piece(session);
        }
    }

    /// Tells a session's client the next piece of what it missed, if there is room for it, in a turn that has not written
    /// enough.
    pub(in crate::shard) fn tell_missed(&mut self, session: u32) {
        match self.lines.outbox.has_made_enough() {
            true => self.engines.returning.note_room(session),
            false => _ = self.tell_piece(session),
        }
    }

    /// As [`Self::tell_missed`], whatever this turn has written; whether anything has been looked for.
    fn tell_piece(&mut self, session: u32) -> bool {
        let Some((id, told)) = self.engines.returning.next(session) else { return false };
        if let Some(Outlet::WebSocket(connection)) = self.engines.outlet(session) {
            self.lines.slab.at(connection).flags.set(Flags::CATCHING_UP);
        }
        if !self.has_room_for_piece(self.engines.waiting_for(&self.lines, session).1) {
            return false;
        }
        let is_in = |channel: &ChannelName| is_in(&self.hub, id, channel);
        let channels = self.hub.channels_of(id.subscriber().index);
        let Some(piece) = self.engines.log.piece(Whereabouts { socket: id, told, channels, is_in }, MOST)
        else {
            self.end_engine(session, CloseReason::SlowConsumer);
            return true;
        };
        self.work.count(Work::Events, piece.looked);
        let is_all = piece.told == self.engines.log.latest();
        if !matches!(self.engines.outlet(session), Some(Outlet::WebSocket(_))) {
            // It is written into the session's own queue.
            self.lines.outbox.note_made(piece.bytes);
        }
        let around = &mut Surroundings { lines: &mut self.lines, report: &mut self.report };
        self.engines.send_again(around, session, id.index, &piece.events);
        match self.engines.returning.progress(session, id) {
            // Its client was found too slow.
            None => {}
            Some(_) if is_all => self.end_returning(session, id),
            Some(progress) => {
                if let Progress::Telling { told, .. } = progress {
                    *told = piece.told;
                }
                self.engines.returning.note_room(session);
            }
        }
        true
    }

    /// A socket has caught up.
    fn end_returning(&mut self, session: u32, id: SocketId) {
        let caught_up = Progress::Told { mark: self.engines.log.mark() };
        let Some(progress) = self.engines.returning.progress(session, id) else { return };
        let before = std::mem::replace(progress, caught_up);
        if let Some(socket) = self.engines.sockets.get_mut(id.index) {
            socket.state = State::Connected;
        }
        match (self.engines.returning.next(session), self.engines.outlet(session)) {
            (Some(_), _) => self.engines.returning.note_room(session),
            (None, Some(Outlet::WebSocket(connection))) => self.end_catching_up(connection),
            (None, _) => {}
        }
        self.run_held(id.index);
        if let Progress::Telling { put_out: Some(ends_session), .. } = before {
            self.handle_socket_command(id, SocketCommand::Disconnect { ends_session });
        }
        self.run_orders();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    const SOCKET: SocketId = SocketId::local(ShardId(0), 1, 0);
    const OTHER: SocketId = SocketId { index: 2, ..SOCKET };

    fn catch_up(returning: &mut Returning, socket: SocketId, mark: u32) {
        *returning.progress(7, socket).expect("it is there") = Progress::Told { mark };
    }

    #[test]
    fn a_pong_proves_nothing_to_which_the_ping_was_sent_before_all_was_told() {
        let mut returning = Returning::default();
        assert!(returning.is_proof(7, SOCKET, 5), "one that has not been away");
        returning.begin(7, SOCKET, 3);
        assert!(!returning.is_proof(7, SOCKET, 5));
        catch_up(&mut returning, SOCKET, 9);
        assert!(!returning.is_proof(7, SOCKET, 8));
        assert!(returning.is_proof(7, SOCKET, 9) && returning.sessions.is_empty());
        returning.begin(7, SOCKET, 3);
        catch_up(&mut returning, SOCKET, u32::MAX);
        assert!(!returning.is_proof(7, SOCKET, u32::MAX - 1));
        assert!(returning.is_proof(7, SOCKET, 1), "marks begin again");
    }

    #[test]
    fn one_socket_of_a_session_is_told_after_the_other() {
        let mut returning = Returning::default();
        returning.begin(7, SOCKET, 3);
        returning.begin(7, OTHER, 4);
        assert_eq!(returning.next(7), Some((SOCKET, 3)));
        catch_up(&mut returning, SOCKET, 9);
        assert_eq!(returning.next(7), Some((OTHER, 4)));
        (0..3).for_each(|_| returning.note_room(7));
        assert_eq!((returning.next_ready(), returning.has_more()), (Some(7), false), "it stands there once");
        returning.note_room(7);
        returning.forget(7, OTHER);
        assert_eq!((returning.next(7), returning.sessions.len()), (None, 1));
        assert_eq!(returning.next_ready(), Some(7));
        returning.note_room(7);
        assert!(!returning.has_more(), "whoever has caught up needs no room");
        returning.forget(7, SOCKET);
        assert!(returning.sessions.is_empty());
        returning.begin(7, SOCKET, 3);
        returning.note_room(7);
        returning.forget(7, SOCKET);
        assert!(!returning.has_more(), "whoever has left waits for nothing");
    }
}
