//! What the dashboard is told, by the real program.

use serde_json::Value;

use crate::{
    server::{Patience, Server},
    stream::EventStream,
};

/// The next event's member of this name.
#[track_caller]
fn next(stream: &mut EventStream, member: &str) -> Value {
    let said: Value = serde_json::from_str(&stream.data()).expect("events are JSON");
    said.get(member).unwrap_or_else(|| panic!("{member} is missing in {said}")).clone()
}

#[test]
fn the_dashboard_is_told_how_every_shard_is_while_it_is_open() {
    let server = Server::start(&[]);
    let mut dashboard = EventStream::dashboard(server.connect_admin());
    assert_eq!(dashboard.head.field("content-type"), Some("text/event-stream; charset=utf-8"));
    let first = next(&mut dashboard, "first");
    assert_eq!(first["config"]["limits"]["channels_max"].as_u64(), Some(1_000_000));
    let now = next(&mut dashboard, "now");
    assert_eq!((now["shards_expected"].as_u64(), now["is_ready"].as_bool()), (Some(2), Some(true)));
    let mut follower = EventStream::open(server.connect(), "prices", "", "");
    server.publish("prices", "1");
    assert_eq!(follower.data(), "1");
    let patience = Patience::begin();
    let busiest = loop {
        patience.check("the channel is among the busiest");
        server.publish("prices", "2");
        let now = next(&mut dashboard, "now");
        if let Some(one) = now["busiest"].as_array().expect("a list").first() {
            assert_eq!(now["shards"].as_array().map(Vec::len), Some(2));
            break one.clone();
        }
    };
    assert_eq!(busiest["channel"], "prices");
}

#[test]
fn a_second_dashboard_is_told_the_past_as_well_and_the_first_goes_on() {
    let server = Server::with_shards(1, &[]);
    let mut one = EventStream::dashboard(server.connect_admin());
    next(&mut one, "first");
    next(&mut one, "now");
    let mut other = EventStream::dashboard(server.connect_admin());
    assert!(next(&mut other, "first")["past"].is_array());
    next(&mut other, "now");
    next(&mut one, "now");
    drop(one);
    next(&mut other, "now");
}

#[test]
fn the_dashboard_sees_the_end_of_the_server() {
    let mut server = Server::start(&["server.drain_ms=60000"]);
    let mut dashboard = EventStream::dashboard(server.connect_admin());
    let client = EventStream::open(server.connect(), "news", "", "");
    let other = EventStream::open(server.connect(), "news", "", "");
    next(&mut dashboard, "first");
    next(&mut dashboard, "now");
    server.signal("TERM");
    let patience = Patience::begin();
    while next(&mut dashboard, "now")["is_draining"] != true {
        patience.check("the page is told");
    }
    // With nobody left the server ends long before its time is up.
    drop((client, other));
    assert!(server.wait().success());
}
