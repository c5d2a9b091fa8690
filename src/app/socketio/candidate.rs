//! A client that wants to enter a namespace, as middleware sees it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Connecting, Handshake, Namespace, Socket, arguments::PayloadError, socket::read_auth};
use crate::{
    auth::{Consultation, Ruled, Verified},
    model::SocketId,
};

/// A client that wants to enter. What is kept for it stays if it may.
#[derive(Debug)]
pub struct Candidate<'a> {
    connecting: &'a Connecting<'a>,
    socket: Socket,
}

/// Why a client may not enter a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// A sentence for people.
    pub message: String,
    /// Anything for programs, as JSON.
    pub data: Option<String>,
}

/// What a client that holds a publishing key says on entering.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    pub(crate) key: Option<String>,
}

/// Why something is refused, as programs are told.
#[derive(Serialize)]
pub(crate) struct ErrorBody<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(connecting: &'a Connecting<'a>, namespace: Namespace) -> Self {
        Self { connecting, socket: Socket::new(connecting.socket, namespace) }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The id it will have.
    pub fn id(&self) -> SocketId {
        self.connecting.socket
    }

    /// Where it wants to enter.
    pub fn namespace(&self) -> &Namespace {
        self.socket.namespace()
    }

    /// What it sent to prove itself, as whatever it shall be.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        read_auth(self.connecting.auth)
    }

    /// What it sent to prove itself, a JSON object.
    pub fn auth_json(&self) -> Option<&str> {
        self.connecting.auth
    }

    /// The good token that it has shown (`auth: {token}`), if it has.
    pub fn token(&self) -> Option<&Verified> {
        self.connecting.token.as_deref()
    }

    /// What the operator's backend has been asked about it, and what that has said.
    pub fn rulings(&self) -> &[Ruled] {
        self.connecting.rulings
    }

    /// Asks the operator's backend, for middleware that refuses until that has said something: then it is called again, and
    /// finds that in [`Self::rulings`].
    pub fn consult(&self, question: Consultation) {
        self.connecting.question.replace(Some(question));
    }

    /// The request that opened its session, if headers are kept ([`super::Settings::keep_handshake`]).
    pub fn handshake(&self) -> Option<&Handshake> {
        self.connecting.handshake
    }

    /// Where it comes from: the address of its connection, or what a trusted proxy says. `None` over a Unix socket that no proxy
    /// says more of, and of a client that polls while none of its requests waits, once [`Self::handshake`] is let go.
    pub fn address(&self) -> Option<IpAddr> {
        self.connecting.address
    }

    /// [`Socket::transport`]
    pub fn transport(&self) -> &'static str {
        self.socket.transport()
    }

    /// [`Socket::set_data`]
    pub fn set_data<T: 'static>(&self, data: T) {
        self.socket.set_data(data);
    }

    /// [`Socket::data`]
    pub fn data<T: 'static>(&self) -> Option<std::rc::Rc<T>> {
        self.socket.data()
    }

    /// [`Socket::set_public_data`]
    pub fn set_public_data(&self, data: &(impl Serialize + ?Sized)) {
        self.socket.set_public_data(data);
    }
}

impl ConnectError {
    /// Refuses with a sentence for people.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }

    /// Refuses with a sentence for people, and a code beside it for programs.
    pub(crate) fn coded(code: &str, message: &str) -> Self {
        Self::new(message).with_data(&ErrorBody { code, message })
    }

    /// Adds anything for programs; what JSON cannot say is left out.
    pub fn with_data(mut self, data: &(impl Serialize + ?Sized)) -> Self {
        self.data = super::arguments::encode_value(data).ok();
        self
    }
}

impl From<&str> for ConnectError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for ConnectError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<PayloadError> for ConnectError {
    fn from(error: PayloadError) -> Self {
        Self::new(error.to_string())
    }
}
