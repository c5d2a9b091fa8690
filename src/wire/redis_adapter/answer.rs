//! What a member answers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    AdapterError,
    event::names_of,
    msgpack::{self, write_map, write_nothing, write_text, write_whole},
    request::{SERVER_EVENT, push_names},
};
use crate::{
    limits::JSON_DEPTH_MAX,
    model::{Arguments, Transport},
    wire::{
        json::{Raw, push_display, push_string},
        socketio::placeholders,
    },
};

/// What a member says of a socket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its id.
    pub id: Box<str>,
    /// The rooms it is in.
    pub rooms: Vec<Box<str>>,
    /// The application's data, as JSON.
    pub data: Box<str>,
}

/// What a node says of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    /// Its name.
    pub channel: Box<str>,
    /// Subscribers there, by the number of their transport.
    pub subscribers: [u32; Transport::ALL.len()],
    /// Where it is, epoch and offset, if the node follows it.
    pub position: Option<(u64, u64)>,
    /// Publications in the node's copy.
    pub history_publications: u32,
    /// Bytes of these.
    pub history_bytes: u64,
}

/// An answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The ids of sockets.
    Sockets(Vec<Box<str>>),
    /// The names of rooms.
    Rooms(Vec<Box<str>>),
    /// Sockets.
    Fetched(Vec<Fetched>),
    /// What the application says to an event of another's, as JSON.
    Said(Box<str>),
    /// How many clients are asked for an acknowledgement.
    Asked(u32),
    /// What one of them has acknowledged with: a list of arguments, of which the first counts.
    Acknowledged(Arguments),
    /// What a node knows of channels.
    Surveyed(Vec<Surveyed>),
}

const ASKED: u32 = 8;
const ACKNOWLEDGED: u32 = 9;
const SURVEYED: u32 = 65;

/// An answer as it stands.
#[derive(Debug, Deserialize)]
struct Written<'a> {
    #[serde(rename = "requestId")]
    id: Box<str>,
    #[serde(default, rename = "type")]
    kind: Option<u32>,
    #[serde(borrow, default)]
    sockets: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    rooms: Option<Vec<Value>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default, rename = "clientCount")]
    count: Option<u32>,
    #[serde(borrow, default)]
    packet: Option<&'a RawValue>,
    #[serde(default)]
    channels: Option<Vec<Surveyed>>,
}

#[derive(Debug, Deserialize)]
struct WrittenSocket<'a> {
    id: Value,
    #[serde(default)]
    rooms: Vec<Value>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Reads an answer to what this member has asked, and the id of the request. `bytes_max` bounds it, also as JSON.
pub fn decode_answer(bytes: &[u8], bytes_max: usize) -> Result<(Box<str>, Answer), AdapterError> {
    if bytes.len() > bytes_max {
        return Err(AdapterError::TooLarge);
    }
    let Arguments { json, attachments } = match bytes.first() {
        Some(b'{') => {
            let json = std::str::from_utf8(bytes).map_err(|_| AdapterError::Json)?;
            Arguments { json: json.into(), attachments: Box::default() }
        }
        _ => msgpack::read(bytes, bytes_max)?,
    };
    let Written { id, kind, sockets, rooms, data, count, packet, channels } =
        serde_json::from_str(&json).map_err(|_| AdapterError::Shape)?;
    let answer = match (kind, sockets, rooms) {
        (Some(ASKED), _, _) => Answer::Asked(count.ok_or(AdapterError::Shape)?),
        (Some(ACKNOWLEDGED), _, _) => Answer::Acknowledged(acknowledged(packet, attachments)?),
        (Some(SURVEYED), _, _) => Answer::Surveyed(channels.ok_or(AdapterError::Shape)?),
        (Some(SERVER_EVENT), _, _) => Answer::Said(data.map_or("null", RawValue::get).into()),
        (_, Some(sockets), _) if sockets.iter().all(|socket| socket.get().starts_with('{')) => {
            Answer::Fetched(sockets.into_iter().map(fetched).collect::<Result<_, _>>()?)
        }
        (_, Some(ids), _) => {
            let ids = ids.iter().map(|id| serde_json::from_str(id.get()));
            let ids: Vec<Value> = ids.collect::<Result<_, _>>().map_err(|_| AdapterError::Shape)?;
            Answer::Sockets(names_of(&ids)?)
        }
        (_, None, Some(rooms)) => Answer::Rooms(names_of(&rooms)?),
        (None, None, None) => Answer::Done,
        (Some(_), None, None) => return Err(AdapterError::Shape),
    };
    Ok((id, answer))
}

/// What a client has acknowledged something with, which is told alone: a list of it.
pub(super) fn acknowledged(
    packet: Option<&RawValue>,
    attachments: Box<[Box<[u8]>]>,
) -> Result<Arguments, AdapterError> {
    let said = packet.map_or("null", RawValue::get);
    // It gets one deeper.
    let said = Raw::check(said, JSON_DEPTH_MAX - 1).map_err(|_| AdapterError::TooDeep)?;
    placeholders(said, attachments.len() as u32).map_err(|_| AdapterError::Shape)?;
    Ok(Arguments { json: format!("[{}]", said.as_str()).into(), attachments })
}

/// Reads a socket.
pub(super) fn fetched(socket: &RawValue) -> Result<Fetched, AdapterError> {
    let WrittenSocket { id, rooms, data } =
        serde_json::from_str(socket.get()).map_err(|_| AdapterError::Shape)?;
    let [id] = <[Box<str>; 1]>::try_from(names_of(&[id])?).map_err(|_| AdapterError::Shape)?;
    Ok(Fetched { id, rooms: names_of(&rooms)?, data: data.map_or("null", RawValue::get).into() })
}

/// Writes the answer to the request of an id.
pub fn encode_answer(out: &mut Vec<u8>, id: &str, answer: &Answer) {
    if let Answer::Acknowledged(arguments) = answer {
        return encode_acknowledged(out, id, arguments);
    }
    out.extend_from_slice(b"{\"requestId\":");
    push_string(out, id);
    match answer {
        Answer::Done | Answer::Acknowledged(_) => {}
        Answer::Sockets(ids) => push_names(out, "sockets", ids),
        Answer::Rooms(rooms) => push_names(out, "rooms", rooms),
        Answer::Fetched(sockets) => push_sockets(out, sockets),
        Answer::Said(json) => {
            push_display(out, format_args!(",\"type\":{SERVER_EVENT},\"data\":{json}"));
        }
        Answer::Asked(count) => push_display(out, format_args!(",\"type\":{ASKED},\"clientCount\":{count}")),
        Answer::Surveyed(channels) => {
            push_display(out, format_args!(",\"type\":{SURVEYED},\"channels\":"));
            serde_json::to_writer(&mut *out, channels).expect("memory takes it, and names are text");
        }
    }
    out.push(b'}');
}

/// Writes sockets, behind others.
pub(super) fn push_sockets(out: &mut Vec<u8>, sockets: &[Fetched]) {
    out.extend_from_slice(b",\"sockets\":[");
    for (at, socket) in sockets.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_fetched(out, socket);
    }
    out.push(b']');
}

/// Writes a socket. A handshake has all its members, for applications look at them; what is not kept of it is empty.
fn push_fetched(out: &mut Vec<u8>, socket: &Fetched) {
    out.extend_from_slice(b"{\"id\":");
    push_string(out, &socket.id);
    out.extend_from_slice(
        b",\"handshake\":{\"headers\":{},\"time\":\"\",\"address\":\"\",\"xdomain\":false,\"secure\":false,\"issued\":0,\
          \"url\":\"\",\"query\":{},\"auth\":{}}",
    );
    push_names(out, "rooms", &socket.rooms);
    push_display(out, format_args!(",\"data\":{}}}", socket.data));
}

fn encode_acknowledged(out: &mut Vec<u8>, id: &str, arguments: &Arguments) {
    let start = out.len();
    let said = Raw::check(&arguments.json, JSON_DEPTH_MAX).ok().and_then(Raw::elements);
    let first = said.and_then(|mut said| said.next());
    let attached = match first {
        Some(first) => {
            write_head(out, id);
            msgpack::write(out, first, &arguments.attachments)
        }
        None => Err(AdapterError::Shape),
    };
    // Nothing, and what cannot be said, is an answer as well.
    if attached.is_err() {
        out.truncate(start);
        write_head(out, id);
        write_nothing(out);
    }
}

fn write_head(out: &mut Vec<u8>, id: &str) {
    write_map(out, 3);
    write_text(out, "type");
    write_whole(out, ACKNOWLEDGED);
    write_text(out, "requestId");
    write_text(out, id);
    write_text(out, "packet");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_members_in_javascript_wait_for() {
        let check = |answer: Answer, text: &str| {
            let mut out = Vec::new();
            encode_answer(&mut out, "abc\"", &answer);
            assert_eq!(String::from_utf8_lossy(&out), text);
            assert_eq!(decode_answer(&out, 1000), Ok(("abc\"".into(), answer)), "{text}");
        };
        check(Answer::Done, r#"{"requestId":"abc\""}"#);
        check(Answer::Sockets(vec!["a".into(), "b".into()]), r#"{"requestId":"abc\"","sockets":["a","b"]}"#);
        check(Answer::Rooms(vec!["ä".into()]), r#"{"requestId":"abc\"","rooms":["ä"]}"#);
        check(Answer::Said("null".into()), r#"{"requestId":"abc\"","type":6,"data":null}"#);
        check(Answer::Asked(0), r#"{"requestId":"abc\"","type":8,"clientCount":0}"#);
        let channel = Surveyed {
            channel: "a".into(),
            subscribers: [1, 0, 0, 0, 2],
            position: Some((7, 9)),
            history_publications: 3,
            history_bytes: 30,
        };
        check(
            Answer::Surveyed(vec![channel]),
            concat!(
                r#"{"requestId":"abc\"","type":65,"channels":[{"channel":"a","subscribers":[1,0,0,0,2],"position":[7,9],"#,
                r#""history_publications":3,"history_bytes":30}]}"#
            ),
        );
        let socket =
            Fetched { id: "s".into(), rooms: vec!["s".into(), "a".into()], data: r#"{"n":1}"#.into() };
        check(
            Answer::Fetched(vec![socket]),
            concat!(
                r#"{"requestId":"abc\"","sockets":[{"id":"s","handshake":{"headers":{},"time":"","address":"","#,
                r#""xdomain":false,"secure":false,"issued":0,"url":"","query":{},"auth":{}},"rooms":["s","a"],"data":{"n":1}}]}"#
            ),
        );
    }

    #[test]
    fn what_is_no_answer_is_refused_and_what_a_member_leaves_out_is_nothing() {
        let read = |text: &str| decode_answer(text.as_bytes(), 1000);
        let said = |json: &str| Ok(("x".into(), Answer::Said(json.into())));
        assert_eq!(read(r#"{"type":6,"requestId":"x"}"#), said("null"));
        assert_eq!(read(r#"{"type":6,"requestId":"x","data":{"a":[1]}}"#), said(r#"{"a":[1]}"#));
        let socket = Fetched { id: "7".into(), rooms: Vec::new(), data: "null".into() };
        assert_eq!(
            read(r#"{"requestId":"x","sockets":[{"id":7}]}"#),
            Ok(("x".into(), Answer::Fetched(vec![socket])))
        );
        for text in [
            "",
            "{",
            "{}",
            r#"{"requestId":7}"#,
            r#"{"requestId":"x","sockets":[{}]}"#,
            r#"{"requestId":"x","rooms":[[]]}"#,
            r#"{"requestId":"x","type":8}"#,
            r#"{"requestId":"x","type":8,"clientCount":-1}"#,
            r#"{"requestId":"x","type":9,"packet":{"_placeholder":true,"num":0}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(decode_answer(&[b'x'; 1001], 1000), Err(AdapterError::TooLarge));
    }

    #[test]
    fn an_acknowledgement_is_its_first_argument_in_msgpack() {
        let check = |json: &str, attachments: &[Box<[u8]>], packet: &str| {
            let mut out = Vec::new();
            let arguments = Arguments { json: json.into(), attachments: attachments.into() };
            encode_answer(&mut out, "abc", &Answer::Acknowledged(arguments));
            let said = msgpack::read(&out, 1000).expect("msgpack");
            assert_eq!(&*said.json, format!(r#"{{"type":9,"requestId":"abc","packet":{packet}}}"#));
            assert_eq!(&*said.attachments, attachments);
            let arguments = Arguments { json: format!("[{packet}]").into(), attachments: attachments.into() };
            assert_eq!(decode_answer(&out, 1000), Ok(("abc".into(), Answer::Acknowledged(arguments))));
        };
        check("[1,2]", &[], "1");
        check("[]", &[], "null");
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        check(&format!("[{placeholder}]"), &[[1, 2].into()], placeholder);
    }
}
