//! `echo` and `http`: messages that are each answered, on a schedule or as fast as answers come.
//!
//! The schedule is kept whatever becomes of the messages, and latency counts from the time a message was meant to be
//! sent: what waits behind a slow answer has waited since it was due.

mod dialogue;
pub mod remote;
mod worker;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use self::{
    remote::Remote,
    worker::{Counts, Worker},
};
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
    load::{control::Control, pace::Pace, window::Timing},
    protocol::template::Request,
    report::ExchangeReport,
    trial::{Paced, Plan},
};

/// What to run.
pub struct ExchangePlan {
    /// The server.
    pub endpoint: Endpoint,
    /// What is exchanged.
    pub exchange: Exchange,
    /// Connections of each worker, and from where.
    pub shares: Vec<Share>,
    /// Open or closed loop.
    pub pace: Pace,
    /// How long.
    pub timing: Timing,
    /// The statuses of an answer that is right.
    pub right_statuses: Vec<RangeInclusive<u16>>,
    /// The server's process.
    pub server: Option<Server>,
    /// The machines that carry it, if not this one: a share for each.
    pub remote: Option<Remote>,
}

/// What is exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exchange {
    /// Messages that come back.
    Echo {
        /// A message's payload.
        message: String,
    },
    /// Requests that are answered.
    Http(Request),
}

impl Plan for ExchangePlan {
    type Report = ExchangeReport;

    fn measure(&self) -> Result<(ExchangeReport, Latencies)> {
        run(self)
    }
}

impl Paced for ExchangePlan {
    fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }
}

fn run(plan: &ExchangePlan) -> Result<(ExchangeReport, Latencies)> {
    let control = Control::new().doing("watch for Ctrl-C")?;
    let observed = match &plan.remote {
        Some(remote) => remote::observe(plan, remote, &control)?,
        None => carry(plan, &control)?,
    };
    observed.refuse_silence(|counts| counts.replies)?;
    Ok(report(plan, observed))
}

/// Carries the plan by threads of this process.
fn carry(plan: &ExchangePlan, control: &Control) -> Result<Observed<Counts>> {
    let team =
        Team { shares: &plan.shares, timing: plan.timing, server: plan.server.as_ref(), unit: "replies/s" };
    team::run(&team, control, |index| Worker::new(plan, index, control))
}

fn report(plan: &ExchangePlan, observed: Observed<Counts>) -> (ExchangeReport, Latencies) {
    let (replies, wrong) = (observed.sum(|counts| counts.replies), observed.sum(|counts| counts.wrong));
    let (unanswered, unsent) =
        (observed.sum(|counts| counts.unanswered), observed.sum(|counts| counts.unsent));
    let (lost, orphaned) = (observed.sum(|counts| counts.lost), observed.sum(|counts| counts.orphaned));
    // On a schedule, replies that came after the window's end belong to it, and so does the time they took.
    let seconds = observed.seconds_until(match plan.pace {
        Pace::Closed => 0,
        Pace::Open(_) | Pace::Staged(..) => observed.record.last_ns,
    });
    let per_second = replies as f64 / seconds;
    let measured = observed.measured(&Claim {
        pace: plan.pace,
        achieved: per_second,
        seconds,
        messages: replies,
        traffic: plan.endpoint.traffic(observed.found.iter().map(|counts| counts.traffic)),
        faults: &[
            (lost, "connections were lost"),
            (wrong, "replies were wrong"),
            (unanswered, "messages had no reply"),
            (unsent, "messages were never sent: thousands waited before them"),
            (orphaned, "messages were due on connections that had been lost"),
        ],
    });
    let report = ExchangeReport {
        scenario: match plan.exchange {
            Exchange::Echo { .. } => "echo",
            Exchange::Http(_) => "http",
        },
        url: plan.endpoint.target.to_string(),
        spread: plan.remote.as_ref().map_or_else(|| plan::describe_threads(&plan.shares), Remote::describe),
        connections: plan.shares.iter().map(|share| share.connections).sum(),
        message_bytes: match &plan.exchange {
            Exchange::Echo { message } => message.len(),
            Exchange::Http(request) => request.body_bytes(),
        },
        per_second_asked: plan.pace.asked(),
        replies,
        per_second,
        echoes_per_second: matches!(plan.exchange, Exchange::Echo { .. }).then_some(per_second),
        wrong,
        lost,
        unanswered,
        unsent,
        orphaned,
        reconnects: observed.sum(|counts| counts.reconnects),
        failures: observed.record.failures,
        measured,
    };
    (report, observed.record.latencies)
}
