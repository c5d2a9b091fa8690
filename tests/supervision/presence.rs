//! Who is present when a shard fails: members with connections on it and on others, in channels that it owned and that others
//! own. Whoever follows is told one leave for each enter, and knows in the end who is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpStream,
};

use jsonwebtoken::{EncodingKey, Header};
use roadstead::{
    app::ShardId,
    config::{Config, Secret, Switch},
    supervisor::{Failure, Server},
};
use serde_json::{Value, json};

use crate::{
    client::{ask, await_that, say},
    restarts::{FAILING, end, fail, hear_json, post, settings, start_with, websocket_to},
};

const SECRET: &str = "a-secret-of-these-tests-that-is-long-enough";
/// So many that each of three shards owns some, whatever the hash.
const CHANNELS: usize = 40;

fn channels() -> impl Iterator<Item = String> {
    (0..CHANNELS).map(|number| format!("room-{number}"))
}

pub fn with_shards(shards: u16, grace_ms: u32) -> Config {
    let mut config = settings();
    config.server.shards = shards;
    config.limits.presence_grace_ms = grace_ms;
    // Nothing but what is told is heard here.
    config.limits.ping_interval_ms = 600_000;
    config.auth.hs256_keys = vec![Secret::new(SECRET)];
    (config.read.open, config.publish.open) = (Switch::On, Switch::On);
    config
}

/// Somebody on a shard, a guest without a name, who enters all channels.
fn member(server: &Server, shard: ShardId, user: Option<&str>) -> TcpStream {
    let mut socket = websocket_to(server, shard, "/ws");
    if let Some(user) = user {
        let expires_s = std::time::UNIX_EPOCH.elapsed().expect("it is later").as_secs() + 600;
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let claims = json!({"sub": user, "exp": expires_s});
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("it can sign");
        say(&mut socket, &json!({"id":1,"connect":{"token":token}}).to_string());
        let told = hear_json(&mut socket);
        assert_eq!(told["connected"]["user"], user, "{told}");
    }
    for channel in channels() {
        say(&mut socket, &json!({"id":2,"enter":{"channel":channel}}).to_string());
        let told = hear_json(&mut socket);
        assert!(told["entered"].is_object(), "{told}");
    }
    socket
}

fn who(member: &Value) -> String {
    member["user"].as_str().unwrap_or("a guest").to_owned()
}

/// What whoever follows a channel knows of it.
#[derive(Debug, Default)]
struct Room {
    /// Who is there. Nothing between a gap and what is shown then.
    members: Option<BTreeSet<String>>,
    /// Epoch and offset of what was told last.
    at: (u64, u64),
    gaps: u32,
    /// Who was told to have entered or left.
    told: Vec<(&'static str, String)>,
    marks: u32,
}

impl Room {
    fn hear(&mut self, word: &str, said: &Value) {
        let number = |name: &str| said[name].as_u64().unwrap_or_else(|| panic!("no {name} in {said}"));
        let at = (number("epoch"), number("offset"));
        match word {
            "gap" => {
                self.gaps += 1;
                self.members = None;
            }
            "presence" => {
                let members = said["members"].as_array().unwrap_or_else(|| panic!("no page: {said}"));
                self.members = Some(members.iter().map(who).collect());
            }
            change => {
                if at != (self.at.0, self.at.1 + 1) {
                    // A hole says the same.
                    self.gaps += u32::from(self.members.is_some());
                    self.members = None;
                }
                self.change(change, said);
            }
        }
        self.at = at;
    }

    fn change(&mut self, word: &str, said: &Value) {
        let members = self.members.as_mut();
        match word {
            "push" => self.marks += 1,
            "enter" => {
                self.told.push(("enter", who(said)));
                assert!(members.is_none_or(|all| all.insert(who(said))), "{said} is there already");
            }
            "leave" => {
                self.told.push(("leave", who(said)));
                assert!(members.is_none_or(|all| all.remove(&who(said))), "{said} was not there");
            }
            other => panic!("{other}: {said}"),
        }
    }
}

struct Follower {
    socket: TcpStream,
    rooms: BTreeMap<String, Room>,
}

impl Follower {
    fn new(server: &Server, shard: ShardId) -> Self {
        let mut socket = websocket_to(server, shard, "/ws");
        let mut rooms = BTreeMap::new();
        for channel in channels() {
            let command = json!({"id":1,"subscribe":{"channel":channel,"presence":true}});
            say(&mut socket, &command.to_string());
            assert!(hear_json(&mut socket)["subscribed"].is_object());
            let mut room = Room::default();
            room.hear("presence", &hear_json(&mut socket)["presence"]);
            rooms.insert(channel, room);
        }
        Self { socket, rooms }
    }

    /// Hears until all rooms are so.
    fn hear_until(&mut self, is_so: impl Fn(&Room) -> bool) {
        while !self.rooms.values().all(&is_so) {
            let heard = hear_json(&mut self.socket);
            let (word, said) = heard.as_object().and_then(|one| one.iter().next()).expect("one word");
            let channel = said["channel"].as_str().unwrap_or_else(|| panic!("of no channel: {heard}"));
            self.rooms.get_mut(channel).expect("it is followed").hear(word, said);
        }
    }
}

/// Who the server says is there, each with the number of its connections.
fn page(server: &Server, channel: &str) -> BTreeMap<String, u64> {
    let request =
        format!("GET /channels/{channel}/presence HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = ask(server, &request);
    // One that the failing shard was asked is refused.
    let Some(body) = answer.strip_prefix("HTTP/1.1 200").and_then(|rest| rest.split_once("\r\n\r\n")) else {
        return BTreeMap::new();
    };
    let page: Value = serde_json::from_str(body.1).expect("JSON");
    let members = page["members"].as_array().expect("a list");
    let all: BTreeMap<_, _> =
        members.iter().map(|one| (who(one), one["connections"].as_u64().expect("a number"))).collect();
    assert_eq!(all.len(), members.len(), "each is shown once: {page}");
    all
}

fn of<const N: usize>(members: [(&str, u64); N]) -> BTreeMap<String, u64> {
    members.map(|(name, connections)| (name.to_owned(), connections)).into()
}

/// Waits until every channel shows what one of these says: those that show the second, whose owner has failed.
fn await_either(
    server: &Server,
    kept: &BTreeMap<String, u64>,
    lost: &BTreeMap<String, u64>,
) -> BTreeSet<String> {
    assert_ne!(kept, lost);
    let mut anew = BTreeSet::new();
    for channel in channels() {
        let mut shown = BTreeMap::new();
        await_that(&format!("{channel} shows {kept:?} or {lost:?}"), || {
            shown = page(server, &channel);
            shown == *kept || shown == *lost
        });
        if shown == *lost {
            anew.insert(channel);
        }
    }
    assert!(!anew.is_empty() && anew.len() < CHANNELS, "the failing shard owns some: {anew:?}");
    anew
}

/// Says something in each channel and has the follower hear it, and with it all that was told before.
fn mark(server: &Server, follower: &mut Follower) {
    let marks = follower.rooms.values().next().map_or(0, |room| room.marks);
    channels().for_each(|channel| drop(post(server, &channel)));
    follower.hear_until(|room| room.marks > marks && room.members.is_some());
}

/// What was told of each channel is what is there; what was told of those whose owner goes on since it was cleared.
fn check(server: &Server, follower: &Follower, anew: &BTreeSet<String>, told: &[(&'static str, &str)]) {
    for (channel, room) in &follower.rooms {
        let there: BTreeSet<_> = page(server, channel).into_keys().collect();
        assert_eq!(room.members.as_ref(), Some(&there), "{channel}: {room:?}");
        assert_eq!(room.gaps, u32::from(anew.contains(channel)), "{channel}: {room:?}");
        if !anew.contains(channel) {
            let mut all: Vec<_> = room.told.iter().map(|(word, who)| (*word, who.as_str())).collect();
            all.sort_unstable();
            assert_eq!(all, told, "{channel}");
        }
    }
}

fn forget_told(follower: &mut Follower) {
    follower.rooms.values_mut().for_each(|room| room.told.clear());
}

#[test]
fn who_comes_back_to_another_shard_has_not_left_and_a_guest_of_the_one_that_failed_has_once() {
    for (shards, failure) in [(2, Failure::InTurn), (3, Failure::InRing)] {
        let server = start_with(&with_shards(shards, 600_000)).0;
        let mut follower = Follower::new(&server, ShardId(0));
        let other = ShardId((FAILING.0 + 1) % shards);
        let gone = [Some("anna"), Some("bob"), Some("dave"), None].map(|user| member(&server, FAILING, user));
        let _there = [member(&server, ShardId(0), Some("bob")), member(&server, other, Some("carl"))];
        follower.hear_until(|room| room.members.as_ref().is_some_and(|all| all.len() == 5));
        forget_told(&mut follower);

        fail(&server, failure);
        let kept = of([("anna", 0), ("bob", 1), ("carl", 1), ("dave", 0)]);
        let anew = await_either(&server, &kept, &of([("bob", 1), ("carl", 1)]));
        let anna = member(&server, other, Some("anna"));
        mark(&server, &mut follower);
        check(&server, &follower, &anew, &[("leave", "a guest")]);

        // She leaves once, when she leaves.
        forget_told(&mut follower);
        let mut anna = anna;
        for channel in channels() {
            say(&mut anna, &json!({"id":3,"leave":{"channel":channel}}).to_string());
            assert!(hear_json(&mut anna)["left"].is_object());
        }
        let kept = of([("bob", 1), ("carl", 1), ("dave", 0)]);
        assert_eq!(await_either(&server, &kept, &of([("bob", 1), ("carl", 1)])), anew);
        mark(&server, &mut follower);
        check(&server, &follower, &anew, &[("leave", "anna")]);
        drop(gone);
        end(server);
    }
}

#[test]
fn who_does_not_come_back_from_a_shard_that_failed_has_left_once_when_the_grace_is_over() {
    for (shards, failure) in [(2, Failure::InRing), (3, Failure::InTurn)] {
        let server = start_with(&with_shards(shards, 50)).0;
        let mut follower = Follower::new(&server, ShardId(0));
        let gone = [Some("anna"), Some("bob"), None].map(|user| member(&server, FAILING, user));
        let _there = member(&server, ShardId(0), Some("bob"));
        follower.hear_until(|room| room.members.as_ref().is_some_and(|all| all.len() == 3));
        forget_told(&mut follower);
        let before: BTreeMap<_, _> =
            follower.rooms.iter().map(|(name, room)| (name.clone(), room.at.0)).collect();

        fail(&server, failure);
        let left = of([("bob", 1)]);
        for channel in channels() {
            await_that(&format!("all but bob have left {channel}"), || page(&server, &channel) == left);
        }
        mark(&server, &mut follower);
        let is_anew = |(name, room): &(&String, &Room)| room.at.0 != before[*name];
        let anew: BTreeSet<_> = follower.rooms.iter().filter(is_anew).map(|(name, _)| name.clone()).collect();
        assert!(!anew.is_empty() && anew.len() < CHANNELS, "the failing shard owns some: {anew:?}");
        check(&server, &follower, &anew, &[("leave", "a guest"), ("leave", "anna")]);
        drop(gone);
        end(server);
    }
}
