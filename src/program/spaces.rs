//! The namespaces that programs have named, and the clients that wait to enter one.

use std::{cell::Cell, rc::Rc};

use crate::app::socketio::{ConnectError, Namespace, Timer};

/// A namespace.
pub(super) struct Space {
    pub(super) namespace: Namespace,
    /// Among those known.
    pub(super) place: u32,
    /// The program's number for it, if it has named it.
    pub(super) number: Cell<Option<u16>>,
    /// Whether the program is asked who may enter.
    pub(super) asks: Cell<bool>,
    /// Whether that has been registered.
    pub(super) has_middleware: Cell<bool>,
}

/// A client that wants to enter.
pub(super) struct Pending {
    pub(super) space: Rc<Space>,
    pub(super) introduction: String,
    pub(super) give: Box<dyn FnOnce(Result<(), ConnectError>)>,
    pub(super) _timer: Timer,
}

/// Kept for a client that a program has let in: the number of the question.
pub(super) struct AskNumber(pub(super) u32);
