//! Session tickets: what a server gives a client to keep, so that its next handshake is short (RFC 8446 §4.6.1).
//!
//! ```text
//!   ticket: [ name of its key, 16 ][ nonce, 12 ][ sealed state ][ tag, 16 ]
//! ```
//!
//! The keys are the same on all shards, do not change, and are replaced as a whole: no shard locks anything. Who replaces
//! them keeps the one before, so that a ticket is good for at least the time between two replacements.

use std::{fmt, fs, io, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::limits::{TICKET_KEYS_MAX, TICKET_ROTATION_S};

const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const KEY_BYTES: usize = NAME_BYTES + SECRET_BYTES;
const TAG_BYTES: usize = 16;

/// The keys of tickets: the first seals, all of them open.
#[derive(Clone)]
pub struct TicketKeys(Vec<Zeroizing<[u8; KEY_BYTES]>>);

/// A file holds no ticket keys.
#[derive(Debug)]
pub enum TicketError {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It has this many bytes, which is no number of keys that can be.
    Length(usize),
}

impl TicketKeys {
    /// One key that nobody knows.
    pub fn random() -> Self {
        Self(vec![draw()])
    }

    /// A new key seals from now on; the one before still opens.
    pub fn rotate(&mut self) {
        self.0.insert(0, draw());
        self.0.truncate(2);
    }

    /// Reads keys from a file.
    pub fn read(path: &Path) -> Result<Self, TicketError> {
        let bytes = Zeroizing::new(fs::read(path).map_err(TicketError::Unreadable)?);
        let (keys, rest) = bytes.as_chunks::<KEY_BYTES>();
        if keys.is_empty() || keys.len() > TICKET_KEYS_MAX || !rest.is_empty() {
            return Err(TicketError::Length(bytes.len()));
        }
        Ok(Self(keys.iter().map(|key| Zeroizing::new(*key)).collect()))
    }

    /// What rustls asks for tickets.
    pub(super) fn ticketer(&self) -> Ticketer {
        let key = |bytes: &Zeroizing<[u8; KEY_BYTES]>| {
            let (name, secret) =
                bytes.split_first_chunk::<NAME_BYTES>().expect("a key is longer than its name");
            let key = UnboundKey::new(&AES_256_GCM, secret).expect("a key has the length of its cipher");
            Key { name: *name, key: LessSafeKey::new(key) }
        };
        Ticketer { keys: self.0.iter().map(key).collect() }
    }
}

fn draw() -> Zeroizing<[u8; KEY_BYTES]> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut *key).expect("the system gives random bytes");
    key
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeys({})", self.0.len())
    }
}

/// Seals and opens tickets.
pub(super) struct Ticketer {
    keys: Vec<Key>,
}

struct Key {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticketer({})", self.keys.len())
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_ROTATION_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let Key { name, key } = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + plain.len() + TAG_BYTES);
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut ticket[NAME_BYTES + NONCE_LEN..];
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(name), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let Key { key, .. } = self.keys.iter().find(|key| key.name == *name)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = key.open_in_place(nonce, Aad::from(name), &mut plain).ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::Length(len) => write!(
                f,
                "has {len} bytes; ticket keys are {KEY_BYTES} bytes each, at most {TICKET_KEYS_MAX} of them, the first of \
                 which seals: `openssl rand {KEY_BYTES}` makes one"
            ),
        }
    }
}

impl std::error::Error for TicketError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_with_its_key_wherever_that_is_and_until_it_has_been_replaced_twice() {
        let mut keys = TicketKeys::random();
        let ticket = keys.ticketer().encrypt(b"state").expect("sealed");
        let open = |keys: &TicketKeys, ticket: &[u8]| keys.ticketer().decrypt(ticket);
        assert_eq!(open(&keys.clone(), &ticket).as_deref(), Some(&b"state"[..]));
        keys.rotate();
        assert_eq!(open(&keys, &ticket).as_deref(), Some(&b"state"[..]));
        assert_ne!(
            keys.ticketer().encrypt(b"state").expect("sealed")[..16],
            ticket[..16],
            "the new key seals"
        );
        keys.rotate();
        assert_eq!(open(&keys, &ticket), None);
        assert_eq!(open(&TicketKeys::random(), &ticket), None);
    }

    #[test]
    fn a_ticket_that_was_changed_or_cut_anywhere_opens_to_nothing() {
        let ticketer = TicketKeys::random().ticketer();
        let ticket = ticketer.encrypt(b"state").expect("sealed");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.decrypt(&changed), None, "byte {at}");
            assert_eq!(ticketer.decrypt(&ticket[..at]), None, "the first {at} bytes");
        }
    }

    #[test]
    fn a_key_file_holds_whole_keys_and_not_too_many() {
        let path = std::env::temp_dir().join(format!("roadstead-tickets-{}", std::process::id()));
        for (len, is_good) in [(0, false), (47, false), (48, true), (49, false), (96, true), (48 * 9, false)]
        {
            fs::write(&path, vec![7; len]).expect("written");
            assert_eq!(TicketKeys::read(&path).is_ok(), is_good, "{len} bytes");
        }
        fs::remove_file(&path).expect("removed");
        assert!(matches!(TicketKeys::read(&path), Err(TicketError::Unreadable(_))));
        assert!(!format!("{:?}", TicketKeys::random()).contains('['), "keys are not shown");
    }
}
