//! What the kernel tells about processes and the machine.

pub mod clock;
pub mod cpu;
pub mod machine;
pub mod memory;
pub mod server;
