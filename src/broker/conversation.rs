//! What one shard says to a broker and hears of it, for whoever carries the bytes otherwise than the thread does: for the
//! simulator, whose brokers fail in every way.

use std::rc::Rc;

use super::{
    fault::Fault,
    link::{Link, Terms},
    tended::Speaker,
    thread::Settings,
};
use crate::model::{BrokerAsk, BrokerNews, ShardId};

/// A conversation with the first address of the settings. Sans-io; time is in milliseconds of one clock.
#[derive(Debug)]
pub struct Conversation(Link);

/// The connection is of no use any more, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Useless(pub String);

impl Conversation {
    /// Of this shard of a node, whose number no other has.
    pub fn new(settings: &Settings, node: u64, shard: ShardId) -> Self {
        Self(Link::new(Rc::new(Terms::of(settings, &settings.addresses[0], node)), shard))
    }

    /// The shard asks this.
    pub fn handle_asks(&mut self, now_ms: u64, asks: Vec<BrokerAsk>) {
        asks.into_iter().for_each(|ask| self.0.handle_ask(now_ms, ask));
        self.0.flush(now_ms);
    }

    /// There is a new connection.
    pub fn handle_connected(&mut self, now_ms: u64) {
        self.0.handle_connected(now_ms);
    }

    /// Bytes have come. Behind an error [`Self::handle_down`] is due.
    pub fn handle_bytes(&mut self, now_ms: u64, bytes: &[u8]) -> Result<(), Useless> {
        self.0.handle_bytes(now_ms, bytes).map_err(|fault| Useless(fault.to_string()))
    }

    /// The connection is lost.
    pub fn handle_down(&mut self) {
        self.0.handle_down(&Fault::Closed(None));
    }

    /// Time has passed; the same of an error.
    pub fn handle_time(&mut self, now_ms: u64) -> Result<(), Useless> {
        self.0.handle_time(now_ms).map_err(|fault| Useless(fault.to_string()))
    }

    /// What is to be written, if there is anything.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.0.poll_output()
    }

    /// What the shard is to be told.
    pub fn poll_news(&mut self) -> Vec<BrokerNews> {
        self.0.poll_news()
    }
}
