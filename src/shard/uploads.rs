//! Requests whose bodies are too large to be kept, where the handler passes them on as they come.
//!
//! ```text
//!   head ─► the handler is asked ─┬─ no ──► 413
//!                                 └─ yes ─► pieces as they arrive, no faster than they are taken ─► the answer, and the end
//! ```
//!
//! Invariant: while a body comes, its connection waits for an answer, and no request behind it is read: there is none, for the
//! connection ends with the answer.

use super::{answer::Outcome, bodies::Uploading, connection::Flags, outbox::Class, turn::Shard};
use crate::{
    app::{UploadSource, upload},
    model::{CloseReason, ConnectionId, Work},
    ring::SendBytes,
    session::{Exchange, Http, Session, upgrade},
    wire::http1::{self, Decoder, HeadTable, Oversized},
};

impl Shard {
    /// Asks the handler about a request whose body is too large; gives the connection back where it is refused for that.
    pub(super) fn begin_upload(
        &mut self,
        index: u32,
        mut http: Http,
        arrived: &[u8],
        table: &mut HeadTable,
    ) -> Result<(), Http> {
        let Some(oversized) = http.decoder.oversized(arrived, table, &self.limits) else { return Err(http) };
        let connection = self.lines.slab.id(index);
        let (source, body) = upload(connection, oversized.length(), self.engines.io.orders());
        let outcome = {
            let Ok(request) = oversized.request(table) else { return Err(http) };
            let may_be = !self.engines.is_for_engine(&request) && !upgrade::is_upgrade(&request);
            let asked = |shard: &mut Self| {
                shard.call_about(index, "takes_uploads", |handler, _, peer| {
                    handler.takes_uploads(peer, &request)
                })
            };
            if !may_be || !asked(self).unwrap_or(false) {
                return Err(http);
            }
            self.work.count(Work::Requests, 1);
            self.engines.io.offer_upload(Some(body));
            self.answer_from_anywhere(index, &request, http.hops)
        };
        let is_taken = self.engines.io.take_upload().is_none();
        match outcome {
            Outcome::Await { tag, exchange } if is_taken => {
                http.decoder = Decoder::default();
                http.handle_request();
                http.tag = tag;
                // What is behind the body cannot be told from what is left of it when the answer comes early.
                http.awaiting = Some(Exchange { keep_alive: false, ..exchange });
                self.end_partial_input(index);
                self.take_upload(index, http, oversized, source);
                self.run_intents();
                Ok(())
            }
            Outcome::Answered { .. } => {
                self.lines.slab.at(index).session = Session::Http(http);
                self.run_intents();
                self.end_session(index, CloseReason::Normal);
                self.finish(index);
                Ok(())
            }
            _ => Err(http),
        }
    }

    fn take_upload(&mut self, index: u32, http: Http, oversized: Oversized, source: UploadSource) {
        let record = self.lines.slab.at(index);
        record.session = Session::Http(http);
        record.flags.set(Flags::KNOWN);
        if oversized.expects_continue() {
            self.lines.push(index, Class::Control, SendBytes::Static(http1::CONTINUE));
        }
        self.bodies.begin_upload(index, Uploading { body: oversized.body, source });
        self.feed_upload(index, &[]);
    }

    /// Whether a body comes on a connection.
    pub(super) fn is_uploading(&self, index: u32) -> bool {
        self.bodies.is_uploading(index)
    }

    /// Passes on what has arrived of a body.
    pub(super) fn feed_upload(&mut self, index: u32, bytes: &[u8]) {
        let Some(Uploading { body, source }) = self.bodies.upload(index) else { return };
        let Ok(piece) = body.take(bytes) else { return self.lose(index) };
        let goes_on = source.put(piece);
        if body.is_whole() {
            source.end(true);
            self.bodies.end_upload(index);
            self.lines.pause(index, Flags::PAUSED_AWAITING);
        } else if !goes_on {
            self.lines.pause(index, Flags::PAUSED_AWAITING);
        }
        self.wheel.set(index, self.now.monotonic_ms + u64::from(self.limits.body_timeout_ms));
    }

    /// There is room for more of a body.
    pub(super) fn read_upload_on(&mut self, connection: ConnectionId) {
        let index = connection.index;
        if self.is_uploading(index) && self.lines.slab.get_in_session(connection).is_some() {
            self.lines.slab.at(index).flags.clear(Flags::PAUSED_AWAITING);
            self.wheel.set(index, self.now.monotonic_ms + u64::from(self.limits.body_timeout_ms));
            self.lines.resume(index);
        }
    }

    /// The session of a connection ends, and whoever takes its body is told that no more comes.
    pub(super) fn forget_upload(&mut self, index: u32) {
        self.bodies.end_upload(index);
    }
}
