//! The thread that speaks with the broker, for the whole process.
//!
//! ```text
//!   asks ─► Link ─► writers ─► sockets ─► readers ─► Link ─► news, told in order, by a teller
//!             ▲                              │ too much untold: they wait
//!             └── time                       └── fault ─► the connection goes, and a while later there is a new one
//! ```

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use async_channel::{Receiver, Sender, bounded, unbounded};
use async_executor::LocalExecutor;
use async_io::Timer;
use futures_lite::{
    AsyncReadExt, AsyncWriteExt,
    future::{or, race, yield_now},
    io::{ReadHalf, WriteHalf, split},
};
use tracing::{info, warn};

use super::{
    address::Address,
    fault::Fault,
    frame::Names,
    link::{Link, Terms},
    roll::Roll,
};
use crate::{
    auth::Pattern,
    backend::{self, StartError, Stream},
    limits::{BROKER_NEWS_MAX, BROKER_RETRY_MS, BROKER_SILENCE_MS, ROLL_NEWS_MAX},
    model::{BrokerAsk, BrokerNews, Retention, ShardId, broker_of},
    ring::Doorbell,
};

/// What the operator has said of the broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What this node is called on the roll of nodes.
    pub node: Box<str>,
    /// Where it is; channels are spread over several.
    pub addresses: Vec<Address>,
    /// What the names of all our keys begin with.
    pub prefix: String,
    /// Whom to trust; empty is whom the system trusts.
    pub ca_file: String,
    /// What is shown where a certificate is asked for: the file of one, and that of its key.
    pub identity: Option<[String; 2]>,
    /// Publications kept of a channel.
    pub history_publications_max: u32,
    /// How long they are kept.
    pub history_age_max_ms: u32,
    /// What holds of some channels instead.
    pub retentions: Vec<(Pattern, Retention)>,
}

/// A shard's end.
#[derive(Debug)]
pub struct Broker {
    /// One for each address.
    asks: Vec<Sender<Vec<BrokerAsk>>>,
    news: Receiver<(u16, Vec<BrokerNews>)>,
    /// Of the first shard.
    nodes: Option<Nodes>,
}

/// What the first shard knows of other nodes.
#[derive(Debug)]
struct Nodes {
    lost: Receiver<Box<str>>,
    leave: Sender<()>,
}

/// What a shard has of the thread, for one address.
struct Ends {
    shard: ShardId,
    broker: u16,
    asks: Receiver<Vec<BrokerAsk>>,
    news: Sender<(u16, Vec<BrokerNews>)>,
    bell: Doorbell,
}

/// What has been said of the broker in the log, for all shards: each cause once.
struct Journal {
    address: Address,
    /// Why it has been away since it was last there; empty while it is there.
    causes: RefCell<Vec<&'static str>>,
    /// What it last refused, and when that was said.
    complaint: RefCell<Option<(Box<str>, Instant)>>,
}

/// One shard's link, and who is to look at it when it has changed.
struct Tended {
    link: RefCell<Link>,
    journal: Rc<Journal>,
    started: Instant,
    /// There may be something to write.
    written: (Sender<()>, Receiver<()>),
    /// There may be something to tell.
    told: (Sender<()>, Receiver<()>),
    /// Something has been told, for whoever reads.
    drained: (Sender<()>, Receiver<()>),
    /// Time has found a fault.
    failed: (Sender<Fault>, Receiver<Fault>),
}

/// How often the same refusal is said.
const COMPLAINT_EACH: Duration = Duration::from_secs(60);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

impl Broker {
    /// How many there are.
    pub fn count(&self) -> u16 {
        self.asks.len() as u16
    }

    /// Asks, each what is its own.
    pub fn ask(&self, asks: Vec<BrokerAsk>) {
        if let [sender] = &self.asks[..] {
            // The thread is gone only if it has panicked.
            sender.try_send(asks).ok();
            return;
        }
        let mut each: Vec<Vec<BrokerAsk>> = self.asks.iter().map(|_| Vec::new()).collect();
        for ask in asks {
            match ask.channel().map(|channel| broker_of(channel, self.count())) {
                Some(broker) => each[usize::from(broker)].push(ask),
                None => each.iter_mut().for_each(|asks| asks.push(BrokerAsk::Begin)),
            }
        }
        for (sender, asks) in self.asks.iter().zip(each).filter(|(_, asks)| !asks.is_empty()) {
            sender.try_send(asks).ok();
        }
    }

    /// What is said next, and by which, if there is anything.
    pub fn next_news(&self) -> Option<(u16, Vec<BrokerNews>)> {
        self.news.try_recv().ok()
    }

    /// Whether it says anything.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty() || self.nodes.as_ref().is_some_and(|nodes| !nodes.lost.is_empty())
    }

    /// The next node that is lost.
    pub fn next_lost(&self) -> Option<Box<str>> {
        self.nodes.as_ref()?.lost.try_recv().ok()
    }

    /// This node ends, and is not lost.
    pub fn leave(&self) {
        if let Some(nodes) = &self.nodes {
            // It has said so before.
            nodes.leave.try_send(()).ok();
        }
    }
}

/// Starts the thread; an end for each shard, which hears by its bell. The thread ends when the last end is gone.
pub fn start(settings: Settings, bells: &[Doorbell]) -> Result<Vec<Broker>, StartError> {
    let is_tls = settings.addresses.iter().any(Address::is_tls);
    let identity = settings.identity.as_ref().map(|[certificate, key]| backend::Identity {
        certificate: ("broker.cert_file", certificate.into()),
        key: ("broker.key_file", key.into()),
    });
    let connector =
        backend::Connector::with_identity("broker.ca_file", &settings.ca_file, is_tls, identity.as_ref())?;
    let (mut brokers, mut ends) = (Vec::new(), Vec::new());
    let ((tell, lost), (leave, leaves)) = (bounded(ROLL_NEWS_MAX), bounded(1));
    let roll = Roll {
        address: settings.addresses[0].clone(),
        names: Names::new(&settings.prefix),
        node: settings.node.clone(),
        lost: tell,
        bell: bells[0].clone(),
        leaves,
    };
    let mut nodes = Some(Nodes { lost, leave });
    for (shard, bell) in (0..).map(ShardId).zip(bells) {
        let (outlet, news) = bounded(BROKER_NEWS_MAX);
        let asks = (0..settings.addresses.len() as u16).map(|broker| {
            let (asks, inbox) = unbounded();
            ends.push(Ends { shard, broker, asks: inbox, news: outlet.clone(), bell: bell.clone() });
            asks
        });
        brokers.push(Broker { asks: asks.collect(), news, nodes: nodes.take() });
    }
    let run = move || run(&connector, settings, ends, roll);
    thread::Builder::new().name("broker".to_owned()).spawn(run).map_err(StartError::Thread)?;
    Ok(brokers)
}

fn run(connector: &backend::Connector, settings: Settings, ends: Vec<Ends>, roll: Roll) {
    let node = fastrand::u64(..);
    let addresses = settings.addresses.iter().map(|address| {
        let terms = Terms {
            address: address.clone(),
            names: Names::new(&settings.prefix),
            node,
            kept_max: settings.history_publications_max,
            kept_ms: settings.history_age_max_ms,
            retentions: settings.retentions.clone(),
        };
        let journal = Journal {
            address: address.clone(),
            causes: RefCell::new(vec!["start"]),
            complaint: RefCell::default(),
        };
        (Rc::new(terms), Rc::new(journal))
    });
    let (addresses, executor): (Vec<_>, _) = (addresses.collect(), LocalExecutor::new());
    let tend = |ends: Ends| {
        let (terms, journal) = &addresses[usize::from(ends.broker)];
        let link = Link::new(Rc::clone(terms), ends.shard);
        executor.spawn(tend(connector, link, Rc::clone(journal), ends))
    };
    let links: Vec<_> = ends.into_iter().map(tend).collect();
    let roll = executor.spawn(roll.keep(connector));
    async_io::block_on(executor.run(async {
        for link in links {
            link.await;
        }
        roll.await;
    }));
}

/// Speaks with one address for one shard, until that has gone.
async fn tend(connector: &backend::Connector, link: Link, journal: Rc<Journal>, ends: Ends) {
    let Ends { broker, asks, news, bell, .. } = ends;
    let tended = Tended {
        link: RefCell::new(link),
        journal,
        started: Instant::now(),
        written: bounded(1),
        told: bounded(1),
        drained: bounded(1),
        failed: bounded(1),
    };
    let heard = async {
        while let Ok(asked) = asks.recv().await {
            let now_ms = tended.now_ms();
            for ask in asked {
                tended.link.borrow_mut().handle_ask(now_ms, ask);
            }
            tended.link.borrow_mut().flush(now_ms);
            tended.notify();
        }
    };
    let told = async {
        while tended.told.1.recv().await.is_ok() {
            let said = tended.link.borrow_mut().poll_news();
            if !said.is_empty() {
                if news.send((broker, said)).await.is_err() {
                    return;
                }
                bell.ring();
            }
            tended.drained.0.try_send(()).ok();
        }
    };
    race(or(heard, told), or(tended.pass_time(), tended.connect(connector))).await;
}

impl Tended {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The link has changed.
    fn notify(&self) {
        self.written.0.try_send(()).ok();
        if self.link.borrow().news_count() > 0 {
            self.told.0.try_send(()).ok();
        }
    }

    async fn pass_time(&self) {
        loop {
            let wait_ms = if self.link.borrow().is_waiting() { 50 } else { 500 };
            Timer::after(Duration::from_millis(wait_ms)).await;
            let passed = self.link.borrow_mut().handle_time(self.now_ms());
            if let Err(fault) = passed {
                self.failed.0.try_send(fault).ok();
            }
            self.notify();
        }
    }

    /// Connects, and again whenever that has failed.
    async fn connect(&self, connector: &backend::Connector) {
        let mut wait_ms = BROKER_RETRY_MS.0;
        loop {
            let fault = self.speak(connector).await;
            if self.link.borrow().is_up() {
                wait_ms = BROKER_RETRY_MS.0;
            }
            self.link.borrow_mut().handle_down();
            self.notify();
            self.journal.note_away(&fault);
            Timer::after(Duration::from_millis(fastrand::u64(wait_ms / 2..=wait_ms))).await;
            wait_ms = (wait_ms * 2).min(BROKER_RETRY_MS.1);
        }
    }

    /// Speaks over a connection, until a fault.
    async fn speak(&self, connector: &backend::Connector) -> Fault {
        let stream = race(connector.connect(&self.journal.address.origin), async {
            Timer::after(Duration::from_millis(BROKER_SILENCE_MS)).await;
            Err(io::ErrorKind::TimedOut.into())
        });
        let (reading, writing) = match stream.await {
            Ok(stream) => split(stream),
            Err(error) => return Fault::Connect(error),
        };
        // What failed before has nothing to do with this one.
        self.failed.1.try_recv().ok();
        self.link.borrow_mut().handle_connected(self.now_ms());
        self.notify();
        let failing = async { self.failed.1.recv().await.unwrap_or(Fault::Closed(None)) };
        or(failing, race(self.read(reading), self.write(writing))).await
    }

    async fn read(&self, mut stream: ReadHalf<Box<dyn Stream>>) -> Fault {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let count = match stream.read(&mut bytes).await {
                Ok(0) => return Fault::Closed(None),
                Ok(count) => count,
                Err(error) => return Fault::Closed(Some(error)),
            };
            let result = self.link.borrow_mut().handle_bytes(self.now_ms(), &bytes[..count]);
            self.notify();
            if let Err(fault) = result {
                return fault;
            }
            if self.link.borrow().is_up() {
                self.journal.note_there();
            }
            let complaint = self.link.borrow_mut().take_complaint();
            if let Some(complaint) = complaint {
                self.journal.note_complaint(complaint.0);
            }
            // A shard that does not keep up is not told more: the broker waits, and gives up in time.
            while self.link.borrow().news_count() > BROKER_NEWS_MAX {
                self.drained.1.recv().await.ok();
            }
            // Where bytes are always there, nobody else on this thread would have a turn.
            yield_now().await;
        }
    }

    async fn write(&self, mut stream: WriteHalf<Box<dyn Stream>>) -> Fault {
        loop {
            if self.written.1.recv().await.is_err() {
                return Fault::Closed(None);
            }
            loop {
                let output = self.link.borrow_mut().poll_output();
                let Some(output) = output else { break };
                let written = async {
                    stream.write_all(&output).await?;
                    stream.flush().await
                };
                if let Err(error) = written.await {
                    return Fault::Closed(Some(error));
                }
            }
        }
    }
}

impl Journal {
    fn note_away(&self, fault: &Fault) {
        let mut causes = self.causes.borrow_mut();
        if !causes.contains(&fault.label()) {
            causes.push(fault.label());
            warn!(cause = fault.label(), broker = %self.address, "the broker is away: {fault}");
        }
    }

    fn note_there(&self) {
        if !std::mem::take(&mut *self.causes.borrow_mut()).is_empty() {
            info!(broker = %self.address, "the broker is there");
        }
    }

    fn note_complaint(&self, complaint: Box<str>) {
        let mut last = self.complaint.borrow_mut();
        let is_said = |(text, at): &(Box<str>, Instant)| *text == complaint && at.elapsed() < COMPLAINT_EACH;
        if !last.as_ref().is_some_and(is_said) {
            warn!(broker = %self.address, "the broker refuses what it is asked: {complaint}");
            *last = Some((complaint, Instant::now()));
        }
    }
}
