//! What a shard's handler is where a program is linked: Socket.IO goes over the link, all other requests go to the program's
//! HTTP server, and the admin listener is that of the shipped server, as are the paths of channels where somebody may use those.

use std::{rc::Rc, sync::Arc};

use glommio::net::UnixListener;
use tracing::error;

use super::{
    exchange,
    http::{self, Proxy},
    link::{Link, Named},
    share::Share,
    workers::Workers,
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
    /// The processes of the program, each with a folder for the sockets of its link.
    pub(super) workers: Arc<Workers>,
    /// What the first program had when it asked to be served.
    pub(super) named: Arc<Named>,
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
    /// The ways to the processes of the program.
    ways: Vec<Way>,
    /// The process that is passed the next request.
    turn: usize,
}

/// To one process of the program.
struct Way {
    link: Rc<Link>,
    proxy: Rc<Proxy>,
}

/// One handler per shard.
pub(super) fn handlers(
    settings: Settings,
) -> impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static {
    move |_shard| {
        let server = ChannelServer::new(settings.server.clone());
        Box::new(Linked { settings: settings.clone(), server, ways: Vec::new(), turn: 0 }) as Box<dyn Handler>
    }
}

impl Linked {
    /// Whether the server answers a request itself.
    fn is_for_server(&self, peer: &Peer<'_>, request: &Request<'_>) -> bool {
        peer.is_admin || (self.settings.serves_channels && api::is_of_channels(request.path()))
    }

    /// The way to the process whose turn it is, of those that are there.
    fn next_way(&mut self) -> Option<&Way> {
        self.turn = self.turn.wrapping_add(1);
        let (count, turn) = (self.ways.len().max(1), self.turn);
        let in_turn = || (0..count).filter_map(|more| self.ways.get(turn.wrapping_add(more) % count));
        in_turn().find(|way| way.link.is_heard() && !way.link.is_leaving.get()).or_else(|| in_turn().next())
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
        if self.is_for_server(peer, request) {
            return self.server.request(cx, peer, request);
        }
        match self.next_way() {
            Some(way) => way.proxy.pass(peer, request),
            None => self.server.request(cx, peer, request),
        }
    }

    fn takes_uploads(&self, peer: &Peer<'_>, request: &Request<'_>) -> bool {
        !self.ways.is_empty() && !self.is_for_server(peer, request)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        self.server.message(cx, peer, message);
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        self.server.reply(cx, peer, token, reply);
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        match peer.tag {
            http::TAG => self.ways.iter().for_each(|way| way.proxy.lose(peer.connection)),
            _ => self.server.disconnect(cx, peer, reason),
        }
    }

    fn knows_key(&self, key: &[u8]) -> bool {
        self.server.knows_key(key)
    }

    fn socketio(&mut self, io: &Io) -> bool {
        let turn = Rc::default();
        let workers = &self.settings.workers.list;
        for (index, worker) in workers.iter().enumerate() {
            let share = Share { index: index as u16, count: workers.len() as u16, turn: Rc::clone(&turn) };
            let link = Link::new(io, &self.settings.named, &self.settings.server.limits, share);
            let folder = worker.folder.path();
            let proxy = Proxy::new(io, &folder.join("http.sock"), &link.is_leaving, &worker.shared);
            let path = folder.join(format!("{}.sock", io.shard()));
            // That of a shard that stood here before.
            drop(std::fs::remove_file(&path));
            match UnixListener::bind(&path) {
                Ok(listener) => {
                    io.spawn_local(exchange::serve(Rc::clone(&link), listener));
                    worker.shared.count_shard();
                }
                Err(error) => error!("no program can be linked: {}: {error}", path.display()),
            }
            self.ways.push(Way { link, proxy });
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
