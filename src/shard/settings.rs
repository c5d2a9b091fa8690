//! Settings that change while the shard runs.

use std::sync::Arc;

use super::turn::Shard;
use crate::{auth::AccessRules, live::Live};

impl Shard {
    /// From now on these settings are in force; what is under way goes on by them from its next step.
    pub(super) fn change_settings(&mut self, live: &Live) {
        self.limits = live.limits.clone();
        self.addresses.limit(live.limits.connections_per_address_max);
        self.drain_ms = live.drain_ms;
        self.lines.secrets.shaking.limit(live.tls_handshakes_max, live.tls_handshake_timeout_ms);
        self.gate.change(&live.tokens);
        self.messages.settings.message_bytes_max = self.limits.message_bytes_max.into();
        self.messages.settings.fragments_max = self.limits.message_fragments_max;
        self.foundation.rules = Arc::new(AccessRules::new(live.policy.clone(), &live.publish_keys));
        self.engines.io.obey(&self.foundation.rules);
        self.engines.change_settings(live);
        self.lines.change_limits(&self.limits, self.peers.shards());
        self.hub.change_limits(&self.limits);
        self.hub.change_retention(live.retentions.clone());
        self.call("settings_changed", |handler, cx| handler.settings_changed(cx, live));
        self.run_intents();
    }
}
