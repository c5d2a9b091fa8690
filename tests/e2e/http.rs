//! HTTP/1.1 on the line: keep-alive, pipelining, bodies, interim answers, half-closed connections.

use std::time::{Duration, Instant};

use crate::{
    client::End,
    server::{Server, await_that},
};

const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn a_connection_whose_put_off_answer_was_its_last_is_let_go_when_its_client_closes() {
    let server = Server::start(&[]);
    let idle = server.connections();
    let are_let_go_at_once = || {
        for _ in 0..20 {
            let mut client = server.connect();
            let last = client.request("GET", "/channels/x/history", "Connection: close\r\n", b"");
            assert_eq!(last.status, 200);
        }
        let began = Instant::now();
        await_that("the connections are let go", || server.connections() <= idle);
        began.elapsed() < Duration::from_millis(1_500)
    };
    // What lingers does so for two seconds each time; a busy machine may take as long now and then.
    assert!((0..5).any(|_| are_let_go_at_once()), "they lingered");
}

#[test]
fn a_connection_is_used_again_until_one_side_says_otherwise() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for _ in 0..50 {
        let answer = client.request("GET", "/hello", "", b"");
        assert_eq!((answer.status, answer.field("connection")), (200, None));
    }
    let last = client.request("GET", "/hello", "Connection: close\r\n", b"");
    assert_eq!((last.status, last.field("connection")), (200, Some("close")));
    client.expect_end();
    assert_eq!(server.metric("roadstead_responses_total", "2xx"), 51.0);
}

#[test]
fn http_1_0_closes_unless_asked_to_keep_alive() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.response().field("connection"), Some("keep-alive"));
    client.send("GET /hello HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client.expect_end();
}

#[test]
fn a_hundred_requests_in_one_write_get_a_hundred_answers_in_order() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut bytes = Vec::new();
    for number in 0..100 {
        match number % 3 {
            0 => bytes.extend_from_slice(HELLO),
            1 => bytes.extend(format!("GET /nothing/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n").bytes()),
            _ => bytes.extend(
                format!(
                    "POST /channels/p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{:02}",
                    number % 100
                )
                .bytes(),
            ),
        }
    }
    client.send(&bytes);
    let mut offset = 0;
    for number in 0..100 {
        let answer = client.response();
        assert_eq!(answer.status, [200, 404, 200][number % 3], "answer {number}");
        if number % 3 == 2 {
            offset += 1;
            assert_eq!(answer.json()["offset"], offset);
        }
    }
}

#[test]
fn ten_thousand_pipelined_requests_are_answered_though_nobody_reads_meanwhile() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let sending = client.send_beside(HELLO.repeat(10_000));
    (0..10_000).for_each(|_| assert_eq!(client.response().status, 200));
    sending.join().expect("everything was sent");
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered_like_any_other() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let request =
        b"POST /channels/slow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for _ in 0..3 {
        request.iter().for_each(|byte| client.send([*byte]));
        assert_eq!(client.response().status, 200);
    }
    let page = server.get("/channels/slow/history").json();
    assert_eq!(page["publications"][2]["data"], "abc");
}

#[test]
fn chunked_bodies_are_joined_and_their_extensions_and_trailers_ignored() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(
        "POST /channels/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n1;name=\"v\"\r\n \r\n00005\r\nworld\r\n0\r\nTrailer: x\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let page = client.request("GET", "/channels/c/history", "", b"").json();
    assert_eq!(page["publications"][0]["data"], "hello world");
}

#[test]
fn a_large_body_arrives_whole() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let body: Vec<u8> = (0..262_144).map(|index| b'a' + (index % 26) as u8).collect();
    client.publish("large", &body);
    let page = client.request("GET", "/channels/large/history", "", b"").json();
    assert_eq!(page["publications"][0]["data"].as_str().map(str::as_bytes), Some(&body[..]));
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_once_and_others_do_not() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let head =
        "POST /channels/e HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(head);
    assert_eq!(client.response_head().status, 100);
    client.send("hello");
    assert_eq!(client.response().status, 200);
    client.send([head, "hello"].concat());
    assert_eq!(client.response().status, 200, "the body was there already");
    client.send(head.replace("Content-Length: 5", "Content-Length: 99999999"));
    assert_eq!(client.response().status, 413, "no invitation for a body that is too large");
    client.expect_end();
}

#[test]
fn head_is_get_without_the_body_and_options_tell_the_methods() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for target in ["/hello", "/", "/channels", "/channels/a/history", "/channels/a/info", "/channels/a"] {
        let head = client.request("HEAD", target, "", b"");
        assert_eq!(head.status, 200, "{target}");
        let length: usize =
            head.field("content-length").and_then(|text| text.parse().ok()).expect("a length");
        if target != "/channels/a" {
            assert_eq!(client.request("GET", target, "", b"").body.len(), length, "{target}");
        }
    }
    for (target, methods) in [
        ("/channels/a", "GET, HEAD, POST, OPTIONS"),
        ("/publish", "POST, OPTIONS"),
        ("/hello", "GET, HEAD, OPTIONS"),
        ("/ws", "GET, OPTIONS"),
        ("*", "OPTIONS"),
    ] {
        let answer = client.request("OPTIONS", target, "", b"");
        assert_eq!((answer.status, answer.field("allow")), (204, Some(methods)), "{target}");
    }
}

#[test]
fn a_client_that_has_ended_its_direction_still_gets_every_answer() {
    let server = Server::start(&[]);
    let publication =
        b"POST /channels/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx".to_vec();
    for (requests, count) in [
        (HELLO.to_vec(), 1),
        (HELLO.repeat(100), 100),
        (publication.clone(), 1),
        ([publication, HELLO.to_vec()].concat(), 2),
        (b"GET /channels HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), 1),
    ] {
        for _ in 0..10 {
            let mut client = server.connect();
            client.send(&requests);
            client.end_sending();
            for _ in 0..count {
                assert_eq!(client.response().status, 200, "{}", String::from_utf8_lossy(&requests));
            }
            client.expect_end();
        }
    }
}

#[test]
fn a_client_that_has_ended_its_direction_gets_a_long_answer_whole() {
    let limits = ["publication_bytes_max", "body_bytes_max", "send_queue_bytes_max"];
    let settings = limits.map(|limit| format!("limits.{limit}=8000000"));
    let server = Server::start(&settings.each_ref().map(String::as_str));
    server.publish("long", vec![b'x'; 8_000_000]);
    for fields in ["", "Connection: close\r\n"] {
        let mut client = server.connect();
        client.ask("GET", "/channels/long/history", fields, b"");
        client.end_sending();
        let page = client.response();
        assert!(page.body.len() > 8_000_000, "{}", page.body.len());
        client.expect_end();
    }
}

#[test]
fn nothing_is_answered_after_an_error_and_the_connection_closes_without_a_reset() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let garbage = vec![b'x'; 300_000];
    client.send([HELLO, b"BAD REQUEST LINE HERE HTTP/1.1\r\n\r\n", HELLO].concat());
    // What is still on its way when the answer is given must not tear the answer down.
    client.try_send(&garbage).expect("the server goes on taking bytes for a while");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().status, 400);
    assert_eq!(client.receive_to_end(), End::Closed);
    assert_eq!(client.received, b"", "no third answer");
}
