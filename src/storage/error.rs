//! Why a store cannot be used, and what to do about it.

use std::{fmt, io::ErrorKind, path::PathBuf};

use redb::{CommitError, CompactionError, DatabaseError, StorageError, TableError, TransactionError};

use super::tables::FORMAT;

/// Why a store cannot be used, and what to do about it.
#[derive(Debug)]
pub struct StoreError {
    pub(super) path: PathBuf,
    pub(super) problem: Problem,
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum Problem {
    /// The folder cannot be made.
    Folder(std::io::Error),
    /// Another process has it open.
    InUse,
    /// Another version has written it.
    Format(u64),
    /// What stands there is not what was written.
    Damaged(String),
    /// There is none.
    Missing,
    /// There is one already.
    Exists,
    /// What is read in cannot be: the line, counted from 1, and why.
    Line(u64, String),
    /// What is written out or read in.
    Output(std::io::Error),
    /// The system refused.
    System(Box<redb::Error>),
}

impl Problem {
    /// Of a channel of which something cannot be read.
    pub(super) fn unreadable(channel: &str) -> Self {
        Self::Damaged(format!("a publication of the channel {channel:?} cannot be read"))
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            DatabaseError::UpgradeRequired(version) => Self::Format(version.into()),
            DatabaseError::RepairAborted => Self::Damaged("its repair was broken off".into()),
            DatabaseError::Storage(error) => error.into(),
            error => Self::System(Box::new(error.into())),
        }
    }
}

impl From<CompactionError> for Problem {
    fn from(error: CompactionError) -> Self {
        match error {
            CompactionError::Storage(error) => error.into(),
            error => Self::System(Box::new(error.into())),
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(what) => Self::Damaged(what),
            // A file that is none of redb's, or ends before a page that it names.
            StorageError::Io(error)
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged(error.to_string())
            }
            error => Self::System(Box::new(error.into())),
        }
    }
}

impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            error => Self::System(Box::new(error.into())),
        }
    }
}

impl From<TransactionError> for Problem {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Self::System(Box::new(error.into())),
        }
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            error => Self::System(Box::new(error.into())),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Folder(error) => write!(f, "the folder of {path} cannot be made: {error}"),
            Problem::InUse => write!(
                f,
                "{path} is in use by another process; end that, or give this one another storage.path"
            ),
            Problem::Format(format) => write!(
                f,
                "{path} has the format {format}, and this version reads {FORMAT}; start the version that wrote it, \
                 or move the file away to begin anew"
            ),
            Problem::Damaged(what) => write!(
                f,
                "{path} is damaged: {what}; put a copy of it back, or move it away to begin anew. Nothing of it has \
                 been changed"
            ),
            Problem::Missing => write!(f, "there is no {path}; name the folder that storage.path names"),
            Problem::Exists => write!(f, "{path} is there already; move it away, or name another folder"),
            Problem::Line(number, what) => write!(f, "line {number} cannot be read in: {what}"),
            Problem::Output(error) => write!(f, "the lines cannot be written or read: {error}"),
            Problem::System(error) => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}
