//! Permissions and owner of the files of Unix sockets, as they are written.

use super::{Config, Problem};

/// A setting of such files that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixProblem {
    /// These are no permissions.
    Mode(String),
    /// This names nobody.
    Owner(String),
}

/// Whose such files are: a user, a group, or both, each by name or number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixOwner {
    /// The user.
    pub user: Option<String>,
    /// The group.
    pub group: Option<String>,
}

impl Config {
    /// The permissions of such files; `None` for those of the umask, or none that can be.
    pub fn unix_mode(&self) -> Option<u32> {
        mode(&self.server.unix_mode).flatten()
    }

    /// Whose they are.
    pub fn unix_owner(&self) -> UnixOwner {
        let (user, group) = match self.server.unix_owner.split_once(':') {
            Some((user, group)) => (user, group),
            None => (self.server.unix_owner.as_str(), ""),
        };
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        UnixOwner { user: named(user), group: named(group) }
    }
}

/// What cannot be of these settings.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let (mode_text, owner) = (&config.server.unix_mode, &config.server.unix_owner);
    let mut problems = Vec::new();
    if mode(mode_text).is_none() {
        problems.push(UnixProblem::Mode(mode_text.clone()));
    }
    if owner == ":" || owner.matches(':').count() > 1 || owner.contains(char::is_whitespace) {
        problems.push(UnixProblem::Owner(owner.clone()));
    }
    problems.into_iter().map(Problem::Unix).collect()
}

fn mode(text: &str) -> Option<Option<u32>> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match text {
        "" => Some(None),
        _ if is_octal => u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).map(Some),
        _ => None,
    }
}

impl std::fmt::Display for UnixProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mode(text) => write!(
                f,
                "server.unix_mode: {text:?} are no permissions; write them in octal, such as \"0660\" \
                 (--set server.unix_mode=0660)"
            ),
            Self::Owner(text) => write!(
                f,
                "server.unix_owner: {text:?} names nobody; write a user, a group behind a colon, or both, such as \
                 \"www-data:www-data\" (--set server.unix_owner=:www-data)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(mode: &str, owner: &str) -> Config {
        let mut config = Config::default();
        (config.server.unix_mode, config.server.unix_owner) = (mode.into(), owner.into());
        config
    }

    #[test]
    fn permissions_are_octal_and_owners_have_one_colon() {
        for (text, mode) in [("", None), ("0660", Some(0o660)), ("600", Some(0o600)), ("0777", Some(0o777))] {
            assert_eq!((config(text, "").unix_mode(), problems(&config(text, ""))), (mode, vec![]), "{text}");
        }
        for text in ["rw-rw----", "0o660", "888", "66", "1777", "00660", "-660"] {
            assert_eq!(problems(&config(text, "")).len(), 1, "{text}");
        }
        let owner = |user: &str, group: &str| {
            let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
            UnixOwner { user: named(user), group: named(group) }
        };
        for (text, expected) in
            [("", owner("", "")), ("a", owner("a", "")), ("a:b", owner("a", "b")), (":0", owner("", "0"))]
        {
            assert_eq!(
                (config("", text).unix_owner(), problems(&config("", text))),
                (expected, vec![]),
                "{text}"
            );
        }
        for text in [":", "a:b:c", "a b"] {
            assert_eq!(problems(&config("", text)).len(), 1, "{text}");
        }
    }
}
