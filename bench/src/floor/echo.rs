//! A bare TCP echo: `epoll_wait(512)`, `recv`, `send`.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::{BATCH, Connections, LISTENER, accept_all, announce};
use crate::floor::epoll::{self, Poller};

/// When the program stands still, for whoever wants to see whether a load generator notices.
pub struct Pauses {
    length: Duration,
    every: Duration,
    next: Instant,
}

impl Pauses {
    /// A pause of `pause_ms` every `every_ms`; none if it is 0.
    pub fn new(pause_ms: u64, every_ms: u64) -> Self {
        let every = Duration::from_millis(every_ms);
        Self { length: Duration::from_millis(pause_ms), every, next: Instant::now() + every }
    }

    fn take(&mut self) {
        if !self.length.is_zero() && Instant::now() >= self.next {
            std::thread::sleep(self.length);
            self.next += self.every;
        }
    }
}

/// Echoes until `seconds` have passed.
pub fn run(listen: SocketAddr, seconds: u64, mut pauses: Pauses) -> io::Result<()> {
    let listener = epoll::listen(listen)?;
    announce(&listener)?;
    let mut poller = Poller::new(BATCH)?;
    poller.watch(listener.as_fd(), libc::EPOLLIN, LISTENER)?;
    let mut connections = Connections::new();
    let mut buffer = vec![0; 64 * 1024];
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        pauses.take();
        let count = poller.wait(Some(Duration::from_secs(1)))?;
        for index in 0..count {
            match poller.event(index) {
                (LISTENER, _) => accept_all(&listener, &poller, &mut connections)?,
                (number, _) => echo(number as i32, &mut buffer, &mut connections),
            }
        }
    }
    Ok(())
}

/// A peer that reads so slowly that a send comes up short is dropped: a floor has no queue.
fn echo(socket: i32, buffer: &mut [u8], connections: &mut Connections) {
    let echoed = match epoll::receive(socket, buffer) {
        Ok(0) => false,
        Ok(count) => epoll::send(socket, &buffer[..count]).is_ok_and(|sent| sent == count),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    if !echoed {
        connections[socket as usize] = None;
    }
}
