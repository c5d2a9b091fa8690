//! What the three numbers of `tcp_mem` do. Above the second, a connection that holds more than its share gets nothing,
//! and what is left up to the third is for the others; with equal numbers nothing is left.
//!
//! `tcp_mem` belongs to the whole kernel, so this is the one experiment that changes something outside of its namespace,
//! and it asks for leave. It keeps above what is in use by [`ROOM_PAGES`], for seconds, and [`Lent`] puts it back.

use std::{
    fs,
    io::{self, Read, Write},
    thread,
    time::{Duration, Instant},
};

use socket2::Socket;

use super::{Experiment, Measure, Reach, Trial, Trouble, arena, host_value::Lent};
use crate::setting::demand::{grouped, numbers};

const PATH: &str = "/proc/sys/net/ipv4/tcp_mem";
/// Allowed beyond the pages in use: much more than the 256 for each CPU that the kernel keeps aside since 6.0, and less
/// than what the stalled would take.
const ROOM_PAGES: u64 = 8_192;
/// Clients that never read.
const STALLED: usize = 150;
/// Clients that have nothing to read: most of those on a box that is full.
const IDLE: usize = 600;
/// Clients that read what they are sent.
const READING: usize = 8;
/// What a connection can always have: one packet in an empty queue.
const MESSAGE_BYTES: usize = 4 << 10;
/// What takes several.
const TRANSFER_BYTES: usize = 64 << 10;
/// A client that has not got everything by then counts as waiting this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Segments of an Ethernet card; loopback's own are of 64 KiB.
const SEGMENT_BYTES: u32 = 1_448;

pub const EXPERIMENT: Experiment = Experiment {
    id: "tcp-mem",
    question: "150 clients do not read what they are sent, 600 are idle; 8 others read, and get 4 KiB, then 64 KiB",
    reach: Reach::Host,
    run,
};

struct Outcome {
    stalled_pages: f64,
    message_ms: f64,
    transfer_ms: f64,
    waiting: f64,
}

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    refuse_where_short()?;
    let arms = [
        ("room in the kernel's ratio, 3 : 4 : 6", [3, 4, 6]),
        ("as much room, three equal numbers", [6, 6, 6]),
        ("ten times the room, 3 : 4 : 6", [30, 40, 60]),
    ];
    let samples = trial.alternate_with(&arms, |sixths, left| {
        let in_use = settled_pages().map_err(refused)?;
        let limits = sixths.map(|sixths| (in_use + ROOM_PAGES * sixths / 6).to_string()).join(" ");
        let lent = Lent::set(PATH, &limits).map_err(refused)?;
        let outcome = arena::in_namespace(left, load);
        lent.give_back().map_err(refused)?;
        outcome
    })?;
    Ok(vec![
        Measure::of("pages of tcp_mem when the stalled are full", &arms, &samples, |outcome| {
            outcome.stalled_pages
        }),
        Measure::of("4 KiB, the slowest reader, ms", &arms, &samples, |outcome| outcome.message_ms),
        Measure::of("64 KiB, the slowest reader, ms", &arms, &samples, |outcome| outcome.transfer_ms),
        Measure::of("readers without their 64 KiB after 2 s", &arms, &samples, |outcome| outcome.waiting),
    ])
}

fn refused(error: io::Error) -> Trouble {
    Trouble::Refused(PATH, error)
}

/// The numbers are only ever lowered to what is in use and more; a box that is near its own bound is none to try on.
fn refuse_where_short() -> Result<(), Trouble> {
    let Ok(text) = fs::read_to_string(PATH) else {
        return Err(Trouble::NotHere("tcp_mem is seen from the first network namespace only".to_owned()));
    };
    let most = numbers(&text, 3).map_err(Trouble::NotHere)?[2];
    let in_use = settled_pages().map_err(refused)?;
    if in_use + ROOM_PAGES > most {
        return Err(Trouble::NotHere(format!(
            "{} pages are in use and {} more are needed below the third number of tcp_mem, {}",
            grouped(in_use),
            grouped(ROOM_PAGES),
            grouped(most),
        )));
    }
    Ok(())
}

/// The kernel's sum over all TCP sockets, once what the last round has closed is gone.
fn settled_pages() -> io::Result<u64> {
    let mut last = pages()?;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(50));
        let now = pages()?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

fn pages() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let row = text.lines().find_map(|line| line.strip_prefix("TCP:"));
    let mut fields = row.into_iter().flat_map(str::split_whitespace).skip_while(|field| *field != "mem");
    let pages = fields.nth(1).and_then(|pages| pages.parse().ok());
    pages.ok_or_else(|| io::Error::other("/proc/net/sockstat does not tell"))
}

/// Everybody connects while there is memory; then the stalled take what they can, and the others are served.
fn load() -> io::Result<Outcome> {
    if arena::pairs_that_fit(STALLED + IDLE + READING)? < STALLED + IDLE + READING {
        return Err(io::Error::other("takes a limit of 2,048 open files"));
    }
    let (listener, address) = arena::listener(128)?;
    listener.set_tcp_mss(SEGMENT_BYTES)?;
    let connect = |count| (0..count).map(|_| arena::pair(&listener, address)).collect::<io::Result<Vec<_>>>();
    let (mut stalled, _idle, mut reading) = (connect(STALLED)?, connect(IDLE)?, connect(READING)?);
    fill(&mut stalled)?;
    let stalled_pages = pages()? as f64;
    let messages = serve(&mut reading, MESSAGE_BYTES)?;
    let transfers = serve(&mut reading, TRANSFER_BYTES)?;
    let slowest_ms = |waits: &[Duration]| {
        waits.iter().max().map_or(0.0, |wait| wait.min(&PATIENCE).as_secs_f64() * 1_000.0)
    };
    Ok(Outcome {
        stalled_pages,
        message_ms: slowest_ms(&messages),
        transfer_ms: slowest_ms(&transfers),
        waiting: transfers.iter().filter(|wait| **wait >= PATIENCE).count() as f64,
    })
}

/// Writes until no connection takes any more; the kernel grows a send buffer in steps, as its window grows.
fn fill(pairs: &mut [(Socket, Socket)]) -> io::Result<()> {
    let message = [b'x'; 4_096];
    for (_, server) in pairs.iter() {
        server.set_nonblocking(true)?;
    }
    for _ in 0..20 {
        let mut taken = 0;
        for (_, server) in pairs.iter_mut() {
            taken += arena::write_all_that_fits(server, &message)?;
        }
        if taken == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Sends every reader so many bytes at once; how long each waited for the last of them.
fn serve(pairs: &mut [(Socket, Socket)], bytes: usize) -> io::Result<Vec<Duration>> {
    let content = vec![b'x'; bytes];
    for (client, server) in pairs.iter() {
        client.set_read_timeout(Some(PATIENCE))?;
        server.set_write_timeout(Some(PATIENCE))?;
    }
    let begun = Instant::now();
    let waits = thread::scope(|scope| {
        let readers: Vec<_> = pairs
            .iter_mut()
            .map(|(client, server)| {
                // A send that is given up shows at the reader, who then has waited longer than its patience.
                scope.spawn(|| server.write_all(&content).ok());
                scope.spawn(move || receive(client, bytes, begun))
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap_or(PATIENCE)).collect()
    });
    Ok(waits)
}

fn receive(client: &mut Socket, bytes: usize, begun: Instant) -> Duration {
    let mut buffer = vec![0; bytes];
    let mut missing = bytes;
    while missing > 0 && begun.elapsed() < PATIENCE {
        match client.read(&mut buffer[..missing]) {
            Ok(count) if count > 0 => missing -= count,
            Ok(_) | Err(_) => return PATIENCE,
        }
    }
    begun.elapsed()
}
