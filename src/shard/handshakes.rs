//! Shaking hands: who may, when, and for how long.
//!
//! The answer to a hello is a signature and a key exchange, 0.1 to 0.8 ms of a core. A client's second flight and its first
//! request, what it came for, take a third of that, and clients that come back together say each of them together. So some
//! time of each turn of the shard is theirs, and what remains is everybody else's: while it lasts a second flight or a first
//! request is heard at once, and beyond it they wait for their turn, before hellos. How many may be answered and not done is
//! [`super::shaking`]'s. When very many wait, nobody is accepted on a listener of theirs: the kernel's queue is the buffer,
//! and behind it the patience of the clients' kernels, which try again.
//!
//! ```text
//!   first bytes ─┬─ HTTP ──────► a sentence, without TLS
//!                └─ hello ─► waits ─► answered ─► second flight ─► waits ─► Record ─► first request ─► waits ─► connected
//!                              └──────────────── HANDSHAKE_US_PER_TURN ─────┴───────────────────────────┘
//!   too slow, owing while others wait, refused, gone ─► counted, ended
//! ```

use std::time::Instant;

use super::{connection::Flags, partial::Holder, shaking::Shaking, turn::Shard};
use crate::{
    limits::{FLIGHT_WAITING_BYTES_MAX, WAIT_US_BOUNDS},
    model::{CloseReason, ConnectionId, HandshakeResult, Work},
    tls::{Established, Failure, Step, speaks_http},
    wire::http1::Response,
};

impl Shard {
    /// Takes bytes of a connection that has not shaken hands.
    pub(super) fn shake_hands(&mut self, index: u32, bytes: &[u8]) {
        if !self.lines.secrets.is_shaking(index) {
            // Its handshake has failed; what it still sends is of no use.
            return;
        }
        if self.lines.secrets.shaking.get(index).is_none() {
            if speaks_http(bytes) {
                return self.answer_without_tls(index);
            }
            if !self.lines.secrets.begin(index, self.now.monotonic_ms) {
                return self.end_handshake(index, HandshakeResult::Failed);
            }
        }
        let id = self.lines.slab.id(index);
        let Some(shaking) = self.lines.secrets.shaking.get(index) else { return };
        if let Err(failure) = shaking.handshake.handle_bytes(bytes) {
            return self.fail_handshake(index, &failure, Vec::new());
        }
        let handshake = &shaking.handshake;
        let (has_work, has_answered) = (handshake.has_work(), handshake.has_answered());
        let input_len = handshake.input_len();
        // The handshake has its own deadline; its bytes count as other input that has begun.
        self.partial.note(Holder::Record(index), input_len, self.now.monotonic_ms);
        let shaking = &mut self.lines.secrets.shaking;
        match has_answered && (shaking.may_go_on() || input_len > FLIGHT_WAITING_BYTES_MAX) {
            _ if !has_work => {}
            true => self.step_handshake(index),
            // Its time stands still while it waits for us.
            false => shaking.await_turn(id, || self.wheel.stop(index)),
        }
    }

    /// Takes the first bytes of a connection that has shaken hands: they are part of its coming.
    pub(super) fn hear_first(&mut self, index: u32, bytes: &mut [u8]) {
        let (id, waiting) = (self.lines.slab.id(index), self.lines.secrets.begun_len(index));
        let shaking = &mut self.lines.secrets.shaking;
        if waiting == 0 && shaking.may_go_on() {
            return self.hear_in_time(index, bytes);
        }
        if waiting == 0 {
            shaking.await_first(id);
        }
        let mut kept = self.lines.secrets.take_begun(index).unwrap_or_default();
        kept.extend_from_slice(bytes);
        let is_much = kept.len() > FLIGHT_WAITING_BYTES_MAX;
        self.keep_begun(index, kept);
        if is_much {
            self.go_on_coming(index);
        }
    }

    /// A client sends nothing more: what it has said is heard before its end is.
    pub(super) fn hear_last_words(&mut self, index: u32) {
        let secrets = &mut self.lines.secrets;
        let is_flight_waiting = secrets.shaking.get(index).is_some_and(|shaking| shaking.is_flight_waiting());
        if is_flight_waiting || secrets.record(index).is_some_and(|record| !record.has_been_heard()) {
            self.go_on_coming(index);
        }
    }

    /// Goes on with a connection that is coming, as far as what has arrived allows.
    fn go_on_coming(&mut self, index: u32) {
        match self.lines.secrets.record(index) {
            None => self.step_handshake(index),
            Some(record) if record.has_been_heard() => {}
            Some(_) => {
                let Some(mut kept) = self.lines.secrets.take_begun(index) else { return };
                self.partial.end(Holder::Record(index));
                self.hear_in_time(index, &mut kept);
            }
        }
    }

    /// Hears the first records of a connection, which takes some of the time that those who come have.
    fn hear_in_time(&mut self, index: u32, bytes: &mut [u8]) {
        let began = Instant::now();
        self.receive_records(index, bytes);
        self.lines.secrets.shaking.spend(began);
    }

    /// Goes on with those who wait for as long as they may take in one turn, and as far as there is room for them.
    pub(super) fn continue_handshakes(&mut self) {
        if !self.lines.secrets.shaking.has_waiting() {
            return;
        }
        loop {
            while self.lines.secrets.shaking.has_time()
                && let Some(id) = self.lines.secrets.shaking.next()
            {
                if self.is_worth_answering(id) {
                    self.go_on_coming(id.index);
                    // What it leads to would otherwise begin at the end of a receive, which may be over.
                    self.continue_hand_over(id.index);
                    self.free_if_gone(id.index);
                }
            }
            let Some(index) = self.lines.secrets.shaking.stalled(self.now.monotonic_ms) else { return };
            self.end_handshake(index, HandshakeResult::GivenUp);
        }
    }

    /// Whether a client that has waited is still there.
    fn is_worth_answering(&mut self, id: ConnectionId) -> bool {
        let Some(record) = self.lines.slab.get(id).filter(|record| record.flags.is_live()) else {
            return false;
        };
        let is_ending = record.flags.has(Flags::ENDING);
        // Behind its second flight a client may have said what it came for.
        let is_hello = |shaking: &mut Shaking| !shaking.handshake.has_answered();
        if is_ending && self.lines.secrets.shaking.get(id.index).is_some_and(is_hello) {
            self.end_handshake(id.index, HandshakeResult::Gone);
            return false;
        }
        true
    }

    /// Goes on with a handshake as far as what has arrived allows, and with what came behind it.
    fn step_handshake(&mut self, index: u32) {
        let began = Instant::now();
        self.advance_handshake(index, began);
        self.lines.secrets.shaking.spend(began);
    }

    fn advance_handshake(&mut self, index: u32, began: Instant) {
        let Some(mut shaking) = self.lines.secrets.shaking.take(index) else { return };
        if shaking.has_waited() {
            self.wheel.set(index, self.now.monotonic_ms + shaking.left_ms);
        }
        let mut said = Vec::new();
        let step = shaking.handshake.advance(&mut said);
        self.report.tls_handshake_us_total += began.elapsed().as_micros() as u64;
        self.work.count(Work::Handshakes, 1);
        match step {
            Step::NeedMore(handshake) => {
                self.partial.note(Holder::Record(index), handshake.input_len(), self.now.monotonic_ms);
                shaking.handshake = handshake;
                self.lines.secrets.shaking.put_back(index, shaking, self.now.monotonic_ms);
                self.say_in_handshake(index, said);
            }
            Step::Done(mut established) => {
                let waited_ms = self.now.monotonic_ms.saturating_sub(shaking.arrived_ms);
                self.report.tls_handshake_wait_us.note(&WAIT_US_BOUNDS, waited_ms * 1000);
                self.say_in_handshake(index, said);
                self.establish(index, &mut established);
            }
            Step::Failed(failure) => self.fail_handshake(index, &failure, said),
        }
    }

    fn establish(&mut self, index: u32, established: &mut Established) {
        let Established { record, rest, is_resumed } = established;
        let result = if *is_resumed { HandshakeResult::Resumed } else { HandshakeResult::Full };
        self.report.tls_handshakes_total[result as usize] += 1;
        self.partial.end(Holder::Record(index));
        self.lines.secrets.establish(index, record);
        // It may be one that is only told why it cannot stay.
        if !self.lines.slab.look(index).flags.has(Flags::FINISHING) {
            self.wheel.set(index, self.now.monotonic_ms + u64::from(self.limits.head_timeout_ms));
        }
        self.lines.stir(index);
        if !rest.is_empty() {
            self.receive_records(index, rest);
        }
    }

    fn say_in_handshake(&mut self, index: u32, said: Vec<u8>) {
        if !said.is_empty() {
            self.lines.secrets.say(index, said);
            self.lines.stir(index);
        }
    }

    fn fail_handshake(&mut self, index: u32, failure: &Failure, mut said: Vec<u8>) {
        let result = match failure {
            Failure::Refused(_) | Failure::TooMuch => HandshakeResult::Refused,
            Failure::PeerFailed(_) => HandshakeResult::Rejected,
            Failure::Closed => HandshakeResult::Gone,
            Failure::Internal => HandshakeResult::Failed,
        };
        tracing::debug!(shard = self.id.0, ?failure, "a TLS handshake has led to nothing");
        said.extend(failure.alert().into_iter().flatten());
        self.report.tls_handshakes_total[result as usize] += 1;
        self.partial.end(Holder::Record(index));
        self.lines.secrets.fail(index);
        self.say_in_handshake(index, said);
        self.lines.discard_waiting(index);
        self.end_session(index, CloseReason::ProtocolError);
        self.finish(index);
    }

    /// Ends a handshake without a word.
    pub(super) fn end_handshake(&mut self, index: u32, result: HandshakeResult) {
        self.report.tls_handshakes_total[result as usize] += 1;
        self.lines.secrets.fail(index);
        let reason = match result {
            HandshakeResult::Timeout => CloseReason::RequestTimeout,
            _ => CloseReason::ClientGone,
        };
        self.end_session(index, reason);
        self.lose(index);
    }

    /// A request that came without TLS is told so, without TLS.
    fn answer_without_tls(&mut self, index: u32) {
        self.report.tls_handshakes_total[HandshakeResult::Plain as usize] += 1;
        let record = self.lines.slab.at(index);
        record.flags.clear(Flags::TLS);
        self.lines.secrets.forget(index);
        // One that may not stay has its answer already.
        if self.lines.slab.look(index).flags.has(Flags::FINISHING) {
            return self.lines.stir(index);
        }
        let text = "this address speaks TLS: write https:// instead of http://, or wss:// instead of ws://\n";
        self.refuse(index, Response::text(400, text), CloseReason::ProtocolError);
    }

    /// Whether a connection has not shaken hands in time; it is ended then.
    pub(super) fn is_late_for_handshake(&mut self, index: u32) -> bool {
        let flags = self.lines.slab.look(index).flags;
        let is_late =
            flags.has(Flags::TLS) && !flags.has(Flags::FINISHING) && self.lines.secrets.is_shaking(index);
        if is_late {
            self.end_handshake(index, HandshakeResult::Timeout);
        }
        is_late
    }

    /// Forgets what was kept for a connection that has gone.
    pub(super) fn forget_tls(&mut self, index: u32) {
        self.partial.end(Holder::Record(index));
        if self.lines.secrets.forget(index) {
            self.report.tls_handshakes_total[HandshakeResult::Gone as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests;
