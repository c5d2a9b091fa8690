//! What is kept for clients that come back (connection state recovery): each shard's log of the events it sent, and the
//! sockets whose clients are away.
//!
//! A socket whose client was lost keeps its rooms, so its shard goes on hearing of them. Everything the shard sends is
//! numbered in one log, whatever the channel, and each event carries its number as *offset*. A client that comes back
//! with the last offset it has seen gets what the log holds beyond it and is addressed to it; if the log no longer
//! reaches back that far, the client is told so by a connect like any other.
//!
//! Volatile events and events that ask for an acknowledgement are not in the log.

use std::{collections::VecDeque, sync::Arc};

use subtle::ConstantTimeEq;

use super::{Sockets, State};
use crate::{
    app::socketio::Settings,
    model::{Arguments, ChannelName, Now, SessionId, ShardId, SharedPublication, SocketId},
    wire::json::Raw,
};

/// The events a shard has sent, oldest first.
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the next one.
    next: u64,
    bytes: usize,
    bytes_max: usize,
    age_max_ms: u64,
}

struct Entry {
    at_ms: u64,
    bytes: usize,
    what: Sent,
}

/// One event.
#[derive(Clone)]
pub(super) enum Sent {
    /// To a room or namespace.
    Publication(SharedPublication),
    /// To one socket.
    Direct(SocketId, Arguments),
    /// Something was lost on this channel: who was to get it cannot be given all it missed.
    Lost(ChannelName),
}

impl Log {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            entries: VecDeque::new(),
            next: 0,
            bytes: 0,
            bytes_max: settings.recovery_bytes_max as usize,
            age_max_ms: settings.recovery_ms.into(),
        }
    }

    /// Whether anything is kept at all.
    pub(super) fn is_on(&self) -> bool {
        self.age_max_ms > 0
    }

    /// Keeps a publication, once; gives its offset.
    pub(super) fn keep_publication(&mut self, now: Now, publication: &SharedPublication) -> u64 {
        /// Who joined while a publication was waiting gets it by itself, in the same turn as the others.
        const LOOK_BACK: usize = 64;
        let recent = self.entries.iter().rev().take(LOOK_BACK);
        let known = recent.enumerate().find_map(|(back, entry)| match &entry.what {
            Sent::Publication(kept) if Arc::ptr_eq(kept, publication) => Some(back as u64),
            _ => None,
        });
        match known {
            Some(back) => self.next - 1 - back,
            None => {
                self.keep(now, publication.payload.data.len(), Sent::Publication(Arc::clone(publication)))
            }
        }
    }

    /// Keeps an event to one socket; gives its offset.
    pub(super) fn keep_direct(&mut self, now: Now, socket: SocketId, arguments: &Arguments) -> u64 {
        let attached: usize = arguments.attachments.iter().map(|one| one.len()).sum();
        self.keep(now, arguments.json.len() + attached, Sent::Direct(socket, arguments.clone()))
    }

    /// Notes that something was lost on a channel.
    pub(super) fn keep_loss(&mut self, now: Now, channel: &ChannelName) {
        self.keep(now, 0, Sent::Lost(channel.clone()));
    }

    /// What a socket missed after an offset; `None` if it is not all held. `is_in` tells the channels it hears.
    pub(super) fn missed(
        &self,
        offset: u64,
        socket: SocketId,
        is_in: impl Fn(&ChannelName) -> bool,
    ) -> Option<Vec<(u64, Sent)>> {
        let mut missed = Vec::new();
        for (offset, sent) in self.after(offset)? {
            match sent {
                Sent::Lost(channel) if is_in(channel) => return None,
                Sent::Publication(publication) if is_in(&publication.channel) => {
                    let is_kept_from = publication.payload.emission.as_ref().is_some_and(|emission| {
                        emission.except_socket == Some(socket) || emission.except_rooms.iter().any(&is_in)
                    });
                    if !is_kept_from {
                        missed.push((offset, sent.clone()));
                    }
                }
                Sent::Direct(to, _) if *to == socket => missed.push((offset, sent.clone())),
                Sent::Lost(_) | Sent::Publication(_) | Sent::Direct(..) => {}
            }
        }
        Some(missed)
    }

    /// What was sent after an offset; `None` if it is not all held.
    fn after(&self, offset: u64) -> Option<impl Iterator<Item = (u64, &Sent)>> {
        let first = self.next - self.entries.len() as u64;
        if offset >= self.next || offset + 1 < first {
            return None;
        }
        let skipped = (offset + 1 - first) as usize;
        Some(
            self.entries
                .iter()
                .enumerate()
                .skip(skipped)
                .map(move |(at, entry)| (first + at as u64, &entry.what)),
        )
    }

    fn keep(&mut self, now: Now, data_bytes: usize, what: Sent) -> u64 {
        let bytes = data_bytes + size_of::<Entry>();
        self.entries.push_back(Entry { at_ms: now.monotonic_ms, bytes, what });
        self.bytes += bytes;
        self.next += 1;
        while let Some(oldest) = self.entries.front()
            && (self.bytes > self.bytes_max || oldest.at_ms + self.age_max_ms < now.monotonic_ms)
        {
            self.bytes -= oldest.bytes;
            self.entries.pop_front();
        }
        self.next - 1
    }
}

/// What a client that comes back shows.
pub(super) struct Claim {
    /// Which socket it was, and the proof of it.
    pub(super) pid: SessionId,
    /// The last event it has seen.
    pub(super) offset: u64,
}

impl Claim {
    /// Reads what a client sent to enter a namespace; `None` unless it claims to come back.
    pub(super) fn read(auth: Raw<'_>) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Members {
            pid: String,
            offset: String,
        }
        let mut bytes = auth.as_str().as_bytes().to_vec();
        let members: Members = simd_json::serde::from_slice(&mut bytes).ok()?;
        Some(Self { pid: members.pid.parse().ok()?, offset: parse_offset(&members.offset)? })
    }
}

impl Sockets {
    /// The socket a client claims to be, if its client is away and it is of that namespace.
    pub(super) fn find_away(
        &self,
        claim: &Claim,
        shard: ShardId,
        namespace: &str,
    ) -> Option<(u32, SocketId)> {
        let index = claim.pid.index();
        let socket = self.sockets.get(index).filter(|_| claim.pid.shard() == shard)?;
        let is_it = bool::from(socket.secret.ct_eq(&claim.pid.secret()));
        let is_here = socket.state == State::Away && *self.io.namespace_name(socket.namespace) == *namespace;
        (is_it && is_here).then(|| (index, self.id_of(index)))
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

    const SOCKET: SocketId = SocketId { shard: ShardId(0), index: 1, generation: 0 };

    fn log(bytes_max: u32) -> Log {
        Log::new(&Settings { recovery_ms: 1000, recovery_bytes_max: bytes_max, ..Settings::default() })
    }

    fn at(monotonic_ms: u64) -> Now {
        Now { monotonic_ms, unix_ms: 0 }
    }

    fn keep(log: &mut Log, ms: u64) -> u64 {
        let arguments = Arguments { json: "[\"a\"]".into(), attachments: Box::default() };
        log.keep_direct(at(ms), SOCKET, &arguments)
    }

    fn offsets_after(log: &Log, offset: u64) -> Option<Vec<u64>> {
        Some(log.after(offset)?.map(|(offset, _)| offset).collect())
    }

    #[test]
    fn what_was_sent_after_an_offset_is_told_or_that_it_is_not_all_held() {
        let mut log = log(1 << 20);
        for offset in 0..5 {
            assert_eq!(keep(&mut log, 0), offset);
        }
        assert_eq!(offsets_after(&log, 1), Some(vec![2, 3, 4]));
        assert_eq!(offsets_after(&log, 4), Some(vec![]));
        assert_eq!(offsets_after(&log, 5), None, "not sent yet");
        keep(&mut log, 1001);
        assert_eq!(offsets_after(&log, 3), None, "too old");
        assert_eq!(offsets_after(&log, 4), Some(vec![5]), "all that came after is held");
    }

    #[test]
    fn the_log_keeps_no_more_bytes_than_it_may() {
        let one = size_of::<Entry>() + 5;
        let mut log = log(3 * one as u32);
        for _ in 0..10 {
            keep(&mut log, 0);
        }
        assert_eq!((log.entries.len(), log.bytes), (3, 3 * one));
        assert_eq!(offsets_after(&log, 6), Some(vec![7, 8, 9]));
        assert_eq!(offsets_after(&log, 5), None);
    }

    #[test]
    fn an_offset_is_read_back_from_its_text() {
        for offset in [0, 15, 16, u64::MAX] {
            assert_eq!(parse_offset(&offset_text(offset)), Some(offset));
        }
        assert_eq!(parse_offset("not hex"), None);
    }
}
