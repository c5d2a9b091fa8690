//! actix-web with actix-ws: `/hello`, an echo and one room, on one worker, written the way its chat example does.
//!
//! What one WebSocket says in the room goes to all of them, in a loop over their sessions.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, web};
use actix_ws::{Message, MessageStream, Session};
use futures_util::StreamExt;

thread_local! {
    /// The one worker's room.
    static ROOM: Rc<RefCell<Vec<Session>>> = Rc::default();
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let port = port.expect("usage: peer-actix-web PORT");
    HttpServer::new(|| {
        App::new()
            .route("/hello", web::get().to(async || "Hello, world!\n"))
            .route("/echo", web::get().to(open_echo))
            .route("/room", web::get().to(join))
    })
    .workers(1)
    .backlog(16_384)
    .max_connections(100_000)
    .keep_alive(Duration::from_secs(75))
    .tcp_nodelay(true)
    .bind(("127.0.0.1", port))?
    .run()
    .await
}

async fn open_echo(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    let (response, session, input) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(echo(session, input));
    Ok(response)
}

async fn echo(mut session: Session, mut input: MessageStream) {
    while let Some(Ok(message)) = input.next().await {
        let sent = match message {
            Message::Text(text) => session.text(text).await,
            Message::Binary(bytes) => session.binary(bytes).await,
            Message::Ping(bytes) => session.pong(&bytes).await,
            Message::Close(_) => return,
            Message::Continuation(_) | Message::Pong(_) | Message::Nop => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn join(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    let (response, session, input) = actix_ws::handle(&request, body)?;
    let room = ROOM.with(Rc::clone);
    room.borrow_mut().push(session.clone());
    actix_web::rt::spawn(hear(session, input, room));
    Ok(response)
}

async fn hear(mut session: Session, mut input: MessageStream, room: Rc<RefCell<Vec<Session>>>) {
    while let Some(Ok(message)) = input.next().await {
        match message {
            Message::Text(text) => {
                // A copy of the list: others may join while a session's queue is waited for.
                let members = room.borrow().clone();
                let mut gone = false;
                for mut member in members {
                    gone |= member.text(text.clone()).await.is_err();
                }
                if gone {
                    prune(&room).await;
                }
            }
            Message::Ping(bytes) if session.pong(&bytes).await.is_err() => return,
            Message::Close(_) => return,
            _ => {}
        }
    }
}

/// Forgets sessions whose client has gone.
async fn prune(room: &RefCell<Vec<Session>>) {
    let members = room.take();
    let mut kept = Vec::with_capacity(members.len());
    for mut member in members {
        if member.pong(b"").await.is_ok() {
            kept.push(member);
        }
    }
    room.borrow_mut().extend(kept);
}
