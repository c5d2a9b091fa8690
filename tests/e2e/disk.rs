//! Disks that have little room, and disks that fail.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{server::Server, storage::Folder};

/// What stands between a server and the file of its channels (`disk_faults.c`).
pub struct Faults {
    folder: Folder,
    library: PathBuf,
}

/// Makes a library of a file of this folder, for programs that are started with it (`LD_PRELOAD`).
pub fn make_library(folder: &Folder, source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e").join(source);
    let library = folder.0.join("library.so");
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    let is_made = cc.expect("cc runs: it links whatever is built here").success();
    assert!(is_made, "tests of what fails need a C compiler with the headers of libc");
    library
}

impl Faults {
    pub fn new(name: &str) -> Self {
        let folder = Folder::new(&format!("{name}-faults"));
        let library = make_library(&folder, "disk_faults.c");
        let faults = Self { folder, library };
        faults.order("");
        faults
    }

    /// From now on the disk does this: `write`, `sync`, `read` or `short`, `full`, and without a word what it should.
    pub fn order(&self, fault: &str) {
        // In one piece, for it is read at any moment.
        let (new, order) = (self.folder.0.join("new"), self.folder.0.join("order"));
        fs::write(&new, fault).and_then(|()| fs::rename(new, order)).expect("it can be written");
    }

    /// The command that starts a server with such a disk.
    pub fn command(&self, settings: &[&str]) -> Command {
        let mut command = Server::command(2, &["127.0.0.1:0"], settings);
        command.env("LD_PRELOAD", &self.library).env("DISK_FAULTS", self.folder.0.join("order"));
        command
    }

    pub fn launch(&self, settings: &[&str]) -> Server {
        Server::launch(&mut self.command(settings))
    }
}

/// A disk with eight megabytes of room: a file system of that size, or, where this process may mount none, one that says so.
pub struct SmallDisk {
    folder: Folder,
    pretence: Option<Faults>,
}

impl SmallDisk {
    pub fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let is_mounted = mount(&folder.0, &["-t", "tmpfs", "-o", "size=8m", "tmpfs"]);
        let pretence = (!is_mounted).then(|| Faults::new(name));
        pretence.iter().for_each(|faults| faults.order("full"));
        Self { folder, pretence }
    }

    pub fn path(&self) -> &Path {
        &self.folder.0
    }

    pub fn launch(&self, settings: &[&str]) -> Server {
        match &self.pretence {
            Some(faults) => faults.launch(settings),
            None => Server::start(settings),
        }
    }

    /// There is room.
    pub fn grow(&self) {
        match &self.pretence {
            Some(faults) => faults.order(""),
            None => assert!(mount(self.path(), &["-o", "remount,size=256m"])),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.pretence.is_none() {
            Command::new("umount").arg(self.path()).status().ok();
        }
    }
}

fn mount(path: &Path, arguments: &[&str]) -> bool {
    let status = Command::new("mount").args(arguments).arg(path).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
