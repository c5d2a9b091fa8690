//! The crowd that the demo opens to its own server.

use serde_json::Value;

use crate::{
    certificate,
    server::{Server, await_that},
};

fn told(server: &Server) -> Value {
    server.get("/demo/crowd").json()
}

fn order(server: &Server, order: &str) -> Value {
    let answer = server.connect().request("POST", &format!("/demo/crowd/{order}"), "", b"");
    assert_eq!(answer.status, 200, "{order}");
    answer.json()
}

#[test]
fn a_crowd_comes_once_hears_what_is_said_to_it_and_goes() {
    let server = Server::with_shards(2, &["limits.connections_max=120"]);
    if certificate::is_used_everywhere() {
        // It would have to trust a certificate that is for other names.
        assert_eq!(order(&server, "open")["phase"], "none");
        return;
    }
    assert_eq!((&told(&server)["phase"], &told(&server)["wanted"]), (&"closed".into(), &60.into()));
    assert_eq!(order(&server, "say")["delivered"], Value::Null, "there is nobody to say it to");
    assert_eq!(order(&server, "open")["phase"], "opening");
    order(&server, "open");
    await_that("all are there", || told(&server)["phase"] == "open");
    server.await_subscribers("demo-crowd", 60);
    assert!(told(&server)["after"]["resident_bytes"].as_u64() > Some(0), "{}", told(&server));
    for number in 1..=2 {
        order(&server, "say");
        await_that("it has come to all", || told(&server)["delivered"]["number"] == number);
        let delivered = &told(&server)["delivered"];
        let us = |name: &str| delivered[name].as_u64().expect("a number");
        assert_eq!(us("to"), 60, "{delivered}");
        let times = ["first_us", "p50_us", "p99_us", "last_us"].map(us);
        assert!(times.is_sorted(), "{delivered}");
    }
    order(&server, "close");
    await_that("it has gone", || told(&server)["phase"] == "closed");
    server.await_subscribers("demo-crowd", 0);
    order(&server, "open");
    await_that("another one comes", || told(&server)["phase"] == "open");
    // Its process ends with the server, which waits for nobody.
    server.stop();
}

#[test]
fn where_others_could_see_it_there_is_no_crowd() {
    let settings = ["demo.enabled=true", "read.open=true", "publish.open=true"];
    let server = Server::launch(&mut Server::command(1, &["0.0.0.0:0"], &settings));
    assert_eq!(order(&server, "open")["phase"], "none");
    assert!(told(&server)["why"].as_str().is_some_and(|why| why.contains("loopback")), "{}", told(&server));
    drop(server);
    let off = Server::start(&["demo.enabled=false"]);
    for target in ["/demo/crowd", "/demo/crowd/open"] {
        assert_eq!(off.get(target).status, 404, "{target}");
    }
}

#[test]
fn whoever_may_not_follow_is_told_so() {
    let server = Server::with_shards(1, &["limits.connections_max=120", "read.open=false"]);
    if certificate::is_used_everywhere() {
        return;
    }
    order(&server, "open");
    await_that("it is told why", || told(&server)["why"].as_str().is_some_and(|why| why.contains("401")));
    assert_eq!(told(&server)["open"], 0);
}
