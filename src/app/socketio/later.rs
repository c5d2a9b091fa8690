//! A value that one function of a shard gives later and another waits for.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// Waits for a value on its way: the acknowledgement of an event, or the answers of other shards. What it waits for
/// happens whether or not it is awaited.
#[must_use = "await it; or send without asking for an answer"]
pub struct Awaiting<T> {
    shared: Rc<RefCell<Shared<T>>>,
}

struct Shared<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Awaiting<T> {
    /// The two ends: whoever calls the function gives the value.
    pub(crate) fn new() -> (impl FnOnce(T), Self) {
        let shared = Rc::new(RefCell::new(Shared { value: None, waker: None }));
        let giver = Rc::clone(&shared);
        let give = move |value| {
            let mut shared = giver.borrow_mut();
            shared.value = Some(value);
            let waker = shared.waker.take();
            drop(shared);
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        (give, Self { shared })
    }
}

impl<T> Future for Awaiting<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut shared = self.shared.borrow_mut();
        if let Some(value) = shared.value.take() {
            return Poll::Ready(value);
        }
        shared.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> fmt::Debug for Awaiting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Awaiting")
    }
}
