//! `roadstead crowd`, which the demo starts: many connections to a server on this machine, each a WebSocket that follows
//! one channel, and how long a message takes to all of them.
//!
//! It is a process of its own, so that neither its memory nor its work is the server's. What it has done it says as
//! [`Told`] lines of JSON on standard output. It ends with its standard input, and at the latest after [`LIFETIME`].

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream};

use super::banner::asked_and_bound;
use crate::{
    api::crowd::{CHANNEL, Delivered, Message, Told},
    config::{Config, Endpoint},
    limits::CROWD_LIFETIME_S,
    supervisor::Listening,
};

/// It ends by itself after so long, whatever becomes of the page that began it.
const LIFETIME: Duration = Duration::from_secs(CROWD_LIFETIME_S);
/// Handshakes at a time: fewer than any backlog holds.
const OPENING_MAX: usize = 100;
/// How often it says how far it is.
const TELLING: Duration = Duration::from_millis(100);
/// How long a message is waited for that has not come to all.
const DELIVERY: Duration = Duration::from_secs(3);
/// The longest head of an answer, and the longest frame.
const PARTIAL_BYTES_MAX: usize = 16 << 10;

/// `roadstead crowd`
#[derive(Debug, Args)]
pub struct Crowd {
    /// The server
    #[arg(long)]
    at: SocketAddr,
    /// How many connections
    #[arg(long)]
    connections: usize,
}

/// Where a crowd of this machine's can connect: the first public address without TLS. Elsewhere than on a server that
/// somebody tries on a machine of its own there is none: others may reach it through a proxy.
pub fn crowd_address(config: &Config, listening: &Listening) -> Option<SocketAddr> {
    let plain = |(tls, bound): (bool, &Endpoint)| match bound {
        Endpoint::Tcp(address) if !tls => Some(*address),
        Endpoint::Tcp(_) | Endpoint::Unix(_) => None,
    };
    asked_and_bound(config, listening).find_map(plain).filter(|_| config.is_only_tried())
}

impl Crowd {
    /// Holds the connections until its standard input ends.
    pub fn run(self) -> io::Result<()> {
        thread::spawn(|| {
            io::copy(&mut io::stdin(), &mut io::sink()).ok();
            std::process::exit(0);
        });
        let mut held = Held::new(self)?;
        let end = Instant::now() + LIFETIME;
        let mut events = Events::with_capacity(1024);
        let mut told_at = Instant::now();
        while Instant::now() < end {
            held.open_more()?;
            held.poll.poll(&mut events, Some(TELLING))?;
            for event in &events {
                held.handle(event);
            }
            held.end_delivery(|delivery| delivery.is_late());
            if told_at.elapsed() >= TELLING {
                held.tell()?;
                told_at = Instant::now();
            }
        }
        Ok(())
    }
}

/// All connections.
struct Held {
    at: SocketAddr,
    poll: Poll,
    clients: Vec<Option<Client>>,
    wanted: usize,
    opening: usize,
    open: usize,
    /// Why it stopped before it had all.
    why: Option<String>,
    delivery: Option<Delivery>,
    delivered: Option<Delivered>,
    /// What was said last.
    told: Option<Told>,
}

struct Client {
    stream: TcpStream,
    has_asked: bool,
    is_open: bool,
    /// What has come of an answer or a frame that is not whole; nothing while idle.
    partial: Vec<u8>,
}

/// A message on its way to all.
struct Delivery {
    message: Message,
    /// How many there were when it came to the first.
    wanted: usize,
    took_us: Vec<u64>,
    began: Instant,
}

impl Held {
    fn new(asked: Crowd) -> io::Result<Self> {
        Ok(Self {
            at: asked.at,
            poll: Poll::new()?,
            clients: Vec::with_capacity(asked.connections),
            wanted: asked.connections,
            opening: 0,
            open: 0,
            why: None,
            delivery: None,
            delivered: None,
            told: None,
        })
    }

    fn open_more(&mut self) -> io::Result<()> {
        while self.opening < OPENING_MAX && self.clients.len() < self.wanted && self.why.is_none() {
            match TcpStream::connect(self.at) {
                Ok(mut stream) => {
                    let token = Token(self.clients.len());
                    let interests = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut stream, token, interests)?;
                    self.clients.push(Some(Client::new(stream)));
                    self.opening += 1;
                }
                Err(error) => self.why = Some(error.to_string()),
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: &Event) {
        let Token(number) = event.token();
        let Some(client) = self.clients.get_mut(number).and_then(Option::as_mut) else { return };
        let was_open = client.is_open;
        let mut messages = Vec::new();
        let outcome = client.handle(event, &mut messages);
        let is_open = client.is_open;
        if !was_open && is_open {
            self.opening -= 1;
            self.open += 1;
        }
        if let Err(why) = outcome {
            *(if is_open { &mut self.open } else { &mut self.opening }) -= 1;
            self.clients[number] = None;
            self.why.get_or_insert(why);
        }
        messages.into_iter().for_each(|message| self.note(message));
    }

    fn note(&mut self, message: Message) {
        if self.delivery.as_ref().is_none_or(|delivery| delivery.message != message) {
            self.end_delivery(|_| true);
            let took_us = Vec::with_capacity(self.open);
            self.delivery = Some(Delivery { message, wanted: self.open, took_us, began: Instant::now() });
        }
        if let Some(delivery) = &mut self.delivery {
            delivery.took_us.push(now_us().saturating_sub(message.sent_us));
        }
        self.end_delivery(|delivery| delivery.took_us.len() >= delivery.wanted);
    }

    /// Tells of the message that is on its way, if it is not waited for any more.
    fn end_delivery(&mut self, is_over: impl FnOnce(&Delivery) -> bool) {
        if self.delivery.as_ref().is_some_and(is_over) {
            let ended = self.delivery.take().map(Delivery::summed_up);
            self.delivered = ended;
        }
    }

    /// Says how far it is, if that is news.
    fn tell(&mut self) -> io::Result<()> {
        let is_whole = self.opening == 0 && (self.clients.len() >= self.wanted || self.why.is_some());
        let open = u32::try_from(self.open).unwrap_or(u32::MAX);
        let told = Told { open, is_whole, why: self.why.clone(), delivered: self.delivered.clone() };
        if self.told.as_ref() == Some(&told) {
            return Ok(());
        }
        let mut line = serde_json::to_string(&told).expect("this is what JSON can say");
        line.push('\n');
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.flush()?;
        self.told = Some(told);
        Ok(())
    }
}

impl Delivery {
    fn is_late(&self) -> bool {
        self.began.elapsed() > DELIVERY
    }

    fn summed_up(mut self) -> Delivered {
        self.took_us.sort_unstable();
        let at = |share: f64| self.took_us[((self.took_us.len() - 1) as f64 * share) as usize];
        Delivered {
            to: u32::try_from(self.took_us.len()).unwrap_or(u32::MAX),
            number: self.message.number,
            first_us: at(0.0),
            p50_us: at(0.5),
            p99_us: at(0.99),
            last_us: at(1.0),
        }
    }
}

/// What can be read at once: a message of the demo is shorter.
const CHUNK_BYTES: usize = 4096;

impl Client {
    fn new(stream: TcpStream) -> Self {
        Self { stream, has_asked: false, is_open: false, partial: Vec::new() }
    }

    /// Goes on; an error is why it has ended.
    fn handle(&mut self, event: &Event, messages: &mut Vec<Message>) -> Result<(), String> {
        if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
            return Err(error.to_string());
        }
        if !self.has_asked && event.is_writable() {
            self.has_asked = self.ask().map_err(|error| error.to_string())?;
        }
        if !event.is_readable() {
            return Ok(());
        }
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the server has closed a connection".to_owned()),
                Ok(bytes) => {
                    self.take(&chunk[..bytes], messages)?;
                    // Less than there was room for is all there is (epoll(7)).
                    if bytes < chunk.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Asks for a WebSocket, if it can by now. An empty socket takes so little at once.
    fn ask(&mut self) -> io::Result<bool> {
        let request = format!(
            "GET /channels/{CHANNEL} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        match self.stream.write(request.as_bytes()) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                Ok(false)
            }
            written => written.map(|_| true),
        }
    }

    fn take(&mut self, bytes: &[u8], messages: &mut Vec<Message>) -> Result<(), String> {
        let mut all = std::mem::take(&mut self.partial);
        let mut rest = match all.is_empty() {
            true => bytes,
            false => {
                all.extend_from_slice(bytes);
                &all
            }
        };
        if !self.is_open {
            let end = memchr::memmem::find(rest, b"\r\n\r\n");
            if let Some(end) = end {
                let status =
                    String::from_utf8_lossy(rest.split(|byte| *byte == b'\r').next().unwrap_or_default());
                if !status.starts_with("HTTP/1.1 101 ") {
                    return Err(format!(
                        "the server has answered {}",
                        status.trim_start_matches("HTTP/1.1 ")
                    ));
                }
                self.is_open = true;
                rest = &rest[end + 4..];
            }
        }
        while let (true, Some((opcode, payload, length))) = (self.is_open, frame(rest)) {
            match opcode {
                TEXT | BINARY => messages.extend(serde_json::from_slice::<Message>(payload).ok()),
                PING => self.answer_ping(payload).map_err(|error| error.to_string())?,
                CLOSE => return Err("the server has closed a connection".to_owned()),
                _ => {}
            }
            rest = &rest[length..];
        }
        if rest.len() > PARTIAL_BYTES_MAX {
            return Err("the server says too much".to_owned());
        }
        self.partial = rest.to_vec();
        Ok(())
    }

    /// Under a mask of zeros a payload is what it was.
    fn answer_ping(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = u8::try_from(payload.len()).unwrap_or_default();
        let pong = [&[0x8a, 0x80 | length, 0, 0, 0, 0], payload].concat();
        self.stream.write(&pong).map(|_| ())
    }
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// The first frame of what a server has sent (RFC 6455 §5.2): its opcode, its payload, and how long all of it is.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (head, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, usize::from(length)),
    };
    let whole = usize::checked_add(head, length)?;
    Some((bytes[0] & 0x0f, bytes.get(head..whole)?, whole))
}

/// The clock that server and crowd share: microseconds since 1970.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_whole_and_one_after_another() {
        assert_eq!(frame(&[0x81, 2, b'a', b'b', 0x89, 0]), Some((TEXT, &b"ab"[..], 4)));
        assert_eq!(frame(&[0x89, 0]), Some((PING, &b""[..], 2)));
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        assert_eq!(
            frame(&long).map(|(opcode, payload, whole)| (opcode, payload.len(), whole)),
            Some((BINARY, 256, 260))
        );
        for end in 0..long.len() {
            assert_eq!(frame(&long[..end]), None, "{end}");
        }
        assert_eq!(frame(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]), None);
    }

    #[test]
    fn a_delivery_is_summed_up_by_its_slowest_as_well() {
        let message = Message { number: 3, sent_us: 0 };
        let delivery =
            Delivery { message, wanted: 5, took_us: vec![50, 10, 40, 20, 30], began: Instant::now() };
        let delivered = Delivered { to: 5, number: 3, first_us: 10, p50_us: 30, p99_us: 40, last_us: 50 };
        assert_eq!(delivery.summed_up(), delivered);
    }
}
