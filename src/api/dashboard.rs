//! `/dashboard`: one page on the admin listener that shows how the server is, and what it is told once a second.
//!
//! While somebody watches, the shard that has the page's connection asks all shards how they are each second, and sends
//! those who watch the answers as one event. What did not come in time is missing in it, and the page says so. When nobody
//! watches, nothing is asked, no timer runs, and no channel is counted; the shards keep their last hour all the same.
//!
//! Invariant: while there are watchers, of whom a shard has [`DASHBOARDS_MAX`] at most, one timer runs; and it ends with the
//! first tick that finds none.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use serde::Serialize;

use super::{Refusal, Settings, admin::Legend, manual};
use crate::{
    app::{Context, Message, Response},
    limits::{DASHBOARD_INTERVAL_MS, DASHBOARDS_MAX, SAMPLE_MS, TURN_US_BOUNDS},
    mesh::{BusyChannel, BusyOrigin, Look, Question, Sample, ShardReport, Trouble},
    model::{ConnectionId, Ticket},
    telemetry::process::{self, ProcessReport},
};

/// The handler's timer for the next look; no connection's timer has this number, for no shard has so many.
pub(super) const TICK: u64 = u64::MAX;

const PAGE: &str = concat!(
    include_str!("dashboard/head.html"),
    "<style>",
    include_str!("dashboard/dashboard.css"),
    "</style>",
    include_str!("dashboard/body.html"),
    "<script>",
    include_str!("dashboard/charts.js"),
    include_str!("dashboard/dashboard.js"),
    "</script>\n",
);

/// What the page may load and talk to: itself and this server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Those who watch from this shard, and the look that is being taken for them.
#[derive(Debug, Default)]
pub(super) struct Dashboard {
    watchers: Vec<Watcher>,
    gathering: Option<Gathering>,
    /// The timer runs.
    is_ticking: bool,
    looks: u32,
    page: Option<Rc<[u8]>>,
}

#[derive(Debug)]
struct Watcher {
    connection: ConnectionId,
    /// It has been told the last hour and what the numbers mean.
    is_told: bool,
}

/// The answers so far.
#[derive(Debug)]
struct Gathering {
    token: u32,
    asked_by: ConnectionId,
    with_past: bool,
    looks: Vec<Look>,
}

/// What never changes while a page is open, and the last hour.
#[derive(Serialize)]
struct First<'a> {
    /// The shard that has the connection of whoever is told this.
    shard: u16,
    legend: Legend,
    troubles: Vec<TroubleRow>,
    sample_ms: u64,
    turn_us_bounds: [u64; TURN_US_BOUNDS.len()],
    past: Vec<PastRow>,
    config: &'a serde_json::value::RawValue,
}

#[derive(Serialize)]
struct TroubleRow {
    label: &'static str,
    setting: &'static str,
}

/// A sample of all shards together.
#[derive(Default, Serialize)]
struct PastRow {
    unix_ms: u64,
    connections: u64,
    publications: u64,
    deliveries: u64,
    /// That of the busiest shard.
    busy_permille: u32,
    /// Those there were, by number.
    troubles: BTreeMap<usize, u64>,
}

/// How the server is.
#[derive(Serialize)]
struct Snapshot<'a> {
    unix_ms: u64,
    is_ready: bool,
    is_draining: bool,
    is_broker_away: bool,
    shards_expected: u16,
    process: Option<ProcessReport>,
    shards: Vec<&'a ShardReport>,
    /// By shard as above, by number of trouble.
    troubles: Vec<[u64; Trouble::COUNT]>,
    busiest: Vec<BusyChannel>,
    origins: Vec<BusyOrigin>,
}

impl Dashboard {
    /// The page, which is made when it is first asked for.
    pub(super) fn page(&mut self) -> Response {
        manual::page(self.page.get_or_insert_with(|| PAGE.as_bytes().into()), POLICY)
    }

    /// Somebody begins to watch.
    pub(super) fn open(&mut self, cx: &mut Context<'_>, connection: ConnectionId) -> Result<(), Refusal> {
        if self.watchers.len() >= DASHBOARDS_MAX {
            return Err(Refusal::DashboardsFull);
        }
        self.watchers.push(Watcher { connection, is_told: false });
        if !std::mem::replace(&mut self.is_ticking, true) {
            self.ask(cx);
            cx.timer(DASHBOARD_INTERVAL_MS, TICK);
        }
        Ok(())
    }

    /// A connection has ended.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.watchers.retain(|watcher| watcher.connection != connection);
        // The other answers to what it asked will not come.
        if self.gathering.as_ref().is_some_and(|gathering| gathering.asked_by == connection) {
            self.gathering = None;
        }
    }

    /// Time for the next look; the one before is over, whoever has not answered.
    pub(super) fn tick(&mut self, cx: &mut Context<'_>, settings: &Settings) {
        self.tell(cx, settings);
        self.is_ticking = !self.watchers.is_empty();
        if !self.is_ticking {
            return;
        }
        self.ask(cx);
        cx.timer(DASHBOARD_INTERVAL_MS, TICK);
    }

    /// A shard has answered.
    pub(super) fn take_look(&mut self, cx: &mut Context<'_>, settings: &Settings, token: u32, look: Look) {
        let Some(gathering) = &mut self.gathering else { return };
        if gathering.token != token {
            return;
        }
        gathering.looks.push(look);
        if gathering.looks.len() >= usize::from(cx.shards) {
            self.tell(cx, settings);
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) {
        let Some(watcher) = self.watchers.first() else { return };
        self.looks = self.looks.wrapping_add(1);
        let (token, asked_by) = (self.looks, watcher.connection);
        let with_past = self.watchers.iter().any(|watcher| !watcher.is_told);
        cx.ask(Ticket { connection: asked_by, token }, Question::Look { with_past });
        self.gathering = Some(Gathering { token, asked_by, with_past, looks: Vec::new() });
    }

    fn tell(&mut self, cx: &mut Context<'_>, settings: &Settings) {
        let Some(Gathering { mut looks, with_past, .. }) = self.gathering.take() else { return };
        looks.sort_by_key(|look| look.report.shard);
        let first = (with_past && !looks.is_empty()).then(|| first(cx.shard.0, settings, &looks));
        let snapshot = snapshot(cx, &looks);
        for watcher in &mut self.watchers {
            match &first {
                Some(first) if !watcher.is_told => cx.send(watcher.connection, Message::Text(first)),
                // It has come since the shards were asked, and hears the next answers with the past.
                None if !watcher.is_told => continue,
                _ => {}
            }
            watcher.is_told = true;
            cx.send(watcher.connection, Message::Text(&snapshot));
        }
    }
}

fn first(shard: u16, settings: &Settings, looks: &[Look]) -> String {
    let troubles =
        Trouble::ALL.map(|trouble| TroubleRow { label: trouble.label(), setting: trouble.setting() });
    let config = serde_json::from_str(&settings.config_json);
    let first = First {
        shard,
        legend: Legend::new(),
        troubles: troubles.into(),
        sample_ms: SAMPLE_MS,
        turn_us_bounds: TURN_US_BOUNDS,
        past: past(looks),
        config: config.expect("the configuration is told as JSON"),
    };
    said("first", &first)
}

/// The samples of all shards, those of the same time added up.
fn past(looks: &[Look]) -> Vec<PastRow> {
    let mut rows = BTreeMap::<u64, PastRow>::new();
    for sample in looks.iter().flat_map(|look| &look.past) {
        // Shards end their samples at the same time, but for those that slept then.
        let row = rows.entry((sample.unix_ms + SAMPLE_MS / 2) / SAMPLE_MS).or_default();
        row.add(sample);
    }
    rows.into_values().collect()
}

impl PastRow {
    fn add(&mut self, sample: &Sample) {
        self.unix_ms = self.unix_ms.max(sample.unix_ms);
        self.connections += u64::from(sample.connections);
        self.publications += u64::from(sample.publications);
        self.deliveries += u64::from(sample.deliveries);
        self.busy_permille = self.busy_permille.max(sample.busy_permille);
        for (number, count) in sample.troubles.iter().enumerate().filter(|(_, count)| **count > 0) {
            *self.troubles.entry(number).or_default() += u64::from(*count);
        }
    }
}

fn snapshot(cx: &Context<'_>, looks: &[Look]) -> String {
    let snapshot = Snapshot {
        unix_ms: cx.now.unix_ms,
        is_ready: cx.is_ready,
        is_draining: cx.is_draining,
        is_broker_away: !cx.is_joined,
        shards_expected: cx.shards,
        process: process::read(Duration::from_millis(cx.now.monotonic_ms)).ok(),
        shards: looks.iter().map(|look| &look.report).collect(),
        troubles: looks.iter().map(|look| Trouble::ALL.map(|trouble| trouble.count(&look.report))).collect(),
        busiest: busiest(looks),
        origins: origins(looks),
    };
    said("now", &snapshot)
}

/// The busiest channels of all shards, added up: the owner of one has stamped it, and any shard may have handed it out.
fn busiest(looks: &[Look]) -> Vec<BusyChannel> {
    let mut sums = BTreeMap::<&str, BusyChannel>::new();
    for one in looks.iter().flat_map(|look| &look.busiest) {
        match sums.get_mut(one.channel.as_str()) {
            None => drop(sums.insert(one.channel.as_str(), one.clone())),
            Some(sum) => {
                sum.publications += one.publications;
                sum.deliveries += one.deliveries;
            }
        }
    }
    BusyChannel::busiest(sums.into_values().collect())
}

/// Where most connections of all shards come from, added up: about right where a shard does not name one.
fn origins(looks: &[Look]) -> Vec<BusyOrigin> {
    let mut sums = HashMap::<_, u32>::new();
    for one in looks.iter().flat_map(|look| &look.origins) {
        *sums.entry((one.address, &one.passage)).or_default() += one.connections;
    }
    let whole = sums.into_iter().map(|((address, passage), connections)| {
        let passage = passage.clone();
        BusyOrigin { address, passage, connections }
    });
    BusyOrigin::busiest(whole.collect())
}

/// An object of one member.
fn said(name: &str, value: &impl Serialize) -> String {
    let value = serde_json::to_string(value).expect("numbers and names are what JSON can say");
    format!("{{\"{name}\":{value}}}")
}
