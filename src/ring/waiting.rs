//! Submitting, and sleeping until something has ended: in the ring, or where the executor sleeps.

use std::{
    io,
    sync::atomic::{Ordering, fence},
    time::{Duration, Instant},
};

use io_uring::{opcode, types};

use super::{
    Ring, RingError, RingErrorKind,
    doorbell::Sleeper,
    engine::{Kind, user_data},
};

impl Ring {
    /// Submits what was pushed and runs what the kernel has finished. `expect` is how many completions are likely:
    /// the kernel runs at most 20 or that many deferred completions in one call. Never sleeps.
    pub fn enter(&mut self, expect: usize) -> Result<(), RingError> {
        let (unsubmitted, pending) = {
            let queue = self.io.submission();
            (queue.len(), queue.taskrun() || queue.cq_overflow())
        };
        if unsubmitted == 0 && !pending {
            return Ok(());
        }
        let result = if expect > 20 {
            let at_once = types::Timespec::new();
            let args = types::SubmitArgs::new().timespec(&at_once);
            self.io.submitter().submit_with_args(expect, &args)
        } else {
            self.enter_plain(unsubmitted as u32)
        };
        self.entered(result)
    }

    /// Submits what was pushed if receives are among it, so that what has arrived can be reaped now; tells whether there
    /// were any. Never sleeps; what goes wrong is told by the next enter.
    pub fn receive_now(&mut self) -> bool {
        if self.failure.is_some() || !std::mem::take(&mut self.has_receives) {
            return false;
        }
        self.failure = self.enter(0).err();
        self.failure.is_none()
    }

    /// Submits what was pushed and sleeps until a completion has come, the bell has been rung, or `timeout` has
    /// passed.
    ///
    /// The timeout is an operation that outlives the sleep: a thread that is woken and sleeps again sets no timer
    /// unless it has to wake earlier than it already will, and may therefore be woken for nothing once.
    pub fn wait(&mut self, timeout: Duration) -> Result<(), RingError> {
        if self.has_completions() || timeout.is_zero() {
            return self.enter(0);
        }
        self.set_timeout(timeout);
        let result = self.io.submit_and_wait(1);
        self.entered(result)
    }

    /// As [`Self::wait`], with a timer for this wait alone, whose end is no completion; tells whether one has come.
    pub fn nap(&mut self, timeout: Duration) -> Result<bool, RingError> {
        if !self.has_completions() {
            let timeout = types::Timespec::from(timeout);
            let args = types::SubmitArgs::new().timespec(&timeout);
            let result = self.io.submitter().submit_with_args(1, &args);
            self.entered(result)?;
        }
        Ok(self.has_completions())
    }

    /// Whether something can be reaped without entering the kernel.
    pub fn has_completions(&mut self) -> bool {
        !self.spilled.is_empty() || !self.io.completion().is_empty()
    }

    /// Whether the kernel has something to do for this thread at its next enter.
    pub fn has_task_work(&mut self) -> bool {
        self.io.submission().taskrun()
    }

    fn set_timeout(&mut self, timeout: Duration) {
        if let Some(time) = self.timeouts.arm(Instant::now() + timeout, timeout) {
            let entry = opcode::Timeout::new(time).build().user_data(user_data(Kind::Timeout, 0, 0));
            self.push(entry);
        }
    }

    fn enter_plain(&self, unsubmitted: u32) -> io::Result<usize> {
        /// `IORING_ENTER_GETEVENTS`: without it deferred completions would not run.
        const GETEVENTS: u32 = 1;
        // SAFETY: every entry in the queue was pushed by this module, which owns what they point to.
        unsafe { self.io.submitter().enter::<libc::sigset_t>(unsubmitted, 0, GETEVENTS, None) }
    }

    /// Makes what this ring and its bell ring when their thread sleeps on its executor; must be called on a glommio
    /// executor, once, when the ring answers a bell.
    pub(crate) fn sleeper(&mut self) -> Result<Sleeper, RingError> {
        let doorbell = self.doorbell.as_ref().expect("the ring answers a bell");
        let sleeper = doorbell.sleeper().map_err(RingErrorKind::Doorbell.at())?;
        self.io
            .submitter()
            .register_eventfd(doorbell.for_executor())
            .map_err(RingErrorKind::Doorbell.at())?;
        self.io.completion().disable_eventfd();
        Ok(sleeper)
    }

    /// Asks the ring to ring its `Sleeper` until [`Self::finish_sleep`], also when `timeout` has passed.
    pub fn begin_ringing(&mut self, timeout: Duration) -> Result<(), RingError> {
        self.set_timeout(timeout);
        self.io.completion().enable_eventfd();
        self.enter(0)
    }

    /// Submits what was pushed and asks the ring to ring its `Sleeper` from now on, also when `timeout` has passed;
    /// tells whether the thread may sleep: nothing is waiting to be reaped.
    pub fn prepare_sleep(&mut self, timeout: Duration) -> Result<bool, RingError> {
        self.set_timeout(timeout);
        self.enter(0)?;
        self.io.completion().enable_eventfd();
        // Completions posted before the flag was seen do not ring: look once more after it is visible.
        fence(Ordering::SeqCst);
        let is_idle = {
            let queue = self.io.submission();
            queue.is_empty() && !queue.taskrun() && !queue.cq_overflow()
        };
        let may_sleep = is_idle && !self.has_completions();
        if !may_sleep {
            self.finish_sleep();
        }
        Ok(may_sleep)
    }

    /// Tells the ring that the thread is awake and looks by itself.
    pub fn finish_sleep(&mut self) {
        self.io.completion().disable_eventfd();
    }

    /// An enter has returned.
    fn entered(&mut self, result: io::Result<usize>) -> Result<(), RingError> {
        self.note_submitted();
        settle(result)?;
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Notes that the kernel has seen every entry.
    pub(super) fn note_submitted(&mut self) {
        if self.io.submission().is_empty() {
            self.has_receives = false;
            self.sends.handle_submitted();
        }
    }
}

/// What an enter came to. `EBUSY`: the completion queue is full; reaping makes room. `ETIME`: nothing more was ready.
pub(super) fn settle(result: io::Result<usize>) -> Result<(), RingError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
            _ => Err(RingErrorKind::Enter.at()(error)),
        },
    }
}
