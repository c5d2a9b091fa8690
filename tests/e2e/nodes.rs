//! Several nodes that Redis joins into one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    joined::await_asked,
    redis::{Redis, Reply},
    server::{Server, await_that},
    socket::WebSocket,
    stream::EventStream,
};

/// A node that this Redis joins with others.
pub fn node(redis: &Redis, more: &[&str]) -> Server {
    let setting = redis.setting();
    let server = Server::start(&[&[setting.as_str()], more].concat());
    await_joined(&server);
    server
}

/// Waits until all of it is joined.
pub fn await_joined(server: &Server) {
    await_that("both shards are joined", || server.metric("roadstead_broker_up", "") >= 2.0);
}

/// Two of them.
pub fn nodes(redis: &Redis) -> [Server; 2] {
    [node(redis, &[]), node(redis, &[])]
}

/// Publishes; where it stands.
#[track_caller]
pub fn publish(server: &Server, channel: &str, data: &str) -> String {
    let answer = server.connect().request("POST", &format!("/channels/{channel}"), "", data.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    format!("{}:{}", answer["epoch"], answer["offset"])
}

/// Follows a channel.
pub fn follow(server: &Server, channel: &str) -> WebSocket {
    let mut socket = server.websocket("/ws");
    let told = socket.command(&json!({"id": 1, "subscribe": {"channel": channel}}));
    assert_eq!(told["id"], 1, "{told}");
    assert!(told["subscribed"].is_object(), "{told}");
    socket
}

/// Reads up to the push of this text, past what it is told of a gap; what was pushed before it.
#[track_caller]
pub fn until(socket: &mut WebSocket, text: &str) -> Vec<Value> {
    let mut before = Vec::new();
    loop {
        let message = socket.json();
        match message.get("push") {
            Some(push) if push["data"] == text => return before,
            Some(push) => before.push(push.clone()),
            None => assert!(message.get("gap").is_some(), "{message}"),
        }
    }
}

/// Comes back to a channel; what it is told of that, and what it had missed.
pub fn come_back(server: &Server, channel: &str, since: &str) -> (bool, Vec<String>) {
    let target = format!("/channels/{channel}/history?since={since}&limit=1000");
    let page = server.get(&target);
    assert_eq!(page.status, 200, "{}", page.text());
    let page = page.json();
    (page["recovered"] == json!(true), data(&page))
}

fn data(page: &Value) -> Vec<String> {
    let list = page["publications"].as_array().expect("a list");
    list.iter().map(|one| one["data"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn what_is_published_on_one_node_reaches_every_follower_of_all_under_the_same_position() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut commands = [follow(&a, "news"), follow(&b, "news")];
    let mut sockets = [a.websocket("/channels/news"), b.websocket("/channels/news")];
    let mut streams = [&a, &b].map(|server| EventStream::open(server.connect(), "news", "", ""));
    for server in [&a, &b] {
        server.await_subscribers("news", 6);
    }
    for (server, text) in [(&a, "one"), (&b, "two"), (&a, "three")] {
        let position = publish(server, "news", text);
        for socket in &mut commands {
            let push = socket.push();
            assert_eq!(push["data"], text, "{push}");
            assert_eq!(
                position.split_once(':').map(|(_, offset)| offset.to_owned()),
                Some(push["offset"].to_string())
            );
        }
        for socket in &mut sockets {
            assert_eq!(socket.text(), text);
        }
        for stream in &mut streams {
            let event = stream.event();
            assert_eq!((event.data.as_deref(), event.id), (Some(text), Some(position.clone())));
        }
    }
    let [one, other] = [&a, &b].map(|server| server.get("/channels/news/history").json());
    assert_eq!(one, other);
    assert_eq!(data(&one), ["one", "two", "three"]);
}

#[test]
fn every_way_to_publish_leads_to_the_other_node() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut follower = follow(&b, "news");
    let batch = json!({"publications": [{"channel": "news", "data": "batch 1"}, {"channel": "other", "data": "x"}, {"channel": "news", "data": "batch 2"}]});
    let answer = a.connect().request(
        "POST",
        "/publish",
        "Content-Type: application/json\r\n",
        batch.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told =
        a.websocket("/ws").command(&json!({"id": 7, "publish": {"channel": "news", "data": "by /ws"}}));
    assert!(told["published"].is_object(), "{told}");
    let mut socket = a.websocket("/channels/news");
    a.await_subscribers("news", 2);
    socket.send_text("by a WebSocket");
    assert_eq!(socket.text(), "by a WebSocket");
    let poll = b.connect().request("GET", "/channels/other?since=0:0&timeout=0", "", b"").json();
    assert_eq!((data(&poll), &poll["recovered"]), (vec!["x".to_owned()], &json!(false)));
    for text in ["batch 1", "batch 2", "by /ws", "by a WebSocket"] {
        assert_eq!(follower.push()["data"], text);
    }
}

#[test]
fn who_comes_back_to_another_node_gets_exactly_what_it_missed() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let positions: Vec<_> = (1..=9).map(|number| publish(&a, "news", &number.to_string())).collect();
    for seen in [1, 5, 8, 9] {
        let missed: Vec<_> = (seen + 1..=9).map(|number| number.to_string()).collect();
        assert_eq!(come_back(&b, "news", &positions[seen - 1]), (true, missed.clone()));
        let since = format!("Last-Event-ID: {}\r\n", positions[seen - 1]);
        let mut stream = EventStream::open(b.connect(), "news", "", &since);
        let got: Vec<_> = missed.iter().map(|_| stream.data()).collect();
        assert_eq!(got, missed);
    }
    // A third node that has never heard of the channel.
    let c = node(&redis, &[]);
    assert_eq!(come_back(&c, "news", &positions[6]), (true, vec!["8".into(), "9".into()]));
    assert!(!come_back(&c, "news", "7:1").0);
}

#[test]
fn all_nodes_see_one_order_however_many_publish_at_once() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut followers = [follow(&a, "race"), follow(&b, "race")];
    std::thread::scope(|scope| {
        for (server, name) in [(&a, "a"), (&a, "A"), (&b, "b"), (&b, "B")] {
            scope.spawn(move || {
                let mut client = server.connect();
                for number in 0..100 {
                    client.publish("race", format!("{name}{number}"));
                }
            });
        }
    });
    let seen = followers.each_mut().map(|socket| {
        let one = |_| {
            let push = socket.push();
            (push["offset"].as_u64().expect("an offset"), push["data"].as_str().expect("text").to_owned())
        };
        (0..400).map(one).collect::<Vec<_>>()
    });
    assert_eq!(seen[0].iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (1..=400).collect::<Vec<_>>());
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn a_stream_that_is_lost_begins_under_a_new_epoch_and_everybody_is_told() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    for how in [&["FLUSHALL"][..], &["DEL", "rs:s:news"]] {
        let mut followers = [follow(&a, "news"), follow(&b, "news")];
        let before = publish(&a, "news", "before");
        for socket in &mut followers {
            assert_eq!(socket.push()["data"], "before");
        }
        redis.ask(how);
        let after = publish(&b, "news", "after");
        assert_ne!(before.split(':').next(), after.split(':').next(), "{how:?}");
        for socket in &mut followers {
            let before = until(socket, "after");
            assert!(before.is_empty(), "{before:?}");
        }
        publish(&a, "news", "end");
        for socket in &mut followers {
            assert_eq!(until(socket, "end"), Vec::<Value>::new(), "{how:?}: it has come once");
        }
        for server in [&a, &b] {
            let (recovered, missed) = come_back(server, "news", &before);
            let missed: Vec<_> = missed.iter().map(String::as_str).collect();
            assert_eq!((recovered, missed), (false, vec!["after", "end"]), "{how:?}");
        }
    }
}

#[test]
fn while_redis_is_away_followers_stay_and_publishers_are_refused_in_time() {
    let mut redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut follower = follow(&b, "news");
    let before = publish(&a, "news", "before");
    assert_eq!(follower.push()["data"], "before");
    redis.kill();
    await_that("the loss is seen", || a.metric("roadstead_broker_up", "") == 0.0);
    let began = Instant::now();
    let refused = a.connect().request("POST", "/channels/news", "", b"lost");
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "broker_unavailable"));
    assert!(refused.field("retry-after").is_some() && began.elapsed() >= Duration::from_secs(1));
    let told = a.websocket("/ws").command(&json!({"id": 1, "publish": {"channel": "news", "data": "lost"}}));
    assert_eq!(told["error"]["code"], "broker_unavailable", "{told}");
    let told = a.websocket("/ws").command(&json!({"id": 1, "subscribe": {"channel": "news"}}));
    assert_eq!(told["error"]["code"], "broker_unavailable", "{told}");
    let page = a.get("/channels/news/history");
    assert_eq!((page.status, page.error_code().as_str()), (503, "broker_unavailable"));
    await_that("it is told not to be ready", || a.admin("/readyz").status == 503);
    assert_eq!(a.admin("/healthz").status, 200);
    assert_eq!(a.metric("roadstead_broker_lost_total", "cause=\"closed\""), 2.0, "on each shard");

    redis.go_on();
    [&a, &b].into_iter().for_each(await_joined);
    assert_eq!(a.admin("/readyz").status, 200);
    let after = publish(&a, "news", "after");
    assert_ne!(before.split(':').next(), after.split(':').next(), "nothing of it was on disk");
    assert_eq!(until(&mut follower, "after"), Vec::<Value>::new());
    assert_eq!(come_back(&b, "news", &before), (false, vec!["after".to_owned()]));
    let log = a.log();
    for cause in ["closed", "connect"] {
        let cause = format!("cause=\"{cause}\"");
        assert!(log.matches(&cause).count() <= 1, "each cause is said once: {log}");
    }
    assert!(log.contains("the broker is away") && log.matches("the broker is there").count() >= 2, "{log}");
}

#[test]
fn a_redis_that_stops_is_waited_for_so_long_and_what_waits_is_refused() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut follower = follow(&b, "news");
    publish(&a, "news", "before");
    assert_eq!(follower.push()["data"], "before");
    redis.pause(|| {
        let mut clients: Vec<_> = (0..20).map(|_| a.connect()).collect();
        for client in &mut clients {
            client.ask("POST", "/channels/news", "", b"while it stops");
        }
        for client in &mut clients {
            let answer = client.response();
            let code = answer.error_code();
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(["broker_unavailable", "broker_outcome_unknown"].contains(&code.as_str()), "{code}");
        }
    });
    publish(&a, "news", "after");
    // Of what was in flight nobody knew; what had not left did not leave.
    let between = until(&mut follower, "after").len() as f64;
    let unknown = a.metric("roadstead_broker_refused_total", "outcome=\"unknown\"");
    assert!(between <= unknown, "{between} came, of {unknown} nobody knew");
}

#[test]
fn pushes_that_are_cut_off_are_made_up_for_without_a_gap_or_a_repetition() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut followers = [follow(&a, "news"), follow(&b, "news")];
    let mut published = 0;
    for _ in 0..5 {
        for _ in 0..20 {
            published += 1;
            // What was in flight when the connection went may be neither.
            let answer = a.connect().request("POST", "/channels/news", "", published.to_string().as_bytes());
            assert!([200, 503].contains(&answer.status), "{}", answer.text());
        }
        redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }
    await_that("the end is published", || {
        a.connect().request("POST", "/channels/news", "", b"end").status == 200
    });
    let seen = followers.each_mut().map(|socket| {
        let mut seen = Vec::new();
        loop {
            let push = socket.push();
            seen.push((push["offset"].as_u64().expect("no gap is told"), push["data"].clone()));
            if push["data"] == "end" {
                return seen;
            }
        }
    });
    assert_eq!(seen[0], seen[1]);
    let offsets: Vec<_> = seen[0].iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (1..=offsets.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_node_that_stood_still_hears_all_that_has_come_meanwhile_and_goes_on() {
    const COUNT: usize = 8_000;
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut follower = follow(&b, "p");
    b.pause(|| {
        let mut client = a.connect();
        for first in (0..COUNT).step_by(1_000) {
            let items: Vec<_> = (first..first + 1_000)
                .map(|number| json!({"channel":"p","data":number.to_string()}))
                .collect();
            let body = serde_json::to_vec(&json!({"publications":items})).expect("JSON");
            assert_eq!(client.request("POST", "/publish", "", &body).status, 200);
        }
    });
    // The node has more to tell than its shards take at once.
    for number in 0..COUNT {
        assert_eq!(follower.push()["data"], number.to_string());
    }
    publish(&b, "p", "and on");
    assert_eq!(follower.push()["data"], "and on");
}

#[test]
fn a_quiet_channel_that_is_followed_does_not_run_out() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let before = publish(&a, "news", "before");
    let mut follower = follow(&b, "news");
    // As if nobody had used it for long; each is looked at every 30 seconds, one of so few sooner.
    const LEFT_MS: i64 = 10_000;
    redis.ask(&["PEXPIRE", "rs:s:news", &LEFT_MS.to_string()]);
    await_that(
        "its time is renewed",
        || matches!(redis.ask(&["PTTL", "rs:s:news"]), Reply::Number(left) if left > LEFT_MS),
    );
    let after = publish(&a, "news", "after");
    assert_eq!(before.split(':').next(), after.split(':').next());
    assert_eq!(until(&mut follower, "after"), Vec::<Value>::new());
}

/// How many connections Redis has that hear what is published.
fn listeners(redis: &Redis) -> usize {
    let Reply::Text(clients) = redis.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]) else { panic!("it tells") };
    clients.lines().count()
}

#[test]
fn pushes_that_are_cut_off_because_too_many_wait_are_made_up_for_without_a_gap() {
    const COUNT: usize = 700;
    let redis = Redis::with(&["--client-output-buffer-limit", "pubsub 0 128kb 1"]);
    let [a, b] = [(); 2].map(|()| node(&redis, &["limits.history_publications_max=1000"]));
    let mut follower = follow(&b, "p");
    let body = |number: usize| format!("{number:01000}");
    b.pause(|| {
        let before = listeners(&redis);
        let mut client = a.connect();
        // In short pushes: what is long does not count as waiting at Valkey.
        for first in (0..COUNT).step_by(10) {
            let items: Vec<_> =
                (first..first + 10).map(|number| json!({"channel":"p","data":body(number)})).collect();
            let batch = serde_json::to_vec(&json!({"publications":items})).expect("JSON");
            assert_eq!(client.request("POST", "/publish", "", &batch).status, 200);
        }
        await_that("Redis has given it up", || listeners(&redis) < before);
    });
    for number in 0..COUNT {
        assert_eq!(follower.push()["data"], body(number), "nothing is missing and nothing comes twice");
    }
    b.await_metric("roadstead_broker_lost_total", "", 1.0);
    publish(&b, "p", "and on");
    assert_eq!(follower.push()["data"], "and on");
}

#[test]
fn what_waits_while_redis_does_nothing_takes_no_more_room_than_is_said() {
    const MIB: u64 = 1024 * 1024;
    let redis = Redis::start();
    let a = node(&redis, &[]);
    publish(&a, "news", "before");
    let body = vec![b'x'; 60_000];
    let mut clients: Vec<_> = (0..400).map(|_| a.connect()).collect();
    let mut refuse_all = || {
        for client in &mut clients {
            client.ask("POST", "/channels/news", "", &body);
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 503);
        }
        a.resident_bytes()
    };
    redis.pause(|| {
        let before = a.resident_bytes();
        let first = refuse_all();
        assert!(first < before + 96 * MIB, "{} MiB wait", (first - before) / MIB);
        let last = [(); 4].map(|()| refuse_all())[3];
        assert!(last < first + 16 * MIB, "{} MiB more", (last - first) / MIB);
    });
    await_that("it goes on", || a.connect().request("POST", "/channels/news", "", b"on").status == 200);
}

#[test]
fn a_server_that_has_lost_something_is_told_from_one_that_has_not() {
    let mut redis = Redis::start();
    let [a, b] = nodes(&redis);
    let old = publish(&a, "news", "kept");
    assert_eq!(redis.ask(&["SAVE"]), Reply::Text("OK".into()));
    let newer = publish(&a, "news", "lost");
    redis.kill();
    redis.go_on();
    [&a, &b].into_iter().for_each(await_joined);
    let after = publish(&b, "news", "after");
    for (server, since) in [(&a, &old), (&b, &old), (&a, &newer), (&b, &newer)] {
        let (recovered, missed) = come_back(server, "news", since);
        assert_eq!((recovered, missed), (false, vec!["after".to_owned()]), "since {since}, now {after}");
    }
}

#[test]
fn what_has_no_order_over_nodes_yet_is_refused_and_says_so() {
    let redis = Redis::start();
    let a = node(&redis, &[]);
    let refused = a.connect().request("PUT", "/channels/news/state/title", "", b"hello");
    assert_eq!((refused.status, refused.error_code().as_str()), (501, "broker_unsupported"));
    let told = a.websocket("/ws").command(&json!({"id": 1, "enter": {"channel": "news"}}));
    assert_eq!(told["error"]["code"], "broker_unsupported", "{told}");
}

#[test]
fn a_redis_cluster_is_refused_and_the_log_says_what_to_do() {
    let redis = Redis::with(&["--cluster-enabled", "yes"]);
    let server = Server::start(&[&redis.setting()]);
    await_that("the log says why", || server.log().contains("it is a part of a Redis Cluster"));
    let refused = server.connect().request("POST", "/channels/news", "", b"one");
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "broker_unavailable"));
}

#[test]
fn channels_are_spread_over_several_and_one_that_is_away_takes_only_its_own() {
    let mut servers = [Redis::start(), Redis::start()];
    let url = format!("broker.url=unix:{} unix:{}", servers[0].socket(), servers[1].socket());
    let [a, b] = [(); 2].map(|()| {
        let server = Server::start(&[&url]);
        await_joined(&server);
        server
    });
    let names: Vec<_> = (0..20).map(|number| format!("room-{number}")).collect();
    let mut followers: Vec<_> = names.iter().map(|name| follow(&b, name)).collect();
    for (name, follower) in names.iter().zip(&mut followers) {
        publish(&a, name, "one");
        assert_eq!(follower.push()["data"], "one");
    }
    let is_at =
        |server: &Redis, name: &str| server.ask(&["EXISTS", &format!("rs:s:{name}")]) == Reply::Number(1);
    let [first, second]: [Vec<&String>; 2] =
        [0, 1].map(|number| names.iter().filter(|name| is_at(&servers[number], name)).collect());
    assert_eq!(first.len() + second.len(), names.len(), "each is at one");
    assert!(first.len() > 3 && second.len() > 3, "{first:?} {second:?}");
    servers[1].kill();
    await_that("the loss is seen", || a.metric("roadstead_broker_up", "") == 0.0);
    publish(&a, first[0], "two");
    let refused = a.connect().request("POST", &format!("/channels/{}", second[0]), "", b"two");
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "broker_unavailable"));
    let at = names.iter().position(|name| name == first[0]).expect("it is one");
    assert_eq!(followers[at].push()["data"], "two");
    servers[1].go_on();
    [&a, &b].into_iter().for_each(await_joined);
    publish(&a, second[0], "three");
    let at = names.iter().position(|name| name == second[0]).expect("it is one");
    assert_eq!(until(&mut followers[at], "three"), Vec::<Value>::new());
}

#[test]
fn redis_asks_for_a_password_and_keeps_nodes_of_two_prefixes_apart() {
    let redis = Redis::with(&["--requirepass", "s3cret"]);
    let url = format!("broker.url=unix://:s3cret@{}", redis.socket());
    let join = |prefix: &str| {
        let prefix = format!("broker.prefix={prefix}");
        let server = Server::start(&[&url, &prefix]);
        await_joined(&server);
        server
    };
    let (a, b, other) = (join("one"), join("one"), join("two"));
    let mut followers = [follow(&a, "news"), follow(&other, "news")];
    publish(&b, "news", "for one");
    publish(&other, "news", "for two");
    assert_eq!(followers[0].push()["data"], "for one");
    assert_eq!(followers[1].push()["data"], "for two");
    assert!(!a.log().contains("s3cret"));
    let wrong = Server::start(&[&format!("broker.url=unix://:wrong@{}", redis.socket())]);
    await_that("the refusal is logged", || wrong.log().contains("WRONGPASS"));
}

/// What the manual has an operator type, so that nodes have a user of their own.
fn user_of_the_manual() -> Vec<String> {
    let page = include_str!("../../src/manual/nodes.md");
    let (_, typed) = page.split_once("redis-cli ").expect("the page says what to type");
    let (typed, _) = typed.split_once("```").expect("a block ends");
    let words = typed.split_whitespace().filter(|word| *word != "\\");
    words.map(|word| word.trim_matches('\'').to_owned()).collect()
}

#[test]
fn the_user_that_the_manual_gives_nodes_may_do_all_that_they_do() {
    let redis = Redis::start();
    let words = user_of_the_manual();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    assert_eq!(words[..3], ["ACL", "SETUSER", "roadstead"]);
    assert_eq!(redis.ask(&words), Reply::Text("OK".into()), "{words:?}");
    let url = format!("broker.url=unix://roadstead:PASSWORD@{}", redis.socket());
    let [a, b] = ["a", "b"].map(|name| {
        let listen = format!("unix:{}.{name}", redis.socket());
        let advertised = format!("broker.advertised_url={listen}");
        let server = Server::launch(&mut Server::command(2, &["127.0.0.1:0", &listen], &[&url, &advertised]));
        await_joined(&server);
        server
    });
    await_asked(&redis, "nodes:rs", 2);
    let Reply::Text(clients) = redis.ask(&["CLIENT", "LIST"]) else { panic!("it tells") };
    let of_nodes: Vec<_> = clients.lines().filter(|line| line.contains("name=roadstead")).collect();
    assert!(of_nodes.len() > 4 && of_nodes.iter().all(|line| line.contains("user=roadstead")), "{clients}");
    // To be empty, to publish, to follow, to come back, to begin anew.
    let mut follower = follow(&b, "news");
    let first = publish(&a, "news", "one");
    (2..9).for_each(|number| _ = publish(&a, "news", &number.to_string()));
    assert_eq!(until(&mut follower, "8").len(), 7);
    assert_eq!(come_back(&b, "news", &first).1.len(), 7);
    redis.ask(&["DEL", "rs:s:news"]);
    publish(&a, "news", "anew");
    until(&mut follower, "anew");
    // To be asked, to be on the roll with an address, to strike others off it, and to leave it.
    await_that("the other node answers", || {
        let info = a.get("/channels/news/info").json();
        info["subscribers"] == 1 && info.get("missing_nodes").is_none()
    });
    await_that("both say where they are", || redis.ask(&["HLEN", "rs:where"]) == Reply::Number(2));
    redis.ask(&["ZADD", "rs:nodes", "1", "long-gone"]);
    await_that("it is struck off", || redis.ask(&["ZCARD", "rs:nodes"]) == Reply::Number(2));
    [a, b].into_iter().for_each(Server::stop);
    assert_eq!(redis.ask(&["EXISTS", "rs:nodes", "rs:where"]), Reply::Number(0), "both have left");
    assert_eq!(redis.ask(&["ACL", "LOG"]), Reply::List(Vec::new()), "nothing was denied");
}
