//! Peer addresses, each stored once, with the number of its connections.

use std::{collections::HashMap, net::IpAddr};

/// Stands for an address in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressId(u32);

impl AddressId {
    /// No address: a Unix socket.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// The addresses that have connections now.
#[derive(Default)]
pub(super) struct Addresses {
    entries: Vec<Entry>,
    /// Hashed under a random key: peers choose their addresses.
    by_address: HashMap<IpAddr, u32>,
    free: Vec<u32>,
}

struct Entry {
    address: IpAddr,
    connections: u32,
}

impl Addresses {
    /// Counts a connection from `address`, unless it would be more than `max` (0: no limit).
    pub(super) fn enter(&mut self, address: Option<IpAddr>, max: u32) -> Option<AddressId> {
        let Some(address) = address else { return Some(AddressId::NONE) };
        if let Some(index) = self.by_address.get(&address) {
            let entry = &mut self.entries[*index as usize];
            if max > 0 && entry.connections >= max {
                return None;
            }
            entry.connections += 1;
            return Some(AddressId(*index));
        }
        let entry = Entry { address, connections: 1 };
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
        Some(AddressId(index))
    }

    /// Forgets a connection; the last of an address takes the address with it.
    pub(super) fn leave(&mut self, id: AddressId) {
        if id == AddressId::NONE {
            return;
        }
        let entry = &mut self.entries[id.0 as usize];
        entry.connections -= 1;
        if entry.connections == 0 {
            self.by_address.remove(&entry.address);
            self.free.push(id.0);
        }
    }

    /// The address an id stands for.
    pub(super) fn get(&self, id: AddressId) -> Option<IpAddr> {
        (id != AddressId::NONE).then(|| self.entries[id.0 as usize].address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_beyond_the_limit_is_refused_until_one_leaves() {
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let other = Some(IpAddr::from([127, 0, 0, 2]));
        let mut addresses = Addresses::default();
        let first = addresses.enter(address, 2).expect("one of two");
        let second = addresses.enter(address, 2).expect("two of two");
        assert_eq!(addresses.enter(address, 2), None);
        assert!(addresses.enter(other, 2).is_some(), "another address has its own count");
        assert_eq!(first, second);
        assert_eq!(addresses.get(first), address);
        addresses.leave(first);
        assert!(addresses.enter(address, 2).is_some());
        assert_eq!(addresses.enter(None, 1), Some(AddressId::NONE));
    }
}
