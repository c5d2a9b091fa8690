//! What other shards are asked: history, sums over all shards, and shards that stay silent.

use super::super::Settings;
use super::super::testing::{CONNECTION, Rig, at, body, code, name, open_settings};
use crate::app::{Handler, Intent, Reply, StatePage};
use crate::limits::SURVEY_TIMEOUT_MS;
use crate::mesh::{self, ChannelReport, HistoryPage, Question, ShardReport};
use crate::model::ShardId;

fn report(channel: &str, subscribers: [u32; 5], offset: Option<u64>) -> ChannelReport {
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

#[test]
fn an_answer_that_comes_after_its_question_was_given_up_is_taken_for_no_other() {
    let mut rig = Rig::open();
    let ask = |rig: &mut Rig, key: &str| {
        rig.request(&format!("GET /channels/n/state/{key}"), &[], b"");
        match &rig.intents()[..] {
            [Intent::ReadState { ticket, .. }] => ticket.token,
            other => panic!("{other:?}"),
        }
    };
    let first = ask(&mut rig, "a");
    rig.now_ms += 10_000;
    rig.call(|server, cx, _| server.shards_silent(cx, &[ShardId(0)]));
    assert_eq!(rig.response().map(|response| response.status), Some(503));
    let second = ask(&mut rig, "b");
    rig.reply_to(first, Reply::State(StatePage::default()));
    assert!(rig.response().is_none(), "what \"a\" holds says nothing of \"b\"");
    rig.reply_to(second, Reply::State(StatePage::default()));
    assert_eq!(rig.response().map(|response| response.status), Some(404));
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
        r#"{"channel":"n","epoch":null,"offset":null,"position":null,"recovered":true,"more":false,"publications":[]}"#
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
    rig.reply_to(token, part(vec![report("n", [1, 2, 3, 4, 5], None)]));
    rig.reply_to(token, part(vec![report("n", [10, 0, 0, 0, 0], Some(6))]));
    assert!(rig.response().is_none(), "one shard has yet to answer");
    rig.reply_to(token, part(Vec::new()));
    let response = rig.response().expect("the answer");
    let expected = concat!(
        r#"{"channel":"n","subscribers":25,"transports":{"websocket":11,"json":2,"event_stream":3,"#,
        r#""long_poll":4,"socketio":5},"epoch":9,"offset":6,"position":"9:6","history_publications":6,"history_bytes":60}"#
    );
    assert_eq!(body(&response), expected);
}

#[test]
fn what_other_nodes_know_is_added_and_those_that_do_not_answer_are_counted() {
    let joined = || Rig::new(Settings { has_broker: true, ..open_settings() });
    let of_nodes =
        |reports, missing| Reply::Survey { survey: mesh::Survey::Nodes { reports, missing, is_cut: false } };
    let own = || part(vec![report("n", [1, 0, 0, 0, 0], Some(6))]);
    let others = vec![report("n", [2, 0, 0, 0, 0], Some(7)), report("n", [4, 0, 0, 0, 0], None)];
    // In whatever order they come: each node has a copy of the history, and it is not added up.
    for is_first in [true, false] {
        let mut rig = joined();
        rig.request("GET /channels/n/info", &[], b"");
        let (token, _) = asked(&mut rig);
        if is_first {
            rig.reply_to(token, of_nodes(others.clone(), 1));
        }
        rig.reply_to(token, own());
        rig.reply_to(token, part(Vec::new()));
        rig.reply_to(token, part(Vec::new()));
        if !is_first {
            assert!(rig.response().is_none(), "other nodes have yet to answer");
            rig.reply_to(token, of_nodes(others.clone(), 1));
        }
        let info: serde_json::Value =
            serde_json::from_str(body(&rig.response().expect("the answer"))).expect("JSON");
        assert_eq!((&info["subscribers"], &info["offset"]), (&7.into(), &7.into()), "{info}");
        assert_eq!((&info["history_publications"], &info["missing_nodes"]), (&7.into(), &1.into()), "{info}");
    }
    let mut rig = joined();
    rig.request("GET /channels", &[], b"");
    let (mut token, mut timer) = (None, None);
    for intent in rig.intents() {
        match intent {
            Intent::Ask { ticket, .. } => token = Some(ticket.token),
            Intent::Timer { timer: asked, .. } => timer = Some(asked),
            _ => {}
        }
    }
    let (token, timer) = (token.expect("a question"), timer.expect("a timer"));
    (0..3).for_each(|_| rig.reply_to(token, own()));
    rig.now_ms += SURVEY_TIMEOUT_MS;
    rig.call(|server, cx, _| server.timer(cx, timer));
    let list = rig.response().expect("the answer");
    assert!(body(&list).ends_with(r#"],"complete":false,"missing_nodes":1}"#), "{}", body(&list));
}

#[test]
fn the_list_is_merged_sorted_and_says_when_it_is_cut() {
    let list = |limit: u32| {
        let mut rig = Rig::open();
        rig.request(&format!("GET /channels?prefix=p%20&limit={limit}"), &[], b"");
        let (token, question) = asked(&mut rig);
        assert!(
            matches!(question, Question::Channels { prefix, limit: asked, .. } if &*prefix == "p " && asked == limit + 1)
        );
        rig.reply_to(token, part(vec![report("p b", [1; 5], None), report("p c", [1; 5], Some(1))]));
        rig.reply_to(token, part(vec![report("p a", [0; 5], Some(1)), report("p b", [1; 5], Some(1))]));
        rig.reply_to(token, part(Vec::new()));
        let value: serde_json::Value =
            serde_json::from_str(body(&rig.response().expect("the answer"))).expect("JSON");
        let names = value["channels"].as_array().expect("a list").iter();
        let names: Vec<_> = names.map(|row| format!("{}={}", row["channel"], row["subscribers"])).collect();
        (names.join(" "), value["complete"].as_bool())
    };
    assert_eq!(list(3), (r#""p a"=0 "p b"=10 "p c"=5"#.into(), Some(true)));
    assert_eq!(list(2), (r#""p a"=0 "p b"=10"#.into(), Some(false)));
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
    rig.reply_to(first, shard_part(0, 1));
    rig.call(|server, cx, _| server.timer(cx, first_timer));
    assert!(rig.response().is_none(), "the time is not up");
    rig.now_ms += SURVEY_TIMEOUT_MS;
    rig.call(|server, cx, _| server.timer(cx, first_timer));
    let response = rig.response().expect("the answer");
    assert_eq!((response.status, code(&response)), (503, "shards_silent".into()));
    assert!(body(&response).contains("1 of 3"));

    rig.request("GET /readyz", &[], b"");
    let (_, second) = timer(&mut rig);
    rig.reply_to(first, shard_part(1, 1));
    rig.reply_to(second, shard_part(0, 1));
    rig.reply_to(second, shard_part(1, 1));
    rig.call(|server, cx, _| server.timer(cx, first_timer));
    assert!(rig.response().is_none());
    rig.reply_to(second, shard_part(2, 1));
    assert_eq!(rig.response().map(|response| response.status), Some(200));
}

#[test]
fn shards_and_stats_list_and_add_up_what_every_shard_reports() {
    let mut rig = Rig::open();
    rig.request("GET /demo/stats", &[], b"");
    let (token, _) = asked(&mut rig);
    (0..3).for_each(|shard| rig.reply_to(token, shard_part(shard, 10)));
    let response = rig.response().expect("the answer");
    assert_eq!(body(&response), r#"{"connections":30,"shards":3,"publications":0,"deliveries":15}"#);

    rig.is_admin = true;
    rig.request("GET /shards", &[], b"");
    let (token, _) = asked(&mut rig);
    (0..3).rev().for_each(|shard| rig.reply_to(token, shard_part(shard, 10)));
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
