//! Bytes on their way out.

use std::rc::Rc;

/// Bytes to send. The ring owns them until the kernel is done with them.
#[derive(Clone, Debug)]
pub enum SendBytes {
    /// Live as long as the program.
    Static(&'static [u8]),
    /// One encoding shared by many connections of this shard.
    Shared(Rc<[u8]>),
    /// Gathered for one connection; comes back with the completion, to be used again.
    Owned(Vec<u8>),
}

impl SendBytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
