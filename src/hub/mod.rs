//! One shard's truth: channels, subscribers, history.
//!
//! Plain `&mut`, no lock, no clock, no socket: verbs go in, [`Output`]s and [`Fanout`]s come out, and what other
//! shards must know goes out as [`Message`]s. The hub does not know sessions or encodings; the shard fetches what
//! it has to hand to whom.
//!
//! A channel belongs to the shard its name hashes to. A hub is in two roles, which meet only through messages or,
//! for a channel of its own, directly:
//!
//! ```text
//!   publish ─► owner (owner.rs)                       subscriber's shard (subscriber.rs)
//!               stamp, keep, Deliver ───────────────► burst ─► end of turn: poll_fanout
//!               welcome ◄───────── Join ───────────── subscribe
//!                     └─────────── Joined ──────────► seat, poll_output
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `channel`, `slots`, `name_hash` | a channel, the table of all, and how names are found and spread |
//! | `stream`, `history`, `ledger`, `ledgers`, `retention` | what an owner knows; how long it is kept |
//! | `audience`, `portions`, `lists`, `seat`, `seen`, `membership`, `joins` | who subscribes, and is handed what; who waits to |
//! | `behind` | which shards missed something |
//! | `busiest` | which channels keep the shard busy, while somebody asks |
//! | `listing` | lists of channels that are being made |
//! | `state`, `changes` | keys, values and counters of channels; how they change |
//! | `entries`, `members`, `presences` | what connections have entered; who is present in channels; how that changes |
//! | `archive` | history that is on disk alone |
//! | `newcomers` | who is expected from another shard, and what is kept for them |
//! | `durable`, `synced` | channels that outlive the process; those of which nothing is told before it is on disk |
//! | `cluster` | what is told a Socket.IO cluster |
//! | `brokered` | channels whose order a broker makes, for several nodes |
//! | `reads` | what is asked to be shown, so much a turn |
//! | `receipts` | what is held back until what its issuer asked before has been handed out |
//! | `waiting` | what is still to be handed out |
//! | `loss` | a shard that failed and began anew |
//! | `owner`, `subscriber`, `survey` | the verbs |
//!
//! # What links between shards must promise
//!
//! Messages from one hub to another arrive in the order they were sent. Only [`Message::Publish`],
//! [`Message::Deliver`] and [`Message::Announce`] may be refused or dropped: a publication that is dropped shows as a
//! gap, but a `Join`, `Joined` or `Leave` that is dropped would leave two shards with different truths. A dropped
//! `Deliver` or `Announce` is told with [`Hub::deliver_dropped`]; otherwise its gap would show only once something
//! else is published.

mod archive;
mod audience;
mod behind;
mod brokered;
mod busiest;
mod changes;
mod channel;
mod cluster;
mod durable;
mod entries;
mod history;
mod joins;
mod ledger;
mod ledgers;
mod listing;
mod lists;
mod loss;
mod members;
mod membership;
mod name_hash;
mod newcomers;
mod occupancy;
mod output;
mod owner;
mod portions;
mod presences;
mod reads;
mod receipts;
mod retention;
mod seat;
mod seen;
mod settings;
mod slots;
mod state;
mod stream;
mod subscriber;
mod succession;
mod survey;
mod synced;
#[cfg(test)]
mod tests;
mod waiting;

use std::{cell::Cell, collections::VecDeque, rc::Rc};

pub use durable::Keeping;
pub use loss::Owners;
pub use newcomers::Following;
pub use output::{Output, SubscribeError};
pub use portions::{Fanout, FanoutLimit};
pub use settings::HubSettings;
pub use subscriber::{Since, Wanted};
pub use waiting::Waiting;

use crate::{
    limits::{FANOUT_PER_TURN, Limits, PRESENCE_DUE_PER_TURN, STATE_DUE_PER_TURN, VACATED_PER_TURN},
    mesh::{Message, ShardReport},
    model::{ChannelName, Now, ShardId, SharedPublication, Transport},
};
use archive::Archive;
use audience::{Portion, Step};
use behind::Behind;
use brokered::Brokered;
use busiest::Busiest;
use changes::Times;
use channel::{ChannelIndex, Channels};
use durable::Durable;
use joins::Joins;
use ledgers::Ledgers;
use listing::Listings;
use membership::{Member, Memberships};
use newcomers::Newcomers;
use occupancy::Occupancy;
use portions::Wait;
use presences::Presence;
use reads::{Read, Reads};
use receipts::Receipts;
use retention::Unused;
use synced::Held;

/// One shard's hub.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
    channels: Channels,
    memberships: Memberships,
    joins: Joins,
    ledgers: Ledgers,
    unused: Unused,
    behind: Behind,
    listings: Listings,
    busiest: Busiest,
    times: Times,
    presence: Presence,
    reads: Reads,
    receipts: Receipts,
    durable: Durable,
    occupancy: Occupancy,
    held: Held,
    archive: Archive,
    newcomers: Newcomers,
    /// What makes the order of all channels, if this hub's owners do not.
    brokered: Option<Box<Brokered>>,
    /// Whether a Socket.IO cluster is told what is published.
    is_in_cluster: bool,
    /// Whether it is told with which channels somebody has to do.
    tells_rooms: bool,
    epochs: fastrand::Rng,
    /// The time of the last verb that was told it.
    now: Now,
    /// Whether the last tick left something that is too old.
    is_late: bool,
    /// Drained by the shard after every verb, and bounded by what one verb can cause.
    outputs: VecDeque<Output>,
    /// Channels whose audience has a burst, each at most once. They take turns where a burst is handed out in slices.
    fanout_queue: VecDeque<ChannelIndex>,
    /// Counts the turns in which publications are handed out.
    turn: u64,
    /// Subscribers that may still be given something before others have their turn.
    room: usize,
    /// Bytes of all bursts.
    gathered_bytes: Rc<Cell<usize>>,
    /// Channels of an owner that began anew and had no room for them.
    unjoined: Vec<ChannelName>,
    publications_total: u64,
    publications_refused_total: u64,
}

impl Hub {
    /// What a connection's first subscription takes: its row in the membership table and its place in a list.
    pub const BYTES_PER_SUBSCRIPTION: usize = membership::BYTES_PER_CONNECTION + size_of::<u32>();

    /// Goes on under other limits; what is kept beyond them goes with the next publications and ticks.
    pub fn change_limits(&mut self, limits: &Limits) {
        self.settings = self.settings.under(limits);
    }

    /// An empty hub.
    pub fn new(settings: HubSettings) -> Self {
        // Neighbouring shards must not draw the same epochs from the same seed.
        let seed = settings.epoch_seed ^ u64::from(settings.shard.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self {
            settings,
            channels: Channels::new(settings.hash_seed),
            memberships: Memberships::new(settings.connections_max),
            joins: Joins::default(),
            ledgers: Ledgers::default(),
            unused: Unused::default(),
            behind: Behind::default(),
            listings: Listings::default(),
            busiest: Busiest::default(),
            times: Times::default(),
            presence: Presence::default(),
            reads: Reads::default(),
            receipts: Receipts::default(),
            durable: Durable::default(),
            occupancy: Occupancy::default(),
            held: Held::default(),
            archive: Archive::default(),
            newcomers: Newcomers::default(),
            brokered: None,
            is_in_cluster: false,
            tells_rooms: false,
            epochs: fastrand::Rng::with_seed(seed),
            now: Now::default(),
            is_late: false,
            outputs: VecDeque::new(),
            fanout_queue: VecDeque::new(),
            turn: 1,
            room: FANOUT_PER_TURN,
            gathered_bytes: Rc::default(),
            unjoined: Vec::new(),
            publications_total: 0,
            publications_refused_total: 0,
        }
    }

    /// Another shard's hub said something.
    pub fn handle_message(&mut self, now: Now, from: ShardId, message: Message) {
        self.now = now;
        match message {
            Message::Publish { channel, payload, ticket } => {
                self.handle_publish(now, from, &channel, payload, ticket);
            }
            Message::Published { ticket, result } => {
                self.outputs.push_back(Output::Published { ticket, result });
            }
            Message::Join { channel, asked, join }
                if asked.is_shown() || self.brokered.is_some() || self.is_on_disk(&channel, asked.since) =>
            {
                self.read(from, Read::Join { channel, asked, join });
            }
            Message::Join { channel, asked, join } => _ = self.handle_join(from, &channel, asked, join),
            Message::Joined { join, result } => self.handle_joined(join, result),
            Message::Leave { channel } => self.handle_leave(from, &channel),
            Message::Deliver(publication) => self.handle_deliver(from, publication),
            Message::AskReceipt { number, channel } => self.give_receipt(from, number, &channel),
            Message::Receipt { origin, number, channel } => {
                self.take_receipt((origin, from), number, &channel);
            }
            Message::Announce { channel, position } => self.handle_announce(&channel, position),
            Message::ReadHistory { channel, since, limit, ticket } => {
                self.read(from, Read::History { channel, since, limit, ticket });
            }
            Message::History { ticket, page } => {
                self.note_read(from, ticket);
                self.outputs.push_back(Output::History { ticket, page });
            }
            Message::Change { channel, request, ticket } => {
                self.handle_change(now, from, &channel, *request, ticket);
            }
            Message::Changed { ticket, result } => self.outputs.push_back(Output::Changed { ticket, result }),
            Message::ReadState { channel, query, ticket } => {
                self.read(from, Read::State { channel, query, ticket });
            }
            Message::State { ticket, page } => {
                self.note_read(from, ticket);
                self.outputs.push_back(Output::State { ticket, page });
            }
            Message::Enter { channel, entry, ticket } => {
                self.handle_enter(now, from, channel, *entry, ticket)
            }
            Message::Entered { ticket, channel, number, result } => {
                self.handle_entered(ticket, &channel, number, result);
            }
            Message::Depart { channel, connection, ids, at_once } => {
                self.handle_depart(now, (from, connection), &channel, &ids, at_once);
            }
            Message::ReadPresence { channel, after, limit, ticket } => {
                self.read(from, Read::Presence { channel, after, limit, ticket });
            }
            Message::Presence { ticket, page } => {
                self.note_read(from, ticket);
                self.outputs.push_back(Output::Presence { ticket, page });
            }
            Message::Unread { ticket, error } => {
                self.note_read(from, ticket);
                self.outputs.push_back(Output::Unread { ticket, error });
            }
            Message::ForgetReads(connection) => self.handle_forget_reads(from, connection),
            Message::Ask { ticket, question } => self.handle_ask(from, ticket, question),
            Message::Withdraw { ticket } => self.listings.withdraw(ticket, from),
            Message::Answer { ticket, survey } => self.outputs.push_back(Output::Survey { ticket, survey }),
        }
    }

    /// The way to a shard was full for a [`Message::Deliver`] or [`Message::Announce`]: the next tick announces where
    /// the channel is.
    pub fn deliver_dropped(&mut self, to: ShardId, channel: &ChannelName) {
        if let Some(index) = self.channels.find(channel) {
            self.behind.insert(to, index);
        }
    }

    /// Lets time pass: shows what is asked, tells shards what they missed, tells of counters, lets keys go, ages out history
    /// and forgets channels nobody uses, a bounded number per call. Tells how many were shown or let go, or looked at for that.
    pub fn handle_tick(&mut self, now: Now) -> usize {
        self.now = now;
        self.announce();
        self.join_again_later();
        self.busiest.pass_time(now.monotonic_ms);
        let (read, told) = (self.continue_reads(), self.continue_telling());
        if self.brokered.is_some() {
            self.pass_broker_time();
        }
        let (passed, left) = (self.pass_state_time(now), self.pass_presence_time(now));
        let (gives_back, vacated) = (self.channels.give_back(), self.pass_vacancies());
        let (expired, looked) = (self.expire(retention::EXPIRED_PER_TICK_MAX), self.forget_unused());
        self.is_late = gives_back
            || expired >= retention::EXPIRED_PER_TICK_MAX
            || looked >= retention::UNUSED_PER_TICK_MAX
            || passed >= STATE_DUE_PER_TURN
            || left >= PRESENCE_DUE_PER_TURN
            || vacated >= VACATED_PER_TURN;
        read + told + passed + left + vacated + expired + looked
    }

    /// What the shard has to do or say next. Drain it after every verb.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A turn begins to hand out: each channel's subscribers may get another portion.
    pub fn begin_fanout(&mut self) {
        self.turn += 1;
    }

    /// No more is handed out in this turn.
    pub fn end_fanout(&mut self) {
        self.room = FANOUT_PER_TURN;
    }

    /// What the shard has to hand out next, to no more subscribers than it says. Drain it at the end of a turn, or go on
    /// with it at the end of the next; other verbs may be called in between.
    pub fn poll_fanout(&mut self, limit: FanoutLimit) -> Option<Fanout<'_>> {
        let (index, portion) = loop {
            if let Some(next) = self.next_portion(limit) {
                break next;
            }
            // What has been handed out lets go on what stands behind it.
            if !self.let_go_on() {
                return None;
            }
        };
        let channel = &self.channels[index];
        let fanout = channel.audience.fanout(&channel.name, portion);
        let subscribers: usize = fanout.subscribers.iter().map(|list| list.len()).sum();
        self.busiest.count(&channel.name, 0, fanout.publications.len() * subscribers);
        self.room = limit.subscribers.saturating_sub(subscribers);
        Some(fanout)
    }

    /// Whether there is something to carry out, to hand out, or to let go of for its age.
    pub fn has_more(&self) -> bool {
        !self.outputs.is_empty()
            || !self.fanout_queue.is_empty()
            || self.is_late
            || !self.reads.is_empty()
            || self.held.has_more()
    }

    /// Bytes of publications that wait to be handed out.
    pub fn gathered_bytes(&self) -> usize {
        self.gathered_bytes.get()
    }

    /// The shard that owns a channel. Every shard of a process agrees.
    pub fn owner_of(&self, channel: &ChannelName) -> ShardId {
        self.channels.hash(channel).owner(self.settings.shards)
    }

    /// How many subscriptions a connection has or waits for.
    pub fn subscription_count(&self, connection: u32) -> u32 {
        self.memberships.count(connection)
    }

    /// The channel of a connection that has, or waits for, exactly one subscription.
    pub fn only_channel(&self, connection: u32) -> Option<&ChannelName> {
        self.memberships.only(connection).map(|index| &self.channels[index].name)
    }

    /// Whether a subscriber has, or waits for, a subscription to this channel.
    pub fn is_subscribed(&self, subscriber: u32, channel: &ChannelName) -> bool {
        self.channels.find(channel).is_some_and(|index| self.memberships.contains_index(subscriber, index))
    }

    /// The channels a subscriber has, or waits for, subscriptions to.
    pub fn channels_of(&self, subscriber: u32) -> impl Iterator<Item = &ChannelName> {
        self.memberships.channels(subscriber).into_iter().map(|index| &self.channels[index].name)
    }

    /// The subscribers on this shard that take, or wait to take, a channel as this transport.
    pub fn subscribers(&self, channel: &ChannelName, transport: Transport) -> impl Iterator<Item = u32> {
        let index = self.channels.find(channel);
        let admitted = index.map(|index| self.channels[index].audience.everybody(transport));
        let is_joined = |index: &ChannelIndex| self.channels[*index].joins_pending > 0;
        let waiting = index.filter(is_joined).map(|index| self.joins.waiting_for(index));
        let waiting = waiting.into_iter().flatten().filter(move |join| join.transport == transport);
        admitted.into_iter().flatten().chain(waiting.map(|join| join.connection.index))
    }

    /// Whether nothing is under way: nothing to poll, nothing to announce, and every
    /// owner that was asked to join has answered.
    pub fn is_quiet(&self) -> bool {
        self.outputs.is_empty()
            && self.fanout_queue.is_empty()
            && self.receipts.are_none_held()
            && self.behind.is_empty()
            && self.listings.is_empty()
            && self.has_told_counters()
            && self.reads.is_empty()
            && self.held.is_empty()
            && self.archive.is_empty()
            && self.joins.outstanding() == 0
    }

    /// Writes the hub's counters and gauges into the shard's report. The refusals are those of this owner; the
    /// shard adds those of its mesh.
    pub fn report(&self, into: &mut ShardReport) {
        into.channels = self.channels.owned();
        into.subscriptions = self.memberships.held();
        into.history_publications = self.ledgers.len() as u64;
        into.history_bytes = self.ledgers.bytes();
        into.state_keys = self.times.keys;
        into.state_bytes = self.times.bytes;
        into.members = self.presence.members;
        self.report_broker(into);
        into.publications_total = self.publications_total;
        into.publications_refused_total = self.publications_refused_total;
    }

    fn send(&mut self, to: ShardId, message: Message) {
        self.outputs.push_back(Output::Send { to, message });
    }

    /// Gathers a publication for the subscribers of this shard, of whom there are some.
    fn gather(&mut self, index: ChannelIndex, publication: SharedPublication) {
        let is_held = self.receipts.hold(&publication);
        self.channels[index].audience.push(publication, is_held, &self.gathered_bytes);
        self.queue_fanout(index);
    }

    fn queue_fanout(&mut self, index: ChannelIndex) {
        let channel = &mut self.channels[index];
        if !channel.is_in_fanout {
            channel.is_in_fanout = true;
            self.fanout_queue.push_back(index);
        }
    }

    fn next_portion(&mut self, limit: FanoutLimit) -> Option<(ChannelIndex, Portion)> {
        let mut skipped = 0;
        while let Some(index) = self.fanout_queue.front().copied() {
            let channel = &mut self.channels[index];
            match channel.audience.step(limit, self.turn) {
                Step::Portion(portion) => {
                    if portion.passes_turn {
                        self.fanout_queue.rotate_left(1);
                    }
                    return Some((index, portion));
                }
                Step::Seated { connection, seat, moved } => {
                    self.memberships.reseat(connection, Member { channel: index, seat });
                    if let Some(moved) = moved {
                        self.memberships
                            .reseat(moved.connection, Member { channel: index, seat: moved.seat });
                    }
                }
                Step::Waits(Wait::Large | Wait::Served) if skipped < self.fanout_queue.len() => {
                    skipped += 1;
                    self.fanout_queue.rotate_left(1);
                }
                Step::Waits(Wait::Held) => {
                    self.fanout_queue.pop_front();
                    self.receipts.keep(index, self.now.monotonic_ms);
                }
                // What is small has its order, so nothing small passes it.
                Step::Waits(Wait::Large | Wait::Served | Wait::Small) => return None,
                Step::Done => {
                    channel.is_in_fanout = false;
                    self.fanout_queue.pop_front();
                    self.release(index);
                }
            }
        }
        None
    }
}
