//! What the kernel tells about processes and the machine.

pub mod cpu;
pub mod memory;
