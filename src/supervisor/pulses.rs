//! Watching that every shard does its turns, and what is done about one that does not.
//!
//! Such a shard hangs in the application, which loops or waits. First whoever waits to be accepted by it is, and is handed to
//! the other shards; and its listeners are shut down, so that new clients come to those. The other shards are told every second,
//! and give up what waits for it. When it does turns again by then, everything is as before. A shard that has no others keeps
//! its clients: nobody else could serve them.
//!
//! Later its clients are taken off it: their connections are closed ([`crate::ring::Attendance`]), and they come back to
//! the other shards, if there are any. Its thread is not replaced within the process: Rust has no way to stop one, which may hold
//! a lock or be half through a change of what it owns, and the others' links to the shard end on it. When it comes back from the
//! application, the shard begins anew on it, as one that has failed does, and what is asked of its channels until then is
//! refused. If it does not come back, and there is a keeper, another process takes the place of this one: it goes on with what
//! the other shards have (`watch.rs`).
//!
//! What counts connections by address or by user counts those of such a shard until it begins anew.

use std::{
    io,
    net::Shutdown,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef};
use tracing::{error, info, warn};

use super::{
    balance::{Balance, Order, Turn},
    steering::Steering,
};
use crate::{
    config::Balancing,
    limits::{SHARD_DISMISSED_MS, SHARD_SILENT_MS},
    mesh::{Pulse, Queued, QueuedConnection},
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
    /// How often they have been looked at.
    pub(super) looks: u64,
    /// When the first look at them was.
    begun: Option<Instant>,
    backlog: i32,
    /// Connections that have waited for a shard that does no turns.
    queued: Vec<QueuedConnection>,
    balance: Balance,
    steering: Steering,
}

/// One shard.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) pulse: Arc<Pulse>,
    /// Those of its listening sockets that are its alone, and their places among all of them.
    pub(super) listeners: Vec<(usize, Arc<OwnedFd>)>,
    /// What it had written when it last had written something new, and when that was seen.
    turns: u64,
    since: Instant,
    /// Whether its clients have been taken off it since.
    is_dismissed: bool,
}

impl Watched {
    pub(super) fn new(pulse: Arc<Pulse>, listeners: impl Iterator<Item = (usize, Arc<OwnedFd>)>) -> Self {
        // A Unix socket is the same for all shards.
        let is_own = |(_, socket): &(usize, Arc<OwnedFd>)| {
            SockRef::from(&**socket).local_addr().is_ok_and(|address| address.domain() != Domain::UNIX)
        };
        let listeners = listeners.filter(is_own).collect();
        Self { pulse, listeners, turns: 0, since: Instant::now(), is_dismissed: false }
    }

    fn sockets(&self) -> impl Iterator<Item = &Arc<OwnedFd>> {
        self.listeners.iter().map(|(_, socket)| socket)
    }
}

impl Pulses {
    pub(super) fn new(shards: Vec<Watched>, backlog: u32) -> Self {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        let sockets: Vec<Vec<_>> = shards.iter().map(|watched| watched.sockets().collect()).collect();
        let steering = Steering::new(&sockets);
        Self { shards, backlog, steering, ..Self::default() }
    }

    /// Two shards, of which the second does no turns, and has done none for so long.
    #[cfg(test)]
    pub(super) fn of_two(time: Duration) -> Self {
        let watched = || Watched::new(Arc::default(), std::iter::empty());
        let since = Instant::now().checked_sub(time).expect("this machine has been up for longer");
        Self::new(vec![watched(), Watched { since, ..watched() }], 1)
    }

    /// They are to be looked at at once.
    #[cfg(test)]
    pub(super) fn look_again(&mut self) {
        self.checked = Instant::now().checked_sub(PERIOD);
    }

    /// When to look again; never when there is nothing to look at.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let first = || self.shards.first().map(|first| first.since);
        self.checked.or_else(first).map(|checked| checked + PERIOD)
    }

    /// Connections that have waited for a shard that does no turns, for the others, if there are any.
    pub(super) fn take_queued(&mut self) -> Option<Queued> {
        let others = self.shards.len() - self.silent.iter().count();
        let queued = std::mem::take(&mut self.queued);
        (!queued.is_empty()).then(|| Queued::new(queued, others))
    }

    /// Whether a shard has done no turn for so long.
    pub(super) fn hangs(&self, shard: ShardId, time: Duration, now: Instant) -> bool {
        let watched = self.shards.get(usize::from(shard.0)).filter(|_| self.silent.contains(shard));
        watched.is_some_and(|watched| now.duration_since(watched.since) >= time)
    }

    /// Looks at the shards that run; which do no turns, when the others have to be told.
    pub(super) fn check(&mut self, now: Instant, runs: impl Fn(ShardId) -> bool) -> Option<ShardSet> {
        // When the process was stopped or the machine asleep, no shard could do turns either.
        let was_away = self.checked.is_some_and(|checked| now.duration_since(checked) > 2 * PERIOD);
        self.checked = Some(now);
        self.looks += 1;
        let had_silent = !self.silent.is_empty();
        let has_others = self.shards.len() > 1;
        for (watched, id) in self.shards.iter_mut().zip((0..).map(ShardId)) {
            let turns = watched.pulse.turns();
            if turns != watched.turns || was_away || !runs(id) {
                (watched.turns, watched.since, watched.is_dismissed) = (turns, now, false);
                if !was_away && self.silent.remove(id) {
                    info!(shard = id.0, "the shard does turns again");
                    watched.listen(self.backlog);
                    self.steering.come_back(id.0.into());
                }
            } else if now.duration_since(watched.since).as_millis() as u64 >= SHARD_SILENT_MS
                && self.silent.insert(id)
            {
                error!(
                    shard = id.0,
                    turns,
                    "the shard has done no turn for {SHARD_SILENT_MS} ms: a handler of it hangs, or loops"
                );
                if has_others {
                    watched.turn_away(&mut self.queued);
                }
                self.steering.leave(id.0.into());
            }
            if has_others {
                watched.dismiss_if_overdue(id, now);
            }
        }
        (had_silent || !self.silent.is_empty()).then_some(self.silent)
    }

    /// Has new connections come to the shards with fewer, once it is known which do their turns.
    pub(super) fn level(&mut self, runs: impl Fn(ShardId) -> bool, balancing: Balancing) {
        let Some(checked) = self.checked else { return };
        let serves = |id| balancing != Balancing::Off && runs(id) && !self.silent.contains(id);
        let loads = self.shards.iter().zip((0..).map(ShardId));
        let loads: Vec<_> = loads.map(|(watched, id)| serves(id).then(|| watched.pulse.load())).collect();
        let now_ms = checked.duration_since(*self.begun.get_or_insert(checked)).as_millis() as u64;
        let decision = self.balance.check(now_ms, &loads, balancing == Balancing::Live);
        self.steering.obey(&decision, self.shards.iter().map(|watched| &*watched.pulse));
        self.move_some(&decision.order);
    }
}

impl Pulses {
    /// Has live connections go from one shard to another.
    fn move_some(&mut self, order: &Order) {
        match order.turn {
            Some(Turn::Begun) => {
                info!("live connections go to shards with less to do from now on (server.balance)");
            }
            Some(Turn::Settled) => info!("the shards are level: no live connection goes to another any more"),
            Some(Turn::GivenUp) => {
                info!(
                    "no live connection goes to another shard any more: it was of no use, or not all shards serve"
                );
            }
            None => {}
        }
        for (shard, watched) in self.shards.iter().enumerate() {
            let moves = order.moves.filter(|(from, _)| *from == shard).map(|(_, moves)| moves);
            if moves.is_some() || order.turn.is_some() {
                watched.pulse.order(moves);
            }
        }
    }
}

impl Watched {
    /// Accepts who waits in the shard's place, and has new clients come to other shards.
    fn turn_away(&self, queued: &mut Vec<QueuedConnection>) {
        for (place, listener) in &self.listeners {
            let listener = SockRef::from(&**listener);
            if let Err(error) = accept_all(&listener, *place, queued) {
                warn!("clients that waited for the shard are lost: {error}");
            }
            if let Err(error) = listener.shutdown(Shutdown::Read) {
                warn!("new clients still come to the shard: {error}");
            }
        }
    }

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

    fn listen(&self, backlog: i32) {
        for (_, listener) in &self.listeners {
            if let Err(error) = SockRef::from(&**listener).listen(backlog) {
                warn!("new clients still go to other shards: {error}");
            }
        }
    }
}

/// Accepts who waits at a listener that nobody else accepts from, for as long as there are descriptors.
fn accept_all(listener: &SockRef<'_>, place: usize, queued: &mut Vec<QueuedConnection>) -> io::Result<()> {
    // Should the shard come back, its accepts wait for a while.
    listener.set_nonblocking(true)?;
    let accepted = loop {
        match listener.accept() {
            Ok((socket, address)) => {
                let address = address.as_socket();
                queued.push(QueuedConnection { listener: place, socket: socket.into(), address });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
            // Its client has gone (accept(2)).
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => break Err(error),
        }
    };
    listener.set_nonblocking(false)?;
    accepted
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
        let check = |all: &mut Pulses, second: u64, turns: [u64; 2]| {
            pulses.iter().zip(turns).for_each(|(pulse, turns)| pulse.beat(turns));
            let silent = all.check(began + Duration::from_secs(second), |_| true);
            silent.map(|silent| silent.iter().map(|shard| shard.0).collect::<Vec<_>>())
        };
        assert_eq!(check(&mut all, 1, [1, 1]), None);
        assert_eq!(check(&mut all, 2, [2, 1]), None);
        assert_eq!(check(&mut all, 3, [3, 1]), None);
        assert_eq!(check(&mut all, 4, [4, 1]), Some(vec![1]));
        assert_eq!(check(&mut all, 5, [5, 1]), Some(vec![1]), "told again, for what has begun since");
        let hangs = |all: &Pulses, shard, time_s, second| {
            all.hangs(ShardId(shard), Duration::from_secs(time_s), began + Duration::from_secs(second))
        };
        assert!(hangs(&all, 1, 4, 5) && !hangs(&all, 1, 5, 5) && !hangs(&all, 0, 0, 5));
        assert_eq!(check(&mut all, 6, [6, 2]), Some(vec![]), "and told once that it is over");
        assert_eq!(check(&mut all, 7, [7, 3]), None);
        assert_eq!(check(&mut all, 60, [7, 3]), None, "nobody could do turns while the machine slept");
        assert_eq!(check(&mut all, 61, [8, 3]), None);
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
