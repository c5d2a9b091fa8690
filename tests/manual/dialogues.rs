//! Every `ws` block of a page, spoken on one WebSocket to `/ws`.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    blocks::{documents, shows},
    server::{PATIENCE, Server},
};

/// A client that knows only what it needs here.
struct Socket(TcpStream);

impl Socket {
    fn open(server: &Server) -> Self {
        let mut stream = TcpStream::connect(server.clients).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    /// Sends a text, masked with nothing, which is a mask like any other.
    fn send(&mut self, text: &str) {
        let size = match u8::try_from(text.len()) {
            Ok(size @ 0..126) => vec![0x80 | size],
            _ => [&[0x80 | 126][..], &u16::try_from(text.len()).expect("short").to_be_bytes()].concat(),
        };
        let frame = [&[0x81][..], &size, &[0; 4], text.as_bytes()].concat();
        self.0.write_all(&frame).expect("sent");
    }

    fn next(&mut self) -> String {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).expect("a message");
        let mut size = u64::from(head[1]);
        if size == 126 {
            let mut bytes = [0; 2];
            self.0.read_exact(&mut bytes).expect("a size");
            size = u16::from_be_bytes(bytes).into();
        }
        assert!(head[0] == 0x81 && size < 65_536, "a short text: {head:?}");
        let mut text = vec![0; size as usize];
        self.0.read_exact(&mut text).expect("all of it");
        String::from_utf8(text).expect("text")
    }
}

#[test]
fn the_server_speaks_as_the_pages_say() {
    for document in documents() {
        let blocks: Vec<_> = document
            .blocks()
            .into_iter()
            .filter(|block| block.language == "ws" && block.is_run_here())
            .collect();
        if blocks.is_empty() {
            continue;
        }
        let server = Server::start(&[]);
        let mut socket = Socket::open(&server);
        for block in blocks {
            // Pushes and replies to one channel may come in either order.
            let mut heard: Vec<String> = Vec::new();
            for line in block.text.lines() {
                let place = format!("{}:{}: {line}", document.path, block.line);
                match (line.strip_prefix("> "), line.strip_prefix("< ")) {
                    (Some(text), _) => socket.send(text),
                    (_, Some(expected)) => loop {
                        if let Some(at) = heard.iter().position(|text| shows(expected, text)) {
                            heard.remove(at);
                            break;
                        }
                        assert!(heard.len() < 4, "{place}\nheard {heard:#?}");
                        heard.push(socket.next());
                    },
                    (None, None) => panic!("{place}: begin with > or <"),
                }
            }
        }
    }
}

#[test]
fn the_page_of_the_protocol_names_every_command_that_the_server_knows() {
    let server = Server::start(&[]);
    let mut socket = Socket::open(&server);
    socket.send(r#"{"id":1,"nonsense":{}}"#);
    let answer = socket.next();
    let known: Vec<_> = answer.split("\\\"").skip(1).step_by(2).collect();
    assert!(known.len() >= 13, "{answer}");
    let page = documents().into_iter().find(|document| document.path.ends_with("manual/ws.md"));
    let page = page.expect("there is a page").text;
    let left_out: Vec<_> = known.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}
