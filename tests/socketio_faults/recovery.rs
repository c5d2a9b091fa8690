//! Clients that come back to what they missed: exactly that, whatever happened meanwhile.

use std::{cell::OnceCell, rc::Rc, time::Duration};

use roadstead::{
    app::socketio::{Io, Socket},
    config::Config,
};

use crate::{
    Notes, bound_queues,
    client::{Connection, WebSocket, member, open_polling},
    gauge, noted, rooms, start, stop, wait_until,
};

fn with_recovery(config: &mut Config) {
    config.socketio.connection_state_recovery_ms = 60_000;
}

/// What a client that was let in shows to come back.
fn pid_of(entered: &str) -> String {
    member(&entered[2..], "pid")
}

/// The offset at the end of an event's arguments.
fn offset_of(event: &str) -> String {
    let arguments: Vec<serde_json::Value> = serde_json::from_str(&event[2..]).expect("an event");
    arguments.last().and_then(|offset| offset.as_str()).expect("an offset").to_owned()
}

fn claim(pid: &str, offset: &str) -> String {
    format!("{{\"pid\":\"{pid}\",\"offset\":\"{offset}\"}}")
}

#[test]
fn a_client_that_comes_back_gets_nothing_of_a_room_from_before_it_joined() {
    let server = start(with_recovery, rooms(&Notes::default()));
    let (mut one, mut other) = (WebSocket::open(&server), WebSocket::open(&server));
    let pid = pid_of(&one.enter(""));
    other.enter("");
    one.say("420[\"join\",\"a\"]");
    assert_eq!(one.hear(), "430[]");
    other.say("420[\"join\",\"b\"]");
    assert_eq!(other.hear(), "430[]");
    other.say("42[\"say\",\"a\",\"first\"]");
    let offset = offset_of(&one.hear());
    other.say("42[\"say\",\"b\",\"not for one\"]");
    other.hear();
    one.say("421[\"join\",\"b\"]");
    assert_eq!(one.hear(), "431[]");
    one.say("422[\"leave\",\"a\"]");
    assert_eq!(one.hear(), "432[]");
    drop(one);
    wait_until("it is away", || gauge(&server, "engine_sessions") == 1);
    other.say("42[\"say\",\"a\",\"not any more\"]");
    other.say("42[\"say\",\"b\",\"missed\"]");
    other.hear();
    let mut one = WebSocket::open(&server);
    assert_eq!(pid_of(&one.enter(&claim(&pid, &offset))), pid, "it is the one that left");
    assert!(one.hear().starts_with("42[\"said\",\"missed\","), "what it missed, and nothing else");
    stop(server);
}

#[test]
fn a_client_that_leaves_twice_has_all_the_time_to_come_back_again() {
    let server =
        start(|config| config.socketio.connection_state_recovery_ms = 3_500, rooms(&Notes::default()));
    let mut one = WebSocket::open(&server);
    let pid = pid_of(&one.enter(""));
    one.say("420[\"join\",\"a\"]");
    assert_eq!(one.hear(), "430[]");
    one.say("42[\"say\",\"a\",\"x\"]");
    let offset = offset_of(&one.hear());
    // Both absences together are longer than one may be, and each much shorter.
    for _ in 0..2 {
        drop(one);
        std::thread::sleep(Duration::from_millis(2_000));
        one = WebSocket::open(&server);
        assert_eq!(pid_of(&one.enter(&claim(&pid, &offset))), pid);
    }
    stop(server);
}

#[test]
fn an_event_says_how_far_its_client_has_heard_though_it_is_volatile() {
    let server = start(with_recovery, rooms(&Notes::default()));
    let mut one = WebSocket::open(&server);
    let pid = pid_of(&one.enter(""));
    // Clients take a text at the end of an event for the offset; this one would send them far ahead, or back.
    one.say("42[\"shout\",\"0\"]");
    let shouted = one.hear();
    assert!(shouted.starts_with("42[\"shouted\",\"0\",\""), "{shouted}");
    drop(one);
    wait_until("it is away", || gauge(&server, "engine_sessions") == 0);
    let mut one = WebSocket::open(&server);
    assert_eq!(pid_of(&one.enter(&claim(&pid, &offset_of(&shouted)))), pid);
    stop(server);
}

#[test]
fn a_client_that_has_heard_nothing_yet_comes_back_too() {
    let server = start(with_recovery, rooms(&Notes::default()));
    let (mut one, mut other) = (WebSocket::open(&server), WebSocket::open(&server));
    let pid = pid_of(&one.enter(""));
    other.enter("");
    drop(one);
    wait_until("it is away", || gauge(&server, "engine_sessions") == 1);
    other.say("420[\"join\",\"a\"]");
    assert_eq!(other.hear(), "430[]");
    let mut one = WebSocket::open(&server);
    assert_eq!(pid_of(&one.enter(&format!("{{\"pid\":\"{pid}\"}}"))), pid);
    stop(server);
}

#[test]
fn a_pong_proves_what_its_client_has_heard() {
    let small = |config: &mut Config| {
        with_recovery(config);
        config.socketio.ping_interval_ms = 200;
        config.socketio.connection_state_recovery_bytes_max = 2_000;
    };
    let server = start(small, rooms(&Notes::default()));
    let (mut quiet, mut other) = (WebSocket::open(&server), WebSocket::open(&server));
    let pid = pid_of(&quiet.enter(""));
    other.enter("");
    other.say("42[\"shout\",\"x\"]");
    let offset = offset_of(&quiet.hear());
    other.hear();
    other.say("420[\"join\",\"a\"]");
    assert_eq!(other.hear(), "430[]");
    for _ in 0..100 {
        other.say("42[\"say\",\"a\",\"not for the quiet one\"]");
        other.hear();
    }
    for _ in 0..3 {
        assert_eq!(quiet.connection.frame(), Some((1, b"2".to_vec())));
        quiet.say("3");
    }
    drop(quiet);
    let mut quiet = WebSocket::open(&server);
    assert_eq!(pid_of(&quiet.enter(&claim(&pid, &offset))), pid, "it missed nothing");
    stop(server);
}

#[test]
fn a_client_that_comes_back_before_its_loss_was_noticed_goes_on_as_well() {
    let notes = Notes::default();
    let server = start(with_recovery, rooms(&notes));
    let mut one = WebSocket::open(&server);
    let pid = pid_of(&one.enter(""));
    let mut again = WebSocket::open(&server);
    assert_eq!(pid_of(&again.enter(&format!("{{\"pid\":\"{pid}\"}}"))), pid);
    assert_eq!(one.try_hear(), None, "the connection it left behind is closed");
    assert_eq!(noted(&notes), ["connect new", "disconnect transport close", "connect again"]);
    stop(server);
}

#[test]
fn what_was_missed_may_be_more_than_what_may_wait_otherwise() {
    let notes = Notes::default();
    let bounded = |config: &mut Config| {
        with_recovery(config);
        bound_queues(config, 10_000);
    };
    let register = rooms(&notes);
    let server = start(bounded, move |io: &Io| {
        register(io);
        let receiver = Rc::new(OnceCell::<Socket>::new());
        let kept = Rc::clone(&receiver);
        io.on("keep me", move |socket, ()| assert!(kept.set(socket.clone()).is_ok()));
        io.on_with_ack("send it much", move |_, (), ack| {
            let socket = receiver.get().expect("it was kept");
            (0..100).for_each(|number| socket.emit("long", &(number, "x".repeat(1_000))));
            ack.send(&[(); 0]);
        });
    });
    let mut one = WebSocket::open(&server);
    let pid = pid_of(&one.enter(""));
    one.say("42[\"keep me\"]");
    one.say("42[\"shout\",\"x\"]");
    let offset = offset_of(&one.hear());
    drop(one);
    wait_until("it is away", || gauge(&server, "engine_sessions") == 0);
    let mut other = WebSocket::open(&server);
    other.enter("");
    other.say("420[\"send it much\"]");
    assert_eq!(other.hear(), "430[]");
    let mut one = WebSocket::open(&server);
    assert_eq!(pid_of(&one.enter(&claim(&pid, &offset))), pid);
    for number in 0..100 {
        assert!(one.hear().starts_with(&format!("42[\"long\",{number},")));
    }
    assert_eq!(noted(&notes), ["connect new", "disconnect transport close", "connect new", "connect again"]);
    stop(server);
}

#[test]
fn a_session_that_polls_and_moves_to_another_shard_is_counted_once() {
    let server = start(
        |config| {
            with_recovery(config);
            config.server.shards = 2;
        },
        rooms(&Notes::default()),
    );
    let mut one = WebSocket::open(&server);
    let pid = pid_of(&one.enter(""));
    one.say("42[\"shout\",\"x\"]");
    let offset = offset_of(&one.hear());
    drop(one);
    wait_until("it is away", || gauge(&server, "engine_sessions") == 0);
    // The id of a session begins with its shard, in base64.
    let (mut polls, target) = loop {
        let mut polls = Connection::new(&server);
        let target = open_polling(&mut polls);
        let (_, sid) = target.rsplit_once('=').expect("an id");
        match sid[..2] == pid[..2] && sid[2..3] == pid[2..3] {
            true => drop(polls.post(&target, "1")),
            false => break (polls, target),
        }
    };
    let mut posts = Connection::new(&server);
    assert_eq!(posts.post(&target, &format!("40{}", claim(&pid, &offset))).status, 200);
    let entered = polls.get(&target).body;
    assert_eq!(
        pid_of(entered.split('\u{1e}').find(|packet| packet.starts_with("40")).unwrap_or(&entered)),
        pid
    );
    wait_until("the others are gone", || gauge(&server, "engine_sessions") == 1);
    assert_eq!(posts.post(&target, "41").status, 200);
    wait_until("it has left", || gauge(&server, "sockets") == 0);
    assert_eq!(posts.post(&target, "1").status, 200);
    wait_until("it is gone", || gauge(&server, "engine_sessions") == 0);
    stop(server);
}
