//! The beginning of every link: who speaks, and whether the two fit together.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::frame::{Frame, FrameError, Head, Kind, PROTOCOL};

/// The version of the server, and of the module that fits.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a program says first.
#[derive(Debug, Deserialize)]
struct Hello {
    protocol: u32,
    /// The version of the module for Node.js; programs in other languages have none.
    package: Option<String>,
}

/// What it is answered.
#[derive(Debug, Serialize)]
struct Answer {
    protocol: u32,
    server: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<u16>,
}

/// Why a program is refused.
#[derive(Serialize)]
struct Refused<'a> {
    code: &'a str,
    message: &'a str,
}

/// Why a link does not come about, or ends.
#[derive(Debug)]
pub(super) enum LinkError {
    /// What the program has sent cannot be understood.
    Frame(FrameError),
    /// It is of another version.
    Version { package: Option<String>, protocol: u32 },
    /// The connection has failed.
    Io(std::io::Error),
}

/// Looks at what a program says first.
pub(super) fn take_hello(frame: &Frame<'_>) -> Result<(), LinkError> {
    if frame.head.kind != Kind::Hello {
        return Err(FrameError::Unexpected(frame.head.kind).into());
    }
    let hello: Hello = serde_json::from_str(frame.json()?).map_err(|_| FrameError::Json(Kind::Hello))?;
    let is_ours = hello.package.as_deref().is_none_or(|package| package == VERSION);
    match hello.protocol == PROTOCOL && is_ours {
        true => Ok(()),
        false => Err(LinkError::Version { package: hello.package, protocol: hello.protocol }),
    }
}

/// Appends the answer of a shard, or of none on the control link.
pub(super) fn encode_hello(out: &mut Vec<u8>, shard: Option<u16>, shards: Option<u16>) {
    let answer = Answer { protocol: PROTOCOL, server: VERSION, shard, shards };
    let json = serde_json::to_string(&answer).expect("it serializes");
    Head::of(Kind::Hello).encode(out, &json, &[]);
}

/// Appends why the link ends; nothing if its connection has failed.
pub(super) fn encode_refused(out: &mut Vec<u8>, error: &LinkError) {
    let code = match error {
        LinkError::Frame(_) => "frame",
        LinkError::Version { .. } => "version",
        LinkError::Io(_) => return,
    };
    let message = error.to_string();
    let json = serde_json::to_string(&Refused { code, message: &message }).expect("it serializes");
    Head::of(Kind::Refused).encode(out, &json, &[]);
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<std::io::Error> for LinkError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Version { package: Some(package), protocol } if *protocol == PROTOCOL => write!(
                f,
                "the package roadstead is version {package} and the server {VERSION}: install the package's version \
                 {VERSION} (npm install roadstead@{VERSION}), or start the server of version {package}"
            ),
            Self::Version { package: Some(package), protocol } => write!(
                f,
                "the package roadstead {package} speaks version {protocol} of the link and the server {VERSION} version \
                 {PROTOCOL}: install the package's version {VERSION} (npm install roadstead@{VERSION})"
            ),
            Self::Version { package: None, protocol } => write!(
                f,
                "the program speaks version {protocol} of the link and the server {VERSION} version {PROTOCOL}: `roadstead \
                 help link` tells what that says"
            ),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::frame::{Step, decode};

    fn hello(json: &str) -> Result<(), String> {
        let mut bytes = Vec::new();
        Head::of(Kind::Hello).encode(&mut bytes, json, &[]);
        let Ok(Step::Frame { frame, .. }) = decode(&bytes) else { panic!("a frame") };
        take_hello(&frame).map_err(|error| error.to_string())
    }

    #[test]
    fn a_program_of_another_version_is_told_which_to_change() {
        assert_eq!(
            hello(&format!("{{\"protocol\":{PROTOCOL},\"package\":\"{VERSION}\",\"pid\":7}}")),
            Ok(())
        );
        assert_eq!(hello(&format!("{{\"protocol\":{PROTOCOL}}}")), Ok(()), "a program in another language");
        let other = hello(&format!("{{\"protocol\":{PROTOCOL},\"package\":\"9.9.9\"}}"));
        let other = other.expect_err("another version");
        assert!(other.contains(&format!("npm install roadstead@{VERSION}")), "{other}");
        for named in ["", ",\"package\":\"9.9.9\""] {
            let other = hello(&format!("{{\"protocol\":1{named}}}")).expect_err("another protocol");
            assert!(other.contains("version 1 of the link"), "{other}");
        }
        hello("{}").expect_err("no hello");
    }
}
