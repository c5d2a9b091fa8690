//! What queued bytes charge to `tcp_mem`: nothing while idle, a page for one message, and as much as the buffers'
//! maxima allow for a client that stopped reading.

use std::{io, io::Write, os::fd::AsFd, thread, time::Duration};

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};
use crate::sys::{self, net};

const CONNECTIONS: usize = 100;

pub const EXPERIMENT: Experiment = Experiment {
    id: "stalled-memory",
    question: "bytes that 100 connections charge to tcp_mem while their clients do not read, per connection",
    reach: Reach::Namespace,
    run,
};

/// What the server writes to each connection.
#[derive(Clone, Copy)]
enum Sent {
    Nothing,
    /// One message of so many bytes.
    Message(usize),
    /// Messages of 4 KiB until no more is taken, so often: the kernel grows the send buffer with the congestion window,
    /// from burst to burst.
    Bursts(u32),
}

#[derive(Clone, Copy)]
struct Load {
    sent: Sent,
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
    let idle = Load { sent: Sent::Nothing, buffer_bytes_max: None, segment_bytes_max: None };
    let one = Load { sent: Sent::Message(64), ..idle };
    let full = Load { sent: Sent::Bursts(20), ..idle };
    let bounded = Load { buffer_bytes_max: Some(65_536), ..full };
    let [full_by_card, bounded_by_card] =
        [full, bounded].map(|load| Load { segment_bytes_max: Some(1_448), ..load });
    let once = |load| Load { sent: Sent::Bursts(1), ..load };
    let arms = [
        ("idle", idle),
        ("one unread message of 64 bytes", one),
        ("one of 64 bytes, maxima 65536", Load { buffer_bytes_max: Some(65_536), ..one }),
        ("as many of 4 KiB as fit, defaults", full),
        ("the same in segments of 1,448", full_by_card),
        ("as many of 4 KiB as fit, maxima 65536", bounded),
        ("the same in segments of 1,448, maxima 65536", bounded_by_card),
        ("one burst in segments of 1,448, defaults", once(full_by_card)),
        ("one burst in segments of 1,448, maxima 65536", once(bounded_by_card)),
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
    let (bursts, message_bytes) = match load.sent {
        Sent::Nothing => (0, 0),
        Sent::Message(bytes) => (1, bytes),
        Sent::Bursts(count) => (count, 4_096),
    };
    let message = vec![b'x'; message_bytes];
    for (_, server) in &mut pairs {
        server.set_nonblocking(true)?;
    }
    let mut taken = 0;
    for _ in 0..bursts {
        for (_, server) in &mut pairs {
            taken += match load.sent {
                Sent::Bursts(_) => arena::write_all_that_fits(server, &message)?,
                Sent::Message(_) | Sent::Nothing => server.write(&message)?,
            };
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
