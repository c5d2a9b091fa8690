//! How sessions end, one by one and all together.

use super::{connection::Flags, outbox::Class, turn::Shard};
use crate::{
    limits::DRAIN_GRACE_MS,
    mesh::{Left, ShardMessage},
    model::CloseReason,
    session::{Kind, NONE, Session},
    wire::{http1::Phase, websocket},
};

/// A shard that is being emptied.
pub(super) struct Drain {
    started_ms: u64,
    /// Connections below this index have been told.
    cursor: u32,
    /// How many those were.
    told: u32,
    /// Connections to tell in all, when draining began.
    total: u32,
    /// Sessions below this place that poll have been ended.
    sessions_ended: u32,
    /// Connections without a request have been left open, for those sessions.
    has_left_open: bool,
    /// The other shards know that none is left.
    has_told: bool,
}

impl Drain {
    /// Whether the other shards know that none is left here who has to be told.
    pub(super) fn has_told_others(&self) -> bool {
        self.has_told
    }

    /// How long the shard has been emptied, in milliseconds.
    pub(super) fn lasts_ms(&self, now_ms: u64) -> u64 {
        now_ms - self.started_ms
    }

    /// The shard begins anew: there is nobody yet who has been told.
    pub(super) fn begin_anew(self) -> Self {
        Self { cursor: 0, sessions_ended: 0, ..self }
    }
}

impl Shard {
    /// Puts another session in place of the one a connection had.
    pub(super) fn set_session(&mut self, index: u32, session: Session) {
        self.end_partial_input(index);
        let record = self.lines.slab.at(index);
        self.report.sessions[record.session.kind() as usize] -= 1;
        self.report.sessions[session.kind() as usize] += 1;
        record.session = session;
    }

    /// Ends a session: its subscriptions go, the handler hears of it, the table counts it. Bytes already queued
    /// still leave. A session ends once; later calls do nothing.
    pub(super) fn end_session(&mut self, index: u32, reason: CloseReason) {
        let record = self.lines.slab.look(index);
        if record.session.has_ended() || !record.flags.has(Flags::OPEN) {
            return;
        }
        self.report.closed_total[reason.index()] += 1;
        let (flags, session) = (record.flags, record.session.tag());
        self.notify_of_departure(index, reason);
        self.log_end(index, reason);
        if flags.has(Flags::ENGINE) {
            self.lines.slab.at(index).flags.clear(Flags::ENGINE);
            self.lose_engine_connection(index, session, reason);
        }
        if flags.has(Flags::KNOWN) {
            self.lines.slab.at(index).flags.clear(Flags::KNOWN);
            self.call_about(index, "disconnect", |handler, cx, peer| handler.disconnect(cx, peer, reason));
        }
        self.gate.release(index);
        self.gate.consults.forget(index);
        if flags.has(Flags::SUBSCRIBED) {
            self.lines.slab.at(index).flags.clear(Flags::SUBSCRIBED);
            let connection = self.lines.slab.id(index);
            self.hub.leave_all(connection);
        }
        let connection = self.lines.slab.id(index);
        self.hub.forget_reads(connection);
        // It may follow none of its channels.
        self.severals.remove(index);
        self.fanout.astray.end(index);
        if flags.has(Flags::CATCHING_UP) {
            self.end_catching_up(index);
        }
        self.tell_room(index, false);
        self.forget_upload(index);
        self.set_session(index, Session::Lingering);
        if flags.has(Flags::KNOWN) {
            self.run_intents();
        }
    }

    /// Ends a session from this side, telling the client in its protocol's words.
    pub(super) fn close(&mut self, index: u32, reason: CloseReason) {
        match &self.lines.slab.look(index).session {
            Session::WebSocket(_) | Session::Lent(Kind::WebSocket, _) => {
                let (code, sentence) = (reason.websocket_code(), reason.sentence());
                self.lines.say(index, Class::Last, |out| websocket::encode_close(out, code, sentence));
            }
            Session::EventStream => self.write_retry(index, Class::Last),
            Session::LongPoll(_) => return self.refuse_poll(index, reason),
            Session::Http(_) | Session::Leaving(_) | Session::Lingering | Session::Lent(..) => {}
        }
        self.end_session(index, reason);
        self.finish(index);
    }

    /// Begins to empty the shard: nothing new is accepted, and every client is told to go within `drain_ms`. Operators
    /// are served until the shard ends.
    pub(super) fn begin_drain(&mut self) {
        if self.drain.is_some() {
            return;
        }
        self.stop_levelling();
        self.end_accepts();
        self.notify_of_drain();
        let (started_ms, total) = (self.now.monotonic_ms, self.clients());
        self.drain = Some(Drain {
            started_ms,
            cursor: 0,
            told: 0,
            total,
            sessions_ended: 0,
            has_left_open: false,
            has_told: false,
        });
    }

    /// Tells the next clients, in pace; tells whether the shard is empty or has waited long enough.
    pub(super) fn continue_drain(&mut self) -> bool {
        let Some(drain) = &self.drain else { return false };
        let elapsed = drain.lasts_ms(self.now.monotonic_ms);
        let pace = u64::from(self.drain_ms).max(1);
        let due = match elapsed >= pace {
            true => u32::MAX,
            false => (u64::from(drain.total) * elapsed / pace) as u32,
        };
        let (mut cursor, mut told, mut sessions_ended) = (drain.cursor, drain.told, drain.sessions_ended);
        let places = u64::from(self.engines.session_places());
        let sessions_due = (places * elapsed.min(pace)).div_ceil(pace) as u32;
        while sessions_ended < sessions_due {
            self.end_polling(sessions_ended);
            sessions_ended += 1;
        }
        let leaves_open = elapsed < pace && self.engines.has_idle_polls();
        while cursor < self.lines.slab.len() {
            if !self.is_passed_over(cursor) {
                if told >= due {
                    break;
                }
                told += u32::from(self.send_away(cursor, leaves_open));
            }
            cursor += 1;
        }
        if let Some(drain) = &mut self.drain {
            (drain.cursor, drain.told, drain.sessions_ended) = (cursor, told, sessions_ended);
            if !leaves_open && std::mem::take(&mut drain.has_left_open) {
                (0..cursor).for_each(|index| self.close_if_idle(index));
            }
        }
        if elapsed > pace + DRAIN_GRACE_MS {
            return true;
        }
        self.acceptors.have_ended() && self.has_told_all(cursor) && self.others_are_empty()
    }

    /// Leaves what the shard keeps to the process that goes on with it, if one does.
    pub(super) fn leave_to_heir(&mut self) {
        if let Some(heir) = self.carrying.heir.clone() {
            // What is told of members and counters at the end is in the streams, and in what sockets come back to.
            let mut present = self.carrying.take_present();
            present.extend(self.hub.leave_members(self.now));
            self.hub.end_streams(self.now);
            let mut sockets = self.leave_sockets();
            let connections = heir.stashes.and_then(|stashes| self.leave_connections(&stashes));
            if let (Some(sockets), Some(connections)) = (&mut sockets, &connections) {
                sockets.leave_out(connections);
            }
            let (sockets, connections) = (sockets.into_iter().collect(), connections.into_iter().collect());
            let streams = self.hub.leave_streams(self.now);
            let left = Left { streams, present, sockets, revoked: self.gate.leave_revoked(), connections };
            // Nobody is there any more to take it over: then it ends.
            heir.left.send(left).ok();
            self.carrying.heir = None;
        }
    }

    /// Tells the other shards that no client is left here; whether none is left there either. Until then they may
    /// need the channels this shard owns. One that does no turns is not waited for.
    fn others_are_empty(&mut self) -> bool {
        let has_told = self.drain.as_mut().is_some_and(|drain| std::mem::replace(&mut drain.has_told, true));
        if !has_told {
            for to in self.peers.all() {
                self.send_mesh(to, ShardMessage::Drained);
            }
        }
        self.peers.are_drained()
    }

    /// Closes a connection that was left open and has no request.
    fn close_if_idle(&mut self, index: u32) {
        let record = self.lines.slab.look(index);
        let is_idle = matches!(&record.session, Session::Http(http)
            if http.awaiting.is_none() && http.decoder.phase() == Phase::Idle);
        if is_idle && record.flags.is_live() && !record.flags.has(Flags::ADMIN) {
            self.close(index, CloseReason::GoingAway);
        }
    }

    /// Tells one client to go, unless it will be told with its answer; tells whether there was one. With `leaves_open` one
    /// without a request may be about to send that of a session that polls.
    fn send_away(&mut self, index: u32, leaves_open: bool) -> bool {
        let record = self.lines.slab.at(index);
        if !record.flags.is_live() || record.flags.has(Flags::ADMIN) {
            return false;
        }
        if record.flags.has(Flags::ENGINE) {
            let session = record.session.tag();
            // What waits for another node is answered by that.
            if session != NONE {
                self.send_session_away(session);
            }
            return true;
        }
        match &mut record.session {
            // Nobody knows when it ends, and its client comes back.
            Session::Http(_) if record.flags.has(Flags::STREAMED) => self.end_bit_by_bit(index, false),
            // Requests under way are answered, with `Connection: close`.
            Session::Http(http) if http.awaiting.is_some() || http.decoder.phase() != Phase::Idle => {}
            Session::Http(_) if leaves_open => {
                if let Some(drain) = &mut self.drain {
                    drain.has_left_open = true;
                }
            }
            // Its channel's owner has yet to say where it stands; then it is answered at once.
            Session::LongPoll(poll) if poll.position.is_none() => poll.timeout_ms = 0,
            Session::LongPoll(_) => self.answer_poll_empty(index),
            Session::Leaving(_) => self.send_leaving_away(index),
            _ => self.close(index, CloseReason::GoingAway),
        }
        true
    }
}
