//! A handshake in progress: from a connection's first bytes until its secrets are taken out of rustls.
//!
//! ```text
//!   received ─► input ─(one record at a time)─► rustls ─► output, to be sent
//!                 │                               └─► secrets ─► Record
//!                 └── what came behind the client's last message: the first records of the established connection
//! ```
//!
//! Invariant: rustls sees a record only when it has done all it can with those before. It would follow a KeyUpdate that
//! comes behind the client's last message, and keep its own answer to itself; and it must never be shown less than it
//! has seen and not taken.

use std::{cell::RefCell, sync::Arc};

use rustls::{
    HandshakeKind, KeyLog, ProtocolVersion, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};
use zeroize::Zeroizing;

use super::{
    Alert, RECORD_PLAIN_MAX, Record, Version,
    direction::{Direction, HEADER_BYTES},
    record::{ALERT, seal_message},
};
use crate::limits::HANDSHAKE_INPUT_BYTES_MAX;

/// The most that a record of plaintext takes beside it, in any version.
const EXPANSION_MAX: usize = 2048;

/// One server's side of a handshake. Until its first step it costs what its client has sent, and some kilobytes from then on.
pub struct Handshake {
    config: Arc<ServerConfig>,
    /// rustls's part; none before the first step.
    connection: Option<Box<UnbufferedServerConnection>>,
    input: Vec<u8>,
    /// The first so many bytes of the input rustls has seen and not taken: a message may lie in several records.
    shown: usize,
    secrets: Secrets,
    has_answered: bool,
}

/// What a step has led to.
pub enum Step {
    /// More of the client's bytes are needed.
    NeedMore(Box<Handshake>),
    /// The handshake is over.
    Done(Box<Established>),
    /// There will be no connection. What there is to say is in the output.
    Failed(Failure),
}

/// A connection after its handshake.
pub struct Established {
    /// What is kept of it.
    pub record: Record,
    /// What has been received behind the handshake, sealed.
    pub rest: Vec<u8>,
    /// Whether a ticket spared most of the work.
    pub is_resumed: bool,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The client does not do what it has to, or nothing that both sides can do.
    Refused(rustls::Error),
    /// The client says that it has failed.
    PeerFailed(rustls::AlertDescription),
    /// The client sent more than any handshake needs.
    TooMuch,
    /// The client went.
    Closed,
    /// Something went wrong here.
    Internal,
}

/// How a handshake has ended that leads to nothing.
struct Ended {
    failure: Failure,
    /// Whether rustls has said why.
    is_told: bool,
}

/// The secrets that the keys after the handshake come from.
#[derive(Default)]
struct Secrets {
    client: Zeroizing<Vec<u8>>,
    server: Zeroizing<Vec<u8>>,
}

thread_local! {
    /// What the step that is being done has told of its secrets. rustls tells them to a [`KeyLog`] and to nobody else.
    static HEARD: RefCell<Secrets> = RefCell::default();
}

/// Hears the secrets of the handshake whose step is being done on this thread.
#[derive(Debug)]
pub(super) struct Ear;

impl KeyLog for Ear {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        HEARD.with_borrow_mut(|heard| match label {
            "CLIENT_TRAFFIC_SECRET_0" => heard.client = Zeroizing::new(secret.to_vec()),
            "SERVER_TRAFFIC_SECRET_0" => heard.server = Zeroizing::new(secret.to_vec()),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }
}

/// Whether a connection's first bytes are a request without TLS.
pub fn speaks_http(input: &[u8]) -> bool {
    input.first().is_some_and(u8::is_ascii_uppercase)
}

impl Handshake {
    /// A handshake of which no step has been done.
    pub fn new(config: &Arc<ServerConfig>) -> Box<Self> {
        let (config, secrets) = (Arc::clone(config), Secrets::default());
        Box::new(Self { config, connection: None, input: Vec::new(), shown: 0, secrets, has_answered: false })
    }

    /// Takes bytes of the client.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.input.len() + bytes.len() > HANDSHAKE_INPUT_BYTES_MAX {
            return Err(Failure::TooMuch);
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether a step would lead anywhere: a whole record has arrived, or what can be none.
    pub fn has_work(&self) -> bool {
        self.record_end(self.shown) > self.shown
    }

    /// Whether a step has been done.
    pub fn has_begun(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether the expensive step lies behind: the client's hello has been answered.
    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Bytes of the client that wait.
    pub fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Goes as far as the bytes that have arrived allow, and appends what is to be sent to `out`.
    pub fn advance(mut self: Box<Self>, out: &mut Vec<u8>) -> Step {
        if self.connection.is_none() {
            let Ok(connection) = UnbufferedServerConnection::new(Arc::clone(&self.config)) else {
                return Step::Failed(Failure::Internal);
            };
            self.connection = Some(Box::new(connection));
        }
        let before = out.len();
        HEARD.with_borrow_mut(|heard| *heard = Secrets::default());
        let outcome = self.pump(out);
        HEARD.with_borrow_mut(|heard| {
            let heard = std::mem::take(heard);
            if !heard.client.is_empty() {
                self.secrets.client = heard.client;
            }
            if !heard.server.is_empty() {
                self.secrets.server = heard.server;
            }
        });
        // A HelloRetryRequest is no answer: the hello behind it costs what the first would have (RFC 8446 §4.1.4).
        let version = self.connection.as_ref().and_then(|connection| connection.protocol_version());
        let is_tls13 = version == Some(ProtocolVersion::TLSv1_3);
        self.has_answered |= out.len() > before && (!is_tls13 || !self.secrets.server.is_empty());
        match outcome {
            Ok(false) => Step::NeedMore(self),
            Ok(true) => self.establish().map_or(Step::Failed(Failure::Internal), Step::Done),
            Err(Ended { failure, is_told }) => {
                if !is_told && let Failure::Refused(error) = &failure {
                    self.say_what_was_not(error, out);
                }
                Step::Failed(failure)
            }
        }
    }

    /// Tells whether the handshake is over.
    fn pump(&mut self, out: &mut Vec<u8>) -> Result<bool, Ended> {
        let mut shown = self.record_end(self.shown);
        loop {
            let Self { connection: Some(connection), input, .. } = self else {
                return Err(Ended { failure: Failure::Internal, is_told: false });
            };
            let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(&mut input[..shown]);
            let outcome = match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(out, |space| data.encode(space)).map(|()| None)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(None)
                }
                Ok(ConnectionState::BlockedHandshake) => Ok(Some(false)),
                Ok(ConnectionState::WriteTraffic(_)) => Ok(Some(true)),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Err(Failure::Closed),
                // No early data was offered, and no record behind the handshake was shown.
                Ok(_) => Err(Failure::Internal),
                Err(rustls::Error::AlertReceived(alert)) => Err(Failure::PeerFailed(alert)),
                Err(error) => Err(Failure::Refused(error)),
            };
            input.drain(..discard);
            shown -= discard;
            self.shown = shown;
            match outcome {
                Ok(None) => {}
                Ok(Some(true)) => return Ok(true),
                Ok(Some(false)) => {
                    let more = self.record_end(shown);
                    if more == shown {
                        return Ok(false);
                    }
                    shown = more;
                }
                Err(failure) => {
                    let start = out.len();
                    self.say_why(out);
                    let said = &mut out[start..];
                    mend(said);
                    return Err(Ended { failure, is_told: !said.is_empty() });
                }
            }
        }
    }

    /// What rustls has queued before an error, with the alert that explains it last. It must not be asked for more: it
    /// would go on reading.
    fn say_why(&mut self, out: &mut Vec<u8>) {
        let Self { connection: Some(connection), input, shown, .. } = self else { return };
        while connection.wants_write() {
            let UnbufferedStatus { state, .. } = connection.process_tls_records(&mut input[..*shown]);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            if encode(out, |space| data.encode(space)).is_err() {
                return;
            }
        }
    }

    /// Says why there will be no connection where rustls does not: it ends some without a word, whose records must not come in
    /// the order in which they do, or whose message is longer than one may be. What it has queued before has been sent, so its
    /// next record is the first under the keys that it sends with after its flight, if it has got so far.
    fn say_what_was_not(&self, error: &rustls::Error, out: &mut Vec<u8>) {
        let alert = match error {
            rustls::Error::InvalidMessage(_) => Alert::DecodeError.bytes(),
            _ => Alert::UnexpectedMessage.bytes(),
        };
        let Some(connection) = &self.connection else { return };
        let is_sealed_in_tls12 = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        match connection.negotiated_cipher_suite() {
            Some(suite) if !self.secrets.server.is_empty() => {
                let Some(mut keys) = Direction::first(suite.suite(), &self.secrets.server) else { return };
                let key = keys.expand();
                seal_message(&mut keys, &key, ALERT, &alert, out);
            }
            _ if is_sealed_in_tls12 => {}
            _ => out.extend_from_slice(&unprotected(alert)),
        }
    }

    /// Where the record that begins at `at` ends; `at` if it has not arrived whole. What can be no record is shown as it
    /// is, so that rustls says what is wrong with it.
    fn record_end(&self, at: usize) -> usize {
        match &self.input[at..] {
            [kind, ..] if !(20..=24).contains(kind) => self.input.len(),
            [_, _, _, high, low, body @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                if len > RECORD_PLAIN_MAX + EXPANSION_MAX {
                    self.input.len()
                } else if body.len() >= len {
                    at + HEADER_BYTES + len
                } else {
                    at
                }
            }
            _ => at,
        }
    }

    /// Takes the secrets out.
    fn establish(self) -> Option<Box<Established>> {
        let Self { connection, input, secrets, .. } = self;
        let connection = *connection?;
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => Version::Tls13,
            ProtocolVersion::TLSv1_2 => Version::Tls12,
            _ => return None,
        };
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let (extracted, _) = connection.dangerous_into_kernel_connection().ok()?;
        let record = Record::new(extracted, &secrets.client, &secrets.server, version)?;
        Some(Box::new(Established { record, rest: input, is_resumed }))
    }
}

impl Failure {
    /// What the client is told where rustls has not told it: a whole record, without protection.
    pub fn alert(&self) -> Option<[u8; HEADER_BYTES + 2]> {
        match self {
            Self::TooMuch => Some(unprotected(Alert::HandshakeFailure.bytes())),
            Self::Internal => Some(unprotected(Alert::InternalError.bytes())),
            Self::Refused(_) | Self::PeerFailed(_) | Self::Closed => None,
        }
    }
}

/// A whole record without protection.
fn unprotected([level, description]: [u8; 2]) -> [u8; HEADER_BYTES + 2] {
    [ALERT, 3, 3, 0, 2, level, description]
}

/// Where no certificate can be used with what a client can do, rustls denies it access. There is nothing that both can do, and
/// that has an alert of its own (RFC 8446 §4.2.3, §4.4.2.2).
fn mend(said: &mut [u8]) {
    const ACCESS_DENIED: u8 = 49;
    if let [ALERT, _, _, 0, 2, _, description @ ACCESS_DENIED] = said {
        *description = Alert::HandshakeFailure as u8;
    }
}

/// Lets rustls write as much as it wants to at the end of `out`.
fn encode(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Failure> {
    let start = out.len();
    let Err(EncodeError::InsufficientSize(wanted)) = write(&mut []) else { return Err(Failure::Internal) };
    out.resize(start + wanted.required_size, 0);
    match write(&mut out[start..]) {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(_) => {
            out.truncate(start);
            Err(Failure::Internal)
        }
    }
}
