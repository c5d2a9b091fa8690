//! The embedding API: give one [`Handler`] value per shard, and serve.
//!
//! A handler is told what happens and answers with values; what it wants done it says through its [`Context`], and
//! the shard does it when the call returns. Nothing blocks, nothing is shared between shards.
//!
//! A chat in which everybody hears everybody, on whatever shard they are, with a page of statistics:
//!
//! ```
//! use std::{io::{Read, Write}, net::TcpStream};
//!
//! use roadstead::{
//!     app::{Answer, ChannelName, Context, Handler, Message, Peer, Request, Response, Verdict},
//!     config::Config,
//!     supervisor::Server,
//! };
//!
//! #[derive(Default)]
//! struct Chat {
//!     messages: u64,
//! }
//!
//! impl Handler for Chat {
//!     fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Verdict {
//!         match ChannelName::new(request.path().trim_start_matches('/'), 64) {
//!             Ok(room) => Verdict::accept(0).following(room, None),
//!             Err(error) => Verdict::Refuse(Response::text(400, error.to_string())),
//!         }
//!     }
//!
//!     fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
//!         self.messages += 1;
//!         if let Some(room) = peer.channel {
//!             cx.publish(room.clone(), message.into(), None);
//!         }
//!     }
//!
//!     fn request(&mut self, cx: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Answer {
//!         let text = format!("{} messages through shard {}\n", self.messages, cx.shard);
//!         Answer::Respond(Response::text(200, text))
//!     }
//! }
//!
//! let mut config = Config::default();
//! config.server.listen = vec!["127.0.0.1:0".parse()?];
//! config.server.admin = None;
//! let server = Server::start(&config, |_shard| Box::new(Chat::default()))?;
//!
//! let mut client = TcpStream::connect(server.listening().public[0].to_string())?;
//! client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.contains("0 messages through shard"));
//!
//! server.drain();
//! server.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a handler keeps for a client is on one shard, and the client's next connection may come to another one. Such a
//! request is not to be answered there: [`Answer::HandOver`] and [`Verdict::HandOver`] let the connection go where what
//! it is about is kept. It takes Linux 6.8 or later; the server says at its start if it runs on less.
//!
//! **When a handler panics**, one client pays for it: the connection that the call was about is closed with 1011, a
//! request is answered 500 and its connection closed, a Socket.IO client is disconnected, a raw Engine.IO session ended.
//! Nothing is done of what the call had asked for by then through its [`Context`]; what a Socket.IO function had sent is
//! sent. A timer or task that panics is over. Everybody else notices nothing, the log tells the message and the place,
//! and the metric `handler_panics_total` counts. The handler's value stays and is called again: the rule for whoever
//! writes one is to change its own state last, when nothing can panic any more, or to bear being called with it half
//! changed. [`Handler::disconnect`] is called for such a connection as for any other, with
//! [`CloseReason::InternalError`]. A panic in a `Drop` of the application is not caught here.
//!
//! **When a handler does not return**, its shard does nothing else. The supervisor sees that: new clients come to the other
//! shards, what waits for the shard is refused, and after some seconds its clients are taken off it: their connections are
//! closed, and they come back elsewhere. The thread cannot be ended; should the call return, the shard begins anew on it,
//! with a new handler. A server of one shard leaves them as they are.
//!
//! **When the server itself panics**, which is a mistake of ours, the shard at whose turn it was begins anew on its thread:
//! a new value of the handler is made, as at the start, and the old one is dropped without a word
//! ([`Handler::disconnect`] is not called). The handlers of the other shards are told ([`Handler::shard_failed`]).
//!
//! Threads of the application that are not the server's reach it by a [`Handle`], which
//! [`crate::supervisor::Server::handle`] gives.
//!
//! Socket.IO applications are written on [`socketio`].
//!
//! [`crate::supervisor::serve`] is the same for a program that does nothing else: it ends with SIGTERM.

pub(crate) mod backlog;
mod context;
mod errands;
pub(crate) mod guard;
mod handler;
pub(crate) mod heads;
mod hosts;
mod intents;
mod may;
mod origins;
mod outside;
mod proxies;
mod publishing;
pub mod socketio;
mod subprotocols;
mod upload;

pub use context::{Context, Moment};
pub use handler::{Admitted, Answer, Handler, Message, Peer, Reply, Resumed, Verdict};
pub use hosts::{HostRefused, Hosts, ListenerHosts};
pub use intents::{Intent, Intents};
pub(crate) use origins::ANY_PAGE;
pub use origins::{OriginRefused, Origins, preflight_fields};
pub(crate) use outside::Call;
pub use outside::{Handle, HandleError, Outside, outside};
pub use proxies::Proxies;
pub use subprotocols::{TOKEN_PREFIX, choose_protocol, offered_protocols};
pub(crate) use upload::{Piece, Upload, UploadSource, upload};

pub use crate::{
    auth::{Missing, Right},
    mesh::{StatePage, StateQuery},
    model::{
        Changed, ChannelName, CloseReason, Condition, ConnectionId, MemberReport, Now, Passage, Payload,
        Position, PresencePage, ShardId, Shown, StateAction, StateError, StateKey, StateRequest, Ticket,
        Transport, Version,
    },
    wire::http1::{Body, Method, Request, Response},
};
