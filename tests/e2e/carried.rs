//! What goes from one version to the next besides channels: who is shut out.

use serde_json::json;

use crate::{
    server::Server,
    tokens::{SECRET, make},
    upgrade::Installed,
};

/// Shuts somebody out.
fn shut_out(server: &Server, who: &serde_json::Value) {
    let (json, body) = ("Content-Type: application/json\r\n", who.to_string());
    let answer = server.connect_admin().request("POST", "/auth/revoke", json, body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
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
    // Connections go to either shard.
    let statuses = |token: &str| {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let ask = |_| server.connect().request("GET", "/channels/news/history", &bearer, b"").status;
        let mut statuses: Vec<_> = (0..12).map(ask).collect();
        statuses.dedup();
        statuses
    };
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
