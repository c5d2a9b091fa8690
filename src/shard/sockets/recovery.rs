//! What is kept for clients that come back (connection state recovery): each shard's log of the events it sent, and the
//! sockets whose clients are away.
//!
//! A socket whose client was lost keeps its rooms, so its shard goes on hearing of them. Everything the shard sends is
//! numbered in one log, whatever the channel, and each event carries its number as *offset*. A client that comes back
//! with the last offset it has seen gets what the log holds beyond it and is addressed to it; if the log no longer
//! reaches back that far, the client is told so by a connect like any other. Where it is quiet while others are not,
//! its pongs prove how far it has heard.
//!
//! Which rooms a socket was in when an event was sent is found from those it is in now and from the changes since.
//!
//! Volatile events are not in the log; they carry the offset of the event before. Events that ask for an
//! acknowledgement are not in it either, and carry none.
//!
//! Invariant: a client that was told that it recovered has got every event sent to it, once, and no other.

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::FxHashMap;
use subtle::ConstantTimeEq;

use super::{Sockets, State};
use crate::{
    app::socketio::Settings,
    limits::RECOVERY_ROOM_CHANGES_MAX,
    model::{
        Arguments, ChannelName, Now, Position, Publication, SessionId, ShardId, SharedPublication, SocketId,
    },
    wire::json::Raw,
};

/// The events a shard has sent, oldest first.
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the next one; the first has 1.
    next: u64,
    /// Rooms joined and left, oldest first.
    changes: VecDeque<Change>,
    /// The offset of the last change that has been forgotten before its time.
    forgotten: u64,
    /// The publications that are being handed out, by their address.
    recent: FxHashMap<*const Publication, u64>,
    bytes: usize,
    bytes_max: usize,
    age_max_ms: u64,
}

struct Entry {
    at_ms: u64,
    bytes: usize,
    what: Sent,
}

/// A room joined or left.
struct Change {
    at_ms: u64,
    /// The last event before.
    offset: u64,
    socket: SocketId,
    room: ChannelName,
    /// What is published beyond this is heard; `None` when the room was left.
    joined: Option<Position>,
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
            next: 1,
            changes: VecDeque::new(),
            forgotten: 0,
            recent: FxHashMap::default(),
            bytes: 0,
            bytes_max: settings.recovery_bytes_max as usize,
            age_max_ms: settings.recovery_ms.into(),
        }
    }

    /// Whether anything is kept at all.
    pub(super) fn is_on(&self) -> bool {
        self.age_max_ms > 0
    }

    /// The offset of the last event.
    pub(super) fn latest(&self) -> u64 {
        self.next - 1
    }

    /// The end of [`Self::latest`], to be kept where memory is dear.
    pub(super) fn mark(&self) -> u32 {
        self.latest() as u32
    }

    /// The offset a mark was taken at: two thousand million events are sent in no absence.
    pub(super) fn offset_at(&self, mark: u32) -> u64 {
        self.latest() - u64::from(self.mark().wrapping_sub(mark))
    }

    /// Keeps a publication, once; gives its offset. Who joined while it was waiting gets it by itself, before
    /// [`Self::end_fan_out`].
    pub(super) fn keep_publication(&mut self, now: Now, publication: &SharedPublication) -> u64 {
        let address = Arc::as_ptr(publication);
        if let Some(offset) = self.recent.get(&address).copied()
            && self.holds(offset, publication)
        {
            return offset;
        }
        let offset = self.keep(now, publication.payload.bytes(), Sent::Publication(Arc::clone(publication)));
        self.recent.insert(address, offset);
        offset
    }

    /// Everybody has got what has been published.
    pub(super) fn end_fan_out(&mut self) {
        if !self.recent.is_empty() {
            self.recent.clear();
            self.recent.shrink_to(1024);
        }
    }

    /// Keeps an event to one socket; gives its offset.
    pub(super) fn keep_direct(&mut self, now: Now, socket: SocketId, arguments: &Arguments) -> u64 {
        self.keep(now, arguments.bytes(), Sent::Direct(socket, arguments.clone()))
    }

    /// Notes that something was lost on a channel.
    pub(super) fn keep_loss(&mut self, now: Now, channel: &ChannelName) {
        self.keep(now, 0, Sent::Lost(channel.clone()));
    }

    /// Notes that a socket has joined a room, where its channel was at that position.
    pub(super) fn note_joined(&mut self, now: Now, socket: SocketId, room: ChannelName, position: Position) {
        self.note(now, socket, room, Some(position));
    }

    /// Notes that a socket has left a room.
    pub(super) fn note_left(&mut self, now: Now, socket: SocketId, room: ChannelName) {
        self.note(now, socket, room, None);
    }

    /// Takes back that a socket has left a room: it had never been in.
    pub(super) fn take_back_left(&mut self, socket: SocketId, room: &ChannelName) {
        let is_it = |change: &Change| change.socket == socket && change.room == *room;
        if let Some(at) = self.changes.iter().rposition(is_it)
            && self.changes[at].joined.is_none()
        {
            self.changes.remove(at);
        }
    }

    fn note(&mut self, now: Now, socket: SocketId, room: ChannelName, joined: Option<Position>) {
        if !self.is_on() {
            return;
        }
        if self.changes.len() >= RECOVERY_ROOM_CHANGES_MAX
            && let Some(oldest) = self.changes.pop_front()
        {
            self.forgotten = oldest.offset;
        }
        let change = Change { at_ms: now.monotonic_ms, offset: self.latest(), socket, room, joined };
        self.changes.push_back(change);
    }

    /// What a socket missed after an offset; `None` if it is not all held, or is more than `bytes_max`. `is_in` tells the
    /// channels it hears now.
    pub(super) fn missed(
        &self,
        offset: u64,
        socket: SocketId,
        is_in: impl Fn(&ChannelName) -> bool,
        bytes_max: usize,
    ) -> Option<Vec<(u64, Sent)>> {
        if offset < self.forgotten {
            return None;
        }
        let changes: Vec<_> = self.changes.iter().filter(|change| change.socket == socket).collect();
        let was_in = |channel: &ChannelName, offset, position| {
            was_in(&changes, channel, offset, position, is_in(channel))
        };
        let (mut missed, mut bytes) = (Vec::new(), 0);
        for (offset, entry) in self.after(offset)? {
            let is_missed = match &entry.what {
                Sent::Lost(channel) if was_in(channel, offset, None) => return None,
                Sent::Lost(_) => false,
                Sent::Publication(publication) => {
                    let emission = publication.payload.emission.as_ref();
                    let is_kept_from = emission.is_some_and(|emission| {
                        emission.except_socket == Some(socket)
                            || emission.except_rooms.iter().any(|room| was_in(room, offset, None))
                    });
                    !is_kept_from && was_in(&publication.channel, offset, Some(publication.position))
                }
                Sent::Direct(to, _) => *to == socket,
            };
            if is_missed {
                bytes += entry.bytes;
                missed.push((offset, entry.what.clone()));
            }
        }
        (bytes <= bytes_max).then_some(missed)
    }

    /// What was sent after an offset; `None` if it is not all held.
    fn after(&self, offset: u64) -> Option<impl Iterator<Item = (u64, &Entry)>> {
        let first = self.next - self.entries.len() as u64;
        if offset >= self.next || offset + 1 < first {
            return None;
        }
        let skipped = (offset + 1 - first) as usize;
        Some(self.entries.iter().enumerate().skip(skipped).map(move |(at, entry)| (first + at as u64, entry)))
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
        // What was sent before these is gone as well.
        while let Some(oldest) = self.changes.front()
            && oldest.at_ms + self.age_max_ms < now.monotonic_ms
        {
            self.changes.pop_front();
        }
        self.latest()
    }

    /// Whether an offset is that of this publication, and it has not been dropped since.
    fn holds(&self, offset: u64, publication: &SharedPublication) -> bool {
        let at = offset.checked_sub(self.next - self.entries.len() as u64);
        let entry = at.and_then(|at| self.entries.get(at as usize));
        let is_it =
            |entry: &Entry| matches!(&entry.what, Sent::Publication(kept) if Arc::ptr_eq(kept, publication));
        entry.is_some_and(is_it)
    }
}

/// Whether a socket was in a room when an event was sent, found from the changes since. An event of the room itself, that
/// has a position, may also have been published before the socket joined and sent after.
fn was_in(
    changes: &[&Change],
    room: &ChannelName,
    offset: u64,
    position: Option<Position>,
    is_in: bool,
) -> bool {
    let of_room = changes.iter().filter(|change| change.room == *room);
    let is_late = |change: &&&Change| change.offset >= offset;
    let was_in = of_room.clone().find(is_late).map_or(is_in, |next| next.joined.is_none());
    let joined = of_room.take_while(|change| change.offset < offset).last().and_then(|last| last.joined);
    let was_before =
        |joined: Position| position.is_some_and(|at| at.epoch == joined.epoch && at.offset <= joined.offset);
    was_in && !joined.is_some_and(was_before)
}

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
        #[derive(serde::Deserialize)]
        struct Members {
            pid: String,
            offset: Option<String>,
        }
        let mut bytes = auth.as_str().as_bytes().to_vec();
        let members: Members = simd_json::serde::from_slice(&mut bytes).ok()?;
        let offset = match members.offset {
            Some(offset) => Some(parse_offset(&offset)?),
            None => None,
        };
        Some(Self { pid: members.pid.parse().ok()?, offset })
    }
}

impl Sockets {
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
    use crate::model::Payload;

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

    fn channel(name: &str) -> ChannelName {
        ChannelName::new(name, 255).expect("a name")
    }

    fn position(offset: u64) -> Position {
        Position { epoch: 7, offset }
    }

    fn publication(name: &str, offset: u64) -> SharedPublication {
        let payload = Payload::new(*b"[\"a\"]", None);
        Publication { channel: channel(name), position: position(offset), unix_ms: 0, payload }.into()
    }

    fn offsets_after(log: &Log, offset: u64) -> Option<Vec<u64>> {
        Some(log.after(offset)?.map(|(offset, _)| offset).collect())
    }

    #[test]
    fn what_was_sent_after_an_offset_is_told_or_that_it_is_not_all_held() {
        let mut log = log(1 << 20);
        assert_eq!(offsets_after(&log, 0), Some(vec![]), "nothing has been sent");
        for offset in 1..=5 {
            assert_eq!(keep(&mut log, 0), offset);
        }
        assert_eq!(offsets_after(&log, 2), Some(vec![3, 4, 5]));
        assert_eq!(offsets_after(&log, 5), Some(vec![]));
        assert_eq!(offsets_after(&log, 6), None, "not sent yet");
        keep(&mut log, 1001);
        assert_eq!(offsets_after(&log, 4), None, "too old");
        assert_eq!(offsets_after(&log, 5), Some(vec![6]), "all that came after is held");
    }

    #[test]
    fn the_log_keeps_no_more_bytes_than_it_may() {
        let one = size_of::<Entry>() + 5;
        let mut log = log(3 * one as u32);
        for _ in 0..10 {
            keep(&mut log, 0);
        }
        assert_eq!((log.entries.len(), log.bytes), (3, 3 * one));
        assert_eq!(offsets_after(&log, 7), Some(vec![8, 9, 10]));
        assert_eq!(offsets_after(&log, 6), None);
    }

    #[test]
    fn a_publication_that_is_handed_out_in_parts_is_kept_once_however_long_the_burst() {
        let mut log = log(1 << 20);
        let burst: Vec<_> = (1..=200).map(|offset| publication("a", offset)).collect();
        let mut keep_all =
            || -> Vec<_> { burst.iter().map(|one| log.keep_publication(at(3), one)).collect() };
        assert_eq!(keep_all(), keep_all(), "the list, and who joined meanwhile");
        assert_eq!(log.entries.len(), 200);
    }

    #[test]
    fn rooms_count_only_while_the_socket_was_in_them() {
        let mut log = log(1 << 20);
        let publish = |log: &mut Log, offset| log.keep_publication(at(0), &publication("a", offset));
        let room = || channel("a");
        let before = publish(&mut log, 1);
        log.note_joined(at(0), SOCKET, room(), position(2));
        publish(&mut log, 2);
        let heard = publish(&mut log, 3);
        log.note_left(at(0), SOCKET, room());
        publish(&mut log, 4);
        let missed = |log: &Log, is_in: bool| -> Vec<u64> {
            let missed = log.missed(before - 1, SOCKET, |_| is_in, 1 << 20).expect("all is held");
            missed.into_iter().map(|(offset, _)| offset).collect()
        };
        assert_eq!(missed(&log, false), [heard], "2 was waiting when it joined");
        log.note_left(at(0), SOCKET, room());
        log.take_back_left(SOCKET, &room());
        log.note_joined(at(0), SOCKET, room(), position(4));
        let heard_again = publish(&mut log, 5);
        assert_eq!(missed(&log, true), [heard, heard_again]);
        let other = SocketId { index: 2, ..SOCKET };
        assert_eq!(log.missed(0, other, |_| true, 1 << 20).map(|missed| missed.len()), Some(5));
        assert!(log.missed(0, other, |_| true, 10).is_none(), "more than may be sent at once");
    }

    #[test]
    fn an_offset_is_read_back_from_its_text() {
        for offset in [0, 15, 16, u64::MAX] {
            assert_eq!(parse_offset(&offset_text(offset)), Some(offset));
        }
        assert_eq!(parse_offset("not hex"), None);
    }
}
