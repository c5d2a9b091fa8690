//! Publications that are held back until what their issuer asked before has been handed out on this shard.
//!
//! What one issuer publishes to channels of different owners comes here by different links. Each publication says which
//! owners' receipts stand before it ([`After`]); an owner gives a receipt behind what it delivered, so whoever has it, and has
//! handed out what the channel had gathered then, has handed out all that stands before.
//!
//! ```text
//!   from 1    ── Deliver a5 ─ Receipt 7 ──────────►  a5 handed out ─► 7 is here
//!   from 2    ── Deliver b3 (after 1's 7) ───────►  b3 and what comes behind it in b are held back until then
//! ```
//!
//! Whoever is held back stands in its channel's burst, so channels keep their order, and newcomers, bytes that wait and
//! marks are as for whatever waits to be handed out. Only one shard at a time sends what is held back (`shard/lease.rs`), and
//! each publication stands behind earlier ones of that shard alone, so that no two wait for each other.
//!
//! Nothing is held back longer than [`ORDER_WAIT_MAX_MS`], nor for an owner that does no turns or begins anew, nor with more
//! than [`HELD_BACK_BYTES_MAX`] waiting: then order is lost, and nothing else.
//!
//! [`After`]: crate::model::After

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use rustc_hash::FxHashMap;

use super::{Hub, Waiting, channel::ChannelIndex};
use crate::{
    limits::{HELD_BACK_BYTES_MAX, ORDER_WAIT_MAX_MS, RECEIPTS_OPEN_MAX},
    mesh::Message,
    model::{ChannelName, Durability, Now, Publication, ShardId, ShardSet},
};

/// Of whom, and through whom.
type Way = (ShardId, ShardId);

/// The receipts that have come, and who waits for others.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    reached: Reached,
    /// Receipts behind something that waits to be handed out, oldest first.
    open: FxHashMap<Way, VecDeque<(u64, Waiting)>>,
    /// Channels whose next publication is held back, and since when. They count as being in the fan-out.
    held: FxHashMap<ChannelIndex, u64>,
    /// Which receipt of a way each of them waits for, the next first. One that has gone on since may stand here as well.
    awaited: FxHashMap<Way, BinaryHeap<Reverse<(u64, ChannelIndex)>>>,
    /// Those of them that may go on.
    ready: Vec<ChannelIndex>,
    /// Owners that are not waited for until they give a receipt.
    muted: ShardSet,
    /// Shards that began anew: nothing that they sent before is held back, nor what they send before their first receipt.
    lost: ShardSet,
    /// Whether any that is held back may go on.
    is_fresh: bool,
}

/// The last receipt of each way before which everything has been handed out, by origin and by owner; 0 if there is none.
#[derive(Debug, Default)]
struct Reached(Vec<Vec<u64>>);

impl Reached {
    fn get(&self, (origin, owner): Way) -> u64 {
        let of_origin = self.0.get(usize::from(origin.0));
        of_origin.and_then(|numbers| numbers.get(usize::from(owner.0))).copied().unwrap_or(0)
    }

    /// Everything before this receipt has been handed out, too; the last of which that is so.
    fn raise(&mut self, (origin, owner): Way, number: u64) -> u64 {
        let (origin, owner) = (usize::from(origin.0), usize::from(owner.0));
        if self.0.len() <= origin {
            self.0.resize(origin + 1, Vec::new());
        }
        let numbers = &mut self.0[origin];
        if numbers.len() <= owner {
            numbers.resize(owner + 1, 0);
        }
        numbers[owner] = number.max(numbers[owner]);
        numbers[owner]
    }

    /// Forgets what has come of a shard, and through it.
    fn forget(&mut self, shard: ShardId) {
        let shard = usize::from(shard.0);
        self.0.get_mut(shard).into_iter().for_each(Vec::clear);
        self.0.iter_mut().filter_map(|numbers| numbers.get_mut(shard)).for_each(|number| *number = 0);
    }
}

impl Receipts {
    /// Whether something before a publication may not have been handed out.
    pub(super) fn hold(&self, publication: &Publication) -> bool {
        self.missing(publication).is_some()
    }

    /// A receipt behind which a publication stands, and before which something may not have been handed out.
    fn missing(&self, publication: &Publication) -> Option<(Way, u64)> {
        let after = publication.payload.after.as_deref()?;
        if self.lost.contains(after.origin) {
            return None;
        }
        let is_missing = |&(owner, number): &(ShardId, u64)| {
            let way = (after.origin, owner);
            let has_come = self.reached.get(way) >= number || self.muted.contains(owner);
            (!has_come).then_some((way, number))
        };
        after.receipts.iter().find_map(is_missing)
    }

    /// Keeps a channel whose next publication is held back.
    pub(super) fn keep(&mut self, channel: ChannelIndex, now_ms: u64) {
        self.held.insert(channel, now_ms);
        // Its receipts may have come since the publication did.
        self.ready.push(channel);
    }

    /// Whether no channel is held back.
    pub(super) fn are_none_held(&self) -> bool {
        self.held.is_empty()
    }

    /// The channels that are held back.
    pub(super) fn held(&self) -> impl Iterator<Item = ChannelIndex> {
        self.held.keys().copied()
    }

    /// Takes a receipt, behind what waits to be handed out, if anything does.
    pub(super) fn note(&mut self, way: Way, number: u64, waiting: Option<Waiting>) {
        self.muted.remove(way.1);
        self.lost.remove(way.0);
        match (self.open.get_mut(&way), waiting) {
            (None, None) => self.reach(way, number),
            (None, Some(waiting)) => _ = self.open.insert(way, [(number, waiting)].into()),
            (Some(open), Some(waiting)) if open.len() < RECEIPTS_OPEN_MAX => {
                open.push_back((number, waiting))
            }
            // All before it come before it; what waits for the last waits for all.
            (Some(open), waiting) => {
                if let Some(last) = open.back_mut() {
                    *last = (number, waiting.unwrap_or(last.1));
                }
            }
        }
    }

    fn reach(&mut self, way: Way, number: u64) {
        let reached = self.reached.raise(way, number);
        let Some(awaited) = self.awaited.get_mut(&way) else { return };
        while let Some(Reverse((next, channel))) = awaited.peek().copied()
            && next <= reached
        {
            awaited.pop();
            self.ready.push(channel);
        }
    }

    fn mute(&mut self, owners: &ShardSet) {
        self.muted.extend(owners.iter());
        self.is_fresh = true;
    }
}

impl Hub {
    /// Lets an owner give every shard a receipt for what this shard has published through it, of which the last was to this
    /// channel.
    pub fn ask_receipt(&mut self, owner: ShardId, number: u64, channel: ChannelName) {
        match owner == self.settings.shard {
            true => self.give_receipt(owner, number, &channel),
            false => self.send(owner, Message::AskReceipt { number, channel }),
        }
    }

    /// Gives every shard a receipt, this one as well.
    pub(super) fn give_receipt(&mut self, origin: ShardId, number: u64, channel: &ChannelName) {
        self.give_receipt_but(&ShardSet::default(), (origin, number), channel);
    }

    /// Gives the receipt that a publication itself asks for, if it does. The shards that it was delivered to have it by that.
    pub(super) fn give_receipt_of(
        &mut self,
        asked: Option<(ShardId, u64)>,
        channel: &ChannelName,
        was_delivered: bool,
    ) {
        let Some(asked) = asked else { return };
        let stream = self.stream_of(channel).filter(|_| was_delivered);
        let told: ShardSet = stream.into_iter().flat_map(|stream| stream.shards()).collect();
        self.give_receipt_but(&told, asked, channel);
    }

    fn give_receipt_but(&mut self, told: &ShardSet, (origin, number): (ShardId, u64), channel: &ChannelName) {
        let me = self.settings.shard;
        for to in me.others(self.settings.shards).filter(|to| !told.contains(*to)) {
            self.send(to, Message::Receipt { origin, number, channel: channel.clone() });
        }
        self.take_receipt((origin, me), number, channel);
    }

    pub(super) fn take_receipt(&mut self, way: Way, number: u64, channel: &ChannelName) {
        let waiting = self.waiting(channel);
        self.receipts.note(way, number, waiting);
    }

    /// Lets go on what was held back and need not be any more, also what has waited too long; tells whether there was any.
    pub fn pass_receipts(&mut self, now: Now) -> bool {
        self.give_up_overdue(now.monotonic_ms);
        self.let_go_on()
    }

    /// Lets go on what stands behind nothing any more that waits to be handed out; tells whether there was any.
    pub(super) fn let_go_on(&mut self) -> bool {
        if self.receipts.open.is_empty() && self.receipts.held.is_empty() {
            return false;
        }
        self.reach_open();
        let mut ready = std::mem::take(&mut self.receipts.ready);
        if std::mem::take(&mut self.receipts.is_fresh) {
            ready.clear();
            self.receipts.awaited.clear();
            ready.extend(self.receipts.held());
        }
        let (is_too_much, before) = (self.gathered_bytes() > HELD_BACK_BYTES_MAX, self.fanout_queue.len());
        for index in ready.drain(..) {
            if !self.receipts.held.contains_key(&index) {
                continue;
            }
            let (audience, receipts) = (&mut self.channels[index].audience, &mut self.receipts);
            let missing = |publication: &Publication| receipts.missing(publication).filter(|_| !is_too_much);
            match audience.go_on(missing) {
                Some((way, number)) => {
                    receipts.awaited.entry(way).or_default().push(Reverse((number, index)));
                }
                None => {
                    receipts.held.remove(&index);
                    self.fanout_queue.push_back(index);
                }
            }
        }
        self.receipts.ready = ready;
        self.fanout_queue.len() > before
    }

    /// Finds the receipts before which everything has been handed out.
    fn reach_open(&mut self) {
        if self.receipts.open.is_empty() {
            return;
        }
        let mut open = std::mem::take(&mut self.receipts.open);
        open.retain(|way, receipts| {
            let mut last = None;
            while let Some((number, _)) = receipts.front().filter(|(_, waiting)| self.is_handed_out(waiting))
            {
                last = Some(*number);
                receipts.pop_front();
            }
            last.into_iter().for_each(|number| self.receipts.reach(*way, number));
            !receipts.is_empty()
        });
        self.receipts.open = open;
    }

    /// Owners that say nothing: nobody waits for their receipts until they give one.
    pub fn mute_receipts(&mut self, owners: &ShardSet) {
        self.receipts.mute(owners);
    }

    /// A shard has lost everything: it gives no receipt that it was asked for, and has asked for none.
    pub(super) fn lose_receipts(&mut self, lost: ShardId) {
        let Receipts { reached, open, .. } = &mut self.receipts;
        reached.forget(lost);
        open.retain(|way, _| way.0 != lost && way.1 != lost);
        self.receipts.lost.insert(lost);
        self.receipts.mute(&[lost].into_iter().collect());
    }

    /// Whether a channel's publications are told at once by its owner, so that a receipt can stand behind them.
    pub fn tells_at_once(&self, channel: &ChannelName) -> bool {
        self.brokered.is_none() && self.durability_of(channel) != Durability::Synced
    }

    /// Whether something is held back that what other shards send may let go on.
    pub fn holds_back(&self) -> bool {
        !self.receipts.are_none_held()
    }

    fn give_up_overdue(&mut self, now_ms: u64) {
        if self.receipts.held.is_empty() {
            return;
        }
        let (mut late, mut is_fresh) = (ShardSet::default(), self.gathered_bytes() > HELD_BACK_BYTES_MAX);
        for (index, since_ms) in &self.receipts.held {
            let next = self.channels[*index].audience.held_back();
            // All who were to get it may have gone.
            let Some(after) = next.and_then(|publication| publication.payload.after.as_deref()) else {
                is_fresh = true;
                continue;
            };
            if now_ms.saturating_sub(*since_ms) >= ORDER_WAIT_MAX_MS {
                late.extend(after.receipts.iter().map(|(way, _)| *way));
            }
        }
        self.receipts.is_fresh |= is_fresh;
        if !late.is_empty() {
            self.receipts.mute(&late);
        }
    }
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::{
        hub::{FanoutLimit, HubSettings, Output},
        limits::Limits,
        mesh::{JoinAsked, Welcome},
        model::{After, ConnectionId, Payload, Position, SharedPublication, Transport},
    };

    const HERE: ShardId = ShardId(0);
    const OWNERS: [ShardId; 2] = [ShardId(1), ShardId(2)];
    const ORIGIN: ShardId = ShardId(3);
    const NOW: Now = Now { monotonic_ms: 7, unix_ms: 0 };
    const LATE: Now = Now { monotonic_ms: 7 + ORDER_WAIT_MAX_MS, unix_ms: 0 };

    /// A shard with a subscriber to a channel of each owner.
    struct Rig {
        hub: Hub,
        channels: [ChannelName; 2],
    }

    impl Rig {
        fn new() -> Self {
            let mut hub = Hub::new(HubSettings::of_shard(&Limits::default(), HERE, 4, 100, 1, 2));
            let owners = hub.owners();
            let channels = OWNERS.map(|owner| {
                let mut names =
                    (0..).map(|n| ChannelName::new(&format!("channel-{n}"), 255).expect("a name"));
                names.find(|name| owners.of(name) == owner).expect("there is one")
            });
            for (channel, owner) in channels.iter().zip(OWNERS) {
                let who = ConnectionId { index: 1, generation: 1 };
                hub.subscribe(NOW, who, Transport::Json, channel.clone(), None, None).expect("it may");
                let Some(Output::Send { message: Message::Join { join, .. }, .. }) = hub.poll_output() else {
                    panic!("the owner is asked")
                };
                let result = Ok(Welcome::to(Position { epoch: 1, offset: 0 }));
                hub.handle_message(NOW, owner, Message::Joined { join, result });
                while hub.poll_output().is_some() {}
            }
            Self { hub, channels }
        }

        /// An owner delivers something that stands behind the other's receipt of this number, if any.
        fn deliver(&mut self, owner: usize, offset: u64, receipt: Option<u64>) {
            let way = OWNERS[1 - owner];
            let after = receipt.map(|number| {
                let receipts = [(way, number)].into_iter().collect();
                Box::new(After { origin: ORIGIN, receipts, receipt: 0 })
            });
            self.deliver_after(owner, offset, after);
        }

        fn deliver_after(&mut self, owner: usize, offset: u64, after: Option<Box<After>>) {
            let mut payload = Payload::new(*b"hello", None);
            payload.after = after;
            let (channel, position) = (self.channels[owner].clone(), Position { epoch: 1, offset });
            let publication = SharedPublication::new(Publication { channel, position, unix_ms: 0, payload });
            self.hub.handle_message(NOW, OWNERS[owner], Message::Deliver(publication));
        }

        fn receipt(&mut self, owner: usize, number: u64) {
            let channel = self.channels[owner].clone();
            let receipt = Message::Receipt { origin: ORIGIN, number, channel };
            self.hub.handle_message(NOW, OWNERS[owner], receipt);
        }

        /// What a turn hands out: of which owner, and the offsets.
        fn hand_out(&mut self, now: Now) -> Vec<(usize, Vec<u64>)> {
            let mut handed = Vec::new();
            self.hub.begin_fanout();
            loop {
                self.hub.pass_receipts(now);
                let limit = FanoutLimit { is_paced: true, ..FanoutLimit::NONE };
                while let Some(fanout) = self.hub.poll_fanout(limit) {
                    let owner =
                        self.channels.iter().position(|name| name == fanout.channel).expect("its channel");
                    handed.push((owner, fanout.publications.iter().map(|one| one.position.offset).collect()));
                }
                if !self.hub.pass_receipts(now) {
                    return handed;
                }
            }
        }
    }

    #[test]
    fn what_came_first_by_another_link_is_handed_out_behind_what_stands_before_it() {
        let mut rig = Rig::new();
        rig.deliver(1, 1, Some(1));
        assert_eq!(rig.hand_out(NOW), []);
        assert!(rig.hub.holds_back() && !rig.hub.has_told_all() && rig.hub.all_waiting().len() == 1);
        rig.deliver(0, 1, None);
        assert_eq!(rig.hand_out(NOW), [(0, vec![1])], "there is no receipt behind it yet");
        rig.receipt(0, 1);
        assert_eq!(rig.hand_out(NOW), [(1, vec![1])]);
        assert!(!rig.hub.holds_back() && rig.hub.has_told_all());
    }

    #[test]
    fn a_burst_that_goes_to_and_fro_is_handed_out_in_one_turn_and_in_its_order() {
        let mut rig = Rig::new();
        for number in 1..=3 {
            rig.deliver(1, number, Some(number));
            rig.receipt(1, number);
        }
        for number in 1..=3 {
            rig.deliver(0, number, (number > 1).then(|| number - 1));
            rig.receipt(0, number);
        }
        let expected: Vec<_> = (1..=3).flat_map(|number| [(0, vec![number]), (1, vec![number])]).collect();
        assert_eq!(rig.hand_out(NOW), expected);
    }

    #[test]
    fn a_receipt_counts_once_what_was_delivered_before_it_has_been_handed_out() {
        let mut rig = Rig::new();
        rig.deliver(0, 1, None);
        rig.receipt(0, 1);
        rig.deliver(1, 1, Some(1));
        rig.hub.begin_fanout();
        assert!(!rig.hub.pass_receipts(NOW));
        assert_eq!(rig.hand_out(NOW), [(0, vec![1]), (1, vec![1])]);
    }

    #[test]
    fn what_is_delivered_with_a_number_is_its_own_receipt() {
        let mut rig = Rig::new();
        let numbered = |after: Option<u64>, own: u64| {
            let receipts = after.map(|number| (OWNERS[0], number)).into_iter().collect();
            Some(Box::new(After { origin: ORIGIN, receipts, receipt: own }))
        };
        rig.deliver_after(1, 1, numbered(Some(1), 1));
        assert_eq!(rig.hand_out(NOW), []);
        rig.deliver_after(0, 1, numbered(None, 1));
        assert_eq!(rig.hand_out(NOW), [(0, vec![1]), (1, vec![1])]);
        // Of a channel that nobody follows here any more as well.
        let gone = ConnectionId { index: 1, generation: 1 };
        rig.deliver_after(1, 2, numbered(Some(2), 2));
        rig.hub.unsubscribe(gone, &rig.channels[0]);
        rig.deliver_after(0, 2, numbered(None, 2));
        assert_eq!(rig.hand_out(NOW), [(1, vec![2])]);
    }

    #[test]
    fn an_owner_gives_the_receipt_that_a_publication_asks_for_to_those_it_is_not_delivered_to() {
        let mut hub = Hub::new(HubSettings::of_shard(&Limits::default(), HERE, 4, 100, 1, 2));
        let owners = hub.owners();
        let is_own = |name: &ChannelName| owners.of(name) == HERE;
        let mut names = (0..).map(|n| ChannelName::new(&format!("channel-{n}"), 255).expect("a name"));
        let channel = names.find(is_own).expect("there is one");
        let (asked, join) = (JoinAsked::NOTHING, 1);
        hub.handle_message(NOW, OWNERS[0], Message::Join { channel: channel.clone(), asked, join });
        while hub.poll_output().is_some() {}
        let mut payload = Payload::new(*b"hello", None);
        payload.after = Some(Box::new(After { origin: ORIGIN, receipts: SmallVec::new(), receipt: 9 }));
        hub.handle_message(NOW, ORIGIN, Message::Publish { channel, payload, ticket: None });
        let said = std::iter::from_fn(|| hub.poll_output()).map(|output| match output {
            Output::Send { to, message: Message::Deliver(_) } => (to, "delivered"),
            Output::Send { to, message: Message::Receipt { origin: ORIGIN, number: 9, .. } } => {
                (to, "receipt")
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(
            said.collect::<Vec<_>>(),
            [(OWNERS[0], "delivered"), (OWNERS[1], "receipt"), (ORIGIN, "receipt")]
        );
    }

    #[test]
    fn nobody_is_held_back_for_ever_and_then_not_for_that_owner_until_it_gives_a_receipt() {
        let mut rig = Rig::new();
        rig.deliver(1, 1, Some(1));
        assert_eq!(rig.hand_out(NOW), []);
        assert_eq!(rig.hand_out(LATE), [(1, vec![1])]);
        rig.deliver(1, 2, Some(2));
        assert_eq!(rig.hand_out(LATE), [(1, vec![2])]);
        rig.receipt(0, 2);
        rig.deliver(1, 3, Some(3));
        assert_eq!(rig.hand_out(NOW), []);
    }

    #[test]
    fn an_owner_that_hangs_and_shards_that_begin_anew_let_go_what_waits_for_them() {
        type Change = fn(&mut Hub);
        let changes: [Change; 3] = [
            |hub| hub.mute_receipts(&[OWNERS[0]].into_iter().collect()),
            |hub| hub.lose(NOW, OWNERS[0]),
            |hub| hub.lose(NOW, ORIGIN),
        ];
        for change in changes {
            let mut rig = Rig::new();
            rig.deliver(1, 1, Some(1));
            assert_eq!(rig.hand_out(NOW), []);
            change(&mut rig.hub);
            assert_eq!(rig.hand_out(NOW), [(1, vec![1])]);
        }
    }

    #[test]
    fn nothing_is_held_back_while_too_much_waits() {
        let mut rig = Rig::new();
        rig.deliver(1, 1, Some(1));
        assert_eq!(rig.hand_out(NOW), []);
        let filler = Payload::new(vec![b'x'; 60_000], None);
        let channel = rig.channels[1].clone();
        for offset in 2.. {
            if rig.hub.gathered_bytes() > HELD_BACK_BYTES_MAX {
                break;
            }
            let position = Position { epoch: 1, offset };
            let publication =
                Publication { channel: channel.clone(), position, unix_ms: 0, payload: filler.clone() };
            rig.hub.handle_message(NOW, OWNERS[1], Message::Deliver(publication.into()));
        }
        assert_eq!(rig.hand_out(NOW).first(), Some(&(1, vec![1, 2])));
    }

    #[test]
    fn a_channel_that_nobody_follows_any_more_is_not_kept_for_what_was_held_back() {
        let mut rig = Rig::new();
        rig.deliver(1, 1, Some(1));
        assert_eq!(rig.hand_out(NOW), []);
        rig.hub.leave_all(ConnectionId { index: 1, generation: 1 });
        assert_eq!(rig.hand_out(NOW), []);
        assert!(!rig.hub.holds_back() && rig.hub.has_told_all());
    }
}
