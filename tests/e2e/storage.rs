//! What outlives the process: ends in order, kills at any moment, faults of the disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use redb::{Database, TableDefinition};
use serde_json::{Value, json};

use crate::{
    client::Client,
    disk::SmallDisk,
    server::{Server, await_that},
    socket::WebSocket,
};

/// A folder that goes with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("roadstead-storage-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("channels.redb")
    }

    fn start(&self) -> Server {
        start(&self.0, &[])
    }

    /// What a program says that cannot start with it, and how it ends.
    fn refusal(&self) -> (Option<i32>, String) {
        let mut command = Server::command(2, &["127.0.0.1:0"], &settings(&self.0));
        let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn settings(folder: &Path) -> Vec<&'static str> {
    let path = format!("storage.path={}", folder.display());
    vec![path.leak(), "storage.written=kept:**"]
}

fn start(folder: &Path, more: &[&str]) -> Server {
    let settings = settings(folder);
    Server::start(&[&settings[..], more].concat())
}

fn history(server: &Server, channel: &str) -> Value {
    server.get(&format!("/channels/{channel}/history?limit=1000")).json()
}

pub fn offsets(history: &Value) -> Vec<u64> {
    let list = history["publications"].as_array().expect("a list");
    list.iter().map(|one| one["offset"].as_u64().expect("an offset")).collect()
}

pub fn change(client: &mut Client, method: &str, target: &str, body: &str) -> Value {
    let answer = client.request(method, target, "", body.as_bytes());
    assert!(answer.status < 300, "{}", answer.text());
    answer.json()
}

#[test]
fn what_is_kept_goes_on_in_its_epoch_when_the_server_has_ended_in_order_and_what_is_not_begins_anew() {
    let folder = Folder::new("order");
    let server = folder.start();
    let (mut client, mut before) = (server.connect(), Vec::new());
    let channels: Vec<_> = (0..8).map(|number| format!("kept:{number}")).collect();
    for channel in &channels {
        server.publish(channel, "one");
        server.publish("lost", "one");
        change(&mut client, "PUT", &format!("/channels/{channel}/state/title"), "hello");
        change(&mut client, "PUT", &format!("/channels/{channel}/state/gone"), "x");
        change(&mut client, "DELETE", &format!("/channels/{channel}/state/gone"), "");
        // All but the first have not been told of when the server ends.
        for _ in 0..3 {
            change(&mut client, "POST", &format!("/channels/{channel}/counters/sold"), "{\"add\":2}");
        }
        let mut guest = server.websocket("/ws");
        guest.command(&json!({"id":1,"enter":{"channel":channel}}));
        before.push((channel, history(&server, channel), guest));
    }
    let lost = server.position("lost");
    server.stop();

    let server = folder.start();
    let mut client = server.connect();
    for (channel, before, _) in before {
        let after = history(&server, channel);
        assert_eq!(after["epoch"], before["epoch"], "{channel}");
        let (old, new) = (offsets(&before), offsets(&after));
        assert_eq!(new[..old.len()], old, "{channel}");
        assert_eq!(new, (1..=new.len() as u64).collect::<Vec<_>>(), "nothing is missing");
        let [was, is] = [&before, &after].map(|page| page["publications"].as_array().expect("a list"));
        assert_eq!(is[..was.len()], was[..], "{channel}");
        let state = server.get(&format!("/channels/{channel}/state")).json();
        assert_eq!((&state["keys"][0]["key"], &state["keys"][0]["value"]), (&json!("sold"), &json!(6)));
        assert_eq!(
            (&state["keys"][1]["data"], state["keys"].as_array().map(Vec::len)),
            (&json!("hello"), Some(2))
        );
        let members = server.get(&format!("/channels/{channel}/presence")).json()["members"].clone();
        assert_eq!(members, json!([]), "nobody is there any more, and followers are told so");
        assert_eq!(
            after["publications"].as_array().and_then(|all| all.last()).expect("some")["kind"],
            "leave"
        );

        let mut socket = server.websocket("/ws");
        let since = format!("{}:1", before["epoch"]);
        let told = socket.command(&json!({"id":1,"subscribe":{"channel":channel,"since":since}}));
        assert_eq!(told["subscribed"]["recovered"], true, "{told}");
        let next = change(&mut client, "POST", &format!("/channels/{channel}/counters/sold"), "{\"add\":1}");
        assert_eq!((&next["value"], &next["epoch"]), (&json!(7), &before["epoch"]));
    }
    let again = server.get(&format!("/channels/lost/history?since={lost}")).json();
    assert_eq!((offsets(&again), &again["position"]), (vec![], &Value::Null));
}

#[test]
fn what_is_kept_goes_on_in_its_epoch_however_many_shards_there_are_at_the_next_start() {
    let folder = Folder::new("shards");
    let channels: Vec<_> = (0..8).map(|number| format!("kept:{number}")).collect();
    let mut before: Vec<Value> = Vec::new();
    for (round, shards) in [(1, 2), (2, 3), (3, 1)] {
        let server = Server::with_shards(shards, &settings(&folder.0));
        for (channel, before) in channels.iter().zip(&before) {
            assert_eq!(history(&server, channel), *before, "{channel} on {shards} shards");
        }
        for channel in &channels {
            server.publish(channel, "one more");
        }
        before = channels.iter().map(|channel| history(&server, channel)).collect();
        for page in &before {
            assert_eq!(offsets(page), (1..=round).collect::<Vec<_>>());
        }
        server.stop();
    }
}

#[test]
fn what_is_let_go_of_is_let_go_of_on_disk_as_well() {
    let folder = Folder::new("trim");
    let limits = ["limits.history_publications_max=3"];
    let server = start(&folder.0, &limits);
    for number in 0..10 {
        server.publish("kept:a", number.to_string());
    }
    server.stop();
    let server = start(&folder.0, &limits);
    assert_eq!(offsets(&history(&server, "kept:a")), [8, 9, 10]);
    server.stop();
    let server = start(&folder.0, &["limits.history_publications_max=2"]);
    assert_eq!(offsets(&history(&server, "kept:a")), [9, 10]);
    server.stop();
    let server = start(&folder.0, &["limits.history_publications_max=100"]);
    assert_eq!(offsets(&history(&server, "kept:a")), [9, 10], "what is gone is gone");
}

/// Publishes until the server is gone; how many were acknowledged.
fn publish_on(server: &Server, channel: &'static str, count: usize) -> std::thread::JoinHandle<u64> {
    let mut client = server.connect();
    let body = "x".repeat(100);
    std::thread::spawn(move || {
        let mut acknowledged = 0;
        for _ in 0..count {
            let request = format!(
                "POST /channels/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if client.try_send(request).is_err() || !matches!(client.receive(), Ok(1..)) {
                break;
            }
            client.received.clear();
            acknowledged += 1;
        }
        acknowledged
    })
}

/// Where a channel is: its epoch and offset.
fn at(server: &Server, channel: &str) -> Option<(u64, u64)> {
    let page = server.get(&format!("/channels/{channel}/history?limit=1")).json();
    let (epoch, offset) = page["position"].as_str()?.split_once(':')?;
    Some((epoch.parse().expect("a number"), offset.parse().expect("a number")))
}

/// With `ROADSTEAD_TEST_KILLS=200` as many kills.
#[test]
fn a_server_that_is_killed_at_any_moment_goes_on_with_what_was_written_and_says_that_some_may_be_lost() {
    let folder = Folder::new("kill");
    let kills =
        std::env::var("ROADSTEAD_TEST_KILLS").ok().map_or(4, |kills| kills.parse().expect("a number"));
    let limits = ["limits.history_publications_max=1000000"];
    let (mut epochs, mut kept) = (Vec::new(), 0);
    for kill in 0..kills {
        let mut server = start(&folder.0, &limits);
        assert_eq!(at(&server, "kept:a"), epochs.last().map(|epoch| (*epoch, kept)), "it had ended in order");
        let publishing = publish_on(&server, "kept:a", 1_000_000);
        let wanted = kept + 100 + 37 * (kill % 11);
        await_that("some are published", || {
            at(&server, "kept:a").is_some_and(|(_, offset)| offset >= wanted)
        });
        let (before, _) = at(&server, "kept:a").expect("some are published");
        server.signal("KILL");
        server.wait();
        let acknowledged = publishing.join().expect("it ends");

        let server = start(&folder.0, &limits);
        let now = at(&server, "kept:a");
        if kept == 0 && now.is_none() {
            // Nothing had been written when it was killed.
            server.stop();
            fs::remove_file(folder.file()).expect("it is there");
            continue;
        }
        let (epoch, last) = now.expect("something has been written");
        assert!(!epochs.contains(&epoch) && epoch != before, "some may be lost, and the epoch says so");
        assert!((kept..=kept + acknowledged + 1).contains(&last), "{last} of {kept} and {acknowledged}");
        let all = server.get(&format!("/channels/kept:a/history?since={before}:1&limit=1000")).json();
        assert_eq!(all["recovered"], false);
        let first = offsets(&all);
        assert_eq!(
            first,
            (1..=first.len() as u64).collect::<Vec<_>>(),
            "what is there is there without a hole"
        );
        kept = last;
        epochs.push(epoch);
        server.stop();
    }
    assert!(kept > 0, "nothing was ever written");
}

#[test]
fn one_process_at_a_time_uses_a_folder_and_a_file_that_is_none_is_left_as_it_is() {
    let folder = Folder::new("refusals");
    let server = folder.start();
    let (code, told) = folder.refusal();
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("in use by another process"), "{told}");
    server.publish("kept:a", "one");
    server.stop();

    let file = folder.file();
    let good = fs::read(&file).expect("it is there");
    for damage in [|bytes: &mut Vec<u8>| bytes[..64].fill(b'x'), |bytes: &mut Vec<u8>| bytes.truncate(1000)] {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::write(&file, &bytes).expect("it can be written");
        let (code, told) = folder.refusal();
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("channels.redb"), "{told}");
        assert!(fs::read(&file).expect("it is there") == bytes, "nothing is begun anew");
    }
    fs::write(&file, &good).expect("it can be written");
    assert_eq!(offsets(&history(&folder.start(), "kept:a")), [1]);

    let database = Database::create(&file).expect("it opens");
    let write = database.begin_write().expect("nobody else writes");
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    write.open_table(meta).expect("it is there").insert("format", 3).expect("it can be written");
    write.commit().expect("it can be written");
    drop(database);
    let (code, told) = folder.refusal();
    assert_eq!(code, Some(1));
    assert!(told.contains("has the format 3, and this version reads 2"), "{told}");
}

#[test]
fn a_full_disk_is_told_and_nothing_that_was_acknowledged_is_lost_once_there_is_room() {
    let disk = SmallDisk::new("full");
    let limits = ["limits.history_publications_max=100000", "limits.history_bytes_max=1073741824"];
    let settings = [&settings(disk.path())[..], &limits].concat();
    let server = disk.launch(&settings);
    let mut client = server.connect();
    let (body, mut acknowledged) = ("x".repeat(200_000), 0);
    let refused = loop {
        let answer = client.request("POST", "/channels/kept:a", "", body.as_bytes());
        if answer.status != 200 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 500, "a hundred megabytes are acknowledged on eight");
    };
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "storage_busy"));
    assert!(refused.field("retry-after").is_some());
    server.publish("other", "what is not kept goes on");
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    // Where there was no room for so much there may be for some small ones.
    let told = loop {
        let told = socket.command(&json!({"id":1,"set":{"channel":"kept:a","key":"k","data":"v"}}));
        if !told["error"].is_null() {
            break told;
        }
        acknowledged += 1;
        assert!(acknowledged < 100_000, "small ones go on for ever");
    };
    assert_eq!(told["error"]["code"], "storage_busy");
    disk.grow();
    await_that("it can be written again", || {
        client.request("POST", "/channels/kept:a", "", b"last").status == 200
    });
    acknowledged += 1;
    server.stop();
    let server = disk.launch(&settings);
    let after = server.get("/channels/kept:a/history?limit=1").json();
    assert!(after["position"].as_str().is_some_and(|text| text.ends_with(&format!(":{acknowledged}"))));
}
