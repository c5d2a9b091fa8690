//! The whole decision about one wish: the operator's rules, what somebody brings, and what a backend has said of it. The server
//! asks it for its own resources, and programs that embed the server for theirs.

use std::fmt;

use super::{
    Asker, Consultation, Denial, Denied, Grant, Hook, HookFailure, Policy, PublishKey, Right, Ruled, Ruling,
};

/// The operator's rules (`[[namespace]]`, `read.open`, `publish.open`) with the publishing keys.
#[derive(Debug, Default)]
pub struct AccessRules {
    policy: Policy,
    keys: Vec<PublishKey>,
}

/// What a backend has been asked about a wish.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// What it has said.
    pub rulings: &'a [Ruled],
    /// Which part of a request the wish is ([`Consultation::part`]).
    pub part: u32,
}

/// Why somebody may not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing gives the right.
    Right(Denied),
    /// The operator's backend decides, and is to be asked this.
    Ruling(Box<Consultation>),
    /// It does not let them, and says why.
    Refused(Box<Denial>),
    /// It has not said anything.
    Failed(HookFailure),
}

impl Policy {
    /// Whether somebody may do something with a channel; what is missing otherwise.
    pub fn may(
        &self,
        asker: &Asker<'_>,
        asked: Asked<'_>,
        right: Right,
        channel: &str,
    ) -> Result<(), Missing> {
        let Err(denied) = self.decide(asker, right, channel) else { return Ok(()) };
        let hook = match right {
            Right::Subscribe => Hook::Subscribe,
            Right::Publish => Hook::Publish,
            Right::Presence | Right::History | Right::State | Right::SetState | Right::Enter => {
                return Err(Missing::Right(denied));
            }
        };
        if !self.asks(asker.user, right, channel) {
            return Err(Missing::Right(denied));
        }
        let Asked { rulings, part } = asked;
        let is_about =
            |ruled: &&Ruled| ruled.hook == hook && ruled.part == part && *ruled.channel == *channel;
        match rulings.iter().find(is_about).map(|ruled| &ruled.ruling) {
            Some(Ruling::Allowed { .. }) => Ok(()),
            Some(Ruling::Denied(denial)) => Err(Missing::Refused(denial.clone())),
            Some(Ruling::Failed(failure)) => Err(Missing::Failed(*failure)),
            None => {
                let question = Consultation { part, ..Consultation::about(hook, channel) };
                Err(Missing::Ruling(question.into()))
            }
        }
    }
}

impl AccessRules {
    /// Rules with keys, which have been checked.
    pub fn new(policy: Policy, keys: &[String]) -> Self {
        Self { policy, keys: keys.iter().filter_map(|text| PublishKey::parse(text).ok()).collect() }
    }

    /// The hash of a key that somebody presents, if it is one of the operator's.
    pub fn key(&self, presented: &[u8]) -> Option<[u8; 32]> {
        if self.keys.is_empty() {
            return None;
        }
        let digest = PublishKey::digest_of(presented);
        self.grant_of(&digest).map(|_| digest)
    }

    /// Whether somebody may do something with a channel who is this user, has a token that gives this, and has presented the
    /// key of this hash.
    pub fn may(
        &self,
        (user, token, key): (Option<&str>, Option<&Grant>, Option<&[u8; 32]>),
        asked: Asked<'_>,
        right: Right,
        channel: &str,
    ) -> Result<(), Missing> {
        let asker = Asker { user, token, key: key.and_then(|key| self.grant_of(key)) };
        self.policy.may(&asker, asked, right, channel)
    }

    /// Compares with every key to the end: the time taken does not tell which it was.
    fn grant_of(&self, digest: &[u8; 32]) -> Option<&Grant> {
        let known = self.keys.iter().fold(None, |found, key| if key.is(digest) { Some(key) } else { found });
        known.map(PublishKey::grant)
    }
}

impl Missing {
    /// For programs, as the server's own refusals have it.
    pub fn code(&self) -> &str {
        match self {
            Self::Right(Denied { right, .. }) => right.missing_code(),
            Self::Ruling(_) => "denied_by_hook",
            Self::Refused(denial) => &denial.code,
            Self::Failed(failure) => failure.code(),
        }
    }

    /// The status of HTTP that says so.
    pub fn status(&self) -> u16 {
        match self {
            Self::Right(Denied { is_known: false, .. }) => 401,
            Self::Right(_) | Self::Ruling(_) | Self::Refused(_) => 403,
            Self::Failed(_) => 503,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right(denied) => denied.fmt(f),
            Self::Ruling(_) => f.write_str("the application decides this, and has not been asked"),
            Self::Refused(denial) => f.write_str(&denial.message),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Missing {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Bounds, Namespace, Pattern, Rule};

    fn rules(keys: &[&str]) -> AccessRules {
        let namespace = |pattern: &str, rule| Namespace {
            pattern: Pattern::new(pattern).expect("a pattern"),
            rules: [rule; Right::ALL.len()],
            bounds: Bounds::default(),
            clients_say_info: true,
        };
        let namespaces = vec![
            namespace("open", Rule::Anyone),
            namespace("room:*", Rule::Hook),
            namespace("user:{sub}", Rule::Token),
        ];
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        AccessRules::new(Policy { namespaces, ..Policy::default() }, &keys)
    }

    #[test]
    fn rules_tokens_and_keys_each_give_their_rights_and_nothing_else_does() {
        let rules = rules(&["secret jobs:*"]);
        let grant = Grant::default().with(Right::Subscribe, vec![Pattern::new("jobs:*").expect("a pattern")]);
        let key = rules.key(b"secret");
        assert!(key.is_some() && rules.key(b"another").is_none());
        let may = |user, token, key, right, channel| {
            rules
                .may((user, token, key), Asked::default(), right, channel)
                .map_err(|missing| missing.status())
        };
        assert_eq!(may(None, None, None, Right::History, "open"), Ok(()));
        assert_eq!(may(None, None, None, Right::Subscribe, "user:42"), Err(401));
        assert_eq!(may(Some("42"), None, None, Right::Subscribe, "user:42"), Ok(()));
        assert_eq!(may(Some("43"), None, None, Right::Subscribe, "user:42"), Err(403));
        assert_eq!(may(Some("43"), Some(&grant), None, Right::Subscribe, "jobs:1"), Ok(()));
        assert_eq!(may(Some("43"), Some(&grant), None, Right::Publish, "jobs:1"), Err(403));
        assert_eq!(may(None, None, key.as_ref(), Right::Publish, "jobs:1"), Ok(()));
        assert_eq!(may(None, None, Some(&[7; 32]), Right::Publish, "jobs:1"), Err(401));
        assert_eq!(
            may(None, None, None, Right::History, "room:7"),
            Err(401),
            "no backend is asked about that"
        );
    }

    #[test]
    fn what_a_backend_decides_is_asked_and_then_it_is_as_that_has_said() {
        let rules = rules(&[]);
        let may = |rulings: &[Ruled], part| {
            let asked = Asked { rulings, part };
            rules.may((None, None, None), asked, Right::Publish, "room:7")
        };
        let Err(Missing::Ruling(question)) = may(&[], 3) else { panic!("the backend decides") };
        assert_eq!((question.hook, &*question.channel, question.part), (Hook::Publish, "room:7", 3));
        let ruled = |part, ruling| Ruled { hook: Hook::Publish, channel: "room:7".into(), part, ruling };
        let allowed = Ruling::Allowed { identity: None, remember_s: 0 };
        let all = [
            ruled(0, allowed),
            ruled(1, Ruling::Denied(Box::new(Denial { code: "no".into(), message: "Not you.".into() }))),
            ruled(2, Ruling::Failed(HookFailure::Timeout)),
        ];
        let told =
            [0, 1, 2].map(|part| may(&all, part).map_err(|missing| (missing.status(), missing.to_string())));
        assert_eq!(told[0], Ok(()));
        assert_eq!(told[1], Err((403, "Not you.".into())));
        assert!(matches!(told[2], Err((503, _))));
        assert!(matches!(may(&all, 3), Err(Missing::Ruling(_))), "of that nothing has been said");
    }
}
