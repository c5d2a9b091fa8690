//! The file: what stands in it, and how it is read and written. One at a time has it open.
//!
//! ```text
//!   meta      "format" → 1      "clean" → 1 if all that was acknowledged had been written when it was closed
//!   streams   channel           → epoch, offset
//!   history   channel, offset   → publication
//!   state     channel, key      → the publication that last changed it
//! ```
//!
//! Invariant: what stands under a channel is of the epoch that stands in `streams`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use redb::{
    CommitError, Database, DatabaseError, ReadableTable, StorageError, TableDefinition, TableError,
    TransactionError, WriteTransaction,
};

use super::codec;
use crate::model::{Change, ChangeKind, ChannelName, Position, Publication, Record, Restored};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const STREAMS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("streams");
const HISTORY: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("history");
const STATE: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("state");

/// The format of this version.
const FORMAT: u64 = 1;
/// Memory for what is remembered of the file.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// The file in `storage.path`.
const FILE: &str = "channels.redb";

/// An open store.
pub(super) struct Store {
    path: PathBuf,
    /// `None` after an error, until it has been opened again.
    database: Option<Database>,
}

/// Why a store cannot be used, and what to do about it.
#[derive(Debug)]
pub struct StoreError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    /// The folder cannot be made.
    Folder(std::io::Error),
    /// Another process has it open.
    InUse,
    /// Another version has written it.
    Format(u64),
    /// What stands there is not what was written.
    Damaged(String),
    /// The system refused.
    System(Box<redb::Error>),
}

impl StoreError {
    /// Of a store in a folder at which reading stumbled.
    pub(super) fn unreadable(folder: &Path) -> Self {
        Self { path: folder.join(FILE), problem: Problem::Damaged("it cannot be read".into()) }
    }
}

impl Store {
    /// Opens the store in a folder, or makes one; and whether it was closed as it should have been.
    pub(super) fn open(folder: &Path) -> Result<(Self, bool), StoreError> {
        let path = folder.join(FILE);
        let failed = |problem| StoreError { path: path.clone(), problem };
        std::fs::create_dir_all(folder).map_err(|error| failed(Problem::Folder(error)))?;
        let database = create(&path).map_err(failed)?;
        let mut store = Self { path: path.clone(), database: Some(database) };
        let was_clean = store.begin().map_err(failed)?;
        Ok((store, was_clean))
    }

    /// Checks the format, makes the tables, and notes that it is in use; whether it was clean.
    fn begin(&mut self) -> Result<bool, Problem> {
        self.transact(|write| {
            let mut meta = write.open_table(META)?;
            let format = meta.get("format")?.map(|format| format.value());
            match format {
                None => drop(meta.insert("format", FORMAT)?),
                Some(FORMAT) => {}
                Some(other) => return Err(Problem::Format(other)),
            }
            let was_clean = meta.insert("clean", 0)?.map(|clean| clean.value());
            write.open_table(STREAMS)?;
            write.open_table(HISTORY)?;
            write.open_table(STATE)?;
            // Nothing has been lost of what has never been.
            Ok(was_clean.is_none_or(|clean| clean == 1))
        })
    }

    /// Writes records, all or none of them; they are on disk when this returns.
    pub(super) fn write(&mut self, records: &[Record], is_last: bool) -> Result<(), StoreError> {
        let result = self.reopen().and_then(|()| {
            self.transact(|write| {
                let mut tables = Tables::open(write)?;
                records.iter().try_for_each(|record| tables.write(record))?;
                drop(tables);
                write.open_table(META)?.insert("clean", u64::from(is_last))?;
                Ok(())
            })
        });
        result.map_err(|problem| {
            // What an error leaves open is not to be used again.
            self.database = None;
            StoreError { path: self.path.clone(), problem }
        })
    }

    /// Reads the channels that are wanted.
    pub(super) fn read(
        &mut self,
        is_wanted: impl Fn(&ChannelName) -> bool,
        is_whole: bool,
    ) -> Result<Vec<Restored>, StoreError> {
        let path = self.path.clone();
        let read = |store: &mut Self| -> Result<Vec<Restored>, Problem> {
            store.reopen()?;
            let read = store.database()?.begin_read()?;
            let (streams, history) = (read.open_table(STREAMS)?, read.open_table(HISTORY)?);
            let state = read.open_table(STATE)?;
            let mut all = Vec::new();
            for entry in streams.iter()? {
                let (name, position) = entry?;
                let (epoch, offset) = position.value();
                let channel = channel_of(name.value())?;
                if !is_wanted(&channel) {
                    continue;
                }
                let name = channel.as_str();
                let damaged =
                    || Problem::Damaged(format!("a publication of the channel {name:?} cannot be read"));
                let decode = |bytes: &[u8]| codec::decode(&channel, epoch, bytes).ok_or_else(damaged);
                let (mut kept, mut keys) = (Vec::new(), Vec::new());
                for entry in history.range((name, 0)..=(name, u64::MAX))? {
                    kept.push(decode(entry?.1.value())?);
                }
                for entry in state.range((name, "")..)? {
                    let (key, bytes) = entry?;
                    if key.value().0 != name {
                        break;
                    }
                    keys.push(decode(bytes.value())?);
                }
                let position = Position { epoch, offset };
                all.push(Restored {
                    channel: channel.clone(),
                    position,
                    history: kept,
                    state: keys,
                    is_whole,
                });
            }
            Ok(all)
        };
        read(self).map_err(|problem| StoreError { path, problem })
    }

    fn database(&self) -> Result<&Database, Problem> {
        self.database.as_ref().ok_or_else(|| Problem::Damaged("it is not open".into()))
    }

    fn reopen(&mut self) -> Result<(), Problem> {
        if self.database.is_none() {
            self.database = Some(create(&self.path)?);
        }
        Ok(())
    }

    fn transact<T>(&self, act: impl FnOnce(&WriteTransaction) -> Result<T, Problem>) -> Result<T, Problem> {
        let write = self.database()?.begin_write()?;
        let done = act(&write)?;
        write.commit()?;
        Ok(done)
    }
}

struct Tables<'a> {
    streams: redb::Table<'a, &'static str, (u64, u64)>,
    history: redb::Table<'a, (&'static str, u64), &'static [u8]>,
    state: redb::Table<'a, (&'static str, &'static str), &'static [u8]>,
}

impl<'a> Tables<'a> {
    fn open(write: &'a WriteTransaction) -> Result<Self, Problem> {
        Ok(Self {
            streams: write.open_table(STREAMS)?,
            history: write.open_table(HISTORY)?,
            state: write.open_table(STATE)?,
        })
    }

    fn write(&mut self, record: &Record) -> Result<(), Problem> {
        match record {
            Record::Publication { publication, is_kept } => self.publish(publication, *is_kept),
            Record::Trim { channel, offset } => {
                self.history.remove((channel.as_str(), *offset))?;
                Ok(())
            }
            Record::Renew { channel, position } => self.go_to(channel.as_str(), *position),
            Record::Forget { channel } => {
                self.clear(channel.as_str())?;
                self.streams.remove(channel.as_str())?;
                Ok(())
            }
        }
    }

    fn publish(&mut self, publication: &Publication, is_kept: bool) -> Result<(), Problem> {
        let Publication { channel, position, payload, .. } = publication;
        let name = channel.as_str();
        let before = self.streams.get(name)?.map(|before| before.value().0);
        if before.is_some_and(|epoch| epoch != position.epoch) {
            // A stream that has begun anew, and knew nothing of this one.
            self.clear(name)?;
        }
        self.go_to(name, *position)?;
        let bytes = codec::encode(publication);
        if is_kept {
            self.history.insert((name, position.offset), &*bytes)?;
        }
        match payload.change.as_deref() {
            Some(Change { key, kind: ChangeKind::Set | ChangeKind::Add, .. }) => {
                self.state.insert((name, key.as_str()), &*bytes)?;
            }
            Some(Change { key, kind: ChangeKind::Remove | ChangeKind::Expire, .. }) => {
                self.state.remove((name, key.as_str()))?;
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    fn go_to(&mut self, name: &str, position: Position) -> Result<(), Problem> {
        self.streams.insert(name, (position.epoch, position.offset))?;
        Ok(())
    }

    fn clear(&mut self, name: &str) -> Result<(), Problem> {
        self.history.retain_in((name, 0)..=(name, u64::MAX), |_, _| false)?;
        // The next name there can be is this one with the least character behind it.
        let next = format!("{name}\0");
        self.state.retain_in((name, "")..(&*next, ""), |_, _| false)?;
        Ok(())
    }
}

/// Opens a file, or makes it. What is read is read once, so that little of it need be remembered.
fn create(path: &Path) -> Result<Database, Problem> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create(path)?)
}

fn channel_of(name: &str) -> Result<ChannelName, Problem> {
    ChannelName::new(name, ChannelName::BYTES_MAX)
        .map_err(|error| Problem::Damaged(format!("{name:?} is no channel: {error}")))
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

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(what) => Self::Damaged(what),
            // A file that is none of redb's.
            StorageError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
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
            Problem::System(error) => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}
