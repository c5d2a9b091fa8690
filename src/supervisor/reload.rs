//! Settings that are read again while the server runs: what changes, what waits for a restart, and saying so.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::certificates::Certificates;
use crate::{
    config::{Balancing, Config, ConfigErrors},
    limits::SHARD_DISMISSED_MS,
    mesh::Command,
    telemetry::logging,
};

/// Reads the configuration again, from wherever the program took it.
pub type Reread = Box<dyn Fn() -> Result<Config, ConfigErrors> + Send>;

/// The settings in force, and where new ones come from.
pub(super) struct Settings {
    current: Config,
    shards: u16,
    reread: Option<Reread>,
    /// Where nothing speaks TLS there are none.
    certificates: Option<Certificates>,
}

impl Settings {
    pub(super) fn new(
        current: Config,
        shards: u16,
        reread: Option<Reread>,
        certificates: Option<Certificates>,
    ) -> Self {
        Self { current, shards, reread, certificates }
    }

    /// What the shards are to be told because of the time, if anything.
    pub(super) fn pass_time(&mut self, now: Instant) -> Option<Command> {
        self.certificates.as_mut()?.pass_time(now).map(Command::Terms)
    }

    /// When to look at the time next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.certificates.as_ref().map(Certificates::next_due)
    }

    /// How many connections wait for a listener.
    pub(super) fn backlog(&self) -> u32 {
        self.current.server.backlog
    }

    /// How long the server says that it is not ready before it drains.
    pub(super) fn lame_duck(&self) -> Duration {
        Duration::from_millis(self.current.server.lame_duck_ms.into())
    }

    /// How long the server takes to end that is asked to, at most.
    pub(super) fn ends_within(&self) -> Duration {
        Duration::from_millis(self.current.ends_within_ms())
    }

    /// Bytes of memory the process may take; 0 for no limit.
    pub(super) fn memory_max(&self) -> u64 {
        self.current.server.memory_max
    }

    /// How long a shard may hang before another process takes the place of this one, if one ever does.
    pub(super) fn replaced_after(&self) -> Option<Duration> {
        let ms = u64::from(self.current.server.shard_replaced_ms);
        (ms > 0).then(|| Duration::from_millis(ms.max(SHARD_DISMISSED_MS)))
    }

    /// What is done about uneven shards.
    pub(super) fn balancing(&self) -> Balancing {
        self.current.server.balance
    }

    /// How long clients have to go.
    pub(super) fn drain(&self) -> Duration {
        Duration::from_millis(self.current.server.drain_ms.into())
    }

    /// What the shards are to be told after the configuration was read again.
    pub(super) fn read_again(&mut self) -> Vec<Command> {
        let Some(reread) = &self.reread else {
            info!("this program has no configuration to read again; certificates are");
            return self.adopt(&self.current.clone());
        };
        match reread() {
            Ok(new) => self.adopt(&new),
            Err(errors) => {
                refuse(&errors);
                Vec::new()
            }
        }
    }

    /// What the shards are to be told of a new configuration, and of the certificates it names.
    pub(super) fn adopt(&mut self, new: &Config) -> Vec<Command> {
        let level = self.current.log.level;
        let mut merged = self.current.clone();
        let changes = match merged.adopt(new, self.shards) {
            Ok(changes) => changes,
            Err(errors) => {
                refuse(&errors);
                return Vec::new();
            }
        };
        let terms = match &mut self.certificates {
            None => None,
            Some(certificates) => match certificates.load_again(&merged.tls) {
                Ok(terms) => Some(terms),
                Err(told) => {
                    refuse(&told);
                    return Vec::new();
                }
            },
        };
        if merged.key_sets() != self.current.key_sets() {
            warn!("a restart is needed to fetch the keys of issuers from other addresses");
        }
        self.current = merged;
        // These lines are seen if they were before, or will be.
        logging::set_level(level.max(self.current.log.level));
        if !changes.put_off.is_empty() {
            warn!("a restart is needed to change {}", changes.put_off.join(", "));
        }
        match changes.made.is_empty() {
            true => info!("the configuration was read again; nothing has changed"),
            false => info!("the configuration was read again; changed: {}", changes.made.join(", ")),
        }
        if let Some(terms) = &terms {
            info!("certificates were read again: {}", terms.names().join(", "));
        }
        logging::set_level(self.current.log.level);
        // The files of keys may hold others by now.
        let is_changed = !changes.made.is_empty() || !self.current.token_key.is_empty();
        let live = is_changed.then(|| Command::Change(Arc::new(self.current.live())));
        live.into_iter().chain(terms.map(Command::Terms)).collect()
    }
}

fn refuse(errors: &impl fmt::Display) {
    let told = errors.to_string().replace('\n', "; ");
    error!("the configuration was read again and is refused; nothing has changed: {told}");
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("current", &self.current).finish_non_exhaustive()
    }
}
