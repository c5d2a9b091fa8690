//! ntex on its tokio runtime: `/hello`, an echo and one room, on one worker.
//!
//! What one WebSocket says in the room goes to all of them, in a loop over their sinks.

use std::{cell::RefCell, io};

use ntex::{
    service::{fn_factory_with_config, fn_service},
    util::ByteString,
    web::{self, App, HttpRequest, HttpResponse, HttpServer, ws},
};

thread_local! {
    /// The one worker's room.
    static ROOM: RefCell<Vec<ws::WsSink>> = const { RefCell::new(Vec::new()) };
}

#[ntex::main]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let port = port.expect("usage: peer-ntex PORT");
    HttpServer::new(async || {
        App::new()
            .route("/hello", web::get().to(async || "Hello, world!\n"))
            .route("/echo", web::get().to(open_echo))
            .route("/room", web::get().to(join))
    })
    .workers(1)
    .backlog(16_384)
    .maxconn(100_000)
    .bind(("127.0.0.1", port))?
    .run()
    .await
}

async fn open_echo(request: HttpRequest) -> Result<HttpResponse, web::Error> {
    let factory = fn_factory_with_config(async |_: ws::WsSink| Ok::<_, web::Error>(fn_service(echo)));
    ws::start::<_, _, &str, web::Error>(request, None, factory).await
}

async fn echo(frame: ws::Frame) -> Result<Option<ws::Message>, io::Error> {
    Ok(match frame {
        ws::Frame::Text(bytes) => Some(ws::Message::Text(text(bytes)?)),
        ws::Frame::Binary(bytes) => Some(ws::Message::Binary(bytes)),
        ws::Frame::Ping(bytes) => Some(ws::Message::Pong(bytes)),
        ws::Frame::Close(reason) => Some(ws::Message::Close(reason)),
        ws::Frame::Continuation(_) | ws::Frame::Pong(_) => None,
    })
}

async fn join(request: HttpRequest) -> Result<HttpResponse, web::Error> {
    let factory = fn_factory_with_config(async |sink: ws::WsSink| {
        ROOM.with_borrow_mut(|room| room.push(sink));
        Ok::<_, web::Error>(fn_service(hear))
    });
    ws::start::<_, _, &str, web::Error>(request, None, factory).await
}

async fn hear(frame: ws::Frame) -> Result<Option<ws::Message>, io::Error> {
    let ws::Frame::Text(bytes) = frame else { return echo(frame).await };
    let message = text(bytes)?;
    // A copy of the list: others may join while a send is waited for.
    let members = ROOM.with_borrow(Clone::clone);
    let mut gone = false;
    for member in members {
        gone |= member.send(ws::Message::Text(message.clone())).await.is_err() || member.io().is_closed();
    }
    if gone {
        ROOM.with_borrow_mut(|room| room.retain(|member| !member.io().is_closed()));
    }
    Ok(None)
}

fn text(bytes: ntex::util::Bytes) -> io::Result<ByteString> {
    ByteString::try_from(bytes).map_err(|_| io::Error::other("a text frame that is not UTF-8"))
}
