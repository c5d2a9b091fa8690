//! What the connections of this shard have entered, as far as their owners have said, and what they ask to enter.
//!
//! An owner may refuse, and a client need not wait for the answer before it asks again, or leaves. So an answer is that to
//! one entry, by its number, and what is refused leaves everything as it was:
//!
//! ```text
//!   enter 1 ─► asked [1]        answer to 1 ─► there 1
//!   enter 2 ─► asked [2]        refused     ─► there 1, still
//!   leave   ─► nothing, and the owner is told for whom it may have been
//! ```
//!
//! Invariant: a connection stands here with a channel for as long as its owner may count it there.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::{
    mesh::{Entry, LeftEntry},
    model::{ChannelName, ConnectionId, StateKey},
};

/// The entries of a shard's connections.
#[derive(Debug, Default)]
pub(super) struct Entries {
    all: FxHashMap<ConnectionId, Vec<Slot>>,
    /// The last number given.
    numbers: u32,
}

/// One channel of one connection.
#[derive(Debug)]
struct Slot {
    channel: ChannelName,
    /// What the owner has let in.
    there: Option<Entry>,
    /// What the owner has not answered, in the order asked.
    asked: SmallVec<[Entry; 1]>,
}

impl Entries {
    /// A connection asks to enter a channel, or to say something else there; `None` when it has entered too many.
    pub(super) fn ask(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        id: StateKey,
        info: Box<str>,
        count_max: usize,
    ) -> Option<Entry> {
        let slots = self.all.entry(connection).or_default();
        let place = slots.iter().position(|slot| slot.channel == *channel);
        let place = match place {
            Some(place) => place,
            None if slots.len() >= count_max => {
                if slots.is_empty() {
                    self.all.remove(&connection);
                }
                return None;
            }
            None => {
                slots.push(Slot { channel: channel.clone(), there: None, asked: SmallVec::new() });
                slots.len() - 1
            }
        };
        let slot = &mut slots[place];
        self.numbers = self.numbers.wrapping_add(1);
        let mut before = slot.ids();
        before.retain(|other| *other != id);
        let entry = Entry { id, info, connection, before, number: self.numbers };
        slot.asked.push(entry.clone());
        Some(entry)
    }

    /// An owner has answered. Who has left since is not put back.
    pub(super) fn answer(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        number: u32,
        is_in: bool,
    ) {
        let Some(slots) = self.all.get_mut(&connection) else { return };
        let Some(place) = slots.iter().position(|slot| slot.channel == *channel) else { return };
        let slot = &mut slots[place];
        let Some(answered) = slot.asked.iter().position(|entry| entry.number == number) else { return };
        let entry = slot.asked.remove(answered);
        if is_in {
            slot.there = Some(Entry { before: Vec::new(), ..entry });
        }
        if slot.is_empty() {
            slots.swap_remove(place);
        }
        if slots.is_empty() {
            self.all.remove(&connection);
        }
    }

    /// A connection leaves a channel: for whom it may be there, if it may.
    pub(super) fn take(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
    ) -> Option<Box<[StateKey]>> {
        let slots = self.all.get_mut(&connection)?;
        let place = slots.iter().position(|slot| slot.channel == *channel)?;
        let slot = slots.swap_remove(place);
        if slots.is_empty() {
            self.all.remove(&connection);
        }
        Some(slot.ids().into())
    }

    /// A connection leaves all it has entered.
    pub(super) fn take_all(
        &mut self,
        connection: ConnectionId,
    ) -> impl Iterator<Item = (ChannelName, Box<[StateKey]>)> + use<> {
        let slots = match self.all.is_empty() {
            true => None,
            false => self.all.remove(&connection),
        };
        slots.into_iter().flatten().map(|slot| {
            let ids = slot.ids().into();
            (slot.channel, ids)
        })
    }

    /// The owner of some channels begins anew: what is to be entered there again. What it had not answered is over.
    pub(super) fn lose(&mut self, is_its: impl Fn(&ChannelName) -> bool) -> Vec<(ChannelName, Entry)> {
        let mut again = Vec::new();
        for slots in self.all.values_mut() {
            for slot in slots.iter_mut().filter(|slot| is_its(&slot.channel)) {
                slot.asked.clear();
                again.extend(slot.there.clone().map(|entry| (slot.channel.clone(), entry)));
            }
            slots.retain(|slot| !slot.is_empty());
        }
        self.all.retain(|_, slots| !slots.is_empty());
        again
    }

    /// The channels that a connection has entered, or asks to enter.
    pub(super) fn channels(&self, connection: ConnectionId) -> impl Iterator<Item = &ChannelName> {
        self.all.get(&connection).into_iter().flatten().map(|slot| &slot.channel)
    }

    /// What a connection has entered, if it asks nothing more and is a user everywhere.
    pub(super) fn settled(&self, connection: ConnectionId) -> Option<Vec<LeftEntry>> {
        let slots = self.all.get(&connection).into_iter().flatten();
        slots
            .map(|Slot { channel, there, asked }| {
                let Entry { id, info, .. } = there.as_ref().filter(|_| asked.is_empty())?;
                let entry = || LeftEntry { channel: channel.clone(), id: id.clone(), info: info.clone() };
                id.is_user().then(entry)
            })
            .collect()
    }

    /// Whether a connection is nowhere for a guest, and does not ask to be.
    pub(super) fn is_nobody_as_guest(&self, connection: ConnectionId) -> bool {
        let mut slots = self.all.get(&connection).into_iter().flatten();
        slots.all(|slot| slot.there.iter().chain(&slot.asked).all(|entry| entry.id.is_user()))
    }

    /// A connection goes on that has entered a channel in another process: what its owner is told.
    pub(super) fn restore(&mut self, connection: ConnectionId, left: LeftEntry) -> (ChannelName, Entry) {
        let LeftEntry { channel, id, info } = left;
        self.numbers = self.numbers.wrapping_add(1);
        let entry = Entry { id, info, connection, before: Vec::new(), number: self.numbers };
        let (there, asked) = (Some(entry.clone()), SmallVec::new());
        self.all.entry(connection).or_default().push(Slot { channel: channel.clone(), there, asked });
        (channel, entry)
    }

    /// Whether nobody has entered anything.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Slot {
    /// For whom its connection may be there.
    fn ids(&self) -> Vec<StateKey> {
        let mut ids = Vec::with_capacity(1);
        for entry in self.there.iter().chain(&self.asked) {
            if !ids.contains(&entry.id) {
                ids.push(entry.id.clone());
            }
        }
        ids
    }

    fn is_empty(&self) -> bool {
        self.there.is_none() && self.asked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    const WHO: ConnectionId = ConnectionId { index: 1, generation: 1 };

    fn room() -> ChannelName {
        ChannelName::new("room", 255).expect("a name")
    }

    fn ask(entries: &mut Entries, id: &StateKey) -> Entry {
        entries.ask(WHO, &room(), id.clone(), "".into(), 1).expect("there is room")
    }

    #[test]
    fn what_is_refused_leaves_the_connection_there_as_it_was() {
        let (mut entries, anna) = (Entries::default(), StateKey::of_user("anna"));
        let first = ask(&mut entries, &anna);
        let second = ask(&mut entries, &anna);
        entries.answer(WHO, &room(), first.number, true);
        entries.answer(WHO, &room(), second.number, false);
        assert_eq!(entries.take(WHO, &room()).as_deref(), Some(&[anna.clone()][..]));
        let third = ask(&mut entries, &anna);
        entries.answer(WHO, &room(), third.number, false);
        assert!(entries.is_empty(), "who has never been let in is not there");
    }

    #[test]
    fn an_answer_that_comes_after_a_leave_says_nothing_of_the_next_entry() {
        let (mut entries, anna) = (Entries::default(), StateKey::of_user("anna"));
        let first = ask(&mut entries, &anna);
        assert!(entries.take(WHO, &room()).is_some());
        let second = ask(&mut entries, &anna);
        entries.answer(WHO, &room(), first.number, false);
        entries.answer(WHO, &room(), second.number, true);
        assert_eq!(entries.lose(|_| true), [(room(), second)], "it is there by the second");
    }

    #[test]
    fn who_becomes_somebody_else_says_who_it_was() {
        let (guest, anna) = (StateKey::of_guest(ShardId(0), WHO), StateKey::of_user("anna"));
        let mut entries = Entries::default();
        let first = ask(&mut entries, &guest);
        let second = ask(&mut entries, &anna);
        assert_eq!((&first.before[..], &second.before[..]), (&[][..], &[guest.clone()][..]));
        entries.answer(WHO, &room(), first.number, true);
        entries.answer(WHO, &room(), second.number, false);
        let third = ask(&mut entries, &anna);
        assert_eq!(third.before, std::slice::from_ref(&guest), "it is still who it was");
        assert_eq!(entries.take(WHO, &room()).as_deref(), Some(&[guest, anna.clone()][..]));
        ask(&mut entries, &anna);
        assert_eq!(
            (entries.lose(|_| true), entries.is_empty()),
            (vec![], true),
            "what was not answered is over"
        );
    }
}
