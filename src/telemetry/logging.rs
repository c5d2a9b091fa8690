//! Log lines on standard error: one per lifecycle event, never one per message.

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use tracing_subscriber::{
    Registry,
    filter::LevelFilter,
    fmt,
    layer::{Layer, SubscriberExt},
    registry,
    reload::{self, Handle},
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{Config, LogFormat, LogLevel};

/// The level of the lines that [`start`] lets be written.
static LEVEL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts logging for the whole process. Fails when somebody has started it already, which an embedding program
/// may ignore: its own choice then stands.
pub fn start(config: &Config) -> Result<(), TryInitError> {
    let (level, handle) = reload::Layer::new(filter(config.log.level));
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = match config.log.format {
        LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    registry().with(level).with(lines).try_init()?;
    // The process has one logger, and this is it.
    LEVEL.set(handle).expect("nobody else has started one");
    Ok(())
}

/// Changes the level of the lines written from now on, if [`start`] started the logging.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        handle.modify(|current| *current = filter(level)).expect("the logger lives as long as the process");
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
