//! The file of the thread that writes, and the thread that reads beside it: never is one of them in the other's way.

use std::time::{Duration, Instant};

use tracing::error;

use super::{
    reader::{Asker, Question, Reader},
    store::Store,
};
use crate::model::PageAsked;

/// How often the file is opened anew for who reads, at most.
const RENEWAL: Duration = Duration::from_secs(1);

/// The file, and who reads it beside the thread.
pub(super) struct Disk {
    store: Store,
    reader: Reader,
    /// When it may be opened anew for who reads.
    next_renewal: Instant,
}

impl Disk {
    pub(super) fn new(store: Store, reader: Reader) -> Self {
        Self { store, reader, next_renewal: Instant::now() }
    }

    /// Waits until all that was asked has been answered.
    pub(super) fn end(self) {
        self.reader.end();
    }

    /// Has history read.
    pub(super) fn ask(&mut self, asked: PageAsked, asker: Asker) {
        self.renew_if_hurt();
        self.reader.ask(Question { database: self.store.handle(), asked, asker });
    }

    /// After an error nothing can be read of a store before it has been opened anew, which is to read the file: now and then.
    fn renew_if_hurt(&mut self) {
        let now = Instant::now();
        if now < self.next_renewal || !(self.reader.has_failed() || self.store.handle().is_none()) {
            return;
        }
        self.close();
        self.next_renewal = now + RENEWAL;
        if let Err(error) = self.store.renew() {
            error!("what is on disk cannot be read: {error}");
        }
    }

    /// The store, to be written, and opened for that if it is not: then nobody reads from it.
    pub(super) fn writable(&mut self) -> &mut Store {
        if !self.store.is_open() {
            self.close();
            // Should that fail, too, who reads may have it opened at once.
            self.next_renewal = Instant::now();
        }
        &mut self.store
    }

    fn close(&mut self) {
        self.store.close();
        self.reader.settle();
    }
}
