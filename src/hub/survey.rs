//! Questions that every shard answers for itself.

use super::{
    Hub, Output,
    channel::ChannelIndex,
    stream::{Mirror, Stream},
};
use crate::{
    mesh::{ChannelReport, Message, Question, Survey},
    model::{ChannelName, Now, ShardId, Ticket},
};

impl Hub {
    /// What it has counted: publications stamped, and refused.
    pub fn counted(&self) -> [u64; 2] {
        [self.publications_total, self.publications_refused_total]
    }

    /// Goes on counting from there.
    pub fn count_from(&mut self, counted: [u64; 2]) {
        [self.publications_total, self.publications_refused_total] = counted;
    }

    /// Asks every shard, this one too; [`Output::Survey`] follows once for each. How the shards are is for the
    /// shards to say: [`Output::AskedShard`] or [`Output::AskedLook`] comes out where one is asked.
    pub fn ask(&mut self, now: Now, ticket: Ticket, question: Question) {
        self.now = now;
        let me = self.settings.shard;
        for to in me.others(self.settings.shards) {
            self.outputs
                .push_back(Output::Send { to, message: Message::Ask { ticket, question: question.clone() } });
        }
        self.handle_ask(me, ticket, question);
    }

    /// Nobody waits for the answers to a question any more.
    pub fn withdraw(&mut self, ticket: Ticket) {
        let me = self.settings.shard;
        self.listings.withdraw(ticket, me);
        for to in me.others(self.settings.shards) {
            self.send(to, Message::Withdraw { ticket });
        }
    }

    /// Goes on with lists of channels, and looks at so many channels at most; tells at how many it has looked.
    pub fn continue_lists(&mut self, channels_max: usize) -> usize {
        for looked in 0..channels_max {
            if self.listings.is_empty() {
                return looked;
            }
            for listing in self.listings.step(&self.channels) {
                let (ticket, from) = (listing.ticket, listing.from);
                let names = listing.into_names().into_iter();
                let known = names.filter_map(|name| self.channels.find(&name));
                let reports = known.map(|index| self.report_of(index)).collect();
                self.answer(from, ticket, Survey::Channels(reports));
            }
        }
        channels_max
    }

    /// Whether lists of channels are under way.
    pub fn has_lists(&self) -> bool {
        !self.listings.is_empty()
    }

    pub(super) fn handle_ask(&mut self, from: ShardId, ticket: Ticket, question: Question) {
        match question {
            Question::Channel(name) => {
                let known = self.channels.find(&name).map(|index| self.report_of(index));
                self.answer(from, ticket, Survey::Channels(known.into_iter().collect()));
            }
            // The first in the order of their names, so that the answers of all shards agree on which those are and can
            // be added up.
            Question::Channels { prefix, limit, visible } => {
                self.listings.begin(ticket, from, prefix, limit, visible);
            }
            Question::Shard => self.outputs.push_back(Output::AskedShard { ticket, from }),
            Question::Look { with_past } => {
                let busiest = self.busiest.ask(self.now.monotonic_ms);
                self.outputs.push_back(Output::AskedLook { ticket, from, busiest, with_past });
            }
        }
    }

    fn report_of(&self, index: ChannelIndex) -> ChannelReport {
        let channel = &self.channels[index];
        let stream = channel.stream();
        let known = stream.filter(|stream| stream.mirror != Mirror::Unknown);
        ChannelReport {
            channel: ChannelName::clone(&channel.name),
            subscribers: channel.audience.counts(),
            position: known.map(|stream| self.told_position(index, stream.position)),
            history_publications: stream.map_or(0, |stream: &Stream| stream.history.len() as u32),
            history_bytes: stream.map_or(0, |stream| stream.history.bytes()),
        }
    }

    fn answer(&mut self, to: ShardId, ticket: Ticket, survey: Survey) {
        if to == self.settings.shard {
            self.outputs.push_back(Output::Survey { ticket, survey });
        } else {
            self.send(to, Message::Answer { ticket, survey });
        }
    }
}
