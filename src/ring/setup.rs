//! Making a ring, and saying why one cannot be made.

use std::{fmt, io};

use io_uring::{IoUring, Probe, opcode};

/// How large a ring is.
#[derive(Clone, Copy, Debug)]
pub struct RingSettings {
    /// Entries of the submission queue.
    pub submission_entries: u32,
    /// Entries of the completion queue.
    pub completion_entries: u32,
    /// Slots of the registered descriptor table; at most `RLIMIT_NOFILE`.
    pub descriptors: u32,
    /// Accepts that can be in flight.
    pub accepts: u32,
    /// Provided receive buffers, a power of two.
    pub receive_buffers: u16,
    /// Bytes of one receive buffer.
    pub receive_buffer_bytes: u32,
}

/// Why there is no ring.
#[derive(Debug)]
pub struct RingError {
    /// The step that failed.
    pub kind: RingErrorKind,
    /// What the kernel said.
    pub source: io::Error,
}

/// The step of making a ring that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingErrorKind {
    /// io_uring_setup(2) itself: `ENOSYS` without io_uring in the kernel, `EPERM` when seccomp or
    /// `kernel.io_uring_disabled` forbids it, `EINVAL` when the kernel is older than 6.1.
    Setup,
    /// The kernel lacks an operation this engine needs; named in the source.
    Operation,
    /// Registering the descriptor table; `EMFILE` when it is larger than `RLIMIT_NOFILE`.
    Descriptors,
    /// Registering the receive buffers.
    Buffers,
    /// Registering the eventfd.
    Doorbell,
    /// io_uring_enter(2) failed in a way no retry mends.
    Enter,
}

impl RingErrorKind {
    /// Makes an error of this kind.
    pub(super) fn at(self) -> impl FnOnce(io::Error) -> RingError {
        move |source| RingError { kind: self, source }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.kind {
            RingErrorKind::Setup => "setting up io_uring",
            RingErrorKind::Operation => "probing io_uring's operations",
            RingErrorKind::Descriptors => "registering the descriptor table",
            RingErrorKind::Buffers => "registering the receive buffers",
            RingErrorKind::Doorbell => "registering the eventfd",
            RingErrorKind::Enter => "io_uring_enter",
        };
        write!(f, "{step}: {}", self.source)
    }
}

impl std::error::Error for RingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What a kernel may or may not be able to do, and the engine does without if need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// A registered descriptor can become an ordinary one ([`super::Ring::export`]): `IORING_OP_FIXED_FD_INSTALL`,
    /// since 6.8.
    pub exports: bool,
}

/// Tries whether this kernel and this process's confinement allow the engine, with a ring of the smallest size.
pub fn probe() -> Result<Abilities, RingError> {
    let io = build(8, 16)?;
    let probe = operations(&io)?;
    let needed = [
        (opcode::Accept::CODE, "accept"),
        (opcode::PollAdd::CODE, "poll"),
        (opcode::Recv::CODE, "recv"),
        (opcode::Send::CODE, "send"),
        (opcode::Shutdown::CODE, "shutdown"),
        (opcode::Close::CODE, "close"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(RingErrorKind::Operation.at()(io::Error::other(*name))),
        None => Ok(Abilities::told_by(&probe)),
    }
}

impl Abilities {
    /// What the kernel that made this ring can do.
    pub(super) fn of(io: &IoUring) -> Result<Self, RingError> {
        operations(io).map(|probe| Self::told_by(&probe))
    }

    fn told_by(probe: &Probe) -> Self {
        Self { exports: probe.is_supported(opcode::FixedFdInstall::CODE) }
    }
}

fn operations(io: &IoUring) -> Result<Probe, RingError> {
    let mut probe = Probe::new();
    io.submitter().register_probe(&mut probe).map_err(RingErrorKind::Operation.at())?;
    Ok(probe)
}

/// Sets up a ring whose completions run only when this thread asks for them (`DEFER_TASKRUN`, since 6.1), so that a
/// turn's work comes in batches and never interrupts the thread.
pub(super) fn build(submission_entries: u32, completion_entries: u32) -> Result<IoUring, RingError> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(completion_entries)
        .build(submission_entries)
        .map_err(RingErrorKind::Setup.at())
}
