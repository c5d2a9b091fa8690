//! What one client, or all of them together, can make the server keep: each attack is carried out against the real
//! program, whose resident memory must not grow beyond what the limits say.
//!
//! Each attack prints a row; this shows them as a table:
//!
//! ```text
//! cargo test --release --test attacks -- --nocapture --test-threads 1 | grep '^|'
//! ```
//!
//! | file | about |
//! |---|---|
//! | `row.rs` | measuring an attack |
//! | `unread.rs` | clients that ask, or follow, and do not read |
//! | `copies.rs` | one publication for many, and much of it for one |
//! | `floods.rs` | very much of what is small, or half of it |
//! | `sums.rs` | what may be kept, all of it, against what `roadstead config check` says of it |
//! | `waves.rs` | memory goes back when a wave is over |
//! | `churn.rs` | anything at random, for a minute or for as long as one likes |

mod churn;
mod copies;
mod floods;
mod row;
mod sums;
mod unread;
mod waves;

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
#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "../e2e/stream.rs"]
mod stream;
