//! The fan-out: what has been published is handed out.
//!
//! A channel's publications of one turn are encoded once per transport and joined, so that each subscriber gets one
//! frame reference and one send, however many they are.
//!
//! A turn hands out to so many subscribers, so many bytes of small publications, and so many of large ones, and one portion
//! of each channel. What is left waits with its channel, where it is kept once for all, and channels take turns. While too
//! much waits so, whoever publishes is not read ([`super::held_back`]).

use std::{collections::HashSet, rc::Rc};

use super::{
    encode::encode_fanout,
    kept_encodings::KeptEncodings,
    lines::{Broadcast, Delivery, Given},
    outbox::Outbox,
    several::Around,
    shown::{Astray, Snapshots, told_up_to},
    sockets::Surroundings,
    turn::Shard,
};
use crate::{
    hub::{Fanout, FanoutLimit},
    limits::{
        FANOUT_JOINED_PER_ONE, FANOUT_PER_TURN, LARGE_BYTES_PER_TURN, Limits, SMALL_BYTES_PER_TURN,
        SlowConsumer, WAIT_US_BOUNDS,
    },
    model::{ChannelName, CloseReason, Position, Transport, Work},
    ring::Encoded,
};

/// Rounds in which what waits for a fan-out follows it within one turn.
const ROUNDS_MAX: usize = 64;

/// Memory of the fan-out, used again each turn.
#[derive(Default)]
pub(super) struct FanoutScratch {
    /// Subscribers that may still be given something in this turn.
    room: usize,
    /// Bytes of small publications, and of large ones, that may still be sent in this turn.
    small_bytes: usize,
    large_bytes: usize,
    /// What had been given in this turn before what is being handed out.
    before: Given,
    /// Large publications that others are to be given.
    kept: KeptEncodings<KeptKey>,
    pub(super) bytes: Vec<u8>,
    pub(super) json: Vec<u8>,
    lost: Vec<u32>,
    answered: Vec<(Rc<Encoded>, Vec<u32>)>,
    /// Snapshots that were made in this turn.
    pub(super) snapshots: Snapshots,
    /// Those who need their channel's state again.
    pub(super) astray: Astray,
}

/// Of which portion of a channel an encoding is, behind which position and whether behind a gap, and for whom.
type KeptKey = (ChannelName, Position, bool, Transport);

impl FanoutScratch {
    fn begin_turn(&mut self) {
        self.room = FANOUT_PER_TURN;
        (self.small_bytes, self.large_bytes) = (SMALL_BYTES_PER_TURN, LARGE_BYTES_PER_TURN);
    }

    /// So many subscribers are handed something.
    fn note_begun(&mut self, subscribers: usize, before: Given) {
        self.room = self.room.saturating_sub(subscribers);
        self.before = before;
    }

    /// It has been. Of what is large the bytes count that are to be sent, for not all of them are at once. Who had something that
    /// waits to be sent already takes a part of the room only.
    fn note_given(&mut self, large_bytes: usize, after: Given) {
        let (given, joined) = (after.bytes - self.before.bytes, after.joined - self.before.joined);
        self.room += joined - joined.div_ceil(FANOUT_JOINED_PER_ONE);
        match large_bytes {
            0 => self.small_bytes = self.small_bytes.saturating_sub(given),
            bytes => self.large_bytes = self.large_bytes.saturating_sub(bytes.max(given)),
        }
    }

    /// A fan-out's publications as a transport's bytes, if it has any; of a large one, which is handed out in many turns, the
    /// same each time.
    fn encode(&mut self, outbox: &Outbox, transport: Transport, fanout: &Fanout<'_>) -> Option<Rc<Encoded>> {
        let is_it = |(channel, since, gap, of): &KeptKey| {
            (*of, *since, *gap) == (transport, fanout.since, fanout.gap) && channel == fanout.channel
        };
        if fanout.is_large
            && let Some(kept) = self.kept.find(is_it)
        {
            return Some(kept);
        }
        self.bytes.clear();
        encode_fanout(&mut self.bytes, &mut self.json, transport, fanout);
        if self.bytes.is_empty() {
            return None;
        }
        let bytes = outbox.encoded(&self.bytes);
        if fanout.is_large {
            self.kept.keep((fanout.channel.clone(), fanout.since, fanout.gap, transport), &bytes);
        }
        Some(bytes)
    }
}

impl Shard {
    /// Hands out what has been published, and does what waited for that, in as many rounds as it takes.
    pub(super) fn hand_out(&mut self) {
        self.fanout.begin_turn();
        self.hub.begin_fanout();
        self.lines.begin_to_hand_out();
        self.hand_out_in_rounds();
        self.hub.end_fanout();
    }

    fn hand_out_in_rounds(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.hub.pass_receipts(self.now);
            self.fan_out();
            let goes_on = self.hub.pass_receipts(self.now);
            if !(self.release_asks() | goes_on) {
                return;
            }
            self.settle();
        }
    }

    /// Encodes and queues what every channel has gathered, as much of it as one turn may.
    fn fan_out(&mut self) {
        let mut any = false;
        while let Some(limit) = self.limit_of_fanout()
            && let Some(fanout) = self.hub.poll_fanout(limit)
        {
            any = true;
            let subscribers = fanout.subscribers.iter().map(|list| list.len()).sum();
            self.work.count(Work::Deliveries, subscribers);
            for publication in fanout.publications {
                let waited_ms = self.now.unix_ms.saturating_sub(publication.unix_ms);
                self.report.delivery_us.note(&WAIT_US_BOUNDS, waited_ms * 1000);
            }
            let large_bytes = if fanout.is_large { fanout.bytes() * subscribers } else { 0 };
            let scratch = &mut self.fanout;
            scratch.note_begun(subscribers, self.lines.given());
            for transport in Transport::ALL {
                let slow_consumer = slow_consumer_of(transport, &self.limits);
                let (lines, report, astray) = (&mut self.lines, &mut self.report, &mut scratch.astray);
                let around = &mut Around { lines, report, slow_consumer, astray };
                let subscribers = self.severals.hear(&fanout, transport, around);
                scratch.astray.note(&self.lines, &fanout, transport);
                if subscribers.is_empty() {
                    continue;
                }
                if transport == Transport::SocketIo {
                    let around = &mut Surroundings { lines: &mut self.lines, report: &mut self.report };
                    self.engines.fan_out(&fanout, subscribers, around);
                    continue;
                }
                if fanout.gap && transport == Transport::WebSocket {
                    scratch.lost.extend_from_slice(subscribers);
                    continue;
                }
                let Some(bytes) = scratch.encode(&self.lines.outbox, transport, &fanout) else { continue };
                let publications = fanout.publications.len() as u32;
                self.report.deliveries_total += u64::from(publications) * subscribers.len() as u64;
                if transport == Transport::LongPoll {
                    scratch.answered.push((bytes, subscribers.to_vec()));
                    continue;
                }
                self.lines.compression.begin_fan_out(&bytes, fanout.channel, transport, fanout.publications);
                let broadcast = Broadcast { bytes: &bytes, publications, slow_consumer };
                for index in subscribers {
                    if let Delivery::Dropped(count) = self.lines.deliver(*index, &broadcast) {
                        self.report.dropped_slow_total += u64::from(count);
                        let told = told_up_to(&fanout);
                        scratch.astray.note_dropped(&self.lines, fanout.channel, told, *index);
                    }
                }
            }
            self.fanout.note_given(large_bytes, self.lines.given());
        }
        if any {
            self.after_fan_out();
            self.fan_out_by_rooms();
            self.end_slow();
        }
        if self.hub.has_handed_out_all() {
            self.lines.compression.end_fan_out();
            self.engines.end_fan_out();
            self.fanout.kept.clear();
            self.severals.end_fan_out();
        }
    }

    /// What may still be handed out in this turn: all, when clients are told to go behind it.
    fn limit_of_fanout(&self) -> Option<FanoutLimit> {
        if self.drain.is_some() {
            return Some(FanoutLimit::NONE);
        }
        let FanoutScratch { room, small_bytes, large_bytes, .. } = self.fanout;
        let large_bytes = if self.lines.has_much_left_over() { 0 } else { large_bytes };
        let whole = self.engines.whole();
        (room > 0).then_some(FanoutLimit {
            subscribers: room,
            small_bytes,
            large_bytes,
            whole,
            is_paced: true,
        })
    }

    /// Hands out what depends on the rooms Socket.IO's sockets are in, and ends the sessions that were found to have to.
    pub(super) fn fan_out_by_rooms(&mut self) {
        let around = &mut Surroundings { lines: &mut self.lines, report: &mut self.report };
        self.engines.fan_out_by_rooms(&self.hub, around);
        for (session, reason) in self.engines.take_ended() {
            self.end_engine(session, reason);
        }
    }

    /// Deals with the subscribers that a fan-out found slow, hurt or answered.
    fn after_fan_out(&mut self) {
        self.end_slow();
        self.answer_heard();
        for index in std::mem::take(&mut self.fanout.lost) {
            // One that follows several channels is found once for each; what tells it why is not to be discarded.
            if !self.lines.slab.look(index).session.has_ended() {
                self.lines.discard_waiting(index);
                self.close(index, CloseReason::PositionLost);
            }
        }
        self.show_again();
        // A burst with a gap comes in parts; what a poll is answered with is the first, and the rest is not for the
        // poll that its client may have sent behind it.
        let mut answered = HashSet::new();
        for (body, subscribers) in std::mem::take(&mut self.fanout.answered) {
            for index in subscribers {
                if answered.insert(index) {
                    self.answer_poll(index, &body);
                }
            }
        }
    }
}

/// What happens to a subscriber of this kind that reads too slowly. A frame of one channel has no offset to show a gap.
fn slow_consumer_of(transport: Transport, limits: &Limits) -> SlowConsumer {
    if transport == Transport::WebSocket { SlowConsumer::Close } else { limits.slow_consumer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::socketio::application,
        limits::SENT_BYTES_PER_TURN,
        model::{Payload, Publication, SharedPublication},
        shard::{
            outbox::Class,
            simulated::{Common, Shards},
        },
    };

    fn name(name: &str) -> ChannelName {
        ChannelName::new(name, 255).expect("a name")
    }

    fn large(channel: &ChannelName, offset: u64) -> [SharedPublication; 1] {
        let payload = Payload::text_of(&format!("{channel} {offset}"), None);
        let position = Position { epoch: 1, offset };
        [SharedPublication::new(Publication { channel: channel.clone(), position, unix_ms: 0, payload })]
    }

    #[test]
    fn what_is_kept_of_a_large_publication_is_for_its_channel_its_place_and_its_transport_alone() {
        let (outbox, mut scratch) = (Outbox::new(1_000), FanoutScratch::default());
        let mut kept: Vec<Rc<Encoded>> = Vec::new();
        for _ in 0..2 {
            let mut each = kept.clone().into_iter();
            for channel in [name("a"), name("b")] {
                for offset in [1, 2] {
                    let publications = large(&channel, offset);
                    for (gap, transport) in [
                        (false, Transport::Json),
                        (false, Transport::EventStream),
                        (false, Transport::LongPoll),
                        (true, Transport::LongPoll),
                    ] {
                        let since = Position { epoch: 1, offset: offset - 1 };
                        let subscribers = [&[][..]; Transport::ALL.len()];
                        let publications = &publications[..];
                        let fanout = Fanout {
                            channel: &channel,
                            publications,
                            subscribers,
                            gap,
                            since,
                            is_large: true,
                        };
                        let made = scratch.encode(&outbox, transport, &fanout).expect("there is something");
                        let (mut fresh, mut json) = (Vec::new(), Vec::new());
                        encode_fanout(&mut fresh, &mut json, transport, &fanout);
                        assert_eq!(made.as_slice(), fresh, "{channel} {offset} {transport:?}");
                        match each.next() {
                            None => kept.push(made),
                            Some(before) => assert!(Rc::ptr_eq(&before, &made), "once for all turns"),
                        }
                    }
                }
            }
            assert_eq!(kept.len(), 16);
        }
    }

    #[test]
    fn a_turn_gives_so_many_subscribers_so_many_small_bytes_and_so_many_large_ones() {
        let mut scratch = FanoutScratch::default();
        let given = |bytes, joined| Given { bytes, joined };
        let left = |scratch: &FanoutScratch| {
            let FanoutScratch { room, small_bytes, large_bytes, .. } = scratch;
            (FANOUT_PER_TURN - room, SMALL_BYTES_PER_TURN - small_bytes, LARGE_BYTES_PER_TURN - large_bytes)
        };
        scratch.begin_turn();
        scratch.note_begun(10, given(100, 0));
        scratch.note_given(0, given(1_100, 0));
        assert_eq!(left(&scratch), (10, 1_000, 0));
        // Who has something that waits already takes an eighth, of which a part is a whole.
        scratch.note_begun(20, given(1_100, 3));
        scratch.note_given(0, given(1_100, 20));
        assert_eq!(left(&scratch), (10 + 20 - 17 + 3, 1_000, 0));
        // Of what is large less leaves at once than is to be sent, or more, where it leaves as another encoding.
        scratch.note_begun(5, given(1_100, 0));
        scratch.note_given(5_000, given(1_400, 0));
        assert_eq!(left(&scratch), (21, 1_000, 5_000));
        scratch.note_begun(1, given(1_400, 0));
        scratch.note_given(5_000, given(8_400, 0));
        assert_eq!(left(&scratch), (22, 1_000, 12_000));
        scratch.note_begun(FANOUT_PER_TURN, given(8_400, 0));
        scratch.note_given(usize::MAX, given(8_400, 0));
        assert_eq!(left(&scratch), (FANOUT_PER_TURN, 1_000, LARGE_BYTES_PER_TURN));
        scratch.begin_turn();
        assert_eq!(left(&scratch), (0, 0, 0));
    }

    #[test]
    fn nothing_large_is_handed_out_while_much_is_left_over_and_everything_when_the_shard_is_drained() {
        let mut shards = Shards::new(&Common::of_one(4), application(|_| ()));
        let clients = [(); 3].map(|()| shards.connect(0, 1).expect("there is room"));
        let shard = &mut shards.all[0];
        shard.fanout.begin_turn();
        let limit = shard.limit_of_fanout().expect("nothing has been handed out");
        assert_eq!((limit.subscribers, limit.large_bytes), (FANOUT_PER_TURN, LARGE_BYTES_PER_TURN));
        assert!(limit.is_paced);
        let answer: &'static [u8] = vec![b'x'; SENT_BYTES_PER_TURN].leak();
        for (_, index) in &clients {
            shard.lines.push(*index, Class::Answer, crate::ring::SendBytes::Static(answer));
        }
        shard.lines.flush();
        let limit = shard.limit_of_fanout().expect("what is small is handed out");
        assert_eq!((limit.small_bytes, limit.large_bytes), (SMALL_BYTES_PER_TURN, 0));
        shard.fanout.note_begun(FANOUT_PER_TURN, Given::default());
        assert!(shard.limit_of_fanout().is_none(), "so many have been given something");
        shard.begin_drain();
        let limit = shard.limit_of_fanout().expect("there is no other turn");
        assert_eq!((limit.subscribers, limit.large_bytes), (usize::MAX, usize::MAX));
    }
}
