//! fastwebsockets on hyper: `/hello`, an echo and one room, on one thread, written the way its examples teach.
//!
//! What one WebSocket says in the room goes to all of them, through a `tokio` broadcast channel. Everything waiting is
//! written into a buffer before one flush, so that a burst leaves in few writes.

use std::convert::Infallible;

use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, WebSocket, WebSocketError, WebSocketWrite,
    upgrade::{UpgradeFut, is_upgrade_request, upgrade},
};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{BufWriter, WriteHalf},
    net::{TcpSocket, TcpStream},
    sync::broadcast::{Receiver, Sender, channel, error::RecvError},
};

/// Messages a subscriber may lag behind.
const ROOM_MESSAGES_MAX: usize = 1024;

type Socket = TokioIo<Upgraded>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let port = port.expect("usage: peer-fastwebsockets PORT");
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(16_384)?;
    let room = channel(ROOM_MESSAGES_MAX).0;
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, room.clone()));
        }
    }
}

async fn serve(stream: TcpStream, room: Sender<Bytes>) {
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| answer(request, room.clone()));
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await);
}

async fn answer(
    mut request: Request<Incoming>,
    room: Sender<Bytes>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !is_upgrade_request(&request) {
        let is_hello = request.uri().path() == "/hello";
        let mut response = Response::new(Full::from(if is_hello { "Hello, world!\n" } else { "" }));
        if !is_hello {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        return Ok(response);
    }
    let is_room = request.uri().path() == "/room";
    let Ok((response, socket)) = upgrade(&mut request) else {
        let mut response = Response::new(Full::from(""));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    tokio::spawn(async move {
        // An error here is a client that has gone.
        drop(if is_room { join(socket, room).await } else { echo(socket).await });
    });
    Ok(response.map(|_| Full::default()))
}

async fn echo(socket: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket: WebSocket<Socket> = socket.await?;
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            // A frame that was read keeps its mask, and a server must not send one (RFC 6455 §5.1).
            OpCode::Text | OpCode::Binary => {
                socket.write_frame(Frame::new(true, frame.opcode, None, frame.payload)).await?;
            }
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

async fn join(socket: UpgradeFut, room: Sender<Bytes>) -> Result<(), WebSocketError> {
    let heard = room.subscribe();
    let (input, output) = socket.await?.split(|socket| {
        let (input, output) = tokio::io::split(socket);
        (input, BufWriter::with_capacity(0, output))
    });
    let listening = tokio::spawn(listen(output, heard));
    let mut input = FragmentCollectorRead::new(input);
    // Replies to pings and closes are left out: this program's only client sends neither.
    let mut no_reply = async |_| Ok::<_, WebSocketError>(());
    while let Ok(frame) = input.read_frame(&mut no_reply).await {
        if frame.opcode == OpCode::Close || room.send(Bytes::copy_from_slice(&frame.payload)).is_err() {
            break;
        }
    }
    listening.abort();
    Ok(())
}

async fn listen(
    mut output: WebSocketWrite<BufWriter<WriteHalf<Socket>>>,
    mut heard: Receiver<Bytes>,
) -> Result<(), WebSocketError> {
    loop {
        let message = match heard.recv().await {
            Ok(message) => message,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Ok(()),
        };
        output.write_frame(Frame::text(Payload::Borrowed(&message))).await?;
        while let Ok(message) = heard.try_recv() {
            output.write_frame(Frame::text(Payload::Borrowed(&message))).await?;
        }
        output.flush().await?;
    }
}
