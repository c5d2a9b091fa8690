//! Connections spread over worker processes, because one process may hold only so many descriptors and one source
//! address has only so many ports.
//!
//! The coordinator starts this very program again as `roadstead-bench worker …`, gives orders on its standard input
//! (`open`, `storm`, `drop`, one per line) and reads one JSON [`Status`] per line from its standard output. A worker whose
//! input ends leaves: no worker outlives its coordinator.

pub mod plan;
pub mod status;
pub mod worker;

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use self::{
    plan::Share,
    status::{Decided, Status},
};
use crate::{
    error::{Doing, Result},
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
    news: Receiver<(usize, Status)>,
}

struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    status: Status,
    decided: Decided,
}

impl Crew {
    /// Starts one worker per share; `arguments` are those all have in common.
    pub fn start(shares: &[Share], arguments: &[String]) -> Result<Self> {
        let (sender, news) = channel();
        let mut crew = Self { workers: Vec::with_capacity(shares.len()), news };
        for (index, share) in shares.iter().enumerate() {
            let worker = Worker::start(index, share, arguments, &sender).doing("start a worker process")?;
            crew.workers.push(worker);
        }
        Ok(crew)
    }

    /// Gives an order to every worker.
    pub fn order(&mut self, order: Order) -> Result<()> {
        for worker in &mut self.workers {
            let Some(orders) = &mut worker.orders else { continue };
            orders.write_all(order.to_line().as_bytes()).doing("give a worker its order")?;
        }
        Ok(())
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
            let left = deadline.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left.min(Duration::from_millis(200))) {
                Ok((index, status)) => self.workers[index].hear(status),
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

    /// Anonymous memory of all workers together.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        self.workers
            .iter()
            .map(|worker| Ok(UserMemory::of_process(worker.child.id())?.anonymous_bytes))
            .sum::<io::Result<u64>>()
            .doing("read a worker's memory")
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.orders = None;
        }
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        for worker in &mut self.workers {
            worker.leave(deadline);
        }
    }
}

impl Worker {
    fn start(
        index: usize,
        share: &Share,
        arguments: &[String],
        sender: &Sender<(usize, Status)>,
    ) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("worker")
            .args(share.to_arguments())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, told) = (child.stdin.take(), child.stdout.take());
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(told.into_iter().next().expect("the output is piped")).lines() {
                let Some(status) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { break };
                if sender.send((index, status)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, orders, status: Status::default(), decided: Decided::default() })
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
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        if self.child.kill().is_ok() {
            drop(self.child.wait());
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
