//! What is asked of other shards, and their answers.

use std::{cell::RefCell, fmt, ops::Deref, rc::Rc, time::Instant};

use rustc_hash::FxHashMap;

use super::{Order, core::Core, deadlines::Deadline, later::Awaiting};
use crate::{
    limits::QUESTIONS_AWAITED_MAX,
    mesh::{SocketsAnswer, SocketsRequest},
    model::ShardId,
};

/// What shards answered, and other members of a Socket.IO cluster where these were asked, too. Those that did not answer in time
/// are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers<T> {
    /// The answers.
    pub list: Vec<T>,
    /// How many shards did not answer.
    pub missing: u16,
    /// How many other members of a cluster did not answer; at least one where the cluster's Redis is away.
    pub missing_members: u32,
}

/// The questions of a shard that are not answered yet.
#[derive(Debug)]
pub(super) struct Questions {
    waiting: RefCell<FxHashMap<u64, Question>>,
    /// The upper half of every token. A shard that failed begins to count anew, and what it asked before may be answered
    /// late: that answer must not be one to another question.
    life: u64,
}

/// Whom a question is put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Everybody,
    Others,
    /// Everybody, but only this shard can know.
    One(ShardId),
}

pub(super) type Replies = Answers<(ShardId, SocketsAnswer)>;

struct Question {
    asked: Asked,
    replies: Replies,
    deadline: Deadline,
    give: Box<dyn FnOnce(Replies)>,
}

/// Puts a question and waits for the answers. With too many questions waiting it is not put, and all are missing.
pub(super) fn ask(
    core: &Rc<Core>,
    asked: Asked,
    until: Instant,
    put: impl FnOnce(u64) -> SocketsRequest,
) -> Awaiting<Replies> {
    let (give, awaiting) = Awaiting::new();
    ask_then(core, asked, until, put, give);
    awaiting
}

/// Whoever waits for an answer to what another member's application has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The shard that gathers answers.
    pub(crate) asker: ShardId,
    /// Under which number.
    pub(crate) token: u64,
}

/// Puts a question that only this shard is asked.
pub(super) fn ask_here(
    core: &Rc<Core>,
    until: Instant,
    put: impl FnOnce(u64) -> Order,
    give: impl FnOnce(Replies) + 'static,
) {
    ask_by(core, Asked::One(core.shard), until, put, give);
}

/// As [`ask`], and calls `give` with the answers.
pub(super) fn ask_then(
    core: &Rc<Core>,
    asked: Asked,
    until: Instant,
    put: impl FnOnce(u64) -> SocketsRequest,
    give: impl FnOnce(Replies) + 'static,
) {
    ask_by(core, asked, until, |token| Order::Request(put(token)), give);
}

fn ask_by(
    core: &Rc<Core>,
    asked: Asked,
    until: Instant,
    put: impl FnOnce(u64) -> Order,
    give: impl FnOnce(Replies) + 'static,
) {
    let missing = match asked {
        Asked::Everybody => core.shards,
        Asked::Others => core.shards - 1,
        Asked::One(_) => 1,
    };
    let replies = Answers::none(missing);
    if missing == 0 || core.questions.waiting.borrow().len() >= QUESTIONS_AWAITED_MAX {
        return give(replies);
    }
    let token = core.questions.token(core.next_number());
    let give_up = {
        let core = Rc::downgrade(core);
        move || {
            if let Some(core) = core.upgrade() {
                core.questions.end(token);
            }
        }
    };
    let deadline = core.deadlines.set(until, give_up);
    let question = Question { asked, replies, deadline, give: Box::new(give) };
    core.questions.waiting.borrow_mut().insert(token, question);
    core.order(put(token));
}

/// A shard has answered.
pub(super) fn answered(core: &Core, from: ShardId, answer: SocketsAnswer) {
    let token = answer.token;
    let mut questions = core.questions.waiting.borrow_mut();
    let Some(question) = questions.get_mut(&token) else { return };
    let is_asked = match question.asked {
        Asked::Everybody => true,
        Asked::Others => from != core.shard,
        Asked::One(shard) => from == shard,
    };
    let replies = &mut question.replies;
    if !is_asked || replies.list.iter().any(|(other, _)| *other == from) {
        return;
    }
    replies.list.push((from, answer));
    replies.missing -= 1;
    if replies.missing == 0 {
        let deadline = question.deadline;
        drop(questions);
        core.deadlines.cancel(deadline);
        core.questions.end(token);
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self { waiting: RefCell::default(), life: u64::from(fastrand::u32(..)) << 32 }
    }
}

impl Questions {
    /// What an answer to the question of this number has to name.
    fn token(&self, number: u64) -> u64 {
        self.life | u64::from(number as u32)
    }

    /// The application ends.
    pub(super) fn give_up_all(&self) {
        self.waiting.take();
    }

    fn end(&self, token: u64) {
        let question = self.waiting.borrow_mut().remove(&token);
        if let Some(question) = question {
            (question.give)(question.replies);
        }
    }
}

impl<T> Answers<T> {
    /// Whether every shard and every member answered.
    pub fn is_complete(&self) -> bool {
        self.missing == 0 && self.missing_members == 0
    }

    pub(super) fn none(missing: u16) -> Self {
        Self { list: Vec::new(), missing, missing_members: 0 }
    }
}

impl Replies {
    /// What the answers hold, in the order of the shards.
    pub(super) fn flat_map<T>(
        mut self,
        mut read: impl FnMut(ShardId, SocketsAnswer) -> Vec<T>,
    ) -> Answers<T> {
        self.list.sort_by_key(|(shard, _)| *shard);
        let list = self.list.into_iter().flat_map(|(shard, answer)| read(shard, answer)).collect();
        Answers { list, missing: self.missing, missing_members: self.missing_members }
    }
}

impl<T> Deref for Answers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.list
    }
}

impl<T> IntoIterator for Answers<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("asked", &self.asked).finish_non_exhaustive()
    }
}
