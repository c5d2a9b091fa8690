//! `roadstead run`: a program in Node.js, and a server that holds its clients.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use super::ServeFlags;
use crate::program::Node;

/// A program, and how it is served.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Run the program with this Node.js: a command or a path
    #[arg(long, value_name = "PATH", default_value = "node")]
    node: PathBuf,
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
        Node { command: self.node.clone(), program: self.program.clone(), arguments: self.arguments.clone() }
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
        assert_eq!((node.command.to_str(), node.program.to_str()), (Some("node"), Some("app.js")));
        assert_eq!(node.arguments, ["--shards", "x"]);
    }
}
