//! What WebSockets send: raw publications on one channel, or the commands of `/ws` (documented in
//! [`crate::wire::json`]).
//!
//! Invariant: a command gets exactly one reply. A `publish` is remembered in [`InFlight`] until its channel's owner
//! has answered, for the reply names the channel and the owner's answer does not.

use std::collections::VecDeque;

use super::{
    ChannelServer, Refusal,
    access::{Standing, Who},
    keys::KeySlot,
};
use crate::{
    app::{Context, Message, Peer, Reply},
    auth::Right,
    hub::SubscribeError,
    limits::PUBLISHES_IN_FLIGHT_MAX,
    model::{ChangeKind, ChannelName, CloseReason, PublishError, StateKey, Ticket},
    wire::json::{self, Action, PublishRequest},
};

/// What kind of WebSocket a connection is and which key it has presented: decided at its handshake, carried in its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// One channel, raw.
    Channel { key: KeySlot },
    /// `/ws`.
    Commands { key: KeySlot },
    /// `/echo`.
    Echo,
}

/// The commands of one connection that wait for a channel's owner: `publish`, and those about its state and its members; at
/// most [`PUBLISHES_IN_FLIGHT_MAX`], beyond which a command is refused as busy.
pub(super) type InFlight = VecDeque<Publish>;

/// A command that waits for an answer.
#[derive(Debug)]
pub(super) struct Publish {
    /// Its own number: a client may give one id to several.
    pub(super) number: u32,
    pub(super) id: u32,
    pub(super) channel: ChannelName,
    pub(super) asked_ms: u64,
    pub(super) asked: Asked,
}

/// What a command that waits has asked for.
#[derive(Debug)]
pub(super) enum Asked {
    Publication,
    Change(ChangeKind, StateKey),
    State,
    Entry(StateKey),
    Presence,
}

impl Session {
    /// Packs the session into a tag: the kind in two bits, above them the key's slot.
    pub(super) fn tag(self) -> u32 {
        match self {
            Self::Echo => 0,
            Self::Channel { key } => 1 | key.0 << 2,
            Self::Commands { key } => 2 | key.0 << 2,
        }
    }

    /// Unpacks what [`Self::tag`] packed.
    pub(super) fn of_tag(tag: u32) -> Self {
        let key = KeySlot(tag >> 2);
        match tag & 3 {
            0 => Self::Echo,
            1 => Self::Channel { key },
            _ => Self::Commands { key },
        }
    }
}

impl ChannelServer {
    /// A message on a WebSocket of one channel is a publication. There is no reply to refuse it with but a close.
    pub(super) fn publish_raw(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key: KeySlot,
        message: Message<'_>,
    ) {
        let Some(channel) = peer.channel else {
            return cx.close(peer.connection, CloseReason::PolicyViolation);
        };
        let standing = self.check_client(peer, key, channel);
        let who = Who::with_key(peer, key);
        let checked = standing
            .and_then(|standing| self.check_publishing(cx, &who, standing, (channel, message.bytes().len())));
        let reason = match checked {
            Ok(()) => return cx.relay(channel.clone(), message.into(), None),
            Err(Refusal::Undecided) => {
                self.access.ask_about(message.into());
                return self.begin_consult(cx, peer, message);
            }
            Err(Refusal::Hook(_) | Refusal::RateLimited(_)) => CloseReason::Overloaded,
            Err(Refusal::PublicationTooLarge(_)) => CloseReason::MessageTooBig,
            Err(_) => CloseReason::PolicyViolation,
        };
        cx.close(peer.connection, reason);
    }

    /// A message on `/ws`.
    pub(super) fn command(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key: KeySlot,
        message: Message<'_>,
    ) {
        let Message::Text(text) = message else {
            return self.send_error(cx, peer, None, Refusal::BinaryUnsupported);
        };
        let (id, result) = match json::decode_command(text) {
            Ok(command) => (Some(command.id), self.act(cx, peer, key, command)),
            Err(error) => (error.id, Err(error.fault.into())),
        };
        match result {
            Ok(()) => {}
            Err(Refusal::Undecided) => self.begin_consult(cx, peer, message),
            Err(refusal) => self.send_error(cx, peer, id, refusal),
        }
    }

    /// The answer to something a command asked. Of a subscription the token is the command's id, for its reply names the
    /// channel; of all others it is a number of their own.
    pub(super) fn reply_command(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        match reply {
            Reply::Published(result) => {
                let Some(Publish { id, channel, .. }) = self.land(peer, token) else { return };
                match result {
                    Ok(position) => {
                        self.send(cx, peer, |out| json::encode_published(out, id, &channel, position));
                    }
                    Err(error) => self.send_error(cx, peer, Some(id), Refusal::Publish(error)),
                }
            }
            Reply::Unread(error) => {
                if let Some(Publish { id, .. }) = self.land(peer, token) {
                    self.send_error(cx, peer, Some(id), Refusal::Publish(error));
                }
            }
            Reply::Changed(result) => self.reply_changed(cx, peer, token, result),
            Reply::State(page) => self.reply_state(cx, peer, token, &page),
            Reply::Entered(result) => self.reply_entered(cx, peer, token, result),
            Reply::Presence(page) => self.reply_presence(cx, peer, token, &page),
            Reply::Subscribed { channel, position, recovered, missed } => {
                // The token with which it was asked for may have given way to another.
                if let Err(refusal) = self.check_still(peer, &channel) {
                    self.allowed.forget(peer.connection, &channel);
                    cx.unsubscribe(peer.connection, channel);
                    return self.send_error(cx, peer, Some(token), refusal);
                }
                self.allowed.settle(peer.connection, &channel, true);
                self.send(cx, peer, |out| {
                    json::encode_subscribed(out, token, &channel, position, recovered, missed);
                });
            }
            Reply::NotSubscribed { channel, error } => {
                self.allowed.settle(peer.connection, &channel, error == SubscribeError::Already);
                self.send_error(cx, peer, Some(token), Refusal::Subscribe(error));
            }
            Reply::Admitted(admitted) => self.end_admission(cx, peer, admitted),
            Reply::Ruled => self.end_consult(cx, peer),
            // Answers to requests whose connection has been answered already.
            Reply::History(_) | Reply::Survey { .. } => {}
        }
    }

    fn act(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key: KeySlot,
        command: json::Command<'_>,
    ) -> Result<(), Refusal> {
        let id = command.id;
        match command.action {
            Action::Subscribe { channel, since, shown } => {
                let channel = self.named(&channel)?;
                let who = Who::with_key(peer, key);
                let standing = self.access.check_first(&who, Right::Subscribe, channel.as_str())?;
                let wanted = [(shown.state, Right::State), (shown.presence, Right::Presence)];
                for (_, right) in wanted.into_iter().filter(|(is_wanted, _)| *is_wanted) {
                    self.access.check(&who, right, channel.as_str())?;
                }
                standing.or_ask()?;
                match standing {
                    Standing::Allowed => self.allowed.ask(peer.connection, &channel),
                    Standing::Given | Standing::ToAsk => self.allowed.forget(peer.connection, &channel),
                }
                cx.subscribe_shown(peer.connection, channel, since, shown, id);
            }
            Action::Authenticate { token, is_refresh } => {
                self.begin_admission(cx, peer, key, id, &token, is_refresh);
            }
            Action::Unsubscribe { channel } => {
                let channel = self.named(&channel)?;
                self.allowed.leave(peer.connection, &channel);
                cx.unsubscribe(peer.connection, channel.clone());
                self.send(cx, peer, |out| json::encode_unsubscribed(out, id, &channel));
            }
            Action::Publish(publication) => {
                self.publish_command(cx, peer, key, id, publication)?;
            }
            Action::Enter { channel, info } => self.enter_command(cx, peer, key, id, &channel, info)?,
            Action::Leave { channel } => self.leave_command(cx, peer, id, &channel)?,
            Action::Presence { channel } => self.presence_command(cx, peer, key, id, &channel)?,
            Action::Key(command) => self.change_command(cx, peer, key, id, command)?,
            Action::State { channel } => self.state_command(cx, peer, key, id, &channel)?,
            Action::Ping => self.send(cx, peer, |out| json::encode_pong(out, id)),
        }
        Ok(())
    }

    fn publish_command(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key: KeySlot,
        id: u32,
        publication: PublishRequest<'_>,
    ) -> Result<(), Refusal> {
        let (channel, payload) = self.check_publication(publication)?;
        let standing = self.check_client(peer, key, &channel)?;
        self.check_in_flight(peer)?;
        let who = Who::with_key(peer, key);
        if let Err(refusal) = self.check_publishing(cx, &who, standing, (&channel, payload.data.len())) {
            if refusal == Refusal::Undecided {
                self.access.ask_about(payload);
            }
            return Err(refusal);
        }
        let ticket = self.take_off(cx, peer, id, channel.clone(), Asked::Publication);
        cx.relay(channel, payload, Some(ticket));
        Ok(())
    }

    /// Refuses a `/ws` a channel to which it has no right any more that it had when it asked.
    fn check_still(&self, peer: &Peer<'_>, channel: &ChannelName) -> Result<(), Refusal> {
        let Session::Commands { key } = Session::of_tag(peer.tag) else { return Ok(()) };
        self.check_followed(&Who::with_key(peer, key), peer, channel)
    }

    /// Refuses a channel that a `/ws` follows, if it may do so no more.
    pub(super) fn check_followed(
        &self,
        who: &Who<'_>,
        peer: &Peer<'_>,
        channel: &ChannelName,
    ) -> Result<(), Refusal> {
        let was_allowed = self.allowed.has(peer.connection, channel);
        let checked = self.access.check_again(who, Right::Subscribe, channel.as_str(), was_allowed);
        checked.map_err(Refusal::from)
    }

    /// Refuses a command while too many of its connection wait.
    pub(super) fn check_in_flight(&self, peer: &Peer<'_>) -> Result<(), Refusal> {
        match self.in_flight.get(&peer.connection).map_or(0, VecDeque::len) {
            PUBLISHES_IN_FLIGHT_MAX.. => Err(Refusal::Publish(PublishError::Busy)),
            _ => Ok(()),
        }
    }

    /// Remembers a command until a channel's owner has answered; with what it is asked.
    pub(super) fn take_off(
        &mut self,
        cx: &Context<'_>,
        peer: &Peer<'_>,
        id: u32,
        channel: ChannelName,
        asked: Asked,
    ) -> Ticket {
        let ticket = self.ticket(peer);
        let publish = Publish { number: ticket.token, id, channel, asked_ms: cx.now.monotonic_ms, asked };
        self.in_flight.entry(peer.connection).or_default().push_back(publish);
        ticket
    }

    /// Forgets a command that has been answered, and tells what it was. Answers mostly come in the order asked.
    pub(super) fn land(&mut self, peer: &Peer<'_>, number: u32) -> Option<Publish> {
        let in_flight = self.in_flight.get_mut(&peer.connection)?;
        let index = in_flight.iter().position(|publish| publish.number == number)?;
        let publish = in_flight.remove(index)?;
        if in_flight.is_empty() {
            self.in_flight.remove(&peer.connection);
        }
        Some(publish)
    }

    pub(super) fn send_error(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        id: Option<u32>,
        refusal: Refusal,
    ) {
        cx.count_command_refused();
        let (code, sentence) = refusal.words(peer.rulings);
        self.send(cx, peer, |out| json::encode_error_reply(out, id, &code, &sentence));
    }

    pub(super) fn send(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, encode: impl FnOnce(&mut Vec<u8>)) {
        self.text.clear();
        encode(&mut self.text);
        let text = std::str::from_utf8(&self.text).expect("JSON is written from text only");
        cx.send(peer.connection, Message::Text(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_survives_its_tag() {
        for key in [KeySlot::NONE, KeySlot(1), KeySlot(1 << 20)] {
            for session in [Session::Channel { key }, Session::Commands { key }, Session::Echo] {
                assert_eq!(Session::of_tag(session.tag()), session);
            }
        }
    }
}
