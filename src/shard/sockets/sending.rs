//! Packets to a session, whatever carries it.
//!
//! A WebSocket gets frames at once; a client that polls gets everything of a turn with one answer, and what is said
//! while no poll is under way waits in the session's queue. Both are bounded by `limits.send_queue_bytes_max`: a client
//! that does not keep up is closed, unless what it is sent is volatile, which is dropped.

use std::cmp::Reverse;

use super::{Engines, Session, Shard};
use crate::{
    model::{Arguments, CloseReason},
    session::Outlet,
    shard::outbox::Class,
    wire::{
        engineio::{self, Packet},
        socketio::{self, EventHead},
    },
};

impl Engines {
    /// The sessions for which something waits, the most first.
    fn heaviest_queues(&self) -> Vec<u32> {
        let weight = |session: &Session| session.engine.queue.weight();
        let all = self.sessions.iter().map(|(index, session)| (weight(session), index));
        let mut heaviest: Vec<_> = all.filter(|(weight, _)| *weight > 0).collect();
        heaviest.sort_unstable_by_key(|(weight, _)| Reverse(*weight));
        heaviest.into_iter().map(|(_, session)| session).collect()
    }
}

impl Shard {
    /// Sends one Engine.IO packet.
    pub(super) fn send_engine(&mut self, session: u32, class: Class, packet: Packet<'_>) {
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        if record.engine.is_ending() {
            return;
        }
        match record.engine.outlet() {
            Outlet::WebSocket(connection) => {
                let is_base64 = record.engine.is_base64();
                self.lines.say_frames(connection, class, |out| {
                    engineio::encode_frame_as(out, packet, is_base64);
                });
            }
            Outlet::Queue => record.engine.queue.add(packet, &self.engines.queued_bytes),
            Outlet::Parked(_) => {
                record.engine.queue.add(packet, &self.engines.queued_bytes);
                if !std::mem::replace(&mut record.is_to_answer, true) {
                    self.engines.to_answer.push(session);
                }
            }
        }
    }

    /// Sends the Socket.IO packet that `encode` writes into the shard's scratch, and its attachments.
    pub(super) fn send_socketio(
        &mut self,
        session: u32,
        attachments: &[Box<[u8]>],
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut text = std::mem::take(&mut self.engines.text);
        text.clear();
        encode(&mut text);
        let packet = std::str::from_utf8(&text).expect("packets are written as text");
        self.send_with_attachments(session, packet, attachments);
        self.engines.text = text;
    }

    fn send_with_attachments(&mut self, session: u32, text: &str, attachments: &[Box<[u8]>]) {
        let bytes = text.len() + attachments.iter().map(|one| one.len()).sum::<usize>();
        if self.may_wait(session, bytes) {
            self.send_engine(session, Class::Answer, Packet::Text(text));
            for attachment in attachments {
                self.send_engine(session, Class::Answer, Packet::Binary(attachment));
            }
        }
    }

    /// Whether so many more bytes may wait for a session's client; otherwise it reads too slowly, and its session ends.
    fn may_wait(&mut self, session: u32, bytes: usize) -> bool {
        let (queued, waiting) = self.waiting_for(session);
        let may_wait = queued == 0
            || waiting + bytes <= self.limits.send_queue_bytes_max as usize
            || self.has_been_put_off(session);
        if !may_wait {
            self.end_engine(session, CloseReason::SlowConsumer);
        }
        may_wait
    }

    /// Sends a message of a raw application.
    pub(super) fn send_raw(&mut self, session: u32, is_text: bool, data: &[u8]) {
        if self.may_wait(session, data.len()) {
            self.send_engine(
                session,
                Class::Answer,
                match std::str::from_utf8(data) {
                    Ok(text) if is_text => Packet::Text(text),
                    _ => Packet::Binary(data),
                },
            );
        }
    }

    /// Sends an event to a socket's client; `offset` is what it may come back with.
    pub(super) fn send_event(
        &mut self,
        socket: u32,
        arguments: &Arguments,
        ack: Option<u64>,
        offset: Option<&str>,
    ) {
        let Some(record) = self.engines.sockets.get(socket) else { return };
        let (session, namespace) = (record.session, self.engines.io.namespace_name(record.namespace));
        let attachments = arguments.attachments.len() as u32;
        let head = EventHead { namespace: &namespace, ack, attachments, offset };
        self.report.deliveries_total += 1;
        self.send_socketio(session, &arguments.attachments, |text| {
            socketio::encode_event_array(text, head, &arguments.json);
        });
    }

    /// Bytes that wait for a session's client: behind what is being sent, and all together.
    pub(super) fn waiting_for(&self, session: u32) -> (usize, usize) {
        let Some(record) = self.engines.sessions.get(session) else { return (0, 0) };
        match record.engine.outlet() {
            Outlet::WebSocket(connection) => (self.lines.queued(connection), self.lines.waiting(connection)),
            Outlet::Parked(_) | Outlet::Queue => (record.engine.queue.len(), record.engine.queue.len()),
        }
    }

    /// Whether this shard keeps a session's client waiting.
    fn has_been_put_off(&self, session: u32) -> bool {
        let outlet = self.engines.sessions.get(session).map(|record| record.engine.outlet());
        match outlet {
            Some(Outlet::WebSocket(connection)) => {
                self.lines.outbox.is_put_off(self.lines.slab.look(connection).queue)
            }
            Some(Outlet::Parked(_) | Outlet::Queue) | None => false,
        }
    }

    /// Whether a session's client takes a packet at once.
    pub(super) fn is_writable(&self, session: u32) -> bool {
        let Some(record) = self.engines.sessions.get(session) else { return false };
        match record.engine.outlet() {
            Outlet::WebSocket(connection) => self.lines.is_silent(connection),
            Outlet::Parked(_) => true,
            Outlet::Queue => false,
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
