//! The thread that reads history which memory has let go of, so that neither a shard nor the thread that writes waits for it.
//!
//! A question comes by way of the thread that writes, behind what had been left before it: so what memory has let go of can be
//! found.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use redb::Database;
use tracing::error;

use super::{
    error::Problem,
    pace,
    store::{decoded, guarded},
    tables::{HISTORY, STREAMS},
};
use crate::{
    model::{PageAsked, SharedPublication},
    ring::Doorbell,
};

/// What was found: oldest first, without a hole.
#[derive(Debug)]
pub struct FoundPage {
    /// What was asked.
    pub asked: PageAsked,
    /// What was found.
    pub publications: Vec<SharedPublication>,
}

/// Where the answer goes.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) pages: Sender<FoundPage>,
    /// How many answers have come.
    pub(super) arrived: Arc<AtomicU64>,
    pub(super) bell: Doorbell,
}

/// A question to a store.
pub(super) struct Question {
    pub(super) database: Option<Arc<Database>>,
    pub(super) asked: PageAsked,
    pub(super) asker: Asker,
}

enum Job {
    Read(Question),
    /// Somebody waits until all before it has been answered.
    Tell(Sender<()>),
}

/// The thread.
pub(super) struct Reader {
    jobs: Sender<Job>,
    /// It could not read what it was asked for.
    has_failed: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    /// Starts it.
    pub(super) fn start(cores: &[usize]) -> std::io::Result<Self> {
        let (jobs, inbox) = channel();
        let has_failed = Arc::<AtomicBool>::default();
        let fails = Arc::clone(&has_failed);
        let cores = cores.to_vec();
        let run = move || {
            pace::begin_thread(&cores);
            run(&inbox, &fails);
        };
        let thread = thread::Builder::new().name("storage-read".to_owned()).spawn(run)?;
        Ok(Self { jobs, has_failed, thread })
    }

    /// Whether something could not be read since that was asked last.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.swap(false, Ordering::Relaxed)
    }

    /// Asks it.
    pub(super) fn ask(&self, question: Question) {
        self.jobs.send(Job::Read(question)).ok();
    }

    /// Waits until it has answered all it was asked: then it has nothing any more that it was given to read.
    pub(super) fn settle(&self) {
        let (told, all) = channel();
        self.jobs.send(Job::Tell(told)).ok();
        // Told or dropped, it is over.
        all.recv().ok();
    }

    /// Waits until it has answered all.
    pub(super) fn end(self) {
        drop(self.jobs);
        self.thread.join().expect("the thread that reads does not panic");
    }
}

fn run(inbox: &Receiver<Job>, has_failed: &AtomicBool) {
    for job in inbox {
        let Question { database, asked, asker } = match job {
            Job::Read(question) => question,
            Job::Tell(told) => {
                told.send(()).ok();
                continue;
            }
        };
        pace::begin();
        let read = database.map_or(Ok(Vec::new()), |database| guarded(|| page(&database, &asked)));
        let publications = read.unwrap_or_else(|problem| {
            error!(channel = asked.channel.as_str(), "history on disk cannot be read: {problem:?}");
            has_failed.store(true, Ordering::Relaxed);
            Vec::new()
        });
        asker.pages.send(FoundPage { asked, publications }).ok();
        asker.arrived.fetch_add(1, Ordering::Release);
        asker.bell.ring();
    }
}

fn page(database: &Database, asked: &PageAsked) -> Result<Vec<SharedPublication>, Problem> {
    let PageAsked { channel, epoch, after, limit, bytes_max, .. } = asked;
    let name = channel.as_str();
    let read = database.begin_read()?;
    if read.open_table(STREAMS)?.get(name)?.is_none_or(|position| position.value().0 != *epoch) {
        return Ok(Vec::new());
    }
    let (mut found, mut bytes): (Vec<SharedPublication>, u64) = (Vec::new(), 0);
    for entry in read.open_table(HISTORY)?.range((name, after.saturating_add(1))..=(name, u64::MAX))? {
        let (place, value) = entry?;
        let has_hole = found.last().is_some_and(|last| last.position.offset + 1 != place.value().1);
        bytes += value.value().len() as u64;
        if has_hole || found.len() >= *limit as usize || (bytes > *bytes_max && !found.is_empty()) {
            break;
        }
        pace::step();
        found.push(decoded(channel, *epoch, value.value())?);
    }
    Ok(found)
}
