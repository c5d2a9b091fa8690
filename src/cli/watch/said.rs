//! Numbers as people read them.

use std::time::Duration;

use roadstead_tuning::setting::demand::grouped;

/// So many per second.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate > 0.0 && rate < 10.0 => format!("{rate:.1}/s"),
        rate => format!("{}/s", grouped(rate.round() as u64)),
    }
}

/// So many bytes, in powers of 1,000.
pub(super) fn bytes(number: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut number, mut unit) = (number, 0);
    while number >= 1000.0 && unit + 1 < units.len() {
        number /= 1000.0;
        unit += 1;
    }
    let places = usize::from(unit > 0 && number < 100.0);
    format!("{number:.places$} {}", units[unit])
}

/// A share from 0 to 1.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A time, in its two largest units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match seconds {
        86_400.. => format!("{days} d {hours} h"),
        3_600.. => format!("{hours} h {minutes} min"),
        60.. => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_have_to_be() {
        assert_eq!([rate(0.0), rate(0.25), rate(12_345.6)], ["0/s", "0.2/s", "12,346/s"]);
        let sizes = [0.0, 999.0, 1_500.0, 214_000_000.0, 8e15].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.5 kB", "214 MB", "8000 TB"]);
        let spans = [59, 61, 3_720, 90_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["59 s", "1 min 1 s", "1 h 2 min", "1 d 1 h"]);
    }
}
