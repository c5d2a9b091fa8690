//! Sends that stall: whose peers have taken nothing for a while.
//!
//! No send has a timer of its own. Whoever owns the ring counts rounds; a send remembers in which of them its peer last
//! took some of it, and one that remembers a round long past stalls.

use super::{Ring, SendBytes, SendId};

impl Ring {
    /// Bytes of a connection's send that the kernel has not taken yet; none of one that has ended.
    pub fn unsent(&self, send: SendId, index: u32) -> usize {
        self.sends.unsent(send, index)
    }

    /// Whether a connection's send waits for the next enter, so that its peer has had no chance to take any of it.
    pub fn is_new(&self, send: SendId, index: u32) -> bool {
        self.sends.is_new(send, index)
    }

    /// All bytes of a connection's send that has not ended.
    pub fn bytes_of(&self, send: SendId, index: u32) -> Option<&SendBytes> {
        self.sends.bytes(send, index)
    }

    /// Whether no send waits for its peer.
    pub fn sends_nothing(&self) -> bool {
        self.sends.none_wait()
    }

    /// Begins another round.
    pub fn begin_round(&mut self) {
        self.sends.begin_round();
    }

    /// Looks at `count` sends from the place `from` on, and adds the connections of those of which nothing has been
    /// taken for more than `rounds` rounds; tells where to look on, if there are more.
    pub fn stalled(&self, from: usize, count: usize, rounds: u8, into: &mut Vec<u32>) -> Option<usize> {
        self.sends.stalled(from, count, rounds, into)
    }
}
