//! A handler that never returns: its shard hangs, and nobody waits for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use roadstead::{
    app::{Context, Handler, Message, Peer, Request, Verdict},
    supervisor::Server,
};

use crate::client::{config, hear, say, websocket};

/// Loops for ever when a client says so, or until the test has seen enough.
struct Looper {
    is_over: Arc<AtomicBool>,
}

impl Handler for Looper {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(0)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        if message.bytes() == b"shard?" {
            return cx.send(peer.connection, Message::Text(&cx.shard.to_string()));
        }
        while !self.is_over.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_shard_that_hangs_does_not_keep_the_server_from_ending() {
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let mut config = config(2);
    config.server.drain_ms = 0;
    let server =
        Server::start(&config, move |_| Box::new(Looper { is_over: Arc::clone(&seen) })).expect("it starts");
    let mut hanging = websocket(&server);
    say(&mut hanging, "shard?");
    let shard = String::from_utf8(hear(&mut hanging).1).expect("a number");
    say(&mut hanging, "hang");
    server.drain();
    let told = server.wait().expect_err("one shard hangs").to_string();
    assert!(told.starts_with(&format!("shard {shard} had not ended in time")), "{told}");
    is_over.store(true, Ordering::Relaxed);
}
