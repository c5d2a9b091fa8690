//! The few system calls that the standard library and `socket2` do not offer; the only `unsafe` of the package.
//!
//! Nothing here decides anything. Each function is one call, its error an [`io::Error`].

pub mod epoll;
pub mod net;
pub mod ring;
pub mod signal;

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Two values of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitPair {
    /// What holds now.
    pub soft: u64,
    /// How far `soft` may be raised.
    pub hard: u64,
}

/// A limit that this tool reads and sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `RLIMIT_NOFILE`
    OpenFiles,
    /// `RLIMIT_MEMLOCK`
    LockedMemory,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// Reads, and if `new` is given sets, a limit of process `pid` (0: our own).
pub fn limit(pid: u32, resource: Resource, new: Option<LimitPair>) -> io::Result<LimitPair> {
    let new = new.map(|pair| libc::rlimit64 { rlim_cur: pair.soft, rlim_max: pair.hard });
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let new_pointer = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both pointers are null or point to live `rlimit64` values of this frame.
    let result = unsafe { libc::prlimit64(pid.cast_signed(), resource.number(), new_pointer, &raw mut old) };
    outcome(result)?;
    Ok(LimitPair { soft: old.rlim_cur, hard: old.rlim_max })
}

/// The size of a page.
pub fn page_bytes() -> u64 {
    // SAFETY: `sysconf` reads a constant of the running system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// Moves the calling thread into a new, empty network namespace.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: the flag affects only which namespace later calls of this thread see.
    outcome(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Gives the calling thread a descriptor table of its own, a copy of the process's.
pub fn unshare_files() -> io::Result<()> {
    // SAFETY: descriptors owned by Rust values of this thread exist in the copy under the same numbers; values of
    // other threads keep referring to the old table, which this thread no longer touches.
    outcome(unsafe { libc::unshare(libc::CLONE_FILES) })
}

/// Binds the calling thread to one processor.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    // SAFETY: a `cpu_set_t` is plain bits, for which zero is valid; `CPU_SET` bounds-checks its index.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        outcome(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set))
    }
}

/// Duplicates `fd` to the lowest free number at or above `from`.
pub fn duplicate_above(fd: BorrowedFd<'_>, from: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: `fd` is open for as long as it is borrowed; the call takes an integer argument.
    let new = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, from) };
    outcome(new)?;
    // SAFETY: the kernel just returned this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

fn outcome(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
