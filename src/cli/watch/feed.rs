//! What a server says of itself, once a second, on its admin listener: `/dashboard/live`, as the dashboard hears it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned};
use serde::Deserialize;

use super::{Place, WatchFailure, seen::Seen, status::shown};
use crate::config::Endpoint;

/// How long a server may take to be connected to, and to say something: it says something each second.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest line of it: one look at 1,024 shards is some 2 MB.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// The longest head of its answer, and the longest refusal that is shown.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A server that is listened to.
pub(super) struct Feed {
    lines: BufReader<Box<dyn Stream>>,
    troubles: Vec<Governed>,
    /// The shard that has its connection, if the server says so.
    shard: Option<u16>,
}

/// What can go wrong, and the setting that governs it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Governed {
    pub(super) label: String,
    pub(super) setting: String,
}

/// One event.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    First { troubles: Vec<Governed>, shard: Option<u16> },
    Now(Box<serde_json::value::RawValue>),
}

/// A look, as it was said, and as it is read: without the connection that it came by.
pub(super) struct Look {
    pub(super) text: String,
    pub(super) seen: Seen,
}

impl Feed {
    /// Asks the server there.
    pub(super) fn open(place: &Place) -> Result<Self, WatchFailure> {
        let lines = asked(place, ("GET", "/dashboard/live"), 200)?;
        Ok(Self { lines, troubles: Vec::new(), shard: None })
    }

    /// What can go wrong, in the order in which a look counts it; known from the first look on.
    pub(super) fn troubles(&self) -> &[Governed] {
        &self.troubles
    }

    /// The next look.
    pub(super) fn next(&mut self) -> Result<Look, WatchFailure> {
        loop {
            let mut line = String::new();
            let read = (&mut self.lines).take(LINE_BYTES_MAX).read_line(&mut line);
            if read.map_err(WatchFailure::Lost)? == 0 {
                return Err(WatchFailure::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            let Some(data) = line.strip_prefix("data:") else { continue };
            match serde_json::from_str(data.trim()).map_err(WatchFailure::Unreadable)? {
                Said::First { troubles, shard } => (self.troubles, self.shard) = (troubles, shard),
                Said::Now(text) => {
                    let mut seen: Seen =
                        serde_json::from_str(text.get()).map_err(WatchFailure::Unreadable)?;
                    seen.leave_out_stream(self.shard);
                    return Ok(Look { text: text.get().to_owned(), seen });
                }
            }
        }
    }
}

/// Has the server there do something, later.
pub(super) fn post(place: &Place, target: &str) -> Result<(), WatchFailure> {
    asked(place, ("POST", target), 202).map(drop)
}

/// What the server there answers, if its status is the one that is wanted.
fn asked(place: &Place, what: (&str, &str), wanted: u16) -> Result<BufReader<Box<dyn Stream>>, WatchFailure> {
    let unreachable = |error| WatchFailure::Unreachable(place.to_string(), error);
    let (stream, host) = connect(place).map_err(|error| match error.get_ref() {
        Some(inner) if inner.is::<rustls::Error>() => {
            WatchFailure::Distrusted(place.to_string(), error.to_string())
        }
        _ => unreachable(error),
    })?;
    let mut lines = BufReader::new(stream);
    let status = ask(&mut lines, &host, place.key.as_deref(), what).map_err(unreachable)?;
    if status != wanted {
        let mut said = String::new();
        // A refusal is told as far as it can be read.
        (&mut lines).take(HEAD_BYTES_MAX as u64).read_to_string(&mut said).ok();
        return Err(WatchFailure::Refused(status, shown(said.trim())));
    }
    Ok(lines)
}

/// A connection, and what to call the server there.
fn connect(place: &Place) -> io::Result<(Box<dyn Stream>, String)> {
    match &place.at {
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok((secured(stream, place)?, address.to_string()))
        }
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok((secured(stream, place)?, "localhost".to_owned()))
        }
    }
}

/// The connection, with TLS where that is spoken.
fn secured<S: Stream + 'static>(mut stream: S, place: &Place) -> io::Result<Box<dyn Stream>> {
    let Some(tls) = &place.tls else { return Ok(Box::new(stream)) };
    let connection = ClientConnection::new(Arc::clone(&tls.config), tls.name.clone());
    let mut connection = connection.map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(Box::new(StreamOwned::new(connection, stream)))
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Sends the request and reads the head of the answer; tells its status.
fn ask(
    lines: &mut BufReader<Box<dyn Stream>>,
    host: &str,
    key: Option<&str>,
    (method, target): (&str, &str),
) -> io::Result<u16> {
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{key}{end}");
    lines.get_mut().write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let left = HEAD_BYTES_MAX.saturating_sub(head.len()) as u64;
        if lines.take(left).read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    answer.parse(&head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    answer.code.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
