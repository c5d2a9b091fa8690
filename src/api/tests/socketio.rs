//! What Socket.IO clients may do without code, and what a backend may ask over HTTP: a server whose sockets the test
//! plays. What is done shows as orders to the shard.

use std::rc::Rc;

use glommio::{LocalExecutorBuilder, Placement};
use serde_json::{Value, json};

use super::super::testing::{CONNECTION, Rig, body, code, name, open_settings};
use super::super::{AdminPageSettings, Settings, SocketIoSettings};
use super::key_settings;
use crate::app::socketio::{self, ConnectError, Connecting, Event, Io, NamespaceId, Order, Orders, SocketId};
use crate::app::{Answer, Handler, Response};
use crate::config::Presence;
use crate::hub::SubscribeError;
use crate::limits::Limits;
use crate::mesh::{Bell, SocketCommand, SocketSummary, SocketsAnswer, SocketsRequest};
use crate::model::{Emission, ShardId};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const SHARDS: u16 = 3;

/// One client of the server, in one namespace.
#[derive(Clone, Copy)]
struct Client {
    socket: SocketId,
    namespace: NamespaceId,
}

/// A server with Socket.IO, and the sockets it has had.
struct Served {
    rig: Rig,
    io: Io,
    sockets: u32,
}

impl Served {
    fn new(settings: Settings) -> Self {
        let mut rig = Rig::new(settings);
        let orders = Orders::new(Rc::new(Bell::default()));
        let io = Io::new(socketio::Settings::default(), ShardId(1), SHARDS, orders);
        assert!(rig.server.socketio(&io), "it is served");
        Self { rig, io, sockets: 0 }
    }

    fn with(change: impl FnOnce(&mut SocketIoSettings)) -> Self {
        let mut socketio = SocketIoSettings::default();
        change(&mut socketio);
        Self::new(Settings { socketio: Some(socketio), ..open_settings() })
    }

    fn enter(&mut self, namespace: &str, auth: Option<&str>) -> Result<Client, ConnectError> {
        let socket = SocketId::local(ShardId(1), self.sockets, 0);
        self.sockets += 1;
        let admitted = self.io.admit(&Connecting {
            session: socketio::EngineId { index: self.sockets, generation: 0 },
            socket,
            namespace,
            auth,
            token: None,
            handshake: None,
            address: None,
            is_websocket: true,
            rulings: &[],
            question: std::cell::RefCell::default(),
        })?;
        let namespace = admitted.namespace();
        self.io.connected(socket, namespace, false);
        Ok(Client { socket, namespace })
    }

    fn client(&mut self) -> Client {
        self.enter("/", None).expect("anybody may enter")
    }

    /// A client says something and wants to hear what came of it; all that was ordered.
    fn say_with(&self, client: Client, json: &str, attachments: &[Box<[u8]>]) -> Vec<Order> {
        self.hear(client, json, attachments);
        let mut orders = self.orders();
        let joins = orders.iter().filter_map(|order| match order {
            Order::Join { socket, rooms, number } => Some((*socket, rooms.len(), *number)),
            _ => None,
        });
        for (socket, rooms, number) in joins.collect::<Vec<_>>() {
            (0..rooms).for_each(|_| self.io.joined(socket, number, Ok(())));
            orders.extend(self.orders());
        }
        orders
    }

    fn hear(&self, client: Client, json: &str, attachments: &[Box<[u8]>]) {
        let said: Vec<Value> = serde_json::from_str(json).expect("JSON");
        let name = said[0].as_str().map_or_else(|| said[0].to_string(), str::to_owned);
        self.io.event(
            client.socket,
            client.namespace,
            &Event { name: &name, json, attachments, ack: Some(7), address: None, rulings: &[] },
        );
    }

    /// As [`Self::say_with`], without the acknowledgement, which is the second.
    fn say(&self, client: Client, json: &str) -> (Vec<Order>, Value) {
        let mut orders = self.say_with(client, json, &[]);
        let ack = orders.iter().position(|order| matches!(order, Order::Acknowledge { id: 7, .. }));
        let Order::Acknowledge { socket, arguments, .. } = orders.remove(ack.expect("it is acknowledged"))
        else {
            unreachable!("it was looked for");
        };
        assert_eq!(socket, client.socket);
        let answer: Vec<Value> = serde_json::from_str(&arguments.json).expect("JSON");
        (orders, answer.into_iter().next().expect("one argument"))
    }

    /// The code of the error that a client's event is acknowledged with.
    fn refused(&self, client: Client, json: &str) -> String {
        let (orders, answer) = self.say(client, json);
        let is_count = |order: &Order| matches!(order, Order::CountRateLimited | Order::CountCommandRefused);
        assert!(orders.iter().all(is_count), "{json}: {orders:?}");
        assert!(matches!(orders.last(), Some(Order::CountCommandRefused)), "{json} is counted");
        let sentence = answer["error"]["message"].as_str().expect("a sentence");
        assert!(sentence.len() > 15, "{sentence:?} tells no cure");
        answer["error"]["code"].as_str().expect("a code").to_owned()
    }

    fn orders(&self) -> Vec<Order> {
        let mut orders = Vec::new();
        self.io.orders().take(&mut orders);
        orders.into_iter().map(|(_, order)| order).collect()
    }

    fn post(&mut self, path: &str, body: &str) -> (Response, Vec<Order>) {
        let response = self.rig.respond(&format!("POST {path}"), &[JSON], body.as_bytes());
        (response, self.orders())
    }
}

/// The one publication among orders: channel, data, and what only Socket.IO clients are told.
fn published(orders: Vec<Order>) -> (String, String, Option<Emission>) {
    match <[Order; 1]>::try_from(orders) {
        Ok([Order::Publish { channel, payload, .. }]) => {
            assert_eq!(payload.content_type.as_deref(), Some("application/json"));
            let data = payload.text().expect("JSON is text").to_owned();
            (channel.as_str().to_owned(), data, payload.emission.map(|emission| *emission))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_joins_and_leaves_the_rooms_it_may() {
    let mut served = Served::with(|socketio| socketio.client_rooms = vec!["game-*".into()]);
    let client = served.enter("/arcade", None).expect("any namespace is open");
    for (event, answer) in [("join", json!({"room": "game-7"})), ("leave", json!({"room": "game-7"}))] {
        let (orders, told) = served.say(client, &format!(r#"["{event}","game-7"]"#));
        assert_eq!(told, answer);
        let rooms = match &orders[..] {
            [
                Order::Join { socket, rooms, .. }
                | Order::Command { socket, command: SocketCommand::Leave(rooms) },
            ] => {
                assert_eq!(*socket, client.socket);
                rooms
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(rooms[0].as_str(), "/arcade#game-7");
        assert_eq!(served.refused(client, &format!(r#"["{event}","admin"]"#)), "room_forbidden");
        assert_eq!(served.refused(client, &format!(r#"["{event}",7]"#)), "arguments_invalid");
        assert_eq!(served.refused(client, &format!(r#"["{event}"]"#)), "arguments_invalid");
        assert_eq!(served.refused(client, &format!(r#"["{event}",""]"#)), "channel_name_invalid");
    }
    served.hear(client, r#"["join","game-8"]"#, &[]);
    let joins = served.orders();
    let [Order::Join { socket, number, .. }] = joins[..] else { panic!("{joins:?}") };
    served.io.joined(socket, number, Err(SubscribeError::TooMany));
    let told = format!("{:?}", served.orders());
    assert!(told.contains("subscriptions_full"), "what the room says is what the client is told: {told}");
    let mut open = Served::with(|_| ());
    let (spy, other) = (open.client(), open.client());
    let own_room = format!(r#"["join","{}"]"#, other.socket);
    assert_eq!(open.refused(spy, &own_room), "room_of_socket", "nobody listens in on another client");
}

#[test]
fn a_publication_to_a_room_is_an_event_in_its_channel() {
    let mut served = Served::with(|_| ());
    let client = served.client();
    let (orders, answer) = served.say(client, r#"["publish","lobby","move",{"x":1.0},2]"#);
    assert_eq!(answer, json!({"room": "lobby"}));
    assert_eq!(published(orders), ("lobby".into(), r#"["move",{"x":1.0},2]"#.into(), None));
    for (json, code) in [
        (r#"["publish","lobby"]"#, "arguments_invalid"),
        (r#"["publish","lobby",3]"#, "arguments_invalid"),
        (r#"["publish","lobby","disconnect"]"#, "event_reserved"),
        (r#"["publish","","e"]"#, "channel_name_invalid"),
    ] {
        assert_eq!(served.refused(client, json), code, "{json}");
    }
}

#[test]
fn a_publication_to_the_id_of_a_socket_reaches_it_alone() {
    let mut served = Served::with(|_| ());
    let (client, other) = (served.client(), served.client());
    let (orders, _) = served.say(client, &format!(r#"["publish","{}","psst",1]"#, other.socket));
    match &orders[..] {
        [Order::Command { socket, command: SocketCommand::Emit { arguments, .. } }] => {
            assert_eq!((*socket, &*arguments.json), (other.socket, r#"["psst",1]"#));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn any_other_event_goes_to_everybody_in_the_namespace_as_it_came() {
    let mut served = Served::with(|_| ());
    let client = served.enter("/game", None).expect("any namespace is open");
    let said = r#"["chat message" , "hi", 12345678901234567890123]"#;
    let (orders, answer) = served.say(client, said);
    assert_eq!(answer, json!({"relayed": true}));
    assert_eq!(published(orders), ("/game".into(), said.into(), None));
    let (orders, _) = served.say(client, "[1,2]");
    let (channel, data, emission) = published(orders);
    let arguments = emission.and_then(|emission| emission.arguments).expect("it is an event all the same");
    assert_eq!((&*channel, &*data, &*arguments.json), ("/game", "[1,2]", "[1,2]"));
}

#[test]
fn bytes_travel_as_attachments_and_as_base64_to_those_who_take_none() {
    let mut served = Served::with(|_| ());
    let client = served.client();
    let attachments = [Box::from([0xffu8])];
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    for (said, inner) in [
        (format!(r#"["draw",{placeholder}]"#), format!(r#"["draw",{placeholder}]"#)),
        (format!(r#"["publish","r","draw",{placeholder}]"#), format!(r#"["draw",{placeholder}]"#)),
    ] {
        let mut orders = served.say_with(client, &said, &attachments);
        orders.retain(|order| !matches!(order, Order::Acknowledge { .. }));
        let (_, data, emission) = published(orders);
        assert_eq!(data, r#"["draw",{"base64":"/w=="}]"#);
        let arguments = emission.expect("it has attachments").arguments.expect("they are its");
        assert_eq!((&*arguments.json, &arguments.attachments[..]), (&*inner, &attachments[..]));
    }
}

#[test]
fn who_may_not_publish_neither_publishes_nor_is_relayed_and_a_key_makes_the_difference() {
    let socketio = SocketIoSettings::default();
    let mut served = Served::new(Settings { socketio: Some(socketio.clone()), ..key_settings() });
    let reader = served.client();
    for json in [r#"["publish","r","e"]"#, r#"["any other event"]"#] {
        assert_eq!(served.refused(reader, json), "publish_forbidden");
    }
    served.say(reader, r#"["join","r"]"#);
    let writer = served.enter("/", Some(r#"{"key":"secret","more":1}"#)).expect("the key is right");
    assert_eq!(published(served.say(writer, r#"["e"]"#).0).0, "/");
    let refused = served.enter("/", Some(r#"{"key":"secre"}"#)).map(drop).expect_err("the key is wrong");
    let data: Value = serde_json::from_str(&refused.data.expect("for programs")).expect("JSON");
    assert_eq!(data["code"], "key_wrong");
    assert!(served.enter("/", Some(r#"{"key":7}"#)).is_err());
    assert!(served.enter("/", Some(r#"{"token":7}"#)).is_ok(), "what else an application says is its own");

    let mut silent = Served::with(|socketio| socketio.clients_publish = false);
    let client = silent.client();
    assert_eq!(silent.refused(client, r#"["publish","r","e"]"#), "publish_forbidden");
    let mut unrelayed = Served::with(|socketio| socketio.relays = false);
    let client = unrelayed.client();
    assert_eq!(unrelayed.refused(client, r#"["e"]"#), "event_unheard");
    assert_eq!(published(unrelayed.say(client, r#"["publish","r","e"]"#).0).0, "r");
}

#[test]
fn events_are_bounded_in_size_and_rate() {
    let limits =
        Limits { publication_bytes_max: 7, publications_per_key_per_second_max: 2, ..Limits::default() };
    let mut served = Served::new(Settings { limits, ..open_settings() });
    let client = served.client();
    assert_eq!(published(served.say(client, r#"["e",1]"#).0).1, r#"["e",1]"#);
    assert_eq!(served.refused(client, r#"["e",12]"#), "publication_too_large");
    assert_eq!(published(served.say(client, r#"["e",1]"#).0).1, r#"["e",1]"#);
    let (orders, answer) = served.say(client, r#"["e",1]"#);
    assert_eq!(answer["error"]["code"], "rate_limited");
    assert!(matches!(orders[..], [Order::CountRateLimited, Order::CountCommandRefused]), "{orders:?}");
}

#[test]
fn namespaces_that_are_not_allowed_are_invalid() {
    let mut served = Served::with(|socketio| socketio.namespaces = vec!["/game-*".into()]);
    assert!(served.enter("/game-1", None).is_ok());
    for namespace in ["/", "/game", "/other"] {
        let refused = served.enter(namespace, None).map(drop).expect_err("not allowed");
        assert_eq!(refused.message, "Invalid namespace", "{namespace}");
    }
}

#[test]
fn nothing_is_served_where_it_is_turned_off() {
    let mut rig = Rig::new(Settings { socketio: None, ..open_settings() });
    let orders = Orders::new(Rc::new(Bell::default()));
    assert!(!rig.server.socketio(&Io::new(socketio::Settings::default(), ShardId(0), 1, orders)));
    for line in ["POST /socket.io-api/emit", "GET /socket.io/socket.io.js", "GET /demo/chat"] {
        assert_eq!(rig.respond(line, &[JSON], b"{}").status, 404, "{line}");
    }
}

#[test]
fn nobody_says_anything_on_the_admin_page_but_the_server() {
    let keys = ["anchor-chain-7".to_owned()];
    let mut served = Served::with(|socketio| socketio.admin_page = AdminPageSettings::new(&keys, false));
    let emit = r#"{"namespace":"/admin","event":"config","args":[]}"#;
    let to_room = r#"{"namespace":"/admin","rooms":["r"],"event":"config","args":[]}"#;
    for (line, body) in [
        ("POST /channels/%2Fadmin", "[\"config\"]"),
        ("POST /channels/%2Fadmin%23room", "[\"config\"]"),
        ("PUT /channels/%2Fadmin/state/key", "1"),
        ("POST /channels/%2Fadmin/counters/key", "{\"add\":1}"),
        ("POST /socket.io-api/emit", emit),
        ("POST /socket.io-api/emit", to_room),
        ("POST /socket.io-api/sockets", r#"{"namespace":"/admin","disconnect":true}"#),
        ("GET /socket.io-api/sockets?namespace=/admin", ""),
    ] {
        let response = served.rig.respond(line, &[JSON], body.as_bytes());
        assert_eq!((response.status, code(&response)), (403, "admin_namespace".into()), "{line} {body}");
    }
    served.rig.accept("/ws", &[]);
    for command in [
        r#"{"id":1,"publish":{"channel":"/admin","data":1}}"#,
        r#"{"id":1,"set":{"channel":"/admin#room","key":"key","data":1}}"#,
        r#"{"id":1,"enter":{"channel":"/admin"}}"#,
    ] {
        assert!(served.rig.command(command).contains("\"admin_namespace\""), "{command}");
    }
    assert!(served.orders().is_empty());
    // What is only named alike, and what is read, is like any other.
    for channel in ["%2Fadmins", "%2Fadmin-2%23room", "admin", "%2F%23%2Fadmin"] {
        let line = format!("POST /channels/{channel}");
        assert!(matches!(served.rig.request(&line, &[], b"x"), Answer::Later { .. }), "{channel}");
    }
    assert!(matches!(served.rig.request("GET /channels/%2Fadmin/info", &[], b""), Answer::Later { .. }));
    let mut without = Served::with(|_| ());
    let answer = without.rig.request("POST /channels/%2Fadmin", &[], b"x");
    assert!(matches!(answer, Answer::Later { .. }), "a namespace like any other");
}

#[test]
fn a_backend_emits_to_rooms_and_to_everybody() {
    let mut served = Served::with(|_| ());
    let (response, orders) = served.post("/socket.io-api/emit", r#"{"event":"news","args":["hi",{"n":1}]}"#);
    assert_eq!((response.status, body(&response)), (202, r#"{"accepted":true}"#));
    assert_eq!(published(orders), ("/".into(), r#"["news","hi",{"n":1}]"#.into(), None));
    let text = r#"{"namespace":"/game","rooms":["a"],"except":"b","event":"e","args":[{"base64":"/w=="}],
        "volatile":true,"local":true}"#;
    let (channel, data, emission) = published(served.post("/socket.io-api/emit", text).1);
    assert_eq!((&*channel, &*data), ("/game#a", r#"["e",{"base64":"/w=="}]"#));
    let emission = emission.expect("there is more to say than the data");
    assert_eq!((emission.is_volatile, emission.except_rooms[0].as_str()), (true, "/game#b"));
    assert_eq!(&*emission.arguments.expect("bytes").json, r#"["e",{"_placeholder":true,"num":0}]"#);
    let refused = served.enter("/game", None).expect("still a namespace as any other");
    assert_eq!(served.refused(refused, r#"["join",1]"#), "arguments_invalid");
}

#[test]
fn a_backend_moves_and_ends_the_sockets_it_selects() {
    let mut served = Served::with(|_| ());
    let text = r#"{"rooms":["lobby"],"join":["game"],"leave":["lobby"],"disconnect":true,"close":true}"#;
    let (response, orders) = served.post("/socket.io-api/sockets", text);
    assert_eq!(response.status, 202);
    let commands: Vec<_> = orders
        .iter()
        .map(|order| match order {
            Order::Request(SocketsRequest::Command { selection, command }) => {
                assert_eq!((selection.namespace.as_str(), selection.rooms[0].as_str()), ("/", "lobby"));
                match command {
                    SocketCommand::Join(rooms) => format!("join {}", rooms[0]),
                    SocketCommand::Leave(rooms) => format!("leave {}", rooms[0]),
                    SocketCommand::Disconnect { ends_session } => format!("disconnect {ends_session}"),
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(commands, ["join game", "leave lobby", "disconnect true"]);
}

#[test]
fn what_a_backend_asks_wrongly_is_told() {
    let mut served = Served::with(|_| ());
    let id = served.client().socket;
    let cases = [
        ("emit", r#"{"args":[]}"#.to_owned(), "member_missing"),
        ("emit", r#"{"event":"connect"}"#.to_owned(), "event_reserved"),
        ("emit", r#"{"event":"e","namespace":"game"}"#.to_owned(), "namespace_invalid"),
        ("emit", r#"{"event":"e","rooms":[""]}"#.to_owned(), "channel_name_invalid"),
        ("emit", "{".to_owned(), "json_invalid"),
        ("sockets", r#"{"rooms":["a"]}"#.to_owned(), "command_invalid"),
        ("sockets", format!(r#"{{"join":"{id}"}}"#), "room_of_socket"),
    ];
    for (path, text, expected) in cases {
        let (response, orders) = served.post(&format!("/socket.io-api/{path}"), &text);
        assert_eq!((response.status, code(&response)), (400, expected.into()), "{text}");
        assert!(orders.is_empty());
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let response = served.rig.respond("POST /socket.io-api/emit", &form, b"{\"event\":\"e\"}");
    assert_eq!(response.status, 415, "no page sends this without being asked for its origin");
    let mut closed = Served::new(key_settings());
    for line in ["POST /socket.io-api/emit", "POST /socket.io-api/sockets", "GET /socket.io-api/sockets"] {
        let response = closed.rig.respond(line, &[JSON], br#"{"event":"e"}"#);
        assert_eq!((response.status, code(&response)), (401, "key_missing".into()), "{line}");
    }
}

#[test]
fn sockets_are_listed_and_counted_when_every_shard_has_answered() {
    in_an_executor(async {
        let mut served = Served::with(|socketio| socketio.presence = Presence::Ids);
        let client = served.client();
        let fields = [("Origin", "http://localhost:1"), ("Host", "localhost")];
        let answer = served.rig.request("GET /socket.io-api/sockets?room=lobby&limit=2", &fields, b"");
        assert!(matches!(answer, Answer::Later { .. }));
        let here = served.answered(3).await;
        let [Order::Respond { connection, response }] = &here[..] else { panic!("{here:?}") };
        assert_eq!(*connection, CONNECTION);
        assert!(response.fields.contains("Access-Control-Allow-Origin: http://localhost:1\r\n"));
        let list: Value = serde_json::from_str(body(response)).expect("JSON");
        assert_eq!(list["sockets"][0], json!({"id": id_on(0), "rooms": ["lobby"], "data": {"a": 1}}));
        assert_eq!((list["sockets"].as_array().map(Vec::len), &list["complete"]), (Some(2), &json!(false)));

        served.hear(client, r#"["presence","lobby"]"#, &[]);
        let told = served.answered(3).await;
        let [Order::Acknowledge { arguments, .. }] = &told[..] else { panic!("{told:?}") };
        let answer: Value = serde_json::from_str(&arguments.json).expect("JSON");
        assert_eq!(answer, json!([{"room": "lobby", "count": 3, "ids": [id_on(0), id_on(1), id_on(2)]}]));
    });
}

#[test]
fn presence_tells_no_more_than_is_allowed() {
    in_an_executor(async {
        let mut served = Served::with(|_| ());
        let client = served.client();
        served.hear(client, r#"["presence","lobby"]"#, &[]);
        let told = served.answered(3).await;
        let [Order::Acknowledge { arguments, .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(&*arguments.json, r#"[{"room":"lobby","count":3}]"#);
        let mut silent = Served::with(|socketio| socketio.presence = Presence::Off);
        let client = silent.client();
        assert_eq!(silent.refused(client, r#"["presence","lobby"]"#), "presence_forbidden");
    });
}

impl Served {
    /// Lets tasks run until they have asked the shards, answers from so many of them, and gives what is then ordered.
    async fn answered(&self, shards: u16) -> Vec<Order> {
        settle().await;
        let asked = self.orders();
        let [Order::Request(SocketsRequest::Fetch { selection, token, .. })] = &asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!((selection.namespace.as_str(), selection.rooms[0].as_str()), ("/", "lobby"));
        for shard in 0..shards {
            let id = SocketId::local(ShardId(shard), 4, 0);
            let rooms = vec![name("lobby")];
            let summary = SocketSummary { id, rooms, is_on_websocket: true, data: r#"{"a":1}"#.into() };
            let answer = SocketsAnswer {
                token: *token,
                count: 1,
                sockets: vec![summary],
                arguments: None,
                acks: vec![],
            };
            self.io.answered(ShardId(shard), answer);
        }
        settle().await;
        self.orders()
    }
}

fn id_on(shard: u16) -> String {
    SocketId::local(ShardId(shard), 4, 0).to_string()
}

fn in_an_executor(work: impl Future<Output = ()>) {
    LocalExecutorBuilder::new(Placement::Unbound).make().expect("an executor").run(work);
}

/// Lets every task of the executor run as far as it can.
async fn settle() {
    for _ in 0..10 {
        glommio::yield_if_needed().await;
        futures_lite::future::yield_now().await;
    }
}
