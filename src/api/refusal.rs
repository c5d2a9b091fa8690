//! Everything the HTTP API and `/ws` can refuse: one row each of status, code, and a sentence that tells the cure.

use std::{borrow::Cow, fmt};

use super::{
    access::Who,
    refused::{state_code, state_status, subscribe_sentence},
    route::Methods,
};
use crate::{
    app::{OriginRefused, Peer, Response},
    auth::{Denied, HookFailure, Ruled, TokenError},
    hub::SubscribeError,
    limits::PRESENCE_INFO_BYTES_MAX,
    model::{ChannelNameError, Misspelt, PublishError, StateError, StateKeyError},
    wire::json::Fault,
};

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No resource has this path.
    NotFound,
    /// The resource takes other methods.
    MethodNotAllowed(Methods),
    /// The resource is a WebSocket only.
    UpgradeRequired,
    /// The resource is no WebSocket.
    NotWebSocket,
    /// A percent sign without two hexadecimal digits, or bytes that are not UTF-8, in a path.
    PathEncoding,
    /// A channel's name breaks the rules.
    ChannelName(ChannelNameError),
    /// A position is not `epoch:offset`.
    Position,
    /// Positions in several channels are not one for each.
    Positions,
    /// A stream names no channel, or more than so many.
    StreamChannels(usize),
    /// A parameter of the address that is misspelt.
    Parameter(Misspelt),
    /// `timeout` is not a number of seconds.
    Timeout,
    /// `limit` is not a number from 1 to the given maximum.
    Limit(u32),
    /// A publication's content type is too long, or not printable ASCII.
    ContentType,
    /// A batch was not sent as JSON.
    BatchContentType,
    /// The body is compressed.
    ContentEncoding,
    /// One publication is larger than the given number of bytes.
    PublicationTooLarge(u32),
    /// The body or command could not be read.
    Fault(Fault),
    /// Publishing needs a key and none was presented.
    KeyMissing,
    /// The key presented is none of the server's.
    KeyWrong,
    /// This WebSocket, key or token may not publish to the channel.
    PublishForbidden,
    /// A right to read is missing.
    Denied(Denied),
    /// The backend has to be asked first; where that is not possible, it is a refusal like any other.
    Undecided,
    /// The backend does not allow it.
    HookDenied,
    /// The backend has not said anything.
    Hook(HookFailure),
    /// A token is not good.
    Token(TokenError),
    /// Operators have to show a key here, and none was.
    OperatorUnknown,
    /// The key is no operator's.
    OperatorWrong,
    /// Nobody can be shut out so.
    RevocationInvalid,
    /// What acts on the sockets of others is for those who may publish to every channel.
    EveryChannel,
    /// The web page's origin is not allowed.
    Origin,
    /// A key, a user or an address has published as often as it may; room again in the given number of milliseconds.
    RateLimited(u64),
    /// The channel's owner did not take the publication.
    Publish(PublishError),
    /// The channel could not be subscribed to.
    Subscribe(SubscribeError),
    /// The channel's state was not changed.
    State(StateError),
    /// A key's name breaks the rules.
    StateKey,
    /// A member says of itself what its token says already.
    InfoForbidden,
    /// A member says too much of itself.
    InfoTooLarge,
    /// A condition that there cannot be.
    Condition,
    /// `ttl_ms` is not a number of milliseconds.
    Ttl,
    /// `/ws` takes text only.
    BinaryUnsupported,
    /// The official client of Socket.IO is not there to be served.
    ClientScriptMissing,
    /// Clients may not use this room.
    RoomForbidden,
    /// The room of a socket's own id, in which nobody else can be.
    RoomOfSocket,
    /// A namespace that cannot be one.
    Namespace,
    /// What only the server says, to Socket.IO's admin page.
    AdminNamespace,
    /// Clients are told nothing of rooms.
    PresenceForbidden,
    /// Nobody listens for this event, and it is not passed on either.
    EventUnheard,
    /// A command of Socket.IO with other arguments than these.
    CommandArguments(&'static str),
    /// Only so many of this many shards have answered in time.
    ShardsSilent(u16, u16),
    /// The shard that it was for does no turns.
    OwnerSilent,
    /// The shard that it was for has failed.
    OwnerFailed,
    /// As many lists of channels are being made as may be.
    ListsFull,
    /// As many dashboards are open as may be.
    DashboardsFull,
}

impl Refusal {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Token(error) => error.status(),
            Self::NotFound | Self::ClientScriptMissing | Self::EventUnheard => 404,
            Self::State(error) => state_status(error),
            Self::MethodNotAllowed(_) => 405,
            Self::UpgradeRequired => 426,
            Self::KeyMissing | Self::OperatorUnknown | Self::Denied(Denied { is_known: false, .. }) => 401,
            Self::OperatorWrong
            | Self::KeyWrong
            | Self::PublishForbidden
            | Self::AdminNamespace
            | Self::EveryChannel
            | Self::Undecided
            | Self::HookDenied
            | Self::Origin => 403,
            Self::Denied(Denied { is_known: true, .. }) => 403,
            Self::RoomForbidden | Self::PresenceForbidden | Self::InfoForbidden => 403,
            Self::InfoTooLarge => 413,
            Self::PublicationTooLarge(_) | Self::Fault(Fault::BatchTooLarge(_)) => 413,
            Self::BatchContentType | Self::ContentEncoding | Self::BinaryUnsupported => 415,
            Self::RateLimited(_) => 429,
            Self::Publish(_)
            | Self::Hook(_)
            | Self::ShardsSilent(..)
            | Self::OwnerSilent
            | Self::OwnerFailed
            | Self::ListsFull
            | Self::DashboardsFull => 503,
            Self::Subscribe(
                SubscribeError::ChannelsFull | SubscribeError::Busy | SubscribeError::BrokerUnavailable,
            ) => 503,
            Self::Subscribe(
                SubscribeError::Already | SubscribeError::TooMany | SubscribeError::Withdrawn,
            ) => 409,
            Self::NotWebSocket
            | Self::RevocationInvalid
            | Self::PathEncoding
            | Self::ChannelName(_)
            | Self::Position
            | Self::Positions
            | Self::StreamChannels(_)
            | Self::Parameter(_)
            | Self::Timeout
            | Self::StateKey
            | Self::Condition
            | Self::Ttl
            | Self::Limit(_)
            | Self::ContentType
            | Self::CommandArguments(_)
            | Self::RoomOfSocket
            | Self::Namespace
            | Self::Fault(_) => 400,
        }
    }

    /// The code a program can match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::UpgradeRequired => "upgrade_required",
            Self::NotWebSocket => "not_a_websocket",
            Self::PathEncoding => "path_encoding_invalid",
            Self::ChannelName(_) => "channel_name_invalid",
            Self::Position | Self::Positions => "position_invalid",
            Self::StreamChannels(_) => "channels_invalid",
            Self::Parameter(_) => "parameter_unknown",
            Self::Timeout => "timeout_invalid",
            Self::Limit(_) => "limit_invalid",
            Self::ContentType => "content_type_invalid",
            Self::BatchContentType => "content_type_unsupported",
            Self::ContentEncoding => "content_encoding_unsupported",
            Self::PublicationTooLarge(_) => "publication_too_large",
            Self::Fault(fault) => fault.code(),
            Self::KeyMissing | Self::OperatorUnknown => "key_missing",
            Self::KeyWrong | Self::OperatorWrong => "key_wrong",
            Self::Undecided => "asked_one_by_one",
            Self::HookDenied => "denied_by_hook",
            Self::Hook(failure) => failure.code(),
            Self::Token(error) => error.code(),
            Self::RevocationInvalid => "revocation_invalid",
            Self::PublishForbidden | Self::EveryChannel => "publish_forbidden",
            Self::Denied(Denied { right, .. }) => right.missing_code(),
            Self::Origin => "origin_not_allowed",
            Self::RateLimited(_) => "rate_limited",
            Self::Publish(PublishError::Busy) | Self::Subscribe(SubscribeError::Busy) => "busy",
            Self::Publish(PublishError::ChannelsFull) => "channels_full",
            Self::Publish(PublishError::StorageBusy) => "storage_busy",
            Self::Publish(PublishError::BrokerUnavailable)
            | Self::Subscribe(SubscribeError::BrokerUnavailable) => "broker_unavailable",
            Self::Publish(PublishError::BrokerUnknown) => "broker_outcome_unknown",
            Self::Subscribe(SubscribeError::Already) => "already_subscribed",
            Self::Subscribe(SubscribeError::TooMany) => "subscriptions_full",
            Self::Subscribe(SubscribeError::ChannelsFull) => "channels_full",
            Self::Subscribe(SubscribeError::Withdrawn) => "subscription_withdrawn",
            Self::State(error) => state_code(error),
            Self::StateKey => "state_key_invalid",
            Self::InfoForbidden => "info_forbidden",
            Self::InfoTooLarge => "info_too_large",
            Self::Condition => "condition_invalid",
            Self::Ttl => "ttl_invalid",
            Self::BinaryUnsupported => "binary_unsupported",
            Self::ShardsSilent(..) => "shards_silent",
            Self::OwnerSilent => "owner_silent",
            Self::OwnerFailed => "owner_failed",
            Self::ListsFull => "lists_full",
            Self::DashboardsFull => "dashboards_full",
            Self::ClientScriptMissing => "client_script_missing",
            Self::RoomForbidden => "room_forbidden",
            Self::RoomOfSocket => "room_of_socket",
            Self::Namespace => "namespace_invalid",
            Self::AdminNamespace => "admin_namespace",
            Self::PresenceForbidden => "presence_forbidden",
            Self::EventUnheard => "event_unheard",
            Self::CommandArguments(_) => "arguments_invalid",
        }
    }

    /// Whether it refuses somebody because nothing shows who that is.
    pub(super) fn is_about_nobody(self) -> bool {
        matches!(self, Self::KeyMissing | Self::Denied(Denied { is_known: false, .. }))
    }

    /// What it is where nothing but a new connection can bring a key.
    pub(super) fn without_key(self) -> Self {
        match self {
            Self::Undecided | Self::HookDenied | Self::Hook(_) | Self::AdminNamespace => self,
            _ => Self::PublishForbidden,
        }
    }

    /// Its code and its sentence, in the backend's words where that has refused.
    pub(super) fn words(self, rulings: &[Ruled]) -> (Cow<'_, str>, Cow<'_, str>) {
        match (self, Who::denial(rulings)) {
            (Self::HookDenied, Some(denial)) => ((&*denial.code).into(), (&*denial.message).into()),
            _ => (self.code().into(), self.to_string().into()),
        }
    }

    /// As [`Self::response`], in the backend's words where that has refused.
    pub(super) fn response_to(self, peer: &Peer<'_>) -> Response {
        match (self, Who::denial(peer.rulings)) {
            (Self::HookDenied, Some(denial)) => {
                Response::refused(self.status(), &denial.code, &denial.message)
            }
            _ => self.response(),
        }
    }

    /// The whole answer but for the fields of CORS.
    pub fn response(self) -> Response {
        let response = Response::refused(self.status(), self.code(), &self.to_string());
        match self {
            Self::MethodNotAllowed(methods) => response.with_field("Allow", methods.listed()),
            // RFC 9110 §7.8: who sends Upgrade also names it in Connection.
            Self::UpgradeRequired => {
                response.with_field("Upgrade", "websocket").with_field("Connection", "Upgrade")
            }
            Self::KeyMissing | Self::OperatorUnknown | Self::Denied(Denied { is_known: false, .. }) => {
                response.with_field("WWW-Authenticate", "Bearer realm=\"roadstead\"")
            }
            Self::KeyWrong => {
                response.with_field("WWW-Authenticate", "Bearer realm=\"roadstead\", error=\"invalid_token\"")
            }
            Self::RateLimited(wait_ms) => {
                response.with_field("Retry-After", &wait_ms.div_ceil(1000).max(1).to_string())
            }
            Self::Publish(
                PublishError::Busy | PublishError::StorageBusy | PublishError::BrokerUnavailable,
            )
            | Self::Subscribe(SubscribeError::BrokerUnavailable)
            | Self::State(StateError::Publish(PublishError::Busy | PublishError::StorageBusy))
            | Self::Hook(_)
            | Self::ShardsSilent(..)
            | Self::OwnerSilent
            | Self::OwnerFailed
            | Self::ListsFull
            | Self::DashboardsFull => response.with_field("Retry-After", "1"),
            _ => response,
        }
    }
}

/// A position is wrong.
const POSITION: &str = "a position is written epoch:offset, two decimal numbers; send one you were given";
/// Positions in several channels are wrong.
const POSITIONS: &str = "positions are written epoch:offset, with commas, one for each channel in the order of the address and - where \
     there is none; send what you were given";
/// A backend cannot be asked.
const UNDECIDED: &str = "the application is asked about each publication to this channel, and about no more than 64 of one batch: \
     send it in another";
/// The owner of the channel does no turns. What it was sent may be done when it goes on.
const OWNER_SILENT: &str = "the shard that this was for does not answer; it may still be done, or not";
/// The right to publish is missing.
const PUBLISH_FORBIDDEN: &str = "the right to publish to this channel is missing: publish.clients must be on for WebSockets, and without \
     publish.open a key, a token (?key= or Authorization: Bearer, over Socket.IO auth: {key} or {token}) or a \
     [[namespace]] must give it";
/// An operator is asked for.
const OPERATOR_UNKNOWN: &str =
    "this needs an operator's key here: Authorization: Bearer KEY, with one of server.admin_keys";
/// A revocation is asked for wrongly.
const REVOCATION_INVALID: &str =
    "send {\"user\":NAME}, or {\"token\":ID} with what a token has as jti; a name has 1 to 255 bytes";
/// What acts on the sockets of others.
const EVERY_CHANNEL: &str = "this acts on the sockets of others: it needs the right to publish to every channel, such as \
     a key that is limited to none";
/// The owner of the channel has failed. What it was sent may have been done, and is lost then.
const OWNER_FAILED: &str =
    "the shard that this was for has failed and begins anew; it may have been done, or not";
/// Enough has been published; what follows is how long to wait.
const RATE_LIMITED: &str = "this key, user or address has published as often as it may; try again in";
/// A room that is a socket's own.
const ROOM_OF_SOCKET: &str =
    "this is the id of a socket, in whose room nobody else can be; name another room";
/// A namespace is none.
const NAMESPACE: &str =
    "a namespace begins with a slash and has at most 255 bytes, no control characters and no #";
/// Only the server speaks there.
const ADMIN_NAMESPACE: &str = "the namespace /admin is that of Socket.IO's admin page here (socketio.admin_keys), to which \
     nobody but the server says anything";
/// Nobody hears an event.
const EVENT_UNHEARD: &str =
    "nobody here listens for this event, and events are not passed on unless socketio.relay is on";
/// A member says too much of itself.
const INFO_TOO_LARGE: &str = "what others may know of a member has at most 1024 bytes";
const _: () = assert!(PRESENCE_INFO_BYTES_MAX == 1024);
/// There is no client to be served.
const CLIENT_SCRIPT_MISSING: &str = "the Socket.IO client is not installed beside the server; run `npm install socket.io-client` where the server is \
     started, or name its dist/socket.io.js in socketio.client_script";
/// Nothing is there.
const NOT_FOUND: &str = "nothing is served at this path; channels are at /channels/{name}, where a slash inside a name is \
     written %2F";
/// Enough lists are being made.
const LISTS_FULL: &str =
    "other lists of channels are still being made; try again in a second, or ask for one channel with /info";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NotFound => NOT_FOUND,
            Self::MethodNotAllowed(methods) => {
                return write!(f, "this resource takes {}", methods.listed());
            }
            Self::UpgradeRequired => "this resource is a WebSocket; connect to it as ws:// or wss://",
            Self::NotWebSocket => "this resource is no WebSocket; ask without Upgrade",
            Self::PathEncoding => {
                "write the channel's name as UTF-8, percent-encoded where needed (encodeURIComponent)"
            }
            Self::ChannelName(error) => return error.fmt(f),
            Self::Position => POSITION,
            Self::Positions => POSITIONS,
            Self::StreamChannels(max) => return write!(f, "name 1 to {max} channels: channel=NAME"),
            Self::Parameter(name) => return write!(f, "there is no parameter {name}"),
            Self::Timeout => "timeout is a number of seconds, such as 25 or 0.5",
            Self::Limit(max) => return write!(f, "limit is a number from 1 to {max}"),
            Self::ContentType => return Fault::ContentType.fmt(f),
            Self::BatchContentType => "send JSON, with Content-Type: application/json",
            Self::ContentEncoding => {
                "publications are kept as they come; send the body without Content-Encoding"
            }
            Self::PublicationTooLarge(max) => {
                return write!(f, "a publication has at most {max} bytes here (publication_bytes_max)");
            }
            Self::Fault(fault) => return fault.fmt(f),
            Self::KeyMissing => "publishing needs a key or a token; send it as Authorization: Bearer",
            Self::KeyWrong => "the server does not know this key; check publish.keys",
            Self::PublishForbidden => PUBLISH_FORBIDDEN,
            Self::Denied(denied) => return denied.fmt(f),
            Self::Undecided => UNDECIDED,
            Self::HookDenied => "the application does not allow this",
            Self::Hook(failure) => return failure.fmt(f),
            Self::Token(error) => return error.fmt(f),
            Self::OperatorUnknown => OPERATOR_UNKNOWN,
            Self::OperatorWrong => "the server does not know this key; check server.admin_keys",
            Self::RevocationInvalid => REVOCATION_INVALID,
            Self::EveryChannel => EVERY_CHANNEL,
            Self::Origin => return OriginRefused.fmt(f),
            Self::RateLimited(wait_ms) => return write!(f, "{RATE_LIMITED} {wait_ms} ms"),
            Self::Publish(error) => return error.fmt(f),
            Self::Subscribe(error) => return f.write_str(&subscribe_sentence(error)),
            Self::ClientScriptMissing => CLIENT_SCRIPT_MISSING,
            Self::RoomForbidden => "clients may not use this room; add it to socketio.client_rooms",
            Self::RoomOfSocket => ROOM_OF_SOCKET,
            Self::Namespace => NAMESPACE,
            Self::AdminNamespace => ADMIN_NAMESPACE,
            Self::PresenceForbidden => "clients may not ask who is in a room; set socketio.presence",
            Self::EventUnheard => EVENT_UNHEARD,
            Self::CommandArguments(expected) => return write!(f, "send {expected}"),
            Self::State(error) => return error.fmt(f),
            Self::InfoForbidden => {
                "what others may know is said by the token (info); send no info of your own"
            }
            Self::InfoTooLarge => INFO_TOO_LARGE,
            Self::StateKey => return StateKeyError.fmt(f),
            Self::Condition => return Fault::Condition.fmt(f),
            Self::Ttl => "ttl_ms is a number of milliseconds, from 1 to ten years",
            Self::BinaryUnsupported => "send commands as text frames; bytes go into data_base64",
            Self::ShardsSilent(answered, of) => {
                return write!(f, "only {answered} of {of} shards answered in time; try again later");
            }
            Self::OwnerSilent => OWNER_SILENT,
            Self::OwnerFailed => OWNER_FAILED,
            Self::ListsFull => LISTS_FULL,
            Self::DashboardsFull => "as many dashboards are open here as may be; close one, then try again",
        })
    }
}

impl std::error::Error for Refusal {}

impl From<ChannelNameError> for Refusal {
    fn from(error: ChannelNameError) -> Self {
        Self::ChannelName(error)
    }
}

impl From<StateKeyError> for Refusal {
    fn from(StateKeyError: StateKeyError) -> Self {
        Self::StateKey
    }
}

impl From<OriginRefused> for Refusal {
    fn from(OriginRefused: OriginRefused) -> Self {
        Self::Origin
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
