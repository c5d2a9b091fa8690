//! A shard's part in what joins it with other nodes: what it has asked of them, and whether the broker is there.
//!
//! ```text
//!   pass_on ─► waiting (≤ PASSED_ON_MAX, ≤ PASSED_ON_BYTES_MAX) ─┬─ answered ─► next_passed_back
//!                                                                └─ give_up ──► an answer that comes is nobody's
//! ```
//!
//! Invariant: each request that waits here is answered once or given up, and its bytes count until then.

use rustc_hash::FxHashMap;

use crate::{
    broker::{Broker, PassedBack, PassedOn, Tunnel},
    hub::Hub,
    limits::{BROKER_SILENCE_MS, PASSED_ON_BYTES_MAX, PASSED_ON_MAX},
    model::{BrokerNews, ConnectionId, NodeId, Now},
};

/// A shard's part in what joins it with other nodes.
pub(super) struct Joint {
    broker: Broker,
    /// Requests that other nodes have not answered: how large each is.
    waiting: FxHashMap<ConnectionId, usize>,
    /// How large all of them are.
    waiting_bytes: usize,
    /// When the broker was last there.
    seen_ms: u64,
}

impl Joint {
    /// Of a shard that begins, and has this end of the broker.
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, waiting: FxHashMap::default(), waiting_bytes: 0, seen_ms: 0 }
    }

    /// The shard begins anew, for the time of this number, with an empty hub: that waits for nothing that was asked before.
    pub(super) fn begin_anew(&mut self, hub: &mut Hub, restarts: u64) {
        (self.waiting, self.waiting_bytes) = Default::default();
        hub.follow_brokers(self.broker.count(), restarts << 40);
    }

    /// What this node is called in the ids that it gives.
    pub(super) fn node(&self) -> NodeId {
        self.broker.node()
    }

    /// Has another node answer a request; whether that may wait here.
    pub(super) fn pass_on(&mut self, passed: PassedOn) -> bool {
        let bytes = passed.request.len();
        if self.waiting.len() >= PASSED_ON_MAX || self.waiting_bytes + bytes > PASSED_ON_BYTES_MAX {
            return false;
        }
        self.waiting.insert(passed.client, bytes);
        self.waiting_bytes += bytes;
        self.broker.pass_on(passed);
        true
    }

    /// The client of a request that may wait here has gone.
    pub(super) fn give_up(&mut self, client: ConnectionId) {
        if self.end_waiting(client) {
            self.broker.give_up(client);
        }
    }

    /// The next answer to a request that waits.
    pub(super) fn next_passed_back(&mut self) -> Option<PassedBack> {
        loop {
            let passed_back = self.broker.next_passed_back()?;
            // Of one that has been given up nobody waits for the answer.
            if self.end_waiting(passed_back.client) {
                return Some(passed_back);
            }
        }
    }

    fn end_waiting(&mut self, client: ConnectionId) -> bool {
        let bytes = self.waiting.remove(&client);
        self.waiting_bytes -= bytes.unwrap_or_default();
        bytes.is_some()
    }

    /// Lets a client's connection go on at another node.
    pub(super) fn tunnel(&self, tunnel: Tunnel) {
        self.broker.tunnel(tunnel);
    }

    /// Asks the broker what the hub wants of it.
    pub(super) fn ask(&self, hub: &mut Hub) {
        if let Some(asks) = hub.take_broker_asks() {
            self.broker.ask(asks);
        }
    }

    /// What is said next, and by which broker, if there is anything.
    pub(super) fn next_news(&self) -> Option<(u16, Vec<BrokerNews>)> {
        self.broker.next_news()
    }

    /// The next node that is lost.
    pub(super) fn next_lost(&self) -> Option<Box<str>> {
        self.broker.next_lost()
    }

    /// Whether something has come that has not been taken.
    pub(super) fn has_news(&self) -> bool {
        self.broker.has_news()
    }

    /// Notes whether the broker is there now, as the hub has heard.
    pub(super) fn look(&mut self, hub: &Hub, now: Now) {
        if hub.are_brokers_up() {
            self.seen_ms = now.monotonic_ms;
        }
    }

    /// Whether the broker is there, or has been until a moment ago.
    pub(super) fn is_there(&self, hub: &Hub, now: Now) -> bool {
        hub.are_brokers_up() || now.monotonic_ms.saturating_sub(self.seen_ms) < BROKER_SILENCE_MS
    }

    /// This node ends, and others need not look for it.
    pub(super) fn leave(&self) {
        self.broker.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::NoAnswer,
        hub::HubSettings,
        limits::Limits,
        model::{BrokerLoss, ShardId},
    };

    fn client(index: u32) -> ConnectionId {
        ConnectionId { index, generation: 0 }
    }

    fn passed(index: u32, bytes: usize) -> PassedOn {
        let (client, node, request) = (client(index), NodeId::draw(), vec![b'x'; bytes]);
        PassedOn { client, node, request, may_repeat: true, wait_ms: 1 }
    }

    fn next(joint: &mut Joint) -> Option<u32> {
        joint.next_passed_back().map(|passed_back| passed_back.client.index)
    }

    #[test]
    fn as_many_requests_wait_as_may_and_as_large_as_they_may_be() {
        for (most, bytes) in [(PASSED_ON_MAX, 1), (8, PASSED_ON_BYTES_MAX / 8)] {
            let (broker, telling) = Broker::without_thread();
            let mut joint = Joint::new(broker);
            let count = (0..).take_while(|index| joint.pass_on(passed(*index, bytes))).count();
            assert_eq!(count, most, "of {bytes} B");
            joint.give_up(client(0));
            joint.give_up(client(0));
            assert!(joint.pass_on(passed(most as u32, bytes)) && !joint.pass_on(passed(0, bytes)));
            let answer = PassedBack { client: client(1), answer: Err(NoAnswer::Away) };
            telling.passed_back.try_send(answer).expect("it listens");
            assert_eq!(next(&mut joint), Some(1));
            assert!(joint.pass_on(passed(0, bytes)), "who is answered makes room");
        }
    }

    #[test]
    fn each_request_is_answered_once_and_none_that_was_given_up() {
        let (broker, telling) = Broker::without_thread();
        let mut joint = Joint::new(broker);
        assert!((0..3).all(|index| joint.pass_on(passed(index, 10))));
        joint.give_up(client(1));
        for index in [1, 7, 0, 0, 2] {
            let answer = PassedBack { client: client(index), answer: Err(NoAnswer::Away) };
            telling.passed_back.try_send(answer).expect("it listens");
        }
        assert!(joint.has_news());
        assert_eq!([next(&mut joint), next(&mut joint), next(&mut joint)], [Some(0), Some(2), None]);
        assert_eq!((joint.waiting.len(), joint.waiting_bytes, joint.has_news()), (0, 0, false));
    }

    #[test]
    fn a_broker_that_is_away_is_there_for_a_moment_still() {
        let (mut joint, limits) = (Joint::new(Broker::without_thread().0), Limits::default());
        let mut hub = Hub::new(HubSettings::of_shard(&limits, ShardId(0), 1, 4, 1, 1));
        joint.begin_anew(&mut hub, 0);
        let at = |monotonic_ms| Now { monotonic_ms, ..Now::default() };
        hub.handle_broker(at(10), 0, BrokerNews::Begun);
        hub.handle_broker(at(10), 0, BrokerNews::Up);
        joint.look(&hub, at(10));
        assert!(joint.is_there(&hub, at(10 + 2 * BROKER_SILENCE_MS)), "however long ago it was looked at");
        hub.handle_broker(at(20), 0, BrokerNews::Down(BrokerLoss::Closed));
        joint.look(&hub, at(30));
        assert!(joint.is_there(&hub, at(10 + BROKER_SILENCE_MS - 1)));
        assert!(!joint.is_there(&hub, at(10 + BROKER_SILENCE_MS)));
    }
}
