//! The text of the configuration file when it was last read without a mistake, which a keeper remembers for the server that it
//! starts after a crash: a file that was broken meanwhile does not keep that from serving.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::MemfdFlags;
use tracing::warn;

use super::link::{Link, ToKeeper};

/// A server's way to it.
#[derive(Debug)]
pub struct LastGood {
    link: Link,
    text: Option<String>,
}

impl LastGood {
    /// What the keeper has handed over, if that is something, and the way to tell it of another.
    pub(super) fn new(link: Link, handed: Option<OwnedFd>) -> io::Result<Self> {
        let text = handed.map(read).transpose()?;
        Ok(Self { link, text })
    }

    /// What it was for the server before this one; `None` for one that is not started after a crash.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// From now on it is this.
    pub fn set(&self, text: &str) {
        let told = write(text).and_then(|file| self.link.send(&ToKeeper::Configured, &[file.as_fd()]));
        if let Err(error) = told {
            warn!("the keeper does not know what the configuration file says: {error}");
        }
    }
}

fn write(text: &str) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(c"roadstead-configuration", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Reads all of it, whoever has read of it before.
fn read(file: OwnedFd) -> io::Result<String> {
    let (mut file, mut text) = (File::from(file), String::new());
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_was_written_as_often_as_it_is_wanted() {
        let (server, keeper) = Link::pair().expect("a pair");
        LastGood::new(server, None).expect("nothing to read").set("[server]\n");
        let (said, mut beside) = keeper.recv().expect("readable").expect("said");
        assert_eq!((said, beside.len()), (ToKeeper::Configured, 1));
        let file = beside.remove(0);
        for _ in 0..2 {
            let (server, _keeper) = Link::pair().expect("a pair");
            let handed = file.try_clone().expect("a descriptor");
            assert_eq!(LastGood::new(server, Some(handed)).expect("readable").text(), Some("[server]\n"));
        }
    }
}
