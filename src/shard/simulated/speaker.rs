//! One WebSocket over whole shards: it follows, publishes, and holds all that it is told against the oracle.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use super::{
    Shards,
    dialogue::Dialogue,
    spoken::{Place, Spoken},
};

pub(super) const CHANNELS_MAX: usize = 3;
const TRAIL_MAX: usize = 60;
/// Refusals of what comes at a bad time.
const REFUSALS: [&str; 4] = ["busy", "shard_failed", "unavailable", "shard_silent"];

/// One client, and what it knows.
pub(super) struct Client {
    pub(super) number: u64,
    pub(super) shard: usize,
    pub(super) dialogue: Option<Dialogue>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Commands(Commands),
    /// It follows one channel and publishes there; what it has heard last.
    Raw {
        channel: usize,
        heard: Option<usize>,
    },
    /// It sends what nobody wants to know, and reads little.
    Flood,
    /// It begins to publish over HTTP, so much, and never sends the rest.
    Half(usize),
}

/// A client of `/ws`.
#[derive(Default)]
pub(super) struct Commands {
    next_id: u32,
    pub(super) asked: HashMap<u32, Asked>,
    pub(super) follows: [Follows; CHANNELS_MAX],
    /// The beginnings of what it has said and heard of late, to be shown when something is wrong.
    trail: VecDeque<String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Subscribe { channel: usize, since: Option<Place> },
    Unsubscribe { channel: usize },
    Publish { channel: usize, number: usize },
}

#[derive(Clone, Copy, Default)]
pub(super) struct Follows {
    /// Everything up to here has been heard, or is known to be lost.
    pub(super) place: Option<Place>,
    pub(super) is_in: bool,
    pub(super) is_asking: bool,
}

impl Client {
    /// It connects, for the first time or again.
    pub(super) fn connect(&mut self, shards: &mut Shards, shard: usize, sent_bytes: usize) {
        let Some((socket, _)) = shards.connect(shard, sent_bytes) else { return };
        self.shard = shard;
        let target = match &mut self.kind {
            Kind::Commands(commands) => {
                commands.asked.clear();
                commands.follows.iter_mut().for_each(|one| (one.is_in, one.is_asking) = (false, false));
                "/ws".to_owned()
            }
            Kind::Raw { channel, heard } => {
                *heard = None;
                format!("/channels/c{channel}")
            }
            Kind::Flood => "/ws".to_owned(),
            Kind::Half(bytes) => {
                let head = format!(
                    "POST /channels/c0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                    *bytes + 1
                );
                let body = vec![b'x'; *bytes];
                self.dialogue = Some(Dialogue::of_bytes(socket, [head.into_bytes(), body].concat()));
                return;
            }
        };
        self.dialogue = Some(Dialogue::new(socket, &target));
    }

    pub(super) fn is_there(&self) -> bool {
        self.dialogue.as_ref().is_some_and(Dialogue::is_there)
    }

    /// Reads so many bytes and hears what is whole; tells how many there were.
    pub(super) fn read(&mut self, bytes: usize, spoken: &mut Spoken) -> usize {
        let Some(dialogue) = self.dialogue.as_mut().filter(|dialogue| dialogue.is_there()) else { return 0 };
        let (read, texts) = dialogue.read(bytes);
        spoken.seen.cuts += u64::from(!dialogue.is_there() && dialogue.is_upgraded());
        for text in texts {
            match &mut self.kind {
                Kind::Commands(commands) => commands.hear(&text, self.shard, spoken),
                Kind::Raw { channel, heard } => {
                    let number = spoken.number(*channel, &text);
                    spoken.seen.heard_raw += 1;
                    let places = heard.replace(number).and_then(|before| spoken.place_of(before));
                    if let (Some(before), Some(now)) = (places, spoken.place_of(number))
                        && before.0 == now.0
                    {
                        assert_eq!(before.1 + 1, now.1, "what comes next comes next");
                    }
                }
                Kind::Flood | Kind::Half(_) => {}
            }
        }
        read
    }

    pub(super) fn send(&mut self, bytes: usize) {
        if let Some(dialogue) = &mut self.dialogue {
            dialogue.send(bytes);
        }
    }
}

impl Commands {
    /// A command, which is to be answered.
    pub(super) fn command(&mut self, asked: Asked, name: &str, what: Value) -> String {
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, asked);
        let mut command = json!({ "id": id });
        command[name] = what;
        let command = command.to_string();
        self.note('>', &command);
        command
    }

    /// What it has said and heard of late.
    pub(super) fn shown(&self) -> String {
        self.trail.iter().map(String::as_str).collect()
    }

    pub(super) fn note(&mut self, way: char, text: &str) {
        // Of what it publishes there is very much.
        if text.contains("\"publish") {
            return;
        }
        if self.trail.len() >= TRAIL_MAX {
            self.trail.pop_front();
        }
        self.trail.push_back(format!("\n{way} {}", &text[..text.len().min(100)]));
    }

    pub(super) fn publish(&mut self, channel: usize, number: usize, text: &str) -> String {
        let what = json!({"channel": name(channel), "data": text});
        self.command(Asked::Publish { channel, number }, "publish", what)
    }

    pub(super) fn hear(&mut self, text: &str, shard: usize, spoken: &mut Spoken) {
        self.note('<', text);
        let told: Value = serde_json::from_str(text).expect("JSON");
        if let Some(id) = told["id"].as_u64() {
            let asked = self.asked.remove(&(id as u32)).expect("each command is answered once");
            return self.hear_reply(asked, &told, spoken);
        }
        if !told["push"].is_null() {
            let (channel, place) = place_of(&told["push"]);
            let number = spoken.number(channel, told["push"]["data"].as_str().expect("text"));
            spoken.place(channel, place, number);
            spoken.seen.heard += 1;
            let follows = &mut self.follows[channel];
            let trail = || self.trail.iter().map(String::as_str).collect::<String>();
            assert!(follows.is_in, "it does not follow {channel}: {}", trail());
            match follows.place {
                Some(before) if before.0 == place.0 => spoken.miss((shard, channel), before, place.1),
                // Of another life of the channel, which begins anywhere for whoever was there before.
                Some(_) | None => assert!(spoken.failures > 0, "{place:?} is of another epoch"),
            }
            follows.place = Some(place);
            return;
        }
        assert!(!told["gap"].is_null(), "{told}");
        let (channel, place) = place_of(&told["gap"]);
        spoken.know(channel, place.0);
        let follows = &mut self.follows[channel];
        match follows.place {
            Some(before) if before.0 == place.0 => {
                assert!(before.1 < place.1, "nothing between {before:?} and {place:?} is lost");
                match spoken.may_be_let_go(channel, place.1) {
                    true => spoken.lost(channel, place.1),
                    false => spoken.miss((shard, channel), before, place.1 + 1),
                }
            }
            Some(_) | None => assert!(spoken.failures > 0, "{place:?} is of another epoch"),
        }
        follows.place = Some(place);
    }

    pub(super) fn hear_reply(&mut self, asked: Asked, told: &Value, spoken: &mut Spoken) {
        if let Some(code) = told["error"]["code"].as_str() {
            spoken.seen.refused += 1;
            assert!(REFUSALS.contains(&code) || spoken.failures > 0, "{told}");
            if let Asked::Subscribe { channel, .. } | Asked::Unsubscribe { channel } = asked {
                self.follows[channel].is_asking = false;
            }
            return;
        }
        match asked {
            Asked::Publish { channel, number } => {
                let (of, place) = place_of(&told["published"]);
                assert_eq!(of, channel);
                spoken.place(channel, place, number);
            }
            Asked::Unsubscribe { channel } => {
                assert!(!told["unsubscribed"].is_null(), "{told}");
                let follows = &mut self.follows[channel];
                (follows.is_in, follows.is_asking) = (false, false);
            }
            Asked::Subscribe { channel, since } => {
                let subscribed = &told["subscribed"];
                let (of, place) = place_of(subscribed);
                assert_eq!(of, channel);
                spoken.know(channel, place.0);
                let is_whole = subscribed["recovered"].as_bool().expect("it is told");
                let missed = subscribed["missed"].as_u64().expect("it is told");
                let before = place.1 - missed;
                spoken.seen.subscribed += 1;
                match since {
                    None => assert!(is_whole && missed == 0, "{told}"),
                    Some(since) if is_whole => {
                        assert_eq!((since.0, since.1), (place.0, before), "{told}");
                        spoken.seen.recovered += 1;
                    }
                    Some(since) if since.0 == place.0 => {
                        assert!(since.1 < before, "nothing between {since:?} and {before} is lost");
                        spoken.lost(channel, before);
                    }
                    Some(_) => assert!(spoken.failures > 0, "{told} is of another epoch"),
                }
                self.follows[channel] =
                    Follows { place: Some((place.0, before)), is_in: true, is_asking: false };
            }
        }
    }
}

pub(super) fn name(channel: usize) -> String {
    format!("c{channel}")
}

/// The channel and the place that something is told of.
fn place_of(told: &Value) -> (usize, Place) {
    let channel = told["channel"].as_str().expect("a channel")[1..].parse().expect("a number");
    let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{name} is missing: {told}"));
    (channel, (number("epoch"), number("offset")))
}
