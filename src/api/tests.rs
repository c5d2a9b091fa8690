//! Tests of the whole handler: method × path, negotiation, CORS, keys, batches, surveys.

use super::{
    Settings,
    testing::{CONNECTION, Rig, at, body, code, name, open_settings},
};
use crate::{
    app::{Answer, Handler, Intent, Message, Reply, Response, Verdict},
    hub::SubscribeError,
    limits::{Limits, PUBLISHES_IN_FLIGHT_MAX, SURVEY_TIMEOUT_MS},
    mesh::{self, ChannelReport, HistoryPage, Question, ShardReport},
    model::{CloseReason, Payload, PublishError, Transport},
};

fn key_settings() -> Settings {
    let publish_keys = vec!["secret".into(), "other".into()];
    Settings { publish_open: false, publish_keys, ..open_settings() }
}

fn report(channel: &str, subscribers: [u32; 4], offset: Option<u64>) -> ChannelReport {
    ChannelReport {
        channel: name(channel),
        subscribers,
        position: offset.map(|offset| at(9, offset)),
        history_publications: offset.map_or(0, |offset| offset as u32),
        history_bytes: offset.map_or(0, |offset| offset * 10),
    }
}

fn part(reports: Vec<ChannelReport>) -> Reply {
    Reply::Survey { survey: mesh::Survey::Channels(reports) }
}

fn shard_part(shard: u16, connections: u32) -> Reply {
    let report = ShardReport { shard, connections, deliveries_total: 5, ..ShardReport::default() };
    Reply::Survey { survey: mesh::Survey::Shard(Box::new(report)) }
}

/// The token and the question of the survey just asked.
fn asked(rig: &mut Rig) -> (u32, Question) {
    rig.intents()
        .into_iter()
        .find_map(|intent| match intent {
            Intent::Ask { ticket, question } if ticket.connection == CONNECTION => {
                Some((ticket.token, question))
            }
            _ => None,
        })
        .expect("a question to every shard")
}

fn published(rig: &mut Rig) -> Vec<(String, Payload, Option<u32>)> {
    let publishes = rig.intents().into_iter().filter_map(|intent| match intent {
        Intent::Publish { channel, payload, ticket } => {
            Some((channel.as_str().to_owned(), payload, ticket.map(|ticket| ticket.token)))
        }
        _ => None,
    });
    publishes.collect()
}

#[test]
fn every_method_on_every_path_has_its_answer() {
    const LATER: u16 = 0;
    const STREAM: u16 = 1;
    let methods = ["GET", "HEAD", "POST", "PUT", "OPTIONS"];
    let public = [
        ("/", [200, 200, 405, 405, 204]),
        ("/hello", [200, 200, 405, 405, 204]),
        ("/echo", [426, 405, 405, 405, 204]),
        ("/ws", [426, 405, 405, 405, 204]),
        ("/publish", [405, 405, 415, 405, 204]),
        ("/channels", [LATER, LATER, 405, 405, 204]),
        ("/channels/news", [STREAM, STREAM, LATER, 405, 204]),
        ("/channels/a%2Fb", [STREAM, STREAM, LATER, 405, 204]),
        ("/channels/", [400, 400, 400, 405, 204]),
        ("/channels/%ff", [400, 400, 400, 405, 204]),
        ("/channels/news/history", [LATER, LATER, 405, 405, 204]),
        ("/channels/news/info", [LATER, LATER, 405, 405, 204]),
        ("/channels/news/other", [404, 404, 404, 404, 404]),
        ("/demo/stats", [LATER, LATER, 405, 405, 204]),
        ("/metrics", [404, 404, 404, 404, 404]),
        ("/nothing", [404, 404, 404, 404, 404]),
        ("*", [405, 405, 405, 405, 204]),
    ];
    let admin = [
        ("/", [200, 200, 405, 405, 204]),
        ("/healthz", [200, 200, 405, 405, 204]),
        ("/config", [200, 200, 405, 405, 204]),
        ("/metrics", [LATER, LATER, 405, 405, 204]),
        ("/readyz", [LATER, LATER, 405, 405, 204]),
        ("/shards", [LATER, LATER, 405, 405, 204]),
        ("/channels/news", [404, 404, 404, 404, 404]),
        ("/hello", [404, 404, 404, 404, 404]),
    ];
    let rows = public.iter().map(|row| (false, row)).chain(admin.iter().map(|row| (true, row)));
    for (is_admin, (path, statuses)) in rows {
        for (method, expected) in methods.into_iter().zip(statuses) {
            let mut rig = Rig { is_admin, ..Rig::open() };
            let fields = [("Content-Type", "text/plain")];
            let status = match rig.request(&format!("{method} {path}"), &fields, b"data") {
                Answer::Respond(response) => {
                    if response.status >= 400 {
                        code(&response);
                    }
                    response.status
                }
                Answer::Later { .. } => LATER,
                Answer::EventStream { .. } | Answer::LongPoll { .. } => STREAM,
            };
            assert_eq!(status, *expected, "{method} {path}, admin: {is_admin}");
        }
    }
}

#[test]
fn refused_methods_are_told_which_are_allowed_and_websockets_how_to_upgrade() {
    let mut rig = Rig::open();
    assert!(
        rig.respond("DELETE /channels/a", &[], b"").fields.contains("Allow: GET, HEAD, POST, OPTIONS\r\n")
    );
    assert!(rig.respond("GET /publish", &[], b"").fields.contains("Allow: POST, OPTIONS\r\n"));
    let upgrade = rig.respond("GET /ws", &[], b"");
    assert!(upgrade.fields.contains("Upgrade: websocket\r\nConnection: Upgrade\r\n"), "{upgrade:?}");
}

#[test]
fn what_is_turned_off_is_not_found() {
    let mut rig = Rig::new(Settings { diagnostics: false, demo: false, ..open_settings() });
    for path in ["/", "/hello", "/echo", "/demo/stats"] {
        assert_eq!(rig.respond(&format!("GET {path}"), &[], b"").status, 404, "{path}");
    }
    assert!(matches!(rig.connect("/echo", &[]), Verdict::Refuse(response) if response.status == 404));
}

#[test]
fn hello_carries_nothing_that_must_be_allocated() {
    let response = Rig::open().respond("GET /hello", &[("Origin", "http://other.example")], b"");
    assert_eq!((body(&response), response.fields.capacity()), ("Hello, World!", 0));
    assert!(matches!(response.body, crate::app::Body::Static(_)));
}

#[test]
fn the_accept_header_chooses_between_stream_and_poll() {
    let cases = [
        (&[][..], false),
        (&[("Accept", "*/*")], false),
        (&[("Accept", "text/event-stream")], true),
        (&[("Accept", "application/json, Text/Event-Stream;q=0.9")], true),
        (&[("Accept", "text/event-stream; q=0")], false),
        (&[("Accept", "text/html"), ("Accept", "text/event-stream")], true),
    ];
    for (fields, expected) in cases {
        let answer = Rig::open().request("GET /channels/news", fields, b"");
        assert_eq!(matches!(answer, Answer::EventStream { .. }), expected, "{fields:?}");
        assert_eq!(matches!(answer, Answer::LongPoll { .. }), !expected, "{fields:?}");
    }
}

#[test]
fn a_stream_resumes_at_last_event_id_before_since() {
    let resume = |query: &str, id: Option<&str>| {
        let mut fields = vec![("Accept", "text/event-stream")];
        fields.extend(id.map(|id| ("Last-Event-ID", id)));
        match Rig::open().request(&format!("GET /channels/n{query}"), &fields, b"") {
            Answer::EventStream { since, .. } => Ok(since),
            Answer::Respond(response) => Err(code(&response)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(resume("", None), Ok(None));
    assert_eq!(resume("?since=1:2", None), Ok(Some(at(1, 2))));
    assert_eq!(resume("?since=1:2", Some("1:5")), Ok(Some(at(1, 5))));
    assert_eq!(resume("?since=1:2", Some("")), Ok(Some(at(1, 2))));
    assert_eq!(resume("?since=", None), Ok(None));
    assert_eq!(resume("?since=1", None), Err("position_invalid".into()));
    assert_eq!(resume("", Some("x")), Err("position_invalid".into()));
}

#[test]
fn a_poll_waits_as_long_as_asked_within_the_limit() {
    let wait = |query: &str| match Rig::open().request(&format!("GET /channels/n{query}"), &[], b"") {
        Answer::LongPoll { timeout_ms, .. } => Ok(timeout_ms),
        Answer::Respond(response) => Err(code(&response)),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(""), Ok(25_000));
    assert_eq!(wait("?timeout=0"), Ok(0));
    assert_eq!(wait("?timeout=1.25"), Ok(1_250));
    assert_eq!(wait("?timeout=.5"), Ok(500));
    assert_eq!(wait("?timeout=60"), Ok(60_000));
    assert_eq!(wait("?timeout=61"), Ok(60_000));
    assert_eq!(wait(&format!("?timeout={}", "9".repeat(400))), Ok(60_000));
    for text in ["-1", "1e3", "inf", "NaN", "", ".", "1.2.3", "%2B1"] {
        assert_eq!(wait(&format!("?timeout={text}")), Err("timeout_invalid".into()), "{text}");
    }
}

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
fn history_is_read_from_the_owner_and_a_channel_without_any_reads_empty() {
    let mut rig = Rig::open();
    rig.request("GET /channels/n/history?since=3:4&limit=5", &[], b"");
    assert!(
        matches!(&rig.intents()[..], [Intent::ReadHistory { since: Some(since), limit: 5, .. }] if *since == at(3, 4))
    );
    rig.reply(0, Reply::History(HistoryPage { recovered: true, ..HistoryPage::default() }));
    let response = rig.response().expect("the answer");
    assert_eq!(
        body(&response),
        r#"{"channel":"n","epoch":null,"offset":null,"position":null,"recovered":true,"publications":[]}"#
    );
    for query in ["limit=0", "limit=1001", "limit=x", "limit=-1"] {
        let response = rig.respond(&format!("GET /channels/n/history?{query}"), &[], b"");
        assert_eq!((response.status, code(&response)), (400, "limit_invalid".into()), "{query}");
    }
}

#[test]
fn reports_of_all_shards_about_one_channel_are_added_up() {
    let mut rig = Rig::open();
    rig.request("GET /channels/n/info", &[], b"");
    let (token, question) = asked(&mut rig);
    assert!(matches!(question, Question::Channel(channel) if channel == name("n")));
    rig.reply(token, part(vec![report("n", [1, 2, 3, 4], None)]));
    rig.reply(token, part(vec![report("n", [10, 0, 0, 0], Some(6))]));
    assert!(rig.response().is_none(), "one shard has yet to answer");
    rig.reply(token, part(Vec::new()));
    let response = rig.response().expect("the answer");
    let expected = concat!(
        r#"{"channel":"n","subscribers":20,"transports":{"websocket":11,"json":2,"event_stream":3,"#,
        r#""long_poll":4},"epoch":9,"offset":6,"position":"9:6","history_publications":6,"history_bytes":60}"#
    );
    assert_eq!(body(&response), expected);
}

#[test]
fn the_list_is_merged_sorted_and_says_when_it_is_cut() {
    let list = |limit: u32| {
        let mut rig = Rig::open();
        rig.request(&format!("GET /channels?prefix=p%20&limit={limit}"), &[], b"");
        let (token, question) = asked(&mut rig);
        assert!(
            matches!(question, Question::Channels { prefix, limit: asked } if &*prefix == "p " && asked == limit + 1)
        );
        rig.reply(token, part(vec![report("p b", [1; 4], None), report("p c", [1; 4], Some(1))]));
        rig.reply(token, part(vec![report("p a", [0; 4], Some(1)), report("p b", [1; 4], Some(1))]));
        rig.reply(token, part(Vec::new()));
        let value: serde_json::Value =
            serde_json::from_str(body(&rig.response().expect("the answer"))).expect("JSON");
        let names = value["channels"].as_array().expect("a list").iter();
        let names: Vec<_> = names.map(|row| format!("{}={}", row["channel"], row["subscribers"])).collect();
        (names.join(" "), value["complete"].as_bool())
    };
    assert_eq!(list(3), (r#""p a"=0 "p b"=8 "p c"=4"#.into(), Some(true)));
    assert_eq!(list(2), (r#""p a"=0 "p b"=8"#.into(), Some(false)));
}

#[test]
fn silent_shards_are_told_after_the_timeout_and_late_answers_are_not_counted_elsewhere() {
    let mut rig = Rig { is_admin: true, ..Rig::open() };
    rig.request("GET /readyz", &[], b"");
    let timer = |rig: &mut Rig| {
        let intents = rig.intents();
        let timer = intents.iter().find_map(|intent| match intent {
            Intent::Timer { delay_ms: SURVEY_TIMEOUT_MS, timer } => Some(*timer),
            _ => None,
        });
        let token = intents.iter().find_map(|intent| match intent {
            Intent::Ask { ticket, .. } => Some(ticket.token),
            _ => None,
        });
        (timer.expect("a timer"), token.expect("a question"))
    };
    let (first_timer, first) = timer(&mut rig);
    rig.reply(first, shard_part(0, 1));
    rig.call(|server, cx, _| server.timer(cx, first_timer));
    assert!(rig.response().is_none(), "the time is not up");
    rig.now_ms += SURVEY_TIMEOUT_MS;
    rig.call(|server, cx, _| server.timer(cx, first_timer));
    let response = rig.response().expect("the answer");
    assert_eq!((response.status, code(&response)), (503, "shards_silent".into()));
    assert!(body(&response).contains("1 of 3"));

    rig.request("GET /readyz", &[], b"");
    let (_, second) = timer(&mut rig);
    rig.reply(first, shard_part(1, 1));
    rig.reply(second, shard_part(0, 1));
    rig.reply(second, shard_part(1, 1));
    rig.call(|server, cx, _| server.timer(cx, first_timer));
    assert!(rig.response().is_none());
    rig.reply(second, shard_part(2, 1));
    assert_eq!(rig.response().map(|response| response.status), Some(200));
}

#[test]
fn shards_and_stats_list_and_add_up_what_every_shard_reports() {
    let mut rig = Rig::open();
    rig.request("GET /demo/stats", &[], b"");
    let (token, _) = asked(&mut rig);
    (0..3).for_each(|shard| rig.reply(token, shard_part(shard, 10)));
    let response = rig.response().expect("the answer");
    assert_eq!(body(&response), r#"{"connections":30,"shards":3,"publications":0,"deliveries":15}"#);

    rig.is_admin = true;
    rig.request("GET /shards", &[], b"");
    let (token, _) = asked(&mut rig);
    (0..3).rev().for_each(|shard| rig.reply(token, shard_part(shard, 10)));
    let value: serde_json::Value =
        serde_json::from_str(body(&rig.response().expect("the answer"))).expect("JSON");
    let order: Vec<_> = value["shards"].as_array().expect("a list").iter().map(|row| &row["shard"]).collect();
    assert_eq!(order, [0, 1, 2]);
    let lengths = |key: &str| (value["shards"][0][key].as_array(), value["legend"][key].as_array());
    for key in ["sessions", "closed_total", "responses_total", "request_limits_total"] {
        let (Some(figures), Some(legend)) = lengths(key) else { panic!("{key} is no list") };
        assert_eq!(figures.len(), legend.len(), "{key}");
    }
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

#[test]
fn pages_of_other_sites_are_refused_before_anything_happens_and_allowed_ones_echoed() {
    let settings = Settings { allowed_origins: vec!["https://app.example".into()], ..open_settings() };
    let mut rig = Rig::new(settings);
    let evil = [("Origin", "https://evil.example"), ("Host", "api.example")];
    for line in ["POST /channels/n", "GET /channels/n", "GET /channels/n/history", "OPTIONS /channels/n"] {
        let response = rig.respond(line, &evil, b"x");
        assert_eq!((response.status, code(&response)), (403, "origin_not_allowed".into()), "{line}");
        assert!(!response.fields.contains("Access-Control"), "{line}");
    }
    assert!(rig.intents().is_empty());
    for target in ["/channels/n", "/ws", "/echo"] {
        assert!(matches!(rig.connect(target, &evil), Verdict::Refuse(response) if response.status == 403));
    }
    let good = [("Origin", "https://app.example"), ("Host", "api.example")];
    rig.accept("/ws", &good);
    let preflight = rig.respond("OPTIONS /channels/n", &good, b"");
    for field in [
        "Access-Control-Allow-Origin: https://app.example\r\n",
        "Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS\r\n",
        "Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID",
        "Access-Control-Max-Age: 7200\r\n",
        "Vary: Origin\r\n",
    ] {
        assert!(preflight.fields.contains(field), "{field} in {}", preflight.fields);
    }
    let error = rig.respond("GET /channels/%zz", &good, b"");
    assert!(error.fields.contains("Access-Control-Allow-Origin: https://app.example\r\n"));
    let plain = rig.respond("GET /channels/%zz", &[("Host", "api.example")], b"");
    assert!(!plain.fields.contains("Access-Control") && plain.fields.contains("Vary: Origin\r\n"));
}

#[test]
fn a_star_allows_every_origin_and_polls_carry_it() {
    let mut rig = Rig::new(Settings { allowed_origins: vec!["*".into()], ..open_settings() });
    match rig.request("GET /channels/n", &[("Origin", "null")], b"") {
        Answer::LongPoll { fields, .. } => {
            assert!(fields.contains("Access-Control-Allow-Origin: *\r\n"), "{fields}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_right_to_publish_over_a_websocket_is_decided_at_its_handshake() {
    let cases = [
        (open_settings(), "", true),
        (Settings { clients_publish: false, ..open_settings() }, "", false),
        (key_settings(), "", false),
        (key_settings(), "?key=secret", true),
        (Settings { clients_publish: false, ..key_settings() }, "?key=secret", false),
    ];
    for (settings, query, may_publish) in cases {
        let mut rig = Rig::new(settings.clone());
        rig.accept(&format!("/channels/n{query}"), &[]);
        rig.message(Message::Text("hi"));
        match &rig.intents()[..] {
            [Intent::Publish { channel, payload, ticket: None }] => {
                assert!(may_publish, "{query}");
                assert_eq!((channel, payload), (&name("n"), &Payload::new(*b"hi", None)));
            }
            [Intent::Close { reason: CloseReason::PolicyViolation, .. }] => assert!(!may_publish, "{query}"),
            other => panic!("{other:?}"),
        }
        let mut rig = Rig::new(settings);
        rig.accept(&format!("/ws{query}"), &[]);
        rig.message(Message::Text(r#"{"id":1,"publish":{"channel":"n","data":"hi"}}"#));
        let is_publish = |intent: &Intent| matches!(intent, Intent::Publish { .. });
        assert_eq!(rig.intents().iter().any(is_publish), may_publish, "{query}");
    }
    let wrong = Rig::new(key_settings()).connect("/ws?key=wrong", &[]);
    assert!(matches!(wrong, Verdict::Refuse(response) if code(&response) == "key_wrong"));
    Rig::new(key_settings()).accept("/ws", &[("Authorization", "Bearer other")]);
}

#[test]
fn a_channels_websocket_follows_it_from_the_position_asked() {
    match Rig::open().connect("/channels/n%2F1?since=2:3", &[]) {
        Verdict::Accept { channel: Some((channel, Some(since))), diagnostic: false, .. } => {
            assert_eq!((channel, since), (name("n/1"), at(2, 3)));
        }
        other => panic!("{other:?}"),
    }
    let refused = |target: &str| match Rig::open().connect(target, &[]) {
        Verdict::Refuse(response) => code(&response),
        other => panic!("{target}: {other:?}"),
    };
    assert_eq!(refused("/channels/n?since=x"), "position_invalid");
    assert_eq!(refused("/hello"), "not_a_websocket");
    assert_eq!(refused("/nothing"), "not_found");
}

#[test]
fn echo_sends_back_what_came_text_as_text() {
    let mut rig = Rig::open();
    assert!(matches!(rig.connect("/echo", &[]), Verdict::Accept { diagnostic: true, channel: None, .. }));
    rig.accept("/echo", &[]);
    assert_eq!(rig.command("hé"), "hé");
    rig.message(Message::Binary(b"\xff"));
    assert!(matches!(rig.intents()[..], [Intent::Send { is_text: false, .. }]));
}

#[test]
fn commands_are_answered_by_their_id() {
    let mut rig = Rig::open();
    rig.accept("/ws", &[]);
    assert_eq!(rig.command(r#"{"id":4,"ping":{}}"#), r#"{"id":4,"pong":{}}"#);

    rig.message(Message::Text(r#"{"id":1,"subscribe":{"channel":"n","since":"1:2"}}"#));
    match &rig.intents()[..] {
        [Intent::Subscribe { channel, since, transport: Transport::Json, token: 1, .. }] => {
            assert_eq!((channel, *since), (&name("n"), Some(at(1, 2))));
        }
        other => panic!("{other:?}"),
    }
    rig.reply(1, Reply::Subscribed { channel: name("n"), position: at(1, 5), recovered: true, missed: 3 });
    assert_eq!(
        rig.sent(),
        r#"{"id":1,"subscribed":{"channel":"n","epoch":1,"offset":5,"recovered":true,"missed":3}}"#
    );
    rig.reply(2, Reply::NotSubscribed { channel: name("n"), error: SubscribeError::Already });
    assert!(rig.sent().starts_with(r#"{"id":2,"error":{"code":"already_subscribed","#));

    rig.message(Message::Text(r#"{"id":3,"unsubscribe":{"channel":"n"}}"#));
    let intents = rig.intents();
    assert!(matches!(&intents[..], [Intent::Unsubscribe { .. }, Intent::Send { .. }]), "{intents:?}");
}

#[test]
fn published_names_the_channel_whatever_the_order_of_answers() {
    let mut rig = Rig::open();
    rig.accept("/ws", &[]);
    rig.message(Message::Text(r#"{"id":1,"publish":{"channel":"a","data":"x"}}"#));
    rig.message(Message::Text(r#"{"id":2,"publish":{"channel":"b","data":"y"}}"#));
    rig.intents();
    rig.reply(2, Reply::Published(Ok(at(1, 1))));
    assert_eq!(rig.sent(), r#"{"id":2,"published":{"channel":"b","epoch":1,"offset":1}}"#);
    rig.reply(1, Reply::Published(Err(PublishError::Busy)));
    assert!(rig.sent().starts_with(r#"{"id":1,"error":{"code":"busy","#));
    rig.reply(1, Reply::Published(Ok(at(1, 1))));
    assert!(rig.intents().is_empty(), "a command is answered once");
}

#[test]
fn publish_commands_beyond_those_in_flight_are_busy() {
    let mut rig = Rig::open();
    rig.accept("/ws", &[]);
    let publish = |id: usize| format!(r#"{{"id":{id},"publish":{{"channel":"a","data":"x"}}}}"#);
    (0..PUBLISHES_IN_FLIGHT_MAX).for_each(|id| rig.message(Message::Text(&publish(id))));
    assert_eq!(published(&mut rig).len(), PUBLISHES_IN_FLIGHT_MAX);
    assert!(rig.command(&publish(999)).contains(r#""code":"busy""#));
    rig.reply(0, Reply::Published(Ok(at(1, 1))));
    rig.intents();
    rig.message(Message::Text(&publish(999)));
    assert_eq!(published(&mut rig).len(), 1);
}

#[test]
fn a_command_that_cannot_be_followed_gets_a_reply_and_the_connection_lives() {
    let mut rig = Rig::new(Settings { clients_publish: false, ..open_settings() });
    rig.accept("/ws", &[]);
    let cases = [
        ("{", r#"{"id":null,"error":{"code":"json_invalid""#),
        ("[1]", r#"{"id":null,"error":{"code":"not_an_object""#),
        (r#"{"id":5,"subscribe":{"channel":""}}"#, r#"{"id":5,"error":{"code":"channel_name_invalid""#),
        (r#"{"id":6,"unsubscribe":{"channel":"\n"}}"#, r#"{"id":6,"error":{"code":"channel_name_invalid""#),
        (r#"{"id":7,"publish":{"channel":"a","data":1}}"#, r#"{"id":7,"error":{"code":"publish_forbidden""#),
    ];
    for (command, reply) in cases {
        let sent = rig.command(command);
        assert!(sent.starts_with(reply), "{command}: {sent}");
    }
    rig.message(Message::Binary(b"{}"));
    assert!(rig.sent().starts_with(r#"{"id":null,"error":{"code":"binary_unsupported""#));
    assert_eq!(rig.command(r#"{"id":8,"ping":{}}"#), r#"{"id":8,"pong":{}}"#);
}

#[test]
fn a_raw_websocket_that_publishes_too_often_is_told_to_come_back_later() {
    let limits = Limits { publications_per_key_per_second_max: 1, ..Limits::default() };
    let mut rig = Rig::new(Settings { limits, ..open_settings() });
    rig.accept("/channels/n", &[]);
    rig.message(Message::Text("1"));
    rig.intents();
    rig.message(Message::Text("2"));
    let intents = rig.intents();
    assert!(
        matches!(
            intents[..],
            [Intent::CountRateLimited, Intent::Close { reason: CloseReason::Overloaded, .. }]
        ),
        "{intents:?}"
    );
}

#[test]
fn the_admin_listener_tells_health_and_configuration() {
    let settings = Settings { config_json: r#"{"a":1}"#.into(), ..open_settings() };
    let mut rig = Rig { is_admin: true, ..Rig::new(settings) };
    let text = |response: Response| (response.status, body(&response).to_owned());
    assert_eq!(text(rig.respond("GET /healthz", &[], b"")), (200, "ok\n".into()));
    assert_eq!(text(rig.respond("GET /config", &[], b"")), (200, r#"{"a":1}"#.into()));
    assert!(text(rig.respond("GET /", &[], b"")).1.contains("/metrics"));
    assert!(matches!(rig.connect("/ws", &[]), Verdict::Refuse(response) if response.status == 404));
}
