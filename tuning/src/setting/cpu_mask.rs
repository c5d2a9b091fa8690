//! A set of processors in the form of `/sys`: hexadecimal words of 32 bits, highest first.
//!
//! The kernel pads what it prints to the number of processors it was built or booted for, so that one set has several
//! texts: compare sets, and write them as wide as what was read.

use std::fmt;

/// A set of processors.
#[derive(Clone, Debug, Default)]
pub struct CpuMask {
    /// Lowest first.
    words: Vec<u32>,
}

impl CpuMask {
    /// Reads a mask; the error names what is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Result<Vec<u32>, _> =
            text.split(',').rev().map(|word| u32::from_str_radix(word, 16)).collect();
        words.map(|words| Self { words }).map_err(|_| format!("`{text}` is no mask of processors"))
    }

    /// The set of these and those.
    #[must_use]
    pub fn with(mut self, cpus: impl IntoIterator<Item = u32>) -> Self {
        for cpu in cpus {
            let word = cpu as usize / 32;
            if self.words.len() <= word {
                self.words.resize(word + 1, 0);
            }
            self.words[word] |= 1 << (cpu % 32);
        }
        self
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether all of these are in it.
    pub fn holds(&self, cpus: impl IntoIterator<Item = u32>) -> bool {
        let holds =
            |cpu: u32| self.words.get(cpu as usize / 32).is_some_and(|word| word >> (cpu % 32) & 1 == 1);
        cpus.into_iter().all(holds)
    }

    /// The mask as wide as `like`, which the kernel printed, so that it reads back as it was written.
    pub fn text_like(&self, like: &str) -> String {
        let text = self.to_string();
        let digits = |text: &str| text.chars().filter(char::is_ascii_hexdigit).count();
        let mut padded = "0".repeat(digits(like).saturating_sub(digits(&text)));
        padded.extend(text.chars().filter(char::is_ascii_hexdigit));
        let count = padded.len();
        let mut grouped = String::new();
        for (place, digit) in padded.chars().enumerate() {
            if place > 0 && (count - place).is_multiple_of(8) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    }
}

impl fmt::Display for CpuMask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let highest = self.words.iter().rposition(|word| *word != 0).unwrap_or(0);
        write!(out, "{:x}", self.words.get(highest).copied().unwrap_or(0))?;
        self.words.iter().take(highest).rev().try_for_each(|word| write!(out, ",{word:08x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::CpuMask;

    #[test]
    fn a_mask_of_all_cpus_is_split_into_words_of_32_bits() {
        for (cpus, text) in
            [(0, "0"), (2, "3"), (32, "ffffffff"), (33, "1,ffffffff"), (64, "ffffffff,ffffffff")]
        {
            assert_eq!(CpuMask::default().with(0..cpus).to_string(), text);
        }
    }

    #[test]
    fn a_mask_is_written_as_wide_as_it_was_read() {
        let mask = CpuMask::default().with([0, 33]);
        assert_eq!(mask.text_like("00000000,00000000,00000000"), "00000000,00000002,00000001");
        assert_eq!(mask.text_like("0"), "2,00000001");
        assert_eq!(CpuMask::default().with([0]).text_like("000"), "001");
    }

    #[test]
    fn a_set_holds_what_it_was_given_and_not_the_neighbour() {
        let mask = CpuMask::parse("1,00000002").unwrap();
        assert!(mask.holds([1, 32]) && !mask.holds([0]) && !mask.holds([33]) && !mask.holds([64]));
        assert!(CpuMask::parse("0,00000000").unwrap().is_empty());
        assert!(CpuMask::parse("3;").unwrap_err().contains("3;"));
    }
}
