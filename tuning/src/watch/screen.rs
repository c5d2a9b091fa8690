//! How a look is shown: a page that is redrawn, lines for a log, JSON for a program.

use std::io::Write;

use serde_json::json;

use super::signals::{Course, Signal, State, Tracked};
use crate::{
    host::{Facts, Host},
    output::{say, sayln, wrapped},
    setting::{self, demand::grouped},
};

/// Cursor to the upper left, and everything below it cleared.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Where looks go.
pub enum Look {
    /// A terminal: one page; its heading.
    Screen(String),
    /// A file or pipe: a line for each signal whose state has changed; the states last told.
    Lines(Vec<(&'static str, State)>),
    /// A line of JSON for each look.
    Json,
}

impl Look {
    /// A page for this host.
    pub fn screen(host: &Host) -> Self {
        let facts = Facts::of(host);
        Self::Screen(format!("Linux {}, {} CPUs", facts.release, facts.cpus))
    }

    /// Lines, of which none was told yet.
    pub fn lines() -> Self {
        Self::Lines(Vec::new())
    }

    /// Shows a look.
    pub fn show(&mut self, signals: &[Signal], course: &Course) {
        match self {
            Self::Screen(heading) => say!("{CLEAR}{}", page(heading, signals, course)),
            Self::Lines(told) => {
                for signal in signals {
                    let last = told.iter_mut().find(|(id, _)| *id == signal.id);
                    let was = last.as_ref().map_or(State::Quiet, |(_, state)| *state);
                    match last {
                        Some((_, state)) => *state = signal.state,
                        None => told.push((signal.id, signal.state)),
                    }
                    if was != signal.state {
                        say!("{}", line(signal, course.seconds()));
                    }
                }
            }
            Self::Json => {
                sayln!("{}", json!({ "seconds": course.seconds(), "hit": hit(signals), "signals": signals }));
            }
        }
        std::io::stdout().flush().ok();
    }
}

/// The signals that are hit, by name.
fn hit(signals: &[Signal]) -> Vec<&'static str> {
    signals.iter().filter(|signal| signal.state == State::Hit).map(|signal| signal.id).collect()
}

fn line(signal: &Signal, seconds: f64) -> String {
    let state = word(signal.state);
    let mut text = format!("{seconds:7.1} s  {state:<5} {:<13} {}\n", signal.id, measured(signal));
    if let Some(cure) = &signal.cure {
        text += &wrapped("                 → ", cure);
    }
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Quiet => "ok",
        State::Near => "near",
        State::Hit => "HIT",
    }
}

/// `312/s, 19,800 of 20,000, port 8080 has 129 waiting`
fn measured(signal: &Signal) -> String {
    let mut parts = Vec::new();
    if signal.grown > 0 {
        parts.push(format!("{}/s", grouped(signal.per_second.ceil() as u64)));
    }
    if let Some((level, limit)) = signal.level.zip(signal.limit) {
        let readable = |number| match setting::find(signal.setting) {
            Some(found) => found.text.readable(number),
            None => grouped(number),
        };
        parts.push(format!("{} of {}", readable(level), readable(limit)));
    }
    parts.extend(signal.detail.clone());
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// One screen: what is hit now and what to do, then everything that is watched.
fn page(heading: &str, signals: &[Signal], course: &Course) -> String {
    let mut text = format!("{heading}; watched for {:.0} s; Ctrl-C ends it\n\n", course.seconds());
    let mut hits: Vec<&Signal> = signals.iter().filter(|signal| signal.state == State::Hit).collect();
    hits.sort_by_key(|signal| std::cmp::Reverse(signal.grown));
    for signal in &hits {
        text += &wrapped("HIT NOW  ", &format!("{}: {} ({})", signal.id, signal.what, measured(signal)));
        if let Some(cure) = &signal.cure {
            text += &wrapped("       → ", cure);
        }
    }
    if hits.is_empty() {
        text += "No limit is hit now.\n";
    }
    text += &format!("\n{:<5} {:<13} {:<38} {:>12}  setting\n", "", "signal", "now", "in all");
    for signal in signals {
        let tracked = course.signals().iter().find(|tracked| tracked.worst_look.id == signal.id);
        let grown = tracked.map_or(0, |tracked| tracked.grown);
        text += &format!(
            "{:<5} {:<13} {:<38} {:>12}  {}\n",
            word(signal.state),
            signal.id,
            measured(signal),
            grouped(grown),
            signal.setting
        );
    }
    text
}

/// What was hit over the whole time, worst first.
pub fn summary(course: &Course) -> String {
    let mut told: Vec<&Tracked> = course.signals().iter().filter(|one| one.worst == State::Hit).collect();
    told.sort_by(|left, right| right.hit_seconds.total_cmp(&left.hit_seconds));
    let seconds = course.seconds();
    if told.is_empty() {
        let near: Vec<&str> = course
            .signals()
            .iter()
            .filter(|one| one.worst == State::Near)
            .map(|one| one.worst_look.id)
            .collect();
        let near = if near.is_empty() { String::new() } else { format!(" Near: {}.", near.join(", ")) };
        return format!(
            "\nNo limit was hit in {seconds:.0} s, of {} that are watched.{near}",
            course.signals().len()
        );
    }
    let mut text = format!("\nIn {seconds:.0} s:\n");
    for tracked in told {
        let signal = &tracked.worst_look;
        let count =
            if tracked.grown > 0 { format!(", {} in all", grouped(tracked.grown)) } else { String::new() };
        text += &wrapped(
            "HIT  ",
            &format!(
                "{}: {} ({} at worst, for {:.0} s{count})",
                signal.id,
                signal.what,
                measured(signal),
                tracked.hit_seconds
            ),
        );
        if let Some(cure) = &signal.cure {
            text += &wrapped("   → ", cure);
        }
    }
    text.trim_end().to_owned()
}

/// The same for a program.
pub fn json_of_all(course: &Course) -> String {
    let was_hit = |one: &&Tracked| one.worst == State::Hit;
    let hit: Vec<&str> = course.signals().iter().filter(was_hit).map(|one| one.worst_look.id).collect();
    json!({ "seconds": course.seconds(), "ended": true, "hit": hit, "signals": course.signals() }).to_string()
}
