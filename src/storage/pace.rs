//! The threads of the store give way: a core that it shares with a shard is that shard's again after [`GIVE_WAY`].
//!
//! Where there are cores without a shard, they stay on those. Elsewhere they work in the background: one that wakes, because
//! there is something to write or the disk is done, does not interrupt a turn, but waits for the shard to sleep, or for the
//! scheduler's tick ([`work_in_background`]). And they are not left to the scheduler alone, which takes a core from a thread that
//! goes on and on at its next tick only, four milliseconds later where the kernel has 250 of them a second. So they let others
//! go first themselves: between records, and between the pages that a transaction writes. They sleep for that, and do not yield:
//! to yield is to ask the scheduler to choose, and it chooses the same thread again while the shard has had more than its share
//! (`EEVDF`, Documentation/scheduler/sched-eevdf.rst), which let a turn wait for three times as long. Where nobody else wants the
//! core that costs some hundredths of it.
//!
//! ```text
//!   shard    ─turn─┤ sleeps          ├─turn──turn──turn─┤ tick            ├─turn …
//!   writer      ↑  ├─≤ GIVE_WAY─ ⤴ ──┘                  ├─≤ GIVE_WAY─ ⤴ ──┘        sleeps
//!             wakes
//! ```
//!
//! Their priority is that of the shards: with a lower one little would be written, and that late, where the shards use their
//! cores up, until publications had to be refused.

use std::{
    cell::Cell,
    io, thread,
    time::{Duration, Instant},
};

use redb::StorageBackend;
use rustix::thread::{CpuSet, sched_setaffinity};
use tracing::warn;

use crate::ring::work_in_background;

/// How long the thread goes on before it lets others have the core. A turn that it interrupts is longer by that, and by one
/// record or page; of a core that a shard uses up it has a third, for a shard goes on until the scheduler's tick.
const GIVE_WAY: Duration = Duration::from_millis(1);
/// For how long it sleeps for that, and longer by the slack of its timer (50 us, prctl(2)).
const AWAY: Duration = Duration::from_micros(10);

thread_local! {
    /// Since when this thread has gone on, if it is one that gives way.
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// This thread works for the store from now on, on one of these cores if there are any.
pub(super) fn begin_thread(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().filter(|core| **core < CpuSet::MAX_CPU).for_each(|core| set.set(*core));
    let stayed =
        if set.count() == 0 { Ok(()) } else { sched_setaffinity(None, &set).map_err(io::Error::from) };
    if let Err(error) = stayed.and_then(|()| work_in_background()) {
        warn!("the threads that write to disk and read it may hold shards up: {error}");
    }
    begin();
}

/// This thread gives way, and begins to do something now.
pub(super) fn begin() {
    SINCE.set(Some(Instant::now()));
}

/// Lets others have the core, if this thread gives way and has gone on for long; whether it did.
pub(super) fn step() -> bool {
    let has_been_long = SINCE.get().is_some_and(|since| since.elapsed() >= GIVE_WAY);
    if has_been_long {
        thread::sleep(AWAY);
        begin();
    }
    has_been_long
}

/// A file that a thread which gives way writes page by page.
#[derive(Debug)]
pub(super) struct PacedFile<B>(pub(super) B);

impl<B: StorageBackend> StorageBackend for PacedFile<B> {
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
    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn a_thread_stays_on_the_cores_it_is_given_and_on_any_if_there_are_none() {
        let cores_of = |cores: Vec<usize>| {
            let run = move || {
                begin_thread(&cores);
                let set = sched_getaffinity(None).expect("it has a mask");
                (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect::<Vec<_>>()
            };
            thread::spawn(run).join().expect("no panic")
        };
        let all = cores_of(Vec::new());
        let last = *all.last().expect("it runs somewhere");
        assert_eq!(cores_of(vec![last]), [last]);
        assert_eq!(cores_of(vec![CpuSet::MAX_CPU]), all, "there is no such core");
    }

    /// How often this thread has left its core because it waited for something (`ru_nvcsw`, getrusage(2)).
    fn waits() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("it is mounted");
        let line =
            status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("a line");
        line.trim().parse().expect("a number")
    }

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
        let before = waits();
        assert!(step());
        assert!(waits() > before, "it has left the core, and not only offered it");
        goes_on();
        assert!(step(), "and again");
        begin();
        assert_eq!(SINCE.get().map(|since| since.elapsed() < Duration::from_secs(60)), Some(true));
    }
}
