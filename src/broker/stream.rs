//! A channel's stream in the broker, and the script that finds it, begins it, and tells what is kept of it.

use super::{
    frame,
    link::{Around, Terms},
    script,
    wire::{Awaited, Wire},
};
use crate::{
    limits::BROKER_TAIL_BYTES,
    model::{ChannelName, stable_hash},
};

/// The names of a channel, for its script.
pub(super) struct Stream {
    stream: String,
    topic: String,
    marks: String,
    /// Its part of all channels, and its hash there.
    part: [String; 2],
    /// How many publications are kept, and for how many milliseconds.
    kept: (u32, u64),
}

impl Stream {
    pub(super) fn of(terms: &Terms, channel: &ChannelName) -> Self {
        let names = &terms.names;
        Self {
            stream: names.stream(channel),
            topic: names.topic(channel),
            marks: names.marks(),
            part: part_of(channel),
            kept: terms.kept(channel),
        }
    }

    /// How many entries it may have, with the one that begins it.
    pub(super) fn entries_max(&self) -> u32 {
        self.kept.0.saturating_add(1)
    }

    /// Where it is pushed.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Has the script run: so many entries are wanted, and an epoch of at least this; and these bodies are published.
    pub(super) fn ask(
        &self,
        wire: &mut Wire,
        around: &Around<'_>,
        (epoch_min, wanted): (u64, u32),
        bodies: &[Vec<u8>],
        awaited: Awaited,
    ) {
        let drawn = fastrand::u64(0..1024);
        let numbers = [epoch_min, drawn, self.kept.1, wanted.into(), BROKER_TAIL_BYTES, self.kept.0.into()];
        let [epoch_min, drawn, kept_ms, wanted, wanted_bytes, kept_max] =
            numbers.map(|number: u64| number.to_string());
        let [part, hash] = &self.part;
        let [verb, code] = around.scripts.stream.words();
        let words = [
            verb,
            code,
            "2",
            &self.stream,
            &self.marks,
            &epoch_min,
            &drawn,
            &self.topic,
            &kept_ms,
            &wanted,
            &wanted_bytes,
            &kept_max,
            around.process,
            part,
            hash,
        ];
        let mut words: Vec<_> = words.into_iter().map(str::as_bytes).collect();
        let (kind, rest) = frame::push_of(bodies);
        if !bodies.is_empty() {
            words.extend([kind.as_bytes(), rest.as_bytes()]);
            words.extend(bodies.iter().map(Vec::as_slice));
        }
        wire.ask(around.now_ms, &words, awaited);
    }
}

/// In which part of all channels one is, and its hash there: the same on every node and in every version.
fn part_of(channel: &ChannelName) -> [String; 2] {
    let hash = stable_hash(channel);
    [format!("{:x}", (hash >> 40) % u64::from(script::PARTS)), format!("{:08x}", hash as u32)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_in_the_same_part_in_every_version_and_parts_are_of_one_size() {
        let name = |name: &str| ChannelName::new(name, 255).expect("a name");
        assert_eq!(part_of(&name("news")), ["15b", "a03a6526"]);
        let mut counts = std::collections::BTreeMap::<String, u32>::new();
        for number in 0..10_240 {
            let [part, _] = part_of(&name(&format!("room:{number}")));
            *counts.entry(part).or_default() += 1;
        }
        assert!(counts.len() > 1_000 && counts.values().all(|count| *count < 40), "{counts:?}");
    }
}
