//! Publishing over HTTP: bytes, sizes, keys, rates, batches.

use super::super::Settings;
use super::super::testing::{Rig, at, body, code, open_settings};
use super::{key_settings, published};
use crate::app::{Answer, Handler, Intent, Message, Reply};
use crate::auth::{Bounds, Denial, Hook, Namespace, Pattern, Policy, Right, Rule, Ruled, Ruling};
use crate::limits::Limits;
use crate::model::{CloseReason, Payload, PublishError};

#[test]
fn a_publication_keeps_bytes_and_content_type_and_is_answered_by_its_position() {
    let mut rig = Rig::open();
    let fields = [("Content-Type", "image/x"), ("Origin", "http://localhost:1"), ("Host", "localhost")];
    assert!(matches!(rig.request("POST /channels/n%20s", &fields, b"\xff\0"), Answer::Later { .. }));
    let publishes = published(&mut rig);
    assert_eq!(publishes, [("n s".into(), Payload::new(*b"\xff\0", Some("image/x")), Some(0))]);
    rig.reply(0, Reply::Published(Ok(at(4, 8))));
    let response = rig.response().expect("the answer");
    assert_eq!((response.status, body(&response)), (200, r#"{"epoch":4,"offset":8}"#));
    assert!(response.fields.contains("Access-Control-Allow-Origin: http://localhost:1\r\n"));
}

#[test]
fn what_a_publisher_said_decides_text_or_binary_and_a_form_says_nothing() {
    let mut rig = Rig::open();
    let mut payload = |content_type: &str, body: &[u8]| {
        let fields = [("Content-Type", content_type)];
        let fields = if content_type.is_empty() { &[][..] } else { &fields[..] };
        assert!(matches!(rig.request("POST /channels/n", fields, body), Answer::Later { .. }));
        let [(_, payload, _)] = published(&mut rig).try_into().expect("one publication");
        rig.reply(0, Reply::Published(Ok(at(1, 1))));
        rig.intents();
        (payload.is_text(), payload.content_type)
    };
    assert_eq!(payload("", b"x"), (true, None));
    assert_eq!(payload("", b"\xff"), (false, None));
    assert!(!payload("application/octet-stream", b"x").0);
    assert!(payload("text/plain", b"x").0);
    assert!(!payload("text/plain; charset=latin1", b"\xff").0, "no text frame can carry it");
    assert_eq!(payload("application/x-www-form-urlencoded", b"x"), (true, None));
    assert_eq!(payload("Application/X-WWW-Form-Urlencoded", b"\xff"), (false, None));
    let mut rig = Rig::open();
    rig.accept("/channels/n", &[]);
    rig.message(Message::Binary(b"x"));
    rig.message(Message::Text("x"));
    rig.accept("/ws", &[]);
    rig.message(Message::Text(r#"{"id":1,"publish":{"channel":"n","data_base64":"eA=="}}"#));
    rig.message(Message::Text(
        r#"{"id":2,"publish":{"channel":"n","data_base64":"eA==","content_type":"text/plain"}}"#,
    ));
    rig.message(Message::Text(r#"{"id":3,"publish":{"channel":"n","data":"x","content_type":"image/x"}}"#));
    let texts: Vec<_> = published(&mut rig).iter().map(|(_, payload, _)| payload.is_text()).collect();
    assert_eq!(texts, [false, true, false, true, true]);
}

#[test]
fn a_publication_may_name_its_event() {
    let mut rig = Rig::open();
    assert!(matches!(rig.request("POST /channels/n?event=a%20b", &[], b"x"), Answer::Later { .. }));
    assert_eq!(published(&mut rig)[0].1.event.as_deref(), Some("a b"));
    let mut rig = Rig::open();
    for event in ["", "error", "base64", "a%0Ab"] {
        let response = rig.respond(&format!("POST /channels/n?event={event}"), &[], b"x");
        assert_eq!((response.status, code(&response)), (400, "event_invalid".into()), "{event}");
    }
    rig.accept("/ws", &[]);
    rig.message(Message::Text(r#"{"id":1,"publish":{"channel":"n","data":1,"event":"e"}}"#));
    assert_eq!(published(&mut rig)[0].1.event.as_deref(), Some("e"));
    let refused = rig.command(r#"{"id":2,"publish":{"channel":"n","data":1,"event":"reset"}}"#);
    assert!(refused.contains("event_invalid"), "{refused}");
}

#[test]
fn a_publication_its_owner_refuses_is_answered_503() {
    for (error, expected) in [(PublishError::Busy, "busy"), (PublishError::ChannelsFull, "channels_full")] {
        let mut rig = Rig::open();
        rig.request("POST /channels/n", &[], b"x");
        rig.reply(0, Reply::Published(Err(error)));
        let response = rig.response().expect("the answer");
        assert_eq!((response.status, code(&response)), (503, expected.into()));
    }
}

#[test]
fn a_publication_of_the_most_bytes_passes_and_of_one_more_does_not() {
    let limits = Limits { publication_bytes_max: 4, ..Limits::default() };
    let mut rig = Rig::new(Settings { limits, ..open_settings() });
    assert!(matches!(rig.request("POST /channels/n", &[], b"1234"), Answer::Later { .. }));
    let mut rig = Rig::new(rig.server.settings.clone());
    let response = rig.respond("POST /channels/n", &[], b"12345");
    assert_eq!((response.status, code(&response)), (413, "publication_too_large".into()));
    rig.accept("/channels/n", &[]);
    rig.message(Message::Binary(b"1234"));
    assert_eq!(published(&mut rig).len(), 1);
    rig.message(Message::Binary(b"12345"));
    assert!(matches!(rig.intents()[..], [Intent::Close { reason: CloseReason::MessageTooBig, .. }]));
}

#[test]
fn compressed_bodies_are_refused() {
    let mut rig = Rig::open();
    let response = rig.respond("POST /channels/n", &[("Content-Encoding", "gzip")], b"x");
    assert_eq!((response.status, code(&response)), (415, "content_encoding_unsupported".into()));
    let answer = rig.request("POST /channels/n", &[("Content-Encoding", "identity")], b"x");
    assert!(matches!(answer, Answer::Later { .. }));
}

#[test]
fn publishing_without_a_key_is_401_with_a_wrong_one_403_and_says_how() {
    let mut rig = Rig::new(key_settings());
    for path in ["/channels/n", "/publish"] {
        let line = format!("POST {path}");
        let missing = rig.respond(&line, &[], b"x");
        assert_eq!((missing.status, code(&missing)), (401, "key_missing".into()));
        assert!(missing.fields.contains("WWW-Authenticate: Bearer realm=\"roadstead\"\r\n"));
        let wrong = rig.respond(&line, &[("Authorization", "Bearer secre")], b"x");
        assert_eq!((wrong.status, code(&wrong)), (403, "key_wrong".into()));
        assert!(wrong.fields.contains("WWW-Authenticate: Bearer"));
        assert_eq!(rig.respond(&line, &[("Authorization", "Basic secret")], b"x").status, 401);
    }
    let answer = rig.request("POST /channels/n", &[("Authorization", "bearer  secret")], b"x");
    assert!(matches!(answer, Answer::Later { .. }));
}

#[test]
fn a_key_that_publishes_too_often_is_told_when_to_come_back() {
    let limits = Limits { publications_per_key_per_second_max: 1, ..Limits::default() };
    let mut rig = Rig::new(Settings { limits, ..key_settings() });
    let fields = [("Authorization", "Bearer secret")];
    assert!(matches!(rig.request("POST /channels/n", &fields, b"x"), Answer::Later { .. }));
    rig.reply(0, Reply::Published(Ok(at(1, 1))));
    rig.intents();
    let response = rig.respond("POST /channels/n", &fields, b"x");
    assert_eq!((response.status, code(&response)), (429, "rate_limited".into()));
    assert!(response.fields.contains("Retry-After: 1\r\n"));
    assert!(matches!(rig.intents()[..], [Intent::CountRateLimited]));
    let other = [("Authorization", "Bearer other")];
    assert!(matches!(rig.request("POST /channels/n", &other, b"x"), Answer::Later { .. }));
}

#[test]
fn a_batch_is_answered_item_by_item_in_order() {
    let mut rig = Rig::open();
    let batch = br#"{"publications":[{"channel":"a","data":"x"},{"channel":"","data":"x"},
        {"channel":"b","data":{"k":1}},{"data":"x"}]}"#;
    let fields = [("Content-Type", "application/json; charset=utf-8")];
    assert!(matches!(rig.request("POST /publish", &fields, batch), Answer::Later { .. }));
    let publishes = published(&mut rig);
    assert_eq!(
        publishes,
        [
            ("a".into(), Payload::new(*b"x", None), Some(0)),
            ("b".into(), Payload::new(*br#"{"k":1}"#, Some("application/json")), Some(2)),
        ]
    );
    rig.reply(2, Reply::Published(Err(PublishError::Busy)));
    rig.reply(2, Reply::Published(Ok(at(7, 7))));
    rig.reply(1, Reply::Published(Ok(at(7, 7))));
    assert!(rig.response().is_none(), "one publication is still under way");
    rig.reply(0, Reply::Published(Ok(at(1, 2))));
    let response = rig.response().expect("the answer");
    let value: serde_json::Value = serde_json::from_str(body(&response)).expect("JSON");
    let results = &value["results"];
    assert_eq!(results[0], serde_json::json!({"epoch": 1, "offset": 2}));
    assert_eq!(results[1]["error"]["code"], "channel_name_invalid");
    assert_eq!(results[2]["error"]["code"], "busy");
    assert_eq!(results[3]["error"]["code"], "member_missing");
    assert_eq!(results.as_array().map(Vec::len), Some(4));
}

#[test]
fn a_publication_of_a_batch_is_refused_in_the_words_that_were_said_of_it_and_no_others() {
    let namespace = Namespace {
        pattern: Pattern::new("room:*").expect("a pattern"),
        rules: [Rule::Hook; Right::ALL.len()],
        bounds: Bounds::default(),
        clients_say_info: false,
    };
    let policy = Policy { namespaces: vec![namespace], ..open_settings().policy };
    let mut rig = Rig::new(Settings { policy, ..open_settings() });
    let said = |hook, channel: &str, code: &str| Ruled {
        hook,
        channel: channel.into(),
        part: 0,
        ruling: Ruling::Denied(Denial { code: code.into(), message: "Not now.".into() }.into()),
    };
    rig.rulings = vec![said(Hook::Connect, "", "log_in"), said(Hook::Publish, "room:7", "closed")];
    let batch = br#"{"publications":[{"channel":"room:7","data":"x"}]}"#;
    let response = rig.respond("POST /publish", &[], batch);
    assert_eq!(body(&response), r#"{"results":[{"error":{"code":"closed","message":"Not now."}}]}"#);
}

#[test]
fn a_batch_that_publishes_nothing_is_answered_at_once() {
    let mut rig = Rig::open();
    let empty = rig.respond("POST /publish", &[], br#"{"publications":[]}"#);
    assert_eq!((empty.status, body(&empty)), (200, r#"{"results":[]}"#));
    let broken = rig.respond("POST /publish", &[], b"{\"publications\":[");
    assert_eq!((broken.status, code(&broken)), (400, "json_invalid".into()));
    let form = rig.respond("POST /publish", &[("Content-Type", "application/x-www-form-urlencoded")], b"{}");
    assert_eq!((form.status, code(&form)), (415, "content_type_unsupported".into()));
}

#[test]
fn a_batch_draws_a_token_for_each_publication_and_is_429_only_when_none_was_left() {
    let limits =
        Limits { publications_per_key_per_second_max: 1, batch_publications_max: 2, ..Limits::default() };
    let mut rig = Rig::new(Settings { limits, ..open_settings() });
    let two = br#"{"publications":[{"channel":"a","data":"x"},{"channel":"a","data":"y"}]}"#;
    assert!(matches!(rig.request("POST /publish", &[], two), Answer::Later { .. }));
    rig.reply(0, Reply::Published(Ok(at(1, 1))));
    let response = rig.response().expect("the answer");
    assert_eq!(response.status, 200);
    assert!(body(&response).contains("rate_limited"));
    assert_eq!(rig.respond("POST /publish", &[], two).status, 429);
    let three = br#"{"publications":[0,1,2]}"#;
    let response = rig.respond("POST /publish", &[], three);
    assert_eq!((response.status, code(&response)), (413, "batch_too_large".into()));
}

#[test]
fn a_request_whose_client_leaves_is_forgotten() {
    let mut rig = Rig::open();
    rig.request("POST /channels/n", &[], b"x");
    rig.call(|server, cx, peer| server.disconnect(cx, peer, CloseReason::ClientGone));
    rig.intents();
    rig.reply(0, Reply::Published(Ok(at(1, 1))));
    assert!(rig.intents().is_empty());
}
