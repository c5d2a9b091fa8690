//! Several hubs and a broker that is made of what a real one promises: it delays, loses connections, forgets streams, and
//! answers when it likes. The oracle: what a node hands out under a position is what the broker has there, without a hole
//! that is not told, and in the end everybody has been told where the stream is.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::{
    hub::{FanoutLimit, HubSettings, Since},
    limits::{BROKER_WAIT_MS, Limits, READS_WAITING_MAX},
    mesh::HistoryPage,
    model::{ConnectionId, Emission, Transport},
};

const WHO: ConnectionId = ConnectionId { index: 1, generation: 1 };

fn ticket(token: u32) -> Ticket {
    Ticket { connection: WHO, token }
}

fn news() -> ChannelName {
    ChannelName::new("news", 255).expect("a name")
}

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, unix_ms: 1_000_000 + ms }
}

fn hub() -> Hub {
    let limits = Limits { history_publications_max: 5, ..Limits::default() };
    let mut hub = Hub::new(HubSettings::of_shard(&limits, ShardId(0), 1, 100, 1, 2));
    hub.follow_brokers(1, 0);
    hub
}

/// What the broker has of the one channel.
#[derive(Default)]
struct Stream {
    /// Under which it has begun, or is going to.
    epoch: u64,
    has_begun: bool,
    kept: Vec<SharedPublication>,
    offset: u64,
    /// All there has ever been.
    all: BTreeMap<(u64, u64), String>,
}

/// One node, its connection to the broker, and what its subscriber was told.
struct Node {
    hub: Hub,
    asks: VecDeque<BrokerAsk>,
    news: VecDeque<BrokerNews>,
    is_up: bool,
    is_followed: bool,
    /// What the subscriber of this node has been told; `None` while it is not seated.
    seen: Option<Position>,
    published: BTreeMap<u32, Result<Position, PublishError>>,
}

impl Stream {
    fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.offset }
    }

    /// It is lost, and nobody is told. What begins there begins under another epoch.
    fn vanish(&mut self) {
        (self.epoch, self.offset, self.has_begun) = (self.epoch + 1, 0, false);
        self.kept.clear();
    }

    fn begin(&mut self, nodes: &mut [Node]) {
        self.has_begun = true;
        for node in nodes.iter_mut().filter(|node| node.is_followed) {
            node.news.push_back(BrokerNews::Renewed { channel: news(), epoch: self.epoch });
        }
    }

    fn publish(&mut self, nodes: &mut [Node], from: usize, number: u64, publication: Publication) {
        self.offset += 1;
        let position = self.position();
        let text = publication.payload.text().expect("text").to_owned();
        self.all.insert((position.epoch, position.offset), text);
        for (index, node) in nodes.iter_mut().enumerate().filter(|(_, node)| node.is_followed) {
            let Publication { channel, unix_ms, payload, .. } = &publication;
            let (channel, payload) = (channel.clone(), payload.clone());
            let copy = Publication { channel, position, unix_ms: *unix_ms, payload };
            node.news.push_back(BrokerNews::Pushed {
                channel: news(),
                epoch: position.epoch,
                number: (index == from).then_some(number),
                publication: Some(Box::new(copy)),
            });
        }
        nodes[from].news.push_back(BrokerNews::Published { number, result: Ok(position) });
        self.kept.push(SharedPublication::new(Publication { position, ..publication }));
        if self.kept.len() > 5 {
            self.kept.remove(0);
        }
    }

    /// Does what a node has asked first.
    fn serve(&mut self, nodes: &mut [Node], from: usize) {
        let Some(ask) = nodes[from].asks.pop_front() else { return };
        match ask {
            BrokerAsk::Begin => unreachable!("it is answered at once"),
            BrokerAsk::Publish { number, publication } => {
                if !self.has_begun {
                    self.begin(nodes);
                }
                self.publish(nodes, from, number, *publication);
            }
            BrokerAsk::Follow { epoch_min, .. } => {
                if self.epoch < epoch_min {
                    self.vanish();
                    self.epoch = epoch_min;
                    self.begin(nodes);
                }
                let (position, kept) = (self.position(), self.kept.clone());
                nodes[from].is_followed = true;
                nodes[from].news.push_back(BrokerNews::Following { channel: news(), position, kept });
            }
            // Here it is the only one that is followed.
            BrokerAsk::Hurry { .. } => {}
            BrokerAsk::Leave { .. } => nodes[from].is_followed = false,
        }
    }
}

impl Node {
    fn new() -> Self {
        Self {
            hub: hub(),
            asks: VecDeque::new(),
            news: VecDeque::new(),
            is_up: true,
            is_followed: false,
            seen: None,
            published: BTreeMap::new(),
        }
    }

    /// Hears so much, and checks what is handed out.
    fn turn(&mut self, now: Now, count: usize, stream: &Stream) {
        for news in self.news.drain(..count.min(self.news.len())) {
            self.hub.handle_broker(now, 0, news);
        }
        self.hub.handle_tick(now);
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Joined { welcome, .. } => {
                    if welcome.recovered
                        && let Some(seen) = self.seen
                    {
                        assert_eq!(welcome.missed.len() as u64, welcome.position.offset - seen.offset);
                        assert_eq!(welcome.position.epoch, seen.epoch);
                    }
                    for publication in &welcome.missed {
                        check(stream, publication);
                    }
                    assert_eq!(welcome.rest, 0);
                    self.seen = Some(welcome.position);
                }
                Output::JoinRefused { .. } => self.seen = None,
                Output::Published { ticket, result } => {
                    assert!(self.published.insert(ticket.token, result).is_none(), "answered once");
                }
                other => panic!("{other:?}"),
            }
        }
        while let Some(fanout) = self.hub.poll_fanout(FanoutLimit::NONE) {
            let seen = self.seen.as_mut().expect("somebody is seated");
            for (index, publication) in fanout.publications.iter().enumerate() {
                check(stream, publication);
                let next = Position { offset: seen.offset + 1, ..*seen };
                assert!(publication.position == next || (fanout.gap && index == 0), "a hole is told");
                *seen = publication.position;
            }
            if fanout.publications.is_empty() {
                assert!(fanout.gap);
                *seen = fanout.since;
            }
        }
        for ask in self.hub.take_broker_asks().into_iter().flatten() {
            match ask {
                // That needs no connection.
                BrokerAsk::Begin => {
                    self.news.push_back(BrokerNews::Begun);
                    self.news.extend(self.is_up.then_some(BrokerNews::Up));
                }
                ask => self.asks.push_back(ask),
            }
        }
    }

    fn lose(&mut self) {
        // What was asked is lost with the connection, and what had been said and not read.
        self.news
            .retain(|news| matches!(news, BrokerNews::Published { .. } | BrokerNews::Begun | BrokerNews::Up));
        for ask in std::mem::take(&mut self.asks) {
            match ask {
                BrokerAsk::Publish { number, .. } => {
                    let result = Err(PublishError::BrokerUnknown);
                    self.news.push_back(BrokerNews::Published { number, result });
                }
                BrokerAsk::Begin
                | BrokerAsk::Follow { .. }
                | BrokerAsk::Hurry { .. }
                | BrokerAsk::Leave { .. } => {}
            }
        }
        (self.is_up, self.is_followed) = (false, false);
        self.news.push_back(BrokerNews::Down(BrokerLoss::Closed));
    }

    fn find_again(&mut self) {
        self.is_up = true;
        self.news.push_back(BrokerNews::Up);
        // The link asks again about all that is followed.
        let mirror = self.hub.stream_of(&news()).map(|stream| stream.mirror);
        if mirror.is_some_and(|mirror| mirror != Mirror::Unknown) {
            self.asks.push_front(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
        }
    }
}

fn check(stream: &Stream, publication: &Publication) {
    let Position { epoch, offset } = publication.position;
    let text = publication.payload.text().expect("text");
    assert_eq!(stream.all.get(&(epoch, offset)).map(String::as_str), Some(text), "at {epoch}:{offset}");
}

#[test]
fn nodes_hand_out_what_the_broker_has_and_tell_of_every_hole_whatever_becomes_of_it() {
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut stream, mut nodes) =
            (Stream { epoch: 1, ..Stream::default() }, [Node::new(), Node::new(), Node::new()]);
        let (mut now_ms, mut token) = (0, 0);
        for _ in 0..rng.u32(20..120) {
            now_ms += rng.u64(0..40);
            let which = rng.usize(0..3);
            let node = &mut nodes[which];
            match rng.u8(0..12) {
                0..=4 => {
                    token += 1;
                    let payload = Payload::new(token.to_string().as_bytes(), None);
                    node.hub.publish(at(now_ms), news(), payload, Some(ticket(token)));
                }
                5 | 6 => {
                    let since = node.seen.filter(|_| rng.bool()).map(Since::part);
                    node.hub.leave_all(WHO);
                    node.turn(at(now_ms), 0, &stream);
                    node.seen = since.map(|since| since.position);
                    node.hub
                        .subscribe(at(now_ms), WHO, Transport::Json, news(), since, None)
                        .expect("it may");
                }
                7 if node.is_up => node.lose(),
                7 => node.find_again(),
                8 if rng.u8(0..4) == 0 => stream.vanish(),
                9 if node.is_followed => {
                    let position = stream.position();
                    node.news.push_back(BrokerNews::Checked { channel: news(), position });
                }
                _ => {}
            }
            nodes[which].turn(at(now_ms), rng.usize(0..4), &stream);
            let served = rng.usize(0..3);
            if nodes[served].is_up {
                stream.serve(&mut nodes, served);
            }
        }
        for round in 0..60 {
            for index in 0..3 {
                if !nodes[index].is_up {
                    nodes[index].find_again();
                }
                if round == 30 && nodes[index].is_followed {
                    let position = stream.position();
                    nodes[index].news.push_back(BrokerNews::Checked { channel: news(), position });
                }
                nodes[index].turn(at(now_ms), usize::MAX, &stream);
                stream.serve(&mut nodes, index);
            }
        }
        for node in &nodes {
            assert!(node.asks.is_empty() && node.news.is_empty(), "seed {seed}");
            let is_seated = node.hub.is_subscribed(WHO.index, &news());
            let is_empty = stream.offset == 0 && node.seen.is_some_and(|seen| seen.offset == 0);
            let is_told = node.seen == Some(stream.position()) || is_empty;
            assert!(!is_seated || is_told, "seed {seed}: {:?}", node.seen);
            let brokered = node.hub.brokered.as_deref().expect("there is a broker");
            assert_eq!((brokered.count, brokered.bytes, brokered.held_count), (0, 0, 0), "seed {seed}");
        }
        let answered: usize = nodes.iter().map(|node| node.published.len()).sum();
        assert_eq!(answered, token as usize, "seed {seed}: each publisher is told");
        for node in &nodes {
            for (token, result) in &node.published {
                if let Ok(Position { epoch, offset }) = result {
                    assert_eq!(stream.all[&(*epoch, *offset)], token.to_string(), "seed {seed}");
                }
            }
        }
    }
}

/// A hub that follows the channel where it stands, empty.
fn following() -> Hub {
    let mut hub = hub();
    hub.handle_broker(at(0), 0, BrokerNews::Begun);
    hub.handle_broker(at(0), 0, BrokerNews::Up);
    hub.subscribe(at(0), WHO, Transport::Json, news(), None, None).expect("it may");
    let position = Position { epoch: 7, offset: 0 };
    hub.handle_broker(at(0), 0, BrokerNews::Following { channel: news(), position, kept: Vec::new() });
    while hub.poll_output().is_some() {}
    hub.take_broker_asks();
    hub
}

#[test]
fn who_waits_for_a_broker_that_is_away_is_refused_in_time() {
    let mut hub = hub();
    hub.subscribe(at(0), WHO, Transport::Json, news(), None, None).expect("it may");
    hub.read_history(at(0), ticket(1), &news(), None, 10);
    hub.handle_tick(at(BROKER_WAIT_MS - 1));
    assert!(hub.poll_output().is_none());
    hub.handle_tick(at(BROKER_WAIT_MS));
    let mut refused = (0, 0);
    while let Some(output) = hub.poll_output() {
        match output {
            Output::JoinRefused { error, .. } => {
                assert_eq!(error, crate::hub::SubscribeError::BrokerUnavailable);
                refused.0 += 1;
            }
            Output::Unread { error, .. } => {
                assert_eq!(error, PublishError::BrokerUnavailable);
                refused.1 += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, (1, 1));
}

#[test]
fn so_many_who_want_to_read_wait_and_one_more_is_refused_at_once() {
    let mut hub = hub();
    for token in 0..=READS_WAITING_MAX as u32 {
        hub.read_history(at(0), ticket(token), &news(), None, 10);
    }
    match hub.poll_output() {
        Some(Output::Unread { ticket, error: PublishError::BrokerUnavailable }) => {
            assert_eq!(ticket.token, READS_WAITING_MAX as u32);
        }
        other => panic!("{other:?}"),
    }
    hub.handle_tick(at(BROKER_WAIT_MS));
    assert_eq!(std::iter::from_fn(|| hub.poll_output()).count(), READS_WAITING_MAX);
    hub.read_history(at(BROKER_WAIT_MS), ticket(0), &news(), None, 10);
    assert!(hub.poll_output().is_none(), "there is room again");
}

#[test]
fn so_many_publications_wait_and_one_more_is_refused_at_once() {
    let mut hub = hub();
    for token in 0..=BROKER_WAITING_MAX as u32 {
        hub.publish(at(0), news(), Payload::new(*b"x", None), Some(ticket(token)));
    }
    match hub.poll_output() {
        Some(Output::Published { ticket, result: Err(PublishError::BrokerUnavailable) }) => {
            assert_eq!(ticket.token, BROKER_WAITING_MAX as u32);
        }
        other => panic!("{other:?}"),
    }
    hub.handle_broker(at(0), 0, BrokerNews::Begun);
    let result = Ok(Position { epoch: 1, offset: 1 });
    hub.handle_broker(at(0), 0, BrokerNews::Published { number: 0, result });
    assert!(matches!(hub.poll_output(), Some(Output::Published { result: Ok(_), .. })));
    hub.publish(at(0), news(), Payload::new(*b"x", None), Some(ticket(1)));
    assert!(hub.poll_output().is_none(), "there is room again");
    let large = || Payload::new(vec![0; BROKER_WAITING_BYTES_MAX], None);
    hub.publish(at(0), news(), large(), Some(ticket(2)));
    assert!(matches!(hub.poll_output(), Some(Output::Published { result: Err(_), .. })));
}

#[test]
fn what_was_said_to_the_hub_before_it_failed_is_not_heard() {
    let mut hub = hub();
    hub.subscribe(at(0), WHO, Transport::Json, news(), None, None).expect("it may");
    let following = || BrokerNews::Following {
        channel: news(),
        position: Position { epoch: 7, offset: 1 },
        kept: Vec::new(),
    };
    hub.handle_broker(at(0), 0, following());
    assert!(hub.poll_output().is_none());
    hub.handle_broker(at(0), 0, BrokerNews::Begun);
    hub.handle_broker(at(0), 0, following());
    assert!(matches!(hub.poll_output(), Some(Output::Joined { .. })));
}

#[test]
fn what_cannot_be_read_is_a_gap_and_what_is_of_an_old_epoch_is_nothing() {
    let mut hub = following();
    let pushed =
        |epoch, publication| BrokerNews::Pushed { channel: news(), epoch, number: None, publication };
    hub.handle_broker(at(1), 0, pushed(6, None));
    assert!(hub.poll_fanout(FanoutLimit::NONE).is_none());
    hub.handle_broker(at(1), 0, pushed(7, None));
    let fanout = hub.poll_fanout(FanoutLimit::NONE).expect("a gap");
    assert!(fanout.gap && fanout.publications.is_empty());
    assert_eq!(fanout.since, Position { epoch: 7, offset: 1 });
}

#[test]
fn a_publication_is_not_for_the_socket_that_sent_it_also_when_it_comes_back() {
    let mut hub = following();
    let socket = SocketId::local(ShardId(0), 3, 4);
    let mut payload = Payload::new(*b"x", None);
    payload.emission = Some(Box::new(Emission { except_socket: Some(socket), ..Emission::default() }));
    hub.publish(at(1), news(), payload, None);
    let asks = hub.take_broker_asks().expect("it is asked");
    let [BrokerAsk::Publish { number, .. }] = &asks[..] else { panic!("{asks:?}") };
    let [BrokerAsk::Publish { publication, .. }] = &asks[..] else { panic!("{asks:?}") };
    assert_eq!(publication.payload.emission.as_ref().expect("an emission").except_socket, None);
    let result = Ok(Position { epoch: 7, offset: 1 });
    hub.handle_broker(at(1), 0, BrokerNews::Published { number: *number, result });
    let mut payload = Payload::new(*b"x", None);
    payload.emission = Some(Box::default());
    let position = Position { epoch: 7, offset: 0 };
    let publication = Some(Box::new(Publication { channel: news(), position, unix_ms: 0, payload }));
    let number = Some(*number);
    hub.handle_broker(at(1), 0, BrokerNews::Pushed { channel: news(), epoch: 7, number, publication });
    let fanout = hub.poll_fanout(FanoutLimit::NONE).expect("it comes");
    let emission = fanout.publications[0].payload.emission.as_ref().expect("an emission");
    assert_eq!(emission.except_socket, Some(socket));
    assert!(hub.brokered.as_deref().expect("there is a broker").pending.is_empty());
}

#[test]
fn history_is_read_from_the_copy_once_it_is_whole() {
    let mut hub = following();
    hub.read_history(at(1), ticket(1), &news(), None, 10);
    match hub.poll_output() {
        Some(Output::History { page: HistoryPage { position, .. }, .. }) => {
            assert_eq!(position, Some(Position { epoch: 7, offset: 0 }));
        }
        other => panic!("{other:?}"),
    }
    hub.handle_broker(at(1), 0, BrokerNews::Down(BrokerLoss::Closed));
    for token in [2, 3] {
        hub.read_history(at(1), ticket(token), &news(), None, 10);
    }
    let asks = hub.take_broker_asks();
    assert!(
        hub.poll_output().is_none() && matches!(asks.as_deref(), Some([BrokerAsk::Hurry { .. }])),
        "{asks:?}"
    );
}

#[test]
fn a_broker_that_is_lost_takes_its_channels_with_it_and_no_others() {
    let limits = Limits { history_publications_max: 5, ..Limits::default() };
    let mut hub = Hub::new(HubSettings::of_shard(&limits, ShardId(0), 1, 100, 1, 2));
    hub.follow_brokers(2, 0);
    let names = (0..).map(|n| ChannelName::new(&format!("c{n}"), 255).expect("a name"));
    let mut of: [Option<ChannelName>; 2] = [None, None];
    for name in names.take(100) {
        of[usize::from(broker_of(&name, 2))].get_or_insert(name);
    }
    let channels = of.map(|name| name.expect("both have some"));
    for (broker, channel) in (0..).zip(&channels) {
        hub.handle_broker(at(0), broker, BrokerNews::Begun);
        hub.handle_broker(at(0), broker, BrokerNews::Up);
        hub.subscribe(at(0), WHO, Transport::Json, channel.clone(), None, None).expect("it may");
        let position = Position { epoch: 7, offset: 0 };
        let following = BrokerNews::Following { channel: channel.clone(), position, kept: Vec::new() };
        hub.handle_broker(at(0), broker, following);
    }
    while hub.poll_output().is_some() {}
    assert!(hub.are_brokers_up());
    hub.handle_broker(at(1), 1, BrokerNews::Down(BrokerLoss::Closed));
    assert!(!hub.are_brokers_up());
    for (token, channel) in (0..).zip(&channels) {
        hub.read_history(at(1), ticket(token), channel, None, 10);
    }
    match hub.poll_output() {
        Some(Output::History { ticket, .. }) => assert_eq!(ticket.token, 0),
        other => panic!("{other:?}"),
    }
    assert!(hub.poll_output().is_none(), "the other one's copy is not whole");
    hub.handle_broker(at(1), 1, BrokerNews::Up);
    assert!(hub.are_brokers_up());
}
