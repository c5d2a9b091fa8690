//! What every load has in common: when messages are due, how workers start and end together, what a person sees
//! meanwhile.

pub mod control;
pub mod pace;
pub mod progress;
pub mod stages;
pub mod steady;
pub mod window;
