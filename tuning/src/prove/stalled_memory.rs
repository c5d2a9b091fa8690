//! What queued bytes charge to `tcp_mem`: nothing while idle, a page for one message, and as much as the buffers'
//! maxima allow for a client that stopped reading.

use std::{io, io::Write, os::fd::AsFd, thread, time::Duration};

use socket2::Socket;

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};
use crate::sys::{self, net};

const CONNECTIONS: usize = 100;

pub const EXPERIMENT: Experiment = Experiment {
    id: "stalled-memory",
    question: "bytes that 100 connections charge to tcp_mem while their clients do not read, per connection",
    reach: Reach::Namespace,
    run,
};

#[derive(Clone, Copy)]
struct Load {
    message_bytes: usize,
    is_repeated: bool,
    buffer_bytes_max: Option<u32>,
    /// Loopback's segments are of 64 KiB, and buffers grow in proportion; a card's are of 1,448 bytes.
    segment_bytes_max: Option<u32>,
}

struct Charge {
    receiver_bytes: f64,
    sender_bytes: f64,
    taken_bytes: f64,
}

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let idle = Load { message_bytes: 0, is_repeated: false, buffer_bytes_max: None, segment_bytes_max: None };
    let full = Load { message_bytes: 4_096, is_repeated: true, ..idle };
    let bounded = Load { buffer_bytes_max: Some(65_536), ..full };
    let ethernet = Some(1_448);
    let arms = [
        ("idle", idle),
        ("one unread message of 64 bytes", Load { message_bytes: 64, ..idle }),
        ("one of 64 bytes, maxima 65536", Load { message_bytes: 64, buffer_bytes_max: Some(65_536), ..idle }),
        ("as many of 4 KiB as fit, defaults", full),
        ("the same in segments of 1,448", Load { segment_bytes_max: ethernet, ..full }),
        ("as many of 4 KiB as fit, maxima 65536", bounded),
        ("the same in segments of 1,448, maxima 65536", Load { segment_bytes_max: ethernet, ..bounded }),
    ];
    let samples = trial.alternate(&arms, stall)?;
    let page = sys::page_bytes() as f64;
    Ok(vec![
        Measure::of("receiver's end, bytes charged", &arms, &samples, |charge| charge.receiver_bytes),
        Measure::of("sender's end, bytes charged", &arms, &samples, |charge| charge.sender_bytes),
        Measure::of("payload that the sender's kernel took, bytes", &arms, &samples, |charge| {
            charge.taken_bytes
        }),
        Measure::of("both, pages of tcp_mem", &arms, &samples, move |charge| {
            (charge.receiver_bytes + charge.sender_bytes) / page
        }),
    ])
}

fn stall(load: Load) -> io::Result<Charge> {
    if let Some(most) = load.buffer_bytes_max {
        arena::set("net/ipv4/tcp_rmem", &format!("4096 {most} {most}"))?;
        arena::set("net/ipv4/tcp_wmem", &format!("4096 16384 {most}"))?;
    }
    let (listener, address) = arena::listener(128)?;
    if let Some(bytes) = load.segment_bytes_max {
        listener.set_tcp_mss(bytes)?;
    }
    let mut pairs: Vec<_> =
        (0..CONNECTIONS).map(|_| arena::pair(&listener, address)).collect::<io::Result<_>>()?;
    let message = vec![b'x'; load.message_bytes];
    for (_, server) in &mut pairs {
        server.set_nonblocking(true)?;
    }
    let mut taken = 0;
    // A stalled queue fills in several steps, as the kernel grows the send buffer with the congestion window.
    for _ in 0..if load.is_repeated { 20 } else { 1 } {
        for (_, server) in &mut pairs {
            taken += fill(server, load, &message)?;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let mut charge =
        Charge { receiver_bytes: 0.0, sender_bytes: 0.0, taken_bytes: taken as f64 / CONNECTIONS as f64 };
    for (client, server) in &pairs {
        charge.receiver_bytes += net::memory_of(client.as_fd())?.charged_bytes() as f64 / CONNECTIONS as f64;
        charge.sender_bytes += net::memory_of(server.as_fd())?.charged_bytes() as f64 / CONNECTIONS as f64;
    }
    Ok(charge)
}

/// Writes the message once, or until nothing more is taken; how many bytes were.
fn fill(server: &mut Socket, load: Load, message: &[u8]) -> io::Result<usize> {
    match load {
        Load { message_bytes: 0, .. } => Ok(0),
        Load { is_repeated: true, .. } => arena::write_all_that_fits(server, message),
        Load { is_repeated: false, .. } => server.write(message),
    }
}
