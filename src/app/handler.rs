//! What an application is asked and told.

use std::net::{IpAddr, SocketAddr};

use super::{Context, socketio::Io};
use crate::{
    auth::{Consultation, Holder, Ruled, TokenError},
    live::Live,
    mesh::{HistoryPage, StatePage, Survey},
    model::{
        Changed, ChannelName, CloseReason, ConnectionId, Payload, Position, PresencePage, PublishError,
        ShardId, Shown, StateError, scheme,
    },
    wire::http1::{Request, Response},
};

/// An application: one value per shard, called on that shard's core only.
///
/// Every call runs to its end before anything else happens on the shard; keep it short. Work that takes time
/// belongs on a thread of the application's own.
pub trait Handler {
    /// A client asks to become a WebSocket. `tag` in the verdict comes back in every later [`Peer`].
    fn connect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict;

    /// A plain HTTP request. Without an implementation every request gets 404.
    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        let _unused = (cx, peer, request);
        Answer::Respond(Response::refused(404, "not_found", "nothing is served at this path"))
    }

    /// Whether [`Self::request`] may be called for this, of which the body is larger than `limits.body_bytes_max`: it is not there
    /// then, and whoever says yes has taken care that it is passed on as it comes.
    fn takes_uploads(&self, peer: &Peer<'_>, request: &Request<'_>) -> bool {
        let _unused = (peer, request);
        false
    }

    /// A WebSocket client sent a message.
    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        let _unused = (cx, peer, message);
    }

    /// The answer to something asked with a token. `peer` asked; it is still connected.
    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        let _unused = (cx, peer, token, reply);
    }

    /// A session that [`connect`](Self::connect) accepted or [`request`](Self::request) put off has ended.
    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        let _unused = (cx, peer, reason);
    }

    /// Whether this is a key of the operator's. Nobody is asked by `hooks.connect` who a client with one is.
    fn knows_key(&self, key: &[u8]) -> bool {
        let _unused = key;
        false
    }

    /// Whether a plain request is that of a client who follows something, such as a long poll. Who shows neither token nor key
    /// with one is asked about by `hooks.connect`, as is whoever wants a WebSocket or an event stream.
    fn is_subscriber(&self, request: &Request<'_>) -> bool {
        let _unused = request;
        false
    }

    /// Says what is served over Socket.IO, by registering it on `io`, and whether anything is. A value is asked once,
    /// before the shard serves anybody; without an implementation Socket.IO is not served.
    fn socketio(&mut self, io: &Io) -> bool {
        let _unused = io;
        false
    }

    /// The token by which a WebSocket was let in has run out. Unless it brings another within so many seconds
    /// ([`Context::authenticate`]), it is closed.
    fn token_expired(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, within_s: u32) {
        let _unused = (cx, peer, within_s);
    }

    /// The operator has changed settings while the server runs; these are in force. What clients were promised before,
    /// such as a right to publish, is the application's to take back.
    fn settings_changed(&mut self, cx: &mut Context<'_>, live: &Live) {
        let _unused = (cx, live);
    }

    /// These other shards do no turns, because a handler of theirs hangs. Told every second while there are any, and once
    /// when there are none any more: what has waited for a reply since before may never get one, and is the
    /// application's to give up. A subscription that waits is refused by itself.
    fn shards_silent(&mut self, cx: &mut Context<'_>, silent: &[ShardId]) {
        let _unused = (cx, silent);
    }

    /// Another shard has failed and begun anew, with a value of this kind that knows nothing. What it was asked will not be
    /// answered: a publication on a channel that it `owned`, or a page of that channel's history, is the application's to
    /// give up; it may have been done. A subscription that waits is refused by itself.
    fn shard_failed(&mut self, cx: &mut Context<'_>, shard: ShardId, owned: &dyn Fn(&ChannelName) -> bool) {
        let _unused = (cx, shard, owned);
    }

    /// Whether a WebSocket of this kind may go on with another process, at an upgrade of the server
    /// ([`crate::supervisor::keep`]): then this application's value there is asked to [`restore`](Self::restore) what this one
    /// has [saved](Self::save). Without an implementation none does, and all are told to come back (1001). Asked more than once.
    fn travels(&self, peer: &Peer<'_>) -> bool {
        let _unused = peer;
        false
    }

    /// What the application keeps of a WebSocket that goes on with another process, in a form that another version reads. It is
    /// between two messages, and its subscriptions, its presence, its token and its address go with it. `None` while something is
    /// under way for it that cannot go: then it is told to come back.
    fn save(&self, peer: &Peer<'_>) -> Option<Vec<u8>> {
        let _unused = peer;
        None
    }

    /// A WebSocket that another process has begun goes on here, with what was [saved](Self::save) of it there: its tag here,
    /// or `None` if it cannot go on, or may not any more. Then it is told to come back. Its id is another one
    /// ([`Peer::connection`]).
    ///
    /// Should the server not come to serve, what this was asked is as if it had not been.
    fn restore(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, resumed: &Resumed<'_>) -> Option<u32> {
        let _unused = (cx, peer, resumed);
        None
    }

    /// Whether an event stream of this channel, which is shown this beside what is published there, or a long poll that waits for
    /// what is, may go on with another process, and in another process: asked of both values. This application has answered a
    /// request with it ([`Answer::EventStream`], [`Answer::LongPoll`]); of one of several channels it is asked for each. Without
    /// an implementation none does.
    fn stream_travels(&self, peer: &Peer<'_>, channel: &ChannelName, shown: Shown) -> bool {
        let _unused = (peer, channel, shown);
        false
    }

    /// Whether WebSockets and event streams that travel go to another shard of this process as well, while they are served, when
    /// this one has more to do than that (`server.balance`). There this application's value is asked to
    /// [`restore`](Self::restore) what this one has saved, and this one is told that it has [moved](Self::moved).
    fn is_levelled(&self) -> bool {
        false
    }

    /// A WebSocket has gone to another shard of this process: it is to be forgotten here, and has not ended.
    fn moved(&mut self, peer: &Peer<'_>) {
        let _unused = peer;
    }

    /// A timer set with [`Context::timer`] has run out.
    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        let _unused = (cx, timer);
    }
}

/// Who is speaking.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The connection.
    pub connection: ConnectionId,
    /// The client's address, as far as proxies that are trusted tell it; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// Whether it speaks TLS: with this server, or with a proxy that is trusted and says so.
    pub is_secure: bool,
    /// The host that it has asked, as it wrote it. Known while its request is answered, and afterwards of clients that trusted
    /// proxies have passed on.
    pub host: Option<&'a str>,
    /// The proxies that have passed it on, in order, as far as they are known and trusted; the last one, which has the
    /// connection, is not among them. The address and these are what Express calls `req.ips`.
    pub hops: &'a [IpAddr],
    /// Whether it came in through the admin listener.
    pub is_admin: bool,
    /// What the application said when it accepted the session; 0 before.
    pub tag: u32,
    /// The channel the session is subscribed to, when it is exactly one.
    pub channel: Option<&'a ChannelName>,
    /// What the client has shown a good token of, if it has: of this request, or of the session since its beginning.
    pub token: Option<Holder<'a>>,
    /// What the operator's backend has been asked about this request, or for this reply, and what it has said.
    pub rulings: &'a [Ruled],
}

impl<'a> Peer<'a> {
    /// `https` or `http`: how it came, also as a WebSocket.
    pub fn scheme(&self) -> &'static str {
        scheme(self.is_secure)
    }

    /// The same peer, with what this request of its says.
    pub(crate) fn asking(&self, request: &Request<'a>) -> Self {
        let Request { is_secure, .. } = *request;
        Self { is_secure, host: request.host_text(), hops: request.hops(), ..*self }
    }
}

/// What became of a token that was shown on a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whose it is.
    pub user: Box<str>,
    /// Until when it is good, in seconds since the Unix epoch.
    pub expires_s: u64,
    /// The channels that the session follows already.
    pub channels: Vec<ChannelName>,
    /// The channels in which it is present already, or asks to be.
    pub entered: Vec<ChannelName>,
}

/// A WebSocket that goes on in this process.
#[derive(Clone, Copy, Debug)]
pub struct Resumed<'a> {
    /// The channels that it follows.
    pub followed: &'a [ChannelName],
    /// What it is shown of each of them beside what is published there.
    pub shown: &'a [Shown],
    /// The channels in which it is present.
    pub entered: &'a [ChannelName],
    /// What was kept of it.
    pub saved: &'a [u8],
}

/// A WebSocket message, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8, checked.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The bytes of the message, whatever its kind.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<Message<'_>> for Payload {
    /// A publication of the message: text stays text, and binary stays binary.
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::text_of(text, None),
            Message::Binary(bytes) => Self::bytes_of(bytes, None),
        }
    }
}

/// Whether a client becomes a WebSocket.
#[derive(Debug)]
pub enum Verdict {
    /// It does.
    Accept {
        /// Comes back in every later [`Peer`].
        tag: u32,
        /// Subscribe it to this channel at once, as [`crate::model::Transport::WebSocket`], after this position.
        channel: Option<(ChannelName, Option<Position>)>,
        /// The subprotocol chosen: one of [`super::offered_protocols`]. A browser that offers some closes unless one is.
        protocol: Option<Box<str>>,
        /// Send and accept messages up to this size instead of `limits.message_bytes_max`, without a bound on
        /// their fragments: for conformance suites.
        diagnostic: bool,
    },
    /// It does not; this is the answer.
    Refuse(Response),
    /// The operator's backend is asked first, as in [`Answer::Consult`].
    Consult(Box<Consultation>),
    /// The handler of that shard decides, as in [`Answer::HandOver`].
    HandOver(ShardId),
}

impl Verdict {
    /// Accepts, subscribed to nothing.
    pub fn accept(tag: u32) -> Self {
        Self::Accept { tag, channel: None, protocol: None, diagnostic: false }
    }

    /// And follows this channel, as [`crate::model::Transport::WebSocket`], after this position.
    pub fn following(mut self, followed: ChannelName, since: Option<Position>) -> Self {
        if let Self::Accept { channel, .. } = &mut self {
            *channel = Some((followed, since));
        }
        self
    }

    /// And speaks this subprotocol; see [`super::choose_protocol`].
    pub fn speaking(mut self, name: Option<&str>) -> Self {
        if let Self::Accept { protocol, .. } = &mut self {
            *protocol = name.map(Into::into);
        }
        self
    }
}

/// The answer to a plain request.
#[derive(Debug)]
pub enum Answer {
    /// This.
    Respond(Response),
    /// [`Context::respond`] will give it. Until then the connection's later requests wait.
    Later {
        /// Comes back in [`Handler::reply`] and [`Handler::disconnect`].
        tag: u32,
    },
    /// The operator's backend is asked first (`hooks` in the configuration): all of this at once, at most
    /// [`HOOKS_TOGETHER_MAX`](crate::limits::HOOKS_TOGETHER_MAX). Then the request comes again, with the answers in
    /// [`Peer::rulings`]: whatever becomes of a question, there is one. Without a backend they are failures.
    Consult(Vec<Consultation>),
    /// The handler of that shard answers: the connection goes there with this request and whatever comes behind it,
    /// and its [`Peer::connection`] becomes another one.
    ///
    /// The client is answered 503 and has to try again when the connection cannot go: the kernel is older than 6.8, or
    /// descriptors or room are short there. It is answered 508 when the request has been handed over
    /// [`HAND_OVERS_PER_REQUEST_MAX`](crate::limits::HAND_OVERS_PER_REQUEST_MAX) times already, and 500 when there is
    /// no such shard or it is this one.
    HandOver(ShardId),
    /// A stream of server-sent events.
    EventStream {
        /// The channel to follow.
        channel: ChannelName,
        /// The position already seen.
        since: Option<Position>,
        /// What comes first.
        shown: Shown,
        /// Header fields to add (CORS), each `name: value\r\n`.
        fields: String,
    },
    /// One stream of server-sent events about several channels. `id` lists the position in each, in this order, and the data
    /// of an event is JSON that names its channel.
    EventStreams {
        /// The channels to follow, each once, with the position already seen; at most
        /// [`stream_channels_max`](crate::limits::Limits::stream_channels_max).
        channels: Vec<(ChannelName, Option<Position>)>,
        /// What of each channel comes first.
        shown: Shown,
        /// Header fields to add (CORS), each `name: value\r\n`.
        fields: String,
    },
    /// One long poll of several channels: answered once all of them have been asked and one has something.
    LongPolls {
        /// The channels to follow, as in [`Answer::EventStreams`].
        channels: Vec<(ChannelName, Option<Position>)>,
        /// How long to wait, in milliseconds.
        timeout_ms: u32,
        /// Header fields to add (CORS), each `name: value\r\n`.
        fields: String,
    },
    /// A stream of server-sent events that the application writes: each text message that it sends the connection
    /// ([`Context::send`]) is the data of one. A client that does not read them is closed as slow, and
    /// [`Handler::disconnect`] tells of the end.
    Events {
        /// Header fields to add (CORS), each `name: value\r\n`.
        fields: String,
    },
    /// A long poll: answered by the first publications after `since`, or after `timeout_ms`.
    LongPoll {
        /// The channel to follow.
        channel: ChannelName,
        /// The position already seen; without it only what comes from now on counts.
        since: Option<Position>,
        /// How long to wait, in milliseconds.
        timeout_ms: u32,
        /// Header fields to add (CORS), each `name: value\r\n`.
        fields: String,
    },
}

/// What was learnt about something asked with a token.
#[derive(Debug)]
pub enum Reply {
    /// A publication's position, or why it was refused.
    Published(Result<Position, PublishError>),
    /// A subscription began; what was missed follows by itself.
    Subscribed {
        /// The channel.
        channel: ChannelName,
        /// The position it begins at: everything above it will be delivered.
        position: Position,
        /// Whether everything since the position asked for could be recovered; true when none was asked for.
        recovered: bool,
        /// How many missed publications follow.
        missed: u32,
    },
    /// A subscription was refused.
    NotSubscribed {
        /// The channel.
        channel: ChannelName,
        /// Why.
        error: SubscribeError,
    },
    /// What a key holds since a change, or why that was refused.
    Changed(Result<Changed, StateError>),
    /// Some of a channel's state.
    State(StatePage),
    /// Where a channel is that was entered, or why that was refused.
    Entered(Result<Position, StateError>),
    /// Who is present in a channel, or some of them.
    Presence(Box<PresencePage>),
    /// A page of history.
    History(HistoryPage),
    /// What was to be read was not: try again later.
    Unread(PublishError),
    /// A token is good, and [`Peer::token`] is what it says from now on; or why it is not.
    Admitted(Result<Admitted, TokenError>),
    /// What was asked of the operator's backend stands in [`Peer::rulings`], during this call.
    Ruled,
    /// One shard's part of the answer to a question to all, or that of all other nodes.
    Survey {
        /// The part.
        survey: Survey,
    },
}

pub use crate::hub::SubscribeError;
