//! The commands of `/ws`, read and written. What they mean is told in the module's documentation.

use std::borrow::Cow;

use super::{
    Fault, KeyCommand, PublishRequest, Raw,
    encode::{self, push_display},
    publish::{once, text},
};
use crate::model::{Position, Shown};

/// One command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Chosen by the client; its reply carries it.
    pub id: u32,
    /// What is wanted.
    pub action: Action<'a>,
}

/// What a command wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Follow a channel.
    Subscribe {
        /// Which; the name has yet to be checked.
        channel: Cow<'a, str>,
        /// The position already seen.
        since: Option<Position>,
        /// What is wanted first.
        shown: Shown,
    },
    /// Follow it no longer.
    Unsubscribe {
        /// Which.
        channel: Cow<'a, str>,
    },
    /// Say who one is: at first, or again before a token runs out.
    Authenticate {
        /// The token.
        token: Cow<'a, str>,
        /// Whether it takes another one's place.
        is_refresh: bool,
    },
    /// Publish.
    Publish(PublishRequest<'a>),
    /// Change a key.
    Key(KeyCommand<'a>),
    /// Read a channel's state.
    State {
        /// Of which.
        channel: Cow<'a, str>,
    },
    /// Be present in a channel.
    Enter {
        /// In which.
        channel: Cow<'a, str>,
        /// What others may know.
        info: Option<Raw<'a>>,
    },
    /// Be present no more.
    Leave {
        /// In which.
        channel: Cow<'a, str>,
    },
    /// Ask who is present.
    Presence {
        /// In which.
        channel: Cow<'a, str>,
    },
    /// Answer.
    Ping,
}

/// A command that could not be read, and the id it had if that could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandFault {
    /// The id, for the error reply.
    pub id: Option<u32>,
    /// What is wrong.
    pub fault: Fault,
}

/// Reads one command. Its outermost object may nest as it likes, so that whoever sends data that nests too deep is told
/// under the command's id.
pub fn decode_command(text: &str) -> Result<Command<'_>, CommandFault> {
    let value =
        Raw::check(text, usize::MAX).map_err(|error| CommandFault { id: None, fault: error.into() })?;
    let id = read_id(value);
    let known = id.ok();
    id.and_then(|id| Ok(Command { id, action: Action::decode(value)? }))
        .map_err(|fault| CommandFault { id: known, fault })
}

impl Command<'_> {
    /// Appends the command as JSON; [`decode_command`] reads it back.
    pub fn encode(&self, out: &mut Vec<u8>) {
        push_display(out, format_args!("{{\"id\":{}", self.id));
        match &self.action {
            Action::Subscribe { channel, since, shown } => {
                out.extend_from_slice(b",\"subscribe\":{\"channel\":");
                encode::push_string(out, channel);
                if let Some(position) = since {
                    push_display(out, format_args!(",\"since\":\"{position}\""));
                }
                if shown.state {
                    out.extend_from_slice(b",\"state\":true");
                }
                if shown.presence {
                    out.extend_from_slice(b",\"presence\":true");
                }
                out.push(b'}');
            }
            Action::Unsubscribe { channel } => {
                out.extend_from_slice(b",\"unsubscribe\":{\"channel\":");
                encode::push_string(out, channel);
                out.push(b'}');
            }
            Action::Authenticate { token, is_refresh } => {
                let name = if *is_refresh { "refresh" } else { "connect" };
                push_display(out, format_args!(",\"{name}\":{{\"token\":"));
                encode::push_string(out, token);
                out.push(b'}');
            }
            Action::Publish(publication) => {
                out.extend_from_slice(b",\"publish\":");
                publication.encode(out);
            }
            Action::Key(command) => command.encode(out),
            Action::State { channel } => push_channel_command(out, "state", channel),
            Action::Leave { channel } => push_channel_command(out, "leave", channel),
            Action::Presence { channel } => push_channel_command(out, "presence", channel),
            Action::Enter { channel, info } => {
                out.extend_from_slice(b",\"enter\":{\"channel\":");
                encode::push_string(out, channel);
                if let Some(info) = info {
                    push_display(out, format_args!(",\"info\":{}", info.as_str()));
                }
                out.push(b'}');
            }
            Action::Ping => out.extend_from_slice(b",\"ping\":{}"),
        }
        out.push(b'}');
    }
}

impl<'a> Action<'a> {
    fn decode(value: Raw<'a>) -> Result<Self, Fault> {
        let mut action = None;
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            let decoded = match &*name {
                "id" => continue,
                "connect" => Self::decode_token(value, false),
                "refresh" => Self::decode_token(value, true),
                "subscribe" => Self::decode_subscribe(value),
                "unsubscribe" => Self::decode_channel(value).map(|channel| Self::Unsubscribe { channel }),
                "state" => Self::decode_channel(value).map(|channel| Self::State { channel }),
                "leave" => Self::decode_channel(value).map(|channel| Self::Leave { channel }),
                "presence" => Self::decode_channel(value).map(|channel| Self::Presence { channel }),
                "enter" => Self::decode_enter(value),
                "set" => KeyCommand::decode_set(value).map(Self::Key),
                "remove" => KeyCommand::decode_remove(value).map(Self::Key),
                "add" => KeyCommand::decode_add(value).map(Self::Key),
                "publish" => PublishRequest::decode(value).map(Self::Publish),
                "ping" => Self::decode_ping(value),
                _ => Err(Fault::CommandUnknown),
            };
            if action.replace(decoded?).is_some() {
                return Err(Fault::CommandsSeveral);
            }
        }
        action.ok_or(Fault::CommandMissing)
    }

    fn decode_token(value: Raw<'a>, is_refresh: bool) -> Result<Self, Fault> {
        let mut token = None;
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            match &*name {
                "token" => once(&mut token, text("token", value)?)?,
                name => return Err(Fault::unknown(name, &["token"])),
            }
        }
        Ok(Self::Authenticate { token: token.ok_or(Fault::Missing("token"))?, is_refresh })
    }

    fn decode_subscribe(value: Raw<'a>) -> Result<Self, Fault> {
        let (mut channel, mut since, mut state, mut presence) = (None, None, None, None);
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            match &*name {
                "channel" => once(&mut channel, text("channel", value)?)?,
                "since" => {
                    let position = text("since", value)?.parse().map_err(|_| Fault::Position)?;
                    once(&mut since, position)?;
                }
                "state" => once(&mut state, value.as_bool().ok_or(Fault::NotFlag("state"))?)?,
                "presence" => once(&mut presence, value.as_bool().ok_or(Fault::NotFlag("presence"))?)?,
                name => return Err(Fault::unknown(name, &["channel", "since", "state", "presence"])),
            }
        }
        let shown = Shown { state: state.unwrap_or_default(), presence: presence.unwrap_or_default() };
        Ok(Self::Subscribe { channel: channel.ok_or(Fault::Missing("channel"))?, since, shown })
    }

    fn decode_enter(value: Raw<'a>) -> Result<Self, Fault> {
        let (mut channel, mut info) = (None, None);
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            match &*name {
                "channel" => once(&mut channel, text("channel", value)?)?,
                "info" => once(&mut info, value.bounded()?)?,
                name => return Err(Fault::unknown(name, &["channel", "info"])),
            }
        }
        Ok(Self::Enter { channel: channel.ok_or(Fault::Missing("channel"))?, info })
    }

    fn decode_channel(value: Raw<'a>) -> Result<Cow<'a, str>, Fault> {
        let mut channel = None;
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            match &*name {
                "channel" => once(&mut channel, text("channel", value)?)?,
                name => return Err(Fault::unknown(name, &["channel"])),
            }
        }
        channel.ok_or(Fault::Missing("channel"))
    }

    fn decode_ping(value: Raw<'a>) -> Result<Self, Fault> {
        match value.members().ok_or(Fault::NotObject)?.next().transpose()? {
            None => Ok(Self::Ping),
            Some((name, _)) => Err(Fault::unknown(&name, &[])),
        }
    }
}

fn push_channel_command(out: &mut Vec<u8>, name: &str, channel: &str) {
    push_display(out, format_args!(",\"{name}\":{{\"channel\":"));
    encode::push_string(out, channel);
    out.push(b'}');
}

/// The id, read before anything else so that every other fault can be answered by it.
fn read_id(value: Raw<'_>) -> Result<u32, Fault> {
    let mut id = None;
    // A name that cannot be read is not this one, and is refused once the id is known.
    for (_, value) in value.members().ok_or(Fault::NotObject)?.flatten().filter(|(name, _)| name == "id") {
        once(&mut id, value.as_u32().ok_or(Fault::IdInvalid)?)?;
    }
    id.ok_or(Fault::IdMissing)
}

/// The fuzz body of the command decoder: whatever the bytes, an answer and no panic; what was read can be written and
/// read again as the same; an error's reply is JSON.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(Raw::read(data).is_err());
        return;
    };
    let mut written = Vec::new();
    match decode_command(text) {
        Ok(command) => {
            command.encode(&mut written);
            let written = String::from_utf8(written).expect("JSON is written as UTF-8");
            assert_eq!(decode_command(&written), Ok(command));
        }
        Err(CommandFault { id, fault }) => {
            encode::encode_error_reply(&mut written, id, fault.code(), &fault.to_string());
            assert!(Raw::read(&written).is_ok_and(Raw::is_object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::{Data, JsonError};

    fn fault(text: &str) -> (Option<u32>, Fault) {
        let fault = decode_command(text).expect_err(text);
        (fault.id, fault.fault)
    }

    #[test]
    fn each_command_is_read() {
        let check = |text: &str, id: u32, action: Action<'_>| {
            assert_eq!(decode_command(text), Ok(Command { id, action }), "{text}");
        };
        let since = Some(Position { epoch: 5, offset: 9 });
        check(
            r#"{"id":1,"subscribe":{"channel":"n\u0065ws","since":"5:9"}}"#,
            1,
            Action::Subscribe { channel: "news".into(), since, shown: Shown::default() },
        );
        check(
            r#"{"subscribe":{"channel":"news"},"id":0}"#,
            0,
            Action::Subscribe { channel: "news".into(), since: None, shown: Shown::default() },
        );
        check(
            r#"{"id":1,"subscribe":{"channel":"news","state":true}}"#,
            1,
            Action::Subscribe {
                channel: "news".into(),
                since: None,
                shown: Shown { state: true, presence: false },
            },
        );
        check(r#"{"id":1,"state":{"channel":"news"}}"#, 1, Action::State { channel: "news".into() });
        check(
            r#"{"id":2,"unsubscribe":{"channel":"news"}}"#,
            2,
            Action::Unsubscribe { channel: "news".into() },
        );
        let json = Raw::check("[ 1e20 ]", 1).expect("JSON");
        let publication =
            PublishRequest { channel: "a".into(), data: Data::Json(json), content_type: None, event: None };
        check(r#"{"id":3,"publish":{"channel":"a","data": [ 1e20 ] }}"#, 3, Action::Publish(publication));
        check(r#"{"id":4294967295,"ping":{}}"#, u32::MAX, Action::Ping);
        for (name, is_refresh) in [("connect", false), ("refresh", true)] {
            let text = format!(r#"{{"id":5,"{name}":{{"token":"a.b.c"}}}}"#);
            check(&text, 5, Action::Authenticate { token: "a.b.c".into(), is_refresh });
        }
    }

    #[test]
    fn a_fault_carries_the_id_whenever_there_is_one() {
        let cases = [
            ("", None, Fault::Json(JsonError::Syntax)),
            ("[]", None, Fault::NotObject),
            ("{}", None, Fault::IdMissing),
            (r#"{"ping":{}}"#, None, Fault::IdMissing),
            (r#"{"id":4294967296,"ping":{}}"#, None, Fault::IdInvalid),
            (r#"{"id":-1,"ping":{}}"#, None, Fault::IdInvalid),
            (r#"{"id":1.5,"ping":{}}"#, None, Fault::IdInvalid),
            (r#"{"id":"1","ping":{}}"#, None, Fault::IdInvalid),
            (r#"{"id":1,"id":1,"ping":{}}"#, None, Fault::MemberTwice),
            (r#"{"id":1}"#, Some(1), Fault::CommandMissing),
            (r#"{"id":1,"subscribe":[]}"#, Some(1), Fault::NotObject),
            (r#"{"id":1,"ping":{},"pong":{}}"#, Some(1), Fault::CommandUnknown),
            (r#"{"ping":{},"ping":{},"id":6}"#, Some(6), Fault::CommandsSeveral),
            (r#"{"id":1,"ping":{"x":1}}"#, Some(1), Fault::unknown("x", &[])),
            (r#"{"id":1,"subscribe":{}}"#, Some(1), Fault::Missing("channel")),
            (r#"{"id":1,"subscribe":{"channel":"a","since":7}}"#, Some(1), Fault::NotText("since")),
            (r#"{"id":1,"subscribe":{"channel":"a","since":"7"}}"#, Some(1), Fault::Position),
            (
                r#"{"id":1,"unsubscribe":{"channel":"a","since":"7:1"}}"#,
                Some(1),
                Fault::unknown("since", &["channel"]),
            ),
            (r#"{"id":1,"publish":{"channel":"a"}}"#, Some(1), Fault::Missing("data")),
            (r#"{"id":1,"connect":{}}"#, Some(1), Fault::Missing("token")),
            (r#"{"id":1,"refresh":{"token":"a","kid":"b"}}"#, Some(1), Fault::unknown("kid", &["token"])),
        ];
        for (text, id, expected) in cases {
            assert_eq!(fault(text), (id, expected), "{text}");
        }
    }

    #[test]
    fn the_seed_corpus_passes_the_fuzz_body() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/json_command");
        let seeds = std::fs::read_dir(corpus).expect("the corpus is part of the repository");
        let mut count = 0;
        for seed in seeds {
            fuzz(&std::fs::read(seed.expect("a readable folder").path()).expect("a readable seed"));
            count += 1;
        }
        assert!(count >= 10, "only {count} seeds");
    }

    #[test]
    fn a_command_changed_in_any_one_byte_never_panics() {
        let text =
            br#"{"id":3,"publish":{"channel":"a\u00e9","data":{"k":[1,-2.5e3,true]},"content_type":"x/y"}}"#;
        for index in 0..text.len() {
            for byte in [0, b'"', b'\\', b'{', b']', b'9', 0x80, 0xff] {
                let mut changed = *text;
                changed[index] = byte;
                fuzz(&changed);
            }
            fuzz(&text[..index]);
        }
    }
}
