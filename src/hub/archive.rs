//! History that memory has let go of, and the disk has not.
//!
//! ```text
//!   1 … on disk … 900 │ 901 … in memory … 1000        since 40: read from disk, a part, and asked again for the next
//!                     └ the oldest in memory          since 950: as any history
//! ```
//!
//! Nobody's turn waits for it: what has to be read is asked for ([`Output::ReadDisk`]) and shown when it has come
//! ([`Hub::handle_page`]). What was asked stands here meanwhile, one for each who asks, as in [`super::reads`].

use rustc_hash::FxHashMap;

use super::{
    Hub, Output,
    channel::ChannelIndex,
    reads::{Read, cost_of},
    stream::Stream,
};
use crate::{
    limits::HISTORY_PAGE_BYTES_MAX,
    mesh::{HistoryPage, JoinAsked, Message, StateWanted, Welcome},
    model::{ChannelName, Durability, Now, PageAsked, Position, ShardId, SharedPublication},
};

/// What waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Archive {
    /// Whether the disk keeps more than memory.
    pub(super) is_kept: bool,
    waiting: FxHashMap<u64, (ShardId, Read, PageAsked)>,
    asked: u64,
}

impl Archive {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Hub {
    /// What was asked for has been read from disk: what was found of it, oldest first.
    pub fn handle_page(&mut self, now: Now, asked: &PageAsked, found: Vec<SharedPublication>) {
        self.now = now;
        let is_it = |(_, _, waits): &(ShardId, Read, PageAsked)| {
            (&waits.channel, waits.epoch, waits.after) == (&asked.channel, asked.epoch, asked.after)
        };
        // A shard that has begun anew does not know what the one before it had asked.
        if !self.archive.waiting.get(&asked.number).is_some_and(is_it) {
            return;
        }
        let Some((from, read, _)) = self.archive.waiting.remove(&asked.number) else { return };
        let cost = cost_of(&found);
        let is_still =
            self.stream_of(&asked.channel).is_some_and(|stream| stream.position.epoch == asked.epoch);
        match read {
            read if found.is_empty() || !is_still => self.show_from_memory(from, read),
            Read::History { channel, since, ticket, .. } => {
                let page = self.page_of(&channel, since, found);
                self.say_of_name(&channel, from, Message::History { ticket, page });
            }
            Read::Join { channel, asked, join } => {
                if from == self.settings.shard && !self.joins.is_waited_for(join) {
                    _ = self.joins.finish(join);
                    return;
                }
                let index = self.channels.find(&channel);
                let welcome = index.map(|index| self.welcome_with(index, asked, found));
                let Some((index, welcome)) = index.zip(welcome) else { return };
                if from != self.settings.shard && welcome.is_all() {
                    self.stream_mut(index).add_shard(from);
                }
                self.say_of(Some(index), from, Message::Joined { join, result: Ok(welcome) });
            }
            Read::State { .. } | Read::Presence { .. } => unreachable!("these are not asked of the disk"),
        }
        self.count_read(cost);
    }

    /// Asks the disk for what a read wants, if that is where it is; gives the read back otherwise.
    pub(super) fn ask_disk(&mut self, from: ShardId, read: Read) -> Result<(), Read> {
        let (channel, since, limit, bytes_max) = match &read {
            Read::History { channel, since, limit, .. } => (channel, *since, *limit, HISTORY_PAGE_BYTES_MAX),
            Read::Join { channel, asked, .. } if asked.bytes_max > 0 && asked.since.is_some() => {
                (channel, asked.since, u32::MAX, asked.bytes_max)
            }
            Read::Join { .. } | Read::State { .. } | Read::Presence { .. } => return Err(read),
        };
        let Some((epoch, after)) = self.on_disk(channel, since) else { return Err(read) };
        let channel = channel.clone();
        self.archive.asked += 1;
        let asked = PageAsked { number: self.archive.asked, channel, epoch, after, limit, bytes_max };
        self.archive.waiting.insert(asked.number, (from, read, asked.clone()));
        self.outputs.push_back(Output::ReadDisk(asked));
        Ok(())
    }

    /// Whether what followed a position may be on disk alone.
    pub(super) fn is_on_disk(&self, channel: &ChannelName, since: Option<Position>) -> bool {
        since.is_some() && self.on_disk(channel, since).is_some()
    }

    /// Whether a channel has history on disk, so that it is not forgotten.
    pub(super) fn is_archived(&self, index: ChannelIndex) -> bool {
        self.archive.is_kept
            && self.channels[index]
                .stream()
                .is_some_and(|stream| is_archived(stream) && stream.position.offset > 0)
    }

    /// Which epoch of a channel is to be read on disk, and behind which offset, if memory has let go of what followed a
    /// position; without one all is wanted.
    fn on_disk(&self, channel: &ChannelName, since: Option<Position>) -> Option<(u64, u64)> {
        if !self.archive.is_kept {
            return None;
        }
        let stream = self.stream_of(channel).filter(|stream| is_archived(stream))?;
        let position = stream.position;
        let after = match since {
            None => 0,
            Some(since) if since.epoch == position.epoch && since.offset < position.offset => since.offset,
            Some(_) => return None,
        };
        let oldest = stream.history.oldest().map_or(position.offset + 1, |oldest| oldest.position.offset);
        (after + 1 < oldest).then_some((position.epoch, after))
    }

    /// A page that begins with what the disk has.
    fn page_of(
        &self,
        channel: &ChannelName,
        since: Option<Position>,
        found: Vec<SharedPublication>,
    ) -> HistoryPage {
        let position = self.stream_of(channel).map(|stream| stream.position);
        let last = found.last().map_or(0, |last| last.position.offset);
        HistoryPage {
            position,
            recovered: since.is_none_or(|since| follows(&found, since)),
            has_more: position.is_some_and(|position| last < position.offset),
            publications: found,
        }
    }

    /// What a subscriber is told first that has missed what the disk has.
    fn welcome_with(
        &mut self,
        index: ChannelIndex,
        asked: JoinAsked,
        found: Vec<SharedPublication>,
    ) -> Welcome {
        let now_ms = self.now.monotonic_ms;
        let stream = self.stream_mut(index);
        stream.used_ms = now_ms;
        let (now, recovered) = (stream.position, asked.since.is_some_and(|since| follows(&found, since)));
        let last = found.last().map_or(now, |last| last.position);
        let rest = now.offset - last.offset;
        if rest > 0 {
            let rest = u32::try_from(rest).unwrap_or(u32::MAX);
            let welcome = Welcome::to(now);
            return Welcome { position: last, missed: found, rest, recovered, ..welcome };
        }
        let state = match asked.state {
            StateWanted::IfLost if !recovered => StateWanted::Yes,
            state => state,
        };
        let welcome = stream.welcome(JoinAsked { since: Some(last), state, ..asked });
        Welcome { missed: found, recovered, ..welcome }
    }
}

/// Whether what was found follows a position without a hole.
fn follows(found: &[SharedPublication], since: Position) -> bool {
    found.first().is_some_and(|first| first.position.offset == since.offset + 1)
}

fn is_archived(stream: &Stream) -> bool {
    stream.durability != Durability::Memory
}
