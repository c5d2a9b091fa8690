//! Roadstead serving the Socket.IO jobs, on one shard.

mod rooms;

use roadstead::{
    config::Config,
    supervisor::{ServeError, serve},
};

use self::rooms::Rooms;

fn main() -> Result<(), ServeError> {
    let port: u16 = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .expect("usage: peer-roadstead-socketio PORT");
    let mut config = Config::default();
    config.server.listen = vec![format!("127.0.0.1:{port}").parse().expect("an address")];
    config.server.admin = None;
    config.server.shards = 1;
    serve(config, |_| Box::new(Rooms::default())).map(drop)
}
