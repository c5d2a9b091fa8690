//! What an owner is asked to show: state, members, history; so much a turn.
//!
//! To gather what a channel holds is long beside what asks for it, and many may ask at once. So each turn has a budget, and
//! what is asked beyond it waits for the next, in the order asked by each and one of each in turn: who asks for much waits
//! for that, and nobody else does. Who changes something is not kept waiting by those who read.
//!
//! ```text
//!   asked ─┬─ budget left ─► answered
//!          └─ spent, or others wait ─► waiting, each asker's ─(each tick, round and round)─► answered
//! ```
//!
//! One asker waits with [`READS_PER_ASKER_MAX`] and all with [`READS_WAITING_MAX`]; one more is refused as busy. Joins are not:
//! a connection catches up with one channel after the other. An asker that has gone is shown nothing: its shard tells the
//! owners that it has asked.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::Hub;
use crate::{
    limits::{READ_BYTES_PER_TURN, READS_PER_ASKER_MAX, READS_WAITING_MAX},
    mesh::{JoinAsked, JoinId, Message, StateQuery, Welcome},
    model::{
        ChannelName, ConnectionId, Position, PublishError, ShardId, SharedPublication, StateKey, Ticket,
    },
};

/// What is asked of this owner, and what it may still show in this turn.
#[derive(Debug)]
pub(super) struct Reads {
    left: u64,
    waiting: FxHashMap<Asker, VecDeque<Read>>,
    /// Whose turn it is. One that has gone meanwhile is passed over.
    turns: VecDeque<Asker>,
    count: usize,
    /// The owners that connections of this shard wait for, one for each thing that was asked.
    elsewhere: FxHashMap<ConnectionId, SmallVec<[ShardId; 4]>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asker {
    Connection(ShardId, ConnectionId),
    Join(ShardId, JoinId),
}

/// Something asked.
#[derive(Debug)]
pub(super) enum Read {
    History { channel: ChannelName, since: Option<Position>, limit: u32, ticket: Ticket },
    State { channel: ChannelName, query: StateQuery, ticket: Ticket },
    Presence { channel: ChannelName, after: Option<StateKey>, limit: u32, ticket: Ticket },
    Join { channel: ChannelName, asked: JoinAsked, join: JoinId },
}

/// What each read counts for beside what it shows, and each thing it shows beside its bytes.
const READ_BYTES: u64 = 256;
const ITEM_BYTES: u64 = 64;

impl Default for Reads {
    fn default() -> Self {
        Self {
            left: READ_BYTES_PER_TURN,
            waiting: FxHashMap::default(),
            turns: VecDeque::new(),
            count: 0,
            elsewhere: FxHashMap::default(),
        }
    }
}

impl Reads {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Lets something wait; gives back what is one too many.
    fn wait(&mut self, from: ShardId, read: Read) -> Result<(), Ticket> {
        let asker = read.asker(from);
        let of_it = self.waiting.get(&asker).map_or(0, VecDeque::len);
        if let Some(ticket) = read.ticket()
            && (of_it >= READS_PER_ASKER_MAX || self.count >= READS_WAITING_MAX)
        {
            return Err(ticket);
        }
        if of_it == 0 {
            self.turns.push_back(asker);
        }
        self.waiting.entry(asker).or_default().push_back(read);
        self.count += 1;
        Ok(())
    }

    /// The next one's first.
    fn next(&mut self) -> Option<(ShardId, Read)> {
        while let Some(asker) = self.turns.pop_front() {
            let Some(reads) = self.waiting.get_mut(&asker) else { continue };
            let Some(read) = reads.pop_front() else { continue };
            match reads.is_empty() {
                true => _ = self.waiting.remove(&asker),
                false => self.turns.push_back(asker),
            }
            self.count -= 1;
            return Some((asker.shard(), read));
        }
        None
    }

    fn forget(&mut self, from: ShardId, connection: ConnectionId) {
        if let Some(reads) = self.waiting.remove(&Asker::Connection(from, connection)) {
            self.count -= reads.len();
        }
    }
}

impl Asker {
    fn shard(self) -> ShardId {
        match self {
            Self::Connection(shard, _) | Self::Join(shard, _) => shard,
        }
    }
}

impl Read {
    fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::History { ticket, .. } | Self::State { ticket, .. } | Self::Presence { ticket, .. } => {
                Some(*ticket)
            }
            Self::Join { .. } => None,
        }
    }

    fn asker(&self, from: ShardId) -> Asker {
        match self {
            Self::History { ticket, .. } | Self::State { ticket, .. } | Self::Presence { ticket, .. } => {
                Asker::Connection(from, ticket.connection)
            }
            Self::Join { join, .. } => Asker::Join(from, *join),
        }
    }
}

impl Hub {
    /// Shows a shard something, now or when its turn comes.
    pub(super) fn read(&mut self, from: ShardId, read: Read) {
        if self.brokered.is_some() {
            return self.read_brokered(from, read);
        }
        self.read_here(from, read);
    }

    /// As [`Self::read`], of what this owner knows.
    pub(super) fn read_here(&mut self, from: ShardId, read: Read) {
        if self.reads.is_empty() && self.reads.left > 0 {
            return self.show(from, read);
        }
        if let Err(ticket) = self.reads.wait(from, read) {
            self.say(from, Message::Unread { ticket, error: PublishError::Busy });
        }
    }

    /// Asks another owner on behalf of a connection of this shard.
    pub(super) fn read_elsewhere(&mut self, owner: ShardId, ticket: Ticket, message: Message) {
        self.reads.elsewhere.entry(ticket.connection).or_default().push(owner);
        self.send(owner, message);
    }

    /// An owner has answered a connection of this shard.
    pub(super) fn note_read(&mut self, from: ShardId, ticket: Ticket) {
        if let Some(owners) = self.reads.elsewhere.get_mut(&ticket.connection)
            && let Some(at) = owners.iter().position(|owner| *owner == from)
        {
            owners.swap_remove(at);
            if owners.is_empty() {
                self.reads.elsewhere.remove(&ticket.connection);
            }
        }
    }

    /// A connection of this shard has ended: it is shown nothing more.
    pub fn forget_reads(&mut self, connection: ConnectionId) {
        if !self.reads.is_empty() {
            self.reads.forget(self.settings.shard, connection);
        }
        if self.reads.elsewhere.is_empty() {
            return;
        }
        let Some(mut owners) = self.reads.elsewhere.remove(&connection) else { return };
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            self.send(owner, Message::ForgetReads(connection));
        }
    }

    /// A connection of another shard has ended.
    pub(super) fn handle_forget_reads(&mut self, from: ShardId, connection: ConnectionId) {
        self.reads.forget(from, connection);
    }

    /// A turn begins: shows what has waited, as far as that goes; tells how many there were.
    pub(super) fn continue_reads(&mut self) -> usize {
        self.reads.left = READ_BYTES_PER_TURN;
        let mut shown = 0;
        while self.reads.left > 0
            && !self.reads.is_empty()
            && let Some((from, read)) = self.reads.next()
        {
            self.show(from, read);
            shown += 1;
        }
        if self.reads.is_empty() && (shown > 0 || !self.reads.turns.is_empty()) {
            // A storm of them is over.
            (self.reads.waiting, self.reads.turns) = Default::default();
        }
        shown
    }

    fn show(&mut self, from: ShardId, read: Read) {
        match self.ask_disk(from, read) {
            Ok(()) => self.count_read(0),
            Err(read) => self.show_from_memory(from, read),
        }
    }

    /// So many bytes have been shown, at the price of having been asked.
    pub(super) fn count_read(&mut self, cost: u64) {
        self.reads.left = self.reads.left.saturating_sub(READ_BYTES + cost);
    }

    pub(super) fn show_from_memory(&mut self, from: ShardId, read: Read) {
        let gathered = self.gathered_for(&read);
        let is_here = from == self.settings.shard;
        let cost = match read {
            Read::History { channel, since, limit, ticket } => {
                let page = self.page(&channel, since, limit);
                let cost = cost_of(&page.publications);
                self.say_of_name(&channel, from, Message::History { ticket, page });
                cost
            }
            Read::State { channel, query, ticket } => {
                let page = self.state_page(&channel, &query);
                let cost = cost_of(&page.keys);
                self.say_of_name(&channel, from, Message::State { ticket, page });
                cost
            }
            Read::Presence { channel, after, limit, ticket } => {
                let page = Box::new(self.presence_page(&channel, after.as_ref(), limit));
                let cost = page.bytes() as u64;
                self.say_of_name(&channel, from, Message::Presence { ticket, page });
                cost
            }
            // Nobody waits for it any more.
            Read::Join { join, .. } if is_here && !self.joins.is_waited_for(join) => {
                self.joins.finish(join);
                0
            }
            Read::Join { channel, asked, join } if is_here => {
                let result = self.welcome(&channel, asked).map(|(_, welcome)| welcome);
                let cost = result.as_ref().map_or(0, cost_of_welcome);
                self.say_of_name(&channel, from, Message::Joined { join, result });
                cost
            }
            Read::Join { channel, asked, join } => self.handle_join(from, &channel, asked, join),
        };
        self.count_read(gathered + cost);
    }

    /// What it costs to gather the state that is asked for, unless that has been done already.
    fn gathered_for(&self, read: &Read) -> u64 {
        let channel = match read {
            Read::State { channel, query: StateQuery::Page { .. }, .. } => channel,
            Read::Join { channel, asked, .. } if asked.is_shown() && asked.bytes_max > 0 => channel,
            Read::State { .. } | Read::History { .. } | Read::Presence { .. } | Read::Join { .. } => {
                return 0;
            }
        };
        let state = self.stream_of(channel).and_then(|stream| stream.state.as_deref());
        state.filter(|state| state.is_unshown()).map_or(0, |state| state.len() as u64 * ITEM_BYTES)
    }
}

/// What it costs to show a subscriber something.
pub(super) fn cost_of_welcome(welcome: &Welcome) -> u64 {
    cost_of(&welcome.missed)
        + welcome.state.as_deref().map_or(0, cost_of)
        + welcome.presence.as_deref().map_or(0, |page| page.bytes() as u64)
}

pub(super) fn cost_of(publications: &[SharedPublication]) -> u64 {
    publications.iter().map(|one| ITEM_BYTES + one.payload.data.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::{HubSettings, Output, Wanted},
        limits::Limits,
        mesh::StatePage,
        model::{ConnectionId, Now, Payload, Shown, StateRequest, Transport},
    };

    const HERE: ShardId = ShardId(0);
    const THERE: ShardId = ShardId(1);

    fn at(ms: u64) -> Now {
        Now { monotonic_ms: ms, unix_ms: ms }
    }

    fn connection(index: u32) -> ConnectionId {
        ConnectionId { index, generation: 1 }
    }

    /// A hub of two shards, and a channel of its own with 64 KiB of state.
    fn full() -> (Hub, ChannelName) {
        let mut hub = Hub::new(HubSettings::of_shard(&Limits::default(), HERE, 2, 1000, 1, 2));
        let names = (0..).map(|n| ChannelName::new(&format!("channel-{n}"), 255).expect("a name"));
        let channel = names.into_iter().find(|name| hub.owner_of(name) == HERE).expect("there is one");
        for number in 0..60 {
            let key = StateKey::new(&number.to_string()).expect("a key");
            let request = StateRequest::set(key, Payload::new(vec![b'x'; 1024], None));
            hub.change_state(at(0), channel.clone(), Box::new(request), None);
        }
        while hub.poll_output().is_some() {}
        (hub, channel)
    }

    fn outputs(hub: &mut Hub) -> usize {
        std::iter::from_fn(|| hub.poll_output()).count()
    }

    #[test]
    fn a_turn_shows_so_much_and_what_is_beyond_it_comes_in_the_next_ones_in_order() {
        let (mut hub, channel) = full();
        hub.handle_tick(at(1));
        for token in 0..200 {
            let query = StateQuery::Page { after: None, limit: 100 };
            hub.read_state(at(1), Ticket { connection: connection(1), token }, &channel, query);
        }
        let (mut next, mut turns) = (0, 0);
        loop {
            let before = next;
            while let Some(output) = hub.poll_output() {
                assert!(matches!(output, Output::State { ticket, .. } if ticket.token == next));
                next += 1;
            }
            let bytes = u64::from(next - before) * 60 * 1024;
            assert!(bytes <= READ_BYTES_PER_TURN + 64 * 1024, "{bytes} bytes in one turn");
            turns += 1;
            if next == 200 {
                break;
            }
            assert!(hub.has_more() && !hub.is_quiet(), "it does not sleep on it");
            hub.handle_tick(at(1 + turns));
        }
        assert!(turns > 5 && hub.is_quiet());
    }

    fn ask(hub: &mut Hub, channel: &ChannelName, index: u32, token: u32) {
        let query = StateQuery::Page { after: None, limit: 100 };
        hub.read_state(at(1), Ticket { connection: connection(index), token }, channel, query);
    }

    /// Who is shown something in the next turn.
    fn shown(hub: &mut Hub, ms: u64) -> Vec<u32> {
        hub.handle_tick(at(ms));
        let outputs = std::iter::from_fn(|| hub.poll_output());
        let shown = outputs.filter_map(|output| match output {
            Output::State { ticket, .. } => Some(ticket.connection.index),
            _ => None,
        });
        shown.collect()
    }

    #[test]
    fn who_asks_for_much_waits_for_it_and_nobody_else_does() {
        let (mut hub, channel) = full();
        (0..300).for_each(|token| ask(&mut hub, &channel, 1, token));
        outputs(&mut hub);
        (2..6).for_each(|index| ask(&mut hub, &channel, index, 1));
        let next = shown(&mut hub, 2);
        for index in 2..6 {
            assert!(next.contains(&index), "{next:?}");
        }
        let mut turn = 3;
        while hub.has_more() {
            assert!(shown(&mut hub, turn).iter().all(|index| *index == 1));
            turn += 1;
        }
        assert!(turn > 5 && hub.reads.waiting.is_empty() && hub.reads.turns.is_empty());
    }

    #[test]
    fn who_has_gone_is_shown_nothing_and_what_it_asked_costs_nothing() {
        let (mut hub, channel) = full();
        (0..300).for_each(|token| ask(&mut hub, &channel, 1, token));
        ask(&mut hub, &channel, 2, 1);
        let query = StateQuery::Page { after: None, limit: 100 };
        for token in 0..300 {
            let ticket = Ticket { connection: connection(3), token };
            let channel = channel.clone();
            hub.handle_message(at(1), THERE, Message::ReadState { channel, query: query.clone(), ticket });
        }
        outputs(&mut hub);
        hub.forget_reads(connection(1));
        hub.handle_message(at(1), THERE, Message::ForgetReads(connection(3)));
        assert_eq!(shown(&mut hub, 2), [2]);
        assert!(hub.is_quiet() && hub.reads.waiting.is_empty() && hub.reads.turns.is_empty());
    }

    #[test]
    fn owners_elsewhere_are_told_who_has_gone_while_they_are_asked_and_no_others() {
        let (hub, channel) = full();
        let mut other = Hub::new(HubSettings { shard: THERE, ..hub.settings });
        let page = || Message::State {
            ticket: Ticket { connection: connection(1), token: 1 },
            page: StatePage::default(),
        };
        (1..=2).for_each(|index| ask(&mut other, &channel, index, 1));
        outputs(&mut other);
        other.handle_message(at(1), HERE, page());
        outputs(&mut other);
        other.forget_reads(connection(1));
        assert!(other.poll_output().is_none(), "nothing is asked for it");
        other.forget_reads(connection(2));
        match other.poll_output() {
            Some(Output::Send { to: HERE, message: Message::ForgetReads(gone) }) => {
                assert_eq!(gone, connection(2));
            }
            told => panic!("{told:?}"),
        }
        assert!(other.poll_output().is_none() && other.reads.elsewhere.is_empty());
    }

    #[test]
    fn one_asker_and_all_together_wait_with_so_much_and_one_more_is_refused() {
        let (mut hub, channel) = full();
        let refused = |hub: &mut Hub| {
            let outputs = std::iter::from_fn(|| hub.poll_output());
            outputs.filter(|output| matches!(output, Output::Unread { .. })).count()
        };
        while hub.reads.is_empty() {
            ask(&mut hub, &channel, 1, 1);
        }
        (1..READS_PER_ASKER_MAX as u32).for_each(|token| ask(&mut hub, &channel, 1, token));
        assert_eq!(refused(&mut hub), 0);
        ask(&mut hub, &channel, 1, 1);
        assert_eq!(refused(&mut hub), 1);
        (0..(READS_WAITING_MAX - READS_PER_ASKER_MAX) as u32)
            .for_each(|n| ask(&mut hub, &channel, 2 + n / 1000, 1));
        assert_eq!(refused(&mut hub), 0);
        ask(&mut hub, &channel, 9_999, 1);
        assert_eq!(refused(&mut hub), 1);
    }

    #[test]
    fn who_leaves_while_it_waits_to_be_shown_leaves_nothing() {
        let (mut hub, channel) = full();
        let shown = Shown { state: true, presence: true };
        for index in 0..100 {
            let wanted = Wanted { shown, ..Wanted::default() };
            hub.subscribe(at(1), connection(index), Transport::Json, channel.clone(), wanted, None)
                .expect("it may");
        }
        let at_once = outputs(&mut hub);
        assert!(at_once > 0 && at_once < 100, "{at_once}");
        (0..100).for_each(|index| hub.leave_all(connection(index)));
        for turn in 0..50 {
            hub.handle_tick(at(2 + turn));
        }
        outputs(&mut hub);
        assert!(hub.is_quiet());
        let followed = hub.subscribers(&channel, Transport::Json).count();
        assert_eq!((followed, hub.joins.outstanding()), (0, 0));
    }

    #[test]
    fn a_shard_that_left_before_it_was_shown_anything_leaves_again() {
        let (mut owner, channel) = full();
        let settings = HubSettings { shard: THERE, ..owner.settings };
        let mut other = Hub::new(settings);
        // Others have spent the turn.
        while owner.reads.is_empty() {
            let query = StateQuery::Page { after: None, limit: 100 };
            owner.read_state(at(1), Ticket { connection: connection(9), token: 1 }, &channel, query);
        }
        outputs(&mut owner);
        let wanted = Wanted { shown: Shown { state: true, presence: false }, ..Wanted::default() };
        other
            .subscribe(at(1), connection(1), Transport::Json, channel.clone(), wanted, None)
            .expect("it may");
        other.leave_all(connection(1));
        let pass = |from: &mut Hub, from_id, to: &mut Hub| {
            while let Some(output) = from.poll_output() {
                if let Output::Send { message, .. } = output {
                    to.handle_message(at(1), from_id, message);
                }
            }
        };
        pass(&mut other, THERE, &mut owner);
        owner.handle_tick(at(2));
        pass(&mut owner, HERE, &mut other);
        pass(&mut other, THERE, &mut owner);
        owner.publish(at(3), channel, Payload::new(*b"hello", None), None);
        assert!(owner.poll_output().is_none(), "nobody is there to be told");
    }
}
