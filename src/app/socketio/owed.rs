//! Acknowledgements that clients wait for after their event has been heard: the application has kept the means to give them.
//!
//! Most are given while the event is heard, and cost no entry here.

use std::cell::{Cell, RefCell};

use rustc_hash::FxHashMap;

use crate::model::SocketId;

/// What a shard's application owes its clients.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The number of the next acknowledgement that may be given.
    next: Cell<u64>,
    /// Those from here on are of the event that is being heard.
    heard_from: Cell<u64>,
    /// How many of these may still be given.
    open: Cell<u32>,
    /// How many may still be given of events that have been heard, by who waits for them.
    kept: RefCell<FxHashMap<SocketId, u32>>,
}

impl Owed {
    /// An acknowledgement may be given from now on: its number.
    pub(super) fn begin(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.open.set(self.open.get() + 1);
        number
    }

    /// It has been given, or never will be.
    pub(super) fn end(&self, socket: SocketId, number: u64) {
        if number >= self.heard_from.get() {
            self.open.set(self.open.get() - 1);
            return;
        }
        let mut kept = self.kept.borrow_mut();
        if let Some(count) = kept.get_mut(&socket) {
            *count -= 1;
            if *count == 0 {
                kept.remove(&socket);
            }
        }
    }

    /// An event of this socket has been heard.
    pub(super) fn end_event(&self, socket: SocketId) {
        self.heard_from.set(self.next.get());
        let open = self.open.take();
        if open > 0 {
            *self.kept.borrow_mut().entry(socket).or_default() += open;
        }
    }

    /// Whether a client waits for one.
    pub(super) fn has(&self, socket: SocketId) -> bool {
        self.kept.borrow().contains_key(&socket)
    }

    /// A socket is gone.
    pub(super) fn forget(&self, socket: SocketId) {
        self.kept.borrow_mut().remove(&socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    fn socket(index: u32) -> SocketId {
        SocketId::local(ShardId(0), index, 0)
    }

    #[test]
    fn what_is_kept_beyond_its_event_is_owed_until_it_is_given() {
        let owed = Owed::default();
        let given = owed.begin();
        owed.end(socket(1), given);
        let [first, second] = [(); 2].map(|()| owed.begin());
        owed.end_event(socket(1));
        let during = owed.begin();
        assert!(owed.has(socket(1)));
        owed.end(socket(1), first);
        owed.end(socket(2), during);
        owed.end_event(socket(2));
        assert!(owed.has(socket(1)) && !owed.has(socket(2)));
        owed.end(socket(1), second);
        assert!(!owed.has(socket(1)));
        let late = owed.begin();
        owed.end_event(socket(1));
        owed.forget(socket(1));
        owed.end(socket(1), late);
        assert!(owed.kept.borrow().is_empty());
    }
}
