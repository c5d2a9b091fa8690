//! Socket.IO applications: which clients may enter, what is done with their events, and what they are sent.

mod io;
mod orders;
mod settings;

pub use io::{ConnectError, Handshake, Io};
pub(crate) use io::{Connecting, Event, NamespaceId};
pub use orders::EngineId;
pub(crate) use orders::{Order, Orders};
pub use settings::Settings;
