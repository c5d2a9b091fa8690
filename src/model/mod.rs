//! The nouns everything else speaks of: ids, channel names, positions, publications, reasons to close.
//!
//! Nothing here imports another module of the crate.

mod access;
mod broker;
mod channel_name;
mod close;
mod content_type;
mod emission;
mod fair;
mod handshake;
mod ids;
mod issuer;
mod keep_alive;
mod misspelt;
mod network;
mod notice;
mod passage;
mod position;
mod positions;
mod presence;
mod publication;
mod record;
mod retention;
mod room;
mod session_id;
mod socket_id;
mod state;
mod transport;
mod work;

pub use access::{ACCESS_TARGET, AccessLines, AccessSettings};
pub(crate) use broker::stable_hash;
pub use broker::{BrokerAsk, BrokerLoss, BrokerNews, broker_of};
pub use channel_name::{ChannelName, ChannelNameError};
pub use close::CloseReason;
pub use content_type::{says_json, says_text};
pub use emission::{Arguments, Emission, Reach};
pub use fair::{Fair, Held};
pub use handshake::HandshakeResult;
pub use ids::{ConnectionId, Destination, NodeId, Now, ShardId, ShardSet, Ticket};
pub use issuer::{Author, Issuer};
pub use keep_alive::KeepAlive;
pub use misspelt::Misspelt;
pub use network::network;
pub use notice::{Notice, NoticeKind, NoticeKinds, Visitor};
pub use passage::{Passage, scheme};
pub use position::{Position, PositionError};
pub use positions::{POSITION_BYTES_MAX, Positions};
pub use presence::{MemberReport, PresencePage};
pub use publication::{After, Payload, Publication, PublishError, SharedPublication, SharedPublications};
pub use record::{Durability, PageAsked, Record, Restored};
pub use retention::Retention;
pub use room::{lone_socket, namespace_and_room, namespace_channel, namespace_of, room_channel};
pub use session_id::{IdError, IdText, SessionId};
pub use socket_id::SocketId;
pub use state::{
    COUNTER_MAX, Change, ChangeKind, Changed, Condition, Shown, StateAction, StateError, StateKey,
    StateKeyError, StateRequest, Version, VersionError, whole_number,
};
pub use transport::Transport;
pub use work::Work;
