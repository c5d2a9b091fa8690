//! What is printed, and how it is broken into lines a person reads.
//!
//! Whoever reads standard output may stop early, as `head` does; what is under way, a change above all, goes on.

use std::{
    fmt,
    io::{self, Write},
};

/// Columns of a line.
pub const WIDTH: usize = 100;

/// Writes to standard output, which may be closed.
pub fn write(text: fmt::Arguments<'_>) {
    io::stdout().lock().write_fmt(text).ok();
}

/// `print!` that goes on when nobody reads.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*)) };
}

/// `println!` that goes on when nobody reads.
macro_rules! sayln {
    ($($text:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {say, sayln};

/// How this tool was called: on its own, or as a command of the server.
pub fn program() -> &'static str {
    let called = std::env::args().next().unwrap_or_default();
    if called.rsplit('/').next() == Some("roadstead-tune") { "roadstead-tune" } else { "roadstead tune" }
}

/// Words broken into lines of [`WIDTH`] columns; the first line is begun with `first`, others as far indented.
/// What stands between backquotes stays on one line where it fits on one.
pub fn wrapped(first: &str, words: &str) -> String {
    let indent = " ".repeat(first.chars().count());
    let (mut text, mut line) = (String::new(), first.to_owned());
    let mut is_begun = false;
    for word in unbreakable(words) {
        let is_full = line.chars().count() + 1 + word.chars().count() > WIDTH;
        if is_begun && is_full {
            text += &format!("{}\n", line.trim_end());
            line.clone_from(&indent);
        } else if is_begun {
            line.push(' ');
        }
        line += &word;
        is_begun = true;
    }
    text + line.trim_end() + "\n"
}

/// Words, a command between backquotes being one of them.
fn unbreakable(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    for word in text.split(' ') {
        match words.last_mut() {
            Some(last) if is_open => *last += &format!(" {word}"),
            _ => words.push(word.to_owned()),
        }
        is_open ^= word.matches('`').count() % 2 == 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, wrapped};

    #[test]
    fn a_line_is_full_at_its_width_and_the_next_is_indented() {
        let word = "x".repeat(WIDTH - 3);
        assert_eq!(wrapped("= ", &word), format!("= {word}\n"));
        assert_eq!(wrapped("= ", &format!("a {word}")), format!("= a\n  {word}\n"));
    }

    #[test]
    fn a_command_is_not_broken() {
        let text = format!("{} `ulimit -n 5` end", "x".repeat(WIDTH - 8));
        assert!(wrapped("", &text).contains("\n`ulimit -n 5` end"), "{}", wrapped("", &text));
    }
}
