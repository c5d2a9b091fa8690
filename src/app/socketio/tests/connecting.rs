//! Entering and leaving: middleware, dynamic namespaces, and what is kept of whom for how long.

use std::rc::Rc;

use super::{
    super::{ConnectError, NamespaceId},
    Rig, id,
};
use crate::{
    limits::NAMESPACES_DYNAMIC_MAX,
    model::{ChannelName, CloseReason, SocketId},
};

#[test]
fn the_root_is_open_to_everybody_and_an_unknown_namespace_to_nobody() {
    let rig = Rig::new();
    rig.io.of("game");
    assert_eq!(&*rig.io.namespace_name(rig.enter(1, "/")), "/");
    assert_eq!(&*rig.io.namespace_name(rig.enter(2, "/game")), "/game");
    let refused = rig.admit(3, "/gam", None).expect_err("there is none of this name");
    assert_eq!((refused.message.as_str(), refused.data), ("Invalid namespace", None));
    assert_eq!(rig.io.of("/game").sockets_count(), 1);
}

#[test]
fn middleware_is_asked_in_order_until_one_refuses() {
    let rig = Rig::new();
    let game = rig.io.of("/game");
    let notes = rig.notes.clone();
    game.use_middleware(move |candidate| {
        let name: String = candidate.auth().map_err(|_| ConnectError::new("who?").with_data(&[401]))?;
        notes.add(name.clone());
        candidate.set_data(name);
        Ok(())
    });
    game.use_middleware(|candidate| match candidate.data::<String>().as_deref().map(String::as_str) {
        Some("eve") => Err("not you".into()),
        _ => Ok(()),
    });
    let notes = rig.notes.clone();
    game.on_connect(move |socket| {
        let name = socket.data::<String>().expect("set by the middleware");
        notes.add(format!("{name} is in, with {}", socket.auth::<String>().expect("still known here")));
    });
    let refused = rig.admit(1, "/game", None).expect_err("it said nothing");
    assert_eq!((refused.message.as_str(), refused.data.as_deref()), ("who?", Some("[401]")));
    let refused = rig.admit(1, "/game", Some("\"eve\"")).expect_err("it is eve");
    assert_eq!(refused, ConnectError::new("not you"));
    assert_eq!((game.sockets_count(), rig.io.core().presence.states_count()), (0, 0));
    let entered = rig.admit(1, "/game", Some("\"ann\"")).expect("it is ann");
    assert_eq!(rig.notes.take(), ["eve", "ann"]);
    rig.io.connected(id(1), entered, false);
    assert_eq!(rig.notes.take(), ["ann is in, with ann"]);
    assert!(rig.io.core().introductions.borrow().is_empty());
}

#[test]
fn a_connect_that_was_given_up_leaves_nothing_behind() {
    let rig = Rig::new();
    rig.io.use_middleware(|candidate| {
        candidate.set_data(1);
        Ok(())
    });
    rig.io.on_connect(|_| panic!("it never was"));
    let root = rig.admit(1, "/", None).expect("it may");
    rig.io.forgotten(id(1), root);
    let core = rig.io.core();
    assert_eq!((rig.io.sockets_count(), core.presence.states_count()), (0, 0));
    assert!(core.introductions.borrow().is_empty());
}

#[test]
fn an_idle_client_costs_no_entry_anywhere() {
    let rig = Rig::new();
    rig.io.on_connect(|socket| socket.emit("welcome", &[(); 0]));
    rig.io.on_disconnect(|_, _| ());
    rig.io.on("e", rig.noting::<i32>("e"));
    let root = rig.enter(1, "/");
    rig.say(1, root, r#"["e",1]"#);
    let core = rig.io.core();
    assert_eq!(core.presence.states_count(), 0);
    assert!(core.introductions.borrow().is_empty());
}

#[test]
fn what_is_kept_of_a_socket_goes_with_it() {
    let rig = Rig::new();
    let socket = Rc::new(std::cell::RefCell::new(None));
    let slot = Rc::clone(&socket);
    rig.io.on_connect(move |socket| {
        socket.set_data("kept");
        *slot.borrow_mut() = Some(socket);
    });
    let root = rig.enter(1, "/");
    let socket = socket.take().expect("it is in");
    let notes = rig.notes.clone();
    socket.on_disconnect(move |socket, reason| {
        notes.add(format!("{reason}: {:?} {}", socket.data::<&str>(), socket.is_connected()));
    });
    assert!(socket.is_connected() && !socket.recovered());
    rig.leave(1, root);
    assert_eq!(rig.notes.take(), ["transport close: Some(\"kept\") false"]);
    assert!(!socket.is_connected() && socket.data::<&str>().is_none());
    // A handle that outlived its socket keeps nothing, also when another has its place.
    let keep_late = || {
        socket.set_data("late");
        socket.set_public_data(&"late");
        socket.on("e", rig.noting::<()>("late"));
        socket.on_disconnect(|_, _| ());
    };
    keep_late();
    let next = SocketId { generation: 2, ..id(1) };
    let connecting = super::Connecting {
        session: crate::app::socketio::EngineId { index: 1, generation: 0 },
        socket: next,
        namespace: "/",
        auth: None,
        token: None,
        handshake: None,
        address: None,
        is_websocket: false,
        rulings: &[],
        question: std::cell::RefCell::default(),
    };
    let root = rig.io.admit(&connecting).expect("it may").namespace();
    keep_late();
    assert_eq!((rig.io.core().presence.states_count(), &*rig.io.data(next)), (0, "null"));
    rig.io.forgotten(next, root);
}

#[test]
fn public_data_is_told_to_other_shards_as_json() {
    let rig = Rig::new();
    rig.io.use_middleware(|candidate| {
        candidate.set_public_data(&("ann", super::super::Binary(vec![1])));
        Ok(())
    });
    let notes = rig.notes.clone();
    rig.io.on_connect(move |socket| {
        notes.add(format!("{:?}", socket.public_data::<(String, super::super::Binary)>().ok()));
    });
    let root = rig.enter(1, "/");
    assert_eq!(rig.notes.take(), [r#"Some(("ann", Binary([1])))"#]);
    assert_eq!(&*rig.io.data(id(1)), r#"["ann",{"base64":"AQ=="}]"#);
    rig.leave(1, root);
    assert_eq!(&*rig.io.data(id(1)), "null");
}

#[test]
fn a_client_that_may_come_back_keeps_its_data_and_nothing_else() {
    let rig = Rig::new();
    let notes = rig.notes.clone();
    let noting = rig.noting::<i32>("own");
    let noting = Rc::new(noting);
    rig.io.on_connect(move |socket| {
        notes.add(format!("{:?} {}", socket.data::<i32>(), socket.recovered()));
        socket.set_data(7);
        let noting = Rc::clone(&noting);
        socket.on("e", move |socket, data: i32| noting(socket, data));
    });
    let root = rig.enter(1, "/");
    rig.io.disconnected(id(1), root, CloseReason::PingTimeout, true);
    assert_eq!(rig.io.sockets_count(), 1);
    rig.io.connected(id(1), root, true);
    assert_eq!(rig.notes.take(), ["None false", "Some(7) true"]);
    rig.say(1, root, r#"["e",1]"#);
    assert_eq!(rig.notes.take(), ["own 1"]);
    rig.io.disconnected(id(1), root, CloseReason::PingTimeout, true);
    rig.io.forgotten(id(1), root);
    assert_eq!((rig.io.sockets_count(), rig.io.core().presence.states_count()), (0, 0));
}

#[test]
fn a_dynamic_namespace_lives_while_somebody_is_in_it() {
    let rig = Rig::new();
    let notes = rig.notes.clone();
    let rooms = rig.io.of_matching(|name, auth| {
        name.starts_with("/room-") && auth.get::<Option<u8>>().is_ok_and(|auth| auth != Some(13))
    });
    rooms.on_namespace(move |namespace| {
        notes.add(format!("made {}", namespace.name()));
        namespace.set_data(namespace.name().len());
    });
    let notes = rig.notes.clone();
    rooms.on_connect(move |socket| {
        notes.add(format!("{} {:?}", socket.namespace().name(), socket.namespace().data::<usize>()));
    });
    rooms.on("e", rig.noting::<i32>("e"));
    rig.admit(9, "/room-1", Some("13")).expect_err("the rule says no");
    rig.admit(9, "/room-#1", None).expect_err("that is no namespace's name");
    let first = rig.enter(1, "/room-1");
    assert_eq!(rig.enter(2, "/room-1"), first);
    let second = rig.enter(3, "/room-22");
    assert_eq!(
        rig.notes.take(),
        ["made /room-1", "/room-1 Some(7)", "/room-1 Some(7)", "made /room-22", "/room-22 Some(8)"]
    );
    rig.say(3, second, r#"["e",5]"#);
    rig.leave(1, first);
    assert!(rig.io.core().namespace_named("/room-1").is_some());
    rig.leave(2, first);
    assert!(rig.io.core().namespace_named("/room-1").is_none());
    rig.enter(4, "/room-1");
    assert_eq!(rig.notes.take(), ["e 5", "made /room-1", "/room-1 Some(7)"]);
}

#[test]
fn a_refused_client_takes_its_dynamic_namespace_with_it_and_of_keeps_one() {
    let rig = Rig::new();
    let rule = rig.io.of_matching(|_, _| true);
    rule.use_middleware(|candidate| match candidate.namespace().name() {
        "/no" => Err("no".into()),
        _ => Ok(()),
    });
    rig.admit(1, "/no", None).expect_err("the middleware refuses");
    assert!(rig.io.core().namespace_named("/no").is_none());
    let kept = rig.enter(1, "/kept");
    rig.io.of("/kept");
    rig.leave(1, kept);
    assert!(rig.io.core().namespace_named("/kept").is_some());
}

#[test]
fn a_namespace_that_is_let_go_ends_with_the_last_unless_it_is_asked_for_again() {
    let rig = Rig::new();
    let gone = |name: &'static str| {
        let notes = rig.notes.clone();
        move || notes.add(format!("{name} has gone"))
    };
    let is_there = |name: &str| rig.io.core().namespace_named(name).is_some();
    rig.io.of("/empty").let_go(gone("empty"));
    assert!(!is_there("/empty"));
    assert_eq!(rig.notes.take(), ["empty has gone"]);
    rig.io.of("/game");
    let game = rig.enter(1, "/game");
    rig.io.of("/game").let_go(gone("before"));
    // To be asked for by name again, also to be let go again, is to stay.
    rig.io.of("/game");
    rig.leave(1, game);
    assert!(is_there("/game"));
    let game = rig.enter(1, "/game");
    rig.io.of("/game").let_go(gone("game"));
    assert_eq!(rig.enter(2, "/game"), game);
    rig.leave(1, game);
    assert!(is_there("/game") && rig.notes.take().is_empty());
    rig.leave(2, game);
    assert!(!is_there("/game"));
    assert_eq!(rig.notes.take(), ["game has gone"]);
}

#[test]
fn a_namespace_that_a_rule_finds_by_making_it_passes_with_who_was_not_let_in() {
    let rig = Rig::new();
    let (io, notes) = (rig.io.clone(), rig.notes.clone());
    rig.io.of_matching(move |name, _| {
        let made = io.of(name);
        let refuses = name == "/no";
        made.use_middleware(move |_| if refuses { Err("no".into()) } else { Ok(()) });
        let (notes, name) = (notes.clone(), name.to_owned());
        made.pass_with_the_last(move || notes.add(format!("{name} has gone")));
        true
    });
    rig.admit(1, "/no", None).expect_err("the middleware refuses");
    assert_eq!(rig.notes.take(), ["/no has gone"]);
    let yes = rig.enter(1, "/yes");
    assert!(rig.notes.take().is_empty());
    rig.leave(1, yes);
    assert_eq!(rig.notes.take(), ["/yes has gone"]);
    // It is found anew each time.
    rig.enter(1, "/yes");
}

#[test]
fn dynamic_namespaces_are_bounded() {
    let rig = Rig::new();
    rig.io.of_matching(|_, _| true);
    for number in 0..NAMESPACES_DYNAMIC_MAX as u32 {
        rig.enter(number, &format!("/{number}"));
    }
    let full = rig.admit(1_000_000, "/more", None).expect_err("there are enough");
    assert!(full.message.contains("as many namespaces as it may"), "{full:?}");
    rig.enter(1_000_001, "/7");
    rig.leave(8, rig.io.core().namespace_named("/8").expect("it is there").id());
    rig.enter(1_000_000, "/more");
}

#[test]
fn a_namespace_without_a_slash_gets_one() {
    let rig = Rig::new();
    assert_eq!(rig.io.of("a").name(), "/a");
    rig.enter(1, "/a");
}

#[test]
#[should_panic(expected = "a namespace's name has at most 128 bytes")]
fn a_name_that_cannot_be_a_namespaces_is_a_mistake_of_the_application() {
    Rig::new().io.of("/a#b");
}

#[test]
fn a_socket_tells_what_carries_it() {
    let rig = Rig::new();
    let notes = rig.notes.clone();
    rig.io.on("how", move |socket: &crate::app::socketio::Socket, (): ()| notes.add(socket.transport()));
    let root = rig.enter(1, "/");
    rig.say(1, root, r#"["how"]"#);
    rig.io.carried(id(1), true);
    rig.say(1, root, r#"["how"]"#);
    rig.io.disconnected(id(1), root, CloseReason::PingTimeout, true);
    rig.io.carried(id(1), false);
    rig.io.connected(id(1), root, true);
    rig.say(1, root, r#"["how"]"#);
    assert_eq!(rig.notes.take(), ["polling", "websocket", "polling"]);
}

#[test]
fn whoever_says_which_sockets_are_members_lets_none_be_of_a_namespace_that_is_gone() {
    let rig = Rig::new();
    let (gone, room) = (NamespaceId(99), ChannelName::new("lobby", 64).expect("a name"));
    assert!(rig.io.may_enter(id(1), gone, &room), "everybody is where nobody says so");
    rig.io.members_if(|_, _| true);
    assert!(!rig.io.may_enter(id(1), gone, &room));
}
