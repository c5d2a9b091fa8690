//! The command as a user runs it: exit codes and what is printed.

use std::process::{Command, Output};

use crate::fake::FakeRoot;

fn tune(root: &FakeRoot, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead-tune"));
    command.args(arguments).arg("--root").arg(root.folder()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn check_ends_with_0_when_fine_1_when_short_and_2_when_it_cannot_see() {
    let root = FakeRoot::stock();
    assert_eq!(tune(&root, &["check"]).status.code(), Some(0), "{}", text(&tune(&root, &["check"])));
    root.make_unreadable("/proc/sys/net/core/somaxconn");
    assert_eq!(tune(&root, &["check"]).status.code(), Some(2));
    // What is known to fall short outweighs what is not known.
    root.put("/proc/sys/fs/file-max", "1000\n");
    assert_eq!(tune(&root, &["check"]).status.code(), Some(1));
}

#[test]
fn a_target_is_taken_as_people_write_it() {
    let root = FakeRoot::stock();
    for (written, told) in [("1M", "1,000,000"), ("120k", "120,000"), ("2.5k", "2,500")] {
        let printed = text(&tune(&root, &["check", "--target", written]));
        assert!(printed.contains(&format!("target {told} connections")), "{printed}");
    }
    let refused = tune(&root, &["check", "--target", "lots"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("write 120000, 120k or 1M"), "{}", text(&refused));
}

#[test]
fn check_without_proc_ends_with_2() {
    let root = FakeRoot::stock();
    root.remove("/proc");
    assert_eq!(tune(&root, &["check"]).status.code(), Some(2));
}

#[test]
fn check_names_the_ceiling_and_what_stops_it() {
    let root = FakeRoot::stock();
    root.put("/proc/sys/fs/file-max", "83968\n");
    let printed = text(&tune(&root, &["check"]));
    assert!(printed.contains("can hold 78,588 connections"), "{printed}");
    assert!(printed.contains("what stops it is Open files of the whole system"), "{printed}");
    assert!(printed.contains("(1 value)"), "{printed}");
}

#[test]
fn json_holds_every_setting_and_both_ceilings() {
    let root = FakeRoot::stock();
    let report: serde_json::Value =
        serde_json::from_slice(&tune(&root, &["check", "--json"]).stdout).unwrap();
    assert_eq!(report["findings"].as_array().unwrap().len(), roadstead_tuning::setting::all().len());
    assert!(report["ceiling"]["connections"].as_u64().unwrap() >= 120_000);
    assert_eq!(report["ceiling"], report["ceiling_after_apply"]);
}

#[test]
fn apply_check_rollback_as_a_new_user_would() {
    let root = FakeRoot::stock();
    root.put("/proc/sys/net/core/somaxconn", "128\n");
    assert_eq!(tune(&root, &["check"]).status.code(), Some(1));
    assert_eq!(tune(&root, &["apply", "--dry-run"]).status.code(), Some(0));
    assert_eq!(tune(&root, &["check"]).status.code(), Some(1), "a dry run changes nothing");
    let applied = tune(&root, &["apply", "--persist"]);
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    assert_eq!(tune(&root, &["check"]).status.code(), Some(0));
    let undone = tune(&root, &["rollback"]);
    assert_eq!(undone.status.code(), Some(0), "{}", text(&undone));
    assert_eq!(tune(&root, &["check"]).status.code(), Some(1));
    assert!(text(&tune(&root, &["rollback"])).contains("No journal"));
}

#[test]
fn apply_names_the_files_that_will_set_something_else() {
    let root = FakeRoot::stock();
    root.put("/proc/sys/net/core/somaxconn", "128\n");
    root.put("/etc/sysctl.conf", "net.core.somaxconn = 128\n");
    root.put("/lib/sysctl.d/99-vendor.conf", "net.core.somax* = 256\n");
    let printed = text(&tune(&root, &["apply", "--dry-run", "--persist"]));
    let words = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("/etc/sysctl.conf:1 sets 128 whenever `sysctl --system`"), "{printed}");
    assert!(
        words.contains("/lib/sysctl.d/99-vendor.conf:1 sets 256 by the glob net/core/somax*"),
        "{printed}"
    );
    root.put("/etc/sysctl.d/95-mine.conf", "net.core.somaxconn = 512\n");
    let printed = text(&tune(&root, &["apply", "--dry-run", "--persist"]));
    let words = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("95-mine.conf:1 sets 512, after the file that --persist writes"), "{printed}");
}

#[test]
fn an_unknown_setting_is_named_and_changes_nothing() {
    let root = FakeRoot::stock();
    let output = tune(&root, &["apply", "--only", "somaxcon"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("somaxcon"));
}

#[test]
fn every_setting_explains_itself_with_this_hosts_numbers() {
    let root = FakeRoot::stock();
    for setting in roadstead_tuning::setting::all() {
        let output = tune(&root, &["explain", setting.text.id]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output).contains("## Sources"), "{}", setting.text.id);
    }
}

#[test]
fn in_a_container_nothing_is_written_for_a_boot_that_nobody_reads() {
    let root = FakeRoot::stock().into_container();
    root.put("/proc/sys/net/core/somaxconn", "128\n");
    root.put("/proc/1/comm", "sh\n");
    let output = text(&tune(&root, &["apply", "--persist"]));
    assert!(output.contains("--persist writes nothing here"), "{output}");
    assert!(!root.path("/etc/sysctl.d/90-roadstead.conf").exists());
    root.put("/proc/1/comm", "systemd\n");
    assert!(!text(&tune(&root, &["apply", "--persist"])).contains("writes nothing"));
    assert!(root.path("/etc/sysctl.d/90-roadstead.conf").exists());
}

#[test]
fn without_sys_the_processors_are_counted_and_what_is_unseen_is_no_bound() {
    let root = FakeRoot::stock();
    root.remove("/sys");
    root.put("/proc/stat", "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n");
    let output = text(&tune(&root, &["check", "--profile", "latency"]));
    assert!(output.contains(", 2 CPUs,"), "{output}");
    assert!(output.contains("unseen  clocksource") && !output.contains("(not seen:"), "{output}");
}
