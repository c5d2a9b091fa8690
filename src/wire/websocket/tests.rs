//! Tests of the decoder and the encoder: tables of frames, each fed whole, at every split point and byte by byte.

use proptest::prelude::*;

use super::{
    fuzz::{Owned, Transcript, encode, transcribe},
    *,
};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn settings(role: Role) -> Settings {
    Settings { role, message_bytes_max: 70_000, fragments_max: 3, compression: false }
}

/// A client's frame, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame_masked(&mut out, Opcode::Continuation, false, payload, MASK);
    out[0] = first;
    out
}

/// Feeds `input` to a server in every way there is and returns what all of them agree on.
fn decode(input: &[u8]) -> Transcript {
    decode_with(input, &settings(Role::Server))
}

fn decode_with(input: &[u8], settings: &Settings) -> Transcript {
    let whole = transcribe([input], settings);
    assert_eq!(whole, transcribe(input.chunks(1), settings), "byte by byte");
    // Of a long input the splits near both ends are the interesting ones.
    let splits = (1..input.len()).filter(|at| *at < 300 || input.len() - at < 300);
    for at in splits {
        let (one, two) = input.split_at(at);
        assert_eq!(whole, transcribe([one, two], settings), "split at {at}");
    }
    whole
}

#[track_caller]
fn check(frames: &[(u8, &[u8])], steps: &[Owned], end: Result<bool, WsError>) {
    let input: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
    assert_eq!(decode(&input), Transcript { steps: steps.to_vec(), end });
}

fn text(text: &str) -> Owned {
    Owned::Text(text.to_owned())
}

#[test]
fn messages_come_in_one_frame_or_several() {
    check(&[], &[], Ok(true));
    check(&[(0x81, b"hello")], &[text("hello")], Ok(true));
    check(&[(0x81, b"")], &[text("")], Ok(true));
    check(&[(0x82, b"\xff\0")], &[Owned::Binary(b"\xff\0".to_vec())], Ok(true));
    check(&[(0x81, b"a"), (0x81, b"b")], &[text("a"), text("b")], Ok(true));
    check(&[(0x01, b"a"), (0x00, b""), (0x80, b"b"), (0x81, b"c")], &[text("ab"), text("c")], Ok(true));
    check(&[(0x01, b""), (0x80, b"")], &[text("")], Ok(true));
    check(&[(0x02, b"\xff"), (0x80, b"\xff")], &[Owned::Binary(b"\xff\xff".to_vec())], Ok(true));
    check(&[(0x01, b"a")], &[], Ok(false));
}

#[test]
fn what_is_kept_of_a_frame_can_be_given_to_another_decoder() {
    let large = vec![b'x'; 300];
    for frames in [
        &[(0x81, &b"h\xc3\xa9llo"[..]), (0x82, b"\xff")][..],
        &[(0x01, b"a"), (0x00, b""), (0x89, b"ping"), (0x80, b"bc"), (0x81, b"d")],
        &[(0x02, b""), (0x80, b"\xff"), (0x88, b"\x03\xe8ok")],
        &[(0x82, &large), (0x01, &large), (0x80, &large)],
    ] {
        let input: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
        let settings = settings(Role::Server);
        let whole = steps(&mut Decoder::default(), &input, &settings);
        for at in 0..=input.len() {
            let mut first = Decoder::default();
            let mut all = steps(&mut first, &input[..at], &settings);
            let kept = first.take_unread();
            assert!(first.is_idle());
            all.extend(steps(&mut Decoder::default(), &[&kept, &input[at..]].concat(), &settings));
            assert_eq!(all, whole, "cut at {at}");
        }
    }
}

fn steps(decoder: &mut Decoder, input: &[u8], settings: &Settings) -> Vec<String> {
    let (mut input, mut at, mut steps) = (input.to_vec(), 0, Vec::new());
    loop {
        let step = decoder.decode(&mut input[at..], settings).expect("good frames");
        steps.push(match step {
            Step::NeedMore => return steps,
            Step::Message { is_text, data, .. } => format!("{is_text} {data:?}"),
            Step::Ping { data, .. } | Step::Pong { data, .. } => format!("{data:?}"),
            Step::Close { code, reason, .. } => format!("{code:?} {reason}"),
        });
        at += match step {
            Step::Message { consumed, .. } | Step::Ping { consumed, .. } => consumed,
            Step::Pong { consumed, .. } | Step::Close { consumed, .. } => consumed,
            Step::NeedMore => 0,
        };
    }
}

#[test]
fn control_frames_may_stand_between_fragments() {
    check(
        &[(0x01, b"a"), (0x89, b"p"), (0x00, b"b"), (0x8a, b""), (0x80, b"c"), (0x88, b"")],
        &[Owned::Ping(b"p".to_vec()), Owned::Pong(vec![]), text("abc"), Owned::Close(None, String::new())],
        Ok(true),
    );
    check(
        &[(0x01, b"a"), (0x88, b"\x03\xe8ok"), (0x80, b"b")],
        &[Owned::Close(Some(1000), "ok".into())],
        Ok(true),
    );
}

#[test]
fn lengths_are_written_in_the_fewest_bytes() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = vec![b'x'; length];
        check(&[(0x82, &payload)], &[Owned::Binary(payload.clone())], Ok(true));
    }
    for (length, error) in [
        (&b"\xfe\x00\x7d"[..], WsError::LengthNotMinimal),
        (b"\xff\0\0\0\0\0\0\xff\xff", WsError::LengthNotMinimal),
        (b"\xff\x80\0\0\0\0\0\0\0", WsError::LengthOutOfRange),
        (b"\xff\x7f\xff\xff\xff\xff\xff\xff\xff", WsError::MessageTooBig),
    ] {
        let input = [b"\x82", length, b"\0\0\0\0"].concat();
        assert_eq!(decode(&input).end, Err(error), "{length:x?}");
    }
}

#[test]
fn a_header_of_a_frame_tells_its_length() {
    for (length, header) in [
        (0, &b"\x81\0"[..]),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\0\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\0\0\0\0\0\x01\0\0"),
    ] {
        let (bytes, header_bytes) = frame_header(length, Opcode::Text, true);
        assert_eq!(&bytes[..header_bytes], header);
    }
    assert_eq!(frame_header(0, Opcode::Binary, false).0[0], 0x02);
}

#[test]
fn reserved_bits_and_opcodes_close_1002() {
    for bit in [0x40, 0x20, 0x10] {
        check(&[(0x81 | bit, b"a")], &[], Err(WsError::ReservedBit));
        check(&[(0x89 | bit, b"a")], &[], Err(WsError::ReservedBit));
    }
    for opcode in (3..=7).chain(11..=15) {
        check(&[(0x80 | opcode, b"a")], &[], Err(WsError::ReservedOpcode));
    }
    assert_eq!((WsError::ReservedBit.code(), WsError::ReservedOpcode.code()), (1002, 1002));
}

#[test]
fn the_first_reserved_bit_is_for_compressed_data_frames_only() {
    let compression = Settings { compression: true, ..settings(Role::Server) };
    let input = |first: u8| frame(first, b"a");
    assert_eq!(decode_with(&input(0xc1), &compression).steps, [text("a")]);
    for first in [0xc0, 0xc9, 0xa1, 0xd1] {
        assert_eq!(decode_with(&input(first), &compression).end, Err(WsError::ReservedBit));
    }
}

#[test]
fn a_client_masks_and_a_server_does_not() {
    let (mut masked, mut plain) = (Vec::new(), Vec::new());
    encode_frame_masked(&mut masked, Opcode::Text, true, b"hello", MASK);
    encode_frame(&mut plain, Opcode::Text, true, b"hello");
    assert_eq!(plain, b"\x81\x05hello");
    assert_eq!(masked, b"\x81\x85\x37\xfa\x21\x3d\x5f\x9f\x4d\x51\x58");
    assert_eq!(decode_with(&plain, &settings(Role::Client)).steps, [text("hello")]);
    assert_eq!(decode_with(&masked, &settings(Role::Client)).end, Err(WsError::MaskUnexpected));
    assert_eq!(decode_with(&plain, &settings(Role::Server)).end, Err(WsError::MaskMissing));
}

#[test]
fn control_frames_are_short_and_whole() {
    let (longest, too_long) = ([b'p'; 125], [b'p'; 126]);
    check(&[(0x89, &longest)], &[Owned::Ping(longest.to_vec())], Ok(true));
    check(&[(0x8a, &longest)], &[Owned::Pong(longest.to_vec())], Ok(true));
    for first in [0x88, 0x89, 0x8a] {
        check(&[(first, &too_long)], &[], Err(WsError::ControlTooLong));
        check(&[(first & 0x0f, b"")], &[], Err(WsError::ControlFragmented));
    }
    // Before the length itself has arrived.
    assert_eq!(decode(b"\x89\xfe").end, Err(WsError::ControlTooLong));
}

#[test]
fn fragments_follow_each_other() {
    check(&[(0x80, b"a")], &[], Err(WsError::ContinuationUnexpected));
    check(&[(0x00, b"a")], &[], Err(WsError::ContinuationUnexpected));
    check(&[(0x01, b"a"), (0x81, b"b")], &[], Err(WsError::ContinuationMissing));
    check(&[(0x01, b"a"), (0x02, b"b")], &[], Err(WsError::ContinuationMissing));
    check(&[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")], &[text("ab")], Err(WsError::ContinuationUnexpected));
}

#[test]
fn close_codes_follow_the_registry() {
    let close = |code: u16| [&code.to_be_bytes()[..], "größe".as_bytes()].concat();
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1014, 3000, 3999, 4000, 4999] {
        check(&[(0x88, &close(code))], &[Owned::Close(Some(code), "größe".into())], Ok(true));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535] {
        check(&[(0x88, &close(code))], &[], Err(WsError::CloseCode));
    }
    check(&[(0x88, b"")], &[Owned::Close(None, String::new())], Ok(true));
    check(&[(0x88, b"\x03")], &[], Err(WsError::ClosePayload));
    check(&[(0x88, b"\x03\xe8")], &[Owned::Close(Some(1000), String::new())], Ok(true));
    check(&[(0x88, b"\x03\xe8\xff")], &[], Err(WsError::Utf8));
    check(&[(0x88, b"\x03\xe8\xc3")], &[], Err(WsError::Utf8));
}

#[test]
fn nothing_is_read_behind_a_close_frame() {
    check(&[(0x88, b""), (0xff, b"")], &[Owned::Close(None, String::new())], Ok(true));
}

#[test]
fn text_that_is_not_utf_8_closes_1007() {
    check(&[(0x81, "é€😀".as_bytes())], &[text("é€😀")], Ok(true));
    check(
        &[(0x01, b"\xe2"), (0x89, b"\xff"), (0x00, b"\x82"), (0x80, b"\xac")],
        &[Owned::Ping(b"\xff".to_vec()), text("€")],
        Ok(true),
    );
    for bad in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"] {
        check(&[(0x81, bad)], &[], Err(WsError::Utf8));
        check(&[(0x01, bad), (0x80, b"")], &[], Err(WsError::Utf8));
    }
    check(&[(0x01, b"\xe2\x82"), (0x80, b"a")], &[], Err(WsError::Utf8));
    assert_eq!(WsError::Utf8.code(), 1007);
}

#[test]
fn text_fails_at_its_first_bad_byte_though_the_frame_goes_on() {
    let whole = frame(0x81, b"abc\xf4\x90def");
    let headed = 6 + 3;
    assert_eq!(decode(&whole[..headed + 1]).end, Ok(false));
    assert_eq!(decode(&whole[..headed + 2]).end, Err(WsError::Utf8));
    let fragment = frame(0x01, b"abc\xff");
    assert_eq!(decode(&fragment).end, Err(WsError::Utf8));
}

#[test]
fn a_message_too_big_closes_1009_before_it_arrives() {
    let settings = Settings { message_bytes_max: 10, ..settings(Role::Server) };
    let end = |frames: &[(u8, &[u8])]| {
        let input: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
        decode_with(&input, &settings).end
    };
    assert_eq!(end(&[(0x82, &[0; 10])]), Ok(true));
    assert_eq!(end(&[(0x82, &[0; 11])]), Err(WsError::MessageTooBig));
    assert_eq!(end(&[(0x02, &[0; 5]), (0x89, &[0; 125]), (0x80, &[0; 5])]), Ok(true));
    assert_eq!(end(&[(0x02, &[0; 5]), (0x80, &[0; 6])]), Err(WsError::MessageTooBig));
    assert_eq!(end(&[(0x88, b"\x03\xe8longer than ten")]), Ok(true));
    let header = &frame(0x82, &[0; 11])[..6];
    assert_eq!(decode_with(header, &settings).end, Err(WsError::MessageTooBig));
    assert_eq!(WsError::MessageTooBig.code(), 1009);
}

#[test]
fn fragments_are_counted_where_a_limit_is_set() {
    let message = |fragments: usize| {
        let mut frames = vec![(0x00, &b"a"[..]); fragments];
        frames[0].0 |= 0x02;
        frames[fragments - 1].0 |= 0x80;
        frames
    };
    check(&message(3), &[Owned::Binary(b"aaa".to_vec())], Ok(true));
    check(&message(4), &[], Err(WsError::TooManyFragments));
    let unlimited = Settings { fragments_max: 0, ..settings(Role::Server) };
    let input: Vec<u8> = message(40).iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
    assert_eq!(decode_with(&input, &unlimited).end, Ok(true));
}

#[test]
fn a_whole_frame_is_lent_from_the_input_and_nothing_is_kept() {
    let (mut decoder, mut input) = (Decoder::default(), frame(0x81, b"hello"));
    let range = input.as_ptr_range();
    let step = decoder.decode(&mut input, &settings(Role::Server));
    let Ok(Step::Message { is_text: true, data: b"hello", consumed: 11, .. }) = step else {
        panic!("{step:?}")
    };
    let Ok(Step::Message { data, .. }) = step else { panic!("{step:?}") };
    assert!(range.contains(&data.as_ptr()));
    assert_eq!(format!("{decoder:?}"), format!("{:?}", Decoder::default()));
}

#[test]
fn what_was_kept_is_freed_by_the_call_after_the_message() {
    let (mut decoder, mut input) = (Decoder::default(), frame(0x81, b"hello"));
    let (one, two) = input.split_at_mut(8);
    assert_eq!(decoder.decode(one, &settings(Role::Server)), Ok(Step::NeedMore));
    assert_eq!((decoder.is_idle(), decoder.buffered_bytes()), (false, 2));
    let step = decoder.decode(two, &settings(Role::Server));
    let expected = Step::Message { is_text: true, is_compressed: false, data: b"hello", consumed: 3 };
    assert_eq!(step, Ok(expected));
    assert!(decoder.is_idle() && decoder.buffered_bytes() == 5);
    assert_eq!(decoder.decode(&mut [], &settings(Role::Server)), Ok(Step::NeedMore));
    assert_eq!(format!("{decoder:?}"), format!("{:?}", Decoder::default()));
}

#[test]
fn a_long_close_reason_is_cut_between_characters() {
    let mut out = Vec::new();
    encode_close(&mut out, 4001, &"é".repeat(62));
    assert_eq!(out.len(), 2 + 124);
    assert_eq!(decode_with(&out, &settings(Role::Client)).steps, [Owned::Close(Some(4001), "é".repeat(61))]);
}

#[test]
fn every_error_fits_a_close_frame() {
    for error in [WsError::MessageTooBig, WsError::TooManyFragments, WsError::LengthNotMinimal] {
        assert!(error.sentence().len() <= 123);
    }
}

fn any_step() -> impl Strategy<Value = Owned> {
    prop_oneof![
        ".{0,80}".prop_map(Owned::Text),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(Owned::Binary),
        prop::collection::vec(any::<u8>(), 0..126).prop_map(Owned::Ping),
        prop::collection::vec(any::<u8>(), 0..126).prop_map(Owned::Pong),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_however_it_arrives(
        steps in prop::collection::vec(any_step(), 0..8),
        piece in 1usize..500,
        is_server in any::<bool>(),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let input = encode(&steps, role);
        let expected = Transcript { steps, end: Ok(true) };
        prop_assert_eq!(transcribe(input.chunks(piece), &settings(role)), expected);
    }

    #[test]
    fn a_message_in_any_fragments_is_one_message(
        message in ".{0,100}",
        fragment in 1usize..40,
        piece in 1usize..60,
    ) {
        let mut input = frame(0x01, b"");
        for data in message.as_bytes().chunks(fragment) {
            input.extend(frame(0x00, data));
            input.extend(frame(0x89, b"\xff"));
        }
        input.extend(frame(0x80, b""));
        let unlimited = Settings { fragments_max: 0, ..settings(Role::Server) };
        let transcript = transcribe(input.chunks(piece), &unlimited);
        prop_assert_eq!(transcript.end, Ok(true));
        prop_assert_eq!(transcript.steps.last(), Some(&Owned::Text(message)));
    }

    #[test]
    fn any_bytes_are_judged_alike_however_they_arrive(data in prop::collection::vec(any::<u8>(), 0..100)) {
        fuzz(&data);
    }

    #[test]
    fn almost_frames_are_judged_alike_however_they_arrive(
        frames in prop::collection::vec((0u8..16, any::<bool>(), prop::collection::vec(any::<u8>(), 0..130)), 0..8),
    ) {
        let mut input = Vec::new();
        for (opcode, is_final, payload) in frames {
            input.extend(frame(opcode | if is_final { 0x80 } else { 0 }, &payload));
        }
        fuzz(&input);
    }
}
