//! Tests of packets and attachments: tables of text. Whatever is read is also taken through the fuzz body's checks.

use proptest::prelude::*;

use super::{
    fuzz::{SETTINGS, check_packet, handle},
    *,
};
use crate::{
    limits::JSON_DEPTH_MAX,
    model::CloseReason,
    wire::{
        engineio,
        json::{JsonError, Raw},
    },
};

fn describe(packet: &Packet<'_>) -> String {
    let list = |arguments: &mut dyn Iterator<Item = Raw<'_>>| {
        arguments.map(Raw::as_str).collect::<Vec<_>>().join(" | ")
    };
    let namespace = packet.namespace;
    match &packet.kind {
        Kind::Connect { auth: None } => format!("{namespace} connect"),
        Kind::Connect { auth: Some(auth) } => format!("{namespace} connect {}", auth.as_str()),
        Kind::Disconnect => format!("{namespace} disconnect"),
        Kind::ConnectError(data) => format!("{namespace} error {}", data.as_str()),
        Kind::Event(event) => {
            let ack = event.ack.map_or(String::new(), |ack| format!("#{ack}"));
            format!("{namespace} event{ack} {:?} {}", event.name, list(&mut event.arguments()))
        }
        Kind::Ack(ack) => format!("{namespace} ack#{} {}", ack.id, list(&mut ack.arguments())),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let packet = decode(text, &SETTINGS).expect(text);
    assert_eq!((describe(&packet).as_str(), packet.attachments()), (expected, 0), "{text:?}");
    check_packet(&packet, &[]);
}

#[track_caller]
fn check_fault(text: &str, error: SocketError) {
    assert_eq!(decode(text, &SETTINGS), Err(error), "{text:?}");
}

/// Takes messages, written as a polling payload, and tells the packets they made and how it ended.
fn assemble(payload: &str) -> (Vec<String>, Result<bool, SocketError>) {
    let (mut assembly, mut packets, mut scratch) = (Assembly::default(), Vec::new(), Vec::new());
    let mut messages = engineio::Payload::new(payload.as_bytes(), usize::MAX).expect("UTF-8");
    while let Some(message) = messages.decode_next(&mut scratch) {
        let taken = handle(&mut assembly, message.expect("a sound message"), |packet, attachments| {
            check_packet(packet, attachments);
            packets.push(format!("{} {attachments:?}", describe(packet)));
        });
        if let Err(error) = taken {
            assert_eq!((assembly.is_idle(), assembly.buffered_bytes()), (true, 0));
            return (packets, Err(error));
        }
    }
    (packets, Ok(assembly.is_idle()))
}

#[test]
fn packets_about_a_namespace_are_read() {
    check("0", "/ connect");
    check("0/", "/ connect");
    check("0/,", "/ connect");
    check("0/custom", "/custom connect");
    check("0/custom,", "/custom connect");
    check(r#"0{"token":"123"}"#, r#"/ connect {"token":"123"}"#);
    check(r#"0/custom,{"token":"a,b"}"#, r#"/custom connect {"token":"a,b"}"#);
    check("0/custom?token=1&x=/,{}", "/custom connect {}");
    check("0/?token=1", "/ connect");
    check(r#"0{"__proto__":{"x":1}}"#, r#"/ connect {"__proto__":{"x":1}}"#);
    check("1", "/ disconnect");
    check("1/admin,", "/admin disconnect");
    check("1/admin", "/admin disconnect");
    check(r#"4"no""#, r#"/ error "no""#);
    check(r#"4/a,{"message":"no"}"#, r#"/a error {"message":"no"}"#);
}

#[test]
fn events_and_acknowledgements_are_read() {
    check(r#"2["foo"]"#, r#"/ event "foo" "#);
    check(r#"2["message",1,"2",{"3":[true]}]"#, r#"/ event "message" 1 | "2" | {"3":[true]}"#);
    check(r#"2456["a"]"#, r#"/ event#456 "a" "#);
    check(r#"20["a"]"#, r#"/ event#0 "a" "#);
    check(r#"2007["a"]"#, r#"/ event#7 "a" "#);
    check(r#"2/admin,12["a" , null]"#, r#"/admin event#12 "a" null"#);
    check(r#"2 [ "a" ] "#, r#"/ event "a" "#);
    check(r#"2[""]"#, r#"/ event "" "#);
    check("2[1]", r#"/ event "1" "#);
    check("2[-1.5e3,2]", r#"/ event "-1.5e3" 2"#);
    check(r#"2["gr\u00f6\u00dfe"]"#, r#"/ event "größe" "#);
    check(r#"3456["bar"]"#, r#"/ ack#456 "bar""#);
    check("30[]", "/ ack#0 ");
    check("3/a,7[[],{}]", "/a ack#7 [] | {}");
}

#[test]
fn names_that_mean_much_to_javascript_are_names_like_others() {
    for name in ["__proto__", "constructor", "hasOwnProperty", "toString", "error", "newlistener"] {
        check(&format!("2[\"{name}\"]"), &format!("/ event {name:?} "));
    }
    check("0/__proto__,", "/__proto__ connect");
    let auth = r#"{"__proto__":null,"__proto__":1}"#;
    check(&format!("0{auth}"), &format!("/ connect {auth}"));
}

#[test]
fn values_a_peer_can_write_pass_though_this_server_could_not_read_them() {
    check(r#"2["a","\ud83d"]"#, r#"/ event "a" "\ud83d""#);
    check(r#"2["a",1e999,12345678901234567890123]"#, r#"/ event "a" 1e999 | 12345678901234567890123"#);
}

#[test]
fn an_unknown_type_is_refused() {
    check_fault("", SocketError::Empty);
    for text in ["7", "9[\"a\"]", "abc", "é", "b", " 2[\"a\"]", "-1", "/"] {
        check_fault(text, SocketError::PacketType);
    }
}

#[test]
fn a_payload_is_what_its_type_carries() {
    for text in ["0[]", "0\"x\"", "01", "0null", "0true", "0/a,[]", "1{}", "1[]", "1/a,1", "112"] {
        check_fault(text, SocketError::Payload);
    }
    for text in
        ["2", "2{}", "2\"a\"", "21", "2/a[\"x\"]", "2null", "212{}", "3", "31", "31{}", "3[]x", "2/a,"]
    {
        let error = decode(text, &SETTINGS).expect_err(text);
        let expected =
            if text == "3[]x" { SocketError::Json(JsonError::Syntax) } else { SocketError::Payload };
        assert_eq!(error, expected, "{text}");
    }
    for text in ["4", "4[]", "41", "4null", "4/a,"] {
        check_fault(text, SocketError::Payload);
    }
    for text in [
        "0{",
        "0abc",
        "2[",
        "2[\"a\"",
        "2[\"a\",]",
        "2[\"a\"]]",
        "2abc[\"a\"]",
        "2-1[\"a\"]",
        "4x",
        "2[\"a\"]\0",
    ] {
        check_fault(text, SocketError::Json(JsonError::Syntax));
    }
    check_fault("2[\"a\",01]", SocketError::Json(JsonError::Number));
}

#[test]
fn an_event_begins_with_a_name_that_is_not_reserved() {
    for text in ["2[]", "2[null]", "2[{}]", "2[[\"a\"]]", "2[true,\"a\"]", r#"2["\ud83d"]"#] {
        check_fault(text, SocketError::EventName);
    }
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        check_fault(&format!("2[\"{name}\"]"), SocketError::EventReserved);
        check_fault(&format!("2/a,1[\"{name}\",1]"), SocketError::EventReserved);
        check(&format!("31[\"{name}\"]"), &format!("/ ack#1 \"{name}\""));
        check(&format!("2[\"{name}d\"]"), &format!("/ event \"{name}d\" "));
    }
    check_fault(r#"2["conn\u0065ct"]"#, SocketError::EventReserved);
}

#[test]
fn bounds_hold_to_the_last_byte() {
    check("2[\"0123456789abcdef\"]", "/ event \"0123456789abcdef\" ");
    check_fault("2[\"0123456789abcdefg\"]", SocketError::EventNameTooLong);
    check("1/23456789abcdef0", "/23456789abcdef0 disconnect");
    check_fault("1/23456789abcdef01", SocketError::NamespaceTooLong);
    check("1/a?23456789abcdef01", "/a disconnect");
    check("29999999999999999[\"a\"]", "/ event#9999999999999999 \"a\" ");
    check_fault("200000000000000000[\"a\"]", SocketError::AckIdTooLong);
    check_fault("399999999999999999999999999999[]", SocketError::AckIdTooLong);
    check("2[\"a\",[[[[]]]]]", "/ event \"a\" [[[[]]]]");
    check_fault("2[\"a\",[[[[[]]]]]]", SocketError::Json(JsonError::TooDeep));
    let deep = "[".repeat(100_000);
    check_fault(&format!("2{deep}"), SocketError::Json(JsonError::TooDeep));
    check_fault(&format!("0{}", "{\"a\":".repeat(100_000)), SocketError::Json(JsonError::TooDeep));
    for text in ["0/a\nb", "0/\u{1e}", "1/\u{85},"] {
        check_fault(text, SocketError::Namespace);
    }
}

#[test]
fn the_bounds_of_the_server_are_those_of_its_table() {
    let nested = format!("2[\"a\",{}{}]", "[".repeat(JSON_DEPTH_MAX - 1), "]".repeat(JSON_DEPTH_MAX - 1));
    assert!(decode(&nested, &Settings::new(1000)).is_ok());
    let generous = Settings { attachments_max: 1000, ..Settings::new(1_000_000) };
    let placeholders = |count: u32| {
        let list =
            (0..count).map(|num| format!("{{\"_placeholder\":true,\"num\":{num}}}")).collect::<Vec<_>>();
        format!("5{count}-[\"a\",{}]", list.join(","))
    };
    assert!(decode(&placeholders(64), &generous).is_ok());
    assert_eq!(decode(&placeholders(65), &generous), Err(SocketError::AttachmentsTooMany));
}

#[test]
fn an_acknowledgement_says_what_it_answers() {
    check_fault("3[]", SocketError::AckIdMissing);
    check_fault("3/a,[1]", SocketError::AckIdMissing);
}

#[test]
fn a_packet_is_whole_with_its_last_attachment() {
    let event = r#"52-["baz",{"_placeholder":true,"num":1},[{"k":{"num":0,"_placeholder":true}}]]"#;
    let shown =
        r#"/ event "baz" {"_placeholder":true,"num":1} | [{"k":{"num":0,"_placeholder":true}}] [[1], []]"#;
    assert_eq!(assemble(&format!("4{event}")), (vec![], Ok(false)));
    assert_eq!(assemble(&format!("4{event}\u{1e}bAQ==")), (vec![], Ok(false)));
    assert_eq!(assemble(&format!("4{event}\u{1e}bAQ==\u{1e}b")), (vec![shown.to_owned()], Ok(true)));
    let ack = r#"61-/a,15[{ "_placeholder" : true , "num" : 0 }]"#;
    let shown = r#"/a ack#15 { "_placeholder" : true , "num" : 0 } [[255]]"#;
    let twice = format!("4{ack}\u{1e}b/w==\u{1e}4{ack}\u{1e}b/w==");
    assert_eq!(assemble(&twice), (vec![shown.to_owned(); 2], Ok(true)));
    let none = ("/ event \"a\"  []".to_owned(), "/ ack#1  []".to_owned());
    assert_eq!(assemble("450-[\"a\"]\u{1e}460-1[]"), (vec![none.0, none.1], Ok(true)), "none announced");
}

#[test]
fn nothing_comes_between_a_packet_and_its_attachments_and_no_attachment_without() {
    let event = r#"452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let messages = [event, "bAQ==", "bAg=="];
    for at in 1..messages.len() {
        let text = [&messages[..at], &["41"], &messages[at..]].concat().join("\u{1e}");
        assert_eq!(assemble(&text), (vec![], Err(SocketError::AttachmentMissing)), "before {at}");
    }
    assert_eq!(assemble("bAQ=="), (vec![], Err(SocketError::AttachmentUnexpected)));
    let (packets, end) = assemble(&[&messages[..], &["b"]].concat().join("\u{1e}"));
    assert_eq!((packets.len(), end), (1, Err(SocketError::AttachmentUnexpected)));
    let (packets, end) = assemble("450-[\"a\"]\u{1e}b");
    assert_eq!((packets.len(), end), (1, Err(SocketError::AttachmentUnexpected)), "none announced");
}

#[test]
fn text_and_attachments_together_are_bounded() {
    let event = r#"52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let (mut assembly, left) = (Assembly::default(), SETTINGS.packet_bytes_max - event.len());
    assert_eq!(assembly.handle_text(event, &SETTINGS), Ok(None));
    assert_eq!(assembly.buffered_bytes(), event.len());
    assert_eq!(assembly.handle_binary(&vec![0; left - 1], &SETTINGS), Ok(None));
    let mut fits = Assembly::default();
    assert_eq!(fits.handle_text(event, &SETTINGS), Ok(None));
    assert_eq!(fits.handle_binary(&vec![0; left - 1], &SETTINGS), Ok(None));
    assert!(fits.handle_binary(&[0; 1], &SETTINGS).is_ok_and(|whole| whole.is_some()));
    assert_eq!(assembly.handle_binary(&[0; 2], &SETTINGS), Err(SocketError::TooBig));
    assert!(assembly.is_idle());
    let text = format!("2[\"a\",\"{}\"]", "x".repeat(SETTINGS.packet_bytes_max - 9));
    assert_eq!(text.len(), SETTINGS.packet_bytes_max);
    assert!(assembly.handle_text(&text, &SETTINGS).is_ok());
    assert_eq!(assembly.handle_text(&format!("{text} "), &SETTINGS), Err(SocketError::TooBig));
}

#[test]
fn the_number_of_attachments_is_a_number_of_at_most_those_allowed() {
    for text in
        ["5", "5[\"a\"]", "5-[\"a\"]", "5x-[\"a\"]", "5+1-[\"a\"]", "51.0-[\"a\"]", "5 1-[\"a\"]", "6", "51"]
    {
        check_fault(text, SocketError::Attachments);
    }
    check_fault("54-[\"a\"]", SocketError::AttachmentsTooMany);
    check_fault("599999999999999999999-[\"a\"]", SocketError::AttachmentsTooMany);
    assert_eq!(
        assemble("453-[\"a\"]\u{1e}b\u{1e}b\u{1e}b").0,
        ["/ event \"a\"  [[], [], []]"],
        "that stand nowhere"
    );
}

#[test]
fn a_placeholder_is_what_the_reference_takes_for_one() {
    let of = |num: &str| format!(r#"{{"_placeholder":true,"num":{num}}}"#);
    let [zero, one] = [of("0"), of("1")];
    let check = |attachments: u32, arguments: &str, expected: &[u32]| {
        let text = format!("5{attachments}-[\"a\",{arguments}]");
        let packet = decode(&text, &SETTINGS).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(packet.attachments(), attachments);
        let found = placeholders(packet.array().expect("an event"), attachments).expect("decoded");
        let found: Vec<_> = found.into_iter().map(|(_, index)| index).collect();
        assert_eq!(found, expected, "{text}");
    };
    check(1, &zero, &[0]);
    check(2, &format!("{one},{zero}"), &[1, 0]);
    check(1, &format!("{{\"x\":[{zero}],\"y\":\"{{\\\"\"}}"), &[0]);
    check(1, &format!("{{}},[],{{\"_placeholder\":false,\"num\":0}},{zero}"), &[0]);
    check(1, "1", &[]);
    check(2, &format!("{zero},{zero}"), &[0, 0]);
    check(1, r#"{"num":0,"_placeholder":true}"#, &[0]);
    check(1, r#"{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":9}}"#, &[0]);
    check(1, r#"{"num":9,"x":[],"_placeholder":1,"_placeholder":true,"num":-0}"#, &[0]);
    check(1, r#"{"_place\u0068older":true,"num":0e0}"#, &[0]);
    check(1, &format!("\"{}\"", zero.replace('"', "\\\"")), &[]);
    for text in [
        r#"{"num":0}"#,
        r#"{"_placeholder":1,"num":0,"x":1}"#,
        r#"{"_placeholder":"true","num":0}"#,
        r#"{"_placeholder":true,"_placeholder":null,"num":0}"#,
    ] {
        check(1, text, &[]);
    }
    for num in ["1", "-1", "1.5", "4294967296", "1e400", "\"0\"", "null", "{}", "64"] {
        check_fault(&format!("51-[\"a\",{}]", of(num)), SocketError::Placeholders);
    }
    check_fault(r#"51-["a",{"_placeholder":true}]"#, SocketError::Placeholders);
}

#[test]
fn an_attachment_counts_for_each_place_it_stands_in() {
    let text = r#"51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#;
    let room = (SETTINGS.packet_bytes_max - text.len()) / 2;
    for (bytes, is_taken) in [(room, true), (room + 1, false)] {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.handle_text(text, &SETTINGS), Ok(None));
        let heard = assembly.handle_binary(&vec![0; bytes], &SETTINGS);
        assert_eq!(heard.map(|whole| whole.is_some()), is_taken.then_some(true).ok_or(SocketError::TooBig));
        assert!(assembly.is_idle());
    }
}

#[test]
fn a_placeholder_in_a_packet_of_text_alone_is_an_object_like_others() {
    check(r#"2["a",{"_placeholder":true,"num":9}]"#, r#"/ event "a" {"_placeholder":true,"num":9}"#);
}

#[test]
fn answers_are_written_as_clients_expect_them() {
    let written = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut out = b"|".to_vec();
        encode(&mut out);
        String::from_utf8(out).expect("a packet is text").split_off(1)
    };
    let reply = ConnectReply { namespace: "/", sid: "abc", pid: None };
    assert_eq!(written(&|out| encode_connect(out, reply)), r#"0{"sid":"abc"}"#);
    let reply = ConnectReply { namespace: "/custom", sid: "abc", pid: Some("d") };
    assert_eq!(written(&|out| encode_connect(out, reply)), r#"0/custom,{"sid":"abc","pid":"d"}"#);
    let refusal = ConnectRefusal { namespace: "/random", message: "Invalid \"namespace\"", data: None };
    assert_eq!(
        written(&|out| encode_connect_error(out, refusal)),
        r#"4/random,{"message":"Invalid \"namespace\""}"#
    );
    let refusal = ConnectRefusal { namespace: "/", message: "no", data: Some("{\"code\":1}") };
    assert_eq!(written(&|out| encode_connect_error(out, refusal)), r#"4{"message":"no","data":{"code":1}}"#);
    assert_eq!(written(&|out| encode_disconnect(out, "/")), "1");
    assert_eq!(written(&|out| encode_disconnect(out, "/admin")), "1/admin,");
    let head = EventHead { namespace: "/", ack: None, attachments: 0, offset: None };
    assert_eq!(written(&|out| encode_event_array(out, head, r#"["a",1]"#)), r#"2["a",1]"#);
    assert_eq!(written(&|out| encode_event(out, head, "a\"", [])), r#"2["a\""]"#);
    let head = EventHead { namespace: "/x", ack: Some(7), attachments: 2, offset: Some("o\"1") };
    assert_eq!(written(&|out| encode_event_array(out, head, r#"["a"]"#)), r#"52-/x,7["a","o\"1"]"#);
    assert_eq!(written(&|out| encode_event(out, head, "a", ["1", "{}"])), r#"52-/x,7["a",1,{},"o\"1"]"#);
    let head = AckHead { namespace: "/", id: 456, attachments: 0 };
    assert_eq!(written(&|out| encode_ack(out, head, "[1]")), "3456[1]");
    let head = AckHead { namespace: "/x", id: 0, attachments: 1 };
    assert_eq!(written(&|out| encode_ack(out, head, "[]")), "61-/x,0[]");
}

#[test]
fn faults_end_a_session_in_the_table_of_reasons() {
    assert_eq!(SocketError::PacketType.close_reason(), CloseReason::ProtocolError);
    assert_eq!(SocketError::TooBig.close_reason(), CloseReason::MessageTooBig);
    assert_eq!(SocketError::Json(JsonError::TooDeep).close_reason(), CloseReason::NestedTooDeep);
}

/// A JSON value shallow enough for an argument, in which each string `@` is to become a placeholder.
fn any_argument() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,4}".prop_map(Into::into),
        Just("@".into()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::vec(("[a-z\"{]{0,3}", inner), 0..3)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Numbers the placeholders in `json`; how many there are.
fn place(json: &mut serde_json::Value, first: u32) -> u32 {
    match json {
        serde_json::Value::String(text) if text == "@" => {
            *json = serde_json::json!({"_placeholder": true, "num": first});
            1
        }
        serde_json::Value::Array(list) => {
            list.iter_mut().fold(0, |count, json| count + place(json, first + count))
        }
        serde_json::Value::Object(members) => {
            members.values_mut().fold(0, |count, json| count + place(json, first + count))
        }
        _ => 0,
    }
}

proptest! {
    #[test]
    fn an_event_that_is_written_arrives_with_its_attachments(
        namespace in "/[a-zé?]{0,5}",
        ack in prop::option::of(0u64..10_000_000_000_000_000),
        name in "[^\u{0}-\u{1f}]{1,8}",
        mut arguments in prop::collection::vec(any_argument(), 0..4),
        data in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let attachments = arguments.iter_mut().fold(0, |count, json| count + place(json, count));
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let namespace = namespace.split('?').next().unwrap_or("/");
        let (mut text, mut assembly) = (Vec::new(), Assembly::default());
        let head = EventHead { namespace, ack, attachments, offset: None };
        encode_event(&mut text, head, &name, arguments.iter().map(String::as_str));
        let text = String::from_utf8(text).expect("a packet is text");
        let check = |packet: &Packet<'_>| {
            let Kind::Event(event) = &packet.kind else { panic!("{packet:?}") };
            let read: Vec<_> = event.arguments().map(Raw::as_str).collect();
            assert_eq!((packet.namespace, event.ack, &*event.name, read), (
                namespace, ack, &*name, arguments.iter().map(String::as_str).collect(),
            ));
        };
        let settings = Settings::new(1 << 20);
        match assembly.handle_text(&text, &settings) {
            Ok(Some(packet)) => check(&packet),
            other => prop_assert!(attachments > 0 && other == Ok(None), "{other:?} of {text}"),
        }
        for left in (0..attachments).rev() {
            match assembly.handle_binary(&data, &settings) {
                Ok(Some(whole)) if left == 0 => check(&whole.packet()),
                other => prop_assert!(left > 0 && other == Ok(None), "{other:?} with {left} left"),
            }
        }
        prop_assert!(assembly.is_idle());
    }

    #[test]
    fn any_bytes_hold_the_properties(data in prop::collection::vec(any::<u8>(), 0..60)) {
        super::fuzz(&data);
    }

    #[test]
    fn almost_packets_hold_the_properties(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..16),
    ) {
        super::fuzz(format!("4{}", words.concat()).as_bytes());
    }

    #[test]
    fn almost_sound_packets_hold_the_properties(
        start in prop::sample::select(STARTS),
        words in prop::collection::vec(prop::sample::select(WORDS), 0..8),
    ) {
        super::fuzz(format!("4{start}{}]\u{1e}bAQ==\u{1e}b", words.concat()).as_bytes());
    }
}

/// What almost sound packets begin with.
const STARTS: &[&str] =
    &["2[\"a\"", "212[\"a\"", "2/n,[\"a\"", "51-[\"a\",", "52-/n,3[\"a\",", "31[", "61-1[", "2[7"];

/// What almost packets are put together from.
const WORDS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "1-",
    "2-",
    "/",
    "/n,",
    "/n?q,",
    ",",
    "12",
    "[",
    "]",
    "{",
    "}",
    "\"a\"",
    "[\"a\"",
    ",1",
    ",{}",
    ",[]",
    ",\"x\"",
    ":",
    "\"_placeholder\":true",
    "\"num\":0",
    "\"num\":1",
    "{\"_placeholder\":true,\"num\":0}",
    ",{\"_placeholder\":true,\"num\":1}",
    "\"connect\"",
    "\u{1e}",
    "\u{1e}4",
    "\u{1e}bAQ==",
    "\u{1e}42[\"b\"]",
    "\\",
    " ",
    "é",
    "\"\\ud83d\"",
];
