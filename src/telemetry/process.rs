//! What the process takes of the machine, read from `/proc/self` (proc(5)) when somebody asks.

use std::{
    fs, io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::upgrading::{self, Stage};

/// What the process takes of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProcessReport {
    /// The version of Roadstead.
    pub version: &'static str,
    /// Memory in use, without what is swapped out.
    pub resident_bytes: u64,
    /// Memory that the kernel takes for the process's control group, sockets and all, as that counts it: with version 2 of
    /// control groups since Linux 5.18, and for all processes that are in it.
    pub kernel_bytes: Option<u64>,
    /// Open descriptors. Connections are not among them: they live in the tables of the rings.
    pub open_descriptors: u64,
    /// The soft limit of open descriptors.
    pub descriptors_max: u64,
    /// CPU time spent, in user and kernel together, by all threads.
    pub cpu_ms: u64,
    /// Time since the server started.
    pub uptime_ms: u64,
    /// When the server started, in milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Why the last upgrade has failed, if it has; as far as this process knows.
    pub upgrade_failed: Option<String>,
}

/// Clock ticks per second in `/proc/self/stat`: `USER_HZ` is 100 on every architecture Rust's Linux targets run on.
const TICKS_PER_SECOND: u64 = 100;

/// Reads the report. `uptime` is the time since the server started.
pub fn read(uptime: Duration) -> io::Result<ProcessReport> {
    let status = fs::read_to_string("/proc/self/status")?;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (descriptors_max, _hard) = rlimit::Resource::NOFILE.get()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok(ProcessReport {
        version: env!("CARGO_PKG_VERSION"),
        resident_bytes: resident_bytes_of(&status)?,
        kernel_bytes: kernel_bytes(),
        // Reading the directory needs a descriptor, which is gone when the count is told.
        open_descriptors: (fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1),
        descriptors_max,
        cpu_ms: cpu_ms(&stat).ok_or_else(|| unexpected("times in /proc/self/stat"))?,
        uptime_ms: milliseconds(uptime),
        started_unix_ms: milliseconds(now.saturating_sub(uptime)),
        upgrade_failed: match upgrading::stage() {
            Stage::Failed(reason) => Some(reason),
            Stage::Idle | Stage::UnderWay => None,
        },
    })
}

/// Memory in use by the process, without what is swapped out.
pub fn resident_bytes() -> io::Result<u64> {
    resident_bytes_of(&fs::read_to_string("/proc/self/status")?)
}

fn kernel_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    kernel_bytes_of(&fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.stat")).ok()?)
}

/// The lines `kernel` and `sock` of `memory.stat`, in bytes (Linux Documentation/admin-guide/cgroup-v2.rst).
fn kernel_bytes_of(stat: &str) -> Option<u64> {
    let value = |name: &str| {
        let rest = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        rest?.trim().parse::<u64>().ok()
    };
    Some(value("kernel")? + value("sock")?)
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("found no {what}"))
}

/// The line `VmRSS:    12345 kB`.
fn resident_bytes_of(status: &str) -> io::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kibibytes.ok_or_else(|| unexpected("VmRSS in /proc/self/status"))? * 1024)
}

/// Fields 14 and 15, user and system time. Field 2 is the program's name in parentheses and may hold anything, so
/// counting starts behind the last parenthesis, at field 3.
fn cpu_ms(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(14 - 3).map(str::parse::<u64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((user + system) * 1000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_reports_plausible_figures() {
        let report = read(Duration::from_secs(7)).expect("/proc is mounted");
        assert!(report.resident_bytes > 100_000, "{report:?}");
        assert!(
            report.open_descriptors >= 3 && report.open_descriptors < report.descriptors_max,
            "{report:?}"
        );
        assert_eq!(report.uptime_ms, 7_000);
        assert!(report.started_unix_ms > 1_700_000_000_000, "{report:?}");
    }

    #[test]
    fn a_program_name_with_spaces_and_parentheses_shifts_no_field() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 99";
        assert_eq!(cpu_ms(stat), Some(2_000));
        assert_eq!(cpu_ms("12 (a) S 1 2"), None);
    }

    #[test]
    fn memory_of_the_kernel_is_that_of_structures_and_of_sockets() {
        let stat = "anon 5\nfile 6\nkernel 4000\nkernel_stack 7\nsock 96\nslab 3000\n";
        assert_eq!(kernel_bytes_of(stat), Some(4_096));
        assert_eq!(kernel_bytes_of("anon 5\nslab 3000\nsock 96\n"), None, "before Linux 5.18");
    }

    #[test]
    fn resident_memory_is_in_kibibytes() {
        assert_eq!(resident_bytes_of("VmPeak:\t 9 kB\nVmRSS:\t    3 kB\n").ok(), Some(3_072));
        assert!(resident_bytes_of("VmPeak:\t 9 kB\n").is_err());
    }
}
