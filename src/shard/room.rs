//! Who may come in: each shard begins with an equal share of the process's connections, and shards lend each other
//! what they do not use.
//!
//! `SO_REUSEPORT` spreads connections by a hash, 25 % unevenly over 64 shards, so a shard may be full while others
//! have room. Room moves in messages, by itself or with a connection that is handed over; it is never made and never lost:
//! the sum over all shards and messages is `limits.connections_max` at any time, exactly.

use crate::model::ShardId;

/// One shard's room.
pub(super) struct Room {
    /// Connections that may still come in.
    free: u32,
    /// Connections that are in.
    taken: u32,
    /// As many as the descriptor table holds; more room than that is of no use here.
    limit: u32,
    question: Question,
    next: u16,
}

/// What a shard asks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// At most this much.
    pub(super) wanted: u32,
    /// It has none left.
    pub(super) is_full: bool,
}

/// What is under way to get more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Nothing; this many shards in a row had nothing to give.
    None { refusals: u16 },
    /// A shard has been asked.
    Asked { refusals: u16 },
    /// Every shard has been asked in vain; not again before this time, or before there is nothing left.
    Resting { until_ms: u64, was_full: bool },
}

/// How long a shard rests after all the others had nothing to give.
const REST_MS: u64 = 100;

impl Room {
    /// `share` connections may come in; more than `limit` never can.
    pub(super) fn new(share: u32, limit: u32) -> Self {
        Self {
            free: share,
            taken: 0,
            limit: limit.max(share),
            question: Question::None { refusals: 0 },
            next: 0,
        }
    }

    /// Lets one in, if there is room.
    pub(super) fn enter(&mut self) -> bool {
        let enters = self.free > 0 && self.taken < self.limit;
        if enters {
            self.free -= 1;
            self.taken += 1;
        }
        enters
    }

    /// One has left.
    pub(super) fn leave(&mut self) {
        self.free += 1;
        self.taken -= 1;
    }

    /// One has gone to another shard, and its room with it.
    pub(super) fn move_out(&mut self) {
        self.taken -= 1;
    }

    /// One comes from another shard and brings its room. It still has to [`Self::enter`].
    pub(super) fn move_in(&mut self) {
        self.free += 1;
    }

    /// Whether one that brings its room could enter.
    pub(super) fn takes_newcomers(&self) -> bool {
        self.taken < self.limit
    }

    /// The shard begins anew: nobody is in any more.
    pub(super) fn begin_anew(&mut self) {
        self.free += std::mem::take(&mut self.taken);
    }

    /// A shard has begun anew, and may not answer what it was asked before.
    pub(super) fn forget_question(&mut self, asked: ShardId) {
        if let Question::Asked { refusals } = self.question
            && self.next == asked.0
        {
            self.question = Question::None { refusals: refusals + 1 };
        }
    }

    /// All the room there is here, taken or free.
    pub(super) fn total(&self) -> u32 {
        self.free + self.taken
    }

    /// Whom to ask for how much, when room is short and no question is under way.
    pub(super) fn poll_question(
        &mut self,
        me: ShardId,
        shards: u16,
        now_ms: u64,
    ) -> Option<(ShardId, Request)> {
        let refusals = match self.question {
            Question::None { refusals } => refusals,
            Question::Asked { .. } => return None,
            Question::Resting { until_ms, was_full } if now_ms < until_ms && (was_full || self.free > 0) => {
                return None;
            }
            Question::Resting { .. } => 0,
        };
        let useful = self.limit.saturating_sub(self.total());
        if shards < 2 || useful == 0 || self.free > self.low() {
            self.question = Question::None { refusals: 0 };
            return None;
        }
        if refusals + 1 >= shards {
            self.question = Question::Resting { until_ms: now_ms + REST_MS, was_full: self.free == 0 };
            return None;
        }
        self.next = (self.next + 1) % shards;
        if self.next == me.0 {
            self.next = (self.next + 1) % shards;
        }
        self.question = Question::Asked { refusals };
        Some((ShardId(self.next), Request { wanted: useful, is_full: self.free == 0 }))
    }

    /// Another shard asks: what it gets. One that will run short gets half of what is free above this shard's own
    /// need; one that has run out, half of all.
    pub(super) fn give(&mut self, request: Request) -> u32 {
        // What has moved here beyond what the table holds is of no use here.
        let excess = self.total().saturating_sub(self.limit).min(self.free);
        let own = self.free - excess;
        let spare = if request.is_full { own } else { own.saturating_sub(self.low()) };
        let given = (excess + spare / 2).min(request.wanted);
        self.free -= given;
        given
    }

    /// The answer to a question.
    pub(super) fn receive(&mut self, given: u32) {
        self.free += given;
        if let Question::Asked { refusals } = self.question {
            self.question = Question::None { refusals: if given == 0 { refusals + 1 } else { 0 } };
        }
    }

    /// With less free than this it is time to ask: an eighth of all, at most what arrives during one question.
    fn low(&self) -> u32 {
        (self.total() / 8).min(1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets shards ask and give until nobody wants anything; the sum must stay the same throughout.
    fn settle(rooms: &mut [Room], now_ms: u64) {
        let sum = |rooms: &[Room]| rooms.iter().map(Room::total).sum::<u32>();
        let before = sum(rooms);
        let shards = rooms.len() as u16;
        for _ in 0..10_000 {
            let asked = (0..shards).find_map(|me| {
                let question = rooms[usize::from(me)].poll_question(ShardId(me), shards, now_ms);
                question.map(|(to, request)| (me, to, request))
            });
            let Some((me, to, request)) = asked else { return };
            assert_ne!(to, ShardId(me), "a shard does not ask itself");
            let given = rooms[usize::from(to.0)].give(request);
            rooms[usize::from(me)].receive(given);
            assert_eq!(sum(rooms), before);
        }
        panic!("the shards ask for ever");
    }

    #[test]
    fn a_full_shard_takes_what_the_others_do_not_use() {
        let mut rooms: Vec<_> = (0..4).map(|_| Room::new(100, 1000)).collect();
        for _ in 0..250 {
            settle(&mut rooms, 0);
            assert!(rooms[0].enter(), "only {} let in", rooms[0].taken);
        }
        assert_eq!(rooms.iter().map(Room::total).sum::<u32>(), 400);
    }

    #[test]
    fn the_one_beyond_the_sum_is_refused_and_let_in_when_one_leaves() {
        let mut rooms = vec![Room::new(5, 100), Room::new(5, 100)];
        let mut entered = 0;
        for round in 0..30 {
            settle(&mut rooms, round * 1000);
            entered += u32::from(rooms[(round % 2) as usize].enter());
        }
        assert_eq!(entered, 10);
        rooms[1].leave();
        assert!(rooms[1].enter() && !rooms[1].enter());
    }

    #[test]
    fn a_shard_that_has_run_out_is_lent_the_last_room_too() {
        let mut rooms: Vec<_> = (0..8).map(|_| Room::new(12_512, 20_000)).collect();
        for room in &mut rooms {
            (0..12_500).for_each(|_| assert!(room.enter()));
        }
        let entered = (0..96u64).filter(|round| {
            settle(&mut rooms, round * 1000);
            rooms[3].enter()
        });
        assert!(entered.count() >= 96 - 2 * 7, "all but one or two of each other shard");
    }

    #[test]
    fn no_shard_takes_more_than_its_table_holds() {
        let mut rooms = vec![Room::new(100, 120), Room::new(100, 120)];
        let entered = (0..200).filter(|_| {
            settle(&mut rooms, 0);
            rooms[0].enter()
        });
        assert_eq!(entered.count(), 120);
    }

    #[test]
    fn room_moves_with_a_connection_and_what_a_shard_cannot_use_goes_back_to_the_others() {
        let mut rooms = vec![Room::new(3, 4), Room::new(3, 4)];
        for _ in 0..3 {
            assert!(rooms[0].enter() && rooms[1].enter());
        }
        for (taken, enters) in [(4, true), (4, false)] {
            rooms[0].move_out();
            rooms[1].move_in();
            assert_eq!((rooms[1].enter(), rooms[1].taken), (enters, taken), "its table holds 4");
        }
        assert_eq!((rooms[0].total(), rooms[1].total()), (1, 5));
        settle(&mut rooms, 0);
        assert!(rooms[0].enter(), "the room that was of no use there");
    }

    #[test]
    fn a_shard_that_asked_everybody_in_vain_rests() {
        let mut room = Room::new(1, 10);
        assert!(room.enter());
        for _ in 0..2 {
            assert!(room.poll_question(ShardId(0), 3, 50).is_some());
            assert!(room.poll_question(ShardId(0), 3, 50).is_none(), "one question at a time");
            room.receive(0);
        }
        assert!(room.poll_question(ShardId(0), 3, 50).is_none());
        assert!(room.poll_question(ShardId(0), 3, 149).is_none());
        assert!(room.poll_question(ShardId(0), 3, 150).is_some());
    }
}
