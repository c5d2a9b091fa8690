//! Rooms that a socket joins, of which the application wants to hear that it is in.

use super::{Order, Rooms, Socket, core::Core, rooms};
use crate::{app::guard::guarded, hub::SubscribeError, mesh::SocketCommand, model::SocketId};

/// One call that waits for its rooms.
pub(super) struct Joining {
    number: u32,
    /// Rooms that have not answered.
    left: usize,
    /// Why the first of those that refused did.
    refused: Option<SubscribeError>,
    tell: Box<dyn FnOnce(Result<(), SubscribeError>)>,
}

/// Puts a socket into rooms and calls `tell` when it is in all of them, or when all have answered and one has refused.
/// Names that cannot be rooms' are left out.
pub(super) fn join(
    socket: &Socket,
    names: &impl Rooms,
    tell: impl FnOnce(Result<(), SubscribeError>) + 'static,
) {
    let (core, id) = (socket.core(), socket.id());
    let rooms = rooms::channels(names, socket.namespace().name());
    let Some(state) = core.presence.state_or_new(id).filter(|_| socket.is_connected()) else { return };
    if rooms.is_empty() {
        return tell(Ok(()));
    }
    let number = core.next_join();
    let (left, tell) = (rooms.len(), Box::new(tell));
    state.joining.borrow_mut().push(Joining { number, left, refused: None, tell });
    core.order(Order::Join { socket: id, rooms, number });
}

/// A room has taken a socket in, or refused it. A call that nobody waits for any more is ignored.
pub(super) fn answered(core: &Core, socket: SocketId, number: u32, result: Result<(), SubscribeError>) {
    let Some(state) = core.presence.state(socket) else { return };
    let mut joining = state.joining.borrow_mut();
    let Some(at) = joining.iter().position(|joining| joining.number == number) else { return };
    joining[at].left -= 1;
    joining[at].refused = joining[at].refused.or(result.err());
    if joining[at].left > 0 {
        return;
    }
    let Joining { refused, tell, .. } = joining.remove(at);
    drop(joining);
    core.presence.prune(socket);
    let _speaking = core.orders.speak_for(socket);
    if guarded("what awaits a room", || tell(refused.map_or(Ok(()), Err))).is_none() {
        let command = SocketCommand::Disconnect { ends_session: false };
        core.order(Order::Command { socket, command });
    }
}
