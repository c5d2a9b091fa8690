//! What waits, sealed for a connection that speaks TLS.
//!
//! What is sealed is a copy for one, so no more than one send's worth is sealed at once; of a larger frame the rest waits, shared
//! with others, at the front of the queue. It is neither dropped nor discarded: its client has the beginning.

use super::{Outbox, Place};
use crate::{
    limits::GATHER_BYTES_MAX,
    ring::SendBytes,
    shard::connection::NO_QUEUE,
    tls::{KeyPlace, Record, Sealer},
};

impl Outbox {
    /// As [`Self::take`], sealed by a connection's record with its key, no more than [`GATHER_BYTES_MAX`] at once, behind what is in
    /// `out`: what is sealed is a copy for one. An answer that the record owes its peer is sent even if nothing waits.
    pub(in crate::shard) fn take_sealed(
        &mut self,
        queue: &mut u32,
        (record, key): (&mut Record, KeyPlace<'_>),
        out: Option<Vec<u8>>,
        place: Option<&mut Place>,
    ) -> Option<SendBytes> {
        if *queue == NO_QUEUE && !record.owes_update() && out.is_none() {
            return None;
        }
        let mut out = out.or_else(|| self.spare.pop()).unwrap_or_default();
        let mut sealer = record.sealer_with(&mut out, key);
        if *queue != NO_QUEUE {
            self.seal_queue(*queue as usize, &mut sealer, place);
        }
        sealer.end();
        if out.is_empty() {
            self.spare(out);
            self.abandon(queue);
            return None;
        }
        Some(self.own(out))
    }

    fn seal_queue(&mut self, index: usize, sealer: &mut Sealer<'_>, mut place: Option<&mut Place>) {
        let queue = &mut self.queues[index];
        queue.is_put_off = false;
        if queue.frames.is_empty() && queue.tail.len() <= GATHER_BYTES_MAX {
            let tail = std::mem::take(&mut queue.tail);
            sealer.add(&tail);
            self.own_bytes -= tail.len() as u64;
            return self.spare(tail);
        }
        self.close_tail(index);
        let mut room = GATHER_BYTES_MAX;
        while let queue = &mut self.queues[index]
            && let Some(next) = queue.frames.front()
        {
            let rest = &next.bytes.as_slice()[queue.begun_bytes..];
            // One that would fit into the next send is not divided, so that it can still be dropped.
            if rest.len() + next.step_bytes() > room && room < GATHER_BYTES_MAX {
                return;
            }
            if next.step.is_some() {
                room = room.saturating_sub(self.seal_step(index, sealer, place.as_deref_mut()));
                continue;
            }
            let taken = rest.len().min(room);
            sealer.add(&rest[..taken]);
            room -= taken;
            if taken < rest.len() {
                queue.begun_bytes += taken;
                queue.frame_bytes -= taken;
                return;
            }
            let frame = self.pop(index).expect("there is a frame");
            self.own_bytes -= frame.bytes.owned_len() as u64;
            if let SendBytes::Owned(buffer) = frame.bytes {
                self.spare(buffer);
            }
        }
    }

    /// Seals what is written before the oldest frame, which moves its client and cannot be dropped any more; how many bytes
    /// that is.
    fn seal_step(&mut self, index: usize, sealer: &mut Sealer<'_>, place: Option<&mut Place>) -> usize {
        let (mut written, frame) = (self.spare.pop().unwrap_or_default(), self.pop(index));
        self.gather(index, frame.expect("there is a frame"), &mut written, place);
        sealer.add(&written);
        let len = written.len();
        self.spare(written);
        len
    }

    /// Seals bytes that have not waited.
    pub(in crate::shard) fn seal(
        &mut self,
        bytes: SendBytes,
        record: &mut Record,
        key: KeyPlace<'_>,
    ) -> SendBytes {
        let mut out = self.spare.pop().unwrap_or_default();
        let mut sealer = record.sealer_with(&mut out, key);
        sealer.add(bytes.as_slice());
        sealer.end();
        self.own(out)
    }
}
