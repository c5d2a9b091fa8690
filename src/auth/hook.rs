//! What a backend is asked before somebody may do something, and what it answers: JSON both ways. How it is called is the
//! business of `backend/`.
//!
//! ```text
//!   {"ask":"subscribe","client":"0.17.3","user":"42","address":"192.0.2.1","channel":"room:7"}
//!   {"allow":true}      {"allow":true,"remember_s":30}      {"deny":{"code":"not_a_member","message":"…"}}
//! ```
//!
//! Invariant: what is no such answer allows nothing.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Claims, Verified, claims::Allow};
use crate::{
    limits::{HOOK_MESSAGE_BYTES_MAX, HOOK_REMEMBER_S_MAX, USER_BYTES_MAX},
    model::Payload,
    wire::json::{push_payload, push_string},
};

/// What a backend can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Who somebody is that wants to stay.
    Connect,
    /// Whether it may follow a channel.
    Subscribe,
    /// Whether it may publish to a channel.
    Publish,
}

/// What a handler asks: the shard adds who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consultation {
    /// About what.
    pub hook: Hook,
    /// The channel; empty for [`Hook::Connect`].
    pub channel: Box<str>,
    /// What is to be published.
    pub payload: Option<Payload>,
    /// Which part of a request it is about, where several are about one channel.
    pub part: u32,
    /// Bytes that the asker keeps until there is an answer: they count for what may wait.
    pub kept_bytes: usize,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its connection, as a name.
    pub id: Cow<'a, str>,
    /// Its user, if it has shown who it is.
    pub user: Option<&'a str>,
    /// Its address.
    pub address: Option<String>,
    /// How it has come, `https` or `http`, as far as that is known.
    pub scheme: Option<&'static str>,
    /// The host that it has asked, as far as that is known.
    pub host: Option<&'a str>,
    /// The proxies that have passed it on, but the last.
    pub hops: &'a [IpAddr],
    /// Header fields of its request.
    pub fields: Vec<(&'a str, Cow<'a, str>)>,
    /// What it says of itself on entering a namespace of Socket.IO, as JSON.
    pub auth: Option<&'a str>,
}

/// What a backend has said, or that it has not.
#[derive(Clone, Debug, PartialEq)]
pub enum Ruling {
    /// It may.
    Allowed {
        /// Whose it is from now on.
        identity: Option<Box<Verified>>,
        /// For how long the same question needs not be asked again, in seconds.
        remember_s: u32,
    },
    /// It may not.
    Denied(Box<Denial>),
    /// Nobody knows, so it may not.
    Failed(HookFailure),
}

/// Why somebody may not, in the backend's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// For programs.
    pub code: Box<str>,
    /// For people.
    pub message: Box<str>,
}

/// Why a backend has not said anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookFailure {
    /// As many questions wait as may.
    Busy,
    /// It has not answered in time.
    Timeout,
    /// It could not be reached, or has ended before it had answered.
    Unreachable,
    /// It has answered with something else than was asked for.
    Answer,
    /// It has failed so often of late that it is not asked.
    Open,
}

/// A ruling, and what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruled {
    /// About what.
    pub hook: Hook,
    /// About which channel.
    pub channel: Box<str>,
    /// About which part of the request ([`Consultation::part`]).
    pub part: u32,
    /// What.
    pub ruling: Ruling,
}

#[derive(Deserialize)]
struct Said<'a> {
    allow: Option<bool>,
    #[serde(borrow)]
    deny: Option<SaidDenial<'a>>,
    #[serde(default)]
    remember_s: u32,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    expires: Option<u64>,
    #[serde(default)]
    rights: Allow,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SaidDenial<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

const CODE: &str = "denied_by_hook";
const MESSAGE: &str = "the application does not allow this";

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 3] = [Self::Connect, Self::Subscribe, Self::Publish];

    /// As the configuration and questions name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
        }
    }
}

impl Default for Denial {
    fn default() -> Self {
        Self { code: CODE.into(), message: MESSAGE.into() }
    }
}

impl Consultation {
    /// Who somebody is.
    pub fn connect() -> Self {
        Self::about(Hook::Connect, "")
    }

    /// Whether somebody may do this on a channel.
    pub fn about(hook: Hook, channel: &str) -> Self {
        Self { hook, channel: channel.into(), payload: None, part: 0, kept_bytes: 0 }
    }

    /// As it is sent.
    pub fn encode(&self, client: &Client<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let member = |out: &mut Vec<u8>, name: &str, text: &str| {
            out.push(if out.is_empty() { b'{' } else { b',' });
            push_string(out, name);
            out.push(b':');
            push_string(out, text);
        };
        member(&mut out, "ask", self.hook.name());
        member(&mut out, "client", &client.id);
        client.user.into_iter().for_each(|user| member(&mut out, "user", user));
        client.address.iter().for_each(|address| member(&mut out, "address", address));
        client.scheme.iter().for_each(|scheme| member(&mut out, "scheme", scheme));
        client.host.iter().for_each(|host| member(&mut out, "host", host));
        push_hops(&mut out, client.hops);
        if !self.channel.is_empty() {
            member(&mut out, "channel", &self.channel);
        }
        if let Some(payload) = &self.payload {
            push_payload(&mut out, payload);
        }
        if let Some(auth) = client.auth {
            out.extend_from_slice(b",\"auth\":");
            out.extend_from_slice(auth.as_bytes());
        }
        if !client.fields.is_empty() {
            out.extend_from_slice(b",\"headers\":");
            for (at, (name, value)) in client.fields.iter().enumerate() {
                out.push(if at == 0 { b'{' } else { b',' });
                push_string(&mut out, name);
                out.push(b':');
                push_string(&mut out, value);
            }
            out.push(b'}');
        }
        out.push(b'}');
        out
    }
}

/// The proxies that have passed a client on, if there are any.
fn push_hops(out: &mut Vec<u8>, hops: &[IpAddr]) {
    for (at, hop) in hops.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b",\"hops\":[" } else { b"," });
        push_string(out, &hop.to_string());
    }
    if !hops.is_empty() {
        out.push(b']');
    }
}

impl Ruling {
    /// Reads what a backend has answered to a question of this kind, now. Whom it lets in without saying until when, it lets
    /// in for `lifetime_s`.
    pub fn read(hook: Hook, body: &[u8], now_s: u64, lifetime_s: u64) -> Self {
        Self::read_said(hook, body, now_s, lifetime_s).unwrap_or(Self::Failed(HookFailure::Answer))
    }

    fn read_said(hook: Hook, body: &[u8], now_s: u64, lifetime_s: u64) -> Option<Self> {
        let said: Said<'_> = serde_json::from_slice(body).ok()?;
        match (said.allow, said.deny) {
            (Some(true), None) => {}
            (Some(true), Some(_)) | (None, None) => return None,
            (Some(false) | None, Some(denial)) => return Some(Self::Denied(Box::new(denial.read()))),
            (Some(false), None) => return Some(Self::Denied(Box::default())),
        }
        let remember_s = if hook == Hook::Publish { 0 } else { said.remember_s.min(HOOK_REMEMBER_S_MAX) };
        let identity = match (hook, said.user) {
            (Hook::Connect, Some(user)) => {
                if user.is_empty()
                    || user.len() > USER_BYTES_MAX
                    || said.expires.is_some_and(|at| at <= now_s)
                {
                    return None;
                }
                let claims = Claims {
                    grant: said.rights.compile().ok()?,
                    info: said.info.map(|json| json.get().into()),
                    meta: said.meta.map(|json| json.get().into()),
                };
                Some(Box::new(Verified {
                    user: user.into(),
                    expires_s: said.expires.unwrap_or(now_s + lifetime_s).min(now_s + lifetime_s),
                    issued_s: Some(now_s),
                    id: None,
                    claims: Arc::new(claims),
                }))
            }
            _ => None,
        };
        Some(Self::Allowed { identity, remember_s })
    }
}

impl SaidDenial<'_> {
    /// What clients are told has bounds, whatever the backend says.
    fn read(self) -> Denial {
        let is_code = |code: &str| {
            let is_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            (1..=64).contains(&code.len()) && code.bytes().all(is_byte)
        };
        let is_message = |message: &str| {
            (1..=HOOK_MESSAGE_BYTES_MAX).contains(&message.len()) && !message.chars().any(char::is_control)
        };
        let code = self.code.filter(|code| is_code(code)).unwrap_or(Cow::Borrowed(CODE));
        let message = self.message.filter(|message| is_message(message)).unwrap_or(Cow::Borrowed(MESSAGE));
        Denial { code: code.into(), message: message.into() }
    }
}

impl HookFailure {
    /// Every failure.
    pub const ALL: [Self; 5] = [Self::Busy, Self::Timeout, Self::Unreachable, Self::Answer, Self::Open];

    /// As metrics name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Answer => "bad_answer",
            Self::Open => "not_asked",
        }
    }

    /// The code a program can match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            _ => "hook_failed",
        }
    }
}

impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "too many questions to the application wait for answers; try again in a second",
            Self::Timeout | Self::Unreachable | Self::Answer | Self::Open => {
                "the application that decides this does not answer as it should; try again later"
            }
        })
    }
}

impl std::error::Error for HookFailure {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::auth::Right;

    const NOW_S: u64 = 1_000;

    #[test]
    fn a_question_says_who_asks_for_what() {
        let client = Client {
            id: "0.17.3".into(),
            user: Some("4\"2"),
            address: Some("192.0.2.1".into()),
            scheme: Some("https"),
            host: Some("chat.example"),
            hops: &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))],
            fields: vec![("cookie", "a=b".into()), ("x", "y".into())],
            auth: Some("{\"a\":1}"),
        };
        let payload = Payload::new(*b"hello", None);
        let question =
            Consultation { payload: Some(payload), ..Consultation::about(Hook::Publish, "room:7") };
        let question = question.encode(&client);
        assert_eq!(
            String::from_utf8(question).expect("it is text"),
            "{\"ask\":\"publish\",\"client\":\"0.17.3\",\"user\":\"4\\\"2\",\"address\":\"192.0.2.1\",\
             \"scheme\":\"https\",\"host\":\"chat.example\",\"hops\":[\"10.0.0.1\",\"10.0.0.2\"],\
             \"channel\":\"room:7\",\"data\":\"hello\",\"auth\":{\"a\":1},\
             \"headers\":{\"cookie\":\"a=b\",\"x\":\"y\"}}"
        );
        let bare = Consultation::connect().encode(&Client::default());
        assert_eq!(bare, b"{\"ask\":\"connect\",\"client\":\"\"}");
    }

    #[test]
    fn only_what_says_so_allows() {
        let read = |hook, body: &str| Ruling::read(hook, body.as_bytes(), NOW_S, 100);
        let allowed = |remember_s| Ruling::Allowed { identity: None, remember_s };
        for (body, ruling) in [
            ("{\"allow\":true}", allowed(0)),
            ("{\"allow\":true,\"more\":1,\"remember_s\":5}", allowed(5)),
            ("{\"allow\":true,\"remember_s\":4000000000}", allowed(HOOK_REMEMBER_S_MAX)),
        ] {
            assert_eq!(read(Hook::Subscribe, body), ruling, "{body}");
        }
        assert_eq!(read(Hook::Publish, "{\"allow\":true,\"remember_s\":5}"), allowed(0), "each is another");
        for body in [
            "",
            "{}",
            "[]",
            "true",
            "null",
            "{\"allow\":1}",
            "{\"allow\":\"true\"}",
            "{\"allow\":true",
            "{\"allow\":true,\"allow\":true}",
            "{\"allow\":true,\"deny\":{}}",
            "{\"allow\":true} x",
            "{\"allow\":true,\"remember_s\":-1}",
            "<html>",
        ] {
            assert_eq!(read(Hook::Subscribe, body), Ruling::Failed(HookFailure::Answer), "{body}");
        }
        for (body, code, message) in [
            ("{\"allow\":false}", CODE, MESSAGE),
            ("{\"deny\":{}}", CODE, MESSAGE),
            (
                "{\"deny\":{\"code\":\"no_member\",\"message\":\"Buy a ticket.\"}}",
                "no_member",
                "Buy a ticket.",
            ),
            ("{\"deny\":{\"code\":\"No\",\"message\":\"a\\nb\"}}", CODE, MESSAGE),
        ] {
            let denial = Denial { code: code.into(), message: message.into() };
            assert_eq!(read(Hook::Subscribe, body), Ruling::Denied(Box::new(denial)), "{body}");
        }
    }

    #[test]
    fn who_is_let_in_is_somebody_with_rights_for_a_time_that_has_a_bound() {
        let read = |rest: &str| {
            let body = format!("{{\"allow\":true{rest}}}");
            match Ruling::read(Hook::Connect, body.as_bytes(), NOW_S, 100) {
                Ruling::Allowed { identity, .. } => identity.map(|identity| *identity),
                ruling => panic!("{body}: {ruling:?}"),
            }
        };
        assert_eq!(read(""), None);
        let rest =
            ",\"user\":\"42\",\"expires\":1050,\"rights\":{\"subscribe\":[\"news:*\"]},\"info\":{\"n\":1}";
        let identity = read(rest).expect("somebody");
        assert_eq!((&*identity.user, identity.expires_s), ("42", 1_050));
        assert!(identity.grant().allows(Right::Subscribe, "news:a"));
        assert_eq!(identity.claims.info.as_deref(), Some("{\"n\":1}"));
        assert_eq!(read(",\"user\":\"42\"").expect("somebody").expires_s, 1_100);
        assert_eq!(read(",\"user\":\"42\",\"expires\":9999999999").expect("somebody").expires_s, 1_100);
        for rest in [",\"user\":\"\"", ",\"user\":\"4\",\"rights\":{\"subscribe\":[\"a*\"]}"] {
            let body = format!("{{\"allow\":true{rest}}}");
            let ruling = Ruling::read(Hook::Connect, body.as_bytes(), NOW_S, 100);
            assert_eq!(ruling, Ruling::Failed(HookFailure::Answer), "{rest}");
        }
    }
}
