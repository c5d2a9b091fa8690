//! A shard's end: where it leaves questions, and where it finds answers.
//!
//! Invariant: each question that was taken is answered once, and counts as waiting until then; of each hook there are at
//! most [`HOOKS_WAITING_MAX`] of a shard's, which with what their askers keep cost at most [`HOOKS_WAITING_BYTES_MAX`].
//! Hooks share nothing here: one whose backend is slow fills its own queue.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use super::thread::Settings;
use crate::{
    auth::{Hook, HookFailure, Ruling, TokenKey},
    limits::{HOOKS_WAITING_BYTES_MAX, HOOKS_WAITING_MAX},
    model::ShardId,
    ring::Doorbell,
};

/// A shard's end.
#[derive(Debug)]
pub struct Desk {
    shard: ShardId,
    settings: Arc<Settings>,
    /// By [`Hook`] number.
    jobs: JobSenders,
    answers: Receiver<Answer>,
    fetched: Receiver<FetchedKeys>,
    /// Asks for the keys of each set to be fetched again.
    wanted: Arc<[async_channel::Sender<()>]>,
    /// How many questions have been asked in all: their numbers.
    asked: u64,
    /// By [`Hook`] number.
    waiting: [Waiting; Hook::ALL.len()],
}

/// Where questions go, by [`Hook`] number.
pub(super) type JobSenders = [async_channel::Sender<Job>; Hook::ALL.len()];

/// What waits for one hook.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    count: usize,
    bytes: usize,
}

/// The other end.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    /// At most as many as the desk lets wait.
    pub(super) answers: Sender<Answer>,
    /// One an hour, and one in the time between fetches.
    pub(super) fetched: Sender<FetchedKeys>,
    pub(super) doorbell: Doorbell,
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) shard: ShardId,
    pub(super) number: u64,
    pub(super) hook: Hook,
    pub(super) body: Vec<u8>,
    /// What it costs while it waits.
    pub(super) bytes: usize,
    /// When nobody waits any more.
    pub(super) deadline: Instant,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Of the question.
    pub number: u64,
    /// What has been said.
    pub ruling: Ruling,
    /// By whom.
    pub(super) hook: Hook,
    /// What the question cost while it waited.
    pub(super) bytes: usize,
}

/// The keys of an issuer, as they are now.
#[derive(Debug)]
pub struct FetchedKeys {
    /// Whose.
    pub issuer: Box<str>,
    /// Where they are.
    pub url: Box<str>,
    /// All of them.
    pub keys: Arc<[TokenKey]>,
}

/// What is sent to a desk.
pub(super) struct Inbox {
    pub(super) answers: Receiver<Answer>,
    pub(super) fetched: Receiver<FetchedKeys>,
}

impl Desk {
    pub(super) fn new(
        shard: ShardId,
        settings: Arc<Settings>,
        jobs: JobSenders,
        wanted: Arc<[async_channel::Sender<()>]>,
        inbox: Inbox,
    ) -> Self {
        let Inbox { answers, fetched } = inbox;
        Self { shard, settings, jobs, answers, fetched, wanted, asked: 0, waiting: Default::default() }
    }

    /// Keys that have been fetched, if there are any.
    pub fn next_keys(&self) -> Option<FetchedKeys> {
        self.fetched.try_recv().ok()
    }

    /// Has the keys at an address fetched again, when it is time.
    pub fn want_keys(&self, url: &str) {
        let sets = self.settings.key_sets.iter().zip(&*self.wanted);
        for (_, wanted) in sets.filter(|(set, _)| *set.url == *url) {
            // Full is wanted already.
            wanted.try_send(()).ok();
        }
    }

    /// How long it is between fetches for tokens that name unknown keys, in milliseconds.
    pub fn refetch_ms(&self) -> u64 {
        u64::from(self.settings.refetch_s) * 1000
    }

    /// Whether somebody decides on this.
    pub fn has(&self, hook: Hook) -> bool {
        self.settings.hooks.get(hook).is_some()
    }

    /// The header fields of clients that a backend is told.
    pub fn fields(&self) -> Arc<[Box<str>]> {
        Arc::clone(&self.settings.fields)
    }

    /// How long an answer may take.
    pub fn timeout_ms(&self) -> u64 {
        self.settings.timeout_ms.into()
    }

    /// Leaves a question whose asker keeps so many bytes meanwhile; its number.
    pub fn ask(&mut self, hook: Hook, body: Vec<u8>, kept_bytes: usize) -> Result<u64, HookFailure> {
        let bytes = body.len() + kept_bytes + QUESTION_BYTES;
        let waiting = &mut self.waiting[hook as usize];
        if waiting.count >= HOOKS_WAITING_MAX || waiting.bytes + bytes > HOOKS_WAITING_BYTES_MAX {
            return Err(HookFailure::Busy);
        }
        let deadline = Instant::now() + Duration::from_millis(self.settings.timeout_ms.into());
        let job = Job { shard: self.shard, number: self.asked, hook, body, bytes, deadline };
        // The thread is gone only if it has panicked.
        self.jobs[hook as usize].try_send(job).map_err(|error| match error.is_full() {
            true => HookFailure::Busy,
            false => HookFailure::Unreachable,
        })?;
        self.asked += 1;
        *waiting = Waiting { count: waiting.count + 1, bytes: waiting.bytes + bytes };
        Ok(self.asked - 1)
    }

    /// The next answer, if there is one.
    pub fn next_answer(&mut self) -> Option<Answer> {
        if self.waiting() == 0 {
            return None;
        }
        let answer = self.answers.try_recv().ok()?;
        let waiting = &mut self.waiting[answer.hook as usize];
        *waiting = Waiting { count: waiting.count - 1, bytes: waiting.bytes - answer.bytes };
        Some(answer)
    }

    /// How many questions wait.
    pub fn waiting(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.count).sum()
    }
}

/// What a question costs beside its text and what its asker keeps: its places in tables and queues, here and on the
/// backend's thread.
const QUESTION_BYTES: usize = 512;

impl Outlet {
    /// Tells a shard of keys.
    pub(super) fn tell_keys(&self, keys: FetchedKeys) {
        if self.fetched.send(keys).is_ok() {
            self.doorbell.ring();
        }
    }

    /// Tells a shard. One that has ended does not hear it.
    pub(super) fn tell(&self, answer: Answer) {
        if self.answers.send(answer).is_ok() {
            self.doorbell.ring();
        }
    }
}
