//! permessage-deflate against npm `ws`, the server most WebSockets of this world meet: offered, agreed on in every way,
//! and measured.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::floor::{BENCH, Floor};

/// Echoes; what one says to `/room` goes to all who are there. Its options are `ws`'s for permessage-deflate.
const SERVER: &str = r#"
const { WebSocketServer } = require(process.argv[1]);
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: JSON.parse(process.argv[2]) });
server.on("listening", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
server.on("connection", (socket, request) => {
    socket.on("error", () => {});
    if (request.url === "/room") socket.on("message", (data) => server.clients.forEach((other) => {
        if (other !== socket) other.send(data.toString());
    }));
    else socket.on("message", (data, binary) => socket.send(data, { binary }));
});
"#;

struct Node {
    child: Child,
    address: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// npm `ws` with these options; none where the peers of the comparison are not installed.
fn node(options: &str) -> Option<Node> {
    let ws = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compare/peers/ws/node_modules/ws");
    if !ws.is_dir() {
        println!("skipped: npm ws is not here; `npm ci` in bench/compare/peers/ws brings it");
        return None;
    }
    let mut child = Command::new("node")
        .args(["-e", SERVER, ws.to_str().expect("text"), options])
        .stdout(Stdio::piped())
        .spawn()
        .inspect_err(|error| println!("skipped: node: {error}"))
        .ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it tells its address");
    let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
    Some(Node { child, address })
}

fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(BENCH).args(arguments).output().expect("the load generator starts");
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

fn echo(node: &Node, offer: &str, more: &[&str]) -> Value {
    let url = format!("ws://{}/", node.address);
    let load = ["--rate", "300", "--connections", "3", "--warm-up", "0", "--seconds", "1", "--json"];
    let result = bench(&[&["echo", "--url", &url, offer], &load[..], more].concat());
    let counts = ["replies", "wrong", "lost", "unanswered"].map(|name| result[name].as_u64());
    assert_eq!(counts, [300, 0, 0, 0].map(Some), "{offer}: {result}");
    result
}

/// Messages, compressed messages, and the share of their bytes that crossed the line.
fn sizes(result: &Value, direction: &str) -> (u64, u64, f64) {
    let count = |name: &str| result["compression"][direction][name].as_u64().expect("a count");
    (count("messages"), count("compressed"), count("wire_bytes") as f64 / count("plain_bytes") as f64)
}

const TEXT: [&str; 4] =
    ["--bytes", "600", "--content", r#"{"id":17,"user":"anna","text":"good morning to all of you"},"#];

#[test]
fn messages_go_and_come_compressed_as_the_server_agreed() {
    for (options, offer) in [
        (r#"{"threshold":0}"#, "--compression"),
        (r#"{"threshold":0,"serverNoContextTakeover":true,"clientNoContextTakeover":true}"#, "--compression"),
        (r#"{"threshold":0,"clientMaxWindowBits":9,"serverMaxWindowBits":10}"#, "--compression"),
        (r#"{"threshold":0}"#, "--compression="),
        (r#"{"threshold":0}"#, "--compression=server_no_context_takeover; server_max_window_bits=12"),
    ] {
        let Some(node) = node(options) else { return };
        let result = echo(&node, offer, &TEXT);
        assert_eq!(result["compression"]["agreed"], 3, "{options}: {result}");
        for direction in ["sent", "received"] {
            let (messages, compressed, share) = sizes(&result, direction);
            assert!((messages, compressed) == (300, 300) && share < 0.4, "{options} {direction}: {result}");
        }
        // What may build on the last message is next to nothing when it is the same again.
        let takes_over = !options.contains("serverNo") && !offer.contains("server_no");
        assert_eq!(sizes(&result, "received").2 < 0.05, takes_over, "{options} {offer}: {result}");
    }
}

#[test]
fn what_the_server_sends_plain_is_counted_as_plain() {
    // As npm `ws` does with less than a kilobyte where each message begins anew, and by default with everything.
    let Some(node) = node(r#"{"threshold":1024,"serverNoContextTakeover":true}"#) else { return };
    let result = echo(&node, "--compression", &TEXT);
    assert_eq!(sizes(&result, "received"), (300, 0, 1.0), "{result}");
    let Some(node) = self::node("false") else { return };
    let result = echo(&node, "--compression", &TEXT);
    assert_eq!(result["compression"]["agreed"], 0, "{result}");
    assert!(result["verdict"]["warnings"].to_string().contains("the server did not agree"), "{result}");
}

#[test]
fn a_compressed_fan_out_loses_nothing() {
    let Some(node) = node(r#"{"threshold":0}"#) else { return };
    let url = format!("ws://{}/room", node.address);
    let load = ["--subscribers", "40", "--rate", "40", "--bytes", "400", "--seconds", "1", "--json"];
    let result = bench(&[&["fanout", "--url", &url, "--publish", &url, "--compression"], &load[..]].concat());
    assert_eq!(result["delivered"], result["expected"], "{result}");
    assert!(result["delivered"].as_u64() > Some(1000) && result["compression"]["agreed"] == 40, "{result}");
    let (messages, compressed, share) = sizes(&result, "received");
    assert!(messages == compressed && share < 0.5, "{result}");
}

#[test]
fn compression_is_refused_where_there_is_no_websocket() {
    let floor = Floor::start(&["echo"]);
    let (tcp, http) = (floor.url(), format!("http://{}/", floor.address));
    for (arguments, word) in [
        (&["echo", "--url", &tcp, "--compression"][..], "a WebSocket"),
        (&["http", "--url", &http, "--compression"], "a WebSocket"),
        (&["connect", "--url", &http, "--transport", "sse", "--compression"], "a WebSocket"),
        (&["echo", "--url", "ws://127.0.0.1:1/", "--compression=zstd"], "RFC 7692"),
    ] {
        let output = Command::new(BENCH).args(arguments).output().expect("the load generator starts");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && message.contains(word), "{arguments:?}: {message}");
    }
}
