//! The same, as members say it that npm's `createShardedAdapter` joins over sharded pub/sub.
//!
//! | channel | who hears it | what |
//! |---|---|---|
//! | `socket.io#/nsp#` | every member | events, requests |
//! | `socket.io#/nsp#room#` | those that have somebody in the room | events to that room alone, unless it may be a socket's id: 20 characters |
//! | `socket.io#/nsp#uid#` | one member | answers to what it has asked |
//!
//! A message is `{type, data, uid, nsp}`, as JSON, or as msgpack where it holds bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

#[cfg(test)]
use super::Fetched;
use super::{
    AdapterError, Answer, Asked, Emitted, Request, Selected,
    answer::{acknowledged, fetched, push_sockets},
    event::{Options, Packet, names_of},
    msgpack,
    request::{ID_BYTES_MAX, event_to_servers, push_names, push_options, read},
};
use crate::{
    limits::JSON_DEPTH_MAX,
    model::Arguments,
    wire::json::{Raw, push_display, push_string},
};

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// An event for its sockets.
    Emitted(Emitted),
    /// A request; its number, if it has one, is not unique among members.
    Asked(Asked),
    /// An answer to the request of this number.
    Answered(Box<str>, Answer),
    /// What is said of members themselves, which are counted otherwise.
    Nothing,
}

const ALIVE: [u32; 3] = [1, 2, 13];
const BROADCAST: u32 = 3;
const JOIN: u32 = 4;
const LEAVE: u32 = 5;
const DISCONNECT: u32 = 6;
const FETCH: u32 = 7;
const FETCHED: u32 = 8;
const SERVER_EVENT: u32 = 9;
const SAID: u32 = 10;
const ASKED: u32 = 11;
const ACKNOWLEDGED: u32 = 12;

/// What stands around a message's own parts.
const DEPTH_MORE: usize = 4;

#[derive(Debug, Deserialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: u32,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    nsp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Data<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data<'a> {
    #[serde(rename = "requestId")]
    id: Option<Box<str>>,
    #[serde(borrow)]
    packet: Option<&'a RawValue>,
    opts: Option<Options>,
    rooms: Vec<Value>,
    close: Option<bool>,
    #[serde(borrow)]
    sockets: Vec<&'a RawValue>,
    #[serde(rename = "clientCount")]
    count: Option<u32>,
}

/// Whether an event to these rooms alone is said where only those hear it that have somebody there.
pub fn is_said_to_room(rooms: &[Box<str>]) -> bool {
    matches!(rooms, [room] if room.encode_utf16().count() != 20)
}

/// Reads a message about a namespace, and who says it. `bytes_max` bounds it, also as JSON.
pub fn decode_message(
    bytes: &[u8],
    namespace: &str,
    bytes_max: usize,
) -> Result<(Box<str>, Said), AdapterError> {
    let Arguments { json, attachments } = read(bytes, bytes_max)?;
    let Written { kind, uid, nsp, mut data } =
        serde_json::from_str(&json).map_err(|_| AdapterError::Shape)?;
    data.id.take_if(|id| id.len() > ID_BYTES_MAX);
    if nsp.as_deref() != Some(namespace) {
        return Err(AdapterError::Namespace);
    }
    let uid: Box<str> = uid.as_deref().unwrap_or_default().into();
    let id = data.id.clone();
    let answered = |answer| Ok(Said::Answered(id.clone().ok_or(AdapterError::Shape)?, answer));
    let asked = |request| Ok(Said::Asked(Asked { uid: Some(uid.clone()), id: id.clone(), request }));
    let said = match kind {
        kind if ALIVE.contains(&kind) => Ok(Said::Nothing),
        BROADCAST => {
            let emitted = data.emitted(namespace, attachments)?;
            match data.id {
                None => Ok(Said::Emitted(emitted)),
                Some(_) => {
                    let timeout_ms = data.opts.as_ref().and_then(Options::timeout_ms);
                    asked(Request::Acknowledge { emitted: Box::new(emitted), timeout_ms })
                }
            }
        }
        JOIN => asked(Request::Join { selected: data.selected()?, rooms: names_of(&data.rooms)? }),
        LEAVE => asked(Request::Leave { selected: data.selected()?, rooms: names_of(&data.rooms)? }),
        DISCONNECT => {
            asked(Request::Disconnect { selected: data.selected()?, close: data.close.unwrap_or_default() })
        }
        FETCH => asked(Request::Fetch { selected: data.selected()? }),
        SERVER_EVENT => {
            let packet = data.packet.ok_or(AdapterError::Shape)?.get();
            asked(Request::ServerEvent { arguments: event_to_servers(packet, attachments)? })
        }
        FETCHED => answered(Answer::Fetched(
            data.sockets.iter().map(|socket| fetched(socket)).collect::<Result<_, _>>()?,
        )),
        SAID => answered(Answer::Said(data.packet.map_or("null", RawValue::get).into())),
        ASKED => answered(Answer::Asked(data.count.ok_or(AdapterError::Shape)?)),
        ACKNOWLEDGED => answered(Answer::Acknowledged(acknowledged(data.packet, attachments)?)),
        _ => Err(AdapterError::Shape),
    };
    Ok((uid.clone(), said?))
}

impl Data<'_> {
    fn emitted(&self, namespace: &str, attachments: Box<[Box<[u8]>]>) -> Result<Emitted, AdapterError> {
        let packet = self.packet.ok_or(AdapterError::Shape)?.get();
        let packet: Packet<'_> = serde_json::from_str(packet).map_err(|_| AdapterError::Shape)?;
        let arguments = packet.event(attachments)?;
        let Selected { rooms, except } = self.selected()?;
        let is_volatile = self.opts.as_ref().is_some_and(Options::is_volatile);
        Ok(Emitted { namespace: namespace.into(), rooms, except, is_volatile, arguments })
    }

    fn selected(&self) -> Result<Selected, AdapterError> {
        self.opts.as_ref().ok_or(AdapterError::Shape)?.selection()
    }
}

/// Writes an event that this member sends. What is written is whole or nothing.
pub fn encode_emitted(out: &mut Vec<u8>, uid: &str, emitted: &Emitted) -> Result<(), AdapterError> {
    let json = message(BROADCAST, [&emitted.namespace, uid], None, &broadcast(emitted, None));
    write(out, json, &emitted.arguments.attachments)
}

/// Writes a request of this member about a namespace, to be answered if it has a number. What is written is whole or nothing; what
/// members of this kind do not ask is not.
pub fn encode_asked(
    out: &mut Vec<u8>,
    [namespace, uid]: [&str; 2],
    id: Option<&str>,
    request: &Request,
) -> Result<(), AdapterError> {
    let (mut data, mut attachments) = (Vec::new(), &Box::default());
    let kind = match request {
        Request::Acknowledge { emitted, timeout_ms } => {
            attachments = &emitted.arguments.attachments;
            data = broadcast(emitted, *timeout_ms);
            BROADCAST
        }
        Request::Join { selected, rooms } | Request::Leave { selected, rooms } => {
            push_options(&mut data, &selected.rooms, &selected.except, Some(""));
            push_names(&mut data, "rooms", rooms);
            if matches!(request, Request::Join { .. }) { JOIN } else { LEAVE }
        }
        Request::Disconnect { selected, close } => {
            push_options(&mut data, &selected.rooms, &selected.except, Some(""));
            push_display(&mut data, format_args!(",\"close\":{close}"));
            DISCONNECT
        }
        Request::Fetch { selected } => {
            push_options(&mut data, &selected.rooms, &selected.except, Some(""));
            FETCH
        }
        // Nobody tells ids alone.
        Request::Sockets { rooms } => {
            push_options(&mut data, rooms, &[], Some(""));
            FETCH
        }
        Request::ServerEvent { arguments } => {
            attachments = &arguments.attachments;
            push_display(&mut data, format_args!(",\"packet\":{}", arguments.json));
            SERVER_EVENT
        }
        Request::AllRooms | Request::Survey(_) => return Err(AdapterError::Shape),
    };
    write(out, message(kind, [namespace, uid], id, &data), attachments)
}

/// Writes an answer of this member. What is written is whole or nothing; what nobody of this kind asks is not.
pub fn encode_answered(
    out: &mut Vec<u8>,
    [namespace, uid]: [&str; 2],
    id: &str,
    answer: &Answer,
) -> Result<(), AdapterError> {
    let (mut data, mut attachments) = (Vec::new(), &Box::default());
    let kind = match answer {
        Answer::Fetched(sockets) => {
            push_sockets(&mut data, sockets);
            FETCHED
        }
        Answer::Said(said) => {
            push_display(&mut data, format_args!(",\"packet\":{said}"));
            SAID
        }
        Answer::Asked(count) => {
            push_display(&mut data, format_args!(",\"clientCount\":{count}"));
            ASKED
        }
        Answer::Acknowledged(arguments) => {
            attachments = &arguments.attachments;
            let said = Raw::check(&arguments.json, JSON_DEPTH_MAX).ok().and_then(Raw::elements);
            let first = said.and_then(|mut said| said.next()).map_or("null", Raw::as_str);
            push_display(&mut data, format_args!(",\"packet\":{first}"));
            ACKNOWLEDGED
        }
        Answer::Done | Answer::Sockets(_) | Answer::Rooms(_) | Answer::Surveyed(_) => {
            return Err(AdapterError::Shape);
        }
    };
    let written = write(out, message(kind, [namespace, uid], Some(id), &data), attachments);
    match answer {
        // Nothing, and what cannot be said, is an answer as well.
        Answer::Acknowledged(_) if written.is_err() => {
            write(out, message(kind, [namespace, uid], Some(id), b",\"packet\":null"), &[])
        }
        _ => written,
    }
}

/// The data of an event to clients, each part behind a comma.
fn broadcast(emitted: &Emitted, timeout_ms: Option<u64>) -> Vec<u8> {
    let mut data = Vec::new();
    push_display(
        &mut data,
        format_args!(",\"packet\":{{\"type\":2,\"data\":{},\"nsp\":", emitted.arguments.json),
    );
    push_string(&mut data, &emitted.namespace);
    data.push(b'}');
    let flags = match (emitted.is_volatile, timeout_ms) {
        (false, None) => String::new(),
        (true, None) => "\"volatile\":true".to_owned(),
        (false, Some(timeout_ms)) => format!("\"timeout\":{timeout_ms}"),
        (true, Some(timeout_ms)) => format!("\"volatile\":true,\"timeout\":{timeout_ms}"),
    };
    push_options(&mut data, &emitted.rooms, &emitted.except, Some(&flags));
    data
}

/// A message; of its data each part stands behind a comma. Who wants no answer has no number, for JavaScript looks whether there is
/// one.
fn message(kind: u32, [namespace, uid]: [&str; 2], id: Option<&str>, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 128);
    push_display(&mut out, format_args!("{{\"type\":{kind},\"data\":{{"));
    if let Some(id) = id {
        out.extend_from_slice(b"\"requestId\":");
        push_string(&mut out, id);
        out.extend_from_slice(data);
    } else {
        out.extend_from_slice(&data[1..]);
    }
    out.extend_from_slice(b"},\"uid\":");
    push_string(&mut out, uid);
    out.extend_from_slice(b",\"nsp\":");
    push_string(&mut out, namespace);
    out.push(b'}');
    out
}

/// Writes JSON as it is, or as msgpack where bytes stand in it.
fn write(out: &mut Vec<u8>, json: Vec<u8>, attachments: &[Box<[u8]>]) -> Result<(), AdapterError> {
    let text = std::str::from_utf8(&json).map_err(|_| AdapterError::Json)?;
    let value = Raw::check(text, JSON_DEPTH_MAX + DEPTH_MORE).map_err(|_| AdapterError::Json)?;
    if attachments.is_empty() {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    let start = out.len();
    msgpack::write(out, value, attachments).inspect_err(|_| out.truncate(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::as_text;

    fn names(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    fn read(text: &str) -> Result<(Box<str>, Said), AdapterError> {
        decode_message(text.as_bytes(), "/", 2000)
    }

    fn emitted(json: &str, attachments: &[Box<[u8]>]) -> Emitted {
        let arguments = Arguments { json: json.into(), attachments: attachments.into() };
        let (rooms, except) = (names(&["a"]), names(&["b"]));
        Emitted { namespace: "/".into(), rooms, except, is_volatile: true, arguments }
    }

    #[test]
    fn an_event_is_written_as_members_in_javascript_write_it_and_read_back() {
        let mut out = Vec::new();
        encode_emitted(&mut out, "u", &emitted(r#"["x",1]"#, &[])).expect("an event");
        assert_eq!(
            as_text(&out),
            concat!(
                r#"{"type":3,"data":{"packet":{"type":2,"data":["x",1],"nsp":"/"},"#,
                r#""opts":{"rooms":["a"],"except":["b"],"flags":{"volatile":true}}},"uid":"u","nsp":"/"}"#
            )
        );
        assert_eq!(read(as_text(&out)), Ok(("u".into(), Said::Emitted(emitted(r#"["x",1]"#, &[])))));
        assert_eq!(decode_message(&out, "/other", 2000), Err(AdapterError::Namespace));
        // Members in JavaScript do not say it twice.
        let said_once = r#"{"type":3,"uid":"u","nsp":"/other","data":{"packet":{"type":2,"data":["x",1]},
            "opts":{"rooms":["a"],"except":["b"],"flags":{"volatile":true}}}}"#;
        let other = Emitted { namespace: "/other".into(), ..emitted(r#"["x",1]"#, &[]) };
        assert_eq!(
            decode_message(said_once.as_bytes(), "/other", 2000),
            Ok(("u".into(), Said::Emitted(other)))
        );
        assert_eq!(decode_message(&out, "/", out.len() - 1), Err(AdapterError::TooLarge));
        let binary = emitted(r#"["x",{"_placeholder":true,"num":0}]"#, &[[1, 2].into()]);
        out.clear();
        encode_emitted(&mut out, "u", &binary).expect("an event");
        assert_ne!(out[0], b'{', "it is msgpack");
        assert_eq!(decode_message(&out, "/", 2000), Ok(("u".into(), Said::Emitted(binary))));
    }

    #[test]
    fn requests_and_answers_are_read_back_as_they_were_written() {
        let selected = || Selected { rooms: names(&["a"]), except: Vec::new() };
        let arguments = |json: &str| Arguments { json: json.into(), attachments: Box::default() };
        let acknowledge =
            Request::Acknowledge { emitted: Box::new(emitted(r#"["x"]"#, &[])), timeout_ms: Some(500) };
        for request in [
            Request::Join { selected: selected(), rooms: names(&["c"]) },
            Request::Leave { selected: selected(), rooms: names(&["c"]) },
            Request::Disconnect { selected: selected(), close: true },
            Request::Fetch { selected: selected() },
            Request::ServerEvent { arguments: arguments(r#"["x",[1]]"#) },
            acknowledge,
        ] {
            let mut out = Vec::new();
            encode_asked(&mut out, ["/", "u"], Some("r"), &request).expect("a request");
            let asked = Asked { uid: Some("u".into()), id: Some("r".into()), request };
            assert_eq!(read(as_text(&out)), Ok(("u".into(), Said::Asked(asked))), "{}", as_text(&out));
        }
        let mut out = Vec::new();
        let request = Request::Sockets { rooms: names(&["a"]) };
        encode_asked(&mut out, ["/", "u"], Some("r"), &request).expect("a request");
        let request = Request::Fetch { selected: selected() };
        let asked = Asked { uid: Some("u".into()), id: Some("r".into()), request };
        assert_eq!(
            read(as_text(&out)),
            Ok(("u".into(), Said::Asked(asked))),
            "ids are asked for with the rest"
        );
        let socket = Fetched { id: "s".into(), rooms: names(&["s", "a"]), data: "{}".into() };
        for answer in [
            Answer::Fetched(vec![socket]),
            Answer::Said("[1]".into()),
            Answer::Asked(3),
            Answer::Acknowledged(arguments("[7]")),
        ] {
            let mut out = Vec::new();
            encode_answered(&mut out, ["/", "u"], "r", &answer).expect("an answer");
            assert_eq!(read(as_text(&out)), Ok(("u".into(), Said::Answered("r".into(), answer))));
        }
        let mut out = Vec::new();
        assert!(encode_asked(&mut out, ["/", "u"], None, &Request::AllRooms).is_err());
        assert!(encode_answered(&mut out, ["/", "u"], "r", &Answer::Done).is_err() && out.is_empty());
    }

    #[test]
    fn what_a_client_acknowledges_with_that_cannot_be_said_is_answered_with_nothing() {
        for json in [r#"["\ud83d"]"#, "[", "[]"] {
            let (mut out, arguments) =
                (Vec::new(), Arguments { json: json.into(), attachments: [vec![1].into()].into() });
            encode_answered(&mut out, ["/", "u"], "r", &Answer::Acknowledged(arguments)).expect("an answer");
            let null = Arguments { json: "[null]".into(), attachments: Box::default() };
            let (_, said) = decode_message(&out, "/", 1000).expect("a message");
            let Said::Answered(id, Answer::Acknowledged(said)) = said else { panic!("{said:?}") };
            assert_eq!((&*id, said.json), ("r", null.json), "{json}");
        }
    }

    #[test]
    fn a_number_that_is_longer_than_one_may_be_is_none() {
        let asked = |length: usize| {
            let id = "r".repeat(length);
            read(&format!(r#"{{"type":7,"uid":"u","nsp":"/","data":{{"requestId":"{id}","opts":{{}}}}}}"#))
        };
        let id_of = |length| match asked(length) {
            Ok((_, Said::Asked(asked))) => asked.id.map(|id| id.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!((id_of(ID_BYTES_MAX), id_of(ID_BYTES_MAX + 1)), (Some(ID_BYTES_MAX), None));
    }

    #[test]
    fn what_is_no_message_is_refused_and_what_is_said_of_members_is_nothing() {
        for kind in ALIVE {
            let text = format!(r#"{{"type":{kind},"uid":"u","nsp":"/"}}"#);
            assert_eq!(read(&text), Ok(("u".into(), Said::Nothing)));
        }
        for (text, error) in [
            ("", AdapterError::Msgpack),
            ("{", AdapterError::Json),
            (r#"{"type":3}"#, AdapterError::Namespace),
            (r#"{"type":3,"nsp":"/"}"#, AdapterError::Shape),
            (r#"{"type":"3","nsp":"/","data":{}}"#, AdapterError::Shape),
            (r#"{"type":3,"nsp":"/","data":{"packet":{"type":2,"data":{}},"opts":{}}}"#, AdapterError::Shape),
            (r#"{"type":4,"nsp":"/","data":{"rooms":["a"]}}"#, AdapterError::Shape),
            (r#"{"type":8,"nsp":"/","data":{"sockets":[]}}"#, AdapterError::Shape),
            (r#"{"type":11,"nsp":"/","data":{"requestId":"r"}}"#, AdapterError::Shape),
            (r#"{"type":99,"nsp":"/","data":{}}"#, AdapterError::Shape),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }

    #[test]
    fn only_what_cannot_be_the_id_of_a_socket_is_said_to_a_room_alone() {
        for (rooms, is_said) in [(&["a"][..], true), (&[], false), (&["a", "b"], false)] {
            assert_eq!(is_said_to_room(&names(rooms)), is_said);
        }
        assert!(!is_said_to_room(&names(&["12345678901234567890"])));
        assert!(!is_said_to_room(&names(&["ä234567890123456789ü"])));
    }
}
