//! Sessions that poll while their shard is emptied. One whose client has a request open is told with the answer; one without
//! ends all the same, and its client is told with the next request, for which its connections stay open.

use super::{Engines, Shard};
use crate::{model::CloseReason, session::Outlet};

impl Engines {
    /// How many places for sessions have ever been used.
    pub(in crate::shard) fn session_places(&self) -> u32 {
        self.sessions.places()
    }

    /// Whether a client that polls is still to be told that its session is over.
    pub(in crate::shard) fn has_idle_polls(&self) -> bool {
        (0..self.session_places()).any(|session| {
            let record = self.sessions.get(session);
            let has_words = record.is_some_and(|one| !one.engine.is_ending() || one.engine.has_words());
            has_words && self.is_idle_poll(session)
        })
    }

    fn is_idle_poll(&self, session: u32) -> bool {
        let record = self.sessions.get(session);
        let polls = record.is_some_and(|one| matches!(one.engine.outlet(), Outlet::Queue));
        polls && !self.moved.contains_key(&session)
    }
}

impl Shard {
    /// Ends the session in a place if it polls, unless it goes on elsewhere.
    pub(in crate::shard) fn end_polling(&mut self, session: u32) {
        let outlet = self.engines.sessions.get(session).map(|record| record.engine.outlet());
        let polls = matches!(outlet, Some(Outlet::Queue | Outlet::Parked(_)));
        if polls && !self.engines.moved.contains_key(&session) {
            self.send_session_away(session);
        }
    }

    /// Ends a session, unless it goes on elsewhere.
    pub(in crate::shard) fn send_session_away(&mut self, session: u32) {
        if !self.polling_travels(session) {
            self.end_engine(session, CloseReason::GoingAway);
        }
    }
}
