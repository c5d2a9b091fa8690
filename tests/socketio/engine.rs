//! Engine.IO as its published test suite means it, one test per case.

use std::time::{Duration, Instant};

use roadstead::wire::websocket::Opcode;

use crate::{
    link::Link,
    place::{Fixture, PATIENT, Place, SUITE, handshake_fields},
    polling::{Polling, open_packet, packets},
    server::await_that,
    socket::frame,
};

/// What both transports say when a session begins.
#[track_caller]
fn check_opening(said: &serde_json::Value, upgrades: &[&str]) {
    assert!(!said["sid"].as_str().expect("an id").is_empty());
    let expected = serde_json::json!({
        "sid": said["sid"],
        "upgrades": upgrades,
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    });
    assert_eq!(said, &expected, "these keys and no other");
}

/// Checks that a request for a WebSocket becomes none, or one that is closed at once.
#[track_caller]
fn check_refused(place: &Place, query: &str) {
    match Link::try_open(place, query) {
        Ok(link) => assert_eq!(link.expect_close(), [""; 0], "{query}"),
        Err(response) => assert_eq!(response.status, 400, "{query}"),
    }
}

/// A session that polled and moved to a WebSocket at once, without waiting for the answer to its probe.
#[track_caller]
fn moved(place: &Place) -> (Polling, Link) {
    let session = place.poll();
    let mut link = session.upgrade();
    link.send("2probe");
    link.send("5");
    assert_eq!(link.text(), "3probe");
    (session, link)
}

#[test]
fn a_poll_opens_a_session_and_says_how_it_will_go() {
    let fixture = Fixture::start(SUITE);
    for place in fixture.places() {
        let response = place.request("GET", "EIO=4&transport=polling", "", b"");
        assert_eq!(response.status, 200);
        check_opening(&open_packet(&response.text()), &["websocket"]);
    }
}

#[test]
fn a_poll_without_version_4_is_refused() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        for query in [
            "transport=polling",
            "EIO=abc&transport=polling",
            "EIO=3&transport=polling",
            "EIO=&transport=polling",
        ] {
            assert_eq!(place.request("GET", query, "", b"").status, 400, "{query}");
        }
        assert_eq!(place.request("GET", "EIO=4&transport=polling", "", b"").status, 200);
    }
}

#[test]
fn a_request_for_a_transport_that_is_none_is_refused() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        for query in ["EIO=4", "EIO=4&transport=abc", "EIO=4&transport=", "EIO=4&transport=__proto__"] {
            assert_eq!(place.request("GET", query, "", b"").status, 400, "{query}");
        }
    }
}

#[test]
fn a_session_is_opened_by_get_and_by_nothing_else() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        for method in ["POST", "PUT", "DELETE"] {
            assert_eq!(place.request(method, "EIO=4&transport=polling", "", b"").status, 400, "{method}");
        }
    }
}

#[test]
fn a_websocket_opens_a_session_and_says_how_it_will_go() {
    let fixture = Fixture::start(SUITE);
    for place in fixture.places() {
        check_opening(&place.link().opened(), &[]);
    }
}

#[test]
fn a_websocket_without_version_4_is_refused() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        for query in ["transport=websocket", "EIO=abc&transport=websocket", "EIO=3&transport=websocket"] {
            let response = place.request("GET", query, &handshake_fields(), b"");
            assert_eq!(response.status, 400, "{query}");
        }
    }
}

#[test]
fn a_websocket_for_a_transport_that_is_none_is_refused() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        check_refused(&place, "EIO=4");
        check_refused(&place, "EIO=4&transport=abc");
    }
}

#[test]
fn a_packet_that_was_posted_comes_back_in_a_poll() {
    let fixture = Fixture::start(&[]);
    fixture.echo().poll().expect_echo("4hello");
}

#[test]
fn packets_that_were_posted_together_come_back_together() {
    let fixture = Fixture::start(&[]);
    fixture.echo().poll().expect_echo("4test1\x1e4test2\x1e4test3");
}

#[test]
fn text_and_bytes_go_together_the_bytes_as_base64() {
    let fixture = Fixture::start(&[]);
    fixture.echo().poll().expect_echo("4hello\x1ebAQIDBA==");
}

#[test]
fn a_posted_packet_of_no_known_type_ends_the_session() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    let status = session.post("abc").status;
    assert!([200, 400].contains(&status), "{status}");
    session.expect_gone();
}

#[test]
fn a_second_poll_beside_a_waiting_one_ends_the_session() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    // The suite waits 5 ms between them. Though the first has been read, a busy machine may bring the second to its place
    // before it, when they come to different shards.
    let [first, second] = [session.begin_waiting_get(), session.begin_get()].map(|mut poll| poll.response());
    let (waited, refused) = if first.status == 200 { (first, second) } else { (second, first) };
    assert!([400, 500].contains(&refused.status), "{}", refused.status);
    assert_eq!((waited.status, waited.text().as_str()), (200, "1"));
    session.expect_gone();
}

#[test]
fn a_text_comes_back_over_a_websocket() {
    let fixture = Fixture::start(&[]);
    let mut link = fixture.echo().link();
    link.opened();
    link.expect_echo("4hello");
}

#[test]
fn bytes_come_back_over_a_websocket() {
    let fixture = Fixture::start(&[]);
    let mut link = fixture.echo().link();
    link.opened();
    link.send_bytes(&[1, 2, 3, 4]);
    assert_eq!(link.bytes(), [1, 2, 3, 4]);
}

#[test]
fn a_packet_of_no_known_type_closes_the_websocket() {
    let fixture = Fixture::start(&[]);
    let mut link = fixture.echo().link();
    link.opened();
    link.send("abc");
    link.expect_close();
}

#[test]
fn a_session_that_polls_is_pinged_and_answers() {
    let fixture = Fixture::start(PATIENT);
    for place in fixture.places() {
        let session = place.poll();
        for _ in 0..3 {
            assert_eq!(session.receive(), ["2"]);
            session.send("3");
        }
    }
}

#[test]
fn a_session_that_polls_and_answers_no_ping_is_gone_at_its_time() {
    // The server may ping before its time, but has to wait its time for the answer.
    let fixture = Fixture::start(&["pingInterval=500", "pingTimeout=500"]);
    let began = Instant::now();
    let sessions = fixture.places().map(|place| place.poll());
    for session in sessions {
        // The first poll is for the ping, and the one behind it ends with the session.
        await_that("the session is gone", || session.get().status == 400);
        assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
    }
}

#[test]
fn a_websocket_is_pinged_and_answers() {
    let fixture = Fixture::start(PATIENT);
    for place in fixture.places() {
        let mut link = place.link();
        link.opened();
        for _ in 0..3 {
            assert_eq!(link.text(), "2");
            link.send("3");
        }
    }
}

#[test]
fn a_websocket_that_answers_no_ping_is_closed_at_its_time() {
    // The server counts from when it sent the ping, this thread from before that: it may hear of it late.
    let fixture = Fixture::start(&["pingInterval=200", "pingTimeout=500"]);
    for place in fixture.places() {
        let began = Instant::now();
        let mut link = place.link();
        link.opened();
        assert_eq!(link.text(), "2");
        assert_eq!(link.expect_close(), [""; 0]);
        assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
    }
}

#[test]
fn a_client_that_reads_or_sends_slowly_is_not_taken_for_dead() {
    const BYTES: usize = 8 << 20;
    let fixture = Fixture::start(&["pingInterval=200", "pingTimeout=200"]);
    // What it is sent: as one frame, which stands before the pings.
    let mut link = Link::narrow(&fixture.socketio());
    link.enter("40/play,");
    link.send(&format!(r#"42/play,1["bytes",{BYTES}]"#));
    assert!(link.sip(BYTES), "it was given up while it read");
    // What it sends: half a frame and half a frame, and no pong between them.
    let mut link = fixture.socketio().link();
    link.enter("40/play,");
    let event = frame(Opcode::Text, true, format!(r#"42/play,2["echo","{}"]"#, "x".repeat(2000)).as_bytes());
    let began = Instant::now();
    for piece in event.chunks(event.len() / 100) {
        link.send_raw(piece);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(began.elapsed() >= Duration::from_millis(900));
    assert!(link.packet().starts_with("43/play,2["), "it was given up while it sent");
}

#[test]
fn a_client_that_polls_may_end_its_session() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        let session = place.poll();
        let mut waiting = session.begin_waiting_get();
        session.send("1");
        let released = waiting.response();
        assert_eq!((released.status, packets(&released)), (200, vec!["6".to_owned()]));
        session.expect_gone();
    }
}

#[test]
fn a_client_with_a_websocket_may_end_its_session() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        let mut link = place.link();
        link.opened();
        link.send("1");
        link.expect_close();
    }
}

#[test]
fn a_session_that_polls_moves_to_a_websocket() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        let session = place.poll();
        let mut link = session.probe();
        // A poll that comes now is released, so that the client can finish.
        assert_eq!(session.receive(), ["6"]);
        link.send("5");
        link.send("4hello");
    }
    let session = fixture.echo().poll();
    let mut link = session.probe();
    link.send("5");
    link.expect_echo("4hello");
}

#[test]
fn a_poll_after_the_move_is_refused_and_harms_nothing() {
    let fixture = Fixture::start(PATIENT);
    for place in fixture.places() {
        let (session, mut link) = moved(&place);
        assert_eq!(session.get().status, 400);
        assert_eq!(link.text(), "2", "the session goes on");
    }
    let (session, mut link) = moved(&fixture.echo());
    assert_eq!(session.get().status, 400);
    link.expect_echo("4hello");
}

#[test]
fn a_second_websocket_after_the_move_is_refused_and_harms_nothing() {
    let fixture = Fixture::start(PATIENT);
    for place in fixture.places() {
        let (session, mut link) = moved(&place);
        check_refused(&place, &format!("EIO=4&transport=websocket&sid={}", session.sid));
        assert_eq!(link.text(), "2", "the session goes on");
    }
    let (session, mut link) = moved(&fixture.echo());
    check_refused(&fixture.echo(), &format!("EIO=4&transport=websocket&sid={}", session.sid));
    link.expect_echo("4hello");
}
