//! Clients that do not read, and stay connected when another version takes the place of the one that had more to say to them: they
//! hear all of it, once, from the middle of a frame or record on.

use roadstead::wire::websocket::Opcode;
use serde_json::json;

use crate::{
    client::{Client, End},
    server::{Server, await_that},
    socket::{Incoming, WebSocket, frame},
    stream::EventStream,
    upgrade::Installed,
};

/// Long enough that no client is asked whether it is there.
const QUIET: &str = "limits.ping_interval_ms=600000";
/// Enough for all that tests publish.
pub const HISTORY: &str = "limits.history_publications_max=100000";

/// What is published, so large that a socket takes few of them.
pub fn large(number: usize) -> String {
    format!("{number} {}", "x".repeat(50_000))
}

/// Publishes to a channel until more waits for its subscriber, who does not read, than before; how many there were.
pub fn fill(server: &Server, channel: &str, bytes: f64) -> usize {
    let waiting = || server.metric("roadstead_send_queue_bytes", "");
    let before = waiting();
    for number in 1..2_000 {
        assert_eq!(server.publish(channel, large(number)), number as u64);
        if waiting() >= before + bytes {
            return number;
        }
    }
    panic!("the kernel takes all of it");
}

/// Once with TLS and once without.
pub fn both_ways(settings: &[&str], test: impl Fn(&Installed, &Server)) {
    let installed = Installed::new();
    test(&installed, &installed.serve_both(settings));
    let installed = Installed::new();
    test(&installed, &installed.serve_plainly(settings));
}

#[test]
fn who_has_not_read_stays_connected_and_hears_all_that_waited_for_it() {
    both_ways(&[QUIET, HISTORY], |_, server| {
        let narrow = || Client::narrow(server.address());
        let mut raw = WebSocket::open(narrow(), "/channels/a", "");
        let mut pushed = WebSocket::open(narrow(), "/ws", "");
        pushed.command(&json!({"id": 1, "subscribe": {"channel": "b"}}));
        let mut stream = EventStream::open(narrow(), "c", "", "");
        ["a", "b", "c"].iter().for_each(|channel| server.await_subscribers(channel, 1));
        let counts = ["a", "b", "c"].map(|channel| fill(server, channel, 150_000.0));
        for version in 1..=2 {
            server.succeeded();
            assert_eq!(server.metric("roadstead_carried_total", ""), 3.0, "{version}: {}", server.log());
            for (channel, count) in ["a", "b", "c"].into_iter().zip(counts) {
                assert_eq!(server.publish(channel, large(count + version)), (count + version) as u64);
            }
        }
        for number in 1..=counts[0] + 2 {
            assert!(raw.text() == large(number), "{number} of {counts:?}");
        }
        for number in 1..=counts[1] + 2 {
            let push = pushed.push();
            assert_eq!(push["offset"], json!(number));
            assert!(push["data"] == json!(large(number)), "{number} of {counts:?}");
        }
        for number in 1..=counts[2] + 2 {
            assert!(stream.data() == large(number), "{number} of {counts:?}");
        }
    });
}

#[test]
fn who_asks_much_and_reads_nothing_is_answered_each_once_and_in_order() {
    const ASKED: usize = 20_000;
    both_ways(&[QUIET, HISTORY, "limits.send_queue_bytes_max=262144"], |_, server| {
        let mut socket = WebSocket::open(Client::narrow(server.address()), "/ws", "");
        socket.command(&json!({"id": 1, "subscribe": {"channel": "a"}}));
        let count = fill(server, "a", 100_000.0);
        let ping =
            |id: usize| frame(Opcode::Text, true, json!({"id": id, "ping": {}}).to_string().as_bytes());
        let asking = socket.client.send_beside((2..ASKED).flat_map(ping).collect::<Vec<_>>());
        await_that("it is not read any more", || {
            server.metric("roadstead_send_queue_bytes", "") >= 262_144.0
        });
        for _ in 0..2 {
            server.succeeded();
            assert_eq!(server.metric("roadstead_carried_total", ""), 1.0, "{}", server.log());
        }
        let (mut number, mut id) = (0, 1);
        while number < count || id < ASKED - 1 {
            let message = socket.json();
            if message["push"].is_object() {
                number += 1;
                assert_eq!(message["push"]["offset"], json!(number));
            } else {
                id += 1;
                assert_eq!(message["id"], json!(id));
            }
        }
        asking.join().expect("all has been read");
    });
}

#[test]
fn who_has_more_waiting_than_goes_over_is_cut_and_told_nothing_else() {
    // A shard may have a megabyte of it.
    let settings = [QUIET, HISTORY, "limits.send_bytes_max=4194304", "limits.send_queue_bytes_max=1900000"];
    both_ways(&settings, |_, server| {
        let mut raw = WebSocket::open(Client::narrow(server.address()), "/channels/a", "");
        let mut idle = server.websocket("/channels/b");
        ["a", "b"].iter().for_each(|channel| server.await_subscribers(channel, 1));
        let count = fill(server, "a", 1_300_000.0);
        server.succeeded();
        assert_eq!(server.metric("roadstead_carried_total", ""), 1.0, "{}", server.log());
        server.publish("b", "on");
        assert_eq!(idle.text(), "on");
        let mut number = 0;
        // What it had been sent it gets, and half a frame at last; or its kernel is told that there is no more.
        let end = loop {
            match raw.try_next() {
                Ok(Some(Incoming::Text(text))) => {
                    number += 1;
                    assert!(text == large(number), "{number} of {count}");
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Ok(None) => break End::Closed,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break End::Reset,
                Err(error) => panic!("{error}"),
            }
        };
        assert!(number < count, "{end:?} after {number} of {count}");
    });
}
