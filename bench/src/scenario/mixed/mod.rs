//! `mixed`: a described population: some are silent, some talk on a schedule, some come and go.
//!
//! A message carries its sender and the time it was meant to be sent, so that every connection that receives it knows
//! how long it took, and its sender knows that it came back. Latency is that of all deliveries; where nobody talks, that
//! of coming back.

pub mod description;
mod worker;

use self::{
    description::Description,
    worker::{Counts, Worker},
};
use super::{
    observed::{Claim, Observed},
    team::{self, Team},
};
use crate::{
    crew::plan::{self, Share},
    endpoint::Endpoint,
    error::{Doing, Error, Result},
    host::server::Server,
    latency::Latencies,
    load::{control::Control, pace::Pace, window::Timing},
    report::MixedReport,
    trial::Plan,
};

/// What to run.
pub struct MixedPlan {
    /// The population.
    pub description: Description,
    /// Each of its groups.
    pub groups: Vec<GroupPlan>,
    /// Connections of each thread, and from where.
    pub shares: Vec<Share>,
    /// How long.
    pub timing: Timing,
    /// The server's process.
    pub server: Option<Server>,
}

/// One group.
pub struct GroupPlan {
    /// Connections.
    pub count: u64,
    /// Where they connect.
    pub endpoint: Endpoint,
}

impl Plan for MixedPlan {
    type Report = MixedReport;

    fn measure(&self) -> Result<(MixedReport, Latencies)> {
        run(self)
    }
}

fn run(plan: &MixedPlan) -> Result<(MixedReport, Latencies)> {
    let control = Control::new().doing("watch for Ctrl-C")?;
    let team = Team {
        shares: &plan.shares,
        timing: plan.timing,
        server: plan.server.as_ref(),
        unit: "deliveries/s",
    };
    let observed = team::run(&team, &control, |index| Worker::new(plan, index, &control))?;
    if observed.is_stopped && observed.sum(|counts| counts.deliveries + counts.reconnects) == 0 {
        return Err(Error::Stopped);
    }
    Ok(report(plan, observed))
}

impl MixedPlan {
    /// The group of the `number`th connection of all.
    fn group_of(&self, number: u64) -> usize {
        let mut last = 0;
        let ends = self.groups.iter().map(|group| {
            last += group.count;
            last
        });
        ends.take_while(|end| *end <= number).count()
    }

    /// Messages per second asked for.
    fn rate(&self) -> f64 {
        let groups = self.description.group.iter().zip(&self.groups);
        groups
            .map(|(group, plan)| group.messages_per_second * plan.count as f64)
            .fold(0.0, |sum, rate| sum + rate)
    }
}

fn report(plan: &MixedPlan, mut observed: Observed<Counts>) -> (MixedReport, Latencies) {
    let asked = plan.rate();
    let mut reconnecting = Latencies::none();
    for counts in &mut observed.found {
        reconnecting.merge(std::mem::replace(&mut counts.reconnecting, Latencies::none()));
    }
    let time_to_return = reconnecting.summary();
    if asked == 0.0 {
        observed.record.latencies = reconnecting;
    }
    let (sent, returned) = (observed.sum(|counts| counts.sent), observed.sum(|counts| counts.returned));
    let abandoned = observed.sum(|counts| counts.abandoned);
    let missing = if plan.description.messages_return { sent - returned - abandoned } else { 0 };
    let (deliveries, reconnects) =
        (observed.sum(|counts| counts.deliveries), observed.sum(|counts| counts.reconnects));
    let lost = observed.sum(|counts| counts.lost);
    let seconds = observed.seconds_until(0);
    let measured = observed.measured(&Claim {
        pace: Pace::Open(asked),
        achieved: sent as f64 / seconds,
        seconds,
        messages: deliveries + reconnects,
        traffic: plan.groups[0].endpoint.traffic(observed.found.iter().map(|counts| counts.traffic)),
        faults: &[
            (lost, "connections were lost"),
            (missing, "messages did not come back to their sender"),
            (observed.sum(|counts| counts.absent), "connections did not come back"),
        ],
    });
    let report = MixedReport {
        scenario: "mixed",
        url: plan.description.url.clone(),
        spread: plan::describe_threads(&plan.shares),
        connections: plan.description.connections,
        groups: plan.description.group.iter().map(|group| group.name.clone()).collect(),
        messages_per_second_asked: asked,
        messages: sent,
        returned,
        missing,
        deliveries,
        deliveries_per_second: deliveries as f64 / seconds,
        reconnects,
        time_to_return,
        lost,
        failures: observed.record.failures,
        measured,
    };
    (report, observed.record.latencies)
}
