//! Keys, values and counters of channels, in every tongue, over two shards.

use roadstead::wire::websocket::Opcode;
use serde_json::{Value, json};

use crate::{
    client::Client,
    server::{Server, await_that},
    socket::{WebSocket, frame},
    stream::EventStream,
};

/// Names enough that both shards own some.
fn channels() -> impl Iterator<Item = String> {
    (0..8).map(|number| format!("room-{number}"))
}

#[track_caller]
fn add(client: &mut Client, channel: &str, key: &str, count: i64) -> i64 {
    let body = json!({ "add": count }).to_string();
    let answer = client.request("POST", &format!("/channels/{channel}/counters/{key}"), "", body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["value"].as_i64().expect("a value")
}

#[track_caller]
fn put(client: &mut Client, channel: &str, key: &str, fields: &str, data: &str) -> u16 {
    let target = format!("/channels/{channel}/state/{key}");
    let answer = client.request("PUT", &target, fields, data.as_bytes());
    if answer.status < 300 {
        let changed = answer.json();
        let expected = format!("\"{}\"", changed["etag"].as_str().expect("a tag"));
        assert_eq!(answer.field("etag"), Some(&*expected));
    }
    answer.status
}

/// What a snapshot says of each key: its data, or its value.
fn keys(state: &Value) -> Value {
    let list = state["keys"].as_array().expect("a list");
    let content = |one: &Value| one.get("data").or(one.get("value")).cloned().expect("something");
    list.iter().map(|one| (one["key"].as_str().expect("a key").to_owned(), content(one))).collect()
}

#[test]
fn a_key_is_set_read_and_removed_and_conditions_are_tags() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for channel in channels() {
        let target = format!("/channels/{channel}/state/title");
        let missing = client.request("GET", &target, "", b"");
        assert_eq!((missing.status, missing.error_code().as_str()), (404, "state_key_unknown"));
        assert_eq!(put(&mut client, &channel, "title", "If-None-Match: *\r\n", "hello"), 201, "it is made");
        assert_eq!(put(&mut client, &channel, "title", "If-None-Match: *\r\n", "again"), 412);
        let read = client.request("GET", &target, "", b"");
        let key = read.json();
        assert_eq!(
            (&key["channel"], &key["key"], &key["data"]),
            (&json!(channel), &json!("title"), &json!("hello"))
        );
        let tag = read.field("etag").expect("a tag").to_owned();
        assert_eq!(client.request("GET", &target, &format!("If-None-Match: {tag}\r\n"), b"").status, 304);
        assert_eq!(put(&mut client, &channel, "title", &format!("If-Match: {tag}\r\n"), "two"), 200);
        assert_eq!(put(&mut client, &channel, "title", &format!("If-Match: {tag}\r\n"), "three"), 412);
        let removed = client.request("DELETE", &target, &format!("If-Match: {tag}\r\n"), b"");
        assert_eq!((removed.status, removed.error_code().as_str()), (412, "condition_failed"));
        assert_eq!(client.request("GET", &target, "", b"").json()["data"], "two");
        assert_eq!(client.request("DELETE", &target, "If-Match: *\r\n", b"").status, 200);
        assert_eq!(client.request("DELETE", &target, "", b"").status, 404);
        let history = client.request("GET", &format!("/channels/{channel}/history"), "", b"").json();
        let kinds: Vec<_> =
            history["publications"].as_array().expect("a list").iter().map(|one| &one["kind"]).collect();
        assert_eq!(kinds, ["set", "set", "remove"]);
    }
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let server = Server::start(&["limits.state_keys_max=1", "limits.state_channel_bytes_max=20"]);
    let mut client = server.connect();
    let mut refused = |method: &str, target: &str, fields: &str, body: &str| {
        let answer = client.request(method, &format!("/channels/a/{target}"), fields, body.as_bytes());
        (answer.status, if answer.status < 300 { String::new() } else { answer.error_code() })
    };
    let check = |(status, code): (u16, String), expected: (u16, &str)| assert_eq!((status, &*code), expected);
    check(refused("PUT", "state/", "", "x"), (400, "state_key_invalid"));
    check(refused("PUT", "state/k%0A", "", "x"), (400, "state_key_invalid"));
    check(refused("PUT", "state/k?ttl_ms=0", "", "x"), (400, "ttl_invalid"));
    check(refused("PUT", "state/k?tll_ms=5", "", "x"), (400, "parameter_unknown"));
    check(refused("PUT", "state/k", "If-Match: \"1:1\", \"1:2\"\r\n", "x"), (400, "condition_invalid"));
    check(refused("PUT", "state/k", "If-None-Match: \"1:1\"\r\n", "x"), (400, "condition_invalid"));
    check(refused("POST", "counters/n", "", "{\"add\":1.5}"), (400, "member_invalid"));
    check(refused("POST", "counters/n", "", "{}"), (400, "member_missing"));
    check(refused("POST", "state/k", "", "x"), (405, "method_not_allowed"));
    check(refused("PUT", "state/k", "", "twenty bytes, and more"), (507, "state_channel_full"));
    check(refused("PUT", "state/k", "", "words"), (201, ""));
    check(refused("PUT", "state/l", "", "x"), (507, "state_keys_full"));
    check(refused("POST", "counters/k", "", "{\"add\":1}"), (409, "not_a_counter"));
    check(refused("PUT", "state/k", "", "1"), (200, ""));
    check(refused("POST", "counters/k", "", "{\"add\":9007199254740991}"), (409, "counter_overflow"));
}

#[test]
fn who_follows_with_state_gets_a_snapshot_and_then_every_change_in_its_tongue() {
    let server = Server::start(&["limits.counter_interval_ms=0"]);
    let mut client = server.connect();
    for channel in channels() {
        put(&mut client, &channel, "title", "Content-Type: application/json\r\n", "{\"a\":1}");
        add(&mut client, &channel, "sold", 5);
        let mut socket = server.websocket("/ws");
        let told = socket.command(&json!({"id":1,"subscribe":{"channel":channel,"state":true}}));
        assert_eq!(told["subscribed"]["offset"], 2);
        let state = socket.json()["state"].clone();
        assert_eq!((&state["channel"], &state["offset"]), (&json!(channel), &json!(2)));
        assert_eq!(keys(&state), json!({"sold":5,"title":{"a":1}}));
        let mut stream = EventStream::open(server.connect(), &channel, "?state=true", "");
        let event = stream.event();
        assert_eq!(event.name.as_deref(), Some("state"));
        let snapshot: Value = serde_json::from_str(&event.data.expect("data")).expect("JSON");
        assert_eq!(snapshot, state);
        let mut poll = server.connect();
        poll.ask(
            "GET",
            &format!("/channels/{channel}?since={}", state["position"].as_str().expect("one")),
            "",
            b"",
        );
        let mut raw = server.websocket(&format!("/channels/{channel}"));
        server.await_subscribers(&channel, 4);

        assert_eq!(add(&mut client, &channel, "sold", -2), 3);
        let polled = poll.response().json()["publications"][0].clone();
        assert_eq!(
            (&polled["kind"], &polled["key"], &polled["value"]),
            (&json!("add"), &json!("sold"), &json!(3))
        );
        put(&mut client, &channel, "title", "", "hi");
        let removed = client.request("DELETE", &format!("/channels/{channel}/state/title"), "", b"");
        assert_eq!(removed.status, 200);
        server.publish(&channel, "last");
        let epoch = &state["epoch"];
        assert_eq!(
            socket.json()["add"],
            json!({"channel":channel,"epoch":epoch,"offset":3,"key":"sold","value":3})
        );
        assert_eq!(
            socket.json()["set"],
            json!({"channel":channel,"epoch":epoch,"offset":4,"key":"title","data":"hi"})
        );
        assert_eq!(
            socket.json()["remove"],
            json!({"channel":channel,"epoch":epoch,"offset":5,"key":"title"})
        );
        assert_eq!(socket.json()["push"]["data"], "last");
        for (name, data) in [
            ("add", json!({"key":"sold","value":3})),
            ("set", json!({"key":"title","data":"hi"})),
            ("remove", json!({"key":"title"})),
        ] {
            let event = stream.event();
            let said: Value = serde_json::from_str(&event.data.expect("data")).expect("JSON");
            assert_eq!((event.name.as_deref(), said), (Some(name), data));
        }
        assert_eq!(stream.event().data.as_deref(), Some("last"));
        assert_eq!(raw.text(), "last", "a WebSocket of one channel is told publications alone");
    }
}

#[test]
fn commands_change_state_and_whoever_has_missed_too_much_gets_a_snapshot_again() {
    let server = Server::start(&["limits.history_publications_max=2", "limits.counter_interval_ms=0"]);
    let mut socket = server.websocket("/ws");
    for (channel, at) in channels().zip((0..).step_by(10)) {
        let set = json!({"id":at,"set":{"channel":channel,"key":"k","data":"v","if_none_match":"*"}});
        let told = socket.command(&set)["set"].clone();
        assert_eq!((&told["key"], &told["offset"]), (&json!("k"), &json!(1)));
        assert_eq!(socket.command(&set)["error"]["code"], "condition_failed");
        let added =
            socket.command(&json!({"id":at+1,"add":{"channel":channel,"key":"n","add":2}}))["added"].clone();
        assert_eq!((&added["value"], &added["offset"]), (&json!(2), &json!(2)));
        let wrong = json!({"id":at+2,"remove":{"channel":channel,"key":"n","if_match":told["etag"]}});
        assert_eq!(socket.command(&wrong)["error"]["code"], "condition_failed");
        let right = json!({"id":at+3,"remove":{"channel":channel,"key":"n","if_match":added["etag"]}});
        assert_eq!(socket.command(&right)["removed"]["offset"], 3);
        let state = socket.command(&json!({"id":at+4,"state":{"channel":channel}}))["state"].clone();
        assert_eq!((keys(&state), &state["more"]), (json!({"k":"v"}), &json!(false)));

        let since = |offset: u64| format!("{}:{offset}", told["epoch"]);
        let subscribe =
            |since: String| json!({"id":1,"subscribe":{"channel":channel,"since":since,"state":true}});
        let mut again = server.websocket("/ws");
        let subscribed = again.command(&subscribe(since(1)))["subscribed"].clone();
        assert_eq!((&subscribed["recovered"], &subscribed["missed"]), (&json!(true), &json!(2)));
        assert_eq!(
            (again.json()["add"]["value"].clone(), again.json()["remove"]["key"].clone()),
            (json!(2), json!("n"))
        );
        let mut late = server.websocket("/ws");
        assert_eq!(late.command(&subscribe(since(0)))["subscribed"]["recovered"], false);
        assert_eq!(
            (late.json()["add"]["value"].clone(), late.json()["remove"]["key"].clone()),
            (json!(2), json!("n"))
        );
        assert_eq!(keys(&late.json()["state"]), json!({"k":"v"}));
        server.publish(&channel, "next");
        assert_eq!(
            [again.json()["push"]["data"].clone(), late.json()["push"]["data"].clone()],
            ["next", "next"]
        );
    }
}

#[test]
fn adds_of_many_clients_on_all_shards_are_all_counted_and_the_last_value_is_told() {
    let server = Server::start(&[]);
    let mut followers: Vec<WebSocket> = (0..4).map(|_| server.websocket("/ws")).collect();
    for follower in &mut followers {
        follower.command(&json!({"id":1,"subscribe":{"channel":"shop"}}));
    }
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    let (mut answered, mut sum) = (Vec::new(), 0);
    for round in 0..25 {
        for (client, count) in clients.iter_mut().zip(round..) {
            answered.push(add(client, "shop", "sold", count));
            sum += count;
            assert_eq!(answered.last(), Some(&sum), "each answer counts what was acknowledged before");
        }
    }
    for follower in &mut followers {
        let mut last = 0;
        while last != sum {
            last = follower.json()["add"]["value"].as_i64().expect("nothing else is told");
        }
    }
    let history = server.get("/channels/shop/history").json();
    let told = history["publications"].as_array().expect("a list").len();
    assert!(told < 200, "{told} pushes of 200 adds");
}

#[test]
fn a_key_goes_by_itself_and_says_so_though_nobody_asks() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/ws");
    socket.command(&json!({"id":1,"subscribe":{"channel":"a"}}));
    let set = socket.command(&json!({"id":2,"set":{"channel":"a","key":"k","data":"v","ttl_ms":60}}));
    let is_reply = |value: &Value| value.get("id").is_some();
    let push = if is_reply(&set) { socket.json() } else { set };
    assert!(push["set"]["expires"].as_u64() > Some(1_700_000_000_000), "{push}");
    assert_eq!(socket.json()["remove"]["expired"], true);
    assert_eq!(server.get("/channels/a/state").json()["keys"], json!([]));
    await_that("nothing is kept of it", || server.metric("roadstead_state_keys", "") == 0.0);
}

#[test]
fn pages_of_the_state_go_on_behind_a_key() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for number in 0..25 {
        put(&mut client, "big", &format!("k{number:02}"), "", "v");
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page =
            client.request("GET", &format!("/channels/big/state?limit=10&after={after}"), "", b"").json();
        seen.extend(
            page["keys"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| one["key"].as_str().expect("a key").to_owned()),
        );
        after = seen.last().expect("some").clone();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, (0..25).map(|number| format!("k{number:02}")).collect::<Vec<_>>());
    let unused = server.get("/channels/unused/state").json();
    assert_eq!((&unused["position"], &unused["keys"]), (&Value::Null, &json!([])));
}

#[test]
fn who_asks_for_much_and_reads_slowly_gets_all_of_it_and_is_not_ended() {
    let server = Server::start(&["limits.send_queue_bytes_max=262144"]);
    let mut client = server.connect();
    let data = "x".repeat(60 * 1024);
    let channels: Vec<_> = (0..24).map(|number| format!("big-{number}")).collect();
    for channel in &channels {
        assert!(put(&mut client, channel, "k", "", &data) < 300);
    }
    for word in ["subscribe", "state"] {
        let mut socket = WebSocket::open(Client::narrow(server.address()), "/ws", "");
        let commands = channels.iter().zip(1..).map(|(channel, id)| match word {
            "subscribe" => json!({"id":id,"subscribe":{"channel":channel,"state":true}}),
            _ => json!({"id":id,"state":{"channel":channel}}),
        });
        let frames = commands.map(|command| frame(Opcode::Text, true, command.to_string().as_bytes()));
        socket.client.send(frames.collect::<Vec<_>>().concat());
        let mut shown = Vec::new();
        while shown.len() < channels.len() {
            let heard = socket.json();
            if let Some(state) = heard.get("state") {
                assert_eq!(state["keys"][0]["data"], json!(data));
                shown.push(state["channel"].as_str().expect("a channel").to_owned());
            } else {
                assert!(heard.get("subscribed").is_some(), "{heard}");
            }
        }
        shown.sort();
        let mut expected = channels.clone();
        expected.sort();
        assert_eq!(shown, expected, "{word}");
        let all = socket.command(&json!({"id":99,"ping":{}}));
        assert_eq!(all["id"], 99);
    }
}

#[test]
fn more_channels_with_state_than_may_be_are_refused_and_others_go_on() {
    let server = Server::with_shards(1, &["limits.state_channels_max=2"]);
    let mut client = server.connect();
    assert_eq!(put(&mut client, "a", "k", "", "v"), 201);
    assert_eq!(add(&mut client, "b", "n", 1), 1);
    let refused = client.request("PUT", "/channels/c/state/k", "", b"v");
    assert_eq!((refused.status, refused.error_code().as_str()), (507, "state_channels_full"));
    assert_eq!(put(&mut client, "a", "l", "", "v"), 201);
    server.publish("c", "there is room for a channel");
    assert_eq!(client.request("DELETE", "/channels/b/state/n", "", b"").status, 200);
    assert_eq!(put(&mut client, "c", "k", "", "v"), 201);
}
