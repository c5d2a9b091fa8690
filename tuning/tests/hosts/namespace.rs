//! Apply and rollback on this host's kernel, inside a network namespace of its own. Takes root; says so and passes
//! without.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use roadstead_tuning::{
    change::{Journal, apply, journal, plan::plan, rollback},
    host::{Facts, Host, RingProbe},
    prove::in_namespace,
    setting::{self, Goal, Profile, Scene, Scope},
};

/// Every readable sysctl of the network, with its bytes.
fn network_sysctls(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            network_sysctls(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.insert(path.display().to_string(), bytes);
        }
    }
}

fn snapshot() -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    network_sysctls(Path::new("/proc/sys/net"), &mut found);
    found
}

#[test]
fn in_a_network_namespace_apply_then_rollback_leaves_every_byte_as_it_was() {
    let result = in_namespace(Duration::from_secs(30), || {
        let path = std::env::temp_dir().join(format!("tune-namespace-{}.journal", std::process::id()));
        let before = snapshot();
        let host = Host::at("/").with_ring_probe(RingProbe::Works);
        let facts = Facts::of(&host);
        let mut goal = Goal::new(1_000_000, Profile::Storm);
        goal.is_client = true;
        // Only what this namespace owns: nothing here may change the machine.
        let all = setting::all();
        let owned = all.iter().filter(|setting| setting.text.scope == Scope::Network);
        let only: Vec<String> = owned.map(|setting| setting.text.id.to_owned()).collect();
        let plan = plan(&Scene { host: &host, facts: &facts, goal: &goal }, &only);
        let mut journal = Journal::create(&host, Some(&path))?;
        let mut outcomes = Vec::new();
        apply::apply(&host, &facts.boot_id, &plan.steps, &mut journal, |step, outcome| {
            outcomes.push((step.setting, outcome.clone()));
        })?;
        let during = snapshot();
        rollback::rollback(&host, &journal::load(&path)?, |_, _| {});
        let after = snapshot();
        fs::remove_file(&path)?;
        Ok((before, outcomes, during, after))
    });
    let (before, outcomes, during, after) = match result {
        Ok(result) => result,
        Err(trouble) => return eprintln!("not run: {trouble}"),
    };
    assert!(outcomes.len() >= 3, "{outcomes:?}");
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == apply::Outcome::Done), "{outcomes:?}");
    assert_ne!(before, during);
    assert_eq!(before, after);
}
