//! The program `roadstead`: the command line, the allocator, then the server.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use roadstead::{
    api::{self, ChannelServer, ClientScriptError, Crowd},
    app::Handler,
    cli::{self, Arguments, Command, ConfigCommand, Failure, ServeFlags},
    config::{self, Config, Sources},
    model::{AccessLines, ShardId},
    supervisor::{self, Hooks, Kept, Listening},
    telemetry::logging,
};
use tikv_jemallocator::Jemalloc;
use tracing::warn;

/// Gives memory back to the system within seconds after a wave of clients has gone, when a thread of its own sees to it;
/// the C library keeps most of it. Programs that embed the server have the allocator they choose.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let outcome = match Arguments::of_process().command() {
        Command::Serve(flags) => serve(&flags),
        Command::Config(ConfigCommand::Check { file }) => check(file),
        Command::Config(ConfigCommand::Print) => Ok(print(&config::commented_defaults())),
        Command::Completions { shell } => Ok(print(&cli::completions(shell))),
        Command::Man { directory } => {
            cli::man_pages(&directory).map(|()| ExitCode::SUCCESS).map_err(Failure::Man)
        }
        Command::Crowd(crowd) => crowd.run().map(|()| ExitCode::SUCCESS).map_err(Failure::Crowd),
        Command::Help { topic } => cli::help(&topic).map(|text| print(&text)).map_err(Failure::from),
        Command::Status(status) => tell(status),
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

fn serve(flags: &ServeFlags) -> Result<ExitCode, Failure> {
    let mut config = Config::load(&flags.sources())?;
    let kept = Kept::take()?;
    if config.server.keeper && kept.is_none() {
        return keep(&config);
    }
    // Without the thread memory is given back as well, but only where more is being taken or freed.
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        eprintln!("memory is given back late: {error}");
    }
    let _logging = logging::start(&config).expect("nobody else in this process logs");
    if let Some(kept) = &kept {
        kept.settle(&mut config);
    }
    let (is_alone, is_again) = (kept.is_none(), kept.as_ref().is_some_and(Kept::is_again));
    let crowd = std::env::current_exe().ok().map(Crowd::new);
    let handlers = channel_servers(&config, crowd.clone())?;
    let announce = |config: &Config, listening: &Listening| {
        if let Some(crowd) = &crowd {
            crowd.serve_at(cli::crowd_address(config, listening), listening.ceiling.connections);
        }
        // A server whose output nobody reads serves all the same. One that comes back has been announced.
        if !is_again && let Err(error) = write_out(&cli::banner(config, listening)) {
            warn!("nothing can be written to standard output: {error}");
        }
        if is_alone {
            supervisor::notify_ready();
        }
    };
    let again = flags.clone();
    let reread = move || Config::load(&again.sources());
    let hooks = Hooks { announce: Some(Box::new(announce)), reread: Some(Box::new(reread)), kept };
    let reason = supervisor::serve_with(config, handlers, hooks)?;
    Ok(cli::exit_code(reason))
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
    let told = format!("{}: nothing is wrong\n", file.display());
    let config = Config::load(&Sources { file: Some(file), ..Sources::default() })?;
    supervisor::check_certificates(&config)?;
    Ok(print(&told))
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

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
