//! Kernel tuning for very many connections: read a host, explain it, apply settings, roll them back, prove them.
//!
//! ```text
//!   settings/*.md ──┐                                        ┌─► cli: check, explain
//!                   ├─► setting ─► verdict ─► ceiling ───────┼─► `roadstead serve`'s one line
//!   rules/*.rs ─────┘      ▲          │                      └─► render: artefacts to ship
//!                          │          └─► change: plan ─► journal ─► write ─► read again ─► rollback
//!                        host (/proc, /sys, /etc under a root)
//! ```
//!
//! # Code map
//!
//! | module | holds |
//! |---|---|
//! | [`host`] | readings, never judged |
//! | [`setting`] | a setting's text, what can be asked of a value, how it is read |
//! | [`rules`] | the formulas, by area |
//! | [`verdict`] | a reading compared with a formula |
//! | [`mod@ceiling`] | how many connections the host holds, and what stops it |
//! | [`change`] | plan, journal, apply, persist, rollback |
//! | [`render`] | sysctl.d, systemd, cloud-init, ethtool, docker, kubernetes |
//! | [`guide`] | the parts of `README.md` that are made from the settings |
//! | [`watch`] | what is hit while load runs |
//! | [`prove`] | bounded experiments in network namespaces of their own |
//! | [`cli`] | `roadstead tune …` |
//! | `output` | lines, and where they go |
//! | `sys` | the only `unsafe`: the calls that the standard library lacks |
//!
//! # Invariants
//!
//! * One file of `settings/` per setting feeds both the guide and the tool.
//! * Nothing is written before its journal entry is on disk, and a rollback restores only what still is as it was set.
//! * A value that somebody raised is never lowered.
//! * An experiment changes nothing outside a network namespace of its own, but for the one that asks for leave
//!   (`--host-wide`), whose change a process of its own puts back however the experiment ends.

pub mod ceiling;
pub mod change;
pub mod cli;
pub mod guide;
pub mod host;
pub mod prove;
pub mod render;
pub mod rules;
pub mod setting;
pub mod verdict;
pub mod watch;

mod output;
mod sys;

pub use ceiling::Ceiling;
