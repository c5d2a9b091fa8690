//! What a shard's handler is where a program is linked: Socket.IO goes over the link, all other requests go to the program's
//! HTTP server, and the admin listener is that of the shipped server, as are the paths of channels where somebody may use those.

use std::{path::Path, rc::Rc, sync::Arc};

use glommio::net::UnixListener;
use tracing::error;

use super::{
    exchange,
    http::{self, Proxy},
    link::{Link, Named},
    shared::Shared,
};
use crate::{
    api::{self, ChannelServer},
    app::{
        Answer, ChannelName, CloseReason, Context, Handler, Message, Peer, Reply, Request, Response, ShardId,
        Verdict, socketio::Io,
    },
    live::Live,
};

/// What every shard is given.
#[derive(Clone)]
pub(super) struct Settings {
    /// The folder with the sockets of the link.
    pub(super) folder: Arc<Path>,
    /// What the first program had when it asked to be served.
    pub(super) named: Arc<Named>,
    /// Is told when a shard takes links.
    pub(super) shared: Arc<Shared>,
    /// For the admin listener, and for channels.
    pub(super) server: api::Settings,
    /// Whether somebody may use channels, so that their paths are the server's.
    pub(super) serves_channels: bool,
}

/// One shard's.
struct Linked {
    settings: Settings,
    /// Answers what is no program's.
    server: ChannelServer,
    proxy: Option<Rc<Proxy>>,
}

/// One handler per shard.
pub(super) fn handlers(
    settings: Settings,
) -> impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static {
    move |_shard| {
        let server = ChannelServer::new(settings.server.clone());
        Box::new(Linked { settings: settings.clone(), server, proxy: None }) as Box<dyn Handler>
    }
}

impl Linked {
    /// Whether the server answers a request itself.
    fn is_for_server(&self, peer: &Peer<'_>, request: &Request<'_>) -> bool {
        peer.is_admin || (self.settings.serves_channels && api::is_of_channels(request.path()))
    }
}

impl Handler for Linked {
    fn connect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict {
        if self.is_for_server(peer, request) {
            return self.server.connect(cx, peer, request);
        }
        let text = "WebSockets here are those of Socket.IO; others are not passed to the program";
        Verdict::Refuse(Response::refused(501, "upgrade_unsupported", text))
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        match &self.proxy {
            Some(proxy) if !self.is_for_server(peer, request) => proxy.pass(peer, request),
            _ => self.server.request(cx, peer, request),
        }
    }

    fn takes_uploads(&self, peer: &Peer<'_>, request: &Request<'_>) -> bool {
        self.proxy.is_some() && !self.is_for_server(peer, request)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        self.server.message(cx, peer, message);
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        self.server.reply(cx, peer, token, reply);
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        match &self.proxy {
            Some(proxy) if peer.tag == http::TAG => proxy.lose(peer.connection),
            _ => self.server.disconnect(cx, peer, reason),
        }
    }

    fn knows_key(&self, key: &[u8]) -> bool {
        self.server.knows_key(key)
    }

    fn socketio(&mut self, io: &Io) -> bool {
        let folder = &self.settings.folder;
        let link = Link::new(io, &self.settings.named, &self.settings.server.limits);
        let proxy = Proxy::new(io, &folder.join("http.sock"), &link.is_leaving, &self.settings.shared);
        self.proxy = Some(proxy);
        let path = folder.join(format!("{}.sock", io.shard()));
        // That of a shard that stood here before.
        drop(std::fs::remove_file(&path));
        match UnixListener::bind(&path) {
            Ok(listener) => {
                io.spawn_local(exchange::serve(link, listener));
                self.settings.shared.count_shard();
            }
            Err(error) => error!("no program can be linked: {}: {error}", path.display()),
        }
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

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        self.server.timer(cx, timer);
    }
}
