//! Requests put off until other shards have answered: what each waits for, and what it then says.

use std::collections::BTreeMap;

use super::{
    Refusal,
    admin::{self, MetricsFormat},
    channels, demo,
    fields::fresh,
    presence::presence_response,
    publish::BatchWait,
    route::AdminRoute,
    state::StateWait,
};
use crate::{
    app::{Answer, Reply, Response},
    mesh::{self, ChannelReport, Question, ShardReport, Visible},
    model::{ChannelName, Now},
    wire::json::{encode_page, encode_position},
};

/// What a resource makes of a request.
pub(super) enum Outcome {
    /// An answer, but for the fields of CORS.
    Answer(Answer),
    /// Something has been asked; the answer comes when the replies do.
    Wait(Wait),
}

/// A request put off.
#[derive(Debug)]
pub(super) struct Pending {
    /// The fields its answer will carry.
    pub(super) cors: String,
    pub(super) asked_ms: u64,
    /// The number of the question, or of its first part: a reply to another comes too late.
    pub(super) question: u32,
    pub(super) wait: Wait,
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Wait {
    /// The position of one publication on this channel.
    Publication(ChannelName),
    /// The positions of a batch.
    Batch(BatchWait),
    /// A page of a channel's history.
    History(ChannelName),
    /// A change of a channel's state, or some of the state.
    State(StateWait),
    /// Who is present in a channel.
    Presence(ChannelName),
    /// An answer of every shard.
    Survey(Survey),
}

/// A question to every shard, and the answers so far.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) asked: Asked,
    shards: u16,
    answered: u16,
    channels: BTreeMap<ChannelName, ChannelReport>,
    reports: Vec<ShardReport>,
    /// The other nodes are asked, too, and have not answered or run out of time.
    awaits_nodes: bool,
    missing_nodes: u32,
    /// What they know of channels that may be shown.
    of_nodes: Vec<ChannelReport>,
    /// A node may know more of what may be shown.
    is_cut: bool,
}

/// What the shards were asked.
#[derive(Debug)]
pub(super) enum Asked {
    Info(ChannelName),
    List {
        prefix: Box<str>,
        limit: u32,
        visible: Visible,
    },
    Stats,
    /// In the format that was asked for.
    Metrics(MetricsFormat),
    Admin(AdminRoute),
}

impl Wait {
    /// Whether it is for a list of channels, which shards take some time to make.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::Survey(Survey { asked: Asked::List { .. }, .. }))
    }

    /// Takes the reply to a part of the question; the answer to the request when it was the last one missing. Replies that
    /// nothing here waits for are late ones to a request answered before.
    pub(super) fn absorb(&mut self, now: Now, part: u32, reply: Reply) -> Option<Response> {
        match (self, reply) {
            (Self::Batch(batch), Reply::Published(result)) => {
                batch.settle(part, result.map_err(Refusal::Publish))
            }
            _ if part != 0 => None,
            (Self::Publication(_), Reply::Published(result)) => Some(match result {
                Ok(position) => {
                    let mut body = Vec::with_capacity(64);
                    encode_position(&mut body, position);
                    Response::json(200, body)
                }
                Err(error) => Refusal::Publish(error).response(),
            }),
            (Self::History(channel), Reply::History(page)) => {
                let mut body = Vec::new();
                let mesh::HistoryPage { position, publications, recovered, has_more } = &page;
                encode_page(&mut body, channel, *position, *recovered, *has_more, publications);
                Some(fresh(body))
            }
            (Self::State(wait), Reply::Changed(result)) => Some(wait.changed(result)),
            (Self::State(wait), Reply::State(page)) => Some(wait.read(&page)),
            (Self::Presence(channel), Reply::Presence(page)) => Some(presence_response(channel, &page)),
            (Self::History(_) | Self::State(_) | Self::Presence(_), Reply::Unread(error)) => {
                Some(Refusal::Publish(error).response())
            }
            (Self::Survey(survey), Reply::Survey { survey: answer }) => {
                survey.add(answer);
                let is_answered = survey.answered == survey.shards && !survey.awaits_nodes;
                is_answered.then(|| survey.response(now))
            }
            _ => None,
        }
    }
}

impl Wait {
    /// The answer when another shard's may never come. A question to all shards has its own time.
    pub(super) fn give_up(&mut self) -> Option<Response> {
        match self {
            Self::Publication(_) | Self::History(_) | Self::State(_) | Self::Presence(_) => {
                Some(Refusal::OwnerSilent.response())
            }
            Self::Batch(batch) => batch.give_up(Refusal::OwnerSilent, &|_| true),
            Self::Survey(_) => None,
        }
    }

    /// The answer when a shard has failed that owned some channels, if it was waited for. A question to all shards has its
    /// own time.
    pub(super) fn lose(&mut self, owned: &dyn Fn(&ChannelName) -> bool) -> Option<Response> {
        match self {
            Self::Publication(channel)
            | Self::History(channel)
            | Self::State(StateWait { channel, .. })
            | Self::Presence(channel) => owned(channel).then(|| Refusal::OwnerFailed.response()),
            Self::Batch(batch) => batch.give_up(Refusal::OwnerFailed, owned),
            Self::Survey(_) => None,
        }
    }
}

impl Survey {
    pub(super) fn info(channel: ChannelName, shards: u16) -> Self {
        Self::new(Asked::Info(channel), shards)
    }

    pub(super) fn list(prefix: Box<str>, limit: u32, visible: Visible, shards: u16) -> Self {
        Self::new(Asked::List { prefix, limit, visible }, shards)
    }

    pub(super) fn stats(shards: u16) -> Self {
        Self::new(Asked::Stats, shards)
    }

    pub(super) fn metrics(format: MetricsFormat, shards: u16) -> Self {
        Self::new(Asked::Metrics(format), shards)
    }

    pub(super) fn admin(route: AdminRoute, shards: u16) -> Self {
        Self::new(Asked::Admin(route), shards)
    }

    fn new(asked: Asked, shards: u16) -> Self {
        let (channels, reports) = (BTreeMap::new(), Vec::new());
        Self {
            asked,
            shards,
            answered: 0,
            channels,
            reports,
            awaits_nodes: false,
            missing_nodes: 0,
            of_nodes: Vec::new(),
            is_cut: false,
        }
    }

    /// Where a broker joins this node with others these answer, too.
    pub(super) fn with_nodes(self, has_nodes: bool) -> Self {
        Self { awaits_nodes: has_nodes, ..self }
    }

    fn add(&mut self, part: mesh::Survey) {
        if let mesh::Survey::Nodes { reports, missing, is_cut } = part {
            return self.add_nodes(reports, missing, is_cut);
        }
        self.answered += 1;
        match part {
            mesh::Survey::Channels(reports) => {
                for report in reports {
                    ChannelReport::gather(&mut self.channels, report, ChannelReport::add_shard);
                }
            }
            mesh::Survey::Shard(report) => self.reports.push(*report),
            mesh::Survey::Look(_) | mesh::Survey::Nodes { .. } => {}
        }
    }

    fn add_nodes(&mut self, reports: Vec<ChannelReport>, missing: u32, is_cut: bool) {
        let visible = match &self.asked {
            Asked::List { visible, .. } => visible.clone(),
            _ => Visible::all(),
        };
        let shown = reports.into_iter().filter(|report| visible.shows(report.channel.as_str()));
        self.of_nodes = shown.collect();
        (self.awaits_nodes, self.missing_nodes) = (false, missing);
        // Otherwise there is one more in all that is told than was asked for.
        self.is_cut = is_cut && !visible.is_all();
    }

    /// What to say when not every shard has answered in time. An operator who looks for the silent shard is shown
    /// those that are not.
    pub(super) fn give_up(&mut self, now: Now) -> Response {
        match self.asked {
            Asked::Metrics(_) | Asked::Admin(AdminRoute::Shards) => self.response(now),
            _ if self.answered == self.shards => self.response(now),
            Asked::Admin(_) | Asked::Info(_) | Asked::List { .. } | Asked::Stats => {
                Refusal::ShardsSilent(self.answered, self.shards).response()
            }
        }
    }

    /// What the answer is; it is asked for once.
    fn response(&mut self, now: Now) -> Response {
        // Nobody knows how many there are that have not answered.
        let missing_nodes = if self.awaits_nodes { 1 } else { self.missing_nodes };
        for report in std::mem::take(&mut self.of_nodes) {
            ChannelReport::gather(&mut self.channels, report, ChannelReport::add_node);
        }
        let channels = &self.channels;
        let mut reports: Vec<_> = self.reports.iter().collect();
        reports.sort_by_key(|report| report.shard);
        match &self.asked {
            Asked::Info(channel) => channels::info_response(channel, channels.get(channel), missing_nodes),
            Asked::List { limit, .. } => {
                channels::list_response(channels, *limit, missing_nodes, self.is_cut)
            }
            Asked::Stats => demo::stats_response(&reports),
            Asked::Metrics(format) => admin::metrics_response(&reports, now, *format),
            Asked::Admin(AdminRoute::Shards) => admin::shards_response(&reports, self.shards),
            Asked::Admin(_) => Response::text(200, "ready\n"),
        }
    }
}

impl Asked {
    /// The question as shards are asked it.
    pub(super) fn question(&self) -> Question {
        match self {
            Self::Info(channel) => Question::Channel(channel.clone()),
            // One more than wanted tells whether the list was cut.
            Self::List { prefix, limit, visible } => Question::Channels {
                prefix: prefix.clone(),
                limit: limit.saturating_add(1),
                visible: visible.clone(),
            },
            Self::Stats | Self::Metrics(_) | Self::Admin(_) => Question::Shard,
        }
    }
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Self {
        Self::Answer(Answer::Respond(response))
    }
}
