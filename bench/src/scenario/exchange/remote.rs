//! An exchange that workers on other machines carry: each its part of the connections and of the rate, all started by one
//! word, their findings merged as if they were threads of this process.

use std::{
    io::{self, Write},
    net::IpAddr,
    ops::RangeInclusive,
    process,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Exchange, ExchangePlan, carry, worker::Counts};
use crate::{
    agents::link::{Agents, Ear, Link},
    crew::{
        assignment::{Assignment, Directions},
        plan::{Demand, share_out},
    },
    engine::open_files_max,
    error::{Doing, Error, Result},
    host::clock::monotonic_ns,
    load::{
        control::Control,
        pace::Pace,
        stages::{Stage, Stages},
        window::{Timing, WarmUp},
    },
    report::{MemoryPerConnection, MemorySample, WarmedUp},
    scenario::{
        Mark,
        observed::{Observed, Parcel, Watched},
        sleep_until,
    },
};

/// How long the findings may take to come after the end of the measured time: what is on its way is waited for.
const FINDINGS_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the coordinator looks whether somebody wants the end.
const LOOK: Duration = Duration::from_millis(20);
const GO: &str = "go";
const STOP: &str = "stop";

/// Who carries it.
pub struct Remote {
    /// The agents.
    pub agents: Agents,
    /// Where they connect.
    pub directions: Directions,
    /// Threads of each.
    pub workers: Option<u64>,
    /// Local addresses of each.
    pub sources: Vec<IpAddr>,
}

/// One worker's part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Where to connect.
    pub directions: Directions,
    exchange: Exchange,
    right_statuses: Vec<RangeInclusive<u16>>,
    rate: Rate,
    warm_up: Duration,
    measured: Duration,
    connections: u64,
    workers: Option<u64>,
    sources: Vec<IpAddr>,
}

/// A pace as another process takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Rate {
    Even(f64),
    Staged(Vec<Stage>, f64),
    Closed,
}

/// What a worker says.
#[derive(Serialize, Deserialize)]
enum Said {
    /// Its connections are served, and it waits for the word.
    Ready,
    /// What it found.
    Found(Box<Parcel<Counts>>),
}

impl Remote {
    /// Who carries it, in words.
    pub fn describe(&self) -> String {
        format!("{} agents: {}", self.agents.addresses.len(), self.agents.addresses.join(", "))
    }

    fn task(&self, plan: &ExchangePlan, index: usize) -> Task {
        let workers = self.agents.addresses.len();
        let warm_up = match plan.timing.warm_up {
            WarmUp::For(time) => time,
            WarmUp::UntilSteady(longest) => longest,
        };
        Task {
            directions: self.directions.clone(),
            exchange: plan.exchange.clone(),
            right_statuses: plan.right_statuses.clone(),
            rate: Rate::of(plan.pace.shared_by(workers)),
            warm_up,
            measured: plan.timing.measured,
            connections: plan.shares[index].connections,
            workers: self.workers,
            sources: self.sources.clone(),
        }
    }
}

impl Rate {
    fn of(pace: Pace) -> Self {
        match pace {
            Pace::Open(per_second) => Self::Even(per_second),
            Pace::Staged(stages, share) => Self::Staged(stages.all().to_vec(), share),
            Pace::Closed => Self::Closed,
        }
    }

    fn pace(&self) -> Pace {
        match self {
            Self::Even(per_second) => Pace::Open(*per_second),
            // Made once, and this process carries one load.
            Self::Staged(stages, share) => match Stages::new(stages.clone()) {
                Some(stages) => Pace::Staged(Box::leak(Box::new(stages)), *share),
                None => Pace::Closed,
            },
            Self::Closed => Pace::Closed,
        }
    }
}

/// Carries one worker's part in this process, which was started for it.
pub fn work(task: &Task) -> Result<()> {
    let endpoint = task.directions.endpoint()?;
    let open_files_max = open_files_max().doing("raise the open-files limit")?;
    let demand = Demand {
        connections: task.connections,
        workers: task.workers,
        sources: &task.sources,
        target: endpoint.address,
        open_files_max,
    };
    let plan = ExchangePlan {
        exchange: task.exchange.clone(),
        shares: share_out(&demand)?,
        pace: task.rate.pace(),
        timing: Timing { warm_up: WarmUp::For(task.warm_up), measured: task.measured },
        right_statuses: task.right_statuses.clone(),
        server: None,
        remote: None,
        endpoint,
    };
    let control = Control::new().doing("watch for Ctrl-C")?.gated(|| say(&Said::Ready));
    // The listening thread has no end but the process's.
    let control: &'static Control = Box::leak(Box::new(control));
    thread::spawn(move || obey(control));
    let observed = carry(&plan, control)?;
    say(&Said::Found(Box::new(observed.into_parcel())));
    Ok(())
}

/// Does what the coordinator says. When it ends, so does this process: nobody is left to be told.
fn obey(control: &Control) {
    for line in io::stdin().lines().map_while(io::Result::ok) {
        match line.as_str() {
            GO => control.open_gate(),
            STOP => control.stop(),
            _ => break,
        }
    }
    process::exit(0)
}

fn say(said: &Said) {
    let mut line = serde_json::to_string(said).expect("it holds only numbers and texts");
    line.push('\n');
    let mut out = io::stdout().lock();
    // A coordinator that is gone ends this process by its silence.
    drop(out.write_all(line.as_bytes()).and_then(|()| out.flush()));
}

/// Has the agents carry the plan.
pub fn observe(plan: &ExchangePlan, remote: &Remote, control: &Control) -> Result<Observed<Counts>> {
    let server = plan.server.as_ref();
    let memory = MemorySample::now(server)?;
    let mut course = Course::start(plan, remote)?;
    while course.ready < course.links.len() {
        if control.is_stopped() {
            return Err(Error::Stopped);
        }
        course.listen(LOOK)?;
    }
    let connections = plan.shares.iter().map(|share| share.connections).sum();
    // The kernel's memory and the clients' are those of other machines.
    let memory = MemoryPerConnection::between(&memory, &MemorySample::now(server)?, connections).of_server();
    let warm_up = match plan.timing.warm_up {
        WarmUp::For(time) | WarmUp::UntilSteady(time) => time,
    };
    course.tell(GO)?;
    let from_ns = monotonic_ns() + warm_up.as_nanos() as u64;
    let window = plan.timing.window_from(from_ns);
    let before = course.wait_until(window.from_ns, control).and_then(|()| Mark::now(server))?;
    let after = course.wait_until(window.to_ns, control).and_then(|()| Mark::now(server))?;
    let parcels = course.finish(control)?;
    Ok(Observed::of(parcels, Watched { before, after, memory, warm_up: WarmedUp::of(warm_up) }))
}

/// A run under way elsewhere.
struct Course {
    links: Vec<Link>,
    news: Receiver<(usize, Result<Said>)>,
    ready: usize,
    parcels: Vec<Option<Parcel<Counts>>>,
    is_stopping: bool,
}

impl Course {
    fn start(plan: &ExchangePlan, remote: &Remote) -> Result<Self> {
        let run = Agents::run()?;
        let (sender, news) = channel();
        let (mut links, mut parcels) = (Vec::new(), Vec::new());
        for (index, address) in remote.agents.addresses.iter().enumerate() {
            let (mut link, ear) = remote.agents.reach(address, &run)?;
            link.tell(&Assignment::Exchange(Box::new(remote.task(plan, index))))?;
            let sender = sender.clone();
            thread::spawn(move || listen_to(index, ear, &sender));
            links.push(link);
            parcels.push(None);
        }
        Ok(Self { links, news, ready: 0, parcels, is_stopping: false })
    }

    fn tell(&mut self, word: &str) -> Result<()> {
        self.links.iter_mut().try_for_each(|link| link.say(&format!("{word}\n")))
    }

    /// Takes in news for so long; an agent that is gone before it has told what it found ends the run.
    fn listen(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.news.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((_, Ok(Said::Ready))) => self.ready += 1,
                Ok((index, Ok(Said::Found(parcel)))) => self.parcels[index] = Some(*parcel),
                Ok((index, Err(_))) if self.parcels[index].is_some() => {}
                Ok((_, Err(error))) => return Err(error),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn is_over(&self) -> bool {
        self.parcels.iter().all(Option::is_some)
    }

    fn look(&mut self, control: &Control) -> Result<()> {
        if control.is_stopped() && !self.is_stopping {
            self.is_stopping = true;
            self.tell(STOP)?;
        }
        self.listen(Duration::ZERO)
    }

    fn wait_until(&mut self, at_ns: u64, control: &Control) -> Result<()> {
        let mut result = Ok(());
        sleep_until(at_ns, || {
            result = self.look(control);
            result.is_err() || control.is_stopped() || self.is_over()
        });
        result
    }

    fn finish(mut self, control: &Control) -> Result<Vec<Parcel<Counts>>> {
        let deadline = Instant::now() + FINDINGS_TIMEOUT;
        while !self.is_over() {
            self.look(control)?;
            if Instant::now() >= deadline {
                let why = "an agent did not tell what it found".to_owned();
                return Err(Error::Agent { agent: "of the run".to_owned(), why });
            }
            self.listen(LOOK)?;
        }
        Ok(self.parcels.into_iter().flatten().collect())
    }
}

fn listen_to(index: usize, mut ear: Ear, sender: &Sender<(usize, Result<Said>)>) {
    loop {
        let said = ear.hear().and_then(|line| {
            serde_json::from_str(&line)
                .map_err(|error| Error::System("understand an agent's worker", io::Error::other(error)))
        });
        let is_last = said.is_err();
        if sender.send((index, said)).is_err() || is_last {
            return;
        }
    }
}
