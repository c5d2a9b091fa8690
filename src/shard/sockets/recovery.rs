//! What is kept for clients that come back (connection state recovery): each shard's log of the events it sent, and the
//! sockets whose clients are away.
//!
//! A socket whose client was lost keeps its rooms, so its shard goes on hearing of them. Everything the shard sends is
//! numbered in one log, whatever the channel, and each event carries its number as *offset*. A client that comes back
//! with the last offset it has seen gets what the log holds beyond it and is addressed to it; if the log no longer
//! reaches back that far, the client is told so by a connect like any other. Where it is quiet while others are not,
//! its pongs prove how far it has heard.
//!
//! Which rooms a socket was in when an event was sent is found from those it is in now and from the changes since. Each
//! channel and each socket has a list of its events' offsets, so that a client that comes back costs what it missed and
//! not what the shard said meanwhile:
//!
//! ```text
//!   entries    │ 41 a │ 42 b │ 43 to 7 │ 44 a │ 45 c │      a: 41 44   b: 42   c: 45   socket 7: 43
//!              └ oldest                        └ newest     socket 7 in a, back with 41: looks at 44 and 43
//! ```
//!
//! It is told that in pieces (`returning.rs`): what it missed stays in the log until it has room for more.
//!
//! Volatile events are not in the log; they carry the offset of the event before. Events that ask for an
//! acknowledgement are not in it either, and carry none.
//!
//! Invariant: a client that was told that it recovered has got every event sent to it, once, and no other.

mod left;

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use crate::{
    app::socketio::Settings,
    limits::{RECOVERY_READ_MS, RECOVERY_ROOM_CHANGES_MAX},
    mesh::Sent,
    model::{Arguments, ChannelName, Now, Position, Publication, SharedPublication, SocketId},
};

/// The events a shard has sent, oldest first.
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the next one; the first has 1.
    next: u64,
    /// The offsets of what was sent to or lost on each channel. Clients choose the names, hence a hash with a secret.
    of_channels: HashMap<ChannelName, VecDeque<u64>>,
    /// The offsets of what was sent to each socket alone.
    of_sockets: FxHashMap<SocketId, VecDeque<u64>>,
    changes: Changes,
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

/// Rooms joined and left.
#[derive(Default)]
struct Changes {
    /// When each was, the last event before it, its number, and whose it is; oldest first. Some may have been taken back.
    queue: VecDeque<(u64, u64, u64, SocketId)>,
    of_sockets: FxHashMap<SocketId, VecDeque<Change>>,
    next: u64,
}

/// A room joined or left.
struct Change {
    number: u64,
    /// The last event before.
    offset: u64,
    room: ChannelName,
    /// What is published beyond this is heard; `None` when the room was left.
    joined: Option<Position>,
}

/// Whether a client that comes back can be told all it missed.
pub(super) struct Missed {
    /// All of it is held, and it is no more than a client may have missed.
    pub(super) is_held: bool,
    /// How many events have been looked at.
    pub(super) looked: usize,
}

/// As much of what a socket missed as it is told at once.
pub(super) struct Piece {
    /// With their offsets.
    pub(super) events: Vec<(u64, Sent)>,
    /// What they take in the log.
    pub(super) bytes: usize,
    /// What was sent up to here is told with this piece.
    pub(super) told: u64,
    /// How many events have been looked at.
    pub(super) looked: usize,
}

/// How much there may be in one piece. A larger event is a piece by itself.
#[derive(Clone, Copy)]
pub(super) struct Most {
    /// Events that are looked at, of each channel.
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// Where a socket has been, and up to where it has been told.
pub(super) struct Whereabouts<C, F> {
    pub(super) socket: SocketId,
    pub(super) told: u64,
    /// The channels that it hears now, and a test for them.
    pub(super) channels: C,
    pub(super) is_in: F,
}

/// What an entry of the log takes beside its data: itself and its offset in a list.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<u64>();

impl Log {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            entries: VecDeque::new(),
            next: 1,
            of_channels: HashMap::new(),
            of_sockets: FxHashMap::default(),
            changes: Changes::default(),
            forgotten: 0,
            recent: FxHashMap::default(),
            bytes: 0,
            bytes_max: settings.recovery_bytes_max as usize,
            age_max_ms: match settings.recovery_ms {
                0 => 0,
                // Who comes back at the last moment has time to read what it missed.
                away_ms => u64::from(away_ms) + RECOVERY_READ_MS,
            },
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
        let offset = self.keep(now, Sent::Publication(Arc::clone(publication)));
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
        self.keep(now, Sent::Direct(socket, arguments.clone()))
    }

    /// Notes that something was lost on a channel.
    pub(super) fn keep_loss(&mut self, now: Now, channel: &ChannelName) {
        self.keep(now, Sent::Lost(channel.clone()));
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
        self.changes.take_back_left(socket, room);
    }

    fn note(&mut self, now: Now, socket: SocketId, room: ChannelName, joined: Option<Position>) {
        if !self.is_on() {
            return;
        }
        if self.changes.queue.len() >= RECOVERY_ROOM_CHANGES_MAX
            && let Some(offset) = self.changes.drop_oldest()
        {
            self.forgotten = offset;
        }
        self.changes.push(now.monotonic_ms, self.latest(), socket, room, joined);
    }

    /// Whether all that a socket missed is held, and no more than `bytes_max`.
    pub(super) fn missed<'a, C: Iterator<Item = &'a ChannelName>, F: Fn(&ChannelName) -> bool>(
        &'a self,
        of: Whereabouts<C, F>,
        bytes_max: usize,
    ) -> Missed {
        let (mut looked, mut bytes) = (0, 0);
        let told = self.look(of, usize::MAX, &mut looked, |_, entry| {
            bytes += entry.bytes;
            bytes <= bytes_max
        });
        Missed { is_held: told.is_some() && bytes <= bytes_max, looked }
    }

    /// What a socket is told next of what it missed; `None` if it is not held any more.
    pub(super) fn piece<'a, C: Iterator<Item = &'a ChannelName>, F: Fn(&ChannelName) -> bool>(
        &'a self,
        of: Whereabouts<C, F>,
        most: Most,
    ) -> Option<Piece> {
        let (mut events, mut looked, mut bytes) = (Vec::new(), 0, 0);
        let told = self.look(of, most.events, &mut looked, |offset, entry| {
            bytes += entry.bytes;
            events.push((offset, entry.what.clone()));
            bytes < most.bytes
        })?;
        Some(Piece { events, bytes, told, looked })
    }

    /// Looks at what a socket missed, in order, as long as `visit` wants more and at no more than so many events of each
    /// channel; gives up to where that was. `None` if not all of it is held.
    fn look<'a, C: Iterator<Item = &'a ChannelName>, F: Fn(&ChannelName) -> bool>(
        &'a self,
        of: Whereabouts<C, F>,
        most: usize,
        looked: &mut usize,
        mut visit: impl FnMut(u64, &Entry) -> bool,
    ) -> Option<u64> {
        let Whereabouts { socket, told, channels, is_in } = of;
        let first = self.next - self.entries.len() as u64;
        if told < self.forgotten || told >= self.next || told + 1 < first {
            return None;
        }
        let rooms = self.changes.by_room(socket);
        let channels = channels.chain(rooms.keys().copied().filter(|room| !is_in(room)));
        let (offsets, up_to) = self.offsets_after(told, socket, channels, most);
        let was_in = |channel: &ChannelName, offset, position| {
            let changes = rooms.get(channel).map_or(&[][..], Vec::as_slice);
            was_in(changes, offset, position, is_in(channel))
        };
        for offset in offsets {
            *looked += 1;
            let entry = &self.entries[(offset - first) as usize];
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
            if is_missed && !visit(offset, entry) {
                return Some(offset);
            }
        }
        Some(up_to)
    }

    /// The offsets of what was sent after another on some channels or to a socket, in order, the first `most` of each;
    /// and up to where that is all there is.
    fn offsets_after<'a>(
        &self,
        told: u64,
        socket: SocketId,
        channels: impl Iterator<Item = &'a ChannelName>,
        most: usize,
    ) -> (Vec<u64>, u64) {
        let lists = channels.filter_map(|channel| self.of_channels.get(channel));
        let (mut offsets, mut up_to) = (Vec::new(), self.latest());
        for list in lists.chain(self.of_sockets.get(&socket)) {
            let from = list.partition_point(|one| *one <= told);
            let end = list.len().min(from.saturating_add(most));
            offsets.extend(list.range(from..end));
            if end < list.len() {
                up_to = up_to.min(list[end - 1]);
            }
        }
        offsets.sort_unstable();
        offsets.truncate(offsets.partition_point(|one| *one <= up_to));
        (offsets, up_to)
    }

    fn keep(&mut self, now: Now, what: Sent) -> u64 {
        let offset = self.next;
        let data_bytes = match &what {
            Sent::Publication(publication) => {
                push_offset(&mut self.of_channels, &publication.channel, offset);
                bytes_of(publication)
            }
            Sent::Lost(channel) => {
                push_offset(&mut self.of_channels, channel, offset);
                0
            }
            Sent::Direct(socket, arguments) => {
                push_offset(&mut self.of_sockets, socket, offset);
                arguments_bytes(arguments)
            }
        };
        let bytes = data_bytes + ENTRY_BYTES;
        self.entries.push_back(Entry { at_ms: now.monotonic_ms, bytes, what });
        self.bytes += bytes;
        self.next += 1;
        while let Some(oldest) = self.entries.front()
            && (self.bytes > self.bytes_max || oldest.at_ms + self.age_max_ms < now.monotonic_ms)
        {
            self.drop_oldest();
        }
        // What was sent before these is gone as well.
        while let Some((at_ms, ..)) = self.changes.queue.front()
            && at_ms + self.age_max_ms < now.monotonic_ms
        {
            self.changes.drop_oldest();
        }
        self.latest()
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.bytes -= oldest.bytes;
        match &oldest.what {
            Sent::Publication(publication) => pop_offset(&mut self.of_channels, &publication.channel),
            Sent::Lost(channel) => pop_offset(&mut self.of_channels, channel),
            Sent::Direct(socket, _) => pop_offset(&mut self.of_sockets, socket),
        }
    }

    /// How many events are kept, and their bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
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

impl Changes {
    fn push(
        &mut self,
        at_ms: u64,
        offset: u64,
        socket: SocketId,
        room: ChannelName,
        joined: Option<Position>,
    ) {
        let number = self.next;
        self.next += 1;
        self.queue.push_back((at_ms, offset, number, socket));
        self.of_sockets.entry(socket).or_default().push_back(Change { number, offset, room, joined });
    }

    /// Forgets the oldest; gives the last event before it.
    fn drop_oldest(&mut self) -> Option<u64> {
        let (_, offset, number, socket) = self.queue.pop_front()?;
        if let Some(changes) = self.of_sockets.get_mut(&socket) {
            if changes.front().is_some_and(|oldest| oldest.number == number) {
                changes.pop_front();
            }
            if changes.is_empty() {
                self.of_sockets.remove(&socket);
            }
        }
        Some(offset)
    }

    fn take_back_left(&mut self, socket: SocketId, room: &ChannelName) {
        let Some(changes) = self.of_sockets.get_mut(&socket) else { return };
        if let Some(at) = changes.iter().rposition(|change| change.room == *room)
            && changes[at].joined.is_none()
        {
            changes.remove(at);
        }
    }

    /// A socket's changes of each room, in order.
    fn by_room(&self, socket: SocketId) -> HashMap<&ChannelName, Vec<&Change>> {
        let mut rooms = HashMap::<_, Vec<_>>::new();
        for change in self.of_sockets.get(&socket).into_iter().flatten() {
            rooms.entry(&change.room).or_default().push(change);
        }
        rooms
    }
}

/// Whether a socket was in a room when an event was sent, found from the changes of that room since. An event of the room
/// itself, that has a position, may also have been published before the socket joined and sent after.
fn was_in(changes: &[&Change], offset: u64, position: Option<Position>, is_in: bool) -> bool {
    let (before, after) = changes.split_at(changes.partition_point(|change| change.offset < offset));
    let was_in = after.first().map_or(is_in, |next| next.joined.is_none());
    let joined = before.last().and_then(|last| last.joined);
    let was_before =
        |joined: Position| position.is_some_and(|at| at.epoch == joined.epoch && at.offset <= joined.offset);
    was_in && !joined.is_some_and(was_before)
}

fn push_offset<K: Clone + Eq + Hash, S: BuildHasher>(
    lists: &mut HashMap<K, VecDeque<u64>, S>,
    of: &K,
    offset: u64,
) {
    match lists.get_mut(of) {
        Some(list) => list.push_back(offset),
        None => drop(lists.insert(of.clone(), VecDeque::from([offset]))),
    }
}

/// Forgets the oldest offset of a list, which is that of the oldest entry.
fn pop_offset<K: Eq + Hash, S: BuildHasher>(lists: &mut HashMap<K, VecDeque<u64>, S>, of: &K) {
    let Some(list) = lists.get_mut(of) else { return };
    list.pop_front();
    if list.is_empty() {
        lists.remove(of);
    }
}

/// What a publication takes, with what it holds for Socket.IO alone.
fn bytes_of(publication: &SharedPublication) -> usize {
    let payload = &publication.payload;
    let arguments = payload.emission.as_ref().and_then(|emission| emission.arguments.as_ref());
    payload.data.len() + arguments.map_or(0, arguments_bytes)
}

fn arguments_bytes(arguments: &Arguments) -> usize {
    arguments.json.len() + arguments.attachments.iter().map(|one| one.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Payload, ShardId};

    pub(super) const SOCKET: SocketId = SocketId::local(ShardId(0), 1, 0);

    pub(super) fn log(bytes_max: u32) -> Log {
        Log::new(&Settings { recovery_ms: 1000, recovery_bytes_max: bytes_max, ..Settings::default() })
    }

    pub(super) fn at(monotonic_ms: u64) -> Now {
        Now { monotonic_ms, unix_ms: 0 }
    }

    pub(super) fn keep(log: &mut Log, ms: u64) -> u64 {
        let arguments = Arguments { json: "[\"a\"]".into(), attachments: Box::default() };
        log.keep_direct(at(ms), SOCKET, &arguments)
    }

    pub(super) fn channel(name: &str) -> ChannelName {
        ChannelName::new(name, 255).expect("a name")
    }

    pub(super) fn position(offset: u64) -> Position {
        Position { epoch: 7, offset }
    }

    pub(super) fn publication(name: &str, offset: u64) -> SharedPublication {
        let payload = Payload::new(*b"[\"a\"]", None);
        Publication { channel: channel(name), position: position(offset), unix_ms: 0, payload }.into()
    }

    /// What a socket missed that is in these rooms and in no others, told in pieces however small; `None` if not all of it
    /// is held, or it is more than so many bytes.
    fn missed(
        log: &Log,
        socket: SocketId,
        told: u64,
        rooms: &[ChannelName],
        bytes_max: usize,
    ) -> Option<Vec<u64>> {
        let of = |told| {
            let is_in = |name: &ChannelName| rooms.contains(name);
            Whereabouts { socket, told, channels: rooms.iter(), is_in }
        };
        let pieces = [(1, 1), (2, 1), (1, 1 << 20), (3, 30), (usize::MAX, usize::MAX)];
        let mut told_in = pieces.map(|(events, bytes)| {
            let (mut all, mut told) = (Vec::new(), told);
            while told < log.latest() || all.is_empty() {
                let piece = log.piece(of(told), Most { events, bytes })?;
                all.extend(piece.events.into_iter().map(|(offset, _)| offset));
                if piece.told == log.latest() {
                    return Some(all);
                }
                assert!(piece.told > told && piece.looked <= events.saturating_mul(rooms.len() + 3));
                told = piece.told;
            }
            Some(all)
        });
        let whole = told_in[0].take();
        assert!(told_in[1..].iter().all(|other| *other == whole), "{whole:?}, or {told_in:?}");
        match log.missed(of(told), bytes_max).is_held {
            true => whole,
            false => None,
        }
    }

    /// What the socket missed, when it is in room `a` and nowhere else.
    pub(super) fn offsets_after(log: &Log, offset: u64) -> Option<Vec<u64>> {
        missed(log, SOCKET, offset, &[channel("a")], 1 << 20)
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
        keep(&mut log, 1000 + RECOVERY_READ_MS);
        assert_eq!(offsets_after(&log, 4), Some(vec![5, 6]), "just not too old");
        keep(&mut log, 1001 + RECOVERY_READ_MS);
        assert_eq!(offsets_after(&log, 4), None, "too old");
        assert_eq!(offsets_after(&log, 5), Some(vec![6, 7]), "all that came after is held");
    }

    #[test]
    fn the_log_keeps_no_more_bytes_than_it_may() {
        let one = ENTRY_BYTES + 5;
        let mut log = log(3 * one as u32);
        for _ in 0..10 {
            keep(&mut log, 0);
        }
        assert_eq!((log.entries.len(), log.bytes, log.of_sockets[&SOCKET].len()), (3, 3 * one, 3));
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
        let missed_by = |log: &Log, rooms: &[ChannelName]| missed(log, SOCKET, before - 1, rooms, 1 << 20);
        assert_eq!(missed_by(&log, &[]), Some(vec![heard]), "2 was waiting when it joined");
        log.note_left(at(0), SOCKET, room());
        log.take_back_left(SOCKET, &room());
        log.note_joined(at(0), SOCKET, room(), position(4));
        let heard_again = publish(&mut log, 5);
        assert_eq!(missed_by(&log, &[room()]), Some(vec![heard, heard_again]));
        let other = SocketId { index: 2, ..SOCKET };
        let missed_by = |bytes_max| missed(&log, other, 0, &[room()], bytes_max);
        assert_eq!(missed_by(1 << 20).map(|missed| missed.len()), Some(5));
        assert_eq!(missed_by(5 * (ENTRY_BYTES + 5)).map(|missed| missed.len()), Some(5));
        assert_eq!(missed_by(5 * (ENTRY_BYTES + 5) - 1), None, "more than a client may have missed");
    }

    #[test]
    fn who_left_before_the_oldest_room_change_that_is_remembered_is_not_told_that_it_missed_nothing() {
        let mut log = log(1 << 20);
        for offset in 1..=2 {
            assert_eq!(keep(&mut log, 0), offset);
        }
        for _ in 0..RECOVERY_ROOM_CHANGES_MAX {
            log.note_left(at(0), SOCKET, channel("b"));
        }
        assert_eq!(keep(&mut log, 0), 3);
        assert_eq!(offsets_after(&log, 1), Some(vec![2, 3]), "every change is remembered");
        log.note_left(at(0), SOCKET, channel("b"));
        assert_eq!(offsets_after(&log, 1), None, "one that was at offset 2 is not");
        assert_eq!(offsets_after(&log, 2), Some(vec![3]));
        assert_eq!(log.changes.queue.len(), RECOVERY_ROOM_CHANGES_MAX);
    }

    #[test]
    fn a_client_that_comes_back_costs_what_was_sent_to_it_and_not_what_was_said() {
        let mut log = log(1 << 30);
        for offset in 1..=10_000 {
            log.keep_publication(at(0), &publication("elsewhere", offset));
            log.keep_direct(at(0), SocketId { index: offset as u32 + 10, ..SOCKET }, &Arguments::default());
        }
        log.note_joined(at(0), SOCKET, channel("left since"), position(0));
        let first = log.keep_publication(at(0), &publication("left since", 1));
        log.note_left(at(0), SOCKET, channel("left since"));
        let second = log.keep_publication(at(0), &publication("a", 1));
        let third = keep(&mut log, 0);
        let room = channel("a");
        assert_eq!(offsets_after(&log, 0), Some(vec![first, second, third]));
        let channels = [&room].into_iter();
        let of = Whereabouts { socket: SOCKET, told: 0, channels, is_in: |name: &ChannelName| *name == room };
        assert_eq!(log.missed(of, 1 << 20).looked, 3);
    }

    #[test]
    fn what_the_log_forgets_leaves_nothing_behind() {
        let mut log = log(1 << 20);
        for number in 0..100 {
            let room = format!("room {number}");
            log.keep_publication(at(0), &publication(&room, 1));
            log.note_left(at(0), SOCKET, channel(&room));
            log.take_back_left(SOCKET, &channel(&room));
            log.note_joined(at(0), SocketId { index: number, ..SOCKET }, channel(&room), position(1));
            keep(&mut log, 0);
        }
        keep(&mut log, 2000 + RECOVERY_READ_MS);
        assert_eq!((log.entries.len(), log.of_channels.len(), log.of_sockets.len()), (1, 0, 1));
        assert_eq!((log.changes.queue.len(), log.changes.of_sockets.len()), (0, 0));
    }
}
