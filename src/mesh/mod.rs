//! Shard ↔ shard: what they say ([`Message`]) and the links that carry it.
//!
//! A link is ordered: what a shard sends to another arrives in the order it was sent, or not at all and counted.

mod message;

pub use message::{ChannelReport, HistoryPage, JoinId, Message, Question, ShardReport, Survey};
