//! Under which names the server answers.

use crate::{client::Client, server::Server, socket::handshake_fields};

/// A GET under a name; its status and body.
#[track_caller]
fn get(mut client: Client, target: &str, host: &str, fields: &str) -> (u16, String) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
    let response = client.response();
    (response.status, response.text())
}

#[test]
fn a_page_that_gives_its_name_this_address_reads_and_follows_nothing() {
    let server = Server::start(&[]);
    server.publish("secret", "x");
    let polling = "/socket.io/?EIO=4&transport=polling";
    let upgrade = handshake_fields();
    for (target, fields) in [
        ("/channels/secret/history", ""),
        ("/channels", ""),
        ("/hello", ""),
        ("/nothing", ""),
        (polling, ""),
        ("/ws", &upgrade),
        ("/channels/secret", &upgrade),
    ] {
        for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "0.0.0.0:8080"] {
            // For its browser both are one origin.
            let fields = format!("Origin: http://{host}\r\n{fields}");
            let (status, body) = get(server.connect(), target, host, &fields);
            assert_eq!(status, 421, "{target} of {host}: {body}");
            assert!(body.contains("server.allowed_hosts") && !body.contains("offset"), "{body}");
        }
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "app.localhost"] {
        assert_eq!(get(server.connect(), "/channels/secret/history", host, "").0, 200, "{host}");
    }
    let mut old = server.connect();
    old.send("GET /hello HTTP/1.0\r\n\r\n");
    assert_eq!(old.response().status, 200, "a client of HTTP/1.0 needs no host");
}

#[test]
fn the_admin_listener_answers_to_names_of_this_machine_only() {
    let server = Server::start(&[]);
    assert_eq!(get(server.connect_admin(), "/metrics", "evil.example", "").0, 421);
    assert_eq!(get(server.connect_admin(), "/config", "evil.example:8081", "").0, 421);
    assert_eq!(get(server.connect_admin(), "/metrics", "localhost:8081", "").0, 200);
}

#[test]
fn listed_names_are_answered_to_as_well() {
    let server = Server::start(&["server.allowed_hosts=chat.example,*.example.org"]);
    for (host, status) in [
        ("chat.example", 200),
        ("Chat.Example:443", 200),
        ("a.example.org", 200),
        ("example.org", 421),
        ("other.example", 421),
        ("localhost", 200),
    ] {
        assert_eq!(get(server.connect(), "/channels", host, "").0, status, "{host}");
    }
    drop(server);
    let server = Server::start(&["server.allowed_hosts=*"]);
    assert_eq!(get(server.connect(), "/channels", "any.example", "").0, 200);
}

#[test]
fn over_a_unix_socket_every_name_is_answered_to() {
    let path = std::env::temp_dir().join(format!("roadstead-hosts-{}.sock", std::process::id()));
    let path = path.to_str().expect("a path is text");
    let listen = format!("unix:{path}");
    let server = Server::launch(&mut Server::command(1, &[&listen], &[]));
    assert_eq!(get(Client::connect_unix(path), "/channels", "chat.example", "").0, 200);
    drop(server);
}
