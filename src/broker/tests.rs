//! A link, and what a broker would say to it, byte by byte.

use std::rc::Rc;

use super::{
    address::Address,
    fault::Fault,
    frame::{self, Names},
    link::{Link, Terms},
    script,
    tended::Speaker,
};
use crate::{
    auth::Pattern,
    limits::{
        BROKER_BATCH_MAX, BROKER_CHECK_MS, BROKER_FOLLOWING_MAX, BROKER_RENEW_MS, BROKER_SILENCE_MS,
        BROKER_WAIT_MS,
    },
    model::{
        BrokerAsk, BrokerLoss, BrokerNews, ChannelName, Payload, Position, Publication, PublishError,
        Retention, ShardId,
    },
    wire::resp::{Decoder, Step},
};

const NODE: u64 = 7;
const HELLO: &str = "%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
/// The first publication of a channel has been made.
const FIRST: &str = "*2\r\n$3\r\n9-1\r\n*0\r\n";

struct Rig {
    link: Link,
    now_ms: u64,
}

fn news() -> ChannelName {
    ChannelName::new("news", 255).expect("a name")
}

fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch, offset }
}

fn publication(text: &str) -> Publication {
    let payload = Payload::new(text.as_bytes(), None);
    Publication { channel: news(), position: at(0, 0), unix_ms: 5, payload }
}

fn block(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A push of a publication of this node.
fn push(epoch: u64, number: u64, text: &str) -> Vec<u8> {
    let body = frame::encode(NODE, number, &publication(text));
    let said = [frame::push_head(epoch, std::slice::from_ref(&body)).as_bytes(), &body].concat();
    message(&said)
}

fn message(said: &[u8]) -> Vec<u8> {
    [&b">3\r\n$7\r\nmessage\r\n$9\r\nrs:c:news\r\n"[..], &block(said)].concat()
}

/// What the script tells of a stream with one entry.
fn kept(epoch: u64, offset: u64, text: &str) -> Vec<u8> {
    let id = block(format!("{epoch}-{offset}").as_bytes());
    let body = block(&frame::encode(NODE + 1, 1, &publication(text)));
    [&b"*2\r\n"[..], &id, b"*1\r\n*2\r\n", &id, b"*2\r\n$1\r\nd\r\n", &body].concat()
}

impl Rig {
    fn new() -> Self {
        let address = Address::parse("redis://anna:s3cret@localhost").expect("an address");
        let terms = Terms {
            address,
            names: Names::new("rs"),
            node: NODE,
            kept_max: 5,
            kept_ms: 60_000,
            retentions: Vec::new(),
        };
        Self { link: Link::new(Rc::new(terms), ShardId(3)), now_ms: 1_000 }
    }

    /// One that is up, on a server with this floor.
    fn up(floor: u64) -> Self {
        let mut rig = Self::new();
        rig.ask(BrokerAsk::Begin);
        rig.connect(floor);
        assert!(matches!(rig.news()[..], [BrokerNews::Begun, BrokerNews::Up]));
        rig
    }

    fn connect(&mut self, floor: u64) {
        self.link.handle_connected(self.now_ms);
        self.reply([HELLO, "$10\r\nrun_id:one\r\n"].concat());
        self.sent();
        self.reply(format!("+{floor}\r\n"));
    }

    /// One publication has been made, and two more have been asked for.
    fn with_two_asked() -> Self {
        let mut rig = Self::up(1);
        rig.publish(0);
        rig.reply(FIRST);
        rig.publish(1);
        rig.publish(2);
        rig.published();
        rig
    }

    fn lose(&mut self) {
        self.link.handle_down(&Fault::Closed(None));
    }

    fn ask(&mut self, ask: BrokerAsk) {
        self.link.handle_ask(self.now_ms, ask);
        self.link.flush(self.now_ms);
    }

    fn publish(&mut self, number: u64) {
        let publication = Box::new(publication(&number.to_string()));
        self.ask(BrokerAsk::Publish { number, publication });
    }

    fn try_reply(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        self.link.handle_bytes(self.now_ms, bytes.as_ref())
    }

    #[track_caller]
    fn reply(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_reply(bytes).expect("nothing is wrong with it");
    }

    fn pass(&mut self, ms: u64) -> Result<(), Fault> {
        self.now_ms += ms;
        self.link.handle_time(self.now_ms)
    }

    fn news(&mut self) -> Vec<BrokerNews> {
        self.link.poll_news()
    }

    /// What became of publications, by number.
    fn published(&mut self) -> Vec<(u64, Result<Position, PublishError>)> {
        let news = self.news().into_iter();
        news.map(|news| match news {
            BrokerNews::Published { number, result } => (number, result),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    /// The first words of the commands that are sent; of scripts which it is, how many it publishes, and whether it renews the
    /// stream's time with that.
    fn sent(&mut self) -> Vec<String> {
        let Some(bytes) = self.link.poll_output() else { return Vec::new() };
        let (mut decoder, mut at, mut commands) = (Decoder::default(), 0, Vec::new());
        while at < bytes.len() {
            match decoder.decode(&bytes[at..], bytes.len()).expect("commands are RESP") {
                Step::Reply { value, consumed } => {
                    let words = value.list().expect("a command is a list").map(|word| word.text());
                    commands.push(said(&words.collect::<Option<Vec<_>>>().expect("words")));
                    at += consumed;
                }
                Step::NeedMore => panic!("a command is not whole"),
            }
        }
        commands
    }
}

fn said(words: &[&[u8]]) -> String {
    let name = String::from_utf8_lossy(words[0]).into_owned();
    let published =
        |name: &str, count: usize| if count == 0 { name.into() } else { format!("{name} {count}") };
    match (&*name, words.get(1)) {
        ("EVAL" | "EVALSHA", _) if words.get(2) == Some(&&b"2"[..]) => {
            let how = if name == "EVAL" { "FIND" } else { "FINDSHA" };
            published(how, words.len().saturating_sub(17))
        }
        ("EVAL" | "EVALSHA", Some(code)) if **code != *script::FLOOR.as_bytes() => {
            let renews = if words[7].is_empty() { "" } else { "+" };
            published(&(name + renews), words.len() - 10)
        }
        _ => name,
    }
}

#[test]
fn who_asks_is_told_first_and_a_replica_is_no_broker() {
    let mut rig = Rig::new();
    rig.link.handle_connected(0);
    let hello = String::from_utf8(rig.link.poll_output().expect("it greets")).expect("text");
    assert!(hello.contains("HELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$4\r\nanna\r\n$6\r\ns3cret\r\n"), "{hello}");
    rig.link.handle_connected(0);
    assert_eq!(rig.sent(), ["HELLO", "INFO", "SUBSCRIBE"]);
    let replica = HELLO.replace("$6\r\nmaster", "$7\r\nreplica");
    assert!(matches!(rig.try_reply(replica), Err(Fault::Role(_))));

    for (mode, is_refused) in [("standalone", false), ("cluster", true)] {
        let mut rig = Rig::new();
        rig.link.handle_connected(0);
        let mode = format!("%3\r\n$4\r\nmode\r\n${}\r\n{mode}\r\n", mode.len());
        let told = rig.try_reply(HELLO.replace("%2\r\n", &mode));
        assert_eq!(matches!(told, Err(Fault::Cluster)), is_refused, "{told:?}");
    }
    let mut rig = Rig::new();
    rig.link.handle_connected(0);
    let refused = rig.try_reply("-WRONGPASS invalid\r\n");
    assert!(matches!(refused, Err(Fault::Refused(_))));
    assert!(matches!(rig.try_reply("x"), Err(Fault::Protocol(_))));
}

/// A publication of the channel has been made as its ninth epoch's `offset`.
fn made(offset: u64) -> Vec<u8> {
    block(format!("9-{offset}").as_bytes())
}

#[test]
fn a_channel_begins_with_a_script_and_goes_on_in_runs_that_gather() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.publish(1);
    assert_eq!(rig.sent(), ["FIND 1"], "its epoch is not known");
    rig.reply(FIRST);
    assert_eq!(rig.published(), [(0, Ok(at(9, 1)))]);
    assert_eq!(rig.sent(), ["EVAL 1"]);
    rig.publish(2);
    rig.publish(3);
    assert_eq!(rig.sent(), [""; 0], "they gather");
    rig.reply(made(2));
    assert_eq!(rig.published(), [(1, Ok(at(9, 2)))]);
    assert_eq!(rig.sent(), ["EVALSHA 2"]);
    rig.reply(made(4));
    assert_eq!(rig.published(), [(2, Ok(at(9, 3))), (3, Ok(at(9, 4)))]);
    assert!(!rig.link.is_waiting());
    (4..=4 + BROKER_BATCH_MAX as u64 + 1).for_each(|number| rig.publish(number));
    rig.sent();
    rig.reply(made(5));
    assert_eq!(rig.sent(), [format!("EVALSHA {BROKER_BATCH_MAX}")], "no more than so many leave together");
}

#[test]
fn what_is_of_several_channels_leaves_together_as_a_run_of_each_and_each_is_answered_by_itself() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.reply(FIRST);
    rig.publish(1);
    let other = ChannelName::new("other", 255).expect("a name");
    for number in 2..8 {
        let channel = if number % 2 == 0 { other.clone() } else { news() };
        let publication = Box::new(Publication { channel, ..publication(&number.to_string()) });
        rig.ask(BrokerAsk::Publish { number, publication });
    }
    rig.sent();
    rig.reply(made(2));
    assert_eq!(rig.sent(), ["FINDSHA 3", "EVALSHA 3"]);
    rig.published();
    rig.reply("*2\r\n$3\r\n8-3\r\n*0\r\n");
    assert_eq!(rig.published(), [(2, Ok(at(8, 1))), (4, Ok(at(8, 2))), (6, Ok(at(8, 3)))]);
    rig.publish(8);
    assert_eq!(rig.sent(), [""; 0], "something is under way");
    rig.reply("-OOM command not allowed\r\n");
    let refused = Err(PublishError::BrokerUnavailable);
    assert_eq!(rig.published(), [(3, refused), (5, refused), (7, refused)]);
    assert_eq!(rig.sent(), ["EVALSHA 1"]);
}

#[test]
fn a_stream_is_told_how_long_to_be_kept_now_and_then_and_again_when_nobody_knows_whether_it_was() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.reply(FIRST);
    rig.publish(1);
    rig.reply(made(2));
    rig.sent();
    let refused = b"-OOM command not allowed\r\n".to_vec();
    let forgotten = b"-NOSCRIPT No matching script. Please use EVAL.\r\n".to_vec();
    let steps = [
        (BROKER_RENEW_MS - 1, "EVALSHA 1", made(3)),
        (1, "EVALSHA+ 1", made(4)),
        (0, "EVALSHA 1", made(5)),
        (BROKER_RENEW_MS, "EVALSHA+ 1", refused),
        (0, "EVALSHA+ 1", made(6)),
        (BROKER_RENEW_MS, "EVALSHA+ 1", forgotten),
    ];
    for (step, (passed_ms, command, answer)) in steps.into_iter().enumerate() {
        rig.now_ms += passed_ms;
        rig.publish(1 + step as u64);
        assert_eq!(rig.sent(), [command], "step {step}");
        rig.reply(answer);
    }
    assert_eq!(rig.sent(), ["EVAL+ 1"], "a server that has forgotten the script is told it again");
    rig.published();
    rig.reply(made(7));
    assert_eq!(rig.published(), [(6, Ok(at(9, 7)))]);
    rig.now_ms += BROKER_RENEW_MS;
    rig.publish(9);
    rig.sent();
    rig.lose();
    rig.connect(1);
    rig.publish(10);
    assert_eq!(rig.sent(), ["EVAL+ 1"], "the connection was lost behind it");
}

#[test]
fn of_some_channels_more_is_kept_and_longer() {
    let (publications_max, age_max_ms) = (Some(9), Some(100_000));
    let retention = Retention { publications_max, age_max_ms, ..Retention::default() };
    let address = Address::parse("redis://localhost").expect("an address");
    let retentions = vec![(Pattern::new("news").expect("a pattern"), retention)];
    let terms =
        Terms { address, names: Names::new("rs"), node: NODE, kept_max: 5, kept_ms: 60_000, retentions };
    assert_eq!(terms.kept(&news()), (9, 800_000));
    assert_eq!(terms.kept(&ChannelName::new("other", 255).expect("a name")), (5, 720_000));
}

#[test]
fn a_stream_that_is_gone_or_new_is_begun_anew_with_what_was_refused_in_its_order() {
    for refused in
        ["_\r\n", "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n"]
    {
        let mut rig = Rig::with_two_asked();
        rig.reply(made(2));
        rig.sent();
        rig.publish(3);
        rig.reply(refused);
        assert_eq!(rig.published(), [(1, Ok(at(9, 2)))]);
        assert_eq!(rig.sent(), ["FINDSHA 2"]);
        rig.reply("*2\r\n$4\r\n12-2\r\n*0\r\n");
        assert_eq!(rig.published(), [(2, Ok(at(12, 1))), (3, Ok(at(12, 2)))]);
    }
}

#[test]
fn an_epoch_below_the_floor_of_the_server_is_not_published_under() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.reply(FIRST);
    rig.lose();
    rig.connect(9);
    rig.sent();
    rig.publish(1);
    assert_eq!(rig.sent(), ["EVAL 1"], "9 is the floor");
    rig.lose();
    rig.connect(10);
    rig.publish(2);
    assert_eq!(rig.sent(), ["FIND 1"]);
}

#[test]
fn what_waits_is_refused_in_time_and_of_what_has_left_nobody_knows() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.publish(1);
    rig.sent();
    rig.pass(BROKER_WAIT_MS - 1).expect("it may be slow");
    assert_eq!(rig.published(), []);
    rig.pass(1).expect("it may be slow");
    let (unavailable, unknown) = (PublishError::BrokerUnavailable, PublishError::BrokerUnknown);
    assert_eq!(rig.published(), [(1, Err(unavailable)), (0, Err(unknown))], "one had left");
    rig.publish(2);
    rig.reply(FIRST);
    assert_eq!(rig.published(), [], "who has been told is not told again");
    assert_eq!(rig.sent(), ["EVAL 1"], "and nothing is tried again");
    rig.publish(3);
    rig.lose();
    let news = rig.news();
    assert!(
        matches!(news[..], [BrokerNews::Published { number: 2, .. }, BrokerNews::Down(BrokerLoss::Closed)]),
        "{news:?}"
    );
    rig.pass(BROKER_WAIT_MS).expect("there is nothing to fail");
    assert_eq!(rig.published(), [(3, Err(PublishError::BrokerUnavailable))]);
    rig.connect(1);
    rig.news();
    assert_eq!(rig.sent(), [""; 0], "what was refused is not made");
}

#[test]
fn what_the_server_refuses_is_refused_and_what_is_wrong_with_it_ends_the_connection() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.reply(FIRST);
    rig.published();
    rig.publish(1);
    rig.reply("-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    assert_eq!(rig.published(), [(1, Err(PublishError::BrokerUnavailable))]);
    assert!(rig.link.take_complaint().is_some_and(|complaint| complaint.0.starts_with("OOM")));
    rig.publish(2);
    let readonly = "-READONLY You can't write against a read only replica.\r\n";
    assert!(matches!(rig.try_reply(readonly), Err(Fault::Role(_))));
}

#[test]
fn what_a_server_refuses_that_takes_no_writes_waits_for_another_in_its_place() {
    let readonly = "-READONLY You can't write against a read only replica.\r\n";
    let mut rig = Rig::with_two_asked();
    assert!(matches!(rig.try_reply(readonly), Err(Fault::Role(_))));
    rig.lose();
    assert!(matches!(rig.news()[..], [BrokerNews::Down(BrokerLoss::Closed)]), "nothing is told of it");
    rig.connect(1);
    assert!(matches!(rig.news()[..], [BrokerNews::Up]));
    assert_eq!(rig.sent(), ["EVAL 2"]);
    rig.reply(made(3));
    assert_eq!(rig.published(), [(1, Ok(at(9, 2))), (2, Ok(at(9, 3)))], "in the order asked");

    // No other comes in time.
    let mut rig = Rig::up(1);
    rig.publish(0);
    assert!(matches!(rig.try_reply(readonly), Err(Fault::Role(_))));
    rig.lose();
    rig.news();
    rig.pass(BROKER_WAIT_MS).expect("there is nothing to fail");
    assert_eq!(rig.published(), [(0, Err(PublishError::BrokerUnavailable))]);
}

#[test]
fn what_is_pushed_counts_from_the_answer_on_and_only_for_the_last_question() {
    let mut rig = Rig::up(1);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    assert_eq!(rig.sent(), ["SUBSCRIBE", "FIND"]);
    rig.reply(push(9, 1, "stands in the answer"));
    rig.reply(kept(9, 4, "four"));
    rig.reply(push(9, 2, "five"));
    let news_of = rig.news();
    let [BrokerNews::Following { position, kept: entries, .. }, BrokerNews::Pushed { epoch, number, .. }] =
        &news_of[..]
    else {
        panic!("{news_of:?}");
    };
    assert_eq!((*position, *epoch, *number), (at(9, 4), 9, Some(2)));
    assert_eq!((entries.len(), entries[0].position, entries[0].payload.text()), (1, at(9, 4), Some("four")));

    rig.ask(BrokerAsk::Leave { channel: news() });
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    rig.ask(BrokerAsk::Leave { channel: news() });
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    assert_eq!(rig.sent(), ["UNSUBSCRIBE", "SUBSCRIBE", "FINDSHA", "UNSUBSCRIBE", "SUBSCRIBE", "FINDSHA"]);
    rig.reply(kept(9, 5, "five"));
    rig.reply(push(9, 3, "missed in between"));
    assert!(rig.news().is_empty(), "it was left and asked for again meanwhile");
    rig.reply(kept(9, 6, "six"));
    assert!(matches!(rig.news()[..], [BrokerNews::Following { .. }]));
    rig.reply(message(b"R12 "));
    assert!(matches!(rig.news()[..], [BrokerNews::Renewed { epoch: 12, .. }]));
    let bodies = [1, 2].map(|number| frame::encode(NODE, number, &publication("several")));
    rig.reply(message(&[frame::push_head(12, &bodies).as_bytes(), &bodies.concat()].concat()));
    let news_of = rig.news();
    let [BrokerNews::Pushed { number: one, .. }, BrokerNews::Pushed { number: other, epoch: 12, .. }] =
        news_of[..]
    else {
        panic!("{news_of:?}");
    };
    assert_eq!((one, other), (Some(1), Some(2)));
    for garbage in [&b""[..], b"P12", b"x", b"\xff 1", b"M12 9;"] {
        rig.reply(message(garbage));
    }
    assert!(rig.news().is_empty());
}

#[test]
fn a_channel_that_is_told_to_be_empty_may_not_have_begun_and_is_found_by_who_publishes() {
    let mut rig = Rig::up(1);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    rig.reply("*2\r\n$3\r\n9-0\r\n*0\r\n");
    rig.sent();
    rig.publish(0);
    assert_eq!(rig.sent(), ["FINDSHA 1"]);
    rig.reply(FIRST);
    rig.publish(1);
    assert_eq!(rig.sent(), ["EVAL 1"]);
}

#[test]
fn a_shard_that_begins_anew_is_not_told_what_the_one_before_it_has_asked() {
    let mut rig = Rig::up(1);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    rig.ask(BrokerAsk::Begin);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    assert!(matches!(rig.news()[..], [BrokerNews::Begun, BrokerNews::Up]));
    assert_eq!(rig.sent(), ["SUBSCRIBE", "FIND", "UNSUBSCRIBE", "SUBSCRIBE", "FINDSHA"]);
    rig.reply(kept(9, 4, "four"));
    rig.reply(push(9, 1, "five, or six"));
    assert!(rig.news().is_empty());
    rig.reply(kept(9, 6, "six"));
    assert!(matches!(rig.news()[..], [BrokerNews::Following { position: Position { offset: 6, .. }, .. }]));
}

#[test]
fn channels_are_followed_again_when_the_connection_is_and_looked_at_now_and_then() {
    let mut rig = Rig::up(1);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    rig.reply(kept(9, 1, "one"));
    rig.sent();
    rig.pass(1000).expect("all is well");
    assert_eq!(rig.sent(), ["FINDSHA"]);
    rig.reply(FIRST);
    let news_of = rig.news();
    assert!(matches!(news_of[..], [BrokerNews::Following { .. }, BrokerNews::Checked { .. }]), "{news_of:?}");
    rig.lose();
    rig.connect(1);
    assert!(matches!(rig.news()[..], [BrokerNews::Down(BrokerLoss::Closed), BrokerNews::Up]));
    assert_eq!(rig.sent(), ["SUBSCRIBE", "FIND"]);
    rig.reply("-ERR not now\r\n");
    assert!(rig.news().is_empty());
    rig.pass(BROKER_CHECK_MS / 30).expect("all is well");
    assert_eq!(rig.sent(), ["SUBSCRIBE", "FINDSHA"], "and again");
}

/// The channels that are asked about, and the commands by which they are subscribed to.
fn asked(rig: &mut Rig) -> (Vec<String>, usize) {
    let bytes = rig.link.poll_output().unwrap_or_default();
    let text = String::from_utf8(bytes).expect("text");
    let keys = text.split("\r\n").filter_map(|word| word.strip_prefix("rs:s:"));
    (keys.map(str::to_owned).collect(), text.matches("\r\nSUBSCRIBE\r\n").count())
}

#[test]
fn behind_an_outage_what_somebody_waits_for_is_asked_before_what_was_followed_only() {
    const COUNT: usize = 40;
    let name = |text: &str| ChannelName::new(text, 255).expect("a name");
    let told = b"*2\r\n$3\r\n9-0\r\n*0\r\n".repeat(COUNT);
    let mut rig = Rig::up(1);
    for number in 0..COUNT {
        rig.ask(BrokerAsk::Follow { channel: name(&format!("old-{number}")), epoch_min: 0 });
    }
    while rig.link.poll_output().is_some() {
        rig.reply(&told[..told.len() / COUNT * BROKER_FOLLOWING_MAX]);
    }
    let followed = rig.news().iter().filter(|news| matches!(news, BrokerNews::Following { .. })).count();
    assert_eq!(followed, COUNT);

    rig.lose();
    rig.connect(1);
    let (first, commands) = asked(&mut rig);
    assert_eq!((first.len(), commands), (BROKER_FOLLOWING_MAX, 1), "{first:?}");
    let last = (0..COUNT).map(|number| format!("old-{number}")).find(|name| !first.contains(name));
    let last = last.expect("not all are asked about at once");
    for _ in 0..2 {
        rig.ask(BrokerAsk::Hurry { channel: name(&last) });
    }
    rig.ask(BrokerAsk::Hurry { channel: name("nobody follows it") });
    rig.ask(BrokerAsk::Follow { channel: name("new"), epoch_min: 0 });
    rig.reply(&told[..told.len() / COUNT * 4]);
    let (next, commands) = asked(&mut rig);
    assert_eq!((&next[..2], next.len(), commands), (&[last, "new".to_owned()][..], 4, 1), "{next:?}");
    let mut all = [first, next].concat();
    loop {
        rig.reply(&told[..told.len() / COUNT * 4]);
        match asked(&mut rig).0 {
            next if next.is_empty() => break,
            next => all.extend(next),
        }
    }
    assert_eq!(all.len(), COUNT + 1);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), COUNT + 1, "each is asked about once");
}

#[test]
fn a_server_that_says_nothing_or_passes_nothing_on_is_none() {
    let mut rig = Rig::up(1);
    rig.pass(BROKER_SILENCE_MS).expect("it is asked");
    assert_eq!(rig.sent(), ["ROLE", "PUBLISH"]);
    rig.reply("*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n:1\r\n");
    let probe = format!(">3\r\n$7\r\nmessage\r\n$23\r\nrs:p:{NODE:016x}:3\r\n$1\r\n?\r\n");
    rig.reply(probe);
    rig.pass(BROKER_SILENCE_MS).expect("it has passed it on");
    rig.sent();
    rig.reply("*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n:0\r\n");
    assert!(matches!(rig.pass(BROKER_SILENCE_MS), Err(Fault::Mute)));

    let mut rig = Rig::up(1);
    rig.pass(BROKER_SILENCE_MS).expect("it is asked");
    let demoted = rig.try_reply("*3\r\n$5\r\nslave\r\n:1\r\n*0\r\n");
    assert!(matches!(demoted, Err(Fault::Role(_))));
    let mut rig = Rig::up(1);
    rig.publish(0);
    assert!(matches!(rig.pass(BROKER_SILENCE_MS), Err(Fault::Silent)));
    rig.news();
    rig.link.handle_down(&Fault::Silent);
    let news = rig.news();
    assert!(matches!(news[..], [.., BrokerNews::Down(BrokerLoss::Silent)]), "{news:?}");
    rig.link.handle_down(&Fault::Closed(None));
    assert!(rig.news().is_empty(), "what was lost is not lost again");
}
