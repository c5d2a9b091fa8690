//! Sockets whose events wait until the operator's backend has said something of the first of them.
//!
//! ```text
//!   event ─► a listener asks ─► kept ── ruled ─► all listeners again, with the ruling
//!     events behind it ───────► kept ──────────► heard behind it, until one of them is asked about
//! ```
//!
//! Invariant: while a socket waits, what its client sends is kept, so that it takes effect in the order in which it was sent.
//! A socket stands here only while it waits, and with no more than [`EVENTS_HELD_MAX`] events of
//! [`EVENTS_HELD_BYTES_MAX`].

use std::{
    cell::{Cell, RefCell},
    collections::hash_map::Entry,
    net::IpAddr,
};

use rustc_hash::FxHashMap;

use super::{Event, Io, NamespaceId, Order, RawEvent, Socket};
use crate::{
    app::backlog::{Backlog, Bounds},
    auth::{Consultation, Ruled},
    limits::{EVENTS_HELD_BYTES_MAX, EVENTS_HELD_MAX, EVENTS_HELD_TOGETHER_BYTES_MAX, HOOKS_PER_REQUEST_MAX},
    model::SocketId,
};

/// The sockets of a shard that wait.
#[derive(Debug, Default)]
pub(super) struct Consulting {
    waiting: RefCell<FxHashMap<SocketId, Waiting>>,
    /// What all their events cost.
    bytes: Cell<usize>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The number of the question; none while the events are heard.
    asked: Option<u64>,
    /// That which is asked about, and those behind it.
    events: Backlog<KeptEvent>,
    /// What has been said of the first of them.
    rulings: Vec<Ruled>,
}

const BOUNDS: Bounds = Bounds {
    messages: EVENTS_HELD_MAX,
    bytes: EVENTS_HELD_BYTES_MAX,
    together_bytes: EVENTS_HELD_TOGETHER_BYTES_MAX,
};

/// An event that is heard later.
#[derive(Debug)]
struct KeptEvent {
    name: Box<str>,
    json: Box<str>,
    attachments: Box<[Box<[u8]>]>,
    ack: Option<u64>,
    address: Option<IpAddr>,
}

impl KeptEvent {
    fn of(event: &Event<'_>) -> Self {
        let Event { name, json, attachments, ack, address, rulings: _ } = *event;
        Self { name: name.into(), json: json.into(), attachments: attachments.into(), ack, address }
    }

    fn lend<'a>(&'a self, rulings: &'a [Ruled]) -> Event<'a> {
        let Self { name, json, attachments, ack, address } = self;
        Event { name, json, attachments, ack: *ack, address: *address, rulings }
    }

    /// What it costs: its bytes, its place, and what allocations take.
    fn cost(&self) -> usize {
        let attachments: usize = self.attachments.iter().map(|one| one.len() + 32).sum();
        self.name.len() + self.json.len() + attachments + 2 * size_of::<Self>() + 32
    }
}

impl Consulting {
    /// Keeps an event of a socket that waits: whether it does, and whether there was room for the event.
    fn keep(&self, socket: SocketId, event: &Event<'_>) -> Option<bool> {
        let mut all = self.waiting.borrow_mut();
        if all.is_empty() {
            return None;
        }
        let waiting = all.get_mut(&socket)?;
        let event = KeptEvent::of(event);
        let (cost, mut together) = (event.cost(), self.bytes.get());
        let has_room = waiting.events.keep(event, cost, &mut together, &BOUNDS);
        self.bytes.set(together);
        Some(has_room)
    }

    /// A question is about to be asked about an event: what keeping that costs. Not if one is, or too many have been.
    fn begin(&self, socket: SocketId, number: u64, event: &Event<'_>) -> Option<usize> {
        if event.rulings.len() >= HOOKS_PER_REQUEST_MAX {
            return None;
        }
        let mut all = self.waiting.borrow_mut();
        let waiting = all.entry(socket).or_default();
        if waiting.asked.is_some() {
            return None;
        }
        // It is counted among what the shard's questions keep, which is bounded.
        let kept = KeptEvent::of(event);
        let cost = kept.cost();
        waiting.events.put_first(kept);
        waiting.rulings = event.rulings.into();
        waiting.asked = Some(number);
        Some(cost)
    }

    /// Takes the event that was asked about under this number, with all that has been said of it.
    fn take_ruled(&self, socket: SocketId, number: u64, ruled: Ruled) -> Option<(KeptEvent, Vec<Ruled>)> {
        let mut all = self.waiting.borrow_mut();
        let waiting = all.get_mut(&socket).filter(|waiting| waiting.asked == Some(number))?;
        waiting.asked = None;
        let mut rulings = std::mem::take(&mut waiting.rulings);
        rulings.push(ruled);
        Some((waiting.events.take_first()?, rulings))
    }

    /// Takes the next event of a socket that waits no more; one that has none left does not stand here any more.
    fn take_next(&self, socket: SocketId) -> Option<KeptEvent> {
        let mut all = self.waiting.borrow_mut();
        let Entry::Occupied(mut waiting) = all.entry(socket) else { return None };
        if waiting.get().asked.is_some() {
            return None;
        }
        let mut together = self.bytes.get();
        let event = waiting.get_mut().events.take_next(&mut together, KeptEvent::cost);
        self.bytes.set(together);
        if event.is_none() {
            waiting.remove();
            if all.is_empty() {
                // A storm of them is over.
                *all = FxHashMap::default();
            }
        }
        event
    }

    /// Whether a socket waits.
    pub(super) fn has(&self, socket: SocketId) -> bool {
        self.waiting.borrow().contains_key(&socket)
    }

    /// A socket has left, and what it has asked for with it.
    pub(super) fn forget(&self, socket: SocketId) {
        if let Some(waiting) = self.waiting.borrow_mut().remove(&socket) {
            let mut together = self.bytes.get();
            waiting.events.end(&mut together);
            self.bytes.set(together);
        }
    }
}

impl RawEvent<'_> {
    /// What the operator's backend has been asked about this event ([`Self::consult`]), and what that has said.
    pub fn rulings(&self) -> &[Ruled] {
        self.0.rulings
    }

    /// Asks the operator's backend (`hooks` in the configuration) about this event, for a listener that does nothing until that
    /// has said something: then all listeners are called with the event again, and find that in [`Self::rulings`], whatever
    /// becomes of the question. Until then what the client sends to the namespace is kept, up to 512 events and 64 kB, beyond
    /// which the client is closed, and is heard behind it; nothing of that is when the client leaves. `false` if
    /// it is being asked about already, or has been too often: then nothing is asked.
    pub fn consult(&self, socket: &Socket, question: Consultation) -> bool {
        let core = socket.core();
        let number = core.next_number();
        let Some(kept_bytes) = core.consulting.begin(socket.id(), number, self.0) else { return false };
        let question = Box::new(Consultation { kept_bytes, ..question });
        core.order(Order::Consult { socket: socket.id(), number, question });
        true
    }
}

impl Io {
    /// A client sent an event: it is heard, or kept. `false` when there is no room to keep it.
    pub(crate) fn event(&self, socket: SocketId, namespace: NamespaceId, event: &Event<'_>) -> bool {
        if let Some(has_room) = self.core().consulting.keep(socket, event) {
            return has_room;
        }
        self.hear_event(socket, namespace, event);
        true
    }

    /// The backend has said something of what was asked under this number.
    pub(crate) fn ruled(&self, socket: SocketId, namespace: NamespaceId, number: u64, ruled: Ruled) {
        if let Some((event, rulings)) = self.core().consulting.take_ruled(socket, number, ruled) {
            self.hear_event(socket, namespace, &event.lend(&rulings));
        }
    }

    /// Hears the next event of a socket that has waited; `false` when there is none, or it waits again.
    pub(crate) fn hear_kept(&self, socket: SocketId, namespace: NamespaceId) -> bool {
        let event = self.core().consulting.take_next(socket);
        if let Some(event) = &event {
            self.hear_event(socket, namespace, &event.lend(&[]));
        }
        event.is_some()
    }
}
