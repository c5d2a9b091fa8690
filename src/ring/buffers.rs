//! Provided receive buffers: memory the kernel picks from when a socket turns readable, so that an idle connection
//! owns none (io_uring_register(2), `IORING_REGISTER_PBUF_RING`, since 5.19).
//!
//! ```text
//!   ring of entries   [ id 4 | id 9 | id 2 | …            ]   tail: ours, head: the kernel's
//!   memory            [ buffer 0 ][ buffer 1 ][ buffer 2 ]…
//! ```
//!
//! Invariant: a buffer is in exactly one place: the ring of entries, a completion not yet reaped, or a [`Lease`].

use std::{
    io,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{IoUring, types::BufRingEntry};

/// The group id of the receive buffers.
pub(super) const GROUP: u16 = 0;

/// The registered ring of receive buffers.
pub(super) struct BufferRing {
    entries: Mapping,
    memory: Rc<Mapping>,
    count: u16,
    buffer_bytes: u32,
    tail: u16,
}

/// A received buffer, lent out until it is given back with [`super::Ring::give_back`].
pub struct Lease {
    memory: Rc<Mapping>,
    start: usize,
    len: usize,
    id: u16,
}

/// Private anonymous memory, unmapped on drop.
struct Mapping {
    address: NonNull<u8>,
    len: usize,
}

impl BufferRing {
    /// Maps and registers `count` (a power of two) buffers. The memory is touched at once, so that it belongs to
    /// the process from the start and not to whichever connection comes first.
    pub(super) fn register(io: &IoUring, count: u16, buffer_bytes: u32) -> io::Result<Self> {
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Rc::new(Mapping::new(usize::from(count) * buffer_bytes as usize)?);
        // SAFETY: the entries are page-aligned, zeroed, large enough for `count`, and live as long as the ring:
        // `Ring` drops its `IoUring` before this value.
        unsafe {
            io.submitter().register_buf_ring_with_flags(entries.address.as_ptr() as u64, count, GROUP, 0)?;
        }
        let mut ring = Self { entries, memory, count, buffer_bytes, tail: 0 };
        for id in 0..count {
            ring.add(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// Lends out the buffer a completion named.
    pub(super) fn lease(&self, id: u16, len: usize) -> Lease {
        assert!(id < self.count && len <= self.buffer_bytes as usize);
        let start = usize::from(id) * self.buffer_bytes as usize;
        Lease { memory: Rc::clone(&self.memory), start, len, id }
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn give_back(&mut self, lease: Lease) {
        assert!(Rc::ptr_eq(&self.memory, &lease.memory), "a buffer goes back to the ring that lent it");
        self.take_back(lease.id);
    }

    /// Gives a buffer back that nobody was lent.
    pub(super) fn take_back(&mut self, id: u16) {
        self.add(id);
        self.publish();
    }

    fn add(&mut self, id: u16) {
        let base = self.entries.address.as_ptr().cast::<BufRingEntry>();
        let index = usize::from(self.tail & (self.count - 1));
        let start = usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: `index` is below `count`, and the kernel reads an entry only once the tail has passed it. The
        // entry's fields are written one by one because the tail shares the first entry's reserved bytes.
        unsafe {
            let entry = &mut *base.add(index);
            entry.set_addr(self.memory.address.as_ptr().add(start) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies inside the registered entries and is written by this thread only; the kernel reads
        // it with acquire semantics.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.address.as_ptr().cast());
            (*tail.cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a fresh private anonymous mapping aliases nothing.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { address: NonNull::new(address.cast()).expect("mmap never maps at zero here"), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and no reference outlives it: leases hold an `Rc` of it.
        unsafe {
            libc::munmap(self.address.as_ptr().cast(), self.len);
        }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping (checked in `lease`), and the buffer is in no other place.
        unsafe { std::slice::from_raw_parts(self.memory.address.as_ptr().add(self.start), self.len) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the lease is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.memory.address.as_ptr().add(self.start), self.len) }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).field("len", &self.len).finish()
    }
}
