//! The thread that writes, for the whole process: what shards leave is gathered for a moment and written in one transaction,
//! so that the disk's wait is one for all of them and none of theirs.
//!
//! ```text
//!   shard ─ leave ─► queue (≤ STORAGE_QUEUE_BYTES_MAX each) ─► gathered ─► one transaction, synced ─► room again, bell
//! ```
//!
//! Where somebody waits for a record to be on disk, nothing is gathered for long: what came during one transaction goes into
//! the next. Where nobody does, the thread sleeps while it gathers, whatever comes: no turn is interrupted for each record.
//!
//! What cannot be written stays, and is tried again; meanwhile the queues fill, and owners refuse what they could not keep. A
//! shard that begins anew meanwhile waits: it goes on with what it has left behind, all of it, or not at all.

use std::{
    cell::Cell,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use tracing::{error, info};

use super::{
    disk::Disk,
    error::StoreError,
    pace,
    reader::{Asker, FoundPage, Reader},
    store::Store,
};
use crate::{
    auth::{Revocation, Revoked},
    limits::STORAGE_QUEUE_BYTES_MAX,
    model::{ChannelName, PageAsked, Record, Restored},
    ring::Doorbell,
};

/// Time for which records are gathered for one transaction.
const GATHER: Duration = Duration::from_millis(10);
/// Records, and their bytes, after which a transaction is not waited for any longer.
const TRANSACTION_RECORDS: usize = 10_000;
const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// Time after which what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A shard's end: where it leaves what is to be written.
#[derive(Debug)]
pub struct Keeper {
    jobs: Arc<Sender<Job>>,
    /// Who does them.
    thread: Thread,
    /// Records left.
    left: Cell<u64>,
    progress: Arc<Progress>,
    tried: Arc<Tried>,
    asker: Asker,
    pages: Receiver<FoundPage>,
    /// How many have been taken.
    taken: Cell<u64>,
}

/// How far what one shard has left has come.
#[derive(Debug)]
struct Progress {
    /// Bytes left and not yet written.
    queued_bytes: AtomicUsize,
    /// Records written.
    written: AtomicU64,
    bell: Doorbell,
}

/// What became of the transactions.
#[derive(Debug, Default)]
struct Tried {
    commits: AtomicU64,
    failures: AtomicU64,
    /// The last one failed.
    is_failing: AtomicBool,
}

/// Records of one shard.
struct Left {
    records: Vec<Record>,
    bytes: usize,
    /// Somebody waits for them.
    is_waited_for: bool,
    progress: Arc<Progress>,
}

enum Job {
    Write(Left),
    /// Somebody has been shut out.
    ShutOut(Revocation),
    /// Has history read, behind what was left before.
    Page(PageAsked, Asker),
    /// Reads some channels, behind what was left before.
    Read(Wanted),
    /// Nothing more is waited for, though there are shards that could leave more.
    Cut,
}

/// What a shard that begins anew waits for.
struct Wanted {
    is_wanted: Box<dyn Fn(&ChannelName) -> bool + Send>,
    answer: Sender<Vec<Restored>>,
}

/// The thread.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<Result<(), StoreError>>,
    /// While there are shards.
    jobs: Weak<Sender<Job>>,
}

impl Keeper {
    /// Leaves records to be written.
    pub fn leave(&self, records: Vec<Record>) {
        let bytes = records.iter().map(Record::bytes).sum();
        let is_waited_for = records.iter().any(Record::is_waited_for);
        self.left.set(self.left.get() + records.len() as u64);
        self.progress.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let progress = Arc::clone(&self.progress);
        // The thread ends when nobody can leave anything any more.
        self.jobs.send(Job::Write(Left { records, bytes, is_waited_for, progress })).ok();
        if is_waited_for {
            self.thread.unpark();
        }
    }

    /// Has written down that somebody is shut out. Who asked for that is not told when it is.
    pub fn shut_out(&self, revocation: Revocation) {
        self.jobs.send(Job::ShutOut(revocation)).ok();
    }

    /// Has history read that memory has let go of, behind all that was left before.
    pub fn ask(&self, page: PageAsked) {
        self.jobs.send(Job::Page(page, self.asker.clone())).ok();
        self.thread.unpark();
    }

    /// The next page that has been read.
    pub fn take_page(&self) -> Option<FoundPage> {
        if !self.has_page() {
            return None;
        }
        let page = self.pages.try_recv().ok()?;
        self.taken.set(self.taken.get() + 1);
        Some(page)
    }

    /// Whether one has come.
    pub fn has_page(&self) -> bool {
        self.asker.arrived.load(Ordering::Acquire) != self.taken.get()
    }

    /// How many records have been left.
    pub fn left(&self) -> u64 {
        self.left.get()
    }

    /// How many of them are on disk.
    pub fn written(&self) -> u64 {
        self.progress.written.load(Ordering::Acquire)
    }

    /// Whether the last that was tried could not be written.
    pub fn is_failing(&self) -> bool {
        self.tried.is_failing.load(Ordering::Relaxed)
    }

    /// How many transactions were made for all shards, and how often one failed.
    pub fn tried(&self) -> (u64, u64) {
        (self.tried.commits.load(Ordering::Relaxed), self.tried.failures.load(Ordering::Relaxed))
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.queued_bytes() < STORAGE_QUEUE_BYTES_MAX
    }

    /// Bytes left and not yet written.
    pub fn queued_bytes(&self) -> usize {
        self.progress.queued_bytes.load(Ordering::Relaxed)
    }

    /// Reads channels as they are on disk, behind all that was left before. For a shard that begins anew: it waits for the
    /// disk, however long that can neither be written nor read. To begin without what stands there would be to lose it.
    pub fn read_again(&self, is_wanted: impl Fn(&ChannelName) -> bool + Send + 'static) -> Vec<Restored> {
        let (answer, answered) = channel();
        self.jobs.send(Job::Read(Wanted { is_wanted: Box::new(is_wanted), answer })).ok();
        self.thread.unpark();
        answered.recv().expect("the thread that writes ends after the shards")
    }
}

impl Writer {
    /// Starts to write to a store, for shards that hear these bells, on these cores if there are any.
    pub(super) fn start(
        store: Store,
        bells: &[Doorbell],
        cores: &[usize],
    ) -> std::io::Result<(Self, Vec<Keeper>)> {
        let (jobs, inbox) = channel();
        let jobs = Arc::new(jobs);
        let tried = Arc::<Tried>::default();
        let mut disk = Disk::new(store, Reader::start(cores)?);
        let (noted, cores) = (Arc::clone(&tried), cores.to_vec());
        let write = move || {
            pace::begin_thread(&cores);
            let ended = run(&mut disk, &inbox, &noted);
            disk.end();
            ended
        };
        let thread = thread::Builder::new().name("storage".to_owned()).spawn(write)?;
        let keeper = |bell: &Doorbell| {
            let progress = Progress { queued_bytes: 0.into(), written: 0.into(), bell: bell.clone() };
            let (jobs, tried) = (Arc::clone(&jobs), Arc::clone(&tried));
            let (found, pages) = channel();
            let asker = Asker { pages: found, arrived: Arc::default(), bell: bell.clone() };
            let (left, taken, progress) = (Cell::new(0), Cell::new(0), Arc::new(progress));
            let thread = thread.thread().clone();
            Keeper { jobs, thread, left, progress, tried, asker, pages, taken }
        };
        let keepers = bells.iter().map(keeper).collect();
        Ok((Self { thread, jobs: Arc::downgrade(&jobs) }, keepers))
    }

    /// Waits until all that was left is written. Every keeper must be gone, or going, unless it is said that not all shards have
    /// ended: then what they have not left is lacking, as after a crash.
    pub fn end(self, have_all_ended: bool) -> Result<(), StoreError> {
        if let Some(jobs) = self.jobs.upgrade().filter(|_| !have_all_ended) {
            jobs.send(Job::Cut).ok();
            self.thread.thread().unpark();
        }
        self.thread.join().expect("the thread that writes does not panic")
    }
}

/// What is gathered for a transaction.
#[derive(Default)]
struct Gathered {
    records: Vec<Record>,
    bytes: usize,
    of: Vec<Share>,
    is_waited_for: bool,
    revoked: Revoked,
    /// There are shards that could have left more.
    is_cut: bool,
}

/// What one shard has of what is gathered.
struct Share {
    bytes: usize,
    records: u64,
    is_waited_for: bool,
    progress: Arc<Progress>,
}

impl Gathered {
    fn add(&mut self, left: Left) {
        let Left { records, bytes, is_waited_for, progress } = left;
        self.of.push(Share { bytes, records: records.len() as u64, is_waited_for, progress });
        self.records.extend(records);
        self.bytes += bytes;
        self.is_waited_for |= is_waited_for;
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.revoked.is_empty()
    }

    /// Somebody is shut out. As the shards' list this is bounded, and forgets nobody before its time.
    fn shut_out(&mut self, revocation: Revocation) {
        self.revoked.add(revocation, 0);
    }

    /// Whether that is enough for a transaction.
    fn is_enough(&self) -> bool {
        self.records.len() >= TRANSACTION_RECORDS || self.bytes >= TRANSACTION_BYTES
    }

    /// They cannot be written, and nobody waits any longer.
    fn tell_lost(&self, error: &StoreError) {
        error!(records = self.records.len(), "what was acknowledged is lost with the process: {error}");
    }

    /// They are written: there is room again, and who waited for them is told.
    fn tell_written(&mut self) {
        (self.bytes, self.is_waited_for) = (0, false);
        self.revoked = Revoked::default();
        for Share { bytes, records, is_waited_for, progress } in self.of.drain(..) {
            let before = progress.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            progress.written.fetch_add(records, Ordering::Release);
            if is_waited_for || before >= STORAGE_QUEUE_BYTES_MAX {
                progress.bell.ring();
            }
        }
        // What nobody has any more goes here, one by one.
        for record in self.records.drain(..) {
            drop(record);
            pace::step();
        }
    }
}

fn run(disk: &mut Disk, inbox: &Receiver<Job>, tried: &Tried) -> Result<(), StoreError> {
    let (mut gathered, mut wanted) = (Gathered::default(), Vec::new());
    loop {
        let (mut question, is_over) = gather(inbox, &mut gathered, &mut wanted);
        if is_over || write_all(disk, &mut gathered, &mut wanted, &mut question, (inbox, tried)) {
            return write_last(disk.writable(), &gathered);
        }
        wanted.retain(|Wanted { is_wanted, answer }| match disk.writable().read(is_wanted, false) {
            Ok(found) => {
                answer.send(found).ok();
                false
            }
            Err(error) => {
                error!("a shard that begins anew waits until what is on disk can be read: {error}");
                true
            }
        });
        if let Some((asked, asker)) = question {
            disk.ask(asked, asker);
        }
    }
}

/// Writes what is gathered, when nothing more comes.
fn write_last(store: &mut Store, gathered: &Gathered) -> Result<(), StoreError> {
    let Gathered { records, revoked, .. } = gathered;
    let written =
        if gathered.is_cut { store.write(revoked, records) } else { store.write_last(revoked, records) };
    written.inspect_err(|error| gathered.tell_lost(error))?;
    match gathered.is_cut {
        true => info!("all that shards which have ended acknowledged has been written"),
        false => info!("all that was acknowledged has been written"),
    }
    Ok(())
}

/// Gathers what is left within a moment; a question about history that ends it, and whether everybody has gone.
fn gather(
    inbox: &Receiver<Job>,
    gathered: &mut Gathered,
    wanted: &mut Vec<Wanted>,
) -> (Option<(PageAsked, Asker)>, bool) {
    let mut until = (!wanted.is_empty()).then(|| Instant::now() + RETRY);
    while !gathered.is_enough() {
        let job = match inbox.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Disconnected) => return (None, true),
            Err(TryRecvError::Empty) => {
                match until.map(|until| until.saturating_duration_since(Instant::now())) {
                    Some(Duration::ZERO) => return (None, false),
                    // Who cannot wait for the end of that wakes it.
                    Some(left) => {
                        thread::park_timeout(left);
                        continue;
                    }
                    None => match inbox.recv() {
                        Ok(job) => job,
                        Err(_) => return (None, true),
                    },
                }
            }
        };
        match job {
            Job::Write(left) => gathered.add(left),
            Job::ShutOut(revocation) => gathered.shut_out(revocation),
            // What ends a gathering is answered behind what was left before.
            Job::Read(one) => {
                wanted.push(one);
                return (None, false);
            }
            Job::Page(asked, asker) => return (Some((asked, asker)), false),
            Job::Cut => {
                gathered.is_cut = true;
                return (None, true);
            }
        }
        match gathered.is_waited_for {
            true => until = Some(Instant::now()),
            false => _ = until.get_or_insert_with(|| Instant::now() + GATHER),
        }
    }
    (None, false)
}

/// Writes what is gathered, as often as it takes; whether everybody has gone before that, and it is to be written the last time.
/// A question about history waits for one try, and no longer.
fn write_all(
    disk: &mut Disk,
    gathered: &mut Gathered,
    wanted: &mut Vec<Wanted>,
    question: &mut Option<(PageAsked, Asker)>,
    (inbox, tried): (&Receiver<Job>, &Tried),
) -> bool {
    if gathered.is_empty() {
        return false;
    }
    pace::begin();
    let mut failures = 0_u32;
    while let Err(error) = disk.writable().write(&gathered.revoked, &gathered.records) {
        if failures == 0 {
            error!(
                records = gathered.records.len(),
                "nothing can be written, and it is tried again: {error}"
            );
        }
        failures += 1;
        tried.failures.fetch_add(1, Ordering::Relaxed);
        tried.is_failing.store(true, Ordering::Relaxed);
        if let Some((asked, asker)) = question.take() {
            disk.ask(asked, asker);
        }
        if wait_to_retry(disk, gathered, wanted, inbox) {
            return true;
        }
    }
    if failures > 0 {
        info!(failures, "what could not be written has been");
    }
    tried.is_failing.store(false, Ordering::Relaxed);
    tried.commits.fetch_add(1, Ordering::Relaxed);
    gathered.tell_written();
    false
}

/// Takes what is left until it is time to try again, for to try is to read the file anew; whether everybody has gone.
fn wait_to_retry(
    disk: &mut Disk,
    gathered: &mut Gathered,
    wanted: &mut Vec<Wanted>,
    inbox: &Receiver<Job>,
) -> bool {
    let until = Instant::now() + RETRY;
    loop {
        match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Job::Write(left)) => gathered.add(left),
            Ok(Job::ShutOut(revocation)) => gathered.shut_out(revocation),
            Ok(Job::Page(asked, asker)) => disk.ask(asked, asker),
            Ok(Job::Read(one)) => {
                error!("a shard that begins anew waits until what it has left behind can be written");
                wanted.push(one);
            }
            Ok(Job::Cut) => {
                gathered.is_cut = true;
                return true;
            }
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
}
