//! `[storage]`: what outlives the process. What each key means to an operator stands in `keys.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    auth::{Pattern, PatternError},
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
}

/// Something about what is kept that cannot be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageProblem {
    /// Something is to be kept, and nowhere.
    NoPath,
    /// A pattern that is none; counted from 1.
    Pattern(usize, PatternError),
}

impl Storage {
    /// Which channels outlive the process, of a checked configuration.
    pub fn durables(&self) -> Vec<(Pattern, Durability)> {
        let patterns = self.written.iter().filter_map(|text| Pattern::without_subject(text).ok());
        patterns.map(|pattern| (pattern, Durability::Written)).collect()
    }

    /// Every problem of what is to be kept.
    pub(super) fn problems(&self) -> Vec<StorageProblem> {
        let mut problems = Vec::new();
        if self.path.is_empty() && !self.written.is_empty() {
            problems.push(StorageProblem::NoPath);
        }
        for (text, number) in self.written.iter().zip(1..) {
            let wrong = Pattern::without_subject(text).err();
            problems.extend(wrong.map(|error| StorageProblem::Pattern(number, error)));
        }
        problems
    }
}

impl fmt::Display for StorageProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPath => f.write_str(
                "storage.written names channels, and storage.path does not say where they are kept; name a folder \
                 (ROADSTEAD_STORAGE__PATH=/var/lib/roadstead)",
            ),
            Self::Pattern(number, error) => write!(f, "storage.written: pattern {number}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_kept_needs_a_folder_and_patterns_that_are_some() {
        let problems = |path: &str, written: &[&str]| {
            let written = written.iter().map(|text| (*text).to_owned()).collect();
            Storage { path: path.into(), written }.problems()
        };
        assert_eq!(problems("", &[]), []);
        assert_eq!(problems("/tmp/x", &["a:*", "**"]), []);
        assert_eq!(problems("", &["a"]), [StorageProblem::NoPath]);
        assert!(matches!(problems("/tmp/x", &["a", "a*"])[..], [StorageProblem::Pattern(2, _)]));
    }
}
