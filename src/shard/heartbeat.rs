//! Bounds how long an executor can sleep while a task of it is ready.
//!
//! glommio 0.9 may do so. Before each round it asks whether anything in its latency ring should be handled first
//! (`LocalExecutor::run_task_queues`); when another executor's notice arrives in just that moment, the round runs
//! nothing, the notice brings nothing that has not been seen already, and the executor parks with tasks in its
//! queue. The next event wakes it, and on a quiet server none comes: a shard hung in its first await, connecting the
//! mesh, once in a few dozen starts on a busy machine, and hung for good.
//!
//! A timer set at that moment is such an event. A timer that has just expired no longer is one, hence three of
//! them: after a pause of any length, one is still to come. Together they cost an idle shard some 60 wake-ups a
//! second.

use std::time::Duration;

use glommio::timer::Timer;

/// The first is the usual bound of a stall. They share no factor, so that they rarely expire together.
const PERIODS_MS: [u64; 3] = [19, 101, 997];

/// Begins to beat, for as long as the executor lives.
pub(super) fn start() {
    for period in PERIODS_MS.map(Duration::from_millis) {
        glommio::spawn_local(async move {
            loop {
                Timer::new(period).await;
            }
        })
        .detach();
    }
}
