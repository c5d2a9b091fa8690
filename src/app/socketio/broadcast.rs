//! Events to many sockets, and the other things done to many at once.
//!
//! A room is a channel, so an event to three rooms is three publications. A socket in two of the rooms shall get it
//! once: each publication is not for those who are in a room before it.

use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};
use smallvec::SmallVec;
use tracing::error;

use super::{
    Acknowledged, Answers, Awaiting, Channel, ChannelError, Namespace, Order, RemoteSocket, Rooms,
    arguments::{self, Outgoing},
    questions::{self, Replies},
    rooms::{self, Room},
};
use crate::{
    broker::cluster::ClusterAsk,
    limits::{ACK_TIMEOUT_MS, SOCKETS_FETCHED_PER_SHARD_MAX, SURVEY_TIMEOUT_MS},
    mesh::{Asking, Selection, SocketCommand, SocketsRequest, Told},
    model::{
        Arguments, Author, ChannelName, Emission, NodeId, Payload, Position, Reach, ShardId, SocketId,
        StateRequest, Ticket, room_channel,
    },
    wire::{json::RESERVED_EVENTS, redis_adapter::Request},
};

/// Some of the sockets of a namespace, on every shard.
#[derive(Clone, Debug)]
#[must_use = "a selection does nothing by itself"]
pub struct Broadcast {
    pub(super) namespace: Namespace,
    /// Whether only those in rooms are meant, even if none of the rooms can be one.
    names_rooms: bool,
    pub(super) rooms: SmallVec<[ChannelName; 2]>,
    pub(super) sockets: SmallVec<[SocketId; 1]>,
    pub(super) except_rooms: Vec<ChannelName>,
    pub(super) except_socket: Option<SocketId>,
    pub(super) is_volatile: bool,
    is_ordered: bool,
    /// How far what is done goes in a cluster.
    pub(super) reach: Reach,
    /// How long answers are waited for, if not as long as usually.
    pub(super) timeout: Option<Duration>,
}

impl Broadcast {
    pub(super) fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            names_rooms: false,
            rooms: SmallVec::new(),
            sockets: SmallVec::new(),
            except_rooms: Vec::new(),
            except_socket: None,
            is_volatile: false,
            is_ordered: true,
            reach: Reach::Everywhere,
            timeout: None,
        }
    }

    /// Adds the sockets in a room.
    pub fn to(mut self, rooms: impl Rooms) -> Self {
        self.names_rooms = true;
        rooms.visit(&mut |name| match Room::named(name, self.namespace.name()) {
            Room::Channel(room) if !self.rooms.contains(&room) => self.rooms.push(room),
            Room::Socket(socket) if !self.sockets.contains(&socket) => self.sockets.push(socket),
            Room::Channel(_) | Room::Socket(_) | Room::Nowhere => {}
        });
        self
    }

    /// The same as [`Self::to`].
    pub fn in_(self, rooms: impl Rooms) -> Self {
        self.to(rooms)
    }

    /// Leaves out the sockets in a room.
    pub fn except(mut self, rooms: impl Rooms) -> Self {
        rooms.visit(&mut |name| match Room::named(name, self.namespace.name()) {
            Room::Channel(room) => self.except_rooms.push(room),
            Room::Socket(socket) => self.leave_out(socket),
            Room::Nowhere => {}
        });
        self
    }

    /// Does not wait for clients that cannot take the event at once.
    pub fn volatile(mut self) -> Self {
        self.is_volatile = true;
        self
    }

    /// Waits for no events to other rooms that were sent before, nor lets them wait. What is sent to one room stays in order, and
    /// so does everything else. Who sends very many events to very many rooms gains by it, with several shards: otherwise the
    /// first few wait until the one before has arrived everywhere, and clients are told of the others when they have been told
    /// of those before.
    pub fn unordered(mut self) -> Self {
        self.is_ordered = false;
        self
    }

    /// Leaves out the sockets of other members of a Socket.IO cluster. A process is one member, and a broadcast reaches all its
    /// shards.
    pub fn local(mut self) -> Self {
        self.reach = Reach::Here;
        self
    }

    /// Of this process alone, for another member of the cluster asks it.
    pub(super) fn asked_by_member(mut self) -> Self {
        self.reach = Reach::FromElsewhere;
        self
    }

    /// Changes nothing: nothing is compressed.
    pub fn compress(self, compress: bool) -> Self {
        let _unused = compress;
        self
    }

    /// Sets how long the answers of other shards are waited for, instead of [`SURVEY_TIMEOUT_MS`], those of other members of a
    /// Socket.IO cluster, instead of [`CLUSTER_WAIT_MS`], or the acknowledgements of clients, instead of [`ACK_TIMEOUT_MS`].
    ///
    /// [`CLUSTER_WAIT_MS`]: crate::limits::CLUSTER_WAIT_MS
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends an event to the sockets selected, each once.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) {
        if let Some(outgoing) = outgoing(event, data) {
            self.send(outgoing, Author::Application);
        }
    }

    /// Sends an event to the sockets selected, each once, and gathers what they acknowledge it with. It is sent at once,
    /// whether or not the answer is awaited. Who is away is not asked; of each shard at most
    /// [`SOCKETS_FETCHED_PER_SHARD_MAX`] are, and the others are sent the event and count as unanswered. In a Socket.IO cluster
    /// the clients of other members are asked, too, unless this is [`Self::local`].
    pub fn emit_with_ack<R: DeserializeOwned + 'static>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Awaiting<Acknowledged<R>> {
        let (give, awaiting) = Awaiting::new();
        let Some(Outgoing { arguments, .. }) = outgoing(event, data) else {
            give(Acknowledged::nobody());
            return awaiting;
        };
        let until = Instant::now() + self.timeout.unwrap_or(Duration::from_millis(ACK_TIMEOUT_MS));
        self.ask_all_clients(arguments, until, move |replies, acks| give(Acknowledged::of(replies, acks)));
        awaiting
    }

    /// Has the clients of the sockets acknowledge an event until the first of two times; what each shard has gathered is told
    /// by the second.
    pub(super) fn ask_clients(
        &self,
        arguments: Arguments,
        [until, told_by]: [Instant; 2],
        give: impl FnOnce(Replies) + 'static,
    ) {
        if self.reaches_nobody() {
            return give(Answers::none(0));
        }
        let asking = Box::new(Asking { arguments, is_volatile: self.is_volatile, until });
        let selection = self.selection();
        let put = |token| SocketsRequest::Ask { selection, token, asking };
        questions::ask_then(self.namespace.core(), questions::Asked::Everybody, told_by, put, give);
    }

    /// When the answers of other shards are not waited for any more.
    fn answered_by(&self) -> Instant {
        Instant::now() + self.timeout.unwrap_or(Duration::from_millis(SURVEY_TIMEOUT_MS))
    }

    /// Changes the state of each of the rooms, or of the namespace where none is named: sets or removes a key, or counts one
    /// further. Who is in a room is told by the event `set`, `remove` or `add`, as is whoever follows its channel otherwise;
    /// who was left out is, too, for a state is the same for all. [`super::Channel::change`] tells what became of it.
    pub fn change_state(&self, request: StateRequest) {
        for channel in self.channels() {
            let (channel, request) = (channel.clone(), Box::new(request.clone()));
            self.namespace.core().order(Order::ChangeState { channel, request, ticket: None });
        }
    }

    /// As [`Self::emit`], for an event that is JSON already, checked: with attachments, `base64` is the same with them
    /// in their places. It is passed on for a client or a backend.
    pub(crate) fn emit_json(&self, arguments: Arguments, base64: Option<String>) {
        self.send(Outgoing { arguments, base64 }, Author::Client);
    }

    /// As [`Self::emit_json`]; who has a ticket for a room's channel is told what became of it there.
    pub(crate) fn emit_json_with(
        &self,
        arguments: Arguments,
        base64: Option<String>,
        mut ticket: impl FnMut(&ChannelName) -> Ticket,
    ) {
        self.send_by(Outgoing { arguments, base64 }, |channel, payload| {
            let (ticket, is_ordered) = (Some(ticket(&channel)), self.is_ordered);
            let author = Author::Client;
            self.namespace.core().order(Order::Publish { channel, payload, author, is_ordered, ticket });
        });
    }

    /// As [`Self::emit_json`], to one room or everybody; what becomes of that, unless the room is that of a socket.
    pub(crate) fn emit_json_awaited(
        &self,
        arguments: Arguments,
        base64: Option<String>,
    ) -> Option<Awaiting<Result<Position, ChannelError>>> {
        let mut awaiting = None;
        self.send_by(Outgoing { arguments, base64 }, |channel, payload| {
            let channel = Channel::new(self.namespace.core().clone(), channel);
            awaiting = Some(channel.relay(payload, self.is_ordered));
        });
        awaiting
    }

    /// Puts the sockets into rooms.
    pub fn sockets_join(&self, rooms: impl Rooms) {
        self.ask_cluster(|selected| Request::Join { selected, rooms: names_of(&rooms) });
        self.command(|| SocketCommand::Join(rooms::channels(&rooms, self.namespace.name())));
    }

    /// Takes the sockets out of rooms.
    pub fn sockets_leave(&self, rooms: impl Rooms) {
        self.ask_cluster(|selected| Request::Leave { selected, rooms: names_of(&rooms) });
        self.command(|| SocketCommand::Leave(rooms::channels(&rooms, self.namespace.name())));
    }

    /// Takes the sockets out of the namespace, and with `close` ends their clients' connections.
    pub fn disconnect_sockets(&self, close: bool) {
        self.ask_cluster(|selected| Request::Disconnect { selected, close });
        self.command(|| SocketCommand::Disconnect { ends_session: close });
    }

    /// Asks every shard which sockets these are, and every other member of a Socket.IO cluster, unless this is [`Self::local`]; at
    /// most [`SOCKETS_FETCHED_PER_SHARD_MAX`] of each shard are told. Those of this process come first.
    pub async fn fetch_sockets(&self) -> Answers<RemoteSocket> {
        let of_members = self.fetch_of_members();
        let replies = self.fetch(Told::Summaries).await;
        let mut answers = replies.flat_map(|_, answer| {
            let remote = |summary| RemoteSocket::new(self.namespace.clone(), summary);
            answer.sockets.into_iter().map(remote).collect()
        });
        let (sockets, missing_members) = of_members.await;
        answers.list.extend(
            sockets.into_iter().map(|socket| RemoteSocket::of_member(self.namespace.clone(), socket)),
        );
        answers.missing_members = missing_members;
        answers
    }

    /// As [`Self::fetch_sockets`], and tells only their ids.
    pub(crate) async fn fetch_ids(&self) -> Answers<SocketId> {
        let replies = self.fetch(Told::Ids).await;
        replies.flat_map(|_, answer| answer.sockets.into_iter().map(|summary| summary.id).collect())
    }

    /// How many sockets each shard has of these.
    pub(crate) async fn count_sockets(&self) -> Answers<u32> {
        self.fetch(Told::Count).await.flat_map(|_, answer| vec![answer.count])
    }

    async fn fetch(&self, told: Told) -> Replies {
        let (give, awaiting) = Awaiting::new();
        self.fetch_then(told, self.answered_by(), give);
        awaiting.await
    }

    /// Asks every shard for what is told of these sockets.
    pub(super) fn fetch_then(&self, told: Told, until: Instant, give: impl FnOnce(Replies) + 'static) {
        if self.reaches_nobody() {
            return give(Answers::none(0));
        }
        let (selection, limit) = (self.selection(), SOCKETS_FETCHED_PER_SHARD_MAX);
        let put = |token| SocketsRequest::Fetch { selection, token, limit, told };
        questions::ask_then(self.namespace.core(), questions::Asked::Everybody, until, put, give);
    }

    /// Says something to this application on every other shard, whatever is selected here.
    pub fn server_side_emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) {
        if let Some(outgoing) = outgoing(event, data) {
            self.ask_cluster(|_| Request::ServerEvent { arguments: outgoing.arguments.clone() });
            let request = self.server_event(outgoing.arguments, None);
            self.namespace.core().order(Order::Request(request));
        }
    }

    /// As [`Self::server_side_emit`], and gives the answers. Those that are not what `R` takes count as missing.
    pub async fn server_side_emit_with_answers<R: DeserializeOwned + 'static>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Answers<(ShardId, R)> {
        let core = self.namespace.core();
        let Some(outgoing) = outgoing(event, data) else {
            return Answers::none(core.shards - 1);
        };
        let put = |token| self.server_event(outgoing.arguments, Some(token));
        let replies = questions::ask(core, questions::Asked::Others, self.answered_by(), put).await;
        let mut unreadable = 0;
        let mut answers = replies.flat_map(|from, answer| {
            let said = answer.arguments.unwrap_or_default();
            let read = arguments::decode(&said.json, &said.attachments).ok();
            unreadable += u16::from(read.is_none());
            read.map(|answer| (from, answer)).into_iter().collect()
        });
        answers.missing += unreadable;
        answers
    }

    pub(super) fn leave_out(&mut self, socket: SocketId) {
        match self.except_socket {
            None => self.except_socket = Some(socket),
            Some(other) if other == socket => {}
            Some(_) => self.except_rooms.extend(own_room(socket, self.namespace.name())),
        }
    }

    fn server_event(&self, arguments: Arguments, token: Option<u64>) -> SocketsRequest {
        SocketsRequest::ServerEvent { namespace: self.namespace.name().into(), arguments, token }
    }

    /// Whether the rooms named are none.
    pub(super) fn reaches_nobody(&self) -> bool {
        self.names_rooms && self.rooms.is_empty() && self.sockets.is_empty()
    }

    fn own_rooms(&self) -> impl Iterator<Item = ChannelName> {
        self.sockets.iter().filter_map(|socket| own_room(*socket, self.namespace.name()))
    }

    pub(super) fn selection(&self) -> Selection {
        Selection {
            namespace: self.namespace.channel().clone(),
            rooms: self.rooms.iter().cloned().chain(self.own_rooms()).collect(),
            except: self.except_rooms.clone(),
            except_socket: self.except_socket,
        }
    }

    fn command(&self, command: impl FnOnce() -> SocketCommand) {
        let core = self.namespace.core();
        // What concerns one socket alone is said to its shard alone, unless somebody is told what others do.
        let is_one = self.rooms.is_empty() && self.except_rooms.is_empty() && self.except_socket.is_none();
        let is_one = is_one && core.on_moved.is_empty();
        match self.sockets[..] {
            _ if self.reaches_nobody() => {}
            [socket] if is_one => core.order(Order::Command { socket, command: command() }),
            _ => {
                let (selection, command) = (self.selection(), command());
                core.order(Order::Request(SocketsRequest::Command { selection, command }));
            }
        }
    }

    /// The channels of the rooms that were named, or of everybody.
    fn channels(&self) -> &[ChannelName] {
        if self.names_rooms { &self.rooms } else { std::slice::from_ref(self.namespace.channel()) }
    }

    fn send(&self, outgoing: Outgoing, author: Author) {
        self.send_by(outgoing, |channel, payload| {
            let (is_ordered, ticket) = (self.is_ordered, None);
            self.namespace.core().order(Order::Publish { channel, payload, author, is_ordered, ticket });
        });
    }

    /// Sends an event, by what publishes it to a channel.
    fn send_by(&self, outgoing: Outgoing, mut publish: impl FnMut(ChannelName, Payload)) {
        self.send_to_sockets(&outgoing.arguments);
        let Outgoing { arguments, base64 } = outgoing;
        let (data, arguments) = match base64 {
            Some(data) => (data.into_bytes().into(), Some(arguments)),
            None => (arguments.json.into_boxed_bytes(), None),
        };
        let payload = Payload::new(data, Some("application/json"));
        let Some((last, others)) = self.channels().split_last() else { return };
        for (place, channel) in others.iter().enumerate() {
            let payload = self.payload(&others[..place], arguments.clone(), payload.clone());
            publish(channel.clone(), payload);
        }
        publish(last.clone(), self.payload(others, arguments, payload));
    }

    /// What is published to one of the rooms: it is not for those who are in a room before it.
    fn payload(&self, before: &[ChannelName], arguments: Option<Arguments>, mut payload: Payload) -> Payload {
        let except_rooms = self.except_rooms.iter().chain(before).cloned().chain(self.own_rooms());
        let emission = Emission {
            arguments,
            except_socket: self.except_socket,
            except_rooms: except_rooms.collect(),
            is_volatile: self.is_volatile,
            reach: if self.namespace.core().settings.in_cluster { self.reach } else { Reach::Everywhere },
        };
        payload.emission = (emission != Emission::default()).then(|| Box::new(emission));
        payload
    }

    /// The sockets named by their ids need no channel.
    fn send_to_sockets(&self, arguments: &Arguments) {
        let core = self.namespace.core();
        let is_elsewhere = |socket: &SocketId| match core.settings.node {
            NodeId::NONE => !core.presence.is_connected(*socket),
            node => socket.node != node,
        };
        let are_elsewhere = || self.sockets.iter().any(is_elsewhere);
        if core.settings.has_members() && self.reach == Reach::Everywhere && are_elsewhere() {
            core.tell_cluster(|| ClusterAsk::Emitted(Box::new(self.emitted_to_sockets(arguments))));
        }
        for socket in self.sockets.iter().copied().filter(|socket| Some(*socket) != self.except_socket) {
            let command = SocketCommand::Emit { arguments: arguments.clone(), is_volatile: self.is_volatile };
            match self.except_rooms.is_empty() {
                true => core.order(Order::Command { socket, command }),
                false => {
                    let rooms = own_room(socket, self.namespace.name()).into_iter().collect();
                    let selection = Selection { rooms, ..self.selection() };
                    core.order(Order::Request(SocketsRequest::Command { selection, command }));
                }
            }
        }
    }
}

/// The names of rooms.
pub(super) fn names_of(rooms: &impl Rooms) -> Vec<Box<str>> {
    let mut names = Vec::new();
    rooms.visit(&mut |name| names.push(name.into()));
    names
}

/// The room in which a socket is alone.
pub(super) fn own_room(socket: SocketId, namespace: &str) -> Option<ChannelName> {
    room_channel(namespace, &socket.to_string()).ok()
}

/// Writes an event. What cannot be sent is the application's mistake: it is logged, and nothing is sent.
pub(super) fn outgoing<T: Serialize + ?Sized>(event: &str, data: &T) -> Option<Outgoing> {
    if RESERVED_EVENTS.contains(&event) {
        error!(event, "not sent: Socket.IO uses this name itself");
        return None;
    }
    match arguments::encode_event(event, data) {
        Ok(outgoing) => Some(outgoing),
        Err(error) => {
            error!(event, "not sent: JSON cannot say its data: {error}");
            None
        }
    }
}
