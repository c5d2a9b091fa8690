//! Clients that wait for asynchronous middleware to say whether they may enter.
//!
//! ```text
//!   connect ─► functions in order ─► one that takes time: waits ─(Ok)─► the functions behind it ─► in
//!                                                            └──(Err)─► refused
//! ```
//!
//! A client that waits has no socket yet, and its place may be taken by another. What middleware keeps for it stands here, and so
//! does which functions have let it pass: none is called twice. One that asks again meanwhile, and says something else, is asked
//! about anew when the function that is under way has ended; its client is told once.
//!
//! Invariant: what waits goes with its session at the latest.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
};

use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};
use tracing::error;

use super::{
    Candidate, ConnectError, Connecting, EngineId, Handshake, Io, Namespace, Order,
    arguments::{self, PayloadError},
    core::Core,
    presence::SocketState,
    socket::read_auth,
    told::FAILED,
};
use crate::{
    app::guard::guarded,
    auth::{Ruled, Verified},
    limits::{ADMISSIONS_BYTES_MAX, ADMISSIONS_PER_CLIENT_MAX},
    model::Issuer,
};

/// A function that is asked about whoever wants to enter.
pub(super) enum Middleware {
    Now(Box<Check>),
    Later(Box<LongCheck>),
}

type Check = dyn Fn(&Candidate<'_>) -> Result<(), ConnectError>;
type LongCheck = dyn Fn(Applicant) -> Verdict;

/// What a function that takes time says at last.
pub(super) type Verdict = Pin<Box<dyn Future<Output = Result<(), ConnectError>>>>;

/// A client that waits to enter, as asynchronous middleware sees it. What is kept for it stays if it may.
#[derive(Clone)]
pub struct Applicant {
    namespace: Namespace,
    auth: Option<Rc<str>>,
    token: Option<Rc<Verified>>,
    handshake: Option<Rc<Handshake>>,
    address: Option<IpAddr>,
    rulings: Rc<[Ruled]>,
    is_websocket: bool,
    state: Rc<SocketState>,
}

/// Those who wait, by their session.
#[derive(Default)]
pub(super) struct Admissions {
    waiting: RefCell<FxHashMap<EngineId, Vec<Admission>>>,
    /// Bytes kept for them.
    bytes: Cell<usize>,
}

/// One that waits.
pub(super) struct Admission {
    number: u64,
    namespace: Box<str>,
    applicant: Applicant,
    /// The functions that have let it pass, and the one that is asked.
    passed: Vec<Rc<Middleware>>,
    progress: Progress,
    /// What its client has said since then, asking once more: what the functions find is about something else then.
    asked_anew: Option<Again>,
    bytes: usize,
}

/// What a client says that asks again while it waits.
struct Again {
    auth: Option<Rc<str>>,
}

enum Progress {
    Asked,
    Allowed,
    Refused(ConnectError),
}

/// What was wanted by a client whose turn it is again.
pub(crate) struct Waited {
    number: u64,
    pub(crate) auth: Option<Rc<str>>,
    pub(crate) rulings: Rc<[Ruled]>,
}

/// What one that waits is counted with beside what it has brought.
const APPLICANT_BYTES: usize = 1024;

impl Applicant {
    /// Where it wants to enter.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// [`Candidate::auth`]
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        read_auth(self.auth_json())
    }

    /// [`Candidate::auth_json`]
    pub fn auth_json(&self) -> Option<&str> {
        self.auth.as_deref()
    }

    /// [`Candidate::token`]
    pub fn token(&self) -> Option<&Verified> {
        self.token.as_deref()
    }

    /// [`Candidate::rulings`]
    pub fn rulings(&self) -> &[Ruled] {
        &self.rulings
    }

    /// [`Candidate::handshake`]
    pub fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_deref()
    }

    /// [`Candidate::address`]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// [`super::Socket::transport`]
    pub fn transport(&self) -> &'static str {
        if self.is_websocket { "websocket" } else { "polling" }
    }

    /// [`super::Socket::set_data`]
    pub fn set_data<T: 'static>(&self, data: T) {
        let before = self.state.data.replace(Some(Rc::new(data)));
        drop(before);
    }

    /// [`super::Socket::data`]
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.state.data.borrow().clone()?.downcast().ok()
    }

    /// [`super::Socket::set_public_data`]
    pub fn set_public_data(&self, data: &(impl Serialize + ?Sized)) {
        match arguments::encode_value(data) {
            Ok(json) => drop(self.state.public_data.replace(Some(json.into()))),
            Err(error) => error!("no public data: JSON cannot say it: {error}"),
        }
    }
}

impl Admissions {
    /// What is kept of a client that wants to enter, unless it still waits. What one says that waits, and asks again, is kept.
    pub(super) fn take(
        &self,
        session: EngineId,
        namespace: &str,
        auth: Option<&str>,
    ) -> Result<Option<Admission>, ()> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(list) = waiting.get_mut(&session) else { return Ok(None) };
        let Some(at) = list.iter().position(|one| &*one.namespace == namespace) else { return Ok(None) };
        if let Progress::Asked = list[at].progress {
            let one = &mut list[at];
            let kept = self.bytes.get() - one.bytes;
            one.ask_again(auth);
            self.bytes.set(kept + one.bytes);
            return Err(());
        }
        let taken = list.swap_remove(at);
        if list.is_empty() {
            waiting.remove(&session);
        }
        self.bytes.set(self.bytes.get() - taken.bytes);
        drop(waiting);
        // What was found of it is about what it said then.
        Ok(Some(taken).filter(|taken| taken.applicant.auth.as_deref() == auth))
    }

    fn keep(&self, session: EngineId, admission: Admission) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let bytes = self.bytes.get() + admission.bytes;
        let count = waiting.get(&session).map_or(0, Vec::len);
        let is_room = bytes <= ADMISSIONS_BYTES_MAX && count < ADMISSIONS_PER_CLIENT_MAX;
        if is_room {
            self.bytes.set(bytes);
            waiting.entry(session).or_default().push(admission);
        }
        is_room
    }

    /// A session has ended, or the application does.
    pub(super) fn forget(&self, session: EngineId) {
        // What is kept may, when dropped, do anything.
        let gone = self.waiting.borrow_mut().remove(&session).unwrap_or_default();
        self.bytes.set(self.bytes.get() - gone.iter().map(|one| one.bytes).sum::<usize>());
    }

    /// Lets go of one that was said to be ready, and was not wanted any more.
    fn forget_one(&self, session: EngineId, number: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let Some(list) = waiting.get_mut(&session) else { return };
        let Some(at) = list.iter().position(|one| one.number == number) else { return };
        let gone = list.swap_remove(at);
        if list.is_empty() {
            waiting.remove(&session);
        }
        drop(waiting);
        self.bytes.set(self.bytes.get() - gone.bytes);
    }

    pub(super) fn end(&self) {
        self.waiting.take();
        self.bytes.set(0);
    }
}

impl Admission {
    /// Its client asks again, and says this. Said as before it changes nothing.
    fn ask_again(&mut self, auth: Option<&str>) {
        let before = self.asked_anew.take();
        let len = |again: Option<&Again>| again.and_then(|one| one.auth.as_deref()).map_or(0, str::len);
        self.bytes -= len(before.as_ref());
        if auth != self.applicant.auth.as_deref() {
            self.asked_anew = Some(Again { auth: auth.map(Rc::from) });
        }
        self.bytes += len(self.asked_anew.as_ref());
    }

    /// Whether the function that was asked has said no.
    pub(super) fn refusal(&self) -> Option<&ConnectError> {
        match &self.progress {
            Progress::Refused(error) => Some(error),
            Progress::Asked | Progress::Allowed => None,
        }
    }

    /// What the application keeps for it.
    pub(super) fn state(&self) -> &Rc<SocketState> {
        &self.applicant.state
    }

    /// Whether a function has let it pass.
    pub(super) fn has_passed(&self, middleware: &Rc<Middleware>) -> bool {
        self.passed.iter().any(|one| Rc::ptr_eq(one, middleware))
    }
}

impl Io {
    /// Lets a client wait for a function that takes time; it has passed those before.
    pub(super) fn wait_for(
        &self,
        connecting: &Connecting<'_>,
        namespace: &Namespace,
        state: Rc<SocketState>,
        passed: Vec<Rc<Middleware>>,
    ) -> Result<(), ConnectError> {
        let core = self.core();
        let Some(Middleware::Later(ask)) = passed.last().map(|last| &**last) else { return Ok(()) };
        let (auth, handshake) = (connecting.auth, connecting.handshake);
        let brought = |handshake: &Handshake| handshake.target.len() + handshake.fields.len();
        let bytes = APPLICANT_BYTES
            + auth.map_or(0, str::len)
            + handshake.map_or(0, brought)
            + size_of_val(connecting.rulings);
        let applicant = Applicant {
            namespace: namespace.clone(),
            auth: auth.map(Rc::from),
            token: connecting.token.clone(),
            handshake: handshake.cloned().map(Rc::new),
            address: connecting.address,
            rulings: connecting.rulings.into(),
            is_websocket: connecting.is_websocket,
            state,
        };
        let (number, session) = (core.next_number(), connecting.session);
        // It asks for nobody in particular: there is no socket yet.
        let _speaking = core.orders.speak_for(Issuer::Shard);
        let Some(verdict) = guarded("a middleware", || ask(applicant.clone())) else {
            return Err(FAILED.into());
        };
        let (progress, name) = (Progress::Asked, connecting.namespace.into());
        let asked_anew = None;
        let admission = Admission { number, namespace: name, applicant, passed, progress, asked_anew, bytes };
        if !core.admissions.keep(session, admission) {
            return Err("the server is overloaded; try again later".into());
        }
        let settle = {
            let core = Rc::downgrade(core);
            move |result: Result<(), ConnectError>| {
                core.upgrade().into_iter().for_each(|core| settle(&core, session, number, &result));
            }
        };
        let fail = settle.clone();
        self.spawn_or(async move { settle(verdict.await) }, move || fail(Err(FAILED.into())));
        Ok(())
    }

    /// A client whose turn it is again, unless it has gone.
    pub(crate) fn waited(&self, session: EngineId, number: u64) -> Option<(Box<str>, Waited)> {
        let waiting = self.core().admissions.waiting.borrow();
        let one = waiting.get(&session)?.iter().find(|one| one.number == number)?;
        let (auth, rulings) = match &one.asked_anew {
            None => (one.applicant.auth.clone(), Rc::clone(&one.applicant.rulings)),
            Some(again) => (again.auth.clone(), Rc::default()),
        };
        Some((one.namespace.clone(), Waited { number, auth, rulings }))
    }

    /// Its turn is over.
    pub(crate) fn end_waiting(&self, session: EngineId, waited: &Waited) {
        self.core().admissions.forget_one(session, waited.number);
    }

    /// Whether a session waits somewhere.
    pub(crate) fn is_waiting(&self, session: EngineId) -> bool {
        self.core().admissions.waiting.borrow().contains_key(&session)
    }

    /// A session has ended.
    pub(crate) fn session_ended(&self, session: EngineId) {
        self.core().admissions.forget(session);
    }
}

/// A function has said whether a client may enter. One that has gone is nobody's business any more.
fn settle(core: &Core, session: EngineId, number: u64, result: &Result<(), ConnectError>) {
    let mut waiting = core.admissions.waiting.borrow_mut();
    let Some(list) = waiting.get_mut(&session) else { return };
    let Some(one) = list.iter_mut().find(|one| one.number == number) else { return };
    one.progress = match result {
        Ok(()) => Progress::Allowed,
        Err(error) => Progress::Refused(error.clone()),
    };
    drop(waiting);
    core.order(Order::Enter { session, number });
}

impl fmt::Debug for Applicant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applicant").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
