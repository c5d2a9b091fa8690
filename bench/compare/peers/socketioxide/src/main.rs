//! socketioxide on axum: acknowledged echoes and rooms, on one thread, written the way its documentation teaches.
//!
//! `POST /publish?room=ROOM` sends its body to everybody in the room, as the event `news`.

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::post,
    serve::ListenerExt,
};
use serde::Deserialize;
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef},
};
use tokio::net::TcpSocket;

#[derive(Deserialize)]
struct Place {
    room: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port: u16 =
        std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: peer-socketioxide PORT");
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(16_384)?.tap_io(|stream| drop(stream.set_nodelay(true)));
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", connect);
    let app = Router::new().route("/publish", post(publish)).with_state(io).layer(layer);
    axum::serve(listener, app).await
}

async fn connect(socket: SocketRef) {
    socket.on("echo", async |Data::<String>(text), acknowledge: AckSender| {
        // An error here is a client that has gone.
        drop(acknowledge.send(&text));
    });
    socket.on("join", async |socket: SocketRef, Data::<String>(room), acknowledge: AckSender| {
        socket.join(room);
        drop(acknowledge.send(&()));
    });
}

async fn publish(State(io): State<SocketIo>, Query(place): Query<Place>, text: String) -> StatusCode {
    match io.to(place.room).emit("news", &text).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
