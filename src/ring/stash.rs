//! Sockets that are kept for another process: a table of descriptors that belongs to no thread and to none of the process's own
//! descriptors, so that there may be as many as in a shard's ring.
//!
//! ```text
//!   shard's ring ─export─► descriptor ─put─► stash ─look─► descriptor ─► another process
//! ```
//!
//! Whoever looks gets a descriptor of the same socket, however often; dropping the stash closes what nobody else holds.
//!
//! Beside a socket there may be a secret: what its connection is sealed with. Secrets are written behind each other into memory
//! that never moves, and are zeroed with the stash. They stay in the memory of this process, which writes no core where there are
//! any, and leave it through a Unix socket alone ([`crate::mesh::Carriage`]).

use std::{
    fmt, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use io_uring::{IoUring, opcode, types};
use zeroize::Zeroizing;

/// Sockets in the order in which they were put here.
pub struct Stash {
    io: IoUring,
    len: u32,
    secrets: Zeroizing<Vec<u8>>,
    /// Beside which sockets, in rising order, and where each ends.
    ends: Vec<(u32, usize)>,
}

/// Entries of its queue, and so the most that are looked at in one call.
const ENTRIES: u32 = 256;

impl Stash {
    /// Room for so many, and so many bytes of secrets; fails with `EMFILE` beyond `RLIMIT_NOFILE`.
    pub fn new(capacity: u32, secret_bytes: usize) -> io::Result<Self> {
        let io = IoUring::new(ENTRIES)?;
        io.submitter().register_files_sparse(capacity.max(1))?;
        let secrets = Vec::with_capacity(secret_bytes).into();
        Ok(Self { io, len: 0, secrets, ends: Vec::new() })
    }

    /// The place of the next.
    pub fn end(&self) -> u32 {
        self.len
    }

    /// Puts a secret beside a socket, which stands behind those that have one: what `write` appends, for which there is room.
    pub fn put_secret(&mut self, place: u32, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.secrets);
        self.ends.push((place, self.secrets.len()));
    }

    /// The secret beside a socket; nothing where there is none.
    pub fn secret(&self, place: u32) -> &[u8] {
        let Ok(at) = self.ends.binary_search_by_key(&place, |(place, _)| *place) else { return &[] };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        &self.secrets[start..self.ends[at].1]
    }

    /// Puts some behind those that are there; the caller's descriptors may be closed afterwards.
    pub fn put(&mut self, sockets: &[OwnedFd]) -> io::Result<()> {
        let raw: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        self.io.submitter().register_files_update(self.len, &raw)?;
        self.len += sockets.len() as u32;
        Ok(())
    }

    /// Ordinary descriptors of those from this place on: so many, or as many as there is room for in the process's table and in
    /// one call.
    pub fn look(&mut self, from: u32, count: u32) -> io::Result<Vec<OwnedFd>> {
        let end = self.len.min(from.saturating_add(count.min(ENTRIES)));
        for place in from..end {
            // No flags: the descriptor is close-on-exec.
            let entry =
                opcode::FixedFdInstall::new(types::Fixed(place), 0).build().user_data(u64::from(place));
            // SAFETY: the entry points to no memory.
            unsafe { self.io.submission().push(&entry) }.map_err(io::Error::other)?;
        }
        let wanted = end.saturating_sub(from) as usize;
        let mut made: Vec<Option<OwnedFd>> = (0..wanted).map(|_| None).collect();
        let mut ended = 0;
        while ended < wanted {
            match self.io.submit_and_wait(wanted - ended) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            for entry in self.io.completion() {
                ended += 1;
                if entry.result() >= 0 {
                    // SAFETY: the kernel has just put it into the process's table for this completion, which is read once.
                    let descriptor = unsafe { OwnedFd::from_raw_fd(entry.result()) };
                    made[(entry.user_data() - u64::from(from)) as usize] = Some(descriptor);
                }
            }
        }
        // Behind the first that could not be made nothing is given, so that each keeps its place.
        Ok(made.into_iter().map_while(|descriptor| descriptor).collect())
    }
}

impl fmt::Debug for Stash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stash").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn a_secret_is_found_beside_its_socket_alone_and_was_never_moved() {
        let mut stash = Stash::new(9, 5).expect("a table");
        let start = stash.secrets.as_ptr();
        for (place, secret) in [(1, &b"abc"[..]), (4, b"de")] {
            stash.put_secret(place, |out| out.extend_from_slice(secret));
        }
        let found = [0, 1, 2, 4, 5].map(|place| stash.secret(place));
        assert_eq!(found, [&b""[..], b"abc", b"", b"de", b""]);
        assert_eq!(stash.secrets.as_ptr(), start);
    }

    #[test]
    fn sockets_are_looked_at_in_their_order_from_any_thread_and_live_as_long_as_somebody_holds_them() {
        let pairs: Vec<_> = (0..600).map(|_| UnixStream::pair().expect("a pair")).collect();
        let mut stash = Stash::new(600, 0).expect("a table");
        let (ours, mut others): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let ours: Vec<OwnedFd> = ours.into_iter().map(OwnedFd::from).collect();
        ours.chunks(250).for_each(|some| stash.put(some).expect("there is room"));
        drop(ours);
        assert_eq!(stash.len, 600);
        assert!(stash.look(600, 5).expect("nothing").is_empty());
        let looking = std::thread::spawn(move || {
            assert_eq!(stash.look(0, 600).expect("some").len(), ENTRIES as usize);
            for _ in 0..2 {
                let looked = stash.look(598, 5).expect("two are left");
                for (mut socket, text) in looked.into_iter().map(UnixStream::from).zip([b"8", b"9"]) {
                    socket.write_all(text).expect("it is open");
                }
            }
            stash
        });
        let mut stash = looking.join().expect("it looks");
        let mut read = |index: usize| {
            let mut text = [0; 2];
            others[index].read_exact(&mut text).expect("written twice");
            text
        };
        assert_eq!((read(598), read(599)), (*b"88", *b"99"));
        let held = stash.look(3, 1).expect("one");
        drop(stash);
        let mut end = [0];
        assert_eq!(others[4].read(&mut end).expect("the end"), 0);
        drop(held);
        assert_eq!(others[3].read(&mut end).expect("the end"), 0);
    }
}
