//! A fake mesh: links that keep their order, take a random time, and lose publications when told to.

use std::collections::VecDeque;

use roadstead::{
    mesh::Message,
    model::{ChannelName, ShardId},
};

/// The links between every pair of shards.
pub struct Mesh {
    links: Vec<Link>,
    shards: u16,
    /// How many of a hundred `Deliver`s and `Announce`s are lost.
    delivers_lost_percent: u8,
}

#[derive(Default)]
struct Link {
    on_the_way: VecDeque<(u64, Message)>,
    /// When the last message sent will arrive; none sent later arrives before it.
    busy_until_ms: u64,
}

const DELAY_MS_MAX: u64 = 40;

impl Mesh {
    pub fn new(shards: u16, delivers_lost_percent: u8) -> Self {
        let links = (0..shards * shards).map(|_| Link::default()).collect();
        Self { links, shards, delivers_lost_percent }
    }

    /// Sends a message, or loses it and tells whose channel it was about.
    #[must_use]
    pub fn send(
        &mut self,
        rng: &mut fastrand::Rng,
        now_ms: u64,
        from: ShardId,
        to: ShardId,
        message: Message,
    ) -> Option<ChannelName> {
        assert_ne!(from, to, "a hub sends messages to others only");
        let channel = match &message {
            Message::Deliver(publication) => Some(&publication.channel),
            Message::Announce { channel, .. } => Some(channel),
            _ => None,
        };
        if let Some(channel) = channel.filter(|_| rng.u8(0..100) < self.delivers_lost_percent) {
            return Some(channel.clone());
        }
        let link = &mut self.links[usize::from(from.0 * self.shards + to.0)];
        link.busy_until_ms = link.busy_until_ms.max(now_ms + rng.u64(0..DELAY_MS_MAX));
        link.on_the_way.push_back((link.busy_until_ms, message));
        None
    }

    /// The next message that has arrived at `to` by now, from a random link.
    pub fn receive(
        &mut self,
        rng: &mut fastrand::Rng,
        now_ms: u64,
        to: ShardId,
    ) -> Option<(ShardId, Message)> {
        let has_arrived = |from: &u16| {
            let link = &self.links[usize::from(from * self.shards + to.0)];
            link.on_the_way.front().is_some_and(|(arrival_ms, _)| *arrival_ms <= now_ms)
        };
        let ready: Vec<u16> = (0..self.shards).filter(has_arrived).collect();
        let from = rng.choice(ready)?;
        let link = &mut self.links[usize::from(from * self.shards + to.0)];
        link.on_the_way.pop_front().map(|(_, message)| (ShardId(from), message))
    }

    /// A shard has failed: what is on its way from it or to it is heard by nobody.
    pub fn lose(&mut self, shard: ShardId) {
        for other in 0..self.shards {
            for (from, to) in [(shard.0, other), (other, shard.0)] {
                self.links[usize::from(from * self.shards + to)].on_the_way.clear();
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.links.iter().all(|link| link.on_the_way.is_empty())
    }
}
