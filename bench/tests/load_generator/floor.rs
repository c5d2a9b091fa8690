//! A running floor program, for tests of the load generator; ends with the test.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// The load generator, which has the floor programs in it.
pub const BENCH: &str = env!("CARGO_BIN_EXE_roadstead-bench");

/// The running program.
pub struct Floor {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Floor {
    /// Starts `floor KIND …` on a free port.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, "true")
    }

    /// The same, after a command of the shell.
    pub fn start_with(arguments: &[&str], before: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{before} && exec \"$0\" \"$@\""), BENCH, "floor"])
            .args(arguments)
            .args(["--seconds", "120"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it tells its address");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, address }
    }

    /// Its process.
    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Waits until it has used the processor for a while.
    pub fn wait_until_busy(&self) {
        let used = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).expect("it runs");
            stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("a number")
        };
        let before = used();
        while used() < before + 20_000_000 {
            std::thread::yield_now();
        }
    }

    /// Its address as a URL of bare TCP.
    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().expect("it ends");
        }
    }
}
