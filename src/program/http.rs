//! Requests that the program answers: passed to its own HTTP server, which listens on a Unix socket, and its answers back.
//!
//! ```text
//!   client ── request, whole ──► program ── head ──► small and of known length: gathered, and answered whole
//!                                                └─► else each part as it comes, when the client has room for it
//!   client ── head ─► program, and what is too large to be kept as it comes, when the program takes it
//! ```
//!
//! A client that goes takes its request with it: the program's connection is closed. Nothing here knows what the program makes of
//! a request.

use std::{
    cell::{Cell, RefCell},
    io,
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_lite::{
    AsyncReadExt, AsyncWriteExt, future,
    io::{ReadHalf, WriteHalf, split},
};
use glommio::net::UnixStream;
use rustc_hash::FxHashMap;
use tracing::debug;

use super::shared::Shared;
use crate::{
    app::{
        Answer, ConnectionId, Peer, Piece, Request, Response, Upload,
        heads::{encode, response_of},
        socketio::{AnswerPart, Awaiting, Io, Order, Room},
    },
    backend::CallError,
    limits::{
        PROGRAM_ANSWER_MS, PROGRAM_ANSWER_WHOLE_BYTES_MAX, PROGRAM_CONNECTION_KEPT_MS,
        PROGRAM_CONNECTIONS_KEPT_MAX, PROGRAM_END_MS, PROGRAM_REQUESTS_MAX, PROGRAM_STOP_MS,
        PROGRAM_STREAMS_MAX,
    },
    wire::http1::{BitByBit, Method, ReplyDecoder, ReplyError, ReplyHead},
};

/// One shard's way to the program's HTTP server.
pub(super) struct Proxy {
    path: Rc<Path>,
    io: Io,
    /// Whether the program is about to go, so that requests wait for the next one.
    is_leaving: Rc<Cell<bool>>,
    /// Requests that the program has, of all shards.
    shared: Arc<Shared>,
    /// Connections that are not used now, the last one used last.
    kept: RefCell<Vec<(UnixStream, Instant)>>,
    /// Requests whose answer has not begun.
    under_way: Cell<usize>,
    /// Answers that are passed on as they come.
    streams: Cell<usize>,
    /// How those are told whose clients go.
    clients: RefCell<FxHashMap<ConnectionId, Gone>>,
}

/// Tells that a client has gone.
type Gone = Box<dyn FnOnce(())>;

/// An answer that has come, or begun to.
enum Answered {
    Whole(Response),
    Begun(Box<Begun>),
}

/// Where an answer comes from.
enum Reader {
    /// A connection whose request has been sent.
    Whole(UnixStream),
    /// One whose request may still be on its way.
    Half(ReadHalf<UnixStream>),
}

/// A request on its way.
struct Asked {
    /// All of it, or what stands before its body.
    bytes: Vec<u8>,
    /// The body, if it comes bit by bit.
    upload: Option<Upload>,
    is_idempotent: bool,
    /// When something of the body was passed on last.
    progress: Rc<Cell<Instant>>,
}

/// An answer that is passed on as it comes.
struct Begun {
    reader: Reader,
    decoder: ReplyDecoder,
    response: Response,
    length: Option<u64>,
    /// What has come of its body.
    body: Vec<u8>,
}

/// Comes back with what is told of a request that was put off.
pub(super) const TAG: u32 = u32::MAX;

/// Bytes of an answer that are read at a time until it is known how it goes, and from then on.
const READ_BYTES: usize = 16 * 1024;
const STREAM_READ_BYTES: usize = 64 * 1024;
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
    /// It has ended before it had read what was asked.
    Unheard,
    /// It answers as many clients bit by bit as may be.
    TooMany,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Proxy {
    pub(super) fn new(io: &Io, path: &Path, is_leaving: &Rc<Cell<bool>>, shared: &Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            path: path.into(),
            io: io.clone(),
            is_leaving: Rc::clone(is_leaving),
            shared: Arc::clone(shared),
            kept: RefCell::default(),
            under_way: Cell::default(),
            streams: Cell::default(),
            clients: RefCell::default(),
        })
    }

    /// Passes a request on.
    pub(super) fn pass(self: &Rc<Self>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        if self.under_way.get() >= PROGRAM_REQUESTS_MAX {
            return Answer::Respond(busy());
        }
        let (own, connection) = (Rc::clone(self), peer.connection);
        let upload = self.io.take_upload();
        let asked = Asked {
            bytes: encode(request, peer.address.map(|address| address.ip()), upload.as_ref(), ""),
            is_idempotent: !matches!(request.method, Method::Post | Method::Patch) && upload.is_none(),
            upload,
            progress: Rc::new(Cell::new(Instant::now())),
        };
        let (gone, is_gone) = Awaiting::new();
        self.clients.borrow_mut().insert(connection, Box::new(gone));
        self.io.spawn_local(async move {
            let answer = own.answer(connection, asked);
            // Whoever has gone is answered nothing, and the program is told by the end of its connection.
            future::or(answer, is_gone).await;
            own.clients.borrow_mut().remove(&connection);
        });
        Answer::Later { tag: TAG }
    }

    /// The client of a request that was passed on has gone.
    pub(super) fn lose(&self, connection: ConnectionId) {
        let gone = self.clients.borrow_mut().remove(&connection);
        gone.into_iter().for_each(|gone| gone(()));
    }

    async fn answer(&self, connection: ConnectionId, asked: Asked) {
        let answered = {
            let _under_way = Counted::more(&self.under_way);
            self.exchange(asked).await
        };
        let response = match answered {
            Ok(Answered::Whole(response)) => response,
            Ok(Answered::Begun(_)) if self.streams.get() >= PROGRAM_STREAMS_MAX => {
                Failure::TooMany.response()
            }
            Ok(Answered::Begun(begun)) => {
                let _stream = Counted::more(&self.streams);
                return self.pass_back(connection, *begun).await;
            }
            Err(failure) => {
                debug!("a request is not answered by the program: {failure:?}");
                failure.response()
            }
        };
        self.io.orders().push(Order::Respond { connection, response });
    }

    async fn exchange(&self, asked: Asked) -> Result<Answered, Failure> {
        let progress = Rc::clone(&asked.progress);
        let late = async move {
            loop {
                let time = Duration::from_millis(PROGRAM_ANSWER_MS).saturating_sub(progress.get().elapsed());
                if time.is_zero() {
                    return Err(CallError::Timeout.into());
                }
                glommio::timer::sleep(time).await;
            }
        };
        let answered = async {
            self.until_the_next_has_come().await?;
            // Nothing is awaited between the look at who is there and this.
            let _request = Passed::count(&self.shared.requests);
            self.ask(asked).await
        };
        future::or(answered, late).await
    }

    /// Waits while the program is about to go and the next one is not there.
    async fn until_the_next_has_come(&self) -> Result<(), Failure> {
        let since = Instant::now();
        while self.is_leaving.get() {
            if since.elapsed() > Duration::from_millis(PROGRAM_STOP_MS + PROGRAM_END_MS + AWAY_MS) {
                return Err(Failure::Away);
            }
            glommio::timer::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        Ok(())
    }

    /// Asks on a kept connection, which may have been closed meanwhile, and else on a new one. What must not be done twice is
    /// sent once (RFC 9110 §9.2.2), and so on a new one.
    async fn ask(&self, asked: Asked) -> Result<Answered, Failure> {
        let Asked { bytes, upload, is_idempotent, progress } = asked;
        while is_idempotent && let Some(stream) = self.take() {
            match self.ask_on(stream, &bytes).await {
                Err(Failure::Call(CallError::Stale) | Failure::Unheard) => {}
                answered => return answered,
            }
        }
        match upload {
            None => self.ask_anew(&bytes, is_idempotent).await,
            Some(upload) => {
                let (reader, writer) = split(self.connect().await?);
                self.io.spawn_local(async move {
                    if let Err(error) = pass_on(writer, &bytes, &upload, &progress).await {
                        debug!("a body is not passed on to its end: {error}");
                    }
                });
                self.take_answer(Reader::Half(reader)).await
            }
        }
    }

    /// Asks on a new connection. A program that ends may have taken it and never looked at it: then the next one is asked.
    async fn ask_anew(&self, bytes: &[u8], is_idempotent: bool) -> Result<Answered, Failure> {
        let since = Instant::now();
        loop {
            match self.ask_on(self.connect().await?, bytes).await {
                Err(Failure::Unheard)
                    if is_idempotent && since.elapsed() < Duration::from_millis(AWAY_MS) =>
                {
                    glommio::timer::sleep(Duration::from_millis(LOOK_MS)).await;
                }
                answered => return answered,
            }
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

    /// Sends a request, and takes its answer.
    async fn ask_on(&self, mut stream: UnixStream, request: &[u8]) -> Result<Answered, Failure> {
        let sent = async {
            stream.write_all(request).await?;
            stream.flush().await
        };
        // A kept one was closed, or the program has just ended.
        sent.await.map_err(|_| Failure::Unheard)?;
        self.take_answer(Reader::Whole(stream)).await
    }

    /// Takes an answer until it is whole or known to go bit by bit.
    async fn take_answer(&self, mut reader: Reader) -> Result<Answered, Failure> {
        let mut decoder = ReplyDecoder::bit_by_bit();
        let mut buffer = vec![0; READ_BYTES];
        let (mut head, mut body): (Option<ReplyHead>, _) = (None, Vec::new());
        loop {
            let bytes = match reader.read(&mut buffer).await {
                // A Unix socket whose other end is closed with something unread, or before it was accepted (unix(7)).
                Err(error) if decoder.is_empty() && error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Failure::Unheard);
                }
                Ok(0) | Err(_) if decoder.is_empty() => return Err(CallError::Stale.into()),
                Ok(0) if decoder.lasts_until_end() => 0,
                Ok(0) => return Err(CallError::Reply(ReplyError::Cut).into()),
                Ok(bytes) => bytes,
                Err(error) => return Err(CallError::Io(error).into()),
            };
            decoder.push(&buffer[..bytes]);
            if head.is_none() {
                head = decoder.take_head().map_err(CallError::Reply)?;
            }
            let Some(head) = head else { continue };
            let (mut piece, end) = decoder.take_body().map_err(CallError::Reply)?;
            body.append(&mut piece);
            if end.is_some() || bytes == 0 {
                if end == Some(true) {
                    self.keep(reader);
                }
                return Ok(Answered::Whole(response_of(head.status, body, &decoder.take_fields())?));
            }
            if head.length.is_none_or(|length| length > PROGRAM_ANSWER_WHOLE_BYTES_MAX) {
                let response = response_of(head.status, Vec::new(), &decoder.take_fields())?;
                let begun = Begun { reader, decoder, response, length: head.length, body };
                return Ok(Answered::Begun(Box::new(begun)));
            }
        }
    }

    /// Passes an answer back as it comes.
    async fn pass_back(&self, connection: ConnectionId, begun: Begun) {
        let Begun { mut reader, mut decoder, response, length, mut body } = begun;
        if !self.write(connection, AnswerPart::Head { response, length }).await {
            return;
        }
        let mut buffer = vec![0; STREAM_READ_BYTES];
        let is_whole = loop {
            if !body.is_empty() && !self.write(connection, AnswerPart::Body(body)).await {
                return;
            }
            let bytes = match reader.read(&mut buffer).await {
                Ok(0) => break decoder.lasts_until_end(),
                Ok(bytes) => bytes,
                Err(_) => break false,
            };
            decoder.push(&buffer[..bytes]);
            let Ok((piece, end)) = decoder.take_body() else { break false };
            if let Some(keep_alive) = end {
                if keep_alive {
                    self.keep(reader);
                }
                break piece.is_empty() || self.write(connection, AnswerPart::Body(piece)).await;
            }
            body = piece;
        };
        self.write(connection, AnswerPart::End { is_whole }).await;
    }

    /// Writes a part of an answer once there is room for the next one; whether anybody reads it.
    async fn write(&self, connection: ConnectionId, part: AnswerPart) -> bool {
        let (give, room) = Awaiting::new();
        self.io.orders().push(Order::Write { connection, part, room: Room(Box::new(give)) });
        room.await
    }

    /// Keeps a connection for another request.
    fn keep(&self, reader: Reader) {
        if let Reader::Whole(stream) = reader
            && self.kept.borrow().len() < PROGRAM_CONNECTIONS_KEPT_MAX
        {
            self.kept.borrow_mut().push((stream, Instant::now()));
        }
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

impl Reader {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Whole(stream) => stream.read(buffer).await,
            Self::Half(half) => half.read(buffer).await,
        }
    }
}

/// Passes a request on, and its body as it comes.
async fn pass_on(
    mut writer: WriteHalf<UnixStream>,
    head: &[u8],
    upload: &Upload,
    progress: &Cell<Instant>,
) -> io::Result<()> {
    let how = if upload.length.is_some() { BitByBit::Plain } else { BitByBit::Chunked };
    writer.write_all(head).await?;
    let mut out = Vec::new();
    loop {
        out.clear();
        let is_last = match upload.next().await {
            Piece::Some(piece) => {
                how.encode_piece(&mut out, &piece);
                false
            }
            Piece::End => {
                how.encode_end(&mut out);
                true
            }
            Piece::Cut => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        writer.write_all(&out).await?;
        progress.set(Instant::now());
        if is_last {
            return writer.flush().await;
        }
    }
}

/// One more of something, while this lives.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn more(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A request that the program has, while this lives.
struct Passed<'a>(&'a AtomicUsize);

impl<'a> Passed<'a> {
    fn count(requests: &'a AtomicUsize) -> Self {
        requests.fetch_add(1, Ordering::AcqRel);
        Self(requests)
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn busy() -> Response {
    let text = "the program has not answered as many requests as may wait; try again later";
    Response::refused(503, "program_busy", text).with_field("Retry-After", "1")
}

impl Failure {
    fn response(&self) -> Response {
        match self {
            Self::TooMany => busy(),
            Self::Away => Response::refused(503, "program_away", "the program is not there; try again")
                .with_field("Retry-After", "1"),
            Self::Unheard | Self::Call(CallError::Stale) => {
                Self::Call(CallError::Io(io::ErrorKind::UnexpectedEof.into())).response()
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
