//! A link, and what a broker would say to it, byte by byte.

use std::rc::Rc;

use super::{
    address::Address,
    fault::Fault,
    frame::{self, Names},
    link::{Link, Side, Terms},
};
use crate::{
    auth::Pattern,
    limits::{BROKER_BATCH_MAX, BROKER_CHECK_MS, BROKER_RENEW_MS, BROKER_SILENCE_MS, BROKER_WAIT_MS},
    model::{
        BrokerAsk, BrokerNews, ChannelName, Payload, Position, Publication, PublishError, Retention, ShardId,
    },
    wire::resp::{Decoder, Step},
};

const NODE: u64 = 7;
const HELLO: &str = "%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
const QUEUED: &str = "+QUEUED\r\n";

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
    let said = [frame::push_head(epoch).as_bytes(), &body].concat();
    [&b">3\r\n$7\r\nmessage\r\n$9\r\nrs:c:news\r\n"[..], &block(&said)].concat()
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
        self.reply(Side::Pushes, [HELLO, "$10\r\nrun_id:one\r\n"].concat());
        self.reply(Side::Commands, [HELLO, "$10\r\nrun_id:one\r\n"].concat());
        self.sent(Side::Commands);
        self.sent(Side::Pushes);
        self.reply(Side::Commands, format!("+{floor}\r\n"));
    }

    fn ask(&mut self, ask: BrokerAsk) {
        self.link.handle_ask(self.now_ms, ask);
        self.link.flush(self.now_ms);
    }

    fn publish(&mut self, number: u64) {
        let publication = Box::new(publication(&number.to_string()));
        self.ask(BrokerAsk::Publish { number, publication });
    }

    fn try_reply(&mut self, side: Side, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        self.link.handle_bytes(self.now_ms, side, bytes.as_ref())
    }

    #[track_caller]
    fn reply(&mut self, side: Side, bytes: impl AsRef<[u8]>) {
        self.try_reply(side, bytes).expect("nothing is wrong with it");
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

    /// The first words of the commands that are sent, and their fourth where it is an id.
    fn sent(&mut self, side: Side) -> Vec<String> {
        let Some(bytes) = self.link.poll_output(side) else { return Vec::new() };
        let (mut decoder, mut at, mut commands) = (Decoder::default(), 0, Vec::new());
        while at < bytes.len() {
            match decoder.decode(&bytes[at..], bytes.len()).expect("commands are RESP") {
                Step::Reply { value, consumed } => {
                    let mut words = value.list().expect("a command is a list");
                    let first = words.next().and_then(|word| word.text()).expect("a word");
                    commands.push(String::from_utf8_lossy(first).into_owned());
                    at += consumed;
                }
                Step::NeedMore => panic!("a command is not whole"),
            }
        }
        commands
    }
}

#[test]
fn who_asks_is_told_first_and_a_replica_or_two_servers_are_no_broker() {
    let mut rig = Rig::new();
    rig.link.handle_connected(0);
    let hello = String::from_utf8(rig.link.poll_output(Side::Commands).expect("it greets")).expect("text");
    assert!(hello.contains("HELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$4\r\nanna\r\n$6\r\ns3cret\r\n"), "{hello}");
    assert_eq!(rig.sent(Side::Pushes), ["HELLO", "INFO", "SUBSCRIBE"]);
    let replica = HELLO.replace("$6\r\nmaster", "$7\r\nreplica");
    assert!(matches!(rig.try_reply(Side::Commands, replica), Err(Fault::Role(_))));

    let mut rig = Rig::new();
    rig.link.handle_connected(0);
    rig.reply(Side::Pushes, [HELLO, "$10\r\nrun_id:one\r\n"].concat());
    rig.reply(Side::Commands, [HELLO, "$10\r\nrun_id:two\r\n"].concat());
    assert!(matches!(rig.try_reply(Side::Commands, "+1\r\n"), Err(Fault::Two)));
    let mut rig = Rig::new();
    rig.link.handle_connected(0);
    let refused = rig.try_reply(Side::Commands, "-WRONGPASS invalid\r\n");
    assert!(matches!(refused, Err(Fault::Refused(_))));
    assert!(matches!(rig.try_reply(Side::Commands, "x"), Err(Fault::Protocol(_))));
}

#[test]
fn a_channel_begins_with_a_script_and_goes_on_in_transactions_that_gather() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.publish(1);
    assert_eq!(rig.sent(Side::Commands), ["EVAL"], "one at a time, for its epoch is not known");
    rig.reply(Side::Commands, "*2\r\n$3\r\n9-1\r\n*0\r\n");
    assert_eq!(rig.published(), [(0, Ok(at(9, 1)))]);
    assert_eq!(rig.sent(Side::Commands), ["MULTI", "XADD", "PUBLISH", "EXEC"]);
    rig.publish(2);
    rig.publish(3);
    assert_eq!(rig.sent(Side::Commands), [""; 0], "they gather");
    rig.reply(Side::Commands, ["+OK\r\n", &QUEUED.repeat(2), "*2\r\n$3\r\n9-2\r\n:1\r\n"].concat());
    assert_eq!(rig.published(), [(1, Ok(at(9, 2)))]);
    let both = ["MULTI", "XADD", "PUBLISH", "XADD", "PUBLISH", "EXEC"];
    assert_eq!(rig.sent(Side::Commands), both);
    let exec = "*4\r\n$3\r\n9-3\r\n:1\r\n$3\r\n9-4\r\n:1\r\n";
    rig.reply(Side::Commands, ["+OK\r\n", &QUEUED.repeat(4), exec].concat());
    assert_eq!(rig.published(), [(2, Ok(at(9, 3))), (3, Ok(at(9, 4)))]);
    assert!(!rig.link.is_waiting());
    (4..=4 + BROKER_BATCH_MAX as u64 + 1).for_each(|number| rig.publish(number));
    rig.sent(Side::Commands);
    rig.reply(Side::Commands, ["+OK\r\n", &QUEUED.repeat(2), "*2\r\n$3\r\n9-5\r\n:1\r\n"].concat());
    let commands = rig.sent(Side::Commands).len();
    assert_eq!(commands, 2 + 2 * BROKER_BATCH_MAX, "no more than so many leave together");
}

#[test]
fn a_stream_is_told_how_long_to_be_kept_now_and_then_and_again_when_nobody_knows_whether_it_was() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.reply(Side::Commands, "*2\r\n$3\r\n9-1\r\n*0\r\n");
    rig.sent(Side::Commands);
    let (without, with) =
        (&["MULTI", "XADD", "PUBLISH", "EXEC"][..], &["MULTI", "XADD", "PUBLISH", "PEXPIRE", "EXEC"][..]);
    let made = ["+OK\r\n", &QUEUED.repeat(2), "*2\r\n$3\r\n9-2\r\n:1\r\n"].concat();
    let renewed = ["+OK\r\n", &QUEUED.repeat(3), "*3\r\n$3\r\n9-2\r\n:1\r\n:1\r\n"].concat();
    let refused = ["+OK\r\n", &QUEUED.repeat(3), "-EXECABORT\r\n"].concat();
    let steps = [
        (BROKER_RENEW_MS - 1, without, &made),
        (1, with, &renewed),
        (0, without, &made),
        (BROKER_RENEW_MS, with, &refused),
        (0, with, &renewed),
        (0, without, &made),
    ];
    for (step, (passed_ms, commands, answer)) in steps.into_iter().enumerate() {
        rig.now_ms += passed_ms;
        rig.publish(1 + step as u64);
        assert_eq!(rig.sent(Side::Commands), commands, "step {step}");
        rig.reply(Side::Commands, answer);
    }
    rig.now_ms += BROKER_RENEW_MS;
    rig.publish(9);
    rig.sent(Side::Commands);
    rig.link.handle_down();
    rig.connect(1);
    rig.publish(10);
    assert_eq!(rig.sent(Side::Commands), with, "the connection was lost behind it");
}

#[test]
fn of_some_channels_more_is_kept_and_longer() {
    let retention = Retention { publications_max: Some(9), age_max_ms: Some(100_000) };
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
        let mut rig = Rig::up(1);
        rig.publish(0);
        rig.reply(Side::Commands, "*2\r\n$3\r\n9-1\r\n*0\r\n");
        rig.publish(1);
        rig.publish(2);
        rig.published();
        rig.reply(Side::Commands, ["+OK\r\n", &QUEUED.repeat(2), "*2\r\n$3\r\n9-2\r\n:1\r\n"].concat());
        rig.sent(Side::Commands);
        rig.publish(3);
        let exec = format!("*2\r\n{refused}:1\r\n");
        rig.reply(Side::Commands, ["+OK\r\n", &QUEUED.repeat(2), &exec].concat());
        assert_eq!(rig.published(), [(1, Ok(at(9, 2)))]);
        assert_eq!(rig.sent(Side::Commands), ["EVAL", "EVAL"]);
        rig.reply(Side::Commands, "*2\r\n$4\r\n12-1\r\n*0\r\n*2\r\n$4\r\n12-2\r\n*0\r\n");
        assert_eq!(rig.published(), [(2, Ok(at(12, 1))), (3, Ok(at(12, 2)))]);
    }
}

#[test]
fn an_epoch_below_the_floor_of_the_server_is_not_published_under() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.reply(Side::Commands, "*2\r\n$3\r\n9-1\r\n*0\r\n");
    rig.link.handle_down();
    rig.connect(9);
    rig.sent(Side::Commands);
    rig.publish(1);
    assert_eq!(rig.sent(Side::Commands)[0], "MULTI", "9 is the floor");
    rig.link.handle_down();
    rig.connect(10);
    rig.publish(2);
    assert_eq!(rig.sent(Side::Commands), ["EVAL"]);
}

#[test]
fn what_waits_is_refused_in_time_and_of_what_has_left_nobody_knows() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.publish(1);
    rig.sent(Side::Commands);
    rig.pass(BROKER_WAIT_MS - 1).expect("it may be slow");
    assert_eq!(rig.published(), []);
    rig.pass(1).expect("it may be slow");
    let (unavailable, unknown) = (PublishError::BrokerUnavailable, PublishError::BrokerUnknown);
    assert_eq!(rig.published(), [(1, Err(unavailable)), (0, Err(unknown))], "one had left");
    rig.publish(2);
    rig.reply(Side::Commands, "*2\r\n$3\r\n9-1\r\n*0\r\n");
    assert_eq!(rig.published(), [], "who has been told is not told again");
    assert_eq!(rig.sent(Side::Commands)[0], "MULTI", "and nothing is tried again");
    rig.publish(3);
    rig.link.handle_down();
    let news = rig.news();
    assert!(matches!(news[..], [BrokerNews::Published { number: 2, .. }, BrokerNews::Down]), "{news:?}");
    rig.pass(BROKER_WAIT_MS).expect("there is nothing to fail");
    assert_eq!(rig.published(), [(3, Err(PublishError::BrokerUnavailable))]);
    rig.connect(1);
    rig.news();
    assert_eq!(rig.sent(Side::Commands), [""; 0], "what was refused is not made");
}

#[test]
fn what_the_server_refuses_is_refused_and_what_is_wrong_with_it_ends_the_connection() {
    let mut rig = Rig::up(1);
    rig.publish(0);
    rig.reply(Side::Commands, "*2\r\n$3\r\n9-1\r\n*0\r\n");
    rig.published();
    rig.publish(1);
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    rig.reply(Side::Commands, ["+OK\r\n", oom, QUEUED, aborted].concat());
    assert_eq!(rig.published(), [(1, Err(PublishError::BrokerUnavailable))]);
    assert!(rig.link.take_complaint().is_some_and(|complaint| complaint.0.starts_with("OOM")));
    rig.publish(2);
    let readonly = ["+OK\r\n", "-READONLY You can't write against a read only replica.\r\n"].concat();
    assert!(matches!(rig.try_reply(Side::Commands, readonly), Err(Fault::Role(_))));
}

#[test]
fn what_is_pushed_counts_from_the_answer_on_and_only_for_the_last_question() {
    let mut rig = Rig::up(1);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    assert_eq!(rig.sent(Side::Pushes), ["SUBSCRIBE", "EVAL"]);
    rig.reply(Side::Pushes, push(9, 1, "stands in the answer"));
    rig.reply(Side::Pushes, kept(9, 4, "four"));
    rig.reply(Side::Pushes, push(9, 2, "five"));
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
    assert_eq!(
        rig.sent(Side::Pushes),
        ["UNSUBSCRIBE", "SUBSCRIBE", "EVAL", "UNSUBSCRIBE", "SUBSCRIBE", "EVAL"]
    );
    rig.reply(Side::Pushes, kept(9, 5, "five"));
    rig.reply(Side::Pushes, push(9, 3, "missed in between"));
    assert!(rig.news().is_empty(), "it was left and asked for again meanwhile");
    rig.reply(Side::Pushes, kept(9, 6, "six"));
    assert!(matches!(rig.news()[..], [BrokerNews::Following { .. }]));
    rig.reply(Side::Pushes, [&b">3\r\n$7\r\nmessage\r\n$9\r\nrs:c:news\r\n"[..], &block(b"R12 ")].concat());
    assert!(matches!(rig.news()[..], [BrokerNews::Renewed { epoch: 12, .. }]));
    for garbage in [&b""[..], b"P12", b"x", b"\xff 1"] {
        rig.reply(
            Side::Pushes,
            [&b">3\r\n$7\r\nmessage\r\n$9\r\nrs:c:news\r\n"[..], &block(garbage)].concat(),
        );
    }
    assert!(rig.news().is_empty());
}

#[test]
fn a_shard_that_begins_anew_is_not_told_what_the_one_before_it_has_asked() {
    let mut rig = Rig::up(1);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    rig.ask(BrokerAsk::Begin);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    assert!(matches!(rig.news()[..], [BrokerNews::Begun, BrokerNews::Up]));
    assert_eq!(rig.sent(Side::Pushes), ["SUBSCRIBE", "EVAL", "UNSUBSCRIBE", "SUBSCRIBE", "EVAL"]);
    rig.reply(Side::Pushes, kept(9, 4, "four"));
    rig.reply(Side::Pushes, push(9, 1, "five, or six"));
    assert!(rig.news().is_empty());
    rig.reply(Side::Pushes, kept(9, 6, "six"));
    assert!(matches!(rig.news()[..], [BrokerNews::Following { position: Position { offset: 6, .. }, .. }]));
}

#[test]
fn channels_are_followed_again_when_the_connection_is_and_looked_at_now_and_then() {
    let mut rig = Rig::up(1);
    rig.ask(BrokerAsk::Follow { channel: news(), epoch_min: 0 });
    rig.reply(Side::Pushes, kept(9, 1, "one"));
    rig.sent(Side::Pushes);
    rig.pass(1000).expect("all is well");
    assert_eq!(rig.sent(Side::Pushes), ["EVAL"]);
    rig.reply(Side::Pushes, "*2\r\n$3\r\n9-1\r\n*0\r\n");
    let news_of = rig.news();
    assert!(matches!(news_of[..], [BrokerNews::Following { .. }, BrokerNews::Checked { .. }]), "{news_of:?}");
    rig.link.handle_down();
    rig.connect(1);
    assert!(matches!(rig.news()[..], [BrokerNews::Down, BrokerNews::Up]));
    assert_eq!(rig.sent(Side::Pushes), ["SUBSCRIBE", "EVAL"]);
    rig.reply(Side::Pushes, "-ERR not now\r\n");
    assert!(rig.news().is_empty());
    rig.pass(BROKER_CHECK_MS / 30).expect("all is well");
    assert_eq!(rig.sent(Side::Pushes), ["SUBSCRIBE", "EVAL"], "and again");
}

#[test]
fn a_server_that_says_nothing_or_passes_nothing_on_is_none() {
    let mut rig = Rig::up(1);
    rig.pass(BROKER_SILENCE_MS).expect("it is asked");
    assert_eq!(rig.sent(Side::Commands), ["ROLE", "PUBLISH"]);
    rig.reply(Side::Commands, "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n:1\r\n");
    let probe = format!(">3\r\n$7\r\nmessage\r\n$23\r\nrs:p:{NODE:016x}:3\r\n$1\r\n?\r\n");
    rig.reply(Side::Pushes, probe);
    rig.pass(BROKER_SILENCE_MS).expect("it has passed it on");
    rig.sent(Side::Commands);
    rig.reply(Side::Commands, "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n:0\r\n");
    assert!(matches!(rig.pass(BROKER_SILENCE_MS), Err(Fault::Mute)));

    let mut rig = Rig::up(1);
    rig.pass(BROKER_SILENCE_MS).expect("it is asked");
    let demoted = rig.try_reply(Side::Commands, "*3\r\n$5\r\nslave\r\n:1\r\n*0\r\n");
    assert!(matches!(demoted, Err(Fault::Role(_))));
    let mut rig = Rig::up(1);
    rig.publish(0);
    assert!(matches!(rig.pass(BROKER_SILENCE_MS), Err(Fault::Silent)));
}
