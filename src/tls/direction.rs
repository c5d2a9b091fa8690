//! The keys of one direction, and the cryptography of one record. What a record holds is `record.rs`.
//!
//! Keys are kept as they are and expanded for the length of one call: an expanded key takes twice the memory of the rest,
//! and fetching it costs the cache what making it again costs the core.

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use rustls::{CipherSuite, ConnectionTrafficSecrets};
use zeroize::Zeroize;

use super::{Alert, RECORD_PLAIN_MAX, Version};
use crate::limits::RECORDS_PER_KEY_MAX;

/// A record's type, version and length.
pub(super) const HEADER_BYTES: usize = 5;
/// What proves a record.
pub(super) const TAG_BYTES: usize = 16;
/// The part of a TLS 1.2 GCM record's nonce that is sent with it (RFC 5288 §3).
const EXPLICIT_BYTES: usize = 8;
/// What a record may add to its plaintext: 256 bytes in TLS 1.3 (RFC 8446 §5.2), 2,048 in 1.2 (RFC 5246 §6.2.3).
const EXPANSION_MAX: [usize; 2] = [2048, 256];
const APPLICATION_DATA: u8 = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// The keys of one direction, and how many records they have protected. Zeroed when dropped.
#[repr(C)]
#[derive(Clone)]
pub(super) struct Direction {
    key: [u8; 32],
    /// What the next generation of keys is derived from; TLS 1.2 has none.
    secret: [u8; 48],
    iv: [u8; 12],
    secret_len: u8,
    suite: Suite,
    pub(super) version: Version,
    /// Messages without data in a row that the peer has sent.
    pub(super) idle_messages: u8,
    sequence: u64,
}

const _: () = assert!(size_of::<Direction>() == 104);

/// A record that was opened: its type, and where its plaintext lies in it.
pub(super) struct Opened {
    pub(super) kind: u8,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Direction {
    /// Bytes of what is exported: key, secret, iv, four small numbers and how many records there have been.
    pub(super) const EXPORT_BYTES: usize = 32 + 48 + 12 + 4 + 8;

    /// `secret` is the traffic secret that the keys come from. `None` if the suite or a length is one that does not exist.
    pub(super) fn new(
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        secret: &[u8],
        version: Version,
    ) -> Option<Self> {
        let (suite, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key.as_ref(), iv.as_ref()),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key.as_ref(), iv.as_ref()),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Suite::ChaCha20Poly1305, key.as_ref(), iv.as_ref())
            }
            _ => return None,
        };
        let has_secret = match version {
            Version::Tls12 => secret.is_empty(),
            Version::Tls13 => matches!(secret.len(), 32 | 48),
        };
        if !has_secret || key.len() != suite.algorithm().key_len() {
            return None;
        }
        let mut direction = Self {
            key: [0; 32],
            secret: [0; 48],
            iv: iv.try_into().ok()?,
            secret_len: secret.len() as u8,
            suite,
            version,
            idle_messages: 0,
            sequence,
        };
        direction.key[..key.len()].copy_from_slice(key);
        direction.secret[..secret.len()].copy_from_slice(secret);
        Some(direction)
    }

    /// The first keys of a traffic secret of TLS 1.3, which have protected nothing. `None` if there is no such suite, or secret.
    pub(super) fn first(suite: CipherSuite, secret: &[u8]) -> Option<Self> {
        let (suite, secret_len) = match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => (Suite::Aes128Gcm, 32),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => (Suite::Aes256Gcm, 48),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => (Suite::ChaCha20Poly1305, 32),
            _ => return None,
        };
        if secret.len() != secret_len {
            return None;
        }
        let mut direction = Self {
            key: [0; 32],
            secret: [0; 48],
            iv: [0; 12],
            secret_len: secret_len as u8,
            suite,
            version: Version::Tls13,
            idle_messages: 0,
            sequence: 0,
        };
        direction.secret[..secret_len].copy_from_slice(secret);
        direction.derive();
        Some(direction)
    }

    /// Nothing yet: what [`Self::import`] fills in.
    pub(super) fn empty() -> Self {
        Self {
            key: [0; 32],
            secret: [0; 48],
            iv: [0; 12],
            secret_len: 0,
            suite: Suite::Aes128Gcm,
            version: Version::Tls12,
            idle_messages: 0,
            sequence: 0,
        }
    }

    /// Appends everything there is, [`Self::EXPORT_BYTES`] in all.
    pub(super) fn export(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.secret);
        out.extend_from_slice(&self.iv);
        out.extend_from_slice(&[self.secret_len, self.suite as u8, self.version as u8, self.idle_messages]);
        out.extend_from_slice(&self.sequence.to_le_bytes());
    }

    /// Takes in, in its place, what was exported; whether it is such.
    pub(super) fn import(&mut self, bytes: &[u8; Self::EXPORT_BYTES]) -> bool {
        let (key, rest) = bytes.split_first_chunk().expect("the lengths are constants");
        let (secret, rest) = rest.split_first_chunk().expect("the lengths are constants");
        let (iv, rest) = rest.split_first_chunk().expect("the lengths are constants");
        let Some((&[secret_len, suite, version, idle_messages], sequence)) = rest.split_first_chunk() else {
            return false;
        };
        let suites = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
        let Some(suite) = suites.into_iter().find(|one| *one as u8 == suite) else { return false };
        let version = match (version, secret_len) {
            (0, 0) => Version::Tls12,
            (1, 32 | 48) => Version::Tls13,
            _ => return false,
        };
        (self.key, self.secret, self.iv) = (*key, *secret, *iv);
        (self.secret_len, self.suite, self.version, self.idle_messages) =
            (secret_len, suite, version, idle_messages);
        self.sequence = u64::from_le_bytes(sequence.try_into().expect("the lengths are constants"));
        self.sequence <= RECORDS_PER_KEY_MAX
    }

    /// The key, ready to be used.
    #[inline]
    pub(super) fn expand(&self) -> LessSafeKey {
        let algorithm = self.suite.algorithm();
        let key =
            UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]).expect("the length was checked");
        LessSafeKey::new(key)
    }

    /// Whether a key was made of these bytes, which are this direction's. Nobody who could measure how long it takes to compare
    /// them can choose any.
    #[inline]
    pub(super) fn has_key(&self, key: &LessSafeKey, made_of: &[u8; 32]) -> bool {
        self.key == *made_of && *key.algorithm() == *self.suite.algorithm()
    }

    /// What its key is made of.
    pub(super) fn key_bytes(&self) -> [u8; 32] {
        self.key
    }

    /// Whether these keys have protected as many records as they may (RFC 8446 §5.5).
    #[inline]
    pub(super) fn is_exhausted(&self) -> bool {
        self.sequence >= RECORDS_PER_KEY_MAX
    }

    /// Whether they may protect one more.
    #[inline]
    pub(super) fn is_last(&self) -> bool {
        self.sequence >= RECORDS_PER_KEY_MAX - 1
    }

    /// Whether they have protected nearly as many.
    pub(super) fn is_nearly_exhausted(&self) -> bool {
        self.sequence >= RECORDS_PER_KEY_MAX - RECORDS_PER_KEY_MAX / 64
    }

    /// The next generation of keys (RFC 8446 §7.2).
    pub(super) fn update(&mut self) {
        debug_assert_eq!(self.version, Version::Tls13);
        let len = usize::from(self.secret_len);
        let mut next = [0; 48];
        expand_label(self.hash(), &self.secret[..len], b"traffic upd", &mut next[..len]);
        self.secret.copy_from_slice(&next);
        next.zeroize();
        self.derive();
        self.sequence = 0;
    }

    /// Makes the keys of the secret (RFC 8446 §7.3).
    fn derive(&mut self) {
        let (hash, len) = (self.hash(), usize::from(self.secret_len));
        let key_len = self.suite.algorithm().key_len();
        expand_label(hash, &self.secret[..len], b"key", &mut self.key[..key_len]);
        expand_label(hash, &self.secret[..len], b"iv", &mut self.iv);
    }

    fn hash(&self) -> hmac::Algorithm {
        if self.secret_len == 32 { hmac::HMAC_SHA256 } else { hmac::HMAC_SHA384 }
    }

    /// How long the record at the start of `input` is, with its header; `None` while that has not arrived.
    #[inline]
    pub(super) fn record_len(&self, input: &[u8]) -> Result<Option<usize>, Alert> {
        let Some(&[kind, major, _, high, low]) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if major != 3 {
            return Err(Alert::ProtocolVersion);
        }
        if !(20..=24).contains(&kind) {
            return Err(Alert::UnexpectedMessage);
        }
        if len > RECORD_PLAIN_MAX + EXPANSION_MAX[self.version as usize] {
            return Err(Alert::RecordOverflow);
        }
        Ok(Some(HEADER_BYTES + len))
    }

    /// Opens a whole record in place.
    #[inline]
    pub(super) fn open(&mut self, key: &LessSafeKey, record: &mut [u8]) -> Result<Opened, Alert> {
        let opened = match self.version {
            Version::Tls13 => self.open_tls13(key, record),
            Version::Tls12 => self.open_tls12(key, record),
        }?;
        self.sequence += 1;
        Ok(opened)
    }

    fn open_tls13(&self, key: &LessSafeKey, record: &mut [u8]) -> Result<Opened, Alert> {
        let (header, body) = record.split_first_chunk_mut::<HEADER_BYTES>().ok_or(Alert::DecodeError)?;
        // Once keys are in use only protected records may come (RFC 8446 §5).
        if header[0] != APPLICATION_DATA {
            return Err(Alert::UnexpectedMessage);
        }
        if body.len() < 1 + TAG_BYTES {
            return Err(Alert::BadRecordMac);
        }
        let nonce = Nonce::assume_unique_for_key(self.nonce());
        let plain = key.open_in_place(nonce, Aad::from(*header), body).map_err(|_| Alert::BadRecordMac)?;
        if plain.len() > RECORD_PLAIN_MAX + 1 {
            return Err(Alert::RecordOverflow);
        }
        // The type is the last byte that is not padding.
        let last = plain.iter().rposition(|byte| *byte != 0).ok_or(Alert::UnexpectedMessage)?;
        Ok(Opened { kind: plain[last], start: HEADER_BYTES, end: HEADER_BYTES + last })
    }

    fn open_tls12(&self, key: &LessSafeKey, record: &mut [u8]) -> Result<Opened, Alert> {
        let explicit_len = self.explicit_len();
        let (header, body) = record.split_first_chunk_mut::<HEADER_BYTES>().ok_or(Alert::DecodeError)?;
        let Some(plain_len) = body.len().checked_sub(explicit_len + TAG_BYTES) else {
            return Err(Alert::BadRecordMac);
        };
        if plain_len > RECORD_PLAIN_MAX {
            return Err(Alert::RecordOverflow);
        }
        let mut nonce = self.nonce();
        if explicit_len > 0 {
            // The peer chooses this part of its nonces as it likes.
            nonce = self.iv;
            nonce[12 - EXPLICIT_BYTES..].copy_from_slice(&body[..EXPLICIT_BYTES]);
        }
        let aad = Aad::from(self.aad_tls12([header[0], header[1], header[2]], plain_len));
        key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut body[explicit_len..])
            .map_err(|_| Alert::BadRecordMac)?;
        let start = HEADER_BYTES + explicit_len;
        Ok(Opened { kind: header[0], start, end: start + plain_len })
    }

    /// Begins a record at the end of `out`, behind which its plaintext is to be put.
    #[inline]
    pub(super) fn begin_record(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; HEADER_BYTES]);
        if self.explicit_len() > 0 {
            out.extend_from_slice(&self.nonce()[12 - EXPLICIT_BYTES..]);
        }
    }

    /// Where the plaintext of a record that begins at `start` begins.
    #[inline]
    pub(super) fn plain_start(&self, start: usize) -> usize {
        start + HEADER_BYTES + self.explicit_len()
    }

    /// Protects the record that begins at `start` and ends with `out`.
    #[inline]
    pub(super) fn end_record(&mut self, key: &LessSafeKey, kind: u8, out: &mut Vec<u8>, start: usize) {
        debug_assert!(!self.is_exhausted());
        let plain_start = self.plain_start(start);
        let plain_len = out.len() - plain_start;
        let nonce = Nonce::assume_unique_for_key(self.nonce());
        let tag = match self.version {
            Version::Tls13 => {
                out.push(kind);
                let header = header(APPLICATION_DATA, plain_len + 1 + TAG_BYTES);
                out[start..plain_start].copy_from_slice(&header);
                key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[plain_start..])
            }
            Version::Tls12 => {
                let header = header(kind, self.explicit_len() + plain_len + TAG_BYTES);
                out[start..start + HEADER_BYTES].copy_from_slice(&header);
                let aad = Aad::from(self.aad_tls12([kind, 3, 3], plain_len));
                key.seal_in_place_separate_tag(nonce, aad, &mut out[plain_start..])
            }
        };
        out.extend_from_slice(tag.expect("a record is far shorter than a cipher's limit").as_ref());
        self.sequence += 1;
    }

    /// Of TLS 1.2 with GCM the second half goes with the record: a number that never comes twice.
    #[inline]
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }

    fn aad_tls12(&self, [kind, major, minor]: [u8; 3], plain_len: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8..11].copy_from_slice(&[kind, major, minor]);
        aad[11..].copy_from_slice(&(plain_len as u16).to_be_bytes());
        aad
    }

    #[inline]
    fn explicit_len(&self) -> usize {
        match (self.version, self.suite) {
            (Version::Tls12, Suite::Aes128Gcm | Suite::Aes256Gcm) => EXPLICIT_BYTES,
            (Version::Tls12, Suite::ChaCha20Poly1305) | (Version::Tls13, _) => 0,
        }
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.key.zeroize();
        self.secret.zeroize();
        self.iv.zeroize();
    }
}

impl Suite {
    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }
}

fn header(kind: u8, len: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = (len as u16).to_be_bytes();
    [kind, 3, 3, high, low]
}

/// HKDF-Expand-Label with an empty context, for outputs no longer than the hash (RFC 8446 §7.1).
fn expand_label(hash: hmac::Algorithm, secret: &[u8], label: &[u8], out: &mut [u8]) {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hash, secret));
    context.update(&(out.len() as u16).to_be_bytes());
    context.update(&[6 + label.len() as u8]);
    context.update(b"tls13 ");
    context.update(label);
    context.update(&[0, 1]);
    out.copy_from_slice(&context.sign().as_ref()[..out.len()]);
}
