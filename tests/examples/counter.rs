//! A live counter: one number, pressed by everybody on every shard. `cargo run --example counter`, then open
//! http://localhost:8080/ in several windows.
//!
//! The page loads the official client from this server: `npm install socket.io-client` in this folder gets it.
//!
//! Shards share nothing, so the number belongs to one of them, shard 0; the others tell it of presses. It tells
//! them, at most twenty times a second however many press, and each tells its own clients: who enters meanwhile is told
//! what its shard knows, and hears of all that the shard learns later.

use std::{cell::Cell, rc::Rc, time::Duration};

use roadstead::{
    api::program,
    app::{ShardId, socketio::Io},
    config::Config,
    supervisor::serve,
};

const OWNER: ShardId = ShardId(0);
const TOLD_EVERY: Duration = Duration::from_millis(50);

/// What the shard does for its clients.
pub fn register(io: &Io) {
    // The owner's is the number; the others' is the last they heard of it, for clients that come.
    let count = Rc::new(Cell::new(0u64));

    let known = Rc::clone(&count);
    io.on_connect(move |socket| socket.emit("count", &known.get()));

    let (owned, is_owner) = (Rc::clone(&count), io.shard() == OWNER);
    io.on("press", move |socket, (): ()| match is_owner {
        true => owned.set(owned.get() + 1),
        false => socket.io().server_side_emit("press", &[(); 0]),
    });

    if is_owner {
        let owned = Rc::clone(&count);
        io.on_server_event("press", move |_from, (): ()| owned.set(owned.get() + 1));
        let (told, teller) = (Cell::new(0), io.clone());
        let tell = move || {
            if told.replace(count.get()) != count.get() {
                teller.local().emit("count", &count.get());
                teller.server_side_emit("count", &count.get());
            }
        };
        io.every(TOLD_EVERY, tell).detach();
    } else {
        let teller = io.clone();
        io.on_server_event("count", move |_from, number: u64| {
            count.set(number);
            teller.local().emit("count", &number);
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::default();
    let handlers = program(&config, include_str!("counter.html"), register)?;
    serve(config, handlers)?;
    Ok(())
}
