//! How connections are spread over listeners; choices of the program, so advice without a reading.

use crate::setting::{Demand, Rule, Source, Want};

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/reuseport.md"),
        read: Source::Nowhere,
        want: |_| Want::new(Demand::Nothing, "one SO_REUSEPORT listener per shard"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/incoming-cpu.md"),
        read: Source::Nowhere,
        want: |_| {
            Want::new(Demand::Nothing, "no steering by CPU unless every CPU takes its share of packets")
        },
        holds: None,
    },
];
