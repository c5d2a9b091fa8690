//! Connections between a ring's table and the process's: out as ordinary descriptors, and in.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

use io_uring::{opcode, types};

use super::{
    Completion, Errno, Ring, RingError, Socket,
    engine::{Kind, user_data},
};

/// What became of one of several exports.
pub type Exported = (u32, Result<OwnedFd, Errno>);

impl Ring {
    /// Makes an ordinary descriptor of the process for the socket in slot `index`, which stays there as well.
    pub fn export(&mut self, index: u32) {
        // No flags: the descriptor is close-on-exec.
        let entry = opcode::FixedFdInstall::new(types::Fixed(index), 0).build().user_data(user_data(
            Kind::Export,
            0,
            index,
        ));
        self.push(entry);
    }

    /// The same for several slots, in rising order, at once: what became of each. What else ends meanwhile goes into `others`.
    pub fn export_all(
        &mut self,
        indices: &[u32],
        others: &mut Vec<Completion>,
    ) -> Result<Vec<Exported>, RingError> {
        /// They end with the enter that submits them; looked for so often should the kernel put some off.
        const TRIES_MAX: usize = 100;
        let (mut exported, mut reaped) = (Vec::with_capacity(indices.len()), Vec::new());
        indices.iter().for_each(|index| self.export(*index));
        for _ in 0..TRIES_MAX {
            self.enter(indices.len())?;
            self.reap(&mut reaped, usize::MAX);
            for completion in reaped.drain(..) {
                match completion {
                    Completion::Exported { index, result } if indices.binary_search(&index).is_ok() => {
                        exported.push((index, result));
                    }
                    other => others.push(other),
                }
            }
            if exported.len() == indices.len() {
                break;
            }
            self.nap(Duration::from_millis(1))?;
        }
        Ok(exported)
    }

    /// Puts a socket made elsewhere into slot `index`; the caller's descriptor may be closed afterwards.
    pub fn adopt(&mut self, index: u32, socket: Socket<'_>) -> io::Result<()> {
        self.io.submitter().register_files_update(index, &[socket.as_raw_fd()]).map(drop)
    }

    /// The same for several, into the slots from `first` on.
    pub fn adopt_all(&mut self, first: u32, sockets: &[OwnedFd]) -> io::Result<()> {
        let raw: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        self.io.submitter().register_files_update(first, &raw).map(drop)
    }
}
