//! Answers in fewer bytes: who takes them so, which may be, and how (RFC 9110 §8.4, §12.5.3).
//!
//! What an answer says must not be readable from its length, so none is compressed that sets a cookie, or that an application
//! has marked with `Cache-Control: no-transform`; and none with a strong `ETag`, which promises these very bytes (§8.8.1).
//! Streams of events do not come here.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{Body, Request, Response};

/// In which form an answer goes to whoever asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// As it is: nothing is compressed here.
    #[default]
    Fixed,
    /// As it is, because the client takes nothing else.
    Identity,
    /// Compressed, where that may be and gains something.
    Gzip,
}

/// How answers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodingSettings {
    /// Whether they are.
    pub gzip: bool,
    /// The least body that is.
    pub bytes_min: u32,
}

/// Compresses bodies. Takes no memory before the first.
#[derive(Debug, Default)]
pub struct Gzip {
    stream: Option<Compress>,
}

/// How hard is tried, of zlib's levels.
const LEVEL: u32 = 2;
/// The widest window there is.
const WINDOW_BITS: u8 = 15;

impl Coding {
    /// What the client of a request takes, where answers may be compressed.
    pub fn of(request: &Request<'_>) -> Self {
        match accepts_gzip(request.headers("accept-encoding")) {
            true => Self::Gzip,
            false => Self::Identity,
        }
    }
}

/// Whether the values of `Accept-Encoding` let gzip be.
fn accepts_gzip<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut named, mut any) = (None, None);
    for item in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let is_wanted = !parts.any(|part| {
            let weight = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="));
            weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
        });
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            named = Some(named.unwrap_or(false) || is_wanted);
        } else if name == b"*" {
            any = Some(is_wanted);
        }
    }
    named.or(any).unwrap_or(false)
}

impl Response {
    /// Whether it may be compressed.
    pub fn may_be_coded(&self, bytes_min: usize, bytes_max: usize) -> bool {
        let fields = || self.fields.lines().filter_map(|line| line.split_once(':'));
        let field = |name: &str| {
            let found = fields().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim())
        };
        let is_exact = field("etag").is_some_and(|tag| !tag.starts_with("W/"));
        let stays =
            field("cache-control").is_some_and(|value| value.to_ascii_lowercase().contains("no-transform"));
        let has = |name| field(name).is_some();
        self.status == 200
            && (bytes_min..=bytes_max).contains(&self.body.as_bytes().len())
            && is_text(&self.content_type)
            && !(is_exact || stays || has("set-cookie") || has("content-encoding") || has("content-range"))
    }

    /// The same answer, which says that it depends on what the client takes.
    pub fn varying(&self, body: Option<Vec<u8>>) -> Self {
        let mut fields = self.fields.clone();
        fields.push_str("Vary: Accept-Encoding\r\n");
        let body = match body {
            Some(body) => {
                fields.push_str("Content-Encoding: gzip\r\n");
                Body::Owned(body)
            }
            None => self.body.clone(),
        };
        Self { status: self.status, content_type: self.content_type.clone(), fields, body, close: self.close }
    }
}

impl Gzip {
    /// A body in gzip, if that makes it smaller.
    pub fn encode(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let stream =
            self.stream.get_or_insert_with(|| Compress::new_gzip(Compression::new(LEVEL), WINDOW_BITS));
        stream.reset();
        let mut out = Vec::with_capacity(body.len());
        loop {
            let rest = &body[stream.total_in() as usize..];
            match stream.compress_vec(rest, &mut out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => return (out.len() < body.len()).then_some(out),
                // It would become longer than it is.
                Ok(_) if out.len() == out.capacity() => return None,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Whether a body of this type is text, which becomes smaller.
fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is_one = |types: &[&str]| types.iter().any(|one| essence.eq_ignore_ascii_case(one));
    let is_stream = is_one(&["text/event-stream"]);
    let begins =
        |start: &str| essence.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    !is_stream
        && (begins("text/")
            || is_one(&[
                "application/json",
                "application/javascript",
                "application/openmetrics-text",
                "application/xml",
                "image/svg+xml",
            ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let takes = |values: &[&str]| accepts_gzip(values.iter().map(|value| value.as_bytes()));
        for values in [
            &["gzip"][..],
            &["gzip, deflate, br, zstd"],
            &["deflate", "GZIP;q=0.5"],
            &["x-gzip ; q=1"],
            &["*"],
            &["br;q=1.0, *;q=0.1"],
            &["gzip;q=0.001"],
        ] {
            assert!(takes(values), "{values:?}");
        }
        for values in [
            &[][..],
            &[""],
            &["identity"],
            &["br"],
            &["gzip;q=0"],
            &["gzip; q=0.000"],
            &["*;q=0"],
            &["gzip;q=0, *"],
            &["gzipped"],
        ] {
            assert!(!takes(values), "{values:?}");
        }
    }

    #[test]
    fn what_may_be_compressed_is_long_text_that_keeps_no_secret_and_promises_no_bytes() {
        let long = || Response::text(200, "x".repeat(100));
        let may = |response: Response| response.may_be_coded(100, 200);
        assert!(may(long()));
        assert!(may(Response::json(200, vec![b' '; 200])));
        assert!(may(long().with_field("ETag", "W/\"1\"").with_field("Cache-Control", "no-cache")));
        for response in [
            Response::text(200, "x".repeat(99)),
            Response::text(200, "x".repeat(201)),
            Response::text(404, "x".repeat(100)),
            Response { content_type: "image/png".into(), ..long() },
            Response { content_type: "text/event-stream; charset=utf-8".into(), ..long() },
            Response { content_type: "".into(), ..long() },
            long().with_field("ETag", "\"1\""),
            long().with_field("Set-Cookie", "a=b"),
            long().with_field("Content-Encoding", "br"),
            long().with_field("Content-Range", "bytes 0-99/200"),
            long().with_field("Cache-Control", "private, No-Transform"),
        ] {
            let shown = format!("{response:?}");
            assert!(!may(response), "{shown}");
        }
    }

    #[test]
    fn a_body_in_gzip_is_the_body_and_one_that_gains_nothing_stays() {
        let (mut gzip, mut random) = (Gzip::default(), fastrand::Rng::with_seed(1));
        for length in [100, 5_000, 300_000] {
            let body = "abc, ".repeat(length / 5).into_bytes();
            let encoded = gzip.encode(&body).expect("it becomes smaller");
            let mut found = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&encoded[..]);
            std::io::Read::read_to_end(&mut decoder, &mut found).expect("it is gzip");
            assert!(found == body && encoded.len() < body.len() / 2);
        }
        let noise: Vec<u8> = (0..1000).map(|_| random.u8(..)).collect();
        assert_eq!(gzip.encode(&noise), None);
    }
}
