//! The dashboard: who may watch, what is asked of the shards while somebody does, and what those who watch are told.

use serde_json::{Value, json};

use super::super::{
    dashboard::TICK,
    testing::{CONNECTION, Rig, body, code, name},
};
use crate::{
    app::{Answer, Handler, Intent, Reply},
    limits::{DASHBOARD_INTERVAL_MS, DASHBOARDS_MAX, SAMPLE_MS},
    mesh::{self, BusyChannel, BusyOrigin, Look, Question, Sample, ShardReport, Trouble},
    model::{CloseReason, ConnectionId, Passage},
};

fn watch(rig: &mut Rig) {
    let answer = rig.request("GET /dashboard/live", &[], b"");
    assert!(matches!(answer, Answer::Events { .. }), "{answer:?}");
}

/// What was asked for: the tokens of questions and whether the past was wanted, and how many timers were set.
fn asked(rig: &mut Rig) -> (Vec<(u32, bool)>, usize) {
    let (mut questions, mut timers) = (Vec::new(), 0);
    for intent in rig.intents() {
        match intent {
            Intent::Ask { ticket, question: Question::Look { with_past } } => {
                assert_eq!(ticket.connection, CONNECTION);
                questions.push((ticket.token, with_past));
            }
            Intent::Timer { delay_ms: DASHBOARD_INTERVAL_MS, timer: TICK } => timers += 1,
            Intent::Send { .. } => {}
            other => panic!("{other:?} was not to be asked"),
        }
    }
    (questions, timers)
}

/// What was sent, as JSON.
fn told(rig: &mut Rig) -> Vec<(ConnectionId, Value)> {
    let list = rig.intents.take();
    let sent = list.iter().filter_map(|intent| match intent {
        Intent::Send { connection, range, .. } => {
            Some((*connection, serde_json::from_slice(rig.intents.bytes(range.clone())).expect("JSON")))
        }
        _ => None,
    });
    let sent = sent.collect();
    rig.intents.reset(list);
    sent
}

fn look(shard: u16, past: Vec<Sample>) -> Look {
    let report =
        ShardReport { shard, connections: 10, dropped_slow_total: shard.into(), ..ShardReport::default() };
    let channel = name("prices");
    let busiest = vec![BusyChannel { channel, publications: f32::from(shard == 0), deliveries: 100.0 }];
    let (address, passage) = ([192, 0, 2, 1].into(), shard == 0);
    let passage = passage.then(|| Passage { is_secure: true, ..Passage::default() });
    Look { report, busiest, origins: vec![BusyOrigin { address, passage, connections: 10 }], past }
}

fn answer(rig: &mut Rig, token: u32, look: Look) {
    rig.reply(token, Reply::Survey { survey: mesh::Survey::Look(Box::new(look)) });
}

fn tick(rig: &mut Rig) {
    rig.now_ms += DASHBOARD_INTERVAL_MS;
    rig.call(|server, cx, _| server.timer(cx, TICK));
}

fn rig() -> Rig {
    Rig { is_admin: true, ..Rig::open() }
}

#[test]
fn while_nobody_watches_nothing_is_asked_and_while_somebody_does_one_timer_runs() {
    let mut rig = rig();
    rig.request("GET /dashboard", &[], b"");
    assert_eq!(asked(&mut rig), (Vec::new(), 0));
    watch(&mut rig);
    let (questions, timers) = asked(&mut rig);
    assert_eq!((questions.len(), timers), (1, 1));
    watch(&mut rig);
    assert_eq!(asked(&mut rig), (Vec::new(), 0), "the second waits for the next question");
    tick(&mut rig);
    let (questions, timers) = asked(&mut rig);
    assert_eq!((questions.len(), questions[0].1, timers), (1, true, 1));
    rig.call(|server, cx, peer| server.disconnect(cx, peer, CloseReason::ClientGone));
    // One that comes before the last tick goes on with its timer.
    watch(&mut rig);
    assert_eq!(asked(&mut rig), (Vec::new(), 0));
    tick(&mut rig);
    assert_eq!(asked(&mut rig).1, 1);
    rig.call(|server, cx, peer| server.disconnect(cx, peer, CloseReason::ClientGone));
    tick(&mut rig);
    assert_eq!(asked(&mut rig), (Vec::new(), 0), "the last has gone");
    watch(&mut rig);
    assert_eq!(asked(&mut rig).1, 1);
}

#[test]
fn who_watches_is_told_the_last_hour_first_and_then_how_all_shards_are() {
    let mut rig = rig();
    watch(&mut rig);
    let (questions, _) = asked(&mut rig);
    let [(token, true)] = questions[..] else { panic!("{questions:?}") };
    let sample = |unix_ms, deliveries| {
        let mut troubles = [0; Trouble::COUNT];
        troubles[Trouble::RateLimited as usize] = 2;
        Sample {
            unix_ms,
            connections: 5,
            deliveries,
            busy_permille: deliveries,
            troubles,
            ..Sample::default()
        }
    };
    // Samples of one time are within a moment of each other.
    answer(&mut rig, token, look(2, vec![sample(10 * SAMPLE_MS, 7), sample(11 * SAMPLE_MS + 900, 1)]));
    answer(&mut rig, token, look(0, vec![sample(10 * SAMPLE_MS + 20, 30)]));
    assert_eq!(told(&mut rig).len(), 0, "one shard has yet to answer");
    answer(&mut rig, token, look(1, Vec::new()));
    let told = told(&mut rig);
    let [(CONNECTION, first), (CONNECTION, now)] = &told[..] else { panic!("{told:?}") };
    let past = &first["first"]["past"];
    assert_eq!(past.as_array().map(Vec::len), Some(2), "{past}");
    assert_eq!((past[0]["connections"].as_u64(), past[0]["deliveries"].as_u64()), (Some(10), Some(37)));
    let number = (Trouble::RateLimited as usize).to_string();
    assert_eq!(
        (past[0]["busy_permille"].as_u64(), past[0]["troubles"][&number].as_u64()),
        (Some(30), Some(4))
    );
    let now = &now["now"];
    let shards: Vec<_> = now["shards"].as_array().expect("a list").iter().map(|row| &row["shard"]).collect();
    assert_eq!((shards, now["shards_expected"].as_u64()), (vec![&0.into(), &1.into(), &2.into()], Some(3)));
    assert_eq!(now["troubles"][2][Trouble::DroppedSlow as usize], 2);
    assert_eq!(now["busiest"].as_array().map(Vec::len), Some(1), "the same channel on several shards is one");
    assert_eq!(
        (now["busiest"][0]["publications"].as_f64(), now["busiest"][0]["deliveries"].as_f64()),
        (Some(1.0), Some(300.0))
    );
    let directly = json!({"address": "192.0.2.1", "connections": 20});
    let passed_on =
        json!({"address": "192.0.2.1", "connections": 10, "is_secure": true, "host": null, "hops": []});
    assert_eq!(now["origins"], json!([directly, passed_on]), "each way is a line of its own");
}

#[test]
fn a_shard_that_does_not_answer_is_missing_and_what_it_says_later_is_not_counted_twice() {
    let mut rig = rig();
    watch(&mut rig);
    let (questions, _) = asked(&mut rig);
    let late = questions[0].0;
    answer(&mut rig, late, look(0, Vec::new()));
    tick(&mut rig);
    let (list, shards) = {
        let told = told(&mut rig);
        (told.len(), told[1].1["now"]["shards"].as_array().map(Vec::len))
    };
    assert_eq!((list, shards), (2, Some(1)));
    answer(&mut rig, late, look(1, Vec::new()));
    answer(&mut rig, late, look(2, Vec::new()));
    assert_eq!(told(&mut rig).len(), 0);
}

#[test]
fn as_many_watch_as_may_and_pages_of_other_sites_take_none_of_their_places() {
    let mut rig = rig();
    for site in ["cross-site", "same-site"] {
        let refused = rig.respond("GET /dashboard/live", &[("Sec-Fetch-Site", site)], b"");
        assert_eq!((refused.status, code(&refused)), (403, "origin_not_allowed".into()));
    }
    let refused = rig.respond("GET /dashboard/live", &[("Origin", "http://localhost:8081")], b"");
    assert_eq!(refused.status, 403);
    for _ in 0..DASHBOARDS_MAX {
        let answer = rig.request("GET /dashboard/live", &[("Sec-Fetch-Site", "same-origin")], b"");
        assert!(matches!(answer, Answer::Events { .. }));
    }
    let refused = rig.respond("GET /dashboard/live", &[], b"");
    assert_eq!((refused.status, code(&refused)), (503, "dashboards_full".into()));
    rig.call(|server, cx, peer| server.disconnect(cx, peer, CloseReason::ClientGone));
    watch(&mut rig);
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_never_parses_text_as_html() {
    let response = rig().respond("GET /dashboard", &[], b"");
    let page = body(&response);
    for forbidden in
        ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "src=", "@import"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for (at, _) in page.match_indices("http") {
        let link = &page[at..(at + 18).min(page.len())];
        assert!(!link.contains("://") || link.contains("www.w3.org"), "{link}");
    }
    let ids = page.split("$('").skip(1).map(|call| call.split('\'').next().unwrap_or_default());
    for id in ids {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert!(response.fields.contains("default-src 'none'"));
}

#[test]
fn every_setting_that_the_page_names_is_one() {
    let config: Value =
        serde_json::from_str(&crate::config::Config::default().effective_json()).expect("JSON");
    let is_setting = |name: &str| config.pointer(&format!("/{}", name.replace('.', "/"))).is_some();
    for trouble in Trouble::ALL.into_iter().filter(|trouble| !trouble.setting().is_empty()) {
        assert!(is_setting(trouble.setting()), "{}", trouble.setting());
    }
    let script = include_str!("../dashboard/dashboard.js");
    let names = script.split('\'').filter(|word| {
        let is_name =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte));
        is_name(word) && (word.starts_with("limits.") || word.starts_with("server."))
    });
    let names: Vec<_> = names.collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(is_setting(name), "{name}");
    }
}
