//! Subscribers that go from shard to shard at random while others publish, with a seed instead of chance: each hears every
//! publication once, in order, though nothing of a channel is kept as history.

use std::collections::VecDeque;

use super::*;
use crate::{
    hub::{FanoutLimit, HubSettings, Wanted, durable::tests::at},
    limits::Limits,
    mesh::Message,
    model::{Payload, ShardId},
};

const SHARDS: u16 = 3;
const CHANNELS: usize = 3;
const SUBSCRIBERS: u32 = 6;

/// What is on its way from one shard to another.
enum Parcel {
    Hub(Message),
    Comes { subscriber: usize, told: Subscription },
}

/// Where a subscriber is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    At(u16),
    /// It is expected at the other, under this number.
    Expected(u16, u16, u64),
    Between(u16, u64),
    /// It has come, and does not follow on yet.
    Come(u16, u64),
}

struct Subscriber {
    channel: ChannelName,
    transport: Transport,
    generation: u32,
    whereabouts: Whereabouts,
    told: Option<Subscription>,
    heard: u64,
    moves: u32,
}

struct World {
    rng: fastrand::Rng,
    hubs: Vec<Hub>,
    links: Vec<VecDeque<Parcel>>,
    subscribers: Vec<Subscriber>,
    numbers: u64,
    published: Vec<u64>,
}

fn name(number: usize) -> ChannelName {
    ChannelName::new(&format!("channel-{number}"), 255).expect("a name")
}

impl World {
    fn new(seed: u64) -> Self {
        let limits = Limits { history_publications_max: 0, ..Limits::default() };
        let hub = |shard| Hub::new(HubSettings::of_shard(&limits, ShardId(shard), SHARDS, 100, seed, seed));
        let mut rng = fastrand::Rng::with_seed(seed);
        let subscribers = (0..SUBSCRIBERS).map(|number| Subscriber {
            channel: name(number as usize % CHANNELS),
            transport: [Transport::WebSocket, Transport::Json, Transport::EventStream][rng.usize(0..3)],
            generation: 1,
            whereabouts: Whereabouts::At(rng.u16(0..SHARDS)),
            told: None,
            heard: 0,
            moves: 0,
        });
        let subscribers: Vec<_> = subscribers.collect();
        let links = (0..SHARDS * SHARDS).map(|_| VecDeque::new()).collect();
        let hubs = (0..SHARDS).map(hub).collect();
        let mut world = Self { rng, hubs, links, subscribers, numbers: 0, published: vec![0; CHANNELS] };
        for at in 0..SUBSCRIBERS as usize {
            let Whereabouts::At(shard) = world.subscribers[at].whereabouts else {
                unreachable!("all begin so")
            };
            let (id, transport) = (world.id(at), world.subscribers[at].transport);
            let channel = world.subscribers[at].channel.clone();
            let hub = &mut world.hubs[usize::from(shard)];
            hub.subscribe(self::at(0), id, transport, channel, Wanted::default(), None)
                .expect("there is room");
            world.settle(shard);
        }
        world.calm_down();
        world
    }

    fn id(&self, at: usize) -> ConnectionId {
        ConnectionId { index: at as u32, generation: self.subscribers[at].generation }
    }

    fn link(&mut self, from: u16, to: u16) -> &mut VecDeque<Parcel> {
        &mut self.links[usize::from(from * SHARDS + to)]
    }

    /// Carries out what a hub wants.
    fn settle(&mut self, shard: u16) {
        while let Some(output) = self.hubs[usize::from(shard)].poll_output() {
            match output {
                Output::Send { to, message } => self.link(shard, to.0).push_back(Parcel::Hub(message)),
                Output::Joined { connection, welcome, .. } => {
                    assert!(welcome.recovered && welcome.rest == 0);
                    welcome.missed.iter().for_each(|one| self.hear(connection.index as usize, one.position));
                }
                Output::JoinRefused { error, .. } => panic!("{error:?}"),
                _ => {}
            }
        }
    }

    fn hear(&mut self, subscriber: usize, position: Position) {
        let heard = &mut self.subscribers[subscriber].heard;
        *heard += 1;
        assert_eq!(position.offset, *heard, "no gap, nothing twice");
    }

    fn hand_out(&mut self, shard: u16) {
        let limit = match self.rng.bool() {
            true => FanoutLimit::NONE,
            false => FanoutLimit { subscribers: 1, ..FanoutLimit::NONE },
        };
        self.hubs[usize::from(shard)].begin_fanout();
        let mut left = if limit.subscribers == 1 { self.rng.usize(1..4) } else { usize::MAX };
        while left > 0
            && let Some(fanout) = self.hubs[usize::from(shard)].poll_fanout(limit)
        {
            assert!(!fanout.gap);
            let positions: Vec<_> = fanout.publications.iter().map(|one| one.position).collect();
            let heard: Vec<_> = fanout.subscribers.iter().copied().flatten().copied().collect();
            for subscriber in heard {
                let whereabouts = self.subscribers[subscriber as usize].whereabouts;
                let here =
                    matches!(whereabouts, Whereabouts::At(at) | Whereabouts::Expected(at, ..) if at == shard);
                assert!(here, "{whereabouts:?} is told something at {shard}");
                positions.iter().for_each(|position| self.hear(subscriber as usize, *position));
            }
            left -= 1;
        }
        self.hubs[usize::from(shard)].end_fanout();
    }

    fn receive(&mut self, from: u16, to: u16) {
        let Some(parcel) = self.link(from, to).pop_front() else { return };
        match parcel {
            Parcel::Hub(message) => {
                self.hubs[usize::from(to)].handle_message(at(0), ShardId(from), message);
                self.settle(to);
            }
            Parcel::Comes { subscriber, told } => {
                let one = &mut self.subscribers[subscriber];
                let Whereabouts::Between(_, number) = one.whereabouts else { panic!("it was on its way") };
                (one.whereabouts, one.told) = (Whereabouts::Come(to, number), Some(told));
            }
        }
    }

    /// Takes a step with a subscriber that goes, or lets it begin to.
    fn step(&mut self, subscriber: usize) {
        let (id, channel) = (self.id(subscriber), self.subscribers[subscriber].channel.clone());
        let next = match self.subscribers[subscriber].whereabouts {
            Whereabouts::At(from) => {
                let to = (from + self.rng.u16(1..SHARDS)) % SHARDS;
                self.numbers += 1;
                let number = self.numbers;
                assert!(self.hubs[usize::from(to)].expect_newcomer(at(0), number, &[channel]));
                self.settle(to);
                Whereabouts::Expected(from, to, number)
            }
            Whereabouts::Expected(from, to, number) if self.rng.u8(0..10) == 0 => {
                self.hubs[usize::from(to)].expect_newcomer_no_more(at(0), number);
                self.settle(to);
                Whereabouts::At(from)
            }
            Whereabouts::Expected(from, to, number) => {
                let begins = self.hubs[usize::from(to)].newcomer_begins(number);
                let told = self.hubs[usize::from(from)].followed_by(id, |_| None);
                let (Some(begins), Some(told)) = (begins, told) else { return };
                if told[0].position.offset < begins[0].offset {
                    return;
                }
                let told = told.into_iter().next().expect("one");
                self.link(from, to).push_back(Parcel::Comes { subscriber, told });
                self.hubs[usize::from(from)].leave_all(id);
                self.settle(from);
                self.subscribers[subscriber].generation += 1;
                Whereabouts::Between(to, number)
            }
            between @ Whereabouts::Between(..) => between,
            Whereabouts::Come(to, number) => {
                let told = self.subscribers[subscriber].told.clone().expect("it has brought it along");
                match self.hubs[usize::from(to)].follow_newcomer(at(0), id, &told) {
                    Following::Lost => panic!("something is lost"),
                    Following::NotYet => return,
                    Following::On => {}
                }
                self.subscribers[subscriber].whereabouts = Whereabouts::At(to);
                self.subscribers[subscriber].moves += 1;
                self.hubs[usize::from(to)].expect_newcomer_no_more(at(0), number);
                self.settle(to);
                Whereabouts::At(to)
            }
        };
        self.subscribers[subscriber].whereabouts = next;
    }

    fn act(&mut self) {
        let (one, other) = (self.rng.u16(0..SHARDS), self.rng.u16(0..SHARDS));
        match self.rng.u8(0..12) {
            0 | 1 => {
                let channel = self.rng.usize(0..CHANNELS);
                // Nobody keeps a channel that nobody follows.
                self.published[channel] += 1;
                self.hubs[usize::from(one)].publish(at(0), name(channel), Payload::new(*b"x", None), None);
                self.settle(one);
            }
            2..6 => self.receive(one, other),
            6 | 7 => self.hand_out(one),
            _ => {
                let subscriber = self.rng.usize(0..SUBSCRIBERS as usize);
                self.step(subscriber);
            }
        }
    }

    /// Lets everything that is under way come to its end.
    fn calm_down(&mut self) {
        for _ in 0..200 {
            for (from, to) in (0..SHARDS).flat_map(|from| (0..SHARDS).map(move |to| (from, to))) {
                while !self.link(from, to).is_empty() {
                    self.receive(from, to);
                }
            }
            (0..SHARDS).for_each(|shard| self.hand_out(shard));
            for subscriber in 0..self.subscribers.len() {
                if !matches!(self.subscribers[subscriber].whereabouts, Whereabouts::At(_)) {
                    self.step(subscriber);
                }
            }
        }
    }

    fn check(&self) {
        for subscriber in &self.subscribers {
            let channel =
                (0..CHANNELS).find(|number| name(*number) == subscriber.channel).expect("one of them");
            assert!(matches!(subscriber.whereabouts, Whereabouts::At(_)), "{:?}", subscriber.whereabouts);
            assert_eq!(subscriber.heard, self.published[channel], "everything has been heard");
        }
        for hub in &self.hubs {
            assert!(hub.is_quiet() && hub.newcomers.channels.is_empty() && hub.newcomers.expected.is_empty());
            assert_eq!(hub.newcomers.bytes, 0);
        }
    }
}

#[test]
fn whoever_goes_from_shard_to_shard_hears_everything_once_without_history() {
    let mut moves = 0;
    for seed in 0..200 {
        let mut world = World::new(seed);
        let run = std::panic::AssertUnwindSafe(|| {
            (0..600).for_each(|_| world.act());
            world.calm_down();
            world.check();
        });
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
        moves += world.subscribers.iter().map(|one| one.moves).sum::<u32>();
    }
    assert!(moves > 2_000, "{moves}");
}

#[test]
fn what_is_kept_is_bounded_and_whoever_comes_then_is_told_that_it_is_lost() {
    let mut world = World::new(1);
    let channel = name(0);
    let to = world.hubs[0].owner_of(&channel).0;
    let hub = &mut world.hubs[usize::from(to)];
    assert!(hub.expect_newcomer(at(0), 7, std::slice::from_ref(&channel)));
    let begins = hub.newcomer_begins(7).expect("it is known here")[0];
    let large = Payload::new(vec![0; 1 << 20], None);
    for _ in 0..5 {
        hub.publish(at(0), channel.clone(), large.clone(), None);
    }
    assert!(hub.keeps_much_for_newcomers());
    for _ in 0..20 {
        hub.publish(at(0), channel.clone(), large.clone(), None);
        assert!(hub.newcomers.bytes <= NEWCOMERS_KEPT_BYTES_MAX);
    }
    let id = ConnectionId { index: 50, generation: 1 };
    let told = Subscription {
        channel: channel.clone(),
        transport: Transport::WebSocket,
        position: begins,
        shown: crate::model::Shown::default(),
    };
    assert_eq!(hub.follow_newcomer(at(0), id, &told), Following::Lost);
    let ahead = Position { offset: begins.offset + 100, ..begins };
    assert_eq!(hub.follow_newcomer(at(0), id, &Subscription { position: ahead, ..told }), Following::NotYet);
    hub.expect_newcomer_no_more(at(0), 7);
    assert_eq!((hub.newcomers.bytes, hub.newcomers.channels.len()), (0, 0));
}
