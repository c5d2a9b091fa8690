//! What the program is asked: whether clients may enter.
//!
//! Invariant: a question is put to one program at a time, and is answered once, by it or by the end of its time.

use std::{rc::Rc, time::Duration};

use super::{
    frame::{Head, Kind},
    introduction::Brought,
    link::{INVALID_NAMESPACE, Link, Phase},
    spaces::{AskNumber, Pending, Space},
};
use crate::app::socketio::{Applicant, Awaiting, ConnectError};

const OVERLOADED: &str = "the server is overloaded; try again later";

impl Link {
    /// Puts the questions about those who wait to the program that has just come.
    pub(super) fn ask_again(&self) {
        let mut numbers: Vec<_> = self.asks.borrow().keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let space = self.asks.borrow().get(&number).map(|pending| Rc::clone(&pending.space));
            match space.map(|space| (space.number.get(), space.asks.get())) {
                Some((Some(_), true)) => self.put(number),
                Some((Some(_), false)) => self.settle(number, Ok(())),
                Some((None, _)) => self.settle(number, Err(INVALID_NAMESPACE.into())),
                None => {}
            }
        }
    }

    /// A client wants to enter.
    pub(super) fn ask(
        self: &Rc<Self>,
        space: &Rc<Space>,
        who: &Applicant,
    ) -> Awaiting<Result<(), ConnectError>> {
        let (give, awaiting) = Awaiting::new();
        let number = self.next_ask.get();
        self.next_ask.set(number.wrapping_add(1).max(1));
        who.set_data(AskNumber(number));
        let introduction =
            Brought { auth: who.auth_json(), handshake: who.handshake() }.told(who.transport());
        let time = Duration::from_millis(self.io.settings().connect_timeout_ms.into());
        let link = Rc::downgrade(self);
        let timer = self.io.after(time, move || {
            if let Some(link) = link.upgrade() {
                link.settle(number, Err("the program has not answered in time".into()));
            }
        });
        let pending = Pending { space: Rc::clone(space), introduction, give: Box::new(give), _timer: timer };
        self.asks.borrow_mut().insert(number, pending);
        if self.phase.get() == Phase::Live {
            self.put(number);
        }
        awaiting
    }

    fn put(&self, number: u32) {
        let asks = self.asks.borrow();
        let Some(Pending { space, introduction, .. }) = asks.get(&number) else { return };
        let Some(namespace) = space.number.get() else { return };
        let head = Head { namespace, number, ..Head::of(Kind::Ask) };
        if !self.outbox.push(&head, introduction, &[]) {
            drop(asks);
            self.settle(number, Err(OVERLOADED.into()));
        }
    }

    /// The program has said whether a client may enter, or will not.
    pub(super) fn settle(&self, number: u32, verdict: Result<(), ConnectError>) {
        let pending = self.asks.borrow_mut().remove(&number);
        if let Some(pending) = pending {
            (pending.give)(verdict);
        }
    }
}
