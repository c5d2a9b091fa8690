//! Where a subscription sits inside its channel, and what it is shown of it, packed into four bytes.
//!
//! The membership table keeps one seat per subscription, so that leaving a channel needs no search: a connection
//! with a single subscription costs no more than its row in that table and its entry in the channel's list. What a subscriber of
//! `/ws` is shown beside what is published stands there as well, in numbers that no transport has, so that it costs nothing.
//!
//! ```text
//!   listed  00 │ transport, or 5, 6, 7: /ws that is shown something │ slot (27 bits)
//!   late    01 │ 0 │ what it is shown (2 bits)                      │ slot
//!   joining 10 │ join (30 bits)
//! ```

use crate::{
    limits::CONNECTIONS_PER_SHARD_MAX,
    mesh::JoinId,
    model::{Shown, Transport},
};

/// A packed [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat(u32);

/// The three places a subscription can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the channel's list of this transport.
    Listed { transport: Transport, slot: u32 },
    /// Among the channel's latecomers.
    Late { slot: u32 },
    /// Waiting for the channel's owner.
    Joining { join: JoinId },
}

const KIND_SHIFT: u32 = 30;
const LISTED: u32 = 0;
const LATE: u32 = 1;
const JOINING: u32 = 2;
const TRANSPORT_SHIFT: u32 = 27;
const SLOT_MASK: u32 = (1 << TRANSPORT_SHIFT) - 1;
const PAYLOAD_MASK: u32 = (1 << KIND_SHIFT) - 1;

const _: () = assert!(CONNECTIONS_PER_SHARD_MAX <= SLOT_MASK);
/// Behind the transports: `/ws` that is shown the state, who is there, or both.
const SHOWN: u32 = Transport::ALL.len() as u32;
const SHOWN_MASK: u32 = 3;

const _: () = assert!(SHOWN + SHOWN_MASK <= 1 << (KIND_SHIFT - TRANSPORT_SHIFT));

impl Seat {
    /// Packs a place. A slot is below the number of connections and so always fits; a join's number is bounded by
    /// the joins under way and is checked.
    pub(super) fn new(place: Place) -> Self {
        Self(match place {
            Place::Listed { transport, slot } => {
                debug_assert!(slot <= SLOT_MASK);
                LISTED << KIND_SHIFT | (transport as u32) << TRANSPORT_SHIFT | slot
            }
            Place::Late { slot } => {
                debug_assert!(slot <= SLOT_MASK);
                LATE << KIND_SHIFT | slot
            }
            Place::Joining { join } => {
                assert!(join <= PAYLOAD_MASK, "more joins under way than a seat can number");
                JOINING << KIND_SHIFT | join
            }
        })
    }

    /// The packed form, for a table that keeps something else in the same four bytes.
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// Takes back what [`Self::bits`] gave.
    pub(super) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Unpacks the place.
    pub(super) fn place(self) -> Place {
        match self.0 >> KIND_SHIFT {
            LISTED => Place::Listed {
                transport: Transport::ALL.get(self.middle() as usize).copied().unwrap_or(Transport::Json),
                slot: self.0 & SLOT_MASK,
            },
            LATE => Place::Late { slot: self.0 & SLOT_MASK },
            _ => Place::Joining { join: self.0 & PAYLOAD_MASK },
        }
    }

    /// This seat, of a subscriber that is shown this; what others than those of `/ws` are shown is not kept.
    pub(super) fn showing(self, shown: Shown) -> Self {
        let bits = u32::from(shown.state) | u32::from(shown.presence) << 1;
        let middle = match (self.place(), bits) {
            (Place::Listed { transport: Transport::Json, .. }, 0) => Transport::Json as u32,
            (Place::Listed { transport: Transport::Json, .. }, _) => SHOWN + bits - 1,
            (Place::Late { .. }, _) => bits,
            (Place::Listed { .. } | Place::Joining { .. }, _) => return self,
        };
        Self(self.0 & !(PAYLOAD_MASK & !SLOT_MASK) | middle << TRANSPORT_SHIFT)
    }

    /// What a subscriber of `/ws` is shown, once it sits.
    pub(super) fn shown(self) -> Shown {
        let bits = match self.0 >> KIND_SHIFT {
            LISTED => (self.middle() + 1).saturating_sub(SHOWN),
            LATE => self.middle(),
            _ => 0,
        };
        Shown { state: bits & 1 != 0, presence: bits & 2 != 0 }
    }

    /// This seat, of whom sat elsewhere before; who only waited is shown what it was let in with.
    pub(super) fn after(self, before: Self) -> Self {
        match before.place() {
            Place::Listed { .. } | Place::Late { .. } => self.showing(before.shown()),
            Place::Joining { .. } => self,
        }
    }

    /// What stands between the kind and the slot.
    fn middle(self) -> u32 {
        (self.0 & PAYLOAD_MASK) >> TRANSPORT_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_unpacks_to_the_place_it_was_made_of() {
        let slots = [0, 1, CONNECTIONS_PER_SHARD_MAX - 1];
        let listed = Transport::ALL.map(|transport| slots.map(|slot| Place::Listed { transport, slot }));
        let late = slots.map(|slot| Place::Late { slot });
        let joining = [0, 1, PAYLOAD_MASK].map(|join| Place::Joining { join });
        for place in listed.into_iter().flatten().chain(late).chain(joining) {
            assert_eq!(Seat::new(place).place(), place);
            assert_eq!(Seat::new(place).shown(), Shown::default());
        }
    }

    #[test]
    fn what_a_subscriber_of_ws_is_shown_stands_beside_its_place() {
        let all = [(false, false), (true, false), (false, true), (true, true)];
        let all = all.map(|(state, presence)| Shown { state, presence });
        let slot = CONNECTIONS_PER_SHARD_MAX - 1;
        for place in [Place::Listed { transport: Transport::Json, slot }, Place::Late { slot }] {
            let mut seat = Seat::new(place);
            for shown in all.into_iter().chain(all) {
                seat = seat.showing(shown);
                assert_eq!((seat.place(), seat.shown()), (place, shown));
            }
        }
        for place in
            [Place::Listed { transport: Transport::SocketIo, slot }, Place::Joining { join: PAYLOAD_MASK }]
        {
            let seat = Seat::new(place).showing(all[3]);
            assert_eq!((seat.place(), seat.shown()), (place, all[0]));
        }
    }
}
