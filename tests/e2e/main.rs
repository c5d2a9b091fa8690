//! The real program over real sockets: every test starts its own server on free ports, and every server must end
//! with code 0, having logged no panic. What a codec or the hub does with every input is tested beside each.
//!
//! | file | about |
//! |---|---|
//! | `server.rs` | starting, asking and ending a server |
//! | `client.rs`, `socket.rs`, `deflating.rs`, `stream.rs` | blocking clients: HTTP, WebSocket, with compression, event stream |
//! | `tour.rs` | the three ways to follow a channel, over several shards |
//! | `several.rs` | several channels in one stream or poll |
//! | `recovery.rs` | coming back with a position, and gaps that are never hidden |
//! | `returning.rs` | Socket.IO clients that come back to more than they can take at once |
//! | `commands.rs` | `/ws` |
//! | `publishing.rs`, `reading.rs`, `origins.rs`, `hosts.rs` | the rest of the HTTP API |
//! | `state.rs`, `presence.rs` | keys, values and counters of channels; who is present in them |
//! | `storage.rs`, `synced.rs`, `written.rs`, `archive.rs`, `storage_commands.rs` | what outlives the process |
//! | `disk.rs` | disks that are small, and that fail |
//! | `nodes.rs`, `failover.rs`, `redis.rs` | several nodes that Redis joins; what becomes of them when it fails; a Redis |
//! | `elsewhere.rs` | clients of Socket.IO that poll, at another node than theirs |
//! | `epochs.rs`, `away.rs` | streams in Redis that are not there, or lost; what those are told who come while it is away |
//! | `permissions.rs`, `tokens.rs` | who may do what, in every tongue; tokens |
//! | `socketio_tokens.rs` | tokens of Socket.IO clients |
//! | `bounds.rs` | what the channels of a namespace keep and take |
//! | `jwks.rs` | keys of issuers that are fetched |
//! | `hooks.rs`, `backend.rs` | what the operator's backend decides; such a backend |
//! | `tls.rs`, `tls_clients.rs`, `storm.rs`, `certificate.rs` | TLS; with `ROADSTEAD_TEST_TLS=1` every test speaks it |
//! | `proxied.rs` | who asks through a proxy |
//! | `http.rs`, `statuses.rs`, `smuggling.rs` | HTTP/1.1 |
//! | `websocket.rs`, `compression.rs` | RFC 6455; RFC 7692 |
//! | `partial.rs`, `patience.rs`, `limits.rs`, `slow.rs`, `backpressure.rs`, `capacity.rs`, `churn.rs` | limits, and what is done at each |
//! | `order.rs` | one order for one issuer |
//! | `turns.rs`, `pages.rs` | what is long is done bit by bit |
//! | `access_log.rs` | lines about clients in the log |
//! | `dashboard.rs`, `scraped.rs` | what the dashboard is told; metrics, and the files for Prometheus and Grafana |
//! | `keeper.rs`, `upgrade.rs`, `carried.rs`, `resumed.rs`, `hung.rs` | a server that crashes comes back; a new version takes its place, with what the old one had, and another process that of one with a shard that hangs |
//! | `kept_open.rs`, `kept_open_sealed.rs`, `kept_open_unsent.rs`, `kept_open_compressed.rs`, `kept_open_streams.rs`, `kept_open_nodes.rs`, `kept_open_killed.rs`, `kept_sockets.rs`, `kept_requests.rs` | connections that stay open meanwhile; those of Socket.IO, and requests |
//! | `program.rs`, `passed_on.rs`, `passed_back.rs`, `reloads.rs`, `linked.rs`, `members.rs` | a program in Node.js whose clients the server holds; what is passed on to it and back bit by bit; new versions of it; channels for it, and one in Python; programs of several nodes |
//! | `drain.rs`, `signals.rs`, `addresses.rs`, `activation.rs`, `start.rs` | the life of the process |

mod access_log;
mod activation;
mod addresses;
mod archive;
mod away;
mod backend;
mod backpressure;
mod bounds;
mod capacity;
mod carried;
mod certificate;
mod churn;
mod client;
mod cluster;
mod commands;
mod compression;
mod crowd;
mod dashboard;
mod deflating;
mod disk;
mod drain;
mod elsewhere;
mod epochs;
mod failover;
mod hook_events;
mod hook_faults;
mod hooks;
mod hosts;
mod http;
mod hung;
mod joined;
mod jwks;
mod keeper;
mod kept_open;
mod kept_open_compressed;
mod kept_open_killed;
mod kept_open_nodes;
mod kept_open_sealed;
mod kept_open_streams;
mod kept_open_unsent;
mod kept_requests;
mod kept_sockets;
mod limits;
mod linked;
mod members;
mod nodes;
mod notices;
mod order;
mod origins;
mod pages;
mod partial;
mod passed_back;
mod passed_on;
mod patience;
mod permissions;
mod presence;
mod program;
mod proxied;
mod publishing;
mod reading;
mod recovery;
mod redis;
mod reloads;
mod replaced;
mod resumed;
mod returning;
mod scraped;
mod server;
mod several;
mod signals;
mod slow;
mod smuggling;
mod socket;
mod socketio_tokens;
mod start;
mod state;
mod statuses;
mod storage;
mod storage_commands;
mod storm;
mod stream;
mod synced;
mod tls;
mod tls_clients;
mod tokens;
mod tour;
mod turns;
mod upgrade;
mod watch;
mod websocket;
mod workers;
mod written;
