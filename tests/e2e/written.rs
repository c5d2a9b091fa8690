//! Channels that are written behind, on a disk that fails; and history on a disk that cannot be read.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};

use crate::{
    disk::Faults,
    server::{Server, await_that},
    storage::{Folder, offsets},
    stream::EventStream,
};

const CHANNEL: &str = "kept:a";

fn settings(folder: &Path) -> Vec<&'static str> {
    let path = format!("storage.path={}", folder.display());
    vec![path.leak(), "storage.written=kept:**"]
}

/// The epoch of the channel, and the offsets of its history.
fn history(server: &Server) -> (u64, Vec<u64>) {
    let page = server.get(&format!("/channels/{CHANNEL}/history?limit=1000")).json();
    (page["epoch"].as_u64().unwrap_or_default(), offsets(&page))
}

fn await_written(server: &Server) {
    await_that("all is written", || server.metric("roadstead_storage_queue_bytes", "") == 0.0);
}

/// Publishes some, acknowledged whatever the disk does.
fn publish(server: &Server, count: usize) -> u64 {
    (0..count).fold(None, |_, _| Some(server.publish(CHANNEL, "x"))).expect("some")
}

/// What a disk does wrong, and how the server ends meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The disk is well again before.
    Recovers,
    InOrder,
    Killed,
}

#[test]
fn what_is_written_behind_is_acknowledged_on_a_disk_that_fails_and_its_epoch_says_whether_it_may_be_lost() {
    let (folder, faults) = (Folder::new("written-faults"), Faults::new("written-faults"));
    let settings = settings(&folder.0);
    // The epochs that there were, where it was last, and whether that is certain.
    let (mut epochs, mut sure, mut last, mut is_certain) = (Vec::new(), 0, 0, true);
    for (fault, end) in [
        ("write", End::Recovers),
        ("write", End::InOrder),
        ("write", End::Killed),
        ("sync", End::Recovers),
        ("sync", End::InOrder),
        ("sync", End::Killed),
        ("short", End::Recovers),
        ("short", End::Killed),
    ] {
        let mut server = faults.launch(&settings);
        let (epoch, found) = history(&server);
        let case =
            format!("{fault}, {end:?}, behind {sure} to {last} in one of {epochs:?}: {found:?} in {epoch}");
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>(), "without a hole: {case}");
        assert!((sure..=last).contains(&(found.len() as u64)), "{case}");
        if !epochs.is_empty() {
            assert_eq!(epochs.contains(&epoch), is_certain, "{case}");
        }
        sure = publish(&server, 3);
        await_written(&server);
        epochs.push(history(&server).0);
        faults.order(fault);
        last = publish(&server, 5);
        if fault == "short" {
            // What is written in pieces is written.
            await_written(&server);
            assert_eq!(server.metric("roadstead_storage_failures_total", ""), 0.0);
        } else {
            server.await_metric("roadstead_storage_failures_total", "", 1.0);
            last = publish(&server, 2);
            assert!(server.metric("roadstead_storage_queue_bytes", "") > 0.0);
            assert!(
                server.log().contains("nothing can be written, and it is tried again"),
                "{}",
                server.log()
            );
        }
        match end {
            End::Recovers => {
                faults.order("");
                await_written(&server);
                server.stop();
                sure = last;
            }
            End::InOrder => {
                server.signal("TERM");
                assert_eq!(server.wait().code(), Some(1), "{}", server.log());
                assert!(
                    server.log().contains("what was acknowledged is lost with the process"),
                    "{}",
                    server.log()
                );
            }
            End::Killed => {
                server.signal("KILL");
                server.wait();
            }
        }
        is_certain = end == End::Recovers;
        faults.order("");
    }
}

/// A server whose memory holds little of its history.
fn archive(folder: &Folder) -> Vec<&'static str> {
    let more = ["limits.history_publications_max=10", "storage.history_publications_max=1000"];
    [&settings(&folder.0)[..], &more].concat()
}

#[test]
fn history_that_cannot_be_read_is_told_as_lost_and_is_there_again_when_it_can_be() {
    let (folder, faults) = (Folder::new("unread"), Faults::new("unread"));
    let settings = archive(&folder);
    let server = faults.launch(&settings);
    for _ in 0..300 {
        server.publish(CHANNEL, "x".repeat(2_000));
    }
    let (epoch, all) = history(&server);
    assert_eq!(all, (1..=300).collect::<Vec<_>>());
    server.stop();
    // One that remembers nothing of the file but what it has read at its start.
    let server = faults.launch(&settings);
    faults.order("read");
    let since =
        |offset: u64| server.get(&format!("/channels/{CHANNEL}/history?since={epoch}:{offset}")).json();
    let lost = since(150);
    assert_eq!((offsets(&lost), &lost["recovered"]), ((291..=300).collect(), &json!(false)), "{lost}");
    assert!(server.log().contains("history on disk cannot be read"), "{}", server.log());
    let mut stream = EventStream::open(server.connect(), CHANNEL, &format!("?since={epoch}:20"), "");
    assert_eq!(stream.event().name.as_deref(), Some("reset"));
    assert_eq!(stream.event().id, Some(format!("{epoch}:291")));
    let mut socket = server.websocket("/ws");
    let command = json!({"id":1,"subscribe":{"channel":CHANNEL,"since":format!("{epoch}:20")}});
    let told: Value = socket.command(&command)["subscribed"].clone();
    assert_eq!((&told["recovered"], &told["missed"]), (&json!(false), &json!(10)), "{told}");
    assert_eq!(since(295)["recovered"], true, "memory has that");

    faults.order("");
    await_that("it is read again", || since(150)["recovered"] == true);
    assert_eq!(history(&server), (epoch, all), "nothing is lost");
    assert_eq!(server.publish(CHANNEL, "next"), 301);
    await_written(&server);
}

#[test]
fn old_history_is_read_while_nothing_can_be_written() {
    let (folder, faults) = (Folder::new("unwritable"), Faults::new("unwritable"));
    let server = faults.launch(&archive(&folder));
    let mut last = 0;
    for _ in 0..60 {
        last = server.publish(CHANNEL, "x".repeat(2_000));
    }
    let failures = || server.metric("roadstead_storage_failures_total", "");
    for fault in ["write", "sync"] {
        await_written(&server);
        faults.order(fault);
        // As many as memory keeps.
        last = publish(&server, 5).max(last);
        let (epoch, before) = (history(&server).0, failures());
        // It is tried again every second, and what is read is not that.
        while failures() < before + 3.0 {
            let (mut found, mut at) = (Vec::new(), 20);
            // What is not on disk yet is on a page of its own.
            while at < last {
                let page = format!("/channels/{CHANNEL}/history?since={epoch}:{at}&limit=1000");
                let page = server.get(&page).json();
                assert_eq!(page["recovered"], true, "{fault}: behind {at} of {last}: {page}");
                found.extend(offsets(&page));
                at = *found.last().expect("there is more");
            }
            assert_eq!(found, (21..=last).collect::<Vec<_>>(), "{fault}");
        }
        faults.order("");
    }
    await_written(&server);
    server.stop();
    let server = faults.launch(&archive(&folder));
    assert_eq!(history(&server).1, (1..=last).collect::<Vec<_>>());
}

#[test]
fn a_server_whose_file_cannot_be_read_does_not_start_and_leaves_it_as_it_is() {
    let (folder, faults) = (Folder::new("unstarted"), Faults::new("unstarted"));
    let settings = settings(&folder.0);
    let server = faults.launch(&settings);
    publish(&server, 3);
    let before = history(&server);
    server.stop();
    for fault in ["read", "write", "sync"] {
        faults.order(fault);
        let output = faults.command(&settings).stdout(Stdio::null()).stderr(Stdio::piped()).output();
        let output = output.expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{fault}: {told}");
        assert!(told.contains("channels.redb") && told.contains("Input/output error"), "{fault}: {told}");
        faults.order("");
        let server = faults.launch(&settings);
        assert_eq!(history(&server), before, "{fault}");
        server.stop();
    }
}
