//! The one clock everything is measured with, and the unit of the kernel's own times.

/// Nanoseconds of the monotonic clock, the same for every process of the machine.
#[inline]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes one `timespec` to it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Clock ticks per second, the unit of times in `/proc/PID/stat`.
pub fn clock_ticks_per_second() -> u64 {
    // SAFETY: the call takes a number and returns one.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.cast_unsigned()
}
