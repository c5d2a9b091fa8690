//! Frames for the subscribers of a channel: one encoding, of which each gets a reference. What is compressed for those who
//! agreed to that is `compression.rs`'s.

use std::rc::Rc;

use super::Lines;
use crate::{
    limits::{GATHER_BYTES_MAX, SlowConsumer},
    ring::{Encoded, SendBytes},
    shard::{
        connection::{Flags, NO_QUEUE},
        frames::Frame,
        outbox::{Class, Room},
    },
};

/// What became of a frame for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Delivery {
    /// On its way.
    Queued,
    /// On its way, and this many older publications were dropped for it.
    Dropped(u32),
    /// The queue is full, and the connection is going to be ended.
    Slow,
}

/// A frame for the subscribers of a channel.
pub(in crate::shard) struct Broadcast<'a> {
    pub(in crate::shard) bytes: &'a Rc<Encoded>,
    pub(in crate::shard) publications: u32,
    pub(in crate::shard) slow_consumer: SlowConsumer,
}

impl Lines {
    /// Sends a shared frame to a subscriber. The loop over subscribers runs here; an idle connection needs no queue.
    pub(in crate::shard) fn deliver(&mut self, index: u32, broadcast: &Broadcast<'_>) -> Delivery {
        let record = self.slab.at(index);
        if record.queue == NO_QUEUE && !record.flags.is_busy() && self.may_send {
            self.send(index, SendBytes::Encoded(Rc::clone(broadcast.bytes)));
            return Delivery::Queued;
        }
        match record.flags.has(Flags::DEFLATES) {
            true => self.deliver_deflated(index, broadcast),
            false => self.deliver_bytes(index, Rc::clone(broadcast.bytes), broadcast),
        }
    }

    /// Sends a subscriber its form of a shared frame.
    pub(in crate::shard) fn deliver_bytes(
        &mut self,
        index: u32,
        bytes: Rc<Encoded>,
        broadcast: &Broadcast<'_>,
    ) -> Delivery {
        let (record, bytes) = (self.slab.at(index), SendBytes::Encoded(bytes));
        if record.queue == NO_QUEUE && self.may_send {
            if record.flags.is_free_to_send() {
                self.send(index, bytes);
                return Delivery::Queued;
            }
            if record.flags.is_free_to_seal() {
                return self.deliver_to_seal(index, bytes, broadcast);
            }
        }
        self.queue_publications(index, Frame::of(bytes, broadcast.publications), broadcast.slow_consumer)
    }

    /// Seals a subscriber's form of a shared frame, if it is large only the beginning of it, and sends that.
    fn deliver_to_seal(&mut self, index: u32, bytes: SendBytes, broadcast: &Broadcast<'_>) -> Delivery {
        if bytes.len() <= GATHER_BYTES_MAX {
            self.send_sealed(index, bytes);
            return Delivery::Queued;
        }
        let frame = Frame::of(bytes, broadcast.publications);
        let delivery = self.queue_publications(index, frame, broadcast.slow_consumer);
        if delivery == Delivery::Queued {
            self.send_next(index);
        }
        delivery
    }

    /// Queues publications for a subscriber, whether or not they could be sent at once.
    pub(in crate::shard) fn queue_publications(
        &mut self,
        index: u32,
        frame: Frame,
        slow_consumer: SlowConsumer,
    ) -> Delivery {
        if !self.may_be_told(index, Class::Publication) {
            return Delivery::Slow;
        }
        let (in_flight, len, has_its_turn) = (self.in_flight(index), frame.len(), self.has_its_turn(index));
        let (record, mut dropped) = (self.slab.at(index), 0);
        let (queued, max) = (self.outbox.waiting(record.queue), self.outbox.bytes_max());
        if has_its_turn && queued > 0 && queued + in_flight + len > max {
            match slow_consumer {
                SlowConsumer::Close => {
                    self.find_slow(index);
                    return Delivery::Slow;
                }
                SlowConsumer::DropOldest => {
                    dropped = self.outbox.drop_oldest(record.queue, in_flight, len);
                    // Behind what must not be dropped there is no room for it either.
                    if self.outbox.waiting(record.queue) > 0 && self.outbox.is_full(record.queue, in_flight) {
                        self.outbox.drop_newest(&frame);
                        return Delivery::Dropped(dropped + frame.publications);
                    }
                }
            }
        }
        let joins = queued > 0 && dropped == 0;
        // More may come before it has.
        let admitted = if has_its_turn { Class::Publication } else { Class::Last };
        let room = self.outbox.push(&mut record.queue, in_flight, admitted, frame);
        if joins {
            self.note_joined();
        }
        match (self.after_saying(index, Class::Publication, room), dropped) {
            (Room::Slow, _) => Delivery::Slow,
            (Room::Enough | Room::Pause, 0) => Delivery::Queued,
            (Room::Enough | Room::Pause, dropped) => Delivery::Dropped(dropped),
        }
    }
}
