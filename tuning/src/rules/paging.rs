//! Virtual memory: what a server that touches little memory, often, wants of it.

use crate::setting::{Demand, Rule, Scene, Source, Want};

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/transparent-hugepages.md"),
        read: Source::Files,
        want: |_| {
            Want::new(Demand::OneOf(&["madvise", "never"]), "madvise: pages of 2 MiB only where asked for")
        },
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/swappiness.md"),
        read: Source::Files,
        want: want_swappiness,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/min-free.md"),
        read: Source::Files,
        want: |_| {
            Want::new(
                Demand::Nothing,
                "as the kernel computed it, unless packets are dropped for want of memory",
            )
        },
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/max-map-count.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtLeast(65_530), "65530: the default; connections map nothing"),
        holds: None,
    },
];

fn want_swappiness(scene: &Scene<'_>) -> Want {
    if scene.facts.swap_bytes == 0 {
        return Want::new(Demand::Nothing, "no swap: of no effect");
    }
    Want::new(Demand::AtMost(10), "10: give up cache before the memory of idle connections")
}
