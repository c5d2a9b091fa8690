//! The engine against real sockets of this machine.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{AcceptId, Attendance, Completion, Doorbell, Ring, RingSettings, SendBytes, Sleep, probe};
use crate::model::ConnectionId;

const SETTINGS: RingSettings = RingSettings {
    submission_entries: 8,
    completion_entries: 16,
    descriptors: 64,
    accepts: 4,
    receive_buffers: 4,
    receive_buffer_bytes: 1024,
};

fn ring() -> Ring {
    Ring::new(SETTINGS).expect("a ring can be made here")
}

fn id(index: u32) -> ConnectionId {
    ConnectionId { index, generation: 7 }
}

/// Enters until `count` completions have come.
fn complete(ring: &mut Ring, count: usize) -> Vec<Completion> {
    let (mut completions, started) = (Vec::new(), Instant::now());
    while completions.len() < count {
        ring.enter(0).expect("enter");
        ring.reap(&mut completions, 64);
        assert!(started.elapsed() < Duration::from_secs(10), "only {completions:?}");
    }
    completions
}

/// A connected pair: ours in slot `index` of the ring, the peer's as a stream.
fn pair(ring: &mut Ring, index: u32) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let peer = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (ours, _) = listener.accept().expect("accept");
    ring.adopt(index, ours.as_fd()).expect("adopt");
    peer
}

#[test]
fn this_machine_has_what_the_engine_needs() {
    let abilities = probe().expect("io_uring is there");
    assert_eq!(ring().abilities(), abilities);
}

#[test]
fn an_accept_fills_its_slot_and_tells_the_peer() {
    let mut ring = ring();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let target = listener.local_addr().expect("address");
    // Nobody else keeps the listener: the accept does.
    ring.accept(AcceptId(3), &Arc::new(listener.into()), 5);
    ring.enter(0).expect("enter");
    let peer = TcpStream::connect(target).expect("connect");
    let completions = complete(&mut ring, 1);
    let [Completion::Accepted { accept: AcceptId(3), index: 5, result: Ok(Some(address)) }] = completions[..]
    else {
        panic!("{completions:?}")
    };
    assert_eq!(address, peer.local_addr().expect("address"));
    ring.send(5, SendBytes::Static(b"welcome"));
    complete(&mut ring, 1);
    let mut read = [0; 7];
    (&peer).read_exact(&mut read).expect("read");
    assert_eq!(&read, b"welcome");
}

#[test]
#[should_panic(expected = "an accept is in flight once at a time")]
fn an_accept_in_flight_does_not_begin_again() {
    let mut ring = ring();
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("bind").into());
    ring.accept(AcceptId(0), &listener, 1);
    ring.accept(AcceptId(0), &listener, 2);
}

#[test]
#[should_panic(expected = "a buffer goes back to the ring that lent it")]
fn a_buffer_of_another_ring_is_not_taken() {
    let (mut one, mut other) = (ring(), ring());
    let mut peer = pair(&mut one, 1);
    peer.write_all(b"x").expect("write");
    one.poll(id(1));
    complete(&mut one, 1);
    assert!(one.receive(id(1)));
    let mut completions = complete(&mut one, 1);
    let Some(Completion::Received { result: Ok(Some(lease)), .. }) = completions.pop() else {
        panic!("{completions:?}")
    };
    other.give_back(lease);
}

/// An unconnected socket of our own in slot `index`, on its way to `target`.
fn connect(ring: &mut Ring, index: u32, target: std::net::SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    ring.adopt(index, socket.as_fd()).expect("adopt");
    ring.connect(id(index), target);
}

#[test]
fn a_connect_tells_when_it_is_established_and_why_it_was_refused() {
    let mut ring = ring();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let target = listener.local_addr().expect("address");
    connect(&mut ring, 1, target);
    let completions = complete(&mut ring, 1);
    assert!(
        matches!(completions[..], [Completion::Connected { connection, result: Ok(()) }] if connection == id(1))
    );
    let (mut peer, _) = listener.accept().expect("accept");
    ring.send(1, SendBytes::Static(b"hello"));
    complete(&mut ring, 1);
    let mut read = [0; 5];
    peer.read_exact(&mut read).expect("read");
    assert_eq!(&read, b"hello");
    drop(listener);
    connect(&mut ring, 2, target);
    assert!(
        matches!(complete(&mut ring, 1)[..], [Completion::Connected { result: Err(errno), .. }] if errno.0 == libc::ECONNREFUSED)
    );
}

#[test]
fn a_wait_ends_with_its_time_or_with_an_arrival() {
    let mut ring = ring();
    let mut peer = pair(&mut ring, 1);
    ring.poll(id(1));
    let started = Instant::now();
    ring.wait(Duration::from_millis(20)).expect("wait");
    assert!(started.elapsed() >= Duration::from_millis(20));
    peer.write_all(b"x").expect("write");
    let started = Instant::now();
    ring.wait(Duration::from_secs(30)).expect("wait");
    assert!(started.elapsed() < Duration::from_secs(10), "the arrival did not end the wait");
    assert!(matches!(complete(&mut ring, 1)[..], [Completion::Readable { armed: true, .. }]));
}

#[test]
fn a_poll_reports_every_arrival_and_a_receive_lends_the_bytes() {
    let mut ring = ring();
    let mut peer = pair(&mut ring, 1);
    ring.poll(id(1));
    for round in 0..10u8 {
        peer.write_all(&[round; 100]).expect("write");
        let completions = complete(&mut ring, 1);
        assert!(matches!(completions[..], [Completion::Readable { armed: true, failed: None, .. }]));
        assert!(ring.receive(id(1)));
        let Some(Completion::Received { connection, result: Ok(Some(lease)), .. }) =
            complete(&mut ring, 1).pop()
        else {
            panic!("nothing received in round {round}")
        };
        assert_eq!((connection, &lease[..]), (id(1), &[round; 100][..]));
        ring.give_back(lease);
    }
    drop(peer);
    complete(&mut ring, 1);
    assert!(ring.receive(id(1)));
    assert!(matches!(complete(&mut ring, 1)[..], [Completion::Received { result: Ok(None), .. }]));
}

#[test]
fn a_receive_without_a_free_buffer_is_refused_until_one_comes_back() {
    let mut ring = ring();
    let mut peers: Vec<_> = (0..5).map(|index| pair(&mut ring, index)).collect();
    for peer in &mut peers {
        peer.write_all(b"x").expect("write");
    }
    for index in 0..4 {
        assert!(ring.receive(id(index)));
    }
    assert!(!ring.receive(id(4)), "four buffers serve four receives");
    let Some(Completion::Received { result: Ok(Some(lease)), .. }) = complete(&mut ring, 4).pop() else {
        panic!("nothing received")
    };
    assert!(!ring.receive(id(4)), "a lent buffer is not free");
    ring.give_back(lease);
    assert!(ring.receive(id(4)));
}

#[test]
fn an_empty_socket_is_not_waited_for_and_costs_no_buffer() {
    let mut ring = ring();
    let _peer = pair(&mut ring, 1);
    for _ in 0..20 {
        assert!(ring.receive(id(1)));
        let completions = complete(&mut ring, 1);
        assert!(
            matches!(completions[..], [Completion::Received { result: Err(errno), .. }] if errno.0 == libc::EAGAIN)
        );
    }
}

#[test]
fn a_send_larger_than_the_socket_takes_arrives_whole() {
    let mut ring = ring();
    let mut peer = pair(&mut ring, 1);
    let bytes: Vec<u8> = (0..16_000_000u32).map(|at| (at % 251) as u8).collect();
    let expected = bytes.clone();
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; 16_000_000];
        peer.read_exact(&mut read).expect("read");
        read
    });
    ring.send(1, SendBytes::Owned(bytes));
    let completions = complete(&mut ring, 1);
    assert!(matches!(completions[..], [Completion::Sent { index: 1, result: Ok(16_000_000), .. }]));
    assert!(reader.join().expect("reader") == expected);
}

#[test]
fn a_send_to_a_peer_that_does_not_read_can_be_given_up() {
    let mut ring = ring();
    let _peer = pair(&mut ring, 1);
    let send = ring.send(1, SendBytes::Owned(vec![0; 32_000_000]));
    ring.enter(0).expect("enter");
    ring.cancel_send(send, 1);
    assert!(matches!(complete(&mut ring, 1)[..], [Completion::Sent { index: 1, .. }]));
}

#[test]
fn of_a_send_that_is_given_up_it_is_known_how_much_its_peer_has_or_is_going_to_have() {
    for pieces in [0, 1, 40] {
        let mut ring = ring();
        let mut peer = pair(&mut ring, 1);
        let bytes: Vec<u8> = (0..32_000_000_u32).map(|at| (at % 251) as u8).collect();
        let send = ring.send(1, SendBytes::Owned(bytes.clone()));
        ring.enter(0).expect("enter");
        let mut taken = vec![0; 100_000];
        for _ in 0..pieces {
            peer.read_exact(&mut taken).expect("there is more");
            // It is sent on whenever there is room, or will be.
            ring.enter(0).expect("enter");
            let mut ended = Vec::new();
            ring.reap(&mut ended, usize::MAX);
            assert!(ended.is_empty(), "there is more than a socket takes");
        }
        ring.cancel_send(send, 1);
        let completions = complete(&mut ring, 1);
        let [Completion::Sent { index: 1, result: Ok(sent), .. }] = completions[..] else {
            panic!("{completions:?}")
        };
        ring.close(1);
        ring.enter(0).expect("enter");
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).expect("the end");
        assert_eq!(pieces * taken.len() + rest.len(), sent as usize);
        assert!(rest == bytes[pieces * taken.len()..sent as usize]);
    }
}

#[test]
fn a_send_stalls_when_its_peer_takes_nothing_for_so_many_rounds_and_not_while_it_takes_some() {
    let mut ring = ring();
    let mut peer = pair(&mut ring, 1);
    peer.set_nonblocking(true).expect("sockets can be asked not to wait");
    let send = ring.send(1, SendBytes::Owned(vec![0; 32_000_000]));
    let stalled = |ring: &Ring| {
        let mut stalled = Vec::new();
        assert_eq!(ring.stalled(0, usize::MAX, 1, &mut stalled), None);
        stalled
    };
    let (mut buffer, mut read, started) = (vec![0; 65_536], 0, Instant::now());
    for _ in 0..4 {
        ring.begin_round();
        let before = ring.unsent(send, 1);
        while ring.unsent(send, 1) == before {
            ring.enter(0).expect("enter");
            ring.reap(&mut Vec::new(), 64);
            // It has nothing to read while the kernel still moves what was sent.
            read += peer.read(&mut buffer).unwrap_or(0);
            assert!(started.elapsed() < Duration::from_secs(10), "{before} bytes are never sent");
        }
        assert!(stalled(&ring).is_empty(), "it has taken some in this round");
    }
    assert!(read > 0);
    ring.begin_round();
    assert!(stalled(&ring).is_empty(), "one round does not make it stall");
    ring.begin_round();
    assert_eq!(stalled(&ring), [1]);
    assert_eq!(
        (ring.stalled(0, 0, 1, &mut Vec::new()), ring.stalled(1, 9, 1, &mut Vec::new())),
        (Some(0), None)
    );
}

#[test]
fn giving_up_a_send_that_has_ended_leaves_the_one_in_its_place_alone() {
    let mut ring = ring();
    let (_first, mut second) = (pair(&mut ring, 1), pair(&mut ring, 2));
    let ended = ring.send(1, SendBytes::Static(b"ended"));
    complete(&mut ring, 1);
    let reader = std::thread::spawn(move || second.read_exact(&mut vec![0; 16_000_000]));
    let send = ring.send(2, SendBytes::Owned(vec![0; 16_000_000]));
    assert_eq!(ended, send, "it has the other's place");
    assert_eq!((ring.unsent(ended, 1), ring.unsent(send, 2)), (0, 16_000_000));
    ring.cancel_send(ended, 1);
    let completions = complete(&mut ring, 1);
    assert!(matches!(completions[..], [Completion::Sent { index: 2, result: Ok(16_000_000), .. }]));
    reader.join().expect("reader").expect("all of it arrives");
}

#[test]
fn closing_an_armed_connection_sends_its_end_to_the_peer() {
    let mut ring = ring();
    let mut peer = pair(&mut ring, 1);
    ring.poll(id(1));
    ring.enter(0).expect("enter");
    ring.poll_remove(id(1));
    ring.close(1);
    let completions = complete(&mut ring, 2);
    assert!(
        completions.iter().any(|one| matches!(one, Completion::Readable { armed: false, failed: None, .. }))
    );
    assert!(completions.iter().any(|one| matches!(one, Completion::Closed { index: 1 })));
    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    assert_eq!(peer.read(&mut [0; 1]).expect("read"), 0, "the peer sees the end at once");
}

/// The ordinary descriptor of the socket in slot `index`; `None` on a kernel that makes none.
fn export(ring: &mut Ring, index: u32) -> Option<OwnedFd> {
    ring.export(index);
    let exported = complete(ring, 1).pop();
    match exported {
        Some(Completion::Exported { index: told, result: Ok(descriptor) }) if told == index => {
            Some(descriptor)
        }
        Some(Completion::Exported { result: Err(errno), .. }) if !ring.abilities().exports => {
            assert_eq!(errno.0, libc::EINVAL);
            None
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connection_goes_on_in_the_ring_it_has_moved_to() {
    let (mut from, mut to) = (ring(), ring());
    let mut peer = pair(&mut from, 1);
    from.poll(id(1));
    from.send(1, SendBytes::Static(b"one "));
    assert!(matches!(complete(&mut from, 1)[..], [Completion::Sent { .. }]));
    let Some(descriptor) = export(&mut from, 1) else { return };
    from.poll_remove(id(1));
    from.close(1);
    complete(&mut from, 2);
    to.adopt(9, descriptor.as_fd()).expect("adopt");
    drop(descriptor);
    to.send(9, SendBytes::Static(b"two"));
    assert!(matches!(complete(&mut to, 1)[..], [Completion::Sent { index: 9, result: Ok(3), .. }]));
    let mut read = [0; 7];
    peer.read_exact(&mut read).expect("neither closing has ended the connection");
    assert_eq!(&read, b"one two");
    peer.write_all(b"three").expect("write");
    assert!(to.receive(id(9)));
    let completions = complete(&mut to, 1);
    assert!(
        matches!(&completions[..], [Completion::Received { result: Ok(Some(lease)), .. }] if &lease[..] == b"three")
    );
    to.close(9);
    complete(&mut to, 1);
    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    assert_eq!(peer.read(&mut [0; 1]).expect("read"), 0, "no descriptor of it is left behind");
}

#[test]
fn what_came_before_a_move_and_nobody_received_is_announced_after_it() {
    let (mut from, mut to) = (ring(), ring());
    let mut peer = pair(&mut from, 1);
    peer.write_all(b"early").expect("write");
    peer.shutdown(std::net::Shutdown::Write).expect("shutdown");
    let Some(descriptor) = export(&mut from, 1) else { return };
    to.adopt(2, descriptor.as_fd()).expect("adopt");
    to.poll(id(2));
    let completions = complete(&mut to, 1);
    assert!(matches!(completions[..], [Completion::Readable { armed: true, is_ended: true, .. }]));
}

#[test]
fn an_empty_slot_is_not_exported() {
    let mut ring = ring();
    ring.export(3);
    let completions = complete(&mut ring, 1);
    assert!(
        matches!(completions[..], [Completion::Exported { index: 3, result: Err(_) }]),
        "{completions:?}"
    );
}

#[test]
fn a_ring_that_ends_closes_the_exports_nobody_asked_for() {
    let mut ring = ring();
    let mut peer = pair(&mut ring, 1);
    ring.export(1);
    ring.enter(0).expect("enter");
    drop(ring);
    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    // The kernel ends a ring with a signal to its thread, and some time later.
    assert_eq!(peer.read_to_end(&mut Vec::new()).expect("read"), 0, "an export has outlived its ring");
}

#[test]
fn a_shutdown_is_over_when_it_says_so_and_spares_whoever_has_the_slot_next() {
    let mut ring = ring();
    for round in 0..200 {
        let mut peer = pair(&mut ring, 1);
        ring.shutdown_write(1);
        ring.close(1);
        let ended = complete(&mut ring, 2);
        assert!(ended.iter().any(|one| matches!(one, Completion::Shut { index: 1 })));
        assert!(ended.iter().any(|one| matches!(one, Completion::Closed { index: 1 })));
        assert_eq!(peer.read_to_end(&mut Vec::new()).expect("read"), 0);
        let _next = pair(&mut ring, 1);
        ring.send(1, SendBytes::Static(b"mine"));
        let completions = complete(&mut ring, 1);
        assert!(matches!(completions[..], [Completion::Sent { result: Ok(4), .. }]), "round {round}");
        ring.close(1);
        complete(&mut ring, 1);
    }
}

#[test]
fn more_operations_than_the_queues_hold_all_complete() {
    let mut ring = ring();
    let mut peers: Vec<_> = (0..60).map(|index| pair(&mut ring, index)).collect();
    for index in 0..60 {
        ring.send(index, SendBytes::Shared(vec![index as u8; 10].into()));
    }
    let sent = complete(&mut ring, 60);
    assert!(sent.iter().all(|one| matches!(one, Completion::Sent { result: Ok(10), .. })));
    for (index, peer) in peers.iter_mut().enumerate() {
        let mut read = [0; 10];
        peer.read_exact(&mut read).expect("read");
        assert_eq!(read, [index as u8; 10]);
    }
}

#[test]
fn a_bell_ends_a_wait_each_time_it_is_rung() {
    let mut ring = ring();
    let bell = Doorbell::new().expect("eventfd");
    ring.answer(bell.clone());
    for _ in 0..3 {
        bell.begin_sleep(Sleep::InRing);
        let other = std::thread::spawn({
            let bell = bell.clone();
            move || bell.ring()
        });
        let started = Instant::now();
        ring.wait(Duration::from_secs(30)).expect("wait");
        assert!(started.elapsed() < Duration::from_secs(10), "the bell was not heard");
        bell.end_sleep();
        other.join().expect("it rings");
        assert!(complete_none(&mut ring), "a bell is no completion");
    }
}

/// Reaps what has come, which has to be nothing.
fn complete_none(ring: &mut Ring) -> bool {
    let mut completions = Vec::new();
    ring.reap(&mut completions, 64);
    completions.is_empty()
}

#[test]
fn a_wait_is_not_ended_by_what_was_sent_at_once() {
    let mut ring = ring();
    let mut peer = pair(&mut ring, 1);
    let started = Instant::now();
    ring.send(1, SendBytes::Static(b"answer"));
    assert_eq!(ring.sends_at_once().collect::<Vec<_>>(), [1]);
    ring.wait(Duration::from_millis(20)).expect("wait");
    assert!(started.elapsed() >= Duration::from_millis(20), "a thread that has answered sleeps");
    let mut read = [0; 6];
    peer.read_exact(&mut read).expect("read");
    let mut completions = Vec::new();
    ring.reap(&mut completions, 64);
    assert!(matches!(completions[..], [Completion::Sent { index: 1, result: Ok(6), .. }]), "{completions:?}");
    assert_eq!(ring.sends_at_once_count(), 0);
}

#[test]
fn a_send_that_is_not_submitted_has_not_ended() {
    let mut ring = ring();
    let _peer = pair(&mut ring, 1);
    ring.enter(0).expect("enter");
    ring.send(1, SendBytes::Static(b"answer"));
    assert!(complete_none(&mut ring));
    assert!(matches!(complete(&mut ring, 1)[..], [Completion::Sent { result: Ok(6), .. }]));
}

#[test]
fn a_reset_connection_fails_its_send_and_no_other() {
    let mut ring = ring();
    let (peer, mut other) = (pair(&mut ring, 1), pair(&mut ring, 2));
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(peer);
    ring.send(1, SendBytes::Static(b"lost"));
    ring.send(2, SendBytes::Static(b"told"));
    let mut sent = complete(&mut ring, 2);
    sent.sort_by_key(|one| matches!(one, Completion::Sent { index: 2, .. }));
    assert!(
        matches!(
            &sent[..],
            [
                Completion::Sent { index: 1, result: Err(_), .. },
                Completion::Sent { index: 2, result: Ok(4), .. }
            ]
        ),
        "{sent:?}"
    );
    let mut read = [0; 4];
    other.read_exact(&mut read).expect("read");
}

#[test]
fn a_ring_rings_its_sleeper_only_while_it_sleeps() {
    glommio::LocalExecutorBuilder::default()
        .spawn(|| async {
            let mut ring = ring();
            let bell = Doorbell::new().expect("eventfd");
            ring.answer(bell.clone());
            let sleeper = ring.sleeper().expect("eventfd");
            let mut peer = pair(&mut ring, 1);
            ring.poll(id(1));
            ring.enter(0).expect("enter");
            peer.write_all(b"x").expect("write");
            assert_eq!(complete(&mut ring, 1).len(), 1);
            let hour = Duration::from_secs(3600);
            assert!(ring.prepare_sleep(hour).expect("enter"));
            peer.write_all(b"x").expect("write");
            sleeper.sleep().await.expect("it rings for the second only");
            ring.finish_sleep();
            assert_eq!(complete(&mut ring, 1).len(), 1);
            assert!(ring.prepare_sleep(Duration::from_millis(1)).expect("enter"));
            sleeper.sleep().await.expect("it rings when its time is over");
            ring.finish_sleep();
            ring.enter(0).expect("enter");
            assert!(complete_none(&mut ring));
            // As often as another thread rings, each time.
            for _ in 0..3 {
                bell.begin_sleep(Sleep::OnExecutor);
                assert!(ring.prepare_sleep(hour).expect("enter"));
                let other = bell.clone();
                let thread = std::thread::spawn(move || other.ring());
                sleeper.sleep().await.expect("it rings with the bell");
                ring.finish_sleep();
                thread.join().expect("it rings");
            }
        })
        .expect("an executor")
        .join()
        .expect("no panic");
}

#[test]
fn a_poll_is_disarmed_though_an_arrival_has_just_woken_it() {
    for is_read_before in [false, true] {
        let mut ring = ring();
        let mut peer = pair(&mut ring, 1);
        ring.poll(id(1));
        ring.enter(0).expect("enter");
        peer.write_all(b"x").expect("write");
        if is_read_before {
            assert!(ring.receive(id(1)));
        }
        // The arrival has been noted in the kernel but is reported only by the enter that also brings this.
        ring.poll_remove(id(1));
        ring.close(1);
        let (mut completions, started) = (Vec::new(), Instant::now());
        let is_disarmed = |one: &Completion| matches!(one, Completion::Readable { armed: false, .. });
        while !completions.iter().any(is_disarmed) {
            ring.enter(0).expect("enter");
            ring.reap(&mut completions, 64);
            assert!(started.elapsed() < Duration::from_secs(2), "still armed: {completions:?}");
        }
    }
}

#[test]
fn an_error_that_room_does_not_cure_is_told_by_the_next_enter_and_not_tried_again_and_again() {
    let mut ring = ring();
    let null = std::fs::File::open("/dev/null").expect("it is there");
    // From here on no enter reaches a ring: what cannot be submitted never can.
    // SAFETY: both descriptors are open. The one that the ring owns stays open, though it is another file's from now on.
    let replaced = unsafe { libc::dup2(null.as_raw_fd(), ring.io.as_raw_fd()) };
    assert_eq!(replaced, ring.io.as_raw_fd());
    for _ in 0..=SETTINGS.submission_entries {
        ring.poll(id(1));
    }
    let failure = ring.failure.as_ref().expect("an entry is lost");
    assert_eq!(failure.kind, super::RingErrorKind::Enter);
    assert_eq!(
        failure.source.raw_os_error(),
        Some(libc::EOPNOTSUPP),
        "not that there was no room all this time"
    );
    assert!(ring.enter(0).is_err());
}

#[test]
fn whoever_leaves_something_while_its_shard_falls_asleep_is_found_or_heard() {
    let bell = Doorbell::new().expect("eventfd");
    let mut ring = ring();
    ring.answer(bell.clone());
    let left = std::cell::Cell::new(0);
    let leave = || {
        left.set(left.get() + 1);
        bell.ring();
    };
    let sleeps = |ring: &mut Ring| {
        let started = Instant::now();
        ring.wait(Duration::from_secs(5)).expect("it waits");
        ring.reap(&mut Vec::new(), 8);
        started.elapsed() > Duration::from_secs(4)
    };
    // Before the bell can be heard: the look finds it.
    leave();
    assert!(bell.fall_asleep(Sleep::InRing, || left.take() > 0));
    bell.end_sleep();
    // While it is looked, behind the look: it is heard.
    let look = || {
        let found = left.take() > 0;
        leave();
        found
    };
    assert!(!bell.fall_asleep(Sleep::InRing, look));
    assert!(!sleeps(&mut ring), "it is not heard");
    assert_eq!(left.take(), 1);
    bell.end_sleep();
}

#[test]
fn the_sockets_of_a_ring_are_closed_from_outside_while_its_thread_is_away_and_it_is_told_so() {
    let attendance = Arc::<Attendance>::default();
    for _ in 0..2 {
        let mut ring = ring();
        ring.attend(Arc::clone(&attendance), SETTINGS.descriptors);
        let mut peers = [1, 2, 3].map(|index| pair(&mut ring, index));
        ring.poll(id(1));
        let sent = ring.send(2, SendBytes::Owned(vec![7; 10 << 20]));
        ring.enter(0).expect("enter");
        let dismiss = |attendance: &Arc<Attendance>| {
            let attendance = Arc::clone(attendance);
            std::thread::spawn(move || attendance.dismiss()).join().expect("it does not panic")
        };
        assert!(!dismiss(&attendance), "its thread is here");
        assert!(attendance.leave() && !attendance.leave(), "who is away does not leave");
        assert!(attendance.come_back() && !dismiss(&attendance), "it is here again");
        assert!(attendance.leave() && dismiss(&attendance) && !dismiss(&attendance));
        for peer in &mut peers {
            // Whatever has been sent to it comes first.
            peer.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
            std::io::copy(peer, &mut std::io::sink()).expect("an end");
        }
        assert!(!attendance.come_back() && attendance.is_dismissed());
        ring.cancel_send(sent, 2);
        ring.end(Duration::from_secs(1));
    }
}
