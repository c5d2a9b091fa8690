//! Connection state recovery on the line: what a server that keeps lost clients says, and who is taken for whom.

use serde_json::Value;

use crate::{link::Link, place::Fixture, witness::Witness};

const KEEPING: &[&str] = &["maxDisconnectionDuration=60000", "shards=4"];

/// Who a client is, as it was told when it entered `/play`.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    sid: String,
    pid: String,
}

/// Enters `/play` with what `auth` holds.
#[track_caller]
fn enter(fixture: &Fixture, auth: &str) -> (Link, Identity) {
    let mut link = fixture.socketio().link();
    let identity = identity(&link.enter(&format!("40/play,{auth}")));
    (link, identity)
}

#[track_caller]
fn identity(answer: &str) -> Identity {
    let json = answer.strip_prefix("40/play,").unwrap_or_else(|| panic!("not let in: {answer}"));
    let told: Value = serde_json::from_str(json).expect("an answer in JSON");
    let text = |name: &str| told[name].as_str().unwrap_or_else(|| panic!("no {name} in {json}")).to_owned();
    Identity { sid: text("sid"), pid: text("pid") }
}

/// Checks that a client which has changed to a WebSocket is who it was, as it is told over its poll or over the WebSocket; a
/// poll may only have been released.
#[track_caller]
fn is_back(link: &mut Link, mut heard: Vec<String>, who: &Identity) {
    heard.retain(|packet| packet != "6");
    let answer = heard.pop().unwrap_or_else(|| link.packet());
    assert_eq!(identity(&answer), *who);
    echo(link, "live again");
}

/// Enters the room `away`, and hears itself there: then whoever speaks there is heard, whatever shard has the room.
#[track_caller]
fn join(link: &mut Link) {
    link.send(r#"42/play,1["join","away"]"#);
    assert!(link.packet().starts_with("43/play,1["));
    link.send(r#"42/play,["say",{"to":["away"],"self":true,"event":"here"}]"#);
    assert!(link.packet().starts_with(r#"42/play,["here""#));
}

/// Has an event come back; its offset, the last argument.
#[track_caller]
fn echo(link: &mut Link, word: &str) -> String {
    link.send(&format!(r#"42/play,["echo","{word}"]"#));
    let packet = link.packet();
    let rest = packet
        .strip_prefix(&format!(r#"42/play,["echo","{word}",""#))
        .and_then(|rest| rest.strip_suffix("\"]"));
    rest.unwrap_or_else(|| panic!("no offset in {packet}")).to_owned()
}

fn claim(pid: &str, offset: &str) -> String {
    format!(r#"{{"name":"claimant","pid":"{pid}","offset":"{offset}"}}"#)
}

#[test]
fn an_event_has_an_offset_unless_it_asks_for_an_acknowledgement() {
    let fixture = Fixture::start(KEEPING);
    let (mut link, _) = enter(&fixture, r#"{"name":"ada"}"#);
    assert_ne!(echo(&mut link, "one"), echo(&mut link, "two"));
    link.send(r#"42/play,1["ask",10000,"why"]"#);
    assert!(link.packet().ends_with(r#"["question","why"]"#));
    // A client takes any text at the end for an offset, also that of a volatile event.
    link.send(
        r#"42/play,["say",{"to":["all"],"self":true,"volatile":true,"event":"shaky","args":["text"]}]"#,
    );
    assert!(link.packet().starts_with(r#"42/play,["shaky","text",""#));
    link.send(r#"451-/play,["echo",{"_placeholder":true,"num":0}]"#);
    link.send_bytes(&[1, 2]);
    let packet = link.packet();
    assert!(packet.starts_with(r#"451-/play,["echo",{"_placeholder":true,"num":0},""#), "{packet}");
    assert_eq!(link.bytes(), [1, 2]);
}

#[test]
fn a_client_that_lost_its_connection_is_itself_again_and_gets_what_it_missed() {
    let fixture = Fixture::start(KEEPING);
    let mut witness = Witness::enter(&fixture);
    let (mut link, who) = enter(&fixture, r#"{"name":"ada"}"#);
    join(&mut link);
    let offset = echo(&mut link, "seen");
    link.drop_connection();
    assert!(witness.reason("ada").starts_with("transport "));
    witness.say(&format!(r#"{{"to":["{}"],"event":"missed","args":[1]}}"#, who.sid));
    witness.say(r#"{"to":["away"],"event":"missed","args":[2]}"#);
    let (mut link, again) = enter(&fixture, &claim(&who.pid, &offset));
    assert_eq!(again, who);
    for number in [1, 2] {
        let packet = link.packet();
        assert!(packet.starts_with(&format!(r#"42/play,["missed",{number},""#)), "{packet}");
    }
    echo(&mut link, "live again");
}

#[test]
fn a_client_whose_old_connection_has_not_ended_for_the_server_takes_its_place() {
    let fixture = Fixture::start(KEEPING);
    let mut witness = Witness::enter(&fixture);
    let (mut left_behind, who) = enter(&fixture, r#"{"name":"ada"}"#);
    join(&mut left_behind);
    let offset = echo(&mut left_behind, "seen");
    witness.say(r#"{"to":["away"],"event":"said into silence"}"#);
    let (mut link, again) = enter(&fixture, &claim(&who.pid, &offset));
    assert_eq!(again, who);
    assert!(link.packet().starts_with(r#"42/play,["said into silence",""#));
    assert!(witness.reason("ada").starts_with("transport "));
    left_behind.expect_close();
    echo(&mut link, "live again");
}

#[test]
fn a_client_that_polls_comes_back_whether_or_not_a_poll_was_under_way() {
    let fixture = Fixture::start(KEEPING);
    let mut witness = Witness::enter(&fixture);
    for is_polling in [false, true] {
        let session = fixture.socketio().poll();
        let who = identity(&session.enter(r#"40/play,{"name":"ada"}"#));
        session.send(r#"42/play,1["join","away"]"#);
        session.send(r#"42/play,["say",{"to":["away"],"self":true,"event":"here"}]"#);
        session.receive_count(2);
        session.send(r#"42/play,["echo"]"#);
        let packet = session.receive_count(1).remove(0);
        let offset = packet.trim_start_matches(r#"42/play,["echo",""#).trim_end_matches("\"]");
        if is_polling {
            drop(session.begin_get());
            assert!(witness.reason("ada").starts_with("transport "));
        }
        witness.say(r#"{"to":["away"],"event":"missed"}"#);
        let session = fixture.socketio().poll();
        session.send(format!("40/play,{}", claim(&who.pid, offset)));
        let received = session.receive_count(2);
        assert_eq!(identity(&received[0]), who);
        assert!(received[1].starts_with(r#"42/play,["missed",""#), "{received:?}");
        session.send("41/play,");
        if !is_polling {
            assert!(witness.reason("ada").starts_with("transport "));
        }
        assert_eq!(witness.reason("ada"), "client namespace disconnect");
    }
}

#[test]
fn a_client_that_changes_its_transport_while_it_comes_back_does_so_wherever_it_was_before() {
    let fixture = Fixture::start(KEEPING);
    for round in 0..24 {
        let (mut link, who) = enter(&fixture, r#"{"name":"ada"}"#);
        let offset = echo(&mut link, "seen");
        link.drop_connection();
        // The kernel gives these to any shard, so most sessions have to go to where the client was.
        let session = fixture.socketio().poll();
        let mut link = session.upgrade();
        let is_confirmed = round % 2 == 0;
        if is_confirmed {
            assert!(link.try_probe());
        }
        session.send(format!("40/play,{}", claim(&who.pid, &offset)));
        // A poll that is under way is answered, so that the client can change.
        let heard = session.receive();
        if !is_confirmed {
            assert!(link.try_probe());
        }
        link.send("5");
        is_back(&mut link, heard, &who);
    }
}

#[test]
fn a_client_that_has_said_a_part_of_its_word_to_change_as_its_session_goes_elsewhere_changes_all_the_same() {
    let fixture = Fixture::start(KEEPING);
    for round in 0..24 {
        let (mut link, who) = enter(&fixture, r#"{"name":"ada"}"#);
        let offset = echo(&mut link, "seen");
        link.drop_connection();
        let session = fixture.socketio().poll();
        let mut link = session.probe();
        // A frame of one byte: within its head, before its payload.
        let rest = link.send_half("5", 1 + round % 6);
        session.send(format!("40/play,{}", claim(&who.pid, &offset)));
        let heard = session.receive();
        link.send_raw(&rest);
        is_back(&mut link, heard, &who);
    }
}

#[test]
fn who_claims_to_be_somebody_without_proof_begins_anew_and_harms_nobody() {
    let fixture = Fixture::start(KEEPING);
    let (mut link, who) = enter(&fixture, r#"{"name":"ada"}"#);
    let offset = echo(&mut link, "seen");
    let altered = who.pid.replace(&who.pid[12..], &"A".repeat(who.pid.len() - 12));
    for (pid, offset) in [
        (altered.as_str(), offset.as_str()),
        (&who.sid, &offset),
        ("", ""),
        (&who.pid[..10], &offset),
        (&"A".repeat(who.pid.len()), &offset),
        ("../../x", "0"),
        (&who.pid, "ffffffffffffffff"),
        (&who.pid, "not hex"),
    ] {
        let (_, other) = enter(&fixture, &claim(pid, offset));
        assert!(other.sid != who.sid && other.pid != who.pid, "{pid} {offset}");
    }
    for auth in [r#"{"pid":7,"offset":{}}"#, r#"{"pid":"__proto__"}"#, r#"{"offset":"0"}"#] {
        let (_, other) = enter(&fixture, auth);
        assert_ne!(other.sid, who.sid);
    }
}

#[test]
fn who_left_or_was_sent_away_is_not_kept() {
    let fixture = Fixture::start(KEEPING);
    let mut witness = Witness::enter(&fixture);
    for (last_word, reason) in [
        ("41/play,", "client namespace disconnect"),
        (r#"42/play,["bye",false]"#, "server namespace disconnect"),
        (r#"42/play,["bye",true]"#, "server namespace disconnect"),
    ] {
        let (mut link, who) = enter(&fixture, r#"{"name":"ada"}"#);
        let offset = echo(&mut link, "seen");
        link.send(last_word);
        assert_eq!(witness.reason("ada"), reason);
        let (_, other) = enter(&fixture, &claim(&who.pid, &offset));
        assert_ne!(other, who, "{last_word}");
    }
}

#[test]
fn what_a_client_was_in_one_namespace_it_is_in_no_other() {
    let fixture = Fixture::start(KEEPING);
    let mut witness = Witness::enter(&fixture);
    let (mut link, who) = enter(&fixture, r#"{"name":"ada"}"#);
    let offset = echo(&mut link, "seen");
    link.drop_connection();
    witness.reason("ada");
    let mut link = fixture.socketio().link();
    let said = link.enter(&format!("40/custom,{}", claim(&who.pid, &offset)));
    assert!(said.starts_with("40/custom,{") && !said.contains(&who.sid), "{said}");
    let (_, again) = enter(&fixture, &claim(&who.pid, &offset));
    assert_eq!(again, who);
}
