//! What `tests/suites/run` lets published suites loose on: a server for each of them, on ports of their own, in one program.
//! Says `NAME PORT` for each and serves until its input ends.
//!
//! | name | is |
//! |---|---|
//! | `engine` | Engine.IO that echoes, for engine.io-protocol's suite |
//! | `socket` | what socket.io-protocol's suite wants of an application |
//! | `client` | what the tests of npm's socket.io-client want of one |
//! | `http` | HTTP that echoes bodies under any method, for h1spec |

#[path = "../socketio/fixture/anything.rs"]
mod anything;
mod client;
#[path = "../socketio/fixture/suite.rs"]
mod suite;

use std::{error::Error, io::Read};

use roadstead::{
    app::{
        Answer, Context, Handler, Peer, Request, Response, Verdict,
        socketio::{Io, application},
    },
    config::Config,
    supervisor::Server,
};

/// Echoes.
struct Echo;

impl Handler for Echo {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::Refuse(Response::text(404, "no WebSockets here"))
    }

    fn request(&mut self, _: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Answer {
        Answer::Respond(Response::text(200, String::from_utf8_lossy(request.body).into_owned()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.server.listen = vec!["127.0.0.1:0".parse()?];
    config.server.admin = None;
    config.server.shards = 2;
    config.server.drain_ms = 100;
    config.server.allowed_hosts = vec!["*".into()];
    config.socketio.keep_handshake = true;
    let mut servers = vec![("http", Server::start(&config, |_| Box::new(Echo))?)];
    config.socketio.ping_interval_ms = 2000;
    config.socketio.connection_state_recovery_ms = 120_000;
    servers.push(("client", Server::start(&config, application(client::register))?));
    config.socketio.connection_state_recovery_ms = 0;
    (config.socketio.ping_interval_ms, config.socketio.ping_timeout_ms) = (300, 200);
    servers.push(("socket", Server::start(&config, application(suite::register))?));
    config.socketio.path = "/engine.io/".into();
    let echo = |io: &Io| io.engine().on_message(|session, message| session.send(message));
    servers.push(("engine", Server::start(&config, application(echo))?));
    for (name, server) in &servers {
        let address = server.listening().public[0].to_string();
        println!("{name} {}", address.rsplit(':').next().unwrap_or_default());
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for (_, server) in servers {
        server.drain();
        server.wait()?;
    }
    Ok(())
}
