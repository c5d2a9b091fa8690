//! What the program is asked: whether clients may enter, and whether there is a namespace that nobody has named.
//!
//! ```text
//!   client ─► a name that is known ──────────────────────────► ASK, if there is middleware ─► VERDICT ─► in
//!        └──► another, where the program makes them ─► FIND ─► NAMESPACE, VERDICT ──┘
//! ```
//!
//! Invariant: a question is put to one program at a time, and is answered once, by it or by the end of its time.

use std::{future::Future, rc::Rc, time::Duration};

use super::{
    frame::{Head, Kind},
    introduction::{self, Brought},
    link::{INVALID_NAMESPACE, Link, Phase},
    spaces::{About, AskNumber, Pending, Space},
};
use crate::app::socketio::{Applicant, Awaiting, ConnectError};

const OVERLOADED: &str = "the server is overloaded; try again later";

/// What a client that waits to enter is told.
type Verdict = Result<(), ConnectError>;

impl Link {
    /// Has clients of a namespace wait for the program where it has a word to say: whether there is such a namespace, and then
    /// whether they may enter. Both are one function, for who has passed one is not asked by it again.
    pub(super) fn build_gate(self: &Rc<Self>, space: &Rc<Space>) {
        if space.has_gate.replace(true) {
            return;
        }
        let (link, own) = (Rc::clone(self), Rc::clone(space));
        space.namespace.use_async_middleware(move |who| {
            let (link, own) = (Rc::clone(&link), Rc::clone(&own));
            let is_asked = link.share.is_asked(&who);
            let found = (is_asked && own.number().is_none()).then(|| link.find(&own, &who));
            let asked = (is_asked && found.is_none() && own.asks.get()).then(|| link.ask(&own, &who));
            async move {
                if let Some(found) = found {
                    found.await?;
                    // Another may stand in its place by now; then that one asks.
                    return match own.asks.get() {
                        true => link.ask(&own, &who).await,
                        false => Ok(()),
                    };
                }
                match asked {
                    Some(verdict) => verdict.await,
                    None => Ok(()),
                }
            }
        });
    }

    /// A client wants to enter.
    fn ask(self: &Rc<Self>, space: &Rc<Space>, who: &Applicant) -> Awaiting<Verdict> {
        let introduction =
            Brought { auth: who.auth_json(), handshake: who.handshake() }.told(who.transport());
        let (number, awaiting) = self.await_verdict(About::Entry(Rc::clone(space)), introduction);
        who.set_data(AskNumber { number, worker: self.share.index });
        self.put_if_live(number);
        awaiting
    }

    /// A client wants to enter a namespace that nobody has named.
    fn find(self: &Rc<Self>, space: &Rc<Space>, who: &Applicant) -> impl Future<Output = Verdict> + use<> {
        let name: Rc<str> = space.namespace.name().into();
        let introduction = introduction::wanted(&name, who.auth_json());
        let (number, awaiting) = self.await_verdict(About::Name(Rc::clone(&name)), introduction);
        self.put_if_live(number);
        let link = Rc::clone(self);
        async move {
            awaiting.await?;
            match link.is_named(&name) {
                true => Ok(()),
                false => Err(INVALID_NAMESPACE.into()),
            }
        }
    }

    /// A question that is to be put to the program.
    fn await_verdict(self: &Rc<Self>, about: About, introduction: String) -> (u32, Awaiting<Verdict>) {
        let (give, awaiting) = Awaiting::new();
        let number = self.next_ask.get();
        self.next_ask.set(number.wrapping_add(1).max(1));
        let time = Duration::from_millis(self.io.settings().connect_timeout_ms.into());
        let link = Rc::downgrade(self);
        let timer = self.io.after(time, move || {
            if let Some(link) = link.upgrade() {
                link.settle(number, Err("the program has not answered in time".into()));
            }
        });
        let pending = Pending { about, introduction, give: Box::new(give), _timer: timer };
        self.asks.borrow_mut().insert(number, pending);
        (number, awaiting)
    }

    fn put_if_live(&self, number: u32) {
        if self.phase.get() == Phase::Live {
            self.put(number);
        }
    }

    fn put(&self, number: u32) {
        let asks = self.asks.borrow();
        let Some(Pending { about, introduction, .. }) = asks.get(&number) else { return };
        let head = match about {
            About::Entry(space) => {
                let Some(namespace) = space.number() else { return };
                Head { namespace, number, ..Head::of(Kind::Ask) }
            }
            About::Name(_) => Head { number, ..Head::of(Kind::Find) },
        };
        if !self.outbox.push(&head, introduction, &[]) {
            drop(asks);
            self.settle(number, Err(OVERLOADED.into()));
        }
    }

    /// Puts the questions about those who wait to the program that has just come.
    pub(super) fn ask_again(&self) {
        let mut numbers: Vec<_> = self.asks.borrow().keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let about = self.asks.borrow().get(&number).map(|pending| pending.about.clone());
            match about {
                Some(About::Entry(space)) => match (space.number(), space.asks.get()) {
                    (Some(_), true) => self.put(number),
                    (Some(_), false) => self.settle(number, Ok(())),
                    (None, _) => self.settle(number, Err(INVALID_NAMESPACE.into())),
                },
                Some(About::Name(name)) if self.is_named(&name) => self.settle(number, Ok(())),
                Some(About::Name(_)) if self.finds.get() => self.put(number),
                Some(About::Name(_)) => self.settle(number, Err(INVALID_NAMESPACE.into())),
                None => {}
            }
        }
    }

    /// The program has said whether a client may enter, or will not.
    pub(super) fn settle(&self, number: u32, verdict: Verdict) {
        let pending = self.asks.borrow_mut().remove(&number);
        if let Some(pending) = pending {
            (pending.give)(verdict);
        }
    }

    /// Whether somebody waits for what the program says about entering a namespace.
    pub(super) fn is_asked_about(&self, space: &Rc<Space>) -> bool {
        let is_it = |pending: &Pending| matches!(&pending.about, About::Entry(own) if Rc::ptr_eq(own, space));
        self.asks.borrow().values().any(is_it)
    }

    fn is_named(&self, name: &str) -> bool {
        self.spaces.named(name).is_some_and(|space| space.number().is_some())
    }
}
