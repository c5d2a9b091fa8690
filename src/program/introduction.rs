//! What the program is told of a client that comes: JSON, of which a part is kept for another program.

use crate::{app::socketio::Handshake, wire::json::push_string};

/// What a client has brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brought<'a> {
    /// JSON, verbatim.
    pub(super) auth: Option<&'a str>,
    /// The request that opened its session.
    pub(super) handshake: Option<&'a Handshake>,
}

impl Brought<'_> {
    /// What is told of one that has just come.
    pub(super) fn told(&self, transport: &str) -> String {
        whole(&self.members(true), transport, &[], "null")
    }

    /// What is told of one that has come back, which the program may not know; `data` is JSON.
    pub(super) fn told_again(&self, transport: &str, rooms: &[&str], data: &str) -> String {
        whole(&self.members(true), transport, rooms, data)
    }

    /// What is kept of it: all there is, or only what it proves itself with. Nothing takes no memory.
    pub(super) fn kept(&self, keeps_handshake: bool) -> Option<Box<str>> {
        Some(self.members(keeps_handshake)).filter(|members| !members.is_empty()).map(Into::into)
    }

    /// Members of a JSON object, each with a comma behind it.
    fn members(&self, with_handshake: bool) -> String {
        let mut out = Vec::new();
        if let Some(auth) = self.auth {
            out.extend_from_slice(b"\"auth\":");
            out.extend_from_slice(auth.as_bytes());
            out.push(b',');
        }
        if let Some(handshake) = self.handshake.filter(|_| with_handshake) {
            let mut member = |name: &str, text: &str| {
                push_string(&mut out, name);
                out.push(b':');
                push_string(&mut out, text);
                out.push(b',');
            };
            member("url", &handshake.target);
            member("headers", &handshake.fields);
            if let Some(address) = handshake.address {
                member("address", &address.ip().to_string());
            }
            if handshake.passage.is_secure {
                out.extend_from_slice(b"\"secure\":true,");
            }
        }
        String::from_utf8(out).expect("JSON is text")
    }
}

/// What is told of a client that wants to enter a namespace which nobody has named; `auth` is JSON.
pub(super) fn wanted(namespace: &str, auth: Option<&str>) -> String {
    let mut out = named("namespace", namespace);
    if let Some(auth) = auth {
        out.extend_from_slice(b",\"auth\":");
        out.extend_from_slice(auth.as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).expect("JSON is text")
}

/// What another program is told of a namespace that it may know, with what was kept of somebody who is there.
pub(super) fn recalled(namespace: &str, members: &str) -> String {
    let mut out = named("name", namespace);
    if !members.is_empty() {
        out.push(b',');
        out.extend_from_slice(members.trim_end_matches(',').as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).expect("JSON is text")
}

/// The beginning of an object with a text in it.
fn named(member: &str, text: &str) -> Vec<u8> {
    let mut out = vec![b'{'];
    push_string(&mut out, member);
    out.push(b':');
    push_string(&mut out, text);
    out
}

/// The whole of what is told, with what was kept of a client before; `data` is JSON.
pub(super) fn whole(members: &str, transport: &str, rooms: &[&str], data: &str) -> String {
    let mut out = Vec::with_capacity(members.len() + 64);
    out.push(b'{');
    out.extend_from_slice(members.as_bytes());
    out.extend_from_slice(b"\"transport\":");
    push_string(&mut out, transport);
    if !rooms.is_empty() {
        out.extend_from_slice(b",\"rooms\":[");
        for (place, room) in rooms.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            push_string(&mut out, room);
        }
        out.push(b']');
    }
    if data != "null" {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).expect("JSON is text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Passage;

    #[test]
    fn a_client_is_told_of_with_what_it_has_brought() {
        let handshake = Handshake {
            target: "/socket.io/?EIO=4".into(),
            fields: "host: \"x\"\n".into(),
            address: Some("[::1]:80".parse().expect("an address")),
            passage: Passage { is_secure: true, ..Passage::default() },
        };
        let brought = Brought { auth: Some("{\"a\":1}"), handshake: Some(&handshake) };
        assert_eq!(
            brought.told("polling"),
            r#"{"auth":{"a":1},"url":"/socket.io/?EIO=4","headers":"host: \"x\"\n","address":"::1","secure":true,"transport":"polling"}"#
        );
        let nothing = Brought { auth: None, handshake: None };
        assert_eq!(nothing.told("websocket"), r#"{"transport":"websocket"}"#);
    }

    #[test]
    fn what_is_kept_is_told_another_program() {
        let handshake = Handshake::default();
        let brought = Brought { auth: Some("{\"a\":1}"), handshake: Some(&handshake) };
        let kept = brought.kept(false).expect("it has brought something");
        assert_eq!(
            whole(&kept, "websocket", &["a", "b"], "{\"n\":2}"),
            r#"{"auth":{"a":1},"transport":"websocket","rooms":["a","b"],"data":{"n":2}}"#
        );
        assert!(brought.kept(true).expect("all of it").contains("\"headers\":\"\""));
        assert_eq!(Brought { auth: None, ..brought }.kept(false), None);
        assert_eq!(recalled("/a", &kept), r#"{"name":"/a","auth":{"a":1}}"#);
        assert_eq!(recalled("/a", ""), r#"{"name":"/a"}"#);
    }

    #[test]
    fn a_namespace_that_nobody_has_named_is_asked_about_with_what_the_client_proves_itself_with() {
        assert_eq!(wanted("/a\"", None), r#"{"namespace":"/a\""}"#);
        assert_eq!(wanted("/a", Some("{\"b\":2}")), r#"{"namespace":"/a","auth":{"b":2}}"#);
    }
}
