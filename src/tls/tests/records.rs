//! Records of an established connection, against a peer that has the same keys.

use super::*;
use crate::limits::{MESSAGES_WITHOUT_DATA_MAX, RECORDS_PER_KEY_MAX};
use proptest::prelude::*;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// A server's end and a client's, for every suite.
fn every_pair() -> impl Iterator<Item = (Record, Record)> {
    every_suite().into_iter().map(|suite| {
        let (_, record) = shake_hands(client_of(vec![suite]), usize::MAX);
        let peer = record.mirrored();
        (record, peer)
    })
}

fn tls13() -> (Record, Record) {
    every_pair().find(|(record, _)| record.version() == Version::Tls13).expect("there is one")
}

fn tls12() -> (Record, Record) {
    every_pair().find(|(record, _)| record.version() == Version::Tls12).expect("there is one")
}

/// What a server makes of one record.
fn hear(record: &mut Record, mut bytes: Vec<u8>) -> (Vec<u8>, Option<End>) {
    let received = record.receive(&mut bytes);
    (received.plain(&mut bytes).to_vec(), received.ended)
}

fn broken(alert: Alert) -> (Vec<u8>, Option<End>) {
    (vec![], Some(End::Broken(alert)))
}

#[test]
fn a_stream_of_every_kind_of_record_is_the_same_however_it_is_split() {
    for (record, mut peer) in every_pair() {
        let is_tls13 = record.version() == Version::Tls13;
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for round in 0..8_usize {
            let text = vec![round as u8 + 1; [0, 1, 5, 100, 1000, 16_384, 2, 3][round]];
            let padding = if is_tls13 && text.len() < 5000 { round * 100 } else { 0 };
            bytes.extend(peer.seal_raw(DATA, &text, padding));
            expected.extend(text);
            if is_tls13 && round % 2 == 0 {
                for byte in [24, 0, 0, 1, 1] {
                    bytes.extend(peer.seal_raw(HANDSHAKE, &[byte], 0));
                }
                peer.directions().0.update();
            }
        }
        let pieces = (1..200).chain([bytes.len() / 2, 4096, bytes.len()]);
        for piece in pieces {
            let mut record = record.clone();
            assert_eq!(receive_in_pieces(&mut record, &bytes, piece), (expected.clone(), None), "by {piece}");
            assert_eq!(record.owes_update(), is_tls13);
        }
    }
}

#[test]
fn a_hundred_records_that_come_together_are_joined() {
    for (mut record, mut peer) in every_pair() {
        let bytes = (0..100).flat_map(|number| peer.seal_raw(DATA, &[number], 0)).collect();
        assert_eq!(hear(&mut record, bytes), ((0..100).collect(), None));
    }
}

#[test]
fn what_breaks_the_protocol_is_told_by_its_own_alert() {
    let (record, peer) = tls13();
    let rows: &[(u8, &[u8], Alert)] = &[
        (DATA, &[7; 16_385], Alert::RecordOverflow),
        (20, &[1], Alert::UnexpectedMessage),
        (24, &[1], Alert::UnexpectedMessage),
        (0, &[], Alert::UnexpectedMessage),
        (99, &[1], Alert::UnexpectedMessage),
        (ALERT, &[], Alert::UnexpectedMessage),
        (ALERT, &[2], Alert::DecodeError),
        (ALERT, &[1, 0, 0], Alert::DecodeError),
        (HANDSHAKE, &[], Alert::UnexpectedMessage),
        (HANDSHAKE, &[1, 0, 0, 1], Alert::UnexpectedMessage),
        (HANDSHAKE, &[24, 0, 0, 1, 2], Alert::IllegalParameter),
        (HANDSHAKE, &[24, 0, 0, 2], Alert::DecodeError),
        (HANDSHAKE, &[24, 0, 0, 1, 0, 0], Alert::UnexpectedMessage),
        (HANDSHAKE, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], Alert::UnexpectedMessage),
    ];
    for (kind, plain, alert) in rows {
        let (mut record, mut peer) = (record.clone(), peer.clone());
        let bytes = peer.seal_raw(*kind, plain, 0);
        assert_eq!(hear(&mut record, bytes), broken(*alert), "{kind} {:?}", &plain[..plain.len().min(12)]);
        assert!(record.has_ended());
    }
    for (head, alert) in [
        ([23, 2, 3, 0, 20], Alert::ProtocolVersion),
        ([19, 3, 3, 0, 20], Alert::UnexpectedMessage),
        ([25, 3, 3, 0, 20], Alert::UnexpectedMessage),
        ([23, 3, 3, 0, 0], Alert::BadRecordMac),
        ([22, 3, 3, 0, 0], Alert::UnexpectedMessage),
        ([23, 3, 3, 0x41, 1], Alert::RecordOverflow),
        ([22, 3, 3, 0, 1], Alert::UnexpectedMessage),
        ([23, 3, 3, 0, 16], Alert::BadRecordMac),
    ] {
        let mut bytes = head.to_vec();
        bytes.resize(5 + usize::from(head[4]), 0);
        assert_eq!(hear(&mut record.clone(), bytes), broken(alert), "{head:?}");
    }
    // The longest that may come is waited for.
    assert_eq!(hear(&mut record.clone(), vec![23, 3, 3, 0x41, 0]), (vec![], None));
    let (mut record, mut peer) = (record.clone(), peer.clone());
    let mut bytes = peer.seal_raw(HANDSHAKE, &[24, 0], 0);
    bytes.extend(peer.seal_raw(DATA, b"x", 0));
    assert_eq!(
        hear(&mut record, bytes),
        broken(Alert::UnexpectedMessage),
        "a message must not be interrupted"
    );
}

#[test]
fn tls12_takes_warnings_and_no_handshakes() {
    let (record, peer) = tls12();
    let rows: &[(u8, &[u8], Option<End>)] = &[
        (ALERT, &[1, 112], None),
        (ALERT, &[1, 90], None),
        (ALERT, &[1, 0], Some(End::Closed)),
        (ALERT, &[2, 40], Some(End::PeerFailed)),
        (HANDSHAKE, &[1, 0, 0, 0], Some(End::Broken(Alert::NoRenegotiation))),
        (HANDSHAKE, &[24, 0, 0, 1, 0], Some(End::Broken(Alert::NoRenegotiation))),
        (20, &[1], Some(End::Broken(Alert::UnexpectedMessage))),
    ];
    for (kind, plain, end) in rows {
        let (mut record, mut peer) = (record.clone(), peer.clone());
        assert_eq!(hear(&mut record, peer.seal_raw(*kind, plain, 0)), (vec![], *end), "{kind} {plain:?}");
    }
    let (record, peer) = tls13();
    for (alert, end) in [([1, 90], None), ([1, 112], Some(End::PeerFailed)), ([2, 0], Some(End::Closed))] {
        let (mut record, mut peer) = (record.clone(), peer.clone());
        assert_eq!(hear(&mut record, peer.seal_raw(ALERT, &alert, 0)), (vec![], end), "{alert:?}");
    }
}

#[test]
fn a_record_changed_anywhere_is_refused() {
    for (record, mut peer) in every_pair() {
        let bytes = peer.seal_raw(DATA, b"some text", 0);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            let mut record = record.clone();
            let heard = hear(&mut record, changed);
            // A length that has grown is waited for.
            let is_length = matches!(at, 3 | 4);
            assert!(heard.0.is_empty() && (is_length || matches!(heard.1, Some(End::Broken(_)))), "{at}");
            if at > 4 {
                assert_eq!(heard, broken(Alert::BadRecordMac), "byte {at}");
            }
        }
        let mut record = record.clone();
        assert_eq!(hear(&mut record, bytes.clone()), (b"some text".to_vec(), None));
        assert_eq!(hear(&mut record, bytes), broken(Alert::BadRecordMac), "once more");
    }
}

#[test]
fn messages_without_data_are_counted_and_data_begins_anew() {
    let max = usize::from(MESSAGES_WITHOUT_DATA_MAX);
    let update = |peer: &mut Record| {
        let bytes = peer.seal_raw(HANDSHAKE, &[24, 0, 0, 1, 1], 0);
        peer.directions().0.update();
        bytes
    };
    let (record, peer) = tls13();
    let (mut record, mut peer) = (record, peer);
    for _ in 0..3 {
        for _ in 0..max {
            assert_eq!(hear(&mut record, update(&mut peer)), (vec![], None));
        }
        assert_eq!(hear(&mut record, peer.seal_raw(DATA, b"x", 0)), (b"x".to_vec(), None));
    }
    for _ in 0..max {
        assert_eq!(hear(&mut record, peer.seal_raw(DATA, b"", 3)), (vec![], None), "an empty record");
    }
    assert_eq!(hear(&mut record, update(&mut peer)), broken(Alert::UnexpectedMessage));
}

#[test]
fn many_key_updates_owe_one_answer_under_the_old_keys() {
    let (mut record, mut peer) = tls13();
    for _ in 0..10 {
        let bytes = peer.seal_raw(HANDSHAKE, &[24, 0, 0, 1, 1], 0);
        peer.directions().0.update();
        assert_eq!(hear(&mut record, bytes), (vec![], None));
    }
    let mut bytes = sealed(&mut record, b"");
    let received = peer.receive(&mut bytes);
    assert_eq!((received.consumed, received.ended, peer.owes_update()), (27, None, false));
    assert_eq!(hear(&mut peer, sealed(&mut record, b"new keys")), (b"new keys".to_vec(), None));
}

#[test]
fn used_up_keys_change_in_tls13_and_end_tls12() {
    for (mut record, mut peer) in every_pair() {
        for (last, is_near) in [(RECORDS_PER_KEY_MAX / 2, false), (RECORDS_PER_KEY_MAX - 3, true)] {
            record.directions().0.skip_to(last);
            peer.directions().1.skip_to(last);
            assert_eq!(record.is_nearly_exhausted(), is_near && record.version() == Version::Tls12);
        }
        let text = vec![5; 10 * RECORD_PLAIN_MAX];
        let mut bytes = sealed(&mut record, &text);
        let (heard, ended) = hear(&mut peer, std::mem::take(&mut bytes));
        assert_eq!(ended, None);
        match record.version() {
            Version::Tls13 => {
                assert_eq!(heard, text);
                assert_eq!(hear(&mut peer, sealed(&mut record, b"on")), (b"on".to_vec(), None));
            }
            Version::Tls12 => {
                assert_eq!(heard.len(), 3 * RECORD_PLAIN_MAX, "not one more than may be");
                assert_eq!(sealed(&mut record, b"more"), b"");
                record.seal_farewell(&mut bytes);
                assert_eq!(bytes, b"");
            }
        }
    }
}

#[test]
fn the_last_word_is_said_once_and_tells_what_was_wrong() {
    for (broken, end) in [(false, End::Closed), (true, End::PeerFailed)] {
        let (mut record, mut peer) = tls13();
        let mut bytes = sealed(&mut record, b"text");
        if broken {
            hear(&mut record, vec![22, 3, 3, 0, 1, 0]);
        }
        record.seal_farewell(&mut bytes);
        let len = bytes.len();
        record.seal_farewell(&mut bytes);
        assert_eq!((bytes.len(), sealed(&mut record, b"more").len()), (len, 0));
        assert_eq!(hear(&mut peer, bytes), (b"text".to_vec(), Some(end)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_texts_arrive_as_they_were_however_they_are_gathered_and_split(
        suite in 0..6_usize,
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 1..20),
        piece in 1..20_000_usize,
    ) {
        thread_local! {
            static PAIRS: Vec<(Record, Record)> = every_pair().collect();
        }
        let (mut record, mut peer) = PAIRS.with(|pairs| pairs[suite % pairs.len()].clone());
        let mut bytes = Vec::new();
        let mut sealer = record.sealer(&mut bytes);
        texts.iter().for_each(|text| sealer.add(text));
        sealer.end();
        let joined = texts.concat();
        prop_assert!(bytes.len() <= joined.len() + 29 * (1 + joined.len() / RECORD_PLAIN_MAX));
        prop_assert_eq!(receive_in_pieces(&mut peer, &bytes, piece), (joined, None));
    }

    #[test]
    fn any_bytes_are_refused_or_waited_for(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        thread_local! {
            static RECORD: Record = tls13().0;
        }
        let mut record = RECORD.with(Record::clone);
        let received = record.receive(&mut bytes);
        prop_assert_eq!(received.start, received.end);
        prop_assert!(received.consumed <= bytes.len());
    }
}

#[test]
fn another_process_goes_on_with_what_was_exported_and_with_nothing_else() {
    for (mut record, mut peer) in every_pair() {
        let is_tls13 = record.version() == Version::Tls13;
        let said = peer.seal_raw(DATA, b"before", 0);
        assert_eq!(hear(&mut record, said).0, b"before");
        if is_tls13 {
            // Half of a message, and new keys that are owed.
            for byte in [24, 0, 0, 1, 1] {
                let piece = peer.seal_raw(HANDSHAKE, &[byte], 0);
                hear(&mut record, piece);
            }
            peer.directions().0.update();
            let begun = peer.seal_raw(HANDSHAKE, &[24, 0], 0);
            hear(&mut record, begun);
        }
        let mut bytes = Vec::with_capacity(EXPORT_BYTES);
        record.export(&mut bytes);
        assert_eq!(bytes.len(), EXPORT_BYTES);
        let mut after = Record::import(&bytes).expect("it was exported");
        assert_eq!((after.owes_update(), after.is_open()), (is_tls13, true));
        if is_tls13 {
            let rest = peer.seal_raw(HANDSHAKE, &[0, 1, 0], 0);
            assert_eq!(hear(&mut after, rest), (vec![], None));
            peer.directions().0.update();
        }
        let said = peer.seal_raw(DATA, b"after", 0);
        assert_eq!(hear(&mut after, said).0, b"after");
        let sealed = sealed(&mut after, b"told");
        assert_eq!(receive_in_pieces(&mut peer, &sealed, sealed.len()).0, b"told");
        for len in 0..bytes.len() {
            assert!(Record::import(&bytes[..len]).is_none(), "{len}");
        }
        // Each of the numbers, beyond what it may be.
        for at in [92, 93, 94, 196, 197, 198, EXPORT_BYTES - 2, EXPORT_BYTES - 1] {
            let mut other = bytes.clone();
            other[at] = 0xff;
            assert!(Record::import(&other).is_none(), "{at}");
        }
        record.seal_farewell(&mut Vec::new());
        assert!(!record.is_open());
        let mut ended = Vec::with_capacity(EXPORT_BYTES);
        record.export(&mut ended);
        assert!(Record::import(&ended).is_none());
    }
}
