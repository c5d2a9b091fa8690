//! Files that set the same values at every boot: sysctl.d, a drop-in for the service, tmpfiles.d for `/sys`.

use crate::{
    render::{self, Assignment},
    setting::Scene,
};

/// Read after the distribution's files and before an administrator's `99-…`.
pub const SYSCTL_FILE: &str = "/etc/sysctl.d/90-roadstead.conf";
/// Limits of the service.
pub const DROP_IN_FILE: &str = "/etc/systemd/system/roadstead.service.d/90-limits.conf";
/// `/sys` is set by systemd-tmpfiles, the only part of a stock system that writes there from a list.
pub const TMPFILES_FILE: &str = "/etc/tmpfiles.d/roadstead-tune.conf";

/// The unit whose limits are persisted.
pub const UNIT: &str = "roadstead.service";

/// Each file and its text; a file without a line is left out.
pub fn files(scene: &Scene<'_>) -> Vec<(&'static str, String)> {
    let assignments = render::assignments(scene);
    let mut files = Vec::new();
    if assignments.iter().any(|assignment| assignment.sysctl_name().is_some()) {
        files.push((SYSCTL_FILE, render::sysctl(scene)));
    }
    files.push((DROP_IN_FILE, drop_in(scene)));
    let sysfs: Vec<&Assignment> = assignments.iter().filter(|one| one.path.starts_with("/sys/")).collect();
    if !sysfs.is_empty() {
        let lines = sysfs.iter().map(|one| format!("# {}\nw {} - - - - {}\n", one.why, one.path, one.value));
        files.push((TMPFILES_FILE, lines.collect()));
    }
    files
}

fn drop_in(scene: &Scene<'_>) -> String {
    let nofile = crate::rules::descriptors_for(scene.goal.target);
    format!(
        "# Written by `roadstead tune apply --persist` for {} connections.\n[Service]\nLimitNOFILE={nofile}\nLimitMEMLOCK={}K\n",
        scene.goal.target,
        crate::rules::locked_bytes_for(scene) >> 10,
    )
}
