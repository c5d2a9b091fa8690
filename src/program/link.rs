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
    said::Unanswered,
    share::Share,
    spaces::{AskNumber, Pending, Space, Spaces},
    told::Told,
};
use crate::{
    app::socketio::{Awaiting, Io, RawEvent, Socket},
    limits::Limits,
    mesh::SocketSummary,
    model::{NodeId, SocketId, namespace_of},
};

/// One shard's.
pub(super) struct Link {
    pub(super) io: Io,
    pub(super) outbox: Outbox,
    pub(super) told: RefCell<Told>,
    /// The namespaces that some program has named, and those that clients want to enter.
    pub(super) spaces: Spaces,
    /// Those that the program has named which is not told of clients yet.
    pub(super) named: RefCell<Vec<(u16, Rc<Space>, u8)>>,
    pub(super) phase: Cell<Phase>,
    /// Whether the program is asked about namespaces that nobody has named; and whether the one is that has just begun.
    pub(super) finds: Cell<bool>,
    pub(super) will_find: Cell<bool>,
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
    /// Which clients are this process's, where the program has several.
    pub(super) share: Share,
    /// The version of the link that the program speaks which has begun last.
    pub(super) protocol: Cell<u32>,
    /// What other members of a cluster have said and wait for an answer to.
    pub(super) unanswered: RefCell<Unanswered>,
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

/// What a program has when it asks to be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Its namespaces, with their flags.
    pub(super) namespaces: BTreeMap<String, u8>,
    /// Whether it is asked about others.
    pub(super) finds: bool,
}

const RECOVERED: u8 = 1;
pub(super) const WANTS_ACK: u8 = 2;

impl Link {
    /// Of an application that is registered here.
    pub(super) fn new(io: &Io, named: &Named, limits: &Limits, share: Share) -> Rc<Self> {
        let link = Rc::new(Self {
            io: io.clone(),
            outbox: Outbox::default(),
            told: RefCell::new(Told::new(io.settings().node, io.shard())),
            spaces: Spaces::default(),
            named: RefCell::default(),
            phase: Cell::new(Phase::Away),
            finds: Cell::new(named.finds && share.is_whole()),
            share,
            will_find: Cell::default(),
            asks: RefCell::default(),
            next_ask: Cell::new(1),
            life: Cell::new(0),
            live: RefCell::default(),
            is_full_said: Cell::new(false),
            is_leaving: Rc::default(),
            protocol: Cell::default(),
            unanswered: RefCell::default(),
            limits: limits.clone(),
        });
        io.want_introductions_again();
        let own = Rc::downgrade(&link);
        io.on_carried(move |socket, is_websocket| {
            own.upgrade().filter(|_| is_websocket).into_iter().for_each(|link| link.upgraded(socket));
        });
        link.listen_to_members();
        for (place, (name, flags)) in named.namespaces.iter().enumerate() {
            if let Some(space) = link.space_named(name) {
                link.spaces.number(&space, place as u16);
                link.set_flags(&space, *flags);
            }
        }
        let own = Rc::downgrade(&link);
        io.of_matching(move |name, _| own.upgrade().is_some_and(|link| link.want(name)));
        link
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
        for space in self.spaces.all().iter().filter(|space| space.number().is_some()) {
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
        let number_of = |space: u32| self.spaces.at(space)?.number();
        self.outbox.replace(|queue| {
            let is_here = |socket| told.find(socket).is_some();
            let renumber = |number| renumbered.get(&number).copied().flatten();
            let retold = retelling::retell(queue, renumber, is_here, self.hears_of_members());
            let mut out = Vec::new();
            for (socket, number) in retold.lost {
                let head = Head { flags: AGAIN | RECOVERED, ..Head::about(Kind::Connected, socket, number) };
                head.encode(&mut out, &introduction::whole("", "websocket", &[], "null"), &[]);
            }
            for (socket, space, members) in told.iter() {
                let Some(number) = number_of(space) else { continue };
                if retold.introduced.contains(&SocketId { node: NodeId::NONE, ..socket }) {
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
            let space = self.spaces.at(space);
            space.into_iter().for_each(|space| space.namespace.socket(socket).disconnect());
        }
        self.let_unnumbered_go();
        self.phase.set(Phase::Live);
        self.is_leaving.set(false);
        self.is_full_said.set(false);
        self.outbox.set_open(true);
        self.ask_again();
    }

    fn connected(&self, space: &Rc<Space>, socket: &Socket) {
        let asked = socket.data::<AskNumber>();
        // All of the program's processes look at it, each in its turn.
        if self.share.is_last() {
            drop(socket.take_data::<AskNumber>());
        }
        if !self.share.has(socket.id(), asked.as_deref()) {
            return;
        }
        let ask = asked.map_or(0, |asked| asked.number);
        let Some(namespace) = space.number().or_else(|| self.number_meanwhile(space, socket)) else {
            return socket.disconnect();
        };
        let brought = Brought { auth: socket.auth_json(), handshake: socket.handshake() };
        let (flags, told) = match socket.recovered() {
            false => (0, brought.told(socket.transport())),
            true => {
                let rooms: Vec<_> = socket.rooms_again().collect();
                let data = socket.public_json();
                let data = data.as_deref().unwrap_or("null");
                (RECOVERED, brought.told_again(socket.transport(), &rooms, data))
            }
        };
        let head = Head { flags, number: ask, ..Head::about(Kind::Connected, socket.id(), namespace) };
        if !self.outbox.push(&head, &told, &[]) {
            return self.give_up(socket);
        }
        let kept = brought.kept(self.io.settings().keep_handshake);
        self.told.borrow_mut().enter(socket.id(), space.place, kept);
    }

    fn heard(&self, space: &Space, socket: &Socket, event: &RawEvent<'_>) {
        let Some(namespace) = space.number() else { return };
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
        if let (true, Some(namespace)) = (was_told, space.number()) {
            let head = Head::about(Kind::Disconnected, socket.id(), namespace);
            self.outbox.push_always(&head, &format!("\"{reason}\""), &[]);
        }
    }

    /// A client has changed to a WebSocket.
    fn upgraded(&self, socket: SocketId) {
        let Some(place) = self.told.borrow().find(socket) else { return };
        let number = self.spaces.at(place).and_then(|space| space.number());
        if let Some(number) = number {
            // The program only shows it.
            self.outbox.push(&Head::about(Kind::Upgraded, socket, number), "\"websocket\"", &[]);
        }
    }

    /// There is no room for what a client does or is done to: its connection ends, and it may come back.
    pub(super) fn give_up(&self, socket: &Socket) {
        if !self.is_full_said.replace(true) {
            warn!(
                shard = %self.io.shard(),
                "too much waits for the program: clients that send more are disconnected"
            );
        }
        socket.disconnect_all();
    }

    pub(super) fn listen(self: &Rc<Self>, space: &Rc<Space>) {
        let handlers = &space.namespace;
        let own = Rc::clone(space);
        let link = Rc::clone(self);
        handlers.use_middleware(move |_| match own.number().is_some() || link.finds.get() {
            true => Ok(()),
            false => Err(INVALID_NAMESPACE.into()),
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
