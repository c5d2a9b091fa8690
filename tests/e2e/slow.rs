//! Subscribers that do not read: closed as slow, or given a gap that shows.

use std::time::Duration;

use serde_json::json;

use crate::{
    client::Client,
    server::Server,
    socket::{Incoming, WebSocket},
    stream::EventStream,
};

const PUBLICATION_BYTES: usize = 16 * 1024;
/// More than the kernel's buffers and the server's queue can hold together.
const PUBLICATIONS_MAX: u64 = 2000;

fn slow_websocket(server: &Server, target: &str) -> WebSocket {
    WebSocket::open(Client::narrow(server.address()), target, "")
}

fn follow_commands(server: &Server) -> WebSocket {
    let mut socket = slow_websocket(server, "/ws");
    assert!(socket.command(&json!({"id":1,"subscribe":{"channel":"flood"}})).get("subscribed").is_some());
    socket
}

/// Publishes behind so many publications until the metric has reached `least`; how many there are then.
///
/// What a client was told when it was closed waits two seconds for it, so that is to be noticed soon.
#[track_caller]
fn flood(server: &Server, behind: u64, (metric, label): (&str, &str), least: f64) -> u64 {
    let mut publisher = server.connect();
    let payload = vec![b'x'; PUBLICATION_BYTES];
    for offset in behind + 1..=PUBLICATIONS_MAX {
        assert_eq!(publisher.publish("flood", &payload), offset);
        if offset % 10 == 0 && server.metric(metric, label) >= least {
            return offset;
        }
    }
    panic!("{PUBLICATIONS_MAX} publications were taken without {metric}{{{label}}} reaching {least}");
}

#[test]
fn a_last_answer_is_sent_whole_to_a_client_that_reads_on_however_long_that_takes() {
    // Control characters are six bytes each in JSON: more than the kernel takes for a client that reads little.
    const PUBLICATION_BYTES: usize = 200_000;
    const READ_BYTES: usize = 64 * 1024;
    let server = Server::start(&[]);
    for _ in 0..4 {
        server.publish("big", "\u{1}".repeat(PUBLICATION_BYTES));
    }
    let mut client = Client::narrow(server.address());
    client.ask("GET", "/channels/big/history", "Connection: close\r\n", b"");
    let head = client.response_head();
    let length: usize = head.field("content-length").expect("a length").parse().expect("a number");
    assert!(length > 4 * 6 * PUBLICATION_BYTES);
    let mut left = length;
    while left > 0 {
        left -= client.take(left.min(READ_BYTES)).len();
        std::thread::sleep(Duration::from_millis(50));
    }
    client.expect_end();
}

const CLOSED: (&str, &str) = ("roadstead_closed_total", "slow_consumer");
const DROPPED: (&str, &str) = ("roadstead_dropped_slow_total", "");

const SETTINGS: [&str; 3] = [
    "limits.send_queue_bytes_max=100000",
    "limits.publication_bytes_max=20000",
    "limits.history_publications_max=10",
];

#[test]
fn a_slow_subscriber_of_any_kind_is_closed_as_such_and_a_fast_one_gets_everything() {
    let server = Server::start(&SETTINGS);
    let mut raw = slow_websocket(&server, "/channels/flood");
    let mut commands = follow_commands(&server);
    let mut stream = EventStream::open(Client::narrow(server.address()), "flood", "", "");
    let mut fast = server.websocket("/ws");
    fast.command(&json!({"id":1,"subscribe":{"channel":"flood"}}));
    server.await_subscribers("flood", 4);
    let reading = std::thread::spawn(move || {
        let mut offset = 0;
        loop {
            let push = match fast.next() {
                Incoming::Text(text) => serde_json::from_str::<serde_json::Value>(&text).expect("a push"),
                Incoming::Close(code, _) => return (offset, code),
                _ => continue,
            };
            offset += 1;
            assert_eq!(push["push"]["offset"], offset);
        }
    });
    let count = flood(&server, 0, CLOSED, 3.0);
    assert_eq!(raw.close_code(), Some(4003));
    assert_eq!(commands.close_code(), Some(4003));
    assert!(stream.rest().iter().any(|block| block.retry.is_some()));
    server.await_subscribers("flood", 1);
    assert_eq!(server.metric("roadstead_closed_total", "slow_consumer"), 3.0);
    server.stop();
    assert_eq!(reading.join().expect("it read on"), (count, Some(1001)));
}

#[test]
fn a_slow_subscriber_may_lose_the_oldest_and_sees_the_gap_in_the_offsets() {
    let server = Server::start(&[&SETTINGS[..], &["limits.slow_consumer=drop-oldest"]].concat());
    let mut raw = slow_websocket(&server, "/channels/flood");
    let mut commands = follow_commands(&server);
    let mut stream = EventStream::open(Client::narrow(server.address()), "flood", "", "");
    server.await_subscribers("flood", 3);
    // The plain socket, which could not show that it lost some, is closed; the others lose some.
    let count = flood(&server, 0, CLOSED, 1.0);
    assert_eq!(raw.close_code(), Some(4003));
    let count = flood(&server, count, DROPPED, 200.0);

    let mut offsets_of_commands = Vec::new();
    while offsets_of_commands.last() != Some(&count) {
        offsets_of_commands.push(commands.push()["offset"].as_u64().expect("an offset"));
    }
    let mut offsets_of_stream = Vec::new();
    while offsets_of_stream.last() != Some(&count) {
        let id = stream.event().id.expect("an event has a position");
        offsets_of_stream.push(id.split_once(':').expect("a position").1.parse().expect("an offset"));
    }
    for offsets in [&offsets_of_commands, &offsets_of_stream] {
        assert!(offsets.is_sorted() && offsets[0] == 1, "{offsets:?}");
        assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "nothing comes twice: {offsets:?}");
        assert!(offsets.len() < count as usize, "something was lost");
    }
    let lost = 2 * count as usize - offsets_of_commands.len() - offsets_of_stream.len();
    assert_eq!(
        server.metric("roadstead_dropped_slow_total", ""),
        lost as f64,
        "and all that was lost is counted"
    );
    server.publish("flood", "after");
    assert_eq!(commands.push()["data"], "after");
    assert_eq!(stream.data(), "after");
}

#[test]
fn an_echo_client_that_does_not_read_is_not_read_either() {
    let server = Server::start(&["limits.send_queue_bytes_max=100000", "limits.publication_bytes_max=20000"]);
    let mut socket = slow_websocket(&server, "/echo");
    socket.client.tcp().set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
    let bytes = crate::socket::frame(roadstead::wire::websocket::Opcode::Binary, true, &[7; 10_000]);
    let mut sent = 0;
    while socket.client.try_send(&bytes).is_ok() {
        sent += 1;
        assert!(sent < 10_000, "the server takes whatever comes: 100 MB and more");
    }
    let queued: u64 = server.shards().iter().filter_map(|shard| shard["send_queue_bytes"].as_u64()).sum();
    assert!(queued <= 300_000, "{queued} bytes wait for a client that does not read");
    for _ in 0..sent {
        assert_eq!(socket.next(), Incoming::Binary(vec![7; 10_000]));
    }
}
