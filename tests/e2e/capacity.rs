//! More connections than may be: the one beyond gets an answer, and room comes back.

use std::{net::SocketAddr, process::Command, time::Duration};

use socket2::{Domain, Socket, Type};

use crate::{
    client::Client,
    server::{SOON, Server, await_that},
    socket::WebSocket,
};

/// A connection from an address of our choice.
fn connect_from(ip: [u8; 4], to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((ip, 0)).into()).expect("all of 127/8 is this machine");
    socket.connect_timeout(&to.into(), SOON).expect("the server accepts connections");
    Client::over(socket.into())
}

#[test]
fn the_connection_beyond_the_limit_is_answered_503_and_the_next_after_one_left_is_served() {
    let server = Server::with_shards(1, &["limits.connections_max=4"]);
    let mut sockets: Vec<_> = (0..4).map(|_| server.websocket("/channels/full")).collect();
    for round in 1..=3 {
        let mut beyond = server.connect();
        let refused = beyond.response();
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("5")));
        assert!(refused.text().contains("limits.connections_max"), "{}", refused.text());
        beyond.expect_end();
        drop(beyond);
        assert_eq!(server.metric("roadstead_refused_full_total", ""), f64::from(round));
        // Whoever looks at the server is let in all the same.
        await_that("only the four are left", || server.connections() == 4);
        drop(sockets.pop());
        await_that("one has left", || server.connections() == 3);
        sockets.push(server.websocket("/channels/full"));
    }
    sockets
        .iter_mut()
        .for_each(|socket| socket.send_frame(roadstead::wire::websocket::Opcode::Ping, true, b"p"));
}

#[test]
fn an_address_gets_exactly_as_many_connections_as_it_may_however_they_spread() {
    let server = Server::start(&["limits.connections_per_address_max=4"]);
    for round in 0..20 {
        let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        let statuses = clients.iter_mut().map(|client| {
            client.try_send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").ok();
            client.response().status
        });
        let let_in = statuses.filter(|status| *status == 200).count();
        assert_eq!(let_in, 4, "round {round}");
        drop(clients);
        await_that("all have gone", || server.connections() == 0);
    }
}

#[test]
fn one_address_gets_its_share_and_others_theirs() {
    let server = Server::with_shards(1, &["limits.connections_per_address_max=3"]);
    let held: Vec<_> = (0..3).map(|_| WebSocket::open(server.connect(), "/echo", "")).collect();
    let mut beyond = server.connect();
    let refused = beyond.response();
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("limits.connections_per_address_max"), "{}", refused.text());
    beyond.expect_end();
    let mut other = connect_from([127, 0, 0, 2], server.address());
    assert_eq!(other.request("GET", "/hello", "", b"").status, 200);
    assert_eq!(server.metric("roadstead_refused_address_total", ""), 1.0);
    drop(held);
    await_that("there is room again", || server.connect().request("GET", "/hello", "", b"").status == 200);
}

#[test]
fn far_more_connections_than_slots_are_all_answered_and_cost_no_spinning() {
    let server = Server::with_shards(1, &["limits.connections_max=20"]);
    let mut clients: Vec<_> = (0..300).map(|_| server.connect()).collect();
    // Those beyond the limit hear of it at once; those for whom there was not even a slot, when one is free.
    let mut statuses = [0; 2];
    let before = server.cpu_time();
    for client in &mut clients {
        client.tcp().set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout can be set");
        client.try_send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").ok();
    }
    await_that("all are answered", || {
        for client in clients.iter_mut().filter(|client| client.received.is_empty()) {
            client.receive().ok();
        }
        clients.iter().all(|client| !client.received.is_empty())
    });
    for client in &clients {
        let is_served = client.received.starts_with(b"HTTP/1.1 200");
        assert!(is_served || client.received.starts_with(b"HTTP/1.1 503"));
        statuses[usize::from(!is_served)] += 1;
    }
    // Who got in when a refused one had not yet gone may have been refused for it; never may there be more.
    assert!((1..=20).contains(&statuses[0]) && statuses[0] + statuses[1] == 300, "{statuses:?}");
    let used = server.cpu_time() - before;
    assert!(used < Duration::from_secs(5), "{used:?} of CPU to refuse 280 clients");
    drop(clients);
    await_that("all have gone", || server.connections() == 0);
    assert_eq!(server.get("/hello").status, 200);
}

#[test]
fn under_a_low_open_files_limit_the_ceiling_is_told_and_kept() {
    let prlimit = |nofile: u32| {
        let inner = Server::command(1, &["127.0.0.1:0"], &[]);
        let mut command = Command::new("prlimit");
        command
            .env_clear()
            .arg(format!("--nofile={nofile}:{nofile}"))
            .arg(inner.get_program())
            .args(inner.get_args());
        command
    };
    let server = Server::launch(&mut prlimit(160));
    let ceiling = server.shards()[0]["connections_max"].as_u64().expect("a number");
    assert!((10..160).contains(&ceiling), "{ceiling}");
    let held: Vec<_> = (0..ceiling).map(|_| server.websocket("/channels/a")).collect();
    assert_eq!(server.connect().response().status, 503);
    server.publish_refused_then_served(held);

    let refused = prlimit(40).output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("40") && told.contains("limit"), "{told}");
}

impl Server {
    /// With every place taken nobody is served; when all have left, everybody is again.
    fn publish_refused_then_served(&self, held: Vec<WebSocket>) {
        let asker = 1.0;
        await_that("the one refused has gone", || {
            self.metric("roadstead_connections", "") == held.len() as f64 + asker
        });
        drop(held);
        await_that("all have gone", || self.connections() == 0);
        assert_eq!(self.publish("a", "x"), 1);
    }
}

#[test]
fn more_readers_than_receive_buffers_are_all_heard() {
    let server = Server::with_shards(1, &[]);
    // 600 connections become readable at once; a shard has 512 buffers.
    let mut clients: Vec<_> = (0..600).map(|_| server.connect()).collect();
    let payload = vec![b'x'; 3000];
    for client in &mut clients {
        client.send(format!(
            "POST /channels/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            payload.len()
        ));
    }
    clients.iter_mut().for_each(|client| client.send(&payload));
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    assert_eq!(server.get("/channels/b/info").json()["offset"], 600);
}
