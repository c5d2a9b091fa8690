//! The accepts of a shard: which are in flight, which wait, and for what.
//!
//! ```text
//!                 ┌─ a shortage, or no slot: for SHORTAGE_PAUSE_MS ─┐
//!                 ▼                                                 │
//!   idle ─arm─► in flight, with a slot ─► landed ─┬─ a connection ──┴─► idle
//!    ▲ │                                          └─ no more clients are accepted ─► gone
//!    └─┘ TLS is spoken there, and too many hellos wait
//! ```
//!
//! What becomes of a connection that has come is [`super::accept`]'s.
//!
//! Invariant: an accept is idle, or in flight with a slot of its own, or its listener's clients are accepted no more.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use super::{
    addresses::Entering,
    setup::{Listener, Role},
};
use crate::{
    limits::ACCEPTS_PER_LISTENER,
    ring::{AcceptId, Errno},
};

/// How long accepting pauses after the system ran out of descriptors or memory.
pub(super) const SHORTAGE_PAUSE_MS: u64 = 100;
/// How often a shortage is logged.
const SHORTAGE_LOG_MS: u64 = 10_000;

/// The accepts of a shard: each waits for one connection of one listener.
pub(super) struct Acceptors {
    listeners: Vec<Listener>,
    /// The slot each accept in flight has reserved.
    slots: Vec<Option<u32>>,
    idle: Vec<AcceptId>,
    resume_ms: u64,
    logged_ms: Option<u64>,
    /// The server will end, but serves on.
    is_leaving: bool,
    /// The process takes nearly as much memory as it may.
    is_memory_scarce: bool,
    /// No client is accepted any more; operators are.
    is_ended: bool,
    /// Open connections of operators.
    operators: u32,
    /// Some accepts wait until fewer hellos do.
    are_held: bool,
}

/// A connection that has just come, from a listener or from another shard.
pub(super) struct Arrival {
    pub(super) peer: Option<SocketAddr>,
    pub(super) is_admin: bool,
    /// It speaks TLS, or is about to.
    pub(super) speaks_tls: bool,
    /// It is to be sent to a listener that does.
    pub(super) is_redirected: bool,
    pub(super) entering: Entering,
    /// Told in HTTP why it may not stay; one that has become a WebSocket is closed.
    pub(super) speaks_http: bool,
    /// A proxy has opened it, and has not said for whom.
    pub(super) is_unnamed: bool,
}

/// Why an accept has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The system lacks something; it is to be logged, or not again so soon.
    Shortage { errno: Errno, is_logged: bool },
    /// It was cancelled, its listener has been shut down, or its client has gone.
    Otherwise,
}

impl Listener {
    /// A connection that has come to it.
    fn arrival(&self, peer: Option<SocketAddr>) -> Arrival {
        let is_admin = self.role == Role::Admin;
        Arrival {
            peer,
            is_admin,
            speaks_tls: self.speaks_tls,
            is_redirected: self.role == Role::Redirect,
            entering: if is_admin { Entering::Uncounted } else { Entering::Client },
            speaks_http: true,
            is_unnamed: false,
        }
    }
}

impl Acceptors {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        let count = listeners.len() as u32 * ACCEPTS_PER_LISTENER;
        Self {
            listeners,
            slots: vec![None; count as usize],
            idle: (0..count).rev().map(AcceptId).collect(),
            resume_ms: 0,
            logged_ms: None,
            is_leaving: false,
            is_memory_scarce: false,
            is_ended: false,
            operators: 0,
            are_held: false,
        }
    }

    /// The shard begins anew: no accept is in flight, and no connection open. What it has been told to do stays.
    pub(super) fn begin_anew(&mut self) {
        self.slots.fill(None);
        self.resume_ms = 0;
        self.operators = 0;
        let wanted = (0..self.slots.len() as u32).rev().map(AcceptId);
        self.idle = wanted.filter(|accept| self.is_wanted(*accept)).collect();
    }

    /// Puts idle accepts in flight, as far as there are slots: those of listeners with TLS only while no more hellos wait than
    /// may.
    pub(super) fn arm(
        &mut self,
        now_ms: u64,
        is_overrun: bool,
        mut reserve: impl FnMut() -> Option<u32>,
        mut accept: impl FnMut(AcceptId, &Arc<OwnedFd>, u32),
    ) {
        self.are_held = false;
        if !self.are_paused() || now_ms < self.resume_ms {
            return;
        }
        for place in (0..self.idle.len()).rev() {
            let id = self.idle[place];
            if is_overrun && self.listener(id).speaks_tls {
                self.are_held = true;
                continue;
            }
            let Some(index) = reserve() else {
                self.resume_ms = now_ms + SHORTAGE_PAUSE_MS;
                return;
            };
            self.idle.swap_remove(place);
            accept(id, &self.listener(id).socket, index);
            self.slots[id.0 as usize] = Some(index);
        }
    }

    /// An accept is in flight no more: the connection that has come.
    pub(super) fn land(
        &mut self,
        accept: AcceptId,
        result: Result<Option<SocketAddr>, Errno>,
        now_ms: u64,
    ) -> Result<Arrival, Failed> {
        self.slots[accept.0 as usize] = None;
        if self.is_wanted(accept) {
            self.idle.push(accept);
        }
        let errno = match result {
            Ok(peer) => return Ok(self.listener(accept).arrival(peer)),
            Err(errno) => errno,
        };
        // One that does not listen has been shut down by the supervisor while this shard hung, and will listen again.
        if errno.is_shortage() || errno.is_not_listening() {
            self.resume_ms = now_ms + SHORTAGE_PAUSE_MS;
        }
        if !errno.is_shortage() {
            return Err(Failed::Otherwise);
        }
        let is_logged = self.logged_ms.is_none_or(|logged| now_ms - logged >= SHORTAGE_LOG_MS);
        if is_logged {
            self.logged_ms = Some(now_ms);
        }
        Err(Failed::Shortage { errno, is_logged })
    }

    /// A connection that has come to a listener of this number elsewhere.
    pub(super) fn arrival_at(&self, listener: usize, peer: Option<SocketAddr>) -> Option<Arrival> {
        self.listeners.get(listener).map(|listener| listener.arrival(peer))
    }

    /// No client is accepted any more; operators are. `cancel` is told the accepts in flight that are not wanted any more, and
    /// their slots. The listeners whose clients are accepted no more.
    pub(super) fn end(&mut self, mut cancel: impl FnMut(AcceptId, u32)) -> impl Iterator<Item = &Listener> {
        self.is_ended = true;
        self.in_flight().filter(|(accept, _)| !self.is_wanted(*accept)).for_each(|(id, at)| cancel(id, at));
        let idle = std::mem::take(&mut self.idle);
        self.idle = idle.into_iter().filter(|accept| self.is_wanted(*accept)).collect();
        self.listeners.iter().filter(|listener| listener.role != Role::Admin)
    }

    /// Whether no client is being accepted any more.
    pub(super) fn have_ended(&self) -> bool {
        self.in_flight().all(|(accept, _)| self.is_wanted(accept))
    }

    /// Accepts in flight, and their slots.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (AcceptId, u32)> {
        let slots = (0..).map(AcceptId).zip(&self.slots);
        slots.filter_map(|(accept, slot)| slot.map(|index| (accept, index)))
    }

    /// Whether some accepts wait for better times.
    pub(super) fn are_paused(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Whether some accepts wait until fewer hellos do, which is so now unless too many still do.
    pub(super) fn may_go_on(&self, is_overrun: bool) -> bool {
        self.are_held && !is_overrun
    }

    /// From now on the shard says that it is not ready.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Whether newcomers are refused from now on, for want of memory.
    pub(super) fn note_memory(&mut self, is_scarce: bool) {
        self.is_memory_scarce = is_scarce;
    }

    /// Whether newcomers are refused for want of memory.
    pub(super) fn is_memory_scarce(&self) -> bool {
        self.is_memory_scarce
    }

    /// Whether the shard says that it is not ready.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// An operator has come.
    pub(super) fn let_operator_in(&mut self) {
        self.operators += 1;
    }

    /// An operator has gone.
    pub(super) fn let_operator_out(&mut self) {
        self.operators -= 1;
    }

    /// Open connections of operators.
    pub(super) fn operators(&self) -> u32 {
        self.operators
    }

    /// Whether an accept may be put in flight.
    fn is_wanted(&self, accept: AcceptId) -> bool {
        !self.is_ended || self.listener(accept).role == Role::Admin
    }

    fn listener(&self, accept: AcceptId) -> &Listener {
        &self.listeners[(accept.0 / ACCEPTS_PER_LISTENER) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs::File};

    use super::*;

    const EACH: usize = ACCEPTS_PER_LISTENER as usize;

    /// A shard's accepts, its slots, and what is in flight in the kernel.
    struct Rig {
        acceptors: Acceptors,
        /// Free slots.
        free: Vec<u32>,
        in_flight: BTreeMap<u32, u32>,
    }

    impl Rig {
        /// With a listener of clients, one of operators, and one of clients that speak TLS.
        fn new(slots: u32) -> Self {
            let listener = |role, speaks_tls| Listener {
                socket: Arc::new(File::open("/dev/null").expect("it is there").into()),
                role,
                address: String::new(),
                speaks_tls,
                is_passed: false,
            };
            let roles = [(Role::Public, false), (Role::Admin, false), (Role::Public, true)];
            let listeners = roles.map(|(role, speaks_tls)| listener(role, speaks_tls)).into();
            Self {
                acceptors: Acceptors::new(listeners),
                free: (0..slots).rev().collect(),
                in_flight: BTreeMap::new(),
            }
        }

        /// How many are put in flight.
        fn arm(&mut self, now_ms: u64, is_overrun: bool) -> usize {
            let (before, in_flight) = (self.in_flight.len(), &mut self.in_flight);
            self.acceptors.arm(
                now_ms,
                is_overrun,
                || self.free.pop(),
                |accept, _, index| assert_eq!(in_flight.insert(accept.0, index), None),
            );
            let noted: Vec<_> = self.acceptors.in_flight().map(|(accept, index)| (accept.0, index)).collect();
            assert_eq!(noted, self.in_flight.clone().into_iter().collect::<Vec<_>>());
            self.in_flight.len() - before
        }

        /// The first in flight of a listener lands.
        fn land(&mut self, listener: u32, errno: Option<i32>, now_ms: u64) -> Result<Arrival, Failed> {
            let first = listener * ACCEPTS_PER_LISTENER;
            let mut of = self.in_flight.range(first..first + ACCEPTS_PER_LISTENER);
            let (accept, index) = of.next().map(|(accept, index)| (*accept, *index)).expect("one is");
            self.in_flight.remove(&accept);
            self.free.push(index);
            let result = errno.map_or(Ok(None), |errno| Err(Errno(errno)));
            self.acceptors.land(AcceptId(accept), result, now_ms)
        }
    }

    #[test]
    fn every_accept_that_lands_is_put_in_flight_again() {
        let mut rig = Rig::new(1_000);
        assert_eq!((rig.arm(0, false), rig.arm(0, false)), (3 * EACH, 0));
        let came = [0, 1, 2]
            .map(|listener| rig.land(listener, None, 0).unwrap_or_else(|failed| panic!("{failed:?}")));
        assert_eq!(
            came.map(|one| (one.is_admin, one.speaks_tls)),
            [(false, false), (true, false), (false, true)]
        );
        assert_eq!(rig.land(0, Some(libc::ECONNABORTED), 0).err(), Some(Failed::Otherwise));
        assert!(rig.acceptors.are_paused());
        assert_eq!((rig.arm(0, false), rig.acceptors.are_paused()), (4, false));
    }

    #[test]
    fn a_shortage_pauses_all_for_a_while_and_is_logged_once_in_a_while() {
        let mut rig = Rig::new(1_000);
        rig.arm(0, false);
        let short = |errno, is_logged| Some(Failed::Shortage { errno: Errno(errno), is_logged });
        assert_eq!(rig.land(0, Some(libc::EMFILE), 50).err(), short(libc::EMFILE, true));
        assert_eq!(rig.land(0, Some(libc::ENOMEM), 60).err(), short(libc::ENOMEM, false));
        assert_eq!(
            (rig.arm(60 + SHORTAGE_PAUSE_MS - 1, false), rig.arm(60 + SHORTAGE_PAUSE_MS, false)),
            (0, 2)
        );
        assert_eq!(rig.land(0, Some(libc::ENFILE), 50 + SHORTAGE_LOG_MS).err(), short(libc::ENFILE, true));
        // The supervisor lets it listen again.
        let mut rig = Rig::new(1_000);
        rig.arm(0, false);
        assert_eq!(rig.land(0, Some(libc::EINVAL), 0).err(), Some(Failed::Otherwise));
        assert_eq!((rig.arm(SHORTAGE_PAUSE_MS - 1, false), rig.arm(SHORTAGE_PAUSE_MS, false)), (0, 1));
    }

    #[test]
    fn accepts_for_which_there_is_no_slot_wait_for_a_while_and_are_not_lost() {
        let mut rig = Rig::new(5);
        assert_eq!(rig.arm(0, false), 5);
        rig.free.extend(100..200);
        assert_eq!(rig.arm(SHORTAGE_PAUSE_MS - 1, false), 0, "slots are not looked for in each turn");
        assert_eq!(rig.arm(SHORTAGE_PAUSE_MS, false), 3 * EACH - 5);
    }

    #[test]
    fn while_too_many_hellos_wait_only_those_are_accepted_who_say_none() {
        let mut rig = Rig::new(1_000);
        assert_eq!(rig.arm(0, true), 2 * EACH);
        assert!(!rig.acceptors.may_go_on(true) && rig.acceptors.may_go_on(false));
        assert_eq!((rig.arm(0, false), rig.acceptors.may_go_on(false)), (EACH, false));
    }

    #[test]
    fn operators_are_accepted_to_the_last_and_by_a_shard_that_begins_anew() {
        let mut rig = Rig::new(1_000);
        rig.arm(0, false);
        drop(rig.land(0, None, 0));
        let mut cancelled = Vec::new();
        assert_eq!(rig.acceptors.end(|accept, index| cancelled.push((accept.0, index))).count(), 2);
        assert_eq!((cancelled.len(), rig.acceptors.have_ended()), (2 * EACH - 1, false));
        assert_eq!(rig.arm(0, false), 0, "who was idle is not wanted");
        for (accept, _) in cancelled {
            let listener = accept / ACCEPTS_PER_LISTENER;
            assert!(rig.land(listener, Some(libc::ECANCELED), 0).is_err());
        }
        assert!(rig.acceptors.have_ended() && !rig.acceptors.are_paused());
        assert!(rig.land(1, None, 0).is_ok_and(|arrival| arrival.is_admin));
        assert_eq!(rig.arm(0, false), 1);
        rig.acceptors.let_operator_in();
        rig.acceptors.begin_anew();
        rig.in_flight.clear();
        assert_eq!((rig.arm(0, false), rig.acceptors.operators()), (EACH, 0));
        assert!(rig.acceptors.have_ended());
    }
}
