//! A chat in forty lines. `cargo run --example chat`, then open http://localhost:8080/ in two windows.
//!
//! The page loads the official client from this server: `npm install socket.io-client` in this folder gets it.

use roadstead::{
    api::program,
    app::socketio::{Ack, Io, Socket},
    config::Config,
    supervisor::serve,
};

struct Member {
    name: String,
    room: String,
}

/// What the shard does for its clients.
pub fn register(io: &Io) {
    io.on_with_ack("enter", |socket: &Socket, (name, room): (String, String), ack: Ack| {
        if name.is_empty() || socket.data::<Member>().is_some() || !socket.join(&room) {
            return ack.send(&false);
        }
        socket.to(&room).emit("entered", &name);
        socket.set_data(Member { name, room });
        ack.send(&true);
    });

    io.on("say", |socket: &Socket, text: String| {
        if let Some(member) = socket.data::<Member>() {
            socket.io().to(&member.room).emit("said", &(&member.name, text));
        }
    });

    io.on("typing", |socket: &Socket, (): ()| {
        if let Some(member) = socket.data::<Member>() {
            socket.to(&member.room).volatile().emit("typing", &member.name);
        }
    });

    // The page of Socket.IO's tutorial, which knows one room: everybody.
    io.on("chat message", |socket: &Socket, text: String| socket.io().emit("chat message", &text));

    io.on_disconnect(|socket, _reason| {
        if let Some(member) = socket.data::<Member>() {
            socket.to(&member.room).emit("left", &member.name);
        }
    });
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::default();
    let handlers = program(&config, include_str!("chat.html"), register)?;
    serve(config, handlers)?;
    Ok(())
}
