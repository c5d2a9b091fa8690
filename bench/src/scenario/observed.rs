//! What a run found: of threads of this process, or of workers on other machines, told in the same terms.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Mark;
use crate::{
    error::{Error, Result, ServerFault},
    host::cpu::ThreadUse,
    latency::{Latencies, histogram, summarize},
    load::{control::Control, pace::Pace, window::Window},
    protocol::deflate::Traffic,
    report::{CpuShare, Measured, MemoryPerConnection, WarmedUp},
    verdict::Evidence,
};

/// What a run found.
pub struct Observed<F> {
    /// Each thread.
    pub found: Vec<F>,
    /// All threads together.
    pub record: Record,
    /// The part of the run that counts, as the threads saw it.
    pub window: Window,
    threads: Vec<ThreadUse>,
    watched: Watched,
    /// Whether the run ended before its time.
    pub is_stopped: bool,
    /// Why nothing more could come of it, if that is what ended it.
    hopeless: Option<String>,
}

/// What the coordinator saw.
pub struct Watched {
    /// When the threads' messages began to count.
    pub before: Mark,
    /// When they ended.
    pub after: Mark,
    /// What a connection costs.
    pub memory: MemoryPerConnection,
    /// What came before.
    pub warm_up: WarmedUp,
}

/// What is said of a run besides what [`Observed`] knows.
pub struct Claim<'a> {
    /// Open or closed loop.
    pub pace: Pace,
    /// Messages per second achieved.
    pub achieved: f64,
    /// Measured time.
    pub seconds: f64,
    /// Messages among which CPU is divided.
    pub messages: u64,
    /// What came of offering compression, if it was offered.
    pub traffic: Option<Traffic>,
    /// Things that must not happen, and how often they did.
    pub faults: &'a [(u64, &'a str)],
}

/// What the threads of one process found, as another is told.
#[derive(Serialize, Deserialize)]
pub struct Parcel<F> {
    /// Each thread.
    found: Vec<F>,
    /// All threads together.
    record: Record,
    /// How long messages counted.
    measured_ns: u64,
    threads: Vec<ThreadUse>,
    is_stopped: bool,
    hopeless: Option<String>,
}

/// What every thread records.
#[derive(Serialize, Deserialize)]
pub struct Record {
    /// Latencies from the intended time.
    pub latencies: Latencies,
    /// How late messages were sent.
    #[serde(with = "crate::latency::values")]
    pub lag: Histogram<u64>,
    /// Why connections were lost or answers wrong, and how often.
    pub failures: BTreeMap<String, u64>,
    /// When the last message that counts arrived.
    pub last_ns: u64,
}

/// One thread's part of [`Observed`].
pub struct Part<F> {
    /// What it counted.
    pub found: F,
    /// What it recorded.
    pub record: Record,
    /// What counted.
    pub window: Window,
    /// What it used meanwhile.
    pub used: ThreadUse,
}

impl<F> Observed<F> {
    /// What the threads of this process found.
    pub fn new(parts: Vec<Part<F>>, watched: Watched, control: &Control) -> Self {
        let (is_stopped, hopeless) = (control.is_stopped(), control.hopeless().map(str::to_owned));
        let window = Window {
            from_ns: parts.iter().map(|part| part.window.from_ns).min().unwrap_or_default(),
            to_ns: parts.iter().map(|part| part.window.to_ns).max().unwrap_or_default(),
        };
        let threads = parts.iter().map(|part| part.used).collect();
        let (mut record, mut found) = (Record::default(), Vec::new());
        for part in parts {
            record.merge(part.record);
            found.push(part.found);
        }
        Self { found, record, window, threads, watched, is_stopped, hopeless }
    }

    /// What the workers of several machines found.
    pub fn of(parcels: Vec<Parcel<F>>, watched: Watched) -> Self {
        let (mut window, mut record) = (Window { from_ns: 0, to_ns: 1 }, Record::default());
        let (mut found, mut threads, mut is_stopped, mut hopeless) = (Vec::new(), Vec::new(), false, None);
        for parcel in parcels {
            window.to_ns = window.to_ns.max(parcel.measured_ns);
            record.merge(parcel.record);
            found.extend(parcel.found);
            threads.extend(parcel.threads);
            is_stopped |= parcel.is_stopped;
            hopeless = hopeless.or(parcel.hopeless);
        }
        Self { found, record, window, threads, watched, is_stopped, hopeless }
    }

    /// The same, to be told to another machine, whose clock is another one: times count from the window's start.
    pub fn into_parcel(mut self) -> Parcel<F> {
        self.record.last_ns = self.record.last_ns.saturating_sub(self.window.from_ns);
        Parcel {
            found: self.found,
            record: self.record,
            measured_ns: self.window.to_ns - self.window.from_ns,
            threads: self.threads,
            is_stopped: self.is_stopped,
            hopeless: self.hopeless,
        }
    }

    /// One count, of all threads.
    pub fn sum(&self, count: impl Fn(&F) -> u64) -> u64 {
        self.found.iter().map(count).sum()
    }

    /// A run in which nothing arrived is no result: the server was silent, or the run was stopped too early.
    pub fn refuse_silence(&self, arrived: impl Fn(&F) -> u64) -> Result<()> {
        if self.sum(arrived) > 0 {
            return Ok(());
        }
        let causes = self.record.failures.clone();
        match &self.hopeless {
            Some(why) => Err(ServerFault::Fruitless(why.clone(), causes).into()),
            None if self.is_stopped => Err(Error::Stopped),
            None => Err(ServerFault::Silent(causes).into()),
        }
    }

    /// Seconds from the window's start to the later of its end and `to_ns`.
    pub fn seconds_until(&self, to_ns: u64) -> f64 {
        self.window.to_ns.max(to_ns).saturating_sub(self.window.from_ns) as f64 / 1e9
    }

    /// The run's figures, and whether to believe them.
    pub fn measured(&self, claim: &Claim<'_>) -> Measured {
        let late = (self.late_readings(claim.seconds), "reading of the server's CPU came at the wrong time");
        let faults: Vec<_> = claim.faults.iter().copied().chain([late]).collect();
        let latencies = &self.record.latencies;
        let Watched { before, after, memory, warm_up } = &self.watched;
        Measured::new(Evidence {
            pace: claim.pace,
            achieved: claim.achieved,
            clients: &CpuShare::of_threads(&self.threads, claim.messages),
            core_wait: ThreadUse::core_wait(&self.threads),
            server_cores: before.server_busiest_until(after),
            lag: summarize(&self.record.lag),
            latency: latencies.summary(),
            faults: &faults,
            is_stopped: self.is_stopped,
            hopeless: self.hopeless.as_deref(),
        })
        .with_times(claim.seconds, latencies)
        .with_stages(claim.pace, latencies)
        .with_server(before.server_share_until(after, claim.messages))
        .with_memory(*memory)
        .with_warm_up(warm_up)
        .with_traffic(claim.traffic)
    }

    /// How often the coordinator was itself kept from its core, so that its readings of the server's CPU are of another
    /// time than the `seconds` in which messages counted.
    fn late_readings(&self, seconds: f64) -> u64 {
        let Watched { before, after, .. } = &self.watched;
        let read = (after.at_ns - before.at_ns) as f64 / 1e9;
        let is_late = read > 1.1 * seconds + 0.1 || read < 0.9 * seconds - 0.1;
        u64::from(is_late && before.server.is_some())
    }
}

impl Record {
    fn merge(&mut self, other: Self) {
        self.latencies.merge(other.latencies);
        self.lag.add(&other.lag).expect("all have the same range");
        self.last_ns = self.last_ns.max(other.last_ns);
        for (why, count) in other.failures {
            *self.failures.entry(why).or_default() += count;
        }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self { latencies: Latencies::none(), lag: histogram(), failures: BTreeMap::new(), last_ns: 0 }
    }
}
