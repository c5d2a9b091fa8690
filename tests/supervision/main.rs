//! Applications that panic or hang, in a server that a program embeds: what their clients see, and that nobody else
//! sees anything.

mod client;
mod hangs;
mod panics;
