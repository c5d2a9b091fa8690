//! Publications as the bytes of each transport that is handed them as they come.

use crate::{
    hub::Fanout,
    mesh::Welcome,
    model::{ChannelName, Position, PresencePage, SharedPublication, Transport},
    wire::{
        json, sse,
        websocket::{self, Opcode},
    },
};

/// All publications of a fan-out.
pub(super) fn encode_fanout(
    out: &mut Vec<u8>,
    json: &mut Vec<u8>,
    transport: Transport,
    fanout: &Fanout<'_>,
) {
    let publications = fanout.publications;
    if fanout.gap {
        push_lost(out, json, transport, fanout);
    }
    match transport {
        Transport::WebSocket => encode_messages(out, publications),
        Transport::Json => publications.iter().for_each(|one| encode_push(out, json, one)),
        Transport::EventStream => publications.iter().for_each(|one| sse::encode_publication(out, one)),
        Transport::LongPoll => {
            let position = publications.last().map_or(fanout.since, |last| last.position);
            json::encode_poll_answer(out, fanout.channel, position, !fanout.gap, publications);
        }
        Transport::SocketIo => unreachable!("sockets have a fan-out of their own"),
    }
}

/// A gap, before what comes behind it; the position of a push to `/ws` shows it as well. A poll's answer says so itself, and a
/// WebSocket of one channel is closed instead.
fn push_lost(out: &mut Vec<u8>, json: &mut Vec<u8>, transport: Transport, fanout: &Fanout<'_>) {
    match transport {
        Transport::Json if fanout.publications.is_empty() => {
            push_gap(out, json, fanout.channel, fanout.since)
        }
        Transport::Json => {}
        Transport::EventStream => push_reset(out, fanout.since),
        Transport::WebSocket | Transport::LongPoll | Transport::SocketIo => {}
    }
}

/// A piece of what a subscriber missed, with a word about what of it is lost. A subscriber to `/ws` was told of that in
/// the reply to its command, unless it was lost since.
pub(super) fn encode_piece(
    out: &mut Vec<u8>,
    json: &mut Vec<u8>,
    transport: Transport,
    channel: &ChannelName,
    welcome: &Welcome,
    is_further: bool,
) {
    // A client that breaks behind this word must not skip what follows.
    let before = before_missed(welcome);
    match transport {
        Transport::WebSocket => encode_messages(out, &welcome.missed),
        Transport::Json => {
            if is_further && !welcome.recovered {
                push_gap(out, json, channel, before);
            }
            welcome.missed.iter().for_each(|one| encode_push(out, json, one));
        }
        Transport::EventStream => {
            if !welcome.recovered {
                push_reset(out, before);
            } else if welcome.missed.is_empty() && !is_further {
                // Else a client that is cut before the first publication came back without a position.
                sse::encode_position(out, before);
            }
            welcome.missed.iter().for_each(|one| sse::encode_publication(out, one));
        }
        Transport::LongPoll | Transport::SocketIo => unreachable!("these are told otherwise"),
    }
}

/// Where a subscriber is before it is told what it missed.
pub(super) fn before_missed(welcome: &Welcome) -> Position {
    welcome.missed.first().map_or(welcome.position, |first| {
        let Position { epoch, offset } = first.position;
        Position { epoch, offset: offset - 1 }
    })
}

/// A channel's state, as a subscriber that has asked for it is shown it.
pub(super) fn encode_snapshot(
    out: &mut Vec<u8>,
    json: &mut Vec<u8>,
    transport: Transport,
    channel: &ChannelName,
    position: Position,
    keys: &[SharedPublication],
) {
    json.clear();
    if transport == Transport::EventStream {
        json::encode_state(json, channel, Some(position), keys, false);
        sse::encode_position_event(out, "state", position, json::as_text(json));
    } else {
        json::encode_state_push(json, channel, position, keys);
        websocket::encode_frame(out, Opcode::Text, true, json);
    }
}

/// Who is there, as a subscriber that has asked for it is shown it.
pub(super) fn encode_members(
    out: &mut Vec<u8>,
    json: &mut Vec<u8>,
    transport: Transport,
    channel: &ChannelName,
    (page, position): (&PresencePage, Position),
) {
    json.clear();
    if transport == Transport::EventStream {
        json::encode_presence(json, channel, page);
        sse::encode_position_event(out, "presence", position, json::as_text(json));
    } else {
        json::encode_presence_push(json, channel, page);
        websocket::encode_frame(out, Opcode::Text, true, json);
    }
}

fn push_gap(out: &mut Vec<u8>, json: &mut Vec<u8>, channel: &ChannelName, position: Position) {
    json.clear();
    json::encode_gap(json, channel, position);
    websocket::encode_frame(out, Opcode::Text, true, json);
}

fn push_reset(out: &mut Vec<u8>, position: Position) {
    sse::encode_position_event(out, "reset", position, "{\"recovered\":false}");
}

/// Publications as WebSocket frames. A frame has no place to say that it is a change of state, and which.
fn encode_messages(out: &mut Vec<u8>, publications: &[SharedPublication]) {
    let messages = publications.iter().filter(|one| one.payload.change.is_none());
    messages.for_each(|one| encode_message(out, one));
}

/// A publication as one WebSocket frame.
fn encode_message(out: &mut Vec<u8>, publication: &SharedPublication) {
    let opcode = if publication.payload.is_text() { Opcode::Text } else { Opcode::Binary };
    websocket::encode_frame(out, opcode, true, &publication.payload.data);
}

/// A publication as one JSON push in a WebSocket frame.
fn encode_push(out: &mut Vec<u8>, json: &mut Vec<u8>, publication: &SharedPublication) {
    json.clear();
    json::encode_push(json, publication);
    websocket::encode_frame(out, Opcode::Text, true, json);
}
