//! What can be wrong with a configuration: with its text, or (in `checks.rs`) with what it asks for.

use std::{fmt, io, path::PathBuf};

use super::Problem;

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One thing that is wrong with a configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not TOML.
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why, as the parser says it.
        error: Box<toml::de::Error>,
    },
    /// There is no such key.
    UnknownKey {
        /// Who names it: a file, a flag, the environment.
        origin: String,
        /// The key as written.
        key: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// The key belongs to a section that a file lists.
    FileOnly {
        /// Who names it: a flag, the environment.
        origin: String,
        /// The key.
        key: &'static str,
    },
    /// A value is not what its key takes.
    WrongValue {
        /// Who sets it: a file, a flag, the environment.
        origin: String,
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// What the key takes.
        expected: String,
    },
    /// An address names a host that has none.
    UnknownHost {
        /// Who sets it: a file, a flag, the environment.
        origin: String,
        /// The key.
        key: String,
        /// Which host, why, and what to do.
        why: String,
    },
    /// The values are well-formed but cannot work.
    Problem(Problem),
}

impl ConfigErrors {
    /// Fails when there is an error.
    pub(super) fn none_or(errors: Vec<ConfigError>) -> Result<(), Self> {
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Self(errors)),
        }
    }

    /// The errors, in the order of the sources.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => write!(f, "{}: cannot be read: {error}", path.display()),
            Self::Syntax { path, error } => {
                // The parser's text goes on with the line itself, which may hold a secret.
                let text = error.to_string();
                let place = text.lines().next().unwrap_or_default();
                write!(f, "{}: is not TOML: {place}: {}", path.display(), error.message())
            }
            Self::UnknownKey { origin, key, nearest: Some(nearest) } => {
                write!(f, "{origin}: there is no key {key}; did you mean {nearest}?")
            }
            Self::UnknownKey { origin, key, nearest: None } => {
                write!(f, "{origin}: there is no key {key}; `roadstead config print` lists every key")
            }
            Self::FileOnly { origin, key } => {
                let section = key.split('.').next().unwrap_or_default();
                write!(f, "{origin}: {key} stands in a file only, below [[{section}]] (--config FILE)")
            }
            Self::WrongValue { origin, key, value, expected } => {
                write!(f, "{origin}: {key} is {value}; expected {expected}")
            }
            Self::UnknownHost { origin, key, why } => write!(f, "{origin}: {key}: {why}"),
            Self::Problem(problem) => problem.fmt(f),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl std::error::Error for ConfigError {}
