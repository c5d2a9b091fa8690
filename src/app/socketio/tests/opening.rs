//! What the application says about requests that open a session, raw sessions, and questions to other shards.

use std::{cell::RefCell, rc::Rc, time::Duration};

use super::{
    super::{Answers, Cookie, EngineId, Io, Order, RawSession, RemoteSocket, SameSite, Settings},
    Rig, id,
};
use crate::{
    app::{Message, Request},
    mesh::{SocketSummary, SocketsAnswer, SocketsRequest},
    model::{Arguments, ChannelName, CloseReason, SessionId, ShardId},
    wire::http1::{Method, Version},
};

fn judge(io: &Io, target: &str) -> Result<String, String> {
    let request = Request {
        method: Method::Get,
        target,
        version: Version::Http11,
        body: b"",
        keep_alive: true,
        head: b"",
        fields: &[],
        is_secure: false,
        via: None,
    };
    io.judge_request(&request, &SessionId::new(ShardId(1), 2, [3; 9]))
}

#[test]
fn a_request_is_allowed_unless_the_application_says_why_not() {
    let rig = Rig::new();
    assert_eq!(judge(&rig.io, "/"), Ok(String::new()));
    rig.io.allow_request(|request| match request.query("token").as_deref() {
        Some("good") => Ok(()),
        _ => Err("a good token is needed".into()),
    });
    rig.io.initial_headers(|request| {
        vec![("X-Target".into(), request.target.into()), ("X-Bad".into(), "a\r\nb: c".into())]
    });
    assert_eq!(judge(&rig.io, "/?token=bad"), Err("a good token is needed".into()));
    assert_eq!(judge(&rig.io, "/?token=good"), Ok("X-Target: /?token=good\r\n".into()));
}

#[test]
fn a_cookie_of_the_application_comes_before_that_of_the_settings() {
    let rig = Rig::new();
    let sid = SessionId::new(ShardId(1), 2, [3; 9]).to_string();
    rig.io.cookie(Cookie::default());
    let field = |rest: &str| Ok(format!("Set-Cookie: io={sid}{rest}\r\n"));
    assert_eq!(judge(&rig.io, "/"), field("; Path=/; HttpOnly; SameSite=Lax"));
    rig.io.cookie(Cookie {
        path: "/a".into(),
        http_only: false,
        secure: true,
        same_site: SameSite::None,
        max_age: Some(Duration::from_secs(60)),
        ..Cookie::default()
    });
    assert_eq!(judge(&rig.io, "/"), field("; Max-Age=60; Path=/a; Secure; SameSite=None"));
    let settings =
        Settings { cookie: "io".into(), cookie_attributes: "Path=/x".into(), ..Settings::default() };
    let configured = Io::new(settings, ShardId(1), 3, super::Orders::new(Rc::default()));
    assert_eq!(judge(&configured, "/"), field("; Path=/x"));
    configured.cookie(Cookie::default());
    assert_eq!(judge(&configured, "/"), field("; Path=/; HttpOnly; SameSite=Lax"));
}

#[test]
fn an_application_that_listens_for_raw_sessions_speaks_engine_io_only() {
    let rig = Rig::new();
    assert!(!rig.io.is_raw());
    let engine = rig.io.engine();
    let notes = rig.notes.clone();
    engine.on_open(move |session| notes.add(format!("open {}", session.id().index)));
    assert!(rig.io.is_raw());
    engine.on_message(|session: &RawSession, message| {
        session.send(message);
        session.close();
    });
    let notes = rig.notes.clone();
    engine.on_close(move |_, reason| notes.add(reason.label()));
    let session = EngineId { index: 7, generation: 1 };
    rig.io.opened(session);
    rig.io.message(session, Message::Text("a"));
    rig.io.message(session, Message::Binary(&[1]));
    rig.io.closed(session, CloseReason::ClientGone);
    assert_eq!(rig.notes.take(), ["open 7", "client_gone"]);
    let orders = rig.orders();
    let sent = orders.iter().filter_map(|order| match order {
        Order::Send { session: to, is_text, data } if *to == session => Some((*is_text, &**data)),
        _ => None,
    });
    assert_eq!(sent.collect::<Vec<_>>(), [(true, &b"a"[..]), (false, &[1])]);
    assert!(matches!(orders[1], Order::Close { .. }));
}

/// Begins to wait for an answer; gives it when it is there.
fn begin<T: 'static>(awaited: impl Future<Output = T> + 'static) -> (Pinned, Rc<RefCell<Option<T>>>) {
    let slot = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&slot);
    let mut pinned: Pinned = Box::pin(async move { *kept.borrow_mut() = Some(awaited.await) });
    go_on(&mut pinned);
    (pinned, slot)
}

type Pinned = std::pin::Pin<Box<dyn Future<Output = ()>>>;

fn go_on(pinned: &mut Pinned) {
    // Whether it is done shows in what it gave.
    let _done = futures_lite::future::block_on(futures_lite::future::poll_once(pinned));
}

/// The token of the one request asked for.
fn token(rig: &Rig) -> u64 {
    match &rig.orders()[..] {
        [Order::Request(SocketsRequest::Fetch { token, .. })] => *token,
        [Order::Request(SocketsRequest::ServerEvent { token: Some(token), .. })] => *token,
        other => panic!("{other:?}"),
    }
}

fn found(token: u64, index: u32) -> SocketsAnswer {
    let rooms = vec![ChannelName::new("/game#a", 255).expect("a name")];
    let summary = SocketSummary { id: id(index), rooms, is_on_websocket: true, data: "[1]".into() };
    SocketsAnswer { token, count: 1, sockets: vec![summary], arguments: None, acks: vec![] }
}

#[test]
fn sockets_are_fetched_from_every_shard_or_from_those_that_answer_in_time() {
    let rig = Rig::new();
    let game = rig.io.of("/game");
    let asked = game.to("a").timeout(Duration::from_secs(1));
    let ask = |asked: &super::super::Broadcast| {
        let asked = asked.clone();
        begin(async move { asked.fetch_sockets().await })
    };
    let (mut waiting, slot) = ask(&asked);
    let first = token(&rig);
    for (shard, index) in [(2, 8), (1, 9), (1, 10)] {
        rig.io.answered(ShardId(shard), found(first, index));
        rig.io.answered(ShardId(shard), found(first + 1, index));
    }
    go_on(&mut waiting);
    assert!(slot.borrow().is_none());
    rig.io.answered(ShardId(0), found(first, 7));
    go_on(&mut waiting);
    let sockets: Answers<RemoteSocket> = slot.take().expect("all have answered");
    assert!(sockets.is_complete());
    let indices: Vec<_> =
        sockets.iter().map(|socket| socket.socket_id().expect("it is here").index).collect();
    assert_eq!(indices, [7, 9, 8], "in the order of the shards");
    assert_eq!(sockets[0].rooms().collect::<Vec<_>>(), ["a"]);
    assert_eq!(sockets[0].data::<Vec<i32>>().expect("as it was set"), [1]);
    sockets[0].emit("e", &1);
    sockets[0].join("b");
    sockets[0].disconnect(true);
    assert_eq!(
        rig.asked(),
        [r#"command 7 emit ["e",1]"#, "command 7 join /game#b", "command 7 disconnect all"]
    );
    let (mut waiting, slot) = ask(&asked);
    let second = token(&rig);
    rig.io.answered(ShardId(0), found(second, 7));
    rig.pass(std::time::Instant::now() + Duration::from_secs(2));
    go_on(&mut waiting);
    let sockets = slot.take().expect("the time is up");
    assert_eq!((sockets.len(), sockets.missing), (1, 2));
    rig.io.answered(ShardId(1), found(second, 7));
}

#[test]
fn an_answer_to_what_a_shard_asked_before_it_began_anew_is_none_to_what_it_asks_since() {
    let ask = |rig: &Rig| {
        let game = rig.io.of("/game");
        begin(async move { game.to("a").fetch_sockets().await })
    };
    let before = Rig::new();
    let (_waiting, _slot) = ask(&before);
    let late = token(&before);
    let rig = Rig::new();
    let (mut waiting, slot) = ask(&rig);
    let now = token(&rig);
    rig.io.answered(ShardId(2), found(late, 8));
    for (shard, index) in [(0, 7), (1, 9), (2, 10)] {
        rig.io.answered(ShardId(shard), found(now, index));
    }
    go_on(&mut waiting);
    let sockets: Answers<RemoteSocket> = slot.take().expect("all have answered");
    let indices: Vec<_> =
        sockets.iter().map(|socket| socket.socket_id().expect("it is here").index).collect();
    assert_eq!(indices, [7, 9, 10]);
}

#[test]
fn the_rooms_of_a_socket_are_known_when_its_shard_has_answered() {
    let rig = Rig::new();
    let slot = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&slot);
    rig.io.of("/game").on_connect(move |socket| *kept.borrow_mut() = Some(socket));
    rig.enter(3, "/game");
    let socket = slot.take().expect("it is in");
    let (mut waiting, rooms) = begin(async move { socket.rooms().await });
    let token = token(&rig);
    rig.io.answered(
        ShardId(0),
        SocketsAnswer { token, count: 0, sockets: vec![], arguments: None, acks: vec![] },
    );
    go_on(&mut waiting);
    assert!(rooms.borrow().is_none());
    rig.io.answered(ShardId(1), found(token, 3));
    go_on(&mut waiting);
    assert_eq!(rooms.take().expect("it has answered"), ["a"]);
}

#[test]
fn other_shards_answer_what_is_asked_or_count_as_missing() {
    let rig = Rig::new();
    let io = rig.io.clone();
    let (mut waiting, slot) =
        begin(async move { io.server_side_emit_with_answers::<i32>("how many", &"x").await });
    let token = token(&rig);
    let answer = |json: &str| {
        let arguments = Arguments { json: json.into(), attachments: Box::default() };
        SocketsAnswer { token, count: 0, sockets: vec![], arguments: Some(arguments), acks: vec![] }
    };
    rig.io.answered(ShardId(1), answer("[0]"));
    rig.io.answered(ShardId(2), answer("[2]"));
    rig.io.answered(ShardId(0), answer(r#"["many"]"#));
    go_on(&mut waiting);
    let answers = slot.take().expect("both others have answered");
    assert_eq!((&answers[..], answers.missing), (&[(ShardId(2), 2)][..], 1));
}

#[test]
fn what_other_shards_say_reaches_the_listeners_of_the_namespace() {
    let rig = Rig::new();
    let game = rig.io.of("/game");
    let notes = rig.notes.clone();
    game.on_server_event("e", move |from, data: (i32, i32)| notes.add(format!("{from} {data:?}")));
    game.on_server_event_with_ack("q", |_, number: i32, ack| ack.send(&(number + 1)));
    let say = |namespace: &str, json: &str, token| {
        let arguments = Arguments { json: json.into(), attachments: Box::default() };
        rig.io.server_event(ShardId(2), namespace, &arguments, token);
    };
    say("/game", r#"["e",1,2]"#, None);
    say("/", r#"["e",3,4]"#, None);
    say("/game", r#"["e","wrong"]"#, None);
    assert_eq!(rig.notes.take(), ["2 (1, 2)"]);
    assert!(rig.orders().is_empty());
    say("/game", r#"["q",1]"#, Some(5));
    say("/game", r#"["nobody's"]"#, Some(6));
    let answers: Vec<_> = rig
        .orders()
        .iter()
        .map(|order| match order {
            Order::Answer { asker: ShardId(2), token, arguments } => (*token, arguments.json.to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answers, [(5, "[2]".to_owned()), (6, String::new())]);
}
