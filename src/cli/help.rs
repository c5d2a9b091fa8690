//! `roadstead help TOPIC`: what a command takes, or a page of the manual.

use std::{
    fmt,
    io::{IsTerminal, stdout},
};

use clap::{Command, CommandFactory};

use super::Arguments;
use crate::{
    config::keys::nearest,
    manual::{self, PAGES, Page},
};

/// A terminal that does not say how wide it is.
const COLUMNS: usize = 80;

/// Neither a command nor a page.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownTopic {
    written: String,
    nearest: Option<&'static str>,
}

/// The text about a topic: of the program as a whole when none is named.
pub fn help(topic: &[String]) -> Result<String, UnknownTopic> {
    let mut program = <Arguments as CommandFactory>::command();
    // Fills in what commands take over from the program.
    program.build();
    match (topic, command(&program, topic)) {
        ([], _) => Ok(format!("{}\nThe manual:\n\n{}", program.render_long_help(), manual::list())),
        (_, Some(mut command)) => Ok(command.render_long_help().to_string()),
        ([name], None) => match Page::find(name) {
            Some(page) => Ok(manual::print(page, columns(), stdout().is_terminal())),
            None => Err(UnknownTopic::new(name)),
        },
        (_, None) => Err(UnknownTopic::new(&topic.join(" "))),
    }
}

/// The command that these words name.
fn command(program: &Command, words: &[String]) -> Option<Command> {
    let found = words.iter().try_fold(program, |command, word| command.find_subcommand(word))?;
    Some(found.clone())
}

fn columns() -> usize {
    terminal_size::terminal_size().map_or(COLUMNS, |(width, _)| width.0.into())
}

impl UnknownTopic {
    fn new(written: &str) -> Self {
        let commands = ["serve", "config", "storage", "tune"];
        let names = PAGES.iter().map(|page| page.name).chain(commands);
        Self { written: written.to_owned(), nearest: nearest(written, names) }
    }
}

impl fmt::Display for UnknownTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no command and no page {}; ", self.written)?;
        match self.nearest {
            Some(nearest) => write!(f, "did you mean {nearest}?"),
            None => write!(f, "`roadstead help` lists them"),
        }
    }
}

impl std::error::Error for UnknownTopic {}

#[cfg(test)]
mod tests {
    use super::*;

    fn help_about(topic: &str) -> Result<String, String> {
        let words: Vec<_> = topic.split_whitespace().map(str::to_owned).collect();
        help(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn a_topic_is_a_command_or_a_page() {
        assert!(
            help_about("").is_ok_and(|text| text.contains("Exit codes: 0") && text.contains("  channels "))
        );
        assert!(help_about("serve").is_ok_and(|text| text.contains("--publish-key")));
        assert!(help_about("config print").is_ok_and(|text| text.contains("Print every key")));
        assert!(help_about("channels").is_ok_and(|text| text.starts_with("CHANNELS OVER HTTP\n")));
    }

    #[test]
    fn an_unknown_topic_is_told_with_the_nearest() {
        assert_eq!(
            help_about("chanels").expect_err("unknown"),
            "there is no command and no page chanels; did you mean channels?"
        );
        assert_eq!(
            help_about("config channels").expect_err("unknown"),
            "there is no command and no page config channels; did you mean channels?"
        );
        let told = help_about("xyzzy").expect_err("unknown");
        assert!(told.ends_with("`roadstead help` lists them"), "{told}");
    }
}
