//! The tool over hosts made of files, and over this host in network namespaces of its own.

mod changes;
mod command;
mod fake;
mod namespace;
mod process;
mod readings;
mod rendered;
mod watch;
