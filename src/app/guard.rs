//! Calling an application so that what panics in it ends one client and not the shard.
//!
//! The application's value lives on and is called again; what [`super`] says about that is the rule for whoever writes
//! one. Nothing of the server's is half changed: a call borrows what it is given and the list of what it asks for, and
//! whoever calls takes back from the list what a call that panicked has put there.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    panic::{self, AssertUnwindSafe},
    pin::pin,
    sync::{Arc, Once},
    task::Poll,
};

use tracing::error;

use crate::mesh::Pulse;

thread_local! {
    /// Whether a panic on this thread will be caught and logged.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Where the panic that is under way began.
    static ORIGIN: RefCell<Option<Origin>> = const { RefCell::new(None) };
    /// Calls that have panicked. A shard has its thread for itself, also when it is begun anew.
    static PANICS: Cell<u64> = const { Cell::new(0) };
    /// Where this thread shows that it is in the application, if it is a shard's.
    static PULSE: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// Where a panic began.
struct Origin {
    place: String,
    backtrace: Backtrace,
}

/// A panic that was caught.
pub(crate) struct Panicked {
    /// What it said, and where.
    pub(crate) what: String,
    /// Where: file, line and column.
    pub(crate) place: String,
    /// Empty unless `RUST_BACKTRACE` asks for one.
    pub(crate) backtrace: String,
}

/// Has panics that are caught here told by the log alone, with their place; all others as before. Once per process.
pub(crate) fn tell_panics_by_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match IS_GUARDED.get() {
            true => {
                let place = panic.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
                ORIGIN.replace(Some(Origin { place, backtrace: Backtrace::capture() }));
            }
            false => before(panic),
        }));
    });
}

/// Calls a function; what it panics with, if it does.
pub(crate) fn caught<T>(function: impl FnOnce() -> T) -> Result<T, Panicked> {
    let outer = IS_GUARDED.replace(true);
    // Whoever calls this says what becomes of what the function has left half done.
    let outcome = panic::catch_unwind(AssertUnwindSafe(function));
    IS_GUARDED.set(outer);
    outcome.map_err(|payload| Panicked::new(&*payload))
}

/// Calls a function of the application; `None` when it panicked, which is logged and counted. `call` names it.
///
/// # Panics
///
/// When the call has taken so long that the shard's clients have been taken off it: the shard begins anew.
pub(crate) fn guarded<T>(call: &str, function: impl FnOnce() -> T) -> Option<T> {
    let has_left = PULSE.with_borrow(|pulse| pulse.as_ref().is_some_and(|pulse| pulse.attendance().leave()));
    let outcome = caught(function).map_err(|panicked| note(call, &panicked)).ok();
    if has_left {
        PULSE.with_borrow(|pulse| pulse.as_ref().map(|pulse| come_back(pulse, call)));
    }
    outcome
}

/// The thread of a shard comes back from the application.
///
/// # Panics
///
/// As [`guarded`].
pub(crate) fn come_back(pulse: &Pulse, call: &str) {
    assert!(pulse.attendance().come_back(), "{call} of the application took too long");
}

/// This thread is a shard's: it shows there when it is in the application.
pub(crate) fn show_at(pulse: &Arc<Pulse>) {
    PULSE.set(Some(Arc::clone(pulse)));
}

/// As [`caught`], of asynchronous work.
pub(crate) async fn caught_work<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|cx| match caught(|| work.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// Asynchronous work of the application, which is over when it panics; `fail` is called then.
pub(crate) async fn guarded_work(work: impl Future<Output = ()>, fail: impl FnOnce()) {
    let mut work = pin!(work);
    let outcome = poll_fn(|cx| match guarded("a task", || work.as_mut().poll(cx)) {
        Some(Poll::Pending) => Poll::Pending,
        Some(Poll::Ready(())) => Poll::Ready(true),
        None => Poll::Ready(false),
    });
    if !outcome.await {
        fail();
    }
}

/// Calls of the application that have panicked on this thread.
pub(crate) fn panics() -> u64 {
    PANICS.get()
}

fn note(call: &str, panicked: &Panicked) {
    PANICS.set(PANICS.get() + 1);
    error!("{call} of the application panicked: {}{}", panicked.what, panicked.backtrace);
}

impl Panicked {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("something that is no text");
        match ORIGIN.take() {
            Some(Origin { place, backtrace }) => {
                let is_captured = backtrace.status() == BacktraceStatus::Captured;
                let backtrace = if is_captured { format!("\n{backtrace}") } else { String::new() };
                Self { what: format!("{message} at {place}"), place, backtrace }
            }
            None => Self { what: message.to_owned(), place: String::new(), backtrace: String::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_is_counted_and_what_does_not_comes_back() {
        tell_panics_by_the_log();
        let before = panics();
        assert_eq!(guarded("nothing", || 7), Some(7));
        assert_eq!(guarded("a test", || -> u8 { panic!("on purpose {}", 1) }), None);
        assert_eq!(panics(), before + 1);
        let Err(panicked) = caught(|| -> u8 { panic!("on purpose") }) else { panic!("it panics") };
        assert!(panicked.what.starts_with("on purpose at src/app/guard.rs:"), "{}", panicked.what);
        assert!(!IS_GUARDED.get());
    }

    #[test]
    fn work_that_panics_is_over() {
        let failed = Cell::new(false);
        let work = async {
            futures_lite::future::yield_now().await;
            panic!("on purpose");
        };
        futures_lite::future::block_on(guarded_work(work, || failed.set(true)));
        assert!(failed.get());
    }
}
