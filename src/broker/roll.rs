//! The roll of the nodes that a broker joins: each says every few seconds that it is there, and one that has said nothing for some
//! time is struck off by another, whose backend is told that it is lost.
//!
//! ```text
//!   every 2 s     ZADD roll now me ─► who has said nothing for 10 s ─ZREM─► lost: told once, by whoever struck it off
//!                 HSET where me … ─► where all nodes are that say so
//!   in the end    ZREM roll me, HDEL where me
//! ```
//!
//! One script does it, so that each is struck off by one. A node that has not been there itself for as long judges nobody: when the
//! broker was away for all of them, all have time to come back to it.
//!
//! It has a connection of its own, to the first of several brokers.

use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future::or};
use tracing::warn;

use super::{address::Address, fault::Fault, frame::Names, passing::Whereabouts, script};
use crate::{
    backend::{Connector, Stream, Target},
    limits::{BROKER_REPLY_BYTES_MAX, BROKER_RETRY_MS, BROKER_SILENCE_MS, ROLL_EACH_MS, ROLL_LOST_MS},
    model::NodeId,
    ring::Doorbell,
    wire::resp::{Decoder, Step, Value, encode_command},
};

/// A node on the roll.
pub(super) struct Roll {
    pub(super) address: Address,
    pub(super) names: Names,
    /// What it is called.
    pub(super) node: Box<str>,
    /// What stands in its ids, and where it is reached; empty where it does not say.
    pub(super) id: NodeId,
    pub(super) url: Box<str>,
    /// Who is told which other has been lost, and by which bell it hears.
    pub(super) lost: Sender<Box<str>>,
    pub(super) bell: Doorbell,
    /// Something comes, or nobody is there any more, when it is to leave.
    pub(super) leaves: Receiver<()>,
}

/// How long a node has been there without a break.
#[derive(Default)]
struct Presence {
    since_ms: u64,
    last_ms: Option<u64>,
}

impl Presence {
    /// It is there now; tells whether it has been for as long as others may say nothing.
    fn note(&mut self, now_ms: u64) -> bool {
        if self.last_ms.is_none_or(|last_ms| now_ms - last_ms > 2 * ROLL_EACH_MS) {
            self.since_ms = now_ms;
        }
        self.last_ms = Some(now_ms);
        now_ms - self.since_ms >= ROLL_LOST_MS
    }
}

impl Roll {
    /// Is on the roll until it leaves, and notes where all nodes are.
    pub(super) async fn keep(self, connector: &Connector, places: &Whereabouts) {
        let (mut presence, started, mut is_well) = (Presence::default(), Instant::now(), true);
        while let Err(fault) = self.speak(connector, places, &mut presence, started).await {
            // Of all else the links tell.
            if let Fault::Refused(told) = fault
                && std::mem::replace(&mut is_well, false)
            {
                warn!(broker = %self.address, "this node is not on the roll of nodes, so that nobody is told when it is lost: {told}");
            }
            let (_, most_ms) = BROKER_RETRY_MS;
            if self.has_left_after(fastrand::u64(most_ms / 8..=most_ms / 4)).await {
                return;
            }
        }
    }

    async fn speak(
        &self,
        connector: &Connector,
        places: &Whereabouts,
        presence: &mut Presence,
        started: Instant,
    ) -> Result<(), Fault> {
        let mut line = Line::open(connector, &self.address, &self.node).await?;
        let (key, whereabouts, lost_ms) =
            (self.names.roll(), self.names.whereabouts(), ROLL_LOST_MS.to_string());
        let place = if self.url.is_empty() { String::new() } else { format!("{} {}", self.id, self.url) };
        loop {
            let may_judge = presence.note(started.elapsed().as_millis() as u64);
            let patience = if may_judge { lost_ms.as_bytes() } else { b"0" };
            let words: [&[u8]; 8] = [
                b"EVAL",
                script::ROLL.as_bytes(),
                b"2",
                key.as_bytes(),
                whereabouts.as_bytes(),
                self.node.as_bytes(),
                patience,
                place.as_bytes(),
            ];
            let [lost, told] = line.ask(&words, lists_of).await?;
            note_places(places, &told);
            for node in lost {
                warn!(%node, "another node is lost: it has ended without a word, or has no way to the broker");
                // Whoever is told is gone only with the process.
                self.lost.send(node).await.ok();
                self.bell.ring();
            }
            if self.has_left_after(ROLL_EACH_MS).await {
                for (command, key) in [(&b"HDEL"[..], &whereabouts), (b"ZREM", &key)] {
                    line.ask(&[command, key.as_bytes(), self.node.as_bytes()], |_| ()).await?;
                }
                return Ok(());
            }
        }
    }

    /// Waits; whether it is to leave by then.
    async fn has_left_after(&self, wait_ms: u64) -> bool {
        let wait = async {
            Timer::after(Duration::from_millis(wait_ms)).await;
            false
        };
        let left = async {
            self.leaves.recv().await.ok();
            true
        };
        or(left, wait).await
    }
}

fn note_places(places: &Whereabouts, told: &[Box<str>]) {
    let places_told = told.iter().filter_map(|place| place_of(place));
    let places_told = places_told.map(|(node, target)| (node, target.origin().clone()));
    places.replace(places_told.collect());
}

/// A node, and where it is.
fn place_of(place: &str) -> Option<(NodeId, Target)> {
    let (node, url) = place.split_once(' ')?;
    Some((NodeId(u16::from_str_radix(node, 16).ok()?), Target::parse(url).ok()?))
}

/// Two lists of names.
fn lists_of(value: Value<'_>) -> [Vec<Box<str>>; 2] {
    let mut lists = value.list().into_iter().flatten();
    [(); 2].map(|()| lists.next().map(names_of).unwrap_or_default())
}

/// The names in a list.
fn names_of(value: Value<'_>) -> Vec<Box<str>> {
    let names = value.list().into_iter().flatten().filter_map(Value::text);
    names.map(|name| String::from_utf8_lossy(name).into()).collect()
}

/// A connection on which one thing is asked after the other.
struct Line {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
}

impl Line {
    async fn open(connector: &Connector, address: &Address, node: &str) -> Result<Self, Fault> {
        let stream = async { connector.connect(&address.origin).await.map_err(Fault::Connect) };
        let mut line = Self { stream: in_time(stream).await?, input: Vec::new() };
        line.ask(&address.hello(&format!("roadstead-{node}")), |_| ()).await?;
        Ok(line)
    }

    /// Asks something; what `read` makes of the answer.
    async fn ask<T>(&mut self, words: &[&[u8]], read: impl FnOnce(Value<'_>) -> T) -> Result<T, Fault> {
        let mut command = Vec::new();
        encode_command(&mut command, words);
        in_time(async {
            let written = async {
                self.stream.write_all(&command).await?;
                self.stream.flush().await
            };
            written.await.map_err(|error| Fault::Closed(Some(error)))?;
            let (mut decoder, mut bytes) = (Decoder::default(), [0; 4096]);
            loop {
                match decoder.decode(&self.input, BROKER_REPLY_BYTES_MAX).map_err(Fault::Protocol)? {
                    Step::Reply { value: Value::Error(error), .. } => {
                        return Err(Fault::Refused(String::from_utf8_lossy(error).into()));
                    }
                    Step::Reply { value, consumed } => {
                        let answer = read(value);
                        self.input.drain(..consumed);
                        return Ok(answer);
                    }
                    Step::NeedMore => {}
                }
                match self.stream.read(&mut bytes).await {
                    Ok(0) => return Err(Fault::Closed(None)),
                    Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                    Err(error) => return Err(Fault::Closed(Some(error))),
                }
            }
        })
        .await
    }
}

/// What comes of something, unless it takes too long.
async fn in_time<T>(what: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let over = async {
        Timer::after(Duration::from_millis(BROKER_SILENCE_MS)).await;
        Err(Fault::Silent)
    };
    or(what, over).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_from_the_broker_judges_nobody_until_all_have_had_time_to_come_back() {
        let mut presence = Presence::default();
        let mut steady = |from_ms: u64, to_ms: u64| {
            let beats = (from_ms..to_ms).step_by(ROLL_EACH_MS as usize);
            beats.map(|now_ms| presence.note(now_ms)).collect::<Vec<_>>()
        };
        let first = steady(0, ROLL_LOST_MS);
        assert!(first.iter().all(|judges| !judges), "it has just come: {first:?}");
        assert_eq!(steady(ROLL_LOST_MS, ROLL_LOST_MS + 1), [true]);
        let back_ms = ROLL_LOST_MS + 2 * ROLL_EACH_MS + 1;
        assert!(steady(back_ms, back_ms + ROLL_LOST_MS).iter().all(|judges| !judges), "it was away");
        assert_eq!(steady(back_ms + ROLL_LOST_MS, back_ms + ROLL_LOST_MS + 1), [true]);
    }

    #[test]
    fn where_a_node_is_is_read_and_garbage_is_nowhere() {
        let (node, target) = place_of("0a1f http://127.0.0.1:8080").expect("a place");
        assert_eq!(
            (node, target),
            (NodeId(0xa1f), Target::parse("http://127.0.0.1:8080").expect("an address"))
        );
        for garbage in ["", "0a1f", "0a1f ", "x http://127.0.0.1:8080", "10a1f http://a/", "0a1f redis://a"] {
            assert!(place_of(garbage).is_none(), "{garbage}");
        }
    }

    #[test]
    fn names_are_read_from_a_list_and_anything_else_names_nobody() {
        let mut decoder = Decoder::default();
        for (said, names) in [
            (&b"*2\r\n$1\r\na\r\n$2\r\nbc\r\n"[..], vec!["a", "bc"]),
            (b"*0\r\n", vec![]),
            (b"_\r\n", vec![]),
        ] {
            let Ok(Step::Reply { value, .. }) = decoder.decode(said, 1_000) else { panic!("{said:?}") };
            assert_eq!(names_of(value).iter().map(|name| &**name).collect::<Vec<_>>(), names);
        }
    }
}
