//! Memory of a process and of the kernel, kept apart: `/proc/PID/smaps_rollup`, `/proc/PID/status`, `/proc/meminfo`.

use std::{fs, io, ops::AddAssign};

use serde::{Deserialize, Serialize};

/// A process's user memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMemory {
    /// Resident, shared pages counted whole.
    pub rss_bytes: u64,
    /// Resident, shared pages counted by their share.
    pub pss_bytes: u64,
    /// Resident anonymous pages: heap and stacks.
    pub anonymous_bytes: u64,
}

/// The kernel's own memory, in bytes, for the whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelMemory {
    /// Slab that cannot be given back under pressure: sockets, files, poll entries.
    pub slab_unreclaimable_bytes: u64,
    /// Slab counted as reclaimable; the inodes and dentries of open sockets are in it.
    pub slab_reclaimable_bytes: u64,
}

impl UserMemory {
    /// The memory of process `pid`. Needs the same user, or root.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Self::parse(&rollup, &status).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    fn parse(rollup: &str, status: &str) -> Option<Self> {
        Some(Self {
            rss_bytes: field_bytes(status, "VmRSS")?,
            pss_bytes: field_bytes(rollup, "Pss")?,
            anonymous_bytes: field_bytes(status, "RssAnon")?,
        })
    }
}

impl AddAssign for UserMemory {
    fn add_assign(&mut self, other: Self) {
        self.rss_bytes += other.rss_bytes;
        self.pss_bytes += other.pss_bytes;
        self.anonymous_bytes += other.anonymous_bytes;
    }
}

impl KernelMemory {
    /// The kernel's memory now.
    pub fn now() -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/meminfo")?)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// All slab.
    pub fn slab_bytes(self) -> u64 {
        self.slab_unreclaimable_bytes + self.slab_reclaimable_bytes
    }

    fn parse(meminfo: &str) -> Option<Self> {
        Some(Self {
            slab_unreclaimable_bytes: field_bytes(meminfo, "SUnreclaim")?,
            slab_reclaimable_bytes: field_bytes(meminfo, "SReclaimable")?,
        })
    }
}

/// The bytes of a line like `VmRSS:      1234 kB`.
fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: &str =
        "55d0 ---p 00000000 00:00 0 [rollup]\nRss:   5000 kB\nPss:   4000 kB\nPss_Dirty: 7 kB\n";
    const STATUS: &str = "Name:\tx\nVmHWM:\t 9999 kB\nVmRSS:\t 5004 kB\nRssAnon:\t  300 kB\n";
    const MEMINFO: &str = "MemTotal:  1 kB\nSlab: 70 kB\nSReclaimable:  30 kB\nSUnreclaim:  40 kB\n";

    #[test]
    fn sample_texts_are_read_in_bytes() {
        assert_eq!(
            UserMemory::parse(ROLLUP, STATUS),
            Some(UserMemory { rss_bytes: 5004 * 1024, pss_bytes: 4000 * 1024, anonymous_bytes: 300 * 1024 })
        );
        let kernel = KernelMemory::parse(MEMINFO).unwrap();
        assert_eq!(kernel.slab_unreclaimable_bytes, 40 * 1024);
        assert_eq!(kernel.slab_bytes(), 70 * 1024);
    }

    #[test]
    fn a_missing_or_odd_line_is_not_taken_for_zero() {
        assert_eq!(field_bytes("VmRSS: many kB", "VmRSS"), None);
        assert_eq!(field_bytes("VmRSS: 5", "VmRSS"), None);
        assert_eq!(field_bytes("VmRSSX: 5 kB", "VmRSS"), None);
        assert_eq!(UserMemory::parse("", STATUS), None);
    }

    #[test]
    fn this_process_and_kernel_can_be_read() {
        assert!(UserMemory::of_process(std::process::id()).unwrap().rss_bytes > 0);
        assert!(KernelMemory::now().unwrap().slab_bytes() > 0);
    }
}
