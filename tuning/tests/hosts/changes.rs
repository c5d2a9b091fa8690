//! Apply and rollback over hosts made of files: what is written, what is left, and the way back after a crash.

use std::{collections::BTreeMap, fs, path::Path};

use crate::fake::{FakeRoot, STOCK, goal};
use roadstead_tuning::{
    change::{
        Entry, Journal, Plan, Target,
        apply::{self, Outcome},
        boot_order, journal, persist,
        plan::plan,
        rollback,
    },
    host::Facts,
    setting::{Goal, Profile, Scene},
};

/// A stock host as distributions ship it, short of much.
fn short_host() -> FakeRoot {
    let root = FakeRoot::stock();
    root.put("/proc/sys/net/core/somaxconn", "128\n");
    root.put("/proc/sys/net/ipv4/tcp_mem", "9000\t12000\t18000\n");
    root.put("/proc/sys/net/ipv4/tcp_migrate_req", "0\n");
    root.put("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
    root.put("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    root
}

fn planned(root: &FakeRoot, goal: &Goal, only: &[&str]) -> Plan {
    let host = root.host();
    let facts = Facts::of(&host);
    let only: Vec<String> = only.iter().map(|id| (*id).to_owned()).collect();
    plan(&Scene { host: &host, facts: &facts, goal }, &only)
}

fn apply_all(root: &FakeRoot, plan: &Plan) -> (Journal, Vec<Outcome>) {
    let mut journal = Journal::create(&root.host(), None).unwrap();
    let mut outcomes = Vec::new();
    let tell = |_: &_, outcome: &Outcome| outcomes.push(outcome.clone());
    apply::apply(&root.host(), "boot", &plan.steps, &mut journal, tell).unwrap();
    (journal, outcomes)
}

fn undo(root: &FakeRoot, journal: &Path) -> Vec<rollback::Outcome> {
    let mut outcomes = Vec::new();
    rollback::rollback(&root.host(), &journal::load(journal).unwrap(), |_, outcome| {
        outcomes.push(outcome.clone())
    });
    outcomes
}

/// Every file below /proc and /sys, with its bytes.
fn bytes(root: &FakeRoot) -> BTreeMap<&'static str, Vec<u8>> {
    STOCK.iter().map(|(path, _)| (*path, fs::read(root.path(path)).unwrap())).collect()
}

fn read(root: &FakeRoot, path: &str) -> String {
    fs::read_to_string(root.path(path)).unwrap()
}

#[test]
fn apply_then_rollback_leaves_every_byte_as_it_was() {
    let root = short_host();
    let before = bytes(&root);
    let plan = planned(&root, &goal(Profile::Storm), &[]);
    let (journal, outcomes) = apply_all(&root, &plan);
    assert!(plan.steps.len() >= 4 && outcomes.iter().all(|outcome| *outcome == Outcome::Done), "{plan:?}");
    assert_ne!(bytes(&root), before);
    let undone = undo(&root, journal.path());
    assert!(undone.iter().all(|outcome| *outcome == rollback::Outcome::Restored), "{undone:?}");
    assert_eq!(bytes(&root), before);
}

#[test]
fn a_second_plan_after_apply_is_empty() {
    let root = short_host();
    apply_all(&root, &planned(&root, &goal(Profile::Storm), &[]));
    assert_eq!(planned(&root, &goal(Profile::Storm), &[]).steps, []);
}

#[test]
fn a_word_is_chosen_only_when_named_and_goes_back_with_its_brackets() {
    let root = short_host();
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let latency = goal(Profile::Latency);
    let unnamed = planned(&root, &latency, &[]);
    assert!(unnamed.left.iter().any(|(id, _)| *id == "transparent-hugepages"));
    let (journal, _) = apply_all(&root, &planned(&root, &latency, &["transparent-hugepages"]));
    assert_eq!(read(&root, path), "always [madvise] never\n");
    undo(&root, journal.path());
    assert_eq!(read(&root, path), "[always] madvise never\n");
}

#[test]
fn a_number_that_somebody_raised_is_never_lowered() {
    let root = FakeRoot::stock();
    root.put("/proc/sys/vm/swappiness", "90\n");
    let plan = planned(&root, &goal(Profile::Latency), &["swappiness"]);
    assert_eq!(plan.steps, []);
    assert_eq!(plan.left[0].0, "swappiness");
    // The kernel's own default was raised by nobody.
    root.put("/proc/sys/vm/swappiness", "60\n");
    assert_eq!(planned(&root, &goal(Profile::Latency), &["swappiness"]).steps[0].new, "10");
}

#[test]
fn an_empty_mask_is_filled_as_wide_as_it_was_and_a_chosen_one_only_when_named() {
    let root = FakeRoot::stock();
    let queues = "/sys/class/net/eth0/queues";
    root.remove(&format!("{queues}/rx-3"));
    for queue in 0..3 {
        root.put(&format!("{queues}/rx-{queue}/rps_cpus"), "00000000,00000000\n");
    }
    root.put(&format!("{queues}/tx-2/xps_cpus"), "0\n");
    let throughput = goal(Profile::Throughput);
    let mut written: Vec<(&str, String)> =
        planned(&root, &throughput, &[]).steps.into_iter().map(|step| (step.setting, step.new)).collect();
    written.dedup();
    assert_eq!(written, [("rps", "00000000,0000000f".to_owned()), ("xps", "4".to_owned())]);
    root.put(&format!("{queues}/rx-1/rps_cpus"), "00000000,00000010\n");
    assert!(planned(&root, &throughput, &[]).left.iter().any(|(id, _)| *id == "rps"));
    let named = planned(&root, &throughput, &["rps"]);
    assert!(named.steps.iter().any(|step| step.new == "00000000,0000001f"), "{named:?}");
}

#[test]
fn parts_that_are_high_enough_stay_when_others_rise() {
    let root = FakeRoot::stock();
    root.put("/proc/sys/net/ipv4/tcp_mem", "1\t2\t9999999\n");
    let plan = planned(&root, &goal(Profile::Idle), &["tcp-mem"]);
    assert_eq!(plan.steps[0].new, "11250 15000 9999999");
}

#[test]
fn a_crash_between_two_writes_leaves_a_journal_that_rolls_back() {
    let root = short_host();
    let before = bytes(&root);
    let plan = planned(&root, &goal(Profile::Storm), &[]);
    for writes in 0..=plan.steps.len() {
        let mut first = plan.clone();
        first.steps.truncate(writes);
        let (mut journal, _) = apply_all(&root, &first);
        if let Some(next) = plan.steps.get(writes) {
            // The next entry reached the disk, its write did not happen.
            journal.record(&entry(&root, &next.target, &next.new)).unwrap();
        }
        undo(&root, journal.path());
        assert_eq!(bytes(&root), before, "after {writes} writes");
        fs::remove_file(journal.path()).unwrap();
    }
}

#[test]
fn a_torn_last_line_is_a_write_that_never_began() {
    let root = short_host();
    let before = bytes(&root);
    let (journal, _) = apply_all(&root, &planned(&root, &goal(Profile::Storm), &[]));
    let whole = fs::read(journal.path()).unwrap();
    let count = journal::load(journal.path()).unwrap().len();
    fs::write(journal.path(), [&whole[..], b"{\"setting\":\"some"].concat()).unwrap();
    assert_eq!(journal::load(journal.path()).unwrap().len(), count);
    undo(&root, journal.path());
    assert_eq!(bytes(&root), before);
}

#[test]
fn rollback_leaves_what_somebody_changed_since() {
    let root = short_host();
    let (journal, _) = apply_all(&root, &planned(&root, &goal(Profile::Storm), &["somaxconn"]));
    root.put("/proc/sys/net/core/somaxconn", "50000\n");
    assert_eq!(undo(&root, journal.path()), [rollback::Outcome::Left("50000".to_owned())]);
    assert_eq!(read(&root, "/proc/sys/net/core/somaxconn"), "50000\n");
}

#[test]
fn rolling_back_twice_changes_nothing_the_second_time() {
    let root = short_host();
    let (journal, _) = apply_all(&root, &planned(&root, &goal(Profile::Storm), &[]));
    undo(&root, journal.path());
    let before = bytes(&root);
    let again = undo(&root, journal.path());
    assert!(again.iter().all(|outcome| *outcome == rollback::Outcome::AsBefore), "{again:?}");
    assert_eq!(bytes(&root), before);
}

#[test]
fn the_newest_journal_is_undone_first_and_only_once() {
    let root = short_host();
    let (first, _) = apply_all(&root, &planned(&root, &goal(Profile::Storm), &["somaxconn"]));
    let (second, _) = apply_all(&root, &planned(&root, &goal(Profile::Storm), &["migrate-req"]));
    assert_eq!(journal::newest(&root.host()).as_deref(), Some(second.path()));
    journal::retire(second.path()).unwrap();
    assert_eq!(journal::newest(&root.host()).as_deref(), Some(first.path()));
    journal::retire(first.path()).unwrap();
    assert_eq!(journal::newest(&root.host()), None);
}

#[test]
fn persisted_files_hold_the_values_and_go_away_with_a_rollback() {
    let root = short_host();
    let host = root.host();
    let facts = Facts::of(&host);
    let goal = goal(Profile::Storm);
    let files = persist::files(&Scene { host: &host, facts: &facts, goal: &goal }, &[]);
    let mut journal = Journal::create(&host, None).unwrap();
    for (path, text) in &files {
        apply::put_file(&host, "boot", path, text, &mut journal).unwrap();
    }
    assert!(read(&root, persist::SYSCTL_FILE).contains("net.core.somaxconn = 4096\n"));
    assert!(read(&root, persist::DROP_IN_FILE).contains("LimitNOFILE=127500\n"));
    undo(&root, journal.path());
    for (path, _) in &files {
        assert!(!root.path(path).exists(), "{path}");
    }
}

#[test]
fn the_line_that_wins_at_boot_is_the_last_by_name_and_an_earlier_folder_hides_a_later() {
    let root = FakeRoot::stock();
    let host = root.host();
    let path = "/proc/sys/net/core/somaxconn";
    assert_eq!(boot_order::sysctl_line(&host, path), None);
    root.put("/usr/lib/sysctl.d/50-default.conf", "net.core.somaxconn = 1\n");
    root.put("/usr/lib/sysctl.d/60-x.conf", "net/core/somaxconn=2\n");
    assert_eq!(boot_order::sysctl_line(&host, path).unwrap().value, "2");
    root.put("/etc/sysctl.d/60-x.conf", "# net.core.somaxconn = 3\n");
    assert_eq!(boot_order::sysctl_line(&host, path).unwrap().value, "1");
    root.put("/lib/sysctl.d/70-lib.conf", "net.core.somaxconn = 7\n");
    assert_eq!(boot_order::sysctl_line(&host, path).unwrap().value, "7");
    root.put("/etc/sysctl.d/99-mine.conf", "vm.swappiness=5\n-net.core.somaxconn =  4\n");
    let line = boot_order::sysctl_line(&host, path).unwrap();
    assert_eq!(
        (line.path.as_str(), line.number, line.value.as_str()),
        ("/etc/sysctl.d/99-mine.conf", 2, "4")
    );
}

#[test]
fn a_glob_sets_what_no_line_names_and_a_line_that_names_it_wins() {
    let root = FakeRoot::stock();
    let host = root.host();
    let path = "/proc/sys/net/core/somaxconn";
    root.put("/etc/sysctl.d/99-glob.conf", "net.core.somax* = 128\n");
    let line = boot_order::sysctl_line(&host, path).unwrap();
    assert_eq!((line.value.as_str(), line.glob.as_deref()), ("128", Some("net/core/somax*")));
    assert_eq!(boot_order::sysctl_line(&host, "/proc/sys/net/core/busy_poll"), None);
    root.put("/etc/sysctl.d/10-name.conf", "net.core.somaxconn = 256\n");
    assert_eq!(boot_order::sysctl_line(&host, path).unwrap().value, "256");
    root.put("/etc/sysctl.d/10-name.conf", "-net.core.somaxconn\n");
    assert_eq!(boot_order::sysctl_line(&host, path), None);
}

#[test]
fn a_line_of_sysctl_conf_is_seen_whether_it_is_linked_or_not() {
    let root = FakeRoot::stock();
    let host = root.host();
    let path = "/proc/sys/net/core/somaxconn";
    root.put("/etc/sysctl.conf", "# old\nnet.core.somaxconn=128\n");
    let line = boot_order::sysctl_conf_line(&host, path).unwrap();
    assert_eq!((line.path.as_str(), line.number), ("/etc/sysctl.conf", 2));
    assert_eq!(boot_order::sysctl_line(&host, path), None);
    std::os::unix::fs::symlink("../sysctl.conf", root.path("/etc/sysctl.d/99-sysctl.conf")).unwrap();
    assert_eq!(boot_order::sysctl_conf_line(&host, path), None);
    assert_eq!(boot_order::sysctl_line(&host, path).unwrap().value, "128");
}

#[test]
fn what_is_persisted_of_one_setting_is_that_setting_and_nothing_else() {
    let root = short_host();
    let host = root.host();
    let facts = Facts::of(&host);
    let goal = goal(Profile::Idle);
    let scene = Scene { host: &host, facts: &facts, goal: &goal };
    let files = |only: &[&str]| {
        let only: Vec<String> = only.iter().map(|id| (*id).to_owned()).collect();
        persist::files(&scene, &only)
    };
    // One that deserves only a note in this profile, and so is in no list that was not asked for it.
    let [(path, text)] = &files(&["migrate-req"])[..] else { panic!("{:?}", files(&["migrate-req"])) };
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!((*path, lines), (persist::SYSCTL_FILE, vec!["net.ipv4.tcp_migrate_req = 1"]));
    let [(path, text)] = &files(&["nofile"])[..] else { panic!("{:?}", files(&["nofile"])) };
    assert!(*path == persist::DROP_IN_FILE && !text.contains("MEMLOCK"), "{text}");
    // What an earlier apply has written of others stays.
    root.put(
        persist::SYSCTL_FILE,
        "# mine\nnet.core.somaxconn = 9000\n# old\nnet.ipv4.tcp_migrate_req = 0\n",
    );
    let text = files(&["migrate-req"])[0].1.clone();
    assert!(
        text.contains("# mine\nnet.core.somaxconn = 9000\n") && !text.contains("migrate_req = 0"),
        "{text}"
    );
}

#[test]
fn a_limit_that_a_module_brings_is_persisted_with_the_module() {
    let root = FakeRoot::stock();
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    root.put(path, "65536\n");
    let host = root.host();
    let facts = Facts::of(&host);
    let goal = goal(Profile::Idle);
    let files = persist::files(&Scene { host: &host, facts: &facts, goal: &goal }, &["conntrack".to_owned()]);
    let names: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    assert_eq!(names, [persist::SYSCTL_FILE, persist::MODULES_FILE]);
    assert!(files[1].1.lines().any(|line| line == "nf_conntrack"), "{}", files[1].1);
}

#[test]
fn a_drop_in_beats_its_unit() {
    let root = FakeRoot::stock();
    let host = root.host();
    root.put("/usr/lib/systemd/system/roadstead.service", "[Service]\nLimitNOFILE=1000\n");
    assert_eq!(boot_order::unit_line(&host, "roadstead.service", "LimitNOFILE").unwrap().value, "1000");
    root.put("/etc/systemd/system/roadstead.service.d/10-a.conf", "[Service]\nLimitNOFILE=2000\n");
    assert_eq!(boot_order::unit_line(&host, "roadstead.service", "LimitNOFILE").unwrap().value, "2000");
}

fn entry(root: &FakeRoot, target: &Target, new: &str) -> Entry {
    let Target::File { path } = target else { panic!("a fake host has no processes") };
    Entry {
        setting: "any".to_owned(),
        target: target.clone(),
        old: Some(read(root, path)),
        new: new.to_owned(),
        time: 0,
        boot_id: "boot".to_owned(),
    }
}
