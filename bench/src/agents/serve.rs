//! The agent: lets in who knows the token, and runs a worker for each connection of one run at a time.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    Hello, ORDER_BYTES_MAX, PROTOCOL, Request, Token, Verdict, is_same, nonce, read_json, read_line, version,
    write_json,
};
use crate::{crew::assignment::Assignment, engine::open_files_max};

/// How long whoever connects may take to show that it knows the token.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a coordinator may take to take in what a worker says.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a worker has to leave when its coordinator has.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new run waits for the last one's workers to leave.
const VACANCY_TIMEOUT: Duration = Duration::from_secs(3);
/// The most connections at once that have not shown the token yet.
const STRANGERS_MAX: usize = 16;
/// The most workers at once.
const WORKERS_MAX: usize = 256;
/// What is kept of a worker's complaints.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// An agent's settings.
pub struct Agent {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What coordinators have to know.
    pub token: Token,
    /// Whether targets may be loaded that are neither loopback nor private, if a coordinator says they are its own.
    pub allows_foreign: bool,
}

/// Who is here.
#[derive(Default)]
struct Guests {
    strangers: usize,
    /// Workers by run: of one run only.
    runs: HashMap<String, usize>,
}

type Book = Arc<Mutex<Guests>>;

/// Serves until it is ended.
pub fn serve(agent: Agent) -> io::Result<()> {
    let open_files_max = open_files_max()?;
    let listener = TcpListener::bind(agent.listen)?;
    let mut out = io::stdout();
    // Where nobody reads the address, that is no reason to end.
    drop(writeln!(out, "listening on {}", listener.local_addr()?).and_then(|()| out.flush()));
    let (agent, book) = (Arc::new(agent), Book::default());
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No descriptor is free: workers that end give theirs back.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let mut guests = open(&book);
        if guests.strangers == STRANGERS_MAX {
            continue;
        }
        guests.strangers += 1;
        drop(guests);
        let (agent, book) = (Arc::clone(&agent), Arc::clone(&book));
        thread::spawn(move || {
            let peer = stream.peer_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
            if let Err(error) = attend(&agent, &book, stream, open_files_max) {
                eprintln!("{peer}: {error}");
            }
        });
    }
    Ok(())
}

fn open(book: &Book) -> MutexGuard<'_, Guests> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, from its greeting to the end of its worker.
fn attend(agent: &Agent, book: &Book, mut stream: TcpStream, open_files_max: u64) -> io::Result<()> {
    let let_in = greet(agent, book, &mut stream, open_files_max);
    open(book).strangers -= 1;
    let (reader, _seat) = let_in?;
    let result = work(agent, &mut stream, reader);
    if let Err(error) = &result {
        // One line, whatever it says. A coordinator that is gone needs no reason.
        let why = error.to_string().replace('\n', " ");
        drop(writeln!(stream, "!{why}").and_then(|()| stream.shutdown(Shutdown::Both)));
    }
    result
}

/// Lets in who knows the token and is the same program, while no other run is under way.
fn greet(
    agent: &Agent,
    book: &Book,
    stream: &mut TcpStream,
    open_files_max: u64,
) -> io::Result<(BufReader<TcpStream>, Seat)> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GREETING_TIMEOUT))?;
    stream.set_write_timeout(Some(SEND_TIMEOUT))?;
    let ours = nonce()?;
    write_json(stream, &Hello { protocol: PROTOCOL, version: version(), nonce: ours.clone() })?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let request: Request = read_json(&mut reader)?;
    let nonces = [ours.as_str(), request.nonce.as_str()];
    let admitted = is_same(request.protocol, &request.version)
        .and_then(|()| match agent.token.is_proof(&request.proof, "coordinator", nonces) {
            true => Ok(()),
            false => Err("the token is another one here".to_owned()),
        })
        .and_then(|()| Seat::take(book, &request.run));
    let seat = match admitted {
        Ok(seat) => seat,
        Err(why) => {
            write_json(stream, &Verdict::Refused(why.clone()))?;
            return Err(io::Error::other(why));
        }
    };
    let proof = agent.token.proof("agent", nonces);
    write_json(stream, &Verdict::Welcome { proof, open_files_max })?;
    stream.set_read_timeout(None)?;
    Ok((reader, seat))
}

/// A worker's place among those of its run.
struct Seat {
    book: Book,
    run: String,
}

impl Seat {
    /// A place, as soon as the workers of the last run have left: one follows on the other.
    fn take(book: &Book, run: &str) -> Result<Self, String> {
        let deadline = Instant::now() + VACANCY_TIMEOUT;
        loop {
            match Self::try_take(book, run) {
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
                taken => return taken,
            }
        }
    }

    fn try_take(book: &Book, run: &str) -> Result<Self, String> {
        let runs = &mut open(book).runs;
        if !runs.is_empty() && !runs.contains_key(run) {
            return Err("it is busy with another run: two at once would disturb each other".to_owned());
        }
        let count = runs.entry(run.to_owned()).or_default();
        if *count == WORKERS_MAX {
            return Err(format!("it runs {WORKERS_MAX} workers already, the most it does"));
        }
        *count += 1;
        Ok(Self { book: Arc::clone(book), run: run.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let runs = &mut open(&self.book).runs;
        if let Some(count) = runs.get_mut(&self.run) {
            *count -= 1;
            if *count == 0 {
                runs.remove(&self.run);
            }
        }
    }
}

/// Runs one worker, between a coordinator and itself.
fn work(agent: &Agent, stream: &mut TcpStream, mut reader: BufReader<TcpStream>) -> io::Result<()> {
    let Some(line) = read_line(&mut reader, ORDER_BYTES_MAX)? else { return Ok(()) };
    check(agent, &line).map_err(io::Error::other)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let orders = child.stdin.take().expect("it is piped");
    let (told, complaints) =
        (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    thread::spawn(move || pass_on(&line, reader, orders));
    let complaint = thread::spawn(move || {
        let mut text = String::new();
        let mut complaints = BufReader::new(complaints);
        // What is no text is no complaint that could be told; the rest is read so that nobody waits.
        drop(complaints.by_ref().take(COMPLAINT_BYTES_MAX).read_to_string(&mut text));
        drop(io::copy(&mut complaints, &mut io::sink()));
        text
    });
    let mut told = BufReader::new(told);
    let mut said = Vec::new();
    let relayed = loop {
        said.clear();
        said.push(b'>');
        match told.read_until(b'\n', &mut said) {
            Ok(0) => break Ok(()),
            Err(error) => break Err(error),
            Ok(_) => {
                if let Err(error) = stream.write_all(&said) {
                    break Err(error);
                }
            }
        }
    };
    drop(stream.shutdown(Shutdown::Read));
    let status = leave(&mut child)?;
    relayed?;
    let complaint = complaint.join().unwrap_or_default();
    match status {
        true => stream.shutdown(Shutdown::Both),
        false => Err(io::Error::other(complaint.trim().trim_start_matches("roadstead-bench: ").to_owned())),
    }
}

/// Whether an assignment is one that may be done here.
fn check(agent: &Agent, line: &str) -> Result<(), String> {
    let assignment: Assignment =
        serde_json::from_str(line).map_err(|error| format!("it was given no assignment: {error}"))?;
    let directions = assignment.directions();
    if directions.line.unix_socket.is_some() {
        return Err("it connects to no socket files: they are this machine's".to_owned());
    }
    if directions.owned && !agent.allows_foreign {
        return Err("it loads nothing but loopback and private addresses: start it with --i-own-these-targets, or leave \
                    --i-own-this-target out"
            .to_owned());
    }
    Ok(())
}

/// Gives the worker what it is told until the coordinator ends; its input ends then, and it leaves.
fn pass_on(first: &str, mut reader: BufReader<TcpStream>, mut orders: ChildStdin) {
    let mut line = Some(first.to_owned());
    while let Some(mut text) = line {
        text.push('\n');
        if orders.write_all(text.as_bytes()).is_err() {
            return;
        }
        line = read_line(&mut reader, ORDER_BYTES_MAX).ok().flatten();
    }
}

/// Waits for a worker to end, and ends it if it does not; whether it ended well.
fn leave(child: &mut Child) -> io::Result<bool> {
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::other("a worker did not end by itself"))
}
