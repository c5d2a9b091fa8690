//! A queue in which everybody has a turn, however much one of them has put in; and when it is full, whoever has put in the most
//! loses its newest.
//!
//! ```text
//!   turns: a b c ─► pop: the first of a's line, and a goes behind c
//!   lines: a: 1 2 3 4 5 …   b: 1   c: 1 2
//! ```
//!
//! Invariant: who has a line that is not empty stands once among the turns, and nobody else does.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// What waits, by whom; keys may be chosen by peers.
#[derive(Debug)]
pub struct Fair<K, T> {
    lines: HashMap<K, Line<T>>,
    turns: VecDeque<K>,
    held: Held,
}

/// What one of them has put in, with what each costs.
#[derive(Debug)]
struct Line<T> {
    queue: VecDeque<(T, usize)>,
    bytes: usize,
}

/// So many, and so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub count: usize,
    /// What they cost.
    pub bytes: usize,
}

impl<K, T> Default for Fair<K, T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new(), held: Held::default() }
    }
}

impl<K: Copy + Eq + Hash, T> Fair<K, T> {
    /// Puts something behind what else is the same one's.
    pub fn push(&mut self, of: K, what: T, bytes: usize) {
        let line = self.lines.entry(of).or_insert_with(|| Line { queue: VecDeque::new(), bytes: 0 });
        if line.queue.is_empty() {
            self.turns.push_back(of);
        }
        line.queue.push_back((what, bytes));
        line.bytes += bytes;
        self.held = Held { count: self.held.count + 1, bytes: self.held.bytes + bytes };
    }

    /// The same, where no more than so much may wait: gives back what has no place, which is the newest of whoever has more than
    /// this one would have, or else this.
    pub fn push_within(&mut self, of: K, what: T, bytes: usize, max: Held) -> Vec<T> {
        let mut pushed_out = Vec::new();
        while self.held.count >= max.count || self.held.bytes + bytes > max.bytes {
            let own = self.lines.get(&of).map_or(0, |line| line.bytes) + bytes;
            let heaviest = self.lines.iter().max_by_key(|(_, line)| line.bytes);
            let Some((heaviest, _)) = heaviest.filter(|(_, line)| line.bytes > own) else {
                pushed_out.push(what);
                return pushed_out;
            };
            let heaviest = *heaviest;
            if let Some((newest, is_last)) = self.take(heaviest, VecDeque::pop_back) {
                pushed_out.push(newest);
                if is_last {
                    self.turns.retain(|one| *one != heaviest);
                }
            }
        }
        self.push(of, what, bytes);
        pushed_out
    }

    /// Takes what has its turn.
    pub fn pop(&mut self) -> Option<T> {
        let of = self.turns.pop_front()?;
        let (what, is_last) = self.take(of, VecDeque::pop_front)?;
        if !is_last {
            self.turns.push_back(of);
        }
        Some(what)
    }

    /// How much waits.
    pub fn held(&self) -> Held {
        self.held
    }

    /// Whether nothing does.
    pub fn is_empty(&self) -> bool {
        self.held.count == 0
    }

    /// Takes one of a line's ends, and tells whether it was the last.
    fn take(
        &mut self,
        of: K,
        end: impl FnOnce(&mut VecDeque<(T, usize)>) -> Option<(T, usize)>,
    ) -> Option<(T, bool)> {
        let line = self.lines.get_mut(&of)?;
        let (what, bytes) = end(&mut line.queue)?;
        line.bytes -= bytes;
        let is_last = line.queue.is_empty();
        if is_last {
            self.lines.remove(&of);
        }
        self.held = Held { count: self.held.count - 1, bytes: self.held.bytes - bytes };
        if self.held.count == 0 {
            // A storm of them is over.
            *self = Self::default();
        }
        Some((what, is_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_put_in_much_waits_for_who_has_put_in_little() {
        let mut fair = Fair::default();
        (0..1_000).for_each(|number| fair.push("storm", ("storm", number), 1));
        fair.push("one", ("one", 0), 1);
        (0..2).for_each(|number| fair.push("two", ("two", number), 1));
        assert_eq!(fair.held(), Held { count: 1_003, bytes: 1_003 });
        let popped: Vec<_> = std::iter::from_fn(|| fair.pop()).take(6).collect();
        let first = [("storm", 0), ("one", 0), ("two", 0), ("storm", 1), ("two", 1), ("storm", 2)];
        assert_eq!(popped, first);
        fair.push("one", ("one", 1), 1);
        assert_eq!([fair.pop(), fair.pop()], [Some(("storm", 3)), Some(("one", 1))]);
        while fair.pop().is_some() {}
        assert!(fair.is_empty() && fair.lines.is_empty() && fair.turns.is_empty());
    }

    #[test]
    fn when_it_is_full_who_has_the_most_loses_its_newest() {
        let max = Held { count: 4, bytes: 100 };
        let mut fair = Fair::default();
        for number in 0..4 {
            assert_eq!(fair.push_within("storm", ("storm", number), 10, max), []);
        }
        assert_eq!(fair.push_within("storm", ("storm", 4), 10, max), [("storm", 4)], "it is its own");
        assert_eq!(fair.push_within("one", ("one", 0), 10, max), [("storm", 3)]);
        assert_eq!(fair.push_within("two", ("two", 0), 10, max), [("storm", 2)]);
        assert_eq!(fair.push_within("two", ("two", 1), 10, max), [("two", 1)], "nobody would have more");
        assert_eq!(fair.held(), Held { count: 4, bytes: 40 });
        let rest: Vec<_> = std::iter::from_fn(|| fair.pop()).collect();
        assert_eq!(rest, [("storm", 0), ("one", 0), ("two", 0), ("storm", 1)]);
    }

    #[test]
    fn what_is_heavy_counts_as_much_as_what_is_many() {
        let max = Held { count: 100, bytes: 100 };
        let mut fair = Fair::default();
        assert_eq!(fair.push_within("heavy", 0, 45, max), [0; 0]);
        assert_eq!(fair.push_within("heavy", 1, 45, max), [0; 0]);
        assert_eq!(fair.push_within("light", 2, 50, max), [1]);
        assert_eq!(fair.push_within("light", 3, 101, max), [3], "it has no place at all");
        assert_eq!(fair.push_within("feather", 4, 10, max), [2]);
        assert_eq!(fair.held(), Held { count: 2, bytes: 55 });
    }
}
