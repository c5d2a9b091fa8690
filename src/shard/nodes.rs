//! What the nodes that a broker joins ask each other of channels.
//!
//! ```text
//!   a client asks here ─► every shard, and every other node ─► the reports of all, and how many nodes did not answer
//!   another node asks ─► shard 0 ─► every shard ─► one answer
//! ```
//!
//! Invariant: a node answers when all its shards have; where one is silent it does not, and whoever asked counts it as missing.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use super::turn::Shard;
use crate::{
    app::Reply,
    broker::cluster::{Cluster, ClusterAsk},
    limits::{CHANNEL_LIST_MAX, NODE_SURVEYS_MAX, NODES_ASKED_MAX, NODES_WAIT_MS},
    mesh::{ChannelReport, Question, Survey, Visible},
    model::{ChannelName, ConnectionId, Position, Ticket},
    wire::redis_adapter::{self, Answer, Surveyed},
};

/// Questions under way between this shard and other nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    /// Those of this shard, by their tokens.
    asked: FxHashMap<u64, Asker>,
    /// Those of other nodes, the oldest first.
    answering: VecDeque<Answering>,
    /// Drawn when the shard begins, so that it takes no answer for one to itself that another asked before.
    life: u32,
    count: u32,
}

/// Who has asked other nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    ticket: Ticket,
    /// The most channels that each tells of.
    limit: u32,
}

/// A question of another node that not every shard has answered.
#[derive(Debug)]
struct Answering {
    ticket: Ticket,
    namespace: Box<str>,
    id: Box<str>,
    limit: u32,
    left: u16,
    channels: BTreeMap<ChannelName, ChannelReport>,
}

impl Default for Nodes {
    fn default() -> Self {
        let (asked, answering) = (FxHashMap::default(), VecDeque::new());
        Self { asked, answering, life: fastrand::u32(..), count: 0 }
    }
}

impl Nodes {
    /// Who has asked other nodes under this token.
    pub(super) fn take_asker(&mut self, token: u64) -> Option<Asker> {
        self.asked.remove(&token)
    }
}

impl Shard {
    /// Asks every shard, and every other node where it is about channels.
    pub(super) fn ask_everybody(&mut self, ticket: Ticket, question: Question) {
        let has_nodes = self.foundation.cluster.as_ref().is_some_and(Cluster::has_nodes);
        if let Some((survey, limit)) = has_nodes.then(|| asked_of_nodes(&question)).flatten() {
            self.ask_nodes(Asker { ticket, limit }, survey);
        }
        self.hub.ask(self.now, ticket, question);
    }

    fn ask_nodes(&mut self, asker: Asker, survey: redis_adapter::Survey) {
        if self.foundation.nodes.asked.len() >= NODES_ASKED_MAX {
            return self.tell_of_nodes(asker, Vec::new(), 1);
        }
        let token = fastrand::u64(..);
        self.foundation.nodes.asked.insert(token, asker);
        self.ask_cluster(ClusterAsk::Survey { survey, token, wait_ms: NODES_WAIT_MS });
    }

    /// Other nodes have answered, or are late.
    pub(super) fn tell_of_nodes(&mut self, asker: Asker, answers: Vec<Answer>, missing: u32) {
        let (mut reports, mut is_cut) = (Vec::new(), false);
        for answer in answers {
            let Answer::Surveyed(channels) = answer else { continue };
            is_cut |= channels.len() >= asker.limit as usize;
            reports.extend(channels.into_iter().filter_map(report_of));
        }
        let survey = Survey::Nodes { reports, missing, is_cut };
        self.tell(asker.ticket, Reply::Survey { survey });
    }

    /// Another node asks. With too many under way the oldest is not answered.
    pub(super) fn answer_node(&mut self, namespace: Box<str>, id: Box<str>, survey: redis_adapter::Survey) {
        let Some((question, limit)) = question_of(survey) else { return };
        if self.foundation.nodes.answering.len() >= NODE_SURVEYS_MAX
            && let Some(oldest) = self.foundation.nodes.answering.pop_front()
        {
            self.hub.withdraw(oldest.ticket);
        }
        let Nodes { life, count, answering, .. } = &mut self.foundation.nodes;
        *count = count.wrapping_add(1);
        let connection = ConnectionId { index: ConnectionId::NODE, generation: *life };
        let ticket = Ticket { connection, token: *count };
        let (left, channels) = (self.peers.shards(), BTreeMap::new());
        answering.push_back(Answering { ticket, namespace, id, limit, left, channels });
        self.hub.ask(self.now, ticket, question);
    }

    /// A shard has answered what another node asks.
    pub(super) fn take_answer_for_node(&mut self, ticket: Ticket, reply: Reply) {
        let Reply::Survey { survey: Survey::Channels(reports) } = reply else { return };
        let answering = &mut self.foundation.nodes.answering;
        let Some(at) = answering.iter().position(|one| one.ticket == ticket) else { return };
        let one = &mut answering[at];
        for report in reports {
            ChannelReport::gather(&mut one.channels, report, ChannelReport::add_shard);
        }
        one.left -= 1;
        if one.left == 0
            && let Some(Answering { namespace, id, limit, channels, .. }) = answering.remove(at)
        {
            let channels = channels.into_values().take(limit as usize).map(surveyed).collect();
            self.ask_cluster(ClusterAsk::Answer {
                namespace,
                id,
                answer: Box::new(Answer::Surveyed(channels)),
            });
        }
    }
}

/// What other nodes are asked beside the shards, and of how many channels each tells at most.
fn asked_of_nodes(question: &Question) -> Option<(redis_adapter::Survey, u32)> {
    match question {
        Question::Channel(channel) => {
            Some((redis_adapter::Survey::Channel(channel.as_str().into()), u32::MAX))
        }
        Question::Channels { prefix, limit, visible } => {
            // What may be shown is known here alone.
            let limit = if visible.is_all() { *limit } else { CHANNEL_LIST_MAX };
            Some((redis_adapter::Survey::Channels { prefix: prefix.clone(), limit }, limit))
        }
        Question::Shard | Question::Look { .. } => None,
    }
}

fn question_of(survey: redis_adapter::Survey) -> Option<(Question, u32)> {
    match survey {
        redis_adapter::Survey::Channel(name) => {
            let channel = ChannelName::new(&name, ChannelName::BYTES_MAX).ok()?;
            Some((Question::Channel(channel), 1))
        }
        redis_adapter::Survey::Channels { prefix, limit } => {
            let limit = limit.min(CHANNEL_LIST_MAX.saturating_add(1));
            Some((Question::Channels { prefix, limit, visible: Visible::all() }, limit))
        }
    }
}

fn surveyed(report: ChannelReport) -> Surveyed {
    Surveyed {
        channel: report.channel.as_str().into(),
        subscribers: report.subscribers,
        position: report.position.map(|position| (position.epoch, position.offset)),
        history_publications: report.history_publications,
        history_bytes: report.history_bytes,
    }
}

fn report_of(told: Surveyed) -> Option<ChannelReport> {
    Some(ChannelReport {
        channel: ChannelName::new(&told.channel, ChannelName::BYTES_MAX).ok()?,
        subscribers: told.subscribers,
        position: told.position.map(|(epoch, offset)| Position { epoch, offset }),
        history_publications: told.history_publications,
        history_bytes: told.history_bytes,
    })
}
