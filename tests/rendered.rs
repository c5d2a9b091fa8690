//! A server that is started as `roadstead tune render` says is reached by clients and by those who ask for its health.
//!
//! Whether what is rendered is well formed is asked in `tuning/tests`.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_roadstead");
/// Far longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn rendered(artefact: &str) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(["tune", "render", artefact, "--target", "500"]);
    if artefact == "kubernetes" {
        command.args(["--image", "any:1"]);
    }
    String::from_utf8(command.output().expect("the program runs").stdout).expect("text")
}

/// The words of a list such as `["serve", "--connections", "500"]`.
fn arguments(text: &str, word: &str) -> Vec<String> {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no {word} in {text}"));
    let list = rest.lines().next().expect("a line");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

struct Server {
    process: Child,
    clients: SocketAddr,
    admin: SocketAddr,
}

/// Every setting an artefact gives by the environment, however it writes it: `NAME=value`, `NAME: "value"`, or
/// `name: NAME, value: "value"`. What has no value in it is a secret that its reader makes, as a comment may say.
fn environment(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    let words = |line| str::split(line, "ROADSTEAD_").skip(1).map(move |rest| (is_comment(line), rest));
    for (is_comment, rest) in text.lines().flat_map(words) {
        let length = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(length);
        // A setting has its section's name before two underscores; other words are the artefact's own.
        if !name.contains("__") {
            continue;
        }
        let value = [": \"", ", value: \"", "="].iter().find_map(|before| {
            let value = rest.strip_prefix(before)?;
            value.split(|c: char| c.is_whitespace() || "\"\'}".contains(c)).next()
        });
        let value = value.filter(|value| !value.is_empty() && !value.starts_with(['$', '%']));
        if is_comment && value.is_some() {
            continue;
        }
        // What `openssl rand -hex 32` prints.
        let value = value.map_or_else(|| "0123456789abcdef".repeat(4), str::to_owned);
        found.entry(format!("ROADSTEAD_{name}")).or_insert(value);
    }
    found
}

/// Starts the program with the arguments and settings that were rendered, but for the ports, which are free ones.
fn start(text: &str, arguments: &[String]) -> Server {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().stdout(Stdio::piped()).stderr(Stdio::null());
    for (name, value) in environment(text) {
        let value = match name.as_str() {
            "ROADSTEAD_SERVER__LISTEN" | "ROADSTEAD_SERVER__ADMIN" => {
                let (host, port) = value.rsplit_once(':').expect("an address");
                assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{value}");
                format!("{host}:0")
            }
            _ => value,
        };
        command.env(name, value);
    }
    let mut process = command.spawn().expect("the program runs");
    let mut banner = BufReader::new(process.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut address = |word: &str| {
        let line = banner.find(|line| line.trim().starts_with(word)).expect("it ended early");
        let text = line.trim().trim_start_matches(word).trim().trim_start_matches("http://").to_owned();
        let mut address: SocketAddr = text.parse().expect("an address");
        assert!(
            address.ip().is_unspecified() || word == "admin",
            "{address} cannot be reached from elsewhere"
        );
        address.set_ip([127, 0, 0, 1].into());
        address
    };
    let (clients, admin) = (address("listening"), address("admin"));
    Server { process, clients, admin }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn status_of(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let body = if method == "POST" { "Content-Length: 1\r\n\r\nx" } else { "\r\n" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    stream.write_all((head + body).as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn is_well(server: &Server) {
    for path in ["/readyz", "/healthz", "/metrics"] {
        assert_eq!(status_of(server.admin, "GET", path), "200", "{path}");
    }
    assert_eq!(status_of(server.clients, "GET", "/channels/news/info"), "200");
    // Whoever has no key does not publish.
    assert_eq!(status_of(server.clients, "POST", "/channels/news"), "401");
}

#[test]
fn a_container_of_docker_is_reached_and_well() {
    let text = rendered("docker");
    is_well(&start(&text, &arguments(&text, "command:")));
}

#[test]
fn a_pod_of_kubernetes_is_reached_and_well() {
    let text = rendered("kubernetes");
    // Probes come to the pod's address.
    let admin = &environment(&text)["ROADSTEAD_SERVER__ADMIN"];
    assert!(admin.starts_with("0.0.0.0:"), "{admin}");
    is_well(&start(&text, &arguments(&text, "image: any:1\n        args:")));
}

#[test]
fn a_unit_of_systemd_is_reached_and_well() {
    let text = rendered("systemd");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/roadstead "))
        .expect("a start");
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    is_well(&start(&text, &arguments));
}
