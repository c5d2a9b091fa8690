//! From the ring's completions to the sessions.

use super::{connection::Flags, lines::Armed, turn::Shard};
use crate::{
    model::{CloseReason, ConnectionId},
    ring::{Errno, Lease, SendBytes},
    session::Session,
};

impl Shard {
    pub(super) fn handle_readable(
        &mut self,
        connection: ConnectionId,
        armed: bool,
        is_ended: bool,
        failed: Option<Errno>,
    ) {
        let Some(record) = self.lines.slab.get(connection) else { return };
        let is_closing = record.flags.has(Flags::CLOSING);
        if is_ended {
            record.flags.set(Flags::ENDING);
        }
        if !armed {
            record.flags.clear(Flags::ARMED);
            if is_closing {
                self.free_if_gone(connection.index);
                return;
            }
            match self.lines.arm_anew(connection, failed, self.now.monotonic_ms) {
                Armed::Now => {}
                Armed::Later => return,
                Armed::Never => return self.lose(connection.index),
            }
        }
        if is_closing {
            return;
        }
        // A poll that waits is not read, so its client's end would show only when it is answered. No client that polls
        // ends its own direction and waits on.
        let record = self.lines.slab.look(connection.index);
        if is_ended && record.is_parked() {
            return self.lose(connection.index);
        }
        self.lines.receive(connection.index);
    }

    pub(super) fn handle_received(
        &mut self,
        connection: ConnectionId,
        result: Result<Option<Lease>, Errno>,
        more: bool,
    ) {
        let index = connection.index;
        let flags = &mut self.lines.slab.at(index).flags;
        flags.clear(Flags::RECEIVING);
        let (is_live, is_sealed) = (flags.is_live(), flags.has(Flags::TLS));
        match result {
            Ok(Some(mut lease)) => {
                self.report.received_bytes_total += lease.len() as u64;
                self.intake.note_received(lease.len());
                let is_full = lease.len() == crate::limits::RECEIVE_BUFFER_BYTES as usize;
                if is_live && self.proxied.awaits_header(index) {
                    self.receive_proxy_header(index, &mut lease);
                } else if is_live && is_sealed {
                    self.receive_sealed(index, &mut lease);
                } else if is_live {
                    self.feed(index, &mut lease);
                    self.note_partial_input(index);
                }
                self.lines.ring.give_back(lease);
                let flags = self.lines.slab.look(index).flags;
                if more || is_full || flags.has(Flags::READABLE) || flags.has(Flags::ENDING) {
                    self.lines.receive(index);
                }
            }
            Ok(None) if is_live => {
                if is_sealed {
                    self.hear_last_words(index);
                }
                if self.lines.slab.look(index).flags.is_live() {
                    self.handle_end(index);
                }
            }
            Err(errno) if is_live => self.handle_receive_error(index, errno),
            Ok(None) | Err(_) => {}
        }
        self.continue_hand_over(index);
        self.free_if_gone(index);
    }

    fn handle_receive_error(&mut self, index: u32, errno: Errno) {
        match errno.0 {
            libc::EAGAIN | libc::EINTR => {
                if self.lines.slab.look(index).flags.has(Flags::READABLE) {
                    self.lines.receive(index);
                }
            }
            libc::ENOBUFS | libc::ENOMEM => {
                self.lines.starve(index);
            }
            _ => self.lose(index),
        }
    }

    /// The peer has ended its sending direction.
    pub(super) fn handle_end(&mut self, index: u32) {
        self.lines.slab.at(index).flags.set(Flags::ENDED);
        // Of a body that is cut nobody waits for an answer.
        if self.is_uploading(index) {
            return self.lose(index);
        }
        let record = self.lines.slab.look(index);
        match &record.session {
            // A client may end its direction and still wait for its answer (RFC 9112 §9.6).
            Session::Http(http) if http.awaiting.is_some() || record.flags.is_paused() => {}
            Session::Http(_) => {
                if record.flags.has(Flags::FINISHING) || self.lines.is_silent(index) {
                    self.go_with_peer(index);
                } else {
                    self.end_session(index, CloseReason::Normal);
                    self.lines.finish(index);
                }
            }
            // Its new owner finds the end where it found it.
            Session::Leaving(_) => {}
            // The end comes behind what it has sent and nobody has heard.
            Session::WebSocket(_) if record.flags.has(Flags::KEPT) => {}
            // What has been said is still on its way; once it has left, so does the connection.
            Session::Lingering if !self.lines.is_silent(index) => {}
            _ => self.go_with_peer(index),
        }
    }

    /// The connection is gone or useless: ends its session and closes it without a word.
    pub(super) fn lose(&mut self, index: u32) {
        self.end_session(index, CloseReason::ClientGone);
        self.lines.abort(index);
        self.free_if_gone(index);
    }

    pub(super) fn handle_sent(&mut self, index: u32, result: Result<u32, Errno>, bytes: SendBytes) {
        match result {
            Ok(sent) => {
                self.report.sent_bytes_total += u64::from(sent);
                if self.lines.handle_sent(index, bytes) {
                    self.read_on(index, Flags::PAUSED_FULL);
                }
                let record = self.lines.slab.look(index);
                if record.flags.has(Flags::CATCHING_UP) {
                    match record.flags.has(Flags::ENGINE) {
                        true => self.tell_missed(record.session.tag()),
                        false => self.catch_up(index),
                    }
                }
                self.after_sent(index);
                self.continue_hand_over(index);
            }
            Err(_) => {
                self.lines.handle_send_failed(index, bytes);
                if self.lines.slab.look(index).flags.is_live() {
                    self.lose(index);
                }
            }
        }
        self.free_if_gone(index);
    }

    /// Once everything is said and the peer has ended too, nothing is left to wait for.
    fn after_sent(&mut self, index: u32) {
        let flags = self.lines.slab.look(index).flags;
        if flags.has(Flags::SHUT) && flags.has(Flags::ENDED) && !flags.has(Flags::CLOSING) {
            self.lines.abort(index);
        }
    }

    /// Gives bytes to the connection's session.
    pub(super) fn feed(&mut self, index: u32, bytes: &mut [u8]) {
        if self.is_uploading(index) {
            return self.feed_upload(index, bytes);
        }
        let record = self.lines.slab.at(index);
        let is_paused = record.flags.is_paused();
        match record.session.lend() {
            // A receive was in flight when the request before began to wait: its bytes wait behind it.
            Session::Http(http) if http.awaiting.is_some() || is_paused => self.wait_with(index, http, bytes),
            Session::Http(http) => self.feed_http(index, http, bytes),
            Session::WebSocket(websocket) => self.feed_websocket(index, websocket, bytes),
            Session::LongPoll(mut poll) => {
                let kept = poll.http.decoder.stash(bytes, &self.limits).is_ok();
                self.lines.slab.at(index).session = Session::LongPoll(poll);
                if !kept {
                    self.lose(index);
                }
            }
            // A receive was in flight when it began to leave.
            Session::Leaving(mut leaving) => {
                leaving.bytes.extend_from_slice(bytes);
                self.lines.slab.at(index).session = Session::Leaving(leaving);
            }
            silent @ (Session::EventStream | Session::Lingering | Session::Lent(..)) => {
                self.lines.slab.at(index).session = silent;
            }
        }
    }

    /// Frees the slot of a connection that the kernel has let go of.
    pub(super) fn free_if_gone(&mut self, index: u32) {
        let record = self.lines.slab.at(index);
        if !record.flags.is_free() {
            return;
        }
        if record.flags.has(Flags::LET_IN) {
            self.room.leave();
        }
        self.forget_proxied(index);
        self.access_log.forget(index);
        let record = self.lines.slab.at(index);
        self.addresses.leave(record.address, !record.flags.has(Flags::ADMIN));
        if record.flags.has(Flags::DEFLATES) {
            self.lines.compression.forget(index);
        }
        if !self.messages.is_idle() {
            self.forget_held(index);
        }
        if self.lines.slab.look(index).flags.has(Flags::TLS) {
            self.forget_tls(index);
        }
        self.end_partial_input(index);
        self.wheel.clear(index);
        if self.lines.slab.look(index).flags.has(Flags::ADMIN) {
            self.acceptors.let_operator_out();
        }
        self.report.connections -= 1;
        self.report.sessions[0] -= 1;
        self.lines.slab.release(index);
    }
}
