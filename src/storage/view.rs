//! A file that is only read, for a store that opens none without writing to it: what it writes stays in memory, and goes with
//! it. So what stands in the file can be read while nothing can be written: the disk is full, or fails, or has become
//! read-only.
//!
//! ```text
//!   read ◄── what was written here, by blocks ──┐
//!                                               ├── in its place
//!   file, as it was when it was opened ─────────┘
//! ```
//!
//! Invariant: nobody writes to the file while it is read so; who does lets go of this before.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{DatabaseError, StorageBackend};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

const BLOCK_BYTES: usize = 4096;

/// Bytes of the file, or written over them.
type Block = Box<[u8; BLOCK_BYTES]>;

/// The file.
#[derive(Debug)]
pub(super) struct View {
    file: File,
    written: Mutex<Written>,
}

/// What has been written to it, as far as is seen here.
#[derive(Debug)]
struct Written {
    len: u64,
    /// Bytes that the file had, and that have not been cut off since.
    of_file: u64,
    /// By their numbers. A store writes little as it opens a file: what it knows of free pages.
    blocks: HashMap<u64, Block>,
}

impl View {
    /// Opens a file, if nobody has it.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let file = File::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DatabaseError::DatabaseAlreadyOpen),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let len = file.metadata()?.len();
        if len == 0 {
            // A store would take it for a new one.
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Self { file, written: Written { len, of_file: len, blocks: HashMap::new() }.into() })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads of the file's first bytes, so many; what is beyond them is zero.
    fn read_file(&self, bytes: &mut [u8], offset: u64, of_file: u64) -> io::Result<()> {
        let there = of_file.saturating_sub(offset).min(bytes.len() as u64);
        self.file.read_exact_at(&mut bytes[..there as usize], offset)
    }
}

/// The blocks in which bytes from here on lie: their numbers, where the bytes begin in each, and how many they are.
fn blocks(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    let first = offset / BLOCK_BYTES as u64;
    (first..end.div_ceil(BLOCK_BYTES as u64)).map(move |number| {
        let start = (number * BLOCK_BYTES as u64).max(offset);
        let stop = ((number + 1) * BLOCK_BYTES as u64).min(end);
        (number, (start % BLOCK_BYTES as u64) as usize, (stop - start) as usize)
    })
}

impl StorageBackend for View {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let written = self.written();
        if offset + len as u64 > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        self.read_file(&mut bytes, offset, written.of_file)?;
        let mut rest = &mut bytes[..];
        for (number, start, count) in blocks(offset, len) {
            let (these, others) = rest.split_at_mut(count);
            if let Some(block) = written.blocks.get(&number) {
                these.copy_from_slice(&block[start..start + count]);
            }
            rest = others;
        }
        Ok(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        (written.len, written.of_file) = (len, written.of_file.min(len));
        written.blocks.retain(|number, block| {
            let kept = len.saturating_sub(number * BLOCK_BYTES as u64).min(BLOCK_BYTES as u64);
            block[kept as usize..].fill(0);
            kept > 0
        });
        Ok(())
    }

    fn sync_data(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let of_file = written.of_file;
        for (number, start, count) in blocks(offset, data.len()) {
            let (these, others) = data.split_at(count);
            let block = match written.blocks.entry(number) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(place) => {
                    let mut block = Box::new([0; BLOCK_BYTES]);
                    self.read_file(&mut block[..], number * BLOCK_BYTES as u64, of_file)?;
                    place.insert(block)
                }
            };
            block[start..start + count].copy_from_slice(these);
            data = others;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_over_a_file_is_read_in_its_place_and_the_file_stays_as_it_was() {
        let path = std::env::temp_dir().join(format!("roadstead-view-{}", std::process::id()));
        let mut rng = fastrand::Rng::with_seed(7);
        let mut expected: Vec<u8> = (0..20_000).map(|_| rng.u8(..)).collect();
        std::fs::write(&path, &expected).expect("there is room");
        let before = expected.clone();
        let view = View::open(&path).expect("it is there");
        for _ in 0..500 {
            let len = expected.len();
            let (from, to) = (rng.usize(..len), rng.usize(..len));
            let (from, to) = (from.min(to), from.max(to));
            match rng.u8(..8) {
                0 => {
                    let data: Vec<u8> = (from..to).map(|_| rng.u8(..)).collect();
                    view.write(from as u64, &data).expect("memory takes it");
                    expected[from..to].copy_from_slice(&data);
                }
                1 => {
                    let other = (len + rng.usize(..4 * BLOCK_BYTES)).saturating_sub(2 * BLOCK_BYTES).max(1);
                    view.set_len(other as u64).expect("memory takes it");
                    expected.resize(other, 0);
                }
                _ => {
                    let read = view.read(from as u64, to - from).expect("it is there");
                    assert_eq!(read, expected[from..to], "{from} to {to}");
                }
            }
        }
        assert_eq!(view.len().expect("a length"), expected.len() as u64);
        assert!(view.read(expected.len() as u64 - 1, 2).is_err(), "there is no more");
        assert!(matches!(View::open(&path), Err(DatabaseError::DatabaseAlreadyOpen)));
        drop(view);
        assert!(View::open(&path).is_ok());
        assert_eq!(std::fs::read(&path).expect("it is there"), before);
        std::fs::remove_file(path).ok();
    }
}
