//! Sockets of this shard that are being put into rooms: until the owners of the rooms have answered, nobody whom the issuer of
//! that tells of it may hear of it. Whoever hears may ask others to publish there, over other shards, and the socket must not
//! miss that.
//!
//! Invariant: the queue begins with a join that has not ended, or is empty.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

/// The joins that have begun and not ended.
#[derive(Debug, Default)]
pub(in crate::shard) struct Joins {
    /// How many rooms have not answered, by the socket's index.
    left: FxHashMap<u32, u32>,
    /// The sockets in the order in which they were put into rooms, those among them that are in by now.
    queue: VecDeque<u32>,
    begun: u64,
}

impl Joins {
    /// A socket is put into a room.
    pub(super) fn begin(&mut self, index: u32) {
        *self.left.entry(index).or_default() += 1;
        self.queue.push_back(index);
        self.begun += 1;
    }

    /// A room has answered. It may be to what the place's socket before this one was put into.
    pub(super) fn end_one(&mut self, index: u32) {
        let Some(left) = self.left.get_mut(&index) else { return };
        *left -= 1;
        if *left == 0 {
            self.forget(index);
        }
    }

    /// A socket is gone.
    pub(super) fn forget(&mut self, index: u32) {
        self.left.remove(&index);
        while self.queue.front().is_some_and(|first| !self.left.contains_key(first)) {
            self.queue.pop_front();
        }
    }

    /// Whether every room has answered.
    pub(in crate::shard) fn are_none(&self) -> bool {
        self.left.is_empty()
    }

    /// Whether a socket is being put into rooms.
    pub(in crate::shard) fn has(&self, index: u32) -> bool {
        self.left.contains_key(&index)
    }

    /// The number of the last join that has begun.
    pub(in crate::shard) fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether all joins up to this number have ended.
    pub(in crate::shard) fn have_ended(&self, number: u64) -> bool {
        self.begun - self.queue.len() as u64 >= number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_up_to_a_number_have_ended_when_each_socket_of_them_is_in_its_rooms() {
        let mut joins = Joins::default();
        [7, 8, 7].into_iter().for_each(|index| joins.begin(index));
        assert!(joins.begun() == 3 && joins.have_ended(0) && !joins.have_ended(1));
        joins.end_one(8);
        assert!(!joins.has(8) && joins.has(7) && !joins.have_ended(1));
        joins.end_one(7);
        joins.begin(9);
        assert!(joins.has(7) && !joins.have_ended(1));
        joins.end_one(7);
        assert!(joins.have_ended(3) && !joins.have_ended(4) && !joins.are_none());
        joins.end_one(7);
        joins.forget(9);
        assert!(joins.have_ended(4) && joins.are_none());
    }
}
