//! Long polls that wait for what is published in another process than the one that was asked.
//!
//! Such a poll has been asked, and nothing has been said to it: what is left of its request is how it is to be answered. One that
//! has something to say, that has not heard from its channels' owners, or behind which another request has come, is answered where
//! it is.

use super::{connection::Flags, several::Several, turn::Shard};
use crate::{
    mesh::{LeftPoll, Subscription},
    model::{ChannelName, Shown},
    session::{Exchange, Http, LongPoll, Session},
    wire::http1::{Coding, Version},
};

impl Shard {
    /// Whether a poll waits for nothing but a publication, of channels that may all be waited for elsewhere.
    pub(super) fn may_wait_elsewhere(
        &self,
        index: u32,
        poll: &LongPoll,
        travels: impl Fn(&ChannelName, Shown) -> bool,
    ) -> bool {
        let is_waiting = poll.position.is_some()
            && poll.http.decoder.held_bytes() == 0
            && !self.pages.has_poll(self.lines.slab.id(index));
        let is_silent = self.severals.look(index).is_none_or(Several::is_silent);
        is_waiting && is_silent && self.all_channels(index, |channel| travels(channel, Shown::default()))
    }

    /// What another process has to know of a connection to answer it, if it is a poll.
    pub(super) fn left_poll(&self, index: u32) -> Option<LeftPoll> {
        match &self.lines.slab.look(index).session {
            Session::LongPoll(poll) => Some(left_of(poll, self.severals.has(index))),
            _ => None,
        }
    }

    /// Lets a poll wait here, after a pause; its request was read elsewhere.
    pub(super) fn wait_on(&mut self, index: u32, left: LeftPoll, due_ms: u32, followed: &[Subscription]) {
        let position = followed.last().map(|one| one.position);
        let record = self.lines.slab.at(index);
        record.session = Session::LongPoll(Box::new(LongPoll {
            http: Http::default(),
            exchange: exchange_of(&left),
            fields: left.fields,
            position,
            timeout_ms: due_ms.max(1),
        }));
        self.wheel.set(index, self.now.monotonic_ms + u64::from(due_ms));
        self.lines.pause(index, Flags::PAUSED_AWAITING);
    }

    /// Tells a poll to come back that cannot wait here, on another connection.
    pub(super) fn end_poll(&mut self, index: u32) {
        if let Session::LongPoll(poll) = &mut self.lines.slab.at(index).session {
            poll.exchange.keep_alive = false;
        }
    }
}

/// What is left of a poll, perhaps of several channels. Answers of polls go in one form, whatever their clients take.
fn left_of(poll: &LongPoll, is_several: bool) -> LeftPoll {
    let Exchange { keep_alive, head_only, version, .. } = poll.exchange;
    let is_http10 = version == Version::Http10;
    LeftPoll { keep_alive, head_only, is_http10, is_several, fields: poll.fields.clone() }
}

fn exchange_of(left: &LeftPoll) -> Exchange {
    Exchange {
        keep_alive: left.keep_alive,
        head_only: left.head_only,
        version: if left.is_http10 { Version::Http10 } else { Version::Http11 },
        coding: Coding::Fixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_answered_elsewhere_as_it_would_have_been() {
        for (keep_alive, head_only, version) in
            [(true, false, Version::Http11), (false, true, Version::Http10)]
        {
            let exchange = Exchange { keep_alive, head_only, version, coding: Coding::Fixed };
            let (http, position) = (Http::default(), None);
            let poll = LongPoll { http, exchange, fields: "a: b\r\n".into(), position, timeout_ms: 1 };
            let left = left_of(&poll, true);
            assert_eq!((exchange_of(&left), &*left.fields, left.is_several), (exchange, "a: b\r\n", true));
        }
    }
}
