//! What the operator's rules say of what a program serves: asked in a call, and what is missing made an answer.

use super::{Answer, Context, Peer, Response, Verdict};
use crate::{
    auth::{AccessRules, Asked, Missing, Right},
    model::ChannelName,
};

impl Context<'_> {
    /// Whether the operator's rules and its token let somebody do something with a channel: `[[namespace]]`, `read.open` and
    /// `publish.open`, as they are in force now. What is missing otherwise, of which a [`Verdict`], an [`Answer`]
    /// or a [`Response`] can be made: where the operator's backend decides, that is asked, and the request comes again.
    pub fn may(&self, peer: &Peer<'_>, right: Right, channel: &ChannelName) -> Result<(), Missing> {
        self.may_with_key(peer, None, right, channel)
    }

    /// As [`Self::may`], of somebody who has presented this, which may be one of `publish.keys`: [`super::Request::bearer`],
    /// say.
    pub fn may_with_key(
        &self,
        peer: &Peer<'_>,
        key: Option<&[u8]>,
        right: Right,
        channel: &ChannelName,
    ) -> Result<(), Missing> {
        let nothing = AccessRules::default();
        let rules = self.rules.unwrap_or(&nothing);
        let key = key.and_then(|presented| rules.key(presented));
        let user = peer.token.map(|token| token.user());
        let grant = peer.token.map(|token| &token.claims.grant);
        let asked = Asked { rulings: peer.rulings, part: 0 };
        rules.may((user.as_deref(), grant, key.as_ref()), asked, right, channel.as_str())
    }
}

/// The answer to somebody who may not.
impl From<Missing> for Response {
    fn from(missing: Missing) -> Self {
        let response = Self::refused(missing.status(), missing.code(), &missing.to_string());
        match missing.status() {
            401 => response.with_field("WWW-Authenticate", "Bearer realm=\"roadstead\""),
            503 => response.with_field("Retry-After", "1"),
            _ => response,
        }
    }
}

/// Refuses, or asks the operator's backend.
impl From<Missing> for Verdict {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Ruling(question) => Self::Consult(question),
            missing => Self::Refuse(missing.into()),
        }
    }
}

/// Refuses, or asks the operator's backend.
impl From<Missing> for Answer {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Ruling(question) => Self::Consult(vec![*question]),
            missing => Self::Respond(missing.into()),
        }
    }
}
