//! WebSockets whose commands wait: until a token they have shown has been looked at, or until the operator's backend has
//! said whether they may do something. Both are found out by the shard.
//!
//! Invariant: while a connection waits, its later messages are held, so that each is judged by what the messages before it
//! have brought, and takes effect behind them.

use std::collections::VecDeque;

use super::{ChannelServer, Refusal, access::Who, commands::Session, keys::KeySlot};
use crate::{
    app::{
        Admitted, Context, Message, Peer,
        backlog::{Backlog, Bounds},
    },
    auth::TokenError,
    limits::{COMMANDS_HELD_BYTES_MAX, COMMANDS_HELD_MAX, COMMANDS_HELD_TOGETHER_BYTES_MAX},
    model::{CloseReason, ConnectionId},
    wire::json,
};

/// A connection that waits.
#[derive(Debug)]
pub(super) struct Held {
    until: Until,
    /// What it has sent meanwhile, and before that what is asked about.
    messages: Backlog<HeldMessage>,
}

const BOUNDS: Bounds = Bounds {
    messages: COMMANDS_HELD_MAX,
    bytes: COMMANDS_HELD_BYTES_MAX,
    together_bytes: COMMANDS_HELD_TOGETHER_BYTES_MAX,
};

#[derive(Clone, Copy, Debug)]
enum Until {
    /// Its token has been looked at.
    Admitted { id: u32, is_refresh: bool, key: KeySlot },
    /// The backend has said something of the first message.
    Ruled,
}

#[derive(Debug)]
struct HeldMessage {
    is_text: bool,
    bytes: Box<[u8]>,
}

/// What a held message costs beside its bytes: its place, and what an allocation takes.
const MESSAGE_BYTES: usize = 2 * size_of::<HeldMessage>() + 16;

impl HeldMessage {
    fn of(message: Message<'_>) -> Self {
        Self { is_text: matches!(message, Message::Text(_)), bytes: message.bytes().into() }
    }

    fn lend(&self) -> Message<'_> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if self.is_text => Message::Text(text),
            _ => Message::Binary(&self.bytes),
        }
    }
}

impl ChannelServer {
    /// A command has brought a token.
    pub(super) fn begin_admission(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key: KeySlot,
        id: u32,
        token: &str,
        is_refresh: bool,
    ) {
        self.begin_to_hold(peer, Until::Admitted { id, is_refresh, key }, None);
        cx.authenticate(peer.connection, token, id);
    }

    /// The backend has to say whether a message may have its way.
    pub(super) fn begin_consult(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        let Some(mut question) = self.access.take_question() else { return };
        question.kept_bytes = message.bytes().len();
        self.begin_to_hold(peer, Until::Ruled, Some(HeldMessage::of(message)));
        cx.consult(peer.connection, question, 0);
    }

    fn begin_to_hold(&mut self, peer: &Peer<'_>, until: Until, first: Option<HeldMessage>) {
        let mut messages = Backlog::default();
        first.into_iter().for_each(|first| messages.put_first(first));
        self.take_held(peer.connection);
        self.held.insert(peer.connection, Held { until, messages });
    }

    /// Holds a message of a connection that waits; whether it does.
    pub(super) fn hold(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) -> bool {
        let Some(held) = self.held.get_mut(&peer.connection) else { return false };
        let cost = message.bytes().len() + MESSAGE_BYTES;
        if !held.messages.keep(HeldMessage::of(message), cost, &mut self.held_bytes, &BOUNDS) {
            cx.close(peer.connection, CloseReason::Overloaded);
        }
        true
    }

    /// A token has been looked at.
    pub(super) fn end_admission(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        admitted: Result<Admitted, TokenError>,
    ) {
        let Some((Until::Admitted { id, is_refresh, key }, messages)) = self.take_held(peer.connection)
        else {
            return;
        };
        // What a backend has said was said of another message.
        let peer = &Peer { rulings: &[], ..*peer };
        match admitted {
            Ok(admitted) => {
                let Admitted { user, expires_s, channels, entered } = admitted;
                self.send(cx, peer, |out| json::encode_admitted(out, id, is_refresh, &user, expires_s));
                let who = Who::with_key(peer, key);
                for channel in channels {
                    if let Err(refusal) = self.check_followed(&who, peer, &channel) {
                        self.allowed.forget(peer.connection, &channel);
                        cx.unsubscribe(peer.connection, channel.clone());
                        self.send(cx, peer, |out| json::encode_ended(out, &channel, refusal.code()));
                    }
                }
                for channel in entered {
                    if let Err(refusal) = self.check_entered(&who, &channel) {
                        cx.depart(peer.connection, channel.clone());
                        self.send(cx, peer, |out| json::encode_ended(out, &channel, refusal.code()));
                    }
                }
            }
            Err(error) => {
                self.send_error(cx, peer, Some(id), Refusal::Token(error));
                // Who has only come at a bad time may try again.
                if !error.is_passing() {
                    return cx.close(peer.connection, CloseReason::TokenRefused);
                }
            }
        }
        self.go_on(cx, peer, messages);
    }

    /// The backend has said something.
    pub(super) fn end_consult(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>) {
        let Some((Until::Ruled, mut held)) = self.take_held(peer.connection) else { return };
        let mark = cx.mark();
        if let Some(first) = held.pop_front() {
            self.hear(cx, peer, first.lend());
        }
        if !cx.has_closed(peer.connection, mark) {
            // Each of the others is asked about anew.
            self.go_on(cx, &Peer { rulings: &[], ..*peer }, held);
        }
    }

    /// A connection does not wait any more.
    pub(super) fn forget_held(&mut self, connection: ConnectionId) {
        self.take_held(connection);
    }

    /// What a connection waited for, that does not any more, and what it has sent.
    fn take_held(&mut self, connection: ConnectionId) -> Option<(Until, VecDeque<HeldMessage>)> {
        let Held { until, messages } = self.held.remove(&connection)?;
        Some((until, messages.end(&mut self.held_bytes)))
    }

    fn go_on(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, messages: VecDeque<HeldMessage>) {
        for message in messages {
            let mark = cx.mark();
            // One of them may wait as well.
            if !self.hold(cx, peer, message.lend()) {
                self.hear(cx, peer, message.lend());
            }
            // Nothing is heard behind the one for which its sender is closed.
            if cx.has_closed(peer.connection, mark) {
                return;
            }
        }
    }

    /// A message of a WebSocket that does not wait.
    pub(super) fn hear(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        match Session::of_tag(peer.tag) {
            Session::Echo => cx.send(peer.connection, message),
            Session::Channel { key } => self.publish_raw(cx, peer, key, message),
            Session::Commands { key } => self.command(cx, peer, key, message),
        }
    }

    /// A client's token has run out.
    pub(super) fn ask_for_token(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, within_s: u32) {
        self.send(cx, peer, |out| json::encode_expired(out, within_s));
    }
}
