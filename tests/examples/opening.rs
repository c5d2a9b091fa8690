//! What an application says about requests that open a session; and applications that speak Engine.IO only.

use std::time::Duration;

use roadstead::app::socketio::{Cookie, Io, Socket};

use super::client::{Client, SOCKETIO, answer, begin_request, open, request, start};

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

fn labelled(io: &Io) {
    io.initial_headers(|_| vec![("X-Hello".into(), "there".into())]);
    io.headers(|request| vec![("X-Transport".into(), request.query("transport").unwrap_or_default().into())]);
    io.on("say", |socket: &Socket, word: String| socket.emit("said", &word));
}

#[test]
fn every_answer_to_a_session_has_the_applications_header_fields_and_the_first_has_more() {
    let server = start(labelled);
    let polling = "/socket.io/?EIO=4&transport=polling";
    let is_labelled = |answer: &str, transport: &str, is_first: bool| {
        let head = answer.split_once("\r\n\r\n").expect("an answer has a head").0;
        assert!(head.contains(&format!("\r\nX-Transport: {transport}")), "{head}");
        assert_eq!(head.contains("\r\nX-Hello: there"), is_first, "{head}");
    };
    let opened = request(&server, &format!("GET {polling}"), "");
    is_labelled(&opened, "polling", true);
    let (_, sid) = opened.split_once(r#""sid":""#).expect("a session");
    let sid = sid.split_once('"').expect("an id").0;
    let session = format!("{polling}&sid={sid}");
    for (asked, body, told) in
        [("POST", "40", "ok"), ("GET", "", "40{"), ("POST", "42[\"say\",\"hi\"]", "ok")]
    {
        let answer = request(&server, &format!("{asked} {session}"), body);
        is_labelled(&answer, "polling", false);
        assert!(answer.contains(&format!("\r\n\r\n{told}")), "{answer}");
    }
    let heard = request(&server, &format!("GET {session}"), "");
    is_labelled(&heard, "polling", false);
    assert!(heard.ends_with("42[\"said\",\"hi\"]"), "{heard}");
    // One that waits for what is said.
    let poll = begin_request(&server, &format!("GET {session}"), "");
    is_labelled(&request(&server, &format!("POST {session}"), "42[\"say\",\"ho\"]"), "polling", false);
    let waiting = answer(poll);
    is_labelled(&waiting, "polling", false);
    assert!(waiting.ends_with("42[\"said\",\"ho\"]"), "{waiting}");
    let (upgraded, _probe) = open(&server, &format!("{SOCKETIO}&sid={sid}"));
    is_labelled(&upgraded, "websocket", false);
    let (opened, _socket) = open(&server, SOCKETIO);
    is_labelled(&opened, "websocket", true);
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
