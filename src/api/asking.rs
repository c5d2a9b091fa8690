//! What the operator's backend is asked about a request that is refused as it stands.

use super::{ChannelServer, Refusal, publish};
use crate::{
    app::{Peer, Request},
    auth::{Consultation, Hook},
};

impl ChannelServer {
    /// What the backend has to be asked about a request that is refused, before it can be answered.
    pub(super) fn questions_about(
        &self,
        peer: &Peer<'_>,
        request: &Request<'_>,
        refusal: Refusal,
    ) -> Vec<Consultation> {
        if refusal.is_about_nobody() && self.may_ask_who(peer, request) {
            return vec![Consultation::connect()];
        }
        if refusal != Refusal::Undecided {
            return Vec::new();
        }
        let mut questions = self.access.take_questions();
        let publications = questions.iter_mut().filter(|question| question.hook == Hook::Publish);
        for question in publications.filter(|question| question.payload.is_none()) {
            question.payload = Some(publish::payload_of(request));
        }
        questions
    }

    /// Whether the backend may know who somebody is that has shown nothing, and has not been asked.
    pub(super) fn may_ask_who(&self, peer: &Peer<'_>, request: &Request<'_>) -> bool {
        self.settings.has_connect_hook
            && peer.token.is_none()
            && !request.bearer().is_some_and(|key| self.access.keys.know(key))
            && !peer.rulings.iter().any(|ruled| ruled.hook == Hook::Connect)
    }
}
