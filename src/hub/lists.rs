//! The subscribers of a channel on this shard that get all the same, by transport.
//!
//! Most channels have one subscriber: a user's own. One is therefore held in place, and only from the second on is
//! there a list per transport. Invariant: `Many` holds at least two. Who gets what is the audience's business.

use smallvec::SmallVec;

use crate::model::Transport;

/// Subscribers by transport.
#[derive(Debug, Default)]
pub(super) enum Lists {
    /// Nobody.
    #[default]
    Empty,
    /// One, in slot 0 of its transport.
    One { connection: u32, transport: Transport },
    /// Several; a list for each [`Transport`] number.
    Many(Box<[Vec<u32>; Transport::ALL.len()]>),
}

/// Connections with the slots they sit in now.
pub(super) type Resettled = SmallVec<[(u32, u32); 2]>;

/// A list keeps room for this many however few are in it.
const CAPACITY_KEPT: usize = 64;

impl Lists {
    /// Adds a subscriber and tells its slot in its transport's list.
    pub(super) fn push(&mut self, connection: u32, transport: Transport) -> u32 {
        match self {
            Self::Empty => {
                *self = Self::One { connection, transport };
                0
            }
            Self::One { .. } => {
                *self = Self::Many(Box::new(self.by_transport().map(<[u32]>::to_vec)));
                self.push(connection, transport)
            }
            Self::Many(lists) => {
                let list = &mut lists[transport as usize];
                list.push(connection);
                list.len() as u32 - 1
            }
        }
    }

    /// Empties a slot and tells who sits elsewhere since, and where. The first `served` of the list stay its first: the
    /// last of them moves into the slot of one of them, and the last of the list into the slot that is free then.
    pub(super) fn remove(&mut self, transport: Transport, slot: u32, served: u32) -> Resettled {
        let Self::Many(lists) = self else {
            debug_assert!(
                matches!(self, Self::One { transport: only, .. } if *only == transport) && slot == 0
            );
            *self = Self::Empty;
            return Resettled::new();
        };
        let list = &mut lists[transport as usize];
        let free = if slot < served { served - 1 } else { slot };
        list.swap(slot as usize, free as usize);
        list.swap_remove(free as usize);
        let mut resettled = Resettled::new();
        for slot in [slot, free].into_iter().skip(usize::from(slot == free)) {
            resettled.extend(list.get(slot as usize).map(|connection| (*connection, slot)));
        }
        if list.capacity() > CAPACITY_KEPT && list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        self.hold_one_in_place();
        resettled
    }

    /// Whether nobody is here.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The subscribers by [`Transport`] number.
    pub(super) fn by_transport(&self) -> [&[u32]; Transport::ALL.len()] {
        let mut all = [&[][..]; Transport::ALL.len()];
        match self {
            Self::Empty => {}
            Self::One { connection, transport } => {
                all[*transport as usize] = std::slice::from_ref(connection)
            }
            Self::Many(lists) => all = lists.each_ref().map(Vec::as_slice),
        }
        all
    }

    /// Gives up the lists when one subscriber is left; it is in slot 0 already.
    fn hold_one_in_place(&mut self) {
        let lists = self.by_transport();
        if lists.iter().map(|list| list.len()).sum::<usize>() == 1
            && let Some(transport) = Transport::ALL.into_iter().find(|one| !lists[*one as usize].is_empty())
        {
            *self = Self::One { connection: lists[transport as usize][0], transport };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_exist_from_the_second_subscriber_until_the_last_but_one_leaves() {
        let mut lists = Lists::default();
        assert_eq!(lists.push(7, Transport::Json), 0);
        assert!(matches!(lists, Lists::One { .. }));
        assert_eq!((lists.push(8, Transport::EventStream), lists.push(9, Transport::Json)), (0, 1));
        assert_eq!(lists.by_transport(), [&[][..], &[7, 9], &[8], &[], &[]]);
        assert_eq!(lists.remove(Transport::Json, 0, 0)[..], [(9, 0)]);
        assert!(matches!(lists, Lists::Many(_)));
        assert!(lists.remove(Transport::EventStream, 0, 0).is_empty());
        assert!(matches!(lists, Lists::One { connection: 9, transport: Transport::Json }));
        assert!(lists.remove(Transport::Json, 0, 0).is_empty());
        assert!(lists.is_empty());
    }

    #[test]
    fn who_has_been_served_stays_before_who_has_not() {
        for (slot, resettled, left) in [
            (1, &[(3, 1), (6, 2)][..], &[1, 3, 6, 4, 5][..]),
            (2, &[(6, 2)], &[1, 2, 6, 4, 5]),
            (4, &[(6, 4)], &[1, 2, 3, 4, 6]),
            (5, &[], &[1, 2, 3, 4, 5]),
        ] {
            let mut lists = Lists::default();
            (1..=6)
                .for_each(|connection| assert_eq!(lists.push(connection, Transport::Json), connection - 1));
            assert_eq!(lists.remove(Transport::Json, slot, 3)[..], *resettled, "{slot}");
            assert_eq!(lists.by_transport()[Transport::Json as usize], left, "{slot}");
        }
    }

    #[test]
    fn a_list_that_was_long_once_gives_its_room_back() {
        let mut lists = Lists::default();
        (0..10_000).for_each(|connection| assert_eq!(lists.push(connection, Transport::Json), connection));
        (0..9_900).for_each(|_| assert_eq!(lists.remove(Transport::Json, 0, 0).len(), 1));
        let Lists::Many(lists) = lists else { panic!("a hundred are left") };
        let list = &lists[Transport::Json as usize];
        assert_eq!(list.len(), 100);
        assert!(list.capacity() <= 400, "{}", list.capacity());
    }
}
