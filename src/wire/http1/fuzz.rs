//! The body of the fuzz target `http1`, and the driver that the decoder's tests share with it.
//!
//! The property: requests, error and final phase depend on the bytes alone, not on how they arrive nor on whether
//! the session pauses between requests; no more is kept than the limits allow; and a request that is encoded again is
//! no longer than before and decodes to the same one.

use super::{Decoder, HeadTable, HttpError, Method, Phase, Request, Step, Version, encode_request};
use crate::limits::Limits;

/// A request that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub method: Method,
    pub target: String,
    pub version: Version,
    pub keep_alive: bool,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Everything a decoder said about some bytes, but for `Step::Continue`, which depends on what has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transcript {
    pub requests: Vec<Owned>,
    pub end: Result<Phase, HttpError>,
}

/// What the session does with input behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Straight,
    /// Stashes it, and comes back for it.
    Paused,
}

/// Asserts the property for `data`.
pub fn fuzz(data: &[u8]) {
    let limits = Limits { head_bytes_max: 512, head_fields_max: 8, body_bytes_max: 256, ..Limits::default() };
    let whole = transcribe([data], Pace::Straight, &limits);
    assert_eq!(whole, transcribe(data.chunks(1), Pace::Straight, &limits), "byte by byte");
    assert_eq!(whole, transcribe(pieces(data).into_iter(), Pace::Straight, &limits), "in pieces");
    if data.len() <= 512 {
        assert_eq!(whole, transcribe([data], Pace::Paused, &limits), "with pauses");
    }
}

/// Feeds `pieces` to a new decoder.
pub(super) fn transcribe<'d>(
    pieces: impl IntoIterator<Item = &'d [u8]>,
    pace: Pace,
    limits: &Limits,
) -> Transcript {
    let (mut decoder, mut table) = (Decoder::default(), HeadTable::default());
    let mut requests = Vec::new();
    for piece in pieces {
        if let Err(error) = feed(&mut decoder, &mut table, piece, pace, limits, &mut requests) {
            return Transcript { requests, end: Err(error) };
        }
        // A head, a body, and one unfinished line of a trailer.
        let kept_max = 2 * limits.head_bytes_max as usize + limits.body_bytes_max as usize;
        assert!(decoder.buffered_bytes() <= kept_max, "keeps {} bytes", decoder.buffered_bytes());
        assert_eq!(decoder.phase() == Phase::Idle, decoder.buffered_bytes() == 0);
    }
    Transcript { requests, end: Ok(decoder.phase()) }
}

fn feed(
    decoder: &mut Decoder,
    table: &mut HeadTable,
    piece: &[u8],
    pace: Pace,
    limits: &Limits,
    requests: &mut Vec<Owned>,
) -> Result<(), HttpError> {
    let mut at = 0;
    loop {
        match decoder.decode(&piece[at..], table, limits)? {
            Step::NeedMore => return Ok(()),
            Step::Continue => at = piece.len(),
            Step::Request { request, consumed } => {
                at += consumed;
                requests.push(own(&request));
                check_encoded(&request, limits);
                if pace == Pace::Paused {
                    decoder.stash(&piece[at..], limits)?;
                    at = piece.len();
                }
            }
        }
    }
}

/// Encodes the request and decodes it again. The fields that say how long the body is may differ.
fn check_encoded(request: &Request<'_>, limits: &Limits) {
    let mut bytes = Vec::new();
    encode_request(&mut bytes, request);
    assert!(bytes.len() <= request.head.len() + request.body.len(), "{request:?} has grown");
    let (mut decoder, mut table) = (Decoder::default(), HeadTable::default());
    match decoder.decode(&bytes, &mut table, limits) {
        Ok(Step::Request { request: again, consumed }) => {
            assert_eq!(consumed, bytes.len());
            assert_eq!(unframed(own(&again)), unframed(own(request)));
        }
        other => panic!("{other:?} from {request:?}"),
    }
}

fn unframed(mut request: Owned) -> Owned {
    let is_framing = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"transfer-encoding") || name.eq_ignore_ascii_case(b"content-length")
    };
    request.fields.retain(|(name, _)| !is_framing(name));
    request
}

fn own(request: &Request<'_>) -> Owned {
    let slice = |(start, end): (u32, u32)| request.head[start as usize..end as usize].to_vec();
    Owned {
        method: request.method,
        target: request.target.to_owned(),
        version: request.version,
        keep_alive: request.keep_alive,
        fields: request.fields.iter().map(|field| (slice(field.name), slice(field.value))).collect(),
        body: request.body.to_vec(),
    }
}

/// Cuts `data` into pieces whose lengths the data itself decides, so that a corpus file is a plain request.
fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let mut seed =
        data.iter().fold(data.len() as u32, |seed, byte| (seed ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let (mut rest, mut pieces) = (data, Vec::new());
    while !rest.is_empty() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, behind) = rest.split_at(rest.len().min(1 + (seed >> 27) as usize));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}
