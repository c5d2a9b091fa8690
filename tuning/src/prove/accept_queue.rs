//! The accept queue's length: raising `somaxconn` does nothing for a program that asks `listen()` for less, nor for one
//! that listens already.

use std::{io, thread, time::Duration};

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};

const CLIENTS: usize = 1_000;
/// Handshakes over loopback are done in less; a client that was dropped tries again after a second, which is too late.
const HANDSHAKES: Duration = Duration::from_millis(200);

pub const EXPERIMENT: Experiment = Experiment {
    id: "accept-queue",
    question: "1,000 clients connect to a listener that accepts nobody for 200 ms; how many its queue holds then",
    reach: Reach::Namespace,
    run,
};

#[derive(Clone, Copy)]
struct Order {
    before_listen: u32,
    listen: i32,
    after_listen: u32,
}

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let low = Order { before_listen: 128, listen: 128, after_listen: 128 };
    let arms = [
        ("somaxconn 128, listen(128)", low),
        ("somaxconn 16384, listen(128)", Order { before_listen: 16_384, after_listen: 16_384, ..low }),
        (
            "listen(16384) under 128, then somaxconn 16384",
            Order { listen: 16_384, after_listen: 16_384, ..low },
        ),
        (
            "somaxconn 16384, then listen(16384)",
            Order { before_listen: 16_384, listen: 16_384, after_listen: 16_384 },
        ),
    ];
    let samples = trial.alternate(&arms, queue)?;
    Ok(vec![Measure::of("connections in the queue", &arms, &samples, |count| *count)])
}

fn queue(order: Order) -> io::Result<f64> {
    arena::set("net/core/somaxconn", &order.before_listen.to_string())?;
    let clients = arena::pairs_that_fit(CLIENTS)?;
    let (listener, address) = arena::listener(order.listen)?;
    arena::set("net/core/somaxconn", &order.after_listen.to_string())?;
    let mut waiting = Vec::with_capacity(clients);
    for _ in 0..clients {
        let client = arena::tcp()?;
        client.set_nonblocking(true)?;
        match client.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            Ok(()) | Err(_) => waiting.push(client),
        }
    }
    thread::sleep(HANDSHAKES);
    arena::queued(&listener).map(|count| count as f64)
}
