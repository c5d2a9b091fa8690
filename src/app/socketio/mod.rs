//! Socket.IO applications: which clients may enter, what is done with their events, and what they are sent.
//!
//! The words are Socket.IO's. A function is called once on each shard with that shard's [`Io`], and registers what is to
//! happen:
//!
//! ```
//! use roadstead::{
//!     app::socketio::{Ack, Io, Socket, application},
//!     config::Config,
//!     supervisor::Server,
//! };
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Line {
//!     room: String,
//!     text: String,
//! }
//!
//! fn register(io: &Io) {
//!     io.use_middleware(|candidate| match candidate.auth::<String>() {
//!         Ok(name) if !name.is_empty() => Ok(candidate.set_data(name)),
//!         _ => Err("tell us your name".into()),
//!     });
//!     io.on_connect(|socket| socket.broadcast().emit("came", &socket.id()));
//!     io.on_with_ack("enter", |socket: &Socket, room: String, ack: Ack| ack.send(&socket.join(room)));
//!     io.on("say", |socket: &Socket, line: Line| {
//!         let name = socket.data::<String>();
//!         socket.to(&line.room).emit("said", &(name.as_deref(), &line.text));
//!     });
//!     io.of("/news").on_connect(|socket| socket.emit("headline", &"nothing new"));
//! }
//!
//! let mut config = Config::default();
//! config.server.listen = vec!["127.0.0.1:0".parse()?];
//! config.server.admin = None;
//! let server = Server::start(&config, application(register))?;
//! # use std::io::{Read, Write};
//! # let mut client = std::net::TcpStream::connect(server.listening().public[0].to_string())?;
//! # write!(client, "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
//! # let mut answer = String::new();
//! # client.read_to_string(&mut answer)?;
//! # assert!(answer.contains("\"upgrades\":[\"websocket\"]"));
//! // Any Socket.IO client can connect to server.listening().public now.
//! server.drain();
//! server.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program that does nothing else says `serve(config, application(register))` ([`crate::supervisor::serve`]), or with a
//! page and channels over HTTP [`crate::api::program`]. `cargo run --example chat` (or `lobby`, `counter`) runs those in
//! `tests/examples/`. A [`crate::app::Handler`] of one's own serves Socket.IO by registering it in
//! [`crate::app::Handler::socketio`].
//!
//! # Arguments
//!
//! What is sent and heard is typed by serde.
//!
//! | Rust | arguments of the event or acknowledgement |
//! |---|---|
//! | a tuple `(a, b)`, an array `[a; 2]` | one for each item |
//! | [`NO_ARGUMENTS`] | none |
//! | `()`, [`serde_json::Value::Null`], [`None`] | one, `null` |
//! | anything else | one |
//!
//! A tuple that shall be *one* argument is said as `((a, b),)`. Bytes that shall travel as bytes are said as [`Binary`],
//! wherever they stand. A client that sends more arguments than a listener takes is heard; one that sends fewer only if an
//! [`Option`] or `()` stands for what is missing. An event with other arguments goes to
//! [`on_error`](Handlers::on_error) and to no listener.
//!
//! # What is shared, and what costs
//!
//! Every shard has an application of its own; nothing is shared between them, and nothing needs a lock: state is an
//! [`Rc`](std::rc::Rc) that listeners hold. What is sent to rooms and namespaces reaches clients of all shards. What one
//! shard must know or decide (a counter, who plays whom) it is told with
//! [`server_side_emit`](Namespace::server_side_emit), and asked with
//! [`server_side_emit_with_answers`](Namespace::server_side_emit_with_answers); the examples show how.
//!
//! What is registered for a namespace is there once. A client costs more only from when the application keeps something
//! for it: [data](Socket::set_data), [listeners of its own](Socket::on), an acknowledgement that is awaited. All of it goes
//! when the client is gone, or when one that may come back has not
//! ([`recovery_ms`](Settings::recovery_ms)); then [`on_connect`](Handlers::on_connect) is called again with
//! [`recovered`](Socket::recovered), and data and rooms are those it had.
//!
//! A listener runs to its end before anything else happens on its shard. What takes time is
//! [spawned](Socket::spawn): a task of the same shard, which may hold the [`Socket`] and its [`Ack`]. Slow or blocking
//! work belongs on a thread of the application's own. A listener may do anything to what called it: register others,
//! remove itself, put its client out.
//!
//! What is asked for is done in order. A room is joined when the shard that owns it has said so. What a function that puts a
//! client in tells any client of its shard afterwards waits until then: whoever hears of it, and publishes from whatever
//! shard, reaches the client.
//!
//! # Rooms are channels
//!
//! | Socket.IO | channel |
//! |---|---|
//! | everybody in `/` | `/` |
//! | room `lobby` in `/` | `lobby` |
//! | everybody in `/game` | `/game` |
//! | room `lobby` in `/game` | `/game#lobby` |
//! | room `/x` in `/` | `/#/x` |
//!
//! Whoever follows the channel over HTTP or a WebSocket sees events as data, and what is published there is an event to
//! the clients in the room:
//!
//! | data | event |
//! |---|---|
//! | `["name",…]`, a JSON array that begins with a string, which is no name Socket.IO uses itself | `name` with the other items as its arguments |
//! | other JSON | `message` with the value as its argument |
//! | other text | `message` with the text |
//! | anything else | `message` with the bytes |
//!
//! Bytes inside an event stand in the data as `{"base64":"…"}`. Events to one client are published nowhere. A socket's id,
//! or its text, is the room in which that socket is alone; it is no channel.
//!
//! # What is not sent
//!
//! An event under a name that Socket.IO uses itself, or with data that JSON cannot say, is the application's mistake: it is
//! logged as an error and not sent. A name that cannot be a room's (empty, longer than 255 bytes, with control characters)
//! is that of a room nobody is in; [`Socket::join`] tells.

mod ack;
mod admission;
mod application;
mod arguments;
mod awaiting;
mod broadcast;
mod candidate;
mod channel;
mod cluster;
mod consulting;
mod core;
mod deadlines;
mod events;
mod gathering;
mod handlers;
mod io;
mod joining;
mod later;
mod linked;
mod listeners;
mod matching;
mod members;
mod namespace;
mod opening;
mod orders;
mod owed;
mod presence;
mod questions;
mod raw;
mod remote;
mod rooms;
mod ruled;
mod settings;
mod socket;
mod succession;
mod tokens;
mod told;
mod travelling;

/// No arguments at all.
pub const NO_ARGUMENTS: [(); 0] = [];

pub use ack::Ack;
pub use admission::Applicant;
pub use application::application;
pub use arguments::{Binary, BinaryRef, PayloadError};
pub use awaiting::AckError;
pub use broadcast::Broadcast;
pub use candidate::{Candidate, ConnectError};
pub(crate) use candidate::{Credentials, ErrorBody};
pub(crate) use channel::ChannelQuestion;
pub use channel::{Channel, ChannelError};
pub use deadlines::Timer;
pub use events::{EventError, RawEvent};
pub use gathering::Acknowledged;
pub(crate) use gathering::Gathering;
pub use handlers::Handlers;
pub use io::Io;
pub use later::Awaiting;
pub(crate) use linked::MemberCommand;
pub use matching::{Auth, Matching};
pub(crate) use members::MemberAcks;
pub use members::MemberAnswers;
pub use namespace::Namespace;
pub use opening::{Cookie, SameSite};
pub use orders::EngineId;
pub(crate) use orders::{AnswerPart, Order, Orders, Room, Then};
pub use questions::Answers;
pub(crate) use questions::Said;
pub use raw::{RawEngine, RawSession};
pub use remote::RemoteSocket;
pub use rooms::Rooms;
pub use settings::Settings;
pub use socket::{Emit, Socket};
pub use told::Handshake;
pub(crate) use told::{Admitted, Connecting, Event, NamespaceId};
pub(crate) use travelling::SavedSocket;

pub use crate::model::SocketId;

#[cfg(test)]
mod tests;
