//! A Redis of a test's own: Debian's redis-server, or the program that `ROADSTEAD_TEST_REDIS` names, Valkey's for example, on a
//! socket's file in a folder of its own, gone with the test.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::server::{SOON, await_that};

/// A running Redis, or one that is away.
pub struct Redis {
    folder: PathBuf,
    process: Option<Child>,
    more: Vec<String>,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Text of any kind.
    Text(String),
    /// A number.
    Number(i64),
    /// Nothing.
    Null,
    /// Several.
    List(Vec<Reply>),
    /// It has failed.
    Error(String),
}

impl Redis {
    /// Starts one that keeps nothing on disk.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more settings, as they stand on its command line.
    pub fn with(more: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("roadstead-redis-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        let more = more.iter().map(|word| (*word).to_owned()).collect();
        let mut redis = Self { folder, process: None, more };
        redis.go_on();
        redis
    }

    /// Starts it again with what it has on disk.
    pub fn go_on(&mut self) {
        let program = std::env::var("ROADSTEAD_TEST_REDIS").unwrap_or_else(|_| "redis-server".into());
        let mut command = Command::new(program);
        command.args(["--port", "0", "--save", "", "--unixsocket", &self.socket()]).args(&self.more);
        command.current_dir(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("these tests want Debian's Redis (apt-get install redis-server): {error}")
        });
        self.process = Some(process);
        await_that("Redis answers", || {
            match UnixStream::connect(self.socket()).map(|_| self.ask(&["PING"])) {
                Ok(Reply::Text(text)) => text == "PONG",
                // It asks for a password.
                Ok(Reply::Error(error)) => error.starts_with("NOAUTH"),
                Ok(_) | Err(_) => false,
            }
        });
    }

    /// The file of its socket.
    pub fn socket(&self) -> String {
        self.folder.join("redis.sock").display().to_string()
    }

    /// The setting that joins a server by it.
    pub fn setting(&self) -> String {
        format!("broker.url=unix:{}", self.socket())
    }

    /// Asks it something, on a connection of its own.
    pub fn ask(&self, words: &[&str]) -> Reply {
        self.ask_bytes(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    /// As [`Self::ask`], for what is no text.
    pub fn ask_bytes(&self, words: &[&[u8]]) -> Reply {
        let mut stream = UnixStream::connect(self.socket()).expect("Redis is there");
        stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(&[word, &b"\r\n"[..]].concat());
        }
        stream.write_all(&command).expect("Redis takes it");
        read(&mut BufReader::new(stream))
    }

    /// Kills it: what it has not on disk is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child of ours");
            process.wait().expect("a child of ours");
        }
    }

    /// Does something while it does nothing.
    pub fn pause(&self, act: impl FnOnce()) {
        self.signal("STOP");
        act();
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it runs").id();
        let kill = format!("kill -{name} {id}");
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn read(from: &mut BufReader<UnixStream>) -> Reply {
    let mut line = String::new();
    from.read_line(&mut line).expect("Redis answers");
    let (kind, rest) = line.trim_end().split_at(1);
    let length = || rest.parse::<i64>().expect("a number");
    match kind {
        "+" => Reply::Text(rest.to_owned()),
        "-" => Reply::Error(rest.to_owned()),
        ":" => Reply::Number(length()),
        "$" | "*" if rest == "-1" => Reply::Null,
        "*" => Reply::List((0..length()).map(|_| read(from)).collect()),
        "$" => {
            let mut block = vec![0; length() as usize + 2];
            from.read_exact(&mut block).expect("Redis answers");
            block.truncate(block.len() - 2);
            Reply::Text(String::from_utf8_lossy(&block).into_owned())
        }
        kind => panic!("an answer of the kind {kind}"),
    }
}
