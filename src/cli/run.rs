//! `roadstead run`: a program in Node.js, and a server that holds its clients.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use super::ServeFlags;
use crate::{limits::PROGRAM_WORKERS_MAX, program::Node};

/// A program, and how it is served.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Run the program with this Node.js: a command or a path
    #[arg(long, value_name = "PATH", default_value = "node")]
    node: PathBuf,
    /// PROGRAM is a command that speaks the link itself, in any language, and is not for Node.js
    #[arg(long, conflicts_with = "node")]
    exec: bool,
    /// Begin the program anew when a file in its folder or below it changes that ends as PROGRAM does, or as programs for Node.js do
    /// (.js, .ts and their kin); its clients stay
    #[arg(long)]
    watch: bool,
    /// Run so many processes of the program, and spread its clients over them: for programs that keep nothing in variables which
    /// another process would need
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(PROGRAM_WORKERS_MAX)))]
    workers: u16,
    #[command(flatten)]
    serve: ServeFlags,
    /// The program's file, as Node.js would be given it
    #[arg(value_name = "PROGRAM")]
    program: PathBuf,
    /// The program's own arguments, behind --
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl Run {
    /// The program, and what runs it.
    pub fn node(&self) -> Node {
        let command = (!self.exec).then(|| self.node.clone());
        Node { command, program: self.program.clone(), arguments: self.arguments.clone() }
    }

    /// How many processes of it there are.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// Whether it begins anew when its files change.
    pub fn is_watching(&self) -> bool {
        self.watch
    }

    /// How it is served.
    pub fn flags(&self) -> &ServeFlags {
        &self.serve
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Arguments, Command};

    #[test]
    fn flags_before_the_dashes_are_the_servers_and_those_behind_the_programs() {
        let words = ["roadstead", "run", "--shards", "3", "app.js", "--admin", "", "--", "--shards", "x"];
        let Command::Run(run) = Arguments::parse_from(words).command() else { panic!("it runs") };
        assert_eq!((run.flags().shards, run.flags().admin.as_deref()), (Some(3), Some("")));
        let node = run.node();
        let command = node.command.as_deref().and_then(|command| command.to_str());
        assert_eq!((command, node.program.to_str()), (Some("node"), Some("app.js")));
        let words = ["roadstead", "run", "--exec", "app.py"];
        let Command::Run(run) = Arguments::parse_from(words).command() else { panic!("it runs") };
        assert_eq!(run.node().command, None);
        assert_eq!(node.arguments, ["--shards", "x"]);
    }
}
