//! How tasks of one executor wake its engine: a flag and a waker, for one sleeper.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Poll, Waker},
};

/// A local wake-up call. A ring before the wait is not lost, and many rings are one.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Bell {
    /// Wakes the sleeper, now or at its next wait.
    pub(crate) fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Forgets that it has been rung: what it was rung for has been done.
    pub(crate) fn silence(&self) {
        self.rung.set(false);
    }

    /// Waits for a ring since the last wait.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|kept| kept.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
