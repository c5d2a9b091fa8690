//! A bare fan-out: every message from a publisher goes to every other connection in a plain loop of `send`.
//!
//! A connection that sends anything is a publisher. Its bytes are messages of a fixed length; each goes out behind the
//! two-byte head of a WebSocket frame, so that a subscriber receives exactly what a WebSocket server would send it.

use std::{
    io::{self, Write},
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    time::{Duration, Instant},
};

use roadstead::wire::websocket::{Opcode, encode_frame};

use super::{Connections, Floor, epoll};
use crate::host::cpu::CpuTime;

struct Fanout {
    /// By descriptor number: what a publisher has sent of an incomplete message. Subscribers have none.
    publishers: Vec<Option<Vec<u8>>>,
    message_bytes: usize,
    deliveries: u64,
    sending: Duration,
}

/// Serves until `seconds` have passed; prints deliveries, time spent in the sending loop, and CPU.
pub fn run(listen: SocketAddr, message_bytes: usize, seconds: u64) -> io::Result<()> {
    let mut floor = Floor::new(listen)?;
    let mut fanout = Fanout { publishers: Vec::new(), message_bytes, deliveries: 0, sending: Duration::ZERO };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut told = 0;
    while Instant::now() < end {
        let count = floor.turn(|number, buffer, connections| fanout.attend(number, buffer, connections))?;
        if count == 0 && fanout.deliveries > told {
            told = fanout.deliveries;
            fanout.tell()?;
        }
    }
    Ok(())
}

impl Fanout {
    fn attend(&mut self, number: RawFd, buffer: &mut [u8], connections: &mut Connections) {
        match epoll::receive(number, buffer) {
            Ok(count) if count > 0 => self.take(number as usize, &buffer[..count], connections),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => {
                connections[number as usize] = None;
                if let Some(publisher) = self.publishers.get_mut(number as usize) {
                    *publisher = None;
                }
            }
        }
    }

    fn take(&mut self, number: usize, bytes: &[u8], connections: &mut Connections) {
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
            self.publish(&frame, connections);
        }
    }

    /// The loop all fan-out is measured against.
    fn publish(&mut self, frame: &[u8], connections: &mut Connections) {
        let started = Instant::now();
        for socket in connections.iter_mut() {
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
        // Where nobody reads the figures, that is no reason to end.
        drop(writeln!(
            io::stdout(),
            "{} deliveries, {:.0}/s while sending, {:.2} s user and {:.2} s system in all",
            self.deliveries,
            self.deliveries as f64 / self.sending.as_secs_f64(),
            cpu.user_us as f64 / 1e6,
            cpu.system_us as f64 / 1e6,
        ));
        Ok(())
    }
}
