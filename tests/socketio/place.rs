//! Starting the fixture, and the two places clients find there: bare Engine.IO that echoes, and Socket.IO.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use crate::{
    certificate,
    client::{Client, Response},
    link::Link,
    polling::Polling,
    server::Server,
};

/// What the published suites want: short heartbeats, so that their absence shows soon. On a busy machine they end
/// sessions that are well, so only tests of just that use them.
pub const SUITE: &[&str] = &["pingInterval=300", "pingTimeout=200"];

/// Heartbeats that come soon, and patience with the answers.
pub const PATIENT: &[&str] = &["pingInterval=200", "pingTimeout=10000"];

/// The fields of a request for a WebSocket, its line ends included.
pub use crate::socket::handshake_fields;

/// A running fixture.
pub struct Fixture {
    server: Server,
}

/// An address and path at which Engine.IO is spoken.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    address: SocketAddr,
    path: &'static str,
}

impl Fixture {
    /// Starts it with settings named as Socket.IO's documentation names them, and `shards=N`.
    #[track_caller]
    pub fn start(settings: &[&str]) -> Self {
        let mut command = program();
        if certificate::is_used_everywhere() {
            command.args(certificate::flags());
        }
        Self { server: Server::launch(command.args(settings)) }
    }

    /// Engine.IO whose messages come back as they went.
    pub fn echo(&self) -> Place {
        Place { address: self.address(1), path: "/engine.io/" }
    }

    /// Socket.IO.
    pub fn socketio(&self) -> Place {
        Place { address: self.address(0), path: "/socket.io/" }
    }

    /// Both.
    pub fn places(&self) -> [Place; 2] {
        [self.echo(), self.socketio()]
    }

    fn address(&self, index: usize) -> SocketAddr {
        self.server.listening[index].parse().expect("the fixture listens on TCP")
    }
}

impl Place {
    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A new connection that takes little at a time.
    #[track_caller]
    pub fn connect_narrow(&self) -> Client {
        Client::narrow(self.address)
    }

    /// The target of a request; `query` is what follows `?`.
    pub fn target(&self, query: &str) -> String {
        format!("{}?{query}", self.path)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn request(&self, method: &str, query: &str, fields: &str, body: &[u8]) -> Response {
        self.connect().request(method, &self.target(query), fields, body)
    }

    /// Opens a session that polls.
    #[track_caller]
    pub fn poll(&self) -> Polling {
        Polling::open(*self)
    }

    /// Opens a session over a WebSocket.
    #[track_caller]
    pub fn link(&self) -> Link {
        Link::open(self, "EIO=4&transport=websocket")
    }
}

/// The fixture that `cargo test` has built beside this test, or the program in `SOCKETIO_FIXTURE`.
fn program() -> Command {
    if let Ok(line) = std::env::var("SOCKETIO_FIXTURE") {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("SOCKETIO_FIXTURE names a program"));
        command.args(words);
        return command;
    }
    let test = std::env::current_exe().expect("a test knows where it is");
    let target = test.parent().and_then(|deps| deps.parent()).expect("tests are in target/PROFILE/deps");
    let path: PathBuf = target.join("examples/socketio_fixture");
    assert!(path.exists(), "{}: `cargo build --example socketio_fixture` makes it", path.display());
    Command::new(path)
}
