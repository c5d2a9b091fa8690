//! Users and tokens that have been shut out before their time.
//!
//! A token is refused until it would have run out anyway; a user's tokens are those made before the user was shut out.
//! So the list forgets by itself, and it is bounded: when it is full nobody more can be shut out, and whoever asks is
//! told. It is kept in memory, goes from one process to the next with an upgrade, and stands on disk where something does
//! (`storage.path`): without that whoever holds such a token gets in again after a restart.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Verified;
use crate::limits::REVOCATIONS_MAX;

/// Somebody, or something, to shut out. One process tells another of it in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    subject: Subject,
    /// Tokens of the user that were made up to here.
    issued_until_s: u64,
    /// Nothing that it is about is good any more from here on.
    until_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Subject {
    User(Box<str>),
    Token(Box<str>),
}

/// All that is shut out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Up to which issue, and until when.
    list: HashMap<Subject, (u64, u64)>,
}

impl Revocation {
    /// A user, with every token made until now; those live no longer than until then.
    pub fn of_user(user: &str, now_s: u64, until_s: u64) -> Self {
        Self { subject: Subject::User(user.into()), issued_until_s: now_s, until_s }
    }

    /// A token, by its own name (`jti`).
    pub fn of_token(id: &str, until_s: u64) -> Self {
        Self { subject: Subject::Token(id.into()), issued_until_s: u64::MAX, until_s }
    }

    /// Whether it is about the holder of this token, which is connected already.
    pub fn is_about(&self, token: &Verified) -> bool {
        self.user() == Some(&*token.user) || (self.token().is_some() && self.token() == token.id.as_deref())
    }

    /// Tokens of the user that were made up to then, in seconds since the Unix epoch.
    pub fn issued_until_s(&self) -> u64 {
        self.issued_until_s
    }

    /// From then on nothing that it is about is good any more.
    pub fn until_s(&self) -> u64 {
        self.until_s
    }

    /// The user it is about.
    pub fn user(&self) -> Option<&str> {
        match &self.subject {
            Subject::User(user) => Some(user),
            Subject::Token(_) => None,
        }
    }

    /// The token it is about.
    pub fn token(&self) -> Option<&str> {
        match &self.subject {
            Subject::User(_) => None,
            Subject::Token(id) => Some(id),
        }
    }
}

impl Revoked {
    /// Shuts out; tells whether there was room.
    pub fn add(&mut self, revocation: Revocation, now_s: u64) -> bool {
        if self.list.len() >= REVOCATIONS_MAX {
            self.list.retain(|_, (_, until_s)| *until_s > now_s);
        }
        let has_room = self.list.len() < REVOCATIONS_MAX || self.list.contains_key(&revocation.subject);
        if has_room {
            self.list.insert(revocation.subject, (revocation.issued_until_s, revocation.until_s));
        }
        has_room
    }

    /// Shuts out what another list does as well, as far as there is room.
    pub fn merge(&mut self, other: &Self) {
        for (subject, (issued_until_s, until_s)) in &other.list {
            if let Some(known) = self.list.get_mut(subject) {
                *known = (known.0.max(*issued_until_s), known.1.max(*until_s));
            } else if self.list.len() < REVOCATIONS_MAX {
                self.list.insert(subject.clone(), (*issued_until_s, *until_s));
            }
        }
    }

    /// All there is, in no order.
    pub fn all(&self) -> impl Iterator<Item = Revocation> {
        let all = self.list.iter();
        all.map(|(subject, &(issued_until_s, until_s))| Revocation {
            subject: subject.clone(),
            issued_until_s,
            until_s,
        })
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a token is among what is shut out.
    pub fn has(&self, token: &Verified, now_s: u64) -> bool {
        let find = |subject: Subject, issued_s: u64| {
            self.list
                .get(&subject)
                .is_some_and(|(issued_until_s, until_s)| issued_s <= *issued_until_s && *until_s > now_s)
        };
        // A token that does not say when it was made may have been made before.
        !self.list.is_empty()
            && (find(Subject::User(token.user.clone()), token.issued_s.unwrap_or(0))
                || token.id.as_ref().is_some_and(|id| find(Subject::Token(id.clone()), 0)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Claims;

    fn token(user: &str, id: Option<&str>, issued_s: Option<u64>) -> Verified {
        let claims = Arc::new(Claims::default());
        Verified { user: user.into(), expires_s: 900, issued_s, id: id.map(Into::into), claims }
    }

    #[test]
    fn a_user_is_shut_out_with_the_tokens_there_are_and_comes_back_with_a_new_one() {
        let mut revoked = Revoked::default();
        assert!(revoked.add(Revocation::of_user("42", 100, 500), 100));
        assert!(
            revoked.has(&token("42", None, Some(100)), 101) && revoked.has(&token("42", None, None), 101)
        );
        assert!(
            !revoked.has(&token("42", None, Some(101)), 101) && !revoked.has(&token("43", None, None), 101)
        );
        assert!(!revoked.has(&token("42", None, None), 500), "no token of then is good any more");
    }

    #[test]
    fn a_token_is_shut_out_whoever_holds_it_until_it_would_have_run_out() {
        let mut revoked = Revoked::default();
        assert!(revoked.add(Revocation::of_token("t", 500), 100));
        assert!(revoked.has(&token("42", Some("t"), Some(300)), 301));
        assert!(
            !revoked.has(&token("t", Some("u"), None), 301)
                && !revoked.has(&token("42", Some("t"), None), 500)
        );
    }

    #[test]
    fn what_two_lists_shut_out_is_shut_out_until_the_later_of_both_says_no_more() {
        let (mut one, mut other) = (Revoked::default(), Revoked::default());
        one.add(Revocation::of_user("42", 100, 500), 100);
        one.add(Revocation::of_token("t", 900), 100);
        other.add(Revocation::of_user("42", 200, 400), 100);
        other.add(Revocation::of_user("43", 100, 500), 100);
        let both = |first: &Revoked, second: &Revoked| {
            let mut both = first.clone();
            both.merge(second);
            both
        };
        assert_eq!(both(&one, &other), both(&other, &one));
        let merged = both(&one, &other);
        assert_eq!(merged.all().count(), 3);
        assert!(merged.has(&token("42", None, Some(200)), 499) && merged.has(&token("43", None, None), 499));
    }

    #[test]
    fn the_list_is_bounded_and_says_when_it_is_full() {
        let mut revoked = Revoked::default();
        for number in 0..REVOCATIONS_MAX {
            let until_s = if number < 2 { 200 } else { 500 };
            assert!(revoked.add(Revocation::of_token(&number.to_string(), until_s), 100));
        }
        assert!(!revoked.add(Revocation::of_token("one more", 500), 199));
        assert!(revoked.add(Revocation::of_token("3", 600), 199), "it is there already");
        assert!(revoked.add(Revocation::of_token("one more", 500), 200), "two have been forgotten");
        assert!(revoked.list.len() < REVOCATIONS_MAX);
    }
}
