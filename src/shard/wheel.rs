//! The coarse timer wheel: one deadline per connection, set and cleared in constant time, without allocation.
//!
//! ```text
//!   slots   [tick 0][tick 1][tick 2]…[tick 4095]      one lap is 4096 ticks
//!              │       └─► 17 ⇄ 4 ⇄ 90                lists through a link per connection
//! ```
//!
//! A deadline beyond one lap waits in the farthest slot and is placed again when that comes round. Deadlines are
//! late by at most one tick, never early.

use crate::limits::TICK_MS;

const SLOTS: usize = 4096;
const NONE: u32 = u32::MAX;
const NOT_QUEUED: u32 = u32::MAX;

/// Deadlines of the connections of one shard, by index.
pub(super) struct Wheel {
    heads: Box<[u32]>,
    occupied: [u64; SLOTS / 64],
    links: Vec<Link>,
    /// The last tick that has been handled.
    tick: u64,
}

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    prev: u32,
    slot: u32,
    /// The deadline's tick, modulo 2³²: a lap of 2.7 years.
    deadline: u32,
}

impl Wheel {
    /// What a connection's deadline takes.
    pub(super) const BYTES_PER_CONNECTION: usize = size_of::<Link>();

    /// Reserves room for `capacity` connections, untouched until used.
    pub(super) fn new(capacity: u32, now_ms: u64) -> Self {
        Self {
            heads: vec![NONE; SLOTS].into(),
            occupied: [0; SLOTS / 64],
            links: Vec::with_capacity(capacity as usize),
            tick: now_ms / TICK_MS,
        }
    }

    /// Sets the deadline of a connection, in place of the one it had.
    pub(super) fn set(&mut self, index: u32, deadline_ms: u64) {
        self.clear(index);
        while self.links.len() <= index as usize {
            self.links.push(Link { next: NONE, prev: NONE, slot: NOT_QUEUED, deadline: 0 });
        }
        let deadline = deadline_ms.div_ceil(TICK_MS).max(self.tick + 1);
        self.links[index as usize].deadline = deadline as u32;
        self.place(index, deadline);
    }

    /// Forgets the deadline of a connection; the time that was left of it, in milliseconds.
    pub(super) fn stop(&mut self, index: u32) -> u64 {
        let left_ms = self.left_ms(index).unwrap_or(0);
        self.clear(index);
        left_ms
    }

    /// Forgets the deadline of a connection.
    pub(super) fn clear(&mut self, index: u32) {
        let Some(link) = self.links.get(index as usize).copied() else { return };
        if link.slot == NOT_QUEUED {
            return;
        }
        match link.prev {
            NONE => self.heads[link.slot as usize] = link.next,
            prev => self.links[prev as usize].next = link.next,
        }
        if link.next != NONE {
            self.links[link.next as usize].prev = link.prev;
        }
        if self.heads[link.slot as usize] == NONE {
            self.occupied[link.slot as usize / 64] &= !(1 << (link.slot % 64));
        }
        self.links[index as usize].slot = NOT_QUEUED;
    }

    /// How long it is until the deadline of a connection, if it has one, in milliseconds.
    pub(super) fn left_ms(&self, index: u32) -> Option<u64> {
        let link = self.links.get(index as usize).filter(|link| link.slot != NOT_QUEUED)?;
        Some(u64::from(link.deadline.wrapping_sub(self.tick as u32)) * TICK_MS)
    }

    /// Moves every connection whose deadline has passed into `due`.
    pub(super) fn expire(&mut self, now_ms: u64, due: &mut Vec<u32>) {
        let now = now_ms / TICK_MS;
        // After a long sleep every slot is looked at once, not once per lap.
        let first = (self.tick + 1).max((now + 1).saturating_sub(SLOTS as u64));
        for tick in first..=now {
            self.tick = tick;
            self.expire_slot(tick as usize % SLOTS, now, due);
        }
        self.tick = self.tick.max(now);
    }

    /// When the next deadline may pass, in milliseconds; `None` where none passes before `end_ms`. It is not looked for far
    /// behind that.
    pub(super) fn next_ms(&self, end_ms: u64) -> Option<u64> {
        const WORDS: u64 = (SLOTS / 64) as u64;
        let first = self.tick + 1;
        let last = (end_ms / TICK_MS).saturating_sub(first - first % 64) / 64;
        // One word more than there are: the first word is looked at twice, above and below the first bit.
        (0..=WORDS.min(last)).find_map(|ahead| {
            let base = first - first % 64 + ahead * 64;
            let mask = match ahead {
                0 => u64::MAX << (first % 64),
                WORDS => !(u64::MAX << (first % 64)),
                _ => u64::MAX,
            };
            let bits = self.occupied[(base / 64 % WORDS) as usize] & mask;
            (bits != 0).then(|| (base + u64::from(bits.trailing_zeros())) * TICK_MS)
        })
    }

    fn expire_slot(&mut self, slot: usize, now: u64, due: &mut Vec<u32>) {
        let mut index = std::mem::replace(&mut self.heads[slot], NONE);
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        while index != NONE {
            let link = self.links[index as usize];
            self.links[index as usize].slot = NOT_QUEUED;
            let ahead = link.deadline.wrapping_sub(now as u32) as i32;
            if ahead <= 0 {
                due.push(index);
            } else {
                self.place(index, now + ahead as u64);
            }
            index = link.next;
        }
    }

    fn place(&mut self, index: u32, deadline: u64) {
        let slot = deadline.min(self.tick + SLOTS as u64 - 1) as usize % SLOTS;
        let head = std::mem::replace(&mut self.heads[slot], index);
        if head != NONE {
            self.links[head as usize].prev = index;
        }
        self.occupied[slot / 64] |= 1 << (slot % 64);
        let link = &mut self.links[index as usize];
        (link.next, link.prev, link.slot) = (head, NONE, slot as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(now_ms, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn a_deadline_passes_once_never_early_and_at_most_one_tick_late() {
        for deadline in [1, 19, 20, 21, 40, 81_900, 81_919, 81_920, 81_921, 200_000] {
            let mut wheel = Wheel::new(4, 0);
            wheel.set(2, deadline);
            assert!(expired(&mut wheel, deadline - 1).is_empty(), "{deadline} is early");
            assert_eq!(expired(&mut wheel, deadline + TICK_MS), [2], "{deadline} is late");
            assert!(expired(&mut wheel, deadline + 1_000_000).is_empty(), "{deadline} comes twice");
        }
    }

    #[test]
    fn a_cleared_or_moved_deadline_does_not_pass() {
        let mut wheel = Wheel::new(4, 1_000);
        for index in 0..4 {
            wheel.set(index, 2_000);
        }
        wheel.clear(1);
        wheel.set(2, 5_000);
        wheel.clear(1);
        assert_eq!(expired(&mut wheel, 2_040), [0, 3]);
        assert_eq!(expired(&mut wheel, 5_040), [2]);
    }

    #[test]
    fn a_deadline_that_is_stopped_tells_what_was_left_of_it() {
        let mut wheel = Wheel::new(4, 1_000);
        wheel.set(1, 2_000);
        assert!(expired(&mut wheel, 1_500).is_empty());
        assert_eq!((wheel.stop(1), wheel.stop(1), wheel.stop(3)), (500, 0, 0));
        assert!(expired(&mut wheel, 9_000).is_empty());
    }

    #[test]
    fn the_next_deadline_is_found_wherever_it_is() {
        let mut wheel = Wheel::new(4, 0);
        assert_eq!(wheel.next_ms(u64::MAX), None);
        wheel.set(0, 70_000);
        assert_eq!(wheel.next_ms(u64::MAX), Some(70_000));
        assert_eq!((wheel.next_ms(70_000), wheel.next_ms(60_000)), (Some(70_000), None));
        wheel.set(1, 30);
        assert_eq!((wheel.next_ms(u64::MAX), wheel.next_ms(1_000)), (Some(40), Some(40)));
        // A lap ahead of a first slot in the middle of a word.
        let mut wheel = Wheel::new(4, 30 * TICK_MS);
        wheel.set(0, (30 + SLOTS as u64 - 1) * TICK_MS);
        assert_eq!(wheel.next_ms(u64::MAX), Some((30 + SLOTS as u64 - 1) * TICK_MS));
    }

    #[test]
    fn deadlines_agree_with_a_plain_list_under_random_use() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut wheel, mut now) = (Wheel::new(64, 0), 0);
        let mut plain = [None; 64];
        for _ in 0..20_000 {
            let index = random.usize(0..64);
            match random.u8(0..4) {
                0 => {
                    wheel.clear(index as u32);
                    plain[index] = None;
                }
                1 | 2 => {
                    let deadline = now + random.u64(0..200_000);
                    wheel.set(index as u32, deadline);
                    plain[index] = Some(deadline.div_ceil(TICK_MS).max(now / TICK_MS + 1));
                }
                _ => {
                    let longest = if random.bool() { 100 } else { 100_000 };
                    now += random.u64(0..longest);
                    let passed = |at: &Option<u64>| at.is_some_and(|at| at <= now / TICK_MS);
                    let expected: Vec<u32> =
                        (0..64).filter(|index| passed(&plain[*index as usize])).collect();
                    assert_eq!(expired(&mut wheel, now), expected);
                    for index in expected {
                        plain[index as usize] = None;
                    }
                }
            }
        }
    }
}
