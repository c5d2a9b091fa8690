//! Asking about channels: history, info, the list.

use serde_json::{Value, json};

use crate::{server::Server, stream::EventStream};

fn offsets(page: &Value) -> Vec<u64> {
    let publications = page["publications"].as_array().expect("a list");
    publications.iter().filter_map(|one| one["offset"].as_u64()).collect()
}

#[test]
fn history_is_read_page_by_page_until_nothing_is_left() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    (1..=10).for_each(|offset| assert_eq!(client.publish("h", "x"), offset));
    let whole = client.request("GET", "/channels/h/history", "", b"").json();
    assert_eq!(offsets(&whole), (1..=10).collect::<Vec<_>>());
    assert_eq!((&whole["channel"], &whole["offset"]), (&json!("h"), &json!(10)));
    assert!(whole["publications"][0]["time"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000));
    let epoch = &whole["epoch"];
    let page = |client: &mut crate::client::Client, since: u64, limit: u32| {
        let target = format!("/channels/h/history?since={epoch}:{since}&limit={limit}");
        client.request("GET", &target, "", b"").json()
    };
    assert_eq!(offsets(&page(&mut client, 0, 4)), [1, 2, 3, 4]);
    assert_eq!(offsets(&page(&mut client, 4, 4)), [5, 6, 7, 8]);
    assert_eq!(offsets(&page(&mut client, 8, 4)), [9, 10]);
    assert_eq!(offsets(&page(&mut client, 10, 4)), [0; 0]);
    for limit in ["0", "1001", "x", "-1"] {
        let refused = client.request("GET", &format!("/channels/h/history?limit={limit}"), "", b"");
        assert_eq!((refused.status, refused.error_code().as_str()), (400, "limit_invalid"), "{limit}");
    }
}

#[test]
fn a_channel_nobody_used_reads_as_empty() {
    let server = Server::start(&[]);
    let history = server.get("/channels/unused/history").json();
    assert_eq!((&history["position"], &history["publications"]), (&Value::Null, &json!([])));
    let info = server.get("/channels/unused/info").json();
    assert_eq!((&info["subscribers"], &info["position"]), (&json!(0), &Value::Null));
}

#[test]
fn info_counts_subscribers_of_every_kind_over_all_shards() {
    let server = Server::start(&[]);
    let _sockets: Vec<_> = (0..12).map(|_| server.websocket("/channels/busy")).collect();
    let _streams: Vec<_> = (0..10).map(|_| EventStream::open(server.connect(), "busy", "", "")).collect();
    let mut polls: Vec<_> = (0..8).map(|_| server.connect()).collect();
    polls.iter_mut().for_each(|poll| poll.ask("GET", "/channels/busy", "", b""));
    let mut commands: Vec<_> = (0..6).map(|_| server.websocket("/ws")).collect();
    for socket in &mut commands {
        socket.command(&json!({"id":1,"subscribe":{"channel":"busy"}}));
    }
    server.await_subscribers("busy", 36);
    let info = server.get("/channels/busy/info").json();
    assert_eq!(
        info["transports"],
        json!({"websocket":12,"event_stream":10,"long_poll":8,"json":6,"socketio":0})
    );
    server.publish("busy", "0123456789");
    server.await_subscribers("busy", 28);
    let info = server.get("/channels/busy/info").json();
    assert_eq!((&info["offset"], &info["history_publications"]), (&json!(1), &json!(1)));
    assert!(info["history_bytes"].as_u64() > Some(10), "{info}");
    let held: u64 = server.shards().iter().filter_map(|shard| shard["subscriptions"].as_u64()).sum();
    assert_eq!(held, 28);
}

#[test]
fn the_list_is_sorted_summed_filtered_and_says_whether_it_is_whole() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for number in 0..30 {
        client.publish(&format!("room-{number:02}"), "x");
    }
    client.publish("other", "x");
    let _sockets: Vec<_> = (0..4).map(|_| server.websocket("/channels/room-07")).collect();
    server.await_subscribers("room-07", 4);
    let list = |client: &mut crate::client::Client, query: &str| {
        let page = client.request("GET", &format!("/channels{query}"), "", b"").json();
        let names = page["channels"].as_array().expect("a list").clone();
        (names, page["complete"].as_bool().expect("complete or not"))
    };
    let (all, complete) = list(&mut client, "");
    assert!(complete && all.len() == 31, "{}", all.len());
    let names: Vec<_> = all.iter().map(|channel| channel["channel"].as_str().expect("a name")).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(all[8]["subscribers"], 4);
    let (some, complete) = list(&mut client, "?prefix=room-1&limit=4");
    let names: Vec<_> = some.iter().map(|channel| channel["channel"].clone()).collect();
    assert_eq!(
        (names, complete),
        (vec![json!("room-10"), json!("room-11"), json!("room-12"), json!("room-13")], false)
    );
    assert_eq!(list(&mut client, "?prefix=none").0.len(), 0);
    assert_eq!(client.request("GET", "/channels?limit=1001", "", b"").status, 400);
}

#[test]
fn names_are_percent_decoded_and_may_be_any_text() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (path, name) in
        [("a%2Fb", "a/b"), ("%C3%A9", "é"), ("a+b", "a+b"), ("%25", "%"), ("%F0%9F%98%80", "😀")]
    {
        client.publish(path, "x");
        let info = client.request("GET", &format!("/channels/{path}/info"), "", b"").json();
        assert_eq!((&info["channel"], &info["offset"]), (&json!(name), &json!(1)));
    }
    for path in ["", "%", "%zz", "%C3", "a%00", "%0A"] {
        assert_eq!(client.request("POST", &format!("/channels/{path}"), "", b"x").status, 400, "{path:?}");
    }
    assert_eq!(client.request("GET", "/channels/a/b", "", b"").status, 404);
}
