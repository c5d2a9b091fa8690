//! Starting a shard: its thread, its executor, its ring. It runs there until it ends, and begins anew when it fails.

use std::{
    sync::mpsc::{Sender, channel},
    time::Instant,
};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use super::{
    foundation::Foundation,
    peers::Peers,
    restart::Restarts,
    setup::{ShardError, ShardSetup, StartError},
    turn::{End, Shard},
};
use crate::{
    app::{Handler, guard::show_at},
    model::ShardId,
    ring::RingError,
};

/// A running shard.
pub struct ShardThread {
    shard: ShardId,
    thread: ExecutorJoinHandle<Result<(), ShardError>>,
}

/// Starts a shard on a thread of its own, pinned to its core, and waits until its ring stands.
pub fn spawn(
    setup: ShardSetup,
    handler: impl Fn() -> Box<dyn Handler> + Send + 'static,
) -> Result<ShardThread, StartError> {
    let shard = setup.shard;
    let (ready, started) = channel();
    let thread = LocalExecutorBuilder::new(Placement::Fixed(setup.core))
        .name(&format!("shard-{shard}"))
        .io_memory(64 * 1024)
        .spawn(move || run(setup, handler, ready))
        .map_err(|error| StartError::Executor(error.to_string()))?;
    match started.recv() {
        Ok(Ok(())) => Ok(ShardThread { shard, thread }),
        Ok(Err(error)) => Err(StartError::Ring(error)),
        Err(_) => Err(StartError::Executor("the shard's thread ended before it started".into())),
    }
}

async fn run(
    mut setup: ShardSetup,
    handler: impl Fn() -> Box<dyn Handler>,
    ready: Sender<Result<(), RingError>>,
) -> Result<(), ShardError> {
    let foundation = Foundation::of(&setup);
    show_at(&setup.pulse);
    let ring = match foundation.make_ring(&setup.control, &setup.pulse) {
        Ok(ring) => ring,
        Err(error) => {
            // The supervisor waits for this answer; it is gone only when the process ends.
            ready.send(Err(error)).ok();
            return Ok(());
        }
    };
    let hub = foundation.make_hub(&setup, 0);
    ready.send(Ok(())).ok();
    let peers = Peers::new(setup.shard, setup.shards, std::mem::take(&mut setup.links).connect());
    let (id, mut restarts) = (setup.shard, Restarts::new(setup.restarts_max));
    let (mut storage, broker) = (setup.storage.take(), setup.broker.take());
    let cluster = setup.cluster.take();
    let left = std::mem::take(&mut setup.left);
    if let Some(storage) = &mut storage {
        left.spare(&mut storage.found);
    }
    let mut shard = Shard::new(setup, (ring, hub, peers), handler(), foundation);
    shard.engines.name_as_nobody_before();
    shard.begin_storage(storage);
    shard.begin_broker(broker);
    shard.begin_cluster(cluster);
    shard.succeed(left);
    let mut is_anew = false;
    loop {
        let panicked = match shard.run(is_anew).await {
            Ok(()) => return Ok(()),
            Err(End::Failed(error)) => return Err(error),
            Err(End::Panicked(panicked)) => panicked,
        };
        if !restarts.may_again(Instant::now()) {
            return Err(ShardError::Failed(id, panicked.what));
        }
        shard = shard.begin_anew(&panicked, &handler)?;
        is_anew = true;
    }
}

impl ShardThread {
    /// Waits until the shard has ended.
    pub fn join(self) -> Result<(), ShardError> {
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(ShardError::Panicked(self.shard)),
        }
    }
}
