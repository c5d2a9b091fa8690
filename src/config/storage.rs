//! `[storage]`: what outlives the process. What each key means to an operator stands in `keys.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    auth::{Pattern, PatternError},
    config::Namespace,
    model::Durability,
};

/// `[storage]`: what outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The folder it is kept in.
    pub path: String,
    /// The channels that outlive the process.
    pub written: Vec<String>,
    /// Those of which nobody is told anything before it is on disk.
    pub synced: Vec<String>,
    /// Publications of each that are kept on disk; 0 for those that memory keeps.
    pub history_publications_max: u32,
}

/// Something about what is kept that cannot be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageProblem {
    /// Something is to be kept, and nowhere.
    NoPath(&'static str),
    /// The same of a namespace; counted from 1.
    NoPathFor(usize),
    /// A pattern that is none; counted from 1.
    Pattern(&'static str, usize, PatternError),
}

impl Storage {
    /// Which channels outlive the process, of a checked configuration. The first that fits counts.
    pub fn durables(&self) -> Vec<(Pattern, Durability)> {
        let lists = [(&self.synced, Durability::Synced), (&self.written, Durability::Written)];
        let all =
            lists.into_iter().flat_map(|(list, durability)| list.iter().zip(std::iter::repeat(durability)));
        let good = all.filter_map(|(text, durability)| {
            Pattern::without_subject(text).ok().map(|pattern| (pattern, durability))
        });
        good.collect()
    }

    /// Every problem of what is to be kept, with what these namespaces say of themselves.
    pub(super) fn problems(&self, namespaces: &[Namespace]) -> Vec<StorageProblem> {
        let mut problems = Vec::new();
        let lacking = namespaces.iter().zip(1..).filter(|(one, _)| self.path.is_empty() && one.outlives());
        problems.extend(lacking.map(|(_, number)| StorageProblem::NoPathFor(number)));
        for (name, list) in [("storage.written", &self.written), ("storage.synced", &self.synced)] {
            if self.path.is_empty() && !list.is_empty() {
                problems.push(StorageProblem::NoPath(name));
            }
            for (text, number) in list.iter().zip(1..) {
                let wrong = Pattern::without_subject(text).err();
                problems.extend(wrong.map(|error| StorageProblem::Pattern(name, number, error)));
            }
        }
        problems
    }
}

impl fmt::Display for StorageProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPath(name) => write!(
                f,
                "{name} names channels, and storage.path does not say where they are kept; name a folder \
                 (ROADSTEAD_STORAGE__PATH=/var/lib/roadstead)"
            ),
            Self::NoPathFor(number) => write!(
                f,
                "[[namespace]] number {number}: its channels are to outlive the process (durability), and storage.path does not \
                 say where they are kept; name a folder (ROADSTEAD_STORAGE__PATH=/var/lib/roadstead)"
            ),
            Self::Pattern(name, number, error) => write!(f, "{name}: pattern {number}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Lasting;

    #[test]
    fn what_is_to_be_kept_needs_a_folder_and_patterns_that_are_some() {
        let problems = |path: &str, written: &[&str]| {
            let written: Vec<String> = written.iter().map(|text| (*text).to_owned()).collect();
            let of = |written, synced| {
                Storage { path: path.into(), written, synced, ..Storage::default() }.problems(&[])
            };
            (of(written.clone(), vec![]), of(vec![], written))
        };
        let none = (vec![], vec![]);
        assert_eq!(problems("", &[]), none);
        assert_eq!(problems("/tmp/x", &["a:*", "**"]), none);
        let (written, synced) = problems("", &["a"]);
        let no_path = |name| vec![StorageProblem::NoPath(name)];
        assert_eq!((written, synced), (no_path("storage.written"), no_path("storage.synced")));
        let (written, synced) = problems("/tmp/x", &["a", "a*"]);
        assert!(matches!(written[..], [StorageProblem::Pattern("storage.written", 2, _)]));
        assert!(matches!(synced[..], [StorageProblem::Pattern("storage.synced", 2, _)]));
    }

    #[test]
    fn a_namespace_whose_channels_are_to_outlive_the_process_needs_a_folder() {
        let lasting = |durability| Namespace { pattern: "a".into(), durability, ..Namespace::default() };
        let all = [None, Some(Lasting::Memory), Some(Lasting::Written), Some(Lasting::Synced)].map(lasting);
        let problems = |path: &str| Storage { path: path.into(), ..Storage::default() }.problems(&all);
        assert_eq!(problems(""), [StorageProblem::NoPathFor(3), StorageProblem::NoPathFor(4)]);
        assert_eq!(problems("/tmp/x"), []);
    }
}
