//! Frames: what stands in the queues of [`super::outbox`].

use std::rc::Rc;

use super::places::{Place, Step};
use crate::{
    limits::{GATHER_BYTES_MAX, GATHERED_FRAME_BYTES_MAX},
    ring::{Encoded, SendBytes},
};

/// Bytes that must not be divided, and how many publications would be lost with them; 0 if they may not be dropped.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: SendBytes,
    pub(super) publications: u32,
    /// What is written before them when they leave: where that brings their client.
    pub(super) step: Option<Step>,
}

/// What a frame takes in a queue beside its bytes, with the counts of an encoding.
pub(super) const FRAME_BYTES: usize = size_of::<Frame>() + size_of::<Encoded>();

impl Frame {
    /// Bytes of so many publications, as they are.
    pub(super) fn of(bytes: SendBytes, publications: u32) -> Self {
        Self { bytes, publications, step: None }
    }

    /// What it counts for in its queue.
    pub(super) fn cost(&self) -> usize {
        self.len() + FRAME_BYTES
    }

    /// The bytes that are sent, or about so many.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.step_bytes()
    }

    pub(super) fn step_bytes(&self) -> usize {
        self.step.map_or(0, Step::bytes)
    }

    /// Writes what stands before it, and moves its client.
    pub(super) fn push_step(&self, out: &mut Vec<u8>, place: Option<&mut Place>) {
        let position = match &self.bytes {
            SendBytes::Encoded(encoded) => encoded.position(),
            SendBytes::Owned(_) | SendBytes::Static(_) | SendBytes::Shared(_) => None,
        };
        if let (Some(step), Some(place)) = (self.step, place) {
            place.push_step(out, step, position);
        }
    }

    /// A large encoding is not copied for each of those who are sent it.
    pub(super) fn gathers_behind(&self, len: usize) -> bool {
        let is_copied =
            matches!(self.bytes, SendBytes::Owned(_)) || self.bytes.len() <= GATHERED_FRAME_BYTES_MAX;
        is_copied && self.len() + len <= GATHER_BYTES_MAX
    }
}

/// The memory that would be free without these bytes: of what others are sent as well, its part.
pub(super) fn weight(bytes: &SendBytes) -> usize {
    match bytes {
        SendBytes::Owned(bytes) => bytes.len(),
        SendBytes::Encoded(encoded) => encoded.as_slice().len() / Rc::strong_count(encoded),
        SendBytes::Static(_) | SendBytes::Shared(_) => 0,
    }
}
