//! A bare relay: what a connection sends goes to every other one, by its own thread or by another that has to be woken.
//!
//! ```text
//!   publisher ─► thread 1: epoll_wait, recv ─ send ──────────────────────────────────► subscriber
//!                              └─ write to an eventfd ─► thread 2: epoll_wait, send ─► subscriber
//! ```
//!
//! The difference is what it costs to hand a message to a core that sleeps, with no protocol and no queue of ours.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use core_affinity::CoreId;

use super::{
    Connections, Floor,
    epoll::{self, Bell, Poller},
};

/// What the second thread sends, and to whom.
type Errand = (RawFd, Vec<u8>);

/// Relays until `seconds` have passed; over a second thread, on a second core, if `is_handed`.
///
/// A connection that ends while the other thread sends to it is the only thing that goes wrong, and only at the end: a
/// floor outlives its client.
pub fn run(listen: SocketAddr, seconds: u64, is_handed: bool) -> io::Result<()> {
    let cores = epoll::cores();
    if let Some(first) = cores.first() {
        epoll::pin(*first)?;
    }
    let mut floor = Floor::new(listen)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let hand = if is_handed {
        let other = cores.get(1).ok_or_else(|| io::Error::other("to hand messages over takes two cores"))?;
        Some(second_thread(*other)?)
    } else {
        None
    };
    while Instant::now() < end {
        floor.turn(|number, buffer, connections| match epoll::receive(number, buffer) {
            Ok(count) if count > 0 => relay(number, &buffer[..count], connections, hand.as_ref()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => connections[number as usize] = None,
        })?;
    }
    Ok(())
}

fn relay(from: RawFd, bytes: &[u8], connections: &mut Connections, hand: Option<&(Sender<Errand>, Bell)>) {
    for socket in connections.iter_mut() {
        let Some(to) = socket.as_ref().map(AsRawFd::as_raw_fd).filter(|to| *to != from) else { continue };
        let is_taken = match hand {
            Some((errands, bell)) => errands.send((to, bytes.to_vec())).is_ok() && bell.ring().is_ok(),
            None => epoll::send(to, bytes).is_ok_and(|sent| sent == bytes.len()),
        };
        if !is_taken {
            *socket = None;
        }
    }
}

fn second_thread(core: CoreId) -> io::Result<(Sender<Errand>, Bell)> {
    let bell = Bell::new()?;
    let (errands, queue) = channel();
    let heard = bell.try_clone()?;
    std::thread::spawn(move || {
        if let Err(error) = send_all(&queue, &heard, core) {
            eprintln!("the second thread: {error}");
        }
    });
    Ok((errands, bell))
}

fn send_all(queue: &Receiver<Errand>, bell: &Bell, core: CoreId) -> io::Result<()> {
    epoll::pin(core)?;
    let mut poller = Poller::new(1)?;
    poller.watch(bell.as_fd(), libc::EPOLLIN, 0)?;
    loop {
        poller.wait(None)?;
        bell.silence()?;
        for (socket, bytes) in queue.try_iter() {
            epoll::send(socket, &bytes)?;
        }
    }
}
