//! Peer addresses, each stored once, with the number of its connections. Of clients that proxies have passed on an entry
//! stands for the address and the way: [`super::passages`].
//!
//! While `limits.connections_per_address_max` is set, the same is counted over all shards in [`AddressCounts`]; what an
//! entry says is `counted` stands there, too. Operators are not counted, nor connections that have a trusted proxy's own
//! address: their clients are, while they have theirs.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::passages::{PassageId, Passages};
use crate::{
    app::Proxies,
    limits::BUSY_ORIGINS_TOLD,
    mesh::{AddressCounts, BusyOrigin, CountedAddress},
    model::Passage,
    wire::http1::Response,
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
    by_address: HashMap<(IpAddr, PassageId), u32>,
    free: Vec<u32>,
    passages: Passages,
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
    passage: PassageId,
}

const _: () = assert!(size_of::<Entry>() <= 28);

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
        let (entries, by_address, free, passages) = Default::default();
        Self { entries, by_address, free, passages, counts, max, proxies }
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
        Some(self.add((address, PassageId::NONE), is_proxy, is_client))
    }

    /// Notes how a client's connection has come: it has another id from now on, and is counted as before.
    pub(super) fn note_passage(&mut self, id: AddressId, passage: Passage) -> AddressId {
        let Some(&Entry { address, is_proxy, .. }) = self.entry(id) else { return id };
        let passage = self.passages.enter(passage);
        let new = self.add((address, passage), is_proxy, !is_proxy);
        // The entry uses it, however many connections have come so.
        if self.entries[new.0 as usize].connections > 1 {
            self.passages.leave(passage);
        }
        self.take_out(id, !is_proxy);
        new
    }

    /// Adds a connection to the entry of its address and its passage.
    fn add(&mut self, key: (IpAddr, PassageId), is_proxy: bool, is_client: bool) -> AddressId {
        let index = match self.by_address.get(&key) {
            Some(index) => *index,
            None => self.make(key, is_proxy),
        };
        let entry = &mut self.entries[index as usize];
        entry.connections += 1;
        entry.clients += u32::from(is_client);
        AddressId(index)
    }

    fn make(&mut self, (address, passage): (IpAddr, PassageId), is_proxy: bool) -> u32 {
        let entry = Entry { address, connections: 0, clients: 0, is_proxy, passage };
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
        self.by_address.insert((address, passage), index);
        index
    }

    fn entry(&self, id: AddressId) -> Option<&Entry> {
        if id == AddressId::NONE { None } else { self.entries.get(id.0 as usize) }
    }

    /// Forgets a connection.
    pub(super) fn leave(&mut self, id: AddressId, is_client: bool) {
        drop(self.move_out(id, is_client));
    }

    /// Forgets a connection that goes to another shard; its count, if it is counted, goes with it.
    pub(super) fn move_out(&mut self, id: AddressId, is_client: bool) -> Option<CountedAddress> {
        let &Entry { address, is_proxy, .. } = self.entry(id)?;
        let is_client = is_client && !is_proxy;
        self.take_out(id, is_client);
        (is_client && self.max > 0).then(|| CountedAddress::new(&self.counts, address))
    }

    /// Takes a connection out of its entry; the last one takes the entry with it.
    fn take_out(&mut self, id: AddressId, is_client: bool) {
        let entry = &mut self.entries[id.0 as usize];
        entry.connections -= 1;
        entry.clients -= u32::from(is_client);
        if entry.connections == 0 {
            self.by_address.remove(&(entry.address, entry.passage));
            self.passages.leave(entry.passage);
            self.free.push(id.0);
        }
    }

    /// The address an id stands for.
    pub(super) fn get(&self, id: AddressId) -> Option<IpAddr> {
        self.entry(id).map(|entry| entry.address)
    }

    /// How those have come whom proxies have passed on; nothing of others.
    pub(super) fn passage(&self, id: AddressId) -> Option<&Passage> {
        self.passages.get(self.entry(id)?.passage)
    }

    /// The entries with the most connections, the most first.
    pub(super) fn busiest(&self) -> Vec<BusyOrigin> {
        let mut most = BinaryHeap::new();
        for (at, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.connections > 0) {
            most.push(Reverse((entry.connections, at)));
            if most.len() > BUSY_ORIGINS_TOLD {
                most.pop();
            }
        }
        let told = |Reverse((connections, at)): Reverse<(u32, usize)>| {
            let Entry { address, passage, .. } = self.entries[at];
            BusyOrigin { address, passage: self.passages.get(passage).cloned(), connections }
        };
        most.into_sorted_vec().into_iter().map(told).collect()
    }
}

/// A shard that ends takes its connections with it.
impl Drop for Addresses {
    fn drop(&mut self) {
        self.limit(0);
    }
}

/// What the client is told whose address has too many.
pub(super) fn address_full() -> Response {
    let text = "too many connections from this address (limits.connections_per_address_max)";
    Response::refused(429, "address_full", text)
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
    fn the_way_of_a_client_is_kept_with_its_address_and_changes_no_count() {
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        let mut addresses = Addresses::new(Arc::default(), Proxies::default(), 2);
        let passage = |host: &str| Passage { is_secure: true, host: Some(host.into()), ..Passage::default() };
        let ids = [(); 2].map(|()| addresses.enter(address, Entering::Client).expect("one of two"));
        assert_eq!(addresses.passage(ids[0]), None);
        let ids = ids.map(|id| addresses.note_passage(id, passage("a")));
        assert_eq!((ids[0], addresses.passage(ids[0])), (ids[1], Some(&passage("a"))));
        assert_eq!(addresses.enter(address, Entering::Client), None, "both are counted");
        let other = addresses.note_passage(ids[0], passage("b"));
        assert_eq!((addresses.get(other), addresses.passage(other)), (address, Some(&passage("b"))));
        assert_eq!(addresses.passage(ids[1]), Some(&passage("a")));
        addresses.limit(0);
        addresses.limit(2);
        assert_eq!(addresses.enter(address, Entering::Client), None, "both are counted");
        let busiest = addresses.busiest().into_iter().map(|one| (one.passage, one.connections));
        assert!(busiest.eq([(Some(passage("a")), 1), (Some(passage("b")), 1)]));
        addresses.leave(other, true);
        addresses.leave(ids[1], true);
        assert!(addresses.by_address.is_empty() && addresses.passages.is_empty());
        assert!([(); 2].iter().all(|()| addresses.enter(address, Entering::Client).is_some()));
        assert_eq!(addresses.note_passage(AddressId::NONE, passage("a")), AddressId::NONE);
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
