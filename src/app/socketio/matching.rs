//! Dynamic namespaces: made when the first client wants to enter, gone when the last has left.

use std::{
    cell::{Cell, RefCell},
    fmt,
    ops::Deref,
    rc::Rc,
};

use serde::de::DeserializeOwned;

use super::{
    ConnectError, Handlers, Namespace, arguments::PayloadError, core::Core, listeners::Listeners,
    socket::read_auth,
};
use crate::{app::guard::guarded, limits::NAMESPACES_DYNAMIC_MAX};

/// All namespaces whose name a function accepts. It has the methods of [`Handlers`], which are then those of each of
/// the namespaces.
#[derive(Clone)]
pub struct Matching(Rc<Inner>);

struct Inner {
    accepts: Box<Accepts>,
    handlers: Handlers,
    on_namespace: Listeners<dyn Fn(&Namespace)>,
}

type Accepts = dyn Fn(&str, &Auth<'_>) -> bool;

/// What a client sent to prove itself.
#[derive(Clone, Copy, Debug)]
pub struct Auth<'a>(pub(super) Option<&'a str>);

/// The rules of an application, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Rules {
    list: RefCell<Vec<Matching>>,
    /// How many namespaces they have made that are still there.
    namespaces: Cell<usize>,
}

impl Matching {
    pub(super) fn new(accepts: impl Fn(&str, &Auth<'_>) -> bool + 'static) -> Self {
        Self(Rc::new(Inner {
            accepts: Box::new(accepts),
            handlers: Handlers::default(),
            on_namespace: Listeners::default(),
        }))
    }

    /// Calls `listener` with each namespace that is made, before anybody is in it: the place to give it data.
    pub fn on_namespace(&self, listener: impl Fn(&Namespace) + 'static) {
        self.0.on_namespace.add(Rc::new(listener));
    }
}

impl Rules {
    pub(super) fn add(&self, rule: Matching) {
        self.list.borrow_mut().push(rule);
    }

    /// The application ends.
    pub(super) fn end(&self) {
        for rule in self.list.take() {
            rule.0.handlers.end();
            rule.0.on_namespace.clear();
        }
    }

    /// Makes the namespace if a rule accepts it and there is room.
    pub(super) fn make(core: &Rc<Core>, name: &str, auth: Auth<'_>) -> Result<Namespace, ConnectError> {
        let invalid = || ConnectError::new("Invalid namespace");
        let rules = core.rules.list.borrow().clone();
        let accepts =
            |rule: &Matching| guarded("of_matching", || (rule.0.accepts)(name, &auth)) == Some(true);
        let rule = rules.into_iter().find(accepts).ok_or_else(invalid)?;
        // The function may have made it itself.
        if let Some(namespace) = core.namespace_named(name) {
            return Ok(namespace);
        }
        let made = &core.rules.namespaces;
        if made.get() >= NAMESPACES_DYNAMIC_MAX {
            return Err("the server has as many namespaces as it may; try again later".into());
        }
        let namespace = core.add_namespace(name, Some(rule.clone())).ok_or_else(invalid)?;
        made.set(made.get() + 1);
        rule.0.on_namespace.each(|listener| {
            guarded("a namespace listener", || listener(&namespace));
        });
        Ok(namespace)
    }

    /// The last socket of a namespace has left.
    pub(super) fn release(&self, namespace: &Namespace) {
        self.count_out();
        namespace.core().remove_namespace(namespace);
    }

    /// One of the namespaces made by rules has gone, or stays for ever and counts no more.
    pub(super) fn count_out(&self) {
        self.namespaces.set(self.namespaces.get() - 1);
    }
}

impl Auth<'_> {
    /// The JSON object, as it was sent.
    pub fn json(&self) -> Option<&str> {
        self.0
    }

    /// The object, as whatever it shall be.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        read_auth(self.0)
    }
}

impl Deref for Matching {
    type Target = Handlers;

    fn deref(&self) -> &Handlers {
        &self.0.handlers
    }
}

impl fmt::Debug for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Matching").field(&self.0.handlers).finish()
    }
}
