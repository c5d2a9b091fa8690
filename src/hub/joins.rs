//! Subscriptions of this shard that wait for a channel's owner.
//!
//! A join whose subscriber left keeps its number until the owner's answer has come, so that an answer is never
//! taken for that of a later join. The table is thereby as long as the most joins ever under way at once.

use super::channel::ChannelIndex;
use crate::{
    limits::JOINS_WITHDRAWN_MAX,
    mesh::{JoinId, StateWanted},
    model::{ChannelName, ConnectionId, ShardId, Shown, Transport},
};

/// The joins under way.
#[derive(Debug, Default)]
pub(super) struct Joins {
    slots: Vec<Slot>,
    free: Vec<JoinId>,
    cancelled: usize,
    resting: usize,
    /// The channel of the last answer that nobody waited for and that may have come behind a leave.
    late: Option<ChannelName>,
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
    /// Whether it is to be told the channel's state.
    pub(super) state: StateWanted,
    /// Whether it is to be told who is there.
    pub(super) presence: bool,
    /// Whether it has something to catch up with, for which its owner may take its time.
    pub(super) is_behind: bool,
}

impl Join {
    /// What it is shown beside what is published.
    pub(super) fn shown(&self) -> Shown {
        Shown { state: self.state != StateWanted::No, presence: self.presence }
    }
}

#[derive(Debug)]
enum Slot {
    Free,
    /// The owner has been asked.
    Waiting(Join),
    /// The owner has told a part of what was missed, and is asked again when that has been read.
    Resting(Join),
    /// Nobody waits any more; this owner still answers, and for a channel that is named here it may take its time.
    Cancelled(ShardId, Option<ChannelName>),
    /// The owner has been asked to deliver to those who have no join here.
    Own(ChannelIndex, OnBehalf),
}

/// Of whom a shard asks an owner by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnBehalf {
    /// Those who are seated, for the owner began anew.
    Seated,
    /// Those who are expected from another shard.
    Newcomers,
}

impl Joins {
    /// Keeps a join and numbers it.
    pub(super) fn begin(&mut self, join: Join) -> JoinId {
        self.keep(Slot::Waiting(join))
    }

    fn keep(&mut self, slot: Slot) -> JoinId {
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as JoinId - 1
            }
        }
    }

    /// A join that is waited for.
    pub(super) fn waiting(&self, id: JoinId) -> &Join {
        match &self.slots[id as usize] {
            Slot::Waiting(join) | Slot::Resting(join) => join,
            Slot::Free | Slot::Cancelled(..) | Slot::Own(..) => {
                unreachable!("a seat names a join that is waited for")
            }
        }
    }

    /// A join whose subscriber is only behind: its owner has told a part of what it missed, and it does not need the state.
    pub(super) fn resting(&self, id: JoinId) -> Option<&Join> {
        match &self.slots[id as usize] {
            Slot::Resting(join) => Some(join).filter(|join| join.state != StateWanted::Yes),
            Slot::Waiting(_) | Slot::Free | Slot::Cancelled(..) | Slot::Own(..) => None,
        }
    }

    /// Every join that is waited for and of which the subscriber has been told nothing yet.
    pub(super) fn all_untold(&self) -> impl Iterator<Item = &Join> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Waiting(join) if !join.is_told => Some(join),
            Slot::Waiting(_) | Slot::Resting(_) => None,
            Slot::Free | Slot::Cancelled(..) | Slot::Own(..) => None,
        })
    }

    /// Every join whose owner is being asked.
    pub(super) fn all_asked(&self) -> impl Iterator<Item = &Join> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Waiting(join) => Some(join),
            Slot::Resting(_) | Slot::Free | Slot::Cancelled(..) | Slot::Own(..) => None,
        })
    }

    /// Keeps a question on behalf of those who have no join, and numbers it.
    pub(super) fn begin_own(&mut self, channel: ChannelIndex, whose: OnBehalf) -> JoinId {
        self.keep(Slot::Own(channel, whose))
    }

    /// The owner answered such a question; `None` when it was of another kind.
    pub(super) fn finish_own(&mut self, id: JoinId) -> Option<(ChannelIndex, OnBehalf)> {
        let slot = self.slots.get_mut(id as usize)?;
        let Slot::Own(channel, whose) = *slot else { return None };
        *slot = Slot::Free;
        self.free.push(id);
        Some((channel, whose))
    }

    /// Nobody waits any longer for the answer to such a question, which will be thrown away.
    pub(super) fn cancel_own(&mut self, id: JoinId, owner: ShardId) {
        self.slots[id as usize] = Slot::Cancelled(owner, None);
        self.cancelled += 1;
    }

    /// An owner will not answer what it was asked so far: what nobody waits for is forgotten; gives the channels that it
    /// was asked for again.
    pub(super) fn forget_answers(
        &mut self,
        owner: ShardId,
        is_its: impl Fn(ChannelIndex) -> bool,
    ) -> Vec<ChannelIndex> {
        let mut again = Vec::new();
        for (slot, id) in self.slots.iter_mut().zip(0..) {
            match slot {
                Slot::Cancelled(of, _) if *of == owner => self.cancelled -= 1,
                Slot::Own(channel, OnBehalf::Seated) if is_its(*channel) => again.push(*channel),
                _ => continue,
            }
            *slot = Slot::Free;
            self.free.push(id);
        }
        again
    }

    /// The subscribers that wait for a channel.
    pub(super) fn waiting_for(&self, channel: ChannelIndex) -> impl Iterator<Item = &Join> {
        self.slots.iter().filter_map(move |slot| match slot {
            Slot::Waiting(join) | Slot::Resting(join) if join.channel == channel => Some(join),
            Slot::Waiting(_) | Slot::Resting(_) => None,
            Slot::Free | Slot::Cancelled(..) | Slot::Own(..) => None,
        })
    }

    /// The subscriber does not wait any longer; the owner's answer will be thrown away.
    pub(super) fn cancel(&mut self, id: JoinId, owner: ShardId, channel: Option<ChannelName>) {
        match &mut self.slots[id as usize] {
            slot @ Slot::Waiting(_) => {
                let Slot::Waiting(Join { state, presence, is_behind, .. }) = *slot else { return };
                let takes_time = state != StateWanted::No || presence || is_behind;
                *slot = Slot::Cancelled(owner, channel.filter(|_| takes_time));
                self.cancelled += 1;
            }
            slot @ Slot::Resting(_) => {
                *slot = Slot::Free;
                self.resting -= 1;
                self.free.push(id);
            }
            Slot::Free | Slot::Cancelled(..) | Slot::Own(..) => {
                unreachable!("a seat names a join that is waited for")
            }
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
            Slot::Free | Slot::Resting(_) | Slot::Cancelled(..) | Slot::Own(..) => self.finish(id),
        }
    }

    /// Something of what the subscriber missed is lost, so it will need the state.
    pub(super) fn lose(&mut self, id: JoinId) {
        if let Slot::Waiting(join) = &mut self.slots[id as usize]
            && join.state == StateWanted::IfLost
        {
            join.state = StateWanted::Yes;
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
            Slot::Cancelled(_, channel) => {
                self.late = channel;
                self.cancelled -= 1;
                None
            }
            Slot::Free | Slot::Resting(_) | Slot::Own(..) => None,
        }
    }

    /// The channel of an answer that nobody waited for, if its owner may have made it after this shard left.
    pub(super) fn take_late(&mut self) -> Option<ChannelName> {
        self.late.take()
    }

    /// Whether somebody waits for the owner.
    pub(super) fn is_waited_for(&self, id: JoinId) -> bool {
        matches!(self.slots.get(id as usize), Some(Slot::Waiting(_)))
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
        Join {
            connection,
            transport: Transport::Json,
            token: Some(1),
            channel,
            is_told: false,
            state: StateWanted::No,
            presence: false,
            is_behind: false,
        }
    }

    #[test]
    fn the_number_of_a_cancelled_join_is_not_used_again_before_its_answer() {
        let mut joins = Joins::default();
        let first = joins.begin(join(1));
        joins.cancel(first, ShardId(1), None);
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
        joins.cancel(id, ShardId(1), None);
        assert_eq!((joins.rest(id), joins.outstanding()), (None, 0), "the answer comes too late");
        let id = joins.begin(join(2));
        joins.rest(id);
        joins.cancel(id, ShardId(1), None);
        assert_eq!((joins.outstanding(), joins.begin(join(3))), (0, id), "its number is free at once");
    }
}
