//! The supervisor's waiting: signals and ends of shards come in, orders to the shards go out.
//!
//! ```text
//!         first signal, or drain            every shard ended
//!   Serving ───────────────────► Draining ───────────────► Ok(Drained)
//!      │                            │ └── second signal ──► Ok(Forced)
//!      └── a shard ended ──► Failed ◄── a shard died
//!                               └── every shard ended, or a signal, or too long ──► Err
//! ```
//!
//! SIGHUP, SIGUSR1 and SIGUSR2 end nothing: the first has the settings read again, the others are reserved.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use tracing::{error, info, warn};

use super::{ExitReason, ServeError, reload::Settings, signals};
use crate::{config::Config, mesh::Command, model::ShardId};

/// What the supervisor hears.
#[derive(Debug)]
pub(super) enum Event {
    /// A signal.
    Signal(i32),
    /// The program that started the server asks to end.
    Drain,
    /// The program that started the server has other settings.
    Change(Box<Config>),
    /// A shard's thread has ended.
    Ended(ShardId, Result<(), ServeError>),
}

enum State {
    Serving,
    Draining,
    Failed(ServeError),
}

/// Who waits.
pub(super) struct Watch<'a, O> {
    /// Shards that have not ended.
    pub(super) running: usize,
    pub(super) settings: Settings<'a>,
    /// Passes an order to every shard.
    pub(super) order: O,
}

/// Shards that are told to stop after a failure get this long; then the process ends without them.
const STOP_TIME: Duration = Duration::from_secs(5);

impl<O: FnMut(Command)> Watch<'_, O> {
    /// Waits until every shard has ended, or nothing is left worth waiting for.
    pub(super) fn until_ended(mut self, events: &Receiver<Event>) -> Result<ExitReason, ServeError> {
        let mut state = State::Serving;
        while self.running > 0 {
            let event = match &state {
                State::Serving | State::Draining => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                State::Failed(_) => events.recv_timeout(STOP_TIME),
            };
            state = match (state, event) {
                (state, Ok(Event::Signal(signal @ (SIGHUP | SIGUSR1 | SIGUSR2)))) => {
                    self.obey(signal);
                    state
                }
                (state, Ok(Event::Change(config))) => {
                    let live = self.settings.adopt(&config);
                    live.into_iter().for_each(|live| (self.order)(Command::Change(live)));
                    state
                }
                (State::Serving, Ok(Event::Signal(signal))) => {
                    info!("draining after {}", signals::name(signal));
                    self.drain()
                }
                (State::Draining, Ok(Event::Signal(signal))) => {
                    warn!("ending at once after a second signal, {}", signals::name(signal));
                    (self.order)(Command::Stop);
                    return Ok(ExitReason::Forced(signal));
                }
                (State::Serving, Ok(Event::Drain)) => {
                    info!("draining");
                    self.drain()
                }
                (asked @ (State::Draining | State::Failed(_)), Ok(Event::Drain)) => asked,
                (State::Draining, Ok(Event::Ended(shard, Ok(())))) => {
                    info!(shard = shard.0, "drained");
                    self.running -= 1;
                    State::Draining
                }
                (State::Serving, Ok(Event::Ended(shard, result))) => {
                    self.running -= 1;
                    self.fail(result.err().unwrap_or(ServeError::EndedUnasked(shard)))
                }
                (State::Draining, Ok(Event::Ended(_, Err(error)))) => {
                    self.running -= 1;
                    self.fail(error)
                }
                (State::Failed(first), Ok(Event::Ended(..))) => {
                    self.running -= 1;
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

    /// Does what a signal asks that ends nothing.
    fn obey(&mut self, signal: i32) {
        match signal {
            SIGHUP => {
                let live = self.settings.read_again();
                live.into_iter().for_each(|live| (self.order)(Command::Change(live)));
            }
            SIGUSR1 => {
                info!("SIGUSR1 is ignored: log lines go to standard error, there is no file to open again")
            }
            _ => info!("{} is ignored: it has no meaning yet", signals::name(signal)),
        }
    }

    fn drain(&mut self) -> State {
        (self.order)(Command::Drain);
        State::Draining
    }

    fn fail(&mut self, first: ServeError) -> State {
        error!("{first}; stopping every shard");
        (self.order)(Command::Stop);
        State::Failed(first)
    }
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
        let settings = Settings::new(Config::default(), 2);
        let watch = Watch { running: 2, settings, order: |order| orders.push(order) };
        let outcome = watch.until_ended(&receiver);
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

    #[test]
    fn signals_that_ask_for_something_else_end_nothing() {
        let signals = [SIGHUP, SIGUSR1, SIGUSR2].map(Event::Signal);
        let events = signals.into_iter().chain([Event::Signal(SIGTERM), ended(1), ended(0)]);
        let (outcome, orders) = play(events.collect());
        assert_eq!(outcome, Ok(ExitReason::Drained));
        assert_eq!(orders, [Command::Drain], "and one that comes while it drains is not a second one");
        let (outcome, _) = play(vec![Event::Signal(SIGTERM), Event::Signal(SIGHUP), ended(1), ended(0)]);
        assert_eq!(outcome, Ok(ExitReason::Drained));
    }

    #[test]
    fn what_a_program_changes_reaches_the_shards_if_it_can_work() {
        let (mut good, mut bad) = (Config::default(), Config::default());
        good.limits.ping_interval_ms = 30_000;
        bad.limits.ping_interval_ms = 1;
        let changes = [good.clone(), bad, good].map(|config| Event::Change(Box::new(config)));
        let (_, orders) = play(changes.into_iter().chain([ended(1), ended(0)]).collect());
        let [Command::Change(live), Command::Stop] = &orders[..] else { panic!("{orders:?}") };
        assert_eq!(live.limits.ping_interval_ms, 30_000);
    }
}
