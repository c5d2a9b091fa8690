//! The thread that speaks with the broker, for the whole process.
//!
//! ```text
//!   asks ─► Link ─► writers ─► sockets ─► readers ─► Link ─► news, told in order, by a teller
//!             ▲                              │ too much untold: they wait
//!             └── time                       └── fault ─► the connection goes, and a while later there is a new one
//! ```

use std::{rc::Rc, thread};

use async_channel::{Receiver, Sender, bounded, unbounded};
use async_executor::LocalExecutor;
use futures_lite::future::{or, race};

use super::{
    address::Address,
    frame::Names,
    link::{Link, Terms},
    passing::{self, Pass, PassedBack, PassedOn, Tunnel},
    roll::Roll,
    tended::{Journal, Tended, connector},
};
use crate::{
    auth::Pattern,
    backend::{self, Client, StartError},
    limits::{BROKER_NEWS_MAX, ROLL_NEWS_MAX},
    model::{BrokerAsk, BrokerNews, ConnectionId, NodeId, Retention, ShardId, broker_of},
    ring::Doorbell,
};

/// What the operator has said of the broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What this node is called on the roll of nodes.
    pub node: Box<str>,
    /// Where other nodes reach this one; empty where they cannot.
    pub advertised_url: Box<str>,
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
    node: NodeId,
    passes: Sender<Pass>,
    passed: Receiver<PassedBack>,
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

impl Broker {
    /// How many there are.
    pub fn count(&self) -> u16 {
        self.asks.len() as u16
    }

    /// What this node is called in the ids that it gives.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Has another node answer a client's request.
    pub fn pass_on(&self, passed: PassedOn) {
        // The thread is gone only if it has panicked.
        self.passes.try_send(Pass::Request(Box::new(passed))).ok();
    }

    /// Lets a client's connection go on at another node.
    pub fn tunnel(&self, tunnel: Tunnel) {
        self.passes.try_send(Pass::Tunnel(Box::new(tunnel))).ok();
    }

    /// The client of such a request has gone.
    pub fn give_up(&self, client: ConnectionId) {
        self.passes.try_send(Pass::GiveUp(client)).ok();
    }

    /// The next of their answers.
    pub fn next_passed_back(&self) -> Option<PassedBack> {
        self.passed.try_recv().ok()
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
        !self.news.is_empty()
            || !self.passed.is_empty()
            || self.nodes.as_ref().is_some_and(|nodes| !nodes.lost.is_empty())
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

/// What a broker's thread tells a shard by.
#[cfg(test)]
pub(crate) struct Telling {
    pub(crate) news: Sender<(u16, Vec<BrokerNews>)>,
    pub(crate) passed_back: Sender<PassedBack>,
    pub(crate) lost: Sender<Box<str>>,
}

#[cfg(test)]
impl Broker {
    /// The first shard's end without a thread, of one address, and what it is told by.
    pub(crate) fn without_thread() -> (Self, Telling) {
        let ((asks, _), (tell, news), (passes, _)) = (unbounded(), unbounded(), unbounded());
        let ((passed_back, passed), (tell_lost, lost), (leave, _)) = (unbounded(), unbounded(), unbounded());
        let (node, nodes) = (NodeId::draw(), Some(Nodes { lost, leave }));
        let broker = Self { asks: vec![asks], news, node, passes, passed, nodes };
        (broker, Telling { news: tell, passed_back, lost: tell_lost })
    }
}

/// Starts the thread; an end for each shard, which hears by its bell. The thread ends when the last end is gone.
pub fn start(settings: Settings, bells: &[Doorbell]) -> Result<Vec<Broker>, StartError> {
    let url = &settings.advertised_url;
    let is_tls = settings.addresses.iter().any(Address::is_tls) || url.starts_with("https:");
    let connector = connector(&settings.ca_file, settings.identity.as_ref(), is_tls)?;
    let (mut brokers, mut ends, mut desks) = (Vec::new(), Vec::new(), Vec::new());
    let ((tell, lost), (leave, leaves)) = (bounded(ROLL_NEWS_MAX), bounded(1));
    let node = NodeId::draw();
    let roll = Roll {
        address: settings.addresses[0].clone(),
        names: Names::new(&settings.prefix),
        node: settings.node.clone(),
        id: node,
        url: url.clone(),
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
        let ((passes, passing), (answers, passed)) = (unbounded(), unbounded());
        desks.push(passing::Desk { passes: passing, answers, bell: bell.clone() });
        let asks = asks.collect();
        brokers.push(Broker { asks, news, node, passes, passed, nodes: nodes.take() });
    }
    let run = move || run(Rc::new(connector), settings, ends, desks, roll);
    thread::Builder::new().name("broker".to_owned()).spawn(run).map_err(StartError::Thread)?;
    Ok(brokers)
}

fn run(
    connector: Rc<backend::Connector>,
    settings: Settings,
    ends: Vec<Ends>,
    desks: Vec<passing::Desk>,
    roll: Roll,
) {
    let node = fastrand::u64(..);
    let addresses = settings.addresses.iter().map(|address| {
        let terms = Terms::of(&settings, address, node);
        (Rc::new(terms), Rc::new(Journal::new("the broker", address.clone())))
    });
    let (client, places) = (Rc::new(Client::new(Rc::clone(&connector))), Rc::default());
    let (addresses, executor): (Vec<_>, _) = (addresses.collect(), LocalExecutor::new());
    let tend = |ends: Ends| {
        let (terms, journal) = &addresses[usize::from(ends.broker)];
        let link = Link::new(Rc::clone(terms), ends.shard);
        executor.spawn(tend(&connector, link, Rc::clone(journal), ends))
    };
    let links: Vec<_> = ends.into_iter().map(tend).collect();
    let passing = desks
        .into_iter()
        .map(|desk| executor.spawn(passing::pass_on(Rc::clone(&client), Rc::clone(&places), desk)));
    let passing: Vec<_> = passing.collect();
    let roll = executor.spawn(roll.keep(&connector, &places));
    async_io::block_on(executor.run(async {
        for link in links {
            link.await;
        }
        for desk in passing {
            desk.await;
        }
        roll.await;
    }));
}

/// Speaks with one address for one shard, until that has gone.
async fn tend(connector: &backend::Connector, link: Link, journal: Rc<Journal>, ends: Ends) {
    let Ends { broker, asks, news, bell, .. } = ends;
    let tended = Tended::new(link, journal);
    let heard = async {
        while let Ok(asked) = asks.recv().await {
            let now_ms = tended.now_ms();
            for ask in asked {
                tended.speaker.borrow_mut().handle_ask(now_ms, ask);
            }
            tended.speaker.borrow_mut().flush(now_ms);
            tended.notify();
        }
    };
    let told = async {
        loop {
            tended.has_news().await;
            let said = tended.speaker.borrow_mut().poll_news();
            if !said.is_empty() {
                if news.send((broker, said)).await.is_err() {
                    return;
                }
                bell.ring();
            }
            tended.note_told();
        }
    };
    race(or(heard, told), tended.speak_on(connector)).await;
}
