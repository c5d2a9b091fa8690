//! The supervisor's waiting: signals and ends of shards come in, orders to the shards go out.
//!
//! ```text
//!         first signal, or drain      lame_duck_ms         every shard ended
//!   Serving ───────────────► Leaving ───────────► Draining ───────────────► Ok(Drained)
//!      │                        │                    │ └── too long ──► Err(Overdue)
//!      │                        └── second signal ───┴──► Ok(Forced)
//!      └── a shard ended ──► Failed ◄── a shard died
//!                               └── every shard ended, or a signal, or too long ──► Err
//! ```
//!
//! SIGHUP, SIGUSR1 and SIGUSR2 end nothing: the first has the settings read again, the second is reserved, the third is a
//! keeper's.
//!
//! A shard that hangs is not waited for: when only such are left, that is the end, and where another process goes on it does so
//! with what the others have left. If one hangs for long while the server serves, the keeper is asked to put another process in
//! place of this one, which is the one way to be rid of its thread.

use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use tracing::{error, info, warn};

use super::{ExitReason, ServeError, memory::Memory, pulses::Pulses, reload::Settings, signals};
use crate::{
    auth::Revocation,
    config::Config,
    limits::{DRAIN_GRACE_MS, DRAIN_OVERDUE_MS, SHARD_DISMISSED_MS, UPGRADE_DRAIN_MS_MAX, UPGRADE_REST_MS},
    mesh::{Command, Heir},
    model::ShardId,
};

/// What the supervisor hears.
#[derive(Debug)]
pub(super) enum Event {
    /// A signal.
    Signal(i32),
    /// A signal asks to end, and is not counted: a keeper does that.
    Asked(i32),
    /// The program that started the server asks to end.
    Drain,
    /// Another process goes on.
    HandOver {
        /// With connections as well.
        carries: bool,
    },
    /// Somebody asks for what SIGHUP asks for.
    Reload,
    /// Somebody asks for what a keeper does at SIGUSR2.
    Upgrade,
    /// Somebody is shut out, which a keeper remembers.
    ShutOut(Revocation),
    /// The program that started the server has other settings.
    Change(Box<Config>),
    /// A shard's thread has ended.
    Ended(ShardId, Result<(), ServeError>),
}

enum State {
    Serving,
    /// Everybody is told not to send clients here; the drain begins then.
    Leaving(Instant),
    /// Clients are told to go. Shards that have not ended then are not waited for.
    Draining(Instant),
    /// Shards were told to stop. Those that have not ended then are not waited for.
    Failed(ServeError, Instant),
}

/// Who waits.
pub(super) struct Watch<O> {
    /// Shards that have not ended.
    pub(super) running: BTreeSet<ShardId>,
    pub(super) settings: Settings,
    pub(super) pulses: Pulses,
    pub(super) memory: Memory,
    /// Who is left what the shards keep when another process goes on.
    pub(super) heir: Option<Heir>,
    /// Tells the keeper, if there is one.
    pub(super) tell_keeper: Option<TellKeeper>,
    /// When the keeper was asked for another process last, because a shard hangs.
    pub(super) replacing: Option<Instant>,
    /// Passes an order to every shard.
    pub(super) order: O,
}

/// What a keeper is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ForKeeper {
    /// An operator asks for an upgrade.
    Upgrade,
    /// A shard hangs, and another process is to go on.
    Replace,
    /// Somebody is shut out.
    ShutOut(Revocation),
    /// How long the server takes to end that is asked to, at most.
    EndsWithin(Duration),
}

/// Tells a keeper.
pub(super) type TellKeeper = Box<dyn Fn(ForKeeper) + Send>;

const WITHOUT_KEEPER: &str = "upgrades are a keeper's (server.keeper; with `roadstead run` also --listen)";

/// So often, once a second, shards look themselves who waits to be accepted, when the process has begun: until one before it, of
/// which a shard hung, has gone.
const LOOKS_AT_QUEUES: u64 = 5;

/// The keeper is asked again for another process, should nothing have come of it, after this time.
const REPLACE_AGAIN: Duration = Duration::from_secs(60);

/// Shards that are told to stop after a failure get this long; then the process ends without them.
const STOP_TIME: Duration = Duration::from_secs(5);

impl<O: FnMut(Command)> Watch<O> {
    /// Waits until every shard has ended, or nothing is left worth waiting for.
    pub(super) fn until_ended(&mut self, events: &Receiver<Event>) -> Result<ExitReason, ServeError> {
        let mut state = State::Serving;
        self.tell_keeper(ForKeeper::EndsWithin(self.settings.ends_within()));
        while !self.running.is_empty() {
            let event = self.next(&state, events);
            self.check_pulses(&state);
            if matches!(state, State::Draining(_)) && self.only_hang() {
                return self.leave_behind();
            }
            let told = self.settings.pass_time(Instant::now());
            told.into_iter().for_each(&mut self.order);
            state = match (state.deadline(), event) {
                (_, Ok(event)) => match self.handle(state, event)? {
                    Ok(state) => state,
                    Err(reason) => return Ok(reason),
                },
                (Some(until), Err(RecvTimeoutError::Timeout)) if until <= Instant::now() => {
                    match self.pass_time(state)? {
                        Ok(state) => state,
                        Err(reason) => return Ok(reason),
                    }
                }
                (_, Err(RecvTimeoutError::Timeout)) => state,
                // Every sender has gone, so nobody is left to wait for.
                (_, Err(RecvTimeoutError::Disconnected)) => break,
            };
        }
        match state {
            State::Failed(first, _) => Err(first),
            State::Draining(_) if self.heir.is_none() => Ok(ExitReason::HandedOver),
            State::Serving | State::Leaving(_) | State::Draining(_) => Ok(ExitReason::Drained),
        }
    }

    fn next(&self, state: &State, events: &Receiver<Event>) -> Result<Event, RecvTimeoutError> {
        let times = [state.deadline(), self.pulses.next_check(), self.settings.next_due()];
        match times.into_iter().flatten().min() {
            Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Whether every shard that has not ended hangs.
    fn only_hang(&self) -> bool {
        let (time, now) = (Duration::from_millis(SHARD_DISMISSED_MS), Instant::now());
        self.running.iter().all(|shard| self.pulses.hangs(*shard, time, now))
    }

    /// Ends without the shards that have not ended. Another process that goes on does so with what the others have left.
    fn leave_behind(&mut self) -> Result<ExitReason, ServeError> {
        let overdue = ServeError::Overdue(self.running.iter().copied().collect());
        error!("{overdue}");
        (self.order)(Command::Stop);
        if self.heir.is_none() { Ok(ExitReason::HandedOver) } else { Err(overdue) }
    }

    /// Asks the keeper for another process if a shard has hung for long.
    fn replace_if_hung(&mut self, now: Instant) {
        let (Some(time), Some(_)) = (self.settings.replaced_after(), &self.tell_keeper) else { return };
        let has_asked = self.replacing.is_some_and(|asked| now.duration_since(asked) < REPLACE_AGAIN);
        let hanging = self.running.iter().find(|shard| self.pulses.hangs(**shard, time, now));
        if let Some(shard) = hanging.filter(|_| !has_asked) {
            error!(shard = shard.0, "the shard does not come back: the keeper is asked for another process");
            self.replacing = Some(now);
            self.tell_keeper(ForKeeper::Replace);
        }
    }

    /// Sees whether every shard does its turns, and whether there is memory for newcomers.
    fn check_pulses(&mut self, state: &State) {
        let now = Instant::now();
        if self.pulses.next_check().is_some_and(|at| at <= now) {
            let silent = self.pulses.check(now, |shard| self.running.contains(&shard));
            silent.into_iter().for_each(|silent| (self.order)(Command::Silent(silent)));
            if self.tell_keeper.is_some() && self.pulses.looks <= LOOKS_AT_QUEUES {
                (self.order)(Command::LookWhoWaits);
            }
            let queued = self.pulses.take_queued();
            queued.into_iter().for_each(|queued| (self.order)(Command::Serve(queued)));
            self.pulses.level(|shard| self.running.contains(&shard), self.settings.balancing());
            let told = self.memory.check(self.settings.memory_max());
            told.into_iter().for_each(&mut self.order);
            if matches!(state, State::Serving) {
                self.replace_if_hung(now);
            }
        }
    }

    /// What becomes of the state; or the reason to end at once.
    fn handle(&mut self, state: State, event: Event) -> Result<Result<State, ExitReason>, ServeError> {
        Ok(Ok(match (state, event) {
            (state, Event::Signal(signal @ (SIGHUP | SIGUSR1 | SIGUSR2))) => {
                self.obey(signal);
                state
            }
            (state, Event::Change(config)) => {
                let told = self.settings.adopt(&config);
                self.obey_settings(told);
                state
            }
            (state, Event::Reload) => {
                self.obey(SIGHUP);
                state
            }
            (state, Event::Upgrade) => {
                match &self.tell_keeper {
                    Some(tell) => tell(ForKeeper::Upgrade),
                    None => info!("{WITHOUT_KEEPER}"),
                }
                state
            }
            (state, Event::ShutOut(revocation)) => {
                self.tell_keeper(ForKeeper::ShutOut(revocation));
                state
            }
            (State::Serving, Event::Signal(signal)) => {
                self.leave(&format!(" after {}", signals::name(signal)))
            }
            (State::Serving, Event::Asked(signal)) => {
                self.leave(&format!(" after {}", signals::name(signal)))
            }
            (State::Serving, Event::Drain) => self.leave(""),
            (State::Serving, Event::HandOver { carries }) => self.hand_over(carries),
            (asked, Event::Drain | Event::Asked(_) | Event::HandOver { .. }) => asked,
            (State::Leaving(_) | State::Draining(_), Event::Signal(signal)) => {
                warn!("ending at once after a second signal, {}", signals::name(signal));
                (self.order)(Command::Stop);
                return Ok(Err(ExitReason::Forced(signal)));
            }
            (State::Failed(first, _), Event::Signal(_)) => return Err(first),
            (State::Draining(until), Event::Ended(shard, Ok(()))) => {
                info!(shard = shard.0, "drained");
                self.running.remove(&shard);
                State::Draining(until)
            }
            (State::Serving | State::Leaving(_), Event::Ended(shard, result)) => {
                self.running.remove(&shard);
                self.fail(result.err().unwrap_or(ServeError::EndedUnasked(shard)))
            }
            (State::Draining(_), Event::Ended(shard, Err(error))) => {
                self.running.remove(&shard);
                self.fail(error)
            }
            (State::Failed(first, until), Event::Ended(shard, _)) => {
                self.running.remove(&shard);
                State::Failed(first, until)
            }
        }))
    }

    /// The time of a state is over: what becomes of it, or the reason to end.
    fn pass_time(&mut self, state: State) -> Result<Result<State, ExitReason>, ServeError> {
        match state {
            State::Serving => Ok(Ok(State::Serving)),
            State::Leaving(_) => Ok(Ok(self.drain(""))),
            State::Draining(_) => self.leave_behind().map(Err),
            State::Failed(first, _) => Err(first),
        }
    }

    fn leave(&mut self, why: &str) -> State {
        match self.settings.lame_duck() {
            Duration::ZERO => self.drain(why),
            time => {
                info!("not ready any more{why}; draining in {} ms", time.as_millis());
                (self.order)(Command::Leave);
                State::Leaving(Instant::now() + time)
            }
        }
    }

    fn drain(&mut self, why: &str) -> State {
        info!("draining{why}");
        (self.order)(Command::Drain);
        let extra = Duration::from_millis(DRAIN_GRACE_MS + DRAIN_OVERDUE_MS);
        State::Draining(Instant::now() + self.settings.drain() + extra)
    }

    /// Drains at once, and not for long: whoever comes back waits for the process that goes on.
    fn hand_over(&mut self, carries: bool) -> State {
        let Some(mut heir) = self.heir.take() else { return State::Serving };
        match carries {
            true => info!("another process goes on: clients that it cannot go on with are told to come back"),
            false => info!("another process goes on: clients are told to come back"),
        }
        heir.stashes = heir.stashes.filter(|_| carries);
        (self.order)(Command::HandOver(heir));
        let time = self.settings.drain().min(Duration::from_millis(UPGRADE_DRAIN_MS_MAX.into()));
        let rest_ms = if carries { UPGRADE_REST_MS } else { 0 };
        let extra = Duration::from_millis(DRAIN_GRACE_MS + DRAIN_OVERDUE_MS + rest_ms);
        State::Draining(Instant::now() + time + extra)
    }

    fn fail(&mut self, first: ServeError) -> State {
        error!("{first}; stopping every shard");
        (self.order)(Command::Stop);
        State::Failed(first, Instant::now() + STOP_TIME)
    }

    /// Passes on what follows from other settings.
    fn obey_settings(&mut self, told: Vec<Command>) {
        told.into_iter().for_each(&mut self.order);
        self.tell_keeper(ForKeeper::EndsWithin(self.settings.ends_within()));
    }

    /// Tells the keeper, if there is one.
    fn tell_keeper(&self, what: ForKeeper) {
        if let Some(tell) = &self.tell_keeper {
            tell(what);
        }
    }

    /// Does what a signal asks that ends nothing.
    fn obey(&mut self, signal: i32) {
        match signal {
            SIGHUP => {
                let told = self.settings.read_again();
                self.obey_settings(told);
            }
            SIGUSR1 => {
                info!("SIGUSR1 is ignored: log lines go to standard error, there is no file to open again")
            }
            _ => info!("{} is ignored: {WITHOUT_KEEPER}", signals::name(signal)),
        }
    }
}

impl State {
    /// Until when it may last.
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Leaving(until) | Self::Draining(until) | Self::Failed(_, until) => Some(*until),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use signal_hook::consts::{SIGINT, SIGTERM};

    use super::*;

    /// Plays the events to a supervisor of two shards; tells the outcome and the orders given.
    fn play(events: Vec<Event>) -> (Result<ExitReason, String>, Vec<Command>) {
        play_with(Config::default(), events)
    }

    fn watch<O: FnMut(Command)>(config: Config, order: O) -> Watch<O> {
        Watch {
            running: [0, 1].map(ShardId).into(),
            settings: Settings::new(config, 2, None, None),
            pulses: Pulses::default(),
            memory: Memory::default(),
            heir: Some(Heir { left: mpsc::channel().0, stashes: Some(mpsc::channel().0) }),
            tell_keeper: None,
            replacing: None,
            order,
        }
    }

    fn play_with(config: Config, events: Vec<Event>) -> (Result<ExitReason, String>, Vec<Command>) {
        let mut orders = Vec::new();
        let outcome = watch(config, |order| orders.push(order)).until_ended(&heard(events));
        (outcome.map_err(|error| error.to_string()), orders)
    }

    /// These events, and nothing more.
    fn heard(events: Vec<Event>) -> Receiver<Event> {
        let (sender, receiver) = mpsc::channel();
        events.into_iter().for_each(|event| sender.send(event).expect("the receiver lives"));
        receiver
    }

    /// A supervisor of two shards, of which the second has hung for so long; and what it tells its keeper.
    fn watch_hanging(time: Duration) -> (Watch<impl FnMut(Command)>, Receiver<ForKeeper>) {
        let (teller, told) = mpsc::channel();
        let tell: TellKeeper = Box::new(move |what| teller.send(what).expect("somebody listens"));
        let watch = watch(Config::default(), drop);
        (Watch { pulses: Pulses::of_two(time), tell_keeper: Some(tell), ..watch }, told)
    }

    #[test]
    fn shards_that_hang_are_not_waited_for_and_another_process_goes_on_with_what_the_others_leave() {
        let hung = Duration::from_millis(SHARD_DISMISSED_MS);
        for (asked, ends) in [
            (Event::Drain, Err("shard 1 had not ended in time after draining".to_owned())),
            (Event::HandOver { carries: true }, Ok(ExitReason::HandedOver)),
        ] {
            let (mut watch, _told) = watch_hanging(hung);
            // Nobody comes who would tell that more have ended, and the drain lasts for seconds.
            watch.settings = Settings::new(patient(), 2, None, None);
            let (sender, receiver) = mpsc::channel();
            [asked, ended(0)].into_iter().for_each(|event| sender.send(event).expect("it listens"));
            let outcome = watch.until_ended(&receiver).map_err(|error| error.to_string());
            let told = |text: &String| text.split(':').next().map(str::to_owned).unwrap_or_default();
            assert_eq!(outcome.as_ref().map_err(told), ends.as_ref().map_err(Clone::clone));
            assert_eq!(watch.running, [ShardId(1)].into());
        }
    }

    #[test]
    fn a_keeper_is_asked_for_another_process_when_a_shard_has_hung_for_long_and_not_at_every_look() {
        let replaced = |time: Duration, config: Config| {
            let (mut watch, told) = watch_hanging(time);
            watch.settings = Settings::new(config, 2, None, None);
            for _ in 0..3 {
                watch.pulses.look_again();
                watch.check_pulses(&State::Serving);
            }
            watch.pulses.look_again();
            watch.check_pulses(&State::Leaving(Instant::now()));
            told.try_iter().filter(|said| *said == ForKeeper::Replace).count()
        };
        let (mut config, time) = (Config::default(), Duration::from_millis(20_000));
        assert_eq!(replaced(time, config.clone()), 0, "it may come back");
        config.server.shard_replaced_ms = 20_000;
        assert_eq!(replaced(time, config.clone()), 1);
        config.server.shard_replaced_ms = 1;
        assert_eq!(replaced(Duration::from_millis(SHARD_DISMISSED_MS - 1_000), config.clone()), 0);
        assert_eq!(replaced(Duration::from_millis(SHARD_DISMISSED_MS), config.clone()), 1);
        config.server.shard_replaced_ms = 0;
        assert_eq!(replaced(2 * time, config), 0, "nobody wants that");
    }

    /// Clients have an hour to go.
    fn patient() -> Config {
        let mut config = Config::default();
        config.server.drain_ms = 3_600_000;
        config
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
    fn a_signal_that_reaches_keeper_and_server_is_one() {
        let asked = || Event::Asked(SIGTERM);
        let (outcome, orders) = play(vec![asked(), asked(), ended(1), asked(), ended(0)]);
        assert_eq!((outcome, orders), (Ok(ExitReason::Drained), vec![Command::Drain]));
        let (outcome, _) = play(vec![asked(), Event::Signal(SIGTERM)]);
        assert_eq!(outcome, Ok(ExitReason::Forced(SIGTERM)), "the keeper says that it is the second");
    }

    #[test]
    fn who_hands_over_drains_and_says_so() {
        for carries in [true, false] {
            let told = || Event::HandOver { carries };
            let (outcome, orders) = play(vec![told(), told(), ended(1), ended(0)]);
            assert_eq!(outcome, Ok(ExitReason::HandedOver));
            let [Command::HandOver(heir)] = &orders[..] else { panic!("{orders:?}") };
            assert_eq!(heir.stashes.is_some(), carries);
        }
        let told = Event::HandOver { carries: true };
        let (outcome, _) = play(vec![Event::Drain, told, ended(1), ended(0)]);
        assert_eq!(outcome, Ok(ExitReason::Drained), "who ends hands nothing over");
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

    #[test]
    fn a_lame_duck_serves_on_until_its_time_is_over_or_a_second_signal_comes() {
        let mut config = Config::default();
        config.server.lame_duck_ms = 600_000;
        let (outcome, orders) =
            play_with(config.clone(), vec![Event::Signal(SIGTERM), Event::Drain, Event::Signal(SIGTERM)]);
        assert_eq!(outcome, Ok(ExitReason::Forced(SIGTERM)));
        assert_eq!(orders, [Command::Leave, Command::Stop]);
        // The senders stay until the watch has asked for the drain.
        config.server.lame_duck_ms = 1;
        let (sender, receiver) = mpsc::channel();
        sender.send(Event::Drain).expect("the receiver lives");
        let order = |order| {
            if order == Command::Drain {
                [0, 1].into_iter().for_each(|shard| sender.send(ended(shard)).expect("the receiver lives"));
            }
        };
        let outcome = watch(config, order).until_ended(&receiver);
        assert_eq!(outcome.map_err(|error| error.to_string()), Ok(ExitReason::Drained));
    }

    #[test]
    fn shards_that_do_not_end_are_not_waited_for() {
        let (sender, receiver) = mpsc::channel();
        sender.send(Event::Drain).expect("the receiver lives");
        sender.send(ended(0)).expect("the receiver lives");
        let mut orders = Vec::new();
        let mut config = Config::default();
        config.server.drain_ms = 0;
        let outcome = watch(config, |order| orders.push(order)).until_ended(&receiver);
        let told = outcome.expect_err("shard 1 hangs").to_string();
        assert!(told.starts_with("shard 1 had not ended"), "{told}");
        assert_eq!(orders, [Command::Drain, Command::Stop]);
    }
}
