//! What every part of a shard's application shares: namespaces, sockets, what is awaited. The parts themselves are
//! handles to it.
//!
//! Nothing here is borrowed while a function of the application runs.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
};

use glommio::task::JoinHandle;
use rustc_hash::FxHashMap;

use super::{
    NamespaceId, Order, Orders, Settings, Socket,
    admission::Admissions,
    channel::ChannelQuestions,
    consulting::Consulting,
    deadlines::Deadlines,
    listeners::Listeners,
    matching::{Matching, Rules},
    members::MemberQuestions,
    namespace::Namespace,
    opening::Opening,
    owed::Owed,
    presence::Presence,
    questions::{Questions, Said},
    raw::RawListeners,
    ruled::KeyHashes,
    socket::Introduction,
    tokens::Tokens,
    travelling::Travels,
};
use crate::{
    app::Upload,
    auth::{AccessRules, TokenError, Verified},
    broker::cluster::ClusterAsk,
    limits::SOCKETIO_NAMESPACE_BYTES_MAX,
    model::{Arguments, ChannelName, ShardId, SocketId, namespace_channel},
    wire::redis_adapter::Request,
};

/// One shard's application.
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) shard: ShardId,
    pub(super) shards: u16,
    pub(super) orders: Orders,
    pub(super) presence: Presence,
    /// Clients that wait to be let in.
    pub(super) admissions: Admissions,
    pub(super) deadlines: Rc<Deadlines>,
    pub(super) questions: Questions,
    pub(super) member_questions: MemberQuestions,
    pub(super) channels: ChannelQuestions,
    pub(super) rules: Rules,
    pub(super) opening: Opening,
    pub(super) raw: RawListeners,
    /// Told when a client's socket has changed to a WebSocket, or to polls when it comes back.
    pub(super) on_carried: Listeners<dyn Fn(SocketId, bool)>,
    /// Told which rooms others put a socket into, or take it out of.
    pub(super) on_moved: Listeners<OnMoved>,
    /// What was said on entering, until those who listen for connections have heard it.
    pub(super) introductions: RefCell<FxHashMap<SocketId, Rc<Introduction>>>,
    /// Whether that is kept of those who come back as well.
    pub(super) introduces_again: Cell<bool>,
    /// The good tokens that sockets have shown.
    pub(super) tokens: RefCell<Tokens>,
    /// What is told of tokens that sockets have brought since; one each.
    pub(super) authenticating: RefCell<FxHashMap<SocketId, Authenticated>>,
    /// The operator's rules, for who puts them in force.
    pub(super) access: RefCell<Arc<AccessRules>>,
    /// Which sockets have presented which of the operator's keys, where rules are in force.
    pub(super) keys: RefCell<KeyHashes>,
    /// Sockets whose events wait for the operator's backend.
    pub(super) consulting: Consulting,
    /// Acknowledgements that clients wait for.
    pub(super) owed: Owed,
    /// Which clients stay connected at an upgrade.
    pub(super) travels: Travels,
    /// Whether a socket may be a member of a room's channel; every one may where nothing is set.
    pub(super) may_enter: RefCell<Option<MayEnter>>,
    /// Is told what other members' applications say, in place of the listeners.
    pub(super) on_said: RefCell<Option<OnSaid>>,
    /// The body of the request that the handler is called about, if it is too large to be kept.
    pub(super) upload: RefCell<Option<Upload>>,
    /// The namespaces in use, by their number; those of a dynamic one that ended are used again.
    namespaces: RefCell<Vec<Option<Namespace>>>,
    free: RefCell<Vec<NamespaceId>>,
    ids: RefCell<FxHashMap<Rc<str>, NamespaceId>>,
    root: OnceCell<Namespace>,
    numbers: Cell<u64>,
    /// Bytes of acknowledgements that are gathered for events to many.
    pub(super) gathered_bytes: Cell<usize>,
    events_failed: Cell<u64>,
    /// Asynchronous work that has not ended, by a number of its own.
    pub(super) tasks: RefCell<FxHashMap<u64, JoinHandle<()>>>,
}

/// Told what became of a token.
pub(super) type Authenticated = Box<dyn FnOnce(Result<Rc<Verified>, TokenError>)>;

/// Is told in which namespace something is said, what, and who waits for an answer; whether it has taken it.
pub(super) type OnSaid = Rc<dyn Fn(&str, &Arguments, Option<Said>) -> bool>;

/// Is told of a socket, the channels of rooms, and whether it is put into them.
pub(super) type OnMoved = dyn Fn(SocketId, &[ChannelName], bool);

/// Says whether a socket may be a member of a channel.
pub(super) type MayEnter = Rc<dyn Fn(&Socket, &ChannelName) -> bool>;

/// Why a namespace's name cannot be one.
pub(super) const NAME_RULE: &str =
    "a namespace's name has at most 128 bytes, no control characters and no `#`";

impl Core {
    pub(super) fn new(settings: Settings, shard: ShardId, shards: u16, orders: Orders) -> Rc<Self> {
        let deadlines = Rc::new(Deadlines::new(orders.bell()));
        let core = Rc::new(Self {
            settings,
            shard,
            shards,
            orders,
            presence: Presence::default(),
            admissions: Admissions::default(),
            deadlines,
            questions: Questions::default(),
            member_questions: MemberQuestions::default(),
            channels: ChannelQuestions::default(),
            rules: Rules::default(),
            opening: Opening::default(),
            raw: RawListeners::default(),
            on_carried: Listeners::default(),
            on_moved: Listeners::default(),
            introductions: RefCell::default(),
            introduces_again: Cell::default(),
            tokens: RefCell::default(),
            authenticating: RefCell::default(),
            access: RefCell::default(),
            keys: RefCell::default(),
            consulting: Consulting::default(),
            owed: Owed::default(),
            travels: Travels::default(),
            may_enter: RefCell::default(),
            on_said: RefCell::default(),
            upload: RefCell::default(),
            namespaces: RefCell::default(),
            free: RefCell::default(),
            ids: RefCell::default(),
            root: OnceCell::new(),
            numbers: Cell::new(0),
            gathered_bytes: Cell::new(0),
            events_failed: Cell::new(0),
            tasks: RefCell::default(),
        });
        let root = core.add_namespace("/", None).expect("the root's name is a good one");
        core.root.set(root).expect("there is one root");
        core
    }

    /// The namespace `/`.
    pub(super) fn root(&self) -> &Namespace {
        self.root.get().expect("made with the core")
    }

    pub(super) fn namespace(&self, id: NamespaceId) -> Option<Namespace> {
        self.with_namespace(id, |namespace| namespace.cloned())
    }

    /// Looks at a namespace where it is; `look` calls nothing of the application.
    pub(super) fn with_namespace<T>(&self, id: NamespaceId, look: impl FnOnce(Option<&Namespace>) -> T) -> T {
        look(self.namespaces.borrow().get(id.0 as usize).and_then(Option::as_ref))
    }

    pub(super) fn namespace_named(&self, name: &str) -> Option<Namespace> {
        let id = self.ids.borrow().get(name).copied()?;
        self.namespace(id)
    }

    pub(super) fn namespaces_in_use(&self) -> Vec<Namespace> {
        self.namespaces.borrow().iter().flatten().cloned().collect()
    }

    /// Adds a namespace that is not there yet; `None` when its name cannot be one ([`NAME_RULE`]).
    pub(super) fn add_namespace(self: &Rc<Self>, name: &str, rule: Option<Matching>) -> Option<Namespace> {
        let channel = channel_of(name)?;
        let mut namespaces = self.namespaces.borrow_mut();
        let id = self.free.borrow_mut().pop().unwrap_or(NamespaceId(namespaces.len() as u32));
        let namespace = Namespace::new(Rc::clone(self), id, channel, rule);
        match namespaces.get_mut(id.0 as usize) {
            Some(place) => *place = Some(namespace.clone()),
            None => namespaces.push(Some(namespace.clone())),
        }
        self.ids.borrow_mut().insert(Rc::clone(namespace.shared_name()), id);
        self.tell_cluster(|| ClusterAsk::Enter { namespace: name.into() });
        Some(namespace)
    }

    /// A namespace that may be in use on other shards only: to select its sockets.
    pub(super) fn foreign_namespace(self: &Rc<Self>, name: &str) -> Option<Namespace> {
        Some(Namespace::new(Rc::clone(self), NamespaceId(u32::MAX), channel_of(name)?, None))
    }

    /// Removes a dynamic namespace that nobody is in any more.
    pub(super) fn remove_namespace(&self, namespace: &Namespace) {
        self.ids.borrow_mut().remove(namespace.name());
        let removed = self.namespaces.borrow_mut()[namespace.id().0 as usize].take();
        self.free.borrow_mut().push(namespace.id());
        self.tell_cluster(|| ClusterAsk::Leave { namespace: namespace.name().into() });
        drop(removed);
    }

    /// Tells or asks the cluster something, if the process is a member of one, or other nodes.
    pub(super) fn tell_cluster(&self, ask: impl FnOnce() -> ClusterAsk) {
        if self.settings.has_members() {
            self.order(Order::Cluster(Box::new(ask())));
        }
    }

    /// Asks the other members of the cluster to do something with sockets of a namespace; nobody answers.
    pub(super) fn ask_cluster(&self, namespace: &str, request: impl FnOnce() -> Request) {
        self.tell_cluster(|| ClusterAsk::Request {
            namespace: namespace.into(),
            request: Box::new(request()),
        });
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.push(order);
    }

    /// A number that no question or acknowledgement of this shard has had.
    pub(super) fn next_number(&self) -> u64 {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        number
    }

    /// Gives no number below this one.
    pub(super) fn number_from(&self, number: u64) {
        self.numbers.set(self.numbers.get().max(number));
    }

    /// The application ends: its work is cancelled, and its functions, which may hold the application itself, are let go.
    pub(super) fn end(&self) {
        self.tasks.take().into_values().for_each(|task| task.cancel());
        self.namespaces.take().into_iter().flatten().for_each(|namespace| namespace.end());
        self.on_carried.clear();
        self.on_moved.clear();
        self.introductions.take();
        self.may_enter.take();
        self.on_said.take();
        self.travels.end();
        self.rules.end();
        self.opening.end();
        self.raw.end();
        self.deadlines.end();
        self.admissions.end();
        self.presence.end();
        self.questions.give_up_all();
        self.member_questions.give_up_all();
        self.channels.give_up_all();
    }

    /// As [`Self::next_number`], for rooms that are joined; never one that the shard uses itself.
    pub(super) fn next_join(&self) -> u32 {
        (self.next_number() as u32) | 1 << 31
    }

    pub(super) fn count_failed_event(&self) {
        self.events_failed.set(self.events_failed.get() + 1);
    }

    pub(super) fn events_failed(&self) -> u64 {
        self.events_failed.get()
    }
}

/// The channel of a namespace; `None` when its name cannot be one ([`NAME_RULE`]).
fn channel_of(name: &str) -> Option<ChannelName> {
    let is_name = name.starts_with('/') && !name.contains('#') && name.len() <= SOCKETIO_NAMESPACE_BYTES_MAX;
    namespace_channel(name).ok().filter(|_| is_name)
}
