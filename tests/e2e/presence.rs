//! Who is present in channels, in every tongue, over two shards.

use serde_json::{Value, json};

use crate::{
    permissions::TemporaryFile,
    server::{Server, await_that},
    socket::WebSocket,
    stream::EventStream,
    tokens,
};

fn server(settings: &[&str]) -> Server {
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let open = [&*secret, "read.open=true", "publish.open=true"];
    Server::start(&[&open, settings].concat())
}

/// A `/ws` of this user, of whom others may know this.
pub fn user(server: &Server, name: &str, info: Option<Value>) -> WebSocket {
    let mut claims = json!({ "sub": name });
    if let Some(info) = info {
        claims["info"] = info;
    }
    let fields = format!("Authorization: Bearer {}\r\n", tokens::make(&claims));
    WebSocket::open(server.connect(), "/ws", &fields)
}

#[track_caller]
pub fn enter(socket: &mut WebSocket, channel: &str) -> Value {
    let entered = socket.command(&json!({"id":1,"enter":{"channel":channel}}))["entered"].clone();
    assert_eq!(entered["channel"], channel);
    entered
}

pub fn presence(server: &Server, channel: &str) -> Value {
    server.get(&format!("/channels/{channel}/presence")).json()
}

fn channels() -> impl Iterator<Item = String> {
    (0..6).map(|number| format!("room-{number}"))
}

#[test]
fn members_enter_say_who_they_are_and_leave_and_users_are_counted_apart_from_connections() {
    let server = server(&["limits.presence_grace_ms=60000"]);
    for channel in channels() {
        let mut anna = user(&server, "anna", Some(json!({"name":"Anna"})));
        assert_eq!(enter(&mut anna, &channel)["user"], "anna");
        let mut follower = server.websocket("/ws");
        follower.command(&json!({"id":1,"subscribe":{"channel":channel,"presence":true}}));
        let first = follower.json()["presence"].clone();
        let members = json!([{"user":"anna","info":{"name":"Anna"},"connections":1}]);
        assert_eq!(
            (&first["members"], &first["offset"], &first["more"]),
            (&members, &json!(1), &json!(false))
        );
        let mut stream = EventStream::open(server.connect(), &channel, "", "");
        server.await_subscribers(&channel, 2);

        let mut guest = server.websocket("/ws");
        let told =
            guest.command(&json!({"id":1,"enter":{"channel":channel,"info":{"n":1}}}))["entered"].clone();
        let name = told["guest"].as_str().expect("a guest has a name");
        let push = follower.json()["enter"].clone();
        assert_eq!(
            (&push["guest"], &push["info"], &push["offset"]),
            (&json!(name), &json!({"n":1}), &json!(2))
        );
        guest.command(&json!({"id":2,"enter":{"channel":channel,"info":{"n":2}}}));
        assert_eq!(follower.json()["update"]["info"], json!({"n":2}));
        let mut again = user(&server, "anna", Some(json!({"name":"Anna"})));
        enter(&mut again, &channel);
        let page = presence(&server, &channel);
        assert_eq!(
            (&page["users"], &page["guests"], &page["connections"]),
            (&json!(1), &json!(1), &json!(3))
        );
        assert_eq!(follower.command(&json!({"id":5,"presence":{"channel":channel}}))["presence"], page);

        guest.command(&json!({"id":3,"leave":{"channel":channel}}));
        assert_eq!(follower.json()["leave"]["guest"], name);
        anna.command(&json!({"id":4,"leave":{"channel":channel}}));
        drop(anna);
        again.command(&json!({"id":4,"leave":{"channel":channel}}));
        assert_eq!(follower.json()["leave"]["user"], "anna", "who leaves is not waited for");
        assert_eq!(presence(&server, &channel)["members"], json!([]));
        let names: Vec<_> = (0..4).map(|_| stream.event().name.expect("each has a name")).collect();
        assert_eq!(names, ["enter", "update", "leave", "leave"]);
    }
    await_that("nobody is left", || server.metric("roadstead_members", "") == 0.0);
}

#[test]
fn a_connection_that_breaks_takes_a_guest_at_once_and_a_user_may_come_back() {
    let server = server(&["limits.presence_grace_ms=60000"]);
    let mut follower = server.websocket("/ws");
    follower.command(&json!({"id":1,"subscribe":{"channel":"room"}}));
    let (mut bob, mut guest) = (user(&server, "bob", None), server.websocket("/ws"));
    enter(&mut bob, "room");
    enter(&mut guest, "room");
    assert_eq!(follower.json()["enter"]["user"], "bob");
    let name = follower.json()["enter"]["guest"].clone();
    drop((bob, guest));
    assert_eq!(follower.json()["leave"]["guest"], name);
    let mut bob = user(&server, "bob", None);
    enter(&mut bob, "room");
    await_that("he is counted again", || presence(&server, "room")["connections"] == 1);
    server.publish("room", "nobody has left");
    assert_eq!(follower.json()["push"]["data"], "nobody has left");
}

#[test]
fn a_user_who_does_not_come_back_leaves_once_the_grace_is_over_though_nothing_else_happens() {
    let server = server(&["limits.presence_grace_ms=50"]);
    let mut follower = server.websocket("/ws");
    follower.command(&json!({"id":1,"subscribe":{"channel":"room"}}));
    let mut bob = user(&server, "bob", None);
    enter(&mut bob, "room");
    assert_eq!(follower.json()["enter"]["user"], "bob");
    drop(bob);
    assert_eq!(follower.json()["leave"]["user"], "bob");
}

#[test]
fn what_a_token_says_of_its_user_is_not_said_otherwise_and_too_much_is_refused() {
    let server = server(&["limits.presence_members_max=1", "limits.subscriptions_per_connection_max=1"]);
    let mut anna = user(&server, "anna", Some(json!({"name":"Anna"})));
    let command = json!({"id":1,"enter":{"channel":"room","info":{"name":"Eve"}}});
    assert_eq!(anna.command(&command)["error"]["code"], "info_forbidden");
    let mut guest = server.websocket("/ws");
    let command = json!({"id":1,"enter":{"channel":"room","info":"x".repeat(1023)}});
    assert_eq!(guest.command(&command)["error"]["code"], "info_too_large");
    enter(&mut anna, "room");
    let command = json!({"id":1,"enter":{"channel":"room"}});
    assert_eq!(guest.command(&command)["error"]["code"], "members_full");
    enter(&mut guest, "other");
    let command = json!({"id":2,"enter":{"channel":"third"}});
    assert_eq!(guest.command(&command)["error"]["code"], "entered_full");
}

#[test]
fn pages_of_members_go_on_behind_the_last() {
    let server = server(&[]);
    let mut sockets: Vec<_> = (0..5).map(|number| user(&server, &format!("user-{number}"), None)).collect();
    sockets.iter_mut().for_each(|socket| drop(enter(socket, "room")));
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/channels/room/presence?limit=2&after={after}")).json();
        assert_eq!(page["users"], 5);
        let members = page["members"].as_array().expect("a list");
        seen.extend(members.iter().map(|one| one["user"].as_str().expect("a user").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (0..5).map(|number| format!("user-{number}")).collect::<Vec<_>>());
    let unused = presence(&server, "unused");
    assert_eq!((&unused["position"], &unused["members"]), (&Value::Null, &json!([])));
}

#[test]
fn a_guest_that_shows_a_token_and_enters_again_is_one_member_and_leaves_nobody_behind() {
    let server = server(&["limits.presence_grace_ms=50"]);
    for channel in channels() {
        let mut follower = server.websocket("/ws");
        follower.command(&json!({"id":1,"subscribe":{"channel":channel}}));
        let mut socket = server.websocket("/ws");
        let guest = enter(&mut socket, &channel)["guest"].clone();
        let token = tokens::make(&json!({ "sub": "anna" }));
        socket.command(&json!({"id":2,"connect":{"token":token}}));
        assert_eq!(enter(&mut socket, &channel)["user"], "anna");
        assert_eq!(follower.json()["enter"]["guest"], guest);
        assert_eq!(follower.json()["leave"]["guest"], guest);
        assert_eq!(follower.json()["enter"]["user"], "anna");
        drop(socket);
        assert_eq!(follower.json()["leave"]["user"], "anna");
        assert_eq!(presence(&server, &channel)["members"], json!([]));
    }
}

#[test]
fn an_entry_that_is_refused_takes_nobody_away_and_leaves_nobody_behind() {
    let server = server(&["limits.presence_members_max=1"]);
    for channel in channels() {
        let mut anna = user(&server, "anna", None);
        enter(&mut anna, &channel);
        let mut bob = user(&server, "bob", None);
        // None of these waits for the answer to the one before.
        bob.send_text(&json!({"id":1,"enter":{"channel":channel}}).to_string());
        bob.send_text(&json!({"id":2,"leave":{"channel":channel}}).to_string());
        bob.send_text(&json!({"id":3,"enter":{"channel":channel}}).to_string());
        let codes: Vec<_> = (0..3).map(|_| bob.json()["error"]["code"].clone()).collect();
        assert_eq!(codes.iter().filter(|code| **code == "members_full").count(), 2, "{codes:?}");
        anna.command(&json!({"id":2,"leave":{"channel":channel}}));
        enter(&mut bob, &channel);
        assert_eq!(presence(&server, &channel)["users"], 1);
        bob.command(&json!({"id":4,"leave":{"channel":channel}}));
        assert_eq!(presence(&server, &channel)["members"], json!([]), "{channel}");
    }
}

#[test]
fn a_token_that_does_not_let_its_user_enter_any_more_ends_its_presence() {
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let server = Server::start(&[&secret]);
    let token = |enter: Value| tokens::make(&json!({"sub":"anna","allow":{"enter":enter,"presence":["**"]}}));
    let fields = format!("Authorization: Bearer {}\r\n", token(json!(["a", "b"])));
    let mut anna = WebSocket::open(server.connect(), "/ws", &fields);
    enter(&mut anna, "a");
    enter(&mut anna, "b");
    let refreshed = anna.command(&json!({"id":2,"refresh":{"token":token(json!(["b"]))}}));
    assert_eq!(refreshed["refreshed"]["user"], "anna", "{refreshed}");
    assert_eq!(anna.json(), json!({"ended":{"channel":"a","code":"enter_forbidden"}}));
    let users = |anna: &mut WebSocket, channel: &str| {
        anna.command(&json!({"id":3,"presence":{"channel":channel}}))["presence"]["users"].clone()
    };
    assert_eq!((users(&mut anna, "a"), users(&mut anna, "b")), (json!(0), json!(1)));
}

/// A Socket.IO client on a WebSocket, in the namespace `/`.
fn socketio(server: &Server) -> WebSocket {
    socketio_with(server, "")
}

/// One that says this of itself.
fn socketio_with(server: &Server, auth: &str) -> WebSocket {
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with('0'));
    socket.send_text(&format!("40{auth}"));
    assert!(socket.text().starts_with("40"));
    socket
}

/// Sends an event and waits for its acknowledgement; what comes before it.
fn ask(socket: &mut WebSocket, event: &str) -> Vec<String> {
    socket.send_text(&format!("421{event}"));
    let mut before = Vec::new();
    loop {
        let packet = socket.text();
        if packet.starts_with("431") {
            return before;
        }
        before.push(packet);
    }
}

#[test]
fn who_is_in_a_room_of_socket_io_is_a_member_of_its_channel() {
    let server = Server::start(&["socketio.members=true"]);
    for room in ["lobby-1", "lobby-2", "lobby-3", "lobby-4"] {
        let count = |what: &str| server.get(&format!("/channels/{room}/presence")).json()[what].as_u64();
        let mut watcher = server.websocket("/ws");
        watcher.command(&json!({"id":1,"subscribe":{"channel":room}}));
        let (mut one, mut two) = (socketio(&server), socketio(&server));
        ask(&mut one, &format!("[\"join\",\"{room}\"]"));
        let entered = watcher.json();
        assert!(entered["enter"]["guest"].is_string(), "{entered}");
        ask(&mut two, &format!("[\"join\",\"{room}\"]"));
        assert!(watcher.json()["enter"]["guest"].is_string());
        assert_eq!((count("guests"), count("connections")), (Some(2), Some(2)));
        // It is told of the other, and that it is there itself.
        let heard = ask(&mut one, "[\"presence\",\"x\"]").concat();
        assert!(heard.contains("\"enter\""), "{heard}");
        ask(&mut one, &format!("[\"leave\",\"{room}\"]"));
        assert_eq!(watcher.json()["leave"]["guest"], entered["enter"]["guest"]);
        drop(two);
        assert!(watcher.json()["leave"]["guest"].is_string());
        assert_eq!((count("guests"), count("connections")), (Some(0), Some(0)));
    }
    let plain = Server::start(&[]);
    let mut one = socketio(&plain);
    ask(&mut one, "[\"join\",\"lobby\"]");
    assert_eq!(plain.get("/channels/lobby/presence").json()["guests"], 0);
}

#[test]
fn a_socket_whose_new_token_does_not_let_it_enter_any_more_is_a_member_no_longer_and_stays_in_the_room() {
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let server = Server::start(&[&secret, "socketio.members=true"]);
    let token = |enter: Value| {
        let allow = json!({"enter":enter,"subscribe":["**"],"publish":["**"]});
        tokens::make(&json!({"sub":"anna","allow":allow}))
    };
    let fields = format!("Authorization: Bearer {}\r\n", token(json!([])));
    for (a, b) in [("a-1", "b-1"), ("a-2", "b-2"), ("a-3", "b-3")] {
        let mut watchers = [a, b].map(|room| {
            let mut watcher = WebSocket::open(server.connect(), "/ws", &fields);
            watcher.command(&json!({"id":1,"subscribe":{"channel":room}}));
            watcher
        });
        let auth = json!({"token":token(json!([a, b]))});
        let mut anna = socketio_with(&server, &auth.to_string());
        for (room, watcher) in [a, b].iter().zip(&mut watchers) {
            ask(&mut anna, &format!("[\"join\",\"{room}\"]"));
            assert_eq!(watcher.json()["enter"]["user"], "anna");
        }
        let refresh = json!(["refresh", token(json!([b]))]);
        ask(&mut anna, &refresh.to_string());
        assert_eq!(watchers[0].json()["leave"]["user"], "anna");
        for (room, watcher) in [a, b].iter().zip(&mut watchers) {
            let heard = ask(&mut anna, &format!("[\"publish\",\"{room}\",\"news\"]"));
            assert_eq!(watcher.json()["push"]["channel"], *room, "nobody else has left");
            drop(heard);
        }
    }
}

#[test]
fn event_streams_begin_with_who_is_there_and_what_cannot_says_so() {
    let server = server(&[]);
    for channel in channels() {
        let mut anna = user(&server, "anna", Some(json!({"name":"Anna"})));
        enter(&mut anna, &channel);
        let members = json!([{"user":"anna","info":{"name":"Anna"},"connections":1}]);
        let one = format!("/channels/{channel}?presence=true");
        let several = format!("/events?channel={channel}&channel=other&presence=true");
        let mut streams = [&one, &several].map(|target| EventStream::open_at(server.connect(), target, ""));
        let page = |stream: &mut EventStream, of: &str| loop {
            let event = stream.event();
            assert_eq!(event.name.as_deref(), Some("presence"), "{event:?}");
            let page: Value = serde_json::from_str(&event.data.expect("a page")).expect("JSON");
            if page["channel"] == of {
                return page;
            }
        };
        for stream in &mut streams {
            let page = page(stream, &channel);
            assert_eq!(
                (&page["members"], &page["users"], &page["more"]),
                (&members, &json!(1), &json!(false))
            );
        }
        server.await_subscribers(&channel, 2);
        let mut bob = user(&server, "bob", None);
        enter(&mut bob, &channel);
        assert_eq!(streams[0].event().name.as_deref(), Some("enter"));
        // One that has missed something it cannot be told is shown again who is there.
        let mut back = EventStream::open_at(server.connect(), &one, "Last-Event-ID: 1:1\r\n");
        assert_eq!(back.event().name.as_deref(), Some("reset"));
        let mut names = Vec::new();
        let shown = loop {
            let event = back.event();
            match event.name.as_deref() {
                Some("presence") => break event.data.expect("a page"),
                name => names.push(name.map(str::to_owned)),
            }
        };
        assert!(names.iter().all(|name| name.as_deref() == Some("enter")), "{names:?}");
        assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON")["users"], 2);
        for target in [one, several] {
            let poll = server.get(&format!("{target}&timeout=0"));
            assert_eq!((poll.status, &*poll.error_code()), (400, "parameter_unsupported"));
        }
    }
    let misspelt = server.get("/channels/x?presence=yes");
    assert_eq!((misspelt.status, &*misspelt.error_code()), (400, "member_invalid"));
}

#[test]
fn beyond_so_many_members_followers_in_every_tongue_are_told_how_many_and_it_adds_up() {
    let server = server(&["limits.presence_events_members_max=1"]);
    let mut follower = server.websocket("/ws");
    follower.command(&json!({"id":1,"subscribe":{"channel":"room"}}));
    let mut stream = EventStream::open(server.connect(), "room", "", "");
    server.await_subscribers("room", 2);
    let mut members: Vec<_> = (0..4).map(|n| user(&server, &format!("user-{n}"), None)).collect();
    members.iter_mut().for_each(|member| drop(enter(member, "room")));
    members.iter_mut().for_each(|member| drop(member.command(&json!({"id":2,"leave":{"channel":"room"}}))));
    // One by one up to the threshold and below it; in between they are counted.
    let (mut pushed, mut streamed) = ((0, 0), (0, 0));
    let add = |told: &mut (i64, i64), kind: &str, said: &Value| {
        let number = |name: &str| said[name].as_i64().expect("a number");
        match kind {
            "enter" => told.0 += 1,
            "leave" => told.1 += 1,
            "presence" => {
                *told = (told.0 + number("joined"), told.1 + number("left"));
                assert_eq!(told.0 - told.1, number("users") + number("guests"), "{said}");
            }
            other => panic!("{other} {said}"),
        }
    };
    while pushed != (4, 4) {
        let push = follower.json();
        let (kind, said) = push.as_object().expect("an object").iter().next().expect("one member");
        add(&mut pushed, kind, said);
    }
    while streamed != (4, 4) {
        let event = stream.event();
        let said = serde_json::from_str(&event.data.expect("data")).expect("JSON");
        add(&mut streamed, &event.name.expect("a name"), &said);
    }
}

#[test]
fn what_others_are_told_of_a_member_is_left_to_tokens_where_a_namespace_says_so() {
    let namespace = |pattern: &str, more: &str| {
        format!("[[namespace]]\npattern = \"{pattern}\"\nenter = \"anyone\"\npresence = \"anyone\"\n{more}\n")
    };
    let text = [
        format!("[auth]\nhs256_keys = [\"{}\"]\n", tokens::SECRET),
        namespace("said:*", ""),
        namespace("true:*", "member_info = \"token\""),
    ];
    let file = TemporaryFile::holding("member-info.toml", &text.concat());
    let server = Server::launch(Server::command(2, &["127.0.0.1:0"], &[]).args(["--config", file.path()]));
    let mut guest = server.websocket("/ws");
    let mut say =
        |channel: &str| guest.command(&json!({"id":1,"enter":{"channel":channel,"info":{"name":"Anna"}}}));
    assert!(say("said:a")["entered"].is_object());
    assert_eq!(say("true:a")["error"]["code"], "info_forbidden");
    enter(&mut guest, "true:a");
    let mut anna = user(&server, "anna", Some(json!({"name":"Anna"})));
    enter(&mut anna, "true:b");
    assert_eq!(presence(&server, "true:b")["members"][0]["info"], json!({"name":"Anna"}));
    assert_eq!(presence(&server, "true:a")["members"][0]["info"], Value::Null);
    let mut unnamed = user(&server, "bob", None);
    let told = unnamed.command(&json!({"id":1,"enter":{"channel":"true:b","info":{"name":"Anna"}}}));
    assert_eq!(told["error"]["code"], "info_forbidden");
}
