//! A backend of an operator, over a real socket: it answers as a test says, and remembers what it was asked.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{client::find, server::SOON};

/// What a backend was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request line and the header fields.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What a backend does.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Answers with JSON.
    Json(Value),
    /// Answers with a status and a body.
    Status(u16, String),
    /// Writes these bytes, and ends.
    Bytes(Vec<u8>),
    /// Writes for as long as anybody reads.
    Endless,
    /// Says nothing, until the other side ends.
    Nothing,
    /// Answers with JSON and ends, without having said that it will.
    JsonAndEnd(Value),
    /// Waits until the test lets it, then answers with JSON.
    Held(Value),
}

/// A backend that runs until the test's process ends.
pub struct Backend {
    /// Where it listens; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    asked: Receiver<Asked>,
    counts: Arc<Counts>,
    release: Sender<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

trait Connection: Read + Write + Send + 'static {}

impl<C: Read + Write + Send + 'static> Connection for C {}

type React = dyn Fn(&Asked) -> Reaction + Send + Sync;

#[derive(Clone)]
struct Desk {
    react: Arc<React>,
    asked: Sender<Asked>,
    counts: Arc<Counts>,
    held: Arc<Mutex<Receiver<()>>>,
}

impl Backend {
    /// Starts one on a free port.
    pub fn start(react: impl Fn(&Asked) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (backend, desk) = Self::new(Some(address), react);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let desk = desk.clone();
                thread::spawn(move || desk.serve(stream));
            }
        });
        backend
    }

    /// Starts one on a Unix socket.
    pub fn start_unix(path: &str, react: impl Fn(&Asked) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).expect("a free path");
        let (backend, desk) = Self::new(None, react);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let desk = desk.clone();
                thread::spawn(move || desk.serve(stream));
            }
        });
        backend
    }

    /// Starts one on a free port that speaks TLS.
    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        react: impl Fn(&Asked) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (backend, desk) = Self::new(Some(address), react);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (desk, config) = (desk.clone(), Arc::clone(&config));
                let tls = rustls::ServerConnection::new(config).expect("a connection");
                thread::spawn(move || desk.serve(rustls::StreamOwned::new(tls, stream)));
            }
        });
        backend
    }

    fn new(
        address: Option<SocketAddr>,
        react: impl Fn(&Asked) -> Reaction + Send + Sync + 'static,
    ) -> (Self, Desk) {
        let (counts, (sender, asked)) = (Arc::<Counts>::default(), channel());
        let (release, held) = channel();
        let held = Arc::new(Mutex::new(held));
        let desk = Desk { react: Arc::new(react), asked: sender, counts: Arc::clone(&counts), held };
        (Self { address, asked, counts, release }, desk)
    }

    /// A setting that lets a server ask this backend.
    pub fn setting(&self, hook: &str) -> String {
        format!("hooks.{hook}=http://{}/{hook}", self.address.expect("it has a port"))
    }

    /// What it is asked next.
    #[track_caller]
    pub fn asked(&self) -> Asked {
        self.asked.recv_timeout(SOON).expect("it is asked")
    }

    /// How often it has been called.
    pub fn calls(&self) -> usize {
        self.counts.calls.load(Ordering::SeqCst)
    }

    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// The most calls that it has had at a time.
    pub fn in_flight_max(&self) -> usize {
        self.counts.in_flight_max.load(Ordering::SeqCst)
    }

    /// Lets one held answer go.
    pub fn release(&self) {
        self.release.send(()).expect("it runs");
    }
}

impl Asked {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The path that was asked for.
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).expect("a request line")
    }

    /// Checks that it is signed by each of [`signing_keys`], and by nobody else.
    #[track_caller]
    pub fn check_signatures(&self) {
        let (id, at) =
            (self.field("webhook-id").expect("it has"), self.field("webhook-timestamp").expect("it has"));
        let signed = [format!("{id}.{at}.").as_bytes(), &self.body].concat();
        let signatures: Vec<_> = self.field("webhook-signature").expect("it has").split(' ').collect();
        assert_eq!(signatures.len(), SIGNING_SECRETS.len());
        for (signature, bytes) in signatures.iter().zip(SIGNING_SECRETS) {
            let tag = STANDARD.decode(signature.strip_prefix("v1,").expect("the version")).expect("base64");
            let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
            assert!(hmac::verify(&key, &signed, &tag).is_ok(), "{signature}");
        }
    }

    /// A header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

const SIGNING_SECRETS: [[u8; 32]; 2] = [[7; 32], [8; 32]];

/// The keys by which [`Asked::check_signatures`] wants calls to be signed, for a setting.
pub fn signing_keys() -> String {
    SIGNING_SECRETS.map(|bytes| format!("whsec_{}", STANDARD.encode(bytes))).join(",")
}

impl Desk {
    fn serve(&self, mut stream: impl Connection) {
        self.counts.connections.fetch_add(1, Ordering::SeqCst);
        let mut buffer = Vec::new();
        while let Some(asked) = next(&mut stream, &mut buffer) {
            self.counts.calls.fetch_add(1, Ordering::SeqCst);
            let now = self.counts.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.counts.in_flight_max.fetch_max(now, Ordering::SeqCst);
            let reaction = (self.react)(&asked);
            // A test that has seen enough has gone.
            self.asked.send(asked).ok();
            let goes_on = self.react(&mut stream, reaction);
            if !goes_on {
                return;
            }
        }
    }

    /// Does what is to be done; whether the connection goes on.
    fn react(&self, stream: &mut impl Connection, reaction: Reaction) -> bool {
        let answer = |status: u16, body: &str| {
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        if let Reaction::Held(_) = &reaction {
            self.held.lock().expect("nobody panics here").recv().ok();
        }
        self.counts.in_flight.fetch_sub(1, Ordering::SeqCst);
        match reaction {
            Reaction::Json(json) | Reaction::Held(json) => {
                stream.write_all(&answer(200, &json.to_string())).is_ok()
            }
            Reaction::Status(status, body) => stream.write_all(&answer(status, &body)).is_ok(),
            Reaction::JsonAndEnd(json) => {
                stream.write_all(&answer(200, &json.to_string())).ok();
                false
            }
            Reaction::Bytes(bytes) => {
                stream.write_all(&bytes).ok();
                false
            }
            Reaction::Endless => {
                let begun = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"allow\":true,\"x\":\"").is_ok();
                while begun && stream.write_all(&[b'x'; 4096]).is_ok() {}
                false
            }
            Reaction::Nothing => {
                stream.read_exact(&mut [0; 1]).ok();
                false
            }
        }
    }
}

/// The next request, unless the other side has ended.
fn next(stream: &mut impl Read, buffer: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).expect("a head is text");
            let asked = Asked { head, body: Vec::new() };
            let length = asked.field("content-length").map_or(0, |text| text.parse().expect("a length"));
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some(Asked { body, ..asked });
            }
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(&bytes[..count]),
        }
    }
}
