//! The page: a table of the runs, then a chart for each question.

use super::{
    plot::{Axis, Line, Scale, draw, number},
    run::{Memory, Run},
};

const STYLE: &str = include_str!("page.css");
const SECONDS: Axis = Axis { scale: Scale::Linear, title: "seconds since measuring began" };
const MICROSECONDS: Axis = Axis { scale: Scale::Logarithmic, title: "latency, µs" };

/// The whole page.
pub fn render(runs: &[Run]) -> String {
    let names: Vec<String> = runs.iter().map(|run| escape(&run.name)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{}</h1>\n\
         <p>Measured with roadstead-bench {}. Open-loop latencies count from the time a message was meant to be \
         sent.</p>\n{}{}{}{}{}{}{}</body>\n</html>\n",
        names.join(", "),
        names.join(" · "),
        env!("CARGO_PKG_VERSION"),
        table(runs),
        notes(runs),
        section("Latency by percentile", "The right end is the slowest message of all.", &percentiles(runs)),
        section(
            "Latency over time",
            "The thick line is the 99th percentile, the thin one the median.",
            &over_time(runs)
        ),
        section("Throughput", "Replies or deliveries per second.", &throughput(runs)),
        section(
            "Memory per connection",
            "User and kernel memory are apart: the one is the program's doing, the other the kernel's, for both ends. A run \
             without a bar had too few connections for its memory to stand out from what wanders by itself.",
            &memory(runs)
        ),
        origins(runs),
    )
}

fn section(title: &str, text: &str, chart: &str) -> String {
    if chart.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>{title}</h2>\n<p>{text}</p>\n{chart}</section>\n")
}

fn table(runs: &[Run]) -> String {
    let mut rows = String::new();
    for (index, run) in runs.iter().enumerate() {
        let some = |value: Option<f64>| value.map_or("–".to_owned(), number);
        let verdict = match run.verdict.valid {
            true => "<span class=\"good\">valid</span>",
            false => "<span class=\"bad\">INVALID</span>",
        };
        let latency = &run.latency;
        let cells = [
            some(run.asked()),
            some(run.achieved()),
            number(latency.p50_us as f64),
            some(latency.p99_us.map(|us| us as f64)),
            some(latency.p999_us.map(|us| us as f64)),
            number(latency.max_us as f64),
            run.server.and_then(|cpu| cpu.us_per_message).map_or("–".to_owned(), |us| format!("{us:.2}")),
            run.server.map_or("–".to_owned(), |cpu| format!("{:.2}", cpu.cores)),
            run.client.map_or("–".to_owned(), |cpu| format!("{:.2}", cpu.cores)),
        ];
        rows += &format!(
            "<tr><td class=\"key\"><svg viewBox=\"0 0 40 10\"><path class=\"line s{index}\" d=\"M0 5H40\"/></svg>{}</td>\
             <td class=\"text\">{}</td><td class=\"text\">{}</td><td class=\"text\">{verdict}</td>{}</tr>\n",
            escape(&run.name),
            escape(&run.scenario),
            escape(run.load.as_deref().unwrap_or("–")),
            cells.map(|cell| format!("<td>{cell}</td>")).concat()
        );
    }
    format!(
        "<div class=\"wide\"><table>\n<tr><th>run</th><th class=\"text\">scenario</th><th class=\"text\">loop</th>\
         <th class=\"text\">verdict</th><th>asked/s</th><th>achieved/s</th><th>p50 µs</th><th>p99 µs</th>\
         <th>p99.9 µs</th><th>max µs</th><th>server µs/msg</th><th>server cores</th><th>client cores</th></tr>\n\
         {rows}</table></div>\n"
    )
}

fn notes(runs: &[Run]) -> String {
    let mut items = String::new();
    for run in runs {
        for reason in &run.verdict.reasons {
            items += &format!(
                "<li><span class=\"bad\">{}: invalid:</span> {}</li>\n",
                escape(&run.name),
                escape(reason)
            );
        }
        for warning in &run.verdict.warnings {
            items += &format!("<li>{}: {}</li>\n", escape(&run.name), escape(warning));
        }
    }
    if items.is_empty() { items } else { format!("<ul class=\"notes\">\n{items}</ul>\n") }
}

/// When, where and how each run was made.
fn origins(runs: &[Run]) -> String {
    let item = |run: &Run| {
        let origin = run.origin.as_ref()?;
        let place = [&origin.date, &origin.machine, &origin.kernel, &origin.version]
            .map(|text| escape(text))
            .join(", ");
        Some(format!("<li>{}: {place}<br><code>{}</code></li>\n", escape(&run.name), escape(&origin.command)))
    };
    let items: String = runs.iter().filter_map(item).collect();
    if items.is_empty() {
        items
    } else {
        format!("<section>\n<h2>Origin</h2>\n<ul class=\"notes\">\n{items}</ul>\n</section>\n")
    }
}

fn percentiles(runs: &[Run]) -> String {
    let lines: Vec<Line> = runs
        .iter()
        .enumerate()
        .map(|(run, result)| Line {
            run,
            is_faint: false,
            points: result
                .percentiles
                .iter()
                .map(|(percentile, us)| (percentile.min(last(result)), *us as f64))
                .collect(),
        })
        .collect();
    draw(Axis { scale: Scale::Percentile, title: "percentile" }, MICROSECONDS, &lines)
}

/// The percentile of the slowest message: among a thousand there is no 99.99th percentile.
fn last(run: &Run) -> f64 {
    100.0 - 100.0 / run.latency.count.max(2) as f64
}

fn over_time(runs: &[Run]) -> String {
    let lines: Vec<Line> = runs
        .iter()
        .enumerate()
        .flat_map(|(run, result)| {
            let line = |is_faint, value: fn(&crate::latency::Interval) -> u64| Line {
                run,
                is_faint,
                points: result
                    .timeline
                    .iter()
                    .filter(|interval| interval.per_second > 0.0)
                    .map(|interval| (interval.seconds, value(interval) as f64))
                    .collect(),
            };
            [line(false, |interval| interval.p99_us), line(true, |interval| interval.p50_us)]
        })
        .collect();
    draw(SECONDS, MICROSECONDS, &lines)
}

fn throughput(runs: &[Run]) -> String {
    // The last interval is left out if the run ended within it: its rate would be that of its part.
    let points = |run: &Run| {
        let length = run.timeline.get(1).map_or(1.0, |second| second.seconds);
        let whole = run.timeline.iter().filter(|interval| interval.seconds + length <= run.seconds * 1.02);
        whole.map(|interval| (interval.seconds, interval.per_second)).collect()
    };
    let lines: Vec<Line> = runs
        .iter()
        .enumerate()
        .map(|(index, run)| Line { run: index, is_faint: false, points: points(run) })
        .collect();
    draw(SECONDS, Axis { scale: Scale::Linear, title: "per second" }, &lines)
}

/// Bars, a group for each kind of memory.
fn memory(runs: &[Run]) -> String {
    type Kind = fn(&Memory) -> Option<f64>;
    let kinds: [(&str, Kind); 3] = [
        ("server, user memory", |memory| memory.server_rss_bytes),
        ("kernel slab, both ends", |memory| memory.kernel_slab_bytes),
        ("load generator, user memory", |memory| memory.client_anonymous_bytes),
    ];
    let mut bars = String::new();
    let mut y = 18.0;
    for (title, value) in kinds {
        let values: Vec<(usize, f64)> = runs
            .iter()
            .enumerate()
            .filter_map(|(index, run)| Some((index, value(&run.memory()?)?)))
            .collect();
        // Each kind has its own scale: the kernel's bytes would make the server's vanish.
        let largest = values.iter().map(|(_, bytes)| *bytes).fold(1.0, f64::max);
        if values.is_empty() {
            continue;
        }
        bars += &format!("<text class=\"title\" x=\"0\" y=\"{y}\">{title}</text>\n");
        for (index, bytes) in values {
            let width = 560.0 * (bytes / largest).max(0.0);
            bars += &format!(
                "<rect class=\"bar b{index}\" x=\"0\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" rx=\"2\"/>\
                 <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{bytes:.0} B, {}</text>\n",
                y + 6.0,
                width + 8.0,
                y + 17.5,
                escape(&runs[index].name)
            );
            y += 20.0;
        }
        y += 30.0;
    }
    if bars.is_empty() { bars } else { format!("<svg viewBox=\"0 0 860 {y}\" role=\"img\">\n{bars}</svg>\n") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, valid: bool) -> Run {
        let json = format!(
            r#"{{"scenario":"echo","load":"open","per_second":10.0,"per_second_asked":10.0,
                "verdict":{{"valid":{valid},"reasons":["late <b>"],"warnings":[]}},
                "origin":{{"date":"2026-01-02","machine":"m","kernel":"k","version":"v","command":"bench <x>"}},
                "seconds":2.0,"latency":{{"count":100,"mean_us":1.0,"p50_us":1,"p90_us":2,"p99_us":3,"p999_us":4,"max_us":5}},
                "percentiles":[[0.0,1],[99.0,3],[100.0,5]],
                "timeline":[{{"seconds":0.0,"per_second":9.0,"p50_us":1,"p99_us":3,"max_us":5}},
                            {{"seconds":1.0,"per_second":9.0,"p50_us":1,"p99_us":3,"max_us":5}}]}}"#
        );
        let mut run: Run = serde_json::from_str(&json).unwrap();
        run.name = name.to_owned();
        run
    }

    #[test]
    fn a_page_stands_alone_and_shows_every_run_and_every_doubt() {
        let page = render(&[run("a", true), run("b & c", false)]);
        assert!(page.contains("b &amp; c") && page.contains("INVALID") && page.contains("late &lt;b&gt;"));
        for foreign in ["http://", "https://", "<script", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<section>").count(), 4, "no chart without values; the origins");
        assert!(page.contains("2026-01-02, m, k, v<br><code>bench &lt;x&gt;</code>"));
        assert!(page.contains("line s1"));
    }
}
