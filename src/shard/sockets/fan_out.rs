//! Publications to sockets: encoded once per turn and channel, then one frame reference for each socket.
//!
//! A publication whose publisher named its event is that event with the data as its one argument; one whose data is a JSON
//! array that begins with a string is the event of that name; any other is the event `message`. A change of the room's
//! state is the event `set`, `add` or `remove`. What some sockets must not get (the sender, members of other rooms,
//! whoever cannot take a volatile event at once) is left out for them alone, who are written what is left; all others share
//! the one encoding.

use std::{cell::Cell, iter, rc::Rc};

use smallvec::SmallVec;

use super::{Engines, State, claim, is_in, recovery};
use crate::{
    hub::{Fanout, Hub},
    limits::{JSON_DEPTH_MAX, SlowConsumer},
    mesh::ShardReport,
    model::{
        Arguments, ChannelName, CloseReason, Now, ShardId, SharedPublication, SocketId, Transport,
        namespace_of,
    },
    session::{NONE, SharedPayload},
    shard::{
        lines::{Broadcast, Lines},
        outbox::Class,
    },
    wire::{
        engineio::{self, Packet},
        json::{RESERVED_EVENTS, Raw, encode_change, push_string},
        socketio::{self, EventHead},
    },
};

/// A fan-out's publications as packets, in both forms; memory that is used again.
#[derive(Default)]
pub(super) struct Frames {
    /// WebSocket frames, and where each publication's end.
    websocket: Vec<u8>,
    websocket_ends: Vec<usize>,
    /// The same compressed, one after the other, once somebody gets some of them so.
    deflated: Vec<u8>,
    deflated_ends: Vec<usize>,
    /// Each publication's packets as a polling payload, once somebody polls.
    polling: Vec<Rc<SharedPayload>>,
    /// What each publication's event is numbered with, where events are.
    offsets: Vec<Option<String>>,
    text: Vec<u8>,
}

/// Who does not get some of a fan-out's publications.
enum LeftOut {
    /// Their senders alone: the indices of those on this shard, in order. Most events of chats leave out their sender, so
    /// that everybody else gets one encoding without being looked at closely.
    Senders(SmallVec<[u32; 8]>),
    /// Anybody, by the rooms it is in and by what waits for it.
    Any,
}

/// What is worked on beside the sockets.
pub(in crate::shard) struct Surroundings<'a> {
    pub(in crate::shard) lines: &'a mut Lines,
    pub(in crate::shard) report: &'a mut ShardReport,
}

impl Engines {
    /// The transport whose subscribers all get a publication in one turn. While clients that are away are kept, those who
    /// come back are told apart by whether an event was sent before, and it must have been sent to all or to none.
    pub(in crate::shard) fn whole(&self) -> Option<Transport> {
        self.log.is_on().then_some(Transport::SocketIo)
    }

    /// Everybody has got what has been published.
    pub(in crate::shard) fn end_fan_out(&mut self) {
        self.log.end_fan_out();
    }

    /// Hands a channel's publications to its sockets, or puts that off when rooms decide who gets them.
    pub(in crate::shard) fn fan_out(
        &mut self,
        fanout: &Fanout<'_>,
        subscribers: &[u32],
        around: &mut Surroundings<'_>,
    ) {
        if fanout.gap && self.log.is_on() {
            self.log.keep_loss(self.now, fanout.channel);
            // An event has no place to say that something before it is lost. Who comes back is told that it has not recovered.
            let indices = subscribers.iter().filter_map(|subscriber| SocketId::index_of(*subscriber));
            let sockets = indices.filter_map(|index| self.sockets.get(index));
            let here = sockets.filter(|socket| socket.state != State::Away);
            self.ended.extend(here.map(|socket| (socket.session, CloseReason::PositionLost)));
        }
        let by_rooms = |one: &SharedPublication| {
            one.payload.emission.as_ref().is_some_and(|emission| !emission.except_rooms.is_empty())
        };
        // Once something has been put off, what comes behind it is as well, or it would overtake.
        if !self.excluding.is_empty() || fanout.publications.iter().any(by_rooms) {
            self.excluding.push((fanout.publications.to_vec(), subscribers.to_vec()));
            return;
        }
        self.hand_out(fanout.publications, subscribers, None, around);
    }

    /// Hands out what was put off.
    pub(in crate::shard) fn fan_out_by_rooms(&mut self, hub: &Hub, around: &mut Surroundings<'_>) {
        for (publications, subscribers) in std::mem::take(&mut self.excluding) {
            self.hand_out(&publications, &subscribers, Some(hub), around);
        }
    }

    /// The sessions that were found to have to end, and why.
    pub(in crate::shard) fn take_ended(&mut self) -> Vec<(u32, CloseReason)> {
        std::mem::take(&mut self.ended)
    }

    fn hand_out(
        &mut self,
        publications: &[SharedPublication],
        subscribers: &[u32],
        hub: Option<&Hub>,
        around: &mut Surroundings<'_>,
    ) {
        let Some(first) = publications.first() else { return };
        let mut frames = std::mem::take(&mut self.frames);
        frames.number(publications, &mut self.log, self.now);
        frames.encode(publications, namespace_of(&first.channel).0);
        let bytes = around.lines.outbox.encoded(&frames.websocket);
        around.lines.compression.begin_fan_out(&bytes, &first.channel, Transport::SocketIo, publications);
        let left_out = LeftOut::of(publications, self.shard);
        // Few clients ask for base64, and only bytes make a difference to them.
        let has_bytes = publications.iter().any(has_bytes);
        for subscriber in subscribers {
            let Some(index) = SocketId::index_of(*subscriber) else { continue };
            let Some(socket) = self.sockets.get(index) else { continue };
            if socket.state != State::Connected {
                continue;
            }
            if socket.connection != NONE
                && left_out.gets_all(self.id_of(index), socket.connection, publications, hub, around.lines)
                && !(has_bytes && self.wants_base64(socket.session))
            {
                around.report.deliveries_total += publications.len() as u64;
                let slow_consumer = SlowConsumer::Close;
                let broadcast =
                    Broadcast { bytes: &bytes, publications: publications.len() as u32, slow_consumer };
                around.lines.deliver(socket.connection, &broadcast);
                continue;
            }
            self.hand_out_some(publications, *subscriber, &mut frames, hub, around);
        }
        frames.polling.clear();
        self.frames = frames;
    }

    fn wants_base64(&self, session: u32) -> bool {
        self.sessions.get(session).is_some_and(|record| record.engine.is_base64())
    }

    /// Gives one socket those of the publications that are for it, or polls.
    fn hand_out_some(
        &mut self,
        publications: &[SharedPublication],
        subscriber: u32,
        frames: &mut Frames,
        hub: Option<&Hub>,
        around: &mut Surroundings<'_>,
    ) {
        let Some(index) = SocketId::index_of(subscriber) else { return };
        let Some(socket) = self.sockets.get(index) else { return };
        let (session, connection) = (socket.session, socket.connection);
        let id = self.id_of(index);
        let Some(record) = self.sessions.get_mut(session) else { return };
        let is_writable = match connection {
            NONE => record.engine.outlet() != crate::session::Outlet::Queue,
            connection => around.lines.is_silent(connection),
        };
        for (at, publication) in publications.iter().enumerate() {
            if !is_for(publication, id, is_writable, hub) {
                continue;
            }
            around.report.deliveries_total += 1;
            if connection != NONE && record.engine.is_base64() && has_bytes(publication) {
                let payload = frames.polling(publications, at, &self.queued_bytes);
                let payload = std::str::from_utf8(payload.bytes()).expect("payloads are text");
                around.lines.say_frames(connection, Class::Publication, |out| {
                    engineio::reframe_payload(out, payload, true).expect("they were written as packets");
                });
                continue;
            }
            if connection != NONE {
                frames.say(at, connection, around.lines);
                continue;
            }
            record.engine.queue.share(frames.polling(publications, at, &self.queued_bytes));
        }
        if connection != NONE {
            return;
        }
        if record.engine.queue.len() > self.queue_bytes_max {
            self.ended.push((session, CloseReason::SlowConsumer));
        } else if is_writable && !std::mem::replace(&mut record.is_to_answer, true) {
            self.to_answer.push(session);
        }
    }
}

impl LeftOut {
    fn of(publications: &[SharedPublication], shard: ShardId) -> Self {
        let mut sockets = SmallVec::new();
        for emission in publications.iter().filter_map(|one| one.payload.emission.as_deref()) {
            if emission.is_volatile || !emission.except_rooms.is_empty() {
                return Self::Any;
            }
            sockets.extend(emission.except_socket.filter(|id| id.shard == shard).map(|id| id.index));
        }
        sockets.sort_unstable();
        Self::Senders(sockets)
    }

    /// Whether a socket that a WebSocket carries gets every one of the publications, which are then sent as they are.
    fn gets_all(
        &self,
        id: SocketId,
        connection: u32,
        publications: &[SharedPublication],
        hub: Option<&Hub>,
        lines: &Lines,
    ) -> bool {
        match self {
            Self::Senders(sockets) => sockets.binary_search(&id.index).is_err(),
            Self::Any => {
                let is_writable = lines.is_silent(connection);
                publications.iter().all(|publication| is_for(publication, id, is_writable, hub))
            }
        }
    }
}

impl Frames {
    /// Gives each publication the offset that its event carries.
    fn number(&mut self, publications: &[SharedPublication], log: &mut recovery::Log, now: Now) {
        self.offsets.clear();
        self.offsets.extend(publications.iter().map(|publication| {
            // Clients take the text at the end of an event for its offset, so each has to have one.
            log.is_on().then(|| match publication.payload.is_volatile() {
                true => claim::offset_text(log.latest()),
                false => claim::offset_text(log.keep_publication(now, publication)),
            })
        }));
    }

    /// Writes the publications as WebSocket frames.
    fn encode(&mut self, publications: &[SharedPublication], namespace: &str) {
        self.websocket.clear();
        self.websocket_ends.clear();
        self.deflated.clear();
        self.deflated_ends.clear();
        self.polling.clear();
        for (publication, offset) in iter::zip(publications, &self.offsets) {
            write_packets(publication, namespace, offset.as_deref(), &mut self.text, |packet| {
                engineio::encode_frame(&mut self.websocket, packet);
            });
            self.websocket_ends.push(self.websocket.len());
        }
    }

    /// Says one of the publications to a WebSocket.
    fn say(&mut self, at: usize, connection: u32, lines: &mut Lines) {
        let range = |ends: &[usize]| if at == 0 { 0..ends[0] } else { ends[at - 1]..ends[at] };
        if !lines.gets_deflated_as_all(connection) {
            let frames = &self.websocket[range(&self.websocket_ends)];
            lines.say_frames(connection, Class::Publication, |out| out.extend_from_slice(frames));
            return;
        }
        while self.deflated_ends.len() <= at {
            let next = self.deflated_ends.len();
            let start = if next == 0 { 0 } else { self.websocket_ends[next - 1] };
            let frames = &self.websocket[start..self.websocket_ends[next]];
            self.deflated.extend_from_slice(lines.compression.deflated(frames));
            self.deflated_ends.push(self.deflated.len());
        }
        let frames = &self.deflated[range(&self.deflated_ends)];
        if frames.len() < range(&self.websocket_ends).len() {
            lines.compression.streams.interrupt(connection);
        }
        lines.say(connection, Class::Publication, |out| out.extend_from_slice(frames));
    }

    /// One of the publications as a polling payload.
    fn polling(
        &mut self,
        publications: &[SharedPublication],
        at: usize,
        sum: &Rc<Cell<u64>>,
    ) -> &Rc<SharedPayload> {
        if self.polling.is_empty() {
            let Self { polling, offsets, text, .. } = self;
            polling.extend(iter::zip(publications, offsets).map(|(publication, offset)| {
                let mut payload = Vec::new();
                let namespace = namespace_of(&publication.channel).0;
                write_packets(publication, namespace, offset.as_deref(), text, |packet| {
                    engineio::encode_into_payload(&mut payload, packet);
                });
                SharedPayload::new(payload, sum)
            }));
        }
        &self.polling[at]
    }
}

/// Whether a publication is for a socket that could or could not be sent something at once.
fn is_for(publication: &SharedPublication, id: SocketId, is_writable: bool, hub: Option<&Hub>) -> bool {
    publication.payload.emission.as_ref().is_none_or(|emission| {
        let in_room = |room: &ChannelName| hub.is_some_and(|hub| is_in(hub, id, room));
        emission.except_socket != Some(id)
            && (is_writable || !emission.is_volatile)
            && !emission.except_rooms.iter().any(in_room)
    })
}

/// Whether a publication is told with binary packets.
fn has_bytes(publication: &SharedPublication) -> bool {
    let emission = publication.payload.emission.as_deref();
    match emission.and_then(|emission| emission.arguments.as_ref()) {
        Some(arguments) => !arguments.attachments.is_empty(),
        None => publication.payload.change.is_none() && !publication.payload.is_text(),
    }
}

/// A publication as the packets of an event.
pub(super) fn write_packets(
    publication: &SharedPublication,
    namespace: &str,
    offset: Option<&str>,
    text: &mut Vec<u8>,
    mut write: impl FnMut(Packet<'_>),
) {
    let payload = &publication.payload;
    let arguments = payload.emission.as_ref().and_then(|emission| emission.arguments.as_ref());
    let head = |attachments| EventHead { namespace, ack: None, attachments, offset };
    let named = payload.event.as_deref().filter(|name| !RESERVED_EVENTS.contains(name));
    let name = named.unwrap_or(MESSAGE);
    text.clear();
    if let Some(change) = &payload.change {
        let said = json_of(|json| encode_change(json, publication));
        socketio::encode_event(text, head(0), change.kind.word(), [&*said]);
        return write(packet(text));
    }
    match (arguments, payload.text()) {
        (Some(arguments), _) => write_arguments(arguments, head(0), text, write),
        (None, Some(data)) => {
            match Raw::check(data, JSON_DEPTH_MAX) {
                Ok(json) if payload.event.is_none() && socketio::is_event(json) => {
                    socketio::encode_event_array(text, head(0), json.as_str());
                }
                Ok(json) => socketio::encode_event(text, head(0), name, [json.as_str()]),
                Err(_) => {
                    let string = json_of(|json| push_string(json, data));
                    socketio::encode_event(text, head(0), name, [&*string]);
                }
            }
            write(packet(text));
        }
        (None, None) => {
            let placeholder = json_of(|json| socketio::encode_placeholder(json, 0));
            socketio::encode_event(text, head(1), name, [&*placeholder]);
            write(packet(text));
            write(Packet::Binary(&payload.data));
        }
    }
}

/// An event as packets.
pub(super) fn write_arguments(
    arguments: &Arguments,
    head: EventHead<'_>,
    text: &mut Vec<u8>,
    mut write: impl FnMut(Packet<'_>),
) {
    let Arguments { json, attachments } = arguments;
    text.clear();
    socketio::encode_event_array(text, EventHead { attachments: attachments.len() as u32, ..head }, json);
    write(packet(text));
    attachments.iter().for_each(|attachment| write(Packet::Binary(attachment)));
}

/// The event that data which is none, and was given no name, arrives as.
const MESSAGE: &str = "message";

fn json_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut json = Vec::new();
    write(&mut json);
    String::from_utf8(json).expect("JSON is text")
}

fn packet(text: &[u8]) -> Packet<'_> {
    Packet::Text(std::str::from_utf8(text).expect("packets are written as text"))
}
