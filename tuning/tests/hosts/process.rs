//! The tool as a process that is killed, that has no rights, and that measures this host.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use roadstead_tuning::{
    change::{Entry, Target, journal::LimitName, rollback},
    host::{Host, limits},
};

use crate::fake::{FakeRoot, STOCK};

const TUNE: &str = env!("CARGO_BIN_EXE_roadstead-tune");

/// What is short on the host of these tests: enough values that a kill can fall between two writes.
const SHORT: &[(&str, &str)] = &[
    ("/proc/sys/fs/file-max", "1000\n"),
    ("/proc/sys/net/core/somaxconn", "128\n"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "128\n"),
    ("/proc/sys/net/ipv4/tcp_mem", "9000\t12000\t18000\n"),
    ("/proc/sys/net/ipv4/tcp_migrate_req", "0\n"),
    ("/proc/sys/net/ipv4/tcp_max_tw_buckets", "4096\n"),
    ("/proc/sys/net/ipv4/tcp_max_orphans", "4096\n"),
];

fn short_host() -> FakeRoot {
    let root = FakeRoot::stock();
    for (path, text) in SHORT {
        root.put(path, text);
    }
    root
}

fn bytes(root: &FakeRoot) -> BTreeMap<&'static str, Vec<u8>> {
    STOCK.iter().map(|(path, _)| (*path, fs::read(root.path(path)).unwrap())).collect()
}

fn apply(root: &FakeRoot) -> Child {
    let mut command = Command::new(TUNE);
    command.args(["apply", "--profile", "storm", "--root"]).arg(root.folder());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Entries that reached the journal.
fn entries(root: &FakeRoot) -> usize {
    let folder = root.path("/var/lib/roadstead/tune/any");
    let Ok(journals) = fs::read_dir(folder.parent().unwrap()) else { return 0 };
    let texts = journals.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.map(|text| text.lines().count()).sum()
}

/// Kills an apply with SIGKILL as soon as its journal holds so many entries; how many it held in the end.
fn kill_after(root: &FakeRoot, wanted: usize) -> usize {
    let mut process = apply(root);
    while entries(root) < wanted && process.try_wait().unwrap().is_none() {
        std::hint::spin_loop();
    }
    // One that has ended already cannot be killed, and is undone like the others.
    process.kill().ok();
    process.wait().unwrap();
    entries(root)
}

#[test]
fn an_apply_killed_anywhere_leaves_a_journal_that_rolls_back() {
    let mut interrupted = 0;
    for wanted in 1..=SHORT.len() {
        let root = short_host();
        let before = bytes(&root);
        interrupted += usize::from(kill_after(&root, wanted) < SHORT.len());
        let undone = Command::new(TUNE).args(["rollback", "--root"]).arg(root.folder()).output().unwrap();
        assert_eq!(undone.status.code(), Some(0), "{undone:?}");
        assert_eq!(bytes(&root), before, "killed after {wanted} entries");
    }
    // A busy machine may let one apply through, not all of them.
    assert!(interrupted > 0, "no kill fell between two writes");
}

/// The tool run by nobody, from a place that nobody can read; `None` where this test is not root or lacks setpriv.
fn by_nobody(arguments: &[&str]) -> Option<Output> {
    let place = Unlocked::copy();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
    let output = command.arg(&place.0).args(arguments).output().ok()?;
    let is_refused = String::from_utf8_lossy(&output.stderr).starts_with("setpriv:");
    (!is_refused).then_some(output)
}

/// A copy of the tool where every user can run it.
struct Unlocked(PathBuf);

impl Unlocked {
    fn copy() -> Self {
        let id = format!("{:?}", std::thread::current().id());
        let name = format!("roadstead-tune-{}-{}", std::process::id(), id.replace(['(', ')'], ""));
        let path = std::env::temp_dir().join(name);
        fs::copy(TUNE, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn without_privileges_check_tells_so_and_tells_the_ceiling() {
    let Some(output) = by_nobody(&["check"]) else { return eprintln!("not run: takes root and setpriv") };
    let printed = printed(&output);
    assert!(matches!(output.status.code(), Some(0..=2)), "{printed}");
    assert!(printed.contains("without privileges") && printed.contains("can hold"), "{printed}");
}

#[test]
fn without_privileges_apply_changes_nothing_and_says_what_it_takes() {
    let path = Path::new("/proc/sys/net/core/somaxconn");
    let before = fs::read(path).unwrap();
    let arguments = ["apply", "--target", "100000000", "--profile", "storm", "--only", "somaxconn"];
    let Some(output) = by_nobody(&arguments) else { return eprintln!("not run: takes root and setpriv") };
    assert_eq!(fs::read(path).unwrap(), before);
    let printed = printed(&output);
    if !printed.contains("There is nothing") {
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains("Nothing was changed: that takes root"), "{printed}");
    }
}

#[test]
fn without_privileges_rollback_and_prove_say_what_they_lack() {
    let Some(output) = by_nobody(&["rollback", "/nonexistent.journal"]) else {
        return eprintln!("not run: takes root and setpriv");
    };
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    let output = by_nobody(&["prove", "accept-queue"]).unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    assert!(printed(&output).contains("takes root"), "{}", printed(&output));
}

#[test]
fn an_experiment_ends_in_time_and_says_where_there_is_no_difference() {
    let began = Instant::now();
    let output = Command::new(TUNE).args(["prove", "accept-queue", "--rounds", "3"]).output().unwrap();
    let text = printed(&output);
    if text.contains("takes root") {
        return eprintln!("not run: takes root");
    }
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(text.contains("somaxconn 16384, listen(128): no difference on this host"), "{text}");
    assert!(text.contains("somaxconn 16384, then listen(16384): 7.75 times"), "{text}");
}

#[test]
fn an_experiment_that_changes_the_host_asks_for_leave_first() {
    let path = "/proc/sys/net/ipv4/tcp_mem";
    let before = fs::read(path).ok();
    let output = Command::new(TUNE).args(["prove", "tcp-mem"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    assert!(printed(&output).contains("`prove tcp-mem --host-wide`"), "{}", printed(&output));
    assert_eq!(fs::read(path).ok(), before);
}

/// When a process was started, the 22nd field of proc_pid_stat(5).
fn start_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(19).unwrap().parse().unwrap()
}

#[test]
fn a_hard_limit_goes_back_and_a_soft_one_that_the_program_raised_stays() {
    let mut command = Command::new("prlimit");
    let Ok(mut process) = command.args(["--nofile=700:900", "cat"]).stdin(Stdio::piped()).spawn() else {
        return eprintln!("not run: takes prlimit");
    };
    let host = Host::at("/");
    let folder = format!("/proc/{}", process.id());
    let read =
        || limits::limit(&host, &folder, "Max open files").value().map(|limit| (limit.soft, limit.hard));
    while read() != Some((700, 900)) {
        assert_eq!(process.try_wait().unwrap(), None, "it waits for its input");
        std::thread::yield_now();
    }
    let resource = LimitName::Nofile;
    let target = Target::Limit { pid: process.id(), started: start_ticks(process.id()), resource };
    let text = |text: &str| text.to_owned();
    let entry = |new: &str| Entry {
        setting: text("nofile"),
        target: target.clone(),
        old: Some(text("500:800")),
        new: text(new),
        time: 0,
        boot_id: String::new(),
    };
    let undo = |entry: Entry| {
        let mut outcomes = Vec::new();
        rollback::rollback(&host, &[entry], |_, outcome| outcomes.push(outcome.clone()));
        outcomes
    };
    assert_eq!(undo(entry("500:901")), [rollback::Outcome::Left(text("700:900"))]);
    assert_eq!(undo(entry("500:900")), [rollback::Outcome::Restored]);
    assert_eq!(read(), Some((700, 800)));
    drop(process.stdin.take());
    process.wait().unwrap();
}
