//! The load generator as people run it: the program itself, against servers whose behaviour is known.

mod agents;
mod answers;
mod compressed;
mod fanout;
mod floor;
mod manners;
mod relay;
#[path = "../../compare/peers/roadstead-socketio/src/rooms.rs"]
mod rooms;
mod secured;
mod self_check;
mod socketio;
mod steady;
mod stop;
mod trials;
