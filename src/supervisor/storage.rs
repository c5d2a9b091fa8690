//! Opening what outlives the process, and giving each shard its part.

use std::{path::Path, vec::IntoIter};

use tracing::{info, warn};

use super::{ServeError, cores};
use crate::{
    auth::Revoked,
    config::Config,
    hub::{Keeping, Owners},
    model::{ChannelName, ShardId},
    ring::Doorbell,
    shard::StorageSetup,
    storage::{HistoryKept, Opened, Writer},
};

/// What is there once the store is open.
#[derive(Default)]
pub(super) struct Begun {
    /// Who writes.
    pub(super) writer: Option<Writer>,
    /// What each shard is given.
    pub(super) setups: IntoIter<StorageSetup>,
    /// Who is shut out.
    pub(super) revoked: Revoked,
}

/// Opens the store, if there is to be one, beside shards on these cores.
pub(super) fn begin(
    config: &Config,
    hash_seed: u64,
    bells: &[Doorbell],
    cores: &[usize],
) -> Result<Begun, ServeError> {
    if config.storage.path.is_empty() {
        return Ok(Begun::default());
    }
    let (on_disk, in_memory) =
        (config.storage.history_publications_max, config.limits.history_publications_max);
    // Less on disk than in memory would be less than is shown.
    let on_disk = if on_disk == 0 { 0 } else { on_disk.max(in_memory) };
    let history = HistoryKept { in_memory, on_disk };
    let (namespaces, rules) = (config.durabilities(), config.storage.durables());
    let keeping = Keeping { namespaces, rules, is_archived: on_disk > 0 };
    let durability = |channel: &ChannelName| keeping.durability_of(channel);
    let path = Path::new(&config.storage.path);
    let mut opened = Opened::open(path, history, durability).map_err(ServeError::Storage)?;
    let (channels, revoked) = (std::mem::take(&mut opened.channels), std::mem::take(&mut opened.revoked));
    match (opened.was_clean, channels.len()) {
        (true, channels) => info!(channels, "going on with what is on disk"),
        (false, all) => warn!(
            channels = all,
            renewed = channels.iter().filter(|one| !one.is_whole).count(),
            "the process before this one did not end in order: what it acknowledged last may be lost, so that the channels \
             on disk go on under new epochs, but for the synced ones"
        ),
    }
    let (writer, keepers) = opened.start(bells, &cores::without_shard(cores)).map_err(ServeError::Writer)?;
    let setup = |keeper| StorageSetup { keeper, keeping: keeping.clone(), found: Vec::new() };
    let mut setups: Vec<_> = keepers.into_iter().map(setup).collect();
    let owners = Owners::new(hash_seed, setups.len() as u16);
    for channel in channels {
        let ShardId(owner) = owners.of(&channel.channel);
        setups[usize::from(owner)].found.push(channel);
    }
    Ok(Begun { writer: Some(writer), setups: setups.into_iter(), revoked })
}
