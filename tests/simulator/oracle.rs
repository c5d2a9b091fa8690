//! What every client was promised, and whether it was kept.
//!
//! The oracle sees what a client would see and nothing of the hubs' insides.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::AddAssign,
};

use roadstead::{
    hub::Fanout,
    mesh::{HistoryPage, Welcome},
    model::{
        ChangeKind, Changed, ChannelName, ConnectionId, Position, Publication, PublishError, ShardId,
        SharedPublication, StateError, Ticket, Transport,
    },
};

/// A client's connection to its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub shard: ShardId,
    pub connection: ConnectionId,
}

#[derive(Debug)]
pub enum Subscription {
    /// Asked for, not yet answered.
    Waiting { transport: Transport, since: Option<Position>, token: Option<u32>, state: StateWish },
    /// Answered; everything up to `seen` has been seen or shown as a gap.
    Live { transport: Transport, seen: Position, replica: Option<Replica> },
}

/// Whether a subscriber is to be told the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateWish {
    No,
    /// If it loses something of what it missed.
    Yes,
    /// It has no position, or has lost something.
    Owed,
}

/// Keys and what they hold, as somebody has been told.
pub type Replica = BTreeMap<String, Vec<u8>>;

/// A change that somebody waits to hear of.
pub struct Changing {
    pub channel: ChannelName,
    pub key: String,
    /// How much a counter counts further.
    pub add: Option<i64>,
}

#[derive(Default)]
pub struct Oracle {
    /// Ordered, so that a seed's choices among them are the same every time.
    pub subscriptions: BTreeMap<(u16, u32, ChannelName), (Client, Subscription)>,
    /// What is published at each position anybody has seen.
    contents: HashMap<(ChannelName, Position), u64>,
    /// Where each publication is; it is in one place only.
    places: HashMap<u64, Position>,
    /// What is changed at each position anybody has seen.
    changes: HashMap<(ChannelName, Position), (ChangeKind, String, Vec<u8>)>,
    pub changing: HashMap<Ticket, Changing>,
    /// The sum of the adds that were acknowledged.
    pub sums: BTreeMap<(ChannelName, String), i64>,
    tickets: HashMap<Ticket, (ChannelName, u64)>,
    used_tickets: HashSet<Ticket>,
    pub events: Events,
}

/// How often the things happened that a test relies on happening.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    pub deliveries: u64,
    pub gaps: u64,
    /// Gaps with nothing after them.
    pub last_gaps: u64,
    /// Parts of what was missed, with more to come.
    pub parts: u64,
    pub recoveries: u64,
    pub failed_recoveries: u64,
    pub join_refusals: u64,
    pub publish_refusals: u64,
    /// Changes of state that were made, and that were not.
    pub changes: u64,
    pub change_refusals: u64,
    /// Snapshots of some key told to subscribers, and those of them that were whole until the end.
    pub snapshots: u64,
    pub replicas: u64,
}

impl AddAssign for Events {
    fn add_assign(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.gaps += other.gaps;
        self.last_gaps += other.last_gaps;
        self.parts += other.parts;
        self.recoveries += other.recoveries;
        self.failed_recoveries += other.failed_recoveries;
        self.join_refusals += other.join_refusals;
        self.publish_refusals += other.publish_refusals;
        self.changes += other.changes;
        self.change_refusals += other.change_refusals;
        self.snapshots += other.snapshots;
        self.replicas += other.replicas;
    }
}

impl Oracle {
    pub fn subscribed(
        &mut self,
        client: Client,
        channel: ChannelName,
        transport: Transport,
        since: Option<Position>,
        token: Option<u32>,
        with_state: bool,
    ) {
        let state = if with_state { StateWish::Yes } else { StateWish::No };
        let waiting = Subscription::Waiting { transport, since, token, state };
        let before = self.subscriptions.insert(key(client, &channel), (client, waiting));
        assert!(before.is_none(), "{client:?} was let into {channel} twice");
    }

    pub fn left(&mut self, client: Client, channel: &ChannelName) -> bool {
        self.subscriptions.remove(&key(client, channel)).is_some()
    }

    pub fn closed(&mut self, client: Client) {
        self.subscriptions.retain(|_, (other, _)| *other != client);
    }

    pub fn refused(&mut self, client: Client, channel: &ChannelName, token: Option<u32>) {
        self.events.join_refusals += 1;
        match self.subscriptions.remove(&key(client, channel)) {
            Some((_, Subscription::Waiting { token: asked, .. })) => assert_eq!(asked, token),
            other => panic!("{client:?} was refused {channel} but had {other:?}"),
        }
    }

    pub fn joined(
        &mut self,
        client: Client,
        channel: &ChannelName,
        transport: Transport,
        token: Option<u32>,
        welcome: &Welcome,
    ) {
        let entry = self.subscriptions.get_mut(&key(client, channel));
        let Some((owner, subscription)) = entry else {
            panic!("{client:?} joined {channel} without asking");
        };
        assert_eq!(*owner, client, "somebody else's subscription began");
        let Subscription::Waiting { transport: asked_transport, since, token: asked_token, state } =
            *subscription
        else {
            panic!("{client:?} joined {channel} twice");
        };
        assert_eq!((asked_transport, asked_token), (transport, token));
        let Welcome { position, missed, recovered, .. } = welcome;
        let state = match (state, recovered, since) {
            (StateWish::Yes, false, _) | (StateWish::Yes, true, None) => StateWish::Owed,
            (state, ..) => state,
        };
        let is_due = welcome.is_all() && state == StateWish::Owed;
        assert_eq!(welcome.state.is_some(), is_due, "{state:?} since {since:?}");
        let replica = welcome.state.as_ref().map(|keys| replica_of(keys));
        self.events.snapshots += u64::from(replica.as_ref().is_some_and(|replica| !replica.is_empty()));
        *subscription = match welcome.is_all() {
            true => Subscription::Live { transport, seen: *position, replica },
            false => Subscription::Waiting { transport, since: Some(*position), token: None, state },
        };
        check_recovery(since, welcome);
        self.events.parts += u64::from(!welcome.is_all());
        self.events.recoveries += u64::from(since.is_some() && *recovered && !missed.is_empty());
        self.events.failed_recoveries += u64::from(!recovered);
        missed.iter().for_each(|publication| self.look_at(channel, position.epoch, publication));
    }

    pub fn fanned_out(&mut self, shard: ShardId, fanout: &Fanout<'_>) {
        let since = fanout.since;
        for (at, publication) in (since.offset + 1..).zip(fanout.publications) {
            assert_eq!(publication.position.offset, at, "offsets in a fan-out are consecutive");
            self.look_at(fanout.channel, since.epoch, publication);
        }
        assert!(fanout.gap || !fanout.publications.is_empty(), "a fan-out says something");
        let last = fanout.publications.last().map_or(since, |publication| publication.position);
        for (index, transport) in Transport::ALL
            .into_iter()
            .flat_map(|transport| fanout.subscribers[transport as usize].iter().map(move |i| (*i, transport)))
        {
            let entry = self.subscriptions.get_mut(&(shard.0, index, fanout.channel.clone()));
            let Some((client, Subscription::Live { transport: asked, seen, replica })) = entry else {
                panic!("connection {index} of shard {shard} got {} without being subscribed", fanout.channel);
            };
            assert_eq!(*asked, transport);
            assert_eq!(seen.epoch, since.epoch, "{client:?}: a stream was lost under its subscriber");
            if fanout.gap {
                assert!(since.offset > seen.offset, "{client:?} at {seen} was told of no gap up to {since}");
            } else {
                assert_eq!(
                    since.offset, seen.offset,
                    "{client:?} was at {seen} and got what is after {since}"
                );
            }
            *seen = last;
            if fanout.gap {
                *replica = None;
            }
            if let Some(replica) = replica {
                fanout.publications.iter().for_each(|publication| follow(replica, publication));
            }
            self.events.gaps += u64::from(fanout.gap);
            self.events.last_gaps += u64::from(fanout.publications.is_empty());
            self.events.deliveries += fanout.publications.len() as u64;
        }
    }

    pub fn ticket_issued(&mut self, ticket: Ticket, channel: ChannelName, content: u64) {
        assert!(self.used_tickets.insert(ticket));
        self.tickets.insert(ticket, (channel, content));
    }

    pub fn published(&mut self, ticket: Ticket, result: Result<Position, PublishError>) {
        let (channel, content) = self.tickets.remove(&ticket).expect("a ticket is answered once");
        match result {
            Ok(position) => self.note(&channel, position, content),
            Err(error) => {
                assert_eq!(error, PublishError::ChannelsFull);
                self.events.publish_refusals += 1;
            }
        }
    }

    pub fn paged(&mut self, channel: &ChannelName, since: Option<Position>, limit: u32, page: &HistoryPage) {
        assert!(page.publications.len() <= limit as usize);
        let Some(position) = page.position else {
            assert!(page.publications.is_empty() && page.recovered == since.is_none());
            return;
        };
        page.publications.iter().for_each(|publication| self.look_at(channel, position.epoch, publication));
        if let Some(since) = since.filter(|_| page.recovered) {
            let offsets: Vec<u64> = page.publications.iter().map(|p| p.position.offset).collect();
            let end = position.offset.min(since.offset.saturating_add(u64::from(limit)));
            assert_eq!(since.epoch, position.epoch);
            assert_eq!(
                offsets,
                (since.offset + 1..=end).collect::<Vec<_>>(),
                "after {since} up to {position}"
            );
        }
    }

    /// After everything has arrived: nobody waits, and everybody has seen all there is.
    pub fn settled(
        &mut self,
        positions: &BTreeMap<ChannelName, Position>,
        states: &BTreeMap<ChannelName, Replica>,
    ) {
        assert!(self.tickets.is_empty(), "unanswered: {:?}", self.tickets);
        assert!(self.changing.is_empty(), "{} changes are unanswered", self.changing.len());
        for ((channel, key), sum) in &self.sums {
            let held = states.get(channel).and_then(|state| state.get(key));
            assert_eq!(held, Some(&sum.to_string().into_bytes()), "{key} of {channel}");
        }
        for ((_, _, channel), (client, subscription)) in &self.subscriptions {
            match subscription {
                Subscription::Live { seen, replica, .. } => {
                    assert_eq!(Some(seen), positions.get(channel), "{client:?} is behind on {channel}");
                    if let Some(replica) = replica {
                        let state = states.get(channel).cloned().unwrap_or_default();
                        assert_eq!(*replica, state, "{client:?} follows the state of {channel}");
                        self.events.replicas += u64::from(!replica.is_empty());
                    }
                }
                Subscription::Waiting { .. } => panic!("{client:?} still waits for {channel}"),
            }
        }
    }

    pub fn changed(&mut self, ticket: Ticket, result: Result<Changed, StateError>) {
        let Changing { channel, key, add } =
            self.changing.remove(&ticket).expect("a ticket is answered once");
        match result {
            Ok(changed) => {
                self.events.changes += 1;
                if let Some(add) = add {
                    let sum = self.sums.entry((channel, key)).or_default();
                    *sum += add;
                    assert!(changed.version.value().is_some(), "the answer to an add tells the value");
                }
            }
            Err(_) => self.events.change_refusals += 1,
        }
    }

    fn look_at(&mut self, channel: &ChannelName, epoch: u64, publication: &Publication) {
        assert_eq!((&publication.channel, publication.position.epoch), (channel, epoch));
        if let Some(change) = &publication.payload.change {
            let (key, data) = (change.key.as_str().to_owned(), publication.payload.data.to_vec());
            let told = (change.kind, key, data);
            let known = self.changes.entry((channel.clone(), publication.position)).or_insert(told.clone());
            return assert_eq!(*known, told, "{channel} holds two changes at {}", publication.position);
        }
        let content = u64::from_le_bytes(publication.payload.data[..8].try_into().expect("eight bytes"));
        self.note(channel, publication.position, content);
    }

    fn note(&mut self, channel: &ChannelName, position: Position, content: u64) {
        let known = *self.contents.entry((channel.clone(), position)).or_insert(content);
        assert_eq!(known, content, "{channel} holds two publications at {position}");
        let place = *self.places.entry(content).or_insert(position);
        assert_eq!(place, position, "publication {content} has two positions");
    }
}

/// A snapshot, as a client keeps it.
pub fn replica_of(keys: &[SharedPublication]) -> Replica {
    let mut replica = Replica::new();
    keys.iter().for_each(|publication| follow(&mut replica, publication));
    assert_eq!(replica.len(), keys.len(), "a snapshot tells each key once");
    replica
}

/// Does what a publication says to the state.
fn follow(replica: &mut Replica, publication: &Publication) {
    let Some(change) = &publication.payload.change else { return };
    match change.kind {
        ChangeKind::Set | ChangeKind::Add => {
            replica.insert(change.key.as_str().to_owned(), publication.payload.data.to_vec());
        }
        ChangeKind::Enter | ChangeKind::Update | ChangeKind::Leave | ChangeKind::Digest => {}
        ChangeKind::Remove | ChangeKind::Expire => {
            replica.remove(change.key.as_str());
        }
    }
}

/// Whether what a subscriber was told about what it missed is true, complete and not too modest.
fn check_recovery(since: Option<Position>, welcome: &Welcome) {
    let Welcome { position, now, rest, recovered, .. } = *welcome;
    let missed: Vec<u64> = welcome.missed.iter().map(|publication| publication.position.offset).collect();
    let Some(since) = since else {
        let is_nothing = missed.is_empty() && rest == 0 && position == now;
        assert!(recovered && is_nothing, "who has seen nothing has missed nothing");
        return;
    };
    assert!(missed.is_sorted_by(|a, b| a < b), "missed {missed:?}");
    assert!(missed.last().is_none_or(|last| *last <= position.offset), "missed {missed:?} at {position}");
    assert_eq!(
        (position.epoch, position == now),
        (now.epoch, rest == 0),
        "{position} of {now}, {rest} to come"
    );
    if since.epoch != now.epoch {
        assert!(!recovered, "{since} cannot be recovered at {now}");
        return;
    }
    let all: Vec<u64> = (since.offset.saturating_add(1)..=position.offset).collect();
    let is_all =
        missed == all && since.offset <= now.offset && position.offset + u64::from(rest) == now.offset;
    assert_eq!(recovered, is_all, "since {since} at {position} of {now}: {missed:?}, {rest} to come");
    assert!(missed.iter().all(|offset| *offset > since.offset), "{missed:?} was seen at {since}");
}

fn key(client: Client, channel: &ChannelName) -> (u16, u32, ChannelName) {
    (client.shard.0, client.connection.index, channel.clone())
}
