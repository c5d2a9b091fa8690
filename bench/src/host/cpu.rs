//! CPU time of a process: all its threads, also those that have ended.
//!
//! How much is taken from the process's CPU clock and from `schedstat`, which count nanoseconds; how it divides into user
//! and system only `/proc/PID/stat` says, in ticks of 10 ms.

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
        let ticks = Self::read(&format!("/proc/{pid}/stat"))?;
        Ok(process_clock_us(pid).map_or(ticks, |total_us| ticks.scaled_to(total_us)))
    }

    fn read(path: &str) -> io::Result<Self> {
        parse(&fs::read_to_string(path)?, clock_ticks_per_second())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// The time used by one thread of a process so far.
    pub fn of_thread(pid: u32, thread: u32) -> io::Result<Self> {
        Self::of_folder(&format!("/proc/{pid}/task/{thread}"))
    }

    /// The time used by the calling thread so far.
    pub fn of_this_thread() -> io::Result<Self> {
        Self::of_folder("/proc/thread-self")
    }

    fn of_folder(folder: &str) -> io::Result<Self> {
        let ticks = Self::read(&format!("{folder}/stat"))?;
        let ran_us = schedstat_us(folder, 0);
        Ok(ran_us.map_or(ticks, |total_us| ticks.scaled_to(total_us)))
    }

    /// The same division of another total.
    fn scaled_to(self, total_us: u64) -> Self {
        let share = self.user_us as f64 / self.total_us().max(1) as f64;
        // What has run for less than a tick is not divided: it is told as the program's.
        let user_us = if self.total_us() == 0 { total_us } else { (total_us as f64 * share) as u64 };
        Self { user_us, system_us: total_us - user_us }
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
    schedstat_us("/proc/thread-self", 1)
}

/// A field of a thread's `schedstat`: 0 is the time it ran, 1 the time it was ready and had no core. `None` where the
/// kernel does not count it.
fn schedstat_us(folder: &str, field: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
    Some(text.split_ascii_whitespace().nth(field)?.parse::<u64>().ok()? / 1000)
}

/// A process's CPU clock (clock_getcpuclockid(3)): all its threads to the nanosecond, those that ended included.
fn process_clock_us(pid: u32) -> Option<u64> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both pointers name locals that outlive the calls, which write one value each.
    let is_read = unsafe {
        libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    is_read.then(|| time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1000)
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
    fn a_process_is_measured_finer_than_ticks() {
        let pid = std::process::id();
        let before = CpuTime::of_process(pid).unwrap().total_us();
        let mut steps = std::collections::BTreeSet::new();
        while steps.len() < 3 {
            steps.insert(CpuTime::of_process(pid).unwrap().total_us());
        }
        let last = *steps.last().unwrap();
        assert!(steps.iter().any(|us| us % 10_000 != 0), "{steps:?}");
        assert!(last > before && last - before < 10_000_000);
    }

    #[test]
    fn a_total_is_divided_as_its_ticks_are() {
        let ticks = CpuTime { user_us: 10_000, system_us: 30_000 };
        assert_eq!(ticks.scaled_to(44_000), CpuTime { user_us: 11_000, system_us: 33_000 });
        assert_eq!(CpuTime::default().scaled_to(700), CpuTime { user_us: 700, system_us: 0 });
    }

    #[test]
    fn cores_are_time_over_time() {
        let used = CpuTime { user_us: 250_000, system_us: 250_000 };
        assert!((used.cores(Duration::from_secs(1)) - 0.5).abs() < 1e-9);
    }
}
