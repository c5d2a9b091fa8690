//! What the application asks for, and what other shards ask for.

use super::{Engines, Shard, State, Surroundings, selecting::Task, sending::ToEnd};
use crate::{
    app::socketio::{ChannelQuestion, Order},
    limits::HELD_ORDERS_MAX,
    mesh::{self, SocketCommand, SocketsAnswer, SocketsRequest, Told},
    model::{ChannelName, CloseReason, Issuer, ShardId, SocketId, Transport},
    shard::{behind::Reading, kinds::Ask},
};

/// Rounds of orders that callbacks of orders may cause before the rest waits for the next turn.
const ROUNDS_MAX: usize = 64;

impl Engines {
    /// Puts off what a socket is told while it catches up; gives back what need not wait.
    pub(super) fn hold(&mut self, order: Order) -> Result<Option<Order>, ToEnd> {
        let (Order::Emit { socket, is_volatile: false, arguments, .. }
        | Order::Acknowledge { socket, arguments, .. }) = &order
        else {
            return Ok(Some(order));
        };
        // Few sockets catch up at any moment, mostly none.
        if self.held.is_empty() {
            return Ok(Some(order));
        }
        let (index, bytes, bytes_max) = (socket.index, arguments.bytes(), self.queue_bytes_max);
        if self.socket(*socket).is_none() {
            return Ok(Some(order));
        }
        let Some(held) = self.held.get_mut(&index) else { return Ok(Some(order)) };
        // It is told from the log, unless something before is not in it.
        let is_kept = matches!(order, Order::Emit { ack: None, .. });
        if is_kept && held.orders.is_empty() {
            return Ok(Some(order));
        }
        if held.orders.is_empty() || (held.orders.len() < HELD_ORDERS_MAX && held.bytes + bytes <= bytes_max)
        {
            held.bytes += bytes;
            held.orders.push(order);
        } else if let Some(session) = self.sockets.get(index).map(|socket| socket.session) {
            return Err(ToEnd { session, reason: CloseReason::Overloaded });
        }
        Ok(None)
    }
}

impl Shard {
    /// Does everything the application has asked for, in order, and what it asks for meanwhile.
    pub(in crate::shard) fn run_orders(&mut self) {
        if self.engines.runs_orders || self.engines.io.orders().is_empty() {
            return;
        }
        self.engines.runs_orders = true;
        let mut orders = std::mem::take(&mut self.engines.orders);
        for _ in 0..ROUNDS_MAX {
            self.engines.io.orders().take(&mut orders);
            if orders.is_empty() {
                break;
            }
            for (issuer, order) in orders.drain(..) {
                self.run_order(issuer, order);
            }
        }
        self.engines.orders = orders;
        self.engines.runs_orders = false;
    }

    fn run_order(&mut self, issuer: Issuer, order: Order) {
        match self.must_wait(issuer, order.kind(self.id)) {
            true => self.hold_ask(issuer, Ask::Order(order)),
            false => self.obey(issuer, order),
        }
    }

    /// Does one thing that the application has asked for, whose turn it is.
    pub(in crate::shard) fn obey(&mut self, issuer: Issuer, order: Order) {
        match self.engines.hold(order) {
            Ok(None) => {}
            Err(to_end) => self.end_unless(Err(to_end)),
            Ok(Some(Order::Publish { channel, mut payload, is_ordered, ticket, author: _ })) => {
                if is_ordered {
                    payload.after = self.followed(issuer, &channel);
                }
                self.publish(issuer, channel, payload, ticket);
            }
            Ok(Some(Order::ChangeState { channel, request, ticket })) => {
                self.change_state(issuer, channel, request, ticket);
            }
            Ok(Some(Order::Read { channel, question, ticket })) => {
                let reading = match question {
                    ChannelQuestion::State(query) => Reading::State { channel, query },
                    ChannelQuestion::Presence { after, limit } => Reading::Presence { channel, after, limit },
                    ChannelQuestion::History { since, limit } => Reading::History { channel, since, limit },
                };
                self.ask_for(ticket, reading);
            }
            Ok(Some(Order::Request(request))) => self.ask_all(issuer, request),
            Ok(Some(order)) => {
                if let Order::Command { socket, .. } = &order
                    && socket.shard != self.id
                {
                    self.note_act(issuer, false);
                }
                let joining = order.joining(self.id);
                self.run_order_now(order);
                if let Some(index) = joining {
                    self.note_joining(issuer, index);
                }
            }
        }
    }

    /// A room has taken a socket in, or will not.
    pub(super) fn end_join(&mut self, index: u32) {
        self.engines.joins.end_one(index);
        self.look_at_asks();
    }

    /// Tells a socket what was put off.
    pub(super) fn run_held(&mut self, index: u32) {
        for order in self.engines.held.remove(&index).unwrap_or_default().orders {
            self.run_order_now(order);
        }
    }

    fn run_order_now(&mut self, order: Order) {
        match order {
            Order::Emit { socket, arguments, ack, is_volatile } => {
                let around = &mut Surroundings { lines: &mut self.lines, report: &mut self.report };
                let sent = self.engines.emit(around, socket, &arguments, ack, is_volatile);
                self.end_unless(sent);
            }
            Order::Acknowledge { socket, id, arguments } => {
                let sent = self.engines.acknowledge(&mut self.lines, socket, id, &arguments);
                self.end_unless(sent);
            }
            Order::Command { socket, command } if socket.shard == self.id => {
                self.handle_socket_command(socket, command);
            }
            Order::Command { socket, command } => {
                if self.peers.has(socket.shard) {
                    self.send_mesh(socket.shard, mesh::ShardMessage::Socket { socket, command });
                }
            }
            Order::Join { socket, rooms, number } => {
                rooms.into_iter().for_each(|room| self.join_room(socket, room, Some(number)));
            }
            Order::Authenticate { socket, token } => self.authenticate_socket(socket, token),
            Order::Consult { socket, number, question } => self.consult_for_socket(socket, number, *question),
            Order::Publish { .. } | Order::ChangeState { .. } | Order::Read { .. } | Order::Request(_) => {
                unreachable!("these are no one socket's")
            }
            Order::Answer { asker, token, arguments } => {
                let (sockets, acks) = (Vec::new(), Vec::new());
                let answer = SocketsAnswer { token, count: 0, sockets, arguments: Some(arguments), acks };
                self.answer_shard(asker, answer);
            }
            Order::Gathered { asker, answer } => self.answer_shard(asker, *answer),
            Order::Send { session, is_text, data } => {
                if let Some(session) = self.engines.find(session) {
                    let sent = self.engines.send_raw(&mut self.lines, session, is_text, &data);
                    self.end_unless(sent);
                }
            }
            Order::Close { session } => {
                if let Some(session) = self.engines.find(session) {
                    self.end_engine(session, CloseReason::ServerLeft);
                }
            }
            Order::Tell { selection, token } => {
                let task = Task::Tell { token, limit: u32::MAX, told: Told::Summaries };
                self.begin_selecting(self.id, *selection, task);
            }
            Order::Then(then) => (then.0)(),
            Order::Enter { session, number } => self.enter_at_last(session, number),
            Order::Cluster(ask) => self.ask_cluster(*ask),
            Order::Respond { connection, response } => self.respond(connection, response),
            Order::ReadOn { connection } => self.read_upload_on(connection),
            Order::Write { connection, part, room } => self.write_answer_part(connection, part, room),
            Order::CountRateLimited => self.report.rate_limited_total += 1,
            Order::CountCommandRefused => self.report.commands_refused_total += 1,
        }
    }

    /// Does something to a socket of this shard.
    pub(in crate::shard) fn handle_socket_command(&mut self, id: SocketId, command: SocketCommand) {
        let Some(socket) = self.engines.socket(id) else { return };
        let (session, namespace) = (socket.session, socket.namespace);
        match command {
            SocketCommand::Emit { arguments, is_volatile } => {
                let around = &mut Surroundings { lines: &mut self.lines, report: &mut self.report };
                let sent = self.engines.emit(around, id, &arguments, None, is_volatile);
                self.end_unless(sent);
            }
            SocketCommand::Acknowledge { id: event, arguments } => {
                let sent = self.engines.acknowledge(&mut self.lines, id, event, &arguments);
                self.end_unless(sent);
            }
            SocketCommand::Join(rooms) => rooms.into_iter().for_each(|room| self.join_room(id, room, None)),
            SocketCommand::Leave(rooms) => {
                for room in rooms {
                    self.engines.depart_room(&mut self.hub, id, &room);
                    if self.hub.unsubscribe(id.subscriber(), &room) {
                        self.engines.log.note_left(self.now, id, room);
                    }
                }
            }
            SocketCommand::Keep(json) => self.engines.io.keep_data(id, json),
            // Put out while it is away, it is not to come back.
            SocketCommand::Disconnect { .. } | SocketCommand::PutOut if socket.state == State::Away => {
                self.end_socket(id.index, CloseReason::ServerLeft);
            }
            // It hears first what it was told before.
            SocketCommand::Disconnect { ends_session } if socket.state == State::Returning => {
                self.engines.returning.put_out_after(session, id, ends_session);
            }
            SocketCommand::PutOut if socket.state == State::Returning => {
                self.engines.returning.put_out_after(session, id, true);
            }
            SocketCommand::PutOut => {
                let sent = self.engines.say_put_out(&mut self.lines, session, namespace);
                self.end_unless(sent);
                // Told both with one poll, a client takes the end of its connection for the reason.
                self.answer_poll_of(session);
                self.end_engine(session, CloseReason::ServerLeft);
            }
            SocketCommand::Disconnect { ends_session: true } => {
                self.end_engine(session, CloseReason::ServerLeft)
            }
            SocketCommand::Disconnect { ends_session: false } => {
                let sent = self.engines.say_put_out(&mut self.lines, session, namespace);
                self.end_unless(sent);
                self.end_socket(id.index, CloseReason::ServerLeft);
            }
        }
    }

    /// Puts a socket into a room; with a number the application hears of it.
    fn join_room(&mut self, id: SocketId, room: ChannelName, number: Option<u32>) {
        if self.engines.socket(id).is_none() {
            return;
        }
        self.engines.joins.begin(id.index);
        let subscriber = id.subscriber();
        let asked = self.hub.subscribe(self.now, subscriber, Transport::SocketIo, room.clone(), None, number);
        if let Err(error) = asked {
            self.handle_socket_join_refused(subscriber, number, &room, error);
        }
    }

    /// Puts a request to every shard.
    fn ask_all(&mut self, issuer: Issuer, request: SocketsRequest) {
        // A question changes nothing and is not heard by clients.
        if !matches!(request, SocketsRequest::Fetch { .. }) {
            self.note_act(issuer, true);
        }
        for to in self.peers.all() {
            self.send_mesh(to, mesh::ShardMessage::Sockets(request.clone()));
        }
        // An application does not send itself an event for the others.
        if !matches!(request, SocketsRequest::ServerEvent { .. }) {
            let begun = self.engines.joins.begun();
            self.handle_sockets_request(self.id, request);
            if let Some(number) = self.engines.commanding() {
                self.note_selection(issuer, number);
            }
            if self.engines.joins.begun() > begun {
                self.note_joins(issuer);
            }
        }
    }

    /// A request that some shard, perhaps this one, put to all.
    pub(in crate::shard) fn handle_sockets_request(&mut self, from: ShardId, request: SocketsRequest) {
        match request {
            SocketsRequest::Command { selection, command } => {
                self.begin_selecting(from, selection, Task::Command(command));
            }
            SocketsRequest::Ask { selection, token, asking } => {
                let gathering = self.engines.io.gather((from, token), *asking);
                self.begin_selecting(from, selection, Task::Ask(gathering));
            }
            SocketsRequest::Fetch { selection, token, limit, told } => {
                self.begin_selecting(from, selection, Task::Tell { token, limit, told });
            }
            SocketsRequest::ServerEvent { namespace, arguments, token } => {
                self.engines.io.server_event(from, &namespace, &arguments, token);
            }
        }
        self.run_orders();
    }

    pub(super) fn answer_shard(&mut self, to: ShardId, answer: SocketsAnswer) {
        match to == self.id {
            true => self.handle_sockets_answer(to, answer),
            false => self.send_mesh(to, mesh::ShardMessage::SocketsAnswer(answer)),
        }
    }

    pub(in crate::shard) fn handle_sockets_answer(&mut self, from: ShardId, answer: SocketsAnswer) {
        self.engines.io.answered(from, answer);
        self.run_orders();
    }
}
