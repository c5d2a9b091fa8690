//! What an application asks the other members of a Socket.IO cluster.

use std::{cell::RefCell, time::Duration};

use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Awaiting, Broadcast, Namespace,
    arguments::{PayloadError, decode_value},
    broadcast::outgoing,
    core::Core,
};
use crate::{
    broker::cluster::ClusterAsk,
    limits::{CLUSTER_WAIT_MS, QUESTIONS_AWAITED_MAX},
    wire::redis_adapter::{Answer, Fetched, Request, Selected},
};

/// What other members of a cluster answered. Those that did not in time are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAnswers<T> {
    /// The answers.
    pub list: Vec<T>,
    /// How many members did not answer; at least one where the cluster's Redis is away.
    pub missing: u32,
}

/// A socket of another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSocket(Fetched);

/// Questions that are not answered yet.
#[derive(Default)]
pub(super) struct MemberQuestions(RefCell<FxHashMap<u64, Give>>);

/// Told the answers.
type Give = Box<dyn FnOnce(MemberAnswers<Answer>)>;

impl<T> MemberAnswers<T> {
    /// Whether every member answered.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

impl MemberSocket {
    /// Its id, which may stand wherever a room selects sockets.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The rooms it is in, that of its id among them.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.0.rooms.iter().map(|room| &**room)
    }

    /// Its data, as whatever it shall be.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        decode_value(&self.0.data)
    }
}

impl Broadcast {
    /// Asks the other members of a Socket.IO cluster which sockets of theirs these are; those of this process are told by
    /// [`Broadcast::fetch_sockets`]. Where there is no cluster there is nobody to ask.
    pub async fn fetch_member_sockets(&self) -> MemberAnswers<MemberSocket> {
        if self.reaches_nobody() {
            return MemberAnswers { list: Vec::new(), missing: 0 };
        }
        let MemberAnswers { list, missing } = self.ask_members(|selected| Request::Fetch { selected }).await;
        let sockets = |answer| match answer {
            Answer::Fetched(sockets) => sockets,
            _ => Vec::new(),
        };
        MemberAnswers { list: list.into_iter().flat_map(sockets).map(MemberSocket).collect(), missing }
    }

    /// Says something to the applications of the other members of a Socket.IO cluster, whatever is selected here, and gives their
    /// answers. Those that are not what `R` takes count as missing. Other shards of this process hear
    /// [`Broadcast::server_side_emit_with_answers`].
    pub async fn member_side_emit_with_answers<R: DeserializeOwned>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> MemberAnswers<R> {
        let Some(outgoing) = outgoing(event, data) else {
            return MemberAnswers { list: Vec::new(), missing: 0 };
        };
        let arguments = outgoing.arguments;
        let MemberAnswers { list, mut missing } =
            self.ask_members(|_| Request::ServerEvent { arguments }).await;
        let mut answers = Vec::new();
        for answer in list {
            let read = match answer {
                Answer::Said(json) => decode_value(&json).ok(),
                _ => None,
            };
            missing += u32::from(read.is_none());
            answers.extend(read);
        }
        MemberAnswers { list: answers, missing }
    }

    fn ask_members(&self, request: impl FnOnce(Selected) -> Request) -> Awaiting<MemberAnswers<Answer>> {
        let (give, awaiting) = Awaiting::new();
        let core = self.namespace.core();
        let waiting = &core.member_questions.0;
        if !core.settings.in_cluster {
            give(MemberAnswers { list: Vec::new(), missing: 0 });
        } else if waiting.borrow().len() >= QUESTIONS_AWAITED_MAX {
            give(MemberAnswers { list: Vec::new(), missing: 1 });
        } else {
            // A shard that failed must not take what it asked before for an answer to another question.
            let token = fastrand::u64(..);
            waiting.borrow_mut().insert(token, Box::new(give));
            let wait_ms = self.timeout.unwrap_or(Duration::from_millis(CLUSTER_WAIT_MS)).as_millis() as u64;
            let (namespace, request) =
                (self.namespace.name().into(), Box::new(request(self.selected_names())));
            core.tell_cluster(|| ClusterAsk::Question { namespace, request, token, wait_ms });
        }
        awaiting
    }
}

impl Namespace {
    /// Asks the other members of a Socket.IO cluster for their sockets.
    pub async fn fetch_member_sockets(&self) -> MemberAnswers<MemberSocket> {
        self.everybody().fetch_member_sockets().await
    }
}

/// Other members have answered, or are late.
pub(super) fn answered(core: &Core, token: u64, answers: MemberAnswers<Answer>) {
    let give = core.member_questions.0.borrow_mut().remove(&token);
    if let Some(give) = give {
        give(answers);
    }
}

impl MemberQuestions {
    /// The application ends.
    pub(super) fn give_up_all(&self) {
        self.0.take();
    }
}
