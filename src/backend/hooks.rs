//! Questions to a backend, and what becomes of each.

use std::{
    cell::RefCell,
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
    limits::HOOK_ANSWER_BYTES_MAX,
};

/// Asks backends.
pub(super) struct Hooks {
    client: Rc<Client>,
    settings: Arc<Settings>,
    /// Of each backend, by [`Hook`] number.
    breakers: [RefCell<Breaker>; Hook::ALL.len()],
    started: Instant,
}

impl Hooks {
    pub(super) fn new(client: Rc<Client>, settings: Arc<Settings>) -> Self {
        Self { client, settings, breakers: Default::default(), started: Instant::now() }
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
        let (ruling, why) = match self.client.call(&call, job.deadline).await {
            Ok(received) if (200..300).contains(&received.status) => {
                let ruling = Ruling::read(job.hook, &received.body, now_s, self.settings.lifetime_s);
                (ruling, "its answer is none to this question".to_owned())
            }
            Ok(received) => {
                (Ruling::Failed(HookFailure::Answer), format!("it answers with status {}", received.status))
            }
            Err(error) => (Ruling::Failed(error.failure()), error.to_string()),
        };
        self.note(job.hook, &ruling, &why);
        ruling
    }

    fn note(&self, hook: Hook, ruling: &Ruling, why: &str) {
        let mut breaker = self.breakers[hook as usize].borrow_mut();
        match ruling {
            Ruling::Failed(_) if breaker.note_bad(self.now_ms()) => {
                warn!("hooks.{} fails and is asked once a second from now on: {why}", hook.name());
            }
            Ruling::Failed(_) => {}
            Ruling::Allowed { .. } | Ruling::Denied(_) if breaker.note_good() => {
                info!("hooks.{} answers again", hook.name());
            }
            Ruling::Allowed { .. } | Ruling::Denied(_) => {}
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
