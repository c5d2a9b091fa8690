//! Sessions of Engine.IO that go on in another process, as they stand in a snapshot, each with its connection.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::away::{StoredSocket, StoredToken};
use crate::{
    mesh::{CarriedToken, LeftRequest, LeftSeat, LeftSession},
    model::Passage,
};

#[derive(Serialize, Deserialize)]
pub(super) struct StoredSession<'a> {
    index: u32,
    generation: u32,
    secret: [u8; 9],
    #[serde(borrow)]
    queue: Option<&'a [u8]>,
    asked_at: Option<u32>,
    due_ms: u32,
    is_base64: bool,
    has_entered: bool,
    #[serde(borrow)]
    opened_by: Option<StoredRequest<'a>>,
    #[serde(borrow)]
    token: Option<Shown<'a>>,
    cors: &'a str,
    next_number: u64,
    #[serde(borrow)]
    sockets: Vec<StoredSeat<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredRequest<'a> {
    target: &'a str,
    fields: &'a str,
    address: Option<SocketAddr>,
    is_secure: bool,
    host: Option<&'a str>,
    hops: Vec<IpAddr>,
    is_whole: bool,
}

/// A token as it came, or as it was found to be.
#[derive(Serialize, Deserialize)]
enum Shown<'a> {
    Text(&'a [u8]),
    Good(#[serde(borrow)] StoredToken<'a>),
}

#[derive(Serialize, Deserialize)]
struct StoredSeat<'a> {
    #[serde(borrow)]
    socket: StoredSocket<'a>,
    saved: &'a [u8],
    key: Option<[u8; 32]>,
    may_come_back: bool,
    caught_up: Option<u32>,
}

impl<'a> From<&'a LeftSession> for StoredSession<'a> {
    fn from(session: &'a LeftSession) -> Self {
        let seat = |seat: &'a LeftSeat| StoredSeat {
            socket: (&seat.socket).into(),
            saved: &seat.saved,
            key: seat.key,
            may_come_back: seat.may_come_back,
            caught_up: seat.caught_up,
        };
        let shown = |token: &'a CarriedToken| match token {
            CarriedToken::Text(text) => Shown::Text(text),
            CarriedToken::Good(token) => Shown::Good((&**token).into()),
        };
        let LeftSession { index, generation, secret, asked_at, due_ms, is_base64, has_entered, .. } =
            *session;
        Self {
            index,
            generation,
            secret,
            queue: session.queue.as_deref(),
            asked_at,
            due_ms,
            is_base64,
            has_entered,
            opened_by: session.opened_by.as_ref().map(StoredRequest::from),
            token: session.token.as_ref().map(shown),
            cors: &session.cors,
            next_number: session.next_number,
            sockets: session.sockets.iter().map(seat).collect(),
        }
    }
}

impl StoredSession<'_> {
    /// Reads it; `None` when it is none.
    pub(super) fn read(self) -> Option<LeftSession> {
        let token = match self.token {
            Some(Shown::Text(text)) => Some(CarriedToken::Text(text.into())),
            Some(Shown::Good(token)) => Some(CarriedToken::Good(Box::new(token.read()?))),
            None => None,
        };
        let Self { index, generation, secret, asked_at, due_ms, is_base64, has_entered, .. } = self;
        Some(LeftSession {
            index,
            generation,
            secret,
            queue: self.queue.map(Into::into),
            asked_at,
            due_ms,
            is_base64,
            has_entered,
            opened_by: self.opened_by.map(StoredRequest::read),
            token,
            cors: self.cors.into(),
            next_number: self.next_number,
            sockets: self.sockets.into_iter().map(StoredSeat::read).collect::<Option<_>>()?,
        })
    }
}

impl<'a> From<&'a LeftRequest> for StoredRequest<'a> {
    fn from(request: &'a LeftRequest) -> Self {
        let LeftRequest { target, fields, address, passage, is_whole } = request;
        let Passage { is_secure, host, hops } = passage;
        Self {
            target,
            fields,
            address: *address,
            is_secure: *is_secure,
            host: host.as_deref(),
            hops: hops.to_vec(),
            is_whole: *is_whole,
        }
    }
}

impl StoredRequest<'_> {
    fn read(self) -> LeftRequest {
        let Self { target, fields, address, is_secure, host, hops, is_whole } = self;
        let passage = Passage { is_secure, host: host.map(Into::into), hops: hops.into() };
        LeftRequest { target: target.into(), fields: fields.into(), address, passage, is_whole }
    }
}

impl StoredSeat<'_> {
    fn read(self) -> Option<LeftSeat> {
        let Self { socket, saved, key, may_come_back, caught_up } = self;
        Some(LeftSeat { socket: socket.read()?, saved: saved.into(), key, may_come_back, caught_up })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::away, *};

    /// A session that has everything a session may have.
    pub(in crate::storage) fn session() -> LeftSession {
        let sockets = away::tests::sockets().sockets.into_iter();
        let token = sockets.clone().find_map(|socket| socket.kept.token).expect("one has shown a token");
        let seat = |(socket, caught_up): (_, Option<u32>)| LeftSeat {
            socket,
            saved: vec![0, 255],
            key: caught_up.map(|_| [7; 32]),
            may_come_back: caught_up.is_none(),
            caught_up,
        };
        let passage = Passage {
            is_secure: true,
            host: Some("example.org".into()),
            hops: [([192, 0, 2, 1]).into()].into(),
        };
        let opened_by = LeftRequest {
            target: "/socket.io/?EIO=4".into(),
            fields: "Origin: a\n".into(),
            address: Some(([192, 0, 2, 9], 443).into()),
            passage,
            is_whole: true,
        };
        LeftSession {
            index: 7,
            generation: u32::MAX,
            secret: [9; 9],
            queue: None,
            asked_at: Some(41),
            due_ms: 20_000,
            is_base64: true,
            has_entered: true,
            opened_by: Some(opened_by),
            token: Some(CarriedToken::Good(Box::new(token))),
            cors: "Vary: Origin\r\n".into(),
            next_number: 1 << 40,
            sockets: sockets.zip([None, Some(3)]).map(seat).collect(),
        }
    }

    #[test]
    fn a_token_that_nobody_has_looked_at_is_read_as_it_was_written() {
        let session = LeftSession {
            queue: Some(vec![b'2']),
            token: Some(CarriedToken::Text([0xff].into())),
            opened_by: None,
            sockets: Vec::new(),
            ..session()
        };
        let bytes = postcard::to_stdvec(&StoredSession::from(&session)).expect("it is written to memory");
        let read: StoredSession<'_> = postcard::from_bytes(&bytes).expect("it was written");
        assert_eq!(read.read(), Some(session));
    }
}
