//! Starting the program, asking its admin listener, and ending it.
//!
//! Invariant: a server that is dropped has ended with code 0 after SIGTERM and has logged no panic; otherwise the
//! test fails and shows the log.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    certificate,
    client::{Client, Response},
    socket::WebSocket,
};

/// How long anything may take that should happen soon; generous, for test machines are busy.
pub const SOON: Duration = Duration::from_secs(20);

/// A running server.
pub struct Server {
    process: Child,
    /// Where clients connect, as the program printed it: `127.0.0.1:80`, or `unix:PATH`.
    pub listening: Vec<String>,
    admin: SocketAddr,
    /// Where clients are sent to an address with TLS.
    pub redirect: Option<SocketAddr>,
    log: File,
    /// Kept open, so that the program can go on printing.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts two shards with these settings, each `key=value`.
    pub fn start(settings: &[&str]) -> Self {
        Self::with_shards(2, settings)
    }

    /// Starts so many shards with these settings.
    pub fn with_shards(shards: u16, settings: &[&str]) -> Self {
        Self::launch(&mut Self::command(shards, &["127.0.0.1:0"], settings))
    }

    /// The command that starts a server; it must be handed to [`Self::launch`].
    pub fn command(shards: u16, listen: &[&str], settings: &[&str]) -> Command {
        let mut command = program();
        command.args([
            "--admin",
            "127.0.0.1:0",
            "--shards",
            &shards.to_string(),
            "--set",
            "server.drain_ms=100",
            // Tests look at the process that they start: its memory, its end. `keeper.rs` has those with a keeper.
            "--set",
            "server.keeper=false",
        ]);
        for address in listen {
            command.args(["--listen", address]);
        }
        let is_tcp = |address: &&str| !address.starts_with("unix:");
        if certificate::is_used_everywhere() && !listen.is_empty() && listen.iter().all(is_tcp) {
            command.args(certificate::flags());
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Starts the command and waits until it listens.
    #[track_caller]
    pub fn launch(command: &mut Command) -> Self {
        let log = anonymous_file();
        let errors = log.try_clone().expect("a descriptor can be doubled");
        let mut process =
            command.stdout(Stdio::piped()).stderr(errors).spawn().expect("the program can be started");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut banner = Vec::new();
        let is_whole = |banner: &[String]| banner.iter().any(|line| line == "try:");
        while !is_whole(&banner) {
            let mut line = String::new();
            if output.read_line(&mut line).expect("the banner is text") == 0 {
                panic!("the server ended early: {:?}\n{}", process.wait(), read_all(log));
            }
            banner.push(line.trim().to_owned());
        }
        let words = |name: &str| {
            let line = banner.iter().find_map(|line| line.strip_prefix(name));
            let line = line.unwrap_or_else(|| panic!("no line begins with {name}: {banner:#?}"));
            line.split_whitespace().map(certificate::note).collect()
        };
        let (listening, admin): (Vec<String>, Vec<String>) = (words("listening"), words("admin"));
        let admin = admin[0].parse().expect("the admin address is one");
        let redirect = banner.iter().find_map(|line| line.strip_prefix("redirect"));
        let redirect = redirect.map(|words| certificate::note(words.trim()).parse().expect("an address"));
        Self { process, listening, admin, redirect, log, _output: output }
    }

    /// The first public address.
    pub fn address(&self) -> SocketAddr {
        self.listening[0].parse().expect("the first address is TCP")
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.connect().request("GET", target, "", b"")
    }

    /// Publishes text; its offset.
    #[track_caller]
    pub fn publish(&self, channel: &str, data: impl AsRef<[u8]>) -> u64 {
        self.connect().publish(channel, data)
    }

    /// The position of a channel, as clients write it.
    #[track_caller]
    pub fn position(&self, channel: &str) -> String {
        let info = self.get(&format!("/channels/{channel}/info")).json();
        info["position"].as_str().expect("the channel has a position").to_owned()
    }

    /// A WebSocket.
    #[track_caller]
    pub fn websocket(&self, target: &str) -> WebSocket {
        WebSocket::open(self.connect(), target, "")
    }

    /// One GET on the admin listener.
    #[track_caller]
    pub fn admin(&self, target: &str) -> Response {
        self.connect_admin().request("GET", target, "", b"")
    }

    /// A new connection to the admin listener.
    #[track_caller]
    pub fn connect_admin(&self) -> Client {
        Client::connect(self.admin)
    }

    /// `/shards`, one value per shard.
    #[track_caller]
    pub fn shards(&self) -> Vec<Value> {
        self.admin("/shards").json()["shards"].as_array().expect("a list of shards").clone()
    }

    /// The sum over all shards of the samples of a metric whose labels contain `label`.
    #[track_caller]
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.admin("/metrics").text();
        let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        let samples: Vec<_> = samples.filter_map(|sample| sample.rsplit_once("} ")).collect();
        assert!(!samples.is_empty(), "there is no metric {name} in\n{text}");
        samples
            .iter()
            .filter(|(labels, _)| labels.contains(label))
            .map(|(_, value)| value.parse::<f64>().expect("a sample is a number"))
            .sum()
    }

    /// Waits until the metric is at least `least`.
    #[track_caller]
    pub fn await_metric(&self, name: &str, label: &str, least: f64) {
        await_that(&format!("{name}{{{label}}} >= {least}"), || self.metric(name, label) >= least);
    }

    /// Open public connections, the one asking on the admin listener not counted.
    #[track_caller]
    pub fn connections(&self) -> u64 {
        let shards = self.shards();
        shards.iter().filter_map(|shard| shard["connections"].as_u64()).sum::<u64>() - 1
    }

    /// Subscribers of a channel over all shards.
    #[track_caller]
    pub fn subscribers(&self, channel: &str) -> u64 {
        let info = self.get(&format!("/channels/{channel}/info")).json();
        info["subscribers"].as_u64().expect("a number of subscribers")
    }

    /// Waits until a channel has so many subscribers.
    #[track_caller]
    pub fn await_subscribers(&self, channel: &str, count: u64) {
        await_that(&format!("{channel} has {count} subscribers"), || self.subscribers(channel) == count);
    }

    /// Does something while the server does nothing.
    pub fn pause(&self, act: impl FnOnce()) {
        self.signal("STOP");
        act();
        self.signal("CONT");
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success());
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Memory the process has resident, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// What proc(5) says of the process's memory, in bytes: `VmRSS:` of what is resident, `VmHWM:` of its peak.
    pub fn status_bytes(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("every process has it");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kib * 1024
    }

    /// CPU time the process has used.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("it runs");
        let (_, fields) = stat.rsplit_once(')').expect("the name stands in brackets");
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("a number");
        // proc(5): utime and stime are fields 14 and 15; a tick is 10 ms on every Linux.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// What the program has written to standard error so far.
    pub fn log(&self) -> String {
        read_all(self.log.try_clone().expect("a descriptor can be doubled"))
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        await_that("the server ends", || {
            ended = self.process.try_wait().expect("a child of ours");
            ended.is_some()
        });
        ended.expect("just seen")
    }

    /// Asks the server to drain, and checks that it ended well.
    #[track_caller]
    pub fn stop(mut self) {
        self.end();
    }

    #[track_caller]
    fn end(&mut self) {
        if self.process.try_wait().expect("a child of ours").is_none() {
            self.signal("TERM");
        }
        let status = self.wait();
        let log = self.log();
        assert!(status.success() && !log.contains("panicked"), "{status}\n{log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has failed already; its server may be in any state.
            if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
                self.process.kill().expect("a child of ours");
            }
            eprintln!("the server ended with {:?}; its log:\n{}", self.process.wait(), self.log());
        } else if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end();
        }
    }
}

/// The program, in an environment that sets nothing.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
    command.env_clear();
    command
}

/// A wait that must not last for ever, even if something goes on happening meanwhile.
pub struct Patience(Instant);

impl Patience {
    /// Begins to wait.
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Fails the test if it has lasted too long.
    #[track_caller]
    pub fn check(&self, what: &str) {
        assert!(self.0.elapsed() < SOON, "waited {SOON:?} in vain until {what}");
    }
}

/// Asks again and again until it is so.
#[track_caller]
pub fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Patience::begin();
    while !is_so() {
        patience.check(what);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file without a name, gone with its last descriptor.
fn anonymous_file() -> File {
    let name = format!("roadstead-e2e-{}-{:?}", std::process::id(), Instant::now());
    let path = std::env::temp_dir().join(name.replace([' ', '{', '}', ':', ','], ""));
    let file = File::options().read(true).append(true).create_new(true).open(&path);
    std::fs::remove_file(path).expect("the file was just made");
    file.expect("the temporary directory takes a file")
}

fn read_all(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().expect("a file can be rewound");
    file.read_to_string(&mut text).expect("the log is text");
    text
}
