//! The backend's side of Socket.IO, over HTTP: `POST /socket.io-api/emit`, `GET` and `POST /socket.io-api/sockets`.
//!
//! All of it needs what publishing needs. Emits and commands are passed on and not waited for: the answer is 202. Where a broker
//! joins several nodes, an emit is, until the broker has it.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    ChannelServer, Refusal,
    access::Who,
    channels::limit,
    client_script::ClientScript,
    fields::{fresh, with_fields},
    keys::KeySlot,
    pending::{Outcome, Wait},
    publish::{BatchWait, accepted, refuse_other_than_json},
};
use crate::{
    app::{
        Answer, Context, Peer, Request, Response,
        socketio::{Answers, Broadcast, Io, Order, RemoteSocket, SocketId},
    },
    auth::Right,
    limits::{SOCKET_LIST_MAX, SOCKET_ROOMS_MAX, SOCKETS_FETCHED_PER_SHARD_MAX},
    model::{NodeId, ShardId, Ticket, room_channel},
    wire::json::{
        EmitRequest, Fault, SelectionRequest, SocketsCommand, decode_emit, decode_sockets_command,
        push_string,
    },
};

/// What `GET /socket.io-api` says.
const HELP: &str = "\
What a backend can do with the clients of Socket.IO. Where publishing needs a key, add
-H 'Authorization: Bearer KEY'.

  POST /socket.io-api/emit       sends an event; bytes are written {\"base64\":\"…\"} anywhere in args
    curl -H 'Content-Type: application/json' localhost:8080/socket.io-api/emit \\
         -d '{\"rooms\":[\"lobby\"],\"event\":\"news\",\"args\":[\"hello\",{\"n\":1}]}'
    namespace (\"/\"), rooms ([]: everybody), except ([]), event, args ([]), volatile (false), local (false), ordered (true)

  GET /socket.io-api/sockets     lists sockets
    curl 'localhost:8080/socket.io-api/sockets?namespace=/&room=lobby&limit=100'
    namespace, room and except (both may be repeated), limit

  POST /socket.io-api/sockets    puts sockets into rooms, takes them out, or ends them
    curl -H 'Content-Type: application/json' localhost:8080/socket.io-api/sockets \\
         -d '{\"rooms\":[\"lobby\"],\"join\":[\"game-7\"],\"leave\":[\"lobby\"]}'
    namespace, rooms, except, join ([]), leave ([]), disconnect (false), close (false: the connection stays)

The id of a socket may stand wherever a room selects sockets.
";

impl ChannelServer {
    /// `GET /socket.io-api`
    pub(super) fn sockets_help() -> Response {
        Response::text(200, HELP)
    }

    /// `GET /socket.io/{name}`
    pub(super) fn client_script(&self, request: &Request<'_>, name: &str) -> Result<Outcome, Refusal> {
        let script = self.settings.socketio.as_ref().map(|socketio| &socketio.client_script);
        script.unwrap_or(&ClientScript::default()).answer(request, name).map(Outcome::from)
    }

    /// `POST /socket.io-api/emit`
    pub(super) fn emit(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
    ) -> Result<Outcome, Refusal> {
        let who = self.who(peer, request)?;
        self.access.check_some(&who, Right::Publish)?;
        refuse_other_than_json(request)?;
        let EmitRequest { selection, arguments, base64, is_volatile, is_local, is_ordered } =
            decode_emit(request.body)?;
        let channels = channels(&selection)?;
        channels.iter().try_for_each(|channel| self.access.check(&who, Right::Publish, channel))?;
        let selected = self.select(&selection)?;
        let selected = if is_volatile { selected.volatile() } else { selected };
        let selected = if is_local { selected.local() } else { selected };
        let selected = if is_ordered { selected } else { selected.unordered() };
        let bytes = base64.as_ref().map_or(arguments.json.len(), String::len);
        channels.iter().try_for_each(|channel| self.check_size(channel, bytes))?;
        self.take_token(cx, &who, channels.iter().map(|channel| &**channel))?;
        if !self.settings.has_broker {
            selected.emit_json(arguments, base64);
            return Ok(accepted().into());
        }
        let (question, mut waited) = (self.begin_question(channels.len() as u32), Vec::new());
        selected.emit_json_with(arguments, base64, |channel| {
            let token = question.wrapping_add(waited.len() as u32);
            waited.push(channel.clone());
            Ticket { connection: peer.connection, token }
        });
        Ok(match waited.is_empty() {
            true => accepted().into(),
            false => Outcome::Wait(Wait::Batch(BatchWait::of_event(waited))),
        })
    }

    /// `POST /socket.io-api/sockets`
    pub(super) fn command_sockets(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
    ) -> Result<Outcome, Refusal> {
        let who = self.who(peer, request)?;
        self.check_sockets(&who, Right::Subscribe)?;
        refuse_other_than_json(request)?;
        let SocketsCommand { selection, join, leave, disconnect, close } =
            decode_sockets_command(request.body)?;
        let selected = self.select(&selection)?;
        for room in join.iter().chain(&leave) {
            check_room(&selection.namespace, room)?;
            refuse_socket_id(room)?;
        }
        self.take_token(cx, &who, [])?;
        if !join.is_empty() {
            selected.sockets_join(join);
        }
        if !leave.is_empty() {
            selected.sockets_leave(leave);
        }
        if disconnect {
            selected.disconnect_sockets(close);
        }
        Ok(accepted().into())
    }

    /// `GET /socket.io-api/sockets?namespace=&room=&except=&limit=`
    pub(super) fn list_sockets(&self, peer: &Peer<'_>, request: &Request<'_>) -> Result<Outcome, Refusal> {
        let who = self.who(peer, request)?;
        self.check_sockets(&who, Right::Presence)?;
        let limit = limit(request, SOCKET_LIST_MAX, SOCKET_LIST_MAX)?;
        let (namespace, rooms, except) = read_selection(request)?;
        let selected = self.select(&SelectionRequest {
            namespace: namespace.into(),
            rooms: rooms.into_iter().map(Cow::from).collect(),
            except: except.into_iter().map(Cow::from).collect(),
        })?;
        let io = self.io()?.clone();
        let (connection, cors) = (peer.connection, self.origins.check(request)?);
        self.io()?.spawn_local(async move {
            let sockets = selected.fetch_sockets().await;
            let response = with_fields(list_response(sockets, limit, io.shards()), &cors);
            io.orders().push(Order::Respond { connection, response });
        });
        Ok(Outcome::Answer(Answer::Later { tag: 0 }))
    }

    /// Who asks about others' sockets, or moves them, without a backend's key must have the right to what it gains by that.
    fn check_sockets(&self, who: &Who<'_>, gained: Right) -> Result<(), Refusal> {
        self.access.check_every(who, Right::Publish)?;
        match who.key == KeySlot::NONE {
            true => self.access.check_every(who, gained),
            false => Ok(()),
        }
    }

    /// The sockets a request means, on every shard.
    fn select(&self, selection: &SelectionRequest<'_>) -> Result<Broadcast, Refusal> {
        let SelectionRequest { namespace, rooms, except } = selection;
        self.access.check_namespace(namespace)?;
        for room in rooms.iter().chain(except) {
            check_room(namespace, room)?;
        }
        let everybody = self.io()?.sockets_of(namespace).ok_or(Refusal::Namespace)?;
        let selected = if rooms.is_empty() { everybody } else { everybody.to(rooms.as_slice()) };
        Ok(selected.except(except.as_slice()))
    }

    fn io(&self) -> Result<&Io, Refusal> {
        self.io.as_ref().ok_or(Refusal::NotFound)
    }
}

/// The channels that an emission goes to.
fn channels(selection: &SelectionRequest<'_>) -> Result<Vec<Box<str>>, Refusal> {
    let namespace = &*selection.namespace;
    if selection.rooms.is_empty() {
        return Ok(vec![namespace.into()]);
    }
    selection.rooms.iter().map(|room| Ok(room_channel(namespace, room)?.as_str().into())).collect()
}

/// The selection in a query: `room` and `except` stand as often as there are rooms.
fn read_selection(request: &Request<'_>) -> Result<(String, Vec<String>, Vec<String>), Refusal> {
    let (_, query) = request.target.split_once('?').unwrap_or_default();
    let (mut namespace, mut rooms, mut except) = (None, Vec::new(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "namespace" => namespace = Some(value.into_owned()),
            "room" => rooms.push(value.into_owned()),
            "except" => except.push(value.into_owned()),
            _ => {}
        }
    }
    match rooms.len().max(except.len()) > SOCKET_ROOMS_MAX {
        true => Err(Fault::TooManyRooms.into()),
        false => Ok((namespace.unwrap_or_else(|| "/".into()), rooms, except)),
    }
}

fn check_room(namespace: &str, room: &str) -> Result<(), Refusal> {
    Ok(room_channel(namespace, room).map(drop)?)
}

/// Nobody but the socket itself is in the room of its id.
pub(super) fn refuse_socket_id(room: &str) -> Result<(), Refusal> {
    match SocketId::parse(room) {
        Some(_) => Err(Refusal::RoomOfSocket),
        None => Ok(()),
    }
}

/// The first sockets by shard, and whether these are all.
fn list_response(sockets: Answers<RemoteSocket>, limit: u32, shards: u16) -> Response {
    if sockets.missing > 0 {
        return Refusal::ShardsSilent(shards - sockets.missing, shards).response();
    }
    let is_complete = sockets.len() <= limit as usize
        && sockets.missing_members == 0
        && are_all(sockets.iter().filter_map(|socket| SocketId::parse(socket.id())));
    let mut body = b"{\"sockets\":[".to_vec();
    for (index, socket) in sockets.iter().take(limit as usize).enumerate() {
        if index > 0 {
            body.push(b',');
        }
        push_socket(&mut body, socket);
    }
    let missing = match sockets.missing_members {
        0 => String::new(),
        missing => format!(",\"missing_members\":{missing}"),
    };
    body.extend_from_slice(format!("],\"complete\":{is_complete}{missing}}}").as_bytes());
    fresh(body)
}

fn push_socket(body: &mut Vec<u8>, socket: &RemoteSocket) {
    body.extend_from_slice(b"{\"id\":");
    push_string(body, socket.id());
    body.extend_from_slice(b",\"rooms\":[");
    for (index, room) in socket.rooms().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        push_string(body, room);
    }
    body.extend_from_slice(b"],\"data\":");
    body.extend_from_slice(socket.data_json().as_bytes());
    body.push(b'}');
}

/// Whether no shard of any node had more sockets than it tells of.
pub(super) fn are_all(ids: impl Iterator<Item = SocketId>) -> bool {
    let mut told = BTreeMap::<(NodeId, ShardId), u32>::new();
    for id in ids {
        *told.entry((id.node, id.shard)).or_default() += 1;
    }
    told.values().all(|count| *count < SOCKETS_FETCHED_PER_SHARD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_shards_of_one_number_on_two_nodes_are_those_of_two_shards() {
        let ids = |nodes: u16| {
            let id = move |index: u32| {
                let node = NodeId(1 + (index % u32::from(nodes)) as u16);
                SocketId { node, shard: ShardId(0), index, generation: 0 }
            };
            (0..SOCKETS_FETCHED_PER_SHARD_MAX).map(id)
        };
        assert!(are_all(ids(2)) && !are_all(ids(1)));
    }
}
