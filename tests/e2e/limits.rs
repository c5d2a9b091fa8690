//! The limits that no other file is about: what is answered at each, and the metric that counts it.

use roadstead::limits::NAMESPACES_PER_CLIENT_MAX;
use serde_json::json;

use crate::{
    client::Client,
    permissions::TemporaryFile,
    server::{Server, await_that},
    socket::{Incoming, WebSocket},
    storage::Folder,
};

#[test]
fn a_channel_name_of_the_longest_length_is_taken_and_one_byte_more_is_not() {
    let server = Server::start(&["limits.channel_name_bytes_max=10"]);
    let mut client = server.connect();
    assert_eq!(client.publish(&"n".repeat(10), "x"), 1);
    for (method, target) in [("POST", "/channels/"), ("GET", "/channels/"), ("GET", "/channels/x/../")] {
        let refused = client.request(method, &format!("{target}{}", "n".repeat(11)), "", b"");
        assert!(matches!(refused.status, 400 | 404), "{method} {target}: {}", refused.status);
    }
    let refused = client.request("POST", &format!("/channels/{}", "n".repeat(11)), "", b"x");
    assert_eq!((refused.status, refused.error_code().as_str()), (400, "channel_name_invalid"));
    // Ten characters, twenty bytes.
    assert_eq!(client.request("POST", &format!("/channels/{}", "%C3%A9".repeat(10)), "", b"x").status, 400);
    assert!(server.metric("roadstead_responses_total", "4xx") >= 5.0);
}

#[test]
fn a_publication_beyond_its_size_is_refused_over_every_way_in() {
    let server = Server::start(&["limits.publication_bytes_max=1000"]);
    let mut client = server.connect();
    assert_eq!(client.publish("p", vec![b'x'; 1000]), 1);
    let refused = client.request("POST", "/channels/p", "", &[b'x'; 1001]);
    assert_eq!((refused.status, refused.error_code().as_str()), (413, "publication_too_large"));
    assert_eq!(client.publish("p", "the connection lives on"), 2);
    let mut socket = server.websocket("/channels/p");
    socket.send_text(&"x".repeat(1001));
    assert_eq!(socket.close_code(), Some(1009));
    server.await_metric("roadstead_closed_total", "message_too_big", 1.0);
    assert_eq!(server.metric("roadstead_request_limits_total", "413"), 1.0);
}

#[test]
fn a_connection_follows_so_many_channels_and_no_more_until_it_leaves_one() {
    let server = Server::start(&["limits.subscriptions_per_connection_max=5"]);
    let mut socket = server.websocket("/ws");
    let mut subscribe = |id: u32| socket.command(&json!({"id":id,"subscribe":{"channel":format!("c{id}")}}));
    assert!((0..5).all(|id| subscribe(id).get("subscribed").is_some()));
    assert_eq!(subscribe(5)["error"]["code"], "subscriptions_full");
    socket.command(&json!({"id":6,"unsubscribe":{"channel":"c0"}}));
    let reply = socket.command(&json!({"id":7,"subscribe":{"channel":"c7"}}));
    assert!(reply.get("subscribed").is_some(), "{reply}");
    assert_eq!(server.metric("roadstead_subscriptions", ""), 5.0);
    server.await_metric("roadstead_commands_refused_total", "", 1.0);
}

#[test]
fn channels_beyond_the_limit_are_refused() {
    let server = Server::start(&["limits.channels_max=8"]);
    let mut client = server.connect();
    let mut statuses = Vec::new();
    for number in 0..40 {
        let answer = client.request("POST", &format!("/channels/c{number}"), "", b"x");
        if answer.status == 503 {
            assert_eq!(answer.error_code(), "channels_full");
        }
        statuses.push(answer.status);
    }
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!(taken == 8 && statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert_eq!(server.metric("roadstead_channels", ""), 8.0);
    assert_eq!(server.metric("roadstead_publications_refused_total", ""), 32.0);

    let mut commands = server.websocket("/ws");
    let replies: Vec<_> = (0..10)
        .map(|id| commands.command(&json!({"id":id,"subscribe":{"channel":format!("s{id}")}})))
        .collect();
    assert!(replies.iter().any(|reply| reply["error"]["code"] == "channels_full"), "{replies:?}");
}

#[test]
fn channels_that_have_aged_make_room() {
    let server = Server::start(&["limits.channels_max=8", "limits.history_age_max_ms=300"]);
    let mut client = server.connect();
    let mut publish =
        |channel: &str| client.request("POST", &format!("/channels/{channel}"), "", b"x").status;
    let mut numbers = 0..;
    await_that("there is no room", || {
        let names = numbers.by_ref().take(40).map(|number| format!("c{number}"));
        names.map(|name| publish(&name)).any(|status| status == 503)
    });
    await_that("there is room again", || publish("fresh") == 200);
}

#[test]
fn a_message_beyond_the_limit_of_messages_closes_its_socket() {
    let server = Server::start(&["limits.message_bytes_max=1000"]);
    for target in ["/ws", "/channels/m"] {
        let mut socket = server.websocket(target);
        socket.send_text(&"x".repeat(1001));
        assert_eq!(socket.close_code(), Some(1009), "{target}");
    }
    let mut echo = server.websocket("/echo");
    echo.send_text(&"x".repeat(1001));
    assert_eq!(echo.next(), Incoming::Text("x".repeat(1001)), "diagnostics have a limit of their own");
    server.await_metric("roadstead_closed_total", "message_too_big", 2.0);
}

#[test]
fn requests_sent_far_ahead_of_a_long_poll_wait_for_it_and_are_answered_in_order() {
    // Many times what is kept of a connection's requests: the rest waits where it is, and nothing is lost.
    const COUNT: usize = 10_000;
    let server = Server::start(&["limits.body_bytes_max=20000", "limits.publication_bytes_max=20000"]);
    let mut client = server.connect();
    client.ask("GET", "/channels/wait?timeout=25", "", b"");
    server.await_subscribers("wait", 1);
    let sending = client.send_beside("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(COUNT));
    server.publish("wait", "x");
    assert_eq!(client.response().json()["publications"][0]["data"], "x");
    for number in 0..COUNT {
        assert_eq!(client.response().status, 200, "answer {number}");
    }
    sending.join().expect("everything was sent");
}

#[test]
fn a_client_that_goes_while_requests_wait_behind_its_poll_is_noticed() {
    let server = Server::start(&[]);
    for is_reset in [false, true] {
        let mut client = server.connect();
        client.ask("GET", "/channels/wait?timeout=25", "", b"");
        server.await_subscribers("wait", 1);
        client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000));
        match is_reset {
            true => client.reset(),
            false => drop(client),
        }
        server.await_subscribers("wait", 0);
    }
    await_that("the connections are gone", || server.connections() == 0);
}

#[test]
fn polls_that_are_refused_one_behind_the_other_are_answered_one_after_the_other() {
    const COUNT: usize = 20_000;
    let server = Server::with_shards(1, &["limits.channels_max=1"]);
    let mut client = server.connect();
    client.ask("GET", "/channels/wait?timeout=25", "", b"");
    server.await_subscribers("wait", 1);
    let sending =
        client.send_beside("GET /channels/x?timeout=25 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(COUNT));
    let mut received = [-1.0; 3];
    await_that("the server reads as much as it will", || {
        received.rotate_left(1);
        received[2] = server.metric("roadstead_received_bytes_total", "");
        // What is received between two looks is the question that looks.
        received[2] - received[1] < 1_000.0 && received[1] - received[0] < 1_000.0
    });
    server.publish("wait", "x");
    assert_eq!(client.response().status, 200);
    for number in 0..COUNT {
        assert_eq!(client.response().status, 503, "answer {number}");
    }
    sending.join().expect("everything was sent");
}

#[test]
fn a_client_of_socketio_is_in_so_many_namespaces_and_in_no_more_until_it_leaves_one() {
    let server = Server::with_shards(1, &["socketio.namespaces=/n*"]);
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with("0{"));
    let mut enter = |number: usize| {
        socket.send_text(&format!("40/n{number},"));
        socket.text()
    };
    for number in 0..NAMESPACES_PER_CLIENT_MAX {
        assert!(enter(number).starts_with(&format!("40/n{number},{{")), "{number}");
    }
    let refused = enter(NAMESPACES_PER_CLIENT_MAX);
    assert!(refused.starts_with("44/n") && refused.contains("as many namespaces as it may"), "{refused}");
    socket.send_text("41/n7,");
    socket.send_text("40/more,");
    assert!(socket.text().starts_with("44/more,"), "another name is another matter");
    socket.send_text("40/n-again,");
    assert!(socket.text().starts_with("40/n-again,{"));
}

#[test]
fn more_unanswered_publishes_than_are_remembered_are_refused_as_busy_and_none_is_lost() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/ws");
    let mut bytes = Vec::new();
    for id in 0..3000 {
        let command = json!({"id":id,"publish":{"channel":format!("c{}", id % 16),"data":"x"}}).to_string();
        bytes.extend(crate::socket::frame(
            roadstead::wire::websocket::Opcode::Text,
            true,
            command.as_bytes(),
        ));
    }
    socket.client.send(bytes);
    let (mut published, mut busy) = (0, 0);
    for _ in 0..3000 {
        let reply = socket.json();
        match reply["error"]["code"].as_str() {
            None => published += 1,
            Some("busy") => busy += 1,
            Some(other) => panic!("{other}"),
        }
    }
    assert_eq!(published + busy, 3000);
    assert_eq!(server.metric("roadstead_publications_total", ""), f64::from(published));
}

/// Opens an Engine.IO session that polls: its status, and the path of its requests.
fn handshake(client: &mut Client) -> (u16, String) {
    let response = client.request("GET", "/socket.io/?EIO=4&transport=polling", "", b"");
    let text = response.text();
    let sid = text.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
    (response.status, format!("/socket.io/?EIO=4&transport=polling&sid={sid}"))
}

/// Enters the namespace `/`.
fn enter(client: &mut Client, path: &str) {
    assert_eq!(client.request("POST", path, "", b"40").status, 200);
    assert!(client.request("GET", path, "", b"").text().starts_with("40{"));
}

#[test]
fn one_address_has_as_many_sessions_that_poll_as_it_may_have_connections() {
    let server = Server::with_shards(2, &["limits.connections_per_address_max=4"]);
    let mut client = server.connect();
    let sessions: Vec<_> = (0..4).map(|_| handshake(&mut client)).collect();
    assert!(sessions.iter().all(|(status, _)| *status == 200));
    assert_eq!(handshake(&mut client).0, 429);
    enter(&mut client, &sessions[0].1);
    assert_eq!(handshake(&mut client).0, 429, "one that has entered polls still");
    assert_eq!(client.request("POST", &sessions[1].1, "", b"1").status, 200);
    assert_eq!(handshake(&mut client).0, 200, "one that has ended counts no more");
    assert_eq!(handshake(&mut client).0, 429);
    // Nor does one that a WebSocket carries: that is a connection.
    let mut socket = WebSocket::open(server.connect(), &sessions[0].1.replace("polling", "websocket"), "");
    socket.send_text("2probe");
    assert_eq!(socket.text(), "3probe");
    socket.send_text("5");
    await_that("it has gone over", || handshake(&mut client).0 == 200);
    assert_eq!(handshake(&mut client).0, 429);
}

#[test]
fn sessions_that_nobody_uses_keep_nobody_out() {
    let server = Server::with_shards(1, &["limits.connections_max=8"]);
    let mut client = server.connect();
    let (_, used) = handshake(&mut client);
    enter(&mut client, &used);
    let (_, first) = handshake(&mut client);
    for number in 0..400 {
        assert_eq!(handshake(&mut client).0, 200, "session {number}");
    }
    assert!(server.metric("roadstead_engine_sessions", "") < 300.0, "there are as many as may be");
    assert_eq!(client.request("POST", &first, "", b"40").status, 400, "the oldest have gone");
    // Nor do those that have ended and may be asked for their last words.
    for number in 0..400 {
        let (status, path) = handshake(&mut client);
        assert_eq!(status, 200, "session {number} that ends at once");
        assert_eq!(client.request("POST", &path, "", b"1").status, 200);
    }
    assert_eq!(client.request("POST", &used, "", b"42[\"x\"]").status, 200);
}

#[test]
fn a_room_too_many_is_refused_where_it_was_asked_for() {
    let server = Server::with_shards(2, &["limits.subscriptions_per_connection_max=8"]);
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with("0{"));
    socket.send_text("40");
    assert!(socket.text().starts_with("40{"));
    let mut join = |number: usize| {
        socket.send_text(&format!("42{number}[\"join\",\"r{number}\"]"));
        socket.text()
    };
    for number in 1..8 {
        assert_eq!(join(number), format!("43{number}[{{\"room\":\"r{number}\"}}]"));
    }
    let refused = join(8);
    assert!(refused.starts_with("438[{\"error\":{\"code\":\"subscriptions_full\""), "{refused}");
    assert_eq!(join(7), "437[{\"room\":\"r7\"}]", "it is in already");
    server.await_metric("roadstead_commands_refused_total", "", 1.0);
    socket.send_text("429[\"leave\",\"r1\"]");
    assert!(socket.text().starts_with("439["));
    socket.send_text("4210[\"join\",\"r8\"]");
    assert_eq!(socket.text(), "4310[{\"room\":\"r8\"}]");
}

#[test]
fn json_that_nests_too_deep_is_told_as_such() {
    let server = Server::with_shards(1, &[]);
    let event = format!("42[\"x\",{}{}]", "[".repeat(100), "]".repeat(100));
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    socket.send_text("40");
    assert!(socket.text().starts_with("0{") && socket.text().starts_with("40{"));
    socket.send_text(&event);
    assert_eq!(socket.close_code(), Some(1008));
    server.await_metric("roadstead_closed_total", "nested_too_deep", 1.0);
    let mut client = server.connect();
    let (_, path) = handshake(&mut client);
    enter(&mut client, &path);
    let answer = client.request("POST", &path, "", event.as_bytes());
    assert!(answer.status == 400 && answer.text().contains("64 levels"), "{}", answer.text());
}

#[test]
fn newcomers_are_refused_while_memory_is_scarce_and_whoever_is_there_goes_on() {
    let file = TemporaryFile::holding("memory.toml", "");
    let mut command = Server::command(1, &["127.0.0.1:0"], &[]);
    let server = Server::launch(command.args(["--config", file.path()]));
    let allow = |bytes: u64| {
        let text = format!("[server]\nmemory_max = {bytes}\n");
        std::fs::write(file.path(), text).expect("the file is ours");
        server.signal("HUP");
    };
    let mut socket = server.websocket("/echo");
    allow(1);
    await_that("newcomers are refused", || server.get("/hello").status == 503);
    let refused = server.get("/hello");
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "memory_full"));
    assert_eq!(refused.field("retry-after"), Some("5"));
    socket.send_text("still here");
    assert_eq!(socket.text(), "still here");
    assert_eq!(server.log().matches("memory is scarce").count(), 1, "it is said once");
    assert!(server.metric("roadstead_refused_memory_total", "") >= 2.0);
    assert_eq!(server.connect_admin().request("GET", "/readyz", "", b"").status, 200);
    allow(0);
    await_that("newcomers are let in", || server.get("/hello").status == 200);
}

#[test]
fn a_namespace_keeps_so_many_keys_bytes_and_members_and_for_so_long_as_it_says_itself() {
    let folder = Folder::new("namespaces");
    let rights = ["subscribe", "publish", "presence", "history", "state", "set_state", "enter"];
    let anyone: String = rights.iter().map(|right| format!("{right} = \"anyone\"\n")).collect();
    let namespace =
        |pattern: &str, own: &str| format!("[[namespace]]\npattern = \"{pattern}\"\n{own}\n{anyone}");
    let own =
        "state_keys_max = 1\nstate_channel_bytes_max = 20\npresence_members_max = 1\ndurability = \"memory\"";
    let text = [
        format!("[storage]\npath = \"{}\"\nwritten = [\"**\"]\n", folder.0.display()),
        namespace("small:*", own),
        namespace("kept:*", "durability = \"synced\""),
        namespace("**", ""),
    ];
    let file = TemporaryFile::holding("namespace-limits.toml", &text.concat());
    let start = || Server::launch(Server::command(2, &["127.0.0.1:0"], &[]).args(["--config", file.path()]));
    let server = start();
    let set = |channel: &str, key: &str, value: &str| {
        let target = format!("/channels/{channel}/state/{key}");
        let answer = server.connect().request("PUT", &target, "", value.as_bytes());
        if answer.status < 300 { Ok(()) } else { Err(answer.error_code()) }
    };
    assert_eq!(set("small:a", "k", "1"), Ok(()));
    assert_eq!(set("small:a", "l", "1"), Err("state_keys_full".into()));
    assert_eq!(set("small:a", "k", &"1".repeat(20)), Err("state_channel_full".into()));
    assert_eq!(
        set("small:b", "k", &"1".repeat(20)),
        Err("state_channel_full".into()),
        "one that is not there yet"
    );
    assert_eq!((set("wide:a", "k", &"1".repeat(20)), set("wide:a", "l", "1")), (Ok(()), Ok(())));
    let mut guests = [(); 2].map(|()| server.websocket("/ws"));
    let mut enter =
        |guest: usize, channel: &str| guests[guest].command(&json!({"id":1,"enter":{"channel":channel}}));
    for channel in ["small:a", "wide:a", "wide:b"] {
        assert!(enter(0, channel)["entered"].is_object(), "{channel}");
    }
    assert_eq!(enter(1, "small:a")["error"]["code"], "members_full");
    assert!(enter(1, "wide:a")["entered"].is_object());
    for channel in ["small:b", "wide:c", "kept:a"] {
        server.publish(channel, "x");
    }
    drop(guests);
    server.stop();
    let server = start();
    let kept = ["small:b", "wide:c", "kept:a"].map(|channel| {
        let history = server.get(&format!("/channels/{channel}/history")).json();
        history["publications"].as_array().expect("a list").len()
    });
    assert_eq!(kept, [0, 1, 1]);
}
