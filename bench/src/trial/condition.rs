//! A condition on one figure of a result: `p99>20ms`, `rate<5000`, `lost>0`.

use std::{fmt, str::FromStr};

use serde_json::Value;

/// A figure of a result, whatever the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Messages, deliveries or connections per second.
    Rate,
    /// The median latency.
    P50,
    /// The 90th percentile.
    P90,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    P999,
    /// The largest latency.
    Max,
    /// The server's CPU per message.
    Cpu,
    /// The server's resident memory per connection.
    Memory,
    /// Connections, deliveries or messages that were lost.
    Lost,
    /// Replies that were wrong.
    Wrong,
}

/// A figure compared with a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The figure.
    pub figure: Figure,
    is_above: bool,
    limit: f64,
    text: String,
}

const NAMES: [(&str, Figure); 11] = [
    ("rate", Figure::Rate),
    ("p50", Figure::P50),
    ("p90", Figure::P90),
    ("p99.9", Figure::P999),
    ("p999", Figure::P999),
    ("p99", Figure::P99),
    ("max", Figure::Max),
    ("cpu", Figure::Cpu),
    ("memory", Figure::Memory),
    ("lost", Figure::Lost),
    ("wrong", Figure::Wrong),
];
const TIMES: &[(&str, f64)] = &[("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
const COUNTS: &[(&str, f64)] = &[("", 1.0), ("k", 1e3), ("M", 1e6)];
const BYTES: &[(&str, f64)] = &[("B", 1.0), ("kB", 1e3), ("MB", 1e6)];

impl Figure {
    /// Those that are told of several rounds.
    pub const TOLD: [Self; 7] =
        [Self::Rate, Self::P50, Self::P99, Self::P999, Self::Max, Self::Cpu, Self::Memory];

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, figure)| *figure == self).expect("every figure has a name").0
    }

    /// Its value in a result; `None` where the result has none.
    pub fn of(self, result: &Value) -> Option<f64> {
        let wave = result["waves"].as_array().and_then(|waves| waves.last());
        let of_wave = |name: &str| wave.and_then(|wave| wave[name].as_f64());
        let sum = |names: &[&str]| {
            let all = || result["waves"].as_array().into_iter().flatten().chain([result]);
            let known: Vec<f64> =
                all().flat_map(|part| names.iter().filter_map(|name| part[*name].as_f64())).collect();
            (!known.is_empty()).then(|| known.iter().sum())
        };
        let latency = |name: &str| result["latency"][name].as_f64();
        match self {
            Self::Rate => ["per_second", "deliveries_per_second"]
                .iter()
                .find_map(|name| result[*name].as_f64())
                .or_else(|| of_wave("connections_per_second")),
            Self::P50 => latency("p50_us").filter(|_| latency("count") > Some(0.0)),
            Self::P90 => latency("p90_us"),
            Self::P99 => latency("p99_us"),
            Self::P999 => latency("p999_us"),
            Self::Max => latency("max_us").filter(|_| latency("count") > Some(0.0)),
            Self::Cpu => {
                let server = wave.map_or(&result["server"], |wave| &wave["server"]);
                server["us_per_message"].as_f64()
            }
            Self::Memory => {
                let each = wave.map_or(&result["memory_per_connection"], |wave| &wave["per_connection"]);
                each["server_rss_bytes"].as_f64()
            }
            Self::Lost => {
                sum(&["lost", "failed", "subscribers_lost", "unanswered", "unsent", "orphaned", "missing"])
            }
            Self::Wrong => sum(&["wrong", "duplicates", "reordered", "strays"]),
        }
    }

    /// A value of it, for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{value:.0}/s"),
            Self::Cpu => format!("{value:.2} µs"),
            Self::Memory => format!("{value:.0} B"),
            Self::Lost | Self::Wrong => format!("{value:.0}"),
            _ if value >= 10_000.0 => format!("{:.1} ms", value / 1e3),
            _ => format!("{value:.0} µs"),
        }
    }

    /// What its limits are given in.
    fn units(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Rate | Self::Lost | Self::Wrong => COUNTS,
            Self::Memory => BYTES,
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Max | Self::Cpu => TIMES,
        }
    }
}

impl Condition {
    /// Whether it holds; `None` where the result has no such figure.
    pub fn holds(&self, result: &Value) -> Option<bool> {
        self.figure.of(result).map(|value| self.is_met_by(value))
    }

    /// Whether it holds for this value of its figure.
    pub fn is_met_by(&self, value: f64) -> bool {
        if self.is_above { value > self.limit } else { value < self.limit }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (name, rest) = text.split_at(text.find(['<', '>'])?);
            let figure = NAMES.iter().find(|(known, _)| *known == name.trim())?.1;
            let limit = rest[1..].trim();
            let digits = limit.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(limit.len());
            let (number, unit) = limit.split_at(digits);
            let factor = figure.units().iter().find(|(known, _)| *known == unit.trim())?.1;
            let limit = number.parse::<f64>().ok()? * factor;
            Some(Self { figure, is_above: rest.starts_with('>'), limit, text: text.to_owned() })
        };
        parse().ok_or_else(|| {
            "a figure, < or >, and a limit: p50, p90, p99, p99.9, max or cpu with us, ms or s (p99>20ms), memory with B, \
             kB or MB (memory>200B), or rate, lost or wrong (rate<5000, lost>0)"
                .to_owned()
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> Value {
        serde_json::json!({
            "memory_per_connection": {"server_rss_bytes": 96.5},
            "per_second": 5000.0, "lost": 1, "unanswered": 2, "wrong": 0, "server": {"us_per_message": null},
            "latency": {"count": 500, "p50_us": 90, "p90_us": 100, "p99_us": 20_000, "p999_us": null, "max_us": 21_000}
        })
    }

    #[test]
    fn a_condition_is_judged_in_the_units_it_is_given_in() {
        let holds = |text: &str| text.parse::<Condition>().unwrap().holds(&result());
        assert_eq!(holds("p99>20ms"), Some(false));
        assert_eq!(holds("p99 > 19.9ms"), Some(true));
        assert_eq!(holds("p99<0.1s"), Some(true));
        assert_eq!(holds("p50<91us"), Some(true));
        assert_eq!(holds("rate<5k"), Some(false));
        assert_eq!(holds("rate<5001"), Some(true));
        assert_eq!(holds("lost>2"), Some(true));
        assert_eq!((holds("memory>96B"), holds("memory>0.1kB")), (Some(true), Some(false)));
        assert_eq!(holds("p99.9>1us"), None);
        assert_eq!(holds("cpu>1us"), None);
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "p99",
            "p99>20",
            "p98>1ms",
            "rate<5ms",
            "lost>1k s",
            "p99>ms",
            "p99=1ms",
            "p99>1k",
            "memory>5",
            "memory>1k",
            "",
        ] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_waves_figures_are_found_too() {
        let wave = |rate: f64, failed: u64| {
            serde_json::json!({"connections_per_second": rate, "failed": failed, "lost": 0,
                "server": {"us_per_message": 15.5}, "per_connection": {"server_rss_bytes": 97.0}})
        };
        let result = serde_json::json!({"waves": [wave(1.0, 2), wave(7.0, 3)]});
        assert_eq!((Figure::Rate.of(&result), Figure::Lost.of(&result)), (Some(7.0), Some(5.0)));
        assert_eq!((Figure::Cpu.of(&result), Figure::Memory.of(&result)), (Some(15.5), Some(97.0)));
    }
}
