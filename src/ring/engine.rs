//! The ring itself: operations in, completions out.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::Arc,
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::{
    Abilities, AcceptId, Attendance, Completion, Doorbell, Errno, Lease, RingError, RingErrorKind,
    RingSettings, SendBytes,
    accepts::AddressSlots,
    buffers,
    buffers::BufferRing,
    connects::Targets,
    sends::{SendId, Sends, Sent},
    setup,
    timeouts::Timeouts,
    waiting::settle,
};
use crate::model::ConnectionId;

/// One shard's io_uring with its buffers and registered descriptors. Belongs to the thread that made it.
pub struct Ring {
    pub(super) io: IoUring,
    abilities: Abilities,
    buffers: BufferRing,
    buffers_free: u16,
    addresses: AddressSlots,
    targets: Targets,
    pub(super) sends: Sends,
    pub(super) timeouts: Timeouts,
    pub(super) doorbell: Option<Doorbell>,
    /// Completions taken out of a full queue to let a submission through; reaped first.
    pub(super) spilled: VecDeque<cqueue::Entry>,
    /// Receives wait to be submitted.
    pub(super) has_receives: bool,
    /// Why an entry could not be pushed or submitted: told by the next enter.
    pub(super) failure: Option<RingError>,
    /// Where its thread shows whether it attends to this ring.
    pub(super) attendance: Option<Arc<Attendance>>,
}

/// A connected socket outside the descriptor table, to be put into it: what a client makes with connect(2).
pub type Socket<'a> = BorrowedFd<'a>;

/// The operation a completion belongs to: the top byte of its user data.
///
/// ```text
///   63    56 55                    24 23            0
///   [ kind ][ generation/accept/send ][    index    ]
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Ignored = 0,
    Accept = 1,
    Poll = 2,
    Receive = 3,
    Send = 4,
    Close = 5,
    Connect = 6,
    Shutdown = 7,
    Export = 8,
    Doorbell = 9,
    Timeout = 10,
}

pub(super) fn user_data(kind: Kind, middle: u32, index: u32) -> u64 {
    debug_assert!(index < 1 << 24);
    (kind as u64) << 56 | u64::from(middle) << 24 | u64::from(index)
}

impl Ring {
    /// Makes a ring on this thread.
    pub fn new(settings: RingSettings) -> Result<Self, RingError> {
        let io = setup::build(settings.submission_entries, settings.completion_entries)?;
        let submitter = io.submitter();
        submitter.register_files_sparse(settings.descriptors).map_err(RingErrorKind::Descriptors.at())?;
        let buffers = BufferRing::register(&io, settings.receive_buffers, settings.receive_buffer_bytes)
            .map_err(RingErrorKind::Buffers.at())?;
        Ok(Self {
            abilities: Abilities::of(&io)?,
            io,
            buffers,
            buffers_free: settings.receive_buffers,
            addresses: AddressSlots::new(settings.accepts),
            targets: Targets::new(),
            sends: Sends::default(),
            timeouts: Timeouts::default(),
            doorbell: None,
            spilled: VecDeque::new(),
            has_receives: false,
            failure: None,
            attendance: None,
        })
    }

    /// Lets this bell end a [`Self::wait`], from the next one on.
    pub fn answer(&mut self, doorbell: Doorbell) {
        let entry = listen(&doorbell);
        self.doorbell = Some(doorbell);
        self.push(entry);
    }

    /// Accepts one connection from `listener` into descriptor slot `index`.
    ///
    /// # Panics
    ///
    /// When this `accept` is in flight already, or not below the number the ring was made for.
    pub fn accept(&mut self, accept: AcceptId, listener: &Arc<OwnedFd>, index: u32) {
        let (address, len) = self.addresses.begin(accept, Arc::clone(listener));
        let slot = types::DestinationSlot::try_from_slot_target(index).expect("indices are below 2^24");
        let entry = opcode::Accept::new(types::Fd(listener.as_raw_fd()), address, len)
            .file_index(Some(slot))
            .build()
            .user_data(user_data(Kind::Accept, accept.0, index));
        self.push(entry);
    }

    /// Cancels an accept; its completion still comes.
    pub fn cancel_accept(&mut self, accept: AcceptId, index: u32) {
        self.cancel(user_data(Kind::Accept, accept.0, index));
    }

    /// Connects the adopted socket of a connection to `target`.
    pub fn connect(&mut self, connection: ConnectionId, target: SocketAddr) {
        let place = self.targets.place(target);
        let entry = opcode::Connect::new(types::Fixed(connection.index), place.as_ptr().cast(), place.len())
            .build()
            .user_data(user_data(Kind::Connect, connection.generation, connection.index));
        self.push(entry);
    }

    /// Gives up a connect; its completion still comes.
    pub fn cancel_connect(&mut self, connection: ConnectionId) {
        self.cancel(user_data(Kind::Connect, connection.generation, connection.index));
    }

    /// Arms a connection: [`Completion::Readable`] whenever bytes or an end arrive, until it says `armed: false`.
    pub fn poll(&mut self, connection: ConnectionId) {
        let entry =
            opcode::PollAdd::new(types::Fixed(connection.index), (libc::POLLIN | libc::POLLRDHUP) as u32)
                .multi(true)
                .build()
                .user_data(user_data(Kind::Poll, connection.generation, connection.index));
        self.push(entry);
    }

    /// Disarms a connection; the last `Readable` says `armed: false`.
    ///
    /// `IORING_OP_POLL_REMOVE` would not do: it fails with `EALREADY` when an arrival has woken the poll and has yet to
    /// be reported, and the poll stays. A cancellation reaches it even then.
    pub fn poll_remove(&mut self, connection: ConnectionId) {
        self.cancel(user_data(Kind::Poll, connection.generation, connection.index));
    }

    /// Starts a receive into a provided buffer, without waiting in the kernel; tells whether a buffer was free.
    #[must_use]
    pub fn receive(&mut self, connection: ConnectionId) -> bool {
        if self.buffers_free == 0 {
            return false;
        }
        self.buffers_free -= 1;
        let entry = opcode::Recv::new(types::Fixed(connection.index), std::ptr::null_mut(), 0)
            .buf_group(buffers::GROUP)
            .flags(libc::MSG_DONTWAIT)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(user_data(Kind::Receive, connection.generation, connection.index));
        self.push(entry);
        self.has_receives = true;
        true
    }

    /// Whether no operation in flight points into memory of this ring.
    pub(super) fn holds_nothing(&self) -> bool {
        self.addresses.are_idle() && self.sends.are_none()
    }

    /// Whether a receive can be started.
    pub fn has_receive_buffers(&self) -> bool {
        self.buffers_free > 0
    }

    /// Sends all of `bytes`. What a socket does not take at once waits in the kernel and is sent on as it takes some, so
    /// that [`Self::stalled`] tells a slow peer from one that reads nothing.
    pub fn send(&mut self, index: u32, bytes: SendBytes) -> SendId {
        let send = self.sends.begin(index, bytes);
        self.push_send(send);
        send
    }

    /// Gives up a send that waits for a peer to read; its completion still comes.
    pub fn cancel_send(&mut self, send: SendId, index: u32) {
        if self.sends.give_up(send, index) {
            self.cancel(user_data(Kind::Send, send.slot(), index));
        }
    }

    /// How many sends end with the next enter, unless their sockets are full.
    pub fn sends_at_once_count(&self) -> usize {
        self.sends.at_once_count()
    }

    /// The connections of these sends.
    pub fn sends_at_once(&self) -> impl Iterator<Item = u32> {
        self.sends.at_once()
    }

    /// Ends the sending direction; what the peer still sends can be received.
    ///
    /// The kernel does this on a thread of its own and looks the slot up only there: until it has completed the slot
    /// must not be used again, or it is the next connection that cannot send.
    pub fn shutdown_write(&mut self, index: u32) {
        let entry = opcode::Shutdown::new(types::Fixed(index), libc::SHUT_WR).build().user_data(user_data(
            Kind::Shutdown,
            0,
            index,
        ));
        self.push(entry);
    }

    /// Closes the descriptor in slot `index`. Operations that still hold the socket must be cancelled as well.
    pub fn close(&mut self, index: u32) {
        let entry =
            opcode::Close::new(types::Fixed(index)).build().user_data(user_data(Kind::Close, 0, index));
        self.push(entry);
    }

    /// Fails as a mistake in this module would: so that what follows can be tried.
    pub(crate) fn fail(&mut self) -> ! {
        panic!("told to fail in the ring")
    }

    /// What this ring's kernel can do beyond the necessary.
    pub fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Moves up to `max` completions into `into`, and with the last of them the sends that ended at once.
    pub fn reap(&mut self, into: &mut Vec<Completion>, max: usize) {
        for _ in 0..max {
            let spilled = self.spilled.pop_front();
            let Some(entry) = spilled.or_else(|| self.io.completion().next()) else {
                return self.reap_sends(into);
            };
            if let Some(completion) = self.decode(&entry) {
                into.push(completion);
            }
        }
    }

    /// With no completion left to be read, what has been submitted to be sent at once is known to have been.
    fn reap_sends(&mut self, into: &mut Vec<Completion>) {
        if !self.io.submission().cq_overflow() {
            self.sends.end_at_once(into);
        }
    }

    /// Gives a received buffer back.
    ///
    /// # Panics
    ///
    /// When it was lent by another ring.
    pub fn give_back(&mut self, lease: Lease) {
        self.buffers.give_back(lease);
        self.buffers_free += 1;
    }

    fn decode(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let data = entry.user_data();
        let (kind, middle, index) = ((data >> 56) as u8, (data >> 24) as u32, (data & 0xff_ffff) as u32);
        let connection = ConnectionId { index, generation: middle };
        let result = entry.result();
        let outcome = if result < 0 { Err(Errno(-result)) } else { Ok(result as u32) };
        let more = cqueue::more(entry.flags());
        match kind {
            k if k == Kind::Poll as u8 => {
                let failed = outcome.err().filter(|errno| errno.0 != libc::ECANCELED);
                let ends = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;
                let is_ended = outcome.is_ok_and(|events| events & ends != 0);
                Some(Completion::Readable { connection, armed: more, is_ended, failed })
            }
            k if k == Kind::Receive as u8 => Some(self.received(connection, outcome, entry.flags())),
            k if k == Kind::Send as u8 => self.sent(SendId::of_slot(middle), outcome),
            k if k == Kind::Doorbell as u8 => {
                // Whoever woke looks for what was left; the ring only has to hear the next one too.
                if !more && let Some(entry) = self.doorbell.as_ref().map(listen) {
                    self.push(entry);
                }
                None
            }
            k if k == Kind::Timeout as u8 => {
                self.timeouts.end();
                None
            }
            k if k == Kind::Accept as u8 => {
                let accept = AcceptId(middle);
                let address = self.addresses.end(accept);
                let result = outcome.map(|_| address);
                Some(Completion::Accepted { accept, index, result })
            }
            k if k == Kind::Connect as u8 => {
                Some(Completion::Connected { connection, result: outcome.map(drop) })
            }
            k if k == Kind::Shutdown as u8 => Some(Completion::Shut { index }),
            k if k == Kind::Close as u8 => Some(Completion::Closed { index }),
            k if k == Kind::Export as u8 => Some(Completion::Exported { index, result: outcome.map(owned) }),
            _ => None,
        }
    }

    fn received(&mut self, connection: ConnectionId, outcome: Result<u32, Errno>, flags: u32) -> Completion {
        let buffer = cqueue::buffer_select(flags);
        let result = match (outcome, buffer) {
            (Ok(len), Some(id)) if len > 0 => Ok(Some(self.buffers.lease(id, len as usize))),
            (outcome, unused) => {
                // A receive that brought nothing frees its claim on a buffer, and the buffer if it took one.
                if let Some(id) = unused {
                    self.buffers.take_back(id);
                }
                self.buffers_free += 1;
                outcome.map(|_| None)
            }
        };
        Completion::Received { connection, result, more: cqueue::sock_nonempty(flags) }
    }

    fn sent(&mut self, send: SendId, outcome: Result<u32, Errno>) -> Option<Completion> {
        match self.sends.end(send, outcome) {
            Sent::Rest => {
                self.push_send(send);
                None
            }
            Sent::Ended(completion) => Some(completion),
        }
    }

    fn push_send(&mut self, send: SendId) {
        let (index, rest, is_at_once) = self.sends.rest(send);
        let (mut flags, mut entry_flags) = (libc::MSG_NOSIGNAL, squeue::Flags::empty());
        if is_at_once {
            // With MSG_DONTWAIT the kernel is done with the bytes when the enter returns, and with MSG_WAITALL (since
            // 5.19) less than all counts as a failure: without a completion all has been sent.
            flags |= libc::MSG_DONTWAIT | libc::MSG_WAITALL;
            entry_flags = squeue::Flags::SKIP_SUCCESS;
        }
        let entry = opcode::Send::new(types::Fixed(index), rest.as_ptr(), rest.len() as u32)
            .flags(flags)
            .build()
            .flags(entry_flags)
            .user_data(user_data(Kind::Send, send.slot(), index));
        self.push(entry);
    }

    fn cancel(&mut self, target: u64) {
        let entry = opcode::AsyncCancel::new(target)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Kind::Ignored, 0, 0));
        self.push(entry);
    }

    /// Puts an entry into the submission queue. Where that fails for good, the entry is lost and the next enter says why.
    pub(super) fn push(&mut self, entry: squeue::Entry) {
        /// Tries to make room, of which one is enough unless the kernel lacks memory.
        const TRIES_MAX: usize = 10_000;
        for _ in 0..TRIES_MAX {
            // SAFETY: what the entry points to is owned by `self.sends`, `self.addresses` or `self.buffers` until its
            // completion is reaped, or by `self.timeouts` until it is submitted; descriptors in it are slots, or owned
            // by `self.addresses` or `self.doorbell`.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it to the kernel. Where the kernel refuses because completions wait for room,
            // make room; where it lacks memory, try again.
            let submitted = self.io.submit();
            self.note_submitted();
            if let Err(error) = settle(submitted) {
                self.failure = Some(error);
                return;
            }
            self.spill();
        }
        let full = io::Error::from_raw_os_error(libc::EBUSY);
        self.failure = Some(RingErrorKind::Enter.at()(full));
    }

    /// Takes completions out of a queue whose overflow keeps the kernel from taking more submissions.
    fn spill(&mut self) {
        if self.io.submission().is_full() {
            self.spilled.extend(self.io.completion());
        }
    }
}

/// Watches a bell for as long as the kernel lets a poll live: each ring is a completion, and nothing has to be read.
fn listen(doorbell: &Doorbell) -> squeue::Entry {
    opcode::PollAdd::new(types::Fd(doorbell.for_ring()), libc::POLLIN as u32)
        .multi(true)
        .build()
        .user_data(user_data(Kind::Doorbell, 0, 0))
}

/// The descriptor an export has made.
fn owned(exported: u32) -> OwnedFd {
    // SAFETY: the kernel has just put it into the process's table for this completion, which is decoded once; nobody
    // else knows of it.
    unsafe { OwnedFd::from_raw_fd(exported as i32) }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.end_attendance();
        // Operations in flight point into memory this value owns. Closing the ring cancels them asynchronously, so
        // that memory is leaked rather than freed under the kernel's hands.
        if !self.addresses.are_idle() {
            self.addresses.leak();
        }
        // Descriptors that were made for this ring and not asked for would stay open for good.
        for entry in self.spilled.drain(..).chain(self.io.completion()) {
            if (entry.user_data() >> 56) as u8 == Kind::Export as u8 && entry.result() >= 0 {
                drop(owned(entry.result() as u32));
            }
        }
        self.sends.leak();
    }
}
