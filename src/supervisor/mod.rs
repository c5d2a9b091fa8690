//! The process around the shards: limits, cores, sockets, signals; starting all of it and ending all of it.
//!
//! Not here: what a shard does (`shard/`), and what the command line looks like (`cli/`). The supervisor's thread
//! serves nobody: it starts the shards, then waits for a signal or for a shard's end.

mod ceiling;
mod cores;
mod error;
mod fleet;
mod preflight;
mod rlimits;
mod signals;
mod sockets;
mod watch;

pub use ceiling::{Ceiling, CeilingError, SetBy};
pub use cores::CoresError;
pub use error::ServeError;
pub use preflight::{RingCause, RingRefusal};
pub use rlimits::LimitsError;
pub use sockets::{SocketError, SocketStep};

use std::{sync::mpsc, time::Instant};

use tracing::{info, warn};

use crate::{
    app::Handler,
    config::{Config, Endpoint},
    model::ShardId,
};

/// Why a server ended that ended as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A signal asked for it, and every client was told.
    Drained,
    /// A second signal asked to end at once; its number. Shards may still be at work: leave the process.
    Forced(i32),
}

/// What a server that has just begun to serve can say about itself.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The core of each shard, by the shard's number.
    pub cores: Vec<usize>,
    /// Where clients connect, with the ports the kernel gave for port 0.
    pub public: Vec<Endpoint>,
    /// Where metrics are served.
    pub admin: Option<Endpoint>,
    /// How many connections the process holds.
    pub ceiling: Ceiling,
}

/// Serves until a signal ends it: SIGTERM or SIGINT drains, a second one ends at once.
///
/// `handler` makes one handler per shard, on that shard's own thread. Nothing is written to standard output;
/// start logging with [`crate::telemetry::logging::start`] or a subscriber of your own. The signals stay with this
/// crate when the function has returned.
///
/// ```no_run
/// use roadstead::{
///     app::{Context, Handler, Message, Peer, Request, Verdict},
///     config::Config,
///     supervisor,
/// };
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
///         Verdict::accept(0)
///     }
///
///     fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
///         cx.send(peer.connection, message);
///     }
/// }
///
/// supervisor::serve(Config::default(), |_shard| Box::new(Echo))?;
/// # Ok::<(), supervisor::ServeError>(())
/// ```
pub fn serve<H>(config: Config, handler: H) -> Result<ExitReason, ServeError>
where
    H: Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static,
{
    serve_announced(config, handler, |_, _| ())
}

/// As [`serve`], and calls `announce` once every shard listens.
pub fn serve_announced<H>(
    config: Config,
    handler: H,
    announce: impl FnOnce(&Config, &Listening),
) -> Result<ExitReason, ServeError>
where
    H: Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static,
{
    let started = Instant::now();
    config.check()?;
    preflight::check()?;
    let limits = rlimits::raise()?;
    let cores = cores::assign(config.server.shards, &config.server.cpus)?;
    let shards = u16::try_from(cores.len()).expect("a checked configuration asks for no more");
    config.check_shares(shards)?;
    let listeners_count = config.server.listen.len() as u64;
    let ceiling = ceiling::compute(config.limits.connections_max, shards, listeners_count, &limits)?;
    let sockets = sockets::bind(&config.server, shards)?;
    let listening = Listening { cores, public: sockets.public, admin: sockets.admin, ceiling };
    let _files = sockets.files;

    let (events, inbox) = mpsc::channel();
    let _signals = signals::forward(events.clone()).map_err(ServeError::Signals)?;
    let fleet = fleet::start(&config, &listening, sockets.listeners, started, handler, &events)?;
    drop(events);
    log_start(&listening);
    announce(&config, &listening);
    let outcome = watch::until_ended(usize::from(shards), &inbox, |order| fleet.order(order));
    info!("stopped");
    outcome
}

fn log_start(listening: &Listening) {
    let addresses: Vec<_> = listening.public.iter().map(Endpoint::to_string).collect();
    info!(
        shards = listening.cores.len(),
        addresses = addresses.join(" "),
        admin = listening.admin.as_ref().map(Endpoint::to_string),
        connections_max = listening.ceiling.connections,
        "listening"
    );
    if let Some(admin) = listening.admin.as_ref().filter(|admin| !admin.is_local()) {
        warn!("the admin listener can be reached beyond this machine, at {admin}, and asks for no key");
    }
}
