//! The operator's rules, and the one decision that every tongue asks for.

use std::fmt;

use super::{Grant, Pattern, Right, pattern::Fit};

/// What the operator says of channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The first whose pattern fits is the channel's.
    pub namespaces: Vec<Namespace>,
    /// Whether anybody may read what no namespace is about.
    pub read_open: bool,
    /// Whether anybody may publish to what no namespace is about.
    pub publish_open: bool,
}

/// What holds for the channels of one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The channels.
    pub pattern: Pattern,
    /// Who has each right, by [`Right`] number.
    pub rules: [Rule; Right::ALL.len()],
    /// What may be published to them.
    pub bounds: Bounds,
    /// Whether a client may say what others are told of it as a member, where its token says nothing.
    pub clients_say_info: bool,
}

/// What may be published to the channels of a namespace, where that is less than everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one publication.
    pub publication_bytes_max: Option<u32>,
    /// Publications in a second of each who publishes.
    pub publications_per_second_max: Option<u32>,
}

/// Who has a right without bringing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Everybody.
    Anyone,
    /// Everybody with a valid token.
    Token,
    /// Whom a backend lets, asked each time.
    Hook,
    /// Nobody: a token or key has to name the channel.
    #[default]
    Allow,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    /// The subject of a valid token.
    pub user: Option<&'a str>,
    /// What that token gives.
    pub token: Option<&'a Grant>,
    /// What a key gives.
    pub key: Option<&'a Grant>,
}

/// A right is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Which.
    pub right: Right,
    /// Whether the asker has shown who it is; if not, that may be the cure.
    pub is_known: bool,
}

impl Policy {
    /// Whether somebody has a right on a channel. What nothing gives is refused.
    pub fn decide(&self, asker: &Asker<'_>, right: Right, channel: &str) -> Result<(), Denied> {
        let is_granted = || asker.grants().any(|grant| grant.allows(right, channel));
        if self.gives(asker.user, right, channel) || is_granted() { Ok(()) } else { Err(asker.lacks(right)) }
    }

    /// What may be published to a channel, and the number of the namespace that says so.
    pub fn bounds_of(&self, channel: &str) -> (usize, Bounds) {
        self.about(channel).map_or_else(Default::default, |(at, one)| (at, one.bounds))
    }

    /// The first namespace that a channel is about, and its number.
    fn about(&self, channel: &str) -> Option<(usize, &Namespace)> {
        self.namespaces.iter().enumerate().find(|(_, namespace)| namespace.pattern.is_about(channel))
    }

    /// Whether a client may say what others are told of it as a member of a channel, where its token says nothing.
    pub fn clients_say_info(&self, channel: &str) -> bool {
        self.about(channel).is_none_or(|(_, one)| one.clients_say_info)
    }

    /// Whether a backend decides on a right that nothing else gives.
    pub fn asks(&self, user: Option<&str>, right: Right, channel: &str) -> bool {
        self.rule(user, right, channel) == Some((Fit::Whole, Rule::Hook))
    }

    /// Whether somebody has a right on every channel there can be.
    pub fn decide_every(&self, asker: &Asker<'_>, right: Right) -> Result<(), Denied> {
        let is_open = self.namespaces.is_empty() && self.is_open(right);
        let is_granted = || asker.grants().any(|grant| grant.allows_every(right));
        if is_open || is_granted() { Ok(()) } else { Err(asker.lacks(right)) }
    }

    /// Whether somebody may have a right on some channel. What it is told before a channel is named.
    pub fn decide_some(&self, asker: &Asker<'_>, right: Right) -> Result<(), Denied> {
        let is_ruled = |namespace: &Namespace| match namespace.rules[right as usize] {
            Rule::Anyone => true,
            Rule::Token => asker.user.is_some(),
            Rule::Hook => true,
            Rule::Allow => false,
        };
        let is_granted = || asker.grants().any(|grant| grant.allows_some(right));
        match self.is_open(right) || self.namespaces.iter().any(is_ruled) || is_granted() {
            true => Ok(()),
            false => Err(asker.lacks(right)),
        }
    }

    /// Whether the rules give a right to who has only a valid token, or not even that.
    fn gives(&self, user: Option<&str>, right: Right, channel: &str) -> bool {
        match self.rule(user, right, channel) {
            None => self.is_open(right),
            Some((Fit::Whole, Rule::Anyone)) => true,
            Some((Fit::Whole, Rule::Token)) => user.is_some(),
            // The channel is another user's: what later namespaces say is not about it.
            Some(_) => false,
        }
    }

    /// What the first namespace says that a channel fits.
    fn rule(&self, user: Option<&str>, right: Right, channel: &str) -> Option<(Fit, Rule)> {
        self.namespaces.iter().find_map(|namespace| match namespace.pattern.fit(channel, user) {
            Fit::None => None,
            fit => Some((fit, namespace.rules[right as usize])),
        })
    }

    fn is_open(&self, right: Right) -> bool {
        match right {
            Right::Publish | Right::SetState | Right::Enter => self.publish_open,
            Right::Subscribe | Right::Presence | Right::History | Right::State => self.read_open,
        }
    }
}

impl Asker<'_> {
    fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.token.into_iter().chain(self.key)
    }

    fn lacks(&self, right: Right) -> Denied {
        Denied { right, is_known: self.user.is_some() || self.key.is_some() }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right, is_known } = self;
        match is_known {
            true => {
                write!(f, "the right {right} on this channel is missing: what was presented does not give it")
            }
            false => {
                write!(f, "the right {right} on this channel is missing: it is not given to anyone who asks")
            }
        }
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect("a pattern")
    }

    fn policy(namespaces: &[(&str, Rule)]) -> Policy {
        let namespaces = namespaces.iter().map(|(text, rule)| Namespace {
            pattern: pattern(text),
            rules: [*rule; Right::ALL.len()],
            bounds: Bounds::default(),
            clients_say_info: true,
        });
        Policy { namespaces: namespaces.collect(), ..Policy::default() }
    }

    fn of<'a>(user: &'a str, grant: &'a Grant) -> Asker<'a> {
        Asker { user: Some(user), token: Some(grant), key: None }
    }

    #[test]
    fn what_nothing_gives_is_refused_and_says_which_right_is_missing() {
        let (policy, nothing) = (Policy::default(), Grant::default());
        for right in Right::ALL {
            for (asker, is_known) in [(Asker::default(), false), (of("7", &nothing), true)] {
                assert_eq!(policy.decide(&asker, right, "a"), Err(Denied { right, is_known }));
                assert_eq!(policy.decide_every(&asker, right), Err(Denied { right, is_known }));
            }
        }
    }

    #[test]
    fn the_first_namespace_that_fits_decides_and_a_grant_adds_to_it() {
        let policy = policy(&[
            ("news:secret", Rule::Allow),
            ("news:*", Rule::Anyone),
            ("chat:**", Rule::Token),
            ("user:{sub}", Rule::Token),
            ("**", Rule::Allow),
        ]);
        let nothing = Grant::default();
        let some = nothing.clone().with(Right::Subscribe, vec![pattern("news:secret"), pattern("user:7")]);
        let may = |asker: &Asker<'_>, channel| policy.decide(asker, Right::Subscribe, channel).is_ok();
        for (channel, anonymous, any_token, granted) in [
            ("news:world", true, true, true),
            ("news:secret", false, false, true),
            ("chat:a:b", false, true, true),
            ("user:42", false, true, true),
            ("user:7", false, false, true),
            ("other", false, false, false),
        ] {
            assert_eq!(may(&Asker::default(), channel), anonymous, "{channel}");
            assert_eq!(may(&of("42", &nothing), channel), any_token, "{channel}");
            assert_eq!(may(&of("42", &some), channel), granted, "{channel}");
        }
        assert!(policy.decide(&of("42", &some), Right::Publish, "news:secret").is_err(), "another right");
    }

    #[test]
    fn the_bounds_of_a_channel_are_those_of_its_namespace_whosever_it_is() {
        let mut policy = policy(&[("user:{sub}", Rule::Token), ("user:*", Rule::Token), ("**", Rule::Allow)]);
        for (namespace, bytes) in policy.namespaces.iter_mut().zip([10, 20, 30]) {
            namespace.bounds.publication_bytes_max = Some(bytes);
        }
        let bytes = |channel| policy.bounds_of(channel).1.publication_bytes_max;
        assert_eq!([bytes("user:42"), bytes("user:42:a"), bytes("a")], [Some(10), Some(30), Some(30)]);
        assert_eq!(Policy::default().bounds_of("a"), (0, Bounds::default()));
    }

    #[test]
    fn what_clients_may_say_of_themselves_is_their_namespaces_to_say() {
        let mut policy = policy(&[("user:{sub}", Rule::Token), ("**", Rule::Allow)]);
        policy.namespaces[0].clients_say_info = false;
        assert!(!policy.clients_say_info("user:42") && policy.clients_say_info("user"));
        assert!(Policy::default().clients_say_info("a"));
    }

    #[test]
    fn another_users_channel_is_not_given_by_a_wider_namespace_behind() {
        let policy = policy(&[("user:{sub}", Rule::Anyone), ("**", Rule::Anyone)]);
        let nothing = Grant::default();
        let may = |asker: &Asker<'_>, channel| policy.decide(asker, Right::History, channel).is_ok();
        assert!(may(&of("42", &nothing), "user:42") && may(&Asker::default(), "other"));
        assert!(!may(&of("43", &nothing), "user:42") && !may(&Asker::default(), "user:42"));
    }

    #[test]
    fn a_backend_is_asked_about_what_its_rule_is_for_and_about_nobody_elses_channel() {
        let policy = policy(&[("user:{sub}", Rule::Hook), ("room:*", Rule::Hook), ("**", Rule::Allow)]);
        let asks = |user, channel| policy.asks(user, Right::Subscribe, channel);
        assert!(asks(None, "room:7") && asks(Some("42"), "room:7") && asks(Some("42"), "user:42"));
        assert!(!asks(Some("43"), "user:42") && !asks(None, "user:42") && !asks(Some("42"), "other"));
        let denied = policy.decide(&Asker::default(), Right::Subscribe, "room:7");
        assert!(denied.is_err(), "until it has said so");
        assert!(policy.decide_some(&Asker::default(), Right::Subscribe).is_ok());
        assert!(policy.decide_every(&Asker::default(), Right::Subscribe).is_err());
    }

    #[test]
    fn reading_and_publishing_are_open_apart_and_only_where_no_namespace_is() {
        let read = Policy { read_open: true, ..policy(&[("a", Rule::Allow)]) };
        let may = |right, channel| read.decide(&Asker::default(), right, channel).is_ok();
        assert!(may(Right::Subscribe, "b") && may(Right::Presence, "b") && may(Right::History, "b"));
        assert!(!may(Right::Publish, "b") && !may(Right::Subscribe, "a"));
        assert!(read.decide_every(&Asker::default(), Right::History).is_err(), "not a");
        let publish = Policy { publish_open: true, ..Policy::default() };
        assert!(publish.decide_every(&Asker::default(), Right::Publish).is_ok());
        assert!(publish.decide(&Asker::default(), Right::History, "b").is_err());
    }
}
