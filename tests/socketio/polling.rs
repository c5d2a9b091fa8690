//! A session that polls: every request on a connection of its own, as far as a test says nothing else, so that the
//! kernel gives them to many shards.

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use crate::{
    client::{Client, Response},
    link::Link,
    place::Place,
    server::await_that,
};

/// What stands between packets (engine.io-protocol, "Packet encoding").
pub const SEPARATOR: char = '\x1e';

/// A session that polls.
pub struct Polling {
    place: Place,
    /// The session's id.
    pub sid: String,
}

impl Polling {
    /// Opens a session.
    #[track_caller]
    pub fn open(place: Place) -> Self {
        let response = place.request("GET", "EIO=4&transport=polling", "", b"");
        assert_eq!(response.status, 200, "{}", response.text());
        let sid = open_packet(&response.text())["sid"].as_str().expect("a session has an id").to_owned();
        Self { place, sid }
    }

    /// The query of a request of this session.
    pub fn query(&self) -> String {
        format!("EIO=4&transport=polling&sid={}", self.sid)
    }

    /// The target of a request of this session.
    pub fn target(&self) -> String {
        self.place.target(&self.query())
    }

    /// A connection that has asked nothing yet.
    #[track_caller]
    pub fn connect_idle(&self) -> Client {
        self.place.connect()
    }

    /// Polls once.
    #[track_caller]
    pub fn get(&self) -> Response {
        self.begin_get().response()
    }

    /// Polls, and leaves the answer to be read from the connection.
    #[track_caller]
    pub fn begin_get(&self) -> Client {
        let mut client = self.place.connect();
        client.ask("GET", &self.target(), "", b"");
        client
    }

    /// Polls, and waits until the server has read that: the poll waits in its place, or is on its way there from another
    /// shard together with its connection.
    #[track_caller]
    pub fn begin_waiting_get(&self) -> Client {
        let client = self.begin_get();
        await_that("the server has read it", || is_read(client.tcp()));
        client
    }

    /// Sends packets.
    #[track_caller]
    pub fn post(&self, body: impl AsRef<[u8]>) -> Response {
        self.place.request("POST", &self.query(), "", body.as_ref())
    }

    /// Sends packets that are taken.
    #[track_caller]
    pub fn send(&self, body: impl AsRef<[u8]>) {
        let response = self.post(body);
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }

    /// The packets of one poll.
    #[track_caller]
    pub fn receive(&self) -> Vec<String> {
        let response = self.get();
        assert_eq!(response.status, 200, "{}", response.text());
        packets(&response)
    }

    /// So many packets, in as many polls as it takes; pings are answered, and what only releases a poll passed over.
    #[track_caller]
    pub fn receive_count(&self, count: usize) -> Vec<String> {
        let mut received = Vec::new();
        while received.len() < count {
            for packet in self.receive() {
                match packet.as_str() {
                    "2" => self.send("3"),
                    "6" => {}
                    _ => received.push(packet),
                }
            }
        }
        assert_eq!(received.len(), count, "{received:?}");
        received
    }

    /// Checks that packets come back together, from a place that echoes.
    #[track_caller]
    pub fn expect_echo(&self, packets: &str) {
        self.send(packets);
        assert_eq!(self.get().text(), packets);
    }

    /// Enters a namespace of Socket.IO; what the server says of it.
    #[track_caller]
    pub fn enter(&self, connect: &str) -> String {
        self.send(connect);
        self.receive_count(1).remove(0)
    }

    /// A WebSocket that wants to take the session over.
    #[track_caller]
    pub fn upgrade(&self) -> Link {
        Link::open(&self.place, &format!("EIO=4&transport=websocket&sid={}", self.sid))
    }

    /// A WebSocket that wants to take the session over and may.
    #[track_caller]
    pub fn probe(&self) -> Link {
        let mut link = self.upgrade();
        assert!(link.try_probe());
        link
    }

    /// Checks that the server has ended the session: the next poll may be told so, and none behind it.
    #[track_caller]
    pub fn expect_end(&self) {
        let last = self.get();
        if last.status == 200 {
            let last_packet = packets(&last).pop();
            assert!(last_packet.is_some_and(|packet| packet == "1" || packet == "6"), "{}", last.text());
        }
        self.expect_gone();
    }

    /// Checks that the server knows the session no more.
    #[track_caller]
    pub fn expect_gone(&self) {
        assert_eq!(self.get().status, 400);
    }
}

/// Whether the server has taken all that was sent to it from the kernel, which tells what it has not.
pub fn is_read(stream: &TcpStream) -> bool {
    let port = |address: io::Result<SocketAddr>| format!(":{:04X}", address.expect("it is connected").port());
    let (here, there) = (port(stream.local_addr()), port(stream.peer_addr()));
    // proc_net_tcp.txt of the kernel: number, local and remote address, state, tx_queue:rx_queue.
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("every Linux has it");
    let queues = sockets.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields[1].ends_with(&there) && fields[2].ends_with(&here)).then(|| fields[4].to_owned())
    });
    queues.is_some_and(|queues| queues.ends_with(":00000000"))
}

/// The packets in an answer.
pub fn packets(response: &Response) -> Vec<String> {
    response.text().split(SEPARATOR).map(str::to_owned).collect()
}

/// What the packet that opens a session says.
#[track_caller]
pub fn open_packet(packet: &str) -> Value {
    let json = packet.strip_prefix('0').unwrap_or_else(|| panic!("no session is opened by {packet}"));
    serde_json::from_str(json).expect("a session is opened with JSON")
}
