//! Lists of functions an application registered.
//!
//! Invariant: a list is never borrowed while one of its functions runs, so that a function may register others,
//! remove itself, or emit what runs it again. A list is shared, and copied only when it changes.

use std::{cell::RefCell, fmt, rc::Rc};

use rustc_hash::FxHashMap;

/// A list as it is at one moment.
type Shared<F> = Rc<[Rc<F>]>;

/// Functions that are called in the order in which they were registered.
pub(super) struct Listeners<F: ?Sized>(RefCell<Option<Shared<F>>>);

/// As [`Listeners`], by name. The names are the application's own; what clients send is only looked up.
pub(super) struct NamedListeners<F: ?Sized>(RefCell<FxHashMap<Box<str>, Shared<F>>>);

impl<F: ?Sized> Listeners<F> {
    pub(super) fn add(&self, listener: Rc<F>) {
        let mut list = self.0.borrow_mut();
        *list = Some(with(list.as_deref().unwrap_or_default(), listener));
    }

    pub(super) fn clear(&self) {
        self.0.take();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// All of them as they are now.
    pub(super) fn all(&self) -> Vec<Rc<F>> {
        self.0.borrow().as_deref().map_or_else(Vec::new, <[_]>::to_vec)
    }

    /// Calls `call` with each.
    pub(super) fn each(&self, mut call: impl FnMut(&F)) {
        // The list is let go of before the first call.
        let list = self.0.borrow().clone();
        list.iter().flat_map(|list| list.iter()).for_each(|listener| call(listener));
    }
}

impl<F: ?Sized> NamedListeners<F> {
    pub(super) fn add(&self, name: &str, listener: Rc<F>) {
        let mut lists = self.0.borrow_mut();
        let list = with(lists.get(name).map_or(&[], |list| list), listener);
        lists.insert(name.into(), list);
    }

    pub(super) fn remove(&self, name: &str) {
        // What a function holds may, when dropped, remove others.
        let removed = self.0.borrow_mut().remove(name);
        drop(removed);
    }

    pub(super) fn clear(&self) {
        self.0.take();
    }

    pub(super) fn of(&self, name: &str) -> Option<Shared<F>> {
        self.0.borrow().get(name).cloned()
    }
}

fn with<F: ?Sized>(list: &[Rc<F>], listener: Rc<F>) -> Shared<F> {
    list.iter().cloned().chain([listener]).collect()
}

impl<F: ?Sized> Default for Listeners<F> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<F: ?Sized> Default for NamedListeners<F> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<F: ?Sized> fmt::Debug for Listeners<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listeners", self.0.borrow().as_ref().map_or(0, |list| list.len()))
    }
}

impl<F: ?Sized> fmt::Debug for NamedListeners<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.borrow().keys()).finish()
    }
}
