//! Changing a host: what would change, the journal, the writes, the way back.
//!
//! ```text
//!   plan ─► for each step:  journal entry ─► fsync ─► write ─► read again
//!                                │
//!                                └─► rollback: if it still is what we set, what it was before
//! ```
//!
//! A crash at any arrow leaves a journal from which a rollback finds the way: an entry without its write is found
//! to be as it was.

pub mod apply;
pub mod boot_order;
pub mod journal;
pub mod persist;
pub mod plan;
pub mod rollback;

pub use journal::{Entry, Journal, Target};
pub use plan::{Plan, Step};

use crate::{
    host::{Host, Reading},
    sys::{self, LimitPair, Resource},
};

/// What a target holds now, exactly; a file's bytes, or a limit as `soft:hard`.
fn read(host: &Host, target: &Target) -> Reading {
    match target {
        Target::File { path } => host.read_raw(path),
        Target::Limit { pid, started, resource } => {
            if start_ticks(host, *pid) != Some(*started) {
                return Reading::Missing;
            }
            match sys::limit(*pid, resource.resource(), None) {
                Ok(pair) => Reading::Value(format!("{}:{}", pair.soft, pair.hard)),
                Err(error) => Reading::Unreadable(error.to_string()),
            }
        }
    }
}

/// Writes what [`read`] gave, or a new value in the same form.
fn write(host: &Host, target: &Target, value: &str) -> std::io::Result<()> {
    match target {
        Target::File { path } => host.write(path, value),
        Target::Limit { pid, resource, .. } => {
            let pair = parse_limit(value).ok_or(std::io::ErrorKind::InvalidInput)?;
            sys::limit(*pid, resource.resource(), Some(pair)).map(drop)
        }
    }
}

fn parse_limit(text: &str) -> Option<LimitPair> {
    let (soft, hard) = text.split_once(':')?;
    Some(LimitPair { soft: soft.parse().ok()?, hard: hard.parse().ok()? })
}

/// When a process was started, in ticks since boot: a number that tells it from a later one with the same id.
fn start_ticks(host: &Host, pid: u32) -> Option<u64> {
    let stat = host.read_raw(&format!("/proc/{pid}/stat")).value().cloned()?;
    // The name in parentheses may hold anything; the fields after it are numbers, and the 22nd of all is the time.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

impl journal::LimitName {
    fn resource(self) -> Resource {
        match self {
            Self::Nofile => Resource::OpenFiles,
            Self::Memlock => Resource::LockedMemory,
        }
    }
}
