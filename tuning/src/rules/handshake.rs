//! When a handshake that got no answer is tried again, and when it is given up.

use crate::{
    host::Reading,
    setting::{Demand, Rule, Scene, Source, Want},
};

/// `TCP_TIMEOUT_INIT`, in seconds.
const FIRST_TIMEOUT: u64 = 1;
/// The default of `tcp_syn_retries`.
const RETRIES: u64 = 6;
/// How many of the times are told: the seventh comes after eleven seconds, when people have gone.
const TOLD: u64 = 7;

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/syn-linear-timeouts.md"),
        read: Source::Files,
        want: |scene| Want::new(Demand::Nothing, format!("this box tries again {}", retries(scene))),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/fastopen.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::Nothing, "as it is: a server takes part only if its program asks for it"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/syn-retries.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::Nothing, "the patience of this box as a client; 6 is the default"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/synack-retries.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(5), "5: the default, 63 s for a client that went away"),
        holds: None,
    },
];

/// The times of this host's own retries. A kernel without the sysctl doubles from the first.
fn retries(scene: &Scene<'_>) -> String {
    let number = |name: &str| match scene.host.number(&format!("/proc/sys/net/ipv4/{name}")) {
        Reading::Value(number) => Some(number),
        Reading::Missing | Reading::Unreadable(_) => None,
    };
    let linear = number("tcp_syn_linear_timeouts");
    // The linear ones are not counted among the retries.
    let most = number("tcp_syn_retries").unwrap_or(RETRIES) + linear.unwrap_or(0);
    let times: Vec<String> =
        retry_seconds(linear.unwrap_or(0)).take(most.min(TOLD) as usize).map(|at| at.to_string()).collect();
    match times.split_last() {
        Some((last, [])) => format!("after {last} s"),
        Some((last, first)) => format!("after {} and {last} s", first.join(", ")),
        None => "never".to_owned(),
    }
}

/// Seconds after the first SYN at which it is sent again: so many of the retries a second apart, then each pause twice
/// as long as the one before (`net/ipv4/tcp_timer.c`: `tcp_retransmit_timer`).
pub fn retry_seconds(linear: u64) -> impl Iterator<Item = u64> {
    let pause = move |number: u64| FIRST_TIMEOUT << number.saturating_sub(linear).min(16);
    (0..).scan(0, move |at, number| {
        *at += pause(number);
        Some(*at)
    })
}
