//! From the hub to the lines: what the hub wants done. What has been published is handed out in [`super::fan_out`].

use std::rc::Rc;

use super::{
    connection::Flags, encode::encode_piece, outbox::Class, pages::Page, room::Request, turn::Shard,
};
use crate::{
    app::Reply,
    broker::cluster::ClusterAsk,
    hub::{Output, SubscribeError},
    limits::{FANOUT_BACKLOG_BYTES_MAX, HOP_US_BOUNDS},
    mesh::{Parcel, Refused, ShardMessage, Welcome},
    model::{ChannelName, CloseReason, ConnectionId, ShardId, Ticket, Transport, Work},
    ring::{Encoded, SendBytes},
    session::{Exchange, LongPoll, Session},
    wire::{
        http1::{self, Response},
        json,
    },
};

/// A poll's body up to this size is copied for each of those who are answered with it.
const COPIED_BODY_BYTES_MAX: usize = 1024;
/// Batches from other shards handled before the rest of the turn gets its share.
const BATCHES_PER_TURN_MAX: usize = 64;

impl Shard {
    /// Handles what other shards have sent. While too much waits to be handed out they wait: what is on its way from them is
    /// bounded.
    pub(super) fn hear_mesh(&mut self) {
        for _ in 0..BATCHES_PER_TURN_MAX {
            // What is held back may wait for what they have sent.
            if self.hub.gathered_bytes() > FANOUT_BACKLOG_BYTES_MAX && !self.hub.holds_back() {
                return;
            }
            let Some((from, count)) = self.peers.receive() else { break };
            self.work.count(Work::Mesh, count);
            if let Some(hop_us) = self.peers.take_hop_us() {
                self.report.mesh_hop_us.note(&HOP_US_BOUNDS, hop_us);
            }
            while let Some(message) = self.peers.next_message(from) {
                self.hear_shard(from, message);
            }
            self.settle();
        }
    }

    fn hear_shard(&mut self, from: ShardId, parcel: Parcel) {
        match parcel {
            Parcel::Shard(message) => self.hear_of_shard(from, message),
            Parcel::Hub(message) => self.hub.handle_message(self.now, from, message),
        }
    }

    fn hear_of_shard(&mut self, from: ShardId, message: ShardMessage) {
        match message {
            ShardMessage::AskRoom { wanted, is_full } => self.give_room(from, Request { wanted, is_full }),
            ShardMessage::GiveRoom { given } => self.room.receive(given),
            ShardMessage::HandOver(hand_over) => match hand_over.levelled {
                Some(_) => self.level(|shard| shard.handle_hand_over(*hand_over)),
                None => self.handle_hand_over(*hand_over),
            },
            ShardMessage::Drained => self.peers.note_drained(from),
            ShardMessage::AtRest { round } => self.peers.note_at_rest(from, round),
            ShardMessage::Lost { restarts } => self.hear_of_loss(from, restarts),
            ShardMessage::Revoke(revocation) => self.revoke(&revocation, false),
            ShardMessage::LossHeard { restarts } => self.peers.note_heard(from, restarts),
            ShardMessage::Mark(mark) => self.hear_mark(from, mark),
            ShardMessage::Levelling(said) => self.level(|shard| shard.hear_levelling(from, said)),
            ShardMessage::Lease(said) => self.asks.lease.handle(from, said),
            ShardMessage::Socket { socket, command } => {
                self.handle_socket_command(socket, command);
                self.run_orders();
            }
            ShardMessage::EngineMove(engine) => self.handle_engine_move(*engine),
            ShardMessage::EngineEnded(sid) => self.engines.handle_engine_ended(&sid),
            ShardMessage::Sockets(request) => self.handle_sockets_request(from, request),
            ShardMessage::SocketsAnswer(answer) => self.handle_sockets_answer(from, answer),
        }
    }

    /// Carries out what the hub wants, and reads on what that made readable, until nothing more is wanted.
    pub(super) fn settle(&mut self) {
        self.settle_hub();
        while self.read_kept() {
            self.settle_hub();
        }
        self.end_slow();
    }

    fn settle_hub(&mut self) {
        self.run_intents();
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Send { to, message } => self.send_mesh(to, message),
                Output::Cluster(publication) => self.ask_cluster(ClusterAsk::Published(publication)),
                Output::Room { channel, is_there } => self.tell_cluster_of_room(&channel, is_there),
                Output::Published { ticket, result } => self.tell(ticket, Reply::Published(result)),
                Output::Joined {
                    connection,
                    transport: Transport::SocketIo,
                    token,
                    channel,
                    welcome,
                    ..
                } => self.handle_socket_joined(connection, token, channel, welcome.position),
                Output::JoinRefused { connection, transport: Transport::SocketIo, token, channel, error } => {
                    self.handle_socket_join_refused(connection, token, &channel, error)
                }
                Output::Joined { connection, transport, token, channel, welcome, is_further } => {
                    if self.lines.slab.get_in_session(connection).is_some() {
                        let joined = Joined { channel, welcome, is_further };
                        self.handle_joined(connection, transport, token, joined);
                    }
                }
                Output::JoinRefused { connection, token, transport, channel, error } => {
                    // One that was withdrawn may have been asked for again since.
                    if error != SubscribeError::Withdrawn && self.lines.slab.get(connection).is_some() {
                        self.forget_catching_up(connection.index, &channel);
                    }
                    self.handle_join_refused(connection, transport, token, channel, error);
                }
                Output::Changed { ticket, result } => self.tell(ticket, Reply::Changed(result)),
                Output::State { ticket, page } => self.tell_read(ticket, Reply::State(page)),
                Output::Entered { ticket, result, .. } => self.tell(ticket, Reply::Entered(result)),
                Output::Presence { ticket, page } => self.tell_read(ticket, Reply::Presence(page)),
                Output::Unread { ticket, error } => self.tell_read(ticket, Reply::Unread(error)),
                Output::History { ticket, page } => self.put_page(Page::History { ticket, page }),
                Output::ReadDisk(asked) => self.read_from_disk(asked),
                Output::Survey { ticket, survey } => self.tell(ticket, Reply::Survey { survey }),
                Output::Notice(notice) => self.notify(notice),
                Output::AskedShard { ticket, from } => self.answer_survey(ticket, from),
                Output::AskedLook { ticket, from, busiest, with_past } => {
                    self.answer_look(ticket, from, busiest, with_past)
                }
            }
        }
    }

    pub(super) fn send_mesh(&mut self, to: ShardId, message: impl Into<Parcel>) {
        self.send_parcel(to, message.into());
    }

    fn send_parcel(&mut self, to: ShardId, parcel: Parcel) {
        match self.peers.send(to, parcel) {
            Ok(()) => {}
            Err(Refused::Deliver(channel)) => {
                self.report.dropped_mesh_total += 1;
                self.hub.deliver_dropped(to, &channel);
            }
            Err(Refused::Socket) => self.report.dropped_mesh_total += 1,
            Err(Refused::Announce(channel)) => self.hub.deliver_dropped(to, &channel),
            Err(Refused::Publish(message)) => self.refuse_message(to, message),
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
            // It has unsubscribed before this could be told.
            if !self.hub.is_subscribed(index, &joined.channel) {
                let (channel, error) = (joined.channel, SubscribeError::Withdrawn);
                return self.tell(Ticket { connection, token }, Reply::NotSubscribed { channel, error });
            }
            let reply = Reply::Subscribed {
                channel: joined.channel.clone(),
                position: joined.welcome.now,
                recovered: joined.welcome.recovered,
                missed: joined.welcome.missed.len() as u32 + joined.welcome.rest,
            };
            self.tell(Ticket { connection, token }, reply);
        }
        // The handler may have closed it upon that reply.
        if self.lines.slab.get_in_session(connection).is_none() {
            return;
        }
        let Joined { channel, welcome, is_further } = &joined;
        self.report.deliveries_total += welcome.missed.len() as u64;
        match transport {
            Transport::WebSocket if !welcome.recovered => self.close(index, CloseReason::PositionLost),
            Transport::LongPoll if self.severals.has(index) => self.park_several(index, channel, welcome),
            Transport::LongPoll => self.park(index, joined),
            Transport::EventStream if self.severals.has(index) => {
                self.tell_several(index, channel, welcome, *is_further);
                self.note_piece(index, channel, welcome);
            }
            Transport::WebSocket | Transport::Json | Transport::EventStream => {
                let json = &mut self.fanout.json;
                self.lines.say(index, Class::Recovery, |out| {
                    encode_piece(out, json, transport, channel, welcome, *is_further);
                });
                self.show(index, transport, channel, welcome);
                self.note_piece(index, channel, welcome);
            }
            Transport::SocketIo => unreachable!("sockets are told where the output is read"),
        }
    }

    /// A long poll has its position: answers it at once when there is something to say, else lets it wait.
    fn park(&mut self, index: u32, joined: Joined) {
        let Session::LongPoll(poll) = &mut self.lines.slab.at(index).session else { return };
        let Joined { welcome, .. } = &joined;
        poll.position = Some(welcome.position);
        if welcome.missed.is_empty() && welcome.recovered && poll.timeout_ms > 0 {
            self.wheel.set(index, self.now.monotonic_ms + u64::from(poll.timeout_ms));
            return;
        }
        let Joined { channel, welcome, .. } = joined;
        self.answer_poll_with_page(index, channel, welcome);
    }

    /// A long poll has waited long enough.
    pub(super) fn answer_poll_empty(&mut self, index: u32) {
        if self.answer_poll_that_waits(self.lines.slab.id(index)) {
            return;
        }
        let Session::LongPoll(poll) = &self.lines.slab.look(index).session else { return };
        if poll.position.is_some() && self.severals.has(index) {
            return self.answer_several(index);
        }
        match (poll.position, self.hub.only_channel(index)) {
            (Some(position), Some(channel)) => {
                let mut body = Vec::new();
                json::encode_poll_answer(&mut body, channel, position, true, &[]);
                let body = self.lines.outbox.encoded(&body);
                self.answer_poll(index, &body);
            }
            // The channel's owner has not answered in all this time.
            _ if !self.hub.are_brokers_up() => self.close(index, CloseReason::BrokerUnavailable),
            _ => self.close(index, CloseReason::Overloaded),
        }
    }

    /// Answers a parked long poll and reads on.
    pub(super) fn answer_poll(&mut self, index: u32, body: &Rc<Encoded>) {
        let Some((poll, exchange)) = self.unpark(index) else { return };
        self.report.responses_total[1] += 1;
        let date = self.clock.date();
        let bytes = body.as_slice();
        // A small body costs less to copy than its place in the queue.
        let is_copied = bytes.len() <= COPIED_BODY_BYTES_MAX;
        self.lines.say(index, Class::Answer, |out| {
            let keep_alive = exchange.keep_alive;
            http1::encode_poll_head(out, bytes.len(), date, &poll.fields, keep_alive, exchange.version);
            if is_copied && !exchange.head_only {
                out.extend_from_slice(bytes);
            }
        });
        if !is_copied && !exchange.head_only {
            self.lines.push(index, Class::Answer, SendBytes::Encoded(Rc::clone(body)));
        }
        self.go_on(index, *poll, exchange);
    }

    /// Answers a parked long poll with an error.
    pub(super) fn refuse_poll(&mut self, index: u32, reason: CloseReason) {
        let Some((poll, exchange)) = self.unpark(index) else { return };
        self.report.responses_total[usize::from(reason.http_status() / 100).clamp(1, 5) - 1] += 1;
        let refused = Response::refused(reason.http_status(), reason.label(), reason.sentence());
        let response = Response { fields: poll.fields.to_string(), ..refused };
        // Who may come back is told when.
        let response = match reason.http_status() {
            503 => response.with_field("Retry-After", "1"),
            _ => response,
        };
        let date = self.clock.date();
        let Exchange { keep_alive, head_only, version, .. } = exchange;
        self.lines.say(index, Class::Answer, |out| {
            http1::encode_response(out, &response, date, head_only, keep_alive, version);
        });
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
                self.severals.remove(index);
                self.pages.take_poll(connection);
                let keep_alive = poll.exchange.keep_alive && !self.ends_with_answer(index);
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
        let reason = match error {
            SubscribeError::BrokerUnavailable => CloseReason::BrokerUnavailable,
            SubscribeError::Already
            | SubscribeError::TooMany
            | SubscribeError::ChannelsFull
            | SubscribeError::Busy
            | SubscribeError::Withdrawn => CloseReason::Overloaded,
        };
        match (token, transport) {
            (Some(token), _) => {
                self.tell(Ticket { connection, token }, Reply::NotSubscribed { channel, error })
            }
            (None, Transport::LongPoll) => self.refuse_poll(connection.index, reason),
            (None, _) => self.close(connection.index, reason),
        }
    }
}

/// What an owner says to a new subscriber, or says further to one that catches up.
struct Joined {
    channel: ChannelName,
    welcome: Welcome,
    is_further: bool,
}
