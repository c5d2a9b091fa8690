//! What a shard does between turns: submits, and sleeps when nothing is left to do.
//!
//! ```text
//!   turn ─► something left? ─yes─► enter ────────────────────────────────────────────► turn
//!              └─no─► bell on ─► look once more ─► wait in the ring ────────────────► turn
//!                                                    └─ tasks live: at most NAP, then
//!                                                       sleep on the executor ───────► turn
//! ```
//!
//! Everything that can wake a shard reaches its ring: sockets, its timeout, and its doorbell, which other shards and the
//! supervisor ring. Only tasks of the application can be woken by something that the ring does not see, a timer or a
//! file of glommio's; while such tasks live the executor runs them after each turn, and the shard, after a nap in the
//! ring, sleeps where they are heard.

use std::time::{Duration, Instant};

use super::{setup::ShardError, turn::Shard};
use crate::{app::guard::come_back, limits::TICK_MS, ring::Sleep};

/// How long a shard with tasks waits in its ring, where they are not heard.
const NAP: Duration = Duration::from_micros(500);
/// How long an executor that should not have may have parked.
const PARKED_MAX: Duration = Duration::from_secs(1);
/// What holds up a shard whose executor does not come back to it.
const TASKS: &str = "a task";

impl Shard {
    /// Submits what the turn has queued, and sleeps until there is something to do again.
    pub(super) async fn rest(&mut self) -> Result<(), ShardError> {
        let has_tasks = self.engines.io.has_tasks();
        if has_tasks {
            self.let_tasks_run().await?;
        }
        if self.has_more() || self.lines.awaits_sends() || self.rest.expects_more() {
            return self.submit(self.rest.completions());
        }
        if !self.rest.spin().is_zero() && self.spin()? {
            return Ok(());
        }
        let timeout = self.sleep_time();
        let result = match has_tasks {
            true => self.sleep_beside_tasks(timeout).await,
            false => self.sleep_in_ring(timeout),
        };
        self.control.doorbell().end_sleep();
        result
    }

    fn submit(&mut self, expect: usize) -> Result<(), ShardError> {
        self.lines.ring.enter(expect).map_err(ShardError::Ring)
    }

    /// Looks for work for some time; tells whether some has come.
    fn spin(&mut self) -> Result<bool, ShardError> {
        self.submit(0)?;
        let until = Instant::now() + self.rest.spin();
        loop {
            let ring = &mut self.lines.ring;
            if ring.has_task_work() {
                self.submit(0)?;
                return Ok(true);
            }
            if ring.has_completions() || self.peers.have_sent() || self.has_news() {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    /// Lets the executor run every task that is ready, this one last.
    ///
    /// An executor of glommio 0.9 that is kept from its core for its preemption timer's 100 ms, between setting that
    /// timer and looking at it, runs nothing and parks with its tasks in the queue (`LocalExecutor::run_task_queues`).
    /// The ring wakes it with whatever it sees, and with its timeout.
    pub(super) async fn let_tasks_run(&mut self) -> Result<(), ShardError> {
        self.listen()?;
        self.lines.ring.begin_ringing(PARKED_MAX).map_err(ShardError::Ring)?;
        self.pulse.attendance().leave();
        glommio::executor().yield_task_queue_now().await;
        come_back(&self.pulse, TASKS);
        self.lines.ring.finish_sleep();
        Ok(())
    }

    /// Hears the ring from now on while the shard does not sleep in it.
    fn listen(&mut self) -> Result<(), ShardError> {
        let ring = &mut self.lines.ring;
        self.rest.listen(|| ring.sleeper()).map_err(ShardError::Ring)
    }

    /// Lets the bell be heard; tells whether what came before has left something to do.
    fn is_called(&mut self, sleep: Sleep) -> bool {
        let bell = self.control.doorbell().clone();
        bell.fall_asleep(sleep, || {
            self.obey_commands()
                || self.peers.have_sent()
                || self.has_rulings()
                || self.has_storage_news()
                || self.outside.has_more()
                || self.has_news()
        })
    }

    fn sleep_in_ring(&mut self, timeout: Duration) -> Result<(), ShardError> {
        match self.is_called(Sleep::InRing) {
            true => self.submit(0),
            false => self.lines.ring.wait(timeout).map_err(ShardError::Ring),
        }
    }

    /// Sleeps in the ring for a moment, and then where tasks are heard as well.
    async fn sleep_beside_tasks(&mut self, timeout: Duration) -> Result<(), ShardError> {
        if self.is_called(Sleep::InRing) {
            return self.submit(0);
        }
        let is_woken = self.lines.ring.nap(timeout.min(NAP)).map_err(ShardError::Ring)?;
        if is_woken || timeout <= NAP || self.is_called(Sleep::OnExecutor) {
            return Ok(());
        }
        // No task has run since the shard looked for what they had left.
        self.rest.bell().silence();
        if self.lines.ring.prepare_sleep(timeout - NAP).map_err(ShardError::Ring)? {
            self.pulse.attendance().leave();
            self.rest.bell().wait().await;
            come_back(&self.pulse, TASKS);
            self.lines.ring.finish_sleep();
        }
        self.listen()?;
        match self.rest.take_failure() {
            Some(failure) => Err(ShardError::Sleep(failure)),
            None => Ok(()),
        }
    }

    /// How long there is nothing to do if nothing happens.
    fn sleep_time(&self) -> Duration {
        /// The hub ages its history at least this often.
        const HUB_TICK_MS: u64 = 1000;
        let until = |at: u64| at.saturating_sub(self.now.monotonic_ms).max(1);
        let mut wait_ms = HUB_TICK_MS;
        if self.peers.queued() > 0 || self.lines.is_starved() {
            wait_ms = 1;
        }
        if self.drain.is_some() || self.acceptors.are_paused() || self.lines.has_unarmed() {
            wait_ms = wait_ms.min(TICK_MS);
        }
        let end_ms = self.now.monotonic_ms + wait_ms;
        let deadlines = [
            self.engines.next_ms(end_ms),
            self.partial.next_ms(),
            self.lines.next_watch_ms(),
            self.lines.secrets.shaking.next_stall_ms(),
            self.wheel.next_ms(end_ms),
            self.handler_timers.next_ms(),
            self.hub.next_state_ms(),
            self.hub.next_presence_ms(),
            self.hub.next_vacancy_ms(),
            self.asks.next_ms(),
        ];
        for at in deadlines.into_iter().flatten() {
            wait_ms = wait_ms.min(until(at));
        }
        let wait = Duration::from_millis(wait_ms);
        match self.engines.io.next_deadline() {
            Some(at) => wait.min(at.saturating_duration_since(Instant::now())),
            None => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::{outside, socketio::application},
        auth::{Client, Consultation},
        backend::Desk,
        broker::{Broker, NoAnswer, PassedBack, cluster::Cluster},
        mesh::{Command, ShardMessage},
        model::{BrokerLoss, BrokerNews, ChannelName, ConnectionId, PageAsked, Payload, ShardId},
        ring::{Doorbell, Errno},
        shard::{
            consults::{Asker, Consults},
            disk::tests::all_synced,
            setup::StorageSetup,
            simulated::{Common, Shards},
        },
        storage::{Folder, await_that},
    };

    /// How long the first of two shards sleeps, and a connection of it, when this has happened.
    fn sleeps(what: impl FnOnce(&mut Shard, u32)) -> u64 {
        let common = Common { shards: 2, ..Common::of_one(4) };
        let mut shards = Shards::new(&common, application(|_| ()));
        let (_client, index) = shards.connect(0, 1).expect("there is room");
        shards.turn(0);
        // No deadline of the connection comes first.
        shards.all[0].wheel.clear(index);
        what(&mut shards.all[0], index);
        shards.all[0].sleep_time().as_millis() as u64
    }

    #[test]
    fn a_shard_sleeps_no_longer_than_until_whatever_is_due_first() {
        let nothing = sleeps(|_, _| ());
        assert!(nothing > TICK_MS, "{nothing}");
        assert_eq!(sleeps(|shard, _| shard.handler_timers.set(shard.now.monotonic_ms + 40, 7)), 40);
        assert_eq!(sleeps(|shard, index| shard.lines.starve(index)), 1, "a buffer may be back at any moment");
        let full = |shard: &mut Shard, _| {
            shard.peers.send(ShardId(1), ShardMessage::GiveRoom { given: 0 }.into()).expect("it passes");
        };
        assert_eq!(sleeps(full), 1, "the link may have room at any moment");
        let unarmed = |shard: &mut Shard, index| {
            let (id, now_ms) = (shard.lines.slab.id(index), shard.now.monotonic_ms);
            shard.lines.arm_anew(id, Some(Errno(libc::ENOMEM)), now_ms);
        };
        assert_eq!(sleeps(unarmed), TICK_MS);
        let deadline = |shard: &mut Shard, index| shard.wheel.set(index, shard.now.monotonic_ms + TICK_MS);
        assert!(sleeps(deadline) <= 2 * TICK_MS);
    }

    #[test]
    fn whoever_falls_asleep_looks_once_more_for_what_has_come() {
        let common = Common { shards: 2, ..Common::of_one(4) };
        let mut shards = Shards::new(&common, application(|_| ()));
        shards.settle();
        assert!(!shards.all[0].is_called(Sleep::InRing), "nothing has come");
        let other = &mut shards.all[1];
        other.peers.send(ShardId(0), ShardMessage::GiveRoom { given: 0 }.into()).expect("it passes");
        other.peers.flush();
        assert!(shards.all[0].is_called(Sleep::InRing), "another shard has said something");
        shards.settle();
        assert!(!shards.all[0].is_called(Sleep::OnExecutor), "it has been heard");
        shards.controls[0].send(Command::Memory { is_scarce: false });
        assert!(shards.all[0].is_called(Sleep::InRing), "the supervisor has said something");
        assert!(!shards.all[0].is_called(Sleep::InRing), "it has been obeyed");
        let (handle, outside) = outside(|| ());
        shards.all[0].outside = outside;
        assert!(!shards.all[0].is_called(Sleep::InRing), "nobody wants anything");
        handle.run(|_| ()).expect("it is left");
        assert!(shards.all[0].is_called(Sleep::InRing), "a thread of the application wants something");
    }

    /// A shard alone that has done all there is to do, and is awake: nobody rings for it.
    fn one_at_rest() -> Shards {
        let mut shards = Shards::new(&Common::of_one(4), application(|_| ()));
        shards.settle();
        shards
    }

    /// Whether it is called when it falls asleep, and again when it has done a turn.
    fn is_called_once(shards: &mut Shards) -> [bool; 2] {
        let is_called = shards.all[0].is_called(Sleep::InRing);
        shards.all[0].control.doorbell().end_sleep();
        shards.turn(0);
        [is_called, shards.all[0].is_called(Sleep::InRing)]
    }

    #[test]
    fn whoever_falls_asleep_looks_once_more_for_what_the_backend_has_answered() {
        let mut shards = one_at_rest();
        let (desk, telling) = Desk::without_thread();
        let shard = &mut shards.all[0];
        shard.gate.consults = Consults::new(Some(desk));
        let asker = Asker::Request(ConnectionId { index: 0, generation: 0 });
        let question = Consultation::connect();
        shard.gate.consults.ask((asker, None), question, Client::default(), 0, &mut shard.report);
        assert!(!shard.is_called(Sleep::InRing), "it has not answered");
        assert_eq!(telling.answer(), [0]);
        assert_eq!(is_called_once(&mut shards), [true, false]);
        telling.tell_no_keys();
        assert_eq!(is_called_once(&mut shards), [true, false], "keys of an issuer have been fetched");
    }

    #[test]
    fn whoever_falls_asleep_looks_once_more_for_what_has_come_to_disk() {
        let mut shards = one_at_rest();
        let folder = Folder::new("asleep");
        // This bell is another one: whoever rings it wakes nobody.
        let bell = Doorbell::new().expect("eventfd");
        let (writer, mut keepers) = folder.open().start(&[bell], &[]).expect("it starts");
        let (keeper, channel) = (keepers.remove(0), ChannelName::new("news", 255).expect("a name"));
        shards.all[0].begin_storage(Some(StorageSetup { keeper, keeping: all_synced(), found: Vec::new() }));
        assert!(!shards.all[0].is_called(Sleep::InRing), "nothing has been left");
        let (shard, payload) = (&mut shards.all[0], Payload::new(vec![b'x'], None));
        shard.hub.publish(shard.now, channel.clone(), payload, None);
        shard.leave_records();
        await_that("it is written", || shards.all[0].has_storage_news());
        assert_eq!(is_called_once(&mut shards), [true, false]);
        let asked = PageAsked { number: 0, channel, epoch: 7, after: 0, limit: 1, bytes_max: 1 };
        shards.all[0].read_from_disk(asked);
        await_that("it is read", || shards.all[0].has_storage_news());
        assert_eq!(is_called_once(&mut shards), [true, false]);
        shards.all[0].end_storage();
        writer.end(true).expect("all is written");
    }

    #[test]
    fn whoever_falls_asleep_looks_once_more_for_what_brokers_and_clusters_say() {
        let mut shards = one_at_rest();
        let ((broker, of_broker), (cluster, of_cluster)) =
            (Broker::without_thread(), Cluster::without_thread());
        shards.all[0].begin_broker(Some(broker));
        shards.all[0].begin_cluster(Some(cluster));
        shards.turn(0);
        assert!(!shards.all[0].is_called(Sleep::InRing), "nobody says anything");
        of_broker.news.try_send((0, vec![BrokerNews::Down(BrokerLoss::Closed)])).expect("it listens");
        assert_eq!(is_called_once(&mut shards), [true, false], "news");
        let client = ConnectionId { index: 0, generation: 0 };
        let passed_back = PassedBack { client, answer: Err(NoAnswer::Away) };
        of_broker.passed_back.try_send(passed_back).expect("it listens");
        assert_eq!(is_called_once(&mut shards), [true, false], "what another node has answered");
        of_broker.lost.try_send("another".into()).expect("it listens");
        assert_eq!(is_called_once(&mut shards), [true, false], "that a node is lost");
        of_cluster.try_send(Vec::new()).expect("it listens");
        assert_eq!(is_called_once(&mut shards), [true, false], "the cluster");
    }
}
