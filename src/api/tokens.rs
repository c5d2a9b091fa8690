//! Tokens on `/ws`: shown in a command, and again before they run out. Whether one is good is found out by the shard.
//!
//! Invariant: while a connection's token is looked at, its later commands are held, so that each is judged by the rights
//! of the commands before it.

use super::{ChannelServer, Refusal, access::Who, keys::KeySlot};
use crate::{
    app::{Admitted, Context, Message, Peer},
    auth::{Right, TokenError},
    limits::COMMANDS_HELD_BYTES_MAX,
    model::CloseReason,
    wire::json,
};

/// A connection whose token is looked at.
#[derive(Debug)]
pub(super) struct Admission {
    id: u32,
    is_refresh: bool,
    key: KeySlot,
    /// What it has sent meanwhile.
    commands: Vec<Box<str>>,
    bytes: usize,
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
        let admission = Admission { id, is_refresh, key, commands: Vec::new(), bytes: 0 };
        self.admissions.insert(peer.connection, admission);
        cx.authenticate(peer.connection, token, id);
    }

    /// Holds a command of a connection whose token is looked at; whether it is one.
    pub(super) fn hold(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) -> bool {
        let Some(admission) = self.admissions.get_mut(&peer.connection) else { return false };
        admission.bytes += message.bytes().len();
        match message {
            _ if admission.bytes > COMMANDS_HELD_BYTES_MAX => {
                cx.close(peer.connection, CloseReason::Overloaded);
            }
            Message::Text(text) => admission.commands.push(text.into()),
            Message::Binary(_) => self.send_error(cx, peer, None, Refusal::BinaryUnsupported),
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
        let Some(admission) = self.admissions.remove(&peer.connection) else { return };
        let Admission { id, is_refresh, key, commands, .. } = admission;
        match admitted {
            Ok(admitted) => {
                let Admitted { user, expires_s, channels } = admitted;
                self.send(cx, peer, |out| json::encode_admitted(out, id, is_refresh, &user, expires_s));
                let who = Who::with_key(peer, key);
                for channel in channels {
                    if let Err(refusal) = self.access.check(&who, Right::Subscribe, channel.as_str()) {
                        cx.unsubscribe(peer.connection, channel.clone());
                        self.send(cx, peer, |out| json::encode_ended(out, &channel, refusal.code()));
                    }
                }
            }
            Err(error) => {
                self.send_error(cx, peer, Some(id), Refusal::Token(error));
                // Who has only come at a bad time may try again.
                if !matches!(error, TokenError::Busy | TokenError::TooMany) {
                    return cx.close(peer.connection, CloseReason::TokenRefused);
                }
            }
        }
        for command in commands {
            // One of them may have brought another token.
            if !self.hold(cx, peer, Message::Text(&command)) {
                self.command(cx, peer, key, Message::Text(&command));
            }
        }
    }

    /// A client's token has run out.
    pub(super) fn ask_for_token(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, within_s: u32) {
        self.send(cx, peer, |out| json::encode_expired(out, within_s));
    }
}
