//! RFC 6455 on the line.

use roadstead::wire::websocket::Opcode;

use crate::{
    epochs::closed,
    server::Server,
    socket::{Incoming, WebSocket, close_payload, frame},
};

#[test]
fn fragments_are_joined_and_control_frames_between_them_answered_at_once() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/echo");
    socket.send_frame(Opcode::Text, false, "gr".as_bytes());
    socket.send_frame(Opcode::Ping, true, b"between");
    assert_eq!(socket.next(), Incoming::Pong(b"between".to_vec()));
    // The first byte of ü in one fragment, the second in the next.
    socket.send_frame(Opcode::Continuation, false, &"ü".as_bytes()[..1]);
    socket.send_frame(Opcode::Pong, true, b"unasked");
    socket.send_frame(Opcode::Continuation, false, b"");
    socket.send_frame(Opcode::Continuation, true, &["ü".as_bytes()[1..].to_vec(), b"n".to_vec()].concat());
    assert_eq!(socket.next(), Incoming::Text("grün".into()));
    socket.send_frame(Opcode::Binary, false, &[0xff]);
    socket.send_frame(Opcode::Continuation, true, &[0xfe]);
    assert_eq!(socket.next(), Incoming::Binary(vec![0xff, 0xfe]));
}

#[test]
fn echo_returns_every_length_at_which_a_header_changes() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/echo");
    for length in [0, 1, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20] {
        let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();
        socket.send_frame(Opcode::Binary, true, &payload);
        assert_eq!(socket.next(), Incoming::Binary(payload), "{length}");
    }
}

#[test]
fn echo_takes_16_mib_and_one_byte_more_is_too_big() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/echo");
    let payload: Vec<u8> = (0..16 << 20).map(|index: u32| (index >> 8) as u8 ^ index as u8).collect();
    for _ in 0..2 {
        let sending = socket.client.send_beside(frame(Opcode::Binary, true, &payload));
        assert!(socket.next() == Incoming::Binary(payload.clone()), "16 MiB come back as they went");
        sending.join().expect("everything was sent");
    }
    socket.client.send(&frame(Opcode::Binary, true, &vec![0; (16 << 20) + 1])[..1000]);
    assert_eq!(socket.close_code(), Some(1009));
}

#[test]
fn other_sockets_take_1_mib_in_any_number_of_pieces_and_one_byte_more_is_too_big() {
    let server =
        Server::start(&["limits.publication_bytes_max=1048576", "limits.send_queue_bytes_max=2000000"]);
    let mib = vec![b'x'; 1 << 20];
    let mut socket = server.websocket("/channels/big");
    server.await_subscribers("big", 1);
    socket.send_frame(Opcode::Text, true, &mib);
    assert_eq!(socket.next(), Incoming::Text("x".repeat(1 << 20)));
    let mut whole = server.websocket("/channels/big");
    whole.client.send(&frame(Opcode::Text, true, &[&mib[..], b"x"].concat())[..5000]);
    assert_eq!(whole.close_code(), Some(1009));
    socket.send_frame(Opcode::Text, false, &mib[..1 << 19]);
    socket.send_frame(Opcode::Continuation, false, &mib[..1 << 19]);
    socket.send_frame(Opcode::Continuation, true, b"x");
    assert_eq!(socket.close_code(), Some(1009));
    server.await_metric("roadstead_closed_total", "message_too_big", 2.0);
}

#[test]
fn fragments_are_counted_where_a_limit_is_set_and_not_on_echo() {
    let server = Server::start(&["limits.message_fragments_max=10"]);
    let pieces = |count: usize, piece: &[u8]| {
        let mut bytes = frame(Opcode::Text, false, piece);
        (2..count).for_each(|_| bytes.extend(frame(Opcode::Continuation, false, piece)));
        bytes.extend(frame(Opcode::Continuation, true, piece));
        bytes
    };
    let message = |count: usize| pieces(count, b"x");
    let mut socket = server.websocket("/channels/pieces");
    server.await_subscribers("pieces", 1);
    socket.client.send(message(10));
    assert_eq!(socket.text(), "x".repeat(10));
    socket.client.send(message(11));
    assert_eq!(socket.close_code(), Some(1009));
    server.await_metric("roadstead_closed_total", "message_too_big", 1.0);
    let mut empty = server.websocket("/channels/pieces");
    empty.client.send(pieces(11, b""));
    let (code, reason) = closed(&mut empty);
    assert!(code == Some(1009) && reason.contains("limits.message_fragments_max"), "{code:?} {reason}");
    let mut echo = server.websocket("/echo");
    echo.client.send(message(20_000));
    assert_eq!(echo.text(), "x".repeat(20_000));
}

#[test]
fn the_closing_handshake_echoes_the_code_and_ends_the_connection() {
    let server = Server::start(&[]);
    for (payload, code) in [
        (vec![], None),
        (close_payload(1000, ""), Some(1000)),
        (close_payload(1001, "leaving"), Some(1001)),
        (close_payload(3000, "x"), Some(3000)),
        (close_payload(4999, &"x".repeat(123)), Some(4999)),
    ] {
        let mut socket = server.websocket("/channels/a");
        socket.send_frame(Opcode::Close, true, &payload);
        assert_eq!(socket.close_code(), code, "{payload:?}");
    }
    server.await_metric("roadstead_closed_total", "\"normal\"", 5.0);
    server.await_subscribers("a", 0);
}

#[test]
fn whatever_breaks_the_protocol_is_closed_with_its_code() {
    let server = Server::start(&[]);
    let masked = |first: u8, payload: &[u8]| {
        let mut bytes = frame(Opcode::Text, true, payload);
        bytes[0] = first;
        bytes
    };
    let unmasked = b"\x81\x02hi".to_vec();
    let join = |frames: &[Vec<u8>]| frames.concat();
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        ("an unmasked frame", 1002, unmasked),
        ("a reserved bit", 1002, masked(0xc1, b"x")),
        ("another reserved bit", 1002, masked(0x91, b"x")),
        ("a reserved opcode", 1002, masked(0x83, b"x")),
        ("a reserved control opcode", 1002, masked(0x8b, b"x")),
        ("a fragmented ping", 1002, masked(0x09, b"x")),
        ("a ping of 126 bytes", 1002, masked(0x89, &[0; 126])),
        ("a continuation of nothing", 1002, masked(0x80, b"x")),
        ("a message in a message", 1002, join(&[masked(0x01, b"x"), masked(0x81, b"y")])),
        ("a length not minimal", 1002, b"\x81\xfe\x00\x05\0\0\0\0hello".to_vec()),
        ("a length beyond 63 bits", 1002, b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        ("half a close code", 1002, masked(0x88, b"\x03")),
        ("close code 999", 1002, masked(0x88, &close_payload(999, ""))),
        ("close code 1005", 1002, masked(0x88, &close_payload(1005, ""))),
        ("close code 1006", 1002, masked(0x88, &close_payload(1006, ""))),
        ("close code 5000", 1002, masked(0x88, &close_payload(5000, ""))),
        ("a close reason that is not UTF-8", 1007, masked(0x88, b"\x03\xe8\xff")),
        ("text that is not UTF-8", 1007, masked(0x81, b"\xff")),
        ("text that ends within a character", 1007, masked(0x81, b"\xc3")),
        ("a surrogate", 1007, masked(0x81, b"\xed\xa0\x80")),
        ("text wrong in its first fragment", 1007, masked(0x01, b"\xf5")),
        ("a message beyond the limit", 1009, b"\x82\xff\0\0\0\0\x40\0\0\0\0\0\0\0".to_vec()),
    ];
    for (what, code, bytes) in &cases {
        for target in ["/echo", "/channels/a", "/ws"] {
            let mut socket = server.websocket(target);
            socket.client.send(bytes);
            assert_eq!(socket.close_code(), Some(*code), "{what} on {target}");
        }
    }
    let counted = |label| server.metric("roadstead_closed_total", label) / 3.0;
    assert_eq!(
        (counted("protocol_error"), counted("invalid_utf8"), counted("message_too_big")),
        (16.0, 5.0, 1.0)
    );
}

#[test]
fn text_is_checked_while_it_arrives_and_not_at_its_end() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/echo");
    // A frame of a thousand bytes of which only the first ones come: the fault is in them.
    let mut bytes = frame(Opcode::Text, true, &[&b"ok\xff"[..], &[b'x'; 997]].concat());
    bytes.truncate(20);
    socket.client.send(bytes);
    assert_eq!(socket.close_code(), Some(1007));
}

#[test]
fn nothing_is_said_after_the_closing_frame() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/echo");
    let bytes = [
        frame(Opcode::Text, true, b"before"),
        frame(Opcode::Close, true, b""),
        frame(Opcode::Text, true, b"after"),
    ];
    socket.client.send(bytes.concat());
    assert_eq!(socket.next(), Incoming::Text("before".into()));
    assert_eq!(socket.close_code(), None);
}

#[test]
fn frames_that_come_byte_by_byte_are_frames_all_the_same() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/echo");
    for byte in [
        frame(Opcode::Text, false, b"by"),
        frame(Opcode::Ping, true, b"p"),
        frame(Opcode::Continuation, true, b"te"),
    ]
    .concat()
    {
        socket.client.send([byte]);
    }
    assert_eq!(socket.next(), Incoming::Pong(b"p".to_vec()));
    assert_eq!(socket.next(), Incoming::Text("byte".into()));
}

#[test]
fn ten_thousand_messages_in_one_write_come_back_in_order() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/echo");
    let bytes: Vec<u8> = (0..10_000)
        .flat_map(|number: u32| frame(Opcode::Text, true, number.to_string().as_bytes()))
        .collect();
    let sending = socket.client.send_beside(bytes);
    for number in 0..10_000 {
        assert_eq!(socket.text(), number.to_string());
    }
    sending.join().expect("everything was sent");
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let server = Server::start(&["limits.ping_interval_ms=100", "limits.ping_timeout_ms=80"]);
    let mut silent = server.websocket("/channels/p");
    assert_eq!(silent.next(), Incoming::Ping(Vec::new()));
    assert_eq!(silent.close_code(), Some(4000));
    server.await_metric("roadstead_closed_total", "ping_timeout", 1.0);
    server.await_subscribers("p", 0);
}

#[test]
fn whoever_answers_pings_or_sends_anything_stays() {
    // As patient as may be: a busy machine may let a client wait before it can answer.
    let server = Server::start(&["limits.ping_interval_ms=1500", "limits.ping_timeout_ms=1500"]);
    let [mut answering, mut talking] = [0; 2].map(|_| server.websocket("/echo"));
    for _ in 0..3 {
        assert_eq!(answering.next(), Incoming::Ping(Vec::new()));
        answering.send_frame(Opcode::Pong, true, b"");
        assert_eq!(talking.next(), Incoming::Ping(Vec::new()));
        talking.send_text("still here");
        assert_eq!(talking.next(), Incoming::Text("still here".into()));
    }
    assert_eq!(server.metric("roadstead_closed_total", "ping_timeout"), 0.0);
}

#[test]
fn a_handshake_that_names_its_version_twice_is_refused() {
    let server = Server::start(&[]);
    for again in ["13", "8"] {
        let fields = format!("Sec-WebSocket-Version: {again}\r\n");
        let refused = WebSocket::try_open(server.connect(), "/ws", &fields).err().expect("refused");
        assert_eq!(refused.status, 400, "{again}");
    }
}
