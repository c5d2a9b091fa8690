//! Files that set the same values at every boot: sysctl.d, modules-load.d for what a module brings, a drop-in for the
//! service, tmpfiles.d for `/sys`.
//!
//! Where only some settings are named, only theirs are written; what an earlier apply wrote of others stays.

use crate::{
    host::{Host, Reading},
    render::{self, Assignment},
    setting::Scene,
};

/// Read after the distribution's files and before an administrator's `99-…`.
pub const SYSCTL_FILE: &str = "/etc/sysctl.d/90-roadstead.conf";
/// Limits of the service.
pub const DROP_IN_FILE: &str = "/etc/systemd/system/roadstead.service.d/90-limits.conf";
/// `/sys` is set by systemd-tmpfiles, the only part of a stock system that writes there from a list.
pub const TMPFILES_FILE: &str = "/etc/tmpfiles.d/roadstead-tune.conf";
/// Read before sysctl.d: a key of a module exists only once the module is loaded.
pub const MODULES_FILE: &str = "/etc/modules-load.d/90-roadstead.conf";

/// The unit whose limits are persisted.
pub const UNIT: &str = "roadstead.service";

/// Each file and its text; a file without a line is left out.
pub fn files(scene: &Scene<'_>, only: &[String]) -> Vec<(&'static str, String)> {
    let assignments = render::assignments(scene, only);
    let all = [
        (SYSCTL_FILE, sysctls(&assignments)),
        (MODULES_FILE, modules(&assignments)),
        (DROP_IN_FILE, limits(scene, only)),
        (TMPFILES_FILE, sysfs(&assignments)),
    ];
    let due = all.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    due.map(|(path, blocks)| (path, text(scene, path, blocks, !only.is_empty()))).collect()
}

/// A line, what it is about, and why it is there.
struct Block {
    key: String,
    line: String,
    why: String,
}

fn sysctls(assignments: &[Assignment]) -> Vec<Block> {
    let named = assignments.iter().filter_map(|one| Some((one.sysctl_name()?, one)));
    let block = |(name, one): (String, &Assignment)| Block {
        line: format!("{name} = {}", one.value),
        why: format!("{}: {}", one.id, one.why),
        key: name,
    };
    named.map(block).collect()
}

fn modules(assignments: &[Assignment]) -> Vec<Block> {
    let mut names: Vec<&str> = assignments.iter().filter_map(Assignment::module).collect();
    names.dedup();
    let why = "Its sysctls exist only once it is loaded, which must be before sysctl.d is read.";
    names
        .into_iter()
        .map(|name| Block { key: name.to_owned(), line: name.to_owned(), why: why.to_owned() })
        .collect()
}

fn limits(scene: &Scene<'_>, only: &[String]) -> Vec<Block> {
    let is_due = |id: &str| only.is_empty() || only.iter().any(|named| named == id);
    let nofile = crate::rules::descriptors_for(scene.goal.target).to_string();
    let memlock = format!("{}K", crate::rules::locked_bytes_for(scene) >> 10);
    let both = [("nofile", "LimitNOFILE", nofile), ("memlock", "LimitMEMLOCK", memlock)];
    let due = both.into_iter().filter(|(id, _, _)| is_due(id));
    due.map(|(id, key, value)| Block {
        key: key.to_owned(),
        line: format!("{key}={value}"),
        why: id.to_owned(),
    })
    .collect()
}

fn sysfs(assignments: &[Assignment]) -> Vec<Block> {
    let of_sys = assignments.iter().filter(|one| one.path.starts_with("/sys/"));
    let block = |one: &Assignment| Block {
        key: one.path.clone(),
        line: format!("w {} - - - - {}", one.path, one.value),
        why: format!("{}: {}", one.id, one.why),
    };
    of_sys.map(block).collect()
}

/// The file's text, with what is kept of the one that is there.
fn text(scene: &Scene<'_>, path: &str, blocks: Vec<Block>, keeps: bool) -> String {
    let target = scene.goal.target;
    let mut text = format!("# Written by `roadstead tune apply --persist` for {target} connections.\n");
    if path == DROP_IN_FILE {
        text += "[Service]\n";
    }
    let kept = if keeps { kept(scene.host, path, &blocks) } else { Vec::new() };
    for Block { line, why, .. } in kept.iter().chain(&blocks) {
        text += &format!("# {why}\n{line}\n");
    }
    text
}

/// The lines of our own file that are about something else.
fn kept(host: &Host, path: &str, new: &[Block]) -> Vec<Block> {
    let Reading::Value(text) = host.read_raw(path) else { return Vec::new() };
    let mut kept = Vec::new();
    let mut why = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            comment.trim().clone_into(&mut why);
        } else if !line.is_empty() && !line.starts_with('[') {
            let key = key_of(line).to_owned();
            if new.iter().all(|block| block.key != key) {
                kept.push(Block { key, line: line.to_owned(), why: std::mem::take(&mut why) });
            }
        }
    }
    kept
}

/// `a = 1`, `LimitA=1`, `w /sys/a - - - - 1`, `module`
fn key_of(line: &str) -> &str {
    let line = line.strip_prefix("w ").unwrap_or(line);
    line.split(['=', ' ']).next().unwrap_or(line)
}
