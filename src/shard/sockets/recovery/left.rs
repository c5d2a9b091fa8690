//! The log as it goes from one process to the next, which goes on counting where this one ends.

use super::{Change, Log};
use crate::{
    mesh::{LeftChange, LeftLog},
    model::Now,
};

impl Log {
    /// What is kept, for the process that goes on.
    pub(in crate::shard::sockets) fn leave(&self, now: Now) -> LeftLog {
        let age_ms = |at_ms: u64| now.monotonic_ms.saturating_sub(at_ms);
        let events = self.entries.iter().map(|entry| (age_ms(entry.at_ms), entry.what.clone()));
        let changes = self.changes.queue.iter().filter_map(|&(at_ms, _, number, socket)| {
            // One that was taken back is none.
            let all = self.changes.of_sockets.get(&socket)?;
            let place = all.binary_search_by_key(&number, |change| change.number).ok()?;
            let Change { offset, ref room, joined, .. } = all[place];
            Some(LeftChange { age_ms: age_ms(at_ms), offset, socket, room: room.clone(), joined })
        });
        let (events, changes) = (events.collect(), changes.collect());
        LeftLog { next: self.next, forgotten: self.forgotten, events, changes }
    }

    /// Goes on with what another process has kept, as far as there is room. What is older than this process is taken to be as old.
    pub(in crate::shard::sockets) fn succeed(&mut self, now: Now, left: LeftLog) {
        let LeftLog { next, forgotten, events, changes } = left;
        let at = |age_ms: u64| Now { monotonic_ms: now.monotonic_ms.saturating_sub(age_ms), ..now };
        self.next = next.saturating_sub(events.len() as u64).max(1);
        self.forgotten = forgotten;
        for (age_ms, what) in events {
            self.keep(at(age_ms), what);
        }
        for LeftChange { age_ms, offset, socket, room, joined } in changes {
            self.changes.push(at(age_ms).monotonic_ms, offset, socket, room, joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOCKET, at, channel, keep, log, offsets_after, position, publication};
    use crate::model::SocketId;

    #[test]
    fn a_log_that_is_gone_on_with_tells_what_the_one_before_would_have_told_and_counts_on() {
        let mut before = log(1 << 20);
        before.note_joined(at(0), SOCKET, channel("left since"), position(0));
        keep(&mut before, 1);
        before.keep_publication(at(2), &publication("left since", 1));
        before.note_left(at(3), SOCKET, channel("left since"));
        before.keep_publication(at(4), &publication("left since", 2));
        before.keep_publication(at(5), &publication("a", 1));
        before.note_left(at(6), SOCKET, channel("never in"));
        before.take_back_left(SOCKET, &channel("never in"));
        before.note_joined(at(7), SocketId { index: 9, ..SOCKET }, channel("a"), position(1));
        let mut after = log(1 << 20);
        after.succeed(at(1), before.leave(at(8)));
        for offset in 0..=before.latest() {
            assert_eq!(offsets_after(&after, offset), offsets_after(&before, offset), "after {offset}");
        }
        assert_eq!(offsets_after(&after, 0), Some(vec![1, 2, 4]));
        assert_eq!(
            (after.held(), after.latest(), after.mark()),
            (before.held(), before.latest(), before.mark())
        );
        assert_eq!(keep(&mut after, 2), before.latest() + 1);
        assert_eq!(after.leave(at(3)).changes.len(), before.leave(at(8)).changes.len());
    }

    #[test]
    fn a_log_with_less_room_lets_the_oldest_go() {
        let mut before = log(1 << 20);
        (0..10).for_each(|_| _ = keep(&mut before, 1));
        let (count, bytes) = before.held();
        let mut after = log((bytes / 2) as u32);
        after.succeed(at(1), before.leave(at(8)));
        assert_eq!((after.held().0, after.latest()), (count / 2, 10));
        assert_eq!(offsets_after(&after, 4), None);
        assert_eq!(offsets_after(&after, 5), Some((6..=10).collect()));
    }
}
