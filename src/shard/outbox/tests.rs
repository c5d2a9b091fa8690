//! Queues that are filled and sent by hand.

use super::*;
use crate::{
    limits::{GATHER_BYTES_MAX, GATHERED_FRAME_BYTES_MAX},
    tls::Record,
};

const BOUND: usize = 1000;

fn outbox() -> Outbox {
    Outbox::new(BOUND)
}

fn frame(outbox: &Outbox, byte: u8, len: usize, publications: u32) -> Frame {
    Frame::of(SendBytes::Encoded(outbox.encoded(&vec![byte; len])), publications)
}

fn push(outbox: &mut Outbox, queue: &mut u32, byte: u8, len: usize, publications: u32) -> Room {
    let frame = frame(outbox, byte, len, publications);
    outbox.push(queue, 0, Class::Last, frame)
}

fn say(outbox: &mut Outbox, queue: &mut u32, class: Class, text: &[u8]) -> Room {
    outbox.say(queue, 0, class, |out| out.extend_from_slice(text))
}

#[test]
fn frames_and_tails_leave_in_the_order_they_came() {
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    say(&mut outbox, &mut queue, Class::Answer, b"ab");
    push(&mut outbox, &mut queue, b'c', 2, 1);
    say(&mut outbox, &mut queue, Class::Answer, b"de");
    assert_eq!(outbox.waiting(queue), 6 + 2 * FRAME_BYTES);
    let sent = outbox.take(&mut queue, None).expect("six bytes wait");
    assert_eq!(sent.as_slice(), b"abccde");
    outbox.recycle(sent);
    assert!(outbox.take(&mut queue, None).is_none());
    assert_eq!(queue, NO_QUEUE, "an empty queue is given back");
}

#[test]
fn a_single_frame_is_not_copied_and_a_large_one_is_not_joined() {
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    push(&mut outbox, &mut queue, b'a', 100, 1);
    assert!(matches!(outbox.take(&mut queue, None), Some(SendBytes::Encoded(_))));
    for large in [GATHERED_FRAME_BYTES_MAX + 1, GATHER_BYTES_MAX] {
        push(&mut outbox, &mut queue, b'a', 1, 1);
        push(&mut outbox, &mut queue, b'b', large, 1);
        assert_eq!(outbox.take(&mut queue, None).map(|bytes| bytes.len()), Some(1));
        assert_eq!(outbox.take(&mut queue, None).map(|bytes| bytes.len()), Some(large));
        assert!(outbox.take(&mut queue, None).is_none());
    }
}

#[test]
fn only_publications_are_dropped_and_only_as_many_as_needed() {
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    push(&mut outbox, &mut queue, b'h', 10, 0);
    for byte in b"123" {
        push(&mut outbox, &mut queue, *byte, 180, 2);
    }
    let wanted = BOUND - outbox.waiting(queue) - FRAME_BYTES;
    assert_eq!(outbox.drop_oldest(queue, 0, wanted), 0, "there is room for just so much");
    assert_eq!(outbox.drop_oldest(queue, 1, wanted), 2, "not if something is in flight");
    let sent = outbox.take(&mut queue, None).expect("three frames wait");
    assert_eq!(sent.as_slice(), [vec![b'h'; 10], vec![b'2'; 180], vec![b'3'; 180]].concat());
    outbox.recycle(sent);
    assert_eq!(outbox.total_bytes(), 0);
}

#[test]
fn answers_and_pongs_pause_at_the_bound_and_are_refused_when_as_much_again_came() {
    for class in [Class::Answer, Class::Control, Class::Recovery] {
        let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
        assert_eq!(say(&mut outbox, &mut queue, class, &[b'a'; BOUND]), Room::Enough, "just so much");
        assert_eq!(say(&mut outbox, &mut queue, class, b"b"), Room::Pause);
        let mut taken = outbox.waiting(queue);
        while say(&mut outbox, &mut queue, class, &[b'c'; 100]) == Room::Pause {
            taken += 100;
            assert!(taken < 3 * BOUND, "{taken} bytes wait");
        }
        assert_eq!(outbox.waiting(queue), taken, "what is refused is not written");
        assert!(taken >= 2 * BOUND, "one more answer than fills the queue does not end a client");
        assert_ne!(say(&mut outbox, &mut queue, Class::Last, b"bye"), Room::Slow);
    }
}

#[test]
fn one_answer_larger_than_the_bound_is_taken_and_small_ones_behind_it() {
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    assert_eq!(say(&mut outbox, &mut queue, Class::Answer, &[b'a'; 9 * BOUND]), Room::Pause);
    assert_eq!(say(&mut outbox, &mut queue, Class::Answer, b"b"), Room::Pause);
    let sent = outbox.take(&mut queue, None).expect("all of it");
    outbox.recycle(sent);
    for _ in 0..30 {
        assert_eq!(say(&mut outbox, &mut queue, Class::Answer, &[b'a'; BOUND + 1]), Room::Pause);
        let sent = outbox.take(&mut queue, None).expect("all of it");
        outbox.recycle(sent);
    }
}

#[test]
fn bytes_in_flight_count_but_alone_do_not_make_a_subscriber_slow() {
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    let publication = frame(&outbox, b'a', 10, 1);
    assert_eq!(outbox.push(&mut queue, 2 * BOUND, Class::Publication, publication), Room::Pause);
    let publication = frame(&outbox, b'a', 10, 1);
    assert_eq!(outbox.push(&mut queue, 2 * BOUND, Class::Publication, publication), Room::Slow);
    assert!(outbox.is_full(queue, BOUND) && !outbox.is_full(queue, 0));
}

#[test]
fn the_sum_counts_own_bytes_until_they_are_sent_and_an_encoding_once() {
    let mut outbox = outbox();
    let mut queues = [NO_QUEUE; 5];
    let encoding = outbox.encoded(&[b'e'; 500]);
    for queue in &mut queues {
        say(&mut outbox, queue, Class::Answer, &[b'o'; 100]);
        let frame = Frame::of(SendBytes::Encoded(Rc::clone(&encoding)), 1);
        outbox.push(queue, 0, Class::Publication, frame);
    }
    drop(encoding);
    assert_eq!(outbox.total_bytes() as usize, 500 + 5 * (100 + 2 * FRAME_BYTES));
    assert_eq!(outbox.weight(queues[0]), 100 + 500 / 5 + 2 * FRAME_BYTES);
    let sent = outbox.take(&mut queues[0], None).expect("600 bytes");
    assert_eq!(outbox.total_bytes() as usize, 500 + 4 * (100 + 2 * FRAME_BYTES) + 600, "in flight");
    outbox.recycle(sent);
    queues.iter_mut().for_each(|queue| outbox.discard(queue));
    assert_eq!(outbox.total_bytes(), 0);
}

#[test]
fn a_buffer_is_used_again_and_one_without_memory_is_not_kept() {
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    for _ in 0..10 {
        say(&mut outbox, &mut queue, Class::Answer, b"hello");
        let sent = outbox.take(&mut queue, None).expect("five bytes");
        assert!(outbox.take(&mut queue, None).is_none(), "the queue is released without its buffer");
        outbox.recycle(sent);
        assert_eq!(outbox.spare.len(), 1);
        assert!(outbox.spare[0].capacity() >= 5, "the next reply begins with an allocation");
    }
}

#[test]
fn what_waits_is_sealed_together_in_order_and_counts_until_it_has_left() {
    let (mut record, mut peer) = crate::tls::tests::pair();
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    push(&mut outbox, &mut queue, b'a', 100, 1);
    say(&mut outbox, &mut queue, Class::Last, b"small");
    push(&mut outbox, &mut queue, b'b', 300, 1);
    say(&mut outbox, &mut queue, Class::Last, b"tail");
    let raw = Some(b"raw".to_vec());
    let sealed = outbox.take_sealed(&mut queue, record.alone(), raw, None).expect("something waits");
    let mut bytes = sealed.as_slice().to_vec();
    assert_eq!((outbox.total_bytes(), outbox.waiting(queue)), (bytes.len() as u64, 0));
    assert!(bytes.starts_with(b"raw"), "what was said in the handshake goes first");
    let received = peer.receive(&mut bytes[3..]);
    let expected = [&[b'a'; 100][..], b"small", &[b'b'; 300], b"tail"].concat();
    assert_eq!(received.plain(&mut bytes[3..]), expected);
    assert_eq!(received.consumed, 5 + expected.len() + 17, "one record");
    outbox.recycle(sealed);
    assert!(outbox.take_sealed(&mut queue, record.alone(), None, None).is_none());
    assert_eq!((queue, outbox.total_bytes()), (NO_QUEUE, 0));
}

#[test]
fn what_is_expected_counts_in_full_until_it_is_written_and_then_as_what_it_is() {
    let (outbox, piece) = (outbox(), MADE_BYTES_PER_TURN / 4);
    (0..4).for_each(|_| outbox.expect_made(piece));
    assert!(outbox.has_made_enough());
    for _ in 0..4 {
        outbox.note_made(100);
        outbox.expect_no_more(piece);
        assert!(!outbox.has_made_enough());
    }
    // Of what does not come in this turn, nothing counts in the next.
    (0..4).for_each(|_| outbox.expect_made(piece));
    assert_eq!((outbox.take_made(), outbox.has_made_enough()), (400, false));
}

#[test]
fn new_keys_that_are_owed_are_sent_though_nothing_waits() {
    let (mut record, mut peer) = crate::tls::tests::pair();
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    assert!(outbox.take_sealed(&mut queue, record.alone(), None, None).is_none());
    let mut asked = peer.asks_for_new_keys();
    assert_eq!(record.receive(&mut asked).ended, None);
    let sealed = outbox.take_sealed(&mut queue, record.alone(), None, None).expect("it is owed");
    assert_eq!(peer.receive(&mut sealed.as_slice().to_vec()).ended, None);
    outbox.recycle(sealed);
    assert_eq!((queue, outbox.total_bytes()), (NO_QUEUE, 0));
}

/// Seals what waits next, as one send; the plaintext, and its length sealed.
fn take_sealed(
    outbox: &mut Outbox,
    queue: &mut u32,
    ends: &mut (Record, Record),
) -> Option<(Vec<u8>, usize)> {
    let sent = outbox.take_sealed(queue, ends.0.alone(), None, None)?;
    let mut bytes = sent.as_slice().to_vec();
    outbox.recycle(sent);
    let received = ends.1.receive(&mut bytes);
    let len = bytes.len();
    assert_eq!(received.consumed, len, "whole records");
    Some((received.plain(&mut bytes).to_vec(), len))
}

#[test]
fn no_more_than_so_much_is_sealed_at_once_and_the_rest_of_a_frame_follows() {
    let (mut outbox, mut queue, mut ends) = (outbox(), NO_QUEUE, crate::tls::tests::pair());
    let lens = [3 * GATHER_BYTES_MAX + 5, 10, GATHER_BYTES_MAX - 10, 20];
    let mut expected = Vec::new();
    for (byte, len) in (b'a'..).zip(lens) {
        push(&mut outbox, &mut queue, byte, len, 1);
        expected.extend(vec![byte; len]);
    }
    let tail = vec![b'z'; 2 * GATHER_BYTES_MAX];
    say(&mut outbox, &mut queue, Class::Last, &tail);
    expected.extend(tail);
    let (mut plain, mut parts) = (Vec::new(), Vec::new());
    while let Some((part, sealed)) = take_sealed(&mut outbox, &mut queue, &mut ends) {
        assert!(sealed <= GATHER_BYTES_MAX + 256, "{sealed} bytes were sealed at once");
        parts.push(part.len());
        plain.extend(part);
    }
    assert!(plain == expected);
    const MAX: usize = GATHER_BYTES_MAX;
    // A frame that fits into one send is not divided.
    assert_eq!(parts, [MAX, MAX, MAX, 15, MAX - 10, 20, MAX, MAX]);
    assert_eq!((queue, outbox.total_bytes()), (NO_QUEUE, 0));
}

#[test]
fn many_answers_are_given_back_as_they_are_sealed() {
    const ANSWER_BYTES: usize = 10_000;
    let (mut outbox, mut queue, mut ends) = (outbox(), NO_QUEUE, crate::tls::tests::pair());
    for _ in 0..40 {
        say(&mut outbox, &mut queue, Class::Last, &[b'a'; ANSWER_BYTES]);
    }
    while take_sealed(&mut outbox, &mut queue, &mut ends).is_some() {
        let (total, waiting) = (outbox.total_bytes() as usize, outbox.waiting(queue));
        assert!(total <= waiting + GATHER_BYTES_MAX + ANSWER_BYTES, "{total} bytes are kept of {waiting}");
    }
    assert_eq!((queue, outbox.total_bytes()), (NO_QUEUE, 0));
}

#[test]
fn a_frame_that_has_been_begun_is_neither_dropped_nor_discarded() {
    let (mut outbox, mut queue, mut ends) = (outbox(), NO_QUEUE, crate::tls::tests::pair());
    push(&mut outbox, &mut queue, b'a', GATHER_BYTES_MAX + 100, 1);
    push(&mut outbox, &mut queue, b'b', 100, 1);
    push(&mut outbox, &mut queue, b'c', 100, 1);
    take_sealed(&mut outbox, &mut queue, &mut ends).expect("the first part");
    assert_eq!(outbox.waiting(queue), 300 + 3 * FRAME_BYTES);
    let wanted = BOUND + 1 - FRAME_BYTES - outbox.waiting(queue);
    assert_eq!(outbox.drop_oldest(queue, 0, wanted), 1, "the second");
    say(&mut outbox, &mut queue, Class::Answer, b"forgotten");
    outbox.discard(&mut queue);
    assert_eq!(outbox.waiting(queue), 100 + FRAME_BYTES);
    say(&mut outbox, &mut queue, Class::Last, b"the end");
    let (rest, _) = take_sealed(&mut outbox, &mut queue, &mut ends).expect("the rest");
    assert_eq!(rest, [&[b'a'; 100][..], b"the end"].concat());
    assert!(take_sealed(&mut outbox, &mut queue, &mut ends).is_none());
    assert_eq!((queue, outbox.total_bytes()), (NO_QUEUE, 0));
    push(&mut outbox, &mut queue, b'a', GATHER_BYTES_MAX + 100, 1);
    take_sealed(&mut outbox, &mut queue, &mut ends).expect("the first part");
    outbox.abandon(&mut queue);
    assert_eq!((queue, outbox.total_bytes()), (NO_QUEUE, 0), "with the line everything goes");
}

#[test]
fn what_has_been_said_alone_counts_no_more_once_it_has_left_sealed() {
    let (mut outbox, mut queue, mut ends) = (outbox(), NO_QUEUE, crate::tls::tests::pair());
    say(&mut outbox, &mut queue, Class::Last, b"small");
    assert_eq!(
        take_sealed(&mut outbox, &mut queue, &mut ends).map(|(plain, _)| plain),
        Some(b"small".into())
    );
    assert!(take_sealed(&mut outbox, &mut queue, &mut ends).is_none());
    assert_eq!((queue, outbox.total_bytes()), (NO_QUEUE, 0));
}

#[test]
fn whoever_has_been_sent_something_is_put_off_no_more_and_may_be_slow() {
    let (mut record, _peer) = crate::tls::tests::pair();
    let more = |outbox: &mut Outbox, queue: &mut u32| {
        let frame = frame(outbox, b'b', BOUND, 1);
        outbox.push(queue, 0, Class::Publication, frame)
    };
    for is_sealed in [false, true] {
        let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
        (0..2).for_each(|_| _ = push(&mut outbox, &mut queue, b'a', GATHER_BYTES_MAX, 1));
        outbox.put_off(queue);
        assert_eq!(more(&mut outbox, &mut queue), Room::Pause, "it has had no chance to read");
        let sent = match is_sealed {
            true => outbox.take_sealed(&mut queue, record.alone(), None, None),
            false => outbox.take(&mut queue, None),
        };
        assert!(sent.is_some() && !outbox.is_put_off(queue));
        assert_eq!(more(&mut outbox, &mut queue), Room::Slow, "sealed: {is_sealed}");
    }
}

#[test]
fn what_is_written_before_events_counts_in_what_is_sealed_at_once() {
    const COUNT: usize = 3 * GATHER_BYTES_MAX / 100;
    let (mut outbox, mut queue) = (outbox(), NO_QUEUE);
    let (mut record, mut peer) = crate::tls::tests::pair();
    let mut places = crate::shard::places::Places::default();
    places.begin(0, [None; 3].into_iter());
    let step = places.of(0).map(|place| place.step(1));
    for offset in 1..=COUNT as u64 {
        let bytes = outbox.encoded_moving(&[b'x'; 100], Position { epoch: 7, offset });
        let frame = Frame { bytes: SendBytes::Encoded(bytes), publications: 1, step };
        outbox.push(&mut queue, 0, Class::Last, frame);
    }
    let mut plain = Vec::new();
    while let Some(sent) = outbox.take_sealed(&mut queue, record.alone(), None, places.of(0)) {
        let mut bytes = sent.as_slice().to_vec();
        outbox.recycle(sent);
        // The place of a client grows as it moves, which is written behind what was reckoned with.
        assert!(bytes.len() <= GATHER_BYTES_MAX + 1024, "{} bytes were sealed at once", bytes.len());
        let received = peer.receive(&mut bytes);
        plain.extend_from_slice(received.plain(&mut bytes));
    }
    let ids = memchr::memmem::find_iter(&plain, b"id: -,7:").count();
    assert_eq!((ids, outbox.total_bytes()), (COUNT, 0));
}
