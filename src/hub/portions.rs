//! How publications are handed out: what is given to whom at once, how much of it, and what of it waits.
//!
//! Publications are handed out in portions of no more than so many bytes, or a large one by itself. What waits is counted by
//! what keeps it, so that a burst which is gone, for whatever reason, counts no more.

use std::{cell::Cell, rc::Rc};

use crate::{
    limits::FANOUT_PORTION_BYTES,
    model::{ChannelName, Position, Publication, SharedPublication, Transport},
};

/// Publications to hand to some of a channel's subscribers on this shard.
#[derive(Debug)]
pub struct Fanout<'a> {
    /// The channel.
    pub channel: &'a ChannelName,
    /// The publications, with consecutive offsets; none when all there is to hand out is the gap.
    pub publications: &'a [SharedPublication],
    /// The indices of the connections that get all of them, by [`Transport`] number.
    pub subscribers: [&'a [u32]; Transport::ALL.len()],
    /// A publication before these was lost on the way to this shard.
    pub gap: bool,
    /// The position before the first of these, or the one after the gap when there are none.
    pub since: Position,
    /// It is one publication that is large.
    pub is_large: bool,
}

impl Fanout<'_> {
    /// Bytes of the publications.
    pub fn bytes(&self) -> usize {
        self.publications.iter().map(|one| one.payload.bytes()).sum()
    }
}

/// How many subscribers one [`Fanout`] may have.
#[derive(Clone, Copy, Debug)]
pub struct FanoutLimit {
    /// At most this many, and at least one; the rest follow with the next.
    pub subscribers: usize,
    /// No more than so many bytes of publications for all of them together, but for one subscriber.
    pub small_bytes: usize,
    /// The same of a publication that is large; with 0 none is handed out.
    pub large_bytes: usize,
    /// But all of this transport at once, once its turn has come.
    pub whole: Option<Transport>,
    /// No more than one portion of each channel in one turn, so that what has come at once does not fill the queues of those
    /// who can read no faster than they are sent.
    pub is_paced: bool,
}

/// Why something may not be handed out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Enough of what is small has been.
    Small,
    /// Enough of what is large has been.
    Large,
    /// These subscribers have had their portion in this turn.
    Served,
    /// Something stands before it that has not been handed out.
    Held,
}

impl Wait {
    pub(super) fn of(is_large: bool) -> Self {
        if is_large { Self::Large } else { Self::Small }
    }
}

/// The bytes of one burst, which a sum that all bursts of a shard share counts for as long as they are kept.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) bytes: usize,
    pub(super) sum: Rc<Cell<usize>>,
}

impl FanoutLimit {
    /// No limit.
    pub const NONE: Self = Self {
        subscribers: usize::MAX,
        small_bytes: usize::MAX,
        large_bytes: usize::MAX,
        whole: None,
        is_paced: false,
    };

    /// Whether anything of a size is handed out.
    pub(super) fn lets_through(&self, is_large: bool) -> bool {
        self.bytes(is_large) > 0
    }

    fn bytes(&self, is_large: bool) -> usize {
        if is_large { self.large_bytes } else { self.small_bytes }
    }

    /// How many subscribers are given so many bytes each.
    pub(super) fn room_for(&self, bytes: usize, is_large: bool) -> usize {
        self.subscribers.min(self.bytes(is_large) / bytes.max(1)).max(1)
    }

    /// Whether all of a transport are given something at once. Large events of Socket.IO are, for each fan-out encodes
    /// them.
    pub(super) fn is_whole(&self, transport: Transport, is_large: bool) -> bool {
        self.whole == Some(transport) || (is_large && transport == Transport::SocketIo)
    }
}

impl Gathered {
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.sum.set(self.sum.get() + bytes);
    }

    pub(super) fn subtract(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.sum.set(self.sum.get() - bytes);
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.subtract(self.bytes);
    }
}

/// The memory of a publication that waits.
pub(super) fn cost(publication: &SharedPublication) -> usize {
    size_of::<Publication>() + publication.payload.bytes()
}

/// Whether a publication is handed out by itself, to few at a time.
pub(super) fn is_large(publication: &SharedPublication) -> bool {
    publication.payload.bytes() > FANOUT_PORTION_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_is_given_to_all_sockets_at_once_and_to_others_a_few_at_a_time() {
        let limit = FanoutLimit::NONE;
        for transport in Transport::ALL {
            let is_socketio = transport == Transport::SocketIo;
            let is_whole = |limit: FanoutLimit, is_large| limit.is_whole(transport, is_large);
            assert_eq!(
                (is_whole(limit, true), is_whole(limit, false)),
                (is_socketio, false),
                "{transport:?}"
            );
            let asked = FanoutLimit { whole: Some(transport), ..limit };
            assert!(is_whole(asked, true) && is_whole(asked, false));
        }
    }
}
