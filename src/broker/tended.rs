//! A connection to Redis that is tended: made, read, written, and made anew a while after it has failed. What is said over it is
//! a [`Speaker`]'s, sans-io.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use async_channel::{Receiver, Sender, bounded};
use async_io::Timer;
use futures_lite::{
    AsyncReadExt, AsyncWriteExt,
    future::{or, race, yield_now},
    io::{ReadHalf, WriteHalf, split},
};
use tracing::{info, warn};

use super::{address::Address, fault::Fault, outbox::Complaint};
use crate::{
    backend::{Connector, Identity, StartError, Stream},
    limits::{BROKER_NEWS_MAX, BROKER_RETRY_MS, BROKER_SILENCE_MS},
};

/// What is said over a connection and heard of it. Time is in milliseconds of one clock.
pub(super) trait Speaker {
    /// There is a new connection.
    fn handle_connected(&mut self, now_ms: u64);
    /// Bytes have come.
    fn handle_bytes(&mut self, now_ms: u64, bytes: &[u8]) -> Result<(), Fault>;
    /// The connection is lost, or of no use.
    fn handle_down(&mut self, fault: &Fault);
    /// Time has passed.
    fn handle_time(&mut self, now_ms: u64) -> Result<(), Fault>;
    /// What is to be written, if there is anything.
    fn poll_output(&mut self) -> Option<Vec<u8>>;
    /// How much is to be told that has not been.
    fn news_count(&self) -> usize;
    /// What has been said against something that was asked, since this was last looked at.
    fn take_complaint(&mut self) -> Option<Complaint>;
    /// Whether it can be asked.
    fn is_up(&self) -> bool;
    /// Whether time matters to what is on its way.
    fn is_waiting(&self) -> bool;
}

/// What has been said of a server in the log, for all who speak with it: each cause once.
pub(super) struct Journal {
    /// What it is to us, in words.
    what: &'static str,
    address: Address,
    /// Others tell all else.
    tells_refusals_only: bool,
    /// Why it has been away since it was last there; empty while it is there.
    causes: RefCell<Vec<&'static str>>,
    /// What it last refused, and when that was said.
    complaint: RefCell<Option<(Box<str>, Instant)>>,
}

/// One who speaks, and who is to look when that has changed.
pub(super) struct Tended<S> {
    pub(super) speaker: RefCell<S>,
    journal: Rc<Journal>,
    started: Instant,
    /// There may be something to write.
    written: (Sender<()>, Receiver<()>),
    /// There may be something to tell.
    told: (Sender<()>, Receiver<()>),
    /// Something has been told, for whoever reads.
    drained: (Sender<()>, Receiver<()>),
    /// Time has found a fault.
    failed: (Sender<Fault>, Receiver<Fault>),
}

/// How often the same refusal is said.
const COMPLAINT_EACH: Duration = Duration::from_secs(60);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

impl<S: Speaker> Tended<S> {
    pub(super) fn new(speaker: S, journal: Rc<Journal>) -> Self {
        Self {
            speaker: RefCell::new(speaker),
            journal,
            started: Instant::now(),
            written: bounded(1),
            told: bounded(1),
            drained: bounded(1),
            failed: bounded(1),
        }
    }

    /// Connects whenever there is no connection, and lets time pass. It does not end.
    pub(super) async fn speak_on(&self, connector: &Connector) {
        or(self.pass_time(), self.connect(connector)).await;
    }

    /// Waits until there may be something to tell.
    pub(super) async fn has_news(&self) {
        // Both ends live as long as this does.
        self.told.1.recv().await.ok();
    }

    /// What there was has been told.
    pub(super) fn note_told(&self) {
        self.drained.0.try_send(()).ok();
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Whoever speaks has changed.
    pub(super) fn notify(&self) {
        self.written.0.try_send(()).ok();
        if self.speaker.borrow().news_count() > 0 {
            self.told.0.try_send(()).ok();
        }
    }

    async fn pass_time(&self) {
        loop {
            let wait_ms = if self.speaker.borrow().is_waiting() { 50 } else { 500 };
            Timer::after(Duration::from_millis(wait_ms)).await;
            let passed = self.speaker.borrow_mut().handle_time(self.now_ms());
            if let Err(fault) = passed {
                self.failed.0.try_send(fault).ok();
            }
            self.notify();
        }
    }

    /// Connects, and again whenever that has failed.
    async fn connect(&self, connector: &Connector) {
        let mut wait_ms = BROKER_RETRY_MS.0;
        loop {
            let fault = self.speak(connector).await;
            if self.speaker.borrow().is_up() {
                wait_ms = BROKER_RETRY_MS.0;
            }
            self.speaker.borrow_mut().handle_down(&fault);
            self.notify();
            self.journal.note_away(&fault);
            Timer::after(Duration::from_millis(fastrand::u64(wait_ms / 2..=wait_ms))).await;
            wait_ms = (wait_ms * 2).min(BROKER_RETRY_MS.1);
        }
    }

    /// Speaks over a connection, until a fault.
    async fn speak(&self, connector: &Connector) -> Fault {
        let stream = race(connector.connect(&self.journal.address.origin), async {
            Timer::after(Duration::from_millis(BROKER_SILENCE_MS)).await;
            Err(io::ErrorKind::TimedOut.into())
        });
        let (reading, writing) = match stream.await {
            Ok(stream) => split(stream),
            Err(error) => return Fault::Connect(error),
        };
        // What failed before has nothing to do with this one.
        self.failed.1.try_recv().ok();
        self.speaker.borrow_mut().handle_connected(self.now_ms());
        self.notify();
        let failing = async { self.failed.1.recv().await.unwrap_or(Fault::Closed(None)) };
        or(failing, race(self.read(reading), self.write(writing))).await
    }

    async fn read(&self, mut stream: ReadHalf<Box<dyn Stream>>) -> Fault {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let count = match stream.read(&mut bytes).await {
                Ok(0) => return Fault::Closed(None),
                Ok(count) => count,
                Err(error) => return Fault::Closed(Some(error)),
            };
            let result = self.speaker.borrow_mut().handle_bytes(self.now_ms(), &bytes[..count]);
            self.notify();
            if let Err(fault) = result {
                return fault;
            }
            if self.speaker.borrow().is_up() {
                self.journal.note_there();
            }
            let complaint = self.speaker.borrow_mut().take_complaint();
            if let Some(complaint) = complaint {
                self.journal.note_complaint(complaint.0);
            }
            // A shard that does not keep up is not told more: the broker waits, and gives up in time.
            while self.speaker.borrow().news_count() > BROKER_NEWS_MAX {
                self.drained.1.recv().await.ok();
            }
            // Where bytes are always there, nobody else on this thread would have a turn.
            yield_now().await;
        }
    }

    async fn write(&self, mut stream: WriteHalf<Box<dyn Stream>>) -> Fault {
        loop {
            if self.written.1.recv().await.is_err() {
                return Fault::Closed(None);
            }
            loop {
                let output = self.speaker.borrow_mut().poll_output();
                let Some(output) = output else { break };
                let written = async {
                    stream.write_all(&output).await?;
                    stream.flush().await
                };
                if let Err(error) = written.await {
                    return Fault::Closed(Some(error));
                }
            }
        }
    }
}

impl Journal {
    pub(super) fn new(what: &'static str, address: Address) -> Self {
        let causes = RefCell::new(vec!["start"]);
        Self { what, address, tells_refusals_only: false, causes, complaint: RefCell::default() }
    }

    /// One that tells of nothing but what the server refuses.
    pub(super) fn of_refusals(what: &'static str, address: Address) -> Self {
        Self { tells_refusals_only: true, causes: RefCell::default(), ..Self::new(what, address) }
    }

    fn note_away(&self, fault: &Fault) {
        if self.tells_refusals_only && !matches!(fault, Fault::Refused(_)) {
            return;
        }
        let mut causes = self.causes.borrow_mut();
        if !causes.contains(&fault.label()) {
            causes.push(fault.label());
            warn!(cause = fault.label(), broker = %self.address, "{} is away: {fault}", self.what);
        }
    }

    fn note_there(&self) {
        if !std::mem::take(&mut *self.causes.borrow_mut()).is_empty() {
            info!(broker = %self.address, "{} is there", self.what);
        }
    }

    fn note_complaint(&self, complaint: Box<str>) {
        let mut last = self.complaint.borrow_mut();
        let is_said = |(text, at): &(Box<str>, Instant)| *text == complaint && at.elapsed() < COMPLAINT_EACH;
        if !last.as_ref().is_some_and(is_said) {
            warn!(broker = %self.address, "{} refuses what it is asked: {complaint}", self.what);
            *last = Some((complaint, Instant::now()));
        }
    }
}

/// What connects to Redis: it believes these authorities, and shows this certificate, whose key is the other file.
pub(super) fn connector(
    ca_file: &str,
    identity: Option<&[String; 2]>,
    is_tls: bool,
) -> Result<Connector, StartError> {
    let identity = identity.map(|[certificate, key]| Identity {
        certificate: ("broker.cert_file", certificate.into()),
        key: ("broker.key_file", key.into()),
    });
    Connector::with_identity("broker.ca_file", ca_file, is_tls, identity.as_ref())
}
