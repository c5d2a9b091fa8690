//! What an engine keeps for one connection.
//!
//! Invariant: a slot is free only when it has ended and no operation of it is under way.

use roadstead::ring::SendId;

use super::{ConnectionId, QUEUE_BYTES_MAX, SendError};

/// One connection's place.
#[derive(Default)]
pub(super) struct Slot {
    pub generation: u32,
    pub phase: Phase,
    pub is_connecting: bool,
    pub is_polled: bool,
    pub is_receiving: bool,
    pub has_news: bool,
    pub is_closing: bool,
    pub is_free: bool,
    pub send: Option<SendId>,
    /// What was sent while a send was under way, or before the connection was established.
    #[expect(
        clippy::box_collection,
        reason = "an idle connection pays one pointer, not a vector's three words"
    )]
    pub gathered: Option<Box<Vec<u8>>>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Open,
    #[default]
    Ended,
}

const _: () = assert!(size_of::<Slot>() <= 32);

impl Slot {
    /// Takes the slot for a new connection.
    pub fn begin(&mut self) {
        let generation = self.generation;
        *self = Self { generation, phase: Phase::Connecting, is_connecting: true, ..Self::default() };
    }

    /// Ends the connection whose descriptor is being closed.
    pub fn end(&mut self) {
        self.phase = Phase::Ended;
        self.is_closing = true;
        self.gathered = None;
        self.generation = self.generation.wrapping_add(1);
    }

    /// Keeps bytes for the next send.
    pub fn gather(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let gathered = self.gathered.get_or_insert_default();
        if gathered.len() + bytes.len() > QUEUE_BYTES_MAX {
            return Err(SendError::Full);
        }
        gathered.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether `id` names the connection that is here now.
    pub fn is(&self, id: ConnectionId) -> bool {
        self.generation == id.generation && self.phase != Phase::Ended
    }

    /// Whether an operation is under way.
    pub fn is_busy(&self) -> bool {
        self.is_connecting || self.is_polled || self.is_receiving || self.is_closing || self.send.is_some()
    }
}
