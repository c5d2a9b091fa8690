//! The control-group files that bind a process, for both versions of the hierarchy.
//!
//! A limit binds through every ancestor, so the least one on the way up is what counts. Inside a container the
//! hierarchy usually begins at the container's own group, and what binds it from above cannot be seen.

use super::{Host, Reading};

/// One limit found on the way up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The file that holds it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Where controller `name`'s files of our process lie, from the process's own group up to the root.
pub fn folders(host: &Host, controller: &str) -> Vec<String> {
    let Reading::Value(groups) = host.read_raw(&format!("{}/cgroup", host.process_folder())) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let is_unified = controllers.is_empty();
        if !is_unified && !controllers.split(',').any(|name| name == controller) {
            continue;
        }
        let base =
            if is_unified { "/sys/fs/cgroup".to_owned() } else { format!("/sys/fs/cgroup/{controller}") };
        found.extend(upwards(&base, group));
    }
    found
}

/// The texts of `unified` (version 2) or `legacy` (version 1), nearest group first.
pub fn bounds(host: &Host, controller: &str, unified: &str, legacy: &str) -> Vec<Bound> {
    let mut bounds = Vec::new();
    for folder in folders(host, controller) {
        for name in [unified, legacy] {
            let path = format!("{folder}/{name}");
            if let Reading::Value(text) = host.read(&path) {
                bounds.push(Bound { path, text });
            }
        }
    }
    bounds
}

fn upwards(base: &str, group: &str) -> Vec<String> {
    let mut folders = Vec::new();
    let mut group = group.trim_end_matches('/');
    loop {
        folders.push(format!("{base}{group}"));
        match group.rsplit_once('/') {
            Some((parent, _)) => group = parent,
            None => return folders,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::upwards;

    #[test]
    fn a_group_is_bound_by_every_ancestor_and_the_root() {
        assert_eq!(upwards("/c", "/a/b"), ["/c/a/b", "/c/a", "/c"]);
        assert_eq!(upwards("/c", "/"), ["/c"]);
    }
}
