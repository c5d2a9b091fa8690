//! The thread on which backends are called, for the whole process.

use std::{
    io,
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use async_channel::{Receiver, RecvError, bounded};
use async_executor::LocalExecutor;
use futures_lite::future;

use super::{
    client::Client,
    desk::{Answer, Desk, Inbox, Job, Outlet},
    hooks::Hooks,
    jwks::{self, KeySet},
    notices::{self, NoticeSettings, Notices, Pipeline},
    signature::{self, SigningKey},
    stream::{Connector, StartError},
    target::Target,
};
use crate::{
    auth::Hook,
    limits::HOOKS_QUEUED_MAX,
    model::{Notice, ShardId},
    ring::Doorbell,
};

/// What the operator has said of backends.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who decides on what.
    pub hooks: HookTargets,
    /// Where the keys of issuers are.
    pub key_sets: Vec<KeySet>,
    /// Time between fetches of them for tokens that name unknown keys, in seconds.
    pub refetch_s: u32,
    /// What calls are signed with.
    pub keys: Vec<SigningKey>,
    /// Header fields of clients that a backend is told, in lower case.
    pub fields: Arc<[Box<str>]>,
    /// How long an answer may take, with the wait for its turn.
    pub timeout_ms: u32,
    /// Who is told what has happened.
    pub notices: Option<NoticeSettings>,
    /// Calls of hooks at a time.
    pub in_flight_max: u16,
    /// Whom to trust; empty is whom the system trusts.
    pub ca_file: String,
    /// How long whom a backend lets in is in at most, in seconds.
    pub lifetime_s: u64,
}

/// Who decides on what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookTargets {
    /// Who somebody is.
    pub connect: Option<Target>,
    /// Who may follow a channel.
    pub subscribe: Option<Target>,
    /// Who may publish to it.
    pub publish: Option<Target>,
}

impl HookTargets {
    /// Who decides on this, if anybody does.
    pub fn get(&self, hook: Hook) -> Option<&Target> {
        match hook {
            Hook::Connect => self.connect.as_ref(),
            Hook::Subscribe => self.subscribe.as_ref(),
            Hook::Publish => self.publish.as_ref(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Target> {
        Hook::ALL.into_iter().filter_map(|hook| self.get(hook))
    }
}

/// The ends of all shards, and the end of the thread.
#[derive(Default)]
pub struct Started {
    /// Where each shard asks.
    pub desks: Vec<Desk>,
    /// Where each leaves notices.
    pub notices: Vec<Notices>,
    /// Tells when all notices have been told, or are given up.
    pub ended: Option<mpsc::Receiver<()>>,
}

/// Starts the thread, unless there is no backend; a desk for each shard, which hears its answers by its bell. The thread
/// ends when the last desk is gone and what waits then has been told.
pub fn start(mut settings: Settings, bells: &[Doorbell]) -> Result<Started, StartError> {
    let is_asked = settings.hooks != HookTargets::default() || !settings.key_sets.is_empty();
    if !is_asked && settings.notices.is_none() {
        return Ok(Started::default());
    }
    let (notices, pipelines) = open_notices(settings.notices.take(), bells.len())?;
    let told = pipelines.first().map(|pipeline| &pipeline.settings.target);
    let targets = settings.hooks.all().chain(settings.key_sets.iter().map(|set| &set.target)).chain(told);
    let is_tls = { targets }.any(|target| target.origin.is_tls());
    let connector = Connector::new("hooks.ca_file", &settings.ca_file, is_tls)?;
    let settings = Arc::new(settings);
    let queues = Hook::ALL.map(|_| bounded(HOOKS_QUEUED_MAX));
    let jobs = queues.each_ref().map(|(jobs, _)| jobs.clone());
    let inboxes = queues.map(|(_, inbox)| inbox);
    let wishes = settings.key_sets.iter().map(|_| bounded(1));
    let (wanted, wishes): (Vec<_>, Vec<_>) = wishes.unzip();
    let wanted: Arc<[_]> = wanted.into();
    let (mut desks, mut outlets) = (Vec::new(), Vec::new());
    for (shard, doorbell) in (0..).map(ShardId).zip(bells) {
        let ((answers, told), (fetched, keys)) = (mpsc::channel(), mpsc::channel());
        outlets.push(Outlet { answers, fetched, doorbell: doorbell.clone() });
        let inbox = Inbox { answers: told, fetched: keys };
        desks.push(Desk::new(shard, Arc::clone(&settings), jobs.clone(), Arc::clone(&wanted), inbox));
    }
    let (end, ended) = mpsc::channel();
    let run = move || {
        run(connector, settings, &inboxes, wishes, &outlets, pipelines);
        drop(end);
    };
    thread::Builder::new().name("backend".to_owned()).spawn(run).map_err(StartError::Thread)?;
    Ok(Started { desks, notices, ended: Some(ended) })
}

fn open_notices(
    settings: Option<NoticeSettings>,
    shards: usize,
) -> Result<(Vec<Notices>, Vec<Pipeline>), StartError> {
    let Some(settings) = settings else { return Ok((Vec::new(), Vec::new())) };
    let instance = signature::draw_id().map_err(|error| StartError::Thread(io::Error::other(error)))?;
    let instance = instance.trim_start_matches("msg_").into();
    let shards = (0..).map(ShardId).take(shards);
    let (mut notices, pipelines) = notices::open(&Arc::new(settings), &instance, shards);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started = Notice::NodeStarted(notices.len() as u16);
    notices[0].push(started, unix.as_millis() as u64);
    Ok((notices, pipelines))
}

fn run(
    connector: Connector,
    settings: Arc<Settings>,
    jobs: &Inboxes,
    wishes: Vec<Receiver<()>>,
    outlets: &[Outlet],
    pipelines: Vec<Pipeline>,
) {
    let client = Rc::new(Client::new(Rc::new(connector)));
    let executor = LocalExecutor::new();
    for (set, wanted) in settings.key_sets.iter().zip(wishes) {
        let kept = jwks::keep(Rc::clone(&client), set.clone(), settings.refetch_s, wanted, outlets);
        executor.spawn(kept).detach();
    }
    let telling = pipelines.into_iter().map(|pipeline| executor.spawn(pipeline.run(Rc::clone(&client))));
    let telling: Vec<_> = telling.collect();
    let shares = shares(&settings);
    let hooks = Rc::new(Hooks::new(client, settings));
    let work = |share| {
        let hooks = Rc::clone(&hooks);
        executor.spawn(async move {
            while let Ok(job) = next_job(jobs, share).await {
                let ruling = hooks.decide(&job).await;
                let Job { shard, number, hook, bytes, .. } = job;
                outlets[usize::from(shard.0)].tell(Answer { number, ruling, hook, bytes });
            }
        })
    };
    let workers: Vec<_> = shares.into_iter().map(work).collect();
    async_io::block_on(executor.run(async {
        for task in workers.into_iter().chain(telling) {
            task.await;
        }
    }));
}

/// Questions, by [`Hook`] number.
type Inboxes = [Receiver<Job>; Hook::ALL.len()];

/// Whose questions each worker takes: those of one hook, or anybody's. Half of the calls that may be made at a time are
/// divided among the hooks that are asked, so that a backend which is slow to answer one does not keep the others waiting.
fn shares(settings: &Settings) -> Vec<Option<Hook>> {
    let asked: Vec<_> = Hook::ALL.into_iter().filter(|hook| settings.hooks.get(*hook).is_some()).collect();
    let in_flight_max = usize::from(settings.in_flight_max);
    let own = match asked.len() {
        count @ 2.. if in_flight_max >= count => (in_flight_max / 2 / count).max(1),
        _ => 0,
    };
    let own = asked.into_iter().flat_map(|hook| std::iter::repeat_n(Some(hook), own));
    let own: Vec<_> = own.collect();
    let common = std::iter::repeat_n(None, in_flight_max - own.len());
    common.chain(own.iter().copied()).collect()
}

/// The next question for a worker.
async fn next_job(jobs: &Inboxes, share: Option<Hook>) -> Result<Job, RecvError> {
    match share {
        Some(hook) => jobs[hook as usize].recv().await,
        None => {
            // Which of those that wait is drawn by lot.
            let [connect, subscribe, publish] = jobs.each_ref().map(|jobs| jobs.recv());
            future::race(connect, future::race(subscribe, publish)).await
        }
    }
}
