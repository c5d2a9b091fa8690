//! Acknowledged echoes and rooms over Socket.IO, with Roadstead's embedding API.
//!
//! `POST /publish?room=ROOM` sends its body to everybody in the room, as the event `news`. The tests of the load
//! generator run the same file.

use roadstead::app::{
    Answer, Context, Handler, Method, Peer, Request, Response, Verdict,
    socketio::{Ack, Io, Namespace, Socket},
};

/// One shard's application.
#[derive(Default)]
pub struct Rooms {
    main: Option<Namespace>,
}

impl Handler for Rooms {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::Refuse(Response::text(404, "not found\n"))
    }

    fn socketio(&mut self, io: &Io) -> bool {
        let main = io.of("/");
        main.on_with_ack("echo", |_: &Socket, text: String, ack: Ack| ack.send(&text));
        main.on_with_ack("join", |socket: &Socket, room: String, ack: Ack| {
            socket.join(room.as_str());
            ack.send(&[(); 0]);
        });
        self.main = Some(main);
        true
    }

    fn request(&mut self, _: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Answer {
        let place = (request.method, request.path(), request.query("room"));
        let (Method::Post, "/publish", Some(room)) = place else {
            return Answer::Respond(Response::text(404, "not found\n"));
        };
        if let Some(main) = &self.main {
            main.to(&*room).emit("news", &*String::from_utf8_lossy(request.body));
        }
        Answer::Respond(Response::empty(204))
    }
}
