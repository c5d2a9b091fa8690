//! The ledgers of a shard: one for the channels that are kept as long as everywhere, and one for each rule that says otherwise.
//!
//! In each ledger the oldest goes first for its age; for the shard's bytes the oldest of all goes.
//!
//! Invariant: a channel's publications stand in the ledger of its rule, and of no other.

use super::{
    channel::ChannelIndex,
    ledger::{EntryIndex, Ledger},
};
use crate::{
    auth::Pattern,
    model::{ChannelName, Retention},
};

/// The number of a rule; 0 is none.
pub(super) type RuleNumber = u16;

/// All ledgers of a shard.
#[derive(Debug)]
pub(super) struct Ledgers {
    /// The first whose pattern a channel is of counts.
    rules: Vec<(Pattern, Retention)>,
    /// By the number of their rule.
    each: Vec<Ledger>,
    bytes: u64,
}

impl Default for Ledgers {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Ledgers {
    /// Empty ledgers under these rules.
    pub(super) fn new(mut rules: Vec<(Pattern, Retention)>) -> Self {
        rules.truncate(usize::from(RuleNumber::MAX));
        let each = (0..=rules.len()).map(|_| Ledger::default()).collect();
        Self { rules, each, bytes: 0 }
    }

    /// Enters the newest publication.
    pub(super) fn push(
        &mut self,
        rule: RuleNumber,
        channel: ChannelIndex,
        bytes: u64,
        now_ms: u64,
    ) -> EntryIndex {
        self.bytes += bytes;
        self.each[usize::from(rule)].push(channel, bytes, now_ms)
    }

    /// Strikes out a publication that is kept no longer, with the bytes it was entered with.
    pub(super) fn remove(&mut self, rule: RuleNumber, index: EntryIndex, bytes: u64) {
        self.bytes -= bytes;
        self.each[usize::from(rule)].remove(index, bytes);
    }

    /// The rules.
    pub(super) fn rules(&self) -> &[(Pattern, Retention)] {
        &self.rules
    }

    /// The rule of a channel.
    pub(super) fn rule_of(&self, channel: &ChannelName) -> RuleNumber {
        let is_about = |(pattern, _): &(Pattern, Retention)| pattern.is_about(channel.as_str());
        match self.rules.iter().position(is_about) {
            Some(at) if self.rules[at].1 != Retention::default() => at as RuleNumber + 1,
            _ => 0,
        }
    }

    /// What a rule says.
    pub(super) fn retention(&self, rule: RuleNumber) -> Retention {
        usize::from(rule).checked_sub(1).map_or_else(Retention::default, |at| self.rules[at].1)
    }

    /// The numbers of all rules.
    pub(super) fn numbers(&self) -> impl Iterator<Item = RuleNumber> + use<> {
        0..self.each.len() as RuleNumber
    }

    /// The channel of a rule's oldest publication, if that was kept at `kept_before_ms` or earlier.
    pub(super) fn oldest(&self, rule: RuleNumber, kept_before_ms: u64) -> Option<ChannelIndex> {
        let (kept_ms, channel) = self.each[usize::from(rule)].oldest()?;
        (kept_ms <= kept_before_ms).then_some(channel)
    }

    /// The channel of the oldest of all.
    pub(super) fn oldest_of_all(&self) -> Option<ChannelIndex> {
        let oldest = self.each.iter().filter_map(Ledger::oldest).min_by_key(|(kept_ms, _)| *kept_ms);
        oldest.map(|(_, channel)| channel)
    }

    /// Everything that is entered, oldest first: the channel, and when.
    pub(super) fn entries(&self) -> Vec<(u64, ChannelIndex)> {
        let mut entries: Vec<_> = self.each.iter().flat_map(Ledger::entries).collect();
        // Those of a channel stay in their order.
        entries.sort_by_key(|(kept_ms, _)| *kept_ms);
        entries
    }

    /// Bytes of everything entered.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.each.iter().map(Ledger::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::{Hub, HubSettings},
        limits::Limits,
        mesh::HistoryPage,
        model::{Now, Payload, ShardId},
    };

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text, 255).expect("a name")
    }

    fn rule(pattern: &str, publications_max: Option<u32>, age_max_ms: Option<u32>) -> (Pattern, Retention) {
        (
            Pattern::new(pattern).expect("a pattern"),
            Retention { publications_max, age_max_ms, ..Retention::default() },
        )
    }

    /// A hub that keeps three publications of each channel for a second, unless a rule says otherwise.
    fn hub(rules: Vec<(Pattern, Retention)>) -> Hub {
        let limits = Limits { history_publications_max: 3, history_age_max_ms: 1_000, ..Limits::default() };
        let mut hub = Hub::new(HubSettings::of_shard(&limits, ShardId(0), 1, 100, 1, 2));
        hub.change_retention(rules);
        hub
    }

    fn publish(hub: &mut Hub, monotonic_ms: u64, channel: &str) {
        let now = Now { monotonic_ms, ..Now::default() };
        hub.publish(now, name(channel), Payload::new(*b"x", None), None);
        while hub.poll_output().is_some() {}
    }

    fn kept(hub: &Hub, channel: &str) -> Vec<u64> {
        let offsets = |page: HistoryPage| page.publications.iter().map(|one| one.position.offset).collect();
        hub.stream_of(&name(channel)).map_or_else(Vec::new, |stream| offsets(stream.page(None, 100)))
    }

    #[test]
    fn each_namespace_keeps_as_many_and_as_long_as_it_says_and_the_others_as_everywhere() {
        let mut hub = hub(vec![
            rule("none:*", Some(0), None),
            rule("few:*", Some(1), None),
            rule("long:{sub}", None, Some(5_000)),
            rule("short:*", Some(9), Some(100)),
            rule("plain:*", None, None),
            rule("**", Some(2), None),
        ]);
        let channels = ["none:a", "few:a", "long:a", "short:a", "plain:a", "other"];
        for channel in channels {
            (0..4).for_each(|_| publish(&mut hub, 10, channel));
        }
        let all = |hub: &Hub| channels.map(|channel| kept(hub, channel));
        let [none, last, two, three] = [&[][..], &[4], &[3, 4], &[2, 3, 4]].map(<[u64]>::to_vec);
        let four = vec![1, 2, 3, 4];
        assert_eq!(all(&hub), [&none, &last, &three, &four, &three, &two].map(Vec::clone));
        hub.handle_tick(Now { monotonic_ms: 110, ..Now::default() });
        assert_eq!(all(&hub), [&none, &last, &three, &none, &three, &two].map(Vec::clone));
        hub.handle_tick(Now { monotonic_ms: 1_010, ..Now::default() });
        assert_eq!(all(&hub), [&none, &none, &three, &none, &none, &none].map(Vec::clone));
        hub.handle_tick(Now { monotonic_ms: 5_010, ..Now::default() });
        assert!(all(&hub).iter().all(Vec::is_empty) && hub.ledgers.bytes() == 0);
    }

    #[test]
    fn rules_that_change_hold_for_what_is_kept_already_from_when_it_was_kept() {
        let mut hub = hub(Vec::new());
        for (at_ms, channel) in [(0, "a"), (100, "b"), (200, "a"), (300, "b"), (400, "a")] {
            publish(&mut hub, at_ms, channel);
        }
        let bytes = hub.ledgers.bytes();
        hub.change_retention(vec![rule("a", Some(1), Some(2_000)), rule("b", None, Some(300))]);
        assert_eq!((hub.ledgers.bytes(), hub.ledgers.len()), (bytes, 5));
        hub.handle_tick(Now { monotonic_ms: 450, ..Now::default() });
        assert_eq!((kept(&hub, "a"), kept(&hub, "b")), (vec![1, 2, 3], vec![2]));
        publish(&mut hub, 500, "a");
        assert_eq!(kept(&hub, "a"), [3, 4], "each publication brings it nearer to what it may keep");
        publish(&mut hub, 500, "a");
        assert_eq!(kept(&hub, "a"), [5]);
        hub.change_retention(Vec::new());
        hub.handle_tick(Now { monotonic_ms: 1_499, ..Now::default() });
        assert_eq!((kept(&hub, "a"), kept(&hub, "b")), (vec![5], vec![]));
        hub.handle_tick(Now { monotonic_ms: 1_500, ..Now::default() });
        assert_eq!((kept(&hub, "a"), hub.ledgers.len(), hub.ledgers.bytes()), (vec![], 0, 0));
    }

    #[test]
    fn the_oldest_of_all_makes_room_whatever_its_rule() {
        let mut hub = hub(vec![rule("a", None, Some(9_000))]);
        publish(&mut hub, 0, "a");
        let one = hub.ledgers.bytes();
        hub.settings.history_bytes_max = 2 * one;
        for (at_ms, channel, a, b) in
            [(1, "b", vec![1], vec![1]), (2, "b", vec![], vec![1, 2]), (3, "a", vec![2], vec![2])]
        {
            publish(&mut hub, at_ms, channel);
            assert_eq!((kept(&hub, "a"), kept(&hub, "b")), (a, b));
        }
    }
}
