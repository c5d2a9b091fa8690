//! A server that is started as `roadstead tune render` says is reached by clients and by those who ask for its health.
//!
//! Whether what is rendered is well formed is asked in `tuning/tests`.

use std::{
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
    command.args(["tune", "render", artefact, "--target", "500", "--image", "any:1"]);
    command.args(["--binary", "https://files.example/roadstead"]);
    String::from_utf8(command.output().expect("the program runs").stdout).expect("text")
}

/// What stands between the first quotes behind a word.
fn quoted(text: &str, word: &str) -> String {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no {word} in {text}"));
    rest.split('"').nth(1).expect("quotes").to_owned()
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

/// Starts the program with the addresses and arguments that were rendered, but for the ports, which are free ones.
fn start(listen: &str, admin: &str, arguments: &[String]) -> Server {
    let free = |address: &str| {
        let (host, port) = address.rsplit_once(':').expect("an address");
        assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{address}");
        format!("{host}:0")
    };
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().stdout(Stdio::piped()).stderr(Stdio::null());
    command.env("ROADSTEAD_SERVER__LISTEN", free(listen)).env("ROADSTEAD_SERVER__ADMIN", free(admin));
    command.env("ROADSTEAD_READ__OPEN", "true");
    // What the artefacts make with `openssl rand -hex 32`.
    command.env("ROADSTEAD_PUBLISH__KEYS", "0123456789abcdef".repeat(4));
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
    let listen = quoted(&text, "ROADSTEAD_SERVER__LISTEN:");
    let admin = quoted(&text, "ROADSTEAD_SERVER__ADMIN:");
    is_well(&start(&listen, &admin, &arguments(&text, "command:")));
}

#[test]
fn a_pod_of_kubernetes_is_reached_and_well() {
    let text = rendered("kubernetes");
    let listen = quoted(&text, "ROADSTEAD_SERVER__LISTEN, value:");
    let admin = quoted(&text, "ROADSTEAD_SERVER__ADMIN, value:");
    // Probes come to the pod's address.
    assert!(admin.starts_with("0.0.0.0:"), "{admin}");
    is_well(&start(&listen, &admin, &arguments(&text, "image: any:1\n        args:")));
}

#[test]
fn a_unit_of_systemd_is_reached_and_well() {
    let text = rendered("systemd");
    let value = |key: &str| {
        let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("no {key} in {text}"));
        rest.split_whitespace().next().expect("a value").to_owned()
    };
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/roadstead "))
        .expect("a start");
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    is_well(&start(&value("ROADSTEAD_SERVER__LISTEN="), &value("ROADSTEAD_SERVER__ADMIN="), &arguments));
}
