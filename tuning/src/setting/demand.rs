//! What a formula asks of a setting, whether a value meets it, and what would be written to meet it.
//!
//! Values are compared as the numbers in the text that was read. A demand never lowers a number that must be high:
//! the value to write takes the greater of what is and what is asked, part by part.

use std::ops::Range;

use super::CpuMask;
use crate::host::facts::version;

/// Between what a counter has grown and in how long: `3 in 1 s, 17 since boot`.
pub const GROWN_IN: &str = " in ";

/// What a formula asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One number, no less than this.
    AtLeast(u64),
    /// One number, no more than this.
    AtMost(u64),
    /// Several numbers, each no less than its partner; a partner of 0 asks nothing.
    EachAtLeast(Vec<u64>),
    /// Two numbers, the first no more and the second no less: a range that holds this one.
    Range(u64, u64),
    /// One of these words; the first is what would be written.
    OneOf(&'static [&'static str]),
    /// A mask with all of these processors in it.
    Cpus(Range<u32>),
    /// A mask with any processor in it; these are what would be written.
    SomeCpus(Vec<u32>),
    /// A version, major and minor, no older than this.
    Version(u32, u32),
    /// A counter that does not grow while it is looked at: what it has counted since the boot says nothing of today.
    NoGrowth,
    /// Nothing: the reading is shown for what it is.
    Nothing,
}

/// A demand with the arithmetic that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// What is asked.
    pub demand: Demand,
    /// The formula with this host's numbers in it.
    pub formula: String,
}

impl Want {
    /// A demand and its arithmetic.
    pub fn new(demand: Demand, formula: impl Into<String>) -> Self {
        Self { demand, formula: formula.into() }
    }
}

impl Demand {
    /// Whether `current` meets the demand; the error says what it could not be read as.
    pub fn is_met_by(&self, current: &str) -> Result<bool, String> {
        match self {
            Self::AtLeast(least) => Ok(number(current)? >= *least),
            Self::AtMost(most) => Ok(number(current)? <= *most),
            Self::EachAtLeast(least) => {
                let values = numbers(current, least.len())?;
                Ok(values.iter().zip(least).all(|(value, least)| value >= least))
            }
            Self::Range(first, last) => {
                let values = numbers(current, 2)?;
                Ok(values[0] <= *first && values[1] >= *last)
            }
            Self::OneOf(words) => Ok(words.contains(&current)),
            Self::Cpus(cpus) => CpuMask::parse(current).map(|mask| mask.holds(cpus.clone())),
            Self::SomeCpus(_) => CpuMask::parse(current).map(|mask| !mask.is_empty()),
            Self::Version(major, minor) => {
                let version = version(current).ok_or_else(|| format!("`{current}` is no version"))?;
                Ok(version >= (*major, *minor))
            }
            Self::NoGrowth => match current.split_once(GROWN_IN) {
                Some((growth, _)) => Ok(number(growth)? == 0),
                None => Ok(true),
            },
            Self::Nothing => Ok(true),
        }
    }

    /// The text to write where `current` stands; `None` where it is met already or makes no sense.
    pub fn replacement(&self, current: &str) -> Option<String> {
        if self.is_met_by(current) != Ok(false) {
            return None;
        }
        match self {
            Self::AtLeast(value) | Self::AtMost(value) => Some(value.to_string()),
            Self::EachAtLeast(least) => {
                let values = numbers(current, least.len()).ok()?;
                Some(joined(values.iter().zip(least).map(|(value, least)| *value.max(least))))
            }
            Self::Range(first, last) => {
                let values = numbers(current, 2).ok()?;
                Some(joined([values[0].min(*first), values[1].max(*last)].into_iter()))
            }
            Self::OneOf(words) => words.first().map(|word| (*word).to_owned()),
            Self::Cpus(_) | Self::SomeCpus(_) => {
                let mask = CpuMask::parse(current).ok()?.with(self.cpus());
                Some(mask.text_like(current))
            }
            Self::Version(..) | Self::NoGrowth | Self::Nothing => None,
        }
    }

    /// Whether meeting the demand can only raise numbers, so that no administrator's choice is undone.
    pub fn only_raises(&self) -> bool {
        match self {
            Self::AtLeast(_) | Self::EachAtLeast(_) | Self::Range(..) => true,
            Self::AtMost(_)
            | Self::OneOf(_)
            | Self::Cpus(_)
            | Self::SomeCpus(_)
            | Self::Version(..)
            | Self::NoGrowth
            | Self::Nothing => false,
        }
    }

    /// Whether a value that somebody has set may be replaced when its setting is named. A number is never lowered.
    pub fn is_choice(&self) -> bool {
        match self {
            Self::OneOf(_) | Self::Cpus(_) | Self::SomeCpus(_) => true,
            Self::AtLeast(_)
            | Self::AtMost(_)
            | Self::EachAtLeast(_)
            | Self::Range(..)
            | Self::Version(..)
            | Self::NoGrowth
            | Self::Nothing => false,
        }
    }

    /// Whether `current` is the default, which nobody has chosen.
    pub fn is_default(&self, current: &str, stock: Option<&str>) -> bool {
        match self {
            // A mask's text is as wide as the kernel has processors.
            Self::Cpus(_) | Self::SomeCpus(_) => CpuMask::parse(current).is_ok_and(|mask| mask.is_empty()),
            _ => stock == Some(current),
        }
    }

    /// Whether somebody set `current`: it is not the default, or, of what the kernel or a driver computes, exactly what
    /// an apply would have written.
    pub fn is_set(&self, current: &str, stock: Option<&str>) -> bool {
        match (self, stock) {
            (Self::Cpus(_), _) => !self.is_default(current, stock),
            (Self::SomeCpus(_), _) => current == CpuMask::default().with(self.cpus()).text_like(current),
            (_, Some(stock)) => current != stock,
            (_, None) => {
                let written = self.text();
                current.split(' ').any(|part| written.split(' ').any(|number| number == part))
            }
        }
    }

    fn cpus(&self) -> Vec<u32> {
        match self {
            Self::Cpus(cpus) => cpus.clone().collect(),
            Self::SomeCpus(cpus) => cpus.clone(),
            _ => Vec::new(),
        }
    }

    /// The value to write where nobody knows what is there.
    pub fn text(&self) -> String {
        match self {
            Self::AtLeast(value) | Self::AtMost(value) => value.to_string(),
            Self::EachAtLeast(least) => joined(least.iter().copied()),
            Self::Range(first, last) => joined([*first, *last].into_iter()),
            Self::OneOf(words) => words.first().map_or_else(String::new, |word| (*word).to_owned()),
            Self::Cpus(_) | Self::SomeCpus(_) => CpuMask::default().with(self.cpus()).to_string(),
            Self::Version(major, minor) => format!("{major}.{minor}"),
            Self::NoGrowth | Self::Nothing => String::new(),
        }
    }

    /// The demand as the table shows it, its number written by `readable`.
    pub fn words(&self, readable: impl Fn(u64) -> String) -> String {
        match self {
            // A switch is on or off, not "at least 1".
            Self::AtLeast(1) => "1".to_owned(),
            Self::AtMost(0) => "0".to_owned(),
            Self::AtLeast(least) => format!("≥ {}", readable(*least)),
            Self::AtMost(most) => format!("≤ {}", readable(*most)),
            Self::EachAtLeast(least) => match least.as_slice() {
                [0, 0, last] => format!("the last ≥ {}", grouped(*last)),
                least => format!("≥ {}", joined(least.iter().copied())),
            },
            Self::Range(first, last) => format!("{first} {last}"),
            Self::OneOf([first, _, _, ..]) => format!("{first} or alike"),
            Self::OneOf(words) => words.join(" or "),
            Self::Cpus(_) => format!("mask {}", self.text()),
            Self::SomeCpus(_) => "any CPU".to_owned(),
            Self::Version(major, minor) => format!("{major}.{minor} or later"),
            Self::NoGrowth => "does not grow".to_owned(),
            Self::Nothing => "–".to_owned(),
        }
    }
}

/// The number that `text` is; "unlimited" and "max" are the greatest there is.
pub fn number(text: &str) -> Result<u64, String> {
    match text {
        "unlimited" | "max" => Ok(u64::MAX),
        _ => text.parse().map_err(|_| format!("`{text}` is not a number")),
    }
}

/// The `count` numbers that `text` is.
pub fn numbers(text: &str, count: usize) -> Result<Vec<u64>, String> {
    let values: Result<Vec<u64>, String> = text.split_whitespace().map(number).collect();
    values.and_then(|values| {
        if values.len() == count { Ok(values) } else { Err(format!("`{text}` is not {count} numbers")) }
    })
}

/// A number with its digits in groups of three, as a person reads it.
pub fn grouped(number: u64) -> String {
    if number == u64::MAX {
        return "unlimited".to_owned();
    }
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn joined(values: impl Iterator<Item = u64>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Demand, grouped};

    #[test]
    fn the_value_to_write_never_lowers_a_part_that_is_high_enough() {
        let demand = Demand::EachAtLeast(vec![10, 20, 30]);
        assert_eq!(demand.replacement("5 50 25").unwrap(), "10 50 30");
        assert_eq!(demand.replacement("10 20 30"), None);
        assert_eq!(Demand::Range(1024, 65535).replacement("32768 60999").unwrap(), "1024 65535");
        assert_eq!(Demand::Range(10_000, 60_000).replacement("1024 50000").unwrap(), "1024 60000");
    }

    #[test]
    fn a_value_one_short_fails_and_its_neighbour_passes() {
        assert_eq!(Demand::AtLeast(4096).is_met_by("4095"), Ok(false));
        assert_eq!(Demand::AtLeast(4096).is_met_by("4096"), Ok(true));
        assert_eq!(Demand::AtMost(60).is_met_by("61"), Ok(false));
        assert_eq!(Demand::AtMost(60).is_met_by("60"), Ok(true));
    }

    #[test]
    fn text_that_is_no_number_is_an_error_and_is_never_replaced() {
        assert!(Demand::AtLeast(1).is_met_by("garbage").unwrap_err().contains("garbage"));
        assert_eq!(Demand::AtLeast(1).replacement("garbage"), None);
    }

    #[test]
    fn a_counter_falls_short_while_it_grows_and_not_for_what_it_counted_before() {
        assert_eq!(Demand::NoGrowth.is_met_by("0 in 1 s, 601 since boot"), Ok(true));
        assert_eq!(Demand::NoGrowth.is_met_by("1 in 1 s, 601 since boot"), Ok(false));
        assert_eq!(Demand::NoGrowth.is_met_by("601 since boot"), Ok(true));
    }

    #[test]
    fn a_version_is_compared_as_one() {
        let demand = Demand::Version(6, 1);
        for (release, is_met) in
            [("5.19.0", false), ("6.0.9", false), ("6.1.0-18-amd64", true), ("10.0", true)]
        {
            assert_eq!(demand.is_met_by(release), Ok(is_met), "{release}");
        }
        assert_eq!(demand.words(super::grouped), "6.1 or later");
    }

    #[test]
    fn digits_are_grouped_in_threes() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_048_576), "1,048,576");
        assert_eq!(grouped(u64::MAX), "unlimited");
    }
}
