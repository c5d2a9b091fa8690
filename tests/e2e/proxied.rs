//! Who asks through a proxy: the PROXY protocol and header fields, from those who are trusted and from nobody else.
//!
//! Every client here connects from 127.0.0.1. What the server takes for its address shows at the limit of one
//! connection for each address.

use std::net::TcpStream;

use roadstead::wire::websocket::Opcode;
use serde_json::{Value, json};

use crate::{
    backend::Backend,
    certificate::Certificate,
    client::{Client, Response},
    hooks::{self, ONE_SHARD},
    server::{Server, await_that},
    socket::{WebSocket, close_payload},
    stream::EventStream,
};

const ONE_EACH: &str = "limits.connections_per_address_max=1";
const TRUSTED: &str = "proxy.trusted=127.0.0.0/8";
const LINE: &str = "PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The field of a client whose address ends like this, as the last proxy adds it.
fn from(last: &str) -> String {
    format!("X-Forwarded-For: 6.6.6.6, 203.0.113.{last}\r\n")
}

fn follow(server: &Server, fields: &str) -> Result<WebSocket, Response> {
    WebSocket::try_open(server.connect(), "/channels/a", fields)
}

#[track_caller]
fn is_refused(opened: Result<WebSocket, Response>) {
    let Err(refusal) = opened else { panic!("it was let in") };
    assert_eq!((refusal.status, &*refusal.error_code()), (429, "address_full"), "{}", refusal.head);
}

fn hello(client: &mut Client, fields: &str) -> u16 {
    client.request("GET", "/hello", fields, b"").status
}

#[test]
fn each_client_of_a_trusted_proxy_is_counted_by_its_own_address_while_it_is_there() {
    let server = Server::start(&[ONE_EACH, TRUSTED]);
    let first = follow(&server, &from("1")).expect("the first of its address");
    is_refused(follow(&server, &from("1")));
    let other = follow(&server, &from("2")).expect("another address");
    let stream = EventStream::open(server.connect(), "a", "", &from("3"));
    is_refused(follow(&server, &from("3")));
    let mut own: Vec<_> = (0..5).map(|_| server.connect()).collect();
    assert!(
        own.iter_mut().all(|client| hello(client, "") == 200),
        "the proxy itself has as many as it likes"
    );
    drop(first);
    await_that("its place is free again", || follow(&server, &from("1")).is_ok());
    is_refused(follow(&server, &from("2")));
    is_refused(follow(&server, &from("3")));
    drop((other, stream));
}

#[test]
fn a_connection_that_a_proxy_keeps_is_a_client_s_only_until_the_answer() {
    let server = Server::start(&[ONE_EACH, TRUSTED]);
    let (mut one, mut two) = (server.connect(), server.connect());
    for _ in 0..3 {
        assert_eq!((hello(&mut one, &from("1")), hello(&mut two, &from("1"))), (200, 200));
    }
    one.ask("GET", "/channels/a?timeout=20", &from("1"), b"");
    server.await_subscribers("a", 1);
    let refused = two.request("GET", "/hello", &from("1"), b"");
    assert_eq!((refused.status, &*refused.error_code()), (429, "address_full"));
    assert_eq!(hello(&mut two, &from("2")), 200, "the proxy's connection goes on");
    server.publish("a", "x");
    assert_eq!(one.response().status, 200);
    assert_eq!(hello(&mut two, &from("1")), 200, "the poll has been answered");
    assert_eq!(hello(&mut one, &from("2")), 200, "and its connection is the proxy's");
    // A poll whose client goes takes the client's address with it.
    one.ask("GET", "/channels/a?timeout=20", &from("1"), b"");
    server.await_subscribers("a", 1);
    drop(one);
    await_that("it has gone", || hello(&mut two, &from("1")) == 200);
}

#[test]
fn what_a_stranger_says_of_itself_changes_nothing() {
    let server = Server::start(&[ONE_EACH, "proxy.trusted=10.0.0.0/8", "proxy.protocol=either"]);
    let mut asking = server.connect();
    assert_eq!(hello(&mut asking, &from("2")), 200);
    is_refused(follow(&server, &from("1")));
    drop(asking);
    await_that("the only place is free", || hello(&mut server.connect(), "") == 200);
    let names = "X-Forwarded-Host: localhost\r\nForwarded: for=203.0.113.1;host=localhost\r\n";
    let answered = |request: &str| {
        let mut status = 429;
        await_that("the only place is free", || {
            let mut client = server.connect();
            client.send(request);
            status = client.response().status;
            status != 429
        });
        status
    };
    assert_eq!(answered(&format!("GET /hello HTTP/1.1\r\nHost: evil.example\r\n{names}\r\n")), 421);
    assert_eq!(answered(&format!("{LINE}GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")), 400);
}

#[test]
fn a_trusted_proxy_says_which_host_was_asked() {
    let server = Server::start(&[TRUSTED, "server.allowed_hosts=chat.example"]);
    let status = |host: &str, fields: &str| {
        let mut client = server.connect();
        client.send(format!("GET /channels/a/info HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        client.response().status
    };
    assert_eq!(status("inner.example", ""), 421);
    assert_eq!(status("inner.example", "X-Forwarded-Host: chat.example\r\n"), 200);
    assert_eq!(status("chat.example", "X-Forwarded-Host: evil.example\r\n"), 421);
    assert_eq!(status("chat.example", "Forwarded: host=evil.example\r\n"), 200, "not what is believed here");
    // The page of the host that was asked may talk to the server.
    let page = "Origin: https://chat.example\r\n";
    assert_eq!(status("127.0.0.1", page), 403);
    assert_eq!(status("127.0.0.1", &format!("{page}X-Forwarded-Host: chat.example\r\n")), 200);
    // Also in an answer to what is no request.
    let shown_to = |host: &str| {
        let mut client = server.connect();
        let fields = format!("{page}X-Forwarded-Host: {host}\r\nContent-Length: x\r\n");
        client.send(format!("POST /channels/a HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n"));
        let answer = client.response();
        assert_eq!(answer.status, 400);
        answer.field("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(shown_to("chat.example").as_deref(), Some("https://chat.example"));
    assert_eq!(shown_to("other.example"), None);
}

#[test]
fn how_a_client_has_come_stands_in_the_log_in_questions_to_a_backend_and_on_the_dashboard() {
    let backend = Backend::start(|_| hooks::allow());
    let settings =
        [ONE_SHARD, TRUSTED, "server.allowed_hosts=chat.example", "log.access=all", "log.format=json"];
    let server = hooks::deciding("passage", &backend, &settings);
    let fields = "X-Forwarded-For: 6.6.6.6, 203.0.113.7, 127.0.0.8\r\nX-Forwarded-Proto: https, http\r\n\
                  X-Forwarded-Host: chat.example, inner.example\r\n";
    let passage =
        json!({"address": "203.0.113.7", "scheme": "https", "host": "chat.example", "hops": ["127.0.0.8"]});
    let says = |told: &Value, expected: &Value, name: &str| {
        expected.as_object().expect("an object").iter().for_each(|(member, value)| {
            assert_eq!(&told[member], value, "{member} of {name}: {told}");
        });
    };
    let mut socket = WebSocket::open(server.connect(), "/ws", fields);
    socket.command(&json!({"id": 1, "subscribe": {"channel": "a"}}));
    says(&backend.asked().json(), &passage, "a command, after the request");
    let answer = server.connect().request("POST", "/channels/a", fields, b"x");
    assert_eq!(answer.status, 200);
    says(&backend.asked().json(), &passage, "a request");
    let mut follower = WebSocket::open(server.connect(), "/channels/a", fields);
    says(&backend.asked().json(), &passage, "a WebSocket");
    let polling = "/socket.io/?EIO=4&transport=polling";
    let opened = server.connect().request("GET", polling, fields, b"").text();
    let sid = opened.split('"').nth(3).expect("an id");
    let entered = server.connect().request("POST", &format!("{polling}&sid={sid}"), fields, b"40/lobby,");
    assert_eq!(entered.text(), "ok");
    says(&backend.asked().json(), &passage, "whoever enters a namespace of Socket.IO");
    // Whoever comes directly has no more than it says itself.
    let directly = server.connect().request("POST", "/channels/a", "", b"x");
    assert_eq!(directly.status, 200);
    let asked = backend.asked().json();
    assert_eq!((&asked["address"], &asked["host"]), (&"127.0.0.1".into(), &"localhost".into()), "{asked}");
    assert!(asked.get("hops").is_none(), "{asked}");
    let mut dashboard = EventStream::dashboard(server.connect_admin());
    let _first = dashboard.data();
    let seen = json!({"address": "203.0.113.7", "is_secure": true, "host": "chat.example", "hops": ["127.0.0.8"],
                      "connections": 2});
    await_that("it is shown, once those that have ended are not counted", || {
        let now: Value = serde_json::from_str(&dashboard.data()).expect("JSON");
        now["now"]["origins"].as_array().expect("a list").contains(&seen)
    });
    follower.send_frame(Opcode::Close, true, &close_payload(1000, ""));
    assert_eq!(follower.close_code(), Some(1000));
    let line = |message: &str, name: &str, value: &str| {
        let mut found = None;
        await_that(&format!("there is a line {message} with {value}"), || {
            let log = server.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            found = { lines }.find(|line| line["message"] == message && line[name] == value);
            found.is_some()
        });
        found.expect("just seen")
    };
    let logged = json!({"scheme": "https", "host": "chat.example", "hops": "127.0.0.8"});
    says(&line("request", "method", "POST"), &logged, "the line of a request");
    says(&line("closed", "transport", "websocket"), &logged, "the line of a session that has ended");
}

#[test]
fn the_field_of_rfc_7239_is_believed_where_it_is_said_to_be() {
    let server = Server::start(&[ONE_EACH, TRUSTED, "proxy.headers=forwarded"]);
    let by = |node: &str| {
        format!("Forwarded: for=6.6.6.6, for={node};proto=https\r\nX-Forwarded-For: 192.0.2.1\r\n")
    };
    let first = follow(&server, &by("203.0.113.1")).expect("the first");
    is_refused(follow(&server, &by("\"203.0.113.1:99\"")));
    let second = follow(&server, &by("\"[2001:db8::1]\"")).expect("another address");
    drop((first, second));
}

#[test]
fn proxies_on_a_unix_socket_are_trusted_by_name() {
    let path = std::env::temp_dir().join(format!("roadstead-proxied-{}.sock", std::process::id()));
    let path = path.to_str().expect("a plain path");
    let unix = format!("unix:{path}");
    let settings = [ONE_EACH, "proxy.trusted=unix:"];
    let _server = Server::launch(&mut Server::command(1, &["127.0.0.1:0", &unix], &settings));
    let over_unix = |fields: &str| WebSocket::try_open(Client::connect_unix(path), "/channels/a", fields);
    let first = over_unix(&from("1")).expect("the first");
    is_refused(over_unix(&from("1")));
    let second = over_unix(&from("2")).expect("another address");
    let own: Vec<_> = (0..2).map(|_| over_unix("").expect("no address, no limit")).collect();
    drop((first, second, own));
}

/// A connection that begins with these bytes.
fn beginning(server: &Server, header: &[u8]) -> Client {
    let mut client = Client::plainly_over(TcpStream::connect(server.address()).expect("it listens"));
    client.send(header);
    client
}

/// A header of version 2: its command, family and addresses, and so many bytes of something beside them.
fn binary(command: u8, family: u8, addresses: &[u8], beside: usize) -> Vec<u8> {
    let length = (addresses.len() + beside) as u16;
    [SIGNATURE, &[0x20 | command, family], &length.to_be_bytes(), addresses, &vec![9; beside]].concat()
}

/// A server without TLS, whatever the others speak.
fn plain(settings: &[&str]) -> Server {
    let mut command = Server::command(2, &[], settings);
    Server::launch(command.args(["--listen", "127.0.0.1:0"]))
}

#[test]
fn a_header_of_either_version_gives_a_connection_its_client_s_address() {
    let server = plain(&[ONE_EACH, TRUSTED, "proxy.protocol=either"]);
    let addresses = [203, 0, 113, 7, 127, 0, 0, 1, 1, 2, 0, 80];
    let mut line = beginning(&server, b"");
    for byte in LINE.as_bytes() {
        line.send([*byte]);
    }
    assert_eq!(hello(&mut line, ""), 200);
    // Its client is nobody's proxy, and not believed.
    assert_eq!(hello(&mut line, &from("9")), 200);
    let version_2 =
        [&binary(1, 0x11, &addresses, 300), &b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"[..]];
    let mut same = beginning(&server, &version_2.concat());
    let refused = same.response();
    assert_eq!((refused.status, &*refused.error_code()), (429, "address_full"));
    drop(line);
    await_that("its place is free again", || {
        beginning(&server, &version_2.concat()).response().status == 200
    });
    assert_eq!(server.metric("roadstead_proxy_headers_refused_total", ""), 0.0);
}

#[test]
fn a_proxy_s_own_connection_is_not_counted_and_its_client_unnamed_not_believed() {
    let server = plain(&[ONE_EACH, TRUSTED, "proxy.protocol=either"]);
    let headers = [
        binary(0, 0, &[], 0),
        binary(0, 0x11, &[1; 12], 0),
        binary(1, 0x31, &[b'/'; 216], 0),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ];
    let open = |header: &Vec<u8>| {
        let client = beginning(&server, header);
        WebSocket::try_open(client, "/channels/a", &from("1")).expect("nobody counts it")
    };
    let followers: Vec<_> = headers.iter().chain(&headers).map(open).collect();
    drop(followers);
}

#[test]
fn a_trusted_proxy_that_brings_no_header_is_told_so_and_one_that_never_ends_it_is_ended() {
    let server = plain(&[TRUSTED, "proxy.protocol=v2", "limits.head_timeout_ms=300"]);
    let too_long = binary(1, 0x11, &[1; 12], 5000);
    for bytes in
        [&b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], LINE.as_bytes(), &too_long, b"\r\n\r\n\0x"]
    {
        let mut client = beginning(&server, bytes);
        let refused = client.response();
        assert_eq!((refused.status, &*refused.error_code()), (400, "proxy_header_missing"));
        client.end_sending();
        client.receive_to_end();
    }
    let short = binary(1, 0x11, &[1; 12], 0);
    for bytes in [&b""[..], SIGNATURE, &short[..short.len() - 1]] {
        beginning(&server, bytes).expect_end();
    }
    assert_eq!(server.metric("roadstead_proxy_headers_refused_total", ""), 7.0);
    // One that ends before its header takes nothing with it.
    drop(beginning(&server, SIGNATURE));
    await_that("nobody is left", || server.connections() == 0);
}

#[test]
fn a_header_comes_before_tls() {
    let certificate = Certificate::new("localhost");
    let mut command = Server::command(1, &[], &[ONE_EACH, TRUSTED, "proxy.protocol=v1"]);
    command.args(["--listen", "127.0.0.1:0", "--tls-cert"]).arg(&certificate.chain);
    let server = Server::launch(command.arg("--tls-key").arg(&certificate.key));
    let open = || {
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        std::io::Write::write_all(&mut stream, LINE.as_bytes()).expect("sent");
        Client::sealed_over(stream, &certificate.client())
    };
    let mut first = open();
    assert_eq!(hello(&mut first, ""), 200);
    let mut second = open();
    assert_eq!(hello(&mut second, ""), 429);
    drop(first);
    await_that("its place is free again", || hello(&mut open(), "") == 200);
    // Without one there is nobody to shake hands with.
    let mut bare = TcpStream::connect(server.address()).expect("it listens");
    std::io::Write::write_all(&mut bare, b"\x16\x03\x01\x00\x05").expect("sent");
    Client::plainly_over(bare).receive_to_end();
}
