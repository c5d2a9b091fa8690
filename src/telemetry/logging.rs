//! Log lines on standard error: one per lifecycle event, never one per message; and, where the operator wants them, one per
//! request and session, which are written by a thread of their own.

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt::{self, MakeWriter},
    layer::{Layer, SubscriberExt},
    registry,
    reload::{self, Handle},
    util::{SubscriberInitExt, TryInitError},
};

use crate::{
    config::{Config, LogFormat, LogLevel},
    limits::ACCESS_LINES_WAITING_MAX,
    model::{ACCESS_TARGET, AccessLines},
};

/// The level of the lines that [`start`] lets be written.
static LEVEL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

/// What writes lines about clients. Dropped, it writes what still waits.
#[must_use = "lines about clients are written while this lives"]
pub struct Logging {
    _writer: Option<WorkerGuard>,
}

/// Starts logging for the whole process. Fails when somebody has started it already, which an embedding program
/// may ignore: its own choice then stands.
pub fn start(config: &Config) -> Result<Logging, TryInitError> {
    let (level, handle) = reload::Layer::new(filter(config.log.level));
    let is_about_client = |metadata: &tracing::Metadata<'_>| metadata.target() == ACCESS_TARGET;
    let others = level.and(filter_fn(move |metadata| !is_about_client(metadata)));
    let lines = lines(config.log.format, io::stderr).with_filter(others);
    let (writer, guard) = match config.log.access {
        AccessLines::Off => (None, None),
        AccessLines::Refusals | AccessLines::All => {
            let (writer, guard) = writer();
            (Some(writer), Some(guard))
        }
    };
    let about_clients =
        writer.map(|writer| self::lines(config.log.format, writer).with_filter(filter_fn(is_about_client)));
    registry().with(lines).with(about_clients).try_init()?;
    // The process has one logger, and this is it.
    LEVEL.set(handle).expect("nobody else has started one");
    Ok(Logging { _writer: guard })
}

/// Lines of one form, for one place.
fn lines<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> registry::LookupSpan<'span>,
    W: for<'line> MakeWriter<'line> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_target(false);
    match format {
        LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

/// Writes on a thread of its own, and leaves out what comes while too much waits.
fn writer() -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(ACCESS_LINES_WAITING_MAX)
        .thread_name("access-log")
        .finish(io::stderr())
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
