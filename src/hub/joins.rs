//! Subscriptions of this shard that wait for a channel's owner.
//!
//! A join whose subscriber left keeps its number until the owner's answer has come, so that an answer is never
//! taken for that of a later join. The table is thereby as long as the most joins ever under way at once.

use super::channel::ChannelIndex;
use crate::{
    limits::JOINS_WITHDRAWN_MAX,
    mesh::JoinId,
    model::{ConnectionId, Transport},
};

/// The joins under way.
#[derive(Debug, Default)]
pub(super) struct Joins {
    slots: Vec<Slot>,
    free: Vec<JoinId>,
    cancelled: usize,
    resting: usize,
}

/// Who waits, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) connection: ConnectionId,
    pub(super) transport: Transport,
    pub(super) token: Option<u32>,
    pub(super) channel: ChannelIndex,
    /// The subscriber has been told that it is subscribed, and is catching up.
    pub(super) is_told: bool,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// The owner has been asked.
    Waiting(Join),
    /// The owner has told a part of what was missed, and is asked again when that has been read.
    Resting(Join),
    Cancelled,
}

impl Joins {
    /// Keeps a join and numbers it.
    pub(super) fn begin(&mut self, join: Join) -> JoinId {
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = Slot::Waiting(join);
                id
            }
            None => {
                self.slots.push(Slot::Waiting(join));
                self.slots.len() as JoinId - 1
            }
        }
    }

    /// A join that is waited for.
    pub(super) fn waiting(&self, id: JoinId) -> &Join {
        match &self.slots[id as usize] {
            Slot::Waiting(join) | Slot::Resting(join) => join,
            Slot::Free | Slot::Cancelled => unreachable!("a seat names a join that is waited for"),
        }
    }

    /// Every join that is waited for and of which the subscriber has been told nothing yet.
    pub(super) fn all_untold(&self) -> impl Iterator<Item = &Join> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Waiting(join) if !join.is_told => Some(join),
            Slot::Waiting(_) | Slot::Resting(_) | Slot::Free | Slot::Cancelled => None,
        })
    }

    /// The subscribers that wait for a channel.
    pub(super) fn waiting_for(&self, channel: ChannelIndex) -> impl Iterator<Item = &Join> {
        self.slots.iter().filter_map(move |slot| match slot {
            Slot::Waiting(join) | Slot::Resting(join) if join.channel == channel => Some(join),
            Slot::Waiting(_) | Slot::Resting(_) | Slot::Free | Slot::Cancelled => None,
        })
    }

    /// The subscriber does not wait any longer; the owner's answer will be thrown away.
    pub(super) fn cancel(&mut self, id: JoinId) {
        match &mut self.slots[id as usize] {
            slot @ Slot::Waiting(_) => {
                *slot = Slot::Cancelled;
                self.cancelled += 1;
            }
            slot @ Slot::Resting(_) => {
                *slot = Slot::Free;
                self.resting -= 1;
                self.free.push(id);
            }
            Slot::Free | Slot::Cancelled => unreachable!("a seat names a join that is waited for"),
        }
    }

    /// The owner answered, and has more to tell the subscriber before it is joined. From now on it counts as told.
    /// `None` when nobody waits any more.
    pub(super) fn rest(&mut self, id: JoinId) -> Option<Join> {
        match &mut self.slots[id as usize] {
            slot @ Slot::Waiting(_) => {
                let Slot::Waiting(join) = std::mem::replace(slot, Slot::Free) else { return None };
                *slot = Slot::Resting(Join { token: None, is_told: true, ..join });
                self.resting += 1;
                Some(join)
            }
            Slot::Free | Slot::Resting(_) | Slot::Cancelled => self.finish(id),
        }
    }

    /// The owner is asked again.
    pub(super) fn resume(&mut self, id: JoinId) -> Option<Join> {
        let slot = &mut self.slots[id as usize];
        let Slot::Resting(join) = *slot else { return None };
        *slot = Slot::Waiting(join);
        self.resting -= 1;
        Some(join)
    }

    /// The owner answered; `None` when nobody waits for it any more.
    pub(super) fn finish(&mut self, id: JoinId) -> Option<Join> {
        let slot = std::mem::replace(&mut self.slots[id as usize], Slot::Free);
        debug_assert!(!matches!(slot, Slot::Free | Slot::Resting(_)), "the owner answers a join once");
        self.free.push(id);
        match slot {
            Slot::Waiting(join) => Some(join),
            Slot::Cancelled => {
                self.cancelled -= 1;
                None
            }
            Slot::Free | Slot::Resting(_) => None,
        }
    }

    /// Whether so many joins were given up before their owners answered that no further one is to be begun. Those
    /// that are waited for are bounded by the connections and their subscriptions; these are not, for whoever gave one
    /// up may begin the next.
    pub(super) fn are_too_many(&self) -> bool {
        self.cancelled >= JOINS_WITHDRAWN_MAX
    }

    /// How many answers are still to come.
    pub(super) fn outstanding(&self) -> usize {
        self.slots.len() - self.free.len() - self.resting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(channel: ChannelIndex) -> Join {
        let connection = ConnectionId { index: 1, generation: 1 };
        Join { connection, transport: Transport::Json, token: Some(1), channel, is_told: false }
    }

    #[test]
    fn the_number_of_a_cancelled_join_is_not_used_again_before_its_answer() {
        let mut joins = Joins::default();
        let first = joins.begin(join(1));
        joins.cancel(first);
        let second = joins.begin(join(2));
        assert_ne!(first, second);
        assert_eq!(joins.finish(first), None);
        assert_eq!(joins.begin(join(3)), first);
        assert_eq!(joins.finish(second), Some(join(2)));
        assert_eq!(joins.outstanding(), 1);
    }

    #[test]
    fn a_join_that_rests_asks_nobody_and_goes_without_an_answer() {
        let mut joins = Joins::default();
        let id = joins.begin(join(1));
        assert_eq!(joins.rest(id), Some(join(1)));
        assert_eq!(joins.outstanding(), 0);
        let told = Join { token: None, is_told: true, ..join(1) };
        assert_eq!((*joins.waiting(id), joins.waiting_for(1).count()), (told, 1));
        assert_eq!((joins.resume(id), joins.resume(id), joins.outstanding()), (Some(told), None, 1));
        joins.cancel(id);
        assert_eq!((joins.rest(id), joins.outstanding()), (None, 0), "the answer comes too late");
        let id = joins.begin(join(2));
        joins.rest(id);
        joins.cancel(id);
        assert_eq!((joins.outstanding(), joins.begin(join(3))), (0, id), "its number is free at once");
    }
}
