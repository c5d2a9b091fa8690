//! Requests that become streams of events or long polls, of one channel or of several ([`super::several`]).

use super::{connection::Flags, intents::Wish, outbox::Class, turn::Shard};
use crate::{
    model::{ChannelName, Position, Shown, Transport},
    session::{Exchange, LongPoll, Session},
    wire::{http1, sse},
};

/// How long a channel's owner may take to say where a long poll begins.
const OWNER_TIMEOUT_MS: u64 = 2_000;

/// What a stream or a poll is about.
pub(super) enum Followed {
    /// A channel, after this position.
    One(ChannelName, Option<Position>),
    /// Several, whose positions are told together.
    Several(Vec<(ChannelName, Option<Position>)>),
}

impl Shard {
    /// Answers a request with the head of a stream.
    pub(super) fn begin_stream(&mut self, index: u32, fields: &str, exchange: Exchange) {
        let date = self.clock.date();
        self.lines.say(index, Class::Answer, |out| {
            http1::encode_stream_head(out, date, fields, exchange.version);
        });
    }

    /// A connection whose stream has begun follows channels from now on.
    pub(super) fn become_stream(&mut self, index: u32, followed: Followed, shown: Shown) {
        self.open_stream(index);
        self.run_intents();
        self.fanout.astray.begin(index, shown);
        if shown != Shown::default() {
            self.lines.slab.at(index).flags.set(Flags::STATEFUL);
        }
        self.follow(index, Transport::EventStream, followed, shown);
    }

    /// On a connection whose stream has begun the application writes from now on.
    pub(super) fn become_written_stream(&mut self, index: u32) {
        self.open_stream(index);
        self.lines.slab.at(index).flags.set(Flags::KNOWN);
        self.run_intents();
    }

    fn open_stream(&mut self, index: u32) {
        self.count_response(200);
        self.log_begun(index, 200);
        self.set_session(index, Session::EventStream);
        self.notify_of_arrival(index);
        self.write_retry(index, Class::Control);
        let interval = u64::from(self.limits.event_stream_keep_alive_ms);
        let first = interval / 2 + fastrand::u64(0..=interval / 2);
        self.wheel.set(index, self.now.monotonic_ms + first);
    }

    /// A request waits for what is published. What came behind it was `kept`, or is more than may be.
    pub(super) fn become_poll(&mut self, index: u32, mut poll: LongPoll, followed: Followed, kept: bool) {
        poll.timeout_ms = poll.timeout_ms.min(self.limits.long_poll_timeout_max_ms);
        self.set_session(index, Session::LongPoll(Box::new(poll)));
        // Its own time begins when the channel's owner has said where it stands.
        self.wheel.set(index, self.now.monotonic_ms + OWNER_TIMEOUT_MS);
        self.lines.pause(index, Flags::PAUSED_AWAITING);
        self.run_intents();
        // Its end was announced with the poll, and would not be again.
        if !kept || self.lines.slab.look(index).flags.has(Flags::ENDING) {
            return self.lose(index);
        }
        self.follow(index, Transport::LongPoll, followed, Shown::default());
    }

    /// Tells a stream's client when to come back once it is cut.
    pub(super) fn write_retry(&mut self, index: u32, class: Class) {
        let mean = self.limits.event_stream_retry_ms;
        let retry_ms = u64::from(mean / 2 + fastrand::u32(0..=mean));
        self.lines.say(index, class, |out| sse::encode_retry(out, retry_ms));
    }

    fn follow(&mut self, index: u32, transport: Transport, followed: Followed, shown: Shown) {
        match followed {
            Followed::One(channel, since) => {
                let wish = Wish { shown, ..Wish::to_follow(transport, since) };
                self.subscribe(index, wish, channel, None);
            }
            Followed::Several(channels) => self.follow_several(index, transport, channels, shown),
        }
    }
}
