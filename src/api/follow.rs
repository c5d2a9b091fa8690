//! `GET /channels/{name}`: one URL, three transports; and `GET /events`, several channels in one stream or poll. A WebSocket's
//! handshake comes through `connect`; of other requests, those that accept an event stream get one, and the rest are long
//! polls.

use std::borrow::Cow;

use super::{
    ChannelServer, Refusal,
    access::{Standing, Who},
    channels::since,
    commands::Session,
    keys::KeySlot,
    pending::Outcome,
    route::{queries, query},
};
use crate::{
    app::{Answer, Method, Peer, Request, Verdict, choose_protocol, offered_protocols},
    auth::Right,
    limits::HOOKS_TOGETHER_MAX,
    model::{ChannelName, Position, Positions, Shown},
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
            let shown = shown(request)?;
            self.check_shown(peer, request, shown, [&channel])?;
            standing.or_ask()?;
            return Ok(Outcome::Answer(Answer::EventStream { channel, since, shown, fields }));
        }
        refuse_shown(request)?;
        let since = since(request)?;
        let timeout_ms = self.poll_timeout_ms(request)?;
        standing.or_ask()?;
        Ok(Outcome::Answer(Answer::LongPoll { channel, since, timeout_ms, fields }))
    }

    /// An event stream or a long poll of several channels. The right to each of them is asked.
    pub(super) fn follow_several(&self, peer: &Peer<'_>, request: &Request<'_>) -> Result<Outcome, Refusal> {
        let names = self.channels_named(request)?;
        let mut questions = Vec::new();
        for name in &names {
            // Nobody is asked about a request that is refused for another channel.
            let standing = self.access.check_first(&Who::reading(peer), Right::Subscribe, name.as_str())?;
            if standing == Standing::ToAsk && questions.len() < HOOKS_TOGETHER_MAX {
                questions.extend(self.access.take_question());
            }
        }
        let decide = move || match questions.is_empty() {
            true => Ok(()),
            false => {
                self.access.put_questions(questions);
                Err(Refusal::Undecided)
            }
        };
        let fields = String::from("Vary: Accept\r\n");
        if request.method != Method::Head && request.accepts_event_stream() {
            let positions = match last_event_ids(request, names.len()) {
                Some(positions) => positions,
                None => several_since(request, names.len())?,
            };
            let shown = shown(request)?;
            self.check_shown(peer, request, shown, &names)?;
            decide()?;
            let channels = names.into_iter().zip(positions).collect();
            return Ok(Outcome::Answer(Answer::EventStreams { channels, shown, fields }));
        }
        refuse_shown(request)?;
        let positions = several_since(request, names.len())?;
        let timeout_ms = self.poll_timeout_ms(request)?;
        decide()?;
        let channels = names.into_iter().zip(positions).collect();
        Ok(Outcome::Answer(Answer::LongPolls { channels, timeout_ms, fields }))
    }

    /// Refuses who has no right to what an event stream is to begin with.
    fn check_shown<'c>(
        &self,
        peer: &Peer<'_>,
        request: &Request<'_>,
        shown: Shown,
        channels: impl IntoIterator<Item = &'c ChannelName>,
    ) -> Result<(), Refusal> {
        if shown == Shown::default() {
            return Ok(());
        }
        self.check_seeing(&self.who(peer, request)?, shown, channels)
    }

    /// Refuses who has no right to what is shown of channels beside what is published.
    pub(super) fn check_seeing<'c>(
        &self,
        who: &Who<'_>,
        shown: Shown,
        channels: impl IntoIterator<Item = &'c ChannelName>,
    ) -> Result<(), Refusal> {
        let rights = [(shown.state, Right::State), (shown.presence, Right::Presence)];
        channels.into_iter().try_for_each(|channel| {
            let mut wanted = rights.iter().filter(|(is_wanted, _)| *is_wanted);
            wanted.try_for_each(|(_, right)| self.access.check(who, *right, channel.as_str()))
        })
    }

    /// The channels that an address names, each once.
    fn channels_named(&self, request: &Request<'_>) -> Result<Vec<ChannelName>, Refusal> {
        let limits = &self.settings.limits;
        let (max, mut names) = (limits.stream_channels_max(), Vec::new());
        for name in queries(request.target, "channel") {
            let name = self.named(&name)?;
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() > max {
                return Err(Refusal::StreamChannels(max));
            }
        }
        if names.is_empty() { Err(Refusal::StreamChannels(max)) } else { Ok(names) }
    }

    /// How long a poll waits; HEAD does not.
    fn poll_timeout_ms(&self, request: &Request<'_>) -> Result<u32, Refusal> {
        match request.method {
            Method::Head => Ok(0),
            _ => Ok(timeout_ms(request)?.min(self.settings.limits.long_poll_timeout_max_ms)),
        }
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
        refuse_shown(request)?;
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
    let position = id_brought_back(request)?.parse::<Position>();
    Some(position.unwrap_or(Position::FOREIGN))
}

/// The positions in several channels that a reconnecting `EventSource` sends. Where one is missing, because the client was cut
/// before it was known, something may have been missed; where they are not one for each channel, everything may.
fn last_event_ids(request: &Request<'_>, count: usize) -> Option<Vec<Option<Position>>> {
    let positions = Positions::read(&id_brought_back(request)?).ok();
    let positions = positions.filter(|positions| positions.len() == count);
    let told = |position: Option<Position>| Some(position.unwrap_or(Position::FOREIGN));
    Some(positions.unwrap_or_else(|| vec![None; count]).into_iter().map(told).collect())
}

/// What a reconnecting client brings back, unless it is empty.
fn id_brought_back<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    let field = request.header("last-event-id").filter(|id| !id.is_empty());
    let field = field.map(String::from_utf8_lossy);
    field.or_else(|| query(request.target, "lastEventId")).filter(|id| !id.is_empty())
}

/// `?since=` of several channels; an empty one is none.
fn several_since(request: &Request<'_>, count: usize) -> Result<Vec<Option<Position>>, Refusal> {
    match query(request.target, "since") {
        Some(text) if !text.is_empty() => {
            let positions = Positions::read(&text).ok().filter(|positions| positions.len() == count);
            positions.ok_or(Refusal::Positions)
        }
        Some(_) | None => Ok(vec![None; count]),
    }
}

/// `?state=` and `?presence=`, whether an event stream begins with the channel's state, and with who is there.
fn shown(request: &Request<'_>) -> Result<Shown, Refusal> {
    let flag = |name: &'static str| match query(request.target, name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault::NotFlag(name)),
    };
    Ok(Shown { state: flag("state")?, presence: flag("presence")? })
}

/// Nothing but an event stream can begin with them. HEAD asks what there would be.
fn refuse_shown(request: &Request<'_>) -> Result<(), Refusal> {
    match shown(request)? {
        _ if request.method == Method::Head => Ok(()),
        shown if shown == Shown::default() => Ok(()),
        _ => Err(Fault::ShownInStreams.into()),
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
