//! One shard's truth: channels, subscribers, history.

/// Why a subscription was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeError {
    /// The connection is subscribed to this channel already.
    Already,
    /// The connection holds as many subscriptions as it may.
    TooMany,
    /// The owner already keeps as many channels as it may.
    ChannelsFull,
}
