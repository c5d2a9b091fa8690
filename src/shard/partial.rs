//! Input that has begun and not ended: how much memory it takes on this shard, and how long it may take to arrive.
//!
//! A request, a WebSocket message or a Socket.IO packet that lies whole in what was received never comes here. What
//! does not is kept by its session until the rest arrives, and how many do so at once is for the clients to choose. So
//! each is entered here, and two things end it: its own slowness, and the memory of all together. Then what goes first
//! has held the most bytes for the longest: whoever sends a whole message soon is not the one.
//!
//! ```text
//!   received ─► session keeps a part ─► entered ─┬─ the rest arrives ──► gone
//!                                                ├─ too slow ──────────► 4006 (a request: 408, by its own deadline)
//!                                                └─ too much in all ───► 503, 1013
//! ```
//!
//! Who is entered, looked at and given up is [`super::shedding`]'s business.
//!
//! Invariant: an entry stands for a line with [`super::connection::Flags::PARTIAL`] or for a session whose extra says so, and for no other.

use rustc_hash::FxHashMap;

use super::deadlines::Deadlines;
use crate::limits::{Limits, PARTIAL_INPUTS_COMPARED};

/// How often the rate of a slow message is looked at after its first deadline.
const RATE_INTERVAL_MS: u64 = 2_000;

/// Who keeps a part of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A connection: of a request or of a WebSocket message.
    Line(u32),
    /// An Engine.IO session: of a packet whose attachments have not all arrived.
    Engine(u32),
    /// A connection: of a record of TLS.
    Record(u32),
    /// A connection: what it has sent and nobody has inflated.
    Held(u32),
}

/// All that has begun and not ended.
#[derive(Debug)]
pub(super) struct PartialInput {
    entries: Vec<Entry>,
    places: FxHashMap<Holder, usize>,
    bytes: u64,
    bytes_max: u64,
    message_timeout_ms: u64,
    /// The first looks at messages, and the later ones.
    first: Deadlines<(Holder, u32)>,
    later: Deadlines<(Holder, u32)>,
    /// The last looks at packets.
    last: Deadlines<(Holder, u32)>,
    stamps: u32,
}

#[derive(Debug)]
struct Entry {
    holder: Holder,
    /// Tells it from earlier ones of the same holder.
    stamp: u32,
    began_ms: u64,
    bytes: usize,
    /// How much had arrived when its rate was last looked at.
    seen: usize,
}

impl PartialInput {
    pub(super) fn new(limits: &Limits, shards: u16, diagnostic_message_bytes_max: u64) -> Self {
        Self {
            entries: Vec::new(),
            places: FxHashMap::default(),
            bytes: 0,
            // A buffer that grows may take twice what it holds.
            bytes_max: (limits.partial_input_bytes_max / u64::from(shards))
                .max(2 * diagnostic_message_bytes_max),
            message_timeout_ms: limits.message_timeout_ms.into(),
            first: Deadlines::default(),
            later: Deadlines::default(),
            last: Deadlines::default(),
            stamps: 0,
        }
    }

    /// Notes how many bytes a holder keeps; tells whether that is news.
    pub(super) fn note(&mut self, holder: Holder, bytes: usize, now_ms: u64) -> bool {
        self.bytes += bytes as u64;
        if let Some(place) = self.places.get(&holder) {
            let before = std::mem::replace(&mut self.entries[*place].bytes, bytes);
            self.bytes -= before as u64;
            return false;
        }
        self.stamps = self.stamps.wrapping_add(1);
        self.places.insert(holder, self.entries.len());
        self.entries.push(Entry { holder, stamp: self.stamps, began_ms: now_ms, bytes, seen: 0 });
        true
    }

    /// Sets when the rate of what has just begun is looked at for the first time.
    pub(super) fn look_in_time(&mut self, now_ms: u64) {
        let Some(entry) = self.entries.last() else { return };
        let (what, live_max) = ((entry.holder, entry.stamp), self.entries.len() as u32);
        let (entries, places) = (&self.entries, &self.places);
        let is_live = |what: &_| is_live(entries, places, what);
        self.first.push(now_ms + self.message_timeout_ms, what, live_max, is_live);
    }

    /// Sets when what has just begun must be whole.
    pub(super) fn end_in_time(&mut self, at_ms: u64) {
        let Some(entry) = self.entries.last() else { return };
        let (what, live_max) = ((entry.holder, entry.stamp), self.entries.len() as u32);
        let (entries, places) = (&self.entries, &self.places);
        self.last.push(at_ms, what, live_max, |what| is_live(entries, places, what));
    }

    /// The rate is looked at again.
    pub(super) fn look_again(&mut self, what: (Holder, u32), now_ms: u64) {
        let (entries, places) = (&self.entries, &self.places);
        let live_max = entries.len() as u32;
        self.later.push(now_ms + RATE_INTERVAL_MS, what, live_max, |what| is_live(entries, places, what));
    }

    /// The holder keeps nothing more.
    pub(super) fn end(&mut self, holder: Holder) {
        let Some(place) = self.places.remove(&holder) else { return };
        let entry = self.entries.swap_remove(place);
        self.bytes -= entry.bytes as u64;
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.holder, place);
        }
        // A storm of them is over.
        if self.entries.is_empty() {
            self.entries.shrink_to(PARTIAL_INPUTS_COMPARED);
            self.places.shrink_to(PARTIAL_INPUTS_COMPARED);
        }
    }

    /// A holder whose rate is to be looked at, with its stamp.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<(Holder, u32)> {
        loop {
            let what = self.first.pop_due(now_ms).or_else(|| self.later.pop_due(now_ms))?;
            if is_live(&self.entries, &self.places, &what) {
                return Some(what);
            }
        }
    }

    /// A holder whose time is over.
    pub(super) fn pop_late(&mut self, now_ms: u64) -> Option<Holder> {
        loop {
            let what = self.last.pop_due(now_ms)?;
            if is_live(&self.entries, &self.places, &what) {
                return Some(what.0);
            }
        }
    }

    /// Notes how much has arrived of a holder's message; tells whether that is as much as it should be.
    pub(super) fn has_progressed(
        &mut self,
        holder: Holder,
        arrived: usize,
        bytes_per_second_min: u32,
    ) -> bool {
        let Some(place) = self.places.get(&holder) else { return true };
        let seen = std::mem::replace(&mut self.entries[*place].seen, arrived);
        let wanted = u64::from(bytes_per_second_min) * RATE_INTERVAL_MS / 1000;
        arrived.saturating_sub(seen) as u64 >= wanted.max(1)
    }

    /// Who is to go, when all together take too much: of some neighbours, who has held the most for the longest.
    pub(super) fn excess(&self, now_ms: u64) -> Option<Holder> {
        if self.bytes <= self.bytes_max || self.entries.is_empty() {
            return None;
        }
        let start = fastrand::usize(..self.entries.len());
        let neighbours = self.entries.iter().cycle().skip(start);
        let weight = |entry: &&Entry| entry.bytes as u64 * (now_ms.saturating_sub(entry.began_ms) + 1);
        let compared = PARTIAL_INPUTS_COMPARED.min(self.entries.len());
        neighbours.take(compared).max_by_key(weight).map(|entry| entry.holder)
    }

    /// When the next look is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        [self.first.next_ms(), self.later.next_ms(), self.last.next_ms()].into_iter().flatten().min()
    }

    /// Memory that all together take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn is_live(entries: &[Entry], places: &FxHashMap<Holder, usize>, (holder, stamp): &(Holder, u32)) -> bool {
    places.get(holder).is_some_and(|place| entries[*place].stamp == *stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bytes_max(bytes_max: u64) -> PartialInput {
        let limits = Limits { partial_input_bytes_max: 2 * bytes_max, ..Limits::default() };
        PartialInput::new(&limits, 2, 0)
    }

    #[test]
    fn what_is_noted_is_counted_once_and_until_it_ends() {
        let mut partial = of_bytes_max(1000);
        assert!(partial.note(Holder::Line(1), 100, 0) && partial.note(Holder::Engine(1), 50, 0));
        assert!(!partial.note(Holder::Line(1), 400, 5));
        assert_eq!(partial.bytes(), 450);
        partial.end(Holder::Line(1));
        partial.end(Holder::Line(1));
        assert_eq!(partial.bytes(), 50);
        assert!(partial.note(Holder::Line(1), 1, 9), "another one");
        partial.end(Holder::Engine(1));
        partial.end(Holder::Line(1));
        assert_eq!((partial.bytes(), partial.entries.len(), partial.places.len()), (0, 0, 0));
    }

    #[test]
    fn the_most_bytes_for_the_longest_time_go_first() {
        let mut partial = of_bytes_max(1000);
        partial.note(Holder::Line(1), 400, 0);
        partial.note(Holder::Line(2), 300, 0);
        partial.note(Holder::Line(3), 300, 90);
        assert_eq!(partial.excess(100), None, "as much as may be");
        partial.note(Holder::Line(4), 900, 100);
        assert_eq!(partial.excess(100), Some(Holder::Line(1)), "the largest has just begun");
        partial.end(Holder::Line(1));
        assert_eq!(partial.excess(100), Some(Holder::Line(2)));
        partial.end(Holder::Line(2));
        assert_eq!(partial.excess(101), Some(Holder::Line(3)));
        partial.end(Holder::Line(3));
        assert_eq!(partial.excess(101), None);
    }

    #[test]
    fn of_very_many_one_of_the_heaviest_is_found() {
        let mut partial = of_bytes_max(6000);
        for index in 0..1000 {
            partial.note(Holder::Line(index), if index % 10 == 0 { 100 } else { 1 }, 0);
        }
        let (mut heavy, mut light) = (0, 0);
        while let Some(holder) = partial.excess(10) {
            let is_heavy = matches!(holder, Holder::Line(index) if index % 10 == 0);
            *(if is_heavy { &mut heavy } else { &mut light }) += 1;
            partial.end(holder);
        }
        assert!(heavy >= 49 && light <= 5, "{heavy} heavy, {light} light");
    }

    #[test]
    fn a_message_is_looked_at_in_time_and_again_and_its_successor_has_a_time_of_its_own() {
        let mut partial = of_bytes_max(u64::MAX / 2);
        let (line, timeout) = (Holder::Line(7), u64::from(Limits::default().message_timeout_ms));
        partial.note(line, 10, 0);
        partial.look_in_time(0);
        partial.end(line);
        partial.note(line, 10, 5);
        partial.look_in_time(5);
        assert_eq!(partial.pop_due(timeout), None, "the first one is whole");
        let what = partial.pop_due(timeout + 5).expect("due");
        assert!(partial.has_progressed(line, 2048, 1024), "as fast as it must be");
        partial.look_again(what, timeout + 5);
        assert_eq!(partial.next_ms(), Some(timeout + 5 + RATE_INTERVAL_MS));
        assert_eq!(partial.pop_due(timeout + 5 + RATE_INTERVAL_MS), Some(what));
        assert!(!partial.has_progressed(line, 2048 + 2047, 1024), "one byte too few");
        assert!(!partial.has_progressed(line, 2048 + 2047, 0), "nothing at all is never enough");
    }
}
