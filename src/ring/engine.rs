//! The ring itself: operations in, completions out.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    num::NonZeroU32,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::{
    Abilities, AcceptId, Completion, Doorbell, Errno, Lease, RingError, RingErrorKind, RingSettings,
    SendBytes, accepts::AddressSlots, buffers, buffers::BufferRing, connects::Targets, setup,
};
use crate::model::ConnectionId;

/// One shard's io_uring with its buffers and registered descriptors. Belongs to the thread that made it.
pub struct Ring {
    io: IoUring,
    abilities: Abilities,
    buffers: BufferRing,
    buffers_free: u16,
    addresses: AddressSlots,
    targets: Targets,
    sending: Vec<Sending>,
    sending_free: u32,
    doorbell: Doorbell,
    /// Completions taken out of a full queue to let a submission through; reaped first.
    spilled: VecDeque<cqueue::Entry>,
}

/// A send in flight, for [`Ring::cancel_send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendId(NonZeroU32);

impl SendId {
    fn of_slot(slot: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(slot))
    }

    fn slot(self) -> u32 {
        self.0.get() - 1
    }
}

/// A connected socket outside the descriptor table, to be put into it: what a client makes with connect(2).
pub type Socket<'a> = BorrowedFd<'a>;

/// A send in flight, or a free place in a list of such.
enum Sending {
    InFlight { index: u32, offset: u32, is_given_up: bool, bytes: SendBytes },
    Free { next: u32 },
}

const NONE: u32 = u32::MAX;

/// The operation a completion belongs to: the top byte of its user data.
///
/// ```text
///   63    56 55                    24 23            0
///   [ kind ][ generation/accept/send ][    index    ]
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Ignored = 0,
    Accept = 1,
    Poll = 2,
    Receive = 3,
    Send = 4,
    Close = 5,
    Connect = 6,
    Shutdown = 7,
    Export = 8,
}

fn user_data(kind: Kind, middle: u32, index: u32) -> u64 {
    debug_assert!(index < 1 << 24);
    (kind as u64) << 56 | u64::from(middle) << 24 | u64::from(index)
}

impl Ring {
    /// Makes a ring on this thread.
    pub fn new(settings: RingSettings, doorbell: Doorbell) -> Result<Self, RingError> {
        let io = setup::build(settings.submission_entries, settings.completion_entries)?;
        let submitter = io.submitter();
        submitter.register_files_sparse(settings.descriptors).map_err(RingErrorKind::Descriptors.at())?;
        submitter.register_eventfd(doorbell.raw()).map_err(RingErrorKind::Doorbell.at())?;
        let buffers = BufferRing::register(&io, settings.receive_buffers, settings.receive_buffer_bytes)
            .map_err(RingErrorKind::Buffers.at())?;
        let mut ring = Self {
            abilities: Abilities::of(&io)?,
            io,
            buffers,
            buffers_free: settings.receive_buffers,
            addresses: AddressSlots::new(settings.accepts),
            targets: Targets::new(),
            sending: Vec::new(),
            sending_free: NONE,
            doorbell,
            spilled: VecDeque::new(),
        };
        ring.io.completion().disable_eventfd();
        Ok(ring)
    }

    /// Accepts one connection from `listener` into descriptor slot `index`. An `accept` is in flight once at a time
    /// and below the number the ring was made for.
    pub fn accept(&mut self, accept: AcceptId, listener: BorrowedFd<'_>, index: u32) {
        let (address, len) = self.addresses.prepare(accept);
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
        true
    }

    /// Sends all of `bytes`; a socket that takes less is waited for in the kernel (`MSG_WAITALL`, since 5.19).
    pub fn send(&mut self, index: u32, bytes: SendBytes) -> SendId {
        let slot = self.keep(Sending::InFlight { index, offset: 0, is_given_up: false, bytes });
        self.push_send(slot);
        SendId::of_slot(slot)
    }

    /// Gives up a send that waits for a peer to read; its completion still comes.
    pub fn cancel_send(&mut self, send: SendId, index: u32) {
        if let Sending::InFlight { is_given_up, .. } = &mut self.sending[send.slot() as usize] {
            *is_given_up = true;
            self.cancel(user_data(Kind::Send, send.slot(), index));
        }
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

    /// Makes an ordinary descriptor of the process for the socket in slot `index`, which stays there as well.
    pub fn export(&mut self, index: u32) {
        // No flags: the descriptor is close-on-exec.
        let entry = opcode::FixedFdInstall::new(types::Fixed(index), 0).build().user_data(user_data(
            Kind::Export,
            0,
            index,
        ));
        self.push(entry);
    }

    /// What this ring's kernel can do beyond the necessary.
    pub fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Puts a socket made elsewhere into slot `index`; the caller's descriptor may be closed afterwards.
    pub fn adopt(&mut self, index: u32, socket: Socket<'_>) -> io::Result<()> {
        self.io.submitter().register_files_update(index, &[socket.as_raw_fd()]).map(drop)
    }

    /// Submits what was pushed and runs what the kernel has finished. `expect` is how many completions are likely:
    /// the kernel runs at most 20 or that many deferred completions in one call. Never sleeps.
    pub fn enter(&mut self, expect: usize) -> Result<(), RingError> {
        let (unsubmitted, pending) = {
            let queue = self.io.submission();
            (queue.len(), queue.taskrun() || queue.cq_overflow())
        };
        if unsubmitted == 0 && !pending {
            return Ok(());
        }
        let result = if expect > 20 {
            let at_once = types::Timespec::new();
            let args = types::SubmitArgs::new().timespec(&at_once);
            self.io.submitter().submit_with_args(expect, &args)
        } else {
            self.enter_plain(unsubmitted as u32)
        };
        settle(result)
    }

    /// Submits what was pushed and sleeps until a completion has come or `timeout` has passed: for a thread that has
    /// nothing but this ring to wait for. A shard sleeps on its doorbell instead.
    pub fn wait(&mut self, timeout: Duration) -> Result<(), RingError> {
        if !self.spilled.is_empty() || !self.io.completion().is_empty() {
            return self.enter(0);
        }
        let timeout = types::Timespec::from(timeout);
        let args = types::SubmitArgs::new().timespec(&timeout);
        settle(self.io.submitter().submit_with_args(1, &args))
    }

    fn enter_plain(&self, unsubmitted: u32) -> io::Result<usize> {
        /// `IORING_ENTER_GETEVENTS`: without it deferred completions would not run.
        const GETEVENTS: u32 = 1;
        // SAFETY: every entry in the queue was pushed by this module, which owns what they point to.
        unsafe { self.io.submitter().enter::<libc::sigset_t>(unsubmitted, 0, GETEVENTS, None) }
    }

    /// Moves up to `max` completions into `into`.
    pub fn reap(&mut self, into: &mut Vec<Completion>, max: usize) {
        for _ in 0..max {
            let entry = match self.spilled.pop_front() {
                Some(entry) => entry,
                None => match self.io.completion().next() {
                    Some(entry) => entry,
                    None => break,
                },
            };
            if let Some(completion) = self.decode(&entry) {
                into.push(completion);
            }
        }
    }

    /// Gives a received buffer back.
    pub fn give_back(&mut self, lease: Lease) {
        self.buffers.give_back(lease.id);
        self.buffers_free += 1;
    }

    /// Asks the ring to ring the doorbell from now on; tells whether the thread may sleep: nothing is waiting to be
    /// submitted or reaped.
    pub fn prepare_sleep(&mut self) -> bool {
        self.io.completion().enable_eventfd();
        // Completions posted before the flag was seen do not ring: look once more after it is visible.
        fence(Ordering::SeqCst);
        let idle = {
            let queue = self.io.submission();
            queue.is_empty() && !queue.taskrun() && !queue.cq_overflow()
        };
        let idle = idle && self.io.completion().is_empty() && self.spilled.is_empty();
        if !idle {
            self.finish_sleep();
        }
        idle
    }

    /// Tells the ring that the thread is awake and looks by itself.
    pub fn finish_sleep(&mut self) {
        self.io.completion().disable_eventfd();
    }

    /// The bell this ring rings.
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbell
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
            k if k == Kind::Send as u8 => self.sent(middle, outcome),
            k if k == Kind::Accept as u8 => {
                let accept = AcceptId(middle);
                let result = outcome.map(|_| self.peer_address(accept));
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
                    self.buffers.give_back(id);
                }
                self.buffers_free += 1;
                outcome.map(|_| None)
            }
        };
        Completion::Received { connection, result, more: cqueue::sock_nonempty(flags) }
    }

    fn sent(&mut self, slot: u32, outcome: Result<u32, Errno>) -> Option<Completion> {
        let Sending::InFlight { offset, bytes, is_given_up, .. } = &mut self.sending[slot as usize] else {
            unreachable!("a send completes once")
        };
        if let Ok(taken) = outcome {
            *offset += taken;
            if taken > 0 && (*offset as usize) < bytes.len() && !*is_given_up {
                self.push_send(slot);
                return None;
            }
        }
        let freed = Sending::Free { next: self.sending_free };
        self.sending_free = slot;
        match std::mem::replace(&mut self.sending[slot as usize], freed) {
            Sending::InFlight { index, offset, bytes, .. } => {
                Some(Completion::Sent { index, result: outcome.map(|_| offset), bytes })
            }
            Sending::Free { .. } => unreachable!("matched above"),
        }
    }

    fn peer_address(&self, accept: AcceptId) -> Option<SocketAddr> {
        self.addresses.address(accept)
    }

    fn keep(&mut self, sending: Sending) -> u32 {
        if self.sending_free == NONE {
            self.sending.push(sending);
            return self.sending.len() as u32 - 1;
        }
        let slot = self.sending_free;
        match std::mem::replace(&mut self.sending[slot as usize], sending) {
            Sending::Free { next } => self.sending_free = next,
            Sending::InFlight { .. } => unreachable!("the free list holds free places only"),
        }
        slot
    }

    fn push_send(&mut self, slot: u32) {
        let Sending::InFlight { index, offset, bytes, .. } = &self.sending[slot as usize] else {
            unreachable!("only sends in flight are pushed")
        };
        let rest = &bytes.as_slice()[*offset as usize..];
        let entry = opcode::Send::new(types::Fixed(*index), rest.as_ptr(), rest.len() as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .user_data(user_data(Kind::Send, slot, *index));
        self.push(entry);
    }

    fn cancel(&mut self, target: u64) {
        let entry = opcode::AsyncCancel::new(target)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Kind::Ignored, 0, 0));
        self.push(entry);
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: what the entry points to is owned by `self.sending`, `self.addresses` or `self.buffers` until
            // its completion is reaped; descriptors in it are slots or borrowed for the ring's life.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it to the kernel. Where the kernel refuses because completions wait for room,
            // make room; where it lacks memory, try again.
            if self.io.submit().is_err() {
                self.spilled.extend(self.io.completion());
            }
        }
    }
}

/// The descriptor an export has made.
fn owned(exported: u32) -> OwnedFd {
    // SAFETY: the kernel has just put it into the process's table for this completion, which is decoded once; nobody
    // else knows of it.
    unsafe { OwnedFd::from_raw_fd(exported as i32) }
}

/// What an enter came to. `EBUSY`: the completion queue is full; reaping makes room. `ETIME`: nothing more was ready.
fn settle(result: io::Result<usize>) -> Result<(), RingError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
            _ => Err(RingErrorKind::Enter.at()(error)),
        },
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Operations in flight point into memory this value owns. Closing the ring cancels them asynchronously, so
        // that memory is leaked rather than freed under the kernel's hands.
        self.addresses.leak();
        // Descriptors that were made for this ring and not asked for would stay open for good.
        for entry in self.spilled.drain(..).chain(self.io.completion()) {
            if (entry.user_data() >> 56) as u8 == Kind::Export as u8 && entry.result() >= 0 {
                drop(owned(entry.result() as u32));
            }
        }
        for sending in self.sending.drain(..) {
            if let Sending::InFlight { bytes, .. } = sending {
                std::mem::forget(bytes);
            }
        }
    }
}
