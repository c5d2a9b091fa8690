//! What becomes of a server that has ended: nothing, another one after a while, or the keeper's end.
//!
//! Invariant: whoever asked for an end, and whose configuration is wrong, is not made to wait.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use rustix::process::WaitStatus;
use signal_hook::low_level::signal_name;

use crate::limits::{KEEPER_CRASHES_MAX, KEEPER_CRASHES_MS, KEEPER_DELAY_MS_MAX, KEEPER_DELAY_MS_MIN};

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// What the keeper does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It ends with the same status.
    End(u8),
    /// It starts another server after this time.
    Again(Duration),
    /// It gives up: too many have ended one soon after the other.
    GiveUp,
}

/// What is known of the server that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Whether somebody asked for its end.
    pub(super) is_asked: bool,
    /// Whether any server of this keeper has ever served.
    pub(super) has_served: bool,
}

/// The ends that nobody asked for.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    /// The latest, within [`KEEPER_CRASHES_MS`].
    recent: VecDeque<Instant>,
    /// How many followed each other within that time.
    in_a_row: u32,
}

impl Crashes {
    /// What to do after an end.
    pub(super) fn judge(&mut self, ended: Ended, past: Past, now: Instant) -> Next {
        match ended {
            _ if past.is_asked => Next::End(ended.code()),
            // A server that cannot start says why, and the same as without a keeper: so do those whose configuration has
            // become wrong, which another start would not cure.
            Ended::Exited(code) if !past.has_served || code == USAGE => Next::End(ended.code()),
            Ended::Exited(0) => Next::End(0),
            Ended::Exited(_) | Ended::Killed(_) => self.note(now),
        }
    }

    /// What to do after an end that nobody asked for.
    pub(super) fn note(&mut self, now: Instant) -> Next {
        let time = Duration::from_millis(KEEPER_CRASHES_MS);
        while self.recent.front().is_some_and(|at| now.duration_since(*at) >= time) {
            self.recent.pop_front();
        }
        if self.recent.is_empty() {
            self.in_a_row = 0;
        }
        self.recent.push_back(now);
        if self.recent.len() >= KEEPER_CRASHES_MAX {
            return Next::GiveUp;
        }
        let delay_ms = KEEPER_DELAY_MS_MIN << self.in_a_row.min(16);
        self.in_a_row += 1;
        Next::Again(Duration::from_millis(delay_ms.min(KEEPER_DELAY_MS_MAX)))
    }
}

/// The status of a program whose configuration is wrong.
const USAGE: i32 = 2;

impl Ended {
    pub(super) fn of(status: WaitStatus) -> Option<Self> {
        let killed = || status.terminating_signal().map(Self::Killed);
        status.exit_status().map(Self::Exited).or_else(killed)
    }

    /// The status a shell gives it.
    pub(super) fn code(self) -> u8 {
        let code = match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with status {code}"),
            Self::Killed(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was ended by {name}"),
                None => write!(f, "was ended by signal {signal}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: Past = Past { is_asked: false, has_served: true };

    #[test]
    fn who_asked_is_given_the_servers_status() {
        let asked = Past { is_asked: true, has_served: true };
        for (ended, code) in
            [(Ended::Exited(0), 0), (Ended::Exited(1), 1), (Ended::Exited(143), 143), (Ended::Killed(9), 137)]
        {
            assert_eq!(Crashes::default().judge(ended, asked, Instant::now()), Next::End(code));
        }
    }

    #[test]
    fn a_server_that_cannot_start_ends_at_once_and_one_that_crashes_while_it_starts_is_tried_again() {
        let unborn = Past { is_asked: false, has_served: false };
        let judge = |ended, past| Crashes::default().judge(ended, past, Instant::now());
        let again = Next::Again(Duration::from_millis(KEEPER_DELAY_MS_MIN));
        for code in [1, 2] {
            assert_eq!(judge(Ended::Exited(code), unborn), Next::End(code as u8));
        }
        assert_eq!(judge(Ended::Killed(11), unborn), again);
        assert_eq!(judge(Ended::Exited(2), SERVED), Next::End(2), "its file has become wrong");
        assert_eq!(judge(Ended::Exited(1), SERVED), again);
        assert_eq!(judge(Ended::Exited(101), SERVED), again);
    }

    #[test]
    fn delays_grow_to_their_bound_and_begin_anew_after_a_quiet_minute() {
        let (mut crashes, mut now) = (Crashes::default(), Instant::now());
        let mut delays = Vec::new();
        // Never three within a minute.
        for _ in 0..10 {
            now += Duration::from_secs(40);
            match crashes.judge(Ended::Killed(9), SERVED, now) {
                Next::Again(delay) => delays.push(delay.as_millis()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
        now += Duration::from_millis(KEEPER_CRASHES_MS);
        let next = crashes.judge(Ended::Killed(9), SERVED, now);
        assert_eq!(next, Next::Again(Duration::from_millis(100)));
    }

    #[test]
    fn the_third_end_within_a_minute_is_the_last() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        let mut at = |seconds| crashes.judge(Ended::Killed(9), SERVED, now + Duration::from_secs(seconds));
        assert!(matches!(at(0), Next::Again(_)));
        assert!(matches!(at(30), Next::Again(_)));
        assert!(matches!(at(61), Next::Again(_)), "the first is longer ago");
        assert_eq!(at(89), Next::GiveUp);
    }

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(Ended::Exited(1).to_string(), "ended with status 1");
        assert_eq!(Ended::Killed(9).to_string(), "was ended by SIGKILL");
    }
}
