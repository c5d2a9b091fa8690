//! Packets to a session, whatever carries it.
//!
//! A WebSocket gets frames at once; a client that polls gets everything of a turn with one answer, and what is said
//! while no poll is under way waits in the session's queue. Both are bounded by `limits.send_queue_bytes_max`: a client
//! that does not keep up is closed, unless what it is sent is volatile, which is dropped.

use std::cmp::Reverse;

use super::{
    Engines, Session, Shard, State, Surroundings, claim,
    fan_out::{write_arguments, write_packets},
};
use crate::{
    app::socketio::{ConnectError, NamespaceId},
    mesh::{Sent, ShardReport},
    model::{Arguments, CloseReason, SessionId, SocketId},
    ring::SendBytes,
    session::Outlet,
    shard::{lines::Lines, outbox::Class},
    wire::{
        engineio::{self, Packet},
        socketio::{self, AckHead, ConnectRefusal, ConnectReply, EventHead},
    },
};

/// A session that has to end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ToEnd {
    pub(super) session: u32,
    pub(super) reason: CloseReason,
}

impl Engines {
    /// The sessions for which something waits, the most first.
    fn heaviest_queues(&self) -> Vec<u32> {
        let weight = |session: &Session| session.engine.queue.weight();
        let all = self.sessions.iter().map(|(index, session)| (weight(session), index));
        let mut heaviest: Vec<_> = all.filter(|(weight, _)| *weight > 0).collect();
        heaviest.sort_unstable_by_key(|(weight, _)| Reverse(*weight));
        heaviest.into_iter().map(|(_, session)| session).collect()
    }

    /// Sends one Engine.IO packet.
    pub(super) fn send_engine(&mut self, lines: &mut Lines, session: u32, class: Class, packet: Packet<'_>) {
        let Some(record) = self.sessions.get_mut(session) else { return };
        if record.engine.is_ending() {
            return;
        }
        match record.engine.outlet() {
            Outlet::WebSocket(connection) => {
                let is_base64 = record.engine.is_base64();
                lines.say_frames(connection, class, |out| {
                    engineio::encode_frame_as(out, packet, is_base64);
                });
            }
            Outlet::Queue => record.engine.queue.add(packet, &self.queued_bytes),
            Outlet::Parked(_) => {
                record.engine.queue.add(packet, &self.queued_bytes);
                if !std::mem::replace(&mut record.is_to_answer, true) {
                    self.to_answer.push(session);
                }
            }
        }
    }

    /// Bytes that wait for a session's client: behind what is being sent, and all together.
    pub(super) fn waiting_for(&self, lines: &Lines, session: u32) -> (usize, usize) {
        let Some(record) = self.sessions.get(session) else { return (0, 0) };
        match record.engine.outlet() {
            Outlet::WebSocket(connection) => (lines.queued(connection), lines.waiting(connection)),
            Outlet::Parked(_) | Outlet::Queue => (record.engine.queue.len(), record.engine.queue.len()),
        }
    }

    /// Whether this shard keeps a session's client waiting.
    fn has_been_put_off(&self, lines: &Lines, session: u32) -> bool {
        let outlet = self.sessions.get(session).map(|record| record.engine.outlet());
        match outlet {
            Some(Outlet::WebSocket(connection)) => lines.outbox.is_put_off(lines.slab.look(connection).queue),
            Some(Outlet::Parked(_) | Outlet::Queue) | None => false,
        }
    }

    /// Whether a session's client takes a packet at once.
    pub(super) fn is_writable(&self, lines: &Lines, session: u32) -> bool {
        let Some(record) = self.sessions.get(session) else { return false };
        match record.engine.outlet() {
            Outlet::WebSocket(connection) => lines.is_silent(connection),
            Outlet::Parked(_) => true,
            Outlet::Queue => false,
        }
    }
}

impl Engines {
    /// Sends the Socket.IO packet that `encode` writes into the shard's scratch, and its attachments.
    pub(super) fn send_socketio(
        &mut self,
        lines: &mut Lines,
        session: u32,
        attachments: &[Box<[u8]>],
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ToEnd> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        encode(&mut text);
        let packet = std::str::from_utf8(&text).expect("packets are written as text");
        let sent = self.send_with_attachments(lines, session, packet, attachments);
        self.text = text;
        sent
    }

    fn send_with_attachments(
        &mut self,
        lines: &mut Lines,
        session: u32,
        text: &str,
        attachments: &[Box<[u8]>],
    ) -> Result<(), ToEnd> {
        let bytes = text.len() + attachments.iter().map(|one| one.len()).sum::<usize>();
        self.may_wait(lines, session, bytes)?;
        self.send_engine(lines, session, Class::Answer, Packet::Text(text));
        for attachment in attachments {
            self.send_engine(lines, session, Class::Answer, Packet::Binary(attachment));
        }
        Ok(())
    }

    /// Whether so many more bytes may wait for a session's client; otherwise it reads too slowly.
    fn may_wait(&self, lines: &Lines, session: u32, bytes: usize) -> Result<(), ToEnd> {
        let (queued, waiting) = self.waiting_for(lines, session);
        let may_wait =
            queued == 0 || waiting + bytes <= self.queue_bytes_max || self.has_been_put_off(lines, session);
        if may_wait { Ok(()) } else { Err(ToEnd { session, reason: CloseReason::SlowConsumer }) }
    }

    /// Sends a message of a raw application.
    pub(super) fn send_raw(
        &mut self,
        lines: &mut Lines,
        session: u32,
        is_text: bool,
        data: &[u8],
    ) -> Result<(), ToEnd> {
        self.may_wait(lines, session, data.len())?;
        let packet = match std::str::from_utf8(data) {
            Ok(text) if is_text => Packet::Text(text),
            _ => Packet::Binary(data),
        };
        self.send_engine(lines, session, Class::Answer, packet);
        Ok(())
    }

    /// Sends an event to a socket's client; `offset` is what it may come back with.
    fn send_event(
        &mut self,
        lines: &mut Lines,
        socket: u32,
        arguments: &Arguments,
        ack: Option<u64>,
        offset: Option<&str>,
    ) -> Result<(), ToEnd> {
        let Some(record) = self.sockets.get(socket) else { return Ok(()) };
        let (session, namespace) = (record.session, self.io.namespace_name(record.namespace));
        let attachments = arguments.attachments.len() as u32;
        let head = EventHead { namespace: &namespace, ack, attachments, offset };
        self.send_socketio(lines, session, &arguments.attachments, |text| {
            socketio::encode_event_array(text, head, &arguments.json);
        })
    }

    /// Sends an event to a socket, or keeps it where its client is told later; a volatile one is dropped then.
    pub(super) fn emit(
        &mut self,
        around: &mut Surroundings<'_>,
        id: SocketId,
        arguments: &Arguments,
        ack: Option<u64>,
        is_volatile: bool,
    ) -> Result<(), ToEnd> {
        let Some(socket) = self.socket(id) else { return Ok(()) };
        let (state, session) = (socket.state, socket.session);
        if is_volatile && (state != State::Connected || !self.is_writable(around.lines, session)) {
            return Ok(());
        }
        // One that asks for an acknowledgement does not end with a text.
        let has_offset = self.log.is_on() && ack.is_none();
        let offset = has_offset.then(|| match is_volatile {
            true => self.log.latest(),
            false => self.log.keep_direct(self.now, id, arguments),
        });
        if state != State::Connected {
            return Ok(());
        }
        around.report.deliveries_total += 1;
        let offset = offset.map(claim::offset_text);
        self.send_event(around.lines, id.index, arguments, ack, offset.as_deref())
    }

    /// Sends the acknowledgement of an event.
    pub(super) fn acknowledge(
        &mut self,
        lines: &mut Lines,
        socket: SocketId,
        id: u64,
        arguments: &Arguments,
    ) -> Result<(), ToEnd> {
        let Some(record) = self.socket(socket).filter(|record| record.state.is_in()) else { return Ok(()) };
        let (session, namespace) = (record.session, self.io.namespace_name(record.namespace));
        let attachments = arguments.attachments.len() as u32;
        let head = AckHead { namespace: &namespace, id, attachments };
        self.send_socketio(lines, session, &arguments.attachments, |text| {
            socketio::encode_ack(text, head, &arguments.json);
        })
    }

    /// Tells a client that it is put out of a namespace.
    pub(super) fn say_put_out(
        &mut self,
        lines: &mut Lines,
        session: u32,
        namespace: NamespaceId,
    ) -> Result<(), ToEnd> {
        let namespace = self.io.namespace_name(namespace);
        self.send_socketio(lines, session, &[], |text| socketio::encode_disconnect(text, &namespace))
    }

    /// Tells a client that it does not enter a namespace.
    pub(super) fn say_refused(
        &mut self,
        lines: &mut Lines,
        session: u32,
        namespace: &str,
        error: &ConnectError,
    ) -> Result<(), ToEnd> {
        let refusal = ConnectRefusal { namespace, message: &error.message, data: error.data.as_deref() };
        self.send_socketio(lines, session, &[], |text| socketio::encode_connect_error(text, refusal))
    }

    /// Tells a client that it is in, as this socket.
    pub(super) fn say_entered(&mut self, lines: &mut Lines, id: SocketId) -> Result<(), ToEnd> {
        let Some(socket) = self.socket(id) else { return Ok(()) };
        let (session, entered, secret) = (socket.session, socket.namespace, socket.secret);
        let namespace = self.io.namespace_name(entered);
        let pid = self.log.is_on().then(|| SessionId::new(self.shard, id.index, secret).text());
        let sid = id.to_string();
        let reply = ConnectReply { namespace: &namespace, sid: &sid, pid: pid.as_deref() };
        self.send_socketio(lines, session, &[], |text| socketio::encode_connect(text, reply))
    }

    /// Sends events that a client missed, each with the offset it has, as one message to the door.
    pub(super) fn send_again(
        &mut self,
        around: &mut Surroundings<'_>,
        session: u32,
        socket: u32,
        missed: &[(u64, Sent)],
    ) {
        let Some(Outlet::WebSocket(connection)) = self.outlet(session) else {
            return missed.iter().for_each(|(offset, sent)| {
                self.write_again(around.report, socket, *offset, sent, |engines, packet| {
                    engines.send_engine(around.lines, session, Class::Recovery, packet);
                });
            });
        };
        let is_base64 = self.sessions.get(session).is_some_and(|one| one.engine.is_base64());
        let mut frames = Vec::new();
        for (offset, sent) in missed {
            self.write_again(around.report, socket, *offset, sent, |_, packet| {
                engineio::encode_frame_as(&mut frames, packet, is_base64);
            });
        }
        if !frames.is_empty() {
            around.lines.push(connection, Class::Recovery, SendBytes::Owned(frames));
        }
    }

    fn write_again(
        &mut self,
        report: &mut ShardReport,
        socket: u32,
        offset: u64,
        sent: &Sent,
        mut write: impl FnMut(&mut Self, Packet<'_>),
    ) {
        let Some(record) = self.sockets.get(socket) else { return };
        let (namespace, offset) = (record.namespace, claim::offset_text(offset));
        let namespace = self.io.namespace_name(namespace);
        let mut text = std::mem::take(&mut self.text);
        report.deliveries_total += 1;
        let send = |packet: Packet<'_>| write(self, packet);
        match sent {
            Sent::Direct(_, arguments) => {
                let head =
                    EventHead { namespace: &namespace, ack: None, attachments: 0, offset: Some(&offset) };
                write_arguments(arguments, head, &mut text, send);
            }
            Sent::Publication(publication) => {
                write_packets(publication, &namespace, Some(&offset), &mut text, send);
            }
            Sent::Lost(_) => unreachable!("what was lost is not sent"),
        }
        self.text = text;
    }
}

impl Shard {
    /// Ends a session where something was sent to it for which it had no room.
    #[inline]
    pub(super) fn end_unless(&mut self, sent: Result<(), ToEnd>) {
        if let Err(ToEnd { session, reason }) = sent {
            self.end_engine(session, reason);
        }
    }

    /// Ends those sessions for which most waits, if what waits for clients that poll takes more than the shard's share of
    /// the memory for what waits: so many that a sixteenth of it is free again.
    fn keep_queues_to_budget(&mut self) {
        let max = self.lines.held_bytes_max();
        if self.engines.queued_bytes.get() <= max {
            return;
        }
        for session in self.engines.heaviest_queues() {
            if self.engines.queued_bytes.get() <= max - max / 16 {
                return;
            }
            self.end_engine(session, CloseReason::SlowConsumer);
        }
    }

    /// Ends the turn: answers the polls for which something was said.
    pub(in crate::shard) fn answer_engines(&mut self) {
        let mut sessions = std::mem::take(&mut self.engines.to_answer);
        for session in sessions.drain(..) {
            let Some(record) = self.engines.sessions.get_mut(session) else { continue };
            record.is_to_answer = false;
            if !record.engine.queue.is_empty() {
                self.answer_poll_of(session);
            }
        }
        self.keep_queues_to_budget();
        // Requests that were pipelined behind a poll may have been answered meanwhile.
        if self.engines.to_answer.is_empty() {
            self.engines.to_answer = sessions;
        }
    }
}
