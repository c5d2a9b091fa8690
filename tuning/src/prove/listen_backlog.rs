//! The accept queue in a storm: the lesser of `somaxconn` and `listen()` decides, and a short one costs seconds.
//!
//! Clients send a byte and wait for one, because a client may think itself connected while the server has dropped
//! the end of its handshake.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use socket2::Socket;

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};
use crate::sys::epoll::Epoll;

const CLIENTS: usize = 6_000;
/// How long the server has something else to do when the storm begins.
const BUSY: Duration = Duration::from_millis(200);
/// A client that has no answer by then counts as waiting this long.
const PATIENCE: Duration = Duration::from_secs(5);

pub const EXPERIMENT: Experiment = Experiment {
    id: "listen-backlog",
    question: "6,000 clients connect at once to a server that is busy for its first 200 ms; time to its answer",
    reach: Reach::Namespace,
    run,
};

#[derive(Clone, Copy)]
struct Queue {
    somaxconn: u32,
    listen: i32,
}

struct Waits {
    median_ms: f64,
    p99_ms: f64,
    slowest_ms: f64,
    late: f64,
}

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let arms = [
        ("somaxconn 16384, listen(16384)", Queue { somaxconn: 16_384, listen: 16_384 }),
        ("somaxconn 4096 (default), listen(16384)", Queue { somaxconn: 4_096, listen: 16_384 }),
        ("somaxconn 16384, listen(128)", Queue { somaxconn: 16_384, listen: 128 }),
        ("somaxconn 128, listen(16384)", Queue { somaxconn: 128, listen: 16_384 }),
    ];
    let samples = trial.alternate(&arms, storm)?;
    Ok(vec![
        Measure::of("median wait, ms", &arms, &samples, |waits| waits.median_ms),
        Measure::of("99th percentile, ms", &arms, &samples, |waits| waits.p99_ms),
        Measure::of("slowest client, ms", &arms, &samples, |waits| waits.slowest_ms),
        Measure::of("clients that waited more than 900 ms", &arms, &samples, |waits| waits.late),
    ])
}

fn storm(queue: Queue) -> io::Result<Waits> {
    arena::set("net/core/somaxconn", &queue.somaxconn.to_string())?;
    arena::set("net/ipv4/ip_local_port_range", "1024 65535")?;
    let clients = arena::pairs_that_fit(CLIENTS)?;
    let (listener, address) = arena::listener(queue.listen)?;
    let server = thread::spawn(move || serve(&listener, clients));
    let waits = connect_all(address, clients)?;
    // The server ends when every client was answered or the patience is over; what it says then does not matter.
    drop(server.join());
    Ok(summary(waits))
}

fn serve(listener: &Socket, clients: usize) -> io::Result<Vec<Socket>> {
    thread::sleep(BUSY);
    listener.set_nonblocking(true)?;
    let mut epoll = Epoll::new()?;
    epoll.add(listener.as_fd(), 0)?;
    let mut accepted = Vec::with_capacity(clients);
    let ends = Instant::now() + PATIENCE;
    while accepted.len() < clients && Instant::now() < ends {
        match listener.accept() {
            Ok((mut socket, _)) => {
                socket.write_all(b"!")?;
                accepted.push(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                epoll.wait(Duration::from_millis(100))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(accepted)
}

/// One client's attempt.
struct Attempt {
    socket: Socket,
    begun: Instant,
    has_asked: bool,
}

/// Starts every connection at once and returns how long each waited for its answer.
fn connect_all(address: SocketAddr, clients: usize) -> io::Result<Vec<Duration>> {
    let mut epoll = Epoll::new()?;
    let mut attempts = Vec::with_capacity(clients);
    for number in 0..clients {
        let socket = arena::tcp()?;
        socket.set_nonblocking(true)?;
        let begun = Instant::now();
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        epoll.add(socket.as_fd(), number as u64)?;
        attempts.push(Attempt { socket, begun, has_asked: false });
    }
    let mut waits = Vec::with_capacity(clients);
    let ends = Instant::now() + PATIENCE;
    while waits.len() < clients && Instant::now() < ends {
        for number in epoll.wait(Duration::from_millis(100))? {
            if let Some(wait) = attempts[number as usize].proceed() {
                waits.push(wait);
                epoll.remove(attempts[number as usize].socket.as_fd())?;
            }
        }
    }
    // Sockets stay open up to here: a port that is free again would make the others' way easier.
    waits.resize(clients, PATIENCE);
    Ok(waits)
}

impl Attempt {
    /// Asks once connected; the wait, once answered. A refused or reset attempt has waited for nothing, all the time.
    fn proceed(&mut self) -> Option<Duration> {
        if !self.has_asked {
            match self.socket.write(b"?") {
                Ok(_) => self.has_asked = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(PATIENCE),
            }
        }
        match self.socket.read(&mut [0]) {
            Ok(1) => Some(self.begun.elapsed()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            _ => Some(PATIENCE),
        }
    }
}

fn summary(mut waits: Vec<Duration>) -> Waits {
    waits.sort();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    let late = waits.iter().filter(|wait| wait.as_millis() > 900).count();
    Waits { median_ms: at(0.5), p99_ms: at(0.99), slowest_ms: at(1.0), late: late as f64 }
}
