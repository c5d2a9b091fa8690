//! One connection's conversation: what is asked, and what counts as its answer. Bytes in, replies out; no socket.

use std::rc::Rc;

use roadstead::wire::websocket::Opcode;

use crate::{
    endpoint::Endpoint,
    protocol::{
        request,
        response::Responses,
        socketio::{PONG, Place},
        subscriber::{Notice, SubscribeError, Subscriber, Transport, encode_message},
    },
    target::Target,
};

/// What all connections of a run say.
#[derive(Clone, Debug)]
pub struct Script {
    /// How messages travel; requests that are answered need no more than HTTP.
    transport: Option<Transport>,
    /// The bytes of one message or request.
    pub message: Rc<[u8]>,
    /// What its answer holds.
    payload: Rc<[u8]>,
    /// How a Socket.IO client asks to be let in.
    enter: Vec<u8>,
    /// How many messages may be under way on one connection.
    pub under_way_max: usize,
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
    /// The handshake is done.
    Served,
    /// What was asked for.
    Right,
    /// Something else.
    Wrong(Option<u16>),
    /// It should send these bytes.
    Send(Vec<u8>),
    /// The server closes.
    Closing,
}

impl Script {
    /// Echoes of `bytes` bytes.
    pub fn echo(endpoint: &Endpoint, bytes: usize) -> Self {
        let text: String = (0..bytes).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
        let place = Place::of(&endpoint.target);
        let (message, payload) = match endpoint.transport {
            Transport::SocketIo => {
                let acknowledgement = format!("[\"{text}\"]");
                (encode_text(&place.echo(&text)), acknowledgement.into_bytes())
            }
            Transport::Tcp => (text.clone().into_bytes(), text.into_bytes()),
            _ => (encode_message(Opcode::Binary, text.as_bytes()), text.into_bytes()),
        };
        Self {
            transport: Some(endpoint.transport),
            message: message.into(),
            payload: payload.into(),
            enter: encode_text(&place.enter()),
            under_way_max: 1024,
        }
    }

    /// Requests on keep-alive connections: `GET`, or `POST` with a body of so many bytes. HTTP/1.1 requests are not
    /// pipelined; the next waits for its connection, and its latency counts that.
    pub fn http(target: &Target, post_bytes: Option<usize>) -> Self {
        let message = match post_bytes {
            None => request::encode_get(target),
            Some(bytes) => request::encode_publish(target, &vec![b'x'; bytes]),
        };
        Self {
            transport: None,
            message: message.into(),
            payload: Rc::from([]),
            enter: Vec::new(),
            under_way_max: 1,
        }
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
            Some(_) => Self::Frames(Subscriber::new(Transport::Ws)),
        }
    }

    /// Whether being connected is being served.
    pub fn is_served_at_once(&self) -> bool {
        matches!(self, Self::Bare(_) | Self::Http(_))
    }

    /// Takes received bytes and gives what they mean to `reply`.
    #[inline]
    pub fn handle(
        &mut self,
        script: &Script,
        bytes: &mut [u8],
        mut reply: impl FnMut(Reply),
    ) -> Result<(), SubscribeError> {
        match self {
            Self::Bare(received) => {
                take_bare(&script.payload, received, bytes, reply);
                Ok(())
            }
            Self::Frames(subscriber) => subscriber.handle(bytes, |notice| match notice {
                Notice::Message(data) if *data == *script.payload => reply(Reply::Right),
                Notice::Message(_) => reply(Reply::Wrong(None)),
                Notice::Served => reply(Reply::Served),
                Notice::Reply(bytes) => reply(Reply::Send(bytes)),
                Notice::Closing => reply(Reply::Closing),
                _ => {}
            }),
            Self::Events(subscriber) => subscriber.handle(bytes, |notice| match notice {
                Notice::Acknowledged(json) if json.as_bytes() == &*script.payload => reply(Reply::Right),
                Notice::Acknowledged(_) => reply(Reply::Wrong(None)),
                Notice::Opened => reply(Reply::Send(script.enter.clone())),
                Notice::Entered => reply(Reply::Served),
                Notice::Pinged => reply(Reply::Send(encode_text(PONG))),
                Notice::Reply(bytes) => reply(Reply::Send(bytes)),
                Notice::Closing => reply(Reply::Closing),
                _ => {}
            }),
            Self::Http(responses) => responses
                .handle(bytes, |answer| {
                    let is_right = (200..300).contains(&answer.status);
                    reply(if is_right { Reply::Right } else { Reply::Wrong(Some(answer.status)) });
                    if answer.closes {
                        reply(Reply::Closing);
                    }
                })
                .map_err(|_| SubscribeError::Garbled),
        }
    }
}

/// Compares a stream of bytes with the payload, over and over.
fn take_bare(payload: &[u8], received: &mut usize, mut bytes: &[u8], mut reply: impl FnMut(Reply)) {
    while !bytes.is_empty() {
        let rest = &payload[*received..];
        let count = rest.len().min(bytes.len());
        let is_right = rest[..count] == bytes[..count];
        bytes = &bytes[count..];
        *received += count;
        if !is_right {
            // From here on nothing can be told apart.
            *received = 0;
            return reply(Reply::Wrong(None));
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
        Script::echo(&Endpoint { target: url.parse().unwrap(), address, transport }, 3)
    }

    fn check(url: &str, transport: Transport, bytes: &[u8]) -> Vec<Reply> {
        let script = script(url, transport);
        let run = |cut: usize| {
            let (mut dialogue, mut found) = (Dialogue::new(&script), Vec::new());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                dialogue.handle(&script, &mut piece.to_vec(), |reply| found.push(reply)).unwrap();
            }
            found
        };
        let whole = run(0);
        for cut in 1..bytes.len() {
            assert_eq!(run(cut), whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn bare_replies_are_counted_however_they_are_cut() {
        assert_eq!(check("tcp://h:1", Transport::Tcp, b"abcabc"), [Reply::Right, Reply::Right]);
        assert_eq!(check("tcp://h:1", Transport::Tcp, b"abcab"), [Reply::Right]);
        let script = script("tcp://h:1", Transport::Tcp);
        let mut found = Vec::new();
        Dialogue::new(&script).handle(&script, &mut b"abx".to_vec(), |reply| found.push(reply)).unwrap();
        assert_eq!(found, [Reply::Wrong(None)]);
    }

    #[test]
    fn a_websocket_reply_is_right_only_if_it_is_what_was_sent() {
        let stream = b"HTTP/1.1 101 Switching\r\n\r\n\x82\x03abc\x82\x03abd\x82\x02ab";
        assert_eq!(
            check("ws://h:1/", Transport::Ws, stream),
            [Reply::Served, Reply::Right, Reply::Wrong(None), Reply::Wrong(None)]
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
            [send("40"), Reply::Served, Reply::Right, Reply::Wrong(None), send("3")]
        );
    }
}
