//! A lobby that matches waiting players by what they want to play, and gives each match its own room.
//! `cargo run --example lobby`, then open http://localhost:8080/ in several windows.
//!
//! The page loads the official client from this server: `npm install socket.io-client` in this folder gets it.
//!
//! Shards share nothing, so players on different shards are matched by one of them. Which one, what they want decides:
//! everybody who wants the same is matched on the same shard, and the work is spread.
//!
//! ```text
//!   player ─"play"─► its shard ─"wait"─► the shard that matches ─"matched"─► all shards ─"match"─► players
//! ```

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use roadstead::{
    api::program,
    app::socketio::{Io, Socket, SocketId},
    config::Config,
    supervisor::serve,
};
use serde::{Deserialize, Serialize};

/// What a player wants to play.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Wish {
    game: String,
    level: String,
    /// How many play together.
    players: usize,
}

/// Players who play together.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Match {
    room: String,
    players: Vec<SocketId>,
}

/// One shard's part of the lobby.
#[derive(Clone)]
struct Lobby {
    io: Io,
    /// Players of this shard who wait, and what for.
    waiting: Rc<RefCell<HashMap<SocketId, (Socket, Wish)>>>,
    /// Players of all shards whom this shard matches.
    queues: Rc<RefCell<HashMap<Wish, Vec<SocketId>>>>,
    matches: Rc<Cell<u64>>,
}

const PLAYERS_MAX: usize = 8;
const WISH_BYTES_MAX: usize = 64;

/// What the shard does for its clients.
pub fn register(io: &Io) {
    let lobby =
        Lobby { io: io.clone(), waiting: Rc::default(), queues: Rc::default(), matches: Rc::default() };
    let here = lobby.clone();
    io.on("play", move |socket: &Socket, wish: Wish| here.play(socket, wish));
    let here = lobby.clone();
    io.on("cancel", move |socket: &Socket, (): ()| here.cancel(socket.id()));
    let here = lobby.clone();
    io.on_disconnect(move |socket, _reason| here.leave(socket));
    io.on("move", |socket: &Socket, data: serde_json::Value| {
        if let Some(playing) = socket.data::<Match>() {
            socket.to(&playing.room).emit("move", &(socket.id(), data));
        }
    });
    let here = lobby.clone();
    io.on_server_event("wait", move |_from, (wish, player)| here.wait(wish, player));
    let here = lobby.clone();
    io.on_server_event("gone", move |_from, (wish, player)| here.gone(&wish, player));
    io.on_server_event("matched", move |_from, playing| lobby.matched(&playing));
}

impl Lobby {
    /// A player wants to play.
    fn play(&self, socket: &Socket, wish: Wish) {
        let is_sensible = (2..=PLAYERS_MAX).contains(&wish.players)
            && wish.game.len().max(wish.level.len()) <= WISH_BYTES_MAX;
        let is_busy = socket.data::<Match>().is_some() || self.waiting.borrow().contains_key(&socket.id());
        if !is_sensible || is_busy {
            return socket.emit("refused", &[(); 0]);
        }
        self.waiting.borrow_mut().insert(socket.id(), (socket.clone(), wish.clone()));
        socket.emit("waiting", &wish);
        match self.matches_here(&wish) {
            true => self.wait(wish, socket.id()),
            false => self.io.server_side_emit("wait", &(wish, socket.id())),
        }
    }

    /// A player does not want to play any more.
    fn cancel(&self, player: SocketId) {
        let waited = self.waiting.borrow_mut().remove(&player);
        let Some((_, wish)) = waited else { return };
        match self.matches_here(&wish) {
            true => self.gone(&wish, player),
            false => self.io.server_side_emit("gone", &(wish, player)),
        }
    }

    fn leave(&self, socket: &Socket) {
        self.cancel(socket.id());
        if let Some(playing) = socket.data::<Match>() {
            self.io.to(&playing.players).emit("left", &socket.id());
        }
    }

    /// Somebody waits, on whatever shard. What one shard says reaches all, and only one of them matches.
    fn wait(&self, wish: Wish, player: SocketId) {
        if !self.matches_here(&wish) {
            return;
        }
        let mut queues = self.queues.borrow_mut();
        let queue = queues.entry(wish.clone()).or_default();
        queue.push(player);
        if queue.len() < wish.players {
            return;
        }
        let players = queues.remove(&wish).unwrap_or_default();
        drop(queues);
        self.matches.set(self.matches.get() + 1);
        let room = format!("match-{}-{}", self.io.shard(), self.matches.get());
        let playing = Match { room, players };
        self.io.server_side_emit("matched", &playing);
        self.matched(&playing);
    }

    fn gone(&self, wish: &Wish, player: SocketId) {
        let mut queues = self.queues.borrow_mut();
        let Some(queue) = queues.get_mut(wish) else { return };
        queue.retain(|other| *other != player);
        if queue.is_empty() {
            queues.remove(wish);
        }
    }

    /// Some players have been matched; those of this shard begin to play.
    fn matched(&self, playing: &Match) {
        for player in playing.players.iter().filter(|player| player.shard == self.io.shard()) {
            let waited = self.waiting.borrow_mut().remove(player);
            match waited {
                Some((socket, _)) => {
                    socket.join(&playing.room);
                    socket.set_data(playing.clone());
                    socket.emit("match", playing);
                }
                // It went away while it was matched.
                None => self.io.to(&playing.players).emit("left", player),
            }
        }
    }

    fn matches_here(&self, wish: &Wish) -> bool {
        let mut hasher = DefaultHasher::new();
        wish.hash(&mut hasher);
        hasher.finish() % u64::from(self.io.shards()) == u64::from(self.io.shard().0)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::default();
    let handlers = program(&config, include_str!("lobby.html"), register)?;
    serve(config, handlers)?;
    Ok(())
}
