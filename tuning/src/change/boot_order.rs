//! Which file will set a value at the next boot, whatever is written now.
//!
//! `systemd-sysctl` reads `*.conf` of several folders as one list sorted by name, a name in an earlier folder hiding
//! the same name in a later one; of lines that name a key the last wins, and any of them wins over a glob.
//! `sysctl --system` of procps, and an init without systemd, read the same list and `/etc/sysctl.conf` after it. Units
//! are read likewise, with drop-ins last.

use std::collections::BTreeMap;

use crate::host::{Facts, Host, Reading};

const SYSCTL_FOLDERS: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
/// What systemd reads only through a link to it.
const SYSCTL_CONF: &str = "/etc/sysctl.conf";
const UNIT_FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// A line that sets a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its file.
    pub path: String,
    /// Its number, from 1.
    pub number: usize,
    /// What it sets.
    pub value: String,
    /// The glob by which it names the key, if it does not name it itself.
    pub glob: Option<String>,
}

/// Whether these files are read at all: a container has no boot, unless it is like a machine and runs a systemd.
pub fn is_read(host: &Host, facts: &Facts) -> bool {
    facts.container.is_none() || host.read("/proc/1/comm").value().is_some_and(|name| name == "systemd")
}

/// The line that will set the file `path` of `/proc/sys` at boot, if any.
pub fn sysctl_line(host: &Host, path: &str) -> Option<Line> {
    let key = path.strip_prefix("/proc/sys/")?;
    let files = in_order(host, &SYSCTL_FOLDERS);
    let lines: Vec<Line> = files.iter().flat_map(|file| sysctl_lines(host, file, key)).collect();
    let named = lines.iter().rfind(|line| line.glob.is_none());
    // A line `-key` without a value takes the key out of every glob, and sets nothing.
    let is_spared = || files.iter().any(|file| spares(host, file, key));
    let last = named.or_else(|| lines.last().filter(|_| !is_spared()));
    last.cloned()
}

/// The line of `/etc/sysctl.conf` that sets it after all other files whenever `sysctl --system` or an init without
/// systemd reads them; `None` too where systemd reads that file itself, through a link.
pub fn sysctl_conf_line(host: &Host, path: &str) -> Option<Line> {
    let key = path.strip_prefix("/proc/sys/")?;
    let conf = host.path(SYSCTL_CONF).canonicalize().ok()?;
    let is_linked = |file: &String| host.path(file).canonicalize().is_ok_and(|target| target == conf);
    if in_order(host, &SYSCTL_FOLDERS).iter().any(is_linked) {
        return None;
    }
    sysctl_lines(host, SYSCTL_CONF, key).pop()
}

/// The line of a service's unit or drop-ins that sets `name`, such as `LimitNOFILE`.
pub fn unit_line(host: &Host, unit: &str, name: &str) -> Option<Line> {
    let main = UNIT_FOLDERS.iter().map(|folder| format!("{folder}/{unit}"));
    let main = main.filter_map(|file| last_line(host, &file, |key| key.trim() == name)).next();
    let folders = UNIT_FOLDERS.map(|folder| format!("{folder}/{unit}.d"));
    let drop_ins = in_order(host, &folders.each_ref().map(String::as_str));
    let last = drop_ins.iter().rev().find_map(|file| last_line(host, file, |key| key.trim() == name));
    last.or(main)
}

/// The `*.conf` of the folders in the order in which they are read.
fn in_order(host: &Host, folders: &[&str]) -> Vec<String> {
    let mut files = BTreeMap::new();
    for folder in folders {
        for name in host.names(folder).into_iter().filter(|name| name.ends_with(".conf")) {
            files.entry(name.clone()).or_insert_with(|| format!("{folder}/{name}"));
        }
    }
    files.into_values().collect()
}

/// A file's lines that set the key, by its name or by a glob.
fn sysctl_lines(host: &Host, file: &str, key: &str) -> Vec<Line> {
    let lines = assignments(host, file).into_iter().filter_map(|(number, name, value)| {
        let name = normalised(&name);
        let value = value?;
        let is_glob = name.contains(['*', '?', '[']);
        let is_meant = if is_glob { matches(&name, key) } else { name == key };
        let glob = is_glob.then_some(name);
        is_meant.then(|| Line { path: file.to_owned(), number, value, glob })
    });
    lines.collect()
}

/// Whether a file takes the key out of globs.
fn spares(host: &Host, file: &str, key: &str) -> bool {
    let mut lines = assignments(host, file).into_iter();
    lines.any(|(_, name, value)| value.is_none() && name.starts_with('-') && normalised(&name) == key)
}

fn last_line(host: &Host, path: &str, is_key: impl Fn(&str) -> bool) -> Option<Line> {
    let lines = assignments(host, path).into_iter().filter_map(|(number, name, value)| {
        let value = value.filter(|_| is_key(&name))?;
        Some(Line { path: path.to_owned(), number, value, glob: None })
    });
    lines.last()
}

/// The lines of a file that are no comments: number, name, and value if there is a `=`.
fn assignments(host: &Host, path: &str) -> Vec<(usize, String, Option<String>)> {
    let Reading::Value(text) = host.read_raw(path) else { return Vec::new() };
    let lines = text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        let is_comment = line.starts_with(['#', ';']);
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.split_whitespace().collect::<Vec<_>>().join(" "))),
            None => (line, None),
        };
        (!is_comment && !line.is_empty()).then(|| (index + 1, name.trim().to_owned(), value))
    });
    lines.collect()
}

/// A key as a path below `/proc/sys`: of the two separators, the one that comes first in it separates (sysctl.d(5)).
fn normalised(name: &str) -> String {
    let name = name.trim_start_matches('-').trim();
    match name.find(['.', '/']).map(|place| name.as_bytes()[place]) {
        Some(b'.') => name
            .chars()
            .map(|sign| {
                if sign == '.' {
                    '/'
                } else if sign == '/' {
                    '.'
                } else {
                    sign
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// Whether a glob matches, part by part; what it cannot match is a `/`.
fn matches(glob: &str, key: &str) -> bool {
    let (globs, keys) = (glob.split('/'), key.split('/'));
    globs.clone().count() == keys.clone().count()
        && globs.zip(keys).all(|(glob, key)| {
            matches_part(&glob.chars().collect::<Vec<_>>(), &key.chars().collect::<Vec<_>>())
        })
}

fn matches_part(glob: &[char], key: &[char]) -> bool {
    match (glob, key) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=key.len()).any(|taken| matches_part(rest, &key[taken..])),
        (['?', rest @ ..], [_, later @ ..]) => matches_part(rest, later),
        (['[', set @ ..], [sign, later @ ..]) => {
            let Some(end) = set.iter().position(|sign| *sign == ']') else { return false };
            is_in_set(&set[..end], *sign) && matches_part(&set[end + 1..], later)
        }
        ([first, rest @ ..], [sign, later @ ..]) => first == sign && matches_part(rest, later),
        (_, _) => false,
    }
}

/// `[abc]`, `[a-z]`, `[!a]`
fn is_in_set(set: &[char], sign: char) -> bool {
    let (is_negated, set) = match set {
        ['!' | '^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut is_found = set.contains(&sign);
    for range in set.windows(3).filter(|range| range[1] == '-') {
        is_found |= (range[0]..=range[2]).contains(&sign);
    }
    is_found != is_negated
}

#[cfg(test)]
mod tests {
    use super::{matches, normalised};

    #[test]
    fn a_glob_matches_within_a_part_and_not_beyond() {
        let key = "net/core/somaxconn";
        for glob in
            ["net/core/somax*", "net/*/somaxconn", "net/core/so?axconn", "net/core/[r-t]omaxconn", "*/*/*"]
        {
            assert!(matches(glob, key), "{glob}");
        }
        for glob in
            ["net/*", "net/core/somax", "net/core/[!s]omaxconn", "net/core/somaxconn?", "*", "net/core/[s"]
        {
            assert!(!matches(glob, key), "{glob}");
        }
    }

    #[test]
    fn the_first_separator_of_a_key_separates() {
        assert_eq!(normalised("net.ipv4.conf.eth0/100.rp_filter"), "net/ipv4/conf/eth0.100/rp_filter");
        assert_eq!(normalised("-net/ipv4/conf/eth0.100/rp_filter"), "net/ipv4/conf/eth0.100/rp_filter");
    }
}
