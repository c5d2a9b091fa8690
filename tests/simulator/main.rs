//! The simulator: several hubs in one thread, wired through a fake mesh, with a seed instead of chance and an
//! argument instead of a clock. Clients come, go, publish and resume at random; the oracle knows what each of them
//! was promised and checks every publication it is handed.
//!
//! `ROADSTEAD_SIM_SEED=17 cargo test --test simulator` replays one seed, which a failure prints.

mod mesh;
mod oracle;
mod presence;
mod synced;
mod world;

use oracle::Events;
use world::{Plan, World};

/// Runs every seed, or the one the environment asks for, through worlds of one kind. What happened in all seeds
/// together is told, so that a test can see that it tested something.
fn run(seeds: u64, plan: impl Fn(&mut fastrand::Rng) -> Plan) -> Option<Events> {
    let asked = std::env::var("ROADSTEAD_SIM_SEED").ok();
    let seeds = match &asked {
        Some(seed) => {
            let seed = seed.parse().expect("ROADSTEAD_SIM_SEED is a number");
            seed..seed + 1
        }
        None => 0..seeds,
    };
    let mut events = Events::default();
    for seed in seeds {
        let replay = Replay(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = plan(&mut rng);
        events += World::new(plan, rng).run();
        drop(replay);
    }
    asked.is_none().then_some(events)
}

/// Tells how to run a seed again when its world fell apart.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see this again: ROADSTEAD_SIM_SEED={} cargo test --test simulator", self.0);
        }
    }
}

#[test]
fn every_subscriber_gets_exactly_the_offsets_it_was_promised() {
    let events = run(400, |rng| Plan { delivers_lost_percent: 0, ..Plan::any(rng) });
    let Some(Events {
        deliveries,
        gaps,
        last_gaps,
        parts,
        recoveries,
        failed_recoveries,
        join_refusals,
        publish_refusals,
        changes,
        change_refusals,
        snapshots,
        replicas,
    }) = events
    else {
        return;
    };
    assert_eq!((gaps, last_gaps), (0, 0), "nothing was lost, so there is no gap");
    assert!(deliveries > 100_000, "{deliveries} deliveries");
    for count in [changes, change_refusals, snapshots, replicas] {
        assert!(count > 100, "{events:?}");
    }
    for count in [parts, recoveries, failed_recoveries, join_refusals, publish_refusals] {
        assert!(count > 100, "{events:?}");
    }
}

#[test]
fn what_is_lost_between_shards_shows_as_a_gap_to_exactly_those_who_missed_it() {
    let events = run(400, |rng| Plan { delivers_lost_percent: 10, ..Plan::any(rng) });
    assert!(events.is_none_or(|events| events.gaps > 1_000 && events.last_gaps > 100), "{events:?}");
}

#[test]
fn a_shard_alone_needs_no_mesh() {
    let events = run(100, |rng| Plan { shards: 1, ..Plan::any(rng) });
    assert!(events.is_none_or(|events| events.deliveries > 10_000), "{events:?}");
}
