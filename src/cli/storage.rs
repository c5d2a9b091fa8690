//! `roadstead storage`: looks after a store that no server has open.

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::{self, BufReader, BufWriter, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand};

use crate::{
    auth::{Pattern, PatternError},
    storage::{self, Depot, Inventory, StoreError},
};

/// What can be done with a store. The server must not be running.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Tell what stands in a store: its channels, where they are, and how much they keep
    #[command(after_help = INSPECT_HELP)]
    Inspect(Inspect),
    /// Read all of a store and compare its sums; ends with 1 if something is wrong
    Check {
        /// The folder that storage.path names
        folder: PathBuf,
    },
    /// Give back what its file does not use
    Compact {
        /// The folder that storage.path names
        folder: PathBuf,
    },
    /// Write its channels out as lines of JSON
    #[command(after_help = EXPORT_HELP)]
    Export(Export),
    /// Make a store of what was written out
    #[command(after_help = IMPORT_HELP)]
    Import(Import),
}

const INSPECT_HELP: &str = "\
Examples:
  roadstead storage inspect /var/lib/roadstead
  roadstead storage inspect --json /var/lib/roadstead | jq '.channels[] | select(.publications > 1000)'";

const EXPORT_HELP: &str = "\
Examples:
  roadstead storage export /var/lib/roadstead > channels.jsonl
  roadstead storage export --channel 'chat:**' /var/lib/roadstead | jq -r 'select(.publication).publication.data'";

const IMPORT_HELP: &str = "\
Its channels go on under new epochs: a client that comes back with a position is told that it may have missed something.
With --keep-epochs they go on as they were. Say that only if nothing has been published to them since they were written out.

Examples:
  roadstead storage import /var/lib/roadstead channels.jsonl
  roadstead storage import --keep-epochs /srv/new < channels.jsonl";

/// `roadstead storage inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// Tell it as JSON
    #[arg(long)]
    pub json: bool,
    /// The folder that storage.path names
    pub folder: PathBuf,
}

/// `roadstead storage export`
#[derive(Debug, Args)]
pub struct Export {
    /// Only channels of this pattern
    #[arg(long, value_name = "PATTERN", default_value = "**")]
    pub channel: String,
    /// The folder that storage.path names
    pub folder: PathBuf,
}

/// `roadstead storage import`
#[derive(Debug, Args)]
pub struct Import {
    /// Go on under the same epochs
    #[arg(long)]
    pub keep_epochs: bool,
    /// The folder to make the store in
    pub folder: PathBuf,
    /// What was written out [default: standard input]
    pub file: Option<PathBuf>,
}

/// Why nothing was done.
#[derive(Debug)]
pub enum StorageFailure {
    /// The store cannot be used.
    Store(StoreError),
    /// What is asked for is no pattern.
    Pattern(PatternError),
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// Nothing can be written to standard output.
    Output(io::Error),
}

impl StorageCommand {
    /// What is to be printed when it is done.
    pub fn run(&self) -> Result<String, StorageFailure> {
        match self {
            Self::Inspect(Inspect { json, folder }) => {
                let inventory = Depot::open(folder)?.inventory()?;
                Ok(match json {
                    true => serde_json::to_string(&inventory).expect("it is written as JSON") + "\n",
                    false => table(&inventory),
                })
            }
            Self::Check { folder } => {
                let inventory = Depot::open(folder)?.check()?;
                let Inventory { file, channels, .. } = inventory;
                Ok(format!("{file}: nothing is wrong; {} channels\n", channels.len()))
            }
            Self::Compact { folder } => {
                let (before, after) = Depot::open(folder)?.compact()?;
                Ok(format!("{before} bytes before, {after} now\n"))
            }
            Self::Export(export) => export.run(),
            Self::Import(import) => import.run(),
        }
    }
}

impl Export {
    fn run(&self) -> Result<String, StorageFailure> {
        let pattern = Pattern::without_subject(&self.channel).map_err(StorageFailure::Pattern)?;
        let mut out = BufWriter::new(io::stdout().lock());
        Depot::open(&self.folder)?.export(&pattern, &mut out)?;
        out.flush().map_err(StorageFailure::Output)?;
        Ok(String::new())
    }
}

impl Import {
    fn run(&self) -> Result<String, StorageFailure> {
        let lines = match &self.file {
            None => storage::import(&self.folder, io::stdin().lock(), self.keep_epochs)?,
            Some(path) => {
                let file =
                    File::open(path).map_err(|error| StorageFailure::Unreadable(path.clone(), error))?;
                storage::import(&self.folder, BufReader::new(file), self.keep_epochs)?
            }
        };
        Ok(format!("{lines} lines read in\n"))
    }
}

fn table(inventory: &Inventory) -> String {
    let Inventory { file, file_bytes, format, is_clean, channels } = inventory;
    let closed = if *is_clean { "closed in order" } else { "not closed in order, or in use until just now" };
    let mut text =
        format!("{file}: {file_bytes} bytes, format {format}, {closed}, {} channels\n", channels.len());
    for shelf in channels {
        let promise = if shelf.synced { "synced" } else { "written" };
        writeln!(
            text,
            "{}  at {}  {promise}  {} publications ({} bytes)  {} keys ({} bytes)",
            shelf.channel,
            shelf.position,
            shelf.publications,
            shelf.history_bytes,
            shelf.keys,
            shelf.state_bytes
        )
        .expect("it is written to memory");
    }
    text
}

impl From<StoreError> for StorageFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for StorageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Pattern(error) => write!(f, "--channel is no pattern: {error}"),
            Self::Unreadable(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            Self::Output(error) => write!(f, "nothing can be written to standard output: {error}"),
        }
    }
}

impl std::error::Error for StorageFailure {}
