//! The process's resource limits: raised as far as the process itself may. How many connections they allow is
//! computed in `ceiling.rs`.

use std::{fmt, io};

use rlimit::Resource;
use roadstead_tuning::{
    ceiling::{self, MemoryBound},
    host::Host,
    rules::LOCKED_BYTES_MIN,
    setting,
};
use tracing::warn;

/// What the process may use, after raising.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Open files, which also bounds each ring's table of descriptors.
    pub nofile: u64,
    /// What the machine's memory holds, if that can be read.
    pub memory: Option<MemoryBound>,
    /// How far root may raise `nofile` without changing a sysctl.
    pub nr_open: Option<u64>,
}

/// The limits cannot be read, or are too small to start at all.
#[derive(Debug)]
pub enum LimitsError {
    /// getrlimit(2) failed.
    Unreadable(io::Error),
    /// The executor locks a little memory per shard and refuses to start below 512 KiB.
    MemlockTooSmall {
        /// The limit, in bytes.
        memlock: u64,
    },
}

/// Raises the soft limits of open files and of locked memory to the hard ones.
pub(super) fn raise() -> Result<Limits, LimitsError> {
    let nofile = raise_one(Resource::NOFILE).map_err(LimitsError::Unreadable)?;
    let memlock = raise_one(Resource::MEMLOCK).map_err(LimitsError::Unreadable)?;
    if memlock < LOCKED_BYTES_MIN {
        return Err(LimitsError::MemlockTooSmall { memlock });
    }
    let host = Host::at("/");
    let nr_open = host.number("/proc/sys/fs/nr_open").value().copied();
    Ok(Limits { nofile, memory: ceiling::in_memory(&host), nr_open })
}

/// Lets the kernel write no core of this process, nor pass one to a program. A limit of one byte is less than any core takes, and
/// the one that holds for programs as well (fs/coredump.c), which a limit of none does not.
pub(super) fn forbid_cores() {
    let outcome = Resource::CORE.get().and_then(|(_, hard)| Resource::CORE.set(hard.min(1), hard));
    if let Err(error) = outcome {
        warn!(
            "a core may be written if the process crashes, with the keys in it (server.core_dumps): {error}"
        );
    }
}

/// Warns if something besides open files keeps this machine from holding `connections`: the same checks as
/// `roadstead tune check`.
pub(super) fn warn_of_less(connections: u32) {
    let held = ceiling::beside_open_files(connections.into());
    if held.connections < connections.into() {
        warn!("{held}; {}", held.cure);
    }
}

/// Raises the soft limit, and tells what it is then.
fn raise_one(resource: Resource) -> io::Result<u64> {
    let (soft, hard) = resource.get()?;
    if soft == hard {
        return Ok(soft);
    }
    match resource.set(hard, hard) {
        Ok(()) => Ok(hard),
        Err(error) => {
            warn!(
                "the soft limit {} stays at {soft}, below the hard limit {hard}: {error}",
                resource.as_name()
            );
            Ok(soft)
        }
    }
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot read the process's resource limits: {error}"),
            Self::MemlockTooSmall { memlock } => write!(
                f,
                "the limit of locked memory is {memlock} bytes and has to be {LOCKED_BYTES_MIN}: {}",
                setting::cure("memlock", LOCKED_BYTES_MIN)
            ),
        }
    }
}

impl std::error::Error for LimitsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_leaves_the_soft_limits_at_the_hard_ones() {
        let limits = raise().expect("limits can be read");
        let (soft, hard) = Resource::NOFILE.get().expect("limits can be read");
        assert_eq!((soft, limits.nofile), (hard, hard));
        assert!(limits.memory.is_some_and(|memory| memory.connections < memory.connections_most));
        assert!(limits.nr_open.is_some());
    }

    #[test]
    fn too_little_locked_memory_tells_its_cure() {
        assert_eq!(
            LimitsError::MemlockTooSmall { memlock: 65_536 }.to_string(),
            "the limit of locked memory is 65536 bytes and has to be 524288: start with `ulimit -Hl 512` as root \
             (systemd: LimitMEMLOCK=524288; docker: --ulimit memlock=524288:524288)"
        );
    }
}
