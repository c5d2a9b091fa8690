//! Everything a client can get wrong in a request, with the status and the sentence it is answered.
//!
//! After any of these the connection closes: where the next request begins is no longer certain (RFC 9112 §6.3).
//! Errors the router finds (404, 405, 426 …) are not here.

use std::fmt;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpError {
    /// The request line is not `method SP target SP version`, or the target has none of the forms of RFC 9112 §3.2.
    RequestLine,
    /// A field line has no colon, an invalid name, or a control character (RFC 9110 §5.5).
    FieldLine,
    /// A carriage return without a line feed (RFC 9112 §2.2).
    BareCarriageReturn,
    /// A line feed without a carriage return; see `head.rs` for why it is refused.
    BareLineFeed,
    /// A field continued on a line that starts with white space (RFC 9112 §5.2).
    FoldedField,
    /// White space between a field's name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// Both `Transfer-Encoding` and `Content-Length` (RFC 9112 §6.1).
    TransferEncodingAndLength,
    /// A `Transfer-Encoding` that does not end in a single `chunked`, or comes with HTTP/1.0 (RFC 9112 §6.1).
    TransferEncoding,
    /// A `Content-Length` that is no decimal number (RFC 9110 §8.6).
    ContentLength,
    /// More than one `Content-Length`, agreeing or not (RFC 9112 §6.3).
    ContentLengthRepeated,
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
    HostMissing,
    /// More than one `Host` (RFC 9112 §3.2).
    HostRepeated,
    /// A `Host` that is no host and port (RFC 9112 §3.2).
    Host,
    /// A chunk's size line, its end or a trailer is malformed (RFC 9112 §7.1).
    Chunk,
    /// A method that carries a body came without any length.
    LengthRequired,
    /// The body is larger than `limits.body_bytes_max`.
    BodyTooLarge,
    /// More requests were sent ahead than are kept while one is being answered.
    BacklogTooLarge,
    /// The request line is longer than half of `limits.head_bytes_max`.
    RequestLineTooLong,
    /// An `Expect` other than `100-continue` (RFC 9110 §10.1.1).
    Expectation,
    /// Request line and fields, or the fields of a trailer, are larger than `limits.head_bytes_max`.
    HeadTooLarge,
    /// There are more fields than `limits.head_fields_max`.
    TooManyFields,
    /// A method this server does not know (RFC 9110 §9.1).
    MethodUnknown,
    /// A transfer coding this server does not know (RFC 9112 §6.1).
    TransferCodingUnknown,
    /// A version of HTTP that is not 1.0 or 1.1.
    VersionUnsupported,
}

impl HttpError {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        self.row().0
    }

    /// What a program can match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::RequestLine
            | Self::FieldLine
            | Self::BareCarriageReturn
            | Self::BareLineFeed
            | Self::FoldedField
            | Self::SpaceBeforeColon
            | Self::TransferEncodingAndLength
            | Self::TransferEncoding
            | Self::ContentLength
            | Self::ContentLengthRepeated
            | Self::HostMissing
            | Self::HostRepeated
            | Self::Host
            | Self::Chunk => "request_malformed",
            Self::LengthRequired => "length_required",
            Self::BodyTooLarge => "body_too_large",
            Self::BacklogTooLarge => "requests_ahead",
            Self::RequestLineTooLong => "request_line_too_long",
            Self::Expectation => "expectation_unknown",
            Self::HeadTooLarge | Self::TooManyFields => "head_too_large",
            Self::MethodUnknown => "method_unknown",
            Self::TransferCodingUnknown => "transfer_coding_unknown",
            Self::VersionUnsupported => "version_unsupported",
        }
    }

    /// What the client is told.
    pub fn sentence(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (u16, &'static str) {
        match self {
            Self::RequestLine => (400, "the request line is malformed"),
            Self::FieldLine => (400, "a header field is malformed"),
            Self::BareCarriageReturn => (400, "a carriage return stands without a line feed"),
            Self::BareLineFeed => (400, "a line ends in a line feed without a carriage return"),
            Self::FoldedField => (400, "a header field is continued on a second line"),
            Self::SpaceBeforeColon => (400, "white space stands before the colon of a header field"),
            Self::TransferEncodingAndLength => {
                (400, "the request has both a Transfer-Encoding and a Content-Length")
            }
            Self::TransferEncoding => (400, "the Transfer-Encoding cannot frame this request"),
            Self::ContentLength => (400, "the Content-Length is not a number"),
            Self::ContentLengthRepeated => (400, "the request has more than one Content-Length"),
            Self::HostMissing => (400, "an HTTP/1.1 request needs a Host field"),
            Self::HostRepeated => (400, "the request has more than one Host field"),
            Self::Host => (400, "the Host field is not a host"),
            Self::Chunk => (400, "a chunk of the body is malformed"),
            Self::LengthRequired => {
                (411, "a request with this method needs a Content-Length; an empty body has 0 (curl -d '')")
            }
            Self::BodyTooLarge => (413, "the body is larger than allowed (limits.body_bytes_max)"),
            Self::BacklogTooLarge => (413, "too much was sent ahead of an answer"),
            Self::RequestLineTooLong => {
                (414, "the request line is longer than allowed (half of limits.head_bytes_max)")
            }
            Self::Expectation => (417, "the only expectation known is 100-continue"),
            Self::HeadTooLarge => (431, "the header is larger than allowed (limits.head_bytes_max)"),
            Self::TooManyFields => {
                (431, "there are more header fields than allowed (limits.head_fields_max)")
            }
            Self::MethodUnknown => (501, "the method is unknown"),
            Self::TransferCodingUnknown => (501, "the transfer coding is unknown"),
            Self::VersionUnsupported => (505, "the HTTP version is not supported; use 1.1 or 1.0"),
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for HttpError {}
