//! What can be read of a host: files under a root, which is `/` for this machine and a directory for a mounted
//! image or a test.
//!
//! This is not where readings are judged (`verdict`), nor where they are changed (`change`). Nothing here fails
//! for want of a file: a reading says that it is missing, or unreadable and why.

pub mod cgroup;
pub mod counters;
pub mod facts;
pub mod limits;
pub mod overwriters;

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use counters::Counters;
pub use facts::{Facts, Nic};
pub use overwriters::Overwriter;

/// What came of looking at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading<T = String> {
    /// It was there.
    Value(T),
    /// It does not exist on this host: an older kernel, a module not loaded, another namespace.
    Missing,
    /// It exists, and reading it was refused or made no sense.
    Unreadable(String),
}

impl<T> Reading<T> {
    /// The value, where there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }

    /// Turns the value into another, or into an unreadable reading with the reason.
    pub fn and_then<U>(self, turn: impl FnOnce(T) -> Result<U, String>) -> Reading<U> {
        match self {
            Self::Value(value) => match turn(value) {
                Ok(turned) => Reading::Value(turned),
                Err(reason) => Reading::Unreadable(reason),
            },
            Self::Missing => Reading::Missing,
            Self::Unreadable(reason) => Reading::Unreadable(reason),
        }
    }
}

/// Whether an io_uring can be created here, and if not, how the kernel said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingProbe {
    /// A ring was created and closed again.
    Works,
    /// `EPERM`: a seccomp filter or `kernel.io_uring_disabled`.
    Denied,
    /// `ENOSYS`: a kernel without io_uring, or a filter that pretends to be one.
    Absent,
    /// Nobody asked: the host is not this machine.
    NotAsked,
}

/// The process whose limits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Our own.
    Ourselves,
    /// A shell, whose limits the server that it starts will inherit.
    Shell(u32),
    /// A server that runs.
    Server(u32),
}

/// One host, seen through its `/proc`, `/sys` and `/etc`.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    subject: Subject,
    ring_probe: RingProbe,
    earlier: Option<Counters>,
}

impl Host {
    /// This machine, seen by this process.
    pub fn live() -> Self {
        Self {
            root: PathBuf::from("/"),
            subject: Subject::Ourselves,
            ring_probe: crate::sys::ring::probe(),
            earlier: None,
        }
    }

    /// A host whose file systems are found under `root`: a mounted image, or a test's directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            subject: Subject::Ourselves,
            ring_probe: RingProbe::NotAsked,
            earlier: None,
        }
    }

    /// The same host, judged by the limits of another process than our own.
    pub fn with_subject(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    /// The same host with a given answer to "can a ring be created here".
    pub fn with_ring_probe(self, ring_probe: RingProbe) -> Self {
        Self { ring_probe, ..self }
    }

    /// The same host, looked at before: counters are judged by what they have grown since.
    pub fn with_earlier(self, earlier: Counters) -> Self {
        Self { earlier: Some(earlier), ..self }
    }

    /// What was counted when the host was first looked at.
    pub fn earlier(&self) -> Option<&Counters> {
        self.earlier.as_ref()
    }

    /// Writes a value where it was read. The kernel takes one `write` as a whole; a file of a fake root is replaced as a
    /// whole too, so that a crash leaves one value or the other, and a file of choices has its brackets moved.
    pub fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let place = self.path(path);
        if self.is_live() {
            return fs::OpenOptions::new().write(true).open(place)?.write_all(value.as_bytes());
        }
        let now = self.read_raw(path);
        let moved = now.value().and_then(|now| move_brackets(now, value.trim()));
        let draft = place.with_extension("draft");
        fs::write(&draft, moved.as_deref().unwrap_or(value))?;
        fs::rename(draft, place)
    }

    /// Where `path`, an absolute path on the host, is to be found from here.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether this is the running machine and not a directory.
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The process whose limits count, as a folder of `/proc`.
    pub fn process_folder(&self) -> String {
        match self.subject {
            Subject::Ourselves => "/proc/self".to_owned(),
            Subject::Shell(pid) | Subject::Server(pid) => format!("/proc/{pid}"),
        }
    }

    /// The process whose limits count.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// What trying to create a ring said.
    pub fn ring_probe(&self) -> RingProbe {
        self.ring_probe
    }

    /// A file's bytes as they are, trailing newline included.
    pub fn read_raw(&self, path: &str) -> Reading {
        match fs::read(self.path(path)) {
            Ok(bytes) => Reading::Value(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Reading::Missing,
            Err(error) => Reading::Unreadable(error.to_string()),
        }
    }

    /// A file's text with its white space collapsed; of a file of choices, the chosen word.
    pub fn read(&self, path: &str) -> Reading {
        self.read_raw(path).and_then(|raw| Ok(settled(&raw)))
    }

    /// A file holding one number.
    pub fn number(&self, path: &str) -> Reading<u64> {
        self.read(path).and_then(|text| text.parse().map_err(|_| format!("`{text}` is not a number")))
    }

    /// Whether the file can be opened for writing, without writing.
    pub fn is_writable(&self, path: &str) -> bool {
        fs::OpenOptions::new().write(true).open(self.path(path)).is_ok()
    }

    /// The names in a folder, sorted; none where it cannot be listed.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The existing paths that match `pattern`, whose parts may hold one `*` each.
    pub fn expand(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for part in pattern.trim_start_matches('/').split('/') {
            found = match part.split_once('*') {
                None => found.into_iter().map(|base| format!("{base}/{part}")).collect(),
                Some((before, after)) => found
                    .into_iter()
                    .flat_map(|base| {
                        let names = self.names(if base.is_empty() { "/" } else { &base });
                        names.into_iter().filter_map(move |name| {
                            let middle = name.strip_prefix(before)?.strip_suffix(after)?;
                            Some(format!("{base}/{before}{middle}{after}"))
                        })
                    })
                    .collect(),
            };
        }
        found.retain(|path| self.path(path).symlink_metadata().is_ok());
        found
    }
}

/// Collapses white space; of `always [madvise] never`, keeps `madvise`.
pub fn settled(raw: &str) -> String {
    let chosen = raw.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    chosen.unwrap_or(raw).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Chooses `word` in a list such as `always [madvise] never`; `None` if `now` is no list holding it.
fn move_brackets(now: &str, word: &str) -> Option<String> {
    now.contains('[').then_some(())?;
    let bare = now.replace(['[', ']'], "");
    bare.split_whitespace().any(|choice| choice == word).then(|| {
        let choices = bare.split_whitespace();
        let marked: Vec<String> = choices
            .map(|choice| if choice == word { format!("[{choice}]") } else { choice.to_owned() })
            .collect();
        marked.join(" ") + "\n"
    })
}

#[cfg(test)]
mod tests {
    use super::{move_brackets, settled};

    #[test]
    fn of_a_list_of_choices_the_chosen_word_is_read() {
        assert_eq!(settled("always [madvise] never\n"), "madvise");
        assert_eq!(settled("4096\t131072\t6291456\n"), "4096 131072 6291456");
    }

    #[test]
    fn choosing_a_word_moves_the_brackets_and_an_unknown_word_does_not() {
        assert_eq!(move_brackets("always [madvise] never\n", "never").unwrap(), "always madvise [never]\n");
        assert_eq!(move_brackets("always [madvise] never\n", "sometimes"), None);
        assert_eq!(move_brackets("4096\n", "4096"), None);
    }
}
