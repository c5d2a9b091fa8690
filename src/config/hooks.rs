//! `[hooks]`: the operator's backend, and what it decides. What each key means to an operator stands in `keys.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Config, Secret};
use crate::backend::{HookTargets, Settings, SigningKey, SigningKeyError, Target, TargetError};

/// `[hooks]`: what a backend decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HooksSection {
    /// Who is asked who somebody is; empty for nobody.
    pub connect: String,
    /// Who is asked who may follow a channel.
    pub subscribe: String,
    /// Who is asked who may publish to it.
    pub publish: String,
    /// What calls are signed with.
    pub signing_keys: Vec<Secret>,
    /// Header fields of clients that a backend is told.
    pub headers: Vec<String>,
    /// How long an answer may take.
    pub timeout_ms: u32,
    /// Calls at a time.
    pub in_flight_max: u16,
    /// Certificates of authorities, in PEM; empty for those of the system.
    pub ca_file: String,
}

/// A setting of `[hooks]` that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookProblem {
    /// An address that is none.
    Target(&'static str, TargetError),
    /// A signing key of this setting that is none; counted from 1.
    SigningKey(&'static str, usize, SigningKeyError),
    /// A header field that no request has.
    Field(String),
}

impl Default for HooksSection {
    fn default() -> Self {
        Self {
            connect: String::new(),
            subscribe: String::new(),
            publish: String::new(),
            signing_keys: Vec::new(),
            headers: vec!["cookie".into()],
            timeout_ms: 2_000,
            in_flight_max: 64,
            ca_file: String::new(),
        }
    }
}

impl Config {
    /// What a checked configuration says of backends.
    pub fn backend(&self) -> Settings {
        let HooksSection { connect, subscribe, publish, signing_keys, headers, .. } = &self.hooks;
        let target = |text: &String| Target::parse(text).ok();
        Settings {
            hooks: HookTargets {
                connect: target(connect),
                subscribe: target(subscribe),
                publish: target(publish),
            },
            notices: self.notice_settings(),
            key_sets: self.key_sets(),
            refetch_s: self.auth.jwks_refetch_s,
            keys: signing_keys.iter().filter_map(|key| SigningKey::parse(key.expose()).ok()).collect(),
            fields: headers.iter().map(|name| name.to_ascii_lowercase().into()).collect(),
            timeout_ms: self.hooks.timeout_ms,
            in_flight_max: self.hooks.in_flight_max,
            ca_file: self.hooks.ca_file.clone(),
            lifetime_s: self.auth.lifetime_max_s.into(),
        }
    }
}

impl HooksSection {
    pub(super) fn problems(&self) -> Vec<HookProblem> {
        let targets = [
            ("hooks.connect", &self.connect),
            ("hooks.subscribe", &self.subscribe),
            ("hooks.publish", &self.publish),
        ];
        let targets = targets
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .filter_map(|(key, text)| Target::parse(text).err().map(|error| HookProblem::Target(key, error)));
        let keys = HookProblem::of_keys("hooks.signing_keys", &self.signing_keys);
        let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_name = |name: &String| !name.is_empty() && name.bytes().all(is_byte);
        let fields = self.headers.iter().filter(|name| !is_name(name));
        targets.chain(keys).chain(fields.map(|name| HookProblem::Field(name.clone()))).collect()
    }
}

impl HookProblem {
    /// Signing keys of a setting that are none.
    pub(super) fn of_keys(setting: &'static str, keys: &[Secret]) -> Vec<Self> {
        let problem = |(key, number): (&Secret, usize)| {
            let error = SigningKey::parse(key.expose()).err()?;
            Some(Self::SigningKey(setting, number, error))
        };
        keys.iter().zip(1..).filter_map(problem).collect()
    }
}

impl fmt::Display for HookProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(key, error) => write!(f, "{key}: {error}"),
            Self::SigningKey(key, number, error) => write!(f, "{key}: key {number}: {error}"),
            Self::Field(name) => {
                write!(f, "hooks.headers: {name:?} is no name of a header field, such as \"cookie\"")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_called_signed_or_told_is_refused_by_its_key() {
        let problems = |change: fn(&mut HooksSection)| {
            let mut hooks = HooksSection::default();
            change(&mut hooks);
            hooks.problems().iter().map(HookProblem::to_string).collect::<Vec<_>>()
        };
        assert_eq!(problems(|_| ()), [""; 0]);
        assert_eq!(problems(|hooks| hooks.connect = "https://a.example/who".into()), [""; 0]);
        for (key, change) in [
            ("hooks.publish: ", (|hooks| hooks.publish = "a.example".into()) as fn(&mut HooksSection)),
            ("hooks.signing_keys: key 2: ", |hooks| {
                hooks.signing_keys =
                    vec![Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Secret::new("s3cret")];
            }),
            ("hooks.headers: \"a b\"", |hooks| hooks.headers.push("a b".into())),
        ] {
            let problems = problems(change);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(key) && !problems[0].contains("s3cret"), "{problems:?}");
        }
    }
}
