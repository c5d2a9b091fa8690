//! Log lines on standard error: one per lifecycle event, never one per message.

use std::io::{self, IsTerminal};

use tracing_subscriber::{filter::LevelFilter, fmt, util::TryInitError};

use crate::config::{Config, LogFormat, LogLevel};

/// Starts logging for the whole process. Fails when somebody has started it already, which an embedding program
/// may ignore: its own choice then stands.
pub fn start(config: &Config) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt as _;

    let lines = fmt().with_writer(io::stderr).with_max_level(filter(config.log.level)).with_target(false);
    match config.log.format {
        LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).finish().try_init(),
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
