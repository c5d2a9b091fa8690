//! Socket.IO applications: which clients may enter, what is done with their events, and what they are sent.

mod ack;
mod application;
mod arguments;
mod awaiting;
mod broadcast;
mod candidate;
mod core;
mod deadlines;
mod events;
mod handlers;
mod io;
mod later;
mod listeners;
mod matching;
mod namespace;
mod opening;
mod orders;
mod presence;
mod questions;
mod raw;
mod remote;
mod rooms;
mod settings;
mod socket;
mod told;

pub use ack::Ack;
pub use application::application;
pub use arguments::{Binary, BinaryRef, PayloadError};
pub use awaiting::AckError;
pub use broadcast::Broadcast;
pub use candidate::{Candidate, ConnectError};
pub use deadlines::Timer;
pub use events::{EventError, RawEvent};
pub use handlers::Handlers;
pub use io::Io;
pub use later::Awaiting;
pub use matching::{Auth, Matching};
pub use namespace::Namespace;
pub use opening::{Cookie, SameSite};
pub use orders::EngineId;
pub(crate) use orders::{Order, Orders};
pub use questions::Answers;
pub use raw::{RawEngine, RawSession};
pub use remote::RemoteSocket;
pub use rooms::Rooms;
pub use settings::Settings;
pub use socket::{Emit, Socket};
pub use told::Handshake;
pub(crate) use told::{Connecting, Event, NamespaceId};

pub use crate::model::SocketId;

#[cfg(test)]
mod tests;
