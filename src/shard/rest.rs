//! What a shard's rest knows: how long it looks for work, how much the turn before had, and who hears the ring meanwhile. How it
//! rests is [`super::sleep`]'s.

use std::{cell::RefCell, io, rc::Rc, time::Duration};

use glommio::task::JoinHandle;

use crate::{
    mesh::Bell,
    ring::{RingError, Sleeper, thread_cpu_us},
};

/// More completions in one turn than the kernel runs in one enter that is not told how many to expect.
pub(super) const RUN_AT_ONCE: usize = 20;

/// How a shard rests.
pub(super) struct Rest {
    /// How long it looks for work before it sleeps.
    spin: Duration,
    /// Rung by tasks of the application.
    bell: Rc<Bell>,
    /// Completions handled in the turn before.
    completions: usize,
    /// Hears the ring while the shard sleeps on its executor; since it first did.
    listener: Option<Listener>,
    /// How long its thread has not rested, and when that is looked at again.
    busy_us: u64,
    clocked_ms: u64,
}

/// How often the time of a shard's thread is looked at, at most.
const CLOCKED_MS: u64 = 100;

/// A task that rings the shard's bell whenever the ring rings.
struct Listener {
    task: JoinHandle<()>,
    /// Why it has ended.
    failure: Rc<RefCell<Option<io::Error>>>,
}

impl Rest {
    /// Of a shard that looks for work for so long before it sleeps, and is rung for by tasks with this bell.
    pub(super) fn new(spin: Duration, bell: Rc<Bell>) -> Self {
        Self { spin, bell, completions: 0, listener: None, busy_us: 0, clocked_ms: 0 }
    }

    /// So many completions have been handled in this turn.
    pub(super) fn note_completions(&mut self, count: usize) {
        self.completions = count;
    }

    /// Whether more of what was much is likely to have come meanwhile.
    pub(super) fn expects_more(&self) -> bool {
        self.completions > RUN_AT_ONCE
    }

    /// Completions handled in the turn before.
    pub(super) fn completions(&self) -> usize {
        self.completions
    }

    /// How long the shard looks for work before it sleeps.
    pub(super) fn spin(&self) -> Duration {
        self.spin
    }

    /// How long the shard has been busy, in its own code and in the kernel; of one that looks for work before it sleeps, how long
    /// its turns have been.
    pub(super) fn busy_us(&mut self, now_ms: u64, turns_us: u64) -> u64 {
        if now_ms >= self.clocked_ms {
            self.busy_us = if self.spin.is_zero() { thread_cpu_us() } else { turns_us };
            self.clocked_ms = now_ms + CLOCKED_MS;
        }
        self.busy_us
    }

    /// The bell that tasks of the application ring, and whatever rings the ring once that is listened to.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Hears the ring from now on while the shard does not sleep in it.
    pub(super) fn listen(
        &mut self,
        sleeper: impl FnOnce() -> Result<Sleeper, RingError>,
    ) -> Result<(), RingError> {
        if self.listener.is_none() {
            self.listener = Some(Listener::new(sleeper()?, Rc::clone(&self.bell)));
        }
        Ok(())
    }

    /// Why the ring is heard no more, if it is not, once.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.listener.as_ref()?.failure.take()
    }

    /// The shard ends.
    pub(super) fn end(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.task.cancel();
        }
    }
}

impl Listener {
    fn new(sleeper: Sleeper, bell: Rc<Bell>) -> Self {
        let failure = Rc::new(RefCell::new(None));
        let task = {
            let failure = Rc::clone(&failure);
            glommio::spawn_local(async move {
                loop {
                    let result = sleeper.sleep().await;
                    let has_failed = result.is_err();
                    *failure.borrow_mut() = result.err();
                    bell.ring();
                    if has_failed {
                        return;
                    }
                }
            })
        };
        Self { task: task.detach(), failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_spins_is_busy_in_its_turns_and_is_looked_at_once_in_a_while() {
        let mut rest = Rest::new(Duration::from_micros(50), Rc::default());
        assert_eq!(rest.busy_us(7, 300), 300);
        assert_eq!(rest.busy_us(7 + CLOCKED_MS - 1, 400), 300, "that is what it was");
        assert_eq!(rest.busy_us(7 + CLOCKED_MS, 400), 400);
        assert!(!rest.expects_more());
        rest.note_completions(RUN_AT_ONCE);
        assert!(!rest.expects_more(), "the kernel has run all there were");
        rest.note_completions(RUN_AT_ONCE + 1);
        assert!(rest.expects_more());
    }
}
