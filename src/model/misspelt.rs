//! A name that somebody wrote and that means nothing here, with the one that was most likely meant.
//!
//! It is kept inline, and cut if it is long: a refusal is copied about, and what a client sends may be any text.

use std::fmt;

/// Bytes kept of what was written.
const WRITTEN_BYTES_MAX: usize = 32;

/// A name without a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misspelt {
    written: [u8; WRITTEN_BYTES_MAX],
    length: u8,
    is_cut: bool,
    nearest: Option<&'static str>,
}

impl Misspelt {
    /// What was written instead of one of these names.
    pub fn new(name: &str, known: &[&'static str]) -> Self {
        let mut written = [0; WRITTEN_BYTES_MAX];
        let bounds = (0..=name.len().min(WRITTEN_BYTES_MAX)).rev();
        let length = bounds.into_iter().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
        written[..length].copy_from_slice(&name.as_bytes()[..length]);
        let is_cut = length < name.len();
        // Names that are cut resemble none: they are longer than every name there is.
        let nearest = if is_cut { None } else { nearest(name, known) };
        Self { written, length: length as u8, is_cut, nearest }
    }

    /// Whether one of the names is so near that it must have been meant.
    pub fn is_near(&self) -> bool {
        self.nearest.is_some()
    }

    fn written(&self) -> &str {
        std::str::from_utf8(&self.written[..self.length.into()]).expect("it was cut between characters")
    }
}

/// The name that begins with this one, or that differs in fewer letters than half of its own.
fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let is_begun = |name: &&&str| name.strip_prefix(written).is_some_and(|rest| rest.starts_with('_'));
    if let Some(name) = known.iter().find(is_begun) {
        return Some(name);
    }
    let distance = |name: &&'static str| (strsim::damerau_levenshtein(written, name), *name);
    let (distance, name) = known.iter().map(distance).min()?;
    (2 * distance < name.len()).then_some(name)
}

impl fmt::Display for Misspelt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}{}\"", self.written(), if self.is_cut { "…" } else { "" })?;
        match self.nearest {
            Some(nearest) => write!(f, "; did you mean \"{nearest}\"?"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, known: &[&'static str]) -> String {
        Misspelt::new(name, known).to_string()
    }

    #[test]
    fn a_name_is_told_with_the_nearest_if_any_is_near() {
        let known = ["since", "timeout", "key"];
        assert_eq!(told("sinse", &known), "\"sinse\"; did you mean \"since\"?");
        assert_eq!(told("Timeout", &known), "\"Timeout\"; did you mean \"timeout\"?");
        assert_eq!(told("keys", &known), "\"keys\"; did you mean \"key\"?");
        for stranger in ["_", "t", "e", "ke2x", "cache", ""] {
            assert!(!Misspelt::new(stranger, &known).is_near(), "{stranger}");
        }
        assert_eq!(told("x", &[]), "\"x\"");
    }

    #[test]
    fn a_name_without_its_unit_is_near_however_short() {
        assert_eq!(told("ttl", &["ttl_ms"]), "\"ttl\"; did you mean \"ttl_ms\"?");
        assert_eq!(told("t", &["ttl_ms", "after"]), "\"t\"");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = "é".repeat(20);
        assert_eq!(told(&name, &["since"]), format!("\"{}…\"", "é".repeat(16)));
        assert_eq!(told(&format!("x{name}"), &[]), format!("\"x{}…\"", "é".repeat(15)));
        assert_eq!(told(&"y".repeat(32), &[]), format!("\"{}\"", "y".repeat(32)));
    }
}
