//! The one place of this server that decides who may do what: rules, tokens, publishing keys, and what a key or a user has
//! left of its rate. What the rules are is the business of [`crate::auth`].

use std::{cell::RefCell, net::IpAddr, sync::Arc};

use super::{
    Refusal, Settings, admin_page,
    keys::{KeySlot, Keys},
};
use crate::{
    app::Peer,
    auth::{Asked, Asker, Consultation, Denial, Denied, Grant, Missing, Name, Policy, Right, Ruled, Ruling},
    mesh::Visible,
    model::{Payload, network},
};

/// Who may do what, on one shard. Shared with what listens to Socket.IO clients.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) keys: Keys,
    policy: RefCell<Arc<Policy>>,
    /// Whether there is an admin page of Socket.IO, on which nobody writes but the server.
    has_admin_page: bool,
    /// What the backend is to be asked because of the last [`Refusal::Undecided`].
    questions: RefCell<Vec<Consultation>>,
}

/// Who asks, as this server knows them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Who<'a> {
    /// The key they have presented.
    pub(super) key: KeySlot,
    /// Whose token they have shown.
    pub(super) user: Option<Name<'a>>,
    /// Where they come from, as they are counted by.
    pub(super) address: Option<IpAddr>,
    /// What it gives.
    pub(super) grant: Option<&'a Grant>,
    /// What the backend has said of what they ask.
    pub(super) rulings: &'a [Ruled],
    /// Which part of that it is, where several are about one channel.
    pub(super) part: u32,
}

/// How somebody stands to a right who is not refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// By rules, a token or a key.
    Given,
    /// By the backend's word.
    Allowed,
    /// The backend is to be asked, when nothing else stands against it.
    ToAsk,
}

impl Standing {
    /// Goes on, unless the backend is to be asked: nothing else stands against it.
    pub(super) fn or_ask(self) -> Result<(), Refusal> {
        if self == Self::ToAsk { Err(Refusal::Undecided) } else { Ok(()) }
    }
}

impl Access {
    pub(super) fn new(settings: &Settings) -> Self {
        let policy = RefCell::new(Arc::new(settings.policy.clone()));
        let socketio = settings.socketio.as_ref();
        let has_admin_page = socketio.is_some_and(|socketio| socketio.admin_page.is_served());
        Self { keys: Keys::new(settings), policy, has_admin_page, questions: RefCell::default() }
    }

    /// From now on these rules and keys count, and no others.
    pub(super) fn change(&self, settings: &Settings) {
        self.policy.replace(Arc::new(settings.policy.clone()));
        let per_second = settings.limits.publications_per_key_per_second_max;
        self.keys.change(&settings.publish_keys, per_second);
    }

    /// Refuses what somebody has no right to do with a channel. What the backend decides on, and has not been asked, is
    /// [`Refusal::Undecided`].
    pub(super) fn check(&self, who: &Who<'_>, right: Right, channel: &str) -> Result<(), Refusal> {
        self.check_admin_page(right, channel)?;
        let asked = Asked { rulings: who.rulings, part: who.part };
        let decided = self.decide(who, |policy, asker| policy.may(asker, asked, right, channel));
        decided.map_err(|missing| match missing {
            Missing::Right(denied) => denied.into(),
            Missing::Ruling(question) => {
                self.questions.replace(vec![*question]);
                Refusal::Undecided
            }
            Missing::Refused(_) => Refusal::HookDenied,
            Missing::Failed(failure) => Refusal::Hook(failure),
        })
    }

    /// Refuses what would be shown on Socket.IO's admin page as if the server had said it, whatever rights somebody has.
    fn check_admin_page(&self, right: Right, channel: &str) -> Result<(), Refusal> {
        let is_shown = match right {
            Right::Publish | Right::SetState | Right::Enter => true,
            Right::Subscribe | Right::Presence | Right::History | Right::State => false,
        };
        match self.has_admin_page && is_shown && admin_page::is_its_own(channel) {
            true => Err(Refusal::AdminNamespace),
            false => Ok(()),
        }
    }

    /// Refuses what acts on the sockets of a namespace that is the server's own.
    pub(super) fn check_namespace(&self, namespace: &str) -> Result<(), Refusal> {
        self.check_admin_page(Right::Publish, namespace)
    }

    /// The same for who has to be looked at in other ways, too, before a backend is troubled: what it decides on is not
    /// refused, but told.
    pub(super) fn check_first(
        &self,
        who: &Who<'_>,
        right: Right,
        channel: &str,
    ) -> Result<Standing, Refusal> {
        match self.check(who, right, channel) {
            // Without a ruling nothing but the rules and what is brought gives it.
            Ok(()) if who.rulings.is_empty() => Ok(Standing::Given),
            Ok(()) => Ok(match self.decide(who, |policy, asker| policy.decide(asker, right, channel)) {
                Ok(()) => Standing::Given,
                Err(_) => Standing::Allowed,
            }),
            Err(Refusal::Undecided) => Ok(Standing::ToAsk),
            Err(refusal) => Err(refusal),
        }
    }

    /// Refuses what somebody has had the right to do, and has lost. What the backend has allowed once it has, and nothing
    /// else that it decides on.
    pub(super) fn check_again(
        &self,
        who: &Who<'_>,
        right: Right,
        channel: &str,
        was_allowed: bool,
    ) -> Result<(), Denied> {
        let denied = match self.decide(who, |policy, asker| policy.decide(asker, right, channel)) {
            Ok(()) => return Ok(()),
            Err(denied) => denied,
        };
        let stays = was_allowed && self.policy.borrow().asks(who.user.as_deref(), right, channel);
        if stays { Ok(()) } else { Err(denied) }
    }

    /// What the backend is to be asked, for who has been told [`Refusal::Undecided`].
    pub(super) fn take_question(&self) -> Option<Consultation> {
        self.questions.take().pop()
    }

    /// The same, where it may be asked several at once.
    pub(super) fn take_questions(&self) -> Vec<Consultation> {
        self.questions.take()
    }

    /// Has the backend asked all of this at once, for who is going to be told [`Refusal::Undecided`].
    pub(super) fn put_questions(&self, questions: Vec<Consultation>) {
        self.questions.replace(questions);
    }

    /// The same, about something that is to be published.
    pub(super) fn ask_about(&self, payload: Payload) {
        if let Some(question) = self.questions.borrow_mut().last_mut() {
            question.payload = Some(payload);
        }
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

    /// Whether a client may say what others are told of it as a member of a channel, where its token says nothing.
    pub(super) fn clients_say_info(&self, channel: &str) -> bool {
        self.policy.borrow().clients_say_info(channel)
    }

    /// How large a publication to a channel may be, of which none is larger than this.
    pub(super) fn bytes_max(&self, channel: &str, everywhere: u32) -> u32 {
        let own = self.policy.borrow().bounds_of(channel).1.publication_bytes_max;
        own.map_or(everywhere, |own| own.min(everywhere))
    }

    /// Refuses data that is larger than a publication to a channel may be.
    pub(super) fn check_size(&self, channel: &str, bytes: usize, max: u32) -> Result<(), Refusal> {
        let max = self.bytes_max(channel, max);
        if bytes > max as usize { Err(Refusal::PublicationTooLarge(max)) } else { Ok(()) }
    }

    /// Takes one publication of what somebody may still do, to these channels, or tells how long until it may.
    pub(super) fn take<'c>(
        &self,
        who: &Who<'_>,
        channels: impl IntoIterator<Item = &'c str>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let own = |channel| {
            let (namespace, bounds) = self.policy.borrow().bounds_of(channel);
            Some((namespace, bounds.publications_per_second_max?))
        };
        self.keys.take(who, channels.into_iter().filter_map(own), now_ms)
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
            (who.user.as_deref().map(Box::<str>::from), peer.token.map(|token| Arc::clone(token.claims)));
        Visible::when(move |channel| {
            let grant = claims.as_ref().map(|claims| &claims.grant);
            let asker = Asker { user: user.as_deref(), token: grant, key: None };
            policy.decide(&asker, Right::Presence, channel).is_ok()
        })
    }

    fn decide<T>(&self, who: &Who<'_>, decide: impl FnOnce(&Policy, &Asker<'_>) -> T) -> T {
        self.keys.with_grant(who.key, |key| {
            decide(&self.policy.borrow(), &Asker { user: who.user.as_deref(), token: who.grant, key })
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
            user: peer.token.map(|token| token.user()),
            address: peer.address.map(|address| network(address.ip())),
            grant: peer.token.map(|token| &token.claims.grant),
            rulings: peer.rulings,
            part: 0,
        }
    }

    /// Why the backend does not let them, in its own words.
    pub(super) fn denial(rulings: &'a [Ruled]) -> Option<&'a Denial> {
        rulings.iter().find_map(|ruled| match &ruled.ruling {
            Ruling::Denied(denial) => Some(&**denial),
            Ruling::Allowed { .. } | Ruling::Failed(_) => None,
        })
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
