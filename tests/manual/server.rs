//! A server on free ports, ended with the value.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

/// Far longer than an answer takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    process: Child,
    pub clients: SocketAddr,
    pub admin: SocketAddr,
    /// Kept open, so that the program can go on printing.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// One with the defaults of a laptop, and these settings, each `key=value`.
    pub fn start(settings: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--shards", "2"]);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let mut process = command
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut banner = String::new();
        while !banner.contains("\ntry:\n") {
            assert!(output.read_line(&mut banner).expect("text") > 0, "it ended early: {banner}");
        }
        let address = |word: &str| {
            let line = banner.lines().find_map(|line| line.trim().strip_prefix(word)).expect("a line");
            line.trim().trim_start_matches("http://").parse().expect("an address")
        };
        Self { clients: address("listening"), admin: address("admin"), process, _output: output }
    }

    /// A text of the manual with this server's ports instead of those of the defaults.
    pub fn substitute(&self, text: &str) -> String {
        text.replace(":8080", &format!(":{}", self.clients.port()))
            .replace(":8081", &format!(":{}", self.admin.port()))
    }

    /// What this server has printed, with the ports of the defaults.
    pub fn restore(&self, text: &str) -> String {
        text.replace(&format!(":{}", self.clients.port()), ":8080")
            .replace(&format!(":{}", self.admin.port()), ":8081")
    }

    /// How many follow a channel, whose name is written as in a path.
    pub fn subscribers(&self, channel: &str) -> u64 {
        let (_, body) = get(self.clients, &format!("/channels/{channel}/info"), "localhost");
        let info: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        info["subscribers"].as_u64().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// One GET: the status and the body.
pub fn get(address: SocketAddr, target: &str, host: &str) -> (u16, String) {
    ask(address, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

/// One request on a connection of its own.
pub fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
