//! Shaking hands: who may, when, and for how long.
//!
//! The answer to a hello is a signature and a key exchange, 0.1 to 0.8 ms of a core; everything after it is a hundredth of
//! that. So a client's second flight is answered at once, which frees its memory, and hellos wait for their turn: some
//! time of each turn of the shard is theirs, and what remains is everybody else's. How many may be answered and not done
//! is [`super::shaking`]'s. When very many wait, nobody is accepted on a listener of theirs: the kernel's queue is the
//! buffer, and behind it the patience of the clients' kernels, which try again.
//!
//! ```text
//!   first bytes ─┬─ HTTP ──────► a sentence, without TLS
//!                └─ hello ─► waits ─(HELLO_US_PER_TURN)─► answered ─► second flight ─► Record
//!   too slow, owing while others wait, refused, gone ─► counted, ended
//! ```

use std::time::Instant;

use super::{connection::Flags, partial::Holder, turn::Shard};
use crate::{
    limits::{HELLO_US_PER_TURN, WAIT_US_BOUNDS},
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
        // The handshake has its own deadline; its bytes count as other input that has begun.
        self.partial.note(Holder::Record(index), handshake.input_len(), self.now.monotonic_ms);
        match (has_work, has_answered) {
            (false, _) => {}
            (true, true) => self.step_handshake(index),
            // Its time stands still while it waits for us.
            (true, false) => self.lines.secrets.shaking.await_turn(id, || self.wheel.stop(index)),
        }
    }

    /// Answers hellos for as long as they may take in one turn, and as far as there is room for their handshakes.
    pub(super) fn answer_hellos(&mut self) {
        if !self.lines.secrets.shaking.has_waiting() {
            return;
        }
        let began = Instant::now();
        loop {
            while let Some(id) = self.lines.secrets.shaking.next() {
                if self.is_worth_answering(id) {
                    self.step_handshake(id.index);
                    if began.elapsed().as_micros() as u64 >= HELLO_US_PER_TURN {
                        return;
                    }
                }
            }
            let Some(index) = self.lines.secrets.shaking.stalled(self.now.monotonic_ms) else { return };
            self.end_handshake(index, HandshakeResult::GivenUp);
        }
    }

    /// Whether a client that has sent its hello is still there.
    fn is_worth_answering(&mut self, id: ConnectionId) -> bool {
        let Some(record) = self.lines.slab.get(id).filter(|record| record.flags.is_live()) else {
            return false;
        };
        if record.flags.has(Flags::ENDING) {
            self.end_handshake(id.index, HandshakeResult::Gone);
            return false;
        }
        true
    }

    /// Goes on with a handshake as far as what has arrived allows.
    fn step_handshake(&mut self, index: u32) {
        let Some(mut shaking) = self.lines.secrets.shaking.take(index) else { return };
        let began = Instant::now();
        let mut said = Vec::new();
        let step = shaking.handshake.advance(&mut said);
        self.report.tls_handshake_us_total += began.elapsed().as_micros() as u64;
        self.work.count(Work::Handshakes, 1);
        match step {
            Step::NeedMore(handshake) => {
                self.partial.note(Holder::Record(index), handshake.input_len(), self.now.monotonic_ms);
                shaking.handshake = handshake;
                if shaking.has_waited() {
                    self.wheel.set(index, self.now.monotonic_ms + shaking.left_ms);
                }
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
            self.receive_sealed(index, rest);
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
