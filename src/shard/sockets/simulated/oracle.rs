//! What one issuer may ask, how an application asks it, and what every socket has to hear of it: everything takes effect at once
//! and in the order asked.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    app::socketio::{Io, Socket, SocketId},
    model::Arguments,
};

/// Something one issuer asks. Who is in a room is changed by nobody else: rooms are of its own, or who is in them stays.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Wish {
    Join(String),
    Leave(String),
    /// An event to those in any of these rooms, which may be sockets, and in none of those; of the application, or passed on
    /// for a client.
    Emit {
        rooms: Vec<String>,
        except: Vec<String>,
        number: u32,
        is_relayed: bool,
    },
    /// The same, and they are to acknowledge it, which nobody does.
    Ask {
        rooms: Vec<String>,
        except: Vec<String>,
        number: u32,
    },
    /// An event to everybody but those.
    EmitToAll {
        except: Vec<String>,
        number: u32,
    },
    /// An event to the issuer alone.
    EmitToMe {
        number: u32,
    },
    /// Who is in any of these rooms joins another.
    PutIn {
        rooms: Vec<String>,
        room: String,
    },
    /// Who is in any of these rooms leaves another.
    TakeOut {
        rooms: Vec<String>,
        room: String,
    },
}

/// Asks it, as an application does.
pub(super) fn ask(socket: &Socket, issuer: u32, wish: Wish) {
    let (io, event): (Io, _) = (socket.io(), "n");
    match wish {
        Wish::Join(room) => assert!(socket.join(room)),
        Wish::Leave(room) => assert!(socket.leave(room)),
        Wish::Emit { rooms, except, number, is_relayed: false } => {
            io.to(rooms).except(except).emit(event, &(issuer, number));
        }
        Wish::Emit { rooms, except, number, is_relayed: true } => {
            let json = format!(r#"["{event}",{issuer},{number}]"#).into();
            io.to(rooms).except(except).emit_json(Arguments { json, ..Arguments::default() }, None);
        }
        Wish::Ask { rooms, except, number } => {
            let data = (issuer, number);
            drop(io.to(rooms).except(except).emit_with_ack::<()>(event, &data));
        }
        Wish::EmitToAll { except, number } => io.except(except).emit(event, &(issuer, number)),
        Wish::EmitToMe { number } => socket.emit(event, &(issuer, number)),
        Wish::PutIn { rooms, room } => io.to(rooms).sockets_join(room),
        Wish::TakeOut { rooms, room } => io.to(rooms).sockets_leave(room),
    }
}

/// What one issuer has asked, and who has to have heard what.
pub(super) struct Oracle {
    me: SocketId,
    sockets: Vec<SocketId>,
    members: HashSet<(String, SocketId)>,
    /// The numbers that each socket hears, in the order of [`Self::sockets`].
    pub(super) heard: Vec<Vec<u32>>,
}

impl Oracle {
    /// Of an issuer among so many sockets, some of which are in rooms already.
    pub(super) fn new(me: SocketId, sockets: Vec<SocketId>, seated: &[(String, SocketId)]) -> Self {
        let alone = sockets.iter().map(|socket| (socket.to_string(), *socket));
        let members = alone.chain(seated.iter().cloned()).collect();
        Self { me, heard: vec![Vec::new(); sockets.len()], sockets, members }
    }

    pub(super) fn ask(&mut self, wish: &Wish) {
        match wish {
            Wish::Join(room) => self.members.extend([(room.clone(), self.me)]),
            Wish::Leave(room) => {
                self.members.remove(&(room.clone(), self.me));
            }
            Wish::Emit { rooms, except, number, .. } | Wish::Ask { rooms, except, number } => {
                self.emit(*number, |oracle, socket| {
                    oracle.is_in(socket, rooms) && !oracle.is_in(socket, except)
                });
            }
            Wish::EmitToAll { except, number } => {
                self.emit(*number, |oracle, socket| !oracle.is_in(socket, except));
            }
            Wish::EmitToMe { number } => self.emit(*number, |oracle, socket| socket == oracle.me),
            Wish::PutIn { rooms, room } => {
                let selected = self.selected(rooms);
                self.members.extend(selected.into_iter().map(|socket| (room.clone(), socket)));
            }
            Wish::TakeOut { rooms, room } => {
                for socket in self.selected(rooms) {
                    self.members.remove(&(room.clone(), socket));
                }
            }
        }
    }

    fn emit(&mut self, number: u32, hears: impl Fn(&Self, SocketId) -> bool) {
        for place in 0..self.sockets.len() {
            if hears(self, self.sockets[place]) {
                self.heard[place].push(number);
            }
        }
    }

    fn selected(&self, rooms: &[String]) -> Vec<SocketId> {
        self.sockets.iter().copied().filter(|socket| self.is_in(*socket, rooms)).collect()
    }

    fn is_in(&self, socket: SocketId, rooms: &[String]) -> bool {
        rooms.iter().any(|room| self.members.contains(&(room.clone(), socket)))
    }
}
