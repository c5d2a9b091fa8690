//! What this process asks the other members of a cluster, and what they have answered.
//!
//! ```text
//!   asked: SUBSCRIBE answers, PUBSUB NUMSUB requests ─► PUBLISH ─► so many answers, or the time is over ─► told
//! ```
//!
//! To an event that clients are to acknowledge a member answers how many clients that are, and besides with what each has
//! acknowledged it.
//!
//! All on one connection, so the number of those who are asked is known before the first answer. Answers are heard only while
//! something is asked, for every member hears the answers to all.

use rustc_hash::FxHashMap;

use super::{
    ClusterNews,
    terms::{Saying, Terms},
};
use crate::{
    broker::wire::{Awaited, Wire},
    limits::{CLUSTER_ANSWERS_BYTES_MAX, CLUSTER_QUESTIONS_MAX},
    model::ShardId,
    wire::redis_adapter::{AdapterError, Answer, Request},
};

/// What has been asked and is not told yet.
#[derive(Debug, Default)]
pub(super) struct Questions {
    waiting: FxHashMap<Box<str>, Question>,
    /// Bytes of what has been answered and is not told yet.
    bytes: usize,
}

/// Who asks, about what, and until when.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) shard: ShardId,
    pub(super) token: u64,
    pub(super) namespace: Box<str>,
    pub(super) until_ms: u64,
}

#[derive(Debug)]
struct Question {
    asker: Asker,
    /// How many are asked, once that is known.
    expected: Option<usize>,
    /// How many members have answered.
    answered: usize,
    /// How many of these with more than there is room for.
    lost: usize,
    /// How many acknowledgements of clients are still to come.
    owed: i64,
    answers: Vec<Answer>,
    /// Bytes of these.
    bytes: usize,
}

impl Questions {
    /// Asks; gives what is to be published, and where. With too many waiting one of those is given up. What cannot be said is
    /// not asked.
    pub(super) fn ask(
        &mut self,
        now_ms: u64,
        terms: &Terms,
        wire: &mut Wire,
        asker: Asker,
        request: Request,
    ) -> Result<Saying, AdapterError> {
        let id: Box<str> = (0..10).map(|_| fastrand::alphanumeric()).collect::<String>().into();
        let said = terms.request(&asker.namespace, Some(&id), request)?;
        if self.waiting.len() >= CLUSTER_QUESTIONS_MAX
            && let Some(oldest) = self.waiting.values_mut().min_by_key(|question| question.asker.until_ms)
        {
            oldest.asker.until_ms = 0;
        }
        let is_sharded = terms.is_sharded(&asker.namespace);
        // Over sharded pub/sub each member is answered where it always hears.
        if !is_sharded && !self.is_heard(&asker.namespace) {
            wire.say(&[b"SUBSCRIBE", terms.names.answers(&asker.namespace).as_bytes()]);
        }
        let count: &[u8] = if is_sharded { b"SHARDNUMSUB" } else { b"NUMSUB" };
        let words = [&b"PUBSUB"[..], count, said.channel.as_bytes()];
        wire.ask(now_ms, &words, Awaited::Members(id.clone()));
        self.waiting.insert(id, Question::new(asker));
        Ok(said)
    }

    /// Whether nothing is waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// So many hear a question, this member among them.
    pub(super) fn counted(&mut self, id: &str, count: i64) {
        if let Some(question) = self.waiting.get_mut(id) {
            question.expected = Some(usize::try_from(count - 1).unwrap_or_default());
        }
    }

    /// Somebody has answered something, perhaps to somebody else.
    pub(super) fn handle_answer(&mut self, id: &str, answer: Answer, bytes: usize) {
        let Some(question) = self.waiting.get_mut(id) else { return };
        let has_room = self.bytes + bytes <= CLUSTER_ANSWERS_BYTES_MAX;
        match &answer {
            Answer::Acknowledged(_) => question.owed -= 1,
            Answer::Asked(count) => {
                question.answered += 1;
                question.owed += i64::from(*count);
            }
            _ => {
                question.answered += 1;
                question.lost += usize::from(!has_room);
            }
        }
        if has_room || matches!(answer, Answer::Asked(_)) {
            self.bytes += bytes;
            question.bytes += bytes;
            question.answers.push(answer);
        }
    }

    /// Tells of questions that all have answered, or whose time is over by now.
    pub(super) fn finish(
        &mut self,
        now_ms: u64,
        terms: &Terms,
        wire: &mut Wire,
        mut tell: impl FnMut(ShardId, ClusterNews),
    ) {
        let is_done = |question: &Question| question.is_answered() || question.asker.until_ms <= now_ms;
        let done: Vec<_> = self.waiting.extract_if(|_, question| is_done(question)).collect();
        for (_, question) in done {
            self.bytes -= question.bytes;
            let missing = question.missing();
            let Question { asker: Asker { shard, token, namespace, .. }, answers, .. } = question;
            tell(shard, ClusterNews::Answered { token, answers, missing });
            if !terms.is_sharded(&namespace) && !self.is_heard(&namespace) {
                wire.say(&[b"UNSUBSCRIBE", terms.names.answers(&namespace).as_bytes()]);
            }
        }
    }

    /// Whether answers about a namespace are heard.
    fn is_heard(&self, namespace: &str) -> bool {
        self.waiting.values().any(|question| *question.asker.namespace == *namespace)
    }
}

impl Question {
    fn new(asker: Asker) -> Self {
        Self { asker, expected: None, answered: 0, lost: 0, owed: 0, answers: Vec::new(), bytes: 0 }
    }

    fn is_answered(&self) -> bool {
        self.expected.is_some_and(|expected| self.answered >= expected) && self.owed <= 0
    }

    /// How many members have not answered; at least one, where nobody knows.
    fn missing(&self) -> u32 {
        let expected = self.expected.unwrap_or(self.answered + 1);
        (expected.saturating_sub(self.answered) + self.lost) as u32
    }
}
