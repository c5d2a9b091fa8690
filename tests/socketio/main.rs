//! Engine.IO and Socket.IO over real sockets, against the fixture: an application written on the embedding API.
//!
//! The first two files carry the meaning of every case of the protocols' published test suites (engine.io-protocol
//! and socket.io-protocol, 24 and 32 cases); nothing of their code is here. The stock clients of JavaScript and
//! Python speak to the same fixture in `tests/clients/socketio`.
//!
//! `SOCKETIO_FIXTURE` may name another program than the fixture, such as the same application on npm socket.io: the
//! tests say then what the reference does.
//!
//! | file | about |
//! |---|---|
//! | `fixture/` | the application; an example to Cargo, so that other programs can start it |
//! | `place.rs`, `polling.rs`, `link.rs` | where clients go, and clients that poll or use a WebSocket |
//! | `witness.rs` | a client that is told why others are gone |
//! | `engine.rs`, `protocol.rs` | the meaning of the published suites |
//! | `refusals.rs` | requests that are no session's |
//! | `malformed.rs`, `crossed.rs` | peers that break the protocol, and requests that cross each other |
//! | `chains.rs` | requests each of which answers the one before |
//! | `recovery.rs` | clients that come back |
//! | `turns.rs` | what is long is done bit by bit |
//! | `stickiness.rs` | sessions that poll over many connections and shards |

#[path = "../e2e/certificate.rs"]
mod certificate;
#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "../e2e/client.rs"]
mod client;
#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "../e2e/server.rs"]
mod server;
#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "../e2e/socket.rs"]
mod socket;

mod chains;
mod crossed;
mod engine;
mod link;
mod malformed;
mod place;
mod polling;
mod protocol;
mod recovery;
mod refusals;
mod stickiness;
mod turns;
mod witness;
