//! Questions that every shard answers for itself.

use super::{Hub, Output, channel::Channel, stream::Stream};
use crate::{
    mesh::{ChannelReport, Message, Question, Survey},
    model::{ChannelName, Now, ShardId, Ticket},
};

impl Hub {
    /// Asks every shard, this one too; [`Output::Survey`] follows once for each. How the shards are is for the
    /// shards to say: [`Output::AskedShard`] comes out where one is asked.
    pub fn ask(&mut self, now: Now, ticket: Ticket, question: Question) {
        self.now_ms = now.monotonic_ms;
        match self.answer(&question) {
            Some(survey) => self.outputs.push_back(Output::Survey { ticket, survey }),
            None => self.outputs.push_back(Output::AskedShard { ticket, from: self.settings.shard }),
        }
        for to in (0..self.settings.shards).map(ShardId).filter(|shard| *shard != self.settings.shard) {
            self.outputs
                .push_back(Output::Send { to, message: Message::Ask { ticket, question: question.clone() } });
        }
    }

    pub(super) fn handle_ask(&mut self, from: ShardId, ticket: Ticket, question: &Question) {
        match self.answer(question) {
            Some(survey) => self.send(from, Message::Answer { ticket, survey }),
            None => self.outputs.push_back(Output::AskedShard { ticket, from }),
        }
    }

    fn answer(&self, question: &Question) -> Option<Survey> {
        match question {
            Question::Channel(name) => {
                let known = self.channels.find(name).map(|index| report_of(&self.channels[index]));
                Some(Survey::Channels(known.into_iter().collect()))
            }
            Question::Channels { prefix, limit } => {
                Some(Survey::Channels(self.channels_named(prefix, *limit as usize)))
            }
            Question::Shard => None,
        }
    }

    /// The first `limit` channels in the order of their names, so that the answers of all shards agree on which
    /// those are and can be added up.
    fn channels_named(&self, prefix: &str, limit: usize) -> Vec<ChannelReport> {
        let is_wanted = |channel: &&Channel| channel.name.as_str().starts_with(prefix);
        let mut wanted: Vec<&Channel> = self.channels.iter().filter(is_wanted).collect();
        if wanted.len() > limit {
            let by_name = |a: &&Channel, b: &&Channel| a.name.cmp(&b.name);
            wanted.select_nth_unstable_by(limit, by_name);
            wanted.truncate(limit);
        }
        wanted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        wanted.into_iter().map(report_of).collect()
    }
}

fn report_of(channel: &Channel) -> ChannelReport {
    let stream = channel.stream();
    ChannelReport {
        channel: ChannelName::clone(&channel.name),
        subscribers: channel.audience.counts(),
        position: stream.map(|stream| stream.position),
        history_publications: stream.map_or(0, |stream: &Stream| stream.history.len() as u32),
        history_bytes: stream.map_or(0, |stream| stream.history.bytes()),
    }
}
