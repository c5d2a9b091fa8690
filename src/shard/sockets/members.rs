//! Sockets as members of the channels whose rooms they are in, where that is wanted (`socketio.members`).
//!
//! A socket enters when its room has taken it in, and departs when it leaves the room or is forgotten: as any subscriber that
//! goes ([`crate::hub::Hub::leave_all`]). One whose client is away and may come back is still there.

use super::Shard;
use crate::model::{ChannelName, SocketId, StateKey, Ticket};

impl Shard {
    /// A room has taken a socket in.
    pub(super) fn enter_room(&mut self, id: SocketId, room: &ChannelName) {
        if !self.sockets.io.settings().members {
            return;
        }
        let (user, info) = self.sockets.io.member_of(id);
        let connection = id.subscriber();
        let member =
            user.map_or_else(|| StateKey::of_guest(self.id, connection), |user| StateKey::of_user(&user));
        // Nobody waits for the answer: where there are too many members, it is in the room and not shown.
        self.hub.enter(self.now, Ticket { connection, token: 0 }, room, member, info);
    }

    /// A socket has left a room.
    pub(super) fn depart_room(&mut self, id: SocketId, room: &ChannelName) {
        if self.sockets.io.settings().members {
            self.hub.depart(self.now, id.subscriber(), room);
        }
    }
}
