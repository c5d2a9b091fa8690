//! Events to clients: to one, to rooms, to everybody; and the channels and orders they become.

use std::rc::Rc;

use super::{
    super::{Binary, Io, Order, Orders, Settings},
    Rig, id,
};
use crate::{
    mesh::{Selection, SocketCommand, SocketsRequest},
    model::{ChannelName, NodeId, ShardId, SocketId, StateKey, StateRequest},
};

#[test]
fn an_event_to_one_client_goes_to_it_alone() {
    let rig = Rig::new();
    rig.io.on_connect(|socket| {
        socket.emit("one", &1);
        socket.emit("two", &("a", "b"));
        socket.volatile().compress(true).emit("none", &[(); 0]);
        socket.emit("file", &Binary(vec![7]));
        socket.emit("disconnect", &[(); 0]);
    });
    rig.enter(1, "/");
    assert_eq!(
        rig.asked(),
        [
            r#"emit 1 ["one",1]"#,
            r#"emit 1 ["two","a","b"]"#,
            r#"emit 1 ["none"] volatile"#,
            r#"emit 1 ["file",{"_placeholder":true,"num":0}] with [[7]]"#,
        ]
    );
}

#[test]
fn an_event_to_several_rooms_reaches_nobody_twice() {
    let rig = Rig::new();
    rig.io.to("a").to(["b", "a"]).in_("c").emit("e", &1);
    assert_eq!(
        rig.asked(),
        [r#"publish a ["e",1]"#, r#"publish b ["e",1] except a"#, r#"publish c ["e",1] except a,b"#,]
    );
    rig.io.of("/game").to(["a", "b"]).except("x").volatile().local().emit("e", &1);
    assert_eq!(
        rig.asked(),
        [
            r#"publish /game#a ["e",1] except /game#x volatile"#,
            r#"publish /game#b ["e",1] except /game#x,/game#a volatile"#,
        ]
    );
}

#[test]
fn state_is_changed_in_each_room_named_or_in_the_namespace() {
    let rig = Rig::new();
    let key = StateKey::new("score").expect("a key");
    let channels = |rig: &Rig| {
        let orders = rig.orders().into_iter().map(|order| match order {
            Order::ChangeState { channel, request, ticket: None } => {
                assert_eq!(*request, StateRequest::add(StateKey::new("score").expect("a key"), 3));
                channel.as_str().to_owned()
            }
            other => panic!("{other:?}"),
        });
        orders.collect::<Vec<_>>()
    };
    let game = rig.io.of("/game");
    game.to(["a", "b"]).change_state(StateRequest::add(key.clone(), 3));
    assert_eq!(channels(&rig), ["/game#a", "/game#b"]);
    game.change_state(StateRequest::add(key, 3));
    assert_eq!(channels(&rig), ["/game"]);
}

#[test]
fn everybody_is_the_channel_of_the_namespace() {
    let rig = Rig::new();
    rig.io.emit("e", &[(); 0]);
    rig.io.of("/game").except(vec!["a".to_owned()]).emit("e", &[(); 0]);
    rig.io.on_connect(|socket| {
        socket.broadcast().emit("e", &[(); 0]);
        socket.except("a").emit("e", &[(); 0]);
        socket.to("a").except(id(2)).emit("e", &[(); 0]);
    });
    rig.enter(1, "/");
    assert_eq!(
        rig.asked(),
        [
            r#"publish / ["e"]"#,
            r#"publish /game ["e"] except /game#a"#,
            r#"publish / ["e"] except 1"#,
            r#"publish / ["e"] except 1 except a"#,
            r#"publish a ["e"] except 1 except <2>"#,
        ]
    );
}

#[test]
fn a_plain_event_carries_nothing_for_socketio_alone() {
    let rig = Rig::new();
    rig.io.to("a").emit("e", &"x");
    let [Order::Publish { payload, .. }] = &rig.orders()[..] else { panic!("one publication") };
    assert_eq!(
        (payload.emission.as_ref(), payload.content_type.as_deref()),
        (None, Some("application/json"))
    );
}

#[test]
fn binary_values_are_attachments_to_socketio_and_base64_to_everybody_else() {
    let rig = Rig::new();
    rig.io.to("a").emit("e", &(1, Binary(vec![1, 2, 3])));
    assert_eq!(
        rig.asked(),
        [r#"publish a ["e",1,{"base64":"AQID"}] ["e",1,{"_placeholder":true,"num":0}] with [[1, 2, 3]]"#]
    );
}

#[test]
fn a_room_that_cannot_be_is_empty_and_not_everybody() {
    let rig = Rig::new();
    let long = "x".repeat(256);
    for room in ["", "a\nb", &long] {
        rig.io.to(room).emit("e", &1);
        rig.io.to(room).sockets_join("b");
        rig.io.in_(room).disconnect_sockets(true);
        rig.io.to(Vec::<String>::new()).emit("e", &1);
    }
    rig.io.to(["", "a"]).emit("e", &1);
    assert_eq!(rig.asked(), [r#"publish a ["e",1]"#]);
}

#[test]
fn a_socket_named_by_its_id_is_found_without_a_channel() {
    let rig = Rig::new();
    let far = SocketId::local(ShardId(2), 9, 4);
    rig.io.to(far).emit("e", &1);
    rig.io.to(far.to_string()).volatile().emit("e", &1);
    rig.io.in_(far).sockets_join(["a", "b"]);
    rig.io.in_(far).disconnect_sockets(false);
    assert_eq!(
        rig.asked(),
        [
            r#"command 9 emit ["e",1]"#,
            r#"command 9 emit ["e",1] volatile"#,
            "command 9 join a,b",
            "command 9 disconnect",
        ]
    );
    rig.io.to("a").to(far).emit("e", &1);
    assert_eq!(rig.asked(), [r#"command 9 emit ["e",1]"#, r#"publish a ["e",1] except <9>"#]);
    rig.io.to(far).except("a").emit("e", &1);
    let [Order::Request(SocketsRequest::Command { selection, command: SocketCommand::Emit { .. } })] =
        &rig.orders()[..]
    else {
        panic!("the shard that knows the rooms decides")
    };
    assert_eq!((selection.rooms[0].as_str(), selection.except[0].as_str()), (far.to_string().as_str(), "a"));
    rig.io.to(far).except(far).emit("e", &1);
    assert!(rig.asked().is_empty());
}

#[test]
fn rooms_are_joined_and_left_by_one_client_or_by_many() {
    let rig = Rig::new();
    let notes = rig.notes.clone();
    rig.io.of("/game").on_connect(move |socket| {
        notes.add(format!("{}", socket.join(["a", "b"])));
        notes.add(format!("{}", socket.join(["c", ""])));
        notes.add(format!("{}", socket.leave("a")));
        notes.add(format!("{}", socket.join("\0")));
        socket.disconnect_all();
    });
    rig.enter(1, "/game");
    assert_eq!(rig.notes.take(), ["true", "false", "true", "false"]);
    assert_eq!(
        rig.asked(),
        [
            "command 1 join /game#a,/game#b",
            "command 1 join /game#c",
            "command 1 leave /game#a",
            "command 1 disconnect all",
        ]
    );
    rig.io.of("/game").to("a").except("b").sockets_leave("c");
    let [Order::Request(SocketsRequest::Command { selection, command })] = &rig.orders()[..] else {
        panic!("one request")
    };
    let Selection { namespace, rooms, except, except_socket } = selection;
    assert_eq!((namespace.as_str(), *except_socket), ("/game", None));
    let text = |rooms: &[ChannelName]| super::names(rooms);
    assert_eq!((text(rooms).as_str(), text(except).as_str()), ("/game#a", "/game#b"));
    assert_eq!(super::command_line(command), "leave /game#c");
}

#[test]
fn data_that_json_cannot_say_is_not_sent() {
    let rig = Rig::new();
    let odd = std::collections::BTreeMap::from([(vec![1], 1)]);
    rig.io.emit("e", &odd);
    let unheard = Rc::clone(&rig.io.core().deadlines);
    assert_eq!((rig.asked().len(), format!("{unheard:?}")), (0, "0 deadlines".into()));
}

#[test]
fn an_event_to_a_socket_is_told_other_nodes_only_where_it_is_on_one() {
    let settings = Settings { has_broker: true, node: NodeId(7), ..Settings::default() };
    let io = Io::new(settings, ShardId(1), 3, Orders::new(Rc::default()));
    let is_told = |node| {
        io.orders().take(&mut Vec::new());
        io.to(SocketId { node: NodeId(node), ..id(9) }).emit("x", &());
        let mut orders = Vec::new();
        io.orders().take(&mut orders);
        orders.iter().any(|(_, order)| matches!(order, Order::Cluster(_)))
    };
    assert_eq!([7, 8].map(is_told), [false, true]);
}
