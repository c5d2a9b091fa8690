//! Numbers as people write them: `120000`, `120k`, `1M`, `2.3M`, `1_000_000`.

/// The most connections that a target may ask for.
const TARGET_MAX: u64 = 1_000_000_000;

/// Reads a number of connections, from 1 to [`TARGET_MAX`].
pub fn target(text: &str) -> Result<u64, String> {
    let count = parse(text)
        .ok_or_else(|| format!("`{text}` is no number of connections: write 120000, 120k or 1M"))?;
    match count {
        1..=TARGET_MAX => Ok(count),
        _ => Err(format!("{count} is not between 1 and {TARGET_MAX}")),
    }
}

/// Thousands are decimal: connections are counted, not addressed.
fn parse(text: &str) -> Option<u64> {
    let bare: String = text.trim().chars().filter(|sign| !matches!(sign, '_' | ',')).collect();
    let (digits, unit) = match bare.char_indices().last()? {
        (end, 'k' | 'K') => (&bare[..end], 1_000),
        (end, 'm' | 'M') => (&bare[..end], 1_000_000),
        (end, 'g' | 'G') => (&bare[..end], 1_000_000_000),
        _ => (bare.as_str(), 1),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.chars().all(|sign| sign.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(part) || digits.ends_with('.') {
        return None;
    }
    // A part must come out even: 1.5k is 1,500 and 1.0005k is nothing.
    let scale = 10u64.checked_pow(part.len().try_into().ok()?)?;
    let part = if part.is_empty() { 0 } else { part.parse::<u64>().ok()? };
    let scaled = whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(part)?.checked_mul(unit)?;
    scaled.is_multiple_of(scale).then(|| scaled / scale)
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn a_target_is_read_as_people_write_it() {
        for (text, count) in [
            ("1", 1),
            ("120000", 120_000),
            ("120k", 120_000),
            ("120K", 120_000),
            ("1M", 1_000_000),
            ("1m", 1_000_000),
            ("2.3M", 2_300_000),
            ("1.5k", 1_500),
            ("1_000_000", 1_000_000),
            ("1,000,000", 1_000_000),
            ("1G", 1_000_000_000),
        ] {
            assert_eq!(target(text), Ok(count), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_what_to_write() {
        for text in ["", "k", "M1", "1Mi", "1 M k", "-1", "1.", ".5M", "1.0005k", "many", "1.2.3M"] {
            assert!(target(text).unwrap_err().contains("120k or 1M"), "{text}");
        }
        assert!(target("0").unwrap_err().contains("between 1 and"));
        assert!(target("2G").unwrap_err().contains("between 1 and"));
    }
}
