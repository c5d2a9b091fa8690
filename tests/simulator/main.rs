//! The simulator: several hubs in one thread, wired through a fake mesh, with a seed instead of chance and an
//! argument instead of a clock. Clients come, go, publish and resume at random; the oracle knows what each of them
//! was promised and checks every publication it is handed.
//!
//! `ROADSTEAD_SIM_SEED=17 cargo test --test simulator` replays one seed, which a failure prints.

mod line;
mod mesh;
mod nodes;
mod oracle;
mod presence;
mod redis;
mod synced;
mod world;

use std::ops::AddAssign;

use oracle::Events;
use world::{Plan, World};

/// Runs every seed, or the one the environment asks for, through worlds of one kind. What happened in all seeds
/// together is told, so that a test can see that it tested something.
fn run(seeds: u64, plan: impl Fn(&mut fastrand::Rng) -> Plan) -> Option<Events> {
    each_seed(seeds, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = plan(&mut rng);
        World::new(plan, rng).run()
    })
}

/// Plays so many seeds, or the one the environment asks for: what happened in all together, unless one was asked for.
fn each_seed<T: Default + AddAssign>(seeds: u64, play: impl Fn(u64) -> T) -> Option<T> {
    let asked = std::env::var("ROADSTEAD_SIM_SEED").ok();
    let seeds = match &asked {
        Some(seed) => {
            let seed = seed.parse().expect("ROADSTEAD_SIM_SEED is a number");
            seed..seed + 1
        }
        None => 0..seeds,
    };
    let mut all = T::default();
    for seed in seeds {
        let replay = Replay(seed);
        all += play(seed);
        drop(replay);
    }
    asked.is_none().then_some(all)
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

/// Nodes that a Redis joins, with these troubles.
fn run_nodes(seeds: u64, troubles: &[nodes::Trouble]) -> Option<nodes::Happened> {
    each_seed(seeds, |seed| nodes::World::new(seed, troubles).run())
}

#[test]
fn nodes_on_a_redis_that_fails_in_every_way_tell_nobody_that_it_missed_nothing_when_it_did() {
    let Some(happened) = run_nodes(100, &nodes::Trouble::ALL) else { return };
    let nodes::Happened { published, refused, unknown, deliveries, gaps, refused_dials, .. } = happened;
    let nodes::Happened { recovered, recovered_with_some, not_recovered, reads_refused, troubles, .. } =
        happened;
    assert!(published > 1_000 && deliveries > 10_000 && troubles > 300, "{happened:?}");
    let recoveries = [recovered, recovered_with_some, not_recovered, reads_refused];
    for count in [refused, unknown, gaps, refused_dials].into_iter().chain(recoveries) {
        assert!(count > 20, "{happened:?}");
    }
}

#[test]
fn each_trouble_by_itself_loses_nothing_that_is_not_told() {
    for trouble in nodes::Trouble::ALL {
        run_nodes(8, &[trouble]);
    }
}

#[test]
fn nodes_on_a_redis_that_does_not_fail_lose_nothing_and_refuse_nobody() {
    let Some(happened) = run_nodes(20, &[]) else { return };
    assert_eq!((happened.refused, happened.unknown, happened.gaps), (0, 0, 0), "{happened:?}");
    assert!(happened.recovered_with_some > 20, "{happened:?}");
}
