//! Which live connections go from one shard to another: as many, a second, as the busiest has too many for what the least busy
//! has to do. Pure, as [`super`] is.
//!
//! ```text
//!   difference   20 points for 3 s ─► begin … 10 points or less ─► settled
//!                                       └─ no better in 30 s ─► given up, for ten minutes
//! ```
//!
//! Connections are taken to be as much work each. Where they are not, the looks tell how far it has come.

use crate::{
    limits::{
        LEVELLED_PER_SECOND_MAX, LEVELLED_PER_SECOND_MIN, LEVELLING_BEGIN_PERMILLE,
        LEVELLING_BUSY_PERMILLE_MIN, LEVELLING_END_PERMILLE, LEVELLING_GAIN_PERMILLE, LEVELLING_LOOKS,
        LEVELLING_PASS_MS, LEVELLING_REST_MS,
    },
    mesh::{Load, Moves},
    model::ShardId,
};

/// What is known of it.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Levelling {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody goes; so often in a row the shards were found uneven.
    Even { uneven: u32 },
    /// Connections go; the difference when that was last looked at, and when.
    Moving { difference: u32, since_ms: u64 },
    /// It was of no use.
    Resting { until_ms: u64 },
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Turn {
    /// Connections go from now on.
    Begun,
    /// They go no more: the shards are even.
    Settled,
    /// They go no more: it was of no use.
    GivenUp,
}

/// Which go now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct Order {
    /// From which shard, and where to.
    pub(in crate::supervisor) moves: Option<(usize, Moves)>,
    pub(in crate::supervisor) turn: Option<Turn>,
}

impl Default for State {
    fn default() -> Self {
        Self::Even { uneven: 0 }
    }
}

impl Levelling {
    /// Looks at how busy shards are, in thousandths of a core.
    pub(super) fn check(&mut self, now_ms: u64, busy: &[u32], loads: &[Load]) -> Order {
        let shards = || busy.iter().copied().enumerate();
        let (Some((from, most)), Some((to, least))) =
            (shards().max_by_key(|(_, busy)| *busy), shards().min_by_key(|(_, busy)| *busy))
        else {
            return Order::default();
        };
        let difference = most - least;
        let is_uneven = most >= LEVELLING_BUSY_PERMILLE_MIN && difference >= LEVELLING_BEGIN_PERMILLE;
        let turn;
        (self.state, turn) = match self.state {
            State::Resting { until_ms } if now_ms < until_ms => (self.state, None),
            State::Resting { .. } => (State::default(), None),
            State::Even { .. } if !is_uneven => (State::default(), None),
            State::Even { uneven } if uneven + 1 < LEVELLING_LOOKS => {
                (State::Even { uneven: uneven + 1 }, None)
            }
            State::Even { .. } => (State::Moving { difference, since_ms: now_ms }, Some(Turn::Begun)),
            State::Moving { .. } if difference <= LEVELLING_END_PERMILLE => {
                (State::default(), Some(Turn::Settled))
            }
            State::Moving { since_ms, .. } if now_ms - since_ms < LEVELLING_PASS_MS => (self.state, None),
            State::Moving { difference: before, .. } if difference + LEVELLING_GAIN_PERMILLE > before => {
                (State::Resting { until_ms: now_ms + LEVELLING_REST_MS }, Some(Turn::GivenUp))
            }
            State::Moving { .. } => (State::Moving { difference, since_ms: now_ms }, None),
        };
        let State::Moving { .. } = self.state else { return Order { moves: None, turn } };
        let count = a_second_of(loads[from].clients, most, difference);
        let moves = Moves { to: ShardId(to as u16), count };
        Order { moves: (count > 0).then_some((from, moves)), turn }
    }

    /// Nothing is known any more; whether connections went.
    pub(super) fn forget(&mut self) -> bool {
        matches!(std::mem::take(&mut self.state), State::Moving { .. })
    }
}

/// How many of so many clients, of a shard that is so busy and so much busier than another, go in a second: a quarter of those
/// that are too many, for what they do shows later.
fn a_second_of(clients: u32, busy: u32, difference: u32) -> u32 {
    let too_many = u64::from(clients) * u64::from(difference) / (2 * u64::from(busy.max(1)));
    let most = (clients / 100).clamp(LEVELLED_PER_SECOND_MIN, LEVELLED_PER_SECOND_MAX);
    (too_many.div_ceil(4)).min(most.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world of two shards in which a client is so much work, and what is shown of that is five seconds old on average.
    struct World {
        levelling: Levelling,
        clients: [u32; 2],
        /// What stays where it is, in thousandths of a core.
        fixed: [u32; 2],
        work: f64,
        shown: std::collections::VecDeque<[u32; 2]>,
        now_ms: u64,
        turns: Vec<Turn>,
    }

    impl World {
        fn new(clients: [u32; 2], fixed: [u32; 2], work: f64) -> Self {
            let (levelling, shown, turns) = Default::default();
            Self { levelling, clients, fixed, work, shown, now_ms: 0, turns }
        }

        fn busy(&self) -> [u32; 2] {
            [0, 1].map(|at| self.fixed[at] + (f64::from(self.clients[at]) * self.work) as u32)
        }

        /// A second passes; how many go.
        fn pass(&mut self) -> u32 {
            self.now_ms += 1000;
            self.shown.push_back(self.busy());
            if self.shown.len() > 5 {
                self.shown.pop_front();
            }
            let count = self.shown.len() as u32;
            let busy = [0, 1].map(|at| self.shown.iter().map(|one| one[at]).sum::<u32>() / count);
            let loads = self.clients.map(|clients| Load { clients, ..Load::default() });
            let order = self.levelling.check(self.now_ms, &busy, &loads);
            self.turns.extend(order.turn);
            let Some((from, Moves { to, count })) = order.moves else { return 0 };
            self.clients[from] -= count;
            self.clients[usize::from(to.0)] += count;
            count
        }
    }

    #[test]
    fn nine_to_one_is_levelled_at_its_rate_and_then_nobody_goes_for_ten_minutes() {
        for clients in [[9_000, 1_000], [100, 900], [45, 5]] {
            let all: u32 = clients.iter().sum();
            let mut world = World::new(clients, [20, 20], 900.0 / f64::from(all));
            let most = (clients.iter().max().expect("two") / 100)
                .clamp(LEVELLED_PER_SECOND_MIN, LEVELLED_PER_SECOND_MAX);
            assert_eq!([0; 2], [(); 2].map(|()| world.pass()), "a burst is nothing");
            for _ in 0..120 {
                assert!(world.pass() <= most);
            }
            let [one, other] = world.busy();
            assert!(one.abs_diff(other) <= 100, "{clients:?}: {:?}", world.busy());
            assert_eq!(world.turns, [Turn::Begun, Turn::Settled], "{clients:?}");
            for _ in 0..600 {
                assert_eq!(world.pass(), 0);
            }
        }
    }

    #[test]
    fn between_begin_and_end_nobody_begins_to_go() {
        for (difference, goes) in [(150, false), (199, false), (200, true)] {
            let mut world = World::new([1_000, 1_000], [500 + difference, 500], 0.0);
            let went: u32 = (0..5).map(|_| world.pass()).sum();
            assert_eq!(went > 0, goes, "{difference}");
        }
        let mut idle = World::new([1_000, 1_000], [399, 0], 0.0);
        assert_eq!((0..20).map(|_| idle.pass()).sum::<u32>(), 0, "it has time enough");
    }

    #[test]
    fn what_is_no_clients_work_is_given_up_for_a_while() {
        let mut world = World::new([10_000, 10_000], [900, 100], 0.0);
        let went: Vec<_> = (0..300).map(|_| world.pass()).collect();
        assert_eq!(world.turns, [Turn::Begun, Turn::GivenUp]);
        let end = went.iter().rposition(|count| *count > 0).expect("some went");
        assert!((30..40).contains(&end), "{end}");
        (0..400).for_each(|_| _ = world.pass());
        assert_eq!(world.turns, [Turn::Begun, Turn::GivenUp, Turn::Begun, Turn::GivenUp]);
    }
}
