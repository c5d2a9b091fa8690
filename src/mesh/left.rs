//! What shards that end leave to the process that goes on.

use crate::{auth::Revoked, model::Restored};

/// What one shard leaves, or what several have left together.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// The streams that it owned.
    pub streams: Vec<Restored>,
    /// Who is shut out, as every shard knows it.
    pub revoked: Revoked,
}

impl Left {
    /// What all of these have left.
    pub fn together(all: impl IntoIterator<Item = Self>) -> Self {
        let mut together = Self::default();
        for Self { streams, revoked } in all {
            together.streams.extend(streams);
            together.revoked.merge(&revoked);
        }
        together
    }
}
