//! The connections of nodes to fake servers: bytes take a random time and keep their order; a connection may be cut, lose what is on
//! its way, or pass nothing on that is pushed.

use std::collections::VecDeque;

use roadstead::{broker::Conversation, model::BrokerNews};

use crate::redis::{Server, Told};

/// A shard's connection, and what it says over it.
pub struct Line {
    pub talk: Conversation,
    /// The server it leads to; `None` while there is no connection, which is made then.
    to: Option<usize>,
    connects_ms: u64,
    backoff_ms: u64,
    /// Nothing is passed on that is pushed.
    pub is_mute: bool,
    going: VecDeque<(u64, Vec<u8>)>,
    coming: VecDeque<(u64, Vec<u8>)>,
    /// What has come to the server and is not a whole command yet.
    said: Vec<u8>,
}

const DELAY_MS_MAX: u64 = 30;
const RETRY_MS: (u64, u64) = (100, 5_000);

impl Line {
    pub fn new(talk: Conversation) -> Self {
        Self {
            talk,
            to: None,
            connects_ms: 0,
            backoff_ms: RETRY_MS.0,
            is_mute: false,
            going: VecDeque::new(),
            coming: VecDeque::new(),
            said: Vec::new(),
        }
    }

    /// The server it leads to.
    pub fn server(&self) -> Option<usize> {
        self.to
    }

    /// It is cut: what is on its way is lost.
    pub fn cut(&mut self, now_ms: u64, rng: &mut fastrand::Rng) {
        if self.to.take().is_none() {
            return;
        }
        self.going.clear();
        self.coming.clear();
        self.said.clear();
        self.is_mute = false;
        self.talk.handle_down();
        self.connects_ms = now_ms + rng.u64(self.backoff_ms / 2..=self.backoff_ms);
        self.backoff_ms = (self.backoff_ms * 2).min(RETRY_MS.1);
    }

    /// Connects where it is due and a server is reached, and says what is to be said. Tells whether it has tried in vain.
    pub fn speak(&mut self, now_ms: u64, rng: &mut fastrand::Rng, reached: Option<usize>) -> bool {
        let mut is_refused = false;
        if self.to.is_none() && now_ms >= self.connects_ms {
            match reached {
                Some(server) => {
                    self.to = Some(server);
                    self.talk.handle_connected(now_ms);
                }
                None => {
                    is_refused = true;
                    self.connects_ms = now_ms + rng.u64(self.backoff_ms / 2..=self.backoff_ms);
                    self.backoff_ms = (self.backoff_ms * 2).min(RETRY_MS.1);
                }
            }
        }
        if self.to.is_some()
            && let Some(bytes) = self.talk.poll_output()
        {
            put(&mut self.going, now_ms, rng, bytes);
        }
        is_refused
    }

    /// Lets the server hear what has come to it by now; what everybody is told. `at` is this connection, as servers know it.
    pub fn arrive(&mut self, now_ms: u64, unix_ms: u64, at: usize, servers: &mut [Server]) -> Told {
        let Some(to) = self.to else { return Told::new() };
        let server = &mut servers[to];
        if server.stopped_until_ms > now_ms {
            return Told::new();
        }
        while let Some(bytes) = arrived(&mut self.going, now_ms) {
            self.said.extend_from_slice(&bytes);
        }
        let (taken, told) = server.handle(unix_ms, at, &self.said);
        self.said.drain(..taken);
        told
    }

    /// A server tells it something.
    pub fn tell(&mut self, now_ms: u64, rng: &mut fastrand::Rng, from: usize, told: Vec<u8>) {
        let is_message = told.starts_with(b">3\r\n$7\r\nmessage");
        if self.to == Some(from) && !(self.is_mute && is_message) {
            put(&mut self.coming, now_ms, rng, told);
        }
    }

    /// Hears what has come by now, and that time has passed. Tells whether the connection is of use.
    pub fn hear(&mut self, now_ms: u64, rng: &mut fastrand::Rng) -> bool {
        while let Some(bytes) = arrived(&mut self.coming, now_ms) {
            // In two parts, as bytes come.
            let (one, other) = bytes.split_at(rng.usize(0..=bytes.len()));
            for part in [one, other] {
                if self.talk.handle_bytes(now_ms, part).is_err() {
                    return false;
                }
            }
            self.backoff_ms = RETRY_MS.0;
        }
        self.talk.handle_time(now_ms).is_ok()
    }

    pub fn news(&mut self) -> Vec<BrokerNews> {
        self.talk.poll_news()
    }
}

/// What has come next by now.
fn arrived(way: &mut VecDeque<(u64, Vec<u8>)>, now_ms: u64) -> Option<Vec<u8>> {
    let has_come = way.front().is_some_and(|(arrives_ms, _)| *arrives_ms <= now_ms);
    has_come.then(|| way.pop_front()).flatten().map(|(_, bytes)| bytes)
}

/// Lets bytes go, behind those that went before.
fn put(way: &mut VecDeque<(u64, Vec<u8>)>, now_ms: u64, rng: &mut fastrand::Rng, bytes: Vec<u8>) {
    let before_ms = way.back().map_or(0, |(arrives_ms, _)| *arrives_ms);
    way.push_back((before_ms.max(now_ms + rng.u64(0..DELAY_MS_MAX)), bytes));
}
