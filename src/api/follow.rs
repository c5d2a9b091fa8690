//! `GET /channels/{name}`: one URL, three transports. A WebSocket's handshake comes through `connect`; of other
//! requests, those that accept an event stream get one, and the rest are long polls.

use super::{
    ChannelServer, Refusal, access::Who, channels::since, commands::Session, keys::KeySlot, route::query,
    server::Outcome,
};
use crate::{
    app::{Answer, Method, Peer, Request, Verdict, choose_protocol, offered_protocols},
    auth::Right,
    model::Position,
    wire::json::Fault,
};

/// What a WebSocket of one channel may be asked for as: frames are publications.
const CHANNEL_PROTOCOL: &str = "roadstead.raw";
/// What `/ws` may be asked for as: frames are JSON.
pub(super) const COMMANDS_PROTOCOL: &str = "roadstead.json";

/// How long a poll waits that does not say.
const LONG_POLL_TIMEOUT_DEFAULT_MS: u32 = 25_000;

impl ChannelServer {
    /// An event stream or a long poll. HEAD is a poll that does not wait.
    pub(super) fn follow(
        &mut self,
        peer: &Peer<'_>,
        request: &Request<'_>,
        name: &str,
    ) -> Result<Outcome, Refusal> {
        let channel = self.channel(name)?;
        let standing = self.access.check_first(&Who::reading(peer), Right::Subscribe, channel.as_str())?;
        let fields = String::from("Vary: Accept\r\n");
        if request.method != Method::Head && request.accepts_event_stream() {
            let since = match last_event_id(request) {
                Some(position) => Some(position),
                None => since(request)?,
            };
            let with_state = with_state(request)?;
            if with_state {
                self.access.check(&self.who(peer, request)?, Right::State, channel.as_str())?;
            }
            standing.or_ask()?;
            return Ok(Outcome::Answer(Answer::EventStream { channel, since, with_state, fields }));
        }
        let since = since(request)?;
        let timeout_ms = match request.method {
            Method::Head => 0,
            _ => timeout_ms(request)?.min(self.settings.limits.long_poll_timeout_max_ms),
        };
        standing.or_ask()?;
        Ok(Outcome::Answer(Answer::LongPoll { channel, since, timeout_ms, fields }))
    }

    /// A WebSocket of one channel.
    pub(super) fn accept_channel(
        &mut self,
        peer: &Peer<'_>,
        request: &Request<'_>,
        name: &str,
    ) -> Result<Verdict, Refusal> {
        let channel = self.channel(name)?;
        let key = self.websocket_key(peer, request)?;
        let standing =
            self.access.check_first(&Who::with_key(peer, key), Right::Subscribe, channel.as_str())?;
        let since = since(request)?;
        standing.or_ask()?;
        let tag = Session::Channel { key }.tag();
        let protocol = self.protocol(request, CHANNEL_PROTOCOL);
        Ok(Verdict::accept(tag).following(channel, since).speaking(protocol))
    }

    /// The subprotocol of those a client offers: that of the resource, or one of the operator's.
    pub(super) fn protocol<'a>(&self, request: &Request<'a>, own: &str) -> Option<&'a str> {
        let spoken: Vec<_> =
            [own].into_iter().chain(self.settings.subprotocols.iter().map(String::as_str)).collect();
        choose_protocol(&offered_protocols(request), &spoken)
    }

    /// The key that came with a WebSocket's handshake.
    pub(super) fn websocket_key(&self, peer: &Peer<'_>, request: &Request<'_>) -> Result<KeySlot, Refusal> {
        // What is presented is then a token.
        let bearer = request.bearer().filter(|_| peer.token.is_none());
        self.access.keys.presented_by_websocket(bearer, request, self.access.publishing_is_open())
    }
}

/// The position a reconnecting `EventSource` sends, as a field or, where a page brings one of its own, as a parameter
/// (npm event-source-polyfill); an empty one is none (HTML Living Standard §9.2.4). One that is no position of ours, such
/// as another server's, is a place we know nothing of: a refusal would end the client for good.
fn last_event_id(request: &Request<'_>) -> Option<Position> {
    let parameter = query(request.target, "lastEventId");
    let field = request.header("last-event-id").filter(|id| !id.is_empty());
    let id = field.or(parameter.as_deref().map(str::as_bytes)).filter(|id| !id.is_empty())?;
    let position = std::str::from_utf8(id).ok().and_then(|text| text.parse().ok());
    Some(position.unwrap_or(Position::FOREIGN))
}

/// `?state=`, whether an event stream begins with the channel's state.
fn with_state(request: &Request<'_>) -> Result<bool, Refusal> {
    match query(request.target, "state").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault::NotFlag("state").into()),
    }
}

/// `?timeout=`, decimal seconds.
fn timeout_ms(request: &Request<'_>) -> Result<u32, Refusal> {
    let Some(text) = query(request.target, "timeout") else { return Ok(LONG_POLL_TIMEOUT_DEFAULT_MS) };
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse::<f64>() {
        // The cast holds at the ends: a time too long to count is as long as can be.
        Ok(seconds) if is_decimal => Ok((seconds * 1000.0).round() as u32),
        Ok(_) | Err(_) => Err(Refusal::Timeout),
    }
}
