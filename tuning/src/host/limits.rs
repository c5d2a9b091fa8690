//! A process's limits, as `/proc/PID/limits` prints them.
//!
//! Not the system-wide limits: those are sysctls.

use super::{Host, Reading};

/// A limit's two values; `u64::MAX` stands for "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds now; a process may raise it as far as `hard`.
    pub soft: u64,
    /// What only a process with `CAP_SYS_RESOURCE` may raise.
    pub hard: u64,
}

/// The row `name` ("Max open files") of the limits of the process in `folder` (`/proc/self`).
pub fn limit(host: &Host, folder: &str, name: &str) -> Reading<Limit> {
    host.read_raw(&format!("{folder}/limits")).and_then(|text| {
        let row = text.lines().find_map(|line| line.strip_prefix(name));
        let row = row.ok_or_else(|| format!("no row `{name}`"))?;
        let mut fields = row.split_whitespace().map(number);
        match (fields.next().flatten(), fields.next().flatten()) {
            (Some(soft), Some(hard)) => Ok(Limit { soft, hard }),
            _ => Err(format!("row `{name}` holds `{}`", row.trim())),
        }
    })
}

fn number(field: &str) -> Option<u64> {
    if field == "unlimited" { Some(u64::MAX) } else { field.parse().ok() }
}
