//! What a backend is told of that has happened: all of it, in order, at least once, and of what was dropped how much.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    backend::{Asked, Backend, Reaction, signing_keys},
    nodes::node,
    permissions::{Credential, enter},
    redis::{Redis, Reply as Answered},
    server::{Server, await_that},
    socket::WebSocket,
    stream::EventStream,
    tokens,
};

/// A backend that is told, and what it has been told so far.
struct Receiver {
    backend: Backend,
    /// By shard, in their order.
    events: BTreeMap<u64, Vec<Value>>,
    dropped: u64,
}

impl Receiver {
    fn new(react: impl Fn(&Asked) -> Reaction + Send + Sync + 'static) -> Self {
        Self { backend: Backend::start(react), events: BTreeMap::new(), dropped: 0 }
    }

    fn settings(&self) -> [String; 3] {
        let url = format!("notices.url=http://{}/notices", self.backend.address.expect("it has a port"));
        [url, "notices.delay_ms=20".into(), "notices.vacated_after_ms=20".into()]
    }

    fn start(&self, settings: &[&str]) -> Server {
        let own = self.settings();
        Server::start(&[&own.each_ref().map(String::as_str), settings].concat())
    }

    /// Takes one batch in.
    #[track_caller]
    fn hear(&mut self) {
        let batch = self.backend.asked().json();
        self.dropped += batch["dropped"].as_u64().expect("a number");
        let events = self.events.entry(batch["shard"].as_u64().expect("a shard")).or_default();
        events.extend(batch["events"].as_array().expect("a list").iter().cloned());
    }

    /// Takes batches in until there is an event like that.
    #[track_caller]
    fn await_event(&mut self, expected: &Value) -> Value {
        loop {
            match self.find(expected) {
                Some(event) => return event.clone(),
                None => self.hear(),
            }
        }
    }

    fn find(&self, expected: &Value) -> Option<&Value> {
        let expected = expected.as_object().expect("an object");
        let is_it = |event: &&Value| expected.iter().all(|(name, value)| event[name] == *value);
        self.events.values().flatten().find(is_it)
    }

    /// Whether each shard's numbers are consecutive from 1.
    fn is_whole(&self) -> bool {
        self.events.values().all(|events| {
            let numbers = events.iter().map(|event| event["seq"].as_u64().expect("a number"));
            numbers.eq(1..=events.len() as u64)
        })
    }
}

fn taken() -> Reaction {
    Reaction::Json(json!({}))
}

#[test]
fn a_backend_is_told_who_comes_and_goes_and_which_channels_are_followed() {
    let mut receiver = Receiver::new(|_| taken());
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let server = receiver.start(&[&secret, "read.open=true", "publish.open=true"]);
    let started = receiver.await_event(&json!({"event": "node_started"}));
    assert_eq!((&started["seq"], &started["shards"]), (&json!(1), &json!(2)));
    let who = Credential::token(&json!({}));
    let mut socket = WebSocket::open(server.connect(), "/ws", &who.fields);
    let came = receiver.await_event(&json!({"event": "connected", "transport": "websocket"}));
    assert_eq!((&came["user"], &came["address"]), (&json!("42"), &json!("127.0.0.1")));
    assert!(socket.command(&json!({"id": 1, "subscribe": {"channel": "a"}}))["subscribed"].is_object());
    receiver.await_event(&json!({"event": "channel_occupied", "channel": "a"}));
    let stream = EventStream::open(server.connect(), "a", "", "");
    receiver.await_event(&json!({"event": "connected", "transport": "event_stream"}));
    let entered = socket.command(&json!({"id": 2, "enter": {"channel": "a", "info": {"name": "Ada"}}}));
    assert!(entered["entered"].is_object(), "{entered}");
    let added = receiver.await_event(&json!({"event": "member_added", "channel": "a", "user": "42"}));
    assert_eq!(added["info"], json!({"name": "Ada"}));
    let socketio = enter(&server, "/", &who).expect("it may");
    let came = receiver.await_event(&json!({"event": "connected", "transport": "socket.io"}));
    assert_eq!((&came["namespace"], &came["user"]), (&json!("/"), &json!("42")));
    socket.send_text(&json!({"id": 3, "leave": {"channel": "a"}}).to_string());
    receiver.await_event(&json!({"event": "member_removed", "channel": "a", "user": "42"}));
    for client in [socket.client, stream.client, socketio.client] {
        client.reset();
    }
    receiver.await_event(&json!({"event": "channel_vacated", "channel": "a"}));
    for transport in ["websocket", "event_stream", "socket.io"] {
        let gone = receiver.await_event(&json!({"event": "disconnected", "transport": transport}));
        let came = receiver.await_event(&json!({"event": "connected", "transport": transport}));
        assert_eq!(gone["client"], came["client"]);
        assert!(gone["reason"].is_string(), "{gone}");
    }
    drop(server);
    receiver.await_event(&json!({"event": "node_draining"}));
    assert!(receiver.is_whole() && receiver.dropped == 0, "{:?}", receiver.events);
}

#[test]
fn what_is_not_wanted_is_not_told_and_a_batch_is_signed_by_each_key() {
    let receiver = Receiver::new(|_| taken());
    let keys_setting = format!("notices.signing_keys={}", signing_keys());
    let server = receiver.start(&[&keys_setting, "notices.events=channel_occupied"]);
    let _stream = EventStream::open(server.connect(), "a", "", "");
    let asked = receiver.backend.asked();
    let events = asked.json()["events"].clone();
    assert_eq!((events.as_array().map(Vec::len), &events[0]["event"]), (Some(1), &json!("channel_occupied")));
    asked.check_signatures();
    let config = server.admin("/config").text();
    assert!(!config.contains("whsec_") && !server.log().contains("whsec_"), "{config}");
}

#[test]
fn what_is_not_taken_is_told_again_under_the_same_name_and_nothing_is_lost() {
    let is_well = Arc::new(AtomicBool::new(false));
    let heals = Arc::clone(&is_well);
    let mut receiver = Receiver::new(move |_| match heals.load(Ordering::SeqCst) {
        true => taken(),
        false => Reaction::Status(503, String::new()),
    });
    let server = receiver.start(&[]);
    let (first, second) = (receiver.backend.asked(), receiver.backend.asked());
    assert_eq!((&first.body, first.field("webhook-id")), (&second.body, second.field("webhook-id")));
    let streams: Vec<_> =
        (0..20).map(|number| EventStream::open(server.connect(), &format!("c{number}"), "", "")).collect();
    await_that("they follow", || (0..20).all(|number| server.subscribers(&format!("c{number}")) == 1));
    assert!(server.metric("roadstead_notice_failures_total", "") >= 2.0);
    assert!(server.log().contains("notices.url does not take notices"), "{}", server.log());
    is_well.store(true, Ordering::SeqCst);
    let mut seen = HashMap::<(u64, u64), usize>::new();
    while (0..20).any(|number| {
        receiver.find(&json!({"event": "channel_occupied", "channel": format!("c{number}")})).is_none()
    }) {
        receiver.hear();
    }
    for (shard, events) in &receiver.events {
        for event in events {
            *seen.entry((*shard, event["seq"].as_u64().expect("a number"))).or_default() += 1;
        }
    }
    // Batches that came after it was well came once; each number is there.
    for (shard, events) in &receiver.events {
        let last = events.iter().filter_map(|event| event["seq"].as_u64()).max().expect("some");
        assert!((1..=last).all(|number| seen.contains_key(&(*shard, number))), "{events:?}");
    }
    assert_eq!(receiver.dropped, 0);
    drop(streams);
}

#[test]
fn a_backend_that_says_it_is_gone_is_told_nothing_more() {
    let receiver = Receiver::new(|_| Reaction::Status(410, String::new()));
    let server = receiver.start(&["notices.events=channel_occupied"]);
    let follow = |channel: &str| EventStream::open(server.connect(), channel, "", "");
    // Each shard is told so by its own call.
    let mut streams = Vec::new();
    for number in 0.. {
        streams.push(follow(&format!("c{number}")));
        if server.log().matches("answers 410 Gone").count() == 2 {
            break;
        }
        assert!(number < 1000, "{}", server.log());
    }
    assert_eq!(server.metric("roadstead_notice_failures_total", ""), 2.0, "each called once");
    let dropped = || server.metric("roadstead_notices_total", "result=\"dropped\"");
    let before = dropped();
    streams.push(follow("another"));
    await_that("it is counted", || dropped() > before);
    assert_eq!(server.metric("roadstead_notices_waiting", ""), 0.0);
    assert_eq!(server.metric("roadstead_notice_failures_total", ""), 2.0);
}

#[test]
fn a_backend_is_not_called_before_the_time_it_asks_for() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let times = Arc::clone(&asked);
    let receiver = Receiver::new(move |_| {
        let mut times = times.lock().expect("nobody panics");
        times.push(std::time::Instant::now());
        match times.len() {
            1 => {
                Reaction::Bytes(b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n".to_vec())
            }
            _ => taken(),
        }
    });
    let _server = Server::with_shards(1, &receiver.settings().each_ref().map(String::as_str));
    let (_, _) = (receiver.backend.asked(), receiver.backend.asked());
    let times = asked.lock().expect("nobody panics");
    assert!(times[1] - times[0] >= std::time::Duration::from_secs(3), "{:?}", times[1] - times[0]);
}

#[test]
fn when_too_many_wait_the_oldest_go_and_the_next_batch_says_how_many() {
    let is_well = Arc::new(AtomicBool::new(false));
    let heals = Arc::clone(&is_well);
    let mut receiver = Receiver::new(move |_| match heals.load(Ordering::SeqCst) {
        true => taken(),
        false => Reaction::Status(500, String::new()),
    });
    let own = receiver.settings();
    let settings = [&own[0], &own[1], "notices.queue_max=5", "notices.events=connected"];
    let server = Server::with_shards(1, &settings);
    let first = EventStream::open(server.connect(), "a", "", "");
    receiver.backend.asked();
    let streams: Vec<_> = (0..30).map(|_| EventStream::open(server.connect(), "a", "", "")).collect();
    await_that("some go", || server.metric("roadstead_notices_total", "result=\"dropped\"") == 25.0);
    assert_eq!(server.metric("roadstead_notices_waiting", ""), 5.0);
    is_well.store(true, Ordering::SeqCst);
    while receiver.find(&json!({"seq": 31})).is_none() {
        receiver.hear();
    }
    assert_eq!(receiver.dropped, 25);
    let numbers: Vec<_> = receiver.events[&0].iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers.iter().rev().take(5).rev().copied().collect::<Vec<_>>(), [27, 28, 29, 30, 31]);
    drop((first, streams));
}

#[test]
fn what_waits_when_the_process_ends_is_told_before_that() {
    let mut receiver = Receiver::new(|_| taken());
    let url = receiver.settings()[0].clone();
    let server = Server::start(&[&url, "notices.delay_ms=60000"]);
    let mut socket = server.websocket("/ws");
    assert!(socket.command(&json!({"id": 1, "subscribe": {"channel": "a"}}))["subscribed"].is_object());
    assert_eq!(receiver.backend.calls(), 0, "it waits for more");
    drop(server);
    for event in ["node_started", "connected", "channel_occupied", "node_draining", "disconnected"] {
        receiver.await_event(&json!({ "event": event }));
    }
}

#[test]
fn a_backend_that_is_not_there_holds_up_neither_clients_nor_the_end() {
    let server = Server::start(&["notices.url=http://localhost:1/", "notices.delay_ms=0"]);
    let mut stream = EventStream::open(server.connect(), "a", "", "");
    await_that("it follows", || server.subscribers("a") == 1);
    server.publish("a", "x");
    assert_eq!(stream.data(), "x");
    await_that("it is tried", || server.metric("roadstead_notice_failures_total", "") >= 1.0);
    drop(stream);
}

#[test]
fn a_node_that_is_killed_is_told_of_by_another_and_one_that_ends_in_order_is_not() {
    let redis = Redis::start();
    let joined = |receiver: &Receiver| {
        let own = receiver.settings();
        node(&redis, &[&own.each_ref().map(String::as_str), &["notices.events=node"][..]].concat())
    };
    let [mut stays, mut goes, mut is_killed] = [(); 3].map(|()| Receiver::new(|_| taken()));
    let on_roll = |count: i64| {
        await_that("all are on the roll", || redis.ask(&["ZCARD", "rs:nodes"]) == Answered::Number(count))
    };
    let servers = [&stays, &goes, &is_killed].map(joined);
    let instance = |receiver: &mut Receiver| {
        let batch = receiver.backend.asked().json();
        assert_eq!(batch["events"][0]["event"], "node_started");
        batch["instance"].as_str().expect("a name").to_owned()
    };
    let [_, _, killed] = [&mut stays, &mut goes, &mut is_killed].map(instance);
    on_roll(3);
    let [_server, ends, dies] = servers;
    ends.stop();
    on_roll(2);
    dies.signal("KILL");
    let lost = stays.await_event(&json!({"event": "node_lost"}));
    assert_eq!(lost["node"], killed, "and of the other nothing is told");
    on_roll(1);
}
