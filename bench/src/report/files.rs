//! Latencies in HdrHistogram's own formats, for its plotters and log processors: `.hgrm` (the percentile distribution)
//! and `.hlog` (one compressed histogram per interval). Values are microseconds.

use std::{
    fmt::Write as _,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use hdrhistogram::serialization::{V2DeflateSerializer, interval_log::IntervalLogWriterBuilder};

use crate::latency::Latencies;

/// Points per halving of the distance to 100 %, as HdrHistogram's plotters expect.
const TICKS_PER_HALF: u32 = 5;

/// Writes the percentile distribution.
pub fn write_hgrm(path: &Path, latencies: &Latencies) -> io::Result<()> {
    fs::write(path, to_hgrm(latencies))
}

/// Writes the interval log of a run that ended now.
pub fn write_hlog(path: &Path, latencies: &Latencies) -> io::Result<()> {
    fs::write(path, to_hlog(latencies, SystemTime::now())?)
}

fn to_hgrm(latencies: &Latencies) -> String {
    let histogram = latencies.all();
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut row = |value: u64, quantile: f64, count: u64| {
        let inverse = if quantile < 1.0 { format!("{:.2}", 1.0 / (1.0 - quantile)) } else { String::new() };
        writeln!(text, "{value:>12}.000 {quantile:>2.12} {count:>10} {inverse:>14}")
            .expect("a String takes all");
    };
    let mut count = 0;
    for point in histogram.iter_quantiles(TICKS_PER_HALF) {
        count += point.count_since_last_iteration();
        row(point.value_iterated_to(), point.quantile_iterated_to(), count);
    }
    let (mean, deviation) = (histogram.mean(), histogram.stdev());
    text + &format!(
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n\
         #[Max     = {:12}.000, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        histogram.max(),
        histogram.len(),
        23,
        2048
    )
}

fn to_hlog(latencies: &Latencies, end: SystemTime) -> io::Result<Vec<u8>> {
    let intervals: Vec<_> = latencies.intervals().collect();
    let start = end - latencies.interval * intervals.len() as u32;
    let (mut out, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Logged with roadstead-bench, microseconds]")
        .with_start_time(start)
        .with_base_time(start);
    let mut log = builder.begin_log_with(&mut out, &mut serializer)?;
    for (index, interval) in intervals.iter().enumerate() {
        let at: Duration = latencies.interval * index as u32;
        log.write_histogram(interval, at, latencies.interval, None)
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::{
        Histogram,
        serialization::{
            Deserializer,
            interval_log::{IntervalLogIterator, LogEntry},
        },
    };

    use super::*;
    use crate::latency::Recorder;

    fn two_seconds() -> Latencies {
        let mut recorder = Recorder::new(0, Duration::from_secs(2));
        for millisecond in 1..=2000u64 {
            recorder.record((millisecond - 1) * 1_000_000, millisecond * 1000);
        }
        recorder.finish()
    }

    #[test]
    fn the_distribution_ends_with_all_values_and_the_largest() {
        let text = to_hgrm(&two_seconds());
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let fields: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(fields, ["2000.000", "1.000000000000", "2000"]);
        assert!(text.contains("Total count    =         2000"));
    }

    #[test]
    fn the_interval_log_is_read_back_by_its_own_reader() {
        let log = to_hlog(&two_seconds(), SystemTime::now()).unwrap();
        let counts: Vec<u64> = IntervalLogIterator::new(&log)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .map(|interval| {
                let bytes = base64_decode(interval.encoded_histogram());
                let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                read.len()
            })
            .collect();
        assert_eq!(counts, [1000, 1000]);
    }

    fn base64_decode(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let digits: Vec<u32> =
            text.bytes().filter(|byte| *byte != b'=').map(|byte| u32::from(value(byte))).collect();
        let mut bytes = Vec::new();
        for group in digits.chunks(4) {
            let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
            bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        bytes
    }
}
