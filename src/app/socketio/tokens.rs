//! The good tokens that clients have shown, each for a namespace, and whose runs out.
//!
//! Invariant: before `next_s` nobody has to be told anything, so that until then nobody is looked through.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::{
    auth::{Due, Revocation, Verified},
    model::SocketId,
};

/// The tokens of a shard's sockets.
#[derive(Debug)]
pub(super) struct Tokens {
    held: FxHashMap<SocketId, Shown>,
    next_s: u64,
}

#[derive(Debug)]
struct Shown {
    token: Rc<Verified>,
    /// Its client has been told that it has run out.
    is_late: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { held: FxHashMap::default(), next_s: u64::MAX }
    }
}

impl Tokens {
    /// A socket has shown a token, in place of the one it had.
    pub(super) fn put(&mut self, socket: SocketId, token: &Rc<Verified>) -> Option<Rc<Verified>> {
        self.next_s = self.next_s.min(token.expires_s);
        let shown = Shown { token: Rc::clone(token), is_late: false };
        self.held.insert(socket, shown).map(|before| before.token)
    }

    /// It has none any more.
    pub(super) fn remove(&mut self, socket: SocketId) -> Option<Rc<Verified>> {
        self.held.remove(&socket).map(|shown| shown.token)
    }

    /// Whose tokens have run out by now, those that are late being told once; they are over so much later.
    pub(super) fn take_due(&mut self, now_s: u64, grace_s: u32) -> Vec<Due<SocketId>> {
        let mut due = Vec::new();
        if now_s < self.next_s {
            return due;
        }
        self.next_s = u64::MAX;
        for (socket, shown) in &mut self.held {
            let until_s = shown.token.expires_s;
            let over_s = until_s.saturating_add(grace_s.into());
            let next_s = match (until_s <= now_s, over_s <= now_s) {
                (_, true) => {
                    due.push(Due::Over(*socket));
                    continue;
                }
                (true, false) => {
                    if !std::mem::replace(&mut shown.is_late, true) {
                        due.push(Due::Late(*socket));
                    }
                    over_s
                }
                (false, false) => until_s,
            };
            self.next_s = self.next_s.min(next_s);
        }
        due
    }

    /// The token that a socket has shown.
    pub(super) fn get(&self, socket: SocketId) -> Option<&Rc<Verified>> {
        self.held.get(&socket).map(|shown| &shown.token)
    }

    /// Sockets that a revocation is about.
    pub(super) fn revoked(&self, revocation: &Revocation) -> Vec<SocketId> {
        let revoked = self.held.iter().filter(|(_, shown)| revocation.is_about(&shown.token));
        revoked.map(|(socket, _)| *socket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    fn socket(index: u32) -> SocketId {
        SocketId::local(ShardId(0), index, 0)
    }

    fn token(expires_s: u64) -> Rc<Verified> {
        let (issued_s, id, claims) = Default::default();
        Rc::new(Verified { user: "42".into(), expires_s, issued_s, id, claims })
    }

    #[test]
    fn each_is_late_once_and_over_later_unless_it_brings_another() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.take_due(u64::MAX, 0), []);
        tokens.put(socket(1), &token(100));
        tokens.put(socket(2), &token(110));
        assert_eq!(tokens.take_due(99, 25), []);
        assert_eq!(tokens.take_due(100, 25), [Due::Late(socket(1))]);
        assert_eq!(tokens.take_due(109, 25), [], "it has been told");
        assert_eq!(tokens.take_due(112, 25), [Due::Late(socket(2))]);
        tokens.put(socket(1), &token(200));
        assert_eq!(tokens.take_due(134, 25), []);
        assert_eq!(tokens.take_due(135, 25), [Due::Over(socket(2))]);
        tokens.remove(socket(2));
        assert_eq!(tokens.take_due(230, 25), [Due::Over(socket(1))], "nobody has looked for a while");
    }
}
