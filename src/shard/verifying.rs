//! Tokens that wait to be looked at, because this turn has looked at as many as it may.
//!
//! Who comes later waits behind those of its own address, and each address has a turn: a good token has its own in the midst of
//! a storm of wrong ones. Where as many wait as may, whoever has the most loses its newest.

use std::net::IpAddr;

use super::turn::Shard;
use crate::{
    app::socketio::EngineId,
    auth::TokenError,
    limits::{TOKEN_BYTES_MAX, TOKENS_WAITING_BYTES_MAX, TOKENS_WAITING_MAX},
    model::{ConnectionId, Fair, Held, SocketId, Ticket, network},
    session::Http,
};

/// All that waits.
#[derive(Default)]
pub(super) struct Verifying {
    /// Requests, which their connections keep: no more than these.
    requests: Fair<Option<IpAddr>, ConnectionId>,
    tokens: Fair<Option<IpAddr>, Waiting>,
    /// Whether a request is next where both wait.
    is_requests_turn: bool,
    /// One that has waited is being looked at.
    is_resuming: bool,
}

/// A token that waits, beside those of requests.
pub(super) enum Waiting {
    /// A handler asks for a connection.
    Connection { asker: Ticket, token: Box<[u8]> },
    /// A Socket.IO client wants to enter a namespace.
    Client { session: EngineId, namespace: Box<str>, auth: Option<Box<str>> },
    /// One that is in brings another.
    Socket { socket: SocketId, token: Box<str> },
}

/// What has its turn.
enum Turn {
    Request(ConnectionId),
    Token(Waiting),
}

impl Verifying {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.tokens.is_empty()
    }

    /// Whether whoever comes now has to wait behind others.
    pub(super) fn is_ahead(&self) -> bool {
        !self.is_resuming && !self.is_empty()
    }

    fn next(&mut self) -> Option<Turn> {
        self.is_requests_turn = !self.is_requests_turn;
        let (requests, tokens) = (&mut self.requests, &mut self.tokens);
        let request = |requests: &mut Fair<_, _>| requests.pop().map(Turn::Request);
        let token = |tokens: &mut Fair<_, _>| tokens.pop().map(Turn::Token);
        match self.is_requests_turn {
            true => request(requests).or_else(|| token(tokens)),
            false => token(tokens).or_else(|| request(requests)),
        }
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Connection { token, .. } => token.len(),
                Self::Client { namespace, auth, .. } => namespace.len() + auth.as_deref().map_or(0, str::len),
                Self::Socket { token, .. } => token.len(),
            }
    }
}

impl Shard {
    /// Lets a request wait, which its connection keeps, until its token can be looked at.
    pub(super) fn put_off(
        &mut self,
        index: u32,
        http: Http,
        request: Vec<u8>,
        hops: u8,
        from: Option<IpAddr>,
        rest: &[u8],
    ) {
        if self.keep_request(index, http, request, hops, rest) {
            let id = self.lines.slab.id(index);
            self.gate.verifying.requests.push(from.map(network), id, 0);
        }
    }

    /// Looks at a token on behalf of a connection, now or in one of the next turns.
    pub(super) fn authenticate(&mut self, asker: Ticket, token: &[u8]) {
        match self.gate.is_busy() {
            _ if token.len() > TOKEN_BYTES_MAX => self.refuse_token(asker, TokenError::TooLong),
            false => self.judge(asker, token),
            true => {
                let address = self.address_of(asker.connection.index);
                self.let_wait(address, Waiting::Connection { asker, token: token.into() });
            }
        }
    }

    /// Lets something wait that comes from this address. What has no place, which may be this, is refused as busy.
    pub(super) fn let_wait(&mut self, address: Option<IpAddr>, waiting: Waiting) {
        let (bytes, max) =
            (waiting.bytes(), Held { count: TOKENS_WAITING_MAX, bytes: TOKENS_WAITING_BYTES_MAX });
        let tokens = &mut self.gate.verifying.tokens;
        for refused in tokens.push_within(address.map(network), waiting, bytes, max) {
            match refused {
                Waiting::Connection { asker, .. } => self.refuse_token(asker, TokenError::Busy),
                Waiting::Client { session, namespace, .. } => {
                    self.refuse_entry_for(session, &namespace, TokenError::Busy);
                }
                Waiting::Socket { socket, .. } => self.tell_authenticated(socket, Err(TokenError::Busy)),
            }
        }
    }

    /// Goes on with the tokens that wait, as far as this turn's budget goes, before those that come now.
    pub(super) fn look_at_tokens(&mut self) {
        self.gate.verifying.is_resuming = true;
        while !self.gate.is_spent()
            && let Some(turn) = self.gate.verifying.next()
        {
            match turn {
                Turn::Request(id) => self.read_kept_of(id),
                Turn::Token(Waiting::Connection { asker, token }) => self.judge(asker, &token),
                Turn::Token(Waiting::Client { session, namespace, auth }) => {
                    self.enter_again(session, &namespace, auth.as_deref(), Vec::new());
                }
                Turn::Token(Waiting::Socket { socket, token }) => self.judge_socket(socket, &token),
            }
        }
        self.gate.verifying.is_resuming = false;
    }

    /// Where a connection comes from.
    pub(super) fn address_of(&self, index: u32) -> Option<IpAddr> {
        let record = self.lines.slab.look(index);
        record.peer_address(self.addresses.get(record.address)).map(|address| address.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_other_tokens_take_turns_and_of_each_the_addresses() {
        let mut verifying = Verifying::default();
        let [storm, one] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        let id = |index| ConnectionId { index, generation: 0 };
        (0..3).for_each(|index| verifying.requests.push(storm, id(index), 0));
        verifying.requests.push(one, id(7), 0);
        let socket = |index| SocketId::local(crate::model::ShardId(0), index, 0);
        for (of, index) in [(storm, 10), (storm, 11), (one, 17)] {
            verifying.tokens.push(of, Waiting::Socket { socket: socket(index), token: "".into() }, 1);
        }
        assert!(verifying.is_ahead());
        let turns = std::iter::from_fn(|| verifying.next()).map(|turn| match turn {
            Turn::Request(id) => id.index,
            Turn::Token(Waiting::Socket { socket, .. }) => socket.index,
            Turn::Token(Waiting::Connection { .. } | Waiting::Client { .. }) => {
                unreachable!("none was put in")
            }
        });
        assert_eq!(turns.collect::<Vec<_>>(), [0, 10, 7, 17, 1, 11, 2]);
        assert!(verifying.is_empty() && !verifying.is_ahead());
    }
}
