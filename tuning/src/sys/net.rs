//! Socket calls and options that `socket2` lacks.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// What a socket's memory is charged with, in bytes: the fields of `SO_MEMINFO` (Linux 4.12) that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketMemory {
    /// Memory of packets received and not read.
    pub receive_bytes: u32,
    /// Memory of packets queued to be sent, sent and not yet acknowledged.
    pub send_bytes: u32,
    /// Reserved from `tcp_mem` beyond what is used.
    pub forward_bytes: u32,
}

impl SocketMemory {
    /// What the socket takes from `tcp_mem`.
    pub fn charged_bytes(self) -> u64 {
        u64::from(self.receive_bytes) + u64::from(self.send_bytes) + u64::from(self.forward_bytes)
    }
}

/// Reads what a socket's memory is charged with.
pub fn memory_of(socket: BorrowedFd<'_>) -> io::Result<SocketMemory> {
    // Order of linux/sock_diag.h: rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, optmem, backlog, drops.
    let mut fields = [0u32; 9];
    let mut length = size_of_val(&fields) as libc::socklen_t;
    // SAFETY: the buffer is as long as `length` says and lives through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            fields.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    super::outcome(result)?;
    Ok(SocketMemory { receive_bytes: fields[0], send_bytes: fields[5], forward_bytes: fields[4] })
}

/// How often what a socket waits for an answer to has been sent again: the third byte of `TCP_INFO`.
pub fn retransmits_of(socket: BorrowedFd<'_>) -> io::Result<u8> {
    let mut fields = [0u8; 8];
    let mut length = size_of_val(&fields) as libc::socklen_t;
    // SAFETY: the buffer is as long as `length` says and lives through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            fields.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    super::outcome(result)?;
    Ok(fields[2])
}

/// Lets `bind` to port 0 defer the choice of a port to `connect` (Linux 4.2).
pub fn bind_without_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1i32)
}

/// Steers connections of a reuseport group to the listener whose index is the CPU that handles the packet.
pub fn steer_by_cpu(socket: BorrowedFd<'_>) -> io::Result<()> {
    // `ld [SKF_AD_OFF + SKF_AD_CPU]; ret a`, the program of socket(7).
    let cpu_offset = (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned();
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let give = (libc::BPF_RET | 0x10) as u16;
    let mut code = [
        libc::sock_filter { code: load, jt: 0, jf: 0, k: cpu_offset },
        libc::sock_filter { code: give, jt: 0, jf: 0, k: 0 },
    ];
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Brings the loopback interface of the calling thread's network namespace up.
pub fn raise_loopback(any_socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an `ifreq` is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request names an interface and holds its flags, as SIOCSIFFLAGS wants, and outlives the call.
    super::outcome(unsafe {
        libc::ioctl(any_socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    })
}

fn set<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let pointer = std::ptr::from_ref(value).cast();
    // SAFETY: `value` is as long as `length` says, and the callers above pass the type the option takes.
    super::outcome(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer, length) })
}
