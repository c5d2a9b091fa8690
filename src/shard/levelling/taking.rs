//! Connections that come from a shard with more to do, while they are served.
//!
//! Whoever is expected has a slot here already, and its channels are followed. It comes with its socket, is not read before it
//! follows all of them on, and is told what it has not been. What is lost by then, in spite of all, it is told as whoever comes back
//! to a channel is.

use std::os::fd::AsFd;

use super::{
    super::{
        on_the_way::{Expected, Newcomer},
        turn::Shard,
    },
    Said,
};
use crate::{
    app::Resumed,
    hub::Following,
    limits::{CARRIED_BEAT_MS_MIN, LEVELLING_ARRIVAL_MS},
    mesh::{HandOver, LeftToken, Levelled, ShardMessage, Subscription},
    model::{ChannelName, CloseReason, ShardId},
    session::{Session, WebSocket},
    shard::connection::Flags,
};

/// Under which number the hub knows a connection of another shard.
fn key(from: ShardId, number: u32) -> u64 {
    u64::from(from.0) << 32 | u64::from(number)
}

impl Shard {
    /// Another shard asks to expect a connection.
    pub(super) fn expect(&mut self, from: ShardId, number: u32, channels: &[ChannelName]) {
        let may = self.drain.is_none()
            && !self.acceptors.is_memory_scarce()
            && self.room.takes_newcomers()
            && self.handler.is_levelled()
            && !self.hub.keeps_much_for_newcomers();
        let place = if may { self.lines.slab.reserve() } else { None };
        let Some(place) = place else { return self.refuse_newcomer(from, number) };
        if !self.hub.expect_newcomer(self.now, key(from, number), channels) {
            self.lines.slab.release(place);
            return self.refuse_newcomer(from, number);
        }
        let expected = Expected { from, number, place, is_answered: false, is_refused: false };
        self.levelling.taking.expected.insert(key(from, number), expected);
        self.answer_givers();
    }

    fn refuse_newcomer(&mut self, from: ShardId, number: u32) {
        self.send_mesh(from, ShardMessage::Levelling(Said::Refused { number }));
    }

    /// Tells other shards whether those who are expected may come.
    pub(super) fn answer_givers(&mut self) {
        let is_much = self.hub.keeps_much_for_newcomers();
        let mut said = Vec::new();
        for (number_here, one) in &mut self.levelling.taking.expected {
            let number = one.number;
            if is_much && !std::mem::replace(&mut one.is_refused, true) {
                said.push((one.from, Said::Refused { number }));
            } else if !one.is_answered
                && !one.is_refused
                && let Some(begins) = self.hub.newcomer_begins(*number_here)
            {
                one.is_answered = true;
                said.push((one.from, Said::Expected { number, begins }));
            }
        }
        for (to, said) in said {
            self.send_mesh(to, ShardMessage::Levelling(said));
        }
    }

    /// A connection does not come.
    pub(super) fn expect_no_more(&mut self, from: ShardId, number: u32) {
        let number = key(from, number);
        if let Some(Expected { place, .. }) = self.levelling.taking.expected.remove(&number) {
            self.lines.slab.release(place);
            self.hub.expect_newcomer_no_more(self.now, number);
        }
    }

    /// Nobody is expected any more, and those who have come are told what history has.
    pub(super) fn expect_nobody(&mut self) {
        for (number, Expected { from, number: theirs, place, .. }) in
            std::mem::take(&mut self.levelling.taking.expected)
        {
            self.lines.slab.release(place);
            self.hub.expect_newcomer_no_more(self.now, number);
            self.refuse_newcomer(from, theirs);
        }
        for at in 0..self.levelling.taking.arrived.len() {
            let number = self.levelling.taking.arrived[at].number;
            self.hub.expect_newcomer_no_more(self.now, number);
        }
    }

    /// Puts the socket of a connection that has come into its slot.
    pub(in crate::shard) fn adopt_newcomer(&mut self, hand_over: &HandOver) -> Option<u32> {
        let Some(Levelled { from, number, .. }) = hand_over.levelled.as_deref() else {
            return self.adopt(&hand_over.descriptor);
        };
        let expected = self.levelling.taking.expected.remove(&key(*from, *number));
        let Some(Expected { place, .. }) = expected else { return self.adopt(&hand_over.descriptor) };
        if self.lines.ring.adopt(place, hand_over.descriptor.as_fd()).is_err() {
            self.lines.slab.release(place);
            self.hub.expect_newcomer_no_more(self.now, key(*from, *number));
            return None;
        }
        Some(place)
    }

    /// Goes on with a connection that has come.
    pub(in crate::shard) fn take_levelled(&mut self, index: u32, levelled: Levelled) {
        let Levelled { from, number, is_stream, keep_alive, subscriptions, token, saved } = levelled;
        let (connection, number) = (self.lines.slab.id(index), key(from, number));
        let session = match is_stream {
            true => Session::EventStream,
            false => Session::WebSocket(WebSocket::resumed(keep_alive)),
        };
        self.set_session(index, session);
        if let Some(LeftToken { token, id_hash }) = token {
            self.gate.hold_again(index, &token, id_hash);
        }
        let due_ms = u64::from(keep_alive.due_ms).max(CARRIED_BEAT_MS_MIN);
        self.wheel.set(index, self.now.monotonic_ms + due_ms);
        let is_known = self.application_takes(index, is_stream, &subscriptions, &saved);
        // Even one that is told to come back has followed them.
        self.lines.slab.at(index).flags.set(Flags::SUBSCRIBED);
        self.lines.pause(index, Flags::PAUSED_AWAITING);
        let since_ms = self.now.monotonic_ms;
        self.levelling.taking.arrived.push(Newcomer { connection, number, since_ms, subscriptions });
        // Whoever comes when clients are told to come back may be behind those that have been.
        let may_stay = self.drain.is_none() || self.carries();
        match is_known && may_stay {
            true => self.seat_newcomers(),
            false => self.close(index, CloseReason::GoingAway),
        }
    }

    /// Whether the application goes on with a connection that has come.
    fn application_takes(
        &mut self,
        index: u32,
        is_stream: bool,
        subscriptions: &[Subscription],
        saved: &[u8],
    ) -> bool {
        let followed: Vec<_> = subscriptions.iter().map(|one| one.channel.clone()).collect();
        let shown: Vec<_> = subscriptions.iter().map(|one| one.shown).collect();
        let resumed = Resumed { followed: &followed, shown: &shown, entered: &[], saved };
        let tag = self.call_about(index, "restore", |handler, cx, peer| match is_stream {
            false => handler.restore(cx, peer, &resumed),
            true => {
                let mut each = followed.iter().zip(&shown);
                each.all(|(channel, shown)| handler.stream_travels(peer, channel, *shown)).then_some(0)
            }
        });
        let Some(tag) = tag.flatten() else { return false };
        let record = self.lines.slab.at(index);
        if let Session::WebSocket(websocket) = &mut record.session {
            websocket.tag = tag;
            record.flags.set(Flags::KNOWN);
        }
        true
    }

    /// Lets those who have come follow their channels, and be read once they follow all of them.
    pub(super) fn seat_newcomers(&mut self) {
        for mut newcomer in std::mem::take(&mut self.levelling.taking.arrived) {
            let Newcomer { connection, number, since_ms, .. } = newcomer;
            let is_there = self.lines.slab.get_in_session(connection).is_some();
            let is_late = self.now.monotonic_ms - since_ms > LEVELLING_ARRIVAL_MS;
            newcomer.subscriptions.retain(|one| {
                is_there
                    && match self.hub.follow_newcomer(self.now, connection, one) {
                        Following::On => false,
                        Following::NotYet if !is_late => true,
                        Following::NotYet | Following::Lost => {
                            self.follow_on(connection, one);
                            false
                        }
                    }
            });
            if !newcomer.subscriptions.is_empty() {
                self.levelling.taking.arrived.push(newcomer);
                continue;
            }
            self.hub.expect_newcomer_no_more(self.now, number);
            if is_there && !self.carrying.has_begun() {
                self.lines.slab.at(connection.index).flags.clear(Flags::PAUSED_AWAITING);
                self.lines.resume(connection.index);
            }
        }
    }
}
