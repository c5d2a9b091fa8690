//! What Socket.IO clients may do where no program decides.
//!
//! ```text
//! socket.emit("join", "lobby", ack)                      {room}
//! socket.emit("leave", "lobby", ack)                     {room}
//! socket.emit("publish", "lobby", "event", …args, ack)   {room}
//! socket.emit("presence", "lobby", ack)                  {room, count, incomplete?, missing_members?, ids?}
//! socket.emit("refresh", token, ack)                     {user, expires}
//! socket.emit("any other event", …args, ack)             {relayed: true}: it goes to everybody in the namespace, also to the sender
//! ```
//!
//! What is refused is acknowledged with `{error: {code, message}}`, as on `/ws`; a client that did not ask for an
//! acknowledgement is sent the event `refused`, with the name of its own event and the same. A client that may publish only with a
//! key says it on connecting: `io(url, {auth: {key}})`.
//!
//! Invariant: everything is registered for namespaces, so that a client that does nothing costs nothing here.

use std::{cell::Cell, num::NonZeroU32, rc::Rc};

use serde::Serialize;

use super::{
    ChannelServer, Refusal, Settings, SocketIoSettings,
    access::{Access, Standing, Who},
    admin_page,
    event_refusal::{refuse, refuse_by},
    keys::KeySlot,
    patterns::Patterns,
    sockets::{are_all, refuse_socket_id},
};
use crate::{
    app::socketio::{
        Ack, Awaiting, Broadcast, Candidate, ChannelError, ConnectError, Credentials, Handlers, Io, RawEvent,
        Socket,
    },
    auth::{Right, Verified},
    config::Presence,
    model::{
        Arguments, ChannelName, ChannelNameError, Payload, Position, SocketId, namespace_channel, network,
        room_channel,
    },
    wire::json::{decode_inner_event, text_beside},
};

/// The rules of one shard; the listeners of every namespace share them.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) namespaces: Patterns,
    rooms: Patterns,
    rights: Rc<Cell<Rights>>,
    presence: Presence,
    has_broker: bool,
    pub(super) access: Rc<Access>,
}

/// What the operator may change while clients are connected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rights {
    pub(super) clients_publish: bool,
    pub(super) relays: bool,
    pub(super) room_bytes_max: usize,
    pub(super) publication_bytes_max: u32,
}

/// What is kept for a client that has presented a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publisher(pub(super) KeySlot);

/// An event that the broker has to take before it is acknowledged.
type Sent = Option<Awaiting<Result<Position, ChannelError>>>;

/// What is acknowledged when all is well; presence has an answer of its own.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    /// The server has passed it on; what those who hear it make of it is not told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    relayed: bool,
}

#[derive(Serialize)]
struct PresenceAnswer<'a> {
    room: &'a str,
    /// At least, when a shard has more of them than it tells of, or another member does not answer.
    count: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    /// How many other members of a cluster have not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_members: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Refreshed<'a> {
    user: &'a str,
    expires: u64,
}

/// A room that a client has lost the right to.
#[derive(Serialize)]
struct Ended<'a> {
    room: &'a str,
    code: &'static str,
}

/// The event that tells of it.
const ENDED: &str = "ended";

impl ChannelServer {
    /// Registers what clients may do; whether Socket.IO is served at all.
    pub(super) fn serve_socketio(&mut self, io: &Io) -> bool {
        let Some(socketio) = &self.settings.socketio else { return false };
        admin_page::serve(io, &socketio.admin_page);
        let rules = Rc::new(Rules::new(self, socketio));
        let letting = Rc::clone(&rules);
        io.members_if(move |socket, room| letting.may_enter(socket, room));
        let (saving, resuming) = (Rc::clone(&rules), Rc::clone(&rules));
        io.on_upgrade(
            move |socket, followed| saving.save(socket, followed),
            move |socket, resumed| resuming.restore(socket, resumed),
        );
        Rules::listen(&rules, &io.of("/"));
        let accepting = Rc::clone(&rules);
        Rules::listen(&rules, &io.of_matching(move |name, _auth| accepting.namespaces.allow(name)));
        self.io = Some(io.clone());
        true
    }
}

impl Rights {
    pub(super) fn new(settings: &Settings) -> Self {
        let socketio = settings.socketio.as_ref();
        Self {
            clients_publish: socketio.is_some_and(|socketio| socketio.clients_publish),
            relays: socketio.is_some_and(|socketio| socketio.relays),
            room_bytes_max: settings.limits.channel_name_bytes_max.into(),
            publication_bytes_max: settings.limits.publication_bytes_max,
        }
    }
}

impl Rules {
    fn new(server: &ChannelServer, socketio: &SocketIoSettings) -> Self {
        Self {
            namespaces: Patterns::new(&socketio.namespaces),
            rooms: Patterns::new(&socketio.client_rooms),
            rights: Rc::clone(&server.rights),
            presence: socketio.presence,
            has_broker: server.settings.has_broker,
            access: Rc::clone(&server.access),
        }
    }

    fn listen(rules: &Rc<Self>, handlers: &Handlers) {
        let admitting = Rc::clone(rules);
        handlers.use_middleware(move |candidate| admitting.admit(candidate));
        let hearing = Rc::clone(rules);
        handlers.on_any(move |socket, event| Self::hear(&hearing, socket, event));
    }

    /// The root namespace is always there; whether it may be entered is said here.
    fn admit(&self, candidate: &Candidate<'_>) -> Result<(), ConnectError> {
        if !self.namespaces.allow(candidate.namespace().name()) {
            return Err("Invalid namespace".into());
        }
        let said = candidate.auth()?;
        self.identify(candidate, said).map_err(|refusal| {
            let (code, message) = refusal.words(candidate.rulings());
            ConnectError::coded(&code, &message)
        })
    }

    /// Finds out who wants to enter, and whether it may follow the namespace.
    fn identify(&self, candidate: &Candidate<'_>, said: Option<Credentials>) -> Result<(), Refusal> {
        let key = match &said {
            Some(Credentials { key: Some(key) }) => {
                self.access.keys.presented(Some(key.as_bytes()), self.access.publishing_is_open())?
            }
            _ => KeySlot::NONE,
        };
        if key != KeySlot::NONE {
            candidate.set_data(Publisher(key));
        }
        let token = candidate.token();
        let (user, grant) =
            (token.map(|token| (&*token.user).into()), token.map(|token| &token.claims.grant));
        let who = Who { key, user, grant, rulings: candidate.rulings(), ..Who::default() };
        let checked = self.access.check(&who, Right::Subscribe, candidate.namespace().name());
        if checked == Err(Refusal::Undecided)
            && let Some(question) = self.access.take_question()
        {
            candidate.consult(question);
        }
        checked
    }

    fn hear(rules: &Rc<Self>, socket: &Socket, event: &RawEvent<'_>) {
        let ack = event.ack(socket);
        let result = match event.name() {
            "join" => return rules.join(socket, event, ack),
            "leave" => rules.leave(socket, event).map(|room| (Some(room), None)),
            "publish" => rules.publish(socket, event).map(|(room, sent)| (Some(room), sent)),
            "presence" => return rules.tell_presence(socket, event, ack),
            "refresh" => return Self::refresh(rules, socket, event, ack),
            _ => rules.relay(socket, event).map(|sent| (None, sent)),
        };
        let done = |room: Option<String>, ack: Ack| {
            ack.send(&Done { relayed: room.is_none(), room: room.as_deref() });
        };
        match result {
            Ok((room, None)) => done(room, ack),
            Ok((room, Some(sent))) => {
                let (sender, name) = (socket.clone(), event.name().to_owned());
                socket.spawn(async move {
                    match sent.await {
                        Ok(_) => done(room, ack),
                        Err(error) => refuse(&sender, &name, ack, error.into()),
                    }
                });
            }
            Err(refusal) => rules.refuse(socket, event, ack, refusal),
        }
    }

    /// Has the backend asked about an event, where it decides, and answers with an error otherwise.
    fn refuse(&self, socket: &Socket, event: &RawEvent<'_>, ack: Ack, refusal: Refusal) {
        let question = if refusal == Refusal::Undecided { self.access.take_question() } else { None };
        if question.is_some_and(|question| event.consult(socket, question)) {
            return;
        }
        refuse_by(socket, event.name(), ack, refusal, event.rulings());
    }

    /// Answers when the room has taken the socket in.
    fn join(&self, socket: &Socket, event: &RawEvent<'_>, ack: Ack) {
        let asked = self.room(socket, event, "the name of a room to join");
        let checked = asked.and_then(|room| {
            self.check(socket, event, Right::Subscribe, &room)?;
            Ok(room)
        });
        let room = match checked {
            Ok(room) => room,
            Err(refusal) => return self.refuse(socket, event, ack, refusal),
        };
        let (joining, name) = (socket.clone(), room.clone());
        socket.join_then(&name, move |result| match result {
            Ok(()) => ack.send(&Done { relayed: false, room: Some(&room) }),
            Err(error) => refuse(&joining, "join", ack, Refusal::Subscribe(error)),
        });
    }

    /// Takes another token in place of the one before. What that gave and this does not, ends.
    fn refresh(rules: &Rc<Self>, socket: &Socket, event: &RawEvent<'_>, ack: Ack) {
        let token = match arguments::<(String,)>(event, "a token") {
            Ok((token,)) => token,
            Err(refusal) => return refuse(socket, event.name(), ack, refusal),
        };
        let (rules, client, before) = (Rc::clone(rules), socket.clone(), socket.token());
        socket.authenticate(&token, move |result| match result {
            Ok(token) => {
                ack.send(&Refreshed { user: &token.user, expires: token.expires_s });
                rules.end_what_is_lost(&client, before);
            }
            Err(error) => refuse(&client, "refresh", ack, Refusal::Token(error)),
        });
    }

    /// Puts a client out of what the token before gave it and the one it has now does not. What it has by other grounds, the
    /// backend's word among them, stays.
    fn end_what_is_lost(self: Rc<Self>, socket: &Socket, before: Option<Rc<Verified>>) {
        let Some(before) = before else { return };
        let namespace = socket.namespace().name();
        let has_lost = move |rules: &Self, socket: &Socket, channel: &str| {
            let may = |token: Option<&Verified>| {
                rules.access.check_first(&who(socket, token), Right::Subscribe, channel)
            };
            may(Some(&before)) == Ok(Standing::Given) && may(socket.token().as_deref()) != Ok(Standing::Given)
        };
        if has_lost(&self, socket, namespace) {
            return socket.disconnect();
        }
        let socket = socket.clone();
        socket.clone().spawn(async move {
            for room in socket.rooms().await {
                let Ok(channel) = room_channel(socket.namespace().name(), &room) else { continue };
                if has_lost(&self, &socket, channel.as_str()) {
                    socket.leave(&room);
                    socket.emit(ENDED, &Ended { room: &room, code: "subscribe_forbidden" });
                }
            }
        });
    }

    fn leave(&self, socket: &Socket, event: &RawEvent<'_>) -> Result<String, Refusal> {
        let room = self.room(socket, event, "the name of a room to leave")?;
        socket.leave(&room);
        Ok(room)
    }

    /// To everybody in a room, whether or not the sender is in it. The id of a socket is the room of it alone.
    fn publish(&self, socket: &Socket, event: &RawEvent<'_>) -> Result<(String, Sent), Refusal> {
        let (room, _) =
            arguments::<(String, String)>(event, "a room, the name of an event, and its arguments")?;
        self.check_room(socket, &room)?;
        let channel = room_channel(socket.namespace().name(), &room)?;
        let standing = self.publisher(socket, event, &channel)?;
        let json = decode_inner_event(event.json(), 2)?;
        let sent = self.send(standing, socket, event, json, (&channel, &socket.namespace().to(&room)))?;
        Ok((room, sent))
    }

    /// Any other event goes to everybody, as programs that only pass on what they hear are written.
    fn relay(&self, socket: &Socket, event: &RawEvent<'_>) -> Result<Sent, Refusal> {
        if !self.rights.get().relays {
            return Err(Refusal::EventUnheard);
        }
        let namespace = namespace_channel(socket.namespace().name()).map_err(|_| Refusal::Namespace)?;
        let standing = self.publisher(socket, event, &namespace)?;
        let everybody = socket.namespace().everybody();
        self.send(standing, socket, event, event.json().into(), (&namespace, &everybody))
    }

    /// Answers when every shard and every other member of a cluster has, or is late. The questions that wait are bounded
    /// ([`crate::limits::QUESTIONS_AWAITED_MAX`]).
    fn tell_presence(&self, socket: &Socket, event: &RawEvent<'_>, ack: Ack) {
        let shows_ids = self.presence == Presence::Ids;
        let asked = match self.presence {
            Presence::Off => Err(Refusal::PresenceForbidden),
            Presence::Count | Presence::Ids => self.room(socket, event, "the name of a room to ask about"),
        };
        let asked = asked.and_then(|room| self.check(socket, event, Right::Presence, &room).map(|()| room));
        let room = match asked {
            Ok(room) => room,
            Err(refusal) => return self.refuse(socket, event, ack, refusal),
        };
        let (selected, asker) = (socket.namespace().to(&room), socket.clone());
        socket.spawn(async move {
            let of_members = selected.fetch_ids_of_members();
            let (count, ids, missing) = match shows_ids {
                true => {
                    let ids = selected.fetch_ids().await;
                    (ids.len(), Some(ids.list), ids.missing)
                }
                false => {
                    let counts = selected.count_sockets().await;
                    (counts.iter().map(|count| *count as usize).sum(), None, counts.missing)
                }
            };
            if missing > 0 {
                let shards = asker.io().shards();
                return refuse(&asker, "presence", ack, Refusal::ShardsSilent(shards - missing, shards));
            }
            let (others, missing_members) = of_members.await;
            let of_others = others.iter().filter_map(|id| SocketId::parse(id));
            let told = ids.iter().flatten().copied().chain(of_others);
            let incomplete = missing_members > 0 || !are_all(told);
            let names = |ids: Vec<SocketId>| {
                let own = ids.iter().map(ToString::to_string);
                own.chain(others.iter().map(ToString::to_string)).collect()
            };
            let (count, ids) = (count + others.len(), ids.map(names));
            let missing_members = NonZeroU32::new(missing_members);
            ack.send(&PresenceAnswer { room: &room, count, incomplete, missing_members, ids });
        });
    }

    /// Sends an event, unless it is too large, its client has sent too many, or the backend is to be asked about it, which is
    /// troubled with nothing of that.
    fn send(
        &self,
        standing: Standing,
        socket: &Socket,
        event: &RawEvent<'_>,
        json: Box<str>,
        (channel, receivers): (&ChannelName, &Broadcast),
    ) -> Result<Sent, Refusal> {
        let token = socket.token();
        let arguments = Arguments { json, attachments: event.attachments().into() };
        let everywhere = self.rights.get().publication_bytes_max;
        let bytes_max = self.access.bytes_max(channel.as_str(), everywhere);
        let too_large = Refusal::PublicationTooLarge(bytes_max);
        let bytes_max = bytes_max as usize;
        if arguments.attachments.is_empty() && arguments.json.len() > bytes_max {
            return Err(too_large);
        }
        let base64 = text_beside(&arguments, bytes_max).map_err(|_| too_large)?;
        let address = event.address().map(network);
        let who = Who { address, ..who(socket, token.as_deref()) };
        // What the backend was asked about has been counted then.
        if standing != Standing::Allowed {
            self.access.take(&who, [channel.as_str()], super::unix_ms())?;
        }
        if standing == Standing::ToAsk {
            let data =
                base64.map_or_else(|| arguments.json.into_boxed_bytes(), |data| data.into_bytes().into());
            self.access.ask_about(Payload::new(data, Some("application/json")));
            return Err(Refusal::Undecided);
        }
        if self.has_broker {
            return Ok(receivers.emit_json_awaited(arguments, base64));
        }
        receivers.emit_json(arguments, base64);
        Ok(None)
    }

    /// How a client stands that wants to publish to a channel.
    fn publisher(
        &self,
        socket: &Socket,
        event: &RawEvent<'_>,
        channel: &ChannelName,
    ) -> Result<Standing, Refusal> {
        if !self.rights.get().clients_publish {
            return Err(Refusal::PublishForbidden);
        }
        let token = socket.token();
        let who = Who { rulings: event.rulings(), ..who(socket, token.as_deref()) };
        // Nothing but a new connection can bring a key.
        self.access.check_first(&who, Right::Publish, channel.as_str()).map_err(Refusal::without_key)
    }

    /// Refuses what a client has no right to do with a room.
    fn check(&self, socket: &Socket, event: &RawEvent<'_>, right: Right, room: &str) -> Result<(), Refusal> {
        let channel = room_channel(socket.namespace().name(), room)?;
        let token = socket.token();
        let who = Who { rulings: event.rulings(), ..who(socket, token.as_deref()) };
        self.access.check(&who, right, channel.as_str())
    }

    /// Whether a client may be shown as a member of a room's channel.
    fn may_enter(&self, socket: &Socket, room: &ChannelName) -> bool {
        let token = socket.token();
        self.access.check(&who(socket, token.as_deref()), Right::Enter, room.as_str()).is_ok()
    }

    /// The room a command names. One that is named as a socket is cannot be joined, left or looked into.
    fn room(&self, socket: &Socket, event: &RawEvent<'_>, expected: &'static str) -> Result<String, Refusal> {
        let (room,) = arguments::<(String,)>(event, expected)?;
        self.check_room(socket, &room)?;
        refuse_socket_id(&room)?;
        Ok(room)
    }

    fn check_room(&self, socket: &Socket, room: &str) -> Result<(), Refusal> {
        let channel = room_channel(socket.namespace().name(), room)?;
        let bytes_max = self.rights.get().room_bytes_max;
        if channel.as_str().len() > bytes_max {
            return Err(ChannelNameError::TooLong(bytes_max).into());
        }
        self.rooms.allow(room).then_some(()).ok_or(Refusal::RoomForbidden)
    }
}

/// What is known of a client, whose token is this.
pub(super) fn who<'a>(socket: &Socket, token: Option<&'a Verified>) -> Who<'a> {
    Who {
        key: socket.data::<Publisher>().map_or(KeySlot::NONE, |publisher| publisher.0),
        user: token.map(|token| (&*token.user).into()),
        grant: token.map(|token| &token.claims.grant),
        ..Who::default()
    }
}

fn arguments<T: serde::de::DeserializeOwned>(
    event: &RawEvent<'_>,
    expected: &'static str,
) -> Result<T, Refusal> {
    event.arguments().map_err(|_| Refusal::CommandArguments(expected))
}
