//! What part of new connections comes to each shard, and which live ones go to another ([`levelling`]): decided once a second from what the shards show of themselves ([`Load`]).
//! Pure: without a clock, a socket or a shard.

mod levelling;

use std::collections::VecDeque;

use crate::{
    limits::{
        BALANCE_BUSY_PERMILLE_MIN, BALANCE_EVEN_PERMILLE, BALANCE_LOOKS, BALANCE_UNEVEN_PERMILLE,
        STEERING_UNEVEN_CONNECTIONS,
    },
    mesh::Load,
};
use levelling::Levelling;
pub(super) use levelling::{Order, Turn};

/// What is known of the shards.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// What each has shown, the oldest first, and when; no more than are taken together.
    looks: VecDeque<(u64, Vec<Load>)>,
    /// The parts that each was given of new connections at the last look.
    parts: Option<Vec<u32>>,
    /// How often in a row new connections have not come where they were sent.
    astray: u32,
    /// They never did, so nobody is sent anywhere.
    is_in_vain: bool,
    levelling: Levelling,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// The parts of new connections that each shard gets; nothing if the kernel may decide.
    pub(super) parts: Option<Vec<u32>>,
    /// New connections do not come where they are sent, and are not sent any more.
    pub(super) is_in_vain: bool,
    /// The live connections that go to another shard.
    pub(super) order: Order,
}

/// How the shards are.
struct Scene<'a> {
    loads: &'a [Load],
    /// In thousandths of a core; nothing while that is not known.
    busy: Option<Vec<u32>>,
}

/// Looks further apart than this say nothing: the machine was asleep, or the supervisor.
const LOOKS_APART_MS_MAX: u64 = 3_000;
/// New connections within a second by which it is seen whether they come where they are sent.
const TELLING_ACCEPTS: u64 = 200;
/// How often they have to have gone astray.
const ASTRAY_MAX: u32 = 3;

impl Balance {
    /// Looks at the shards, of which one that does not serve is `None`; what is to be done.
    pub(super) fn check(&mut self, now_ms: u64, shards: &[Option<Load>], may_level: bool) -> Decision {
        let loads: Option<Vec<_>> = shards.iter().copied().collect();
        let Some(loads) = loads.filter(|loads| loads.len() > 1) else {
            return Decision { order: self.forget(), ..Decision::default() };
        };
        let is_apart = |at_ms| now_ms.saturating_sub(at_ms) > LOOKS_APART_MS_MAX;
        let mut order = match self.looks.back() {
            Some((at_ms, _)) if is_apart(*at_ms) => self.forget(),
            _ => Order::default(),
        };
        let accepted = self.accepted_since(&loads);
        let scene = Scene { loads: &loads, busy: self.busy(now_ms, &loads) };
        self.judge_steering(accepted.as_deref());
        self.parts = match self.is_in_vain {
            true => None,
            false => scene.parts(accepted.iter().flatten().sum(), self.parts.is_some()),
        };
        match &scene.busy {
            Some(busy) if may_level => order = self.levelling.check(now_ms, busy, &loads),
            _ if self.levelling.forget() => order.turn = Some(Turn::GivenUp),
            _ => {}
        }
        if self.looks.len() > BALANCE_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((now_ms, loads));
        Decision { parts: self.parts.clone(), is_in_vain: self.is_in_vain, order }
    }

    /// What was known does not count any more.
    fn forget(&mut self) -> Order {
        self.looks.clear();
        (self.parts, self.astray) = (None, 0);
        Order { moves: None, turn: self.levelling.forget().then_some(Turn::GivenUp) }
    }

    /// How many connections each has accepted since the last look.
    fn accepted_since(&self, loads: &[Load]) -> Option<Vec<u64>> {
        let (_, before) = self.looks.back().filter(|(_, before)| before.len() == loads.len())?;
        let new = loads.iter().zip(before).map(|(now, before)| now.accepted.saturating_sub(before.accepted));
        Some(new.collect())
    }

    /// How busy each has been over the last looks, in thousandths of a core.
    fn busy(&self, now_ms: u64, loads: &[Load]) -> Option<Vec<u32>> {
        let (at_ms, first) = self.looks.front().filter(|(_, first)| first.len() == loads.len())?;
        let ms = now_ms.saturating_sub(*at_ms).max(1);
        let busy = |(now, then): (&Load, &Load)| {
            u32::try_from(now.busy_us.saturating_sub(then.busy_us) / ms).unwrap_or(u32::MAX).min(1000)
        };
        (self.looks.len() > BALANCE_LOOKS).then(|| loads.iter().zip(first).map(busy).collect())
    }

    /// Whether new connections come where they are sent.
    fn judge_steering(&mut self, accepted: Option<&[u64]>) {
        let (Some(accepted), Some(parts)) = (accepted, &self.parts) else { return };
        let all = || parts.iter().zip(accepted);
        let (Some((most, to_most)), Some((least, to_least))) =
            (all().max_by_key(|(part, _)| **part), all().min_by_key(|(part, _)| **part))
        else {
            return;
        };
        if accepted.iter().sum::<u64>() < TELLING_ACCEPTS || *most < least.saturating_mul(2) {
            return;
        }
        self.astray = if to_most < to_least { self.astray + 1 } else { 0 };
        self.is_in_vain |= self.astray >= ASTRAY_MAX;
    }
}

impl Scene<'_> {
    fn shards(&self) -> u32 {
        self.loads.len() as u32
    }

    fn clients(&self) -> u32 {
        self.loads.iter().map(|load| load.clients).fold(0, u32::saturating_add)
    }

    fn busy_of(&self, shard: usize) -> u32 {
        self.busy.as_ref().map_or(0, |busy| busy[shard])
    }

    fn busy_mean(&self) -> u32 {
        self.busy.iter().flatten().sum::<u32>() / self.shards()
    }

    /// The parts of new connections that each shard is to get; nothing if all are as full as the kernel makes them by itself.
    fn parts(&self, accepted: u64, is_steered: bool) -> Option<Vec<u32>> {
        let (all, shards) = (self.clients(), self.shards());
        let mean = all / shards;
        // Who is sent elsewhere is until all are quite even.
        let (spread, above) = match is_steered {
            true => (mean / 20 + STEERING_UNEVEN_CONNECTIONS / 2, BALANCE_EVEN_PERMILLE),
            false => (mean / 10 + STEERING_UNEVEN_CONNECTIONS, BALANCE_UNEVEN_PERMILLE),
        };
        let busy_mean = self.busy_mean();
        let is_overworked = |shard: usize| {
            let busy = self.busy_of(shard);
            busy >= BALANCE_BUSY_PERMILLE_MIN && busy > busy_mean + above
        };
        let is_even = self.loads.iter().all(|load| load.clients.abs_diff(mean) <= spread);
        if is_even && !(0..self.loads.len()).any(is_overworked) {
            return None;
        }
        // As many may come until the next look: it is no use to send all of them to one that lacks a few.
        let accepted = u32::try_from(accepted).unwrap_or(u32::MAX);
        let expected = accepted.max(all / 16).max(STEERING_UNEVEN_CONNECTIONS.saturating_mul(shards));
        let wanted = all.saturating_add(expected) / shards;
        let lacks = self.loads.iter().enumerate().map(|(shard, load)| match is_overworked(shard) {
            true => 0,
            false => u64::from(wanted.saturating_sub(load.clients)),
        });
        let lacks: Vec<_> = lacks.collect();
        let all_lack = lacks.iter().sum::<u64>().max(1);
        // Everybody gets a quarter of what it would get otherwise: there may come more than expected.
        let least = (PARTS / 4 / u64::from(shards)).max(1);
        Some(lacks.iter().map(|lack| (lack * PARTS / all_lack).max(least) as u32).collect())
    }
}

/// Parts that new connections are divided into.
const PARTS: u64 = 10_000;

#[cfg(test)]
mod tests;
