//! Socket.IO v5 over Engine.IO v4 as a client speaks it, as far as a benchmark needs: enter a namespace, join a room,
//! emit with an acknowledgement, hear events. Text only.
//!
//! The project's own codecs in `wire` are the server's end and check every value of JSON; a generator that did the same
//! would be the slower side. What is measured is found in the text as it came.
//!
//! The protocol: `docs/engine.io-protocol/v4-current.md` and `docs/socket.io-protocol/v5-current.md` of
//! <https://github.com/socketio/socket.io>.

use std::fmt::Write as _;

use crate::target::Target;

/// Between the packets of one polling payload.
const SEPARATOR: char = '\x1e';
/// What a server says to a `POST` whose packets it has taken.
const TAKEN: &[u8] = b"ok";
/// The number of every acknowledgement asked for. A client counts them to tell answers apart; here they come in the
/// order they were asked for, and one message is the same bytes for all.
const ACK: u64 = 0;
/// The event by which servers of the comparison let a client into a room.
const JOIN: &str = "join";
/// The event they acknowledge with its argument.
const ECHO: &str = "echo";
/// What answers a server's heartbeat.
pub const PONG: &str = "3";

/// Where a client wants to be: what of a URL's query is meant for the client itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path and query of its requests, up to the name of the transport.
    path: String,
    /// The namespace, as it stands before a packet's JSON; empty for the main one.
    namespace: String,
    room: Option<String>,
}

/// One packet of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A session was opened; its id.
    Open(&'a str),
    /// A heartbeat.
    Ping,
    /// The client is in the namespace.
    Entered,
    /// It may not be.
    Refused,
    /// An event: name and arguments as JSON.
    Event(&'a str),
    /// An acknowledgement: its arguments as JSON.
    Ack(&'a str),
    /// The server closes.
    Closing,
    /// Nothing to do.
    Nothing,
}

impl Place {
    /// The place a URL names: `/socket.io/?namespace=/chat&room=news`; other parameters go to the server.
    pub fn of(target: &Target) -> Self {
        let (path, query) = target.path.split_once('?').unwrap_or((&target.path, ""));
        let mut place = Self { path: format!("{path}?"), namespace: String::new(), room: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("namespace", "/")) => {}
                Some(("namespace", name)) => place.namespace = format!("{name},"),
                Some(("room", name)) => place.room = Some(name.to_owned()),
                _ => place.path += &format!("{parameter}&"),
            }
        }
        place.path += "EIO=4&transport=";
        place
    }

    /// Path and query of the request for a WebSocket.
    pub fn websocket_path(&self) -> String {
        format!("{}websocket", self.path)
    }

    /// Path and query of a poll; the first has no session yet.
    pub fn polling_path(&self, session: Option<&str>) -> String {
        let mut path = format!("{}polling", self.path);
        if let Some(session) = session {
            write!(path, "&sid={session}").expect("a String takes all");
        }
        path
    }

    /// Asks to be let into the namespace.
    pub fn enter(&self) -> String {
        format!("40{}", self.namespace)
    }

    /// Asks to be let into the room, if one is wanted.
    pub fn join(&self) -> Option<String> {
        self.room.as_deref().map(|room| self.emit(JOIN, room))
    }

    /// Asks to be sent `payload` back.
    pub fn echo(&self, payload: &str) -> String {
        self.emit(ECHO, payload)
    }

    /// An event of one string, to be acknowledged.
    fn emit(&self, event: &str, argument: &str) -> String {
        let arguments = serde_json::to_string(&[event, argument]).expect("strings become JSON");
        format!("42{}{ACK}{arguments}", self.namespace)
    }
}

/// Reads one packet.
pub fn decode(text: &str) -> Option<Packet<'_>> {
    let (kind, rest) = split_first(text)?;
    Some(match kind {
        b'0' => Packet::Open(session_in(rest)?),
        b'1' => Packet::Closing,
        b'2' => Packet::Ping,
        b'3' | b'5' | b'6' => Packet::Nothing,
        b'4' => decode_message(rest)?,
        _ => return None,
    })
}

fn decode_message(text: &str) -> Option<Packet<'_>> {
    let (kind, rest) = split_first(text)?;
    Some(match kind {
        b'0' => Packet::Entered,
        b'1' => Packet::Closing,
        // Binary events hold their JSON as well; what is attached follows as frames of its own.
        b'2' | b'5' => Packet::Event(json_in(rest)),
        b'3' | b'6' => Packet::Ack(json_in(rest)),
        b'4' => Packet::Refused,
        _ => return None,
    })
}

fn split_first(text: &str) -> Option<(u8, &str)> {
    let kind = *text.as_bytes().first()?;
    Some((kind, text.get(1..)?))
}

/// What follows namespace and numbers: arguments are always an array.
fn json_in(text: &str) -> &str {
    memchr::memchr(b'[', text.as_bytes()).map_or("", |start| &text[start..])
}

fn session_in(json: &str) -> Option<&str> {
    const MEMBER: &str = "\"sid\":\"";
    let start = json.find(MEMBER)? + MEMBER.len();
    let length = memchr::memchr(b'"', &json.as_bytes()[start..])?;
    Some(&json[start..start + length])
}

/// Gives every packet of a polling answer to `packet`; whether all could be read.
pub fn decode_payload(body: &[u8], mut packet: impl FnMut(Packet<'_>)) -> bool {
    if body == TAKEN {
        return true;
    }
    let Ok(text) = std::str::from_utf8(body) else { return false };
    text.split(SEPARATOR).all(|text| decode(text).map(&mut packet).is_some())
}

/// Several packets as one polling payload.
pub fn encode_payload(packets: &[String]) -> String {
    packets.join(SEPARATOR.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        Place::of(&url.parse().unwrap())
    }

    #[test]
    fn namespace_and_room_are_the_clients_and_other_parameters_the_servers() {
        let main = place("http://h/socket.io/");
        assert_eq!(main.websocket_path(), "/socket.io/?EIO=4&transport=websocket");
        assert_eq!((main.enter().as_str(), main.join()), ("40", None));
        let chat = place("http://h/socket.io/?token=7&namespace=/chat&room=a%22b\"c");
        assert_eq!(chat.polling_path(Some("x1")), "/socket.io/?token=7&EIO=4&transport=polling&sid=x1");
        assert_eq!(chat.enter(), "40/chat,");
        assert_eq!(chat.join().unwrap(), r#"42/chat,0["join","a%22b\"c"]"#);
        assert_eq!(place("http://h/socket.io/?namespace=/").echo("hi"), r#"420["echo","hi"]"#);
    }

    #[test]
    fn every_packet_a_server_sends_is_told_apart() {
        for (text, packet) in [
            (r#"0{"sid":"abc","upgrades":[]}"#, Packet::Open("abc")),
            ("1", Packet::Closing),
            ("2", Packet::Ping),
            ("6", Packet::Nothing),
            (r#"40{"sid":"x"}"#, Packet::Entered),
            (r#"40/chat,{"sid":"x"}"#, Packet::Entered),
            (r#"44{"message":"no"}"#, Packet::Refused),
            ("41", Packet::Closing),
            (r#"42["news","text"]"#, Packet::Event(r#"["news","text"]"#)),
            (r#"42/chat,["news"]"#, Packet::Event(r#"["news"]"#)),
            (r#"4317["hi"]"#, Packet::Ack(r#"["hi"]"#)),
        ] {
            assert_eq!(decode(text), Some(packet), "{text}");
        }
        for text in ["", "4", "9", "47[]", "0{}", "ok"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn a_payload_holds_packets_or_says_that_it_was_taken() {
        let mut found = Vec::new();
        assert!(decode_payload(b"2\x1e42[\"a\"]", |packet| found.push(format!("{packet:?}"))));
        assert_eq!(found, ["Ping", r#"Event("[\"a\"]")"#]);
        assert!(decode_payload(b"ok", |packet| panic!("{packet:?}")));
        assert!(!decode_payload(b"2\x1e", |_| {}));
        assert!(!decode_payload(b"\xff", |_| {}));
        assert_eq!(encode_payload(&["3".into(), "40".into()]), "3\x1e40");
    }
}
