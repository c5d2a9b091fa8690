//! How namespaces come and go: the program names them, makes them as clients want them, and lets them end.
//!
//! ```text
//!   named ──(to end)──► goes with the last who is in it ──► gone, and the program is told
//!     ▲  └──(the next program does not name it)──┘  │
//!     └──────────────(named again)──────────────────┘
//! ```
//!
//! Invariant: one that no program has named goes when nobody is in it, but for `/` and for those of several processes.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::{
    frame::{Head, Kind},
    introduction,
    link::{Link, Phase},
    spaces::Space,
};
use crate::{
    app::socketio::Socket,
    limits::{PROGRAM_NAMESPACES_MAX, PROGRAM_RECALLED_BYTES_MAX},
};

/// The program has middleware for a namespace.
const MIDDLEWARE: u8 = 1;
/// A namespace is to end when nobody is in it.
const ENDS: u8 = 2;

impl Link {
    /// The program has named a namespace; whether it may.
    pub(super) fn name(self: &Rc<Self>, number: u16, name: &str, flags: u8) -> bool {
        let Some(space) = self.space_named(name).filter(|_| usize::from(number) < PROGRAM_NAMESPACES_MAX)
        else {
            return false;
        };
        // It stays, if it was about to go.
        drop(self.io.of(name));
        space.ends.set(None);
        match self.phase.get() {
            Phase::Away | Phase::Telling => {
                // Whoever wants to enter a new one waits until the program is told of clients.
                if self.finds.get() && space.number().is_none() {
                    self.build_gate(&space);
                }
                self.named.borrow_mut().push((number, space, flags));
            }
            Phase::Live | Phase::Paused => {
                self.spaces.number(&space, number);
                self.set_flags(&space, flags);
            }
        }
        true
    }

    /// The program has named a namespace, or wants one to end; whether it may.
    pub(super) fn take_namespace(self: &Rc<Self>, head: &Head, name: &str) -> bool {
        match head.flags & ENDS != 0 {
            true => self.end_space(head, name),
            false => self.name(head.namespace, name, head.flags),
        }
    }

    /// The program wants a namespace to end; whether it may. It ends when nobody is in it any more, is being let in, or may come
    /// back, and the program is told then.
    fn end_space(self: &Rc<Self>, head: &Head, name: &str) -> bool {
        let Some(space) = self.spaces.numbered(head.namespace).filter(|_| self.is_heard()) else {
            return false;
        };
        if name == "/" || space.namespace.name() != name {
            return false;
        }
        // The program learns of whoever it is asked about, and keeps the namespace.
        if !self.is_asked_about(&space) {
            space.ends.set(Some(head.number));
            self.let_go(&space);
        }
        true
    }

    /// The program makes namespaces as clients want them.
    pub(super) fn take_finds(&self) {
        // Of several processes the others would not know what one makes.
        match (self.share.is_whole(), self.is_heard()) {
            (false, _) => {}
            (true, true) => self.finds.set(true),
            (true, false) => self.will_find.set(true),
        }
    }

    /// A namespace, whose clients are told of from now on; `None` when none can have the name.
    pub(super) fn space_named(self: &Rc<Self>, name: &str) -> Option<Rc<Space>> {
        let known = self.spaces.named(name);
        // Those of a program that has gone stay until their clients have gone, too.
        if known.is_some() || self.spaces.count() >= 2 * PROGRAM_NAMESPACES_MAX {
            return known;
        }
        // Whether there can be one of that name.
        drop(self.io.sockets_of(name)?);
        let space = self.spaces.add(self.io.of(name));
        self.listen(&space);
        Some(space)
    }

    pub(super) fn set_flags(self: &Rc<Self>, space: &Rc<Space>, flags: u8) {
        let asks = flags & MIDDLEWARE != 0;
        space.asks.set(asks);
        if asks {
            self.build_gate(space);
        }
    }

    /// A program begins, and is to say what there is. The namespaces in which somebody is, or of which something waits to be told,
    /// with what was said by one who is there.
    pub(super) fn begin(self: &Rc<Self>) -> Vec<String> {
        self.life.set(self.life.get() + 1);
        self.named.take();
        self.will_find.set(false);
        let waiting = self.outbox.namespaces();
        let told = self.told.borrow();
        let mut inhabited: FxHashMap<u32, &str> = FxHashMap::default();
        let mut bytes = 0;
        for (_, place, members) in told.iter() {
            let known = inhabited.entry(place).or_default();
            if known.is_empty() && bytes + members.len() <= PROGRAM_RECALLED_BYTES_MAX {
                bytes += members.len();
                *known = members;
            }
        }
        let mut recalled = Vec::new();
        let mut empty = Vec::new();
        for space in self.spaces.all() {
            let name = space.namespace.name();
            let is_waiting = space.number().is_some_and(|number| waiting.contains(&number));
            match is_waiting || space.namespace.sockets_count() > 0 || self.is_asked_about(&space) {
                _ if name == "/" => {}
                true => {
                    let members = inhabited.get(&space.place).copied().unwrap_or_default();
                    recalled.push(introduction::recalled(name, members));
                }
                // Whoever wants to enter waits for what the program says.
                false if self.finds.get() => empty.push(space),
                false => {}
            }
        }
        drop(told);
        empty.iter().for_each(|space| self.spaces.unnumber(space));
        self.let_unnumbered_go();
        recalled
    }

    /// Lets the namespaces go that no program has named; those of several processes stay, for another may have.
    pub(super) fn let_unnumbered_go(self: &Rc<Self>) {
        if !self.share.is_whole() {
            return;
        }
        for space in self.spaces.all() {
            if space.number().is_none() && space.namespace.name() != "/" {
                space.asks.set(false);
                space.ends.set(None);
                self.build_gate(&space);
                self.let_go(&space);
            }
        }
    }

    /// A namespace goes when nobody is in it any more.
    fn let_go(self: &Rc<Self>, space: &Rc<Space>) {
        space.namespace.let_go(self.when_gone(space));
    }

    /// What is to be done when a namespace has gone.
    fn when_gone(self: &Rc<Self>, space: &Rc<Space>) -> impl FnOnce() + 'static {
        let (link, space) = (Rc::downgrade(self), Rc::downgrade(space));
        move || {
            let (Some(link), Some(space)) = (link.upgrade(), space.upgrade()) else { return };
            if let (Some(namespace), Some(number)) = (space.number(), space.ends.take()) {
                let head = Head { namespace, number, ..Head::of(Kind::Ended) };
                link.outbox.push_always(&head, "", &[]);
            }
            link.spaces.remove(&space);
        }
    }

    /// A client wants to enter a namespace that is not there; whether it is now. It goes again if the client is not let in.
    pub(super) fn want(self: &Rc<Self>, name: &str) -> bool {
        if !self.finds.get() {
            return false;
        }
        let Some(space) = self.space_named(name) else { return false };
        self.build_gate(&space);
        space.namespace.pass_with_the_last(self.when_gone(&space));
        true
    }

    /// Numbers namespaces as the new program has; the new number for each old one.
    pub(super) fn renumber(self: &Rc<Self>) -> FxHashMap<u16, Option<u16>> {
        let before: Vec<_> =
            self.spaces.all().into_iter().filter_map(|space| Some((space.number()?, space))).collect();
        before.iter().for_each(|(_, space)| self.spaces.unnumber(space));
        self.finds.set(self.will_find.get());
        for (number, space, flags) in self.named.take() {
            self.spaces.number(&space, number);
            self.set_flags(&space, flags);
        }
        before.into_iter().map(|(number, space)| (number, space.number())).collect()
    }

    /// The number of a namespace, until the program gives it one, to which somebody has come back before that: from a program of another
    /// process of this server.
    pub(super) fn number_meanwhile(&self, space: &Rc<Space>, socket: &Socket) -> Option<u16> {
        let is_early = socket.recovered() && !self.is_heard();
        let number = self.spaces.free_number().filter(|_| is_early)?;
        self.spaces.number(space, number);
        Some(number)
    }
}
