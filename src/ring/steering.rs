//! Which of the sockets that share a port the kernel gives a new connection to: by a hash of its addresses, or at random in
//! stated shares.
//!
//! A program of classic BPF draws a number and answers with the place of a socket in its group (socket(7),
//! `SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5). Anybody may attach one to a socket of their own, and replace it while connections come;
//! for a place that there is not the kernel takes its hash.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Gives each socket of the group that this one is in, by its place there, as many parts of all new connections.
pub fn steer(socket: BorrowedFd<'_>, parts: &[u32]) -> io::Result<()> {
    let mut program = program(parts);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set(socket, ATTACH_PROGRAM, &filter)
}

/// Lets the kernel's hash decide again.
pub fn stop_steering(socket: BorrowedFd<'_>) -> io::Result<()> {
    match set(socket, DETACH_PROGRAM, &0i32) {
        // There is none.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

fn set<T>(socket: BorrowedFd<'_>, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a value of that length, which the kernel copies with what it points to; a program lives
    // in its caller until then.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

// include/uapi/asm-generic/socket.h
const ATTACH_PROGRAM: i32 = 51;
const DETACH_PROGRAM: i32 = 68;

// include/uapi/linux/bpf_common.h and filter.h
const LOAD_ABSOLUTE: u16 = 0x20;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const RANDOM: u32 = (-0x1000_i32 + 56) as u32;

/// Draws a number below 2^32, and answers with the place in whose range it is.
fn program(parts: &[u32]) -> Vec<libc::sock_filter> {
    let line = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let all = parts.iter().copied().map(u128::from).sum::<u128>().max(1);
    let (mut lines, mut below) = (vec![line(LOAD_ABSOLUTE, 0, RANDOM)], 0u128);
    for (place, part) in (0..).zip(parts) {
        below += u128::from(*part);
        // The last has all that is left.
        if let Ok(end) = u32::try_from((below << 32) / all) {
            lines.push(line(JUMP_IF_AT_LEAST, 1, end));
        }
        lines.push(line(RETURN, 0, place));
        if below == all {
            return lines;
        }
    }
    lines.push(line(RETURN, 0, u32::MAX));
    lines
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpStream},
        os::fd::AsFd,
    };

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn bind(address: SocketAddr) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("an option");
        socket.bind(&address.into()).expect("bound");
        socket
    }

    /// Sockets that listen on one port, in this order; and one that only holds the port, as one of them would lose it that the
    /// kernel has chosen it for.
    fn group(count: usize) -> (Vec<Socket>, SocketAddr, Socket) {
        let holder = bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = holder.local_addr().expect("bound").as_socket().expect("of IP");
        let sockets = (0..count).map(|_| {
            let socket = bind(address);
            socket.listen(1024).expect("it listens");
            socket.set_nonblocking(true).expect("an option");
            socket
        });
        (sockets.collect(), address, holder)
    }

    /// How many of so many connections come to each.
    fn spread(sockets: &[Socket], address: SocketAddr, connections: usize) -> Vec<usize> {
        let clients: Vec<_> =
            (0..connections).map(|_| TcpStream::connect(address).expect("one listens")).collect();
        let counts: Vec<_> =
            sockets.iter().map(|one| std::iter::from_fn(|| one.accept().ok()).count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), connections);
        drop(clients);
        counts
    }

    #[test]
    fn each_socket_of_a_port_gets_its_parts_of_what_comes_and_the_kernels_when_nobody_steers() {
        let (sockets, address, _holder) = group(3);
        steer(sockets[1].as_fd(), &[0, 1, 0]).expect("a program is taken");
        assert_eq!(spread(&sockets, address, 60), [0, 60, 0]);
        steer(sockets[2].as_fd(), &[3, 0, 1]).expect("it is replaced");
        let counts = spread(&sockets, address, 400);
        // 300 and 100 are expected; by chance alone these bounds are met once in a billion times.
        assert!(counts[1] == 0 && (240..=360).contains(&counts[0]), "{counts:?}");
        stop_steering(sockets[0].as_fd()).expect("it is taken away");
        stop_steering(sockets[0].as_fd()).expect("there is none");
        let counts = spread(&sockets, address, 300);
        assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
    }

    #[test]
    fn a_place_that_is_none_is_no_place_for_anybody() {
        let (sockets, address, _holder) = group(2);
        steer(sockets[0].as_fd(), &[0, 0, 0, 7]).expect("a program is taken");
        let counts = spread(&sockets, address, 300);
        assert!(counts.iter().all(|count| *count > 50), "the kernel's hash decides: {counts:?}");
    }

    #[test]
    fn a_socket_that_listens_again_has_the_last_place() {
        let (mut sockets, address, _holder) = group(3);
        sockets[0].shutdown(std::net::Shutdown::Read).expect("it listens");
        steer(sockets[1].as_fd(), &[1, 0, 0]).expect("a program is taken");
        let counts = spread(&sockets[1..], address, 40);
        assert_eq!(counts, [0, 40], "the last one has the place of one that has gone");
        sockets[0].listen(1024).expect("it listens again");
        sockets.rotate_left(1);
        steer(sockets[0].as_fd(), &[0, 0, 1]).expect("it is replaced");
        assert_eq!(spread(&sockets, address, 40), [0, 0, 40]);
    }

    #[test]
    fn every_number_is_in_the_range_of_a_place_that_has_one() {
        for parts in [&[1, 1][..], &[0, 5, 0, 5, 0], &[1; 256], &[u32::MAX, 1, u32::MAX], &[0, 0]] {
            let lines = program(parts);
            assert_eq!(lines[0].k, 0xffff_f038);
            let (pairs, last) = lines[1..].split_at(lines.len() - 2);
            assert_eq!(last[0].code, RETURN, "whoever is in no range before is in this one");
            let ends: Vec<_> = pairs.chunks(2).map(|pair| (pair[0].k, pair[1].k)).collect();
            assert!(ends.is_sorted(), "{ends:?}");
            assert!(ends.iter().enumerate().all(|(at, (_, place))| at as u32 == *place));
        }
    }
}
