//! Who is present in a channel: the commands `enter`, `leave` and `presence` of `/ws`, and
//! `GET /channels/{name}/presence`.
//!
//! What others may know of a member is what its token says (`info`), or where there is nothing, what it says itself, unless its
//! namespace leaves that to tokens.

use super::{
    ChannelServer, Refusal,
    access::Who,
    channels::limit,
    commands::{Asked, Publish, Session},
    fields::fresh,
    keys::KeySlot,
    pending::{Outcome, Wait},
    route::query,
};
use crate::{
    app::{Context, Peer, Request},
    auth::Right,
    limits::{PRESENCE_INFO_BYTES_MAX, PRESENCE_PAGE_MAX},
    model::{ChannelName, Position, PresencePage, StateError, StateKey},
    wire::json::{self, Raw, encode_presence},
};

/// Members on a page when no `limit` is given.
const PRESENCE_PAGE_DEFAULT: u32 = 100;

impl ChannelServer {
    /// `GET /channels/{name}/presence?limit=&after=`
    pub(super) fn presence(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
        name: &str,
    ) -> Result<Outcome, Refusal> {
        let channel = self.channel(name)?;
        self.access.check(&Who::reading(peer), Right::Presence, channel.as_str())?;
        let limit = limit(request, PRESENCE_PAGE_DEFAULT, PRESENCE_PAGE_MAX)?;
        let after = query(request.target, "after").filter(|text| !text.is_empty());
        let after = after.map(|text| StateKey::of_member(&text));
        cx.read_presence(self.ticket(peer), channel.clone(), after, limit);
        Ok(Outcome::Wait(Wait::Presence(channel)))
    }

    /// The command `enter`.
    pub(super) fn enter_command(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key: KeySlot,
        id: u32,
        channel: &str,
        said: Option<Raw<'_>>,
    ) -> Result<(), Refusal> {
        let channel = self.named(channel)?;
        self.access.check(&Who::with_key(peer, key), Right::Enter, channel.as_str())?;
        let given = peer.token.and_then(|token| token.claims.info.as_deref());
        let info = match (given, said) {
            (Some(_), Some(_)) => return Err(Refusal::InfoForbidden),
            (None, Some(_)) if !self.access.clients_say_info(channel.as_str()) => {
                return Err(Refusal::InfoForbidden);
            }
            (Some(info), None) => info,
            (None, said) => said.map_or("", Raw::as_str),
        };
        if info.len() > PRESENCE_INFO_BYTES_MAX {
            return Err(Refusal::InfoTooLarge);
        }
        self.check_in_flight(peer)?;
        self.take_token(cx, &Who::with_key(peer, key), [channel.as_str()])?;
        let user = peer.token.map(|token| token.user());
        let member =
            user.as_deref().map_or_else(|| StateKey::of_guest(cx.shard, peer.connection), StateKey::of_user);
        let ticket = self.take_off(cx, peer, id, channel.clone(), Asked::Entry(member));
        cx.enter(ticket, channel, user.as_deref(), info);
        Ok(())
    }

    /// The command `leave`.
    pub(super) fn leave_command(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        id: u32,
        channel: &str,
    ) -> Result<(), Refusal> {
        let channel = self.named(channel)?;
        cx.depart(peer.connection, channel.clone());
        self.send(cx, peer, |out| json::encode_left(out, id, &channel));
        Ok(())
    }

    /// The command `presence`.
    pub(super) fn presence_command(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key: KeySlot,
        id: u32,
        channel: &str,
    ) -> Result<(), Refusal> {
        let channel = self.named(channel)?;
        self.access.check(&Who::with_key(peer, key), Right::Presence, channel.as_str())?;
        self.check_in_flight(peer)?;
        let ticket = self.take_off(cx, peer, id, channel.clone(), Asked::Presence);
        cx.read_presence(ticket, channel, None, PRESENCE_PAGE_DEFAULT);
        Ok(())
    }

    /// What became of an `enter`.
    pub(super) fn reply_entered(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        number: u32,
        result: Result<Position, StateError>,
    ) {
        let Some(Publish { id, channel, asked: Asked::Entry(member), .. }) = self.land(peer, number) else {
            return;
        };
        match result {
            Ok(position) => {
                // The token with which it was asked for may have given way to another.
                if let Session::Commands { key } = Session::of_tag(peer.tag)
                    && let Err(refusal) = self.check_entered(&Who::with_key(peer, key), &channel)
                {
                    cx.depart(peer.connection, channel);
                    return self.send_error(cx, peer, Some(id), refusal);
                }
                self.send(cx, peer, |out| json::encode_entered(out, id, &channel, &member, position));
            }
            Err(error) => self.send_error(cx, peer, Some(id), Refusal::State(error)),
        }
    }

    /// Refuses a channel in which a `/ws` is present, if it may be so no more.
    pub(super) fn check_entered(&self, who: &Who<'_>, channel: &ChannelName) -> Result<(), Refusal> {
        let checked = self.access.check_again(who, Right::Enter, channel.as_str(), false);
        checked.map_err(Refusal::from)
    }

    /// Who is present, for a command that has asked.
    pub(super) fn reply_presence(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        number: u32,
        page: &PresencePage,
    ) {
        let Some(Publish { id, channel, asked: Asked::Presence, .. }) = self.land(peer, number) else {
            return;
        };
        self.send(cx, peer, |out| json::encode_presence_reply(out, id, &channel, page));
    }
}

/// The answer to a request that has asked who is present.
pub(super) fn presence_response(channel: &ChannelName, page: &PresencePage) -> crate::app::Response {
    let mut body = Vec::new();
    encode_presence(&mut body, channel, page);
    fresh(body)
}
