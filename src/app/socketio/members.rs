//! What is asked of the other members of a Socket.IO cluster, beside what is asked of the shards of this process.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Awaiting, Broadcast,
    arguments::{self, decode_value},
    broadcast::outgoing,
    core::Core,
    questions::Replies,
};
use crate::{
    broker::cluster::ClusterAsk,
    limits::{CLUSTER_ASKED_BYTES_MAX, CLUSTER_WAIT_MS, QUESTIONS_AWAITED_MAX, SURVEY_TIMEOUT_MS},
    model::{Arguments, Reach},
    wire::redis_adapter::{Answer, Emitted, Fetched, Request, Selected},
};

/// What other members of a cluster answered. Those that did not in time are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAnswers<T> {
    /// The answers.
    pub list: Vec<T>,
    /// How many members did not answer; at least one where the cluster's Redis is away.
    pub missing: u32,
}

/// Questions that are not answered yet.
#[derive(Default)]
pub(super) struct MemberQuestions {
    waiting: RefCell<FxHashMap<u64, Waiting>>,
    /// Bytes of what is asked.
    bytes: Cell<usize>,
}

struct Waiting {
    give: Box<dyn FnOnce(MemberAnswers<Answer>)>,
    bytes: usize,
}

/// What the clients of other members have acknowledged an event with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberAcks {
    /// What those have said that have.
    pub(crate) said: Vec<Arguments>,
    /// How many clients have not.
    pub(crate) unanswered: u32,
    /// How many members have not said how many clients they have asked.
    pub(crate) missing: u32,
}

impl<T> MemberAnswers<T> {
    /// Whether every member answered.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    fn nobody(missing: u32) -> Self {
        Self { list: Vec::new(), missing }
    }
}

impl Broadcast {
    /// Says something to the applications of the other members of a Socket.IO cluster, whatever is selected here, and gives their
    /// answers. Those that are not what `R` takes count as missing. Other shards of this process hear
    /// [`Broadcast::server_side_emit_with_answers`].
    pub async fn member_side_emit_with_answers<R: DeserializeOwned>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> MemberAnswers<R> {
        let Some(outgoing) = outgoing(event, data) else { return MemberAnswers::nobody(0) };
        let MemberAnswers { list, missing } = self.ask_applications(outgoing.arguments).await;
        let all = list.len();
        let list: Vec<R> = list.iter().filter_map(|json| decode_value(json).ok()).collect();
        MemberAnswers { missing: missing + (all - list.len()) as u32, list }
    }

    /// The same with an event that is JSON already; the answers are, too.
    pub(crate) fn ask_applications(&self, arguments: Arguments) -> Awaiting<MemberAnswers<Box<str>>> {
        let (give, awaiting) = Awaiting::new();
        let give = |MemberAnswers { list, missing }: MemberAnswers<Answer>| {
            let all = list.len();
            let said = |answer| match answer {
                Answer::Said(json) => Some(json),
                _ => None,
            };
            let list: Vec<_> = list.into_iter().filter_map(said).collect();
            give(MemberAnswers { missing: missing + (all - list.len()) as u32, list });
        };
        self.ask_members(self.member_wait(), |_| Request::ServerEvent { arguments }, give);
        awaiting
    }

    /// Asks the other members which sockets of theirs these are; gives how many have not answered besides.
    pub(crate) fn fetch_of_members(&self) -> Awaiting<(Vec<Fetched>, u32)> {
        let (give, awaiting) = Awaiting::new();
        let give = |MemberAnswers { list, missing }: MemberAnswers<Answer>| {
            let sockets = |answer| match answer {
                Answer::Fetched(sockets) => sockets,
                _ => Vec::new(),
            };
            give((list.into_iter().flat_map(sockets).collect(), missing));
        };
        if self.concerns_members() {
            self.ask_members(self.member_wait(), |selected| Request::Fetch { selected }, give);
        } else {
            give(MemberAnswers::nobody(0));
        }
        awaiting
    }

    /// As [`Self::fetch_of_members`], and asks for their ids alone; whatever is left out here is among them.
    pub(crate) fn fetch_ids_of_members(&self) -> Awaiting<(Vec<Box<str>>, u32)> {
        let (give, awaiting) = Awaiting::new();
        let give = |MemberAnswers { list, missing }: MemberAnswers<Answer>| {
            let ids = |answer| match answer {
                Answer::Sockets(ids) => ids,
                Answer::Fetched(sockets) => sockets.into_iter().map(|socket| socket.id).collect(),
                _ => Vec::new(),
            };
            give((list.into_iter().flat_map(ids).collect(), missing));
        };
        if self.concerns_members() {
            let request = |Selected { rooms, .. }| Request::Sockets { rooms };
            self.ask_members(self.member_wait(), request, give);
        } else {
            give(MemberAnswers::nobody(0));
        }
        awaiting
    }

    /// Has the clients of the sockets acknowledge an event until then, on every shard and on other members; calls `give` with
    /// what they have.
    pub(super) fn ask_all_clients(
        &self,
        arguments: Arguments,
        until: Instant,
        give: impl FnOnce(Replies, MemberAcks) + 'static,
    ) {
        // Those who were late are told of, too.
        let told_by = until + Duration::from_millis(SURVEY_TIMEOUT_MS);
        if !self.concerns_members() {
            let give = |replies| give(replies, MemberAcks::default());
            return self.ask_clients(arguments, [until, told_by], give);
        }
        let (of_shards, of_members) = together(give);
        let wait = until.saturating_duration_since(Instant::now());
        let (namespace, is_volatile) = (self.namespace.name().into(), self.is_volatile);
        let event = arguments.clone();
        let request = move |Selected { rooms, except }| {
            let emitted = Box::new(Emitted { namespace, rooms, except, is_volatile, arguments: event });
            Request::Acknowledge { emitted, timeout_ms: Some(wait.as_millis() as u64) }
        };
        self.ask_members(wait, request, move |answers| of_members(MemberAcks::of(answers)));
        self.ask_clients(arguments, [until, told_by], of_shards);
    }

    /// Whether it is about sockets that another member may have.
    fn concerns_members(&self) -> bool {
        let has_members = self.namespace.core().settings.has_members();
        has_members && self.reach == Reach::Everywhere && !self.reaches_nobody()
    }

    /// How long the answers of members are waited for.
    fn member_wait(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_millis(CLUSTER_WAIT_MS))
    }

    /// Asks every other member, and calls `give` with their answers in time. Where there is no cluster there is nobody to ask.
    fn ask_members(
        &self,
        wait: Duration,
        request: impl FnOnce(Selected) -> Request,
        give: impl FnOnce(MemberAnswers<Answer>) + 'static,
    ) {
        let core = self.namespace.core();
        if !core.settings.has_members() {
            return give(MemberAnswers::nobody(0));
        }
        let (questions, request) = (&core.member_questions, request(self.selected_names()));
        let bytes = match &request {
            Request::Acknowledge { emitted, .. } => emitted.arguments.bytes(),
            _ => 0,
        };
        let is_full = questions.bytes.get() + bytes > CLUSTER_ASKED_BYTES_MAX;
        if is_full || questions.waiting.borrow().len() >= QUESTIONS_AWAITED_MAX {
            return give(MemberAnswers::nobody(1));
        }
        // A shard that failed must not take what it asked before for an answer to another question.
        let token = fastrand::u64(..);
        questions.bytes.set(questions.bytes.get() + bytes);
        questions.waiting.borrow_mut().insert(token, Waiting { give: Box::new(give), bytes });
        let (namespace, wait_ms) = (self.namespace.name().into(), wait.as_millis() as u64);
        core.tell_cluster(|| ClusterAsk::Question { namespace, request: Box::new(request), token, wait_ms });
    }
}

/// Other members have answered, or are late.
pub(super) fn answered(core: &Core, token: u64, answers: MemberAnswers<Answer>) {
    let questions = &core.member_questions;
    let waiting = questions.waiting.borrow_mut().remove(&token);
    if let Some(Waiting { give, bytes }) = waiting {
        questions.bytes.set(questions.bytes.get() - bytes);
        give(answers);
    }
}

impl MemberQuestions {
    /// The application ends.
    pub(super) fn give_up_all(&self) {
        self.waiting.take();
        self.bytes.set(0);
    }
}

impl MemberAcks {
    fn of(MemberAnswers { list, missing }: MemberAnswers<Answer>) -> Self {
        let (mut said, mut asked) = (Vec::new(), 0_u32);
        for answer in list {
            match answer {
                Answer::Asked(count) => asked = asked.saturating_add(count),
                Answer::Acknowledged(arguments) => said.push(arguments),
                _ => {}
            }
        }
        let unanswered = asked.saturating_sub(said.len() as u32);
        Self { said, unanswered, missing }
    }

    /// What they have said as whatever it shall be; those that have said something else have not acknowledged it.
    pub(super) fn read<R: DeserializeOwned>(self) -> (Vec<R>, u32) {
        let all = self.said.len();
        let read = |said: Arguments| arguments::decode(&said.json, &said.attachments).ok();
        let list: Vec<R> = self.said.into_iter().filter_map(read).collect();
        let unreadable = (all - list.len()) as u32;
        (list, self.unanswered.saturating_add(unreadable))
    }
}

/// Two things that come apart, and are told together.
fn together<A: 'static, B: 'static>(
    tell: impl FnOnce(A, B) + 'static,
) -> (impl FnOnce(A) + 'static, impl FnOnce(B) + 'static) {
    let parts: Rc<Cell<(Option<A>, Option<B>)>> = Rc::default();
    let tell = Rc::new(Cell::new(Some(tell)));
    let settle = move |(one, other): (Option<A>, Option<B>)| {
        let (had, had_other) = parts.take();
        match (one.or(had), other.or(had_other)) {
            (Some(one), Some(other)) => {
                if let Some(tell) = tell.take() {
                    tell(one, other);
                }
            }
            half => parts.set(half),
        }
    };
    let settle_other = settle.clone();
    (move |one| settle((Some(one), None)), move |other| settle_other((None, Some(other))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_apart_is_told_once_both_are_there_in_whatever_order() {
        for is_other_first in [false, true] {
            let told = Rc::new(Cell::new(None));
            let (one, other) = together({
                let told = Rc::clone(&told);
                move |one: u8, other: char| told.set(Some((one, other)))
            });
            let halves: [Box<dyn FnOnce()>; 2] = [Box::new(|| one(1)), Box::new(|| other('b'))];
            let [first, second] = match (is_other_first, halves) {
                (false, halves) => halves,
                (true, [one, other]) => [other, one],
            };
            first();
            assert_eq!(told.get(), None);
            second();
            assert_eq!(told.get(), Some((1, 'b')));
        }
    }

    #[test]
    fn acknowledgements_are_counted_against_how_many_clients_were_asked() {
        let said = |json: &str| Answer::Acknowledged(Arguments { json: json.into(), ..Arguments::default() });
        let list = vec![Answer::Asked(2), said("[1]"), Answer::Asked(1), said(r#"["x"]"#)];
        let acks = MemberAcks::of(MemberAnswers { list, missing: 1 });
        assert_eq!((acks.said.len(), acks.unanswered, acks.missing), (2, 1, 1));
        assert_eq!(acks.read::<u8>(), (vec![1], 2));
    }
}
