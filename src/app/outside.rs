//! Reaching a running server from threads that are not its own.
//!
//! ```text
//!   any thread ─► Handle ─► bounded queue ─► a shard's turn ─► what a handler's call can do
//!                    └─ full: nothing is taken, the caller is told
//! ```

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_channel::{Receiver, Sender, TrySendError, bounded};

use super::{Context, socketio::Io};
use crate::{
    limits::{HANDLE_CALLS_MAX, HANDLE_PUBLICATION_BYTES_MAX},
    model::{ChannelName, Payload},
};

/// A way into a running server for any thread: a database's listener, a worker, a bridge to something else.
///
/// It leads to one shard. What is asked through it and its clones takes effect in the order in which it was asked, on every
/// shard. Nothing blocks: what waits is bounded ([`HANDLE_CALLS_MAX`], [`HANDLE_PUBLICATION_BYTES_MAX`]), and beyond
/// that the caller is told to try again. What still waits when the server ends is not done.
#[derive(Clone)]
pub struct Handle {
    calls: Sender<Call>,
    /// Of publications that wait.
    bytes: Arc<AtomicUsize>,
    /// Wakes the shard if it sleeps.
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleError {
    /// The shard has too much waiting; try again in a moment.
    Full,
    /// The server has ended, or the shard has.
    Ended,
}

/// The shard's end.
pub struct Outside {
    calls: Receiver<Call>,
    bytes: Arc<AtomicUsize>,
}

/// What somebody wants done on a shard.
pub(crate) enum Call {
    /// Publish.
    Publish(ChannelName, Payload),
    /// Do what a handler's call can do.
    Run(Box<dyn FnOnce(&mut Context<'_>) + Send>),
    /// Do what a Socket.IO application can do.
    RunSocketio(Box<dyn FnOnce(&Io) + Send>),
}

/// Makes the way to a shard that `wake` wakes if it sleeps.
pub fn outside(wake: impl Fn() + Send + Sync + 'static) -> (Handle, Outside) {
    let (sender, receiver) = bounded(HANDLE_CALLS_MAX);
    let bytes = Arc::<AtomicUsize>::default();
    let handle = Handle { calls: sender, bytes: Arc::clone(&bytes), wake: Arc::new(wake) };
    (handle, Outside { calls: receiver, bytes })
}

impl Handle {
    /// Publishes. Taken means that the shard will do it; a channel that cannot be published to then counts as
    /// `roadstead_publications_refused_total`.
    pub fn publish(&self, channel: ChannelName, payload: Payload) -> Result<(), HandleError> {
        let bytes = payload.data.len();
        let is_room =
            |waiting: usize| Some(waiting + bytes).filter(|all| *all <= HANDLE_PUBLICATION_BYTES_MAX);
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_room)
            .map_err(|_| HandleError::Full)?;
        self.leave(Call::Publish(channel, payload)).inspect_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    /// Calls a function on the shard's thread, as a handler is called: what it asks for through the context is done when it
    /// returns, and replies come to the shard's handler. It must not block; if it panics, what it asked for is not done.
    pub fn run(&self, function: impl FnOnce(&mut Context<'_>) + Send + 'static) -> Result<(), HandleError> {
        self.leave(Call::Run(Box::new(function)))
    }

    /// Calls a function on the shard's thread with its Socket.IO application, through which every client of every shard can
    /// be reached. It must not block.
    pub fn run_socketio(&self, function: impl FnOnce(&Io) + Send + 'static) -> Result<(), HandleError> {
        self.leave(Call::RunSocketio(Box::new(function)))
    }

    fn leave(&self, call: Call) -> Result<(), HandleError> {
        self.calls.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => HandleError::Full,
            TrySendError::Closed(_) => HandleError::Ended,
        })?;
        (self.wake)();
        Ok(())
    }
}

impl Outside {
    /// The next thing to do, if there is one.
    pub(crate) fn next(&self) -> Option<Call> {
        let call = self.calls.try_recv().ok()?;
        if let Call::Publish(_, payload) = &call {
            self.bytes.fetch_sub(payload.data.len(), Ordering::Relaxed);
        }
        Some(call)
    }

    /// Whether there is something to do.
    pub(crate) fn has_more(&self) -> bool {
        !self.calls.is_empty()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("waiting", &self.calls.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the shard has too much waiting from other threads; try again in a moment",
            Self::Ended => "the server has ended",
        })
    }
}

impl std::error::Error for HandleError {}
