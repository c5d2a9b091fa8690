//! Which file will set a value at the next boot, whatever is written now.
//!
//! `systemd-sysctl` reads `*.conf` of several folders as one list sorted by name, a name in an earlier folder hiding
//! the same name in a later one; the last line wins. Units are read likewise, with drop-ins last.

use std::collections::BTreeMap;

use crate::host::{Host, Reading};

const SYSCTL_FOLDERS: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];
const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"];

/// A line that sets a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its file.
    pub path: String,
    /// Its number, from 1.
    pub number: usize,
    /// What it sets.
    pub value: String,
}

/// The line that will set the file `path` of `/proc/sys` at boot, if any.
pub fn sysctl_line(host: &Host, path: &str) -> Option<Line> {
    let key = path.strip_prefix("/proc/sys/")?;
    let mut files = BTreeMap::new();
    for folder in SYSCTL_FOLDERS {
        for name in host.names(folder).into_iter().filter(|name| name.ends_with(".conf")) {
            files.entry(name.clone()).or_insert_with(|| format!("{folder}/{name}"));
        }
    }
    let is_key = |name: &str| name.trim().trim_start_matches('-').replace('.', "/") == key;
    files.into_values().rev().find_map(|file| last_line(host, &file, is_key))
}

/// The line of a service's unit or drop-ins that sets `name`, such as `LimitNOFILE`.
pub fn unit_line(host: &Host, unit: &str, name: &str) -> Option<Line> {
    let main = UNIT_FOLDERS.iter().map(|folder| format!("{folder}/{unit}"));
    let main = main.filter_map(|file| last_line(host, &file, |key| key.trim() == name)).next();
    let mut drop_ins = BTreeMap::new();
    for folder in UNIT_FOLDERS {
        let folder = format!("{folder}/{unit}.d");
        for file in host.names(&folder).into_iter().filter(|file| file.ends_with(".conf")) {
            drop_ins.entry(file.clone()).or_insert_with(|| format!("{folder}/{file}"));
        }
    }
    let last = drop_ins.into_values().rev().find_map(|file| last_line(host, &file, |key| key.trim() == name));
    last.or(main)
}

fn last_line(host: &Host, path: &str, is_key: impl Fn(&str) -> bool) -> Option<Line> {
    let Reading::Value(text) = host.read_raw(path) else { return None };
    let lines = text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        let is_comment = line.starts_with(['#', ';']);
        let (key, value) = line.split_once('=').filter(|_| !is_comment)?;
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        is_key(key).then(|| Line { path: path.to_owned(), number: index + 1, value })
    });
    lines.last()
}
