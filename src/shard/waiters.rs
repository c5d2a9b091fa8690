//! Those who wait for a turn, the longest wait first: each stands here once, and whoever leaves takes its place along.
//!
//! So what stands here is never more than there is of what may wait, however often it comes and goes, and nobody's turn is
//! spent on one that has left. Whoever stands here keeps the number of its place.

use std::collections::BTreeMap;

/// Those who wait, by the number of their place.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    places: BTreeMap<u64, u32>,
    next: u64,
}

impl Waiters {
    /// Lets one wait, behind all others, unless `place` says that it does.
    pub(super) fn enter(&mut self, place: &mut Option<u64>, who: u32) {
        if place.is_none() {
            self.places.insert(self.next, who);
            *place = Some(self.next);
            self.next += 1;
        }
    }

    /// Takes one out, if it waits.
    pub(super) fn leave(&mut self, place: Option<u64>) {
        if let Some(place) = place {
            self.places.remove(&place);
        }
    }

    /// Whose turn it is. It waits no more, and is to forget its place.
    pub(super) fn next(&mut self) -> Option<u32> {
        self.places.pop_first().map(|(_, who)| who)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_once_and_whoever_leaves_is_gone() {
        let (mut waiters, mut places) = (Waiters::default(), [None; 3]);
        for _ in 0..2 {
            for (place, who) in places.iter_mut().zip(0..) {
                waiters.enter(place, who);
            }
        }
        assert_eq!(waiters.len(), 3);
        waiters.leave(places[0].take());
        waiters.leave(None);
        waiters.enter(&mut places[0], 0);
        assert_eq!([1, 2, 0].map(Some), [(); 3].map(|()| waiters.next()), "it is behind the others now");
        assert_eq!((waiters.next(), waiters.is_empty()), (None, true));
    }
}
