//! What the operator's backend decides on one by one, though it comes together: the events of Socket.IO's clients, which take effect
//! in the order in which they were sent, and the publications of a batch.

use serde_json::{Value, json};

use crate::{
    backend::{Asked, Backend, Reaction},
    hooks::{ONE_SHARD, allow, deciding},
    permissions::{Credential, enter},
    server::{Server, await_that},
    socket::WebSocket,
};

/// A backend that lets everybody follow, and waits with everything else until the test lets it answer.
fn holding() -> Backend {
    Backend::start(|asked| match asked.path() {
        "/subscribe" => allow(),
        _ => Reaction::Held(json!({"allow": true})),
    })
}

fn client(server: &Server) -> WebSocket {
    enter(server, "/", &Credential::default()).expect("anybody may enter")
}

/// Emits an event that is acknowledged under this number.
fn emit(socket: &mut WebSocket, number: u32, event: Value) {
    socket.send_text(&format!("42{number}{event}"));
}

/// The next acknowledgement: its number, and what it says.
fn acknowledged(socket: &mut WebSocket) -> (u32, Value) {
    loop {
        let text = socket.text();
        if let Some(rest) = text.strip_prefix("43") {
            let (number, json) = rest.split_at(rest.find('[').expect("an array"));
            let mut answer: Value = serde_json::from_str(json).expect("JSON");
            return (number.parse().expect("a number"), answer[0].take());
        }
    }
}

#[test]
fn events_behind_one_that_waits_take_effect_behind_it() {
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let server = deciding("events", &backend, &[]);
    let mut socket = client(&server);
    emit(&mut socket, 1, json!(["join", "room:7"]));
    emit(&mut socket, 2, json!(["leave", "room:7"]));
    emit(&mut socket, 3, json!(["join", "room:8"]));
    let asked = backend.asked().json();
    assert_eq!((&asked["ask"], &asked["channel"]), (&json!("subscribe"), &json!("room:7")));
    // Others are not kept waiting.
    assert_eq!(server.get("/channels/room:7/info").status, 200);
    backend.release();
    assert_eq!(backend.asked().json()["channel"], "room:8");
    backend.release();
    // A room's owner may take its time to answer.
    let mut answered: Vec<_> = (0..3).map(|_| acknowledged(&mut socket).0).collect();
    answered.sort();
    assert_eq!(answered, [1, 2, 3]);
    await_that("the last word counts", || {
        server.subscribers("room:7") == 0 && server.subscribers("room:8") == 1
    });
    assert_eq!(backend.calls(), 2);
}

#[test]
fn what_a_client_publishes_is_asked_about_in_its_order_with_what_it_says() {
    let backend = holding();
    let server = deciding("emits", &backend, &[]);
    let mut follower = client(&server);
    emit(&mut follower, 1, json!(["join", "room:7"]));
    assert_eq!(acknowledged(&mut follower).1["room"], "room:7");
    assert_eq!(backend.asked().path(), "/subscribe");
    let mut socket = client(&server);
    for number in 1..=3 {
        emit(&mut socket, number, json!(["publish", "room:7", "said", number]));
    }
    for number in 1..=3 {
        let asked = backend.asked();
        assert_eq!(asked.path(), "/publish");
        assert_eq!(asked.json()["data"], json!(["said", number]));
        assert_eq!(asked.json()["address"], "127.0.0.1");
        backend.release();
        assert_eq!(follower.text(), format!("42{}", json!(["said", number])));
    }
    let order: Vec<_> = (0..3).map(|_| acknowledged(&mut socket)).collect();
    assert_eq!(order, [1, 2, 3].map(|number| (number, json!({"room": "room:7"}))));
}

#[test]
fn a_client_is_told_in_the_backends_words_and_goes_on() {
    let backend = Backend::start(|asked| match asked.json()["channel"].as_str() {
        Some("room:no") => {
            Reaction::Json(json!({"deny": {"code": "not_yours", "message": "It is not yours."}}))
        }
        _ => allow(),
    });
    let server = deciding("words", &backend, &[]);
    let mut socket = client(&server);
    let denied = json!({"error": {"code": "not_yours", "message": "It is not yours."}});
    emit(&mut socket, 1, json!(["join", "room:no"]));
    assert_eq!(acknowledged(&mut socket), (1, denied.clone()));
    emit(&mut socket, 2, json!(["publish", "room:no", "said"]));
    assert_eq!(acknowledged(&mut socket), (2, denied.clone()));
    emit(&mut socket, 3, json!(["join", "room:7"]));
    assert_eq!(acknowledged(&mut socket), (3, json!({"room": "room:7"})));
    // One that waits for no acknowledgement is told by an event.
    socket.send_text(&format!("42{}", json!(["join", "room:no"])));
    assert_eq!(socket.text(), format!("42{}", json!(["refused", "join", denied])));
}

#[test]
fn a_client_that_sends_too_much_while_it_waits_is_closed_and_nothing_of_it_is_done() {
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let server = deciding("too-much", &backend, &[ONE_SHARD]);
    let mut socket = client(&server);
    emit(&mut socket, 1, json!(["join", "room:7"]));
    backend.asked();
    let text = "x".repeat(10_000);
    (0..7).for_each(|number| emit(&mut socket, number, json!(["publish", "room:7", "said", text])));
    await_that("it is closed", || server.connections() == 0);
    backend.release();
    await_that("nothing waits", || server.metric("roadstead_hooks_waiting", "") == 0.0);
    assert_eq!((server.subscribers("room:7"), backend.calls()), (0, 1));
}

#[test]
fn a_client_that_goes_while_its_event_waits_leaves_nothing_behind() {
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let server = deciding("events-gone", &backend, &[ONE_SHARD]);
    let mut socket = client(&server);
    emit(&mut socket, 1, json!(["join", "room:7"]));
    emit(&mut socket, 2, json!(["join", "room:8"]));
    backend.asked();
    socket.client.reset();
    await_that("it has gone", || server.connections() == 0);
    backend.release();
    await_that("nothing waits", || server.metric("roadstead_hooks_waiting", "") == 0.0);
    assert_eq!((server.subscribers("room:7"), server.subscribers("room:8"), backend.calls()), (0, 0, 1));
}

fn publish(server: &Server, items: &[(&str, Value)]) -> Value {
    let items: Vec<_> =
        items.iter().map(|(channel, data)| json!({"channel": channel, "data": data})).collect();
    let body = json!({"publications": items}).to_string();
    let answer = server.connect().request("POST", "/publish", "", body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["results"].clone()
}

fn decides_by_data(asked: &Asked) -> Reaction {
    match asked.json()["data"].as_str() {
        Some("bad") => Reaction::Json(json!({"deny": {"code": "no_good", "message": "It is bad."}})),
        Some("broken") => Reaction::Status(500, String::new()),
        _ => allow(),
    }
}

#[test]
fn each_publication_of_a_batch_is_asked_about_by_itself() {
    let backend = Backend::start(decides_by_data);
    let server = deciding("batch", &backend, &[]);
    let items = ["good", "bad", "good, too", "broken"].map(|data| ("room:7", json!(data)));
    let results = publish(&server, &items);
    assert_eq!((&results[0]["offset"], &results[2]["offset"]), (&json!(1), &json!(2)), "{results}");
    assert_eq!(results[1]["error"], json!({"code": "no_good", "message": "It is bad."}));
    assert_eq!(results[3]["error"]["code"], "hook_failed", "{results}");
    assert_eq!(backend.calls(), 4);
    let history = server.get("/channels/room:7/history").json();
    let kept: Vec<_> =
        history["publications"].as_array().expect("a list").iter().map(|one| &one["data"]).collect();
    assert_eq!(kept, ["good", "good, too"]);
}

#[test]
fn a_batch_is_asked_about_a_few_at_a_time_and_not_without_end() {
    let backend = Backend::start(|_| allow());
    let server = deciding("batches", &backend, &[]);
    let items: Vec<_> = (0..70).map(|number| ("room:7", json!(number))).collect();
    let results = publish(&server, &items);
    let results = results.as_array().expect("a list");
    let (asked, others) = results.split_at(64);
    let offsets: Vec<_> = asked.iter().map(|one| one["offset"].as_u64()).collect();
    assert_eq!(offsets, (1..=64).map(Some).collect::<Vec<_>>());
    assert!(others.iter().all(|one| one["error"]["code"] == "asked_one_by_one"), "{others:?}");
    assert_eq!((backend.calls(), backend.in_flight_max() <= 16), (64, true));
}

#[test]
fn what_is_too_large_or_too_often_is_refused_before_a_backend_is_asked_about_it() {
    let backend = Backend::start(|_| allow());
    let small = "limits.publication_bytes_max=100";
    let slow = "limits.publications_per_key_per_second_max=1";
    let server = deciding("events-before", &backend, &[small, slow]);
    let mut socket = client(&server);
    emit(&mut socket, 1, json!(["publish", "room:7", "said", "x".repeat(101)]));
    assert_eq!(acknowledged(&mut socket).1["error"]["code"], "publication_too_large");
    assert_eq!(backend.calls(), 0);
    // Each question is a publication of the rate, and no publication is two.
    let mut published = 0;
    let refused = loop {
        emit(&mut socket, 2, json!(["publish", "room:7", "said"]));
        match acknowledged(&mut socket) {
            (2, answer) if answer["room"] == "room:7" => published += 1,
            (_, answer) => break answer,
        }
    };
    assert_eq!(refused["error"]["code"], "rate_limited");
    assert_eq!(backend.calls(), published);
    let batch = json!({"publications": vec![json!({"channel": "room:7", "data": "x"}); 3]}).to_string();
    let answer = server.connect().request("POST", "/publish", "", batch.as_bytes());
    let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
    let taken = results.iter().filter(|one| one["offset"].is_u64()).count();
    assert!(answer.status == 200 || answer.status == 429, "{}", answer.text());
    assert_eq!(backend.calls(), published + taken);
    let position = server.position("room:7");
    assert_eq!(position.split(':').nth(1), Some(&*backend.calls().to_string()));
}
