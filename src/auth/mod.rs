//! Who may do what: patterns of channels, the rights they give, and the rules of the operator. Pure: no socket, and no
//! clock but what is passed in.
//!
//! ```text
//!   [[namespace]], read.open, publish.open ─► Policy ─┐
//!   a publishing key, limited or not ─► Grant ────────┼─► decide(asker, right, channel) ─► Ok, or Denied
//!   a token ─► Verifier ─► user, Claims with a Grant ─┘                 ─► or a Question to a backend
//! ```
//!
//! Every tongue asks the one [`Policy::may`]: HTTP, `/ws`, plain WebSockets, event streams, long polls, Socket.IO, and programs
//! that embed the server. What is not given is refused.
//!
//! | file | holds |
//! |---|---|
//! | `pattern.rs` | channel patterns, by segments |
//! | `grant.rs` | the rights somebody brings |
//! | `policy.rs` | the operator's rules, and the decision |
//! | `access_rules.rs` | the same with keys, and with what a backend has said |
//! | `publish_key.rs` | publishing keys |
//! | `password.rs` | passwords of people, and bcrypt's hashes of them |
//! | `token.rs`, `claims.rs`, `token_key.rs` | whether a token is good, what it says, what it is signed with |
//! | `hook.rs` | what a backend is asked, and what it answers |
//! | `holders.rs`, `names.rs` | which connections belong to whom, and users' names in few bytes |
//! | `revoked.rs` | who has been shut out |

mod access_rules;
#[cfg(test)]
mod attacks;
mod claims;
mod grant;
mod holders;
mod hook;
mod names;
mod password;
mod pattern;
mod policy;
mod publish_key;
mod revoked;
mod token;
mod token_key;

pub use access_rules::{AccessRules, Asked, Missing};
pub use claims::{Claims, ClaimsFault};
pub use grant::{Grant, Right};
pub use holders::{Due, Holder, Holders};
pub use hook::{Client, Consultation, Denial, Hook, HookFailure, Ruled, Ruling};
pub use names::Name;
pub use password::{BcryptHash, Password, PasswordError};
pub use pattern::{Pattern, PatternError};
pub use policy::{Asker, Bounds, Denied, Namespace, Policy, Rule};
pub use publish_key::{PublishKey, PublishKeyError};
pub use revoked::{Revocation, Revoked};
pub use token::{RemoteKeys, TokenError, TokenRules, Verified, Verifier};
pub use token_key::{SECRET_BYTES_MIN, Signed, TokenKey, TokenKeyError};
