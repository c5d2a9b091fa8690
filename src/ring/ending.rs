//! Ending a ring while its thread lives on.

use std::time::{Duration, Instant};

use io_uring::{opcode, squeue, types::CancelBuilder};

use super::{
    Ring,
    engine::{Kind, user_data},
};

/// Completions looked at at once.
const COMPLETIONS_AT_ONCE: usize = 1024;

impl Ring {
    /// Gives up whatever is in flight, and waits until the kernel has let go of the memory that it was given, for so long
    /// at most. Dropping a ring gives up the same, but keeps that memory for good. The sockets in the table are closed.
    pub fn end(mut self, patience: Duration) {
        // Neither hears the bell again nor sends on what a full socket has left over.
        self.doorbell = None;
        self.sends.give_up_all();
        let everything = opcode::AsyncCancel2::new(CancelBuilder::any())
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Kind::Ignored, 0, 0));
        self.push(everything);
        let until = Instant::now() + patience;
        let mut completions = Vec::new();
        while self.enter(COMPLETIONS_AT_ONCE).is_ok() {
            self.reap(&mut completions, COMPLETIONS_AT_ONCE);
            completions.clear();
            let is_idle = self.holds_nothing();
            if is_idle || Instant::now() >= until || self.nap(Duration::from_millis(1)).is_err() {
                return;
            }
        }
    }
}
