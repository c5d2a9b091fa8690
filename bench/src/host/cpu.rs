//! CPU time of a process, from `/proc/PID/stat`: all its threads, also those that have ended.

use std::{
    fs, io,
    ops::{Add, Sub},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::clock::clock_ticks_per_second;

/// CPU time used, in microseconds. On Linux without `IRQ_TIME_ACCOUNTING` the network work done on a process's behalf
/// during its system calls counts as its system time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTime {
    /// In the program.
    pub user_us: u64,
    /// In the kernel on its behalf.
    pub system_us: u64,
}

impl CpuTime {
    /// The time used by process `pid` so far.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    fn read(path: &str) -> io::Result<Self> {
        parse(&fs::read_to_string(path)?, clock_ticks_per_second())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// The time used by one thread of a process so far.
    pub fn of_thread(pid: u32, thread: u32) -> io::Result<Self> {
        Self::read(&format!("/proc/{pid}/task/{thread}/stat"))
    }

    /// The time used by the calling thread so far.
    pub fn of_this_thread() -> io::Result<Self> {
        Self::read("/proc/thread-self/stat")
    }

    /// User and system together.
    pub fn total_us(self) -> u64 {
        self.user_us + self.system_us
    }

    /// The share of one core over `elapsed`: 1.0 is one core busy throughout.
    pub fn cores(self, elapsed: Duration) -> f64 {
        self.total_us() as f64 / elapsed.as_micros().max(1) as f64
    }
}

/// A thread's CPU at one moment.
#[derive(Clone, Copy, Debug)]
pub struct ThreadMark {
    at: Instant,
    cpu: CpuTime,
    core_wait_us: Option<u64>,
}

/// What a thread used from one moment to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadUse {
    /// Time it ran.
    pub cpu: CpuTime,
    /// Time that passed.
    pub elapsed: Duration,
    /// Time it was ready to run and had no core.
    pub core_wait_us: u64,
}

impl ThreadMark {
    /// The calling thread, now.
    pub fn now() -> io::Result<Self> {
        let cpu = CpuTime::of_this_thread()?;
        Ok(Self { at: Instant::now(), cpu, core_wait_us: core_wait_us_of_this_thread() })
    }

    /// What the same thread has used since.
    pub fn until_now(&self) -> io::Result<ThreadUse> {
        let now = Self::now()?;
        let waited = self.core_wait_us.zip(now.core_wait_us).map(|(before, after)| after - before);
        Ok(ThreadUse {
            cpu: now.cpu - self.cpu,
            elapsed: now.at - self.at,
            core_wait_us: waited.unwrap_or_default(),
        })
    }
}

impl ThreadUse {
    /// The largest share of its time that one of several threads waited for a core.
    pub fn core_wait(threads: &[Self]) -> f64 {
        let wait = |thread: &Self| thread.core_wait_us as f64 / thread.elapsed.as_micros().max(1) as f64;
        threads.iter().map(wait).fold(0.0, f64::max)
    }
}

/// Microseconds the calling thread was ready to run and had no core, from schedstat: time that others took from it.
/// `None` where the kernel does not count it.
fn core_wait_us_of_this_thread() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? / 1000)
}

impl Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { user_us: self.user_us + other.user_us, system_us: self.system_us + other.system_us }
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(earlier.user_us),
            system_us: self.system_us.saturating_sub(earlier.system_us),
        }
    }
}

/// Fields 14 and 15 of proc_pid_stat(5), in clock ticks. The second field is the program's name in parentheses and
/// may itself hold spaces and parentheses: count from the last one.
fn parse(stat: &str, ticks_per_second: u64) -> Option<CpuTime> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut next_us = || Some(fields.next()?.parse::<u64>().ok()? * 1_000_000 / ticks_per_second);
    Some(CpuTime { user_us: next_us()?, system_us: next_us()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_parentheses() {
        let stat =
            "4242 (a (b) c) S 1 4242 4242 0 -1 4194560 1200 0 3 0 150 275 0 0 20 0 3 0 8031 1048576 900";
        assert_eq!(parse(stat, 100), Some(CpuTime { user_us: 1_500_000, system_us: 2_750_000 }));
        assert_eq!(parse("4242 (cut) S 1 2 3", 100), None);
        assert_eq!(parse("", 100), None);
    }

    #[test]
    fn this_process_has_used_some_time_or_none_but_can_be_read() {
        let earlier = CpuTime::of_process(std::process::id()).unwrap();
        let later = CpuTime::of_process(std::process::id()).unwrap();
        assert!(later.total_us() >= earlier.total_us());
    }

    #[test]
    fn cores_are_time_over_time() {
        let used = CpuTime { user_us: 250_000, system_us: 250_000 };
        assert!((used.cores(Duration::from_secs(1)) - 0.5).abs() < 1e-9);
    }
}
