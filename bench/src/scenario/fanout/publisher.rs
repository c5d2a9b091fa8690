//! What is published when, and what has to arrive before a closed loop goes on. It sends nothing: the worker does.
//!
//! Every channel has a sequence of its own, so that each of its subscribers can tell what is missing. A stamp's sequence
//! holds the channel as well: a delivery to a subscriber of another channel is seen.

use std::time::{Duration, Instant};

use roadstead::wire::websocket::Opcode;

use super::FanoutPlan;
use crate::{
    load::pace::Schedule,
    protocol::{request, stamp::Stamp, subscriber::encode_message},
    target::Scheme,
};

/// How long a delivery may take before it counts as lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bits of a stamp's sequence that number a channel's publications.
const SEQUENCE_BITS: u32 = 40;

/// The publishing side of a run.
pub struct Publisher {
    /// Publications so far, by channel.
    sequences: Vec<u64>,
    bursts: u64,
    /// When bursts are due; a closed loop has no schedule.
    pub schedule: Option<Schedule>,
    /// Deliveries that have to be made before a closed loop goes on, of the whole run.
    awaited: u64,
    seen: u64,
    seen_at: Instant,
}

/// Publications to be written together.
pub struct Burst {
    /// Into this channel.
    pub channel: u64,
    /// As the server wants them.
    pub bytes: Vec<u8>,
}

/// The channel and the number of a stamped publication.
#[inline]
pub fn channel_and_number(sequence: u64) -> (u64, u64) {
    (sequence >> SEQUENCE_BITS, sequence & ((1 << SEQUENCE_BITS) - 1))
}

impl Publisher {
    /// Nothing published yet.
    pub fn new(plan: &FanoutPlan) -> Self {
        Self {
            sequences: vec![0; plan.channels as usize],
            bursts: 0,
            schedule: None,
            awaited: 0,
            seen: 0,
            seen_at: Instant::now(),
        }
    }

    /// How many connections publishing takes: a WebSocket publishes into the one channel of its URL, a request into
    /// any.
    pub fn connections(plan: &FanoutPlan) -> u64 {
        if plan.publish.target.scheme == Scheme::WebSocket { plan.channels } else { 1 }
    }

    /// The schedule starts now.
    pub fn begin(&mut self, plan: &FanoutPlan, start_ns: u64) {
        self.schedule = plan.pace.shared_by(plan.burst).schedule(start_ns);
    }

    /// The channel the next burst goes into: each in turn.
    pub fn next_channel(&self, plan: &FanoutPlan) -> u64 {
        self.bursts % plan.channels
    }

    /// The next burst, which `present` subscribers should receive.
    pub fn burst(&mut self, plan: &FanoutPlan, intended_ns: u64, present: u64) -> Burst {
        let channel = self.next_channel(plan);
        let target = plan.publish.target.numbered(channel);
        let sequence = &mut self.sequences[channel as usize];
        let mut bytes = Vec::with_capacity(plan.burst * (plan.message.len() + 256));
        for _ in 0..plan.burst {
            let stamp = Stamp { sequence: channel << SEQUENCE_BITS | *sequence, sent_ns: intended_ns };
            let message = stamp.mark(&plan.message);
            bytes.extend(match target.scheme {
                Scheme::Tcp => message,
                Scheme::WebSocket => encode_message(Opcode::Text, &message),
                Scheme::Http => {
                    plan.publish.manners.dress(request::encode_publish(&target, &message), channel)
                }
            });
            *sequence += 1;
        }
        self.bursts += 1;
        self.awaited += present * plan.burst as u64;
        Burst { channel, bytes }
    }

    /// Whether deliveries are still awaited, when so many have been made in all. After [`DELIVERY_TIMEOUT`] without any
    /// the rest is given up: it stays missing in the report, and the next burst is not held up by it.
    pub fn is_awaiting(&mut self, delivered: u64, now: Instant) -> bool {
        if delivered != self.seen {
            (self.seen, self.seen_at) = (delivered, now);
        }
        if delivered >= self.awaited {
            self.seen_at = now;
            return false;
        }
        if now - self.seen_at >= DELIVERY_TIMEOUT {
            self.awaited = delivered;
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        endpoint::Endpoint,
        load::{
            pace::Pace,
            window::{Timing, WarmUp},
        },
        protocol::subscriber::Transport,
    };

    fn plan(publish: &str) -> FanoutPlan {
        let endpoint = |url: &str, transport| Endpoint {
            target: url.parse().unwrap(),
            address: "127.0.0.1:1".parse().unwrap(),
            transport,
            manners: std::sync::Arc::default(),
            unix: None,
            tls: None,
        };
        FanoutPlan {
            endpoint: endpoint("ws://h:1/room-{n%3}", Transport::Ws),
            publish: endpoint(publish, Transport::Poll),
            channels: 3,
            shares: vec![crate::crew::plan::Share { connections: 7, sources: vec![] }],
            message: vec![b'y'; 40],
            burst: 2,
            pace: Pace::Closed,
            timing: Timing { warm_up: WarmUp::For(Duration::ZERO), measured: Duration::from_secs(1) },
            server: None,
        }
    }

    #[test]
    fn bursts_go_into_each_channel_in_turn_with_a_sequence_of_its_own() {
        let plan = plan("http://h:1/room-{n%3}");
        let mut publisher = Publisher::new(&plan);
        let mut found = Vec::new();
        for _ in 0..4 {
            let burst = publisher.burst(&plan, 7, 1);
            let text = String::from_utf8(burst.bytes.clone()).unwrap();
            assert_eq!(text.matches(&format!("POST /room-{} ", burst.channel)).count(), 2, "{text}");
            Stamp::find_all(&burst.bytes, |stamp| found.push(channel_and_number(stamp.sequence)));
        }
        assert_eq!(found, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (0, 2), (0, 3)]);
        assert_eq!([0, 1, 2].map(|channel| plan.subscribers_of(channel)), [3, 2, 2]);
        assert_eq!(Publisher::connections(&plan), 1);
        assert_eq!(Publisher::connections(&self::plan("ws://h:1/room-{n%3}")), 3);
    }

    #[test]
    fn a_lost_delivery_holds_up_one_burst_and_not_the_next() {
        let plan = plan("http://h:1/room-{n%3}");
        let (mut publisher, now) = (Publisher::new(&plan), Instant::now());
        publisher.burst(&plan, 7, 3);
        assert!(publisher.is_awaiting(5, now));
        assert!(publisher.is_awaiting(5, now + DELIVERY_TIMEOUT - Duration::from_nanos(1)));
        assert!(!publisher.is_awaiting(5, now + DELIVERY_TIMEOUT));
        publisher.burst(&plan, 7, 3);
        assert!(publisher.is_awaiting(10, now + DELIVERY_TIMEOUT));
        assert!(!publisher.is_awaiting(11, now + DELIVERY_TIMEOUT));
    }
}
