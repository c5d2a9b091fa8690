//! Apply and rollback on this host's kernel, inside a network namespace of its own. Takes root; says so and passes
//! without.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use roadstead_tuning::{
    change::{Journal, apply, journal, plan::plan, rollback},
    host::{Facts, Host, Nic, RingProbe},
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

#[test]
fn what_is_said_to_be_a_namespaces_own_can_be_written_in_one() {
    let sealed = in_namespace(Duration::from_secs(30), || {
        let all = setting::all();
        let own = all.iter().filter(|setting| setting.text.scope == Scope::Network);
        let paths = own.filter_map(|setting| setting.text.reads.split([',', ' ']).next());
        let paths = paths.filter(|path| path.starts_with("/proc/sys/"));
        // Root may open what nobody may write, so the mode is asked.
        let is_sealed = |path: &&str| fs::metadata(path).is_ok_and(|file| file.permissions().readonly());
        Ok(paths.filter(is_sealed).collect::<Vec<_>>())
    });
    match sealed {
        Ok(sealed) => assert_eq!(sealed, [""; 0], "their scope is the host"),
        Err(trouble) => eprintln!("not run: {trouble}"),
    }
}

/// What a container is to the kernel: namespaces of its own. Its sysctls of the network are its own too.
const IN_A_CONTAINER: &str = "set -e
cat /proc/sys/net/core/somaxconn
\"$0\" apply --only somaxconn,nr-open --target 1000000 --journal \"$1\" >&2 || true
cat /proc/sys/net/core/somaxconn
\"$0\" rollback \"$1\" >&2
cat /proc/sys/net/core/somaxconn";

#[test]
fn in_a_container_that_may_apply_sets_what_is_its_own_and_leaves_what_is_the_hosts() {
    let journal = std::env::temp_dir().join(format!("tune-container-{}.journal", std::process::id()));
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", IN_A_CONTAINER]);
    let Ok(output) = command.arg(env!("CARGO_BIN_EXE_roadstead-tune")).arg(&journal).output() else {
        return eprintln!("not run: takes unshare");
    };
    let told = String::from_utf8_lossy(&output.stderr);
    if told.starts_with("unshare:") {
        return eprintln!("not run: {told}");
    }
    fs::remove_file(journal.with_extension("undone")).unwrap();
    let values: Vec<u64> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| line.parse().unwrap()).collect();
    assert!(
        matches!(values[..], [before, during, after] if before < during && before == after),
        "{values:?} {told}"
    );
    assert!(told.contains("nr-open") && told.contains("cannot be set inside this container"), "{told}");
}

/// A network namespace, its own view of `/sys`, and a device in it whose masks can be written: a virtual one, with one
/// receive queue and two transmit queues.
const WITH_A_DEVICE: &str = "set -e
mount -t sysfs none /sys
ip link add tune0 numrxqueues 1 numtxqueues 2 type veth peer name tune1
exec \"$0\" --ignored --exact namespace::masks_of_a_device";

#[test]
fn masks_of_a_real_device_are_set_and_go_back() {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", WITH_A_DEVICE]).arg(std::env::current_exe().unwrap());
    let Ok(output) = command.output() else { return eprintln!("not run: takes unshare") };
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if !printed.contains("running 1 test") {
        return eprintln!("not run: {printed}");
    }
    assert!(output.status.success(), "{printed}");
}

#[test]
#[ignore = "takes a device of its own, which the test above makes"]
fn masks_of_a_device() {
    let host = Host::at("/").with_ring_probe(RingProbe::Works);
    let mut facts = Facts::of(&host);
    // A virtual device is no card to the tool: what counts for it is the card below.
    facts.nics = vec![Nic { name: "tune0".to_owned(), receive_queues: 0, megabits: None }];
    let goal = Goal::new(120_000, Profile::Throughput);
    let paths = ["rx-0/rps_cpus", "tx-0/xps_cpus", "tx-1/xps_cpus"];
    let read = || paths.map(|path| fs::read(format!("/sys/class/net/tune0/queues/{path}")).unwrap());
    let before = read();
    let only = ["rps".to_owned(), "xps".to_owned()];
    let plan = plan(&Scene { host: &host, facts: &facts, goal: &goal }, &only);
    let path = std::env::temp_dir().join(format!("tune-masks-{}.journal", std::process::id()));
    let mut journal = Journal::create(&host, Some(&path)).unwrap();
    let mut outcomes = Vec::new();
    apply::apply(&host, "boot", &plan.steps, &mut journal, |_, outcome| outcomes.push(outcome.clone()))
        .unwrap();
    let during = read();
    rollback::rollback(&host, &journal::load(&path).unwrap(), |_, _| {});
    fs::remove_file(&path).unwrap();
    assert!(!outcomes.is_empty(), "{plan:?}");
    assert!(outcomes.iter().all(|outcome| *outcome == apply::Outcome::Done), "{plan:?} {outcomes:?}");
    assert_ne!(before, during);
    assert_eq!(before, read());
}
