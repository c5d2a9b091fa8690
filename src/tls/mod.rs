//! TLS 1.3 and 1.2 for servers, without a socket: rustls shakes hands, and what remains of it is a [`Record`].
//!
//! ```text
//!   first bytes ─► Handshake (some kB, rustls) ─► Record (216 B: keys, ivs, counters) ─► closed
//! ```
//!
//! A session of rustls keeps kilobytes for as long as it lives. An idle connection needs none of them: its keys, and
//! how many records they have protected, are all that opens and seals the next one. So the secrets are taken out of
//! rustls as soon as it has finished, and rustls is dropped.
//!
//! Not here: sockets, clocks, queues, and what the bytes mean. There is no 0-RTT, no renegotiation and no certificate of
//! a client.

mod alert;
mod certificate;
mod direction;
mod fuzz;
mod handshake;
mod ready;
mod record;
mod store;
mod terms;
mod tickets;

pub use alert::Alert;
pub use certificate::{CertificateError, CertificateFault, CertificateFiles};
pub use fuzz::{fuzz_handshake, fuzz_records};
pub use handshake::{Established, Failure, Handshake, Step, speaks_http};
pub use ready::{KeyPlace, ReadyKeys, Way};
pub use record::{EXPORT_BYTES, End, Received, Record, Sealer};
pub use terms::{MinVersion, Terms, TermsError, TermsSettings, Warning};
pub use tickets::{TicketError, TicketKeys};

/// Bytes of plaintext in one record (RFC 8446 §5.1).
pub const RECORD_PLAIN_MAX: usize = 16 * 1024;

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// RFC 5246, with AEAD suites alone.
    Tls12,
    /// RFC 8446.
    Tls13,
}

#[cfg(test)]
pub(crate) mod tests;
