//! permessage-deflate (RFC 7692) on the line: what is agreed on, what comes compressed and what leaves so. And answers in gzip.

use std::{cmp::Ordering, net::TcpStream};

use flate2::{Decompress, read::GzDecoder};
use roadstead::{
    limits::{
        INFLATED_BYTES_PER_BLOCK, INFLATED_BYTES_PER_LINE, INFLATED_BYTES_PER_TURN, STREAM_MESSAGES_MAX,
    },
    wire::websocket::Opcode,
};

use crate::{
    certificate::Certificate,
    client::Client,
    deflating::{Socket, deflate, frame},
    server::{Server, await_that},
};

const SHARED: &str = "websocket.compression=shared";
const OFFER: &str = "permessage-deflate; client_max_window_bits";
const BOTH: &str = "permessage-deflate; client_no_context_takeover; server_no_context_takeover";
const SOCKETIO: &str = "/socket.io/?EIO=4&transport=websocket";

/// A message of JSON that is worth compressing.
fn message(number: usize) -> String {
    let items: Vec<_> =
        (0..20).map(|n| format!("{{\"id\":{n},\"price\":{}}}", number * 31 + n * 7)).collect();
    format!("{{\"number\":{number},\"items\":[{}]}}", items.join(","))
}

#[test]
fn nothing_is_agreed_to_unless_it_is_set_and_then_everywhere() {
    let off = Server::start(&[]);
    for target in ["/echo", "/channels/a", "/ws", SOCKETIO] {
        let mut socket = Socket::open(&off, target, &[OFFER]);
        assert_eq!(socket.agreed, None, "{target}");
        socket.send_deflated("x");
        while socket.next().first == 0x81 {}
    }
    off.await_metric("roadstead_closed_total", "protocol_error", 3.0);
    let server = Server::start(&[SHARED]);
    for target in ["/echo", "/channels/a", "/ws", SOCKETIO] {
        assert_eq!(Socket::open(&server, target, &[OFFER]).agreed.as_deref(), Some(BOTH), "{target}");
        assert_eq!(Socket::open(&server, target, &[]).agreed, None, "{target}");
        assert_eq!(Socket::open(&server, target, &["x-none", "permessage-deflate; x"]).agreed, None);
    }
}

#[test]
fn messages_come_and_leave_compressed_and_small_ones_as_they_are() {
    let server = Server::start(&[SHARED]);
    let mut socket = Socket::open(&server, "/echo", &[OFFER]);
    for number in 0..5 {
        socket.send_deflated(&message(number));
        assert_eq!(socket.deflated_text(), message(number));
    }
    socket.send_deflated("small");
    assert_eq!(socket.plain_text(), "small");
    socket.send_deflated("");
    assert_eq!(socket.plain_text(), "");
    socket.send(Opcode::Text, true, message(7).as_bytes());
    assert_eq!(socket.deflated_text(), message(7), "it may leave compressed that came as it is");
    // No block compressed, a final block, and several blocks (RFC 7692 §7.2.3).
    for payload in [
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00][..],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        socket.client.send(frame(Opcode::Text, true, true, payload));
        assert_eq!(socket.plain_text(), "Hello");
    }
    assert_eq!(server.metric("roadstead_messages_inflated_total", ""), 10.0);
    assert_eq!(server.metric("roadstead_messages_deflated_total", ""), 6.0);
}

#[test]
fn fragments_of_a_compressed_message_may_have_pings_between_and_be_of_any_size() {
    let server = Server::start(&[SHARED]);
    let mut socket = Socket::open(&server, "/echo", &[OFFER]);
    let (text, deflated) = (message(3), deflate(message(3).as_bytes()));
    for size in [1, 2, 7, 100] {
        let pieces: Vec<_> = deflated.chunks(size).collect();
        for (place, piece) in pieces.iter().enumerate() {
            let opcode = if place == 0 { Opcode::Text } else { Opcode::Continuation };
            socket.client.send(frame(opcode, place + 1 == pieces.len(), place == 0, piece));
            if place == 0 {
                socket.send(Opcode::Ping, true, b"between");
                let pong = socket.next();
                assert_eq!((pong.first, &pong.plain[..]), (0x8a, &b"between"[..]));
            }
        }
        assert_eq!(socket.deflated_text(), text, "in pieces of {size}");
    }
}

#[test]
fn every_size_and_fragmentation_comes_back_as_it_went() {
    let server = Server::start(&[SHARED, "websocket.compression_bytes_min=0"]);
    let mut socket = Socket::open(&server, "/echo", &[OFFER]);
    let mut bytes: u32 = 1;
    for length in [0, 16, 64, 256, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 300_000] {
        let noisy: Vec<u8> = (0..length)
            .map(|at: u32| {
                bytes = bytes.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at.is_multiple_of(3) { b'x' } else { (bytes >> 24) as u8 }
            })
            .collect();
        for fragment in [usize::MAX, 128] {
            let deflated = deflate(&noisy);
            let pieces: Vec<_> = deflated.chunks(fragment).collect();
            for (place, piece) in pieces.iter().enumerate().take(1000) {
                let opcode = if place == 0 { Opcode::Binary } else { Opcode::Continuation };
                let is_last = place + 1 == pieces.len();
                socket.client.send(frame(opcode, is_last || place == 999, place == 0, piece));
            }
            if pieces.len() <= 1000 {
                assert!(socket.next().plain == noisy, "{length} in pieces of {fragment}");
            } else {
                // The rest of the stream is missing; whatever that comes to is what it says so far.
                assert!(noisy.starts_with(&socket.next().plain[..1000]));
            }
        }
    }
}

#[test]
fn a_publication_is_compressed_once_for_all_who_agreed_and_others_get_it_as_it_is() {
    let server = Server::with_shards(1, &[SHARED]);
    let mut plain: Vec<_> = (0..3).map(|_| Socket::open(&server, "/channels/a", &[])).collect();
    server.await_subscribers("a", 3);
    server.publish("a", message(0));
    plain.iter_mut().for_each(|socket| assert_eq!(socket.plain_text(), message(0)));
    assert_eq!(server.metric("roadstead_messages_deflated_total", ""), 0.0, "nobody has agreed");
    let mut agreed: Vec<_> = (0..3).map(|_| Socket::open(&server, "/channels/a", &[OFFER])).collect();
    server.await_subscribers("a", 6);
    for number in 1..4 {
        server.publish("a", message(number));
        plain.iter_mut().for_each(|socket| assert_eq!(socket.plain_text(), message(number)));
        agreed.iter_mut().for_each(|socket| assert_eq!(socket.deflated_text(), message(number)));
    }
    assert_eq!(server.metric("roadstead_messages_deflated_total", ""), 3.0, "once each");
    server.publish("a", "small");
    agreed.iter_mut().for_each(|socket| assert_eq!(socket.plain_text(), "small"));
    await_that("nothing is kept for anybody", || server.metric("roadstead_send_queue_bytes", "") == 0.0);
}

#[test]
fn a_publication_that_is_handed_out_in_several_turns_is_compressed_once() {
    let server = Server::with_shards(1, &[SHARED]);
    let mut sockets: Vec<_> = (0..600).map(|_| Socket::open(&server, "/channels/a", &[OFFER])).collect();
    server.await_subscribers("a", 600);
    server.publish("a", message(1));
    sockets.iter_mut().for_each(|socket| assert_eq!(socket.deflated_text(), message(1)));
    assert_eq!(server.metric("roadstead_messages_deflated_total", ""), 1.0);
}

#[test]
fn pushes_of_ws_and_events_of_socketio_are_compressed() {
    let server = Server::with_shards(1, &[SHARED]);
    let mut follower = Socket::open(&server, "/ws", &[OFFER]);
    follower.send_deflated(r#"{"id":1,"subscribe":{"channel":"a"}}"#);
    assert!(follower.plain_text().contains("\"id\":1"));
    server.publish("a", message(1));
    assert!(follower.deflated_text().contains("number"));
    let enter = || {
        let mut socket = Socket::open(&server, SOCKETIO, &[OFFER]);
        assert!(socket.plain_text().starts_with("0{"));
        socket.send(Opcode::Text, true, b"40");
        assert!(socket.plain_text().starts_with("40{"));
        socket
    };
    let mut sockets: Vec<_> = (0..3).map(|_| enter()).collect();
    let before = server.metric("roadstead_messages_deflated_total", "");
    sockets[0].send_deflated(&format!("42[\"news\",{}]", message(2)));
    for socket in &mut sockets {
        assert!(socket.deflated_text().contains(r#""number":2"#));
    }
    let used = server.metric("roadstead_messages_deflated_total", "") - before;
    assert!(used <= 2.0, "{used}: once for all of them, or once for its sender and once for the others");
}

#[test]
fn socketio_has_a_switch_of_its_own() {
    let agreed = |settings: &[&str], target| Socket::open(&Server::start(settings), target, &[OFFER]).agreed;
    let own = &["socketio.per_message_deflate=true"];
    assert_eq!((agreed(own, SOCKETIO).as_deref(), agreed(own, "/ws")), (Some(BOTH), None));
    let none = &[SHARED, "socketio.per_message_deflate=false"];
    assert_eq!((agreed(none, SOCKETIO), agreed(none, "/ws").as_deref()), (None, Some(BOTH)));
}

#[test]
fn what_cannot_be_inflated_or_is_too_long_or_no_text_is_closed_with_its_code() {
    let server = Server::start(&[SHARED, "limits.message_bytes_max=100000"]);
    let deflated = |first: u8, payload: &[u8]| {
        let mut bytes = frame(Opcode::Text, true, false, payload);
        bytes[0] = first;
        bytes
    };
    let bomb = deflate(&vec![0; 4 << 20]);
    let cases = [
        ("garbage", 1007, "invalid_data", deflated(0xc1, b"\xff\xff\xff")),
        ("garbage, binary", 1007, "invalid_data", deflated(0xc2, b"\x07")),
        (
            "a stream that goes on from another",
            1007,
            "invalid_data",
            deflated(0xc1, &[0xf2, 0x00, 0x11, 0, 0]),
        ),
        ("text that is none", 1007, "invalid_utf8", deflated(0xc1, &deflate(b"ok\xff"))),
        ("a bomb", 1009, "message_too_big", deflated(0xc2, &bomb)),
        ("one byte too long", 1009, "message_too_big", deflated(0xc2, &deflate(&vec![1; 100_001]))),
        ("compressed and too long", 1009, "message_too_big", b"\xc2\xff\0\0\0\0\x40\0\0\0\0\0\0\0".to_vec()),
        ("a compressed ping", 1002, "protocol_error", deflated(0xc9, b"x")),
        ("a compressed closing frame", 1002, "protocol_error", deflated(0xc8, b"")),
        (
            "the bit on a continuation",
            1002,
            "protocol_error",
            [deflated(0x41, b"x"), deflated(0xc0, b"y")].concat(),
        ),
        ("another reserved bit", 1002, "protocol_error", deflated(0xe1, b"x")),
    ];
    for (what, code, label, bytes) in &cases {
        for target in ["/channels/a", "/ws"] {
            let before = server.metric("roadstead_closed_total", label);
            let mut socket = Socket::open(&server, target, &[OFFER]);
            socket.client.send(bytes);
            assert_eq!(socket.close_code(), *code, "{what} on {target}");
            server.await_metric("roadstead_closed_total", label, before + 1.0);
        }
    }
    let mut socket = Socket::open(&server, "/ws", &[OFFER]);
    socket.client.send(frame(Opcode::Binary, true, true, &deflate(&vec![1; 100_000])));
    assert!(socket.plain_text().contains("binary_unsupported"), "it is as long as it may be");
}

#[test]
fn more_than_a_turn_inflates_waits_in_order_and_others_are_served_meanwhile() {
    let server = Server::with_shards(1, &[SHARED]);
    let mut socket = Socket::open(&server, "/echo", &[OFFER]);
    let mib = deflate(&vec![b'x'; 1 << 20]);
    let mut bytes = Vec::new();
    for number in 0..8 {
        bytes.extend(frame(Opcode::Text, true, true, &mib));
        bytes.extend(frame(Opcode::Text, true, false, number.to_string().as_bytes()));
    }
    let sending = socket.client.send_beside(bytes);
    for number in 0..8 {
        assert_eq!(socket.plain_text().len(), 1 << 20, "{number}");
        assert_eq!(socket.plain_text(), number.to_string());
    }
    sending.join().expect("all was sent");
    assert_eq!(server.metric("roadstead_messages_inflated_total", ""), 8.0);
}

/// So many blocks, each with tables of its own (RFC 1951 §3.2.7) and nothing in it: what takes the longest to come to nothing.
fn empty_blocks(count: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    let mut write = |values: &[(u32, u32)]| {
        for (value, count) in values {
            bits.extend((0..*count).map(|bit| value >> bit & 1 == 1));
        }
    };
    for _ in 0..count {
        // 257 literals, one distance, and lengths of codes of which those of 18 and of 1 are one bit.
        write(&[(0b100, 3), (0, 5), (0, 5), (14, 4)]);
        (0..18).for_each(|place| write(&[(u32::from(place == 2 || place == 17), 3)]));
        // 256 literals that do not occur, the end of the block, and a distance; and that end.
        write(&[(1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1), (0, 1)]);
    }
    // The head of an empty stored block.
    write(&[(0, 3)]);
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    bits.chunks(8).map(byte).collect()
}

/// The most that one turn has spent on inflating.
fn most_inflated(server: &Server) -> usize {
    server.metric("roadstead_turn_items_max", "inflated_bytes") as usize
}

/// What a turn may spend, and what one step may go beyond it.
const TURN_MAX: usize = INFLATED_BYTES_PER_TURN + 2 * 64 * 1024;

#[test]
fn a_message_of_blocks_that_come_to_nothing_takes_many_turns_and_not_one_long_one() {
    let server = Server::with_shards(1, &[SHARED]);
    let mut socket = Socket::open(&server, "/echo", &[OFFER]);
    let payload = empty_blocks(20_000);
    socket.client.send(
        [frame(Opcode::Text, true, true, &payload), frame(Opcode::Ping, true, false, b"behind")].concat(),
    );
    assert_eq!(socket.plain_text(), "");
    let pong = socket.next();
    assert_eq!((pong.first, &pong.plain[..]), (0x8a, &b"behind"[..]));
    // One client spends its share, and no more.
    let most = most_inflated(&server);
    assert!(most > 0 && most <= INFLATED_BYTES_PER_LINE + 2 * 64 * 1024, "{most}");
}

#[test]
fn a_message_that_fails_is_paid_for() {
    let server = Server::with_shards(1, &[SHARED]);
    let mut payload = empty_blocks(100);
    payload.extend([0xff; 8]);
    let mut socket = Socket::open(&server, "/echo", &[OFFER]);
    socket.client.send(frame(Opcode::Text, true, true, &payload));
    assert_eq!(socket.close_code(), 1007);
    assert!(most_inflated(&server) >= 100 * INFLATED_BYTES_PER_BLOCK, "{}", most_inflated(&server));
}

#[test]
fn one_client_does_not_take_what_a_turn_may_inflate_and_many_take_no_more() {
    let server = Server::with_shards(1, &[SHARED]);
    let mib = deflate(&vec![b'x'; 1 << 20]);
    let mut sockets: Vec<_> = (0..24).map(|_| Socket::open(&server, "/echo", &[OFFER])).collect();
    sockets[0].client.send(frame(Opcode::Text, true, true, &mib));
    assert_eq!(sockets[0].plain_text().len(), 1 << 20);
    let most = most_inflated(&server);
    assert!(most <= INFLATED_BYTES_PER_LINE + 2 * 64 * 1024, "{most} for one");
    server.pause(|| {
        for socket in &mut sockets {
            socket.client.send(frame(Opcode::Text, true, true, &mib));
        }
    });
    for socket in &mut sockets {
        assert_eq!(socket.plain_text().len(), 1 << 20);
    }
    let most = most_inflated(&server);
    assert!(most > INFLATED_BYTES_PER_LINE && most <= TURN_MAX, "{most} for many");
}

#[test]
fn what_came_before_the_last_word_of_tls_is_heard_though_it_waits_to_be_inflated() {
    const COUNT: usize = 12;
    let certificate = Certificate::new("localhost");
    let mut command = Server::command(1, &[], &[SHARED, "limits.send_queue_bytes_max=4000000"]);
    command.args(["--listen", "127.0.0.1:0", "--tls-cert"]).arg(&certificate.chain);
    command.arg("--tls-key").arg(&certificate.key);
    let server = Server::launch(&mut command);
    let stream = TcpStream::connect(server.address()).expect("it listens");
    let client = Client::sealed_over(stream, &certificate.client());
    let mut socket = Socket::open_over(client, "/echo", &[OFFER]);
    // One message is more than a turn inflates for one client, and one is behind those that wait.
    let long = deflate(&vec![b'x'; INFLATED_BYTES_PER_LINE + 1000]);
    let bytes: Vec<u8> = (0..COUNT).flat_map(|_| frame(Opcode::Text, true, true, &long)).collect();
    let sealed = socket.client.sealed().expect("it speaks TLS");
    std::io::Write::write_all(&mut sealed.conn.writer(), &bytes).expect("a client buffers");
    sealed.conn.send_close_notify();
    let mut records = Vec::new();
    while sealed.conn.wants_write() {
        sealed.conn.write_tls(&mut records).expect("a vector takes everything");
    }
    std::io::Write::write_all(&mut sealed.sock, &records).expect("the server takes bytes");
    for number in 0..COUNT {
        assert_eq!(socket.plain_or_deflated().len(), INFLATED_BYTES_PER_LINE + 1000, "{number}");
    }
    socket.client.expect_end();
}

#[test]
fn what_waits_to_be_inflated_is_counted_and_who_holds_too_much_goes() {
    const BYTES_MAX: usize = 2_200_000;
    let budget = format!("limits.partial_input_bytes_max={BYTES_MAX}");
    let settings = [
        &budget,
        SHARED,
        "limits.send_queue_bytes_max=65536",
        "limits.publication_bytes_max=65536",
        "diagnostics.message_bytes_max=100000",
        "websocket.compression_bytes_min=100000",
    ];
    let server = Server::with_shards(1, &settings);
    let waiting = || server.metric("roadstead_partial_input_bytes", "");
    // Whoever does not read its answers waits with what it has sent behind.
    let (answers, answer, behind) = (10, 80_000, 3_000);
    let begin = |server: &Server| {
        let mut socket = Socket::open_over(Client::narrow(server.address()), "/echo", &[OFFER]);
        let mut bytes = frame(Opcode::Text, true, true, &deflate(&vec![b'x'; answer])).repeat(answers);
        bytes.extend(frame(Opcode::Text, true, false, &vec![b'y'; behind]));
        assert!(bytes.len() < 4096, "one receive");
        socket.client.send(bytes);
        socket
    };
    let mut first = begin(&server);
    await_that("what waits is counted", || waiting() > behind as f64);
    for _ in 0..answers {
        assert_eq!(first.plain_text().len(), answer);
    }
    assert_eq!(first.plain_text().len(), behind);
    await_that("nothing waits", || waiting() == 0.0);
    let many: Vec<_> = (0..BYTES_MAX / behind + 50).map(|_| begin(&server)).collect();
    await_that("some had to go", || server.metric("roadstead_partial_input_dropped_total", "") > 0.0);
    assert!(waiting() <= BYTES_MAX as f64, "{}", waiting());
    drop((first, many));
    await_that("all are gone, and what they sent", || server.connections() == 0 && waiting() == 0.0);
}

#[test]
fn one_whose_messages_wait_is_not_given_up_for_a_pong_that_waits_behind_them() {
    let timing = ["limits.ping_interval_ms=1500", "limits.ping_timeout_ms=1000", SHARED];
    let server = Server::with_shards(1, &timing);
    let mut socket = Socket::open(&server, "/echo", &[OFFER]);
    // Some seconds for a server that is built without optimization. The client here never answers a ping.
    socket.client.send(frame(Opcode::Text, true, true, &empty_blocks(40_000)));
    assert_eq!(socket.plain_text(), "");
}

#[test]
fn one_who_goes_while_its_messages_wait_is_gone() {
    let server = Server::with_shards(1, &[SHARED]);
    let mib = deflate(&vec![b'x'; 1 << 20]);
    for _ in 0..20 {
        let mut socket = Socket::open(&server, "/echo", &[OFFER]);
        socket.client.send((0..3).flat_map(|_| frame(Opcode::Text, true, true, &mib)).collect::<Vec<_>>());
        drop(socket);
    }
    await_that("all are gone", || server.connections() == 0);
    let mut socket = Socket::open(&server, "/echo", &[OFFER]);
    socket.send_deflated(&message(1));
    assert_eq!(socket.deflated_text(), message(1));
}

#[test]
fn who_asks_for_a_narrow_window_gets_messages_as_they_are() {
    let server = Server::start(&[SHARED]);
    for bits in [9, 11] {
        let mut socket =
            Socket::open(&server, "/echo", &[&format!("permessage-deflate; server_max_window_bits={bits}")]);
        assert_eq!(socket.agreed, Some(format!("{BOTH}; server_max_window_bits={bits}")));
        socket.send_deflated(&message(1));
        assert_eq!(socket.plain_text(), message(1));
    }
    let mut socket = Socket::open(&server, "/echo", &["permessage-deflate; server_max_window_bits=12"]);
    socket.inflater = Decompress::new_with_window_bits(false, 12);
    let long: String = (0..400).map(message).collect();
    socket.send_deflated(&long);
    assert_eq!(socket.deflated_text(), long, "nothing reaches back further than it may");
}

#[test]
fn dedicated_contexts_go_to_the_first_and_the_others_are_served_as_all_are() {
    let settings = ["websocket.compression=dedicated", "websocket.compression_contexts_max=2"];
    let server = Server::with_shards(1, &settings);
    let keeps = "permessage-deflate; client_no_context_takeover";
    let mut refusing =
        Socket::open(&server, "/channels/a", &["permessage-deflate; server_no_context_takeover"]);
    assert_eq!(refusing.agreed.as_deref(), Some(BOTH));
    let mut kept: Vec<_> = (0..2).map(|_| Socket::open(&server, "/channels/a", &[OFFER])).collect();
    assert!(kept.iter().all(|socket| socket.agreed.as_deref() == Some(keeps)));
    let mut beyond = Socket::open(&server, "/channels/a", &[OFFER]);
    assert_eq!(beyond.agreed.as_deref(), Some(BOTH));
    server.await_subscribers("a", 4);
    let mut sizes = Vec::new();
    for number in 0..6 {
        server.publish("a", message(number));
        server.publish("a", "small, and in no context");
        sizes.clear();
        for socket in kept.iter_mut().chain([&mut refusing, &mut beyond]) {
            let frame = socket.next();
            assert_eq!((frame.first, frame.plain), (0xc1, message(number).into_bytes()));
            sizes.push(frame.wire_bytes);
            assert_eq!(socket.plain_text(), "small, and in no context");
            // Those who begin anew would not notice if the server did not.
            if number > 0 && sizes.len() > 2 {
                socket.inflater.reset(false);
            }
        }
    }
    assert!(sizes[0] < sizes[2] * 3 / 4 && sizes[2] == sizes[3], "{sizes:?}");
    drop(kept);
    server.await_subscribers("a", 2);
    let again = Socket::open(&server, "/channels/a", &[OFFER]);
    assert_eq!(again.agreed.as_deref(), Some(keeps), "a context is free again");
}

#[test]
fn a_channel_has_a_stream_for_those_who_were_there_from_its_beginning() {
    let server = Server::with_shards(1, &["websocket.compression=channel"]);
    let keeps = "permessage-deflate; client_no_context_takeover";
    let open = |offer| Socket::open(&server, "/channels/a", &[offer]);
    let (mut early, mut also) = (open(OFFER), open(OFFER));
    let mut refusing = open("permessage-deflate; server_no_context_takeover");
    assert_eq!((early.agreed.as_deref(), refusing.agreed.as_deref()), (Some(keeps), Some(BOTH)));
    server.await_subscribers("a", 3);
    let mut late = None;
    let mut sizes = Vec::new();
    for number in 0..2 * STREAM_MESSAGES_MAX {
        if number == 5 {
            late = Some(open(OFFER));
            server.await_subscribers("a", 4);
        }
        server.publish("a", message(number));
        let bytes_of = |socket: &mut Socket| {
            let frame = socket.next();
            assert_eq!((frame.first, frame.plain), (0xc1, message(number).into_bytes()), "{number}");
            frame.wire_bytes
        };
        let of_late = late.as_mut().map(bytes_of);
        sizes.push((bytes_of(&mut early), bytes_of(&mut also), bytes_of(&mut refusing), of_late));
        // Each of its messages begins anew, and it would not notice if one did not.
        refusing.inflater.reset(false);
    }
    for (number, (early, also, refusing, late)) in sizes.iter().enumerate() {
        let is_first = number % STREAM_MESSAGES_MAX == 0;
        assert_eq!(early, also, "{number}");
        assert!(is_first == (early == refusing), "{number}: {sizes:?}");
        let expected = if number < STREAM_MESSAGES_MAX { refusing } else { early };
        assert!(late.is_none_or(|late| late == *expected), "{number}: {sizes:?}");
    }
    let sum = |sizes: Vec<usize>| sizes.into_iter().sum::<usize>();
    let streamed = sum(sizes.iter().map(|sizes| sizes.0).collect());
    let shared = sum(sizes.iter().map(|sizes| sizes.2).collect());
    assert!(streamed < shared * 3 / 4, "{streamed} instead of {shared}");
    await_that("nothing is kept for anybody", || server.metric("roadstead_send_queue_bytes", "") == 0.0);
}

#[test]
fn who_follows_several_channels_reads_the_streams_of_all_of_them() {
    let server =
        Server::with_shards(2, &["websocket.compression=channel", "websocket.compression_streams_max=2"]);
    let mut sockets: Vec<_> = (0..3).map(|_| Socket::open(&server, "/ws", &[OFFER])).collect();
    for socket in &mut sockets {
        for (id, channel) in ["a", "b", "c"].iter().enumerate() {
            socket.send(
                Opcode::Text,
                true,
                format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#).as_bytes(),
            );
            assert!(socket.plain_text().contains("\"id\""));
        }
    }
    let mut pieces = 0;
    for number in 0..60 {
        let channel = ["a", "a", "a", "b", "a", "c"][number * 7 / 3 % 6];
        server.publish(channel, message(number));
        for socket in &mut sockets {
            let frame = socket.next();
            let text = String::from_utf8(frame.plain).expect("a text");
            let said = text.replace('\\', "");
            assert!(said.contains(&format!("\"number\":{number},")), "{number}: {text}");
            pieces += usize::from(frame.wire_bytes < text.len() / 4);
        }
    }
    assert!(pieces > 0, "{pieces} were pieces of a stream");
}

#[test]
fn a_session_of_socketio_that_goes_to_another_shard_takes_along_what_was_agreed() {
    const RECOVERY: &str = "socketio.connection_state_recovery_ms=60000";
    for (mode, offer, comes_deflated) in [
        ("shared", OFFER, true),
        ("channel", OFFER, true),
        ("dedicated", OFFER, true),
        ("shared", "permessage-deflate; server_max_window_bits=10", false),
        ("shared", "x-webkit-deflate-frame", false),
    ] {
        let mode = format!("websocket.compression={mode}");
        // The packet that opens a session is compressed too, so that windows are not empty when it goes.
        let server = Server::with_shards(4, &[&mode, "websocket.compression_bytes_min=64", RECOVERY]);
        let enter = |auth: &str| {
            let mut socket = Socket::open(&server, SOCKETIO, &[offer]);
            assert!(socket.plain_or_deflated().starts_with("0{"));
            socket.send(Opcode::Text, true, format!("40{auth}").as_bytes());
            let told: serde_json::Value =
                serde_json::from_str(&socket.plain_or_deflated()[2..]).expect("it is in");
            let pid = told["pid"].as_str().expect("a server that keeps clients").to_owned();
            (socket, pid)
        };
        let said = |socket: &mut Socket, number: usize| {
            let event = format!("42[\"news\",{}]", message(number));
            match socket.agreed {
                Some(_) => socket.send_deflated(&event),
                None => socket.send(Opcode::Text, true, event.as_bytes()),
            }
            loop {
                let frame = socket.next();
                let expected = if comes_deflated { 0xc1 } else { 0x81 };
                let text = String::from_utf8(frame.plain).expect("a text");
                assert_eq!(frame.first, expected, "{mode}, {offer}: {text}");
                let event: (String, serde_json::Value, String) =
                    serde_json::from_str(&text[2..]).expect("an event with its offset");
                // What others said just before may reach a shard after somebody has entered there.
                match event.1["number"].as_u64().expect("a number").cmp(&(number as u64)) {
                    Ordering::Less => {}
                    Ordering::Equal => return event.2,
                    Ordering::Greater => panic!("{number} has not come, but {text}"),
                }
            }
        };
        let mut numbers = 0..;
        let mut number = || numbers.next().expect("they are enough");
        for _ in 0..16 {
            let (mut socket, pid) = enter("");
            let offset = said(&mut socket, number());
            drop(socket);
            // The kernel gives it to any shard.
            let (mut socket, again) = enter(&format!(r#"{{"pid":"{pid}","offset":"{offset}"}}"#));
            assert_eq!(again, pid, "it is who it was");
            (0..3).for_each(|_| _ = said(&mut socket, number()));
        }
        assert!(server.metric("roadstead_handed_over_total", "") > 0.0, "some have moved");
    }
}

/// The body of an answer, whatever its form, and whether it came in gzip.
#[track_caller]
fn body_of(response: &crate::client::Response) -> (String, bool) {
    let is_gzip = response.field("content-encoding") == Some("gzip");
    let mut text = String::new();
    match is_gzip {
        true => {
            std::io::Read::read_to_string(&mut GzDecoder::new(&response.body[..]), &mut text).expect("gzip")
        }
        false => {
            text = response.text();
            text.len()
        }
    };
    (text, is_gzip)
}

/// Whether an answer says that it depends on what the client takes.
fn varies(response: &crate::client::Response) -> bool {
    response.head.contains("\r\nVary: Accept-Encoding\r\n")
}

#[test]
fn long_answers_come_in_gzip_to_those_who_take_it() {
    let server = Server::start(&["http.compression=true"]);
    for number in 0..20 {
        server.publish("a", message(number));
    }
    let mut client = server.connect();
    let mut get = |target: &str, fields: &str| client.request("GET", target, fields, b"");
    let plain = get("/channels/a/history", "");
    let packed = get("/channels/a/history", "Accept-Encoding: br, gzip\r\n");
    let refused = get("/channels/a/history", "Accept-Encoding: gzip;q=0, *\r\n");
    for response in [&plain, &packed, &refused] {
        assert_eq!((response.status, varies(response)), (200, true));
    }
    assert_eq!((body_of(&plain).1, body_of(&packed).1, body_of(&refused).1), (false, true, false));
    assert!(packed.body.len() < plain.body.len() / 4);
    assert_eq!(body_of(&packed).0, body_of(&plain).0);
    let head = client.request("HEAD", "/hello", "Accept-Encoding: gzip\r\n", b"");
    assert_eq!((head.status, head.field("content-encoding"), varies(&head)), (200, None, false), "short");
    let mut client = server.connect();
    let missing = client.request("GET", &format!("/{}", "x".repeat(2000)), "Accept-Encoding: gzip\r\n", b"");
    assert_eq!((missing.status, missing.field("content-encoding")), (404, None), "what reflects a request");
    let metrics = server.connect_admin().request("GET", "/metrics", "Accept-Encoding: gzip\r\n", b"");
    assert!(body_of(&metrics).0.contains("roadstead_connections{") && body_of(&metrics).1);
}

#[test]
fn state_whose_tag_promises_its_bytes_stays_as_it_is_and_nothing_is_in_gzip_unless_it_is_set() {
    let server = Server::start(&["http.compression=true"]);
    let mut client = server.connect();
    let value = format!("\"{}\"", "x".repeat(5000));
    let fields = "Content-Type: application/json\r\n";
    assert_eq!(client.request("PUT", "/channels/a/state/key", fields, value.as_bytes()).status, 201);
    let state = client.request("GET", "/channels/a/state/key", "Accept-Encoding: gzip\r\n", b"");
    assert!(state.field("etag").is_some_and(|tag| tag.starts_with('"')), "{}", state.head);
    assert_eq!((body_of(&state).1, varies(&state)), (false, false));
    let off = Server::start(&[]);
    for number in 0..20 {
        off.publish("a", message(number));
    }
    let history = off.connect().request("GET", "/channels/a/history", "Accept-Encoding: gzip\r\n", b"");
    assert_eq!((body_of(&history).1, varies(&history)), (false, false));
}

#[test]
fn polls_of_socketio_come_in_gzip_by_their_own_switch() {
    for (settings, is_packed) in [
        (&["http.compression=true"][..], true),
        (&["socketio.http_compression=true"], true),
        (&["http.compression=true", "socketio.http_compression=false"], false),
    ] {
        let server = Server::start(settings);
        let mut client = server.connect();
        let mut ask = |method: &str, target: &str, body: &[u8]| {
            let response = client.request(method, target, "Accept-Encoding: gzip\r\n", body);
            assert_eq!(response.status, 200, "{}", response.text());
            response
        };
        let polling = "/socket.io/?EIO=4&transport=polling";
        let open = ask("GET", polling, b"").text();
        let open: serde_json::Value = serde_json::from_str(&open[1..]).expect("a handshake");
        let polling = format!("{polling}&sid={}", open["sid"].as_str().expect("an id"));
        ask("POST", &polling, b"40");
        assert!(ask("GET", &polling, b"").text().starts_with("40{"));
        server.publish("%2F", message(1).repeat(4));
        let (text, is_gzip) = body_of(&ask("GET", &polling, b""));
        assert!(text.starts_with("42[") && is_gzip == is_packed, "{settings:?}: {text}");
    }
}
