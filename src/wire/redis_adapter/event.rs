//! Events on their way from one member to the sockets of all others.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    AdapterError,
    msgpack::{self, write_list, write_map, write_text, write_truth, write_whole},
};
use crate::{
    limits::JSON_DEPTH_MAX,
    model::{Arguments, Payload, Publication, namespace_of},
    wire::{
        json::{RESERVED_EVENTS, Raw, push_string},
        socketio::{encode_placeholder, is_event, placeholders},
    },
};

/// An event to some of the sockets of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The namespace.
    pub namespace: Box<str>,
    /// Sockets in any of these rooms; none is everybody. A socket's id is a room.
    pub rooms: Vec<Box<str>>,
    /// But for sockets in any of these.
    pub except: Vec<Box<str>>,
    /// Not at all rather than late.
    pub is_volatile: bool,
    /// The event.
    pub arguments: Arguments,
}

/// Sockets of a namespace: those in any of the rooms, or all where none is named, but for those in others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Any of these.
    pub rooms: Vec<Box<str>>,
    /// None of these.
    pub except: Vec<Box<str>>,
}

/// What members say beside an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    rooms: Value,
    except: Value,
    flags: Value,
}

/// The packet of an event.
#[derive(Debug, Deserialize)]
pub(super) struct Packet<'a> {
    #[serde(rename = "type")]
    kind: u32,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, default)]
    nsp: Option<Cow<'a, str>>,
}

/// `EVENT`, and `BINARY_EVENT`, as emitters of old call one that holds bytes.
const KINDS: [u32; 2] = [2, 5];
/// The event that data which is none, and was given no name, arrives as.
const MESSAGE: &str = "message";

/// Reads an event of a namespace; who sent it comes first. `bytes_max` bounds it, also as JSON.
pub fn decode_event(
    bytes: &[u8],
    namespace: &str,
    bytes_max: usize,
) -> Result<(Box<str>, Emitted), AdapterError> {
    if bytes.len() > bytes_max {
        return Err(AdapterError::TooLarge);
    }
    let Arguments { json, attachments } = msgpack::read(bytes, bytes_max)?;
    let (uid, packet, options): (Cow<'_, str>, Packet<'_>, Options) =
        serde_json::from_str(&json).map_err(|_| AdapterError::Shape)?;
    let arguments = packet.arguments(namespace, attachments)?;
    let Selected { rooms, except } = options.selection()?;
    let (namespace, is_volatile) = (namespace.into(), options.is_volatile());
    Ok((uid.into(), Emitted { namespace, rooms, except, is_volatile, arguments }))
}

impl Packet<'_> {
    /// The event it is, if it is one and of this namespace.
    pub(super) fn arguments(
        &self,
        namespace: &str,
        attachments: Box<[Box<[u8]>]>,
    ) -> Result<Arguments, AdapterError> {
        if self.nsp.as_deref().unwrap_or("/") != namespace {
            return Err(AdapterError::Namespace);
        }
        self.event(attachments)
    }

    /// The event it is, if it is one, in whatever namespace: what stands around it says that, too.
    pub(super) fn event(&self, attachments: Box<[Box<[u8]>]>) -> Result<Arguments, AdapterError> {
        if !KINDS.contains(&self.kind) {
            return Err(AdapterError::Shape);
        }
        let json = Raw::check(self.data.get(), JSON_DEPTH_MAX).map_err(|_| AdapterError::TooDeep)?;
        let name = json.elements().and_then(|mut items| items.next()).ok_or(AdapterError::Shape)?;
        match name.text() {
            None if name.is_number() => {}
            Some(Ok(name)) if RESERVED_EVENTS.contains(&&*name) => return Err(AdapterError::Reserved),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(AdapterError::Shape),
        }
        placeholders(json, attachments.len() as u32).map_err(|_| AdapterError::Shape)?;
        Ok(Arguments { json: json.as_str().into(), attachments })
    }
}

impl Options {
    /// The rooms, and those left out.
    pub(super) fn selection(&self) -> Result<Selected, AdapterError> {
        let names = |value: &Value| match value {
            Value::Array(names) => names_of(names),
            Value::Null => Ok(Vec::new()),
            // Emitters of some languages say so that there are none.
            Value::String(none) if none.is_empty() => Ok(Vec::new()),
            _ => Err(AdapterError::Shape),
        };
        Ok(Selected { rooms: names(&self.rooms)?, except: names(&self.except)? })
    }

    /// Not at all rather than late.
    pub(super) fn is_volatile(&self) -> bool {
        self.flags.get("volatile") == Some(&Value::Bool(true))
    }

    /// How long answers are waited for, in milliseconds.
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        let timeout = self.flags.get("timeout")?.as_f64()?;
        (timeout >= 0.0).then_some(timeout as u64)
    }
}

/// Names of rooms, which may be numbers in JavaScript.
pub(super) fn names_of(values: &[Value]) -> Result<Vec<Box<str>>, AdapterError> {
    let name = |value: &Value| match value {
        Value::String(name) => Ok(name.as_str().into()),
        Value::Number(number) => Ok(number.to_string().into()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(AdapterError::Shape),
    };
    values.iter().map(name).collect()
}

/// Writes an event that this member sends. What is written is whole or nothing.
pub fn encode_event(out: &mut Vec<u8>, uid: &str, emitted: &Emitted) -> Result<(), AdapterError> {
    let start = out.len();
    write_event(out, uid, emitted).inspect_err(|_| out.truncate(start))
}

fn write_event(out: &mut Vec<u8>, uid: &str, emitted: &Emitted) -> Result<(), AdapterError> {
    write_list(out, 3);
    write_text(out, uid);
    write_packet(out, emitted)?;
    write_options(out, emitted, None);
    Ok(())
}

/// Writes the packet of an event; what is behind it in `out` when it cannot be said is to be taken back.
pub(super) fn write_packet(out: &mut Vec<u8>, emitted: &Emitted) -> Result<(), AdapterError> {
    let data = Raw::check(&emitted.arguments.json, JSON_DEPTH_MAX).map_err(|_| AdapterError::Json)?;
    if !data.is_array() {
        return Err(AdapterError::Shape);
    }
    write_map(out, 3);
    write_text(out, "type");
    write_whole(out, KINDS[0]);
    write_text(out, "data");
    msgpack::write(out, data, &emitted.arguments.attachments)?;
    write_text(out, "nsp");
    write_text(out, &emitted.namespace);
    Ok(())
}

/// Writes what is said beside an event; with a time, in milliseconds, in which clients are to acknowledge it.
pub(super) fn write_options(out: &mut Vec<u8>, emitted: &Emitted, timeout_ms: Option<u32>) {
    write_map(out, 3);
    for (key, names) in [("rooms", &emitted.rooms), ("except", &emitted.except)] {
        write_text(out, key);
        write_list(out, names.len() as u32);
        names.iter().for_each(|name| write_text(out, name));
    }
    write_text(out, "flags");
    write_map(out, u32::from(emitted.is_volatile) + u32::from(timeout_ms.is_some()));
    if emitted.is_volatile {
        write_text(out, "volatile");
        write_truth(out, true);
    }
    if let Some(timeout_ms) = timeout_ms {
        write_text(out, "timeout");
        write_whole(out, timeout_ms);
    }
}

/// The event that a publication is to the sockets in its channel's room; `None` for a change of state, which is not one of
/// other members. Whoever sent it is nowhere else.
pub fn event_of(publication: &Publication) -> Option<Emitted> {
    let Publication { channel, payload, .. } = publication;
    if payload.change.is_some() {
        return None;
    }
    let (namespace, room) = namespace_of(channel);
    let emission = payload.emission.as_deref();
    let except = emission.map(|emission| &*emission.except_rooms).unwrap_or_default();
    let except = except.iter().filter_map(|room| namespace_of(room).1).map(Box::from).collect();
    let said = emission.and_then(|emission| emission.arguments.clone());
    Some(Emitted {
        namespace: namespace.into(),
        rooms: room.map(Box::from).into_iter().collect(),
        except,
        is_volatile: payload.is_volatile(),
        arguments: said.unwrap_or_else(|| arguments_of(payload)),
    })
}

/// Data as an event: one by itself, or one argument of that of its name.
fn arguments_of(payload: &Payload) -> Arguments {
    let named = payload.event.as_deref().filter(|name| !RESERVED_EVENTS.contains(name));
    let mut json = b"[".to_vec();
    push_string(&mut json, named.unwrap_or(MESSAGE));
    json.push(b',');
    let mut attachments = Vec::new();
    match payload.text() {
        Some(data) => match Raw::check(data, JSON_DEPTH_MAX) {
            Ok(event) if payload.event.is_none() && is_event(event) => {
                return Arguments { json: event.as_str().into(), attachments: Box::default() };
            }
            Ok(value) => json.extend_from_slice(value.as_str().as_bytes()),
            Err(_) => push_string(&mut json, data),
        },
        None => {
            encode_placeholder(&mut json, 0);
            attachments.push(payload.data.clone());
        }
    }
    json.push(b']');
    let json = String::from_utf8(json).expect("JSON is written as UTF-8");
    Arguments { json: json.into(), attachments: attachments.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelName, Emission, Position};

    /// As npm's adapter 8.3.0 has written `io.to("lobby").emit("move", {x: 1.5, when: new Date(1), u: undefined, n: null})`.
    const OF_NODE: &[u8] = b"\x93\xa6_zhQRP\x83\xa4type\x02\xa4data\x92\xa4move\x83\xa1x\xcb\x3f\xf8\0\0\0\0\0\0\xa4when\xd7\xff\
        \0\x3d\x09\0\0\0\0\0\xa1n\xc0\xa3nsp\xa1/\x83\xa5rooms\x91\xa5lobby\xa6except\x90\xa5flags\x80";

    fn emitted(json: &str) -> Emitted {
        Emitted {
            namespace: "/".into(),
            rooms: Vec::new(),
            except: Vec::new(),
            is_volatile: false,
            arguments: Arguments { json: json.into(), attachments: Box::default() },
        }
    }

    /// Writes what the JSON says as msgpack.
    fn said(json: &str, attachments: &[Box<[u8]>]) -> Vec<u8> {
        let mut out = Vec::new();
        msgpack::write(&mut out, Raw::check(json, JSON_DEPTH_MAX).expect("JSON"), attachments)
            .expect("characters");
        out
    }

    #[test]
    fn an_event_of_a_member_in_javascript_is_read() {
        let (uid, event) = decode_event(OF_NODE, "/", 1000).expect("an event");
        let json = r#"["move",{"x":1.5,"when":"1970-01-01T00:00:00.001Z","n":null}]"#;
        assert_eq!((&*uid, event), ("_zhQRP", Emitted { rooms: vec!["lobby".into()], ..emitted(json) }));
        assert_eq!(decode_event(OF_NODE, "/other", 1000), Err(AdapterError::Namespace));
        assert_eq!(decode_event(OF_NODE, "/", OF_NODE.len() - 1), Err(AdapterError::TooLarge));
        for end in 0..OF_NODE.len() {
            assert_eq!(decode_event(&OF_NODE[..end], "/", 1000), Err(AdapterError::Msgpack), "{end}");
        }
    }

    #[test]
    fn an_event_is_written_as_members_in_javascript_write_it() {
        let mut out = Vec::new();
        let event = Emitted { rooms: vec!["lobby".into()], ..emitted(r#"["move",1]"#) };
        encode_event(&mut out, "abcdef", &event).expect("an event");
        let written: &[u8] =
            b"\x93\xa6abcdef\x83\xa4type\x02\xa4data\x92\xa4move\x01\xa3nsp\xa1/\x83\xa5rooms\x91\xa5lobby\
            \xa6except\x90\xa5flags\x80";
        assert_eq!(out, written);
        let json = r#"["a",{"_placeholder":true,"num":0},{"x":[1.5,"ä"]}]"#;
        let event = Emitted {
            namespace: "/game".into(),
            rooms: vec!["a".into(), "b".into()],
            except: vec!["c".into()],
            is_volatile: true,
            arguments: Arguments { json: json.into(), attachments: [[1, 2, 3].into()].into() },
        };
        out.clear();
        encode_event(&mut out, "u", &event).expect("an event");
        assert_eq!(decode_event(&out, "/game", 1000), Ok(("u".into(), event)));
        for json in ["{}", "1", "", "[", &"[".repeat(1000)] {
            out.clear();
            assert!(encode_event(&mut out, "u", &emitted(json)).is_err() && out.is_empty(), "{json}");
        }
    }

    #[test]
    fn emitters_say_less_and_are_understood() {
        for json in [
            r#"["emitter",{"type":2,"data":["a",1]},{}]"#,
            r#"["emitter",{"type":2,"data":["a",1],"nsp":"/"},{"rooms":"","flags":""}]"#,
            r#"["emitter",{"type":5,"data":["a",1],"nsp":"/"},{"flags":null}]"#,
            r#"["emitter",{"type":2,"data":["a",1],"nsp":null,"more":1},{"rooms":[],"except":null,"flags":{"json":true}}]"#,
        ] {
            assert_eq!(
                decode_event(&said(json, &[]), "/", 1000),
                Ok(("emitter".into(), emitted(r#"["a",1]"#)))
            );
        }
        let rooms = r#"["emitter",{"type":2,"data":["a",1]},{"rooms":["b",7],"except":[8]}]"#;
        let (_, event) = decode_event(&said(rooms, &[]), "/", 1000).expect("an event");
        assert_eq!((event.rooms, event.except), (vec!["b".into(), "7".into()], vec!["8".into()]));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for (json, error) in [
            ("[]", AdapterError::Shape),
            ("{}", AdapterError::Shape),
            (r#"["u",{"type":2,"data":["a"]}]"#, AdapterError::Shape),
            (r#"[7,{"type":2,"data":["a"]},{}]"#, AdapterError::Shape),
            (r#"["u",{"data":["a"]},{}]"#, AdapterError::Shape),
            (r#"["u",{"type":3,"data":["a"]},{}]"#, AdapterError::Shape),
            (r#"["u",{"type":2,"data":{}},{}]"#, AdapterError::Shape),
            (r#"["u",{"type":2,"data":[]},{}]"#, AdapterError::Shape),
            (r#"["u",{"type":2,"data":[null]},{}]"#, AdapterError::Shape),
            (r#"["u",{"type":2,"data":["disconnect"]},{}]"#, AdapterError::Reserved),
            (r#"["u",{"type":2,"data":["a"],"nsp":"/x"},{}]"#, AdapterError::Namespace),
            (r#"["u",{"type":2,"data":["a"]},{"rooms":[null]}]"#, AdapterError::Shape),
            (r#"["u",{"type":2,"data":["a"]},{"rooms":"lobby"}]"#, AdapterError::Shape),
        ] {
            assert_eq!(decode_event(&said(json, &[]), "/", 1000), Err(error), "{json}");
        }
        let stray =
            r#"["u",{"type":2,"data":["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":9}]},{}]"#;
        assert_eq!(decode_event(&said(stray, &[[1].into()]), "/", 1000), Err(AdapterError::Shape));
        assert!(
            decode_event(&said(r#"["u",{"type":2,"data":[7,"x"]},{}]"#, &[]), "/", 1000).is_ok(),
            "a number is a name"
        );
    }

    #[test]
    fn a_publication_is_an_event_to_a_room_as_it_is_to_sockets_here() {
        let event = |channel: &str, payload: Payload| {
            let channel = ChannelName::new(channel, ChannelName::BYTES_MAX).expect("a channel");
            let position = Position { epoch: 1, offset: 1 };
            let said = event_of(&Publication { channel, position, unix_ms: 0, payload }).expect("an event");
            (said.namespace.to_string(), said.rooms.join(","), said.arguments.json.to_string())
        };
        let check = |channel: &str, data: &str, told: [&str; 3]| {
            let (namespace, rooms, json) = event(channel, Payload::new(data.as_bytes(), None));
            assert_eq!([&*namespace, &*rooms, &*json], told);
        };
        check("lobby", r#"["move",1]"#, ["/", "lobby", r#"["move",1]"#]);
        check("/", r#"{"a":1}"#, ["/", "", r#"["message",{"a":1}]"#]);
        check("/game#lobby", "hello", ["/game", "lobby", r#"["message","hello"]"#]);
        check("lobby", r#"["connect"]"#, ["/", "lobby", r#"["message",["connect"]]"#]);
        let mut payload = Payload::new(*b"1", None);
        payload.event = Some("counted".into());
        assert_eq!(event("lobby", payload).2, r#"["counted",1]"#);
        let bytes = Payload::new([0xff, 0], None);
        assert_eq!(event("lobby", bytes).2, r#"["message",{"_placeholder":true,"num":0}]"#);
        let mut payload = Payload::new(*b"[\"a\"]", None);
        let except = ChannelName::new("b", ChannelName::BYTES_MAX).expect("a channel");
        payload.emission = Some(Box::new(Emission {
            except_rooms: [except].into(),
            is_volatile: true,
            ..Emission::default()
        }));
        let channel = ChannelName::new("a", ChannelName::BYTES_MAX).expect("a channel");
        let position = Position { epoch: 1, offset: 1 };
        let said = event_of(&Publication { channel, position, unix_ms: 0, payload }).expect("an event");
        assert_eq!((said.except, said.is_volatile), (vec!["b".into()], true));
    }
}
