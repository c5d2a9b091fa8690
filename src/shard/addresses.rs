//! Peer addresses, each stored once, with the number of its connections.
//!
//! While `limits.connections_per_address_max` is set, the same is counted over all shards in [`AddressCounts`]; what an
//! entry says is `counted` stands there, too. Operators are not counted, nor connections that have a trusted proxy's own
//! address: their clients are, while they have theirs.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    app::Proxies,
    mesh::{AddressCounts, CountedAddress},
};

/// Stands for an address in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressId(u32);

impl AddressId {
    /// No address: a Unix socket.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// The addresses that have connections now.
pub(super) struct Addresses {
    entries: Vec<Entry>,
    /// Hashed under a random key: peers choose their addresses.
    by_address: HashMap<IpAddr, u32>,
    free: Vec<u32>,
    counts: Arc<AddressCounts>,
    /// The limit in force; 0 is none, and then nothing is counted over all shards.
    max: u32,
    proxies: Proxies,
}

struct Entry {
    address: IpAddr,
    connections: u32,
    /// How many of these are clients'.
    clients: u32,
    /// It is a proxy's, and has no clients.
    is_proxy: bool,
}

/// Why a connection comes in.
pub(super) enum Entering {
    /// It is an operator's.
    Uncounted,
    /// A client has just connected.
    Client,
    /// A client's connection comes from another shard, which has counted it if the limit was set there.
    Moved(Option<CountedAddress>),
}

impl Addresses {
    pub(super) fn new(counts: Arc<AddressCounts>, proxies: Proxies, max: u32) -> Self {
        Self { entries: Vec::new(), by_address: HashMap::new(), free: Vec::new(), counts, max, proxies }
    }

    /// The proxies that are trusted.
    pub(super) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Whether an address is one of theirs.
    pub(super) fn is_proxy(&self, id: AddressId) -> bool {
        match id {
            AddressId::NONE => self.proxies.trusts_unix(),
            id => self.entries[id.0 as usize].is_proxy,
        }
    }

    /// The counts of all shards.
    pub(super) fn counts(&self) -> Arc<AddressCounts> {
        Arc::clone(&self.counts)
    }

    /// Changes the limit. Who is in stays in.
    pub(super) fn limit(&mut self, max: u32) {
        match (std::mem::replace(&mut self.max, max), max) {
            (0, 1..) => self.live().for_each(|entry| self.counts.add(entry.address, entry.clients)),
            (1.., 0) => self.live().for_each(|entry| self.counts.leave(entry.address, entry.clients)),
            _ => {}
        }
    }

    fn live(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.clients > 0)
    }

    /// Takes a connection from `address` in, unless it is one too many.
    pub(super) fn enter(&mut self, address: Option<IpAddr>, entering: Entering) -> Option<AddressId> {
        let Some(address) = address else { return Some(AddressId::NONE) };
        let is_proxy = self.proxies.trusts(address);
        let is_client = !is_proxy && !matches!(entering, Entering::Uncounted);
        match (entering, self.max) {
            _ if is_proxy => {}
            (Entering::Uncounted, _) | (Entering::Client, 0) => {}
            (Entering::Client, max) if self.counts.enter(address, max) => {}
            (Entering::Client, _) => return None,
            // Dropping the count where there is no limit takes it out of the table.
            (Entering::Moved(counted), 0) => drop(counted),
            (Entering::Moved(Some(counted)), _) => counted.arrive(),
            (Entering::Moved(None), _) => self.counts.add(address, 1),
        }
        let index = match self.by_address.get(&address) {
            Some(index) => *index,
            None => self.add(address, is_proxy),
        };
        let entry = &mut self.entries[index as usize];
        entry.connections += 1;
        entry.clients += u32::from(is_client);
        Some(AddressId(index))
    }

    fn add(&mut self, address: IpAddr, is_proxy: bool) -> u32 {
        let entry = Entry { address, connections: 0, clients: 0, is_proxy };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.by_address.insert(address, index);
        index
    }

    /// Forgets a connection.
    pub(super) fn leave(&mut self, id: AddressId, is_client: bool) {
        drop(self.move_out(id, is_client));
    }

    /// Forgets a connection that goes to another shard; its count, if it is counted, goes with it.
    pub(super) fn move_out(&mut self, id: AddressId, is_client: bool) -> Option<CountedAddress> {
        if id == AddressId::NONE {
            return None;
        }
        let entry = &mut self.entries[id.0 as usize];
        let address = entry.address;
        let is_client = is_client && !entry.is_proxy;
        entry.connections -= 1;
        entry.clients -= u32::from(is_client);
        // The last of an address takes the address with it.
        if entry.connections == 0 {
            self.by_address.remove(&address);
            self.free.push(id.0);
        }
        (is_client && self.max > 0).then(|| CountedAddress::new(&self.counts, address))
    }

    /// The address an id stands for.
    pub(super) fn get(&self, id: AddressId) -> Option<IpAddr> {
        (id != AddressId::NONE).then(|| self.entries[id.0 as usize].address)
    }
}

/// A shard that ends takes its connections with it.
impl Drop for Addresses {
    fn drop(&mut self) {
        self.limit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_beyond_the_limit_is_refused_on_every_shard_until_one_leaves() {
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let counts = Arc::<AddressCounts>::default();
        let shard = || Addresses::new(Arc::clone(&counts), Proxies::default(), 2);
        let (mut one, mut two) = (shard(), shard());
        let first = one.enter(address, Entering::Client).expect("one of two");
        assert!(two.enter(address, Entering::Client).is_some(), "two of two");
        assert_eq!(one.enter(address, Entering::Client), None);
        assert_eq!(one.enter(address, Entering::Uncounted), Some(first), "operators always may");
        assert_eq!(one.enter(None, Entering::Client), Some(AddressId::NONE));
        assert_eq!(one.get(first), address);
        one.leave(first, true);
        one.leave(first, false);
        assert!(one.enter(address, Entering::Client).is_some());
        drop(two);
        assert!(one.enter(address, Entering::Client).is_some(), "a shard that ended has none");
        assert_eq!(one.enter(address, Entering::Client), None);
    }

    #[test]
    fn a_proxy_has_as_many_connections_as_it_likes_and_its_clients_as_many_as_they_may() {
        let [proxy, client] = [[10, 0, 0, 1], [192, 0, 2, 1]].map(|bytes| Some(IpAddr::from(bytes)));
        let proxies = Proxies::new(&["10.0.0.0/8".into()], Default::default(), Default::default());
        let mut addresses = Addresses::new(Arc::default(), proxies, 1);
        let ids = [(); 3].map(|()| addresses.enter(proxy, Entering::Client).expect("a proxy may"));
        assert!(addresses.is_proxy(ids[0]) && !addresses.is_proxy(AddressId::NONE));
        let id = addresses.enter(client, Entering::Client).expect("the only one");
        assert!(!addresses.is_proxy(id));
        assert_eq!(addresses.enter(client, Entering::Client), None);
        ids.into_iter().for_each(|id| addresses.leave(id, true));
        addresses.limit(0);
        addresses.limit(1);
        assert_eq!(addresses.enter(client, Entering::Client), None);
        assert!(addresses.move_out(id, true).is_some());
        let id = addresses.enter(proxy, Entering::Moved(None)).expect("a proxy may");
        assert!(addresses.move_out(id, true).is_none(), "it is not counted anywhere");
    }

    #[test]
    fn a_connection_that_moves_is_counted_once_whatever_the_limit_was_meanwhile() {
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let counts = Arc::<AddressCounts>::default();
        let shard = || Addresses::new(Arc::clone(&counts), Proxies::default(), 1);
        for (from, to) in [(1, 1), (1, 0), (0, 1), (0, 0)] {
            let (mut one, mut two) = (shard(), shard());
            let id = one.enter(address, Entering::Client).expect("the only one");
            one.limit(from);
            two.limit(to);
            let moving = one.move_out(id, true);
            assert!(two.enter(address, Entering::Moved(moving)).is_some());
            one.limit(1);
            two.limit(1);
            assert_eq!(one.enter(address, Entering::Client), None, "{from} {to}");
            drop(two);
            assert!(one.enter(address, Entering::Client).is_some(), "{from} {to}");
        }
    }
}
