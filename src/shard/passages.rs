//! How clients of proxies have come, each way stored once.
//!
//! Clients of one proxy have asked few hosts, over few chains of proxies, so what is kept for all of them is a short table,
//! and an entry of [`super::addresses`] names its line in two bytes that it had to spare. A connection keeps nothing for it.

use std::{collections::HashMap, rc::Rc};

use super::table::Table;
use crate::{limits::PASSAGES_MAX, model::Passage};

/// Stands for a passage in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PassageId(u16);

impl PassageId {
    /// A client that has come directly, or of which no more is kept.
    pub(super) const NONE: Self = Self(u16::MAX);
}

/// The passages of those who are there now.
#[derive(Default)]
pub(super) struct Passages {
    lines: Table<Line>,
    /// Hashed under a random key: clients choose the hosts that they ask.
    by_passage: HashMap<Rc<Passage>, u16>,
}

struct Line {
    passage: Rc<Passage>,
    uses: u32,
}

impl Passages {
    /// Uses a passage once more; none where as many are in use as may be.
    pub(super) fn enter(&mut self, passage: Passage) -> PassageId {
        if let Some(at) = self.by_passage.get(&passage) {
            self.lines.get_mut((*at).into()).expect("it is in use").uses += 1;
            return PassageId(*at);
        }
        if self.by_passage.len() >= PASSAGES_MAX {
            return PassageId::NONE;
        }
        let passage = Rc::new(passage);
        let at = self.lines.insert(|_, _| Line { passage: Rc::clone(&passage), uses: 1 }) as u16;
        self.by_passage.insert(passage, at);
        PassageId(at)
    }

    /// Uses it once less.
    pub(super) fn leave(&mut self, id: PassageId) {
        let Some(line) = self.lines.get_mut(id.0.into()) else { return };
        line.uses -= 1;
        if line.uses == 0 {
            self.by_passage.remove(&line.passage);
            self.lines.remove(id.0.into());
        }
    }

    /// Whether nobody is there who has come so.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_passage.is_empty()
    }

    /// What an id stands for.
    pub(super) fn get(&self, id: PassageId) -> Option<&Passage> {
        self.lines.get(id.0.into()).map(|line| &*line.passage)
    }
}

const _: () = assert!(PASSAGES_MAX < u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: &str) -> Passage {
        Passage { host: Some(host.into()), ..Passage::default() }
    }

    #[test]
    fn a_passage_is_kept_once_and_until_nobody_uses_it() {
        let mut passages = Passages::default();
        let (first, again, other) =
            (passages.enter(to("a")), passages.enter(to("a")), passages.enter(to("b")));
        assert!(first == again && first != other);
        passages.leave(first);
        assert_eq!(passages.get(again), Some(&to("a")));
        passages.leave(again);
        assert_eq!((passages.get(again), passages.get(other)), (None, Some(&to("b"))));
        assert_eq!(passages.enter(to("c")), first, "its place is used again");
        passages.leave(PassageId::NONE);
        assert_eq!(passages.get(PassageId::NONE), None);
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let mut passages = Passages::default();
        let ids: Vec<_> = (0..PASSAGES_MAX).map(|at| passages.enter(to(&at.to_string()))).collect();
        assert!(!ids.contains(&PassageId::NONE));
        assert_eq!(passages.enter(to("more")), PassageId::NONE);
        assert_eq!(passages.enter(to("7")), ids[7], "one that is kept is found");
        passages.leave(ids[9]);
        assert_eq!(passages.enter(to("more")), ids[9]);
    }
}
