//! A response, and its bytes.

use std::{borrow::Cow, fmt::Write, rc::Rc};

use crate::wire::json::encode_error;

/// A response with a body of known length.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// `Content-Type`; empty leaves it out.
    pub content_type: Cow<'static, str>,
    /// Further header fields, each `name: value\r\n`.
    pub fields: String,
    /// The body.
    pub body: Body,
    /// Close the connection after it, whatever the client asked.
    pub close: bool,
}

/// The body of a response.
#[derive(Clone, Debug)]
pub enum Body {
    /// Lives as long as the program.
    Static(&'static [u8]),
    /// Made for this response.
    Owned(Vec<u8>),
    /// Shared with other responses of this shard.
    Shared(Rc<[u8]>),
}

impl Response {
    /// An empty response.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: Cow::Borrowed(""),
            fields: String::new(),
            body: Body::Static(b""),
            close: false,
        }
    }

    /// A plain-text response.
    pub fn text(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        let body = match body.into() {
            Cow::Borrowed(text) => Body::Static(text.as_bytes()),
            Cow::Owned(text) => Body::Owned(text.into_bytes()),
        };
        Self { content_type: Cow::Borrowed("text/plain; charset=utf-8"), body, ..Self::empty(status) }
    }

    /// A JSON response.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            content_type: Cow::Borrowed("application/json"),
            body: Body::Owned(body),
            ..Self::empty(status)
        }
    }

    /// A refusal, in the one shape they all have: `{"error":{"code":…,"message":…}}`. Programs match on the code.
    pub fn refused(status: u16, code: &str, message: &str) -> Self {
        let mut body = Vec::new();
        encode_error(&mut body, code, message);
        Self::json(status, body)
    }

    /// Adds a header field. Both parts must be free of line breaks; a value that is not is left out.
    pub fn with_field(mut self, name: &str, value: &str) -> Self {
        if !value.bytes().any(|byte| byte == b'\r' || byte == b'\n' || byte == 0) {
            write!(self.fields, "{name}: {value}\r\n").expect("writing to a String cannot fail");
        }
        self
    }
}

impl Body {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}
