//! The sockets of a shard that the program has been told of, or will be, and what another program is to know of them.
//!
//! A socket costs 24 bytes here, and what it proves itself with. Pages, for a table that grew by doubling would hold twice
//! what it needs.

use crate::model::{NodeId, ShardId, SocketId};

const PAGE_PLACES: usize = 512;

/// One shard's.
#[derive(Debug)]
pub(super) struct Told {
    node: NodeId,
    shard: ShardId,
    pages: Vec<Box<[Entry; PAGE_PLACES]>>,
}

/// What is kept of a socket.
#[derive(Debug, Default)]
struct Entry {
    generation: u32,
    /// The place of its namespace among those known; [`NOBODY`] where there is no socket.
    space: u32,
    /// JSON of what it said on entering, with a comma behind it; mostly nothing.
    introduction: Option<Box<str>>,
}

const NOBODY: u32 = u32::MAX;

impl Told {
    pub(super) fn new(node: NodeId, shard: ShardId) -> Self {
        Self { node, shard, pages: Vec::new() }
    }

    /// A socket has entered the namespace of this place.
    pub(super) fn enter(&mut self, socket: SocketId, space: u32, introduction: Option<Box<str>>) {
        let (page, place) = spot(socket.index);
        while self.pages.len() <= page {
            let nobody = || Entry { space: NOBODY, ..Entry::default() };
            self.pages.push(Box::new(std::array::from_fn(|_| nobody())));
        }
        self.pages[page][place] = Entry { generation: socket.generation, space, introduction };
    }

    /// A socket has left; whether it was there.
    pub(super) fn leave(&mut self, socket: SocketId) -> bool {
        let is_there = self.find(socket).is_some();
        if is_there {
            let (page, place) = spot(socket.index);
            self.pages[page][place] = Entry { space: NOBODY, ..Entry::default() };
        }
        is_there
    }

    /// The place of a socket's namespace, if it is there.
    pub(super) fn find(&self, socket: SocketId) -> Option<u32> {
        let (page, place) = spot(socket.index);
        let entry = self.pages.get(page).map(|page| &page[place])?;
        let is_it = entry.space != NOBODY && entry.generation == socket.generation;
        (is_it && socket.shard == self.shard).then_some(entry.space)
    }

    /// Everybody, with the place of the namespace and the introduction.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketId, u32, &str)> {
        let entries = self.pages.iter().flat_map(|page| page.iter()).enumerate();
        entries.filter(|(_, entry)| entry.space != NOBODY).map(|(index, entry)| {
            let socket = SocketId {
                node: self.node,
                shard: self.shard,
                index: index as u32,
                generation: entry.generation,
            };
            (socket, entry.space, entry.introduction.as_deref().unwrap_or_default())
        })
    }
}

fn spot(index: u32) -> (usize, usize) {
    (index as usize / PAGE_PLACES, index as usize % PAGE_PLACES)
}

const _: () = assert!(size_of::<Entry>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_under_its_own_generation_only() {
        let mut told = Told::new(NodeId::NONE, ShardId(1));
        let socket = |index, generation| SocketId::local(ShardId(1), index, generation);
        told.enter(socket(0, 1), 0, None);
        told.enter(socket(5000, 2), 3, Some("\"auth\":1,".into()));
        assert_eq!(told.find(socket(5000, 2)), Some(3));
        assert_eq!(told.find(SocketId { shard: ShardId(0), ..socket(5000, 2) }), None);
        for gone in [socket(5000, 1), socket(1, 1), socket(99_999, 1)] {
            assert_eq!(told.find(gone), None);
            assert!(!told.leave(gone));
        }
        let everybody: Vec<_> = told.iter().collect();
        assert_eq!(everybody, [(socket(0, 1), 0, ""), (socket(5000, 2), 3, "\"auth\":1,")]);
        assert!(told.leave(socket(0, 1)) && !told.leave(socket(0, 1)));
        assert_eq!(told.iter().count(), 1);
    }
}
