//! The supervisor's waiting: signals and ends of shards come in, orders to the shards go out.
//!
//! ```text
//!         first signal, or drain       every shard ended
//!   Serving ───────────────► Draining ───────────────► Ok(Drained)
//!      │                        │ └── second signal ──► Ok(Forced)
//!      └── a shard ended ──► Failed ◄── a shard died
//!                               └── every shard ended, or a signal, or too long ──► Err
//! ```

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use tracing::{error, info, warn};

use super::{ExitReason, ServeError, signals};
use crate::{mesh::Command, model::ShardId};

/// What the supervisor hears.
#[derive(Debug)]
pub(super) enum Event {
    /// A signal asks to end.
    Signal(i32),
    /// The program that started the server asks to end.
    Drain,
    /// A shard's thread has ended.
    Ended(ShardId, Result<(), ServeError>),
}

enum State {
    Serving,
    Draining,
    Failed(ServeError),
}

/// Shards that are told to stop after a failure get this long; then the process ends without them.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Waits until every one of `running` shards has ended, or nothing is left worth waiting for.
pub(super) fn until_ended(
    mut running: usize,
    events: &Receiver<Event>,
    mut order: impl FnMut(Command),
) -> Result<ExitReason, ServeError> {
    let mut state = State::Serving;
    while running > 0 {
        let event = match &state {
            State::Serving | State::Draining => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            State::Failed(_) => events.recv_timeout(STOP_TIME),
        };
        state = match (state, event) {
            (State::Serving, Ok(Event::Signal(signal))) => {
                info!("draining after {}", signals::name(signal));
                order(Command::Drain);
                State::Draining
            }
            (State::Draining, Ok(Event::Signal(signal))) => {
                warn!("ending at once after a second signal, {}", signals::name(signal));
                order(Command::Stop);
                return Ok(ExitReason::Forced(signal));
            }
            (State::Serving, Ok(Event::Drain)) => {
                info!("draining");
                order(Command::Drain);
                State::Draining
            }
            (asked @ (State::Draining | State::Failed(_)), Ok(Event::Drain)) => asked,
            (State::Draining, Ok(Event::Ended(shard, Ok(())))) => {
                info!(shard = shard.0, "drained");
                running -= 1;
                State::Draining
            }
            (State::Serving, Ok(Event::Ended(shard, result))) => {
                running -= 1;
                fail(result.err().unwrap_or(ServeError::EndedUnasked(shard)), &mut order)
            }
            (State::Draining, Ok(Event::Ended(_, Err(error)))) => {
                running -= 1;
                fail(error, &mut order)
            }
            (State::Failed(first), Ok(Event::Ended(..))) => {
                running -= 1;
                State::Failed(first)
            }
            (State::Failed(first), Ok(Event::Signal(_)) | Err(_)) => return Err(first),
            // Every sender has gone, so nobody is left to wait for.
            (State::Serving | State::Draining, Err(_)) => return Ok(ExitReason::Drained),
        };
    }
    match state {
        State::Serving | State::Draining => Ok(ExitReason::Drained),
        State::Failed(first) => Err(first),
    }
}

fn fail(first: ServeError, order: &mut impl FnMut(Command)) -> State {
    error!("{first}; stopping every shard");
    order(Command::Stop);
    State::Failed(first)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use signal_hook::consts::{SIGINT, SIGTERM};

    use super::*;

    /// Plays the events to a supervisor of two shards; tells the outcome and the orders given.
    fn play(events: Vec<Event>) -> (Result<ExitReason, String>, Vec<Command>) {
        let (sender, receiver) = mpsc::channel();
        events.into_iter().for_each(|event| sender.send(event).expect("the receiver lives"));
        drop(sender);
        let mut orders = Vec::new();
        let outcome = until_ended(2, &receiver, |order| orders.push(order));
        (outcome.map_err(|error| error.to_string()), orders)
    }

    fn ended(shard: u16) -> Event {
        Event::Ended(ShardId(shard), Ok(()))
    }

    #[test]
    fn the_first_signal_drains_and_every_shard_is_waited_for() {
        let (outcome, orders) = play(vec![Event::Signal(SIGTERM), ended(1), ended(0)]);
        assert_eq!(outcome, Ok(ExitReason::Drained));
        assert_eq!(orders, [Command::Drain]);
    }

    #[test]
    fn a_program_that_asks_twice_drains_once() {
        let (outcome, orders) = play(vec![Event::Drain, Event::Drain, ended(1), ended(0)]);
        assert_eq!(outcome, Ok(ExitReason::Drained));
        assert_eq!(orders, [Command::Drain]);
    }

    #[test]
    fn the_second_signal_ends_at_once() {
        let (outcome, orders) = play(vec![Event::Signal(SIGTERM), ended(1), Event::Signal(SIGINT)]);
        assert_eq!(outcome, Ok(ExitReason::Forced(SIGINT)));
        assert_eq!(orders, [Command::Drain, Command::Stop]);
    }

    #[test]
    fn a_shard_that_ends_unasked_ends_everything_with_the_first_error() {
        let died = Event::Ended(ShardId(0), Err(ServeError::EndedUnasked(ShardId(7))));
        let (outcome, orders) = play(vec![ended(1), died]);
        assert_eq!(outcome, Err("shard 1 ended though nobody had asked it to".to_owned()));
        assert_eq!(orders, [Command::Stop]);
    }

    #[test]
    fn a_shard_that_dies_while_draining_ends_everything() {
        let died = Event::Ended(ShardId(0), Err(ServeError::EndedUnasked(ShardId(0))));
        let (outcome, orders) = play(vec![Event::Signal(SIGTERM), died, ended(1)]);
        assert!(outcome.is_err());
        assert_eq!(orders, [Command::Drain, Command::Stop]);
    }

    #[test]
    fn a_signal_does_not_wait_for_shards_that_fail_to_stop() {
        let (outcome, orders) = play(vec![ended(1), Event::Signal(SIGTERM)]);
        assert!(outcome.is_err());
        assert_eq!(orders, [Command::Stop]);
    }
}
