//! Which channels each connection of this shard is subscribed to, or waits to join, and where it sits there.
//!
//! A subscriber is a connection or a Socket.IO socket ([`SocketId::subscriber`]); each kind has a table of its own, and
//! what is said here of connections holds for both. One row of 12 bytes per connection, indexed by its index. A row holds a single subscription itself;
//! two or more live in the overflow, sorted by channel so that a connection with very many still finds one quickly.
//! The channels' own lists of subscribers are in [`super::audience`]; the hub keeps the two in step.

use smallvec::{SmallVec, smallvec};

use super::{channel::ChannelIndex, seat::Seat};
use crate::model::{ConnectionId, SocketId};

/// The membership of every connection of the shard.
#[derive(Debug)]
pub(super) struct Memberships {
    /// Grows to the highest index seen. Room for all is reserved at once, and untouched pages cost nothing.
    rows: Rows,
    overflow: Vec<Members>,
    overflow_free: Vec<u32>,
    held: u32,
}

/// The rows of connections and those of Socket.IO sockets.
#[derive(Debug)]
struct Rows {
    connections: Vec<Row>,
    sockets: Vec<Row>,
}

/// One subscription of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) channel: ChannelIndex,
    pub(super) seat: Seat,
}

/// All of a connection's subscriptions; no heap block unless there are more than two.
pub(super) type Members = SmallVec<[Member; 2]>;

/// A connection's row: nothing, one subscription, or a reference to the overflow, told apart by `channel`.
#[derive(Clone, Copy, Debug)]
struct Row {
    generation: u32,
    /// The single subscription's channel, or [`NONE`], or [`MANY`].
    channel: ChannelIndex,
    /// The single subscription's [`Seat`], or an index into the overflow.
    word: u32,
}

const NONE: ChannelIndex = ChannelIndex::MAX;
const MANY: ChannelIndex = ChannelIndex::MAX - 1;
const EMPTY: Row = Row { generation: 0, channel: NONE, word: 0 };

// The budget of an idle subscribed connection: this row, and four bytes in the channel's list, doubled at worst by
// the list's spare capacity. Together 20 of the 24 bytes the hub may take.
/// What a connection takes here, with at most one subscription.
pub(super) const BYTES_PER_CONNECTION: usize = size_of::<Row>();

const _: () = assert!(BYTES_PER_CONNECTION == 12);
const _: () = assert!(size_of::<Member>() == 8);

impl Memberships {
    /// Reserves room for every connection the shard can number.
    pub(super) fn new(connections_max: u32) -> Self {
        Self {
            rows: Rows {
                connections: Vec::with_capacity(connections_max as usize),
                sockets: Vec::with_capacity(connections_max as usize),
            },
            overflow: Vec::new(),
            overflow_free: Vec::new(),
            held: 0,
        }
    }

    /// Adds a subscription the connection does not have yet.
    pub(super) fn insert(&mut self, connection: ConnectionId, member: Member) {
        let row = *self.rows.make(connection.index);
        // Subscriptions of a closed connection would be delivered to whoever has its index now.
        assert!(row.channel == NONE || row.generation == connection.generation, "leave_all was forgotten");
        let (channel, word) = match row.channel {
            NONE => (member.channel, member.seat.bits()),
            MANY => {
                let members = &mut self.overflow[row.word as usize];
                let at = members.partition_point(|other| other.channel < member.channel);
                members.insert(at, member);
                (MANY, row.word)
            }
            channel => {
                let mut members: Members =
                    smallvec![Member { channel, seat: Seat::from_bits(row.word) }, member];
                members.sort_unstable_by_key(|member| member.channel);
                (MANY, self.keep_overflow(members))
            }
        };
        *self.rows.at(connection.index) = Row { generation: connection.generation, channel, word };
        self.held += 1;
    }

    /// Moves a subscription to another seat of its channel, where it is shown what it was before.
    pub(super) fn reseat(&mut self, connection: u32, member: Member) {
        let row = self.rows.at(connection);
        if row.channel == MANY {
            let members = &mut self.overflow[row.word as usize];
            let at = position_of(members, member.channel).expect("a seated connection is a member");
            members[at].seat = member.seat.after(members[at].seat);
        } else {
            debug_assert_eq!(row.channel, member.channel);
            row.word = member.seat.after(Seat::from_bits(row.word)).bits();
        }
    }

    /// Removes one subscription and tells its seat; `None` for a stale connection or one that has no such
    /// subscription.
    pub(super) fn remove(&mut self, connection: ConnectionId, channel: ChannelIndex) -> Option<Seat> {
        let row = *self.row(connection)?;
        let (seat, left) = match row.channel {
            NONE => return None,
            MANY => {
                let members = &mut self.overflow[row.word as usize];
                let at = position_of(members, channel)?;
                let seat = members.remove(at).seat;
                match members[..] {
                    [last] => {
                        self.release_overflow(row.word);
                        (seat, Row { channel: last.channel, word: last.seat.bits(), ..row })
                    }
                    _ => (seat, row),
                }
            }
            only if only == channel => (Seat::from_bits(row.word), EMPTY),
            _ => return None,
        };
        *self.rows.at(connection.index) = left;
        self.held -= 1;
        Some(seat)
    }

    /// Removes and returns everything a connection has; nothing for a stale one.
    pub(super) fn take_all(&mut self, connection: ConnectionId) -> Members {
        let Some(row) = self.row(connection).copied() else { return Members::new() };
        let members: Members = match row.channel {
            NONE => Members::new(),
            MANY => self.release_overflow(row.word),
            channel => smallvec![Member { channel, seat: Seat::from_bits(row.word) }],
        };
        *self.rows.at(connection.index) = EMPTY;
        self.held -= members.len() as u32;
        members
    }

    /// Whether a connection has a subscription to this channel.
    pub(super) fn contains(&self, connection: ConnectionId, channel: ChannelIndex) -> bool {
        self.row(connection).is_some_and(|row| self.has(row, channel))
    }

    /// Where a connection's subscription to this channel sits.
    pub(super) fn seat(&self, connection: ConnectionId, channel: ChannelIndex) -> Option<Seat> {
        let row = self.row(connection)?;
        match row.channel {
            MANY => {
                let members = &self.overflow[row.word as usize];
                position_of(members, channel).map(|at| members[at].seat)
            }
            only => (only == channel).then(|| Seat::from_bits(row.word)),
        }
    }

    /// How many subscriptions a connection has.
    pub(super) fn count(&self, connection: u32) -> u32 {
        match self.rows.get(connection) {
            None | Some(Row { channel: NONE, .. }) => 0,
            Some(Row { channel: MANY, word, .. }) => self.overflow[*word as usize].len() as u32,
            Some(_) => 1,
        }
    }

    /// The channel of a connection that has exactly one subscription.
    pub(super) fn only(&self, connection: u32) -> Option<ChannelIndex> {
        self.rows.get(connection).map(|row| row.channel).filter(|channel| *channel < MANY)
    }

    /// Whether the connection with this index, whichever it is, has a subscription to this channel.
    pub(super) fn contains_index(&self, connection: u32, channel: ChannelIndex) -> bool {
        self.rows.get(connection).is_some_and(|row| self.has(row, channel))
    }

    /// Every channel a connection is subscribed to or waits to join.
    pub(super) fn channels(&self, connection: u32) -> SmallVec<[ChannelIndex; 2]> {
        match self.rows.get(connection) {
            None | Some(Row { channel: NONE, .. }) => SmallVec::new(),
            Some(Row { channel: MANY, word, .. }) => {
                self.overflow[*word as usize].iter().map(|member| member.channel).collect()
            }
            Some(row) => smallvec![row.channel],
        }
    }

    /// Subscriptions held by all connections together.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    fn row(&self, connection: ConnectionId) -> Option<&Row> {
        self.rows.get(connection.index).filter(|row| row.generation == connection.generation)
    }

    fn has(&self, row: &Row, channel: ChannelIndex) -> bool {
        match row.channel {
            MANY => position_of(&self.overflow[row.word as usize], channel).is_some(),
            only => only == channel,
        }
    }

    fn keep_overflow(&mut self, members: Members) -> u32 {
        match self.overflow_free.pop() {
            Some(index) => {
                self.overflow[index as usize] = members;
                index
            }
            None => {
                self.overflow.push(members);
                self.overflow.len() as u32 - 1
            }
        }
    }

    fn release_overflow(&mut self, index: u32) -> Members {
        self.overflow_free.push(index);
        std::mem::take(&mut self.overflow[index as usize])
    }
}

impl Rows {
    /// The row of an index that has one.
    fn at(&mut self, index: u32) -> &mut Row {
        match SocketId::index_of(index) {
            Some(socket) => &mut self.sockets[socket as usize],
            None => &mut self.connections[index as usize],
        }
    }

    /// The row of an index, made if there is none yet.
    fn make(&mut self, index: u32) -> &mut Row {
        let (rows, index) = match SocketId::index_of(index) {
            Some(socket) => (&mut self.sockets, socket as usize),
            None => (&mut self.connections, index as usize),
        };
        if index >= rows.len() {
            rows.resize(index + 1, EMPTY);
        }
        &mut rows[index]
    }

    fn get(&self, index: u32) -> Option<&Row> {
        match SocketId::index_of(index) {
            Some(socket) => self.sockets.get(socket as usize),
            None => self.connections.get(index as usize),
        }
    }
}

fn position_of(members: &[Member], channel: ChannelIndex) -> Option<usize> {
    members.binary_search_by_key(&channel, |member| member.channel).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hub::seat::Place, model::Transport};

    const ALICE: ConnectionId = ConnectionId { index: 3, generation: 1 };

    fn member(channel: ChannelIndex) -> Member {
        Member { channel, seat: Seat::new(Place::Listed { transport: Transport::Json, slot: channel * 10 }) }
    }

    #[test]
    fn subscriptions_move_to_the_overflow_at_two_and_back_at_one() {
        let mut memberships = Memberships::new(8);
        for (count, channel) in [(1, 5), (2, 2), (3, 9)] {
            memberships.insert(ALICE, member(channel));
            assert_eq!(memberships.count(ALICE.index), count);
        }
        assert_eq!(memberships.only(ALICE.index), None);
        assert_eq!(memberships.remove(ALICE, 5), Some(member(5).seat));
        assert_eq!(memberships.remove(ALICE, 5), None);
        assert!(memberships.contains(ALICE, 2) && !memberships.contains(ALICE, 5));
        assert_eq!(memberships.remove(ALICE, 2), Some(member(2).seat));
        assert_eq!(memberships.only(ALICE.index), Some(9));
        assert_eq!(memberships.remove(ALICE, 9), Some(member(9).seat));
        assert_eq!((memberships.count(ALICE.index), memberships.held()), (0, 0));
        assert_eq!(memberships.only(ALICE.index), None);
    }

    #[test]
    fn a_stale_connection_has_nothing_and_takes_nothing() {
        let mut memberships = Memberships::new(8);
        memberships.insert(ALICE, member(5));
        let stale = ConnectionId { generation: 0, ..ALICE };
        assert_eq!(memberships.remove(stale, 5), None);
        assert!(memberships.take_all(stale).is_empty() && !memberships.contains(stale, 5));
        assert_eq!(memberships.take_all(ALICE)[..], [member(5)]);
        assert_eq!(memberships.held(), 0);
    }

    #[test]
    fn all_subscriptions_are_taken_from_row_and_overflow_alike() {
        let mut memberships = Memberships::new(8);
        for count in [1, 2, 3, 40] {
            (0..count).rev().for_each(|channel| memberships.insert(ALICE, member(channel)));
            let taken = memberships.take_all(ALICE);
            assert_eq!(taken[..], (0..count).map(member).collect::<Vec<_>>());
            assert_eq!((memberships.count(ALICE.index), memberships.held()), (0, 0));
        }
        assert_eq!(memberships.overflow.len(), 1, "the overflow's entries are used again");
    }

    #[test]
    fn a_reseated_subscription_is_found_at_its_new_seat() {
        let mut memberships = Memberships::new(8);
        let moved = |channel| Member { channel, seat: Seat::new(Place::Late { slot: 1 }) };
        memberships.insert(ALICE, member(1));
        memberships.reseat(ALICE.index, moved(1));
        memberships.insert(ALICE, member(2));
        memberships.reseat(ALICE.index, moved(2));
        assert_eq!(memberships.take_all(ALICE)[..], [moved(1), moved(2)]);
    }

    #[test]
    #[should_panic(expected = "leave_all was forgotten")]
    fn a_new_connection_cannot_inherit_the_subscriptions_of_an_old_one() {
        let mut memberships = Memberships::new(8);
        memberships.insert(ALICE, member(1));
        memberships.insert(ConnectionId { generation: 2, ..ALICE }, member(2));
    }
}
