//! What the shard tells a Socket.IO application of what clients do. How an application says what it wants to hear is
//! in the other files of this folder.

use std::rc::Rc;

use super::{
    Settings,
    orders::{EngineId, Orders},
};
use crate::{
    app::{Message, Request},
    mesh::SocketsAnswer,
    model::{Arguments, CloseReason, SessionId, ShardId, SocketId},
};

/// A shard's Socket.IO application. Cheap to clone; every clone is the same.
#[derive(Clone, Debug)]
pub struct Io {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    shard: ShardId,
    shards: u16,
    orders: Orders,
}

/// A namespace in use on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NamespaceId(pub(crate) u32);

/// A client that wants to enter a namespace.
#[derive(Debug)]
pub(crate) struct Connecting<'a> {
    /// The id it will have.
    pub(crate) socket: SocketId,
    /// The namespace's name, without a query.
    pub(crate) namespace: &'a str,
    /// What the client sent to prove itself, a JSON object.
    pub(crate) auth: Option<&'a str>,
    /// The request that opened its session, while it is kept.
    pub(crate) handshake: Option<&'a Handshake>,
}

/// The request that opened a session.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// The target: path and query.
    pub target: Box<str>,
    /// The header fields, one per line.
    pub fields: Box<str>,
    /// The client's address; `None` over a Unix socket.
    pub address: Option<std::net::SocketAddr>,
}

/// Why a client may not enter a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// A sentence for people.
    pub message: String,
    /// Anything for programs, as JSON.
    pub data: Option<String>,
}

/// An event that a client sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The JSON array it came in, checked: the name and the arguments.
    pub(crate) json: &'a str,
    /// The binary values.
    pub(crate) attachments: &'a [Box<[u8]>],
    /// The number under which the client wants an acknowledgement.
    pub(crate) ack: Option<u64>,
}

impl ConnectError {
    /// An error that says no more than this sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }
}

impl Io {
    /// An application that knows no namespace yet.
    pub(crate) fn new(settings: Settings, shard: ShardId, shards: u16, orders: Orders) -> Self {
        Self { inner: Rc::new(Inner { settings, shard, shards, orders }) }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The orders not yet carried out.
    pub(crate) fn orders(&self) -> &Orders {
        &self.inner.orders
    }

    /// Whether clients speak Engine.IO only.
    pub(crate) fn is_raw(&self) -> bool {
        false
    }

    /// Whether a session may be opened by this request: the header fields to add to the answer, or the reason not.
    pub(crate) fn allow_request(&self, request: &Request<'_>, sid: &SessionId) -> Result<String, String> {
        let _unused = (request, sid);
        Ok(String::new())
    }

    /// Whether a client may enter a namespace: which one it is, or why not.
    pub(crate) fn admit(&self, connecting: &Connecting<'_>) -> Result<NamespaceId, ConnectError> {
        let _unused = connecting;
        Err(ConnectError { message: "Invalid namespace".into(), data: None })
    }

    /// The name of a namespace in use.
    pub(crate) fn namespace_name(&self, namespace: NamespaceId) -> Rc<str> {
        let _unused = namespace;
        "/".into()
    }

    /// A client is in a namespace and has been told so; with `recovered` it was there before and missed nothing.
    pub(crate) fn connected(&self, socket: SocketId, namespace: NamespaceId, recovered: bool) {
        let _unused = (socket, namespace, recovered);
    }

    /// A client sent an event.
    pub(crate) fn event(&self, socket: SocketId, namespace: NamespaceId, event: &Event<'_>) {
        let _unused = (socket, namespace, event);
    }

    /// A client acknowledged an event that asked for it.
    pub(crate) fn acknowledged(&self, socket: SocketId, id: u64, json: &str, attachments: &[Box<[u8]>]) {
        let _unused = (socket, id, json, attachments);
    }

    /// A client has left a namespace. With `is_kept` it may come back: what is kept of it goes with
    /// [`Self::forgotten`].
    pub(crate) fn disconnected(
        &self,
        socket: SocketId,
        namespace: NamespaceId,
        reason: CloseReason,
        is_kept: bool,
    ) {
        let _unused = (socket, namespace, reason, is_kept);
    }

    /// A client that might have come back has not, or its connect was given up before [`Self::connected`].
    pub(crate) fn forgotten(&self, socket: SocketId, namespace: NamespaceId) {
        let _unused = (socket, namespace);
    }

    /// The application's data of a socket as JSON, for other shards.
    pub(crate) fn data(&self, socket: SocketId) -> Box<str> {
        let _unused = socket;
        "null".into()
    }

    /// A shard, perhaps this one, has answered a request that carried a token.
    pub(crate) fn answered(&self, from: ShardId, answer: SocketsAnswer) {
        let _unused = (from, answer);
    }

    /// Another shard's application said something.
    pub(crate) fn server_event(
        &self,
        from: ShardId,
        namespace: &str,
        arguments: &Arguments,
        token: Option<u64>,
    ) {
        let _unused = (from, namespace, arguments, token);
    }

    /// A raw Engine.IO session was opened.
    pub(crate) fn opened(&self, session: EngineId) {
        let _unused = session;
    }

    /// A raw Engine.IO session sent a message.
    pub(crate) fn message(&self, session: EngineId, message: Message<'_>) {
        let _unused = (session, message);
    }

    /// A raw Engine.IO session has ended.
    pub(crate) fn closed(&self, session: EngineId, reason: CloseReason) {
        let _unused = (session, reason);
    }
}
