//! The shell that a command was called from: what it starts later inherits its limits.

use crate::host::Host;

/// Programs between a shell and us that end with us.
const PASSING: [&str; 4] = ["sudo", "su", "doas", "env"];

/// The nearest ancestor that is not one of [`PASSING`]; `None` where `/proc` does not tell.
pub fn calling_shell(host: &Host) -> Option<u32> {
    let mut pid = std::os::unix::process::parent_id();
    // A chain of ancestors is short; the bound only guards against a /proc that lies.
    for _ in 0..16 {
        let name = host.read(&format!("/proc/{pid}/comm")).value().cloned()?;
        if !PASSING.contains(&name.as_str()) {
            return (pid > 1).then_some(pid);
        }
        pid = parent_of(host, pid)?;
    }
    None
}

fn parent_of(host: &Host, pid: u32) -> Option<u32> {
    let status = host.read_raw(&format!("/proc/{pid}/status")).value().cloned()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
