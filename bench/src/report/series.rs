//! A result for other tools: the time series as CSV, the figures as an OpenMetrics file (for the textfile collector of
//! Prometheus's node exporter, for instance).

use std::{fmt::Write as _, fs, io, path::Path};

use serde_json::Value;

use crate::{latency::Latencies, trial::condition::Figure};

/// Writes the time series.
pub fn write_csv(path: &Path, latencies: &Latencies) -> io::Result<()> {
    fs::write(path, to_csv(latencies))
}

/// Writes the figures.
pub fn write_openmetrics(path: &Path, result: &Value) -> io::Result<()> {
    fs::write(path, to_openmetrics(result))
}

fn to_csv(latencies: &Latencies) -> String {
    let mut text = "seconds,per_second,p50_us,p99_us,max_us\n".to_owned();
    for interval in latencies.timeline() {
        let (p50, p99, max) = (interval.p50_us, interval.p99_us, interval.max_us);
        writeln!(text, "{},{},{p50},{p99},{max}", interval.seconds, interval.per_second)
            .expect("a String takes all");
    }
    text
}

/// Times in seconds, as OpenMetrics wants them.
fn to_openmetrics(result: &Value) -> String {
    let label =
        |name: &str, value: &Value| format!("{name}=\"{}\"", escape(value.as_str().unwrap_or_default()));
    let labels = format!("{},{}", label("scenario", &result["scenario"]), label("url", &result["url"]));
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, unit: &str, lines: Vec<(String, f64)>| {
        if lines.is_empty() {
            return;
        }
        let unit = if unit.is_empty() { String::new() } else { format!("# UNIT {name} {unit}\n") };
        text += &format!("# TYPE {name} {kind}\n{unit}");
        for (rest, value) in lines {
            writeln!(text, "{name}{rest} {value}").expect("a String takes all");
        }
    };
    let quantiles =
        [("0.5", Figure::P50), ("0.9", Figure::P90), ("0.99", Figure::P99), ("0.999", Figure::P999)];
    let mut latency: Vec<_> = quantiles
        .iter()
        .filter_map(|(name, figure)| {
            Some((format!("{{{labels},quantile=\"{name}\"}}"), figure.of(result)? / 1e6))
        })
        .collect();
    if let Some(count) = result["latency"]["count"].as_f64() {
        let mean = result["latency"]["mean_us"].as_f64().filter(|mean| mean.is_finite()).unwrap_or_default();
        latency.push((format!("_sum{{{labels}}}"), mean * count / 1e6));
        latency.push((format!("_count{{{labels}}}"), count));
    }
    let plain =
        |value: Option<f64>| value.map(|value| (format!("{{{labels}}}"), value)).into_iter().collect();
    family("roadstead_bench_latency_seconds", "summary", "seconds", latency);
    family(
        "roadstead_bench_latency_max_seconds",
        "gauge",
        "seconds",
        plain(Figure::Max.of(result).map(|us| us / 1e6)),
    );
    family("roadstead_bench_per_second", "gauge", "", plain(Figure::Rate.of(result)));
    let cpu = Figure::Cpu.of(result).map(|us| us / 1e6);
    family("roadstead_bench_server_cpu_per_message_seconds", "gauge", "seconds", plain(cpu));
    family("roadstead_bench_lost", "gauge", "", plain(Figure::Lost.of(result)));
    family("roadstead_bench_wrong", "gauge", "", plain(Figure::Wrong.of(result)));
    let valid = result["verdict"]["valid"].as_bool().map(|valid| f64::from(u8::from(valid)));
    family("roadstead_bench_valid", "gauge", "", plain(valid));
    text + "# EOF\n"
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::latency::Recorder;

    #[test]
    fn a_line_of_csv_is_an_interval() {
        let mut recorder = Recorder::new(0, Duration::from_secs(2));
        recorder.record(1, 50_000);
        recorder.record(1_500_000_000, 70_000);
        let text = to_csv(&recorder.finish());
        assert_eq!(text, "seconds,per_second,p50_us,p99_us,max_us\n0,1,50,50,50\n1,1,70,70,70\n");
    }

    #[test]
    fn an_openmetrics_file_has_types_units_and_an_end() {
        let text = to_openmetrics(&serde_json::json!({
            "scenario": "echo", "url": "ws://h/\"x\"", "per_second": 10.5, "lost": 0, "wrong": 1,
            "latency": {"count": 1000, "mean_us": 2.0, "p50_us": 1, "p90_us": 2, "p99_us": 3000, "p999_us": null, "max_us": 5000},
            "verdict": {"valid": true}, "server": null
        }));
        assert!(text.starts_with(
            "# TYPE roadstead_bench_latency_seconds summary\n# UNIT roadstead_bench_latency_seconds seconds\n"
        ));
        let labels = "scenario=\"echo\",url=\"ws://h/\\\"x\\\"\"";
        for line in [
            &format!("roadstead_bench_latency_seconds{{{labels},quantile=\"0.99\"}} 0.003\n"),
            &format!("roadstead_bench_latency_seconds_sum{{{labels}}} 0.002\n"),
            &format!("roadstead_bench_latency_seconds_count{{{labels}}} 1000\n"),
            &format!("roadstead_bench_per_second{{{labels}}} 10.5\n"),
            &format!("roadstead_bench_valid{{{labels}}} 1\n"),
        ] {
            assert!(text.contains(line.as_str()), "{line}{text}");
        }
        assert!(text.ends_with("# EOF\n") && !text.contains("0.999") && !text.contains("cpu"));
    }
}
