//! The body of a request that is too large to be kept, as it comes: the shard puts pieces in, whoever passes them on takes them out.
//!
//! ```text
//!   client ─► shard ─ put ─► │ pieces │ ─ next ─► whoever passes it on
//!               ▲               └ full: the client is not read until half has been taken ┐
//!               └──────────────────────── read on ◄──────────────────────────────────────┘
//! ```
//!
//! Invariant: there are no more than [`UPLOAD_BYTES_MAX`] bytes here, and what came with one receive.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use super::socketio::{Order, Orders};
use crate::{limits::UPLOAD_BYTES_MAX, model::ConnectionId};

/// The end that is taken from.
#[derive(Debug)]
pub(crate) struct Upload {
    /// How long the body is, if its head says so.
    pub(crate) length: Option<u64>,
    shared: Rc<Shared>,
    orders: Orders,
    connection: ConnectionId,
}

/// The end that is put into.
#[derive(Debug)]
pub(crate) struct UploadSource(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pieces: RefCell<VecDeque<Vec<u8>>>,
    bytes: Cell<usize>,
    /// No more comes; whether that was all.
    end: Cell<Option<bool>>,
    /// The client is not read.
    is_paused: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Some(Vec<u8>),
    /// That was all.
    End,
    /// The client has gone in its midst.
    Cut,
}

/// The two ends for the body of a connection's request.
pub(crate) fn upload(
    connection: ConnectionId,
    length: Option<u64>,
    orders: &Orders,
) -> (UploadSource, Upload) {
    let shared = Rc::<Shared>::default();
    let upload = Upload { length, shared: Rc::clone(&shared), orders: orders.clone(), connection };
    (UploadSource(shared), upload)
}

impl Upload {
    /// Waits for what comes next.
    pub(crate) async fn next(&self) -> Piece {
        let shared = &self.shared;
        poll_fn(|cx| {
            if let Some(piece) = shared.pieces.borrow_mut().pop_front() {
                let left = shared.bytes.get() - piece.len();
                shared.bytes.set(left);
                if shared.is_paused.get() && left <= UPLOAD_BYTES_MAX / 2 {
                    shared.is_paused.set(false);
                    self.orders.push(Order::ReadOn { connection: self.connection });
                }
                return Poll::Ready(Piece::Some(piece));
            }
            match shared.end.get() {
                Some(true) => Poll::Ready(Piece::End),
                Some(false) => Poll::Ready(Piece::Cut),
                None => {
                    *shared.waker.borrow_mut() = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl UploadSource {
    /// Puts a piece in; whether the client may be read on.
    pub(crate) fn put(&self, piece: Vec<u8>) -> bool {
        if !piece.is_empty() {
            self.0.bytes.set(self.0.bytes.get() + piece.len());
            self.0.pieces.borrow_mut().push_back(piece);
            self.wake();
        }
        let is_full = self.0.bytes.get() > UPLOAD_BYTES_MAX;
        self.0.is_paused.set(is_full);
        !is_full
    }

    /// No more comes.
    pub(crate) fn end(&self, is_whole: bool) {
        if self.0.end.get().is_none() {
            self.0.end.set(Some(is_whole));
            self.wake();
        }
    }

    fn wake(&self) {
        let waker = self.0.waker.borrow_mut().take();
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Drop for UploadSource {
    fn drop(&mut self) {
        self.end(false);
    }
}
