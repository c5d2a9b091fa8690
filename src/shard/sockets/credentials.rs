//! Who Socket.IO's clients are: the tokens they enter with, by whatever carrier, those they bring while they are connected, and
//! how many clients a user has.
//!
//! ```text
//!   auth.token ──────────────────────────┐
//!   the request that opened the session ─┴─► entering a namespace ─► the socket's token
//!   Socket::authenticate ─► looked at, now or in its turn ─► in place of it
//! ```

use std::{net::IpAddr, rc::Rc, sync::Arc};

use super::{Engines, Session, Shard, Shown};
use crate::{
    app::socketio::{ConnectError, EngineId},
    auth::{Due, Ruled, TokenError, Verified},
    limits::TOKEN_BYTES_MAX,
    mesh::CarriedToken,
    model::{CloseReason, SocketId},
    session::Outlet,
    shard::{gate::Gate, verifying::Waiting},
    wire::json::Raw,
};

/// What a client says of itself on entering.
#[derive(serde::Deserialize)]
struct Auth {
    token: Option<String>,
}

impl Engines {
    /// What a client enters further namespaces with is as good as what it has brought since.
    fn renew_opening(&mut self, session: u32, token: &Rc<Verified>) {
        let extra = self.sessions.get_mut(session).and_then(|record| record.extra.as_mut());
        if let Some(Shown::Good(before)) = extra.and_then(|extra| extra.token.as_mut())
            && before.user == token.user
        {
            *before = Rc::clone(token);
        }
    }

    /// Counts a session among the clients of a user, unless it is already; `false` is one too many.
    pub(super) fn count_client(&mut self, gate: &Gate, session: u32, user: &str) -> bool {
        if self.sessions.get(session).is_none_or(|record| record.counts_for(user)) {
            return true;
        }
        let Some(counted) = gate.count_user(user) else { return false };
        if let (Some(counted), Some(record)) = (counted, self.sessions.get_mut(session)) {
            record.extra().users.push(counted);
        }
        true
    }

    /// A client that comes back is its user's again, whatever the limit: it was let in before.
    pub(super) fn count_client_again(&mut self, gate: &Gate, session: u32, socket: SocketId) {
        let Some(user) = self.io.user_of(socket) else { return };
        if let Some(record) = self.sessions.get_mut(session)
            && !record.counts_for(&user)
            && let Some(counted) = gate.count_user_again(&user)
        {
            record.extra().users.push(counted);
        }
    }
}

impl Shard {
    /// The token with which a client enters, or none where it needs none; `None` when it was refused, or has to wait.
    pub(super) fn token_to_enter(
        &mut self,
        session: u32,
        namespace: &str,
        auth: Option<Raw<'_>>,
        rulings: &[Ruled],
    ) -> Option<Option<Rc<Verified>>> {
        let token = match self.token_of_client(session, namespace, auth)? {
            Ok(Some(token)) => Some(token),
            Ok(None) => self.ask_who_enters(session, namespace, auth, rulings)?,
            Err(error) => {
                self.refuse_entry(session, namespace, &error);
                return None;
            }
        };
        if let Some(token) = &token
            && !self.engines.count_client(&self.gate, session, &token.user)
        {
            let error = self.connect_error(TokenError::TooMany);
            self.refuse_entry(session, namespace, &error);
            return None;
        }
        Some(token)
    }

    /// The token with which a client enters, if there is one: that which it says, or that of the request which opened its
    /// session. `None` when it has to wait.
    fn token_of_client(
        &mut self,
        session: u32,
        namespace: &str,
        auth: Option<Raw<'_>>,
    ) -> Option<Result<Option<Rc<Verified>>, ConnectError>> {
        if !self.gate.tokens.verifier.takes_tokens() {
            return Some(Ok(None));
        }
        let said = auth.and_then(|auth| serde_json::from_str::<Auth>(auth.as_str()).ok()?.token);
        let said = said.filter(|token| self.gate.tokens.verifier.is_token(token.as_bytes()));
        let opening =
            self.engines.sessions.get(session).and_then(|record| record.extra.as_ref()?.token.as_ref());
        let token: Box<[u8]> = match (&said, opening) {
            (Some(said), _) => said.as_bytes().into(),
            (None, Some(Shown::Text(text))) => text.clone(),
            (None, Some(Shown::Good(token))) => {
                let token = Rc::clone(token);
                return Some(self.still_good(token).map(Some));
            }
            (None, None) => return Some(Ok(None)),
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Some(Err(self.connect_error(TokenError::TooLong)));
        }
        if self.gate.is_busy() {
            // What waits is kept whole, with what the client says beside its token.
            if auth.is_some_and(|auth| auth.as_str().len() > 2 * TOKEN_BYTES_MAX) {
                return Some(Err(self.connect_error(TokenError::Busy)));
            }
            let (address, engine) = (self.address_of_session(session), self.engines.engine_id(session));
            let (namespace, auth) = (namespace.into(), auth.map(|auth| auth.as_str().into()));
            self.let_wait(address, Waiting::Client { session: engine, namespace, auth });
            return None;
        }
        let verified = self.gate.verify(&token, self.now.unix_ms / 1000).map(Rc::new);
        if let (Ok(token), None, Some(record)) = (&verified, said, self.engines.sessions.get_mut(session)) {
            record.extra().token = Some(Shown::Good(Rc::clone(token)));
        }
        Some(verified.map(Some).map_err(|error| self.connect_error(error)))
    }

    /// Whether a token that was good still is.
    fn still_good(&mut self, token: Rc<Verified>) -> Result<Rc<Verified>, ConnectError> {
        let now_s = self.now.unix_ms / 1000;
        let checked = match token.expires_s <= now_s {
            true => Err(TokenError::Expired),
            false => self.gate.check_revoked((*token).clone(), now_s),
        };
        checked.map(|_| token).map_err(|error| self.connect_error(error))
    }

    /// Why a client does not enter with its token.
    pub(super) fn connect_error(&mut self, error: TokenError) -> ConnectError {
        self.count_refused(error);
        ConnectError::coded(error.code(), &error.to_string())
    }

    /// Refuses a client that waits to enter, if it still does.
    pub(in crate::shard) fn refuse_entry_for(
        &mut self,
        session: EngineId,
        namespace: &str,
        error: TokenError,
    ) {
        let error = self.connect_error(error);
        if let Some(session) = self.engines.find(session) {
            self.refuse_entry(session, namespace, &error);
        }
    }

    /// Where the client of a session comes from, as far as that is known.
    pub(super) fn address_of_session(&self, session: u32) -> Option<IpAddr> {
        let record = self.engines.sessions.get(session)?;
        let kept = || record.extra.as_ref().and_then(|extra| extra.for_backend()?.address);
        match record.engine.outlet() {
            Outlet::WebSocket(connection) | Outlet::Parked(connection) => self.address_of(connection),
            Outlet::Queue => kept().map(|address| address.ip()),
        }
    }

    /// A socket of this shard has brought a token: looks at it, now or in its turn.
    pub(super) fn authenticate_socket(&mut self, socket: SocketId, token: Box<str>) {
        match self.gate.is_busy() {
            _ if token.len() > TOKEN_BYTES_MAX => self.tell_authenticated(socket, Err(TokenError::TooLong)),
            false => self.judge_socket(socket, &token),
            true => {
                let session = self.engines.socket(socket).map(|socket| socket.session);
                let address = session.and_then(|session| self.address_of_session(session));
                self.let_wait(address, Waiting::Socket { socket, token });
            }
        }
    }

    /// Looks at a token that a socket has brought.
    pub(in crate::shard) fn judge_socket(&mut self, socket: SocketId, token: &str) {
        let Some(session) = self.engines.socket(socket).map(|socket| socket.session) else { return };
        let verified = match self.gate.tokens.verifier.takes_tokens() {
            true => self.gate.verify(token.as_bytes(), self.now.unix_ms / 1000),
            false => Err(TokenError::KeyUnknown),
        };
        let before = self.engines.io.user_of(socket);
        let verified = verified.and_then(|token| match before {
            Some(before) if *before != *token.user => Err(TokenError::OtherUser),
            _ => Ok(token),
        });
        let verified =
            verified.and_then(|token| match self.engines.count_client(&self.gate, session, &token.user) {
                true => Ok(Rc::new(token)),
                false => Err(TokenError::TooMany),
            });
        if let Ok(token) = &verified {
            self.engines.renew_opening(session, token);
        }
        self.tell_authenticated(socket, verified);
    }

    /// Tells the application what became of a token that a socket has brought.
    pub(in crate::shard) fn tell_authenticated(
        &mut self,
        socket: SocketId,
        result: Result<Rc<Verified>, TokenError>,
    ) {
        if let Err(error) = result {
            self.count_refused(error);
        }
        let is_good = result.is_ok();
        self.engines.io.authenticated(socket, result);
        if is_good {
            self.engines.depart_where_not_allowed(&mut self.hub, socket);
        }
        self.run_orders();
    }

    /// Tells those whose token has run out, and ends those who have not brought another in time.
    pub(in crate::shard) fn pass_socket_tokens(&mut self, now_s: u64, refresh_s: u32) {
        let due = self.engines.io.due_tokens(now_s, refresh_s);
        if due.is_empty() {
            return;
        }
        for due in due {
            match due {
                Due::Late(socket) => self.engines.io.token_expired(socket, refresh_s),
                Due::Over(socket) => self.shut_out_socket(socket, CloseReason::TokenExpired),
            }
        }
        self.run_orders();
    }
}

impl From<CarriedToken> for Shown {
    fn from(token: CarriedToken) -> Self {
        match token {
            CarriedToken::Text(text) => Self::Text(text),
            CarriedToken::Good(token) => Self::Good(Rc::from(token)),
        }
    }
}

impl Session {
    /// The token that came with the request which opened it, for another shard.
    pub(super) fn carried_token(&self) -> Option<CarriedToken> {
        Some(match self.extra.as_ref()?.token.as_ref()? {
            Shown::Text(text) => CarriedToken::Text(text.clone()),
            Shown::Good(token) => {
                let claims = Arc::new((*token.claims).clone());
                CarriedToken::Good(Box::new(Verified { claims, ..(**token).clone() }))
            }
        })
    }

    /// Whether it is counted among the clients of a user.
    fn counts_for(&self, user: &str) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.users.iter().any(|one| one.user() == user))
    }

    /// Its users are not counted any more.
    pub(super) fn count_users_no_more(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.users = Vec::new();
        }
    }
}
