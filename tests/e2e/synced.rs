//! Channels of which nobody is told anything before it is on disk: kills at any moment, and disks that refuse.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use serde_json::json;

use crate::{
    client::Client,
    disk::{Faults, SmallDisk},
    server::{Server, await_that},
    storage::{Folder, change, offsets},
    stream::EventStream,
};

const CHANNEL: &str = "safe:a";
const LIMITS: [&str; 2] = ["limits.history_publications_max=1000000", "limits.history_bytes_max=1073741824"];

fn settings(folder: &Path) -> Vec<&'static str> {
    let path = format!("storage.path={}", folder.display());
    [&[path.leak(), "storage.synced=safe:**", "storage.written=**"][..], &LIMITS[..]].concat()
}

fn start(folder: &Path) -> Server {
    Server::start(&settings(folder))
}

/// Where a channel is.
fn at(server: &Server) -> Option<(u64, u64)> {
    let page = server.get(&format!("/channels/{CHANNEL}/history?limit=1")).json();
    let (epoch, offset) = page["position"].as_str()?.split_once(':')?;
    Some((epoch.parse().expect("a number"), offset.parse().expect("a number")))
}

fn request(method: &str, target: &str, body: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What clients have been told so far.
#[derive(Default)]
struct Told {
    /// The highest offset that was acknowledged to a publisher, and that a follower has had.
    acknowledged: AtomicU64,
    followed: AtomicU64,
    /// The value that the last add was answered with.
    counted: AtomicU64,
}

/// Does something on a connection until the server is gone; each answer's number is kept.
fn go_on(
    server: &Server,
    request: String,
    name: &'static str,
    told: &Arc<Told>,
    keep: impl Fn(&Told, u64) + Send + 'static,
) -> JoinHandle<()> {
    let (mut client, told) = (server.connect(), Arc::clone(told));
    std::thread::spawn(move || {
        while client.try_send(&request).is_ok() {
            let number = loop {
                let text = String::from_utf8_lossy(&client.received).into_owned();
                // An answer that is cut short is none.
                if let Some(body) = text.split_once("\r\n\r\n").and_then(|(_, body)| body.strip_suffix('}')) {
                    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                    let (_, value) = body.split_once(&format!("\"{name}\":")).expect("it is answered");
                    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
                    break digits.parse::<u64>().expect("a number");
                }
                if !matches!(client.receive(), Ok(1..)) {
                    return;
                }
            };
            client.received.clear();
            keep(&told, number);
        }
    })
}

fn follow(server: &Server, told: &Arc<Told>) -> JoinHandle<()> {
    let mut stream = EventStream::open(server.connect(), CHANNEL, "", "");
    let told = Arc::clone(told);
    std::thread::spawn(move || {
        while matches!(stream.client.receive(), Ok(1..)) {
            let text = String::from_utf8_lossy(&stream.client.received).into_owned();
            let Some((whole, rest)) = text.rsplit_once("\n\n") else { continue };
            let offset =
                whole.lines().filter_map(|line| line.strip_prefix("id: ")?.split_once(':')).next_back();
            if let Some((_, offset)) = offset {
                told.followed.store(offset.trim().parse().expect("a number"), Ordering::Relaxed);
            }
            stream.client.received = rest.as_bytes().to_vec();
        }
    })
}

/// With `ROADSTEAD_TEST_KILLS=200` as many kills.
#[test]
fn whenever_a_server_is_killed_everything_it_has_told_anybody_is_there_again_in_its_epoch() {
    let folder = Folder::new("synced-kill");
    let kills =
        std::env::var("ROADSTEAD_TEST_KILLS").ok().map_or(4, |kills| kills.parse().expect("a number"));
    let (mut was, mut value) = (None, 0);
    for kill in 0..kills {
        let mut server = start(&folder.0);
        let told = Arc::new(Told::default());
        let publish = request("POST", &format!("/channels/{CHANNEL}"), &"x".repeat(100));
        let add = request("POST", &format!("/channels/{CHANNEL}/counters/n"), "{\"add\":1}");
        let mut threads: Vec<_> = (0..3)
            .map(|_| {
                let keep = |told: &Told, offset| _ = told.acknowledged.fetch_max(offset, Ordering::Relaxed);
                go_on(&server, publish.clone(), "offset", &told, keep)
            })
            .collect();
        threads.push(go_on(&server, add, "value", &told, |told, value| {
            told.counted.store(value, Ordering::Relaxed)
        }));
        threads.push(follow(&server, &told));
        let before = was.map_or(0, |(_, offset)| offset);
        let wanted = before + 20 + 13 * (kill % 11);
        await_that("some are acknowledged", || {
            told.acknowledged.load(Ordering::Relaxed) >= wanted
                && told.counted.load(Ordering::Relaxed) > value
        });
        server.signal("KILL");
        server.wait();
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));

        let server = start(&folder.0);
        let (epoch, last) = at(&server).expect("it is there");
        let said = [&told.acknowledged, &told.followed].map(|said| said.load(Ordering::Relaxed));
        assert!(said.iter().all(|said| *said <= last), "{said:?} were told, and {last} are there");
        assert!(was.is_none_or(|(before, _)| before == epoch), "nothing is lost, so the epoch is the same");
        let all =
            server.get(&format!("/channels/{CHANNEL}/history?since={epoch}:{before}&limit=1000")).json();
        let first = offsets(&all);
        assert_eq!(all["recovered"], true);
        assert_eq!(first, (before + 1..).take(first.len()).collect::<Vec<_>>(), "without a hole");
        let state = server.get(&format!("/channels/{CHANNEL}/state/n"));
        let counted = told.counted.load(Ordering::Relaxed);
        value = state.json()["value"].as_u64().expect("a number");
        assert!((counted..=counted + 1).contains(&value), "{counted} was answered, and it is {value}");
        was = Some(at(&server).expect("it is there"));
        server.stop();
    }
}

#[test]
fn whoever_was_present_when_a_server_was_killed_has_left() {
    let folder = Folder::new("synced-presence");
    let mut server = start(&folder.0);
    let mut guest = server.websocket("/ws");
    guest.command(&json!({"id":1,"enter":{"channel":CHANNEL}}));
    let (epoch, offset) = at(&server).expect("somebody has entered");
    server.signal("KILL");
    server.wait();
    let server = start(&folder.0);
    let missed = server.get(&format!("/channels/{CHANNEL}/history?since={epoch}:{offset}")).json();
    assert_eq!(missed["recovered"], true, "{missed}");
    assert_eq!(missed["publications"][0]["kind"], "leave", "{missed}");
    let members = server.get(&format!("/channels/{CHANNEL}/presence")).json()["members"].clone();
    assert_eq!(members, json!([]));
}

#[test]
fn a_channel_that_is_synced_from_now_on_promises_nothing_of_what_was_before() {
    let folder = Folder::new("synced-changed");
    let path = format!("storage.path={}", folder.0.display());
    let written = [&path[..], "storage.written=**"];
    let mut server = Server::start(&written);
    server.publish(CHANNEL, "one");
    server.signal("KILL");
    server.wait();
    // It may not have been written at all.
    let before = at(&Server::start(&written));
    let mut server = start(&folder.0);
    let begun = at(&server);
    assert_eq!(begun, before, "it was closed in order since");
    server.publish(CHANNEL, "two");
    let synced = at(&server).expect("it is there");
    server.signal("KILL");
    server.wait();
    let mut server = Server::start(&written);
    assert_eq!(at(&server), Some(synced), "it was synced until then");
    server.publish(CHANNEL, "three");
    server.signal("KILL");
    server.wait();
    let after = at(&start(&folder.0)).expect("it is there");
    assert_ne!(after.0, synced.0, "and is not any more");
}

/// A publish that has been sent and not been answered.
fn publish_and_leave(server: &Server, body: &str) -> Client {
    let mut client = server.connect();
    client.send(request("POST", &format!("/channels/{CHANNEL}"), body));
    client
}

/// Publishes until the disk refuses: how many were acknowledged, and who still waits.
fn publish_until_refused(server: &Server, body: &str, follower: &mut EventStream) -> (u64, Client) {
    let mut acknowledged = 0;
    loop {
        let failures = server.metric("roadstead_storage_failures_total", "");
        let mut client = publish_and_leave(server, body);
        let mut is_answered = false;
        client.tcp().set_read_timeout(Some(std::time::Duration::from_millis(20))).expect("it can be set");
        await_that("it is answered or refused", || {
            is_answered = matches!(client.receive(), Ok(1..));
            is_answered || server.metric("roadstead_storage_failures_total", "") > failures
        });
        client.tcp().set_read_timeout(Some(crate::server::SOON)).expect("it can be set");
        if !is_answered {
            return (acknowledged, client);
        }
        let answer = client.response();
        assert_eq!(answer.status, 200, "{}", answer.text());
        follower.event();
        acknowledged += 1;
    }
}

/// What is so while the disk refuses.
fn check_refusals(server: &Server) {
    let mut client = server.connect();
    let refused = client.request("POST", &format!("/channels/{CHANNEL}"), "", b"x");
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "storage_busy"));
    assert!(refused.field("retry-after").is_some());
    let refused = client.request("PUT", &format!("/channels/{CHANNEL}/state/k"), "", b"x");
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "storage_busy"));
    let mut socket = server.websocket("/ws");
    let told = socket.command(&json!({"id":1,"add":{"channel":CHANNEL,"key":"n","add":1}}));
    assert_eq!(told["error"]["code"], "storage_busy");
    let told = socket.command(&json!({"id":2,"enter":{"channel":CHANNEL}}));
    assert_eq!(told["error"]["code"], "storage_busy");
    assert!(server.log().contains("nothing can be written, and it is tried again"), "{}", server.log());
}

#[test]
fn a_full_disk_acknowledges_nothing_and_what_waits_is_acknowledged_once_there_is_room() {
    let disk = SmallDisk::new("synced-full");
    let server = disk.launch(&settings(disk.path()));
    let mut follower = EventStream::open(server.connect(), CHANNEL, "", "");
    let (acknowledged, mut waits) = publish_until_refused(&server, &"x".repeat(200_000), &mut follower);
    assert!(
        acknowledged > 3 && acknowledged < 40,
        "{acknowledged} times 200 kB are acknowledged on eight megabytes"
    );
    check_refusals(&server);
    disk.grow();
    let answer = waits.response();
    assert_eq!((answer.status, answer.json()["offset"].as_u64()), (200, Some(acknowledged + 1)));
    assert!(follower.event().id.is_some_and(|id| id.ends_with(&format!(":{}", acknowledged + 1))));
    await_that("it goes on", || {
        server.connect().request("POST", &format!("/channels/{CHANNEL}"), "", b"last").status == 200
    });
    let before = at(&server);
    server.stop();
    assert_eq!(at(&disk.launch(&settings(disk.path()))), before);
}

#[test]
fn what_was_acknowledged_before_a_disk_was_full_is_there_after_a_kill() {
    let disk = SmallDisk::new("synced-full-kill");
    let mut server = disk.launch(&settings(disk.path()));
    let mut follower = EventStream::open(server.connect(), CHANNEL, "", "");
    let (acknowledged, _waits) = publish_until_refused(&server, &"x".repeat(200_000), &mut follower);
    server.signal("KILL");
    server.wait();
    disk.grow();
    let (_, last) = at(&disk.launch(&settings(disk.path()))).expect("it is there");
    assert!((acknowledged..=acknowledged + 1).contains(&last), "{last} of {acknowledged}");
}

#[test]
fn a_disk_that_fails_acknowledges_nothing_and_loses_nothing_that_was() {
    let folder = Folder::new("synced-faults");
    let faults = Faults::new("synced-faults");
    let launch = || faults.launch(&settings(&folder.0));
    let mut was: Option<(u64, u64)> = None;
    let is_all_there = |was: Option<(u64, u64)>, now: Option<(u64, u64)>| {
        let is_all = was.is_none_or(|was| now.is_some_and(|now| was.0 == now.0 && was.1 <= now.1));
        assert!(is_all, "{was:?} was acknowledged, and {now:?} is there");
    };
    for (fault, is_killed) in [
        ("write", false),
        ("write", true),
        ("sync", false),
        ("sync", true),
        ("short", false),
        ("short", true),
    ] {
        let mut server = launch();
        is_all_there(was, at(&server));
        let mut follower = EventStream::open(server.connect(), CHANNEL, "", "");
        for _ in 0..3 {
            server.publish(CHANNEL, "x");
            follower.event();
        }
        let (epoch, mut last) = at(&server).expect("it is there");
        faults.order(fault);
        if fault == "short" {
            // What is written in pieces is written.
            last = server.publish(CHANNEL, "x");
            assert_eq!(server.metric("roadstead_storage_failures_total", ""), 0.0);
        } else {
            let (acknowledged, mut waits) = publish_until_refused(&server, "x", &mut follower);
            assert_eq!(acknowledged, 0, "{fault}");
            check_refusals(&server);
            if !is_killed {
                faults.order("");
                last = waits.response().json()["offset"].as_u64().expect("it is acknowledged");
            }
        }
        was = Some((epoch, last));
        if is_killed {
            server.signal("KILL");
            server.wait();
        } else {
            server.stop();
        }
        faults.order("");
    }
    let server = launch();
    is_all_there(was, at(&server));
    let mut client = server.connect();
    change(&mut client, "PUT", &format!("/channels/{CHANNEL}/state/k"), "v");
}
