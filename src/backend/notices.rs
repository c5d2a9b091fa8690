//! Notices to a backend: what has happened on each shard, in its order, in signed batches, at least once.
//!
//! ```text
//!   shard 0 ─ Notices ─► queue, bounded ─► batch ─► POST ─┬─ 2xx ─► the next batch
//!                          │ full: the oldest goes        ├─ 410 ─► never again, until a restart
//!                          │                              └─ else ─► the same again, after a pause that grows
//!   shard 1 ─ Notices ─► queue …
//! ```
//!
//! Each notice has a number, one more than the one before it of the same shard of the same process. A receiver that keeps the
//! last number knows what it has seen twice, and how much it has missed; a batch says how many were dropped before it.
//!
//! Invariant: a shard does nothing here but put a notice into its queue, and one batch of a shard is under way at a time.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_channel::{Receiver, Sender, bounded};
use async_io::Timer;
use tracing::{error, info, warn};

use super::{
    client::{Call, Client},
    signature::{self, SigningKey},
    target::Target,
};
use crate::{
    limits::{
        NOTICE_ANSWER_BYTES_MAX, NOTICE_BATCH_BYTES_MAX, NOTICE_PAUSE_MAX_MS, NOTICE_PAUSE_MS,
        NOTICE_STEP_MS, TICK_MS,
    },
    model::{Notice, NoticeKind, NoticeKinds, ShardId, StateKey, Visitor},
    wire::{http1::Received, json::push_string},
};

/// What the operator has said of notices.
#[derive(Clone, Debug)]
pub struct NoticeSettings {
    /// Who is told.
    pub target: Target,
    /// What batches are signed with.
    pub keys: Vec<SigningKey>,
    /// Of what.
    pub kinds: NoticeKinds,
    /// Notices of one batch.
    pub batch_max: u32,
    /// How long a notice waits for others, in milliseconds.
    pub delay_ms: u32,
    /// Notices of one shard that wait.
    pub queue_max: u32,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u32,
    /// How long a channel is vacant before that is told, in milliseconds.
    pub vacated_after_ms: u32,
    /// How long what waits is still told when the shards have ended, in milliseconds.
    pub drain_ms: u64,
}

/// A shard's end.
#[derive(Debug)]
pub struct Notices {
    settings: Arc<NoticeSettings>,
    instance: Arc<str>,
    queue: Sender<Numbered>,
    counts: Arc<NoticeCounts>,
    /// How many there have been.
    number: u64,
}

/// What has become of the notices of a shard.
#[derive(Debug, Default)]
pub struct NoticeCounts {
    delivered: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

/// The other end.
pub(super) struct Pipeline {
    pub(super) settings: Arc<NoticeSettings>,
    /// The process's name, which no other has.
    pub(super) instance: Arc<str>,
    pub(super) shard: ShardId,
    pub(super) queue: Receiver<Numbered>,
    pub(super) counts: Arc<NoticeCounts>,
}

/// A notice in its place.
#[derive(Debug)]
pub(super) struct Numbered {
    number: u64,
    unix_ms: u64,
    notice: Notice,
}

/// Both ends, for each of so many shards.
pub(super) fn open(
    settings: &Arc<NoticeSettings>,
    instance: &Arc<str>,
    shards: impl Iterator<Item = ShardId>,
) -> (Vec<Notices>, Vec<Pipeline>) {
    let open = |shard| {
        let (sender, queue) = bounded(settings.queue_max as usize);
        let counts = Arc::<NoticeCounts>::default();
        let (settings, instance) = (Arc::clone(settings), Arc::clone(instance));
        let notices = Notices {
            settings: Arc::clone(&settings),
            instance: Arc::clone(&instance),
            queue: sender,
            counts: Arc::clone(&counts),
            number: 0,
        };
        (notices, Pipeline { settings, instance, shard, queue, counts })
    };
    shards.map(open).unzip()
}

impl Notices {
    /// The process's name, which no other has.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether the backend is told of this kind.
    pub fn wants(&self, kind: NoticeKind) -> bool {
        self.settings.kinds.has(kind)
    }

    /// Which kinds it is told of.
    pub fn kinds(&self) -> NoticeKinds {
        self.settings.kinds
    }

    /// How long a channel is vacant before that is told, in milliseconds.
    pub fn vacated_after_ms(&self) -> u64 {
        self.settings.vacated_after_ms.into()
    }

    /// Leaves a notice. When too many wait, the oldest goes.
    pub fn push(&mut self, notice: Notice, unix_ms: u64) {
        if !self.wants(notice.kind()) {
            return;
        }
        self.number += 1;
        // The thread is gone only if it has panicked.
        if !matches!(self.queue.force_send(Numbered { number: self.number, unix_ms, notice }), Ok(None)) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many have been delivered and dropped, and how many calls have failed.
    pub fn counted(&self) -> [u64; 3] {
        let NoticeCounts { delivered, dropped, failures } = &*self.counts;
        [delivered, dropped, failures].map(|count| count.load(Ordering::Relaxed))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

/// A batch under way.
struct Batch {
    body: Vec<u8>,
    count: u32,
    dropped: u64,
}

/// What has become of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    Taken,
    /// The backend wants no notices.
    Unwanted,
    /// There is no time left.
    Ended,
}

/// Why a call was not taken.
struct Untaken {
    status: Option<u16>,
    why: String,
    /// How long the backend would rather not be called, in milliseconds.
    after_ms: u64,
}

/// The status of who is not to be called again.
const GONE: u16 = 410;

impl Pipeline {
    /// Tells of everything, until the shard has ended and all is told, or no time is left for that.
    pub(super) async fn run(self, client: Rc<Client>) {
        let (mut told_dropped, gives_up) = (0, Cell::new(None));
        while let Ok(first) = self.queue.recv().await {
            self.gather().await;
            let dropped = self.counts.dropped.load(Ordering::Relaxed) - told_dropped;
            let batch = self.batch(first, dropped);
            match self.deliver(&client, &batch, &gives_up).await {
                Delivered::Taken => {}
                Delivered::Unwanted => return self.end(&batch),
                Delivered::Ended => return,
            }
            told_dropped += batch.dropped;
            self.counts.delivered.fetch_add(batch.count.into(), Ordering::Relaxed);
        }
    }

    /// Waits for others to go with the first, in steps: a shard that adds one wakes nobody.
    async fn gather(&self) {
        let NoticeSettings { delay_ms, batch_max, .. } = *self.settings;
        let until = Instant::now() + Duration::from_millis(delay_ms.into());
        // The shard may end meanwhile, and then there is little time.
        let step = Duration::from_millis((u64::from(delay_ms) / 8).clamp(TICK_MS, NOTICE_STEP_MS));
        while self.queue.len() + 1 < batch_max as usize && !self.queue.is_closed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            Timer::after(left.min(step)).await;
        }
    }

    fn batch(&self, first: Numbered, dropped: u64) -> Batch {
        let (instance, shard) = (&self.instance, self.shard.0);
        let head =
            format!("{{\"instance\":\"{instance}\",\"shard\":{shard},\"dropped\":{dropped},\"events\":[");
        let (mut body, mut count) = (head.into_bytes(), 0);
        let mut next = Some(first);
        while let Some(one) = next {
            if count > 0 {
                body.push(b',');
            }
            one.encode(&mut body);
            count += 1;
            let has_room = count < self.settings.batch_max && body.len() < NOTICE_BATCH_BYTES_MAX;
            next = if has_room { self.queue.try_recv().ok() } else { None };
        }
        body.extend_from_slice(b"]}");
        Batch { body, count, dropped }
    }

    /// Nobody is told anything from now on.
    fn end(&self, batch: &Batch) {
        error!(
            shard = self.shard.0,
            "notices.url answers 410 Gone: nothing is told from now on; when it wants notices again, restart the server"
        );
        self.queue.close();
        let lost = u64::from(batch.count) + std::iter::from_fn(|| self.queue.try_recv().ok()).count() as u64;
        self.counts.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    /// Calls until the backend has taken a batch, does not want any, or there is no time left.
    async fn deliver(&self, client: &Client, batch: &Batch, gives_up: &Cell<Option<Instant>>) -> Delivered {
        let Ok(id) = signature::draw_id() else { return Delivered::Ended };
        let (mut pause_ms, mut is_well) = (NOTICE_PAUSE_MS, true);
        loop {
            let Err(Untaken { status, why, after_ms }) = self.call(client, &id, &batch.body).await else {
                break;
            };
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            if status == Some(GONE) {
                return Delivered::Unwanted;
            }
            if std::mem::take(&mut is_well) {
                warn!(shard = self.shard.0, "notices.url does not take notices, and is told again: {why}");
            }
            // So that many servers do not come all at once to a backend that has just come back.
            let drawn_ms = fastrand::u64(pause_ms / 2..=pause_ms).max(after_ms.min(NOTICE_PAUSE_MAX_MS));
            let pause_until = Instant::now() + Duration::from_millis(drawn_ms);
            pause_ms = (2 * pause_ms).min(NOTICE_PAUSE_MAX_MS);
            if !self.pause(pause_until, gives_up).await {
                let waiting = self.queue.len() + batch.count as usize;
                warn!(shard = self.shard.0, waiting, "the server ends before its notices have been taken");
                return Delivered::Ended;
            }
        }
        if !is_well {
            info!(shard = self.shard.0, "notices.url takes notices again");
        }
        Delivered::Taken
    }

    async fn call(&self, client: &Client, id: &str, body: &[u8]) -> Result<(), Untaken> {
        let NoticeSettings { target, keys, timeout_ms, .. } = &*self.settings;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let fields = signature::fields(keys, id, now_s, body);
        let call =
            Call { target, fields: &fields, body: Some(body), answer_bytes_max: NOTICE_ANSWER_BYTES_MAX };
        let deadline = Instant::now() + Duration::from_millis((*timeout_ms).into());
        match client.call(&call, deadline).await {
            Ok(received) if (200..300).contains(&received.status) => Ok(()),
            Ok(Received { status, retry_after, .. }) => {
                let after_s = retry_after.map_or(0, |after| after.seconds(now_s));
                let why = format!("the answer has status {status}");
                Err(Untaken { status: Some(status), why, after_ms: after_s.saturating_mul(1000) })
            }
            Err(error) => Err(Untaken { status: None, why: error.to_string(), after_ms: 0 }),
        }
    }

    /// Waits; whether there is still time. Once the shard has ended, there is little.
    async fn pause(&self, until: Instant, gives_up: &Cell<Option<Instant>>) -> bool {
        loop {
            let now = Instant::now();
            if self.queue.is_closed() {
                let time = Duration::from_millis(self.settings.drain_ms);
                let last = gives_up.get().unwrap_or(now + time);
                gives_up.set(Some(last));
                Timer::after(Duration::from_millis(NOTICE_STEP_MS)).await;
                return now < last;
            }
            if now >= until {
                return true;
            }
            Timer::after((until - now).min(Duration::from_millis(NOTICE_STEP_MS))).await;
        }
    }
}

impl Numbered {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { number, unix_ms, notice } = self;
        let name = match notice {
            Notice::NodeStarted(_) => "node_started",
            Notice::NodeDraining => "node_draining",
            Notice::NodeLost(_) => "node_lost",
            Notice::ShardRestarted(_) => "shard_restarted",
            other => other.kind().name(),
        };
        out.extend_from_slice(format!("{{\"seq\":{number},\"at\":{unix_ms},\"event\":\"{name}\"").as_bytes());
        match notice {
            Notice::Connected(visitor) => push_visitor(out, visitor),
            Notice::Disconnected(visitor, reason) => {
                push_visitor(out, visitor);
                push_text(out, "reason", reason);
            }
            Notice::Occupied(channel) | Notice::Vacated(channel) => {
                push_text(out, "channel", channel.as_str());
            }
            Notice::MemberAdded(channel, member, info) => {
                push_text(out, "channel", channel.as_str());
                push_member(out, member);
                if !info.is_empty() {
                    out.extend_from_slice(b",\"info\":");
                    out.extend_from_slice(info.as_bytes());
                }
            }
            Notice::MemberRemoved(channel, member) => {
                push_text(out, "channel", channel.as_str());
                push_member(out, member);
            }
            Notice::NodeStarted(shards) => {
                out.extend_from_slice(format!(",\"shards\":{shards}").as_bytes());
                push_text(out, "version", env!("CARGO_PKG_VERSION"));
            }
            Notice::NodeDraining => {}
            Notice::NodeLost(node) => push_text(out, "node", node),
            Notice::ShardRestarted(times) => {
                out.extend_from_slice(format!(",\"restarts\":{times}").as_bytes());
            }
        }
        out.push(b'}');
    }
}

fn push_visitor(out: &mut Vec<u8>, visitor: &Visitor) {
    let Visitor { client, transport, namespace, user, address } = visitor;
    push_text(out, "client", client);
    push_text(out, "transport", transport);
    namespace.iter().for_each(|namespace| push_text(out, "namespace", namespace));
    user.iter().for_each(|user| push_text(out, "user", user));
    address.iter().for_each(|address| push_text(out, "address", &address.to_string()));
}

fn push_member(out: &mut Vec<u8>, member: &StateKey) {
    push_text(out, if member.is_user() { "user" } else { "guest" }, member.member());
}

fn push_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(format!(",\"{name}\":").as_bytes());
    push_string(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelName;

    fn settings(batch_max: u32, queue_max: u32) -> Arc<NoticeSettings> {
        Arc::new(NoticeSettings {
            target: Target::parse("http://localhost/").expect("an address"),
            keys: Vec::new(),
            kinds: NoticeKind::ALL.into_iter().filter(|kind| *kind != NoticeKind::Vacated).collect(),
            batch_max,
            delay_ms: 0,
            queue_max,
            timeout_ms: 1,
            vacated_after_ms: 0,
            drain_ms: 1,
        })
    }

    fn pair(batch_max: u32, queue_max: u32) -> (Notices, Pipeline) {
        let (mut notices, mut pipelines) =
            open(&settings(batch_max, queue_max), &"i".into(), [ShardId(3)].into_iter());
        (notices.remove(0), pipelines.remove(0))
    }

    fn json(pipeline: &Pipeline, dropped: u64) -> serde_json::Value {
        let first = pipeline.queue.try_recv().expect("there is one");
        serde_json::from_slice(&pipeline.batch(first, dropped).body).expect("JSON")
    }

    #[test]
    fn a_batch_says_where_it_comes_from_and_numbers_what_it_tells() {
        let (mut notices, pipeline) = pair(2, 10);
        let channel = ChannelName::new("a\"b", 10).expect("a name");
        let visitor = Visitor {
            client: "3.1.1".into(),
            transport: "websocket",
            namespace: None,
            user: Some("42".into()),
            address: Some([127, 0, 0, 1].into()),
        };
        notices.push(Notice::Disconnected(Box::new(visitor), "normal"), 7);
        notices.push(Notice::Vacated(channel.clone()), 8);
        notices.push(Notice::Occupied(channel), 9);
        notices.push(Notice::NodeDraining, 10);
        let told = json(&pipeline, 5);
        let expected = serde_json::json!({
            "instance": "i", "shard": 3, "dropped": 5, "events": [
                {"seq": 1, "at": 7, "event": "disconnected", "client": "3.1.1", "transport": "websocket",
                 "user": "42", "address": "127.0.0.1", "reason": "normal"},
                {"seq": 2, "at": 9, "event": "channel_occupied", "channel": "a\"b"},
            ],
        });
        assert_eq!(told, expected, "what is not wanted has no number, and the rest is the next batch's");
        assert_eq!(json(&pipeline, 0)["events"][0]["event"], "node_draining");
    }

    #[test]
    fn when_too_many_wait_the_oldest_goes_and_is_counted() {
        let (mut notices, pipeline) = pair(100, 4);
        (0..10).for_each(|_| notices.push(Notice::NodeDraining, 1));
        assert_eq!((notices.counted(), notices.waiting()), ([0, 6, 0], 4));
        let told = json(&pipeline, 6);
        let numbers: Vec<_> =
            told["events"].as_array().expect("some").iter().map(|one| &one["seq"]).collect();
        assert_eq!(numbers, [7, 8, 9, 10]);
    }

    #[test]
    fn a_batch_ends_before_it_is_too_large() {
        let (mut notices, pipeline) = pair(10_000, 10_000);
        let channel = ChannelName::new(&"n".repeat(255), 255).expect("a name");
        (0..1_000).for_each(|_| notices.push(Notice::Occupied(channel.clone()), 1));
        let first = pipeline.queue.try_recv().expect("there is one");
        let batch = pipeline.batch(first, 0);
        assert!(batch.body.len() < NOTICE_BATCH_BYTES_MAX + 1_000 && batch.count > 100, "{}", batch.count);
        assert_eq!(pipeline.queue.len() + batch.count as usize, 1_000);
    }
}
