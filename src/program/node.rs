//! Node.js: whether it is there and new enough, and how a program is started in it.

use std::{
    ffi::OsString,
    fmt, io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::folder::Folder;

/// A program, and what runs it.
#[derive(Clone, Debug)]
pub struct Node {
    /// The command that is Node.js: a name that is looked for in `PATH`, or a path. Without it the program is a command itself.
    pub command: Option<PathBuf>,
    /// The program's file, or the command that it is.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Which of the processes of a program one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: u16,
    pub(super) count: u16,
}

/// Why no program can be run.
#[derive(Debug)]
pub enum NodeError {
    /// There is no such command.
    Missing(PathBuf),
    /// It is not what it should be.
    Strange(PathBuf, String),
    /// It is too old.
    Old(PathBuf, String),
    /// The program's file is not there.
    NoProgram(PathBuf),
    /// It cannot be started.
    Start(PathBuf, io::Error),
}

/// The oldest version whose loader can be told what to answer for a module: 18.19, and 20.6 of those between.
const OLDEST: (u32, u32) = (18, 19);
const OLDEST_OF_20: (u32, u32) = (20, 6);

impl Node {
    /// Looks whether the program can be run.
    pub(super) fn check(&self) -> Result<(), NodeError> {
        // A command is looked for when it is started.
        let Some(node) = &self.command else { return Ok(()) };
        let output = match Command::new(node).arg("--version").stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NodeError::Missing(node.clone()));
            }
            Err(error) => return Err(NodeError::Start(node.clone(), error)),
        };
        let said =
            String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned();
        match is_new_enough(&said) {
            None => return Err(NodeError::Strange(node.clone(), said)),
            Some(false) => return Err(NodeError::Old(node.clone(), said)),
            Some(true) => {}
        }
        // Node finds `app.js` under the name `app`.
        let is_there = self.program.exists() || self.program.with_extension("js").exists();
        if is_there { Ok(()) } else { Err(NodeError::NoProgram(self.program.clone())) }
    }

    /// Starts the program, apart from the terminal's signals: it ends when the server says so.
    pub(super) fn start(&self, folder: &Folder, place: Place) -> Result<Child, NodeError> {
        let runs = self.command.as_ref().unwrap_or(&self.program);
        let mut command = Command::new(runs);
        if self.command.is_some() {
            command.arg("--require").arg(folder.register()).arg(&self.program);
        }
        command.args(&self.arguments);
        command.env("ROADSTEAD_LINK", folder.path()).stdin(Stdio::null()).process_group(0);
        command.env("ROADSTEAD_WORKER", place.index.to_string());
        command.env("ROADSTEAD_WORKERS", place.count.to_string());
        command.spawn().map_err(|error| NodeError::Start(runs.clone(), error))
    }
}

/// Whether a version such as `v20.11.1` is new enough; `None` if it is none.
fn is_new_enough(said: &str) -> Option<bool> {
    let mut numbers = said.strip_prefix('v')?.split('.').map(|number| number.parse::<u32>().ok());
    let version = (numbers.next()??, numbers.next()??);
    let oldest = if version.0 > OLDEST.0 { OLDEST_OF_20 } else { OLDEST };
    Some(version >= oldest)
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cure = "install Node.js 18.19, 20.6 or a newer version (https://nodejs.org, or your system's package nodejs), or \
                    name it: --node PATH";
        match self {
            Self::Missing(command) => {
                write!(
                    f,
                    "{}: there is no such command, and the program needs Node.js; {cure}",
                    command.display()
                )
            }
            Self::Strange(command, said) => {
                write!(f, "{} --version says {said:?}, which is no Node.js; {cure}", command.display())
            }
            Self::Old(command, said) => {
                write!(f, "{} is Node.js {said}, which is too old; {cure}", command.display())
            }
            Self::NoProgram(program) => {
                write!(
                    f,
                    "{}: there is no such program; name the file that Node.js would run",
                    program.display()
                )
            }
            Self::Start(command, error) => write!(f, "{} cannot be started: {error}", command.display()),
        }
    }
}

impl std::error::Error for NodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_new_enough_or_not() {
        for (said, expected) in [
            ("v18.18.2", Some(false)),
            ("v18.19.0", Some(true)),
            ("v19.9.0", Some(false)),
            ("v20.5.1", Some(false)),
            ("v20.6.0", Some(true)),
            ("v22.0.0", Some(true)),
            ("v100.1.0-nightly", Some(true)),
            ("v9.11.2", Some(false)),
            ("20.6.0", None),
            ("deno 2", None),
            ("v20", None),
            ("", None),
        ] {
            assert_eq!(is_new_enough(said), expected, "{said}");
        }
    }

    #[test]
    fn what_is_missing_is_told_with_the_cure() {
        let node = |command: &str, program: &str| Node {
            command: Some(command.into()),
            program: program.into(),
            arguments: Vec::new(),
        };
        let missing = node("/nonexistent/node", "app.js").check().expect_err("missing").to_string();
        assert!(missing.contains("--node PATH") && missing.contains("/nonexistent/node"), "{missing}");
        let strange = node("/bin/echo", "app.js").check().expect_err("no Node.js").to_string();
        assert!(strange.contains("which is no Node.js"), "{strange}");
    }
}
