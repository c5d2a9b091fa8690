//! Pages of other sites, and the fields of CORS.

use super::super::Settings;
use super::super::testing::{Rig, code, open_settings};
use crate::app::{Answer, Verdict};

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
fn listed_pages_may_send_cookies_and_the_fields_they_ask_for() {
    let allowed_origins = vec!["https://app.example".into()];
    let settings = Settings { allowed_origins, origins_credentials: true, ..open_settings() };
    let fields = [
        ("Origin", "https://app.example"),
        ("Host", "api.example"),
        ("Access-Control-Request-Headers", "x-mine, content-type"),
    ];
    let preflight = Rig::new(settings.clone()).respond("OPTIONS /publish", &fields, b"");
    assert!(preflight.fields.contains("Access-Control-Allow-Credentials: true\r\n"), "{}", preflight.fields);
    assert!(preflight.fields.contains("Access-Control-Allow-Headers: x-mine, content-type\r\n"));
    let any = Settings { allowed_origins: vec!["*".into()], ..settings };
    let preflight = Rig::new(any).respond("OPTIONS /publish", &fields, b"");
    assert!(!preflight.fields.contains("Credentials"), "no browser takes both: {}", preflight.fields);
}
