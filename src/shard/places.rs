//! Where the clients of streams of several channels are: the text each is to remember, one position for each channel.
//!
//! It is kept as text, of which an event changes one position, and it is written when an event leaves and not when that is
//! queued. So it says what the client has been sent, in order, and nothing that waits or was dropped: whoever is cut comes
//! back for what it never got. An event and its `id` are one frame ([`super::frames::Frame`]) and go together.
//!
//! ```text
//!   queued:  b:7 │ a:5 (dropped) │ b:8         sent: a:4,b:6
//!   leaves:  id: a:4,b:7 …         id: a:4,b:8 …
//! ```
//!
//! A place goes with its connection: what was queued still leaves when a session has ended.

use std::{
    io::{Cursor, Write},
    num::NonZeroU16,
};

use rustc_hash::FxHashMap;

use crate::{
    limits::STREAM_CHANNELS_MAX,
    model::{POSITION_BYTES_MAX, Position, Positions},
    wire::sse,
};

/// The places of a shard's clients, by connection.
#[derive(Default)]
pub(super) struct Places {
    by_connection: FxHashMap<u32, Place>,
}

/// Where one client is.
pub(super) struct Place {
    /// The positions, as a client brings them back.
    text: Vec<u8>,
    /// Where each of them ends in the text.
    ends: Box<[u16]>,
}

/// What an event is about, which is written before it when it leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The channel's number, from 1.
    part: NonZeroU16,
    /// About so many bytes are written.
    bytes: u16,
}

const _: () = assert!(STREAM_CHANNELS_MAX * POSITION_BYTES_MAX + ID_BYTES < u16::MAX as usize);

/// `id: `, and the end of its line.
const ID_BYTES: usize = 5;

impl Places {
    /// A client that is told where it is begins.
    pub(super) fn begin(&mut self, index: u32, positions: impl Iterator<Item = Option<Position>>) {
        self.by_connection.insert(index, Place::new(positions));
    }

    /// The place of a connection's client, if it is told where it is.
    pub(super) fn of(&mut self, index: u32) -> Option<&mut Place> {
        if self.by_connection.is_empty() { None } else { self.by_connection.get_mut(&index) }
    }

    /// A connection is gone.
    pub(super) fn remove(&mut self, index: u32) {
        if !self.by_connection.is_empty() {
            self.by_connection.remove(&index);
            if self.by_connection.is_empty() {
                self.by_connection = FxHashMap::default();
            }
        }
    }
}

impl Place {
    fn new(positions: impl Iterator<Item = Option<Position>>) -> Self {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        for position in positions {
            if !ends.is_empty() {
                text.push(b',');
            }
            write!(text, "{}", Positions(std::iter::once(position))).expect("writing to a Vec cannot fail");
            ends.push(text.len() as u16);
        }
        Self { text, ends: ends.into() }
    }

    /// The positions, as the client remembers them.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.text).expect("positions are ASCII")
    }

    /// What an event about one of the channels has written before it.
    pub(super) fn step(&self, part: usize) -> Step {
        let part = NonZeroU16::MIN.saturating_add(part as u16);
        Step { part, bytes: (self.text.len() + ID_BYTES) as u16 }
    }

    /// The client has been told everything of a channel up to here.
    pub(super) fn move_to(&mut self, part: usize, position: Position) {
        let mut written = Cursor::new([0; 2 * POSITION_BYTES_MAX]);
        write!(written, "{position}").expect("a position is not longer");
        let len = written.position() as usize;
        let start = part.checked_sub(1).map_or(0, |before| usize::from(self.ends[before]) + 1);
        let end = usize::from(self.ends[part]);
        self.text.splice(start..end, written.into_inner()[..len].iter().copied());
        if start + len != end {
            let ends = self.ends[part..].iter_mut();
            ends.for_each(|of_it| *of_it = (usize::from(*of_it) + start + len - end) as u16);
        }
    }

    /// An event leaves: the beginning of it.
    pub(super) fn push_step(&mut self, out: &mut Vec<u8>, step: Step, position: Option<Position>) {
        if let Some(position) = position {
            self.move_to(usize::from(step.part.get()) - 1, position);
        }
        sse::push_id(out, self.text());
    }
}

impl Step {
    /// The number of its channel, from 0.
    pub(super) fn part(self) -> usize {
        usize::from(self.part.get()) - 1
    }

    /// About so many bytes are written before the event.
    pub(super) fn bytes(self) -> usize {
        self.bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::GATHERED_FRAME_BYTES_MAX,
        ring::SendBytes,
        shard::{
            connection::NO_QUEUE,
            frames::Frame,
            outbox::{Class, Outbox, Room},
        },
    };

    fn queue(outbox: &mut Outbox, queue: &mut u32, step: Step, (offset, len): (u64, usize)) {
        let position = Position { epoch: 1, offset };
        let bytes = SendBytes::Encoded(outbox.encoded_moving(&vec![b'0' + offset as u8; len], position));
        let frame = Frame { bytes, publications: 1, step: Some(step) };
        assert_ne!(outbox.push(queue, 0, Class::Publication, frame), Room::Slow);
    }

    fn sent(outbox: &mut Outbox, queue: &mut u32, place: &mut Place) -> String {
        let sent = outbox.take(queue, Some(place)).expect("something waits");
        let text = String::from_utf8(sent.as_slice().to_vec()).expect("text");
        outbox.recycle(sent);
        text
    }

    #[test]
    fn an_event_leaves_behind_its_id_or_both_are_dropped() {
        let (mut outbox, mut waiting, mut place) =
            (Outbox::new(1 << 20), NO_QUEUE, Place::new([None; 2].into_iter()));
        let steps = [place.step(0), place.step(1)];
        for (offset, step) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
            queue(&mut outbox, &mut waiting, steps[step], (offset, 4));
        }
        let room = (1 << 20) - outbox.waiting(waiting);
        assert_eq!(outbox.drop_oldest(waiting, 0, room), 1, "one, and there is room");
        assert_eq!(outbox.dropped().iter().map(|step| step.part()).collect::<Vec<_>>(), [0]);
        let text = sent(&mut outbox, &mut waiting, &mut place);
        assert_eq!(text, "id: -,1:2\n2222id: 1:3,1:2\n3333id: 1:3,1:4\n4444");
        assert!(outbox.take(&mut waiting, Some(&mut place)).is_none());
        assert_eq!((outbox.total_bytes(), waiting), (0, NO_QUEUE));
    }

    #[test]
    fn a_large_event_is_sent_as_it_is_behind_its_id_and_then_not_dropped_any_more() {
        let (mut outbox, mut waiting, mut place) =
            (Outbox::new(1 << 20), NO_QUEUE, Place::new([None].into_iter()));
        let step = place.step(0);
        let large = GATHERED_FRAME_BYTES_MAX + 1;
        queue(&mut outbox, &mut waiting, step, (1, large));
        queue(&mut outbox, &mut waiting, step, (2, large));
        assert_eq!(sent(&mut outbox, &mut waiting, &mut place), "id: 1:1\n");
        assert_eq!(outbox.drop_oldest(waiting, 0, 1 << 20), 1, "the other one");
        let body = outbox.take(&mut waiting, Some(&mut place)).expect("it waits");
        assert!(matches!(&body, SendBytes::Encoded(_)) && body.len() == large);
        outbox.recycle(body);
        assert!(outbox.take(&mut waiting, Some(&mut place)).is_none());
        assert_eq!((outbox.total_bytes(), waiting), (0, NO_QUEUE));
    }

    #[test]
    fn over_tls_an_event_leaves_behind_its_id() {
        let (mut record, mut peer) = crate::tls::tests::pair();
        let (mut outbox, mut waiting, mut place) =
            (Outbox::new(1 << 20), NO_QUEUE, Place::new([None].into_iter()));
        let step = place.step(0);
        queue(&mut outbox, &mut waiting, step, (1, 4));
        queue(&mut outbox, &mut waiting, step, (2, GATHERED_FRAME_BYTES_MAX + 1));
        let sealed =
            outbox.take_sealed(&mut waiting, record.alone(), None, Some(&mut place)).expect("it waits");
        let mut bytes = sealed.as_slice().to_vec();
        let received = peer.receive(&mut bytes);
        let text = received.plain(&mut bytes);
        assert!(text.starts_with(b"id: 1:1\n1111id: 1:2\n2222"), "{:?}", &text[..30]);
        outbox.recycle(sealed);
        assert_eq!(outbox.total_bytes(), 0);
    }

    #[test]
    fn a_place_is_the_text_of_its_positions_however_long_each_becomes() {
        let mut positions = [None, Some(Position { epoch: 5, offset: 6 }), None];
        let mut place = Place::new(positions.into_iter());
        assert_eq!(place.text, b"-,5:6,-");
        let moves = [(1, 3, 4), (0, 17, 9), (0, 17, 10), (2, u64::MAX, u64::MAX), (1, 4, 0), (2, 1, 2)];
        for (part, epoch, offset) in moves {
            let position = Position { epoch, offset };
            let mut out = Vec::new();
            let step = place.step(part);
            place.push_step(&mut out, step, Some(position));
            positions[part] = Some(position);
            let text = Positions(positions.iter().copied()).to_string();
            assert_eq!(String::from_utf8(out).expect("text"), format!("id: {text}\n"));
        }
    }

    #[test]
    fn a_place_of_no_channels_can_be() {
        assert_eq!(Place::new([].into_iter()).text, b"");
    }
}
