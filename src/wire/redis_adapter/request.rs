//! What one member asks all others.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    AdapterError, Emitted, Selected,
    event::{Options, Packet, names_of, write_options, write_packet},
    msgpack::{self, write_map, write_text, write_whole},
};
use crate::{
    limits::JSON_DEPTH_MAX,
    model::Arguments,
    wire::json::{Raw, push_display, push_string},
};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Which sockets are in these rooms; answered by [`super::Answer::Sockets`], or over sharded pub/sub as [`Self::Fetch`] is.
    Sockets {
        /// The rooms.
        rooms: Vec<Box<str>>,
    },
    /// Which rooms there are; answered by [`super::Answer::Rooms`].
    AllRooms,
    /// That sockets are put into rooms.
    Join {
        /// Which sockets.
        selected: Selected,
        /// The rooms.
        rooms: Vec<Box<str>>,
    },
    /// That sockets are taken out of rooms.
    Leave {
        /// Which sockets.
        selected: Selected,
        /// The rooms.
        rooms: Vec<Box<str>>,
    },
    /// That sockets are disconnected.
    Disconnect {
        /// Which sockets.
        selected: Selected,
        /// Their clients, too.
        close: bool,
    },
    /// What is known of sockets; answered by [`super::Answer::Fetched`].
    Fetch {
        /// Which sockets.
        selected: Selected,
    },
    /// An event to the application itself; answered by [`super::Answer::Said`], if it has an id.
    ServerEvent {
        /// The event.
        arguments: Arguments,
    },
    /// An event that clients are to acknowledge; answered by one [`super::Answer::Asked`] and as many
    /// [`super::Answer::Acknowledged`] as clients do.
    Acknowledge {
        /// The event.
        emitted: Box<Emitted>,
        /// How long they have, in milliseconds.
        timeout_ms: Option<u64>,
    },
    /// What is known of channels; answered by [`super::Answer::Surveyed`]. Only nodes that a broker joins ask each other that, on
    /// a channel of their own.
    Survey(Survey),
}

/// Which channels a node asks another about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Survey {
    /// This one.
    Channel(Box<str>),
    /// The first ones whose names start so.
    Channels {
        /// Start of the names.
        prefix: Box<str>,
        /// At most so many.
        limit: u32,
    },
}

/// A request, and who waits for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asks; emitters of some languages do not say.
    pub uid: Option<Box<str>>,
    /// The number under which it is answered, if it is.
    pub id: Option<Box<str>>,
    /// What is asked.
    pub request: Request,
}

/// The longest id of a request that is answered, in bytes.
pub(super) const ID_BYTES_MAX: usize = 256;

const SOCKETS: u32 = 0;
const ALL_ROOMS: u32 = 1;
const JOIN: u32 = 2;
const LEAVE: u32 = 3;
const DISCONNECT: u32 = 4;
const FETCH: u32 = 5;
pub(super) const SERVER_EVENT: u32 = 6;
const ACKNOWLEDGE: u32 = 7;
/// Beyond all that members in JavaScript know.
const SURVEY: u32 = 64;

/// A request as it stands.
#[derive(Debug, Deserialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: u32,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "requestId")]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    rooms: Option<Vec<Value>>,
    #[serde(default)]
    opts: Option<Options>,
    #[serde(default)]
    sid: Option<Value>,
    #[serde(default)]
    room: Option<Value>,
    #[serde(default)]
    close: Option<bool>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    packet: Option<Packet<'a>>,
    #[serde(default)]
    channel: Option<Box<str>>,
    #[serde(default)]
    prefix: Option<Box<str>>,
    #[serde(default)]
    limit: Option<u32>,
}

/// What a member says, JSON or MessagePack, as JSON with its attachments apart. `bytes_max` bounds it, also as JSON.
pub(super) fn read(bytes: &[u8], bytes_max: usize) -> Result<Arguments, AdapterError> {
    if bytes.len() > bytes_max {
        return Err(AdapterError::TooLarge);
    }
    match bytes.first() {
        Some(b'{') => {
            let json = std::str::from_utf8(bytes).map_err(|_| AdapterError::Json)?;
            Raw::check(json, JSON_DEPTH_MAX).map_err(|_| AdapterError::Json)?;
            Ok(Arguments { json: json.into(), attachments: Box::default() })
        }
        _ => msgpack::read(bytes, bytes_max),
    }
}

/// Reads a request about a namespace. `bytes_max` bounds it, also as JSON.
pub fn decode_request(bytes: &[u8], namespace: &str, bytes_max: usize) -> Result<Asked, AdapterError> {
    let Arguments { json, attachments } = read(bytes, bytes_max)?;
    let written: Written<'_> = serde_json::from_str(&json).map_err(|_| AdapterError::Shape)?;
    let id = written.id.as_deref().filter(|id| id.len() <= ID_BYTES_MAX).map(Box::from);
    let uid = written.uid.as_deref().map(Box::from);
    Ok(Asked { uid, id, request: written.request(namespace, attachments)? })
}

impl Written<'_> {
    fn request(&self, namespace: &str, attachments: Box<[Box<[u8]>]>) -> Result<Request, AdapterError> {
        let rooms = || names_of(self.rooms.as_deref().unwrap_or_default());
        Ok(match self.kind {
            SOCKETS => Request::Sockets { rooms: rooms()? },
            ALL_ROOMS => Request::AllRooms,
            JOIN | LEAVE => {
                let selected = self.selected()?;
                let rooms = match (&self.opts, &self.room) {
                    (None, Some(room)) => names_of(std::slice::from_ref(room))?,
                    _ => rooms()?,
                };
                match self.kind {
                    JOIN => Request::Join { selected, rooms },
                    _ => Request::Leave { selected, rooms },
                }
            }
            DISCONNECT => {
                Request::Disconnect { selected: self.selected()?, close: self.close.unwrap_or_default() }
            }
            FETCH => Request::Fetch { selected: self.selected()? },
            SERVER_EVENT => {
                let data = self.data.ok_or(AdapterError::Shape)?.get();
                Request::ServerEvent { arguments: event_to_servers(data, attachments)? }
            }
            ACKNOWLEDGE => {
                let packet = self.packet.as_ref().ok_or(AdapterError::Shape)?;
                let arguments = packet.arguments(namespace, attachments)?;
                let Selected { rooms, except } = self.selected()?;
                let timeout_ms = self.opts.as_ref().and_then(Options::timeout_ms);
                let is_volatile = self.opts.as_ref().is_some_and(Options::is_volatile);
                let namespace = namespace.into();
                let emitted = Emitted { namespace, rooms, except, is_volatile, arguments };
                Request::Acknowledge { emitted: Box::new(emitted), timeout_ms }
            }
            SURVEY => Request::Survey(match (&self.channel, &self.prefix, self.limit) {
                (Some(channel), None, None) => Survey::Channel(channel.clone()),
                (None, Some(prefix), Some(limit)) => Survey::Channels { prefix: prefix.clone(), limit },
                _ => return Err(AdapterError::Shape),
            }),
            _ => return Err(AdapterError::Shape),
        })
    }

    /// The sockets it is about; of old, one by its id.
    fn selected(&self) -> Result<Selected, AdapterError> {
        match (&self.opts, &self.sid) {
            (Some(options), _) => options.selection(),
            (None, Some(socket)) => {
                Ok(Selected { rooms: names_of(std::slice::from_ref(socket))?, except: Vec::new() })
            }
            (None, None) => Err(AdapterError::Shape),
        }
    }
}

/// An event to applications: a list that begins with its name.
pub(super) fn event_to_servers(data: &str, attachments: Box<[Box<[u8]>]>) -> Result<Arguments, AdapterError> {
    let mut items = Raw::first(data).elements().ok_or(AdapterError::Shape)?;
    match items.next().and_then(Raw::text) {
        Some(Ok(_)) => Ok(Arguments { json: data.into(), attachments }),
        Some(Err(_)) | None => Err(AdapterError::Shape),
    }
}

impl Asked {
    /// Whether it is about one socket in a form of old, which the member that has it answers.
    pub fn is_of_old(&self) -> bool {
        let is_command =
            matches!(self.request, Request::Join { .. } | Request::Leave { .. } | Request::Disconnect { .. });
        is_command && self.id.is_some()
    }
}

/// Writes a request. What is written is whole or nothing.
pub fn encode_request(out: &mut Vec<u8>, asked: &Asked) -> Result<(), AdapterError> {
    let start = out.len();
    match &asked.request {
        Request::Acknowledge { emitted, timeout_ms } => {
            write_acknowledge(out, asked, emitted, *timeout_ms).inspect_err(|_| out.truncate(start))
        }
        _ => {
            push_request(out, asked);
            Ok(())
        }
    }
}

/// An event that clients are to acknowledge, as msgpack, for it may hold bytes.
fn write_acknowledge(
    out: &mut Vec<u8>,
    Asked { uid, id, .. }: &Asked,
    emitted: &Emitted,
    timeout_ms: Option<u64>,
) -> Result<(), AdapterError> {
    write_map(out, 3 + u32::from(uid.is_some()) + u32::from(id.is_some()));
    for (key, text) in [("uid", uid), ("requestId", id)] {
        if let Some(text) = text {
            write_text(out, key);
            write_text(out, text);
        }
    }
    write_text(out, "type");
    write_whole(out, ACKNOWLEDGE);
    write_text(out, "packet");
    write_packet(out, emitted)?;
    write_text(out, "opts");
    let timeout_ms = timeout_ms.map(|timeout_ms| u32::try_from(timeout_ms).unwrap_or(u32::MAX));
    write_options(out, emitted, timeout_ms);
    Ok(())
}

fn push_request(out: &mut Vec<u8>, asked: &Asked) {
    let kind = match &asked.request {
        Request::Sockets { .. } => SOCKETS,
        Request::AllRooms => ALL_ROOMS,
        Request::Join { .. } => JOIN,
        Request::Leave { .. } => LEAVE,
        Request::Disconnect { .. } => DISCONNECT,
        Request::Fetch { .. } => FETCH,
        Request::ServerEvent { .. } => SERVER_EVENT,
        Request::Acknowledge { .. } => ACKNOWLEDGE,
        Request::Survey(_) => SURVEY,
    };
    out.extend_from_slice(format!("{{\"type\":{kind}").as_bytes());
    for (key, text) in [("uid", &asked.uid), ("requestId", &asked.id)] {
        if let Some(text) = text {
            out.extend_from_slice(format!(",\"{key}\":").as_bytes());
            push_string(out, text);
        }
    }
    match &asked.request {
        Request::Sockets { rooms } => push_names(out, "rooms", rooms),
        Request::AllRooms | Request::Acknowledge { .. } => {}
        Request::Join { selected, rooms } | Request::Leave { selected, rooms } => {
            push_selected(out, selected);
            push_names(out, "rooms", rooms);
        }
        Request::Disconnect { selected, close } => {
            push_selected(out, selected);
            out.extend_from_slice(format!(",\"close\":{close}").as_bytes());
        }
        Request::Fetch { selected } => push_selected(out, selected),
        Request::ServerEvent { arguments } => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(arguments.json.as_bytes());
        }
        Request::Survey(Survey::Channel(channel)) => {
            out.extend_from_slice(b",\"channel\":");
            push_string(out, channel);
        }
        Request::Survey(Survey::Channels { prefix, limit }) => {
            out.extend_from_slice(b",\"prefix\":");
            push_string(out, prefix);
            out.extend_from_slice(format!(",\"limit\":{limit}").as_bytes());
        }
    }
    out.push(b'}');
}

fn push_selected(out: &mut Vec<u8>, Selected { rooms, except }: &Selected) {
    push_options(out, rooms, except, None);
}

/// The options of whatever is about some sockets, behind others, with flags where there may be some.
pub(super) fn push_options(out: &mut Vec<u8>, rooms: &[Box<str>], except: &[Box<str>], flags: Option<&str>) {
    let mut options = Vec::new();
    push_names(&mut options, "rooms", rooms);
    push_names(&mut options, "except", except);
    out.extend_from_slice(b",\"opts\":{");
    out.extend_from_slice(&options[1..]);
    if let Some(flags) = flags {
        push_display(out, format_args!(",\"flags\":{{{flags}}}"));
    }
    out.push(b'}');
}

/// A member of an object, behind others.
pub(super) fn push_names(out: &mut Vec<u8>, key: &str, names: &[Box<str>]) {
    out.extend_from_slice(format!(",\"{key}\":[").as_bytes());
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_string(out, name);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::as_text;

    fn names(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    fn selected(rooms: &[&str], except: &[&str]) -> Selected {
        Selected { rooms: names(rooms), except: names(except) }
    }

    fn read(text: &str) -> Result<Asked, AdapterError> {
        decode_request(text.as_bytes(), "/", 1000)
    }

    #[test]
    fn every_request_of_a_member_in_javascript_is_read_and_written_back() {
        for (text, request) in [
            (
                r#"{"uid":"abcdef","requestId":"ghijkl","type":0,"rooms":["a"]}"#,
                Request::Sockets { rooms: names(&["a"]) },
            ),
            (r#"{"uid":"abcdef","requestId":"ghijkl","type":1}"#, Request::AllRooms),
            (
                r#"{"uid":"abcdef","requestId":"ghijkl","type":2,"opts":{"rooms":["a"],"except":["b"]},"rooms":["c","d"]}"#,
                Request::Join { selected: selected(&["a"], &["b"]), rooms: names(&["c", "d"]) },
            ),
            (
                r#"{"uid":"abcdef","requestId":"ghijkl","type":3,"opts":{"rooms":[],"except":[]},"rooms":["c"]}"#,
                Request::Leave { selected: selected(&[], &[]), rooms: names(&["c"]) },
            ),
            (
                r#"{"uid":"abcdef","requestId":"ghijkl","type":4,"opts":{"rooms":["a"],"except":[]},"close":true}"#,
                Request::Disconnect { selected: selected(&["a"], &[]), close: true },
            ),
            (
                r#"{"uid":"abcdef","requestId":"ghijkl","type":5,"opts":{"rooms":["a"],"except":[]}}"#,
                Request::Fetch { selected: selected(&["a"], &[]) },
            ),
            (
                r#"{"uid":"abcdef","requestId":"ghijkl","type":6,"data":["hello",{"a":[1]}]}"#,
                Request::ServerEvent {
                    arguments: Arguments {
                        json: r#"["hello",{"a":[1]}]"#.into(),
                        attachments: Box::default(),
                    },
                },
            ),
        ] {
            let asked = Asked { uid: Some("abcdef".into()), id: Some("ghijkl".into()), request };
            assert_eq!(read(text).as_ref(), Ok(&asked), "{text}");
            let mut out = Vec::new();
            encode_request(&mut out, &asked).expect("a request");
            assert_eq!(read(as_text(&out)), Ok(asked), "{}", as_text(&out));
        }
    }

    #[test]
    fn what_nodes_ask_each_other_of_channels_is_read_and_written_back() {
        for (text, survey) in [
            (r#"{"type":64,"uid":"u","requestId":"r","channel":"a\"b"}"#, Survey::Channel("a\"b".into())),
            (
                r#"{"type":64,"uid":"u","requestId":"r","prefix":"chat:","limit":7}"#,
                Survey::Channels { prefix: "chat:".into(), limit: 7 },
            ),
        ] {
            let request = Request::Survey(survey);
            let asked = Asked { uid: Some("u".into()), id: Some("r".into()), request };
            assert_eq!(read(text).as_ref(), Ok(&asked));
            let mut out = Vec::new();
            encode_request(&mut out, &asked).expect("a request");
            assert_eq!(as_text(&out), text);
        }
        for text in [
            r#"{"type":64}"#,
            r#"{"type":64,"channel":"a","prefix":"a","limit":1}"#,
            r#"{"type":64,"prefix":"a"}"#,
            r#"{"type":64,"prefix":"a","limit":-1}"#,
        ] {
            assert_eq!(read(text), Err(AdapterError::Shape), "{text}");
        }
    }

    #[test]
    fn emitters_and_members_of_old_ask_with_less() {
        let asked = read(r#"{"type":4,"opts":{"rooms":["a"]}}"#).expect("a request");
        let request = Request::Disconnect { selected: selected(&["a"], &[]), close: false };
        assert_eq!(asked, Asked { uid: None, id: None, request });
        let asked = read(r#"{"requestId":"x","type":2,"sid":"s","room":"r"}"#).expect("a request");
        let request = Request::Join { selected: selected(&["s"], &[]), rooms: names(&["r"]) };
        assert!(asked.is_of_old());
        assert_eq!(asked, Asked { uid: None, id: Some("x".into()), request });
        assert!(!read(r#"{"type":2,"opts":{"rooms":[]},"rooms":["a"]}"#).expect("a request").is_of_old());
    }

    #[test]
    fn an_event_to_acknowledge_comes_in_msgpack() {
        let json = r#"{"uid":"u","requestId":"r","type":7,"packet":{"type":2,"data":["ask",{"_placeholder":true,"num":0}],
            "nsp":"/"},"opts":{"rooms":["a"],"except":[],"flags":{"timeout":500,"expectSingleResponse":false}}}"#;
        let mut bytes = Vec::new();
        let raw = Raw::check(json, JSON_DEPTH_MAX).expect("JSON");
        msgpack::write(&mut bytes, raw, &[[1].into()]).expect("characters");
        let asked = decode_request(&bytes, "/", 1000).expect("a request");
        let Request::Acknowledge { emitted, timeout_ms } = asked.request else { panic!("{asked:?}") };
        assert_eq!((timeout_ms, &emitted.rooms, asked.id.as_deref()), (Some(500), &names(&["a"]), Some("r")));
        let json = r#"["ask",{"_placeholder":true,"num":0}]"#;
        assert_eq!(emitted.arguments, Arguments { json: json.into(), attachments: [[1].into()].into() });
        assert_eq!(decode_request(&bytes, "/other", 1000), Err(AdapterError::Namespace));
        for is_volatile in [false, true] {
            let emitted = Box::new(Emitted { is_volatile, ..*emitted.clone() });
            let request = Request::Acknowledge { emitted, timeout_ms: Some(70_000) };
            let asked = Asked { uid: Some("u".into()), id: Some("r".into()), request };
            let mut written = Vec::new();
            encode_request(&mut written, &asked).expect("a request");
            assert_eq!(decode_request(&written, "/", 1000), Ok(asked));
        }
        let emitted =
            Emitted { arguments: Arguments { json: "{}".into(), ..Default::default() }, ..*emitted };
        let request = Request::Acknowledge { emitted: Box::new(emitted), timeout_ms: None };
        let mut written = Vec::new();
        let asked = Asked { uid: None, id: None, request };
        assert_eq!(encode_request(&mut written, &asked), Err(AdapterError::Shape));
        assert!(written.is_empty());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (text, error) in [
            ("", AdapterError::Msgpack),
            ("{", AdapterError::Json),
            ("{}", AdapterError::Shape),
            (r#"{"type":8,"requestId":"x","clientCount":1}"#, AdapterError::Shape),
            (r#"{"type":"2"}"#, AdapterError::Shape),
            (r#"{"type":2,"rooms":["a"]}"#, AdapterError::Shape),
            (r#"{"type":2,"opts":{"rooms":{}},"rooms":["a"]}"#, AdapterError::Shape),
            (r#"{"type":0,"rooms":[[]]}"#, AdapterError::Shape),
            (r#"{"type":6}"#, AdapterError::Shape),
            (r#"{"type":6,"data":{}}"#, AdapterError::Shape),
            (r#"{"type":6,"data":[1]}"#, AdapterError::Shape),
            (r#"{"type":7,"opts":{}}"#, AdapterError::Shape),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
        let long = format!(r#"{{"type":1,"more":"{}"}}"#, "x".repeat(1000));
        assert_eq!(read(&long), Err(AdapterError::TooLarge));
    }
}
