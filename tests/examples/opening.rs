//! What an application says about requests that open a session; and applications that speak Engine.IO only.

use std::time::Duration;

use roadstead::app::socketio::{Cookie, Io};

use super::client::{Client, SOCKETIO, open, request, start};

fn strict(io: &Io) {
    io.allow_request(|request| match request.query("token").as_deref() {
        Some("good") => Ok(()),
        _ => Err("a good token is needed".into()),
    });
    io.initial_headers(|_| vec![("X-Hello".into(), "there".into())]);
    io.cookie(Cookie { max_age: Some(Duration::from_secs(60)), ..Cookie::default() });
}

#[test]
fn who_may_not_open_a_session_is_told_why_and_who_may_gets_header_fields() {
    let server = start(strict);
    let polling = "GET /socket.io/?EIO=4&transport=polling";
    let refused = request(&server, polling, "");
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(refused.ends_with(r#"{"code":4,"message":"a good token is needed"}"#), "{refused}");
    let (head, _stream) = open(&server, SOCKETIO);
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let allowed = request(&server, &format!("{polling}&token=good"), "");
    let (head, _stream) = open(&server, &format!("{SOCKETIO}&token=good"));
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for head in [allowed, head] {
        assert!(head.contains("\r\nX-Hello: there\r\n"), "{head}");
        assert!(head.contains("\r\nSet-Cookie: io="), "{head}");
        assert!(head.contains("; Max-Age=60; Path=/; HttpOnly; SameSite=Lax\r\n"), "{head}");
    }
}

fn echo(io: &Io) {
    io.engine().on_open(|session| session.send(roadstead::app::Message::Text("hello")));
    io.engine().on_message(|session, message| match message.bytes() {
        b"bye" => session.close(),
        _ => session.send(message),
    });
}

#[test]
fn a_raw_application_is_sent_messages_as_they_are() {
    let server = start(echo);
    let mut client = Client::open(&server);
    assert_eq!(client.hear_packet(), "4hello");
    client.write("4any text");
    assert_eq!(client.hear_packet(), "4any text");
    client.write("4bye");
    assert!(client.hear_end());
}
