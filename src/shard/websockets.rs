//! Connections that have become WebSockets: frames in, messages to the handler or to Engine.IO. What comes compressed is read
//! by the rules of [`super::inflating`]; how much is read in one turn is [`super::intake`]'s.

use super::{
    connection::Flags,
    intents::Wish,
    messages::{Held, Unread},
    outbox::Class,
    sockets::WebSocketRole,
    turn::Shard,
};
use crate::{
    app::{Message, Peer},
    model::{ChannelName, CloseReason, Position, Transport, Work},
    session::{Event, Inflating, Session, Unfinished, WebSocket},
    wire::{
        http1::Request,
        websocket::{Agreed, Compression, Inflater, Settings},
    },
};

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
        if let Session::WebSocket(_) = self.lines.slab.look(index).session
            && let Session::WebSocket(websocket) = self.lines.slab.at(index).session.lend()
        {
            self.feed_websocket(index, websocket, bytes);
        }
    }

    /// Gives bytes to a WebSocket.
    pub(super) fn feed_websocket(&mut self, index: u32, websocket: WebSocket, bytes: &mut [u8]) {
        if let Some(Unread { unfinished, at }) = self.read_messages(index, websocket, None, bytes) {
            self.hold_back(index, Held { unfinished, bytes: bytes[at..].to_vec(), at: 0 });
        }
    }

    /// Reads messages: first one whose inflating has begun, then those in `bytes`; what has to wait of them.
    pub(super) fn read_messages(
        &mut self,
        index: u32,
        websocket: WebSocket,
        unfinished: Option<Box<Unfinished>>,
        bytes: &mut [u8],
    ) -> Option<Unread> {
        if !self.lines.slab.look(index).flags.has(Flags::DEFLATES) {
            return self.read_with(index, websocket, unfinished, bytes, &mut Inflater::default());
        }
        let mut inflater = std::mem::take(&mut self.messages.inflater);
        let unread = self.read_with(index, websocket, unfinished, bytes, &mut inflater);
        inflater.forget();
        self.messages.inflater = inflater;
        unread
    }

    /// Answers a frame; whether its session goes on here.
    fn goes_on(&mut self, index: u32, reply: &mut Vec<u8>, rest: &[u8]) -> bool {
        if !reply.is_empty() {
            self.lines.say(index, Class::Control, |out| out.append(reply));
            reply.clear();
        }
        match &mut self.lines.slab.at(index).session {
            Session::Lent(..) => true,
            // Its session goes to another shard, and what came behind the message that made it go as well.
            Session::Leaving(leaving) => {
                leaving.bytes.extend_from_slice(rest);
                false
            }
            _ => false,
        }
    }

    fn read_with(
        &mut self,
        index: u32,
        mut websocket: WebSocket,
        mut unfinished: Option<Box<Unfinished>>,
        bytes: &mut [u8],
        inflater: &mut Inflater,
    ) -> Option<Unread> {
        let grant = self.intake.grant();
        let (mut at, tag, mut reply) = (0, websocket.tag, Vec::new());
        let flags = self.lines.slab.look(index).flags;
        let (is_engine, compression) = (flags.has(Flags::ENGINE), flags.has(Flags::DEFLATES));
        let unread = loop {
            if at < bytes.len() || unfinished.is_some() {
                if self.intake.is_used_up(grant) || (compression && self.must_wait_to_inflate(index)) {
                    websocket.forget_message();
                    break Some(Unread { unfinished, at });
                }
                self.intake.note(1);
            }
            let settings = &Settings { compression, ..*self.settings_of(is_engine, &websocket) };
            let may_spend = if compression { self.messages.may_spend(index) } else { 0 };
            let mut left = may_spend;
            let is_begun = unfinished.is_some();
            let event = match &mut unfinished {
                Some(unfinished) => websocket.go_on(unfinished, settings, &mut left, &mut reply),
                None => {
                    let inflating = Inflating { inflater, left: &mut left };
                    websocket.handle_bytes(&mut bytes[at..], settings, inflating, &mut reply)
                }
            };
            match event {
                Event::NeedMore => break None,
                Event::Handled { consumed } => at += consumed,
                Event::Message { is_text, is_inflated, data, consumed } => {
                    at += consumed;
                    self.end_partial_input(index);
                    self.messages.note_spent(index, may_spend - left);
                    self.report.messages_inflated_total += u64::from(is_inflated);
                    match is_engine {
                        true => self.hear_engine(index, tag, whole_message(is_text, data)),
                        false => self.hear(index, tag, is_text, data),
                    }
                    unfinished = None;
                }
                Event::Unfinished { is_text, payload, consumed } => {
                    at += consumed;
                    if !is_begun {
                        let payload = payload.to_vec();
                        unfinished =
                            Some(Box::new(Unfinished::new(std::mem::take(inflater), payload, is_text)));
                    }
                    self.messages.note_spent(index, may_spend - left);
                    self.end_partial_input(index);
                }
                Event::End(reason) => {
                    self.messages.note_spent(index, may_spend - left);
                    self.end_websocket(index, websocket, reply, reason);
                    return None;
                }
            }
            if !self.goes_on(index, &mut reply, &bytes[at..]) {
                return None;
            }
        };
        self.lines.slab.at(index).session = Session::WebSocket(websocket);
        unread
    }

    /// A WebSocket is over, and is told its last word.
    fn end_websocket(&mut self, index: u32, websocket: WebSocket, mut word: Vec<u8>, reason: CloseReason) {
        self.lines.slab.at(index).session = Session::WebSocket(websocket);
        self.lines.say(index, Class::Last, |out| out.append(&mut word));
        self.end_session(index, reason);
        self.finish(index);
    }

    /// What the frames of a WebSocket may be.
    fn settings_of(&self, is_engine: bool, websocket: &WebSocket) -> &Settings {
        match (is_engine, websocket.is_diagnostic) {
            (true, _) => &self.engines.websocket_settings,
            (false, true) => &self.messages.diagnostic,
            (false, false) => &self.messages.settings,
        }
    }

    /// How messages of Engine.IO may be compressed.
    pub(super) fn engine_compression(&self) -> Compression {
        match (self.engines.compresses(), self.lines.compression.mode()) {
            (false, _) => Compression::Off,
            (true, mode @ (Compression::Channel | Compression::Dedicated)) => mode,
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
