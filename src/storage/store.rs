//! The file: opened by one process at a time, read and written.

use std::{
    fs::OpenOptions,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Builder, Database, ReadableTable, WriteTransaction, backends::FileBackend};
use tracing::warn;

use super::{
    HistoryKept, codec,
    error::{Problem, StoreError},
    pace::{self, PacedFile},
    shut_out,
    tables::{COUNTED, FORMAT, HISTORY, MEMBERS, META, STATE, STREAMS, SYNCED, Tables, next_name},
    view::View,
};
use crate::{
    auth::Revoked,
    model::{ChannelName, Position, Record, Restored, SharedPublication, StateKey},
};

/// Memory for what is remembered of the file.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Of a file up to this size every page is compared with its sum at the start, which takes some tenths of a second; of a larger
/// one if it was not closed in order, as the store does then by itself, and when an operator says so.
const CHECKED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The file in `storage.path`.
pub(super) const FILE: &str = "channels.redb";

/// An open store.
pub(super) struct Store {
    path: PathBuf,
    /// `None` after an error, until it has been opened again.
    database: Option<Arc<Database>>,
    /// What is read meanwhile, where it could be opened.
    view: Option<Arc<Database>>,
    history: HistoryKept,
}

impl Store {
    /// Opens the store in a folder, or makes one; and whether it was closed as it should have been.
    pub(super) fn open(folder: &Path, history: HistoryKept) -> Result<(Self, bool), StoreError> {
        let path = folder.join(FILE);
        let failed = |problem| StoreError { path: path.clone(), problem };
        std::fs::create_dir_all(folder).map_err(|error| failed(Problem::Folder(error)))?;
        // One that was to be made when its process ended is as empty as one of which all has been lost.
        if std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
            warn!(path = %path.display(), "the file of what is kept is empty: if there were channels in it they are lost, and begin anew");
        }
        let open = || {
            let database = Some(open_checked(&path)?.into());
            let mut store = Self { path: path.clone(), database, view: None, history };
            let was_clean = store.begin()?;
            Ok((store, was_clean))
        };
        guarded(open).map_err(failed)
    }

    /// Checks the format, makes the tables, and notes that it is in use; whether it was clean.
    fn begin(&mut self) -> Result<bool, Problem> {
        self.transact(|write| {
            let mut meta = write.open_table(META)?;
            let format = meta.get("format")?.map(|format| format.value());
            match format {
                // Format 1 is this one without some tables.
                None | Some(1 | FORMAT) => _ = meta.insert("format", FORMAT)?,
                Some(other) => return Err(Problem::Format(other)),
            }
            let was_clean = meta.insert("clean", 0)?.map(|clean| clean.value());
            Tables::open(write)?;
            // Nothing has been lost of what has never been.
            Ok(was_clean.is_none_or(|clean| clean == 1))
        })
    }

    /// Writes who is shut out, if anybody is, and records, all or nothing; it is on disk when this returns.
    pub(super) fn write(&mut self, revoked: &Revoked, records: &[Record]) -> Result<(), StoreError> {
        let on_disk = self.history.on_disk;
        self.change(|write| {
            if !revoked.is_empty() {
                shut_out::put(write, revoked)?;
            }
            let mut tables = Tables::open(write)?.keeping(on_disk);
            for record in records {
                pace::step();
                tables.write(record)?;
            }
            drop(tables);
            write.open_table(META)?.insert("clean", 0)?;
            Ok(())
        })
    }

    /// Who is shut out still.
    pub(super) fn revoked(&mut self, now_s: u64) -> Result<Revoked, StoreError> {
        self.change(|write| shut_out::take_over(write, now_s))
    }

    /// Writes the last of it, and then that all has been written: in a transaction of its own, so that the one before, which
    /// the file still holds, lacks nothing; and in two phases, so that nobody falls back to that one if this is found damaged.
    pub(super) fn write_last(&mut self, revoked: &Revoked, records: &[Record]) -> Result<(), StoreError> {
        self.write(revoked, records)?;
        self.attempt(|store| {
            let mut write = store.database()?.begin_write()?;
            write.set_two_phase_commit(true);
            write.open_table(META)?.insert("clean", 1)?;
            Ok(write.commit()?)
        })
    }

    /// Begins to keep what it will: notes of channels whether nobody is told anything of them before it stands here, and lets
    /// go of the history that is not kept any more.
    pub(super) fn promise<'a>(
        &mut self,
        channels: impl Iterator<Item = (&'a Restored, bool)>,
    ) -> Result<(), StoreError> {
        let kept = u64::from(self.history.on_disk.max(self.history.in_memory));
        self.change(|write| {
            let mut tables = Tables::open(write)?;
            for (Restored { channel, position, .. }, is_synced) in channels {
                tables.promise(channel.as_str(), is_synced)?;
                tables.trim(channel.as_str(), position.offset.saturating_sub(kept))?;
            }
            Ok(())
        })
    }

    /// Reads the channels that are wanted. What was told of the others than the synced ones is all there if that is said.
    pub(super) fn read(
        &mut self,
        is_wanted: impl Fn(&ChannelName) -> bool,
        is_whole: bool,
    ) -> Result<Vec<Restored>, StoreError> {
        let read = |store: &mut Self| -> Result<Vec<Restored>, Problem> {
            store.reopen()?;
            let history_max = store.history.in_memory as usize;
            let read = store.database()?.begin_read()?;
            let (streams, synced) = (read.open_table(STREAMS)?, read.open_table(SYNCED)?);
            let mut all = Vec::new();
            for entry in streams.iter()? {
                let (name, position) = entry?;
                let (epoch, offset) = position.value();
                let channel = channel_of(name.value())?;
                if is_wanted(&channel) {
                    let is_whole = is_whole || synced.get(name.value())?.is_some();
                    let position = Position { epoch, offset };
                    all.push(restored(&read, channel, position, is_whole, history_max)?);
                }
            }
            Ok(all)
        };
        self.attempt(read)
    }

    /// Changes what stands there, all or nothing.
    fn change<T>(
        &mut self,
        act: impl FnOnce(&WriteTransaction) -> Result<T, Problem>,
    ) -> Result<T, StoreError> {
        self.attempt(|store| store.reopen().and_then(|()| store.transact(act)))
    }

    /// Does something; what an error leaves open is not used again.
    fn attempt<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, Problem>) -> Result<T, StoreError> {
        guarded(|| act(self)).map_err(|problem| {
            self.database = None;
            StoreError { path: self.path.clone(), problem }
        })
    }

    /// Opens it anew, for who has met an error is shown nothing of it any more: only to be read, if it cannot be written.
    pub(super) fn renew(&mut self) -> Result<(), StoreError> {
        self.close();
        let Err(error) = self.attempt(Self::reopen) else { return Ok(()) };
        let view = guarded(|| Ok(builder().create_with_backend(PacedFile(View::open(&self.path)?))?));
        self.view = Some(view.map_err(|_| error)?.into());
        Ok(())
    }

    /// What is read from, unless it has failed.
    pub(super) fn handle(&self) -> Option<Arc<Database>> {
        self.database.as_ref().or(self.view.as_ref()).cloned()
    }

    /// Whether it is open to be written.
    pub(super) fn is_open(&self) -> bool {
        self.database.is_some()
    }

    /// Has it opened again at its next use, as after an error. Nobody may read from it any more then.
    pub(super) fn close(&mut self) {
        (self.database, self.view) = (None, None);
    }

    fn database(&self) -> Result<&Database, Problem> {
        self.database.as_deref().ok_or_else(|| Problem::Damaged("it is not open".into()))
    }

    fn reopen(&mut self) -> Result<(), Problem> {
        if self.database.is_none() {
            self.database = Some(create(&self.path)?.into());
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

/// All that stands under a channel.
fn restored(
    read: &redb::ReadTransaction,
    channel: ChannelName,
    position: Position,
    is_whole: bool,
    history_max: usize,
) -> Result<Restored, Problem> {
    let name = channel.as_str();
    let decode = |bytes: &[u8]| decoded(&channel, position.epoch, bytes);
    let next = next_name(name);
    let (mut history, mut state, mut members) = (Vec::new(), Vec::new(), Vec::new());
    // The newest, which is what memory has room for.
    for entry in read.open_table(HISTORY)?.range((name, 0)..=(name, u64::MAX))?.rev().take(history_max) {
        history.push(decode(entry?.1.value())?);
    }
    history.reverse();
    let counted = read.open_table(COUNTED)?;
    for entry in read.open_table(STATE)?.range((name, "")..(&*next, ""))? {
        let (key, bytes) = entry?;
        let counted = counted.get(key.value())?.map(|counted| counted.value());
        state.push((decode(bytes.value())?, counted));
    }
    for entry in read.open_table(MEMBERS)?.range((name, "")..(&*next, ""))? {
        members.push(StateKey::of_member(entry?.0.value().1));
    }
    Ok(Restored { channel: channel.clone(), position, history, state, members, is_whole })
}

/// Does something with what stands in a file. What cannot be read the store takes in places for its own mistake, and panics:
/// that is an error like others, and ends no thread.
pub(super) fn guarded<T>(act: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    let panicked = |_| Err(Problem::Damaged("it cannot be read".into()));
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(panicked)
}

/// Opens a file, or makes it.
pub(super) fn create(path: &Path) -> Result<Database, Problem> {
    create_noting(path, || ())
}

/// Opens a file, or makes it, in which every page is what was written; or of which nobody has time to tell that.
fn open_checked(path: &Path) -> Result<Database, Problem> {
    let was_checked = Arc::<AtomicBool>::default();
    let note = Arc::clone(&was_checked);
    let mut database = create_noting(path, move || note.store(true, Ordering::Relaxed))?;
    let is_small = std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_BYTES_MAX);
    if !was_checked.load(Ordering::Relaxed) && is_small && !database.check_integrity()? {
        warn!(path = %path.display(), "what the file said of its free pages was wrong, and has been set right");
    }
    Ok(database)
}

/// Opens a file, or makes it, and notes if it had not been closed in order: then the store compares all sums. What is read is
/// read once, so that little of it need be remembered.
fn create_noting(path: &Path, note: impl Fn() + 'static) -> Result<Database, Problem> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| Problem::from(redb::StorageError::Io(error)))?;
    let mut builder = builder();
    builder.set_repair_callback(move |_| note());
    Ok(builder.create_with_backend(PacedFile(FileBackend::new(file)?))?)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// A publication of a channel and epoch, as it stands there.
pub(super) fn decoded(channel: &ChannelName, epoch: u64, bytes: &[u8]) -> Result<SharedPublication, Problem> {
    codec::decode(channel, epoch, bytes).ok_or_else(|| Problem::unreadable(channel.as_str()))
}

/// The channel of a name that stands there.
pub(super) fn channel_of(name: &str) -> Result<ChannelName, Problem> {
    ChannelName::new(name, ChannelName::BYTES_MAX)
        .map_err(|error| Problem::Damaged(format!("{name:?} is no channel: {error}")))
}
