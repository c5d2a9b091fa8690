//! Watching that every shard does its turns, and what is done about one that does not.
//!
//! Such a shard hangs in the application, which loops or waits. First its listeners are shut down, and new clients come to
//! the other shards; the kernel moves those that wait already, too, where `net.ipv4.tcp_migrate_req` is set. The other shards
//! are told every second, and give up what waits for it. When it does turns again by then, everything is as before.
//!
//! Later its clients are taken off it: their connections are closed ([`crate::ring::Attendance`]), and they come back to
//! the other shards, if there are any. Its thread is not replaced: Rust has no way to stop one, which may hold a lock or be
//! half through a change of what it owns, and the others' links to the shard end on it. When it comes back from the
//! application, the shard begins anew on it, as one that has failed does, and what is asked of its channels until then is
//! refused.
//!
//! What counts connections by address or by user counts those of such a shard until it begins anew.

use std::{
    net::Shutdown,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef};
use tracing::{error, info, warn};

use crate::{
    limits::{SHARD_DISMISSED_MS, SHARD_SILENT_MS},
    mesh::Pulse,
    model::{ShardId, ShardSet},
};

/// How often the shards are looked at, and those that live told of those that do not.
const PERIOD: Duration = Duration::from_secs(1);

/// The pulses of all shards.
#[derive(Debug, Default)]
pub(super) struct Pulses {
    shards: Vec<Watched>,
    silent: ShardSet,
    checked: Option<Instant>,
    backlog: i32,
}

/// One shard.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) pulse: Arc<Pulse>,
    /// Those of its listening sockets that are its alone.
    pub(super) listeners: Vec<Arc<OwnedFd>>,
    /// What it had written when it last had written something new, and when that was seen.
    turns: u64,
    since: Instant,
    /// Whether its clients have been taken off it since.
    is_dismissed: bool,
}

impl Watched {
    pub(super) fn new(pulse: Arc<Pulse>, listeners: impl Iterator<Item = Arc<OwnedFd>>) -> Self {
        // A Unix socket is the same for all shards.
        let is_own = |socket: &Arc<OwnedFd>| {
            SockRef::from(&**socket).local_addr().is_ok_and(|address| address.domain() != Domain::UNIX)
        };
        let listeners = listeners.filter(is_own).collect();
        Self { pulse, listeners, turns: 0, since: Instant::now(), is_dismissed: false }
    }
}

impl Pulses {
    pub(super) fn new(shards: Vec<Watched>, backlog: u32) -> Self {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        Self { shards, silent: ShardSet::default(), checked: None, backlog }
    }

    /// When to look again; never when there is nothing to look at.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let first = || self.shards.first().map(|first| first.since);
        self.checked.or_else(first).map(|checked| checked + PERIOD)
    }

    /// Looks at the shards that run; which do no turns, when the others have to be told.
    pub(super) fn check(&mut self, now: Instant, runs: impl Fn(ShardId) -> bool) -> Option<ShardSet> {
        // When the process was stopped or the machine asleep, no shard could do turns either.
        let was_away = self.checked.is_some_and(|checked| now.duration_since(checked) > 2 * PERIOD);
        self.checked = Some(now);
        let had_silent = !self.silent.is_empty();
        let has_others = self.shards.len() > 1;
        for (watched, id) in self.shards.iter_mut().zip((0..).map(ShardId)) {
            let turns = watched.pulse.turns();
            if turns != watched.turns || was_away || !runs(id) {
                (watched.turns, watched.since, watched.is_dismissed) = (turns, now, false);
                if !was_away && self.silent.remove(id) {
                    info!(shard = id.0, "the shard does turns again");
                    watched.listen(self.backlog);
                }
            } else if now.duration_since(watched.since).as_millis() as u64 >= SHARD_SILENT_MS
                && self.silent.insert(id)
            {
                error!(
                    shard = id.0,
                    turns,
                    "the shard has done no turn for {SHARD_SILENT_MS} ms: a handler of it hangs, or loops"
                );
                watched.turn_away();
            }
            if has_others {
                watched.dismiss_if_overdue(id, now);
            }
        }
        (had_silent || !self.silent.is_empty()).then_some(self.silent)
    }
}

impl Watched {
    /// Takes the clients off a shard whose thread has been in the application for too long.
    fn dismiss_if_overdue(&mut self, shard: ShardId, now: Instant) {
        let silent_ms = now.duration_since(self.since).as_millis() as u64;
        if silent_ms >= SHARD_DISMISSED_MS && !self.is_dismissed {
            self.is_dismissed = self.pulse.attendance().dismiss();
            if self.is_dismissed {
                error!(
                    shard = shard.0,
                    "the clients of the shard are taken off it; it begins anew when its handler comes back"
                );
            }
        }
    }

    /// Has new clients come to other shards.
    fn turn_away(&self) {
        for listener in &self.listeners {
            if let Err(error) = SockRef::from(&**listener).shutdown(Shutdown::Read) {
                warn!("new clients still come to the shard: {error}");
            }
        }
    }

    fn listen(&self, backlog: i32) {
        for listener in &self.listeners {
            if let Err(error) = SockRef::from(&**listener).listen(backlog) {
                warn!("new clients still go to other shards: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_without_turns_is_silent_until_it_does_one() {
        let pulses = [(); 2].map(|()| Arc::<Pulse>::default());
        let watched = pulses.iter().map(|pulse| Watched::new(Arc::clone(pulse), std::iter::empty()));
        let mut all = Pulses::new(watched.collect(), 1);
        let began = Instant::now();
        let mut check = |second: u64, turns: [u64; 2]| {
            pulses.iter().zip(turns).for_each(|(pulse, turns)| pulse.beat(turns));
            let silent = all.check(began + Duration::from_secs(second), |_| true);
            silent.map(|silent| silent.iter().map(|shard| shard.0).collect::<Vec<_>>())
        };
        assert_eq!(check(1, [1, 1]), None);
        assert_eq!(check(2, [2, 1]), None);
        assert_eq!(check(3, [3, 1]), None);
        assert_eq!(check(4, [4, 1]), Some(vec![1]));
        assert_eq!(check(5, [5, 1]), Some(vec![1]), "told again, for what has begun since");
        assert_eq!(check(6, [6, 2]), Some(vec![]), "and told once that it is over");
        assert_eq!(check(7, [7, 3]), None);
        assert_eq!(check(60, [7, 3]), None, "nobody could do turns while the machine slept");
        assert_eq!(check(61, [8, 3]), None);
    }

    #[test]
    fn a_shard_that_has_ended_is_not_silent() {
        let watched = Watched::new(Arc::default(), std::iter::empty());
        let mut all = Pulses::new(vec![watched], 1);
        let began = Instant::now();
        for second in 1..9 {
            assert_eq!(all.check(began + Duration::from_secs(second), |_| false), None);
        }
    }
}
