//! Sends new connections to the shards that are to have them: what [`super::balance`] decides is said to the kernel here.
//!
//! The kernel knows the sockets of a port by their places, in the order in which they began to listen. One that stops leaves its
//! place to the last, and is the last when it listens again (`reuseport_detach_sock`, `reuseport_add_sock` in net/core/sock_reuseport.c).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use tracing::{info, warn};

use super::balance::Decision;
use crate::{
    mesh::Pulse,
    ring::{steer, stop_steering},
};

/// The ports of the process.
#[derive(Debug, Default)]
pub(super) struct Steering {
    /// For each port the socket of each shard.
    ports: Vec<Vec<Arc<OwnedFd>>>,
    /// The shard in each place.
    places: Vec<usize>,
    parts: Option<Vec<u32>>,
    /// The kernel has been told something: it may have been told something else by a process that served on these sockets before.
    has_spoken: bool,
    /// Nobody is sent anywhere, and the log says why.
    is_off: bool,
}

impl Steering {
    /// Of shards with these sockets, each with as many.
    pub(super) fn new(sockets: &[Vec<&Arc<OwnedFd>>]) -> Self {
        let count = sockets.iter().map(Vec::len).min().unwrap_or(0);
        let port = |at| sockets.iter().map(|own| Arc::clone(own[at])).collect();
        let places = (0..sockets.len()).collect();
        Self { ports: (0..count).map(port).collect(), places, ..Self::default() }
    }

    /// A shard listens no more.
    pub(super) fn leave(&mut self, shard: usize) {
        if let Some(place) = self.places.iter().position(|other| *other == shard) {
            self.places.swap_remove(place);
        }
    }

    /// A shard listens again.
    pub(super) fn come_back(&mut self, shard: usize) {
        self.leave(shard);
        self.places.push(shard);
    }

    /// Has new connections come as was decided; each shard is told.
    pub(super) fn obey<'a>(&mut self, decision: &Decision, pulses: impl Iterator<Item = &'a Pulse>) {
        if decision.is_in_vain && !std::mem::replace(&mut self.is_off, true) {
            warn!(
                "new connections do not come to the shards they are sent to: the kernel spreads them from now on (server.balance)"
            );
        }
        let parts = decision.parts.as_ref().filter(|_| !self.is_off && !self.ports.is_empty());
        if !std::mem::replace(&mut self.has_spoken, true) || self.parts.as_ref() != parts {
            self.say(parts.cloned());
        }
        let all = self.parts.iter().flatten().map(|part| u64::from(*part)).sum::<u64>().max(1);
        for (shard, pulse) in pulses.enumerate() {
            let part = self.parts.as_ref().map_or(0, |parts| u64::from(parts[shard]));
            pulse.steer((part * 1000 / all) as u32);
        }
    }

    fn say(&mut self, parts: Option<Vec<u32>>) {
        match (&self.parts, &parts) {
            (None, Some(_)) => info!("new connections go to the shards with fewer (server.balance)"),
            (Some(_), None) => info!("the kernel spreads new connections again (server.balance)"),
            _ => {}
        }
        let told = match &parts {
            Some(parts) => {
                let by_place: Vec<_> = self.places.iter().map(|shard| parts[*shard]).collect();
                self.tell(|socket| steer(socket, &by_place))
            }
            None => self.tell(stop_steering),
        };
        self.parts = parts;
        if let Err(error) = told {
            warn!("the kernel spreads new connections by itself, whatever server.balance says: {error}");
            (self.parts, self.is_off) = (None, true);
            // Some ports may have been told.
            self.tell(stop_steering).ok();
        }
    }

    /// Tells the kernel of all ports, by one socket of each; the first refusal, if there is one.
    fn tell(&self, what: impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        let Some(first) = self.places.first() else { return Ok(()) };
        let told: Vec<_> = self.ports.iter().map(|port| what(port[*first].as_fd())).collect();
        told.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_listens_again_has_the_last_place_and_the_last_one_its_own() {
        let mut steering = Steering::new(&[const { Vec::new() }; 4]);
        steering.leave(1);
        assert_eq!(steering.places, [0, 3, 2]);
        steering.leave(0);
        steering.leave(0);
        assert_eq!(steering.places, [2, 3]);
        steering.come_back(1);
        steering.come_back(0);
        assert_eq!(steering.places, [2, 3, 1, 0]);
    }

    #[test]
    fn what_the_kernel_refuses_is_not_said_again_and_no_shard_is_told_of_it() {
        // No socket of a port that is shared.
        let file = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").expect("it is there")));
        let mut steering = Steering::new(&[vec![&file], vec![&file]]);
        let pulses = [Pulse::default(), Pulse::default()];
        let decision = Decision { parts: Some(vec![1, 3]), ..Decision::default() };
        for _ in 0..2 {
            steering.obey(&decision, pulses.iter());
            assert!(steering.is_off && steering.parts.is_none());
            assert_eq!(pulses.each_ref().map(Pulse::share_permille), [0, 0]);
        }
    }
}
