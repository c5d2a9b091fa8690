//! What a client that comes back shows: which socket it was, and how far it has heard.

use subtle::ConstantTimeEq;

use super::{Engines, State};
use crate::{
    model::{SessionId, ShardId, SocketId},
    wire::json::Raw,
};

/// What a client that comes back shows.
pub(super) struct Claim {
    /// Which socket it was, and the proof of it.
    pub(super) pid: SessionId,
    /// The last event it has seen, if it has seen one.
    pub(super) offset: Option<u64>,
}

impl Claim {
    /// Reads what a client sent to enter a namespace; `None` unless it claims to come back.
    pub(super) fn read(auth: Raw<'_>) -> Option<Self> {
        let (mut pid, mut offset) = (None, None);
        for (name, value) in auth.members()?.flatten() {
            match &*name {
                "pid" => pid = Some(value.text()?.ok()?),
                "offset" if value.as_str() == "null" => offset = None,
                "offset" => offset = Some(parse_offset(&value.text()?.ok()?)?),
                _ => {}
            }
        }
        Some(Self { pid: pid?.parse().ok()?, offset })
    }
}

impl Engines {
    /// The socket a client claims to be, if it has been in that namespace.
    pub(super) fn find_claimed(&self, claim: &Claim, shard: ShardId, namespace: &str) -> Option<SocketId> {
        let index = claim.pid.index();
        let socket = self.sockets.get(index).filter(|_| claim.pid.shard() == shard)?;
        let is_it = bool::from(socket.secret.ct_eq(&claim.pid.secret()));
        let was_in = socket.state != State::Joining && self.io.is_named(socket.namespace, namespace);
        (is_it && was_in).then(|| self.id_of(index))
    }
}

/// An offset as clients see it.
pub(super) fn offset_text(offset: u64) -> String {
    format!("{offset:x}")
}

/// The offset a client sent back.
pub(super) fn parse_offset(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_back_from_its_text() {
        for offset in [0, 15, 16, u64::MAX] {
            assert_eq!(parse_offset(&offset_text(offset)), Some(offset));
        }
        assert_eq!(parse_offset("not hex"), None);
    }
}
