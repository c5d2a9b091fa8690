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
}

/// Who waits, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) connection: ConnectionId,
    pub(super) transport: Transport,
    pub(super) token: Option<u32>,
    pub(super) channel: ChannelIndex,
}

#[derive(Debug)]
enum Slot {
    Free,
    Waiting(Join),
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
            Slot::Waiting(join) => join,
            Slot::Free | Slot::Cancelled => unreachable!("a seat names a join that is waited for"),
        }
    }

    /// The subscribers that wait for a channel.
    pub(super) fn waiting_for(&self, channel: ChannelIndex) -> impl Iterator<Item = &Join> {
        self.slots.iter().filter_map(move |slot| match slot {
            Slot::Waiting(join) if join.channel == channel => Some(join),
            Slot::Waiting(_) | Slot::Free | Slot::Cancelled => None,
        })
    }

    /// The subscriber does not wait any longer; the owner's answer will be thrown away.
    pub(super) fn cancel(&mut self, id: JoinId) {
        debug_assert!(matches!(self.slots[id as usize], Slot::Waiting(_)));
        self.cancelled += 1;
        self.slots[id as usize] = Slot::Cancelled;
    }

    /// The owner answered; `None` when nobody waits for it any more.
    pub(super) fn finish(&mut self, id: JoinId) -> Option<Join> {
        let slot = std::mem::replace(&mut self.slots[id as usize], Slot::Free);
        debug_assert!(!matches!(slot, Slot::Free), "the owner answers a join once");
        self.free.push(id);
        match slot {
            Slot::Waiting(join) => Some(join),
            Slot::Cancelled => {
                self.cancelled -= 1;
                None
            }
            Slot::Free => None,
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
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(channel: ChannelIndex) -> Join {
        let connection = ConnectionId { index: 1, generation: 1 };
        Join { connection, transport: Transport::Json, token: None, channel }
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
}
