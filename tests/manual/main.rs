//! The manual and the README say what is so: their commands run, their configurations work, their tables are whole.
//!
//! | file | about |
//! |---|---|
//! | `blocks.rs`, `server.rs` | the documents and their fenced blocks; a server to run them against |
//! | `commands.rs` | blocks of `sh` and `console` |
//! | `dialogues.rs` | blocks of `ws` |
//! | `proxies.rs` | the configurations of proxies |
//! | `made.rs` | tables that are made from the program's own |
//! | `written.rs` | what has to have a sentence |
//! | `bin/websocat` | stands for the program of this name where it is not installed |

mod blocks;
mod commands;
mod dialogues;
mod made;
mod proxies;
mod server;
mod written;
