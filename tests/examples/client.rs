//! A server of two shards, and a Socket.IO client on a WebSocket, blocking and as small as can be.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use roadstead::{
    api::program,
    app::socketio::{Io, SocketId},
    config::Config,
    supervisor::Server,
};
use serde_json::{Value, json};

use crate::tunnel;

/// A client in the namespace `/`.
pub struct Client {
    pub id: String,
    stream: TcpStream,
    asked: u64,
}

/// What servers have at `/`.
pub const PAGE: &str = "<title>A page</title>";

/// Where sessions are opened.
pub const SOCKETIO: &str = "/socket.io/?EIO=4&transport=websocket";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a server of two shards.
pub fn start(register: impl Fn(&Io) + Clone + Send + Sync + 'static) -> Server {
    start_on(2, register)
}

/// Starts a server of so many shards.
pub fn start_on(shards: u16, register: impl Fn(&Io) + Clone + Send + Sync + 'static) -> Server {
    start_as(Config::default(), shards, register)
}

/// Starts a server of so many shards that is otherwise set up like this.
pub fn start_as(
    mut config: Config,
    shards: u16,
    register: impl Fn(&Io) + Clone + Send + Sync + 'static,
) -> Server {
    config.server.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    config.server.admin = None;
    config.server.shards = shards;
    tunnel::secure(&mut config);
    let handlers = program(&config, PAGE, register).expect("no file is named");
    Server::start(&config, handlers).expect("a server starts here")
}

/// The whole answer to a request, which ends the connection.
pub fn request(server: &Server, head: &str, body: &str) -> String {
    answer(begin_request(server, head, body))
}

/// Sends a request whose [`answer`] ends the connection.
pub fn begin_request(server: &Server, head: &str, body: &str) -> TcpStream {
    let mut stream = tunnel::connect(server).expect("it listens");
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("it reads");
    stream
}

/// The whole answer.
pub fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Asks for a session on a WebSocket; gives the head of the answer.
pub fn open(server: &Server, target: &str) -> (String, TcpStream) {
    let mut stream = tunnel::connect(server).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it answers");
        head.push(byte[0]);
    }
    (String::from_utf8(head).expect("text"), stream)
}

/// The first event of a stream, or what has come with it, once something has been done.
pub fn first_event(server: &Server, target: &str, act: impl FnOnce()) -> String {
    let mut stream = tunnel::connect(server).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        .expect("it reads");
    let (mut heard, mut act, mut piece) = (String::new(), Some(act), [0; 4096]);
    while !heard.contains("data:") || !heard.ends_with("\n\n") {
        let count = stream.read(&mut piece).expect("something comes in time");
        assert!(count > 0, "the stream goes on: {heard}");
        heard.push_str(std::str::from_utf8(&piece[..count]).expect("text"));
        if heard.contains("\r\n\r\n")
            && let Some(act) = act.take()
        {
            act();
        }
    }
    heard
}

impl Client {
    /// Enters `/`.
    pub fn enter(server: &Server) -> Self {
        let mut client = Self::open(server);
        client.write("40");
        let entered = client.read().expect("a packet");
        let reply: Value = serde_json::from_str(entered.strip_prefix("40").expect("it is in")).expect("JSON");
        client.id = reply["sid"].as_str().expect("an id").into();
        client
    }

    /// Opens a session, and enters nothing.
    pub fn open(server: &Server) -> Self {
        let (head, stream) = open(server, SOCKETIO);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let mut client = Self { id: String::new(), stream, asked: 0 };
        assert!(client.hear_packet().starts_with("0{"));
        client
    }

    /// At least three clients, not all on one shard.
    pub fn enter_on_both_shards(server: &Server) -> Vec<Self> {
        let mut clients: Vec<Self> = Vec::new();
        let shard = |client: &Self| SocketId::parse(&client.id).expect("an id").shard;
        while clients.len() < 3 || clients.iter().all(|client| shard(client) == shard(&clients[0])) {
            assert!(clients.len() < 100, "the kernel spreads connections");
            clients.push(Self::enter(server));
        }
        clients
    }

    /// Sends an event with these arguments.
    pub fn say(&mut self, event: &str, arguments: Value) {
        self.write(&format!("42{}", array(event, arguments)));
    }

    /// Sends an event and gives what it is acknowledged with.
    pub fn ask(&mut self, event: &str, arguments: Value) -> Value {
        self.ask_hearing(event, arguments).1
    }

    /// As [`Self::ask`], and gives the events that come before as well.
    pub fn ask_hearing(&mut self, event: &str, arguments: Value) -> (Vec<Value>, Value) {
        self.asked += 1;
        self.write(&format!("42{}{}", self.asked, array(event, arguments)));
        let begin = format!("43{}", self.asked);
        let mut heard = Vec::new();
        loop {
            let packet = self.read().expect("an acknowledgement");
            match (packet.strip_prefix(&begin), packet.strip_prefix("42")) {
                (Some(json), _) => return (heard, serde_json::from_str(json).expect("JSON")),
                (None, Some(json)) => heard.push(serde_json::from_str(json).expect("JSON")),
                (None, None) => {}
            }
        }
    }

    /// Asks again and again until the answer is what it has to become.
    pub fn ask_until(&mut self, event: &str, arguments: Value, is_so: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        loop {
            let answer = self.ask(event, arguments.clone());
            if is_so(&answer) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{event:?} is still answered with {answer}");
        }
    }

    /// As [`Self::ask`] without arguments, and acknowledges the first event of the server's meanwhile with `mine`.
    pub fn ask_answering(&mut self, event: &str, mine: &Value) -> Value {
        self.write(&format!("420{}", array(event, json!([]))));
        let asked = self.hear_packet();
        let id: String = asked[2..].chars().take_while(char::is_ascii_digit).collect();
        self.write(&format!("43{id}{mine}"));
        loop {
            let packet = self.hear_packet();
            if let Some(json) = packet.strip_prefix("430") {
                return serde_json::from_str(json).expect("JSON");
            }
        }
    }

    /// The next packet, whatever it is.
    pub fn hear_packet(&mut self) -> String {
        self.read().expect("a packet")
    }

    /// Whether the server ends the connection now.
    pub fn hear_end(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).is_ok()
    }

    /// The arguments of the next event of this name; others are passed over.
    pub fn hear(&mut self, event: &str) -> Value {
        loop {
            let mut array = self.hear_next();
            let items = array.as_array_mut().expect("an array");
            if items[0] == event {
                items.remove(0);
                return array;
            }
        }
    }

    /// The next event, with its name.
    pub fn hear_next(&mut self) -> Value {
        self.read_event().expect("an event")
    }

    /// The next event if it comes in time, in milliseconds.
    pub fn hear_within(&mut self, timeout_ms: u64) -> Option<Value> {
        self.stream.set_read_timeout(Some(Duration::from_millis(timeout_ms))).expect("a timeout can be set");
        let event = self.read_event();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        event
    }

    fn read_event(&mut self) -> Option<Value> {
        loop {
            let packet = self.read()?;
            if let Some(json) = packet.strip_prefix("42") {
                return Some(serde_json::from_str(json).expect("JSON"));
            }
        }
    }

    /// The next Engine.IO packet but for pings, which are answered; `None` when the time is up.
    fn read(&mut self) -> Option<String> {
        loop {
            let mut head = [0; 2];
            match self.stream.read_exact(&mut head) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                result => result.expect("a frame"),
            }
            assert_eq!(head[0], 0x81, "one text frame");
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.stream.read_exact(&mut length).expect("a length");
                    u16::from_be_bytes(length).into()
                }
                length => usize::from(length),
            };
            let mut data = vec![0; length];
            self.stream.read_exact(&mut data).expect("its data");
            let packet = String::from_utf8(data).expect("text");
            match packet.as_str() {
                "2" => self.write("3"),
                _ => return Some(packet),
            }
        }
    }

    /// Sends a packet as one frame, masked with zeros.
    pub fn write(&mut self, packet: &str) {
        let mut frame = vec![0x81];
        match packet.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(packet.as_bytes());
        self.stream.write_all(&frame).expect("it reads");
    }
}

/// An event's JSON array.
fn array(event: &str, arguments: Value) -> Value {
    let mut items = vec![json!(event)];
    items.extend(arguments.as_array().expect("an array").clone());
    Value::Array(items)
}
