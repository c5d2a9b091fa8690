//! axum: `/hello`, an echo and one room, on one thread, written the way its documentation teaches.
//!
//! What one WebSocket says in the room goes to all of them, through a `tokio` broadcast channel; everything waiting is
//! fed before one flush, so that a burst leaves in few writes. Its read buffer, 128 KiB a connection if nobody asks, is
//! as small as Roadstead's.

use axum::{
    Router,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
    serve::ListenerExt,
};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{
    net::TcpSocket,
    sync::broadcast::{Receiver, Sender, channel, error::RecvError},
};

/// Messages a subscriber may lag behind.
const ROOM_MESSAGES_MAX: usize = 1024;
/// What is read from a connection at once.
const READ_BUFFER_BYTES: usize = 4096;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port: u16 =
        std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: peer-axum PORT");
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(16_384)?.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = Router::new()
        .route("/hello", get(async || "Hello, world!\n"))
        .route("/echo", get(open_echo))
        .route("/room", get(join))
        .with_state(channel(ROOM_MESSAGES_MAX).0);
    axum::serve(listener, app).await
}

async fn open_echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.read_buffer_size(READ_BUFFER_BYTES).on_upgrade(echo)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn join(upgrade: WebSocketUpgrade, State(room): State<Sender<Message>>) -> Response {
    upgrade.read_buffer_size(READ_BUFFER_BYTES).on_upgrade(async move |socket| {
        let heard = room.subscribe();
        let (output, mut input) = socket.split();
        let listening = tokio::spawn(listen(output, heard));
        while let Some(Ok(message)) = input.next().await {
            if matches!(message, Message::Text(_) | Message::Binary(_)) && room.send(message).is_err() {
                break;
            }
        }
        listening.abort();
    })
}

async fn listen(mut output: SplitSink<WebSocket, Message>, mut heard: Receiver<Message>) {
    loop {
        let message = match heard.recv().await {
            Ok(message) => message,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if output.feed(message).await.is_err() {
            return;
        }
        while let Ok(message) = heard.try_recv() {
            if output.feed(message).await.is_err() {
                return;
            }
        }
        if output.flush().await.is_err() {
            return;
        }
    }
}
