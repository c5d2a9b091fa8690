//! Who clients are: their tokens, looked at within a budget, and what becomes of those whose token runs out.
//!
//! ```text
//!   request with a token ──┐ this turn's budget is left ─► looked at ─► held by the connection, or refused
//!   /ws connect, refresh ──┤
//!   Socket.IO's clients ───┘ it is spent ─► waits for its turn (`verifying.rs`) ─► the next turns
//! ```
//!
//! A signature takes up to a tenth of a millisecond, and anybody can send wrong ones. So a turn looks at tokens for no
//! longer than [`TOKENS_US_PER_TURN`], and whoever is in already has the rest of each turn.
//!
//! Which rights a token gives is not looked at here.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{
    answer::Outcome, connection::Flags, consults::Consults, setup::Errand, turn::Shard, verifying::Verifying,
};
use crate::{
    app::{Admitted, Reply, TOKEN_PREFIX, offered_protocols},
    auth::{Due, Holders, Revocation, Revoked, TokenError, Verified},
    backend::Desk,
    limits::TOKENS_US_PER_TURN,
    live::Tokens,
    mesh::{CountedUser, ShardMessage, UserCounts},
    model::{CloseReason, ConnectionId, Now, Ticket},
    session::{Exchange, Http, Kind, Session, upgrade},
    wire::{
        http1::{self, Request, Response},
        json::encode_error,
    },
};

/// The tokens of a shard.
pub(super) struct Gate {
    pub(super) tokens: Tokens,
    pub(super) holders: Holders,
    pub(super) consults: Consults,
    revoked: Revoked,
    pub(super) verifying: Verifying,
    /// How many connections each user has on all shards, while that is limited.
    users: Arc<UserCounts>,
    user_connections_max: u32,
    /// Of this turn's budget.
    left_us: u32,
    /// When it was last seen whose token has run out.
    seen_s: u64,
    /// When the keys at each address were last asked for, in milliseconds since the Unix epoch; no more than the operator
    /// has named.
    pub(super) wanted_ms: HashMap<Box<str>, u64>,
}

/// A cookie that only a server on TLS can set, for its own host (RFC 6265bis §4.1.3.2).
const COOKIE: &str = "__Host-roadstead";

impl Gate {
    pub(super) fn new(
        tokens: Tokens,
        users: Arc<UserCounts>,
        user_connections_max: u32,
        desk: Option<Desk>,
    ) -> Self {
        Self {
            tokens,
            consults: Consults::new(desk),
            users,
            user_connections_max,
            holders: Holders::default(),
            revoked: Revoked::default(),
            verifying: Verifying::default(),
            left_us: TOKENS_US_PER_TURN,
            seen_s: 0,
            wanted_ms: HashMap::new(),
        }
    }

    /// What a shard that begins anew is given; the connections are gone.
    pub(super) fn bequeath(&mut self) -> (Tokens, Arc<UserCounts>, Revoked, Option<Desk>) {
        let revoked = std::mem::take(&mut self.revoked);
        (self.tokens.clone(), Arc::clone(&self.users), revoked, self.consults.bequeath())
    }

    /// Goes on with the list of who is shut out.
    pub(super) fn inherit(&mut self, revoked: Revoked) {
        self.revoked = revoked;
    }

    /// The list of who is shut out, for the process that goes on.
    pub(super) fn leave_revoked(&mut self) -> Revoked {
        std::mem::take(&mut self.revoked)
    }

    /// From now on these keys count. Who is in stays in until its token runs out.
    pub(super) fn change(&mut self, tokens: &Tokens) {
        let before = std::mem::replace(&mut self.tokens, tokens.clone());
        self.wanted_ms.clear();
        // What has been fetched is as good as it was.
        for remote in before.verifier.remotes() {
            if let Some(keys) = &remote.keys {
                self.put_remote(&remote.issuer, &remote.url, keys);
            }
        }
        self.consults.forget_all();
    }

    /// A turn begins, with a budget of its own.
    pub(super) fn begin_turn(&mut self) {
        self.left_us = TOKENS_US_PER_TURN;
    }

    /// Whether something waits for the next turn.
    pub(super) fn has_more(&self) -> bool {
        !self.verifying.is_empty()
    }

    /// Counts a client of Socket.IO among its user's connections; `None` is one too many.
    pub(super) fn count_user(&self, user: &str) -> Option<Option<CountedUser>> {
        let max = self.user_connections_max;
        if max == 0 {
            return Some(None);
        }
        self.users.enter(user, max).then(|| Some(CountedUser::new(&self.users, user.into())))
    }

    /// The same for one that has been counted before.
    pub(super) fn count_user_again(&self, user: &str) -> Option<CountedUser> {
        (self.user_connections_max > 0).then(|| {
            self.users.add(user, 1);
            CountedUser::new(&self.users, user.into())
        })
    }

    /// Lets a connection be its user's from now on, unless that has as many as it may.
    fn hold(&mut self, connection: ConnectionId, token: &Verified) -> Result<(), TokenError> {
        let is_counted =
            self.holders.get(connection.index).is_some_and(|before| *before.user() == *token.user);
        if !is_counted {
            self.release(connection.index);
            let max = self.user_connections_max;
            if max > 0 && !self.users.enter(&token.user, max) {
                return Err(TokenError::TooMany);
            }
        }
        self.holders.put(connection.index, token);
        Ok(())
    }

    /// A connection is somebody's who has been let in by another process, with a token of whose own name the hash is known.
    pub(super) fn hold_again(&mut self, index: u32, token: &Verified, id_hash: u32) {
        if self.user_connections_max > 0 {
            self.users.add(&token.user, 1);
        }
        self.holders.put_hashed(index, token, id_hash);
    }

    /// A connection is nobody's any more.
    pub(super) fn release(&mut self, index: u32) {
        if self.user_connections_max > 0
            && let Some(holder) = self.holders.get(index)
        {
            self.users.leave(&holder.user(), 1);
        }
        self.holders.remove(index);
    }

    /// Whether this turn looks at no more tokens.
    pub(super) fn is_spent(&self) -> bool {
        self.left_us == 0
    }

    /// Whether whoever comes now has to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.is_spent() || self.verifying.is_ahead()
    }

    pub(super) fn verify(&mut self, token: &[u8], now_s: u64) -> Result<Verified, TokenError> {
        let mut cost_us = 0;
        let mut verified = self.tokens.verifier.verify(token, now_s, &mut cost_us);
        self.left_us = self.left_us.saturating_sub(cost_us);
        if verified == Err(TokenError::KeyUnknown) {
            verified = Err(self.want_key_of(token, now_s * 1000));
        }
        verified.and_then(|token| self.check_revoked(token, now_s))
    }

    /// Refuses who has been shut out, however it is known who that is.
    pub(super) fn check_revoked(&self, token: Verified, now_s: u64) -> Result<Verified, TokenError> {
        if self.revoked.has(&token, now_s) { Err(TokenError::Revoked) } else { Ok(token) }
    }

    /// Whether whoever has a token that was good has been shut out since.
    pub(super) fn is_shut_out(&self, token: &Verified, now: Now) -> bool {
        self.revoked.has(token, now.unix_ms / 1000)
    }
}

/// A shard that ends takes its connections with it.
impl Drop for Gate {
    fn drop(&mut self) {
        if self.user_connections_max > 0 {
            self.holders.users().for_each(|user| self.users.leave(&user, 1));
        }
    }
}

impl Shard {
    /// Finds out who sends a request, for as long as it is answered and whatever it becomes; the outcome, if that is all
    /// there is to it.
    pub(super) fn identify(
        &mut self,
        index: u32,
        request: &Request<'_>,
        hops: u8,
        exchange: Exchange,
    ) -> Option<Outcome> {
        let is_admin = self.lines.slab.look(index).flags.has(Flags::ADMIN);
        if is_admin {
            return None;
        }
        let takes_tokens = self.gate.tokens.verifier.takes_tokens();
        let token = if takes_tokens { self.credential(request) } else { None };
        let Some(token) = token else { return self.ask_who(index, request, hops, exchange) };
        if self.gate.is_busy() {
            let mut bytes = Vec::new();
            http1::encode_request(&mut bytes, request);
            return Some(Outcome::PutOff { request: bytes, hops, from: self.address_of(index) });
        }
        let connection = self.lines.slab.id(index);
        let verified = self.gate.verify(&token, self.now.unix_ms / 1000);
        self.admit(connection, request, exchange, verified)
    }

    /// Lets a connection be somebody's from now on; the outcome of its request, if that cannot be.
    pub(super) fn admit(
        &mut self,
        connection: ConnectionId,
        request: &Request<'_>,
        exchange: Exchange,
        verified: Result<Verified, TokenError>,
    ) -> Option<Outcome> {
        let error = verified.and_then(|token| self.gate.hold(connection, &token)).err()?;
        self.count_refused(error);
        Some(self.refuse_with_fields(connection.index, request, refusal(error), exchange))
    }

    /// Refuses a request so that a page that may talk to the server can read why.
    pub(super) fn refuse_with_fields(
        &mut self,
        index: u32,
        request: &Request<'_>,
        mut response: Response,
        exchange: Exchange,
    ) -> Outcome {
        response.fields.push_str(&self.engines.origins().check(request).unwrap_or_default());
        self.put_response(index, response, exchange)
    }

    /// The token that came with a request.
    pub(super) fn credential<'a>(&self, request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
        let tokens = &self.gate.tokens;
        if let Some(presented) = request.bearer() {
            // Somebody who presents a publishing key is not asked for a cookie, too.
            return tokens.verifier.is_token(presented).then_some(Cow::Borrowed(presented));
        }
        let offered = offered_protocols(request);
        let mut tokens_offered = offered.iter().filter_map(|one| one.strip_prefix(TOKEN_PREFIX));
        if let (true, Some(token)) = (upgrade::is_upgrade(request), tokens_offered.next()) {
            return Some(Cow::Borrowed(token.as_bytes()));
        }
        if tokens.in_url
            && let Some(token) = request.query("token")
        {
            return Some(Cow::Owned(token.into_owned().into_bytes()));
        }
        let is_wanted = tokens.cookie && self.engines.origins().trusts_cookies(request);
        if is_wanted { cookie(request).map(Cow::Borrowed) } else { None }
    }

    /// Has a connection keep its request; tells whether it did not before.
    pub(super) fn keep_request(
        &mut self,
        index: u32,
        mut http: Http,
        mut request: Vec<u8>,
        hops: u8,
        rest: &[u8],
    ) -> bool {
        request.append(&mut http.decoder.take_rest());
        request.extend_from_slice(rest);
        http.hops = hops;
        self.wait_with(index, http, &request);
        let flags = &mut self.lines.slab.at(index).flags;
        let is_new = !flags.has(Flags::KEPT);
        flags.set(Flags::KEPT);
        is_new
    }

    /// Looks at a token that a connection has brought.
    pub(super) fn judge(&mut self, asker: Ticket, token: &[u8]) {
        let connection = asker.connection;
        if self.lines.slab.get_in_session(connection).is_none() {
            return;
        }
        let verified = match self.gate.tokens.verifier.takes_tokens() {
            true => self.gate.verify(token, self.now.unix_ms / 1000),
            false => Err(TokenError::KeyUnknown),
        };
        let before = self.gate.holders.get(connection.index);
        let verified = verified.and_then(|token| match before {
            Some(before) if *before.user() != *token.user => Err(TokenError::OtherUser),
            _ => Ok(token),
        });
        let held = verified.and_then(|token| self.gate.hold(connection, &token).map(|()| token));
        match held {
            Err(error) => self.refuse_token(asker, error),
            Ok(token) => {
                let channels = self.hub.channels_of(connection.index).cloned().collect();
                let entered = self.hub.entered(connection).cloned().collect();
                let admitted = Admitted { user: token.user, expires_s: token.expires_s, channels, entered };
                self.tell(asker, Reply::Admitted(Ok(admitted)));
            }
        }
    }

    pub(super) fn refuse_token(&mut self, asker: Ticket, error: TokenError) {
        self.count_refused(error);
        self.tell(asker, Reply::Admitted(Err(error)));
    }

    pub(super) fn count_refused(&mut self, error: TokenError) {
        self.report.tokens_refused_total[error.index()] += 1;
    }

    /// Tells those whose token has run out, and ends those who have not brought another in time.
    pub(super) fn pass_tokens(&mut self) {
        let now_s = self.now.unix_ms / 1000;
        if std::mem::replace(&mut self.gate.seen_s, now_s) == now_s {
            return;
        }
        let refresh_s = self.gate.tokens.refresh_s;
        if !self.gate.holders.is_empty() {
            // Before anybody is told, for whoever is may end another.
            let due = self.gate.holders.take_due(now_s, refresh_s).into_iter();
            let due: Vec<_> = due.map(|due| due.map(|index| self.lines.slab.id(index))).collect();
            for due in due {
                match due {
                    Due::Late(connection) => self.tell_late(connection, refresh_s),
                    Due::Over(connection) => self.shut_out(connection, CloseReason::TokenExpired),
                }
            }
        }
        self.pass_socket_tokens(now_s, refresh_s);
    }

    fn tell_late(&mut self, connection: ConnectionId, within_s: u32) {
        let index = connection.index;
        let record = self.lines.slab.get_in_session(connection);
        if record.is_some_and(|record| record.session.kind() == Kind::WebSocket) {
            let told = self.call_about(index, "token_expired", |handler, cx, peer| {
                handler.token_expired(cx, peer, within_s)
            });
            if told.is_none() {
                self.fail(index);
            }
            self.run_intents();
        }
    }

    /// Ends what a connection does by a token that is good no more.
    fn shut_out(&mut self, connection: ConnectionId, reason: CloseReason) {
        let Some(record) = self.lines.slab.get_in_session(connection) else { return };
        match record.session {
            // Its next request brings its own token; the one before it has been heard.
            Session::Http(_) | Session::Leaving(_) | Session::Lingering => {
                self.gate.release(connection.index);
            }
            Session::WebSocket(_) | Session::EventStream | Session::LongPoll(_) | Session::Lent(..) => {
                self.close(connection.index, reason);
            }
        }
    }

    /// Shuts somebody out, here and, if this is where it was asked for, on every other shard.
    pub(super) fn revoke(&mut self, revocation: &Revocation, is_asked_here: bool) {
        if is_asked_here {
            (self.errand)(Errand::ShutOut(revocation.clone()));
            for to in self.peers.all() {
                self.send_mesh(to, ShardMessage::Revoke(Box::new(revocation.clone())));
            }
        }
        let has_room = self.gate.revoked.add(revocation.clone(), self.now.unix_ms / 1000);
        if has_room && is_asked_here {
            self.keep_shut_out(revocation);
        }
        if !has_room {
            tracing::warn!(
                shard = self.id.0,
                "the list of who is shut out is full: their sessions end, and they may come back"
            );
        }
        self.gate.consults.forget_all();
        let revoked = self.gate.holders.revoked(revocation).into_iter();
        let revoked: Vec<_> = revoked.map(|index| self.lines.slab.id(index)).collect();
        for connection in revoked {
            self.shut_out(connection, CloseReason::Revoked);
        }
        for socket in self.engines.io.revoked(revocation) {
            self.shut_out_socket(socket, CloseReason::Revoked);
        }
    }
}

fn refusal(error: TokenError) -> Response {
    let mut body = Vec::new();
    encode_error(&mut body, error.code(), &error.to_string());
    let response = Response::json(error.status(), body);
    match error.status() {
        401 => response.with_field("WWW-Authenticate", "Bearer realm=\"roadstead\", error=\"invalid_token\""),
        _ => response.with_field("Retry-After", "1"),
    }
}

/// The token in the cookie (RFC 6265 §4.2.1).
fn cookie<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let pairs = request.headers("cookie").flat_map(|list| list.split(|byte| *byte == b';'));
    let mut named = pairs.map(<[u8]>::trim_ascii).filter_map(|pair| pair.strip_prefix(COOKIE.as_bytes()));
    named.find_map(|rest| rest.strip_prefix(b"="))
}
