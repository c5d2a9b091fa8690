//! Marks on the links: sent behind what issuers of this shard asked, and answered when what came before them from another
//! shard has taken effect here. [`super::ways`] says what they are for.
//!
//! ```text
//!   0: publish ─► 2: owner ─ deliver ─► 1: handed out ─┐
//!   0: Mark ────► 2 ─────── Passed ───► 1 ─────────────┴─ Reached ─► 0: what waited goes on
//! ```
//!
//! Links keep their order, so a mark comes behind what it is for. A mark that comes directly is also behind what was asked
//! of sockets: it waits for those that are being put into rooms as well.
//!
//! Invariant: at most one mark of each way and reach waits here; a later one of an origin takes the place of the earlier,
//! which nobody waits for any more.

use super::{
    asks::Asks,
    turn::Shard,
    ways::{Mark, Reach},
};
use crate::{
    hub::Waiting,
    mesh,
    model::{ShardId, ShardSet},
};

/// A mark that has come here.
pub(super) struct Passed {
    /// Whose it is.
    origin: ShardId,
    mark: Mark,
    stage: Stage,
}

/// A mark that waits to be passed on, whose it is, and how much of what is held back here stands before it.
pub(super) struct Passing {
    behind: u64,
    origin: ShardId,
    mark: Mark,
}

/// What it waits for.
enum Stage {
    /// Nothing has been looked at.
    New,
    /// These to be handed out.
    HandingOut(Vec<Waiting>),
    /// A command to many sockets.
    Selecting(u64),
    /// The rooms that sockets were put into, up to the join of this number, to answer.
    Joining(u64),
}

impl Shard {
    /// Another shard says something of marks.
    pub(super) fn hear_mark(&mut self, from: ShardId, said: mesh::Mark) {
        match said {
            mesh::Mark::PassOn { number, is_for_all } => {
                // What came before it is on the links before it.
                self.settle();
                self.pass_behind(from, Mark { way: self.id, number, reach: reach(is_for_all) });
            }
            mesh::Mark::Passed { origin, number, is_for_all } => {
                self.take_in(origin, Mark { way: from, number, reach: reach(is_for_all) });
            }
            mesh::Mark::Reached { way, number } => {
                let mark = Mark { way, number, reach: Reach::Everywhere };
                self.asks.is_fresh |= self.asks.ways.handle_reached(from, mark);
            }
        }
    }

    /// Says how far things have to have come for those who wait, at the end of a turn.
    pub(super) fn send_marks(&mut self) {
        if self.peers.are_none() {
            return;
        }
        self.sweep_trails();
        self.pass_lease();
        self.continue_passing();
        let (now_ms, mut has_changed) =
            (self.now.monotonic_ms, self.asks.ways.pass_time(self.now.monotonic_ms));
        let mut is_settled = false;
        while let Some(mark) = self.asks.ways.poll_mark(now_ms, self.peers.silent(), &mut has_changed) {
            if !is_settled {
                self.settle();
                is_settled = true;
            }
            match mark.way == self.id {
                true => self.pass_behind(self.id, mark),
                false => {
                    let is_for_all = mark.reach == Reach::Everywhere;
                    self.say_of_mark(mark.way, mesh::Mark::PassOn { number: mark.number, is_for_all });
                }
            }
        }
        self.asks.is_fresh |= has_changed;
    }

    /// Answers the marks before which everything has taken effect here.
    pub(super) fn reach_marks(&mut self) {
        if self.asks.passed.is_empty() {
            return;
        }
        let mut passed = std::mem::take(&mut self.asks.passed);
        passed.retain_mut(|one| {
            let has_reached = self.has_reached(one);
            if has_reached {
                self.answer_mark(one.origin, one.mark);
            }
            !has_reached
        });
        self.asks.passed = passed;
    }

    /// These shards do nothing any more of what they were asked.
    pub(super) fn give_up_marks(&mut self, absent: &ShardSet) {
        self.asks.is_fresh |= self.asks.ways.give_up(absent);
    }

    /// A shard has failed and begins anew: it has no marks, and answers none.
    pub(super) fn lose_marks(&mut self, from: ShardId) {
        self.asks.passed.retain(|passed| passed.origin != from);
        self.asks.passing.retain(|passing| passing.origin != from);
        self.asks.lease.lose(from, self.now.monotonic_ms);
        self.give_up_marks(&[from].into_iter().collect());
    }

    /// Says what there is to say of the lease.
    fn pass_lease(&mut self) {
        let Asks { lease, ways, .. } = &mut self.asks;
        lease.pass_time(self.now.monotonic_ms, ways);
        while let Some((to, said)) = self.asks.lease.poll() {
            match to == self.id {
                true => {
                    self.asks.lease.handle(to, said);
                    self.look_at_asks();
                }
                false => self.send_mesh(to, mesh::ShardMessage::Lease(said)),
            }
        }
    }

    /// Passes a mark on behind what the channels of this shard have told before it, also what is still held back.
    fn pass_behind(&mut self, origin: ShardId, mark: Mark) {
        let behind = self.hub.held_total();
        match self.hub.has_told(behind) {
            true => self.pass_to_all(origin, mark),
            false => self.asks.passing.push(Passing { behind, origin, mark }),
        }
    }

    fn continue_passing(&mut self) {
        let told = self.asks.passing.iter().take_while(|passing| self.hub.has_told(passing.behind)).count();
        if told > 0 {
            self.settle();
            for Passing { origin, mark, .. } in self.asks.passing.drain(..told).collect::<Vec<_>>() {
                self.pass_to_all(origin, mark);
            }
        }
    }

    fn pass_to_all(&mut self, origin: ShardId, mark: Mark) {
        let is_own = origin == self.id;
        match mark.reach {
            Reach::Here if !is_own => self.pass_on(origin, origin, mark),
            Reach::Here | Reach::Everywhere => {
                self.peers.all().for_each(|to| self.pass_on(to, origin, mark));
                if !is_own {
                    self.take_in(origin, mark);
                }
            }
        }
    }

    fn pass_on(&mut self, to: ShardId, origin: ShardId, mark: Mark) {
        let (number, is_for_all) = (mark.number, mark.reach == Reach::Everywhere);
        self.say_of_mark(to, mesh::Mark::Passed { origin, number, is_for_all });
    }

    fn say_of_mark(&mut self, to: ShardId, said: mesh::Mark) {
        self.send_mesh(to, mesh::ShardMessage::Mark(said));
    }

    fn take_in(&mut self, origin: ShardId, mark: Mark) {
        let is_same =
            |one: &Passed| (one.origin, one.mark.way, one.mark.reach) == (origin, mark.way, mark.reach);
        self.asks.passed.retain(|one| !is_same(one));
        self.asks.passed.push(Passed { origin, mark, stage: Stage::New });
    }

    fn answer_mark(&mut self, origin: ShardId, mark: Mark) {
        match origin == self.id {
            true => self.asks.is_fresh |= self.asks.ways.handle_reached(origin, mark),
            false => {
                self.say_of_mark(origin, mesh::Mark::Reached { way: mark.way, number: mark.number });
            }
        }
    }

    /// Whether everything before a mark has taken effect here.
    fn has_reached(&self, passed: &mut Passed) -> bool {
        if let Stage::New = passed.stage {
            passed.stage = Stage::HandingOut(self.hub.all_waiting());
        }
        if let Stage::HandingOut(waiting) = &mut passed.stage {
            waiting.retain(|one| !self.hub.is_handed_out(one));
            if !waiting.is_empty() {
                return false;
            }
            if passed.origin != passed.mark.way {
                return true;
            }
            passed.stage = Stage::Selecting(self.engines.commanding().unwrap_or(0));
        }
        if let Stage::Selecting(number) = passed.stage {
            if !self.engines.has_selected(number) {
                return false;
            }
            passed.stage = Stage::Joining(self.engines.joins.begun());
        }
        let Stage::Joining(number) = passed.stage else { return false };
        self.engines.joins.have_ended(number)
    }
}

fn reach(is_for_all: bool) -> Reach {
    match is_for_all {
        true => Reach::Everywhere,
        false => Reach::Here,
    }
}
