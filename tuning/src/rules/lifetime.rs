//! How long the kernel keeps what a connection leaves behind, and how it notices that a peer is gone.

use crate::setting::{Demand, Rule, Scene, Source, Want, demand::grouped};

/// The shortest idle timeout among common clouds' NAT gateways and load balancers is 240 s; probe before it.
const KEEPALIVE_SECONDS: u64 = 200;
/// One connection in four may be closed by the server within one TIME_WAIT (60 s) or one drain.
const CLOSING_DIVISOR: u64 = 4;

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/tw-buckets.md"),
        read: Source::Files,
        want: want_closing,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/tw-recycle.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0, or gone"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/max-orphans.md"),
        read: Source::Files,
        want: want_closing,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/fin-timeout.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(60), "60 s: the default"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/keepalive.md"),
        read: Source::Files,
        want: |_| {
            let formula = "200 s: before the shortest common cloud timeout, 240 s";
            Want::new(Demand::AtMost(KEEPALIVE_SECONDS), formula)
        },
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/retries2.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(15), "15: the default, 924 s or more"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/slow-start-idle.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0"),
        holds: None,
    },
];

fn want_closing(scene: &Scene<'_>) -> Want {
    let formula = format!("{} / {CLOSING_DIVISOR} closing at one time", grouped(scene.goal.target));
    Want::new(Demand::AtLeast(scene.goal.target / CLOSING_DIVISOR), formula)
}
