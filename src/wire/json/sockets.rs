//! What a backend asks of Socket.IO over HTTP, as JSON: the bodies of `POST /socket.io-api/emit` and of
//! `POST /socket.io-api/sockets`.
//!
//! Binary values stand anywhere in an event's arguments as `{"base64":"…"}`; they become the event's attachments.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Fault, Scratch,
    document::Value,
    encode::push_string,
    publish::{once, text},
};
use crate::{limits::SOCKET_ROOMS_MAX, model::Arguments};

/// An event for sockets. Names of namespaces and rooms have yet to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmitRequest<'a> {
    /// To whom.
    pub selection: SelectionRequest<'a>,
    /// The event.
    pub arguments: Arguments,
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
        Ok(EmitRequest {
            selection: selection.request(),
            arguments: arguments(event, args)?,
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

/// The event as Socket.IO sends it: one array of its name and its arguments.
fn arguments(event: &str, args: Option<Value<'_, '_>>) -> Result<Arguments, Fault> {
    let mut json = b"[".to_vec();
    push_string(&mut json, event);
    let mut attachments = Vec::new();
    if let Some(args) = args {
        for argument in args.elements().ok_or(Fault::NotList("args"))? {
            json.push(b',');
            write(&mut json, &mut attachments, argument)?;
        }
    }
    json.push(b']');
    let json = String::from_utf8(json).expect("JSON is written as UTF-8");
    Ok(Arguments { json: json.into(), attachments: attachments.into() })
}

/// Appends a value; recursion is as deep as the scratch lets a text be.
fn write(json: &mut Vec<u8>, attachments: &mut Vec<Box<[u8]>>, value: Value<'_, '_>) -> Result<(), Fault> {
    if let Some(elements) = value.elements() {
        json.push(b'[');
        for (index, element) in elements.enumerate() {
            if index > 0 {
                json.push(b',');
            }
            write(json, attachments, element)?;
        }
        json.push(b']');
    } else if let Some(members) = value.members() {
        if let Some(base64) = base64_of(value) {
            let bytes = STANDARD.decode(text("base64", base64)?).map_err(|_| Fault::BinaryBase64)?;
            let placeholder = format!("{{\"_placeholder\":true,\"num\":{}}}", attachments.len());
            json.extend_from_slice(placeholder.as_bytes());
            attachments.push(bytes.into());
            return Ok(());
        }
        json.push(b'{');
        for (index, (name, member)) in members.enumerate() {
            if index > 0 {
                json.push(b',');
            }
            // Clients would look for an attachment in its place.
            if name == "_placeholder" {
                return Err(Fault::Placeholder);
            }
            push_string(json, name);
            json.push(b':');
            write(json, attachments, member)?;
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
        let arguments = decode_emit(&mut scratch, text.as_bytes())?.arguments;
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
