//! A shard that fails: it begins anew on its thread, its clients are told to come back, and the others notice nothing but
//! that what it kept is lost.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use roadstead::{
    api::{self, ChannelServer},
    app::{
        Answer, ChannelName, CloseReason, Context, Handler, Message, Peer, Reply, Request, Response, Resumed,
        ShardId, Verdict, socketio::Io,
    },
    config::Config,
    live::Live,
    supervisor::{Failure, Server},
};
use serde_json::Value;

use crate::client::{
    ask, await_that, config, connect, connect_to, hear_close, hear_text, read_to_end, say, try_ask_admin,
    upgrade,
};

/// The shipped server, which tells its shard at `/which`, and hangs when a client of `/hang` says so.
struct Teller {
    server: ChannelServer,
    hang: Arc<AtomicU8>,
}

const HANGS: u32 = u32::MAX;
const HANG: u64 = u64::MAX;
/// What a client that says so has made of the handler's call, until the test says that it is over.
const HANGING: u8 = 1;
const OVER: u8 = 2;

impl Handler for Teller {
    fn connect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict {
        match request.path() {
            "/hang" => Verdict::accept(HANGS),
            _ => self.server.connect(cx, peer, request),
        }
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        match request.path() {
            "/which" => Answer::Respond(Response::text(200, cx.shard.to_string())),
            _ => self.server.request(cx, peer, request),
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        match peer.tag {
            // In a call that comes behind what other shards say in a turn.
            HANGS => cx.timer(0, HANG),
            _ => self.server.message(cx, peer, message),
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        self.server.reply(cx, peer, token, reply);
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        self.server.disconnect(cx, peer, reason);
    }

    fn socketio(&mut self, io: &Io) -> bool {
        self.server.socketio(io)
    }

    fn shard_failed(&mut self, cx: &mut Context<'_>, shard: ShardId, owned: &dyn Fn(&ChannelName) -> bool) {
        self.server.shard_failed(cx, shard, owned);
    }

    fn settings_changed(&mut self, cx: &mut Context<'_>, live: &Live) {
        self.server.settings_changed(cx, live);
    }

    fn travels(&self, peer: &Peer<'_>) -> bool {
        self.server.travels(peer)
    }

    fn save(&self, peer: &Peer<'_>) -> Option<Vec<u8>> {
        self.server.save(peer)
    }

    fn restore(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, resumed: &Resumed<'_>) -> Option<u32> {
        self.server.restore(cx, peer, resumed)
    }

    fn is_levelled(&self) -> bool {
        self.server.is_levelled()
    }

    fn moved(&mut self, peer: &Peer<'_>) {
        self.server.moved(peer);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        if timer != HANG {
            return self.server.timer(cx, timer);
        }
        self.hang.store(HANGING, Ordering::Relaxed);
        while self.hang.load(Ordering::Relaxed) == HANGING {
            std::thread::yield_now();
        }
    }
}

pub const FAILING: ShardId = ShardId(1);

pub fn settings() -> Config {
    let mut config = config(2);
    config.server.drain_ms = 0;
    config.server.admin = config.server.listen.first().cloned();
    config.server.shard_restarts_max = 100;
    config
}

pub fn start_with(config: &Config) -> (Server, Arc<AtomicU8>) {
    let hang = Arc::<AtomicU8>::default();
    let seen = Arc::clone(&hang);
    let settings = api::Settings::from_config(config).expect("good settings");
    let handler = move |_| -> Box<dyn Handler> {
        Box::new(Teller { server: ChannelServer::new(settings.clone()), hang: Arc::clone(&seen) })
    };
    (Server::start(config, handler).expect("it starts"), hang)
}

fn start() -> Server {
    start_with(&settings()).0
}

pub fn end(server: Server) {
    server.drain();
    server.wait().expect("every shard ends");
}

pub fn websocket_to(server: &Server, shard: ShardId, path: &str) -> TcpStream {
    upgrade(connect_to(server, shard), path)
}

/// What a metric says of each shard.
pub fn metric(server: &Server, name: &str) -> Vec<u64> {
    try_metric(server, name).unwrap_or_else(|| panic!("{name} of both shards"))
}

/// As [`metric`], while a shard may be about to fail and not say anything.
fn try_metric(server: &Server, name: &str) -> Option<Vec<u64>> {
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let text = try_ask_admin(server, request, Duration::from_secs(5)).ok()?;
    let of = |shard: u16| {
        let series = format!("roadstead_{name}{{shard=\"{shard}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|number| number.parse().expect("a number"))
    };
    (0..2).map(of).collect()
}

pub fn fail(server: &Server, failure: Failure) {
    let before = metric(server, "shard_restarts_total")[1];
    server.fail_shard(FAILING, failure);
    await_that("the shard has begun anew", || {
        try_metric(server, "shard_restarts_total").is_some_and(|restarts| restarts[1] > before)
    });
}

pub fn post(server: &Server, channel: &str) -> Value {
    let request = format!(
        "POST /channels/{channel} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
    );
    let answer = ask(server, &request);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

pub fn hear_json(stream: &mut TcpStream) -> Value {
    serde_json::from_str(&hear_text(stream)).expect("JSON")
}

pub fn channels() -> impl Iterator<Item = String> {
    (0..16).map(|number| format!("c{number}"))
}

/// A client of `/ws` that follows these channels and has heard what was published on each; their epochs.
fn follow(server: &Server, shard: ShardId) -> (TcpStream, BTreeMap<String, u64>) {
    let mut client = websocket_to(server, shard, "/ws");
    for (channel, id) in channels().zip(1..) {
        say(&mut client, &format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#));
        assert!(hear_text(&mut client).contains("subscribed"));
    }
    let mut epochs = BTreeMap::new();
    for channel in channels() {
        epochs.insert(channel.clone(), post(server, &channel)["epoch"].as_u64().expect("an epoch"));
        assert_eq!(hear_json(&mut client)["push"]["channel"], channel);
    }
    (client, epochs)
}

#[test]
fn a_shard_that_fails_begins_anew_and_those_who_follow_its_channels_elsewhere_are_told_a_new_epoch() {
    let server = start();
    let (mut client, epochs) = follow(&server, ShardId(0));
    let connections_max: u64 = metric(&server, "connections_max").iter().sum();
    fail(&server, Failure::InTurn);

    // What it owned is told as lost, with the epoch that is now; nothing is said of the others.
    let (mut lost, mut changed) = (BTreeMap::new(), BTreeMap::new());
    for channel in channels() {
        let position = post(&server, &channel);
        let push = loop {
            let heard = hear_json(&mut client);
            match heard.get("gap") {
                Some(gap) => lost.insert(gap["channel"].to_string(), gap["epoch"].as_u64()),
                None => break heard["push"].clone(),
            };
        };
        assert_eq!((&push["channel"], &push["epoch"]), (&Value::from(&*channel), &position["epoch"]));
        assert_eq!(push["offset"], position["offset"]);
        if position["epoch"] != epochs[&channel] {
            assert_eq!(position["offset"], 1);
            changed.insert(push["channel"].to_string(), position["epoch"].as_u64());
        } else {
            assert_eq!(position["offset"], 2, "nothing is lost of what the other shard owns");
        }
    }
    assert_eq!(lost, changed);
    assert!(!lost.is_empty() && lost.len() < 16, "both own some: {lost:?}");
    assert_eq!(metric(&server, "shard_restarts_total"), [0, 1]);
    assert_eq!(metric(&server, "connections_max").iter().sum::<u64>(), connections_max);
    end(server);
}

#[test]
fn the_state_of_a_shard_that_fails_begins_anew_in_an_epoch_of_its_own_and_that_of_the_others_is_there() {
    let server = start();
    let mut client = websocket_to(&server, ShardId(0), "/ws");
    let mut add = |channel: &str| {
        say(&mut client, &format!(r#"{{"id":1,"add":{{"channel":"{channel}","key":"n","add":2}}}}"#));
        hear_json(&mut client)["added"].clone()
    };
    let before: Vec<_> = channels().map(|channel| (add(&channel), channel)).collect();
    fail(&server, Failure::InTurn);
    let mut lost = 0;
    for (before, channel) in before {
        let after = add(&channel);
        let is_lost = after["epoch"] != before["epoch"];
        assert_eq!(after["value"], if is_lost { 2 } else { 4 }, "{channel}: {before}, {after}");
        lost += u32::from(is_lost);
    }
    assert!((1..16).contains(&lost), "both own some: {lost}");
    end(server);
}

#[test]
fn what_a_failing_shard_keeps_on_disk_goes_on_under_new_epochs() {
    let folder = std::env::temp_dir().join(format!("roadstead-restarts-{}", std::process::id()));
    let mut config = settings();
    config.storage.path = folder.display().to_string();
    config.storage.written = vec!["**".to_owned()];
    let server = start_with(&config).0;
    let before: Vec<_> = channels().map(|channel| (post(&server, &channel), channel)).collect();
    fail(&server, Failure::InTurn);
    let mut lost = 0;
    for (before, channel) in before {
        let after = post(&server, &channel);
        assert_eq!(after["offset"], 2, "{channel}: what was there is there");
        lost += u32::from(after["epoch"] != before["epoch"]);
    }
    assert!((1..16).contains(&lost), "the failing shard owns some: {lost}");
    end(server);
    std::fs::remove_dir_all(folder).expect("it was made");
}

#[test]
fn an_event_stream_that_follows_the_state_is_told_it_again_when_some_is_lost() {
    let server = start();
    let put = |channel: &str, key: &str| {
        let request = format!(
            "PUT /channels/{channel}/state/{key} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
        );
        let answer = ask(&server, &request);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    };
    let open = |channel: String| {
        let mut stream = connect_to(&server, ShardId(0));
        put(&channel, "before");
        let fields = "Host: localhost\r\nAccept: text/event-stream\r\n\r\n";
        write!(stream, "GET /channels/{channel}?state=true HTTP/1.1\r\n{fields}").expect("it reads");
        let first = read_until(&mut stream, "before");
        assert_eq!(first.matches("event: state").count(), 1, "{first}");
        (channel, stream)
    };
    let streams: Vec<_> = channels().map(open).collect();
    fail(&server, Failure::InTurn);
    let mut lost = 0;
    for (channel, mut stream) in streams {
        put(&channel, "after");
        let told = read_until(&mut stream, "after");
        // A change that was made before its stream had come back stands in the state alone.
        let is_lost = told.contains("event: reset");
        assert_eq!(told.contains("event: state"), is_lost, "{channel}: {told}");
        lost += u32::from(is_lost);
    }
    assert!((1..16).contains(&lost), "the failing shard owns some: {lost}");
    end(server);
}

/// What a stream says up to this.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it goes on");
        text.push(byte[0]);
    }
    String::from_utf8(text).expect("text")
}

#[test]
fn the_clients_of_a_shard_that_fails_are_told_to_come_back_in_the_words_of_their_protocols() {
    let server = start();
    let mut raw = websocket_to(&server, FAILING, "/channels/news");
    let mut commands = websocket_to(&server, FAILING, "/ws");
    let mut socketio = websocket_to(&server, FAILING, "/socket.io/?EIO=4&transport=websocket");
    let (mut stream, mut poll) = (connect_to(&server, FAILING), connect_to(&server, FAILING));
    write!(stream, "GET /channels/news HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        .expect("it reads");
    write!(poll, "GET /channels/news?poll=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let mut idle = connect_to(&server, FAILING);
    await_that("all are there", || metric(&server, "subscriptions")[1] == 3);
    server.fail_shard(FAILING, Failure::InTurn);

    assert_eq!([hear_close(&mut raw), hear_close(&mut commands), hear_close(&mut socketio)], [1012; 3]);
    let told = read_to_end(stream);
    assert!(told.matches("retry: ").count() == 2, "once at its beginning and once at its end: {told}");
    let told = read_to_end(poll);
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("Retry-After: "), "{told}");
    assert_eq!(idle.read(&mut [0]).expect("an end"), 0);
    let mut again = websocket_to(&server, FAILING, "/ws");
    say(&mut again, r#"{"id":1,"ping":{}}"#);
    assert_eq!(hear_json(&mut again)["id"], 1);
    end(server);
}

#[test]
fn what_waits_for_a_shard_that_fails_is_refused_and_may_be_asked_again() {
    let (server, hang) = start_with(&settings());
    let mut client = websocket_to(&server, ShardId(0), "/ws");
    let mut hanging = websocket_to(&server, FAILING, "/hang");
    say(&mut hanging, "hang");
    await_that("it hangs", || hang.load(Ordering::Relaxed) == HANGING);
    // It fails in its next turn, before it has heard what is asked of it now.
    server.fail_shard(FAILING, Failure::InTurn);
    for (channel, id) in channels().zip((0..).step_by(2)) {
        say(&mut client, &format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"x"}}}}"#));
    }
    // Each waits for its client's publication there.
    for (channel, id) in channels().zip((1..).step_by(2)) {
        say(&mut client, &format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#));
    }
    say(&mut client, r#"{"id":99,"ping":{}}"#);
    let mut answers = BTreeMap::new();
    while !answers.contains_key(&99) {
        let heard = hear_json(&mut client);
        answers.insert(heard["id"].as_u64().expect("an id"), heard);
    }
    hang.store(OVER, Ordering::Relaxed);
    while answers.len() < 33 {
        let heard = hear_json(&mut client);
        answers.insert(heard["id"].as_u64().expect("an id"), heard);
    }
    let code = |id: u64| answers[&id]["error"]["code"].as_str().unwrap_or_default().to_owned();
    let refused = |id: &u64| !code(*id).is_empty();
    let (published, subscribed) = ((0..32).step_by(2), (1..32).step_by(2));
    assert!(published.clone().filter(refused).all(|id| code(id) == "owner_failed"), "{answers:?}");
    assert!(subscribed.clone().filter(refused).all(|id| code(id) == "busy"), "{answers:?}");
    let lost: Vec<u64> = published.filter(refused).collect();
    assert_eq!(lost, subscribed.filter(refused).map(|id| id - 1).collect::<Vec<_>>());
    assert!(!lost.is_empty() && lost.len() < 16, "both own some: {lost:?}");
    for (channel, id) in channels().zip((0..).step_by(2)).filter(|(_, id)| lost.contains(id)) {
        say(&mut client, &format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#));
        assert_eq!(hear_json(&mut client)["subscribed"]["offset"], 0, "{channel}");
    }
    end(server);
}

#[test]
fn what_must_come_behind_something_on_a_shard_that_hangs_or_fails_goes_on_all_the_same() {
    for fails in [false, true] {
        let (server, hang) = start_with(&settings());
        let mut client = websocket_to(&server, ShardId(0), "/ws");
        for channel in channels() {
            say(&mut client, &format!(r#"{{"id":0,"subscribe":{{"channel":"{channel}"}}}}"#));
            while hear_json(&mut client)["subscribed"].is_null() {}
        }
        let mut hanging = websocket_to(&server, FAILING, "/hang");
        say(&mut hanging, "hang");
        await_that("it hangs", || hang.load(Ordering::Relaxed) == HANGING);
        for channel in channels() {
            say(&mut client, &format!(r#"{{"publish":{{"channel":"{channel}","data":"x"}}}}"#));
            say(&mut client, &format!(r#"{{"id":1,"unsubscribe":{{"channel":"{channel}"}}}}"#));
        }
        if fails {
            server.fail_shard(FAILING, Failure::InTurn);
            hang.store(OVER, Ordering::Relaxed);
        }
        for _ in channels() {
            while hear_json(&mut client)["unsubscribed"].is_null() {}
        }
        hang.store(OVER, Ordering::Relaxed);
        end(server);
    }
}

#[test]
fn what_comes_during_the_last_call_of_a_turn_is_found_before_the_shard_sleeps() {
    const ROUNDS: usize = 7;
    let (server, hang) = start_with(&settings());
    let mut client = websocket_to(&server, ShardId(0), "/ws");
    let mut hanging = websocket_to(&server, FAILING, "/hang");
    let mut waits = Vec::new();
    for _ in 0..ROUNDS {
        say(&mut hanging, "hang");
        await_that("it hangs", || hang.load(Ordering::Relaxed) == HANGING);
        for (channel, id) in channels().zip(0..) {
            say(&mut client, &format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"x"}}}}"#));
        }
        say(&mut client, r#"{"id":99,"ping":{}}"#);
        // What the hanging shard owns has been left for it when the ping is answered. It was awake, so nobody rang.
        let mut answered = 0;
        while hear_json(&mut client)["pong"].is_null() {
            answered += 1;
        }
        assert!(answered < channels().count(), "it owns some");
        hang.store(OVER, Ordering::Relaxed);
        let began = Instant::now();
        (answered..channels().count()).for_each(|_| assert!(hear_json(&mut client)["published"].is_object()));
        waits.push(began.elapsed());
    }
    waits.sort_unstable();
    // A shard that slept on it would find it when it wakes by itself, each second.
    assert!(waits[ROUNDS / 2] < Duration::from_millis(300), "{waits:?}");
    end(server);
}

#[test]
fn no_place_is_lost_when_shards_fail_and_a_draining_one_that_fails_still_ends() {
    let mut settings = settings();
    settings.limits.connections_max = 24;
    settings.limits.connections_per_address_max = 24;
    let (server, _) = start_with(&settings);
    for failure in [Failure::InTurn, Failure::InRing, Failure::InTurn] {
        let mut clients = Vec::new();
        await_that("as many as may are in", || {
            let mut client = connect(&server);
            let answer = try_get(&mut client, "/which");
            clients.extend(answer.map(|_| client));
            clients.len() == 24
        });
        assert!(read_to_end(connect(&server)).starts_with("HTTP/1.1 429"));
        fail(&server, failure);
        assert_eq!(metric(&server, "connections_max").iter().sum::<u64>(), 24);
    }
    server.fail_shard(FAILING, Failure::InTurn);
    server.drain();
    server.fail_shard(FAILING, Failure::InTurn);
    server.wait().expect("both end");
}

/// As [`get`], of a server that may refuse: then nothing.
fn try_get(stream: &mut TcpStream, path: &str) -> Option<String> {
    let mut first = [0; 12];
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    stream.read_exact(&mut first).ok()?;
    (first == *b"HTTP/1.1 200").then_some(())?;
    let mut rest = [0; 512];
    let len = stream.read(&mut rest).ok()?;
    Some(String::from_utf8_lossy(&rest[..len]).into_owned())
}

#[test]
fn a_shard_that_fails_too_often_ends_the_process_and_says_why() {
    let mut settings = settings();
    settings.server.shard_restarts_max = 2;
    let (server, _) = start_with(&settings);
    fail(&server, Failure::InTurn);
    fail(&server, Failure::InRing);
    server.fail_shard(FAILING, Failure::InTurn);
    let told = server.wait().expect_err("it has failed").to_string();
    assert!(
        told.contains("shard 1 died") && told.contains("too often") && told.contains("told to fail"),
        "{told}"
    );
}

#[test]
fn socketio_clients_of_other_shards_stay_in_their_rooms() {
    let server = start();
    let mut client = websocket_to(&server, ShardId(0), "/socket.io/?EIO=4&transport=websocket");
    assert!(hear_text(&mut client).starts_with("0{"));
    say(&mut client, "40");
    assert!(hear_text(&mut client).starts_with("40{"));
    for channel in channels() {
        say(&mut client, &format!(r#"421["join","{channel}"]"#));
        assert!(hear_text(&mut client).starts_with("431["));
    }
    fail(&server, Failure::InTurn);
    for channel in channels().chain(["/".into()]) {
        let body = match &*channel {
            "/" => r#"{"event":"all"}"#.to_owned(),
            room => format!(r#"{{"event":"one","rooms":["{room}"]}}"#),
        };
        let request = format!(
            "POST /socket.io-api/emit HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = ask(&server, &request);
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        assert!(hear_text(&mut client).starts_with("42["), "{channel}");
    }
    end(server);
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).expect("resident pages").parse::<u64>().expect("a number") * 4096
}

/// Measured in a process of its own, where no other test takes memory.
#[test]
fn twenty_failures_in_a_row_leave_no_memory_behind() {
    const NAME: &str = "restarts::twenty_failures_in_a_row_leave_no_memory_behind";
    const ALONE: &str = "ROADSTEAD_TEST_ALONE";
    const GROWTH_MAX: u64 = 4 * 1024 * 1024;
    if std::env::var_os(ALONE).is_none() {
        let this = std::env::current_exe().expect("it runs");
        let mut alone = std::process::Command::new(this);
        // What clients take that speak TLS would count.
        let child = alone.args(["--exact", NAME]).env(ALONE, "1").env_remove("ROADSTEAD_TEST_TLS").output();
        let output = child.expect("it runs again");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let server = start();
    let fail_with_clients = |times: u32| {
        for _ in 0..times {
            let mut clients: Vec<_> =
                (0..20).map(|_| websocket_to(&server, FAILING, "/channels/news")).collect();
            post(&server, "news");
            server.fail_shard(FAILING, Failure::InTurn);
            for client in &mut clients {
                assert_eq!(hear_close(client), 1012);
            }
        }
        resident()
    };
    let before = fail_with_clients(4);
    let after = fail_with_clients(20);
    assert!(after < before + GROWTH_MAX, "{before} B before, {after} B after");
    end(server);
}
