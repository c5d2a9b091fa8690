//! Applications written on the embedding API, played by clients that speak Socket.IO over a WebSocket: those of the
//! examples, on two shards.

#[expect(dead_code, reason = "its main is the example's")]
mod chat;
mod client;
#[expect(dead_code, reason = "its main is the example's")]
mod counter;
mod gathering;
mod holding;
mod leaving;
#[expect(dead_code, reason = "its main is the example's")]
mod links;
#[expect(dead_code, reason = "its main is the example's")]
mod lobby;
mod middleware;
mod opening;
mod order;
mod shards;
#[expect(dead_code, reason = "its main is the example's")]
mod sold;

#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "../e2e/certificate.rs"]
mod certificate;
#[expect(dead_code, reason = "shared with tests that use the rest")]
#[path = "../e2e/tunnel.rs"]
mod tunnel;

use client::{Client, PAGE, request, start};
use serde_json::{Value, json};

/// Enters, and waits until the room's owner knows: until then others speak without being heard.
fn enter_chat(client: &mut Client, name: &str, room: &str) {
    assert_eq!(client.ask("enter", json!([name, room])), json!([true]));
    client.say("say", json!(["here"]));
    assert_eq!(client.hear("said"), json!([name, "here"]));
}

#[test]
fn a_chat_is_heard_in_its_room_alone() {
    let server = start(chat::register);
    let [mut ann, mut bob, mut eve] = [0; 3].map(|_| Client::enter(&server));
    enter_chat(&mut ann, "ann", "#a");
    enter_chat(&mut eve, "eve", "#b");
    assert_eq!(bob.ask("enter", json!(["", "#a"])), json!([false]));
    assert_eq!(bob.ask("enter", json!(["bob", "#a"])), json!([true]));
    assert_eq!(bob.ask("enter", json!(["bob", "#b"])), json!([false]));
    assert_eq!(ann.hear("entered"), json!(["bob"]));
    bob.say("say", json!(["hello"]));
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.hear("said"), json!(["bob", "hello"]));
    }
    bob.say("typing", json!([]));
    assert_eq!(ann.hear("typing"), json!(["bob"]));
    drop(bob);
    assert_eq!(ann.hear("left"), json!(["bob"]));
    eve.say("say", json!(["anybody?"]));
    assert_eq!(eve.hear_next(), json!(["said", "eve", "anybody?"]));
}

#[test]
fn a_program_has_a_page_and_its_rooms_are_channels() {
    let server = start(chat::register);
    let page = request(&server, "GET /", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with(PAGE), "{page}");
    assert!(page.contains("Content-Type: text/html; charset=utf-8"), "{page}");
    assert!(request(&server, "GET /demo/chat", "").starts_with("HTTP/1.1 404"));
    let mut ann = Client::enter(&server);
    enter_chat(&mut ann, "ann", "news");
    let published = request(&server, "POST /channels/news", r#"["said","the backend",{"a":1}]"#);
    assert!(published.starts_with("HTTP/1.1 200"), "{published}");
    assert_eq!(ann.hear("said"), json!(["the backend", {"a": 1}]));
    request(&server, "POST /channels/news", "plain");
    assert_eq!(ann.hear("message"), json!(["plain"]));
    ann.say("say", json!(["hello"]));
    let history = request(&server, "GET /channels/news/history", "");
    assert!(history.contains(r#"[\"said\",\"the backend\""#), "{history}");
}

#[test]
fn a_counter_counts_the_presses_of_all_shards() {
    let server = start(counter::register);
    let mut clients = Client::enter_on_both_shards(&server);
    for client in &mut clients {
        assert_eq!(client.hear("count"), json!([0]));
        (0..10).for_each(|_| client.say("press", json!([])));
    }
    let all = json!([clients.len() * 10]);
    for client in &mut clients {
        while client.hear("count") != all {}
    }
    let mut late = Client::enter(&server);
    while late.hear("count") != all {}
    drop((clients, late));
    // Its timer keeps no shard from ending.
    server.drain();
    server.wait().expect("it ends as it should");
}

#[test]
fn players_who_want_the_same_are_matched_wherever_they_are() {
    let server = start(lobby::register);
    let clients = Client::enter_on_both_shards(&server);
    let players = clients.len() + clients.len() % 2;
    let mut clients: Vec<_> = clients.into_iter().chain([Client::enter(&server)]).take(players).collect();
    let wish = |level: &str, players: usize| json!([{ "game": "go", "level": level, "players": players }]);
    // One by one, so that it is known who waits.
    for (place, client) in clients.iter_mut().enumerate() {
        client.say("play", wish(if place % 2 == 0 { "even" } else { "odd" }, players / 2));
        client.hear("waiting");
    }
    for parity in 0..2 {
        let ids: Vec<_> = clients.iter().skip(parity).step_by(2).map(|client| json!(client.id)).collect();
        let rooms: Vec<_> = clients
            .iter_mut()
            .skip(parity)
            .step_by(2)
            .map(|client| {
                let told = client.hear("match");
                let mut matched = told[0]["players"].as_array().expect("a list").clone();
                matched.sort_by_key(Value::to_string);
                let mut expected = ids.clone();
                expected.sort_by_key(Value::to_string);
                assert_eq!(matched, expected);
                told[0]["room"].clone()
            })
            .collect();
        assert!(rooms.iter().all(|room| *room == rooms[0]));
    }
    let gone = clients.remove(0);
    let id = json!([gone.id]);
    drop(gone);
    // What was second is first now: those matched with the one that left are the odd places.
    for client in clients.iter_mut().skip(1).step_by(2) {
        assert_eq!(client.hear("left"), id);
    }
    clients[0].say("play", wish("odd", 2));
    clients[0].hear("refused");
}

#[test]
fn a_move_is_seen_by_the_other_players_of_a_match() {
    let server = start(lobby::register);
    let [mut ann, mut bob] = [0; 2].map(|_| Client::enter(&server));
    let wish = json!([{ "game": "go", "level": "any", "players": 2 }]);
    // Who cancelled and waits again waits once.
    ann.say("play", wish.clone());
    ann.say("cancel", json!([]));
    ann.say("play", wish.clone());
    bob.say("play", wish);
    for client in [&mut ann, &mut bob] {
        let told = client.hear("match");
        assert_eq!(told[0]["players"].as_array().map(Vec::len), Some(2));
        assert_ne!(told[0]["players"][0], told[0]["players"][1]);
    }
    // Joining a room takes its owner's word; until then a move may be missed, as in any game.
    let heard = (0..100).find_map(|number| {
        ann.say("move", json!([{ "x": number }]));
        bob.hear_within(50)
    });
    let heard = heard.expect("sooner or later both are in the room");
    assert_eq!((&heard[0], &heard[1]), (&json!("move"), &json!(ann.id)));
}

/// A folder that goes with its test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("roadstead-examples-{}-{name}", std::process::id())))
    }

    /// Two shards on any port.
    fn config(&self, of: impl Fn(&str) -> roadstead::config::Config) -> roadstead::config::Config {
        let mut config = of(self.0.to_str().expect("a plain name"));
        config.server.listen = vec!["127.0.0.1:0".parse().expect("an address")];
        config.server.admin = None;
        config.server.shards = 2;
        config.server.drain_ms = 100;
        tunnel::secure(&mut config);
        config
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("an answer has a body").1
}

#[test]
fn links_that_were_kept_are_listed_and_read_back_after_a_restart_and_heard_of_at_once() {
    let folder = Folder::new("links");
    let start = || {
        let handler = |_shard| Box::new(links::Links::default()) as Box<dyn roadstead::app::Handler>;
        roadstead::supervisor::Server::start(&folder.config(links::config), handler)
            .expect("a server starts here")
    };
    let server = start();
    assert!(body(&request(&server, "GET /", "")).contains("<title>Links</title>"));
    let mut names = Vec::new();
    for text in ["https://example.com/a?b=c", "two lines\nof text", "<script>"] {
        let kept = request(&server, "POST /links", text);
        assert!(kept.starts_with("HTTP/1.1 201"), "{kept}");
        let said: Value = serde_json::from_str(body(&kept)).expect("JSON");
        names.push(said["name"].as_str().expect("a name").to_owned());
    }
    assert!(request(&server, "POST /links", "  ").starts_with("HTTP/1.1 400"));
    assert!(request(&server, "GET /l/xxxxxxx", "").starts_with("HTTP/1.1 404"));
    let listed = request(&server, "GET /links", "");
    server.drain();
    server.wait().expect("it ends as it should");
    let server = start();
    assert_eq!(body(&request(&server, "GET /links", "")), body(&listed));
    let said: Value = serde_json::from_str(body(&listed)).expect("JSON");
    let all: Vec<_> =
        said["links"].as_array().expect("a list").iter().map(|link| link["name"].clone()).collect();
    assert_eq!(all, names.iter().map(|name| json!(name)).collect::<Vec<_>>());
    assert_eq!((&said["links"][1]["begins"], &said["has_more"]), (&json!("two lines"), &json!(false)));
    let link = request(&server, &format!("GET /l/{}", names[0]), "");
    assert!(
        link.starts_with("HTTP/1.1 302") && link.contains("Location: https://example.com/a?b=c"),
        "{link}"
    );
    let text = request(&server, &format!("GET /l/{}", names[1]), "");
    assert!(body(&text) == "two lines\nof text" && text.contains("nosniff"), "{text}");
    let position = said["position"].as_str().expect("a position");
    let heard = client::first_event(&server, &format!("/news?since={position}"), || {
        request(&server, "POST /links", "next");
    });
    assert!(heard.contains("\"begins\":\"next\""), "{heard}");
    server.drain();
    server.wait().expect("it ends as it should");
}

#[test]
fn what_was_sold_is_counted_on_after_a_restart() {
    let folder = Folder::new("sold");
    let start = || {
        let config = folder.config(sold::config);
        let handlers = roadstead::api::program(&config, sold::PAGE, |_io| ()).expect("no file is named");
        roadstead::supervisor::Server::start(&config, handlers).expect("a server starts here")
    };
    let mut expected = 0;
    for _ in 0..2 {
        let server = start();
        assert!(body(&request(&server, "GET /", "")).contains("<title>Sold</title>"));
        for _ in 0..3 {
            expected += 1;
            let sold = request(&server, "POST /channels/shop/counters/sold", "{\"add\":1}");
            let said: Value = serde_json::from_str(body(&sold)).expect("JSON");
            assert_eq!(said["value"], expected, "{sold}");
        }
        server.drain();
        server.wait().expect("it ends as it should");
    }
}
