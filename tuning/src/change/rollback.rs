//! The way back: each value that still is what the journal set returns to what it was.

use std::io;

use super::{Entry, journal::Target};
use crate::host::{Host, Reading, settled};

/// What came of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is again what it was.
    Restored,
    /// It is what it was already: the write never happened, or was undone before.
    AsBefore,
    /// It is neither; somebody has changed it since, and keeps what they set.
    Left(String),
    /// There is nothing left to restore: a process that ended, a module that was unloaded.
    Gone,
    /// The write back was refused.
    Refused(String),
}

/// Undoes the entries, newest first.
pub fn rollback(host: &Host, entries: &[Entry], mut tell: impl FnMut(&Entry, &Outcome)) -> bool {
    let mut is_whole = true;
    for entry in entries.iter().rev() {
        let outcome = undo(host, entry);
        is_whole &= !matches!(outcome, Outcome::Refused(_));
        tell(entry, &outcome);
    }
    is_whole
}

fn undo(host: &Host, entry: &Entry) -> Outcome {
    let now = match super::read(host, &entry.target) {
        Reading::Value(now) => now,
        Reading::Missing if entry.old.is_none() => return Outcome::AsBefore,
        Reading::Missing => return Outcome::Gone,
        Reading::Unreadable(reason) => return Outcome::Refused(reason),
    };
    if entry.old.as_ref() == Some(&now) {
        return Outcome::AsBefore;
    }
    if !is_as_set(entry, &now) {
        return Outcome::Left(settled(&now));
    }
    match restore(host, entry, &now) {
        Ok(()) => Outcome::Restored,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// Of a limit, an apply sets the hard one only; the soft one is the program's own.
fn is_as_set(entry: &Entry, now: &str) -> bool {
    match entry.target {
        Target::File { .. } => settled(now) == settled(&entry.new),
        Target::Limit { .. } => match (super::parse_limit(now), super::parse_limit(&entry.new)) {
            (Some(now), Some(new)) => now.hard == new.hard,
            _ => false,
        },
    }
}

/// Of a list of choices only the chosen word can be written; the kernel, or the fake root, prints the list again.
fn restore(host: &Host, entry: &Entry, now: &str) -> io::Result<()> {
    match (&entry.old, &entry.target) {
        (Some(old), target @ Target::Limit { .. }) => {
            let (now, old) = (super::parse_limit(now), super::parse_limit(old));
            let (now, old) = now.zip(old).ok_or(io::ErrorKind::InvalidData)?;
            super::write(host, target, &format!("{}:{}", now.soft.min(old.hard), old.hard))
        }
        (Some(old), target @ Target::File { .. }) => {
            let word = if old.contains('[') { settled(old) } else { old.clone() };
            super::write(host, target, &word)
        }
        (None, Target::File { path }) => std::fs::remove_file(host.path(path)),
        (None, Target::Limit { .. }) => Ok(()),
    }
}
