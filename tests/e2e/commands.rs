//! `/ws`: one WebSocket, many channels, JSON commands with ids.

use roadstead::wire::websocket::Opcode;
use serde_json::{Value, json};

use crate::{server::Server, socket::WebSocket};

fn subscribe(socket: &mut WebSocket, id: u32, channel: &str) -> Value {
    let reply = socket.command(&json!({"id":id,"subscribe":{"channel":channel}}));
    assert_eq!(reply["id"], id);
    reply.get("subscribed").unwrap_or_else(|| panic!("refused: {reply}")).clone()
}

#[test]
fn a_command_is_answered_under_its_id_and_a_publication_is_pushed_with_its_position() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/ws");
    let subscribed = subscribe(&mut socket, 7, "news");
    assert_eq!(
        (&subscribed["channel"], &subscribed["offset"], &subscribed["recovered"], &subscribed["missed"]),
        (&json!("news"), &json!(0), &json!(true), &json!(0))
    );
    server.connect().request("POST", "/channels/news", "Content-Type: text/plain\r\n", b"hello");
    let push = socket.push();
    assert_eq!((&push["channel"], &push["offset"]), (&json!("news"), &json!(1)));
    assert_eq!((&push["data"], &push["content_type"]), (&json!("hello"), &json!("text/plain")));
    assert_eq!(push["epoch"], subscribed["epoch"]);
    assert_eq!(socket.command(&json!({"id":8,"ping":{}})), json!({"id":8,"pong":{}}));
    let gone = socket.command(&json!({"id":9,"unsubscribe":{"channel":"news"}}));
    assert_eq!(gone, json!({"id":9,"unsubscribed":{"channel":"news"}}));
    server.publish("news", "nobody hears this");
    assert_eq!(socket.command(&json!({"id":10,"ping":{}})), json!({"id":10,"pong":{}}));
}

#[test]
fn many_channels_on_both_shards_keep_their_own_order() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/ws");
    let channels: Vec<_> = (0..20).map(|number| format!("channel-{number}")).collect();
    for (id, channel) in (0..).zip(&channels) {
        subscribe(&mut socket, id, channel);
    }
    let mut publisher = server.connect();
    for round in 1..=5 {
        channels.iter().for_each(|channel| assert_eq!(publisher.publish(channel, "x"), round));
    }
    let mut seen = vec![0; channels.len()];
    for _ in 0..100 {
        let push = socket.push();
        let index = channels.iter().position(|channel| push["channel"] == channel[..]).expect("one of ours");
        seen[index] += 1;
        assert_eq!(push["offset"], seen[index]);
    }
}

#[test]
fn data_of_every_kind_is_published_and_answered_with_its_position() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/ws");
    let mut follower = server.websocket("/ws");
    subscribe(&mut follower, 0, "kinds");
    let cases = [
        (json!({"data":"text"}), json!({"data":"text"})),
        (json!({"data":{"a":[1,null]}}), json!({"data":{"a":[1,null]},"content_type":"application/json"})),
        (json!({"data":7,"content_type":"x/y"}), json!({"data":"7","content_type":"x/y"})),
        (json!({"data_base64":"/wA="}), json!({"data_base64":"/wA="})),
        (json!({"data_base64":"aGk="}), json!({"data_base64":"aGk="})),
    ];
    for ((mut publication, mut expected), offset) in cases.into_iter().zip(1..) {
        publication["channel"] = json!("kinds");
        let reply = socket.command(&json!({"id":offset,"publish":publication}));
        let published = &reply["published"];
        assert_eq!(
            (&published["channel"], &published["offset"]),
            (&json!("kinds"), &json!(offset)),
            "{reply}"
        );
        expected["channel"] = json!("kinds");
        expected["epoch"] = published["epoch"].clone();
        expected["offset"] = json!(offset);
        assert_eq!(follower.push(), expected);
    }
}

#[test]
fn what_is_no_command_gets_an_error_with_code_and_sentence_and_the_connection_lives() {
    let server = Server::start(&["limits.publication_bytes_max=100"]);
    let mut socket = server.websocket("/ws");
    subscribe(&mut socket, 0, "again");
    let long = json!({"id":7,"publish":{"channel":"a","data":"x".repeat(101)}}).to_string();
    let deep = format!(
        "{{\"id\":8,\"publish\":{{\"channel\":\"a\",\"data\":{}{}}}}}",
        "[".repeat(99),
        "]".repeat(99)
    );
    let cases: [(&str, Value, &str); 14] = [
        ("", Value::Null, "json_invalid"),
        ("{", Value::Null, "json_invalid"),
        ("[]", Value::Null, "not_an_object"),
        (r#"{"ping":{}}"#, Value::Null, "id_invalid"),
        (r#"{"id":-1,"ping":{}}"#, Value::Null, "id_invalid"),
        (r#"{"id":1}"#, json!(1), "command_invalid"),
        (r#"{"id":2,"dance":{}}"#, json!(2), "command_invalid"),
        (r#"{"id":3,"subscribe":{"channel":""}}"#, json!(3), "channel_name_invalid"),
        (r#"{"id":4,"subscribe":{"channel":"a","since":"x"}}"#, json!(4), "position_invalid"),
        (r#"{"id":5,"subscribe":{"channel":"again"}}"#, json!(5), "already_subscribed"),
        (r#"{"id":6,"publish":{"channel":"a"}}"#, json!(6), "member_missing"),
        (&long, json!(7), "publication_too_large"),
        (&deep, json!(8), "json_too_deep"),
        (r#"{"id":9,"publish":{"channel":"a","data_base64":"!"}}"#, json!(9), "data_invalid"),
    ];
    for (text, id, code) in cases {
        socket.send_text(text);
        let reply = socket.json();
        assert_eq!((&reply["id"], &reply["error"]["code"]), (&id, &json!(code)), "{text}");
        assert!(reply["error"]["message"].as_str().is_some_and(|sentence| sentence.len() > 10), "{reply}");
    }
    socket.send_frame(Opcode::Binary, true, b"{}");
    assert_eq!(socket.json()["error"]["code"], "binary_unsupported");
    assert_eq!(socket.command(&json!({"id":11,"ping":{}})), json!({"id":11,"pong":{}}));
}

#[test]
fn a_thousand_commands_sent_at_once_are_answered_once_each() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/ws");
    let mut bytes = Vec::new();
    for id in 0..1000 {
        let command = match id % 4 {
            0 => json!({"id":id,"ping":{}}),
            1 => json!({"id":id,"publish":{"channel":format!("c{}", id % 7),"data":id}}),
            2 => json!({"id":id,"subscribe":{"channel":format!("s{}", id % 100)}}),
            _ => json!({"id":id,"unsubscribe":{"channel":format!("s{}", (id - 1) % 100)}}),
        };
        bytes.extend(crate::socket::frame(Opcode::Text, true, command.to_string().as_bytes()));
    }
    socket.client.send(bytes);
    let mut answered = vec![0; 1000];
    for _ in 0..1000 {
        let reply = socket.json();
        // An unsubscribe may overtake its subscribe, which is then told so.
        let is_expected = |code: &str| matches!(code, "busy" | "subscription_withdrawn");
        assert!(reply["error"]["code"].as_str().is_none_or(is_expected), "{reply}");
        answered[reply["id"].as_u64().expect("an id") as usize] += 1;
    }
    assert!(answered.iter().all(|count| *count == 1));
}

#[test]
fn a_subscription_ends_with_its_connection() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/ws");
    for (id, channel) in ["a", "b", "c"].into_iter().enumerate() {
        subscribe(&mut socket, id as u32, channel);
    }
    server.await_subscribers("b", 1);
    drop(socket);
    for channel in ["a", "b", "c"] {
        server.await_subscribers(channel, 0);
    }
    let subscriptions: u64 = server.shards().iter().filter_map(|shard| shard["subscriptions"].as_u64()).sum();
    assert_eq!(subscriptions, 0);
}
