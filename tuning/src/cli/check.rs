//! `tune check`: the table and the ceiling.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Aim, FAILED, FINE, SHORT, Sight};
use crate::{
    ceiling::{self, Ceiling},
    host::Subject,
    output::{program, say, sayln, wrapped},
    setting::{Goal, Profile, demand::grouped},
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
    /// For how many seconds to watch the kernel's counters; what they have counted before says nothing of today.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3600))]
    seconds: u64,
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
    let sight = sight.look_for(Duration::from_secs(arguments.seconds));
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
            Ok(text) => sayln!("{text}"),
            Err(error) => {
                eprintln!("{error}");
                return FAILED;
            }
        }
    } else {
        say!("{}", table(&sight, &report, arguments.all));
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
    let mut shown: Vec<&Finding> =
        report.findings.iter().filter(|finding| all || finding.severity > Severity::Note).collect();
    shown.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let columns = Columns::of(&shown);
    let mut text = heading(sight);
    if !shown.is_empty() {
        text += &columns.row(HEADINGS);
    }
    let mut lines_left = if all { usize::MAX } else { SCREEN };
    let mut is_shortened = false;
    for finding in &shown {
        text += &columns.row(cells(finding));
        let details = details(finding);
        let lines = details.lines().count();
        // The worst come first, so the screen ends among those that matter least.
        if lines_left >= lines {
            text += &details;
            lines_left -= lines;
        } else {
            lines_left = 0;
            is_shortened = true;
        }
    }
    text += &rest(report, all, is_shortened);
    text + &ceilings(sight, report)
}

/// What stands in no row, and where it is to be found.
fn rest(report: &Report<'_>, all: bool, is_shortened: bool) -> String {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let (fine, notes) = (count(Severity::Fine), count(Severity::Note));
    let hidden = if all {
        String::new()
    } else {
        format!("{fine} settings are fine and {notes} deserve a note (--all). ")
    };
    let reason = if is_shortened {
        "says why, also where there was no room here"
    } else {
        "tells everything about one"
    };
    "\n".to_owned() + &wrapped("", &format!("{hidden}`{} explain ID` {reason}.", program()))
}

fn heading(sight: &Sight) -> String {
    let facts = &sight.facts;
    let memory = facts
        .memory_bytes
        .map_or_else(|| "?".to_owned(), |bytes| format!("{:.1}", bytes as f64 / (1u64 << 30) as f64));
    let place =
        facts.container.as_ref().map_or_else(String::new, |name| format!(", in a container ({name})"));
    let rights = if facts.can_administer { "" } else { ", without privileges" };
    let cpus = if facts.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", facts.cpus) };
    format!(
        "Linux {}, {cpus}, {memory} GiB{place}{rights}; target {} connections, profile {}\n\n",
        facts.release,
        grouped(sight.goal.target),
        sight.goal.profile.name(),
    )
}

const HEADINGS: [&str; 7] = ["", "id", "current", "wanted", "layer", "risk", "evidence"];

fn cells(finding: &Finding) -> [&str; 7] {
    let severity = match finding.severity {
        Severity::Fine => "fine",
        Severity::Note => "note",
        Severity::Unseen => "unseen",
        Severity::Hurts => "hurts",
        Severity::Stops => "STOPS",
    };
    let Finding { id, current, wanted, layer, risk, evidence, .. } = finding;
    [severity, id, current, wanted, layer, risk, evidence]
}

/// The table is as wide as its cells, not as the widest that could be.
struct Columns([usize; 7]);

impl Columns {
    fn of(findings: &[&Finding]) -> Self {
        let mut widths = HEADINGS.map(str::len);
        // Details are indented below the id, whatever the severities are.
        widths[0] = INDENT - 1;
        for finding in findings {
            for (width, cell) in widths.iter_mut().zip(cells(finding)) {
                *width = (*width).max(cell.chars().count());
            }
        }
        Self(widths)
    }

    fn row(&self, cells: [&str; 7]) -> String {
        let padded = cells.iter().zip(self.0).map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    }
}

/// Where the words below a row begin: below the row's id.
const INDENT: usize = 7;
/// Lines of words below rows that fit on one screen with the rows.
const SCREEN: usize = 26;

/// Why it matters, how the wanted value comes about, and who can better it.
fn details(finding: &Finding) -> String {
    if finding.severity == Severity::Fine {
        return String::new();
    }
    let indent = " ".repeat(INDENT + 1);
    let mut text = wrapped(&indent, finding.why);
    if let Some(remark) = &finding.remark {
        text += &wrapped(&indent, &format!("Not seen: {remark}."));
    }
    for words in &finding.overwritten {
        text += &wrapped(&format!("{indent}! "), words);
    }
    if finding.formula != finding.wanted.trim_start_matches(['≥', '≤', ' ']) {
        text += &wrapped(&format!("{indent}= "), &finding.formula);
    }
    let arrow = format!("{indent}→ ");
    match &finding.remedy {
        Remedy::Elsewhere(words) => text += &wrapped(&arrow, words),
        Remedy::Ask => {
            let words =
                format!("`apply --only {}`: not by itself, for somebody may have chosen this", finding.id);
            text += &wrapped(&arrow, &words);
        }
        // Said once, below the table.
        Remedy::Apply | Remedy::None => {}
    }
    text
}

/// The ceiling as it is, and what `apply` would make of it.
fn ceilings(sight: &Sight, report: &Report<'_>) -> String {
    let (now, after) = (&report.ceiling, &report.ceiling_after_apply);
    let mut text = "\n".to_owned() + &wrapped("", &format!("{}.", capitalised(&now.to_string())));
    let due = |finding: &&Finding| finding.severity > Severity::Unseen && finding.remedy == Remedy::Apply;
    let count = report.findings.iter().filter(due).count();
    if count == 0 {
        if now.connections < report.target {
            text += &wrapped(
                "",
                &format!("`{} apply` can change nothing about it: see {} above.", program(), now.bound),
            );
        }
        return text;
    }
    let stop = match after.bound {
        "" => "no bound that can be seen from here".to_owned(),
        _ if after.connections < report.target => {
            format!(
                "still {} connections, for {} is not in its power (see above)",
                grouped(after.connections),
                after.bound
            )
        }
        bound => format!("{} connections, and what stops it then is {bound}", grouped(after.connections)),
    };
    let values = if count == 1 { "1 value".to_owned() } else { format!("{count} values") };
    text += &wrapped("", &format!("After `{}` ({values}): {stop}.", command(sight)));
    text
}

/// The apply that goes with this check.
fn command(sight: &Sight) -> String {
    let goal = &sight.goal;
    let profile = match goal.profile {
        Profile::Idle => String::new(),
        profile => format!(" --profile {}", profile.name()),
    };
    let client = if goal.is_client { " --client" } else { "" };
    let stalled = if goal.stalled_percent == Goal::new(goal.target, goal.profile).stalled_percent {
        String::new()
    } else {
        format!(" --stalled-percent {}", goal.stalled_percent)
    };
    let process = match sight.host.subject() {
        Subject::Server(pid) => format!(" --pid {pid}"),
        Subject::Shell(_) | Subject::Ourselves => String::new(),
    };
    format!("sudo {} apply --target {}{profile}{client}{stalled}{process}", program(), goal.target)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
