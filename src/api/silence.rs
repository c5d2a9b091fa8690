//! What becomes of requests and commands while another shard does no turns, or when it has failed.
//!
//! Nobody here knows which shard owns the channel that a request waits for. So while any shard is silent, all that has
//! waited for longer than answers ever take is answered 503: it may still be done when that shard goes on.

use super::{ChannelServer, Refusal, pending::Wait};
use crate::{
    app::{Context, Peer, Response},
    limits::SILENCE_PATIENCE_MS,
    model::{ChannelName, ConnectionId, ShardId},
};

impl ChannelServer {
    /// These shards do no turns.
    pub(super) fn give_up_on(&mut self, cx: &mut Context<'_>, silent: &[ShardId]) {
        self.silent = silent.to_vec();
        if silent.is_empty() {
            return;
        }
        let Some(before_ms) = cx.now.monotonic_ms.checked_sub(SILENCE_PATIENCE_MS) else { return };
        for connection in self.requests_since(before_ms) {
            if let Some(response) = self.pending_mut(connection).and_then(Wait::give_up) {
                self.finish(cx, connection, response);
            }
        }
        let mut commands = Vec::new();
        for (connection, in_flight) in &mut self.in_flight {
            while in_flight.front().is_some_and(|publish| publish.asked_ms <= before_ms) {
                commands.extend(in_flight.pop_front().map(|publish| (*connection, publish.id)));
            }
        }
        self.in_flight.retain(|_, in_flight| !in_flight.is_empty());
        self.refuse_commands(cx, commands, Refusal::OwnerSilent);
    }

    /// A shard has failed that owned some channels.
    pub(super) fn lose_owner(&mut self, cx: &mut Context<'_>, owned: &dyn Fn(&ChannelName) -> bool) {
        let waiting: Vec<_> = self.pending.keys().copied().collect();
        for connection in waiting {
            if let Some(response) = self.pending_mut(connection).and_then(|wait| wait.lose(owned)) {
                self.finish(cx, connection, response);
            }
        }
        let mut commands = Vec::new();
        for (connection, in_flight) in &mut self.in_flight {
            in_flight.retain(|publish| {
                let is_lost = owned(&publish.channel);
                commands.extend(is_lost.then_some((*connection, publish.id)));
                !is_lost
            });
        }
        self.in_flight.retain(|_, in_flight| !in_flight.is_empty());
        self.refuse_commands(cx, commands, Refusal::OwnerFailed);
    }

    fn refuse_commands(
        &mut self,
        cx: &mut Context<'_>,
        commands: Vec<(ConnectionId, u32)>,
        refusal: Refusal,
    ) {
        for (connection, id) in commands {
            let peer = Peer {
                connection,
                address: None,
                is_secure: false,
                host: None,
                hops: &[],
                is_admin: false,
                tag: 0,
                channel: None,
                token: None,
                rulings: &[],
            };
            self.send_error(cx, &peer, Some(id), refusal);
        }
    }

    /// What `/healthz` and `/readyz` say while shards are silent.
    pub(super) fn silence(&self) -> Option<Response> {
        let shards: Vec<_> = self.silent.iter().map(ShardId::to_string).collect();
        let text = format!("no turn is done by shard {}\n", shards.join(", "));
        (!shards.is_empty()).then(|| Response::text(503, text))
    }

    fn requests_since(&self, before_ms: u64) -> Vec<ConnectionId> {
        let all = self.pending.iter();
        all.filter(|(_, pending)| pending.asked_ms <= before_ms).map(|(connection, _)| *connection).collect()
    }

    fn pending_mut(&mut self, connection: ConnectionId) -> Option<&mut Wait> {
        self.pending.get_mut(&connection).map(|pending| &mut pending.wait)
    }
}
