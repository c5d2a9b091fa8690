//! Packets as text, the server's side of the conversation. Their JSON comes written: an event's arguments are
//! serialized once, or passed on as they came, and sent to many.
//!
//! Every function appends the text of one packet; what must be JSON or a namespace is the caller's promise.

use crate::wire::json::{Raw, push_display, push_string};

/// A client is let into a namespace.
#[derive(Clone, Copy, Debug)]
pub struct ConnectReply<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The socket's id.
    pub sid: &'a str,
    /// What to come back with, when the server can restore the socket. Without that, the client expects none.
    pub pid: Option<&'a str>,
}

/// A client is not let into a namespace.
#[derive(Clone, Copy, Debug)]
pub struct ConnectRefusal<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Why, as text.
    pub message: &'a str,
    /// What else the application says, as JSON.
    pub data: Option<&'a str>,
}

/// What surrounds the name and arguments of an event.
#[derive(Clone, Copy, Debug)]
pub struct EventHead<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The id by which an acknowledgement is wanted.
    pub ack: Option<u64>,
    /// How many binary messages follow.
    pub attachments: u32,
    /// What the client shows to get what it missed, appended as the last argument.
    pub offset: Option<&'a str>,
}

/// What surrounds the arguments of an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct AckHead<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The id of the event.
    pub id: u64,
    /// How many binary messages follow.
    pub attachments: u32,
}

/// Appends the answer that lets a client in.
pub fn encode_connect(out: &mut Vec<u8>, reply: ConnectReply<'_>) {
    out.push(b'0');
    push_namespace(out, reply.namespace);
    out.extend_from_slice(b"{\"sid\":");
    push_string(out, reply.sid);
    if let Some(pid) = reply.pid {
        out.extend_from_slice(b",\"pid\":");
        push_string(out, pid);
    }
    out.push(b'}');
}

/// Appends the answer that keeps a client out.
pub fn encode_connect_error(out: &mut Vec<u8>, refusal: ConnectRefusal<'_>) {
    out.push(b'4');
    push_namespace(out, refusal.namespace);
    out.extend_from_slice(b"{\"message\":");
    push_string(out, refusal.message);
    if let Some(data) = refusal.data {
        out.extend_from_slice(b",\"data\":");
        push_json(out, data);
    }
    out.push(b'}');
}

/// Appends the packet that puts a client out of a namespace.
pub fn encode_disconnect(out: &mut Vec<u8>, namespace: &str) {
    out.push(b'1');
    push_namespace(out, namespace);
}

/// Appends an event whose name and arguments are the elements of a JSON array.
pub fn encode_event_array(out: &mut Vec<u8>, head: EventHead<'_>, array: &str) {
    push_event_head(out, head);
    push_array(out, array, head.offset);
}

/// Appends an event; each argument is JSON.
pub fn encode_event<'j>(
    out: &mut Vec<u8>,
    head: EventHead<'_>,
    name: &str,
    arguments: impl IntoIterator<Item = &'j str>,
) {
    push_event_head(out, head);
    out.push(b'[');
    push_string(out, name);
    for argument in arguments {
        out.push(b',');
        push_json(out, argument);
    }
    if let Some(offset) = head.offset {
        out.push(b',');
        push_string(out, offset);
    }
    out.push(b']');
}

/// Appends an acknowledgement whose arguments are the elements of a JSON array.
pub fn encode_ack(out: &mut Vec<u8>, head: AckHead<'_>, array: &str) {
    push_type(out, [b'3', b'6'], head.attachments);
    push_namespace(out, head.namespace);
    push_display(out, format_args!("{}", head.id));
    push_array(out, array, None);
}

fn push_event_head(out: &mut Vec<u8>, head: EventHead<'_>) {
    push_type(out, [b'2', b'5'], head.attachments);
    push_namespace(out, head.namespace);
    if let Some(ack) = head.ack {
        push_display(out, format_args!("{ack}"));
    }
}

/// One type of packet has no attachments, the other says how many.
fn push_type(out: &mut Vec<u8>, [plain, binary]: [u8; 2], attachments: u32) {
    match attachments {
        0 => out.push(plain),
        _ => {
            out.push(binary);
            push_display(out, format_args!("{attachments}-"));
        }
    }
}

fn push_namespace(out: &mut Vec<u8>, namespace: &str) {
    debug_assert!(namespace.starts_with('/') && !namespace.contains(','), "no namespace: {namespace:?}");
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

fn push_array(out: &mut Vec<u8>, array: &str, offset: Option<&str>) {
    debug_assert!(array.starts_with('[') && array.ends_with(']'), "no array: {array:?}");
    push_json(out, array);
    if let Some(offset) = offset {
        // Only an event has an offset, and its array holds its name at least: a comma is right.
        out.truncate(out.len() - 1);
        out.push(b',');
        push_string(out, offset);
        out.push(b']');
    }
}

fn push_json(out: &mut Vec<u8>, json: &str) {
    debug_assert!(Raw::check(json, usize::MAX).is_ok(), "no JSON: {json:?}");
    out.extend_from_slice(json.as_bytes());
}
