//! Threads that work in the background of the shards: one that wakes does not interrupt who has the core.

use std::io;

/// From now on this thread does not take a core from another by waking, but waits until the scheduler comes round to it
/// (`SCHED_BATCH`, sched(7)). Its share of the core stays the same, so that what it does is done also where shards use the core
/// up, as would not be so with a lower priority.
pub(crate) fn work_in_background() -> io::Result<()> {
    // SAFETY: all of it may be zero, and the priority has to be (sched_setscheduler(2)).
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is this thread; the parameters are read and live until the call returns.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy of this thread, field 41 of its `stat` (proc_pid_stat(5)); counted from behind its name, field 2.
    fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("it is mounted");
        let (_, rest) = stat.rsplit_once(')').expect("a name");
        rest.split_ascii_whitespace().nth(41 - 3).and_then(|field| field.parse().ok()).expect("a number")
    }

    #[test]
    fn a_thread_in_the_background_is_one_that_waits_for_its_turn_and_others_are_as_they_were() {
        let working = std::thread::spawn(|| {
            let before = policy();
            work_in_background().expect("every thread may");
            (before, policy())
        });
        assert_eq!(working.join().expect("no panic"), (libc::SCHED_OTHER, libc::SCHED_BATCH));
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}
