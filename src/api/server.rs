//! The handler: which file answers what is asked, and what every answer carries.
//!
//! Invariant: [`ChannelServer::pending`] holds one entry per request put off and none else, so it is bounded by the
//! connections of the shard; an entry goes when its request is answered or its connection ends.

use std::{cell::Cell, rc::Rc};

use rustc_hash::FxHashMap;

use super::{
    Refusal, Settings,
    access::{Access, Standing, Who},
    admin::MetricsFormat,
    allowed::Allowed,
    commands::{InFlight, Session},
    crowd::Crowd,
    dashboard::{Dashboard, TICK},
    demo::Pages,
    fields::{add_fields, with_fields},
    follow::COMMANDS_PROTOCOL,
    held::Held,
    keys::KeySlot,
    manual::Manual,
    operators::Operators,
    pending::{Outcome, Pending, Survey, Wait},
    route::{AdminRoute, DemoPage, Route},
    socketio::Rights,
};
use crate::{
    app::{
        Answer, Context, Handler, Message, Method, Origins, Peer, Reply, Request, Response, Resumed, Verdict,
        choose_protocol, offered_protocols, preflight_fields, socketio::Io,
    },
    auth::Right,
    limits::{CHANNEL_LISTS_MAX, SURVEY_TIMEOUT_MS},
    live::Live,
    mesh::{self, Question},
    model::{ChannelName, CloseReason, ConnectionId, ShardId, Shown, Ticket},
    telemetry::upgrading,
};

/// The shipped server, one value per shard.
#[derive(Debug)]
pub struct ChannelServer {
    pub(super) settings: Settings,
    /// Shared with what listens to Socket.IO clients.
    pub(super) access: Rc<Access>,
    /// One reply to a command at a time is written here.
    pub(super) text: Vec<u8>,
    /// `publish` commands that wait for a channel's owner, bounded per connection.
    pub(super) in_flight: FxHashMap<ConnectionId, InFlight>,
    /// WebSockets whose commands wait.
    pub(super) held: FxHashMap<ConnectionId, Held>,
    /// What all those cost that are held.
    pub(super) held_bytes: usize,
    /// Channels that WebSockets follow by the backend's word.
    pub(super) allowed: Allowed,
    /// Socket.IO on this shard, once it is served.
    pub(super) io: Option<Io>,
    pub(super) origins: Origins,
    pub(super) operators: Operators,
    /// Shared with what listens to Socket.IO clients.
    pub(super) rights: Rc<Cell<Rights>>,
    /// Shards that do no turns.
    pub(super) silent: Vec<ShardId>,
    pages: Pages,
    manual: Manual,
    pub(super) dashboard: Dashboard,
    pub(super) pending: FxHashMap<ConnectionId, Pending>,
    /// How many of those wait for lists of channels.
    lists_pending: u32,
    /// The last number given to a question, and the first of the last question to other shards.
    numbers: u32,
    pub(super) question: u32,
}

impl ChannelServer {
    /// A server of these settings, for one shard.
    pub fn new(settings: Settings) -> Self {
        Self {
            access: Rc::new(Access::new(&settings)),
            operators: Operators::new(&settings),
            origins: Origins::new(&settings.allowed_origins, settings.origins_credentials),
            rights: Rc::new(Cell::new(Rights::new(&settings))),
            io: None,
            pages: Pages::new(settings.socketio.as_ref().map(|socketio| socketio.path.as_str())),
            manual: Manual::default(),
            dashboard: Dashboard::default(),
            settings,
            text: Vec::new(),
            silent: Vec::new(),
            in_flight: FxHashMap::default(),
            held: FxHashMap::default(),
            held_bytes: 0,
            allowed: Allowed::default(),
            pending: FxHashMap::default(),
            lists_pending: 0,
            numbers: 0,
            question: 0,
        }
    }

    /// Puts a question to every shard on behalf of a request.
    pub(super) fn ask(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, survey: Survey) -> Outcome {
        let ticket = self.ticket(peer);
        cx.ask(ticket, survey.question());
        cx.timer(SURVEY_TIMEOUT_MS, timer_of(peer.connection));
        Outcome::Wait(Wait::Survey(survey))
    }

    /// The ticket of a question. No other question has its number, so that a late answer is taken for no other's.
    pub(super) fn ticket(&mut self, peer: &Peer<'_>) -> Ticket {
        Ticket { connection: peer.connection, token: self.begin_question(1) }
    }

    /// Begins a question of so many parts; the number of the first.
    pub(super) fn begin_question(&mut self, parts: u32) -> u32 {
        self.question = self.numbers.wrapping_add(1);
        self.numbers = self.numbers.wrapping_add(parts.max(1));
        self.question
    }

    /// The channel a path names.
    pub(super) fn channel(&self, encoded: &str) -> Result<ChannelName, Refusal> {
        super::route::channel_name(encoded, self.settings.limits.channel_name_bytes_max)
    }

    /// A channel named as it is.
    pub(super) fn named(&self, name: &str) -> Result<ChannelName, Refusal> {
        Ok(ChannelName::new(name, self.settings.limits.channel_name_bytes_max.into())?)
    }

    fn dispatch(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
        route: Route<'_>,
    ) -> Result<Outcome, Refusal> {
        route.check_parameters(request.target)?;
        match route {
            Route::Channel(name) if request.method == Method::Post => {
                self.publish_one(cx, peer, request, name)
            }
            Route::Channel(name) => self.follow(peer, request, name),
            Route::Events => self.follow_several(peer, request),
            Route::Publish => self.publish_batch(cx, peer, request),
            Route::History(name) => self.history(cx, peer, request, name),
            Route::Info(name) => self.info(cx, peer, name),
            Route::Presence(name) => self.presence(cx, peer, request, name),
            Route::State(name) => self.read_state(cx, peer, request, name),
            Route::StateKey(name, key) => self.state_key(cx, peer, request, (name, key)),
            Route::Counter(name, key) => self.count(cx, peer, request, (name, key)),
            Route::Channels => self.list(cx, peer, request),
            Route::DemoStats => Ok(self.ask(cx, peer, Survey::stats(cx.shards))),
            Route::Crowd => Ok(self.crowd()?.response().into()),
            Route::CrowdOrder(order) => Ok(self.crowd()?.obey(cx, order).into()),
            Route::Commands | Route::Echo => Err(Refusal::UpgradeRequired),
            Route::Admin(AdminRoute::Reload | AdminRoute::Upgrade) if request.header("origin").is_some() => {
                Ok(super::admin::no_page().into())
            }
            Route::Admin(route) => self.admin(cx, peer, request, route),
            Route::Hello => Ok(hello().into()),
            Route::Demo(page) => Ok(self.pages.answer(page).into()),
            Route::Manual(leaf) => Ok(self.manual.answer(leaf).into()),
            Route::ClientScript(name) => self.client_script(request, name),
            Route::SocketsHelp => Ok(Self::sockets_help().into()),
            Route::SocketsEmit => self.emit(cx, peer, request),
            Route::Sockets if request.method == Method::Post => self.command_sockets(cx, peer, request),
            Route::Sockets => self.list_sockets(peer, request),
            Route::Server => Err(Refusal::NotFound),
        }
    }

    /// The resource, unless the settings turn it off.
    fn route<'a>(&self, request: &Request<'a>, is_admin: bool) -> Option<Route<'a>> {
        let socketio = self.settings.socketio.as_ref();
        let path = socketio.map(|socketio| socketio.path.as_str());
        Route::find(request.target, is_admin, path).filter(|route| match route {
            Route::Hello | Route::Echo => self.settings.diagnostics,
            Route::Demo(DemoPage::Front) | Route::DemoStats => self.settings.demo,
            Route::Crowd | Route::CrowdOrder(_) => self.settings.demo,
            Route::Manual(_) => is_admin || self.settings.demo,
            Route::Demo(DemoPage::Chat | DemoPage::Lobby) => self.settings.demo && socketio.is_some(),
            Route::Commands | Route::Publish | Route::Channels | Route::Channel(_) | Route::Events => true,
            Route::ClientScript(_) | Route::SocketsHelp | Route::SocketsEmit | Route::Sockets => true,
            Route::History(_) | Route::Info(_) | Route::Admin(_) | Route::Server => true,
            Route::State(_) | Route::StateKey(..) | Route::Counter(..) | Route::Presence(_) => true,
        })
    }

    fn accept(&mut self, peer: &Peer<'_>, request: &Request<'_>) -> Result<Verdict, Refusal> {
        let route = self.route(request, peer.is_admin).ok_or(Refusal::NotFound)?;
        self.origins.check(request)?;
        route.check_parameters(request.target)?;
        match route {
            Route::Channel(name) => self.accept_channel(peer, request, name),
            Route::Commands => {
                let key = self.websocket_key(peer, request)?;
                let protocol = self.protocol(request, COMMANDS_PROTOCOL);
                Ok(Verdict::accept(Session::Commands { key }.tag()).speaking(protocol))
            }
            Route::Echo => Ok(Verdict::Accept {
                tag: Session::Echo.tag(),
                channel: None,
                protocol: choose_protocol(&offered_protocols(request), &["*"]).map(Into::into),
                diagnostic: true,
            }),
            _ => Err(Refusal::NotWebSocket),
        }
    }

    /// What the demo's crowd is asked of, in a program that can start one.
    fn crowd(&self) -> Result<&Crowd, Refusal> {
        self.settings.crowd.as_ref().ok_or(Refusal::NotFound)
    }

    /// Lets one more list of channels be made, unless so many are being made that it would hardly be in time.
    pub(super) fn check_lists(&self) -> Result<(), Refusal> {
        if self.lists_pending < CHANNEL_LISTS_MAX { Ok(()) } else { Err(Refusal::ListsFull) }
    }

    fn forget(&mut self, connection: ConnectionId) -> Option<Pending> {
        let pending = self.pending.remove(&connection)?;
        self.lists_pending -= u32::from(pending.wait.is_list());
        Some(pending)
    }

    /// Refuses what a WebSocket may not publish.
    pub(super) fn check_client(
        &self,
        peer: &Peer<'_>,
        key: KeySlot,
        channel: &ChannelName,
    ) -> Result<Standing, Refusal> {
        if !self.settings.clients_publish {
            return Err(Refusal::PublishForbidden);
        }
        let who = Who::with_key(peer, key);
        // Nothing but a new connection can bring a key.
        self.access.check_first(&who, Right::Publish, channel.as_str()).map_err(Refusal::without_key)
    }

    pub(super) fn finish(&mut self, cx: &mut Context<'_>, connection: ConnectionId, response: Response) {
        if let Some(pending) = self.forget(connection) {
            cx.respond(connection, with_fields(response, &pending.cors));
        }
    }
}

impl ChannelServer {
    /// Forgets what is known of a connection beside what it waits for.
    fn forget_what_it_has(&mut self, connection: ConnectionId) {
        self.in_flight.remove(&connection);
        self.forget_held(connection);
        self.allowed.end(connection);
        self.dashboard.forget(connection);
    }
}

impl Handler for ChannelServer {
    fn knows_key(&self, key: &[u8]) -> bool {
        self.access.keys.know(key)
    }

    fn is_subscriber(&self, request: &Request<'_>) -> bool {
        request.method == Method::Get
            && matches!(self.route(request, false), Some(Route::Channel(_) | Route::Events))
    }

    fn connect(&mut self, _cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict {
        self.accept(peer, request).unwrap_or_else(|refusal| {
            match self.questions_about(peer, request, refusal).pop() {
                Some(question) => Verdict::Consult(Box::new(question)),
                None => Verdict::Refuse(refusal.response_to(peer)),
            }
        })
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        let route = self.route(request, peer.is_admin);
        if route == Some(Route::Hello) && matches!(request.method, Method::Get | Method::Head) {
            // The line benchmarks measure: nothing is looked up or allocated.
            return Answer::Respond(hello());
        }
        let cors = match (peer.is_admin, self.origins.check(request)) {
            // The admin listener is for scrapers and people, not for pages of other sites.
            (true, _) => String::new(),
            (false, Ok(cors)) => cors,
            (false, Err(refused)) => return Answer::Respond(Refusal::from(refused).response()),
        };
        let Some(route) = route else {
            return Answer::Respond(with_fields(Refusal::NotFound.response(), &cors));
        };
        let methods = route.methods();
        if request.method == Method::Options {
            let fields =
                if peer.is_admin { String::new() } else { preflight_fields(request, methods.listed()) };
            let response = Response::empty(204).with_field("Allow", methods.listed());
            return Answer::Respond(with_fields(response, &(fields + &cors)));
        }
        if !methods.include(request.method) {
            return Answer::Respond(with_fields(Refusal::MethodNotAllowed(methods).response(), &cors));
        }
        match self.dispatch(cx, peer, request, route) {
            Ok(Outcome::Answer(answer)) => add_fields(answer, &cors),
            Ok(Outcome::Wait(wait)) => {
                let (asked_ms, question) = (cx.now.monotonic_ms, self.question);
                let pending = Pending { cors, asked_ms, question, wait };
                self.lists_pending += u32::from(pending.wait.is_list());
                self.pending.insert(peer.connection, pending);
                Answer::Later { tag: 0 }
            }
            Err(refusal) => {
                let questions = self.questions_about(peer, request, refusal);
                if !questions.is_empty() {
                    return Answer::Consult(questions);
                }
                Answer::Respond(with_fields(refusal.response_to(peer), &cors))
            }
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        if !self.hold(cx, peer, message) {
            self.hear(cx, peer, message);
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        let reply = match reply {
            Reply::Survey { survey: mesh::Survey::Look(look) } => {
                return self.dashboard.take_look(cx, &self.settings, token, *look);
            }
            reply => reply,
        };
        match self.pending.get_mut(&peer.connection) {
            Some(pending) => {
                let part = token.wrapping_sub(pending.question);
                if let Some(response) = pending.wait.absorb(cx.now, part, reply) {
                    self.finish(cx, peer.connection, response);
                }
            }
            None => self.reply_command(cx, peer, token, reply),
        }
    }

    fn socketio(&mut self, io: &Io) -> bool {
        self.serve_socketio(io)
    }

    fn token_expired(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, within_s: u32) {
        if let Session::Commands { .. } = Session::of_tag(peer.tag) {
            self.ask_for_token(cx, peer, within_s);
        }
    }

    fn shards_silent(&mut self, cx: &mut Context<'_>, silent: &[ShardId]) {
        self.give_up_on(cx, silent);
    }

    fn shard_failed(&mut self, cx: &mut Context<'_>, _shard: ShardId, owned: &dyn Fn(&ChannelName) -> bool) {
        self.lose_owner(cx, owned);
    }

    fn settings_changed(&mut self, _cx: &mut Context<'_>, live: &Live) {
        self.settings.change(live);
        self.access.change(&self.settings);
        self.origins = Origins::new(&live.allowed_origins, live.origins_credentials);
        self.rights.set(Rights::new(&self.settings));
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _reason: CloseReason) {
        let pending = self.forget(peer.connection);
        if let Some(Pending { question, .. }) = pending.filter(|pending| pending.wait.is_list()) {
            cx.withdraw(Ticket { connection: peer.connection, token: question });
        }
        self.forget_what_it_has(peer.connection);
    }

    fn is_levelled(&self) -> bool {
        true
    }

    fn moved(&mut self, peer: &Peer<'_>) {
        self.forget(peer.connection);
        self.forget_what_it_has(peer.connection);
    }

    fn travels(&self, peer: &Peer<'_>) -> bool {
        Session::of_tag(peer.tag) != Session::Echo
    }

    fn save(&self, peer: &Peer<'_>) -> Option<Vec<u8>> {
        self.save_session(peer)
    }

    fn restore(&mut self, _cx: &mut Context<'_>, peer: &Peer<'_>, resumed: &Resumed<'_>) -> Option<u32> {
        self.restore_session(peer, resumed)
    }

    fn stream_travels(&self, peer: &Peer<'_>, channel: &ChannelName, shown: Shown) -> bool {
        self.may_follow_on(peer, channel, shown)
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        if timer == TICK {
            return self.dashboard.tick(cx, &self.settings);
        }
        let connection = connection_of(timer);
        let Some(pending) = self.pending.get_mut(&connection) else { return };
        // The connection may by now wait for the answer to a later request.
        let is_due = cx.now.monotonic_ms.saturating_sub(pending.asked_ms) >= SURVEY_TIMEOUT_MS;
        if let (true, Wait::Survey(survey)) = (is_due, &mut pending.wait) {
            let response = survey.give_up(cx.now);
            if pending.wait.is_list() {
                cx.withdraw(Ticket { connection, token: pending.question });
            }
            self.finish(cx, connection, response);
        }
    }
}

impl ChannelServer {
    fn admin(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
        route: AdminRoute,
    ) -> Result<Outcome, Refusal> {
        self.operators.check(request, route)?;
        if let (AdminRoute::Healthz | AdminRoute::Readyz, Some(silence)) = (route, self.silence()) {
            return Ok(silence.into());
        }
        Ok(match route {
            AdminRoute::Index => super::admin::index().into(),
            AdminRoute::Dashboard => self.dashboard.page().into(),
            AdminRoute::DashboardLive => {
                self.dashboard.open(cx, peer.connection)?;
                Outcome::Answer(Answer::Events { fields: String::new() })
            }
            AdminRoute::Revoke => return self.revoke(cx, request),
            AdminRoute::Healthz => Response::text(200, "ok\n").into(),
            AdminRoute::Config => super::admin::config(&self.settings).into(),
            AdminRoute::Reload => {
                cx.reload();
                super::admin::reloading().into()
            }
            AdminRoute::Upgrade => {
                let may_begin = upgrading::may_begin();
                if may_begin {
                    cx.upgrade();
                }
                super::admin::upgrading(may_begin).into()
            }
            AdminRoute::Readyz if !cx.is_joined => {
                Response::text(503, "the broker that joins the nodes is away\n").into()
            }
            AdminRoute::Readyz if !cx.is_ready => Response::text(503, "draining\n").into(),
            AdminRoute::Metrics => {
                self.ask(cx, peer, Survey::metrics(MetricsFormat::wanted(request), cx.shards))
            }
            AdminRoute::Readyz | AdminRoute::Shards => self.ask(cx, peer, Survey::admin(route, cx.shards)),
        })
    }
}

impl Survey {
    fn question(&self) -> Question {
        self.asked.question()
    }
}

fn hello() -> Response {
    Response::text(200, "Hello, World!")
}

/// A timer that names the connection it was set for.
fn timer_of(connection: ConnectionId) -> u64 {
    u64::from(connection.index) << 32 | u64::from(connection.generation)
}

fn connection_of(timer: u64) -> ConnectionId {
    ConnectionId { index: (timer >> 32) as u32, generation: timer as u32 }
}
