//! The text format of Prometheus (version 0.0.4), which every scraper reads, made of OpenMetrics.
//!
//! The two say the same samples and differ in what stands above them: here a counter is declared by the name of its
//! samples, with `_total`; information is a gauge; and there are no units and no end mark.

use std::fmt::Write;

use rustc_hash::FxHashMap;

/// The media type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes OpenMetrics text in the other format.
pub fn plain(openmetrics: &str) -> String {
    let declared = openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let kinds: FxHashMap<_, _> = declared.collect();
    let suffix = |name| match kinds.get(name) {
        Some(&"counter") => "_total",
        Some(&"info") => "_info",
        _ => "",
    };
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let above =
            ["# HELP ", "# TYPE "].into_iter().find_map(|word| Some((word, line.strip_prefix(word)?)));
        match above.and_then(|(word, rest)| Some((word, rest.split_once(' ')?))) {
            Some((word, (name, rest))) => {
                let rest = if (word, rest) == ("# TYPE ", "info") { "gauge" } else { rest };
                writeln!(text, "{word}{name}{} {rest}", suffix(name))
                    .expect("writing to a String cannot fail");
            }
            None if line.starts_with('#') => {}
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stay_and_what_stands_above_them_is_declared_by_their_names() {
        let openmetrics = "# HELP sent_bytes Bytes sent.\n# TYPE sent_bytes counter\n# UNIT sent_bytes bytes\n\
                           sent_bytes_total{shard=\"0\"} 5\n\
                           # HELP build The version.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
                           # HELP open Open.\n# TYPE open gauge\nopen 3\n\
                           # HELP turn_seconds T.\n# TYPE turn_seconds histogram\nturn_seconds_sum 1\n# EOF\n";
        let expected = "# HELP sent_bytes_total Bytes sent.\n# TYPE sent_bytes_total counter\n\
                        sent_bytes_total{shard=\"0\"} 5\n\
                        # HELP build_info The version.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
                        # HELP open Open.\n# TYPE open gauge\nopen 3\n\
                        # HELP turn_seconds T.\n# TYPE turn_seconds histogram\nturn_seconds_sum 1\n";
        assert_eq!(plain(openmetrics), expected);
    }
}
