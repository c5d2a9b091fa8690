//! Engine.IO sessions and Socket.IO sockets of a shard: the tables, and who does what.
//!
//! A *session* is one client, carried by connections that come and go; a *socket* is that client in one namespace.
//! A socket subscribes in the hub like any connection: to the channel of its namespace and to those of its rooms.
//!
//! ```text
//!   connection ─► requests.rs / heard.rs ─► session ─► packets.rs ─► Io (the application)
//!                                                                     │ orders
//!   connection ◄── sending.rs ◄── fan_out.rs ◄── hub ◄── orders.rs ◄──┘
//! ```
//!
//! What only concerns sessions and sockets, and where their packets go, [`Engines`] does: it is lent the shard's lines and its hub,
//! and knows no more of the shard. What is left for the shard to do it hands back: a session that has to end (`sending::ToEnd`);
//! connections to close, a poll to answer, another shard to tell (`ending::Parting`). The shard's own methods drive it: they call
//! on the application and do what that has asked for, which may be anything.
//!
//! | file | holds |
//! |---|---|
//! | `engines` | the tables of sessions and sockets |
//! | `requests` | HTTP: the handshake, polls, posts, upgrades |
//! | `heard` | what arrives on connections of sessions, and their deadlines |
//! | `ending` | the end of sessions and of sockets |
//! | `passed_on` | requests of sessions that another node has |
//! | `posts` | posts of packets, heard bit by bit |
//! | `packets` | Socket.IO's packets: entering and leaving namespaces, events, acknowledgements |
//! | `credentials` | the tokens of clients, and how many clients a user has |
//! | `entering` | what the operator's backend is asked about those who enter |
//! | `session` | one client: what is kept of every one, and what few need |
//! | `socket` | a client in one namespace, and how far it is |
//! | `sending` | packets to a session, whatever carries it |
//! | `fan_out` | publications to sockets |
//! | `orders` | what the application asks for, and what other shards ask for |
//! | `joins` | sockets that are being put into rooms |
//! | `selecting` | what is done to many sockets, or told of them |
//! | `moving` | sessions that go to the shard where their client was before |
//! | `claim` | what a client that comes back shows |
//! | `members` | sockets as members of the channels whose rooms they are in |
//! | `recovery` | what is kept for clients that come back |
//! | `returning` | telling them what they missed, bit by bit |
//! | `succession` | those who come back to another process |
//! | `travelling` | sessions that go on in another process |

mod claim;
mod credentials;
mod draining;
mod ending;
mod engines;
mod entering;
mod fan_out;
mod heard;
mod joins;
mod members;
mod moving;
mod orders;
mod packets;
mod passed_on;
mod posts;
mod recovery;
mod requests;
mod returning;
mod selecting;
mod sending;
mod session;
#[cfg(test)]
mod simulated;
mod socket;
mod succession;
#[cfg(test)]
mod tests;
mod travelling;

pub(super) use engines::Engines;
pub(super) use fan_out::Surroundings;
pub(super) use requests::{EngineOutcome, WebSocketRole};
use session::{Extra, Session, Shown};
use socket::{Socket, State, is_in};
pub(super) use travelling::{Arrivals, Seated};

use super::turn::Shard;
