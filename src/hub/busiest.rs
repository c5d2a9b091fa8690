//! Which channels keep a shard busy, counted while somebody asks.
//!
//! A bounded table of names (space-saving, Metwally et al. 2005): a name that finds no place takes that of the one with
//! the least and goes on from its count, so a busy channel is never missed, and one that is not busy is overrated by no
//! more than the least in the table. Counts fade by a fifth each second, so that a fifth of one is its rate.

use rustc_hash::FxHashMap;

use crate::{
    limits::{BUSY_CHANNELS_MAX, BUSY_CHANNELS_MS},
    mesh::BusyChannel,
    model::ChannelName,
};

/// What is left of a count after a second.
const FADE: f32 = 0.8;
/// A count that has faded to less is forgotten.
const LEAST: f32 = 0.05;

/// The table, while somebody asks for it.
#[derive(Debug, Default)]
pub(super) struct Busiest(Option<Box<Table>>);

#[derive(Debug)]
struct Table {
    tallies: FxHashMap<ChannelName, Tally>,
    asked_ms: u64,
    /// Until when the counts have faded.
    faded_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    publications: f32,
    deliveries: f32,
}

impl Tally {
    fn sum(self) -> f32 {
        self.publications + self.deliveries
    }
}

impl Busiest {
    /// A channel was given so many publications, or handed out so often.
    pub(super) fn count(&mut self, channel: &ChannelName, publications: usize, deliveries: usize) {
        if let Some(table) = &mut self.0 {
            let tally = table.tally(channel);
            tally.publications += publications as f32;
            tally.deliveries += deliveries as f32;
        }
    }

    /// The busiest by now, the busiest first. Counting begins with the first time somebody asks.
    pub(super) fn ask(&mut self, now_ms: u64) -> Vec<BusyChannel> {
        let new = || Box::new(Table { tallies: FxHashMap::default(), asked_ms: now_ms, faded_ms: now_ms });
        let table = self.0.get_or_insert_with(new);
        table.asked_ms = now_ms;
        table.fade(now_ms);
        let rate = |count: f32| count * (1.0 - FADE);
        let busy = table.tallies.iter().map(|(channel, tally)| BusyChannel {
            channel: channel.clone(),
            publications: rate(tally.publications),
            deliveries: rate(tally.deliveries),
        });
        BusyChannel::busiest(busy.collect())
    }

    /// Lets time pass: what nobody has asked for lately is not counted any more.
    pub(super) fn pass_time(&mut self, now_ms: u64) {
        if self.0.as_ref().is_some_and(|table| now_ms.saturating_sub(table.asked_ms) > BUSY_CHANNELS_MS) {
            self.0 = None;
        }
    }
}

impl Table {
    fn tally(&mut self, channel: &ChannelName) -> &mut Tally {
        if !self.tallies.contains_key(channel) {
            let inherited = match self.tallies.len() >= BUSY_CHANNELS_MAX {
                true => self.take_least(),
                false => Tally::default(),
            };
            self.tallies.insert(channel.clone(), inherited);
        }
        self.tallies.get_mut(channel).expect("it has a place now")
    }

    fn take_least(&mut self) -> Tally {
        let least = self.tallies.iter().min_by(|(_, a), (_, b)| a.sum().total_cmp(&b.sum()));
        let Some(least) = least.map(|(channel, _)| channel.clone()) else { return Tally::default() };
        self.tallies.remove(&least).unwrap_or_default()
    }

    fn fade(&mut self, now_ms: u64) {
        let left = FADE.powf(now_ms.saturating_sub(self.faded_ms) as f32 / 1000.0);
        self.faded_ms = now_ms;
        self.tallies.retain(|_, tally| {
            tally.publications *= left;
            tally.deliveries *= left;
            tally.sum() >= LEAST
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BUSY_CHANNELS_TOLD;

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text, 255).expect("a valid name")
    }

    fn busy(busiest: &mut Busiest, now_ms: u64) -> Vec<(String, f32, f32)> {
        let told = busiest.ask(now_ms).into_iter();
        told.map(|one| (one.channel.as_str().to_owned(), one.publications, one.deliveries)).collect()
    }

    #[test]
    fn nothing_is_counted_until_somebody_asks_and_once_nobody_does_any_more() {
        let mut busiest = Busiest::default();
        busiest.count(&name("a"), 1, 1);
        assert!(busiest.0.is_none());
        assert_eq!(busy(&mut busiest, 0), []);
        busiest.count(&name("a"), 1, 1);
        busiest.pass_time(BUSY_CHANNELS_MS);
        assert!(busiest.0.is_some());
        busiest.pass_time(BUSY_CHANNELS_MS + 1);
        assert!(busiest.0.is_none());
    }

    #[test]
    fn a_steady_channel_is_told_with_its_rate_and_one_that_rests_is_forgotten() {
        let mut busiest = Busiest::default();
        busiest.ask(0);
        for second in 1..=60 {
            busiest.count(&name("steady"), 10, 1_000);
            busiest.count(&name("rare"), 1, 0);
            busiest.ask(second * 1000);
        }
        let told = busy(&mut busiest, 60_000);
        assert_eq!(told.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["steady", "rare"]);
        let (_, publications, deliveries) = told[0];
        assert!((7.9..8.1).contains(&publications) && (790.0..810.0).contains(&deliveries), "{told:?}");
        assert_eq!(busy(&mut busiest, 180_000), []);
    }

    #[test]
    fn the_table_is_bounded_and_a_busy_channel_has_its_place_among_very_many() {
        let mut busiest = Busiest::default();
        busiest.ask(0);
        for number in 0..10 * BUSY_CHANNELS_MAX {
            busiest.count(&name(&format!("idle-{number}")), 1, 0);
            busiest.count(&name("busy"), 1, 5);
        }
        assert_eq!(busiest.0.as_ref().map(|table| table.tallies.len()), Some(BUSY_CHANNELS_MAX));
        let told = busy(&mut busiest, 0);
        assert_eq!((told[0].0.as_str(), told.len()), ("busy", BUSY_CHANNELS_TOLD));
    }
}
