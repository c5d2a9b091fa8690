//! History that is larger than memory: pages of it, and who comes back with an old position.

use serde_json::{Value, json};

use crate::{
    server::Server,
    storage::{Folder, offsets},
    stream::EventStream,
};

const IN_MEMORY: u64 = 10;

fn start(folder: &Folder, more: &[&str]) -> Server {
    let path = format!("storage.path={}", folder.0.display());
    let settings = [
        &path,
        "storage.written=kept:**",
        "storage.synced=safe:**",
        "limits.history_publications_max=10",
        "storage.history_publications_max=1000",
    ];
    Server::start(&[&settings[..], more].concat())
}

fn publish(server: &Server, channel: &str, count: usize) {
    let mut client = server.connect();
    for chunk in (0..count).collect::<Vec<_>>().chunks(100) {
        let all: Vec<_> = chunk.iter().map(|number| json!({"channel":channel,"data":number})).collect();
        let body = json!({ "publications": all }).to_string();
        let answer =
            client.request("POST", "/publish", "Content-Type: application/json\r\n", body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// All that follows an offset, page by page.
fn all_since(server: &Server, channel: &str, since: &str, limit: u32) -> Vec<u64> {
    let (mut found, mut position) = (Vec::new(), since.to_owned());
    loop {
        let target = format!("/channels/{channel}/history?limit={limit}{position}");
        let page: Value = server.get(&target).json();
        assert_eq!(page["recovered"], true, "{target}: {page}");
        found.extend(offsets(&page));
        if page["more"] != true {
            return found;
        }
        let last = found.last().expect("a page that is not the last has some");
        position = format!("&since={}:{last}", page["epoch"]);
    }
}

#[test]
fn what_memory_has_let_go_of_is_read_from_disk_page_by_page_and_after_a_restart() {
    let folder = Folder::new("archive");
    let server = start(&folder, &[]);
    for channel in ["kept:a", "kept:b", "safe:a"] {
        publish(&server, channel, 300);
    }
    let everything: Vec<u64> = (1..=300).collect();
    for channel in ["kept:a", "kept:b", "safe:a"] {
        assert_eq!(all_since(&server, channel, "", 1000), everything, "{channel}");
        assert_eq!(all_since(&server, channel, "", 7), everything, "{channel}");
        let epoch = server.position(channel).split(':').next().expect("an epoch").to_owned();
        assert_eq!(all_since(&server, channel, &format!("&since={epoch}:150"), 100), everything[150..]);
        let newest =
            server.get(&format!("/channels/{channel}/history?since={epoch}:{}", 300 - IN_MEMORY)).json();
        assert_eq!((offsets(&newest).len() as u64, &newest["recovered"]), (IN_MEMORY, &json!(true)));
        let of_another = server.get(&format!("/channels/{channel}/history?since=1:150")).json();
        assert_eq!(of_another["recovered"], false);
    }
    server.stop();
    let server = start(&folder, &[]);
    for channel in ["kept:a", "kept:b", "safe:a"] {
        assert_eq!(all_since(&server, channel, "", 1000), everything, "{channel}");
        publish(&server, channel, 1000);
        let now: Vec<u64> = (301..=1300).collect();
        assert_eq!(all_since(&server, channel, "", 1000), now, "the oldest are let go of on disk as well");
    }
    server.stop();
    let server = start(&folder, &["storage.history_publications_max=0"]);
    assert_eq!(all_since(&server, "kept:a", "", 1000), (1291..=1300).collect::<Vec<_>>());
    server.stop();
    let server = start(&folder, &[]);
    assert_eq!(
        all_since(&server, "kept:a", "", 1000),
        (1291..=1300).collect::<Vec<_>>(),
        "what is gone is gone"
    );
}

#[test]
fn whoever_comes_back_with_an_old_position_gets_all_it_missed_and_then_what_comes() {
    let folder = Folder::new("archive-back");
    let server = start(&folder, &[]);
    for channel in ["kept:a", "kept:b", "safe:a"] {
        publish(&server, channel, 400);
        let epoch: u64 = server.position(channel).split(':').next().expect("one").parse().expect("a number");
        let mut stream = EventStream::open(server.connect(), channel, &format!("?since={epoch}:20"), "");
        let mut socket = server.websocket("/ws");
        let since = format!("{epoch}:30");
        socket.send_text(
            &json!({"id":1,"subscribe":{"channel":channel,"since":since,"state":true}}).to_string(),
        );
        let mut plain = server.websocket(&format!("/channels/{channel}?since={epoch}:390"));
        for offset in 21..=400 {
            let id = stream.event().id.expect("it has an id");
            assert_eq!(id, format!("{epoch}:{offset}"), "{channel}");
        }
        let mut next = 31;
        while next <= 400 {
            let told = socket.json();
            if let Some(subscribed) = told.get("subscribed") {
                assert_eq!(
                    (&subscribed["recovered"], &subscribed["missed"]),
                    (&json!(true), &json!(370)),
                    "{told}"
                );
            }
            if let Some(push) = told.get("push") {
                assert_eq!(push["offset"], next, "{told}");
                next += 1;
            }
        }
        for _ in 0..10 {
            plain.text();
        }
        let poll = server.get(&format!("/channels/{channel}?since={epoch}:100&timeout=5")).json();
        let first = offsets(&poll);
        assert_eq!(first, (101..=100 + first.len() as u64).collect::<Vec<_>>());
        assert!(!first.is_empty() && poll["recovered"] == true, "{poll}");
        let offset = server.publish(channel, "next");
        assert_eq!(stream.event().id, Some(format!("{epoch}:{offset}")));
        assert_eq!(plain.text(), "next");
        // One that goes while it is read for leaves nothing.
        for _ in 0..5 {
            drop(EventStream::open(server.connect(), channel, &format!("?since={epoch}:1"), ""));
        }
        drop((stream, socket, plain));
        server.await_subscribers(channel, 0);
    }
}
