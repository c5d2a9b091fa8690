//! Results as a few lines for people.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{ConnectReport, CpuShare, ExchangeReport, FanoutReport, Measured, MixedReport, WaveReport};
use crate::{
    host::{machine::Origin, memory::UserMemory},
    latency::LatencySummary,
    protocol::deflate::Sizes,
    verdict::Verdict,
};

/// A result that can be shown.
pub trait Report: Serialize {
    /// The result as a few lines for people.
    fn to_text(&self) -> String;

    /// Whether it may be believed.
    fn verdict(&self) -> &Verdict;
}

/// A result with where it comes from.
#[derive(Serialize)]
struct Told<'a, R> {
    origin: &'a Origin,
    #[serde(flatten)]
    report: &'a R,
}

/// Prints `report` as asked.
pub fn print(report: &impl Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let origin = &Origin::now();
    if json {
        let line =
            serde_json::to_string(&Told { origin, report }).expect("a report holds only numbers and texts");
        writeln!(out, "{line}")
    } else {
        write!(out, "{}{}{}", origin.to_text(), report.to_text(), verdict_lines(report.verdict()))
    }
}

impl Report for ExchangeReport {
    fn to_text(&self) -> String {
        let mut text = format!(
            "{}, {} loop, {} connections, {} B, {:.1} s, {}\n  {:.0} replies/s{}; {} right, {} wrong, {} without \
             reply, {} never sent; {} connections lost, {} reconnected\n",
            self.scenario,
            self.measured.load,
            self.connections,
            self.message_bytes,
            self.measured.seconds,
            self.spread,
            self.per_second,
            asked(self.per_second_asked),
            self.replies,
            self.wrong,
            self.unanswered,
            self.unsent + self.orphaned,
            self.lost,
            self.reconnects,
        );
        text += &measured_lines(&self.measured, "reply");
        text + &failure_lines(&self.failures)
    }

    fn verdict(&self) -> &Verdict {
        &self.measured.verdict
    }
}

impl Report for FanoutReport {
    fn to_text(&self) -> String {
        let channels = match self.channels {
            1 => String::new(),
            count => format!(" of {count} channels"),
        };
        format!(
            "fan-out, {} loop, {} subscribers{channels}, {} B, bursts of {}, {:.1} s, {}\n  {:.0} publications/s{}, \
             {:.0} deliveries/s, {:.1} at a time\n  {} of {} delivered, {} lost, {} duplicates, {} out of order, {} strays, {} \
             subscribers lost\n{}{}",
            self.measured.load,
            self.subscribers,
            self.message_bytes,
            self.burst,
            self.measured.seconds,
            self.spread,
            self.publications_per_second,
            asked(self.publications_per_second_asked),
            self.deliveries_per_second,
            self.deliveries_per_read,
            self.tally.delivered,
            self.expected,
            self.lost,
            self.tally.duplicates,
            self.tally.reordered,
            self.strays,
            self.subscribers_lost,
            measured_lines(&self.measured, "delivery"),
            failure_lines(&self.failures),
        )
    }

    fn verdict(&self) -> &Verdict {
        &self.measured.verdict
    }
}

impl Report for MixedReport {
    fn to_text(&self) -> String {
        let mut text = format!(
            "mixed, {} connections ({}), {:.1} s, {}\n  {} messages sent ({:.1}/s asked), {} came back to their sender, \
             {} missing\n  {} deliveries ({:.0}/s), {} reconnects, {} connections lost\n",
            self.connections,
            self.groups.join(", "),
            self.measured.seconds,
            self.spread,
            self.messages,
            self.messages_per_second_asked,
            self.returned,
            self.missing,
            self.deliveries,
            self.deliveries_per_second,
            self.reconnects,
            self.lost,
        );
        if self.reconnects > 0 {
            text += &latency_line("reconnect until served", &self.time_to_return);
        }
        text += &measured_lines(&self.measured, "delivery");
        text + &failure_lines(&self.failures)
    }

    fn verdict(&self) -> &Verdict {
        &self.measured.verdict
    }
}

impl Report for ConnectReport {
    fn to_text(&self) -> String {
        let mut text = format!("{}, {} connections, {}\n", self.scenario, self.connections, self.spread);
        for (number, wave) in self.waves.iter().enumerate() {
            text += &wave.to_text(number + 1);
        }
        text
    }

    fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl WaveReport {
    fn to_text(&self, number: usize) -> String {
        let mut text = format!(
            "wave {number}: {} served in {:.2} s ({:.0}/s), {} failed, {} lost while held\n",
            self.served, self.seconds, self.connections_per_second, self.failed, self.lost
        );
        if self.time_to_served.count > 0 {
            text += &latency_line("until served", &self.time_to_served);
        }
        text += &cpu_line("client", &self.client, "connection");
        if let Some(server) = &self.server {
            text += &cpu_line("server", server, "connection");
        }
        text += &self.per_connection.to_text();
        if let (Some(held), Some(left)) = (&self.held.server, &self.left.server) {
            let kilobytes = |memory: &UserMemory| memory.rss_bytes / 1024;
            text += &format!(
                "  server RSS: {} kB with all, {} kB after they left\n",
                kilobytes(held),
                kilobytes(left)
            );
        }
        if let Some(received) = self.message_received {
            text += &format!("  one message to all: {received} of {} received it\n", self.served);
        }
        text + &failure_lines(&self.failures)
    }
}

fn failure_lines(failures: &BTreeMap<String, u64>) -> String {
    failures.iter().map(|(why, count)| format!("  {count} × {why}\n")).collect()
}

fn asked(rate: Option<f64>) -> String {
    rate.map_or(String::new(), |rate| format!(" ({rate} asked)"))
}

fn measured_lines(measured: &Measured, unit: &str) -> String {
    let mut text = String::new();
    if measured.warm_up.steady == Some(true) {
        text += &format!("  steady after {:.1} s of warming up\n", measured.warm_up.seconds);
    }
    text += &latency_line("latency", &measured.latency);
    if measured.schedule_lag.count > 0 {
        text += &latency_line("sent late by", &measured.schedule_lag);
    }
    for part in &measured.stages {
        let what = format!("{} for {:.0} s: {:.0}/s", part.stage, part.stage.seconds, part.per_second);
        text += &latency_line(&what, &part.latency);
    }
    if let Some(traffic) = measured.compression.filter(|traffic| traffic.agreed > 0) {
        text += &format!(
            "  compression agreed on {} connections\n    sent: {}\n    received: {}\n",
            traffic.agreed,
            sizes(&traffic.sent),
            sizes(&traffic.received)
        );
    }
    text += &cpu_line("client", &measured.client, unit);
    if measured.client_threads.len() > 1 {
        let cores = measured.client_threads.iter().map(|thread| format!("{:.2}", thread.cores));
        text += &format!("  client CPU by thread: {} cores\n", cores.collect::<Vec<_>>().join(", "));
    }
    if let Some(server) = &measured.server {
        text += &cpu_line("server", server, unit);
    }
    if let Some(memory) = &measured.memory_per_connection {
        text += &memory.to_text();
    }
    text
}

/// Messages as they went over the line and as they are.
fn sizes(sizes: &Sizes) -> String {
    if sizes.messages == 0 {
        return "nothing".to_owned();
    }
    let each = |bytes: u64| bytes as f64 / sizes.messages as f64;
    format!(
        "{} messages, {} compressed; {:.1} B each on the line for {:.1} B ({:.0} %)",
        sizes.messages,
        sizes.compressed,
        each(sizes.wire_bytes),
        each(sizes.plain_bytes),
        100.0 * sizes.wire_bytes as f64 / sizes.plain_bytes.max(1) as f64
    )
}

fn latency_line(what: &str, latency: &LatencySummary) -> String {
    let tail = [("p90", latency.p90_us), ("p99", latency.p99_us), ("p99.9", latency.p999_us)];
    let tail = tail.iter().filter_map(|(name, us)| Some(format!(", {name} {}", (*us)?))).collect::<String>();
    let few =
        if latency.p999_us.is_none() { format!(" (of {} values)", latency.count) } else { String::new() };
    format!("  {what}: p50 {} µs{tail}, max {}{few}\n", latency.p50_us, latency.max_us)
}

fn cpu_line(who: &str, share: &CpuShare, unit: &str) -> String {
    format!("  {who} CPU: {:.2} cores, {}\n", share.cores, share.to_text(unit))
}

fn verdict_lines(verdict: &Verdict) -> String {
    let mut text = String::new();
    for reason in &verdict.reasons {
        text += &format!("  INVALID: {reason}\n");
    }
    for advice in &verdict.advice {
        text += &format!("  what would help: {advice}\n");
    }
    for warning in &verdict.warnings {
        text += &format!("  warning: {warning}\n");
    }
    if verdict.valid {
        text += "  the result is valid: the generator kept up and nothing was lost\n";
    }
    text
}
