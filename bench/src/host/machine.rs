//! What a result has to say of where it comes from: when, on which machine, by which command and version.

use std::{
    env, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Flags whose values are secrets, or may hold some behind a colon.
const SECRET_FLAGS: [&str; 4] = ["--header", "-H", "--token", "--first-message"];

/// Where a result comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// When it was printed, in UTC.
    pub date: String,
    /// The processor, cores and memory.
    pub machine: String,
    /// The kernel.
    pub kernel: String,
    /// The load generator's version.
    pub version: String,
    /// The command as it was typed, without secrets.
    pub command: String,
}

impl Origin {
    /// This process, now.
    pub fn now() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            date: date(seconds),
            machine: machine(&read("/proc/cpuinfo"), &read("/proc/meminfo")),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            version: format!("roadstead-bench {}", env!("CARGO_PKG_VERSION")),
            command: command(env::args()),
        }
    }

    /// Two lines.
    pub fn to_text(&self) -> String {
        let Self { date, machine, kernel, version, command } = self;
        format!("{version}, {date}, {machine}, {kernel}\n  {command}\n")
    }
}

fn machine(cpuinfo: &str, meminfo: &str) -> String {
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field(cpuinfo, "model name").unwrap_or_else(|| env::consts::ARCH.to_owned());
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kilobytes = field(meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<f64>().ok());
    let gibibytes = kilobytes.unwrap_or_default() / f64::from(1 << 20);
    format!("{model}, {cores} cores, {gibibytes:.0} GiB")
}

/// A command line as a shell would take it; what may be a secret is left out.
fn command(words: impl Iterator<Item = String>) -> String {
    let (mut text, mut is_secret) = (String::new(), false);
    for word in words {
        let (flag, value) =
            word.split_once('=').map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
        let shown = match value {
            _ if is_secret => without_secret(&word),
            Some(value) if SECRET_FLAGS.contains(&flag) => format!("{flag}={}", without_secret(value)),
            _ => word.clone(),
        };
        is_secret = !is_secret && value.is_none() && SECRET_FLAGS.contains(&flag);
        if !text.is_empty() {
            text.push(' ');
        }
        text += &quoted(&shown);
    }
    text
}

/// The name of a header; nothing of anything else.
fn without_secret(value: &str) -> String {
    value
        .split_once(':')
        .filter(|(name, _)| !name.contains(['{', ' ']))
        .map_or("…".to_owned(), |(name, _)| format!("{name}: …"))
}

fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,=%+@".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Seconds since 1970 as a date (Howard Hinnant's `civil_from_days`).
fn date(seconds: u64) -> String {
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_at_the_edges_of_months_and_years() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_798_761_600), "2027-01-01 00:00:00 UTC");
    }

    #[test]
    fn a_command_is_shown_as_typed_but_for_its_secrets() {
        let show = |words: &[&str]| command(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(show(&["x", "--url", "ws://h/{n}", "--rate", "5"]), "x --url 'ws://h/{n}' --rate 5");
        assert_eq!(
            show(&["x", "--header", "Authorization: Bearer abc", "--json"]),
            "x --header 'Authorization: …' --json"
        );
        assert_eq!(show(&["x", "-H=Cookie: a=b"]), "x '-H=Cookie: …'");
        assert_eq!(show(&["x", "--token", "abc", "--token=abc"]), "x --token '…' '--token=…'");
        assert_eq!(
            show(&["x", "--first-message", "{\"connect\":{\"token\":\"s\"}}"]),
            "x --first-message '…'"
        );
    }
}
