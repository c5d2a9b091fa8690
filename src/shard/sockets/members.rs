//! Sockets as members of the channels whose rooms they are in, where that is wanted (`socketio.members`).
//!
//! A socket enters when its room has taken it in, and departs when it leaves the room or is forgotten: as any subscriber that
//! goes ([`crate::hub::Hub::leave_all`]). One whose client is away and may come back is still there. One without the right to
//! enter is in the room and not a member, and one that loses it with its token departs.

use super::Engines;
use crate::{
    hub::Hub,
    model::{ChannelName, SocketId, StateKey, Ticket},
};

impl Engines {
    /// A room has taken a socket in.
    pub(super) fn enter_room(&mut self, hub: &mut Hub, id: SocketId, room: &ChannelName) {
        if !self.io.settings().members {
            return;
        }
        if !self.may_enter(id, room) {
            return;
        }
        let (user, info) = self.io.member_of(id);
        let connection = id.subscriber();
        let member =
            user.map_or_else(|| StateKey::of_guest(self.shard, connection), |user| StateKey::of_user(&user));
        // Nobody waits for the answer: where there are too many members, it is in the room and not shown.
        hub.enter(self.now, Ticket { connection, token: 0 }, room, member, info);
    }

    /// A socket has another token: it departs from where that does not let it enter.
    pub(super) fn depart_where_not_allowed(&mut self, hub: &mut Hub, id: SocketId) {
        if !self.io.settings().members {
            return;
        }
        let entered: Vec<_> = hub.entered(id.subscriber()).cloned().collect();
        for room in entered {
            if !self.may_enter(id, &room) {
                hub.depart(self.now, id.subscriber(), &room);
            }
        }
    }

    fn may_enter(&self, id: SocketId, room: &ChannelName) -> bool {
        let namespace = self.socket(id).map(|socket| socket.namespace);
        namespace.is_some_and(|namespace| self.io.may_enter(id, namespace, room))
    }

    /// A socket has left a room.
    pub(super) fn depart_room(&mut self, hub: &mut Hub, id: SocketId, room: &ChannelName) {
        if self.io.settings().members {
            hub.depart(self.now, id.subscriber(), room);
        }
    }
}
