//! Where a server listens, and what it says when it cannot.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    os::unix::net::UnixStream,
};

use crate::{
    client::{Client, greet_all},
    server::{SOON, Server, await_that, program},
    socket::WebSocket,
    stream::EventStream,
};

/// Starts a program that must refuse to serve; what it said, and its code.
#[track_caller]
fn refused(arguments: &[&str]) -> (String, i32) {
    let mut command = program();
    command.args(["--admin", "127.0.0.1:0", "--shards", "1"]).args(arguments);
    let output = command.output().expect("the program can be started");
    let told = String::from_utf8(output.stderr).expect("errors are text");
    (told, output.status.code().expect("it ended by itself"))
}

#[test]
fn one_server_listens_on_ipv4_ipv6_and_a_unix_socket_at_once() {
    let path = std::env::temp_dir().join(format!("roadstead-e2e-{}.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    // Containers often have no IPv6; another IPv4 address takes its place there.
    let second = if TcpListener::bind("[::1]:0").is_ok() { "[::1]:0" } else { "127.0.0.2:0" };
    let listen = ["127.0.0.1:0", second, &unix];
    let server = Server::launch(&mut Server::command(2, &listen, &[]));
    assert_eq!(server.listening.len(), 3, "{:?}", server.listening);
    assert!(
        server.listening[1].starts_with(second.trim_end_matches('0')) && server.listening[2] == unix,
        "{:?}",
        server.listening
    );

    let over_second = || Client::connect(server.listening[1].parse().expect("an address"));
    let over_unix = || Client::connect_unix(path.to_str().expect("a plain path"));
    let mut by_first = server.websocket("/channels/all");
    let mut by_second = WebSocket::open(over_second(), "/channels/all", "");
    let mut by_unix = EventStream::open(over_unix(), "all", "", "");
    server.await_subscribers("all", 3);
    for (mut publisher, data) in [
        (over_unix(), "from a file"),
        (over_second(), "from the second"),
        (server.connect(), "from the first"),
    ] {
        publisher.publish("all", data);
        assert_eq!(
            (by_first.text(), by_second.text(), by_unix.data()),
            (data.into(), data.into(), data.into())
        );
    }
    // Connections over a Unix socket all come to one shard unless they are spread by hand; all are served.
    let mut clients: Vec<_> = (0..50).map(|_| over_unix()).collect();
    greet_all(&mut clients);
    drop((by_first, by_second, by_unix, clients));
    server.stop();
    assert!(!path.exists(), "the socket's file goes with the server");
}

#[test]
fn an_ipv6_address_takes_ipv4_as_well_if_it_is_to_and_knows_those_clients_by_their_own() {
    if TcpListener::bind("[::]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let settings = [
        "server.ipv6_only=false",
        "limits.connections_per_address_max=1",
        "log.access=all",
        "read.open=true",
        "publish.open=false",
    ];
    let server = Server::launch(&mut Server::command(1, &["[::]:0"], &settings));
    let port = server.address().port();
    let mut by_ipv6 = Client::connect(([0, 0, 0, 0, 0, 0, 0, 1], port).into());
    let mut by_ipv4 = Client::connect(([127, 0, 0, 1], port).into());
    for client in [&mut by_ipv6, &mut by_ipv4] {
        assert_eq!(client.request("GET", "/channels/a/info", "", b"").status, 200);
    }
    await_that("both are told by their own addresses", || {
        let log = server.log();
        log.contains("[::1]:") && log.contains("127.0.0.1:") && !log.contains("::ffff:")
    });
    drop((by_ipv4, by_ipv6));
}

#[test]
fn over_a_unix_socket_the_end_of_a_client_is_seen_that_came_with_its_last_request() {
    let path = std::env::temp_dir().join(format!("roadstead-e2e-end-{}.sock", std::process::id()));
    let listen = ["127.0.0.1:0", &format!("unix:{}", path.display())];
    let server = Server::launch(&mut Server::command(1, &listen, &[]));
    let mut client = UnixStream::connect(&path).expect("the server accepts connections");
    client.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    // It finds both at once: of a Unix socket the kernel does not say that something more is behind what was received.
    server.pause(|| {
        client.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("there is room");
        client.shutdown(Shutdown::Write).expect("it is connected");
    });
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it is let go");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn an_address_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let (told, code) = refused(&["--listen", &address]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains(&address) && told.contains("in use"), "{told}");
}

#[test]
fn a_host_that_nobody_knows_is_named_with_what_to_do() {
    let (told, code) = refused(&["--listen", "nobody.invalid:0"]);
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("nobody.invalid has no address") && told.contains("/etc/hosts"), "{told}");
}

#[test]
fn beyond_loopback_reading_and_publishing_must_be_decided() {
    let (told, code) = refused(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, 2, "{told}");
    for way in ["[[namespace]]", "read.open = true", "read.open=false", "publish.keys", "publish.open = true"]
    {
        assert!(told.contains(way), "{way} is missing in {told}");
    }
    let (told, code) = refused(&["--listen", "0.0.0.0:0", "--publish-key", "k"]);
    assert!(code == 2 && told.contains("read.open") && !told.contains("publish.open"), "{told}");
    for (reading, publishing) in [
        (["--set", "read.open=false"], ["--publish-key", "k"]),
        (["--set", "read.open=true"], ["--set", "publish.open=true"]),
        (["--set", "read.open=true"], ["--set", "publish.open=false"]),
    ] {
        let mut command = Server::command(1, &["0.0.0.0:0"], &[]);
        let server = Server::launch(command.args(reading).args(publishing));
        let port = server.address().port();
        let mut client = Client::connect(([127, 0, 0, 1], port).into());
        let published = client.request("POST", "/channels/a", "", b"x").status;
        assert_eq!(published, if publishing[1] == "publish.open=true" { 200 } else { 401 });
        let read = client.request("GET", "/channels/a/history", "", b"").status;
        assert_eq!(read, if reading[1] == "read.open=true" { 200 } else { 401 });
        // Diagnostics and the demo are for loopback unless asked for.
        assert_eq!(client.request("GET", "/hello", "", b"").status, 404);
        assert_eq!(client.request("GET", "/", "", b"").status, 404);
    }
}

#[test]
fn the_environment_sets_what_flags_do_not() {
    let mut command = Server::command(1, &["127.0.0.1:0"], &["limits.channel_name_bytes_max=5"]);
    command
        .env("ROADSTEAD_LIMITS__CHANNEL_NAME_BYTES_MAX", "9")
        .env("ROADSTEAD_PUBLISH__KEYS", "from-environment");
    command.env("ROADSTEAD_LIMITS__BATCH_PUBLICATIONS_MAX", "7");
    let server = Server::launch(&mut command);
    let config = server.admin("/config").json();
    assert_eq!(config["limits"]["channel_name_bytes_max"], 5, "a flag wins");
    assert_eq!(config["limits"]["batch_publications_max"], 7);
    let mut client = server.connect();
    let fields = "Authorization: Bearer from-environment\r\n";
    assert_eq!(client.request("POST", "/channels/a", fields, b"x").status, 200);
    assert_eq!(client.request("POST", "/channels/a", "Authorization: Bearer no\r\n", b"x").status, 403);
}
