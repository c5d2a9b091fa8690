//! One shard's side of the link: what happens to its clients is told the program, or kept until there is one.
//!
//! ```text
//!   Away ──(READY)──► Telling ──(rooms are known)──► Live ──(PAUSE)──► Paused ──(the link ends)──► Away
//!   events wait       events wait                    events go at once events wait
//! ```
//!
//! What the program asks is done while it is Live or Paused, in `ops.rs`; what it is asked is in `asking.rs`; bytes are moved in
//! `exchange.rs`.
//!
//! Invariant: while the phase is neither Live nor Paused, the queue is numbered as the last program has numbered namespaces.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use rustc_hash::FxHashMap;
use tracing::warn;

use super::{
    frame::{Head, Kind},
    introduction::{self, Brought},
    outbox::Outbox,
    retelling::{self, AGAIN},
    spaces::{AskNumber, Pending, Space},
    told::Told,
};
use crate::{
    app::socketio::{Awaiting, Io, RawEvent, Socket},
    limits::{Limits, PROGRAM_NAMESPACES_MAX},
    mesh::SocketSummary,
    model::{SocketId, namespace_of},
};

/// One shard's.
pub(super) struct Link {
    pub(super) io: Io,
    pub(super) outbox: Outbox,
    pub(super) told: RefCell<Told>,
    /// The namespaces that some program has named.
    spaces: RefCell<Vec<Rc<Space>>>,
    /// Those that the program has named which is not told of clients yet.
    named: RefCell<Vec<(u16, Rc<Space>, u8)>>,
    pub(super) phase: Cell<Phase>,
    pub(super) asks: RefCell<FxHashMap<u32, Pending>>,
    pub(super) next_ask: Cell<u32>,
    /// Counts programs.
    pub(super) life: Cell<u64>,
    /// Given when the program that has just said that it is ready is told what happens.
    live: RefCell<Option<Awaiting<()>>>,
    /// Whether it has been said that the queue is full, since it was not.
    is_full_said: Cell<bool>,
    /// Whether the program is about to go: requests wait for the next one.
    pub(super) is_leaving: Rc<Cell<bool>>,
    /// Of names of channels, and of publications.
    pub(super) limits: Limits,
}

/// Whether a program is told of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none, or it is not ready.
    Away,
    /// It is ready, and is about to be told who is there.
    Telling,
    /// It is told what happens.
    Live,
    /// It finishes what it was told, for another one is to take its place; it is told answers alone.
    Paused,
}

/// The program has middleware for a namespace.
const MIDDLEWARE: u8 = 1;
const RECOVERED: u8 = 1;
const WANTS_ACK: u8 = 2;

impl Link {
    /// Of an application that is registered here: the namespaces named, with their flags.
    pub(super) fn new(io: &Io, namespaces: &BTreeMap<String, u8>, limits: &Limits) -> Rc<Self> {
        let link = Rc::new(Self {
            io: io.clone(),
            outbox: Outbox::default(),
            told: RefCell::new(Told::new(io.shard())),
            spaces: RefCell::default(),
            named: RefCell::default(),
            phase: Cell::new(Phase::Away),
            asks: RefCell::default(),
            next_ask: Cell::new(1),
            life: Cell::new(0),
            live: RefCell::default(),
            is_full_said: Cell::new(false),
            is_leaving: Rc::default(),
            limits: limits.clone(),
        });
        let own = Rc::downgrade(&link);
        io.on_carried(move |socket, is_websocket| {
            own.upgrade().filter(|_| is_websocket).into_iter().for_each(|link| link.upgraded(socket));
        });
        for (place, (name, flags)) in namespaces.iter().enumerate() {
            if let Some(space) = link.space_named(name) {
                space.number.set(Some(place as u16));
                link.set_flags(&space, *flags);
            }
        }
        link
    }

    /// The program has named a namespace; whether it may.
    pub(super) fn name(self: &Rc<Self>, number: u16, name: &str, flags: u8) -> bool {
        let Some(space) = self.space_named(name).filter(|_| usize::from(number) < PROGRAM_NAMESPACES_MAX)
        else {
            return false;
        };
        match self.phase.get() {
            Phase::Away | Phase::Telling => self.named.borrow_mut().push((number, space, flags)),
            Phase::Live | Phase::Paused => {
                space.number.set(Some(number));
                self.set_flags(&space, flags);
            }
        }
        true
    }

    /// The namespace of a number, if the program has named it.
    pub(super) fn space(&self, number: u16) -> Option<Rc<Space>> {
        self.spaces.borrow().iter().find(|space| space.number.get() == Some(number)).cloned()
    }

    /// Whether what the program asks is done.
    pub(super) fn is_heard(&self) -> bool {
        matches!(self.phase.get(), Phase::Live | Phase::Paused)
    }

    /// The program wants to be told no more than what it has asked for; whether it may, now.
    pub(super) fn pause(&self) -> bool {
        let is_live = self.phase.get() == Phase::Live;
        if is_live {
            self.phase.set(Phase::Paused);
            self.is_leaving.set(true);
            self.outbox.pause();
        }
        is_live
    }

    /// A program begins, and is to say what there is.
    pub(super) fn begin(&self) {
        self.life.set(self.life.get() + 1);
        self.named.take();
    }

    /// The program has gone.
    pub(super) fn end(&self) {
        self.phase.set(Phase::Away);
        self.outbox.set_open(false);
    }

    /// The program is ready to be told who is there; whether it may be, now.
    pub(super) fn be_ready(self: &Rc<Self>) -> bool {
        if self.phase.get() != Phase::Away {
            return false;
        }
        self.phase.set(Phase::Telling);
        let (give, live) = Awaiting::new();
        self.live.replace(Some(live));
        let (life, left, give) = (self.life.get(), Rc::new(Cell::new(1)), RefCell::new(Some(give)));
        let rooms: Rc<RefCell<FxHashMap<SocketId, SocketSummary>>> = Rc::default();
        type Summaries = RefCell<FxHashMap<SocketId, SocketSummary>>;
        let finish = move |link: &Rc<Self>, rooms: &Summaries, left: &Cell<usize>| {
            left.set(left.get() - 1);
            if left.get() == 0 && link.phase.get() == Phase::Telling && link.life.get() == life {
                link.tell_everybody(&rooms.take());
                give.take().into_iter().for_each(|give| give(()));
            }
        };
        let finish = Rc::new(finish);
        // Whoever is there belongs to a namespace that an earlier program has named.
        for space in self.spaces.borrow().iter().filter(|space| space.number.get().is_some()) {
            left.set(left.get() + 1);
            let (link, rooms, left) = (Rc::clone(self), Rc::clone(&rooms), Rc::clone(&left));
            let finish = Rc::clone(&finish);
            self.io.tell_sockets(&space.namespace, move |sockets| {
                rooms.borrow_mut().extend(sockets.into_iter().map(|socket| (socket.id, socket)));
                finish(&link, &rooms, &left);
            });
        }
        finish(self, &rooms, &left);
        true
    }

    /// Waits, behind [`Self::be_ready`], until the program is told what happens.
    pub(super) async fn until_live(&self) {
        let live = self.live.take();
        if let Some(live) = live {
            live.await;
        }
    }

    /// Tells a new program who is there, then what has waited.
    fn tell_everybody(self: &Rc<Self>, rooms: &FxHashMap<SocketId, SocketSummary>) {
        let renumbered = self.renumber();
        let told = self.told.borrow();
        let spaces = self.spaces.borrow().clone();
        let number_of = |space: u32| spaces.get(space as usize)?.number.get();
        self.outbox.replace(|queue| {
            let is_here = |socket| told.find(socket).is_some();
            let renumber = |number| renumbered.get(&number).copied().flatten();
            let retold = retelling::retell(queue, renumber, is_here);
            let mut out = Vec::new();
            for (socket, number) in retold.lost {
                let head = Head { flags: AGAIN | RECOVERED, ..Head::about(Kind::Connected, socket, number) };
                head.encode(&mut out, &introduction::whole("", "websocket", &[], "null"), &[]);
            }
            for (socket, space, members) in told.iter() {
                let Some(number) = number_of(space) else { continue };
                if retold.introduced.contains(&socket) {
                    continue;
                }
                let head = Head { flags: AGAIN | RECOVERED, ..Head::about(Kind::Connected, socket, number) };
                head.encode(&mut out, &retold_of(members, rooms.get(&socket)), &[]);
            }
            let exempt = out.len();
            out.extend_from_slice(&retold.frames);
            (out, exempt)
        });
        let strangers: Vec<_> = told
            .iter()
            .filter(|(_, space, _)| number_of(*space).is_none())
            .map(|one| (one.0, one.1))
            .collect();
        drop(told);
        for (socket, space) in strangers {
            // The program has no such namespace any more.
            spaces[space as usize].namespace.socket(socket).disconnect();
        }
        self.phase.set(Phase::Live);
        self.is_leaving.set(false);
        self.is_full_said.set(false);
        self.outbox.set_open(true);
        self.ask_again();
    }

    /// Numbers namespaces as the new program has; the new number for each old one.
    fn renumber(self: &Rc<Self>) -> FxHashMap<u16, Option<u16>> {
        let spaces = self.spaces.borrow().clone();
        let before: Vec<_> = spaces.iter().map(|space| space.number.take()).collect();
        for (number, space, flags) in self.named.take() {
            space.number.set(Some(number));
            self.set_flags(&space, flags);
        }
        let now = spaces.iter().map(|space| space.number.get());
        before.into_iter().zip(now).filter_map(|(before, now)| Some((before?, now))).collect()
    }

    fn connected(&self, space: &Space, socket: &Socket) {
        let ask = socket.take_data::<AskNumber>().map_or(0, |number| number.0);
        let Some(namespace) = space.number.get() else { return socket.disconnect() };
        let brought = Brought { auth: socket.auth_json(), handshake: socket.handshake() };
        let flags = if socket.recovered() { RECOVERED } else { 0 };
        let head = Head { flags, number: ask, ..Head::about(Kind::Connected, socket.id(), namespace) };
        if !self.outbox.push(&head, &brought.told(socket.transport()), &[]) {
            return self.give_up(socket);
        }
        let kept = brought.kept(self.io.settings().keep_handshake);
        self.told.borrow_mut().enter(socket.id(), space.place, kept);
    }

    fn heard(&self, space: &Space, socket: &Socket, event: &RawEvent<'_>) {
        let Some(namespace) = space.number.get() else { return };
        // One that has been given up is not heard any more.
        if self.told.borrow().find(socket.id()).is_none() {
            return;
        }
        let ack = event.ack_id();
        let head = Head {
            flags: if ack.is_some() { WANTS_ACK } else { 0 },
            number: ack.unwrap_or_default() as u32,
            extra: (ack.unwrap_or_default() >> 32) as u32,
            ..Head::about(Kind::Event, socket.id(), namespace)
        };
        if !self.outbox.push(&head, event.json(), event.attachments()) {
            self.give_up(socket);
        }
    }

    fn disconnected(&self, space: &Space, socket: &Socket, reason: &str) {
        let was_told = self.told.borrow_mut().leave(socket.id());
        if let (true, Some(namespace)) = (was_told, space.number.get()) {
            let head = Head::about(Kind::Disconnected, socket.id(), namespace);
            self.outbox.push_always(&head, &format!("\"{reason}\""), &[]);
        }
    }

    /// A client has changed to a WebSocket.
    fn upgraded(&self, socket: SocketId) {
        let Some(place) = self.told.borrow().find(socket) else { return };
        let number = self.spaces.borrow().get(place as usize).and_then(|space| space.number.get());
        if let Some(number) = number {
            // The program only shows it.
            self.outbox.push(&Head::about(Kind::Upgraded, socket, number), "\"websocket\"", &[]);
        }
    }

    /// There is no room for what a client does: its connection ends, and it may come back.
    fn give_up(&self, socket: &Socket) {
        if !self.is_full_said.replace(true) {
            warn!(
                shard = %self.io.shard(),
                "too much waits for the program: clients that send more are disconnected"
            );
        }
        socket.disconnect_all();
    }

    fn set_flags(self: &Rc<Self>, space: &Rc<Space>, flags: u8) {
        let asks = flags & MIDDLEWARE != 0;
        space.asks.set(asks);
        if asks && !space.has_middleware.replace(true) {
            let (link, own) = (Rc::clone(self), Rc::clone(space));
            space.namespace.use_async_middleware(move |who| {
                let asked = own.asks.get().then(|| link.ask(&own, &who));
                async move {
                    match asked {
                        Some(verdict) => verdict.await,
                        None => Ok(()),
                    }
                }
            });
        }
    }

    /// A namespace, whose clients are told of from now on; `None` when none can have the name.
    fn space_named(self: &Rc<Self>, name: &str) -> Option<Rc<Space>> {
        let known = self.spaces.borrow().iter().find(|space| space.namespace.name() == name).cloned();
        if known.is_some() || self.spaces.borrow().len() >= PROGRAM_NAMESPACES_MAX {
            return known;
        }
        // Whether there can be one of that name.
        drop(self.io.sockets_of(name)?);
        let space = Rc::new(Space {
            namespace: self.io.of(name),
            place: self.spaces.borrow().len() as u32,
            number: Cell::default(),
            asks: Cell::default(),
            has_middleware: Cell::default(),
        });
        self.spaces.borrow_mut().push(Rc::clone(&space));
        self.listen(&space);
        Some(space)
    }

    fn listen(self: &Rc<Self>, space: &Rc<Space>) {
        let handlers = &space.namespace;
        let own = Rc::clone(space);
        handlers.use_middleware(move |_| match own.number.get() {
            Some(_) => Ok(()),
            None => Err(INVALID_NAMESPACE.into()),
        });
        let (link, own) = (Rc::clone(self), Rc::clone(space));
        handlers.on_connect(move |socket| link.connected(&own, &socket));
        let (link, own) = (Rc::clone(self), Rc::clone(space));
        handlers.on_any(move |socket, event| link.heard(&own, socket, event));
        let (link, own) = (Rc::clone(self), Rc::clone(space));
        handlers.on_disconnect(move |socket, reason| link.disconnected(&own, socket, reason));
    }
}

pub(super) const INVALID_NAMESPACE: &str = "Invalid namespace";

/// What another program is told of a socket that is there.
fn retold_of(members: &str, summary: Option<&SocketSummary>) -> String {
    let Some(summary) = summary else { return introduction::whole(members, "websocket", &[], "null") };
    let rooms: Vec<_> = summary.rooms.iter().filter_map(|room| namespace_of(room).1).collect();
    let transport = if summary.is_on_websocket { "websocket" } else { "polling" };
    introduction::whole(members, transport, &rooms, &summary.data)
}
