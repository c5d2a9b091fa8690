//! Coming back with a position: exactly what was missed, or a plain word that it cannot be had.

use serde_json::{Value, json};

use crate::{server::Server, socket::Incoming, stream::EventStream};

/// Publishes `1`, `2` … up to `count`; the positions, the one before the first among them.
fn published(server: &Server, channel: &str, count: u64) -> Vec<String> {
    let mut publisher = server.connect();
    let mut epoch = Value::Null;
    for offset in 1..=count {
        let body = offset.to_string();
        let answer = publisher.request("POST", &format!("/channels/{channel}"), "", body.as_bytes()).json();
        assert_eq!(answer["offset"], offset);
        epoch = answer["epoch"].clone();
    }
    (0..=count).map(|offset| format!("{epoch}:{offset}")).collect()
}

/// The data of a page or a poll's answer.
fn data(page: &Value) -> Vec<String> {
    let publications = page["publications"].as_array().expect("a list of publications");
    publications.iter().map(|one| one["data"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn whatever_was_missed_arrives_exactly_once_over_every_transport() {
    let server = Server::start(&[]);
    let positions = published(&server, "news", 9);
    for seen in [0, 4, 8, 9] {
        let position = &positions[seen];
        let missed: Vec<_> = (seen + 1..=9).map(|offset| offset.to_string()).collect();

        let by_header = format!("Last-Event-ID: {position}\r\n");
        let mut by_header = EventStream::open(server.connect(), "news", "", &by_header);
        let mut by_query = EventStream::open(server.connect(), "news", &format!("?since={position}"), "");
        for stream in [&mut by_header, &mut by_query] {
            for (data, offset) in missed.iter().zip(seen + 1..) {
                let event = stream.event();
                assert_eq!((event.data.as_ref(), event.id.as_ref()), (Some(data), Some(&positions[offset])));
            }
        }
        let mut socket = server.websocket(&format!("/channels/news?since={position}"));
        let got: Vec<_> = missed.iter().map(|_| socket.text()).collect();
        assert_eq!(got, missed);

        let target = format!("/channels/news?since={position}&timeout=0");
        let answer = server.get(&target).json();
        assert_eq!(data(&answer), missed);
        assert_eq!((&answer["recovered"], &answer["offset"]), (&json!(true), &json!(9)));
    }
}

#[test]
fn what_comes_after_a_recovery_follows_without_a_gap() {
    let server = Server::start(&[]);
    let positions = published(&server, "news", 3);
    let mut stream = EventStream::open(server.connect(), "news", &format!("?since={}", positions[1]), "");
    let mut socket = server.websocket(&format!("/channels/news?since={}", positions[1]));
    server.await_subscribers("news", 2);
    server.publish("news", "4");
    assert_eq!([stream.data(), stream.data(), stream.data()], ["2", "3", "4"]);
    assert_eq!([socket.text(), socket.text(), socket.text()], ["2", "3", "4"]);
}

#[test]
fn a_history_that_is_gone_is_told_over_every_transport() {
    let server = Server::start(&["limits.history_publications_max=2"]);
    let positions = published(&server, "short", 5);
    for (seen, recovered) in [(2, false), (3, true), (5, true)] {
        let page = server.get(&format!("/channels/short?since={}&timeout=0", positions[seen])).json();
        assert_eq!((seen, &page["recovered"]), (seen, &json!(recovered)));
        let history = server.get(&format!("/channels/short/history?since={}", positions[seen])).json();
        assert_eq!((seen, &history["recovered"]), (seen, &json!(recovered)));
    }
    let lost = &positions[1];
    assert_eq!(data(&server.get(&format!("/channels/short?since={lost}&timeout=0")).json()), ["4", "5"]);

    let mut stream = EventStream::open(server.connect(), "short", &format!("?since={lost}"), "");
    let reset = stream.event();
    assert_eq!(reset.name.as_deref(), Some("reset"));
    assert_eq!(reset.data.as_deref(), Some(r#"{"recovered":false}"#));
    assert_eq!(reset.id.as_ref(), Some(&positions[3]), "what follows is numbered from here");
    assert_eq!([stream.data(), stream.data()], ["4", "5"]);

    // A plain WebSocket has no place to show a gap.
    let mut socket = server.websocket(&format!("/channels/short?since={lost}"));
    assert_eq!(socket.close_code(), Some(4004));

    let mut commands = server.websocket("/ws");
    let reply = commands.command(&json!({"id":1,"subscribe":{"channel":"short","since":lost}}));
    assert_eq!(reply["subscribed"]["recovered"], json!(false));
    assert_eq!(reply["subscribed"]["missed"], json!(2));
    assert_eq!([commands.push()["data"].clone(), commands.push()["data"].clone()], ["4", "5"]);
    server.await_metric("roadstead_closed_total", "position_lost", 1.0);
}

#[test]
fn a_position_of_another_life_of_the_stream_is_not_recovered() {
    let server = Server::start(&[]);
    let positions = published(&server, "news", 2);
    let (epoch, _) = positions[0].split_once(':').expect("a position");
    let epoch: u64 = epoch.parse().expect("a number");
    for since in [format!("{}:1", epoch + 1), format!("{}:1", epoch - 1), format!("{epoch}:99"), "0:0".into()]
    {
        let page = server.get(&format!("/channels/news?since={since}&timeout=0")).json();
        assert_eq!((&since, &page["recovered"]), (&since, &json!(false)));
        let mut stream = EventStream::open(server.connect(), "news", &format!("?since={since}"), "");
        assert_eq!(stream.event().name.as_deref(), Some("reset"), "{since}");
    }
}

#[test]
fn a_restart_loses_the_stream_and_says_so() {
    let before = Server::start(&[]);
    let position = published(&before, "news", 3).pop().expect("a position");
    before.stop();
    let after = Server::start(&[]);
    let page = after.get(&format!("/channels/news?since={position}&timeout=0")).json();
    assert_eq!(page["recovered"], json!(false));
    after.publish("news", "again");
    assert_ne!(after.position("news").split(':').next(), position.split(':').next());
}

#[test]
fn history_grows_old_and_is_then_not_recovered() {
    let server = Server::start(&["limits.history_age_max_ms=300"]);
    // A channel that nobody follows would be forgotten together with its history.
    let _follower = server.websocket("/channels/aging");
    server.await_subscribers("aging", 1);
    let positions = published(&server, "aging", 2);
    crate::server::await_that("the history has aged", || {
        server.get("/channels/aging/info").json()["history_publications"] == json!(0)
    });
    let page = server.get(&format!("/channels/aging?since={}&timeout=0", positions[0])).json();
    assert_eq!((&page["recovered"], data(&page).len()), (&json!(false), 0));
    let page = server.get(&format!("/channels/aging?since={}&timeout=0", positions[2])).json();
    assert_eq!((&page["recovered"], &page["offset"]), (&json!(true), &json!(2)));
}

#[test]
fn history_bytes_are_bounded_over_all_channels() {
    let settings = ["limits.history_bytes_max=20000", "limits.publication_bytes_max=4000"];
    let server = Server::start(&settings);
    let mut publisher = server.connect();
    let payload = vec![b'x'; 4000];
    for round in 0..60 {
        publisher.publish(&format!("c{}", round % 6), &payload);
    }
    let kept = server.metric("roadstead_history_bytes", "");
    assert!((4000.0..=20000.0).contains(&kept), "{kept}");
    assert!(server.metric("roadstead_history_publications", "") < 60.0);
}

#[test]
fn polling_with_the_answered_position_misses_nothing_while_others_publish() {
    let server = Server::start(&["limits.history_publications_max=1000"]);
    let mut poller = server.connect();
    let first = poller.request("GET", "/channels/stream?timeout=0", "", b"").json();
    let mut position = first["position"].as_str().expect("a position").to_owned();
    let publishing = std::thread::spawn({
        let mut publisher = server.connect();
        move || {
            (1..=300).for_each(|offset| assert_eq!(publisher.publish("stream", offset.to_string()), offset))
        }
    });
    let mut got = Vec::new();
    while got.len() < 300 {
        let page = poller.request("GET", &format!("/channels/stream?since={position}"), "", b"").json();
        assert_eq!(page["recovered"], json!(true));
        got.extend(data(&page));
        position = page["position"].as_str().expect("a position").to_owned();
    }
    publishing.join().expect("everything was published");
    assert_eq!(got, (1..=300).map(|offset| offset.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_websocket_that_comes_back_again_and_again_gets_every_offset_once() {
    let server = Server::start(&["limits.history_publications_max=1000"]);
    server.publish("live", "first");
    let mut position = server.position("live");
    let publishing = std::thread::spawn({
        let mut publisher = server.connect();
        move || (2..=300).for_each(|offset| assert_eq!(publisher.publish("live", "x"), offset))
    });
    let mut next = 2;
    while next <= 300 {
        let mut socket = server.websocket("/ws");
        let reply = socket.command(&json!({"id":1,"subscribe":{"channel":"live","since":position}}));
        assert_eq!(reply["subscribed"]["recovered"], json!(true));
        for _ in 0..40.min(301 - next) {
            let push = socket.push();
            assert_eq!(push["offset"], next);
            position = format!("{}:{next}", push["epoch"]);
            next += 1;
        }
    }
    publishing.join().expect("everything was published");
}

#[test]
fn a_position_that_is_none_is_refused_and_an_empty_one_is_no_position() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for target in ["/channels/a?since=x", "/channels/a?since=1", "/channels/a/history?since=1:-1"] {
        let refused = client.request("GET", target, "", b"");
        assert_eq!((refused.status, refused.error_code().as_str()), (400, "position_invalid"), "{target}");
    }
    assert_eq!(client.request("GET", "/channels/a?since=&timeout=0", "", b"").status, 200);
    let mut stream = EventStream::open(client, "a", "", "Last-Event-ID: \r\n");
    server.await_subscribers("a", 1);
    server.publish("a", "first");
    assert_eq!(stream.data(), "first");
    let mut socket = server.websocket("/channels/a?since=");
    server.await_subscribers("a", 2);
    server.publish("a", "second");
    assert_eq!(socket.next(), Incoming::Text("second".into()));
}

#[test]
fn an_event_stream_that_is_cut_before_its_first_event_misses_nothing() {
    let server = Server::start(&[]);
    for channel in (0..8).map(|number| format!("quiet{number}")) {
        let mut stream = EventStream::open(server.connect(), &channel, "", "");
        // The time to wait, and where it begins.
        let mut blocks = std::iter::from_fn(|| stream.block()).take(2);
        let opening = blocks.find(|block| block.id.is_some()).expect("it says where it begins");
        assert_eq!((opening.data, opening.name), (None, None), "that is no event");
        drop(stream);
        server.publish(&channel, "missed");
        let resume = format!("Last-Event-ID: {}\r\n", opening.id.expect("just seen"));
        let mut stream = EventStream::open(server.connect(), &channel, "", &resume);
        let event = stream.event();
        assert_eq!((event.name, event.data.as_deref()), (None, Some("missed")));
    }
}

#[test]
fn an_event_stream_with_somebody_elses_position_is_told_of_the_gap_and_goes_on() {
    let server = Server::start(&[]);
    server.publish("a", "kept");
    for id in ["42", "urn:uuid:7d444840", "x"] {
        for (query, fields) in [
            (String::new(), format!("Last-Event-ID: {id}\r\n")),
            (format!("?lastEventId={id}"), String::new()),
        ] {
            let mut stream = EventStream::open(server.connect(), "a", &query, &fields);
            assert_eq!(stream.event().name.as_deref(), Some("reset"), "{id}");
            assert_eq!(stream.data(), "kept", "{id}");
        }
    }
    let position = server.position("a");
    server.publish("a", "missed");
    let resumed = format!("?lastEventId={position}");
    let mut stream = EventStream::open(server.connect(), "a", &resumed, "");
    assert_eq!(stream.data(), "missed", "as event-source-polyfill comes back");
}
