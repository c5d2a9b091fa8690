//! Settings that are read again while the server runs: what changes, what waits for a restart, and saying so.

use std::{fmt, sync::Arc, time::Duration};

use tracing::{error, info, warn};

use crate::{
    config::{Config, ConfigErrors},
    live::Live,
    telemetry::logging,
};

/// Reads the configuration again, from wherever the program took it.
pub type Reread = Box<dyn Fn() -> Result<Config, ConfigErrors> + Send>;

/// The settings in force, and where new ones come from.
pub(super) struct Settings {
    current: Config,
    shards: u16,
    reread: Option<Reread>,
}

impl Settings {
    pub(super) fn new(current: Config, shards: u16, reread: Option<Reread>) -> Self {
        Self { current, shards, reread }
    }

    /// How many connections wait for a listener.
    pub(super) fn backlog(&self) -> u32 {
        self.current.server.backlog
    }

    /// How long the server says that it is not ready before it drains.
    pub(super) fn lame_duck(&self) -> Duration {
        Duration::from_millis(self.current.server.lame_duck_ms.into())
    }

    /// How long clients have to go.
    pub(super) fn drain(&self) -> Duration {
        Duration::from_millis(self.current.server.drain_ms.into())
    }

    /// What the shards are to be told after the configuration was read again, if anything.
    pub(super) fn read_again(&mut self) -> Option<Arc<Live>> {
        let Some(reread) = &self.reread else {
            info!("SIGHUP is ignored: this program has no configuration to read again");
            return None;
        };
        match reread() {
            Ok(new) => self.adopt(&new),
            Err(errors) => {
                refuse(&errors);
                None
            }
        }
    }

    /// What the shards are to be told of a new configuration, if anything.
    pub(super) fn adopt(&mut self, new: &Config) -> Option<Arc<Live>> {
        let level = self.current.log.level;
        let changes = match self.current.adopt(new, self.shards) {
            Ok(changes) => changes,
            Err(errors) => {
                refuse(&errors);
                return None;
            }
        };
        // These lines are seen if they were before, or will be.
        logging::set_level(level.max(self.current.log.level));
        if !changes.put_off.is_empty() {
            warn!("a restart is needed to change {}", changes.put_off.join(", "));
        }
        match changes.made.is_empty() {
            true => info!("the configuration was read again; nothing has changed"),
            false => info!("the configuration was read again; changed: {}", changes.made.join(", ")),
        }
        logging::set_level(self.current.log.level);
        (!changes.made.is_empty()).then(|| Arc::new(self.current.live()))
    }
}

fn refuse(errors: &ConfigErrors) {
    let told = errors.to_string().replace('\n', "; ");
    error!("the configuration was read again and is refused; nothing has changed: {told}");
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("current", &self.current).finish_non_exhaustive()
    }
}
