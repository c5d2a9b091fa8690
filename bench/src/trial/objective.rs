//! The search for the highest rate that keeps an objective: twice as much until it is missed, then between what was kept
//! and what was missed until they are within 5 %.
//!
//! A step keeps the objective if its run is valid, its rate was achieved, and the condition holds. Where the generator
//! was the bottleneck nothing is known of the server: the search stops there and says so.

use serde_json::{Value, json};

use super::{
    Paced, Told,
    condition::{Condition, Figure},
    once,
};
use crate::{
    error::{Error, Result},
    latency::Latencies,
    load::{control, pace::Pace},
    verdict::Verdict,
};

/// Where the search begins without a rate.
const RATE_FIRST: f64 = 1000.0;
/// The most runs.
const STEPS_MAX: usize = 40;
/// How near kept and missed rates come.
const NEAR: f64 = 1.05;
/// A share of the asked rate that has to be achieved.
const ACHIEVED_MIN: f64 = 0.99;
/// The lowest rate worth asking for.
const RATE_MIN: f64 = 0.1;

/// The bounds found so far.
#[derive(Debug)]
struct Search {
    kept: Option<f64>,
    missed: Option<f64>,
    next: f64,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Kept,
    Missed,
    /// The run says nothing about the server.
    Unknown,
}

/// Searches.
pub fn search(plan: &mut impl Paced, objective: &Condition, tries: u32) -> Result<(Told, Latencies)> {
    let mut search = Search { kept: None, missed: None, next: plan.pace().asked().unwrap_or(RATE_FIRST) };
    let (mut steps, mut best, mut limit) = (Vec::new(), None, None);
    while steps.len() < STEPS_MAX && !control::is_interrupted() {
        let asked = search.next;
        *plan.pace() = Pace::Open(asked);
        let run = once(plan, tries);
        // A server that breaks under a load has not kept the objective; one that never worked is an error.
        let (told, latencies) = match run {
            Err(Error::Server(fault)) if search.kept.is_some() => {
                eprintln!("{asked:.0}/s: missed: {fault}");
                steps.push(json!({ "asked": asked, "outcome": "missed", "reasons": [fault.to_string()] }));
                if !search.go_on(Outcome::Missed) {
                    break;
                }
                continue;
            }
            run => run?,
        };
        let outcome = judge(&told, objective, asked);
        let step = describe(&told, objective, asked, outcome);
        eprintln!("{}", line_of(&step, objective.figure));
        steps.push(step);
        if outcome == Outcome::Kept {
            best = Some((told, latencies));
        } else if outcome == Outcome::Unknown {
            limit = Some(told.verdict.reasons.join("; "));
        }
        if !search.go_on(outcome) {
            break;
        }
    }
    Ok(result(&search, objective, steps, best, limit))
}

fn judge(told: &Told, objective: &Condition, asked: f64) -> Outcome {
    let is_generators = told.value["bottleneck"] == "generator" || !is_servers_fault(&told.verdict);
    let achieved = asked_and_achieved(&told.value).unwrap_or_default();
    match objective.holds(&told.value) {
        Some(true) if told.verdict.valid && achieved >= ACHIEVED_MIN => Outcome::Kept,
        _ if !told.verdict.valid && is_generators => Outcome::Unknown,
        _ => {
            debug_assert!(asked > 0.0);
            Outcome::Missed
        }
    }
}

/// Whether what makes a result invalid is something that the server lost, and not the generator's or its neighbours'.
fn is_servers_fault(verdict: &Verdict) -> bool {
    verdict.reasons.iter().any(|reason| reason.chars().next().is_some_and(|first| first.is_ascii_digit()))
}

/// The share of what was asked for that was achieved: of messages, or of publications.
fn asked_and_achieved(result: &Value) -> Option<f64> {
    let share = |achieved: &str, asked: &str| Some(result[achieved].as_f64()? / result[asked].as_f64()?);
    share("publications_per_second", "publications_per_second_asked")
        .or_else(|| share("per_second", "per_second_asked"))
}

fn describe(told: &Told, objective: &Condition, asked: f64, outcome: Outcome) -> Value {
    json!({
        "asked": asked,
        "achieved": asked_and_achieved(&told.value).map(|share| share * asked),
        "value": objective.figure.of(&told.value),
        "outcome": match outcome {
            Outcome::Kept => "kept",
            Outcome::Missed => "missed",
            Outcome::Unknown => "unknown",
        },
        "reasons": told.verdict.reasons,
    })
}

fn line_of(step: &Value, figure: Figure) -> String {
    let value = step["value"].as_f64().map_or("no value".to_owned(), |value| figure.show(value));
    let reasons: Vec<_> =
        step["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
    format!(
        "{:.0}/s asked, {:.0}/s achieved, {} {value}: {}{reasons}",
        step["asked"].as_f64().unwrap_or_default(),
        step["achieved"].as_f64().unwrap_or_default(),
        figure.name(),
        step["outcome"].as_str().unwrap_or_default()
    )
}

impl Search {
    /// Takes in what became of the last step and chooses the next; `false` when the search is over.
    fn go_on(&mut self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Kept => self.kept = Some(self.next),
            Outcome::Missed => self.missed = Some(self.next),
            Outcome::Unknown => return false,
        }
        self.next = match (self.kept, self.missed) {
            (Some(kept), Some(missed)) if missed / kept <= NEAR => return false,
            (Some(kept), Some(missed)) => (kept * missed).sqrt(),
            (Some(kept), None) => kept * 2.0,
            (None, Some(missed)) => missed / 4.0,
            (None, None) => unreachable!("a step is kept or missed"),
        };
        self.next >= RATE_MIN
    }
}

fn result(
    search: &Search,
    objective: &Condition,
    steps: Vec<Value>,
    best: Option<(Told, Latencies)>,
    limit: Option<String>,
) -> (Told, Latencies) {
    let mut verdict = Verdict { valid: true, ..Verdict::default() };
    let mut text = format!("the highest rate that keeps {objective}, in {} steps\n", steps.len());
    text += &steps.iter().map(|step| format!("  {}\n", line_of(step, objective.figure))).collect::<String>();
    match (search.kept, search.missed) {
        (Some(kept), Some(missed)) => text += &format!("  {kept:.0}/s keep it, {missed:.0}/s do not\n"),
        (Some(kept), None) => text += &format!("  {kept:.0}/s keep it; where it ends was not found\n"),
        (None, _) => {
            verdict.valid = false;
            verdict.reasons.push(format!("no rate that was tried keeps {objective}"));
        }
    }
    if let Some(limit) = limit {
        verdict.warnings.push(format!("the search ended where a run said nothing of the server: {limit}"));
    }
    let (best, latencies) =
        best.map_or((None, Latencies::none()), |(told, latencies)| (Some(told), latencies));
    let value = json!({
        "scenario": "objective", "objective": objective.to_string(), "highest_rate": search.kept, "missed": search.missed,
        "steps": steps, "result": best, "verdict": verdict,
    });
    (Told { value, text, verdict }, latencies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Plan;

    /// A server whose p99 rises with the rate.
    struct Server {
        pace: Pace,
        generator_max: f64,
    }

    impl Plan for Server {
        type Report = Told;

        fn measure(&self) -> Result<(Told, Latencies)> {
            let rate = self.pace.asked().unwrap();
            let is_bound = rate > self.generator_max;
            let reasons = if is_bound { vec!["the generator was the bottleneck".to_owned()] } else { vec![] };
            let verdict = Verdict { valid: !is_bound, reasons, ..Verdict::default() };
            let value = json!({ "per_second": rate, "per_second_asked": rate, "latency": { "p99_us": rate / 10.0 },
                "bottleneck": if is_bound { "generator" } else { "neither" } });
            Ok((Told { value, text: String::new(), verdict }, Latencies::none()))
        }
    }

    impl Paced for Server {
        fn pace(&mut self) -> &mut Pace {
            &mut self.pace
        }
    }

    fn found(first: f64, generator_max: f64, objective: &str) -> Told {
        let mut server = Server { pace: Pace::Open(first), generator_max };
        search(&mut server, &objective.parse().unwrap(), 1).unwrap().0
    }

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for first in [100.0, 90_000.0, 5_000_000.0] {
            let told = found(first, f64::INFINITY, "p99<5ms");
            let highest = told.value["highest_rate"].as_f64().unwrap();
            assert!((47_000.0..50_000.0).contains(&highest), "from {first}: {highest}");
            assert!(told.value["missed"].as_f64() <= Some(highest * NEAR));
            assert_eq!(told.value["result"]["per_second"], told.value["highest_rate"]);
        }
    }

    #[test]
    fn where_the_generator_ends_the_search_ends_and_says_so() {
        let told = found(1000.0, 20_000.0, "p99<5ms");
        assert_eq!(told.value["highest_rate"], 16_000.0);
        assert_eq!(told.value["steps"].as_array().unwrap().last().unwrap()["outcome"], "unknown");
        assert!(told.verdict.valid && told.verdict.warnings[0].contains("generator was the bottleneck"));
    }

    #[test]
    fn an_objective_nobody_keeps_is_no_result() {
        let told = found(1000.0, f64::INFINITY, "p99<0us");
        assert!(!told.verdict.valid && told.value["highest_rate"].is_null());
    }
}
