//! Connections that have become WebSockets: frames in, messages to the handler or to Engine.IO.
//!
//! A message that comes compressed can be a thousand times as long as what has arrived, and costs as much as if it had arrived
//! so. So a turn inflates no more than [`INFLATED_BYTES_PER_TURN`]; what comes behind waits for the next turns:
//!
//! ```text
//!   received ─► messages ─┬─(the turn has inflated enough)───────► held, KEPT ─► the next turn, the longest wait first
//!                         └─(its answers fill its queue)─► full, KEPT ─┘ (there is room)
//! ```
//!
//! Invariant: a connection stands among the held or the full at most once, and is not read while it does, so that nothing
//! overtakes.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{connection::Flags, intents::Wish, outbox::Class, sockets::WebSocketRole, turn::Shard};
use crate::{
    app::{Message, Peer},
    limits::{INFLATED_BYTES_COUNTED_MIN, INFLATED_BYTES_PER_TURN, Limits},
    model::{ChannelName, CloseReason, ConnectionId, Position, Transport, Work},
    session::{Event, Session, WebSocket},
    wire::{
        http1::Request,
        websocket::{Agreed, Compression, Inflater, Role, Settings},
    },
};

/// What the messages of a shard's clients are read with.
pub(super) struct Messages {
    pub(super) settings: Settings,
    /// For conformance suites.
    pub(super) diagnostic: Settings,
    inflater: Inflater,
    /// Bytes inflated in this turn.
    spent: usize,
    held: VecDeque<(ConnectionId, Vec<u8>)>,
    /// What those have sent whose clients have to read first.
    full: FxHashMap<u32, Vec<u8>>,
}

impl Messages {
    pub(super) fn new(limits: &Limits, diagnostic_bytes_max: u64) -> Self {
        Self {
            settings: frames_of(limits.message_bytes_max.into(), limits.message_fragments_max),
            diagnostic: frames_of(diagnostic_bytes_max, 0),
            inflater: Inflater::default(),
            spent: 0,
            held: VecDeque::new(),
            full: FxHashMap::default(),
        }
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.spent = 0;
    }

    /// Whether somebody waits for the next turn.
    pub(super) fn has_more(&self) -> bool {
        !self.held.is_empty()
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, index: u32) {
        if !self.full.is_empty() {
            self.full.remove(&index);
        }
    }

    /// The queue of a connection has room again.
    pub(super) fn note_room(&mut self, id: ConnectionId) {
        if !self.full.is_empty()
            && let Some(bytes) = self.full.remove(&id.index)
        {
            self.held.push_back((id, bytes));
        }
    }

    fn is_spent(&self) -> bool {
        self.spent >= INFLATED_BYTES_PER_TURN
    }
}

impl Shard {
    pub(super) fn become_websocket(
        &mut self,
        index: u32,
        websocket: WebSocket,
        channel: Option<(ChannelName, Option<Position>)>,
        early: &mut [u8],
    ) {
        self.lines.slab.at(index).flags.set(Flags::KNOWN);
        self.set_session(index, Session::WebSocket(websocket));
        self.notify_of_arrival(index);
        // Spread over one interval, so that a storm of connects is not followed by storms of pings.
        let interval = u64::from(self.limits.ping_interval_ms);
        self.wheel.set(index, self.now.monotonic_ms + interval / 2 + fastrand::u64(0..=interval / 2));
        self.run_intents();
        if let Some((channel, since)) = channel {
            self.subscribe(index, Wish::to_follow(Transport::WebSocket, since), channel, None);
        }
        if !early.is_empty() {
            self.feed_again(index, early);
        }
    }

    pub(super) fn become_engine_websocket(
        &mut self,
        index: u32,
        session: u32,
        role: WebSocketRole,
        early: &mut [u8],
    ) {
        self.set_session(index, Session::WebSocket(WebSocket::new(session, false)));
        if role == WebSocketRole::Surplus {
            return self.close(index, CloseReason::ServerClosed);
        }
        self.lines.slab.at(index).flags.set(Flags::ENGINE);
        // The heartbeat of the session that it carries keeps time for it.
        self.wheel.clear(index);
        if role == WebSocketRole::Opener {
            self.open_on_websocket(session);
        }
        self.run_orders();
        if !early.is_empty() {
            self.feed_again(index, early);
        }
    }

    /// Feeds bytes that came too early for the session that now is.
    pub(super) fn feed_again(&mut self, index: u32, bytes: &mut [u8]) {
        if let Session::WebSocket(_) = self.lines.slab.look(index).session {
            let lent = self.lines.slab.at(index).session.lend();
            if let Session::WebSocket(websocket) = lent {
                self.feed_websocket(index, websocket, bytes);
            }
        }
    }

    /// Gives bytes to a WebSocket.
    pub(super) fn feed_websocket(&mut self, index: u32, websocket: WebSocket, bytes: &mut [u8]) {
        if !self.lines.slab.look(index).flags.has(Flags::DEFLATES) {
            return self.read_messages(index, websocket, bytes, &mut Inflater::default());
        }
        let mut inflater = std::mem::take(&mut self.messages.inflater);
        self.read_messages(index, websocket, bytes, &mut inflater);
        inflater.forget();
        self.messages.inflater = inflater;
    }

    fn read_messages(
        &mut self,
        index: u32,
        mut websocket: WebSocket,
        bytes: &mut [u8],
        inflater: &mut Inflater,
    ) {
        let (mut at, tag) = (0, websocket.tag);
        let flags = self.lines.slab.look(index).flags;
        let (is_engine, compression) = (flags.has(Flags::ENGINE), flags.has(Flags::DEFLATES));
        let mut reply = Vec::new();
        loop {
            if compression && at < bytes.len() && self.must_wait_to_inflate(index) {
                break self.hold_back(index, &bytes[at..]);
            }
            let settings = match (is_engine, websocket.is_diagnostic) {
                (true, _) => &self.sockets.websocket_settings,
                (false, true) => &self.messages.diagnostic,
                (false, false) => &self.messages.settings,
            };
            let settings = &Settings { compression, ..*settings };
            match websocket.handle_bytes(&mut bytes[at..], settings, inflater, &mut reply) {
                Event::NeedMore => break,
                Event::Handled { consumed } => at += consumed,
                Event::Message { is_text, inflated_bytes, data, consumed } => {
                    at += consumed;
                    self.end_partial_input(index);
                    if let Some(bytes) = inflated_bytes {
                        self.report.messages_inflated_total += 1;
                        self.messages.spent += bytes.max(INFLATED_BYTES_COUNTED_MIN);
                    }
                    match is_engine {
                        true => self.hear_engine(index, tag, whole_message(is_text, data)),
                        false => self.hear(index, tag, is_text, data),
                    }
                }
                Event::End(reason) => {
                    self.lines.slab.at(index).session = Session::WebSocket(websocket);
                    self.lines.say(index, Class::Last, |out| out.append(&mut reply));
                    self.end_session(index, reason);
                    self.finish(index);
                    return;
                }
            }
            if !reply.is_empty() {
                self.lines.say(index, Class::Control, |out| out.append(&mut reply));
                reply.clear();
            }
            match &mut self.lines.slab.at(index).session {
                Session::Lent(..) => {}
                // Its session goes to another shard, and what came behind the message that made it go as well.
                Session::Leaving(leaving) => return leaving.bytes.extend_from_slice(&bytes[at..]),
                _ => return,
            }
        }
        self.lines.slab.at(index).session = Session::WebSocket(websocket);
    }

    /// Whether the next message has to wait for another turn, or until its client has read what it was answered.
    fn must_wait_to_inflate(&mut self, index: u32) -> bool {
        self.messages.is_spent() || self.lines.pause_if_full(index)
    }

    /// Keeps what a client has sent until it can be inflated. It is not read meanwhile.
    fn hold_back(&mut self, index: u32, bytes: &[u8]) {
        self.lines.pause(index, Flags::KEPT);
        match self.lines.slab.look(index).flags.has(Flags::PAUSED_FULL) {
            true => drop(self.messages.full.insert(index, bytes.to_vec())),
            false => self.messages.held.push_back((self.lines.slab.id(index), bytes.to_vec())),
        }
    }

    /// Goes on with those whose messages waited to be inflated, one after the other.
    pub(super) fn continue_inflating(&mut self) {
        for _ in 0..self.messages.held.len() {
            if self.messages.is_spent() {
                return;
            }
            let Some((id, mut bytes)) = self.messages.held.pop_front() else { return };
            let Some(record) = self.lines.slab.get(id).filter(|record| record.flags.has(Flags::KEPT)) else {
                continue;
            };
            record.flags.clear(Flags::KEPT);
            self.feed_again(id.index, &mut bytes);
            self.note_partial_input(id.index);
            self.lines.resume(id.index);
        }
    }

    /// What a connection that goes to another shard has sent and nobody has inflated.
    pub(super) fn take_held(&mut self, index: u32) -> Vec<u8> {
        let id = self.lines.slab.id(index);
        self.messages.note_room(id);
        let place = self.messages.held.iter().position(|(held, _)| *held == id);
        let Some((_, bytes)) = place.and_then(|place| self.messages.held.remove(place)) else {
            return Vec::new();
        };
        self.lines.slab.at(index).flags.clear(Flags::KEPT);
        bytes
    }

    /// How messages of Engine.IO may be compressed.
    pub(super) fn engine_compression(&self) -> Compression {
        match (self.sockets.compresses(), self.lines.compression.mode()) {
            (false, _) => Compression::Off,
            (true, Compression::Dedicated) => Compression::Dedicated,
            (true, Compression::Off | Compression::Shared) => Compression::Shared,
        }
    }

    /// From now on messages may be compressed, if that has been agreed on.
    pub(super) fn begin_compression(&mut self, index: u32, agreed: Option<Agreed>) {
        if let Some(agreed) = agreed {
            self.lines.begin_compression(index, agreed);
        }
    }

    /// What is agreed to of what a client offers that becomes a WebSocket. `mode` is how its messages may be compressed.
    pub(super) fn agree(
        &self,
        request: &Request<'_>,
        mode: Compression,
        fields: &mut String,
    ) -> Option<Agreed> {
        let agreed = self.lines.compression.agree(mode, request.headers("sec-websocket-extensions"))?;
        agreed.write_field(fields);
        Some(agreed)
    }

    /// Hands a message to the handler.
    fn hear(&mut self, index: u32, tag: u32, is_text: bool, data: &[u8]) {
        self.report.messages_total += 1;
        self.work.count(Work::Messages, 1);
        let message = whole_message(is_text, data);
        let heard = self.call_about(index, "message", |handler, cx, peer| {
            handler.message(cx, &Peer { tag, ..*peer }, message);
        });
        if heard.is_none() {
            self.fail(index);
        }
        self.run_intents();
    }
}

/// A message whose text the decoder has found to be UTF-8.
fn whole_message(is_text: bool, data: &[u8]) -> Message<'_> {
    match is_text {
        true => std::str::from_utf8(data).map_or(Message::Binary(data), Message::Text),
        false => Message::Binary(data),
    }
}

/// What frames may be. Who may send them compressed is told by each connection's record.
pub(super) fn frames_of(message_bytes_max: u64, fragments_max: u32) -> Settings {
    Settings { role: Role::Server, message_bytes_max, fragments_max, compression: false }
}
