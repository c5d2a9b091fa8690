//! A shard's end: where it leaves questions, and where it finds answers.
//!
//! ```text
//!   ask ─► Line: each address has a turn ─► as many as may be put at a time ─► the backend's thread ─► answer
//!            └─ when it is full, whoever has the most in it loses its newest: busy ───────────────────►
//! ```
//!
//! Invariant: each question is answered once, and counts as waiting until then; of each hook there are at most
//! [`HOOKS_WAITING_MAX`] of a shard's, which with what their askers keep cost at most [`HOOKS_WAITING_BYTES_MAX`]. Hooks share
//! nothing here: one whose backend is slow fills its own queue.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use async_channel::TrySendError;

use super::thread::Settings;
use crate::{
    auth::{Hook, HookFailure, Ruling, TokenKey},
    limits::{HOOKS_WAITING_BYTES_MAX, HOOKS_WAITING_MAX},
    model::{Fair, Held, ShardId},
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
    lines: [Line; Hook::ALL.len()],
    /// What has been refused for others to have a place.
    refused: VecDeque<Answer>,
}

/// Where questions go, by [`Hook`] number.
pub(super) type JobSenders = [async_channel::Sender<Job>; Hook::ALL.len()];

/// What waits for one hook.
#[derive(Debug, Default)]
struct Line {
    /// Questions for which it is too early, by address.
    queue: Fair<Option<IpAddr>, Job>,
    /// Those that have been passed on, no more than may be put at a time.
    passed: Held,
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
        let (lines, refused) = Default::default();
        Self { shard, settings, jobs, answers, fetched, wanted, asked: 0, lines, refused }
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

    /// Leaves a question whose asker comes from this address and keeps so many bytes meanwhile; its number.
    pub fn ask(&mut self, hook: Hook, of: Option<IpAddr>, body: Vec<u8>, kept_bytes: usize) -> u64 {
        let (number, bytes) = (self.asked, body.len() + kept_bytes + QUESTION_BYTES);
        self.asked += 1;
        let deadline = Instant::now() + Duration::from_millis(self.settings.timeout_ms.into());
        let job = Job { shard: self.shard, number, hook, body, bytes, deadline };
        let Line { queue, passed } = &mut self.lines[hook as usize];
        let max = Held {
            count: HOOKS_WAITING_MAX.saturating_sub(passed.count),
            bytes: HOOKS_WAITING_BYTES_MAX.saturating_sub(passed.bytes),
        };
        for job in queue.push_within(of, job, bytes, max) {
            self.refused.push_back(job.refused(HookFailure::Busy));
        }
        self.pass_on(hook);
        number
    }

    /// The next answer, if there is one.
    pub fn next_answer(&mut self) -> Option<Answer> {
        if let Some(refused) = self.refused.pop_front() {
            return Some(refused);
        }
        if self.waiting() == 0 {
            return None;
        }
        let answer = self.answers.try_recv().ok()?;
        let passed = &mut self.lines[answer.hook as usize].passed;
        *passed = Held { count: passed.count - 1, bytes: passed.bytes - answer.bytes };
        self.pass_on(answer.hook);
        Some(answer)
    }

    /// How many questions wait.
    pub fn waiting(&self) -> usize {
        self.lines.iter().map(|line| line.passed.count + line.queue.held().count).sum()
    }

    /// Passes questions on, as many as may be put at a time. Those behind stay here, where each address has a turn.
    fn pass_on(&mut self, hook: Hook) {
        let Line { queue, passed } = &mut self.lines[hook as usize];
        while passed.count < usize::from(self.settings.in_flight_max)
            && let Some(job) = queue.pop()
        {
            let bytes = job.bytes;
            match self.jobs[hook as usize].try_send(job) {
                Ok(()) => *passed = Held { count: passed.count + 1, bytes: passed.bytes + bytes },
                Err(TrySendError::Full(job)) => self.refused.push_back(job.refused(HookFailure::Busy)),
                // The thread is gone only if it has panicked.
                Err(TrySendError::Closed(job)) => {
                    self.refused.push_back(job.refused(HookFailure::Unreachable));
                }
            }
        }
    }
}

impl Job {
    /// The answer to a question that is not put.
    fn refused(self, failure: HookFailure) -> Answer {
        let Self { number, hook, bytes, .. } = self;
        Answer { number, ruling: Ruling::Failed(failure), hook, bytes }
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

/// What a backend's thread tells a shard by, with a bell that nobody hears.
#[cfg(test)]
pub(crate) struct Telling {
    questions: async_channel::Receiver<Job>,
    outlet: Outlet,
}

#[cfg(test)]
impl Desk {
    /// A desk without a thread, from which two questions at a time may be put, and what it is told by.
    pub(crate) fn without_thread() -> (Self, Telling) {
        let settings = Settings { in_flight_max: 2, timeout_ms: 1_000, ..Settings::default() };
        let (jobs, questions) = async_channel::unbounded();
        let jobs = [jobs.clone(), jobs.clone(), jobs];
        let ((answers, told), (fetched, keys)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let outlet = Outlet { answers, fetched, doorbell: Doorbell::new().expect("eventfd") };
        let inbox = Inbox { answers: told, fetched: keys };
        let desk = Self::new(ShardId(0), Arc::new(settings), jobs, Arc::new([]), inbox);
        (desk, Telling { questions, outlet })
    }
}

#[cfg(test)]
impl Telling {
    /// Answers what has been passed on, each too late: the numbers.
    pub(crate) fn answer(&self) -> Vec<u64> {
        let jobs = std::iter::from_fn(|| self.questions.try_recv().ok());
        let answer = |job: Job| {
            let number = job.number;
            self.outlet.tell(job.refused(HookFailure::Timeout));
            number
        };
        jobs.map(answer).collect()
    }

    /// Tells that an issuer has no keys any more.
    pub(crate) fn tell_no_keys(&self) {
        let (issuer, url) = ("https://issuer.example".into(), "https://issuer.example/keys".into());
        self.outlet.tell_keys(FetchedKeys { issuer, url, keys: Arc::new([]) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts what has been passed on: the numbers.
    fn put(desk: &mut Desk, telling: &Telling) -> Vec<u64> {
        let numbers = telling.answer();
        while desk.next_answer().is_some() {}
        numbers
    }

    #[test]
    fn an_address_that_asks_much_keeps_no_other_waiting() {
        let (mut desk, telling) = Desk::without_thread();
        let [storm, one] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        let ask = |desk: &mut Desk, of| desk.ask(Hook::Connect, of, Vec::new(), 0);
        let asked: Vec<_> = (0..10).map(|_| ask(&mut desk, storm)).collect();
        let own = ask(&mut desk, one);
        assert_eq!(put(&mut desk, &telling), asked[..2], "no more than may be put at a time");
        assert!(put(&mut desk, &telling).contains(&own));
        let rest: Vec<_> = (0..9).flat_map(|_| put(&mut desk, &telling)).collect();
        assert_eq!((rest, desk.waiting()), (asked[3..].to_vec(), 0));
    }

    #[test]
    fn when_as_many_wait_as_may_the_newest_of_who_asks_the_most_is_refused() {
        let (mut desk, _telling) = Desk::without_thread();
        let [storm, one] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        for _ in 0..HOOKS_WAITING_MAX {
            desk.ask(Hook::Publish, storm, Vec::new(), 0);
        }
        let refused = |desk: &mut Desk| desk.next_answer().map(|answer| (answer.number, answer.ruling));
        assert_eq!(refused(&mut desk), None);
        let busy = |number: usize| Some((number as u64, Ruling::Failed(HookFailure::Busy)));
        desk.ask(Hook::Publish, one, Vec::new(), 0);
        assert_eq!(refused(&mut desk), busy(HOOKS_WAITING_MAX - 1));
        desk.ask(Hook::Publish, storm, Vec::new(), 0);
        assert_eq!(refused(&mut desk), busy(HOOKS_WAITING_MAX + 1), "it is its own");
        // One address asks about much, and another about many things.
        desk.ask(Hook::Publish, one, Vec::new(), HOOKS_WAITING_BYTES_MAX / 2);
        let large = HOOKS_WAITING_MAX + 2;
        assert_eq!(refused(&mut desk), busy(large), "it would have the most");
        desk.ask(Hook::Connect, one, Vec::new(), HOOKS_WAITING_BYTES_MAX);
        assert_eq!(refused(&mut desk), busy(large + 1), "nor is there a place for what is too large");
        assert_eq!(desk.waiting(), HOOKS_WAITING_MAX);
    }
}
