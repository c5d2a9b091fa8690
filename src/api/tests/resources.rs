//! Which resource answers which method, and what the fixed resources say.

use super::super::Settings;
use super::super::testing::{Rig, body, code, open_settings};
use crate::app::{Answer, Response, Verdict};

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
        ("/events?channel=a&channel=b", [STREAM, STREAM, 405, 405, 204]),
        ("/events", [400, 400, 405, 405, 204]),
        ("/channels/a%2Fb", [STREAM, STREAM, LATER, 405, 204]),
        ("/channels/", [400, 400, 400, 405, 204]),
        ("/channels/%ff", [400, 400, 400, 405, 204]),
        ("/channels/news/history", [LATER, LATER, 405, 405, 204]),
        ("/channels/news/info", [LATER, LATER, 405, 405, 204]),
        ("/channels/news/other", [404, 404, 404, 404, 404]),
        ("/demo/stats", [LATER, LATER, 405, 405, 204]),
        ("/demo/crowd", [404, 404, 405, 405, 204]),
        ("/demo/crowd/open", [405, 405, 404, 405, 204]),
        ("/demo/chat", [200, 200, 405, 405, 204]),
        ("/demo/lobby", [200, 200, 405, 405, 204]),
        ("/socket.io/socket.io.js", [404, 404, 405, 405, 204]),
        ("/socket.io/other.js", [404, 404, 404, 404, 404]),
        ("/socket.io-api", [200, 200, 405, 405, 204]),
        ("/socket.io-api/emit", [405, 405, 415, 405, 204]),
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
        ("/dashboard", [200, 200, 405, 405, 204]),
        ("/dashboard/live", [STREAM, 405, 405, 405, 204]),
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
                Answer::EventStream { .. }
                | Answer::Events { .. }
                | Answer::LongPoll { .. }
                | Answer::EventStreams { .. }
                | Answer::LongPolls { .. } => STREAM,
                Answer::Consult(_) => panic!("no backend decides here"),
                Answer::HandOver(shard) => panic!("handed over to shard {shard}"),
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
    for path in ["/", "/hello", "/echo", "/demo/stats", "/demo/chat", "/demo/lobby"] {
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
fn the_admin_listener_tells_health_and_configuration() {
    let settings = Settings { config_json: r#"{"a":1}"#.into(), ..open_settings() };
    let mut rig = Rig { is_admin: true, ..Rig::new(settings) };
    let text = |response: Response| (response.status, body(&response).to_owned());
    assert_eq!(text(rig.respond("GET /healthz", &[], b"")), (200, "ok\n".into()));
    assert_eq!(text(rig.respond("GET /config", &[], b"")), (200, r#"{"a":1}"#.into()));
    assert!(text(rig.respond("GET /", &[], b"")).1.contains("/metrics"));
    assert!(matches!(rig.connect("/ws", &[]), Verdict::Refuse(response) if response.status == 404));
}
