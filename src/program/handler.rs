//! What a shard's handler is where a program is linked: Socket.IO goes over the link, all other requests go to the program's
//! HTTP server, and the admin listener is that of the shipped server.

use std::{collections::BTreeMap, path::Path, rc::Rc, sync::Arc};

use glommio::net::UnixListener;
use tracing::error;

use super::{
    control::Shared,
    exchange,
    http::{self, Proxy},
    link::Link,
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
    /// The namespaces that the first program had when it asked to be served, with their flags.
    pub(super) namespaces: Arc<BTreeMap<String, u8>>,
    /// Is told when a shard takes links.
    pub(super) shared: Arc<Shared>,
    /// For the admin listener.
    pub(super) admin: api::Settings,
}

/// One shard's.
struct Linked {
    settings: Settings,
    admin: ChannelServer,
    proxy: Option<Rc<Proxy>>,
}

/// One handler per shard.
pub(super) fn handlers(
    settings: Settings,
) -> impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static {
    move |_shard| {
        let admin = ChannelServer::new(settings.admin.clone());
        Box::new(Linked { settings: settings.clone(), admin, proxy: None }) as Box<dyn Handler>
    }
}

impl Handler for Linked {
    fn connect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict {
        if peer.is_admin {
            return self.admin.connect(cx, peer, request);
        }
        let text = "WebSockets here are those of Socket.IO; others are not passed to the program";
        Verdict::Refuse(Response::refused(501, "upgrade_unsupported", text))
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        match &self.proxy {
            Some(proxy) if !peer.is_admin => proxy.pass(peer, request),
            _ => self.admin.request(cx, peer, request),
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        self.admin.message(cx, peer, message);
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        self.admin.reply(cx, peer, token, reply);
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        if peer.tag != http::TAG {
            self.admin.disconnect(cx, peer, reason);
        }
    }

    fn knows_key(&self, key: &[u8]) -> bool {
        self.admin.knows_key(key)
    }

    fn socketio(&mut self, io: &Io) -> bool {
        let folder = &self.settings.folder;
        self.proxy = Some(Proxy::new(io, &folder.join("http.sock")));
        let link = Link::new(io, &self.settings.namespaces);
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

    fn shards_silent(&mut self, cx: &mut Context<'_>, silent: &[ShardId]) {
        self.admin.shards_silent(cx, silent);
    }

    fn shard_failed(&mut self, cx: &mut Context<'_>, shard: ShardId, owned: &dyn Fn(&ChannelName) -> bool) {
        self.admin.shard_failed(cx, shard, owned);
    }

    fn settings_changed(&mut self, cx: &mut Context<'_>, live: &Live) {
        self.admin.settings_changed(cx, live);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        self.admin.timer(cx, timer);
    }
}
