//! Which channels somebody who asks for a list may be shown.

use std::{fmt, sync::Arc};

/// A rule about names, made by who asks and obeyed by every shard.
#[derive(Clone, Default)]
pub struct Visible(Option<Arc<Rule>>);

type Rule = dyn Fn(&str) -> bool + Send + Sync;

impl Visible {
    /// The channels that `rule` says yes to.
    pub fn when(rule: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(rule)))
    }

    /// Every channel.
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether every channel may be shown.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a channel may be shown.
    pub fn shows(&self, channel: &str) -> bool {
        self.0.as_ref().is_none_or(|rule| rule(channel))
    }
}

impl fmt::Debug for Visible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Visible(some)" } else { "Visible(all)" })
    }
}
