//! The beginning of every link: who speaks, and whether the two fit together.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::frame::{Frame, FrameError, Head, Kind, PROTOCOL, PROTOCOL_OLDEST};
use crate::model::{NodeId, SocketId};

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
    /// How the ids of sockets end, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_end: Option<String>,
    /// Whether others may have clients: members of a cluster, or nodes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    members: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<Box<RawValue>>,
}

/// What a shard tells of itself.
pub(super) struct OfShard {
    pub(super) node: NodeId,
    pub(super) shard: u16,
    pub(super) shards: u16,
    /// Whether the program asks other members, and is told of them.
    pub(super) members: bool,
    /// JSON of each of the namespaces that the program may know.
    pub(super) recalled: Vec<String>,
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

/// Looks at what a program says first: the version of the protocol that it speaks.
pub(super) fn take_hello(frame: &Frame<'_>) -> Result<u32, LinkError> {
    if frame.head.kind != Kind::Hello {
        return Err(FrameError::Unexpected(frame.head.kind).into());
    }
    let hello: Hello = serde_json::from_str(frame.json()?).map_err(|_| FrameError::Json(Kind::Hello))?;
    let is_ours = hello.package.as_deref().is_none_or(|package| package == VERSION);
    match (PROTOCOL_OLDEST..=PROTOCOL).contains(&hello.protocol) && is_ours {
        true => Ok(hello.protocol),
        false => Err(LinkError::Version { package: hello.package, protocol: hello.protocol }),
    }
}

/// Appends the answer of a shard, or of none on the control link, in the version that the program speaks.
pub(super) fn encode_hello(out: &mut Vec<u8>, protocol: u32, of: Option<OfShard>) {
    let (shard, shards) = (of.as_ref().map(|of| of.shard), of.as_ref().map(|of| of.shards));
    let hex = |end: [u8; 5]| end.map(|byte| format!("{byte:02x}")).concat();
    let id_end = of.as_ref().map(|of| hex(SocketId::end_of(of.node)));
    let members = of.as_ref().is_some_and(|of| of.members);
    let recalled = of.map(|of| of.recalled).filter(|_| protocol > PROTOCOL_OLDEST).unwrap_or_default();
    let raw = |json| RawValue::from_string(json).expect("it was written here");
    let namespaces = recalled.into_iter().map(raw).collect();
    let answer = Answer { protocol, server: VERSION, shard, shards, id_end, members, namespaces };
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
                "the program speaks version {protocol} of the link and the server {VERSION} versions {PROTOCOL_OLDEST} to \
                 {PROTOCOL}: `roadstead help link` tells what they say"
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

    fn hello(json: &str) -> Result<u32, String> {
        let mut bytes = Vec::new();
        Head::of(Kind::Hello).encode(&mut bytes, json, &[]);
        let Ok(Step::Frame { frame, .. }) = decode(&bytes) else { panic!("a frame") };
        take_hello(&frame).map_err(|error| error.to_string())
    }

    #[test]
    fn a_program_of_another_version_is_told_which_to_change() {
        assert_eq!(
            hello(&format!("{{\"protocol\":{PROTOCOL},\"package\":\"{VERSION}\",\"pid\":7}}")),
            Ok(PROTOCOL)
        );
        for spoken in PROTOCOL_OLDEST..=PROTOCOL {
            let hello = hello(&format!("{{\"protocol\":{spoken}}}"));
            assert_eq!(hello, Ok(spoken), "a program in another language");
        }
        let other = hello(&format!("{{\"protocol\":{PROTOCOL},\"package\":\"9.9.9\"}}"));
        let other = other.expect_err("another version");
        assert!(other.contains(&format!("npm install roadstead@{VERSION}")), "{other}");
        for named in ["", ",\"package\":\"9.9.9\""] {
            let other = hello(&format!("{{\"protocol\":1{named}}}")).expect_err("another protocol");
            assert!(other.contains("version 1 of the link"), "{other}");
        }
        hello("{}").expect_err("no hello");
    }

    #[test]
    fn a_program_is_answered_in_the_version_that_it_speaks() {
        let answer = |protocol| {
            let mut bytes = Vec::new();
            let recalled = vec![r#"{"name":"/a"}"#.to_owned()];
            let of = OfShard { node: NodeId(0xab), shard: 1, shards: 2, members: true, recalled };
            encode_hello(&mut bytes, protocol, Some(of));
            let Ok(Step::Frame { frame, .. }) = decode(&bytes) else { panic!("a frame") };
            frame.json().expect("JSON").to_owned()
        };
        let told = |protocol, more: &str| {
            let of = "\"shard\":1,\"shards\":2,\"id_end\":\"00ab1b92ae\"";
            format!("{{\"protocol\":{protocol},\"server\":\"{VERSION}\",{of}{more}}}")
        };
        assert_eq!(answer(2), told(2, r#","members":true"#));
        assert_eq!(answer(3), told(3, r#","members":true,"namespaces":[{"name":"/a"}]"#));
    }
}
