//! Where an audience's burst is held back: at the first publication behind something that has not been handed out. Whether that
//! is so is the business of `receipts.rs`.
//!
//! ```text
//!   burst      [ 5 ][ 6 ][ 7 ][ 8 ]
//!                     ▲ held: neither the lists nor a latecomer that is not ahead of it get 6
//! ```

use std::ops::Range;

use super::{Audience, Pending, cost};
use crate::{
    limits::FANOUT_PORTION_BYTES,
    model::{Publication, SharedPublication},
};

impl Audience {
    /// The first publication that is held back.
    pub(in crate::hub) fn held_back(&self) -> Option<&SharedPublication> {
        let pending = self.pending.as_deref()?;
        pending.burst.get(pending.held?)
    }

    /// Lets what was held back go on, up to the next that is to be; tells what that lacks if it is the same as before.
    pub(in crate::hub) fn go_on<T>(&mut self, lacks: impl Fn(&Publication) -> Option<T>) -> Option<T> {
        let pending = self.pending.as_deref_mut()?;
        let before = pending.held?;
        let mut behind = pending.burst[before..].iter().enumerate();
        let next = behind.find_map(|(at, publication)| Some((before + at, lacks(publication)?)));
        pending.held = next.as_ref().map(|(at, _)| *at);
        next.filter(|(at, _)| *at == before).map(|(_, lacking)| lacking)
    }
}

impl Pending {
    /// Where what may be handed out ends.
    pub(super) fn free(&self) -> usize {
        self.held.unwrap_or(self.burst.len())
    }

    /// Whether the lists have had in a turn what they may. What ended before one that was held back may go on.
    pub(super) fn has_enough(&self, turn: u64) -> bool {
        self.turn == turn && (self.given == 0 || self.given >= FANOUT_PORTION_BYTES)
    }

    /// Notes that the lists begin to get a portion.
    pub(super) fn note_given(&mut self, turn: u64, range: &Range<usize>) {
        let before = if self.turn == turn { self.given } else { 0 };
        let is_cut = self.held == Some(range.end);
        let bytes: usize = self.burst[range.clone()].iter().map(cost).sum();
        (self.turn, self.given) = (turn, if is_cut { before + bytes } else { 0 });
    }
}
