//! The program `roadstead` from outside: its commands, what it prints, and the codes it ends with.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The program, in an environment that sets nothing.
fn roadstead(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
    command.args(arguments).env_clear();
    command
}

/// Runs the program to its end; one that serves where it should refuse is killed.
#[track_caller]
fn ends(command: &mut Command, code: i32) -> (String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let process = child.id();
    let (sender, receiver) = mpsc::channel();
    let wait = move || sender.send(child.wait_with_output()).expect("somebody waits for the outcome");
    let waiter = thread::spawn(wait);
    let outcome = receiver.recv_timeout(PATIENCE);
    if outcome.is_err() {
        send_signal(process, "KILL");
    }
    waiter.join().expect("the waiter only waits");
    let Output { status, stdout, stderr } = match outcome {
        Ok(output) => output.expect("a child of ours"),
        Err(_) => panic!("it did not end by itself"),
    };
    let (stdout, stderr) =
        (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
    assert_eq!(status.code(), Some(code), "stdout:\n{stdout}\nstderr:\n{stderr}");
    (stdout, stderr)
}

/// How long a program may take to end by itself on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn send_signal(process: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status();
    assert!(status.expect("a shell").success());
}

/// A file that is deleted with the value.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn holding(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("roadstead-cli-{}-{name}.toml", std::process::id()));
        fs::write(&path, text).expect("the temporary directory takes a file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the temporary directory has a plain name")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the file is still there");
    }
}

#[test]
fn tune_check_tells_the_ceiling_that_serve_would_have() {
    let output = roadstead(&["tune", "check", "--json"]).output().expect("the program runs");
    assert!(matches!(output.status.code(), Some(0..=2)), "{:?}", output.status);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["target"], 120_000);
    let findings = report["findings"].as_array().expect("a list");
    let nofile = findings.iter().find(|finding| finding["id"] == "nofile").expect("open files");
    let (_, hard) = rlimit::Resource::NOFILE.get().expect("limits can be read");
    assert_eq!(nofile["places"][0]["current"], hard.to_string());
    let cpus = report["cpus"].as_u64().expect("a number");
    assert_eq!(nofile["holds"], hard - roadstead_tuning::rules::descriptors_reserved(cpus, 1));
}

#[test]
fn tune_names_a_setting_that_it_does_not_know() {
    let (_, told) = ends(&mut roadstead(&["tune", "explain", "somaxcon"]), 2);
    assert!(told.contains("did you mean `somaxconn`?"), "{told}");
}

/// A server that has told that it listens. Killed with the value if it still runs.
struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
    banner: Vec<String>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut process = roadstead(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut server = Self { process, output, banner: Vec::new() };
        // The last line of the banner is the third command to try.
        while server
            .banner
            .iter()
            .filter(|line| line.contains("/channels/news") || line.contains("browser"))
            .count()
            < 3
        {
            let mut line = String::new();
            let read = server.output.read_line(&mut line).expect("text");
            if read == 0 {
                panic!("it ended early: {}", server.errors());
            }
            server.banner.push(line.trim_end().to_owned());
        }
        server
    }

    /// The address behind a word of the banner.
    fn address(&self, word: &str) -> SocketAddr {
        let line =
            self.banner.iter().find_map(|line| line.trim().strip_prefix(word)).expect("a line of the banner");
        line.trim().strip_prefix("http://").expect("a TCP address").parse().expect("an address")
    }

    fn signal(&self, name: &str) {
        send_signal(self.process.id(), name);
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        let mut errors = self.process.stderr.take().expect("a pipe");
        errors.read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.try_wait().expect("a child of ours").is_none() {
            self.process.kill().expect("it runs");
            self.process.wait().expect("a child of ours");
        }
    }
}

const ANYWHERE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

#[test]
fn what_config_print_prints_passes_config_check() {
    let (printed, _) = ends(&mut roadstead(&["config", "print"]), 0);
    let file = TemporaryFile::holding("printed", &printed);
    let (told, errors) = ends(&mut roadstead(&["config", "check", file.path()]), 0);
    let sum = told.strip_prefix(&format!("{}: nothing is wrong\n", file.path())).expect("nothing is");
    assert!(
        sum.starts_with("all clients together make ") && sum.contains(" limits.send_bytes_max\n"),
        "{sum}"
    );
    assert_eq!(errors, "");
}

#[test]
fn config_check_tells_everything_that_is_wrong_and_ends_with_2() {
    let file = TemporaryFile::holding("unknown", "[server]\nlisten_on = []\n[limit]\nchannels_max = 1\n");
    let (_, errors) = ends(&mut roadstead(&["config", "check", file.path()]), 2);
    assert_eq!(
        errors,
        format!(
            "{path}: there is no key limit.channels_max; did you mean limits.channels_max?\n\
             {path}: there is no key server.listen_on; did you mean server.listen?\n",
            path = file.path()
        )
    );
    let file =
        TemporaryFile::holding("relations", "[limits]\nping_timeout_ms = 9\nchannel_name_bytes_max = 300\n");
    let (_, errors) = ends(&mut roadstead(&["config", "check", file.path()]), 2);
    assert_eq!(errors.lines().count(), 2, "{errors}");
}

#[test]
fn config_check_ignores_the_environment_and_serve_does_not() {
    let file = TemporaryFile::holding("environment", "");
    let typo = ("ROADSTEAD_SERVER__SHARD", "1");
    ends(roadstead(&["config", "check", file.path()]).env(typo.0, typo.1), 0);
    let (_, errors) = ends(roadstead(&ANYWHERE).env(typo.0, typo.1), 2);
    assert_eq!(
        errors,
        "environment: there is no key ROADSTEAD_SERVER__SHARD; did you mean ROADSTEAD_SERVER__SHARDS?\n"
    );
}

#[test]
fn bad_usage_ends_with_2_and_help_with_0() {
    ends(&mut roadstead(&["--no-such-flag"]), 2);
    ends(&mut roadstead(&["--set", "novalue"]), 2);
    let (help, _) = ends(&mut roadstead(&["--help"]), 0);
    for part in ["Examples:", "--publish-key", "Exit codes: 0", "config"] {
        assert!(help.contains(part), "{part} is missing in\n{help}");
    }
}

#[test]
fn help_tells_about_commands_and_prints_pages_of_the_manual() {
    let (whole, _) = ends(&mut roadstead(&["help"]), 0);
    assert!(whole.contains("Exit codes: 0") && whole.contains("\n  channels "), "{whole}");
    let (page, _) = ends(&mut roadstead(&["help", "ws"]), 0);
    assert!(page.starts_with("THE PROTOCOL OF /WS\n") && !page.contains('\x1b'), "{page}");
    let (_, errors) = ends(&mut roadstead(&["help", "operatin"]), 2);
    assert_eq!(errors, "there is no command and no page operatin; did you mean operating?\n");
}

#[test]
fn completions_and_man_pages_know_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let (text, _) = ends(&mut roadstead(&["completions", shell]), 0);
        assert!(text.contains("publish-key") && text.contains("completions"), "{shell}");
    }
    ends(&mut roadstead(&["completions", "cobol"]), 2);
    let folder = std::env::temp_dir().join(format!("roadstead-man-{}", std::process::id()));
    ends(&mut roadstead(&["man", folder.to_str().expect("a plain name")]), 0);
    let page = fs::read_to_string(folder.join("roadstead-serve.1")).expect("a page");
    assert!(page.contains("publish\\-key"), "{page}");
    fs::remove_dir_all(folder).expect("it was just made");
    let (version, _) = ends(&mut roadstead(&["--version"]), 0);
    assert!(version.starts_with(&format!("roadstead {}", env!("CARGO_PKG_VERSION"))), "{version}");
}

#[test]
fn what_is_open_to_everybody_is_refused_before_anything_is_bound() {
    let (_, errors) = ends(&mut roadstead(&["--listen", "0.0.0.0:0"]), 2);
    assert!(errors.starts_with("anybody who reaches 0.0.0.0:0 could read every channel"), "{errors}");
    assert!(errors.contains("anybody who reaches 0.0.0.0:0 could publish"), "{errors}");
}

#[test]
fn an_address_in_use_ends_with_1_and_names_who_to_ask() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("bound");
    let (_, errors) = ends(&mut roadstead(&["--listen", &address.to_string(), "--admin", ""]), 1);
    let cure = format!("`ss -ltnp 'sport = :{}'` shows who has it", address.port());
    assert!(errors.contains(&cure), "{errors}");
}

#[test]
fn more_connections_than_the_rings_hold_end_with_2() {
    let arguments = [&ANYWHERE[..], &["--shards", "1", "--connections", "17000000"]].concat();
    let (_, errors) = ends(&mut roadstead(&arguments), 2);
    assert!(errors.starts_with("limits.connections_max is 17000000, and 1 shard holds "), "{errors}");
}

#[test]
fn a_server_tells_where_it_listens_and_a_signal_ends_it_with_0() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[&ANYWHERE[..], &["--shards", "2", "--drain-ms", "0"]].concat());
        assert!(server.banner[0].contains(": 2 shards on core"), "{:?}", server.banner);
        for word in ["listening", "admin"] {
            assert_ne!(server.address(word).port(), 0);
            TcpStream::connect(server.address(word)).expect("it listens");
        }
        server.signal(signal);
        let errors = server.errors();
        assert_eq!(server.process.wait().expect("a child of ours").code(), Some(0), "{errors}");
        assert!(errors.contains("listening") && errors.contains("draining after SIG"), "{errors}");
    }
}

#[test]
fn a_second_signal_ends_at_once_with_the_code_a_shell_expects() {
    for (second, code) in [("INT", 130), ("TERM", 143)] {
        let mut server = Server::start(&[&ANYWHERE[..], &["--shards", "1", "--drain-ms", "600000"]].concat());
        let mut client = TcpStream::connect(server.address("listening")).expect("it listens");
        // A request under way is waited for, so draining cannot end before its timeout. Once the one before it has been
        // answered, the server is known to have read it.
        let requests = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hello HTTP/1.1\r\nHost: ";
        client.write_all(requests).expect("the server reads");
        client.read_exact(&mut [0; 12]).expect("the first is answered");
        server.signal("TERM");
        let mut errors = BufReader::new(server.process.stderr.take().expect("a pipe"));
        let mut seen = String::new();
        while !seen.contains("draining after SIGTERM") {
            assert!(errors.read_line(&mut seen).expect("text") > 0, "{seen}");
        }
        server.signal(second);
        errors.read_to_string(&mut seen).expect("text");
        assert_eq!(server.process.wait().expect("a child of ours").code(), Some(code), "{seen}");
        assert!(seen.contains(&format!("ending at once after a second signal, SIG{second}")), "{seen}");
    }
}

#[test]
fn two_servers_do_not_share_a_port_by_accident() {
    let first = Server::start(&ANYWHERE);
    let address = first.address("listening").to_string();
    let (_, errors) = ends(&mut roadstead(&["--listen", &address, "--admin", ""]), 1);
    assert!(errors.contains("Address already in use"), "{errors}");
}

#[test]
fn log_lines_are_json_objects_by_setting() {
    let mut server = Server::start(&[&ANYWHERE[..], &["--log-format", "json", "--drain-ms", "0"]].concat());
    server.signal("TERM");
    let errors = server.errors();
    server.process.wait().expect("a child of ours");
    assert!(errors.lines().count() >= 2, "{errors}");
    for line in errors.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("a JSON object");
        assert!(value["message"].is_string() && value["level"].is_string(), "{line}");
    }
}

#[test]
fn a_token_is_made_explained_and_good_where_its_secret_is_known() {
    let secret = "a-secret-of-these-tests-that-is-long-enough";
    let make = |arguments: &[&str]| {
        let mut command = roadstead(&[&["token", "make"], arguments].concat());
        command.env("ROADSTEAD_AUTH__HS256_KEYS", secret);
        command
    };
    let (token, _) = ends(&mut make(&["--user", "42", "--subscribe", "news:**", "--history", "a"]), 0);
    let config = TemporaryFile::holding("token", "[read]\nopen = true\n");
    let explain = |secret: &str| {
        let mut command = roadstead(&["token", "explain", "--config", config.path(), token.trim()]);
        ends(command.env("ROADSTEAD_AUTH__HS256_KEYS", secret), 0).0
    };
    let told = explain(secret);
    for part in
        [r#""sub":"42""#, r#""subscribe":["news:**"]"#, "it is good for", "verdict good, of the user \"42\""]
    {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    assert!(!told.contains(secret));
    assert!(explain(&"x".repeat(40)).contains("verdict refused, token_signature_wrong"));
    // The secret alone is enough, where a server would find it.
    let explain = |secret: Option<&str>| {
        let mut command = roadstead(&["token", "explain", token.trim()]);
        command.envs(secret.map(|secret| ("ROADSTEAD_AUTH__HS256_KEYS", secret)));
        ends(&mut command, 0).0
    };
    assert!(explain(Some(secret)).contains("verdict good, of the user \"42\""));
    assert!(explain(Some(&"x".repeat(40))).contains("verdict refused, token_signature_wrong"));
    assert!(explain(None).contains("nothing was verified here"));
    let (_, refused) = ends(&mut roadstead(&["token", "make", "--user", "42"]), 2);
    assert!(refused.contains("ROADSTEAD_AUTH__HS256_KEYS"), "{refused}");
    let (_, refused) = ends(&mut roadstead(&["token", "explain", "nothing"]), 2);
    assert!(refused.contains("no token"), "{refused}");
    for command in ["make", "explain"] {
        let (help, _) = ends(&mut roadstead(&["token", command, "--help"]), 0);
        assert!(help.contains("Examples:") && help.contains("roadstead token"), "{help}");
    }
}
