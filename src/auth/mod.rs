//! Who may do what: patterns of channels, the rights they give, and the rules of the operator. Pure: no socket, and no
//! clock but what is passed in.
//!
//! ```text
//!   [[namespace]], read.open, publish.open ─► Policy ─┐
//!   a publishing key, limited or not ─► Grant ────────┼─► decide(asker, right, channel) ─► Ok, or Denied
//! ```
//!
//! Every tongue asks the one [`Policy::decide`]: HTTP, `/ws`, plain WebSockets, event streams, long polls, Socket.IO.
//! What is not given is refused.
//!
//! | file | holds |
//! |---|---|
//! | `pattern.rs` | channel patterns, by segments |
//! | `grant.rs` | the rights somebody brings |
//! | `policy.rs` | the operator's rules, and the decision |
//! | `publish_key.rs` | publishing keys |

mod grant;
mod pattern;
mod policy;
mod publish_key;

pub use grant::{Grant, Right};
pub use pattern::{Pattern, PatternError};
pub use policy::{Asker, Denied, Namespace, Policy, Rule};
pub use publish_key::{PublishKey, PublishKeyError};
