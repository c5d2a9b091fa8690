//! Connections spread over worker processes, because one process may hold only so many descriptors and one source
//! address has only so many ports; and over machines, because one machine has only so many of either.
//!
//! The coordinator starts this very program again as `roadstead-bench worker`, or has an agent start it elsewhere, tells it
//! its [`Assignment`] as the first line of its input, gives orders there (`open`, `storm`, `drop`, one per line) and reads
//! one JSON [`Status`] per line of its output. A worker whose input ends leaves: no worker outlives its coordinator.

pub mod assignment;
pub mod plan;
pub mod status;
pub mod worker;

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use self::{
    assignment::{Assignment, Hold},
    plan::{Demand, Share},
    status::{Decided, Status},
};
use crate::{
    agents::link::{Agents, Ear, Link},
    error::{Doing, Error, Result},
    host::memory::UserMemory,
};

/// How long a worker has to leave before it is killed.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a coordinator tells every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Open all connections, some at a time.
    Open,
    /// Open all connections at once.
    Storm,
    /// Close all connections.
    Drop,
}

/// The running workers. Dropping it ends them.
pub struct Crew {
    workers: Vec<Worker>,
    news: Receiver<(usize, Result<Status>)>,
    /// Why a worker is gone that should not be.
    fault: Option<Error>,
}

/// Who holds the connections.
pub enum Hands {
    /// Processes of this machine, each with its share.
    Here(Vec<Share>),
    /// Agents, among which so many are divided evenly.
    There {
        /// The agents.
        agents: Agents,
        /// Connections in all.
        connections: u64,
        /// Processes of each.
        workers: Option<u64>,
        /// Local addresses of each.
        sources: Vec<IpAddr>,
    },
}

struct Worker {
    place: Place,
    share: Share,
    status: Status,
    decided: Decided,
}

/// Where a worker is.
enum Place {
    Here(Child, Option<ChildStdin>),
    There(Link),
}

impl Crew {
    /// Starts the workers; `hold` is what all have in common, with the rate of all together.
    pub fn start(hands: &Hands, hold: &Hold, target: SocketAddr) -> Result<Self> {
        let (sender, news) = channel();
        let mut crew = Self { workers: Vec::new(), news, fault: None };
        match hands {
            Hands::Here(shares) => {
                for share in shares {
                    let assignment = hold.part(share, shares.len());
                    let worker = Worker::start(crew.workers.len(), &assignment, &sender);
                    crew.workers.push(worker.doing("start a worker process")?);
                }
            }
            Hands::There { agents, connections, workers, sources } => {
                let run = Agents::run()?;
                let mut parts = Vec::new();
                let count = agents.addresses.len() as u64;
                for (index, address) in agents.addresses.iter().enumerate() {
                    // Its first connection tells how many it may hold.
                    let (link, ear) = agents.reach(address, &run)?;
                    let connections = connections / count + u64::from((index as u64) < connections % count);
                    let (open_files_max, workers) = (link.open_files_max, *workers);
                    let shares =
                        plan::share_out(&Demand { connections, workers, sources, target, open_files_max })?;
                    let mut first = Some((link, ear));
                    for share in shares {
                        parts.push((first.take().map_or_else(|| agents.reach(address, &run), Ok)?, share));
                    }
                }
                let all = parts.len();
                for ((mut link, ear), share) in parts {
                    link.tell(&hold.part(&share, all))?;
                    let (index, sender) = (crew.workers.len(), sender.clone());
                    thread::spawn(move || listen_to(index, ear, &sender));
                    crew.workers.push(Worker::new(Place::There(link), share));
                }
            }
        }
        Ok(crew)
    }

    /// How many workers there are.
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// How connections are spread, in words.
    pub fn describe(&self) -> String {
        let shares: Vec<_> = self.workers.iter().map(|worker| worker.share.clone()).collect();
        let is_there = self.workers.iter().any(|worker| matches!(worker.place, Place::There(_)));
        plan::describe(&shares) + if is_there { ", on other machines" } else { "" }
    }

    /// Gives an order to every worker.
    pub fn order(&mut self, order: Order) -> Result<()> {
        for worker in &mut self.workers {
            match &mut worker.place {
                Place::Here(_, Some(orders)) => {
                    orders.write_all(order.to_line().as_bytes()).doing("give a worker its order")?;
                }
                Place::Here(_, None) => {}
                Place::There(link) => link.say(order.to_line())?,
            }
        }
        Ok(())
    }

    /// Whether all workers are still there.
    pub fn check(&mut self) -> Result<()> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Takes in what workers tell until `done` holds or `deadline` has come; tells whether it held.
    pub fn wait(
        &mut self,
        deadline: Instant,
        mut progress: impl FnMut(&Status),
        done: impl Fn(&Status) -> bool,
    ) -> bool {
        loop {
            let total = self.total();
            progress(&total);
            if done(&total) {
                return true;
            }
            if self.fault.is_some() {
                return false;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left.min(Duration::from_millis(200))) {
                Ok((index, Ok(status))) => self.workers[index].hear(status),
                Ok((_, Err(error))) => self.fault = Some(error),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return false,
                Err(RecvTimeoutError::Timeout) => {}
                // All workers have gone: nothing more will come.
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// What all workers together have last told.
    pub fn total(&self) -> Status {
        self.workers.iter().fold(Status::default(), |mut total, worker| {
            total.add(&worker.status);
            total
        })
    }

    /// How opening went for all workers together, once it is decided.
    pub fn decided(&self) -> Decided {
        self.workers.iter().fold(Decided::default(), |mut total, worker| {
            total.add(&worker.decided);
            total
        })
    }

    /// Anonymous memory of all workers of this machine together.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        let here = self.workers.iter().filter_map(|worker| match &worker.place {
            Place::Here(child, _) => Some(child.id()),
            Place::There(_) => None,
        });
        here.map(|pid| Ok(UserMemory::of_process(pid)?.anonymous_bytes))
            .sum::<io::Result<u64>>()
            .doing("read a worker's memory")
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            if let Place::Here(_, orders) = &mut worker.place {
                *orders = None;
            }
        }
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        for worker in &mut self.workers {
            worker.leave(deadline);
        }
    }
}

fn listen_to(index: usize, mut ear: Ear, sender: &Sender<(usize, Result<Status>)>) {
    loop {
        let status = ear.hear().and_then(|line| serde_json::from_str(&line).map_err(|_| Error::Worker));
        let is_last = status.is_err();
        if sender.send((index, status)).is_err() || is_last {
            return;
        }
    }
}

impl Hold {
    /// The part of one of so many workers.
    fn part(&self, share: &Share, workers: usize) -> Assignment {
        let rate = self.rate.map(|rate| rate / workers as f64);
        Assignment::Hold(Box::new(Self { share: share.clone(), rate, ..self.clone() }))
    }
}

impl Worker {
    fn new(place: Place, share: Share) -> Self {
        Self { place, share, status: Status::default(), decided: Decided::default() }
    }

    fn start(
        index: usize,
        assignment: &Assignment,
        sender: &Sender<(usize, Result<Status>)>,
    ) -> io::Result<Self> {
        let Assignment::Hold(hold) = assignment else { unreachable!("a crew holds connections") };
        let mut child = Command::new(std::env::current_exe()?)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut orders = child.stdin.take().expect("the input is piped");
        let told = child.stdout.take().expect("the output is piped");
        let mut line = serde_json::to_string(assignment).expect("it holds only numbers and texts");
        line.push('\n');
        orders.write_all(line.as_bytes())?;
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(told).lines() {
                let Some(status) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { break };
                if sender.send((index, Ok(status))).is_err() {
                    return;
                }
            }
            // At the end of the run nobody listens any more, and a worker leaves as it should.
            drop(sender.send((index, Err(Error::Worker))));
        });
        Ok(Self::new(Place::Here(child, Some(orders)), hold.share.clone()))
    }

    fn hear(&mut self, mut status: Status) {
        if status.wave != self.status.wave {
            self.decided = Decided::default();
        }
        if let Some(decided) = status.decided.take() {
            self.decided = decided;
        }
        self.status = status;
    }

    /// Waits for the process to end, and ends it if it does not.
    fn leave(&mut self, deadline: Instant) {
        let Place::Here(child, _) = &mut self.place else { return };
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        if child.kill().is_ok() {
            drop(child.wait());
        }
    }
}

impl Order {
    fn to_line(self) -> &'static str {
        match self {
            Self::Open => "open\n",
            Self::Storm => "storm\n",
            Self::Drop => "drop\n",
        }
    }

    /// Reads one line of orders.
    pub fn from_line(line: &str) -> Option<Self> {
        match line {
            "open" => Some(Self::Open),
            "storm" => Some(Self::Storm),
            "drop" => Some(Self::Drop),
            _ => None,
        }
    }
}
