//! What an operator asks for that is done by the supervisor or the keeper.

use super::{Context, Intent};

impl Context<'_> {
    /// Has the configuration and the certificates read again, as SIGHUP does; the log tells what has changed.
    pub fn reload(&mut self) {
        self.push(Intent::Reload);
    }

    /// Has the program that stands now where this one stood take its place, as SIGUSR2 does; without a keeper nothing
    /// happens, and the log says so.
    pub fn upgrade(&mut self) {
        self.push(Intent::Upgrade);
    }
}
