//! permessage-deflate (RFC 7692) from the client's end: what is offered, what the server made of it, and messages that
//! come and go compressed.
//!
//! What a server sends may build on what it sent before (*context takeover*): then the connection keeps an inflater with a
//! window of 32 kB. A server that agreed to begin each message anew costs nothing here: all its connections share one.
//! What the client sends always begins anew, which any server takes (§7.1.1.2): one message is the same bytes for all.

use std::{cell::RefCell, ops::AddAssign};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use serde::{Deserialize, Serialize};

use super::subscriber::{MESSAGE_BYTES_MAX, Notice, SubscribeError};

/// The extension's name.
pub const NAME: &str = "permessage-deflate";
/// What browsers offer.
pub const USUAL_PARAMETERS: &str = "client_max_window_bits";
/// What ends a compressed message and is not sent (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// The bit of a frame's first byte that marks its message as compressed (§6).
pub const COMPRESSED_BIT: u8 = 0x40;
/// Bits of the window nobody asked to be smaller.
const WINDOW_BITS_MAX: u8 = 15;
/// The smallest window of RFC 7692, which no library compresses for.
const WINDOW_BITS_MIN: u8 = 8;

/// What a client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offered {
    /// No extension.
    #[default]
    Nothing,
    /// Compression.
    Deflate,
    /// Compression, and that the server may say how large the client's window is.
    DeflateWithBits,
}

/// What was agreed on one connection, and what it needs to be read.
#[derive(Debug)]
pub struct Deflate {
    inflater: Inflater,
    client_window_bits: u8,
    /// Whether the message that is arriving is compressed.
    is_compressed: bool,
}

#[derive(Debug)]
enum Inflater {
    /// Each message begins anew.
    Shared,
    /// Each message builds on those before; made with the first.
    Own(Option<Decompress>),
}

/// Messages of one direction, as they went over the line and as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Messages.
    pub messages: u64,
    /// Those that were compressed.
    pub compressed: u64,
    /// Their payload on the line.
    pub wire_bytes: u64,
    /// Their payload as it was meant.
    pub plain_bytes: u64,
}

/// What came of offering compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections whose server agreed.
    pub agreed: u64,
    /// What those sent.
    pub sent: Sizes,
    /// What those received.
    pub received: Sizes,
}

thread_local! {
    /// For messages that begin anew.
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    /// The message inflated last.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The compressor used last, and the bits of its window.
    static COMPRESSOR: RefCell<Option<(u8, Compress)>> = const { RefCell::new(None) };
}

impl Offered {
    /// What an offer with these parameters is; `None` if they are none of the extension's.
    pub fn parse(parameters: &str) -> Option<Self> {
        let mut offered = Self::Deflate;
        for parameter in parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty()) {
            let (name, value) = split_parameter(parameter);
            let is_window = value.is_some_and(|value| window_bits(value).is_some());
            match (name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
                ("server_max_window_bits", Some(_)) if is_window => {}
                ("client_max_window_bits", value) if value.is_none() || is_window => {
                    offered = Self::DeflateWithBits;
                }
                _ => return None,
            }
        }
        Some(offered)
    }

    /// What the server made of it, by the head of its answer.
    pub fn agree(self, head: &[u8]) -> Result<Option<Deflate>, SubscribeError> {
        let refused = |what: &str| SubscribeError::Extension(what.into());
        let Some(answer) = answered(head) else { return Ok(None) };
        let mut parts = answer.split(';').map(str::trim);
        if self == Self::Nothing || parts.next() != Some(NAME) || answer.contains(',') {
            return Err(refused(&answer));
        }
        let (mut keeps_context, mut bits) = (true, WINDOW_BITS_MAX);
        for parameter in parts {
            let (name, value) = split_parameter(parameter);
            match (name, value.map(window_bits)) {
                ("server_no_context_takeover", None) => keeps_context = false,
                // Ours begins anew with each message in any case; and any window of the server's fits into ours.
                ("client_no_context_takeover", None) | ("server_max_window_bits", Some(Some(_))) => {}
                ("client_max_window_bits", Some(Some(asked))) if self == Self::DeflateWithBits => {
                    bits = asked
                }
                _ => return Err(refused(&answer)),
            }
        }
        let inflater = if keeps_context { Inflater::Own(None) } else { Inflater::Shared };
        Ok(Some(Deflate { inflater, client_window_bits: bits, is_compressed: false }))
    }
}

/// The extensions a server answered, however many fields it used.
fn answered(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let values: Vec<_> = fields
        .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"))
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn split_parameter(parameter: &str) -> (&str, Option<&str>) {
    match parameter.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
        None => (parameter, None),
    }
}

fn window_bits(text: &str) -> Option<u8> {
    text.parse().ok().filter(|bits| (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(bits))
}

impl Deflate {
    /// The window of what the client may send.
    pub fn client_window_bits(&self) -> u8 {
        self.client_window_bits
    }

    /// Learns how a message begins.
    #[inline]
    pub fn begin(&mut self, first_byte: u8) {
        self.is_compressed = first_byte & COMPRESSED_BIT != 0;
    }

    /// Gives a whole message to `notice` as it was meant, and its sizes.
    pub fn read(&mut self, data: &[u8], notice: &mut impl FnMut(Notice<'_>)) -> Result<(), SubscribeError> {
        if !self.is_compressed {
            notice(Notice::Sized(Sizes::of(data.len(), data.len(), false)));
            notice(Notice::Message(data));
            return Ok(());
        }
        let mut plain = PLAIN.take();
        plain.clear();
        let result = match &mut self.inflater {
            Inflater::Own(inflater) => {
                inflate(inflater.get_or_insert_with(|| Decompress::new(false)), data, &mut plain)
            }
            Inflater::Shared => INFLATER.with_borrow_mut(|inflater| {
                inflater.reset(false);
                inflate(inflater, data, &mut plain)
            }),
        };
        if result.is_some() {
            notice(Notice::Sized(Sizes::of(data.len(), plain.len(), true)));
            notice(Notice::Message(&plain));
        }
        PLAIN.set(plain);
        result.ok_or(SubscribeError::Compression)
    }
}

/// Adds what `data` inflates to; `None` if it is no compressed message, or one without measure.
fn inflate(inflater: &mut Decompress, data: &[u8], plain: &mut Vec<u8>) -> Option<()> {
    for mut rest in [data, &TAIL] {
        loop {
            if plain.len() == plain.capacity() {
                plain.reserve(plain.len().max(4096));
            }
            let (taken, given) = (inflater.total_in(), plain.len());
            let status = inflater.decompress_vec(rest, plain, FlushDecompress::Sync).ok()?;
            rest = &rest[(inflater.total_in() - taken) as usize..];
            if plain.len() as u64 > MESSAGE_BYTES_MAX {
                return None;
            }
            if status == Status::StreamEnd {
                // A message may end with a final block (§7.2.3.4), behind which nothing of it follows.
                inflater.reset(false);
                return rest.is_empty().then_some(());
            }
            // Where room was left, nothing more comes of what was taken.
            if rest.is_empty() && plain.len() < plain.capacity() {
                break;
            }
            if inflater.total_in() == taken && plain.len() == given {
                return None;
            }
        }
    }
    Some(())
}

/// A message compressed for a window of so many bits; `None` where that cannot be done, and it has to go as it is.
pub fn deflate(payload: &[u8], window_bits: u8) -> Option<Vec<u8>> {
    // What is shorter than the smallest window fits into it, whatever the compressor takes for granted.
    if window_bits == WINDOW_BITS_MIN && payload.len() > 1 << WINDOW_BITS_MIN {
        return None;
    }
    let bits = window_bits.max(WINDOW_BITS_MIN + 1);
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some((known, compressor)) if *known == bits => {
                compressor.reset();
                compressor
            }
            _ => {
                &mut kept
                    .insert((bits, Compress::new_with_window_bits(Compression::default(), false, bits)))
                    .1
            }
        };
        let mut out = Vec::with_capacity(payload.len() + 64);
        loop {
            let rest = &payload[compressor.total_in() as usize..];
            compressor.compress_vec(rest, &mut out, FlushCompress::Sync).expect("a vector takes all");
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(out.len());
        }
        out.truncate(out.len() - TAIL.len());
        if out.is_empty() {
            // An empty message is one empty block (§7.2.3.6).
            out.push(0);
        }
        Some(out)
    })
}

impl Sizes {
    /// One message.
    pub fn of(wire_bytes: usize, plain_bytes: usize, is_compressed: bool) -> Self {
        Self {
            messages: 1,
            compressed: u64::from(is_compressed),
            wire_bytes: wire_bytes as u64,
            plain_bytes: plain_bytes as u64,
        }
    }
}

impl AddAssign for Sizes {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.compressed += other.compressed;
        self.wire_bytes += other.wire_bytes;
        self.plain_bytes += other.plain_bytes;
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.agreed += other.agreed;
        self.sent += other.sent;
        self.received += other.received;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(offered: Offered, answer: &str) -> Result<Option<Deflate>, SubscribeError> {
        offered.agree(format!("HTTP/1.1 101 x\r\n{answer}\r\n\r\n").as_bytes())
    }

    #[test]
    fn an_offer_is_made_of_the_extensions_own_parameters() {
        for (text, offered) in [
            ("", Some(Offered::Deflate)),
            (USUAL_PARAMETERS, Some(Offered::DeflateWithBits)),
            ("client_max_window_bits=9; server_no_context_takeover", Some(Offered::DeflateWithBits)),
            ("server_max_window_bits=15;client_no_context_takeover", Some(Offered::Deflate)),
            ("server_max_window_bits", None),
            ("server_max_window_bits=16", None),
            ("client_max_window_bits=7", None),
            ("server_no_context_takeover=1", None),
            ("permessage-deflate", None),
        ] {
            assert_eq!(Offered::parse(text), offered, "{text}");
        }
    }

    #[test]
    fn an_answer_is_honoured_if_it_answers_what_was_offered() {
        let all = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; \
                   client_max_window_bits=\"10\"; server_max_window_bits=9; client_no_context_takeover";
        let deflate = agree(Offered::DeflateWithBits, all).unwrap().unwrap();
        assert!(deflate.client_window_bits() == 10 && matches!(deflate.inflater, Inflater::Shared));
        let deflate =
            agree(Offered::Deflate, "Sec-WebSocket-Extensions: permessage-deflate").unwrap().unwrap();
        assert!(deflate.client_window_bits() == 15 && matches!(deflate.inflater, Inflater::Own(None)));
        assert!(agree(Offered::Deflate, "X: y").unwrap().is_none());
        for (offered, answer) in [
            (Offered::Nothing, "permessage-deflate"),
            (Offered::Deflate, "x-webkit-deflate-frame"),
            (Offered::Deflate, "permessage-deflate; client_max_window_bits=10"),
            (Offered::DeflateWithBits, "permessage-deflate; client_max_window_bits"),
            (Offered::DeflateWithBits, "permessage-deflate; client_max_window_bits=16"),
            (Offered::DeflateWithBits, "permessage-deflate; surprise"),
            (Offered::DeflateWithBits, "permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate"),
        ] {
            let found = agree(offered, &format!("Sec-WebSocket-Extensions: {answer}"));
            assert!(matches!(found, Err(SubscribeError::Extension(_))), "{answer}: {found:?}");
        }
    }

    /// What a connection that agreed so makes of messages compressed by `compress`, one after the other.
    fn read(answer: &str, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, SubscribeError> {
        let mut deflate = agree(Offered::DeflateWithBits, answer).unwrap().unwrap();
        let mut found = Vec::new();
        for message in messages {
            deflate.begin(0x80 | COMPRESSED_BIT | 1);
            deflate.read(message, &mut |notice| {
                if let Notice::Message(data) = notice {
                    found.push(data.to_vec());
                }
            })?;
        }
        Ok(found)
    }

    const TAKEOVER: &str = "Sec-WebSocket-Extensions: permessage-deflate";
    const ANEW: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover";

    #[test]
    fn what_was_compressed_is_read_whatever_its_length_and_window() {
        for bits in 8..=15 {
            for length in [0, 1, 200, 5000, 4096, 100_000] {
                let plain: Vec<u8> = (0..length).map(|n: u32| (n.wrapping_mul(n) / 7) as u8).collect();
                let Some(compressed) = deflate(&plain, bits) else {
                    assert!(bits == 8 && length > 256, "{bits} {length}");
                    continue;
                };
                for answer in [TAKEOVER, ANEW] {
                    let twice = [compressed.clone(), compressed.clone()];
                    assert_eq!(
                        read(answer, &twice).unwrap(),
                        [plain.clone(), plain.clone()],
                        "{bits} {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_message_may_build_on_the_last_one_and_end_with_a_final_block() {
        let mut compressor = Compress::new(Compression::best(), false);
        let mut next = |text: &[u8], flush| {
            let mut out = Vec::with_capacity(1000);
            compressor.compress_vec(text, &mut out, flush).unwrap();
            out
        };
        let sync = |mut bytes: Vec<u8>| {
            bytes.truncate(bytes.len() - 4);
            bytes
        };
        let first = sync(next(b"the quick brown fox jumps", FlushCompress::Sync));
        let second = sync(next(b"the quick brown fox jumps", FlushCompress::Sync));
        let last = next(b"over the lazy dog", FlushCompress::Finish);
        assert!(second.len() < first.len() / 2);
        let messages = [first, second, last];
        let found = read(TAKEOVER, &messages).unwrap();
        assert_eq!(
            found,
            [&b"the quick brown fox jumps"[..], b"the quick brown fox jumps", b"over the lazy dog"]
        );
        assert_eq!(read(ANEW, &messages[..2]), Err(SubscribeError::Compression));
    }

    #[test]
    fn what_is_no_compressed_message_is_an_error() {
        for garbage in [&b"\xff\xff\xff"[..], b"\x07"] {
            assert_eq!(read(ANEW, &[garbage.to_vec()]), Err(SubscribeError::Compression), "{garbage:?}");
        }
    }
}
