//! WebSockets whose messages are compressed, and that stay open when another version takes the place of the one that compressed them.

use roadstead::wire::websocket::Opcode;
use serde_json::json;

use crate::{
    client::Client,
    deflating::{Socket, deflate, frame},
    server::Server,
    upgrade::Installed,
};

/// Long enough that no client is asked whether it is there.
const QUIET: &str = "limits.ping_interval_ms=600000";
const OFFER: &str = "permessage-deflate; client_max_window_bits";
/// What is offered: anything, that messages begin anew, a window that is too narrow, and nothing.
const OFFERS: [&[&str]; 4] = [
    &[OFFER],
    &["permessage-deflate; server_no_context_takeover"],
    &["permessage-deflate; server_max_window_bits=9"],
    &[],
];

/// A message that is worth compressing, more so behind another one.
fn message(number: usize) -> String {
    let items: Vec<_> =
        (0..20).map(|n| format!("{{\"id\":{n},\"price\":{}}}", number * 31 + n * 7)).collect();
    format!("{{\"number\":{number},\"items\":[{}]}}", items.join(","))
}

/// Publishes the next messages, and reads them; how many bytes each client was sent of the last.
fn publish(server: &Server, sockets: &mut [Socket], numbers: std::ops::Range<usize>) -> Vec<usize> {
    let mut sizes = Vec::new();
    for number in numbers {
        assert_eq!(server.publish("a", message(number)), number as u64);
        sizes.clear();
        for (socket, offers) in sockets.iter_mut().zip(OFFERS.iter().cycle()) {
            let read = socket.next();
            assert_eq!(String::from_utf8(read.plain).expect("a text"), message(number));
            sizes.push(read.wire_bytes);
            // Who asked for it must not need what came before.
            if *offers == OFFERS[1] {
                socket.inflater.reset(false);
            }
        }
    }
    sizes
}

#[test]
fn whatever_was_agreed_on_holds_and_windows_are_begun_anew() {
    for mode in ["shared", "channel", "dedicated"] {
        let installed = Installed::new();
        let compression = format!("websocket.compression={mode}");
        let server = installed.serve_both(&[QUIET, &compression]);
        let clients = || [server.connect(), installed.beside()];
        let open = |client: Client, offers: &&[&str]| Socket::open_over(client, "/channels/a", offers);
        let mut sockets: Vec<_> = (0..4)
            .flat_map(|_| clients())
            .zip(OFFERS.iter().cycle())
            .map(|(client, offers)| open(client, offers))
            .collect();
        server.await_subscribers("a", 8);
        let mut next = 1;
        for _ in 0..2 {
            let before = publish(&server, &mut sockets, next..next + 6);
            server.succeeded();
            assert_eq!(server.metric("roadstead_carried_total", ""), 8.0, "{mode}: {}", server.log());
            let after = publish(&server, &mut sockets, next + 6..next + 12);
            next += 12;
            let is_less = |sizes: &[usize]| sizes[0] < sizes[3] / 2;
            assert!(is_less(&before) && is_less(&after), "{mode}: {before:?} {after:?}");
            assert_eq!((after[2], after[6]), (after[3], after[7]), "as it is");
        }
    }
}

#[test]
fn half_a_compressed_message_and_one_in_parts_go_on() {
    let installed = Installed::new();
    let server = installed.serve_both(&[QUIET, "websocket.compression=shared"]);
    let ping = |id: usize| deflate(json!({"id": id, "ping": {}}).to_string().as_bytes());
    let [mut halves, mut parts] = [(); 2].map(|()| Socket::open(&server, "/ws", &[OFFER]));
    for id in 1..=3 {
        let whole = frame(Opcode::Text, true, true, &ping(id));
        let (first, rest) = whole.split_at(whole.len() - id);
        halves.client.send(first);
        let message = ping(id);
        parts.client.send(frame(Opcode::Text, false, true, &message[..id]));
        parts.client.send(&frame(Opcode::Continuation, false, false, &message[id..id + 3])[..id + 3]);
        server.succeeded();
        assert_eq!(server.metric("roadstead_carried_total", ""), 2.0, "{}", server.log());
        halves.client.send(rest);
        parts.client.send(&frame(Opcode::Continuation, false, false, &message[id..id + 3])[id + 3..]);
        parts.client.send(frame(Opcode::Continuation, true, false, &message[id + 3..]));
        for socket in [&mut halves, &mut parts] {
            let reply: serde_json::Value = serde_json::from_str(&socket.plain_text()).expect("JSON");
            assert_eq!(reply["id"], json!(id));
        }
    }
}

#[test]
fn who_has_agreed_goes_on_where_nobody_agrees_any_more() {
    let installed = Installed::new();
    installed.configure("[websocket]\ncompression = \"dedicated\"\n");
    let server = installed.serve_plainly(&[QUIET]);
    let mut socket = Socket::open(&server, "/channels/a", &[OFFER]);
    server.publish("a", message(1));
    assert_eq!(socket.deflated_text(), message(1));
    installed.configure("");
    server.succeeded();
    for number in 2..9 {
        server.publish("a", message(number));
        assert_eq!(socket.plain_or_deflated(), message(number));
    }
    assert_eq!(Socket::open(&server, "/channels/a", &[OFFER]).agreed, None);
}
