//! A shard's Socket.IO application, as its author sees it. What the shard tells it is in `told.rs`.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Broadcast, Channel, Cookie, Matching, Namespace, Orders, RawEngine, Settings, Socket, Timer, channel,
    core::{Core, NAME_RULE},
    matching::Auth,
};
use crate::{
    app::{Reply, Request, Upload, guard::guarded_work},
    auth::AccessRules,
    model::{ChannelName, ChannelNameError, ShardId, Ticket},
};

/// A shard's Socket.IO application. Cheap to clone; every clone is the same. It has the methods of its namespace
/// `/`.
#[derive(Clone)]
pub struct Io {
    root: Namespace,
}

impl Io {
    /// An application that knows no namespace but `/`.
    pub(crate) fn new(settings: Settings, shard: ShardId, shards: u16, orders: Orders) -> Self {
        Self::of_core(&Core::new(settings, shard, shards, orders))
    }

    pub(super) fn of_core(core: &Core) -> Self {
        Self { root: core.root().clone() }
    }

    /// A namespace, made when it is not there yet.
    ///
    /// # Panics
    ///
    /// When the name cannot be one: it has at most [`crate::limits::SOCKETIO_NAMESPACE_BYTES_MAX`] bytes, no control
    /// characters and no `#`.
    pub fn of(&self, name: &str) -> Namespace {
        let name = if name.starts_with('/') { name.into() } else { format!("/{name}") };
        let core = self.core();
        let namespace = core.namespace_named(&name).or_else(|| core.add_namespace(&name, None));
        let namespace = namespace.unwrap_or_else(|| panic!("{name:?}: {NAME_RULE}"));
        namespace.make_static();
        namespace
    }

    /// All namespaces that `accepts` says yes to, given the name and what the client sent to prove itself. Each is
    /// made when the first client enters, and gone when the last has left;
    /// at most [`crate::limits::NAMESPACES_DYNAMIC_MAX`] are there at once on a shard.
    pub fn of_matching(&self, accepts: impl Fn(&str, &Auth<'_>) -> bool + 'static) -> Matching {
        let rule = Matching::new(accepts);
        self.core().rules.add(rule.clone());
        rule
    }

    /// Lets `may_enter` say which sockets may be members of which rooms' channels, where those in rooms are members. The last
    /// function set counts; without one all of them may.
    pub(crate) fn members_if(&self, may_enter: impl Fn(&Socket, &ChannelName) -> bool + 'static) {
        let before = self.core().may_enter.replace(Some(Rc::new(may_enter)));
        drop(before);
    }

    /// From now on these are the operator's rules.
    pub(crate) fn obey(&self, rules: &Arc<AccessRules>) {
        self.core().access.replace(Arc::clone(rules));
    }

    /// Engine.IO without Socket.IO.
    pub fn engine(&self) -> RawEngine {
        RawEngine(self.clone())
    }

    /// Lets `allow` decide which requests may open a session; the reason it gives is told the client. The last
    /// function set counts.
    pub fn allow_request(&self, allow: impl Fn(&Request<'_>) -> Result<(), String> + 'static) {
        self.core().opening.set_allow(allow);
    }

    /// Adds header fields to the answer that opens a session. The last function set counts.
    pub fn initial_headers(&self, headers: impl Fn(&Request<'_>) -> Vec<(String, String)> + 'static) {
        self.core().opening.set_headers(headers);
    }

    /// Adds header fields to the answer to every request of a session: the one that opens it, polls, posts, and the handshake
    /// of a WebSocket. The last function set counts.
    pub fn headers(&self, headers: impl Fn(&Request<'_>) -> Vec<(String, String)> + 'static) {
        self.core().opening.set_headers_of_all(headers);
    }

    /// Sets a cookie with the session's id in the answer that opens a session, instead of that of the settings.
    pub fn cookie(&self, cookie: Cookie) {
        self.core().opening.set_cookie(cookie);
    }

    /// Calls `act` once, in some time, unless the timer is dropped before.
    pub fn after(&self, delay: Duration, act: impl FnOnce() + 'static) -> Timer {
        let act = self.core().orders.speaking_once(act);
        Timer::after(&self.core().deadlines, delay, act)
    }

    /// Calls `act` again and again until the timer is dropped.
    pub fn every(&self, period: Duration, act: impl Fn() + 'static) -> Timer {
        let (orders, issuer) = (self.core().orders.clone(), self.core().orders.issuer());
        let act = move || {
            let _speaking = orders.speak_for(issuer);
            act();
        };
        Timer::every(&self.core().deadlines, period, act)
    }

    /// Runs asynchronous work on this shard, which may await whatever glommio offers.
    ///
    /// A task that is ready runs within a millisecond. While one lives, in whatever state, a shard that sleeps costs
    /// more to wake, for it then also listens to what its executor waits for. Tasks spawned with glommio's own functions
    /// are unknown to the shard and run only when it happens to let its executor. A task that panics is over; nobody is
    /// disconnected.
    pub fn spawn_local(&self, work: impl Future<Output = ()> + 'static) {
        self.spawn_or(work, || ());
    }

    /// As [`Self::spawn_local`], and calls `fail` when the work panics.
    pub(super) fn spawn_or(&self, work: impl Future<Output = ()> + 'static, fail: impl FnOnce() + 'static) {
        let (core, number) = (self.core(), self.core().next_number());
        let owner = Rc::downgrade(core);
        let work = self.core().orders.speaking(work);
        let work = async move {
            guarded_work(work, fail).await;
            if let Some(core) = owner.upgrade() {
                let ended = core.tasks.borrow_mut().remove(&number);
                drop(ended);
            }
        };
        let task = glommio::spawn_local(work).detach();
        core.tasks.borrow_mut().insert(number, task);
        // A shard that sleeps with no task to listen for is to look again.
        self.core().orders.bell().ring();
    }

    /// Offers the body of the request that the handler is about to be called about, or takes back what was not taken.
    pub(crate) fn offer_upload(&self, upload: Option<Upload>) -> Option<Upload> {
        self.core().upload.replace(upload)
    }

    /// Takes the body of the request that the handler is called about, if it is too large to be kept.
    pub(crate) fn take_upload(&self) -> Option<Upload> {
        self.core().upload.take()
    }

    /// Whether asynchronous work lives.
    pub(crate) fn has_tasks(&self) -> bool {
        !self.core().tasks.borrow().is_empty()
    }

    /// The application ends with its shard, and another takes its place.
    pub(crate) fn end(&self) {
        self.core().end();
    }

    /// Calls what the application wants called by now.
    pub(crate) fn pass_time(&self, now: Instant) {
        self.core().deadlines.run_due(now);
    }

    /// When the application wants something called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.core().deadlines.next()
    }

    /// A channel of this process, by its name: rooms are channels, and there are others.
    pub fn channel(&self, name: &str) -> Result<Channel, ChannelNameError> {
        let name = ChannelName::new(name, ChannelName::BYTES_MAX)?;
        Ok(Channel::new(Rc::clone(self.core()), name))
    }

    /// A channel has answered what was asked of it.
    pub(crate) fn channel_answered(&self, ticket: Ticket, reply: Reply) {
        channel::answered(self.core(), ticket, reply);
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.core().settings
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.core().shard
    }

    /// How many shards the process runs.
    pub fn shards(&self) -> u16 {
        self.core().shards
    }

    /// How many events of this shard's clients had arguments that their listener does not take.
    pub fn events_failed(&self) -> u64 {
        self.core().events_failed()
    }

    /// The sockets of a namespace on every shard, whether or not it is in use on this one, which stays as it is;
    /// `None` when no namespace can have the name.
    pub(crate) fn sockets_of(&self, namespace: &str) -> Option<Broadcast> {
        let in_use = self.core().namespace_named(namespace);
        Some(in_use.or_else(|| self.core().foreign_namespace(namespace))?.everybody())
    }

    /// The namespaces in use on this shard.
    pub(crate) fn namespaces(&self) -> Vec<Namespace> {
        self.core().namespaces_in_use()
    }

    /// The orders not yet carried out.
    pub(crate) fn orders(&self) -> &Orders {
        &self.core().orders
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        self.root.core()
    }
}

impl Deref for Io {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.root
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("shard", &self.shard()).finish_non_exhaustive()
    }
}
