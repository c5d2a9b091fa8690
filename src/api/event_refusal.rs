//! How events of Socket.IO's clients are refused: with an acknowledgement, or where none is awaited by an event.

use serde::Serialize;

use super::Refusal;
use crate::{
    app::socketio::{Ack, ErrorBody, Order, Socket},
    auth::Ruled,
};

#[derive(Serialize)]
struct ErrorAnswer<'a> {
    error: ErrorBody<'a>,
}

/// The event that tells a client of an event of its own that was refused.
const REFUSED: &str = "refused";

/// Answers with an error, and counts it.
pub(super) fn refuse(socket: &Socket, event: &str, ack: Ack, refusal: Refusal) {
    refuse_by(socket, event, ack, refusal, &[]);
}

/// The same, in the backend's words where that has refused. A client that waits for no acknowledgement is told by an event.
pub(super) fn refuse_by(socket: &Socket, event: &str, ack: Ack, refusal: Refusal, rulings: &[Ruled]) {
    let io = socket.io();
    if let Refusal::RateLimited(_) = refusal {
        io.orders().push(Order::CountRateLimited);
    }
    io.orders().push(Order::CountCommandRefused);
    let (code, message) = refusal.words(rulings);
    let answer = ErrorAnswer { error: ErrorBody { code: &code, message: &message } };
    match ack.is_awaited() {
        true => ack.send(&answer),
        false => socket.emit(REFUSED, &(event, answer)),
    }
}
