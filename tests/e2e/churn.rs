//! Clients that come and go, in order and out of it: nothing of them stays.

use std::sync::atomic::{AtomicBool, Ordering};

use roadstead::wire::websocket::Opcode;
use serde_json::json;

use crate::{
    server::{Server, await_that},
    socket::frame,
    stream::EventStream,
};

/// Everything a client can be in the middle of; each is cut off there.
fn beginnings() -> Vec<(&'static str, Vec<u8>)> {
    let handshake = |target: &str| {
        let fields = crate::socket::handshake_fields();
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").into_bytes()
    };
    let text = |text: &str| frame(Opcode::Text, true, text.as_bytes());
    let subscribe = text(&json!({"id":1,"subscribe":{"channel":"churn"}}).to_string());
    let publish = text(&json!({"id":2,"publish":{"channel":"churn","data":"x"}}).to_string());
    vec![
        ("nothing", Vec::new()),
        ("half a head", b"GET /hello HTT".to_vec()),
        ("a request", b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        (
            "half a body",
            b"POST /channels/churn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nxyz".to_vec(),
        ),
        (
            "half a chunk",
            b"POST /channels/churn HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nx"
                .to_vec(),
        ),
        (
            "a publication",
            b"POST /channels/churn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx".to_vec(),
        ),
        ("a question to all", b"GET /channels HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3)),
        ("a poll", b"GET /channels/churn HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        (
            "a stream",
            b"GET /channels/churn HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".to_vec(),
        ),
        ("a socket", handshake("/channels/churn")),
        (
            "a socket and half a message",
            [handshake("/echo"), frame(Opcode::Text, true, &[b'x'; 9000])[..5000].to_vec()].concat(),
        ),
        ("half a fragmented message", [handshake("/echo"), frame(Opcode::Text, false, b"x")].concat()),
        ("commands", [handshake("/ws"), subscribe.clone(), publish.clone()].concat()),
        ("many commands", [handshake("/ws"), subscribe, publish.repeat(300)].concat()),
        ("an error", b"\0\0\0\0\r\n\r\n".to_vec()),
    ]
}

#[test]
fn a_client_may_vanish_in_the_middle_of_anything() {
    let server = Server::start(&[]);
    let mut follower = server.websocket("/channels/other");
    server.await_subscribers("other", 1);
    for (what, bytes) in beginnings() {
        for how in 0..4 {
            let mut client = server.connect();
            client.try_send(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
            match how {
                0 => client.reset(),
                1 => drop(client),
                2 => {
                    client.end_sending();
                    client.reset();
                }
                _ => {
                    if !bytes.is_empty() && !what.starts_with("half") {
                        client
                            .tcp()
                            .set_read_timeout(Some(std::time::Duration::from_millis(2)))
                            .expect("set");
                        client.receive().ok();
                    }
                    client.reset();
                }
            }
        }
    }
    await_that("all but the follower have gone", || server.connections() == 1);
    server.await_subscribers("churn", 0);
    server.publish("other", "unharmed");
    assert_eq!(follower.text(), "unharmed");
}

#[test]
fn a_subscriber_that_vanishes_while_it_is_sent_to_harms_nobody() {
    let server = Server::start(&[]);
    let mut survivor = server.websocket("/channels/v");
    let victims: Vec<_> = (0..60).map(|_| server.websocket("/channels/v")).collect();
    server.await_subscribers("v", 61);
    let publishing = std::thread::spawn({
        let mut publisher = server.connect();
        move || (1..=200).for_each(|offset| assert_eq!(publisher.publish("v", vec![b'x'; 5000]), offset))
    });
    victims.into_iter().for_each(|victim| victim.client.reset());
    (0..200).for_each(|_| assert_eq!(survivor.text().len(), 5000));
    publishing.join().expect("everything was published");
    server.await_subscribers("v", 1);
    await_that("all but one have gone", || server.connections() == 1);
}

#[test]
fn subscribers_that_come_and_go_see_every_offset_while_they_are_there() {
    let server = Server::with_shards(4, &["limits.history_publications_max=100000"]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for channel in ["a", "b", "c"] {
            let (mut publisher, is_over) = (server.connect(), &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    publisher.publish(channel, "x");
                }
            });
        }
        let visiting: Vec<_> = (0..6)
            .map(|seed| {
                scope.spawn({
                    let server = &server;
                    move || visit(server, seed)
                })
            })
            .collect();
        let visited: Vec<_> = visiting.into_iter().map(|visits| visits.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        visited.into_iter().for_each(|visits| visits.expect("every visit went well"));
    });
    for channel in ["a", "b", "c"] {
        server.await_subscribers(channel, 0);
    }
    await_that("all have gone", || server.connections() == 0);
    assert_eq!(server.metric("roadstead_dropped_mesh_total", ""), 0.0);
}

/// Visits channels that others publish to, now in one way, now in another, and leaves without a word.
fn visit(server: &Server, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut position: Option<String> = None;
    let channel = ["a", "b", "c"][random.usize(0..3)];
    for _ in 0..40 {
        let query = position.as_ref().map_or(String::new(), |position| format!("?since={position}"));
        let mut seen = Vec::new();
        match random.u8(0..3) {
            0 => {
                let mut stream = EventStream::open(server.connect(), channel, &query, "");
                seen.extend((0..random.u8(1..30)).filter_map(|_| stream.event().id));
                stream.client.reset();
            }
            1 => {
                let mut socket = server.websocket("/ws");
                let since = position
                    .as_ref()
                    .map(|position| format!(",\"since\":\"{position}\""))
                    .unwrap_or_default();
                socket.send_text(&format!("{{\"id\":1,\"subscribe\":{{\"channel\":\"{channel}\"{since}}}}}"));
                assert_eq!(socket.json()["subscribed"]["recovered"], true);
                seen.extend(
                    (0..random.u8(1..30))
                        .map(|_| socket.push())
                        .map(|push| format!("{}:{}", push["epoch"], push["offset"])),
                );
            }
            _ => {
                let mut client = server.connect();
                for _ in 0..random.u8(1..5) {
                    let since =
                        seen.last().or(position.as_ref()).map(|position| format!("?since={position}"));
                    let page = client
                        .request("GET", &format!("/channels/{channel}{}", since.unwrap_or_default()), "", b"")
                        .json();
                    assert_eq!(page["recovered"], true);
                    let publications = page["publications"].as_array().expect("a list");
                    seen.extend(
                        publications.iter().map(|one| format!("{}:{}", page["epoch"], one["offset"])),
                    );
                }
            }
        }
        let offset =
            |position: &String| position.split_once(':').and_then(|(_, offset)| offset.parse::<u64>().ok());
        for (before, after) in position.iter().chain(&seen).zip(position.iter().chain(&seen).skip(1)) {
            assert_eq!(offset(after), offset(before).map(|offset| offset + 1), "{before} then {after}");
        }
        position = seen.pop().or(position);
    }
}

#[test]
fn two_thousand_short_visits_leave_nothing_behind() {
    let server = Server::start(&[]);
    let kinds = beginnings();
    let wave = || {
        for (_, bytes) in kinds.iter().cycle().take(2000) {
            let mut client = server.connect();
            client.try_send(bytes).ok();
            client.reset();
        }
        await_that("all have gone", || server.connections() == 0);
    };
    // The first waves take what tables and the allocator keep. A later one may take more, when a busy machine lets more of
    // its visitors be there at once than ever before; what is left behind grows with every one.
    (0..4).for_each(|_| wave());
    let mut sizes = vec![server.resident_bytes()];
    let is_steady = |sizes: &[u64]| sizes.windows(2).any(|pair| pair[1] < pair[0] + pair[0] / 10);
    while sizes.len() < 6 && !is_steady(&sizes) {
        wave();
        sizes.push(server.resident_bytes());
    }
    assert!(is_steady(&sizes), "{sizes:?} bytes, wave after wave");
    let sum = |field: &str| server.shards().iter().filter_map(|shard| shard[field].as_u64()).sum::<u64>();
    assert_eq!((sum("subscriptions"), sum("send_queue_bytes")), (0, 0));
    let by_kind = || {
        let kinds: Vec<_> = server.shards().iter().map(|shard| shard["sessions"].clone()).collect();
        kinds.iter().filter_map(|kinds| kinds.as_array()).fold([0, 0], |[http, others], kinds| {
            let counts: Vec<_> = kinds.iter().filter_map(serde_json::Value::as_u64).collect();
            [http + counts[0], others + counts[1..].iter().sum::<u64>()]
        })
    };
    // Whoever asked before may be on its way out.
    await_that("only the one who asks is there", || by_kind() == [1, 0]);
    assert!(sum("accepted_total") >= 4000);
    let ended: u64 = server
        .shards()
        .iter()
        .flat_map(|shard| shard["closed_total"].as_array().cloned())
        .flatten()
        .filter_map(|count| count.as_u64())
        .sum();
    // Each question on the admin listener is a visit as well; the last is still under way.
    assert!(ended + 1 >= sum("accepted_total") - 1, "every session that began has ended");
}
