//! The means to answer whoever asked: a client its event, or a shard its server event.

use std::{fmt, rc::Rc};

use serde::Serialize;
use tracing::error;

use super::{Order, Socket, arguments, core::Core};
use crate::model::{ShardId, SocketId};

/// Answers one event. It may be kept, or moved into a task, and be used later; dropped, it answers nothing.
#[must_use = "whoever asked waits for the answer"]
pub struct Ack {
    core: Rc<Core>,
    to: Asker,
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Nobody,
    /// A client, for its event of this id; counted under a number ([`super::owed`]).
    Socket {
        socket: SocketId,
        id: u64,
        number: u64,
    },
    Shard {
        shard: ShardId,
        token: u64,
    },
}

impl Ack {
    pub(super) fn to_socket(socket: &Socket, id: Option<u64>) -> Self {
        let core = socket.core();
        let counted = |id| Asker::Socket { socket: socket.id(), id, number: core.owed.begin() };
        let to = id.map_or(Asker::Nobody, counted);
        Self { core: Rc::clone(socket.core()), to }
    }

    pub(super) fn to_shard(core: &Rc<Core>, shard: ShardId, token: Option<u64>) -> Self {
        let to = token.map_or(Asker::Nobody, |token| Asker::Shard { shard, token });
        Self { core: Rc::clone(core), to }
    }

    /// Answers with data, which is one argument or several as in [`Socket::emit`]. Nothing happens if the client
    /// does not wait for an answer.
    pub fn send<T: Serialize + ?Sized>(self, data: &T) {
        if !self.is_awaited() {
            return;
        }
        let arguments = match arguments::encode_acknowledgement(data) {
            Ok(arguments) => arguments,
            Err(error) => return error!("not acknowledged: JSON cannot say the data: {error}"),
        };
        self.core.order(match self.to {
            Asker::Nobody => return,
            Asker::Socket { socket, id, .. } => Order::Acknowledge { socket, id, arguments },
            Asker::Shard { shard, token } => Order::Answer { asker: shard, token, arguments },
        });
    }

    /// Whether anybody waits for the answer.
    pub fn is_awaited(&self) -> bool {
        !matches!(self.to, Asker::Nobody)
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Asker::Socket { socket, number, .. } = self.to {
            self.core.owed.end(socket, number);
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ack").field(&self.to).finish()
    }
}
