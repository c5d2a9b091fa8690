//! Who may read and publish: `[read]`, `[[namespace]]`, and what cannot be as it is said there or in `[publish]`. What
//! each key means to an operator stands in `keys.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Config, Endpoint, Switch};
use crate::{
    auth::{
        self, Bounds, Password, PasswordError, Pattern, PatternError, PublishKey, PublishKeyError, Right,
    },
    limits::{Limits, STATE_CHANNEL_BYTES_MAX, STATE_KEYS_MAX, TICK_MS},
    model::{Durability, Retention},
};

/// `[read]`: who may read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Read {
    /// Whether anybody may read; see [`super::Config::reading_is_open`].
    pub open: Switch,
}

/// `[[namespace]]`: who may do what with the channels of a pattern.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Namespace {
    /// The channels.
    pub pattern: String,
    /// Who may follow them.
    pub subscribe: Rule,
    /// Who may publish to them.
    pub publish: Rule,
    /// Who may know of them and of their followers.
    pub presence: Rule,
    /// Who may read what is kept of them.
    pub history: Rule,
    /// Who may read their state.
    pub state: Rule,
    /// Who may change it.
    pub set_state: Rule,
    /// Who may be shown as present.
    pub enter: Rule,
    /// Publications that are kept of each, where that is not as everywhere.
    pub history_publications_max: Option<u32>,
    /// How long they are.
    pub history_age_max_ms: Option<u32>,
    /// The largest publication.
    pub publication_bytes_max: Option<u32>,
    /// How often each may publish.
    pub publications_per_second_max: Option<u32>,
    /// Keys of each channel's state, where that is not as everywhere.
    pub state_keys_max: Option<u32>,
    /// Bytes of those with their values.
    pub state_channel_bytes_max: Option<u32>,
    /// Members of each channel.
    pub presence_members_max: Option<u32>,
    /// Who says what others are told of a member.
    pub member_info: MemberInfo,
    /// How long what they keep outlives the process, where that is not as `storage` says.
    pub durability: Option<Lasting>,
}

/// Who says what others are told of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberInfo {
    /// Its token, or where that says nothing, itself.
    #[default]
    Client,
    /// Its token, and nobody else.
    Token,
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lasting {
    /// As long as the process.
    Memory,
    /// Beyond it, written a moment later.
    Written,
    /// Beyond it, and nobody is told before it is on disk.
    Synced,
}

/// Who may do something without having been given the right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Everybody.
    Anyone,
    /// Everybody with a valid token.
    Token,
    /// Whom the backend lets.
    Hook,
    /// Nobody.
    #[default]
    Allow,
}

/// Something about who may do what that is not said, or cannot be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessProblem {
    /// Anybody who reaches this address could read, and nobody said that this is meant.
    ReadingNotDecided(Endpoint),
    /// Anybody who reaches this address could publish, and nobody said that this is meant.
    PublishingNotDecided(Endpoint),
    /// One of the keys in this list that cannot be one; counted from 1.
    Key(&'static str, usize, PublishKeyError),
    /// One of the passwords of the admin page that cannot be one; counted from 1.
    Password(usize, PasswordError),
    /// A namespace whose pattern is none; counted from 1.
    Pattern(usize, PatternError),
    /// A namespace, counted from 1, that leaves something to a backend, and there is none for it.
    NoHook(usize, Right),
    /// A namespace, counted from 1, of which this is more than may be everywhere, or too little to be anything.
    Bound(usize, &'static str),
}

impl Namespace {
    /// Who may do something.
    fn rule(&self, right: Right) -> Rule {
        match right {
            Right::Subscribe => self.subscribe,
            Right::Publish => self.publish,
            Right::Presence => self.presence,
            Right::History => self.history,
            Right::State => self.state,
            Right::SetState => self.set_state,
            Right::Enter => self.enter,
        }
    }

    /// Whether a token is needed, and no more than that, for something.
    pub(super) fn wants_token(&self) -> bool {
        Right::ALL.into_iter().any(|right| self.rule(right) == Rule::Token)
    }

    /// What is left to a backend.
    fn hooks(&self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(|right| self.rule(*right) == Rule::Hook)
    }

    /// As it is looked at when something is decided; `None` when its pattern is none.
    pub(super) fn compile(&self) -> Option<auth::Namespace> {
        let pattern = Pattern::new(&self.pattern).ok()?;
        let bounds = Bounds {
            publication_bytes_max: self.publication_bytes_max,
            publications_per_second_max: self.publications_per_second_max,
        };
        let rules = Right::ALL.map(|right| self.rule(right).compile());
        let clients_say_info = self.member_info == MemberInfo::Client;
        Some(auth::Namespace { pattern, rules, bounds, clients_say_info })
    }

    /// How long what its channels keep outlives the process, where it says so; `None` when its pattern is none.
    pub(super) fn durability(&self) -> Option<(Pattern, Option<Durability>)> {
        let durability = self.durability.map(|lasting| match lasting {
            Lasting::Memory => Durability::Memory,
            Lasting::Written => Durability::Written,
            Lasting::Synced => Durability::Synced,
        });
        Pattern::new(&self.pattern).ok().map(|pattern| (pattern, durability))
    }

    /// Whether it says that what its channels keep outlives the process.
    pub(super) fn outlives(&self) -> bool {
        matches!(self.durability, Some(Lasting::Written | Lasting::Synced))
    }

    /// What its channels keep; `None` when its pattern is none.
    pub(super) fn retention(&self) -> Option<(Pattern, Retention)> {
        let retention = Retention {
            publications_max: self.history_publications_max,
            age_max_ms: self.history_age_max_ms,
            state_keys_max: self.state_keys_max,
            state_bytes_max: self.state_channel_bytes_max,
            members_max: self.presence_members_max,
        };
        Pattern::new(&self.pattern).ok().map(|pattern| (pattern, retention))
    }

    /// What is more than may be everywhere, or nothing at all.
    fn excess(&self, limits: &Limits) -> Option<&'static str> {
        let is_more = |own: Option<u32>, all: u32| own.is_some_and(|own| own > all);
        let per_second = limits.publications_per_key_per_second_max;
        [
            (is_more(self.publication_bytes_max, limits.publication_bytes_max), "publication_bytes_max"),
            (self.publication_bytes_max == Some(0), "publication_bytes_max"),
            (
                per_second > 0 && is_more(self.publications_per_second_max, per_second),
                "publications_per_second_max",
            ),
            (self.publications_per_second_max == Some(0), "publications_per_second_max"),
            (self.history_age_max_ms.is_some_and(|age_ms| u64::from(age_ms) < TICK_MS), "history_age_max_ms"),
            (is_more(self.state_keys_max, STATE_KEYS_MAX), "state_keys_max"),
            (is_more(self.state_channel_bytes_max, STATE_CHANNEL_BYTES_MAX), "state_channel_bytes_max"),
        ]
        .into_iter()
        .find_map(|(is_so, name)| is_so.then_some(name))
    }
}

impl Rule {
    fn compile(self) -> auth::Rule {
        match self {
            Self::Anyone => auth::Rule::Anyone,
            Self::Token => auth::Rule::Token,
            Self::Hook => auth::Rule::Hook,
            Self::Allow => auth::Rule::Allow,
        }
    }
}

/// Every problem of who may do what.
pub(super) fn problems(config: &Config) -> Vec<AccessProblem> {
    let exposed = config.server.listen.iter().find(|endpoint| !endpoint.is_local());
    let has_rules = config.has_rules();
    let is_undecided = |open: Switch, is_said: bool| open == Switch::Auto && !is_said && !has_rules;
    let mut problems = Vec::new();
    if let Some(exposed) = exposed {
        if is_undecided(config.read.open, false) {
            problems.push(AccessProblem::ReadingNotDecided(exposed.clone()));
        }
        if is_undecided(config.publish.open, !config.publish.keys.is_empty()) {
            problems.push(AccessProblem::PublishingNotDecided(exposed.clone()));
        }
    }
    for (list, keys) in
        [("publish.keys", &config.publish.keys), ("server.admin_keys", &config.server.admin_keys)]
    {
        let wrong = |(key, number): (&super::Secret, usize)| {
            PublishKey::parse(key.expose()).err().map(|error| AccessProblem::Key(list, number, error))
        };
        problems.extend(keys.iter().zip(1..).filter_map(wrong));
    }
    let passwords = config.socketio.admin_keys.iter().zip(1..);
    problems.extend(passwords.filter_map(|(password, number)| {
        let error = Password::parse(password.expose()).err()?;
        Some(AccessProblem::Password(number, error))
    }));
    let namespaces = config.namespace.iter().zip(1..);
    let wrong = |(namespace, number): (&Namespace, usize)| {
        Pattern::new(&namespace.pattern).err().map(|error| AccessProblem::Pattern(number, error))
    };
    problems.extend(namespaces.filter_map(wrong));
    let has_hook = |right: &Right| match right {
        Right::Subscribe => !config.hooks.subscribe.is_empty(),
        Right::Publish => !config.hooks.publish.is_empty(),
        Right::Presence | Right::History | Right::State | Right::SetState | Right::Enter => false,
    };
    let lacking = |(namespace, number): (&Namespace, usize)| {
        let lacking = namespace.hooks().find(|right| !has_hook(right));
        lacking.map(|right| AccessProblem::NoHook(number, right))
    };
    problems.extend(config.namespace.iter().zip(1..).filter_map(lacking));
    let excessive = |(namespace, number): (&Namespace, usize)| {
        namespace.excess(&config.limits).map(|name| AccessProblem::Bound(number, name))
    };
    problems.extend(config.namespace.iter().zip(1..).filter_map(excessive));
    problems
}

impl fmt::Display for AccessProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadingNotDecided(endpoint) => write!(
                f,
                "anybody who reaches {endpoint} could read every channel, and read.open does not say that this is \
                 meant; let those read who have a token, with auth.hs256_keys = [\"SECRET\"] \
                 (ROADSTEAD_AUTH__HS256_KEYS=SECRET; `roadstead token make --help`), or say who may with a \
                 [[namespace]] in the file (--config; `roadstead config print` shows one), or let anybody read with \
                 read.open = true (--open-reading), or nobody with read.open = false (--set read.open=false)"
            ),
            Self::PublishingNotDecided(endpoint) => write!(
                f,
                "anybody who reaches {endpoint} could publish, and publish.open does not say that this is meant; \
                 set a key with publish.keys = [\"SECRET\"] (ROADSTEAD_PUBLISH__KEYS=SECRET, --publish-key SECRET), \
                 or let anybody publish with publish.open = true (--open-publishing), or nobody with \
                 publish.open = false (--set publish.open=false)"
            ),
            Self::Key(list, number, error) => write!(f, "{list}: key {number}: {error}"),
            Self::Password(number, error) => write!(f, "socketio.admin_keys: key {number}: {error}"),
            Self::Pattern(number, error) => write!(f, "[[namespace]] number {number}: pattern: {error}"),
            Self::NoHook(number, right @ (Right::Subscribe | Right::Publish)) => write!(
                f,
                "[[namespace]] number {number} leaves {right} to a backend, and there is none for it; say where it is \
                 with hooks.{right} = \"http://127.0.0.1:3000/…\""
            ),
            Self::Bound(number, name @ "history_age_max_ms") => {
                write!(f, "[[namespace]] number {number}: {name} is at least {TICK_MS}")
            }
            Self::Bound(number, name @ "state_keys_max") => {
                write!(f, "[[namespace]] number {number}: {name} is at most {STATE_KEYS_MAX}")
            }
            Self::Bound(number, name @ "state_channel_bytes_max") => {
                write!(f, "[[namespace]] number {number}: {name} is at most {STATE_CHANNEL_BYTES_MAX}")
            }
            Self::Bound(number, name) => {
                let everywhere = match *name {
                    "publication_bytes_max" => "limits.publication_bytes_max",
                    _ => "limits.publications_per_key_per_second_max",
                };
                write!(
                    f,
                    "[[namespace]] number {number}: {name} is at least 1, and no more than {everywhere}, which holds for all \
                     channels; raise that, or leave {name} out"
                )
            }
            Self::NoHook(number, right) => write!(
                f,
                "[[namespace]] number {number}: {right} cannot be left to a backend; write \"anyone\", \"token\" or \
                 \"allow\""
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn problems_after(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        config.server.listen =
            ["127.0.0.1:8080", "0.0.0.0:8082"].map(|text| text.parse().expect("it is one")).into();
        change(&mut config);
        problems(&config).iter().map(AccessProblem::to_string).collect()
    }

    #[test]
    fn nothing_is_open_beyond_this_machine_until_somebody_decides() {
        assert_eq!(
            problems_after(|_| ()),
            [
                "anybody who reaches 0.0.0.0:8082 could read every channel, and read.open does not say that this is \
                 meant; let those read who have a token, with auth.hs256_keys = [\"SECRET\"] \
                 (ROADSTEAD_AUTH__HS256_KEYS=SECRET; `roadstead token make --help`), or say who may with a \
                 [[namespace]] in the file (--config; `roadstead config print` shows one), or let anybody read with \
                 read.open = true (--open-reading), or nobody with read.open = false (--set read.open=false)",
                "anybody who reaches 0.0.0.0:8082 could publish, and publish.open does not say that this is meant; \
                 set a key with publish.keys = [\"SECRET\"] (ROADSTEAD_PUBLISH__KEYS=SECRET, --publish-key SECRET), \
                 or let anybody publish with publish.open = true (--open-publishing), or nobody with \
                 publish.open = false (--set publish.open=false)"
            ]
        );
        let (reading, publishing) = ("could read", "could publish");
        for (decide, left) in [
            ((|config| config.read.open = Switch::On) as fn(&mut Config), &[publishing][..]),
            (|config| config.read.open = Switch::Off, &[publishing]),
            (|config| config.publish.open = Switch::On, &[reading]),
            (|config| config.publish.open = Switch::Off, &[reading]),
            (|config| config.publish.keys = vec![Secret::new("s3cret")], &[reading]),
            (
                |config| config.namespace = vec![Namespace { pattern: "a".into(), ..Namespace::default() }],
                &[],
            ),
        ] {
            let problems = problems_after(decide);
            assert_eq!(problems.len(), left.len(), "{problems:?}");
            assert!(problems.iter().zip(left).all(|(problem, word)| problem.contains(word)), "{problems:?}");
        }
    }

    #[test]
    fn what_is_no_key_or_no_pattern_is_told_by_its_number() {
        let problems = problems_after(|config| {
            config.publish.keys = vec![Secret::new("good"), Secret::new("b,d")];
            let namespace = |pattern: &str| Namespace { pattern: pattern.into(), ..Namespace::default() };
            config.namespace = vec![namespace("a:*"), namespace("a*")];
        });
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].starts_with("publish.keys: key 2: ") && !problems[0].contains("b,d"),
            "{problems:?}"
        );
        assert!(problems[1].starts_with("[[namespace]] number 2: pattern: "), "{problems:?}");
    }

    #[test]
    fn what_a_namespace_keeps_is_no_more_than_can_be_kept_and_needs_a_place() {
        let told = |change: fn(&mut Namespace)| {
            problems_after(|config| {
                let mut namespace = Namespace { pattern: "a".into(), ..Namespace::default() };
                change(&mut namespace);
                config.namespace = vec![namespace];
            })
        };
        assert_eq!(
            told(|one| (one.state_keys_max, one.presence_members_max) = (Some(10_000), Some(0))),
            [""; 0]
        );
        let keys = "[[namespace]] number 1: state_keys_max is at most 10000";
        assert_eq!(told(|one| one.state_keys_max = Some(10_001)), [keys]);
        let bytes = "[[namespace]] number 1: state_channel_bytes_max is at most 65536";
        assert_eq!(told(|one| one.state_channel_bytes_max = Some(65_537)), [bytes]);
    }

    #[test]
    fn what_no_backend_can_decide_on_is_not_left_to_one() {
        for right in Right::ALL {
            let told = problems_after(|config| {
                let mut namespace = Namespace { pattern: "a".into(), ..Namespace::default() };
                let rule = match right {
                    Right::Subscribe => &mut namespace.subscribe,
                    Right::Publish => &mut namespace.publish,
                    Right::Presence => &mut namespace.presence,
                    Right::History => &mut namespace.history,
                    Right::State => &mut namespace.state,
                    Right::SetState => &mut namespace.set_state,
                    Right::Enter => &mut namespace.enter,
                };
                *rule = Rule::Hook;
                config.namespace = vec![namespace];
                config.hooks.subscribe = "http://127.0.0.1:3000/".into();
                config.hooks.publish = "http://127.0.0.1:3000/".into();
            });
            let is_decided = matches!(right, Right::Subscribe | Right::Publish);
            let expected = if is_decided { 0 } else { 1 };
            assert_eq!(told.len(), expected, "{right}: {told:?}");
            assert!(
                told.iter().all(|problem| problem.contains(&format!("{right} cannot be left"))),
                "{told:?}"
            );
        }
    }
}
