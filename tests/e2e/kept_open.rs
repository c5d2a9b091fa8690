//! Connections that stay open when another version takes the place of the one that accepted them: they hear everything once, and
//! whatever fails before the new one serves costs none of them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use roadstead::{storage::snapshot::CONNECTIONS_VERSION, wire::websocket::Opcode};
use serde_json::json;

use crate::{
    client::Client,
    deflating::Socket,
    kept_open_unsent::{fill, large},
    kept_sockets,
    presence::{enter, presence},
    server::{Server, await_that},
    several::heard,
    socket::{Incoming, WebSocket, frame},
    stream::EventStream,
    tokens::{SECRET, make},
    upgrade::{Ending, Heard, Installed, follow_by_events, follow_by_polls, publish_until},
};

/// Whoever brings a token.
fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

const CLIENTS: usize = 2_000;
const CHANNELS: usize = 8;
const UPGRADES: usize = 4;
/// Long enough that no client is asked whether it is there.
const QUIET: &str = "limits.ping_interval_ms=600000";

fn channel(number: usize) -> String {
    format!("room-{}", number % CHANNELS)
}

/// A WebSocket of `/ws` that follows these channels.
fn follower(server: &Server, channels: &[String]) -> WebSocket {
    let mut socket = server.websocket("/ws");
    for channel in channels {
        let reply = socket.command(&json!({"id": 1, "subscribe": {"channel": channel}}));
        assert_eq!(reply["subscribed"]["channel"], json!(channel), "{reply}");
    }
    socket
}

/// Reads what a WebSocket of one channel has been told, up to the last.
fn read_raw(socket: &mut WebSocket) {
    let mut next = 1;
    loop {
        match socket.text().as_str() {
            "last" => break,
            text => assert_eq!(text, next.to_string(), "no gap, nothing twice"),
        }
        next += 1;
    }
}

/// Reads what an event stream has been told, up to the last.
fn read_events(stream: &mut EventStream) {
    let mut next = 1;
    loop {
        let event = stream.event();
        let offset = event.id.as_deref().and_then(|id| Some(id.split_once(':')?.1.to_owned()));
        assert_eq!(offset, Some(next.to_string()), "no gap, nothing twice");
        if event.data.as_deref() == Some("last") {
            break;
        }
        next += 1;
    }
}

/// Reads what a WebSocket of `/ws` has been told of these channels, up to the last of each.
fn read_pushes(socket: &mut WebSocket, channels: &[String]) {
    let mut next = vec![1; channels.len()];
    let mut are_open = channels.len();
    while are_open > 0 {
        let push = socket.push();
        let at =
            channels.iter().position(|channel| push["channel"] == json!(channel)).expect("it follows it");
        assert_eq!(push["offset"], json!(next[at]), "no gap, nothing twice: {push}");
        next[at] += 1;
        are_open -= usize::from(push["data"] == json!("last"));
    }
}

/// Publishes numbers over one WebSocket, to each channel in its turn, until it is told to end; what it is told of each is that it
/// has been published, at the next offset.
fn publish_by_commands(server: &Server, is_over: &AtomicBool) {
    let mut socket = server.websocket("/ws");
    let mut publish = |channel: String, data: &str, offset: usize| {
        let reply = socket.command(&json!({"id": 7, "publish": {"channel": channel, "data": data}}));
        assert_eq!(reply["published"]["offset"], json!(offset), "{reply}");
    };
    let mut offset = 0;
    while !is_over.load(Ordering::Relaxed) {
        offset += 1;
        (0..CHANNELS).for_each(|number| publish(channel(number), &offset.to_string(), offset));
    }
    (0..CHANNELS).for_each(|number| publish(channel(number), "last", offset + 1));
}

#[test]
fn clients_stay_connected_through_upgrades_and_hear_everything_once_and_others_come_back_to_it() {
    let installed = Installed::new();
    let server = installed.serve_configured(&[QUIET, "limits.history_publications_max=100000"]);
    server.publish("news", "first");
    let start = server.position("news").replace(":1", ":0");
    let several = |number| [channel(number), channel(number + 1), channel(number + 3)];
    let mut raw: Vec<_> =
        (0..CLIENTS / 2).map(|number| server.websocket(&format!("/channels/{}", channel(number)))).collect();
    let mut pushed: Vec<_> = (0..CLIENTS / 4).map(|number| follower(&server, &several(number))).collect();
    let mut streams: Vec<_> = (0..CLIENTS / 4)
        .map(|number| EventStream::open(server.connect(), &channel(number), "", ""))
        .collect();
    let is_over = AtomicBool::new(false);
    let (server, is_over, start) = (&server, &is_over, &start);
    thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_by_commands(server, is_over));
        let posting = scope.spawn(|| publish_until(server, is_over));
        let coming_back: [fn(&Server, &str) -> Heard; 2] = [follow_by_events, follow_by_polls];
        let coming_back = coming_back.map(|follow| scope.spawn(move || follow(server, start)));
        let ending = Ending(is_over);
        for _ in 0..UPGRADES {
            installed.install();
            server.succeeded();
        }
        drop(ending);
        publisher.join().expect("it is told of each");
        let posted = posting.join().expect("it publishes");
        for follower in coming_back {
            follower.join().expect("it follows").check(&posted);
        }
    });
    raw.iter_mut().for_each(read_raw);
    streams.iter_mut().for_each(read_events);
    pushed.iter_mut().zip(0..).for_each(|(socket, number)| read_pushes(socket, &several(number)));
    let carried = server.metric("roadstead_carried_total", "");
    assert!(carried >= CLIENTS as f64, "{carried}");
    assert_eq!(server.metric("roadstead_carried_refused_total", ""), 0.0);
    // All are in the tables of the last as if they had come there.
    assert!(server.connections() >= CLIENTS as u64);
}

/// Whether a WebSocket hears what is published.
#[track_caller]
fn hears(server: &Server, socket: &mut WebSocket, channel: &str, data: &str) {
    server.publish(channel, data);
    assert_eq!(socket.text(), data);
}

#[test]
fn who_cannot_go_on_is_told_to_come_back_and_the_others_notice_nothing() {
    let installed = Installed::new();
    let secret = format!("auth.hs256_keys={SECRET}");
    let server = installed.serve_configured(&[
        QUIET,
        &secret,
        "read.open=true",
        "publish.open=true",
        "limits.presence_grace_ms=600000",
    ]);
    let mut idle = [(); 3].map(|()| server.websocket("/channels/news"));
    let mut echo = server.websocket("/echo");
    let mut present = WebSocket::open(server.connect(), "/ws", &bearer(&make(&json!({"sub": "42"}))));
    let rooms: Vec<_> = (0..4).map(channel).collect();
    rooms.iter().for_each(|room| _ = enter(&mut present, room));
    let mut guest = server.websocket("/ws");
    enter(&mut guest, "news");
    let mut begun = server.websocket("/ws");
    let command = frame(Opcode::Text, true, br#"{"id":1,"ping":{}}"#);
    begun.client.send(&command[..9]);
    let mut stateful = EventStream::open(server.connect(), "news", "?state=true", "");
    let mut stream = EventStream::open(server.connect(), "news", "", "");
    server.await_subscribers("news", 5);
    server.succeeded();
    begun.client.send(&command[9..]);
    assert_eq!(begun.json()["id"], json!(1));
    for left in [&mut echo, &mut guest] {
        assert_eq!(left.close_code(), Some(1001));
    }
    server.publish("news", "x");
    // Who has come and gone was told of as well.
    idle.iter_mut().for_each(|socket| while socket.text() != "x" {});
    [&mut stream, &mut stateful].into_iter().for_each(|stream| while stream.data() != "x" {});
    let ping = json!({"id": 2, "ping": {}});
    assert_eq!(present.command(&ping)["id"], json!(2));
    let members = json!([{"user": "42", "connections": 1}]);
    rooms.iter().for_each(|room| assert_eq!(presence(&server, room)["members"], members, "{room}"));
    drop(present);
    for room in &rooms {
        await_that("42 has gone", || presence(&server, room)["members"][0]["connections"] == json!(0));
        let history = server.get(&format!("/channels/{room}/history")).json();
        assert_eq!(history["publications"].as_array().map(Vec::len), Some(1), "entered, once: {history}");
    }
    assert_eq!(server.metric("roadstead_carried_total", ""), 7.0);
    assert!(server.metric("roadstead_carried_told_total", "") >= 2.0);
    assert!(server.log().contains("carried=7 refused=0"), "{}", server.log());
}

#[test]
fn what_a_client_says_while_nobody_reads_it_is_answered_by_the_next_version() {
    let installed = Installed::new();
    let server = installed.serve_configured(&[QUIET]);
    let mut sockets: Vec<_> = (0..20).map(|number| follower(&server, &[channel(number)])).collect();
    let is_over = AtomicBool::new(false);
    let (server, is_over) = (&server, &is_over);
    thread::scope(|scope| {
        let asking = sockets.iter_mut().map(|socket| {
            scope.spawn(move || {
                let mut id = 0;
                while !is_over.load(Ordering::Relaxed) {
                    id += 1;
                    assert_eq!(socket.command(&json!({"id": id, "ping": {}}))["id"], json!(id));
                }
                id
            })
        });
        let asking: Vec<_> = asking.collect();
        let ending = Ending(is_over);
        (0..3).for_each(|_| server.succeeded());
        drop(ending);
        asking.into_iter().for_each(|one| assert!(one.join().expect("each is answered") > 0));
    });
}

/// Waits twice as long as for what should happen soon.
fn await_long(what: &str, is_so: impl Fn() -> bool) {
    if catch_unwind(AssertUnwindSafe(|| await_that(what, &is_so))).is_err() {
        await_that(what, is_so);
    }
}

/// That a version goes on with connections, in this form of them.
fn carries(version: u16) -> String {
    format!("-DCARRIES={version}")
}

/// What a version that does not come to serve is made of beside that: it ends, with some of the connections or none, or it does
/// nothing more.
const FAILING: [&[&str]; 3] =
    [&["-DREADS=1"], &["-DREADS=1", "-DTAKES=2"], &["-DREADS=1", "-DTAKES=200", "-DHANGS"]];

const OFFER: &str = "permessage-deflate";
/// Polls wait longer than a version that hangs is waited for.
const PATIENT: &str = "limits.long_poll_timeout_max_ms=600000";

/// Clients of every kind that stays, of the channel `news`.
struct Clients {
    raw: Vec<WebSocket>,
    pushed: Vec<WebSocket>,
    /// Of Socket.IO.
    entered: Vec<kept_sockets::Client>,
    streams: Vec<EventStream>,
    compressed: Vec<Socket>,
    /// Of another channel as well, and of state.
    several: Vec<EventStream>,
    /// Long polls of the channel `late`, of it alone and of another one.
    polls: Vec<Client>,
    /// One that has not read, of the channel `slow`, and how much was published there.
    slow: (WebSocket, usize),
}

impl Clients {
    /// Some with TLS and some without.
    fn open(installed: &Installed, server: &Server) -> Self {
        let ways = [&(|| server.connect()) as &dyn Fn() -> Client, &|| installed.beside()];
        let clients = || ways.iter().cycle().take(8).map(|connect| connect());
        let mut pushed: Vec<_> = clients().map(|client| WebSocket::open(client, "/ws", "")).collect();
        for socket in &mut pushed {
            socket.command(&json!({"id": 1, "subscribe": {"channel": "news"}}));
        }
        let several = "/events?channel=other&channel=news&state=true";
        let asked = ["/channels/late?timeout=600", "/events?channel=other&channel=late&timeout=600"];
        let mut polls: Vec<_> = clients().collect();
        for (client, asked) in polls.iter_mut().zip(asked.iter().cycle()) {
            client.ask("GET", asked, "", b"");
        }
        server.await_subscribers("late", 8);
        let slow = WebSocket::open(Client::narrow(server.address()), "/channels/slow", "");
        server.await_subscribers("slow", 1);
        let slow = (slow, fill(server, "slow", 150_000.0));
        let all = Self {
            raw: clients().map(|client| WebSocket::open(client, "/channels/news", "")).collect(),
            streams: clients().map(|client| EventStream::open(client, "news", "", "")).collect(),
            several: clients().map(|client| EventStream::open_at(client, several, "")).collect(),
            polls,
            compressed: clients()
                .map(|client| Socket::open_over(client, "/channels/news", &[OFFER]))
                .collect(),
            entered: clients()
                .map(|client| kept_sockets::Client::enter_over(client, "", &["news"]))
                .collect(),
            pushed,
            slow,
        };
        server.await_subscribers("news", 48);
        all
    }

    /// All have heard these, and nothing else.
    fn have_heard(&mut self, server: &Server, all: &[&str]) {
        for socket in &mut self.raw {
            all.iter().for_each(|data| assert_eq!(socket.text(), *data));
        }
        for (offset, data) in (1..).zip(all) {
            for socket in &mut self.pushed {
                let push = socket.push();
                assert_eq!((&push["offset"], &push["data"]), (&json!(offset), &json!(data)));
            }
            self.streams.iter_mut().for_each(|stream| assert_eq!(stream.data(), *data));
            self.compressed.iter_mut().for_each(|socket| assert_eq!(socket.plain_or_deflated(), *data));
            for client in &mut self.entered {
                assert_eq!(client.event(), json!(["message", data]));
            }
        }
        for stream in &mut self.several {
            // What there is of state, for each.
            (0..2).for_each(|_| assert_eq!(stream.event().name.as_deref(), Some("state")));
            all.iter().for_each(|data| assert_eq!(heard(&stream.event()).1, *data));
        }
        assert_eq!(server.publish("late", "x"), 1);
        for client in &mut self.polls {
            let answer = client.response();
            assert!(answer.status == 200 && answer.text().contains(r#""data":"x""#), "{answer:?}");
        }
        let (socket, count) = &mut self.slow;
        (1..=*count).for_each(|number| assert!(socket.text() == large(number), "{number} of {count}"));
    }
}

#[test]
fn a_version_that_ends_or_hangs_before_it_serves_costs_nobody_a_connection() {
    for definitions in FAILING {
        let installed = Installed::new();
        let server = installed.serve_both(&[QUIET, PATIENT, "websocket.compression=channel"]);
        let mut clients = Clients::open(&installed, &server);
        server.publish("news", "before");
        installed.install_made(&[definitions, &[&carries(CONNECTIONS_VERSION)]].concat());
        server.signal("USR2");
        if definitions.contains(&"-DHANGS") {
            await_long("it is given up", || server.log().contains("the new version does not come to serve"));
        }
        await_that("the old one begins again", || server.log().contains("begins again with what was left"));
        assert_eq!(server.publish("news", "after"), 2);
        // And the next is none of those.
        installed.install();
        server.succeeded();
        assert_eq!(server.publish("news", "later"), 3);
        clients.have_heard(&server, &["before", "after", "later"]);
    }
}

#[test]
fn a_version_that_knows_another_form_of_connections_or_none_has_all_of_them_come_back() {
    let installed = Installed::new();
    for carries in [Some(carries(99)), None] {
        let server = installed.serve_configured(&[QUIET]);
        let mut socket = server.websocket("/channels/news");
        let definitions = ["-DREADS=1"].into_iter().chain(carries.as_deref());
        installed.install_made(&definitions.collect::<Vec<_>>());
        server.upgrade("begins again with what was left");
        assert_eq!(socket.close_code(), Some(1001));
        installed.install();
    }
}

#[test]
fn a_version_with_less_room_goes_on_with_as_many_as_it_holds_and_the_others_come_back() {
    let installed = Installed::new();
    installed.configure("");
    let server = installed.serve_configured(&[QUIET]);
    let mut sockets: Vec<_> = (0..40).map(|_| server.websocket("/channels/news")).collect();
    installed.configure("[limits]\nconnections_max = 10\n");
    server.succeeded();
    let count = |name: &str| server.metric(name, "") as usize;
    assert_eq!((count("roadstead_carried_total"), count("roadstead_carried_refused_total")), (10, 30));
    let mut told = 0;
    for socket in &mut sockets {
        socket.client.send(frame(Opcode::Ping, true, b"?"));
        match socket.next() {
            Incoming::Pong(_) => told += 1,
            Incoming::Close(code, _) => assert_eq!(code, Some(1001)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, 10);
}

#[test]
fn a_client_keeps_its_token_its_key_and_its_address() {
    let installed = Installed::new();
    installed.configure("[publish]\nkeys = [\"one news:*\", \"two chat:*\"]\n");
    let secret = format!("auth.hs256_keys={SECRET}");
    let server = installed.serve_configured(&[QUIET, &secret, "limits.connections_per_user_max=1"]);
    let token = make(&json!({"sub": "42", "jti": "t", "allow": {"subscribe": ["news"]}}));
    let open = || WebSocket::try_open(server.connect(), "/channels/news", &bearer(&token));
    let mut held = open().unwrap_or_else(|refused| panic!("{refused:?}"));
    let mut keyed = server.websocket("/ws?key=two");
    let mut gone = server.websocket("/ws?key=one");
    let mut publish =
        |channel: &str| keyed.command(&json!({"id": 1, "publish": {"channel": channel, "data": "x"}}));
    // The keys stand in another order, and one is none any more.
    installed.configure("[publish]\nkeys = [\"three news:*\", \"two chat:*\"]\n");
    server.succeeded();
    assert_eq!(gone.close_code(), Some(1001));
    assert!(publish("chat:a")["published"]["offset"] == json!(1));
    assert_eq!(publish("news:a")["error"]["code"], json!("publish_forbidden"));
    assert!(open().is_err_and(|refused| refused.status == 429), "it is counted among its user's");
    let (json, body) = ("Content-Type: application/json\r\n", br#"{"token":"t"}"#);
    assert_eq!(server.connect_admin().request("POST", "/auth/revoke", json, body).status, 202);
    assert_eq!(held.close_code(), Some(4009));
}

#[test]
fn who_may_not_follow_a_channel_any_more_comes_back_and_is_told_so() {
    let installed = Installed::new();
    installed.configure("");
    let server = installed.serve_configured(&[QUIET]);
    let mut closed = server.websocket("/channels/secret");
    let mut open = server.websocket("/channels/news");
    installed.configure("[[namespace]]\npattern = \"news\"\nsubscribe = \"anyone\"\npublish = \"anyone\"\n");
    server.succeeded();
    assert_eq!(closed.close_code(), Some(1001));
    hears(&server, &mut open, "news", "x");
}
