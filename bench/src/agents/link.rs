//! The coordinator's end: one worker on another machine, as it is reached through its agent.

use std::{
    io::{self, BufReader, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    time::Duration,
};

use serde::Serialize;

use super::{
    Hello, NEWS_BYTES_MAX, PROTOCOL, Request, Token, Verdict, is_same, nonce, read_json, read_line, version,
    write_json,
};
use crate::error::{Error, Result};

/// How long an agent may take to be reached and to answer.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to take in what it is told.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The agents of a run.
#[derive(Clone)]
pub struct Agents {
    /// `host:port` of each.
    pub addresses: Vec<String>,
    /// What they know as well.
    pub token: Token,
}

/// One worker there.
pub struct Link {
    agent: String,
    stream: TcpStream,
    /// Connections one worker there may hold.
    pub open_files_max: u64,
}

/// What is heard of it.
pub struct Ear {
    agent: String,
    reader: BufReader<TcpStream>,
}

impl Agents {
    /// The number of a run: connections of another are not let in meanwhile.
    pub fn run() -> Result<String> {
        nonce().map_err(|error| Error::System("number the run", error))
    }

    /// Has the agent at `address` make ready for a worker of `run`.
    pub fn reach(&self, address: &str, run: &str) -> Result<(Link, Ear)> {
        let fault = |why: &dyn std::fmt::Display| fault(address, why);
        let mut stream = connect(address).map_err(|error| fault(&error))?;
        let mut reader = BufReader::new(stream.try_clone().map_err(|error| fault(&error))?);
        let hello: Hello = read_json(&mut reader).map_err(|error| fault(&error))?;
        is_same(hello.protocol, &hello.version).map_err(|why| fault(&why))?;
        let ours = nonce().map_err(|error| fault(&error))?;
        let nonces = [hello.nonce.as_str(), ours.as_str()];
        let request = Request {
            protocol: PROTOCOL,
            version: version(),
            proof: self.token.proof("coordinator", nonces),
            nonce: ours.clone(),
            run: run.to_owned(),
        };
        write_json(&mut stream, &request).map_err(|error| fault(&error))?;
        let open_files_max = match read_json(&mut reader).map_err(|error| fault(&error))? {
            Verdict::Refused(why) => return Err(fault(&why)),
            Verdict::Welcome { proof, .. } if !self.token.is_proof(&proof, "agent", nonces) => {
                return Err(fault(&"it does not know the token, and is told nothing"));
            }
            Verdict::Welcome { open_files_max, .. } => open_files_max,
        };
        stream.set_read_timeout(None).map_err(|error| fault(&error))?;
        let agent = address.to_owned();
        Ok((Link { agent: agent.clone(), stream, open_files_max }, Ear { agent, reader }))
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("it has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, GREETING_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(GREETING_TIMEOUT))?;
                stream.set_write_timeout(Some(SEND_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn fault(agent: &str, why: &dyn std::fmt::Display) -> Error {
    Error::Agent { agent: agent.to_owned(), why: why.to_string() }
}

impl Link {
    /// Tells the worker something; one line.
    pub fn tell(&mut self, value: &impl Serialize) -> Result<()> {
        write_json(&mut self.stream, value).map_err(|error| fault(&self.agent, &error))
    }

    /// Tells it a word.
    pub fn say(&mut self, word: &str) -> Result<()> {
        self.stream.write_all(word.as_bytes()).map_err(|error| fault(&self.agent, &error))
    }
}

impl Drop for Link {
    /// A worker whose connection ends leaves.
    fn drop(&mut self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

impl Ear {
    /// The next line of the worker, or why there is none.
    pub fn hear(&mut self) -> Result<String> {
        let line = read_line(&mut self.reader, NEWS_BYTES_MAX);
        let why = match line {
            Ok(Some(line)) => match (line.strip_prefix('>'), line.strip_prefix('!')) {
                (Some(line), _) => return Ok(line.to_owned()),
                (None, Some(why)) => why.to_owned(),
                (None, None) => "it does not speak the agents' protocol".to_owned(),
            },
            Ok(None) => "it went away before the run had ended".to_owned(),
            Err(error) => format!("it went away before the run had ended: {error}"),
        };
        Err(fault(&self.agent, &why))
    }
}
