//! Event streams of several channels, those that begin with state or who is there, and long polls, that stay open when another version
//! takes the place of the one that began them.

use serde_json::json;

use crate::{
    client::{Client, Response},
    kept_open_unsent::{HISTORY, fill, large},
    server::Server,
    several::{heard, opening, positions, target},
    socket::{Incoming, WebSocket},
    stream::EventStream,
    upgrade::Installed,
};

/// Long enough that no client is asked whether it is there.
const QUIET: &str = "limits.ping_interval_ms=600000";
const CHANNELS: [&str; 3] = ["c", "a", "b"];

/// A connection with TLS and one without.
fn both(installed: &Installed, server: &Server) -> [Client; 2] {
    [server.connect(), installed.beside()]
}

/// Upgrades; all of so many connections go on.
fn upgrade(server: &Server, carried: usize) {
    server.succeeded();
    assert_eq!(server.metric("roadstead_carried_total", ""), carried as f64, "{}", server.log());
    assert_eq!(server.metric("roadstead_carried_refused_total", ""), 0.0);
}

#[test]
fn streams_of_several_channels_go_on_with_each_and_tell_all_positions() {
    let installed = Installed::new();
    let server = installed.serve_both(&[QUIET]);
    let mut streams =
        both(&installed, &server).map(|client| EventStream::open_at(client, &target(&CHANNELS, ""), ""));
    let mut only = EventStream::open_at(server.connect(), &target(&["b"], ""), "");
    streams.iter_mut().for_each(|stream| assert_eq!(opening(stream), positions(&server, &CHANNELS)));
    opening(&mut only);
    let mut publish = |round: usize| {
        for channel in ["a", "b", "c", "a"] {
            let data = format!("{channel} {round}");
            server.publish(channel, &data);
            let id = positions(&server, &CHANNELS);
            for stream in &mut streams {
                let event = stream.event();
                assert_eq!(heard(&event), (channel.to_owned(), data.clone()));
                assert_eq!(event.id.as_deref(), Some(&*id));
            }
            if channel == "b" {
                let event = only.event();
                assert_eq!((heard(&event), event.id), (("b".into(), data), Some(server.position("b"))));
            }
        }
    };
    for round in 0..3 {
        publish(round);
        upgrade(&server, 3);
    }
    publish(3);
}

#[test]
fn a_stream_of_several_channels_that_has_not_read_tells_where_it_is_with_each_event() {
    let installed = Installed::new();
    let server = installed.serve_both(&[QUIET, HISTORY]);
    let mut stream = EventStream::open_at(Client::narrow(server.address()), &target(&CHANNELS, ""), "");
    CHANNELS.iter().for_each(|channel| server.await_subscribers(channel, 1));
    server.publish("b", "first");
    let count = fill(&server, "a", 150_000.0);
    upgrade(&server, 1);
    server.publish("a", large(count + 1));
    server.publish("b", "last");
    let at = |channel: &str, offset: usize| {
        let position = server.position(channel);
        format!("{}:{offset}", position.split_once(':').expect("a position").0)
    };
    let c = server.position("c");
    for number in 0..=count + 1 {
        let (event, said) = (stream.event(), if number == 0 { "first".into() } else { large(number) });
        assert!(heard(&event).1 == said, "{number} of {count}");
        let expected = match number {
            0 => continue,
            number => format!("{c},{},{}", at("a", number), at("b", 1)),
        };
        assert_eq!(event.id, Some(expected), "{number} of {count}");
    }
    let event = stream.event();
    assert_eq!((heard(&event), event.id), (("b".into(), "last".into()), Some(positions(&server, &CHANNELS))));
}

#[test]
fn who_follows_the_state_is_not_shown_it_again_and_is_when_something_is_lost() {
    let installed = Installed::new();
    let server = installed.serve_both(&[
        QUIET,
        "limits.slow_consumer=drop-oldest",
        "limits.send_queue_bytes_max=200000",
        "limits.publication_bytes_max=60000",
        "limits.history_publications_max=10",
    ]);
    server.connect().request("PUT", "/channels/news/state/k", "", b"v");
    let narrow = || Client::narrow(server.address());
    let mut stream = EventStream::open(narrow(), "news", "?state=true", "");
    assert_eq!(stream.event().name.as_deref(), Some("state"));
    let mut socket = WebSocket::open(narrow(), "/ws", "");
    socket.command(&json!({"id": 1, "subscribe": {"channel": "news", "state": true}}));
    assert!(socket.json()["state"].is_object());
    let mut present = both(&installed, &server)
        .map(|client| EventStream::open_at(client, &target(&["news", "quiet"], "&presence=true"), ""));
    for stream in &mut present {
        let names = [(); 2].map(|()| stream.event().name);
        assert_eq!(names.each_ref().map(Option::as_deref), [Some("presence"); 2]);
    }
    for _ in 0..2 {
        upgrade(&server, 4);
        server.publish("quiet", "x");
        for stream in &mut present {
            let event = stream.event();
            assert_eq!(
                (event.name.as_deref(), heard(&event).1),
                (None, "x".into()),
                "nothing is shown again"
            );
        }
    }
    server.publish("news", "next");
    assert_eq!(stream.data(), "next");
    assert_eq!(socket.push()["data"], json!("next"));
    // Now some is lost to those that do not read. Whoever has lost some is told no more of it until it has read, and so loses no more.
    let dropped = || server.metric("roadstead_dropped_slow_total", "");
    let (mut number, mut until) = (0, 2_000);
    while number < until {
        server.publish("news", large(number));
        present.iter_mut().for_each(|stream| _ = stream.event());
        if until == 2_000 && dropped() > 0.0 {
            // The sockets of both take about as much.
            until = number + 40;
        }
        number += 1;
    }
    assert!(number < 2_000, "the kernel takes all of it");
    while stream.event().name.as_deref() != Some("state") {}
    loop {
        match socket.next() {
            Incoming::Text(text) if text.starts_with(r#"{"state""#) => break,
            Incoming::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn polls_that_wait_are_answered_by_the_next_version_and_their_connections_go_on() {
    let installed = Installed::new();
    let server = installed.serve_both(&[QUIET]);
    let mut one = both(&installed, &server);
    one.iter_mut().for_each(|client| client.ask("GET", "/channels/a?timeout=60", "", b""));
    let mut several = both(&installed, &server);
    let named = target(&CHANNELS, "&timeout=60");
    several.iter_mut().for_each(|client| client.ask("GET", &named, "", b""));
    server.await_subscribers("a", 4);
    server.await_subscribers("c", 2);
    upgrade(&server, 4);
    upgrade(&server, 4);
    server.publish("a", "x".repeat(2_000));
    for client in &mut one {
        let answer = client.response();
        assert_eq!((answer.status, answer.field("vary")), (200, Some("Accept")));
        assert_eq!(answer.json()["publications"][0]["offset"], json!(1));
    }
    for client in &mut several {
        let answer = client.response();
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains("xxxx"), "{}", answer.text());
        assert_eq!(answer.json()["position"], json!(positions(&server, &CHANNELS)));
    }
    for client in one.iter_mut().chain(&mut several) {
        assert_eq!(client.request("GET", "/hello", "", b"").status, 200, "it is a connection as any");
    }
}

/// Whether an answer of a poll says that nothing has been published.
fn is_empty(answer: &Response) -> bool {
    answer.status == 200 && answer.json()["publications"] == json!([])
}

#[test]
fn a_poll_that_has_waited_as_long_as_it_wanted_is_told_so_by_the_next_version() {
    let installed = Installed::new();
    let server = installed.serve_both(&[QUIET]);
    let mut polls = both(&installed, &server);
    polls.iter_mut().for_each(|client| client.ask("GET", "/channels/quiet?timeout=15", "", b""));
    server.await_subscribers("quiet", 2);
    upgrade(&server, 2);
    for client in &mut polls {
        let answer = client.response();
        assert!(is_empty(&answer), "{answer:?}");
        assert_eq!(client.request("GET", "/hello", "", b"").status, 200);
    }
}

#[test]
fn a_poll_that_may_not_go_on_is_refused_and_one_with_a_request_behind_it_answered_by_the_old_version() {
    let installed = Installed::new();
    installed.configure("");
    let server = installed.serve_plainly(&[QUIET]);
    let mut refused = server.connect();
    refused.ask("GET", "/channels/secret?timeout=60", "", b"");
    let mut behind = server.connect();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    behind.send(get("/channels/news?timeout=60") + &get("/hello"));
    ["secret", "news"].iter().for_each(|channel| server.await_subscribers(channel, 1));
    installed.configure("[[namespace]]\npattern = \"news\"\nsubscribe = \"anyone\"\npublish = \"anyone\"\n");
    server.succeeded();
    assert_eq!(refused.response().status, 503);
    refused.expect_end();
    let answer = behind.response();
    assert!(is_empty(&answer), "{answer:?}");
}
