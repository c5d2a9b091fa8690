//! Whether the kernel gives what the rings need, and if not, why and what to do. What they need is known to
//! [`crate::ring::probe`]; here its answer is put into words.

use std::{fmt, fs};

use crate::ring::{self, Abilities, RingError, RingErrorKind};

/// The kernel does not give what the rings need.
#[derive(Debug)]
pub struct RingRefusal {
    /// Why.
    pub cause: RingCause,
    /// Which step failed, and what the kernel said.
    pub error: RingError,
}

/// Why the kernel does not give what the rings need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingCause {
    /// It is too old; its release.
    KernelTooOld(String),
    /// It was built without io_uring, or a sandbox hides it.
    Absent,
    /// `kernel.io_uring_disabled` is 2: nobody may.
    DisabledForAll,
    /// `kernel.io_uring_disabled` is 1: only root and one group may.
    DisabledForMost,
    /// A seccomp profile or a security module forbids it.
    Forbidden,
    /// There is not enough memory that may be locked, or none at all.
    OutOfMemory,
    /// The table of descriptors is larger than the open-files limit allows.
    TooFewFiles,
    /// Something else; see the error.
    Unknown,
}

/// The first kernel with everything the ring cannot do without: `IORING_SETUP_DEFER_TASKRUN`.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// What is said at the start of several shards without [`Abilities::exports`].
pub(super) const NO_EXPORTS: &str = "this kernel cannot hand a connection over from shard to shard, which Linux 6.8 or later can: a request that \
     another shard has to answer is answered 503; boot a newer kernel, or run one shard (--shards 1)";

/// Asks the ring, and explains its refusal.
pub(super) fn check() -> Result<Abilities, RingRefusal> {
    ring::probe().map_err(explain)
}

/// Finds out why the ring was refused.
pub(super) fn explain(error: RingError) -> RingRefusal {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let disabled = read("/proc/sys/kernel/io_uring_disabled");
    let release = read("/proc/sys/kernel/osrelease");
    let errno = match error.kind {
        // An operation the kernel does not know has no error number of its own.
        RingErrorKind::Operation => error.source.raw_os_error().or(Some(libc::EOPNOTSUPP)),
        RingErrorKind::Setup
        | RingErrorKind::Descriptors
        | RingErrorKind::Buffers
        | RingErrorKind::Doorbell
        | RingErrorKind::Enter => error.source.raw_os_error(),
    };
    RingRefusal { cause: diagnose(errno, &disabled, &release), error }
}

/// The sysctl decides before the kernel's age does: an old kernel that has it tells the truth about it.
fn diagnose(errno: Option<i32>, disabled: &str, release: &str) -> RingCause {
    match (errno, disabled) {
        (Some(libc::EPERM | libc::EACCES), "2") => RingCause::DisabledForAll,
        (Some(libc::EPERM | libc::EACCES), "1") => RingCause::DisabledForMost,
        (Some(libc::EPERM | libc::EACCES), _) => RingCause::Forbidden,
        (Some(libc::ENOMEM), _) => RingCause::OutOfMemory,
        (Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP), _) if is_too_old(release) => {
            RingCause::KernelTooOld(release.to_owned())
        }
        (Some(libc::ENOSYS), _) => RingCause::Absent,
        (Some(libc::EMFILE), _) => RingCause::TooFewFiles,
        (Some(_) | None, _) => RingCause::Unknown,
    }
}

/// Whether a release such as `5.15.0-91-generic` is below the least; one that cannot be read is not.
fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < KERNEL_MIN,
        (_, _) => false,
    }
}

impl fmt::Display for RingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = &self.error;
        match &self.cause {
            RingCause::KernelTooOld(release) => {
                write!(
                    f,
                    "io_uring: this kernel is {release}, and Linux 6.1 or later is needed ({error}); boot a newer kernel"
                )
            }
            RingCause::Absent => write!(
                f,
                "io_uring: the kernel was built without it (CONFIG_IO_URING), or the sandbox this process runs in \
                 hides it ({error}); boot a kernel that has it, or leave the sandbox (podman and docker: \
                 --security-opt seccomp=unconfined; gVisor has none)"
            ),
            RingCause::DisabledForAll => write!(
                f,
                "io_uring: the sysctl kernel.io_uring_disabled is 2, which forbids it to everybody ({error}); allow it \
                 with `sysctl -w kernel.io_uring_disabled=0` as root"
            ),
            RingCause::DisabledForMost => write!(
                f,
                "io_uring: the sysctl kernel.io_uring_disabled is 1, which forbids it to all but root and the group of \
                 kernel.io_uring_group ({error}); add this user to that group (`sysctl kernel.io_uring_group` names \
                 it), or allow it with `sysctl -w kernel.io_uring_disabled=0` as root"
            ),
            RingCause::Forbidden => write!(
                f,
                "io_uring: a seccomp profile or a security module forbids it, as docker's default profile does \
                 ({error}); start the container with --security-opt seccomp=unconfined, or with a profile that allows \
                 io_uring_setup, io_uring_enter and io_uring_register"
            ),
            RingCause::OutOfMemory => write!(
                f,
                "io_uring: there is not enough memory for a ring, or the limit of locked memory is too low ({error}); \
                 `ulimit -l` shows the limit, systemd: LimitMEMLOCK=infinity, docker: --ulimit memlock=-1:-1"
            ),
            RingCause::TooFewFiles => write!(
                f,
                "io_uring: the open-files limit is too low ({error}); raise it with `ulimit -n` as root, or ask for \
                 fewer connections (--connections)"
            ),
            RingCause::Unknown => write!(
                f,
                "io_uring: a ring cannot be set up ({error}); `strace -e io_uring_setup,io_uring_register` shows \
                 which call is refused"
            ),
        }
    }
}

impl std::error::Error for RingRefusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_kernel_has_its_cause() {
        for (errno, disabled, release, cause) in [
            (libc::EPERM, "2", "6.6.1", RingCause::DisabledForAll),
            (libc::EPERM, "1", "6.6.1", RingCause::DisabledForMost),
            (libc::EPERM, "0", "6.6.1", RingCause::Forbidden),
            (libc::EPERM, "", "5.10.0", RingCause::Forbidden),
            (libc::ENOSYS, "", "5.0.9", RingCause::KernelTooOld("5.0.9".into())),
            (libc::EINVAL, "", "6.0.19-amd64", RingCause::KernelTooOld("6.0.19-amd64".into())),
            (libc::EINVAL, "", "6.1.0", RingCause::Unknown),
            (libc::ENOSYS, "", "6.18.0", RingCause::Absent),
            (libc::ENOSYS, "", "unreadable", RingCause::Absent),
            (libc::ENOMEM, "0", "6.18.0", RingCause::OutOfMemory),
            (libc::EMFILE, "0", "6.18.0", RingCause::TooFewFiles),
            (libc::EBUSY, "0", "6.18.0", RingCause::Unknown),
        ] {
            assert_eq!(diagnose(Some(errno), disabled, release), cause, "{errno} {disabled:?} {release}");
        }
    }

    #[test]
    fn each_cause_tells_its_cure() {
        for (cause, cure) in [
            (RingCause::KernelTooOld("5.10.0".into()), "boot a newer kernel"),
            (RingCause::Absent, "boot a kernel that has it"),
            (RingCause::DisabledForAll, "`sysctl -w kernel.io_uring_disabled=0` as root"),
            (RingCause::DisabledForMost, "`sysctl kernel.io_uring_group` names it"),
            (RingCause::Forbidden, "--security-opt seccomp=unconfined"),
            (RingCause::OutOfMemory, "LimitMEMLOCK=infinity"),
            (RingCause::TooFewFiles, "--connections"),
            (RingCause::Unknown, "strace"),
        ] {
            let source = std::io::Error::from_raw_os_error(libc::EPERM);
            let error = RingError { kind: RingErrorKind::Setup, source };
            let message = RingRefusal { cause, error }.to_string();
            assert!(message.contains(cure), "{message}");
            assert!(message.contains("setting up io_uring: Operation not permitted"), "{message}");
        }
    }
}
