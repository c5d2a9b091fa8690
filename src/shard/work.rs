//! What each turn consisted of and how long it took, for the report and for the log.
//!
//! Only pieces of work are counted and the turn as a whole is timed, so a turn that is long names its work without a
//! look at the clock in between.
//!
//! A turn may be long because it does much, or because its thread does not have its core meanwhile. The thread's own clock
//! (`CLOCK_THREAD_CPUTIME_ID`, clock_gettime(2)) tells them apart; to read it is a system call, so it is read once a millisecond,
//! and at the end of a turn that was long.
//!
//! ```text
//!        read        ≤ 1 ms      turn begins                      turn ends: > 5 ms
//!   ───────┼───────────────────────────┼────────────── off ───────────────┼─── of the core less than 5 ms: off_core
//!          └────────── what it had of the core since then ────────────────┘
//! ```

use std::{
    fmt,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    limits::{TURN_US_BOUNDS, TURN_WARN_MS},
    mesh::ShardReport,
    model::{ShardId, Work},
};

/// How often a long turn is logged.
const LOG_MS: u64 = 10_000;
/// A turn this long is counted by what has made it so.
const LONG: Duration = Duration::from_millis(5);
/// How old a look at the thread's own clock may be when a turn begins: by so much a turn may be said to have computed that
/// was off its core.
const LOOK: Duration = Duration::from_millis(1);

/// The work of the turn under way.
#[derive(Default)]
pub(super) struct Turn {
    items: [u32; Work::COUNT],
    core: CoreTime,
    logged_ms: Option<u64>,
    /// Long turns that were not logged since one was.
    unlogged: u32,
}

/// How much of the core the shard's thread has had.
#[derive(Default)]
struct CoreTime {
    /// When its clock was last read, and what it said.
    read: Option<(Instant, Duration)>,
}

impl CoreTime {
    /// A turn begins now.
    fn begin_turn(&mut self, now: Instant) {
        if self.read.is_none_or(|(at, _)| now.duration_since(at) >= LOOK) {
            self.read = Some((now, of_this_thread()));
        }
    }

    /// How much of the core the turn has had at most.
    fn of_turn(&self) -> Duration {
        self.read.map_or(Duration::ZERO, |(_, had)| of_this_thread().saturating_sub(had))
    }
}

fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

impl Turn {
    /// It begins now.
    pub(super) fn begin(&mut self, now: Instant) {
        self.core.begin_turn(now);
    }

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
    pub(super) fn end(&mut self, shard: ShardId, took: Duration, now_ms: u64, report: &mut ShardReport) {
        let took_us = took.as_micros() as u64;
        report.turns_total += 1;
        report.busy_us_total += took_us;
        report.turn_us[TURN_US_BOUNDS.partition_point(|bound| *bound < took_us)] += 1;
        for (most, items) in report.turn_items_max.iter_mut().zip(self.items) {
            *most = items.max(*most);
        }
        if took > LONG {
            let had = self.core.of_turn();
            report.turns_long_total[usize::from(had < LONG)] += 1;
            if took_us >= TURN_WARN_MS * 1000 {
                self.warn(shard, took, had.min(took), now_ms);
            }
        }
        self.items = [0; Work::COUNT];
    }

    fn warn(&mut self, shard: ShardId, took: Duration, had: Duration, now_ms: u64) {
        if self.logged_ms.is_some_and(|logged| now_ms.saturating_sub(logged) < LOG_MS) {
            self.unlogged += 1;
            return;
        }
        self.logged_ms = Some(now_ms);
        let unlogged = std::mem::take(&mut self.unlogged);
        let (took_ms, core_ms) = (took.as_millis() as u64, had.as_millis() as u64);
        tracing::warn!(shard = shard.0, took_ms, core_ms, work = %Items(&self.items), unlogged, "a turn was long");
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
            turn.end(ShardId(0), Duration::from_micros(took_us), 0, &mut report);
        }
        assert_eq!((report.turn_us[0], report.turn_us[1], report.turn_us.last().copied()), (2, 1, Some(1)));
        assert_eq!((report.turns_total, report.turn_items_max[Work::Messages as usize]), (4, 5));
        assert_eq!(turn.items, [0; Work::COUNT], "each turn counts its own");
    }

    #[test]
    fn a_long_turn_is_counted_by_whether_its_thread_had_the_core() {
        let (mut turn, mut report) = (Turn::default(), ShardReport::default());
        let mut end = |had: Duration, took: Duration| {
            turn.core = CoreTime { read: Some((Instant::now(), of_this_thread().saturating_sub(had))) };
            turn.end(ShardId(0), took, 0, &mut report);
            report.turns_long_total
        };
        let ms = Duration::from_millis;
        assert_eq!(end(ms(0), LONG), [0, 0], "that is not long");
        // It cannot have had more than all that this thread has.
        while of_this_thread() < LONG {}
        assert_eq!(end(LONG, ms(6)), [1, 0]);
        assert_eq!(end(ms(0), ms(1_000_000)), [1, 1], "of that it had next to nothing");
        let mut core = CoreTime::default();
        let now = Instant::now();
        core.begin_turn(now);
        let read = core.read;
        core.begin_turn(now + LOOK / 2);
        assert_eq!(core.read, read, "it is looked at once in a while");
        core.begin_turn(now + LOOK);
        assert_ne!(core.read, read);
    }

    #[test]
    fn a_long_turn_names_its_work_and_the_most_of_it_first() {
        let mut turn = Turn::default();
        turn.count(Work::Requests, 2);
        turn.count(Work::Channels, 300_000);
        assert_eq!(Items(&turn.items).to_string(), "300000 channels, 2 requests");
    }
}
