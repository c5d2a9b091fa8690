//! A bare TCP echo: `epoll_wait(512)`, `recv`, `send`.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Connections, Floor, epoll};

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
    let mut floor = Floor::new(listen)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        pauses.take();
        floor.turn(echo)?;
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
