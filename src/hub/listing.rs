//! Lists of channels that are being made: all of them in one walk around the table, so many channels a turn.
//!
//! ```text
//!   table │ seen by A and B │ seen by neither │ seen by A │
//!         └ 0               └ cursor          └ B began   └ A began at the end, and has seen all behind it
//! ```
//!
//! Invariant: a channel that is known from a list's beginning to its end has been seen by it once: a channel keeps its
//! place in the table, which grows and shrinks at its end.

use std::collections::BinaryHeap;

use super::channel::{Channel, ChannelIndex, Channels};
use crate::{
    mesh::Visible,
    model::{ChannelName, ShardId, Ticket},
};

/// The lists under way.
#[derive(Debug, Default)]
pub(super) struct Listings {
    active: Vec<Listing>,
    cursor: ChannelIndex,
}

/// One list.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) ticket: Ticket,
    /// Where the asker is.
    pub(super) from: ShardId,
    prefix: Box<str>,
    limit: usize,
    visible: Visible,
    /// Where the cursor was when it began.
    start: ChannelIndex,
    /// Whether the cursor has been at the end of the table since.
    is_around: bool,
    /// The first names so far, the last of them on top.
    names: BinaryHeap<ChannelName>,
}

impl Listings {
    /// Begins a list of the first `limit` visible channels by name whose names begin with `prefix`.
    pub(super) fn begin(
        &mut self,
        ticket: Ticket,
        from: ShardId,
        prefix: Box<str>,
        limit: u32,
        visible: Visible,
    ) {
        let (limit, start) = (limit as usize, self.cursor);
        let names = BinaryHeap::new();
        self.active.push(Listing { ticket, from, prefix, limit, visible, start, is_around: false, names });
    }

    /// Gives up a list that nobody waits for any more.
    pub(super) fn withdraw(&mut self, ticket: Ticket, from: ShardId) {
        self.active.retain(|listing| listing.ticket != ticket || listing.from != from);
    }

    /// Gives up the lists that a shard has asked for.
    pub(super) fn withdraw_all(&mut self, from: ShardId) {
        self.active.retain(|listing| listing.from != from);
    }

    /// Whether no list is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Looks at one more channel, for all lists; gives those that are whole by now.
    pub(super) fn step(&mut self, channels: &Channels) -> Vec<Listing> {
        let mut whole = Vec::new();
        self.take_whole(&mut whole);
        if self.cursor >= channels.end() {
            self.cursor = 0;
            for listing in &mut self.active {
                listing.is_around = true;
                // The table may be shorter than when it began.
                listing.start = listing.start.min(channels.end());
            }
            self.take_whole(&mut whole);
        }
        if let Some(channel) = channels.get(self.cursor) {
            self.active.iter_mut().for_each(|listing| listing.see(channel));
        }
        self.cursor += 1;
        whole
    }

    fn take_whole(&mut self, whole: &mut Vec<Listing>) {
        let cursor = self.cursor;
        if self.active.iter().any(|listing| listing.is_whole(cursor)) {
            whole.extend(self.active.extract_if(.., |listing| listing.is_whole(cursor)));
        }
    }
}

impl Listing {
    /// The names, in order.
    pub(super) fn into_names(self) -> Vec<ChannelName> {
        self.names.into_sorted_vec()
    }

    fn is_whole(&self, cursor: ChannelIndex) -> bool {
        self.is_around && cursor >= self.start
    }

    fn see(&mut self, channel: &Channel) {
        let is_among_first = || self.names.len() < self.limit || self.names.peek() > Some(&channel.name);
        let name = channel.name.as_str();
        if !name.starts_with(&*self.prefix) || !is_among_first() || !self.visible.shows(name) {
            return;
        }
        self.names.push(channel.name.clone());
        if self.names.len() > self.limit {
            self.names.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{channel::Role, stream::Stream};

    const TICKET: Ticket =
        Ticket { connection: crate::model::ConnectionId { index: 1, generation: 0 }, token: 2 };

    fn insert(channels: &mut Channels, name: &str) -> ChannelIndex {
        channels.insert(ChannelName::new(name, 255).unwrap(), Role::Owner(Stream::new(1, 0)))
    }

    fn steps(listings: &mut Listings, channels: &Channels, count: usize) -> Vec<Vec<String>> {
        let whole = (0..count).flat_map(|_| listings.step(channels)).map(Listing::into_names);
        whole.map(|names| names.iter().map(|name| name.as_str().to_owned()).collect()).collect()
    }

    #[test]
    fn a_list_sees_every_channel_once_wherever_the_walk_is_when_it_begins() {
        let mut channels = Channels::new(1);
        for name in ["d", "b", "a", "c"] {
            insert(&mut channels, name);
        }
        for start in 0..=4 {
            let mut listings = Listings::default();
            listings.begin(TICKET, ShardId(0), "".into(), 10, Visible::all());
            steps(&mut listings, &channels, start);
            listings.begin(TICKET, ShardId(1), "".into(), 3, Visible::all());
            let lists = steps(&mut listings, &channels, 9);
            assert!(lists.contains(&vec!["a".into(), "b".into(), "c".into()]), "{start}: {lists:?}");
            assert!(listings.is_empty());
        }
    }

    #[test]
    fn a_list_is_as_long_as_asked_for_though_most_channels_are_not_to_be_shown() {
        let (mut channels, mut listings) = (Channels::new(1), Listings::default());
        for name in ["a1", "b1", "a2", "b2", "b3", "b4"] {
            insert(&mut channels, name);
        }
        let visible = Visible::when(|name| name.starts_with('b'));
        listings.begin(TICKET, ShardId(0), "".into(), 3, visible);
        assert_eq!(steps(&mut listings, &channels, 9), [["b1", "b2", "b3"]]);
    }

    #[test]
    fn channels_that_come_and_go_meanwhile_hide_none_that_stays() {
        let mut channels = Channels::new(1);
        let gone = insert(&mut channels, "gone");
        for name in ["one", "two", "three"] {
            insert(&mut channels, name);
        }
        let mut listings = Listings::default();
        listings.begin(TICKET, ShardId(0), "".into(), 1, Visible::all());
        steps(&mut listings, &channels, 2);
        listings.begin(TICKET, ShardId(1), "".into(), 10, Visible::all());
        channels.remove(gone);
        insert(&mut channels, "in its place");
        insert(&mut channels, "at the end");
        let lists = steps(&mut listings, &channels, 20);
        let last = lists.last().expect("it is whole");
        assert_eq!(last[2..], ["one", "three", "two"], "{lists:?}");
    }

    #[test]
    fn a_list_is_whole_though_the_table_was_longer_when_it_began() {
        const COUNT: usize = 5000;
        let mut channels = Channels::new(1);
        let indices: Vec<_> = (0..COUNT).map(|number| insert(&mut channels, &number.to_string())).collect();
        let mut listings = Listings::default();
        listings.begin(TICKET, ShardId(0), "".into(), 1, Visible::all());
        steps(&mut listings, &channels, COUNT - 1);
        listings.begin(TICKET, ShardId(1), "".into(), 10, Visible::all());
        indices.into_iter().skip(2).for_each(|index| channels.remove(index));
        while channels.give_back() {}
        assert!(channels.end() < COUNT as ChannelIndex / 2, "the table is shorter");
        let lists = steps(&mut listings, &channels, COUNT);
        assert_eq!(lists, [vec!["0"], vec!["0", "1"]]);
    }

    #[test]
    fn a_list_without_channels_is_whole_at_once_and_one_withdrawn_never_comes() {
        let (channels, mut listings) = (Channels::new(1), Listings::default());
        listings.begin(TICKET, ShardId(0), "".into(), 10, Visible::all());
        listings.begin(TICKET, ShardId(1), "".into(), 10, Visible::all());
        listings.withdraw(TICKET, ShardId(1));
        assert_eq!(steps(&mut listings, &channels, 2), [Vec::<String>::new()]);
        assert!(listings.is_empty());
    }
}
