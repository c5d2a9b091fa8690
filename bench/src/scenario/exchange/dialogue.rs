//! One connection's conversation: what is asked, and what counts as its answer. Bytes in, replies out; no socket.

use std::rc::Rc;

use roadstead::wire::websocket::Opcode;

use crate::{
    protocol::{
        request,
        response::Responses,
        subscriber::{Notice, SubscribeError, Subscriber, Transport, encode_message},
    },
    target::{Scheme, Target},
};

/// What all connections of a run say.
#[derive(Clone, Debug)]
pub struct Script {
    scheme: Scheme,
    /// The bytes of one message or request.
    pub message: Rc<[u8]>,
    payload: Rc<[u8]>,
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
    /// Echoes of `bytes` bytes over a WebSocket or a bare connection.
    pub fn echo(target: &Target, bytes: usize) -> Self {
        let payload: Vec<u8> = (0..bytes).map(|n| b'a' + (n % 26) as u8).collect();
        let message = match target.scheme {
            Scheme::WebSocket => encode_message(Opcode::Binary, &payload),
            Scheme::Tcp | Scheme::Http => payload.clone(),
        };
        Self { scheme: target.scheme, message: message.into(), payload: payload.into(), under_way_max: 1024 }
    }

    /// Requests on keep-alive connections: `GET`, or `POST` with a body of so many bytes. HTTP/1.1 requests are not
    /// pipelined; the next waits for its connection, and its latency counts that.
    pub fn http(target: &Target, post_bytes: Option<usize>) -> Self {
        let message = match post_bytes {
            None => request::encode_get(target),
            Some(bytes) => request::encode_publish(target, &vec![b'x'; bytes]),
        };
        Self { scheme: Scheme::Http, message: message.into(), payload: Rc::from([]), under_way_max: 1 }
    }

    /// What is sent before the first message.
    pub fn opening(&self, target: &Target) -> Vec<u8> {
        match self.scheme {
            Scheme::WebSocket => request::encode_upgrade(target),
            Scheme::Tcp | Scheme::Http => Vec::new(),
        }
    }
}

impl Dialogue {
    /// A new connection's.
    pub fn new(script: &Script) -> Self {
        match script.scheme {
            Scheme::Tcp => Self::Bare(0),
            Scheme::WebSocket => Self::Frames(Subscriber::new(Transport::Ws)),
            Scheme::Http => Self::Http(Responses::default()),
        }
    }

    /// Whether being connected is being served.
    pub fn is_served_at_once(&self) -> bool {
        !matches!(self, Self::Frames(_))
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
                Notice::Answered(_) => {}
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

    fn check(url: &str, bytes: &[u8]) -> Vec<Reply> {
        let script = Script::echo(&url.parse().unwrap(), 3);
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
        assert_eq!(check("tcp://h:1", b"abcabc"), [Reply::Right, Reply::Right]);
        assert_eq!(check("tcp://h:1", b"abcab"), [Reply::Right]);
        let script = Script::echo(&"tcp://h:1".parse().unwrap(), 3);
        let mut found = Vec::new();
        Dialogue::new(&script).handle(&script, &mut b"abx".to_vec(), |reply| found.push(reply)).unwrap();
        assert_eq!(found, [Reply::Wrong(None)]);
    }

    #[test]
    fn a_websocket_reply_is_right_only_if_it_is_what_was_sent() {
        let stream = b"HTTP/1.1 101 Switching\r\n\r\n\x82\x03abc\x82\x03abd\x82\x02ab";
        assert_eq!(
            check("ws://h:1/", stream),
            [Reply::Served, Reply::Right, Reply::Wrong(None), Reply::Wrong(None)]
        );
    }
}
