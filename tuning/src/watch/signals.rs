//! What is watched: counters that grow only when a limit is hit, and levels beside their limits.

use serde::Serialize;

use super::listeners;
use crate::{
    host::{Counters, Host, Reading, Subject, cgroup, counters::net_path, facts::meminfo, limits},
    setting::{self, demand},
};

/// From this share of its limit on, a level is near.
const NEAR_PERCENT: u64 = 90;

/// A control group's limit above this is no limit (version 1 prints a number near 2⁶³).
const UNLIMITED: u64 = 1 << 60;

/// How a signal stands, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing happens.
    Quiet,
    /// A level close to its limit, or a sign of what may come.
    Near,
    /// The limit is hit: somebody waits, or loses something.
    Hit,
}

/// One thing that is watched, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Signal {
    /// Its name.
    pub id: &'static str,
    /// The setting that is about it.
    pub setting: &'static str,
    /// What happens to whom when it is hit.
    pub what: &'static str,
    /// How it stands.
    pub state: State,
    /// By how much its counters have grown since the look before.
    pub grown: u64,
    /// The same, a second.
    pub per_second: f64,
    /// Its level, where it has one.
    pub level: Option<u64>,
    /// The level's limit.
    pub limit: Option<u64>,
    /// What is known besides, such as which listener.
    pub detail: Option<String>,
    /// What to do, unless it is quiet.
    pub cure: Option<String>,
}

/// Reads a level and its limit; `None` where the host does not show them.
type Level = fn(&Host) -> Option<(u64, u64)>;

/// A signal's definition.
struct Watched {
    id: &'static str,
    setting: &'static str,
    what: &'static str,
    /// Growth of any of these is a hit.
    hits: &'static [&'static str],
    /// Growth of any of these is a sign.
    signs: &'static [&'static str],
    level: Option<Level>,
}

const WATCHED: &[Watched] = &[
    Watched {
        id: "accept-queue",
        setting: "somaxconn",
        what: "connections found a listener's queue full, and wait for a retry of a second or more",
        hits: &["TcpExt.ListenOverflows"],
        signs: &[],
        level: None,
    },
    Watched {
        id: "half-open",
        setting: "syn-backlog",
        what: "handshakes found too many half open: dropped, or answered with a cookie",
        hits: &["TcpExt.TCPReqQFullDrop"],
        signs: &["TcpExt.TCPReqQFullDoCookies"],
        level: None,
    },
    Watched {
        id: "descriptors",
        setting: "nofile",
        what: "open files of the process that is watched: at the limit accept fails",
        hits: &[],
        signs: &[],
        level: Some(descriptors),
    },
    Watched {
        id: "files",
        setting: "file-max",
        what: "open files of the whole system: at the limit everything on the box fails",
        hits: &[],
        signs: &[],
        level: Some(files),
    },
    Watched {
        id: "tcp-memory",
        setting: "tcp-mem",
        what: "pages queued over all connections: above the second number of tcp_mem windows close, at the third data is dropped",
        hits: &["TcpExt.TCPMemoryPressures"],
        signs: &[],
        level: Some(tcp_pages),
    },
    Watched {
        id: "pruned",
        setting: "tcp-mem",
        what: "receive queues were pruned for want of memory",
        hits: &["TcpExt.RcvPruned", "TcpExt.OfoPruned", "TcpExt.TCPRcvQDrop"],
        signs: &["TcpExt.PruneCalled", "TcpExt.TCPBacklogDrop"],
        level: None,
    },
    Watched {
        id: "orphans",
        setting: "max-orphans",
        what: "closed connections with unsent bytes: beyond the limit they are reset and their last message is lost",
        hits: &["TcpExt.TCPAbortOnMemory"],
        signs: &[],
        level: Some(orphans),
    },
    Watched {
        id: "time-wait",
        setting: "tw-buckets",
        what: "connections in TIME_WAIT: beyond the limit they are forgotten at once",
        hits: &["TcpExt.TCPTimeWaitOverflow"],
        signs: &[],
        level: Some(time_wait),
    },
    Watched {
        id: "conntrack",
        setting: "conntrack",
        what: "tracked connections: beyond the limit packets of new ones are dropped",
        hits: &["conntrack.drop", "conntrack.early_drop"],
        signs: &["conntrack.insert_failed"],
        level: Some(tracked),
    },
    Watched {
        id: "softnet",
        setting: "softnet",
        what: "packets did not fit into a CPU's input queue and were dropped",
        hits: &["softnet.dropped"],
        signs: &["softnet.squeezed"],
        level: None,
    },
    Watched {
        id: "neighbours",
        setting: "neighbours",
        what: "the table of neighbours was full: packets to new ones were dropped",
        hits: &["neighbours.table_fulls"],
        signs: &[],
        level: None,
    },
    Watched {
        id: "group-memory",
        setting: "memory-max",
        what: "memory of the control group: at the limit it is reclaimed, then something is killed",
        hits: &["memory.oom_kill", "memory.oom"],
        signs: &["memory.max"],
        level: Some(group_memory),
    },
    Watched {
        id: "memory",
        setting: "memory",
        what: "memory of the machine that is not available",
        hits: &[],
        signs: &[],
        level: Some(memory),
    },
    Watched {
        id: "cpu-quota",
        setting: "cpu-quota",
        what: "the control group used up its quota and stood still until the period ended",
        hits: &["cpu.nr_throttled"],
        signs: &[],
        level: None,
    },
];

/// Every signal that can be seen on this host, between two looks.
pub fn all(host: &Host, earlier: &Counters, now: &Counters) -> Vec<Signal> {
    WATCHED.iter().filter_map(|watched| watched.look(host, earlier, now)).collect()
}

impl Watched {
    fn look(&self, host: &Host, earlier: &Counters, now: &Counters) -> Option<Signal> {
        let level = self.level.and_then(|read| read(host));
        let is_counted = self.hits.iter().chain(self.signs).any(|name| now.get(name).is_some());
        if level.is_none() && !is_counted {
            return None;
        }
        let growth = |names: &[&str]| names.iter().map(|name| now.growth_since(earlier, name)).sum::<u64>();
        let (hits, signs) = (growth(self.hits), growth(self.signs));
        let by_level = level.map_or(State::Quiet, |(level, limit)| state_of(level, limit));
        let by_growth = match (hits, signs) {
            (0, 0) => State::Quiet,
            (0, _) => State::Near,
            (_, _) => State::Hit,
        };
        let mut signal = Signal {
            id: self.id,
            setting: self.setting,
            what: self.what,
            state: by_level.max(by_growth),
            grown: hits,
            per_second: hits as f64 / now.seconds_since(earlier),
            level: level.map(|(level, _)| level),
            limit: level.map(|(_, limit)| limit),
            detail: None,
            cure: None,
        };
        if signal.state != State::Quiet {
            signal.advise(host);
        }
        Some(signal)
    }
}

fn state_of(level: u64, limit: u64) -> State {
    if level >= limit {
        State::Hit
    } else if u128::from(level) * 100 >= u128::from(limit) * u128::from(NEAR_PERCENT) {
        State::Near
    } else {
        State::Quiet
    }
}

impl Signal {
    fn advise(&mut self, host: &Host) {
        if self.id == "accept-queue" {
            return self.advise_on_listeners(host);
        }
        let Some(found) = setting::find(self.setting) else { return };
        // What is twice the present limit is a number to begin with; `check --target` computes a better one.
        let wanted = match (self.setting, self.limit) {
            ("tcp-mem", _) => doubled(&host.read("/proc/sys/net/ipv4/tcp_mem")),
            (_, Some(limit)) => Some(limit.saturating_mul(2).to_string()),
            (_, None) => doubled(&host.read(found.text.reads)),
        };
        self.cure = Some(found.text.cure_for(wanted.as_deref().unwrap_or("…")));
    }

    /// The queue's bound is the lesser of two, and each has a cure of its own.
    fn advise_on_listeners(&mut self, host: &Host) {
        let somaxconn = host.number("/proc/sys/net/core/somaxconn").value().copied();
        let found = listeners::fullest(host);
        let Some(fullest) = found.first() else {
            self.cure = Some(
                "which listener is not seen from here: `ss -ltn` shows each one's bound as Send-Q".to_owned(),
            );
            return;
        };
        let ports: Vec<String> = found.iter().map(|listener| listener.port.to_string()).collect();
        let port = ports.join(" and ");
        // A full queue holds one more than its bound.
        let bound = fullest.bound.unwrap_or(fullest.queued.saturating_sub(1));
        let may = demand::grouped(bound);
        self.detail = Some(match fullest.queued {
            0 => format!("nobody waits at this moment; the shortest queue is {may}, on port {port}"),
            queued => format!("port {port} has {} waiting of {may} that may", demand::grouped(queued)),
        });
        let wanted = (bound * 2).next_power_of_two().clamp(4_096, 65_535).to_string();
        self.cure = Some(match somaxconn {
            Some(most) if bound >= most => {
                let cure =
                    setting::find("somaxconn").map(|found| found.text.cure_for(&wanted)).unwrap_or_default();
                format!(
                    "the bound is somaxconn = {most}: {cure}, then let the server on port {port} listen again"
                )
            }
            _ => format!(
                "the bound is the program's own, which asked listen() for {bound} (somaxconn allows more): raise the \
                 backlog in the configuration of whoever listens on port {port}"
            ),
        });
    }
}

/// Every number of a value twice as large.
fn doubled(reading: &Reading) -> Option<String> {
    let numbers: Option<Vec<String>> = reading
        .value()?
        .split(' ')
        .map(|number| number.parse::<u64>().ok().map(|number| number.saturating_mul(2).to_string()))
        .collect();
    numbers.map(|numbers| numbers.join(" "))
}

fn descriptors(host: &Host) -> Option<(u64, u64)> {
    let Subject::Server(_) = host.subject() else { return None };
    let folder = host.process_folder();
    let limit = *limits::limit(host, &folder, "Max open files").value()?;
    Some((host.names(&format!("{folder}/fd")).len() as u64, limit.soft))
}

fn files(host: &Host) -> Option<(u64, u64)> {
    let numbers = demand::numbers(host.read("/proc/sys/fs/file-nr").value()?, 3).ok()?;
    Some((numbers[0], numbers[2]))
}

/// The second number of `tcp_mem` is where the harm begins.
fn tcp_pages(host: &Host) -> Option<(u64, u64)> {
    let bounds = demand::numbers(host.read("/proc/sys/net/ipv4/tcp_mem").value()?, 3).ok()?;
    Some((sockstat(host, "mem")?, bounds[1]))
}

fn orphans(host: &Host) -> Option<(u64, u64)> {
    let most = *host.number("/proc/sys/net/ipv4/tcp_max_orphans").value()?;
    Some((sockstat(host, "orphan")?, most))
}

fn time_wait(host: &Host) -> Option<(u64, u64)> {
    let most = *host.number("/proc/sys/net/ipv4/tcp_max_tw_buckets").value()?;
    Some((sockstat(host, "tw")?, most))
}

fn tracked(host: &Host) -> Option<(u64, u64)> {
    let folder = "/proc/sys/net/netfilter";
    let count = *host.number(&format!("{folder}/nf_conntrack_count")).value()?;
    Some((count, *host.number(&format!("{folder}/nf_conntrack_max")).value()?))
}

/// A number of the row `TCP:` of sockstat.
fn sockstat(host: &Host, name: &str) -> Option<u64> {
    let text = host.read_raw(&net_path(host, "sockstat")).value().cloned()?;
    let row = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = row.split_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

/// The group on the way up that has the least left. Pages of files that nobody has used lately do not count: they go
/// first, and without a loss.
fn group_memory(host: &Host) -> Option<(u64, u64)> {
    let bounds = cgroup::bounds(host, "memory", "memory.max", "memory.limit_in_bytes");
    let levels = bounds.into_iter().filter_map(|bound| {
        let limit: u64 = bound.text.parse().ok().filter(|limit| *limit < UNLIMITED)?;
        let (folder, file) = bound.path.rsplit_once('/')?;
        let used = if file == "memory.max" { "memory.current" } else { "memory.usage_in_bytes" };
        let used = *host.number(&format!("{folder}/{used}")).value()?;
        let stat = host.read_raw(&format!("{folder}/memory.stat")).value().cloned().unwrap_or_default();
        let unused =
            stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok());
        Some((used.saturating_sub(unused.unwrap_or(0)), limit))
    });
    levels.min_by_key(|(used, limit)| limit.saturating_sub(*used))
}

fn memory(host: &Host) -> Option<(u64, u64)> {
    let total = meminfo(host, "MemTotal:")?;
    Some((total - meminfo(host, "MemAvailable:")?.min(total), total))
}

/// One signal over the whole time.
#[derive(Clone, Debug, Serialize)]
pub struct Tracked {
    /// As it stood at its worst look.
    pub worst_look: Signal,
    /// How it stood then.
    pub worst: State,
    /// By how much its counters have grown in all.
    pub grown: u64,
    /// For how many seconds it was hit.
    pub hit_seconds: f64,
}

/// All signals over the whole time.
#[derive(Clone, Debug, Default)]
pub struct Course {
    tracked: Vec<Tracked>,
    seconds: f64,
}

impl Course {
    /// Adds a look, which stands for the seconds since the one before.
    pub fn add(&mut self, signals: &[Signal], seconds: f64) {
        self.seconds += seconds;
        for signal in signals {
            let hit_seconds = if signal.state == State::Hit { seconds } else { 0.0 };
            match self.tracked.iter_mut().find(|tracked| tracked.worst_look.id == signal.id) {
                Some(tracked) => {
                    tracked.grown += signal.grown;
                    tracked.hit_seconds += hit_seconds;
                    let is_worse = (signal.state, signal.detail.is_some(), signal.grown)
                        > (tracked.worst, tracked.worst_look.detail.is_some(), tracked.worst_look.grown);
                    if is_worse {
                        tracked.worst = signal.state;
                        tracked.worst_look = signal.clone();
                    }
                }
                None => self.tracked.push(Tracked {
                    worst: signal.state,
                    grown: signal.grown,
                    hit_seconds,
                    worst_look: signal.clone(),
                }),
            }
        }
    }

    /// Every signal that was ever seen.
    pub fn signals(&self) -> &[Tracked] {
        &self.tracked
    }

    /// For how long was watched.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::{State, state_of};

    #[test]
    fn a_level_is_near_from_nine_tenths_on_and_hit_at_its_limit() {
        for (level, state) in [(89, State::Quiet), (90, State::Near), (99, State::Near), (100, State::Hit)] {
            assert_eq!(state_of(level, 100), state, "{level}");
        }
    }
}
