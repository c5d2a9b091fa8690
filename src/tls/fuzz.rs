//! The bodies of the fuzz targets `tls_handshake` and `tls_records`.

use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ExtractedSecrets, RootCertStore,
    crypto::{
        aws_lc_rs,
        cipher::{AeadKey, Iv},
    },
};

use super::{
    End, Failure, Handshake, RECORD_PLAIN_MAX, Record, Step, Terms, Version,
    direction::{Direction, HEADER_BYTES},
};
use crate::limits::HANDSHAKE_INPUT_BYTES_MAX;

/// Whatever a client sends that has never seen a key, in whatever pieces: there is no connection, what is said to it are whole
/// records, and no more is kept of it than may be.
///
/// The first byte says what the others are and how they arrive: bytes of a client; changes of a good hello, three bytes each;
/// or what comes behind one.
pub fn fuzz_handshake(terms: &Terms, data: &[u8]) {
    let [flags, rest @ ..] = data else { return };
    let input = match flags & 3 {
        0 => rest.to_vec(),
        1 => changed(hello(), rest),
        2 => [&hello(), rest].concat(),
        _ => {
            let (changes, behind) = rest.split_at(rest.len().min(3));
            [&changed(hello(), changes), behind].concat()
        }
    };
    let piece = [usize::MAX, 1, 13, 1000][usize::from(flags >> 2 & 3)];
    let (mut handshake, mut out, mut given) = (Handshake::new(&terms.own_config()), Vec::new(), 0);
    for bytes in input.chunks(piece) {
        given += bytes.len();
        if let Err(failure) = handshake.handle_bytes(bytes) {
            assert!(
                failure == Failure::TooMuch && given > HANDSHAKE_INPUT_BYTES_MAX,
                "{failure:?} of {given}"
            );
            return;
        }
        assert!(handshake.input_len() <= HANDSHAKE_INPUT_BYTES_MAX);
        if !handshake.has_work() {
            continue;
        }
        match handshake.advance(&mut out) {
            Step::NeedMore(next) => handshake = next,
            Step::Done(_) => panic!("nobody who knows the keys has spoken"),
            Step::Failed(failure) => {
                out.extend(failure.alert().into_iter().flatten());
                break;
            }
        }
    }
    assert_are_records(&out);
}

/// What a client begins with.
fn hello() -> Vec<u8> {
    let provider = aws_lc_rs::default_provider().into();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("there are suites").with_root_certificates(RootCertStore::empty());
    let name = "localhost".try_into().expect("a name");
    let client = ClientConnection::new(builder.with_no_client_auth().into(), name);
    let (mut client, mut out) = (client.expect("a client"), Vec::new());
    while client.wants_write() {
        client.write_tls(&mut out).expect("a vector takes everything");
    }
    out
}

/// The same with some bytes changed: where, twice, and how.
fn changed(mut bytes: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] ^= change[2];
    }
    bytes
}

fn assert_are_records(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let [kind, 3, _, high, low, rest @ ..] = bytes else { panic!("no record: {bytes:?}") };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        assert!((20..=23).contains(kind) && len <= RECORD_PLAIN_MAX + 2048 && rest.len() >= len, "{bytes:?}");
        bytes = &bytes[HEADER_BYTES + len..];
    }
}

/// What a server makes of some bytes.
#[derive(Debug, PartialEq)]
struct Heard {
    plain: Vec<u8>,
    ended: Option<End>,
    consumed: usize,
    owes_update: bool,
    /// What it says afterwards, which shows its keys.
    said: Vec<u8>,
}

/// What an established connection makes of bytes does not depend on how they arrive, and without its keys nobody says anything.
///
/// The first byte says which version and suite it has, and whether the others are bytes from the network or records to be
/// sealed with its keys: their kind, their length, what they hold.
pub fn fuzz_records(data: &[u8]) {
    let [flags, rest @ ..] = data else { return };
    let version = if flags & 1 == 0 { Version::Tls13 } else { Version::Tls12 };
    let ends = || ends(version, flags & 2 != 0);
    let is_sealed = flags & 4 != 0;
    let bytes = if is_sealed { sealed(&mut ends().1, rest) } else { rest.to_vec() };
    let heard = hear(ends().0, &bytes, bytes.len().max(1));
    for piece in [1, 7, 100] {
        assert_eq!(hear(ends().0, &bytes, piece), heard, "by {piece}");
    }
    assert!(heard.consumed <= bytes.len());
    if !is_sealed {
        assert!(heard.plain.is_empty(), "nobody with the keys has spoken");
        assert!(matches!(heard.ended, None | Some(End::Broken(_))), "{:?}", heard.ended);
    }
}

/// A server's end of a connection, and the keys with which its client seals.
fn ends(version: Version, is_aes: bool) -> (Record, Direction) {
    let keys = |seed: u8| {
        let (key, iv) = (AeadKey::from([seed; 32]), Iv::from([seed ^ 0x55; 12]));
        match is_aes {
            true => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
            false => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
        }
    };
    let secret: &[u8] = if version == Version::Tls13 { &[7; 32] } else { &[] };
    let secrets = ExtractedSecrets { tx: (0, keys(1)), rx: (0, keys(2)) };
    let record = Record::new(secrets, secret, secret, version).expect("the lengths are right");
    (record, Direction::new((0, keys(2)), secret, version).expect("the lengths are right"))
}

/// Records of a client: a byte for the kind and the padding, one for the length, then what it holds.
fn sealed(client: &mut Direction, mut plan: &[u8]) -> Vec<u8> {
    const KEY_UPDATE: &[u8] = &[24, 0, 0, 1];
    let mut out = Vec::new();
    while let [kind, len, rest @ ..] = plan {
        let (plain, behind) = rest.split_at(rest.len().min(usize::from(*len)));
        let (kind, padding) = ([23, 22, 21, 20, 24][usize::from(kind % 5)], usize::from(kind / 5));
        let (start, key) = (out.len(), client.expand());
        client.begin_record(&mut out);
        out.extend_from_slice(plain);
        let is_tls13 = client.version == Version::Tls13;
        if is_tls13 && padding > 0 {
            out.push(kind);
            out.resize(out.len() + padding - 1, 0);
        }
        client.end_record(&key, if is_tls13 && padding > 0 { 0 } else { kind }, &mut out, start);
        if is_tls13 && kind == 22 && plain.len() == 5 && plain.starts_with(KEY_UPDATE) && plain[4] < 2 {
            client.update();
        }
        plan = behind;
    }
    out
}

fn hear(mut record: Record, bytes: &[u8], piece: usize) -> Heard {
    let (mut plain, mut consumed, mut begun) = (Vec::new(), 0, Vec::new());
    let mut ended = None;
    for piece in bytes.chunks(piece) {
        begun.extend_from_slice(piece);
        let received = record.receive(&mut begun);
        plain.extend_from_slice(received.plain(&mut begun));
        consumed += received.consumed;
        begun.drain(..received.consumed);
        ended = received.ended;
        if ended.is_some() {
            break;
        }
    }
    let (owes_update, mut said) = (record.owes_update(), Vec::new());
    let mut sealer = record.sealer(&mut said);
    sealer.add(b"answer");
    sealer.end();
    Heard { plain, ended, consumed, owes_update, said }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::tls::tests::terms;

    static TERMS: LazyLock<Terms> = LazyLock::new(terms);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn handshakes_hold_their_properties_on_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            fuzz_handshake(&TERMS, &data);
        }

        #[test]
        fn handshakes_hold_their_properties_on_changed_hellos(
            flags in 1_u8..16, changes in proptest::collection::vec(any::<u8>(), 3..40),
        ) {
            fuzz_handshake(&TERMS, &[&[flags], &changes[..]].concat());
        }

        #[test]
        fn records_hold_their_properties_on_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            fuzz_records(&data);
        }

        #[test]
        fn records_hold_their_properties_on_what_a_client_may_seal(
            flags in 4_u8..8,
            records in proptest::collection::vec((0_u8..30, proptest::collection::vec(0_u8..26, 0..9)), 0..60),
        ) {
            let plan = records.iter().flat_map(|(kind, plain)| {
                [&[*kind, plain.len() as u8], &plain[..]].concat()
            });
            fuzz_records(&[flags].into_iter().chain(plan).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_sealed_is_heard_and_keys_that_change_are_followed() {
        for flags in 4..8 {
            let is_tls13 = flags & 1 == 0;
            let mut plan = vec![0, 2, b'h', b'i'];
            if is_tls13 {
                plan.extend([1, 5, 24, 0, 0, 1, 1]);
            }
            plan.extend([10, 1, b'!', 2, 2, 1, 0]);
            fuzz_records(&[&[flags], &plan[..]].concat());
            let version = if is_tls13 { Version::Tls13 } else { Version::Tls12 };
            let (record, mut client) = ends(version, flags & 2 != 0);
            let bytes = sealed(&mut client, &plan);
            let heard = hear(record, &bytes, 3);
            assert_eq!(
                (&heard.plain[..], heard.ended, heard.owes_update),
                (&b"hi!"[..], Some(End::Closed), is_tls13)
            );
        }
    }
}
