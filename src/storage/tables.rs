//! What stands in the file, and how records change it.
//!
//! ```text
//!   meta      "format" → 2      "clean" → 1 if all that was acknowledged had been written when it was closed
//!   streams   channel           → epoch, offset
//!   synced    channel           → if nobody was told anything of its epoch before it stood here
//!   history   channel, offset   → publication
//!   state     channel, key      → the publication that last changed it
//!   counted   channel, key      → what a counter has counted, where that is more than was told
//!   members   channel, id       → if it was there when this was written
//! ```
//!
//! Invariant: what stands under a channel is of the epoch that stands in `streams`. Format 1 is this without `synced`,
//! `counted` and `members`.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{codec, error::Problem};
use crate::model::{Change, ChangeKind, Position, Publication, Record, StateKey};

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const STREAMS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("streams");
pub(super) const SYNCED: TableDefinition<'_, &str, ()> = TableDefinition::new("synced");
pub(super) const HISTORY: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("history");
pub(super) const STATE: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("state");
pub(super) const COUNTED: TableDefinition<'_, (&str, &str), i64> = TableDefinition::new("counted");
pub(super) const MEMBERS: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("members");

/// The format of this version.
pub(super) const FORMAT: u64 = 2;

/// The tables of a transaction that writes.
pub(super) struct Tables<'a> {
    streams: redb::Table<'a, &'static str, (u64, u64)>,
    history: redb::Table<'a, (&'static str, u64), &'static [u8]>,
    state: redb::Table<'a, (&'static str, &'static str), &'static [u8]>,
    synced: redb::Table<'a, &'static str, ()>,
    counted: redb::Table<'a, (&'static str, &'static str), i64>,
    members: redb::Table<'a, (&'static str, &'static str), ()>,
    /// Publications that are kept of each channel; 0 for those of which nothing else is said.
    history_max: u64,
}

impl<'a> Tables<'a> {
    /// Opens them, and makes those that are not there.
    pub(super) fn open(write: &'a WriteTransaction) -> Result<Self, Problem> {
        Ok(Self {
            streams: write.open_table(STREAMS)?,
            history: write.open_table(HISTORY)?,
            state: write.open_table(STATE)?,
            synced: write.open_table(SYNCED)?,
            counted: write.open_table(COUNTED)?,
            members: write.open_table(MEMBERS)?,
            history_max: 0,
        })
    }

    /// Keeps so many publications of each channel.
    pub(super) fn keeping(self, history_max: u32) -> Self {
        Self { history_max: history_max.into(), ..self }
    }

    /// Lets go of a channel's history up to an offset.
    pub(super) fn trim(&mut self, name: &str, offset: u64) -> Result<(), Problem> {
        if offset > 0 {
            self.history.retain_in((name, 0)..=(name, offset), |_, _| false)?;
        }
        Ok(())
    }

    /// Does what a record says.
    pub(super) fn write(&mut self, record: &Record) -> Result<(), Problem> {
        match record {
            Record::Publication { publication, is_kept, is_synced } => {
                self.publish(publication, *is_kept, *is_synced)?;
            }
            Record::Count { channel, key, value } => {
                self.counted.insert((channel.as_str(), key.as_str()), value)?;
            }
            Record::Trim { channel, offset } => {
                self.history.remove((channel.as_str(), *offset))?;
            }
            Record::Renew { channel, position } => {
                self.clear_members(channel.as_str())?;
                self.go_to(channel.as_str(), *position)?;
            }
            Record::Forget { channel } => {
                self.clear(channel.as_str())?;
                self.streams.remove(channel.as_str())?;
                self.synced.remove(channel.as_str())?;
            }
        }
        Ok(())
    }

    /// Whether nobody is told anything of a channel before it stands here, from now on.
    pub(super) fn promise(&mut self, name: &str, is_synced: bool) -> Result<(), Problem> {
        match is_synced {
            true => _ = self.synced.insert(name, ())?,
            false => _ = self.synced.remove(name)?,
        }
        Ok(())
    }

    fn publish(&mut self, publication: &Publication, is_kept: bool, is_synced: bool) -> Result<(), Problem> {
        let Publication { channel, position, payload, .. } = publication;
        let name = channel.as_str();
        let before = self.streams.get(name)?.map(|before| before.value().0);
        if before != Some(position.epoch) {
            // A stream that has begun anew, and knew nothing of this one.
            if before.is_some() {
                self.clear(name)?;
            }
            self.promise(name, is_synced)?;
        }
        self.go_to(name, *position)?;
        let bytes = codec::encode(publication);
        if is_kept {
            self.history.insert((name, position.offset), &*bytes)?;
        }
        if self.history_max > 0 && position.offset > self.history_max {
            self.history.remove((name, position.offset - self.history_max))?;
        }
        let Some(Change { key, kind, .. }) = payload.change.as_deref() else { return Ok(()) };
        let place = (name, key.as_str());
        match kind {
            ChangeKind::Set | ChangeKind::Add => {
                self.state.insert(place, &*bytes)?;
            }
            ChangeKind::Remove | ChangeKind::Expire => {
                self.state.remove(place)?;
            }
            ChangeKind::Enter => {
                self.members.insert(place, ())?;
            }
            ChangeKind::Leave => {
                self.members.remove(place)?;
            }
            ChangeKind::Update | ChangeKind::Digest => {}
        }
        if is_synced
            && matches!(kind, ChangeKind::Set | ChangeKind::Add | ChangeKind::Remove | ChangeKind::Expire)
        {
            // Whatever it had counted has been told of, or is gone.
            self.counted.remove(place)?;
        }
        Ok(())
    }

    /// Keeps a publication of the history.
    pub(super) fn keep(&mut self, publication: &Publication) -> Result<(), Problem> {
        let place = (publication.channel.as_str(), publication.position.offset);
        self.history.insert(place, &*codec::encode(publication))?;
        Ok(())
    }

    /// Holds what last changed a key, and how far it has counted since.
    pub(super) fn hold(
        &mut self,
        publication: &Publication,
        key: &StateKey,
        counted: Option<i64>,
    ) -> Result<(), Problem> {
        let place = (publication.channel.as_str(), key.as_str());
        self.state.insert(place, &*codec::encode(publication))?;
        if let Some(counted) = counted {
            self.counted.insert(place, counted)?;
        }
        Ok(())
    }

    /// Notes somebody as present.
    pub(super) fn enter(&mut self, name: &str, id: &str) -> Result<(), Problem> {
        self.members.insert((name, id), ())?;
        Ok(())
    }

    /// Notes where a channel is.
    pub(super) fn go_to(&mut self, name: &str, position: Position) -> Result<(), Problem> {
        self.streams.insert(name, (position.epoch, position.offset))?;
        Ok(())
    }

    fn clear(&mut self, name: &str) -> Result<(), Problem> {
        self.history.retain_in((name, 0)..=(name, u64::MAX), |_, _| false)?;
        let next = next_name(name);
        self.state.retain_in((name, "")..(&*next, ""), |_, _| false)?;
        self.counted.retain_in((name, "")..(&*next, ""), |_, _| false)?;
        self.clear_members(name)
    }

    fn clear_members(&mut self, name: &str) -> Result<(), Problem> {
        self.members.retain_in((name, "")..(&*next_name(name), ""), |_, ()| false)?;
        Ok(())
    }
}

/// The next name there can be: this one with the least character behind it.
pub(super) fn next_name(name: &str) -> String {
    format!("{name}\0")
}
