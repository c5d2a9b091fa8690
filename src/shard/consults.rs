//! Questions to the operator's backend, and those who wait for the answers.
//!
//! ```text
//!   a request ──────────┐ remembered ────────────────────────────────┐
//!   a command of /ws ───┤                                            ├─► ruled ─► the request again, or Reply::Ruled
//!   whoever enters ─────┘ Desk ─► the backend's thread ─► doorbell ──┘
//! ```
//!
//! A request that waits is kept by its connection and read again when there is a ruling, which its handler then finds in
//! [`crate::app::Peer::rulings`]. Nobody waits for longer than the desk says, and no more than the desk takes.
//!
//! Invariant: without a desk nothing stands here.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{answer::Outcome, calls::passage, entries::Entries, turn::Shard};
use crate::{
    app::{Reply, Response, socketio::EngineId},
    auth::{Client, Consultation, Denial, Hook, HookFailure, Ruled, Ruling, Verified},
    backend::{Desk, FetchedKeys},
    limits::{HOOKS_PER_REQUEST_MAX, HOOKS_REMEMBERED_MAX, KEPT_PER_TURN},
    mesh::ShardReport,
    model::{ConnectionId, SocketId, Ticket, network, scheme},
    session::{Exchange, Http},
    wire::http1::{self, Request},
};

/// What a shard has asked, and what it has been told.
#[derive(Default)]
pub(super) struct Consults {
    desk: Option<Desk>,
    /// By the number of their question; bounded by the desk.
    waiting: FxHashMap<u64, Waiting>,
    /// Those whose answers are there; no more than asked in this turn, or were answered.
    soon: VecDeque<(Asker, Ruled)>,
    /// The requests of connections that wait for rulings, or have waited.
    in_hand: FxHashMap<u32, InHand>,
    /// Namespaces that clients wait to enter.
    pub(super) entries: Entries,
    memory: Memory,
}

/// What a connection has in hand.
#[derive(Default)]
struct InHand {
    /// What has been ruled for it, at most [`HOOKS_PER_REQUEST_MAX`].
    ruled: Vec<Ruled>,
    /// How many rulings are still to come before it goes on.
    unruled: usize,
}

/// Who is told.
#[derive(Debug)]
pub(super) enum Asker {
    /// A request, which its connection keeps.
    Request(ConnectionId),
    /// A handler, on behalf of a WebSocket.
    Handler(Ticket),
    /// A client of Socket.IO that wants to enter a namespace.
    Client {
        session: EngineId,
        namespace: Box<str>,
        /// What has been said before.
        rulings: Vec<Ruled>,
    },
    /// A client of Socket.IO whose event waits, under this number.
    Socket(SocketId, u64),
}

struct Waiting {
    asker: Asker,
    hook: Hook,
    channel: Box<str>,
    part: u32,
    /// Where the answer is to be remembered, unless all has been forgotten since.
    key: Option<u128>,
    /// How often all had been forgotten when it was asked.
    forgotten: u32,
}

/// Rulings that need not be asked for again, by what was asked by whom.
struct Memory {
    /// Until when, in seconds since the Unix epoch, and who it is. Only what was allowed is worth remembering.
    known: HashMap<u128, (u64, Option<Box<Verified>>)>,
    /// How often all has been forgotten.
    forgotten: u32,
    hashers: [RandomState; 2],
}

impl Default for Memory {
    fn default() -> Self {
        Self { known: HashMap::new(), forgotten: 0, hashers: [RandomState::new(), RandomState::new()] }
    }
}

impl Memory {
    fn key(&self, text: &[u8]) -> u128 {
        let [high, low] = [0, 1].map(|at: usize| u128::from(self.hashers[at].hash_one(text)));
        high << 64 | low
    }

    fn recall(&self, key: u128, now_s: u64) -> Option<Ruling> {
        let (until_s, identity) = self.known.get(&key)?;
        (now_s < *until_s).then(|| Ruling::Allowed { identity: identity.clone(), remember_s: 0 })
    }

    fn note(&mut self, key: u128, ruling: &Ruling, now_s: u64) {
        let Ruling::Allowed { identity, remember_s: remember_s @ 1.. } = ruling else { return };
        if self.known.len() >= HOOKS_REMEMBERED_MAX {
            self.known.retain(|_, (until_s, _)| now_s < *until_s);
        }
        if self.known.len() >= HOOKS_REMEMBERED_MAX {
            self.known.clear();
        }
        let until_s = now_s + u64::from(*remember_s);
        let until_s = identity.as_ref().map_or(until_s, |identity| until_s.min(identity.expires_s));
        self.known.insert(key, (until_s, identity.clone()));
    }
}

impl Consults {
    pub(super) fn new(desk: Option<Desk>) -> Self {
        Self { desk, ..Self::default() }
    }

    /// What a shard that begins anew is given.
    pub(super) fn bequeath(&mut self) -> Option<Desk> {
        self.desk.take()
    }

    /// Whether a backend decides on this.
    pub(super) fn has(&self, hook: Hook) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.has(hook))
    }

    /// What has been ruled for what a connection has in hand.
    pub(super) fn ruled(&self, index: u32) -> &[Ruled] {
        self.in_hand.get(&index).map_or(&[], |in_hand| &in_hand.ruled)
    }

    /// Whether a connection's request has been read before, and waited for rulings.
    pub(super) fn is_in_hand(&self, index: u32) -> bool {
        !self.in_hand.is_empty() && self.in_hand.contains_key(&index)
    }

    /// A request is going to wait for so many rulings more; not if that is too many.
    fn begin_to_wait(&mut self, index: u32, rulings: usize) -> bool {
        let in_hand = self.in_hand.entry(index).or_default();
        let may = in_hand.ruled.len() + rulings <= HOOKS_PER_REQUEST_MAX;
        in_hand.unruled = if may { rulings } else { 0 };
        may
    }

    /// Something has been ruled for what a connection has in hand; whether that goes on now.
    fn note_ruled(&mut self, index: u32, ruled: Ruled) -> bool {
        let in_hand = self.in_hand.entry(index).or_default();
        in_hand.ruled.push(ruled);
        in_hand.unruled = in_hand.unruled.saturating_sub(1);
        in_hand.unruled == 0
    }

    /// What a connection had in hand is done.
    pub(super) fn forget(&mut self, index: u32) {
        if !self.in_hand.is_empty() {
            self.in_hand.remove(&index);
        }
    }

    /// Rules may be others from now on, or somebody has been shut out: all is asked again, and what has been asked and not
    /// answered is said once.
    pub(super) fn forget_all(&mut self) {
        self.memory.known.clear();
        self.memory.forgotten = self.memory.forgotten.wrapping_add(1);
    }

    /// Keys of an issuer that have been fetched.
    pub(super) fn next_keys(&self) -> Option<FetchedKeys> {
        self.desk.as_ref().and_then(Desk::next_keys)
    }

    /// Has the keys at an address fetched again.
    pub(super) fn want_keys(&self, url: &str) {
        if let Some(desk) = &self.desk {
            desk.want_keys(url);
        }
    }

    /// How long it is between wishes.
    pub(super) fn want_keys_each_ms(&self) -> u64 {
        self.desk.as_ref().map_or(u64::MAX, Desk::refetch_ms)
    }

    /// The header fields of clients that a backend is told.
    pub(super) fn fields(&self) -> Arc<[Box<str>]> {
        self.desk.as_ref().map_or_else(Arc::default, Desk::fields)
    }

    /// The same of clients of Socket.IO, if anything is asked about them later: when they enter further namespaces, join rooms
    /// or publish.
    pub(super) fn fields_of_clients(&self) -> Option<Arc<[Box<str>]>> {
        Hook::ALL.into_iter().any(|hook| self.has(hook)).then(|| self.fields())
    }

    /// Asks, for somebody from this address. The answer comes in this turn or a later one, and never before this has returned.
    pub(super) fn ask(
        &mut self,
        (asker, of): (Asker, Option<IpAddr>),
        question: Consultation,
        client: Client<'_>,
        now_s: u64,
        report: &mut ShardReport,
    ) {
        // Nobody in particular may be anybody.
        let is_somebody = client.user.is_some() || !client.fields.is_empty() || client.auth.is_some();
        let has_key = question.hook != Hook::Publish && is_somebody;
        let key = has_key.then(|| {
            // Which host it has asked may decide, by which proxies it has come does not.
            let anywhere = Client { id: "".into(), address: None, hops: &[], ..client.clone() };
            self.memory.key(&question.encode(&anywhere))
        });
        let remembered = key.and_then(|key| self.memory.recall(key, now_s));
        let asked = match (&remembered, &mut self.desk) {
            (Some(_), _) => None,
            (None, Some(desk)) => {
                let kept_bytes = question.kept_bytes + size_of::<Waiting>();
                Some(desk.ask(question.hook, of.map(network), question.encode(&client), kept_bytes))
            }
            (None, None) => None,
        };
        let Consultation { hook, channel, part, .. } = question;
        let (result, ruling) = match (asked, remembered) {
            (Some(number), _) => {
                let forgotten = self.memory.forgotten;
                self.waiting.insert(number, Waiting { asker, hook, channel, part, key, forgotten });
                return;
            }
            (None, Some(ruling)) => (REMEMBERED, ruling),
            (None, None) => (result_of(HookFailure::Unreachable), Ruling::Failed(HookFailure::Unreachable)),
        };
        report.hooks_total[result] += 1;
        self.soon.push_back((asker, Ruled { hook, channel, part, ruling }));
    }

    /// Whether somebody waits who need not.
    pub(super) fn has_more(&self) -> bool {
        !self.soon.is_empty()
    }

    /// Takes in the answers that have come; tells whether there are any.
    pub(super) fn hear(&mut self, now_s: u64, report: &mut ShardReport) -> bool {
        let Some(desk) = &mut self.desk else { return false };
        while let Some(answer) = desk.next_answer() {
            // A shard that has begun anew waits for none of those asked before.
            let Some(waiting) = self.waiting.remove(&answer.number) else { continue };
            let Waiting { asker, hook, channel, part, key, forgotten } = waiting;
            if let Some(key) = key.filter(|_| forgotten == self.memory.forgotten) {
                self.memory.note(key, &answer.ruling, now_s);
            }
            report.hooks_total[match &answer.ruling {
                Ruling::Allowed { .. } => 0,
                Ruling::Denied(_) => 1,
                Ruling::Failed(failure) => result_of(*failure),
            }] += 1;
            self.soon.push_back((asker, Ruled { hook, channel, part, ruling: answer.ruling }));
        }
        report.hooks_waiting = desk.waiting() as u32;
        !self.soon.is_empty()
    }
}

/// The labels of what questions come to, in the order of `hooks_total`.
const REMEMBERED: usize = 2;

fn result_of(failure: HookFailure) -> usize {
    REMEMBERED + 1 + failure as usize
}

impl Shard {
    /// Asks on behalf of a connection.
    pub(super) fn consult(
        &mut self,
        connection: ConnectionId,
        asker: Asker,
        question: Consultation,
        request: Option<&Request<'_>>,
    ) {
        let ConnectionId { index, generation } = connection;
        let names = self.gate.consults.fields();
        let user = self.gate.holders.get(index).map(|holder| holder.user());
        let (is_secure, host, hops) = match request {
            Some(request) => (request.is_secure, request.host_text(), request.hops()),
            None => passage(&self.lines, &self.addresses, index),
        };
        let record = self.lines.slab.look(index);
        let address = record.peer_address(self.addresses.get(record.address)).map(|address| address.ip());
        let client = Client {
            id: format!("{}.{index}.{generation}", self.id).into(),
            user: user.as_deref(),
            address: address.map(|address| address.to_string()),
            scheme: Some(scheme(is_secure)),
            host,
            hops,
            fields: request.map_or_else(Vec::new, |request| listed(&names, request)),
            auth: None,
        };
        let now_s = self.now.unix_ms / 1000;
        self.gate.consults.ask((asker, address), question, client, now_s, &mut self.report);
    }

    /// Asks about a request, which is read again when there is a ruling on each question.
    pub(super) fn consult_about(
        &mut self,
        index: u32,
        questions: Vec<Consultation>,
        request: &Request<'_>,
        hops: u8,
        exchange: Exchange,
    ) -> Outcome {
        if !self.gate.consults.begin_to_wait(index, questions.len()) {
            return self.put_response(index, failure_response(HookFailure::Busy), exchange);
        }
        let id = self.lines.slab.id(index);
        let mut bytes = Vec::new();
        http1::encode_request(&mut bytes, request);
        let mut kept_bytes = bytes.len();
        for question in questions {
            // It is kept once.
            let question = Consultation { kept_bytes: std::mem::take(&mut kept_bytes), ..question };
            self.consult(id, Asker::Request(id), question, Some(request));
        }
        Outcome::Consult { request: bytes, hops }
    }

    /// Lets a request wait, which its connection keeps, until there is a ruling.
    pub(super) fn await_ruling(&mut self, index: u32, http: Http, request: Vec<u8>, hops: u8, rest: &[u8]) {
        self.keep_request(index, http, request, hops, rest);
        // A client that takes its time has had it; this is about the backend's.
        let timeout_ms = self.gate.consults.desk.as_ref().map_or(0, Desk::timeout_ms);
        self.wheel.set(index, self.now.monotonic_ms + 2 * timeout_ms + SPARE_MS);
    }

    /// Finds out who somebody is that has shown nothing and follows something, where a backend knows, or that the handler has
    /// had asked about; the outcome, if that is all there is to the request.
    pub(super) fn ask_who(
        &mut self,
        index: u32,
        request: &Request<'_>,
        hops: u8,
        exchange: Exchange,
    ) -> Option<Outcome> {
        if !self.gate.consults.has(Hook::Connect) {
            return None;
        }
        let ruled = self.gate.consults.ruled(index).iter().find(|ruled| ruled.hook == Hook::Connect);
        let Some(ruled) = ruled else {
            if !self.is_subscriber(request) || self.shows_key(request) {
                return None;
            }
            return Some(self.consult_about(index, vec![Consultation::connect()], request, hops, exchange));
        };
        let refused = match &ruled.ruling {
            Ruling::Allowed { identity: None, .. } => return None,
            Ruling::Allowed { identity: Some(identity), .. } => {
                let identity = self.gate.check_revoked((**identity).clone(), self.now.unix_ms / 1000);
                let connection = self.lines.slab.id(index);
                return self.admit(connection, request, exchange, identity);
            }
            Ruling::Denied(denial) => denial_response(denial),
            Ruling::Failed(failure) => failure_response(*failure),
        };
        Some(self.refuse_with_fields(index, request, refused, exchange))
    }

    /// Whether a request is that of a client who wants to follow something.
    fn is_subscriber(&self, request: &Request<'_>) -> bool {
        crate::session::upgrade::is_upgrade(request)
            || request.accepts_event_stream()
            || self.handler.is_subscriber(request)
    }

    /// Whether a request comes from who has a key, which is a program.
    fn shows_key(&self, request: &Request<'_>) -> bool {
        let from_query = request.query("key");
        let shown = [request.bearer(), from_query.as_ref().map(|key| key.as_bytes())];
        shown.into_iter().flatten().any(|key| self.handler.knows_key(key))
    }

    /// Goes on with those whose answers are there, as many as there is room for in a turn.
    pub(super) fn take_rulings(&mut self) {
        self.gate.take_keys();
        if !self.gate.consults.hear(self.now.unix_ms / 1000, &mut self.report) {
            return;
        }
        for _ in 0..KEPT_PER_TURN {
            let Some((asker, ruled)) = self.gate.consults.soon.pop_front() else { break };
            let (id, ticket) = match asker {
                Asker::Request(id) => (id, None),
                Asker::Handler(ticket) => (ticket.connection, Some(ticket)),
                Asker::Client { session, namespace, mut rulings } => {
                    let Some((auth, is_other)) = self.gate.consults.entries.end(session, &namespace) else {
                        continue;
                    };
                    match is_other {
                        // Of what it says now nothing is ruled.
                        true => rulings.clear(),
                        false => rulings.push(ruled),
                    }
                    self.enter_again(session, &namespace, auth.as_deref(), rulings);
                    continue;
                }
                Asker::Socket(socket, number) => {
                    self.hear_ruled(socket, number, ruled);
                    continue;
                }
            };
            if self.lines.slab.get_in_session(id).is_none() {
                continue;
            }
            let goes_on = self.gate.consults.note_ruled(id.index, ruled);
            match ticket {
                None if goes_on => self.read_kept_of(id),
                None => {}
                Some(ticket) => {
                    self.tell(ticket, Reply::Ruled);
                    self.gate.consults.forget(id.index);
                }
            }
        }
        if self.gate.consults.soon.is_empty() {
            // A storm of them is over.
            self.gate.consults.soon = VecDeque::new();
        }
    }

    /// Whether answers have come, or keys.
    pub(super) fn has_rulings(&mut self) -> bool {
        let have_keys_come = self.gate.take_keys();
        self.gate.consults.hear(self.now.unix_ms / 1000, &mut self.report) || have_keys_come
    }
}

/// Beyond the time a backend has, for a thread that is kept from its core.
const SPARE_MS: u64 = 5_000;

/// The fields of a request that a backend is told; of those that stand often, all, as HTTP joins them.
fn listed<'a>(names: &'a [Box<str>], request: &Request<'_>) -> Vec<(&'a str, Cow<'a, str>)> {
    let told = |name: &'a str| {
        let values: Vec<_> = request.headers(name).map(String::from_utf8_lossy).collect();
        // RFC 6265 §5.4, RFC 9110 §5.3.
        let separator = if name == "cookie" { "; " } else { ", " };
        (!values.is_empty()).then(|| (name, values.join(separator).into()))
    };
    names.iter().filter_map(|name| told(name)).collect()
}

/// What a client is told whom the backend does not let.
fn denial_response(denial: &Denial) -> Response {
    Response::refused(403, &denial.code, &denial.message)
}

/// What a client is told about whom nobody knows.
fn failure_response(failure: HookFailure) -> Response {
    Response::refused(503, failure.code(), &failure.to_string()).with_field("Retry-After", "1")
}
