//! Events of clients: who hears them, in which order, and what may be done while one is heard.

use std::{cell::RefCell, rc::Rc};

use serde::Deserialize;

use super::{
    super::{Binary, Event, Socket},
    Rig, id,
};

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "shown by Debug")]
struct Move {
    x: i32,
    y: i32,
}

#[test]
fn an_event_reaches_listeners_of_its_name_with_the_data_they_take() {
    let rig = Rig::new();
    rig.io.on("move", rig.noting::<Move>("one"));
    rig.io.on("move", rig.noting::<(Move, Option<i32>)>("several"));
    rig.io.on("stop", rig.noting::<()>("stop"));
    rig.io.of("/other").on("move", rig.noting::<Move>("elsewhere"));
    let root = rig.enter(1, "/");
    rig.say(1, root, r#"["move",{"x":1,"y":2}]"#);
    assert_eq!(rig.notes.take(), ["one Move { x: 1, y: 2 }", "several (Move { x: 1, y: 2 }, None)"]);
    rig.say(1, root, r#"["stop",1,2]"#);
    rig.say(1, root, r#"["nobody's"]"#);
    assert_eq!(rig.notes.take(), ["stop ()"]);
}

#[test]
fn a_listener_for_any_event_and_the_sockets_own_come_first() {
    let rig = Rig::new();
    let notes = rig.notes.clone();
    rig.io.on_any(move |_, event| notes.add(format!("any {} {}", event.name(), event.json())));
    rig.io.on("e", rig.noting::<i32>("shared"));
    let noting = Rc::new(rig.noting::<i32>("own"));
    rig.io.on_connect(move |socket| {
        if socket.id() == id(1) {
            let noting = Rc::clone(&noting);
            socket.on("e", move |socket, data: i32| noting(socket, data));
        }
    });
    let root = rig.enter(1, "/");
    rig.enter(2, "/");
    rig.say(1, root, r#"["e",1]"#);
    rig.say(2, root, r#"["e",2]"#);
    assert_eq!(rig.notes.take(), ["own 1", r#"any e ["e",1]"#, "shared 1", r#"any e ["e",2]"#, "shared 2"]);
    rig.leave(1, root);
    rig.enter(2, "/");
    assert!(rig.io.core().presence.events(id(1)).is_none());
}

#[test]
fn what_a_listener_does_not_take_goes_to_the_error_hook_and_is_counted() {
    let rig = Rig::new();
    rig.io.on("e", rig.noting::<i32>("e"));
    rig.io.on("e", rig.noting::<String>("text"));
    let root = rig.enter(1, "/");
    rig.say(1, root, r#"["e","x"]"#);
    let notes = rig.notes.clone();
    rig.io.on_error(move |socket, error| {
        notes.add(format!("{} {}", socket.id().index, error.event.name()));
    });
    rig.say(1, root, r#"["e",{}]"#);
    assert_eq!(rig.notes.take(), ["text \"x\"", "1 e", "1 e"]);
    assert_eq!(rig.io.events_failed(), 3);
}

#[test]
fn attachments_are_found_where_the_placeholders_stand() {
    let rig = Rig::new();
    rig.io.on("file", rig.noting::<(String, Binary)>("file"));
    let root = rig.enter(1, "/");
    let json = r#"["file","a.txt",{"_placeholder":true,"num":0}]"#;
    let event = Event {
        name: "file",
        json,
        attachments: &[Box::from([1, 2])],
        ack: None,
        address: None,
        rulings: &[],
    };
    rig.io.event(id(1), root, &event);
    rig.io.event(id(1), root, &Event { attachments: &[], ..event });
    assert_eq!(rig.notes.take(), ["file (\"a.txt\", Binary([1, 2]))"]);
    assert_eq!(rig.io.events_failed(), 1);
}

#[test]
fn a_listener_may_do_anything_while_it_is_called() {
    let rig = Rig::new();
    let notes = rig.notes.clone();
    let again = rig.noting::<i32>("again");
    let again = Rc::new(RefCell::new(Some(again)));
    rig.io.on("e", move |socket: &Socket, number: i32| {
        notes.add(format!("first {number}"));
        let io = socket.io();
        if let Some(again) = again.take() {
            io.on("e", again);
            let nested = notes.clone();
            socket.on("own", move |socket: &Socket, (): ()| {
                nested.add("own");
                socket.off("own");
                socket.on("own", |_, (): ()| ());
            });
            socket.set_data(number);
        }
        socket.join("room");
        io.to("room").emit("e", &number);
        socket.to("room").emit("e", &number);
        socket.disconnect();
        if number == 2 {
            io.off("e");
            io.on_any(|_, _| ());
            io.of("/new").on("e", |_, (): ()| ());
        }
    });
    let root = rig.enter(1, "/");
    for json in [r#"["e",1]"#, r#"["own"]"#, r#"["own"]"#, r#"["e",2]"#, r#"["e",3]"#] {
        rig.say(1, root, json);
    }
    assert_eq!(rig.notes.take(), ["first 1", "own", "first 2", "again 2"]);
    assert_eq!(
        rig.asked()[..4],
        [
            "command 1 join room",
            r#"publish room ["e",1]"#,
            r#"publish room ["e",1] except 1"#,
            "command 1 disconnect"
        ]
    );
}

#[test]
fn a_listener_may_remove_itself_and_what_it_holds_may_remove_others() {
    struct Parting(super::super::Io);
    impl Drop for Parting {
        fn drop(&mut self) {
            self.0.off("other");
            self.0.on_error(|_, _| ());
        }
    }
    let rig = Rig::new();
    let parting = Parting(rig.io.clone());
    rig.io.on("other", rig.noting::<()>("other"));
    rig.io.on("once", move |socket: &Socket, (): ()| {
        let _held = &parting;
        socket.io().off("once");
    });
    let root = rig.enter(1, "/");
    rig.say(1, root, r#"["other"]"#);
    rig.say(1, root, r#"["once"]"#);
    rig.say(1, root, r#"["once"]"#);
    rig.say(1, root, r#"["other"]"#);
    assert_eq!(rig.notes.take(), ["other ()"]);
    let parting = Parting(rig.io.clone());
    rig.io.on("other", rig.noting::<()>("other"));
    rig.io.on("never", move |_: &Socket, (): ()| drop(parting.0.clone()));
    rig.io.off("never");
    rig.say(1, root, r#"["other"]"#);
    assert!(rig.notes.take().is_empty());
}

#[test]
fn the_data_of_a_socket_may_use_the_socket_when_it_is_dropped() {
    struct Parting(Socket);
    impl Drop for Parting {
        fn drop(&mut self) {
            self.0.set_data(1);
            self.0.broadcast().emit("left", &[(); 0]);
        }
    }
    let rig = Rig::new();
    rig.io.on_connect(|socket| {
        socket.set_data(Parting(socket.clone()));
        socket.set_data(Parting(socket.clone()));
    });
    let root = rig.enter(1, "/");
    rig.leave(1, root);
    assert_eq!(rig.io.core().presence.states_count(), 0);
    assert_eq!(rig.asked()[0], r#"publish / ["left"] except 1"#);
}
