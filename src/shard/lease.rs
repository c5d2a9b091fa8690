//! The lease under which a shard sends what its issuers ask without waiting: pure, without links ([`super::marks`] has those).
//!
//! An event to another room than the one before it waits at its issuer's shard until that has taken effect everywhere, or it is
//! sent at once and waits where it is to be handed out, for what stands before it (`hub/receipts.rs`). If two shards did the
//! latter at a time, what one has sent to two owners could come before the other's at one and behind it at the other, and no
//! order would be right for both. So one shard at a time does: the one that has the lease. It keeps it until another asks, and
//! then as long as it uses it, for [`LEASE_TURNS_MIN`] turns in all: handing it on takes a while in which nobody has it.
//!
//! ```text
//!   1: many wait ─ Ask ─► 0 ─ Recall ─► 2: nothing more is sent under it
//!                         0 ◄─ Return ─ 2: all that was has taken effect everywhere
//!   1: is sent  ◄─ Grant ─ 0
//! ```
//!
//! Shard 0 keeps who has it and who waits. When it begins anew, or the holder does, nobody gets it until what was sent under it
//! has taken effect or is not waited for ([`LEASE_CLOSED_MS`]). Nobody waits for the lease: what waits at its shard goes on as
//! it would without.

use std::collections::VecDeque;

use super::ways::Ways;
use crate::{
    limits::{LEASE_CLOSED_MS, LEASE_TURNS_MIN},
    mesh,
    model::ShardId,
};

/// Who keeps it.
const KEEPER: ShardId = ShardId(0);

/// What a shard knows of the lease.
pub(super) struct Lease {
    state: State,
    /// Turns in which it is kept if it is used.
    turns_left: u32,
    /// Whether something has been sent under it in this turn.
    is_used: bool,
    /// Who has it and who waits, at shard 0.
    desk: Option<Desk>,
    /// What is to be said.
    said: VecDeque<(ShardId, mesh::Lease)>,
}

enum State {
    /// There is one shard, and nobody to take it from.
    Unneeded,
    None,
    Asked,
    Held,
    /// To be given back at the end of a turn.
    Recalled,
    /// Nothing is sent under it any more; what was, is, up to these numbers on the ways.
    Returning(Vec<u64>),
}

/// Who has the lease, and who waits for it.
#[derive(Default)]
struct Desk {
    holder: Option<ShardId>,
    /// In the order in which they have asked.
    waiting: VecDeque<ShardId>,
    is_recalled: bool,
    /// Until when nobody gets it, if somebody may still have it.
    closed_until_ms: Option<u64>,
    /// Whether it is closed from the next look at the clock.
    closes: bool,
}

impl Lease {
    /// Of a shard among so many, which has begun anew or not.
    pub(super) fn new(me: ShardId, shards: u16, is_anew: bool) -> Self {
        let state = if shards == 1 { State::Unneeded } else { State::None };
        let desk = (me == KEEPER).then(|| Desk { closes: is_anew, ..Desk::default() });
        Self { state, turns_left: 0, is_used: false, desk, said: VecDeque::new() }
    }

    /// Whether events may be sent without waiting.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::Held | State::Recalled)
    }

    /// Something is sent under it.
    pub(super) fn note_used(&mut self) {
        self.is_used = true;
    }

    /// Asks for it, unless that has been done.
    pub(super) fn want(&mut self) {
        if let State::None = self.state {
            self.state = State::Asked;
            self.said.push_back((KEEPER, mesh::Lease::Ask));
        }
    }

    /// A shard has said something of it.
    pub(super) fn handle(&mut self, from: ShardId, said: mesh::Lease) {
        match said {
            mesh::Lease::Grant => (self.state, self.turns_left) = (State::Held, LEASE_TURNS_MIN),
            mesh::Lease::Recall => {
                if let State::Held = self.state {
                    self.state = State::Recalled;
                }
            }
            mesh::Lease::Ask | mesh::Lease::Return => {
                if let Some(desk) = &mut self.desk {
                    desk.handle(from, said);
                    desk.go_on(&mut self.said);
                }
            }
        }
    }

    /// A turn ends: gives the lease back when all that was sent under it has taken effect.
    pub(super) fn pass_time(&mut self, now_ms: u64, ways: &mut Ways) {
        if let Some(desk) = &mut self.desk {
            desk.pass_time(now_ms);
            desk.go_on(&mut self.said);
        }
        let is_used = std::mem::take(&mut self.is_used);
        self.turns_left = self.turns_left.saturating_sub(1);
        if let State::Recalled = self.state
            && !(is_used && self.turns_left > 0)
        {
            self.state = State::Returning(ways.sent());
        }
        if let State::Returning(numbers) = &self.state {
            match ways.are_over(numbers) {
                true => {
                    self.state = State::None;
                    self.said.push_back((KEEPER, mesh::Lease::Return));
                }
                false => ways.want_all(),
            }
        }
    }

    /// Whether a turn would give it back.
    pub(super) fn has_more(&self) -> bool {
        matches!(self.state, State::Recalled)
    }

    /// What is to be said next, and to whom.
    pub(super) fn poll(&mut self) -> Option<(ShardId, mesh::Lease)> {
        self.said.pop_front()
    }

    /// A shard has failed and begins anew.
    pub(super) fn lose(&mut self, lost: ShardId, now_ms: u64) {
        if let Some(desk) = &mut self.desk {
            desk.lose(lost, now_ms);
        }
        if lost == KEEPER && !matches!(self.state, State::Unneeded) {
            self.state = State::None;
        }
    }
}

impl Desk {
    fn handle(&mut self, from: ShardId, said: mesh::Lease) {
        match said {
            mesh::Lease::Ask if !self.waiting.contains(&from) => self.waiting.push_back(from),
            mesh::Lease::Return if self.holder == Some(from) => self.holder = None,
            _ => {}
        }
    }

    /// Gives it to the next, or asks for it back.
    fn go_on(&mut self, said: &mut VecDeque<(ShardId, mesh::Lease)>) {
        if self.holder.is_none() && !self.closes && self.closed_until_ms.is_none() {
            self.holder = self.waiting.pop_front();
            self.is_recalled = false;
            said.extend(self.holder.map(|next| (next, mesh::Lease::Grant)));
        }
        if let Some(holder) = self.holder
            && !self.is_recalled
            && !self.waiting.is_empty()
        {
            self.is_recalled = true;
            said.push_back((holder, mesh::Lease::Recall));
        }
    }

    fn pass_time(&mut self, now_ms: u64) {
        if std::mem::take(&mut self.closes) {
            self.closed_until_ms = Some(now_ms + LEASE_CLOSED_MS);
        }
        self.closed_until_ms = self.closed_until_ms.filter(|until_ms| now_ms < *until_ms);
    }

    fn lose(&mut self, lost: ShardId, now_ms: u64) {
        self.waiting.retain(|shard| *shard != lost);
        if self.holder == Some(lost) {
            self.holder = None;
            self.closed_until_ms = Some(now_ms + LEASE_CLOSED_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards whose links are as fast as they can be.
    struct Rig {
        leases: Vec<Lease>,
        ways: Vec<Ways>,
    }

    impl Rig {
        fn new(shards: u16) -> Self {
            let all = (0..shards).map(ShardId);
            let leases = all.clone().map(|me| Lease::new(me, shards, false)).collect();
            Self { leases, ways: all.map(|me| Ways::new(me, shards, 0)).collect() }
        }

        fn turn(&mut self, now_ms: u64) {
            for _ in 0..8 {
                for shard in 0..self.leases.len() {
                    self.leases[shard].pass_time(now_ms, &mut self.ways[shard]);
                    while let Some((to, said)) = self.leases[shard].poll() {
                        self.leases[usize::from(to.0)].handle(ShardId(shard as u16), said);
                    }
                }
            }
        }

        fn holders(&self) -> Vec<usize> {
            (0..self.leases.len()).filter(|shard| self.leases[*shard].is_held()).collect()
        }

        /// All that a shard has sent takes effect.
        fn take_effect(&mut self, shard: usize) {
            let others: crate::model::ShardSet = (0..self.leases.len() as u16).map(ShardId).collect();
            let mut has_changed = false;
            self.ways[shard].want_all();
            while let Some(mark) = self.ways[shard].poll_mark(0, &Default::default(), &mut has_changed) {
                others.iter().for_each(|from| _ = self.ways[shard].handle_reached(from, mark));
            }
        }
    }

    #[test]
    fn who_has_it_keeps_it_until_another_asks_and_what_it_has_sent_has_taken_effect() {
        let mut rig = Rig::new(3);
        rig.leases[1].want();
        rig.turn(0);
        assert_eq!(rig.holders(), [1]);
        rig.turn(1_000_000);
        assert_eq!(rig.holders(), [1]);
        rig.ways[1].send(ShardId(2));
        rig.leases[0].want();
        rig.leases[2].want();
        rig.turn(1_000_000);
        assert_eq!(rig.holders(), [0; 0], "what 1 has sent is under way");
        rig.leases[1].want();
        rig.take_effect(1);
        rig.turn(1_000_000);
        let first = rig.holders();
        assert_eq!(first, [2], "0 had it and gave it back at once");
        rig.leases[1].want();
        rig.turn(1_000_000);
        assert_eq!(rig.holders(), [1]);
    }

    #[test]
    fn who_uses_it_keeps_it_for_some_turns_and_no_longer() {
        for (used, kept) in [(0, 1), (3, 4), (u32::MAX, LEASE_TURNS_MIN)] {
            let mut rig = Rig::new(2);
            rig.leases[1].want();
            rig.leases[0].pass_time(0, &mut rig.ways[0]);
            rig.leases[1].handle(KEEPER, mesh::Lease::Grant);
            rig.leases[1].handle(KEEPER, mesh::Lease::Recall);
            let mut turns = 0;
            while rig.leases[1].is_held() {
                if turns < used {
                    rig.leases[1].note_used();
                }
                rig.leases[1].pass_time(0, &mut rig.ways[1]);
                turns += 1;
            }
            assert_eq!(turns, kept);
        }
    }

    #[test]
    fn with_one_shard_nobody_asks() {
        let mut rig = Rig::new(1);
        rig.leases[0].want();
        assert!(rig.leases[0].poll().is_none() && !rig.leases[0].is_held());
    }

    #[test]
    fn a_holder_that_fails_is_not_followed_before_what_it_sent_is_over() {
        let mut rig = Rig::new(3);
        rig.leases[1].want();
        rig.turn(0);
        rig.leases[2].want();
        rig.leases[1] = Lease::new(ShardId(1), 3, true);
        rig.leases[0].lose(ShardId(1), 5);
        rig.turn(5 + LEASE_CLOSED_MS - 1);
        assert_eq!(rig.holders(), [0; 0]);
        rig.turn(5 + LEASE_CLOSED_MS);
        assert_eq!(rig.holders(), [2]);
    }

    #[test]
    fn a_keeper_that_fails_gives_it_to_nobody_before_what_was_sent_is_over() {
        let mut rig = Rig::new(3);
        rig.leases[1].want();
        rig.turn(0);
        rig.leases[0] = Lease::new(KEEPER, 3, true);
        (1..3).for_each(|shard| rig.leases[shard].lose(KEEPER, 5));
        assert_eq!(rig.holders(), [0; 0]);
        rig.leases[2].want();
        rig.turn(5);
        rig.turn(5 + LEASE_CLOSED_MS - 1);
        assert_eq!(rig.holders(), [0; 0]);
        rig.turn(5 + LEASE_CLOSED_MS);
        assert_eq!(rig.holders(), [2]);
    }
}
