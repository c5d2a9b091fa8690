//! Publishing over HTTP: one, many, and who may.

use serde_json::{Value, json};

use crate::{client::Response, server::Server, socket::WebSocket};

fn batch(server: &Server, fields: &str, body: &Value) -> Response {
    server.connect().request("POST", "/publish", fields, body.to_string().as_bytes())
}

#[test]
fn a_batch_is_answered_item_by_item_in_its_order() {
    let server = Server::start(&["limits.publication_bytes_max=10"]);
    let answer = batch(
        &server,
        "Content-Type: application/json\r\n",
        &json!({"publications":[
            {"channel":"a","data":"1"},
            {"channel":"b","data":{"x":1}},
            {"channel":"a","data_base64":"/wA="},
            {"channel":"","data":"no name"},
            {"channel":"a","data":"eleven bytes"},
            {"channel":"a"},
            {"channel":"a","data":"3"},
        ]}),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let results = answer.json()["results"].as_array().expect("results").clone();
    let offsets: Vec<_> = results.iter().map(|result| result["offset"].as_u64()).collect();
    assert_eq!(offsets, [Some(1), Some(1), Some(2), None, None, None, Some(3)]);
    let codes: Vec<_> = results[3..6].iter().map(|result| result["error"]["code"].clone()).collect();
    assert_eq!(codes, ["channel_name_invalid", "publication_too_large", "member_missing"]);
    let history = server.get("/channels/a/history").json();
    assert_eq!(history["publications"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_batch_that_is_none_is_refused_whole() {
    let server = Server::start(&["limits.batch_publications_max=3"]);
    let item = json!({"channel":"a","data":"1"});
    for (body, fields, status, code) in [
        (json!({"publications":[item, item, item]}), "", 200, ""),
        (json!({"publications":[item, item, item, item]}), "", 413, "batch_too_large"),
        (json!([item]), "", 400, "not_an_object"),
        (json!({"messages":[]}), "", 400, "batch_invalid"),
        (json!({"publications":[item]}), "Content-Type: text/plain\r\n", 415, "content_type_unsupported"),
        (json!({"publications":[item]}), "Content-Encoding: gzip\r\n", 415, "content_encoding_unsupported"),
    ] {
        let answer = batch(&server, fields, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        if status != 200 {
            let told = answer.error_code();
            assert!(told == code || code == "not_an_object" && told == "batch_invalid", "{body}: {told}");
        }
    }
    assert_eq!(server.position("a").split(':').nth(1), Some("3"), "a refused batch publishes nothing");
    assert_eq!(server.metric("roadstead_request_limits_total", "413"), 1.0);
}

#[test]
fn a_batch_over_many_channels_reaches_both_shards() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/ws");
    let channels: Vec<_> = (0..50).map(|number| format!("c{number}")).collect();
    for channel in &channels {
        socket.command(&json!({"id":1,"subscribe":{"channel":channel}}));
    }
    let items: Vec<_> = channels.iter().map(|channel| json!({"channel":channel,"data":"x"})).collect();
    let results = batch(&server, "", &json!({"publications":items})).json();
    let results = results["results"].as_array().expect("results");
    assert!(results.len() == 50 && results.iter().all(|result| result["offset"] == 1), "{results:?}");
    let mut heard: Vec<_> = (0..50).map(|_| socket.push()["channel"].clone()).collect();
    heard.sort_by_key(Value::to_string);
    heard.dedup();
    assert_eq!(heard.len(), 50);
    let stamped: Vec<_> = server.shards().iter().map(|shard| shard["publications_total"].clone()).collect();
    assert!(stamped.iter().all(|count| count.as_u64() > Some(0)), "{stamped:?}");
}

#[test]
fn content_types_are_kept_and_unusable_ones_refused() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let fits = format!("x/{}", "y".repeat(253));
    for (kind, status) in
        [("image/png", 200), (&fits, 200), (&format!("{fits}z"), 400), ("a\tb", 400), ("é", 400)]
    {
        let answer = client.request("POST", "/channels/t", &format!("Content-Type: {kind}\r\n"), b"x");
        assert_eq!(answer.status, status, "{kind}");
        if status == 200 {
            let page = client.request("GET", "/channels/t/history", "", b"").json();
            let last = page["publications"].as_array().and_then(|list| list.last()).expect("one").clone();
            assert_eq!(last["content_type"], *kind);
        }
    }
}

#[test]
fn with_keys_only_their_holders_publish_and_everybody_reads() {
    let server = Server::start(&["publish.keys=first,second", "publish.open=false"]);
    let post = |fields: &str| server.connect().request("POST", "/channels/a", fields, b"x");
    let none = post("");
    assert_eq!((none.status, none.error_code().as_str()), (401, "key_missing"));
    assert_eq!(none.field("www-authenticate").map(|value| value.starts_with("Bearer")), Some(true));
    let wrong = post("Authorization: Bearer third\r\n");
    assert_eq!((wrong.status, wrong.error_code().as_str()), (403, "key_wrong"));
    for key in ["Bearer first", "bearer second"] {
        assert_eq!(post(&format!("Authorization: {key}\r\n")).status, 200, "{key}");
    }
    assert_eq!(batch(&server, "", &json!({"publications":[]})).status, 401);
    assert_eq!(server.get("/channels/a/history").status, 200);

    let mut reader = server.websocket("/ws");
    let refused = reader.command(&json!({"id":1,"publish":{"channel":"a","data":"x"}}));
    assert_eq!(refused["error"]["code"], "publish_forbidden");
    for path in ["/ws?key=second", "/channels/a?key=first"] {
        let mut writer = server.websocket(path);
        writer.send_text(r#"{"id":1,"publish":{"channel":"other","data":"x"}}"#);
        assert!(writer.text().contains("published") || path.starts_with("/channels"), "{path}");
    }
    let refused = WebSocket::try_open(server.connect(), "/ws?key=third", "").err().expect("a wrong key");
    assert_eq!(refused.status, 403);

    let mut raw = server.websocket("/channels/a");
    raw.send_text("x");
    assert_eq!(raw.close_code(), Some(1008), "a reader that sends is told to go");
}

#[test]
fn clients_do_not_publish_where_that_is_off() {
    let server = Server::start(&["publish.clients=false"]);
    let mut socket = server.websocket("/channels/a");
    socket.send_text("x");
    assert_eq!(socket.close_code(), Some(1008));
    let mut commands = server.websocket("/ws");
    let refused = commands.command(&json!({"id":1,"publish":{"channel":"a","data":"x"}}));
    assert_eq!(refused["error"]["code"], "publish_forbidden");
    assert_eq!(server.publish("a", "over HTTP"), 1);
}

#[test]
fn who_publishes_too_often_is_told_when_to_come_back() {
    let server =
        Server::with_shards(1, &["publish.keys=k,other", "limits.publications_per_key_per_second_max=3"]);
    let mut client = server.connect();
    let mut post =
        |key: &str| client.request("POST", "/channels/a", &format!("Authorization: Bearer {key}\r\n"), b"x");
    let statuses: Vec<_> = (0..4).map(|_| post("k").status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    let limited = post("k");
    assert_eq!((limited.status, limited.error_code().as_str()), (429, "rate_limited"));
    assert_eq!(limited.field("retry-after"), Some("1"));
    assert_eq!(post("other").status, 200, "another key has its own rate");
    crate::server::await_that("the key may publish again", || post("k").status == 200);
    assert!(server.metric("roadstead_rate_limited_total", "") >= 2.0);

    let mut socket = server.websocket("/channels/a?key=other");
    (0..4).for_each(|_| socket.send_text("x"));
    assert_eq!(socket.close_code(), Some(1013));
}

#[test]
fn a_key_publishes_at_one_rate_whatever_shards_its_clients_are_on() {
    const RATE: usize = 20;
    let rate = format!("limits.publications_per_key_per_second_max={RATE}");
    let server = Server::with_shards(4, &["publish.keys=k", &rate]);
    let mut clients: Vec<_> = (0..4 * RATE).map(|_| server.connect()).collect();
    let began = std::time::Instant::now();
    for client in &mut clients {
        client.ask("POST", "/channels/a", "Authorization: Bearer k\r\n", b"x");
    }
    let taken =
        clients.iter_mut().map(|client| client.response().status).filter(|status| *status == 200).count();
    // A second's worth, and what a busy machine gives time for.
    let most = RATE + (began.elapsed().as_secs_f64() * RATE as f64).ceil() as usize;
    assert!((RATE..=most).contains(&taken), "{taken}, and no more than {most} may be");
}
