//! Several machines: a coordinator has agents on other machines start workers, starts their loads together, and merges
//! what they found as if they were threads of its own.
//!
//! An agent runs nothing but this very program's `worker`, on an [`Assignment`](crate::crew::assignment::Assignment) that
//! holds no command and no file's name. Both sides show that they know the token without saying it; what follows is not
//! encrypted, and headers may hold keys: between machines that others can listen to, put it into a tunnel.
//!
//! ```text
//!   agent                                              coordinator
//!     │ ◄────────────────────────────────────── connects │   one connection for each worker
//!     │ Hello: protocol, version, nonce ───────────────► │   another version is refused, by both
//!     │ ◄─ Request: version, nonce, proof, run's number  │
//!     │ Welcome: proof, open files  ─ or Refused: why ─► │   one run at a time
//!     │ ◄───────────────────────── the assignment's line │
//!     │ ◄──────────── lines for the worker's input       │
//!     │ > lines of the worker's output ────────────────► │
//!     │ ! why it ended, if not in order ───────────────► │
//! ```
//!
//! Every line is bounded. A connection that ends early is an agent that is gone, and ends the run.

pub mod link;
pub mod serve;

use std::{
    io::{self, BufRead, Read, Write},
    sync::Arc,
};

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What agent and coordinator have to agree on besides the version.
const PROTOCOL: u32 = 1;
/// A line of whoever has not shown yet that it knows the token.
const GREETING_BYTES_MAX: u64 = 4096;
/// A line for a worker: an assignment with a body of 16 MiB, escaped, and room.
const ORDER_BYTES_MAX: u64 = 64 << 20;
/// A line of a worker: the latencies of 600 intervals.
const NEWS_BYTES_MAX: u64 = 256 << 20;
/// Characters of a token at least: what can be guessed is none.
pub const TOKEN_CHARS_MIN: usize = 16;

/// What both sides know.
#[derive(Clone)]
pub struct Token(Arc<hmac::Key>);

/// What an agent says first.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
    version: String,
    nonce: String,
}

/// What a coordinator answers.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    protocol: u32,
    version: String,
    nonce: String,
    proof: String,
    /// Connections of one run are let in together.
    run: String,
}

/// What the agent makes of it.
#[derive(Debug, Serialize, Deserialize)]
enum Verdict {
    Welcome { proof: String, open_files_max: u64 },
    Refused(String),
}

impl Token {
    /// A token of this text; `None` if it is too short.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (text.chars().count() >= TOKEN_CHARS_MIN)
            .then(|| Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))))
    }

    /// What shows that one side knows it, for these nonces and no others.
    fn proof(&self, side: &str, nonces: [&str; 2]) -> String {
        hexadecimal(hmac::sign(&self.0, Self::statement(side, nonces).as_bytes()).as_ref())
    }

    fn is_proof(&self, proof: &str, side: &str, nonces: [&str; 2]) -> bool {
        let bytes = (0..proof.len()).step_by(2);
        let bytes: Option<Vec<u8>> =
            bytes.map(|at| u8::from_str_radix(proof.get(at..at + 2)?, 16).ok()).collect();
        bytes.is_some_and(|tag| hmac::verify(&self.0, Self::statement(side, nonces).as_bytes(), &tag).is_ok())
    }

    fn statement(side: &str, [first, second]: [&str; 2]) -> String {
        format!("roadstead-bench {PROTOCOL} {side} {first} {second}")
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sixteen bytes nobody can guess.
fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system has no random bytes"))?;
    Ok(hexadecimal(&bytes))
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Whether the other side is the same program, and if not, why that will not do.
fn is_same(protocol: u32, theirs: &str) -> Result<(), String> {
    if protocol == PROTOCOL && theirs == version() {
        return Ok(());
    }
    let ours = version();
    Err(format!("it is roadstead-bench {theirs} and this is {ours}: results of two versions are not merged"))
}

/// Reads one line; `None` at the end.
fn read_line(reader: &mut impl BufRead, bytes_max: u64) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.take(bytes_max).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => String::from_utf8(line).map(Some).map_err(io::Error::other),
        Some(_) if line.len() as u64 + 1 == bytes_max => {
            Err(io::Error::other(format!("a line of more than {bytes_max} bytes")))
        }
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_json<T: DeserializeOwned>(reader: &mut impl BufRead) -> io::Result<T> {
    let line = read_line(reader, GREETING_BYTES_MAX)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    serde_json::from_str(&line).map_err(|_| io::Error::other("it does not speak the agents' protocol"))
}

fn write_json(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(value).expect("it holds only numbers and texts");
    line.push('\n');
    writer.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_side_its_nonces_and_its_token() {
        let token = |text: &str| Token::new(text).unwrap();
        let (ours, other) = (token("0123456789abcdef"), token("0123456789abcdeF"));
        let proof = ours.proof("agent", ["a", "b"]);
        assert!(ours.is_proof(&proof, "agent", ["a", "b"]));
        assert!(!other.is_proof(&proof, "agent", ["a", "b"]));
        assert!(!ours.is_proof(&proof, "coordinator", ["a", "b"]));
        assert!(!ours.is_proof(&proof, "agent", ["b", "a"]));
        for no_proof in ["", "0", "é", "zz", &proof[2..]] {
            assert!(!ours.is_proof(no_proof, "agent", ["a", "b"]), "{no_proof}");
        }
        assert!(Token::new("0123456789abcde ").is_none());
    }

    #[test]
    fn a_line_has_an_end_and_a_bound() {
        let read = |text: &str, max| {
            let mut reader = text.as_bytes();
            let mut lines = Vec::new();
            loop {
                match read_line(&mut reader, max) {
                    Ok(Some(line)) => lines.push(line),
                    Ok(None) => return Ok(lines),
                    Err(error) => return Err(error.to_string()),
                }
            }
        };
        assert_eq!(read("a\n\nbc\n", 3).unwrap(), ["a", "", "bc"]);
        assert!(read("abc\n", 3).unwrap_err().contains("more than 3 bytes"));
        assert!(read("a\nb", 3).is_err());
    }

    #[test]
    fn another_version_is_named() {
        assert_eq!(is_same(PROTOCOL, &version()), Ok(()));
        assert!(is_same(PROTOCOL, "9.9.9").unwrap_err().contains("it is roadstead-bench 9.9.9"));
        assert!(is_same(PROTOCOL + 1, &version()).is_err());
    }
}
