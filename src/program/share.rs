//! Which of a shard's clients are one process's, where a program has several.
//!
//! Invariant: of the processes of a program each client is one's.

use std::{cell::Cell, rc::Rc};

use crate::{app::socketio::Applicant, model::SocketId};

use super::spaces::AskNumber;

/// One process's share of the clients.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) index: u16,
    pub(super) count: u16,
    /// Who is asked next about a client that wants to enter, of all processes.
    pub(super) turn: Rc<Cell<u16>>,
}

impl Share {
    /// Whether the process is the only one.
    pub(super) fn is_whole(&self) -> bool {
        self.count == 1
    }

    /// Whether it is the last of them.
    pub(super) fn is_last(&self) -> bool {
        self.index + 1 == self.count
    }

    /// Whether it is this process that is asked about a client. The first that looks decides, and the client stays its.
    pub(super) fn is_asked(&self, who: &Applicant) -> bool {
        if self.is_whole() {
            return true;
        }
        let chosen = who.data::<AskNumber>().map_or_else(
            || {
                let chosen = self.turn.get();
                self.turn.set((chosen + 1) % self.count);
                who.set_data(AskNumber { number: 0, worker: chosen });
                chosen
            },
            |asked| asked.worker,
        );
        chosen == self.index
    }

    /// Whether a socket is this process's: that of the one which was asked, or else by its id.
    pub(super) fn has(&self, socket: SocketId, asked: Option<&AskNumber>) -> bool {
        let by_id = || (socket.index.wrapping_add(socket.generation) % u32::from(self.count)) as u16;
        self.is_whole() || asked.map_or_else(by_id, |asked| asked.worker) == self.index
    }
}
