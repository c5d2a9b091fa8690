//! Peers that break Socket.IO's protocol, or try what sounds dangerous: the session ends for the right reason or goes
//! on unharmed, and nobody else notices.

use roadstead::wire::websocket::Opcode;

use crate::{
    link::Link,
    place::Fixture,
    polling::Polling,
    socket::frame,
    witness::{Witness, play, play_polling},
};

/// The reason for a session whose packets cannot be read.
const UNREADABLE: &[&str] = &["parse error", "forced close"];
/// The reason for a session whose packets do not fit to what was said before.
const OUT_OF_PLACE: &[&str] = &["forced server close", "forced close", "parse error"];

/// Lets a client of `/play` say this, in both ways a session can run, and checks that it is sent away.
#[track_caller]
fn check_sent_away(fixture: &Fixture, witness: &mut Witness, packets: &[&str], reasons: &[&str]) {
    let shown: Vec<String> = packets.iter().map(|packet| packet.chars().take(60).collect()).collect();
    let mut link = play(fixture, "over a WebSocket");
    packets.iter().for_each(|packet| link.send(packet));
    link.expect_close();
    let reason = witness.reason("over a WebSocket");
    assert!(reasons.contains(&reason.as_str()), "{reason} for {shown:?}");
    let session = play_polling(fixture, "by polling");
    session.post(packets.join("\x1e"));
    session.expect_end();
    let reason = witness.reason("by polling");
    assert!(reasons.contains(&reason.as_str()), "{reason} for {shown:?}");
    witness.expect_well();
}

/// Checks that a client which says this stays and is heard.
#[track_caller]
fn check_stays(fixture: &Fixture, packet: &str, answer: Option<&str>) {
    let shown: String = packet.chars().take(60).collect();
    let mut link = play(fixture, "over a WebSocket");
    link.send(packet);
    if let Some(answer) = answer {
        assert_eq!(link.packet(), answer, "{shown}");
    }
    link.send(r#"42/play,7["echo","still here"]"#);
    assert_eq!(link.packet(), r#"43/play,7["still here"]"#, "{shown}");
    link.drop_connection();
    let session: Polling = play_polling(fixture, "by polling");
    session.send(packet);
    session.send(r#"42/play,7["echo","still here"]"#);
    let expected: Vec<&str> = answer.into_iter().chain([r#"43/play,7["still here"]"#]).collect();
    assert_eq!(session.receive_count(expected.len()), expected, "{shown}");
    session.send("1");
}

#[test]
fn packets_that_cannot_be_read_end_the_session() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let bomb = format!("42/play,{}", "[".repeat(500_000));
    for packet in [
        "4abc",
        "47",
        "49",
        "4-1",
        "4",
        "4 2/play,[\"echo\"]",
        "42/play,[]",
        "42/play,{}",
        "42/play,\"echo\"",
        "42/play,[null]",
        "42/play,[{}]",
        "42/play,[[\"echo\"]]",
        "42/play,[true]",
        "42/play,[\"echo\"",
        "42/play,[\"echo\"]]",
        "42/play,[\"echo\",]",
        "42/play,['echo']",
        "42/play,[\"echo\",01]",
        "42/play,[\"echo\",\"\u{1}\"]",
        "42/play,nonsense",
        "42/play,1.5[\"echo\"]",
        "42/play,-1[\"echo\"]",
        "42/play,1e3[\"echo\"]",
        "43/play,1{}",
        "43/play,1\"a\"",
        "41/play,{}",
        "40/custom,[]",
        "40/custom,\"a\"",
        "40/custom,{\"a\"",
        bomb.as_str(),
    ] {
        check_sent_away(&fixture, &mut witness, &[packet], UNREADABLE);
    }
}

#[test]
fn names_of_events_that_are_the_librarys_own_end_the_session() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        check_sent_away(&fixture, &mut witness, &[&format!(r#"42/play,["{name}"]"#)], UNREADABLE);
    }
    check_stays(&fixture, r#"42/play,["connection"]"#, None);
}

#[test]
fn counts_of_attachments_that_are_none_end_the_session() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    for count in ["", "1", "-", "-1-", "1.5-", "1e1-", "a-", "65-", "99999999999999999999-", "4294967297-"] {
        let packet = format!(r#"45{count}/play,["echo",{placeholder}]"#);
        check_sent_away(&fixture, &mut witness, &[&packet], UNREADABLE);
    }
}

#[test]
fn attachments_that_never_arrive_cost_a_session_nothing_but_itself() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let promise = r#"452-/play,["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    check_sent_away(&fixture, &mut witness, &[promise, r#"42/play,["echo",1]"#], UNREADABLE);
    check_sent_away(&fixture, &mut witness, &[promise, promise], UNREADABLE);
    let mut link = play(&fixture, "half");
    link.send(promise);
    link.send_bytes(b"one of two");
    link.send(r#"42/play,["echo",1]"#);
    link.expect_close();
    assert!(UNREADABLE.contains(&witness.reason("half").as_str()));
    // A hundred that wait for ever are held, each for itself, and are gone with their connection.
    let mut waiting: Vec<Link> = (0..100).map(|_| play(&fixture, "waiting")).collect();
    waiting.iter_mut().for_each(|link| link.send(promise));
    witness.expect_well();
    for link in waiting {
        link.drop_connection();
        assert!(witness.reason("waiting").starts_with("transport "));
    }
    witness.expect_well();
}

#[test]
fn attachments_nobody_announced_end_the_session() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let mut link = play(&fixture, "unannounced");
    link.send_bytes(b"bytes");
    link.expect_close();
    assert!(UNREADABLE.contains(&witness.reason("unannounced").as_str()));
    let mut link = play(&fixture, "one too many");
    link.send(r#"451-/play,["echo",{"_placeholder":true,"num":0}]"#);
    link.send_bytes(b"announced");
    link.send_bytes(b"not announced");
    link.expect_close();
    assert!(UNREADABLE.contains(&witness.reason("one too many").as_str()));
    witness.expect_well();
}

#[test]
fn placeholders_for_what_is_not_there_end_the_session() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    for number in ["1", "-1", "4294967296", "1e99", "0.5", "\"0\"", "null", "true", "{}", "[0]"] {
        let mut link = play(&fixture, "misled");
        link.send(&format!(r#"451-/play,["echo",{{"_placeholder":true,"num":{number}}}]"#));
        link.send_bytes(b"bytes");
        link.expect_close();
        let reason = witness.reason("misled");
        assert!(UNREADABLE.contains(&reason.as_str()), "{reason} for {number}");
    }
    witness.expect_well();
}

#[test]
fn what_only_looks_like_a_placeholder_is_data() {
    let fixture = Fixture::start(&[]);
    for value in
        [r#"{"_placeholder":false,"num":7}"#, r#"{"_placeholder":1,"num":7}"#, r#"{"_placeholder":"true"}"#]
    {
        check_stays(&fixture, &format!(r#"42/play,1["echo",{value}]"#), Some(&format!("43/play,1[{value}]")));
    }
}

#[test]
fn packets_that_are_out_of_place_end_the_session() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    for packet in [
        "44/play,{\"message\":\"me too\"}",
        "42/custom,[\"echo\"]",
        "43/custom,1[]",
        "42[\"echo\"]",
        "42/__proto__,[\"echo\"]",
    ] {
        check_sent_away(&fixture, &mut witness, &[packet], OUT_OF_PLACE);
    }
}

#[test]
fn acknowledgements_nobody_asked_for_are_passed_over() {
    let fixture = Fixture::start(&[]);
    for packet in ["43/play,0[]", "43/play,999[1,2]", "43/play,9007199254740991[]"] {
        check_stays(&fixture, packet, None);
    }
    let mut link = play(&fixture, "twice");
    link.send(r#"42/play,1["ask",10000,"?"]"#);
    let question = link.packet();
    let id: u64 = question
        .strip_prefix("42/play,")
        .and_then(|rest| rest.split('[').next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{question} asks for an acknowledgement"));
    link.send(&format!(r#"43/play,{id}["first"]"#));
    link.send(&format!(r#"43/play,{id}["second"]"#));
    link.send(r#"42/play,2["echo","still here"]"#);
    assert_eq!(link.packet(), r#"43/play,1["answered","first"]"#);
    assert_eq!(link.packet(), r#"43/play,2["still here"]"#);
}

#[test]
fn numbers_of_acknowledgements_may_be_as_large_as_javascript_counts() {
    let fixture = Fixture::start(&[]);
    for id in ["0", "4294967295", "4294967296", "9007199254740991"] {
        check_stays(&fixture, &format!(r#"42/play,{id}["echo",1]"#), Some(&format!("43/play,{id}[1]")));
    }
}

#[test]
fn numbers_of_acknowledgements_beyond_that_end_the_session() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    for id in ["18446744073709551616", "99999999999999999999999999", &"9".repeat(1000)] {
        check_sent_away(&fixture, &mut witness, &[&format!(r#"42/play,{id}["echo"]"#)], UNREADABLE);
    }
}

#[test]
fn names_that_mean_something_to_javascript_mean_nothing_here() {
    let fixture = Fixture::start(&[]);
    for name in ["__proto__", "constructor", "toString", "hasOwnProperty", "prototype", ""] {
        check_stays(&fixture, &format!(r#"42/play,["{name}",{{"__proto__":{{"a":1}}}}]"#), None);
        let packet = format!(r#"42/play,1["echo",{{"{name}":{{"{name}":[1]}}}}]"#);
        check_stays(&fixture, &packet, Some(&format!(r#"43/play,1[{{"{name}":{{"{name}":[1]}}}}]"#)));
        let mut link = fixture.socketio().link();
        if !name.is_empty() {
            let refusal = format!(r#"44/{name},{{"message":"Invalid namespace"}}"#);
            assert_eq!(link.enter(&format!("40/{name},")), refusal);
        }
    }
    let mut link = fixture.socketio().link();
    let said = link.enter(r#"40/custom,{"__proto__":{"admin":true},"sid":"mine"}"#);
    assert!(said.starts_with("40/custom,{\"sid\":\"") && !said.contains("mine"), "{said}");
    assert_eq!(link.packet(), r#"42/custom,["auth",{"__proto__":{"admin":true},"sid":"mine"}]"#);
}

#[test]
fn deep_values_are_taken_to_a_depth_and_not_beyond() {
    let fixture = Fixture::start(&[]);
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let shallow = nested(30);
    check_stays(&fixture, &format!(r#"42/play,1["echo",{shallow}]"#), Some(&format!("43/play,1[{shallow}]")));
    let mut witness = Witness::enter(&fixture);
    let packet = format!(r#"42/play,1["echo",{}]"#, nested(200_000));
    check_sent_away(&fixture, &mut witness, &[&packet], UNREADABLE);
}

#[test]
fn what_comes_behind_the_end_is_passed_over() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let text = |packet: &str| frame(Opcode::Text, true, packet.as_bytes());
    let mut link = play(&fixture, "engine");
    link.send_raw(
        &[text("1"), text(r#"42/play,["bye",false]"#), text("4abc"), b"\xff\xff".to_vec()].concat(),
    );
    link.expect_close();
    assert_eq!(witness.reason("engine"), "transport close");
    let mut link = play(&fixture, "websocket");
    link.send_raw(&[frame(Opcode::Close, true, b""), text(r#"42/play,["bye",false]"#)].concat());
    link.expect_close();
    assert_eq!(witness.reason("websocket"), "transport close");
    let session = play_polling(&fixture, "polling");
    session.send("1\x1e42/play,[\"bye\",false]\x1eabc");
    session.expect_end();
    assert_eq!(witness.reason("polling"), "transport close");
    witness.expect_well();
}

#[test]
fn a_text_that_is_not_utf_8_closes_the_websocket() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let mut link = play(&fixture, "garbled");
    link.send_raw(&frame(Opcode::Text, true, b"42/play,[\"\xff\"]"));
    link.expect_close();
    assert!(
        ["transport error", "transport close", "parse error"].contains(&witness.reason("garbled").as_str())
    );
    witness.expect_well();
}

#[test]
fn a_message_beyond_the_limit_closes_the_websocket() {
    let fixture = Fixture::start(&["maxHttpBufferSize=10000"]);
    let mut witness = Witness::enter(&fixture);
    let padded = |length: usize| {
        let empty = r#"42/play,1["echo",""]"#.len();
        format!(r#"42/play,1["echo","{}"]"#, "x".repeat(length - empty))
    };
    let mut link = play(&fixture, "too large");
    link.send(&padded(10_000));
    assert!(link.packet().starts_with("43/play,1["));
    link.send(&padded(10_001));
    link.expect_close();
    assert!(["transport error", "parse error"].contains(&witness.reason("too large").as_str()));
    witness.expect_well();
}
