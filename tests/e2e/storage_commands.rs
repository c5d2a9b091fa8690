//! `roadstead storage`: what it tells of a store, what it makes of one, and what it leaves alone.

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

use crate::{
    server::{Server, program},
    storage::{Folder, change, offsets},
};

fn run(arguments: &[&str], folder: &Path) -> Output {
    let mut command = program();
    command.arg("storage").args(arguments).arg(folder).output().expect("it runs")
}

#[track_caller]
fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn start(folder: &Path) -> Server {
    let path = format!("storage.path={}", folder.display());
    // A count told later than the position was read would move that on.
    Server::start(&[&path, "storage.synced=safe:*", "storage.written=**", "limits.counter_interval_ms=0"])
}

/// Stores with something of every kind.
fn fill(folder: &Path) -> Server {
    let server = start(folder);
    let mut client = server.connect();
    for channel in ["safe:a", "news", "binary"] {
        server.publish(channel, "one");
        server.publish(channel, [0xff, 0, 1]);
        change(&mut client, "PUT", &format!("/channels/{channel}/state/title"), "hello");
        change(&mut client, "PUT", &format!("/channels/{channel}/state/soon?ttl_ms=100000"), "x");
        for _ in 0..3 {
            change(&mut client, "POST", &format!("/channels/{channel}/counters/sold"), "{\"add\":2}");
        }
    }
    server
}

fn export(folder: &Path) -> String {
    told(&run(&["export"], folder))
}

fn position(server: &Server, channel: &str) -> String {
    server.get(&format!("/channels/{channel}/history?limit=1")).json()["position"]
        .as_str()
        .expect("it is there")
        .to_owned()
}

#[test]
fn a_store_is_told_of_checked_written_out_and_read_in_as_it_was() {
    let (folder, copy, renewed) = (Folder::new("commands"), Folder::new("copy"), Folder::new("renewed"));
    let server = fill(&folder.0);
    let before = ["safe:a", "news"].map(|channel| position(&server, channel));
    server.stop();
    let inventory: Value =
        serde_json::from_str(&told(&run(&["inspect", "--json"], &folder.0))).expect("it is JSON");
    let channels = inventory["channels"].as_array().expect("a list");
    let names: Vec<_> = channels.iter().map(|channel| channel["channel"].as_str().expect("a name")).collect();
    assert_eq!((names, &inventory["is_clean"]), (vec!["binary", "news", "safe:a"], &json!(true)));
    assert_eq!((&channels[2]["synced"], &channels[1]["synced"]), (&json!(true), &json!(false)));
    assert_eq!((&channels[2]["position"], &channels[2]["keys"]), (&json!(before[0]), &json!(3)));
    assert!(told(&run(&["inspect"], &folder.0)).contains("news  at "));
    assert!(told(&run(&["check"], &folder.0)).contains("nothing is wrong; 3 channels"));

    let lines = export(&folder.0);
    let file = folder.0.join("lines");
    fs::write(&file, &lines).expect("it can be written");
    let import = |arguments: &[&str], into: &Path| {
        let mut command = program();
        command.args(["storage", "import"]).args(arguments).arg(into).arg(&file).output().expect("it runs")
    };
    told(&import(&["--keep-epochs"], &copy.0));
    assert_eq!(export(&copy.0), lines);
    told(&import(&[], &renewed.0));
    let server = start(&copy.0);
    assert_eq!(["safe:a", "news"].map(|channel| position(&server, channel)), before);
    let history = server.get("/channels/binary/history").json();
    assert_eq!(
        (&offsets(&history)[..2], &history["publications"][1]["data_base64"]),
        (&[1, 2][..], &json!("/wAB"))
    );
    let state = server.get("/channels/news/state").json();
    let keys: Vec<_> =
        state["keys"].as_array().expect("a list").iter().map(|key| key["key"].as_str()).collect();
    assert_eq!(
        (keys, &state["keys"][1]["value"]),
        (vec![Some("sold"), Some("soon"), Some("title")], &Value::Null)
    );
    server.stop();
    let server = start(&renewed.0);
    let after = ["safe:a", "news"].map(|channel| position(&server, channel));
    for (before, after) in before.iter().zip(&after) {
        let ((old, at), (new, still)) =
            (before.split_once(':').expect("one"), after.split_once(':').expect("one"));
        assert!(old != new && at == still, "{before} {after}");
    }
    let again = refused(&import(&[], &renewed.0));
    assert!(again.contains("is there already"), "{again}");
    let pattern = told(&run(&["export", "--channel", "safe:*"], &folder.0));
    assert!(pattern.contains("safe:a") && !pattern.contains("news"), "{pattern}");
}

#[test]
fn what_cannot_be_done_is_told_and_nothing_is_changed() {
    let folder = Folder::new("commands-refused");
    let told = refused(&run(&["check"], &folder.0));
    assert!(told.contains("there is no "), "{told}");
    assert!(!folder.file().exists());
    let server = fill(&folder.0);
    for command in ["inspect", "check", "compact", "export"] {
        let told = refused(&run(&[command], &folder.0));
        assert!(told.contains("in use by another process"), "{told}");
    }
    server.stop();
    let before = export(&folder.0);
    let good = fs::read(folder.file()).expect("it is there");
    // Also what stands where nothing is any more.
    let mut bad = good.clone();
    for at in 0..bad.len() - 5 {
        if &bad[at..at + 5] == b"hello" {
            bad[at] = b'j';
        }
    }
    assert!(bad != good);
    fs::write(folder.file(), &bad).expect("it can be written");
    refused(&run(&["check"], &folder.0));
    fs::write(folder.file(), &good).expect("it can be written");
    assert_eq!(export(&folder.0), before);
    let other = Folder::new("commands-lines");
    for (lines, what) in [
        ("", "line 1 cannot be read in"),
        ("{\"stream\":{\"channel\":\"a\",\"epoch\":1,\"offset\":1,\"synced\":false}}\n", "the first line"),
        ("{\"store\":{\"format\":9}}\n", "another format"),
        ("{\"store\":{\"format\":2}}\nnothing\n", "line 2 cannot be read in"),
    ] {
        let file = folder.0.join("lines");
        fs::write(&file, lines).expect("it can be written");
        let mut command = program();
        let told =
            refused(&command.args(["storage", "import"]).arg(&other.0).arg(&file).output().expect("it runs"));
        assert!(told.contains(what), "{told}");
        assert!(!other.file().exists(), "half of it is not kept");
    }
}

#[test]
fn a_store_that_was_killed_is_still_known_as_such_when_it_has_been_looked_at_and_made_smaller() {
    let folder = Folder::new("commands-killed");
    let mut server = fill(&folder.0);
    let before = position(&server, "news");
    server.signal("KILL");
    server.wait();
    for command in ["check", "inspect", "export"] {
        told(&run(&[command], &folder.0));
    }
    let bytes = fs::metadata(folder.file()).expect("it is there").len();
    told(&run(&["compact"], &folder.0));
    assert!(fs::metadata(folder.file()).expect("it is there").len() <= bytes);
    let server = start(&folder.0);
    let after = server.get("/channels/news/history?limit=1").json()["position"].clone();
    assert_ne!(
        after.as_str().and_then(|after| after.split_once(':')).map(|(epoch, _)| epoch),
        before.split_once(':').map(|(epoch, _)| epoch)
    );
}
