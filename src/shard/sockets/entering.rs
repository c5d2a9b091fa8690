//! What the operator's backend is asked about a client of Socket.IO: on entering a namespace, while its packets to the namespace
//! are those of somebody who is not in, and about its events there, which wait ([`crate::app::socketio::RawEvent::consult`]).

use std::{borrow::Cow, net::SocketAddr, rc::Rc};

use super::{Engines, Extra, Session, Shard};
use crate::{
    app::socketio::{ConnectError, Credentials, EngineId, Handshake},
    auth::{Client, Consultation, Hook, HookFailure, Ruled, Ruling, Verified},
    limits::{HOOKS_PER_REQUEST_MAX, TOKEN_BYTES_MAX},
    model::{ShardId, SocketId},
    session::NONE,
    shard::{
        consults::Asker,
        entries::{Said, kept_bytes},
    },
    wire::json::Raw,
};

/// Who wants to enter where.
pub(super) struct Entry<'a> {
    pub(super) session: u32,
    pub(super) namespace: &'a str,
    pub(super) auth: Option<&'a str>,
    /// Whose token it has shown.
    pub(super) user: Option<&'a str>,
}

impl Shard {
    /// Who a client is that has shown no token, if the backend knows; `None` when it has to wait, or is refused.
    pub(super) fn ask_who_enters(
        &mut self,
        session: u32,
        namespace: &str,
        auth: Option<Raw<'_>>,
        rulings: &[Ruled],
    ) -> Option<Option<Rc<Verified>>> {
        if !self.gate.consults.has(Hook::Connect) {
            return Some(None);
        }
        let said = auth.and_then(|auth| serde_json::from_str::<Credentials>(auth.as_str()).ok());
        // Who has a key is a program.
        if said.and_then(|said| said.key).is_some_and(|key| self.handler.knows_key(key.as_bytes())) {
            return Some(None);
        }
        let Some(ruled) = rulings.iter().find(|ruled| ruled.hook == Hook::Connect) else {
            let entry = Entry { session, namespace, auth: auth.map(Raw::as_str), user: None };
            self.consult_on_entry(&entry, rulings.to_vec(), Consultation::connect());
            return None;
        };
        let error = match &ruled.ruling {
            Ruling::Allowed { identity: None, .. } => return Some(None),
            Ruling::Allowed { identity: Some(identity), .. } => {
                // It may have been shut out while the backend was asked.
                match self.gate.check_revoked((**identity).clone(), self.now.unix_ms / 1000) {
                    Ok(identity) => return Some(Some(Rc::new(identity))),
                    Err(error) => self.connect_error(error),
                }
            }
            Ruling::Denied(denial) => ConnectError::coded(&denial.code, &denial.message),
            Ruling::Failed(failure) => ConnectError::coded(failure.code(), &failure.to_string()),
        };
        self.refuse_entry(session, namespace, &error);
        None
    }

    /// Asks about a client that wants to enter; it tries again when there is a ruling.
    pub(super) fn consult_on_entry(
        &mut self,
        entry: &Entry<'_>,
        rulings: Vec<Ruled>,
        question: Consultation,
    ) {
        let Entry { session, namespace, auth, user } = *entry;
        // What waits is kept whole.
        let is_long = auth.is_some_and(|auth| auth.len() > 2 * TOKEN_BYTES_MAX);
        let engine = self.engines.engine_id(session);
        let said = match is_long || rulings.len() >= HOOKS_PER_REQUEST_MAX {
            true => Said::TooMuch,
            false => self.gate.consults.entries.begin(engine, namespace, auth),
        };
        match said {
            Said::Ask => {}
            Said::IsAsked => return,
            Said::TooMuch => return self.refuse_entry_as_busy(session, namespace),
        }
        let from = self.address_of_session(session);
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        let handshake = record.extra.as_ref().and_then(|extra| extra.for_backend());
        let names = self.gate.consults.fields();
        // It is what a client proves itself with, and nothing of a channel's.
        let auth_told = auth.filter(|_| question.hook == Hook::Connect);
        let client =
            Client { user, auth: auth_told, ..client_of(name_of(self.id, engine), handshake, &names) };
        let kept_bytes = kept_bytes(auth) + rulings.len() * size_of::<Ruled>();
        let question = Consultation { kept_bytes, ..question };
        let asker = Asker::Client { session: engine, namespace: namespace.into(), rulings };
        let now_s = self.now.unix_ms / 1000;
        self.gate.consults.ask((asker, from), question, client, now_s, &mut self.report);
    }

    /// Whether the backend is being asked about a client that says again that it wants to enter: then what it says now counts
    /// when there is an answer, and nobody is asked meanwhile.
    pub(super) fn awaits_ruling(&mut self, session: u32, namespace: &str, auth: Option<Raw<'_>>) -> bool {
        let (engine, auth) = (self.engines.engine_id(session), auth.map(Raw::as_str));
        match self.gate.consults.entries.say_again(engine, namespace, auth) {
            None => return false,
            Some(Said::Ask | Said::IsAsked) => {}
            Some(Said::TooMuch) => self.refuse_entry_as_busy(session, namespace),
        }
        true
    }

    fn refuse_entry_as_busy(&mut self, session: u32, namespace: &str) {
        let failure = HookFailure::Busy;
        self.refuse_entry(session, namespace, &ConnectError::coded(failure.code(), &failure.to_string()));
    }
}

impl Shard {
    /// Asks about an event of a socket, which waits under this number.
    pub(super) fn consult_for_socket(&mut self, socket: SocketId, number: u64, question: Consultation) {
        let Some(session) = self.engines.socket(socket).map(|socket| socket.session) else { return };
        let (engine, from) = (self.engines.engine_id(session), self.address_of_session(session));
        let Some(record) = self.engines.sessions.get(session) else { return };
        let handshake = record.extra.as_ref().and_then(|extra| extra.for_backend());
        let names = self.gate.consults.fields();
        let user = self.engines.io.user_of(socket);
        let address = from.or_else(|| handshake.and_then(|one| one.address).map(|address| address.ip()));
        let client = Client {
            user: user.as_deref(),
            address: address.map(|address| address.to_string()),
            ..client_of(name_of(self.id, engine), handshake, &names)
        };
        let asker = Asker::Socket(socket, number);
        let now_s = self.now.unix_ms / 1000;
        self.gate.consults.ask((asker, address), question, client, now_s, &mut self.report);
    }

    /// The backend has said something of an event, which is heard again, and those that came behind it.
    pub(in crate::shard) fn hear_ruled(&mut self, id: SocketId, number: u64, ruled: Ruled) {
        let Some(record) = self.engines.socket(id) else { return };
        let (namespace, session) = (record.namespace, record.session);
        self.engines.io.ruled(id, namespace, number, ruled);
        self.run_orders();
        while self.engines.io.hear_kept(id, namespace) {
            self.run_orders();
        }
        self.engines.pause_if_behind(&mut self.lines, session);
    }
}

/// What the backend is told of a client by the request that opened its session, as far as that is kept.
fn client_of<'a>(
    id: Cow<'static, str>,
    handshake: Option<&'a Handshake>,
    names: &'a [Box<str>],
) -> Client<'a> {
    Client {
        id,
        user: None,
        address: handshake.and_then(|one| one.address).map(|address| address.ip().to_string()),
        scheme: handshake.map(|one| one.passage.scheme()),
        host: handshake.and_then(|one| one.passage.host.as_deref()),
        hops: handshake.map_or(&[], |one| &one.passage.hops),
        fields: handshake.map_or_else(Vec::new, |handshake| listed(names, handshake)),
        auth: None,
    }
}

/// The name of a client of Socket.IO, as the backend is told it.
fn name_of(shard: ShardId, engine: EngineId) -> Cow<'static, str> {
    format!("{shard}.s{}.{}", engine.index, engine.generation).into()
}

impl Engines {
    /// The WebSocket that carries a socket, and the address that its client had, while that is kept.
    pub(in crate::shard) fn whereabouts(&self, id: SocketId) -> (Option<u32>, Option<SocketAddr>) {
        let session = self.socket(id).and_then(|socket| self.sessions.get(socket.session));
        let Some(session) = session else { return (None, None) };
        let connection = session.engine.websocket();
        let address = session.extra.as_ref().and_then(|extra| extra.for_backend()?.address);
        ((connection != NONE).then_some(connection), address)
    }
}

impl Shard {
    /// A client has waited for middleware of the application, which has made up its mind.
    pub(super) fn enter_at_last(&mut self, session: EngineId, number: u64) {
        let Some((namespace, waited)) = self.engines.io.waited(session, number) else { return };
        self.enter_again(session, &namespace, waited.auth.as_deref(), waited.rulings.to_vec());
        self.engines.io.end_waiting(session, &waited);
    }
}

impl Extra {
    /// The request that opened the session, as far as a backend is told of it.
    pub(super) fn for_backend(&self) -> Option<&Handshake> {
        self.handshake.as_deref().or(self.told.as_deref())
    }
}

impl Session {
    /// Lets go of the request that opened the session, but for what a backend is told when its client enters further
    /// namespaces: these header fields, if anything is asked then.
    pub(super) fn forget_handshake(&mut self, handshake: Option<&Handshake>, names: Option<&[Box<str>]>) {
        if let (Some(handshake), Some(names)) = (handshake, names) {
            let mut fields = String::new();
            for (name, value) in listed(names, handshake) {
                fields.push_str(name);
                fields.push_str(": ");
                fields.push_str(&value);
                fields.push('\n');
            }
            let (target, address, passage) = (Box::default(), handshake.address, handshake.passage.clone());
            self.extra().told = Some(Box::new(Handshake { target, fields: fields.into(), address, passage }));
        }
        self.give_back_extra();
    }
}

/// The fields of the request that opened a session which a backend is told.
fn listed<'a>(names: &'a [Box<str>], handshake: &'a Handshake) -> Vec<(&'a str, Cow<'a, str>)> {
    let told = |name: &'a str| {
        let fields = handshake.fields.lines().filter_map(|line| line.split_once(':'));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        values.next().map(|value| (name, value.trim().into()))
    };
    names.iter().filter_map(|name| told(name)).collect()
}
