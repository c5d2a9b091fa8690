//! Namespaces that clients of Socket.IO wait to enter while the operator's backend is asked: one question for each at a time, however
//! often a client says that it wants to enter.
//!
//! ```text
//!   CONNECT {a} ─► asked ─┬─ CONNECT {a}: nothing changes ─► ruled ─► enters with {a} and the ruling
//!                         └─ CONNECT {b}: kept instead ────► ruled ─► enters with {b}, of which nothing is ruled yet
//! ```
//!
//! Invariant: a client stands here once for each namespace about which a question is under way, at most
//! [`HOOKS_ENTRIES_PER_CLIENT_MAX`] times.

use rustc_hash::FxHashMap;

use crate::{
    app::socketio::EngineId,
    limits::{HOOKS_ENTRIES_PER_CLIENT_MAX, HOOKS_ENTRY_AUTH_BYTES},
};

/// Who waits to enter where.
#[derive(Default)]
pub(super) struct Entries(FxHashMap<EngineId, Vec<Entering>>);

struct Entering {
    namespace: Box<str>,
    /// What its client said last.
    auth: Option<Box<str>>,
    /// So many bytes of that may be kept.
    auth_bytes_max: usize,
    /// Whether it has said something else than what was asked about.
    is_other: bool,
}

/// What becomes of a client that says that it wants to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The backend is to be asked.
    Ask,
    /// It is being asked; what the client said last counts when there is an answer.
    IsAsked,
    /// It waits for too many namespaces, or has said more than can be kept.
    TooMuch,
}

impl Entries {
    /// A client says that it wants to enter, and a question is under way about that.
    pub(super) fn say_again(
        &mut self,
        session: EngineId,
        namespace: &str,
        auth: Option<&str>,
    ) -> Option<Said> {
        let list = self.0.get_mut(&session)?;
        let one = list.iter_mut().find(|one| *one.namespace == *namespace)?;
        if one.auth.as_deref() == auth {
            return Some(Said::IsAsked);
        }
        if auth.map_or(0, str::len) > one.auth_bytes_max {
            return Some(Said::TooMuch);
        }
        (one.auth, one.is_other) = (auth.map(Into::into), true);
        Some(Said::IsAsked)
    }

    /// The backend is about to be asked about a client that wants to enter.
    pub(super) fn begin(&mut self, session: EngineId, namespace: &str, auth: Option<&str>) -> Said {
        if let Some(said) = self.say_again(session, namespace, auth) {
            return said;
        }
        let list = self.0.entry(session).or_default();
        if list.len() >= HOOKS_ENTRIES_PER_CLIENT_MAX {
            return Said::TooMuch;
        }
        list.push(Entering {
            namespace: namespace.into(),
            auth: auth.map(Into::into),
            auth_bytes_max: kept_bytes(auth),
            is_other: false,
        });
        Said::Ask
    }

    /// Whether a question is under way about a client.
    pub(super) fn has(&self, session: EngineId) -> bool {
        self.0.contains_key(&session)
    }

    /// The backend has been asked: what the client said last, and whether that is something else than what was asked about.
    pub(super) fn end(&mut self, session: EngineId, namespace: &str) -> Option<(Option<Box<str>>, bool)> {
        let list = self.0.get_mut(&session)?;
        let at = list.iter().position(|one| *one.namespace == *namespace)?;
        let Entering { auth, is_other, .. } = list.swap_remove(at);
        if list.is_empty() {
            self.0.remove(&session);
        }
        Some((auth, is_other))
    }
}

/// Bytes that are kept of what a client says which wants to enter: as many as it has said, or a token's.
pub(super) fn kept_bytes(auth: Option<&str>) -> usize {
    auth.map_or(0, str::len).max(HOOKS_ENTRY_AUTH_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: EngineId = EngineId { index: 7, generation: 1 };
    const OTHER: EngineId = EngineId { index: 7, generation: 2 };

    #[test]
    fn however_often_a_client_asks_one_question_is_under_way_and_what_it_said_last_counts() {
        let mut entries = Entries::default();
        assert_eq!(entries.say_again(CLIENT, "/", None), None);
        assert_eq!(entries.begin(CLIENT, "/", Some("a")), Said::Ask);
        assert_eq!(entries.begin(CLIENT, "/", Some("a")), Said::IsAsked);
        assert_eq!(entries.begin(CLIENT, "/game", None), Said::Ask, "another namespace is another question");
        assert_eq!(entries.begin(OTHER, "/", Some("a")), Said::Ask, "and so is another client");
        assert_eq!(entries.end(CLIENT, "/"), Some((Some("a".into()), false)));
        assert_eq!(entries.end(CLIENT, "/"), None);
        assert_eq!(entries.say_again(CLIENT, "/game", Some("b")), Some(Said::IsAsked));
        assert_eq!(entries.end(CLIENT, "/game"), Some((Some("b".into()), true)));
        assert_eq!(entries.end(OTHER, "/"), Some((Some("a".into()), false)));
        assert!(entries.0.is_empty());
    }

    #[test]
    fn who_waits_for_many_namespaces_or_says_much_is_told_that_it_is_too_much() {
        let mut entries = Entries::default();
        for number in 0..HOOKS_ENTRIES_PER_CLIENT_MAX {
            assert_eq!(entries.begin(CLIENT, &format!("/{number}"), None), Said::Ask);
        }
        assert_eq!(entries.begin(CLIENT, "/one more", None), Said::TooMuch);
        let (most, more) = ("x".repeat(HOOKS_ENTRY_AUTH_BYTES), "x".repeat(HOOKS_ENTRY_AUTH_BYTES + 1));
        assert_eq!(entries.say_again(CLIENT, "/0", Some(&most)), Some(Said::IsAsked));
        assert_eq!(entries.say_again(CLIENT, "/0", Some(&more)), Some(Said::TooMuch));
        assert_eq!(entries.end(CLIENT, "/0"), Some((Some(most.into()), true)));
        assert_eq!(entries.begin(CLIENT, "/0", Some(&more)), Said::Ask);
    }
}
