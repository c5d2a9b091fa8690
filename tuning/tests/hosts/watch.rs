//! `tune watch`: over a host of files nothing is hit; in a network namespace with a short queue, the queue is.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use roadstead_tuning::{
    host::{Counters, Host, Subject},
    prove::in_namespace,
    watch::signals::{self, Course, Signal, State},
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::fake::{FakeRoot, SERVER};

const TUNE: &str = env!("CARGO_BIN_EXE_roadstead-tune");
/// Far longer than anything here takes; a tool that hangs is ended by it.
const PATIENCE: Duration = Duration::from_secs(60);

fn look(root: &FakeRoot, earlier: &Counters) -> Vec<Signal> {
    let host = Host::at(root.folder()).with_subject(Subject::Server(SERVER));
    signals::all(&host, earlier, &Counters::read(&host))
}

fn earlier(root: &FakeRoot) -> Counters {
    Counters::read(&Host::at(root.folder()).with_subject(Subject::Server(SERVER)))
}

fn find(signals: &[Signal], id: &str) -> Signal {
    signals.iter().find(|signal| signal.id == id).unwrap_or_else(|| panic!("no {id}")).clone()
}

#[test]
fn a_host_on_which_nothing_happens_ends_with_0_whatever_it_counted_before() {
    let root = FakeRoot::stock();
    let mut command = Command::new(TUNE);
    command.args(["watch", "--interval", "0.05", "--seconds", "0.2", "--root"]).arg(root.folder());
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("No limit was hit"), "{printed}");
}

#[test]
fn without_counters_nothing_is_watched_and_that_is_told() {
    let root = FakeRoot::stock();
    root.remove("/proc/net");
    root.remove("/proc/sys");
    root.remove("/proc/meminfo");
    root.remove("/sys");
    let mut command = Command::new(TUNE);
    command.args(["watch", "--seconds", "0.1", "--root"]).arg(root.folder());
    assert_eq!(command.output().unwrap().status.code(), Some(2));
}

#[test]
fn each_limit_is_hit_by_its_own_counter_or_level_and_by_no_other() {
    let netstat = |name: &str, count: u32| format!("TcpExt: ListenOverflows {name}\nTcpExt: 600 {count}\n");
    for (id, name) in [
        ("half-open", "TCPReqQFullDrop"),
        ("tcp-memory", "TCPMemoryPressures"),
        ("pruned", "RcvPruned"),
        ("orphans", "TCPAbortOnMemory"),
        ("time-wait", "TCPTimeWaitOverflow"),
    ] {
        let root = FakeRoot::stock();
        root.put("/proc/net/netstat", &netstat(name, 5));
        let before = earlier(&root);
        root.put("/proc/net/netstat", &netstat(name, 6));
        let looked = look(&root, &before);
        let hit: Vec<&str> =
            looked.iter().filter(|signal| signal.state == State::Hit).map(|signal| signal.id).collect();
        assert_eq!(hit, [id]);
        assert!(find(&looked, id).cure.is_some_and(|cure| !cure.contains("{wanted}")), "{id} has no cure");
    }
}

#[test]
fn a_sign_of_what_may_come_is_no_hit() {
    let root = FakeRoot::stock();
    let before = earlier(&root);
    root.put("/proc/net/softnet_stat", "0000000f 00000007 00000000\n000010e3 00000009 00000002\n");
    assert_eq!(find(&look(&root, &before), "softnet").state, State::Near);
}

#[test]
fn a_level_is_told_before_it_is_hit_with_the_number_that_would_do() {
    let root = FakeRoot::stock();
    let sockstat =
        |pages: u64, tw: u64| format!("sockets: used 9\nTCP: inuse 5 orphan 0 tw {tw} alloc 9 mem {pages}\n");
    root.put("/proc/net/sockstat", &sockstat(511_826, 120_000));
    root.put("/proc/sys/fs/file-nr", "100\t0\t1000\n");
    let looked = look(&root, &earlier(&root));
    assert_eq!(find(&looked, "tcp-memory").state, State::Hit);
    assert!(find(&looked, "tcp-memory").cure.unwrap().contains("767738 1023652 1535476"));
    assert_eq!(find(&looked, "time-wait").state, State::Near);
    assert!(find(&looked, "time-wait").cure.unwrap().contains("tcp_max_tw_buckets=262144"));
    assert_eq!((find(&looked, "files").state, find(&looked, "files").cure), (State::Quiet, None));
}

#[test]
fn the_descriptors_of_the_process_that_is_watched_are_counted_against_its_soft_limit() {
    let mut command = Command::new("prlimit");
    command.args(["--nofile=5:900", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let Ok(process) = command.spawn() else { return eprintln!("not run: takes prlimit") };
    let process = Ended(process);
    let host = Host::at("/").with_subject(Subject::Server(process.0.id()));
    let before = Counters::read(&host);
    let begun = std::time::Instant::now();
    let found = loop {
        let found = find(&signals::all(&host, &before, &Counters::read(&host)), "descriptors");
        if found.limit == Some(5) {
            break found;
        }
        assert!(begun.elapsed() < PATIENCE, "{found:?}");
        std::thread::yield_now();
    };
    // Input, output and errors, and whatever this process has passed on.
    assert!(found.level >= Some(3), "{found:?}");
    assert_eq!(found.setting, "nofile");
}

#[test]
fn the_worst_look_is_kept_and_the_rest_is_summed_up() {
    let root = FakeRoot::stock();
    let mut course = Course::default();
    for count in [600, 603, 604, 604] {
        let before = earlier(&root);
        root.put("/proc/net/netstat", &format!("TcpExt: ListenOverflows\nTcpExt: {count}\n"));
        course.add(&look(&root, &before), 1.0);
    }
    let tracked = course.signals().iter().find(|one| one.worst_look.id == "accept-queue").unwrap();
    assert_eq!((tracked.grown, tracked.hit_seconds, tracked.worst_look.grown), (4, 2.0, 3));
    assert!(course.was_hit() && course.seconds() == 4.0);
}

/// A listener whose queue holds what the lesser of the two bounds allows, clients that overflow it, and what the tool
/// said in the end.
fn overflow(somaxconn: &str, backlog: i32) -> Option<(Value, Option<i32>)> {
    let somaxconn = somaxconn.to_owned();
    let watched = in_namespace(PATIENCE, move || {
        std::fs::write("/proc/sys/net/core/somaxconn", somaxconn)?;
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(backlog)?;
        let address = TcpListener::from(listener.try_clone()?).local_addr()?;
        // Started by this thread, so in its network namespace.
        let mut command = Command::new(TUNE);
        command.args(["watch", "--interval", "0.1", "--seconds", "50", "--json"]);
        let mut tool = Ended(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let mut lines = BufReader::new(tool.0.stdout.take().expect("piped"));
        // Its first look is behind it, so that what follows is growth.
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let clients: Vec<Socket> = (0..40).map(|_| client(address)).collect::<Result<_, _>>()?;
        let is_hit = |line: &str| {
            let look: Value = serde_json::from_str(line).unwrap_or_default();
            look["hit"].as_array().is_some_and(|hit| hit.iter().any(|id| id == "accept-queue"))
        };
        while !is_hit(&line) {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                break;
            }
        }
        interrupt(&tool.0)?;
        let mut rest = String::new();
        lines.read_to_string(&mut rest)?;
        let overflows = Counters::read(&Host::at("/")).get("TcpExt.ListenOverflows");
        drop(clients);
        Ok((rest, tool.0.wait()?.code(), overflows))
    });
    match watched {
        Ok((rest, code, overflows)) => {
            let summary: Value = serde_json::from_str(rest.lines().last()?).unwrap();
            // What is told is never more than what was counted: each look counts from the one before.
            assert!(queue(&summary)["grown"].as_u64() <= overflows, "{summary} {overflows:?}");
            Some((summary, code))
        }
        Err(trouble) => {
            eprintln!("not run: {trouble}");
            None
        }
    }
}

/// A process that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn client(address: SocketAddr) -> std::io::Result<Socket> {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    client.set_nonblocking(true)?;
    // In progress, or dropped and to be tried again: either is what an overflow is made of.
    client.connect(&address.into()).ok();
    Ok(client)
}

/// What Ctrl-C does.
fn interrupt(process: &Child) -> std::io::Result<()> {
    let status = Command::new("kill").args(["-INT", &process.id().to_string()]).status()?;
    assert!(status.success());
    Ok(())
}

fn queue(summary: &Value) -> &Value {
    let signals = summary["signals"].as_array().unwrap();
    signals.iter().find(|one| one["worst_look"]["id"] == "accept-queue").unwrap()
}

fn cure_of(summary: &Value) -> String {
    queue(summary)["worst_look"]["cure"].as_str().unwrap().to_owned()
}

#[test]
fn a_queue_that_overflows_is_hit_and_the_cure_is_that_of_the_lesser_bound() {
    let Some((summary, code)) = overflow("8", 100) else { return };
    assert_eq!((code, summary["ended"].as_bool()), (Some(1), Some(true)), "{summary}");
    let cure = cure_of(&summary);
    assert!(cure.contains("somaxconn = 8") && cure.contains("net.core.somaxconn=4096"), "{cure}");
    let Some((summary, _)) = overflow("4096", 8) else { return };
    let cure = cure_of(&summary);
    assert!(cure.contains("asked listen() for 8 ") && !cure.contains("sysctl"), "{cure}");
}
