//! What the operator's backend is told of that has happened on this shard: who has come and gone, and what the hub says of
//! channels. Where nobody wants to be told, nothing is made here.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{connection::Flags, turn::Shard};
use crate::{
    app::socketio::NamespaceId,
    model::{CloseReason, Notice, NoticeKind, SocketId, Visitor},
    session::{Kind, Session},
};

impl Shard {
    /// Leaves a notice for the backend.
    pub(super) fn notify(&mut self, notice: Notice) {
        if let Some(notices) = &mut self.notices {
            notices.push(notice, self.now.unix_ms);
        }
    }

    fn wants(&self, kind: NoticeKind) -> bool {
        self.notices.as_ref().is_some_and(|notices| notices.wants(kind))
    }

    /// Whether anybody wants to know who comes and goes, and by which id: a connection that goes to another shard has another there.
    pub(super) fn is_told_of_visitors(&self) -> bool {
        self.wants(NoticeKind::Connected) || self.wants(NoticeKind::Disconnected)
    }

    /// Tells, once for the process, that it ends.
    pub(super) fn notify_of_drain(&mut self) {
        if self.id.0 == 0 {
            self.leave_nodes();
            self.notify(Notice::NodeDraining);
        }
    }

    /// The shard has failed and begun anew.
    pub(super) fn notify_of_restart(&mut self, restarts: u64) {
        // It has done no turn yet, and knows no time.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(notices) = &mut self.notices {
            notices.push(Notice::ShardRestarted(restarts), unix.as_millis() as u64);
        }
    }

    /// Somebody has come who stays: on a WebSocket or an event stream.
    pub(super) fn notify_of_arrival(&mut self, index: u32) {
        if self.wants(NoticeKind::Connected)
            && let Some(visitor) = self.visitor(index)
        {
            self.notify(Notice::Connected(visitor));
        }
    }

    /// A connection is about to end.
    pub(super) fn notify_of_departure(&mut self, index: u32, reason: CloseReason) {
        if self.wants(NoticeKind::Disconnected)
            && let Some(visitor) = self.visitor(index)
        {
            self.notify(Notice::Disconnected(visitor, reason.label()));
        }
    }

    /// Who has come on a connection, if it is one of those that stay. Those that carry Engine.IO are nobody by themselves.
    fn visitor(&self, index: u32) -> Option<Box<Visitor>> {
        let record = self.lines.slab.look(index);
        let transport = match &record.session {
            Session::EventStream => "event_stream",
            session if session.kind() == Kind::WebSocket && record.flags.has(Flags::KNOWN) => "websocket",
            _ => return None,
        };
        let connection = self.lines.slab.id(index);
        let address = record.peer_address(self.addresses.get(record.address));
        Some(Box::new(Visitor {
            client: format!("{}.{index}.{}", self.id, connection.generation).into(),
            transport,
            namespace: None,
            user: self.gate.holders.get(index).map(|holder| Box::from(&*holder.user())),
            address: address.map(|address| address.ip()),
        }))
    }

    /// A client of Socket.IO is in a namespace; not, if it has come back.
    pub(super) fn notify_of_socket(&mut self, socket: SocketId, namespace: NamespaceId) {
        if self.wants(NoticeKind::Connected) {
            let visitor = self.socket_visitor(socket, namespace);
            self.notify(Notice::Connected(visitor));
        }
    }

    /// It is not any more, and does not come back.
    pub(super) fn notify_of_socket_gone(
        &mut self,
        socket: SocketId,
        namespace: NamespaceId,
        reason: CloseReason,
    ) {
        if self.wants(NoticeKind::Disconnected) {
            let visitor = self.socket_visitor(socket, namespace);
            self.notify(Notice::Disconnected(visitor, reason.label()));
        }
    }

    fn socket_visitor(&self, socket: SocketId, namespace: NamespaceId) -> Box<Visitor> {
        let (connection, address) = self.engines.whereabouts(socket);
        let record = connection.map(|index| self.lines.slab.look(index));
        let here = record.and_then(|record| record.peer_address(self.addresses.get(record.address)));
        let namespace = self.engines.io.namespace_name(namespace);
        Box::new(Visitor {
            client: socket.to_string().into(),
            transport: "socket.io",
            namespace: Some((*namespace).into()),
            user: self.engines.io.user_of(socket),
            address: here.or(address).map(|address| address.ip()),
        })
    }
}
