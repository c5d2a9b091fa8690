//! What queued bytes cost and how far they may grow.

use crate::setting::{
    Demand, Rule, Scene, Source, Spot, Want,
    demand::{grouped, numbers},
};

/// Round-trip time for which a single stream shall fill the card, in milliseconds.
const ROUND_TRIP_MS: u64 = 100;
/// The card's speed where the driver does not tell, as virtual ones do not.
const MEGABITS_ASSUMED: u64 = 1_000;
/// Unsent bytes in the kernel beyond which a newer message only waits behind older ones.
const UNSENT_BYTES: u64 = 131_072;

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/tcp-mem.md"),
        read: Source::Files,
        want: want_pages,
        holds: Some(holds_in_pages),
    },
    Rule {
        source: include_str!("../../settings/tcp-mem-equal.md"),
        read: Source::Made(read_equal),
        want: |_| {
            Want::new(Demand::OneOf(&["none"]), "no two equal neighbours: the kernel's ratio is 3 : 4 : 6")
        },
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/tcp-rmem.md"),
        read: Source::Files,
        want: want_window,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/tcp-wmem.md"),
        read: Source::Files,
        want: want_window,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/socket-buffers.md"),
        read: Source::Made(|scene| {
            let paths = ["/proc/sys/net/core/rmem_max", "/proc/sys/net/core/wmem_max"];
            paths.map(|path| Spot::new(path, scene.host.read(path))).into()
        }),
        want: |_| Want::new(Demand::Nothing, "as it is: only programs that set a buffer themselves meet it"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/notsent-lowat.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(UNSENT_BYTES), "128 KiB: what 1 Gb/s sends in 1 ms"),
        holds: None,
    },
];

/// Pages that `target` connections charge when the stalled share of them has one small message queued.
fn pages_for(scene: &Scene<'_>, target: u64) -> u64 {
    target * scene.goal.stalled_percent * 5 / 400
}

/// Kernel ratio: minimum, pressure and maximum as 3 : 4 : 6. The need must fit below pressure.
fn want_pages(scene: &Scene<'_>) -> Want {
    let pressure = pages_for(scene, scene.goal.target).max(4);
    let formula = format!(
        "pressure = {} × {} % with queued data × 1.25 pages; min 3/4, max 3/2 of it",
        grouped(scene.goal.target),
        scene.goal.stalled_percent,
    );
    Want::new(Demand::EachAtLeast(vec![pressure * 3 / 4, pressure, pressure * 3 / 2]), formula)
}

fn holds_in_pages(scene: &Scene<'_>, value: &str) -> Option<u64> {
    let most = numbers(value, 3).ok()?[2];
    Some(
        u64::try_from(u128::from(most) * 400 / u128::from(scene.goal.stalled_percent * 5).max(1))
            .unwrap_or(u64::MAX),
    )
}

/// Copied lists set the same number three times, which takes away the warning before the wall.
fn read_equal(scene: &Scene<'_>) -> Vec<Spot> {
    let path = "/proc/sys/net/ipv4/tcp_mem";
    let reading = scene.host.read(path).and_then(|text| {
        let values = numbers(&text, 3)?;
        let equal = values.windows(2).find(|pair| pair[0] == pair[1]);
        Ok(equal.map_or_else(|| "none".to_owned(), |pair| format!("{} twice", pair[0])))
    });
    vec![Spot::new(path, reading)]
}

/// Minimum and default cost nothing until data queues, and bound nothing; only the maximum matters.
fn want_window(scene: &Scene<'_>) -> Want {
    let fastest = scene.facts.nics.iter().filter_map(|nic| nic.megabits).max();
    let megabits = fastest.filter(|speed| *speed > 0).unwrap_or(MEGABITS_ASSUMED);
    let bytes = megabits * 1_000_000 / 8 * ROUND_TRIP_MS / 1_000;
    let source = if fastest.is_some() { "" } else { " (assumed)" };
    let formula = format!("max: {megabits} Mb/s{source} × {ROUND_TRIP_MS} ms = {}", grouped(bytes));
    Want::new(Demand::EachAtLeast(vec![0, 0, bytes]), formula)
}
