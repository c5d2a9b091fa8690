//! The program `roadstead`: the command line, the allocator, then the server.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use roadstead::{
    api::{self, ChannelServer, ClientScriptError, Crowd},
    app::Handler,
    cli::{self, Arguments, Command, ConfigCommand, Failure, Run, ServeFlags},
    config::{self, Config, ConfigErrors, Sources},
    model::{AccessLines, ShardId},
    program::{Program, ProgramError},
    supervisor::{self, Hooks, Kept, LastGood, Listening},
    telemetry::logging,
};
use tikv_jemallocator::Jemalloc;
use tracing::{error, warn};

/// Gives memory back to the system within seconds after a wave of clients has gone, when a thread of its own sees to it;
/// the C library keeps most of it. Programs that embed the server have the allocator they choose.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let outcome = match Arguments::of_process().command() {
        Command::Serve(flags) => serve(&flags),
        Command::Run(run) => run_program(&run),
        Command::Config(ConfigCommand::Check { file }) => check(file),
        Command::Config(ConfigCommand::Print) => Ok(print(&config::commented_defaults())),
        Command::Completions { shell } => Ok(print(&cli::completions(shell))),
        Command::Man { directory } => {
            cli::man_pages(&directory).map(|()| ExitCode::SUCCESS).map_err(Failure::Man)
        }
        Command::Crowd(crowd) => crowd.run().map(|()| ExitCode::SUCCESS).map_err(Failure::Crowd),
        Command::Help { topic } => cli::help(&topic).map(|text| print(&text)).map_err(Failure::from),
        Command::Status(status) => tell(status),
        Command::Reload(reload) => reload.run().map(|text| print(&text)).map_err(Failure::from),
        Command::Upgrade(upgrade) => upgrade.run().map(|text| print(&text)).map_err(Failure::from),
        Command::Top(top) => top.run().map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        Command::Token(token) => token.run().map(|text| print(&text)).map_err(Failure::from),
        Command::Storage(storage) => storage.run().map(|text| print(&text)).map_err(Failure::from),
        Command::Tune(tune) => Ok(ExitCode::from(roadstead_tuning::cli::run(tune))),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("{failure}");
        failure.exit_code()
    })
}

/// What a keeper has handed to this process, and what it remembers of the configuration file.
fn take_kept() -> Result<(Option<Kept>, Option<Arc<LastGood>>), Failure> {
    let mut kept = Kept::take()?;
    let last_good = kept.as_mut().map(Kept::last_good).transpose()?.map(Arc::new);
    Ok((kept, last_good))
}

fn serve(flags: &ServeFlags) -> Result<ExitCode, Failure> {
    let (kept, last_good) = take_kept()?;
    let Loaded { mut config, text, refused } = load(&flags.sources(), last_good.as_deref())?;
    if config.server.keeper && kept.is_none() {
        return keep(&config);
    }
    let _logging = begin(&config);
    refused.iter().for_each(tell_refused);
    if let Some(kept) = &kept {
        kept.settle(&mut config);
    }
    let (is_alone, is_again) = (kept.is_none(), kept.as_ref().is_some_and(Kept::is_again));
    let crowd = std::env::current_exe().ok().map(Crowd::new);
    let handlers = channel_servers(&config, crowd.clone())?;
    let another = last_good.clone();
    let announce = |config: &Config, listening: &Listening| {
        if let Some(crowd) = &crowd {
            crowd.serve_at(cli::crowd_address(config, listening), listening.ceiling.connections);
        }
        // One that comes back has been announced.
        if !is_again {
            tell_out(&cli::banner(config, listening));
        }
        if is_alone {
            supervisor::notify_ready();
        }
        remember(last_good.as_deref(), text.as_deref());
    };
    let again = flags.clone();
    let reread = move || -> Result<Config, ConfigErrors> {
        let Loaded { config, text, .. } = load(&again.sources(), None)?;
        remember(another.as_deref(), text.as_deref());
        Ok(config)
    };
    let hooks = Hooks {
        announce: Some(Box::new(announce)),
        reread: Some(Box::new(reread)),
        kept,
        ..Hooks::default()
    };
    let reason = supervisor::serve_with(config, handlers, hooks)?;
    Ok(cli::exit_code(reason))
}

/// Says that a configuration is not what the server goes on with.
fn tell_refused(refused: &ConfigErrors) {
    let told = refused.to_string().replace('\n', "; ");
    error!("the configuration has become wrong, and what it said before is gone on with: {told}");
}

/// Serves a program until a signal ends the server, or the program ends itself.
fn run_program(run: &Run) -> Result<ExitCode, Failure> {
    let (kept, last_good) = take_kept()?;
    // What is wrong with what the operator says is told before the program is started.
    let Loaded { config, text, refused } = load(&run.flags().sources(), last_good.as_deref())?;
    let sources = Sources { text: text.clone(), ..run.flags().sources() };
    if kept.is_none() && config.server.keeper && Program::can_be_kept(&sources)? {
        return keep(&config);
    }
    let program = Program::start(&run.node(), run.workers())?;
    let mut config = program.configure(sources)??;
    let _logging = begin(&config);
    refused.iter().for_each(tell_refused);
    if let Some(kept) = &kept {
        kept.settle(&mut config);
    }
    let (is_alone, is_again) = (kept.is_none(), kept.as_ref().is_some_and(Kept::is_again));
    let serves_channels = config.channels_are_for_somebody();
    let handlers = program.handlers(api::Settings::from_config(&config)?, serves_channels);
    let announce = |config: &Config, listening: &Listening| {
        program.tell_listening(listening);
        if !is_again {
            tell_out(&cli::program_banner(config, listening));
        }
        if is_alone {
            supervisor::notify_ready();
        }
        remember(last_good.as_deref(), text.as_deref());
    };
    if run.is_watching() {
        program.watch(&run.node()).map_err(|error| Failure::Program(ProgramError::Watch(error)))?;
    }
    let again = run.flags().clone();
    let another = last_good.clone();
    let good = move |sources: &Sources| remember(another.as_deref(), sources.text.as_deref());
    let reread = program.reread(move || again.sources().read(), good)?;
    let ended = || program.end();
    let hooks = Hooks {
        announce: Some(Box::new(announce)),
        reread: Some(reread),
        ended: Some(Box::new(ended)),
        kept,
    };
    let reason = supervisor::serve_with(config, handlers, hooks)?;
    Ok(cli::exit_code(reason))
}

/// A configuration that was read.
struct Loaded {
    config: Config,
    /// What stands in the file.
    text: Option<String>,
    /// Why that is not what stands there now.
    refused: Option<ConfigErrors>,
}

/// Reads the configuration; where it has become wrong since a keeper's server read it last, what it was then.
fn load(sources: &Sources, last_good: Option<&LastGood>) -> Result<Loaded, ConfigErrors> {
    let read = |sources: Sources| -> Result<_, ConfigErrors> { Ok((Config::load(&sources)?, sources.text)) };
    let refused = match sources.clone().read().and_then(read) {
        Ok((config, text)) => return Ok(Loaded { config, text, refused: None }),
        Err(refused) => refused,
    };
    let Some(text) = last_good.and_then(LastGood::text) else { return Err(refused) };
    let (config, text) = read(Sources { text: Some(text.to_owned()), ..sources.clone() })?;
    Ok(Loaded { config, text, refused: Some(refused) })
}

/// Has a keeper remember what stands in the configuration file.
fn remember(last_good: Option<&LastGood>, text: Option<&str>) {
    if let (Some(last_good), Some(text)) = (last_good, text) {
        last_good.set(text);
    }
}

/// Keeps a server. A keeper has one thread, so it writes no lines about clients, whom it does not see.
fn keep(config: &Config) -> Result<ExitCode, Failure> {
    // The allocator's begins with the program.
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(false) {
        eprintln!("the keeper has a thread of the allocator: {error}");
    }
    let mut quiet = config.clone();
    quiet.log.access = AccessLines::Off;
    let _logging = logging::start(&quiet).expect("nobody else in this process logs");
    Ok(ExitCode::from(supervisor::keep(&quiet)?))
}

/// One channel server per shard.
fn channel_servers(
    config: &Config,
    crowd: Option<Crowd>,
) -> Result<impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static, ClientScriptError> {
    let settings = api::Settings { crowd, ..api::Settings::from_config(config)? };
    Ok(move |_shard| Box::new(ChannelServer::new(settings.clone())) as Box<dyn Handler>)
}

fn check(file: PathBuf) -> Result<ExitCode, Failure> {
    let name = file.display().to_string();
    let config = Config::load(&Sources { file: Some(file), ..Sources::default() })?;
    supervisor::check_certificates(&config)?;
    let sum = config.memory_sum(supervisor::shards(&config));
    Ok(print(&format!("{name}: nothing is wrong\n{sum}")))
}

fn tell(status: cli::Status) -> Result<ExitCode, Failure> {
    let (text, is_whole) = status.run()?;
    let printed = print(&text);
    Ok(if is_whole { printed } else { ExitCode::FAILURE })
}

fn print(text: &str) -> ExitCode {
    match write_out(text) {
        // Whoever reads the output may stop early, as `head` does.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("nothing can be written to standard output: {error}");
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

/// Begins what a process that serves has of its own: a thread of the allocator, and log lines for as long as this is kept.
fn begin(config: &Config) -> logging::Logging {
    // Without the thread memory is given back as well, but only where more is being taken or freed.
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        eprintln!("memory is given back late: {error}");
    }
    logging::start(config).expect("nobody else in this process logs")
}

/// Tells whoever reads the output, if anybody does: a server serves all the same.
fn tell_out(text: &str) {
    if let Err(error) = write_out(text) {
        warn!("nothing can be written to standard output: {error}");
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
