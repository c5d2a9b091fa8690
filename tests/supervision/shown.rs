//! What followers on `/ws` are shown again, without asking, when the shard that owned their channels has failed.

use std::collections::{BTreeMap, BTreeSet};

use roadstead::{app::ShardId, supervisor::Failure};
use serde_json::{Value, json};

use crate::{
    client::{ask, say},
    restarts::{channels, end, fail, hear_json, settings, start_with, websocket_to},
};

/// What a follower knows of a channel.
#[derive(Debug, Default)]
struct Known {
    /// Its keys; nothing for one that does not follow the state, and between a gap and what is shown then.
    keys: Option<BTreeSet<String>>,
    /// Of what was told last.
    epoch: u64,
    /// What it was told: the keys that were set, and `gap` and `state`.
    words: Vec<String>,
}

impl Known {
    fn hear(&mut self, word: &str, said: &Value) {
        // A push of another epoch says the same as a gap.
        if said["epoch"] != self.epoch {
            self.epoch = said["epoch"].as_u64().expect("a number");
            self.keys = None;
            self.words.push("gap".to_owned());
        }
        match word {
            "gap" => {}
            "state" => {
                self.keys = Some(names(said));
                self.words.push("state".to_owned());
            }
            "set" => {
                let name = said["key"].as_str().expect("a key");
                if let Some(keys) = &mut self.keys {
                    keys.insert(name.to_owned());
                }
                self.words.push(name.to_owned());
            }
            other => panic!("{other}: {said}"),
        }
    }
}

fn names(state: &Value) -> BTreeSet<String> {
    let keys = state["keys"].as_array().expect("a list").iter();
    keys.map(|one| one["key"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn who_follows_the_state_is_shown_it_again_where_it_is_lost_and_nobody_else_is() {
    let mut config = settings();
    config.limits.ping_interval_ms = 600_000;
    let server = start_with(&config).0;
    let put = |channel: &str, key: &str| {
        let request = format!(
            "PUT /channels/{channel}/state/{key} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
        );
        let answer = ask(&server, &request);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    };
    let mut client = websocket_to(&server, ShardId(0), "/ws");
    let mut known = BTreeMap::<String, Known>::new();
    for (channel, number) in channels().zip(0..) {
        let with_state = number % 3 > 0;
        put(&channel, "before");
        let command = json!({"id":1,"subscribe":{"channel":channel,"state":with_state}});
        say(&mut client, &command.to_string());
        let epoch = hear_json(&mut client)["subscribed"]["epoch"].as_u64().expect("an epoch");
        let keys = with_state.then(|| names(&hear_json(&mut client)["state"]));
        known.insert(channel, Known { keys, epoch, words: Vec::new() });
    }
    let with_state: BTreeSet<_> =
        known.iter().filter(|(_, one)| one.keys.is_some()).map(|(name, _)| name.clone()).collect();
    fail(&server, Failure::InTurn);
    for key in ["after", "last"] {
        channels().for_each(|channel| put(&channel, key));
        let has_heard = |(name, one): (&String, &Known)| match &one.keys {
            Some(keys) => keys.contains(key),
            None => !with_state.contains(name) && one.words.iter().any(|word| word == key),
        };
        while !known.iter().all(has_heard) {
            let heard = hear_json(&mut client);
            let (word, said) = heard.as_object().and_then(|one| one.iter().next()).expect("one word");
            let one = known.get_mut(said["channel"].as_str().expect("of a channel")).expect("it is followed");
            one.hear(word, said);
        }
    }
    let mut lost = 0;
    for (channel, Known { keys, words, .. }) in known {
        let count = |wanted: &str| words.iter().filter(|word| *word == wanted).count();
        let is_lost = count("gap") == 1;
        lost += u32::from(is_lost);
        assert_eq!(
            count("state"),
            usize::from(is_lost && with_state.contains(&channel)),
            "{channel}: {words:?}"
        );
        let all: &[&str] = if is_lost { &["after", "last"] } else { &["after", "before", "last"] };
        let keys: Option<Vec<String>> = keys.map(|keys| keys.into_iter().collect());
        assert!(keys.is_none_or(|keys| keys == all), "{channel}: {words:?}");
    }
    assert!((1..16).contains(&lost), "both own some: {lost}");
    end(server);
}
