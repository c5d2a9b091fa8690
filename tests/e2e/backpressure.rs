//! Clients that ask and do not read: what is kept for them is bounded, and nothing of it is lost.

use std::io::ErrorKind;

use roadstead::limits::GATHER_BYTES_MAX;

use crate::{
    certificate,
    server::{Server, await_that},
};

/// Bytes waiting in the send queues of all shards.
fn queued_bytes(server: &Server) -> u64 {
    server.shards().iter().map(|shard| shard["send_queue_bytes"].as_u64().expect("a number")).sum()
}

#[test]
fn answers_nobody_reads_are_not_made_and_come_when_they_are_read() {
    answers_wait_for_their_reader("/");
}

#[test]
fn answers_that_other_shards_give_are_not_made_for_nobody_either() {
    answers_wait_for_their_reader("/channels/h/history");
}

fn answers_wait_for_their_reader(target: &str) {
    const QUEUE_BYTES_MAX: u64 = 300_000;
    let setting = format!("limits.send_queue_bytes_max={QUEUE_BYTES_MAX}");
    let server = Server::start(&[&setting, "limits.publication_bytes_max=100000"]);
    server.publish("h", "x".repeat(50_000));
    let mut client = server.connect();
    client.tcp().set_nonblocking(true).expect("sockets can be asked not to wait");
    // Both answers are ten times as long as the requests for them: unbounded, the queue would grow to tens of megabytes.
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Padding: {}\r\n\r\n", "x".repeat(4_000));
    let (mut sent, flood) = (0, request.repeat(50));
    await_that("the server stops reading", || {
        loop {
            match client.try_send_some(&flood.as_bytes()[sent % request.len()..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break queued_bytes(&server) > 0,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let page = server.get(target).body.len() as u64;
    // What was sealed counts until all of it has left.
    let sealed = if certificate::is_used_everywhere() { GATHER_BYTES_MAX as u64 + page } else { 0 };
    assert!(
        queued_bytes(&server) < QUEUE_BYTES_MAX + 2 * page + sealed,
        "{} bytes wait",
        queued_bytes(&server)
    );
    client.tcp().set_nonblocking(false).expect("sockets can be asked to wait");
    // Over TLS some of it is sealed and has not left yet. Who waits for it to leave before it reads waits for the server, which
    // waits for its reader.
    let sending = client.send_beside("");
    for at in 0..sent / request.len() {
        let response = client.response();
        assert_eq!((response.status, response.body.len() as u64), (200, page), "answer {at}");
    }
    sending.join().expect("all has left");
}

#[test]
fn publishes_sent_far_ahead_of_their_answers_are_all_answered_in_order() {
    let server = Server::start(&["limits.body_bytes_max=20000", "limits.publication_bytes_max=10000"]);
    let mut client = server.connect();
    // Four times what is kept of a connection's requests while one of them waits for another shard.
    let count = 2_000;
    let request = |number| {
        let channel = format!("ahead-{}", number % 2);
        format!("POST /channels/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
    };
    let sending = client.send_beside((0..count).map(request).collect::<String>());
    for number in 0..count {
        let answer = client.response();
        assert_eq!(answer.status, 200, "answer {number}");
        assert_eq!(answer.json()["offset"], number / 2 + 1, "answer {number}");
    }
    sending.join().expect("everything was sent");
}
