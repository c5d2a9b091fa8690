//! `[notices]`: what the operator's backend is told. What each key means to an operator stands in `keys.rs`.

use serde::{Deserialize, Serialize};

use super::{Config, HookProblem, Secret};
use crate::{
    backend::{NoticeSettings, SigningKey, Target},
    limits::{DRAIN_GRACE_MS, DRAIN_OVERDUE_MS, STORAGE_END_MS},
    model::NoticeKind,
};

/// `[notices]`: what a backend is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoticesSection {
    /// Who is told; empty for nobody.
    pub url: String,
    /// What batches are signed with.
    pub signing_keys: Vec<Secret>,
    /// Of what.
    pub events: Vec<String>,
    /// Notices of one batch.
    pub batch_max: u32,
    /// How long a notice waits for others.
    pub delay_ms: u32,
    /// Notices of one shard that wait.
    pub queue_max: u32,
    /// How long an answer may take.
    pub timeout_ms: u32,
    /// How long a channel is vacant before that is told.
    pub vacated_after_ms: u32,
}

impl Default for NoticesSection {
    fn default() -> Self {
        Self {
            url: String::new(),
            signing_keys: Vec::new(),
            events: NoticeKind::NAMES.iter().map(|name| (*name).to_owned()).collect(),
            batch_max: 100,
            delay_ms: 1_000,
            queue_max: 10_000,
            timeout_ms: 4_000,
            vacated_after_ms: 3_000,
        }
    }
}

impl Config {
    /// What a checked configuration says of notices, if anybody is told.
    pub(super) fn notice_settings(&self) -> Option<NoticeSettings> {
        let NoticesSection { url, signing_keys, events, .. } = &self.notices;
        let is_wanted = |kind: &NoticeKind| events.iter().any(|event| event == kind.name());
        Some(NoticeSettings {
            target: Target::parse(url).ok()?,
            keys: signing_keys.iter().filter_map(|key| SigningKey::parse(key.expose()).ok()).collect(),
            kinds: NoticeKind::ALL.into_iter().filter(is_wanted).collect(),
            batch_max: self.notices.batch_max,
            delay_ms: self.notices.delay_ms,
            queue_max: self.notices.queue_max,
            timeout_ms: self.notices.timeout_ms,
            vacated_after_ms: self.notices.vacated_after_ms,
            drain_ms: self.drain_of_notices_ms(),
        })
    }

    /// How long a server takes to end that is asked to, at most: until every shard has ended or is not waited for, and the
    /// backend has been told what waits. A disk may take its time for the last that is kept on it.
    pub fn ends_within_ms(&self) -> u64 {
        let leaving = u64::from(self.server.lame_duck_ms) + u64::from(self.server.drain_ms);
        let shards = leaving + DRAIN_GRACE_MS + DRAIN_OVERDUE_MS;
        let is_told = !self.notices.url.is_empty();
        let notices = if is_told { self.drain_of_notices_ms() + DRAIN_OVERDUE_MS } else { 0 };
        shards + notices + if self.storage.path.is_empty() { 0 } else { STORAGE_END_MS }
    }

    /// How long what waits is still told once the shards have ended: as long as clients may take to go.
    pub fn drain_of_notices_ms(&self) -> u64 {
        u64::from(self.server.drain_ms) + DRAIN_GRACE_MS
    }
}

impl NoticesSection {
    pub(super) fn problems(&self) -> Vec<HookProblem> {
        let target = Some(&self.url).filter(|url| !url.is_empty()).and_then(|url| Target::parse(url).err());
        let target = target.map(|error| HookProblem::Target("notices.url", error));
        let keys = HookProblem::of_keys("notices.signing_keys", &self.signing_keys);
        target.into_iter().chain(keys).collect()
    }
}
