//! Whether the process takes nearly as much memory as it may (`server.memory_max`): then newcomers are refused, for whoever is
//! there already is better served than by the end of the process.
//!
//! ```text
//!           85 % of it                      newcomers: 503
//!   enough ───────────► scarce: told, logged ─────────────► below 80 %: told, logged ─► enough
//! ```

use tracing::{info, warn};

use crate::{mesh::Command, telemetry::process::resident_bytes};

/// From this part of what it may take on, memory is scarce.
const SCARCE_PERCENT: u128 = 85;
/// Below this part it is so no more.
const ENOUGH_PERCENT: u128 = 80;

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Memory {
    is_scarce: bool,
    /// It could not be seen, and the log says so.
    is_unseen: bool,
}

impl Memory {
    /// Looks at what the process takes, which may take so much (0 for no limit); what the shards are to be told, if anything.
    pub(super) fn check(&mut self, bytes_max: u64) -> Option<Command> {
        if bytes_max == 0 && !self.is_scarce {
            return None;
        }
        match resident_bytes() {
            Ok(bytes) => self.judge(bytes, bytes_max),
            Err(error) => {
                if !std::mem::replace(&mut self.is_unseen, true) {
                    warn!("nobody is refused for want of memory: /proc/self/status cannot be read: {error}");
                }
                None
            }
        }
    }

    fn judge(&mut self, bytes: u64, bytes_max: u64) -> Option<Command> {
        let bound = if self.is_scarce { ENOUGH_PERCENT } else { SCARCE_PERCENT };
        let is_scarce = bytes_max > 0 && u128::from(bytes) * 100 >= u128::from(bytes_max) * bound;
        if is_scarce == self.is_scarce {
            return None;
        }
        self.is_scarce = is_scarce;
        match is_scarce {
            true => warn!(
                bytes,
                bytes_max,
                "memory is scarce (server.memory_max): newcomers are answered with 503 until {ENOUGH_PERCENT} % of it is enough"
            ),
            false => info!(bytes, bytes_max, "there is memory again: newcomers are let in"),
        }
        Some(Command::Memory { is_scarce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_scarce_from_85_percent_on_until_it_is_below_80_and_each_is_told_once() {
        let mut memory = Memory::default();
        let told = [84, 85, 90, 80, 79, 84, 85].map(|bytes| memory.judge(bytes, 100));
        let (scarce, enough) = (Command::Memory { is_scarce: true }, Command::Memory { is_scarce: false });
        assert_eq!(told, [None, Some(scarce.clone()), None, None, Some(enough.clone()), None, Some(scarce)]);
        assert_eq!(memory.judge(90, 0), Some(enough), "there is no limit any more");
        assert_eq!(memory.check(0), None);
    }

    #[test]
    fn what_the_process_takes_is_seen() {
        let bytes = resident_bytes().expect("it is a file of the kernel");
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
        assert!(Memory::default().check(1).is_some());
        assert!(Memory::default().check(u64::MAX).is_none());
    }
}
