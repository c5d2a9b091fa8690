//! Bytes on their way out.

use std::{cell::Cell, rc::Rc};

use crate::model::Position;

/// Bytes to send. The ring owns them until the kernel is done with them.
#[derive(Clone, Debug)]
pub enum SendBytes {
    /// Live as long as the program.
    Static(&'static [u8]),
    /// Lives on anyhow, shared by many connections of this shard.
    Shared(Rc<[u8]>),
    /// One encoding, which lives as long as somebody is to be sent it.
    Encoded(Rc<Encoded>),
    /// Gathered for one connection; comes back with the completion, to be used again.
    Owned(Vec<u8>),
}

/// One encoding for many connections of this shard. A sum that its maker keeps counts it, once, for as long as it lives.
#[derive(Debug)]
pub struct Encoded {
    bytes: Box<[u8]>,
    /// Where whoever has been sent this is in the channel that it is about, if that is to be known.
    position: Option<Position>,
    sum: Rc<Cell<u64>>,
}

impl Encoded {
    /// Keeps bytes, and adds them to a sum until they go.
    pub fn new(bytes: &[u8], sum: &Rc<Cell<u64>>) -> Rc<Self> {
        Self::moving(bytes, None, sum)
    }

    /// As [`Self::new`], of bytes that move whoever is sent them to a position in their channel.
    pub fn moving(bytes: &[u8], position: Option<Position>, sum: &Rc<Cell<u64>>) -> Rc<Self> {
        sum.set(sum.get() + bytes.len() as u64);
        Rc::new(Self { bytes: bytes.into(), position, sum: Rc::clone(sum) })
    }

    /// Where whoever has been sent this is in its channel.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        self.sum.set(self.sum.get() - self.bytes.len() as u64);
    }
}

impl SendBytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Encoded(encoded) => encoded.as_slice(),
            Self::Owned(bytes) => bytes,
        }
    }

    /// Bytes that live for one connection alone.
    pub fn owned_len(&self) -> usize {
        match self {
            Self::Owned(bytes) => bytes.len(),
            Self::Static(_) | Self::Shared(_) | Self::Encoded(_) => 0,
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
