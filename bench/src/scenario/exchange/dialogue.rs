//! One connection's conversation: what is asked, and what counts as its answer. Bytes in, replies out; no socket.

use std::{cell::OnceCell, ops::RangeInclusive, rc::Rc, sync::Arc};

use roadstead::wire::websocket::Opcode;

use crate::{
    endpoint::Endpoint,
    protocol::{
        deflate::Sizes,
        manners::Manners,
        refusal::{Refusal, first_line},
        response::{Answer, Responses},
        socketio::{PONG, Place},
        subscriber::{Notice, SubscribeError, Subscriber, Transport, encode_compressed, encode_message},
        template::{Request, Requests},
    },
};

/// What all connections of a run say.
#[derive(Clone, Debug)]
pub struct Script {
    /// How messages travel; requests that are answered need no more than HTTP.
    transport: Option<Transport>,
    /// The messages or requests.
    pub requests: Requests,
    /// The message, where compression was agreed on, by the bits of its window.
    compressed: [OnceCell<(Rc<[u8]>, Sizes)>; 16],
    /// What clients say before they are served.
    manners: Arc<Manners>,
    /// What its answer holds.
    payload: Rc<[u8]>,
    /// How a Socket.IO client asks to be let in.
    enter: Vec<u8>,
    /// How many messages may be under way on one connection.
    pub under_way_max: usize,
    /// Whether what was under way when the server closed may be asked again, as RFC 9110 §9.2.2 says of `GET`.
    pub is_repeatable: bool,
    /// The statuses that count as right.
    right: Rc<[RangeInclusive<u16>]>,
}

/// One connection's side of it.
#[derive(Debug)]
pub enum Dialogue {
    /// Bare bytes come back as they went; so many of the current reply have.
    Bare(usize),
    /// WebSocket messages come back as they went.
    Frames(Subscriber),
    /// Events of Socket.IO are acknowledged with their argument.
    Events(Subscriber),
    /// Requests are answered.
    Http(Responses),
}

/// What a connection learnt.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The server agreed to compress.
    Agreed,
    /// A message of these sizes has come.
    Sized(Sizes),
    /// The handshake is done.
    Served,
    /// What was asked for.
    Right,
    /// Something else.
    Wrong(Wrong),
    /// It should send these bytes.
    Send(Vec<u8>),
    /// The server closes, and perhaps says why.
    Closing(Option<Box<str>>),
}

/// What came instead of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// An answer of another status.
    Answer(Refusal),
    /// Other content: how it begins.
    Content(Option<String>),
}

impl Wrong {
    /// What is counted together.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Answer(refusal) => refusal.status,
            Self::Content(_) => 0,
        }
    }

    fn content(bytes: &[u8]) -> Self {
        Self::Content(first_line(&bytes[..bytes.len().min(200)]))
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer(refusal) => write!(f, "answered {refusal}"),
            Self::Content(None) => f.write_str("came back as something else"),
            Self::Content(Some(line)) => write!(f, "came back as something else: “{line}”"),
        }
    }
}

impl Script {
    /// Echoes of this text.
    pub fn echo(endpoint: &Endpoint, text: &str) -> Self {
        let place = Place::of(&endpoint.target);
        let (message, payload) = match endpoint.transport {
            Transport::SocketIo => {
                let acknowledgement = serde_json::to_string(&[text]).expect("a string becomes JSON");
                (encode_text(&place.echo(text)), acknowledgement.into_bytes())
            }
            Transport::Tcp => (text.as_bytes().to_vec(), text.as_bytes().to_vec()),
            _ => (encode_message(Opcode::Binary, text.as_bytes()), text.as_bytes().to_vec()),
        };
        Self {
            transport: Some(endpoint.transport),
            requests: Requests::Same(message.into()),
            compressed: Default::default(),
            manners: Arc::clone(&endpoint.manners),
            payload: payload.into(),
            enter: encode_text(&place.enter()),
            under_way_max: 1024,
            is_repeatable: false,
            right: Rc::from([]),
        }
    }

    /// Requests on keep-alive connections. HTTP/1.1 requests are not pipelined; the next waits for its connection, and
    /// its latency counts that.
    pub fn http(endpoint: &Endpoint, request: &Request, right: &[RangeInclusive<u16>]) -> Self {
        Self {
            transport: None,
            requests: request.to(&endpoint.target, &endpoint.manners),
            compressed: Default::default(),
            manners: Arc::clone(&endpoint.manners),
            payload: Rc::from([]),
            enter: Vec::new(),
            under_way_max: 1,
            is_repeatable: request.is_repeatable(),
            right: right.into(),
        }
    }
}

impl Script {
    /// The message for a window of so many bits, and its sizes.
    pub fn compressed(&self, window_bits: u8) -> &(Rc<[u8]>, Sizes) {
        self.compressed[usize::from(window_bits)].get_or_init(|| {
            let (frame, sizes) = encode_compressed(Opcode::Binary, &self.payload, window_bits);
            (frame.into(), sizes)
        })
    }

    fn judge(&self, answer: Answer) -> Reply {
        if self.right.iter().any(|range| range.contains(&answer.status)) {
            return Reply::Right;
        }
        let refusal = answer.refusal.unwrap_or(Refusal { status: answer.status, text: None });
        Reply::Wrong(Wrong::Answer(refusal))
    }
}

fn encode_text(packet: &str) -> Vec<u8> {
    encode_message(Opcode::Text, packet.as_bytes())
}

impl Dialogue {
    /// A new connection's.
    pub fn new(script: &Script) -> Self {
        match script.transport {
            None => Self::Http(Responses::default()),
            Some(Transport::Tcp) => Self::Bare(0),
            Some(Transport::SocketIo) => Self::Events(Subscriber::new(Transport::SocketIo)),
            Some(_) => Self::Frames(Subscriber::new(Transport::Ws).offering(script.manners.compression)),
        }
    }

    /// Whether being connected is being served.
    pub fn is_served_at_once(&self) -> bool {
        matches!(self, Self::Bare(_) | Self::Http(_))
    }

    /// The window of compressed messages it may send; none where that was not agreed on.
    #[inline]
    pub fn window_bits(&self) -> Option<u8> {
        if let Self::Frames(subscriber) = self { subscriber.client_window_bits() } else { None }
    }

    /// Takes received bytes and gives what they mean to `reply`.
    #[inline]
    pub fn handle(
        &mut self,
        script: &Script,
        number: u64,
        bytes: &mut [u8],
        mut reply: impl FnMut(Reply),
    ) -> Result<(), SubscribeError> {
        match self {
            Self::Bare(received) => {
                take_bare(&script.payload, received, bytes, reply);
                Ok(())
            }
            Self::Frames(subscriber) => {
                script.manners.attend(subscriber, number, bytes, |notice| match notice {
                    Notice::Message(data) if *data == *script.payload => reply(Reply::Right),
                    Notice::Message(data) => reply(Reply::Wrong(Wrong::content(data))),
                    Notice::Agreed => reply(Reply::Agreed),
                    Notice::Sized(sizes) => reply(Reply::Sized(sizes)),
                    Notice::Served => reply(Reply::Served),
                    Notice::Reply(bytes) => reply(Reply::Send(bytes)),
                    Notice::Closing(why) => reply(Reply::Closing(why)),
                    _ => {}
                })
            }
            Self::Events(subscriber) => subscriber.handle(bytes, |notice| match notice {
                Notice::Acknowledged(json) if json.as_bytes() == &*script.payload => reply(Reply::Right),
                Notice::Acknowledged(json) => reply(Reply::Wrong(Wrong::content(json.as_bytes()))),
                Notice::Opened => reply(Reply::Send(script.enter.clone())),
                Notice::Entered => reply(Reply::Served),
                Notice::Pinged => reply(Reply::Send(encode_text(PONG))),
                Notice::Reply(bytes) => reply(Reply::Send(bytes)),
                Notice::Closing(why) => reply(Reply::Closing(why)),
                _ => {}
            }),
            Self::Http(responses) => responses
                .handle(bytes, |answer| {
                    let closes = answer.closes;
                    reply(script.judge(answer));
                    if closes {
                        reply(Reply::Closing(None));
                    }
                })
                .map_err(|_| SubscribeError::Garbled),
        }
    }

    /// The connection has ended, and with it an answer that has no other end.
    pub fn end(&mut self, script: &Script, reply: impl FnOnce(Reply)) {
        if let Self::Http(responses) = self {
            responses.end(|answer| reply(script.judge(answer)));
        }
    }
}

/// Compares a stream of bytes with the payload, over and over.
fn take_bare(payload: &[u8], received: &mut usize, mut bytes: &[u8], mut reply: impl FnMut(Reply)) {
    while !bytes.is_empty() {
        let rest = &payload[*received..];
        let count = rest.len().min(bytes.len());
        let is_right = rest[..count] == bytes[..count];
        let (taken, left) = bytes.split_at(count);
        bytes = left;
        *received += count;
        if !is_right {
            // From here on nothing can be told apart.
            *received = 0;
            return reply(Reply::Wrong(Wrong::content(taken)));
        }
        if *received == payload.len() {
            *received = 0;
            reply(Reply::Right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(url: &str, transport: Transport) -> Script {
        let address = "127.0.0.1:1".parse().unwrap();
        let manners = Arc::default();
        Script::echo(
            &Endpoint { target: url.parse().unwrap(), address, transport, manners, unix: None, tls: None },
            "abc",
        )
    }

    fn check(url: &str, transport: Transport, bytes: &[u8]) -> Vec<Reply> {
        let script = script(url, transport);
        let run = |cut: usize| {
            let (mut dialogue, mut found) = (Dialogue::new(&script), Vec::new());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                dialogue.handle(&script, 0, &mut piece.to_vec(), |reply| found.push(reply)).unwrap();
            }
            found
        };
        let whole = run(0);
        for cut in 1..bytes.len() {
            assert_eq!(run(cut), whole, "cut at {cut}");
        }
        whole
    }

    fn wrong(content: &str) -> Reply {
        Reply::Wrong(Wrong::Content(Some(content.to_owned())))
    }

    #[test]
    fn bare_replies_are_counted_however_they_are_cut() {
        assert_eq!(check("tcp://h:1", Transport::Tcp, b"abcabc"), [Reply::Right, Reply::Right]);
        assert_eq!(check("tcp://h:1", Transport::Tcp, b"abcab"), [Reply::Right]);
        let script = script("tcp://h:1", Transport::Tcp);
        let mut found = Vec::new();
        Dialogue::new(&script).handle(&script, 0, &mut b"abx".to_vec(), |reply| found.push(reply)).unwrap();
        assert_eq!(found, [Reply::Wrong(Wrong::Content(Some("abx".to_owned())))]);
    }

    #[test]
    fn a_websocket_reply_is_right_only_if_it_is_what_was_sent() {
        let stream = b"HTTP/1.1 101 Switching\r\n\r\n\x82\x03abc\x82\x03abd\x82\x02ab";
        assert_eq!(
            check("ws://h:1/", Transport::Ws, stream),
            [Reply::Served, Reply::Right, wrong("abd"), wrong("ab")]
        );
    }

    #[test]
    fn a_socketio_reply_is_right_only_if_it_acknowledges_what_was_emitted() {
        let mut stream = b"HTTP/1.1 101 Switching\r\n\r\n".to_vec();
        for packet in ["0{\"sid\":\"s\"}", "40{}", "430[\"abc\"]", "430[\"abd\"]", "42[\"abc\"]", "2"] {
            stream.extend([0x81, packet.len() as u8]);
            stream.extend(packet.bytes());
        }
        let send = |packet: &str| Reply::Send(encode_text(packet));
        assert_eq!(
            check("http://h:1/socket.io/", Transport::SocketIo, &stream),
            [send("40"), Reply::Served, Reply::Right, wrong("[\"abd\"]"), send("3")]
        );
    }
}
