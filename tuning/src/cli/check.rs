//! `tune check`: the table and the ceiling.

use clap::Args;
use serde::Serialize;

use super::{Aim, FAILED, FINE, SHORT, Sight};
use crate::{
    ceiling::{self, Ceiling},
    setting::demand::grouped,
    verdict::{self, Finding, Remedy, Severity},
};

/// `tune check`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    aim: Aim,
    /// Show every setting, not only those that fall short.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    target: u64,
    profile: &'static str,
    kernel: &'a str,
    cpus: u32,
    memory_bytes: Option<u64>,
    container: Option<&'a str>,
    findings: &'a [Finding],
    ceiling: Ceiling,
    ceiling_after_apply: Ceiling,
}

pub fn run(arguments: &Arguments) -> u8 {
    let Some(sight) = Sight::of(&arguments.aim) else { return FAILED };
    let findings = verdict::judge_all(&sight.scene());
    let report = Report {
        target: sight.goal.target,
        profile: sight.goal.profile.name(),
        kernel: &sight.facts.release,
        cpus: sight.facts.cpus,
        memory_bytes: sight.facts.memory_bytes,
        container: sight.facts.container.as_deref(),
        findings: &findings,
        ceiling: ceiling::of(&findings, false),
        ceiling_after_apply: ceiling::of(&findings, true),
    };
    if arguments.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("{error}");
                return FAILED;
            }
        }
    } else {
        print!("{}", table(&sight, &report, arguments.all));
    }
    exit_code(&findings)
}

/// Falling short outweighs not having seen everything.
fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Stops | Severity::Hurts) => SHORT,
        Some(Severity::Unseen) => FAILED,
        Some(Severity::Note | Severity::Fine) | None => FINE,
    }
}

fn table(sight: &Sight, report: &Report<'_>, all: bool) -> String {
    let mut text = heading(sight);
    let mut shown: Vec<&Finding> =
        report.findings.iter().filter(|finding| all || finding.severity > Severity::Note).collect();
    shown.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    if !shown.is_empty() {
        text += &row(["id", "current", "wanted", "layer", "severity", "risk", "evidence"]);
    }
    for finding in shown {
        text += &lines(finding);
    }
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    if !all {
        text += &format!(
            "\n  {} fine, {} to note (--all shows them); `explain ID` says more\n",
            count(Severity::Fine),
            count(Severity::Note),
        );
    }
    text += &format!("\n{}\n", capitalised(&report.ceiling.to_string()));
    text + &outlook(report)
}

fn heading(sight: &Sight) -> String {
    let facts = &sight.facts;
    let memory = facts
        .memory_bytes
        .map_or_else(|| "?".to_owned(), |bytes| format!("{:.1}", bytes as f64 / (1u64 << 30) as f64));
    let place =
        facts.container.as_ref().map_or_else(String::new, |name| format!(", in a container ({name})"));
    let rights = if facts.can_administer { "" } else { ", without privileges" };
    format!(
        "Linux {}, {} CPUs, {memory} GiB{place}{rights}; target {}, profile {}\n\n",
        facts.release,
        facts.cpus,
        grouped(sight.goal.target),
        sight.goal.profile.name(),
    )
}

fn row(cells: [&str; 7]) -> String {
    let [id, current, wanted, layer, severity, risk, evidence] = cells;
    format!("  {id:<21} {current:<20} {wanted:<22} {layer:<11} {severity:<8} {risk:<6} {evidence}\n")
}

fn lines(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Fine => "fine",
        Severity::Note => "note",
        Severity::Unseen => "unseen",
        Severity::Hurts => "hurts",
        Severity::Stops => "STOPS",
    };
    let mut text = row([
        finding.id,
        &finding.current,
        &finding.wanted,
        finding.layer,
        severity,
        finding.risk,
        finding.evidence,
    ]);
    if finding.severity == Severity::Fine {
        return text;
    }
    text += &wrapped(&format!("= {}. {}", finding.formula, finding.why));
    if let Some(remark) = &finding.remark {
        text += &wrapped(remark);
    }
    match &finding.remedy {
        Remedy::Elsewhere(words) => text += &wrapped(&format!("→ {words}")),
        Remedy::Ask => {
            let words = format!("→ somebody chose this; `apply --only {}` if it shall change", finding.id);
            text += &wrapped(&words);
        }
        Remedy::Apply => text += "      → `roadstead tune apply`\n",
        Remedy::None => {}
    }
    text
}

/// Lines of at most 110 columns, indented below their row.
fn wrapped(words: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in words.split(' ') {
        if !line.is_empty() && line.chars().count() + word.chars().count() > 103 {
            text += &format!("      {line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    text + &format!("      {line}\n")
}

/// What `apply` would make of it.
fn outlook(report: &Report<'_>) -> String {
    let (now, after) = (&report.ceiling, &report.ceiling_after_apply);
    let due = |finding: &&Finding| finding.severity > Severity::Unseen && finding.remedy == Remedy::Apply;
    let count = report.findings.iter().filter(due).count();
    if count == 0 && now.connections < report.target {
        return format!("`apply` can change nothing about it; {}\n", now.cure);
    }
    if count == 0 {
        return String::new();
    }
    let stop = if after.bound.is_empty() { String::new() } else { format!(", stopped by {}", after.title) };
    let mut text = format!(
        "After `roadstead tune apply` as root ({count} values): {} connections{stop}\n",
        grouped(after.connections),
    );
    if after.connections < report.target {
        text += &format!("and beyond that: {}\n", after.cure);
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
