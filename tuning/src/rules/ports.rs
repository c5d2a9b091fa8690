//! Local ports: nothing to a server, everything to a load generator or a proxy.

use crate::setting::{Demand, Rule, Scene, Source, Want};

/// Ports below this need a privilege to bind.
const FIRST: u64 = 1_024;
/// The highest port there is.
const LAST: u64 = 65_535;

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/local-ports.md"),
        read: Source::Files,
        want: want_range,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/tw-reuse.md"),
        read: Source::Files,
        want: want_reuse,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/bind-no-port.md"),
        read: Source::Nowhere,
        want: |_| Want::new(Demand::Nothing, "IP_BIND_ADDRESS_NO_PORT before bind, on every outgoing socket"),
        holds: None,
    },
];

fn want_range(scene: &Scene<'_>) -> Want {
    if !scene.goal.is_client {
        return Want::new(
            Demand::Nothing,
            "a server uses no local ports (--client if this box connects out)",
        );
    }
    Want::new(
        Demand::Range(FIRST, LAST),
        "64,512 ports per source address and destination; half of them are quick",
    )
}

fn want_reuse(scene: &Scene<'_>) -> Want {
    if !scene.goal.is_client {
        return Want::new(
            Demand::Nothing,
            "only outgoing connections reuse (--client if this box connects out)",
        );
    }
    Want::new(Demand::OneOf(&["1", "2"]), "1, or 2 (loopback only, the default)")
}
