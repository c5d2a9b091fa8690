//! What goes from one version to the next besides channels: who is shut out, and who is present.

use serde_json::{Value, json};

use crate::{
    presence::{enter, presence, user},
    server::{Server, await_that},
    storage::Folder,
    tokens::{SECRET, make},
    upgrade::Installed,
};

/// Shuts somebody out.
fn shut_out(server: &Server, who: &Value) {
    let (json, body) = ("Content-Type: application/json\r\n", who.to_string());
    let answer = server.connect_admin().request("POST", "/auth/revoke", json, body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// What becomes of requests with a token; connections go to either shard.
fn statuses(server: &Server, token: &str) -> Vec<u16> {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let ask = |_| server.connect().request("GET", "/channels/news/history", &bearer, b"").status;
    let mut statuses: Vec<_> = (0..12).map(ask).collect();
    statuses.dedup();
    statuses
}

#[test]
fn who_was_shut_out_stays_out_behind_a_restart_where_something_outlives_the_process() {
    let folder = Folder::new("shut-out");
    let (path, secret) =
        (format!("storage.path={}", folder.0.display()), format!("auth.hs256_keys={SECRET}"));
    let start = || Server::start(&[&path, &secret]);
    let allow = json!({"history": ["news"]});
    let of_user = make(&json!({"allow": allow}));
    let by_name = make(&json!({"sub": "43", "jti": "t", "allow": allow}));
    let of_another = make(&json!({"sub": "44", "jti": "u", "allow": allow}));
    let server = start();
    for token in [&of_user, &by_name, &of_another] {
        assert_eq!(statuses(&server, token), [200]);
    }
    shut_out(&server, &json!({"user": "42"}));
    shut_out(&server, &json!({"token": "t"}));
    server.stop();
    let mut server = start();
    assert_eq!((statuses(&server, &of_user), statuses(&server, &by_name)), (vec![401], vec![401]));
    assert_eq!(statuses(&server, &of_another), [200]);
    // A moment later it is on disk.
    let written = || server.metric("roadstead_storage_commits_total", "");
    let before = written();
    shut_out(&server, &json!({"user": "44"}));
    await_that("it is written", || written() > before);
    server.signal("KILL");
    server.wait();
    let server = start();
    for token in [&of_user, &by_name, &of_another] {
        assert_eq!(statuses(&server, token), [401]);
    }
}

#[test]
fn who_was_shut_out_stays_out_when_another_version_serves_and_when_that_crashes() {
    let installed = Installed::new();
    let secret = format!("auth.hs256_keys={SECRET}");
    let server = installed.serve(&[&secret]);
    let allow = json!({"history": ["news"]});
    let of_user = make(&json!({"allow": allow}));
    let by_name = make(&json!({"sub": "43", "jti": "t", "allow": allow}));
    let of_another = make(&json!({"sub": "44", "jti": "u", "allow": allow}));
    let statuses = |token: &str| statuses(&server, token);
    for token in [&of_user, &by_name, &of_another] {
        assert_eq!(statuses(token), [200]);
    }
    shut_out(&server, &json!({"user": "42"}));
    shut_out(&server, &json!({"token": "t"}));
    for next in [Server::succeeded, Server::succeeded, Server::crash, Server::crash] {
        next(&server);
        assert_eq!((statuses(&of_user), statuses(&by_name)), (vec![401], vec![401]));
        assert_eq!(statuses(&of_another), [200]);
    }
}

/// What the followers of a channel have been told of its members, in order.
fn told(server: &Server, channel: &str) -> Vec<String> {
    let history = server.get(&format!("/channels/{channel}/history")).json();
    let all = history["publications"].as_array().expect("a list").iter();
    all.map(|one| format!("{} {}", one["kind"].as_str().unwrap_or("-"), one["user"].as_str().unwrap_or("-")))
        .collect()
}

fn server_with_users(installed: &Installed, grace_ms: u32) -> Server {
    let secret = format!("auth.hs256_keys={SECRET}");
    let grace = format!("limits.presence_grace_ms={grace_ms}");
    let server = installed.serve(&[&secret, &grace, "read.open=true", "publish.open=true"]);
    // Whoever is connected comes back.
    installed.install_forgetful();
    server
}

#[test]
fn who_is_present_and_comes_back_has_never_left() {
    let installed = Installed::new();
    let server = server_with_users(&installed, 600_000);
    let rooms: Vec<_> = (0..4).map(|number| format!("room-{number}")).collect();
    let mut sockets = ["anna", "bob"].map(|name| user(&server, name, Some(json!({"name": name}))));
    for socket in &mut sockets {
        rooms.iter().for_each(|room| _ = enter(socket, room));
    }
    server.succeeded();
    let mut anna = user(&server, "anna", Some(json!({"name": "anna"})));
    for room in &rooms {
        enter(&mut anna, room);
        assert_eq!(told(&server, room), ["enter anna", "enter bob"], "{room}");
        let members = json!([
            {"user": "anna", "info": {"name": "anna"}, "connections": 1},
            {"user": "bob", "info": {"name": "bob"}, "connections": 0},
        ]);
        assert_eq!(presence(&server, room)["members"], members);
        anna.command(&json!({"id": 2, "leave": {"channel": room}}));
        await_that("she has left", || told(&server, room).len() > 2);
        assert_eq!(told(&server, room), ["enter anna", "enter bob", "leave anna"], "{room}");
    }
}

#[test]
fn who_is_present_and_does_not_come_back_leaves_once() {
    let installed = Installed::new();
    let server = server_with_users(&installed, 1);
    let mut bob = user(&server, "bob", None);
    let rooms: Vec<_> = (0..4).map(|number| format!("room-{number}")).collect();
    rooms.iter().for_each(|room| _ = enter(&mut bob, room));
    for _ in 0..2 {
        server.succeeded();
        for room in &rooms {
            await_that("he leaves", || told(&server, room).len() > 1);
            assert_eq!(told(&server, room), ["enter bob", "leave bob"], "{room}");
        }
    }
}
