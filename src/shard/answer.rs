//! Requests and messages to the handler, and its answers onto the line.

use std::net::IpAddr;

use super::{
    calls::failed,
    connection::Flags,
    following::Followed,
    outbox::Class,
    sockets::{EngineOutcome, WebSocketRole},
    turn::Shard,
};
use crate::{
    app::{Answer, Verdict},
    limits::GATHER_BYTES_MAX,
    model::{ChannelName, CloseReason, ConnectionId, Destination, Position, Shown, Work},
    ring::SendBytes,
    session::{Exchange, Http, Leaving, LongPoll, Session, WebSocket, upgrade},
    wire::http1::{self, Body, HttpError, Request, Response, Step},
};

/// How long a connection that has been told everything may take to close; and again so long whenever its client has taken
/// some of what was still to be sent.
pub(super) const LINGER_MS: u64 = 2_000;

/// What a request leads to.
pub(super) enum Outcome {
    /// It is answered; the next one may come.
    Answered { keep_alive: bool },
    /// It is answered; the next one waits until the client has read more of its answers.
    Full,
    /// It is answered; the next one waits until others have been heard.
    Enough,
    /// It is answered in another turn, as if it had come then; it is from this address.
    PutOff { request: Vec<u8>, hops: u8, from: Option<IpAddr> },
    /// It is answered when a backend has said something of it, as if it had come then.
    Consult { request: Vec<u8>, hops: u8 },
    /// The handler answers later.
    Await { tag: u32, exchange: Exchange },
    /// The connection becomes a WebSocket.
    Upgrade { websocket: WebSocket, channel: Option<(ChannelName, Option<Position>)> },
    /// A post waits until all its packets have been heard.
    AwaitPost { exchange: Exchange },
    /// A poll of an Engine.IO session waits.
    AwaitEngine { session: u32, exchange: Exchange },
    /// The connection becomes a WebSocket of an Engine.IO session.
    UpgradeEngine { session: u32, role: WebSocketRole },
    /// The connection becomes a stream of events.
    Stream { followed: Followed, shown: Shown },
    /// The connection becomes a stream of events that the application writes.
    StreamWritten,
    /// Another shard answers it.
    Leave(Leaving),
    /// The request waits for a publication.
    Park { followed: Followed, exchange: Exchange, fields: String, timeout_ms: u32 },
}

impl Shard {
    /// Decodes requests out of `bytes` and what was kept of earlier bytes, until one must wait or nothing is left.
    pub(super) fn feed_http(&mut self, index: u32, http: Http, bytes: &[u8]) {
        self.kept.begin_reading();
        self.read_requests(index, http, bytes);
        self.kept.end_reading();
    }

    fn read_requests(&mut self, index: u32, mut http: Http, bytes: &[u8]) {
        let mut at = 0;
        let grant = self.intake.grant();
        let mut table = std::mem::take(&mut self.head_table);
        let outcome = loop {
            match http.decoder.decode(&bytes[at..], &mut table, &self.limits) {
                Ok(Step::NeedMore) => break None,
                Ok(Step::Continue) => {
                    at = bytes.len();
                    self.lines.push(index, Class::Control, SendBytes::Static(http1::CONTINUE));
                }
                Ok(Step::Request { request, consumed }) => {
                    self.work.count(Work::Requests, 1);
                    self.intake.note(1);
                    let outcome = self.answer_from_anywhere(index, &request, http.hops);
                    at += consumed;
                    http.handle_request();
                    self.end_partial_input(index);
                    match outcome {
                        Outcome::Answered { keep_alive: true } => {
                            self.run_intents();
                            self.run_orders();
                        }
                        other => break Some(other),
                    }
                    if self.lines.slab.look(index).session.has_ended() {
                        self.head_table = table;
                        return;
                    }
                    if self.lines.pause_if_full(index) {
                        break Some(Outcome::Full);
                    }
                    let is_more = at < bytes.len() || http.decoder.buffered_bytes() > 0;
                    if is_more && self.intake.is_used_up(grant) {
                        break Some(Outcome::Enough);
                    }
                }
                Err(error) => {
                    if error == HttpError::BodyTooLarge {
                        match self.begin_upload(index, http, &bytes[at..], &mut table) {
                            Ok(()) => {
                                self.head_table = table;
                                return;
                            }
                            Err(refused) => http = refused,
                        }
                    }
                    self.head_table = table;
                    let fields = self.refusal_fields(index, http.decoder.arrived(&bytes[at..]));
                    self.lines.slab.at(index).session = Session::Http(http);
                    self.reject(index, error, &fields);
                    return;
                }
            }
        };
        self.head_table = table;
        match outcome {
            None => {
                let deadline = http.handle_progress(&self.limits);
                self.lines.slab.at(index).session = Session::Http(http);
                if let Some(ms) = deadline {
                    self.wheel.set(index, self.now.monotonic_ms + u64::from(ms));
                }
            }
            Some(outcome) => self.turn_into(index, http, outcome, &bytes[at..]),
        }
    }

    /// Finds out what a request leads to. What has been ruled of it is kept for as long as it waits for more.
    pub(super) fn answer(&mut self, index: u32, request: &Request<'_>, hops: u8) -> Outcome {
        self.log_request(index, request);
        let outcome = self.find_answer(index, request, hops);
        if !matches!(outcome, Outcome::Consult { .. } | Outcome::PutOff { .. }) {
            self.gate.consults.forget(index);
        }
        outcome
    }

    /// Asks the handler; an immediate response is encoded at once.
    fn find_answer(&mut self, index: u32, request: &Request<'_>, hops: u8) -> Outcome {
        let coding = self.coding_for(request);
        let exchange =
            Exchange { keep_alive: self.keeps_alive(index, request), coding, ..Exchange::of(request) };
        if let Some(refusal) = self.misdirected(index, request) {
            return self.put_response(index, refusal, exchange);
        }
        if self.lines.slab.look(index).flags.has(Flags::REDIRECTED) {
            let response = self.redirect.answer(request);
            return self.put_response(index, response, exchange);
        }
        // Each request says anew who sends it, but not each time it is read again.
        let is_again = self.gate.consults.is_in_hand(index);
        if !is_again {
            self.gate.release(index);
        }
        let is_known = is_again && self.gate.holders.get(index).is_some();
        if self.engines.is_for_engine(request) {
            return self.answer_for_engine(index, request, hops, exchange);
        }
        if !is_known && let Some(outcome) = self.identify(index, request, hops, exchange) {
            return outcome;
        }
        if upgrade::is_upgrade(request) {
            return self.answer_upgrade(index, request, hops, exchange);
        }
        let answer = self.call_about(index, "request", |handler, cx, peer| {
            handler.request(cx, &peer.asking(request), request)
        });
        match answer.unwrap_or_else(|| Answer::Respond(failed())) {
            Answer::Respond(response) => self.put_response(index, response, exchange),
            Answer::Later { tag } => Outcome::Await { tag, exchange },
            Answer::Consult(questions) => self.consult_about(index, questions, request, hops, exchange),
            Answer::HandOver(to) => self.divert(index, to, request, hops, exchange),
            Answer::EventStream { channel, since, shown, fields } => {
                self.begin_stream(index, &fields, exchange);
                Outcome::Stream { followed: Followed::One(channel, since), shown }
            }
            Answer::EventStreams { channels, shown, fields } => {
                self.begin_stream(index, &fields, exchange);
                Outcome::Stream { followed: Followed::Several(channels), shown }
            }
            Answer::Events { fields } => {
                self.begin_stream(index, &fields, exchange);
                Outcome::StreamWritten
            }
            Answer::LongPoll { channel, since, timeout_ms, fields } => {
                Outcome::Park { followed: Followed::One(channel, since), exchange, fields, timeout_ms }
            }
            Answer::LongPolls { channels, timeout_ms, fields } => {
                Outcome::Park { followed: Followed::Several(channels), exchange, fields, timeout_ms }
            }
        }
    }

    fn answer_for_engine(
        &mut self,
        index: u32,
        request: &Request<'_>,
        hops: u8,
        exchange: Exchange,
    ) -> Outcome {
        match self.answer_engine(index, request) {
            EngineOutcome::Respond(response) => self.put_response(index, response, exchange),
            EngineOutcome::Wait => Outcome::AwaitPost { exchange },
            EngineOutcome::Park { session } => Outcome::AwaitEngine { session, exchange },
            EngineOutcome::Upgrade { session, accept, role, mut fields } => {
                let agreed = self.agree(request, self.engine_compression(), &mut fields);
                self.lines.say(index, Class::Answer, |out| http1::encode_upgrade(out, &accept, &fields));
                self.begin_compression(index, agreed);
                self.log_begun(index, 101);
                Outcome::UpgradeEngine { session, role }
            }
            EngineOutcome::Divert(to) => self.divert(index, to, request, hops, exchange),
            EngineOutcome::Tunnel { node, request } => {
                let to = Destination::Node(node);
                Outcome::Leave(Leaving { to, hops, bytes: request, engine: None })
            }
        }
    }

    fn answer_upgrade(&mut self, index: u32, request: &Request<'_>, hops: u8, exchange: Exchange) -> Outcome {
        let accept = match upgrade::check(request) {
            Ok(accept) => accept,
            Err(response) => return self.put_response(index, response, exchange),
        };
        let verdict = self.call_about(index, "connect", |handler, cx, peer| {
            handler.connect(cx, &peer.asking(request), request)
        });
        match verdict.unwrap_or_else(|| Verdict::Refuse(failed())) {
            Verdict::Accept { tag, channel, protocol, diagnostic } => {
                let name = |name| format!("Sec-WebSocket-Protocol: {name}\r\n");
                let mut fields = protocol.map(name).unwrap_or_default();
                let agreed = self.agree(request, self.lines.compression.mode(), &mut fields);
                self.lines.say(index, Class::Answer, |out| http1::encode_upgrade(out, &accept, &fields));
                self.begin_compression(index, agreed);
                self.log_begun(index, 101);
                Outcome::Upgrade { websocket: WebSocket::new(tag, diagnostic), channel }
            }
            Verdict::Consult(question) => self.consult_about(index, vec![*question], request, hops, exchange),
            Verdict::HandOver(to) => self.divert(index, to, request, hops, exchange),
            Verdict::Refuse(response) => self.put_response(index, response, exchange),
        }
    }

    pub(super) fn keeps_alive(&self, index: u32, request: &Request<'_>) -> bool {
        request.keep_alive && !self.ends_with_answer(index)
    }

    pub(super) fn put_response(&mut self, index: u32, response: Response, exchange: Exchange) -> Outcome {
        let keep_alive = exchange.keep_alive && !response.close;
        self.count_response(response.status);
        self.log_answer(index, &response);
        let response = match self.coded(&response, exchange.coding) {
            Some(coded) => {
                // It has been read whole, and is written small.
                self.lines.outbox.note_made(response.body.as_bytes().len());
                coded
            }
            None => response,
        };
        let date = self.clock.date();
        let is_apart = response.body.as_bytes().len() > GATHER_BYTES_MAX;
        self.lines.say(index, Class::Answer, |out| {
            let head_only = exchange.head_only || is_apart;
            http1::encode_response(out, &response, date, head_only, keep_alive, exchange.version);
        });
        if is_apart && !exchange.head_only {
            self.lines.push(index, Class::Answer, bytes_of(response.body));
        }
        Outcome::Answered { keep_alive }
    }

    /// Carries out an outcome that ends the reading of requests for now.
    fn turn_into(&mut self, index: u32, mut http: Http, outcome: Outcome, rest: &[u8]) {
        let now = self.now.monotonic_ms;
        match outcome {
            Outcome::Answered { .. } => {
                self.lines.slab.at(index).session = Session::Http(http);
                self.run_intents();
                self.end_session(index, CloseReason::Normal);
                self.finish(index);
            }
            Outcome::Full => {
                self.wheel.set(index, now + u64::from(self.limits.keep_alive_timeout_ms));
                self.wait_with(index, http, rest);
            }
            Outcome::Enough => {
                self.wheel.set(index, now + u64::from(self.limits.keep_alive_timeout_ms));
                self.wait_with(index, http, rest);
                self.note_kept(index);
            }
            Outcome::PutOff { request, hops, from } => self.put_off(index, http, request, hops, from, rest),
            Outcome::Consult { request, hops } => self.await_ruling(index, http, request, hops, rest),
            Outcome::Await { tag, exchange } => {
                http.tag = tag;
                self.lines.slab.at(index).flags.set(Flags::KNOWN);
                self.await_answer(index, http, exchange, rest);
                self.run_intents();
            }
            Outcome::AwaitPost { exchange } => self.await_answer(index, http, exchange, rest),
            Outcome::AwaitEngine { session, exchange } => {
                self.await_engine(index, http, session, exchange, rest)
            }
            Outcome::UpgradeEngine { session, role } => {
                let mut early = http.decoder.take_rest();
                early.extend_from_slice(rest);
                self.become_engine_websocket(index, session, role, &mut early);
            }
            Outcome::Upgrade { websocket, channel } => {
                let mut early = http.decoder.take_rest();
                early.extend_from_slice(rest);
                self.become_websocket(index, websocket, channel, &mut early);
            }
            Outcome::Stream { followed, shown } => self.become_stream(index, followed, shown),
            Outcome::StreamWritten => self.become_written_stream(index),
            Outcome::Leave(mut leaving) => {
                leaving.bytes.append(&mut http.decoder.take_rest());
                leaving.bytes.extend_from_slice(rest);
                self.hand_over(index, leaving);
            }
            Outcome::Park { followed, exchange, fields, timeout_ms } => {
                let kept = http.decoder.stash(rest, &self.limits).is_ok();
                let poll = LongPoll { http, exchange, fields: fields.into(), position: None, timeout_ms };
                self.become_poll(index, poll, followed, kept);
            }
        }
    }

    /// Lets a request wait until [`Self::respond`] gives its answer.
    fn await_answer(&mut self, index: u32, mut http: Http, exchange: Exchange, rest: &[u8]) {
        http.awaiting = Some(exchange);
        self.lines.pause(index, Flags::PAUSED_AWAITING);
        self.wait_with(index, http, rest);
    }

    /// Lets a poll wait until there is something to say to its session's client.
    fn await_engine(&mut self, index: u32, mut http: Http, session: u32, exchange: Exchange, rest: &[u8]) {
        http.tag = session;
        self.lines.slab.at(index).flags.set(Flags::ENGINE);
        self.await_answer(index, http, exchange, rest);
        let record = self.lines.slab.look(index);
        // Its end was announced with the poll, and would not be again.
        if record.flags.has(Flags::ENDING) && record.is_parked() {
            self.lose(index);
        }
    }

    /// Keeps what came behind a request until that is answered. A connection that sent more than may be kept is lost.
    pub(super) fn wait_with(&mut self, index: u32, mut http: Http, early: &[u8]) {
        let kept = http.decoder.stash(early, &self.limits).is_ok();
        self.lines.slab.at(index).session = Session::Http(http);
        if !kept {
            self.lose(index);
        }
    }

    /// Sends what is queued, then closes, giving the peer a moment to read it.
    pub(super) fn finish(&mut self, index: u32) {
        self.wheel.set(index, self.now.monotonic_ms + LINGER_MS);
        self.lines.finish(index);
        self.lines.watch_last_words(index);
    }

    /// Answers the request a connection waits with, and reads on.
    pub(super) fn respond(&mut self, connection: ConnectionId, response: Response) {
        let Some(record) = self.lines.slab.get(connection) else { return };
        let index = connection.index;
        let Session::Http(http) = &mut record.session else { return };
        // One answer is enough.
        if http.bit_by_bit.is_some() {
            return self.end_bit_by_bit(index, false);
        }
        let Some(exchange) = http.awaiting.take() else { return };
        http.tag = 0;
        record.flags.clear(Flags::KNOWN);
        let exchange =
            Exchange { keep_alive: exchange.keep_alive && !self.ends_with_answer(index), ..exchange };
        match self.put_response(index, response, exchange) {
            Outcome::Answered { keep_alive: true } => self.read_on(index, Flags::PAUSED_AWAITING),
            _ => {
                self.end_session(index, CloseReason::Normal);
                self.finish(index);
            }
        }
    }

    pub(super) fn count_response(&mut self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.report.responses_total[class] += 1;
        if class == 3
            && let Some(counter) = [408, 413, 414, 417, 431].iter().position(|counted| *counted == status)
        {
            self.report.request_limits_total[counter] += 1;
        }
    }
}

/// A body by itself. No status that has a large one has none.
fn bytes_of(body: Body) -> SendBytes {
    match body {
        Body::Static(bytes) => SendBytes::Static(bytes),
        Body::Owned(mut bytes) => {
            // What has grown to hold a large body has taken up to twice of it.
            bytes.shrink_to_fit();
            SendBytes::Owned(bytes)
        }
        Body::Shared(bytes) => SendBytes::Shared(bytes),
    }
}
