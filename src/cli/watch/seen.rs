//! A look at a server, and what two of them tell: how much there is of everything, and how fast it goes.

use serde::Deserialize;

/// How a server is, as it says it. What an older or newer one does not say is nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Seen {
    unix_ms: u64,
    is_ready: bool,
    is_draining: bool,
    is_broker_away: bool,
    shards_expected: usize,
    process: Option<Process>,
    shards: Vec<Shard>,
    troubles: Vec<Vec<u64>>,
    busiest: Vec<Busy>,
}

impl Seen {
    /// Does not count one event stream of a shard: that of who looks.
    pub(super) fn leave_out_stream(&mut self, of: Option<u16>) {
        for shard in self.shards.iter_mut().filter(|shard| Some(shard.shard) == of) {
            shard.connections = shard.connections.saturating_sub(1);
            if let Some(streams) = shard.sessions.get_mut(EVENT_STREAMS) {
                *streams = streams.saturating_sub(1);
            }
        }
    }

    /// The program, if it says what it is.
    pub(super) fn program(&self) -> Option<&Process> {
        self.process.as_ref()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub(super) version: String,
    pub(super) resident_bytes: u64,
    pub(super) kernel_bytes: Option<u64>,
    pub(super) open_descriptors: u64,
    pub(super) descriptors_max: u64,
    pub(super) uptime_ms: u64,
    pub(super) upgrade_failed: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Shard {
    shard: u16,
    core: u32,
    connections: u64,
    connections_max: u64,
    sessions: Vec<u64>,
    sockets: u64,
    accepted_total: u64,
    received_bytes_total: u64,
    sent_bytes_total: u64,
    publications_total: u64,
    deliveries_total: u64,
    busy_us_total: u64,
    channels: u64,
    subscriptions: u64,
    send_queue_bytes: u64,
}

/// A channel, and what goes through it per second.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Busy {
    pub(super) channel: String,
    pub(super) publications: f64,
    pub(super) deliveries: f64,
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) state: State,
    pub(super) process: Option<Process>,
    /// The shards that have answered.
    pub(super) shards: Vec<Row>,
    /// All of them together; `number` counts them.
    pub(super) sum: Row,
    /// How many there are of each kind of connection.
    pub(super) sessions: Vec<(&'static str, &'static str, u64)>,
    /// What has gone wrong since the look before: its number, and how often.
    pub(super) troubles: Vec<(usize, u64)>,
    pub(super) busiest: Vec<Busy>,
}

/// How a server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// It serves.
    Ready,
    /// So many shards of so many have not answered.
    Silent(usize, usize),
    /// Load balancers are told to send nobody: it begins to end.
    #[default]
    NotReady,
    /// They are, for the broker that joins the nodes is away.
    NoBroker,
    /// Its clients are told to go.
    Draining,
}

/// A shard, or all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) number: u16,
    pub(super) core: u32,
    /// The share of the time it was busy, from 0 to 1; of all of them the busiest's.
    pub(super) load: f64,
    pub(super) connections: u64,
    pub(super) connections_max: u64,
    pub(super) sockets: u64,
    pub(super) channels: u64,
    pub(super) subscriptions: u64,
    pub(super) queued_bytes: u64,
    /// Per second.
    pub(super) accepted: f64,
    pub(super) publications: f64,
    pub(super) deliveries: f64,
    pub(super) received_bytes: f64,
    pub(super) sent_bytes: f64,
}

/// The kinds of connection, one and many, in the order in which a shard counts them.
const SESSIONS: [(&str, &str); 4] = [
    ("of HTTP", "of HTTP"),
    ("WebSocket", "WebSockets"),
    ("event stream", "event streams"),
    ("long poll", "long polls"),
];

/// Their place there.
const EVENT_STREAMS: usize = 2;

impl View {
    /// What `now` says, with rates since `before`.
    pub(super) fn between(before: &Seen, now: &Seen) -> Self {
        let seconds = now.unix_ms.saturating_sub(before.unix_ms) as f64 / 1000.0;
        let then = |shard: u16| before.shards.iter().position(|old| old.shard == shard);
        let rows = now.shards.iter().map(|shard| {
            let old = then(shard.shard).map_or(shard, |at| &before.shards[at]);
            shard.row(old, seconds)
        });
        let shards: Vec<_> = rows.collect();
        let sum = shards.iter().fold(Row::default(), Row::plus);
        let sessions = SESSIONS.iter().enumerate().map(|(kind, (one, many))| {
            let counts = now.shards.iter().filter_map(|shard| shard.sessions.get(kind));
            let count = counts.fold(0, |sum: u64, count| sum.saturating_add(*count));
            (*one, *many, count)
        });
        let mut troubles = Vec::new();
        for (shard, counts) in now.shards.iter().zip(&now.troubles) {
            let Some(old) = then(shard.shard).and_then(|at| before.troubles.get(at)) else { continue };
            troubles.resize(troubles.len().max(counts.len()), 0);
            for (number, (count, old)) in counts.iter().zip(old).enumerate() {
                troubles[number] = u64::saturating_add(troubles[number], count.saturating_sub(*old));
            }
        }
        Self {
            state: now.state(),
            process: now.process.clone(),
            sessions: sessions.collect(),
            troubles: troubles.into_iter().enumerate().filter(|(_, count)| *count > 0).collect(),
            busiest: now.busiest.clone(),
            shards,
            sum,
        }
    }
}

impl Seen {
    fn state(&self) -> State {
        match self.shards_expected.saturating_sub(self.shards.len()) {
            0 if self.is_draining => State::Draining,
            0 if self.is_ready => State::Ready,
            0 if self.is_broker_away => State::NoBroker,
            0 => State::NotReady,
            silent => State::Silent(silent, self.shards_expected),
        }
    }
}

impl Shard {
    fn row(&self, old: &Self, seconds: f64) -> Row {
        // A shard that has begun anew counts from zero.
        let rate = |count: fn(&Self) -> u64| match seconds > 0.0 {
            true => count(self).saturating_sub(count(old)) as f64 / seconds,
            false => 0.0,
        };
        Row {
            number: self.shard,
            core: self.core,
            load: (rate(|shard| shard.busy_us_total) / 1e6).min(1.0),
            connections: self.connections,
            connections_max: self.connections_max,
            sockets: self.sockets,
            channels: self.channels,
            subscriptions: self.subscriptions,
            queued_bytes: self.send_queue_bytes,
            accepted: rate(|shard| shard.accepted_total),
            publications: rate(|shard| shard.publications_total),
            deliveries: rate(|shard| shard.deliveries_total),
            received_bytes: rate(|shard| shard.received_bytes_total),
            sent_bytes: rate(|shard| shard.sent_bytes_total),
        }
    }
}

impl Row {
    fn plus(self, other: &Self) -> Self {
        Self {
            number: self.number.saturating_add(1),
            core: 0,
            load: self.load.max(other.load),
            connections: self.connections.saturating_add(other.connections),
            connections_max: self.connections_max.saturating_add(other.connections_max),
            sockets: self.sockets.saturating_add(other.sockets),
            channels: self.channels.saturating_add(other.channels),
            subscriptions: self.subscriptions.saturating_add(other.subscriptions),
            queued_bytes: self.queued_bytes.saturating_add(other.queued_bytes),
            accepted: self.accepted + other.accepted,
            publications: self.publications + other.publications,
            deliveries: self.deliveries + other.deliveries,
            received_bytes: self.received_bytes + other.received_bytes,
            sent_bytes: self.sent_bytes + other.sent_bytes,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A server of two shards, of which one has begun anew since the look before.
    pub(in crate::cli::watch) fn looks() -> [Seen; 2] {
        let shard = |shard, busy_us_total, connections, deliveries_total| Shard {
            shard,
            busy_us_total,
            connections,
            connections_max: 10_000,
            deliveries_total,
            sessions: vec![1, connections - 1, 0, 0],
            ..Shard::default()
        };
        let seen = |unix_ms, shards, troubles| Seen {
            unix_ms,
            shards,
            troubles,
            is_ready: true,
            shards_expected: 2,
            process: Some(Process { version: "0.1.0".to_owned(), uptime_ms: 61_000, ..Process::default() }),
            busiest: vec![Busy { channel: "news".to_owned(), publications: 2.0, deliveries: 4_000.0 }],
            ..Seen::default()
        };
        [
            seen(10_000, vec![shard(0, 0, 10, 100), shard(1, 900_000, 5, 700)], vec![vec![1, 0], vec![5, 5]]),
            seen(
                12_000,
                vec![shard(0, 1_000_000, 12, 8_100), shard(1, 100, 1, 50)],
                vec![vec![1, 3], vec![0, 6]],
            ),
        ]
    }

    #[test]
    fn rates_are_per_second_and_a_shard_that_begins_anew_has_none() {
        let [before, now] = looks();
        let view = View::between(&before, &now);
        assert_eq!((view.shards[0].load, view.shards[0].deliveries), (0.5, 4_000.0));
        assert_eq!((view.shards[1].load, view.shards[1].deliveries), (0.0, 0.0));
        assert_eq!((view.sum.number, view.sum.load, view.sum.connections), (2, 0.5, 13));
        assert_eq!(view.sessions[1], ("WebSocket", "WebSockets", 11));
        assert_eq!((view.troubles, view.state), (vec![(1, 4)], State::Ready));
    }

    #[test]
    fn who_looks_is_not_among_those_who_are_seen() {
        let [_, mut now] = looks();
        now.shards[1].sessions[EVENT_STREAMS] = 1;
        let seen = |now: &Seen| {
            let view = View::between(now, now);
            (
                view.shards.iter().map(|row| row.connections).collect::<Vec<_>>(),
                view.sessions[EVENT_STREAMS].2,
            )
        };
        assert_eq!(seen(&now), (vec![12, 1], 1));
        now.leave_out_stream(None);
        assert_eq!(seen(&now), (vec![12, 1], 1), "an older server does not say where it is");
        now.leave_out_stream(Some(1));
        assert_eq!(seen(&now), (vec![12, 0], 0));
        now.leave_out_stream(Some(1));
        assert_eq!(seen(&now), (vec![12, 0], 0));
    }

    #[test]
    fn a_server_stands_as_it_says_unless_shards_of_it_are_silent() {
        let [_, mut now] = looks();
        let state = |now: &Seen| View::between(now, now).state;
        now.is_draining = true;
        assert_eq!(state(&now), State::Draining);
        (now.is_draining, now.is_ready) = (false, false);
        assert_eq!(state(&now), State::NotReady);
        now.is_broker_away = true;
        assert_eq!(state(&now), State::NoBroker);
        now.shards.pop();
        assert_eq!(state(&now), State::Silent(1, 2));
    }
}
