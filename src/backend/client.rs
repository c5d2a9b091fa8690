//! One call of a backend: HTTP/1.1, on a connection that is kept for the next.
//!
//! A connection that was kept may have been closed meanwhile, which shows when no byte of an answer comes. Then the call is
//! made once more, on a fresh one: it has the same `webhook-id`, so that a backend that has heard it twice can tell. A
//! redirect is an answer like any other, and followed by nobody.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt, io,
    rc::Rc,
    time::{Duration, Instant},
};

use async_io::Timer;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

use super::{
    stream::{Connector, Stream},
    target::{Origin, Target},
};
use crate::{
    limits::{BACKEND_CONNECT_MS, BACKEND_KEPT_MAX, BACKEND_KEPT_MS, TUNNEL_HEAD_BYTES_MAX},
    wire::http1::{Received, ReplyDecoder, ReplyError},
};

/// Calls backends.
pub(crate) struct Client {
    connector: Rc<Connector>,
    /// At most [`BACKEND_KEPT_MAX`] of each, the last one used last.
    kept: RefCell<HashMap<Origin, Vec<Kept>>>,
}

struct Kept {
    stream: Box<dyn Stream>,
    since: Instant,
}

/// What to call.
pub(super) struct Call<'a> {
    pub(super) target: &'a Target,
    /// Header fields to add, each `name: value\r\n`.
    pub(super) fields: &'a str,
    /// What is posted; nothing is a GET.
    pub(super) body: Option<&'a [u8]>,
    /// How long the answer may be.
    pub(super) answer_bytes_max: u32,
}

/// Bytes of an answer that are read at a time.
const READ_BYTES: usize = 4096;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// It took too long.
    Timeout,
    /// It could not be connected to, or the connection has failed.
    Io(io::Error),
    /// It has ended before the first byte.
    Stale,
    /// It has answered something else than HTTP, or too much.
    Reply(ReplyError),
}

impl Client {
    pub(crate) fn new(connector: Rc<Connector>) -> Self {
        Self { connector, kept: RefCell::default() }
    }

    /// Calls; whatever happens, there is an answer or an error by then.
    pub(super) async fn call(&self, call: &Call<'_>, deadline: Instant) -> Result<Received, CallError> {
        future::or(self.call_again(call), timeout(deadline)).await
    }

    async fn call_again(&self, call: &Call<'_>) -> Result<Received, CallError> {
        let mut decoder = ReplyDecoder::new(call.answer_bytes_max);
        self.send(&call.target.origin, &call.encode(), true, &mut decoder).await
    }

    /// Passes a request on as it stands: the answer, and its header fields, each `name: value\r\n`. One that may not be made twice
    /// is made once, on a fresh connection.
    pub(crate) async fn pass(
        &self,
        (origin, request): (&Origin, &[u8]),
        may_repeat: bool,
        answer_bytes_max: u32,
        deadline: Instant,
    ) -> Result<(Received, Vec<u8>), CallError> {
        let mut decoder = ReplyDecoder::keeping_fields(answer_bytes_max);
        let answered = self.send(origin, request, may_repeat, &mut decoder);
        let received = future::or(answered, timeout(deadline)).await?;
        Ok((received, decoder.take_fields()))
    }

    /// Asks to speak something else: the answer, with what has come behind it, and the connection from there on. Any other answer
    /// is none.
    pub(crate) async fn switch(
        &self,
        origin: &Origin,
        request: &[u8],
        deadline: Instant,
    ) -> Result<(Vec<u8>, Box<dyn Stream>), CallError> {
        let switched = async {
            let mut stream = self.connect(origin).await?;
            let sent = async {
                stream.write_all(request).await?;
                stream.flush().await
            };
            sent.await.map_err(CallError::Io)?;
            let (mut answer, mut buffer) = (Vec::new(), [0; READ_BYTES]);
            while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer).await.map_err(CallError::Io)? {
                    0 => return Err(CallError::Stale),
                    _ if answer.len() > TUNNEL_HEAD_BYTES_MAX => {
                        return Err(CallError::Reply(ReplyError::HeadTooLarge));
                    }
                    bytes => answer.extend_from_slice(&buffer[..bytes]),
                }
            }
            match answer.starts_with(b"HTTP/1.1 101 ") {
                true => Ok((answer, stream)),
                false => Err(CallError::Reply(ReplyError::Malformed)),
            }
        };
        future::or(switched, timeout(deadline)).await
    }

    async fn connect(&self, origin: &Origin) -> Result<Box<dyn Stream>, CallError> {
        let until = Instant::now() + Duration::from_millis(BACKEND_CONNECT_MS);
        let connect = async { self.connector.connect(origin).await.map_err(CallError::Io) };
        future::or(connect, timeout(until)).await
    }

    async fn send(
        &self,
        origin: &Origin,
        request: &[u8],
        may_repeat: bool,
        decoder: &mut ReplyDecoder,
    ) -> Result<Received, CallError> {
        if may_repeat && let Some(stream) = self.take(origin) {
            match self.exchange(stream, origin, request, decoder).await {
                // Nothing of an answer has come.
                Err(CallError::Stale) => {}
                answered => return answered,
            }
        }
        let stream = self.connect(origin).await?;
        self.exchange(stream, origin, request, decoder).await
    }

    async fn exchange(
        &self,
        mut stream: Box<dyn Stream>,
        origin: &Origin,
        request: &[u8],
        decoder: &mut ReplyDecoder,
    ) -> Result<Received, CallError> {
        let sent = async {
            stream.write_all(request).await?;
            stream.flush().await
        };
        // Nothing says whether any of it has arrived; a kept one was closed.
        sent.await.map_err(|_| CallError::Stale)?;
        let mut buffer = vec![0; READ_BYTES];
        let received = loop {
            let bytes = match stream.read(&mut buffer).await {
                Ok(0) | Err(_) if decoder.is_empty() => return Err(CallError::Stale),
                Ok(0) => break decoder.handle_end().map_err(CallError::Reply)?,
                Ok(bytes) => bytes,
                Err(error) => return Err(CallError::Io(error)),
            };
            if let Some(received) = decoder.handle_bytes(&buffer[..bytes]).map_err(CallError::Reply)? {
                break received;
            }
        };
        if received.keep_alive {
            self.keep(origin, stream);
        }
        Ok(received)
    }

    fn take(&self, origin: &Origin) -> Option<Box<dyn Stream>> {
        let mut kept = self.kept.borrow_mut();
        let last = kept.get_mut(origin)?.pop()?;
        if last.since.elapsed() < Duration::from_millis(BACKEND_KEPT_MS) {
            return Some(last.stream);
        }
        // The others are older.
        kept.remove(origin);
        None
    }

    fn keep(&self, origin: &Origin, stream: Box<dyn Stream>) {
        let mut kept = self.kept.borrow_mut();
        if !kept.contains_key(origin) {
            kept.insert(origin.clone(), Vec::new());
        }
        if let Some(kept) = kept.get_mut(origin).filter(|kept| kept.len() < BACKEND_KEPT_MAX) {
            kept.push(Kept { stream, since: Instant::now() });
        }
    }
}

impl Call<'_> {
    fn encode(&self) -> Vec<u8> {
        let Target { host, path, .. } = self.target;
        let (method, length, body) = match self.body {
            Some(body) => {
                let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
                ("POST", length, body)
            }
            None => ("GET", String::new(), &b""[..]),
        };
        let (version, fields) = (env!("CARGO_PKG_VERSION"), self.fields);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: roadstead/{version}\r\n\
             Accept: application/json\r\n{length}{fields}\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

async fn timeout<T>(at: Instant) -> Result<T, CallError> {
    Timer::at(at).await;
    Err(CallError::Timeout)
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("it has not answered in time"),
            Self::Io(error) => write!(f, "it cannot be reached: {error}"),
            Self::Stale => f.write_str("it has closed the connection without an answer"),
            Self::Reply(error) => error.fmt(f),
        }
    }
}
