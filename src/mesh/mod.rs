//! Shard ↔ shard: what they say ([`Parcel`]) and the links that carry it; and how the supervisor tells a shard to
//! end ([`control`]).
//!
//! A link is ordered: what a shard sends to another arrives in the order it was sent, or not at all and counted.

mod addresses;
mod bell;
mod carriage;
mod channel;
mod connections;
mod control;
mod deflates;
mod lease;
mod left;
mod levelling;
mod links;
mod look;
mod mark;
mod message;
mod parcel;
mod pulse;
mod question;
mod report;
mod sessions;
mod sockets;
mod visible;

pub use addresses::{AddressCounts, CountedAddress, CountedUser, UserCounts};
pub(crate) use bell::Bell;
pub use carriage::{Arrived, Carriage, Given, Start};
pub use channel::{Entry, HistoryPage, JoinAsked, StatePage, StateQuery, StateWanted, Welcome};
pub use connections::{
    LeftConnection, LeftConnections, LeftEntry, LeftPoll, LeftToken, LegacyConnections, Subscription,
};
pub use control::{
    Command, ControlReceiver, ControlSender, Failure, Heir, Queued, QueuedConnection, control,
};
pub use deflates::Deflates;
pub use lease::Lease;
pub use left::{
    Followed, Left, LeftApplication, LeftChange, LeftLog, LeftMembers, LeftSocket, LeftSockets, Legacy,
    LegacySockets, Sent,
};
pub use levelling::{Levelled, Levelling};
#[cfg(test)]
pub(crate) use links::Bounds;
pub(crate) use links::Refused;
pub use links::{Links, Mesh, full};
pub use look::{BusyChannel, BusyOrigin, Look, Sample, Trouble};
pub use mark::Mark;
pub use message::{JoinId, Message};
pub use parcel::{HandOver, Keys, Parcel, ShardMessage};
pub use pulse::{Load, Moves, Pulse};
pub use question::{ChannelReport, Question, Survey};
pub use report::{ShardReport, Timings};
pub use sessions::{LeftRequest, LeftSeat, LeftSession};
pub use sockets::{
    Asking, Carried, CarriedToken, EngineMove, GatheredAck, Selection, SocketCommand, SocketSummary,
    SocketsAnswer, SocketsRequest, Told,
};
pub use visible::Visible;
