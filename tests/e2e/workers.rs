//! `roadstead run --workers N`: several processes of a program, each with its share of the clients.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    program::{Player, app, command, signal},
    server::{Patience, Server, await_that},
};

const WORKERS: usize = 3;

fn run() -> Server {
    let mut command = command(2, &["server.listen=127.0.0.1:0"]);
    Server::launch(command.args(["--workers", &WORKERS.to_string()]).arg(app()))
}

/// So many clients, each with the number of the process that has greeted it.
fn players(server: &Server, count: usize) -> Vec<(Player, u64)> {
    let enter = |_| {
        let mut player = Player::open(server, "", &json!({}));
        let pid = greeted(&mut player, false);
        (player, pid)
    };
    (0..count).map(enter).collect()
}

/// The process that greets a client, as one that was there or as a new one.
#[track_caller]
fn greeted(player: &mut Player, was_there: bool) -> u64 {
    let hello = player.event();
    assert_eq!((&hello[0], &hello[2]), (&json!("hello"), &json!(was_there)), "{hello}");
    hello[1].as_u64().expect("a process")
}

/// Clients of every process: as many as it takes.
fn of_all(server: &Server) -> Vec<(Player, u64)> {
    let patience = Patience::begin();
    let mut all: Vec<(Player, u64)> = Vec::new();
    loop {
        patience.check("every process has clients");
        all.extend(players(server, WORKERS));
        if all.iter().map(|one| one.1).collect::<BTreeSet<u64>>().len() == WORKERS {
            return all;
        }
    }
}

#[test]
fn clients_are_spread_over_the_processes_and_hear_each_other() {
    let server = run();
    let mut all = of_all(&server);
    for (player, _) in &mut all {
        assert_eq!(player.ask(&json!(["join", "room"])), json!([true]));
        assert_eq!(player.ask(&json!(["echo", 1, "two"])), json!([1, "two"]));
    }
    let (player, _) = &mut all[0];
    player.emit(&json!(["tell", "room", "to all processes"]));
    for (player, _) in &mut all[1..] {
        assert_eq!(player.event(), json!(["told", "to all processes"]));
    }
    // Everybody is asked and answers, whichever process they are of.
    let asking = all[0].0.begin_to_ask(&json!(["ask everybody"]));
    for (player, _) in &mut all {
        let question = player.text();
        let number = question.strip_prefix("42").and_then(|text| text.strip_suffix(r#"["question","all"]"#));
        let number = number.unwrap_or_else(|| panic!("a question: {question}")).to_owned();
        player.send(&format!("43{number}[7]"));
    }
    let answers = all[0].0.answer(asking);
    assert_eq!(answers[0].as_array().map(Vec::len), Some(all.len()), "{answers}");
    let mut asked = BTreeSet::new();
    await_that("requests go to all, one after the other", || {
        let pid: u64 = String::from_utf8_lossy(&server.get("/pid").body).parse().expect("a process");
        asked.insert(pid);
        asked.len() == WORKERS
    });
    server.stop();
}

#[test]
fn who_is_asked_about_stays_with_the_process_that_was() {
    let server = run();
    let mut pids = BTreeSet::new();
    let patience = Patience::begin();
    while pids.len() < WORKERS {
        patience.check("every process is asked");
        let mut player = Player::open(&server, "/guarded", &json!({"name": "ann"}));
        let answer = player.ask(&json!(["name"]));
        assert_eq!(answer[0], "ann", "what its middleware has made of the client is there");
        pids.insert(answer[1].as_u64().expect("a process"));
    }
}

#[test]
fn a_process_that_is_killed_concerns_its_own_clients_alone() {
    let server = run();
    let mut all = of_all(&server);
    let killed = all[0].1;
    signal("KILL", killed);
    for (player, pid) in &mut all {
        if *pid == killed {
            *pid = greeted(player, true);
            assert_ne!(*pid, killed);
        }
        assert_eq!(player.ask(&json!(["echo", "there"])), json!(["there"]));
    }
    let left: Vec<Value> = all.iter_mut().flat_map(|(player, _)| player.heard.drain(..)).collect();
    assert!(left.is_empty(), "the others are told nothing: {left:?}");
}

#[test]
fn processes_begin_anew_one_after_the_other_and_clients_stay() {
    let server = run();
    let mut all = of_all(&server);
    server.signal("HUP");
    for (player, pid) in &mut all {
        let next = greeted(player, true);
        assert_ne!(next, *pid);
        *pid = next;
    }
    await_that("all serve again", || server.log().matches("the program serves again").count() >= WORKERS);
    for (player, _) in &mut all {
        assert_eq!(player.ask(&json!(["echo", "still"])), json!(["still"]));
    }
    server.stop();
}
