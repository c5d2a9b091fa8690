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
        let mut child = Command::new(BENCH)
            .arg("floor")
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
