//! From the hub to the lines: outputs, and the fan-out of a turn's publications.
//!
//! A channel's publications of one turn are encoded once per transport and joined, so that each subscriber gets one
//! frame reference and one send, however many they are.

use std::{collections::HashSet, rc::Rc};

use super::{
    connection::Flags,
    lines::{Broadcast, Delivery},
    room::Request,
    sockets::Surroundings,
    turn::Shard,
};
use crate::{
    app::{Reply, guard::panics},
    hub::{Fanout, FanoutLimit, Output, SubscribeError},
    limits::{FANOUT_BACKLOG_BYTES_MAX, FANOUT_PER_TURN, RECOVERY_QUEUES_MAX},
    mesh::{Message, Refused, Survey},
    model::{
        ChannelName, CloseReason, ConnectionId, Position, PublishError, ShardId, SharedPublication, Ticket,
        Transport, Work,
    },
    session::{Exchange, LongPoll, Session},
    wire::{
        http1::{self, Response},
        json, sse,
        websocket::{self, Opcode},
    },
};

/// Batches from other shards handled before the rest of the turn gets its share.
const BATCHES_PER_TURN_MAX: usize = 64;

/// Memory of the fan-out, used again each turn.
#[derive(Default)]
pub(super) struct FanoutScratch {
    bytes: Vec<u8>,
    json: Vec<u8>,
    slow: Vec<u32>,
    lost: Vec<u32>,
    answered: Vec<(Rc<[u8]>, Vec<u32>)>,
}

impl Shard {
    /// Handles what other shards have sent.
    pub(super) fn hear_mesh(&mut self) -> bool {
        let mut heard = false;
        for _ in 0..BATCHES_PER_TURN_MAX {
            let Some((from, batch)) = self.mesh.receive() else { break };
            heard = true;
            self.work.count(Work::Mesh, batch.len());
            for message in batch {
                match message {
                    Message::AskRoom { wanted, is_full } => {
                        self.give_room(from, Request { wanted, is_full });
                    }
                    Message::GiveRoom { given } => self.room.receive(given),
                    Message::HandOver(hand_over) => self.handle_hand_over(*hand_over),
                    Message::Drained => self.shards_drained += 1,
                    Message::Socket { socket, command } => {
                        self.handle_socket_command(socket, command);
                        self.run_orders();
                    }
                    Message::EngineMove(engine) => self.handle_engine_move(*engine),
                    Message::EngineEnded(sid) => self.handle_engine_ended(&sid),
                    Message::Sockets(request) => self.handle_sockets_request(from, request),
                    Message::SocketsAnswer(answer) => self.handle_sockets_answer(from, answer),
                    message => self.hub.handle_message(self.now, from, message),
                }
            }
            self.settle();
        }
        heard
    }

    /// Carries out what the hub wants, and reads on what that made readable, until nothing more is wanted.
    pub(super) fn settle(&mut self) {
        self.settle_hub();
        while self.read_kept() {
            self.settle_hub();
        }
    }

    fn settle_hub(&mut self) {
        self.run_intents();
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Send { to, message } => self.send_mesh(to, message),
                Output::Published { ticket, result } => self.tell(ticket, Reply::Published(result)),
                Output::Joined {
                    connection,
                    transport: Transport::SocketIo,
                    token,
                    channel,
                    position,
                    ..
                } => self.handle_socket_joined(connection, token, channel, position),
                Output::JoinRefused { connection, transport: Transport::SocketIo, token, channel, error } => {
                    self.handle_socket_join_refused(connection, token, &channel, error)
                }
                Output::Joined { connection, transport, token, channel, position, missed, recovered } => {
                    if self.lines.slab.get_in_session(connection).is_some() {
                        let joined = Joined { channel, position, missed, recovered };
                        self.handle_joined(connection, transport, token, joined);
                    }
                }
                Output::JoinRefused { connection, token, transport, channel, error } => {
                    self.handle_join_refused(connection, transport, token, channel, error);
                }
                Output::History { ticket, page } => self.tell(ticket, Reply::History(page)),
                Output::Survey { ticket, survey } => self.tell(ticket, Reply::Survey { survey }),
                Output::AskedShard { ticket, from } => self.answer_survey(ticket, from),
            }
        }
    }

    pub(super) fn send_mesh(&mut self, to: ShardId, message: Message) {
        match self.mesh.send(to, message) {
            Ok(()) => {}
            Err(Refused::Deliver(channel)) => {
                self.report.dropped_mesh_total += 1;
                self.hub.deliver_dropped(to, &channel);
            }
            Err(Refused::Socket) => self.report.dropped_mesh_total += 1,
            Err(Refused::Announce(channel)) => self.hub.deliver_dropped(to, &channel),
            Err(Refused::Publish(message)) => {
                self.report.publications_refused_total += 1;
                if let Message::Publish { ticket: Some(ticket), .. } = message {
                    self.tell(ticket, Reply::Published(Err(PublishError::Busy)));
                }
            }
        }
    }

    fn answer_survey(&mut self, ticket: Ticket, from: ShardId) {
        let mut report = self.report.clone();
        report.handler_panics_total = panics();
        self.hub.report(&mut report);
        self.lines.report(&mut report);
        self.sockets.report(&mut report);
        report.partial_input_bytes = self.partial.bytes();
        report.publications_refused_total += self.report.publications_refused_total;
        report.connections_max = self.room.total();
        report.mesh_depth = self.mesh.depth() as u32;
        let survey = Survey::Shard(Box::new(report));
        if from == self.id {
            self.tell(ticket, Reply::Survey { survey });
        } else {
            self.send_mesh(from, Message::Answer { ticket, survey });
        }
    }

    /// Encodes and queues what every channel has gathered, as much of it as one turn may. Tells whether there was
    /// anything; then there may be more.
    pub(super) fn fan_out(&mut self) -> bool {
        let mut any = false;
        let is_whole = self.drain.is_some() || self.hub.gathered_bytes() > FANOUT_BACKLOG_BYTES_MAX;
        let mut room = if is_whole { usize::MAX } else { FANOUT_PER_TURN };
        while room > 0
            && let Some(fanout) =
                self.hub.poll_fanout(FanoutLimit { subscribers: room, whole: self.sockets.whole() })
        {
            any = true;
            let subscribers = fanout.subscribers.iter().map(|list| list.len()).sum();
            self.work.count(Work::Deliveries, subscribers);
            room = room.saturating_sub(subscribers);
            let scratch = &mut self.fanout;
            for transport in Transport::ALL {
                let subscribers = fanout.subscribers[transport as usize];
                if subscribers.is_empty() {
                    continue;
                }
                if transport == Transport::SocketIo {
                    let around = &mut Surroundings {
                        lines: &mut self.lines,
                        report: &mut self.report,
                        slow: &mut self.slow_engines,
                        queue_bytes_max: self.limits.send_queue_bytes_max as usize,
                        now: self.now,
                    };
                    self.sockets.fan_out(&fanout, subscribers, around);
                    continue;
                }
                if fanout.gap && transport == Transport::WebSocket {
                    scratch.lost.extend_from_slice(subscribers);
                    continue;
                }
                let bytes = scratch.encode(transport, &fanout);
                let publications = fanout.publications.len() as u32;
                self.report.deliveries_total += u64::from(publications) * subscribers.len() as u64;
                if transport == Transport::LongPoll {
                    scratch.answered.push((bytes, subscribers.to_vec()));
                    continue;
                }
                let slow_consumer = match transport {
                    Transport::WebSocket => crate::limits::SlowConsumer::Close,
                    _ => self.limits.slow_consumer,
                };
                let queue_bytes_max = self.limits.send_queue_bytes_max as usize;
                let broadcast = Broadcast { bytes: &bytes, publications, slow_consumer, queue_bytes_max };
                for index in subscribers {
                    match self.lines.deliver(*index, &broadcast) {
                        Delivery::Queued => {}
                        Delivery::Dropped(count) => self.report.dropped_slow_total += u64::from(count),
                        Delivery::Slow => scratch.slow.push(*index),
                    }
                }
            }
        }
        if any {
            self.after_fan_out();
            self.fan_out_by_rooms();
        }
        if room > 0 {
            self.sockets.end_fan_out();
        }
        any
    }

    /// Hands out what depends on the rooms Socket.IO's sockets are in, and ends the sessions that were found slow.
    fn fan_out_by_rooms(&mut self) {
        let around = &mut Surroundings {
            lines: &mut self.lines,
            report: &mut self.report,
            slow: &mut self.slow_engines,
            queue_bytes_max: self.limits.send_queue_bytes_max as usize,
            now: self.now,
        };
        self.sockets.fan_out_by_rooms(&self.hub, around);
        for session in std::mem::take(&mut self.slow_engines) {
            self.end_engine(session, CloseReason::SlowConsumer);
        }
    }

    /// Deals with the subscribers that a fan-out found slow, hurt or answered.
    fn after_fan_out(&mut self) {
        for (index, reason) in std::mem::take(&mut self.fanout.slow)
            .into_iter()
            .map(|index| (index, CloseReason::SlowConsumer))
            .chain(std::mem::take(&mut self.fanout.lost).into_iter().map(|i| (i, CloseReason::PositionLost)))
        {
            // One that follows several channels is found once for each; what tells it why is not to be discarded.
            if !self.lines.slab.look(index).session.has_ended() {
                self.lines.discard_waiting(index);
                self.close(index, reason);
            }
        }
        // A burst with a gap comes in parts; what a poll is answered with is the first, and the rest is not for the
        // poll that its client may have sent behind it.
        let mut answered = HashSet::new();
        for (body, subscribers) in std::mem::take(&mut self.fanout.answered) {
            for index in subscribers {
                if answered.insert(index) {
                    self.answer_poll(index, &body);
                }
            }
        }
    }

    fn handle_joined(
        &mut self,
        connection: ConnectionId,
        transport: Transport,
        token: Option<u32>,
        joined: Joined,
    ) {
        let index = connection.index;
        if let Some(token) = token {
            let reply = Reply::Subscribed {
                channel: joined.channel.clone(),
                position: joined.position,
                recovered: joined.recovered,
                missed: joined.missed.len() as u32,
            };
            self.tell(Ticket { connection, token }, reply);
        }
        // The handler may have closed it upon that reply.
        if self.lines.slab.get_in_session(connection).is_none() {
            return;
        }
        // Recovery may go beyond the queue's bound: it is asked for once. Not without end, though.
        if self.lines.waiting(index) > RECOVERY_QUEUES_MAX * self.limits.send_queue_bytes_max as usize {
            self.lines.discard_waiting(index);
            return self.close(index, CloseReason::SlowConsumer);
        }
        self.report.deliveries_total += joined.missed.len() as u64;
        match transport {
            Transport::WebSocket if !joined.recovered => self.close(index, CloseReason::PositionLost),
            Transport::WebSocket => {
                let out = self.lines.out(index);
                joined.missed.iter().for_each(|publication| encode_message(out, publication));
            }
            Transport::Json => {
                let FanoutScratch { json, .. } = &mut self.fanout;
                let out = self.lines.out(index);
                joined.missed.iter().for_each(|publication| encode_push(out, json, publication));
            }
            Transport::EventStream => {
                let out = self.lines.out(index);
                if !joined.recovered {
                    // The id is the position before what follows: a client that breaks here must not skip it.
                    let Position { epoch, offset } = joined.position;
                    let before = Position { epoch, offset: offset - joined.missed.len() as u64 };
                    sse::encode_position_event(out, "reset", before, "{\"recovered\":false}");
                }
                joined.missed.iter().for_each(|publication| sse::encode_publication(out, publication));
            }
            Transport::LongPoll => self.park(index, joined),
            Transport::SocketIo => unreachable!("sockets are told where the output is read"),
        }
    }

    /// A long poll has its position: answers it at once when there is something to say, else lets it wait.
    fn park(&mut self, index: u32, joined: Joined) {
        let Session::LongPoll(poll) = &mut self.lines.slab.at(index).session else { return };
        poll.position = Some(joined.position);
        if joined.missed.is_empty() && joined.recovered && poll.timeout_ms > 0 {
            self.wheel.set(index, self.now.monotonic_ms + u64::from(poll.timeout_ms));
            return;
        }
        let mut body = Vec::new();
        let Joined { channel, position, missed, recovered } = &joined;
        json::encode_poll_answer(&mut body, channel, *position, *recovered, missed);
        self.answer_poll(index, &body);
    }

    /// A long poll has waited long enough.
    pub(super) fn answer_poll_empty(&mut self, index: u32) {
        let Session::LongPoll(poll) = &self.lines.slab.look(index).session else { return };
        match (poll.position, self.hub.only_channel(index)) {
            (Some(position), Some(channel)) => {
                let mut body = Vec::new();
                json::encode_poll_answer(&mut body, channel, position, true, &[]);
                self.answer_poll(index, &body);
            }
            // The channel's owner has not answered in all this time.
            _ => self.close(index, CloseReason::Overloaded),
        }
    }

    /// Answers a parked long poll and reads on.
    fn answer_poll(&mut self, index: u32, body: &[u8]) {
        let Some((poll, exchange)) = self.unpark(index) else { return };
        self.report.responses_total[1] += 1;
        let date = self.date.text();
        let out = self.lines.out(index);
        http1::encode_poll_head(out, body.len(), date, &poll.fields, exchange.keep_alive, exchange.version);
        if !exchange.head_only {
            out.extend_from_slice(body);
        }
        self.go_on(index, *poll, exchange);
    }

    /// Answers a parked long poll with an error.
    pub(super) fn refuse_poll(&mut self, index: u32, reason: CloseReason) {
        let Some((poll, exchange)) = self.unpark(index) else { return };
        self.report.responses_total[usize::from(reason.http_status() / 100).clamp(1, 5) - 1] += 1;
        let response = Response {
            fields: poll.fields.to_string(),
            ..Response::text(reason.http_status(), format!("{}\n", reason.sentence()))
        };
        let date = self.date.text();
        let out = self.lines.out(index);
        http1::encode_response(
            out,
            &response,
            date,
            exchange.head_only,
            exchange.keep_alive,
            exchange.version,
        );
        self.go_on(index, *poll, exchange);
    }

    /// Takes a long poll out of its connection and ends its subscription.
    fn unpark(&mut self, index: u32) -> Option<(Box<LongPoll>, Exchange)> {
        let connection = self.lines.slab.id(index);
        let record = self.lines.slab.at(index);
        match record.session.lend() {
            Session::LongPoll(poll) => {
                record.flags.clear(Flags::SUBSCRIBED);
                self.hub.leave_all(connection);
                let keep_alive = poll.exchange.keep_alive && self.drain.is_none();
                let exchange = Exchange { keep_alive, ..poll.exchange };
                Some((poll, exchange))
            }
            other => {
                record.session = other;
                None
            }
        }
    }

    /// After a long poll's answer: the connection's next request, or its end.
    fn go_on(&mut self, index: u32, poll: LongPoll, exchange: Exchange) {
        self.set_session(index, Session::Http(poll.http));
        if exchange.keep_alive {
            self.read_on(index, Flags::PAUSED_AWAITING);
        } else {
            self.end_session(index, CloseReason::Normal);
            self.finish(index);
        }
    }

    pub(super) fn handle_join_refused(
        &mut self,
        connection: ConnectionId,
        transport: Transport,
        token: Option<u32>,
        channel: ChannelName,
        error: SubscribeError,
    ) {
        if self.lines.slab.get_in_session(connection).is_none() {
            return;
        }
        match (token, transport) {
            (Some(token), _) => {
                self.tell(Ticket { connection, token }, Reply::NotSubscribed { channel, error })
            }
            (None, Transport::LongPoll) => self.refuse_poll(connection.index, CloseReason::Overloaded),
            (None, _) => self.close(connection.index, CloseReason::Overloaded),
        }
    }
}

/// What an owner says to a new subscriber.
struct Joined {
    channel: ChannelName,
    position: Position,
    missed: Vec<SharedPublication>,
    recovered: bool,
}

impl FanoutScratch {
    /// All publications of a fan-out as one transport's bytes.
    fn encode(&mut self, transport: Transport, fanout: &Fanout<'_>) -> Rc<[u8]> {
        self.bytes.clear();
        let (out, publications) = (&mut self.bytes, fanout.publications);
        if publications.is_empty() {
            encode_gap(out, &mut self.json, transport, fanout);
        }
        match transport {
            Transport::WebSocket => publications.iter().for_each(|one| encode_message(out, one)),
            Transport::Json => publications.iter().for_each(|one| encode_push(out, &mut self.json, one)),
            Transport::EventStream => publications.iter().for_each(|one| sse::encode_publication(out, one)),
            Transport::LongPoll => {
                let position = publications.last().map_or(fanout.since, |last| last.position);
                json::encode_poll_answer(out, fanout.channel, position, !fanout.gap, publications);
            }
            Transport::SocketIo => unreachable!("sockets have a fan-out of their own"),
        }
        Rc::from(&self.bytes[..])
    }
}

/// A gap with no publication after it that would show it. A poll's answer says so itself, and a WebSocket of one
/// channel is closed instead.
fn encode_gap(out: &mut Vec<u8>, json: &mut Vec<u8>, transport: Transport, fanout: &Fanout<'_>) {
    match transport {
        Transport::Json => {
            json.clear();
            json::encode_gap(json, fanout.channel, fanout.since);
            websocket::encode_frame(out, Opcode::Text, true, json);
        }
        Transport::EventStream => {
            sse::encode_position_event(out, "reset", fanout.since, "{\"recovered\":false}");
        }
        Transport::WebSocket | Transport::LongPoll | Transport::SocketIo => {}
    }
}

/// A publication as one WebSocket frame.
fn encode_message(out: &mut Vec<u8>, publication: &SharedPublication) {
    let opcode = if publication.payload.is_text() { Opcode::Text } else { Opcode::Binary };
    websocket::encode_frame(out, opcode, true, &publication.payload.data);
}

/// A publication as one JSON push in a WebSocket frame.
fn encode_push(out: &mut Vec<u8>, json: &mut Vec<u8>, publication: &SharedPublication) {
    json.clear();
    json::encode_push(json, publication);
    websocket::encode_frame(out, Opcode::Text, true, json);
}
