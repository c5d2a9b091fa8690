//! The body of the fuzz target `socketio`, and the driver that the tests share with it.
//!
//! The properties: no more is kept than the settings allow, and nothing after an error; a packet that was read,
//! written again, reads as the same; its arguments, put together, are its array; an offset is one argument more.

use super::{
    Ack, AckHead, Assembly, Event, EventHead, Kind, Packet, Settings, SocketError, decode, encode_ack,
    encode_disconnect, encode_event, encode_event_array, placeholders,
};
use crate::wire::{engineio, json::Raw};

pub(super) const SETTINGS: Settings = Settings {
    packet_bytes_max: 200,
    attachments_max: 3,
    depth_max: 5,
    namespace_bytes_max: 16,
    event_name_bytes_max: 16,
};

/// Asserts the properties for `data`, read as what an Engine.IO client posts: its messages are the packets.
pub fn fuzz(data: &[u8]) {
    let (mut assembly, mut scratch) = (Assembly::default(), Vec::new());
    let Ok(mut payload) = engineio::Payload::new(data, usize::MAX) else { return };
    while let Some(Ok(message)) = payload.decode_next(&mut scratch) {
        let taken = handle(&mut assembly, message, check_packet);
        assert!(assembly.buffered_bytes() <= SETTINGS.packet_bytes_max);
        assert_eq!(assembly.is_idle(), assembly.buffered_bytes() == 0);
        if taken.is_err() {
            assert!(assembly.is_idle(), "nothing is kept after an error");
            return;
        }
    }
}

/// Takes a message and shows the packet that it made whole, with its attachments.
pub(super) fn handle(
    assembly: &mut Assembly,
    message: engineio::Packet<'_>,
    mut show: impl FnMut(&Packet<'_>, &[Box<[u8]>]),
) -> Result<(), SocketError> {
    match message {
        engineio::Packet::Text(text) => {
            if let Some(packet) = assembly.handle_text(text, &SETTINGS)? {
                show(&packet, &[]);
            }
        }
        engineio::Packet::Binary(data) => {
            if let Some(whole) = assembly.handle_binary(data, &SETTINGS)? {
                show(&whole.packet(), &whole.attachments);
            }
        }
        engineio::Packet::Open(_)
        | engineio::Packet::Close
        | engineio::Packet::Ping(_)
        | engineio::Packet::Pong(_)
        | engineio::Packet::Upgrade
        | engineio::Packet::Noop => {}
    }
    Ok(())
}

pub(super) fn check_packet(packet: &Packet<'_>, attachments: &[Box<[u8]>]) {
    assert_eq!(packet.attachments() as usize, attachments.len());
    assert!(packet.namespace.starts_with('/') && packet.namespace.len() <= SETTINGS.namespace_bytes_max);
    let mut again = Vec::new();
    match &packet.kind {
        Kind::Event(event) => {
            check_event(packet.namespace, event);
            encode_event_array(&mut again, head(packet.namespace, event, None), event.array.as_str());
        }
        Kind::Ack(Ack { id, array, attachments }) => {
            let head = AckHead { namespace: packet.namespace, id: *id, attachments: *attachments };
            encode_ack(&mut again, head, array.as_str());
        }
        Kind::Disconnect => encode_disconnect(&mut again, packet.namespace),
        Kind::Connect { auth: Some(json) } | Kind::ConnectError(json) => {
            assert_eq!(Raw::check(json.as_str(), SETTINGS.depth_max), Ok(*json));
            return;
        }
        Kind::Connect { auth: None } => return,
    }
    let again = String::from_utf8(again).expect("a packet is text");
    assert_eq!(decode(&again, &SETTINGS).as_ref(), Ok(packet), "encoded again as {again:?}");
}

fn check_event(namespace: &str, event: &Event<'_>) {
    let arguments: Vec<_> = event.arguments().map(Raw::as_str).collect();
    if event.attachments > 0 {
        assert!(event.arguments().all(|argument| placeholders(argument, event.attachments).is_ok()));
    }
    let mut text = Vec::new();
    let offset = Some("1754:41");
    encode_event(&mut text, head(namespace, event, offset), &event.name, arguments.iter().copied());
    let text = String::from_utf8(text).expect("a packet is text");
    let packet = decode(&text, &SETTINGS).expect("what was written");
    let Kind::Event(Event { name, ack, array, attachments }) = &packet.kind else { panic!("{packet:?}") };
    assert_eq!((packet.namespace, ack, attachments), (namespace, &event.ack, &event.attachments));
    assert_eq!(*name, event.name);
    let elements: Vec<_> = array.elements().expect("an array").map(Raw::as_str).collect();
    assert_eq!(elements[1..], [&arguments[..], &["\"1754:41\""]].concat());
}

fn head<'a>(namespace: &'a str, event: &Event<'_>, offset: Option<&'a str>) -> EventHead<'a> {
    EventHead { namespace, ack: event.ack, attachments: event.attachments, offset }
}
