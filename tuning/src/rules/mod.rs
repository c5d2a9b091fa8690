//! The formulas: for every file of `settings/`, how much of it a goal needs on a host.
//!
//! Only arithmetic stands here. The reasons stand in the setting's file, which the guide prints too.

mod box_memory;
mod cpu;
mod descriptors;
mod handshake;
mod lifetime;
mod listening;
mod nic;
mod paging;
mod ports;
mod quiet_cores;
mod ring;
mod storm;
mod tcp_memory;

use crate::setting::Rule;

pub use box_memory::{KERNEL_BYTES, POLL_BYTES, USER_BYTES};
pub use descriptors::{descriptors_for, descriptors_reserved};
pub use handshake::retry_seconds;
pub use ring::{LOCKED_BYTES_MIN, locked_bytes_for};
pub use storm::{backlog_for, backlog_shortfall};

/// Every rule, by area, in the order of the guide.
pub const ALL: &[&[Rule]] = &[
    descriptors::RULES,
    box_memory::RULES,
    tcp_memory::RULES,
    storm::RULES,
    handshake::RULES,
    listening::RULES,
    lifetime::RULES,
    ports::RULES,
    ring::RULES,
    paging::RULES,
    nic::RULES,
    cpu::RULES,
    quiet_cores::RULES,
];

/// The least power of two that is no less than `number`.
fn power_of_two(number: u64) -> u64 {
    number.max(1).next_power_of_two()
}
