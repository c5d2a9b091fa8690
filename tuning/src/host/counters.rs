//! What the kernel counts: numbers that only rise, of which a difference says what happens now.
//!
//! Levels, such as how full a table is, are no counters; `watch::signals` reads them.

use std::{collections::BTreeMap, time::Instant};

use super::{Host, Reading, Subject, cgroup};

/// Every counter that could be read at one moment, by a name such as `TcpExt.ListenOverflows`.
#[derive(Clone, Debug)]
pub struct Counters {
    taken: Instant,
    values: BTreeMap<String, u64>,
}

impl Counters {
    /// Reads every counter; what is not there is left out.
    pub fn read(host: &Host) -> Self {
        let mut counters = Self { taken: Instant::now(), values: BTreeMap::new() };
        for file in ["netstat", "snmp"] {
            if let Reading::Value(text) = host.read_raw(&net_path(host, file)) {
                counters.add_pairs(&text);
            }
        }
        if let Reading::Value(text) = host.read_raw(&net_path(host, "softnet_stat")) {
            counters.add_columns("softnet", &text, &[(1, "dropped"), (2, "squeezed")]);
        }
        for (file, table) in [("stat/nf_conntrack", "conntrack"), ("stat/arp_cache", "neighbours")] {
            if let Reading::Value(text) = host.read_raw(&net_path(host, file)) {
                counters.add_table(table, &text);
            }
        }
        counters.add_group(host, "memory", "memory.events");
        counters.add_group(host, "cpu", "cpu.stat");
        counters
    }

    /// One counter.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.values.get(name).copied()
    }

    /// How much a counter has grown; nothing where it was not there, or began anew.
    pub fn growth_since(&self, earlier: &Self, name: &str) -> u64 {
        let pair = self.get(name).zip(earlier.get(name));
        pair.map_or(0, |(now, then)| now.saturating_sub(then))
    }

    /// The time between the two, never none.
    pub fn seconds_since(&self, earlier: &Self) -> f64 {
        self.taken.saturating_duration_since(earlier.taken).as_secs_f64().max(0.001)
    }

    /// Rows in pairs: names, then values, both begun with the same word.
    fn add_pairs(&mut self, text: &str) {
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (mut names, mut values) = (names.split_whitespace(), values.split_whitespace());
            let (Some(area), Some(_)) = (names.next(), values.next()) else { continue };
            for (name, value) in names.zip(values) {
                if let Ok(value) = value.parse() {
                    self.values.insert(format!("{}.{name}", area.trim_end_matches(':')), value);
                }
            }
        }
    }

    /// A row per processor, hexadecimal columns without names.
    fn add_columns(&mut self, area: &str, text: &str, columns: &[(usize, &str)]) {
        for row in text.lines() {
            for (index, name) in columns {
                let field = row.split_whitespace().nth(*index);
                if let Some(count) = field.and_then(|field| u64::from_str_radix(field, 16).ok()) {
                    *self.values.entry(format!("{area}.{name}")).or_default() += count;
                }
            }
        }
    }

    /// The same below a row of names.
    fn add_table(&mut self, area: &str, text: &str) {
        let Some((names, rows)) = text.split_once('\n') else { return };
        let columns: Vec<(usize, &str)> = names.split_whitespace().enumerate().collect();
        self.add_columns(area, rows, &columns);
    }

    /// A control group's file of names and values; of ours, where what happens to its children counts as well.
    fn add_group(&mut self, host: &Host, controller: &str, file: &str) {
        let Some(folder) = cgroup::folders(host, controller).into_iter().next() else { return };
        let Reading::Value(text) = host.read_raw(&format!("{folder}/{file}")) else { return };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse)) {
                self.values.insert(format!("{controller}.{name}"), value);
            }
        }
    }
}

/// Where a file of `/proc/net` lies for the process that counts, whose network namespace may be another than ours.
pub fn net_path(host: &Host, file: &str) -> String {
    let ours = match host.subject() {
        Subject::Server(pid) => format!("/proc/{pid}/net/{file}"),
        Subject::Ourselves | Subject::Shell(_) => format!("/proc/thread-self/net/{file}"),
    };
    match host.read_raw(&ours) {
        Reading::Value(_) => ours,
        Reading::Missing | Reading::Unreadable(_) => format!("/proc/net/{file}"),
    }
}
