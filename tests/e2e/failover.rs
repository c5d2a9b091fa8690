//! What becomes of nodes when their Redis is demoted, replaced, full, or kills their connections; and of clients when their
//! node is killed.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use crate::{
    certificate::Certificate,
    client::Client,
    joined::await_asked,
    nodes::{await_joined, come_back, follow, node, nodes, publish, until},
    redis::{Redis, Reply},
    server::{Server, await_that},
    socket::WebSocket,
};

/// A socket's file that leads to whichever Redis it is told to, as an address does that Sentinel or a proxy keeps.
struct Leading(PathBuf);

impl Leading {
    fn to(redis: &Redis) -> Self {
        let leading = Self(Path::new(&redis.socket()).with_file_name("leading.sock"));
        symlink(redis.socket(), &leading.0).expect("a link can be made");
        leading
    }

    fn lead_to(&self, redis: &Redis) {
        let other = self.0.with_extension("next");
        symlink(redis.socket(), &other).expect("a link can be made");
        fs::rename(&other, &self.0).expect("it takes the place of the other");
    }

    fn nodes(&self) -> [Server; 2] {
        let setting = format!("broker.url=unix:{}", self.0.display());
        [(); 2].map(|()| {
            let server = Server::start(&[&setting]);
            await_joined(&server);
            server
        })
    }
}

/// A port that nobody had a moment ago, for a Redis that has no other way to be reached so.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    listener.local_addr().expect("it is bound").port().to_string()
}

/// One that others can copy, and one that has copied it.
fn primary_and_replica() -> (Redis, Redis) {
    let port = free_port();
    let (primary, replica) = (
        Redis::with(&["--port", &port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]),
        Redis::start(),
    );
    replica.ask(&["REPLICAOF", "127.0.0.1", &port]);
    await_copied(&replica);
    (primary, replica)
}

fn await_copied(replica: &Redis) {
    await_that(
        "the replica has copied the primary",
        || matches!(replica.ask(&["INFO", "replication"]), Reply::Text(text) if text.contains("master_link_status:up")),
    );
}

#[test]
fn what_a_replica_does_not_have_is_told_of_when_it_takes_over() {
    let (mut primary, replica) = primary_and_replica();
    let leading = Leading::to(&primary);
    let [a, b] = leading.nodes();
    let mut follower = follow(&b, "news");
    let copied = publish(&a, "news", "copied");
    await_that(
        "the replica has it",
        || matches!(replica.ask(&["XLEN", "rs:s:news"]), Reply::Number(length) if length >= 2),
    );
    // The replica is cut off, and does not know of what is acknowledged from now on.
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    let lost = publish(&a, "news", "acknowledged and lost");
    for text in ["copied", "acknowledged and lost"] {
        assert_eq!(follower.push()["data"], text);
    }
    leading.lead_to(&replica);
    primary.kill();
    [&a, &b].into_iter().for_each(await_joined);
    let after = publish(&b, "news", "after");
    assert_ne!(lost.split(':').next(), after.split(':').next());
    assert_eq!(until(&mut follower, "after"), Vec::<Value>::new());
    for server in [&a, &b] {
        for since in [&copied, &lost] {
            let (recovered, missed) = come_back(server, "news", since);
            assert_eq!((recovered, missed), (false, vec!["after".to_owned()]), "since {since}");
        }
    }
}

/// A primary with another that can take its place, and two nodes that it leads, of which one has published what is followed on the
/// other.
struct Pair {
    /// Where the other listens.
    port: String,
    old: Redis,
    new: Redis,
    leading: Leading,
    nodes: [Server; 2],
    follower: WebSocket,
}

impl Pair {
    fn start() -> Self {
        let port = free_port();
        let (old, new) = (Redis::start(), Redis::with(&["--port", &port, "--bind", "127.0.0.1"]));
        let leading = Leading::to(&old);
        let nodes = leading.nodes();
        let mut follower = follow(&nodes[1], "news");
        publish(&nodes[0], "news", "before");
        assert_eq!(follower.push()["data"], "before");
        Self { port, old, new, leading, nodes, follower }
    }
}

#[test]
fn a_primary_that_is_demoted_is_left_for_the_one_that_takes_its_place() {
    let Pair { port, old, new, leading, nodes: [a, b], mut follower } = Pair::start();
    let mut client = a.connect();
    old.ask(&["REPLICAOF", "127.0.0.1", &port]);
    // It is found out by whoever publishes, who is not told that it is made; and waits for another server in vain.
    let refused = client.request("POST", "/channels/news", "", b"nowhere");
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "broker_unavailable"));
    let Reply::Text(errors) = old.ask(&["INFO", "errorstats"]) else { panic!("it tells") };
    assert!(errors.contains("errorstat_READONLY:"), "{errors}");
    // Nobody publishes on the second node: it asks what its server is.
    for server in [&a, &b] {
        await_that("the demotion is seen", || server.metric("roadstead_broker_up", "") == 0.0);
        await_that("it is told not to be ready", || server.admin("/readyz").status == 503);
        assert!(server.log().contains("cause=\"role\""), "{}", server.log());
        assert_eq!(server.metric("roadstead_broker_lost_total", "cause=\"role\""), 2.0, "on each shard");
    }
    let refused = a.connect().request("POST", "/channels/news", "", b"nowhere");
    assert_eq!(refused.status, 503, "{}", refused.text());
    leading.lead_to(&new);
    [&a, &b].into_iter().for_each(await_joined);
    publish(&a, "news", "after");
    assert_eq!(until(&mut follower, "after"), Vec::<Value>::new());
}

#[test]
fn what_a_demoted_primary_refuses_is_published_where_another_takes_its_place_in_time() {
    let Pair { port, old, new, leading, nodes: [a, _b], mut follower } = Pair::start();
    let mut client = a.connect();
    leading.lead_to(&new);
    old.ask(&["REPLICAOF", "127.0.0.1", &port]);
    let answer = client.request("POST", "/channels/news", "", b"in time");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let Reply::Text(errors) = old.ask(&["INFO", "errorstats"]) else { panic!("it tells") };
    assert!(errors.contains("errorstat_READONLY:"), "{errors}");
    assert_eq!(until(&mut follower, "in time"), Vec::<Value>::new());
}

#[test]
fn a_redis_that_is_full_refuses_and_one_that_forgets_is_found_out() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut follower = follow(&b, "news");
    let before = publish(&a, "news", "before");
    assert_eq!(follower.push()["data"], "before");
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..2 {
        let refused = a.connect().request("POST", "/channels/news", "", b"too much");
        assert_eq!((refused.status, refused.error_code().as_str()), (503, "broker_unavailable"));
    }
    assert!(a.log().contains("OOM command not allowed"), "{}", a.log());
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    let same = publish(&a, "news", "after");
    assert_eq!(before.split(':').next(), same.split(':').next(), "nothing is lost");
    assert_eq!(follower.push()["data"], "after", "and nothing of what was refused is seen");

    // The same, but what is there goes.
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    await_that("everything is evicted", || redis.ask(&["DBSIZE"]) == Reply::Number(0));
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    let anew = publish(&a, "news", "anew");
    assert_ne!(same.split(':').next(), anew.split(':').next());
    assert_eq!(until(&mut follower, "anew"), Vec::<Value>::new());
    for server in [&a, &b] {
        assert_eq!(come_back(server, "news", &same), (false, vec!["anew".to_owned()]));
    }
}

#[test]
fn a_history_larger_than_redis_lets_a_follower_wait_with_is_followed_all_the_same() {
    let redis = Redis::with(&["--client-output-buffer-limit", "pubsub 8mb 0 0"]);
    let a = node(&redis, &["limits.history_bytes_max=100000000"]);
    let body = "x".repeat(200_000);
    let positions: Vec<_> = (0..100).map(|_| publish(&a, "news", &body)).collect();
    // One that has never heard of the channel has to read it.
    let b = node(&redis, &["limits.history_bytes_max=100000000"]);
    let mut follower = follow(&b, "news");
    publish(&a, "news", "after");
    assert_eq!(until(&mut follower, "after"), Vec::<Value>::new());
    let (recovered, missed) = come_back(&b, "news", &positions[97]);
    assert_eq!((recovered, missed.len()), (true, 3));
    let (recovered, missed) = come_back(&b, "news", &positions[0]);
    assert!(!recovered && missed.len() < 100, "{}", missed.len());
    assert_eq!(b.metric("roadstead_broker_lost_total", ""), 0.0);
}

#[test]
fn many_who_come_back_at_once_cost_redis_two_commands_for_each_channel() {
    let redis = Redis::start();
    let a = node(&redis, &[]);
    let channels = ["one", "two", "three"];
    let positions = channels.map(|channel| {
        let first = publish(&a, channel, "1");
        (2..=5).for_each(|number| _ = publish(&a, channel, &number.to_string()));
        first
    });
    let b = node(&redis, &[]);
    // What they do to hear each other is not counted.
    await_asked(&redis, "/", 2);
    redis.ask(&["CONFIG", "RESETSTAT"]);
    let mut clients: Vec<_> = (0..100).map(|_| b.connect()).collect();
    let ask = |client: &mut Client, at: usize| {
        let (channel, since) = (channels[at], &positions[at]);
        client.ask("GET", &format!("/channels/{channel}/history?since={since}"), "", b"");
    };
    // Ten thousand come back, always a hundred of them at once.
    for _ in 0..100 {
        clients.iter_mut().zip((0..3).cycle()).for_each(|(client, at)| ask(client, at));
        for client in &mut clients {
            let page = client.response().json();
            assert_eq!(page["recovered"], json!(true), "{page}");
            assert_eq!(page["publications"].as_array().expect("a list").len(), 4);
        }
    }
    let Reply::Text(stats) = redis.ask(&["INFO", "commandstats"]) else { panic!("it tells") };
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.map_or(0, |line| line.split(',').next().expect("a number").parse::<u32>().expect("a number"))
    };
    assert_eq!(calls("xrevrange"), 3, "{stats}");
    assert!((1..=3).contains(&calls("subscribe")), "several may be told at once: {stats}");
    // The looks that are due meanwhile are scripts as well.
    assert!(calls("eval") + calls("evalsha") >= 3, "{stats}");
}

/// Ends what goes on until then.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Follows a channel behind a position; what was missed comes first.
fn follow_since(server: &Server, channel: &str, since: &str) -> WebSocket {
    let mut socket = server.websocket("/ws");
    let told = socket.command(&json!({"id": 1, "subscribe": {"channel": channel, "since": since}}));
    assert_eq!(told["subscribed"]["recovered"], json!(true), "{told}");
    socket
}

#[test]
fn a_node_that_is_killed_under_load_costs_those_who_come_back_to_another_nothing() {
    const AT_LEAST: u64 = 200;
    let redis = Redis::start();
    // However much is published meanwhile, it is kept.
    let [mut a, b] = [(); 2].map(|()| node(&redis, &["limits.history_publications_max=1000000"]));
    let mut followers: Vec<_> = (0..5).map(|_| follow(&a, "news")).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut client = b.connect();
            let mut last = 0;
            while !is_over.load(Ordering::Relaxed) {
                let answer = client.request("POST", "/channels/news", "", b"more").json();
                let offset = answer["offset"].as_u64().expect("nothing is wrong with this node");
                assert_eq!(offset, last + 1);
                last = offset;
            }
            last
        });
        // A test that fails does not wait for the publisher.
        let over = Over(&is_over);
        let seen: Vec<_> = followers
            .iter_mut()
            .enumerate()
            .map(|(index, socket)| {
                let mut last = 0;
                // Each has read another part of what it was sent.
                while last < AT_LEAST + 10 * index as u64 {
                    let offset = socket.push()["offset"].as_u64().expect("a number");
                    assert_eq!(offset, last + 1);
                    last = offset;
                }
                last
            })
            .collect();
        a.signal("KILL");
        a.wait();
        let page = b.get("/channels/news/history?limit=1").json();
        let epoch = page["epoch"].as_u64().expect("a number");
        let mut back: Vec<_> =
            seen.iter().map(|last| follow_since(&b, "news", &format!("{epoch}:{last}"))).collect();
        drop(over);
        let end = publisher.join().expect("it publishes");
        for (socket, mut last) in back.iter_mut().zip(seen) {
            while last < end {
                let offset = socket.push()["offset"].as_u64().expect("a number");
                assert_eq!(offset, last + 1, "nothing is missing and nothing comes twice");
                last = offset;
            }
        }
    });
}

#[test]
fn redis_over_tls_is_believed_by_its_authority_and_shown_who_asks() {
    let (ours, theirs) = (Certificate::new("node"), Certificate::new("localhost"));
    let path = |path: &Path| path.display().to_string();
    let (port, chain, key, others) = (free_port(), path(&theirs.chain), path(&theirs.key), path(&ours.chain));
    let tls = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &chain,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &others,
    ];
    let _redis = Redis::with(&[&tls[..], &["--tls-auth-clients", "yes", "--bind", "127.0.0.1"]].concat());
    let url = format!("broker.url=rediss://localhost:{port}");
    let (trusted, certificate) = (format!("broker.ca_file={chain}"), format!("broker.cert_file={others}"));
    let secret = format!("broker.key_file={}", path(&ours.key));
    let [a, b] = [(); 2].map(|()| {
        let server = Server::start(&[&url, &trusted, &certificate, &secret]);
        await_joined(&server);
        server
    });
    let mut follower = follow(&b, "news");
    publish(&a, "news", "over TLS");
    assert_eq!(follower.push()["data"], "over TLS");

    let stranger = Server::start(&[&url, &trusted]);
    await_that("it is told that a certificate is wanted", || stranger.log().contains("the broker is away"));
    let distrustful = Server::start(&[&url, &format!("broker.ca_file={others}"), &certificate, &secret]);
    await_that("it does not believe it", || distrustful.log().contains("invalid peer certificate"));
    for server in [&stranger, &distrustful] {
        assert_eq!(server.metric("roadstead_broker_up", ""), 0.0);
    }
}
