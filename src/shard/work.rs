//! What each turn consisted of and how long it took, for the report and for the log.
//!
//! Only pieces of work are counted and the turn as a whole is timed, so a turn that is long names its work without a
//! look at the clock in between.

use std::fmt;

use crate::{
    limits::{TURN_US_BOUNDS, TURN_WARN_MS},
    mesh::ShardReport,
    model::{ShardId, Work},
};

/// How often a long turn is logged.
const LOG_MS: u64 = 10_000;

/// The work of the turn under way.
#[derive(Default)]
pub(super) struct Turn {
    items: [u32; Work::COUNT],
    logged_ms: Option<u64>,
    /// Long turns that were not logged since one was.
    unlogged: u32,
}

impl Turn {
    /// Notes pieces of work.
    pub(super) fn count(&mut self, work: Work, items: usize) {
        let counted = &mut self.items[work as usize];
        *counted = counted.saturating_add(u32::try_from(items).unwrap_or(u32::MAX));
    }

    /// Pieces of work done in this turn.
    pub(super) fn done(&self, work: Work) -> usize {
        self.items[work as usize] as usize
    }

    /// The turn has ended.
    pub(super) fn end(&mut self, shard: ShardId, took_us: u64, now_ms: u64, report: &mut ShardReport) {
        report.turns_total += 1;
        report.busy_us_total += took_us;
        report.turn_us[TURN_US_BOUNDS.partition_point(|bound| *bound < took_us)] += 1;
        for (most, items) in report.turn_items_max.iter_mut().zip(self.items) {
            *most = items.max(*most);
        }
        if took_us >= TURN_WARN_MS * 1000 {
            self.warn(shard, took_us, now_ms);
        }
        self.items = [0; Work::COUNT];
    }

    fn warn(&mut self, shard: ShardId, took_us: u64, now_ms: u64) {
        if self.logged_ms.is_some_and(|logged| now_ms.saturating_sub(logged) < LOG_MS) {
            self.unlogged += 1;
            return;
        }
        self.logged_ms = Some(now_ms);
        let unlogged = std::mem::take(&mut self.unlogged);
        tracing::warn!(shard = shard.0, took_ms = took_us / 1000, work = %Items(&self.items), unlogged, "a turn was long");
    }
}

/// Pieces of work, the most first.
struct Items<'a>(&'a [u32; Work::COUNT]);

impl fmt::Display for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items: Vec<_> = Work::ALL.into_iter().zip(self.0).filter(|(_, items)| **items > 0).collect();
        items.sort_by_key(|(_, items)| std::cmp::Reverse(**items));
        for (at, (work, items)) in items.iter().enumerate() {
            write!(f, "{}{items} {}", if at == 0 { "" } else { ", " }, work.label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_counted_where_its_length_belongs_and_the_most_of_each_kind_is_kept() {
        let (mut turn, mut report) = (Turn::default(), ShardReport::default());
        for (took_us, messages) in
            [(0, 3), (TURN_US_BOUNDS[0], 5), (TURN_US_BOUNDS[0] + 1, 2), (u64::MAX / 2, 0)]
        {
            turn.count(Work::Messages, messages);
            turn.end(ShardId(0), took_us, 0, &mut report);
        }
        assert_eq!((report.turn_us[0], report.turn_us[1], report.turn_us.last().copied()), (2, 1, Some(1)));
        assert_eq!((report.turns_total, report.turn_items_max[Work::Messages as usize]), (4, 5));
        assert_eq!(turn.items, [0; Work::COUNT], "each turn counts its own");
    }

    #[test]
    fn a_long_turn_names_its_work_and_the_most_of_it_first() {
        let mut turn = Turn::default();
        turn.count(Work::Requests, 2);
        turn.count(Work::Channels, 300_000);
        assert_eq!(Items(&turn.items).to_string(), "300000 channels, 2 requests");
    }
}
