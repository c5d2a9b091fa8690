//! Channels whose order a broker makes, so that several nodes have the same.
//!
//! The owner of a channel then stamps nothing. It hands publications to the broker, follows the channel there while somebody
//! here does, and keeps a copy of the stream, from which it serves everybody as any owner does:
//!
//! ```text
//!   publish ─► BrokerAsk::Publish ──► Published: the position, for whoever waits for it
//!
//!   join, read ─► Unknown ─► BrokerAsk::Follow        Down, Checked: missed something
//!                    │ held                              ▲                │
//!                    └─► Asked ─► Following ─► Whole ────┴────────► Asked ┘
//!                                              └─► Pushed: the next one, handed on
//! ```
//!
//! A copy that is not whole serves nobody: who asks is held, and refused when that lasts. Whoever is seated stays, and is told
//! what was missed when the broker tells what it keeps, or of a gap.
//!
//! Invariant: what is handed on stands where the broker's stream has it. A copy under an epoch below the broker's is lost.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use self::ahead::Ahead;
use super::{
    Hub, Output,
    channel::{ChannelIndex, Role},
    reads::Read,
    stream::{Mirror, Stream},
};
use crate::{
    limits::{BROKER_WAITING_BYTES_MAX, BROKER_WAITING_MAX},
    mesh::{Message, ShardReport},
    model::{
        BrokerAsk, BrokerLoss, BrokerNews, ChannelName, Now, Payload, Position, Publication, PublishError,
        ShardId, SharedPublication, SocketId, Ticket, broker_of,
    },
};

/// What a hub has asked the broker, and what waits for it.
#[derive(Debug)]
pub(super) struct Brokered {
    /// Over which channels are spread.
    brokers: Vec<Standing>,
    /// To be asked at the end of the turn.
    asks: Vec<BrokerAsk>,
    /// Publications that are not done with, in the order of their numbers, the first of which is `first`.
    pending: VecDeque<Option<Pending>>,
    first: u64,
    count: usize,
    bytes: usize,
    /// Who waits to be shown something, by channel, and since when.
    held: FxHashMap<ChannelIndex, Vec<(u64, ShardId, Read)>>,
    held_count: usize,
    refused_total: u64,
    unknown_total: u64,
    renewed_total: u64,
    /// By why.
    lost_total: [u64; BrokerLoss::ALL.len()],
    ahead: Ahead,
}

/// How it stands with a broker.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// What it says is for this hub, and not for one that failed.
    is_begun: bool,
    is_up: bool,
}

/// A publication the broker has been asked for.
#[derive(Debug)]
struct Pending {
    from: ShardId,
    ticket: Option<Ticket>,
    /// Whom it is not for: a socket of this node, of which others know nothing.
    except_socket: Option<SocketId>,
    bytes: usize,
}

/// What a publication costs while it waits, beside its bytes.
const PENDING_BYTES: usize = size_of::<Publication>() + 2 * size_of::<Pending>() + 128;
/// Publications that are answered are remembered so long, for whom they are not; what is pushed by then has come.
const PENDING_KEPT: usize = 1024;

impl Hub {
    /// From now on brokers make the order of all channels, so many. Numbers of publications begin here.
    pub fn follow_brokers(&mut self, count: u16, first: u64) {
        self.brokered = Some(Box::new(Brokered {
            brokers: vec![Standing::default(); count.into()],
            asks: vec![BrokerAsk::Begin],
            pending: VecDeque::new(),
            first,
            count: 0,
            bytes: 0,
            held: FxHashMap::default(),
            held_count: 0,
            refused_total: 0,
            unknown_total: 0,
            renewed_total: 0,
            lost_total: [0; BrokerLoss::ALL.len()],
            ahead: Ahead::default(),
        }));
    }

    /// What the broker is to be asked, in this order.
    pub fn take_broker_asks(&mut self) -> Option<Vec<BrokerAsk>> {
        let asks = &mut self.brokered.as_deref_mut()?.asks;
        (!asks.is_empty()).then(|| std::mem::take(asks))
    }

    /// Whether all brokers are there that are to be.
    pub fn are_brokers_up(&self) -> bool {
        self.brokered.as_deref().is_none_or(Brokered::is_up)
    }

    /// A broker says something.
    pub fn handle_broker(&mut self, now: Now, broker: u16, news: BrokerNews) {
        self.now = now;
        let Some(brokered) = self.brokered.as_deref_mut() else { return };
        let standing = &mut brokered.brokers[usize::from(broker)];
        match news {
            BrokerNews::Begun => standing.is_begun = true,
            // It was for the hub before this one.
            _ if !standing.is_begun => {}
            BrokerNews::Up => standing.is_up = true,
            BrokerNews::Down(why) => self.lose_broker(broker, why),
            BrokerNews::Published { number, result } => self.handle_broker_published(number, result),
            BrokerNews::Following { channel, position, kept } => {
                self.handle_following(&channel, position, kept);
            }
            BrokerNews::Checked { channel, position } => {
                if let Some(index) = self.whole(&channel)
                    && self.stream_mut(index).has_missed(position)
                {
                    self.ask_again(index, 0);
                }
            }
            BrokerNews::Pushed { channel, epoch, number, publication } => {
                self.handle_pushed(&channel, epoch, number, publication);
            }
            BrokerNews::Renewed { channel, epoch } => {
                if let Some(index) = self.whole(&channel)
                    && self.stream_mut(index).position.epoch < epoch
                {
                    self.renew(index, epoch);
                    self.tell_of_gap(index);
                }
            }
        }
    }

    /// Writes what it has counted into the shard's report.
    pub fn report_broker(&self, into: &mut ShardReport) {
        let Some(brokered) = self.brokered.as_deref() else { return };
        into.broker_up = u32::from(brokered.is_up());
        into.broker_waiting = brokered.count as u32;
        into.broker_refused_total = [brokered.refused_total, brokered.unknown_total];
        into.broker_lost_total = brokered.lost_total;
        into.broker_renewed_total = brokered.renewed_total;
    }

    /// A stream of which nothing is known yet.
    pub(super) fn new_mirror(&self) -> Stream {
        let mut stream = Stream::new(0, self.now.monotonic_ms);
        stream.mirror = Mirror::Unknown;
        stream
    }

    /// Has the broker make a publication. Whoever holds a ticket is told what became of it.
    pub(super) fn hand_to_broker(
        &mut self,
        from: ShardId,
        channel: ChannelName,
        mut payload: Payload,
        ticket: Option<Ticket>,
    ) {
        let bytes = payload.bytes() + PENDING_BYTES;
        let may = self.own_for_publication(&channel).and_then(|index| {
            let brokered = self.brokered.as_deref().ok_or(PublishError::BrokerUnavailable)?;
            let has_room =
                brokered.count < BROKER_WAITING_MAX && brokered.bytes + bytes <= BROKER_WAITING_BYTES_MAX;
            has_room.then_some(index).ok_or(PublishError::BrokerUnavailable)
        });
        let index = match may {
            Ok(index) => index,
            Err(error) => {
                if error == PublishError::BrokerUnavailable {
                    self.count_refused(error);
                }
                return self.answer_published(from, ticket, Err(error));
            }
        };
        let (now, name) = (self.now, self.channels[index].name.clone());
        self.stream_mut(index).used_ms = now.monotonic_ms;
        let emission = payload.emission.as_deref_mut();
        let except_socket = emission.and_then(|emission| emission.except_socket.take());
        let position = Position { epoch: 0, offset: 0 };
        let publication = Publication { channel: name, position, unix_ms: now.unix_ms, payload };
        self.tell_cluster(&publication.payload, || {
            let Publication { channel, payload, unix_ms, .. } = &publication;
            let (channel, payload, unix_ms) = (channel.clone(), payload.clone(), *unix_ms);
            SharedPublication::new(Publication { channel, position, unix_ms, payload })
        });
        let Some(brokered) = self.brokered.as_deref_mut() else { return };
        let number = brokered.first + brokered.pending.len() as u64;
        brokered.pending.push_back(Some(Pending { from, ticket, except_socket, bytes }));
        (brokered.count, brokered.bytes) = (brokered.count + 1, brokered.bytes + bytes);
        brokered.asks.push(BrokerAsk::Publish { number, publication: Box::new(publication) });
        self.release(index);
    }

    /// Shows a shard something of a channel, when this copy is whole.
    pub(super) fn read_brokered(&mut self, from: ShardId, read: Read) {
        let channel = match &read {
            Read::Join { channel, .. } | Read::History { channel, .. } => channel.clone(),
            // Of these there are none.
            Read::State { .. } | Read::Presence { .. } => return self.read_here(from, read),
        };
        let index = match self.own(&channel) {
            Ok(index) => index,
            Err(error) => return self.refuse_read(from, read, error),
        };
        if self.must_catch_up_with(index, &read) {
            self.ask_again(index, 0);
        }
        match self.stream_mut(index).mirror {
            Mirror::None | Mirror::Whole => self.read_here(from, read),
            Mirror::Unknown | Mirror::Asked => self.keep_waiting(index, from, read),
        }
    }

    /// A channel is forgotten here.
    pub(super) fn leave_broker(&mut self, index: ChannelIndex) {
        self.clear_history(index);
        for (_, from, read) in self.take_held(index) {
            self.refuse_read(from, read, PublishError::BrokerUnavailable);
        }
        let stream = self.stream_mut(index);
        let was_followed = std::mem::replace(&mut stream.mirror, Mirror::Unknown) != Mirror::Unknown;
        if was_followed && let Some(brokered) = self.brokered.as_deref_mut() {
            let channel = self.channels[index].name.clone();
            brokered.asks.push(BrokerAsk::Leave { channel });
        }
    }

    /// Asks what the broker keeps of a channel.
    fn ask_again(&mut self, index: ChannelIndex, epoch_min: u64) {
        self.stream_mut(index).mirror = Mirror::Asked;
        let channel = self.channels[index].name.clone();
        if let Some(brokered) = self.brokered.as_deref_mut() {
            brokered.asks.push(BrokerAsk::Follow { channel, epoch_min });
        }
    }

    /// A channel of which this shard has a copy that is whole.
    fn whole(&self, channel: &ChannelName) -> Option<ChannelIndex> {
        let index = self.channels.find(channel)?;
        let stream = self.channels[index].stream()?;
        (stream.mirror == Mirror::Whole).then_some(index)
    }

    fn lose_broker(&mut self, broker: u16, why: BrokerLoss) {
        let Some(brokered) = self.brokered.as_deref_mut() else { return };
        brokered.brokers[usize::from(broker)].is_up = false;
        brokered.lost_total[why as usize] += 1;
        let count = brokered.brokers.len() as u16;
        for index in 0..self.channels.end() {
            let Some(channel) = self.channels.get_mut(index) else { continue };
            if let Role::Owner(stream) = &mut channel.role
                && stream.mirror == Mirror::Whole
                && broker_of(&channel.name, count) == broker
            {
                stream.mirror = Mirror::Asked;
            }
        }
    }

    fn handle_broker_published(&mut self, number: u64, result: Result<Position, PublishError>) {
        let Some(brokered) = self.brokered.as_deref_mut() else { return };
        let place = number.checked_sub(brokered.first).map(|place| place as usize);
        let Some(pending) = place.and_then(|place| brokered.pending.get_mut(place)?.as_mut()) else { return };
        brokered.count -= 1;
        brokered.bytes -= std::mem::take(&mut pending.bytes);
        let (from, ticket) = (pending.from, pending.ticket.take());
        // What is for everybody needs nothing remembered of it.
        if pending.except_socket.is_none() || result.is_err() {
            brokered.pending[place.unwrap_or_default()] = None;
        }
        brokered.forget_done();
        match result {
            Ok(_) => self.publications_total += 1,
            Err(error) => {
                self.publications_refused_total += 1;
                self.count_refused(error);
            }
        }
        self.answer_published(from, ticket, result);
    }

    fn count_refused(&mut self, error: PublishError) {
        if let Some(brokered) = self.brokered.as_deref_mut() {
            match error {
                PublishError::BrokerUnknown => brokered.unknown_total += 1,
                _ => brokered.refused_total += 1,
            }
        }
    }

    fn answer_published(
        &mut self,
        from: ShardId,
        ticket: Option<Ticket>,
        result: Result<Position, PublishError>,
    ) {
        let Some(ticket) = ticket else { return };
        match from == self.settings.shard {
            true => self.outputs.push_back(Output::Published { ticket, result }),
            false => self.send(from, Message::Published { ticket, result }),
        }
    }

    /// The broker tells what it keeps of a channel, which goes on from there.
    fn handle_following(&mut self, channel: &ChannelName, position: Position, kept: Vec<SharedPublication>) {
        let Some(index) = self.channels.find(channel) else { return };
        let stream = self.stream_mut(index);
        let before = stream.position;
        if stream.mirror == Mirror::Unknown {
            return;
        }
        if before.epoch == position.epoch && before.offset > position.offset {
            // Somebody was told more than it keeps.
            return self.ask_again(index, position.epoch + 1);
        }
        stream.mirror = Mirror::Whole;
        if before.epoch == 0 {
            stream.position = position;
            self.copy(index, kept);
        } else {
            if before.epoch != position.epoch {
                self.renew(index, position.epoch);
            }
            for publication in kept {
                let missed = publication.position.offset > self.stream_mut(index).position.offset;
                if missed {
                    self.stream_mut(index).position = publication.position;
                    self.hand_on(index, publication.unix_ms, publication.payload.clone());
                }
            }
            let stream = self.stream_mut(index);
            let is_all = std::mem::replace(&mut stream.position, position) == position;
            if !is_all || (before.epoch != position.epoch && position.offset == 0) {
                self.tell_of_gap(index);
            }
        }
        for (_, from, read) in self.take_held(index) {
            self.read_here(from, read);
        }
        self.release(index);
    }

    /// Keeps what the broker keeps and is not too old.
    fn copy(&mut self, index: ChannelIndex, kept: Vec<SharedPublication>) {
        let rule = self.stream_mut(index).rule;
        let age_max_ms = self.age_max_ms(rule);
        let since_ms = self.now.unix_ms.saturating_sub(age_max_ms);
        for publication in kept.into_iter().filter(|publication| publication.unix_ms >= since_ms) {
            self.keep(index, publication);
        }
    }

    fn handle_pushed(
        &mut self,
        channel: &ChannelName,
        epoch: u64,
        number: Option<u64>,
        publication: Option<Box<Publication>>,
    ) {
        let except_socket = number.and_then(|number| self.take_exception(number));
        let Some(index) = self.whole(channel) else { return };
        let stream = self.stream_mut(index);
        if epoch < stream.position.epoch {
            // What was refused, for the stream had begun anew.
            return;
        }
        if epoch > stream.position.epoch {
            return self.ask_again(index, 0);
        }
        stream.position.offset += 1;
        let Some(publication) = publication else { return self.tell_of_gap(index) };
        let Publication { unix_ms, mut payload, .. } = *publication;
        if let Some(emission) = payload.emission.as_deref_mut() {
            emission.except_socket = except_socket;
        }
        self.hand_on(index, unix_ms, payload);
    }

    /// For which socket of this node a publication is not.
    fn take_exception(&mut self, number: u64) -> Option<SocketId> {
        let brokered = self.brokered.as_deref_mut()?;
        let place = number.checked_sub(brokered.first)? as usize;
        let pending = brokered.pending.get_mut(place)?;
        let except_socket = pending.as_mut()?.except_socket.take();
        // One that is answered is done with.
        pending.take_if(|pending| pending.bytes == 0);
        brokered.forget_done();
        except_socket
    }

    /// A stream begins anew: what was kept of it is lost.
    fn renew(&mut self, index: ChannelIndex, epoch: u64) {
        self.clear_history(index);
        self.stream_mut(index).position = Position { epoch, offset: 0 };
        if let Some(brokered) = self.brokered.as_deref_mut() {
            brokered.renewed_total += 1;
        }
    }

    /// Tells everybody where a channel is now: what they have not been told up to there is lost.
    fn tell_of_gap(&mut self, index: ChannelIndex) {
        let Self { channels, outputs, .. } = self;
        let channel = &mut channels[index];
        let Some(stream) = channel.stream() else { return };
        let position = stream.position;
        for to in stream.shards() {
            let channel = channel.name.clone();
            outputs.push_back(Output::Send { to, message: Message::Announce { channel, position } });
        }
        if !channel.audience.is_empty() {
            channel.audience.announce(position);
            self.queue_fanout(index);
        }
    }

    fn clear_history(&mut self, index: ChannelIndex) {
        let rule = self.stream_mut(index).rule;
        while let Some((entry, bytes)) = self.stream_mut(index).history.pop() {
            self.ledgers.remove(rule, entry, bytes);
        }
    }
}

impl Brokered {
    fn is_up(&self) -> bool {
        self.brokers.iter().all(|standing| standing.is_up)
    }

    /// Forgets the first publications that are done with, and remembers no more than so many that are answered.
    fn forget_done(&mut self) {
        while let Some(first) = self.pending.front() {
            let is_done = first.as_ref().is_none_or(|first| first.bytes == 0);
            let is_known_no_more = first.is_none() || self.pending.len() > PENDING_KEPT;
            if !is_done || !is_known_no_more {
                return;
            }
            self.pending.pop_front();
            self.first += 1;
        }
    }
}

mod ahead;
#[cfg(test)]
mod tests;
mod waiting;
