//! Who is present in one channel: members, each with the connections that hold it there.
//!
//! A member is a user, by its token, or a connection that belongs to nobody. A user with several connections is one member:
//! it enters with the first, and leaves when the last has been gone for the grace.
//!
//! ```text
//!   enter ─► Enter ─┬─ enter, another connection ─► nothing ─┐
//!                   └─ a connection goes ─► others are there: nothing; none: the grace begins ─┬─ enter ─► nothing
//!                                                                                              └─ over ─► Leave
//! ```
//!
//! Invariant: each [`Told::Enter`] of a member is followed by one [`Told::Leave`] of it, and by no other [`Told::Enter`]
//! before. When something is told of, and how, is not decided here (`presences.rs`).

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use smallvec::SmallVec;

use super::state::NEVER;
use crate::{
    limits::PRESENCE_PAGE_BYTES_MAX,
    model::{ConnectionId, MemberReport, PresencePage, ShardId, StateKey},
};

/// The members of a channel that has some.
#[derive(Debug, Default)]
pub(super) struct Members {
    members: BTreeMap<StateKey, Member>,
    /// How many of them are users.
    users: u32,
    /// The connections of all of them.
    connections: u32,
    /// Bytes of all names and of what members say of themselves.
    bytes: u64,
}

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    /// What others may know of it, as JSON; empty for nothing.
    pub(super) info: Box<str>,
    /// The connections that hold it here.
    seats: SmallVec<[Presence; 1]>,
    /// When it leaves, once it has none; [`NEVER`] while it has one.
    pub(super) leaves_ms: u64,
}

/// A connection somewhere.
pub(super) type Presence = (ShardId, ConnectionId);

/// What there is to tell of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Enter,
    /// It says something else of itself.
    Update,
    Leave,
    /// Its last connection is gone, and it leaves then unless it comes back.
    Going(u64),
}

/// What a member costs beside its name and what it says of itself.
const OVERHEAD_BYTES: u64 = (2 * size_of::<(StateKey, Member)>() + 4 * size_of::<usize>()) as u64;

impl Members {
    /// A connection enters for a member, or says something new of it.
    pub(super) fn enter(&mut self, id: &StateKey, info: Box<str>, seat: Presence) -> Told {
        let Some(member) = self.members.get_mut(id) else {
            self.connections += 1;
            self.users += u32::from(id.is_user());
            self.bytes += bytes_of(id, &info);
            let member = Member { info, seats: SmallVec::from_buf([seat]), leaves_ms: NEVER };
            self.members.insert(id.clone(), member);
            return Told::Enter;
        };
        member.leaves_ms = NEVER;
        if !member.seats.contains(&seat) {
            member.seats.push(seat);
            self.connections += 1;
        }
        if member.info == info {
            return Told::Nothing;
        }
        self.bytes = self.bytes + bytes_of(id, &info) - bytes_of(id, &member.info);
        member.info = info;
        Told::Update
    }

    /// A connection goes, and its member with it unless it has others or comes back within the grace.
    pub(super) fn depart(&mut self, id: &StateKey, seat: Presence, leaves_ms: u64) -> Told {
        let Some(member) = self.members.get_mut(id) else { return Told::Nothing };
        let Some(place) = member.seats.iter().position(|one| *one == seat) else { return Told::Nothing };
        member.seats.swap_remove(place);
        self.connections -= 1;
        self.go(id, leaves_ms)
    }

    /// All connections of a shard are gone; the members that have no other.
    pub(super) fn lose(&mut self, shard: ShardId, leaves_ms: u64) -> Vec<StateKey> {
        let (mut going, mut lost) = (Vec::new(), 0);
        for (id, member) in &mut self.members {
            let before = member.seats.len();
            member.seats.retain(|(of, _)| *of != shard);
            lost += before - member.seats.len();
            if before > 0 && member.seats.is_empty() {
                member.leaves_ms = leaves_ms;
                going.push(id.clone());
            }
        }
        self.connections -= lost as u32;
        going
    }

    /// The time of a member is over, unless it has come back or goes later.
    pub(super) fn pass(&mut self, id: &StateKey, now_ms: u64) -> Told {
        match self.members.get(id) {
            Some(member) if member.leaves_ms <= now_ms => self.go(id, 0),
            Some(_) | None => Told::Nothing,
        }
    }

    /// A member leaves, with all its connections.
    pub(super) fn expel(&mut self, id: &StateKey) -> Told {
        let Some(member) = self.members.get_mut(id) else { return Told::Nothing };
        self.connections -= member.seats.len() as u32;
        member.seats.clear();
        self.go(id, 0)
    }

    /// A user that was present before the process began comes back until then, or leaves.
    pub(super) fn await_return(&mut self, id: &StateKey, info: Box<str>, leaves_ms: u64) -> Told {
        if !self.members.contains_key(id) {
            self.users += u32::from(id.is_user());
            self.bytes += bytes_of(id, &info);
            self.members.insert(id.clone(), Member { info, seats: SmallVec::new(), leaves_ms });
        }
        Told::Going(leaves_ms)
    }

    /// The users, and what others may know of each.
    pub(super) fn into_users(self) -> Vec<(StateKey, Box<str>)> {
        let users = self.members.into_iter().filter(|(id, _)| id.is_user());
        users.map(|(id, member)| (id, member.info)).collect()
    }

    /// All of them.
    pub(super) fn ids(&self) -> Vec<StateKey> {
        self.members.keys().cloned().collect()
    }

    /// A member that is there.
    pub(super) fn get(&self, id: &StateKey) -> Option<&Member> {
        self.members.get(id)
    }

    /// So many members behind one, in their order, and no more bytes than a page has, but at least one; and how many there
    /// are.
    pub(super) fn page(&self, after: Option<&StateKey>, limit: usize) -> PresencePage {
        let start = after.map_or(Unbounded, Excluded);
        let mut behind = self.members.range::<StateKey, _>((start, Unbounded)).peekable();
        let (mut members, mut left) = (Vec::new(), PRESENCE_PAGE_BYTES_MAX);
        while members.len() < limit
            && let Some((id, member)) = behind
                .next_if(|(id, member)| left >= bytes_of(id, &member.info) as usize || members.is_empty())
        {
            left = left.saturating_sub(bytes_of(id, &member.info) as usize);
            let connections = member.seats.len() as u32;
            members.push(MemberReport { id: id.clone(), info: member.info.clone(), connections });
        }
        let (users, all) = (self.users, self.members.len() as u32);
        PresencePage {
            position: None,
            users,
            guests: all - users,
            connections: self.connections,
            members,
            has_more: behind.next().is_some(),
        }
    }

    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is there.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many of them are users.
    pub(super) fn users(&self) -> u32 {
        self.users
    }

    /// How many connections they have.
    pub(super) fn connections(&self) -> u32 {
        self.connections
    }

    /// What keeping them costs.
    pub(super) fn cost(&self) -> u64 {
        self.bytes + self.members.len() as u64 * OVERHEAD_BYTES
    }

    /// How many members there would be, and what they would cost, without this one and without those of the others that are
    /// there by this connection alone.
    pub(super) fn without(&self, id: &StateKey, others: &[StateKey], seat: Presence) -> (usize, u64) {
        let is_alone = |other: &&StateKey| {
            let seats = self.members.get(other).map(|member| &member.seats[..]);
            seats.is_some_and(|seats| seats == [seat])
        };
        let gone = others.iter().filter(is_alone).chain([id]);
        gone.filter_map(|id| self.members.get_key_value(id))
            .fold((self.members.len(), self.cost()), |(count, cost), (id, member)| {
                (count - 1, cost - Self::cost_of(id, &member.info))
            })
    }

    /// What one more would cost.
    pub(super) fn cost_of(id: &StateKey, info: &str) -> u64 {
        bytes_of(id, info) + OVERHEAD_BYTES
    }

    /// Lets a member without connections go, now or then.
    fn go(&mut self, id: &StateKey, leaves_ms: u64) -> Told {
        let Some(member) = self.members.get_mut(id).filter(|member| member.seats.is_empty()) else {
            return Told::Nothing;
        };
        if leaves_ms > 0 {
            member.leaves_ms = leaves_ms;
            return Told::Going(leaves_ms);
        }
        self.bytes -= bytes_of(id, &member.info);
        self.users -= u32::from(id.is_user());
        self.members.remove(id);
        Told::Leave
    }
}

fn bytes_of(id: &StateKey, info: &str) -> u64 {
    (id.as_str().len() + info.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(shard: u16, index: u32) -> Presence {
        (ShardId(shard), ConnectionId { index, generation: 1 })
    }

    fn anna() -> StateKey {
        StateKey::of_user("anna")
    }

    fn counts(members: &Members) -> (usize, u32, u32) {
        (members.len(), members.users(), members.connections())
    }

    #[test]
    fn a_user_enters_with_its_first_connection_and_leaves_with_its_last_after_the_grace() {
        let (mut members, id) = (Members::default(), anna());
        assert_eq!(members.enter(&id, "1".into(), seat(0, 1)), Told::Enter);
        assert_eq!(members.enter(&id, "1".into(), seat(1, 1)), Told::Nothing);
        assert_eq!(members.enter(&id, "1".into(), seat(1, 1)), Told::Nothing, "it was there");
        assert_eq!(members.enter(&id, "22".into(), seat(1, 1)), Told::Update);
        assert_eq!(counts(&members), (1, 1, 2));
        assert_eq!(members.depart(&id, seat(0, 1), 50), Told::Nothing);
        assert_eq!(members.depart(&id, seat(0, 1), 50), Told::Nothing, "it is gone already");
        assert_eq!(members.depart(&id, seat(1, 1), 50), Told::Going(50));
        assert_eq!((members.pass(&id, 49), counts(&members)), (Told::Nothing, (1, 1, 0)));
        assert_eq!((members.pass(&id, 50), counts(&members)), (Told::Leave, (0, 0, 0)));
        assert_eq!((members.pass(&id, 51), members.cost()), (Told::Nothing, 0));
    }

    #[test]
    fn who_comes_back_within_the_grace_has_never_left() {
        let (mut members, id) = (Members::default(), anna());
        members.enter(&id, "".into(), seat(0, 1));
        members.depart(&id, seat(0, 1), 50);
        assert_eq!(members.enter(&id, "".into(), seat(0, 2)), Told::Nothing);
        assert_eq!(members.pass(&id, 50), Told::Nothing);
        assert_eq!(members.depart(&id, seat(0, 2), 0), Told::Leave, "without a grace it is gone at once");
        assert_eq!(members.enter(&id, "".into(), seat(0, 3)), Told::Enter);
    }

    #[test]
    fn a_shard_takes_its_connections_and_those_who_have_another_stay() {
        let mut members = Members::default();
        let (both, one, guest) =
            (anna(), StateKey::of_user("bob"), StateKey::of_guest(ShardId(1), seat(1, 9).1));
        for (id, seat) in [(&both, seat(0, 1)), (&both, seat(1, 1)), (&one, seat(1, 2)), (&guest, seat(1, 9))]
        {
            members.enter(id, "".into(), seat);
        }
        assert_eq!(members.lose(ShardId(1), 70), [guest.clone(), one.clone()]);
        assert_eq!(counts(&members), (3, 2, 1));
        assert_eq!(members.lose(ShardId(1), 90), [], "they are going already");
        assert_eq!((members.pass(&one, 69), members.pass(&one, 70)), (Told::Nothing, Told::Leave));
        assert_eq!(members.pass(&guest, NEVER), Told::Leave);
    }

    #[test]
    fn pages_go_through_the_members_and_end_at_so_many_bytes() {
        let mut members = Members::default();
        for number in 0..5 {
            let info = "x".repeat(PRESENCE_PAGE_BYTES_MAX / 2).into();
            members.enter(&StateKey::of_user(&number.to_string()), info, seat(0, number));
        }
        let names = |page: &PresencePage| {
            page.members.iter().map(|one| one.id.member().to_owned()).collect::<Vec<_>>()
        };
        let first = members.page(None, 100);
        assert_eq!((names(&first), first.has_more, first.users), (vec!["0".to_owned()], true, 5));
        let after = StateKey::of_user("3");
        let last = members.page(Some(&after), 100);
        assert_eq!((names(&last), last.has_more), (vec!["4".to_owned()], false));
        assert_eq!(members.page(None, 0).members, []);
    }
}
