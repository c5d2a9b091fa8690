//! The one place of this server that decides who may do what: rules, tokens, publishing keys, and what a key or a user has
//! left of its rate. What the rules are is the business of [`crate::auth`].

use std::{cell::RefCell, sync::Arc};

use super::{
    Refusal, Settings,
    keys::{KeySlot, Keys},
};
use crate::{
    app::Peer,
    auth::{Asker, Denied, Grant, Policy, Right},
    mesh::Visible,
};

/// Who may do what, on one shard. Shared with what listens to Socket.IO clients.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) keys: Keys,
    policy: RefCell<Arc<Policy>>,
}

/// Who asks, as this server knows them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Who<'a> {
    /// The key they have presented.
    pub(super) key: KeySlot,
    /// Whose token they have shown.
    pub(super) user: Option<&'a str>,
    /// What it gives.
    pub(super) grant: Option<&'a Grant>,
}

impl Access {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { keys: Keys::new(settings), policy: RefCell::new(Arc::new(settings.policy.clone())) }
    }

    /// From now on these rules and keys count, and no others.
    pub(super) fn change(&self, settings: &Settings) {
        self.policy.replace(Arc::new(settings.policy.clone()));
        let per_second = settings.limits.publications_per_key_per_second_max;
        self.keys.change(&settings.publish_keys, per_second);
    }

    /// Refuses what somebody has no right to do with a channel.
    pub(super) fn check(&self, who: &Who<'_>, right: Right, channel: &str) -> Result<(), Refusal> {
        self.decide(who, |policy, asker| policy.decide(asker, right, channel)).map_err(Refusal::from)
    }

    /// Refuses what somebody has no right to do with every channel.
    pub(super) fn check_every(&self, who: &Who<'_>, right: Right) -> Result<(), Refusal> {
        let decided = self.decide(who, |policy, asker| policy.decide_every(asker, right));
        decided.map_err(|denied| if denied.is_known { Refusal::EveryChannel } else { denied.into() })
    }

    /// Refuses who has a right on no channel at all, before anything more is looked at.
    pub(super) fn check_some(&self, who: &Who<'_>, right: Right) -> Result<(), Refusal> {
        self.decide(who, |policy, asker| policy.decide_some(asker, right)).map_err(Refusal::from)
    }

    /// Whether anybody may publish to a channel that no namespace is about.
    pub(super) fn publishing_is_open(&self) -> bool {
        self.policy.borrow().publish_open
    }

    /// The channels that somebody may be shown in a list.
    pub(super) fn visible_to(&self, peer: &Peer<'_>) -> Visible {
        let policy = Arc::clone(&self.policy.borrow());
        let who = Who::reading(peer);
        if self.check_every(&who, Right::Presence).is_ok() {
            return Visible::all();
        }
        let (user, claims) =
            (who.user.map(Box::<str>::from), peer.token.map(|token| Arc::clone(token.claims)));
        Visible::when(move |channel| {
            let grant = claims.as_ref().map(|claims| &claims.grant);
            let asker = Asker { user: user.as_deref(), token: grant, key: None };
            policy.decide(&asker, Right::Presence, channel).is_ok()
        })
    }

    fn decide<T>(&self, who: &Who<'_>, decide: impl FnOnce(&Policy, &Asker<'_>) -> T) -> T {
        self.keys.with_grant(who.key, |key| {
            decide(&self.policy.borrow(), &Asker { user: who.user, token: who.grant, key })
        })
    }
}

impl<'a> Who<'a> {
    /// Somebody who has presented no key.
    pub(super) fn reading(peer: &Peer<'a>) -> Self {
        Self::with_key(peer, KeySlot::NONE)
    }

    /// Somebody who has presented a key, or none.
    pub(super) fn with_key(peer: &Peer<'a>, key: KeySlot) -> Self {
        Self {
            key,
            user: peer.token.map(|token| token.user),
            grant: peer.token.map(|token| &token.claims.grant),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied { right: Right::Publish, is_known: false } => Self::KeyMissing,
            Denied { right: Right::Publish, is_known: true } => Self::PublishForbidden,
            denied => Self::Denied(denied),
        }
    }
}
