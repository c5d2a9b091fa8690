//! Lines over a ring, with sockets of this machine at the other ends.

use std::{
    io::Read,
    os::{fd::AsFd, unix::net::UnixStream},
    rc::Rc,
};

use super::*;
use crate::{
    limits::{COMPRESSED_BYTES_PER_TURN, SENT_BYTES_PER_TURN, SlowConsumer},
    ring::{Completion, RingSettings},
    session::{Session, WebSocket},
    wire::websocket::{Agreed, Opcode, encode_frame},
};

const BYTES_MAX: usize = 100_000;
const FRAME: usize = 40_000;

/// Lines over a ring, and the other ends.
struct Rig {
    lines: Lines,
    peers: Vec<UnixStream>,
    /// What [`Lines::handle_sent`] said of each send that ended.
    has_room: Vec<bool>,
}

impl Rig {
    fn new(connections: u32, receive_buffers: u16) -> Self {
        let ring = Ring::new(RingSettings {
            submission_entries: 64,
            completion_entries: 256,
            descriptors: connections,
            accepts: 1,
            receive_buffers,
            receive_buffer_bytes: 4096,
        });
        let limits = Limits { send_queue_bytes_max: BYTES_MAX as u32, ..Limits::default() };
        let forms = (Secrets::default(), Forms::default());
        let mut lines = Lines::new(ring.expect("io_uring"), connections, &limits, 1, forms);
        let mut peers = Vec::new();
        for _ in 0..connections {
            let (ours, peer) = UnixStream::pair().expect("a pair");
            socket2::SockRef::from(&ours).set_send_buffer_size(1).expect("the least there is");
            let index = lines.slab.reserve().expect("a slot");
            lines.ring.adopt(index, ours.as_fd()).expect("it is taken");
            let record = lines.slab.at(index);
            record.flags.set(Flags::OPEN);
            record.session = Session::WebSocket(WebSocket::new(0, false));
            peer.set_nonblocking(true).expect("it can be");
            peers.push(peer);
        }
        Self { lines, peers, has_room: Vec::new() }
    }

    /// Does what a turn does with what the kernel has finished.
    fn turn(&mut self) {
        self.lines.flush();
        self.lines.ring.enter(0).expect("it enters");
        let mut completions = Vec::new();
        self.lines.ring.reap(&mut completions, usize::MAX);
        for completion in completions {
            match completion {
                Completion::Sent { index, result, bytes } => {
                    result.expect("the peer is there");
                    let has_room = self.lines.handle_sent(index, bytes);
                    self.has_room.push(has_room);
                }
                Completion::Received { connection, result, .. } => {
                    self.lines.slab.at(connection.index).flags.clear(Flags::RECEIVING);
                    let lease = result.expect("bytes").expect("no end");
                    self.lines.ring.give_back(lease);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads so many bytes at the other end.
    fn read(&mut self, peer: usize, mut bytes: usize) {
        let mut buffer = [0; 1024];
        while bytes > 0 {
            let len = buffer.len().min(bytes);
            match self.peers[peer].read(&mut buffer[..len]) {
                Ok(read) => bytes -= read,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            self.turn();
        }
    }

    /// Hands a publication to one subscriber.
    fn deliver(&mut self, index: u32, bytes: &[u8]) -> Delivery {
        let (bytes, slow_consumer) = (self.lines.outbox.encoded(bytes), SlowConsumer::Close);
        self.lines.deliver(index, &Broadcast { bytes: &bytes, publications: 1, slow_consumer })
    }

    fn flags(&self, index: u32) -> Flags {
        self.lines.slab.look(index).flags
    }
}

#[test]
fn a_client_that_was_not_read_for_its_full_queue_is_read_on_when_half_of_it_is_free() {
    let mut rig = Rig::new(1, 2);
    for _ in 0..5 {
        rig.lines.push(0, Class::Answer, SendBytes::Static(&[b'x'; FRAME]));
    }
    assert!(rig.flags(0).has(Flags::PAUSED_FULL));
    rig.turn();
    rig.read(0, 5 * FRAME);
    // Behind the first four there are 160, 120, 80 and 40 thousand bytes; half of what may wait are 50.
    assert_eq!(rig.has_room, [false, false, false, true, true]);
    rig.lines.slab.at(0).flags.clear(Flags::PAUSED_FULL);
    assert_eq!(rig.lines.push(0, Class::Answer, SendBytes::Static(b"x")), Room::Enough);
    rig.turn();
    rig.turn();
    assert_eq!(rig.has_room.last(), Some(&false), "one that is read need not be read on");
}

#[test]
fn who_finds_no_buffer_is_read_when_there_is_one_the_longest_wait_first_and_each_once() {
    let mut rig = Rig::new(4, 2);
    for peer in &mut rig.peers {
        std::io::Write::write_all(peer, b"hello").expect("it takes five bytes");
    }
    (0..4).for_each(|index| rig.lines.receive(index));
    rig.lines.receive(2);
    assert_eq!([0, 1, 2, 3].map(|index| rig.flags(index).has(Flags::RECEIVING)), [true, true, false, false]);
    assert!(rig.lines.is_starved());
    rig.lines.feed_starved();
    assert!(rig.lines.is_starved(), "no buffer has come back");
    rig.turn();
    rig.lines.feed_starved();
    assert_eq!([2, 3].map(|index| rig.flags(index).has(Flags::RECEIVING)), [true; 2]);
    assert!(!rig.lines.is_starved() && rig.lines.starved_total() == 3);
}

#[test]
fn what_the_kernel_has_no_memory_to_watch_is_tried_again_when_a_tick_is_over_and_not_before() {
    const NOW_MS: u64 = 1000;
    let mut rig = Rig::new(3, 2);
    let ids = [0, 1, 2].map(|index| rig.lines.slab.id(index));
    let armed = |rig: &Rig| [0, 1, 2].map(|index| rig.flags(index).has(Flags::ARMED));
    assert_eq!(rig.lines.arm_anew(ids[0], None, NOW_MS), Armed::Now, "its queue was full");
    assert_eq!(rig.lines.arm_anew(ids[1], Some(Errno(libc::ENOMEM)), NOW_MS), Armed::Later);
    assert_eq!(rig.lines.arm_anew(ids[2], Some(Errno(libc::EBADF)), NOW_MS), Armed::Never);
    assert_eq!((armed(&rig), rig.lines.has_unarmed()), ([true, false, false], true));
    for now_ms in [NOW_MS, NOW_MS + TICK_MS - 1] {
        rig.lines.arm_again(now_ms);
        assert_eq!(armed(&rig), [true, false, false], "at once it would fail as it just has");
    }
    rig.lines.arm_again(NOW_MS + TICK_MS);
    assert_eq!((armed(&rig), rig.lines.has_unarmed()), ([true, true, false], false));
}

#[test]
fn a_turn_sends_so_many_bytes_and_whoever_is_left_over_comes_first_in_the_next() {
    const EACH: usize = SENT_BYTES_PER_TURN / 2;
    let mut rig = Rig::new(7, 2);
    let bytes: &'static [u8] = vec![b'x'; EACH].leak();
    for index in [0, 1, 2, 3, 6] {
        rig.lines.push(index, Class::Answer, SendBytes::Static(bytes));
    }
    assert_eq!(rig.lines.flush(), SENT_BYTES_PER_TURN);
    let sending = |rig: &Rig| [0, 1, 2, 3, 6, 4, 5].map(|index| rig.flags(index).has(Flags::SENDING));
    assert_eq!(sending(&rig), [true, true, false, false, false, false, false]);
    assert!(rig.lines.has_more() && !rig.lines.may_send, "the others wait for nothing but the next turn");
    // What is small does not wait for them, and neither does what is handed out.
    rig.lines.say(4, Class::Answer, |out| out.extend_from_slice(b"small"));
    rig.lines.begin_to_hand_out();
    assert_eq!(rig.deliver(5, b"hello"), Delivery::Queued);
    assert!(rig.flags(5).has(Flags::SENDING));
    assert_eq!(rig.lines.flush(), SENT_BYTES_PER_TURN + 10);
    assert_eq!(sending(&rig), [true, true, true, true, false, true, true]);
    assert_eq!(rig.lines.flush(), EACH);
    assert!(!rig.lines.has_more() && rig.lines.may_send);
}

#[test]
fn handing_out_takes_no_more_than_its_share_of_a_turn_and_what_is_left_over_has_the_rest() {
    const EACH: usize = SENT_BYTES_PER_TURN / 8;
    let mut rig = Rig::new(12, 2);
    let bytes: &'static [u8] = vec![b'x'; SENT_BYTES_PER_TURN / 4].leak();
    let encoding = vec![b'x'; EACH];
    (0..2).for_each(|index| _ = rig.lines.push(index, Class::Answer, SendBytes::Static(bytes)));
    rig.lines.begin_to_hand_out();
    for index in 2..12 {
        assert_eq!(rig.deliver(index, &encoding), Delivery::Queued);
    }
    let count = |rig: &Rig| (0..12).filter(|index| rig.flags(*index).has(Flags::SENDING)).count();
    assert_eq!(count(&rig), 6, "three quarters");
    assert_eq!(rig.lines.flush(), SENT_BYTES_PER_TURN);
    assert!([0, 1].map(|index| rig.flags(index).has(Flags::SENDING)) == [true, false]);
    // Whoever has sent something, and has more, comes behind those who are left over.
    assert!(!rig.lines.may_send);
    while rig.lines.has_more() {
        rig.turn();
    }
    assert_eq!(rig.lines.given().bytes, 0);
}

#[test]
fn a_client_that_has_not_had_its_turn_is_not_slow_and_one_that_has_is() {
    let mut rig = Rig::new(3, 2);
    let bytes: &'static [u8] = vec![b'x'; SENT_BYTES_PER_TURN].leak();
    (0..2).for_each(|index| _ = rig.lines.push(index, Class::Answer, SendBytes::Static(bytes)));
    rig.lines.flush();
    assert!(!rig.lines.may_send, "one is left over");
    for round in 0..4 {
        for _ in 0..BYTES_MAX / FRAME {
            assert_eq!(rig.deliver(2, &[b'x'; FRAME]), Delivery::Queued, "{round}");
        }
        rig.lines.say(2, Class::Publication, |out| out.extend_from_slice(b"small"));
        assert!(!rig.flags(2).has(Flags::SENDING) && !rig.flags(2).has(Flags::SLOW));
    }
    rig.lines.flush();
    assert!(rig.flags(1).has(Flags::SENDING) && !rig.flags(2).has(Flags::SENDING), "the other comes first");
    // Its last words are due, and it has had no time to take any of them.
    rig.lines.watch_last_words(2);
    assert!(rig.lines.takes_last_words(2) && rig.lines.takes_last_words(2));
    while !rig.flags(2).has(Flags::SENDING) {
        rig.lines.flush();
    }
    assert_eq!(rig.deliver(2, &[b'x'; FRAME]), Delivery::Queued, "its client has had no chance to take any");
    rig.lines.ring.enter(0).expect("it enters");
    assert_eq!(rig.deliver(2, &[b'x'; FRAME]), Delivery::Slow);
    assert!(rig.flags(2).has(Flags::SLOW));
}

#[test]
fn a_publisher_that_is_held_back_is_not_read_until_it_is_let_go() {
    let mut rig = Rig::new(1, 2);
    std::io::Write::write_all(&mut rig.peers[0], b"hello").expect("it takes five bytes");
    let id = rig.lines.slab.id(0);
    rig.lines.held_back.insert(id);
    rig.lines.receive(0);
    let flags = |rig: &Rig| [Flags::READABLE, Flags::RECEIVING].map(|flag| rig.flags(0).has(flag));
    assert_eq!(flags(&rig), [true, false]);
    rig.lines.held_back.clear();
    rig.lines.resume(0);
    assert_eq!(flags(&rig), [false, true]);
    rig.turn();
}

#[test]
fn a_turn_that_must_send_everything_does() {
    let mut rig = Rig::new(3, 2);
    let bytes: &'static [u8] = vec![b'x'; SENT_BYTES_PER_TURN].leak();
    for index in 0..3 {
        rig.lines.push(index, Class::Answer, SendBytes::Static(bytes));
    }
    rig.lines.send_all();
    assert_eq!(rig.lines.flush(), 3 * SENT_BYTES_PER_TURN);
    rig.lines.push(0, Class::Answer, SendBytes::Static(bytes));
    assert_eq!(rig.lines.flush(), 0, "it is being sent something");
}

#[test]
fn a_client_takes_its_last_words_as_long_as_it_takes_some_of_them_and_a_slow_one_has_no_more_time() {
    let mut rig = Rig::new(2, 2);
    for index in 0..2 {
        rig.lines.push(index, Class::Answer, SendBytes::Static(&[b'x'; FRAME]));
    }
    rig.lines.slab.at(1).flags.set(Flags::SLOW);
    rig.turn();
    for index in 0..2 {
        rig.lines.watch_last_words(index);
    }
    assert!(!rig.lines.takes_last_words(0), "nothing has been read");
    rig.read(0, FRAME / 2);
    rig.read(1, FRAME / 2);
    assert!(rig.lines.takes_last_words(0) && !rig.lines.takes_last_words(0));
    assert!(!rig.lines.takes_last_words(1));
    rig.read(0, FRAME / 2);
    assert!(rig.lines.takes_last_words(0), "all has left: there is time for the end");
    assert!(!rig.lines.takes_last_words(0));
}

/// A line whose client has agreed to compression, with this window.
fn agree(rig: &mut Rig, index: u32, bits: Option<u8>) {
    rig.lines.begin_compression(index, Agreed { server_keeps_context: false, server_window_bits: bits });
}

#[test]
fn those_with_a_narrow_window_share_what_everybody_gets_as_it_is() {
    let mut rig = Rig::new(3, 2);
    let encoding = rig.lines.outbox.encoded(&[b'x'; FRAME]);
    let broadcast = Broadcast { bytes: &encoding, publications: 1, slow_consumer: SlowConsumer::Close };
    for index in 0..3 {
        agree(&mut rig, index, Some(9));
        assert_eq!(rig.lines.deliver(index, &broadcast), Delivery::Queued);
    }
    assert_eq!(Rc::strong_count(&encoding), 4, "one each, and ours");
}

#[test]
fn of_many_messages_that_leave_together_no_more_are_compressed_than_a_turn_may() {
    const COUNT: usize = 20;
    let mut rig = Rig::new(1, 2);
    agree(&mut rig, 0, None);
    let mut frames = Vec::new();
    for _ in 0..COUNT {
        encode_frame(&mut frames, Opcode::Text, true, &[b'x'; FRAME]);
    }
    let encoding = rig.lines.outbox.encoded(&frames);
    let broadcast = Broadcast { bytes: &encoding, publications: 1, slow_consumer: SlowConsumer::Close };
    assert_eq!(rig.lines.deliver(0, &broadcast), Delivery::Queued);
    let spent = rig.lines.compression.spent;
    assert!((COMPRESSED_BYTES_PER_TURN..COMPRESSED_BYTES_PER_TURN + FRAME).contains(&spent), "{spent}");
}
