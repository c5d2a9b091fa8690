//! Questions to a backend, and what becomes of each.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{info, warn};

use super::{
    breaker::Breaker,
    client::{Call, CallError, Client},
    desk::Job,
    signature,
    thread::Settings,
};
use crate::{
    auth::{Hook, HookFailure, Ruling},
    limits::{HOOK_ANSWER_BYTES_MAX, HOOK_COMPLAINT_MS},
};

/// Asks backends.
pub(super) struct Hooks {
    client: Rc<Client>,
    settings: Arc<Settings>,
    /// Of each backend, by [`Hook`] number.
    breakers: [RefCell<Breaker>; Hook::ALL.len()],
    /// When somebody was last told of an answer that is none, by [`Hook`] number.
    complained_ms: [Cell<Option<u64>>; Hook::ALL.len()],
    started: Instant,
}

impl Hooks {
    pub(super) fn new(client: Rc<Client>, settings: Arc<Settings>) -> Self {
        let (breakers, complained_ms) = Default::default();
        Self { client, settings, breakers, complained_ms, started: Instant::now() }
    }

    /// Finds out; whatever happens, there is a ruling by the job's deadline.
    pub(super) async fn decide(&self, job: &Job) -> Ruling {
        let Some(target) = self.settings.hooks.get(job.hook) else {
            return Ruling::Failed(HookFailure::Unreachable);
        };
        // It has waited for its turn for as long as anybody waits.
        if Instant::now() >= job.deadline {
            return Ruling::Failed(HookFailure::Timeout);
        }
        let breaker = &self.breakers[job.hook as usize];
        if !breaker.borrow_mut().may_ask(self.now_ms()) {
            return Ruling::Failed(HookFailure::Open);
        }
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let Ok(id) = signature::draw_id() else { return Ruling::Failed(HookFailure::Unreachable) };
        let fields = signature::fields(&self.settings.keys, &id, now_s, &job.body);
        let call =
            Call { target, fields: &fields, body: Some(&job.body), answer_bytes_max: HOOK_ANSWER_BYTES_MAX };
        let none = Ruling::Failed(HookFailure::Answer);
        match self.client.call(&call, job.deadline).await {
            Ok(received) if received.status >= 500 => {
                self.note_bad(job.hook, &format!("it answers with status {}", received.status));
                none
            }
            Ok(received) => {
                self.note_good(job.hook);
                let ruling = match received.status {
                    200..300 => Ruling::read(job.hook, &received.body, now_s, self.settings.lifetime_s),
                    _ => none.clone(),
                };
                if ruling == none {
                    self.complain(job.hook, received.status);
                }
                ruling
            }
            Err(error) => {
                self.note_bad(job.hook, &error.to_string());
                Ruling::Failed(error.failure())
            }
        }
    }

    /// It has not answered, or has said that it cannot.
    fn note_bad(&self, hook: Hook, why: &str) {
        if self.breakers[hook as usize].borrow_mut().note_bad(self.now_ms()) {
            warn!("hooks.{} fails and is asked once a second from now on: {why}", hook.name());
        }
    }

    /// It has answered. What it makes of one question, which a client may have put together on purpose, says nothing about
    /// the next.
    fn note_good(&self, hook: Hook) {
        if self.breakers[hook as usize].borrow_mut().note_good() {
            info!("hooks.{} answers again", hook.name());
        }
    }

    /// It has answered what is no ruling: the operator may have named a wrong address.
    fn complain(&self, hook: Hook, status: u16) {
        let (last_ms, now_ms) = (&self.complained_ms[hook as usize], self.now_ms());
        if last_ms.get().is_none_or(|last_ms| now_ms - last_ms >= HOOK_COMPLAINT_MS) {
            last_ms.set(Some(now_ms));
            warn!(
                "hooks.{} answers with status {status} what is no ruling, which lets nobody in",
                hook.name()
            );
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

impl CallError {
    fn failure(&self) -> HookFailure {
        match self {
            Self::Timeout => HookFailure::Timeout,
            Self::Io(_) | Self::Stale => HookFailure::Unreachable,
            Self::Reply(_) => HookFailure::Answer,
        }
    }
}
