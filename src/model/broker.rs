//! What a hub asks of the broker that joins several nodes, and what it hears of it.

use super::{ChannelName, Position, Publication, PublishError, SharedPublication};

/// Something asked of the broker. What is asked of one channel is done in the order asked.
#[derive(Debug)]
pub enum BrokerAsk {
    /// Whoever asks begins, and knows of nothing that was asked before.
    Begin,
    /// Give this its position, keep it, and tell every node that follows its channel.
    Publish {
        /// The asker's own number for it.
        number: u64,
        /// The publication, which has no position yet.
        publication: Box<Publication>,
    },
    /// Tell what is kept of a channel, and from then on what is published there.
    Follow {
        /// The channel.
        channel: ChannelName,
        /// What is kept under an earlier epoch is lost, for whatever reason.
        epoch_min: u64,
    },
    /// Tell no more of a channel.
    Leave {
        /// The channel.
        channel: ChannelName,
    },
}

/// Something the broker says. What is said of a channel that is followed is said in the order of its stream.
#[derive(Debug)]
pub enum BrokerNews {
    /// What follows is for who began last.
    Begun,
    /// It can be asked.
    Up,
    /// It cannot be asked. What it has been asked and has not answered waits for a while; of channels that were followed nothing
    /// is told until it tells again what is kept of each.
    Down,
    /// What became of a publication.
    Published {
        /// Its number.
        number: u64,
        /// Its position, or why there is none.
        result: Result<Position, PublishError>,
    },
    /// A channel is followed from here on.
    Following {
        /// The channel.
        channel: ChannelName,
        /// Where it is.
        position: Position,
        /// The latest of what is kept of it, oldest first.
        kept: Vec<SharedPublication>,
    },
    /// Where a channel that is followed is, when that was looked at.
    Checked {
        /// The channel.
        channel: ChannelName,
        /// Where it is.
        position: Position,
    },
    /// The next publication of a channel that is followed.
    Pushed {
        /// The channel.
        channel: ChannelName,
        /// Its epoch.
        epoch: u64,
        /// The number it had, if it was asked for here.
        number: Option<u64>,
        /// The publication, without its offset; `None` when it cannot be read.
        publication: Option<Box<Publication>>,
    },
    /// A channel that is followed has begun anew under this epoch.
    Renewed {
        /// The channel.
        channel: ChannelName,
        /// Its epoch.
        epoch: u64,
    },
}
