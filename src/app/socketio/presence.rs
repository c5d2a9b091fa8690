//! Which sockets of this shard there are, and what the application keeps for some of them.
//!
//! A socket costs four bytes here: the generation that holds its place, and four flags. Without them a task that
//! outlived its socket could leave state behind that nothing would ever remove. Everything else ([`SocketState`]) is
//! there only while the application uses it.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    rc::Rc,
};

use rustc_hash::FxHashMap;

use super::{
    awaiting::Awaited, events::EventTable, handlers::DisconnectListener, joining::Joining,
    listeners::Listeners,
};
use crate::model::SocketId;

/// The sockets of a shard.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Pages of places, for a table that grew by doubling would hold twice what it needs.
    pages: RefCell<Vec<Box<[u32; PAGE_PLACES]>>>,
    states: RefCell<FxHashMap<u32, Rc<SocketState>>>,
    /// How many of the states have listeners of their own; with none, an event need not look.
    listening: Cell<usize>,
}

const PAGE_PLACES: usize = 1024;

/// It is there: being admitted, connected, or kept until it comes back.
const KNOWN: u32 = 1;
/// It is in its namespace.
const CONNECTED: u32 = 2;
/// It is in its namespace again.
const RECOVERED: u32 = 4;
/// A WebSocket carries it.
const WEBSOCKET: u32 = 8;
const FLAGS: u32 = KNOWN | CONNECTED | RECOVERED | WEBSOCKET;
/// The generation stands above the flags. The bits it lacks matter only after 2²⁸ sockets in one place.
const GENERATION_SHIFT: u32 = 4;

/// What the application keeps for one socket.
#[derive(Default)]
pub(super) struct SocketState {
    pub(super) data: RefCell<Option<Rc<dyn Any>>>,
    /// What other shards see, as JSON.
    pub(super) public_data: RefCell<Option<Box<str>>>,
    pub(super) events: RefCell<Option<Rc<EventTable>>>,
    pub(super) on_disconnect: Listeners<DisconnectListener>,
    pub(super) awaited: RefCell<Vec<Awaited>>,
    pub(super) joining: RefCell<Vec<Joining>>,
}

impl Presence {
    /// A socket is being admitted.
    pub(super) fn enter(&self, id: SocketId) {
        debug_assert!(!self.states.borrow().contains_key(&id.index), "the place's last socket was forgotten");
        self.set(id, KNOWN);
    }

    /// A socket is in its namespace.
    pub(super) fn connect(&self, id: SocketId, recovered: bool) {
        let carrier = self.flags(id) & WEBSOCKET;
        self.set(id, carrier | KNOWN | CONNECTED | if recovered { RECOVERED } else { 0 });
    }

    /// A socket has left its namespace; what is kept of it is still there.
    pub(super) fn leave(&self, id: SocketId) {
        if self.flags(id) != 0 {
            self.set(id, KNOWN);
        }
    }

    /// A socket will not come back; gives what was kept of it.
    pub(super) fn forget(&self, id: SocketId) -> Option<Rc<SocketState>> {
        if self.flags(id) == 0 {
            return None;
        }
        self.set(id, 0);
        let state = self.states.borrow_mut().remove(&id.index)?;
        self.stop_listening(&state);
        Some(state)
    }

    /// A socket is carried by a WebSocket from now on, or by polls.
    pub(super) fn carry(&self, id: SocketId, is_websocket: bool) {
        let flags = self.flags(id);
        if flags != 0 {
            self.set(id, flags & !WEBSOCKET | if is_websocket { WEBSOCKET } else { 0 });
        }
    }

    pub(super) fn is_on_websocket(&self, id: SocketId) -> bool {
        self.flags(id) & WEBSOCKET != 0
    }

    pub(super) fn is_connected(&self, id: SocketId) -> bool {
        self.flags(id) & CONNECTED != 0
    }

    pub(super) fn has_recovered(&self, id: SocketId) -> bool {
        self.flags(id) & RECOVERED != 0
    }

    /// The application ends.
    pub(super) fn end(&self) {
        self.pages.take();
        self.states.take();
    }

    /// What is kept of a socket.
    pub(super) fn state(&self, id: SocketId) -> Option<Rc<SocketState>> {
        match self.flags(id) {
            0 => None,
            _ => self.states.borrow().get(&id.index).cloned(),
        }
    }

    /// A socket that is being admitted has had this kept for it before.
    pub(super) fn restore(&self, id: SocketId, state: &Rc<SocketState>) {
        if self.flags(id) != 0 {
            self.states.borrow_mut().insert(id.index, Rc::clone(state));
        }
    }

    /// What is kept of a socket, from now on if there was nothing; `None` when there is no such socket.
    pub(super) fn state_or_new(&self, id: SocketId) -> Option<Rc<SocketState>> {
        match self.flags(id) {
            0 => None,
            _ => Some(Rc::clone(self.states.borrow_mut().entry(id.index).or_default())),
        }
    }

    /// Lets go of a state that holds nothing any more.
    pub(super) fn prune(&self, id: SocketId) {
        if self.state(id).is_some_and(|state| state.is_empty()) {
            self.states.borrow_mut().remove(&id.index);
        }
    }

    /// The table of a socket's own listeners, made when there is none; `None` when there is no such socket.
    pub(super) fn own_events(&self, id: SocketId) -> Option<Rc<EventTable>> {
        let state = self.state_or_new(id)?;
        let mut events = state.events.borrow_mut();
        let events = events.get_or_insert_with(|| {
            self.listening.set(self.listening.get() + 1);
            Rc::default()
        });
        Some(Rc::clone(events))
    }

    /// The table of a socket's own listeners, if it has any. Costs nothing while no socket has.
    pub(super) fn events(&self, id: SocketId) -> Option<Rc<EventTable>> {
        if self.listening.get() == 0 {
            return None;
        }
        self.state(id)?.events.borrow().clone()
    }

    /// Removes what belongs to one connection and not to a client that comes back.
    pub(super) fn stop_listening(&self, state: &SocketState) {
        if state.events.take().is_some() {
            self.listening.set(self.listening.get() - 1);
        }
        state.on_disconnect.clear();
    }

    fn flags(&self, id: SocketId) -> u32 {
        let (page, place) = spot(id);
        let held = self.pages.borrow().get(page).map_or(0, |page| page[place]);
        match held & !FLAGS == id.generation << GENERATION_SHIFT {
            true => held & FLAGS,
            false => 0,
        }
    }

    fn set(&self, id: SocketId, flags: u32) {
        let (page, place) = spot(id);
        let mut pages = self.pages.borrow_mut();
        while pages.len() <= page {
            pages.push(Box::new([0; PAGE_PLACES]));
        }
        pages[page][place] = id.generation << GENERATION_SHIFT | flags;
    }

    #[cfg(test)]
    pub(super) fn states_count(&self) -> usize {
        self.states.borrow().len()
    }
}

impl SocketState {
    fn is_empty(&self) -> bool {
        self.data.borrow().is_none()
            && self.public_data.borrow().is_none()
            && self.events.borrow().is_none()
            && self.on_disconnect.is_empty()
            && self.awaited.borrow().is_empty()
            && self.joining.borrow().is_empty()
    }
}

impl std::fmt::Debug for SocketState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketState").field("public_data", &self.public_data).finish_non_exhaustive()
    }
}

/// The page of a socket's place, and the place in it.
fn spot(id: SocketId) -> (usize, usize) {
    let index = id.index as usize;
    (index / PAGE_PLACES, index % PAGE_PLACES)
}
