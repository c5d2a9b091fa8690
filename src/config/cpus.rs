//! A list of CPUs as Linux writes them: `0-3,8` (cpuset(7), "List format"). Which of them this process may use is
//! for `supervisor/cores.rs` to find out.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};

/// CPU numbers, ascending, none twice. Empty means every CPU the process may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CpuList(Vec<usize>);

/// A text that is no list of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuListError;

/// The highest CPU number a list may name: the width of the kernel's fixed affinity mask (`CPU_SETSIZE`).
const CPU_MAX: usize = 1023;

impl CpuList {
    /// The CPUs, ascending.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// Makes a list of numbers in any order.
    pub fn new(cpus: impl IntoIterator<Item = usize>) -> Self {
        let mut cpus: Vec<_> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let number = |text: &str| match text.parse::<usize>() {
            Ok(cpu) if cpu <= CPU_MAX && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(cpu),
            _ => Err(CpuListError),
        };
        let mut cpus = Vec::new();
        for item in text.split(',').map(str::trim) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(CpuListError);
            }
            cpus.extend(first..=last);
        }
        Ok(Self::new(cpus))
    }
}

impl TryFrom<String> for CpuList {
    type Error = CpuListError;

    fn try_from(text: String) -> Result<Self, CpuListError> {
        text.parse()
    }
}

impl Serialize for CpuList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|cpu, next| cpu + 1 == *next);
        for (index, run) in runs.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [] => {}
                [only] => write!(f, "{comma}{only}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for CpuListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of CPUs is numbers and ranges such as 0-3,8")
    }
}

impl std::error::Error for CpuListError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_numbers_become_an_ascending_list_without_repeats() {
        for (text, cpus, written) in [
            ("", vec![], ""),
            ("3", vec![3], "3"),
            ("0-3,8", vec![0, 1, 2, 3, 8], "0-3,8"),
            (" 8, 0-1 ,1-2", vec![0, 1, 2, 8], "0-2,8"),
            ("1023", vec![1023], "1023"),
        ] {
            let list = text.parse::<CpuList>().expect("a list");
            assert_eq!(list.as_slice(), cpus, "{text:?}");
            assert_eq!(list.to_string(), written, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["a", "1-", "-1", "3-1", "1,,2", "1;2", "+1", "1024", "0-99999999999", "1-2-3"] {
            assert_eq!(text.parse::<CpuList>(), Err(CpuListError), "{text:?}");
        }
    }
}
