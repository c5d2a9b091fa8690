//! Whether a ring's thread attends to it, and what is done about one that never comes back from the application.
//!
//! Only the thread that made a ring may enter it (`IORING_SETUP_SINGLE_ISSUER`), and the sockets of its clients are in the
//! ring's table alone. So nobody else can close them while that thread loops or waits in a call of the application. But the
//! thread itself can be interrupted there: a signal's handler runs on it, and does with system calls alone what it would
//! have to do.
//!
//! ```text
//!   the thread                               the supervisor
//!   HERE ──leave──► AWAY ◄──────────────────── dismiss: AWAY ─► DISMISSED, and a signal
//!     ▲               │                           │
//!     └──come back────┘                           ▼
//!        `false` if DISMISSED        on the thread: cancel everything, close every socket
//! ```
//!
//! Invariant: the handler touches a ring only while its thread is in the application and will be told so when it comes back.
//! Whoever it interrupts is never half through a change of the ring.

use std::{
    cell::Cell,
    os::fd::{AsRawFd, RawFd},
    ptr::NonNull,
    sync::{
        Arc, Once,
        atomic::{AtomicI32, AtomicU8, Ordering, compiler_fence},
    },
};

use io_uring::types::Timespec;

use super::Ring;

/// Where the thread of a ring is.
#[derive(Debug, Default)]
pub struct Attendance {
    state: AtomicU8,
    thread: AtomicI32,
}

/// The thread is somewhere in the server.
const HERE: u8 = 0;
/// It is in a call of the application.
const AWAY: u8 = 1;
/// It was away too long: its sockets are closed, and its ring is not to be used.
const DISMISSED: u8 = 2;

/// A ring that its thread attends to, for the signal's handler.
#[derive(Clone, Copy)]
struct Attended {
    ring: RawFd,
    slots: u32,
    /// The ring keeps what it points to.
    attendance: NonNull<Attendance>,
}

thread_local! {
    // Made with the thread and never dropped, so a signal's handler may look.
    static ATTENDED: Cell<Option<Attended>> = const { Cell::new(None) };
}

/// Its default is to be ignored (signal(7)): one that comes to a thread without a ring does nothing, whatever else the
/// program does with it.
const SIGNAL: i32 = libc::SIGURG;

impl Attendance {
    /// The thread goes into the application; tells whether it was here.
    pub fn leave(&self) -> bool {
        let was_here = self.state.load(Ordering::Relaxed) == HERE;
        if was_here {
            self.state.store(AWAY, Ordering::Release);
        }
        was_here
    }

    /// The thread comes back; tells whether it may go on with its ring.
    #[must_use]
    pub fn come_back(&self) -> bool {
        let is_in_time =
            self.state.compare_exchange(AWAY, HERE, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !is_in_time {
            // A signal that is still on its way finds nothing to do.
            ATTENDED.set(None);
            compiler_fence(Ordering::SeqCst);
        }
        is_in_time
    }

    /// Whether the sockets have been closed, and the ring is of no use any more.
    pub fn is_dismissed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == DISMISSED
    }

    /// Closes every socket of a ring whose thread is in the application; tells whether it was. That thread will not be let
    /// go on with the ring.
    pub fn dismiss(&self) -> bool {
        let is_away =
            self.state.compare_exchange(AWAY, DISMISSED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_away {
            // SAFETY: no pointers are passed. A thread that has come back and ended meanwhile is not found, or another one
            // that has no ring or whose ring is not dismissed.
            unsafe {
                libc::syscall(libc::SYS_tgkill, libc::getpid(), self.thread.load(Ordering::Relaxed), SIGNAL)
            };
        }
        is_away
    }
}

impl Ring {
    /// From now on this thread shows there whether it attends to this ring.
    pub fn attend(&mut self, attendance: Arc<Attendance>, slots: u32) {
        listen();
        // SAFETY: gettid takes nothing and cannot fail.
        attendance.thread.store(unsafe { libc::gettid() }, Ordering::Relaxed);
        attendance.state.store(HERE, Ordering::Relaxed);
        ATTENDED.set(Some(Attended {
            ring: self.io.as_raw_fd(),
            slots,
            attendance: NonNull::from(&*attendance),
        }));
        self.attendance = Some(attendance);
    }

    /// Nobody closes this ring's sockets from now on.
    pub(super) fn end_attendance(&mut self) {
        if self.attendance.is_some() {
            ATTENDED.set(None);
        }
    }
}

/// Has the signal heard, once per process.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the action looks at a value of its thread that was made with it, and makes system calls.
        let listening = unsafe { signal_hook::low_level::register(SIGNAL, interrupted) };
        if let Err(error) = listening {
            tracing::warn!("clients of a shard that hangs will not be taken off it: {error}");
        }
    });
}

/// Runs on a thread that has been interrupted.
fn interrupted() {
    let Some(Attended { ring, slots, attendance }) = ATTENDED.get() else { return };
    // SAFETY: the ring keeps it alive until it has taken the pointer back, on this thread.
    let state = unsafe { &attendance.as_ref().state };
    if state.load(Ordering::Acquire) == DISMISSED {
        ATTENDED.set(None);
        close_all(ring, slots);
    }
}

/// Cancels all that is in flight, which holds the sockets as well as the table does, and empties the table.
fn close_all(ring: RawFd, slots: u32) {
    // SAFETY: the descriptor is a ring of this thread, which is not within a call about it; `everything` is what the kernel
    // expects there, and lives throughout. The place of the thread's last error is its own again afterwards.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let mut everything = SyncCancel::EVERYTHING;
        register(ring, REGISTER_SYNC_CANCEL, (&raw mut everything).cast(), 1);
        // What was cancelled ends when its thread enters, some at a time.
        for _ in 0..slots / ENDED_AT_ONCE + ENTERS_MORE {
            libc::syscall(
                libc::SYS_io_uring_enter,
                ring,
                0,
                0,
                ENTER_GETEVENTS,
                std::ptr::null::<u8>(),
                0usize,
            );
        }
        register(ring, UNREGISTER_FILES, std::ptr::null_mut(), 0);
        *errno = before;
    }
}

/// Operations that the kernel ends in one enter, at least.
const ENDED_AT_ONCE: u32 = 16;
const ENTERS_MORE: u32 = 64;

// include/uapi/linux/io_uring.h
const REGISTER_SYNC_CANCEL: u32 = 24;
const UNREGISTER_FILES: u32 = 3;
const ENTER_GETEVENTS: u32 = 1;
const CANCEL_ALL: u32 = 1;
const CANCEL_ANY: u32 = 4;

/// `struct io_uring_sync_cancel_reg`.
#[repr(C)]
struct SyncCancel {
    address: u64,
    descriptor: i32,
    flags: u32,
    timeout: Timespec,
    opcode: u8,
    padding: [u8; 7],
    more_padding: [u64; 3],
}

const _: () = assert!(size_of::<SyncCancel>() == 64);

impl SyncCancel {
    /// Whatever there is; what cannot be cancelled at once is waited for a moment.
    const EVERYTHING: Self = Self {
        address: 0,
        descriptor: -1,
        flags: CANCEL_ALL | CANCEL_ANY,
        timeout: Timespec::new().nsec(100_000_000),
        opcode: 0,
        padding: [0; 7],
        more_padding: [0; 3],
    };
}

/// # Safety
///
/// As io_uring_register(2) demands.
unsafe fn register(ring: RawFd, operation: u32, argument: *mut libc::c_void, count: u32) {
    // SAFETY: whoever calls sees to it.
    unsafe { libc::syscall(libc::SYS_io_uring_register, ring, operation, argument, count) };
}
