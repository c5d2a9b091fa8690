//! What is long is done bit by bit: in order, and answered when it is done. How much of it one turn does is
//! looked at in `tests/e2e/turns.rs`, where there are metrics.

use crate::{
    place::Fixture,
    polling::{SEPARATOR, packets},
};

fn numbered(from: usize, count: usize) -> String {
    let packets: Vec<_> = (from..from + count).map(|number| format!("4{number}")).collect();
    packets.join(&SEPARATOR.to_string())
}

#[test]
fn a_post_of_very_many_packets_is_heard_bit_by_bit_and_in_order() {
    const COUNT: usize = 20_000;
    let fixture = Fixture::start(&["shards=1"]);
    let session = fixture.echo().poll();
    let mut connections: Vec<_> = (0..3).map(|_| fixture.echo().connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.ask("POST", &session.target(), "", numbered(number * COUNT, COUNT).as_bytes());
    }
    for connection in &mut connections {
        let answer = connection.response();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    let mut received = session.receive_count(3 * COUNT);
    // The connections may be read in any order; each post is heard whole before the next.
    received.chunks_mut(COUNT).for_each(|post| {
        let first: usize = post[0][1..].parse().expect("a number");
        assert_eq!(first % COUNT, 0, "it begins where a post does");
        assert_eq!(post, numbered(first, COUNT).split(SEPARATOR).collect::<Vec<_>>());
    });
    session.send("4and on");
    assert_eq!(packets(&session.get()), ["4and on"]);
}

#[test]
fn a_session_that_ends_in_a_long_post_is_answered_and_hears_no_more_of_it() {
    let fixture = Fixture::start(&["shards=1"]);
    for (middle, status) in [("1", 200), ("x", 400)] {
        let session = fixture.echo().poll();
        let body = format!("{}{SEPARATOR}{middle}{SEPARATOR}{}", numbered(0, 1_000), numbered(1_000, 1_000));
        assert_eq!(session.post(body).status, status, "{middle}");
        session.expect_end();
    }
}

#[test]
fn a_client_does_not_go_over_to_a_websocket_before_its_posts_have_been_heard() {
    const COUNT: usize = 20_000;
    let fixture = Fixture::start(&["shards=1"]);
    let session = fixture.echo().poll();
    let mut link = session.probe();
    let mut posting = fixture.echo().connect();
    posting.ask("POST", &session.target(), "", numbered(0, COUNT).as_bytes());
    link.send("5");
    match posting.response().status {
        // It went over first, and the post came too late.
        400 => link.expect_echo("4hello"),
        200 if session.get().status == 400 => assert_eq!(link.packet(), "40", "all had been heard before"),
        200 => assert_eq!(link.expect_close(), [""; 0], "who goes over has stopped posting"),
        other => panic!("{other}"),
    }
}
