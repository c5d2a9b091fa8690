//! `fanout`: publications into channels, many subscribers, every delivery accounted for.
//!
//! Subscribers are spread over threads; the first thread publishes as well. Publications and deliveries are stamped by
//! one monotonic clock, which all threads share.
//!
//! Two ways to load. *Open*: bursts go out on a schedule, whatever became of the last, and latency counts from the
//! scheduled time. *Closed*: the next burst goes out when everybody has the last, which finds the highest rate of
//! deliveries and the CPU of each.

mod publisher;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};

use self::worker::{Counts, Worker};
use super::{
    observed::{Claim, Observed},
    team::{self, Team},
};
use crate::{
    crew::plan::{self, Share},
    endpoint::Endpoint,
    error::{Doing, Result},
    host::server::Server,
    latency::Latencies,
    ledger::Tally,
    load::{control::Control, pace::Pace, window::Timing},
    report::FanoutReport,
    trial::{Paced, Plan},
};

/// What to run.
pub struct FanoutPlan {
    /// Where subscribers connect.
    pub endpoint: Endpoint,
    /// Where publications go.
    pub publish: Endpoint,
    /// Channels: the `number`th subscriber hears the channel of its number's remainder, and no other.
    pub channels: u64,
    /// Subscribers of each thread, and from where.
    pub shares: Vec<Share>,
    /// What publications hold; a stamp takes the place of its beginning.
    pub message: Vec<u8>,
    /// Publications written together, all into one channel.
    pub burst: usize,
    /// Publications per second, or the next when all have the last.
    pub pace: Pace,
    /// How long.
    pub timing: Timing,
    /// The server's process.
    pub server: Option<Server>,
}

/// What the publishing thread has to know of all subscribers.
struct Audience {
    /// Deliveries of this run, in the window or not.
    delivered: AtomicU64,
    /// Subscribers now, by channel.
    present: Vec<AtomicU64>,
}

impl Plan for FanoutPlan {
    type Report = FanoutReport;

    fn measure(&self) -> Result<(FanoutReport, Latencies)> {
        run(self)
    }
}

impl Paced for FanoutPlan {
    fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }
}

fn run(plan: &FanoutPlan) -> Result<(FanoutReport, Latencies)> {
    let control = Control::new().doing("watch for Ctrl-C")?;
    let audience = Audience::new(plan.channels);
    let team = Team {
        shares: &plan.shares,
        timing: plan.timing,
        server: plan.server.as_ref(),
        unit: "deliveries/s",
    };
    let observed = team::run(&team, &control, |index| Worker::new(plan, index, &control, &audience))?;
    observed.refuse_silence(|counts| counts.tally.delivered)?;
    Ok(report(plan, observed))
}

impl FanoutPlan {
    /// Subscribers in all.
    fn subscribers(&self) -> u64 {
        self.shares.iter().map(|share| share.connections).sum()
    }

    /// Subscribers of one channel.
    fn subscribers_of(&self, channel: u64) -> u64 {
        let all = self.subscribers();
        all / self.channels + u64::from(channel < all % self.channels)
    }
}

impl Audience {
    fn new(channels: u64) -> Self {
        Self { delivered: AtomicU64::new(0), present: (0..channels).map(|_| AtomicU64::new(0)).collect() }
    }

    fn present(&self, channel: u64) -> u64 {
        self.present[channel as usize].load(Ordering::Relaxed)
    }

    fn is_deserted(&self) -> bool {
        self.present.iter().all(|present| present.load(Ordering::Relaxed) == 0)
    }
}

fn report(plan: &FanoutPlan, observed: Observed<Counts>) -> (FanoutReport, Latencies) {
    let tally = observed.found.iter().fold(Tally::default(), |mut sum, counts| {
        sum += counts.tally;
        sum
    });
    let publications = observed.sum(|counts| counts.publications);
    let expected = observed.sum(|counts| counts.expected);
    let strays = observed.sum(|counts| counts.strays);
    let subscribers_lost = observed.sum(|counts| counts.subscribers_lost);
    let lost = expected.saturating_sub(tally.delivered);
    let seconds = observed.seconds_until(observed.record.last_ns);
    let per_second = |count: u64| count as f64 / seconds;
    let measured = observed.measured(&Claim {
        pace: plan.pace,
        achieved: per_second(publications),
        seconds,
        messages: tally.delivered,
        traffic: plan.endpoint.traffic(observed.found.iter().map(|counts| counts.traffic)),
        faults: &[
            (lost, "deliveries were lost"),
            (tally.duplicates, "deliveries came twice"),
            (tally.reordered, "deliveries came out of order"),
            (strays, "deliveries came to subscribers of another channel"),
            (subscribers_lost, "subscribers were lost"),
        ],
    });
    let report = FanoutReport {
        scenario: "fanout",
        url: plan.endpoint.target.to_string(),
        spread: plan::describe_threads(&plan.shares),
        subscribers: plan.subscribers(),
        channels: plan.channels,
        message_bytes: plan.message.len(),
        burst: plan.burst,
        publications,
        publications_per_second_asked: plan.pace.asked(),
        publications_per_second: per_second(publications),
        expected,
        tally,
        lost,
        strays,
        subscribers_lost,
        deliveries_per_second: per_second(tally.delivered),
        deliveries_per_read: tally.delivered as f64 / observed.sum(|counts| counts.reads).max(1) as f64,
        failures: observed.record.failures,
        measured,
    };
    (report, observed.record.latencies)
}
