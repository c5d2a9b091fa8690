//! What clients asked and were told, for whoever wants it logged: one line for each request and each session, or for those
//! alone that were refused.
//!
//! Nothing of it costs anything while it is off. While it is on a shard writes so many lines a second and no more; how many
//! it left out stands in a line of its own. Writing them is the logger's business, which never keeps a shard waiting.

use rustc_hash::FxHashMap;

use crate::model::{ACCESS_TARGET, AccessLines, AccessSettings, Passage};

/// What a shard logs of its clients.
pub(super) struct AccessLog {
    settings: AccessSettings,
    second: u64,
    written: u32,
    left_out: u32,
    /// Requests that have not been answered, by connection.
    asked: FxHashMap<u32, Asked>,
}

/// A request that waits for its answer.
pub(super) struct Asked {
    pub(super) method: &'static str,
    pub(super) path: Box<str>,
    pub(super) passage: Passage,
    pub(super) at_ms: u64,
}

impl AccessLog {
    pub(super) fn new(settings: AccessSettings) -> Self {
        Self { settings, second: 0, written: 0, left_out: 0, asked: FxHashMap::default() }
    }

    /// What it is made of, for the shard that comes after this one.
    pub(super) fn settings(&self) -> AccessSettings {
        self.settings
    }

    /// Whether anything is logged.
    pub(super) fn is_on(&self) -> bool {
        self.settings.lines != AccessLines::Off
    }

    /// Whether one more line may be written now. Tells of those that were left out before.
    pub(super) fn may_write(&mut self, shard: u16, second: u64) -> bool {
        if second != self.second {
            let left_out = std::mem::take(&mut self.left_out);
            (self.second, self.written) = (second, 0);
            if left_out > 0 {
                tracing::info!(target: ACCESS_TARGET, shard, lines = left_out, "left out (log.access_per_second)");
            }
        }
        let may = self.written < self.settings.per_second;
        match may {
            true => self.written += 1,
            false => self.left_out += 1,
        }
        may
    }

    /// Whether what went well is logged as well.
    pub(super) fn tells_all(&self) -> bool {
        self.settings.lines == AccessLines::All
    }

    /// A request is looked at, perhaps again.
    pub(super) fn ask(&mut self, index: u32, asked: impl FnOnce() -> Asked) {
        self.asked.entry(index).or_insert_with(asked);
    }

    /// The request of a connection that has waited for its answer.
    pub(super) fn take_asked(&mut self, index: u32) -> Option<Asked> {
        self.asked.remove(&index)
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, index: u32) {
        if self.is_on() {
            self.asked.remove(&index);
        }
    }
}
