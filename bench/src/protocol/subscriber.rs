//! One client that receives publications, whatever its transport: bytes in, notices out.
//!
//! It holds nothing while idle but its stage, and a poll its position; only a message cut by the network costs a buffer
//! until the rest comes. WebSocket frames are the project's own codec in the client's role.

use std::rc::Rc;

use memchr::memmem;
use roadstead::wire::websocket::{self, Decoder, Opcode, Role, Settings, Step, WsError, encode_frame_masked};

use super::{
    body::Body,
    deflate::{self, Deflate, Offered, Sizes},
    event_stream,
    head::{self, Framing, Head},
    refusal::Refusal,
    request::{self, PollPosition},
    socketio::{self, Packet, Place},
};
use crate::target::Target;

/// What a client takes from a server: the largest message is a guard against a length field gone wrong.
pub const MESSAGE_BYTES_MAX: u64 = 64 << 20;
const FRAMES: Settings = Settings {
    role: Role::Client,
    message_bytes_max: MESSAGE_BYTES_MAX,
    fragments_max: 0,
    compression: false,
};
/// The same where compression was agreed on.
const COMPRESSED_FRAMES: Settings = Settings { compression: true, ..FRAMES };

/// The mask of every frame we send. RFC 6455 §10.3 asks for an unpredictable one, against attacks on proxies by
/// hostile scripts; a benchmark wants equal work in every run.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A poll's body up to this size is taken whole, so that its position is found wherever the network cuts it.
const POLL_WHOLE_BYTES_MAX: u64 = 16 << 20;

/// How publications reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// WebSocket frames.
    Ws,
    /// Server-sent events.
    Sse,
    /// Long polls, each answered request followed by the next, from the position the last one told.
    Poll,
    /// Bare frames without a handshake, as `floor fanout` sends them.
    Tcp,
    /// Socket.IO over a WebSocket.
    #[serde(rename = "socketio")]
    #[value(name = "socketio")]
    SocketIo,
    /// Socket.IO over polls and posts, one at a time on one connection.
    #[serde(rename = "socketio-polling")]
    #[value(name = "socketio-polling")]
    SocketIoPolling,
}

/// What a client learnt.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The server has accepted it; publications may follow.
    Served,
    /// A piece of content: a whole frame's payload, an event's data, or a poll's body or a part of it.
    Message(&'a [u8]),
    /// The server agreed to compress.
    Agreed,
    /// The sizes of the message that follows, where that was agreed.
    Sized(Sizes),
    /// It should send these bytes.
    Reply(Vec<u8>),
    /// A poll has been answered; the client should ask again, from the position the answer told, if any.
    Answered(Option<Rc<PollPosition>>),
    /// A Socket.IO server has opened a session: the client should ask to be let into a namespace.
    Opened,
    /// The client is in the namespace: it may join a room, or be content.
    Entered,
    /// A Socket.IO server has acknowledged an event with these arguments, an array of JSON.
    Acknowledged(&'a str),
    /// A Socket.IO server wants to know whether the client is alive.
    Pinged,
    /// The server closes, for this reason if it gave one.
    Closing(Option<Box<str>>),
}

/// Why a client gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscribeError {
    /// The server answered something else than was asked for.
    Refused(Refusal),
    /// The server did not let it into the namespace.
    NotAdmitted,
    /// The server's frames are wrong.
    Frames(WsError),
    /// The server answered extensions that were not offered, or not so.
    Extension(Box<str>),
    /// A compressed message cannot be read.
    Compression,
    /// The server does not speak the protocol.
    Garbled,
}

/// A receiving client.
#[derive(Debug)]
pub struct Subscriber {
    stage: Stage,
    #[expect(clippy::box_collection, reason = "an idle client pays one pointer, not a vector's three words")]
    partial: Option<Box<Vec<u8>>>,
    position: Option<Rc<PollPosition>>,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for a response's head, after offering to compress or not.
    Head(Transport, Offered),
    /// Frames follow, compressed ones where that was agreed; of what [`super::manners`] has it say before it is served, so
    /// many lines are said.
    Frames(Decoder, Option<Box<Deflate>>, u8),
    /// An event stream's lines follow, in this framing.
    Events(Body),
    /// A poll's body follows.
    Poll(Body),
    /// Frames follow, each a packet of Socket.IO.
    Packets(Decoder),
    /// A body of Socket.IO packets follows.
    Payload(Body),
}

const _: () = assert!(size_of::<Subscriber>() <= 40);

/// A whole masked frame, as a client sends it.
pub fn encode_message(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(websocket::FRAME_HEADER_BYTES_MAX + payload.len());
    encode_frame_masked(&mut frame, opcode, true, payload, MASK);
    frame
}

/// The same, compressed for a window of so many bits, and its sizes.
pub fn encode_compressed(opcode: Opcode, payload: &[u8], window_bits: u8) -> (Vec<u8>, Sizes) {
    let Some(compressed) = deflate::deflate(payload, window_bits) else {
        return (encode_message(opcode, payload), Sizes::of(payload.len(), payload.len(), false));
    };
    let mut frame = encode_message(opcode, &compressed);
    frame[0] |= deflate::COMPRESSED_BIT;
    (frame, Sizes::of(compressed.len(), payload.len(), true))
}

impl Subscriber {
    /// A client that has sent [`Self::request`] or is about to.
    pub fn new(transport: Transport) -> Self {
        let stage = match transport {
            Transport::Tcp => Stage::Frames(Decoder::default(), None, 0),
            other => Stage::Head(other, Offered::Nothing),
        };
        Self { stage, partial: None, position: None }
    }

    /// The same client, which offers to compress.
    pub fn offering(mut self, compression: Offered) -> Self {
        if let Stage::Head(_, offered) = &mut self.stage {
            *offered = compression;
        }
        self
    }

    /// The window of compressed messages that the client may send; none where nothing was agreed.
    #[inline]
    pub fn client_window_bits(&self) -> Option<u8> {
        match &self.stage {
            Stage::Frames(_, Some(deflate), _) => Some(deflate.client_window_bits()),
            _ => None,
        }
    }

    /// What such a client sends first.
    pub fn request(transport: Transport, target: &Target) -> Vec<u8> {
        match transport {
            Transport::Ws => request::encode_upgrade(target),
            Transport::Sse => request::encode_event_stream(target),
            Transport::Poll => request::encode_poll(target, None),
            Transport::Tcp => Vec::new(),
            Transport::SocketIo => request::encode_upgrade_of(target, &Place::of(target).websocket_path()),
            Transport::SocketIoPolling => request::encode_engine_poll(target, None),
        }
    }

    /// How many lines it has said before it is served.
    pub(super) fn lines_said(&self) -> u8 {
        if let Stage::Frames(_, _, said) = self.stage { said } else { 0 }
    }

    /// Remembers that.
    pub(super) fn set_lines_said(&mut self, lines: u8) {
        if let Stage::Frames(_, _, said) = &mut self.stage {
            *said = lines;
        }
    }

    /// Takes received bytes and gives what they mean to `notice`.
    #[inline]
    pub fn handle(
        &mut self,
        bytes: &mut [u8],
        mut notice: impl FnMut(Notice<'_>),
    ) -> Result<(), SubscribeError> {
        match self.partial.take() {
            None => {
                let used = self.advance(bytes, &mut notice)?;
                if used < bytes.len() {
                    self.partial = Some(Box::new(bytes[used..].to_vec()));
                }
            }
            Some(mut held) => {
                held.extend_from_slice(bytes);
                let used = self.advance(&mut held, &mut notice)?;
                if used < held.len() {
                    held.drain(..used);
                    self.partial = Some(held);
                }
            }
        }
        Ok(())
    }

    /// Takes every whole unit off `bytes`; tells how many bytes that was.
    fn advance(
        &mut self,
        bytes: &mut [u8],
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<usize, SubscribeError> {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &mut bytes[used..];
            let count = match &mut self.stage {
                Stage::Head(transport, offered) => {
                    let (transport, offered) = (*transport, *offered);
                    self.take_head((transport, offered), rest, notice)?
                }
                Stage::Frames(decoder, None, _) => take_frame(decoder, rest, notice)?,
                Stage::Frames(decoder, Some(deflate), _) => take_compressed(decoder, deflate, rest, notice)?,
                Stage::Events(body) => take_events(body, rest, notice)?,
                Stage::Poll(body) => {
                    let (count, content) = body.handle(rest).map_err(|_| SubscribeError::Garbled)?;
                    if !content.is_empty() {
                        note_position(&mut self.position, content);
                        notice(Notice::Message(content));
                    }
                    self.finish_poll(notice);
                    count
                }
                Stage::Packets(decoder) => take_packet(decoder, rest, notice)?,
                Stage::Payload(body) => {
                    let (count, content) = body.handle(rest).map_err(|_| SubscribeError::Garbled)?;
                    take_payload(content, &mut self.position, notice)?;
                    self.finish_poll(notice);
                    count
                }
            };
            if count == 0 {
                break;
            }
            used += count;
        }
        Ok(used)
    }

    fn take_head(
        &mut self,
        (transport, offered): (Transport, Offered),
        bytes: &[u8],
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<usize, SubscribeError> {
        let Some(head) = head::decode(bytes).map_err(|_| SubscribeError::Garbled)? else { return Ok(0) };
        match (transport, head.status) {
            (Transport::Ws, 101) => {
                let deflate = offered.agree(&bytes[..head.consumed])?;
                if deflate.is_some() {
                    notice(Notice::Agreed);
                }
                self.stage = Stage::Frames(Decoder::default(), deflate.map(Box::new), 0);
            }
            (Transport::Sse, 200) if head.event_stream => self.stage = Stage::Events(Body::new(head.framing)),
            // 304 and 408 are how servers say that nothing came in time (nchan says 408): the client asks again.
            (Transport::Poll, 200..=299 | 304 | 408) => {
                if !has_whole_body(&head, bytes) {
                    return Ok(0);
                }
                if let Some(validators) = PollPosition::from_validators(&bytes[..head.consumed]) {
                    self.position = Some(Rc::new(validators));
                }
                self.stage = Stage::Poll(Body::new(head.framing));
            }
            (Transport::SocketIo, 101) => self.stage = Stage::Packets(Decoder::default()),
            (Transport::SocketIoPolling, 200) => {
                if !has_whole_body(&head, bytes) {
                    return Ok(0);
                }
                self.stage = Stage::Payload(Body::new(head.framing));
            }
            _ => {
                let Some(refusal) = Refusal::read(&head, bytes) else { return Ok(0) };
                return Err(SubscribeError::Refused(refusal));
            }
        }
        // A session of Socket.IO is not served before it is in its namespace.
        if !matches!(self.stage, Stage::Packets(_) | Stage::Payload(_)) {
            notice(Notice::Served);
        }
        if head.framing == Framing::Length(0) {
            self.finish_poll(notice);
        }
        Ok(head.consumed)
    }

    fn finish_poll(&mut self, notice: &mut impl FnMut(Notice<'_>)) {
        self.stage = match self.stage {
            Stage::Poll(Body::Done) => Stage::Head(Transport::Poll, Offered::Nothing),
            Stage::Payload(Body::Done) => Stage::Head(Transport::SocketIoPolling, Offered::Nothing),
            _ => return,
        };
        notice(Notice::Answered(self.position.clone()));
    }
}

fn has_whole_body(head: &Head, bytes: &[u8]) -> bool {
    match head.framing {
        Framing::Length(length @ ..=POLL_WHOLE_BYTES_MAX) => {
            bytes.len() as u64 >= head.consumed as u64 + length
        }
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose => true,
    }
}

/// Remembers the position an answer names: `"position":"EPOCH:OFFSET"`, before the publications.
fn note_position(position: &mut Option<Rc<PollPosition>>, content: &[u8]) {
    const MEMBER: &[u8] = b"\"position\":\"";
    let Some(start) = memmem::find(content, MEMBER).map(|at| at + MEMBER.len()) else { return };
    let Some(length) = memchr::memchr(b'"', &content[start..]) else { return };
    if let Ok(text) = std::str::from_utf8(&content[start..start + length]) {
        *position = Some(Rc::new(PollPosition::Since(text.into())));
    }
}

#[inline]
fn take_frame(
    decoder: &mut Decoder,
    bytes: &mut [u8],
    notice: &mut impl FnMut(Notice<'_>),
) -> Result<usize, SubscribeError> {
    take(decoder, &FRAMES, bytes, |part| match part {
        Part::Message(data) => {
            notice(Notice::Message(data));
            Ok(())
        }
        Part::Other(other) => {
            notice(other);
            Ok(())
        }
    })
}

/// The same where messages may be compressed. Which are is said by the first byte of each, and a message begins where
/// nothing is kept of another.
fn take_compressed(
    decoder: &mut Decoder,
    deflate: &mut Deflate,
    bytes: &mut [u8],
    notice: &mut impl FnMut(Notice<'_>),
) -> Result<usize, SubscribeError> {
    if decoder.is_idle() {
        deflate.begin(bytes[0]);
    }
    take(decoder, &COMPRESSED_FRAMES, bytes, |part| match part {
        Part::Message(data) => deflate.read(data, notice),
        Part::Other(other) => {
            notice(other);
            Ok(())
        }
    })
}

/// What a frame came to.
enum Part<'a> {
    /// It ended a message.
    Message(&'a [u8]),
    /// It was a control frame.
    Other(Notice<'a>),
}

#[inline]
fn take(
    decoder: &mut Decoder,
    settings: &Settings,
    bytes: &mut [u8],
    mut heard: impl FnMut(Part<'_>) -> Result<(), SubscribeError>,
) -> Result<usize, SubscribeError> {
    let all = bytes.len();
    match decoder.decode(bytes, settings).map_err(SubscribeError::Frames)? {
        Step::NeedMore => Ok(all),
        Step::Message { data, consumed, .. } => heard(Part::Message(data)).map(|()| consumed),
        Step::Ping { data, consumed } => {
            heard(Part::Other(Notice::Reply(encode_message(Opcode::Pong, data)))).map(|()| consumed)
        }
        Step::Pong { consumed, .. } => Ok(consumed),
        Step::Close { code, reason, .. } => {
            heard(Part::Other(Notice::Closing(code.map(|code| closing(code, reason))))).map(|()| all)
        }
    }
}

/// What a close frame says.
#[cold]
fn closing(code: u16, reason: &str) -> Box<str> {
    if reason.is_empty() { code.to_string().into() } else { format!("{code} “{reason}”").into() }
}

/// A frame that holds one packet of Socket.IO.
#[inline]
fn take_packet(
    decoder: &mut Decoder,
    bytes: &mut [u8],
    notice: &mut impl FnMut(Notice<'_>),
) -> Result<usize, SubscribeError> {
    let mut heard = Ok(());
    let count = take_frame(decoder, bytes, &mut |frame| match frame {
        Notice::Message(data) => {
            heard = match std::str::from_utf8(data).ok().and_then(socketio::decode) {
                Some(packet) => hear(packet, notice),
                None => Err(SubscribeError::Garbled),
            }
        }
        other => notice(other),
    })?;
    heard.map(|()| count)
}

/// The packets of one polling answer.
fn take_payload(
    content: &[u8],
    position: &mut Option<Rc<PollPosition>>,
    notice: &mut impl FnMut(Notice<'_>),
) -> Result<(), SubscribeError> {
    if content.is_empty() {
        return Ok(());
    }
    let mut heard = Ok(());
    let is_whole = socketio::decode_payload(content, |packet| {
        if let Packet::Open(session) = packet {
            *position = Some(Rc::new(PollPosition::Session(session.into())));
        }
        if heard.is_ok() {
            heard = hear(packet, notice);
        }
    });
    if is_whole { heard } else { Err(SubscribeError::Garbled) }
}

#[inline]
fn hear(packet: Packet<'_>, notice: &mut impl FnMut(Notice<'_>)) -> Result<(), SubscribeError> {
    notice(match packet {
        Packet::Event(json) => Notice::Message(json.as_bytes()),
        Packet::Ack(json) => Notice::Acknowledged(json),
        Packet::Ping => Notice::Pinged,
        Packet::Open(_) => Notice::Opened,
        Packet::Entered => Notice::Entered,
        Packet::Closing => Notice::Closing(None),
        Packet::Refused => return Err(SubscribeError::NotAdmitted),
        Packet::Nothing => return Ok(()),
    });
    Ok(())
}

/// Whole lines only. Inside chunked framing a line may go on in the next chunk; servers that write an event per chunk
/// never do that, and one that does is told apart by the lines it loses, not by silence: its stamps count as lost.
fn take_events(
    body: &mut Body,
    bytes: &[u8],
    notice: &mut impl FnMut(Notice<'_>),
) -> Result<usize, SubscribeError> {
    let before = *body;
    let (count, content) = body.handle(bytes).map_err(|_| SubscribeError::Garbled)?;
    let whole = event_stream::decode(content, |data| notice(Notice::Message(data)));
    if whole == content.len() || *body == Body::ChunkEnd {
        return Ok(count);
    }
    // Hold the cut line back: go to where the framing stood before it.
    *body = match before {
        Body::Plain(left) => Body::Plain(left - whole as u64),
        Body::UntilClose => Body::UntilClose,
        _ => match *body {
            Body::ChunkData(left) => Body::ChunkData(left + (content.len() - whole) as u64),
            other => other,
        },
    };
    Ok(count - (content.len() - whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole bare frame, as a server sends it.
    fn bare(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        websocket::encode_frame(&mut frame, opcode, true, payload);
        frame
    }

    /// What a client makes of `bytes`, the same for every cut in two.
    fn check(transport: Transport, bytes: &[u8]) -> (Vec<String>, Result<(), SubscribeError>) {
        let run = |pieces: &[&[u8]]| {
            let (mut subscriber, mut log) = (Subscriber::new(transport), Vec::<String>::new());
            let mut result = Ok(());
            for piece in pieces {
                result = result.and_then(|()| {
                    subscriber.handle(&mut piece.to_vec(), |notice| match notice {
                        Notice::Message(data) => {
                            match log.last_mut().filter(|last| last.starts_with("part:")) {
                                Some(last) if transport == Transport::Poll => {
                                    last.push_str(&String::from_utf8_lossy(data));
                                }
                                _ => log.push(format!("part:{}", String::from_utf8_lossy(data))),
                            }
                        }
                        Notice::Reply(reply) => log.push(format!("reply of {}", reply.len())),
                        other => log.push(format!("{other:?}")),
                    })
                });
            }
            (log, result)
        };
        let whole = run(&[bytes]);
        for cut in 1..bytes.len() {
            assert_eq!(run(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&single), whole, "byte by byte");
        whole
    }

    #[test]
    fn a_websocket_is_served_by_101_and_answers_pings() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        bytes.extend(bare(Opcode::Text, b"one"));
        bytes.extend(bare(Opcode::Ping, b"p"));
        bytes.extend(bare(Opcode::Binary, b"two"));
        bytes.extend(bare(Opcode::Close, b"\x03\xe9bye"));
        let (log, result) = check(Transport::Ws, &bytes);
        assert_eq!(log, ["Served", "part:one", "reply of 7", "part:two", "Closing(Some(\"1001 “bye”\"))"]);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn compressed_messages_are_read_in_pieces_and_between_plain_ones() {
        let head = "HTTP/1.1 101 Switching\r\nSec-WebSocket-Extensions: permessage-deflate; \
                    client_max_window_bits=9\r\n\r\n";
        let mut bytes = head.as_bytes().to_vec();
        let text = "one and one and one and one";
        let whole = deflate::deflate(text.as_bytes(), 15).unwrap();
        let mut piece = |first: u8, data: &[u8]| bytes.extend([&[first, data.len() as u8], data].concat());
        piece(0xc1, &whole);
        piece(0x81, b"plain");
        // The first of two fragments says that the message is compressed, and a ping comes between them.
        piece(0x41, &whole[..5]);
        piece(0x89, b"p");
        piece(0x80, &whole[5..]);
        let run = |pieces: &[&[u8]]| {
            let mut client = Subscriber::new(Transport::Ws).offering(Offered::DeflateWithBits);
            let mut log = Vec::new();
            for piece in pieces {
                let heard = client.handle(&mut piece.to_vec(), |notice| match notice {
                    Notice::Message(data) => log.push(String::from_utf8(data.to_vec()).unwrap()),
                    Notice::Sized(sizes) => {
                        log.push(format!("{} for {}", sizes.wire_bytes, sizes.plain_bytes))
                    }
                    Notice::Reply(reply) => log.push(format!("reply of {}", reply.len())),
                    other => log.push(format!("{other:?}")),
                });
                heard.unwrap();
            }
            assert_eq!(client.client_window_bits(), Some(9));
            log
        };
        let short = format!("{} for {}", whole.len(), text.len());
        let log = run(&[&bytes]);
        assert_eq!(log, ["Agreed", "Served", &short, text, "5 for 5", "plain", "reply of 7", &short, text]);
        for cut in 1..bytes.len() {
            assert_eq!(run(&[&bytes[..cut], &bytes[cut..]]), log, "cut at {cut}");
        }
        assert_eq!(run(&bytes.chunks(1).collect::<Vec<_>>()), log);
        let unasked = Subscriber::new(Transport::Ws).handle(&mut bytes, |_| {});
        assert!(matches!(unasked, Err(SubscribeError::Extension(_))), "{unasked:?}");
    }

    #[test]
    fn any_other_status_is_a_refusal() {
        let refused = |transport, bytes: &[u8]| match check(transport, bytes).1 {
            Err(SubscribeError::Refused(refusal)) => refusal.to_string(),
            other => panic!("{other:?}"),
        };
        let full = b"HTTP/1.1 503 Full\r\nContent-Length: 5\r\n\r\nfull\n";
        assert_eq!(refused(Transport::Ws, full), "503 “full”");
        assert_eq!(refused(Transport::Sse, full), "503 “full”");
        let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
        assert_eq!(refused(Transport::Ws, page), "200");
        assert_eq!(refused(Transport::Sse, page), "200");
    }

    #[test]
    fn an_event_stream_gives_its_data_in_any_framing() {
        for framing in ["\r\n", "Content-Length: 31\r\n\r\n"] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}");
            let bytes = format!("{head}: hello\n\ndata: one\n\ndata: two\n\ndata: x");
            assert_eq!(check(Transport::Sse, bytes.as_bytes()).0, ["Served", "part:one", "part:two"]);
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 22\r\n\r\n";
        let overlong = format!("{head}data: one\n\ndata: two\n\ndata: no\n\n");
        assert_eq!(check(Transport::Sse, overlong.as_bytes()).0, ["Served", "part:one", "part:two"]);
        let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                       b\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n";
        assert_eq!(check(Transport::Sse, chunked.as_bytes()).0, ["Served", "part:one", "part:two"]);
    }

    #[test]
    fn a_socketio_client_hears_the_same_over_frames_and_polls() {
        let packets = ["0{\"sid\":\"s1\"}", "40{\"sid\":\"x\"}", "430[]", "42[\"news\",\"hi\"]", "2", "1"];
        let heard = [
            "Opened",
            "Entered",
            "Acknowledged(\"[]\")",
            "part:[\"news\",\"hi\"]",
            "Pinged",
            "Closing(None)",
        ];
        let mut stream = b"HTTP/1.1 101 Switching\r\n\r\n".to_vec();
        packets.iter().for_each(|packet| stream.extend(bare(Opcode::Text, packet.as_bytes())));
        assert_eq!(check(Transport::SocketIo, &stream), (heard.map(str::to_owned).to_vec(), Ok(())));
        let body = packets.join("\x1e");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let taken = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let (log, result) = check(Transport::SocketIoPolling, format!("{answer}{taken}").as_bytes());
        assert_eq!((&log[..6], result), (&heard.map(str::to_owned)[..], Ok(())));
        assert_eq!(log[6..], ["Answered(Some(Session(\"s1\")))", "Answered(Some(Session(\"s1\")))"]);
    }

    #[test]
    fn a_namespace_that_is_refused_and_a_packet_that_is_none_end_a_socketio_client() {
        let stream = |packet: &str| {
            let mut stream = b"HTTP/1.1 101 Switching\r\n\r\n".to_vec();
            stream.extend(bare(Opcode::Text, packet.as_bytes()));
            check(Transport::SocketIo, &stream).1
        };
        assert_eq!(stream("44{\"message\":\"Invalid namespace\"}"), Err(SubscribeError::NotAdmitted));
        assert_eq!(stream("47"), Err(SubscribeError::Garbled));
    }

    #[test]
    fn an_answered_poll_asks_again() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let (log, _) = check(Transport::Poll, format!("{answer}{answer}").as_bytes());
        assert_eq!(log, ["Served", "part:hello", "Answered(None)", "Served", "part:hello", "Answered(None)"]);
        let (log, _) = check(Transport::Poll, b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(log, ["Served", "Answered(None)"]);
    }

    #[test]
    fn a_poll_goes_on_from_the_position_its_answer_told() {
        let body = r#"{"channel":"x","position":"7:3","recovered":true,"publications":[]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (log, _) = check(Transport::Poll, answer.as_bytes());
        assert_eq!(log.last().unwrap(), r#"Answered(Some(Since("7:3")))"#);
        let nothing = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
        let (log, result) = check(Transport::Poll, format!("{answer}{nothing}").as_bytes());
        assert_eq!(
            (log[2..].join(" "), result),
            (r#"Answered(Some(Since("7:3"))) Served Answered(Some(Since("7:3")))"#.to_owned(), Ok(()))
        );
        let nchan = "HTTP/1.1 200 OK\r\nLast-Modified: Mon\r\nEtag: 0\r\nContent-Length: 2\r\n\r\nhi";
        let (log, _) = check(Transport::Poll, nchan.as_bytes());
        assert!(log.last().unwrap().contains("If-None-Match: 0"), "{log:?}");
    }
}
