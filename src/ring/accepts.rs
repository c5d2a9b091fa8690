//! The accepts in flight, each with a place of its own for the peer's address.
//!
//! A multishot accept cannot return peer addresses: its single address slot may be overwritten before it is read.

use std::{
    cell::UnsafeCell,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
};

/// One accept in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptId(pub u32);

/// Where the kernel writes peer addresses. The places never move.
pub(super) struct AddressSlots {
    slots: Box<[UnsafeCell<Slot>]>,
    /// The listening socket of each accept in flight: its descriptor names no other socket before the kernel has seen
    /// the entry.
    listeners: Box<[Option<Arc<OwnedFd>>]>,
}

struct Slot {
    address: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl AddressSlots {
    /// Places for `count` accepts.
    pub(super) fn new(count: u32) -> Self {
        // SAFETY: an all-zero sockaddr_storage is a valid value of plain integers.
        let empty = || UnsafeCell::new(Slot { address: unsafe { std::mem::zeroed() }, len: 0 });
        let listeners = (0..count).map(|_| None).collect();
        Self { slots: (0..count).map(|_| empty()).collect(), listeners }
    }

    /// Whether no accept is in flight.
    pub(super) fn are_idle(&self) -> bool {
        self.listeners.iter().all(Option::is_none)
    }

    /// Forgets the places without freeing them.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.slots));
    }

    /// The place for an accept that begins; its length field is set for the kernel.
    pub(super) fn begin(
        &mut self,
        accept: AcceptId,
        listener: Arc<OwnedFd>,
    ) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        let before = self.listeners[accept.0 as usize].replace(listener);
        assert!(before.is_none(), "an accept is in flight once at a time");
        let slot = self.slots[accept.0 as usize].get();
        // SAFETY: the slot never moves and lives as long as the ring; no accept uses it now, so nobody else writes.
        unsafe {
            (*slot).len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            (&raw mut (*slot).address as *mut libc::sockaddr, &raw mut (*slot).len)
        }
    }

    /// An accept has completed: the address it left behind; `None` for families without one.
    pub(super) fn end(&mut self, accept: AcceptId) -> Option<SocketAddr> {
        self.listeners[accept.0 as usize] = None;
        let slot = self.slots[accept.0 as usize].get();
        // SAFETY: the accept has completed, so the kernel no longer writes; the storage is large and aligned enough
        // for either family, and the family says which it holds.
        unsafe {
            let storage = &raw const (*slot).address;
            match libc::c_int::from((*storage).ss_family) {
                libc::AF_INET => {
                    let v4 = &*storage.cast::<libc::sockaddr_in>();
                    let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                    Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
                }
                libc::AF_INET6 => {
                    let v6 = &*storage.cast::<libc::sockaddr_in6>();
                    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                    Some(SocketAddr::new(ip.to_canonical(), u16::from_be(v6.sin6_port)))
                }
                _ => None,
            }
        }
    }
}
