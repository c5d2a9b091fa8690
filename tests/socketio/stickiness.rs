//! Sessions that poll from one address over connections that the kernel spreads over eight shards: every request
//! finds its session.

use std::thread;

use crate::{
    client::Client,
    place::{Fixture, Place},
    polling::{Polling, packets},
    witness::play_polling,
};

const SHARDS: &str = "shards=8";

/// How many different shards sessions are on: an id begins with the number of its shard, 16 bits in base64.
fn shards_of(sessions: &[Polling]) -> usize {
    let mut shards: Vec<_> = sessions.iter().map(|session| session.sid[..3].to_owned()).collect();
    shards.sort_unstable();
    shards.dedup();
    shards.len()
}

/// Sends a packet and polls it back, over one connection.
#[track_caller]
fn exchange(connection: &mut Client, session: &Polling, packet: &str) {
    let response = connection.request("POST", &session.target(), "", packet.as_bytes());
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let response = connection.request("GET", &session.target(), "", b"");
    assert_eq!((response.status, packets(&response)), (200, vec![packet.to_owned()]));
}

fn open(place: Place, count: usize) -> Vec<Polling> {
    (0..count).map(|_| place.poll()).collect()
}

#[test]
fn two_hundred_sessions_use_a_new_connection_for_each_request() {
    let fixture = Fixture::start(&[SHARDS]);
    let sessions = open(fixture.echo(), 200);
    assert!(shards_of(&sessions) > 4, "the kernel spreads connections");
    thread::scope(|scope| {
        for (part, sessions) in sessions.chunks(50).enumerate() {
            scope.spawn(move || {
                for round in 0..5 {
                    for (place, session) in sessions.iter().enumerate() {
                        let packet = format!("4{part}.{place}.{round}");
                        session.send(&packet);
                        assert_eq!(session.receive(), [packet]);
                    }
                }
            });
        }
    });
}

#[test]
fn two_hundred_sessions_share_ten_connections_that_are_kept_open() {
    let fixture = Fixture::start(&[SHARDS]);
    let place = fixture.echo();
    let sessions = open(place, 200);
    thread::scope(|scope| {
        for (part, sessions) in sessions.chunks(20).enumerate() {
            scope.spawn(move || {
                let mut connection = place.connect();
                for round in 0..5 {
                    for (number, session) in sessions.iter().enumerate() {
                        exchange(&mut connection, session, &format!("4{part}.{number}.{round}"));
                    }
                }
            });
        }
    });
}

#[test]
fn a_connection_follows_its_requests_though_they_come_in_one_segment() {
    let fixture = Fixture::start(&[SHARDS]);
    let place = fixture.echo();
    let sessions = open(place, 16);
    let mut connection = place.connect();
    let mut requests = String::new();
    for (number, session) in sessions.iter().enumerate() {
        let (target, packet) = (session.target(), format!("4for {number:02}"));
        let length = packet.len();
        requests +=
            &format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{packet}");
        requests += &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    connection.send(&requests);
    for number in 0..sessions.len() {
        assert_eq!(connection.response().text(), "ok");
        assert_eq!(connection.response().text(), format!("4for {number:02}"));
    }
}

#[test]
fn polls_that_wait_on_the_wrong_shard_are_answered() {
    let fixture = Fixture::start(&[SHARDS]);
    let sessions = open(fixture.echo(), 100);
    let waiting: Vec<Client> = sessions.iter().map(Polling::begin_get).collect();
    for (number, session) in sessions.iter().enumerate() {
        session.send(format!("4{number}"));
    }
    for (number, mut connection) in waiting.into_iter().enumerate() {
        assert_eq!(connection.response().text(), format!("4{number}"));
    }
}

#[test]
fn every_shard_lets_a_session_upgrade_that_another_one_has() {
    let fixture = Fixture::start(&[SHARDS]);
    for (number, session) in open(fixture.echo(), 40).into_iter().enumerate() {
        session.send(format!("4before {number}"));
        let mut link = session.probe();
        link.send("5");
        link.send(&format!("4after {number}"));
        assert_eq!([link.packet(), link.packet()], [format!("4before {number}"), format!("4after {number}")]);
    }
}

#[test]
fn a_room_reaches_sessions_that_poll_on_every_shard() {
    let fixture = Fixture::start(&[SHARDS]);
    let sessions: Vec<Polling> = (0..50).map(|number| play_polling(&fixture, &number.to_string())).collect();
    for session in &sessions {
        session.send(r#"42/play,1["join","room"]"#);
        assert!(session.receive_count(1)[0].starts_with("43/play,1["));
    }
    sessions[7].send(r#"42/play,["say",{"to":["room"],"self":true,"event":"hear","args":["all"]}]"#);
    for session in &sessions {
        assert_eq!(session.receive_count(1), [r#"42/play,["hear","all"]"#]);
    }
}
