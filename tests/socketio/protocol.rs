//! Socket.IO as its published test suite means it, one test per case. The Engine.IO cases of that suite are those of
//! `engine.rs`, which tries both places.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    link::Link,
    place::{Fixture, PATIENT},
};

/// Enters a namespace, and checks the answer and the event behind it.
#[track_caller]
fn check_entry(connect: &str, answer: &str, auth: &str) {
    let fixture = Fixture::start(&[]);
    let mut link = fixture.socketio().link();
    let said = link.enter(connect);
    let json = said.strip_prefix(answer).unwrap_or_else(|| panic!("{said} instead of {answer}"));
    let Value::Object(members) = serde_json::from_str(json).expect("an answer in JSON") else {
        panic!("{json} is no object")
    };
    assert!(members["sid"].is_string() && members.len() == 1, "{members:?}");
    assert_eq!(link.packet(), auth);
}

/// A client of the main namespace that has had all that comes at the beginning.
fn entered(fixture: &Fixture) -> Link {
    let mut link = fixture.socketio().link();
    assert!(link.enter("40").starts_with("40{"));
    assert_eq!(link.packet(), r#"42["auth",{}]"#);
    link
}

#[test]
fn the_main_namespace_is_entered() {
    check_entry("40", "40", r#"42["auth",{}]"#);
}

#[test]
fn the_main_namespace_is_entered_with_something_to_prove_oneself() {
    check_entry(r#"40{"token":"123"}"#, "40", r#"42["auth",{"token":"123"}]"#);
}

#[test]
fn another_namespace_is_entered() {
    check_entry("40/custom,", "40/custom,", r#"42/custom,["auth",{}]"#);
}

#[test]
fn another_namespace_is_entered_with_something_to_prove_oneself() {
    check_entry(r#"40/custom,{"token":"abc"}"#, "40/custom,", r#"42/custom,["auth",{"token":"abc"}]"#);
}

#[test]
fn a_namespace_that_is_none_cannot_be_entered() {
    let fixture = Fixture::start(&[]);
    for connect in ["40/random", "40/random,", "40/random,{}"] {
        let mut link = fixture.socketio().link();
        assert_eq!(link.enter(connect), r#"44/random,{"message":"Invalid namespace"}"#);
        assert!(link.enter_again("40").starts_with("40{"), "the connection is still good");
    }
}

#[test]
fn who_begins_with_something_else_is_sent_away() {
    let fixture = Fixture::start(&[]);
    for packet in ["4abc", r#"42["message","too early"]"#, "430[]", "4"] {
        let mut link = fixture.socketio().link();
        link.opened();
        link.send(packet);
        assert_eq!(link.expect_close(), [""; 0], "{packet}");
    }
}

#[test]
fn who_enters_no_namespace_is_sent_away_in_time() {
    let fixture = Fixture::start(&["connectTimeout=300"]);
    let mut link = fixture.socketio().link();
    link.opened();
    let began = Instant::now();
    assert_eq!(link.expect_close(), [""; 0]);
    assert!(began.elapsed() > Duration::from_millis(250), "{:?}", began.elapsed());
    let mut link = fixture.socketio().link();
    link.enter("40/random");
    assert_eq!(link.expect_close(), [""; 0], "one that is none does not count");
}

#[test]
fn the_main_namespace_is_left_and_the_connection_lives_on() {
    let fixture = Fixture::start(PATIENT);
    let mut link = entered(&fixture);
    link.send("41");
    assert_eq!(link.text(), "2", "the next that comes is the ping");
    assert!(link.enter_again("40").starts_with("40{"), "it may be entered again");
}

#[test]
fn another_namespace_is_left_and_the_main_one_lives_on() {
    let fixture = Fixture::start(PATIENT);
    let mut link = entered(&fixture);
    assert_eq!(link.text(), "2");
    // No pong: the suite sends none either.
    link.send("40/custom");
    assert!(link.text().starts_with("40/custom,{"));
    assert_eq!(link.text(), r#"42/custom,["auth",{}]"#);
    link.send("41/custom");
    link.send(r#"42["message","message to main namespace"]"#);
    assert_eq!(link.text(), r#"42["message-back","message to main namespace"]"#);
}

#[test]
fn who_enters_a_namespace_twice_is_in_it_once_and_as_what_it_said_last() {
    // So does a page whose parts connect, give up and connect again before the server has answered: the reference server lets
    // it in twice then, and it hears everything twice.
    for shards in ["shards=1", "shards=2"] {
        let fixture = Fixture::start(&[shards]);
        for _ in 0..10 {
            let mut link = fixture.socketio().link();
            link.opened();
            link.send_all(&[r#"40/play,{"name":"ada"}"#, r#"40/play,{"name":"eve"}"#]);
            // It is told so for each time it got in, mostly twice; what it asks before it is in is not heard.
            let (mut entered, mut sid) = (0, String::new());
            let me = loop {
                let packet = link.packet();
                if packet.starts_with("40/play,") {
                    entered += 1;
                    sid = packet.split('"').nth(3).expect("an id").to_owned();
                    link.send(&format!(r#"42/play,{entered}["me"]"#));
                } else if packet.starts_with(&format!("43/play,{entered}[")) {
                    break packet;
                }
            };
            assert!(me.contains(r#""name":"eve""#) && me.contains(&sid), "{me}");
            link.send(r#"42/play,["say",{"to":["all"],"self":true,"event":"hello"}]"#);
            link.send(r#"42/play,["echo"]"#);
            assert_eq!(link.packet(), r#"42/play,["hello"]"#);
            assert_eq!(link.packet(), r#"42/play,["echo"]"#, "the one it was first is gone");
        }
    }
}

#[test]
fn an_event_is_answered_with_an_event() {
    let fixture = Fixture::start(&[]);
    let mut link = entered(&fixture);
    link.send(r#"42["message",1,"2",{"3":[true]}]"#);
    assert_eq!(link.packet(), r#"42["message-back",1,"2",{"3":[true]}]"#);
}

#[test]
fn an_event_with_attachments_is_answered_with_one() {
    let fixture = Fixture::start(&[]);
    let mut link = entered(&fixture);
    link.send(r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    link.send_bytes(&[1, 2, 3]);
    link.send_bytes(&[4, 5, 6]);
    assert_eq!(
        link.packet(),
        r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#
    );
    assert_eq!((link.bytes(), link.bytes()), (vec![1, 2, 3], vec![4, 5, 6]));
}

#[test]
fn an_event_is_acknowledged() {
    let fixture = Fixture::start(&[]);
    let mut link = entered(&fixture);
    link.send(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#);
    assert_eq!(link.packet(), r#"43456[1,"2",{"3":[false]}]"#);
}

#[test]
fn an_event_with_attachments_is_acknowledged_with_them() {
    let fixture = Fixture::start(&[]);
    let mut link = entered(&fixture);
    link.send(r#"452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    link.send_bytes(&[1, 2, 3]);
    link.send_bytes(&[4, 5, 6]);
    assert_eq!(link.packet(), r#"462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    assert_eq!((link.bytes(), link.bytes()), (vec![1, 2, 3], vec![4, 5, 6]));
}

/// Checks that a client which says this is sent away.
#[track_caller]
fn check_sent_away(packet: &str) {
    let fixture = Fixture::start(&[]);
    let mut link = entered(&fixture);
    link.send(packet);
    assert_eq!(link.expect_close(), [""; 0]);
}

#[test]
fn a_packet_of_no_known_type_is_not_taken() {
    check_sent_away("4abc");
}

#[test]
fn an_event_that_is_no_array_is_not_taken() {
    check_sent_away("42{}");
}

#[test]
fn an_acknowledgement_wanted_under_something_else_than_a_number_is_not_taken() {
    check_sent_away(r#"42abc["message-with-ack",1,"2",{"3":[false]}]"#);
}

#[test]
fn a_client_that_does_not_read_the_answers_to_its_events_is_not_read_and_loses_none() {
    let fixture = Fixture::start(&["pingInterval=60000"]);
    let mut link = entered(&fixture);
    let data = "x".repeat(10_000);
    let sent = link.flood(&format!(r#"42["message","{data}"]"#), 10_000);
    for at in 0..sent {
        assert_eq!(link.packet(), format!(r#"42["message-back","{data}"]"#), "answer {at} of {sent}");
    }
}
