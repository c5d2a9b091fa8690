//! Files of a program that change, for `--watch`: the folders that hold them are watched, and once nothing has changed for a
//! moment, whoever wants to know is told.
//!
//! Folders below named `node_modules` and those whose names begin with a dot are left out, and so is what is no program: JSON and
//! whatever else a program may write itself. The program's own file is one of it, whatever its name, and so are those that end as that does.
//!
//! Invariant: a folder is watched once, and no more of them than [`PROGRAM_WATCHED_FOLDERS_MAX`].

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tracing::{error, info, warn};

use crate::limits::{PROGRAM_WATCH_QUIET_MS, PROGRAM_WATCHED_FOLDERS_MAX};

/// How the names of files end of which a program consists.
const ENDINGS: [&str; 9] = ["js", "mjs", "cjs", "ts", "mts", "cts", "jsx", "tsx", "node"];

/// What of a folder is told.
const TOLD: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ONLYDIR);

/// Changes that do not end are told after so many times the quiet that is waited for.
const QUIETS_MAX: u32 = 20;

/// The folders that are watched.
struct Watched {
    inotify: OwnedFd,
    folders: HashMap<i32, PathBuf>,
    /// The name of the program's own file.
    program: OsString,
    is_full_said: bool,
}

/// Calls `changed` whenever files in the folder of a program, or below it, have changed; on a thread of its own.
pub(super) fn watch(program: &Path, changed: impl Fn() + Send + 'static) -> io::Result<()> {
    let parent = program.parent().filter(|parent| !parent.as_os_str().is_empty());
    let root = fs::canonicalize(parent.unwrap_or(Path::new(".")))?;
    let mut watched = Watched::new(program)?;
    watched.add_root(&root)?;
    info!("the program begins anew when a file in {} changes", root.display());
    let work = move || {
        if let Err(error) = watched.tell(&changed) {
            error!("the files of the program are not watched any more: {error}");
        }
    };
    thread::Builder::new().name("program-watch".to_owned()).spawn(work).map(drop)
}

impl Watched {
    fn new(program: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let program = program.file_name().unwrap_or_default().to_owned();
        Ok(Self { inotify, folders: HashMap::new(), program, is_full_said: false })
    }

    /// Tells of changes for ever.
    fn tell(&mut self, changed: &dyn Fn()) -> io::Result<()> {
        loop {
            self.wait(None)?;
            let mut has_changed = self.take()?;
            let until = Instant::now() + QUIETS_MAX * QUIET;
            while self.wait(Some(QUIET))? {
                has_changed |= self.take()?;
                if Instant::now() >= until {
                    break;
                }
            }
            if has_changed {
                changed();
            }
        }
    }

    /// Waits until something has happened; whether it has.
    fn wait(&self, time: Option<Duration>) -> io::Result<bool> {
        let time = time
            .map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) });
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], time.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what has happened; whether a file of the program has changed by that.
    fn take(&mut self) -> io::Result<bool> {
        let mut has_changed = false;
        let mut folders = Vec::new();
        let mut gone = Vec::new();
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut room);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK | Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            };
            let flags = event.events();
            // More than the kernel remembers.
            has_changed |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            if flags.contains(ReadFlags::IGNORED) {
                gone.push(event.wd());
            }
            let Some(name) = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes())) else {
                continue;
            };
            match flags.contains(ReadFlags::ISDIR) {
                true if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) => {
                    folders.extend(self.folders.get(&event.wd()).map(|folder| folder.join(name)));
                }
                true => {}
                false => has_changed |= is_of_program(&self.program, name),
            }
        }
        for folder in gone {
            self.folders.remove(&folder);
        }
        for folder in folders {
            // It may have gone already.
            has_changed |= self.add_below(&folder).unwrap_or(false);
        }
        Ok(has_changed)
    }

    /// As [`Self::add_root`], unless the folder is left out.
    fn add_below(&mut self, folder: &Path) -> io::Result<bool> {
        let is_left_out = folder.file_name().is_some_and(is_left_out);
        if is_left_out { Ok(false) } else { self.add_root(folder) }
    }

    /// Watches a folder, whatever its name, and those below it; whether files of a program are there.
    fn add_root(&mut self, folder: &Path) -> io::Result<bool> {
        if self.folders.len() >= PROGRAM_WATCHED_FOLDERS_MAX {
            if !std::mem::replace(&mut self.is_full_said, true) {
                warn!(
                    "{} is not watched: there are {PROGRAM_WATCHED_FOLDERS_MAX} before it",
                    folder.display()
                );
            }
            return Ok(false);
        }
        let number = inotify::add_watch(&self.inotify, folder, TOLD)?;
        self.folders.insert(number, folder.to_owned());
        let mut has_files = false;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                // One that has gone meanwhile need not be watched.
                true => has_files |= self.add_below(&entry.path()).unwrap_or(false),
                false => has_files |= is_of_program(&self.program, &entry.file_name()),
            }
        }
        Ok(has_files)
    }
}

const QUIET: Duration = Duration::from_millis(PROGRAM_WATCH_QUIET_MS);

/// Whether what stands in a folder below, or in a file, of this name is not the program's own.
fn is_left_out(name: &OsStr) -> bool {
    name == "node_modules" || name.as_bytes().starts_with(b".")
}

/// Whether a file of this name is one of a program whose own file has that one.
fn is_of_program(program: &OsStr, name: &OsStr) -> bool {
    let ending = Path::new(name).extension();
    let is_known = |ending: &OsStr| ENDINGS.iter().any(|one| ending == *one);
    let is_alike =
        ending.is_some_and(|ending| is_known(ending) || Path::new(program).extension() == Some(ending));
    name == program || (is_alike && !is_left_out(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes with the value.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = format!("roadstead-watching-{}-{name}", std::process::id());
            let folder = Self(std::env::temp_dir().join(folder));
            fs::create_dir_all(&folder.0).expect("a folder");
            folder
        }

        fn write(&self, name: &str) {
            fs::write(self.0.join(name), "x").expect("a file");
        }

        fn make(&self, name: &str) {
            fs::create_dir_all(self.0.join(name)).expect("a folder");
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("it was made here");
        }
    }

    /// What the kernel tells of something stands there when it has been done.
    #[track_caller]
    fn check(watched: &mut Watched, has_changed: bool, what: impl FnOnce()) {
        what();
        assert_eq!(watched.take().expect("it is watched"), has_changed);
    }

    #[test]
    fn files_of_a_program_are_told_of_and_others_are_not() {
        let folder = Folder::new("files");
        for below in ["lib", "node_modules/x", ".git"] {
            folder.make(below);
        }
        folder.write("app.js");
        let mut watched = Watched::new(Path::new("app.js")).expect("inotify");
        assert!(watched.add_root(&folder.0).expect("it is there"));
        assert_eq!(watched.folders.len(), 2);
        for (name, is_told) in [
            ("app.js", true),
            ("lib/new.mts", true),
            ("db.json", false),
            ("notes", false),
            (".app.js", false),
            ("node_modules/x/index.js", false),
            (".git/hook.js", false),
        ] {
            check(&mut watched, is_told, || folder.write(name));
        }
        let moved = || fs::rename(folder.0.join("db.json"), folder.0.join("lib/db.js")).expect("it is there");
        check(&mut watched, true, moved);
        check(&mut watched, true, || fs::remove_file(folder.0.join("app.js")).expect("it is there"));
    }

    #[test]
    fn a_program_is_watched_in_a_folder_of_any_name_and_in_any_language() {
        let folder = Folder::new("hidden");
        folder.make(".app/lib");
        folder.make(".app/.git");
        let mut watched = Watched::new(Path::new("x/.app/program.py")).expect("inotify");
        assert!(!watched.add_root(&folder.0.join(".app")).expect("it is there"));
        for (name, is_told) in [
            (".app/program.py", true),
            (".app/lib/other.py", true),
            (".app/lib/view.js", true),
            (".app/data.json", false),
            (".app/.git/hook.py", false),
        ] {
            check(&mut watched, is_told, || folder.write(name));
        }
        let mut watched = Watched::new(Path::new("server")).expect("inotify");
        watched.add_root(&folder.0).expect("it is there");
        for (name, is_told) in [("server", true), ("log", false), ("server.log", false)] {
            check(&mut watched, is_told, || folder.write(name));
        }
    }

    #[test]
    fn folders_that_come_are_watched_and_those_that_go_are_forgotten() {
        let folder = Folder::new("folders");
        let mut watched = Watched::new(Path::new("app.js")).expect("inotify");
        assert!(!watched.add_root(&folder.0).expect("it is there"));
        check(&mut watched, false, || folder.make("a/b"));
        check(&mut watched, true, || folder.write("a/b/c.ts"));
        let with_file = || {
            folder.make("d");
            folder.write("d/e.js");
        };
        check(&mut watched, true, with_file);
        assert_eq!(watched.folders.len(), 4);
        check(&mut watched, true, || fs::remove_dir_all(folder.0.join("a")).expect("it is there"));
        assert_eq!(watched.folders.len(), 2);
    }
}
