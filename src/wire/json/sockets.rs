//! What a backend asks of Socket.IO over HTTP, as JSON: the bodies of `POST /socket.io-api/emit` and of
//! `POST /socket.io-api/sockets`.
//!
//! Binary values stand anywhere in an event's arguments as `{"base64":"…"}`; they become the event's attachments. The
//! other way round, [`with_base64`] writes an event for those who take no attachments.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Fault, Raw, Scratch,
    document::Value,
    encode::{push_base64, push_string},
    publish::{once, text},
};
use crate::{
    limits::{JSON_DEPTH_MAX, SOCKET_ROOMS_MAX},
    model::Arguments,
    wire::socketio::encode_placeholder,
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
}

/// Which sockets are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectionRequest<'a> {
    /// Their namespace.
    pub namespace: &'a str,
    /// Sockets in any of these rooms; empty selects the whole namespace.
    pub rooms: Vec<&'a str>,
    /// But for sockets in any of these.
    pub except: Vec<&'a str>,
}

/// What shall be done with sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketsCommand<'a> {
    /// With whom.
    pub selection: SelectionRequest<'a>,
    /// Rooms to put them into.
    pub join: Vec<&'a str>,
    /// Rooms to take them out of.
    pub leave: Vec<&'a str>,
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
    namespace: Option<&'a str>,
    rooms: Option<Vec<&'a str>>,
    except: Option<Vec<&'a str>>,
}

/// Reads `{"namespace":"/","rooms":["lobby"],"except":[],"event":"news","args":[…],"volatile":false,"local":false}`;
/// only `event` must be there.
pub fn decode_emit<'s>(scratch: &'s mut Scratch, body: &[u8]) -> Result<EmitRequest<'s>, Fault> {
    scratch.read(body, |value| {
        let mut selection = Selection::default();
        let (mut event, mut args, mut is_volatile, mut is_local) = (None, None, None, None);
        for (name, value) in value.members().ok_or(Fault::NotObject)? {
            match name {
                "event" => once(&mut event, text("event", value)?)?,
                "args" => once(&mut args, value)?,
                "volatile" => once(&mut is_volatile, flag("volatile", value)?)?,
                "local" => once(&mut is_local, flag("local", value)?)?,
                _ => selection.take(name, value)?,
            }
        }
        let event = event.ok_or(Fault::Missing("event"))?;
        if RESERVED_EVENTS.contains(&event) {
            return Err(Fault::EventReserved);
        }
        let (arguments, base64) = arguments(event, args)?;
        Ok(EmitRequest {
            selection: selection.request(),
            arguments,
            base64,
            is_volatile: is_volatile.unwrap_or(false),
            is_local: is_local.unwrap_or(false),
        })
    })?
}

/// Reads `{"namespace":"/","rooms":["lobby"],"except":[],"join":["a"],"leave":["b"],"disconnect":true,"close":false}`,
/// of which something must be done.
pub fn decode_sockets_command<'s>(
    scratch: &'s mut Scratch,
    body: &[u8],
) -> Result<SocketsCommand<'s>, Fault> {
    scratch.read(body, |value| {
        let mut selection = Selection::default();
        let (mut join, mut leave, mut disconnect, mut close) = (None, None, None, None);
        for (name, value) in value.members().ok_or(Fault::NotObject)? {
            match name {
                "join" => once(&mut join, names("join", value)?)?,
                "leave" => once(&mut leave, names("leave", value)?)?,
                "disconnect" => once(&mut disconnect, flag("disconnect", value)?)?,
                "close" => once(&mut close, flag("close", value)?)?,
                _ => selection.take(name, value)?,
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
    })?
}

impl<'a> Selection<'a> {
    fn take(&mut self, name: &str, value: Value<'_, 'a>) -> Result<(), Fault> {
        match name {
            "namespace" => once(&mut self.namespace, text("namespace", value)?),
            "rooms" => once(&mut self.rooms, names("rooms", value)?),
            "except" => once(&mut self.except, names("except", value)?),
            _ => Err(Fault::MemberUnknown),
        }
    }

    fn request(self) -> SelectionRequest<'a> {
        SelectionRequest {
            namespace: self.namespace.unwrap_or("/"),
            rooms: self.rooms.unwrap_or_default(),
            except: self.except.unwrap_or_default(),
        }
    }
}

/// One name, or a list of them.
fn names<'a>(member: &'static str, value: Value<'_, 'a>) -> Result<Vec<&'a str>, Fault> {
    if let Some(name) = value.as_str() {
        return Ok(vec![name]);
    }
    let elements = value.elements().ok_or(Fault::NotList(member))?;
    if elements.clone().nth(SOCKET_ROOMS_MAX).is_some() {
        return Err(Fault::TooManyRooms);
    }
    elements.map(|element| text(member, element)).collect()
}

fn flag(member: &'static str, value: Value<'_, '_>) -> Result<bool, Fault> {
    value.as_bool().ok_or(Fault::NotFlag(member))
}

/// The event as Socket.IO sends it, one array of its name and its arguments; and as it came, if that is not the same.
fn arguments(event: &str, args: Option<Value<'_, '_>>) -> Result<(Arguments, Option<String>), Fault> {
    let mut json = b"[".to_vec();
    push_string(&mut json, event);
    let mut base64 = json.clone();
    let mut attachments = Vec::new();
    if let Some(args) = args {
        for argument in args.elements().ok_or(Fault::NotList("args"))? {
            json.push(b',');
            write_without_base64(&mut json, &mut attachments, argument)?;
            base64.push(b',');
            argument.write(&mut base64);
        }
    }
    let text = |mut json: Vec<u8>| {
        json.push(b']');
        String::from_utf8(json).expect("JSON is written as UTF-8")
    };
    let base64 = (!attachments.is_empty()).then(|| text(base64));
    Ok((Arguments { json: text(json).into(), attachments: attachments.into() }, base64))
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

/// An event's array with its attachments in their places, as `{"base64":"…"}`.
pub fn with_base64(scratch: &mut Scratch, arguments: &Arguments) -> Result<String, Fault> {
    let attachment = |value: Value<'_, '_>| {
        let mut members = value.members()?;
        let (Some(("_placeholder", _)), Some(("num", number))) = (members.next(), members.next()) else {
            return None;
        };
        arguments.attachments.get(number.as_u32()? as usize)
    };
    scratch.read(arguments.json.as_bytes(), |value| {
        let mut json = Vec::new();
        write_with(&mut json, value, &mut |json, object| {
            let Some(bytes) = attachment(object) else { return Ok(false) };
            json.extend_from_slice(b"{\"base64\":\"");
            push_base64(json, bytes);
            json.extend_from_slice(b"\"}");
            Ok(true)
        })?;
        Ok(String::from_utf8(json).expect("JSON is written as UTF-8"))
    })?
}

/// Appends a value, taking the bytes out of it.
fn write_without_base64(
    json: &mut Vec<u8>,
    attachments: &mut Vec<Box<[u8]>>,
    value: Value<'_, '_>,
) -> Result<(), Fault> {
    write_with(json, value, &mut |json, object| {
        // Clients would look for an attachment in its place.
        if object.members().is_some_and(|mut members| members.any(|(name, _)| name == "_placeholder")) {
            return Err(Fault::Placeholder);
        }
        let Some(base64) = base64_of(object) else { return Ok(false) };
        let bytes = STANDARD.decode(text("base64", base64)?).map_err(|_| Fault::BinaryBase64)?;
        encode_placeholder(json, attachments.len() as u32);
        attachments.push(bytes.into());
        Ok(true)
    })
}

/// Appends a value; `instead` is asked at each object whether it has written something in its place. Recursion is as
/// deep as the scratch lets a text be.
fn write_with(
    json: &mut Vec<u8>,
    value: Value<'_, '_>,
    instead: &mut impl FnMut(&mut Vec<u8>, Value<'_, '_>) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    if let Some(elements) = value.elements() {
        json.push(b'[');
        for (index, element) in elements.enumerate() {
            if index > 0 {
                json.push(b',');
            }
            write_with(json, element, instead)?;
        }
        json.push(b']');
    } else if let Some(members) = value.members() {
        if instead(json, value)? {
            return Ok(());
        }
        json.push(b'{');
        for (index, (name, member)) in members.enumerate() {
            if index > 0 {
                json.push(b',');
            }
            push_string(json, name);
            json.push(b':');
            write_with(json, member, instead)?;
        }
        json.push(b'}');
    } else {
        value.write(json);
    }
    Ok(())
}

/// The one member of an object that stands for bytes.
fn base64_of<'tape, 'text>(value: Value<'tape, 'text>) -> Option<Value<'tape, 'text>> {
    let mut members = value.members()?;
    match (members.next(), members.next()) {
        (Some(("base64", base64)), None) => Some(base64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emit(text: &str) -> Result<(String, Vec<Vec<u8>>), Fault> {
        let mut scratch = Scratch::default();
        let EmitRequest { arguments, base64, .. } = decode_emit(&mut scratch, text.as_bytes())?;
        let put_back = with_base64(&mut Scratch::default(), &arguments)?;
        assert_eq!(base64.unwrap_or(arguments.json.to_string()), put_back);
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
    fn the_selection_and_the_flags_have_defaults() {
        let mut scratch = Scratch::default();
        let text = br#"{"namespace":"/game","rooms":"a","except":["b","c"],"event":"e","volatile":true,"local":true}"#;
        let request = decode_emit(&mut scratch, text).expect("sound");
        let selection = SelectionRequest { namespace: "/game", rooms: vec!["a"], except: vec!["b", "c"] };
        assert_eq!((request.selection, request.is_volatile, request.is_local), (selection, true, true));
        let request = decode_emit(&mut scratch, br#"{"event":"e"}"#).expect("sound");
        let selection = SelectionRequest { namespace: "/", rooms: vec![], except: vec![] };
        assert_eq!((request.selection, request.is_volatile, request.is_local), (selection, false, false));
    }

    #[test]
    fn each_fault_of_an_emit_is_told_apart() {
        let rooms = |count: usize| format!(r#"{{"event":"e","rooms":[{}]}}"#, vec!["\"r\""; count].join(","));
        assert!(emit(&rooms(SOCKET_ROOMS_MAX)).is_ok());
        let too_many = rooms(SOCKET_ROOMS_MAX + 1);
        let cases = [
            ("[]", Fault::NotObject),
            (r#"{"args":[]}"#, Fault::Missing("event")),
            (r#"{"event":1}"#, Fault::NotText("event")),
            (r#"{"event":"connect_error"}"#, Fault::EventReserved),
            (r#"{"event":"e","event":"f"}"#, Fault::MemberTwice),
            (r#"{"event":"e","room":"r"}"#, Fault::MemberUnknown),
            (r#"{"event":"e","rooms":1}"#, Fault::NotList("rooms")),
            (r#"{"event":"e","rooms":[1]}"#, Fault::NotText("rooms")),
            (&too_many, Fault::TooManyRooms),
            (r#"{"event":"e","args":{}}"#, Fault::NotList("args")),
            (r#"{"event":"e","volatile":1}"#, Fault::NotFlag("volatile")),
            (r#"{"event":"e","args":[{"base64":"/w"}]}"#, Fault::BinaryBase64),
            (r#"{"event":"e","args":[{"base64":1}]}"#, Fault::NotText("base64")),
            (r#"{"event":"e","args":[{"_placeholder":true,"num":0}]}"#, Fault::Placeholder),
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
    fn attachments_are_put_back_as_base64_and_what_points_nowhere_stays() {
        let json = r#"["e",[{"_placeholder":true,"num":1}],{"k":{"_placeholder":true,"num":0}},{"num":0},{"_placeholder":true,"num":2}]"#;
        let attachments = [Box::from([0xffu8]), Box::from([0u8; 0])];
        let arguments = Arguments { json: json.into(), attachments: attachments.into() };
        assert_eq!(
            with_base64(&mut Scratch::default(), &arguments).as_deref(),
            Ok(r#"["e",[{"base64":""}],{"k":{"base64":"/w=="}},{"num":0},{"_placeholder":true,"num":2}]"#)
        );
    }

    #[test]
    fn a_command_does_something_and_closes_only_whom_it_disconnects() {
        let mut scratch = Scratch::default();
        let mut fault = |text: &str| decode_sockets_command(&mut scratch, text.as_bytes()).err();
        assert_eq!(fault(r#"{"rooms":["a"],"join":["b"],"leave":"c"}"#), None);
        assert_eq!(fault(r#"{"disconnect":true,"close":true}"#), None);
        assert_eq!(fault(r#"{"rooms":["a"]}"#), Some(Fault::NothingToDo));
        assert_eq!(fault(r#"{"disconnect":false,"join":[]}"#), Some(Fault::NothingToDo));
        assert_eq!(fault(r#"{"join":"a","close":true}"#), Some(Fault::Missing("disconnect")));
        assert_eq!(fault(r#"{"event":"e"}"#), Some(Fault::MemberUnknown));
    }
}
