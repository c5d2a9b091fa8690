//! The broker that joins several nodes, as the shard sees it: what the hub asks goes to it at the end of each turn, and what
//! it says is told to the hub.

use super::{joint::Joint, turn::Shard};
use crate::{
    broker::Broker,
    hub::Waiting,
    limits::FANOUT_BACKLOG_BYTES_MAX,
    model::{ChannelName, Issuer, Notice, Payload, Ticket},
};

/// News taken in one turn, in lots of what came together.
pub(super) const LOTS_PER_TURN: usize = 64;

impl Shard {
    /// Joins other nodes, if there is a broker.
    pub(super) fn begin_broker(&mut self, broker: Option<Broker>) {
        self.foundation.broker = broker.map(Joint::new);
        self.begin_broker_anew();
    }

    /// A shard that begins anew knows nothing of what the one before it has asked.
    pub(super) fn begin_broker_anew(&mut self) {
        if let Some(joint) = &mut self.foundation.broker {
            joint.begin_anew(&mut self.hub, self.report.shard_restarts_total);
        }
    }

    /// Hears what the broker says. While too much waits to be handed out it waits, as other shards do.
    pub(super) fn hear_broker(&mut self) {
        if self.foundation.broker.is_none() {
            return;
        }
        while let Some(node) = self.foundation.broker.as_ref().and_then(Joint::next_lost) {
            self.notify(Notice::NodeLost(node));
        }
        self.take_passed_back();
        for _ in 0..LOTS_PER_TURN {
            if self.hub.gathered_bytes() > FANOUT_BACKLOG_BYTES_MAX {
                break;
            }
            let lot = self.foundation.broker.as_ref().and_then(Joint::next_news);
            let Some((broker, lot)) = lot else { break };
            for news in lot {
                self.hub.handle_broker(self.now, broker, news);
            }
            self.settle();
        }
        if let Some(joint) = &mut self.foundation.broker {
            joint.look(&self.hub, self.now);
        }
    }

    /// Has the hub publish. What a broker makes comes back and has to wait then: whoever publishes is not read while too much does.
    pub(super) fn hand_in(
        &mut self,
        issuer: Issuer,
        channel: ChannelName,
        payload: Payload,
        ticket: Option<Ticket>,
    ) -> Option<Waiting> {
        if self.foundation.broker.is_some() {
            self.hold_back_if_too_much_waits(issuer);
        }
        self.hub.publish(self.now, channel, payload, ticket)
    }

    /// Asks the broker what the turn has brought.
    pub(super) fn ask_broker(&mut self) {
        if let Some(joint) = &self.foundation.broker {
            joint.ask(&mut self.hub);
        }
    }

    /// This node ends, and others need not look for it.
    pub(super) fn leave_nodes(&self) {
        if let Some(joint) = &self.foundation.broker {
            joint.leave();
        }
    }

    /// Whether the broker says something, or the cluster.
    pub(super) fn has_news(&self) -> bool {
        self.foundation.broker.as_ref().is_some_and(Joint::has_news) || self.has_cluster_news()
    }

    /// Whether the broker is there, or has been until a moment ago.
    pub(super) fn is_joined(&self) -> bool {
        self.foundation.broker.as_ref().is_none_or(|joint| joint.is_there(&self.hub, self.now))
    }
}
