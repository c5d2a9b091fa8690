//! `/channels/{name}/state` and `/channels/{name}/counters`: keys with values, and counters, over HTTP; and what the
//! commands of `/ws` about them become. What a key may hold is the business of [`crate::hub`].

use super::{
    ChannelServer, Refusal,
    access::Who,
    channels::limit,
    commands::{Asked, Publish},
    fields::fresh,
    keys::KeySlot,
    pending::{Outcome, Wait},
    publish::{content_type, refuse_encoded, refuse_other_than_json, said},
    route::{percent_decoded, query},
};
use crate::{
    app::{Context, Method, Peer, Request, Response, StatePage, StateQuery},
    auth::Right,
    limits::{STATE_KEYS_MAX, STATE_TTL_MS_MAX},
    model::{
        ChangeKind, Changed, ChannelName, Condition, Payload, StateAction, StateError, StateKey,
        StateRequest, Version,
    },
    wire::json::{self, KeyAction, KeyCommand, decode_add, encode_changed, encode_key, encode_state},
};

/// What a request about state waits for.
#[derive(Debug)]
pub(super) struct StateWait {
    pub(super) channel: ChannelName,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// What became of a change.
    Change,
    /// What became of a `PUT`, which makes the resource if there is none (RFC 9110 §9.3.4).
    Put,
    /// A key; a client that has it as it was then is told only if it is another one by now.
    Key(Condition),
    /// Keys in their order.
    Page,
}

impl StateWait {
    /// The answer to a change.
    pub(super) fn changed(&self, result: Result<Changed, StateError>) -> Response {
        match result {
            Ok(changed) => {
                let mut body = Vec::with_capacity(96);
                encode_changed(&mut body, changed);
                let is_created = changed.is_new && self.what == What::Put;
                let status = if is_created { 201 } else { 200 };
                Response::json(status, body).with_field("ETag", &etag(changed.version))
            }
            Err(error) => Refusal::State(error).response(),
        }
    }

    /// The answer to a question.
    pub(super) fn read(&self, page: &StatePage) -> Response {
        let mut body = Vec::new();
        let condition = match self.what {
            What::Change | What::Put | What::Page => {
                encode_state(&mut body, &self.channel, page.position, &page.keys, page.has_more);
                return fresh(body);
            }
            What::Key(condition) => condition,
        };
        let Some(publication) = page.keys.first() else {
            return Refusal::State(StateError::Unknown).response();
        };
        let version = Version::of(publication);
        if condition != Condition::None && condition.holds(Some(version)) {
            return Response::empty(304).with_field("ETag", &etag(version));
        }
        encode_key(&mut body, publication);
        // A cache may keep it, and has to ask each time whether it is still so.
        Response::json(200, body).with_field("Cache-Control", "no-cache").with_field("ETag", &etag(version))
    }
}

impl ChannelServer {
    /// `GET /channels/{name}/state?limit=&after=`
    pub(super) fn read_state(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
        name: &str,
    ) -> Result<Outcome, Refusal> {
        let channel = self.channel(name)?;
        self.access.check(&self.who(peer, request)?, Right::State, channel.as_str())?;
        let limit = limit(request, STATE_KEYS_MAX, STATE_KEYS_MAX)?;
        let after = match query(request.target, "after") {
            Some(text) if !text.is_empty() => Some(StateKey::new(&text)?),
            Some(_) | None => None,
        };
        let ticket = self.ticket(peer);
        cx.read_state(ticket, channel.clone(), StateQuery::Page { after, limit });
        Ok(Outcome::Wait(Wait::State(StateWait { channel, what: What::Page })))
    }

    /// `GET`, `PUT` and `DELETE /channels/{name}/state/{key}`
    pub(super) fn state_key(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
        (name, key): (&str, &str),
    ) -> Result<Outcome, Refusal> {
        let who = self.who(peer, request)?;
        let channel = self.channel(name)?;
        let is_reading = matches!(request.method, Method::Get | Method::Head);
        let right = if is_reading { Right::State } else { Right::SetState };
        self.access.check(&who, right, channel.as_str())?;
        let key = StateKey::new(&percent_decoded(key)?)?;
        if is_reading {
            let what = What::Key(if_none_match(request)?);
            let ticket = self.ticket(peer);
            cx.read_state(ticket, channel.clone(), StateQuery::Key(key));
            return Ok(Outcome::Wait(Wait::State(StateWait { channel, what })));
        }
        let change = match request.method {
            Method::Delete => StateRequest::remove(key),
            _ => {
                refuse_encoded(request)?;
                self.check_size(channel.as_str(), request.body.len())?;
                StateRequest::set(key, Payload::new(request.body, said(content_type(request)?)))
            }
        };
        self.ask_for_change(cx, (peer, &who), request, channel, change)
    }

    /// `POST /channels/{name}/counters/{key}`
    pub(super) fn count(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
        (name, key): (&str, &str),
    ) -> Result<Outcome, Refusal> {
        let who = self.who(peer, request)?;
        let channel = self.channel(name)?;
        self.access.check(&who, Right::SetState, channel.as_str())?;
        let key = StateKey::new(&percent_decoded(key)?)?;
        refuse_other_than_json_or_form(request)?;
        let change = StateRequest::add(key, decode_add(request.body)?);
        self.ask_for_change(cx, (peer, &who), request, channel, change)
    }

    fn ask_for_change(
        &mut self,
        cx: &mut Context<'_>,
        (peer, who): (&Peer<'_>, &Who<'_>),
        request: &Request<'_>,
        channel: ChannelName,
        change: StateRequest,
    ) -> Result<Outcome, Refusal> {
        let what = match change.action {
            StateAction::Set(_) => What::Put,
            StateAction::Remove | StateAction::Add(_) => What::Change,
        };
        let change = change.only_if(condition(request)?).for_ms(ttl_ms(request)?);
        self.take_token(cx, who, [channel.as_str()])?;
        cx.relay_change(channel.clone(), change, self.ticket(peer));
        Ok(Outcome::Wait(Wait::State(StateWait { channel, what })))
    }

    /// The commands `set`, `remove` and `add` of `/ws`.
    pub(super) fn change_command(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key_slot: KeySlot,
        id: u32,
        command: KeyCommand<'_>,
    ) -> Result<(), Refusal> {
        let KeyCommand { channel, key, action, condition, ttl_ms } = command;
        let channel = self.named(&channel)?;
        let who = Who::with_key(peer, key_slot);
        if !self.settings.clients_publish {
            return Err(Refusal::PublishForbidden);
        }
        self.access.check(&who, Right::SetState, channel.as_str())?;
        let key = StateKey::new(&key)?;
        let (kind, action) = match action {
            KeyAction::Set(data, content_type) => {
                self.check_size(channel.as_str(), data.bytes().len())?;
                (ChangeKind::Set, StateAction::Set(data.into_payload(content_type.as_deref())))
            }
            KeyAction::Remove => (ChangeKind::Remove, StateAction::Remove),
            KeyAction::Add(add) => (ChangeKind::Add, StateAction::Add(add)),
        };
        self.check_in_flight(peer)?;
        let request = StateRequest { key: key.clone(), action, condition, ttl_ms: checked_ttl(ttl_ms)? };
        self.take_token(cx, &who, [channel.as_str()])?;
        let ticket = self.take_off(cx, peer, id, channel.clone(), Asked::Change(kind, key));
        cx.relay_change(channel, request, ticket);
        Ok(())
    }

    /// The command `state` of `/ws`.
    pub(super) fn state_command(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        key_slot: KeySlot,
        id: u32,
        channel: &str,
    ) -> Result<(), Refusal> {
        let channel = self.named(channel)?;
        self.access.check(&Who::with_key(peer, key_slot), Right::State, channel.as_str())?;
        self.check_in_flight(peer)?;
        let ticket = self.take_off(cx, peer, id, channel.clone(), Asked::State);
        let query = StateQuery::Page { after: None, limit: STATE_KEYS_MAX };
        cx.read_state(ticket, channel, query);
        Ok(())
    }

    /// What became of a change that a command asked for.
    pub(super) fn reply_changed(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        number: u32,
        result: Result<Changed, StateError>,
    ) {
        let Some(Publish { id, channel, asked: Asked::Change(kind, key), .. }) = self.land(peer, number)
        else {
            return;
        };
        match result {
            Ok(changed) => self.send(cx, peer, |out| {
                json::encode_changed_reply(out, id, kind, &channel, key.as_str(), changed);
            }),
            Err(error) => self.send_error(cx, peer, Some(id), Refusal::State(error)),
        }
    }

    /// The state that a command asked for.
    pub(super) fn reply_state(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        number: u32,
        page: &StatePage,
    ) {
        let Some(Publish { id, channel, asked: Asked::State, .. }) = self.land(peer, number) else { return };
        self.send(cx, peer, |out| {
            json::encode_state_reply(out, id, &channel, page.position, &page.keys, page.has_more);
        });
    }
}

/// As an entity tag (RFC 9110 §8.8.3).
fn etag(version: Version) -> String {
    format!("\"{version}\"")
}

/// What has to hold for a change: one tag, or `*`.
fn condition(request: &Request<'_>) -> Result<Condition, Refusal> {
    match (request.header("if-match"), request.header("if-none-match")) {
        (None, None) => Ok(Condition::None),
        (Some(b"*"), None) => Ok(Condition::Present),
        (Some(tag), None) => version_of(tag).map(Condition::At).ok_or(Refusal::Condition),
        (None, Some(b"*")) => Ok(Condition::Absent),
        (None, Some(_)) | (Some(_), Some(_)) => Err(Refusal::Condition),
    }
}

/// What a reader has already. A tag that is none of ours is of something else.
fn if_none_match(request: &Request<'_>) -> Result<Condition, Refusal> {
    match request.header("if-none-match") {
        None => Ok(Condition::None),
        Some(b"*") => Ok(Condition::Present),
        Some(tag) => {
            // Caches may weaken it, and for reading that makes no difference (RFC 9110 §13.1.2).
            Ok(version_of(tag.strip_prefix(b"W/").unwrap_or(tag)).map_or(Condition::None, Condition::At))
        }
    }
}

fn version_of(tag: &[u8]) -> Option<Version> {
    let tag = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(tag).ok()?.parse().ok()
}

fn ttl_ms(request: &Request<'_>) -> Result<Option<u64>, Refusal> {
    match query(request.target, "ttl_ms") {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(ttl_ms) if text.bytes().all(|byte| byte.is_ascii_digit()) => checked_ttl(Some(ttl_ms)),
            Ok(_) | Err(_) => Err(Refusal::Ttl),
        },
    }
}

/// A time after which a key is to go, in milliseconds, if it may be one.
pub(crate) fn checked_ttl(ttl_ms: Option<u64>) -> Result<Option<u64>, Refusal> {
    match ttl_ms {
        Some(ttl_ms) if !(1..=STATE_TTL_MS_MAX).contains(&ttl_ms) => Err(Refusal::Ttl),
        ttl_ms => Ok(ttl_ms),
    }
}

/// Refuses bodies that say they are something else than JSON; `curl -d` says that everything is a form.
fn refuse_other_than_json_or_form(request: &Request<'_>) -> Result<(), Refusal> {
    match said(content_type(request)?) {
        None => refuse_encoded(request),
        Some(_) => refuse_other_than_json(request),
    }
}
