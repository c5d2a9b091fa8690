//! The nouns everything else speaks of: ids, channel names, positions, publications, reasons to close.
//!
//! Nothing here imports another module of the crate.

mod channel_name;
mod close;
mod ids;
mod position;
mod publication;
mod transport;

pub use channel_name::{ChannelName, ChannelNameError};
pub use close::CloseReason;
pub use ids::{ConnectionId, Now, ShardId, ShardSet, Ticket};
pub use position::{Position, PositionError};
pub use publication::{Payload, Publication, PublishError, SharedPublication};
pub use transport::Transport;
