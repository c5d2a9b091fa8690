//! Where a subscription sits inside its channel, packed into four bytes.
//!
//! The membership table keeps one seat per subscription, so that leaving a channel needs no search: a connection
//! with a single subscription costs no more than its row in that table and its entry in the channel's list.

use crate::{limits::CONNECTIONS_PER_SHARD_MAX, mesh::JoinId, model::Transport};

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
const _: () = assert!(Transport::ALL.len() <= 1 << (KIND_SHIFT - TRANSPORT_SHIFT));

impl Seat {
    /// Packs a place. A slot is below the number of connections and so always fits; a join's number is bounded by
    /// the joins under way and is checked.
    pub(super) fn new(place: Place) -> Self {
        Self(match place {
            Place::Listed { transport, slot } => {
                debug_assert!(slot <= SLOT_MASK);
                LISTED << KIND_SHIFT | (transport as u32) << TRANSPORT_SHIFT | slot
            }
            Place::Late { slot } => LATE << KIND_SHIFT | slot,
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
                transport: Transport::ALL[((self.0 & PAYLOAD_MASK) >> TRANSPORT_SHIFT) as usize],
                slot: self.0 & SLOT_MASK,
            },
            LATE => Place::Late { slot: self.0 & PAYLOAD_MASK },
            _ => Place::Joining { join: self.0 & PAYLOAD_MASK },
        }
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
        }
    }
}
