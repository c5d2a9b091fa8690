//! Other shards that do no turns: what waits for them is given up, and nothing new is asked of them.

use super::turn::Shard;
use crate::model::{ShardId, ShardSet};

impl Shard {
    /// These shards do no turns. Told anew every second while there are any.
    pub(super) fn give_up_on(&mut self, mut silent: ShardSet) {
        silent.remove(self.id);
        self.silent = silent;
        self.report.shards_silent = silent.iter().count() as u32;
        if !silent.is_empty() {
            self.hub.give_up_joins(&silent);
            self.give_up_marks(&silent);
            self.settle();
        }
        let silent: Vec<ShardId> = silent.iter().collect();
        self.call("shards_silent", |handler, cx| handler.shards_silent(cx, &silent));
        self.run_intents();
    }
}
