//! Several channels in one stream of events or one long poll: each in its order, from its position, and no gap hidden.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    backend::{Backend, Reaction},
    permissions::TemporaryFile,
    server::{Patience, Server, await_that},
    stream::{Event, EventStream},
    tokens,
};

/// A stream of these channels, behind what `query` and `fields` say.
#[track_caller]
fn stream(server: &Server, channels: &[&str], query: &str, fields: &str) -> EventStream {
    EventStream::open_at(server.connect(), &target(channels, query), fields)
}

pub fn target(channels: &[&str], query: &str) -> String {
    let named: Vec<_> = channels.iter().map(|channel| format!("channel={channel}")).collect();
    format!("/events?{}{query}", named.join("&"))
}

/// The positions that a stream begins at.
#[track_caller]
pub fn opening(stream: &mut EventStream) -> String {
    let patience = Patience::begin();
    loop {
        patience.check("the stream says where it begins");
        if let Some(id) = stream.block().expect("the stream goes on").id {
            return id;
        }
    }
}

/// What an event's data says.
#[track_caller]
fn said(event: &Event) -> Value {
    serde_json::from_str(event.data.as_deref().expect("an event has data")).expect("JSON")
}

/// The channel and the text of an event.
#[track_caller]
pub fn heard(event: &Event) -> (String, String) {
    let said = said(event);
    let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("{said} has {name}")).to_owned();
    (text("channel"), text("data"))
}

/// The positions of these channels, as one.
pub fn positions(server: &Server, channels: &[&str]) -> String {
    channels.iter().map(|channel| server.position(channel)).collect::<Vec<_>>().join(",")
}

fn follow_several_over(shards: u16) {
    let server = Server::with_shards(shards, &[]);
    let channels = ["a", "b", "c%2Fd", "e"];
    let mut stream = stream(&server, &channels, "", "");
    channels.iter().for_each(|channel| server.await_subscribers(channel, 1));
    let opening = opening(&mut stream);
    assert_eq!(opening, positions(&server, &channels), "the opening says every position");
    for round in 1..=3 {
        for channel in channels {
            let data = format!("{channel} {round}");
            server.publish(channel, &data);
            let event = stream.event();
            assert_eq!(heard(&event), (channel.replace("%2F", "/"), data));
            assert_eq!(said(&event)["offset"], round);
            assert_eq!(event.id, Some(positions(&server, &channels)), "an id says every position");
        }
    }
    let info = server.get("/channels/b/info").json();
    assert_eq!(info["transports"]["event_stream"], 1);
    drop(stream);
    channels.iter().for_each(|channel| server.await_subscribers(channel, 0));
}

#[test]
fn one_stream_follows_several_channels_and_names_them_over_two_shards() {
    follow_several_over(2);
}

#[test]
fn one_stream_follows_several_channels_and_names_them_over_eight_shards() {
    follow_several_over(8);
}

#[test]
fn events_have_the_names_of_their_publishers_and_bytes_and_json_stay_what_they_are() {
    let server = Server::start(&[]);
    let mut stream = stream(&server, &["a", "b"], "", "");
    ["a", "b"].iter().for_each(|channel| server.await_subscribers(channel, 1));
    let mut client = server.connect();
    client.request("POST", "/channels/a?event=news", "Content-Type: application/json\r\n", b"{\"n\":\n1}");
    let event = stream.event();
    assert_eq!((event.name.as_deref(), &said(&event)["data"]), (Some("news"), &json!({"n": 1})));
    client.request("POST", "/channels/b", "", b"\xff\x00");
    let event = stream.event();
    assert_eq!((event.name.as_deref(), &said(&event)["data_base64"]), (None, &json!("/wA=")));
    client.request("PUT", "/channels/b/state/k", "", b"1");
    let event = stream.event();
    assert_eq!((event.name.as_deref(), &said(&event)["key"]), (Some("set"), &json!("k")));
    assert_eq!(said(&event)["channel"], "b");
}

#[test]
fn a_stream_that_comes_back_gets_on_each_channel_what_it_missed() {
    let server = Server::start(&[]);
    let channels = ["a", "b", "c"];
    for channel in channels {
        (1..=4).for_each(|offset| assert_eq!(server.publish(channel, format!("{offset}")), offset));
    }
    let at = |channel: &str, offset: u64| {
        let position = server.position(channel);
        format!("{}:{offset}", position.split(':').next().expect("an epoch"))
    };
    let since = format!("{},{},{}", at("a", 1), at("b", 4), at("c", 3));
    let missed = [("a", "2"), ("a", "3"), ("a", "4"), ("c", "4")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let mut streams = Vec::new();
    for (query, fields) in [
        (format!("&since={since}"), String::new()),
        (format!("&lastEventId={}", since.replace(':', "%3A")), String::new()),
        ("&since=1:1,1:1,1:1".into(), format!("Last-Event-ID: {since}\r\n")),
    ] {
        let mut stream = stream(&server, &channels, &query, &fields);
        let events: Vec<_> = (0..4).map(|_| stream.event()).collect();
        let mut got: Vec<_> = events.iter().map(heard).collect();
        got.sort();
        assert_eq!(got, missed, "{query}{fields}");
        assert_eq!(events[3].id, Some(positions(&server, &channels)));
        streams.push(stream);
    }
    server.await_subscribers("b", 3);
    server.publish("b", "new");
    streams.iter_mut().for_each(|one| assert_eq!(heard(&one.event()), ("b".into(), "new".into())));
}

#[test]
fn what_is_lost_on_one_channel_is_told_of_that_one_alone() {
    let server = Server::start(&["limits.history_publications_max=2"]);
    for _ in 0..5 {
        server.publish("a", "x");
        server.publish("b", "y");
    }
    let (a, b) = (server.position("a"), server.position("b"));
    let epoch = |position: &str| position.split(':').next().expect("an epoch").to_owned();
    let since = format!("{}:1,{}:4", epoch(&a), epoch(&b));
    let mut resumed = stream(&server, &["a", "b"], &format!("&since={since}"), "");
    let events: Vec<_> = (0..4).map(|_| resumed.event()).collect();
    let resets: Vec<_> = events.iter().filter(|event| event.name.as_deref() == Some("reset")).collect();
    assert_eq!(resets.len(), 1, "{events:?}");
    assert_eq!(said(resets[0]), json!({"channel": "a", "recovered": false}));
    let offsets = |channel: &str| -> Vec<u64> {
        let of_it = events.iter().filter(|event| event.name.is_none()).map(said);
        of_it.filter(|said| said["channel"] == channel).filter_map(|said| said["offset"].as_u64()).collect()
    };
    assert_eq!((offsets("a"), offsets("b")), (vec![4, 5], vec![5]));

    // Positions of somebody else, or of other channels than these, are places that nothing is known of.
    for id in ["42", &a, &format!("{a},{b},{b}"), &format!("{b},{a}"), &format!("{a},-")] {
        let mut stream = stream(&server, &["a", "b"], "", &format!("Last-Event-ID: {id}\r\n"));
        let mut reset: Vec<_> = std::iter::from_fn(|| Some(stream.event()))
            .take(if id.ends_with('-') { 3 } else { 6 })
            .filter(|event| event.name.as_deref() == Some("reset"))
            .map(|event| said(&event)["channel"].as_str().expect("a channel").to_owned())
            .collect();
        reset.sort();
        let expected: &[&str] = if id.ends_with('-') { &["b"] } else { &["a", "b"] };
        assert_eq!(reset, expected, "{id}");
    }
}

#[test]
fn a_client_that_is_cut_anywhere_misses_nothing_and_hears_nothing_twice() {
    const ROUNDS: u64 = 40;
    let server = Server::start(&[]);
    let channels = ["a", "b", "c", "d", "e"];
    let mut publisher = server.connect();
    let (mut last, mut got) = (String::new(), BTreeMap::<String, Vec<u64>>::new());
    let mut note = |event: &Event| {
        assert_eq!(event.name, None, "nothing is lost");
        let said = said(event);
        let channel = said["channel"].as_str().expect("a channel").to_owned();
        got.entry(channel).or_default().push(said["offset"].as_u64().expect("an offset"));
    };
    for round in 0..ROUNDS {
        let mut stream = stream(&server, &channels, "", &format!("Last-Event-ID: {last}\r\n"));
        if round == 0 {
            last = opening(&mut stream);
        }
        for index in 0..7 {
            publisher.publish(channels[(round as usize + index * index) % channels.len()], "x");
        }
        // Some of it is read, and then the client is cut.
        for _ in 0..round % 8 {
            let event = stream.event();
            note(&event);
            last = event.id.expect("an event has an id");
        }
    }
    let mut stream = stream(&server, &channels, "", &format!("Last-Event-ID: {last}\r\n"));
    let all = positions(&server, &channels);
    while last != all {
        let event = stream.event();
        note(&event);
        last = event.id.expect("an event has an id");
    }
    for (channel, offsets) in &got {
        assert_eq!(*offsets, (1..=offsets.len() as u64).collect::<Vec<_>>(), "{channel}");
    }
    assert_eq!(got.values().map(Vec::len).sum::<usize>() as u64, 7 * ROUNDS);
}

#[test]
fn what_is_long_is_caught_up_with_in_pieces_on_each_channel() {
    let server = Server::start(&["limits.send_queue_bytes_max=100000", "limits.publication_bytes_max=20000"]);
    let (channels, data) = (["a", "b", "c"], "x".repeat(4_000));
    for channel in channels {
        (1..=60).for_each(|offset| assert_eq!(server.publish(channel, &data), offset));
    }
    let since: Vec<_> =
        channels.iter().map(|channel| server.position(channel).replace(":60", ":0")).collect();
    let mut stream = stream(&server, &channels, &format!("&since={}", since.join(",")), "");
    let mut offsets = BTreeMap::<String, u64>::new();
    for _ in 0..180 {
        let event = stream.event();
        let offset = offsets.entry(heard(&event).0).or_default();
        *offset += 1;
        assert_eq!(said(&event)["offset"], *offset);
    }
    server.publish("b", "new");
    let event = stream.event();
    assert_eq!(heard(&event), ("b".into(), "new".into()));
    assert_eq!(event.id, Some(positions(&server, &channels)));
}

#[test]
fn a_stream_of_several_channels_begins_with_the_state_of_each() {
    let server = Server::start(&[]);
    for channel in ["a", "b"] {
        server.connect().request("PUT", &format!("/channels/{channel}/state/k"), "", b"1");
    }
    let mut stream = stream(&server, &["a", "b"], "&state=true", "");
    let mut told: Vec<_> = (0..2).map(|_| stream.event()).collect();
    told.sort_by_key(|event| event.data.clone());
    for (event, channel) in told.iter().zip(["a", "b"]) {
        assert_eq!(event.name.as_deref(), Some("state"));
        assert_eq!((&said(event)["channel"], &said(event)["keys"][0]["key"]), (&json!(channel), &json!("k")));
    }
}

#[test]
fn a_poll_of_several_channels_is_answered_by_whichever_has_something() {
    for shards in [1, 2, 8] {
        let server = Server::with_shards(shards, &["limits.long_poll_timeout_max_ms=20000"]);
        let channels = ["a", "b", "c"];
        let mut client = server.connect();
        let empty = client.request("GET", &target(&channels, "&timeout=0"), "", b"").json();
        assert_eq!(empty["position"], positions(&server, &channels));
        assert_eq!(empty["channels"].as_array().map(Vec::len), Some(3));
        let mut since = empty["position"].as_str().expect("positions").to_owned();
        for round in 1..=4 {
            for (index, channel) in channels.iter().enumerate() {
                client.ask("GET", &target(&channels, &format!("&since={since}&timeout=20")), "", b"");
                server.await_subscribers(channel, 1);
                server.publish(channel, format!("{round}"));
                let answer = client.response();
                assert_eq!(answer.field("content-type"), Some("application/json"));
                let answer = answer.json();
                let told = &answer["channels"][index];
                assert_eq!((&told["channel"], &told["offset"]), (&json!(channel), &json!(round)), "{answer}");
                assert_eq!(told["publications"][0]["data"], format!("{round}"));
                let pages = answer["channels"].as_array().expect("channels");
                let publications = pages.iter().filter_map(|page| page["publications"].as_array());
                assert_eq!(publications.map(Vec::len).sum::<usize>(), 1, "{answer}");
                assert!(pages.iter().all(|page| page["recovered"] == true), "{answer}");
                since = answer["position"].as_str().expect("positions").to_owned();
                assert_eq!(since, positions(&server, &channels));
            }
        }
        // What was missed on several comes in one answer, at once.
        channels.iter().for_each(|channel| assert_eq!(server.publish(channel, "5"), 5));
        let answer =
            client.request("GET", &target(&channels, &format!("&since={since}&timeout=20")), "", b"").json();
        for page in answer["channels"].as_array().expect("channels") {
            assert_eq!(page["publications"][0]["data"], "5", "{answer}");
        }
        let lost = client.request("GET", &target(&channels, "&since=1:1,-,-&timeout=20"), "", b"").json();
        let recovered: Vec<_> = lost["channels"]
            .as_array()
            .expect("channels")
            .iter()
            .map(|page| page["recovered"].clone())
            .collect();
        assert_eq!(recovered, [json!(false), json!(true), json!(true)]);
    }
}

#[test]
fn an_unanswered_poll_of_several_channels_ends_empty_and_its_connection_lives_on() {
    let server = Server::start(&["limits.long_poll_timeout_max_ms=150"]);
    let mut client = server.connect();
    for _ in 0..3 {
        let answer = client.request("GET", &target(&["a", "b"], "&timeout=25"), "", b"").json();
        assert_eq!(answer["position"], positions(&server, &["a", "b"]));
    }
    assert_eq!(client.request("GET", &target(&["a"], "&since=1"), "", b"").error_code(), "position_invalid");
    assert_eq!(client.request("HEAD", &target(&["a", "b"], ""), "", b"").status, 200);
}

#[test]
fn streams_and_polls_of_several_channels_are_told_when_the_server_drains() {
    let mut server = Server::start(&[]);
    let channels = ["a", "b"];
    let mut stream = stream(&server, &channels, "", "");
    let mut poll = server.connect();
    poll.ask("GET", &target(&channels, "&timeout=25"), "", b"");
    channels.iter().for_each(|channel| server.await_subscribers(channel, 2));
    let all = positions(&server, &channels);
    server.signal("TERM");
    let rest = stream.rest();
    assert!(rest.iter().filter(|block| block.retry.is_some()).count() >= 1, "{rest:?}");
    let answer = poll.response();
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert_eq!(answer.json()["position"], all);
    poll.expect_end();
    drop((stream, poll));
    assert!(server.wait().success(), "{}", server.log());
}

#[test]
fn every_channel_of_a_stream_needs_its_right_and_one_that_is_shut_out_is_closed() {
    let namespaces = "[[namespace]]\npattern = \"open:*\"\nsubscribe = \"anyone\"\npresence = \"anyone\"\n\
        [[namespace]]\npattern = \"mine:*\"\nsubscribe = \"allow\"\npresence = \"anyone\"\n";
    let file = TemporaryFile::holding("several.toml", namespaces);
    let keys = format!("auth.hs256_keys=[\"{}\"]", tokens::SECRET);
    let mut command = Server::command(2, &["127.0.0.1:0"], &[&keys]);
    let server = Server::launch(command.args(["--config", file.path()]));
    let token = tokens::make(&json!({"sub": "42", "allow": {"subscribe": ["mine:1"]}}));
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for (channels, fields, status) in [
        (&["open:1", "open:2"][..], "", 200),
        (&["open:1", "mine:1"], "", 401),
        (&["mine:1", "open:1"], "", 401),
        (&["open:1", "mine:1"], &bearer, 200),
        (&["open:1", "mine:1", "mine:2"], &bearer, 403),
    ] {
        for accept in ["Accept: text/event-stream\r\n", ""] {
            let mut client = server.connect();
            let fields = format!("{fields}{accept}");
            client.ask("GET", &target(channels, "&timeout=0"), &fields, b"");
            assert_eq!(client.response_head().status, status, "{channels:?} {fields}");
        }
    }
    let mut stream = stream(&server, &["open:1", "mine:1"], "", &bearer);
    server.await_subscribers("mine:1", 1);
    let revoked = server.connect_admin().request(
        "POST",
        "/auth/revoke",
        "Content-Type: application/json\r\n",
        br#"{"user":"42"}"#,
    );
    assert_eq!(revoked.status, 202, "{}", revoked.text());
    stream.rest();
    server.await_subscribers("open:1", 0);
}

#[test]
fn a_backend_is_asked_about_every_channel_of_a_stream() {
    let backend = Backend::start(|asked| match asked.json()["channel"].as_str() {
        Some("c7") => Reaction::Json(json!({"deny": {"code": "no_member", "message": "You are none."}})),
        _ => Reaction::Json(json!({"allow": true})),
    });
    let namespaces = "[[namespace]]\npattern = \"**\"\nsubscribe = \"hook\"\npresence = \"anyone\"\n";
    let file = TemporaryFile::holding("several-hooks.toml", namespaces);
    let mut command = Server::command(2, &["127.0.0.1:0"], &[&backend.setting("subscribe")]);
    let server = Server::launch(command.args(["--config", file.path()]));
    let names: Vec<_> = (0..64).map(|index| format!("d{index}")).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    drop(stream(&server, &all, "", ""));
    assert_eq!(backend.calls(), all.len());
    let answer = server.connect().request("GET", &target(&["c1", "c7", "c2"], "&timeout=0"), "", b"");
    assert_eq!((answer.status, answer.error_code().as_str()), (403, "no_member"));
}

#[test]
fn a_backend_is_asked_about_many_channels_of_a_request_together() {
    const TOGETHER: usize = 16;
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let namespaces = "[[namespace]]\npattern = \"**\"\nsubscribe = \"hook\"\npresence = \"anyone\"\n";
    let file = TemporaryFile::holding("several-together.toml", namespaces);
    let settings = [&*backend.setting("subscribe"), "hooks.timeout_ms=30000"];
    let mut command = Server::command(1, &["127.0.0.1:0"], &settings);
    let server = Server::launch(command.args(["--config", file.path()]));
    let names: Vec<_> = (0..TOGETHER + 4).map(|index| format!("t{index}")).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let mut client = server.connect();
    client.ask("GET", &target(&all, "&timeout=0"), "", b"");
    await_that("so many are asked together", || backend.calls() == TOGETHER);
    (0..all.len()).for_each(|_| backend.release());
    assert_eq!(client.response().status, 200);
    assert_eq!((backend.calls(), backend.in_flight_max()), (all.len(), TOGETHER), "each once");
}

#[test]
fn a_slow_reader_of_several_channels_is_shown_its_gaps_and_can_come_back_for_what_it_never_got() {
    let server = Server::start(&[
        "limits.send_queue_bytes_max=100000",
        "limits.publication_bytes_max=20000",
        "limits.slow_consumer=drop-oldest",
    ]);
    let client = crate::client::Client::narrow(server.address());
    let mut stream = EventStream::open_at(client, &target(&["a", "b"], ""), "");
    ["a", "b"].iter().for_each(|channel| server.await_subscribers(channel, 1));
    let (mut publisher, data) = (server.connect(), "x".repeat(16_000));
    let mut count = 0;
    while server.metric("roadstead_dropped_slow_total", "") < 1.0 {
        count += 1;
        assert_eq!(publisher.publish("a", &data), count);
        // What is as small as its id, and what is sent apart from it.
        assert_eq!(publisher.publish("b", &data[..(count as usize % 2) * 10_000]), count);
        assert!(count < 2_000, "nobody was found slow");
    }
    ["a", "b"].iter().for_each(|channel| assert_eq!(publisher.publish(channel, "last"), count + 1));
    let (mut seen, mut gaps) = (BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 0)]), 0);
    loop {
        let event = stream.event();
        let (channel, text) = heard(&event);
        let offset = said(&event)["offset"].as_u64().expect("an offset");
        let before = seen.insert(channel.clone(), offset).expect("one of them");
        assert!(offset > before, "{channel}: {offset} behind {before}");
        gaps += offset - before - 1;
        // What was dropped is not what its client is told that it has.
        let id = event.id.expect("an event has an id");
        let told = id.split(',').map(|one| one.split(':').nth(1).and_then(|offset| offset.parse().ok()));
        assert_eq!(told.collect::<Option<Vec<u64>>>(), Some(seen.values().copied().collect()), "{id}");
        if channel == "b" && text == "last" {
            assert_eq!(id, positions(&server, &["a", "b"]));
            break;
        }
    }
    assert!(gaps > 0, "what was dropped shows");
}

#[test]
fn a_stream_that_lost_some_of_one_channel_is_shown_the_state_of_that_one_again() {
    let server = Server::start(&[
        "limits.send_queue_bytes_max=100000",
        "limits.publication_bytes_max=20000",
        "limits.slow_consumer=drop-oldest",
    ]);
    let client = crate::client::Client::narrow(server.address());
    let mut stream = EventStream::open_at(client, &target(&["a", "b"], "&state=true"), "");
    ["a", "b"].iter().for_each(|channel| server.await_subscribers(channel, 1));
    let (mut publisher, data) = (server.connect(), "x".repeat(16_000));
    let mut count = 0;
    while server.metric("roadstead_dropped_slow_total", "") < 1.0 {
        count += 1;
        publisher.publish("a", &data);
        assert!(count < 2_000, "nobody was found slow");
    }
    // For what comes of another channel more of this one is dropped.
    publisher.publish("b", &data);
    let mut told: Vec<(String, String)> = Vec::new();
    let mut has_ended = false;
    while !has_ended {
        let event = stream.event();
        let said = said(&event);
        let channel = said["channel"].as_str().expect("a channel").to_owned();
        has_ended = said["data"] == "end";
        told.push((event.name.unwrap_or_default(), channel));
        let states = told.iter().filter(|(name, channel)| name == "state" && channel == "a").count();
        if states == 2 && told.last().is_some_and(|(name, _)| name == "state") {
            publisher.publish("b", "end");
        }
    }
    let states = |of: &str| told.iter().filter(|(name, channel)| name == "state" && channel == of).count();
    assert!(states("a") >= 2 && states("b") == 1, "{told:?}");
}

#[test]
fn a_poll_of_many_channels_is_answered_with_no_more_than_a_page_and_the_next_goes_on_behind_it() {
    const DATA_BYTES: usize = 100_000;
    let server = Server::start(&[]);
    let names: Vec<_> = (0..40).map(|index| format!("p{index}")).collect();
    let channels: Vec<_> = names.iter().map(String::as_str).collect();
    let mut publisher = server.connect();
    let mut publish = |offset| {
        channels
            .iter()
            .for_each(|channel| assert_eq!(publisher.publish(channel, "x".repeat(DATA_BYTES)), offset));
    };
    publish(1);
    publish(2);
    let ended = positions(&server, &channels);
    let mut since = ended.replace(":2", ":0");
    let (mut client, mut heard) = (server.connect(), vec![0_u64; channels.len()]);
    while since != ended {
        let answer =
            client.request("GET", &target(&channels, &format!("&since={since}&timeout=20")), "", b"");
        assert!(answer.body.len() < 1_200_000, "{} bytes", answer.body.len());
        let answer = answer.json();
        for (page, heard) in answer["channels"].as_array().expect("channels").iter().zip(&mut heard) {
            assert_eq!(page["recovered"], true);
            for publication in page["publications"].as_array().expect("publications") {
                *heard += 1;
                assert_eq!(publication["offset"], *heard);
            }
            assert_eq!(page["offset"], *heard, "the next poll goes on from there");
        }
        let next = answer["position"].as_str().expect("positions").to_owned();
        assert_ne!(next, since, "each brings something");
        since = next;
    }
    assert!(heard.iter().all(|offset| *offset == 2));
}
