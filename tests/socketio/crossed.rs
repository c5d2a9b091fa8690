//! Requests of one session that cross each other, break off, or come twice: what is lost is the session at most.

use std::{thread::sleep, time::Duration};

use crate::{
    link::Link,
    place::{Fixture, PATIENT},
    polling::{is_read, packets},
    server::await_that,
    witness::{Witness, play, play_polling},
};

#[test]
fn a_second_poll_ends_the_session_as_an_error_of_the_transport() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let session = play_polling(&fixture, "two polls");
    // The one that is in its place first waits there, and is the one that was sent first but on a busy machine.
    let [first, second] = [session.begin_waiting_get(), session.begin_get()].map(|mut poll| poll.response());
    let (waited, refused) = if first.status == 200 { (first, second) } else { (second, first) };
    assert_eq!(refused.status, 400);
    assert_eq!(waited.text(), "1");
    assert_eq!(witness.reason("two polls"), "transport error");
    session.expect_gone();
    witness.expect_well();
}

#[test]
fn the_end_of_a_session_comes_behind_what_was_said_and_by_an_answer_of_its_own() {
    let fixture = Fixture::start(&[]);
    for waits in [false, true] {
        let session = play_polling(&fixture, "told");
        let waiting = waits.then(|| session.begin_waiting_get());
        session.send("42/play,1[\"echo\",\"x\"]\x1e42/play,[\"bye\",true]");
        let mut said = Vec::new();
        let mut next = waiting.map_or_else(|| session.get(), |mut poll| poll.response());
        while next.text() != "1" {
            assert_eq!(next.status, 200, "{}", next.text());
            said.extend(packets(&next));
            next = session.get();
        }
        assert_eq!(said, ["43/play,1[\"x\"]"]);
        session.expect_gone();
    }
}

#[test]
fn a_second_post_beside_an_unfinished_one_ends_the_session_or_waits_for_it() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let session = play_polling(&fixture, "two posts");
    let mut slow = fixture.socketio().connect();
    let body = r#"42/play,1["echo","slow"]"#;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        session.target(),
        body.len()
    );
    slow.send(head + &body[..4]);
    await_that("the server has read the half", || is_read(slow.tcp()));
    let second = session.post(r#"42/play,2["echo","fast"]"#);
    slow.try_send(&body[4..]).unwrap_or_default();
    match second.status {
        // Unfinished requests are not begun yet to a server that reads a body whole: the order is that of their ends.
        200 => {
            assert_eq!(slow.response().text(), "ok");
            let expected = [r#"43/play,2["fast"]"#, r#"43/play,1["slow"]"#];
            assert_eq!(session.receive_count(2), expected);
        }
        400 => assert_eq!(witness.reason("two posts"), "transport error"),
        other => panic!("{other}"),
    }
    witness.expect_well();
}

#[test]
fn posts_and_polls_of_one_session_do_not_wait_for_each_other() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    for round in 0..20 {
        let mut waiting = session.begin_get();
        sleep(Duration::from_millis(round % 3 * 10));
        session.send(format!("4{round}"));
        assert_eq!(waiting.response().text(), format!("4{round}"));
    }
}

#[test]
fn a_poll_that_breaks_off_ends_the_session() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    for (name, is_reset) in [("closed", false), ("reset", true)] {
        let session = play_polling(&fixture, name);
        let waiting = session.begin_waiting_get();
        match is_reset {
            true => waiting.reset(),
            false => drop(waiting),
        }
        let reason = witness.reason(name);
        assert!(["transport error", "transport close"].contains(&reason.as_str()), "{reason}");
        session.expect_end();
    }
    witness.expect_well();
}

#[test]
fn a_post_that_breaks_off_is_not_heard() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    let session = play_polling(&fixture, "half a post");
    let mut half = fixture.socketio().connect();
    half.send(format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n42/play",
        session.target()
    ));
    await_that("the server has read the half", || is_read(half.tcp()));
    half.reset();
    let post = session.post(r#"42/play,1["echo","whole"]"#);
    match post.status {
        200 => assert_eq!(session.receive_count(1), [r#"43/play,1["whole"]"#]),
        400 => assert!(witness.reason("half a post").starts_with("transport ")),
        other => panic!("{other}"),
    }
    witness.expect_well();
}

#[test]
fn a_websocket_that_goes_away_is_noticed_at_once() {
    let fixture = Fixture::start(&[]);
    let mut witness = Witness::enter(&fixture);
    play(&fixture, "reset").drop_connection();
    assert!(["transport error", "transport close"].contains(&witness.reason("reset").as_str()));
    drop(play(&fixture, "closed"));
    assert_eq!(witness.reason("closed"), "transport close");
}

#[test]
fn an_upgrade_that_is_begun_and_not_finished_leaves_the_session_polling() {
    let fixture = Fixture::start(&["upgradeTimeout=1000"]);
    let session = fixture.echo().poll();
    let probing = session.probe();
    session.send("4while probing");
    probing.expect_close();
    let received = session.receive_count(1);
    assert_eq!(received, ["4while probing"]);
    session.send("4afterwards");
    assert_eq!(session.receive_count(1), ["4afterwards"]);
}

#[test]
fn an_upgrade_that_begins_with_something_else_is_none() {
    let fixture = Fixture::start(&[]);
    for packet in ["4hello", "3probe", "2", "2prob", "2probes", "1", "abc"] {
        let session = fixture.echo().poll();
        let mut probing = session.upgrade();
        probing.send(packet);
        probing.expect_close();
        session.send("4still polling");
        assert_eq!(session.receive_count(1), ["4still polling"], "{packet}");
    }
}

#[test]
fn a_second_upgrade_beside_one_is_refused_and_the_first_goes_on() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    let mut first = session.probe();
    let query = format!("EIO=4&transport=websocket&sid={}", session.sid);
    match Link::try_open(&fixture.echo(), &query) {
        Ok(second) => assert_eq!(second.expect_close(), [""; 0]),
        Err(refusal) => assert_eq!(refusal.status, 400),
    }
    first.send("5");
    first.expect_echo("4hello");
}

#[test]
fn an_upgrade_whose_connection_breaks_leaves_the_session_polling() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    let probing = session.probe();
    probing.drop_connection();
    session.send("4still polling");
    assert_eq!(session.receive_count(1), ["4still polling"]);
    // Until the server has noticed, another is a second one beside it.
    let mut again = session.upgrade();
    await_that("another is let in", || {
        let is_let_in = again.try_probe();
        if !is_let_in {
            again = session.upgrade();
        }
        is_let_in
    });
    again.send("5");
    again.expect_echo("4hello");
}

#[test]
fn what_was_not_polled_yet_comes_over_the_websocket_first() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    session.send("4one\x1e4two\x1ebAQI=");
    let mut link = session.probe();
    link.send("5");
    link.send("4three");
    assert_eq!([link.packet(), link.packet()], ["4one", "4two"]);
    assert_eq!(link.bytes(), [1, 2]);
    assert_eq!(link.packet(), "4three");
}

#[test]
fn a_poll_that_waits_is_released_by_the_probe() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    let mut waiting = session.begin_waiting_get();
    let mut link = session.probe();
    assert_eq!(waiting.response().text(), "6");
    link.send("5");
    link.expect_echo("4hello");
}

#[test]
fn heartbeats_go_on_after_the_move() {
    let fixture = Fixture::start(PATIENT);
    let session = fixture.echo().poll();
    let mut link = session.probe();
    link.send("5");
    for _ in 0..3 {
        assert_eq!(link.text(), "2");
        link.send("3");
    }
}

#[test]
fn a_poll_that_comes_behind_the_word_to_go_over_finds_the_session_gone_over() {
    for shards in ["shards=1", "shards=4"] {
        let fixture = Fixture::start(&[shards]);
        for _ in 0..30 {
            let session = fixture.echo().poll();
            let mut link = session.probe();
            // Both are on the way before the server looks at either.
            let mut behind = session.connect_idle();
            link.send("5");
            behind.ask("GET", &session.target(), "", b"");
            assert_eq!(behind.response().status, 400, "{shards}");
            link.expect_echo("4still there");
        }
    }
}
