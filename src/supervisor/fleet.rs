//! Starting every shard, and passing orders to all of them.

use std::{
    hash::{BuildHasher, RandomState},
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Ceiling, Listening, ServeError, preflight,
    pulses::{Pulses, Watched},
    reload::Settings,
    storage,
    watch::Event,
};
use crate::{
    app::{Handle, Handler, Outside, outside, socketio},
    auth::Revoked,
    backend::{self, Notices},
    broker::{self, Broker},
    config::{Config, Endpoint},
    hub::Owners,
    mesh::{self, AddressCounts, Command, ControlReceiver, ControlSender, Left, Legacy, Pulse, Start},
    model::ShardId,
    ring::Doorbell,
    shard::{
        self, Errand, Forms, Listener, Redirect, RunErrand, ShardSetup, ShardThread, StartError, TlsSetup,
    },
    storage::Writer,
    tls::Terms,
};

/// The shards that run.
pub(super) struct Fleet {
    controls: Vec<ControlSender>,
    handles: Vec<Handle>,
    shards: Vec<(Arc<Pulse>, OwnSockets)>,
    writer: Option<Writer>,
    /// Tells when the backend has been told all there is.
    told: Option<Receiver<()>>,
}

/// What is there before the shards.
pub(super) struct Ground {
    /// The listeners of each shard.
    pub(super) listeners: Vec<Vec<Listener>>,
    /// What another process has left.
    pub(super) left: Left,
    /// What each shard waits for before it serves, if another process has served before.
    pub(super) starts: Vec<Start>,
}

/// One shard's part of it.
struct Plot {
    listeners: Vec<Listener>,
    /// Its share of the connections.
    connections_max: u32,
    left: Legacy,
}

/// A thread that only waits for another one's end.
const WAITER_STACK_BYTES: usize = 64 * 1024;

/// Starts every shard. When one fails to, those that run are stopped and its error is returned.
pub(super) fn start<H>(
    config: &Config,
    listening: &Listening,
    ground: Ground,
    terms: Option<Terms>,
    started: Instant,
    handler: H,
    events: &Sender<Event>,
) -> Result<Fleet, ServeError>
where
    H: Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static,
{
    let shards = u16::try_from(listening.cores.len()).expect("the configuration was checked");
    let [epoch_seed, hash_seed] = seeds(started);
    let [address_counts, handshake_counts] = [(); 2].map(|()| Arc::<AddressCounts>::default());
    let (tokens, rules, user_counts) = (config.tokens(), Arc::new(config.access_rules()), Arc::default());
    let (senders, receivers, bells) = controls(shards)?;
    let backend = backend::start(config.backend(), &bells).map_err(ServeError::Backend)?;
    let mut brokers = join(config, &bells, &backend.notices)?.into_iter();
    let mut clusters = join_cluster(config, &bells)?.into_iter();
    let (mut desks, mut notices) = (backend.desks.into_iter(), backend.notices.into_iter());
    let mut begun = storage::begin(config, hash_seed, &bells, &listening.cores)?;
    let (handles, outsides) = outsides(&bells);
    let mut fleet = Fleet::new(senders, handles, begun.writer.take(), backend.ended);
    let links = mesh::full(&bells).into_iter().zip(receivers).zip(outsides);
    let links = links.zip(plots(ground, &begun.revoked, &listening.ceiling, hash_seed, shards));
    for (id, (((links, receiver), outside), plot)) in (0..shards).zip(links) {
        let setup = ShardSetup {
            pulse: fleet.pulse_of(&plot.listeners),
            shard: ShardId(id),
            shards,
            core: listening.cores[usize::from(id)],
            connections_max: plot.connections_max,
            connections_limit: listening.ceiling.per_shard_limit,
            address_counts: Arc::clone(&address_counts),
            handshake_counts: Arc::clone(&handshake_counts),
            limits: config.limits.clone(),
            tokens: tokens.clone(),
            user_counts: Arc::clone(&user_counts),
            desk: desks.next(),
            notices: notices.next(),
            retentions: config.retentions(),
            rules: Arc::clone(&rules),
            diagnostic_message_bytes_max: diagnostic_message_bytes_max(config),
            forms: Forms { messages: config.websocket.settings(), answers: config.http.settings() },
            tls: terms.clone().map(|terms| tls_setup(config, listening, terms)),
            errand: errands(events.clone()),
            listeners: plot.listeners,
            drain_ms: config.server.drain_ms,
            spin: Duration::from_micros(config.server.spin_us.into()),
            started,
            links,
            control: receiver,
            outside,
            access: config.log.access_settings(),
            hosts: config.hosts(),
            proxies: config.proxies(),
            socketio: socketio_settings(config, brokers.as_slice().first()),
            epoch_seed,
            hash_seed,
            restarts_max: config.server.shard_restarts_max,
            storage: begun.setups.next(),
            left: plot.left,
            broker: brokers.next(),
            cluster: clusters.next(),
        };
        launch(setup, handler.clone(), events).inspect_err(|_| fleet.order(Command::Stop))?;
    }
    Ok(fleet)
}

/// Both ends of what other threads ask of each shard.
fn outsides(bells: &[Doorbell]) -> (Vec<Handle>, Vec<Outside>) {
    bells.iter().cloned().map(|bell| outside(move || bell.ring())).unzip()
}

/// What each shard gets of the ground.
fn plots(ground: Ground, revoked: &Revoked, ceiling: &Ceiling, hash_seed: u64, shards: u16) -> Vec<Plot> {
    let legacies = legacies(ground.left, revoked, hash_seed, shards);
    let shares = shares(ceiling, shards, &legacies);
    let mut starts = ground.starts.into_iter();
    let parts = ground.listeners.into_iter().zip(shares).zip(legacies);
    let plot = |((listeners, connections_max), legacy)| {
        let left = Legacy { start: starts.next(), ..legacy };
        Plot { listeners, connections_max, left }
    };
    parts.map(plot).collect()
}

/// What each shard is given of what was left, and of who is shut out on disk.
fn legacies(mut left: Left, revoked: &Revoked, hash_seed: u64, shards: u16) -> Vec<Legacy> {
    left.revoked.merge(revoked);
    let owners = Owners::new(hash_seed, shards);
    left.divide(shards, |channel| owners.of(channel))
}

/// Each shard's share of so many connections: room for those that it is left, which the others that have as many to spare go
/// without.
fn shares(ceiling: &Ceiling, shards: u16, legacies: &[Legacy]) -> Vec<u32> {
    let mut shares: Vec<_> = (0..shards).map(|id| ceiling.share(id, shards)).collect();
    let left: Vec<_> = legacies.iter().map(|legacy| legacy.connections.all.len() as u32).collect();
    for at in 0..shares.len() {
        for other in 0..shares.len() {
            let needed = left[at].saturating_sub(shares[at]);
            let moved = needed.min(shares[other].saturating_sub(left[other]));
            shares[other] -= moved;
            shares[at] += moved;
        }
    }
    shares
}

/// Starts one, and has its end told.
fn launch<H>(setup: ShardSetup, handler: H, events: &Sender<Event>) -> Result<(), ServeError>
where
    H: Fn(ShardId) -> Box<dyn Handler> + Send + 'static,
{
    let id = setup.shard;
    let thread = shard::spawn(setup, move || handler(id)).map_err(|error| refusal(id, error))?;
    report_end(id, thread, events.clone())
}

/// What epochs come from, and what keys the hash of channel names. Randomly keyed by the operating system, so that no two
/// starts give a stream the same epoch; two of them, for clients see epochs, and these must not tell how names are hashed.
fn seeds(started: Instant) -> [u64; 2] {
    [(); 2].map(|()| RandomState::new().hash_one(started))
}

/// How a shard speaks Socket.IO, whose node has the name that its broker gives it.
fn socketio_settings(config: &Config, broker: Option<&Broker>) -> socketio::Settings {
    let node = broker.map(Broker::node).unwrap_or_default();
    socketio::Settings { node, ..config.socketio_settings() }
}

/// What joins each shard with other nodes, if something does. They call this one as its backend does.
fn join(config: &Config, bells: &[Doorbell], notices: &[Notices]) -> Result<Vec<Broker>, ServeError> {
    let Some(mut settings) = config.broker() else { return Ok(Vec::new()) };
    if let Some(notices) = notices.first() {
        settings.node = notices.instance().into();
    }
    broker::start(settings, bells).map_err(ServeError::Broker)
}

/// What makes the process a member of a Socket.IO cluster, if it is one.
fn join_cluster(config: &Config, bells: &[Doorbell]) -> Result<Vec<broker::cluster::Cluster>, ServeError> {
    let Some(settings) = config.cluster() else { return Ok(Vec::new()) };
    broker::cluster::start(settings, bells).map_err(ServeError::Broker)
}

/// The sockets of a shard that end with the process, and their places among all that it has.
type OwnSockets = Vec<(usize, Arc<OwnedFd>)>;

fn own_sockets(listeners: &[Listener]) -> OwnSockets {
    let own = listeners.iter().enumerate().filter(|(_, listener)| !listener.is_passed);
    own.map(|(place, listener)| (place, Arc::clone(&listener.socket))).collect()
}

fn tls_setup(config: &Config, listening: &Listening, terms: Terms) -> TlsSetup {
    let (handshakes_max, handshake_timeout_ms) = (config.tls.handshakes_max, config.tls.handshake_timeout_ms);
    TlsSetup { terms, handshakes_max, handshake_timeout_ms, redirect: redirect(config, listening) }
}

/// WebSocket messages up to this size on diagnostic sessions, if there are any.
fn diagnostic_message_bytes_max(config: &Config) -> u64 {
    match config.diagnostics_are_enabled() {
        true => config.diagnostics.message_bytes_max.into(),
        false => 0,
    }
}

/// Where clients without TLS are sent: to the port that needs not be written, if that is one of those with TLS.
fn redirect(config: &Config, listening: &Listening) -> Redirect {
    let speaking = config.server.listen.iter().zip(&listening.public);
    let mut ports =
        speaking.filter(|(asked, _)| config.speaks_tls(asked)).filter_map(|(_, bound)| match bound {
            Endpoint::Tcp(address) => Some(address.port()),
            Endpoint::Unix(_) => None,
        });
    let first = ports.next();
    let folder = &config.tls.acme_challenge_folder;
    Redirect {
        port: ports.find(|port| *port == 443).or(first).unwrap_or_default(),
        challenges: (!folder.is_empty()).then(|| folder.into()),
    }
}

/// Lets a shard ask for what the supervisor does.
fn errands(events: Sender<Event>) -> RunErrand {
    let event = |errand| match errand {
        Errand::Reload => Event::Reload,
        Errand::Upgrade => Event::Upgrade,
        Errand::ShutOut(revocation) => Event::ShutOut(revocation),
    };
    // A supervisor that has gone has nothing more to tell.
    Box::new(move |errand| drop(events.send(event(errand))))
}

/// Both ends of every shard's commands, and what wakes it.
type Controls = (Vec<ControlSender>, Vec<ControlReceiver>, Vec<Doorbell>);

/// Makes all of them.
fn controls(shards: u16) -> Result<Controls, ServeError> {
    let control = |id| mesh::control().map_err(|error| ServeError::Control { shard: ShardId(id), error });
    let controls: Vec<_> = (0..shards).map(control).collect::<Result<_, _>>()?;
    let (senders, receivers): (_, Vec<ControlReceiver>) = controls.into_iter().unzip();
    let bells = receivers.iter().map(|receiver| receiver.doorbell().clone()).collect();
    Ok((senders, receivers, bells))
}

/// A ring that cannot be made says why in the words of the preflight.
fn refusal(shard: ShardId, error: StartError) -> ServeError {
    match error {
        StartError::Ring(error) => ServeError::Ring(preflight::explain(error)),
        error @ StartError::Executor(_) => ServeError::Start { shard, error },
    }
}

/// Sends an event when the shard's thread has ended.
fn report_end(shard: ShardId, running: ShardThread, events: Sender<Event>) -> Result<(), ServeError> {
    let wait = move || {
        let result = running.join().map_err(|error| ServeError::Shard { shard, error });
        // Without a supervisor nobody wants to know.
        drop(events.send(Event::Ended(shard, result)));
    };
    let waiter = thread::Builder::new().name(format!("wait-{shard}")).stack_size(WAITER_STACK_BYTES);
    waiter.spawn(wait).map(drop).map_err(|error| ServeError::Waiter { shard, error })
}

impl Fleet {
    fn new(
        controls: Vec<ControlSender>,
        handles: Vec<Handle>,
        writer: Option<Writer>,
        told: Option<Receiver<()>>,
    ) -> Self {
        Self { controls, handles, shards: Vec::new(), writer, told }
    }

    /// The pulse of one more shard, with these listeners.
    fn pulse_of(&mut self, listeners: &[Listener]) -> Arc<Pulse> {
        let pulse = Arc::<Pulse>::default();
        self.shards.push((Arc::clone(&pulse), own_sockets(listeners)));
        pulse
    }

    /// What shows that the shards live.
    pub(super) fn pulses(&self, settings: &Settings) -> Pulses {
        let watched = |(pulse, sockets): &(Arc<Pulse>, Vec<_>)| {
            Watched::new(Arc::clone(pulse), sockets.iter().cloned())
        };
        Pulses::new(self.shards.iter().map(watched).collect(), settings.backlog())
    }

    /// Who writes what outlives the process.
    pub(super) fn take_writer(&mut self) -> Option<Writer> {
        self.writer.take()
    }

    /// What tells when the backend has been told all there is, once the shards have ended.
    pub(super) fn take_told(&mut self) -> Option<Receiver<()>> {
        self.told.take()
    }

    /// All shards.
    pub(super) fn ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards.len() as u16).map(ShardId)
    }

    /// What passes orders to each shard.
    pub(super) fn controls(&self) -> Vec<ControlSender> {
        self.controls.clone()
    }

    /// A way for other threads into each shard.
    pub(super) fn take_handles(&mut self) -> Vec<Handle> {
        std::mem::take(&mut self.handles)
    }

    /// Passes an order to every shard; one that has ended does not hear it.
    pub(super) fn order(&self, order: Command) {
        self.controls.iter().for_each(|control| control.send(order.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mesh::{LeftConnection, LegacyConnections},
        supervisor::SetBy,
    };

    #[test]
    fn a_shard_has_room_for_those_that_it_is_left_if_the_others_have_it_to_spare() {
        let one = LeftConnection::default();
        let left = |count| {
            let connections = LegacyConnections { all: vec![one.clone(); count], ..Default::default() };
            Legacy { connections, ..Legacy::default() }
        };
        let ceiling = Ceiling { connections: 30, per_shard_limit: 30, set_by: SetBy::Setting };
        for (counts, expected) in [
            ([0, 0, 0], [10, 10, 10]),
            ([3, 10, 10], [10, 10, 10]),
            ([15, 2, 3], [15, 5, 10]),
            ([1, 2, 25], [1, 4, 25]),
            ([20, 20, 20], [10, 10, 10]),
            ([12, 9, 20], [11, 9, 10]),
        ] {
            let shares = shares(&ceiling, 3, &counts.map(left));
            assert_eq!(shares, expected, "{counts:?}");
        }
    }
}
