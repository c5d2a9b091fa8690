//! A member, and what Redis would say to it.

use std::sync::Arc;

use super::{ClusterAsk, ClusterCounts, ClusterNews, Counts, Members, member::Member, terms::Terms};
use crate::{
    broker::{Address, fault::Fault, tended::Speaker},
    limits::{BROKER_SILENCE_MS, CLUSTER_QUESTIONS_MAX},
    model::{Arguments, ChannelName, Payload, Position, Publication, ShardId, SocketId},
    wire::redis_adapter::{Answer, Emitted, Names, Request, Selected, Survey, encode_answer, encode_event},
};

const HELLO: &str = "%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";

struct Rig {
    member: Member,
    counts: Arc<Counts>,
}

impl Rig {
    /// A member that has one namespace, on shard 0, among servers in JavaScript.
    fn new(siblings: Option<&str>) -> Self {
        Self::among(Members::Anybody, siblings)
    }

    fn among(members: Members, siblings: Option<&str>) -> Self {
        let counts = Arc::<Counts>::default();
        let terms = Terms {
            address: Address::parse("unix:/redis.sock").expect("an address"),
            names: Names::new("socket.io"),
            uid: format!("{}own", siblings.unwrap_or_default()).into(),
            members,
            siblings: siblings.map(Box::from),
            nodes: siblings.map(|_| "nodes:rs".into()),
            bytes_max: 1000,
        };
        let mut rig = Self { member: Member::new(terms, Arc::clone(&counts)), counts };
        rig.ask(0, ClusterAsk::Enter { namespace: "/".into() });
        rig.member.handle_connected(0);
        rig
    }

    fn up(siblings: Option<&str>) -> Self {
        let mut rig = Self::new(siblings);
        rig.said();
        rig.hear(HELLO.as_bytes());
        rig.said();
        rig
    }

    /// One that is up, among those.
    fn up_among(members: Members, siblings: Option<&str>) -> (Self, String) {
        let mut rig = Self::among(members, siblings);
        rig.said();
        rig.hear(HELLO.as_bytes());
        let said = rig.said();
        (rig, said)
    }

    fn ask(&mut self, shard: u16, ask: ClusterAsk) {
        self.member.handle_ask(0, ShardId(shard), ask);
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.member.handle_bytes(0, bytes).expect("nothing is wrong with it");
    }

    /// What it has said, a line for each word.
    fn said(&mut self) -> String {
        String::from_utf8_lossy(&self.member.poll_output().unwrap_or_default()).replace("\r\n", " ")
    }

    fn hear_push(&mut self, words: &[&[u8]]) {
        let mut push = format!(">{}\r\n", words.len()).into_bytes();
        for word in words {
            push.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            push.extend_from_slice(&[word, &b"\r\n"[..]].concat());
        }
        self.hear(&push);
    }

    fn hear_event(&mut self, uid: &str, rooms: &[&str]) -> Vec<Vec<String>> {
        let mut bytes = Vec::new();
        encode_event(&mut bytes, uid, &event(rooms)).expect("an event");
        self.hear_push(&[b"pmessage", b"socket.io#/#*", b"socket.io#/#", &bytes]);
        let rooms = |(shard, news)| match (shard, news) {
            (ShardId(0), ClusterNews::Emitted(emitted)) => {
                emitted.rooms.iter().map(|room| room.to_string()).collect()
            }
            other => panic!("no event: {other:?}"),
        };
        self.member.poll_news().into_iter().map(rooms).collect()
    }

    fn counts(&self) -> ClusterCounts {
        self.counts.look()
    }
}

fn event(rooms: &[&str]) -> Emitted {
    Emitted {
        namespace: "/".into(),
        rooms: rooms.iter().map(|room| Box::from(*room)).collect(),
        except: Vec::new(),
        is_volatile: false,
        arguments: Arguments { json: r#"["a"]"#.into(), attachments: Box::default() },
    }
}

#[test]
fn it_subscribes_once_for_each_namespace_in_use_on_any_shard() {
    let mut rig = Rig::new(None);
    assert!(rig.said().contains("HELLO"));
    rig.hear(HELLO.as_bytes());
    let said = rig.said();
    assert!(said.contains("PSUBSCRIBE $13 socket.io#/#* *2 $9 SUBSCRIBE $20 socket.io-request#/#"), "{said}");
    rig.ask(1, ClusterAsk::Enter { namespace: "/".into() });
    assert_eq!(rig.said(), "");
    rig.ask(1, ClusterAsk::Enter { namespace: "/game".into() });
    assert!(rig.said().contains("PSUBSCRIBE $17 socket.io#/game#*"));
    rig.ask(0, ClusterAsk::Begin);
    assert_eq!(rig.said(), "", "shard 1 has both");
    rig.ask(1, ClusterAsk::Leave { namespace: "/game".into() });
    let said = rig.said();
    assert!(
        said.contains("PUNSUBSCRIBE $17 socket.io#/game#* *2 $11 UNSUBSCRIBE $24 socket.io-request#/game#"),
        "{said}"
    );
    rig.ask(1, ClusterAsk::Begin);
    assert!(rig.said().contains("PUNSUBSCRIBE $13 socket.io#/#*"));
}

#[test]
fn what_it_is_told_is_published_while_redis_is_there_and_dropped_else() {
    let mut rig = Rig::up(None);
    rig.hear(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    let channel = ChannelName::new("lobby", ChannelName::BYTES_MAX).expect("a channel");
    let position = Position { epoch: 1, offset: 1 };
    let payload = Payload::new(*b"hello", None);
    let published = Publication { channel, position, unix_ms: 0, payload };
    rig.ask(0, ClusterAsk::Published(published.into()));
    assert!(rig.said().starts_with("*3 $7 PUBLISH $18 socket.io#/#lobby# "));
    let request = Request::Disconnect { selected: Selected::default(), close: true };
    rig.ask(0, ClusterAsk::Request { namespace: "/".into(), request: Box::new(request) });
    let said = rig.said();
    assert!(
        said.contains(r#"{"type":4,"uid":"own","opts":{"rooms":[],"except":[]},"close":true}"#),
        "{said}"
    );
    rig.ask(0, ClusterAsk::Answer { namespace: "/".into(), id: "x".into(), answer: Box::new(Answer::Done) });
    assert!(rig.said().contains(r#"socket.io-response#/# $17 {"requestId":"x"}"#));
    assert_eq!((rig.counts().is_up, rig.counts().told, rig.counts().dropped), (true, 3, 0));
    let mut unsayable = event(&[]);
    unsayable.arguments.json = r#"["\ud800"]"#.into();
    rig.ask(0, ClusterAsk::Emitted(Box::new(unsayable)));
    rig.member.handle_down(&Fault::Closed(None));
    rig.ask(0, ClusterAsk::Emitted(Box::new(event(&[]))));
    assert_eq!((rig.said(), rig.counts().is_up, rig.counts().dropped), (String::new(), false, 2));
}

#[test]
fn what_it_said_itself_is_ignored_and_so_is_what_makes_no_sense() {
    let mut rig = Rig::up(None);
    assert_eq!(rig.hear_event("own", &[]), [[""; 0]; 0]);
    assert_eq!(rig.hear_event("other", &["a"]), [["a"]]);
    assert_eq!(rig.hear_event("rs/other", &["a"]), [["a"]], "it has no siblings");
    assert_eq!((rig.counts().heard, rig.counts().ignored), (2, 0));
    rig.hear_push(&[b"pmessage", b"socket.io#/#*", b"socket.io#/#", b"garbage"]);
    rig.hear_push(&[b"message", b"socket.io-request#/#", b"{}"]);
    rig.hear_push(&[b"message", b"socket.io-request#/#", &[b'x'; 2000]]);
    assert_eq!(rig.counts().ignored, 3);
    rig.hear_push(&[b"message", b"socket.io-request#/other#", b"{}"]);
    rig.hear_push(&[b"message", b"other", b"{}"]);
    rig.hear_push(&[b"message", b"socket.io-request#/#", br#"{"type":1,"uid":"own","requestId":"x"}"#]);
    assert_eq!((rig.counts().ignored, rig.member.poll_news().len()), (3, 0));
    rig.hear_push(&[b"message", b"socket.io-request#/#", br#"{"type":1,"uid":"u","requestId":"x"}"#]);
    let [(ShardId(0), ClusterNews::Asked { namespace, asked })] = &rig.member.poll_news()[..] else {
        panic!("a request")
    };
    assert_eq!((&**namespace, &asked.request), ("/", &Request::AllRooms));
}

#[test]
fn of_a_node_that_the_broker_joins_with_it_it_takes_what_the_broker_does_not_carry() {
    let mut rig = Rig::up(Some("rs/"));
    let socket = SocketId::local(ShardId(0), 7, 9).to_string();
    assert_eq!(rig.hear_event("rs/other", &[]), [[""; 0]; 0]);
    assert_eq!(rig.hear_event("rs/other", &["a"]), [[""; 0]; 0]);
    assert_eq!(rig.hear_event("rs/other", &["a", &socket]), [[&*socket]]);
    assert_eq!(rig.hear_event("other", &["a"]), [["a"]]);
    rig.hear_push(&[b"message", b"socket.io-request#/#", br#"{"type":1,"uid":"rs/other","requestId":"x"}"#]);
    assert_eq!(rig.member.poll_news().len(), 1, "it is asked as any member is");
}

#[test]
fn a_mute_or_silent_redis_and_a_replica_are_given_up() {
    let mut rig = Rig::up(None);
    rig.member.handle_time(BROKER_SILENCE_MS).expect("it is asked whether it is there");
    assert!(rig.said().contains("socket.io-response#/#own# $1 ?"));
    rig.member.handle_bytes(BROKER_SILENCE_MS, b":1\r\n").expect("it answers");
    assert!(rig.member.handle_time(2 * BROKER_SILENCE_MS).is_err(), "and passes nothing on");
    let mut rig = Rig::new(None);
    assert!(rig.member.handle_time(BROKER_SILENCE_MS).is_err(), "it does not answer");
    let mut rig = Rig::new(None);
    let replica = HELLO.replace("$6\r\nmaster", "$7\r\nreplica");
    assert!(rig.member.handle_bytes(0, replica.as_bytes()).is_err());
    rig.member.handle_down(&Fault::Closed(None));
    rig.member.handle_connected(0);
    rig.said();
    rig.hear(HELLO.as_bytes());
    assert!(rig.said().contains("socket.io-request#/#"), "it subscribes anew");
}

#[test]
fn an_event_that_clients_acknowledge_is_over_when_all_members_have_said_how_many_and_all_these_have() {
    let mut rig = Rig::up(None);
    let ask = |rig: &mut Rig| {
        let request = Request::Acknowledge { emitted: Box::new(event(&[])), timeout_ms: Some(90) };
        let request = Box::new(request);
        rig.ask(3, ClusterAsk::Question { namespace: "/".into(), request, token: 7, wait_ms: 100 });
        let bytes = rig.member.poll_output().expect("it asks");
        let key = b"\xa9requestId\xaa";
        let at = bytes.windows(key.len()).position(|window| window == key).expect("it has an id");
        rig.hear(b"*2\r\n$1\r\na\r\n:3\r\n:1\r\n");
        String::from_utf8_lossy(&bytes[at + key.len()..][..10]).into_owned()
    };
    let answer = |rig: &mut Rig, id: &str, answer: Answer| {
        let mut bytes = Vec::new();
        encode_answer(&mut bytes, id, &answer);
        rig.hear_push(&[b"message", b"socket.io-response#/#", &bytes]);
    };
    let said = || Answer::Acknowledged(Arguments { json: "[1]".into(), attachments: Box::default() });
    let told = |rig: &mut Rig, ms: u64| {
        rig.member.handle_time(ms).expect("nothing is wrong");
        match rig.member.poll_news().pop() {
            Some((ShardId(3), ClusterNews::Answered { token: 7, answers, missing })) => {
                Some((answers.len(), missing))
            }
            None => None,
            other => panic!("no answers: {other:?}"),
        }
    };
    let id = ask(&mut rig);
    answer(&mut rig, &id, Answer::Asked(2));
    answer(&mut rig, &id, said());
    answer(&mut rig, &id, Answer::Asked(0));
    assert_eq!(told(&mut rig, 0), None, "a client has not");
    answer(&mut rig, &id, said());
    assert_eq!(told(&mut rig, 0), Some((4, 0)));
    let id = ask(&mut rig);
    answer(&mut rig, &id, Answer::Asked(1));
    answer(&mut rig, &id, said());
    assert_eq!(told(&mut rig, 99), None, "a member has not");
    assert_eq!(told(&mut rig, 100), Some((2, 1)));
}

#[test]
fn other_members_are_asked_and_what_they_answered_in_time_is_told() {
    let mut rig = Rig::up(None);
    let ask = |rig: &mut Rig, token| {
        let request = Box::new(Request::Fetch { selected: Selected::default() });
        rig.ask(3, ClusterAsk::Question { namespace: "/".into(), request, token, wait_ms: 100 });
        let said = rig.said();
        let id = said.split("\"requestId\":\"").nth(1).expect(&said)[..10].to_owned();
        (said, id)
    };
    let told = |rig: &mut Rig| match rig.member.poll_news().pop() {
        Some((ShardId(3), ClusterNews::Answered { token, answers, missing })) => {
            (token, answers.len(), missing)
        }
        other => panic!("no answers: {other:?}"),
    };
    let answer = |rig: &mut Rig, id: &str| {
        let said = format!("{{\"requestId\":\"{id}\",\"sockets\":[]}}");
        rig.hear_push(&[b"message", b"socket.io-response#/#", said.as_bytes()]);
    };
    let counted = |count: u8| format!("*2\r\n$1\r\na\r\n:{count}\r\n:1\r\n");
    let (said, id) = ask(&mut rig, 1);
    assert!(said.contains(" SUBSCRIBE $21 socket.io-response#/# ") && said.contains(" NUMSUB "), "{said}");
    rig.hear(counted(3).as_bytes());
    answer(&mut rig, &id);
    answer(&mut rig, "of another");
    assert!(rig.member.poll_news().is_empty());
    answer(&mut rig, &id);
    assert_eq!(told(&mut rig), (1, 2, 0));
    assert!(rig.said().contains("UNSUBSCRIBE $21 socket.io-response#/#"));
    let (_, id) = ask(&mut rig, 2);
    rig.hear(counted(3).as_bytes());
    answer(&mut rig, &id);
    rig.member.handle_time(99).expect("nothing is wrong");
    assert!(rig.member.poll_news().is_empty());
    rig.member.handle_time(100).expect("nothing is wrong");
    assert_eq!(told(&mut rig), (2, 1, 1), "one is late");
    ask(&mut rig, 3);
    rig.hear(counted(1).as_bytes());
    assert_eq!(told(&mut rig), (3, 0, 0), "there is nobody else");
    ask(&mut rig, 4);
    rig.member.handle_down(&Fault::Closed(None));
    assert_eq!(told(&mut rig), (4, 0, 1));
    let request = Box::new(Request::AllRooms);
    rig.ask(3, ClusterAsk::Question { namespace: "/".into(), request, token: 5, wait_ms: 100 });
    assert_eq!(told(&mut rig), (5, 0, 1), "Redis is away");
}

#[test]
fn with_as_many_questions_as_may_wait_the_oldest_is_given_up_but_for_none_that_cannot_be_asked() {
    let mut rig = Rig::up(None);
    let ask = |rig: &mut Rig, token: usize, json: &str| {
        let arguments = Arguments { json: json.into(), attachments: Box::default() };
        let emitted = Box::new(Emitted { arguments, ..event(&["a"]) });
        let request = Box::new(Request::Acknowledge { emitted, timeout_ms: None });
        let wait_ms = 1_000 + token as u64;
        let token = token as u64;
        rig.ask(0, ClusterAsk::Question { namespace: "/".into(), request, token, wait_ms });
        rig.member.handle_time(0).expect("nothing is wrong");
        let told = |(_, news)| match news {
            ClusterNews::Answered { token, .. } => token,
            other => panic!("no answers: {other:?}"),
        };
        rig.member.poll_news().into_iter().map(told).collect::<Vec<_>>()
    };
    for token in 0..CLUSTER_QUESTIONS_MAX {
        assert!(ask(&mut rig, token, "[\"x\"]").is_empty());
    }
    assert_eq!(ask(&mut rig, 7_000, "no JSON"), [7_000], "it is answered for itself");
    assert_eq!(ask(&mut rig, 8_000, "[\"x\"]"), [0]);
}

#[test]
fn over_sharded_pub_sub_it_hears_of_the_rooms_that_somebody_here_has_to_do_with() {
    let (mut rig, said) = Rig::up_among(Members::Sharded, None);
    for channel in ["socket.io#/#", "socket.io#/#own#"] {
        assert!(said.contains(&format!(" SSUBSCRIBE ${} {channel} ", channel.len())), "{said}");
    }
    let room = |namespace: &str, room: &str, is_there| ClusterAsk::Room {
        namespace: namespace.into(),
        room: room.into(),
        is_there,
    };
    rig.ask(1, room("/", "lobby", true));
    assert!(rig.said().contains("SSUBSCRIBE $18 socket.io#/#lobby#"));
    rig.ask(1, room("/game", "lobby", true));
    assert_eq!(rig.said(), "", "nobody is in that namespace");
    rig.ask(0, ClusterAsk::Enter { namespace: "/game".into() });
    assert!(rig.said().contains("SSUBSCRIBE $22 socket.io#/game#lobby#"));
    rig.ask(1, ClusterAsk::Begin);
    let said = rig.said();
    assert!(said.contains("SUNSUBSCRIBE $18 socket.io#/#lobby#"), "{said}");
    rig.ask(0, ClusterAsk::Emitted(Box::new(event(&["a"]))));
    assert!(rig.said().starts_with("*3 $8 SPUBLISH $14 socket.io#/#a# "));
    rig.ask(0, ClusterAsk::Emitted(Box::new(event(&["12345678901234567890"]))));
    assert!(rig.said().starts_with("*3 $8 SPUBLISH $12 socket.io#/# "));
}

#[test]
fn over_sharded_pub_sub_whoever_asks_is_answered_where_it_alone_hears() {
    let (mut rig, _) = Rig::up_among(Members::Sharded, None);
    let asked =
        r#"{"type":7,"uid":"other","nsp":"/","data":{"requestId":"r","opts":{"rooms":[],"except":[]}}}"#;
    rig.hear_push(&[b"smessage", b"socket.io#/#", asked.as_bytes()]);
    let Some((ShardId(0), ClusterNews::Asked { namespace, asked })) = rig.member.poll_news().pop() else {
        panic!("a request")
    };
    let id = asked.id.expect("it is to be answered");
    let answer = Box::new(Answer::Fetched(Vec::new()));
    rig.ask(0, ClusterAsk::Answer { namespace: namespace.clone(), id, answer });
    let said = rig.said();
    assert!(
        said.starts_with("*3 $8 SPUBLISH $18 socket.io#/#other# ") && said.contains(r#""requestId":"r""#)
    );
    let request = Box::new(Request::Fetch { selected: Selected::default() });
    rig.ask(0, ClusterAsk::Question { namespace, request, token: 7, wait_ms: 100 });
    let said = rig.said();
    assert!(said.contains("SHARDNUMSUB $12 socket.io#/#") && !said.contains(" SUBSCRIBE "), "{said}");
    let id = &said.split("\"requestId\":\"").nth(1).expect(&said)[..10];
    rig.hear(b":1\r\n*2\r\n$1\r\na\r\n:2\r\n:1\r\n");
    let answer =
        format!(r#"{{"type":8,"uid":"other","nsp":"/","data":{{"requestId":"{id}","sockets":[]}}}}"#);
    rig.hear_push(&[b"smessage", b"socket.io#/#own#", answer.as_bytes()]);
    assert!(matches!(
        rig.member.poll_news().pop(),
        Some((_, ClusterNews::Answered { token: 7, missing: 0, .. }))
    ));
}

#[test]
fn nodes_hear_each_other_by_name_and_ask_each_other_of_channels() {
    let (mut rig, said) = Rig::up_among(Members::Nodes, Some("rs/"));
    assert!(!said.contains("PSUBSCRIBE"), "{said}");
    for channel in ["socket.io-request#nodes:rs#", "socket.io#/#", "socket.io-request#/#"] {
        assert!(said.contains(&format!(" SUBSCRIBE ${} {channel} ", channel.len())), "{said}");
    }
    let socket = SocketId::local(ShardId(0), 7, 9).to_string();
    rig.ask(0, ClusterAsk::Emitted(Box::new(event(&[&socket]))));
    assert!(rig.said().starts_with("*3 $7 PUBLISH $12 socket.io#/# "));
    let asked = br#"{"type":64,"uid":"rs/other","requestId":"r","channel":"news"}"#;
    rig.hear_push(&[b"message", b"socket.io-request#nodes:rs#", asked]);
    let Some((ShardId(0), ClusterNews::Surveys { namespace, id, survey })) = rig.member.poll_news().pop()
    else {
        panic!("a question")
    };
    assert_eq!((&*namespace, &*id, survey), ("nodes:rs", "r", Survey::Channel("news".into())));
    // Neither may be said where the other is.
    rig.hear_push(&[b"message", b"socket.io-request#/#", asked]);
    let fetch = br#"{"type":5,"uid":"rs/other","requestId":"r","opts":{"rooms":[],"except":[]}}"#;
    rig.hear_push(&[b"message", b"socket.io-request#nodes:rs#", fetch]);
    assert!(rig.member.poll_news().is_empty());
    assert_eq!(rig.counts().ignored, 2);
    let survey = Survey::Channels { prefix: "a".into(), limit: 3 };
    rig.ask(2, ClusterAsk::Survey { survey, token: 9, wait_ms: 100 });
    let said = rig.said();
    assert!(said.contains("NUMSUB $27 socket.io-request#nodes:rs#"), "{said}");
    // Whoever may not ask how many there are does not know who is missing.
    rig.hear(b"-NOPERM no\r\n:1\r\n");
    rig.member.handle_time(100).expect("nothing is wrong");
    assert!(matches!(
        rig.member.poll_news().pop(),
        Some((ShardId(2), ClusterNews::Answered { token: 9, missing: 1, .. }))
    ));
}
