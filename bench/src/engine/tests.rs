//! The engine against real sockets of this machine.

use super::*;
use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Instant,
};

/// Turns until `done` has what it waits for; fails after ten seconds.
fn turn_until<T>(
    engine: &mut Engine,
    mut done: impl FnMut(&mut Io, Option<(ConnectionId, Event<'_>)>) -> Option<T>,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut found = None;
    while found.is_none() {
        assert!(Instant::now() < deadline, "what was waited for has not happened");
        let timeout = Duration::from_millis(10);
        engine
            .turn(timeout, |io, id, event| {
                let seen = done(io, Some((id, event)));
                found = found.take().or(seen);
            })
            .unwrap();
        found = found.or_else(|| done(&mut engine.io, None));
    }
    found.unwrap()
}

fn pair(engine: &mut Engine) -> (ConnectionId, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let route = Route { target: listener.local_addr().unwrap(), source: None, unix: None, tls: None };
    let id = engine.io.open(&route).unwrap();
    // The listener's backlog completes the handshake; the connect itself is submitted by a turn.
    turn_until(engine, |_, news| matches!(news, Some((_, Event::Connected))).then_some(()));
    let (peer, _) = listener.accept().unwrap();
    (id, peer)
}

#[test]
fn bytes_and_the_peers_close_in_one_batch_are_both_seen() {
    let mut engine = Engine::new(16).unwrap();
    let (_, mut peer) = pair(&mut engine);
    peer.write_all(b"last words").unwrap();
    drop(peer);
    let mut received = Vec::new();
    let error = turn_until(&mut engine, |_, news| match news {
        Some((_, Event::Received(bytes))) => {
            received.extend_from_slice(bytes);
            None
        }
        Some((_, Event::Closed(error))) => Some(error.map(|error| error.kind())),
        _ => None,
    });
    assert_eq!((received.as_slice(), error), (&b"last words"[..], None));
    assert_eq!(engine.io.connections_count(), 0);
}

#[test]
fn what_the_socket_does_not_take_is_sent_when_it_can() {
    let mut engine = Engine::new(16).unwrap();
    let (id, mut peer) = pair(&mut engine);
    let bytes: Vec<u8> = (0..32 * 1024 * 1024u32).map(|n| n as u8).collect();
    engine.io.send(id, &bytes).unwrap();
    assert!(!engine.io.is_flushed(id));
    let expected = bytes.clone();
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; expected.len()];
        peer.read_exact(&mut received).unwrap();
        received == expected
    });
    turn_until(&mut engine, |io, _| io.is_flushed(id).then_some(()));
    assert!(reader.join().unwrap());
}

#[test]
fn a_refused_connect_is_an_event_with_its_error() {
    let mut engine = Engine::new(16).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    engine.io.open(&Route { target, source: None, unix: None, tls: None }).unwrap();
    let error = turn_until(&mut engine, |_, news| match news {
        Some((_, Event::Closed(error))) => error,
        _ => None,
    });
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn the_id_of_a_closed_connection_does_not_reach_its_successor() {
    let mut engine = Engine::new(16).unwrap();
    let (old, _peer) = pair(&mut engine);
    engine.io.close(old);
    turn_until(&mut engine, |io, _| (!io.free.is_empty()).then_some(()));
    let (new, _peer) = pair(&mut engine);
    assert_eq!(old.index, new.index);
    assert!(matches!(engine.io.send(old, b"x"), Err(SendError::Gone)));
    engine.io.send(new, b"x").unwrap();
}

#[test]
fn a_slot_is_used_again_only_when_its_connection_is_gone_from_the_ring() {
    let mut engine = Engine::new(16).unwrap();
    for _ in 0..200 {
        let (id, mut peer) = pair(&mut engine);
        engine.io.send(id, b"bye").unwrap();
        turn_until(&mut engine, |io, _| io.is_flushed(id).then_some(()));
        engine.io.close(id);
        let mut received = Vec::new();
        engine.turn(Duration::ZERO, |_, _, _| panic!("a closed connection has no events")).unwrap();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"bye");
    }
}
