//! Keys that are ready for use, of the connections of a shard that are heard and told something again and again.
//!
//! Making a key ready costs more than to protect a short record with it. Kept for every connection, ready keys would take three
//! times the memory of all that is kept of TLS, and fetching them would cost the cache what making them costs the core. Those of
//! a few that are busy stay in the cache. So there is a table with a place for some hundreds:
//!
//! ```text
//!   connection ─► its place ─┬─ it has the place, and has used it so often ─► kept ready
//!                            └─ otherwise ──────────────────────────────────► made ready for one call
//! ```
//!
//! Each use of another connection that would have the same place counts against whoever has it, until that one has it. So
//! what is told to very many in turn displaces nobody who is busy, and keeps nothing of anybody.
//!
//! Invariant: a key that is kept is used for nothing but what it was made of, whatever has become of its connection.

use aws_lc_rs::aead::LessSafeKey;
use zeroize::Zeroize;

use super::direction::Direction;
use crate::limits::READY_CONNECTIONS_MAX;

/// Uses, less those of others, from which on keys are kept.
const USES_KEPT: u8 = 4;
/// More of them do not count.
const USES_MAX: u8 = 8;

/// The table. One without places keeps nothing.
#[derive(Default)]
pub struct ReadyKeys {
    places: Vec<Place>,
}

/// What is kept of one connection.
#[derive(Default)]
struct Place {
    connection: u32,
    uses: u8,
    send: Option<Ready>,
    receive: Option<Ready>,
}

/// A key that is kept ready.
struct Ready {
    key: LessSafeKey,
    made_of: [u8; 32],
}

/// Which way a key protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What is sent.
    Send,
    /// What is received.
    Receive,
}

/// Where the key of one direction is found or put, for one call.
pub struct KeyPlace<'a>(Where<'a>);

enum Where<'a> {
    Kept(&'a mut Option<Ready>),
    Passing(Option<LessSafeKey>),
}

impl ReadyKeys {
    /// A table with every place.
    pub fn new() -> Self {
        Self { places: (0..READY_CONNECTIONS_MAX).map(|_| Place::default()).collect() }
    }

    /// The place of a connection's key, which is used now.
    #[inline]
    pub fn lend(&mut self, connection: u32, way: Way) -> KeyPlace<'_> {
        let Some(place) = self.places.get_mut(connection as usize % READY_CONNECTIONS_MAX) else {
            return KeyPlace::passing();
        };
        if place.connection != connection {
            match place.uses {
                0 => *place = Place { connection, ..Place::default() },
                _ => place.uses -= 1,
            }
            return KeyPlace::passing();
        }
        place.uses = USES_MAX.min(place.uses + 1);
        if place.uses < USES_KEPT {
            return KeyPlace::passing();
        }
        KeyPlace(Where::Kept(match way {
            Way::Send => &mut place.send,
            Way::Receive => &mut place.receive,
        }))
    }

    /// Forgets what is kept of a connection.
    pub fn forget(&mut self, connection: u32) {
        let place = self.places.get_mut(connection as usize % READY_CONNECTIONS_MAX);
        if let Some(place) = place.filter(|place| place.connection == connection) {
            *place = Place::default();
        }
    }

    /// How many keys are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let kept = |place: &Place| usize::from(place.send.is_some()) + usize::from(place.receive.is_some());
        self.places.iter().map(kept).sum()
    }
}

impl KeyPlace<'_> {
    /// A place of which nothing is kept.
    pub(super) fn passing() -> Self {
        Self(Where::Passing(None))
    }

    /// The key of a direction, ready for use.
    #[inline]
    pub(super) fn key(&mut self, direction: &Direction) -> &LessSafeKey {
        match &mut self.0 {
            Where::Passing(key) => key.get_or_insert_with(|| direction.expand()),
            Where::Kept(ready) => {
                if !ready.as_ref().is_some_and(|ready| direction.has_key(&ready.key, &ready.made_of)) {
                    **ready = Some(Ready { key: direction.expand(), made_of: direction.key_bytes() });
                }
                &ready.as_ref().expect("it was made above").key
            }
        }
    }

    /// Forgets the key: the direction has another one.
    pub(super) fn clear(&mut self) {
        match &mut self.0 {
            Where::Passing(key) => *key = None,
            Where::Kept(ready) => **ready = None,
        }
    }
}

/// The key itself is zeroed by the library that has made it.
impl Drop for Ready {
    fn drop(&mut self) {
        self.made_of.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Record, tests::pair};

    /// One end seals with the keys of a table, and the other opens with those of another one.
    struct Ends {
        keys: [ReadyKeys; 2],
        number: u32,
    }

    impl Ends {
        fn new() -> Self {
            Self { keys: [ReadyKeys::new(), ReadyKeys::new()], number: 0 }
        }

        fn say(&mut self, connection: u32, (from, to): (&mut Record, &mut Record)) {
            self.number += 1;
            let (plain, mut bytes) = (self.number.to_be_bytes(), Vec::new());
            let mut sealer = from.sealer_with(&mut bytes, self.keys[0].lend(connection, Way::Send));
            sealer.add(&plain);
            sealer.end();
            let received = to.receive_with(&mut bytes, self.keys[1].lend(connection, Way::Receive));
            assert_eq!((received.ended, received.plain(&mut bytes)), (None, &mut { plain }[..]));
        }

        fn kept(&self) -> [usize; 2] {
            self.keys.each_ref().map(ReadyKeys::len)
        }
    }

    #[test]
    fn keys_are_kept_of_who_is_busy_until_it_is_forgotten() {
        let (mut ends, (mut from, mut to)) = (Ends::new(), pair());
        for _ in 0..USES_KEPT {
            assert_eq!(ends.kept(), [0, 0]);
            ends.say(7, (&mut from, &mut to));
        }
        for _ in 0..3 {
            ends.say(7, (&mut from, &mut to));
            assert_eq!(ends.kept(), [1, 1]);
        }
        ends.keys[0].forget(8);
        ends.keys[0].forget(7 + READY_CONNECTIONS_MAX as u32);
        assert_eq!(ends.kept(), [1, 1], "others were");
        ends.keys.iter_mut().for_each(|keys| keys.forget(7));
        assert_eq!(ends.kept(), [0, 0]);
        ends.say(7, (&mut from, &mut to));
    }

    #[test]
    fn a_key_that_changes_is_neither_used_nor_kept_any_more() {
        let (mut there, mut back, (mut one, mut other)) = (Ends::new(), Ends::new(), pair());
        let say_both = |there: &mut Ends, back: &mut Ends, one: &mut Record, other: &mut Record| {
            for _ in 0..2 * USES_KEPT {
                there.say(7, (&mut *one, &mut *other));
                back.say(7, (&mut *other, &mut *one));
            }
        };
        say_both(&mut there, &mut back, &mut one, &mut other);
        assert_eq!([there.kept(), back.kept()], [[1, 1]; 2]);
        // One changes its keys, and asks the other to.
        let mut update = one.asks_for_new_keys();
        let received = other.receive_with(&mut update, there.keys[1].lend(7, Way::Receive));
        assert_eq!((received.ended, there.kept()[1]), (None, 0));
        let mut answer = Vec::new();
        other.sealer_with(&mut answer, back.keys[0].lend(7, Way::Send)).end();
        let received = one.receive_with(&mut answer, back.keys[1].lend(7, Way::Receive));
        assert_eq!((received.ended, back.kept()), (None, [0, 0]));
        say_both(&mut there, &mut back, &mut one, &mut other);
        assert_eq!([there.kept(), back.kept()], [[1, 1]; 2]);
    }

    #[test]
    fn another_connection_of_the_same_number_or_place_is_never_given_a_key_that_is_not_its_own() {
        let mut ends = Ends::new();
        let ((mut from, mut to), (mut other, mut its_end)) = (pair(), pair());
        let beside = 7 + READY_CONNECTIONS_MAX as u32;
        (0..2 * USES_MAX).for_each(|_| ends.say(7, (&mut from, &mut to)));
        for _ in 0..2 * USES_MAX {
            ends.say(7, (&mut from, &mut to));
            ends.say(beside, (&mut other, &mut its_end));
        }
        assert_eq!(ends.kept(), [1, 1]);
        // It is not told that the first has gone.
        for _ in 0..2 * USES_MAX {
            ends.say(7, (&mut other, &mut its_end));
        }
    }

    #[test]
    fn who_is_told_something_now_and_then_displaces_nobody_who_is_busy_and_is_kept_nothing_of() {
        let mut ends = Ends::new();
        let (mut from, mut to) = pair();
        let mut crowd: Vec<_> =
            (1..=20).map(|number| (8 + number * READY_CONNECTIONS_MAX as u32, pair())).collect();
        for _ in 0..5 {
            for (connection, (from, to)) in &mut crowd {
                ends.say(*connection, (from, to));
            }
        }
        assert_eq!(ends.kept(), [0, 0]);
        (0..2 * USES_MAX).for_each(|_| ends.say(7, (&mut from, &mut to)));
        for _ in 0..5 {
            for (connection, (other, end)) in &mut crowd {
                ends.say(*connection - 1, (other, end));
                ends.say(7, (&mut from, &mut to));
            }
        }
        assert_eq!((ends.kept(), ends.keys[0].places[7].connection), ([1, 1], 7));
        // Once it says nothing any more, its place is another's.
        let (connection, (other, end)) = &mut crowd[1];
        (0..=USES_MAX + USES_KEPT).for_each(|_| ends.say(*connection - 1, (&mut *other, &mut *end)));
        assert_eq!((ends.kept(), ends.keys[0].places[7].connection), ([1, 1], *connection - 1));
    }
}
