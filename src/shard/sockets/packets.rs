//! Socket.IO's packets: entering and leaving namespaces, events, acknowledgements.

use std::cell::RefCell;

use super::{Engines, Shard, Socket, State, claim, entering::Entry, is_in, recovery};
use crate::{
    app::{
        Message,
        socketio::{Admitted, ConnectError, Connecting, EngineId, Event, NamespaceId},
    },
    auth::Ruled,
    hub::{Hub, SubscribeError},
    limits::{NAMESPACES_PER_CLIENT_MAX, RECOVERY_QUEUES_MAX},
    model::{ChannelName, CloseReason, ConnectionId, Position, SocketId, Transport, Work, namespace_channel},
    session::NONE,
    shard::{connection::Flags, gate::Gate, lines::Lines, work::Turn},
    wire::{
        json::Raw,
        socketio::{self, Kind, Packet, Settings as PacketSettings, SocketError, Whole},
    },
};

/// Marks the subscription by which a socket enters its namespace.
const ENTERING: u32 = 1;

impl Engines {
    /// A client that does not read the answers to its own events is not read either, long before its queue is full.
    pub(super) fn pause_if_behind(&mut self, lines: &mut Lines, session: u32) {
        let connection = self.sessions.get(session).map_or(NONE, |record| record.engine.websocket());
        if connection != NONE && lines.waiting(connection) > self.queue_bytes_max / 2 {
            lines.pause(connection, Flags::PAUSED_FULL);
        }
    }

    /// A client is about to enter a namespace.
    pub(super) fn add_socket(
        &mut self,
        session: u32,
        namespace: NamespaceId,
        connection: u32,
        secret: [u8; 9],
    ) -> u32 {
        let first = self.sessions.get(session).map_or(NONE, |record| record.socket);
        let index = self.sockets.insert(|_, _| Socket::new(namespace, session, connection, secret, first));
        if let Some(record) = self.sessions.get_mut(session) {
            record.socket = index;
            record.engine.admit();
        }
        index
    }

    /// A socket is in its namespace, if it still is there.
    pub(super) fn let_in(&mut self, id: SocketId) -> Option<NamespaceId> {
        self.socket(id)?;
        let socket = self.sockets.get_mut(id.index)?;
        socket.state = State::Connected;
        Some(socket.namespace)
    }

    /// Up to where a socket whose client is away has been told, unless not all it missed since is held, or it is more than a
    /// client may have missed.
    fn told(&self, hub: &Hub, work: &mut Turn, id: SocketId, offset: Option<u64>) -> Option<u64> {
        let socket = self.socket(id)?;
        let proven = self.log.offset_at(socket.heard);
        let told = offset.map_or(proven, |offset| offset.max(proven));
        let is_in = |channel: &ChannelName| is_in(hub, id, channel);
        let bytes_max = RECOVERY_QUEUES_MAX * self.queue_bytes_max;
        let channels = hub.channels_of(id.subscriber().index);
        let of = recovery::Whereabouts { socket: id, told, channels, is_in };
        let missed = self.log.missed(of, bytes_max);
        work.count(Work::Events, missed.looked);
        missed.is_held.then_some(told)
    }

    /// Tells the application of one that is about to leave, if it wants to know, while its rooms are there.
    fn tell_disconnecting(&mut self, hub: &Hub, index: u32, reason: CloseReason) {
        if let Some(socket) = self.sockets.get(index)
            && socket.state.is_in()
            && self.io.hears_disconnecting(socket.namespace)
        {
            let rooms = self.rooms_of(hub, index);
            self.io.disconnecting(self.id_of(index), socket.namespace, reason, &rooms);
        }
    }

    /// The channels of a socket's rooms, without that of its namespace.
    pub(super) fn rooms_of(&self, hub: &Hub, index: u32) -> Vec<ChannelName> {
        let subscriber = self.id_of(index).subscriber();
        let name = self.sockets.get(index).map(|socket| self.io.namespace_name(socket.namespace));
        let is_room = |channel: &&ChannelName| Some(channel.as_str()) != name.as_deref();
        hub.channels_of(subscriber.index).filter(is_room).cloned().collect()
    }

    /// Makes a socket whose client was away one of a session's.
    fn put_into(&mut self, gate: &Gate, session: u32, id: SocketId) -> bool {
        let keeps_handshake = self.io.settings().keep_handshake;
        let names = gate.consults.fields_of_clients();
        let Some(record) = self.sessions.get_mut(session) else { return false };
        let connection = record.engine.websocket();
        let Some(socket) = self.sockets.get_mut(id.index) else { return false };
        let first = std::mem::replace(&mut record.socket, id.index);
        (socket.session, socket.next, socket.connection) = (session, first, connection);
        record.engine.admit();
        self.io.carried(id, connection != NONE);
        if !keeps_handshake && let Some(extra) = &mut record.extra {
            let handshake = extra.handshake.take();
            record.forget_handshake(handshake.as_deref(), names.as_deref());
        }
        self.count_client_again(gate, session, id);
        true
    }
}

impl Shard {
    /// A message of a session that speaks Socket.IO.
    pub(super) fn hear_socketio(&mut self, session: u32, message: Message<'_>) -> Result<(), CloseReason> {
        let settings = PacketSettings::new(self.engines.io.settings().max_http_buffer_size as usize);
        let Some(record) = self.engines.sessions.get_mut(session) else { return Ok(()) };
        // What has no attachments, and does not interrupt what has, needs no assembly.
        let heard = match (message, &mut record.extra) {
            (Message::Text(text), Some(extra))
                if !extra.assembly.is_idle() || text.starts_with(['5', '6']) =>
            {
                extra.assembly.handle_text(text, &settings)
            }
            (Message::Text(text), None) if text.starts_with(['5', '6']) => {
                record.extra().assembly.handle_text(text, &settings)
            }
            (Message::Text(text), _) => socketio::decode(text, &settings).map(Some),
            (Message::Binary(bytes), Some(extra)) => {
                let heard = extra.assembly.handle_binary(bytes, &settings);
                self.note_assembly(session);
                return match heard {
                    Ok(Some(whole)) => self.hear_whole(session, &whole),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error.close_reason()),
                };
            }
            (Message::Binary(_), None) => Err(SocketError::AttachmentUnexpected),
        };
        match heard {
            Ok(Some(packet)) => self.hear_socketio_packet(session, &packet, &[]),
            Ok(None) => {
                self.note_assembly(session);
                Ok(())
            }
            Err(error) => Err(error.close_reason()),
        }
    }

    /// Notes what a session keeps of a packet whose attachments have not all arrived.
    fn note_assembly(&mut self, session: u32) {
        let Some(extra) = self.engines.sessions.get_mut(session).and_then(|one| one.extra.as_mut()) else {
            return;
        };
        let bytes = extra.assembly.held_bytes();
        extra.is_partial = bytes > 0;
        self.note_partial_packet(session, bytes);
    }

    fn hear_whole(&mut self, session: u32, whole: &Whole) -> Result<(), CloseReason> {
        self.hear_socketio_packet(session, &whole.packet(), &whole.attachments)
    }

    fn hear_socketio_packet(
        &mut self,
        session: u32,
        packet: &Packet<'_>,
        attachments: &[Box<[u8]>],
    ) -> Result<(), CloseReason> {
        let socket = self.engines.socket_in(session, packet.namespace);
        match (&packet.kind, socket) {
            (Kind::Connect { auth }, before) => {
                // It has not heard yet that it is in, or has not told us that it left: what it asks last counts.
                if let Some(before) = before {
                    self.end_socket(before, CloseReason::ClientLeft);
                    self.run_orders();
                }
                // The application may have ended the session upon that.
                if !self.engines.is_ending(session) && !self.awaits_ruling(session, packet.namespace, *auth) {
                    self.enter(session, packet.namespace, *auth, Vec::new());
                }
                Ok(())
            }
            (Kind::Event(event), Some(socket)) => {
                let (name, json) = (&*event.name, event.array.as_str());
                let address = self.address_of_session(session);
                let event = Event { name, json, attachments, ack: event.ack, address, rulings: &[] };
                self.hear_event(socket, &event)
            }
            (Kind::Ack(ack), Some(socket)) => {
                let id = self.engines.id_of(socket);
                self.engines.io.acknowledged(id, ack.id, ack.array.as_str(), attachments);
                self.run_orders();
                Ok(())
            }
            (Kind::Disconnect, Some(socket)) => {
                self.end_socket(socket, CloseReason::ClientLeft);
                self.run_orders();
                Ok(())
            }
            // A client that leaves as the server puts it out says so to a namespace it is no longer in.
            (Kind::Disconnect, None) => Ok(()),
            (Kind::ConnectError(_), _) => Err(CloseReason::ServerClosed),
            (Kind::Event(_) | Kind::Ack(_), None) => Err(CloseReason::ServerClosed),
        }
    }

    fn hear_event(&mut self, socket: u32, event: &Event<'_>) -> Result<(), CloseReason> {
        let Some(record) = self.engines.sockets.get(socket) else { return Ok(()) };
        // It has not been told yet that it is in.
        if !record.state.is_in() {
            return Ok(());
        }
        let (namespace, session) = (record.namespace, record.session);
        let has_room = self.engines.io.event(self.engines.id_of(socket), namespace, event);
        self.run_orders();
        self.engines.pause_if_behind(&mut self.lines, session);
        if has_room { Ok(()) } else { Err(CloseReason::Overloaded) }
    }

    /// A client wants to enter a namespace.
    fn enter(&mut self, session: u32, namespace: &str, auth: Option<Raw<'_>>, rulings: Vec<Ruled>) {
        if self.come_back(session, namespace, auth) || self.begin_to_move(session, namespace, auth) {
            return;
        }
        if self.engines.sockets_of(session).count() >= NAMESPACES_PER_CLIENT_MAX {
            let error = ConnectError::new("this client is in as many namespaces as it may be");
            return self.refuse_entry(session, namespace, &error);
        }
        let Some(token) = self.token_to_enter(session, namespace, auth, &rulings) else { return };
        let address = self.address_of_session(session);
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        let connection = record.engine.websocket();
        let handshake = record.extra.as_mut().and_then(|extra| extra.handshake.take());
        let mut secret = [0; 9];
        if self.engines.log.is_on() && getrandom::fill(&mut secret).is_err() {
            return self.refuse_entry(session, namespace, &ConnectError::new("the server has no randomness"));
        }
        let id = self.engines.id_of(self.engines.sockets.next_index());
        let auth = auth.map(Raw::as_str);
        let (handshake_kept, is_websocket) = (handshake.as_deref(), connection != NONE);
        let user = token.as_ref().map(|token| token.user.clone());
        let connecting = Connecting {
            session: self.engines.engine_id(session),
            socket: id,
            namespace,
            auth,
            token,
            handshake: handshake_kept,
            address,
            is_websocket,
            rulings: &rulings,
            question: RefCell::default(),
        };
        let admitted = self.engines.io.admit(&connecting);
        let question = connecting.question.take();
        let is_in = matches!(admitted, Ok(Admitted::To(_)));
        let keeps = self.engines.io.settings().keep_handshake || !is_in;
        let names = self.gate.consults.fields_of_clients();
        if let Some(record) = self.engines.sessions.get_mut(session) {
            match keeps {
                true => record.extra().handshake = handshake,
                false => record.forget_handshake(handshake.as_deref(), names.as_deref()),
            }
        }
        let entered = match (admitted, question) {
            (Ok(Admitted::To(entered)), _) => entered,
            (Ok(Admitted::Waits), _) => return,
            (Err(error), None) => return self.refuse_entry(session, namespace, &error),
            (Err(_), Some(question)) => {
                let entry = Entry { session, namespace, auth, user: user.as_deref() };
                return self.consult_on_entry(&entry, rulings, question);
            }
        };
        let Ok(channel) = namespace_channel(namespace) else {
            self.engines.io.forgotten(id, entered);
            return self.refuse_entry(session, namespace, &ConnectError::new("Invalid namespace"));
        };
        self.engines.add_socket(session, entered, connection, secret);
        self.begin_socket(id, channel);
    }

    /// A socket that may enter follows its namespace; it is in when that has begun.
    fn begin_socket(&mut self, id: SocketId, channel: ChannelName) {
        let subscriber = id.subscriber();
        let asked = self.hub.subscribe(
            self.now,
            subscriber,
            Transport::SocketIo,
            channel.clone(),
            None,
            Some(ENTERING),
        );
        if let Err(error) = asked {
            self.handle_socket_join_refused(subscriber, Some(ENTERING), &channel, error);
        }
    }

    /// A client that has waited wants to enter a namespace, unless it has gone or entered meanwhile.
    pub(in crate::shard) fn enter_again(
        &mut self,
        engine: EngineId,
        namespace: &str,
        auth: Option<&str>,
        rulings: Vec<Ruled>,
    ) {
        let Some(session) = self.engines.find(engine) else { return };
        if self.engines.socket_in(session, namespace).is_none() && !self.engines.is_ending(session) {
            let auth = auth.and_then(|auth| Raw::check(auth, usize::MAX).ok());
            self.enter(session, namespace, auth, rulings);
        }
    }

    /// A socket's token is good no more. Its client may connect anew, and is asked for another.
    pub(in crate::shard) fn shut_out_socket(&mut self, id: SocketId, reason: CloseReason) {
        let Some(socket) = self.engines.socket(id) else { return };
        match socket.state {
            State::Away => self.forget_away(id),
            _ => {
                let session = socket.session;
                self.end_engine(session, reason);
                self.run_orders();
            }
        }
    }

    pub(super) fn refuse_entry(&mut self, session: u32, namespace: &str, error: &ConnectError) {
        let sent = self.engines.say_refused(&mut self.lines, session, namespace, error);
        self.end_unless(sent);
        self.run_orders();
    }

    /// A socket's subscription has begun; the first one lets it in.
    pub(in crate::shard) fn handle_socket_joined(
        &mut self,
        subscriber: ConnectionId,
        token: Option<u32>,
        channel: ChannelName,
        position: Position,
    ) {
        let Some(index) = self.engines.find_subscriber(subscriber) else { return };
        let id = self.engines.id_of(index);
        if token != Some(ENTERING) {
            self.engines.enter_room(&mut self.hub, id, &channel);
            self.engines.log.note_joined(self.now, id, channel, position);
            self.tell_joined(id, token, Ok(()));
            return self.end_join(index);
        }
        // Who knows its pid has heard all there was before it.
        let mark = self.engines.log.mark();
        if let Some(socket) = self.engines.sockets.get_mut(index) {
            socket.heard = mark;
        }
        if let Some(entered) = self.welcome_socket(id) {
            self.notify_of_socket(id, entered);
            self.engines.io.connected(id, entered, false);
            self.run_orders();
        }
    }

    /// Tells a client that it is in; gives the namespace, unless that ended its session.
    fn welcome_socket(&mut self, id: SocketId) -> Option<NamespaceId> {
        let sent = self.engines.say_entered(&mut self.lines, id);
        self.end_unless(sent);
        self.engines.let_in(id)
    }

    pub(in crate::shard) fn handle_socket_join_refused(
        &mut self,
        subscriber: ConnectionId,
        token: Option<u32>,
        channel: &ChannelName,
        error: SubscribeError,
    ) {
        let Some(index) = self.engines.find_subscriber(subscriber) else { return };
        if token != Some(ENTERING) {
            if error == SubscribeError::Withdrawn {
                self.engines.log.take_back_left(self.engines.id_of(index), channel);
            }
            // To be in a room already is what was asked for.
            let is_in_vain = !matches!(error, SubscribeError::Already | SubscribeError::Withdrawn);
            if is_in_vain && token.is_none() {
                self.report.commands_refused_total += 1;
                tracing::debug!(?error, "a socket could not join a room");
            }
            let result = if is_in_vain { Err(error) } else { Ok(()) };
            self.tell_joined(self.engines.id_of(index), token, result);
            return self.end_join(index);
        }
        let id = self.engines.id_of(index);
        self.engines.unlink(index);
        self.hub.leave_all(subscriber);
        let Some(socket) = self.engines.sockets.remove(index) else { return };
        let namespace = self.engines.io.namespace_name(socket.namespace);
        self.engines.io.forgotten(id, socket.namespace);
        let message = ConnectError::new("the server is overloaded; try again later");
        self.refuse_entry(socket.session, &namespace, &message);
    }

    /// Tells the application what became of a join it wanted to hear of.
    fn tell_joined(&mut self, id: SocketId, number: Option<u32>, result: Result<(), SubscribeError>) {
        if let Some(number) = number {
            self.engines.io.joined(id, number, result);
            self.run_orders();
        }
    }

    /// A socket's client leaves its namespace, or is put out.
    pub(super) fn end_socket(&mut self, index: u32, reason: CloseReason) {
        self.engines.tell_disconnecting(&self.hub, index, reason);
        let Some(leaver) = self.engines.leaver(index, reason) else { return };
        if leaver.is_gone() {
            self.notify_of_socket_gone(leaver.id, leaver.namespace, reason);
        }
        self.engines.end_socket(&mut self.hub, &leaver, reason);
        if !leaver.is_kept {
            self.look_at_asks();
        }
    }

    pub(super) fn end_sockets_of(&mut self, session: u32, reason: CloseReason) {
        while let Some(record) = self.engines.sessions.get(session)
            && record.socket != NONE
        {
            let first = record.socket;
            self.end_socket(first, reason);
        }
    }

    /// Forgets a client that has not come back in time.
    pub(super) fn forget_away(&mut self, id: SocketId) {
        if let Some(namespace) = self.engines.socket(id).map(|socket| socket.namespace) {
            self.notify_of_socket_gone(id, namespace, CloseReason::ClientGone);
        }
        self.engines.forget_away(&mut self.hub, id);
        self.look_at_asks();
    }

    /// Lets a client go on as the socket it was, if it shows that it was and all it missed is held.
    fn come_back(&mut self, session: u32, namespace: &str, auth: Option<Raw<'_>>) -> bool {
        if !self.engines.log.is_on() {
            return false;
        }
        let Some(claim) = auth.and_then(claim::Claim::read) else { return false };
        let Some(mut id) = self.engines.find_claimed(&claim, self.id, namespace) else { return false };
        // A client that was lost may be back before that was noticed here.
        if let Some(socket) = self.engines.socket(id)
            && socket.state.is_in()
        {
            self.end_engine(socket.session, CloseReason::ClientGone);
            match self.engines.find_claimed(&claim, self.id, namespace) {
                Some(away) => id = away,
                None => return false,
            }
        }
        let Some(told) = self.engines.told(&self.hub, &mut self.work, id, claim.offset) else { return false };
        self.engines.introduce_again(&self.hub, session, id, auth);
        if !self.engines.put_into(&self.gate, session, id) {
            return false;
        }
        let Some(entered) = self.welcome_socket(id) else { return true };
        self.engines.begin_returning(session, id, told);
        self.engines.io.connected(id, entered, true);
        self.run_orders();
        // What it missed comes first, and most have missed little.
        self.tell_missed(session);
        true
    }
}
