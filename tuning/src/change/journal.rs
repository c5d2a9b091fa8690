//! The journal of one `tune apply`: a line per intended write, on disk before the write is made.
//!
//! A torn last line means that its write never began, and is ignored. A journal that was rolled back is renamed, so
//! that the newest one left is the one to undo.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::host::Host;

/// Where journals are kept.
pub const FOLDER: &str = "/var/lib/roadstead/tune";
const ENDING: &str = "journal";
const ENDING_UNDONE: &str = "undone";

/// A limit's name in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum LimitName {
    Nofile,
    Memlock,
}

/// What is written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Target {
    /// A file of `/proc/sys`, `/sys`, or one of our own in `/etc`.
    File {
        /// Its path on the host.
        path: String,
    },
    /// A limit of a running process.
    Limit {
        /// The process.
        pid: u32,
        /// When it was started, so that its successor is not taken for it.
        started: u64,
        /// Which limit.
        resource: LimitName,
    },
}

/// One intended write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The setting's id.
    pub setting: String,
    /// What is written to.
    pub target: Target,
    /// Its exact bytes before; `None` if there was no such file.
    pub old: Option<String>,
    /// What is written.
    pub new: String,
    /// Seconds since 1970.
    pub time: u64,
    /// The boot during which it was written.
    pub boot_id: String,
}

/// A journal open for appending.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Creates a journal of its own for this apply, in the host's folder or at a path that the caller chose.
    pub fn create(host: &Host, chosen: Option<&Path>) -> io::Result<Self> {
        let path = match chosen {
            Some(path) => path.to_owned(),
            None => {
                let folder = host.path(FOLDER);
                fs::create_dir_all(&folder)?;
                // Two applies within a second get different names, in the order in which they began.
                let name = format!("{:020}.{ENDING}", now().as_nanos());
                folder.join(name)
            }
        };
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self { file, path })
    }

    /// Puts an entry on disk. Only then may its write be made.
    pub fn record(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_string(entry).map_err(io::Error::other)?;
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The entries of a journal, oldest first.
pub fn load(path: &Path) -> io::Result<Vec<Entry>> {
    let text = fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
}

/// The newest journal that was not rolled back.
pub fn newest(host: &Host) -> Option<PathBuf> {
    let names = host.names(FOLDER);
    let name = names.into_iter().rfind(|name| name.ends_with(&format!(".{ENDING}")))?;
    Some(host.path(FOLDER).join(name))
}

/// Marks a journal as rolled back.
pub fn retire(path: &Path) -> io::Result<()> {
    fs::rename(path, path.with_extension(ENDING_UNDONE))
}

/// Seconds since 1970, for an entry.
pub fn time() -> u64 {
    now().as_secs()
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
