//! The ways by which what a shard sends takes effect on others, and how far it has: pure, without links ([`super::marks`]
//! has those).
//!
//! A publication goes through its channel's owner; everything else, and what the shard owns itself, goes directly. So there
//! is a way for each shard, and the shard's own stands for the direct links. On each way a *mark* can be sent behind what was
//! sent before. It has come back when all of that has taken effect, on this shard or on all.
//!
//! ```text
//!   sent through 2     1  2  3 ● 4  5        a mark behind 3 is under way; one behind 5 follows, if somebody waits for that
//!                         ▲
//!                         reached
//! ```
//!
//! Invariants: one mark is under way for each way and [`Reach`]. None is sent unless somebody waits. Nobody waits longer than
//! [`ORDER_WAIT_MAX_MS`] for a shard that says nothing, and then not again for [`ORDER_MUTED_MS`].

use crate::{
    limits::{ORDER_MUTED_MS, ORDER_WAIT_MAX_MS},
    model::{ShardId, ShardSet},
};

/// Where something is to have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// On this shard.
    Here,
    /// On every shard.
    Everywhere,
}

/// All ways of a shard.
pub(super) struct Ways {
    me: ShardId,
    ways: Vec<Way>,
    is_wanted: bool,
    /// Shards that are not waited for, since they have let others wait.
    muted: ShardSet,
    muted_ms: u64,
}

/// A mark to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The owner it goes through, or this shard: directly.
    pub(super) way: ShardId,
    /// The last that was sent before it.
    pub(super) number: u64,
    pub(super) reach: Reach,
}

#[derive(Clone)]
struct Way {
    /// The number of the last that was sent.
    sent: u64,
    /// The number of the last receipt that was asked for.
    receipt: u64,
    here: Effect,
    everywhere: Effect,
}

/// How far what was sent has taken effect.
#[derive(Clone)]
struct Effect {
    reached: u64,
    /// The last receipt that had been asked for by then.
    receipt: u64,
    is_wanted: bool,
    under_way: Option<UnderWay>,
}

#[derive(Clone)]
struct UnderWay {
    number: u64,
    receipt: u64,
    since_ms: u64,
    /// Shards that have not answered.
    left: ShardSet,
}

impl Ways {
    /// Of a shard among so many, that begins to count here.
    pub(super) fn new(me: ShardId, shards: u16, start: u64) -> Self {
        let effect = Effect { reached: start, receipt: start, is_wanted: false, under_way: None };
        let way = Way { sent: start, receipt: start, here: effect.clone(), everywhere: effect };
        let ways = vec![way; usize::from(shards)];
        Self { me, ways, is_wanted: false, muted: ShardSet::default(), muted_ms: 0 }
    }

    /// Something is sent through a shard, or directly; gives its number.
    pub(super) fn send(&mut self, way: ShardId) -> u64 {
        let sent = &mut self.ways[usize::from(way.0)].sent;
        *sent += 1;
        *sent
    }

    /// Whether all that was sent on a way up to this number has taken effect. If it has not, a mark is wanted.
    pub(super) fn has_reached(&mut self, way: ShardId, number: u64, reach: Reach) -> bool {
        let effect = self.ways[usize::from(way.0)].effect(reach);
        let has_reached = effect.reached >= number;
        effect.is_wanted |= !has_reached;
        self.is_wanted |= !has_reached;
        has_reached
    }

    /// As [`Self::has_reached`] everywhere, for one who does not wait.
    pub(super) fn is_over(&self, way: ShardId, number: u64) -> bool {
        self.ways[usize::from(way.0)].everywhere.reached >= number
    }

    /// As [`Self::has_reached`] here, for one who does not wait.
    pub(super) fn is_over_here(&self, way: ShardId, number: u64) -> bool {
        self.ways[usize::from(way.0)].here.reached >= number
    }

    /// How many receipts have been asked for on a way that may not have come everywhere.
    pub(super) fn receipts_under_way(&self, way: ShardId) -> u64 {
        let Way { receipt, everywhere, .. } = &self.ways[usize::from(way.0)];
        receipt - everywhere.receipt
    }

    /// A receipt is asked for; gives its number, which is not 0.
    pub(super) fn next_receipt(&mut self, way: ShardId) -> u64 {
        let receipt = &mut self.ways[usize::from(way.0)].receipt;
        *receipt += 1;
        *receipt
    }

    /// Whether any receipt has been asked for.
    #[cfg(test)]
    pub(super) fn has_asked_receipts(&self) -> bool {
        self.ways.iter().any(|way| way.receipt > 0)
    }

    /// The last number on each way.
    pub(super) fn sent(&self) -> Vec<u64> {
        self.ways.iter().map(|way| way.sent).collect()
    }

    /// Whether everything up to these numbers has taken effect everywhere.
    pub(super) fn are_over(&self, numbers: &[u64]) -> bool {
        self.ways.iter().zip(numbers).all(|(way, number)| way.everywhere.reached >= *number)
    }

    /// Wants to know of everything that has been sent.
    pub(super) fn want_all(&mut self) {
        self.ways.iter_mut().for_each(|way| way.everywhere.is_wanted = true);
        self.is_wanted = true;
    }

    /// The next mark to be sent. Who is not to be waited for is passed over; `has_changed` tells that by that something is
    /// over already.
    pub(super) fn poll_mark(
        &mut self,
        now_ms: u64,
        silent: &ShardSet,
        has_changed: &mut bool,
    ) -> Option<Mark> {
        if !self.is_wanted {
            return None;
        }
        if now_ms.saturating_sub(self.muted_ms) >= ORDER_MUTED_MS {
            self.muted = ShardSet::default();
        }
        let (me, shards) = (self.me, self.ways.len() as u16);
        let is_absent =
            |shard: ShardId| shard != me && (silent.contains(shard) || self.muted.contains(shard));
        for (way, ways) in (0..shards).map(ShardId).zip(&mut self.ways) {
            for reach in [Reach::Here, Reach::Everywhere] {
                let (number, receipt) = (ways.sent, ways.receipt);
                let effect = ways.effect(reach);
                if !std::mem::take(&mut effect.is_wanted)
                    || effect.under_way.is_some()
                    || effect.reached >= number
                {
                    continue;
                }
                let is_asked = |to: &ShardId| match reach {
                    Reach::Here => *to == me,
                    Reach::Everywhere => (*to, way) != (me, me) && !is_absent(*to),
                };
                let left: ShardSet = (0..shards).map(ShardId).filter(is_asked).collect();
                if is_absent(way) || left.is_empty() || (way, reach) == (me, Reach::Here) {
                    (effect.reached, effect.receipt) = (number, receipt);
                    *has_changed = true;
                    continue;
                }
                effect.under_way = Some(UnderWay { number, receipt, since_ms: now_ms, left });
                return Some(Mark { way, number, reach });
            }
        }
        self.is_wanted = false;
        None
    }

    /// A mark has come to a shard, and everything before it has taken effect there. Tells whether anybody may go on by that.
    pub(super) fn handle_reached(&mut self, from: ShardId, mark: Mark) -> bool {
        self.muted.remove(from);
        let Some(way) = self.ways.get_mut(usize::from(mark.way.0)) else { return false };
        let is_news_here = from == self.me && way.here.reached < mark.number;
        if is_news_here {
            way.here.reached = mark.number;
        }
        let effect = way.effect(mark.reach);
        if let Some(under_way) = &mut effect.under_way
            && under_way.number == mark.number
        {
            under_way.left.remove(from);
        }
        effect.finish() || is_news_here
    }

    /// These shards will not answer; tells whether something is over by that.
    pub(super) fn give_up(&mut self, absent: &ShardSet) -> bool {
        let mut has_changed = false;
        for (way, ways) in (0..).map(ShardId).zip(&mut self.ways) {
            for effect in [&mut ways.here, &mut ways.everywhere] {
                let Some(under_way) = &mut effect.under_way else { continue };
                for shard in absent.iter() {
                    under_way.left.remove(shard);
                }
                if way != self.me && absent.contains(way) {
                    under_way.left = ShardSet::default();
                }
                has_changed |= effect.finish();
            }
        }
        has_changed
    }

    /// Time passes; tells whether something that did not come back has been given up.
    pub(super) fn pass_time(&mut self, now_ms: u64) -> bool {
        let mut guilty = ShardSet::default();
        for (way, ways) in (0..).map(ShardId).zip(&self.ways) {
            for effect in [&ways.here, &ways.everywhere] {
                let Some(under_way) = &effect.under_way else { continue };
                if now_ms.saturating_sub(under_way.since_ms) < ORDER_WAIT_MAX_MS {
                    continue;
                }
                // All wait for an owner that has not passed it on.
                match under_way.left.contains(way) || under_way.left.contains(self.me) {
                    true => guilty.extend([way]),
                    false => guilty.extend(under_way.left.iter()),
                }
            }
        }
        if guilty.is_empty() {
            return false;
        }
        self.muted.extend(guilty.iter());
        self.muted_ms = now_ms;
        self.give_up(&guilty)
    }

    /// When something that does not come back is given up.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let effects = self.ways.iter().flat_map(|way| [&way.here, &way.everywhere]);
        let since = effects.filter_map(|effect| effect.under_way.as_ref()).map(|one| one.since_ms).min();
        since.map(|since| since + ORDER_WAIT_MAX_MS)
    }
}

impl Way {
    fn effect(&mut self, reach: Reach) -> &mut Effect {
        match reach {
            Reach::Here => &mut self.here,
            Reach::Everywhere => &mut self.everywhere,
        }
    }
}

impl Effect {
    /// Notes it when nobody is left to answer; tells whether that is so.
    fn finish(&mut self) -> bool {
        let is_back = self.under_way.take_if(|one| one.left.is_empty());
        if let Some(one) = &is_back {
            (self.reached, self.receipt) = (one.number, one.receipt);
        }
        is_back.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ShardId = ShardId(0);
    const OWNER: ShardId = ShardId(1);
    const THIRD: ShardId = ShardId(2);

    fn poll(ways: &mut Ways, now_ms: u64) -> Option<Mark> {
        ways.poll_mark(now_ms, &ShardSet::default(), &mut false)
    }

    fn everywhere(way: ShardId, number: u64) -> Mark {
        Mark { way, number, reach: Reach::Everywhere }
    }

    #[test]
    fn a_mark_is_back_when_all_have_answered_and_one_is_under_way_at_a_time() {
        let mut ways = Ways::new(ME, 3, 0);
        assert_eq!((ways.send(OWNER), ways.send(OWNER)), (1, 2));
        assert_eq!(poll(&mut ways, 0), None, "nobody waits");
        assert!(!ways.has_reached(OWNER, 1, Reach::Everywhere));
        let mark = everywhere(OWNER, 2);
        assert_eq!(poll(&mut ways, 0), Some(mark));
        assert_eq!(ways.send(OWNER), 3);
        assert!(!ways.has_reached(OWNER, 3, Reach::Everywhere));
        assert_eq!(poll(&mut ways, 0), None, "one is under way");
        assert!(!ways.handle_reached(OWNER, mark) && !ways.handle_reached(THIRD, mark));
        assert!(!ways.has_reached(OWNER, 1, Reach::Everywhere));
        assert!(ways.handle_reached(ME, mark));
        assert!(ways.has_reached(OWNER, 2, Reach::Everywhere) && ways.has_reached(OWNER, 2, Reach::Here));
        assert!(!ways.has_reached(OWNER, 3, Reach::Everywhere));
        assert_eq!(poll(&mut ways, 0), Some(everywhere(OWNER, 3)));
    }

    #[test]
    fn a_mark_of_one_reach_or_number_is_not_taken_for_another() {
        let mut ways = Ways::new(ME, 2, 7);
        assert_eq!(ways.send(ME), 8);
        assert!(!ways.has_reached(ME, 8, Reach::Everywhere));
        assert_eq!(poll(&mut ways, 0), Some(everywhere(ME, 8)));
        assert!(!ways.handle_reached(OWNER, everywhere(ME, 7)));
        assert!(!ways.handle_reached(OWNER, Mark { reach: Reach::Here, ..everywhere(ME, 8) }));
        assert!(!ways.has_reached(ME, 8, Reach::Everywhere));
        assert!(ways.handle_reached(OWNER, everywhere(ME, 8)));
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for_long_nor_soon_again() {
        let mut ways = Ways::new(ME, 3, 0);
        ways.send(OWNER);
        assert!(!ways.has_reached(OWNER, 1, Reach::Everywhere));
        let mark = poll(&mut ways, 5).expect("a mark");
        assert!(
            !ways.handle_reached(OWNER, mark) && ways.handle_reached(ME, mark),
            "on this shard it is over"
        );
        assert!(ways.has_reached(OWNER, 1, Reach::Here) && !ways.has_reached(OWNER, 1, Reach::Everywhere));
        assert_eq!(ways.next_ms(), Some(5 + ORDER_WAIT_MAX_MS));
        assert!(!ways.pass_time(4 + ORDER_WAIT_MAX_MS) && ways.pass_time(5 + ORDER_WAIT_MAX_MS));
        assert!(ways.has_reached(OWNER, 1, Reach::Everywhere));
        ways.send(OWNER);
        assert!(!ways.has_reached(OWNER, 2, Reach::Everywhere));
        let mark = poll(&mut ways, 6 + ORDER_WAIT_MAX_MS).expect("a mark");
        assert!(!ways.handle_reached(OWNER, mark) && ways.handle_reached(ME, mark), "the third is left out");
    }

    #[test]
    fn an_owner_that_fails_or_hangs_lets_go_what_waits_for_it() {
        let absent: ShardSet = [OWNER].into_iter().collect();
        let mut ways = Ways::new(ME, 3, 0);
        ways.send(OWNER);
        assert!(!ways.has_reached(OWNER, 1, Reach::Here));
        assert_eq!(poll(&mut ways, 0).map(|mark| mark.reach), Some(Reach::Here));
        assert!(ways.give_up(&absent));
        assert!(ways.has_reached(OWNER, 1, Reach::Here));
        ways.send(OWNER);
        assert!(!ways.has_reached(OWNER, 2, Reach::Everywhere));
        let mut has_changed = false;
        assert_eq!(ways.poll_mark(0, &absent, &mut has_changed), None);
        assert!(has_changed && ways.has_reached(OWNER, 2, Reach::Everywhere));
    }
}
