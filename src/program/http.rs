//! Requests that the program answers: passed to its own HTTP server, which listens on a Unix socket, and its answers back.
//!
//! Both are whole before they are passed on, so that an answer has at most [`PROGRAM_ANSWER_BYTES_MAX`] bytes; what is written
//! bit by bit without an end is answered 504. Nothing here knows what the program makes of a request.

use std::{
    cell::{Cell, RefCell},
    io,
    net::IpAddr,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_lite::future;
use glommio::net::UnixStream;
use tracing::debug;

use crate::{
    app::{
        Answer, ConnectionId, Peer, Request, Response,
        socketio::{Io, Order},
    },
    backend::{CallError, exchange},
    limits::{
        PROGRAM_ANSWER_BYTES_MAX, PROGRAM_ANSWER_MS, PROGRAM_CONNECTION_KEPT_MS,
        PROGRAM_CONNECTIONS_KEPT_MAX, PROGRAM_REQUESTS_MAX,
    },
    wire::http1::{Body, Method, Received, ReplyDecoder, ReplyError},
};

/// One shard's way to the program's HTTP server.
pub(super) struct Proxy {
    path: Rc<Path>,
    io: Io,
    /// Connections that are not used now, the last one used last.
    kept: RefCell<Vec<(UnixStream, Instant)>>,
    /// Requests under way.
    under_way: Cell<usize>,
}

/// Comes back with what is told of a request that was put off.
pub(super) const TAG: u32 = u32::MAX;

/// Fields that are about one connection (RFC 9110 §7.6.1), or that are written anew.
const NOT_PASSED_ON: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Fields of an answer that are written anew.
const NOT_PASSED_BACK: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "date",
];

/// Bytes of an answer that are read at a time.
const READ_BYTES: usize = 16 * 1024;
/// How long a request waits for a program that is not there.
const AWAY_MS: u64 = 5_000;
/// Time between two looks whether it is.
const LOOK_MS: u64 = 50;

/// Why the program gives no answer.
#[derive(Debug)]
enum Failure {
    /// It is not there.
    Away,
    /// It has failed.
    Call(CallError),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Proxy {
    pub(super) fn new(io: &Io, path: &Path) -> Rc<Self> {
        let (kept, under_way) = (RefCell::default(), Cell::default());
        Rc::new(Self { path: path.into(), io: io.clone(), kept, under_way })
    }

    /// Passes a request on.
    pub(super) fn pass(self: &Rc<Self>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        if self.under_way.get() >= PROGRAM_REQUESTS_MAX {
            let text = "the program has not answered as many requests as may wait; try again later";
            return Answer::Respond(
                Response::refused(503, "program_busy", text).with_field("Retry-After", "1"),
            );
        }
        self.under_way.set(self.under_way.get() + 1);
        let (own, connection) = (Rc::clone(self), peer.connection);
        let bytes = encode(request, peer.address.map(|address| address.ip()));
        let is_idempotent = !matches!(request.method, Method::Post | Method::Patch);
        self.io.spawn_local(async move {
            let response = own.exchange(&bytes, is_idempotent).await.unwrap_or_else(|failure| {
                debug!("a request is not answered by the program: {failure:?}");
                failure.response()
            });
            own.under_way.set(own.under_way.get() - 1);
            own.respond(connection, response);
        });
        Answer::Later { tag: TAG }
    }

    fn respond(&self, connection: ConnectionId, response: Response) {
        self.io.orders().push(Order::Respond { connection, response });
    }

    async fn exchange(&self, request: &[u8], is_idempotent: bool) -> Result<Response, Failure> {
        let late = async {
            glommio::timer::sleep(Duration::from_millis(PROGRAM_ANSWER_MS)).await;
            Err(CallError::Timeout.into())
        };
        future::or(self.ask(request, is_idempotent), late).await
    }

    /// Asks on a kept connection, which may have been closed meanwhile, and else on a new one. What must not be done twice is
    /// sent once (RFC 9110 §9.2.2), and so on a new one.
    async fn ask(&self, request: &[u8], is_idempotent: bool) -> Result<Response, Failure> {
        while is_idempotent && let Some(stream) = self.take() {
            match self.ask_on(stream, request).await {
                Err(Failure::Call(CallError::Stale)) => {}
                answered => return answered,
            }
        }
        match self.ask_on(self.connect().await?, request).await {
            Err(Failure::Call(CallError::Stale)) => {
                Err(CallError::Io(io::ErrorKind::UnexpectedEof.into()).into())
            }
            answered => answered,
        }
    }

    async fn connect(&self) -> Result<UnixStream, Failure> {
        for _ in 0..AWAY_MS / LOOK_MS {
            if let Ok(stream) = UnixStream::connect(&self.path).await {
                return Ok(stream);
            }
            glommio::timer::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        Err(Failure::Away)
    }

    async fn ask_on(&self, mut stream: UnixStream, request: &[u8]) -> Result<Response, Failure> {
        let mut decoder = ReplyDecoder::keeping_fields(PROGRAM_ANSWER_BYTES_MAX);
        let received = exchange(&mut stream, request, &mut decoder, READ_BYTES).await?;
        if received.keep_alive && self.kept.borrow().len() < PROGRAM_CONNECTIONS_KEPT_MAX {
            self.kept.borrow_mut().push((stream, Instant::now()));
        }
        response_of(received, &decoder.take_fields())
    }

    fn take(&self) -> Option<UnixStream> {
        let mut kept = self.kept.borrow_mut();
        let (stream, since) = kept.pop()?;
        if since.elapsed() < Duration::from_millis(PROGRAM_CONNECTION_KEPT_MS) {
            return Some(stream);
        }
        // The others are older.
        kept.clear();
        None
    }
}

/// The request as the program is sent it. A `HEAD` is one for the same without its body, which is left out here.
fn encode(request: &Request<'_>, client: Option<IpAddr>) -> Vec<u8> {
    let method = if request.method == Method::Head { Method::Get } else { request.method };
    let mut out = format!("{} {} HTTP/1.1\r\n", method.name(), request.target).into_bytes();
    for field in request.fields {
        let slice = |(start, end): (u32, u32)| &request.head[start as usize..end as usize];
        let (name, value) = (slice(field.name), slice(field.value));
        if !is_among(&NOT_PASSED_ON, name) {
            push_field(&mut out, name, value);
        }
    }
    if let Some(client) = client {
        let hops: Vec<_> = [&client].into_iter().chain(request.hops()).map(ToString::to_string).collect();
        push_field(&mut out, b"X-Forwarded-For", hops.join(", ").as_bytes());
    }
    let scheme: &[u8] = if request.is_secure { b"https" } else { b"http" };
    push_field(&mut out, b"X-Forwarded-Proto", scheme);
    if let Some(host) = request.host() {
        push_field(&mut out, b"X-Forwarded-Host", host);
    }
    if !request.body.is_empty() || matches!(method, Method::Post | Method::Put | Method::Patch) {
        push_field(&mut out, b"Content-Length", request.body.len().to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(request.body);
    out
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn is_among(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(name))
}

/// The answer as the client is sent it.
fn response_of(received: Received, fields: &[u8]) -> Result<Response, Failure> {
    let fields = std::str::from_utf8(fields).map_err(|_| CallError::Reply(ReplyError::Malformed))?;
    let mut response = Response { body: Body::Owned(received.body), ..Response::empty(received.status) };
    for line in fields.split_terminator("\r\n") {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("content-type") {
            response.content_type = value.to_owned().into();
        } else if !is_among(&NOT_PASSED_BACK, name.as_bytes()) {
            response = response.with_field(name, value);
        }
    }
    Ok(response)
}

impl Failure {
    fn response(&self) -> Response {
        match self {
            Self::Away | Self::Call(CallError::Stale) => {
                Response::refused(503, "program_away", "the program is not there; try again")
                    .with_field("Retry-After", "1")
            }
            Self::Call(CallError::Io(error)) => {
                let text = format!("the program has gone without an answer: {error}");
                Response::refused(502, "program_failed", &text)
            }
            Self::Call(CallError::Reply(error)) => {
                Response::refused(502, "program_failed", &error.to_string())
            }
            Self::Call(CallError::Timeout) => {
                Response::refused(504, "program_late", "the program has not answered in time")
            }
        }
    }
}
