//! The namespace `/admin`, to which Socket.IO's own admin page (npm's `@socket.io/admin-ui`) connects: who may enter it, what
//! it is told, and what it may ask for.
//!
//! ```text
//! page ──► auth: {password} or {sessionId}          one of socketio.admin_keys, or what was told after it (`entry.rs`)
//!      ◄── session, config, all_sockets             on entering
//!      ◄── server_stats                             every two seconds
//!      ◄── socket_connected, socket_disconnected, room_joined, room_left
//!      ──► emit, join, leave, _disconnect
//! ```
//!
//! Nothing is registered with other namespaces. While a page is there, its shard asks every two seconds which sockets there
//! are, and tells what has changed; so whoever connects, joins or leaves pays nothing for it, and a server without a page
//! does nothing. Each page is told by itself: what is emitted to a namespace is a publication, which others could read. Nor does
//! anybody else say anything to it: publishing to its channel is refused (`access.rs`).
//!
//! Bounds: [`ADMIN_PAGES_MAX`] pages on each shard, and [`ADMIN_SOCKETS_MAX`] sockets: where there are more, pages are told
//! how many and not which.

mod entry;
mod seen;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use self::{
    entry::{Comparer, Entry},
    seen::{Known, Seen, changes},
};
use crate::{
    app::socketio::{Applicant, Broadcast, ConnectError, Io, Namespace, RawEvent, Socket},
    auth::{Password, PublishKey},
    limits::{ADMIN_PAGES_MAX, ADMIN_SOCKETS_MAX},
    model::{Arguments, SocketId, namespace_and_room, room_channel},
    wire::json::{decode_inner_event, text_beside},
};

/// Its name, as the page has it unless told another.
pub(super) const NAMESPACE: &str = "/admin";
/// How often a page is told.
const PERIOD: Duration = Duration::from_secs(2);
/// More changes than these are told by telling everything anew.
const CHANGES_MAX: usize = 200;
/// What shards tell each other of.
const COUNTS: &str = "counts";

/// Who may enter, as every shard is told.
#[derive(Clone, Default)]
pub struct AdminPageSettings {
    keys: Vec<PublishKey>,
    comparer: Option<Arc<Comparer>>,
    is_readonly: bool,
    /// What sessions are signed with: drawn at the start, so that they end with the process.
    secret: [u8; 32],
}

impl AdminPageSettings {
    /// With these passwords, each read by [`Password::parse`]; with none there is no such namespace. Whether pages may only
    /// look.
    pub fn new(passwords: &[String], is_readonly: bool) -> Self {
        let (mut keys, mut hashes) = (Vec::new(), Vec::new());
        for password in passwords.iter().filter_map(|text| Password::parse(text).ok()) {
            match password {
                Password::Key(key) => keys.push(key),
                Password::Bcrypt(hash) => hashes.push(hash),
            }
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the operating system has random numbers");
        Self { keys, comparer: Comparer::of(hashes), is_readonly, secret }
    }

    /// Whether anybody may enter.
    pub(super) fn is_served(&self) -> bool {
        !self.keys.is_empty() || self.comparer.is_some()
    }
}

/// Whether a channel is that of the pages' namespace, or of a room in it.
pub(super) fn is_its_own(channel: &str) -> bool {
    namespace_and_room(channel).0 == NAMESPACE
}

/// Keys are secrets.
impl fmt::Debug for AdminPageSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminPageSettings").field("is_readonly", &self.is_readonly).finish_non_exhaustive()
    }
}

/// What one shard keeps of its pages.
struct Pages {
    io: Io,
    entry: Entry,
    is_readonly: bool,
    /// Those who are in, and whether they know what `known` holds.
    open: RefCell<Vec<(Socket, bool)>>,
    known: RefCell<Known>,
    /// Whether it is looked every two seconds; whether just now.
    is_watching: Cell<bool>,
    is_looking: Cell<bool>,
    began: Instant,
}

/// What a page says of itself.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Login {
    password: Option<String>,
    session_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    supported_features: Vec<&'static str>,
}

/// How many sockets a namespace has.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    name: String,
    sockets_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    server_id: &'a str,
    hostname: &'a str,
    pid: u32,
    uptime: f64,
    clients_count: u64,
    polling_clients_count: u64,
    aggregated_events: [(); 0],
    namespaces: &'a [Count],
}

/// Registers the namespace, if anybody may enter it.
pub(super) fn serve(io: &Io, settings: &AdminPageSettings) {
    if !settings.is_served() {
        return;
    }
    let pages = Rc::new(Pages {
        io: io.clone(),
        entry: Entry::new(settings),
        is_readonly: settings.is_readonly,
        open: RefCell::default(),
        known: RefCell::default(),
        is_watching: Cell::new(false),
        is_looking: Cell::new(false),
        began: Instant::now(),
    });
    let namespace = io.of(NAMESPACE);
    let admitting = Rc::clone(&pages);
    namespace.use_async_middleware(move |applicant| {
        let pages = Rc::clone(&admitting);
        async move { pages.admit(&applicant).await }
    });
    let entering = Rc::clone(&pages);
    namespace.on_connect(move |socket| entering.enter(socket));
    let leaving = Rc::clone(&pages);
    namespace.on_disconnect(move |gone, _| {
        leaving.open.borrow_mut().retain(|(socket, _)| socket.id() != gone.id());
    });
    let hearing = Rc::clone(&pages);
    namespace.on_any(move |_, event| {
        // What cannot be done is not answered: the page waits for nothing.
        let _ = hearing.hear(event);
    });
    let counting = io.clone();
    namespace.on_server_event_with_ack(COUNTS, move |_from, (): (), ack| ack.send(&(counts(&counting),)));
}

/// The namespaces in use on this shard, without that of the pages.
fn counts(io: &Io) -> Vec<Count> {
    let others = io.namespaces().into_iter().filter(|namespace| namespace.name() != NAMESPACE);
    let count = |namespace: Namespace| Count {
        name: namespace.name().to_owned(),
        sockets_count: namespace.sockets_count() as u64,
    };
    others.map(count).collect()
}

impl Pages {
    async fn admit(&self, applicant: &Applicant) -> Result<(), ConnectError> {
        let login = applicant.auth::<Option<Login>>().ok().flatten().unwrap_or_default();
        if self.open.borrow().len() >= ADMIN_PAGES_MAX {
            return Err("too many admin pages are open".into());
        }
        if login.session_id.is_some_and(|session| self.entry.is_session(&session)) {
            applicant.set_data(KnownSession);
            return Ok(());
        }
        self.entry.check(login.password.as_deref(), applicant.address()).await?;
        // Told when it has entered.
        applicant.set_data(NewSession);
        Ok(())
    }

    fn enter(self: &Rc<Self>, socket: Socket) {
        if socket.data::<NewSession>().is_some() {
            socket.emit("session", &self.entry.session());
        }
        socket.emit("config", &self.features(true));
        self.open.borrow_mut().push((socket, false));
        if !self.is_watching.replace(true) {
            self.known.borrow_mut().clear();
            self.look_again();
        }
        self.look();
    }

    /// What the page offers its user: with all events it lists sockets, with sums alone it does not.
    fn features(&self, lists_sockets: bool) -> Features {
        let commands = ["EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"];
        let commands = if self.is_readonly { &[][..] } else { &commands[..] };
        let kind = if lists_sockets { "ALL_EVENTS" } else { "AGGREGATED_EVENTS" };
        Features { supported_features: commands.iter().copied().chain([kind]).collect() }
    }

    /// Looks every two seconds for as long as a page is open.
    fn look_again(self: &Rc<Self>) {
        let pages = Rc::clone(self);
        let again = self.io.after(PERIOD, move || {
            let is_wanted = !pages.open.borrow().is_empty();
            pages.is_watching.set(is_wanted);
            if is_wanted {
                pages.look();
                pages.look_again();
            }
        });
        again.detach();
    }

    /// Asks all shards, and tells every page of this one.
    fn look(self: &Rc<Self>) {
        if self.is_looking.replace(true) {
            return;
        }
        let pages = Rc::clone(self);
        self.io.spawn_local(async move {
            let counts = pages.count().await;
            pages.tell_stats(&counts);
            let sockets: u64 = counts.iter().map(|count| count.sockets_count).sum();
            match sockets <= ADMIN_SOCKETS_MAX {
                true => pages.tell_sockets(&counts).await,
                false => pages.tell_of_too_many(),
            }
            pages.is_looking.set(false);
        });
    }

    /// All namespaces, with their sockets on every shard.
    async fn count(&self) -> Vec<Count> {
        let others = self.io.of(NAMESPACE).server_side_emit_with_answers::<(Vec<Count>,)>(COUNTS, &()).await;
        let told = others.list.into_iter().flat_map(|(_, (counts,))| counts);
        let mut sums = BTreeMap::<String, u64>::new();
        for Count { name, sockets_count } in counts(&self.io).into_iter().chain(told) {
            *sums.entry(name).or_default() += sockets_count;
        }
        sums.into_iter().map(|(name, sockets_count)| Count { name, sockets_count }).collect()
    }

    fn tell_stats(&self, counts: &[Count]) {
        let known = self.known.borrow();
        let polling = known.values().filter(|seen| !seen.is_on_websocket).count() as u64;
        let name = hostname();
        let stats = Stats {
            server_id: &name,
            hostname: &name,
            pid: std::process::id(),
            uptime: self.began.elapsed().as_secs_f64(),
            clients_count: counts.iter().map(|count| count.sockets_count).sum(),
            polling_clients_count: polling,
            aggregated_events: [],
            namespaces: counts,
        };
        self.tell(|socket, _| socket.emit("server_stats", &stats));
    }

    async fn tell_sockets(&self, counts: &[Count]) {
        let mut now = Known::new();
        for Count { name, .. } in counts {
            let Some(all) = self.io.sockets_of(name) else { continue };
            let answers = all.local().fetch_sockets().await;
            // A shard that is silent for a moment has not lost its clients.
            if answers.missing > 0 {
                return;
            }
            now.extend(
                answers.iter().map(|socket| ((name.clone(), socket.id().to_owned()), Seen::new(socket))),
            );
        }
        let mut known = self.known.borrow_mut();
        for (place, seen) in &mut now {
            if let Some(before) = known.get(place) {
                seen.first_seen_ms = before.first_seen_ms;
            }
        }
        let changes = changes(&known, &now);
        let is_all = changes.len() > CHANGES_MAX;
        let all: Vec<_> = now.iter().map(|(place, seen)| seen.shown(place)).collect();
        self.tell(|socket, is_told| match is_told && !is_all {
            true => changes.iter().for_each(|change| change.tell(socket, &now, &known)),
            false => {
                socket.emit("config", &self.features(true));
                socket.emit("all_sockets", &(&all,));
            }
        });
        self.open.borrow_mut().iter_mut().for_each(|(_, is_told)| *is_told = true);
        drop((changes, all));
        *known = now;
    }

    fn tell_of_too_many(&self) {
        self.tell(|socket, is_told| {
            if is_told {
                socket.emit("all_sockets", &([(); 0],));
            }
            socket.emit("config", &self.features(false));
        });
        self.open.borrow_mut().iter_mut().for_each(|(_, is_told)| *is_told = false);
        self.known.borrow_mut().clear();
    }

    fn tell(&self, say: impl Fn(&Socket, bool)) {
        // A page that ends by being told is taken out only then.
        let open = self.open.borrow().clone();
        open.iter().for_each(|(socket, is_told)| say(socket, *is_told));
    }

    /// Does what a page asks for; nothing comes of what is no command.
    fn hear(&self, event: &RawEvent<'_>) -> Option<()> {
        if self.is_readonly {
            return None;
        }
        let json: Vec<serde_json::Value> = serde_json::from_str(event.json()).ok()?;
        let text = |at: usize| json.get(at).and_then(serde_json::Value::as_str);
        let namespace = text(1)?;
        let selected = |filter: Option<&str>| self.select(namespace, filter);
        match event.name() {
            "emit" => {
                let arguments = Arguments {
                    json: decode_inner_event(event.json(), 3).ok()?,
                    attachments: event.attachments().into(),
                };
                emit(&selected(text(2))?, arguments);
            }
            "join" => selected(text(3))?.sockets_join(named(namespace, text(2)?)?),
            "leave" => selected(text(3))?.sockets_leave(named(namespace, text(2)?)?),
            "_disconnect" => selected(text(3))?.disconnect_sockets(json.get(2)?.as_bool()?),
            _ => return None,
        }
        Some(())
    }

    fn select(&self, namespace: &str, filter: Option<&str>) -> Option<Broadcast> {
        let everybody = self.io.sockets_of(namespace).filter(|_| namespace != NAMESPACE)?;
        match filter.filter(|filter| !filter.is_empty()) {
            Some(filter) => {
                room_channel(namespace, filter).ok()?;
                Some(everybody.to(filter))
            }
            None => Some(everybody),
        }
    }
}

/// That a page has given its password, and is told a session.
struct NewSession;

/// What is kept for a page that has come back with its session: another process, which does not know that, is to ask again.
struct KnownSession;

/// A room that somebody can be put into.
fn named<'a>(namespace: &str, room: &'a str) -> Option<&'a str> {
    room_channel(namespace, room).ok()?;
    // Nobody but the socket itself is in the room of its id.
    SocketId::parse(room).is_none().then_some(room)
}

fn emit(selected: &Broadcast, arguments: Arguments) {
    let base64 = text_beside(&arguments, usize::MAX).ok().flatten();
    selected.emit_json(arguments, base64);
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or("roadstead".into(), |name| name.trim().to_owned())
}
