//! The publications one channel keeps, and what a returning subscriber gets of them.
//!
//! Which of them must go for the shard's age and byte limits is the ledger's business. Offsets rise but need not be
//! consecutive: a publication larger than all history may be is never kept.

use std::collections::VecDeque;

use super::ledger::{ENTRY_BYTES, EntryIndex};
use crate::model::{Change, Position, Publication, SharedPublication};

/// A channel's kept publications, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    /// `None` instead of an empty queue.
    kept: Option<Box<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    kept: VecDeque<Kept>,
    /// What all of these cost.
    bytes: u64,
}

/// A kept publication and its entry in the ledger.
#[derive(Debug)]
struct Kept {
    publication: SharedPublication,
    entry: EntryIndex,
}

/// What is held after a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Continuation {
    /// The first of the publications the subscriber cannot have.
    start: usize,
    /// Whether these are all that followed the position.
    pub(super) recovered: bool,
}

/// Some of what is held.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) publications: Vec<SharedPublication>,
    /// How many are held beyond these.
    pub(super) rest: u32,
    /// Where the first of those is.
    pub(super) next: Option<Position>,
}

/// What a kept publication costs beside its bytes: the block it is in with its two counts, its place in the
/// channel's queue (which doubles as it grows), and its entry in the ledger.
const OVERHEAD_BYTES: usize =
    2 * size_of::<usize>() + size_of::<Publication>() + 2 * size_of::<Kept>() + ENTRY_BYTES;

/// What keeping a publication costs.
pub(super) fn bytes_of(publication: &Publication) -> u64 {
    let payload = &publication.payload;
    let name_bytes = |name: &Option<Box<str>>| name.as_deref().map_or(0, str::len);
    let names_bytes = name_bytes(&payload.content_type) + name_bytes(&payload.event);
    let change_bytes = payload.change.as_deref().map_or(0, Change::bytes);
    (payload.data.len() + names_bytes + change_bytes + OVERHEAD_BYTES) as u64
}

impl History {
    /// Keeps the newest publication.
    pub(super) fn push(&mut self, publication: SharedPublication, entry: EntryIndex) {
        let queue = self.kept.get_or_insert_default();
        queue.bytes += bytes_of(&publication);
        queue.kept.push_back(Kept { publication, entry });
    }

    /// Drops the oldest publication; tells its entry in the ledger and its bytes.
    pub(super) fn pop(&mut self) -> Option<(EntryIndex, u64)> {
        let queue = self.kept.as_deref_mut()?;
        let kept = queue.kept.pop_front()?;
        let bytes = bytes_of(&kept.publication);
        queue.bytes -= bytes;
        if queue.kept.is_empty() {
            // A million channels that were busy once must not keep the room they needed then.
            self.kept = None;
        }
        Some((kept.entry, bytes))
    }

    /// Enters the publication at a place, counted from the oldest, anew, by what is told its bytes.
    pub(super) fn enter_again(&mut self, at: usize, enter: impl FnOnce(u64) -> EntryIndex) {
        if let Some(kept) = self.kept.as_deref_mut().and_then(|queue| queue.kept.get_mut(at)) {
            kept.entry = enter(bytes_of(&kept.publication));
        }
    }

    /// What is held after `since`, in a stream that is now at `position`.
    pub(super) fn continue_from(&self, since: Position, position: Position) -> Continuation {
        if since.epoch != position.epoch {
            return Continuation { start: 0, recovered: false };
        }
        let is_seen = |kept: &Kept| kept.publication.position.offset <= since.offset;
        let start = self.kept.as_deref().map_or(0, |queue| queue.kept.partition_point(is_seen));
        let held = (self.len() - start) as u64;
        Continuation { start, recovered: since.offset.checked_add(held) == Some(position.offset) }
    }

    /// The oldest publications of a continuation, no more than so many and so many bytes, but at least one if there is any
    /// and bytes are wanted; and how many follow.
    pub(super) fn part(&self, continuation: Continuation, count_max: usize, bytes_max: u64) -> Part {
        let mut left = bytes_max;
        let fits = |publication: &&SharedPublication| {
            let bytes = bytes_of(publication);
            let is_first = left == bytes_max && bytes_max > 0;
            let fits = bytes <= left || is_first;
            left = left.saturating_sub(bytes);
            fits
        };
        let mut after = self.after(continuation);
        let publications: Vec<_> = after.by_ref().take(count_max).take_while(fits).cloned().collect();
        let next = self.after(continuation).nth(publications.len());
        let rest = (self.len() - continuation.start - publications.len()) as u32;
        Part { publications, rest, next: next.map(|next| next.position) }
    }

    /// The publications of a continuation, oldest first.
    pub(super) fn after(&self, continuation: Continuation) -> impl Iterator<Item = &SharedPublication> {
        let queue = self.kept.as_deref().into_iter();
        queue.flat_map(move |queue| queue.kept.range(continuation.start..)).map(|kept| &kept.publication)
    }

    /// The oldest that is kept.
    pub(super) fn oldest(&self) -> Option<&SharedPublication> {
        self.kept.as_deref()?.kept.front().map(|kept| &kept.publication)
    }

    /// The number of publications kept.
    pub(super) fn len(&self) -> usize {
        self.kept.as_deref().map_or(0, |queue| queue.kept.len())
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_none()
    }

    /// Bytes kept.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.as_deref().map_or(0, |queue| queue.bytes)
    }
}

impl Continuation {
    /// Everything held, for one who has seen nothing and therefore missed nothing.
    pub(super) const START: Self = Self { start: 0, recovered: true };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelName, Payload};

    const EPOCH: u64 = 7;

    fn at(offset: u64) -> Position {
        Position { epoch: EPOCH, offset }
    }

    fn history(offsets: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        for offset in offsets {
            let publication = Publication {
                channel: ChannelName::new("news", 255).unwrap(),
                position: at(offset),
                unix_ms: 0,
                payload: Payload::new(*b"hello", Some("text/plain")),
            };
            history.push(publication.into(), offset as EntryIndex);
        }
        history
    }

    fn check(history: &History, since: Position, now: u64, missed: &[u64], recovered: bool) {
        let continuation = history.continue_from(since, at(now));
        let offsets: Vec<_> = history.after(continuation).map(|kept| kept.position.offset).collect();
        assert_eq!((&offsets[..], continuation.recovered), (missed, recovered), "since {since}");
    }

    #[test]
    fn a_position_is_recovered_when_everything_after_it_is_held_and_not_one_less() {
        let history = history(4..=6);
        check(&history, at(6), 6, &[], true);
        check(&history, at(5), 6, &[6], true);
        check(&history, at(3), 6, &[4, 5, 6], true);
        check(&history, at(2), 6, &[4, 5, 6], false);
        check(&history, at(0), 6, &[4, 5, 6], false);
    }

    #[test]
    fn a_position_ahead_of_the_stream_gets_nothing_and_is_told() {
        check(&history(4..=6), at(7), 6, &[], false);
        check(&history(4..=6), at(u64::MAX), 6, &[], false);
        check(&history([]), at(1), 0, &[], false);
        check(&history([]), at(0), 0, &[], true);
    }

    #[test]
    fn a_position_of_another_epoch_gets_all_that_is_held() {
        check(&history(1..=2), Position { epoch: EPOCH + 1, offset: 2 }, 2, &[1, 2], false);
    }

    #[test]
    fn a_publication_that_was_not_kept_is_missed_by_those_before_it_only() {
        let history = history([1, 2, 4]);
        check(&history, at(1), 4, &[2, 4], false);
        check(&history, at(2), 4, &[4], false);
        check(&history, at(3), 4, &[4], true);
    }

    #[test]
    fn bytes_are_those_of_what_is_kept() {
        let mut history = history(1..=3);
        let one = (b"hello".len() + "text/plain".len() + OVERHEAD_BYTES) as u64;
        assert_eq!(history.bytes(), 3 * one);
        assert_eq!(history.pop(), Some((1, one)));
        assert_eq!((history.bytes(), history.len()), (2 * one, 2));
        assert_eq!((history.pop(), history.pop(), history.pop()), (Some((2, one)), Some((3, one)), None));
        assert_eq!((history.bytes(), history.is_empty()), (0, true));
    }
}
