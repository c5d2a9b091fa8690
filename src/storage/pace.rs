//! The threads of the store give way: a core that it shares with a shard is that shard's again after [`GIVE_WAY`].
//!
//! It is not woken more often than it must be, for it may wake in the midst of a turn; and it is not left to the scheduler
//! alone, which takes a core from a thread that goes on and on at its next tick only, four milliseconds later where the kernel
//! has 250 of them a second. So it lets others go first itself: between records, and between the pages that a transaction
//! writes. Where nobody else wants the core that costs nothing.
//!
//! ```text
//!   shard    ─turn─┤                 ├─turn──turn──turn─┤                 ├─turn …
//!   writer         ├─≤ GIVE_WAY─ ⤴ ──┘                  ├─≤ GIVE_WAY─ ⤴ ──┘        yields
//! ```

use std::{
    cell::Cell,
    io, thread,
    time::{Duration, Instant},
};

use redb::{StorageBackend, backends::FileBackend};

/// How long the thread goes on before it lets others have the core. A turn that it interrupts is longer by that, and by one
/// record or page; of a core that a shard uses up it has a third, for a shard goes on until the scheduler's tick.
const GIVE_WAY: Duration = Duration::from_millis(2);

thread_local! {
    /// Since when this thread has gone on, if it is one that gives way.
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// This thread gives way, and begins to do something now.
pub(super) fn begin() {
    SINCE.set(Some(Instant::now()));
}

/// Lets others have the core, if this thread gives way and has gone on for long; whether it did.
pub(super) fn step() -> bool {
    let has_been_long = SINCE.get().is_some_and(|since| since.elapsed() >= GIVE_WAY);
    if has_been_long {
        thread::yield_now();
        begin();
    }
    has_been_long
}

/// A file that a thread which gives way writes page by page.
#[derive(Debug)]
pub(super) struct PacedFile(pub(super) FileBackend);

impl StorageBackend for PacedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        step();
        self.0.read(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self, eventual: bool) -> io::Result<()> {
        let done = self.0.sync_data(eventual);
        // Who has waited for the disk has not gone on.
        if SINCE.get().is_some() {
            begin();
        }
        done
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        step();
        self.0.write(offset, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gives_way_does_so_when_it_has_gone_on_for_long_and_others_never_do() {
        let goes_on = || {
            let until = Instant::now() + GIVE_WAY;
            while Instant::now() < until {}
        };
        goes_on();
        assert!(!step(), "it is not one of those");
        begin();
        goes_on();
        assert!(step());
        goes_on();
        assert!(step(), "and again");
        begin();
        assert_eq!(SINCE.get().map(|since| since.elapsed() < Duration::from_secs(60)), Some(true));
    }
}
