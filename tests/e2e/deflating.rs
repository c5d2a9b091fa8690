//! A WebSocket client that offers compression. It compresses and inflates with zlib alone, and knows nothing of the server's own
//! code for it.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use roadstead::wire::websocket::{Opcode, encode_frame_masked};

use crate::{client::Client, server::Server, socket::handshake_fields};

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const DEFLATED: u8 = 0x40;

/// A WebSocket that offers compression.
pub struct Socket {
    /// The connection under it.
    pub client: Client,
    /// What the server answered to the offer.
    pub agreed: Option<String>,
    /// Goes on from message to message.
    pub inflater: Decompress,
}

/// One frame of the server, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its first byte.
    pub first: u8,
    /// Its payload as it came.
    pub wire_bytes: usize,
    /// Its payload as it was meant.
    pub plain: Vec<u8>,
}

impl Socket {
    /// Shakes hands, and offers so.
    #[track_caller]
    pub fn open(server: &Server, target: &str, offers: &[&str]) -> Self {
        Self::open_over(server.connect(), target, offers)
    }

    /// The same, over a connection that there is.
    #[track_caller]
    pub fn open_over(mut client: Client, target: &str, offers: &[&str]) -> Self {
        let offers = offers.iter().map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        client.ask("GET", target, &(handshake_fields() + &offers.collect::<String>()), b"");
        let head = client.response_head();
        assert_eq!(head.status, 101, "{}", head.head);
        let agreed = head.field("sec-websocket-extensions").map(str::to_owned);
        Self { client, agreed, inflater: Decompress::new(false) }
    }

    /// Sends one frame as it is.
    pub fn send(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        self.client.send(frame(opcode, fin, false, payload));
    }

    /// Sends a message compressed.
    pub fn send_deflated(&mut self, message: &str) {
        self.client.send(frame(Opcode::Text, true, true, &deflate(message.as_bytes())));
    }

    /// The next frame; pings of the server are passed over.
    #[track_caller]
    pub fn next(&mut self) -> Frame {
        loop {
            let head = self.client.take(2);
            let wire_bytes = match head[1] {
                126 => usize::from(u16::from_be_bytes(self.client.take(2).try_into().expect("two"))),
                127 => u64::from_be_bytes(self.client.take(8).try_into().expect("eight")) as usize,
                short => short.into(),
            };
            let payload = self.client.take(wire_bytes);
            let plain = match head[0] & DEFLATED {
                0 => payload,
                _ => inflate(&mut self.inflater, &payload),
            };
            if head[0] != 0x89 {
                return Frame { first: head[0], wire_bytes, plain };
            }
        }
    }

    /// The next message, which is a text that came compressed.
    #[track_caller]
    pub fn deflated_text(&mut self) -> String {
        let frame = self.next();
        assert_eq!(frame.first, 0xc1, "{frame:?}");
        assert!(frame.wire_bytes < frame.plain.len(), "{frame:?}");
        String::from_utf8(frame.plain).expect("a text")
    }

    /// The next message, a text that came as it is.
    #[track_caller]
    pub fn plain_text(&mut self) -> String {
        let frame = self.next();
        assert_eq!(frame.first, 0x81, "{frame:?}");
        String::from_utf8(frame.plain).expect("a text")
    }

    /// The next message, however it came.
    #[track_caller]
    pub fn plain_or_deflated(&mut self) -> String {
        let frame = self.next();
        assert!(matches!(frame.first, 0x81 | 0xc1), "{frame:?}");
        String::from_utf8(frame.plain).expect("a text")
    }

    /// The code that the server closes with.
    #[track_caller]
    pub fn close_code(&mut self) -> u16 {
        let frame = self.next();
        assert_eq!(frame.first, 0x88, "{frame:?}");
        u16::from_be_bytes([frame.plain[0], frame.plain[1]])
    }
}

/// A frame of a client.
pub fn frame(opcode: Opcode, fin: bool, is_deflated: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame_masked(&mut bytes, opcode, fin, payload, [7, 0, 9, 200]);
    bytes[0] |= if is_deflated { DEFLATED } else { 0 };
    bytes
}

/// A message that begins anew.
pub fn deflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 100);
    let mut compressor = Compress::new(flate2::Compression::best(), false);
    compressor.compress_vec(message, &mut out, FlushCompress::Sync).expect("it has room");
    assert!(out.ends_with(&TAIL));
    out.truncate(out.len() - TAIL.len());
    out
}

fn inflate(inflater: &mut Decompress, payload: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(32 << 20);
    for piece in [payload, &TAIL] {
        inflater
            .decompress_vec(piece, &mut plain, FlushDecompress::Sync)
            .expect("the server compresses right");
    }
    plain
}
