//! Connections that speak TLS: what they send is sealed before, and what has arrived is opened before the scenario hears it.

use super::{ConnectionId, Event, Io, SendError, slot::Phase, tls::Session};

impl Io {
    /// The TLS of the connection that has a slot now, if it has any.
    pub(super) fn keep_session(&mut self, index: u32, session: Option<Session>) {
        let index = index as usize;
        if session.is_some() && self.sessions.len() <= index {
            self.sessions.resize_with(index + 1, || None);
        }
        if let Some(place) = self.sessions.get_mut(index) {
            *place = session.map(Box::new);
        }
    }

    /// The TLS of a connection.
    #[inline]
    pub(super) fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.index as usize)?.as_deref_mut()
    }

    /// Sends what TLS makes of `bytes`; during the handshake it keeps them.
    pub(super) fn send_secured(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        let slot = self.slots.get(id.index as usize).filter(|slot| slot.is(id)).ok_or(SendError::Gone)?;
        let is_open = slot.phase == Phase::Open;
        let Some(session) = self.session(id) else { return Err(SendError::Gone) };
        session.send(bytes);
        if is_open { self.flush_session(id) } else { Ok(()) }
    }

    /// Sends what TLS has made.
    pub(super) fn flush_session(&mut self, id: ConnectionId) -> Result<(), SendError> {
        let output = self.session(id).map(Session::take_output).unwrap_or_default();
        if output.is_empty() { Ok(()) } else { self.send_raw(id, &output) }
    }

    /// Bytes of a secured connection arrived: the scenario hears what they hold.
    pub(super) fn received_secured(
        &mut self,
        id: ConnectionId,
        bytes: &[u8],
        handle: &mut impl FnMut(&mut Self, ConnectionId, Event<'_>),
    ) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let Some(session) = self.session(id) else { return };
        let was_handshaking = session.is_handshaking();
        let result = session.receive(bytes, &mut plain);
        let is_established = was_handshaking && !session.is_handshaking();
        // Also when it failed: the peer is told why. A connection that is gone tells so itself.
        drop(self.flush_session(id));
        if is_established {
            handle(self, id, Event::Connected);
        }
        let is_here = |io: &Self| io.slots[id.index as usize].is(id);
        if !plain.is_empty() && is_here(self) {
            handle(self, id, Event::Received(&mut plain));
        }
        self.plain = plain;
        match result {
            Err(error) if is_here(self) => self.end(id, Some(error), handle),
            Ok(true) if is_here(self) => self.end(id, None, handle),
            Ok(_) | Err(_) => {}
        }
    }
}
