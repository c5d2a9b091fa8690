//! Names that an operator allows: exact ones, and those in which `*` stands for any run of characters.

/// A list of patterns; a name is allowed when one of them fits.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(Box<[Box<str>]>);

impl Patterns {
    pub(super) fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| pattern.as_str().into()).collect())
    }

    pub(super) fn allow(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| fits(pattern, name))
    }
}

/// Each part between stars is looked for as early as it can be, which leaves most for those after it: a pattern with
/// no other wildcard fits so or not at all. The time is bounded by the lengths of both.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_also_for_nothing() {
        let cases = [
            ("*", "", true),
            ("*", "any/thing", true),
            ("lobby", "lobby", true),
            ("lobby", "lobby2", false),
            ("", "", true),
            ("", "a", false),
            ("game-*", "game-", true),
            ("game-*", "game-7", true),
            ("game-*", "a-game-7", false),
            ("*-public", "x-public", true),
            ("*-public", "x-public-not", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*ab*ab", "ab", false),
            ("*ab*ab", "abxab", true),
            ("ä*", "äö", true),
        ];
        for (pattern, name, fit) in cases {
            assert_eq!(Patterns::new(&[pattern.into()]).allow(name), fit, "{pattern} on {name}");
        }
        assert!(!Patterns::new(&[]).allow("a"));
        assert!(Patterns::new(&["a".into(), "b".into()]).allow("b"));
    }
}
