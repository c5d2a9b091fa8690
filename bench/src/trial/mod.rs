//! Several runs of one plan: again until it is valid, several rounds with medians and spread, two servers in turn, or a
//! search for the highest rate that keeps an objective.
//!
//! Every figure comes from a run that was judged like any other. A round that is not valid stays in the result with its
//! reasons.

pub mod condition;
mod objective;
mod statistics;

use serde::Serialize;
use serde_json::{Value, json};

use self::{
    condition::{Condition, Figure},
    statistics::{Spread, chance},
};
use crate::{
    error::Result,
    latency::Latencies,
    load::{control, pace::Pace},
    report::Report,
    verdict::Verdict,
};

/// A chance below which a difference counts as one.
const CHANCE_MAX: f64 = 0.05;
/// The fewest rounds of each side in which a difference can have so small a chance.
pub const ROUNDS_MIN_TO_DIFFER: u32 = 4;

/// What can be run again.
pub trait Plan {
    /// What it finds.
    type Report: Report;

    /// Runs it once.
    fn measure(&self) -> Result<(Self::Report, Latencies)>;
}

/// A plan whose messages go out at a rate, or one after the other.
pub trait Paced: Plan {
    /// How it is paced.
    fn pace(&mut self) -> &mut Pace;
}

/// What is to be done with a plan.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Rounds.
    pub rounds: u32,
    /// How often a run that is not valid is made at most.
    pub tries: u32,
    /// What the highest rate has to keep.
    pub objective: Option<Condition>,
}

/// A result of any kind, as it is printed.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Told {
    /// In the shape of its JSON.
    pub value: Value,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    verdict: Verdict,
}

/// Does with `plan`, and with its rival if there is one, what `trial` says.
pub fn run<P: Paced>(plan: &mut P, rival: Option<&P>, trial: &Trial) -> Result<(Told, Latencies)> {
    match &trial.objective {
        Some(objective) => objective::search(plan, objective, trial.tries),
        None => in_rounds(plan, rival, trial),
    }
}

/// The same for a plan that has no rate to search for.
pub fn in_rounds<P: Plan>(plan: &P, rival: Option<&P>, trial: &Trial) -> Result<(Told, Latencies)> {
    if trial.rounds == 1 && rival.is_none() {
        return once(plan, trial.tries);
    }
    let sides: Vec<&P> = [plan].into_iter().chain(rival).collect();
    let (mut rounds, mut latencies) = (vec![Vec::new(); sides.len()], Latencies::none());
    for number in 1..=trial.rounds {
        for (side, plan) in sides.iter().enumerate() {
            let (told, found) = once(*plan, trial.tries)?;
            eprintln!("{}", headline(&format!("round {number}{}", name_of(side, sides.len())), &told));
            rounds[side].push(told);
            if side == 0 {
                latencies.append(found);
            }
        }
        if control::is_interrupted() {
            break;
        }
    }
    Ok((together(&rounds), latencies))
}

/// One run; again, if it is not valid and there are tries left.
fn once(plan: &impl Plan, tries: u32) -> Result<(Told, Latencies)> {
    for number in 1.. {
        let (report, latencies) = plan.measure()?;
        let told = Told::of(&report);
        if told.verdict.valid || number >= tries.max(1) || control::is_interrupted() {
            return Ok((told, latencies));
        }
        eprintln!("try {number} of {tries} is not valid: {}", told.verdict.reasons.join("; "));
    }
    unreachable!("the last try returns")
}

fn name_of(side: usize, sides: usize) -> &'static str {
    match (sides, side) {
        (1, _) => "",
        (_, 0) => " of A",
        _ => " of B",
    }
}

/// One line of a result.
fn headline(what: &str, told: &Told) -> String {
    let figures = Figure::TOLD.iter().filter_map(|figure| {
        let value = figure.of(&told.value)?;
        Some(format!("{} {}", figure.name(), figure.show(value)))
    });
    let verdict = if told.verdict.valid { "" } else { " INVALID" };
    format!("{what}: {}{verdict}", figures.collect::<Vec<_>>().join(", "))
}

/// Rounds of one side, or of two.
fn together(rounds: &[Vec<Told>]) -> Told {
    let mut verdict = Verdict { valid: true, ..Verdict::default() };
    for (side, rounds_of_side) in rounds.iter().enumerate() {
        for (index, told) in rounds_of_side.iter().enumerate() {
            verdict
                .add(format!("round {}{}: ", index + 1, name_of(side, rounds.len())), told.verdict.clone());
        }
    }
    let mut value =
        json!({ "scenario": if rounds.len() == 1 { "repeat" } else { "comparison" }, "verdict": verdict });
    let mut text = String::new();
    for (side, rounds_of_side) in rounds.iter().enumerate() {
        let name = if rounds.len() == 1 { "" } else { ["A", "B"][side] };
        let url = rounds_of_side.first().and_then(|told| told.value["url"].as_str()).unwrap_or_default();
        text += &format!(
            "{name}{}{} rounds of {url}, median (lowest to highest)\n",
            if name.is_empty() { "" } else { ": " },
            rounds_of_side.len()
        );
        let mut summary = json!({});
        for figure in Figure::TOLD {
            if let Some(spread) = Spread::of(&values(rounds_of_side, figure)) {
                let [median, min, max] =
                    [spread.median, spread.min, spread.max].map(|value| figure.show(value));
                text += &format!("  {}: {median} ({min} to {max})\n", figure.name());
                summary[figure.name()] = json!(spread);
            }
        }
        let side = json!({ "url": url, "summary": summary, "rounds": rounds_of_side });
        match name {
            "" => value["summary"] = side["summary"].clone(),
            name => value[name.to_ascii_lowercase()] = side.clone(),
        }
        if name.is_empty() {
            value["rounds"] = side["rounds"].clone();
        }
    }
    if let [ours, theirs] = rounds {
        let (sentences, found) = differences(ours, theirs);
        text += &sentences;
        value["differences"] = found;
    }
    Told { value, text, verdict }
}

fn values(rounds: &[Told], figure: Figure) -> Vec<f64> {
    rounds.iter().filter_map(|told| figure.of(&told.value)).collect()
}

/// How B differs from A, and how sure that is.
fn differences(ours: &[Told], theirs: &[Told]) -> (String, Value) {
    let (mut text, mut found) = (String::new(), json!({}));
    for figure in Figure::TOLD {
        let (a, b) = (values(ours, figure), values(theirs, figure));
        let (Some(first), Some(second)) = (Spread::of(&a), Spread::of(&b)) else { continue };
        let ratios: Vec<f64> = a.iter().zip(&b).filter(|(a, _)| **a > 0.0).map(|(a, b)| b / a).collect();
        let Some(ratio) = Spread::of(&ratios) else { continue };
        let chance = chance(&a, &b);
        let name = figure.name();
        text += &if chance <= CHANCE_MAX {
            let direction = if second.median > first.median { "higher" } else { "lower" };
            format!(
                "  B's {name} is {direction}: {:.3} × A's ({:.3} to {:.3} by round); by chance with probability {chance:.3}\n",
                ratio.median, ratio.min, ratio.max
            )
        } else {
            format!(
                "  {name}: no difference that {} rounds can show (B {:.3} × A, {:.3} to {:.3}; probability {chance:.2})\n",
                a.len().min(b.len()),
                ratio.median,
                ratio.min,
                ratio.max
            )
        };
        found[name] = json!({ "ratio": ratio, "probability": chance, "differs": chance <= CHANCE_MAX });
    }
    if ours.len().min(theirs.len()) < ROUNDS_MIN_TO_DIFFER as usize {
        text += &format!(
            "  fewer than {ROUNDS_MIN_TO_DIFFER} rounds of each can show no difference: take more with --repeat\n"
        );
    }
    (text, found)
}

impl Told {
    /// A scenario's own result.
    pub fn of(report: &impl Report) -> Self {
        let value = serde_json::to_value(report).expect("a report holds only numbers and texts");
        Self { value, text: report.to_text(), verdict: report.verdict().clone() }
    }

    /// Judges the result by thresholds and adds what came of each; tells whether one was crossed. A figure the result
    /// does not have is not known to be good. Where there are rounds it is their median that counts.
    pub fn judge(&mut self, thresholds: &[Condition]) -> bool {
        let (mut found, mut is_crossed) = (Vec::new(), false);
        for threshold in thresholds {
            let figure = threshold.figure;
            let value = self.median_of(figure);
            let crossed = value.is_none_or(|value| threshold.is_met_by(value));
            is_crossed |= crossed;
            let shown = value.map_or("no such figure here".to_owned(), |value| figure.show(value));
            self.text += &format!("  {} {threshold}: {shown}\n", if crossed { "FAILED" } else { "passed" });
            found.push(json!({ "fail_if": threshold.to_string(), "value": value, "crossed": crossed }));
        }
        if !found.is_empty() {
            self.value["thresholds"] = found.into();
        }
        is_crossed
    }

    fn median_of(&self, figure: Figure) -> Option<f64> {
        let best = if self.value["result"].is_object() { &self.value["result"] } else { &self.value };
        let rounds = best["rounds"].as_array().or(best["a"]["rounds"].as_array());
        match rounds {
            None => figure.of(best),
            Some(rounds) => {
                let values: Vec<f64> = rounds.iter().filter_map(|round| figure.of(round)).collect();
                Spread::of(&values).map(|spread| spread.median)
            }
        }
    }
}

impl Report for Told {
    fn to_text(&self) -> String {
        self.text.clone()
    }

    fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(p50: u64, valid: bool) -> Told {
        let reasons = if valid { vec![] } else { vec!["disturbed".to_owned()] };
        let value = json!({ "url": "ws://h/", "per_second": 100.0, "latency": { "count": 10, "p50_us": p50, "max_us": 9 } });
        Told { value, text: String::new(), verdict: Verdict { valid, reasons, ..Verdict::default() } }
    }

    #[test]
    fn rounds_are_summed_up_and_an_invalid_one_is_named() {
        let told = together(&[vec![round(10, true), round(30, false), round(20, true)]]);
        assert_eq!(told.value["summary"]["p50"], json!({ "median": 20.0, "min": 10.0, "max": 30.0 }));
        assert_eq!(told.verdict.reasons, ["round 2: disturbed"]);
        assert!(!told.verdict.valid && told.text.contains("p50: 20 µs (10 µs to 30 µs)"), "{}", told.text);
        assert_eq!(told.value["rounds"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn a_threshold_is_crossed_by_the_median_and_by_a_figure_that_is_not_there() {
        let judge = |told: &mut Told, threshold: &str| told.judge(&[threshold.parse().unwrap()]);
        let mut single = round(10, true);
        assert!(
            judge(&mut single, "p50>9us") && !judge(&mut single, "p50>10us") && judge(&mut single, "p99>1s")
        );
        let mut rounds = together(&[vec![round(10, true), round(90, true), round(20, true)]]);
        assert!(!judge(&mut rounds, "p50>20us") && judge(&mut rounds, "p50>19us"));
        assert_eq!(rounds.value["thresholds"][0]["crossed"], true);
        assert!(rounds.text.contains("FAILED p50>19us: 20 µs"), "{}", rounds.text);
    }

    #[test]
    fn a_difference_is_told_only_where_the_rounds_show_one() {
        let side = |from: u64| (0..5).map(|n| round(from + n, true)).collect::<Vec<_>>();
        let told = together(&[side(100), side(200)]);
        assert!(told.text.contains("B's p50 is higher: 1.98"), "{}", told.text);
        assert!(told.text.contains("rate: no difference that 5 rounds can show"), "{}", told.text);
        assert_eq!(told.value["differences"]["p50"]["differs"], true);
        let same = together(&[side(100), side(100)]);
        assert_eq!(same.value["differences"]["p50"]["differs"], false);
        let few = together(&[side(100)[..2].to_vec(), side(200)[..2].to_vec()]);
        assert!(few.text.contains("take more with --repeat"), "{}", few.text);
    }
}
