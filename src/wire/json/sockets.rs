//! What a backend asks of Socket.IO over HTTP, as JSON: the bodies of `POST /socket.io-api/emit` and of
//! `POST /socket.io-api/sockets`.
//!
//! Binary values stand anywhere in an event's arguments as `{"base64":"…"}`; they become the event's attachments. The
//! other way round, [`with_base64`] writes an event for those who take no attachments.

use std::{borrow::Cow, ops::Range};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Fault, Raw,
    encode::{push_base64, push_string},
    objects::{Object, find_objects},
    publish::{once, text},
};
use crate::{
    limits::{JSON_DEPTH_MAX, SOCKET_ROOMS_MAX},
    model::Arguments,
    wire::socketio::{encode_placeholder, is_event_text, placeholders},
};

/// An event for sockets. Names of namespaces and rooms have yet to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmitRequest<'a> {
    /// To whom.
    pub selection: SelectionRequest<'a>,
    /// The event.
    pub arguments: Arguments,
    /// The same with its attachments in their places, when it has any: for those who take none.
    pub base64: Option<String>,
    /// Not at all rather than late.
    pub is_volatile: bool,
    /// Only to sockets of the shard that is asked.
    pub is_local: bool,
    /// Behind the events to other rooms that were asked for before.
    pub is_ordered: bool,
}

/// Which sockets are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectionRequest<'a> {
    /// Their namespace.
    pub namespace: Cow<'a, str>,
    /// Sockets in any of these rooms; empty selects the whole namespace.
    pub rooms: Vec<Cow<'a, str>>,
    /// But for sockets in any of these.
    pub except: Vec<Cow<'a, str>>,
}

/// What shall be done with sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketsCommand<'a> {
    /// With whom.
    pub selection: SelectionRequest<'a>,
    /// Rooms to put them into.
    pub join: Vec<Cow<'a, str>>,
    /// Rooms to take them out of.
    pub leave: Vec<Cow<'a, str>>,
    /// End them.
    pub disconnect: bool,
    /// And with them the connections of their clients.
    pub close: bool,
}

/// Names that mean something to Socket.IO's clients and servers themselves, so that no event may have them.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The members that select sockets, each at most once.
#[derive(Default)]
struct Selection<'a> {
    namespace: Option<Cow<'a, str>>,
    rooms: Option<Vec<Cow<'a, str>>>,
    except: Option<Vec<Cow<'a, str>>>,
}

/// Reads `{"namespace":"/","rooms":["lobby"],"except":[],"event":"news","args":[…],"volatile":false,"local":false,
/// "ordered":true}`;
/// only `event` must be there.
pub fn decode_emit(body: &[u8]) -> Result<EmitRequest<'_>, Fault> {
    let mut selection = Selection::default();
    let (mut event, mut args) = (None, None);
    let (mut is_volatile, mut is_local, mut is_ordered) = (None, None, None);
    for member in Raw::read(body)?.members().ok_or(Fault::NotObject)? {
        let (name, value) = member?;
        match &*name {
            "event" => once(&mut event, text("event", value)?)?,
            "args" => once(&mut args, value)?,
            "volatile" => once(&mut is_volatile, flag("volatile", value)?)?,
            "local" => once(&mut is_local, flag("local", value)?)?,
            "ordered" => once(&mut is_ordered, flag("ordered", value)?)?,
            name => selection.take(name, value)?,
        }
    }
    let event = event.ok_or(Fault::Missing("event"))?;
    if RESERVED_EVENTS.contains(&&*event) {
        return Err(Fault::EventReserved);
    }
    let (arguments, base64) = arguments(&event, args)?;
    Ok(EmitRequest {
        selection: selection.request(),
        arguments,
        base64,
        is_volatile: is_volatile.unwrap_or(false),
        is_local: is_local.unwrap_or(false),
        is_ordered: is_ordered.unwrap_or(true),
    })
}

/// Reads `{"namespace":"/","rooms":["lobby"],"except":[],"join":["a"],"leave":["b"],"disconnect":true,"close":false}`,
/// of which something must be done.
pub fn decode_sockets_command(body: &[u8]) -> Result<SocketsCommand<'_>, Fault> {
    let mut selection = Selection::default();
    let (mut join, mut leave, mut disconnect, mut close) = (None, None, None, None);
    for member in Raw::read(body)?.members().ok_or(Fault::NotObject)? {
        let (name, value) = member?;
        match &*name {
            "join" => once(&mut join, names("join", value)?)?,
            "leave" => once(&mut leave, names("leave", value)?)?,
            "disconnect" => once(&mut disconnect, flag("disconnect", value)?)?,
            "close" => once(&mut close, flag("close", value)?)?,
            name => selection.take(name, value)?,
        }
    }
    let command = SocketsCommand {
        selection: selection.request(),
        join: join.unwrap_or_default(),
        leave: leave.unwrap_or_default(),
        disconnect: disconnect.unwrap_or(false),
        close: close.unwrap_or(false),
    };
    match (command.join.is_empty() && command.leave.is_empty(), command.disconnect, command.close) {
        (true, false, false) => Err(Fault::NothingToDo),
        (_, false, true) => Err(Fault::Missing("disconnect")),
        (_, true, _) | (false, false, false) => Ok(command),
    }
}

/// How sockets are selected.
const SELECTION: [&str; 3] = ["namespace", "rooms", "except"];

impl<'a> Selection<'a> {
    fn take(&mut self, name: &str, value: Raw<'a>) -> Result<(), Fault> {
        match name {
            "namespace" => once(&mut self.namespace, text("namespace", value)?),
            "rooms" => once(&mut self.rooms, names("rooms", value)?),
            "except" => once(&mut self.except, names("except", value)?),
            name => Err(Fault::unknown(name, &SELECTION)),
        }
    }

    fn request(self) -> SelectionRequest<'a> {
        SelectionRequest {
            namespace: self.namespace.unwrap_or("/".into()),
            rooms: self.rooms.unwrap_or_default(),
            except: self.except.unwrap_or_default(),
        }
    }
}

/// One name, or a list of them.
fn names<'a>(member: &'static str, value: Raw<'a>) -> Result<Vec<Cow<'a, str>>, Fault> {
    if value.is_string() {
        return Ok(vec![text(member, value)?]);
    }
    let elements = value.elements().ok_or(Fault::NotList(member))?;
    if elements.clone().nth(SOCKET_ROOMS_MAX).is_some() {
        return Err(Fault::TooManyRooms);
    }
    elements.map(|element| text(member, element)).collect()
}

fn flag(member: &'static str, value: Raw<'_>) -> Result<bool, Fault> {
    value.as_bool().ok_or(Fault::NotFlag(member))
}

/// The event as Socket.IO sends it, one array of its name and its arguments; and as it came, if that is not the same.
fn arguments(event: &str, args: Option<Raw<'_>>) -> Result<(Arguments, Option<String>), Fault> {
    let args = args.map_or(Ok(Raw::first("[]")), Raw::bounded)?;
    let mut came = b"[".to_vec();
    push_string(&mut came, event);
    for argument in args.elements().ok_or(Fault::NotList("args"))? {
        came.push(b',');
        came.extend_from_slice(argument.as_str().as_bytes());
    }
    came.push(b']');
    let came = String::from_utf8(came).expect("JSON is written as UTF-8");
    let json = Raw::first(&came);
    let (mut places, mut attachments) = (Vec::new(), Vec::new());
    for (range, bytes) in find_objects(json, bytes_of) {
        places.push((range, attachments.len() as u32));
        attachments.push(bytes?.into());
    }
    if attachments.is_empty() {
        return Ok((Arguments { json: came.into(), attachments: Box::default() }, None));
    }
    // Clients would look for an attachment in its place.
    if !find_objects(json, |object| object.is_placeholder.then_some(())).is_empty() {
        return Err(Fault::Placeholder);
    }
    let written = replace(&came, &places, |json, index| encode_placeholder(json, *index));
    Ok((Arguments { json: written.into(), attachments: attachments.into() }, Some(came)))
}

/// The bytes that an object of the one member `base64` stands for.
fn bytes_of(object: &Object<'_>) -> Option<Result<Vec<u8>, Fault>> {
    let base64 = object.base64.filter(|_| object.members == 1)?;
    let decode = |text: Cow<'_, str>| STANDARD.decode(&*text).map_err(|_| Fault::BinaryBase64);
    Some(text("base64", Raw::first(base64)).and_then(decode))
}

/// JSON with something else in some places.
fn replace<T>(json: &str, places: &[(Range<usize>, T)], write: impl Fn(&mut Vec<u8>, &T)) -> String {
    let (mut out, mut from) = (Vec::with_capacity(json.len()), 0);
    for (range, what) in places {
        out.extend_from_slice(&json.as_bytes()[from..range.start]);
        write(&mut out, what);
        from = range.end;
    }
    out.extend_from_slice(&json.as_bytes()[from..]);
    String::from_utf8(out).expect("JSON is written as UTF-8")
}

/// The event that a client's event carries: its array without the first `skip` items, which begins with a name.
pub fn decode_inner_event(event: &str, skip: usize) -> Result<Box<str>, Fault> {
    let elements = Raw::check(event, JSON_DEPTH_MAX)?.elements().ok_or(Fault::NotList("args"))?;
    let inner: Vec<_> = elements.skip(skip).map(Raw::as_str).collect();
    let name = Raw::check(inner.first().ok_or(Fault::Missing("event"))?, JSON_DEPTH_MAX)?;
    let name = name.text().ok_or(Fault::NotText("event"))??;
    match RESERVED_EVENTS.contains(&&*name) {
        true => Err(Fault::EventReserved),
        false => Ok(format!("[{}]", inner.join(",")).into()),
    }
}

/// An event would be too long as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What stands for an event where it is not its JSON alone: its text for those who take no attachments, which has at most so
/// many bytes; without attachments its JSON, for those who speak Socket.IO, where that is no event by itself, for its name is a
/// number.
pub fn text_beside(arguments: &Arguments, bytes_max: usize) -> Result<Option<String>, TooLong> {
    match arguments.attachments.is_empty() {
        true => Ok((!is_event_text(&arguments.json)).then(|| arguments.json.to_string())),
        false => with_base64(arguments, bytes_max).map(Some).ok_or(TooLong),
    }
}

/// An event's array with its attachments in their places, as `{"base64":"…"}`; `None` when it would be longer than
/// `bytes_max`, for an attachment may stand in many places.
pub fn with_base64(arguments: &Arguments, bytes_max: usize) -> Option<String> {
    let Arguments { json, attachments } = arguments;
    // What is not checked stays as it is.
    let places = placeholders(Raw::first(json), attachments.len() as u32).unwrap_or_default();
    let bytes = |index: u32| &*attachments[index as usize];
    let grown =
        |(_, index): &(_, u32)| BASE64_OPEN.len() + BASE64_CLOSE.len() + bytes(*index).len().div_ceil(3) * 4;
    let length = places.iter().map(grown).fold(json.len(), usize::saturating_add);
    let shrunk: usize = places.iter().map(|(range, _)| range.len()).sum();
    (length - shrunk <= bytes_max).then(|| {
        replace(json, &places, |json, index| {
            json.extend_from_slice(BASE64_OPEN);
            push_base64(json, bytes(*index));
            json.extend_from_slice(BASE64_CLOSE);
        })
    })
}

const BASE64_OPEN: &[u8] = b"{\"base64\":\"";
const BASE64_CLOSE: &[u8] = b"\"}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::JsonError;

    fn emit(text: &str) -> Result<(String, Vec<Vec<u8>>), Fault> {
        let EmitRequest { arguments, base64, .. } = decode_emit(text.as_bytes())?;
        let came = base64.unwrap_or(arguments.json.to_string());
        assert_eq!(with_base64(&arguments, came.len()).as_ref(), Some(&came));
        assert_eq!(with_base64(&arguments, came.len() - 1), None);
        Ok((arguments.json.into(), arguments.attachments.iter().map(|bytes| bytes.to_vec()).collect()))
    }

    #[test]
    fn an_event_is_its_name_and_arguments_in_one_array() {
        let json = |text| emit(text).map(|(json, _)| json);
        assert_eq!(json(r#"{"event":"ping"}"#).as_deref(), Ok(r#"["ping"]"#));
        assert_eq!(
            json(r#"{"event":"a\"b","args":[1,"x",{"k":[null,{}]},[],2.5]}"#).as_deref(),
            Ok(r#"["a\"b",1,"x",{"k":[null,{}]},[],2.5]"#)
        );
    }

    #[test]
    fn base64_anywhere_becomes_an_attachment_in_order() {
        let text =
            r#"{"event":"e","args":[{"base64":"/w=="},{"a":[{"base64":""}]},{"base64":"AA==","k":1}]}"#;
        let json = concat!(
            r#"["e",{"_placeholder":true,"num":0},{"a":[{"_placeholder":true,"num":1}]},"#,
            r#"{"base64":"AA==","k":1}]"#
        );
        assert_eq!(emit(text), Ok((json.into(), vec![vec![0xff], vec![]])));
    }

    #[test]
    fn arguments_are_passed_on_as_they_came() {
        let args = r#"1e20,1e400,-0,"\ud83d",{"a": [ ],"a":1.50},{"_placeholder":true,"num":7}"#;
        let json = format!(r#"["e",{args}]"#);
        assert_eq!(emit(&format!(r#"{{"event":"e","args":[{args}]}}"#)), Ok((json, vec![])));
        let args = r#"1e20,{"_placeholder":1,"num":0},{"base64":"/w=="},"\ud83d""#;
        let json = r#"["e",1e20,{"_placeholder":1,"num":0},{"_placeholder":true,"num":0},"\ud83d"]"#;
        assert_eq!(emit(&format!(r#"{{"event":"e","args":[{args}]}}"#)), Ok((json.into(), vec![vec![0xff]])));
    }

    #[test]
    fn the_selection_and_the_flags_have_defaults() {
        let text = br#"{"namespace":"/game","rooms":"a","except":["b","c"],"event":"e","volatile":true,"local":true,"ordered":false}"#;
        let request = decode_emit(text).expect("sound");
        let selection = SelectionRequest {
            namespace: "/game".into(),
            rooms: vec!["a".into()],
            except: vec!["b".into(), "c".into()],
        };
        assert_eq!((request.selection, request.is_volatile, request.is_local), (selection, true, true));
        assert!(!request.is_ordered);
        let request = decode_emit(br#"{"event":"e"}"#).expect("sound");
        let selection = SelectionRequest { namespace: "/".into(), rooms: vec![], except: vec![] };
        assert_eq!((request.selection, request.is_volatile, request.is_local), (selection, false, false));
        assert!(request.is_ordered);
    }

    #[test]
    fn each_fault_of_an_emit_is_told_apart() {
        let rooms = |count: usize| format!(r#"{{"event":"e","rooms":[{}]}}"#, vec!["\"r\""; count].join(","));
        assert!(emit(&rooms(SOCKET_ROOMS_MAX)).is_ok());
        let too_many = rooms(SOCKET_ROOMS_MAX + 1);
        let nested =
            |depth: usize| format!(r#"{{"event":"e","args":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(emit(&nested(JSON_DEPTH_MAX)).is_ok(), "as deep as a client's own event");
        let deep = nested(JSON_DEPTH_MAX + 1);
        let cases = [
            ("[]", Fault::NotObject),
            (r#"{"args":[]}"#, Fault::Missing("event")),
            (r#"{"event":1}"#, Fault::NotText("event")),
            (r#"{"event":"connect_error"}"#, Fault::EventReserved),
            (r#"{"event":"e","event":"f"}"#, Fault::MemberTwice),
            (r#"{"event":"e","room":"r"}"#, Fault::unknown("room", &SELECTION)),
            (r#"{"event":"e","rooms":1}"#, Fault::NotList("rooms")),
            (r#"{"event":"e","rooms":[1]}"#, Fault::NotText("rooms")),
            (&too_many, Fault::TooManyRooms),
            (r#"{"event":"e","args":{}}"#, Fault::NotList("args")),
            (r#"{"event":"e","volatile":1}"#, Fault::NotFlag("volatile")),
            (r#"{"event":"e","args":[{"base64":"/w"}]}"#, Fault::BinaryBase64),
            (r#"{"event":"e","args":[{"base64":1}]}"#, Fault::NotText("base64")),
            (r#"{"event":"e","args":[{"num":0,"_placeholder":true},{"base64":""}]}"#, Fault::Placeholder),
            (&deep, Fault::Json(JsonError::TooDeep)),
            (r#"{"event":"\ud83d"}"#, Fault::Json(JsonError::NotUtf8)),
        ];
        for (text, fault) in cases {
            assert_eq!(emit(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn a_client_s_event_carries_another_whose_numbers_of_attachments_stay() {
        let inner = |json: &str| decode_inner_event(json, 2);
        assert_eq!(
            inner(r#"["publish","room","e",{"_placeholder":true,"num":0},[1]]"#).as_deref(),
            Ok(r#"["e",{"_placeholder":true,"num":0},[1]]"#)
        );
        assert_eq!(inner(r#"["publish","room","e"]"#).as_deref(), Ok(r#"["e"]"#));
        assert_eq!(inner(r#"["publish","room"]"#), Err(Fault::Missing("event")));
        assert_eq!(inner(r#"["publish","room",1]"#), Err(Fault::NotText("event")));
        assert_eq!(inner(r#"["publish","room","connect"]"#), Err(Fault::EventReserved));
    }

    #[test]
    fn attachments_are_put_back_as_base64_and_the_rest_stays_as_it_came() {
        let json = concat!(
            r#"["e", 1E20,[{"num":1,"_placeholder":true}],{"k":{"_placeholder":true,"num":0}},{"num":0},"#,
            r#"{"_placeholder":true,"x":[{}],"num":0},"\ud83d"]"#
        );
        let attachments = [Box::from([0xffu8]), Box::from([0u8; 0])];
        let arguments = Arguments { json: json.into(), attachments: attachments.into() };
        assert_eq!(
            with_base64(&arguments, 1000).as_deref(),
            Some(
                r#"["e", 1E20,[{"base64":""}],{"k":{"base64":"/w=="}},{"num":0},{"base64":"/w=="},"\ud83d"]"#
            )
        );
    }

    #[test]
    fn a_command_does_something_and_closes_only_whom_it_disconnects() {
        let fault = |text: &str| decode_sockets_command(text.as_bytes()).err();
        assert_eq!(fault(r#"{"rooms":["a"],"join":["b"],"leave":"c"}"#), None);
        assert_eq!(fault(r#"{"disconnect":true,"close":true}"#), None);
        assert_eq!(fault(r#"{"rooms":["a"]}"#), Some(Fault::NothingToDo));
        assert_eq!(fault(r#"{"disconnect":false,"join":[]}"#), Some(Fault::NothingToDo));
        assert_eq!(fault(r#"{"join":"a","close":true}"#), Some(Fault::Missing("disconnect")));
        assert_eq!(fault(r#"{"event":"e"}"#), Some(Fault::unknown("event", &SELECTION)));
    }
}
