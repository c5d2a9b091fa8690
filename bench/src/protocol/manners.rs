//! What a client adds to every handshake and request, and what it says before it counts as served.
//!
//! Headers replace those of the same name. `{n}` in any of it becomes the client's number. Many servers want a first
//! message after the WebSocket's handshake, and answer it: a line is said, and where something is to be heard the next
//! waits for it.
//!
//! ```text
//!   101 ─► say line 1 ─► hears what line 1 waits for ─► say line 2 ─► … ─► served
//! ```

use memchr::memmem;
use roadstead::wire::websocket::Opcode;
use serde::{Deserialize, Serialize};

use super::{
    deflate::Offered,
    subscriber::{Notice, SubscribeError, Subscriber, encode_message},
};

/// The most lines a client says before it is served.
pub const LINES_MAX: usize = 16;

/// What all clients of a run have in common besides the protocol.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manners {
    /// Header fields, name and value.
    pub headers: Vec<(String, String)>,
    /// What is said first.
    pub lines: Vec<Line>,
    /// Whether messages may be compressed; what is offered stands among the headers.
    pub compression: Offered,
}

/// One message, and what has to be heard before the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The text of the message.
    pub say: String,
    /// A part of the message that answers it.
    pub hear: Option<String>,
}

impl Manners {
    /// A request with our headers.
    pub fn dress(&self, request: Vec<u8>, number: u64) -> Vec<u8> {
        if self.headers.is_empty() {
            return request;
        }
        let Some(end) = memmem::find(&request, b"\r\n\r\n") else { return request };
        let head = String::from_utf8_lossy(&request[..end]);
        let mut dressed = String::with_capacity(request.len() + 128);
        for (index, line) in head.split("\r\n").enumerate() {
            let name = line.split(':').next().unwrap_or_default();
            let is_ours = self.headers.iter().any(|(ours, _)| ours.eq_ignore_ascii_case(name));
            if index == 0 || !is_ours {
                dressed += line;
                dressed += "\r\n";
            }
        }
        for (name, value) in &self.headers {
            dressed += &format!("{name}: {}\r\n", numbered(value, number));
        }
        dressed += "\r\n";
        let mut dressed = dressed.into_bytes();
        dressed.extend_from_slice(&request[end + 4..]);
        dressed
    }

    /// Whether every client sends the same.
    pub fn is_same_for_all(&self) -> bool {
        self.headers.iter().all(|(_, value)| !value.contains("{n}"))
    }

    /// Lets a client read received bytes and hold the conversation that comes before it is served.
    #[inline]
    pub fn attend(
        &self,
        client: &mut Subscriber,
        number: u64,
        bytes: &mut [u8],
        mut notice: impl FnMut(Notice<'_>),
    ) -> Result<(), SubscribeError> {
        if usize::from(client.lines_said()) > self.lines.len() || self.lines.is_empty() {
            return client.handle(bytes, notice);
        }
        let mut said = client.lines_said();
        let result = client.handle(bytes, |news| match news {
            Notice::Served => self.go_on(&mut said, number, &mut notice),
            Notice::Message(data) if usize::from(said) <= self.lines.len() => {
                let line = usize::from(said).checked_sub(1).and_then(|last| self.lines.get(last));
                let awaited = line.and_then(|line| line.hear.as_ref());
                if awaited.is_some_and(|awaited| memmem::find(data, awaited.as_bytes()).is_some()) {
                    self.go_on(&mut said, number, &mut notice);
                }
            }
            other => notice(other),
        });
        client.set_lines_said(said);
        result
    }

    /// Says line after line until one waits for an answer; behind the last the client is served.
    fn go_on(&self, said: &mut u8, number: u64, notice: &mut impl FnMut(Notice<'_>)) {
        while let Some(line) = self.lines.get(usize::from(*said)) {
            let text = numbered(&line.say, number);
            notice(Notice::Reply(encode_message(Opcode::Text, text.as_bytes())));
            *said += 1;
            if line.hear.is_some() {
                return;
            }
        }
        *said += 1;
        notice(Notice::Served);
    }
}

fn numbered(text: &str, number: u64) -> String {
    text.replace("{n}", &number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{request, subscriber::Transport};

    #[test]
    fn headers_are_added_and_replace_those_of_their_name() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let manners = Manners {
            headers: vec![header("host", "example.org"), header("Authorization", "Bearer {n}")],
            ..Manners::default()
        };
        let request = request::encode_publish(&"http://h:1/x".parse().unwrap(), b"Host: in the body\r\n\r\n");
        let text = String::from_utf8(manners.dress(request, 7)).unwrap();
        assert_eq!(
            text,
            "POST /x HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 21\r\nhost: example.org\r\n\
             Authorization: Bearer 7\r\n\r\nHost: in the body\r\n\r\n"
        );
        assert!(!manners.is_same_for_all());
        assert_eq!(Manners::default().dress(b"GET".to_vec(), 1), b"GET");
    }

    #[test]
    fn a_client_is_served_when_it_has_heard_what_it_waits_for() {
        let line =
            |say: &str, hear: Option<&str>| Line { say: say.to_owned(), hear: hear.map(str::to_owned) };
        let manners = Manners {
            lines: vec![
                line("hello {n}", None),
                line("enter", Some("welcome")),
                line("join", Some("joined")),
            ],
            ..Manners::default()
        };
        let mut stream = b"HTTP/1.1 101 Switching\r\n\r\n".to_vec();
        for message in ["joined too early", "welcome", "you have joined", "news"] {
            stream.extend([0x81, message.len() as u8]);
            stream.extend(message.bytes());
        }
        for cut in 0..stream.len() {
            let (mut client, mut found) = (Subscriber::new(Transport::Ws), Vec::new());
            for piece in [&stream[..cut], &stream[cut..]] {
                let result = manners.attend(&mut client, 5, &mut piece.to_vec(), |notice| match notice {
                    Notice::Reply(frame) => found.push(format!("{} B", frame.len() - 6)),
                    Notice::Message(data) => found.push(String::from_utf8_lossy(data).into_owned()),
                    other => found.push(format!("{other:?}")),
                });
                result.unwrap();
            }
            assert_eq!(found, ["7 B", "5 B", "4 B", "Served", "news"], "cut at {cut}");
        }
    }
}
