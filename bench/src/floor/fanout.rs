//! A bare fan-out: every message from a publisher goes to every other connection in a plain loop of `send`.
//!
//! A connection that sends anything is a publisher. Its bytes are messages of a fixed length; each goes out behind the
//! two-byte head of a WebSocket frame, so that a subscriber receives exactly what a WebSocket server would send it.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use roadstead::wire::websocket::{Opcode, encode_frame};

use super::{BATCH, Connections, LISTENER, accept_all, announce};
use crate::{
    floor::epoll::{self, Poller},
    host::cpu::CpuTime,
};

struct Fanout {
    connections: Connections,
    /// By descriptor number: what a publisher has sent of an incomplete message. Subscribers have none.
    publishers: Vec<Option<Vec<u8>>>,
    message_bytes: usize,
    deliveries: u64,
    sending: Duration,
}

/// Serves until `seconds` have passed; prints deliveries, time spent in the sending loop, and CPU.
pub fn run(listen: SocketAddr, message_bytes: usize, seconds: u64) -> io::Result<()> {
    let listener = epoll::listen(listen)?;
    announce(&listener)?;
    let mut poller = Poller::new(BATCH)?;
    poller.watch(listener.as_fd(), libc::EPOLLIN, LISTENER)?;
    let mut fanout = Fanout {
        connections: Connections::new(),
        publishers: Vec::new(),
        message_bytes,
        deliveries: 0,
        sending: Duration::ZERO,
    };
    let mut buffer = vec![0; 64 * 1024];
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut told = 0;
    while Instant::now() < end {
        let count = poller.wait(Some(Duration::from_secs(1)))?;
        for index in 0..count {
            match poller.event(index) {
                (LISTENER, _) => accept_all(&listener, &poller, &mut fanout.connections)?,
                (number, _) => fanout.attend(number as usize, &mut buffer),
            }
        }
        if count == 0 && fanout.deliveries > told {
            told = fanout.deliveries;
            fanout.tell()?;
        }
    }
    Ok(())
}

impl Fanout {
    fn attend(&mut self, number: usize, buffer: &mut [u8]) {
        match epoll::receive(number as i32, buffer) {
            Ok(count) if count > 0 => self.take(number, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => {
                self.connections[number] = None;
                if let Some(publisher) = self.publishers.get_mut(number) {
                    *publisher = None;
                }
            }
        }
    }

    fn take(&mut self, number: usize, bytes: &[u8]) {
        if self.publishers.len() <= number {
            self.publishers.resize(number + 1, None);
        }
        let mut held = self.publishers[number].take().unwrap_or_default();
        held.extend_from_slice(bytes);
        let whole = held.len() / self.message_bytes * self.message_bytes;
        let rest = held.split_off(whole);
        self.publishers[number] = Some(rest);
        for message in held.chunks(self.message_bytes) {
            let mut frame = Vec::with_capacity(message.len() + 14);
            encode_frame(&mut frame, Opcode::Text, true, message);
            self.publish(&frame);
        }
    }

    /// The loop all fan-out is measured against.
    fn publish(&mut self, frame: &[u8]) {
        let started = Instant::now();
        for socket in self.connections.iter_mut() {
            let Some(descriptor) = socket else { continue };
            let number = descriptor.as_raw_fd();
            if self.publishers.get(number as usize).is_some_and(Option::is_some) {
                continue;
            }
            match epoll::send(number, frame) {
                Ok(count) if count == frame.len() => self.deliveries += 1,
                _ => *socket = None,
            }
        }
        self.sending += started.elapsed();
    }

    fn tell(&self) -> io::Result<()> {
        let cpu = CpuTime::of_process(std::process::id())?;
        println!(
            "{} deliveries, {:.0}/s while sending, {:.2} s user and {:.2} s system in all",
            self.deliveries,
            self.deliveries as f64 / self.sending.as_secs_f64(),
            cpu.user_us as f64 / 1e6,
            cpu.system_us as f64 / 1e6,
        );
        Ok(())
    }
}
