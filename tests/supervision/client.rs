//! Small blocking clients, and the settings, for tests that embed a server.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use roadstead::{app::ShardId, config::Config, supervisor::Server};

use crate::tunnel;

/// So many shards on free ports.
pub fn config(shards: u16) -> Config {
    let mut config = Config::default();
    config.server.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    config.server.admin = None;
    config.server.shards = shards;
    tunnel::secure(&mut config);
    config
}

/// A new connection to the first public address.
pub fn connect(server: &Server) -> TcpStream {
    let stream = tunnel::connect(server).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream
}

/// One answer on a connection that stays.
pub fn get(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    read_answer(stream)
}

/// The body of an answer, on a connection that stays.
pub fn read_answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it answers");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    let mut body = vec![0; len.parse().expect("a number")];
    stream.read_exact(&mut body).expect("a body");
    String::from_utf8(body).expect("text")
}

/// A connection to this shard of a server that tells at `/which` which it is.
pub fn connect_to(server: &Server, shard: ShardId) -> TcpStream {
    for _ in 0..1000 {
        let mut stream = connect(server);
        if get(&mut stream, "/which") == shard.to_string() {
            return stream;
        }
    }
    panic!("no client comes to shard {shard}")
}

/// A WebSocket after its handshake.
pub fn websocket(server: &Server) -> TcpStream {
    websocket_at(server, "/")
}

/// A WebSocket of this path.
pub fn websocket_at(server: &Server, path: &str) -> TcpStream {
    upgrade(connect(server), path)
}

/// Makes a connection a WebSocket.
pub fn upgrade(stream: TcpStream, path: &str) -> TcpStream {
    upgrade_with(stream, path, "")
}

/// The same with further header fields.
pub fn upgrade_with(stream: TcpStream, path: &str, fields: &str) -> TcpStream {
    let (head, stream) = offer(stream, path, fields);
    assert!(head.starts_with("HTTP/1.1 101"));
    stream
}

/// Asks for a WebSocket with these header fields; gives the head of the answer.
pub fn offer(mut stream: TcpStream, path: &str, fields: &str) -> (String, TcpStream) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it answers");
        head.push(byte[0]);
    }
    (String::from_utf8(head).expect("text"), stream)
}

/// Sends a text of up to 64 KiB, masked with zeros.
pub fn say(stream: &mut TcpStream, text: &str) {
    let mut frame = match text.len() {
        short @ ..126 => vec![0x81, 0x80 | short as u8],
        long => [&[0x81, 0x80 | 126][..], &u16::try_from(long).expect("up to 64 KiB").to_be_bytes()].concat(),
    };
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).expect("it reads");
}

/// The next frame: its opcode and what it holds.
pub fn hear(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut long = [0; 2];
    if head[1] == 126 {
        stream.read_exact(&mut long).expect("its length");
    }
    let len = if head[1] == 126 { u16::from_be_bytes(long).into() } else { usize::from(head[1]) };
    let mut data = vec![0; len];
    stream.read_exact(&mut data).expect("its data");
    (head[0] & 15, data)
}

/// Everything until the end.
pub fn read_to_end(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an end");
    text
}

/// The next message as text.
pub fn hear_text(stream: &mut TcpStream) -> String {
    String::from_utf8(hear(stream).1).expect("text")
}

/// Reads until the closing frame: its code.
pub fn hear_close(stream: &mut TcpStream) -> u16 {
    loop {
        if let (8, data) = hear(stream) {
            return u16::from_be_bytes([data[0], data[1]]);
        }
    }
}

/// One request on a connection of its own to the first public address, which ends with the answer.
pub fn ask(server: &Server, request: &str) -> String {
    let stream = tunnel::connect(server).expect("it listens");
    try_ask(stream, request, Duration::from_secs(20)).expect("it answers")
}

/// The same of the admin listener, in whatever time it may take.
pub fn try_ask_admin(server: &Server, request: &str, patience: Duration) -> io::Result<String> {
    let address = server.listening().admin.as_ref().expect("it has one").to_string();
    try_ask(TcpStream::connect(address)?, request, patience)
}

fn try_ask(mut stream: TcpStream, request: &str, patience: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Asks again and again until it is so.
#[track_caller]
pub fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
