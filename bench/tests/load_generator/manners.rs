//! What clients add: servers that let nobody in without it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use serde_json::Value;

use crate::floor::BENCH;

/// A server that gives every connection to `serve`; its address.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The head of the next request; empty at the end.
fn read_head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(reader.read_line(&mut head), Ok(1..)) {
            return String::new();
        }
    }
    head
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(BENCH).args(arguments).output().expect("the load generator starts")
}

fn json(output: &Output) -> Value {
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

/// Answers every request with 201 and tells of it.
fn record(stream: TcpStream, seen: &Sender<(String, String)>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    loop {
        let head = read_head(&mut reader);
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
        let mut body = vec![0; length.parse().expect("a length")];
        let is_read = !head.is_empty() && reader.read_exact(&mut body).is_ok();
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
        let body = String::from_utf8(body).expect("text");
        if !is_read || seen.send((head, body)).is_err() || stream.write_all(answer).is_err() {
            return;
        }
    }
}

#[test]
fn requests_have_their_method_headers_paths_and_numbered_bodies() {
    let (seeing, seen): (_, Receiver<(String, String)>) = channel();
    let address = server(move |stream| record(stream, &seeing));
    let paths = std::env::temp_dir().join(format!("roadstead-bench-paths-{}", std::process::id()));
    std::fs::write(&paths, "/one\n/two?x={n}\n").expect("a file of paths");
    let url = format!("http://{address}/");
    let what = ["--method", "PUT", "--body", "{\"id\":{n}}", "--paths", paths.to_str().expect("text")];
    let headers = ["-H", "X-Key: secret", "--header", "content-type: application/json", "--ok-status", "201"];
    let load =
        ["--rate", "200", "--connections", "3", "--warm-up-seconds", "0", "--seconds", "0.5", "--json"];
    let output = bench(&[&["http", "--url", &url], &what[..], &headers, &load].concat());
    let result = json(&output);
    assert_eq!((&result["replies"], &result["wrong"]), (&100.into(), &0.into()), "{result}");
    let command = result["origin"]["command"].as_str().expect("the command");
    assert!(command.contains("X-Key: …") && !command.contains("secret"), "{command}");
    let mut requests: Vec<_> = seen.try_iter().collect();
    requests.sort_by_key(|(_, body)| body.len() * 1000 + body.bytes().map(usize::from).sum::<usize>());
    assert_eq!(requests.len(), 100);
    for number in 0..100 {
        let path = if number % 2 == 0 { "/one".to_owned() } else { format!("/two?x={number}") };
        let body = format!("{{\"id\":{number}}}");
        let (head, _) = requests.iter().find(|(_, found)| *found == body).expect("each number once");
        assert!(head.starts_with(&format!("PUT {path} HTTP/1.1\r\n")), "{head}");
        assert!(
            head.contains("\r\nX-Key: secret\r\n") && head.contains("\r\ncontent-type: application/json\r\n")
        );
        assert!(!head.contains("text/plain"), "{head}");
    }
}

/// The payload of a short masked frame.
fn read_frame(reader: &mut impl Read) -> Option<String> {
    let mut head = [0; 6];
    reader.read_exact(&mut head).ok()?;
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    reader.read_exact(&mut payload).ok()?;
    let mask = head[2..].iter().cycle();
    String::from_utf8(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()).ok()
}

fn write_frame(stream: &mut TcpStream, text: &str) -> Option<()> {
    stream.write_all(&[&[0x82, text.len() as u8], text.as_bytes()].concat()).ok()
}

/// Echoes to those who offered `chat` and said their name, and not before they were welcomed.
fn receive_politely(mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let head = read_head(&mut reader);
    head.contains("\r\nSec-WebSocket-Protocol: chat\r\n").then_some(())?;
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").ok()?;
    read_frame(&mut reader)?.strip_prefix("I am client ")?.strip_suffix('\x1e')?.parse::<u64>().ok()?;
    write_frame(&mut stream, "wait")?;
    write_frame(&mut stream, "{\"welcome\":true}")?;
    loop {
        let message = read_frame(&mut reader)?;
        (message.len() == 5).then_some(())?;
        write_frame(&mut stream, &message)?;
    }
}

#[test]
fn a_client_says_its_first_message_and_is_served_when_it_is_answered() {
    let address = server(|stream| receive_politely(stream).unwrap_or_default());
    let url = format!("ws://{address}/");
    let polite =
        ["--subprotocol", "chat", "--first-message", r"I am client {n}\x1e", "--ready", "\"welcome\":true"];
    let load = ["--rate", "200", "--bytes", "5", "--connections", "4", "--seconds", "0.5", "--json"];
    let result = json(&bench(&[&["echo", "--url", &url], &polite[..], &load].concat()));
    assert_eq!(
        (&result["replies"], &result["wrong"], &result["lost"], &result["unanswered"]),
        (&100.into(), &0.into(), &0.into(), &0.into()),
        "{result}"
    );
    let connect = ["connect", "--url", &url, "--connections", "6", "--workers", "2", "--hold", "0", "--json"];
    let result = json(&bench(&[&connect[..], &polite].concat()));
    assert_eq!(
        (&result["waves"][0]["served"], &result["waves"][0]["failed"]),
        (&6.into(), &0.into()),
        "{result}"
    );
}
