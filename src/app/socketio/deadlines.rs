//! Everything an application waits for with a time limit, in one queue that the shard looks at in each turn. A task for
//! each would cost more than what it waits for.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use crate::{app::guard::guarded, mesh::Bell};

/// The queue of one shard.
pub(super) struct Deadlines {
    waiting: RefCell<BTreeMap<Deadline, Box<dyn FnOnce()>>>,
    /// Counts the deadlines there have been: those due together come in the order in which they were set.
    set: Cell<u64>,
    /// Tells the shard, which may sleep, of an earlier deadline.
    bell: Rc<Bell>,
}

/// One deadline: when, and its number.
pub(super) type Deadline = (Instant, u64);

/// A function that will be called, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping a timer cancels it; keep it, or detach it"]
pub struct Timer {
    /// `None` when it is detached.
    repeat: Option<Rc<Repeat>>,
}

/// What a timer does when it is due.
struct Repeat {
    deadlines: Weak<Deadlines>,
    /// The deadline it waits for.
    next: Cell<Option<Deadline>>,
    is_cancelled: Cell<bool>,
}

impl Deadlines {
    pub(super) fn new(bell: Rc<Bell>) -> Self {
        Self { waiting: RefCell::default(), set: Cell::new(0), bell }
    }

    /// Calls `act` at `at`, or as soon as the shard can.
    pub(super) fn set(&self, at: Instant, act: impl FnOnce() + 'static) -> Deadline {
        let deadline = (at, self.set.get());
        self.set.set(deadline.1 + 1);
        let mut waiting = self.waiting.borrow_mut();
        waiting.insert(deadline, Box::new(act));
        if waiting.first_key_value().is_some_and(|(first, _)| *first == deadline) {
            self.bell.ring();
        }
        deadline
    }

    /// The application ends: nothing is called any more.
    pub(super) fn end(&self) {
        self.waiting.take();
    }

    pub(super) fn cancel(&self, deadline: Deadline) {
        // What is removed may, when dropped, cancel others.
        let removed = self.waiting.borrow_mut().remove(&deadline);
        drop(removed);
    }

    /// Calls what is due.
    pub(super) fn run_due(&self, now: Instant) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now) else { return };
            let act = first.remove();
            drop(waiting);
            guarded("a timer", act);
        }
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.borrow().first_key_value().map(|((at, _), _)| *at)
    }
}

impl Timer {
    pub(super) fn after(deadlines: &Rc<Deadlines>, delay: Duration, act: impl FnOnce() + 'static) -> Self {
        let repeat = Repeat::new(deadlines);
        let fired = Rc::clone(&repeat);
        let fire = move || {
            fired.next.set(None);
            act();
        };
        repeat.next.set(Some(deadlines.set(Instant::now() + delay, fire)));
        Self { repeat: Some(repeat) }
    }

    pub(super) fn every(deadlines: &Rc<Deadlines>, period: Duration, act: impl Fn() + 'static) -> Self {
        /// Shorter would leave the shard no time for anything else.
        const PERIOD_MIN: Duration = Duration::from_millis(1);
        let repeat = Repeat::new(deadlines);
        let period = period.max(PERIOD_MIN);
        Repeat::arm(Rc::clone(&repeat), Instant::now() + period, period, Rc::new(act));
        Self { repeat: Some(repeat) }
    }

    /// Does not call the function any more; it may be the function itself that asks for it.
    pub fn cancel(self) {}

    /// Lets the timer go on with nobody holding it.
    pub fn detach(mut self) {
        self.repeat = None;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(repeat) = self.repeat.take() else { return };
        repeat.is_cancelled.set(true);
        if let (Some(deadlines), Some(next)) = (repeat.deadlines.upgrade(), repeat.next.take()) {
            deadlines.cancel(next);
        }
    }
}

impl Repeat {
    fn new(deadlines: &Rc<Deadlines>) -> Rc<Self> {
        Rc::new(Self {
            deadlines: Rc::downgrade(deadlines),
            next: Cell::new(None),
            is_cancelled: Cell::new(false),
        })
    }

    fn arm(repeat: Rc<Self>, at: Instant, period: Duration, act: Rc<dyn Fn()>) {
        let Some(deadlines) = repeat.deadlines.upgrade() else { return };
        let again = Rc::clone(&repeat);
        let fire = move || {
            again.next.set(None);
            guarded("a timer", &*act);
            if !again.is_cancelled.get() {
                // What a busy shard has missed is not made up for.
                let next = (at + period).max(Instant::now());
                Self::arm(again, next, period, act);
            }
        };
        repeat.next.set(Some(deadlines.set(at, fire)));
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} deadlines", self.waiting.borrow().len())
    }
}

impl fmt::Debug for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeat").field("next", &self.next).finish_non_exhaustive()
    }
}
