//! How much of a core the calling thread has taken.

/// CPU time of this thread, in its own code and in the kernel, in microseconds.
pub fn thread_cpu_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the time into a value that is there for it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_takes_time_and_one_that_sleeps_takes_none() {
        let begun = thread_cpu_us();
        while thread_cpu_us() < begun + 2_000 {
            std::hint::spin_loop();
        }
        let worked = thread_cpu_us();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(thread_cpu_us() - worked < 20_000);
    }
}
