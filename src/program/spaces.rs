//! The namespaces that programs have named, and the clients that wait to enter one.
//!
//! ```text
//!   places:   │ / │ /chat │ – │ /room-7 │      of this shard, for as long as a namespace is there
//!   numbers:  │ / │ /room-7 │ /chat │          of the program that is linked, or was last
//! ```
//!
//! Invariant: a number is one namespace's, and a namespace has one number at most.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use rustc_hash::FxHashMap;

use crate::{
    app::socketio::{ConnectError, Namespace, Timer},
    limits::PROGRAM_NAMESPACES_MAX,
};

/// A namespace.
pub(super) struct Space {
    pub(super) namespace: Namespace,
    /// Among those known.
    pub(super) place: u32,
    /// The program's number for it, if it has named it.
    number: Cell<Option<u16>>,
    /// Whether the program is asked who may enter.
    pub(super) asks: Cell<bool>,
    /// Whether clients are let in only when what they have to wait for has been.
    pub(super) has_gate: Cell<bool>,
    /// The program wants it to end, and waits to be told so under this number.
    pub(super) ends: Cell<Option<u32>>,
}

/// A client that wants to enter, and waits for what the program says.
pub(super) struct Pending {
    pub(super) about: About,
    pub(super) introduction: String,
    pub(super) give: Box<dyn FnOnce(Result<(), ConnectError>)>,
    pub(super) _timer: Timer,
}

/// What the program is asked.
#[derive(Clone)]
pub(super) enum About {
    /// Whether a client may enter.
    Entry(Rc<Space>),
    /// Whether there is a namespace of a name that it has not named.
    Name(Rc<str>),
}

/// Kept for a client that a program is asked about, until it has entered.
pub(super) struct AskNumber {
    /// The number of the question; 0 if none was put.
    pub(super) number: u32,
    /// Which of the program's processes is asked.
    pub(super) worker: u16,
}

/// One shard's.
#[derive(Default)]
pub(super) struct Spaces(RefCell<Table>);

#[derive(Default)]
struct Table {
    places: Vec<Option<Rc<Space>>>,
    free: Vec<u32>,
    names: FxHashMap<Box<str>, u32>,
    numbers: Vec<Option<Rc<Space>>>,
}

impl Space {
    /// The program's number for it, if it has named it.
    pub(super) fn number(&self) -> Option<u16> {
        self.number.get()
    }
}

impl Spaces {
    /// Adds a namespace that is not there yet.
    pub(super) fn add(&self, namespace: Namespace) -> Rc<Space> {
        let mut table = self.0.borrow_mut();
        let place = table.free.pop().unwrap_or(table.places.len() as u32);
        table.names.insert(namespace.name().into(), place);
        let space = Rc::new(Space {
            namespace,
            place,
            number: Cell::default(),
            asks: Cell::default(),
            has_gate: Cell::default(),
            ends: Cell::default(),
        });
        match table.places.get_mut(place as usize) {
            Some(free) => *free = Some(Rc::clone(&space)),
            None => table.places.push(Some(Rc::clone(&space))),
        }
        space
    }

    /// A namespace has gone.
    pub(super) fn remove(&self, space: &Space) {
        self.unnumber(space);
        let mut table = self.0.borrow_mut();
        table.names.remove(space.namespace.name());
        table.free.push(space.place);
        let removed = table.places[space.place as usize].take();
        drop(table);
        drop(removed);
    }

    /// Gives a namespace a number, which whoever had it before has no more.
    pub(super) fn number(&self, space: &Rc<Space>, number: u16) {
        self.unnumber(space);
        let mut table = self.0.borrow_mut();
        let at = usize::from(number);
        if table.numbers.len() <= at {
            table.numbers.resize(at + 1, None);
        }
        if let Some(before) = table.numbers[at].replace(Rc::clone(space)) {
            before.number.set(None);
        }
        space.number.set(Some(number));
    }

    /// Takes a namespace its number.
    pub(super) fn unnumber(&self, space: &Space) {
        if let Some(number) = space.number.take() {
            self.0.borrow_mut().numbers[usize::from(number)] = None;
        }
    }

    /// A number that no namespace has, if there is room for one more.
    pub(super) fn free_number(&self) -> Option<u16> {
        let table = self.0.borrow();
        let free = table.numbers.iter().position(Option::is_none).unwrap_or(table.numbers.len());
        u16::try_from(free).ok().filter(|_| free < PROGRAM_NAMESPACES_MAX)
    }

    /// The namespace of a number, if the program has named it.
    pub(super) fn numbered(&self, number: u16) -> Option<Rc<Space>> {
        self.0.borrow().numbers.get(usize::from(number)).cloned().flatten()
    }

    pub(super) fn named(&self, name: &str) -> Option<Rc<Space>> {
        let table = self.0.borrow();
        table.places[*table.names.get(name)? as usize].clone()
    }

    pub(super) fn at(&self, place: u32) -> Option<Rc<Space>> {
        self.0.borrow().places.get(place as usize).cloned().flatten()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Rc<Space>> {
        self.0.borrow().places.iter().flatten().cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().names.len()
    }
}
