//! The shipped server with a Socket.IO application of the program's own, written on [`crate::app::socketio`], in place
//! of what `socketio.rs` lets clients do. Everything else is there: channels over HTTP, the backend's side of
//! Socket.IO, the official client, the admin listener.

use super::{ChannelServer, ClientScriptError, Settings};
use crate::{
    app::{
        Answer, Context, Handler, Message, Method, Peer, Reply, Request, Response, Resumed, Verdict,
        socketio::Io,
    },
    config::Config,
    live::Live,
    model::{ChannelName, CloseReason, ShardId, Shown},
};

/// One shard's program.
struct Program<F> {
    server: ChannelServer,
    register: F,
    page: &'static str,
}

/// The handlers of a program, for [`crate::supervisor::serve`] and [`crate::supervisor::Server::start`]: `register` is
/// called once on each shard and says what clients may do, and `page` is the HTML at `/`.
///
/// The page finds the official client at `/socket.io/socket.io.js`, from `socketio.client_script` or from an npm
/// installation beside the program.
pub fn program<F>(
    config: &Config,
    page: &'static str,
    register: F,
) -> Result<impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static, ClientScriptError>
where
    F: Fn(&Io) + Clone + Send + Sync + 'static,
{
    // The demo pages speak to clients in the words of `socketio.rs`.
    let settings = Settings { demo: false, ..Settings::from_config(config)? };
    Ok(move |_shard| {
        let server = ChannelServer::new(settings.clone());
        Box::new(Program { server, register: register.clone(), page }) as Box<dyn Handler>
    })
}

impl<F: Fn(&Io)> Handler for Program<F> {
    fn connect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict {
        self.server.connect(cx, peer, request)
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        let is_for_page = request.path() == "/" && matches!(request.method, Method::Get | Method::Head);
        if !is_for_page || peer.is_admin {
            return self.server.request(cx, peer, request);
        }
        let page = Response::text(200, self.page);
        Answer::Respond(Response { content_type: "text/html; charset=utf-8".into(), ..page })
    }

    fn knows_key(&self, key: &[u8]) -> bool {
        self.server.knows_key(key)
    }

    fn is_subscriber(&self, request: &Request<'_>) -> bool {
        self.server.is_subscriber(request)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        self.server.message(cx, peer, message);
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        self.server.reply(cx, peer, token, reply);
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        self.server.disconnect(cx, peer, reason);
    }

    fn socketio(&mut self, io: &Io) -> bool {
        if self.server.settings.socketio.is_none() {
            return false;
        }
        self.server.io = Some(io.clone());
        (self.register)(io);
        true
    }

    fn token_expired(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, within_s: u32) {
        self.server.token_expired(cx, peer, within_s);
    }

    fn shards_silent(&mut self, cx: &mut Context<'_>, silent: &[ShardId]) {
        self.server.shards_silent(cx, silent);
    }

    fn shard_failed(&mut self, cx: &mut Context<'_>, shard: ShardId, owned: &dyn Fn(&ChannelName) -> bool) {
        self.server.shard_failed(cx, shard, owned);
    }

    fn settings_changed(&mut self, cx: &mut Context<'_>, live: &Live) {
        self.server.settings_changed(cx, live);
    }

    fn travels(&self, peer: &Peer<'_>) -> bool {
        self.server.travels(peer)
    }

    fn save(&self, peer: &Peer<'_>) -> Option<Vec<u8>> {
        self.server.save(peer)
    }

    fn restore(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, resumed: &Resumed<'_>) -> Option<u32> {
        self.server.restore(cx, peer, resumed)
    }

    fn stream_travels(&self, peer: &Peer<'_>, channel: &ChannelName, shown: Shown) -> bool {
        self.server.stream_travels(peer, channel, shown)
    }

    fn is_levelled(&self) -> bool {
        self.server.is_levelled()
    }

    fn moved(&mut self, peer: &Peer<'_>) {
        self.server.moved(peer);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        self.server.timer(cx, timer);
    }
}
