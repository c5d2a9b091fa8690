//! `roadstead run`: requests whose bodies are larger than `limits.body_bytes_max`, which are passed on to the program as they come.

use serde_json::json;

use crate::{
    client::Client,
    program::{Player, run},
};

const BOUND: &str = "limits.body_bytes_max=300000";

/// A body, each byte of which tells where it stands.
fn body(bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes);
    while body.len() < bytes {
        let (run, number) = ((bytes - body.len()).min(1 << 16), body.len() >> 16);
        body.resize(body.len() + run, number as u8);
    }
    body
}

fn head(target: &str, fields: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

/// The answer says that so many bytes have come, all of them right.
#[track_caller]
fn check(client: &mut Client, bytes: usize, length: Option<usize>) {
    let answer = client.response();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let length = length.map(|length| length.to_string());
    assert_eq!(
        answer.json(),
        match length {
            Some(length) => json!({"bytes": bytes, "isRight": true, "length": length}),
            None => json!({"bytes": bytes, "isRight": true}),
        }
    );
}

#[test]
fn a_large_body_reaches_the_program_whole_with_a_length_and_in_chunks() {
    let server = run(2, &[BOUND]);
    for bytes in [300_000, 300_001, 5_000_000] {
        let body = body(bytes);
        let mut client = server.connect();
        let sent = client.send_beside(
            [head("/count", &format!("Content-Length: {bytes}\r\n")).as_bytes(), &body].concat(),
        );
        check(&mut client, bytes, Some(bytes));
        sent.join().expect("it was sent");
        let mut chunked = head("/count", "Transfer-Encoding: chunked\r\n").into_bytes();
        for piece in body.chunks(70_000) {
            chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let mut client = server.connect();
        let sent = client.send_beside(chunked);
        // One that is small enough is whole, and has a length by then.
        check(&mut client, bytes, (bytes <= 300_000).then_some(bytes));
        sent.join().expect("it was sent");
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let server = run(1, &[BOUND]);
    let mut client = server.connect();
    client.send(head("/count", "Content-Length: 900000\r\nExpect: 100-continue\r\n"));
    let interim = client.response_head();
    assert_eq!(interim.status, 100);
    client.send(body(900_000));
    check(&mut client, 900_000, Some(900_000));
}

#[test]
fn a_body_is_taken_no_faster_than_the_program_reads_it() {
    const LARGE: usize = 16 << 20;
    // Whoever waits for the machine is pinged meanwhile.
    let server = run(1, &[BOUND, "socketio.ping_timeout_ms=200000"]);
    let mut player = Player::enter(&server);
    let mut client = server.connect();
    let sent = client.send_beside(
        [head("/count-later", &format!("Content-Length: {LARGE}\r\n")).as_bytes(), &body(LARGE)].concat(),
    );
    assert_eq!(player.event(), json!(["unread"]));
    for _ in 0..20 {
        player.ask(&json!(["echo", 1]));
    }
    assert!(!sent.is_finished(), "nobody has read it");
    player.emit(&json!(["read"]));
    check(&mut client, LARGE, Some(LARGE));
    sent.join().expect("it was sent");
}

#[test]
fn the_program_is_told_of_a_client_that_goes_in_the_midst_of_its_body() {
    let server = run(1, &[BOUND]);
    let mut player = Player::enter(&server);
    let mut client = server.connect();
    client.send(head("/count-later", "Content-Length: 900000\r\n"));
    // Of one that has gone before its request was passed on the program hears nothing.
    assert_eq!(player.event(), json!(["unread"]));
    player.emit(&json!(["read"]));
    client.send(body(450_000));
    assert_eq!(player.ask(&json!(["echo", 1])), json!([1]), "it has heard that as well");
    drop(client);
    assert_eq!(player.event()[0], "cut");
}

#[test]
fn an_answer_that_comes_before_the_body_has_ends_the_connection() {
    let server = run(1, &[BOUND]);
    let mut client = server.connect();
    client.send(head("/refuse", "Content-Length: 900000\r\n"));
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (400, "not wanted".to_owned()));
    client.expect_end();
}
